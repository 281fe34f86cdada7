"""Datasets written for torch's DataLoader, and what looks like them: Hugging Face's."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch

from anamorph.core import checks
from anamorph.core.errors import AnamorphError, ArgumentError, DecodeError, DtypeError, ShapeError
from anamorph.core.tensors import as_tensor
from anamorph.data.decode import pixels
from anamorph.data.formats import check_size
from anamorph.data.labels import Label, column_of, label_of
from anamorph.data.source import Pixels, Source
from anamorph.images.picture import bytes_of, permuted


class MapDataset(Protocol):  # torch's Dataset promises no length
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


def item_of(dataset: MapDataset, index: int, name: str) -> Any:
    """An item; whatever the dataset raises, which may be anything for a bad file, is a DecodeError."""
    try:
        return dataset[index]
    except Exception as error:
        raise DecodeError(f"{name}: {type(error).__name__}: {error}") from error


def first_readable_label(source: Source) -> Label | None:
    """That of the first sample that can be read."""
    for index in range(len(source)):
        try:
            return source.load(index)[1]
        except DecodeError:
            continue
    return None


class DatasetSource(Source):
    """A map-style torch dataset. Its items are read by one thread unless the user asks for more: a
    dataset is written for worker processes, and nothing promises that threads may share it."""

    thread_safe = False

    def __init__(self, dataset: MapDataset, channels: int, labels: bool = True):
        self.dataset = dataset
        self.channels = channels
        self._labelled = labels
        whole: Any = dataset
        while isinstance(whole, torch.utils.data.Subset):  # also random_split's
            whole = whole.dataset
        self._whole = whole
        feature = getattr(whole, "features", None)  # Hugging Face's
        feature = feature.get("label") if isinstance(feature, Mapping) else None
        names = getattr(whole, "classes", None) or getattr(feature, "names", None)
        self.classes = list(names) if names is not None and labels else None

    def __len__(self) -> int:
        return len(self.dataset)

    def name(self, index: int) -> str:
        return f"item {index} of {type(self.dataset).__name__}"

    @property
    def num_classes(self) -> int | None:
        """By the names of the classes, or by ``targets``, in which torchvision's datasets keep all labels."""
        targets = getattr(self._whole, "targets", None)
        if getattr(self._whole, "target_transform", None) is not None or not self._labelled:
            return None
        if self.classes is not None or targets is None:
            return super().num_classes
        try:
            labels = column_of(targets, len(targets), self.name)
        except (AnamorphError, TypeError):
            return None
        return int(labels.max()) + 1 if labels.dtype == np.int64 else None

    def first_label(self) -> Label | None:
        return first_readable_label(self)

    def load(self, index: int) -> tuple[Pixels, Label | None]:
        item = item_of(self.dataset, index, self.name(index))
        image, label = self._parts(item, index)
        if not self._labelled or label is None:
            return self._picture(image, index), None
        return self._picture(image, index), label_of(label, partial(self.name, index))

    def _parts(self, item: Any, index: int) -> tuple[Any, Any]:
        """The picture, or the clip, and the label of an item."""
        if type(item) is tuple and len(item) == 2:
            return item
        if isinstance(item, Mapping):
            if "image" not in item or ("label" not in item and len(item) > 1 and self._labelled):
                raise ArgumentError(f"source: expected items (image, label) or {{'image': ..., 'label': ...}}, given a dict of "
                                    f"{', '.join(map(repr, item))} as {self.name(index)}; rename_column(...) names them so, "
                                    "labels=False takes the image alone")
            return item["image"], item.get("label")
        if not isinstance(item, (tuple, list)):
            return item, None
        if len(item) != 2:
            raise ArgumentError(f"source: expected items (image, label) or the image, given a {type(item).__name__} of "
                                f"{len(item)} as {self.name(index)}; for more labels than one: (image, {{'name': label, ...}})")
        return item[0], item[1]

    def _picture(self, image: Any, index: int) -> Pixels:
        if isinstance(image, (list, tuple)):  # a clip
            if not image:
                raise ShapeError(f"source: expected at least one picture in a clip, given none in {self.name(index)}")
            return [self._pixels(picture, index) for picture in image]
        return self._pixels(image, index)

    def _pixels(self, image: Any, index: int) -> torch.Tensor:
        if hasattr(image, "convert"):  # PIL
            try:
                return pixels(image, self.channels)  # lazily opened files are read only here
            except Exception as error:
                raise DecodeError(f"{self.name(index)}: {type(error).__name__}: {error}") from error
        expected = "source: expected a PIL image, a uint8 [H, W, C] array or a uint8 [C, H, W] tensor"
        if not isinstance(image, (np.ndarray, torch.Tensor)):
            raise DtypeError(f"{expected}, given a {type(image).__name__} as the image of {self.name(index)}")
        if isinstance(image, torch.Tensor):
            image = as_tensor(f"image of {self.name(index)}", image)
        if image.dtype not in (np.uint8, torch.uint8):
            raise DtypeError(f"{expected}, given {image.dtype} as the image of {self.name(index)} "
                             f"(leave ToTensor and normalisation to the recipe; of {bytes_of('image', image)})")
        tensor = image if isinstance(image, torch.Tensor) else torch.from_numpy(np.require(image, requirements=["C", "W"]))
        if tensor.ndim == 2:
            tensor = tensor[:, :, None]
        elif tensor.ndim == 3 and isinstance(image, torch.Tensor):
            tensor = tensor.permute(1, 2, 0)
        shape = tuple(tensor.shape)
        if len(shape) != 3 or 0 in shape:
            raise ShapeError(f"{expected}, given {list(image.shape)} as the image of {self.name(index)}")
        if shape[2] > 4:
            raise ShapeError(f"{expected}, of 1 to 4 channels, given {list(image.shape)} as the image of {self.name(index)}"
                             + permuted("image", image, 4))
        if max(shape) > checks.MAX_SIDE:
            check_size(*shape[:2], self.name(index))
        return tensor.contiguous()
