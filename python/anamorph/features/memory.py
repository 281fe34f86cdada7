"""Memory for what the native passes write."""

from __future__ import annotations

import torch
from torch import Tensor

from anamorph import _native

_DTYPES = {torch.float32: 1, torch.float16: 2, torch.bfloat16: 3}  # csrc/images/program.h: Dtype
_LARGE = 1 << 20  # bytes


def new_like(x: Tensor, layout: torch.memory_format) -> Tensor:
    """A tensor of x's shape, dtype and device, not filled. A large one on the host comes from memory that is kept when it is
    freed: a new page is cleared when it is first touched, which takes longer than a pass over it."""
    if x.device.type == "cpu" and x.numel() * x.element_size() >= _LARGE and x.dtype in _DTYPES:
        b, c = x.shape[0], x.shape[1]
        flat = x.shape[2:].numel()
        made = _native.new_images(x.detach(), b, c, flat, 1, _DTYPES[x.dtype], layout is not torch.contiguous_format)
        if made is not None:
            out: Tensor = made
            if layout is torch.contiguous_format:
                return out.view(x.shape)
            return out.as_strided(x.shape, torch.empty(x.shape, device="meta", memory_format=layout).stride())
    return torch.empty_like(x, memory_format=layout)
