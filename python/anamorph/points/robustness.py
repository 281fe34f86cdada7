"""How much worse a classifier of point clouds gets on corrupted ones, against DGCNN: ModelNet-C's mCE and RmCE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from torch import Tensor

from anamorph.core import checks

#: The corruptions, by the names of ModelNet-C's files.
CORRUPTIONS = ("scale", "jitter", "rotate", "dropout_global", "dropout_local", "add_global", "add_local")
LEVELS = 5

#: DGCNN's overall accuracies, by which ModelNet-C's are measured (Ren et al., ICML 2022).
MODELNET_C_DGCNN: Mapping[str, float] = MappingProxyType({
    "clean": 0.926, "scale": 0.906, "jitter": 0.684, "rotate": 0.785, "dropout_global": 0.752, "dropout_local": 0.793,
    "add_global": 0.705, "add_local": 0.725})

#: The same on ScanObjectNN-C (Wang et al., AdaptPoint, ICCV 2023).
SCANOBJECTNN_C_DGCNN: Mapping[str, float] = MappingProxyType({
    "clean": 0.858, "scale": 0.578, "jitter": 0.456, "rotate": 0.733, "dropout_global": 0.622, "dropout_local": 0.697,
    "add_global": 0.540, "add_local": 0.773})


def ce(accuracies: Mapping[str, Any], baseline: Mapping[str, Any] = MODELNET_C_DGCNN, *,
       digits: int | None = 3) -> dict[str, float]:
    """The error of each corruption in errors of the baseline: (1 - OA) / (1 - OA of the baseline).

    Args:
        accuracies: for each of ``CORRUPTIONS`` the overall accuracy, 0 to 1: of the five levels, or their mean. "clean" may be
            there and is not looked at.
        baseline: the same, of another classifier on the same clouds.
        digits: to which means and results are rounded, as the published evaluator does before it goes on; None: not at all. Five
            levels count with their mean, which is rounded; a mean that is given is rounded as well.

    Raises:
        ArgumentError: a corruption that is missing or unknown, a number outside 0 to 1, a number of levels other than 5, a
            baseline without errors.
    """
    digits = _digits(digits)
    ours, theirs = _means("accuracies", accuracies, digits), _means("baseline", baseline, digits)
    for name in CORRUPTIONS:
        if theirs[name] >= 1:
            checks.wrong(f"baseline[{name!r}]", "an accuracy below 1, by whose errors to divide", theirs[name])
    return {name: _rounded((1 - ours[name]) / (1 - theirs[name]), digits) for name in CORRUPTIONS}


def mce(accuracies: Mapping[str, Any], baseline: Mapping[str, Any] = MODELNET_C_DGCNN, *, digits: int | None = 3) -> float:
    """The mean of :func:`ce` over the seven corruptions, lower is better; 1 for the baseline itself."""
    return _mean([*ce(accuracies, baseline, digits=digits).values()], _digits(digits))


def relative_ce(accuracies: Mapping[str, Any], baseline: Mapping[str, Any] = MODELNET_C_DGCNN, *,
                digits: int | None = 3) -> dict[str, float]:
    """What each corruption costs, in what it costs the baseline: (OA of clean clouds - OA) / (the same of the baseline).

    Args:
        accuracies, baseline, digits: as :func:`ce` takes them, and "clean" must be there, one number.

    Raises:
        ArgumentError: as :func:`ce`; a missing "clean"; a corruption that costs the baseline nothing.
    """
    digits = _digits(digits)
    ours, theirs = (_means(name, given, digits, clean=True) for name, given in
                    (("accuracies", accuracies), ("baseline", baseline)))
    for name in CORRUPTIONS:
        if theirs["clean"] <= theirs[name]:
            checks.wrong(f"baseline[{name!r}]", f"an accuracy below that of clean clouds, {theirs['clean']}", theirs[name])
    return {name: _rounded((ours["clean"] - ours[name]) / (theirs["clean"] - theirs[name]), digits) for name in CORRUPTIONS}


def rce(accuracies: Mapping[str, Any], baseline: Mapping[str, Any] = MODELNET_C_DGCNN, *, digits: int | None = 3) -> float:
    """The mean of :func:`relative_ce` over the seven corruptions, which the papers call RmCE."""
    return _mean([*relative_ce(accuracies, baseline, digits=digits).values()], _digits(digits))


def _digits(digits: Any) -> int | None:
    return None if digits is None else checks.whole("digits", digits, 0, 15)


def _rounded(value: float, digits: int | None) -> float:
    return value if digits is None else round(value, digits)


def _mean(values: Sequence[float], digits: int | None) -> float:
    return _rounded(sum(values) / len(values), digits)


def _means(where: str, given: Any, digits: int | None, clean: bool = False) -> dict[str, float]:
    if not isinstance(given, Mapping):
        checks.wrong(where, "a mapping of corruptions to accuracies", given)
    needed = (*CORRUPTIONS, "clean") if clean else CORRUPTIONS
    for name in needed:
        if name not in given:
            checks.wrong(where, f"the accuracy of {name!r} as well", sorted(map(str, given)))
    for name in given:
        if name not in (*CORRUPTIONS, "clean"):
            checks.wrong(where, f"some of {(*CORRUPTIONS, 'clean')}", name)
    return {name: _mean(_levels(f"{where}[{name!r}]", given[name], name == "clean"), digits) for name in needed}


def _levels(where: str, given: Any, clean: bool) -> list[float]:
    expected = "an accuracy, 0 to 1" if clean else f"an accuracy, 0 to 1, or those of {LEVELS} levels"
    if isinstance(given, np.ndarray | Tensor) and given.ndim == 1:
        given = given.tolist()
    values = checks.several(where, given, (1,) if clean else (LEVELS,), expected) if checks.is_sequence(given) else (given,)
    return [checks.number(where, value, 0, 1, expected) for value in values]
