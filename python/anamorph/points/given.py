"""Checks of clouds that the functions of the family share."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from anamorph.core.errors import ArgumentError, DtypeError, ShapeError
from anamorph.core.tensors import as_tensor


def clouds(name: str, value: Any) -> Tensor:
    """float32 ``[B, N, 3]``, contiguous; finite where it lies on the host."""
    points = as_tensor(name, value)
    if points.dim() != 3 or points.shape[2] != 3 or 0 in points.shape:
        raise ShapeError(f"{name}: expected [B, N, 3] with B and N of at least 1, given {list(points.shape)}")
    if points.dtype != torch.float32:
        raise DtypeError(f"{name}: expected float32, given {str(points.dtype).removeprefix('torch.')}")
    if points.requires_grad:
        raise ArgumentError(f"{name}: expected a tensor without a gradient, because a plan's render has none; .detach() it")
    points = points.contiguous()
    finite(name, points)
    return points


def finite(name: str, values: Tensor) -> None:
    """No NaN and no infinity, where that can be seen without waiting for a device."""
    if values.device.type != "cpu" or math.isfinite(values.sum()):  # large ones may add up to infinity, too
        return
    if not bool(torch.isfinite(values).all()):
        at = (~torch.isfinite(values)).nonzero()[0].tolist()
        raise ArgumentError(f"{name}: expected finite numbers, given {values[tuple(at)].item()} at {at}")
