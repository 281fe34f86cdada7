"""What every transform is: a frozen description that compiles to slots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from itertools import product
from typing import Any

import numpy as np
from torch import Tensor

from anamorph.core import checks
from anamorph.core.errors import AnamorphError, ArgumentError
from anamorph.images.transforms.program import MODES, PARTNER_SHIFT, PARTNERS, Slot
from anamorph.images.transforms.schedule import MAX_DIALS, Schedule, ramps

Size = tuple[int, int]


class Transform:
    """Base of the transforms. They describe; a :class:`anamorph.Recipe` compiles them, once."""

    def __new__(cls, *args: Any, **named: Any) -> Any:
        """With a schedule among the arguments, :class:`Scheduled`."""
        if not any(type(a) not in _PLAIN for a in (*args, *named.values())):
            return super().__new__(cls)
        given = _by_name(cls, args, named)
        return Scheduled(cls, given) if any(_schedules(a) for a in given.values()) else super().__new__(cls)

    def slots(self) -> list[Slot]:
        """The program of this transform."""
        raise NotImplementedError

    def output_size(self, size: Size | None) -> Size | None:
        """(height, width) of its output for that of its input; None stands for unknown."""
        return size

    def channels(self) -> set[int]:
        """Numbers of channels that its per-channel values fit (one value for all channels fits any: not listed)."""
        return set()

    def mixers(self) -> list[Mixer]:
        """The mixing transforms in it."""
        return []

    def _set(self, **canonical: Any) -> None:  # the dataclasses are frozen, also for their own checks
        for name, value in canonical.items():
            object.__setattr__(self, name, value)


_PLAIN = {int, float, bool, str, type(None)}


def _by_name(kind: type, args: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a transform by their names; a tensor where one number goes is a schedule."""
    known = [f for f in fields(kind) if f.init] if is_dataclass(kind) else []
    if len(args) > len(known):
        return {}  # its own __init__ says what is wrong
    given = dict(zip((f.name for f in known), args, strict=False)) | dict(named)
    numbers = {f.name for f in known if f.type in ("float", "Strength")}
    bare = {name for name in numbers & given.keys()
            if isinstance(given[name], Tensor) and given[name].dim() == 1 and given[name].is_floating_point()}
    return {name: Schedule(a, 0.0, 1.0) if name in bare else a for name, a in given.items()}


def _schedules(value: Any) -> list[Schedule]:
    """Those in an argument, in order, each once."""
    if isinstance(value, Schedule):
        return [value]
    if isinstance(value, Scheduled):
        return list(value.schedules)
    inner = value if isinstance(value, list | tuple) else value.values() if isinstance(value, dict) else ()
    return list(dict.fromkeys(s for one in inner for s in _schedules(one)))


def _kept(value: Any) -> Any:
    """An argument that nobody else changes; but for the tensors of schedules, which are there to be changed."""
    if isinstance(value, list | tuple):
        return tuple(_kept(one) for one in value)
    if isinstance(value, dict):
        return {name: _kept(one) for name, one in value.items()}
    return value.clone() if isinstance(value, Tensor) else value.copy() if isinstance(value, np.ndarray) else value


def _with(value: Any, shares: Mapping[Schedule, float]) -> Any:
    """An argument with the numbers that its schedules have come to."""
    if isinstance(value, Schedule):
        return value.at(shares[value])
    if isinstance(value, Scheduled):
        return value.at(shares)
    if isinstance(value, tuple):
        return tuple(_with(one, shares) for one in value)
    return {name: _with(one, shares) for name, one in value.items()} if isinstance(value, dict) else value


