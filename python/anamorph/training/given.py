"""Checks of what a training loop gives: logits, class ids, batches of pictures."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.core.tensors import as_integers, as_tensor


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


def pictures(name: str, value: Any, square: bool = False) -> Tensor:
    """A batch [B, C, H, W] of any dtype."""
    t = as_tensor(name, value)
    if t.dim() != 4 or not t.numel():
        raise ShapeError(f"{name}: expected [B, C, H, W] with nothing empty, given {list(t.shape)}")
    if square and t.shape[2] != t.shape[3]:
        raise ShapeError(f"{name}: expected square pictures for quarter turns, given {t.shape[2]} x {t.shape[3]} pixels")
    return t
