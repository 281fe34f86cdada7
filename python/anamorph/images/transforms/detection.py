"""Geometry of detection recipes. Names and arguments are torchvision.transforms.v2's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from anamorph.core import checks
from anamorph.images.transforms.base import Size, Transform, lengths
from anamorph.images.transforms.geometry import Resize, resampling
from anamorph.images.transforms.program import ANTIALIAS, INTERPOLATIONS, Slot, apply, choice, slot

_ROUNDS = 8  # of tries for a crop, each with an option of its own
_MOST_TRIALS = 100  # which a slot's random numbers last for


@dataclass(frozen=True)
class RandomZoomOut(Transform):
    """A larger canvas with the picture at a random place (Liu et al., "SSD", ECCV 2016).

    Args:
        fill: of the canvas, a number or one for each channel, in the input's units.
        side_range: (low, high): by what the canvas's sides are larger, at least 1.
        p: probability.

    The view's size differs between samples, so a resize or a crop comes after it.
    """

    fill: float | Sequence[float] = 0
    side_range: Sequence[float] = (1.0, 4.0)
    p: float = 0.5

    def __post_init__(self) -> None:
        self._set(fill=checks.colors("RandomZoomOut.fill", self.fill),
                  side_range=checks.interval("RandomZoomOut.side_range", self.side_range, 1, 100),
                  p=checks.probability("RandomZoomOut.p", self.p))

    def slots(self) -> list[Slot]:
        return apply(self.p, [slot("ZOOM_OUT", [*self.side_range, *checks.four(self.fill)])])

    def output_size(self, size: Size | None) -> Size | None:
        return size if self.p == 0 else None

    def channels(self) -> set[int]:
        return lengths(self.fill)


@dataclass(frozen=True)
class ScaleJitter(Transform):
    """Resizes to what fits into ``target_size``, times a random number; proportions are kept (torchvision v2's).

    Args:
        target_size: side or (height, width).
        scale_range: (low, high) of the random number.
        interpolation, antialias: as :class:`Resize`'s.

    The view's size differs between samples. torchvision (0.28) takes ``target_size`` for (width, height).
    """

    target_size: int | Sequence[int]
    scale_range: Sequence[float] = (0.1, 2.0)
    interpolation: str = "bilinear"
    antialias: bool = True

    def __post_init__(self) -> None:
        name = "ScaleJitter"
        self._set(target_size=checks.size(f"{name}.target_size", self.target_size),
                  scale_range=checks.interval(f"{name}.scale_range", self.scale_range, 1e-3, 100),
                  **resampling(name, self.interpolation, self.antialias))

    def slots(self) -> list[Slot]:
        flags = INTERPOLATIONS.index(self.interpolation) | ANTIALIAS * self.antialias
        return [slot("SCALE_JITTER", [*cast(Size, self.target_size), *self.scale_range], flags=flags)]

    def output_size(self, size: Size | None) -> Size | None:
        return None


@dataclass(frozen=True)
class FixedSizeCrop(Transform):
    """A view of exactly ``size``: cut at a random place where it is larger, padded right and below where it is smaller.

    Args:
        size: side or (height, width).
        fill: of the padding, a number or one for each channel, in the input's units.

    The place is drawn for x and y apart, as in the authors' code of large-scale jitter; detectron2's and torchvision's
    ``FixedSizeCrop`` draw one number for both, so that their crops slide along the diagonal.
    """

    size: int | Sequence[int]
    fill: float | Sequence[float] = 0

    def __post_init__(self) -> None:
        self._set(size=checks.size("FixedSizeCrop.size", self.size), fill=checks.colors("FixedSizeCrop.fill", self.fill))

    def slots(self) -> list[Slot]:
        return [slot("FIXED_SIZE", [*cast(Size, self.size), *checks.four(self.fill)])]

    def output_size(self, size: Size | None) -> Size | None:
        return cast(Size, self.size)

    def channels(self) -> set[int]:
        return lengths(self.fill)


@dataclass(frozen=True)
class LargeScaleJitter(Transform):
    """:class:`ScaleJitter` into ``size``, then :class:`FixedSizeCrop` to it (Ghiasi et al., "Simple Copy-Paste", CVPR 2021).

    Args:
        size: side or (height, width) of the output.
        scale: (low, high) of the random scale; (0.8, 1.25) is their "standard" jitter.
        fill: of the padding, a number or one for each channel, in the input's units.
        interpolation, antialias: as :class:`Resize`'s.
    """

    size: int | Sequence[int]
    scale: Sequence[float] = (0.1, 2.0)
    fill: float | Sequence[float] = 0
    interpolation: str = "bilinear"
    antialias: bool = True

    def __post_init__(self) -> None:
        name = "LargeScaleJitter"
        self._set(size=checks.size(f"{name}.size", self.size), scale=checks.interval(f"{name}.scale", self.scale, 1e-3, 100),
                  fill=checks.colors(f"{name}.fill", self.fill), **resampling(name, self.interpolation, self.antialias))

    def slots(self) -> list[Slot]:
        return [*ScaleJitter(cast(Size, self.size), self.scale, self.interpolation, self.antialias).slots(),
                *FixedSizeCrop(self.size, self.fill).slots()]

    def output_size(self, size: Size | None) -> Size | None:
        return cast(Size, self.size)

    def channels(self) -> set[int]:
        return lengths(self.fill)


@dataclass(frozen=True)
class RandomShortestSize(Transform):
    """Resizes the shorter side to one of some lengths (torchvision v2's; the usual multi-scale training of detectors).

    Args:
        min_size: a length or up to sixteen, of which one is drawn.
        max_size: the most that the longer side may have; None: any.
        interpolation, antialias: as :class:`Resize`'s.
    """

    min_size: int | Sequence[int]
    max_size: int | None = None
    interpolation: str = "bilinear"
    antialias: bool = True

    def __post_init__(self) -> None:
        name = "RandomShortestSize"
        sizes = tuple(self.min_size) if checks.is_sequence(self.min_size) else (self.min_size,)
        if not 1 <= len(sizes) <= 16:
            checks.wrong(f"{name}.min_size", "1 to 16 lengths", self.min_size)
        self._set(min_size=tuple(checks.side(f"{name}.min_size", s) for s in sizes),
                  max_size=None if self.max_size is None else checks.side(f"{name}.max_size", self.max_size),
                  **resampling(name, self.interpolation, self.antialias))
        self._resizes()

    def _resizes(self) -> list[Resize]:
        sizes = cast(tuple[int, ...], self.min_size)
        most = self.max_size
        return [Resize(None, self.interpolation, most, self.antialias) if most is not None and s >= most
                else Resize(s, self.interpolation, most, self.antialias) for s in sizes]

    def slots(self) -> list[Slot]:
        bodies = [r.slots() for r in self._resizes()]
        return bodies[0] if len(bodies) == 1 else choice(1, [1] * len(bodies), bodies)

    def output_size(self, size: Size | None) -> Size | None:
        found = {r.output_size(size) for r in self._resizes()}
        return found.pop() if len(found) == 1 else None


@dataclass(frozen=True)
class RandomIoUCrop(Transform):
    """A crop that meets some object by a drawn share of their union (Liu et al., "SSD", ECCV 2016; torchvision v2's).

    Args:
        min_scale, max_scale: of the crop's sides, drawn apart, as shares of the view's.
        min_aspect_ratio, max_aspect_ratio: of its width over its height; other draws are tried again.
        sampler_options: shares to choose from; one of at least 1 leaves the view whole. None: 0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.
        trials: how many crops are tried for a share, up to 100.

    A crop holds the middle of at least one box, and the best of those has at least that share. Where no crop is found another
    share is drawn, up to eight times, then the view stays whole (torchvision goes on without end), and so it does without boxes.
    The boxes go to ``recipe.plan(..., boxes=..., counts=...)``; objects that are not seen any more are left out by
    ``plan.apply_boxes`` and ``plan.apply_targets``. The view's size differs between samples, so a resize comes after it.
    """

    min_scale: float = 0.3
    max_scale: float = 1.0
    min_aspect_ratio: float = 0.5
    max_aspect_ratio: float = 2.0
    sampler_options: Sequence[float] | None = None
    trials: int = 40

    def __post_init__(self) -> None:
        name = "RandomIoUCrop"
        limits = {"scale": 1.0, "aspect_ratio": 1e3}
        for what, limit in limits.items():
            low, high = (checks.number(f"{name}.{end}_{what}", getattr(self, f"{end}_{what}"), 1e-3, limit)
                         for end in ("min", "max"))
            if low > high:
                checks.wrong(f"{name}.min_{what}", f"low <= high, at most max_{what}", (low, high))
            self._set(**{f"min_{what}": low, f"max_{what}": high})
        options: Any = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0) if self.sampler_options is None else self.sampler_options
        options = checks.several(f"{name}.sampler_options", options, range(1, 13), "1 to 12 shares")
        self._set(sampler_options=tuple(checks.number(f"{name}.sampler_options", o, 0, 10) for o in options),
                  trials=checks.whole(f"{name}.trials", self.trials, 1, _MOST_TRIALS))

    def slots(self) -> list[Slot]:
        options = cast(Sequence[float], self.sampler_options)
        numbers = [self.min_scale, self.max_scale, self.min_aspect_ratio, self.max_aspect_ratio, self.trials, _ROUNDS]
        return [slot("IOU_CROP", numbers, count=1, k=len(options)), slot("IOU_CROP", options)]

    def output_size(self, size: Size | None) -> Size | None:
        return None
