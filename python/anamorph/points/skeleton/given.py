"""Checks of what is given to the functions of skeletons: poses, points in a picture, cameras and parameters."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.core.tensors import as_tensor
from anamorph.points.skeleton.tree import Tree


def is_tree(where: str, tree: Any) -> Tree:
    """A tree and nothing else."""
    if not isinstance(tree, Tree):
        raise ArgumentError(f"{where}: expected a Tree, given {type(tree).__name__}")
    return tree


def floats(where: str, value: Any, form: str, shape: tuple[int | None, ...], like: Tensor | None = None) -> Tensor:
    """A tensor of float32 or float64, of a shape, where None may be any size from 1; of ``like``'s dtype and device. On the host
    all numbers must be finite; on a GPU nobody looks."""
    t = as_tensor(where, value)
    if t.dtype not in (torch.float32, torch.float64):
        raise DtypeError(f"{where}: expected float32 or float64 {form}, given {str(t.dtype).removeprefix('torch.')}")
    if t.dim() != len(shape) or any(s < 1 if n is None else s != n for s, n in zip(t.shape, shape, strict=True)):
        raise ShapeError(f"{where}: expected {form}, given {list(t.shape)}")
    if like is not None:
        same_device(where, t, like)
    if like is not None and t.dtype != like.dtype:
        raise DtypeError(f"{where}: expected {like.dtype} like the others, given {t.dtype}")
    if t.device.type == "cpu" and not bool(torch.isfinite(t.detach()).all()):
        raise ArgumentError(f"{where}: expected finite numbers, given some that are NaN or infinite")
    return t


def poses(where: str, value: Any, tree: Tree, like: Tensor | None = None) -> Tensor:
    """Joints ``[B, J, 3]`` of a tree."""
    joints = len(is_tree(where, tree))
    return floats(where, value, f"[B, {joints}, 3], the tree's joints", (None, joints, 3), like)


def camera(where: str, value: Any, like: Tensor) -> Tensor:
    """``[B, 9]`` of ``[9]``, ``[4]`` or one row for each pose; what is left out is no distortion."""
    t = as_tensor(where, value)
    if t.dim() not in (1, 2) or t.shape[-1] not in (4, 9) or (t.dim() == 2 and t.shape[0] not in (1, len(like))):
        raise ShapeError(f"{where}: expected [4] (focal lengths, centre) or [9] (and k1, k2, k3, p1, p2), or one row of these "
                         f"for each of {len(like)} poses, given {list(t.shape)}")
    t = floats(where, t, "a camera", tuple(t.shape), like)
    if t.device.type == "cpu" and not bool((t.detach()[..., :2] > 0).all()):
        raise ArgumentError(f"{where}: expected focal lengths above 0, given {t.detach()[..., :2].min().item():g}")
    t = t if t.dim() == 2 else t[None]
    return t if t.shape[1] == 9 else torch.cat([t, t.new_zeros(len(t), 5)], 1)


def same_device(where: str, value: Tensor, like: Tensor) -> None:
    """Tensors that work together lie together."""
    if value.device != like.device:
        raise DeviceError(f"{where}: expected on {like.device} like the poses, given on {value.device}")
