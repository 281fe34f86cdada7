"""Label-set operations (LaSO): nets that make, of the features of two multi-label samples, features of the union, the
intersection and the difference of their labels.

Alfassy et al., "LaSO: Label-set operations networks for multi-label few-shot learning", CVPR 2019.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DtypeError, ShapeError
from anamorph.features import draws, given
from anamorph.features.precision import full

Pair = tuple[Tensor, Tensor]


def union(a: Tensor, b: Tensor) -> Tensor:
    """The labels of either: multi-hot ``[..., C]``, bool or 0 and 1 of any dtype, which the result has too."""
    first, second = _multi_hot(a, b)
    return (first | second).to(a.dtype)


def intersection(a: Tensor, b: Tensor) -> Tensor:
    """The labels of both, as :func:`union`."""
    first, second = _multi_hot(a, b)
    return (first & second).to(a.dtype)


def difference(a: Tensor, b: Tensor) -> Tensor:
    """The labels of ``a`` that ``b`` has not, as :func:`union`."""
    first, second = _multi_hot(a, b)
    return (first & ~second).to(a.dtype)


class SetOperation(nn.Module):
    """The net of the paper: both features in, one out, each number of it between -1 and 1.

    Args:
        dim: D, the length of a feature.
        hidden: width of the two hidden layers; in the paper 8192 for the difference, 2048 for the others.
        dropout: after each hidden layer.
    """

    def __init__(self, dim: int = 2048, hidden: int = 2048, dropout: float = 0.5) -> None:
        super().__init__()
        dim, hidden = checks.whole("dim", dim, 1), checks.whole("hidden", hidden, 1)
        self.layers = nn.Sequential(*_hidden(2 * dim, hidden, dropout), *_hidden(hidden, hidden, dropout), nn.Linear(hidden, dim),
                                    nn.Tanh())

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """``[B, D]`` of two ``[B, D]``."""
        return self.layers(torch.cat([a, b], 1))


def _hidden(wide: int, to: int, dropout: float) -> list[nn.Module]:
    return [nn.Linear(wide, to), nn.BatchNorm1d(to), nn.LeakyReLU(0.2), nn.Dropout(checks.probability("dropout", dropout))]


class ResidualSetOperation(nn.Module):
    """The net of the published settings: the operation on numbers, ``a + b``, ``min(a, b)`` or ``relu(a - b)``, is added in every
    layer. The result is at least 0, as features behind a ReLU are.

    Args:
        dim: D.
        operation: "union", "intersection" or "difference".
        layers: that add it; 2 in the published commands, 1 in its defaults.
    """

    def __init__(self, dim: int, operation: str, layers: int = 1) -> None:
        super().__init__()
        dim = checks.whole("dim", dim, 1)
        self.operation = checks.choice("operation", operation, tuple(ARITHMETIC))
        self.first = nn.Sequential(nn.Linear(2 * dim, dim), nn.BatchNorm1d(dim), nn.LeakyReLU(0.2))
        self.added = nn.ModuleList(nn.Sequential(nn.Linear(dim, dim), nn.BatchNorm1d(dim))
                                   for _ in range(checks.whole("layers", layers, 1)))
        self.last = nn.Linear(dim, dim)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """``[B, D]`` of two ``[B, D]``."""
        plain = ARITHMETIC[self.operation](a, b)
        out = self.first(torch.cat([a, b], 1))
        for layer in self.added:
            out = F.leaky_relu(layer(out) + plain, 0.2)
        return F.relu(self.last(out))


def _relu_of_difference(a: Tensor, b: Tensor) -> Tensor:
    return F.relu(a - b)


ARITHMETIC: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"union": torch.add, "intersection": torch.minimum,
                                                             "difference": _relu_of_difference}


class SetFeatures(NamedTuple):
    """What :class:`LaSO` makes, each of a with b and of b with a, ``[B, D]``. U, I, S: union, intersection, difference."""

    union: Pair
    intersection: Pair
    difference: Pair
    union_again: Pair  # (a U b) U b
    intersection_again: Pair  # (a I b) I b
    difference_again: Pair  # (a S b) S b
    difference_of_intersection: Pair  # a S (a I b)
    difference_of_swapped: Pair  # a S (b I a)
    rebuilt: Pair  # (a S (b I a)) U (a I b), which should be a


class LaSO(nn.Module):
    """The three nets, and what the loss asks them for.

    Args:
        dim: D, the length of a feature.
        hidden, difference_hidden: widths, of the nets of the paper.
        dropout: of these; it draws from torch's own generator, ``torch.manual_seed``.
        residual: :class:`ResidualSetOperation` in their place.
        layers: of these.
    """

    def __init__(self, dim: int = 2048, hidden: int = 2048, difference_hidden: int = 8192, dropout: float = 0.5, *,
                 residual: bool = False, layers: int = 1) -> None:
        super().__init__()
        if checks.flag("residual", residual):
            nets: list[nn.Module] = [ResidualSetOperation(dim, name, layers) for name in ARITHMETIC]
        else:
            nets = [SetOperation(dim, wide, dropout) for wide in (hidden, hidden, difference_hidden)]
        self.dim = dim
        self.union, self.intersection, self.difference = nets

    def forward(self, a: Tensor, b: Tensor) -> SetFeatures:
        """``a``, ``b``: features ``[B, D]`` of two samples each, B of at least 2 in training, for the batch norms.

        Raises:
            ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
        """
        given.features("a", a, f"[B, {self.dim}]")
        given.features("b", b, f"[B, {self.dim}]", like=a)
        given.same_shape("b", b, "a", a)
        if self.training and len(a) < 2:
            raise ShapeError(f"a, b: expected at least two pairs in training, for the batch norms, given {len(a)}")
        in_both = self.intersection(a, b), self.intersection(b, a)
        in_either = self.union(a, b), self.union(b, a)
        only = self.difference(a, b), self.difference(b, a)
        swapped = self.difference(a, in_both[1]), self.difference(b, in_both[0])
        return SetFeatures(
            union=in_either, intersection=in_both, difference=only,
            union_again=(self.union(in_either[0], b), self.union(in_either[1], a)),
            intersection_again=(self.intersection(in_both[0], b), self.intersection(in_both[1], a)),
            difference_again=(self.difference(only[0], b), self.difference(only[1], a)),
            difference_of_intersection=(self.difference(a, in_both[0]), self.difference(b, in_both[1])),
            difference_of_swapped=swapped,
            rebuilt=(self.union(swapped[0], in_both[0]), self.union(swapped[1], in_both[1])))


def laso_loss(made: SetFeatures, a: Tensor, b: Tensor, labels_a: Tensor, labels_b: Tensor,
              classifier: Callable[[Tensor], Tensor]) -> Tensor:
    """What the nets are trained with: the sum, all weights 1, of

    * the multi-label soft-margin loss of the classifier, of ``a`` and ``b`` themselves and of all that was made of them, each
      with the labels that it should have (20 terms);
    * mean squared distances: of a and b from what was rebuilt of the parts, which keeps the nets from collapsing; of U and of
      I from the same with a and b exchanged; of S from its three other forms (10 terms).

    Args:
        made: what :class:`LaSO` made of ``a`` and ``b``.
        a, b: features ``[B, D]``.
        labels_a, labels_b: multi-hot ``[B, C]``, bool or 0 and 1.
        classifier: gives logits ``[B, C]`` of features. The gradient goes through it to the nets; it is to stay as it is:
            ``classifier.requires_grad_(False)``.

    Returns:
        A scalar, float32, or float64 of that.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    if not isinstance(made, SetFeatures):
        raise ArgumentError(f"made: expected what LaSO made, SetFeatures, given {type(made).__name__}")
    given.features("a", a, "[B, D]")
    given.features("b", b, "[B, D]", like=a)
    given.same_shape("b", b, "a", a)
    given.same_shape("made", made.union[0], "a", a)
    both, either = intersection(labels_a, labels_b), union(labels_a, labels_b)
    given.shaped("labels_a, labels_b", labels_a, f"[{len(a)}, C]")
    given.same_device("labels_a, labels_b", labels_a, a)
    own, only = (labels_a, labels_b), (difference(labels_a, labels_b), difference(labels_b, labels_a))

    def right(features: Pair, labels: Pair) -> Tensor:
        return sum((_soft_margin(classifier(x), y) for x, y in zip(features, labels, strict=True)), a.new_zeros(()))

    classes = right((a, b), own) + right(made.rebuilt, own)
    apart = _squared(made.rebuilt, (a, b)) + _apart(*made.union) + _apart(*made.intersection)
    for labels, forms in ((either, (made.union, made.union_again)), (both, (made.intersection, made.intersection_again))):
        for form in forms:
            classes = classes + right(form, (labels, labels))
    classes = classes + right(made.difference, only)
    for form in (made.difference_again, made.difference_of_intersection, made.difference_of_swapped):
        classes, apart = classes + right(form, only), apart + _squared(form, made.difference)
    return classes + apart


