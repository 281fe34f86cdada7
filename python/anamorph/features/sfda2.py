"""Source-free domain adaptation by the features of the target alone: neighbours agree, features spread along their class's
covariance, and the classes' covariances part.

Hwang et al., "SF(DA)2: Source-free domain adaptation through the lens of data augmentation", ICLR 2024.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DtypeError, ShapeError
from anamorph.features import given
from anamorph.features.isda import differences, fitting
from anamorph.features.precision import full, no_autocast, number
from anamorph.features.statistics import RunningGaussian, class_moments, covariance


def neighbour_clustering(probabilities: Tensor, neighbours: Tensor, alpha: float | Tensor = 1.0) -> Tensor:
    """Spectral neighbour clustering: ``mean_i [-sum_k q_k . p_i] + alpha mean_i sum_{j != i} (p_i . p_j)^2``.

    Args:
        probabilities: p, ``[B, C]``, with gradient. With one row the second part is 0.
        neighbours: q, ``[B, K, C]``, the probabilities of each row's neighbours, taken without gradient.
        alpha: at least 0.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    given.features("probabilities", probabilities, "[B, C]")
    given.features("neighbours", neighbours, "[B, K, C]")
    if neighbours.shape[::2] != probabilities.shape:
        expected = f"[{len(probabilities)}, K, {probabilities.shape[1]}]"
        raise ShapeError(f"neighbours: expected {expected} for probabilities {list(probabilities.shape)}, given "
                         f"{list(neighbours.shape)}")
    given.same_device("neighbours", neighbours, probabilities)
    p = full(probabilities)
    alpha = number("alpha", alpha, p, 0)
    with no_autocast(p):
        alike = (p @ p.T).square()
        others = (alike.sum() - alike.diagonal().sum()) / len(p)
        return alpha * others - (neighbours.detach().to(p.dtype).sum(1) * p).sum(1).mean()


def implicit_augmentation(logits: Tensor, pseudo: Tensor, weight: Tensor, covariance: Tensor, strength: float | Tensor) -> Tensor:
    """Implicit feature augmentation: ISDA's loss for every class as the target, with the covariance of the pseudo-label:
    ``mean_i 2 sum_c CE(l_ij + strength / 2 (w_j - w_c)^T S_i (w_j - w_c), c)``.

    Args:
        logits: ``[B, C]``.
        pseudo: int64 ``[B]``, pseudo-labels.
        weight: ``[C, D]``, the last layer's.
        covariance: ``[C, D, D]``. Gradients reach logits, weight and covariance. A class with zeros spreads nothing.
        strength: at least 0.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.

    ``[B, C, C]`` numbers are made on the way.
    """
    given.features("covariance", covariance, "[C, D, D]")
    fitting(logits, "pseudo", pseudo, weight, covariance)
    logits = full(logits)
    strength = number("strength", strength, logits, 0)
    with no_autocast(logits):
        w = differences(weight, logits)
        forms = w @ covariance.to(logits.dtype) @ w.T
        own = forms.diagonal(dim1=1, dim2=2)
        spread = own[:, :, None] - 2 * forms + own[:, None, :]
        augmented = logits[:, :, None] + strength / 2 * spread[pseudo]
        return 2 * (augmented.logsumexp(1) - logits).sum(1).mean()


