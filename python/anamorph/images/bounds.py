"""How far a recipe's maps can reach: bounds found from its program alone, before anything is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from anamorph._native import COLOR_OPS, OPS
from anamorph.core import checks
from anamorph.images.transforms.program import ANTIALIAS, EXPAND, LEVEL_NORMAL, Slot


class Reach(NamedTuple):
    """A view so far: its longest side in its own pixels, and how many source pixels one of its pixels may span, log10."""

    side: float
    span: float


def reach(programs: Sequence[Sequence[Sequence[Slot]]], side: float) -> Reach:
    """The furthest that programs may bring a picture whose longest side is ``side``: one after the other, each of them one of
    several (where schedules move it)."""
    view = Reach(side, 0.0)
    for several in programs:
        view = _furthest(*(_run(slots, 0, len(slots), view) for slots in several))
    return view


def has_antialias(slots: Sequence[Slot]) -> bool:
    """Does any slot widen the filter?"""
    control = {OPS[name] for name in ("APPLY", "CHOICE", "ORDER", "BRANCH")}
    return any(s.op not in control and s.flags & ANTIALIAS for s in slots)


def _run(slots: Sequence[Slot], at: int, end: int, view: Reach) -> Reach:
    while at < end:
        s = slots[at]
        after = at + 1 + s.count
        if s.op == OPS["APPLY"]:
            view = _furthest(view, _run(slots, at + 1, after, view))
        elif s.op == OPS["CHOICE"]:
            view = _any(slots, at, view) if s.numbers[0] >= 1 else _furthest(view, _any(slots, at, view))
        elif s.op == OPS["CHAINS"]:
            view = _furthest(view, _run(slots, at + 2, after, view))
        elif s.op == OPS["ORDER"]:  # any of them comes first, any comes next
            views = [view]
            for _ in range(int(s.numbers[1])):
                views.append(_any(slots, at, views[-1]))
            view = _furthest(*views[int(s.numbers[0]):])
        else:
            view = _step(s, slots[at + 1] if s.count else s, view)
        at = after
    return view


def _any(slots: Sequence[Slot], head: int, view: Reach) -> Reach:
    return _furthest(*(_run(slots, a, b, view) for a, b in branches(slots, head)))


def branches(slots: Sequence[Slot], head: int) -> list[tuple[int, int]]:
    """Where the bodies of a CHOICE or ORDER begin and end."""
    found, at = [], head + 1
    for _ in range(slots[head].k):
        found.append((at + 1, at + 1 + slots[at].count))
        at = found[-1][1]
    return found


def _furthest(*views: Reach) -> Reach:
    return Reach(max(v.side for v in views), max(v.span for v in views))


def _step(s: Slot, more: Slot, view: Reach) -> Reach:
    side, span = view
    p = s.numbers
    if s.op == OPS["RESIZED_CROP"] or (s.op == OPS["RESIZE"] and p[1]):  # k: the shorter side is rounded, to a half at worst
        return Reach(max(p[:2]), span + _decades((1 + s.k) * side / min(p[:2])))
    if s.op == OPS["RESIZE"]:  # by the shorter side; the longer one is rounded down, to a half at worst
        return Reach(p[2] or p[0] * side, span + _decades(side if p[2] else 2 * side / p[0]))
    if s.op in (OPS["CROP"], OPS["CENTER_CROP"]):
        return Reach(max(p[:2]), span)
    if s.op == OPS["PAD"]:
        return Reach(max(side + sum(p[:4]), *p[4:6]) + max(p[6:8]), span)
    if s.op == OPS["CROP_AND_PAD"]:
        added = 2 * max(map(abs, p[:8]))
        grown = side * (1 + added) if s.k & 1 else side + added
        return Reach(side, span + _decades(grown)) if s.k & 2 else Reach(grown, span)
    if s.op == OPS["WARP"] and not p[6] and not p[7]:
        return Reach(max(more.numbers[4:6]) or side, span + _decades(math.hypot(p[0], p[1], p[3], p[4]) / abs(p[8])))
    if s.op == OPS["ZOOM_OUT"]:
        return Reach(side * p[1], span)
    if s.op == OPS["SCALE_JITTER"]:  # sides are rounded down, to a half at worst, or to one
        return Reach(min(max(p[:2]) * p[3], checks.MAX_SIDE), span + _decades(2 * side / max(1.0, p[2] * min(p[:2]))))
    if s.op == OPS["FIXED_SIZE"]:
        return Reach(max(p[:2]), span)
    if s.op == OPS["ROTATE"]:
        return Reach(1.5 * side + 2 if s.flags & EXPAND else side, span)
    if s.op == OPS["AFFINE"]:  # its second slot holds numbers alone, and is passed over with it
        x, y = (math.radians(max(abs(a), abs(b))) for a, b in (p[6:8], p[8:10]))
        sheared = math.sqrt(2) * (1 + math.tan(x)) / math.cos(y) if x or y else 1.0
        return Reach(side, span + _decades(sheared / (min(p[4], p[10]) if s.k else p[4])))
    if s.op in (OPS["SHEAR_X"], OPS["SHEAR_Y"]):
        top = p[0] + (p[1] - p[0]) * p[7] / 10 if s.flags & LEVEL_NORMAL else p[1]
        furthest = max(abs(p[0]), abs(top)) + abs(p[4])
        return Reach(side, span + _decades(math.sqrt(2) * (1 + furthest)))
    return view if s.op in _STILL else Reach(math.inf, math.inf)


def _decades(shrink: float) -> float:
    return max(0.0, math.log10(shrink))


# What moves no pixel further from its neighbours. (Of a perspective map there is no bound. What a field moves is not in the map.)
_STILL = COLOR_OPS | {OPS[name] for name in ("FLIP_H", "FLIP_V", "TURN", "TRANSLATE_X", "TRANSLATE_Y", "ROTATE_BY", "FIELD",
                                             "IOU_CROP", "ERASE", "DROPOUT", "CUTOUT", "GRID_MASK", "HIDE_AND_SEEK", "MIXUP",
                                             "CUTMIX", "RESIZEMIX", "MASKMIX")}
