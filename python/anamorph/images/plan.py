"""Plan: what happens to one batch, a tensor of one row per sample, and its forms for people and for files."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Protocol, overload

import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, ShapeError
from anamorph.core.tensors import as_device, as_tensor
from anamorph.images import rows as _rows
from anamorph.images.carry import Carries
from anamorph.images.frames import MAX_FRAMES
from anamorph.images.rows import (
    COLOR_WORDS,
    ERASE_NAMES,
    ERASE_WORDS,
    FIELD,
    FIELD_WORDS,
    FIRST_LATTICE,
    HEADER,
    MASK,
    MIX_NAMES,
    MOTIONS,
    OP_NAMES,
    WORDS,
)

MAX_VIEW = 4095
FORMAT = 2  # of the tensors of a file and of what the words mean; anamorph 0.1 wrote none


class Drawer(Protocol):
    """What a plan and its rendering ask of the recipe. (``Recipe`` makes plans, so this page cannot import it.)"""

    dtype: torch.dtype
    num_classes: int | None
    label_smoothing: float
    memory_format: str
    _native: Any
    _natives: list[Any]
    _code: int
    _pairs: bool
    _mixes: bool
    _boxed: bool
    _masks: bool
    _no_floats: str | None
    _grey_or_rgb: tuple[str, ...]
    _rgb: bool
    _together: list[str]
    _channels: int
    _torch_format: torch.memory_format

    @property
    def info(self) -> dict[str, Any]: ...
    @property
    def fingerprint(self) -> int: ...
    def _output(self, size: Any) -> tuple[int, int]: ...
    def _furthest(self, side: int) -> tuple[float, float]: ...


class Plan(Carries):
    """One row of numbers per sample. Made by :meth:`anamorph.Recipe.plan`; given to :func:`anamorph.render`.

    ``plan[3]`` is row 3 as a sentence; ``plan[2:5]`` is the plan of these samples alone, whose partners, where they mix, must be
    among them. Plans are equal where all of their attributes are, wherever they lie.

    Attributes:
        rows: int32 ``[B, words]`` on the plan's device: the same bits on every device.
        recipe: whose plan it is.
        index: int64 ``[B]``, the sample ids.
        seed, epoch, view: what, with an id, names a row.
        size: (height, width) of the sources, or int64 ``[B, 2]``.
        output_size: (height, width) of the views.
        frames: None; or T of a plan of clips, whose frame t of clip b is row b * T + t. There ``index`` and ``size`` are the
            rows', too, and a slice of whole clips is one of clips, any other one of single pictures: ``plan[t::T]`` is frame t of
            each.

    Raises:
        ArgumentError: a word of the rows that no plan of this recipe holds. (Rows on a device are copied to the host for that.)
        ShapeError: tensors that do not fit together.
    """

    __slots__ = ("epoch", "frames", "index", "output_size", "recipe", "rows", "seed", "size", "view")

    def __init__(self, recipe: Drawer, rows: Tensor, index: Tensor, seed: int, epoch: int | Tensor, view: int,
                 size: Any, output_size: tuple[int, int], frames: int | None = None) -> None:
        self.recipe = recipe
        self.rows = rows
        self.index = index
        self.seed = seed
        self.epoch = epoch
        self.view = view
        self.size = size
        self.output_size = output_size
        self.frames = frames
        _check(self)
        if rows.data_ptr() % 16:  # as a file's may; a GPU reads words where they lie whole, or several at once
            self.rows = rows.clone()

    @staticmethod
    def _drawn(*attributes: Any) -> Plan:
        """Of rows that are right: they were drawn a moment ago, or come from another plan."""
        p = Plan.__new__(Plan)
        p.recipe, p.rows, p.index, p.seed, p.epoch, p.view, p.size, p.output_size, p.frames = attributes
        return p

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def device(self) -> torch.device:
        """Where the rows are."""
        return self.rows.device

    def to(self, device: Any) -> Plan:
        """The plan on another device."""
        device = as_device(device)
        epoch = self.epoch.to(device) if isinstance(self.epoch, Tensor) else self.epoch
        return Plan._drawn(self.recipe, self.rows.to(device), self.index.to(device), self.seed, epoch, self.view, self.size,
                           self.output_size, self.frames)

    def table(self) -> Table:
        """The rows as named columns: a list of dicts that prints as a table. Copies the rows to the host.

        Raises:
            ArgumentError: a row that is damaged.
        """
        rows = _checked(self, slice(0, len(self)))
        return Table(self._describe(i, _Row(row)) for i, row in enumerate(rows))

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> Plan: ...
    def __getitem__(self, i: int | slice) -> str | Plan:
        """Row ``i`` as a sentence; or the plan of some of the rows."""
        if isinstance(i, slice):
            return self._part(i)
        try:
            i = operator.index(i)
        except TypeError:
            raise ArgumentError(f"plan: expected a row's number or a slice, given {i!r}") from None
        if not -len(self) <= i < len(self):
            raise IndexError(f"plan: expected a row from {-len(self)} to {len(self) - 1}, given {i}")
        i %= len(self)
        return _sentence(self._describe(i, _Row(_checked(self, slice(i, i + 1))[0])), self.output_size)

    def _part(self, which: slice) -> Plan:
        at = torch.tensor(range(len(self))[which], dtype=torch.int64)
        if not len(at):
            raise ShapeError(f"plan: expected a slice of at least one of {len(self)} rows, given {which.start}:{which.stop}")
        return self._some(at, f"{which.start}:{which.stop}", self.frames if self._whole_clips(at) else None)

    def _whole_clips(self, at: Tensor) -> bool:
        if self.frames is None or len(at) % self.frames:
            return False
        clips = at.view(-1, self.frames)
        return not bool((clips[:, 0] % self.frames).any()) and torch.equal(clips, clips[:, :1] + torch.arange(self.frames))

    def _rows_alone(self) -> Plan:
        """The rows of clips as those of single pictures."""
        return Plan._drawn(self.recipe, self.rows, self.index, self.seed, self.epoch, self.view, self.size, self.output_size,
                           None)

    def _each_view(self) -> Iterator[Plan]:
        """Of rows of several views, one after the other: each alone, in the same memory."""
        count = len(self.index)
        for k in range(len(self.rows) // count):
            yield Plan._drawn(self.recipe, self.rows[k * count:(k + 1) * count], self.index, self.seed, self.epoch, self.view + k,
                              self.size, self.output_size, self.frames)

    def _pairs(self) -> tuple[Plan, Plan]:
        if self.frames is None or self.frames < 2:
            raise ArgumentError("flow: expected clips of at least two frames, or a next_plan, given clips of one")
        at = torch.arange(len(self)).view(-1, self.frames)
        before, after = (self._some(rows.flatten(), "their frames", self.frames - 1) for rows in (at[:, :-1], at[:, 1:]))
        return before, after

    def _some(self, at: Tensor, given: str, frames: int | None) -> Plan:
        """Rows of their own: a partner is known by its row, which is another in the part."""
        kept = at.to(self.device)
        rows, own = self.rows[kept], torch.arange(len(kept), device=self.device)
        place = torch.full((len(self),), -1, device=self.device)
        place[kept] = own
        partner = rows[:, WORDS["PARTNER"]].long()
        known = (partner >= 0) & (partner < len(self))  # unless the rows are damaged
        partner = torch.where(known, place[partner.clamp(0, len(self) - 1)], -1)
        partner = torch.where(rows[:, WORDS["MIX"]] == 0, own, partner)
        if self.recipe._mixes and bool((partner < 0).any()):
            i = int((partner < 0).nonzero()[0])
            raise ArgumentError(f"plan: expected a slice with the partners of its rows, given {given}, whose "
                                f"row {int(kept[i])} mixes with row {int(rows[i, WORDS['PARTNER']])}")
        rows[:, WORDS["PARTNER"]] = partner.int()
        size = self.size[at.to(self.size.device)] if isinstance(self.size, Tensor) else self.size
        return Plan._drawn(self.recipe, rows, self.index[kept], self.seed, self.epoch, self.view, size, self.output_size, frames)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Plan):
            return NotImplemented
        mine, theirs = self.state_dict(), other.state_dict()
        return self.recipe == other.recipe and self.frames == other.frames and all(
            mine[name].shape == theirs[name].shape and torch.equal(mine[name].cpu(), theirs[name].cpu()) for name in mine)

    __hash__ = None  # type: ignore[assignment]  # its rows may be written to

    def __iter__(self) -> Iterator[str]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        epoch = "device" if isinstance(self.epoch, Tensor) else self.epoch
        what = f"{len(self)} samples" if self.frames is None else f"{len(self) // self.frames} clips of {self.frames} frames"
        return (f"Plan of {what} to {self.output_size[0]}x{self.output_size[1]} "
                f"(seed {self.seed}, epoch {epoch}, view {self.view}, on {self.device})")

    def _describe(self, i: int, row: _Row) -> dict[str, Any]:
        a, b, _, c, d, *_ = m = row.floats("MATRIX", 9)
        h, w = self.output_size
        scale_x, scale_y = math.hypot(a, c), math.hypot(b, d)
        det = a * d - b * c
        corners = [_project(m, x, y) for x, y in ((0, 0), (w, 0), (w, h), (0, h))]
        out: dict[str, Any] = {
            "sample": int(self.index[i]), **({} if self.frames is None else {"frame": i % self.frames}),
            "source": tuple(row.ints("SOURCE", 2)),
            "reads": _box(corners),
            "scale": (round(scale_x, 3), round(scale_y, 3)),
            "turned": round(math.degrees(math.atan2(c, a) if det >= 0 else math.atan2(-c, -a)), 1),
            "mirrored": det < 0,
            "steps": row.steps(),
            "chains": self._chains(row),
            "field": row.field(self.recipe.info),
            "erased": row.erases(self.recipe.info["max_colors"], self.output_size),
            "mix": None, "partner": None, "lam": 1.0, "box": None,
        }
        rule = row.word("MIX")
        if rule:
            low, high = row.ints("PARTNER_ID", 2)
            partner = (low & 0xFFFFFFFF) | (high << 32)
            lam = None if rule == MASK else round(row.floats("LAM", 1)[0], 4)  # a given mask's mean, known when it is given
            out.update(mix=MIX_NAMES[rule], partner=partner, lam=lam,
                       box=tuple(row.ints("BOX", 4)) if rule in (2, 3) else None)
        return out

    def _chains(self, row: _Row) -> list[tuple[float, list[tuple[str, float]]]] | None:
        """(share, steps) of each layer that is blended in."""
        words = self.recipe.info["layer_words"]
        layers = [_Row(layer) for layer in row.words.split(words)[1:] if layer.any()]
        return [(round(layer.floats("LAM", 1)[0], 4), layer.steps()) for layer in layers] or None

    # ---- files ----

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors only, for safetensors and the like; :meth:`from_state_dict` reads it."""
        epoch = int(self.epoch)
        seed = self.seed - (1 << 64) if self.seed >= 1 << 63 else self.seed
        size = self.size if isinstance(self.size, Tensor) else torch.tensor(self.size)
        key = [seed, epoch, self.view, *self.output_size, self.recipe.fingerprint, FORMAT]
        key += [] if self.frames is None else [self.frames]
        # Copies: a view of a longer tensor would be saved with all of that.
        return {"rows": self.rows, "index": self.index.clone(), "size": size.clone(), "key": torch.tensor(key)}

    @classmethod
    def from_state_dict(cls, recipe: Drawer, state: dict[str, Tensor]) -> Plan:
        """The plan of ``state_dict()``, for the same recipe. Every word of its rows is checked, on the host.

        Raises:
            ArgumentError: the file is of another recipe, not a plan, or damaged.
            ShapeError: its tensors do not fit together.
        """
        if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
            raise ArgumentError(f"state: expected a plan's dict of tensors, given {type(state).__name__}")
        missing = {"rows", "index", "size", "key"} - set(state)
        if missing:
            raise ArgumentError(f"state: expected a plan's tensors, given a dict without {', '.join(sorted(missing))}")
        state = {name: as_tensor(f"state[{name!r}]", t) for name, t in state.items()}
        key = [operator.index(k) if isinstance(k, int) else -1 for k in state["key"].flatten().tolist()]
        found = 1 if len(key) == 6 else key[6] if len(key) in (7, 8) else 0
        if found != FORMAT:
            raise ArgumentError(f"state: expected a plan of format {FORMAT}, given one of format {found}, of another version of "
                                "anamorph; draw it again from its ids, seed and epoch")
        if key[5] != recipe.fingerprint:
            raise ArgumentError("state: expected a plan of this recipe, given one of another")
        size = state["size"]
        pair = (int(size[0]), int(size[1])) if size.shape == (2,) and size.dtype == torch.int64 else None
        return cls(recipe, state["rows"].contiguous(), state["index"].clone(), key[0] % (1 << 64), key[1], key[2],
                   pair or size.clone(), (key[3], key[4]), key[7] if len(key) == 8 else None)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.recipe, self.state_dict())


