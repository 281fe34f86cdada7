"""The words of a plan's rows and what each may hold; csrc/images/program.h says what they mean.

What ``Recipe.plan`` draws is right as it is. Rows that come from elsewhere, from a file above all, are held against these tables
on the host: a kernel believes a row's numbers, and a damaged one could keep it busy for hours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from anamorph import _native
from anamorph.core.errors import ArgumentError
from anamorph.images.transforms.program import NORMALISED

WORDS: dict[str, int] = _native.WORDS
HEADER: int = WORDS["HEADER"]
COLOR_WORDS: int = _native.COLOR_WORDS
ERASE_WORDS: int = _native.ERASE_WORDS
FIELD_WORDS: int = _native.FIELD_WORDS
FIELD: dict[str, int] = _native.FIELD
MOTIONS = ("translation x", "translation y", "rotation", "scale", "shear")  # of a field, as its sigmas stand
OP_NAMES = {code: name.lower().replace("_", " ") for name, code in _native.OPS.items()}
MIX_NAMES = ("", "mixup", "cutmix", "resizemix", "mask")
ERASE_NAMES = ("constant", "channel noise", "pixel noise", "uniform channel noise", "uniform pixel noise",
               "grid mask, strips", "grid mask", "hide and seek")
FIRST_LATTICE = 5  # of these; a lattice has no box
MASK = MIX_NAMES.index("mask")

LIMIT: float = _native.MAX_WORD  # of a float; plan.h clamps what it draws
FLAGS = 0b1111111111  # RowFlag: three bits of interpolation, perspective, antialias, frame, two bits each of border and fold
FAR = 8.0 * _native.MAX_SIDE  # where pixels that were added to the source may lie


class Facts(NamedTuple):
    """What the rows of one plan are held against."""

    max_colors: int
    max_erases: int
    max_fields: int
    max_layers: int
    most_mix: int  # the last mix rule that the recipe may write
    stretch: float  # source pixels that a pixel of its views may span
    widest: float  # its widest antialias filter, source pixels
    sources: Tensor  # int64 [rows, 2]: height, width
    output: tuple[int, int]
    ids: Tensor  # int64 [B]: of the whole batch


Values = float | Tensor
Limit = float | Callable[[Facts, Tensor], Values]  # of the facts and the rows


class Rule(NamedTuple):
    """The ``length`` words from ``word`` on lie in [low, high]."""

    word: str
    length: int
    low: Limit
    high: Limit
    floats: bool = False
    good: Callable[[Tensor], Tensor] | None = None  # what else must hold of the values, and its words
    expected: str = ""
    of: Callable[[Tensor], Tensor] | None = None  # the steps that it is for


def _two(first: Values, second: Values) -> Tensor:
    """x0 y0 x1 y1's own limit: ``first`` for x, ``second`` for y."""
    return torch.stack([torch.as_tensor(v) for v in (first, second, first, second)], -1)


def _matrix(sign: int) -> Limit:
    """Nine limits: what turns and stretches, what shifts, and what sees aslant, which is 0, 0, 1 where nothing does."""

    def limit(f: Facts, _: Tensor) -> Tensor:
        straight, s = f.stretch < LIMIT, sign * f.stretch
        last = [0.0, 0.0, 1.0] if straight else [sign * LIMIT] * 3
        return torch.tensor([s, s, sign * LIMIT, s, s, sign * LIMIT, *last], dtype=torch.float64)

    return limit


def _ordered(box: Tensor) -> Tensor:
    return (box[:, :2] <= box[:, 2:4]).repeat(1, 2)


def _in_output(f: Facts, _: Tensor) -> Tensor:
    return _two(f.output[1], f.output[0])


def _partner_id(f: Facts, rows: Tensor) -> Tensor:
    return f.ids[rows[:, WORDS["PARTNER"]].long()].contiguous().view(torch.int32).reshape(-1, 2)


