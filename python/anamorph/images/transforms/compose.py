"""Transforms made of transforms. They nest; a list may hold up to 64 alternatives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from anamorph.core import checks
from anamorph.core.errors import ArgumentError
from anamorph.images.transforms import program
from anamorph.images.transforms.base import Mixer, Size, Transform, mode_flags, plain
from anamorph.images.transforms.color import Normalize
from anamorph.images.transforms.program import EVERY_VIEW, IN_ORDER, MAX_BRANCHES, REPLACE, Slot


def check_list(where: str, transforms: Any) -> tuple[Transform, ...]:
    """The transforms of a list, or a named error."""
    if not isinstance(transforms, Sequence) or isinstance(transforms, str | bytes):
        checks.wrong(where, "a list of transforms", transforms)
    for i, t in enumerate(transforms):
        if not isinstance(t, Transform):
            hint = "; call it: " + t.__name__ + "(...)" if isinstance(t, type) and issubclass(t, Transform) else ""
            raise ArgumentError(f"{where}[{i}]: expected an anamorph transform, given {t!r}{hint}")
    return tuple(transforms)


def chain_size(transforms: Sequence[Transform], size: Size | None) -> Size | None:
    """The output size of transforms run one after the other."""
    for t in transforms:
        size = t.output_size(size)
    return size


def chain_slots(transforms: Sequence[Transform]) -> list[Slot]:
    """The program of transforms run one after the other."""
    return [s for t in transforms for s in t.slots()]


def leaves(transforms: Sequence[Transform]) -> Iterator[Transform]:
    """The transforms that are not made of others."""
    for t in map(plain, transforms):
        if isinstance(t, Composite):
            yield from leaves(t.transforms)
        else:
            yield t


class Composite(Transform):
    """Base of the transforms made of transforms."""

    transforms: Sequence[Transform]

    def _check(self) -> None:
        name = type(self).__name__
        self._set(transforms=check_list(f"{name}.transforms", self.transforms))
        if not self.transforms:
            checks.wrong(f"{name}.transforms", "at least one transform", [])
        if any(isinstance(t, Normalize) for t in self.transforms):
            raise ArgumentError(f"{name}.transforms: Normalize is for the whole batch; list it in the Recipe itself")
        modes = {m.mode for m in self.mixers()}
        if modes - {"elem"} and (len(modes) > 1 or not all(t.mixers() for t in self.transforms)):
            raise ArgumentError(f"{name}.transforms: mixers of mode 'batch' or 'pair' share the list with mixers of the same "
                                f"mode only, given modes {sorted(modes)}")

    def _flags(self) -> int:  # who mixes for a whole batch also decides for it
        modes = {m.mode for m in self.mixers()}
        return mode_flags(modes.pop()) if modes else 0

    def channels(self) -> set[int]:
        return set().union(*(t.channels() for t in self.transforms))

    def mixers(self) -> list[Mixer]:
        return [m for t in self.transforms for m in t.mixers()]

    def _sizes(self, size: Size | None) -> Size | None:  # where alternatives differ the size is not known
        sizes = {t.output_size(size) for t in self.transforms}
        return sizes.pop() if len(sizes) == 1 else None


def _weights(where: str, weights: Any, count: int) -> tuple[float, ...]:
    if weights is None:
        return (1.0,) * count
    given = checks.several(where, weights, (count,), f"{count} numbers, one for each transform")
    values = tuple(checks.number(where, w, 0) for w in given)
    if not 0 < sum(values) < checks.LARGEST:
        checks.wrong(where, "a finite sum above 0", weights)
    return values


@dataclass(frozen=True)
class RandomApply(Composite):
    """All of ``transforms`` in order, with probability ``p``; otherwise none."""

    transforms: Sequence[Transform]
    p: float = 0.5

    def __post_init__(self) -> None:
        self._set(p=checks.probability("RandomApply.p", self.p))
        self._check()

    def slots(self) -> list[Slot]:
        return program.apply(self.p, chain_slots(self.transforms), self._flags())

    def output_size(self, size: Size | None) -> Size | None:
        after = chain_size(self.transforms, size)
        return after if self.p == 1 or after == size else None


@dataclass(frozen=True)
class SharedAcrossViews(Composite):
    """``transforms`` in order, drawn alike in all views of a sample (``recipe.plan(..., view=)``), while what the list has
    outside differs between them: a crop and a flip that weak and strong views share, or AugMix's three views.

    Of recipes that share draws these transforms must stand at the same place: the lists before them have as many slots.
    """

    transforms: Sequence[Transform]

    def __post_init__(self) -> None:
        self._check()
        if self.mixers():
            raise ArgumentError("SharedAcrossViews.transforms: expected no mixing transform, given one; views mix on their own")

    def slots(self) -> list[Slot]:
        return [s._replace(flags=s.flags | EVERY_VIEW) for s in chain_slots(self.transforms)]

    def output_size(self, size: Size | None) -> Size | None:
        return chain_size(self.transforms, size)


@dataclass(frozen=True)
class OneOf(Composite):
    """With probability ``p`` one of ``transforms``, drawn by ``weights`` (default: equal)."""

    transforms: Sequence[Transform]
    p: float = 1.0
    weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        self._set(p=checks.probability("OneOf.p", self.p))
        self._check()
        self._set(weights=_weights("OneOf.weights", self.weights, len(self.transforms)))

    def slots(self) -> list[Slot]:
        return program.choice(self.p, cast(Sequence[float], self.weights), [t.slots() for t in self.transforms], self._flags())

    def output_size(self, size: Size | None) -> Size | None:
        after = self._sizes(size)
        return after if self.p == 1 or after == size else None


@dataclass(frozen=True)
class RandomChoice(Composite):
    """One of ``transforms``, drawn by the weights ``p`` (default: equal), as torchvision's."""

    transforms: Sequence[Transform]
    p: Sequence[float] | None = None

    def __post_init__(self) -> None:
        self._check()
        self._set(p=_weights("RandomChoice.p", self.p, len(self.transforms)))

    def slots(self) -> list[Slot]:
        return program.choice(1.0, cast(Sequence[float], self.p), [t.slots() for t in self.transforms], self._flags())

    def output_size(self, size: Size | None) -> Size | None:
        return self._sizes(size)


