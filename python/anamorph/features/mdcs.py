"""Several heads for classes of very unequal size: each is made to like few, medium or many-sample classes, and learns from what
it already says rightly of an easier view.

Zhao et al., "MDCS: More diverse experts with consistency self-distillation for long-tailed recognition", ICCV 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DtypeError, ShapeError
from anamorph.features import given
from anamorph.features.precision import full, number

EXPONENTS = (-0.5, 1.0, 2.5)
_TINY = 1e-9


def confident(logits: Tensor, labels: Tensor) -> Tensor:
    """Which samples a head may learn from: those whose class it says. "Confident" means right; there is no threshold.

    Args:
        logits: ``[B, C]``, or of several heads ``[H, B, C]``.
        labels: int64 class ids ``[B]``.

    Returns:
        bool ``[B]`` or ``[H, B]``. Where several classes are alike the first of them counts as said.
    """
    given.features("logits", logits, "[H, B, C]" if isinstance(logits, Tensor) and logits.dim() == 3 else "[B, C]")
    given.labels("labels", labels, logits.movedim(-2, 0), logits.shape[-1])
    return logits.argmax(-1) == labels


def mdcs_adjustment(counts: Tensor | Sequence[int], exponents: Sequence[float] = EXPONENTS) -> Tensor:
    """What is added to each head's logits in training, ``log(n_c^e + 1e-9)``: an exponent of 1 is the logit adjustment that fits
    balanced tests; above it small classes gain, below it large ones.

    Args:
        counts: how many training samples each class has, at least 1 each, ``[C]``.
        exponents: one for each head.

    Returns:
        float64 ``[H, C]``.

    Raises:
        ArgumentError: a class without samples, no class, no head.
    """
    n = torch.as_tensor(counts).to("cpu", torch.float64)
    if n.dim() != 1 or not len(n) or not bool(((n >= 1) & n.isfinite()).all()):
        raise ArgumentError(f"counts: expected how many samples, at least 1, each class has, given {counts}")
    heads = [checks.number("exponents", e, -10, 10) for e in exponents]
    if not heads:
        raise ArgumentError("exponents: expected one for each head, given none")
    return (n ** torch.tensor(heads, dtype=torch.float64)[:, None] + _TINY).log()


def mdcs_loss(first: Tensor, second: Tensor, labels: Tensor, adjustment: Tensor, weight: float | Tensor = 0.6) -> Tensor:
    """For each head the mean cross-entropy over both views, and ``weight`` times KL(first view || second view), the mean over the
    samples of which the head is :func:`confident` in the first view; all of adjusted logits, summed over the heads.

    Args:
        first, second: each head's logits ``[H, B, C]`` of a weak view and of a strong one. No gradient goes through the first in
            the divergence.
        labels: int64 class ids ``[B]``.
        adjustment: ``[H, C]``, see :func:`mdcs_adjustment`; at test time the heads' plain logits are averaged.
        weight: of the divergence; see :func:`mdcs_weight`. A tensor of one value may change without anything being compiled anew.

    Returns:
        A scalar, float32, or float64 of that. A head that is right of no sample has no divergence.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    given.features("first", first, "[H, B, C]")
    given.features("second", second, "[H, B, C]", like=first)
    given.same_shape("second", second, "first", first)
    given.labels("labels", labels, first[0], first.shape[2])
    if not isinstance(adjustment, Tensor) or not adjustment.is_floating_point():
        raise DtypeError(f"adjustment: expected floats [H, C], given {getattr(adjustment, 'dtype', type(adjustment).__name__)}")
    if list(adjustment.shape) != [first.shape[0], first.shape[2]]:
        raise ShapeError(f"adjustment: expected [{first.shape[0]}, {first.shape[2]}], a number for each head and class, given "
                         f"{list(adjustment.shape)}")
    given.same_device("adjustment", adjustment, first)
    a, b = (full(view) + adjustment[:, None].to(full(view).dtype) for view in (first, second))
    weight = number("weight", weight, a, 0)
    log_a, log_b = F.log_softmax(a, 2), F.log_softmax(b, 2)
    at = labels[None, :, None].expand(len(a), -1, 1)
    entropy = -(log_a.gather(2, at) + log_b.gather(2, at)).mean() / 2 * len(a)
    right = confident(a, labels)
    apart = F.kl_div(log_b, log_a.detach(), reduction="none", log_target=True).sum(2)
    return entropy + weight * (torch.where(right, apart, 0.0).sum(1) / right.sum(1).clamp(min=1)).sum()


def mdcs_weight(epoch: float, highest: float = 0.6, warmup: float = 20.0) -> float:
    """The weight of MDCS's divergence: from 0 to ``highest`` over the first ``warmup`` epochs."""
    part = checks.number("epoch", epoch, 0) / checks.number("warmup", warmup, 1e-6)
    return checks.number("highest", highest, 0) * min(part, 1.0)


class MDCS(nn.Module):
    """:func:`mdcs_loss` of classes of known size; the adjustment is a buffer.

    Args:
        counts: how many training samples each class has.
        exponents: one for each head.
        highest, warmup: of :func:`mdcs_weight`.
    """

    adjustment: Tensor

    def __init__(self, counts: Tensor | Sequence[int], exponents: Sequence[float] = EXPONENTS, highest: float = 0.6,
                 warmup: float = 20.0) -> None:
        super().__init__()
        self.register_buffer("adjustment", mdcs_adjustment(counts, exponents).float())
        self.highest, self.warmup = checks.number("highest", highest, 0), checks.number("warmup", warmup, 1e-6)

    def forward(self, first: Any, second: Any, labels: Any, epoch: float) -> Tensor:
        """``first``, ``second``: logits ``[H, B, C]``, or a list of ``[B, C]``, one of each head. ``epoch``: how many have
        passed."""
        first, second = (torch.stack(list(view)) if isinstance(view, list | tuple) else view for view in (first, second))
        return mdcs_loss(first, second, labels, self.adjustment, mdcs_weight(epoch, self.highest, self.warmup))
