"""Quarter turns and transposition: the symmetries of the square. Every pixel stays one, nothing is interpolated."""

from __future__ import annotations

from dataclasses import dataclass

from anamorph.core import checks
from anamorph.images.transforms.base import Size, Transform
from anamorph.images.transforms.program import Slot, apply, slot


def _turned(size: Size | None, always: bool) -> Size | None:
    """The size after it was perhaps (or always) laid across."""
    if size is None or size[0] == size[1]:
        return size
    return size[::-1] if always else None


@dataclass(frozen=True)
class RandomRotate90(Transform):
    """With probability ``p`` a turn by 0, 90, 180 or 270 degrees, each as likely (albumentations' RandomRotate90). Of pictures
    that are not square the sizes then differ between samples, so a transform that fixes the size must follow."""

    p: float = 0.5

    def __post_init__(self) -> None:
        self._set(p=checks.probability("RandomRotate90.p", self.p))

    def slots(self) -> list[Slot]:
        return apply(self.p, [slot("TURN", [0, 4])])

    def output_size(self, size: Size | None) -> Size | None:
        return _turned(size, False) if self.p else size


@dataclass(frozen=True)
class D4(Transform):
    """With probability ``p`` one of the square's eight symmetries, the identity among them, each as likely (albumentations' D4):
    a turn by 0, 90, 180 or 270 degrees, mirrored or not."""

    p: float = 1.0

    def __post_init__(self) -> None:
        self._set(p=checks.probability("D4.p", self.p))

    def slots(self) -> list[Slot]:
        return apply(self.p, [slot("TURN", [0, 4]), *apply(0.5, [slot("FLIP_H")])])

    def output_size(self, size: Size | None) -> Size | None:
        return _turned(size, False) if self.p else size


@dataclass(frozen=True)
class Transpose(Transform):
    """Rows become columns, with probability ``p`` (albumentations' Transpose; PIL's TRANSPOSE)."""

    p: float = 0.5

    def __post_init__(self) -> None:
        self._set(p=checks.probability("Transpose.p", self.p))

    def slots(self) -> list[Slot]:
        return apply(self.p, [slot("TURN", [1, 1]), slot("FLIP_V")])

    def output_size(self, size: Size | None) -> Size | None:
        return _turned(size, self.p == 1) if self.p else size
