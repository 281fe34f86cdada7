"""Colour on bounds: what a step may make of values of which the least and the greatest possible are known.

A value lies between bounds where float32 positions are uncertain by a little, or a nearest position by a pixel. A step with a
threshold, or a table that counts bytes, makes a level or a whole range of that; what its result may be stays rigorous here, step
by step, statistics included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from differential.steps import WHOLE, F, How, recolor

ARITHMETIC = 5e-7  # of a step in float32
PLAIN = How()


@dataclass
class Bounds:
    """[C, h, w] in [0, 1], float64. ``surely``, ``maybe``: which pixels [h, w] a statistic counts."""

    low: Tensor
    high: Tensor
    surely: Tensor | None = None
    maybe: Tensor | None = None

    def widened(self, by: float) -> Bounds:
        return Bounds(self.low - by, self.high + by, self.surely, self.maybe)

    def counted(self) -> tuple[Tensor, Tensor]:
        every = torch.ones(self.low.shape[-2:], dtype=torch.bool)
        return (every, every) if self.surely is None or self.maybe is None else (self.surely, self.maybe)


def hull(*values: Tensor) -> tuple[Tensor, Tensor]:
    each = torch.stack(values)
    return each.amin(0), each.amax(0)


def step(x: Bounds, op: str, value: Any, of_bytes: bool) -> Bounds:
    low, high = _whole(x, op, value, of_bytes) if op in WHOLE else _pointwise(x, op, value, of_bytes)
    return Bounds(low, high, x.surely, x.maybe).widened(ARITHMETIC * (3 if op == "hue" else 1))


def _pointwise(x: Bounds, op: str, value: Any, of_bytes: bool) -> tuple[Tensor, Tensor]:
    if op in ("solarize", "solarize add"):
        return _around_threshold(x, op, value, of_bytes)
    ends = [recolor(v, op, value, of_bytes, PLAIN) for v in (x.low, x.high)]
    if op == "saturation" and value > 1 and len(x.low) == 3:
        return _away(x, *(F.rgb_to_grayscale(v, 1) for v in (x.low, x.high)), value)
    if op == "hue":  # continuous; in no channel steeper than 3
        reach = 3 * (x.high - x.low).amax(0)
        return ends[0] - reach, ends[0] + reach
    return hull(*ends)


def _around_threshold(x: Bounds, op: str, value: float, of_bytes: bool) -> tuple[Tensor, Tensor]:
    """What lies above and below it, of values that may be on either side."""
    inverts = op == "solarize"
    low, high, unit = (*_levels(x), 255.0) if of_bytes else (x.low, x.high, 1.0)
    threshold = value if inverts else 128 / 255 * unit
    below, above = low < threshold, high >= threshold - 1e-7
    under = [v if inverts else (v + value / 255).clamp(0, 1) for v in (x.low, x.high)]
    over = [1 - x.high, 1 - x.low] if inverts else [x.low, x.high]
    return (torch.minimum(torch.where(below, under[0], 9.0), torch.where(above, over[0], 9.0)),
            torch.maximum(torch.where(below, under[1], -9.0), torch.where(above, over[1], -9.0)))


def _away(x: Bounds, other_low: Tensor, other_high: Tensor, value: float) -> tuple[Tensor, Tensor]:
    """value * x + (1 - value) * other, whatever the two are."""
    rest = 1 - value
    other = (other_low, other_high) if rest >= 0 else (other_high, other_low)
    return (value * x.low + rest * other[0]).clamp(0, 1), (value * x.high + rest * other[1]).clamp(0, 1)


def _whole(x: Bounds, op: str, value: Any, of_bytes: bool) -> tuple[Tensor, Tensor]:
    if op == "contrast":
        return _away(x, *_mean(x), value)
    if op == "autocontrast":
        return _autocontrast(x, of_bytes)
    if op == "equalize":
        return _equalize(x, of_bytes)
    if op == "sharpness" and min(x.low.shape[-2:]) > 2:
        soft = [recolor(v, op, 0.0, of_bytes, PLAIN) for v in (x.low, x.high)]
        low, high = _away(x, soft[0], soft[1], value)
        for ours, edge in ((low, x.low), (high, x.high)):
            inner = ours[:, 1:-1, 1:-1].clone()
            ours.copy_(edge)
            ours[:, 1:-1, 1:-1] = inner
        return low, high
    return hull(*(recolor(v, op, value, of_bytes, PLAIN) for v in (x.low, x.high)))


def _mean(x: Bounds) -> tuple[Tensor, Tensor]:
    """Of the grey."""
    surely, maybe = x.counted()
    if not maybe.any():
        return torch.zeros(()), torch.zeros(())
    grey = [F.rgb_to_grayscale(v, 1)[0] if len(v) == 3 else v[0] for v in (x.low, x.high)]
    unsure = maybe & ~surely
    slack = (unsure.sum() / surely.sum().clamp(min=1)).clamp(max=1) if unsure.any() else 0.0
    part = surely if surely.any() else maybe
    return grey[0][part].mean() - slack, grey[1][part].mean() + slack


def _levels(x: Bounds) -> list[Tensor]:
    return [(v.clamp(0, 1) * 255).round() for v in (x.low, x.high)]


def _autocontrast(x: Bounds, of_bytes: bool) -> tuple[Tensor, Tensor]:
    surely, maybe = x.counted()
    low, high = _levels(x) if of_bytes else (x.low, x.high)
    top = 255.0 if of_bytes else 1.0
    out = []
    for c_low, c_high in zip(low, high, strict=True):
        if not maybe.any():
            out.append((c_low, c_high))
            continue
        least, most = (c_low[maybe].min(), c_high[maybe].max())
        inner = surely if surely.any() else maybe
        least_high, most_low = c_high[inner].min(), c_low[inner].max()
        if least_high >= most_low:  # perhaps flat, which is left alone
            flat = bool(least == most)
            out.append((c_low, c_high) if flat else (torch.zeros_like(c_low), torch.full_like(c_low, top)))
            continue
        out.append((_stretched(c_low, least_high, most, of_bytes), _stretched(c_high, least, most_low, of_bytes)))
    both = torch.stack([torch.stack(pair) for pair in out], 1)
    return (both / top).unbind(0)  # type: ignore[return-value]


def _stretched(v: Tensor, least: Tensor, most: Tensor, of_bytes: bool) -> Tensor:
    if not of_bytes:
        return ((v - least) / (most - least)).clamp(0, 1)
    per = (most - least).float() * (1 / 255)  # torchvision's arithmetic, whose bytes are cut
    return ((v - least).float() / per).clamp(0, 255).floor().double()


def _equalize(x: Bounds, of_bytes: bool) -> tuple[Tensor, Tensor]:
    """The table of torchvision, of all counts that are possible."""
    surely, maybe = x.counted()
    seen = _levels(x) if of_bytes else [(v.clamp(0, 1) * 255.999).floor() for v in (x.low, x.high)]
    out = []
    for low, high in zip(seen[0].long(), seen[1].long(), strict=True):
        below = torch.zeros(2, 257, dtype=torch.long)  # how many lie below a byte: at least, at most
        below[0, 1:] = torch.bincount(high[surely], minlength=256).cumsum(0)
        below[1, 1:] = torch.bincount(low[maybe], minlength=256).cumsum(0)
        total = int(surely.sum()), int(maybe.sum())
        if not total[1]:
            out.append(torch.stack([low, high]))
            continue
        # of the greatest byte that is there: which it is, and how many
        tops = {int(low[surely].max()) if surely.any() else 0, int(high[maybe].max())}
        least = min(int(((low == t) & (high == t) & surely).sum()) for t in tops)
        most = max(int(((low <= t) & (high >= t) & maybe).sum()) for t in tops)
        steps = range(max(total[0] - most, 0) // 255, max(total[1] - least, 0) // 255 + 1)
        tables = []
        for each in below[:, :256]:
            tables += [((s // 2 + each) // s).clamp(max=255) if s else torch.arange(256) for s in steps]
        table = torch.stack(tables)
        out.append(torch.stack([table.amin(0)[low], table.amax(0)[high]]))
    both = torch.stack(out, 1).double() / 255
    return both[0], both[1]
