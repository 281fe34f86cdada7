"""Erasing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from anamorph.core import checks
from anamorph.images.transforms.base import Transform, lengths
from anamorph.images.transforms.program import Slot, apply, slot

NOISES = {"channel": 1, "random": 2}


@dataclass(frozen=True)
class RandomErasing(Transform):
    """A box of the view is overwritten (Zhong et al., 2020; torchvision's RandomErasing).

    Args:
        p: probability.
        scale: (low, high) of the box's share of the area, each in [0, 1].
        ratio: (low, high) of its height over its width, drawn log-uniformly.
        value: a number or one per channel: 0..1 (for uint8 images too) where Normalize comes later or never, in
            normalised units where it came before; or "random": normal noise for each pixel (torchvision's, and timm's
            ``mode="pixel"``); or "channel": one normal number for each channel (timm's ``mode="rand"``).

    Ten tries to find a box that fits; then nothing is erased.
    """

    p: float = 0.5
    scale: Sequence[float] = (0.02, 0.33)
    ratio: Sequence[float] = (0.3, 3.3)
    value: float | Sequence[float] | str = 0

    def __post_init__(self) -> None:
        name = "RandomErasing"
        self._set(p=checks.probability(f"{name}.p", self.p), scale=checks.interval(f"{name}.scale", self.scale, 0, 1),
                  ratio=checks.interval(f"{name}.ratio", self.ratio, 1e-3, 1e3))
        if isinstance(self.value, str):
            checks.choice(f"{name}.value", self.value, tuple(NOISES))
        else:
            self._set(value=checks.colors(f"{name}.value", self.value))

    def slots(self) -> list[Slot]:
        low, high = (math.log(r) for r in self.ratio)
        values, k = ((0.0,) * 4, NOISES[self.value]) if isinstance(self.value, str) else (checks.four(self.value), 0)
        return apply(self.p, [slot("ERASE", [*self.scale, low, high, *values], k=k)])

    def channels(self) -> set[int]:
        return set() if isinstance(self.value, str) else lengths(self.value)