class Plans(Mapping[str, "Plan | tuple[Plan, ...]"]):
    """What :class:`anamorph.Views` drew: by name a :class:`Plan`, or a tuple of them, which share the memory that
    :func:`anamorph.render` takes together.
    """

    __slots__ = ("_groups", "_plans")

    def __init__(self, counts: Mapping[str, int | None], groups: list[tuple[Plan, Mapping[str, int]]]) -> None:
        self._groups = groups  # of one output each: the plan of all its views' rows, and how many of these are whose
        drawn: dict[str, Plan | tuple[Plan, ...]] = {}
        for plan, theirs in groups:
            views = iter(plan._each_view())
            for name, count in theirs.items():
                several = tuple(islice(views, count))
                drawn[name] = several[0] if counts[name] is None else several
        self._plans = {name: drawn[name] for name in counts}

    def __getitem__(self, name: str) -> Plan | tuple[Plan, ...]:
        return self._plans[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._plans)

    def __len__(self) -> int:
        return len(self._plans)

    def __repr__(self) -> str:
        return f"Plans({self._plans!r})"

    def to(self, device: Any) -> Plans:
        """The plans on another device."""
        return Plans(self._counts(), [(plan.to(device), theirs) for plan, theirs in self._groups])

    def _counts(self) -> dict[str, int | None]:
        return {name: len(plan) if isinstance(plan, tuple) else None for name, plan in self._plans.items()}

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore_plans, (self._counts(), [(list(plan._each_view()), dict(theirs)) for plan, theirs in self._groups])


