"""What a pixel's neighbours decide, and noise. Names, arguments, defaults and meanings are torchvision.transforms.v2's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from anamorph import _native
from anamorph.core import checks
from anamorph.images.transforms.base import Transform
from anamorph.images.transforms.program import Slot, apply, slot

BLURS = ("reflect", "zero", "pil")


@dataclass(frozen=True)
class GaussianBlur(Transform):
    """A Gaussian blur with a deviation drawn for each sample.

    Args:
        kernel_size: taps across and down: one odd number or (across, down), up to 127. PIL's blur has as many as it needs.
        sigma: the deviation in pixels, or (low, high), up to 20.
        kind: "reflect": the Gaussian at the taps, mirrored borders (torchvision's); "zero": the same with black around, which
            darkens the border (SimCLR's and BYOL's, 23 taps at 224 pixels); "pil": three boxes of that deviation, the edge
            repeated (PIL's ``ImageFilter.GaussianBlur``, MoCo's and DINO's).

    Wrap it in :class:`RandomApply` for a probability, as with torchvision's.
    """

    kernel_size: int | Sequence[int]
    sigma: float | Sequence[float] = (0.1, 2.0)
    kind: str = "reflect"

    def __post_init__(self) -> None:
        sizes = self.kernel_size if checks.is_sequence(self.kernel_size) else (self.kernel_size,) * 2
        sizes = checks.several("GaussianBlur.kernel_size", sizes, (2,), "an odd number, or two")
        sizes = tuple(checks.whole("GaussianBlur.kernel_size", s, 1, _native.MAX_BLUR, " of taps") for s in sizes)
        if any(s % 2 == 0 for s in sizes):
            checks.wrong("GaussianBlur.kernel_size", "odd numbers", self.kernel_size)
        both = self.sigma if checks.is_sequence(self.sigma) else (self.sigma, self.sigma)
        self._set(kernel_size=sizes, sigma=checks.interval("GaussianBlur.sigma", both, 1e-3, 20),
                  kind=checks.choice("GaussianBlur.kind", self.kind, BLURS))

    def slots(self) -> list[Slot]:
        across, down = cast(tuple[int, int], self.kernel_size)
        return [slot("GAUSSIAN_BLUR", cast(Sequence[float], self.sigma), k=across | down << 8 | BLURS.index(self.kind) << 16)]


@dataclass(frozen=True)
class RandomAdjustSharpness(Transform):
    """Away from the mean of each pixel's neighbours, or towards it, with probability ``p``. The outermost pixels stay.

    Args:
        sharpness_factor: 0 smooths, 1 changes nothing, 2 doubles what differs.
        p: probability.
    """

    sharpness_factor: float
    p: float = 0.5

    def __post_init__(self) -> None:
        self._set(sharpness_factor=checks.number("RandomAdjustSharpness.sharpness_factor", self.sharpness_factor, 0, 1e4),
                  p=checks.probability("RandomAdjustSharpness.p", self.p))

    def slots(self) -> list[Slot]:
        return apply(self.p, [slot("SHARPNESS", [self.sharpness_factor, self.sharpness_factor])])


@dataclass(frozen=True)
class GaussianNoise(Transform):
    """Adds normal noise to every value, its own in every pixel and channel. To uint8 pictures whole levels are added, rounded
    towards zero.

    Args:
        mean, sigma: of the noise, for values in [0, 1].
        clip: keep the result within [0, 1].
    """

    mean: float = 0.0
    sigma: float = 0.1
    clip: bool = True

    def __post_init__(self) -> None:
        self._set(mean=checks.number("GaussianNoise.mean", self.mean, -1e4, 1e4),
                  sigma=checks.number("GaussianNoise.sigma", self.sigma, 0, 1e4),
                  clip=checks.flag("GaussianNoise.clip", self.clip))

    def slots(self) -> list[Slot]:
        numbers = [self.sigma, self.sigma, 0, 0, 0, 0, 0, 0, self.mean]
        return [slot("GAUSSIAN_NOISE", numbers, k=int(self.clip))]
