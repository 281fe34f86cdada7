"""The loss that goes with AugMix's three views."""

from __future__ import annotations

import torch
from torch import Tensor

from anamorph.core.errors import ShapeError


def jensen_shannon_loss(clean: Tensor, first: Tensor, second: Tensor, weight: float = 12.0) -> Tensor:
    """How much three predictions of one sample differ: ``weight`` times their Jensen-Shannon divergence, the mean over the batch
    (Hendrycks et al., "AugMix", ICLR 2020, which adds it to the clean view's cross-entropy).

    Args:
        clean, first, second: logits ``[B, K]`` of the clean and the two augmented views. Gradients go through all three.
        weight: 12 in the paper.

    Returns:
        A scalar: the mean of KL(p || m) over the three predictions p, m their mean kept within 1e-7 and 1.

    Raises:
        ShapeError: logits of different shapes.
    """
    if not clean.shape == first.shape == second.shape or clean.dim() != 2:
        raise ShapeError(f"clean, first, second: expected logits [B, K] of one shape, given {list(clean.shape)}, "
                         f"{list(first.shape)} and {list(second.shape)}")
    each = torch.log_softmax(torch.stack([clean, first, second]), 2)
    mean = each.exp().mean(0).clamp(1e-7, 1).log()
    return weight * (each.exp() * (each - mean)).sum(2).mean()