def _check(plan: Plan) -> None:
    """All that a plan of unknown origin says."""
    _check_shapes(plan)
    checks.whole("seed", plan.seed, 0, 2**64 - 1)
    checks.whole("epoch", plan.epoch.item() if isinstance(plan.epoch, Tensor) else plan.epoch, 0, 2**32 - 1)
    checks.whole("view", plan.view, 0, MAX_VIEW)
    if plan.frames is not None:
        frames = checks.whole("frames", plan.frames, 1, MAX_FRAMES)
        if len(plan) % frames:
            raise ShapeError(f"frames: expected clips that make {len(plan)} rows together, given {frames} frames each")
    output = plan.recipe._output(plan.size)
    if tuple(plan.output_size) != output:
        raise ArgumentError(f"output_size: expected {output[0]} x {output[1]}, given {plan.output_size[0]} x "
                            f"{plan.output_size[1]}")
    _checked(plan, slice(0, len(plan)))


def _check_shapes(plan: Plan) -> None:
    rows, index, size, words = plan.rows, plan.index, plan.size, plan.recipe.info["row_words"]
    if not isinstance(rows, Tensor) or not isinstance(index, Tensor):
        raise ArgumentError(f"rows, index: expected two tensors, given {type(rows).__name__} and {type(index).__name__}")
    for name, t in (("rows", rows), ("index", index), ("size", size)):
        if isinstance(t, Tensor):
            as_tensor(name, t)  # for its check
    n = len(index) if index.dim() else 0
    good = n > 0 and rows.dtype == torch.int32 and rows.shape == (n, words) and index.shape == (n,) and index.dtype == torch.int64
    if isinstance(size, Tensor):
        good = good and size.dtype == torch.int64 and size.shape == (n, 2)
    if not good:
        raise ShapeError(f"rows, index, size: expected int32 [B, {words}], int64 [B] and one (height, width) or int64 [B, 2], "
                         f"given {rows.dtype} {list(rows.shape)}, {index.dtype} {list(index.shape)} and "
                         f"{list(size.shape) if isinstance(size, Tensor) else size}")