# One line for each name in program.h's Word.
RULES = (
    Rule("MATRIX", 9, _matrix(-1), _matrix(1), True),
    Rule("RECT", 4, 0, lambda f, _: _two(f.sources[:, 1], f.sources[:, 0]), True, _ordered, "x0 <= x1 and y0 <= y1"),
    Rule("REACH", 4, -FAR, FAR, True),
    Rule("FRAME", 4, -LIMIT, LIMIT, True),
    Rule("SLOPE", 4, 0, LIMIT, True),
    Rule("FOLD", 4, -LIMIT, LIMIT, True),
    Rule("FILTER", 2, 1, lambda f, _: f.widest, True),
    Rule("FLAGS", 1, 0, FLAGS, good=lambda v: (v & 7) < 5, expected="an interpolation of 0 to 4"),
    Rule("SOURCE", 2, lambda f, _: f.sources, lambda f, _: f.sources),
    Rule("FILL", 4, -LIMIT, LIMIT, True),
    Rule("FILL_STEP", 1, 0, lambda f, _: f.max_colors),
    Rule("MIX", 1, 0, lambda f, _: f.most_mix),
    Rule("PARTNER", 1, 0, lambda f, _: len(f.ids) - 1),
    Rule("PARTNER_ID", 2, _partner_id, _partner_id),
    Rule("LAM", 1, 0, 1, True),
    Rule("BOX", 4, 0, _in_output, good=_ordered, expected="x0 <= x1 and y0 <= y1"),
    Rule("COLORS", 1, 0, lambda f, _: f.max_colors),
    Rule("ERASES", 1, 0, lambda f, _: f.max_erases),
    Rule("VIEW", 2, 0, LIMIT, True),
)

# A step: its op, its number, two words that some ops use. An op's number is any finite one where the table does not say more.
POLICY_MAPS = frozenset(_native.OPS[name] for name in ("SHEAR_X", "SHEAR_Y", "TRANSLATE_X", "TRANSLATE_Y", "ROTATE_BY"))
_OPS_KNOWN = torch.tensor(sorted(_native.COLOR_OPS | POLICY_MAPS), dtype=torch.int32)
_NUMBERS = {**dict.fromkeys(("BRIGHTNESS", "CONTRAST", "CONTRAST_MIDGRAY", "SATURATION"), (0.0, 1e4)), "HUE": (-0.5, 0.5),
            "POSTERIZE": (0.0, 8.0), "SHARPNESS": (0.0, 1e4), "GAUSSIAN_BLUR": (1e-3, 1e3), "GAUSSIAN_NOISE": (0.0, 1e4),
            "BLEND": (0.0, 1.0), "FIELD_BRIGHTNESS": (0.0, 1e4), "FIELD_CONTRAST": (0.0, 1e4), "FIELD_SATURATION": (0.0, 1e4),
            "FIELD_HUE": (0.0, 0.5), "CHANNEL_PERMUTATION": (0.0, 1.0), "GAMMA": (1e-3, 1e3),
            **dict.fromkeys(("SHIFT_RED", "SHIFT_GREEN", "SHIFT_BLUE"), (-1e4, 1e4))}


def _number(which: int, otherwise: float) -> Limit:
    limits = {_native.OPS[name]: both[which] for name, both in _NUMBERS.items()}
    return lambda f, steps: torch.tensor([[limits.get(op, otherwise)] for op in steps[:, 0].tolist()], dtype=torch.float64)


def _is(steps: Tensor, *names: str) -> Tensor:
    return torch.isin(steps[:, :1], torch.tensor([_native.OPS[n] for n in names], dtype=torch.int32))


def _extra(f: Facts, steps: Tensor) -> Tensor:
    """The most that a step's third word may be."""
    most = torch.where(_is(steps, "SOLARIZE", "SOLARIZE_ADD"), 1, 0)
    most = torch.where(_is(steps, "GAUSSIAN_BLUR"), 2 << 16 | _native.MAX_BLUR << 8 | _native.MAX_BLUR, most)
    most = torch.where(_is(steps, *FIELD_STEPS), len(FIELD_STEPS) + 5, most)
    most = torch.where(_is(steps, "GAUSSIAN_NOISE"), 2**31 - 1, most)
    return torch.where(_is(steps, "BLEND"), max(f.max_layers, 1), most)


