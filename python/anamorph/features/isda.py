"""Implicit semantic data augmentation: the loss of endlessly many features drawn about each one, in closed form.

Wang et al., "Implicit semantic data augmentation for deep networks", NeurIPS 2019.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F

from anamorph.core import checks
from anamorph.core.errors import ShapeError
from anamorph.features import given
from anamorph.features.precision import full, no_autocast, number
from anamorph.features.statistics import RunningGaussian


def isda_logits(logits: Tensor, labels: Tensor, weight: Tensor, covariance: Tensor, strength: float | Tensor) -> Tensor:
    """Logits whose cross-entropy is ISDA's loss: ``l_j + strength / 2 (w_j - w_y)^T S_y (w_j - w_y)``.

    Args:
        logits: floats ``[B, C]``, ``features @ weight.T + bias``.
        labels: int64 ``[B]``.
        weight: ``[C, D]``, the last layer's. Gradients reach it through the logits and through the added term.
        covariance: of each class's features, ``[C, D, D]``, or variances ``[C, D]``. A class with zeros adds nothing. Gradients
            reach it where it asks for them; :class:`ISDA` gives it without.
        strength: at least 0; a number, or a tensor of one on the same device. 0 leaves the logits.

    Returns:
        ``[B, C]``, float32, or float64 where the logits are, also under autocast. Full covariances take ``[C, C, D]`` numbers on
        the way, diagonal ones ``[B, D]``; never ``[B, C, D]``.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    fitting(logits, "labels", labels, weight, covariance)
    logits = full(logits)
    return _augmented(logits, labels, weight, covariance, number("strength", strength, logits, 0))


def _augmented(logits: Tensor, labels: Tensor, weight: Tensor, spread: Tensor, strength: float | Tensor) -> Tensor:
    """``spread`` times ``strength``, a number or one for each row [B, 1], is what is added along."""
    with no_autocast(logits):
        w = differences(weight, logits)
        return logits + strength / 2 * (_along_diagonal if spread.dim() == 2 else _along)(w, spread.to(logits.dtype), labels)


def fitting(logits: Any, name: str, labels: Any, weight: Any, covariance: Any) -> None:
    """Checks of what belongs together; ``name``: the labels'."""
    classes = given.features("logits", logits, "[B, C]").shape[1]
    given.labels(name, labels, logits, classes)
    given.features("weight", weight, "[C, D]")
    if len(weight) != classes:
        raise ShapeError(f"weight: expected [{classes}, D] for logits of {classes} classes, given {list(weight.shape)}")
    given.same_device("weight", weight, logits)
    dim = weight.shape[1]
    given.features("covariance", covariance, "[...]")
    if list(covariance.shape) not in ([classes, dim], [classes, dim, dim]):
        raise ShapeError(f"covariance: expected [{classes}, {dim}, {dim}] or [{classes}, {dim}], given {list(covariance.shape)}")
    given.same_device("covariance", covariance, logits)


def differences(weight: Tensor, logits: Tensor) -> Tensor:
    """The last layer without what all of its rows share, which would cost digits alone: what counts is how they differ."""
    weight = weight.to(logits.dtype)
    return weight - weight.mean(0)


def _along(w: Tensor, spread: Tensor, labels: Tensor) -> Tensor:
    """``(w_j - w_y)^T S_y (w_j - w_y)`` [B, C], from the same of all pairs of classes."""
    products = w @ spread
    own = torch.einsum("cjd,jd->cj", products, w)
    crossed = torch.einsum("cjd,cd->cj", products, w)
    return (own - 2 * crossed + own.diagonal()[:, None])[labels]


def _along_diagonal(w: Tensor, spread: Tensor, labels: Tensor) -> Tensor:
    s, own = spread[labels], w[labels]
    return s @ w.square().T - 2 * (s * own) @ w.T + (s * own.square()).sum(1, keepdim=True)


def isda(logits: Tensor, labels: Tensor, weight: Tensor, covariance: Tensor, strength: float | Tensor) -> Tensor:
    """ISDA's loss, the mean cross-entropy of :func:`isda_logits`, which has the arguments.

    It is an upper bound of the expected cross-entropy over features ``N(a, strength S_y)``, by Jensen's inequality; what it
    equals is ``log E[sum_j exp(l_j - l_y)]``.
    """
    return F.cross_entropy(isda_logits(logits, labels, weight, covariance, strength), labels)


class ISDA(nn.Module):
    """ISDA with its running covariances: each training call takes in the batch's features, without gradient, then gives the loss.
    In evaluation mode the covariances stay.

    Args:
        dim: D, the length of a feature.
        classes: C.
        diagonal: variances alone, as the paper's on ImageNet.
        lambda0: the strength is ``lambda0 * progress``; 0.5 in the paper's CIFAR runs, 7.5 on ImageNet.
        dtype: of the running sums.

    Attributes:
        statistics: the :class:`RunningGaussian`.
    """

    def __init__(self, dim: int, classes: int, diagonal: bool = False, lambda0: float = 0.5,
                 dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.statistics = RunningGaussian(dim, classes, diagonal=diagonal, dtype=dtype)
        self.lambda0 = checks.number("lambda0", lambda0, 0)

    def forward(self, features: Tensor, logits: Tensor, labels: Tensor, weight: Tensor, progress: float | Tensor,
                group: dist.ProcessGroup | None = None) -> Tensor:
        """The loss, a scalar.

        Args:
            features: ``[B, D]``, what the last layer was given. Their gradient comes through ``logits``.
            logits: ``[B, C]``.
            labels: int64 ``[B]``.
            weight: ``[C, D]``, the last layer's.
            progress: epoch / epochs, the first epoch being 0; a number, or a tensor of one.
            group: of :meth:`RunningGaussian.update`.
        """
        classes, dim = self.statistics.mean.shape
        given.features("weight", weight, f"[{classes}, {dim}]")
        given.labels("labels", labels, given.features("logits", logits, f"[B, {classes}]"), classes)
        strength = self.lambda0 * number("progress", progress, full(logits), 0, 1)
        if self.training:
            self.statistics.update(features, labels, group)
        sums, logits = self.statistics.moments(), full(logits)
        rate = strength / sums.counts[labels].clamp(min=1)[:, None].to(logits.dtype)  # so that no covariances are written
        return F.cross_entropy(_augmented(logits, labels, weight, sums.scatter, rate), labels)
