"""One case, compared: what torchvision's functions make of the pictures with the numbers of our plan, and which differences stay.

A recipe that resamples at most once is compared value by value. One that resamples more often means one resampling here and
several in torchvision: its pictures are ramps, which every resampling keeps, compared where no border is near; and one view in
four is compared value by value with the float64 renderer of tests/reference."""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from differential import explained, steps
from differential.cases import Case, Unreadable, colors_of
from differential.steps import How
from reference import render as reference

FLOAT = 1e-5
ONCE = How(once=True)
NOT_PILS = ("hue", "channel permutation")
ROUND = 2.0**-22  # of a position, relative to its largest term: float32 maps


@dataclass
class View:
    """One picture of a case with the numbers that it was made with."""

    case: Case
    ours: Tensor  # [C, h, w] in the output's units, float64
    source: Tensor  # [C, H, W]
    drawn: list[Any]
    colors: list[tuple[str, float]]
    erased: list[tuple[tuple[int, ...], str]]
    row: reference.Row
    found: dict[Any, Tensor] = field(default_factory=dict)  # what `expect` has computed

    @property
    def bytes(self) -> bool:
        return self.case.bytes

    @functools.cached_property
    def geometry(self) -> list[steps.Geometry]:
        return self.case.geometry

    @functools.cached_property
    def resampling(self) -> steps.Geometry | None:
        """The one step that resamples."""
        return next((s for s, d in zip(self.geometry, self.drawn, strict=True) if s.mode and not s.exact(d)), None)

    @property
    def mode(self) -> str | None:
        return self.resampling.mode if self.resampling else None

    @functools.cached_property
    def fused(self) -> bool:
        """Is it resampled more than once, or by an exact step's filter: then the best of the steps' filters is used for all?"""
        if not (self.case.fused and self.readable):
            return False
        moved = sum(bool(s.mode) and not s.exact(d) for s, d in zip(self.geometry, self.drawn, strict=True))
        filters = {(s.mode, s.antialias) for s in self.geometry if s.mode and not (isinstance(s, steps.Rotation) and s.turns)}
        return moved > 1 or (moved == 1 and len(filters) > 1)

    @property
    def readable(self) -> bool:
        return not any(isinstance(d, Unreadable) for d in self.drawn)

    @property
    def has_mean(self) -> bool:
        return any(op == "contrast" for op, _ in self.colors)

    @functools.cached_property
    def as_float(self) -> Tensor:
        return self.source.double() / 255 if self.bytes else self.source.double()

    # ---- torchvision's values ----

    def chain(self, x: Any, how: How, *, colored: bool = True, shift: Any = None, chain: Any = None) -> Any:
        drawn, colors, shifts = iter(self.drawn), iter(self.colors), iter(shift or ())
        of_bytes = self.bytes and isinstance(x, Tensor) and x.is_floating_point()
        for step in self.case.chain if chain is None else chain:
            if isinstance(step, steps.Geometry):
                x = step.apply(x, next(drawn), how)
                if of_bytes and step.mode == "bicubic" and colored:
                    x = x.clamp(0, 1)  # a cubic overshoots, and a byte cannot
            elif colored:
                for _ in range(step.ops):
                    op, value = next(colors)
                    x = self.recolor(x, op, value, of_bytes, how, shifts)
        return x

    @staticmethod
    def recolor(x: Any, op: str, value: float, of_bytes: bool, how: How, shifts: Iterator[tuple[float, ...]]) -> Any:
        shift = next(shifts, None) if op in ("posterize", "solarize") else None
        if not shift:
            return steps.recolor(x, op, value, of_bytes, how)
        moved = (x + torch.tensor(shift, dtype=x.dtype)[:, None, None]).clamp(0, 1)
        out = steps.recolor(moved, op, value, of_bytes, how)
        return torch.where(out == moved, x, 1 - x) if op == "solarize" else out  # the side is another, not the value

    def finish(self, x: Tensor) -> Tensor:
        """Values in [0, 1] to the output."""
        value = self.case.finish.value
        for (x0, y0, x1, y1), kind in self.erased:
            if kind == "constant":
                values = value if isinstance(value, tuple) else (value,) * len(x)
                x = steps.F.erase(x, y0, x0, y1 - y0, x1 - x0, torch.tensor(values, dtype=x.dtype)[:, None, None])
            else:  # noise: ours, which only its own statistics judge
                x = x.clone()
                x[:, y0:y1, x0:x1] = self.unit(self.ours)[:, y0:y1, x0:x1]
        if self.case.finish.mean:
            return steps.F.normalize(x, self.case.finish.mean, self.case.finish.std)
        return x * 255 if self.bytes else x

    def unit(self, x: Tensor) -> Tensor:
        f = self.case.finish
        if f.mean:
            return x * torch.tensor(f.std, dtype=x.dtype)[:, None, None] + torch.tensor(f.mean, dtype=x.dtype)[:, None, None]
        return x / 255 if self.bytes else x

    def expect(self, how: How, shift: Any = None) -> Tensor:
        """By torchvision's functions in float64. ``shift``: for every step that has a threshold, of the channels before it."""
        key = how, shift
        if key not in self.found:
            how = dataclasses.replace(how, fill=1 / 255 if self.bytes else 1.0)
            self.found[key] = self.finish(self.chain(self.as_float, how, shift=shift))
        return self.found[key]

    def torchvision(self) -> Tensor:
        """As its user gets it: bytes stay bytes from step to step."""
        if not self.bytes:
            return self.expect(How())
        return self.finish(self.chain(self.source, How()).double() / 255)

    # ---- what is documented where torchvision's meaning needs more than one map, frame and fill ----

    @functools.cached_property
    def done(self) -> list[tuple[steps.Geometry, Any]]:
        return list(zip(self.geometry, self.drawn, strict=True))

    @functools.cached_property
    def warped(self) -> int:
        """The first step that leaves the view aslant; beyond the last one: none."""
        return next((at for at, (s, d) in enumerate(self.done) if not steps.square(s, d)), len(self.done))

    @functools.cached_property
    def last_fill(self) -> int | None:
        """The last step that frames or pads by a fill, as far as the view is square."""
        return max((at for at, (s, d) in enumerate(self.done[:self.warped + 1]) if steps.framed(s, d)), default=None)

    @functools.cached_property
    def filled(self) -> list[Any]:
        """The chain with the last fill for all, which no colour before its step touches."""
        if self.last_fill is None:
            return self.case.chain
        last = self.geometry[self.last_fill]
        end = next(at for at, s in enumerate(self.case.chain) if s is last)
        before, after = self.case.chain[:end], self.case.chain[end:]
        chain = [s for s in before if not isinstance(s, steps.Geometry)]
        chain += [s for s in before if isinstance(s, steps.Geometry)] + after
        return [dataclasses.replace(s, fill=last.fill or 0) if isinstance(s, (steps.Warp, steps.CenterCrop)) or (
            isinstance(s, steps.Crop) and s.padding_mode == "constant") else s for s in chain]

    def one_fill(self, how: How, shift: Any = None) -> Tensor:
        how = dataclasses.replace(how, fill=1 / 255 if self.bytes else 1.0)
        return self.finish(self.chain(self.as_float, how, shift=shift, chain=self.filled))

    def one_map(self, how: How, shift: Any = None) -> Tensor | None:
        """The steps from the warp on as one map of what there was before it, on a ground of its fill."""
        if self.warped >= len(self.done) - 1 or self.fused:
            return None
        scale = 1 / 255 if self.bytes else 1.0
        warp = self.geometry[self.warped]
        at = [i for i, s in enumerate(self.filled) if isinstance(s, steps.Geometry)][self.warped]
        x = self.chain(self.as_float, dataclasses.replace(how, fill=scale), chain=self.filled[:at])
        m = functools.reduce(np.matmul, [s.inverse(d) for s, d in self.done[self.warped:]])
        size, ground = self.geometry[-1].after, steps.numbers(warp.fill, len(x), scale)
        x = (steps.nearest(x, m, size, how.nudge or (0, 0), ground) if warp.mode == "nearest" else
             steps.warp_once(x, m, size, warp.mode, ground))
        if self.bytes and warp.mode == "bicubic":
            x = x.clamp(0, 1)
        spent = sum(s.ops for s in self.filled[:at] if isinstance(s, steps.Color))
        shifts = iter(shift or ())
        for op, value in self.colors[spent:]:
            x = self.recolor(x, op, value, self.bytes, how, shifts)
        return self.finish(x)

    def forms(self, how: How = ONCE, shift: Any = None) -> list[Tensor]:
        """Its values by each form of what is documented."""
        forms = [self.expect(how, shift)]
        if self.last_fill is not None:
            forms.append(self.one_fill(how, shift))
        one = self.one_map(how, shift)
        return forms if one is None else [*forms, one]

    @functools.cached_property
    def borders(self) -> bool:
        """Is its last mirrored or repeated border one of positions, around a frame or another such border or resampled later?"""
        last = max((at for at, (s, d) in enumerate(self.done[:self.warped]) if steps.bordered(s, d)), default=0)
        before, after = self.done[:last], self.done[last:]
        pads = sum(steps.pads(s, d) for s, d in before)
        made, later = (any(s.mode and not s.exact(d) for s, d in part) for part in (before, after))
        framed = any(isinstance(s, steps.Warp) and steps.framed(s, d) for s, d in before)
        return pads + made > 1 or bool(pads and later) or framed

    def nudged(self, nudge: tuple[float, float]) -> reference.Row:
        """The plan's row with its positions moved."""
        row = copy.copy(self.row)
        row.m = np.array([[1, 0, nudge[0]], [0, 1, nudge[1]], [0, 0, 1]]) @ row.m
        return row

    def by_row(self, nudge: tuple[float, float] = (0, 0), wider: float = 0, shift: Any = 0) -> Tensor:
        """What the plan's row says, by the float64 renderer. ``nudge``: of the positions. ``wider``: of its frame. ``shift``: of
        the picture's channels."""
        f, size = self.case.finish, self.geometry[-1].after
        picture = self.as_float.permute(1, 2, 0).numpy() + shift
        mean, std = f.mean or [0.0] * len(self.ours), f.std or [1.0] * len(self.ours)
        row = self.nudged(nudge)
        row.frame = row.frame + wider * np.array([-1, -1, 1, 1])
        values = reference.draw([picture], 0, row, *size, np.array(mean), np.array(std), self.bytes)
        x = torch.from_numpy(np.ascontiguousarray(values)).permute(2, 0, 1)
        return steps.F.normalize(x, f.mean, f.std) if f.mean else x * 255 if self.bytes else x

    def pil(self) -> Tensor | None:
        """PIL's bytes, where it has the recipe: its bilinear and bicubic resize always antialiases, its bicubic warp is another
        cubic (a = -1), and its hue turns bytes of HSV. Of blurs it has its own."""
        if not self.bytes or self.case.finish.transforms() or any(op in NOT_PILS for op, _ in self.colors):
            return None
        if any(op == "gaussian blur" and v[-1] != "pil" for op, v in self.colors):
            return None
        for s in self.geometry:
            bicubic_warp = isinstance(s, steps.Warp) and s.mode == "bicubic"
            if bicubic_warp or (not isinstance(s, steps.Warp) and s.mode not in (None, "nearest") and not s.antialias):
                return None
        picture = self.source.permute(1, 2, 0).numpy()
        x = self.chain(Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture), How())
        return steps.F.pil_to_tensor(x).double()

    # ---- where ----

    @functools.cached_property
    def cover(self) -> Tensor:
        return self.chain(torch.ones_like(self.as_float), How(once=True, fill=0.0), colored=False)

    def fringe(self) -> Tensor:
        """Where torchvision's values are part picture, part fill."""
        return (self.cover.abs() > 1e-7) & ((self.cover - 1).abs() > 1e-7)

    def edge(self) -> Tensor:
        """There, and where the row's filter reaches over its frame."""
        px, py, _ = steps.positions(self.row.m, self.geometry[-1].after)
        near = np.zeros(px.shape, bool)
        for p, axis in ((px, 0), (py, 1)):
            reach = self.row.interp * (self.row.filter[axis] if self.row.antialias else 1.0)
            near |= (np.abs(p - self.row.frame[axis]) < reach) | (np.abs(p - self.row.frame[axis + 2]) < reach)
        return self.fringe() | torch.from_numpy(near & bool(self.row.framed))

    def cut_by_warp(self) -> Tensor:
        """Where the filter of its one resampling reaches over a side of the view of a warp before that, or of a crop of it."""
        last = next((at for at, s in enumerate(self.geometry) if s is self.resampling), 0)
        first = next((at for at, (s, d) in enumerate(self.done[:last]) if isinstance(s, steps.Warp) and steps.framed(s, d)), last)
        maps, size, reach = self.maps(), self.geometry[-1].after, self.row.interp
        sides = [(maps[at], (0, 0, *self.geometry[at].before[::-1])) for at in range(first + 1, last + 1)]
        if sides and isinstance(self.resampling, steps.ResizedCrop):
            x, y, w, h = self.drawn[last]
            sides.append((maps[last], (x, y, x + w, y + h)))
        near = np.zeros(size, bool)
        for m, box in sides:
            for p, low, high in zip(steps.positions(m, size)[:2], box[:2], box[2:], strict=True):
                near |= (p < low + reach) | (p > high - reach)
        return torch.from_numpy(near)

    def fading(self) -> Tensor:
        """Where the row's frame fades."""
        px, py, _ = steps.positions(self.row.m, self.geometry[-1].after)
        f, s = self.row.frame, self.row.slope
        near = [np.abs(p - f[side]) * s[side] < 1 for p, axis in ((px, 0), (py, 1)) for side in (axis, axis + 2)]
        return torch.from_numpy(np.any(near, 0) & bool(self.row.framed))

    def covers_a_side(self) -> bool:
        """Is the row's window at least as long as a side of what may be read?"""
        sides = self.row.reach[2:] - self.row.reach[:2]
        return bool((2 * reference.SUPPORT.get(self.row.interp, 1) * self.row.filter >= sides).any())

    def maps(self) -> list[np.ndarray]:
        """From the last view to each view before a step."""
        m, out = np.eye(3), []
        for step, drawn in zip(reversed(self.geometry), reversed(self.drawn), strict=True):
            m = step.inverse(drawn) @ m
            out.append(m)
        return out[::-1]

    def behind(self) -> Tensor:
        z = np.min([steps.positions(m, self.geometry[-1].after)[2] for m in self.maps()], 0)
        return torch.from_numpy(z < 1e-6).expand_as(self.ours)

    def tolerance(self, steep: float = 1) -> float:
        """Of a float output: 1e-5 of the range, and what float32 positions cost where a pixel's neighbours differ by it all.
        ``steep``: how many times over in one pixel of the source they do."""
        return self.position_error(steep) * self.gain / min(self.case.finish.std or [1])

    @property
    def gain(self) -> float:
        """By how much its colour enlarges a difference."""
        gain = float(np.prod([max(abs(v), 1) for op, v in self.colors if op in ("brightness", "contrast", "saturation")]))
        return gain * 3 ** sum(op == "hue" for op, _ in self.colors)

    def position_error(self, steep: float = 1) -> float:
        """``tolerance`` of values in [0, 1] before colour."""
        error = 0.0
        size = self.geometry[-1].after
        for m, step in zip(self.maps(), self.geometry, strict=True):
            x, y, z = steps.positions(m, size)
            terms = np.abs(m) @ [size[1], size[0], 1]
            inside = (z > 1e-3) & (x > -2) & (y > -2) & (x < step.before[1] + 2) & (y < step.before[0] + 2)
            if inside.any():
                z = z[inside]
                far = max((terms[k] / z + np.abs(p[inside]) * terms[2] / z).max() for k, p in ((0, x), (1, y)))
                error = max(error, far * steep)
            steep = 1
        return FLOAT + ROUND * error