def _more(f: Facts, steps: Tensor) -> Tensor:
    """The most that a step's last word may be."""
    most = torch.where(_is(steps, "GAUSSIAN_NOISE"), 2**31 - 1, 0)
    return torch.where(_is(steps, "BLEND"), f.max_layers + 1 - steps[:, 2:3], most)


FIELD_STEPS = ("FIELD_BRIGHTNESS", "FIELD_CONTRAST", "FIELD_SATURATION", "FIELD_HUE")
COLOR_RULES = (
    (0, Rule("op", 1, 0, 2**31 - 1, good=lambda v: torch.isin(v, _OPS_KNOWN), expected="a step of this version")),
    (1, Rule("number", 1, _number(0, -LIMIT), _number(1, LIMIT), True)),
    (2, Rule("third word", 1, lambda f, s: torch.where(_is(s, "GAUSSIAN_NOISE"), -2**31, 0), _extra)),
    (3, Rule("last word", 1, lambda f, s: torch.where(_is(s, "GAUSSIAN_NOISE"), -2**31, 0), _more)),
)


def of_lattice(erasures: Tensor) -> Tensor:
    """Which erasures [rows, words] are of a lattice, not of a box."""
    return (erasures[:, 4] & 15) >= FIRST_LATTICE


def _of_box(erasures: Tensor) -> Tensor:
    return ~of_lattice(erasures)


# An erasure: its mode and whether its values are Normalize's, its box or its lattice's map, the key of what is random in it, its
# values, its lattice's share.
ERASE_RULES = (
    (4, Rule("mode", 1, 0, NORMALISED | 15, good=lambda v: (v & ~NORMALISED) < len(ERASE_NAMES),
             expected="an erasure of this version")),
    (0, Rule("box", 4, 0, _in_output, good=_ordered, expected="x0 <= x1 and y0 <= y1", of=_of_box)),
    (0, Rule("turn", 2, -1, 1, True, of=of_lattice)),
    (2, Rule("shift", 2, -2.0 * _native.MAX_SIDE, 2.0 * _native.MAX_SIDE, True, of=of_lattice)),
    (6, Rule("value", 4, -LIMIT, LIMIT, True)),
    (10, Rule("share", 1, 0, 1, True, of=of_lattice)),
    (10, Rule("spare", 1, 0, 0, of=_of_box)),
    (11, Rule("spare", ERASE_WORDS - 11, 0, 0)),
)
# A field: whether it is there and moves pixels, its grid, its view, its deviations, and the map that comes after it.
FIELD_RULES = (
    (FIELD["FLAGS"], Rule("flags", 1, 1, 3, good=lambda v: (v & 1) == 1, expected="1 or 3")),
    (FIELD["KNOTS"], Rule("knots", 2, 0, 100, True)),
    (FIELD["OFFSET"], Rule("offset", 2, 0, math.nextafter(1, 0), True)),
    (FIELD["SIZE"], Rule("size", 2, 0, LIMIT, True)),
    (FIELD["SIGMA"], Rule("sigma", len(MOTIONS), 0, LIMIT, True)),
    (FIELD["AFTER"], Rule("after", 9, -LIMIT, LIMIT, True)),
    (FIELD["AFTER"] + 9, Rule("spare", FIELD_WORDS - FIELD["AFTER"] - 9, 0, 0)),
)


def check_rows(rows: Tensor, facts: Facts, first: int = 0) -> None:
    """Rows on the host, the first of them number ``first`` of its plan.

    Raises:
        ArgumentError: the row, the word, what is expected of it and what it holds.
    """
    numbers = torch.arange(first, first + len(rows))
    for k, layer in enumerate(rows.chunk(1 + facts.max_layers, 1)):
        if k > 0:  # of a row without chains there is none
            used = layer.any(1)
            layer, kept = layer[used], numbers[used]
            at = torch.arange(len(rows))[used]
            facts_k = facts._replace(sources=facts.sources[at], most_mix=MIX_NAMES.index("mixup"), max_erases=0, max_layers=0)
            _check_layer(layer, facts, facts_k, kept, f"LAYER {k} ")
        else:
            _check_layer(layer, facts, facts, numbers, "")


