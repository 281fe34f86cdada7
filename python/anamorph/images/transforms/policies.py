"""Automatic policies: which ops, how strong and in which order is drawn for each sample, in the same one launch as its plan.

The row keeps what was drawn: ``plan.table()[i]["steps"]`` names each op with its argument, in order. ``docs/policies.md`` has the
conventions side by side, and what the published code does differently.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anamorph.core import checks
from anamorph.core.errors import ArgumentError
from anamorph.images.transforms import levels, program
from anamorph.images.transforms.base import Transform, lengths
from anamorph.images.transforms.levels import Level, Range, fixed
from anamorph.images.transforms.program import REPLACE, WARPS, Slot, slot

_ENHANCE = ("Brightness", "Color", "Contrast", "Sharpness")
_MAPS = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
#: The fourteen of RandAugment's paper, which torchvision's RandAugment and TrivialAugmentWide have.
FOURTEEN = ("Identity", *_MAPS, *_ENHANCE, "Posterize", "Solarize", "AutoContrast", "Equalize")
_PAPER = ("AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", *_ENHANCE, *_MAPS[:4], "Cutout", "SolarizeAdd")
_AUGMIX = ("AutoContrast", "Equalize", "Posterize", "Rotate", "Solarize", *_MAPS[:4])
_GREY = 128.0


class _Policy(Transform):
    """What all have."""

    interpolation: str
    fill: Any

    def _check(self, interpolations: Sequence[str] = WARPS) -> None:
        name = type(self).__name__
        self._set(interpolation=checks.choice(f"{name}.interpolation", self.interpolation, interpolations),
                  fill=checks.colors(f"{name}.fill", 0 if self.fill is None else self.fill))  # torchvision's None is black

    def channels(self) -> set[int]:
        return lengths(self.fill)

    def _slots(self, r: Range, level: Level) -> list[Slot]:
        return levels.slots(r, level, self.interpolation, self.fill)


def _cutout(side: float, value: float = _GREY / 255) -> list[Slot]:
    return [slot("CUTOUT", [side, *checks.four((value,))])] if side else []


@dataclass(frozen=True)
class RandAugment(_Policy):
    """``num_ops`` ops, each drawn from all with replacement, of one strength (Cubuk et al., "RandAugment", NeurIPS 2020).

    Args:
        num_ops: how many for a sample.
        magnitude: the strength: of torchvision's bins one, from 0, or between two; else in tenths of each op's range (and beyond,
            for "paper"). A schedule may move it, but for "paper", whose square has whole pixels.
        num_magnitude_bins: of torchvision's convention.
        interpolation: of the geometric ops: "nearest", "bilinear" or "bicubic"; of timm's also "random", one of the last two.
        fill: what is seen outside the picture, a number or one for each channel, in the input's units.
        convention: "torchvision": the paper's fourteen ops, at magnitude 9 of 31 bins 30 % of each range. "timm": that of
            ``rand-m{magnitude}-n{num_ops}``, see :class:`auto_augment`, which has all its options. "paper": the sixteen ops of
            the authors' code (no identity; invert, solarize-add and cutout), which all run; its contrast is the ordinary one.
            "fixmatch": FixMatch's strong view (Sohn et al., NeurIPS 2020), each op with probability 1/2 and a level of 1 to 9
            drawn for itself, then a grey square of 16 pixels; ``magnitude`` is not used.

    Squares are erased after all colour, as every erasure.
    """

    num_ops: int = 2
    magnitude: float = 9
    num_magnitude_bins: int = 31
    interpolation: str = "nearest"
    fill: float | Sequence[float] = 0
    convention: str = "torchvision"

    def __post_init__(self) -> None:
        conventions = ("torchvision", "timm", "paper", "fixmatch")
        self._set(convention=checks.choice("RandAugment.convention", self.convention, conventions),
                  num_ops=checks.whole("RandAugment.num_ops", self.num_ops, 0, program.MAX_BRANCHES),
                  num_magnitude_bins=checks.whole("RandAugment.num_magnitude_bins", self.num_magnitude_bins, 2, 1 << 20))
        most = {"torchvision": self.num_magnitude_bins - 1, "timm": 10, "paper": 30, "fixmatch": 30}[self.convention]
        self._set(magnitude=checks.number("RandAugment.magnitude", self.magnitude, 0, most))
        self._check((*WARPS, "random") if self.convention == "timm" else WARPS)

    def slots(self) -> list[Slot]:
        return _some(self.num_ops, self._ops()) + (_cutout(16) if self.convention == "fixmatch" else [])

    def _ops(self) -> list[list[Slot]]:
        share = self.magnitude / 10
        if self.convention == "torchvision":
            level = fixed(self.magnitude / (self.num_magnitude_bins - 1))
            return [self._slots(levels.TORCHVISION[name], level) for name in FOURTEEN]
        if self.convention == "timm":
            ranges = levels.timm()
            return [program.apply(0.5, self._slots(ranges[name], fixed(share))) for name in _TIMM_PLAIN]
        if self.convention == "fixmatch":
            each = [self._slots(levels.AUTOAUGMENT[name], Level(0.1, 0.9, 9)) for name in FOURTEEN]
            return [program.apply(0.5, body) for body in each]
        return [_cutout(2 * int(40 * share)) if name == "Cutout" else self._slots(levels.RANDAUGMENT[name], fixed(share))
                for name in _PAPER]


def _some(count: int, bodies: Sequence[Sequence[Slot]], weights: Sequence[float] = ()) -> list[Slot]:
    """With weights: without replacement, as timm."""
    return program.some(count, count, bodies, 0 if weights else REPLACE, weights) if count else []


@dataclass(frozen=True)
class TrivialAugmentWide(_Policy):
    """One op of fourteen, of any strength (Müller and Hutter, "TrivialAugment", ICCV 2021).

    Args:
        num_magnitude_bins: how many strengths, evenly spaced over each op's range.
        interpolation: of the geometric ops: "nearest", "bilinear" or "bicubic".
        fill: what is seen outside the picture, a number or one for each channel, in the input's units.
        convention: "torchvision", or "paper": the authors' code, whose brightness, colour, contrast and sharpness run from 0.01
            to 2 without a sign and whose whole numbers are cut, not rounded. Both move by up to 32 pixels, whatever the size.
    """

    num_magnitude_bins: int = 31
    interpolation: str = "nearest"
    fill: float | Sequence[float] = 0
    convention: str = "torchvision"

    def __post_init__(self) -> None:
        name = "TrivialAugmentWide"
        self._set(num_magnitude_bins=checks.whole(f"{name}.num_magnitude_bins", self.num_magnitude_bins, 2, 1 << 20),
                  convention=checks.choice(f"{name}.convention", self.convention, ("torchvision", "paper")))
        self._check()

    def slots(self) -> list[Slot]:
        ranges = levels.TORCHVISION_WIDE if self.convention == "torchvision" else levels.TRIVIALAUGMENT
        level = Level(0.0, 1.0, self.num_magnitude_bins)
        return _some(1, [self._slots(ranges[name], level) for name in FOURTEEN])


# A sub-policy: two ops, each its letter, its probability in tenths (X: always) and its magnitude of 0 to 9, if it has one.
_LETTERS = {"P": "Posterize", "R": "Rotate", "S": "Solarize", "A": "AutoContrast", "E": "Equalize", "I": "Invert", "C": "Color",
            "K": "Contrast", "B": "Brightness", "H": "Sharpness", "x": "ShearX", "y": "ShearY", "u": "TranslateX",
            "v": "TranslateY"}
POLICIES: Mapping[str, str] = {
    "imagenet": "P48-R69 S65-A6 E8-E6 P67-P66 E4-S24 E4-R88 S63-E6 P85-EX R23-S68 E6-P46 R88-C40 R49-E6 E0-E8 I6-EX C64-KX8 "
                "R88-CX2 C88-S87 H47-I6 x65-EX C40-E6 E4-S24 S65-A6 I6-EX C64-KX8 E8-E6",
    "cifar10": "I1-K26 R72-u39 H81-H93 y58-v79 A5-E9 y27-P37 C43-B67 H39-B79 E6-E5 K67-H65 C77-u58 E3-A4 v43-H26 B96-C28 S52-I0 "
               "E2-A6 E2-E6 C99-E6 A8-S28 B13-C70 S45-A9 v99-v79 A9-S83 E8-I1 v79-A9",
    "svhn": "x94-I2 y98-I7 E6-S66 I9-E6 E6-R93 x94-A8 y98-I4 y95-S26 I9-A8 E6-R93 x94-S33 y88-I7 E9-v66 I9-E6 K33-R84 I8-v02 "
            "y76-S48 I6-R84 y37-u93 x16-I6 S72-v67 y84-I8 x79-v83 y85-A7 x72-I1",
}


def sub_policies(name: str) -> list[list[tuple[str, float, int | None]]]:
    """AutoAugment's sub-policies of a data set: (op, probability, magnitude of 0 to 9) twice in each."""
    def one(code: str) -> tuple[str, float, int | None]:
        return _LETTERS[code[0]], 1.0 if code[1] == "X" else int(code[1]) / 10, int(code[2]) if code[2:] else None

    return [[one(code) for code in pair.split("-")] for pair in POLICIES[name].split()]


