"""Recipes for poses, their plans, and plans carried out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, ShapeError
from anamorph.core.move import to_device
from anamorph.core.tensors import as_device
from anamorph.points.skeleton import draw, given
from anamorph.points.skeleton.change import with_pairs
from anamorph.points.skeleton.steps import Parameters, Step
from anamorph.points.skeleton.tree import HUMAN36M_16, Tree


class SkeletonRecipe:
    """Steps that change poses, one after the other.

        recipe = SkeletonRecipe([BoneAngle(10), BoneLength(0.2), Rigid(180, axis=(0, 1, 0)), Flip()])
        plan = recipe.plan(index, seed=0, epoch=3)
        poses = render(poses, plan)

    Args:
        steps: some of BoneAngle, BoneLength, Rigid, Flip, in any order; up to 256.
        tree: the skeleton.

    Raises:
        ArgumentError: what was given and what is expected; a Flip for a tree without pairs; a step that draws more than 4095
            numbers for a pose.
    """

    def __init__(self, steps: Any, tree: Tree = HUMAN36M_16) -> None:
        self.tree = given.is_tree("SkeletonRecipe.tree", tree)
        if not checks.is_sequence(steps) or not 1 <= len(steps) <= draw.STEPS:
            checks.wrong("SkeletonRecipe.steps", f"a list of 1 to {draw.STEPS} steps", steps)
        for step in steps:
            if not isinstance(step, Step):
                checks.wrong("SkeletonRecipe.steps", "steps for poses, as BoneAngle", step)
            if step.needs_pairs:
                with_pairs(f"SkeletonRecipe.steps, {step}", tree)
            if step.count(tree) >= draw.WORDS:
                checks.wrong("SkeletonRecipe.steps", f"steps that draw less than {draw.WORDS} numbers for a pose",
                             f"{step} of {len(tree)} joints, which draws {step.count(tree)}")
        self.steps: tuple[Step, ...] = tuple(steps)

    def __repr__(self) -> str:
        return f"SkeletonRecipe([{', '.join(map(repr, self.steps))}], {len(self.tree)} joints)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SkeletonRecipe) and (self.steps, self.tree) == (other.steps, other.tree)

    def __hash__(self) -> int:
        return hash((self.steps, self.tree))

    def plan(self, index: Any, *, seed: int = 0, epoch: int = 0, view: int = 0, device: Any = None) -> SkeletonPlan:
        """What happens to the poses of these sample ids: a pure function of (recipe, seed, epoch, sample id, view), the same bits
        in every batch and on every device.

        Args:
            index: sample ids, integers ``[B]``. seed: 0 to 2**64 - 1. epoch: 0 to 2**32 - 1. view: 0 to 4095.
            device: where the plan is made; None: where ``index`` is.

        Raises:
            ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
        """
        ids = draw.ids(index, device)
        seed, epoch, view = draw.seed(seed), draw.epoch(epoch), draw.view(view)
        drawn = [draw.uniform(ids, 1 + step.count(self.tree), seed, epoch, view, i) for i, step in enumerate(self.steps)]
        return SkeletonPlan(self, torch.cat(drawn, 1), ids, seed, epoch, view)


class SkeletonPlan:
    """What happens to each pose of a batch. Made by :meth:`SkeletonRecipe.plan`; it can be pickled, saved and replayed.

    ``plan[2:5]`` is the plan of these poses alone.

    Attributes:
        recipe: whose plan it is.
        draws: float32 ``[B, W]``, the uniform numbers: for each step whether, and then what.
        index: int64 ``[B]``. seed, epoch, view: what, with an id, names a row.

    Raises:
        ShapeError: tensors that do not fit the recipe.
    """

    def __init__(self, recipe: SkeletonRecipe, draws: Tensor, index: Tensor, seed: int, epoch: int, view: int) -> None:
        words = sum(1 + step.count(recipe.tree) for step in recipe.steps)
        if draws.dtype != torch.float32 or list(draws.shape) != [len(index), words]:
            raise ShapeError(f"plan: expected draws float32 [{len(index)}, {words}], given {draws.dtype} {list(draws.shape)}")
        self.recipe, self.draws, self.index, self.seed, self.epoch, self.view = recipe, draws, index, seed, epoch, view

    def __len__(self) -> int:
        return len(self.index)

    def __repr__(self) -> str:
        return f"SkeletonPlan({len(self)} poses, seed={self.seed}, epoch={self.epoch}, view={self.view}, {self.recipe})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SkeletonPlan):
            return NotImplemented
        return ((self.recipe, self.seed, self.epoch, self.view) == (other.recipe, other.seed, other.epoch, other.view)
                and torch.equal(self.index.cpu(), other.index.cpu()) and torch.equal(self.draws.cpu(), other.draws.cpu()))

    __hash__ = None  # type: ignore[assignment]

    def __getitem__(self, which: slice) -> SkeletonPlan:
        if not isinstance(which, slice) or not len(self.index[which]):
            raise ArgumentError(f"plan: expected a slice of at least one of {len(self)} poses, given {which!r}")
        return SkeletonPlan(self.recipe, self.draws[which], self.index[which], self.seed, self.epoch, self.view)

    @property
    def device(self) -> torch.device:
        """Where the numbers are."""
        return self.draws.device

    def to(self, device: Any) -> SkeletonPlan:
        """The plan on another device."""
        device = as_device(device)
        draws, index = to_device(self.draws, device), to_device(self.index, device)
        return SkeletonPlan(self.recipe, draws, index, self.seed, self.epoch, self.view)

    def parameters(self) -> list[Parameters]:
        """What is done, for each step a dict of tensors: "applied" bool ``[B]``; of BoneAngle "axis_angle" (radians) or "delta"
        ``[B, J - 1, 3]``, of BoneLength "ratio", of Rigid "axis_angle" and "offset" ``[B, 3]``.

        The functions change_angles, turn_bones, change_lengths, rotate and translate take them.
        """
        found, first = [], 0
        for step in self.recipe.steps:
            u = self.draws[:, first:first + 1 + step.count(self.recipe.tree)]
            found.append({"applied": u[:, 0] < step.p, **step.parameters(u[:, 1:], self.recipe.tree)})
            first += u.shape[1]
        return found


def render(poses: Any, plan: SkeletonPlan) -> Tensor:
    """Poses changed as a plan says.

    Args:
        poses: float32 or float64 ``[B, J, 3]`` on the plan's device, row i being sample ``plan.index[i]``.
        plan: of these B poses.

    Returns:
        ``[B, J, 3]``. Gradients go through to ``poses``. A pose that a step leaves alone keeps its bits.

    Raises:
        ShapeError, DtypeError, DeviceError, ArgumentError: what was given and expected. On a GPU values are not looked at.
    """
    if not isinstance(plan, SkeletonPlan):
        raise ArgumentError(f"plan: expected a SkeletonPlan, given {type(plan).__name__}")
    tree = plan.recipe.tree
    found = given.poses("poses", poses, tree)
    if len(found) != len(plan):
        raise ShapeError(f"poses: expected {len(plan)}, one for each row of the plan, given {len(found)}")
    given.same_device("plan", plan.draws, found)
    for step, parameters in zip(plan.recipe.steps, plan.parameters(), strict=True):
        applied = parameters.pop("applied")[:, None, None]
        parameters = {name: values.to(found.dtype) for name, values in parameters.items()}
        found = torch.where(applied, step.apply(found, parameters, tree), found)
    return found
