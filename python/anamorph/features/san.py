"""Soft contrastive learning and an all-in-one classifier for universal domain adaptation (Zang et al., "Boosting novel category
discovery over domains with soft contrastive learning and all-in-one classifier", ICCV 2023: SAN)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anamorph.core import checks
from anamorph.core.errors import ShapeError
from anamorph.features import given
from anamorph.features.precision import full, no_autocast
from anamorph.features.queue import pair


def student_similarity(squared: Tensor, freedom: float, scale: float) -> Tensor:
    """How alike two points at squared distance d are, from 0 to almost 1: 2 k - k^2 with k = 6.28 t(sqrt(d / scale))^2, t the
    density of Student's distribution. The number is 6.28 in published code, not 2 pi, and its k + k^T - k k^T is this, as d is
    symmetric.

    Args:
        squared: squared distances, any shape.
        freedom: degrees of freedom, above 0.
        scale: above 0.
    """
    return _both(squared, freedom, scale)[0]


def _both(squared: Tensor, freedom: float, scale: float) -> tuple[Tensor, Tensor]:
    """The similarity and 1 minus it, both without cancellation."""
    peak = 6.28 * math.exp(2 * (math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2))) / (freedom * math.pi)
    k = peak * (1 + squared / (scale * freedom)) ** (-(freedom + 1))
    return k * (2 - k), (1 - k).square()


def _squared_distances(x: Tensor) -> Tensor:
    """``[N, N]`` of rows ``[N, D]``, by one product. Rows about their mean keep more digits."""
    x = x - x.mean(0).detach()
    norms = x.square().sum(1)
    squared = (norms[:, None] + norms - 2 * x @ x.T).clamp(min=0)
    return squared.masked_fill(torch.eye(len(x), dtype=torch.bool, device=x.device), 0)


def soft_contrastive(features: Tensor, first: Tensor, second: Tensor, *, scale: float = 50.0, rate: float = 1e4,
                     freedom: tuple[float, float] = (100.0, 10.0)) -> Tensor:
    """Two views shall lie as near to other pictures as the backbone's features do, where plain contrastive losses hold all others
    for equally different.

    With D the squared distances of the features and e = (that to the nearest other picture) / rate, without gradient, the views'
    distances shall be X = [[D, D + e_j], [D + e_i, D + e_i + e_j]], and those of the embeddings are Y. Both become similarities,
    P = s(X; freedom[0], scale) and Q = s(Y; freedom[1], 1), of which the loss is the mean over all (2 B)^2 cells of
    -P ln(Q + 1e-12) - (1 - P) ln(1 - Q + 1e-12), 0 on the diagonal.

    Gradients reach the embeddings and, through P, the features. float32 at least, also under autocast.

    Args:
        features: floats ``[B, F]``, the backbone's of the first view, B >= 2; those of the second are not used.
        first, second: embeddings ``[B, D]`` of both views.
        scale: of P (``sigmaP``): 50, on Office-31 10.
        rate: (``augNearRate``): 1e4, on VisDA 100.
        freedom: degrees of freedom of P and of Q.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    features = full(given.features("features", features, "[B, F]"))
    first, second = pair("first", first, "second", second)
    given.same_device("first", first, features)
    batch = len(features)
    if batch < 2 or len(first) != batch:
        raise ShapeError(f"features, first: expected rows of the same two pictures or more, given {batch} and {len(first)}")
    scale, rate = checks.number("scale", scale, 1e-6), checks.number("rate", rate, 1e-6)
    of_p, of_q = (checks.number("freedom", v, 1e-3) for v in checks.several("freedom", freedom, (2,), "two numbers"))
    with no_autocast(features):
        apart = _squared_distances(features)
        own = torch.eye(batch, dtype=torch.bool, device=features.device)
        extra = apart.detach().masked_fill(own, torch.inf).amin(0) / rate
        extra = torch.cat([torch.zeros_like(extra), extra])
        x = apart.repeat(2, 2) + extra[:, None] + extra
        p, not_p = _both(x, of_p, scale)
        q, not_q = _both(_squared_distances(torch.cat([first, second])), of_q, 1.0)
        cells = -p * (q + 1e-12).log() - not_p * (not_q + 1e-12).log()
        return cells.masked_fill(own.new_ones(2 * batch).diag(), 0).mean()


