"""Where samples come from. A source numbers its samples from 0 and loads any of them in any order."""

from __future__ import annotations

import glob
import io
import os
import re
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike

from anamorph.core.errors import ArgumentError, DecodeError, DtypeError, ShapeError
from anamorph.data.decode import pixels
from anamorph.data.transfer import to_device

# What torchvision.datasets.ImageFolder takes for an image.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


class Source:
    """Base of the random-access sources.

    ``encoded``: ``load`` gives file contents, uint8 [N], which still have to be decoded.
    ``thread_safe``: ``load`` may be called from several threads at once.
    ``labels``: int64 [samples], or None when there are none or they come with each sample.
    """

    encoded = False
    thread_safe = True
    labels: np.ndarray | None = None
    classes: list[str] | None = None

    def __len__(self) -> int:
        raise NotImplementedError

    def name(self, index: int) -> str:
        """What a person would look for to find this sample."""
        raise NotImplementedError

    def load(self, index: int) -> tuple[Any, int | None]:
        """(encoded bytes or uint8 [H, W, C] tensor, label). Raises DecodeError naming the sample."""
        raise NotImplementedError

    def _label(self, index: int) -> int | None:
        return None if self.labels is None else int(self.labels[index])


class FolderSource(Source):
    """``root/class/**/image.jpg``: sorted class names are the labels, as in torchvision's ImageFolder."""

    encoded = True

    def __init__(self, root: Path):
        self.root = root
        self.classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
        if not self.classes:
            raise ArgumentError(
                f"source: {str(root)!r} has no subfolders; expected an image folder with one subfolder per class"
                " (for WebDataset shards give the tar paths or a pattern such as 'shards/*.tar')"
            )
        self._paths: list[str] = []
        labels: list[int] = []
        for label, name in enumerate(self.classes):
            before = len(self._paths)
            for folder, files in sorted(_walk(str(root / name))):
                self._paths += [os.path.join(folder, file) for file in sorted(files)]
            if len(self._paths) == before:
                raise ArgumentError(
                    f"source: class folder {str(root / name)!r} holds no image; expected files ending in "
                    + ", ".join(IMAGE_SUFFIXES)
                )
            labels += [label] * (len(self._paths) - before)
        self.labels = np.array(labels, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._paths)

    def name(self, index: int) -> str:
        return self._paths[index]

    def load(self, index: int) -> tuple[np.ndarray, int | None]:
        path = self._paths[index]
        try:
            return np.fromfile(path, dtype=np.uint8), self._label(index)
        except OSError as error:
            raise DecodeError(f"{path}: cannot be read ({error.strerror or error})") from error


def _walk(folder: str, above: tuple[str, ...] = ()) -> Iterator[tuple[str, list[str]]]:
    """(folder, image files) of a folder and those below it; ``above`` are the real paths of its parents."""
    real = os.path.realpath(folder)
    if real in above:  # a link to a parent
        return
    files = []
    for entry in os.scandir(folder):
        if entry.is_dir():
            yield from _walk(entry.path, (*above, real))
        # Reading a pipe or a device could wait for ever. A broken link is reported when it is read.
        elif entry.name.lower().endswith(IMAGE_SUFFIXES) and (entry.is_file() or not os.path.exists(entry.path)):
            files.append(entry.name)
    yield folder, files


class TarSource(Source):
    """WebDataset shards: members ``key.jpg`` (or .jpeg, .png) and ``key.cls`` make one sample.

    The headers are read once, here; a sample is then read by its offset, so that the order of an
    epoch is a permutation of all samples and not only of the shards.
    """

    encoded = True
    _KEY = re.compile(r"^((?:.*/|)[^./][^/.]*)\.([^/]*)$")

    def __init__(self, paths: list[str]):
        self._paths = paths
        self._members: list[tuple[int, int, int, str]] = []  # shard, offset, size, name
        self._files: dict[int, io.FileIO] = {}
        self._lock = threading.Lock()
        labels: list[int | None] = []
        for shard, path in enumerate(paths):
            labels += self._index(shard, path)
        if not self._members:
            raise ArgumentError(f"source: no .jpg, .jpeg or .png member in {', '.join(paths)}")
        if all(label is None for label in labels):
            self.labels = None
        elif None in labels:
            raise ArgumentError(
                f"source: {self.name(labels.index(None))} has no .cls member while others have;"
                " expected a label for every sample or for none"
            )
        else:
            self.labels = np.array(labels, dtype=np.int64)

    def _index(self, shard: int, path: str) -> list[int | None]:
        images: dict[str, tuple[int, int, int, str]] = {}
        labels: dict[str, int] = {}
        try:
            with tarfile.open(path, "r:") as tar:  # "r:" refuses compression: it has no offsets
                for member in tar:
                    match = self._KEY.match(member.name)
                    if not match or not member.isfile():
                        continue
                    key, suffix = match[1], match[2].lower()
                    if suffix in ("jpg", "jpeg", "png"):
                        if key in images:
                            raise ArgumentError(f"source: {path} holds two images for the key {key!r}")
                        images[key] = (shard, member.offset_data, member.size, member.name)
                    elif suffix == "cls":
                        file = tar.extractfile(member)
                        assert file is not None  # as isfile() said
                        text = file.read().strip()
                        try:
                            labels[key] = _int64(text)
                        except (ValueError, OverflowError):
                            raise ArgumentError(
                                f"source: {path}:{member.name} holds {text!r}; expected a class number"
                            ) from None
                _check_end(path, tar.offset)
        except FileNotFoundError:
            raise ArgumentError(f"source: there is no file {path!r}") from None
        except (tarfile.TarError, OSError) as error:
            raise DecodeError(f"{path}: not a readable, uncompressed tar archive ({error})") from error
        self._members += images.values()
        return [labels.get(key) for key in images]

    def __len__(self) -> int:
        return len(self._members)

    def name(self, index: int) -> str:
        shard, _, _, name = self._members[index]
        return f"{self._paths[shard]}:{name}"

    def load(self, index: int) -> tuple[np.ndarray, int | None]:
        shard, offset, size, _ = self._members[index]
        try:
            with self._lock:
                if shard not in self._files:
                    self._files[shard] = io.FileIO(self._paths[shard])
                file = self._files[shard]
            data = os.pread(file.fileno(), size, offset)  # has no file position to share between threads
        except OSError as error:
            raise DecodeError(f"{self.name(index)}: cannot be read ({error.strerror or error})") from error
        if len(data) < size:
            raise DecodeError(f"{self.name(index)}: the archive ends after {len(data)} of its {size} bytes")
        return np.frombuffer(data, dtype=np.uint8), self._label(index)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}, "_lock": None}  # open files and locks cannot be copied

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def __del__(self) -> None:
        for file in getattr(self, "_files", {}).values():
            file.close()