def disentanglement(covariance: Tensor, probabilities: Tensor) -> Tensor:
    """Feature disentanglement: ``-1/2 sum_{a != b} w_ab (1 - cos(S_a, S_b))`` with ``w_ab`` the product of the classes' mean
    probabilities. It is lowest where classes that are taken for each other spread in different directions.

    Args:
        covariance: S, ``[C, D, D]``, with gradient. A class whose covariance is 0 (no row or a single one belongs to it) is left
            out, where the published code has NaN or a constant.
        probabilities: ``[C, C]``, the mean probabilities of the samples of each (pseudo-)class, zeros for a class without any;
            taken without gradient.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    given.features("covariance", covariance, "[C, D, D]")
    given.features("probabilities", probabilities, "[C, C]")
    if len(probabilities) != len(covariance):
        raise ShapeError(f"probabilities: expected [{len(covariance)}, {len(covariance)}], given {list(probabilities.shape)}")
    given.same_device("probabilities", probabilities, covariance)
    s = full(covariance).flatten(1)
    with no_autocast(s):
        size = s.square().sum(1)
        unit = s / torch.where(size > 0, size, 1.0).sqrt()[:, None]
        mean = probabilities.detach().to(s.dtype) * (size > 0)[:, None]
        weight = (mean @ mean.T).fill_diagonal_(0)
        return -(weight * (1 - unit @ unit.T)).sum() / 2


class SFDA2Losses(NamedTuple):
    """The weighted parts; ``sum`` of them is the loss."""

    clustering: Tensor
    augmentation: Tensor
    disentanglement: Tensor


class SFDA2(nn.Module):
    """SF(DA)^2's loss with its memory banks and running covariances, from target samples without labels. :meth:`fill` comes
    first, once for every sample, with the model in evaluation mode; then each training step calls this. In evaluation
    mode of this module banks and covariances stay.

    Args:
        samples: how many the target's training set has.
        dim: D of the features before the last layer (256 after the published bottleneck's batch normalisation).
        classes: C.
        neighbours: K, nearest by cosine; the sample itself is not one.
        lambda0: the strength of the augmentation is ``lambda0 * progress``.
        decay: the weight of the second part of the clustering is ``(1 + 10 progress)^-decay``.
        augmentation, disentanglement: weights.
        dtype: of the running sums.

    Buffers: ``features`` ``[samples, D]``, unit length; ``probabilities`` ``[samples, C]``; ``filled``. ``statistics`` is the
    :class:`RunningGaussian`.
    """

    features: Tensor
    probabilities: Tensor
    filled: Tensor

    def __init__(self, samples: int, dim: int, classes: int, neighbours: int = 5, lambda0: float = 5.0, decay: float = 5.0,
                 augmentation: float = 1e-4, disentanglement: float = 10.0, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        samples = checks.whole("samples", samples, 2)
        self.neighbours = checks.whole("neighbours", neighbours, 1, samples - 1)
        self.lambda0, self.decay = checks.number("lambda0", lambda0, 0), checks.number("decay", decay, 0)
        self.augmentation = checks.number("augmentation", augmentation, 0)
        self.disentanglement = checks.number("disentanglement", disentanglement, 0)
        self.statistics = RunningGaussian(dim, classes, dtype=dtype)
        self.register_buffer("features", torch.zeros(samples, dim, dtype=dtype))
        self.register_buffer("probabilities", torch.zeros(samples, classes, dtype=dtype))
        self.register_buffer("filled", torch.zeros(samples, dtype=torch.bool))

    @torch.no_grad()
    def fill(self, index: Tensor, features: Tensor, logits: Tensor) -> None:
        """Writes samples to the banks.

        Args:
            index: int64 ``[B]``, which samples.
            features: ``[B, D]``.
            logits: ``[B, C]``.
        """
        self._checked(index, features, logits)
        self.features[index] = F.normalize(features.to(self.features.dtype))
        self.probabilities[index] = logits.to(self.probabilities.dtype).softmax(1)
        self.filled[index] = True

    def _checked(self, index: Any, features: Any, logits: Any) -> None:
        given.features("features", features)
        given.features("logits", logits, "[B, C]")
        expected = [[len(features), side] for side in (self.features.shape[1], self.probabilities.shape[1])]
        for name, t, shape in zip(("features", "logits"), (features, logits), expected, strict=True):
            if list(t.shape) != shape:
                raise ShapeError(f"{name}: expected {shape}, given {list(t.shape)}")
            given.same_device(name, t, self.features)
            given.finite(name, t)
        if not isinstance(index, Tensor) or index.dtype != torch.int64:
            raise DtypeError(f"index: expected int64 [B], given {getattr(index, 'dtype', type(index).__name__)}")
        if list(index.shape) != [len(features)]:
            raise ShapeError(f"index: expected [{len(features)}], one for each row, given {list(index.shape)}")
        given.same_device("index", index, features)
        if given.looked_at(index) and not bool(((index >= 0) & (index < len(self.features))).all()):
            raise ArgumentError(f"index: expected samples from 0 to {len(self.features) - 1}, given {int(index.min())} to "
                                f"{int(index.max())}")

    def forward(self, index: Tensor, features: Tensor, logits: Tensor, weight: Tensor, progress: float | Tensor,
                group: dist.ProcessGroup | None = None) -> SFDA2Losses:
        """The three parts of the loss.

        Args:
            index: int64 ``[B]``, which samples these are.
            features: ``[B, D]``, with gradient: also through the covariances, of which the batch is a part.
            logits: ``[B, C]``.
            weight: ``[C, D]``, the last layer's; with weight normalisation the product.
            progress: step / steps; a number, or a tensor of one.
            group: the running covariances take in the batches of all its ranks. The banks are each rank's own.
        """
        self._checked(index, features, logits)
        given.features("weight", weight, f"[{self.probabilities.shape[1]}, {self.features.shape[1]}]")
        t = number("progress", progress, full(logits), 0, 1)
        if self.training:
            self.fill(index, features, logits)
        probabilities = full(logits).softmax(1)
        pseudo = logits.detach().argmax(1)
        merged = self.statistics.merged(features, pseudo)
        if self.training and group is None:
            self.statistics.take(merged)
        elif self.training:
            self.statistics.update(features, pseudo, group)
        spread = covariance(merged)
        return SFDA2Losses(
            neighbour_clustering(probabilities, self.probabilities[self.nearest(index)], (1 + 10 * t) ** -self.decay),
            self.augmentation * implicit_augmentation(logits, pseudo, weight, spread, self.lambda0 * t),
            self.disentanglement * disentanglement(spread, self._class_probabilities()))

    @torch.no_grad()
    def nearest(self, index: Tensor) -> Tensor:
        """The K samples whose features in the bank are nearest to each of these, ``[B, K]``; of those that were filled in."""
        if given.looked_at(self.filled) and (there := int(self.filled.sum())) <= self.neighbours:
            raise ArgumentError(f"index: expected banks with more than {self.neighbours} samples, given {there}; fill() comes "
                                "first")
        with no_autocast(self.features):
            cosine = self.features[index] @ self.features.T
        cosine = cosine.masked_fill(~self.filled, -torch.inf).scatter(1, index[:, None], -torch.inf)
        return cosine.topk(self.neighbours, 1).indices

    @torch.no_grad()
    def _class_probabilities(self) -> Tensor:
        """The mean of the bank's probabilities over the samples of each pseudo-class."""
        classes = self.probabilities.shape[1]
        pseudo = torch.where(self.filled, self.probabilities.argmax(1), classes)
        return class_moments(self.probabilities, pseudo, classes + 1, diagonal=True).mean[:classes]
