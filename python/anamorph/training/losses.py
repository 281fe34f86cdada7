"""The contrastive loss of two views."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from anamorph.core import checks
from anamorph.core.errors import ShapeError
from anamorph.training import given


def nt_xent(first: Any, second: Any, temperature: float = 0.5) -> Tensor:
    """How well each view finds the other one of its sample among all views of the batch: the normalised, temperature-scaled
    cross-entropy of SimCLR (Chen et al., ICML 2020).

    Args:
        first, second: embeddings ``[B, D]`` of two views, B >= 2; they are normalised here. Gradients go through both.
        temperature: of the cosines; 0.5 in SimCLR's CIFAR-10 recipe and in ScatSimCLR.

    Returns:
        A scalar: the mean over the 2 B views of the cross-entropy of 2 B - 1 cosines / temperature, the other view's the right
        one.

    Raises:
        ShapeError, DtypeError, DeviceError, ArgumentError: embeddings of different shapes or of one sample, a temperature that
            is none.
    """
    temperature = checks.number("temperature", temperature, 1e-6)
    a, b = given.pair(("first", "second"), first, second, "[B, D]")
    count = len(a)
    if count < 2:
        raise ShapeError(f"first, second: expected embeddings of at least two samples, given {count}")
    z = F.normalize(torch.cat([a, b]), dim=1)
    alike = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
    return F.cross_entropy(alike, torch.arange(2 * count, device=z.device).roll(count))