def _checked(plan: Plan, at: slice) -> Tensor:
    """Some of the rows, on the host, found right."""
    _check_shapes(plan)
    rows = plan.rows[at].cpu()
    _rows.check_rows(rows, _rows.facts_of(plan.recipe, plan.size, plan.output_size, plan.index, at), at.start)
    return rows


def _restore(recipe: Drawer, state: dict[str, Tensor]) -> Plan:
    return Plan.from_state_dict(recipe, state)


def _restore_plans(counts: dict[str, int | None], groups: list[tuple[list[Plan], dict[str, int]]]) -> Plans:
    """From each view's plan: those of one output share their memory again."""
    together: list[tuple[Plan, Mapping[str, int]]] = []
    for plans, theirs in groups:
        first = plans[0]
        rows = torch.cat([plan.rows for plan in plans])
        together.append((Plan._drawn(first.recipe, rows, first.index, first.seed, first.epoch, first.view, first.size,
                                     first.output_size, first.frames), theirs))
    return Plans(counts, together)


class Table(list):
    """Rows as dicts; printed, aligned columns."""

    def __str__(self) -> str:
        if not self:
            return ""
        names = [n for n in self[0] if any(_cell(row[n]) != "-" for row in self)]
        cells = [names] + [[_cell(row[n]) for n in names] for row in self]
        widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells)


