"""Poses as bones, and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from anamorph.points.skeleton import given
from anamorph.points.skeleton.tree import Tree, layout

_SHORTEST = 1e-12  # a bone of no length, as some motion files have, has the direction 0


def bones(pose: Any, tree: Tree) -> Tensor:
    """The bones of poses: vectors from a joint's parent to the joint.

    Args:
        pose: float32 or float64 ``[B, J, 3]``, in any unit. tree: whose J joints these are.

    Returns:
        ``[B, J - 1, 3]``, in the order of the joints without the root. Differentiable.

    Raises:
        ShapeError, DtypeError, ArgumentError: what was given and expected. On a GPU values are not looked at.
    """
    return split(given.poses("pose", pose, tree), tree)


def split(pose: Tensor, tree: Tree) -> Tensor:
    """The same of what has been checked."""
    at = layout(tree, pose.device)
    return pose.index_select(1, at.children) - pose.index_select(1, at.parents)


def lengths(bones: Any) -> Tensor:
    """The lengths ``[B, J - 1]`` of bones ``[B, J - 1, 3]``, in their unit."""
    return torch.linalg.vector_norm(given.floats("bones", bones, "[B, J - 1, 3]", (None, None, 3)), dim=2)


def directions(bones: Any) -> Tensor:
    """The bones ``[B, J - 1, 3]`` as vectors of length 1; of a bone that has no length, 0."""
    return unit(given.floats("bones", bones, "[B, J - 1, 3]", (None, None, 3)))


def unit(vectors: Tensor) -> Tensor:
    """Vectors of length 1."""
    return vectors / torch.linalg.vector_norm(vectors, dim=2, keepdim=True).clamp_min(_SHORTEST)


def pose_of(bones: Any, root: Any, tree: Tree) -> Tensor:
    """The joints ``[B, J, 3]`` of bones ``[B, J - 1, 3]`` that hang on roots ``[B, 3]``: :func:`bones` undone, up to rounding.

    Raises:
        ShapeError, DtypeError, DeviceError, ArgumentError: what was given and what is expected.
    """
    count = len(given.is_tree("tree", tree)) - 1
    found = given.floats("bones", bones, f"[B, {count}, 3], the tree's bones", (None, count, 3))
    return join(found, given.floats("root", root, "[B, 3]", (len(found), 3), found), tree)


def join(bones: Tensor, root: Tensor, tree: Tree) -> Tensor:
    """The same of what has been checked."""
    at = layout(tree, bones.device)
    # Each joint's way to the root in log2(depth) additions: what two joints have gone, one bone above the other, is what both go.
    way = torch.cat([bones, torch.zeros_like(bones[:, :1])], 1).index_select(1, at.bone)
    for above in at.above:
        way = way + way.index_select(1, above)
    return way + root[:, None]


def root_of(pose: Tensor, tree: Tree) -> Tensor:
    """``[B, 3]``."""
    return pose[:, tree.root]

