"""Metric learning from mixed samples (Metrix): an anchor also meets mixes of a positive, or of itself, with a negative, which
are as positive as the mix has of the first.

Venkataramanan et al., "It takes two to tango: Mixup for deep metric learning", ICLR 2022. The three losses, of which each takes a
positiveness between 0 and 1 here: contrastive (Hadsell et al., CVPR 2006), multi-similarity (Wang et al., CVPR 2019), proxy
anchor (Kim et al., CVPR 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, ShapeError
from anamorph.features import draws, given
from anamorph.features.precision import full, no_autocast, within

PAIRINGS = ("either", "positive-negative", "anchor-negative")
Mined = Sequence[Tensor]


def contrastive_loss(distances: Tensor, positiveness: Tensor, valid: Tensor | None = None, pos_margin: float = 0.0,
                     neg_margin: float = 0.5) -> Tensor:
    """Positives are drawn to ``pos_margin``, negatives pushed to ``neg_margin``: ``y relu(d - pos_margin)`` and
    ``(1 - y) relu(neg_margin - d)``, each averaged over what is not 0 of it.

    Args:
        distances: d of anchors and examples, floats ``[A, V]``.
        positiveness: y, ``[A, V]``, 1 of a positive, 0 of a negative, between of a mix.
        valid: bool ``[A, V]``, which pairs count; all by default.
        pos_margin, neg_margin: 0 and 0.5 in the published settings.

    Returns:
        A scalar, float32, or float64 of that; 0 where no pair counts.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    d, y, there = _pairs("distances", distances, positiveness, valid)
    low, high = checks.number("pos_margin", pos_margin), checks.number("neg_margin", neg_margin)
    return _mean_of_nonzero(y * F.relu(d - low), there) + _mean_of_nonzero((1 - y) * F.relu(high - d), there)


def multi_similarity_loss(similarities: Tensor, positiveness: Tensor, valid: Tensor | None = None, alpha: float = 2.0,
                          beta: float = 50.0, base: float = 0.5) -> Tensor:
    """Of each anchor ``log(1 + sum_v y e^(-alpha (s - base))) / alpha + log(1 + sum_v (1 - y) e^(beta (s - base))) / beta``;
    the mean over the anchors.

    Args:
        similarities: cosines s of anchors and examples, floats ``[A, V]``.
        positiveness, valid: as of :func:`contrastive_loss`.
        alpha, beta, base: 2, 50 and 0.5 as published; Metrix's code has 18, 76 and 0.77.

    Returns:
        A scalar, float32, or float64 of that; 0 where no pair counts.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    s, y, there = _pairs("similarities", similarities, positiveness, valid)
    alpha, beta, base = checks.number("alpha", alpha, 1e-6), checks.number("beta", beta, 1e-6), checks.number("base", base)
    each = _log_one_and(-alpha * (s - base), y, there) / alpha + _log_one_and(beta * (s - base), 1 - y, there) / beta
    return each.mean()


def proxy_anchor_loss(similarities: Tensor, positiveness: Tensor, valid: Tensor | None = None, margin: float = 0.1,
                      alpha: float = 32.0) -> Tensor:
    """Of each proxy ``log(1 + sum_v y e^(-alpha (s - margin)))``, the mean over the proxies with a positive, and
    ``log(1 + sum_v (1 - y) e^(alpha (s + margin)))``, the mean over all.

    Args:
        similarities: cosines s of proxies and examples, floats ``[C, V]``.
        positiveness, valid: as of :func:`contrastive_loss`.
        margin, alpha: 0.1 and 32 as published.

    Returns:
        A scalar, float32, or float64 of that; 0 where no pair counts.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    s, y, there = _pairs("similarities", similarities, positiveness, valid)
    margin, alpha = checks.number("margin", margin), checks.number("alpha", alpha, 1e-6)
    with_positives = ((y > 0) & there).any(1).sum().clamp(min=1)
    near, far = _log_one_and(-alpha * (s - margin), y, there), _log_one_and(alpha * (s + margin), 1 - y, there)
    return near.sum() / with_positives + far.mean()