@dataclass(frozen=True)
class AutoAugment(_Policy):
    """One of 25 sub-policies that were found by search: two ops in order, each with its own probability and strength (Cubuk et
    al., "AutoAugment", CVPR 2019).

    Args:
        policy: "imagenet", "cifar10" or "svhn": on which data set it was found.
        interpolation: of the geometric ops: "nearest", "bilinear" or "bicubic".
        fill: what is seen outside the picture, a number or one for each channel, in the input's units.
        convention: "torchvision": magnitude 9 is the strongest. "paper": the authors' code, where it is 90 % of that, moves by at
            most 10 pixels and keeps 4 bits fewer. (Their code for CIFAR draws from 95 sub-policies; this is the paper's table.)
    """

    policy: str = "imagenet"
    interpolation: str = "nearest"
    fill: float | Sequence[float] = 0
    convention: str = "torchvision"

    def __post_init__(self) -> None:
        self._set(policy=checks.choice("AutoAugment.policy", self.policy, tuple(POLICIES)),
                  convention=checks.choice("AutoAugment.convention", self.convention, ("torchvision", "paper")))
        self._check()

    def slots(self) -> list[Slot]:
        ranges, top = (levels.TORCHVISION, 9) if self.convention == "torchvision" else (levels.AUTOAUGMENT, 10)
        bodies = [[s for name, p, m in pair for s in program.apply(p, self._slots(ranges[name], fixed((m or 0) / top)))]
                  for pair in sub_policies(self.policy)]
        return program.choice(1, [1] * len(bodies), bodies)


