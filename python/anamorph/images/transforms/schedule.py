"""Numbers of transforms that move while the recipe stays: with the epoch and the step, or as the training loop writes them.

    warm = am.schedule(lambda epoch, step: min(1.0, epoch / 10))
    recipe = am.Recipe([am.RandomResizedCrop(224), am.RandAugment(2, am.schedule(lambda epoch, step: epoch / 3, high=30)),
                        am.RandomErasing(p=warm), ...])

A transform with schedules is compiled at the ends of their ranges; what lies between is found in proportion when a plan is drawn
(csrc/images/plan.h: Dial), for each sample, on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from anamorph import _native
from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.images.transforms.program import Slot

MAX_DIALS: int = _native.MAX_DIALS
_RAMP: int = _native.RAMP
_NUMBERS = 12  # of a slot


def schedule(source: Callable[[Any, Any], Any] | Tensor, low: float = 0.0, high: float = 1.0) -> Any:
    """A number that changes from plan to plan, for wherever a transform takes one: a magnitude, a probability, a bound.

    ``Recipe.plan`` reads it; the recipe stays as it is, and so does a captured CUDA graph. The same schedule may stand in several
    places. The views are those of a recipe that has the number itself.

    Args:
        source: a function of (epoch, step) that gives the number: called with what ``plan`` is given, in a Loader the epoch and
            the number of the batch in it, from 0. Where ``plan`` is given tensors, as in a graph, it is called with tensors on
            the plan's device, and does its arithmetic with torch. It may give a tensor ``[B]``, a number for each sample.
            Or a tensor, float32, of one element or ``[B]`` (of clips one for each), on the plan's device: read by the kernel,
            so write to it (``strength.fill_(0.5)``) to change what the next plan draws.
        low, high: between which it moves. On a GPU numbers beyond are taken for the nearer end, and NaN for ``low``; on a CPU
            they are an error.

    Raises:
        ArgumentError: no function or tensor, or no range. From a transform: an end of the range that it refuses; or an argument
            that its numbers do not follow in proportion, such as one that is rounded to whole pixels.
    """
    return Schedule(source, low, high)


class Schedule:
    """What :func:`schedule` makes."""

    def __init__(self, source: Callable[[Any, Any], Any] | Tensor, low: float, high: float) -> None:
        if isinstance(source, Tensor):
            if source.dtype != torch.float32:
                raise DtypeError(f"schedule: expected a float32 tensor, given {source.dtype}")
            if source.dim() > 1 or source.numel() == 0 or not source.is_contiguous():
                raise ShapeError(f"schedule: expected one number, or one for each sample [B], given shape {list(source.shape)}")
        elif not callable(source):
            checks.wrong("schedule", "a function of (epoch, step), or a float32 tensor", source)
        self.source = source
        self.low, self.high = checks.number("schedule.low", low), checks.number("schedule.high", high)
        if not self.low < self.high:
            checks.wrong("schedule.high", f"a number above low, {self.low:g}", high)

    def at(self, share: float) -> float:
        """The number so far from ``low`` to ``high``."""
        return self.low * (1 - share) + self.high * share

    def value(self, epoch: int | Tensor, step: int | Tensor, count: int, where: torch.device) -> float | Tensor:
        """The number of a plan of ``count`` samples: as it is, or float32 on the plan's device."""
        given = self.source if isinstance(self.source, Tensor) else self.source(epoch, step)
        if isinstance(given, Tensor) and given.numel() == 1 and given.device.type == "cpu" and given is not self.source:
            given = given.item()  # of a function that computes with torch
        if not isinstance(given, Tensor):
            return checks.number("schedule", given, self.low, self.high)
        if given.device != where:
            raise DeviceError(f"schedule: expected numbers on {where}, as the plan, given some on {given.device}")
        if given.dim() > 1 or given.numel() not in (1, count):
            raise ShapeError(f"schedule: expected one number, or [{count}] for {count} samples, given shape {list(given.shape)}")
        given = given.detach().to(torch.float32).contiguous()
        if where.type == "cpu":
            low, high = torch.tensor([self.low, self.high], dtype=torch.float32, device="cpu").tolist()  # as it holds them
            checks.number("schedule", given.min().item(), low, high)
            checks.number("schedule", given.max().item(), low, high)
        return given

    def __eq__(self, other: object) -> bool:
        return (isinstance(other, Schedule) and (self.low, self.high) == (other.low, other.high)
                and (self.source is other.source
                     or (not isinstance(self.source, Tensor) and not isinstance(other.source, Tensor)
                     and self.source == other.source)))

    def __hash__(self) -> int:
        return hash((self.low, self.high))

    def __repr__(self) -> str:
        source = self.source
        text = (f"<tensor {list(source.shape)} on {source.device}>" if isinstance(source, Tensor)
                else getattr(source, "__name__", repr(source)))
        return f"schedule({text}, {self.low:g}, {self.high:g})"


