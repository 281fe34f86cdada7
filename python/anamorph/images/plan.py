"""Plan: what happens to one batch, a tensor of one row per sample, and its forms for people and for files."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from anamorph import _native
from anamorph.core.errors import ArgumentError, ShapeError
from anamorph.core.tensors import as_device

_W = _native.WORDS
_OP_NAMES = {code: name.lower().replace("_", " ") for name, code in _native.OPS.items()}
_MIX_NAMES = ("", "mixup", "cutmix", "resizemix", "mask")
_ERASE_NAMES = ("constant", "channel noise", "pixel noise", "uniform channel noise", "uniform pixel noise")


class Drawer(Protocol):
    """What a plan asks of its recipe. (``Recipe`` makes plans, so this page cannot import it.)"""

    @property
    def info(self) -> dict[str, Any]: ...
    @property
    def fingerprint(self) -> int: ...
    def output_size(self, size: tuple[int, int]) -> tuple[int, int]: ...


class Plan:
    """One row of numbers per sample. Made by :meth:`anamorph.Recipe.plan`; given to :func:`anamorph.render`.

    Attributes:
        rows: int32 ``[B, words]`` on the plan's device: the same bits on every device.
        recipe: whose plan it is.
        index: int64 ``[B]``, the sample ids.
        seed, epoch, view: what, with an id, names a row.
        size: (height, width) of the sources, or int64 ``[B, 2]``.
        output_size: (height, width) of the views.
    """

    __slots__ = ("epoch", "index", "output_size", "recipe", "rows", "seed", "size", "view")

    def __init__(self, recipe: Drawer, rows: Tensor, index: Tensor, seed: int, epoch: int | Tensor, view: int,
                 size: Any, output_size: tuple[int, int]) -> None:
        self.recipe = recipe
        self.rows = rows
        self.index = index
        self.seed = seed
        self.epoch = epoch
        self.view = view
        self.size = size
        self.output_size = output_size

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
        return Plan(self.recipe, self.rows.to(device), self.index.to(device), self.seed, epoch, self.view, self.size,
                    self.output_size)

    def table(self) -> Table:
        """The rows as named columns: a list of dicts that prints as a table. Copies the rows to the host."""
        return Table(self._describe(i, row) for i, row in enumerate(_Row(r) for r in self.rows.cpu()))

    def __getitem__(self, i: int) -> str:
        """Row ``i`` as a sentence."""
        try:
            i = operator.index(i)
        except TypeError:
            raise ArgumentError(f"plan: expected a row's number, given {i!r}") from None
        if not -len(self) <= i < len(self):
            raise IndexError(f"plan: expected a row from {-len(self)} to {len(self) - 1}, given {i}")
        return _sentence(self._describe(i % len(self), _Row(self.rows[i].cpu())), self.output_size)

    def __iter__(self) -> Iterator[str]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        epoch = "device" if isinstance(self.epoch, Tensor) else self.epoch
        return (f"Plan of {len(self)} samples to {self.output_size[0]}x{self.output_size[1]} "
                f"(seed {self.seed}, epoch {epoch}, view {self.view}, on {self.device})")

    def _describe(self, i: int, row: _Row) -> dict[str, Any]:
        a, b, _, c, d, _, *_ = m = row.floats("MATRIX", 9)
        h, w = self.output_size
        scale_x, scale_y = math.hypot(a, c), math.hypot(b, d)
        det = a * d - b * c
        corners = [_project(m, x, y) for x, y in ((0, 0), (w, 0), (w, h), (0, h))]
        out: dict[str, Any] = {
            "sample": int(self.index[i]),
            "source": tuple(row.ints("SOURCE", 2)),
            "reads": _box(corners),
            "scale": (round(scale_x, 3), round(scale_y, 3)),
            "turned": round(math.degrees(math.atan2(c, a) if det >= 0 else math.atan2(-c, -a)), 1),
            "mirrored": det < 0,
            "color": [(_OP_NAMES[op], round(value, 3)) for op, value in row.colors()],
            "erased": [(tuple(e[:4]), _ERASE_NAMES[e[4] & 15]) for e in row.erases(self.recipe.info["max_colors"])],
            "mix": None, "partner": None, "lam": 1.0, "box": None,
        }
        rule = row.word("MIX")
        if rule:
            low, high = row.ints("PARTNER_ID", 2)
            partner = (low & 0xFFFFFFFF) | (high << 32)
            lam = None if rule == 4 else round(row.floats("LAM", 1)[0], 4)  # a given mask's mean, known when it is given
            out.update(mix=_MIX_NAMES[rule], partner=partner, lam=lam,
                       box=tuple(row.ints("BOX", 4)) if rule in (2, 3) else None)
        return out

    # ---- files ----

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors only, for safetensors and the like; :meth:`from_state_dict` reads it."""
        epoch = int(self.epoch)
        seed = self.seed - (1 << 64) if self.seed >= 1 << 63 else self.seed
        size = self.size if isinstance(self.size, Tensor) else torch.tensor(self.size)
        key = [seed, epoch, self.view, *self.output_size, self.recipe.fingerprint]
        # Copies: a view of a longer tensor would be saved with all of that.
        return {"rows": self.rows, "index": self.index.clone(), "size": size.clone(), "key": torch.tensor(key)}

    @classmethod
    def from_state_dict(cls, recipe: Drawer, state: dict[str, Tensor]) -> Plan:
        """The plan of ``state_dict()``, for the same recipe.

        Raises:
            ArgumentError: the file is of another recipe, or not a plan.
            ShapeError: its tensors do not fit together.
        """
        if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
            raise ArgumentError(f"state: expected a plan's dict of tensors, given {type(state).__name__}")
        missing = {"rows", "index", "size", "key"} - set(state)
        if missing:
            raise ArgumentError(f"state: expected a plan's tensors, given a dict without {', '.join(sorted(missing))}")
        rows, index, size = state["rows"], state["index"], state["size"]
        key = state["key"].flatten().tolist()
        if len(key) != 6 or key[5] != recipe.fingerprint:
            raise ArgumentError("state: expected a plan of this recipe, given one of another")
        n = len(index)
        good = (rows.dtype == torch.int32 and tuple(rows.shape) == (n, recipe.info["row_words"])
                and index.dtype == size.dtype == torch.int64 and size.shape in ((2,), (n, 2)))
        if not good:
            raise ShapeError(f"state: expected rows int32 [B, {recipe.info['row_words']}], index int64 [B] and size int64 [2] "
                             f"or [B, 2], given {list(rows.shape)}, {list(index.shape)} and {list(size.shape)}")
        info = recipe.info
        counts = {"COLORS": info["max_colors"], "ERASES": info["max_erases"], "MIX": len(_MIX_NAMES) - 1}
        if not all(bool(((rows[:, _W[name]] >= 0) & (rows[:, _W[name]] <= most)).all()) for name, most in counts.items()):
            raise ArgumentError("state: expected rows of this recipe, given others of the same length")
        colors = _steps(rows, _W["HEADER"], _native.COLOR_WORDS, info["max_colors"], "COLORS", 0)
        erases = _steps(rows, _W["HEADER"] + _native.COLOR_WORDS * info["max_colors"], _native.ERASE_WORDS, info["max_erases"],
                        "ERASES", 4) & 15
        known = torch.isin(colors, torch.tensor(sorted(_native.COLOR_OPS)))
        if not bool(known.all()) or bool((erases >= len(_ERASE_NAMES)).any()):
            raise ArgumentError("state: expected colour steps and erasures of this version, given others")
        pair = (int(size[0]), int(size[1])) if size.dim() == 1 else None
        output = recipe.output_size(pair or (1, 1))
        if output != (key[3], key[4]):
            raise ArgumentError(f"state: expected an output of {output[0]} x {output[1]}, given {key[3]} x {key[4]}")
        return cls(recipe, rows.contiguous(), index, key[0] % (1 << 64), key[1], key[2], pair or size, output)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.recipe, self.state_dict())