class _Row:
    """The words of a row by name."""

    def __init__(self, words: Tensor) -> None:
        self.words = words
        self.as_floats = words.view(torch.float32)

    def word(self, name: str) -> int:
        return int(self.words[WORDS[name]])

    def ints(self, name: str, n: int) -> list[int]:
        return self.words[WORDS[name]:WORDS[name] + n].tolist()

    def floats(self, name: str, n: int) -> list[float]:
        return self.as_floats[WORDS[name]:WORDS[name] + n].tolist()

    def steps(self) -> list[tuple[str, float]]:
        start, step = HEADER, COLOR_WORDS
        return [(OP_NAMES[int(self.words[at])], round(float(self.as_floats[at + 1]), 3))
                for at in range(start, start + step * self.word("COLORS"), step)]

    def field(self, info: dict[str, Any]) -> list[tuple[str, float]] | None:
        """The deviations of what the row's field moves, in pixels, degrees and the scale's logarithm; None without one."""
        at = info["layer_words"] - FIELD_WORDS
        if not info["max_fields"] or not int(self.words[at + FIELD["FLAGS"]]):
            return None
        at += FIELD["SIGMA"]
        sigmas = self.as_floats[at:at + len(MOTIONS)].tolist()
        degrees = {"rotation", "shear"}
        return [(name, round(math.degrees(s) if name in degrees else s, 3)) for name, s in zip(MOTIONS, sigmas, strict=True) if s]

    def erases(self, max_colors: int, output_size: tuple[int, int]) -> list[tuple[tuple[int, ...], str]]:
        """(x0 y0 x1 y1, kind) of each; of a lattice the whole view."""
        start, step = HEADER + COLOR_WORDS * max_colors, ERASE_WORDS
        words = [self.words[at:at + step].tolist() for at in range(start, start + step * self.word("ERASES"), step)]
        whole = 0, 0, output_size[1], output_size[0]
        return [(whole if kind >= FIRST_LATTICE else tuple(box), ERASE_NAMES[kind])
                for *box, kind in ([*e[:4], e[4] & 15] for e in words)]