def laso_pairs(labels: Tensor, count: int, step: draws.Step) -> Tensor:
    """Pairs to train with: the two samples share a label, and labels are seen alike often. The first sample is one of the label
    that was seen least so far, the second one of that label of the first which was seen least.

    Args:
        labels: multi-hot ``[N, C]`` of the samples, bool or 0 and 1, on the host.
        count: of pairs, at least 1.
        step: the key of the random numbers, (seed, epoch).

    Returns:
        int64 ``[count, 2]``, rows of ``labels``. A pair may be one sample twice.

    Raises:
        ArgumentError, ShapeError, DtypeError: what was given and what is expected; samples of which none has a label.
    """
    seen_by, _ = _multi_hot(labels, labels)
    given.shaped("labels", labels, "[N, C]")
    count = checks.whole("count", count, 1)
    of_label = [rows.nonzero()[:, 0] for rows in seen_by.T]
    there = torch.tensor([len(rows) > 0 for rows in of_label])
    if not bool(there.any()):
        raise ArgumentError("labels: expected samples with labels, given none with one")
    picks = draws.uniform(step, "laso.pairs", (count, 3), device=torch.device("cpu")).double()
    times = torch.zeros(len(of_label), dtype=torch.int64)
    pairs = torch.empty(count, 2, dtype=torch.int64)
    for pair, (u, v, w) in zip(pairs, picks.tolist(), strict=True):
        least = (there & (times == times[there].min())).nonzero()[:, 0]
        rows = of_label[_pick(least, u)]
        pair[0] = rows[int(v * len(rows))]
        times += seen_by[pair[0]]
        own = seen_by[pair[0]].nonzero()[:, 0]
        rows = of_label[int(own[times[own].argmin()])]
        pair[1] = rows[int(w * len(rows))]
        times += seen_by[pair[1]]
    return pairs