def _steps(rows: Tensor, start: int, step: int, most: int, count: str, word: int) -> Tensor:
    """One word of each colour step or erasure that the rows have."""
    words = rows[:, start + word:start + step * most:step]
    return words[torch.arange(most) < rows[:, _W[count], None]]


def _restore(recipe: Drawer, state: dict[str, Tensor]) -> Plan:
    return Plan.from_state_dict(recipe, state)


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
        return int(self.words[_W[name]])

    def ints(self, name: str, n: int) -> list[int]:
        return self.words[_W[name]:_W[name] + n].tolist()

    def floats(self, name: str, n: int) -> list[float]:
        return self.as_floats[_W[name]:_W[name] + n].tolist()

    def colors(self) -> list[tuple[int, float]]:
        start, step = _W["HEADER"], _native.COLOR_WORDS
        return [(int(self.words[at]), float(self.as_floats[at + 1]))
                for at in range(start, start + step * self.word("COLORS"), step)]

    def erases(self, max_colors: int) -> list[list[int]]:
        start, step = _W["HEADER"] + _native.COLOR_WORDS * max_colors, _native.ERASE_WORDS
        return [self.words[at:at + step].tolist() for at in range(start, start + step * self.word("ERASES"), step)]


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
        return ", ".join(f"{name} {v:g}" if isinstance(v, float) else " ".join(map(str, name)) for name, v in value)
    return "yes" if value is True else str(value)


def _sentence(row: dict[str, Any], output_size: tuple[int, int]) -> str:
    x0, y0, x1, y1 = row["reads"]
    parts = [f"sample {row['sample']}: x {x0:g} to {x1:g}, y {y0:g} to {y1:g} of {row['source'][1]}x{row['source'][0]} pixels "
             f"become {output_size[1]}x{output_size[0]}"]
    if row["turned"]:
        parts.append(f"turned by {row['turned']:g} degrees")
    if row["mirrored"]:
        parts.append("mirrored")
    parts += [name if name in ("grayscale", "invert") else f"{name} {value:g}" for name, value in row["color"]]
    parts += [f"erased ({kind}) from {box[:2]} to {box[2:]}" for box, kind in row["erased"]]
    if row["mix"]:
        where = f" in the box {row['box'][:2]} to {row['box'][2:]}" if row["box"] else ""
        parts.append(f"{row['mix']} with sample {row['partner']}{where}, " + (
            "shares by the mask" if row["lam"] is None else f"own share {row['lam']:g}"))
    return ", ".join(parts) + "."


torch.serialization.add_safe_globals([_restore])