@dataclass(frozen=True)
class RandomOrder(Composite):
    """All of ``transforms``, in a random order."""

    transforms: Sequence[Transform]

    def __post_init__(self) -> None:
        self._check()

    def slots(self) -> list[Slot]:
        return program.order([t.slots() for t in self.transforms])

    def output_size(self, size: Size | None) -> Size | None:
        # Known where each makes the same size of whatever came before it, or where none changes it.
        fixed = {t.output_size(None) for t in self.transforms}
        if len(fixed) == 1 and None not in fixed:
            return fixed.pop()
        return size if all(t.output_size(size) == size for t in self.transforms) else None


@dataclass(frozen=True)
class SomeOf(Composite):
    """Some of ``transforms``, each as likely (albumentations' and imgaug's SomeOf; RandAugment draws two of fourteen with
    ``replace=True, random_order=True``).

    Args:
        transforms: up to 64. To skip one that was drawn give it a ``p`` of its own.
        n: how many, or (least, most) with every number between as likely.
        replace: a transform may be drawn several times; it then has new random numbers each time.
        random_order: in the order drawn, or in the list's.
        p: probability; otherwise none.
    """

    transforms: Sequence[Transform]
    n: int | Sequence[int] = 1
    replace: bool = False
    random_order: bool = False
    p: float = 1.0

    def __post_init__(self) -> None:
        self._set(p=checks.probability("SomeOf.p", self.p), replace=checks.flag("SomeOf.replace", self.replace),
                  random_order=checks.flag("SomeOf.random_order", self.random_order))
        self._check()
        if any(m.mode != "elem" for m in self.mixers()):
            raise ArgumentError("SomeOf.transforms: expected mixers of mode 'elem', given others; list them in OneOf([...])")
        most = MAX_BRANCHES if self.replace else len(self.transforms)
        low, high = self.n if checks.is_sequence(self.n) and len(self.n) == 2 else (self.n, self.n)
        low, high = checks.whole("SomeOf.n", low, 0, most), checks.whole("SomeOf.n", high, 0, most)
        if low > high:
            checks.wrong("SomeOf.n", "least <= most", self.n)
        self._set(n=(low, high))

    def slots(self) -> list[Slot]:
        flags = REPLACE * self.replace | IN_ORDER * (not self.random_order)
        low, high = cast(tuple[int, int], self.n)
        return program.apply(self.p, program.some(low, high, [t.slots() for t in self.transforms], flags))

    def output_size(self, size: Size | None) -> Size | None:
        return size if all(t.output_size(size) == size for t in self.transforms) else None
