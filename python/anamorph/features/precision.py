"""Losses and statistics are computed in float32, in float64 where that is given, also under autocast."""

from __future__ import annotations

import torch
from torch import Tensor


def full(x: Tensor) -> Tensor:
    """float64 stays, all other floats become float32."""
    return x if x.dtype == torch.float64 else x.float()


def widened(*tensors: Tensor) -> tuple[Tensor, ...]:
    """:func:`full` of each."""
    return tuple(full(t) for t in tensors)


def no_autocast(x: Tensor) -> torch.autocast:
    """For products of matrices, which autocast would round."""
    return torch.autocast(x.device.type, enabled=False)


unhalved = no_autocast
