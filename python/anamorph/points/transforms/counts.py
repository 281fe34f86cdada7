"""What changes which points there are, how many, or in which order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from anamorph import _native
from anamorph.core import checks
from anamorph.points.transforms.base import MAX_POINTS, Counts, Transform
from anamorph.points.transforms.program import Slot, slot

MAX_ADDED: int = _native.points.MAX_ADDED


def _ratio(where: str, ratio: Any, most: float) -> tuple[float, float]:
    if most < 1 and 1 in (ratio, *(ratio if checks.is_sequence(ratio) else ())):
        checks.wrong(where, "a share below 1, or (low, high) of such", ratio)
    if checks.is_sequence(ratio):
        return checks.interval(where, ratio, 0, most)
    ratio = checks.number(where, ratio, 0, most)
    return ratio, ratio


@dataclass(frozen=True)
class Dropout(Transform):
    """A share of the points is left out, any of them; the others, at least one, stay, in a random order: int(N (1 - ratio)) of N.
    ``ratio``: a number in [0, 1), or (low, high) for one uniform there. (OpenPoints' RandomDropout is
    ``RandomApply([Dropout(.2)], p=.2)``.)"""

    ratio: float | Sequence[float] = 0.5

    def __post_init__(self) -> None:
        self._set(ratio=_ratio("Dropout.ratio", self.ratio, 1 - 1e-9))

    def words(self) -> int:
        return 5

    def counts(self, counts: Counts) -> Counts:
        low, high = self.ratio  # type: ignore[misc]
        return counts.then(max(1, math.floor(counts.least * (1 - high))), max(1, math.floor(counts.most * (1 - low))))

    def slots(self) -> list[Slot]:
        return [slot("KEEP", self.ratio)]  # type: ignore[arg-type]


@dataclass(frozen=True)
class RandomInputDropout(Transform):
    """PointNet++'s: each point becomes the first one with a probability that is itself uniform in (0, ``most``), or in (low,
    high). The number of points stays (Qi et al., NeurIPS 2017)."""

    most: float | Sequence[float] = 0.875

    def __post_init__(self) -> None:
        given = self.most if checks.is_sequence(self.most) else (0.0, self.most)
        self._set(most=_ratio("RandomInputDropout.most", given, 1))

    def words(self) -> int:
        return 5

    def slots(self) -> list[Slot]:
        return [slot("TO_FIRST", self.most)]  # type: ignore[arg-type]


@dataclass(frozen=True)
class Shuffle(Transform):
    """The points in a random order."""

    def words(self) -> int:
        return 5

    def slots(self) -> list[Slot]:
        return [slot("KEEP")]


@dataclass(frozen=True)
class Resample(Transform):
    """So many points: of more a random subset, of fewer all of them and some again (each once before one comes twice), in a
    random order. A :class:`Recipe`'s ``num_points`` is this."""

    num_points: int

    def __post_init__(self) -> None:
        self._set(num_points=checks.whole("Resample.num_points", self.num_points, 1, MAX_POINTS))

    def words(self) -> int:
        return 5

    def counts(self, counts: Counts) -> Counts:
        return counts.then(self.num_points, self.num_points)

    def slots(self) -> list[Slot]:
        return [slot("RESAMPLE", k=self.num_points)]


@dataclass(frozen=True)
class FarthestSample(Resample):
    """So many points, each the farthest from those before it, the first at random
    (:func:`anamorph.points.farthest_point_sample`); of a cloud that has fewer, as :class:`Resample`."""

    def __post_init__(self) -> None:
        self._set(num_points=checks.whole("FarthestSample.num_points", self.num_points, 1, MAX_POINTS))

    def slots(self) -> list[Slot]:
        return [slot("FARTHEST", k=self.num_points)]


def _clusters(where: str, clusters: int | Sequence[int]) -> tuple[int, int]:
    low, high = clusters if checks.is_sequence(clusters) and len(clusters) == 2 else (clusters, clusters)
    most = _native.points.MAX_CLUSTERS
    low, high = (checks.whole(where, c, 1, most) for c in (low, high))
    if low > high:
        checks.wrong(where, "low <= high", clusters)
    return low, high


@dataclass(frozen=True)
class DropLocal(Transform):
    """``points`` points are left out about a few places: of ``clusters`` (or least to most, each as likely), each a random point
    of those that are left; each of the points goes with one of the clusters, which takes the nearest. (ModelNet-C, Ren et al.,
    ICML 2022.)"""

    points: int = 100
    clusters: int | Sequence[int] = (1, 7)

    def __post_init__(self) -> None:
        self._set(points=checks.whole("DropLocal.points", self.points, 0, MAX_ADDED),
                  clusters=_clusters("DropLocal.clusters", self.clusters))

    def words(self) -> int:
        return 3 + 2 * self.clusters[1]  # type: ignore[index]

    def counts(self, counts: Counts) -> Counts:
        if counts.least <= self.points:
            checks.wrong("count", f"more points than the {self.points} that DropLocal leaves out", counts.least)
        return counts.then(counts.least - self.points, counts.most - self.points)

    def slots(self) -> list[Slot]:
        return [slot("DROP_LOCAL", [self.points, *self.clusters])]  # type: ignore[misc]


class _Adding(Transform):
    points: int

    def counts(self, counts: Counts) -> Counts:
        return counts.then(counts.least + self.points, counts.most + self.points)


@dataclass(frozen=True)
class AddGlobal(_Adding):
    """``points`` points are added at the end, uniform in the unit ball. (ModelNet-C, Ren et al., ICML 2022.) They are no point of
    the cloud: their attributes are 0, integer labels -1."""

    points: int = 10

    def __post_init__(self) -> None:
        self._set(points=checks.whole("AddGlobal.points", self.points, 0, MAX_ADDED))

    def words(self) -> int:
        return 5

    def slots(self) -> list[Slot]:
        return [slot("ADD_GLOBAL", [self.points])]


@dataclass(frozen=True)
class AddLocal(_Adding):
    """``points`` points are added at the end, normally distributed about ``clusters`` (or least to most) random points of the
    cloud, each cluster with a deviation uniform in ``sigma``; what lies outside of the unit ball is divided by its squared norm.
    (ModelNet-C, Ren et al., ICML 2022.) Attributes as of :class:`AddGlobal`."""

    points: int = 100
    clusters: int | Sequence[int] = (1, 7)
    sigma: Sequence[float] = (0.075, 0.125)

    def __post_init__(self) -> None:
        self._set(points=checks.whole("AddLocal.points", self.points, 0, MAX_ADDED),
                  clusters=_clusters("AddLocal.clusters", self.clusters),
                  sigma=checks.interval("AddLocal.sigma", self.sigma, 0, 1e6))

    def words(self) -> int:
        return 6 + 2 * self.clusters[1]  # type: ignore[index]

    def slots(self) -> list[Slot]:
        return [slot("ADD_LOCAL", [self.points, *self.clusters, *self.sigma])]  # type: ignore[misc]