class SoftContrastive(nn.Module):
    """:func:`soft_contrastive` with the published projector, dim - 4096 - batch norm - LeakyReLU - dim, of both views.

    Args:
        dim: length of the backbone's features.
        hidden: width of the projector.
        scale, rate, freedom: as of the function.
    """

    def __init__(self, dim: int = 2048, hidden: int = 4096, *, scale: float = 50.0, rate: float = 1e4,
                 freedom: tuple[float, float] = (100.0, 10.0)) -> None:
        super().__init__()
        dim, hidden = checks.whole("dim", dim, 1), checks.whole("hidden", hidden, 1)
        self.projector = nn.Sequential(nn.Linear(dim, hidden), nn.BatchNorm1d(hidden), nn.LeakyReLU(), nn.Linear(hidden, dim))
        self.scale, self.rate, self.freedom = scale, rate, freedom

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """The loss of the backbone's features ``[B, dim]`` of two views of target pictures."""
        given.features("first", first)
        return soft_contrastive(first, self.projector(first), self.projector(second), scale=self.scale, rate=self.rate,
                                freedom=self.freedom)

    def extra_repr(self) -> str:
        return f"scale={self.scale}, rate={self.rate}, freedom={self.freedom}"


def open_set_loss(logits: Tensor, labels: Tensor, *, beta: float = 1.4, top: int = 20) -> Tensor:
    """What SAN's classifier learns of labelled source pictures beside the cross-entropy of the known half of its logits.

    Of the label and the classes that look most like it, ``top`` in all, u and k are the softmax over both halves together; then

        (-ln k_y + max over c != y of -ln u_c - beta ln sigmoid(max k - max u)) / 3

    float32 at least, also under autocast.

    Args:
        logits: floats ``[B, 2 C]``: that a picture is not of class c, for all c, then that it is. C >= 2.
        labels: int64 ``[B]``, 0 to C - 1.
        beta: of the third term, which sets the best of both halves against each other.
        top: how many classes take part, at least 2; the others have no gradient.

    Returns:
        A scalar, the mean over the batch.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    beta, top = checks.number("beta", beta, 0), checks.whole("top", top, 2)
    both = _halves(logits, 2)
    labels = given.labels("labels", labels, logits, both.shape[2])
    with no_autocast(both):
        count = min(top, both.shape[2])
        known = both[:, 1].detach().scatter(1, labels[:, None], torch.inf)  # so that the label is the first
        chosen = known.topk(count, dim=1).indices
        both = both.gather(2, chosen[:, None].expand(-1, 2, -1))
        log_u, log_k = both.flatten(1).log_softmax(1).unflatten(1, (2, count)).unbind(1)
        gap = log_k.amax(1).exp() - log_u.amax(1).exp()
        return ((-log_k[:, 0] - log_u[:, 1:].amin(1) - beta * F.logsigmoid(gap)) / 3).mean()


def pair_entropy(logits: Tensor) -> Tensor:
    """What SAN's classifier learns of target pictures: the entropy of "it is" and "it is not", of each class, the mean over
    classes and batch (OVANet: Saito and Saenko, ICCV 2021). float32 at least, also under autocast.

    Args:
        logits: floats ``[B, 2 C]``, as of :func:`open_set_loss`.

    Returns:
        A scalar.
    """
    both = _halves(logits)
    log = both.log_softmax(1)
    return -(log.exp() * log).sum(1).mean()


def is_unknown(logits: Tensor) -> Tensor:
    """bool ``[B]``: whether the best of "it is not" reaches the best of "it is", of logits ``[B, 2 C]`` as of
    :func:`open_set_loss`."""
    both = _halves(logits)
    return both[:, 0].amax(1) >= both[:, 1].amax(1)


def _halves(logits: Tensor, least: int = 1) -> Tensor:
    """``[B, 2, C]``."""
    given.features("logits", logits, "[B, 2 C]")
    if logits.shape[1] % 2 or logits.shape[1] < 2 * least:
        raise ShapeError(f"logits: expected [B, 2 C] with C of at least {least}, given {list(logits.shape)}")
    return full(logits).unflatten(1, (2, -1))
