"""Decoupled mixup: a loss of mixed samples in which either class is also told from all classes but the other one, so that what
a mixed sample shows clearly counts, however little of it there is.

Liu et al., "Harnessing hard mixed samples with decoupled regularizer", NeurIPS 2023.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from anamorph.core import checks
from anamorph.core.errors import DtypeError, ShapeError
from anamorph.features import given
from anamorph.features.precision import full, number, within


def decoupled_mixup(logits: Tensor, first: Tensor, second: Tensor, lam: float | Tensor, eta: float = 0.1,
                    power: float = 0.0) -> Tensor:
    """The cross-entropy of mixed samples and, weighed by ``eta``, that of each class among all classes except the other:

        D_a = -log softmax(z without b)_a        D_b = -log softmax(z without a)_b
        loss = -(lam log p_a + (1 - lam) log p_b) + eta (lam^power D_a + (1 - lam)^power D_b)

    Of a pair of one class it is the cross-entropy. No gradient of D_a reaches z_b.

    Args:
        logits: floats ``[B, C]`` of the mixed samples, C >= 2.
        first, second: int64 class ids ``[B]``, a and b, as ``am.render`` gives of a recipe with ``labels="pairs"``.
        lam: the share of ``first``, 0 to 1: a number, or a tensor ``[B]`` or of one value.
        eta: 0.1 in the paper, 0.01 to 0.5 in the published settings.
        power: the published code's ``lam_idx``. 0, as in the paper, weighs both alike whatever was mixed how much.

    Returns:
        A scalar, the mean over the batch, float32, or float64 of that.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: class ids out of range, a share below 0 or above 1, one class.
    """
    z, share, a, b = _mixed(logits, first, second, lam)
    eta, power = checks.number("eta", eta, 0), checks.number("power", power, 0)
    log_p = F.log_softmax(z, 1)
    mixed = -(share * log_p.gather(1, a) + (1 - share) * log_p.gather(1, b))
    decoupled = share**power * _without(z, b, a) + (1 - share) ** power * _without(z, a, b)
    return (mixed + eta * torch.where(a == b, 0.0, decoupled)).mean()


def decoupled_mixup_bce(logits: Tensor, first: Tensor, second: Tensor, lam: float | Tensor, threshold: float = 1.0,
                        power: float = 1.0) -> Tensor:
    """The same idea for one sigmoid for each class, which knows no "except": the binary cross-entropy of two classes that are
    both there, ``min(1, (share / threshold)^power)`` of each. 1 and 1 are the shares themselves; a threshold of 0.5, say, makes
    a class count in full from half the picture on; a power of 0 makes it count in full always.

    Args:
        logits, first, second, lam: as of :func:`decoupled_mixup`, C >= 1.
        threshold: above 0, at most 1.
        power: at least 0. Of 0 a share of 0 counts in full as well.

    Returns:
        A scalar: the sum over the classes, the mean over the batch. float32, or float64 of that.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: as :func:`decoupled_mixup`.
    """
    z, share, a, b = _mixed(logits, first, second, lam, least=1)
    threshold, power = checks.number("threshold", threshold, 1e-6, 1), checks.number("power", power, 0)
    hot = [((part / threshold) ** power).clamp(max=1) for part in (share, 1 - share)]
    same = a == b
    targets = torch.zeros_like(z).scatter_add(1, a, torch.where(same, 1.0, hot[0]))
    targets = targets.scatter_add(1, b, torch.where(same, 0.0, hot[1]))
    return F.binary_cross_entropy_with_logits(z, targets, reduction="sum") / len(z)


def _mixed(logits: Any, first: Any, second: Any, lam: Any, least: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits in full precision; the share of the first, and both classes, as columns."""
    z = full(given.features("logits", logits, "[B, C]"))
    if z.shape[1] < least:
        raise ShapeError(f"logits: expected [B, C] of at least {least} classes, given {list(z.shape)}")
    a, b = (given.labels(name, ids, z, z.shape[1]) for name, ids in (("first", first), ("second", second)))
    if isinstance(lam, Tensor) and lam.dim():
        if not lam.is_floating_point():
            raise DtypeError(f"lam: expected floats [B], given {lam.dtype}")
        if list(lam.shape) != [len(z)]:
            raise ShapeError(f"lam: expected a number or [{len(z)}], one for each row, given {list(lam.shape)}")
        given.same_device("lam", lam, z)
        within("lam", lam, 0, 1)
        share = lam.to(z.dtype)[:, None]
    else:
        share = z.new_ones(len(z), 1) * number("lam", lam, z, 0, 1)
    return z, share, a[:, None], b[:, None]


def _without(z: Tensor, out: Tensor, of: Tensor) -> Tensor:
    """-log softmax, at the class ``of``, over all classes but ``out``."""
    rest = torch.zeros_like(z, dtype=torch.bool).scatter(1, out, True)
    return z.masked_fill(rest, -torch.inf).logsumexp(1, keepdim=True) - z.gather(1, of)
