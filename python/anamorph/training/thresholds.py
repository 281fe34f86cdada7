"""Where to cut the values of pictures in two: the thresholds of ``skimage.filters``, of a whole batch at a time.

Each takes float64 ``[B, N]`` and gives ``[B]``; of a picture of one value it gives that value. By a histogram, of 256 bins from
the least to the greatest value: Otsu (1979), Ridler and Calvard (1978, "isodata"), Yen, Chang and Chang (1995). Of the values
themselves: the mean, Li and Tam (1998).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

BINS = 256
STEPS = 200  # of Li's iteration, which has come to rest long before


def mean(values: Tensor) -> Tensor:
    """The mean."""
    return _of_one_value(values, values.mean(1))


def otsu(values: Tensor) -> Tensor:
    """The greatest variance between the two parts."""
    counts, middles = _histogram(values)
    below, above = counts.cumsum(1)[:, :-1], _from_the_top(counts)[:, 1:]
    moment = counts * middles
    difference = moment.cumsum(1)[:, :-1] / below - _from_the_top(moment)[:, 1:] / above
    return _of_one_value(values, _pick(middles, (below * above * difference**2).argmax(1)))


def isodata(values: Tensor) -> Tensor:
    """The lowest value midway between the means of the two parts."""
    counts, middles = _histogram(values)
    below = counts.cumsum(1)
    moment = (counts * middles).cumsum(1)
    low = moment[:, :-1] / below[:, :-1]
    high = (moment[:, -1:] - moment[:, :-1]) / (below[:, -1:] - below[:, :-1])
    over = (low + high) / 2 - middles[:, :-1]
    fits = (over >= 0) & (over < middles[:, 1:2] - middles[:, :1])
    return _of_one_value(values, _pick(middles, fits.byte().argmax(1)))


def yen(values: Tensor) -> Tensor:
    """The greatest correlation of the two parts."""
    counts, middles = _histogram(values)
    share = counts / counts.sum(1, keepdim=True)
    below = share.cumsum(1)[:, :-1]
    squares = (share**2).cumsum(1)[:, :-1] * _from_the_top(share**2)[:, 1:]
    return _of_one_value(values, _pick(middles, ((below * (1 - below)) ** 2 / squares).log().argmax(1)))


def li(values: Tensor) -> Tensor:
    """The least cross-entropy of the two parts' means, by fixed-point steps from the mean."""
    low = values.amin(1, keepdim=True)
    ordered = (values - low).sort(1).values
    sums = torch.nn.functional.pad(ordered.cumsum(1), (1, 0))
    total, count = sums[:, -1:], ordered.shape[1]
    at = total / count
    for _ in range(STEPS):
        below = torch.searchsorted(ordered, at, right=True)
        dark = sums.gather(1, below) / below
        bright = (total - sums.gather(1, below)) / (count - below)
        step = (dark - bright) / (dark.log() - bright.log())
        at = torch.where((dark > 0) & step.isfinite(), step, at)
    return _of_one_value(values, (at + low)[:, 0])


BY_NAME: Mapping[str, Callable[[Tensor], Tensor]] = {"otsu": otsu, "yen": yen, "mean": mean, "isodata": isodata, "li": li}


def _histogram(values: Tensor) -> tuple[Tensor, Tensor]:
    """How many values are in each bin, and the bins' middles, ``[B, 256]`` float64. The bins are NumPy's."""
    low, high = values.amin(1, keepdim=True), values.amax(1, keepdim=True)
    reach = torch.where(high > low, high - low, 1)
    edges = low + reach * (torch.arange(BINS + 1, dtype=torch.float64, device=values.device) / BINS)
    edges = torch.cat([edges[:, :-1], low + reach], 1)
    at = (torch.searchsorted(edges, values, right=True) - 1).clamp_(0, BINS - 1)
    counts = torch.zeros(len(values), BINS, dtype=torch.int64, device=values.device).scatter_add_(1, at, torch.ones_like(at))
    return counts.double(), (edges[:, :-1] + edges[:, 1:]) / 2


def _from_the_top(x: Tensor) -> Tensor:
    return x.flip(1).cumsum(1).flip(1)


def _pick(middles: Tensor, at: Tensor) -> Tensor:
    return middles.gather(1, at[:, None])[:, 0]


def _of_one_value(values: Tensor, found: Tensor) -> Tensor:
    first = values[:, 0]
    return torch.where((values == first[:, None]).all(1), first, found)
