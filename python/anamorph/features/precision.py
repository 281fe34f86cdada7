"""Losses and statistics are computed in float32, in float64 where that is given, also under autocast. A number that changes
from step to step (a schedule's) may be a tensor of one value on the device: then neither torch.compile nor a captured CUDA
graph holds on to it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DtypeError, ShapeError
from anamorph.features import given


def full_dtype(x: Tensor) -> torch.dtype:
    """float64 of float64, float32 of all other floats: that of sums, statistics and weights of ``x``."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def full(x: Tensor) -> Tensor:
    """float64 stays, all other floats become float32."""
    return x.to(full_dtype(x))


def no_autocast(x: Tensor) -> torch.autocast:
    """For products of matrices, which autocast would round."""
    return torch.autocast(x.device.type, enabled=False)


def number(name: str, value: Any, like: Tensor, low: float = -math.inf, high: float = math.inf) -> float | Tensor:
    """A number, or a tensor of one on ``like``'s device, which becomes ``like``'s dtype; in [low, high], on a GPU unseen."""
    if not isinstance(value, Tensor) or value.is_meta:
        return checks.number(name, value, low, high)
    if not value.is_floating_point():
        raise DtypeError(f"{name}: expected a number or a tensor of one float, given {value.dtype}")
    if value.dim():
        raise ShapeError(f"{name}: expected a number or a tensor of one, [], given {list(value.shape)}")
    given.same_device(name, value, like)
    within(name, value, low, high)
    return value.to(like.dtype)


def within(name: str, t: Tensor, low: float, high: float) -> None:
    """Values in [low, high], on the host; NaN is not."""
    if given.looked_at(t) and not bool(((t >= low) & (t <= high)).all()):
        raise ArgumentError(f"{name}: expected numbers from {low:g} to {high:g}, given {float(t.min()):g} to {float(t.max()):g}")
