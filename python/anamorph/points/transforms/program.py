"""The program of a recipe for point clouds: slots of an op code, three integers and twelve numbers.

csrc/points/program.h is the other half of this page; ``_native.points.OPS`` brings the op codes from there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

from anamorph import _native

OPS: dict[str, int] = _native.points.OPS
SAME, NORMAL, COMPAT, CENTER, UNIT, PER_BATCH, NEIGHBOURS = (1 << bit for bit in range(7))


class Slot(NamedTuple):
    """One slot. ``count``: how many of the next slots belong to it; ``k``: its branches, or a small number of its own."""

    op: int
    count: int  # type: ignore[assignment]  # hides tuple.count
    k: int
    flags: int
    numbers: tuple[float, ...]


def slot(op: str, numbers: Iterable[float] = (), *, count: int = 0, k: int = 0, flags: int = 0) -> Slot:
    """A slot for the op called ``op``, its numbers filled up to twelve."""
    given = tuple(float(n) for n in numbers)
    return Slot(OPS[op], count, k, flags, given + (0.0,) * (12 - len(given)))


def choice(p: float, weights: Sequence[float], bodies: Sequence[Sequence[Slot]]) -> list[Slot]:
    """With probability ``p`` one of the bodies, drawn by ``weights``."""
    sums = list(accumulate(weights))
    block = [one for body, number in zip(bodies, sums, strict=True)
             for one in (slot("BRANCH", [number], count=len(body)), *body)]
    return [slot("CHOICE", [p, sums[-1]], count=len(block), k=len(bodies)), *block]


def packed(slots: Sequence[Slot]) -> bytes:
    """The bytes that the native core reads."""
    return b"".join(struct.pack("=4i12d", s.op, s.count, s.k, s.flags, *s.numbers) for s in slots)
