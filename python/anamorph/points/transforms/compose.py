"""Transforms made of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from anamorph.core import checks
from anamorph.core.errors import ArgumentError
from anamorph.points.transforms.base import Counts, Mixer, Transform
from anamorph.points.transforms.program import Slot, choice, slot

MAX_DEPTH = 8


def check_list(where: str, transforms: Any, mixers: bool = False) -> tuple[Transform, ...]:
    """A list of transforms, without mixers unless they may be there."""
    if not isinstance(transforms, list | tuple):
        checks.wrong(where, "a list of transforms", transforms)
    for i, t in enumerate(transforms):
        if not isinstance(t, Transform):
            raise ArgumentError(f"{where}[{i}]: expected a transform of anamorph.points, given {_instead(t)}")
        if isinstance(t, Mixer) and not mixers:
            raise ArgumentError(f"{where}: expected mixing in the recipe's own list, at its end, given {t!r}")
    return tuple(transforms)


def _instead(t: Any) -> str:
    """What stands in a list in a transform's place, and what to do about it."""
    if isinstance(t, type) and issubclass(t, Transform):
        return f"{t!r}; call it: {t.__name__}(...)"
    if isinstance(t, list | tuple) and t and all(isinstance(one, Transform) for one in t):
        return f"a list of {len(t)}; unpack it with a star, as in [Scale(), *WOLFMix()]"
    return f"{t!r} ({checks.kind(t)})"


def depth(transforms: Sequence[Transform]) -> int:
    """How deep choices lie in each other."""
    return max((1 + depth(t.transforms) for t in transforms if isinstance(t, RandomApply | OneOf)), default=0)


def run(transforms: Sequence[Transform], counts: Counts) -> Counts:
    """The number of points after a list."""
    for t in transforms:
        counts = t.counts(counts)
    return counts


def either(all_of: Sequence[Counts]) -> Counts:
    return Counts(min(c.least for c in all_of), max(c.most for c in all_of), max(c.on_the_way for c in all_of))


@dataclass(frozen=True)
class RandomApply(Transform):
    """All of the transforms with probability ``p``, or none."""

    transforms: Sequence[Transform]
    p: float = 0.5

    def __post_init__(self) -> None:
        self._set(transforms=check_list("RandomApply.transforms", self.transforms),
                  p=checks.probability("RandomApply.p", self.p))

    def words(self) -> int:
        return sum(t.words() for t in self.transforms)

    def counts(self, counts: Counts) -> Counts:
        done = run(self.transforms, counts)
        return done if self.p == 1 else either([counts, done])

    def slots(self) -> list[Slot]:
        body = [s for t in self.transforms for s in t.slots()]
        return [slot("APPLY", [self.p], count=len(body)), *body]


@dataclass(frozen=True)
class OneOf(Transform):
    """With probability ``p`` one of the transforms, by ``weights`` (None: each as likely)."""

    transforms: Sequence[Transform]
    p: float = 1.0
    weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        self._set(transforms=check_list("OneOf.transforms", self.transforms), p=checks.probability("OneOf.p", self.p))
        if not self.transforms:
            checks.wrong("OneOf.transforms", "at least one", self.transforms)
        if self.weights is not None:
            count = len(self.transforms)
            given = checks.several("OneOf.weights", self.weights, (count,), f"{count} weights, one for each transform")
            self._set(weights=tuple(checks.number("OneOf.weights", w, 0) for w in given))
            if not sum(self.weights) > 0:
                checks.wrong("OneOf.weights", "weights of which one is above 0", self.weights)

    def words(self) -> int:
        return max(t.words() for t in self.transforms)

    def counts(self, counts: Counts) -> Counts:
        done = [t.counts(counts) for t in self.transforms]
        return either(done if self.p == 1 else [*done, counts])

    def slots(self) -> list[Slot]:
        return choice(self.p, self.weights or [1.0] * len(self.transforms), [t.slots() for t in self.transforms])
