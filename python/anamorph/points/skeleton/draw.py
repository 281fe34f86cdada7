"""Random numbers by sample ids: Philox where the ids are, the same bits on every device and in every batch."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.core.errors import ShapeError
from anamorph.core.move import to_device
from anamorph.core.philox import philox
from anamorph.core.tensors import as_device, as_integers

_LOW = 0xFFFFFFFF
_FIRST = 512  # slots below are those of recipes for images: one seed for both then gives numbers that are independent
_PAIRING = _FIRST - 1
STEPS = 256
WORDS = 4096  # of a slot


def seed(value: Any) -> int:
    """The key of Philox."""
    return checks.whole("seed", value, 0, 2**64 - 1)


def epoch(value: Any) -> int:
    """A word of the counter."""
    return checks.whole("epoch", value, 0, 2**32 - 1)


def view(value: Any) -> int:
    """Part of a word of the counter."""
    return checks.whole("view", value, 0, 4095)


def ids(value: Any, device: Any) -> Tensor:
    """Sample ids, int64 ``[B]``."""
    found = as_integers("index", value)
    if found.dim() != 1 or not len(found):
        raise ShapeError(f"index: expected sample ids [B] with B >= 1, given shape {list(found.shape)}")
    return found if device is None else to_device(found, as_device(device))


def uniform(index: Tensor, count: int, seed: int, epoch: int, view: int, step: int) -> Tensor:
    """float32 ``[B, count]`` in [0, 1), multiples of 2**-24: numbers that float32 holds as they are, on every device."""
    return (_words(index, count, seed, epoch, view, _FIRST + step) >> 8).float() * 2.0**-24


def _words(index: Tensor, count: int, seed: int, epoch: int, view: int, slot: int) -> Tensor:
    names = index[:, None]
    blocks = torch.arange((count + 3) // 4, device=index.device)[None] + (view << 20 | slot << 10)
    found = philox((blocks, names & _LOW, names >> 32 & _LOW, torch.full_like(names, epoch)), seed)
    return torch.stack(torch.broadcast_tensors(*found), 2).flatten(1)[:, :count]


def normal(u: Tensor) -> Tensor:
    """Standard normal numbers ``[B, n]`` of uniform ones ``[B, 2 n]`` (Box and Muller, 1958)."""
    a, b = u.chunk(2, 1)
    return torch.sqrt(-2 * torch.log1p(-a)) * torch.cos(2 * math.pi * b)


def sphere(u: Tensor) -> Tensor:
    """Directions ``[B, n, 3]``, all as likely, of uniform numbers ``[B, 2 n]``."""
    a, b = u.chunk(2, 1)
    z = 2 * a - 1
    around = torch.sqrt((1 - z * z).clamp_min(0))
    return torch.stack([around * torch.cos(2 * math.pi * b), around * torch.sin(2 * math.pi * b), z], 2)


def permutation(count: int, *, seed: int = 0, epoch: int = 0, device: Any = "cpu") -> Tensor:
    """0 to ``count`` - 1 in an order that (seed, epoch) names, int64 ``[count]``, the same on every device: which target goes
    with which source in :func:`global_position_alignment`.

    Raises:
        ArgumentError: what was given and what is expected. DeviceError: a device that is not there.
    """
    count = checks.whole("count", count, 1, 2**31 - 1)
    index = torch.arange(count, device=as_device(device))
    return torch.sort(_words(index, 1, checks.whole("seed", seed, 0, 2**64 - 1), checks.whole("epoch", epoch, 0, 2**32 - 1), 0,
                             _PAIRING)[:, 0], stable=True).indices
