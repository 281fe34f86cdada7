"""AugTune (Kim et al., "Point cloud augmentation with weighted local transformations", ICCV 2021): an augmented cloud is brought
back towards the cloud it was, as far as a model's confidence asks for."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, ShapeError
from anamorph.learned.adaptpoint import _targets, check_classes
from anamorph.learned.adaptpoint_nets import cloud, normalised
from anamorph.learned.frozen import frozen

LAMBDA = 0.1


def share(original: Tensor, augmented: Tensor, lam: float = LAMBDA) -> Tensor:
    """How much of the original cloud to take, 0 to 1, of the model's probabilities of the true class, ``[B]``:

        c_t = max((1 - lam) c_o, c_a)        alpha = (c_t - c_a) / (c_o - c_a + 1e-4), clipped to 0 to 1

    0 where the augmented cloud is not that much harder.
    """
    target = torch.maximum((1 - lam) * original, augmented)
    wanted = target - augmented
    # Where anything is wanted, c_o is above c_a; elsewhere the divisor could be 0.
    divisor = torch.where(wanted > 0, original - augmented + 1e-4, torch.ones_like(wanted))
    return (wanted / divisor).clamp(0, 1)


def augtune(model: nn.Module, points: Tensor, augmented: Tensor, targets: Tensor, lam: float = LAMBDA, *,
            published: bool = False) -> Tensor:
    """alpha of the original and 1 - alpha of the augmented clouds, normalised: less the mean, divided by the largest norm.

    The model scores both in evaluation mode and without gradients; afterwards each of its parts has the mode that it had.
    Published code scores in training mode, so batch norm's statistics move twice more and dropout blurs the confidence:
    ``published=True`` leaves the modes as they are. Published training scales and shifts afterwards (``Scale(2 / 3, 3 / 2,
    per_axis=True)`` and ``Translate(0.2)`` in a recipe); that is yours to do.

    Args:
        model: ``[B, N, 3]`` to logits ``[B, K]``.
        points: float32 ``[B, N, 3]``. augmented: the same points in the same order, augmented, as PointWOLF gives them.
        targets: int64 ``[B]``, class ids.
        lam: how much of the confidence may be lost, 0 to 1.

    Returns:
        float32 ``[B, N, 3]``, without gradient.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected. On a GPU values are not looked
            at.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"model: expected a torch module, given {type(model).__name__}")
    cloud(points, 1)
    cloud(augmented, 1)
    if augmented.shape != points.shape:
        raise ShapeError(f"augmented: expected {list(points.shape)} as points, given {list(augmented.shape)}")
    _targets(targets, points)
    lam = checks.number("lam", lam, 0, 1)
    with torch.no_grad():
        with nullcontext() if checks.flag("published", published) else frozen(model, mode=False):
            known, new = (_confidence(model(each), targets) for each in (points, augmented))
        alpha = share(known, new, lam)[:, None, None].to(points.dtype)
        return normalised(alpha * points + (1 - alpha) * augmented)


def _confidence(logits: Any, targets: Tensor) -> Tensor:
    check_classes(targets, logits)
    return logits.float().softmax(1).gather(1, targets[:, None])[:, 0]
