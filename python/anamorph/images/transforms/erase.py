"""Erasing: boxes of the view, or parts of a lattice over it, are overwritten, in the output's frame. ``value`` is the same for
all:

* a number or one per channel: 0..1 (for uint8 images too) where Normalize comes later or never, in normalised units where it came
  before;
* "random": normal noise for each pixel (torchvision's, and timm's ``mode="pixel"``); "channel": one normal number for each
  channel of a box (timm's ``mode="rand"``); in the units of a number;
* "uniform": noise in [0, 1) for each pixel, wherever Normalize stands (albumentations' ``fill="random"``); "uniform channel": one
  such number for each channel of a box (its ``"random_uniform"``).

Of a lattice it is always a number or one per channel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from anamorph.core import checks
from anamorph.images.transforms.base import Transform, lengths
from anamorph.images.transforms.program import Slot, apply, by_view, choice, slot

NOISES = {"channel": 1, "random": 2, "uniform channel": 3, "uniform": 4}
MAX_BOXES = 64  # in a row of the plan
MAX_SIZES = 16  # of HideAndSeek's cells


class _Erasing(Transform):
    """What all share."""

    p: float
    value: float | Sequence[float] | str

    def _check(self, noise: bool = True) -> None:
        name = type(self).__name__
        self._set(p=checks.probability(f"{name}.p", self.p))
        if noise and isinstance(self.value, str):
            checks.choice(f"{name}.value", self.value, tuple(NOISES))
        else:
            self._set(value=checks.colors(f"{name}.value", self.value))

    def _value(self) -> tuple[tuple[float, ...], int]:
        """Four numbers and the kind of noise."""
        return ((0.0,) * 4, NOISES[self.value]) if isinstance(self.value, str) else (checks.four(self.value), 0)

    def channels(self) -> set[int]:
        return set() if isinstance(self.value, str) else lengths(self.value)


def _count(where: str, value: Any, least: int) -> int:
    return checks.whole(where, value, least, MAX_BOXES)


@dataclass(frozen=True)
class RandomErasing(_Erasing):
    """A box of the view is overwritten (Zhong et al., 2020; torchvision's RandomErasing), or several (timm's).

    Args:
        p: probability.
        scale: (low, high) of the box's share of the area, each in [0, 1]. Several boxes share it: each has this / their number.
        ratio: (low, high) of its height over its width, drawn log-uniformly.
        value: a number or one per channel: 0..1 (for uint8 images too) where Normalize comes later or never, in
            normalised units where it came before; or "random", "channel", "uniform" or "uniform channel": kinds of noise that
            :mod:`anamorph.images.transforms.erase` describes.
        min_count, max_count: how many boxes, every number between as likely; None: ``min_count``.
        num_splits: of so many views of a sample the first (the plan's ``view`` 0, ``num_splits``, ...) stays whole, as the clean
            part of timm's batch; 0 or 1: none.

    Ten tries to find a box that fits; then it is left out.
    """

    p: float = 0.5
    scale: Sequence[float] = (0.02, 0.33)
    ratio: Sequence[float] = (0.3, 3.3)
    value: float | Sequence[float] | str = 0
    min_count: int = 1
    max_count: int | None = None
    num_splits: int = 0

    def __post_init__(self) -> None:
        name = "RandomErasing"
        self._set(scale=checks.interval(f"{name}.scale", self.scale, 0, 1),
                  ratio=checks.interval(f"{name}.ratio", self.ratio, 1e-3, 1e3),
                  min_count=_count(f"{name}.min_count", self.min_count, 1),
                  num_splits=checks.whole(f"{name}.num_splits", self.num_splits, 0, MAX_BOXES))
        most = self.min_count if self.max_count is None else self.max_count
        self._set(max_count=_count(f"{name}.max_count", most, self.min_count))
        self._check()

    def slots(self) -> list[Slot]:
        low, high = (math.log(r) for r in self.ratio)
        values, k = self._value()
        body = apply(self.p, [slot("ERASE", [*self.scale, low, high, *values, self.min_count, cast(int, self.max_count)], k=k)])
        return by_view([[]] + [body] * (self.num_splits - 1)) if self.num_splits > 1 and body else body


@dataclass(frozen=True)
class CoarseDropout(_Erasing):
    """Holes in the view (DeVries & Taylor, "Cutout", 2017; albumentations' CoarseDropout).

    Args:
        num_holes_range: (least, most) holes, up to 64, every number between as likely.
        hole_height_range, hole_width_range: (low, high) of a hole's sides: floats below 1 are shares of the view's, rounded down;
            whole numbers from 1 are pixels. Both of one kind.
        value: a number or one per channel: 0..1 (for uint8 images too) where Normalize comes later or never, in
            normalised units where it came before; or "random", "channel", "uniform" or "uniform channel": kinds of noise that
            :mod:`anamorph.images.transforms.erase` describes.
        p: probability.

    A hole lies wholly inside; holes may overlap.
    """

    num_holes_range: Sequence[int] = (1, 2)
    hole_height_range: Sequence[float] = (0.1, 0.2)
    hole_width_range: Sequence[float] = (0.1, 0.2)
    value: float | Sequence[float] | str = 0
    p: float = 0.5

    def __post_init__(self) -> None:
        name = "CoarseDropout"
        low, high = checks.interval(f"{name}.num_holes_range", self.num_holes_range, 1, MAX_BOXES)
        self._set(num_holes_range=(_count(f"{name}.num_holes_range", self.num_holes_range[0], 1),
                                   _count(f"{name}.num_holes_range", self.num_holes_range[1], 1)))
        kinds = set()
        for side in ("hole_height_range", "hole_width_range"):
            low, high = checks.interval(f"{name}.{side}", getattr(self, side), 0, checks.MAX_SIDE)
            kinds.add(high < 1)
            if high >= 1 and (low < 1 or low % 1 or high % 1):
                checks.wrong(f"{name}.{side}", "shares below 1, or whole numbers of pixels from 1", getattr(self, side))
            self._set(**{side: (low, high)})
        if len(kinds) > 1:
            checks.wrong(f"{name}.hole_width_range", "shares or pixels, as hole_height_range", self.hole_width_range)
        self._check()

    def slots(self) -> list[Slot]:
        values, k = self._value()
        return apply(self.p, [slot("DROPOUT", [*self.num_holes_range, *self.hole_height_range, *self.hole_width_range, *values,
                                               self.hole_height_range[1] < 1], k=k)])


@dataclass(frozen=True)
class Cutout(_Erasing):
    """A square whose middle is any pixel of the view is overwritten; what lies outside is cut off (DeVries and Taylor, "Improved
    Regularization of Convolutional Neural Networks with Cutout", 2017).

    Args:
        size: the square's side in pixels: the authors' 16 for CIFAR-10, 8 for CIFAR-100, 20 for SVHN.
        value: a number or one per channel: 0..1 (for uint8 images too) where Normalize comes later or never, in
            normalised units where it came before: there 0 is the mean of the data set, the authors' choice.
        p: probability.
    """

    size: int = 16
    value: float | Sequence[float] = 0
    p: float = 1.0

    def __post_init__(self) -> None:
        self._set(size=checks.side("Cutout.size", self.size))
        self._check(noise=False)

    def slots(self) -> list[Slot]:
        values, _ = self._value()
        return apply(self.p, [slot("CUTOUT", [self.size, *values])])


@dataclass(frozen=True)
class GridMask(_Erasing):
    """Squares of a turned grid are overwritten (Chen et al., "GridMask Data Augmentation", 2020).

    Args:
        d: (low, high) of the grid's period in whole pixels, every number between as likely; the authors' for 224 pixels. (Their
            code leaves out its upper end: 224.)
        ratio: r in [0, 1]: of each period the first ceil(r d) pixels are a strip, along both axes.
        degrees: by how much the grid turns about the view's middle, anticlockwise: d for (-d, d), or (low, high).
        mode: 1: what the strips leave is overwritten, squares that together have (1 - r)^2 of the area, 16 % by default; 0: the
            strips are. As in the authors' code, whose paper describes 1.
        value: a number or one per channel: 0..1 (for uint8 images too) where Normalize comes later or never, in
            normalised units where it came before, as in the authors' code.
        p: probability. The authors raise it from 0 to 0.8 over the first 240 of 300 epochs; here it is fixed, for one recipe.

    Where the grid begins is uniform over a period of each axis.
    """

    d: Sequence[int] = (96, 223)
    ratio: float = 0.6
    degrees: float | Sequence[float] = (0.0, 360.0)
    mode: int = 1
    value: float | Sequence[float] = 0
    p: float = 0.8

    def __post_init__(self) -> None:
        name = "GridMask"
        checks.interval(f"{name}.d", self.d, 1, checks.MAX_SIDE)
        self._set(d=tuple(checks.side(f"{name}.d", d) for d in self.d), ratio=checks.number(f"{name}.ratio", self.ratio, 0, 1),
                  degrees=checks.degrees(f"{name}.degrees", self.degrees), mode=checks.whole(f"{name}.mode", self.mode, 0, 1))
        self._check(noise=False)

    def slots(self) -> list[Slot]:
        values, _ = self._value()
        low, high = cast(tuple[float, float], self.degrees)
        return apply(self.p, [slot("GRID_MASK", [*self.d, self.ratio, low, high, *values, self.mode])])


@dataclass(frozen=True)
class HideAndSeek(_Erasing):
    """Each cell of a grid is overwritten or not, by a coin of its own (Singh and Lee, "Hide-and-Seek", ICCV 2017; Singh et al.,
    2018).

    Args:
        grid_sizes: sides of the cells in pixels, 1 to 16 of them, of which one is drawn for each sample, each as likely. 0: the
            sample stays whole.
        hide_prob: how likely a cell is hidden.
        value: a number or one per channel: 0..1 (for uint8 images too) where Normalize comes later or never, in
            normalised units where it came before: there 0 is the mean of the data set, the authors' choice.
        p: probability.

    The grid begins in the upper left corner; cells at the other two sides are cut off.
    """

    grid_sizes: Sequence[int] = (0, 16, 32, 44, 56)
    hide_prob: float = 0.5
    value: float | Sequence[float] = 0
    p: float = 1.0

    def __post_init__(self) -> None:
        name = "HideAndSeek"
        where = f"{name}.grid_sizes"
        sizes = checks.several(where, self.grid_sizes, range(1, MAX_SIZES + 1), f"1 to {MAX_SIZES} sides of cells")
        self._set(grid_sizes=tuple(checks.whole(where, size, 0, checks.MAX_SIDE, " of pixels") for size in sizes),
                  hide_prob=checks.probability(f"{name}.hide_prob", self.hide_prob))
        self._check(noise=False)

    def slots(self) -> list[Slot]:
        values, _ = self._value()
        bodies = [[slot("HIDE_AND_SEEK", [size, self.hide_prob, *values])] if size else [] for size in self.grid_sizes]
        if not self.p or not any(bodies):
            return []
        return apply(self.p, bodies[0]) if len(bodies) == 1 else choice(self.p, [1] * len(bodies), bodies)
