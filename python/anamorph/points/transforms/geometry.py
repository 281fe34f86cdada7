"""Affine maps of a cloud about the origin. Those that follow each other are one map; normals turn with it and keep length 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from anamorph.core import checks
from anamorph.points.transforms.base import Transform, axes_bits, interval
from anamorph.points.transforms.program import NORMAL, SAME, Slot, slot

FAR = 1e6


@dataclass(frozen=True)
class Scale(Transform):
    """Coordinates times a factor, uniform in [low, high]: PointNet++'s (.8, 1.25), one for all axes; with ``per_axis`` one for
    each, DGCNN's and OpenPoints' ``Scale(2/3, 3/2, per_axis=True)``. Axes that ``axes`` leaves out stay
    as they are."""

    low: float = 0.8
    high: float = 1.25
    per_axis: bool = False
    axes: str = "xyz"

    def __post_init__(self) -> None:
        low, high = interval("Scale", self.low, self.high, 0)
        if low == 0 or high > FAR:
            checks.wrong("Scale", f"factors above 0, up to {FAR:g}", (low, high))
        axes_bits("Scale.axes", self.axes)
        self._set(low=low, high=high, per_axis=checks.flag("Scale.per_axis", self.per_axis))

    def slots(self) -> list[Slot]:
        return [slot("SCALE", [self.low, self.high], k=axes_bits("", self.axes), flags=0 if self.per_axis else SAME)]


@dataclass(frozen=True)
class Translate(Transform):
    """Coordinates plus a shift: ``shift`` s means uniform in (-s, s), or it is (low, high) (OpenPoints' Translation: (0, s)).
    Each axis has a shift of its own; with ``same`` one number is added to all (Pointnet2_PyTorch's)."""

    shift: float | Sequence[float] = 0.2
    same: bool = False
    axes: str = "xyz"

    def __post_init__(self) -> None:
        if checks.is_sequence(self.shift):
            low, high = checks.interval("Translate.shift", self.shift, -FAR, FAR)
        else:
            high = checks.number("Translate.shift", self.shift, 0, FAR)
            low = -high
        axes_bits("Translate.axes", self.axes)
        self._set(shift=(low, high), same=checks.flag("Translate.same", self.same))

    def slots(self) -> list[Slot]:
        assert isinstance(self.shift, tuple)
        return [slot("TRANSLATE", self.shift, k=axes_bits("", self.axes), flags=SAME if self.same else 0)]


@dataclass(frozen=True)
class Rotate(Transform):
    """A turn about an axis through the origin, by the right-hand rule: ``degrees`` d means uniform in (-d, d), or it is (low,
    high).
    ``axis``: "x", "y", "z" or a direction of three numbers. The default is PointNet++'s: any angle about y, which points up."""

    degrees: float | Sequence[float] = 180.0
    axis: str | Sequence[float] = "y"

    def __post_init__(self) -> None:
        self._set(degrees=checks.degrees("Rotate.degrees", self.degrees))
        if isinstance(self.axis, str):
            if axes_bits("Rotate.axis", self.axis) not in (1, 2, 4):
                checks.wrong("Rotate.axis", "'x', 'y', 'z' or three numbers", self.axis)
            direction = tuple(float(self.axis == a) for a in "xyz")
        else:
            given = checks.several("Rotate.axis", self.axis, (3,), "'x', 'y', 'z' or three numbers")
            direction = tuple(checks.number("Rotate.axis", v, -1e15, 1e15) for v in given)
        length = math.hypot(*direction)
        if not length > 1e-15:
            checks.wrong("Rotate.axis", "a direction, not all of it 0", self.axis)
        self._set(axis=tuple(v / length for v in direction))

    def slots(self) -> list[Slot]:
        assert isinstance(self.degrees, tuple) and isinstance(self.axis, tuple)
        return [slot("ROTATE", [*self.degrees, *self.axis])]


@dataclass(frozen=True)
class RotateXYZ(Transform):
    """Turns about all three axes, by angles uniform in (-degrees, degrees), or in (low, high): ModelNet-C's rule, p' = p Rz Ry
    Rx."""

    degrees: float | Sequence[float] = 30.0

    def __post_init__(self) -> None:
        self._set(degrees=checks.degrees("RotateXYZ.degrees", self.degrees))

    def slots(self) -> list[Slot]:
        assert isinstance(self.degrees, tuple)
        return [slot("ROTATE_ANGLES", [*self.degrees * 3])]


@dataclass(frozen=True)
class RotationJitter(Transform):
    """Small turns about all three axes: normal angles of deviation ``sigma`` degrees, cut at ``clip`` degrees; p' = p Rz Ry Rx.
    The defaults are PointNet++'s perturbation: .06 and .18 radians."""

    sigma: float = math.degrees(0.06)
    clip: float = math.degrees(0.18)

    def __post_init__(self) -> None:
        self._set(sigma=checks.number("RotationJitter.sigma", self.sigma, 0, 1e6),
                  clip=checks.number("RotationJitter.clip", self.clip, 0, 1e6))

    def slots(self) -> list[Slot]:
        return [slot("ROTATE_ANGLES", [self.sigma, self.clip], flags=NORMAL)]


@dataclass(frozen=True)
class RandomRotation(Transform):
    """Any rotation in space, each as likely (uniform on SO(3))."""

    def slots(self) -> list[Slot]:
        return [slot("ROTATE_UNIFORM")]


@dataclass(frozen=True)
class Shear(Transform):
    """p' = p S, where S has ones on its diagonal and numbers uniform in (-strength, strength) elsewhere."""

    strength: float = 0.2

    def __post_init__(self) -> None:
        self._set(strength=checks.number("Shear.strength", self.strength, 0, FAR))

    def slots(self) -> list[Slot]:
        return [slot("SHEAR", [-self.strength, self.strength])]


@dataclass(frozen=True)
class Flip(Transform):
    """Mirrored along each of ``axes``, each with probability ``p``. The default leaves y, which points up."""

    axes: str = "xz"
    p: float = 0.5

    def __post_init__(self) -> None:
        axes_bits("Flip.axes", self.axes)
        self._set(p=checks.probability("Flip.p", self.p))

    def slots(self) -> list[Slot]:
        return [slot("FLIP", [self.p], k=axes_bits("", self.axes))]
