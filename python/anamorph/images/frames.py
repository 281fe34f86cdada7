"""Clips: what is given and comes back for them has [B, T, ...] in front, where their plan has B * T rows, one for each frame."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sized
from functools import wraps
from typing import Any, TypeVar, cast

from torch import Tensor

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, ShapeError
from anamorph.core.tensors import as_tensor
from anamorph.images.forms import plain, rewrap

CHANGES = ("none", "each", "smooth")  # as the native core numbers them
MAX_FRAMES = 1 << 16
BY_ROW = frozenset(("points", "masks", "depth", "valid", "flow", "boxes", "counts", "targets", "prediction"))  # arguments


def check_change(frames: Any, change: Any, drift: Any) -> tuple[int, int, float]:
    """How the frames of clips differ, as the native core takes it; of single pictures, which have no frames, not at all."""
    drift = checks.number("drift", drift, 0, 1)
    how = CHANGES.index(checks.choice("change", change, CHANGES))
    if frames is None:
        if how:
            raise ArgumentError(f"frames: expected how many a clip has, for change={change!r}, given none")
        return 1, 0, drift
    return checks.whole("frames", frames, 1, MAX_FRAMES), how, drift


def every_frame(t: Tensor, frames: int) -> Tensor:
    """What is one for each clip, [B, ...], in memory of its own for each of its frames, [B * T, ...]."""
    return t[:, None].expand(-1, frames, *t.shape[1:]).flatten(0, 1).contiguous()


def flat(name: str, value: Any, clips: int, frames: int) -> Any:
    """[B, T, ...], or a list of B with T each, as the plan's rows have it: [B * T, ...], or a list of B * T."""
    if value is None:
        return None
    if not isinstance(value, list | tuple):
        t = as_tensor(name, value)
        if list(t.shape[:2]) != [clips, frames]:
            raise ShapeError(f"{name}: expected [{clips}, {frames}, ...] for {clips} clips of {frames} frames, given "
                             f"{list(t.shape)}")
        return _like(t, plain(t).flatten(0, 1))
    if len(value) != clips:
        raise ShapeError(f"{name}: expected a list of {clips}, one for each clip, given {len(value)}")
    each: list[Any] = []
    for i, clip in enumerate(value):
        several = isinstance(clip, Sized) and hasattr(clip, "__getitem__") and not isinstance(clip, dict | str) and getattr(
            clip, "ndim", 1) > 0  # a tensor of no dimension has a len() that raises
        if not several or len(clip) != frames:
            given = len(clip) if several else f"a {type(clip).__name__}"
            raise ShapeError(f"{name}[{i}]: expected {frames}, one for each frame, given {given}")
        each += [*clip]
    return each


def front(value: Any, frames: int) -> Any:
    """The way back of :func:`flat`."""
    if isinstance(value, Tensor):
        return _like(value, plain(value).unflatten(0, (-1, frames)))
    if isinstance(value, tuple):
        return tuple(front(part, frames) for part in value)
    return [value[i:i + frames] for i in range(0, len(value), frames)]


def _like(given: Tensor, t: Tensor) -> Tensor:
    return rewrap(t, given, getattr(given, "canvas_size", None))


Method = TypeVar("Method", bound=Callable[..., Any])


def by_frames(method: Method) -> Method:
    """A plan's method for rows as one for clips: of a plan that has some, [B, T, ...] goes in and comes out."""
    signature = inspect.signature(method)

    @wraps(method)
    def of_clips(plan: Any, *args: Any, **options: Any) -> Any:
        frames = plan.frames
        if frames is None:
            return method(plan, *args, **options)
        given = dict(signature.bind(plan, *args, **options).arguments, self=plan._rows_alone())
        for name in BY_ROW & given.keys():
            given[name] = flat(name, given[name], len(plan.rows) // frames, frames)
        return front(method(**given), frames)

    return cast(Method, of_clips)
