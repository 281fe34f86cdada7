"""Known faults of the engine that are being mended. Where one stands it excuses the pixels it reaches, and nothing else, so that
the rest can be seen. Each goes with its mend; when the list is empty, so does the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from differential import steps


@dataclass(frozen=True)
class Fault:
    name: str
    where: Callable[[Any], Tensor | None]
    always: bool  # also where the plan's map is none that torchvision could have drawn


FAULTS: list[Fault] = []


def fault(name: str, always: bool = False) -> Callable[[Any], Any]:
    def keep(where: Any) -> Any:
        FAULTS.append(Fault(name, where, always))
        return where
    return keep


def pairs(view: Any) -> Any:
    """(earlier step, its numbers, later step, its numbers, the later one's place in the list)"""
    done = list(zip(view.geometry, view.drawn, strict=True))
    return [(a, b, c, d, at) for at, (c, d) in enumerate(done) for a, b in done[:at]]


def outside(view: Any, at: int, margin: float) -> Tensor:
    """Pixels that lie outside the view before step ``at``, or less than ``margin`` of its pixels inside."""
    step = view.geometry[at]
    x, y, _ = steps.positions(view.maps()[at], view.geometry[-1].after)
    h, w = step.before
    return torch.from_numpy((x < margin) | (x > w - margin) | (y < margin) | (y > h - margin)).expand_as(view.ours)


def everything(view: Any) -> Tensor:
    return torch.ones_like(view.ours, dtype=torch.bool)


@fault("the centre of an expanded rotation is ignored", True)
def expand_center(view: Any) -> Tensor | None:
    if any(isinstance(s, steps.Rotation) and s.expand and s.center for s in view.geometry):
        return everything(view)
    return None


@fault("an expanded quarter turn of odd width minus height is half a pixel off", True)
def quarter_turn(view: Any) -> Tensor | None:
    if any(isinstance(s, steps.Rotation) and s.expand and s.angle % 180 == 90 and sum(s.before) % 2 for s in view.geometry):
        return everything(view)
    return None


@fault("a crop after a resampling limits what it reads")
def crop_after_resize(view: Any) -> Tensor | None:
    for a, _, b, d, at in pairs(view):
        if isinstance(a, (steps.Resize, steps.ResizedCrop)) and a.mode != "nearest" and steps.crops(b, d):
            zoom = max(n / o for n, o in zip(a.after, a.before, strict=True))
            return outside(view, len(view.geometry) - 1, np.inf) if zoom > 4 else ring(view, 3 + 3 * zoom) | outside(view, at, 2)
    return None


def ring(view: Any, width: float) -> Tensor:
    h, w = view.ours.shape[1:]
    y, x = np.mgrid[0:h, 0:w]
    return torch.from_numpy(np.minimum(np.minimum(x, w - 1 - x), np.minimum(y, h - 1 - y)) < width).expand_as(view.ours)


@fault("padding by edge, reflect or symmetric after a resampling or a warp pads the source")
def border_after_resampling(view: Any) -> Tensor | None:
    for a, _, b, d, _ in pairs(view):
        if a.mode and steps.bordered(b, d):
            return everything(view)
    return None


@fault("padding by edge, reflect or symmetric is lost where a fill follows it")
def border_before_fill(view: Any) -> Tensor | None:
    for a, b in zip(view.geometry, view.drawn, strict=True):
        if steps.bordered(a, b) and any(steps.framed(c, d) for x, _, c, d, _ in pairs(view) if x is a):
            return everything(view)
    return None


@fault("of two paddings, the later one's mode is used for both")
def two_borders(view: Any) -> Tensor | None:
    for a, b, c, d, _ in pairs(view):
        if (steps.bordered(c, d) and steps.pads(a, b)) or (steps.bordered(a, b) and steps.pads(c, d)):
            return everything(view)
    return None


@fault("colours before a fill change it")
def fill_recoloured(view: Any) -> Tensor | None:
    chain = view.case.chain
    for at, step in enumerate(chain):
        if isinstance(step, steps.Color) and any(isinstance(s, steps.Geometry) for s in chain[at:]):
            return everything(view) if view.has_mean or view.mode == "nearest" else view.cover < 1 - 1e-7
    return None


@fault("of two fills, the last colours both")
def last_fill(view: Any) -> Tensor | None:
    fills = {s.fill or 0 for s, d in zip(view.geometry, view.drawn, strict=True) if steps.framed(s, d)}
    if len(fills) > 1:
        return everything(view)
    return None


@fault("a crop that pads does not limit what a resampling behind it reads")
def padded_crop_then_resize(view: Any) -> Tensor | None:
    for a, b, c, _, _ in pairs(view):
        if steps.pads(a, b) and c.mode and not isinstance(c, steps.Warp):
            return everything(view)
    return None


@fault("padding by edge, reflect or symmetric goes on beyond the crop where an antialiased resize reads there")
def border_then_resize(view: Any) -> Tensor | None:
    for a, b, c, _, _ in pairs(view):
        if steps.bordered(a, b) and c.mode and not isinstance(c, steps.Warp):
            return everything(view)
    return None


@fault("a bicubic without antialias reads the fill of a crop that comes after it")
def cubic_reads_later_fill(view: Any) -> Tensor | None:
    for a, _, b, d, _ in pairs(view):
        if isinstance(a, (steps.Resize, steps.ResizedCrop)) and a.mode == "bicubic" and not a.antialias and steps.framed(b, d):
            return everything(view)
    return None