@dataclass
class Tally:
    cases: int = 0
    equal: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    unexplained: Counter[str] = field(default_factory=Counter)
    smallest: dict[str, tuple[int, str]] = field(default_factory=dict)
    sizes: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # a view's largest and mean difference, of 255

    def note(self, name: str, largest: float, mean: float) -> None:
        self.reasons[name] += 1
        self.sizes.setdefault(name, []).append((largest, mean))

    def miss(self, kind: str, size: int, line: str) -> None:
        self.unexplained[kind] += 1
        if kind not in self.smallest or size < self.smallest[kind][0]:
            self.smallest[kind] = size, line


def run(case: Case, tally: Tally) -> None:
    ours, plan = case.render()
    grids = reference.loose(plan.recipe, plan)
    rows = plan.table() if case.finish.erase else [{"erased": []}] * len(plan)
    for i, drawn in enumerate(case.drawn()):
        tally.cases += 1
        source = case.images[i].permute(2, 0, 1).contiguous()
        view = View(case, ours[i].double(), source, drawn, colors_of(plan, i), rows[i]["erased"],
                    reference.Row(plan.rows[i].numpy(), plan.recipe.info["max_colors"]))
        found = [("", *judge(view))]
        if i == 0 and not view.fused and view.readable and found[0][2] is None:
            theirs = view.pil()
            found += [] if theirs is None else [("PIL: ", *judge(view, theirs))]
        if i == 0 and view.fused:
            found.append(("row: ", *judge_by_row(view, bool(grids[i]))))
        for peer, names, off in found:
            if off is None:
                tally.equal += not names and not peer
                tally.reasons.update(peer + name for name in names)
            else:
                tally.miss(peer + kind_of(view), source.numel() + 1000 * len(case.chain), line_of(view, i, off))


