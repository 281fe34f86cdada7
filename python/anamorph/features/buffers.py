"""Buffers that are read and then overwritten in one step."""

from __future__ import annotations

import torch
from torch import Tensor


def as_now(buffer: Tensor) -> Tensor:
    """The buffer with its present values. While torch.compile reads the program it is a copy that the backward pass cannot make
    again: what is computed from a buffer may be computed once more there, when the buffer has been overwritten, and the gradients
    are then silently wrong (torch 2.13; github.com/pytorch/pytorch/pull/197039)."""
    return torch.ops.anamorph.as_now(buffer) if torch.compiler.is_compiling() else buffer


@torch.library.custom_op("anamorph::as_now", mutates_args=(), schema="(Tensor buffer) -> Tensor")
def _as_now(buffer: Tensor) -> Tensor:
    return buffer.clone()


@_as_now.register_fake
def _(buffer: Tensor) -> Tensor:
    return torch.empty_like(buffer)
