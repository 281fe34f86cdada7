"""The differences that are meant. Each reason has a name, a sentence and a predicate that is as narrow as its sentence: it gives
the values that it allows instead of torchvision's (or PIL's), and where."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from differential import steps
from differential.cases import Unreadable
from differential.steps import How

# (where, lowest, highest value allowed); `where` None: everywhere
Allowed = tuple[Tensor | None, Tensor, Tensor]
ONCE = How(once=True)
TIE = 2e-4  # pixels: a position this near to the boundary of two pixels may go to either


@dataclass(frozen=True)
class Reason:
    name: str
    sentence: str
    allows: Callable[[Any], Iterator[Allowed]]  # of a compare.View
    always: bool  # also where the plan's map is none that torchvision could have drawn


REASONS: list[Reason] = []
PIL: list[Reason] = []  # more of them, for PIL
POLICIES: list[Reason] = []  # those of policies and of colour that needs the whole view, of a policies.PolicyView
FUSED = {"fused": "several resamplings are one, with the best of their filters, and blur once",
         "grid": "a large antialiased window under a map that is aslant, or enlarges again, is read between the points of a "
                 "grid: 8 levels off at most, half a level in the mean, or two where a window is as long as a side of what may "
                 "be read"}
NOT_COMPARED = {"grid, then colour": "what is read between the points of a grid is levels off, and so are the statistics and "
                                     "tables of it: not compared"}


def reason(name: str, sentence: str, always: bool = False, to: list[Reason] = REASONS) -> Callable[[Any], Any]:
    def keep(allows: Any) -> Any:
        to.append(Reason(name, sentence, allows, always))
        return allows
    return keep


@reason("rounded once", "bytes are rounded once, at the end; torchvision and PIL round (or truncate) after every step")
def rounded_once(view: Any) -> Iterator[Allowed]:
    if view.bytes:
        exact = view.expect(How())
        yield None, exact, exact


@reason("fringe", "the half pixel of fill around a warp is weighed once; torchvision weighs the picture there twice by its cover")
def fringe(view: Any) -> Iterator[Allowed]:
    if any(isinstance(s, steps.Warp) and s.fill is not None and s.mode == "bilinear" for s in view.geometry):
        exact = view.expect(ONCE)
        yield (None if view.has_mean else view.fringe()), exact, exact


@reason("behind the viewer", "what lies behind the viewer of a strong perspective is fill; torchvision divides by a negative z")
def behind(view: Any) -> Iterator[Allowed]:
    if any(isinstance(s, steps.Perspective) for s in view.geometry):
        exact = view.expect(ONCE)
        yield (None if view.has_mean else view.behind()), exact, exact


@reason("one fill", "a view has one fill, the last step's that brought one; the colour steps before that step do not touch it")
def one_fill(view: Any) -> Iterator[Allowed]:
    if view.last_fill is not None:
        exact = view.one_fill(ONCE)
        yield None, exact, exact


@reason("one map", "a warp's view is not cut, framed or mirrored by the steps after it: they are one map, and around it is the "
                   "warp's fill")
def one_map(view: Any) -> Iterator[Allowed]:
    exact = view.one_map(ONCE)
    if exact is not None:
        yield None, exact, exact


@reason("one border", "a mirrored or repeated border of a view that was padded, framed or resampled moves positions: the last "
                      "one counts, a frame inside it is not seen again in it, and a later filter reads nothing beyond it")
def one_border(view: Any) -> Iterator[Allowed]:
    if view.borders:
        for nudge in itertools.product((0, -TIE, TIE), repeat=2) if view.mode == "nearest" else [(0, 0)]:
            exact = view.by_row(nudge)
            yield None, exact, exact


@reason("frames meet", "frames that lie square to each other are one rectangle: its fill fades over one pixel, a bicubic's too, "
                       "and what a warp's view has cut off may still be read")
def frames_meet(view: Any) -> Iterator[Allowed]:
    if isinstance(view.resampling, steps.Warp) and sum(steps.framed(s, d) for s, d in view.done[:view.warped + 1]) > 1:
        exact = view.by_row()
        yield (None if view.has_mean else view.edge()), exact, exact


@reason("frame before resize", "a fill's frame fades over one pixel of the view that it frames, or of the output if that is "
                               "larger; torchvision's is resized with the picture, so that it fades over the filter's support")
def frame_before_resize(view: Any) -> Iterator[Allowed]:
    framed = False
    for step in view.geometry:
        if framed and step.mode and not isinstance(step, steps.Warp):
            exact = view.by_row()
            yield (None if view.has_mean else view.edge()), exact, exact
        framed |= isinstance(step, (steps.Crop, steps.CenterCrop, steps.Warp))


@reason("cut by a warp", "a warp counts as a resampling where it moves whole pixels, too: what it or a crop after it has cut off "
                         "may still be read by a resize; torchvision's repeats the edge")
def cut_by_warp(view: Any) -> Iterator[Allowed]:
    if view.resampling and not isinstance(view.resampling, steps.Warp) and view.cut_by_warp().any():
        exact = view.by_row()
        yield (None if view.has_mean else view.cut_by_warp()), exact, exact


@reason("nearest tie", "a position within 2e-4 of the boundary of two pixels may take either of them, in a mirrored border also "
                       "the one beyond its view")
def nearest_tie(view: Any) -> Iterator[Allowed]:
    if view.mode == "nearest":
        for x in (-TIE, TIE):
            for y in (-TIE, TIE):
                for exact in view.forms(How(True, (x, y))):
                    yield None, exact, exact
                if view.borders:
                    exact = view.by_row((x, y), 2 * TIE)
                    yield None, exact, exact


@reason("threshold", "posterize and solarize are steps: where rounding puts a value on the other side of one, the other side's "
                     "result, and a later contrast's mean between the two")
def threshold(view: Any) -> Iterator[Allowed]:
    count, channels = sum(op in ("posterize", "solarize") for op, _ in view.colors), len(view.ours)
    if count:
        sides = -1e-4, 0, 1e-4
        shifts = [(one,) * count for one in itertools.product(sides, repeat=channels)]  # channels apart
        shifts += [tuple((s,) * channels for s in one) for one in itertools.product(sides, repeat=count)]  # steps apart
        for values in zip(*(view.forms(shift=shift) for shift in shifts), strict=True):
            each = torch.stack(values)
            means = each.mean((-2, -1))
            moved = (means.amax(0) - means.amin(0)).max() * sum(abs(1 - v) for op, v in view.colors if op == "contrast")
            yield None, each.amin(0) - moved, each.amax(0) + moved
        if view.borders:
            each = torch.stack([view.by_row(shift=shift) for shift in itertools.product(sides, repeat=channels)])
            yield None, each.amin(0), each.amax(0)


@reason("one column", "torch's antialiased resize to a width of one pixel is wrong (2.13); the transposed picture's is right")
def one_column(view: Any) -> Iterator[Allowed]:
    if any(s.antialias and s.after[1] == 1 for s in view.geometry):
        exact = view.expect(ONCE)
        yield None, exact, exact


@reason("hue beyond the range", "a float picture's bicubic overshoot is kept by our hue, and cut by torchvision's")
def hue_beyond(view: Any) -> Iterator[Allowed]:
    if view.mode == "bicubic" and not view.bytes and any(op == "hue" for op, _ in view.colors):
        for exact in view.forms(How(True, wide=True)):
            yield None, exact, exact


@reason("degenerate quad", "a quad with hardly an area has no map that float32 can hold: not compared", True)
def degenerate(view: Any) -> Iterator[Allowed]:
    if any(isinstance(s, steps.Perspective) and isinstance(d, Unreadable) and s.distortion >= 0.5
           for s, d in zip(view.geometry, view.drawn, strict=True)):
        yield None, view.ours, view.ours


@reason("hard frame", "PIL's warps have no fringe: a pixel whose centre lies outside is fill, the others repeat the edge", to=PIL)
def hard_frame(view: Any) -> Iterator[Allowed]:
    if view.mode == "bilinear" and any(isinstance(s, steps.Warp) for s in view.geometry):
        exact = view.expect(ONCE)
        yield (None if view.has_mean else view.fringe()), exact, exact


# ---- policies: the first of these that says it all counts ----

def last_of_all(view: Any, first: Callable[[Any], bool]) -> Iterator[Allowed]:
    """All that a fused recipe means, of a view for which ``first`` holds."""
    if first(view):
        yield None, view.documented.low, view.documented.high


@reason("rounded once", "bytes are rounded once, at the end; torchvision and PIL round (or truncate) after every step",
        to=POLICIES)
def rounded_once_in_order(view: Any) -> Iterator[Allowed]:
    yield from rounded_once(view)


@reason("within float32", "a value within what float32 makes uncertain of a position, a tie or a threshold, statistics and "
                          "tables of such values included", to=POLICIES)
def within_float32(view: Any) -> Iterator[Allowed]:
    exact = view.bounds()
    yield None, exact.low, exact.high


@reason("fringe", "the half pixel of fill around a warp is weighed once; torchvision weighs the picture there twice by its cover",
        to=POLICIES)
def fringe_in_order(view: Any) -> Iterator[Allowed]:
    if any(isinstance(s, steps.Warp) and s.fill is not None and s.mode == "bilinear" for s in view.geometry):
        exact = view.bounds(ONCE)
        yield (None if view.needs_whole else view.fringe()), exact.low, exact.high


@reason("fused", "several resamplings are one, with the best of their filters, and blur once", to=POLICIES)
def fused(view: Any) -> Iterator[Allowed]:
    yield from last_of_all(view, lambda v: v.fused)


@reason("as shown", "colour sees the view as it will be shown: geometry runs before it, and a statistic counts neither what a "
                    "later map has left out nor its fill", to=POLICIES)
def as_shown(view: Any) -> Iterator[Allowed]:
    yield from last_of_all(view, lambda v: v.colored_early)


@reason("one map", "a warp's view is not cut, framed or mirrored by the steps after it: they are one map, and around it is the "
                   "warp's fill", to=POLICIES)
def one_map_first(view: Any) -> Iterator[Allowed]:
    yield from last_of_all(view, lambda v: v.warped < len(v.done) - 1)


@reason("one border", "a mirrored or repeated border of a view that was padded, framed or resampled moves positions: the last "
                      "one counts, a frame inside it is not seen again in it, and a later filter reads nothing beyond it",
        to=POLICIES)
def one_border_first(view: Any) -> Iterator[Allowed]:
    yield from last_of_all(view, lambda v: v.borders)


@reason("one frame", "frames that lie square to each other are one rectangle, which has the last one's fill and fades once; what "
                     "a warp has cut off may still be read", to=POLICIES)
def one_frame_first(view: Any) -> Iterator[Allowed]:
    yield from last_of_all(view, lambda v: sum(steps.framed(s, d) for s, d in v.done[:v.warped + 1]) > 1)
