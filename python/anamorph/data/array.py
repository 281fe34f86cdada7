"""Pictures of one size in memory, on the host or on a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from anamorph.core.errors import DtypeError, ShapeError
from anamorph.core.move import to_device
from anamorph.core.tensors import as_tensor
from anamorph.data.batch import Batch
from anamorph.data.labels import column_of
from anamorph.data.source import WholeSource
from anamorph.images.picture import bytes_of

_EXPECTED = "source: expected uint8 images [N, H, W, C], [N, C, H, W] or [N, H, W], or clips [N, T, H, W, C] or [N, T, C, H, W]"


class ArraySource(WholeSource):
    """uint8 [N, H, W, C], [N, C, H, W] or [N, H, W], or of clips with a T behind the N, with or without labels."""

    def __init__(self, images: np.ndarray | torch.Tensor, labels: Any = None):
        images = as_tensor("source", images) if isinstance(images, torch.Tensor) else images
        if images.dtype not in (np.uint8, torch.uint8):
            raise DtypeError(f"{_EXPECTED}, given dtype {images.dtype}; of {bytes_of('images', images)}")
        shape = tuple(images.shape)
        if len(shape) == 3:
            images = images[..., None]
        elif len(shape) not in (4, 5):
            raise ShapeError(f"{_EXPECTED}, given shape {list(shape)}")
        elif shape[-1] > 4 and shape[-3] <= 4:
            images = images.movedim(-3, -1) if isinstance(images, torch.Tensor) else np.moveaxis(images, -3, -1)
        if 0 in shape[1:]:
            raise ShapeError(f"{_EXPECTED} with pixels, given shape {list(shape)}")
        self.images = images
        #: Of a clip; None: they are single pictures.
        self.frames = shape[1] if len(shape) == 5 else None
        self.labels = None if labels is None or not len(images) else column_of(labels, len(images), self.name)

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        return f"{'image' if self.frames is None else 'clip'} {index} of the array"

    @property
    def on_gpu(self) -> bool:
        return isinstance(self.images, torch.Tensor) and self.images.is_cuda

    def batch(self, number: int, ids: np.ndarray, labels: np.ndarray | None) -> Batch:
        return Batch(number, ids, None, labels, self.frames)

    def fill(self, batch: Batch) -> None:
        batch.images = self.gather(batch.ids)

    def gather(self, ids: np.ndarray | torch.Tensor) -> torch.Tensor:
        """The images ``ids``, uint8 [B, H, W, C], of clips [B * T, H, W, C], where the array lives (on a GPU: on its current
        stream)."""
        if isinstance(self.images, np.ndarray):
            images = torch.from_numpy(np.ascontiguousarray(self.images[ids]))
        else:
            images = self.images[to_device(ids, self.images.device)]
        return images if self.frames is None else images.flatten(0, 1)
