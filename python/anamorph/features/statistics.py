"""Means and covariances of features, for each class or for all together, exact however the rows come in batches.

Batches and ranks are merged by the pairwise formulas of Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for
computing sample variances", 1979, carried here to the fourth moments that Ledoit and Wolf's shrinkage takes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch import distributed as dist

from anamorph import _native
from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DtypeError, ShapeError
from anamorph.features import given
from anamorph.features.buffers import as_now
from anamorph.features.precision import full, no_autocast

LEDOIT_WOLF = "ledoit-wolf"
_MASKED = 2**24  # elements of the masked copies that one product takes on a GPU


class Moments(NamedTuple):
    """Sums of the rows of each of C classes about the class's mean."""

    counts: Tensor  #: int64 [C]
    mean: Tensor  #: [C, D]; 0 where there are no rows
    scatter: Tensor  #: [C, D, D], the sum of (x - mean)(x - mean)^T, or its diagonal [C, D]
    cubic: Tensor | None = None  #: [C, D], the sum of |x - mean|^2 (x - mean); where Ledoit-Wolf is asked for
    quartic: Tensor | None = None  #: [C], the sum of |x - mean|^4; where Ledoit-Wolf is asked for


def class_moments(features: Tensor, labels: Tensor, classes: int, diagonal: bool = False, ledoit_wolf: bool = False) -> Moments:
    """The moments of a batch. Gradients reach the features through mean and scatter; cubic and quartic have none.

    Args:
        features: floats ``[B, D]``; float64 stays, others are taken as float32.
        labels: int64 ``[B]``, 0 to classes - 1.
        classes: C.
        diagonal: variances alone, one pass over the features. Otherwise the work is matrix products, one for each class that is
            there; on a GPU of masked copies for all classes, which waits for nothing.
        ledoit_wolf: also what :func:`covariance` takes for ``shrinkage="ledoit-wolf"``.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    given.features("features", features)
    classes = checks.whole("classes", classes, 1)
    given.labels("labels", labels, features, classes)
    if ledoit_wolf and diagonal:
        raise ArgumentError("ledoit_wolf: expected with full covariances, given diagonal=True")
    features = full(features)
    mean, scatter, count = torch.ops.anamorph.class_moments(features, labels, classes, diagonal)
    if not ledoit_wolf:
        return Moments(count, mean, scatter)
    centred = features.detach() - mean.detach()[labels]
    square = centred.square().sum(1)
    cubic = torch.zeros_like(mean).index_add(0, labels, square[:, None] * centred)
    return Moments(count, mean, scatter, cubic, torch.zeros_like(mean[:, 0]).index_add(0, labels, square.square()))


def merge(first: Moments, second: Moments) -> Moments:
    """The moments of two sets of rows together, exactly; gradients reach both."""
    return _merged(first, second, torch.add)


def _merged(first: Moments, second: Moments, add: Callable[[Tensor, Tensor], Tensor]) -> Moments:
    """``add``: how the scatters are added up, anew or in place of the first."""
    counts, apart = first.counts + second.counts, second.mean - first.mean
    share = _share(second.counts, counts, apart)
    mean = first.mean + share * apart
    further = [None if a is None or b is None else a + b
               for a, b in zip(_further(first, mean), _further(second, mean), strict=True)]
    scatter = _with_outer(add(first.scatter, second.scatter), first.counts.to(apart.dtype)[:, None] * share, apart)
    return Moments(counts, mean, scatter, *further)


def _with_outer(scatter: Tensor, rows: Tensor, d: Tensor) -> Tensor:
    """Adds ``rows d d^T``, or its diagonal, to a scatter that nobody else has."""
    if scatter.dim() == 2:
        return scatter.addcmul_(rows * d, d)
    return scatter.addcmul_((rows * d)[:, :, None], d[:, None, :])


@torch.no_grad()
def _further(moments: Moments, point: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """The rows' cubic and quartic sums about another point than their mean."""
    counts, mean, scatter, cubic, quartic = moments
    if cubic is None or quartic is None:
        return None, None
    d = point - mean
    with no_autocast(d):
        along, trace = (scatter @ d[:, :, None]).squeeze(2), _trace(scatter)
    square = d.square().sum(1)
    rest = counts.to(d.dtype)[:, None] * square[:, None] * d
    quartic = quartic + 2 * trace * square + (d * (4 * (along - cubic) + rest)).sum(1)
    return cubic - trace[:, None] * d - 2 * along - rest, quartic


