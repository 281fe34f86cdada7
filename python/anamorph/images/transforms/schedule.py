"""Numbers of transforms that move while the recipe stays: with the epoch and the step, or as the training loop writes them.

    warm = am.schedule(lambda epoch, step: min(1.0, epoch / 10))
    recipe = am.Recipe([am.RandomResizedCrop(224), am.RandAugment(2, am.schedule(lambda epoch, step: epoch / 3, high=30)),
                        am.RandomErasing(p=warm), ...])

A transform with schedules is compiled at several numbers of their ranges; each number of its program is then one of its own and
so much for each 1 of a schedule's, added when a plan is drawn (csrc/images/plan.h: Dial), for each sample, on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from anamorph import _native
from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.core.tensors import as_tensor
from anamorph.images.transforms.program import Slot

MAX_DIALS: int = _native.MAX_DIALS
_INSIDE = (*(10.0**-k for k in range(6, 0, -1)), 0.25, 0.37, 0.5, 0.61, 0.75, *(1 - 10.0**-k for k in range(1, 7)))


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
            as_tensor("schedule", source)  # for its check
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
        return self.low if share == 0 else self.high if share == 1 else self.low + (self.high - self.low) * share

    def value(self, epoch: int | Tensor, step: int | Tensor, count: int, where: torch.device) -> float | Tensor:
        """The number of a plan of ``count`` samples: as it is, or float32 on the plan's device."""
        given: Any = self.source
        if not isinstance(given, Tensor):  # a function's; it may keep or change what it is given
            given = given(*(cell.clone() if isinstance(cell, Tensor) else cell for cell in (epoch, step)))
            if isinstance(given, Tensor) and given.numel() == 1 and given.device.type == "cpu":
                given = given.item()
        if not isinstance(given, Tensor):
            return checks.number("schedule", given, self.low, self.high)
        given = as_tensor("schedule", given)
        if given.dtype.is_complex or given.dtype == torch.bool or given.is_quantized:
            raise DtypeError(f"schedule: expected real numbers, given {given.dtype}")
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


def ramps(where: str, compiled: Callable[[Sequence[float]], Sequence[Slot]],
          schedules: Sequence[Schedule]) -> tuple[list[Slot], list[Slot]]:
    """The program of a transform, where its schedules are at 0, and the ramps that add what they bring (plan.h).

    ``compiled``: the program where each schedule has come so far, as a share of its range. It may have other slots at an end,
    where a probability of 0 leaves some out, but not between the ends.

    Raises:
        ArgumentError: numbers that do not move in proportion, or that do not move at all.
    """
    dials = range(len(schedules))
    middle = [0.5] * len(schedules)
    program = list(compiled(middle))
    bent = ArgumentError(f"{where}: expected a schedule whose numbers the transform follows in proportion from end to end, given "
                         "one where it does not; a smaller range, or a schedule of what they are made of, may do")

    def numbers(shares: Sequence[float]) -> list[tuple[float, ...]] | None:
        slots = compiled(shares)
        alike = len(slots) == len(program) and all(a[:4] == b[:4] for a, b in zip(slots, program, strict=True))
        return [s.numbers for s in slots] if alike else None

    def along(dial: int, share: float) -> list[float]:
        return [share if d == dial else s for d, s in enumerate(middle)]

    slopes: list[list[list[float]]] = []
    for d in dials:
        near, far = numbers(along(d, 0.25)), numbers(along(d, 0.75))
        if near is None or far is None:
            raise bent
        span = schedules[d].at(0.75) - schedules[d].at(0.25)
        slopes.append([[_plain((b - a) / span) for a, b in zip(*both, strict=True)] for both in zip(near, far, strict=True)])
        if not any(any(each) for each in slopes[d]):
            raise ArgumentError(f"{where}: expected a schedule for a number of what is drawn, given one that changes nothing")

    base: list[Slot] = []
    for at, s in enumerate(program):
        brought = [sum(slopes[d][at][k] * schedules[d].at(0.5) for d in dials) for k in range(len(s.numbers))]
        base.append(s._replace(numbers=tuple(_plain(n - b, max(abs(n), abs(b))) if any(slopes[d][at][k] for d in dials) else n
                                             for k, (n, b) in enumerate(zip(s.numbers, brought, strict=True)))))
    moves = [Slot(d, at, 0, 0, tuple(each)) for d in dials for at, each in enumerate(slopes[d]) if any(each)]

    corners = [[(d >> c) % 2 * 0.98 + 0.01 for c in dials] for d in range(2 ** min(len(schedules), 4))]
    for shares in (*(along(d, share) for d in dials for share in (0.0, *_INSIDE, 1.0)), *corners):
        found = numbers(shares)
        if found is None:
            if not {0.0, 1.0} & {*shares}:
                raise bent
            continue
        expected = [list(s.numbers) for s in base]
        for move in moves:
            for k, slope in enumerate(move.numbers):
                expected[move.count][k] += slope * schedules[move.op].at(shares[move.op])
        if not all(abs(a - b) <= 1e-9 * max(abs(a), abs(b), 1e-3) for one, other in zip(found, expected, strict=True)
                   for a, b in zip(one, other, strict=True)):
            raise bent
    return base, moves


def _plain(number: float, of: float = 0.0) -> float:
    """A number that a difference has made, without the rounding that it has brought, where it is one of a small denominator.
    ``of``: the size of what it is the difference of."""
    simple = float(Fraction(number).limit_denominator(10000))
    return simple if abs(simple - number) <= 1e-11 * max(abs(number), of) else number