def judge(view: View, pil: Tensor | None = None) -> tuple[set[str], Any]:
    """The reasons that a view needs, and what is left: None, or (where, ours, theirs). Against torchvision, or PIL's bytes."""
    names: set[str] = set()
    in_bytes, within = view.bytes and not view.case.finish.mean, FLOAT
    readable = view.readable
    reasons = explained.REASONS
    if not readable:
        theirs, off = view.ours, torch.ones_like(view.ours, dtype=torch.bool)
    elif tuple(view.ours.shape[1:]) != tuple(view.geometry[-1].after):
        return names, ((), tuple(view.ours.shape), view.geometry[-1].after)
    elif view.fused:
        theirs, off = ramp_differs(view)
        names, reasons = {"fused"}, []
    else:
        theirs, within = view.torchvision() if pil is None else pil, view.tolerance()
        if pil is not None:
            reasons = explained.PIL + reasons
        if theirs.shape != view.ours.shape:
            return names, ((), tuple(view.ours.shape), tuple(theirs.shape))
        limit = (0.5 if view.mode in (None, "nearest") and not view.colors else 1.01) if in_bytes else within
        if view.bytes and not in_bytes:
            limit = (1.01 / 255) / min(view.case.finish.std)
        off = (view.ours - theirs).abs() > limit
    for reason in reasons:
        if not off.any():
            break
        for where, low, high in reason.allows(view) if readable or reason.always else ():
            slack = within * 255 + 0.501 if in_bytes else within
            good = (view.ours >= low - slack) & (view.ours <= high + slack)
            good = good if where is None else good & where
            if (good & off).any():
                names.add(reason.name)
                off = off & ~good
    if not off.any():
        return names, None
    at = tuple(np.argwhere(off.numpy())[0].tolist())
    return names, (at, view.ours[at].item(), theirs[at].item())


