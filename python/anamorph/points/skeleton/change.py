"""Changes of poses by parameters that are given, as numbers or by a network: torch's gradients go through all of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.core.errors import ShapeError
from anamorph.core.tensors import as_tensor
from anamorph.points.skeleton import given
from anamorph.points.skeleton.bones import join, root_of, split, unit
from anamorph.points.skeleton.tree import Tree, layout

_LOST = 1e-6  # a sum of direction and change that is shorter has no direction; the bone then keeps its own


def change_angles(pose: Any, delta: Any, tree: Tree) -> Tensor:
    """Other directions of bones, whose lengths stay: unit' = normalise(unit + delta), PoseAug's (Gong et al., CVPR 2021).

    What hangs on a bone moves with it and is not turned. Bones of ``tree.fixed_directions`` stay.

    Args:
        pose: float32 or float64 ``[B, J, 3]``. delta: ``[B, J - 1, 3]``, in lengths of the bones.

    Returns:
        ``[B, J, 3]``; the root stays where it is.

    Raises:
        ShapeError, DtypeError, DeviceError, ArgumentError: what was given and expected. On a GPU values are not looked at.
    """
    pose = given.poses("pose", pose, tree)
    count = len(tree) - 1
    return shift_directions(pose, given.floats("delta", delta, f"[{len(pose)}, {count}, 3]", (len(pose), count, 3), pose), tree)


def shift_directions(pose: Tensor, delta: Tensor, tree: Tree) -> Tensor:
    """The same of what has been checked."""
    old = split(pose, tree)
    direction = unit(old)
    moved = direction + delta
    size = torch.linalg.vector_norm(moved, dim=2, keepdim=True)
    length = torch.linalg.vector_norm(old, dim=2, keepdim=True)
    new = torch.where(size > _LOST, moved / size.clamp_min(_LOST), direction) * length
    return join(torch.where(layout(tree, pose.device).free_directions, new, old), root_of(pose, tree), tree)


def turn_bones(pose: Any, axis_angle: Any, tree: Tree) -> Tensor:
    """The same by turns: bone i is turned about the axis ``axis_angle[:, i]`` by its length in radians, ``[B, J - 1, 3]``."""
    pose = given.poses("pose", pose, tree)
    count = len(tree) - 1
    form = f"[{len(pose)}, {count}, 3]"
    return turn_directions(pose, given.floats("axis_angle", axis_angle, form, (len(pose), count, 3), pose), tree)


def turn_directions(pose: Tensor, axis_angle: Tensor, tree: Tree) -> Tensor:
    """The same of what has been checked."""
    old = split(pose, tree)
    free = layout(tree, pose.device).free_directions
    return join(torch.where(free, turned(old, axis_angle), old), root_of(pose, tree), tree)


def change_lengths(pose: Any, ratio: Any, tree: Tree) -> Tensor:
    """Other lengths of bones, whose directions stay: length' = length * (1 + ratio).

    Args:
        pose: float32 or float64 ``[B, J, 3]``.
        ratio: one for each bone, ``[B, J - 1]``; or one for each of G groups, ``[B, G]`` (``tree.groups``: left and right are
            one), as PoseAug's nine. Bones of ``tree.fixed_lengths`` stay.

    Returns:
        ``[B, J, 3]``; the root stays where it is.

    Raises:
        ShapeError, DtypeError, DeviceError, ArgumentError: what was given and expected. On a GPU values are not looked at.
    """
    pose = given.poses("pose", pose, tree)
    count, groups = len(tree) - 1, max(tree.groups) + 1
    ratio = as_tensor("ratio", ratio)
    if ratio.dim() != 2 or ratio.shape[1] not in (count, groups):
        raise ShapeError(f"ratio: expected [{len(pose)}, {count}], one for each bone, or [{len(pose)}, {groups}], one for each "
                         f"group, given {list(ratio.shape)}")
    ratio = given.floats("ratio", ratio, f"[{len(pose)}, {ratio.shape[1]}]", (len(pose), ratio.shape[1]), pose)
    return scale_lengths(pose, ratio, tree)


def scale_lengths(pose: Tensor, ratio: Tensor, tree: Tree) -> Tensor:
    """The same of what has been checked."""
    old, at = split(pose, tree), layout(tree, pose.device)
    if ratio.shape[1] < len(tree) - 1:
        ratio = ratio.index_select(1, at.groups)
    ratio = torch.where(at.free_lengths, ratio, torch.zeros_like(ratio))
    return join(old + old * ratio[:, :, None], root_of(pose, tree), tree)


def rotate(pose: Any, axis_angle: Any, tree: Tree) -> Tensor:
    """Poses ``[B, J, 3]`` turned about their roots: by the length of ``axis_angle`` ``[B, 3]`` in radians about its direction,
    counter-clockwise where that points at who looks (Rodrigues)."""
    pose = given.poses("pose", pose, tree)
    return turn(pose, given.floats("axis_angle", axis_angle, f"[{len(pose)}, 3]", (len(pose), 3), pose), tree)


def turn(pose: Tensor, axis_angle: Tensor, tree: Tree) -> Tensor:
    """The same of what has been checked."""
    root = root_of(pose, tree)[:, None]
    return turned(pose - root, axis_angle[:, None].expand_as(pose)) + root


def turned(vectors: Tensor, axis_angle: Tensor) -> Tensor:
    """Rodrigues' formula, in functions that are smooth also where there is no turn."""
    angle = torch.linalg.vector_norm(axis_angle, dim=2, keepdim=True)
    once = torch.linalg.cross(axis_angle, vectors, dim=2)
    twice = torch.linalg.cross(axis_angle, once, dim=2)
    return vectors + torch.sinc(angle / torch.pi) * once + 0.5 * torch.sinc(angle / (2 * torch.pi)).square() * twice


def translate(pose: Any, offset: Any, tree: Tree) -> Tensor:
    """Poses ``[B, J, 3]`` moved by ``[B, 3]``, in their unit."""
    pose = given.poses("pose", pose, tree)
    return pose + given.floats("offset", offset, f"[{len(pose)}, 3]", (len(pose), 3), pose)[:, None]


def flip(pose: Any, tree: Tree, axis: int = 0) -> Tensor:
    """The mirror image: one coordinate's sign changed, left and right changed (``tree.pairs``).

    Args:
        pose: ``[B, J, 3]``, or ``[B, J, 2]`` in a picture whose middle is 0, as :func:`screen` gives.
        axis: of the coordinate; 0, from left to right.

    Raises:
        ShapeError, DtypeError, ArgumentError: what was given and what is expected; a tree without pairs.
    """
    joints = len(given.is_tree("tree", tree))
    axis = checks.whole("axis", axis, 0, 2)
    pose = as_tensor("pose", pose)
    size = 2 if pose.dim() == 3 and pose.shape[2] == 2 and axis < 2 else 3
    pose = given.floats("pose", pose, f"[B, {joints}, 3] or [B, {joints}, 2], the tree's joints", (None, joints, size))
    with_pairs("flip", tree)
    return mirrored(pose, tree, axis)


def with_pairs(where: str, tree: Tree) -> None:
    """A tree without pairs has no mirror image."""
    if not tree.pairs:
        checks.wrong(where, "a tree with pairs, which say what is left and right of each other", "one without")


def mirrored(pose: Tensor, tree: Tree, axis: int) -> Tensor:
    """The same of what has been checked."""
    parts = list(pose.index_select(1, layout(tree, pose.device).mirror).unbind(2))
    parts[axis] = -parts[axis]
    return torch.stack(parts, 2)
