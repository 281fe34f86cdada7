"""A batch of pictures of different sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.core.tensors import as_integers, as_tensor
from anamorph.images.picture import check_dtype, from_pil


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
        self._set(buffer, offsets * buffer.element_size(), sizes, channels, buffer.dtype, buffer.device, (), foreign)

    @classmethod
    def from_list(cls, images: Sequence[Any], layout: str | None = None) -> Ragged:
        """Pictures in memory of their own; nothing is copied but what is not packed as ``[H, W, C]``.

        Args:
            images: PIL's, or ``[H, W, C]`` or ``[C, H, W]`` each.
            layout: "HWC" or "CHW", of those that are not PIL's; by default "CHW" where the first axis alone can be 1 to 4
                channels, "HWC" otherwise.
        """
        if not len(images):
            raise ShapeError("images: expected at least one picture, given an empty list")
        if layout is not None:
            layout = checks.choice("layout", layout, ("HWC", "CHW"))
        foreign: list[Tensor] = []
        tensors = [_channels_last(f"images[{i}]", image, layout, foreign) for i, image in enumerate(images)]
        first = tensors[0]
        addresses, sizes = [], []
        for i, t in enumerate(tensors):
            if t.dim() != 3 or not 1 <= t.shape[2] <= 4 or not t.shape[0] or not t.shape[1]:
                shape = list(as_tensor(f"images[{i}]", images[i]).shape)
                other = layout and len(shape) == 3 and 1 <= shape[0 if layout == "HWC" else 2] <= 4
                expected = f"[{', '.join(layout)}]" if layout else "[H, W, C] or [C, H, W]"
                raise ShapeError(f"images[{i}]: expected {expected} with 1 to 4 channels, given {shape}"
                                 + ("; without layout= both are told apart" if other else ""))
            check_dtype(f"images[{i}]", t, images[i])
            if t.dtype != first.dtype:
                raise DtypeError(f"images[{i}]: expected {first.dtype} as the first picture, given {t.dtype}")
            if t.shape[2] != first.shape[2]:
                raise ShapeError(f"images[{i}]: expected {first.shape[2]} channels as the first picture, given {t.shape[2]}")
            if t.device != first.device:
                raise DeviceError(f"images[{i}]: expected on {first.device} as the first picture, given on {t.device}")
            check_grad(f"images[{i}]", t)
            if not t.is_contiguous():
                t = tensors[i] = t.contiguous()
            addresses.append(t.data_ptr())
            sizes.append(t.shape[:2])
        self = cls.__new__(cls)
        self._set(None, torch.tensor(addresses, device="cpu"), torch.tensor(sizes, device="cpu"), first.shape[2], first.dtype,
                  first.device, tuple(tensors), foreign)
        _check_sizes(self.sizes)
        return self

    def _set(self, buffer: Tensor | None, offsets: Tensor, sizes: Tensor, channels: int, dtype: torch.dtype,
             device: torch.device, keep: tuple[Tensor, ...], foreign: list[Tensor]) -> None:
        self.buffer = buffer
        self.sizes = sizes
        self.channels = channels
        self.dtype = dtype
        self.device = device
        self._keep = keep  # the pictures live as long as their addresses
        self._foreign = foreign  # and on a GPU, where they are another library's, until they have been read
        self._table = torch.cat([offsets, sizes.reshape(-1)]).to(device, non_blocking=True)  # as the kernel reads it

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Where the pictures lie: the buffer, or each of the list."""
        return self._keep if self.buffer is None else (self.buffer,)

    def __len__(self) -> int:
        return len(self.sizes)


def _channels_last(name: str, image: Any, layout: str | None, foreign: list[Tensor]) -> Tensor:
    """A picture as [H, W, C], if it is one."""
    pixels = from_pil(name, image)
    if pixels is not None:
        return pixels
    t = as_tensor(name, image, foreign)
    if t.dim() != 3:
        return t
    first = layout == "CHW" if layout else not 1 <= t.shape[2] <= 4 and 1 <= t.shape[0] <= 4
    return t.permute(1, 2, 0) if first else t


def check_grad(name: str, t: Tensor) -> None:
    if t.requires_grad and torch.is_grad_enabled():
        raise ArgumentError(f"{name}: render has no gradient with respect to images; given a tensor that requires one, "
                            f"expected {name}.detach()")


def _check_sizes(sizes: Tensor) -> None:
    if int(sizes.min()) < 1 or int(sizes.max()) > checks.MAX_SIDE:
        raise ShapeError(f"sizes: expected {checks.SIDES}, given {int(sizes.min())} to {int(sizes.max())}")
