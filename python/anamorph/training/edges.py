"""Edge maps: a picture's lines, black on white."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.core.philox import words
from anamorph.training import given, thresholds
from anamorph.training.filters import clamped, gaussian
from anamorph.training.pixels import each_part, needs_ids

STREAM = 0xFFFFC100  # behind the corruptions'
DEFAULTS = (0.1, 0.2)  # thresholds where those drawn leave nothing; gradients of values from 0 to 1
ROUNDS = 8  # steps along lines before the host looks whether any has been made
CHOICES = 16

T = TypeVar("T")


def edge_map(images: Any, sigma: Any = 1.0, threshold: Any = "otsu", noise: float = 0.0, *, thin: bool = True,
             hysteresis: Sequence[float] = (0.5, 1.5), spread: float = 0.0, index: Any = None, seed: int = 0,
             layout: str | None = None) -> Tensor:
    """The lines of pictures (Efthymiadis et al., "Crafting Distribution Shifts for Validation and Training in Single Source
    Domain Generalization", WACV 2025; Canny, PAMI 1986).

    Grey (0.2989 R + 0.587 G + 0.114 B, from 0 to 1), a Gaussian, Sobel's gradient (4 for a step from black to white), and a
    threshold t for its size. With the defaults these are the paper's maps to validate by; to train by it has
    ``threshold=("otsu", "yen", "mean", "isodata", "li"), noise=0.04, spread=0.2``.

    Args:
        images: uint8 ``[B, H, W, C]`` or ``[B, C, H, W]``, 1 or 3 channels.
        sigma: the Gaussian's deviation in pixels, 0 to 20; or up to 16 of them, of which each picture draws one.
        threshold: "otsu", "yen", "mean", "isodata" or "li", as in ``skimage.filters``; or several, of which each picture draws
            one.
        noise: the deviation of what is added to t, 0 to 10; 10 / 255 is a good one. A t that leaves the gradients' range goes
            back.
        thin: Canny's lines, one pixel thick: ridges of the gradient, above ``low * t``, that hang together with a pixel of at
            least ``high * t``; where no pixel is that steep, the two are 0.1 and 0.2. On a GPU the host waits for these lines.
            False: every pixel above t, in one pass.
        hysteresis: (low, high). spread: the deviation of an e for each picture, 0 to 1: low becomes max(0.1, low - e), high
            becomes min(2, high + e), and the smaller of them is the low one.
        index: sample ids, integers ``[B]``; needed where anything is drawn. What is drawn is a function of (seed, id).
        seed: of what is drawn. layout: "NHWC" or "NCHW", where the shape fits both.

    Returns:
        uint8 of the images' shape, all channels alike: 0 on a line and 255 elsewhere. A constant picture is white.

    Raises:
        ArgumentError, ShapeError, DtypeError: what was given and what is expected.
    """
    name = "edge_map"
    sigmas = _some(f"{name}.sigma", sigma, lambda where, s: checks.number(where, s, 0, 20))
    kinds = _some(f"{name}.threshold", threshold, lambda where, t: checks.choice(where, t, (*thresholds.BY_NAME,)))
    noise, spread = checks.number(f"{name}.noise", noise, 0, 10), checks.number(f"{name}.spread", spread, 0, 1)
    low, high = checks.interval(f"{name}.hysteresis", hysteresis, 0, 100)
    thin, seed = checks.flag(f"{name}.thin", thin), given.seed(f"{name}.seed", seed)
    if len(sigmas) > 1 or len(kinds) > 1 or noise or spread:
        needs_ids(name, index)

    def lines(x: Tensor, ids: Tensor) -> Tensor:
        u = words(ids, 4, seed, STREAM)
        down, across = gradient(grey(x), sigmas, u[:, 0])
        size = (down * down + across * across).sqrt()
        t = _threshold(size.flatten(1), kinds, u[:, 1], noise * _normal(u[:, 2]))
        if thin:
            e = spread * _normal(u[:, 3])
            first, second = (low - e).clamp_min(0.1) if spread else low + e, (high + e).clamp_max(2) if spread else high + e
            found = _canny(down, across, size, t * torch.minimum(first, second), t * torch.maximum(first, second))
        else:
            found = size > t[:, None, None]
        return torch.where(found[:, None], 0, 255).byte().expand(x.shape)

    return each_part(name, images, layout, index, lines, channels=(1, 3))


def grey(x: Tensor) -> Tensor:
    """Bytes ``[b, C, H, W]`` to float64 ``[b, H, W]`` from 0 to 1."""
    if x.shape[1] == 1:
        return x[:, 0].double() / 255
    red, green, blue = x.double().unbind(1)
    return (0.2989 * red + 0.5870 * green + 0.1140 * blue) / 255


def gradient(x: Tensor, sigmas: Sequence[float], u: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel's of the blurred picture, down and across; the edge is repeated, so that a frame is no edge."""
    blurred = _drawn([gaussian(x, s) for s in sigmas], u)
    wide = clamped(clamped(blurred, 1, 1), 1, 2)
    h, w = x.shape[1:]

    def smooth(difference: Tensor, axis: int, n: int) -> Tensor:
        return difference.narrow(axis, 0, n) + 2 * difference.narrow(axis, 1, n) + difference.narrow(axis, 2, n)

    return smooth(wide[:, 2:] - wide[:, :-2], 2, w), smooth(wide[:, :, 2:] - wide[:, :, :-2], 1, h)


def _threshold(size: Tensor, kinds: Sequence[str], u: Tensor, noise: Tensor) -> Tensor:
    exact = _drawn([thresholds.BY_NAME[kind](size) for kind in kinds], u)
    moved = exact + noise
    return torch.where((moved > size.amin(1)) & (moved < size.amax(1)), moved, exact)


def _canny(down: Tensor, across: Tensor, size: Tensor, low: Tensor, high: Tensor) -> Tensor:
    ridges = _ridges(down, across, size)
    low, high = low[:, None, None], high[:, None, None]
    none = ~(ridges & (size > low) & (size >= high)).flatten(1).any(1)[:, None, None]
    low, high = torch.where(none, DEFAULTS[0], low), torch.where(none, DEFAULTS[1], high)
    weak = ridges & (size > low)
    return _connected(weak & (size >= high), weak)


def _ridges(down: Tensor, across: Tensor, size: Tensor) -> Tensor:
    """Where the gradient is not smaller than a pixel's length before and behind it, along its own direction; what lies between
    two pixels is interpolated. Not on the outermost pixels, of which one side is not known."""
    h, w = size.shape[1:]
    wide = torch.nn.functional.pad(size, (1, 1, 1, 1))

    def at(dy: int, dx: int) -> Tensor:
        return wide[:, 1 + dy:1 + dy + h, 1 + dx:1 + dx + w]

    steep = down.abs() >= across.abs()
    same = down * across >= 0
    longer, shorter = torch.where(steep, down, across).abs(), torch.where(steep, across, down).abs()
    part = shorter / torch.where(longer > 0, longer, 1)
    here = longer > 0
    for side in (1, -1):
        corner = torch.where(same, at(side, side), at(side, -side))
        beside = torch.where(steep, at(side, 0), torch.where(same, at(0, side), at(0, -side)))
        here = here & (corner * part + beside * (1 - part) <= size)
    inner = torch.zeros_like(here)
    inner[:, 1:-1, 1:-1] = here[:, 1:-1, 1:-1]
    return inner


def _connected(seeds: Tensor, inside: Tensor) -> Tensor:
    """What of ``inside`` is reached from ``seeds`` by steps to one of eight neighbours."""
    while True:
        grown = seeds
        for _ in range(ROUNDS):
            grown = _wider(_wider(grown, 1), 2) & inside
        if torch.equal(grown, seeds):
            return grown
        seeds = grown


def _wider(flags: Tensor, axis: int) -> Tensor:
    """A pixel more at both ends of what is set, along one axis."""
    wide, n = flags.clone(), flags.shape[axis] - 1
    wide.narrow(axis, 1, n).logical_or_(flags.narrow(axis, 0, n))
    wide.narrow(axis, 0, n).logical_or_(flags.narrow(axis, 1, n))
    return wide


def _some(where: str, value: Any, one: Callable[[str, Any], T]) -> list[T]:
    if not checks.is_sequence(value):
        return [one(where, value)]
    return [one(where, v) for v in checks.several(where, value, range(1, CHOICES + 1), f"one, or 1 to {CHOICES} of them")]


def _drawn(each: list[Tensor], u: Tensor) -> Tensor:
    """One of several for each picture; all are made, so that the host need not know which."""
    if len(each) == 1:
        return each[0]
    which = (u * len(each) >> 32).view(1, -1, *[1] * (each[0].dim() - 1))
    return torch.stack(each).take_along_dim(which, 0)[0]


def _normal(u: Tensor) -> Tensor:
    return torch.special.ndtri((u.double() + 0.5) / 2**32)
