"""Gaussians of frozen features: how far a feature lies from what is normal, and classifiers that need no gradient steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, ShapeError
from anamorph.features import given
from anamorph.features.precision import full, no_autocast
from anamorph.features.statistics import LEDOIT_WOLF, RunningGaussian

SUBSETS = ("all", "pca", "npca")
ALPHAS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)  # the published search
PUBLISHED_SCALE = 100.0  # of CLIP's cosines


# ---- anomaly detection ----


def mahalanobis(features: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """Mahalanobis distances, not squared, ``[B]``.

    Args:
        features: floats ``[B, D]``, which gradients reach. float64 stays, others are taken as float32.
        mean: ``[D]``.
        covariance: ``[D, D]``, taken without gradient. Directions in which it is 0 to rounding do not count, as with a
            pseudo-inverse.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    given.features("features", features)
    dim = features.shape[1]
    for name, t, shape in (("mean", mean, f"[{dim}]"), ("covariance", covariance, f"[{dim}, {dim}]")):
        given.same_device(name, given.features(name, t, shape), features)
    x = full(features)
    values, vectors = _components(covariance)
    scale = torch.where(values > _negligible(values), values, torch.inf).rsqrt()
    return _lengths(x, mean.detach().to(x.dtype), (vectors * scale).to(x.dtype))


