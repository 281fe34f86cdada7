"""What the Loader leaves to a family: opening its sources, putting samples together, and planning and rendering a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, cast

import numpy as np
import torch

from anamorph.core.errors import ArgumentError
from anamorph.data.array import ArraySource
from anamorph.data.batch import Batch
from anamorph.data.clips import Names, check_channels, frames_of
from anamorph.data.source import Source
from anamorph.data.sources import open_source
from anamorph.images.frames import check_change
from anamorph.images.plan import Plan, Plans
from anamorph.images.recipe import ENDS
from anamorph.images.render import render


class Family(Protocol):
    """Of pictures or of clouds; chosen once, by the recipe's type.

    ``identity``: what of its options must be the same for batches to be the same.
    """

    identity: dict[str, Any]

    def open(self, source: Any, labels: bool, allow_empty: bool) -> Source:
        """The Source for what the user gave."""

    def check(self, recipe: Any, source: Any) -> None:
        """Raises where what is known of the samples beforehand does not fit the recipe."""

    def assemble(self, number: int, ids: np.ndarray, loaded: Sequence[Any], labels: np.ndarray | None, names: Names) -> Batch:
        """A batch of what the source's ``load`` gave, on the host."""

    def plan(self, recipe: Any, batch: Batch, seed: int, epoch: int, device: torch.device, name: Callable[[int], str]) -> Any:
        """What happens to a batch that has arrived. ``name``: of the sample at a place in it."""

    def render(self, batch: Batch, plan: Any, targets: torch.Tensor | None) -> Any:
        """The views of a batch, and where targets are given what the recipe makes of them."""

    def replay(self, batch: Batch, plan: Any, i: int) -> tuple[Any, Any]:
        """The view of sample i of a batch, and what was done."""


class Pictures:
    """The family of pictures and clips."""

    def __init__(self, recipe: Any, channels: int, change: str, drift: float, attributes: Any, mesh_points: Any):
        if recipe._masks:
            raise ArgumentError("recipe: expected one without MaskMix, whose mask only a call of render can be given")
        check_change(1, change, drift)
        for name, given in (("attributes", attributes), ("mesh_points", mesh_points)):
            if given is not None and not (isinstance(given, (list, tuple)) and not given):
                raise ArgumentError(f"{name}: expected to be left alone for a recipe of pictures, as it is about point clouds, "
                                    f"given {given!r}")
        self.channels = channels
        self.identity = {"change": change, "drift": drift}

    def open(self, source: Any, labels: bool, allow_empty: bool) -> Source:
        return open_source(source, self.channels, labels, allow_empty)

    def check(self, recipe: Any, source: Any) -> None:
        if isinstance(source, ArraySource):
            height, width = source.images.shape[-3:-1]
            recipe.output_size((height, width))

    def assemble(self, number: int, ids: np.ndarray, loaded: Sequence[Any], labels: np.ndarray | None, names: Names) -> Batch:
        images = list(loaded)
        frames = frames_of(images, names)
        if frames:
            images = [image for clip in images for image in clip]
        check_channels(images, names, frames or 1)
        # Not stacked where they have one size: that would wake torch's threads, which take the cores from those that decode.
        return Batch(number, ids, images, labels, frames)

    def plan(self, recipe: Any, batch: Batch, seed: int, epoch: int, device: torch.device,
             name: Callable[[int], str]) -> Plan | Plans:
        change = dict(self.identity, frames=batch.frames) if batch.frames else {}
        if not batch.frames and self.identity["change"] != "none":
            raise ArgumentError(f"change: expected 'none' for single pictures, given {self.identity['change']!r}")
        return recipe.plan(batch.ids, seed=seed, epoch=epoch, step=batch.number, size=_sizes(recipe, batch, name),
                           device=device, **change)

    def render(self, batch: Batch, plan: Any, targets: torch.Tensor | None) -> Any:
        return render(_pictures(batch), plan, targets=targets, layout="NHWC")

    def replay(self, batch: Batch, plan: Any, i: int) -> tuple[Any, Any]:
        drawn = self.render(batch, plan, None)
        sample = partial(_of_sample, i, batch.frames or 1)
        if isinstance(plan, Plan):
            return sample(drawn, plan)
        each = {name: sample(drawn[name], one) for name, one in plan.items()}
        return {name: view for name, (view, _) in each.items()}, {name: text for name, (_, text) in each.items()}


def _pictures(batch: Batch) -> Any:
    """As render takes them: a tensor of clips has their axis."""
    clips = batch.frames and isinstance(batch.images, torch.Tensor)
    return batch.images.unflatten(0, (-1, batch.frames)) if clips else batch.images


def _sizes(recipe: Any, batch: Batch, name: Callable[[int], str]) -> tuple[int, int] | torch.Tensor:
    """(H, W) when all images agree, which the host knows, else int64 [B, 2] on the device."""
    if isinstance(batch.images, torch.Tensor):
        return batch.images.shape[1], batch.images.shape[2]
    sizes = batch.images.sizes
    others = (sizes != sizes[0]).any(1)
    if not others.any():
        h, w = sizes[0].tolist()
        return h, w
    if not recipe._fixed:
        given = [f"{h} x {w} pixels in {name(at // (batch.frames or 1))}"
                 for at in (0, int(others.nonzero()[0])) for h, w in [sizes[at].tolist()]]
        raise ArgumentError("source: expected pictures of one size for a recipe whose output's size depends on theirs, given "
                            f"{' and '.join(given)}; {ENDS}")
    there = cast(torch.Tensor, batch.images._sizes_there())
    return there.unflatten(0, (-1, batch.frames)) if batch.frames else there


def _of_sample(i: int, frames: int, views: torch.Tensor, plan: Plan | tuple[Plan, ...]) -> tuple[Any, Any]:
    """Its view and what was done, or those of several plans."""
    if isinstance(plan, Plan):
        return views[i].clone(), plan[i * frames]
    return views[:, i].clone(), tuple(one[i * frames] for one in plan)
