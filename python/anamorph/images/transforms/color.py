"""Colour. Names, arguments, defaults and meanings are torchvision.transforms.v2's: saturation, hue and greyscale leave grey
pictures alone, and what is defined on grey or RGB (these, brightness and contrast) refuses 2 or 4 channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor

from anamorph.core import checks
from anamorph.images.transforms.base import Transform, lengths
from anamorph.images.transforms.program import Slot, apply, choice, order, slot

Strength = float | Sequence[float] | Tensor | None  # a tensor: a schedule


@dataclass(frozen=True)
class ColorJitter(Transform):
    """Brightness, contrast, saturation and hue, in a random order.

    Args:
        brightness, contrast, saturation: s for a factor in (max(0, 1 - s), 1 + s), or (low, high).
        hue: h for a turn in (-h, h), or (low, high), within -0.5 to 0.5 of the full circle.
        contrast_mode: "exact" blends with the mean of the image's own grey at that step, as torchvision (one statistics
            launch more on a GPU); "midgray" with 0.5, as DALI and triton-augment (none).
    """

    brightness: Strength = 0
    contrast: Strength = 0
    saturation: Strength = 0
    hue: Strength = 0
    contrast_mode: str = "exact"

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            value = getattr(self, name)
            self._set(**{name: checks.around(f"ColorJitter.{name}", 0 if value is None else value, 1.0, 0.0, 1e4)})
        self._set(hue=checks.around("ColorJitter.hue", 0 if self.hue is None else self.hue, 0.0, -0.5, 0.5),
                  contrast_mode=checks.choice("ColorJitter.contrast_mode", self.contrast_mode, ("exact", "midgray")))

    def slots(self) -> list[Slot]:
        contrast = "CONTRAST" if self.contrast_mode == "exact" else "CONTRAST_MIDGRAY"
        steps = [("BRIGHTNESS", self.brightness, 1.0), (contrast, self.contrast, 1.0),
                 ("SATURATION", self.saturation, 1.0), ("HUE", self.hue, 0.0)]
        return order([[slot(op, cast(Sequence[float], both))] for op, both, neutral in steps if both != (neutral, neutral)])


@dataclass(frozen=True)
class RandomGrayscale(Transform):
    """All channels become the grey, with probability ``p``."""

    p: float = 0.1

    def __post_init__(self) -> None:
        self._set(p=checks.probability("RandomGrayscale.p", self.p))

    def slots(self) -> list[Slot]:
        return apply(self.p, [slot("GRAYSCALE")])


@dataclass(frozen=True)
class RandomInvert(Transform):
    """The negative, with probability ``p``."""

    p: float = 0.5

    def __post_init__(self) -> None:
        self._set(p=checks.probability("RandomInvert.p", self.p))

    def slots(self) -> list[Slot]:
        return apply(self.p, [slot("INVERT")])


@dataclass(frozen=True)
class RandomPosterize(Transform):
    """Keeps the ``bits`` (1 to 8) highest bits of every value, with probability ``p``."""

    bits: int
    p: float = 0.5

    def __post_init__(self) -> None:
        self._set(bits=checks.whole("RandomPosterize.bits", self.bits, 1, 8), p=checks.probability("RandomPosterize.p", self.p))

    def slots(self) -> list[Slot]:
        return apply(self.p, [slot("POSTERIZE", [self.bits, self.bits])])


@dataclass(frozen=True)
class RandomSolarize(Transform):
    """Inverts the values at or above ``threshold`` (in the input's units), with probability ``p``."""

    threshold: float
    p: float = 0.5

    def __post_init__(self) -> None:
        self._set(threshold=checks.number("RandomSolarize.threshold", self.threshold),
                  p=checks.probability("RandomSolarize.p", self.p))

    def slots(self) -> list[Slot]:
        return apply(self.p, [slot("SOLARIZE", [self.threshold, self.threshold])])


@dataclass(frozen=True)
class RandomSolarizeAdd(Transform):
    """Adds ``addition`` to the values below the middle (128 of bytes), with probability ``p`` (the op of RandAugment's authors
    and of timm, whose addition is up to 110 of 255).

    Args:
        addition: in the input's units (0..255 for uint8, 0..1 for float). The result is kept within the range.
        p: probability.
    """

    addition: float
    p: float = 0.5

    def __post_init__(self) -> None:
        self._set(addition=checks.number("RandomSolarizeAdd.addition", self.addition, 0, 255),
                  p=checks.probability("RandomSolarizeAdd.p", self.p))

    def slots(self) -> list[Slot]:
        return apply(self.p, [slot("SOLARIZE_ADD", [self.addition, self.addition])])


@dataclass(frozen=True)
class RandomAutocontrast(Transform):
    """Stretches each channel so that its least value becomes the darkest and its greatest the brightest, with probability ``p``.
    Bytes become torchvision's, to the last one. What is fill, and laid by a later transform, is not looked at."""

    p: float = 0.5

    def __post_init__(self) -> None:
        self._set(p=checks.probability("RandomAutocontrast.p", self.p))

    def slots(self) -> list[Slot]:
        return apply(self.p, [slot("AUTOCONTRAST")])


@dataclass(frozen=True)
class RandomEqualize(Transform):
    """Makes all values of each channel as frequent, with probability ``p``: torchvision's and PIL's table of 256, of floats too.
    What is fill, and laid by a later transform, is not counted."""

    p: float = 0.5

    def __post_init__(self) -> None:
        self._set(p=checks.probability("RandomEqualize.p", self.p))

    def slots(self) -> list[Slot]:
        return apply(self.p, [slot("EQUALIZE")])


@dataclass(frozen=True)
class RandomPhotometricDistort(Transform):
    """Brightness, contrast, saturation, hue and a permutation of the channels, each with probability ``p`` (torchvision v2's,
    from Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016). Contrast comes before saturation and hue or after, as
    likely.

    Args:
        brightness, contrast, saturation: (low, high) of the factor.
        hue: (low, high) of the turn, within -0.5 to 0.5 of the full circle.
        p: probability of each.
    """

    brightness: Sequence[float] = (0.875, 1.125)
    contrast: Sequence[float] = (0.5, 1.5)
    saturation: Sequence[float] = (0.5, 1.5)
    hue: Sequence[float] = (-0.05, 0.05)
    p: float = 0.5

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            self._set(**{name: checks.interval(f"RandomPhotometricDistort.{name}", getattr(self, name), 0.0, 1e4)})
        self._set(hue=checks.interval("RandomPhotometricDistort.hue", self.hue, -0.5, 0.5),
                  p=checks.probability("RandomPhotometricDistort.p", self.p))

    def slots(self) -> list[Slot]:
        bright, contrast, saturation, hue = (
            apply(self.p, [slot(name.upper(), getattr(self, name))]) for name in ("brightness", "contrast", "saturation", "hue"))
        first, last = [*contrast, *saturation, *hue], [*saturation, *hue, *contrast]
        return [*bright, *choice(1, [1, 1], [first, last]), *apply(self.p, [slot("CHANNEL_PERMUTATION", [0, 1])])]


@dataclass(frozen=True)
class RandomChannelPermutation(Transform):
    """The channels, up to four, in a random order, each as likely as any other (torchvision v2's)."""

    def slots(self) -> list[Slot]:
        return [slot("CHANNEL_PERMUTATION", [0, 1])]


@dataclass(frozen=True)
class RandomGamma(Transform):
    """Every value v in [0, 1] becomes v ** g, with probability ``p`` (torchvision's ``functional.adjust_gamma`` of gain 1); of
    floats those below 0 become 0.

    Args:
        gamma: (low, high) of g, drawn uniformly; above 1 darkens. albumentations' ``gamma_limit`` is this in hundredths.
        p: probability.
    """

    gamma: Sequence[float] = (0.8, 1.2)
    p: float = 0.5

    def __post_init__(self) -> None:
        self._set(gamma=checks.interval("RandomGamma.gamma", self.gamma, 1e-3, 1e3),
                  p=checks.probability("RandomGamma.p", self.p))

    def slots(self) -> list[Slot]:
        return apply(self.p, [slot("GAMMA", self.gamma)])


@dataclass(frozen=True)
class RGBShift(Transform):
    """A number is added to each of the three channels, with probability ``p`` (albumentations' RGBShift).

    Args:
        r_shift_limit, g_shift_limit, b_shift_limit: s for a number in (-s, s), or (low, high), in the input's units (0..255 for
            uint8, 0..1 for float). The result is kept within the range.
        p: probability.
    """

    r_shift_limit: float | Sequence[float] = 20
    g_shift_limit: float | Sequence[float] = 20
    b_shift_limit: float | Sequence[float] = 20
    p: float = 0.5

    def __post_init__(self) -> None:
        for name in ("r_shift_limit", "g_shift_limit", "b_shift_limit"):
            self._set(**{name: checks.around(f"RGBShift.{name}", getattr(self, name), 0.0, -1e4, 1e4)})
        self._set(p=checks.probability("RGBShift.p", self.p))

    def slots(self) -> list[Slot]:
        steps = [("SHIFT_RED", self.r_shift_limit), ("SHIFT_GREEN", self.g_shift_limit), ("SHIFT_BLUE", self.b_shift_limit)]
        return apply(self.p, [slot(op, cast(Sequence[float], limit)) for op, limit in steps])


@dataclass(frozen=True)
class Normalize(Transform):
    """(value - mean) / std, after everything else. Value: the output in [0, 1].

    Args:
        mean, std: one number for all channels, or one for each of up to 16.
    """

    mean: float | Sequence[float]
    std: float | Sequence[float]

    def __post_init__(self) -> None:
        mean = checks.colors("Normalize.mean", self.mean, most=checks.MAX_CHANNELS)
        std = checks.colors("Normalize.std", self.std, most=checks.MAX_CHANNELS)
        self._set(mean=mean, std=std)
        if min(std) <= 0 or max(1.0, *map(abs, mean)) / min(std) > checks.LARGEST:
            checks.wrong("Normalize.std", "numbers above 0, by which 1 and mean can be divided in float32", std)
        if len({len(mean), len(std)} - {1}) > 1:
            checks.wrong("Normalize.std", f"as many numbers as mean ({len(mean)})", std)

    def slots(self) -> list[Slot]:
        return []  # the renderer's last step, not one of the program

    def channels(self) -> set[int]:
        return lengths(self.mean, self.std)