class Contrastive(nn.Module):
    """:func:`contrastive_loss` of a batch's embeddings, whose distances are those of their directions: ``|a / |a| - b /
    |b||``."""

    def __init__(self, pos_margin: float = 0.0, neg_margin: float = 0.5) -> None:
        super().__init__()
        self.pos_margin, self.neg_margin = checks.number("pos_margin", pos_margin), checks.number("neg_margin", neg_margin)

    def forward(self, embeddings: Tensor, labels: Tensor, mined: Mined | None = None) -> Tensor:
        """``embeddings`` ``[B, D]``, ``labels`` int64 ``[B]``; ``mined``: what a miner of pytorch-metric-learning gave, the only
        pairs that count."""
        positives, negatives = _of_batch(embeddings, labels, mined)
        unit = _unit(embeddings)
        distances = torch.cdist(unit, unit, compute_mode="donot_use_mm_for_euclid_dist")
        return contrastive_loss(distances, positives.to(unit.dtype), positives | negatives, self.pos_margin, self.neg_margin)


class MultiSimilarity(nn.Module):
    """:func:`multi_similarity_loss` of a batch's embeddings."""

    def __init__(self, alpha: float = 2.0, beta: float = 50.0, base: float = 0.5) -> None:
        super().__init__()
        self.alpha, self.beta = checks.number("alpha", alpha, 1e-6), checks.number("beta", beta, 1e-6)
        self.base = checks.number("base", base)

    def forward(self, embeddings: Tensor, labels: Tensor, mined: Mined | None = None) -> Tensor:
        """As :class:`Contrastive`'s."""
        positives, negatives = _of_batch(embeddings, labels, mined)
        with no_autocast(embeddings):
            unit = _unit(embeddings)
            cosines = unit @ unit.T
        return multi_similarity_loss(cosines, positives.to(unit.dtype), positives | negatives, self.alpha, self.beta, self.base)


class ProxyAnchor(nn.Module):
    """:func:`proxy_anchor_loss` of a batch's embeddings and of proxies that are learnt, one of each class.

    Args:
        classes: C, of training.
        dim: D, the length of an embedding.
    """

    def __init__(self, classes: int, dim: int, margin: float = 0.1, alpha: float = 32.0) -> None:
        super().__init__()
        self.proxies = nn.Parameter(torch.empty(checks.whole("classes", classes, 2), checks.whole("dim", dim, 1)))
        nn.init.kaiming_normal_(self.proxies, mode="fan_out")
        self.margin, self.alpha = checks.number("margin", margin), checks.number("alpha", alpha, 1e-6)

    def forward(self, embeddings: Tensor, labels: Tensor, mined: Mined | None = None) -> Tensor:
        """As :class:`Contrastive`'s. Of ``mined`` nothing is taken: the anchors are proxies, of which a miner knows none."""
        classes = len(self.proxies)
        _batch(embeddings, labels, classes)
        with no_autocast(embeddings):
            cosines = _unit(self.proxies).to(full(embeddings).dtype) @ _unit(embeddings).T
        return proxy_anchor_loss(cosines, F.one_hot(labels, classes).T.to(cosines.dtype), None, self.margin, self.alpha)


class MixedPairs(NamedTuple):
    """Which samples of a batch of B are mixed for which anchor: K for each, of which ``valid`` says whether they count.

    Attributes:
        first: int64 ``[B, K]``, the positive or the anchor itself.
        second: int64 ``[B, K]``, the negative.
        valid: bool ``[B, K]``.
        lam: the share of the first, float32 ``[]``.
    """

    first: Tensor
    second: Tensor
    valid: Tensor
    lam: Tensor

    def mix(self, x: Tensor) -> Tensor:
        """``lam x[first] + (1 - lam) x[second]``: ``[B K, ...]`` of floats ``[B, ...]``, pictures, features or embeddings.
        Those that do not count are there as well, so that the shape is known beforehand."""
        given.features("x", x, "[B, ...]")
        if len(x) != len(self.first):
            raise ShapeError(f"x: expected [{len(self.first)}, ...], the batch that the pairs are of, given {list(x.shape)}")
        lam = self.lam.to(x.dtype)
        return lam * x[self.first.flatten()] + (1 - lam) * x[self.second.flatten()]


