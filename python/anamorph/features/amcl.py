"""Several projection heads, and a temperature for each pair of embeddings (Wang et al., "Adaptive multi-head contrastive
learning", ECCV 2024)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, ShapeError
from anamorph.features import given
from anamorph.features.precision import no_autocast
from anamorph.features.queue import beside, excluding, pair

MODES = ("max", "sum")
Temperature = float | Callable[[Tensor, Tensor], Tensor]


class MultiHeadProjector(nn.Module):
    """Heads that learn different things of one feature: C nets of dim - hidden - ReLU - out.

    Args:
        dim, hidden, out, heads: 512, 512, 128 and 3 as published.
    """

    def __init__(self, dim: int = 512, hidden: int = 512, out: int = 128, heads: int = 3) -> None:
        super().__init__()
        dim, hidden, out = (checks.whole(name, n, 1) for name, n in (("dim", dim), ("hidden", hidden), ("out", out)))
        self.heads = nn.ModuleList(nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, out))
                                   for _ in range(checks.whole("heads", heads, 1)))

    def forward(self, features: Tensor) -> Tensor:
        """``[C, B, out]`` of features ``[B, dim]``."""
        given.features("features", features)
        return torch.stack([head(features) for head in self.heads])


class AdaptiveTemperature(nn.Module):
    """The temperature of a pair, which a small net tells from both embeddings: low + (high - low) sigmoid(MLP[a; b]), one net for
    all heads.

    Args:
        dim: length of an embedding.
        hidden: width of the net.
        limits: (low, high). Published code has (1e-5, 2), and nothing in the loss keeps a temperature from the lower one, where
            the loss has no bound.
    """

    def __init__(self, dim: int = 128, hidden: int = 128, limits: Sequence[float] = (0.05, 2.0)) -> None:
        super().__init__()
        self.dim = checks.whole("dim", dim, 1)
        self.limits = checks.interval("limits", limits, 1e-6)
        self.joint = nn.Linear(2 * self.dim, checks.whole("hidden", hidden, 1))
        self.out = nn.Linear(hidden, 1)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Of embeddings ``[..., D]`` that broadcast: ``[...]``. All pairs are ``(a[:, None], b)``, and the first layer's product
        is made once for each row."""
        for name, t in (("first", first), ("second", second)):
            given.features(name, t, f"[..., {self.dim}]")
        of_first, of_second = self.joint.weight.chunk(2, dim=1)
        hidden = F.relu(F.linear(first, of_first, self.joint.bias) + F.linear(second, of_second))
        low, high = self.limits
        return low + (high - low) * self.out(hidden)[..., 0].sigmoid()

    def extra_repr(self) -> str:
        return f"limits={self.limits}"


def temperature_penalty(temperature: Tensor, dim: int) -> Tensor:
    """``dim / 2 ln T + 1 / T``, which is least at T = 2 / dim."""
    return dim / 2 * temperature.log() + 1 / temperature


def multi_head_contrastive(first: Tensor, second: Tensor, temperature: Temperature, negatives: Tensor | None = None, *,
                           mode: str = "max", beta: float = 0.1, include_positive: bool = False,
                           exclude: Tensor | None = None) -> Tensor:
    """AMCL's loss of SimCLR and of MoCo: the sum over heads, the mean over anchors of

        -s_p / T_p + beta O(T_p) + max over n of s_n, as s_n / T_n - beta O(T_n)            mode "max", as published
        -s_p / T_p + beta O(T_p) + log sum over n of exp(s_n / T_n - beta O(T_n))           mode "sum"

    with cosines s, of the positive and of the negatives, temperatures T and O = :func:`temperature_penalty` of the heads' width.
    "sum" is our reading, whose "max" for one temperature is published; of one temperature O falls out.

    Without ``negatives`` it is SimCLR: anchors are both views, negatives all views of other pictures, and gradients reach both.
    With them it is MoCo: anchors are the first views, and no gradient reaches the second or the negatives. The temperatures are
    told of embeddings of length 1, and gradients go through them as well. "sum" asks for the temperature of every pair, so its
    memory grows by heads x anchors x negatives x the width of the temperature's net. float32 at least, also under autocast.

    Args:
        first, second: floats ``[C, B, D]``, the heads' embeddings of two views; they are normalised here. B >= 2 for SimCLR.
        temperature: an :class:`AdaptiveTemperature`, anything that makes ``[...]`` of two ``[..., D]`` that broadcast, or one
            number for all pairs.
        negatives: ``[C, K, D]``, a queue for each head.
        mode: "max" or "sum".
        beta: of the penalty; .1 in published code. 1 makes it a Gaussian's log-likelihood.
        include_positive: the positive is one of the n as well (InfoNCE).
        exclude: bool ``[B, K]`` or ``[1, K]``: of ``negatives`` those that are none.

    Returns:
        A scalar.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected; an anchor without negatives.
    """
    mode, beta = checks.choice("mode", mode, MODES), checks.number("beta", beta, 0)
    include_positive, told = checks.flag("include_positive", include_positive), _told(temperature)
    a, b = _heads("first", first, "second", second)
    if negatives is None:
        if exclude is not None:
            checks.wrong("exclude", "none without negatives", exclude)
        batch = a.shape[1]
        if batch < 2:
            raise ShapeError(f"first: expected embeddings of at least two pictures, given {list(a.shape)}")
        anchor, positive = torch.cat([a, b], 1), torch.cat([b, a], 1)
        others, excluded = anchor, torch.eye(batch, dtype=torch.bool, device=a.device).repeat(2, 2)
    else:
        others = F.normalize(beside("negatives", negatives, a, f"[{a.shape[0]}, K, {a.shape[2]}]").detach(), dim=2)
        anchor, positive = a, b.detach()
        excluded = others.new_zeros(1, others.shape[1], dtype=torch.bool)
        if exclude is not None:
            excluded = excluding("exclude", exclude, a[0], others[0])
            if given.looked_at(excluded) and not include_positive and bool(excluded.all(1).any()):
                raise ArgumentError("exclude: expected a negative for each anchor at least, given an anchor without")
    dim = anchor.shape[2]
    with no_autocast(anchor):
        right, at_right = (anchor * positive).sum(2), told(anchor, positive)
        penalty = beta * temperature_penalty(at_right, dim)
        scores = anchor @ others.mT
        if mode == "max":
            wrong, which = scores.masked_fill(excluded, -torch.inf).max(2)
            chosen = others.gather(1, which[..., None].expand(-1, -1, dim))
            if include_positive:
                nearer = right > wrong
                wrong, chosen = torch.where(nearer, right, wrong), torch.where(nearer[..., None], positive, chosen)
            at_wrong = told(anchor, chosen)
            against = wrong / at_wrong - beta * temperature_penalty(at_wrong, dim)
        else:
            at_wrong = told(anchor[:, :, None], others[:, None])
            each = (scores / at_wrong - beta * temperature_penalty(at_wrong, dim)).masked_fill(excluded, -torch.inf)
            if include_positive:
                each = torch.cat([each, (right / at_right - penalty)[..., None]], 2)
            against = each.logsumexp(2)
        return (against - right / at_right + penalty).mean(1).sum()


