"""The ops of automatic policies and how each convention makes an op's argument of a magnitude.

A magnitude is a share of an op's range: 0 its weakest, 1 its strongest. ``Range`` says what argument a share stands for,
``Level`` how the share is drawn; together they are one slot, whose number the plan draws and its row keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from anamorph.core import checks
from anamorph.images.transforms.program import (
    INTERPOLATIONS,
    LEVEL_NORMAL,
    LEVELS,
    ROUND,
    SIGN,
    TRUNCATE,
    Slot,
    choice,
    slot,
)

SHARE, WHOLE = 1, 2  # a translation is a share of the side; it is of whole pixels
IN_BYTES = 1  # a threshold or addition counts 255ths, also of float pictures
GEOMETRY = ("SHEAR_X", "SHEAR_Y", "TRANSLATE_X", "TRANSLATE_Y", "ROTATE_BY")


class Range(NamedTuple):
    """The argument of ``op`` for a share t: around + round(low + (high - low) t), within ``least`` and ``most``."""

    op: str
    low: float = 0.0
    high: float = 0.0
    flags: int = 0  # ROUND, TRUNCATE, SIGN
    around: float = 0.0
    least: float = 0.0
    most: float = 0.0  # no bounds where the two are equal
    k: int = 0

    def at(self, share: float) -> float:
        return self.low + (self.high - self.low) * share


class Level(NamedTuple):
    """A share: one of ``count`` evenly spaced from ``low`` to ``high``; or uniform between these (``count`` 0); or with ``std``
    tenths of a normal number about ``mean``, kept within 0 and ``top``."""

    low: float
    high: float
    count: int = 1  # type: ignore[assignment]  # hides tuple.count
    mean: float = 0.0
    std: float = 0.0
    top: float = 10.0


def fixed(share: float) -> Level:
    """Always the same."""
    return Level(share, share)


def slots(r: Range, level: Level, interpolation: str = "nearest", fill: Any = (0.0,)) -> list[Slot]:
    """The slots of one op. ``interpolation``: of a geometric one; "random": bilinear or bicubic, as likely."""
    numbers = [r.at(level.low), r.at(level.high), level.count, 0.0, r.around, r.least, r.most, 0.0]
    flags = r.flags | LEVELS * (level.count > 0)
    if level.std > 0:
        numbers = [r.low, r.high, level.mean, level.std, r.around, r.least, r.most, level.top]
        flags = r.flags | LEVEL_NORMAL
    if r.op not in GEOMETRY:
        return [slot(r.op, numbers, k=r.k, flags=flags)]
    if interpolation == "random":
        return choice(1, [1, 1], [slots(r, level, each, fill) for each in ("bilinear", "bicubic")])
    return [slot(r.op, [*numbers, *checks.four(fill)], k=r.k, flags=flags | INTERPOLATIONS.index(interpolation))]


def _maps(shear: float, translate: float, rotate: float, moved: int, rounded: int = 0) -> dict[str, Range]:
    return {"ShearX": Range("SHEAR_X", 0, shear, SIGN), "ShearY": Range("SHEAR_Y", 0, shear, SIGN),
            "TranslateX": Range("TRANSLATE_X", 0, translate, SIGN, k=moved),
            "TranslateY": Range("TRANSLATE_Y", 0, translate, SIGN, k=moved),
            "Rotate": Range("ROTATE_BY", 0, rotate, SIGN | rounded)}


def _enhancers(low: float, high: float, flags: int = 0, around: float = 0.0, least: float = 0.0) -> dict[str, Range]:
    names = {"Brightness": "BRIGHTNESS", "Color": "SATURATION", "Contrast": "CONTRAST", "Sharpness": "SHARPNESS"}
    return {name: Range(op, low, high, flags, around, least, 1e4) for name, op in names.items()}


def _posterize(low: float, high: float, flags: int, around: float = 0.0) -> Range:
    return Range("POSTERIZE", low, high, flags, around, 0, 8)


def _solarize(low: float, high: float, flags: int = 0, around: float = 0.0) -> Range:
    return Range("SOLARIZE", low, high, flags, around, 0, 256, IN_BYTES)


SOLARIZE_ADD = Range("SOLARIZE_ADD", 0, 110, TRUNCATE, 0, 0, 128, IN_BYTES)
PLAIN = {"Identity": Range("IDENTITY"), "AutoContrast": Range("AUTOCONTRAST"), "Equalize": Range("EQUALIZE"),
         "Invert": Range("INVERT")}

# torchvision.transforms.v2: RandAugment's and AutoAugment's; TrivialAugmentWide's; AugMix's.
TORCHVISION: Mapping[str, Range] = {
    **PLAIN, **_maps(0.3, 150 / 331, 30, SHARE | WHOLE), **_enhancers(0, 0.9, SIGN, 1),
    "Posterize": _posterize(8, 4, ROUND), "Solarize": _solarize(255, 0)}
TORCHVISION_WIDE: Mapping[str, Range] = {
    **PLAIN, **_maps(0.99, 32, 135, WHOLE), **_enhancers(0, 0.99, SIGN, 1),
    "Posterize": _posterize(8, 2, ROUND), "Solarize": _solarize(255, 0)}
TORCHVISION_AUGMIX: Mapping[str, Range] = {
    **PLAIN, **_maps(0.3, 1 / 3, 30, SHARE | WHOLE), **_enhancers(0, 0.9, SIGN, 1),
    "Posterize": _posterize(4, 0, ROUND), "Solarize": _solarize(255, 0)}

# The authors' code: AutoAugment's, which FixMatch and UDA share; RandAugment's; TrivialAugment's; AugMix's.
AUTOAUGMENT: Mapping[str, Range] = {
    **PLAIN, **_maps(0.3, 10, 30, WHOLE, TRUNCATE), **_enhancers(0.1, 1.9),
    "Posterize": _posterize(0, -4, TRUNCATE, 4), "Solarize": _solarize(0, -256, TRUNCATE, 256)}
RANDAUGMENT: Mapping[str, Range] = {
    **PLAIN, **_maps(0.3, 100, 30, 0), **_enhancers(0.1, 1.9),
    "Posterize": _posterize(0, 4, TRUNCATE), "Solarize": _solarize(0, 256, TRUNCATE),
    "SolarizeAdd": Range("SOLARIZE_ADD", 0, 110, TRUNCATE, 0, 0, 255, IN_BYTES)}
TRIVIALAUGMENT: Mapping[str, Range] = {
    **PLAIN, **_maps(0.99, 32, 135, WHOLE, TRUNCATE), **_enhancers(0.01, 2.0),
    "Posterize": _posterize(0, -6, TRUNCATE, 8), "Solarize": _solarize(0, -256, TRUNCATE, 256)}
AUGMIX: Mapping[str, Range] = {**AUTOAUGMENT, **_maps(0.3, 1 / 3, 30, SHARE | WHOLE, TRUNCATE)}


def timm(translate_const: float = 250, translate_pct: float = 0.45) -> dict[str, Range]:
    """timm's ranges, by its names."""
    maps, relative = _maps(0.3, translate_const, 30, 0), _maps(0.3, translate_pct, 30, SHARE)
    plain, rising = _enhancers(0.1, 1.9), _enhancers(0, 0.9, SIGN, 1, 0.1)
    return {
        **PLAIN, **maps, **plain, **{f"{name}Increasing": r for name, r in rising.items()},
        "TranslateXRel": relative["TranslateX"], "TranslateYRel": relative["TranslateY"],
        "Posterize": _posterize(0, 4, TRUNCATE), "PosterizeIncreasing": _posterize(0, -4, TRUNCATE, 4),
        "PosterizeOriginal": _posterize(0, 4, TRUNCATE, 4),
        "Solarize": _solarize(0, 256, TRUNCATE), "SolarizeIncreasing": _solarize(0, -256, TRUNCATE, 256),
        "SolarizeAdd": SOLARIZE_ADD,
        "Desaturate": Range("SATURATION", 0.5, 0.0, 0, 0, 0, 1),
        "GaussianBlur": Range("GAUSSIAN_BLUR", 0.1, 2.0, 0, 0, 1e-3, 2, 1 | 1 << 8 | 2 << 16),
        # A radius drawn below what the level stands for: of the level that the policy "3a" has, the highest.
        "GaussianBlurRand": Range("GAUSSIAN_BLUR", 0.1, 2.0, 0, 0, 1e-3, 2, 1 | 1 << 8 | 2 << 16),
    }