def mixing_pairs(embeddings: Tensor, labels: Tensor, step: draws.Step, *, pairing: str = "either", hardest: int | None = None,
                 alpha: float = 2.0, mined: Mined | None = None) -> MixedPairs:
    """What Metrix mixes: for each anchor its negatives, each with one of the anchor's positives, drawn anew for each negative, or
    with the anchor itself.

    Args:
        embeddings: ``[B, D]``; which are near is seen here, without gradient.
        labels: int64 class ids ``[B]``.
        step: the key of the random numbers: of the share (one for the step), of the pairing, of the positives.
        pairing: "positive-negative"; "anchor-negative"; or "either", each in half of the steps, as published.
        hardest: take this many negatives, those nearest to the anchor by cosine; all by default. Published are 1 for pictures
            and all for features and embeddings.
        alpha: the share is of Beta(alpha, alpha).
        mined: what a miner of pytorch-metric-learning gave: four tensors of anchors and positives, anchors and negatives,
            or three of triplets. Only these count.

    Returns:
        K is ``hardest``, at most B, or B. An anchor without positives has no pair of a positive that counts; a batch of one class
        has no pair that counts.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected, such as a batch of one.
    """
    pairing, alpha = checks.choice("pairing", pairing, PAIRINGS), checks.number("alpha", alpha, 1e-3)
    positives, negatives = _of_batch(embeddings, labels, mined)
    batch, device = len(labels), labels.device
    key = given.step(step, device)
    if hardest is None:
        second, valid = torch.arange(batch, device=device).expand(batch, batch), negatives
    else:
        with torch.no_grad(), no_autocast(embeddings):
            unit = _unit(embeddings.detach())
            near = (unit @ unit.T).masked_fill(~negatives, -torch.inf)
        second = near.topk(min(checks.whole("hardest", hardest, 1), batch), 1).indices
        valid = negatives.gather(1, second)
    first = itself = torch.arange(batch, device=device)[:, None].expand_as(second)
    if pairing != "anchor-negative":
        count = positives.sum(1, keepdim=True)
        which = (draws.uniform(key, "metrix.positive", second.shape) * count).long().minimum(count - 1)
        first = torch.searchsorted(positives.cumsum(1), which + 1).clamp(max=batch - 1)
        own = draws.uniform(key, "metrix.pairing", ()) < 0.5 if pairing == "either" else torch.zeros_like(valid[0, 0])
        first, valid = torch.where(own, itself, first), valid & (own | (count > 0))
    return MixedPairs(first, second, valid, draws.beta(key, "metrix.share", (), alpha, alpha))


