"""Padding, and crops that may pad. ``fill`` is a number or one per channel, in the input's units (0..255 for uint8, 0..1 for
float); ``padding_mode`` is torchvision's: "constant" (``fill``), "edge", "reflect" or "symmetric"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from anamorph.core import checks
from anamorph.images.transforms.base import Size, Transform, lengths
from anamorph.images.transforms.geometry import resampling
from anamorph.images.transforms.program import (
    ANTIALIAS,
    BORDER_SHIFT,
    BORDERS,
    INTERPOLATIONS,
    Slot,
    apply,
    slot,
)

Sides = tuple[int, int, int, int]


def sides(where: str, value: Any) -> Sides:
    """Pixels for (left, top, right, bottom): one number, (left and right, top and bottom), or all four."""
    pads = tuple(value) if checks.is_sequence(value) else (value,)
    if len(pads) not in (1, 2, 4):
        checks.wrong(where, "1, 2 or 4 numbers", value)
    return cast(Sides, (tuple(checks.whole(where, p, 0, checks.MAX_SIDE, " of pixels") for p in pads) * 4)[:4])


def _pad(padding: Sequence[int], size: Sequence[int], multiple: Sequence[int], fill: Any, mode: str,
         square: bool = False) -> Slot:
    flags = BORDERS.index(mode) << BORDER_SHIFT
    return slot("PAD", [*padding, *size, *multiple, *checks.four(fill)], k=int(square), flags=flags)


def _up(side: int, multiple: int) -> int:
    return -(-side // multiple) * multiple


class _Padded(Transform):
    """What the paddings share."""

    fill: float | Sequence[float]
    padding_mode: str

    def _check(self) -> None:
        name = type(self).__name__
        self._set(fill=checks.colors(f"{name}.fill", self.fill),
                  padding_mode=checks.choice(f"{name}.padding_mode", self.padding_mode, BORDERS))

    def channels(self) -> set[int]:
        return lengths(self.fill)


@dataclass(frozen=True)
class Pad(_Padded):
    """Pixels around the picture, as torchvision v2's Pad.

    Args:
        padding: pixels: one number, (left and right, top and bottom), or (left, top, right, bottom).
        fill: for ``padding_mode="constant"``: a number or one for each channel, in the input's units: 0..255 for uint8, 0..1 for
            float pictures.
        padding_mode: "constant", "edge", "reflect" or "symmetric". A mirror wider than the picture goes on as its edge.
    """

    padding: int | Sequence[int]
    fill: float | Sequence[float] = 0
    padding_mode: str = "constant"

    def __post_init__(self) -> None:
        self._set(padding=sides("Pad.padding", self.padding))
        self._check()

    def slots(self) -> list[Slot]:
        return [_pad(cast(Sides, self.padding), (0, 0), (1, 1), self.fill, self.padding_mode)]

    def output_size(self, size: Size | None) -> Size | None:
        left, top, right, bottom = cast(Sides, self.padding)
        return size and (size[0] + top + bottom, size[1] + left + right)


@dataclass(frozen=True)
class PadIfNeeded(_Padded):
    """Pads to a size or to multiples of one, half on each side; an odd pixel goes to the right and the bottom (albumentations'
    PadIfNeeded, ``position="center"``).

    Args:
        size: side or (height, width) that the picture has at least; None: any.
        multiple: number or (of the height, of the width) whose multiples the sides become; None: 1.
        fill: for ``padding_mode="constant"``: a number or one for each channel, in the input's units: 0..255 for uint8, 0..1 for
            float pictures.
        padding_mode: "constant", "edge", "reflect" or "symmetric".
    """

    size: int | Sequence[int] | None = None
    multiple: int | Sequence[int] | None = None
    fill: float | Sequence[float] = 0
    padding_mode: str = "constant"

    def __post_init__(self) -> None:
        if self.size is None and self.multiple is None:
            checks.wrong("PadIfNeeded", "a size, a multiple, or both", None)
        self._set(size=checks.size("PadIfNeeded.size", 1 if self.size is None else self.size),
                  multiple=checks.size("PadIfNeeded.multiple", 1 if self.multiple is None else self.multiple))
        self._check()

    def slots(self) -> list[Slot]:
        return [_pad((0, 0, 0, 0), cast(Size, self.size), cast(Size, self.multiple), self.fill, self.padding_mode)]

    def output_size(self, size: Size | None) -> Size | None:
        least, multiple = cast(Size, self.size), cast(Size, self.multiple)
        return size and (_up(max(size[0], least[0]), multiple[0]), _up(max(size[1], least[1]), multiple[1]))


@dataclass(frozen=True)
class PadToSquare(_Padded):
    """Pads the shorter side to the longer one, half on each side; an odd pixel goes to the right or the bottom.

    Args:
        fill: for ``padding_mode="constant"``: a number or one for each channel, in the input's units: 0..255 for uint8, 0..1 for
            float pictures.
        padding_mode: "constant", "edge", "reflect" or "symmetric".
    """

    fill: float | Sequence[float] = 0
    padding_mode: str = "constant"

    def __post_init__(self) -> None:
        self._check()

    def slots(self) -> list[Slot]:
        return [_pad((0, 0, 0, 0), (0, 0), (1, 1), self.fill, self.padding_mode, square=True)]

    def output_size(self, size: Size | None) -> Size | None:
        return size and (max(size), max(size))


@dataclass(frozen=True)
class LetterBox(Transform):
    """The whole picture, as large as fits into ``size`` without changing its ratio, in the middle of a frame of ``fill`` (as
    YOLO's loaders do, which fill with 114).

    Args:
        size: side or (height, width) of the output, in pixels.
        fill: of the frame: a number or one for each channel, in the input's units: 0..255 for uint8, 0..1 for float pictures.
        interpolation: "nearest", "bilinear", "bicubic", "lanczos" or "area".
        antialias: widen the filter where the picture is shrunk.
    """

    size: int | Sequence[int]
    fill: float | Sequence[float] = 0
    interpolation: str = "bilinear"
    antialias: bool = True

    def __post_init__(self) -> None:
        self._set(size=checks.size("LetterBox.size", self.size), fill=checks.colors("LetterBox.fill", self.fill),
                  **resampling("LetterBox", self.interpolation, self.antialias))

    def slots(self) -> list[Slot]:
        size = cast(Size, self.size)
        flags = INTERPOLATIONS.index(self.interpolation) | ANTIALIAS * self.antialias
        return [slot("RESIZE", size, k=1, flags=flags), _pad((0, 0, 0, 0), size, (1, 1), self.fill, "constant")]

    def output_size(self, size: Size | None) -> Size | None:
        return cast(Size, self.size)

    def channels(self) -> set[int]:
        return lengths(self.fill)


Amount = float | Sequence[float]  # a number, or (low, high)


@dataclass(frozen=True)
class CropAndPad(_Padded):
    """Cuts from or adds to each side, by random amounts (imgaug's and albumentations' CropAndPad). What is below 0 is cut off,
    what is above is added; at least a pixel of each axis is left.

    Args:
        px: pixels, whole numbers; or
        percent: shares of the picture's height (top and bottom) and width (left and right), rounded towards 0.
            Of the two one is given: one number or (low, high) for all sides, or four of these: (top, right, bottom, left).
        keep_size: resize to the size that the picture had. Without it the sizes differ between samples.
        sample_independently: one draw for each side, or one for the four.
        interpolation: "nearest", "bilinear", "bicubic", "lanczos" or "area".
        fill: for ``padding_mode="constant"``: a number or one for each channel, in the input's units: 0..255 for uint8, 0..1 for
            float pictures.
        padding_mode: "constant", "edge", "reflect" or "symmetric".
        antialias: widen the filter where the picture is shrunk.
        p: probability.
    """

    px: Amount | Sequence[Amount] | None = None
    percent: Amount | Sequence[Amount] | None = None
    keep_size: bool = True
    sample_independently: bool = True
    interpolation: str = "bilinear"
    fill: float | Sequence[float] = 0
    padding_mode: str = "constant"
    antialias: bool = True
    p: float = 1.0

    def __post_init__(self) -> None:
        if (self.px is None) == (self.percent is None):
            checks.wrong("CropAndPad", "either px or percent", (self.px, self.percent))
        if self.px is not None:
            self._set(px=_amounts("CropAndPad.px", self.px, checks.MAX_SIDE, True))
        else:
            self._set(percent=_amounts("CropAndPad.percent", self.percent, 10.0, False))
        self._set(**resampling("CropAndPad", self.interpolation, self.antialias),
                  keep_size=checks.flag("CropAndPad.keep_size", self.keep_size),
                  sample_independently=checks.flag("CropAndPad.sample_independently", self.sample_independently),
                  p=checks.probability("CropAndPad.p", self.p))
        self._check()

    def slots(self) -> list[Slot]:
        each = cast(Sequence[Sequence[float]], self.percent if self.px is None else self.px)
        k = 1 * (self.px is None) + 2 * self.keep_size + 4 * (not self.sample_independently)
        flags = (INTERPOLATIONS.index(self.interpolation) | ANTIALIAS * self.antialias
                 | BORDERS.index(self.padding_mode) << BORDER_SHIFT)
        return apply(self.p, [slot("CROP_AND_PAD", [n for both in each for n in both], count=1, k=k, flags=flags),
                              slot("CROP_AND_PAD", checks.four(self.fill))])

    def output_size(self, size: Size | None) -> Size | None:
        return size if self.keep_size or not self.p else None


def _amounts(where: str, value: Any, most: float, whole: bool) -> tuple[tuple[float, float], ...]:
    """(low, high) for each of the four sides."""
    def one(v: Any) -> tuple[float, float]:
        low, high = v if checks.is_sequence(v) and len(v) == 2 else (v, v)
        if whole:
            low, high = (checks.whole(where, n, -int(most), int(most), " of pixels") for n in (low, high))
        low, high = checks.interval(where, (low, high), -most, most)
        return low, high

    if checks.is_sequence(value) and len(value) == 4:
        return tuple(one(v) for v in value)
    if checks.is_sequence(value) and len(value) != 2:
        checks.wrong(where, "a number, (low, high), or four of these", value)
    return (one(value),) * 4
