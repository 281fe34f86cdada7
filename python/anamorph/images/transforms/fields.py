"""Random fields: maps and colours whose numbers change smoothly from pixel to pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

from anamorph.core import checks
from anamorph.images.transforms.base import Transform, lengths
from anamorph.images.transforms.program import INTERPOLATIONS, WARPS, Slot, apply, slot

MOTIONS = ("translation", "rotation", "scale", "shear")
COLORS = ("brightness", "contrast", "saturation", "hue")
_FIRST_COLOR = 5  # of a field's functions; those before move pixels
_MOST = {"translation": 1.0, "rotation": 180.0, "scale": 2.0, "shear": 60.0, "brightness": 1e4, "contrast": 1e4,
         "saturation": 1e4, "hue": 0.5}
_IN_PIXELS = 1


@dataclass(frozen=True)
class RandomField(Transform):
    """Geometry and colour whose strength is a smooth random function of the place, its own for each parameter and sample.

    After "Random Field Augmentations for Self-Supervised Representation Learning" (Mansfield et al. 2023, arXiv 2311.03629). That
    paper's spectrum, ranges and probabilities are not published with it in full; these are this package's own, stated here. Each
    parameter is ``sigma * g(x)`` with a function ``g`` of variance 1 whose covariance at the distance r is, to 0.01,
    exp(-r^2 / 2 l^2): a cubic B-spline over independent normal coefficients, its grid at a random place.

    Args:
        translation: deviation of the shift, a share of the sides: x and y are moved by independent functions.
        rotation: deviation in degrees, clockwise about the view's middle.
        scale: deviation of the logarithm of the scale about the middle: a pixel is shown exp(scale * g) as large.
        shear: deviation in degrees, of x along y.
        brightness, contrast, saturation: deviation of the factor, max(0, 1 + sigma * g). Contrast is about the view's one grey
            mean.
        hue: deviation of the turn, in full circles, up to 0.5.
        correlation: the length l as a share of each side: 0.01 to 100, or ``math.inf`` for one number for the whole view, which
            is the ordinary operation with a normal number.
        p: probability that the sample is changed at all.
        interpolation: "nearest", "bilinear" or "bicubic".
        fill: what is seen outside the picture, a number or one for each channel, in the input's units: 0..255 for uint8, 0..1 for
            float pictures.

    A displacement of deviation s with the length l folds the picture over itself at a point with a probability of about 2e-6 at
    s = 0.2 l, 0.002 at 0.3 l and 0.02 at 0.4 l; s up to 0.15 l (``translation`` up to 0.15 * ``correlation``) is safe, and the
    paper finds that mild fields help and strong ones hurt. Rotation, scale and shear move a pixel the more the further it is from
    the middle: by half a side times the angle in radians, or times ``scale``, at the border.

    A sample may have one field: list several in :class:`OneOf`.
    """

    translation: float = 0.0
    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    correlation: float = 0.15
    p: float = 1.0
    interpolation: str = "bilinear"
    fill: float | Sequence[float] = 0

    def __post_init__(self) -> None:
        name = "RandomField"
        self._set(**{what: checks.number(f"{name}.{what}", getattr(self, what), 0, most) for what, most in _MOST.items()})
        self._set(correlation=_correlation(f"{name}.correlation", self.correlation), p=checks.probability(f"{name}.p", self.p),
                  interpolation=checks.choice(f"{name}.interpolation", self.interpolation, WARPS),
                  fill=checks.colors(f"{name}.fill", self.fill))

    def slots(self) -> list[Slot]:
        motions = [getattr(self, what) for what in MOTIONS]
        colors = [slot(f"FIELD_{what.upper()}", [getattr(self, what)] * 2, k=_FIRST_COLOR + k)
                  for k, what in enumerate(COLORS) if getattr(self, what)]
        if not any(motions) and not colors:
            return []
        length = 0.0 if math.isinf(self.correlation) else self.correlation
        numbers = [motions[0], *motions, length, length, *checks.four(self.fill)]
        return apply(self.p, [slot("FIELD", numbers, flags=INTERPOLATIONS.index(self.interpolation)), *colors])

    def channels(self) -> set[int]:
        return lengths(self.fill)

    def __repr__(self) -> str:  # code that evaluates, also where nobody has imported math
        values = ((f.name, getattr(self, f.name)) for f in fields(self))
        return f"RandomField({', '.join(f'{name}={value!r}' for name, value in values)})".replace("=inf", "=float('inf')")


def _correlation(where: str, value: Any) -> float:
    value = checks.plain(value)
    return math.inf if isinstance(value, float) and value == math.inf else checks.number(
        where, value, 0.01, 100, "a share of the sides from 0.01 to 100, or math.inf")


@dataclass(frozen=True)
class ElasticTransform(Transform):
    """torchvision v2's ``ElasticTransform``: every pixel is moved by a smooth random displacement.

    The displacement has torchvision's deviation in x and y: that of uniform noise in (-alpha / 2, alpha / 2) pixels after
    torchvision's blur with its truncated kernel, 0.81 pixels with the defaults, and for one sigma its correlation,
    exp(-r^2 / 4 sigma^2) (of two, torchvision cuts each displacement's kernel by the first axis's own). What
    differs: it is drawn for each sample of a batch, not once for all; its values are normal; it is a B-spline's (see
    :class:`RandomField`), so that the covariance is that to 0.01 of the variance and is the same up to the picture's borders,
    where torchvision's blur mirrors the noise; and small pictures are no error. Knots lie 1.7 sigma apart, but at least 1/1023 of
    a side: of a side of more than 1,730 sigma the correlation is longer.

    Args:
        alpha: twice the largest displacement before the blur, in pixels: a number, or two for x and y.
        sigma: deviation of the blur in pixels, at least 0.5: a number, or two for the distance along x and along y.
        interpolation: "nearest", "bilinear" or "bicubic".
        fill: what is seen outside the picture, a number or one for each channel, in the input's units: 0..255 for uint8, 0..1 for
            float pictures.

    Wrap it in :class:`RandomApply` for a probability, as with torchvision's. A sample may have one field.
    """

    alpha: float | Sequence[float] = 50.0
    sigma: float | Sequence[float] = 5.0
    interpolation: str = "bilinear"
    fill: float | Sequence[float] = 0

    def __post_init__(self) -> None:
        name = "ElasticTransform"
        self._set(alpha=_two(f"{name}.alpha", self.alpha, 0, 1e4), sigma=_two(f"{name}.sigma", self.sigma, 0.5, 1e3),
                  interpolation=checks.choice(f"{name}.interpolation", self.interpolation, WARPS),
                  fill=checks.colors(f"{name}.fill", self.fill))

    def slots(self) -> list[Slot]:
        alpha, sigma = cast(tuple[float, float], self.alpha), cast(tuple[float, float], self.sigma)
        if not any(alpha):
            return []
        deviations = [a / 2 / math.sqrt(3) * math.sqrt(_energy(sigma[0], own) * _energy(sigma[1], own))
                      for a, own in zip(alpha, sigma, strict=True)]
        length = [math.sqrt(2) * s for s in sigma]
        return [slot("FIELD", [*deviations, 0, 0, 0, *length, *checks.four(self.fill)], k=_IN_PIXELS,
                     flags=INTERPOLATIONS.index(self.interpolation))]

    def channels(self) -> set[int]:
        return lengths(self.fill)


def _two(where: str, value: Any, low: float, high: float) -> tuple[float, ...]:
    values = value if checks.is_sequence(value) else (value,)
    expected = f"a number from {low:g} to {high:g}, or two for x and y"
    values = tuple(checks.number(where, v, low, high, expected) for v in checks.several(where, values, (1, 2), expected))
    return (values * 2)[:2]


def _energy(sigma: float, own: float) -> float:
    """The sum of the squares of torchvision's taps, of a kernel as long as it takes for ``own``: what a blur leaves of a
    variance."""
    half = int(8 * own + 1) // 2
    taps = [math.exp(-0.5 * (x / sigma) ** 2) for x in range(-half, half + 1)]
    return sum(t * t for t in taps) / sum(taps) ** 2
