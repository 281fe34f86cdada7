"""A skeleton: which joint hangs on which, which are left and right of each other, and which bones stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.core.move import to_device

MOST = 512  # joints: a step of a plan has 4096 random words


@dataclass(frozen=True)
class Tree:
    """The joints of a skeleton. Bone i is the one that ends at the i-th joint other than the root.

    Args:
        parents: for each of J joints (2 to 512) its parent's number; -1 for the root.
        names: of the joints, for those who read; joints may then be given by their names, too.
        pairs: (joint, its mirror image) each, as (right knee, left knee).
        fixed_directions: joints whose bone keeps its direction when angles change; by PoseAug pelvis-spine-thorax, since turning
            these is turning the whole body.
        fixed_lengths: joints whose bone keeps its length when lengths change; by PoseAug spine-thorax, which fixes the scale: in
            a picture a tall person far away looks like a short one that is near.

    Raises:
        ArgumentError: a circle, no root or several, a parent or joint that is not there, names or pairs that do not fit.
    """

    parents: tuple[int, ...]
    names: tuple[str, ...] | None = None
    pairs: tuple[tuple[int, int], ...] = ()
    fixed_directions: tuple[int, ...] = ()
    fixed_lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        parents = _parents(self.parents)
        _set(self, "parents", parents)
        _set(self, "names", _names(self.names, len(parents)))
        _set(self, "pairs", self._checked_pairs(self.pairs))
        for field in ("fixed_directions", "fixed_lengths"):
            _set(self, field, self._bones_of(f"Tree.{field}", getattr(self, field)))

    def __len__(self) -> int:
        return len(self.parents)

    @property
    def root(self) -> int:
        """The number of the joint that hangs on none."""
        return self.parents.index(-1)

    @property
    def children(self) -> tuple[int, ...]:
        """The joints at which bones end: all but the root, in order."""
        return tuple(j for j, parent in enumerate(self.parents) if parent >= 0)

    @property
    def mirror(self) -> tuple[int, ...]:
        """For each joint the one on the other side; itself, if it is in the middle."""
        other = {**{a: b for a, b in self.pairs}, **{b: a for a, b in self.pairs}}
        return tuple(other.get(j, j) for j in range(len(self)))

    @property
    def groups(self) -> tuple[int, ...]:
        """For each bone the number of its group: left and right are one, numbered as they first appear."""
        first = [min(j, self.mirror[j]) for j in self.children]
        order = {joint: g for g, joint in enumerate(dict.fromkeys(first))}
        return tuple(order[joint] for joint in first)

    def joint(self, which: int | str) -> int:
        """The number of a joint that is given by its name or number.

        Raises:
            ArgumentError: there is none.
        """
        return self._joint("joint", which)

    def _joint(self, where: str, which: Any) -> int:
        if isinstance(which, str):
            if self.names is None or which not in self.names:
                checks.wrong(where, f"a number from 0 to {len(self) - 1} or one of {self.names}", which)
            return self.names.index(which)
        return checks.whole(where, which, 0, len(self) - 1, " (a joint)")

    def _bones_of(self, where: str, given: Any) -> tuple[int, ...]:
        if not checks.is_sequence(given):
            checks.wrong(where, "the joints at which the bones end", given)
        found = tuple(sorted({self._joint(where, j) for j in given}))
        if self.root in found:
            checks.wrong(where, f"joints at which a bone ends, not the root {self.root}", given)
        return found

    def _checked_pairs(self, given: Any) -> tuple[tuple[int, int], ...]:
        if not checks.is_sequence(given):
            checks.wrong("Tree.pairs", "pairs of joints", given)
        two = [checks.several("Tree.pairs", pair, (2,), "pairs of joints") for pair in given]
        pairs = tuple((self._joint("Tree.pairs", a), self._joint("Tree.pairs", b)) for a, b in two)
        flat = [joint for pair in pairs for joint in pair]
        if len({*flat}) < len(flat):
            checks.wrong("Tree.pairs", "each joint in one pair at most", pairs)
        other = {**{a: b for a, b in pairs}, **{b: a for a, b in pairs}}
        for a, b in pairs:
            if -1 in (self.parents[a], self.parents[b]) or other.get(self.parents[a], self.parents[a]) != self.parents[b]:
                checks.wrong("Tree.pairs", "joints whose parents are a pair as well, or one joint", (a, b))
        return pairs


def _set(tree: Tree, name: str, value: Any) -> None:
    object.__setattr__(tree, name, value)


def _parents(given: Any) -> tuple[int, ...]:
    if not checks.is_sequence(given) or not 2 <= len(given) <= MOST:
        checks.wrong("Tree.parents", f"the parents' numbers of 2 to {MOST} joints, -1 for the root", given)
    parents = tuple(checks.whole("Tree.parents", p, -1, len(given) - 1) for p in given)
    if parents.count(-1) != 1:
        checks.wrong("Tree.parents", "one root, whose parent is -1", parents)
    for joint in range(len(parents)):
        above, steps = joint, 0
        while above >= 0 and steps <= len(parents):
            above, steps = parents[above], steps + 1
        if above >= 0:
            checks.wrong("Tree.parents", f"a way from each joint to the root, and joint {joint} goes round in a circle", parents)
    return parents


def _names(given: Any, count: int) -> tuple[str, ...] | None:
    if given is None:
        return None
    if not checks.is_sequence(given) or len(given) != count or not all(isinstance(n, str) for n in given):
        checks.wrong("Tree.names", f"{count} names, one for each joint", given)
    if len({*given}) < count:
        checks.wrong("Tree.names", "names that differ", given)
    return tuple(given)


@dataclass(frozen=True)
class Layout:
    """A tree as index tensors on a device."""

    children: Tensor  # [J-1], of each bone the joint at its end
    parents: Tensor  # [J-1], and at its start
    mirror: Tensor  # [J]
    groups: Tensor  # [J-1]
    bone: Tensor  # [J], of each joint its bone; of the root J - 1
    above: tuple[Tensor, ...]  # [J] each: the joint 1, 2, 4, ... bones nearer to the root, until that is the root for all
    free_directions: Tensor  # bool [J-1, 1]
    free_lengths: Tensor  # bool [J-1]


@lru_cache(maxsize=256)
def layout(tree: Tree, device: torch.device) -> Layout:
    """Made once for a tree and device."""
    def there(values: Sequence[Any], dtype: torch.dtype = torch.int64) -> Tensor:
        return to_device(torch.tensor(values, dtype=dtype, device="cpu"), device)

    children, count = tree.children, len(tree)
    above = [[parent if parent >= 0 else tree.root for parent in tree.parents]]
    while any(joint != tree.root for joint in above[-1]):
        above.append([above[-1][joint] for joint in above[-1]])
    bone = [children.index(j) if j != tree.root else count - 1 for j in range(count)]
    return Layout(there(children), there([tree.parents[j] for j in children]), there(tree.mirror), there(tree.groups),
                  there(bone), tuple(there(a) for a in above[:-1]),
                  there([[j not in tree.fixed_directions] for j in children], torch.bool),
                  there([j not in tree.fixed_lengths for j in children], torch.bool))


_ARMS = ("left shoulder", "left elbow", "left wrist", "right shoulder", "right elbow", "right wrist")
_LEGS = ("hip", "right hip", "right knee", "right foot", "left hip", "left knee", "left foot", "spine", "thorax")

#: Human3.6M's joints as PoseAug and SemGCN use them, 16.
HUMAN36M_16 = Tree((-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 8, 10, 11, 8, 13, 14), (*_LEGS, "head", *_ARMS),
                   ((1, 4), (2, 5), (3, 6), (13, 10), (14, 11), (15, 12)), (7, 8), (8,))

#: The same with a nose before the head, 17, as VideoPose3D uses them.
HUMAN36M_17 = Tree((-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15), (*_LEGS, "nose", "head", *_ARMS),
                   ((1, 4), (2, 5), (3, 6), (14, 11), (15, 12), (16, 13)), (7, 8), (8,))

#: MPI-INF-3DHP brought to those 16: joints ``MPI_INF_3DHP_JOINTS`` of the 19 that PoseAug's file of it has, in this order.
MPI_INF_3DHP = HUMAN36M_16
MPI_INF_3DHP_JOINTS = (14, 2, 1, 0, 3, 4, 5, 16, 12, 18, 9, 10, 11, 8, 7, 6)
