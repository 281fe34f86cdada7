"""Memory for what the native passes over features write."""

from __future__ import annotations

import torch
from torch import Tensor

from anamorph.core.memory import CODES, room


def new_like(x: Tensor, layout: torch.memory_format) -> Tensor:
    """A tensor of x's shape, dtype and device, not filled; :func:`~anamorph.core.memory.room` says where."""
    if x.dtype not in CODES or x.dim() < 2:
        return torch.empty_like(x, memory_format=layout)
    last = layout is not torch.contiguous_format
    out = room(x.detach(), (x.shape[0], x.shape[1], x.shape[2:].numel(), 1), x.dtype, last)
    if not last:
        return out.view(x.shape)
    return out.as_strided(x.shape, torch.empty(x.shape, device="meta", memory_format=layout).stride())
