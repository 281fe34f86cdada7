"""Positives moved apart and negatives mixed, and what the scores of a contrastive loss tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from anamorph.core import checks
from anamorph.core.errors import ShapeError
from anamorph.core.extras import extra
from anamorph.features import draws, given
from anamorph.features.draws import Step
from anamorph.features.manifold import mix_rows
from anamorph.features.queue import against, excluding, moco_logits, triple

PER = ("batch", "sample", "dimension")


def extrapolate(query: Tensor, key: Tensor, weight: Tensor) -> Tensor:
    """``weight query + (1 - weight) key``: with a weight above 1 beyond the query, away from the key."""
    return torch.lerp(key, query, weight)


def interpolate_rows(rows: Tensor, partner: Tensor, weight: Tensor) -> Tensor:
    """``weight rows + (1 - weight) rows[partner]``, of rows ``[K, D]`` with a weight for all ``[1, 1]``, for each row ``[K, 1]``
    or for each number ``[K, D]``."""
    if weight.shape[1] < rows.shape[1]:
        return mix_rows(rows, partner, weight[:, 0])
    return torch.lerp(rows.index_select(0, partner), rows, weight)


def feature_transformation(query: Tensor, key: Tensor, queue: Tensor, temperature: float = 0.2, *, step: Step,
                           positive_alpha: float | None = 2.0, negative_alpha: float | None = 1.6, positive_per: str = "batch",
                           negative_per: str = "batch", postmix_norm: bool = False, exclude: Tensor | None = None) -> Tensor:
    """MoCo's logits of harder positives and more varied negatives (Zhu et al., "Improving contrastive learning by visualizing
    feature transformation", ICCV 2021).

        q' = m q + (1 - m) k      k' = m k + (1 - m) q           m = 1 + Beta(positive_alpha, positive_alpha)
        queue' = m' queue + (1 - m') queue[permutation]          m' = Beta(negative_alpha, negative_alpha)

    Of unit q and k with cosine s the cosine becomes s + 2 m (1 - m) (1 - s), which is at most s. The key has no gradient, but k'
    depends on the query, so gradients reach the query through both. float32 at least, also under autocast.

    What goes into the queue afterwards is the key as it was.

    Args:
        query: floats ``[B, D]`` of length 1.
        key: ``[B, D]`` of length 1.
        queue: ``[K, D]`` of length 1.
        temperature: what the products are divided by.
        step: (seed, step), int64 ``[2]`` or two ints.
        positive_alpha: None leaves positives as they are.
        negative_alpha: None leaves negatives as they are.
        positive_per: one m for the "batch" (as in the published runs), for each "sample", or for each "dimension" of each sample.
        negative_per: the same of m' and the rows of the queue.
        postmix_norm: q' and k' get length 1 again; as published, queue' does not.
        exclude: bool ``[B, K]`` or ``[1, K]``: columns that become ``-inf``, with the mixed ones that have a part of them.

    Returns:
        Logits ``[B, 1 + K]``; the right class is 0.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    query, key, queue = triple(query, key, queue)
    key, queue = key.detach(), queue.detach()
    if positive_alpha is not None:
        m = 1 + _weights(step, "transformation.positive", positive_alpha, "positive", positive_per, query)
        query, key = extrapolate(query, key, m), extrapolate(key, query, m)
    if negative_alpha is not None:
        # With one m' the products are m' S + (1 - m') S[:, permutation]. But that is a pass over [B, K], and another over its
        # gradient, where the queue is [K, D] and has none.
        m = _weights(step, "transformation.negative", negative_alpha, "negative", negative_per, queue)
        partner = draws.permutation(step, "transformation.partner", len(queue), queue.device)
        queue = interpolate_rows(queue, partner, m)
        if exclude is not None:
            exclude = excluding("exclude", exclude, query, queue)
            exclude = exclude | exclude.index_select(1, partner)
    if checks.flag("postmix_norm", postmix_norm):
        query, key = F.normalize(query, dim=1), F.normalize(key, dim=1)
    return against(query, key, queue, temperature, exclude)


def _weights(step: Step, name: str, alpha: float, side: str, per: str, like: Tensor) -> Tensor:
    alpha = checks.number(f"{side}_alpha", alpha, 1e-3)
    rows, dim = like.shape
    shape = {"batch": (1, 1), "sample": (rows, 1), "dimension": (rows, dim)}[checks.choice(f"{side}_per", per, PER)]
    return draws.beta(step, name, shape, alpha, alpha, like.device).to(like.dtype)


class FeatureTransformation(draws.Keyed):
    """:func:`feature_transformation` with a key of its own: ``module(query, key, queue)``. In evaluation mode nothing is moved or
    mixed: the logits are MoCo's.

    Args:
        temperature, positive_alpha, negative_alpha, positive_per, negative_per, postmix_norm: as of the function.
        seed: of the random numbers.
    """

    def __init__(self, temperature: float = 0.2, *, positive_alpha: float | None = 2.0, negative_alpha: float | None = 1.6,
                 positive_per: str = "batch", negative_per: str = "batch", postmix_norm: bool = False, seed: int = 0) -> None:
        super().__init__(seed)
        self.temperature = checks.number("temperature", temperature, 1e-6)
        self.positive_alpha = None if positive_alpha is None else checks.number("positive_alpha", positive_alpha, 1e-3)
        self.negative_alpha = None if negative_alpha is None else checks.number("negative_alpha", negative_alpha, 1e-3)
        self.positive_per = checks.choice("positive_per", positive_per, PER)
        self.negative_per = checks.choice("negative_per", negative_per, PER)
        self.postmix_norm = checks.flag("postmix_norm", postmix_norm)

    def forward(self, query: Tensor, key: Tensor, queue: Tensor, exclude: Tensor | None = None) -> Tensor:
        if not self.training:
            return moco_logits(query, key, queue, self.temperature, exclude=exclude)
        return feature_transformation(query, key, queue, self.temperature, step=self.next_step(),
                                      positive_alpha=self.positive_alpha, negative_alpha=self.negative_alpha,
                                      positive_per=self.positive_per, negative_per=self.negative_per,
                                      postmix_norm=self.postmix_norm, exclude=exclude)

    def extra_repr(self) -> str:
        return (f"temperature={self.temperature}, positive_alpha={self.positive_alpha}, negative_alpha={self.negative_alpha}, "
                f"positive_per={self.positive_per!r}, negative_per={self.negative_per!r}, postmix_norm={self.postmix_norm}")


class ScoreStatistics(NamedTuple):
    """Of each query, ``[B]``. Scores are products before the temperature."""

    negative_mean: Tensor
    negative_variance: Tensor
    """Unbiased; NaN of a single negative."""
    positive: Tensor
    negative_exp: Tensor
    """The mean of exp(score / temperature) over the negatives."""
    positive_exp: Tensor


@torch.no_grad()
def score_statistics(logits: Tensor, temperature: float = 0.2) -> ScoreStatistics:
    """What Zhu et al. (ICCV 2021) save in each step to see what a contrastive loss does, for each query.

    Args:
        logits: floats ``[B, 1 + K]`` over the temperature, the positive in column 0. Columns that are ``-inf`` are no negatives.
        temperature: what the logits were divided by.

    Raises:
        ArgumentError, ShapeError, DtypeError: what was given and what is expected.
    """
    given.features("logits", logits, "[B, 1 + K]")
    temperature = checks.number("temperature", temperature, 1e-6)
    if logits.shape[1] < 2:
        raise ShapeError(f"logits: expected [B, 1 + K] with at least one negative, given {list(logits.shape)}")
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    positive, negatives = logits[:, 0], logits[:, 1:]
    there = ~negatives.isneginf()
    count = there.sum(1)
    scores = torch.where(there, negatives * temperature, 0)
    mean = scores.sum(1) / count
    variance = torch.where(there, scores - mean[:, None], 0).square().sum(1) / (count - 1)
    return ScoreStatistics(mean, variance, positive * temperature, negatives.exp().sum(1) / count, positive.exp())


def plot_scores(curves: Mapping[str, Sequence[ScoreStatistics]], path: str | Path) -> None:
    """Draws the mean over queries of the positive score, of the negatives' mean and of their variance, over the steps: faintly
    what each step has, above it the mean of a fortieth of the steps about each.

    Args:
        curves: for each run, by its name, the statistics of its steps in order.
        path: of the PNG file that is written.

    Raises:
        ArgumentError: nothing to draw.
        MissingDependencyError: matplotlib is not installed.
    """
    if not isinstance(curves, Mapping) or not curves or not all(curves.values()):
        checks.wrong("curves", "a mapping of names to the statistics of one step at least", curves)
    with extra("demo", "plot_scores"):
        from matplotlib.figure import Figure
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    panels = {"positive": "score of the positive", "negative_mean": "mean score of the negatives",
              "negative_variance": "variance of the negatives' scores"}
    for axes, (field, title) in zip(figure.subplots(1, 3), panels.items()):
        for name, steps in curves.items():
            values = torch.stack([getattr(step, field).mean().double().cpu() for step in steps])
            line, = axes.plot(_smooth(values, max(len(values) // 80, 1)), label=name)
            axes.plot(values, color=line.get_color(), alpha=0.25, linewidth=0.5)
        axes.set(title=title, xlabel="step")
        axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, format="png", dpi=110)


def _smooth(values: Tensor, reach: int) -> Tensor:
    """The mean of each value and of those up to ``reach`` places away."""
    sums = F.pad(values.cumsum(0), (1, 0))
    at = torch.arange(len(values))
    low, high = (at - reach).clamp(min=0), (at + reach + 1).clamp(max=len(values))
    return (sums[high] - sums[low]) / (high - low)
