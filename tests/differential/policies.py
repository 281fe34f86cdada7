"""Random recipes with what a list of numbers does not name before it is drawn: policies, and colour that needs the whole view.

A policy's steps are read from its row and put where it stands in the list, maps and colour, each to be done by torchvision's own
code. Colour is held against bounds (``bounds.py``), because a statistic, a table of bytes or a threshold hangs on every value."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

import anamorph as am
from differential import bounds, explained, steps
from differential.bounds import Bounds
from differential.cases import NAMES, Case, Draw, W
from differential.compare import FLOAT, View, kind_of, line_of
from differential.explained import TIE
from differential.steps import Color, Geometry, How, Several
from reference import render as reference

BLURS = ("reflect", "zero", "pil")
EXACT = ("autocontrast", "equalize", "posterize", "solarize", "solarize add", "invert", "channel permutation")
APART = 5e-3  # pixels of the source that the plan's map may differ from torchvision's


@dataclass(repr=False)
class RowCase(Case):
    """A case without a choice left: what a row of ``of`` is."""

    of: Case

    def __repr__(self) -> str:
        return repr(self.of)


@dataclass(repr=False)
class PolicyCase(Case):
    """A case whose chain has members that make several steps, other ones in each row."""

    def steps_of(self, plan: am.Plan, i: int) -> list[tuple[str, Any]]:
        """A row's steps; thresholds in the input's units, additions in 255ths, a blur with its taps and kind."""
        out = []
        for op, words in _steps(plan, i):
            value: Any = float(words.view(torch.float32)[1])
            if op == "gaussian blur":
                k = int(words[2])
                value = value, k & 255, k >> 8 & 255, BLURS[k >> 16]
            elif op == "solarize" and words[2] and not self.bytes:
                value /= 255
            elif op == "solarize add" and not words[2] and not self.bytes:
                value *= 255
            out.append((op, value))
        return out

    def rows(self, plan: am.Plan) -> Iterator[tuple[RowCase, list[Any], list[tuple[str, Any]]]]:
        """For each picture the case that its row is, without a choice left, what its geometry drew, and its colour."""
        counts = [self.plan([s.transform() for s in self.chain[:end]]).rows[:, W["COLORS"]] for end in range(len(self.chain) + 1)]
        moved = self.drawn()
        for i in range(len(self.images)):
            row, reads = self.steps_of(plan, i), iter(moved[i])
            chain: list[Geometry | Color] = []
            drawn = []
            for member, begin, end in zip(self.chain, counts[:-1], counts[1:], strict=True):
                made = [(member, None)]
                if isinstance(member, Several):
                    made = list(member.steps(row[int(begin[i]):int(end[i])]))
                elif isinstance(member, Geometry):
                    made = [(member, next(reads))]
                chain += [s for s, _ in made]
                drawn += [d for s, d in made if isinstance(s, Geometry)]
            one = RowCase(**{f.name: getattr(self, f.name) for f in dataclasses.fields(Case)} | {"chain": chain}, of=self)
            colors = [(op, v) for op, v in row if op != "identity" and op not in MAPS]
            assert sum(s.ops for s in chain if isinstance(s, Color)) == len(colors)
            yield one, drawn, colors


MAPS = tuple(ours for ours, theirs in steps.replay.NAMES.items() if theirs in steps.replay.MAPS)


def _steps(plan: am.Plan, i: int) -> Iterator[tuple[str, Tensor]]:
    words, step = plan.rows[i], am._native.COLOR_WORDS
    for at in range(W["HEADER"], W["HEADER"] + step * int(words[W["COLORS"]]), step):
        yield NAMES[int(words[at])].replace("_", " "), words[at:at + step]


class PolicyDraw(Draw):
    """Views of 16 to 80 pixels, so that there is something to count."""

    def size(self, most: int = 70) -> steps.Size:
        low = self.pick((16, 40, 40))
        return low + self.below(81 - low), low + self.below(81 - low)

    def case(self) -> PolicyCase:
        self.bytes, self.channels = self.chance(0.6), self.pick((3, 3, 3, 1))
        self.fill, self.contrast = self.fills(), True
        before = view = self.size()
        geometry: list[Geometry] = []
        for _ in range(self.pick((0, 1, 1, 1, 2, 2))):
            geometry.append(self.move(view, any(s.mode for s in geometry)))
            view = geometry[-1].after
        if not geometry:
            geometry.append(steps.CenterCrop(view, view))
        self.least = min(min(s.after) for s in geometry)
        chain: list[Any] = list(geometry)
        wanted = [self.policy] * self.chance(0.7)
        wanted += [self.pick((self.whole, self.whole, lambda _: self.color()))
                   for _ in range(self.pick((0, 1, 1) if wanted else (1, 1, 2, 3)))]
        for make in wanted:  # mostly after the geometry, sometimes anywhere behind its first step
            at = len(chain) if self.chance(0.75) else 1 + self.below(len(chain))
            size = next(s.after for s in reversed(chain[:at]) if isinstance(s, Geometry))
            chain.insert(at, make(size))
        picture = self.pick(("noise", "smooth", "smooth", "ramp", "dull", "constant"))
        return PolicyCase(self.number, chain, self.finish(), self.pictures(picture, before), self.chance(0.5), picture,
                          self.below(1 << 31), True)

    def move(self, view: steps.Size, resampled: bool) -> Geometry:
        """One resampling at most, no perspective, no frame that grows; a float's overshoot is not what these steps are about."""
        while True:
            s = self.step(view)
            fits = min(s.after) > 3 and not isinstance(s, steps.Perspective) and not (isinstance(s, steps.Rotation) and s.expand)
            if fits and not (s.mode and resampled) and (self.bytes or s.mode != "bicubic"):
                return s

    def policy(self, view: steps.Size) -> Several:
        mode = self.pick(("nearest", "nearest", "bilinear", *(("bicubic",) if self.bytes else ())))
        options = {"interpolation": mode, "fill": self.fill or 0}
        made = self.pick((
            lambda: am.RandAugment(1 + self.below(3), self.below(31), **options),
            lambda: am.TrivialAugmentWide(convention=self.pick(("torchvision", "paper")), **options),
            lambda: am.AutoAugment(self.pick(("imagenet", "cifar10", "svhn")), **options)))()
        return Several(made, view, mode, self.fill)

    def whole(self, view: steps.Size) -> Several:
        most = self.least - (self.least % 2 == 0)  # taps, of any view that may be the one that is blurred
        taps = min(self.pick((3, 5, 9, 23)), most), min(self.pick((3, 5, 9, 23)), most)
        kinds = ("reflect", "reflect", "zero", *(("pil",) if self.bytes else ()))
        sigma = self.pick(((0.1, 2.0), self.number_in(0.1, 5)))
        add = self.below(111) if self.bytes else self.number_in(0, 0.43)
        return Several(self.pick((
            lambda: am.RandomAutocontrast(1.0), lambda: am.RandomEqualize(1.0), lambda: am.RandomChannelPermutation(),
            lambda: am.RandomAdjustSharpness(self.pick((0.0, self.number_in(0, 3))), 1.0),
            lambda: am.GaussianBlur(taps, sigma, self.pick(kinds)), lambda: am.RandomPhotometricDistort(),
            lambda: am.RandomSolarizeAdd(add, 1.0)))(), view)

    def pictures(self, kind: str, size: steps.Size) -> Tensor:
        if kind != "dull":
            return super().pictures(kind, size)
        x = super().pictures("smooth", size)  # of a part of the range
        return (x * 0.4 + 50).to(torch.uint8) if self.bytes else x * 0.4 + 0.2