def metrix_loss(x: Tensor, labels: Tensor, step: draws.Step, embed: Callable[[Tensor], Tensor] | None = None,
                loss: nn.Module | None = None, *, weight: float = 0.4, pairing: str = "either", hardest: int | None = None,
                alpha: float = 2.0, miner: Callable[..., Mined] | None = None) -> Tensor:
    """The loss of a batch and, weighed, that of anchors and mixes, whose positiveness is the share. Where the network is cut
    says what is mixed: ``x`` are pictures and ``embed`` is the whole network; or ``x`` are feature maps and ``embed`` is the
    rest of it; or ``x`` are embeddings.

    Of a proxy-anchor loss the anchors are proxies: each sample is mixed with its negatives, whatever ``pairing`` says, and the
    mix is a positive of the one's proxy by the share and of the other's by what is left.

    Args:
        x: floats ``[B, ...]``, B of at least 2.
        labels: int64 class ids ``[B]``.
        step: the key of the random numbers.
        embed: gives embeddings ``[N, D]`` of ``[N, ...]``; none where ``x`` are embeddings. It is called twice: for the
            batch, and for its B K mixes.
        loss: :class:`Contrastive` (the default), :class:`MultiSimilarity`, :class:`ProxyAnchor`, or pytorch-metric-learning's
            ``ContrastiveLoss``, ``MultiSimilarityLoss``, ``ProxyAnchorLoss`` with the distance that they have by default, whose
            numbers and proxies the mixed part takes.
        weight: of the mixed part.
        pairing, hardest, alpha: as of :func:`mixing_pairs`.
        miner: gives the pairs or triplets that count of embeddings and labels, as pytorch-metric-learning's do.

    Returns:
        A scalar, float32, or float64 of that. Gradients go through all of it.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    weight, loss = checks.number("weight", weight, 0), Contrastive() if loss is None else loss
    by_proxies = _kind(loss) == "ProxyAnchor"
    embeddings, mined, clean = _clean(x, labels, embed, loss, miner)
    pairs = mixing_pairs(embeddings, labels, step, pairing="anchor-negative" if by_proxies else pairing, hardest=hardest,
                         alpha=alpha, mined=mined)
    mixed = pairs.mix(x)
    mixed = mixed if embed is None else embed(mixed)
    given.features("embed(mixes)", mixed, f"[{pairs.first.numel()}, {embeddings.shape[1]}]", like=embeddings)
    with no_autocast(embeddings):
        return clean + weight * _mixed(loss, embeddings, labels, mixed, pairs)


def _mixed(loss: Any, embeddings: Tensor, labels: Tensor, mixed: Tensor, pairs: MixedPairs) -> Tensor:
    unit, anchors = _unit(mixed), _unit(embeddings)
    lam, kind = pairs.lam.to(unit.dtype), _kind(loss)
    if kind == "ProxyAnchor":
        proxies = _unit(loss.proxies).to(unit.dtype)
        of_first, of_second = (F.one_hot(labels[ids.flatten()], len(proxies)).T for ids in (pairs.first, pairs.second))
        cosines = proxies @ unit.T
        return proxy_anchor_loss(cosines, lam * of_first + (1 - lam) * of_second, pairs.valid.flatten().expand_as(cosines),
                                 loss.margin, loss.alpha)
    unit, positiveness = unit.unflatten(0, pairs.first.shape), lam.expand(pairs.first.shape)
    if kind == "Contrastive":
        distances = torch.linalg.vector_norm(anchors[:, None] - unit, dim=2)
        return contrastive_loss(distances, positiveness, pairs.valid, loss.pos_margin, loss.neg_margin)
    cosines = (unit @ anchors[:, :, None])[..., 0]
    return multi_similarity_loss(cosines, positiveness, pairs.valid, loss.alpha, loss.beta, loss.base)


class Metrix(draws.Keyed):
    """:func:`metrix_loss` with a key of its own, which each call in training moves on. After ``eval()`` it is the loss alone.

    ::

        metrix = Metrix(MultiSimilarity())
        loss = metrix(trunk(images), labels, head)

    Args:
        loss, weight, pairing, hardest, alpha, miner: as of :func:`metrix_loss`.
        seed: modules of one seed draw the same numbers.
    """

    def __init__(self, loss: nn.Module | None = None, weight: float = 0.4, *, pairing: str = "either", hardest: int | None = None,
                 alpha: float = 2.0, miner: Callable[..., Mined] | None = None, seed: int = 0) -> None:
        super().__init__(seed)
        self.loss = Contrastive() if loss is None else loss
        _kind(self.loss)
        self.weight, self.alpha = checks.number("weight", weight, 0), checks.number("alpha", alpha, 1e-3)
        self.pairing = checks.choice("pairing", pairing, PAIRINGS)
        self.hardest = None if hardest is None else checks.whole("hardest", hardest, 1)
        self.miner = miner

    def forward(self, x: Tensor, labels: Tensor, embed: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """``x``, ``labels``, ``embed``: as of :func:`metrix_loss`."""
        if not self.training:
            return _clean(x, labels, embed, self.loss, self.miner)[2]
        return metrix_loss(x, labels, self.next_step(), embed, self.loss, weight=self.weight, pairing=self.pairing,
                           hardest=self.hardest, alpha=self.alpha, miner=self.miner)


def utilization(queries: Tensor, training: Tensor) -> Tensor:
    """How far the embeddings of test samples lie from what was trained on: the mean over queries of the least squared distance
    to an embedding of ``training``. Lower says that more of the space is used; more rows of ``training``, such as mixes, never
    raise it.

    Args:
        queries: floats ``[Q, D]``, embeddings of test samples, of length 1 as a rule.
        training: ``[V, D]``, embeddings of training samples, or of these and of their mixes.

    Returns:
        A scalar, float32, or float64 of that.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    given.features("queries", queries, "[Q, D]")
    given.features("training", training, f"[V, {queries.shape[1]}]", like=queries)
    rows = max(1, _AT_ONCE // len(training))
    parts = [torch.cdist(some, full(training), compute_mode="donot_use_mm_for_euclid_dist").amin(1)
             for some in full(queries).split(rows)]
    return torch.cat(parts).square().mean()


_AT_ONCE = 2**24  # distances that are kept at a time


def _kind(loss: Any) -> str:
    """Which of the three losses, by the names of its classes: no other library is imported for it."""
    names = {base.__name__ for base in type(loss).__mro__}
    kind = next((kind for kind in _DISTANCES if names & {kind, f"{kind}Loss"}), None)
    if kind is None:
        raise ArgumentError(f"loss: expected {', '.join(_DISTANCES)} or pytorch-metric-learning's losses of these names, given "
                            f"{type(loss).__name__}")
    distance = getattr(loss, "distance", None)
    if distance is not None:
        fits = type(distance).__name__ == _DISTANCES[kind] and distance.normalize_embeddings and distance.power == 1
        if not fits or distance.p != 2:
            raise ArgumentError(f"loss: expected {kind}Loss with {_DISTANCES[kind]}() as its distance, given "
                                f"{type(distance).__name__} of p {distance.p}, power {distance.power}, normalize_embeddings "
                                f"{distance.normalize_embeddings}")
    return kind


_DISTANCES = {"Contrastive": "LpDistance", "MultiSimilarity": "CosineSimilarity", "ProxyAnchor": "CosineSimilarity"}


def _clean(x: Tensor, labels: Tensor, embed: Callable[[Tensor], Tensor] | None, loss: Any,
           miner: Callable[..., Mined] | None) -> tuple[Tensor, Mined | None, Tensor]:
    """Embeddings of the batch, what was mined of them, and their loss."""
    given.features("x", x, "[B, ...]")
    embeddings = x if embed is None else embed(x)
    given.features("embeddings", embeddings, f"[{len(x)}, D]")
    _batch(embeddings, labels, len(loss.proxies) if hasattr(loss, "proxies") else None)
    with no_autocast(embeddings):
        mined = None if miner is None else miner(full(embeddings), labels)
        return embeddings, mined, loss(full(embeddings), labels, mined)


def _batch(embeddings: Tensor, labels: Tensor, classes: int | None = None) -> None:
    given.features("embeddings", embeddings, "[B, D]")
    given.labels("labels", labels, embeddings, classes)


def _of_batch(embeddings: Tensor, labels: Tensor, mined: Mined | None) -> tuple[Tensor, Tensor]:
    """bool ``[B, B]`` each: which are the positives and the negatives of which anchor."""
    _batch(embeddings, labels)
    if len(labels) < 2:
        raise ShapeError(f"embeddings: expected at least two samples, given {list(embeddings.shape)}")
    same = labels[:, None] == labels
    positives, negatives = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device), ~same
    if mined is None:
        return positives, negatives
    if not isinstance(mined, list | tuple) or len(mined) not in (3, 4) or not all(isinstance(ids, Tensor) for ids in mined):
        raise ArgumentError(f"mined: expected four tensors, anchors and positives, anchors and negatives, or three of triplets, "
                            f"given {type(mined).__name__}")
    there, none = torch.ones_like(same[0, 0]), torch.zeros_like(same)
    near = none.index_put((mined[0], mined[1]), there)
    far = none.index_put((mined[-2 if len(mined) == 4 else 0], mined[-1]), there)
    return positives & near, negatives & far