def judge_by_row(view: View, grid: bool) -> tuple[set[str], Any]:
    """The same of a fused view and the float64 renderer, borders and all. What is read from a grid differs as
    docs/architecture.md says: by 8 levels at most, and by half a level in the mean, or by two where a window is as long as a
    side of what may be read. A frame fades over one pixel of its view, which may be a small part of one of the source."""
    level = 1 if view.bytes else 1 / 255
    nudges = itertools.product((-explained.TIE, explained.TIE), repeat=2) if view.row.interp == 0 else [(0, 0)]
    forms = torch.stack([view.by_row(nudge) for nudge in nudges])
    off, which = (view.ours - forms).abs().min(0)
    limit = torch.where(view.fading(), view.tolerance(max(*view.row.slope, 1)), view.tolerance())
    wrong = off > limit * 255 * level + (0.501 if view.bytes else 0)
    if not wrong.any():
        return set(), None
    if grid and off.mean() <= (2 if view.covers_a_side() else 0.5) * level and off.max() <= 8 * level:
        return {"grid"}, None
    at = tuple(np.argwhere(wrong.numpy())[0].tolist())
    return set(), (at, view.ours[at].item(), forms[which[at], *at].item())


def ramp_differs(view: View) -> tuple[Tensor, Tensor]:
    """A ramp's value where the composed map says, and where ours is not that although no view's border is near."""
    h, w = view.source.shape[1:]
    x = view.as_float
    step_x = (x[:, :, -1:] - x[:, :, :1]) / max(w - 1, 1)
    step_y = (x[:, -1:, :] - x[:, :1, :]) / max(h - 1, 1)
    size = view.geometry[-1].after
    maps = view.maps()
    px, py, _ = (torch.from_numpy(p) for p in steps.positions(maps[0], size))
    value = x[:, :1, :1] + step_x[:, :1] * (px - 0.5) + step_y[:, :, :1] * (py - 0.5)
    inside = torch.from_numpy(np.ones(size, bool))
    loose, direct = 0.0, True
    for at, (step, m) in enumerate(zip(view.geometry, maps, strict=True)):
        qx, qy, qz = steps.positions(m, size)
        (x0, y0), (x1, y1) = (0, 0), step.before[::-1]
        if isinstance(step, steps.ResizedCrop) and direct:  # cut out of the source
            x0, y0, x1, y1 = (step.inverse(view.drawn[at]) @ [[0, step.after[1]], [0, step.after[0]], [1, 1]])[:2].T.ravel()
        reach = np.abs(m[:2, :2]).sum(1) if not m[2, :2].any() else np.full(2, 1e9)
        margin = 2 * np.maximum(reach, 1) + 1.5
        if step.mode and not step.exact(view.drawn[at]):
            loose += 0.6 if step.mode == "nearest" else 0.15
        elif not (steps.framed(step, view.drawn[at]) or steps.bordered(step, view.drawn[at])):
            margin = np.zeros(2)
        inside &= torch.from_numpy((qx >= x0 + margin[0]) & (qx <= x1 - margin[0]) & (qy >= y0 + margin[1])
                                   & (qy <= y1 - margin[1]) & (qz > 1e-3))
        direct = direct and step.exact(view.drawn[at])
        if isinstance(step, (steps.Resize, steps.ResizedCrop)):
            loose *= max(step.inverse(view.drawn[at])[0, 0], step.inverse(view.drawn[at])[1, 1], 1)
    largest = max([float(np.abs(m[:2, :2]).max()) for m in maps] + [1.0])
    limit = (step_x.abs().amax() + step_y.abs().amax()) * loose * largest + 1e-4 + (1.01 / 255 if view.bytes else 0)
    ours = view.unit(view.ours)
    return value, ((ours - value).abs() > limit) & inside