def _project(m: list[float], x: float, y: float) -> tuple[float, float]:
    z = max(m[6] * x + m[7] * y + m[8], 1e-8)  # behind the viewer: far away, as it is rendered
    return (m[0] * x + m[1] * y + m[2]) / z, (m[3] * x + m[4] * y + m[5]) / z


def _box(corners: list[tuple[float, float]]) -> tuple[float, ...]:
    xs, ys = zip(*corners, strict=True)
    return tuple(round(v, 1) for v in (min(xs), min(ys), max(xs), max(ys)))


def _cell(value: Any) -> str:
    if value is None or value is False or value == []:
        return "-"
    if isinstance(value, tuple):
        return " ".join(f"{v:g}" for v in value)
    if isinstance(value, list):
        return ", ".join(map(_item, value))
    return "yes" if value is True else str(value)


def _item(item: tuple[Any, Any]) -> str:
    first, second = item
    if isinstance(first, float):  # a chain: its share and its steps
        return f"{first:g} of {' + '.join(_step(*step) for step in second) or 'itself'}"
    return _step(first, second) if isinstance(second, float) else " ".join(map(str, first))


# Steps whose number says nothing.
_PLAIN = frozenset(("grayscale", "invert", "identity", "autocontrast", "equalize"))


def _step(name: str, value: float) -> str:
    return name if name in _PLAIN else f"{name} {value:g}"


def _sentence(row: dict[str, Any], output_size: tuple[int, int]) -> str:
    x0, y0, x1, y1 = row["reads"]
    frame = f", frame {row['frame']}" if "frame" in row else ""
    parts = [f"sample {row['sample']}{frame}: x {x0:g} to {x1:g}, y {y0:g} to {y1:g} of {row['source'][1]}x{row['source'][0]} "
             f"pixels become {output_size[1]}x{output_size[0]}"]
    if row["turned"]:
        parts.append(f"turned by {row['turned']:g} degrees")
    if row["mirrored"]:
        parts.append("mirrored")
    parts += [_step(name, value) for name, value in row["steps"]]
    if row["field"]:
        parts.append("moved by a random field of " + ", ".join(_step(*one) for one in row["field"]))
    parts += [f"blended with {share:.0%} of ({', '.join(_step(*step) for step in steps) or 'itself'})"
              for share, steps in row["chains"] or ()]
    parts += [f"erased ({kind}) from {box[:2]} to {box[2:]}" for box, kind in row["erased"]]
    if row["mix"]:
        where = f" in the box {row['box'][:2]} to {row['box'][2:]}" if row["box"] else ""
        parts.append(f"{row['mix']} with sample {row['partner']}{where}, " + (
            "shares by the mask" if row["lam"] is None else f"own share {row['lam']:g}"))
    return ", ".join(parts) + "."


torch.serialization.add_safe_globals([_restore, _restore_plans, (_restore, "anamorph.plan._restore")])  # the last: of 0.1