def _pairs(name: str, values: Tensor, positiveness: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Values and positiveness in full precision, and which count."""
    given.features(name, values, "[A, V]")
    given.features("positiveness", positiveness, "[A, V]")
    given.same_shape("positiveness", positiveness, name, values)
    given.same_device("positiveness", positiveness, values)
    within("positiveness", positiveness, 0, 1)
    x = full(values)
    if valid is None:
        return x, positiveness.to(x.dtype), torch.ones_like(x, dtype=torch.bool)
    if not isinstance(valid, Tensor) or valid.dtype != torch.bool:
        raise ArgumentError(f"valid: expected bool [A, V], given {getattr(valid, 'dtype', type(valid).__name__)}")
    given.same_shape("valid", valid, name, values)
    given.same_device("valid", valid, values)
    return x, positiveness.to(x.dtype), valid


def _unit(x: Tensor) -> Tensor:
    return F.normalize(full(x), dim=1)


def _mean_of_nonzero(x: Tensor, there: Tensor) -> Tensor:
    x = torch.where(there, x, 0.0)
    return x.sum() / (x > 0).sum().clamp(min=1)


def _log_one_and(x: Tensor, weight: Tensor, there: Tensor) -> Tensor:
    """``log(1 + sum weight e^x)`` over the last axis, of those that are there."""
    counts = there & (weight > 0)
    terms = torch.where(counts, x + torch.where(counts, weight, 1.0).log(), -torch.inf)
    return torch.cat([torch.zeros_like(terms[:, :1]), terms], 1).logsumexp(1)
