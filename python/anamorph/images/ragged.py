"""A batch of pictures of different sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anamorph import _native
from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DeviceError, ShapeError
from anamorph.core.move import to_device
from anamorph.core.tensors import as_integers, as_tensor
from anamorph.images.picture import check_dtype, from_pil

_LAYOUTS = {None: 0, "HWC": 1, "CHW": 2}  # as the native core numbers them


class Ragged:
    """Pictures of different sizes, packed one after the other in one buffer.

    Args:
        buffer: uint8, float32, float16 or bfloat16 ``[N]``, contiguous.
        offsets: int64 ``[B]``, where each picture ``[h, w, channels]`` begins, in elements. On the host, because they are
            checked.
        sizes: int64 ``[B, 2]``, each picture's (height, width). On the host.
        channels: 1 to 4.

    Raises:
        ShapeError: a picture that reaches beyond the buffer.
    """

    buffer: Tensor | None = None

    def __init__(self, buffer: Any, offsets: Any, sizes: Any, channels: int) -> None:
        foreign: list[Tensor] = []
        given, buffer = buffer, as_tensor("buffer", buffer, foreign)
        check_dtype("buffer", buffer, given)
        if buffer.dim() != 1 or not buffer.is_contiguous():
            raise ShapeError(f"buffer: expected a contiguous [N], given {list(buffer.shape)}")
        channels = checks.whole("channels", channels, 1, 4)
        offsets, sizes = as_integers("offsets", offsets), as_integers("sizes", sizes)
        if offsets.is_cuda or sizes.is_cuda:
            raise DeviceError("offsets, sizes: expected on the host, given on " + str(offsets.device))
        if offsets.dim() != 1 or sizes.shape != (len(offsets), 2) or not len(offsets):
            raise ShapeError(f"offsets, sizes: expected [B] and [B, 2] with B >= 1, given {list(offsets.shape)} and "
                             f"{list(sizes.shape)}")
        _check_sizes(sizes)
        latest = len(buffer) - sizes[:, 0] * sizes[:, 1] * channels  # where each may begin; a sum could overflow
        if bool(((offsets < 0) | (offsets > latest)).any()):
            i = int(((offsets < 0) | (offsets > latest)).nonzero()[0])
            end = int(offsets[i]) + len(buffer) - int(latest[i])
            raise ShapeError(f"buffer: expected at least {end} elements for picture {i}, and offsets of at least 0, given "
                             f"{len(buffer)} elements and offset {int(offsets[i])}")
        check_grad("buffer", buffer)
        table = _new_table(len(offsets))
        torch.mul(offsets, buffer.element_size(), out=table[:len(offsets)])
        table[len(offsets):] = sizes.reshape(-1)
        self._set(table, channels, (buffer,), foreign)
        self.buffer = buffer
        self._table = to_device(table, buffer.device)

    @classmethod
    def from_list(cls, images: Sequence[Any], layout: str | None = None) -> Ragged:
        """Pictures in memory of their own; nothing is copied but what is not packed as ``[H, W, C]``.

        Args:
            images: PIL's, or ``[H, W, C]`` or ``[C, H, W]`` each.
            layout: "HWC" or "CHW", of those that are not PIL's; by default "CHW" where the first axis alone can be 1 to 4
                channels, "HWC" otherwise.
        """
        self = cls._of_list(images, layout)
        self._table = to_device(self._table, self.device)
        return self

    @classmethod
    def _of_list(cls, images: Sequence[Any], layout: str | None = None) -> Ragged:
        """The same, its table still on the host."""
        single = isinstance(images, Tensor | np.ndarray) and images.ndim == 0
        if single or not isinstance(images, Sequence | Tensor | np.ndarray):
            raise ArgumentError(f"images: expected a list of pictures, given {type(images).__name__}")
        images = list(images)  # of which nobody else takes anything away
        if not images:
            raise ShapeError("images: expected at least one picture, given an empty list")
        if layout is not None:
            layout = checks.choice("layout", layout, ("HWC", "CHW"))
        table = _new_table(len(images))
        foreign: list[Tensor] = []
        tensors, channels = _native.pictures(images, lambda i: _plain(f"images[{i}]", images[i], layout, foreign),
                                             _LAYOUTS[layout], table)
        self = cls.__new__(cls)
        self._set(table, channels, tuple(tensors), foreign)
        return self

    def _set(self, table: Tensor, channels: int, keep: tuple[Tensor, ...], foreign: list[Tensor]) -> None:
        self.sizes = table[len(table) // 3:].view(-1, 2)
        self.channels = channels
        self.dtype = keep[0].dtype
        self.device = keep[0].device
        self.tensors = keep  # where the pictures lie, the buffer or each of the list, which live as long as their addresses
        self._foreign = foreign  # and on a GPU, where they are another library's, until they have been read
        self._host = table
        self._table = table  # as the kernel reads it: where each begins, in bytes, then the sizes

    def _arrive(self, table: Tensor, pixels: Tensor | None) -> None:
        """The table where the pictures are, and of packed pictures these, brought there by a copy of somebody else's."""
        self._table = table
        if pixels is not None:
            self.buffer = pixels
            self.tensors, self.device = (pixels,), pixels.device

    def _check_there(self) -> None:
        """Raises where a picture has been given other memory since its address was noted, as by ``set_`` or ``resize_``."""
        if self.buffer is None:
            _native.check_pictures(self.tensors, self._host)

    def __reduce__(self) -> tuple[Any, ...]:
        # Addresses are no other process's, and no copy's.
        if self.buffer is None:
            return _of_tensors, self.tensors
        offsets = self._table[:len(self)].cpu() // self.buffer.element_size()
        return type(self), (self.buffer, offsets, self.sizes, self.channels)

    def _values(self) -> int:
        """How many the pictures have."""
        return int(self.sizes.prod(1).sum()) * self.channels

    def _sizes_there(self) -> Tensor:
        """The sizes where the pictures are."""
        return self._table[len(self):].view(-1, 2)

    def __len__(self) -> int:
        return len(self.sizes)


def _of_tensors(*images: Tensor) -> Ragged:
    return Ragged.from_list(images, "HWC")


def _new_table(count: int) -> Tensor:
    return torch.empty(3 * count, dtype=torch.int64, device="cpu")


def _plain(name: str, image: Any, layout: str | None, foreign: list[Tensor]) -> Tensor:
    """What is no plain tensor of pixels as one, if it can be."""
    pixels = from_pil(name, image)
    if pixels is not None:
        return pixels.permute(2, 0, 1) if layout == "CHW" else pixels
    t = as_tensor(name, image, foreign)
    check_dtype(name, t, image)
    check_grad(name, t)
    return t.detach()


def check_grad(name: str, t: Tensor) -> None:
    if t.requires_grad and torch.is_grad_enabled():
        raise ArgumentError(f"{name}: render has no gradient with respect to images; given a tensor that requires one, "
                            f"expected {name}.detach()")


def _check_sizes(sizes: Tensor) -> None:
    if int(sizes.min()) < 1 or int(sizes.max()) > checks.MAX_SIDE:
        raise ShapeError(f"sizes: expected {checks.SIDES}, given {int(sizes.min())} to {int(sizes.max())}")