class Scheduled(Transform):
    """A transform of which :func:`anamorph.schedule` moves some arguments. It answers for the middle of their ranges.

    Attributes:
        kind, arguments: of the transform.
        schedules: of its arguments.
        ends: the transform with each schedule at one end or the other.
    """

    def __new__(cls, *args: Any, **named: Any) -> Any:
        return object.__new__(cls)

    def __init__(self, kind: type[Transform], arguments: Mapping[str, Any]) -> None:
        self.kind, self.arguments = kind, {name: _kept(a) for name, a in arguments.items()}
        self.schedules = tuple(_schedules(list(arguments.values())))
        if len(self.schedules) > MAX_DIALS:
            raise ArgumentError(f"{kind.__name__}: expected at most {MAX_DIALS} schedules, given {len(self.schedules)}")
        self.middle = self.at({s: 0.5 for s in self.schedules})
        self.ends = tuple(self.at(dict(zip(self.schedules, shares, strict=True)))
                          for shares in product((0.0, 1.0), repeat=len(self.schedules)))

    def at(self, shares: Mapping[Schedule, float]) -> Transform:
        """The transform where each schedule has come so far from its low end to its high one."""
        try:
            return self.kind(**{name: _with(a, shares) for name, a in self.arguments.items()})
        except AnamorphError as error:
            numbers = ", ".join(f"{s.at(shares[s]):g}" for s in self.schedules)
            raise type(error)(f"{error} (where its schedules are at {numbers})") from None

    def ramps(self) -> tuple[list[Slot], list[Slot]]:
        """Its program, and what moves that: see :func:`anamorph.images.transforms.schedule.ramps`."""
        return ramps(self.kind.__name__, lambda shares: self.at(dict(zip(self.schedules, shares, strict=True))).slots(),
                     self.schedules)

    def slots(self) -> list[Slot]:
        return self.middle.slots()

    def output_size(self, size: Size | None) -> Size | None:
        sizes = {t.output_size(size) for t in (self.middle, *self.ends)}
        return sizes.pop() if len(sizes) == 1 else None

    def channels(self) -> set[int]:
        return self.middle.channels()

    def mixers(self) -> list[Mixer]:
        return self.middle.mixers()

    def __eq__(self, other: object) -> bool:
        """However its arguments are spelt."""
        return (isinstance(other, Scheduled) and (self.kind, self.schedules) == (other.kind, other.schedules)
                and (self.middle, self.ends) == (other.middle, other.ends))

    def __hash__(self) -> int:
        return hash((self.kind, self.schedules))

    def __reduce__(self) -> tuple[Any, ...]:
        return Scheduled, (self.kind, self.arguments)

    def __repr__(self) -> str:
        return f"{self.kind.__name__}({', '.join(f'{name}={a!r}' for name, a in self.arguments.items())})"


def plain(transform: Transform) -> Transform:
    """The transform itself; with schedules in it, as it is in the middle of their ranges."""
    return transform.middle if isinstance(transform, Scheduled) else transform


def settings(transforms: Sequence[Transform]) -> Iterator[list[Transform]]:
    """Each transform of a list with its schedules at both ends and between; of one without, itself."""
    for t in transforms:
        yield [t.middle, *t.ends] if isinstance(t, Scheduled) else [t]


def lengths(*values: float | Sequence[float]) -> set[int]:
    """The channel counts that per-channel values ask for."""
    return {len(v) for v in values if isinstance(v, Sequence) and len(v) > 1}


def mode_flags(mode: str) -> int:
    """The bits by which a slot's draw is shared."""
    return {"elem": 0, "batch": 1 << 8, "pair": 1 << 9}[mode]


class Mixer(Transform):
    """Base of the mixing transforms."""

    mode: str
    partner: str | None

    def _check(self) -> None:
        name = type(self).__name__
        self._set(mode=checks.choice(f"{name}.mode", self.mode, MODES))
        default = "flip" if self.mode == "pair" else "derange"
        self._set(partner=checks.choice(f"{name}.partner", default if self.partner is None else self.partner, PARTNERS))
        if self.mode == "pair" and self.partner != "flip":
            checks.wrong(f"{name}.partner", "'flip' for mode='pair'", self.partner)

    def _flags(self) -> int:
        return mode_flags(self.mode) | PARTNERS.index(self.partner or "derange") << PARTNER_SHIFT

    def mixers(self) -> list[Mixer]:
        return [self]