@dataclass(frozen=True)
class AugMix(_Policy):
    """The view blended with what several chains of ops make of it (Hendrycks et al., "AugMix", ICLR 2020): their shares are
    Dirichlet(alpha, ..)'s, and what they have altogether is Beta(alpha, alpha).

    Args:
        severity: 1 to 10: up to which tenth of its range each op is drawn.
        mixture_width: chains, 1 to 8.
        chain_depth: ops of a chain, up to 8; below 1: 1 to 3, drawn for each chain.
        alpha: of both distributions.
        all_ops: brightness, colour, contrast and sharpness too, which ImageNet-C's corruptions are like.
        interpolation: of the geometric ops: "nearest", "bilinear" or "bicubic".
        fill: what is seen outside the picture, a number or one for each channel, in the input's units.
        convention: "torchvision": one of ``severity`` strengths of ten. "paper": any strength from 0.1 to ``severity`` tenths,
            and the nine ops of the authors' code (``all_ops`` adds the others).

    Geometry comes before it in a list; colour after it is done to the blend. The authors blend after Normalize, which is the
    same.
    For their loss see :func:`jensen_shannon_loss` and ``presets.augmix_jsd``.
    """

    severity: int = 3
    mixture_width: int = 3
    chain_depth: int = -1
    alpha: float = 1.0
    all_ops: bool = True
    interpolation: str = "bilinear"
    fill: float | Sequence[float] = 0
    convention: str = "torchvision"

    def __post_init__(self) -> None:
        self._set(severity=checks.whole("AugMix.severity", self.severity, 1, 10),
                  mixture_width=checks.whole("AugMix.mixture_width", self.mixture_width, 1, program.MAX_CHAINS),
                  chain_depth=checks.whole("AugMix.chain_depth", self.chain_depth, -1, 8),
                  alpha=checks.number("AugMix.alpha", self.alpha, 1e-3, 1e3), all_ops=checks.flag("AugMix.all_ops", self.all_ops),
                  convention=checks.choice("AugMix.convention", self.convention, ("torchvision", "paper")))
        self._check()

    def slots(self) -> list[Slot]:
        names = (*_AUGMIX, *(_ENHANCE if self.all_ops else ()))
        if self.convention == "torchvision":
            ranges, level = levels.TORCHVISION_AUGMIX, Level(0.0, (self.severity - 1) / 9, self.severity)
        else:
            ranges, level = levels.AUGMIX, Level(0.01, self.severity / 10, 0)
        return _chains([self._slots(ranges[name], level) for name in names], self.mixture_width, self.chain_depth, self.alpha)


