"""Mixing a view with a partner's view, and its label with the partner's.

The partner is another row of the batch, and its pixels go through the partner's own plan row. ``mode`` is timm's: "elem"
draws for every sample, "batch" once for the batch, "pair" once for a row and its mirror row. ``partner``: "derange" (a
keyed permutation that maps nobody to itself), "roll" (the row before, torchvision's) or "flip" (the mirror row, timm's);
by default "flip" for pairs and "derange" otherwise. The label's share is the true share of the pixels (but for
``CutMix(correct_lam=False)``).

timm's ``Mixup(mixup_alpha=a, cutmix_alpha=b, prob=p, switch_prob=s, mode=m)`` is ``OneOf([MixUp(a, m, "flip"),
CutMix(b, m, "flip")], p=p, weights=[1 - s, s])``; its collate's ``mode="half"`` is the first half of the batch with m = "elem".
Label smoothing and the number of classes belong to the :class:`anamorph.Recipe`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anamorph.core import checks
from anamorph.images.transforms.base import Mixer
from anamorph.images.transforms.program import Slot, slot


def _alpha(where: str, alpha: float) -> float:
    return checks.number(where, alpha, 1e-3, 1e3, "a number from 0.001 to 1000")


@dataclass(frozen=True)
class MixUp(Mixer):
    """lam * view + (1 - lam) * partner, lam ~ Beta(alpha, alpha) (Zhang et al., "mixup", ICLR 2018)."""

    alpha: float = 1.0
    mode: str = "elem"
    partner: str | None = None

    def __post_init__(self) -> None:
        self._set(alpha=_alpha("MixUp.alpha", self.alpha))
        self._check()

    def slots(self) -> list[Slot]:
        return [slot("MIXUP", [self.alpha, self.alpha], flags=self._flags())]


@dataclass(frozen=True)
class CutMix(Mixer):
    """A box of the partner's view, of sides W * sqrt(1 - lam) and H * sqrt(1 - lam), lam ~ Beta(alpha, alpha), about a
    uniform centre, clipped to the image (Yun et al., "CutMix", ICCV 2019).

    Args:
        alpha: of the Beta distribution.
        mode, partner: who mixes with whom, and who shares a draw; see :mod:`anamorph.images.transforms.mix`.
        minmax: (low, high), timm's ``cutmix_minmax``: the box's height and width are drawn on their own, from these shares of the
            view's (the high one excluded), at a uniform place inside; ``alpha`` is not used.
        correct_lam: the label's share is that of the pixels after clipping; False (timm's): lam as drawn. With ``minmax`` it is
            that of the pixels in any case.
    """

    alpha: float = 1.0
    mode: str = "elem"
    partner: str | None = None
    minmax: Sequence[float] | None = None
    correct_lam: bool = True

    def __post_init__(self) -> None:
        self._set(alpha=_alpha("CutMix.alpha", self.alpha), correct_lam=checks.flag("CutMix.correct_lam", self.correct_lam))
        if self.minmax is not None:
            self._set(minmax=checks.interval("CutMix.minmax", self.minmax, 0, 1))
            if self.minmax[1] == 0:
                checks.wrong("CutMix.minmax", "a share above 0", self.minmax)
        self._check()

    def slots(self) -> list[Slot]:
        return [slot("CUTMIX", [self.alpha, self.alpha, *(self.minmax or ())], k=int(not self.correct_lam and not self.minmax),
                     flags=self._flags())]


@dataclass(frozen=True)
class ResizeMix(Mixer):
    """The partner's whole view, resized to (t H, t W), t ~ U(scale), pasted at a uniform place (Qin et al., "ResizeMix",
    2020)."""

    scale: Sequence[float] = (0.1, 0.8)
    mode: str = "elem"
    partner: str | None = None

    def __post_init__(self) -> None:
        self._set(scale=checks.interval("ResizeMix.scale", self.scale, 1e-3, 1))
        self._check()

    def slots(self) -> list[Slot]:
        return [slot("RESIZEMIX", self.scale, flags=self._flags())]


@dataclass(frozen=True)
class MaskMix(Mixer):
    """mask * view + (1 - mask) * partner, with the ``mask`` (float32 [B, 1, H, W], at the output's size, in [0, 1]) that
    ``render`` is given; the label's share is the mask's mean."""

    mode: str = "elem"
    partner: str | None = None

    def __post_init__(self) -> None:
        self._check()

    def slots(self) -> list[Slot]:
        return [slot("MASKMIX", flags=self._flags())]
