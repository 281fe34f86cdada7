"""Memory for what the native core writes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from anamorph import _native

# The dtypes of pictures, given and made, as the native core numbers them.
CODES = {torch.uint8: 0, torch.float32: 1, torch.float16: 2, torch.bfloat16: 3}

_LARGE = 1 << 20  # values


def room(like: Tensor, shape: tuple[int, int, int, int], dtype: torch.dtype, channels_last: bool = False) -> Tensor:
    """A new tensor [B, C, H, W] on ``like``'s device. A large one on the host lies in memory that anamorph keeps when it is
    freed; torch would have the kernel clear new pages for every batch, which takes longer than filling them."""
    if math.prod(shape) >= _LARGE and not like.is_cuda:
        kept: Tensor | None = _native.new_images(like, *shape, CODES[dtype], channels_last)
        if kept is not None:
            return kept
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(shape, dtype=dtype, device=like.device, memory_format=memory_format)