class PolicyView(View):
    """A row's picture, with bounds of its values by each form of what is documented."""

    @property
    def needs_whole(self) -> bool:
        return any(op in steps.WHOLE for op, _ in self.colors)

    @functools.cached_property
    def colored_early(self) -> bool:
        """Is there colour before a step that moves more than whole pixels of all of the view?"""
        drawn = iter(self.drawn)
        colored = False
        for s in self.case.chain:
            if isinstance(s, Color):
                colored = True
                continue
            d = next(drawn)
            if colored and (not s.exact(d) or steps.framed(s, d) or steps.crops(s, d) or steps.bordered(s, d)):
                return True
        return False

    @functools.cached_property
    def loose(self) -> float:
        """Of a position in float32, where the neighbours differ by the whole range."""
        return self.position_error()

    def bounds(self, how: How = bounds.PLAIN) -> Bounds:
        """In the list's order, as torchvision's functions do it in float64."""
        how = dataclasses.replace(how, fill=1 / 255 if self.bytes else 1.0)
        x = Bounds(self.as_float, self.as_float).widened(bounds.ARITHMETIC)
        drawn, colors = iter(self.drawn), iter(self.colors)
        for step in self.case.chain:
            if isinstance(step, Color):
                for _ in range(step.ops):
                    x = bounds.step(x, *next(colors), self.bytes)
                continue
            number = next(drawn)
            hows = [how]
            if step.mode == "nearest" and not step.exact(number):
                hows = [dataclasses.replace(how, nudge=n) for n in NUDGES]
            x = Bounds(*bounds.hull(*(step.apply(v, number, h) for h in hows for v in (x.low, x.high))))
            if step.mode == "bicubic" and self.bytes:
                x = Bounds(x.low.clamp(0, 1), x.high.clamp(0, 1))
            if step.mode and not step.exact(number):
                x = x.widened(self.loose)
        return Bounds(self.finish(x.low), self.finish(x.high))

    @functools.cached_property
    def last_fill(self) -> int | None:
        """As of any view; one that a later step has set upright again is framed again."""
        last, m = None, np.eye(3)
        for at, (s, d) in enumerate(self.done):
            upright = not m[2, :2].any() and min(np.abs(m[[0, 1], [0, 1]]).max(), np.abs(m[[0, 1], [1, 0]]).max()) < 1e-12
            if upright and steps.framed(s, d):
                last = at
            m = m @ s.inverse(d)
        return last

    # ---- geometry first, as one map; then colour ----

    @functools.cached_property
    def filled_at(self) -> int:
        """How many colour steps the fill is not touched by."""
        if self.last_fill is None:
            return 0
        last, seen = self.last_fill, -1
        for at, s in enumerate(self.case.chain):
            seen += isinstance(s, Geometry)
            if seen == last:
                return sum(c.ops for c in self.case.chain[:at] if isinstance(c, Color))
        raise AssertionError

    @functools.cached_property
    def warps_alone(self) -> bool:
        """Is there one frame, a slanted one's, before which the view is the source, mirrored or not?"""
        if not 0 <= self.warped < len(self.done) or self.last_fill != self.warped:
            return False
        before, after = self.done[:self.warped], self.done[self.warped:]
        return (all(isinstance(s, steps.Flip) or (s.after == s.before and isinstance(s, steps.CenterCrop)) for s, _ in before)
                and all(isinstance(s, (steps.Warp, steps.Flip)) for s, _ in after))

    def sampled(self, nudge: tuple[float, float]) -> tuple[Tensor, Tensor, Tensor]:
        """The picture under the one map [C, h, w], its cover [h, w], the fill [C, 1, 1]. By torch where that has all of it, else
        by the float64 renderer."""
        size = self.geometry[-1].after
        if self.warps_alone:
            return self._by_torch(nudge, size)
        row = self.nudged(nudge)
        v, cover, fill = reference.sample(self.as_float.permute(1, 2, 0).numpy(), row, *size, self.bytes)
        v, cover, fill = (torch.from_numpy(np.array(x)) for x in (v, np.broadcast_to(cover, size), fill))
        return v.permute(2, 0, 1), cover, fill[:, None, None]

    def _by_torch(self, nudge: tuple[float, float], size: steps.Size) -> tuple[Tensor, Tensor, Tensor]:
        mode = max((s.mode for s in self.geometry if s.mode), key=("nearest", "bilinear", "bicubic").index)
        x, m, ones = self.as_float, self.maps()[0], torch.ones_like(self.as_float[:1])
        fill = torch.tensor(steps.numbers(self.geometry[self.warped].fill, len(x), 1 / 255 if self.bytes else 1.0),
                            dtype=x.dtype)[:, None, None]
        if mode == "nearest":
            return steps.nearest(x, m, size, nudge, None), steps.nearest(ones, m, size, nudge, [0.0])[0], fill
        if mode == "bicubic" and not self.filled_at:
            return steps.warp_once(x, m, size, mode, fill.ravel().tolist()).clamp(0, 1), torch.ones(size, dtype=x.dtype), fill
        px, py, _ = steps.positions(m, size)
        grid = torch.from_numpy(np.stack([px * 2 / x.shape[2] - 1, py * 2 / x.shape[1] - 1], -1))[None]
        v = grid_sample(x[None], grid, mode, "border", False)[0]
        return v.clamp(0, 1) if mode == "bicubic" else v, grid_sample(ones[None], grid, "bilinear", "zeros", False)[0, 0], fill

    @functools.cached_property
    def documented(self) -> Bounds:
        tied = self.row.interp == 0 and not all(s.exact(d) for s, d in self.done)
        views = [self.sampled(n) for n in (NUDGES if tied else [(0.0, 0.0)])]
        x = Bounds(*bounds.hull(*(v for v, _, _ in views))).widened(self.loose * (max(s.mode is not None for s in self.geometry)))
        cover = bounds.hull(*(c for _, c, _ in views))
        if self.row.interp and self.row.framed:
            cover = tuple(torch.where((c > 0) & (c < 1), c + e, c).clamp(0, 1)
                          for c, e in zip(cover, (-self.loose, self.loose), strict=True))
        fill = views[0][2]
        x.surely, x.maybe = cover[0] > 0.5, cover[1] > 0.5
        for n in range(len(self.colors) + 1):
            if n == self.filled_at:
                laid = [torch.where(c == 0, fill, fill + c * (v - fill)) for c in cover for v in (x.low, x.high)]
                x = Bounds(*bounds.hull(*laid))
            if n < len(self.colors):
                x = bounds.step(x, *self.colors[n], self.bytes)
        return Bounds(self.finish(x.low), self.finish(x.high))

    def map_apart(self) -> float:
        """How far, in pixels of the source, the plan's map is from torchvision's, where the source is seen."""
        size, (h, w) = self.geometry[-1].after, self.source.shape[1:]
        (ax, ay, _), (bx, by, _) = (steps.positions(m, size) for m in (self.maps()[0], self.row.m))
        seen = (ax > -1) & (ay > -1) & (ax < w + 1) & (ay < h + 1)
        return float(np.hypot(ax - bx, ay - by)[seen].max()) if seen.any() else 0.0


