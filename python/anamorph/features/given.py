"""Checks of what the methods of feature space are given: shapes, dtypes, devices always; values only in what is kept from step to
step, on the host, outside of torch.compile."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError


def features(name: str, value: Any, form: str = "[B, D]", like: Tensor | None = None) -> Tensor:
    """A tensor of floats with the axes that ``form`` names, none of them empty. A letter that stands twice in it, or a number, is
    one length; ``...`` is any number of axes. ``like``: what it shares device and dtype with."""
    if not isinstance(value, Tensor):
        raise ArgumentError(f"{name}: expected a tensor {form}, given {type(value).__name__}")
    if not value.is_floating_point():
        raise DtypeError(f"{name}: expected floats {form}, given {value.dtype}")
    shaped(name, value, form)
    if like is not None:
        same_device(name, value, like)
        if value.dtype != like.dtype:
            raise DtypeError(f"{name}: expected {like.dtype} like what it goes with, given {value.dtype}")
    return value


def shaped(name: str, t: Tensor, form: str) -> None:
    axes = [axis.strip() for axis in form.strip("[]").split(",")]
    known: dict[str, int] = {}
    fits = len(t.shape) >= len(axes) - 1 if "..." in axes else len(t.shape) == len(axes)
    if fits:
        ahead = axes.index("...") if "..." in axes else len(axes)
        behind = axes[ahead + 1:]
        sides = [*zip(axes[:ahead], t.shape), *zip(behind, t.shape[len(t.shape) - len(behind):])]
        for axis, side in sides:
            expected = int(axis) if axis.isdigit() else known.setdefault(axis, side)
            fits = fits and side == expected
    if not fits or 0 in t.shape:
        raise ShapeError(f"{name}: expected {form} with nothing empty, given {list(t.shape)}")


def same_shape(name: str, t: Tensor, other: str, like: Tensor) -> None:
    if t.shape != like.shape:
        raise ShapeError(f"{name}: expected {list(like.shape)} like {other}, given {list(t.shape)}")


def same_device(name: str, t: Tensor, like: Tensor) -> None:
    if t.device != like.device:
        raise DeviceError(f"{name}: expected on {like.device} like what it goes with, given on {t.device}")


def labels(name: str, value: Any, like: Tensor, classes: int | None = None) -> Tensor:
    """int64 class ids [B] of the rows of ``like``, on the host also in range."""
    if not isinstance(value, Tensor):
        raise ArgumentError(f"{name}: expected int64 class ids [B], given {type(value).__name__}")
    if value.dtype != torch.int64:
        raise DtypeError(f"{name}: expected int64 class ids [B], given {value.dtype}")
    if list(value.shape) != [len(like)]:
        raise ShapeError(f"{name}: expected class ids [{len(like)}], one for each row, given {list(value.shape)}")
    same_device(name, value, like)
    if looked_at(value) and (int(value.min()) < 0 or (classes is not None and int(value.max()) >= classes)):
        allowed = "of at least 0" if classes is None else f"from 0 to {classes - 1}"
        raise ArgumentError(f"{name}: expected class ids {allowed}, given {int(value.min())} to {int(value.max())}")
    return value


def looked_at(t: Tensor) -> bool:
    """Whether values are checked: on the host, and not while torch.compile reads the program."""
    return t.device.type == "cpu" and not torch.compiler.is_compiling()


def finite(name: str, t: Tensor) -> None:
    """For what is kept: one NaN would spoil it for good."""
    if looked_at(t) and not bool(torch.isfinite(t).all()):
        raise ArgumentError(f"{name}: expected finite numbers, given NaN or infinity")


def step(value: Any, device: torch.device) -> Tensor:
    """The key of random numbers: (seed, step) as int64 [2] on ``device``."""
    if isinstance(value, Tensor):
        if value.dtype != torch.int64:
            raise DtypeError(f"step: expected int64 [2], (seed, step), given {value.dtype}")
        if list(value.shape) != [2]:
            raise ShapeError(f"step: expected int64 [2], (seed, step), given {list(value.shape)}")
        if value.device.type != device.type or device.index not in (None, value.device.index):
            raise DeviceError(f"step: expected on {device} like the features, given on {value.device}")
        return value
    if (not isinstance(value, tuple | list) or len(value) != 2
            or any(isinstance(v, bool) or not isinstance(v, int) for v in value)):
        raise ArgumentError(f"step: expected (seed, step), two ints or an int64 tensor [2], given {value!r}")
    if not all(-2**63 <= v < 2**63 for v in value):
        raise ArgumentError(f"step: expected two numbers of 64 bits, given {value!r}")
    return torch.tensor([value[0], value[1]], dtype=torch.int64, device=device)
