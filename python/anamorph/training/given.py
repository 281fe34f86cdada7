"""Checks of what a training loop gives: logits, class ids, sample ids and seeds, batches of pictures."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.core.move import to_device
from anamorph.core.tensors import as_integers, as_tensor
from anamorph.images.render import channels_first

LAYOUTS = ("NHWC", "NCHW")


def floats(name: str, value: Any, form: str = "[B, K]") -> Tensor:
    """A tensor of floats with the axes that ``form`` names, none of them empty; float64 stays, all others become
    float32."""
    t = as_tensor(name, value)
    if not t.dtype.is_floating_point:
        raise DtypeError(f"{name}: expected floats {form}, given {t.dtype}")
    if t.dim() != form.count(",") + 1 or not t.numel():
        raise ShapeError(f"{name}: expected {form} with nothing empty, given {list(t.shape)}")
    return t if t.dtype == torch.float64 else t.float()


def pair(names: tuple[str, str], first: Any, second: Any, form: str) -> tuple[Tensor, Tensor]:
    """Two tensors of floats of one shape and on one device."""
    a, b = (floats(name, value, form) for name, value in zip(names, (first, second), strict=True))
    if a.shape != b.shape:
        raise ShapeError(f"{names[0]}, {names[1]}: expected {form} of one shape, given {list(a.shape)} and {list(b.shape)}")
    same_device(names[1], b, names[0], a)
    return a, b


def same_device(name: str, t: Tensor, other: str, like: Tensor) -> None:
    if t.device != like.device:
        raise DeviceError(f"{name}: expected on {like.device} like {other}, given on {t.device}")


def class_ids(name: str, value: Any, count: int, classes: int, like: Tensor) -> Tensor:
    """int64 [count], on ``like``'s device; on the host also in range."""
    ids = as_integers(name, value)
    if list(ids.shape) != [count]:
        raise ShapeError(f"{name}: expected class ids [{count}], given {list(ids.shape)}")
    same_device(name, ids, "what they belong to", like)
    if ids.device.type == "cpu" and not bool(((ids >= 0) & (ids < classes)).all()):
        raise ArgumentError(f"{name}: expected class ids from 0 to {classes - 1}, given {int(ids.min())} to {int(ids.max())}")
    return ids


def sample_ids(name: str, value: Any, count: int | None, device: torch.device | None = None) -> Tensor:
    """int64 [B] on ``device``, or else where they are. ``count``: how many pictures they are the ids of; None: any number."""
    ids = as_integers(name, value)
    if ids.dim() != 1 or not len(ids) or count not in (None, len(ids)):
        expected = "sample ids [B] with B >= 1" if count is None else f"{count} sample ids, one for each picture"
        raise ShapeError(f"{name}: expected {expected}, given shape {list(ids.shape)}")
    return ids if device in (None, ids.device) else to_device(ids, device)


def seed(name: str, value: Any) -> int:
    return checks.whole(name, value, 0, 2**64 - 1)


def batch(where: str, value: Any, layout: Any, foreign: list[Tensor]) -> tuple[Tensor, str]:
    """Pictures that are one tensor, of any dtype and of as many channels as there are, and their layout, "NHWC" or "NCHW".
    ``where``: what stands before the arguments' names. ``foreign``: as of ``as_tensor``."""
    if layout is not None:
        layout = checks.choice(f"{where}layout", layout, LAYOUTS)
    if isinstance(value, list | tuple):
        raise ArgumentError(f"{where}images: expected one tensor [B, H, W, C] or [B, C, H, W], given a {type(value).__name__} of "
                            f"{len(value)}; torch.stack makes one of tensors of one size")
    t = as_tensor(f"{where}images", value, foreign)
    if layout is None or t.dim() != 4:
        layout = "NCHW" if channels_first(t.shape, None, layout) else "NHWC"
    if not t.numel():
        raise ShapeError(f"{where}images: expected B >= 1 pictures with pixels, given {list(t.shape)}")
    return t, layout


def pictures(name: str, value: Any, square: bool = False) -> Tensor:
    """A batch [B, C, H, W] of any dtype."""
    t = as_tensor(name, value)
    if t.dim() != 4 or not t.numel():
        raise ShapeError(f"{name}: expected [B, C, H, W] with nothing empty, given {list(t.shape)}")
    if square and t.shape[2] != t.shape[3]:
        raise ShapeError(f"{name}: expected square pictures for quarter turns, given {t.shape[2]} x {t.shape[3]} pixels")
    return t