def multi_head_siamese(first_prediction: Tensor, second_prediction: Tensor, first_target: Tensor, second_target: Tensor,
                       temperature: Temperature, *, beta: float = 0.1) -> Tensor:
    """AMCL's loss of SimSiam: the sum over heads, the mean over the batch, of -s / (2 T) + beta O(T) both ways, s the cosine of a
    view's prediction and the other's target. Gradients reach the predictions and, through them, the temperature's net. float32 at
    least, also under autocast.

    Args:
        first_prediction, second_prediction: floats ``[C, B, D]``, the predictors' of two views.
        first_target, second_target: ``[C, B, D]``, the projectors' of them.
        temperature, beta: as of :func:`multi_head_contrastive`.

    Returns:
        A scalar.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    beta, told = checks.number("beta", beta, 0), _told(temperature)
    p1, z2 = _heads("first_prediction", first_prediction, "second_target", second_target)
    p2, z1 = _heads("second_prediction", second_prediction, "first_target", first_target)
    given.same_shape("second_prediction", p2, "first_prediction", p1)
    with no_autocast(p1):
        losses = []
        for p, z in ((p1, z2.detach()), (p2, z1.detach())):
            at = told(p, z)
            losses.append(beta * temperature_penalty(at, p.shape[2]) - (p * z).sum(2) / (2 * at))
        return torch.stack(losses).sum(0).mean(1).sum()


class MultiHeadContrastive(nn.Module):
    """:func:`multi_head_contrastive` with its temperature: ``module(first, second)``, or ``module(first, second, negatives)``.

    Args:
        dim, hidden, limits: as of :class:`AdaptiveTemperature`.
        mode, beta, include_positive: as of the function.
    """

    def __init__(self, dim: int = 128, hidden: int = 128, limits: Sequence[float] = (0.05, 2.0), *, mode: str = "max",
                 beta: float = 0.1, include_positive: bool = False) -> None:
        super().__init__()
        self.temperature = AdaptiveTemperature(dim, hidden, limits)
        self.mode, self.beta = checks.choice("mode", mode, MODES), checks.number("beta", beta, 0)
        self.include_positive = checks.flag("include_positive", include_positive)

    def forward(self, first: Tensor, second: Tensor, negatives: Tensor | None = None, exclude: Tensor | None = None) -> Tensor:
        return multi_head_contrastive(first, second, self.temperature, negatives, mode=self.mode, beta=self.beta,
                                      include_positive=self.include_positive, exclude=exclude)

    def extra_repr(self) -> str:
        return f"mode={self.mode!r}, beta={self.beta}, include_positive={self.include_positive}"


def _told(temperature: Temperature) -> Callable[[Tensor, Tensor], Tensor]:
    if callable(temperature):
        return temperature
    value = checks.number("temperature", temperature, 1e-6)
    return lambda first, second: first.new_tensor(value)


def _heads(name: str, first: Tensor, other: str, second: Tensor) -> tuple[Tensor, Tensor]:
    """Two tensors ``[C, B, D]`` of rows of length 1."""
    a, b = (F.normalize(t, dim=2) for t in pair(name, first, other, second, "[C, B, D]"))
    return a, b