def _pick(ids: Tensor, u: float) -> int:
    return int(ids[int(u * len(ids))])


def _soft_margin(logits: Tensor, labels: Tensor) -> Tensor:
    if logits.shape != labels.shape:
        raise ShapeError(f"classifier: expected to give {list(labels.shape)} like the labels, given {list(logits.shape)}")
    return F.binary_cross_entropy_with_logits(full(logits), labels.to(full(logits).dtype))


def _apart(x: Tensor, y: Tensor) -> Tensor:
    return F.mse_loss(full(x), full(y))


def _squared(first: Pair, second: Pair) -> Tensor:
    return _apart(first[0], second[0]) + _apart(first[1], second[1])


def _multi_hot(a: Any, b: Any) -> Pair:
    """Both as bool, once it is clear that they are labels of the same classes."""
    for name, t in (("a", a), ("b", b)):
        if not isinstance(t, Tensor):
            raise ArgumentError(f"labels {name}: expected a multi-hot tensor [..., C], given {type(t).__name__}")
        if not t.dim() or not t.numel():
            raise ShapeError(f"labels {name}: expected multi-hot [..., C] with nothing empty, given {list(t.shape)}")
        if t.dtype != torch.bool and given.looked_at(t) and not bool(((t == 0) | (t == 1)).all()):
            raise ArgumentError(f"labels {name}: expected 0 and 1, given numbers from {t.min():g} to {t.max():g}")
    if a.dtype != b.dtype:
        raise DtypeError(f"labels b: expected {a.dtype} like a, given {b.dtype}")
    given.same_shape("labels b", b, "a", a)
    given.same_device("labels b", b, a)
    return a.bool(), b.bool()
