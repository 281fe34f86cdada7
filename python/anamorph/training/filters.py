"""Filters of planes in float64, one product and one sum at a time: the same bits in every batch and on every device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

TRUNCATE = 4.0  # deviations, as SciPy's and scikit-image's Gaussians are cut off


def clamped(x: Tensor, by: int, axis: int) -> Tensor:
    """``by`` more pixels at both ends of an axis, copies of the outermost."""
    n = x.shape[axis]
    return x.index_select(axis, torch.arange(-by, n + by, device=x.device).clamp(0, n - 1))


def mirrored(x: Tensor, by: int, axis: int) -> Tensor:
    """``by`` more pixels at both ends of an axis, mirrored about the middle of the outermost, which is not repeated."""
    n = x.shape[axis]
    period = max(1, 2 * (n - 1))
    at = torch.arange(-by, n + by, device=x.device) % period
    return x.index_select(axis, torch.minimum(at, period - at) if n > 1 else torch.zeros_like(at))


def gaussian(x: Tensor, sigma: float) -> Tensor:
    """Blurred down and across, float64 ``[..., H, W]``; the edge is repeated. The taps are added in SciPy's order, from the
    outermost pair inwards, so that the bits are ``skimage.filters.gaussian``'s."""
    reach = int(TRUNCATE * sigma + 0.5)
    if not reach:
        return x
    taps = np.exp(-0.5 / (sigma * sigma) * np.arange(-reach, reach + 1) ** 2)
    taps /= taps.sum()
    for axis in (-2, -1):
        n = x.shape[axis]
        wide = clamped(x, reach, axis)
        x = x * float(taps[reach])
        for far in range(reach, 0, -1):
            pair = wide.narrow(axis, reach - far, n) + wide.narrow(axis, reach + far, n)
            x = x + pair.mul_(float(taps[reach - far]))
    return x
