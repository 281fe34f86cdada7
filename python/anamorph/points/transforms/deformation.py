"""What moves each point in its own way, or the cloud by what it is."""

from __future__ import annotations

from dataclasses import dataclass

from anamorph import _native
from anamorph.core import checks
from anamorph.points.transforms.base import Transform
from anamorph.points.transforms.program import CENTER, COMPAT, UNIT, Slot, slot


@dataclass(frozen=True)
class Jitter(Transform):
    """Coordinates plus normal noise of deviation ``sigma``, cut at ``clip`` (None: not at all). PointNet++'s is ``Jitter(.01,
    .05)``, DGCNN's ``Jitter(.01, .02)``."""

    sigma: float = 0.01
    clip: float | None = 0.05

    def __post_init__(self) -> None:
        self._set(sigma=checks.number("Jitter.sigma", self.sigma, 0, 1e6))
        if self.clip is not None:
            self._set(clip=checks.number("Jitter.clip", self.clip, 0, 1e6))
            if self.clip == 0:
                checks.wrong("Jitter.clip", "a number above 0, or None", self.clip)

    def words(self) -> int:
        return 6

    def slots(self) -> list[Slot]:
        return [slot("JITTER", [self.sigma, self.clip or 0])]


@dataclass(frozen=True)
class Normalize(Transform):
    """To the unit sphere: minus the mean (``center``), divided by the largest norm (``scale``). All points in one place: stay
    there."""

    center: bool = True
    scale: bool = True

    def __post_init__(self) -> None:
        self._set(center=checks.flag("Normalize.center", self.center), scale=checks.flag("Normalize.scale", self.scale))

    def words(self) -> int:
        return 4

    def slots(self) -> list[Slot]:
        return [normalize(1.0, self.center, self.scale)]


def normalize(factor: float, center: bool = True, scale: bool = True) -> Slot:
    return slot("NORMALIZE", [factor], flags=(CENTER if center else 0) | (UNIT if scale else 0))


@dataclass(frozen=True)
class PointWOLF(Transform):
    """Weighted local transformations (Kim et al., "Point cloud augmentation with weighted local transformations", ICCV 2021).

    ``anchors`` points are chosen, each the farthest from those before it, the first at random. About each the cloud is turned,
    scaled and shifted in its own way, and a point takes the mean of where these put it, weighed by exp(-d^2 / 2 sigma^2) of its
    distance to the anchors along a random subset of the axes. Then the cloud is normalised to the unit sphere times .999999, as
    published.

    Args:
        anchors: 1 to 64.
        sigma: of the weights, in the cloud's units.
        degrees: R, of the angles about x, y and z: uniform in (-R, R); q = p Rz Ry Rx.
        scale: S >= 1, of the factors along the axes: uniform in (1, S).
        shift: T, along the axes: uniform in (-T, T).
        compat: the published matrix, whose middle entry has cos z cos y where a rotation has cos z cos x: at 10 degrees it is
            no rotation by up to 3 percent.
        normalize: False leaves the last step out.

    Of each anchor's turn, scaling and shift each is done with probability 1/2; scaling and shift along one of the seven non-empty
    subsets of the axes. Normals are carried by the map's derivative.
    """

    anchors: int = 4
    sigma: float = 0.5
    degrees: float = 10.0
    scale: float = 3.0
    shift: float = 0.25
    compat: bool = False
    normalize: bool = True

    def __post_init__(self) -> None:
        number = checks.number
        self._set(anchors=checks.whole("PointWOLF.anchors", self.anchors, 1, _native.points.MAX_ANCHORS),
                  sigma=number("PointWOLF.sigma", self.sigma, 1e-6, 1e6),
                  degrees=number("PointWOLF.degrees", self.degrees, 0, 360),
                  scale=number("PointWOLF.scale", self.scale, 1, 1e6), shift=number("PointWOLF.shift", self.shift, 0, 1e6),
                  compat=checks.flag("PointWOLF.compat", self.compat),
                  normalize=checks.flag("PointWOLF.normalize", self.normalize))

    def words(self) -> int:
        return 6 + 12 * self.anchors + 4

    def slots(self) -> list[Slot]:
        numbers = [self.sigma, self.degrees, self.scale, self.shift]
        moved = slot("WOLF", numbers, k=self.anchors, flags=COMPAT if self.compat else 0)
        return [moved, normalize(0.999999)] if self.normalize else [moved]