def _check_end(path: str, offset: int) -> None:
    # tarfile takes any header it cannot read for the end of the archive, and says nothing.
    with open(path, "rb") as file:
        file.seek(offset)
        while block := file.read(1 << 20):
            if block.count(0) != len(block):
                raise DecodeError(f"{path}: damaged header at byte {offset}")


def _int64(value: Any) -> int:
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise OverflowError
    return number


class ArraySource(Source):
    """uint8 [N, H, W, C] in memory, on the host or on a GPU, with or without labels."""

    def __init__(self, images: np.ndarray | torch.Tensor, labels: ArrayLike | torch.Tensor | None = None):
        if isinstance(images, np.ndarray):
            if images.dtype != np.uint8:
                raise DtypeError(f"source: expected uint8 [N, H, W, C], given images of dtype {images.dtype}")
        elif images.dtype != torch.uint8:
            raise DtypeError(f"source: expected uint8 [N, H, W, C], given images of dtype {images.dtype}")
        if images.ndim != 4:
            raise ShapeError(f"source: expected uint8 [N, H, W, C], given images of shape {tuple(images.shape)}")
        if images.shape[3] > 4 and images.shape[1] <= 4:
            raise ShapeError(
                f"source: images of shape {tuple(images.shape)} look like [N, C, H, W]; expected [N, H, W, C]"
            )
        self.images = images
        if labels is not None:
            try:
                labels = labels.cpu().numpy() if isinstance(labels, torch.Tensor) else np.asarray(labels)
            except ValueError:  # lists of different lengths
                raise ShapeError(f"source: labels of no one shape given for {len(images)} images; expected"
                                 f" ({len(images)},)") from None
            if labels.dtype.kind not in "iu":
                raise DtypeError(f"source: expected integer class numbers [N], given labels of dtype {labels.dtype}")
            if labels.shape != (len(images),):
                raise ShapeError(
                    f"source: labels of shape {labels.shape} given for {len(images)} images; expected ({len(images)},)"
                )
            if labels.size and int(labels.max()) >= 2**63:
                raise ArgumentError(f"source: expected class numbers below 2**63, given the label {labels.max()}")
            self.labels = labels.astype(np.int64)

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        return f"image {index} of the array"

    @property
    def on_gpu(self) -> bool:
        return isinstance(self.images, torch.Tensor) and self.images.is_cuda

    def gather(self, ids: np.ndarray) -> torch.Tensor:
        """The images ``ids``, uint8 [B, H, W, C], where the array lives (on a GPU: on its current stream)."""
        if isinstance(self.images, np.ndarray):
            return torch.from_numpy(np.ascontiguousarray(self.images[ids]))
        return self.images[to_device(ids, self.images.device)]


class _MapDataset(Protocol):  # torch's Dataset promises no length
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


