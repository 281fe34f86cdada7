"""The recipe's program, as the native core reads it: slots of an op code, three integers and twelve numbers.

csrc/images/program.h is the other half of this page; ``_native.OPS`` brings the op codes from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import torch

from anamorph import _native
from anamorph._native import OPS
from anamorph.core.errors import ArgumentError

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "area")  # the last two shrink
WARPS = INTERPOLATIONS[:3]  # what a map that turns or shears takes
BORDERS = ("constant", "edge", "reflect", "symmetric")
MAX_BRANCHES = 64
MAX_CHAINS: int = _native.MAX_LAYERS
PARTNERS = ("derange", "roll", "flip")
MODES = ("elem", "batch", "pair")

ANTIALIAS, EXPAND, PAD_IF_NEEDED = 8, 16, 32
BORDER_SHIFT, PARTNER_SHIFT = 6, 10
NORMALISED, BY_VIEW, REPLACE, IN_ORDER = 1 << 12, 1 << 13, 1 << 14, 1 << 15
LEVELS, LEVEL_NORMAL, ROUND, TRUNCATE, SIGN = (1 << bit for bit in range(16, 21))  # how plan.h's `argument` draws a number
EVERY_VIEW, WEIGHTED = 1 << 21, 1 << 22


class Slot(NamedTuple):
    """One slot. ``count``: how many of the next slots belong to it; ``k``: its branches, or a small number of its own."""

    op: int
    count: int  # type: ignore[assignment]  # hides tuple.count; plans' fingerprints spell the name out
    k: int
    flags: int
    numbers: tuple[float, ...]


def slot(op: str, numbers: Iterable[float] = (), *, count: int = 0, k: int = 0, flags: int = 0) -> Slot:
    """A slot for the op called ``op``, its numbers filled up to twelve."""
    given = tuple(float(n) for n in numbers)
    return Slot(OPS[op], count, k, flags, given + (0.0,) * (12 - len(given)))


def apply(p: float, body: Sequence[Slot], flags: int = 0) -> list[Slot]:
    """``body`` with probability ``p``; itself where that is 1, nothing where it is 0."""
    if p >= 1 or not body:
        return list(body)
    return [slot("APPLY", [p], count=len(body), flags=flags), *body] if p > 0 else []


def branches(bodies: Sequence[Sequence[Slot]], numbers: Sequence[float] = ()) -> list[Slot]:
    """The bodies one after the other, each behind its head, which has a number."""
    if len(bodies) > MAX_BRANCHES:
        raise ArgumentError(f"transforms: expected 1 to {MAX_BRANCHES} alternatives, given {len(bodies)}")
    return [one for body, number in zip(bodies, numbers or [0.0] * len(bodies), strict=True)
            for one in (slot("BRANCH", [number], count=len(body)), *body)]


def choice(p: float, weights: Sequence[float], bodies: Sequence[Sequence[Slot]], flags: int = 0) -> list[Slot]:
    """With probability ``p`` one of the bodies, drawn by ``weights``."""
    sums = list(accumulate(weights))
    block = branches(bodies, sums)
    return [slot("CHOICE", [p, sums[-1]], count=len(block), k=len(bodies), flags=flags), *block]


def by_view(bodies: Sequence[Sequence[Slot]], counts: Sequence[int] = ()) -> list[Slot]:
    """The body of the plan's ``view``: so many views are the first's (by default one each), then the next one's, and so round."""
    ends = list(accumulate(counts or [1] * len(bodies)))
    block = branches(bodies, ends)
    return [slot("CHOICE", [1, ends[-1]], count=len(block), k=len(bodies), flags=BY_VIEW), *block]


def some(low: int, high: int, bodies: Sequence[Sequence[Slot]], flags: int = 0,
         weights: Sequence[float] = ()) -> list[Slot]:
    """``low`` to ``high`` of the bodies, in a random order; with ``weights`` the next is drawn by these among those left."""
    block = branches(bodies, weights)
    return [slot("ORDER", [low, high], count=len(block), k=len(bodies), flags=flags | WEIGHTED * bool(weights)), *block]


def order(bodies: Sequence[Sequence[Slot]]) -> list[Slot]:
    """All the bodies, in a random order."""
    if len(bodies) <= 1:
        return [one for body in bodies for one in body]
    return some(len(bodies), len(bodies), bodies)


def chains(count: int, shares: float, altogether: float, body: Sequence[Slot]) -> list[Slot]:
    """``body`` run ``count`` times, each time on the view as it is now, and blended with it: their shares are Dirichlet(shares,
    ..)'s, and what they have altogether is Beta(altogether, altogether)'s."""
    block = branches([body])
    return [slot("CHAINS", [shares, altogether], count=len(block), k=count), *block]


def view_size(rows: torch.Tensor) -> tuple[int, int]:
    """(height, width) of the view that the first row of a plan has come to."""
    at = _native.WORDS["VIEW"]
    w, h = rows[0, at:at + 2].view(torch.float32).tolist()
    return int(h), int(w)


@lru_cache
def certain_size(slots: tuple[Slot, ...], size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) that a program makes of ``size`` whatever it draws, as the native core finds it."""
    recipe = _native.Recipe(slots, [0.0] * 4, [1.0] * 4, 0, 0, 0, 0.0, 0.0, False)
    rows = torch.empty((1, recipe.row_words), dtype=torch.int32, device="cpu")
    recipe.plan(torch.zeros(1, dtype=torch.int64, device="cpu"), 0, 0, 0, *size, None, 0, 0, rows, 1)
    return view_size(rows)