def _components(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Variances from the highest on and their directions, float64."""
    with no_autocast(covariance):
        values, vectors = torch.linalg.eigh(covariance.detach().double())
    return values.flip(0), vectors.flip(1)


def _negligible(values: Tensor) -> Tensor:
    return len(values) * torch.finfo(values.dtype).eps * values[0]


def _lengths(x: Tensor, mean: Tensor, whitening: Tensor) -> Tensor:
    with no_autocast(x):
        return torch.linalg.vector_norm((x - mean) @ whitening, dim=1)


def mahalanobis_threshold(dim: int, p: float = 0.9973) -> float:
    """The Mahalanobis distance below which a share p of a Gaussian of ``dim`` dimensions lies: the root of chi^2's quantile. The
    default is that of three standard deviations in one dimension."""
    dim, p = checks.whole("dim", dim, 1), checks.number("p", p, 0, 1)
    if not 0 < p < 1:
        checks.wrong("p", "a number between 0 and 1", p)
    half = torch.tensor(dim / 2, dtype=torch.float64)

    def below(square: float) -> bool:
        x = torch.tensor(square / 2, dtype=torch.float64)
        return bool(torch.special.gammainc(half, x) < p if p < 0.5 else torch.special.gammaincc(half, x) > 1 - p)

    low, high = 0.0, float(dim)
    while below(high):
        low, high = high, 2 * high
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if below(middle) else (low, middle)
    return math.sqrt(high)


class GaussianAnomaly(nn.Module):
    """How far pictures lie from normal ones: for each level of a frozen network a Gaussian of its spatially averaged features;
    the score is the mean over levels of the Mahalanobis distance.

    Rippel et al., "Modeling the distribution of normal data in pre-trained deep features for anomaly detection", ICPR 2020.

    Args:
        dims: the number of channels of each level.
        subset: "all"; "pca": the principal components that together first exceed ``share`` of a level's variance; "npca": those
            from the last of them on, of little variance, where the paper finds the anomalies. Components without variance in
            the training set are in neither.
        share: of the variance, 0 to 1; 0.95 in the paper's experiments.
        shrinkage: of the covariance (within the subset), as in :func:`anamorph.features.statistics.covariance`.

    ``state_dict`` carries what was fitted.
    """

    components: Tensor

    def __init__(self, dims: Sequence[int], subset: str = "all", share: float = 0.95,
                 shrinkage: float | str = LEDOIT_WOLF) -> None:
        super().__init__()
        if not checks.is_sequence(dims) or not len(dims):
            checks.wrong("dims", "the number of channels of each level", dims)
        self.dims = tuple(checks.whole("dims", d, 1) for d in dims)
        self.subset = checks.choice("subset", subset, SUBSETS)
        self.share = checks.probability("share", share)
        self.shrinkage = (checks.choice("shrinkage", shrinkage, (LEDOIT_WOLF,)) if isinstance(shrinkage, str)
                          else checks.number("shrinkage", shrinkage, 0, 1))
        self.register_buffer("components", torch.zeros(len(self.dims), dtype=torch.int64))
        for level, dim in enumerate(self.dims):
            self.register_buffer(f"mean{level}", torch.zeros(dim))
            self.register_buffer(f"whitening{level}", torch.zeros(dim, dim))

    @torch.no_grad()
    def fit(self, levels: Sequence[Tensor]) -> Self:
        """Learns what is normal.

        Args:
            levels: for each level the features of all N >= 2 normal pictures, ``[N, D]`` or maps ``[N, D, H, W]``, finite.
        """
        for level, x in enumerate(self._averaged(levels)):
            if len(x) < 2:
                raise ShapeError(f"levels[{level}]: expected at least two normal pictures, given {len(x)}")
            x = x.double()
            gaussian = RunningGaussian(x.shape[1], dtype=torch.float64).to(x.device).update(x)
            mean, (values, vectors) = gaussian.mean[0], _components(gaussian.covariance()[0])
            kept = self._kept(values)
            with no_autocast(x):
                within = RunningGaussian(int(kept.sum()), ledoit_wolf=True, dtype=torch.float64).to(x.device)
                spread = within.update((x - mean) @ vectors[:, kept]).covariance(shrinkage=self.shrinkage)[0].diagonal()
            if still := int((spread <= len(spread) * torch.finfo(spread.dtype).eps * spread.max()).sum()):
                raise ArgumentError(f"levels[{level}]: expected features that vary in every direction, or shrinkage above 0; "
                                    f"given {still} of {len(spread)} components without variance")
            getattr(self, f"mean{level}").copy_(mean)
            whitening = getattr(self, f"whitening{level}").zero_()
            whitening[:, :len(spread)] = vectors[:, kept] * spread.rsqrt()
            self.components[level] = len(spread)
        return self

    def _kept(self, values: Tensor) -> Tensor:
        """Which components, bool [D]."""
        if self.subset == "all":
            return torch.ones_like(values, dtype=torch.bool)
        there = values > _negligible(values)
        if not bool(there.any()):
            raise ArgumentError("levels: expected features that vary, given the same in every picture")
        shares = values.cumsum(0) / values.sum()
        last = int((shares <= self.share).sum().clamp(max=int(there.sum()) - 1))
        place = torch.arange(len(values), device=values.device)
        return there & (place <= last if self.subset == "pca" else place >= last)

    def forward(self, levels: Sequence[Tensor], each: bool = False) -> Tensor:
        """Scores ``[B]``; with ``each`` the distances of the levels ``[B, L]``. float64 where all levels are."""
        if given.looked_at(self.components) and not bool(self.components.all()):
            raise ArgumentError("levels: expected after fit(), given before")
        distances = []
        for level, x in enumerate(self._averaged(levels)):
            mean, whitening = getattr(self, f"mean{level}"), getattr(self, f"whitening{level}")
            distances.append(_lengths(x, mean.to(x.dtype), whitening.to(x.dtype)))
        found = torch.stack(distances, 1)
        return found if each else found.mean(1)

    def thresholds(self, p: float = 0.9973) -> list[float]:
        """:func:`mahalanobis_threshold` of each level: what a share p of normal pictures stays below where the features are
        Gaussian. (Of the mean of several levels there is no such number.)"""
        return [mahalanobis_threshold(int(k), p) for k in self.components]

    def _averaged(self, levels: Any) -> list[Tensor]:
        if not isinstance(levels, Sequence) or len(levels) != len(self.dims):
            checks.wrong("levels", f"a list of {len(self.dims)} tensors, one for each level",
                         f"{len(levels)} of them" if isinstance(levels, Sequence) else type(levels).__name__)
        found = []
        for i, (x, dim) in enumerate(zip(levels, self.dims, strict=True)):
            maps = isinstance(x, Tensor) and x.dim() == 4
            given.features(f"levels[{i}]", x, f"[B, {dim}, H, W]" if maps else f"[B, {dim}]")
            given.same_device(f"levels[{i}]", x, self.components)
            if len(x) != len(levels[0]):
                raise ShapeError(f"levels[{i}]: expected {len(levels[0])} pictures as in the first level, given {len(x)}")
            found.append(full(x).mean((2, 3)) if maps else full(x))
        return found


# ---- classifiers ----


class LinearHead(NamedTuple):
    """A linear classifier: ``features @ weight.T + bias``."""

    weight: Tensor  #: [C, D]
    bias: Tensor  #: [C]


def gda_head(mean: Tensor, precision: Tensor, prior: Tensor | None = None) -> LinearHead:
    """Gaussian discriminant analysis with one covariance for all classes: ``weight = mean P``, ``bias_c = log prior_c - mean_c P
    mean_c / 2``.

    Args:
        mean: of the classes, floats ``[C, D]``.
        precision: P, the inverse of the covariance within classes, ``[D, D]``.
        prior: ``[C]``, the classes' shares; by default 1 / C each.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    classes, dim = given.features("mean", mean, "[C, D]").shape
    given.features("precision", precision, f"[{dim}, {dim}]", mean)
    with no_autocast(mean):
        weight = mean @ precision
        log = (torch.full_like(mean[:, 0], -math.log(classes)) if prior is None
               else given.features("prior", prior, f"[{classes}]", mean).log())
        return LinearHead(weight, log - (weight * mean).sum(1) / 2)


def ridge_precision(scatter: Tensor, count: int) -> Tensor:
    """The precision estimate of the CLIP baseline: ``D pinv((n - 1) S + tr(S) I)`` with ``S = scatter / (n - 1)``. That is
    ``D / (n - 1 + D)`` times the inverse of ``(1 - r) S + r tr(S) / D I``, ``r = D / (n - 1 + D)``.

    Args:
        scatter: floats ``[..., D, D]``, sums of products of deviations.
        count: n, the number of rows, at least 2.
    """
    dim, count = given.features("scatter", scatter, "[..., D, D]").shape[-1], checks.whole("count", count, 2)
    level = scatter.diagonal(dim1=-2, dim2=-1).sum(-1) / (count - 1)
    with no_autocast(scatter):
        return dim * torch.linalg.pinv(scatter + torch.diag_embed(level[..., None].expand(*level.shape, dim)), hermitian=True)


class CLIPGDA(nn.Module):
    """A few-shot classifier on CLIP's features: its text logits plus ``alpha`` times Gaussian discriminant analysis of a few
    labelled pictures. Nothing is trained. :meth:`update` with (views of) the pictures, :meth:`fit`, :meth:`tune` on other ones.

    Wang et al., "A hard-to-beat baseline for training-free CLIP-based adaptation", ICLR 2024.

    Args:
        text: the classes' text vectors, floats ``[C, D]``; normalised here, as all features are.
        alpha: the weight of the Gaussians' part; :meth:`tune` chooses it.
        scale: of the text's cosines.

    Buffers: ``text``, ``weight``, ``bias``, ``alpha``; ``statistics`` is the :class:`RunningGaussian`, of float64.
    """

    text: Tensor
    weight: Tensor
    bias: Tensor
    alpha: Tensor

    def __init__(self, text: Tensor, alpha: float = 1.0, scale: float = PUBLISHED_SCALE) -> None:
        super().__init__()
        classes, dim = given.features("text", text, "[C, D]").shape
        given.finite("text", text)
        self.scale = checks.number("scale", scale, 0)
        self.statistics = RunningGaussian(dim, classes, dtype=torch.float64).to(text.device)
        self.register_buffer("text", F.normalize(full(text.detach())))
        self.register_buffer("weight", torch.zeros_like(self.text))
        self.register_buffer("bias", torch.zeros_like(self.text[:, 0]))
        self.register_buffer("alpha", torch.as_tensor(checks.number("alpha", alpha, 0), dtype=self.text.dtype,
                                                      device=text.device))

    def update(self, features: Tensor, labels: Tensor, group: dist.ProcessGroup | None = None) -> Self:
        """Takes in labelled pictures' features ``[B, D]``, of any number of random views (the published code crops 0.5 to 1 of
        the area and flips). ``group`` as of :meth:`RunningGaussian.update`."""
        given.features("features", features)
        self.statistics.update(F.normalize(features.double()), labels, group)
        return self

    @torch.no_grad()
    def fit(self, precision: str = "pooled") -> Self:
        """Makes the linear head.

        Args:
            precision: "pooled": :func:`ridge_precision` of all deviations from the classes' means; "mean": the pseudo-inverse of
                the classes' mean unbiased covariance, the published one for base-to-new generalisation, which needs two rows of
                each class.

        Raises:
            ArgumentError: a class has too few rows.
        """
        precision = checks.choice("precision", precision, ("pooled", "mean"))
        needed = 1 if precision == "pooled" else 2
        if bool((self.statistics.counts < needed).any()):
            raise ArgumentError(f"fit: expected at least {needed} row{'s' * (needed > 1)} of each class, given "
                                f"{self.statistics.counts.tolist()}")
        if precision == "pooled":
            inverse = ridge_precision(self.statistics.scatter.sum(0), int(self.statistics.counts.sum()))
        else:
            inverse = torch.linalg.pinv(self.statistics.covariance(correction=1).mean(0), hermitian=True)
        self._set(gda_head(self.statistics.mean, inverse))
        return self

    def _set(self, head: LinearHead) -> None:
        self.weight.copy_(head.weight)
        self.bias.copy_(head.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Logits ``[B, C]``: ``scale f . t + alpha (f . w + b)``."""
        text, gaussian = self._parts(features)
        return text + self.alpha.to(text.dtype) * gaussian

    def _parts(self, features: Tensor) -> tuple[Tensor, Tensor]:
        given.features("features", features, f"[B, {self.text.shape[1]}]")
        given.same_device("features", features, self.text)
        f = F.normalize(full(features))
        with no_autocast(f):
            return (self.scale * f @ self.text.T.to(f.dtype),
                    torch.addmm(self.bias.to(f.dtype), f, self.weight.T.to(f.dtype)))

    @torch.no_grad()
    def tune(self, features: Tensor, labels: Tensor, alphas: Sequence[float] = ALPHAS) -> float:
        """Takes the alpha that is right most often, the first of equal ones, and gives the share it gets right. Use a validation
        set; the published ImageNet figures were tuned on the test set."""
        text, gaussian = self._parts(features)
        given.labels("labels", labels, features, len(self.text))
        if not checks.is_sequence(alphas) or not len(alphas):
            checks.wrong("alphas", "numbers", alphas)
        values = [checks.number("alphas", a, 0) for a in alphas]
        right = torch.stack([((text + a * gaussian).argmax(1) == labels).double().mean() for a in values])
        best = int(right.argmax())
        self.alpha.fill_(values[best])
        return float(right[best])

    @torch.no_grad()
    def new_classes(self, text: Tensor, features: Tensor, neighbours: int = 64, copies: int = 16) -> CLIPGDA:
        """The published base-to-new generalisation: a classifier of classes without any pictures, from the pictures of others
        that are nearest to their text.

        A new class's mean is that of its ``neighbours`` nearest features and ``copies`` of its text vector; the precision is the
        mean of the new classes' :func:`ridge_precision`, of the neighbours' deviations from the text vector. alpha stays.

        Args:
            text: of the new classes, ``[C', D]``.
            features: the training pictures' features ``[N, D]``, at least ``neighbours``.
        """
        neighbours, copies = checks.whole("neighbours", neighbours, 2), checks.whole("copies", copies, 0)
        dim = self.text.shape[1]
        given.features("text", text, f"[C', {dim}]")
        given.features("features", features, f"[N, {dim}]")
        given.same_device("text", text, self.text)
        given.same_device("features", features, self.text)
        if len(features) < neighbours:
            raise ShapeError(f"features: expected at least {neighbours} rows, one for each neighbour, given {len(features)}")
        new = CLIPGDA(text, float(self.alpha), self.scale)
        f, t = F.normalize(features.double()), new.text.double()
        with no_autocast(f):
            near = f[(t @ f.T).topk(neighbours, 1).indices]
            away = near - t[:, None, :]
            precision = ridge_precision(away.mT @ away, neighbours).mean(0)
        new._set(gda_head((near.sum(1) + copies * t) / (neighbours + copies), precision))
        return new


class GaussianNaiveBayes(nn.Module):
    """Naive Bayes with Gaussian features, from a stream of labelled batches: the classifier of Zheng et al., "Revisiting
    discriminative vs. generative classifiers", ICML 2023, which needs few labels on pre-trained features.

    Args:
        dim: D.
        classes: C.
        shared: one variance of each feature for all classes, the classes' weighted by their shares: the classifier is linear, as
            published. Otherwise each class has its own.
        epsilon: what is added to the variances.
        dtype: of the running sums.

    ``statistics`` is the diagonal :class:`RunningGaussian`.
    """

    def __init__(self, dim: int, classes: int, shared: bool = True, epsilon: float = 1e-9,
                 dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.statistics = RunningGaussian(dim, classes, diagonal=True, dtype=dtype)
        self.shared, self.epsilon = checks.flag("shared", shared), checks.number("epsilon", epsilon, 0)

    def update(self, features: Tensor, labels: Tensor, group: dist.ProcessGroup | None = None) -> Self:
        """Takes in labelled features ``[B, D]``; see :meth:`RunningGaussian.update`."""
        self.statistics.update(features, labels, group)
        return self

    def forward(self, features: Tensor) -> Tensor:
        """``log prior_c + log N(f; mean_c, variance)``, ``[B, C]``, of the sums' dtype, with gradient for the features. A class
        without rows has -inf; before any rows all have."""
        mean = self.statistics.mean
        given.features("features", features, f"[B, {mean.shape[1]}]")
        given.same_device("features", features, mean)
        counts = self.statistics.counts.to(mean.dtype)
        prior = counts / counts.sum().clamp(min=1)
        with no_autocast(mean):
            variance = self.statistics.covariance() + self.epsilon
            if self.shared:
                variance = torch.where(counts.sum() > 0, prior @ variance, 1.0).expand_as(mean)
            # Moved to the middle of the means, so that the squares below keep their digits.
            middle = prior @ mean
            f, m = features.to(mean.dtype) - middle, mean - middle
            near = f.square() @ (1 / variance).T - 2 * f @ (m / variance).T + (m.square() / variance).sum(1)
            logits = prior.log() - (near + variance.log().sum(1) + mean.shape[1] * math.log(2 * math.pi)) / 2
        return logits.masked_fill(counts == 0, -torch.inf)
