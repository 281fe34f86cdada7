"""Mixing the view of a cloud with a partner's, and its label with the partner's. The partner is another row of the batch (a keyed
permutation that maps nobody to itself). All clouds of the batch must then have the same number of points."""

from __future__ import annotations

from dataclasses import dataclass

from anamorph.core import checks
from anamorph.points.transforms.base import MAX_POINTS, Mixer, Transform
from anamorph.points.transforms.deformation import PointWOLF
from anamorph.points.transforms.program import NEIGHBOURS, PER_BATCH, Slot, slot


def _alpha(where: str, alpha: float) -> float:
    return checks.number(where, alpha, 1e-3, 1e3, "a number from 0.001 to 1000")


@dataclass(frozen=True)
class PointMixup(Mixer):
    """(1 - r) x_i + r x_j[phi(i)], phi the assignment of least cost between the clouds (Chen et al., "PointMixup", ECCV 2020). r
    is the smaller of b and 1 - b, b ~ Beta(alpha, alpha), drawn for each cloud; the label has the same shares. ``alpha``: .4 with
    turns about the up axis, 1 without, as published."""

    alpha: float = 0.4

    def __post_init__(self) -> None:
        self._set(alpha=_alpha("PointMixup.alpha", self.alpha))

    def slots(self) -> list[Slot]:
        return [slot("MIXUP", [1, self.alpha])]


@dataclass(frozen=True)
class PointCutMix(Mixer):
    """n = max(1, int(N lam)) of the points become those of the partner that the assignment of least cost gives them, lam ~
    Beta(alpha, alpha); the partner's label has the share n / N (Zhang et al., "PointCutMix", Neurocomputing 2022).

    Args:
        mode: "R": a random set of points, the same in the whole batch; "K": the n nearest to a random point of each cloud.
        p: the probability that a batch is mixed. alpha: of the Beta distribution. Both are drawn once for a batch.
    """

    mode: str = "K"
    p: float = 0.5
    alpha: float = 1.0

    def __post_init__(self) -> None:
        self._set(mode=checks.choice("PointCutMix.mode", self.mode, ("R", "K")), p=checks.probability("PointCutMix.p", self.p),
                  alpha=_alpha("PointCutMix.alpha", self.alpha))

    def slots(self) -> list[Slot]:
        return [slot("CUTMIX", [self.p, self.alpha], flags=PER_BATCH | (NEIGHBOURS if self.mode == "K" else 0))]


@dataclass(frozen=True)
class RSMix(Mixer):
    """A ball of the cloud is replaced by a ball of the partner's, moved to the same centre and otherwise as it is: rigid (Lee et
    al., "Regularization strategy for point cloud via rigidly mixed sample", CVPR 2021). As many points come as go (some of the
    partner's twice, or not all); the partner's label has their share.

    Args:
        p: the probability that a batch is mixed. alpha: rho ~ Beta(alpha, alpha), the balls' radius. Both are drawn once for a
            batch.
        neighbours: the ceil(most * rho) nearest points to the centres in place of balls.
        most: points that are replaced at most, the nearest ones. (The published code keeps those with the lowest numbers.)
    """

    p: float = 0.5
    alpha: float = 1.0
    neighbours: bool = False
    most: int = 512

    def __post_init__(self) -> None:
        self._set(p=checks.probability("RSMix.p", self.p), alpha=_alpha("RSMix.alpha", self.alpha),
                  neighbours=checks.flag("RSMix.neighbours", self.neighbours),
                  most=checks.whole("RSMix.most", self.most, 1, MAX_POINTS))

    def slots(self) -> list[Slot]:
        return [slot("RSMIX", [self.p, self.alpha, self.most], flags=PER_BATCH | (NEIGHBOURS if self.neighbours else 0))]


def WOLFMix(wolf: PointWOLF | None = None, rsmix: RSMix | None = None) -> list[Transform]:
    """PointWOLF for each cloud, then RSMix for the batch (Ren et al., "Benchmarking and analyzing point cloud classification
    under corruptions", ICML 2022): transforms for the end of a recipe's list, ``[Scale(), *WOLFMix()]``."""
    return [wolf or PointWOLF(), rsmix or RSMix()]
