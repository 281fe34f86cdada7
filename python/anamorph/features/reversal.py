"""Domain-adversarial training (DANN): what cannot be told apart by a domain classifier is learnt by turning its gradient round.

Ganin et al., "Domain-adversarial training of neural networks", JMLR 2016.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anamorph.core import checks
from anamorph.features import given
from anamorph.features.precision import full, number


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        return -weight.to(grad.dtype) * grad, None


def gradient_reversal(x: Tensor, weight: float | Tensor = 1.0) -> Tensor:
    """``x`` as it is, whose gradient is turned round: ``-weight`` times the gradient that comes from above.

    Args:
        x: floats of any shape.
        weight: DANN's lambda, see :func:`dann_weight`. A tensor of one value on ``x``'s device may change without anything being
            compiled anew; it gets no gradient.

    Returns:
        A view of ``x``.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    given.features("x", x, "[...]")
    weight = number("weight", weight, x)
    if not isinstance(weight, Tensor):
        weight = torch.full((), weight, dtype=x.dtype, device=x.device)  # no copy, which a CUDA graph would not take
    return _Reversal.apply(x, weight)


class GradientReversal(nn.Module):
    """:func:`gradient_reversal` with the weight as a buffer, 0-dimensional and float32:
    ``module.weight.fill_(dann_weight(progress))`` changes it, also for a compiled module and for a captured CUDA graph, and
    ``state_dict`` carries it.

    Args:
        weight: what it begins with.
    """

    weight: Tensor

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("weight", torch.tensor(checks.number("weight", weight), dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        return gradient_reversal(x, self.weight)


def dann_weight(progress: float, gamma: float = 10.0, highest: float = 1.0) -> float:
    """DANN's lambda: from 0 to (nearly) ``highest`` as training goes on, ``highest (2 / (1 + exp(-gamma p)) - 1)``.

    Args:
        progress: p, from 0 at the start of training to 1 at its end.
    """
    p, gamma = checks.number("progress", progress, 0, 1), checks.number("gamma", gamma, 0)
    return checks.number("highest", highest, 0) * (2 / (1 + math.exp(-gamma * p)) - 1)


def dann_learning_rate(progress: float, base: float = 0.01, alpha: float = 10.0, beta: float = 0.75) -> float:
    """The learning rate that DANN is trained with, by SGD of momentum 0.9: ``base / (1 + alpha p)^beta``.

    Args:
        progress: p, from 0 at the start of training to 1 at its end.
    """
    p, alpha = checks.number("progress", progress, 0, 1), checks.number("alpha", alpha, 0)
    return checks.number("base", base, 0) / (1 + alpha * p) ** checks.number("beta", beta, 0)


def domain_loss(source: Tensor, target: Tensor) -> Tensor:
    """The binary cross-entropy of a domain classifier of one logit, "is of the target domain". The two domains weigh the same,
    also where one has more samples; DANN's batches are half and half.

    Args:
        source, target: logits ``[B]`` and ``[B']``, or ``[B, 1]`` and ``[B', 1]``, of features that went through
            :func:`gradient_reversal`.

    Returns:
        A scalar, float32, or float64 of that; ln 2 where the classifier knows nothing.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected, such as two logits for
            each sample.
    """
    form = "[B, 1]" if isinstance(source, Tensor) and source.dim() == 2 else "[B]"
    given.features("source", source, form)
    given.features("target", target, form, like=source)
    return (F.softplus(full(source)).mean() + F.softplus(-full(target)).mean()) / 2