NUDGES = list(itertools.product((-TIE, TIE), repeat=2))


def run(case: PolicyCase, tally: Any) -> None:
    ours, plan = case.render()
    grids = reference.loose(plan.recipe, plan)
    table = plan.table() if case.finish.erase else [{"erased": []}] * len(plan)
    for i, (one, drawn, colors) in enumerate(case.rows(plan)):
        tally.cases += 1
        view = PolicyView(one, ours[i].double(), case.images[i].permute(2, 0, 1).contiguous(), drawn, colors, table[i]["erased"],
                          reference.Row(plan.rows[i].numpy(), plan.recipe.info["max_colors"]))
        peers = [("", view.torchvision() if view.readable else view.ours)]
        pil = view.pil() if i == 0 and view.readable else None
        peers += [] if pil is None else [("PIL: ", pil)]
        for peer, theirs in peers:
            name, off = judge(view, theirs, bool(grids[i]))
            name = "hard frame" if peer and name == "fringe" else name
            if off is not None:
                tally.miss(peer + kind_of(view), view.source.numel() + 1000 * len(one.chain), line_of(view, i, off))
                continue
            tally.equal += not name and not peer
            if name:
                apart = 255 * (view.unit(view.ours) - view.unit(theirs)).abs()
                tally.note(peer + name, float(apart.max()), float(apart.mean()))


