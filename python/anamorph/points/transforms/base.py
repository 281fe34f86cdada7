"""What every transform of point clouds is: a frozen description that compiles to slots."""

from __future__ import annotations

from typing import Any, NamedTuple

from anamorph import _native
from anamorph.core import checks
from anamorph.points.transforms.program import Slot

MAX_POINTS: int = _native.points.MAX_POINTS
AXES = "xyz"


class Counts(NamedTuple):
    """How many points a cloud may have: at least, at most, and at most at any place on the way there."""

    least: int
    most: int
    on_the_way: int

    def then(self, least: int, most: int) -> Counts:
        return Counts(least, most, max(self.on_the_way, most))


class Transform:
    """Base of the transforms. They describe; a :class:`anamorph.points.Recipe` compiles them, once."""

    def slots(self) -> list[Slot]:
        """The program of this transform."""
        raise NotImplementedError

    def words(self) -> int:
        """How many words of a plan's row its steps take at most."""
        return 14

    def counts(self, counts: Counts) -> Counts:
        """The number of points after it.

        Raises:
            ArgumentError: there are fewer than it takes.
        """
        return counts

    def _set(self, **canonical: Any) -> None:  # the dataclasses are frozen, also for their own checks
        for name, value in canonical.items():
            object.__setattr__(self, name, value)


class Mixer(Transform):
    """Base of the transforms that mix a cloud's view with a partner's; they come last in a recipe."""

    def words(self) -> int:
        return 0


def axes_bits(where: str, axes: Any) -> int:
    """"xz" as bits."""
    if not isinstance(axes, str) or not axes or not {*axes} <= {*AXES} or len({*axes}) != len(axes):
        checks.wrong(where, "some of the letters x, y and z, each once", axes)
    return sum(1 << AXES.index(a) for a in axes)


def interval(where: str, low: Any, high: Any, least: float) -> tuple[float, float]:
    """Two finite numbers in order, each at least so much."""
    low, high = checks.number(f"{where}.low", low, least), checks.number(f"{where}.high", high, least)
    if low > high:
        checks.wrong(where, "low <= high", (low, high))
    return low, high