def kind_of(view: View) -> str:
    parts = []
    for step, drawn in zip(view.geometry, view.drawn, strict=True):
        name = type(step).__name__
        if step.mode:
            name += f" {step.mode}" + (" aa" if step.antialias else "")
        if isinstance(step, steps.Crop):
            name += f" {step.padding_mode}" if any(step.pads) else ""
        if isinstance(step, steps.Rotation):
            name += (" expand" if step.expand else "") + (" center" if step.center else "")
            name += " quarter" if step.angle % 90 == 0 else ""
        if isinstance(drawn, Unreadable):
            name += f" UNREADABLE {drawn.why}"
        parts.append(name)
    ops = sorted({op for op, _ in view.colors})
    first = isinstance(view.case.chain[0], steps.Color)
    return " > ".join(parts) + (f" + {' '.join(ops)}" if ops else "") + (" (colour first)" if first else "") + (
        f" | {'bytes' if view.bytes else 'float'}")


def line_of(view: View, i: int, off: Any) -> str:
    at, ours, theirs = off
    return (f"case {view.case.number}.{i} {view.case!r} drew {view.drawn} {view.colors}: at (channel, y, x) {at} "
            f"ours {ours:.6g}, theirs {theirs:.6g}" if at else f"case {view.case.number}.{i} {view.case!r}: {ours} {theirs}")
