"""UniCon-HA: telling one class from its own rotated copies, with stronger views for deeper stages of the net.

(Wang et al., "Unilaterally aggregated contrastive learning with hierarchical augmentation for anomaly detection", ICCV 2023. No
code of theirs was published; what the paper leaves open is said below.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from anamorph.core import checks
from anamorph.core.errors import DtypeError, ShapeError
from anamorph.core.tensors import as_tensor
from anamorph.images.presets import MEAN, STD
from anamorph.images.recipe import Recipe
from anamorph.images.transforms.base import Transform
from anamorph.images.transforms.color import ColorJitter, Normalize, RandomGrayscale
from anamorph.images.transforms.compose import RandomApply
from anamorph.images.transforms.geometry import RandomHorizontalFlip, RandomResizedCrop
from anamorph.training import given
from anamorph.training.pretext import rotnet

LEAST_AREAS, STRENGTHS = (0.75, 0.54, 0.3, 0.08), (0.25, 0.5, 0.75, 1.0)


def virtual_outliers(images: Any) -> tuple[Tensor, Tensor]:
    """Pictures of the one class and, as outliers, their copies turned by 90, 180 and 270 degrees.

    Args:
        images: square ``[B, C, H, W]`` of any dtype.

    Returns:
        ``[B * 4, C, H, W]``, row b * 4 + k picture b turned k times, and which of them are outliers, bool ``[B * 4]``.
    """
    views, turns = rotnet(images)
    return views, turns != 0


def hierarchical_recipes(size: int = 32, mean: Sequence[float] | None = MEAN, std: Sequence[float] | None = STD,
                         dtype: torch.dtype = torch.float32) -> list[Recipe]:
    """The views of the four stages of a ResNet, weak to strong: a crop, jitter with probability 0.8, a flip, grey with 0.2.

    The paper's numbers stand in a supplement that we have not seen. Ours: crops of at least 0.75, 0.54, 0.3 and 0.08 of the
    picture, and a quarter, a half, three quarters and all of SimCLR's jitter for CIFAR (0.4, 0.4, 0.4, 0.1).

    Args:
        size: of the views. mean, std: of Normalize; ``mean=None`` leaves it out. dtype: of the output.
    """
    size = checks.side("hierarchical_recipes.size", size)
    last: list[Transform] = [] if mean is None else [Normalize(mean, STD if std is None else std)]
    return [Recipe([RandomResizedCrop(size, (least, 1.0)),
                    RandomApply([ColorJitter(0.4 * s, 0.4 * s, 0.4 * s, 0.1 * s)], p=0.8), RandomHorizontalFlip(),
                    RandomGrayscale(0.2), *last], dtype=dtype) for least, s in zip(LEAST_AREAS, STRENGTHS, strict=True)]


def one_class_loss(first: Any, second: Any, outlier: Any, temperature: float = 0.5, *, weighted: bool = False) -> Tensor:
    """Views of inliers come together, each outlier's keep to themselves: of an inlier's view every other one of an inlier is a
    positive, of an outlier's its other view alone.

    Args:
        first, second: embeddings ``[B, D]`` of two views of each picture; they are normalised here.
        outlier: bool ``[B]``, such as :func:`virtual_outliers`' (of several stages the same).
        temperature: of the cosines.
        weighted: positives among inliers count by how near they are to the others: w_p the sum of exp(cos / 0.5) to the other
            inliers' views, normalised, without gradient. For the last stage, where inliers that look unlike the class then
            count less. The paper prints the weights inside the logarithm, where a constant factor has no gradient; here they
            weigh the logarithms. Equal weights are the plain mean.

    Returns:
        A scalar: the mean over the 2 B views of the weighted mean over its positives p of
        -log(exp(cos_p / T) / sum over all other views of exp(cos / T)).

    Raises:
        ShapeError, DtypeError, DeviceError, ArgumentError: what was given and what is expected.
    """
    temperature = checks.number("temperature", temperature, 1e-6)
    weighted = checks.flag("weighted", weighted)
    a, b = given.pair(("first", "second"), first, second, "[B, D]")
    flags = as_tensor("outlier", outlier)
    if flags.dtype != torch.bool:
        raise DtypeError(f"outlier: expected bool [B], given {flags.dtype}")
    if list(flags.shape) != [len(a)]:
        raise ShapeError(f"outlier: expected [{len(a)}], one for each picture, given {list(flags.shape)}")
    given.same_device("outlier", flags, "first", a)
    z = F.normalize(torch.cat([a, b]), dim=1)
    outliers, picture = flags.repeat(2), torch.arange(len(a), device=z.device).repeat(2)
    inlier = ~outliers
    cosines, itself = z @ z.T, torch.eye(len(z), dtype=torch.bool, device=z.device)
    log_p = torch.log_softmax((cosines / temperature).masked_fill(itself, -torch.inf), 1).masked_fill(itself, 0)
    alike = inlier[:, None] & inlier
    positive = (alike | (picture[:, None] == picture)) & ~itself
    share = positive.to(z.dtype)
    if weighted:
        near = (cosines.detach() / 0.5).exp() * (alike & ~itself)
        share = share * torch.where(inlier, near.sum(0), 1)
    return -(share * log_p).sum(1).div(share.sum(1)).mean()


def hierarchical_loss(losses: Sequence[Any], weights: Sequence[float] | None = None) -> Tensor:
    """The stages' losses as one: the mean of weight_i * loss_i.

    Args:
        losses: a scalar of each stage, first to last.
        weights: one for each; None: 1.
    """
    if isinstance(losses, str) or not isinstance(losses, Sequence) or not losses:
        checks.wrong("losses", "a list of scalars, one of each stage", losses)
    scalars = [as_tensor(f"losses[{i}]", loss) for i, loss in enumerate(losses)]
    for i, t in enumerate(scalars):
        if t.numel() != 1:
            raise ShapeError(f"losses[{i}]: expected a scalar, given {list(t.shape)}")
    each = [1.0] * len(scalars) if weights is None else [
        checks.number(f"weights[{i}]", w, 0) for i, w in
        enumerate(checks.several("weights", weights, (len(scalars),), f"{len(scalars)} numbers, one for each loss"))]
    return torch.stack([w * t.reshape(()) for w, t in zip(each, scalars, strict=True)]).mean()
