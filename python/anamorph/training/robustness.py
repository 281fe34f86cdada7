"""How a net fares on corrupted pictures: errors by corruption and severity, and Hendrycks and Dietterich's mean."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, ShapeError
from anamorph.core.tensors import as_integers
from anamorph.training import given

SEVERITIES = (1, 2, 3, 4, 5)


def evaluate(model: Callable[[Tensor], Tensor], batches: Iterable[tuple[Any, Any, Any]],
             corruptions: Mapping[str, Callable[..., Tensor]], *, severities: Sequence[int] = SEVERITIES, seed: int = 0,
             layout: str | None = None) -> dict[str, list[float]]:
    """The share of wrong predictions under each corruption.

    Args:
        model: from corrupted uint8 pictures, of the layout of the batches, to logits ``[B, K]``; it normalises, and stays in the
            mode that it is in. No gradients are kept.
        batches: (pictures, class ids, sample ids), gone through once. Pictures and class ids lie on the model's device. Class
            ids are 0 to K - 1; on a GPU, where a look at them would wait, another one is a wrong prediction.
        corruptions: by name, as ``am.corruptions.suite()``.
        severities: some of 1 to 5. seed: of the noise. layout: of the pictures, where their shape fits both.

    Returns:
        for each corruption a list of errors, 0 to 1, one for each severity; and under "clean" a list of one.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    levels = [checks.whole("evaluate.severities", s, 1, 5) for s in
              checks.several("evaluate.severities", severities, range(1, 6), "1 to 5 severities")]
    if not isinstance(corruptions, Mapping) or not corruptions or "clean" in corruptions:
        checks.wrong("evaluate.corruptions", "a mapping of names, none of them 'clean', to corruptions, as corruptions.suite()",
                     corruptions)
    wrong: dict[str, list[Any]] = {"clean": [0], **{name: [0] * len(levels) for name in corruptions}}
    count = 0
    with torch.no_grad():
        for batch in batches:
            pictures, labels, index = checks.several("evaluate.batches", batch, (3,), "(pictures, class ids, sample ids)")
            labels = as_integers("labels", labels)
            wrong["clean"][0] += _wrong(model(pictures), labels)
            for name, corruption in corruptions.items():
                for i, severity in enumerate(levels):
                    corrupted = corruption(pictures, severity, index=index, seed=seed, layout=layout)
                    wrong[name][i] += _wrong(model(corrupted), labels)
            count += len(labels)
    if not count:
        raise ArgumentError("evaluate.batches: expected at least one batch, given none")
    return {name: [int(n) / count for n in each] for name, each in wrong.items()}


def mean_corruption_error(errors: Mapping[str, Sequence[float]], baseline: Mapping[str, Sequence[float]] | None = None) -> float:
    """The mean corruption error.

    Args:
        errors: of a net, by corruption a list with one for each severity, as :func:`evaluate` gives; "clean" is left out.
        baseline: the same of the net to compare with, which in the paper is AlexNet.

    Returns:
        mCE: the mean over the corruptions of the sum of the net's errors over that of the baseline's, 1 for the baseline itself
        (the paper prints hundredths). Without a baseline the unnormalised one: the mean over corruptions of the mean error.

    Raises:
        ArgumentError: errors that are none, of other severities than the baseline's, or a baseline that makes none.
    """
    own = _table("errors", errors)
    if baseline is None:
        return math.fsum(math.fsum(e) / len(e) for e in own.values()) / len(own)
    other = _table("baseline", baseline)
    ratios = []
    for name, each in own.items():
        if name not in other or len(other[name]) != len(each):
            checks.wrong(f"baseline[{name!r}]", f"{len(each)} errors, as many as the net has", other.get(name))
        if not sum(other[name]):
            checks.wrong(f"baseline[{name!r}]", "an error above 0, to divide by", other[name])
        ratios.append(math.fsum(each) / math.fsum(other[name]))
    return math.fsum(ratios) / len(ratios)


def _wrong(logits: Any, labels: Tensor) -> Tensor:
    """How many are, on the device: the host does not wait."""
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(labels) or labels.dim() != 1:
        what = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ShapeError(f"evaluate: expected logits [B, K] for class ids [B], given {what} for {list(labels.shape)}")
    given.class_ids("labels", labels, len(logits), logits.shape[1], logits)
    return (logits.argmax(1) != labels).sum()


def _table(where: str, errors: Any) -> dict[str, list[float]]:
    if not isinstance(errors, Mapping) or not {*errors} - {"clean"}:
        checks.wrong(where, "a mapping of corruptions to errors", errors)
    return {name: [checks.probability(f"{where}[{name!r}]", e) for e in
                   checks.several(f"{where}[{name!r}]", each, range(1, 6), "1 to 5 errors")]
            for name, each in errors.items() if name != "clean"}