class DatasetSource(Source):
    """A map-style torch dataset. Its items are read by one thread unless the user asks for more: a
    dataset is written for worker processes, and nothing promises that threads may share it."""

    thread_safe = False

    def __init__(self, dataset: _MapDataset, channels: int):
        self.dataset = dataset
        self.channels = channels
        self.classes = getattr(dataset, "classes", None)

    def __len__(self) -> int:
        return len(self.dataset)

    def name(self, index: int) -> str:
        return f"item {index} of {type(self.dataset).__name__}"

    def load(self, index: int) -> tuple[torch.Tensor, int | None]:
        try:
            item = self.dataset[index]
        except Exception as error:  # a dataset may raise anything for a bad file
            raise DecodeError(f"{self.name(index)}: {type(error).__name__}: {error}") from error
        if isinstance(item, (tuple, list)) and len(item) < 2:
            raise ArgumentError(
                f"source: {self.name(index)} is a {type(item).__name__} of {len(item)}; expected (image, label) or the image"
            )
        image, label = (item[0], item[1]) if isinstance(item, (tuple, list)) else (item, None)
        return self._pixels(image, index), None if label is None else self._class(label, index)

    def _pixels(self, image: Any, index: int) -> torch.Tensor:
        if hasattr(image, "convert"):  # PIL
            try:
                return pixels(image, self.channels)  # lazily opened files are read only here
            except Exception as error:
                raise DecodeError(f"{self.name(index)}: {type(error).__name__}: {error}") from error
        if not isinstance(image, (np.ndarray, torch.Tensor)):
            raise DtypeError(
                f"source: {self.name(index)} has an image of type {type(image).__name__};"
                " expected a PIL image, a uint8 [H, W, C] array or a uint8 [C, H, W] tensor"
            )
        if image.dtype not in (np.uint8, torch.uint8):
            raise DtypeError(
                f"source: {self.name(index)} has an image of dtype {image.dtype}; expected uint8"
                " (leave ToTensor and normalisation to the recipe)"
            )
        tensor = image if isinstance(image, torch.Tensor) else torch.from_numpy(np.require(image, requirements=["C", "W"]))
        if tensor.ndim == 2:
            tensor = tensor[:, :, None]
        elif tensor.ndim != 3:
            raise ShapeError(
                f"source: {self.name(index)} has an image of shape {tuple(image.shape)};"
                " expected [H, W, C] for an array, [C, H, W] for a tensor"
            )
        elif isinstance(image, torch.Tensor):
            tensor = tensor.permute(1, 2, 0)
        return tensor.contiguous()

    def _class(self, label: Any, index: int) -> int:
        # operator.index would refuse 0-d tensors, int() would take 3.7: ask for a whole number.
        try:
            number = _int64(label)
            whole = bool(number == label)
        except (TypeError, ValueError, OverflowError):
            whole = False
        if not whole:
            raise DtypeError(f"source: {self.name(index)} has the label {label!r}; expected an integer class number")
        return number


def expand(pattern: str) -> list[str]:
    """Shell braces (``{000..012}``, ``{a,b}``) and then wildcards to paths, in order."""
    match = re.search(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}", pattern)
    if match:
        if match[3] is not None:
            parts = match[3].split(",")
        else:
            width = len(match[1]) if match[1].startswith("0") else 0
            parts = [str(number).zfill(width) for number in range(int(match[1]), int(match[2]) + 1)]
        head, tail = pattern[: match.start()], pattern[match.end() :]
        return [path for part in parts for path in expand(head + part + tail)]
    if glob.has_magic(pattern) and not os.path.exists(pattern):
        return sorted(glob.glob(pattern))
    return [pattern]


def open_source(source: Any, channels: int) -> Source:
    """The Source for what the user gave (DALI pipelines are handled before)."""
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        if os.path.isdir(path):
            return FolderSource(Path(path))
        return _open_tars([path])
    if isinstance(source, (list, tuple)) and source and all(isinstance(s, (str, os.PathLike)) for s in source):
        return _open_tars([os.fspath(s) for s in source])
    if isinstance(source, (np.ndarray, torch.Tensor)):
        return _filled(ArraySource(source))
    if isinstance(source, (tuple, list)) and len(source) == 2 and isinstance(source[0], (np.ndarray, torch.Tensor)):
        return _filled(ArraySource(*source))
    if isinstance(source, torch.utils.data.IterableDataset):
        raise ArgumentError(
            f"source: {type(source).__name__} is an IterableDataset; expected a map-style dataset, whose"
            " samples have numbers to shuffle, shard and replay by"
        )
    if hasattr(source, "__getitem__") and hasattr(source, "__len__") and not isinstance(source, (tuple, list, dict)):
        return _filled(DatasetSource(source, channels))
    raise ArgumentError(
        "source: expected an image folder, WebDataset tar path(s), a uint8 [N, H, W, C] array or an (images, labels) tuple, "
        f"a map-style torch Dataset, or a DALI pipeline, given {type(source).__name__}"
    )


def _open_tars(patterns: list[str]) -> TarSource:
    paths = []
    for pattern in patterns:
        found = expand(pattern)
        if not found:
            raise ArgumentError(f"source: nothing matches {pattern!r}")
        paths += found
    for path in paths:
        if not os.path.exists(path):
            raise ArgumentError(f"source: there is no folder or file {path!r}")
        if os.path.isdir(path):
            raise ArgumentError(f"source: {path!r} is a folder in a list; a list names WebDataset tar files")
        if path.lower().endswith(IMAGE_SUFFIXES):
            raise ArgumentError(f"source: {path!r} is an image; expected a folder of class folders, or WebDataset tar files")
    return TarSource(paths)


def _filled(source: Source) -> Source:
    if len(source) == 0:
        raise ArgumentError("source: it holds no samples")
    return source
