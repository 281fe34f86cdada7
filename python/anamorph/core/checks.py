"""Checks of arguments. Each returns the value in its canonical form or raises a named error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, NoReturn, TypeGuard

import numpy as np
import torch

from anamorph import _native
from anamorph.core.errors import ArgumentError

LARGEST = 3e38  # the kernels work in float32
MAX_SIDE: int = _native.MAX_SIDE  # pixels; the native core says why
MAX_CHANNELS = 16
SIDES = f"sides of 1 to {MAX_SIDE} pixels"


def wrong(where: str, expected: str, given: object) -> NoReturn:
    """Raise the error that every bad argument gets."""
    raise ArgumentError(f"{where}: expected {expected}, given {given!r}")


def kind(value: object) -> str:
    """What something is, for an error's "given": its type, in full where another module has one of the same name."""
    of = type(value)
    return of.__name__ if of.__module__ == "builtins" else f"{of.__module__}.{of.__qualname__}"


def number(where: str, value: Any, low: float = -math.inf, high: float = math.inf, expected: str = "") -> float:
    """A finite number in [low, high], within float32's range."""
    value = plain(value)
    if not _is(value, Real) or not max(low, -LARGEST) <= value <= min(high, LARGEST):
        wrong(where, expected or _bounds("a finite number", low, high), value)
    return float(value)


def _bounds(kind: str, low: float, high: float) -> str:
    if low > -math.inf and high < math.inf:
        return f"{kind} from {low:g} to {high:g}"
    return f"{kind} of at least {low:g}" if low > -math.inf else kind


def probability(where: str, value: Any) -> float:
    """A number in [0, 1]."""
    return number(where, value, 0, 1, "a probability, 0 to 1")


def interval(where: str, value: Any, low: float = -math.inf, high: float = math.inf) -> tuple[float, float]:
    """Two finite numbers in order."""
    expected = f"two numbers (low, high), {_bounds('each', low, high)}" if low > -math.inf else "two numbers (low, high)"
    a, b = (number(where, v, low, high, expected) for v in several(where, value, (2,), expected))
    if a > b:
        wrong(where, "low <= high", tuple(value))
    return a, b


def around(where: str, value: Any, center: float, low: float, high: float) -> tuple[float, float]:
    """A strength s, meaning (center - s, center + s) clipped at ``low``, or the interval itself; as torchvision's."""
    if is_sequence(value):
        return interval(where, value, low, high)
    strength = number(where, value, 0, expected=f"a strength of at least 0, or (low, high) within {low:g} to {high:g}")
    if center + strength > high:
        wrong(where, f"a strength of at most {high - center:g}", value)
    return max(center - strength, low), center + strength


def degrees(where: str, value: Any) -> tuple[float, float]:
    """d, meaning (-d, d), or (low, high)."""
    if is_sequence(value):
        return interval(where, value, -1e6, 1e6)
    d = number(where, value, 0, 1e6, expected="degrees from 0 to a million, or (low, high)")
    return -d, d


def whole(where: str, value: Any, low: int | None = None, high: int | None = None, of: str = "") -> int:
    """A whole number in [low, high], as Python's int."""
    value = plain(value)
    if not _is(value, Integral) or (low is not None and value < low) or (high is not None and value > high):
        within = "" if low is None else f" of at least {low}" if high is None else f" from {low} to {high}"
        wrong(where, f"a whole number{of}{within}", value)
    return int(value)


def side(where: str, value: Any) -> int:
    """A length in pixels."""
    return whole(where, value, 1, MAX_SIDE, " of pixels")


def size(where: str, value: Any) -> tuple[int, int]:
    """(height, width), or one number for both."""
    sides = several(where, value if is_sequence(value) else (value,), (1, 2), "a side or (height, width)")
    return side(where, sides[0]), side(where, sides[-1])


def several(where: str, value: Any, counts: Sequence[int], expected: str) -> tuple[Any, ...]:
    """As many values as one of ``counts``, of a list, a tuple, an array or a tensor."""
    if not is_sequence(value) or len(value) not in counts:
        wrong(where, expected, value)
    return tuple(value)


def colors(where: str, value: Any, limit: float = math.inf, most: int = 4) -> tuple[float, ...]:
    """A number for all channels, or one for each of up to ``most``."""
    given = value if is_sequence(value) else (value,)
    values = several(where, given, range(1, most + 1), f"a number, or one for each of 1 to {most} channels")
    return tuple(number(where, v, -limit, limit) for v in values)


def four(values: float | Sequence[float]) -> tuple[float, ...]:
    """Per-channel numbers as the four that a slot holds."""
    values = values if isinstance(values, Sequence) else (values,)
    return tuple(values) * 4 if len(values) == 1 else tuple(values) + (0.0,) * (4 - len(values))


def choice(where: str, value: Any, allowed: Sequence[str]) -> str:
    """One of the names; enums (torchvision's InterpolationMode) count by their value."""
    name = getattr(value, "value", value)
    if isinstance(name, str) and name == "nearest-exact":  # torchvision's name for the nearest by pixel centres, which is ours
        name = "nearest"
    if not isinstance(name, str) or name not in allowed:
        wrong(where, "one of " + ", ".join(repr(a) for a in allowed), value)
    return name


def flag(where: str, value: Any) -> bool:
    """True or False, Python's, NumPy's or torch's."""
    value = plain(value)
    if not isinstance(value, bool):
        wrong(where, "True or False", value)
    return value


def _is(value: Any, kind: type) -> bool:  # Python's bools count as numbers, here they do not
    return isinstance(value, kind) and not isinstance(value, bool)


_ARRAYS = (np.generic, np.ndarray, torch.Tensor)  # no union: torch.compile cannot make one


def plain(value: Any) -> Any:
    """A number of NumPy or torch as Python's; what holds none (a meta tensor) as it is."""
    if not isinstance(value, _ARRAYS) or value.ndim or getattr(value, "is_meta", False):
        return value
    return value.item()


def is_sequence(value: Any) -> TypeGuard[Sequence[Any]]:
    """A list, a tuple, or an array or tensor of one dimension."""
    if isinstance(value, np.ndarray | torch.Tensor):
        return value.ndim == 1
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
