"""The loss that goes with AugMix's three views."""

from __future__ import annotations

import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.core.errors import DtypeError, ShapeError
from anamorph.core.tensors import as_tensor


def jensen_shannon_loss(clean: Tensor, first: Tensor, second: Tensor, weight: float = 12.0) -> Tensor:
    """How much three predictions of one sample differ: ``weight`` times their Jensen-Shannon divergence, the mean over the batch
    (Hendrycks et al., "AugMix", ICLR 2020, which adds it to the clean view's cross-entropy).

    Args:
        clean, first, second: logits ``[B, K]`` of the clean and the two augmented views. Gradients go through all three.
        weight: 12 in the paper.

    Returns:
        A scalar: the mean of KL(p || m) over the three predictions p, m their mean kept within 1e-7 and 1.

    Raises:
        ShapeError, DtypeError, ArgumentError: logits of different shapes, of none or of integers, a weight that is no number.
    """
    weight = checks.number("weight", weight)
    logits = [as_tensor(name, t) for name, t in (("clean", clean), ("first", first), ("second", second))]
    for name, t in zip(("clean", "first", "second"), logits, strict=True):
        if not t.dtype.is_floating_point:
            raise DtypeError(f"{name}: expected floats, given {t.dtype}")
    shapes = [list(t.shape) for t in logits]
    if not shapes[0] == shapes[1] == shapes[2] or len(shapes[0]) != 2 or not logits[0].numel():
        raise ShapeError(f"clean, first, second: expected logits [B, K] of one shape with B >= 1, given {shapes[0]}, {shapes[1]} "
                         f"and {shapes[2]}")
    each = torch.log_softmax(torch.stack([t if t.dtype == torch.float64 else t.float() for t in logits]), 2)
    mean = each.exp().mean(0).clamp(1e-7, 1).log()
    off = torch.where(each > -torch.inf, each - mean, 0)  # of a class that cannot be nothing is left
    return weight * (each.exp() * off).sum(2).mean()
