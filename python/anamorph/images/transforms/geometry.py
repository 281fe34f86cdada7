"""Geometry: crops, resizing, flips, affine and perspective maps. All of a recipe's compose into one map per sample.

Names, arguments, defaults and meanings are torchvision.transforms.v2's. ``interpolation`` is "nearest", "bilinear" or
"bicubic", of resizes that shrink also "lanczos" or "area" (or torchvision's enum); a fused chain resamples once, with the best of
its transforms' interpolations. ``fill`` is a number or one per channel, in the input's units (0..255 for uint8, 0..1 for float).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from anamorph.core import checks
from anamorph.core.errors import ShapeError
from anamorph.images.transforms.base import Size, Transform, lengths
from anamorph.images.transforms.program import (
    ANTIALIAS,
    BORDER_SHIFT,
    BORDERS,
    EXPAND,
    INTERPOLATIONS,
    PAD_IF_NEEDED,
    WARPS,
    Slot,
    apply,
    certain_size,
    slot,
)

# What __post_init__ makes of sizes, paddings and degrees, whose fields are typed as they may be given.
_Pads = tuple[int, int, int, int]
_Range = tuple[float, float]


def resampling(name: str, interpolation: str, antialias: bool) -> dict[str, Any]:
    """Both arguments of a transform that resizes, checked."""
    found = {"interpolation": checks.choice(f"{name}.interpolation", interpolation, INTERPOLATIONS),
             "antialias": checks.flag(f"{name}.antialias", antialias)}
    if found["interpolation"] not in WARPS and not found["antialias"]:
        checks.wrong(f"{name}.antialias", f'True for "{found["interpolation"]}", which has no other form', antialias)
    return found


@dataclass(frozen=True)
class RandomResizedCrop(Transform):
    """A random part of the picture, resized (Szegedy et al., 2015; torchvision's RandomResizedCrop).

    Args:
        size: side or (height, width) of the output, in pixels.
        scale: (low, high) of the part's share of the area, each in (0, 1].
        ratio: (low, high) of its width over its height, drawn log-uniformly.
        interpolation: "nearest", "bilinear", "bicubic", "lanczos" (PIL's) or "area" (OpenCV's INTER_AREA: each pixel the mean of
            all that it covers).
        antialias: widen the filter where the crop is shrunk, as torchvision and PIL.

    Ten tries to find a crop that fits, then the largest central one within ``ratio``.
    """

    size: int | Sequence[int]
    scale: Sequence[float] = (0.08, 1.0)
    ratio: Sequence[float] = (3 / 4, 4 / 3)
    interpolation: str = "bilinear"
    antialias: bool = True

    def __post_init__(self) -> None:
        name = "RandomResizedCrop"
        self._set(size=checks.size(f"{name}.size", self.size), scale=checks.interval(f"{name}.scale", self.scale, 0, 1),
                  ratio=checks.interval(f"{name}.ratio", self.ratio, 1e-3, 1e3),
                  **resampling(name, self.interpolation, self.antialias))
        if self.scale[1] == 0:
            checks.wrong(f"{name}.scale", "a share of the area above 0", self.scale)

    def slots(self) -> list[Slot]:
        low, high = (math.log(r) for r in self.ratio)
        return [slot("RESIZED_CROP", [*cast(Size, self.size), *self.scale, low, high],
                     flags=INTERPOLATIONS.index(self.interpolation) | ANTIALIAS * self.antialias)]

    def output_size(self, size: Size | None) -> Size | None:
        return cast(Size, self.size)


@dataclass(frozen=True)
class Resize(Transform):
    """Resizes the picture.

    Args:
        size: (height, width), or one number for the shorter side (the ratio is then kept), or None.
        interpolation: "nearest", "bilinear", "bicubic", "lanczos" (PIL's) or "area" (OpenCV's INTER_AREA: each pixel the mean of
            all that it covers).
        max_size: with one number, the longer side's limit; with ``size=None``, its length.
        antialias: widen the filter where the picture is shrunk.
    """

    size: int | Sequence[int] | None
    interpolation: str = "bilinear"
    max_size: int | None = None
    antialias: bool = True

    def __post_init__(self) -> None:
        both = checks.is_sequence(self.size) and len(self.size) == 2
        fixed = (0, 0) if self.size is None else checks.size("Resize.size", self.size)
        self._set(size=fixed if both else fixed[0] or None, **resampling("Resize", self.interpolation, self.antialias))
        if self.max_size is None and self.size is None:
            checks.wrong("Resize.max_size", "the longer side's length for size=None", None)
        if self.max_size is not None:
            self._set(max_size=checks.side("Resize.max_size", self.max_size))
            if both or self.max_size <= fixed[0]:
                checks.wrong("Resize.max_size", f"more than the shorter side {self.size}, and one number as size",
                             self.max_size)

    def slots(self) -> list[Slot]:
        numbers = self.size if isinstance(self.size, tuple) else (self.size or 0, 0, self.max_size or 0)
        return [slot("RESIZE", numbers, flags=INTERPOLATIONS.index(self.interpolation) | ANTIALIAS * self.antialias)]

    def output_size(self, size: Size | None) -> Size | None:
        if isinstance(self.size, tuple) or size is None:
            return self.size if isinstance(self.size, tuple) else None
        side, shorter, longer = cast(int | None, self.size), min(size), max(size)
        new = (side, int(side * longer / shorter)) if side else (shorter, longer)
        if self.max_size and (new[1] > self.max_size or not side):
            new = max(int(self.max_size * new[0] / new[1]), 1), self.max_size
        return new[::-1] if size[1] < size[0] else new


@dataclass(frozen=True)
class CenterCrop(Transform):
    """The middle of the picture.

    Args:
        size: side or (height, width), in pixels.
        fill: around the picture where the crop is larger: a number or one for each channel, in the input's units: 0..255 for
            uint8, 0..1 for float pictures.
    """

    size: int | Sequence[int]
    fill: float | Sequence[float] = 0

    def __post_init__(self) -> None:
        self._set(size=checks.size("CenterCrop.size", self.size), fill=checks.colors("CenterCrop.fill", self.fill))

    def slots(self) -> list[Slot]:
        return [slot("CENTER_CROP", [*cast(Size, self.size), *checks.four(self.fill)])]

    def output_size(self, size: Size | None) -> Size | None:
        return cast(Size, self.size)

    def channels(self) -> set[int]:
        return lengths(self.fill)


@dataclass(frozen=True)
class RandomCrop(Transform):
    """A part of the picture at a random place, in its own resolution.

    Args:
        size: side or (height, width).
        padding: pixels added first: one number, (left and right, top and bottom), or (left, top, right, bottom).
        pad_if_needed: also pad where the picture is smaller than the crop. Without it that is a
            :class:`ShapeError`, or, when the pictures' sizes differ, the missing part is ``fill``.
        fill: for ``padding_mode="constant"``: a number or one for each channel, in the input's units: 0..255 for uint8, 0..1 for
            float pictures.
        padding_mode: "constant", "edge", "reflect" or "symmetric".
    """

    size: int | Sequence[int]
    padding: int | Sequence[int] | None = None
    pad_if_needed: bool = False
    fill: float | Sequence[float] = 0
    padding_mode: str = "constant"

    def __post_init__(self) -> None:
        given = self.padding if checks.is_sequence(self.padding) else (0 if self.padding is None else self.padding,)
        pads = tuple(checks.whole("RandomCrop.padding", p, 0, checks.MAX_SIDE, " of pixels")
                     for p in checks.several("RandomCrop.padding", given, (1, 2, 4), "1, 2 or 4 numbers"))
        self._set(size=checks.size("RandomCrop.size", self.size), padding=(pads * 4)[:4],
                  pad_if_needed=checks.flag("RandomCrop.pad_if_needed", self.pad_if_needed),
                  fill=checks.colors("RandomCrop.fill", self.fill),
                  padding_mode=checks.choice("RandomCrop.padding_mode", self.padding_mode, BORDERS))

    def slots(self) -> list[Slot]:
        flags = BORDERS.index(self.padding_mode) << BORDER_SHIFT | PAD_IF_NEEDED * self.pad_if_needed
        size, padding = cast(Size, self.size), cast(_Pads, self.padding)
        return [slot("CROP", [*size, *padding, *checks.four(self.fill)], flags=flags)]

    def output_size(self, size: Size | None) -> Size | None:
        crop = cast(Size, self.size)
        if size is not None and not self.pad_if_needed:
            left, top, right, bottom = cast(_Pads, self.padding)
            h, w = size[0] + top + bottom, size[1] + left + right
            if h < crop[0] or w < crop[1]:
                raise ShapeError(f"RandomCrop.size: expected at most the padded picture's {h} x {w} pixels, given "
                                 f"{crop[0]} x {crop[1]}; pad_if_needed=True pads it")
        return crop

    def channels(self) -> set[int]:
        return lengths(self.fill)


@dataclass(frozen=True)
class RandomHorizontalFlip(Transform):
    """Left becomes right, with probability ``p``."""

    p: float = 0.5

    def __post_init__(self) -> None:
        self._set(p=checks.probability("RandomHorizontalFlip.p", self.p))

    def slots(self) -> list[Slot]:
        return apply(self.p, [slot("FLIP_H")])


@dataclass(frozen=True)
class RandomVerticalFlip(Transform):
    """Top becomes bottom, with probability ``p``."""

    p: float = 0.5

    def __post_init__(self) -> None:
        self._set(p=checks.probability("RandomVerticalFlip.p", self.p))

    def slots(self) -> list[Slot]:
        return apply(self.p, [slot("FLIP_V")])


def _center(where: str, center: Any) -> tuple[float, float] | None:
    if center is None:
        return None
    x, y = checks.several(where, center, (2,), "(x, y) in pixels, or None for the middle")
    return checks.number(where, x), checks.number(where, y)


@dataclass(frozen=True)
class RandomRotation(Transform):
    """A rotation, counter-clockwise.

    Args:
        degrees: d for (-d, d), or (low, high).
        interpolation: "nearest", "bilinear" or "bicubic".
        expand: enlarge the output so that it holds all of the picture; the middle then is the centre. Unless ``degrees`` is one
            angle, (90, 90), sizes then differ between samples, so a transform that fixes the size must follow.
        center: (x, y) in pixels; None: the middle.
        fill: what is seen outside the picture, a number or one for each channel, in the input's units: 0..255 for uint8, 0..1 for
            float pictures.
    """

    degrees: float | Sequence[float]
    interpolation: str = "nearest"
    expand: bool = False
    center: Sequence[float] | None = None
    fill: float | Sequence[float] = 0

    def __post_init__(self) -> None:
        name = "RandomRotation"
        self._set(degrees=checks.degrees(f"{name}.degrees", self.degrees), center=_center(f"{name}.center", self.center),
                  interpolation=checks.choice(f"{name}.interpolation", self.interpolation, WARPS),
                  expand=checks.flag(f"{name}.expand", self.expand), fill=checks.colors(f"{name}.fill", self.fill))

    def slots(self) -> list[Slot]:
        center = (1, *self.center) if self.center else (0, 0, 0)
        return [slot("ROTATE", [*cast(_Range, self.degrees), *center, *checks.four(self.fill)],
                     flags=INTERPOLATIONS.index(self.interpolation) | EXPAND * self.expand)]

    def output_size(self, size: Size | None) -> Size | None:
        if not self.expand or size is None:
            return None if self.expand else size
        low, high = cast(_Range, self.degrees)
        return certain_size(tuple(self.slots()), size) if low == high else None

    def channels(self) -> set[int]:
        return lengths(self.fill)


@dataclass(frozen=True)
class RandomAffine(Transform):
    """Rotation (clockwise), translation, scale and shear about the centre.

    Args:
        degrees: d for (-d, d), or (low, high).
        translate: (a, b): shifts up to a * width and b * height, in whole pixels; None: none.
        scale: (low, high) of both axes; or (x low, x high, y low, y high), of the picture's own axes before it is sheared and
            turned (kornia's); None: 1.
        shear: degrees: s for x in (-s, s); (low, high) for x; or (x low, x high, y low, y high); None: none.
        interpolation: "nearest", "bilinear" or "bicubic".
        fill: what is seen outside the picture, a number or one for each channel, in the input's units: 0..255 for uint8, 0..1 for
            float pictures.
        center: (x, y) in pixels; None: the middle.
    """

    degrees: float | Sequence[float]
    translate: Sequence[float] | None = None
    scale: Sequence[float] | None = None
    shear: float | Sequence[float] | None = None
    interpolation: str = "nearest"
    fill: float | Sequence[float] = 0
    center: Sequence[float] | None = None

    def __post_init__(self) -> None:
        name = "RandomAffine"
        self._set(degrees=checks.degrees(f"{name}.degrees", self.degrees), center=_center(f"{name}.center", self.center),
                  interpolation=checks.choice(f"{name}.interpolation", self.interpolation, WARPS),
                  fill=checks.colors(f"{name}.fill", self.fill))
        if self.translate is not None:
            where = f"{name}.translate"
            shares = checks.several(where, self.translate, (2,), "two fractions, of the width and of the height")
            self._set(translate=tuple(checks.number(where, t, 0, 1) for t in shares))
        if self.scale is not None:
            each = [self.scale[:2], self.scale[2:]] if checks.is_sequence(self.scale) and len(self.scale) == 4 else [self.scale]
            self._set(scale=tuple(n for both in each for n in checks.interval(f"{name}.scale", both, 1e-3, 1e3)))
        if self.shear is not None:
            where = f"{name}.shear"
            if checks.is_sequence(self.shear):
                given = checks.several(where, self.shear, (2, 4), "a number, two or four")
                shear = checks.interval(where, given[:2]) + (checks.interval(where, given[2:]) if given[2:] else (0.0, 0.0))
            else:
                shear = (*checks.degrees(where, self.shear), 0.0, 0.0)
            if max(map(abs, shear)) >= 90:
                checks.wrong(where, "degrees between -90 and 90", self.shear)
            self._set(shear=shear)

    def slots(self) -> list[Slot]:
        center = (1, *self.center) if self.center else (0, 0, 0)
        degrees, shear = cast(_Range, self.degrees), cast(Sequence[float], self.shear or (0, 0, 0, 0))
        scale = tuple(self.scale or (1, 1))
        return [slot("AFFINE", [*degrees, *(self.translate or (0, 0)), *scale[:2], *shear, *scale[2:]], count=1,
                     k=int(len(scale) == 4), flags=INTERPOLATIONS.index(self.interpolation)),
                slot("AFFINE", [*checks.four(self.fill), *center])]

    def channels(self) -> set[int]:
        return lengths(self.fill)


@dataclass(frozen=True)
class RandomPerspective(Transform):
    """The picture seen aslant: its corners move inwards by up to half of ``distortion_scale`` of its sides.

    Args:
        distortion_scale: 0 (none) to 1.
        p: probability.
        interpolation: "nearest", "bilinear" or "bicubic".
        fill: what is seen outside the picture, a number or one for each channel, in the input's units: 0..255 for uint8, 0..1 for
            float pictures.
    """

    distortion_scale: float = 0.5
    p: float = 0.5
    interpolation: str = "bilinear"
    fill: float | Sequence[float] = 0

    def __post_init__(self) -> None:
        name = "RandomPerspective"
        self._set(distortion_scale=checks.number(f"{name}.distortion_scale", self.distortion_scale, 0, 1),
                  p=checks.probability(f"{name}.p", self.p),
                  interpolation=checks.choice(f"{name}.interpolation", self.interpolation, WARPS),
                  fill=checks.colors(f"{name}.fill", self.fill))

    def slots(self) -> list[Slot]:
        return apply(self.p, [slot("PERSPECTIVE", [self.distortion_scale, *checks.four(self.fill)],
                                   flags=INTERPOLATIONS.index(self.interpolation))])

    def channels(self) -> set[int]:
        return lengths(self.fill)