def _share(part: Tensor, whole: Tensor, like: Tensor) -> Tensor:
    """[C, 1]"""
    return (part.to(like.dtype) / whole.clamp(min=1).to(like.dtype))[:, None]


def covariance(moments: Moments, correction: int = 0, shrinkage: float | str = 0.0) -> Tensor:
    """Covariances ``[C, D, D]``, or variances ``[C, D]`` where the moments are diagonal.

    Args:
        correction: what is taken off the number of rows: 0 is the biased estimate, 1 the unbiased one. A class with no more rows
            than that has zeros.
        shrinkage: r of ``(1 - r) S + r tr(S) / D I``, from 0 to 1; or ``"ledoit-wolf"``, the r of Ledoit and Wolf, "A
            well-conditioned estimator for large-dimensional covariance matrices", J. Multivariate Analysis 2004, for each class.
    """
    correction = checks.whole("correction", correction, 0)
    rows = (moments.counts - correction).to(moments.mean.dtype)
    each = torch.where(rows > 0, 1 / rows, 0.0)[:, None]
    s = moments.scatter * (each if moments.scatter.dim() == 2 else each[:, :, None])
    if isinstance(shrinkage, str):
        checks.choice("shrinkage", shrinkage, (LEDOIT_WOLF,))
        amount: float | Tensor = ledoit_wolf_shrinkage(moments)[:, None]
    else:
        amount = checks.number("shrinkage", shrinkage, 0, 1)
        if amount == 0:
            return s
    if s.dim() == 2:
        return (1 - amount) * s + amount * s.mean(1, keepdim=True)
    level = amount * (_trace(s) / s.shape[1])[:, None]
    return (1 - (amount if isinstance(amount, float) else amount[:, None])) * s + torch.diag_embed(level.expand(s.shape[:2]))


def ledoit_wolf_shrinkage(moments: Moments) -> Tensor:
    """Ledoit and Wolf's amount of shrinkage, from 0 to 1, of each class, ``[C]``: scikit-learn's ``ledoit_wolf_shrinkage``."""
    if moments.quartic is None:
        raise ArgumentError("shrinkage: expected moments with ledoit_wolf=True for Ledoit-Wolf's, given some without")
    rows = moments.counts.clamp(min=1).to(moments.quartic.dtype)
    s = moments.scatter / rows[:, None, None]
    away = s - torch.diag_embed((_trace(s) / s.shape[1])[:, None].expand(s.shape[:2]))
    distance = away.square().sum((1, 2))
    error = ((moments.quartic / rows - s.square().sum((1, 2))) / rows).clamp(min=0)
    return torch.where(distance > 0, torch.minimum(error, distance) / distance, 0.0)


def pooled(moments: Moments) -> Moments:
    """The rows of all classes about their own class's mean, as one class: its covariance is the one within classes (of linear
    discriminant analysis, with ``correction`` 0 or C). The mean is that of all rows."""
    total = moments.counts.sum(0, keepdim=True)
    mean = (_share(moments.counts, total, moments.mean) * moments.mean).sum(0, keepdim=True)
    return Moments(total, mean, *(None if t is None else t.sum(0, keepdim=True) for t in moments[2:]))  # type: ignore[arg-type]


def _trace(matrices: Tensor) -> Tensor:
    return matrices.diagonal(dim1=-2, dim2=-1).sum(-1)


