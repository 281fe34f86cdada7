"""Pictures as people have them, PIL's, arrays' and tensors', as render takes them; and what to say where it cannot."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DtypeError, ShapeError
from anamorph.core.memory import CODES
from anamorph.core.tensors import as_tensor

_MODES = ("L", "LA", "RGB", "RGBA")  # PIL's, of bytes that mean what render takes them for


def from_pil(name: str, image: Any) -> Tensor | None:
    """A PIL picture as a tensor [H, W, C]; None of what is none.

    Raises:
        ArgumentError: a mode that must be converted first.
    """
    pil = sys.modules.get("PIL.Image")  # who has a PIL picture has imported it
    if pil is None or not isinstance(image, pil.Image):
        return None
    if image.mode not in _MODES:
        raise ArgumentError(f"{name}: expected a PIL image of mode {', '.join(_MODES[:-1])} or {_MODES[-1]}, given "
                            f"{image.mode!r}; convert it: {name}.convert('RGB')")
    try:
        array = np.array(image)  # decodes it, if that has not been done
    except MemoryError:
        raise
    except Exception as error:
        raise ArgumentError(f"{name}: expected a PIL image, given one whose pixels cannot be read ({error})") from error
    return torch.from_numpy(array if array.ndim == 3 else array[..., None])


def as_batch(image: Any, foreign: list[Tensor]) -> tuple[Tensor, str]:
    """One picture as a batch of one, and its layout. A tensor is [C, H, W]; PIL's and an array are [H, W, C], or [H, W] where
    grey. ``foreign``: as of :func:`as_tensor`.

    Raises:
        ArgumentError, ShapeError: it is no picture, or one of a kind that must be converted first.
    """
    pixels = from_pil("image", image)
    if pixels is not None:
        return pixels[None], "NHWC"
    if isinstance(image, list | tuple):
        raise ArgumentError(f"image: expected one picture, given a {type(image).__name__}; plan and render do a batch")
    t, layout = as_tensor("image", image, foreign), "NHWC"
    if isinstance(image, Tensor):
        t, layout = t.as_subclass(Tensor), "NCHW"
    elif t.dim() == 2:
        t = t[..., None]
    axes = ", ".join(layout[1:])
    if t.dim() != 3:
        raise ShapeError(f"image: expected one picture [{axes}], given {list(t.shape)}; plan and render do a batch")
    check_dtype("image", t, image)
    if t.shape[layout.index("C") - 1] > checks.MAX_CHANNELS:
        raise ShapeError(f"image: expected [{axes}] with 1 to {checks.MAX_CHANNELS} channels, given {list(t.shape)}"
                         + permuted("image", image, checks.MAX_CHANNELS))
    return t[None], layout


def permuted(name: str, image: Any, most: int) -> str:
    """What makes a tensor of a picture [H, W, C], or an array of one [C, H, W], if it is one: at most ``most`` channels."""
    tensor = isinstance(image, Tensor)
    if not 1 <= image.shape[-1 if tensor else 0] <= most:
        return ""
    return f"; of [H, W, C]: {name}.permute(2, 0, 1)" if tensor else f"; of [C, H, W]: {name}.transpose(1, 2, 0)"


def check_dtype(name: str, t: Tensor, given: Any) -> None:
    """Raises for pixels of a dtype that the engine does not read; ``given``: what ``t`` shows."""
    if t.dtype in CODES:
        return
    given, hint = given if isinstance(given, np.ndarray) else t, ""
    if t.dtype.is_floating_point:
        hint = f"; {name}.float()" if given is t else f"; {name}.astype('float32')"
    elif not t.dtype.is_complex:
        hint = f"; of {bytes_of(name, given)}"
    raise DtypeError(f"{name}: expected uint8, float32, float16 or bfloat16, given {str(t.dtype).removeprefix('torch.')}{hint}")


def bytes_of(name: str, given: Any) -> str:
    """Of which other numbers, a tensor's or an array's, and how, bytes are made."""
    tensor = isinstance(given, Tensor)
    floats = given.dtype.is_floating_point if tensor else given.dtype.kind == "f"
    to = ".to(torch.uint8)" if tensor else ".astype('uint8')"
    if floats:
        return f"floats from 0 to 1: (255 * {name}).round(){to}"
    if given.dtype in (torch.bool, np.bool_):
        return f"flags: 255 * {name}{to}"
    return f"numbers from 0 to 255: {name}{to}"