def _chains(bodies: Sequence[Sequence[Slot]], width: int, depth: int, alpha: float) -> list[Slot]:
    low, high = (depth, depth) if depth > 0 else (1, 3)
    return program.chains(width, alpha, alpha, program.some(low, high, bodies, REPLACE))


# timm's sets of ops and its own policies.
_TIMM_PLAIN = ("AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "SolarizeAdd", "Color", "Contrast",
               "Brightness", "Sharpness", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel")
_RISING = ("Posterize", "Solarize", *_ENHANCE)
_TIMM_RISING = tuple(f"{name}Increasing" if name in _RISING else name for name in _TIMM_PLAIN)
_TIMM_SETS: Mapping[str, Mapping[str, float] | Sequence[str]] = {
    "weights": {"Rotate": 3, "ShearX": 2, "ShearY": 2, "TranslateXRel": 1, "TranslateYRel": 1, "ColorIncreasing": 0.25,
                "SharpnessIncreasing": 0.25, "AutoContrast": 0.25, "SolarizeIncreasing": 0.05, "SolarizeAdd": 0.05,
                "ContrastIncreasing": 0.05, "BrightnessIncreasing": 0.05, "Equalize": 0.05, "PosterizeIncreasing": 0.05,
                "Invert": 0.05},
    "3aw": {"SolarizeIncreasing": 6, "Desaturate": 6, "GaussianBlur": 6, "Rotate": 3, "ShearX": 2, "ShearY": 2,
            "PosterizeIncreasing": 1, "AutoContrast": 1, "ColorIncreasing": 1, "SharpnessIncreasing": 1, "ContrastIncreasing": 1,
            "BrightnessIncreasing": 1, "Equalize": 1, "Invert": 1},
    "3a": ("SolarizeIncreasing", "Desaturate", "GaussianBlur"),
}
_TIMM_AUGMIX = ("AutoContrast", *(f"{name}Increasing" for name in ("Color", "Contrast", "Brightness", "Sharpness")), "Equalize",
                "Rotate", "PosterizeIncreasing", "SolarizeIncreasing", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel")
# The TPU code's policy of ImageNet: as above, with a: solarize-add.
_V0 = ("E8-y84 C49-E6 C41-R68 S83-E4 S42-S62 C20-E8 E4-a83 x29-R68 C61-EX I4-R60 EX-y63 C47-E6 P46-A4 S68-C69 S24-R89 RX7-v89 "
       "x00-S84 y80-C64 CX0-R62 E8-E0 EX-A6 y47-a67 P82-S6T S68-E6 C86-R45")
_KEYS: Mapping[str, Mapping[str, type]] = {
    "rand": {"m": int, "n": int, "p": float, "mstd": float, "mmax": int, "inc": int},
    "augmix": {"m": int, "w": int, "d": int, "a": float, "b": int, "mstd": float},
    **{name: {"mstd": float} for name in ("original", "originalr", "v0", "v0r")}, "3a": {},
}


@dataclass(frozen=True)
class auto_augment(_Policy):
    """The policy that a timm string names, as ``timm.data.auto_augment`` reads it (Wightman; version 1.0).

    Args:
        config: a name and keys, with dashes between: "rand-m9-mstd0.5-inc1".

            * ``rand``: RandAugment. ``m`` magnitude (10), ``n`` ops (2), ``p`` probability of each (0.5), ``mstd`` deviation of
              the magnitude, drawn for each op (0; above 100: uniform from 0 to ``m``), ``mmax`` its limit (10), ``inc1`` the ops
              that grow stronger with it, ``t`` a set of ops: ``tweights``, ``t3a``, ``t3aw``.
            * ``augmix``: AugMix. ``m`` severity (3), ``w`` chains (3), ``d`` their depth (1 to 3), ``a`` alpha (1), ``mstd``
              (without it magnitudes are uniform from 0 to ``m``). ``b1``, which blends approximately, is the blend itself.
            * ``original``, ``originalr``, ``v0``, ``v0r``, ``3a``: AutoAugment's tables and DeiT III's three ops; ``mstd``.

        interpolation: of the geometric ops; "random": bilinear or bicubic, timm's default.
        fill: outside the picture, a number or one for each channel, in the input's units. timm's: 128, or 255 times its mean;
            of float pictures 128/255.
        translate_const: pixels that timm's TranslateX and TranslateY may move by; none of its strings has them.
        translate_pct: the share of a side that the maps of its strings may move by.

    Raises:
        ArgumentError: a string that timm refuses, or a key without a number, which timm would ignore.
    """

    config: str
    interpolation: str = "random"
    fill: float | Sequence[float] = 128
    translate_const: float = 250
    translate_pct: float = 0.45

    def __post_init__(self) -> None:
        self._check((*WARPS, "random"))
        for name, most in (("translate_const", checks.MAX_SIDE), ("translate_pct", 1)):
            self._set(**{name: checks.number(f"auto_augment.{name}", getattr(self, name), 0, most)})
        if not isinstance(self.config, str):
            checks.wrong("auto_augment.config", "a string such as 'rand-m9-mstd0.5-inc1'", self.config)
        self.slots()

    def _read(self) -> tuple[str, dict[str, Any]]:
        """Its name and keys."""
        name, *sections = self.config.split("-")
        if name not in _KEYS:
            checks.wrong("auto_augment.config", f"one of {', '.join(_KEYS)}, then keys", self.config)
        keys: dict[str, Any] = {}
        for section in sections:
            if name == "rand" and section.startswith("t"):
                if section[1:] not in _TIMM_SETS:
                    checks.wrong("auto_augment.config", f"after t one of {', '.join(_TIMM_SETS)}", section)
                keys["t"] = section[1:]
                continue
            key, number = re.fullmatch(r"([^0-9]*)(.*)", section, re.DOTALL).groups()  # type: ignore[union-attr]
            if key not in _KEYS[name]:
                known = ", ".join(_KEYS[name]) or "none"
                checks.wrong("auto_augment.config", f"keys of {name!r} ({known}), each with a number", section)
            if not re.fullmatch(r"[0-9]+" if _KEYS[name][key] is int else r"[0-9.]+(e[+-]?[0-9]+)?", number):
                checks.wrong("auto_augment.config", f"a {'whole ' * (_KEYS[name][key] is int)}number after {key!r}", section)
            try:
                keys[key] = _KEYS[name][key](number)
            except ValueError:
                checks.wrong("auto_augment.config", f"a number after {key!r}", section)
        return name, keys

    def _level(self, magnitude: float, mstd: float, top: float) -> Level:
        if not 0 <= magnitude <= 1000 or not mstd >= 0 or not 0 < top <= 1000:
            checks.wrong("auto_augment.config", "a magnitude, mstd and mmax from 0 to 1000", self.config)
        if math.isinf(mstd):  # uniform
            if magnitude > top:
                checks.wrong("auto_augment.config", f"a magnitude of at most mmax, {top:g}, for one that is uniform", self.config)
            return Level(0.0, magnitude / 10, 0)
        return Level(0, 0, 0, magnitude, mstd, top) if mstd else fixed(min(magnitude, top) / 10)

    def slots(self) -> list[Slot]:
        name, keys = self._read()
        ranges = levels.timm(self.translate_const, self.translate_pct)
        mstd = keys.get("mstd", 0.0)
        if name == "rand":
            return self._rand(ranges, keys, mstd)
        if name == "augmix":
            level = self._level(keys.get("m", 3), keys.get("mstd", math.inf), 10)
            width, depth = keys.get("w", 3), keys.get("d", -1)
            alpha = checks.number("auto_augment.config: a", keys.get("a", 1.0), 1e-3, 1e3)
            checks.whole("auto_augment.config: w", width, 1, program.MAX_CHAINS)
            checks.whole("auto_augment.config: d", depth, -1, 8)
            return _chains([self._slots(ranges[op], level) for op in _TIMM_AUGMIX], width, depth, alpha)
        if name == "3a":
            bodies = [self._slots(ranges["Solarize"], fixed(0.5)), self._slots(ranges["Desaturate"], fixed(1.0)),
                      self._slots(ranges["GaussianBlurRand"], Level(0.0, 1.0, 0))]
        else:
            bodies = [[s for op, p, m in pair for s in program.apply(p, self._slots(ranges[op], self._level(m, mstd, 10)))]
                      for pair in self.sub_policies()]
        return program.choice(1, [1] * len(bodies), bodies)

    def _rand(self, ranges: Mapping[str, Range], keys: Mapping[str, Any], mstd: float) -> list[Slot]:
        ops = _TIMM_SETS[keys["t"]] if "t" in keys else _TIMM_RISING if keys.get("inc") else _TIMM_PLAIN
        level = self._level(keys.get("m", 10), math.inf if mstd > 100 else mstd, keys.get("mmax", 10))
        p = checks.probability("auto_augment.config: p", keys.get("p", 0.5))
        weights = list(ops.values()) if isinstance(ops, Mapping) else []
        count = checks.whole("auto_augment.config: n", keys.get("n", 2), 0, len(ops) if weights else program.MAX_BRANCHES)
        return _some(count, [program.apply(p, self._slots(ranges[op], level)) for op in ops], weights)

    def sub_policies(self) -> list[list[tuple[str, float, int]]]:
        """(timm's op, probability, magnitude) of each op of an AutoAugment table."""
        name, _ = self._read()
        if name not in ("original", "originalr", "v0", "v0r"):
            raise ArgumentError(f"auto_augment.config: expected a table (original, originalr, v0, v0r), given {self.config!r}")
        tpu = name.startswith("v0")
        bits = "PosterizeIncreasing" if name.endswith("r") else "Posterize" if tpu else "PosterizeOriginal"
        letters = {**_LETTERS, "P": bits, "a": "SolarizeAdd", **({"v": "TranslateYRel"} if tpu else {})}

        def one(code: str) -> tuple[str, float, int]:
            magnitude = code[2:] or "0"
            return letters[code[0]], 1.0 if code[1] == "X" else int(code[1]) / 10, 10 if magnitude == "T" else int(magnitude)

        return [[one(code) for code in pair.split("-")] for pair in (_V0 if tpu else POLICIES["imagenet"]).split()]