def _check_layer(rows: Tensor, most: Facts, facts: Facts, numbers: Tensor, name: str) -> None:
    spare = [*range(HEADER)]
    for rule in RULES:
        at = WORDS[rule.word]
        _check(rows[:, at:at + rule.length], name + rule.word, rule, facts, rows, numbers)
        spare = [w for w in spare if not at <= w < at + rule.length]
    _check(rows[:, spare], name + "spare", Rule("spare", len(spare), 0, 0), facts, rows, numbers)
    colors_end = HEADER + COLOR_WORDS * most.max_colors
    erases_end = colors_end + ERASE_WORDS * most.max_erases
    for kind, at, end, length, rules in (("COLOR", HEADER, colors_end, COLOR_WORDS, COLOR_RULES),
                                         ("ERASE", colors_end, erases_end, ERASE_WORDS, ERASE_RULES)):
        _check_steps(rows[:, at:end], rows[:, WORDS[kind + "S"]], name + kind, length, rules, facts, numbers)
    fields = rows[:, erases_end:]
    _check_steps(fields, fields[:, FIELD["FLAGS"]] != 0 if most.max_fields else numbers, name + "FIELD", FIELD_WORDS, FIELD_RULES,
                 facts, numbers)


def _check_steps(words: Tensor, counts: Tensor, name: str, length: int, rules: Iterable[tuple[int, Rule]], facts: Facts,
                 numbers: Tensor) -> None:
    for j in range(words.shape[1] // length):
        step, used = words[:, j * length:(j + 1) * length], counts > j
        for at, rule in rules:
            meant = used if rule.of is None else used & rule.of(step)
            _check(step[meant, at:at + rule.length], f"{name} {j} {rule.word}", rule, facts, step[meant], numbers[meant])
        _check(step[~used], f"{name} {j} (not used)", Rule("", length, 0, 0), facts, step[~used], numbers[~used])


def _check(words: Tensor, name: str, rule: Rule, facts: Facts, rows: Tensor, numbers: Tensor) -> None:
    if not words.numel():
        return
    values = words.contiguous().view(torch.float32).double() if rule.floats else words.long()
    low, high = (_expand(limit(facts, rows) if callable(limit) else limit, values) for limit in (rule.low, rule.high))
    inside = (low <= values) & (values <= high)  # no NaN is
    good = inside if rule.good is None else inside & rule.good(values if rule.floats else words)
    if bool(good.all()):
        return
    i, k = (~good).nonzero()[0].tolist()
    a, b = low[i, k].item(), high[i, k].item()
    expected = rule.expected if bool(inside[i, k]) else f"{a:g}" if a == b else f"{a:g} to {b:g}"
    of = f"{name}[{k}]" if rule.length > 1 else name
    raise ArgumentError(f"rows[{int(numbers[i])}]: expected {of} of {expected}, given {values[i, k].item():g}; "
                        "the plan is damaged, or not one of this recipe")


def _expand(limit: Values, values: Tensor) -> Tensor:
    return torch.as_tensor(limit, dtype=values.dtype).expand(values.shape)


def facts_of(recipe: Any, size: Any, output: tuple[int, int], index: Tensor, at: slice = slice(None)) -> Facts:
    """What a recipe's rows ``at`` are held against, for sources of ``size``."""
    info = recipe.info
    sources = size.cpu()[at] if isinstance(size, Tensor) else torch.tensor([size]).expand(len(index[at]), 2)
    rule = 0 if not recipe._mixes else MASK if recipe._masks else MASK - 1
    stretch, widest = recipe._furthest(int(sources.max()))
    colors, erases, fields, layers = (info[f"max_{what}"] for what in ("colors", "erases", "fields", "layers"))
    return Facts(colors, erases, fields, layers, rule, stretch, widest, sources, output, index.cpu())
