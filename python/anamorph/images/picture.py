"""One picture, as torchvision's transforms take it, as the batch of one that render takes."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anamorph.core.errors import ArgumentError, ShapeError
from anamorph.core.tensors import as_tensor

_MODES = ("L", "LA", "RGB", "RGBA")  # PIL's, of bytes that mean what render takes them for


def as_batch(image: Any) -> tuple[Tensor, str]:
    """The batch of one and its layout. A tensor is [C, H, W]; PIL's and an array are [H, W, C], or [H, W] where grey.

    Raises:
        ArgumentError, ShapeError: it is no picture, or one of a kind that must be converted first.
    """
    pil = sys.modules.get("PIL.Image")  # who has a PIL picture has imported it
    if pil is not None and isinstance(image, pil.Image):
        if image.mode not in _MODES:
            raise ArgumentError(f"image: expected a PIL image of mode {', '.join(_MODES[:-1])} or {_MODES[-1]}, given "
                                f"{image.mode!r}; convert it: image.convert('RGB')")
        return _checked(torch.from_numpy(np.array(image)), "NHWC")
    if isinstance(image, Tensor):
        return _checked(as_tensor("image", image.as_subclass(Tensor)), "NCHW")
    if isinstance(image, list | tuple):
        raise ArgumentError(f"image: expected one picture, given a {type(image).__name__}; plan and render do a batch")
    return _checked(as_tensor("image", image), "NHWC")


def _checked(t: Tensor, layout: str) -> tuple[Tensor, str]:
    axes = list(layout[1:])
    if t.dim() == 2 and layout == "NHWC":
        t = t[..., None]
    if t.dim() != 3:
        raise ShapeError(f"image: expected one picture [{', '.join(axes)}], given {list(t.shape)}; plan and render do a batch")
    return t[None], layout
