"""Several views of each picture of a batch in one launch: the pictures are the frames of clips that stand still, so that none of
them is copied, and each frame has a row of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.core.lease import hold
from anamorph.images.frames import every_frame
from anamorph.images.picture import check_dtype
from anamorph.images.plan import Plan
from anamorph.images.ragged import Ragged
from anamorph.images.recipe import Recipe
from anamorph.images.render import render
from anamorph.training.given import LAYOUTS, batch


class Pictures:
    """A batch as it was given: a tensor, or a list of pictures. ``size`` is what a plan takes: one (height, width) where all
    have one, else each picture's."""

    def __init__(self, images: Any, layout: str | None) -> None:
        self.size: Any
        self._foreign: list[Tensor] = []
        self._list: list[Any] | None = None
        self.layout: str | None
        if isinstance(images, list | tuple):
            self.layout = None if layout is None else checks.choice("layout", layout, LAYOUTS)
            ragged = Ragged.from_list(images, self.layout and self.layout[1:])
            self._list = [*images]
            one = bool((ragged.sizes == ragged.sizes[0]).all())
            self.size, self.device = tuple(ragged.sizes[0].tolist()) if one else ragged.sizes.clone(), ragged.device
            return
        self._tensor, self.layout = batch("", images, layout, self._foreign)
        check_dtype("images", self._tensor, images)
        shape = self._tensor.shape
        self.size, self.device = tuple(shape[2:] if self.layout == "NCHW" else shape[1:3]), self._tensor.device

    def __len__(self) -> int:
        return len(self._tensor) if self._list is None else len(self._list)

    def part(self, at: Tensor | slice) -> Pictures:
        """Some of them."""
        other = Pictures.__new__(Pictures)
        other.layout, other.device, other._foreign, other._list = self.layout, self.device, [], None
        if self._list is None:
            other._tensor, other.size, other._foreign = self._tensor[at], self.size, self._foreign
        else:
            which = range(len(self))[at] if isinstance(at, slice) else at.tolist()
            other._list = [self._list[i] for i in which]
            other.size = self.size
            if isinstance(self.size, Tensor):
                other.size = self.size[at if isinstance(at, slice) else torch.tensor(which)]
        return other

    def render(self, plans: Sequence[Plan], which: Tensor | None = None) -> Tensor:
        """The views of several plans, ``[B, V, C, h, w]``; with ``which`` [B] the one of these plans for each picture."""
        return self.views(together(plans, which))

    def views(self, plan: Plan) -> Tensor:
        """The views of a plan of clips, ``[B, V, C, h, w]``."""
        count = plan.frames or 1
        images: Any
        if self._list is None:
            images = self._tensor[:, None].expand(-1, count, *self._tensor.shape[1:])
        else:
            images = [[picture] * count for picture in self._list]
        views: Tensor = render(images, plan, layout=self.layout)
        if self._foreign:
            hold(self._foreign)
        return views


def together(plans: Sequence[Plan], which: Tensor | None = None) -> Plan:
    """Plans of the same pictures, of recipes of the same output that differ in what is drawn alone, as one of clips: frame v of
    clip b is row b of plan v. With ``which`` [B] each clip has one frame, of that plan."""
    rows = torch.stack([plan.rows for plan in plans], 1)
    return _standing(plans[0], rows if which is None else rows[torch.arange(len(rows), device=rows.device), which][:, None])


def drawn(recipe: Recipe, ids: Tensor, size: Any, seed: int, epoch: int | Tensor, first: int, views: int) -> Plan:
    """Views ``first`` .. ``first + views - 1`` of a recipe in the same form, drawn in one launch."""
    plan = recipe._draw(ids, size, seed, epoch, first, None, None, None, None, "none", 0.0, 0, views)
    return _standing(plan, plan.rows.unflatten(0, (views, -1)).transpose(0, 1))


def _standing(plan: Plan, rows: Tensor) -> Plan:
    """Rows [B, V, words] as those of clips."""
    count = rows.shape[1]
    size = every_frame(plan.size, count) if isinstance(plan.size, Tensor) else plan.size
    return Plan._drawn(plan.recipe, rows.flatten(0, 1).contiguous(), every_frame(plan.index, count), plan.seed, plan.epoch,
                       plan.view, size, plan.output_size, count)