def judge(view: PolicyView, theirs: Tensor, grid: bool) -> tuple[str, Any]:
    """The last of the reasons that a view needs, or "", and what is left: None, or (where, ours, theirs)."""
    if not view.readable or view.ours.shape != theirs.shape:
        return "", ((), tuple(view.ours.shape), (theirs.shape, view.drawn))
    if view.map_apart() > APART:
        return "", ((), "its map is apart by", view.map_apart())
    in_bytes = view.bytes and not view.case.finish.mean
    scale = 1 / torch.tensor(view.case.finish.std or [1.0], dtype=torch.float64)[:, None, None]
    within = FLOAT * scale
    exact = in_bytes and view.mode in (None, "nearest") and all(op in EXACT for op, _ in view.colors)
    limit = 0.5 if exact else 1.01 if in_bytes else (1.01 / 255 if view.bytes else view.loose * view.gain) * scale
    off = (view.ours - theirs).abs() > limit
    name = ""
    for reason in explained.POLICIES:
        if not off.any():
            break
        for where, low, high in reason.allows(view):
            slack = 0.501 if in_bytes else within
            good = (view.ours >= low - slack) & (view.ours <= high + slack)
            good = good if where is None else good & where
            if (good & off).any():
                name, off = reason.name, off & ~good
    if grid and off.any():  # a statistic of what differs by levels
        return "grid, then colour", None
    if not off.any():
        return name, None
    at = tuple(np.argwhere(off.numpy())[0].tolist())
    return name, (at, view.ours[at].item(), theirs[at].item())