class RunningGaussian(nn.Module):
    """The mean and covariance of everything it was shown, for each class. The order of the rows, their batches and their ranks do
    not matter, to rounding. ``state_dict`` carries it; on a GPU nothing waits for the host.

    Args:
        dim: D, the length of a feature.
        classes: C. One class stands for all rows pooled; labels may then be left out.
        diagonal: variances alone.
        ledoit_wolf: keeps what ``shrinkage="ledoit-wolf"`` takes, C (D + 1) numbers more.
        dtype: of the sums, float32 or float64, whatever the features are. float32 keeps about six digits of a mean, and of a
            covariance where the features' means are not much larger than their spread.

    Buffers: ``counts`` int64 ``[C]``, ``mean`` ``[C, D]``, ``scatter`` ``[C, D, D]`` or ``[C, D]``; with ``ledoit_wolf`` also
    ``cubic`` ``[C, D]`` and ``quartic`` ``[C]``. See :class:`Moments`.
    """

    counts: Tensor
    mean: Tensor
    scatter: Tensor
    cubic: Tensor | None
    quartic: Tensor | None

    def __init__(self, dim: int, classes: int = 1, *, diagonal: bool = False, ledoit_wolf: bool = False,
                 dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        dim, classes = checks.whole("dim", dim, 1), checks.whole("classes", classes, 1)
        self.diagonal, self.ledoit_wolf = checks.flag("diagonal", diagonal), checks.flag("ledoit_wolf", ledoit_wolf)
        if dtype not in (torch.float32, torch.float64):
            raise DtypeError(f"dtype: expected float32 or float64, given {dtype}")
        if self.diagonal and self.ledoit_wolf:
            raise ArgumentError("ledoit_wolf: expected with full covariances, given diagonal=True")
        self.register_buffer("counts", torch.zeros(classes, dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(classes, dim, dtype=dtype))
        self.register_buffer("scatter", torch.zeros((classes, dim) if self.diagonal else (classes, dim, dim), dtype=dtype))
        self.register_buffer("cubic", torch.zeros(classes, dim, dtype=dtype) if self.ledoit_wolf else None)
        self.register_buffer("quartic", torch.zeros(classes, dtype=dtype) if self.ledoit_wolf else None)

    def moments(self) -> Moments:
        """The sums up to now: the buffers, as :func:`as_now` reads them."""
        sums = (self.counts, self.mean, self.scatter, self.cubic, self.quartic)
        return Moments(*(None if t is None else as_now(t) for t in sums))  # type: ignore[arg-type]

    def update(self, features: Tensor, labels: Tensor | None = None, group: dist.ProcessGroup | None = None) -> Self:
        """Takes in a batch, without gradient.

        Args:
            features: floats ``[B, D]``, finite.
            labels: int64 ``[B]``; left out for one class.
            group: takes in the batches of all ranks of this process group (``torch.distributed.group.WORLD`` for all), each of
                which calls this, so that all have the same afterwards. By default this rank's batch alone.
        """
        with torch.no_grad():
            return self.take(_merged(self.moments(), self._batch(features, labels, group), Tensor.add_))

    def merged(self, features: Tensor, labels: Tensor | None = None, group: dist.ProcessGroup | None = None) -> Moments:
        """What :meth:`update` would come to, as tensors whose gradients reach the batch; with ``group``, no gradients. Nothing
        is changed."""
        return merge(self.moments(), self._batch(features, labels, group))

    def _batch(self, features: Any, labels: Any, group: dist.ProcessGroup | None) -> Moments:
        given.features("features", features)
        dim, classes = self.mean.shape[1], len(self.counts)
        if features.shape[1] != dim:
            raise ShapeError(f"features: expected [B, {dim}], given {list(features.shape)}")
        if self.mean.dtype not in (torch.float32, torch.float64):
            raise DtypeError(f"features: expected sums of float32 or float64, given a module cast to {self.mean.dtype}")
        given.same_device("features", features, self.mean)
        if labels is None:
            if classes > 1:
                raise ArgumentError(f"labels: expected class ids of {classes} classes, given none")
            labels = torch.zeros(len(features), dtype=torch.int64, device=features.device)
        batch = class_moments(features.to(self.mean.dtype), labels, classes, self.diagonal, self.ledoit_wolf)
        given.finite("features", batch.mean)  # what is not finite is seen there, and they are fewer
        if group is not None:
            with torch.no_grad():
                batch = _over_ranks(batch, group)
        return batch

    def merge(self, other: RunningGaussian) -> Self:
        """Takes in what another one was shown."""
        if not isinstance(other, RunningGaussian):
            raise ArgumentError(f"other: expected a RunningGaussian, given {type(other).__name__}")
        for name, ours in zip(Moments._fields, self.moments(), strict=True):
            t = getattr(other, name)
            if (ours is None) != (t is None):
                raise ArgumentError("other: expected ledoit_wolf as here, given the other way")
            if ours is not None:
                given.same_shape(f"other.{name}", t, "here", ours)
                given.same_device(f"other.{name}", t, ours)
        theirs = (t.to(ours) if t is not None and ours is not None else None
                  for t, ours in zip(other.moments(), self.moments(), strict=True))
        return self.take(merge(self.moments(), Moments(*theirs)))  # type: ignore[arg-type]

    def sync(self, group: dist.ProcessGroup | None = None) -> Self:
        """What all ranks of a process group (by default all) were shown, together: a new one, the same on each rank. This one
        stays as it is, so that it can go on and be synced again. Every rank of the group calls it."""
        return copy.deepcopy(self).take(_over_ranks(self.moments(), group))

    def covariance(self, correction: int = 0, shrinkage: float | str = 0.0) -> Tensor:
        """Of each class, ``[C, D, D]`` or ``[C, D]``: :func:`covariance`."""
        with no_autocast(self.mean):
            return covariance(self.moments(), correction, shrinkage)

    def pooled_covariance(self, correction: int = 0, shrinkage: float | str = 0.0) -> Tensor:
        """Within classes, ``[D, D]`` or ``[D]``: :func:`covariance` of :func:`pooled` moments."""
        with no_autocast(self.mean):
            return covariance(pooled(self.moments()), correction, shrinkage).squeeze(0)

    @torch.no_grad()
    def take(self, moments: Moments) -> Self:
        """Goes on from these sums, as :meth:`merged` gives them, without gradient."""
        for name, new in zip(Moments._fields, moments, strict=True):
            if new is not None:
                getattr(self, name).copy_(new)
        return self

    def extra_repr(self) -> str:
        return (f"{self.mean.shape[1]}, classes={len(self.counts)}, diagonal={self.diagonal}, ledoit_wolf={self.ledoit_wolf}, "
                f"dtype={self.mean.dtype}")


def _over_ranks(moments: Moments, group: dist.ProcessGroup | None) -> Moments:
    if not dist.is_initialized():
        raise ArgumentError("group: expected torch.distributed to have been started (init_process_group), given none")

    def summed(t: Tensor) -> Tensor:
        t = t.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(t, group=group)
        return t

    count = summed(moments.counts)
    mean = summed(_share(moments.counts, count, moments.mean) * moments.mean)
    scatter = _with_outer(moments.scatter.clone(), moments.counts.to(mean.dtype)[:, None], mean - moments.mean)
    return Moments(count, mean, summed(scatter), *(None if t is None else summed(t) for t in _further(moments, mean)))


# ---- the operator, as torch.compile and autograd see it ----


@torch.library.custom_op("anamorph::class_moments", mutates_args=(),
                         schema="(Tensor features, Tensor labels, int classes, bool diagonal) -> (Tensor, Tensor, Tensor)")
def _class_moments(features: Tensor, labels: Tensor, classes: int, diagonal: bool) -> tuple[Tensor, Tensor, Tensor]:
    if classes == 1 and not diagonal:
        mean = features.mean(0, keepdim=True)
        centred = features - mean
        with no_autocast(features):
            return mean, torch.mm(centred.T, centred)[None], labels.new_full((1,), len(labels))
    order, first = _by_class(labels, classes)
    if not diagonal and _on_host(features):
        return *_each_class(features, order, first), first.diff()
    mean, squares = (features.new_empty((classes, features.shape[1])) for _ in range(2))
    _native.features.class_moments(x=features.detach().contiguous(), order=order, first=first, mean=mean, squares=squares,
                                   threads=torch.get_num_threads())
    if diagonal:
        return mean, squares, first.diff()
    return mean, _products_masked(features - mean[labels], labels, classes), first.diff()


def _on_host(t: Tensor) -> bool:
    return t.device.type == "cpu"


def _by_class(labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """The rows in the order of their classes, and where in it each class begins and the last one ends."""
    ranked, order = labels.sort(stable=True)
    return order, torch.searchsorted(ranked, torch.arange(classes + 1, device=labels.device))


def _rows(order: Tensor, first: Tensor) -> Iterator[tuple[int, Tensor]]:
    """The classes that are there, each with its rows; on the host."""
    ends = first.tolist()
    return ((c, order[a:b]) for c, (a, b) in enumerate(pairwise(ends)) if a < b)


def _each_class(features: Tensor, order: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and scatter, class by class."""
    classes, dim = len(first) - 1, features.shape[1]
    mean, scatter = features.new_zeros((classes, dim)), features.new_zeros((classes, dim, dim))
    with no_autocast(features):
        for c, rows in _rows(order, first):
            part = features[rows]
            torch.mean(part, 0, out=mean[c])
            part -= mean[c]
            torch.mm(part.T, part, out=scatter[c])
    return mean, scatter


def _products_masked(centred: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Without a number that the host would have to wait for."""
    with no_autocast(centred):
        parts = [(mask[:, None, :] * centred.T).flatten(0, 1) @ centred for _, mask in _masks(centred, labels, classes)]
    return torch.cat(parts).view(classes, *centred.shape[1:], -1)


def _masks(centred: Tensor, labels: Tensor, classes: int) -> Iterator[tuple[slice, Tensor]]:
    """A few classes at a time, and which rows are theirs [classes, B]."""
    most = max(1, _MASKED // centred.numel())
    ids = torch.arange(classes, device=labels.device)
    for start in range(0, classes, most):
        some = slice(start, start + most)
        yield some, labels == ids[some, None]


@_class_moments.register_fake
def _(features: Tensor, labels: Tensor, classes: int, diagonal: bool) -> tuple[Tensor, Tensor, Tensor]:
    dim = features.shape[1]
    return (features.new_empty((classes, dim)), features.new_empty((classes, dim) if diagonal else (classes, dim, dim)),
            labels.new_empty(classes))


@torch.library.custom_op("anamorph::class_moments_grad", mutates_args=(),
                         schema="(Tensor features, Tensor labels, Tensor count, Tensor mean, Tensor grad_mean, "
                                "Tensor grad_scatter) -> Tensor")
def _class_moments_grad(features: Tensor, labels: Tensor, count: Tensor, mean: Tensor, grad_mean: Tensor,
                        grad_scatter: Tensor) -> Tensor:
    # Deviations of a class add up to 0, so what the scatter owes to the mean's own gradient vanishes.
    centred = features - mean[labels]
    out = (grad_mean / count.clamp(min=1)[:, None])[labels]
    if grad_scatter.dim() == 2:
        return out + 2 * grad_scatter[labels] * centred
    with no_autocast(features):
        both = grad_scatter + grad_scatter.mT
        if _on_host(features):
            for c, rows in _rows(*_by_class(labels, len(count))):
                out[rows] += centred[rows] @ both[c]
            return out
        return out + _masked_grad(centred, labels, both)


def _masked_grad(centred: Tensor, labels: Tensor, both: Tensor) -> Tensor:
    out = torch.zeros_like(centred)
    for some, mask in _masks(centred, labels, len(both)):
        products = (centred @ both[some].transpose(0, 1).flatten(1)).view(len(centred), len(mask), -1)
        out += (mask.T[:, :, None] * products).sum(1)
    return out


@_class_moments_grad.register_fake
def _(features: Tensor, labels: Tensor, count: Tensor, mean: Tensor, grad_mean: Tensor, grad_scatter: Tensor) -> Tensor:
    return torch.empty_like(features, memory_format=torch.contiguous_format)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    ctx.save_for_backward(inputs[0], inputs[1], output[2], output[0])


def _back(ctx: Any, grad_mean: Tensor, grad_scatter: Tensor, _count: Tensor | None) -> tuple[Tensor, None, None, None]:
    return torch.ops.anamorph.class_moments_grad(*ctx.saved_tensors, grad_mean, grad_scatter), None, None, None


_class_moments.register_autograd(_back, setup_context=_save)