def ramps(where: str, compiled: Callable[[Sequence[float]], Sequence[Slot]], dials: int) -> tuple[list[Slot], list[Slot]]:
    """The program of a transform with ``dials`` schedules, and the ramps that move its numbers (plan.h).

    ``compiled``: the program where each schedule has come so far, as a share of its range. It may have other slots at an end,
    where a probability of 0 leaves some out, but not between the ends.

    Raises:
        ArgumentError: numbers that do not move in proportion, or that do not move at all.
    """
    middle = [0.5] * dials
    program = list(compiled(middle))

    def numbers(shares: Sequence[float]) -> list[tuple[float, ...]] | None:
        slots = compiled(shares)
        alike = len(slots) == len(program) and all(a[:4] == b[:4] for a, b in zip(slots, program, strict=True))
        return [s.numbers for s in slots] if alike else None

    def along(dial: int, share: float) -> list[float]:
        return [share if d == dial else s for d, s in enumerate(middle)]

    bent = ArgumentError(f"{where}: expected a schedule whose numbers the transform follows in proportion from end to end, given "
                         "one where it does not; a smaller range, or a schedule of what they are made of, may do")
    ends: list[list[tuple[tuple[float, ...], tuple[float, ...]]]] = []
    for d in range(dials):
        near, far = numbers(along(d, 0.25)), numbers(along(d, 0.75))
        if near is None or far is None:
            raise bent
        low, high = numbers(along(d, 0.0)) or _beyond(near, far), numbers(along(d, 1.0)) or _beyond(far, near)
        ends.append(list(zip(low, high, strict=True)))

    base: list[Slot] = []
    moves: list[Slot] = []
    moving: set[int] = set()
    for at, s in enumerate(program):
        held = list(s.numbers)
        mine = [ends[d][at] for d in range(dials)]
        movers = [[d for d in range(dials) if mine[d][0][k] != mine[d][1][k]] for k in range(_NUMBERS)]
        for d in range(dials):
            for first in range(0, _NUMBERS, _RAMP):
                some = [k for k in range(first, first + _RAMP) if d in movers[k]]
                if some:
                    moving.add(d)
                    both = [[mine[d][end][k] - (held[k] if len(movers[k]) > 1 else 0.0) if k in some else 0.0
                             for k in range(first, first + _RAMP)] for end in (0, 1)]
                    moves.append(Slot(d, at, first, 0, (*both[0], *both[1])))
        base.append(s._replace(numbers=tuple(0.0 if len(movers[k]) == 1 else held[k] for k in range(_NUMBERS))))
    if len(moving) < dials:
        raise ArgumentError(f"{where}: expected a schedule for a number of what is drawn, given one that changes nothing")

    alone = [along(d, share) for d in range(dials) for share in (0.01, 0.37, 0.61, 0.99)]
    for shares in (*alone, [0.07] * dials, [0.93] * dials):
        found = numbers(shares)
        if found is None or any(not _near(a, b) for a, b in zip(found, _moved(base, moves, shares), strict=True)):
            raise bent
    return base, moves


def _beyond(near: Sequence[tuple[float, ...]], far: Sequence[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """The numbers at an end where the program is another one, from those a quarter and three quarters away."""
    return [tuple(n if n == f else 1.5 * n - 0.5 * f for n, f in zip(*both, strict=True))
            for both in zip(near, far, strict=True)]


def _moved(base: Sequence[Slot], moves: Sequence[Slot], shares: Sequence[float]) -> list[list[float]]:
    """The numbers of a program, as plan.h moves them."""
    numbers = [list(s.numbers) for s in base]
    for ramp in moves:
        t = shares[ramp.op]
        for c in range(_RAMP):
            numbers[ramp.count][ramp.k + c] += ramp.numbers[c] * (1 - t) + ramp.numbers[_RAMP + c] * t
    return numbers


def _near(a: Sequence[float], b: Sequence[float]) -> bool:
    return all(abs(x - y) <= 1e-9 * max(abs(x), abs(y), 1e-3) for x, y in zip(a, b, strict=True))
