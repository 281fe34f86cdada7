"""What a net says of an unlabelled sample as it is, or of a weak view, it has to say of a strong view: the losses and schedules
of UDA (Xie et al., "Unsupervised data augmentation for consistency training", NeurIPS 2020) and of FixMatch (Sohn et al.,
NeurIPS 2020)."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from anamorph.core import checks
from anamorph.core.errors import ShapeError
from anamorph.features import given
from anamorph.features.precision import full, number

SCHEDULES = ("linear", "log", "exp")


def uda_loss(original: Tensor, augmented: Tensor, temperature: float = 0.4, threshold: float = 0.8) -> Tensor:
    """UDA's consistency: the divergence KL(target || augmented) of the samples that the net is sure of, the mean over all of
    them. The target is ``softmax(original / temperature)``, without gradient. Sure is a probability above ``threshold`` before
    the sharpening.

    Args:
        original, augmented: logits ``[B, C]`` of unlabelled samples and of their strong views.
        temperature: above 0; 0.4 and a threshold of 0.8 in UDA's CIFAR-10 recipe, whose batches have seven (and their views) for
            each labelled sample. 1 sharpens nothing.
        threshold: 0 takes every sample.

    Returns:
        A scalar, float32, or float64 of that; 0 where the net is sure of none.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    temperature, threshold = checks.number("temperature", temperature, 1e-6), checks.probability("threshold", threshold)
    z, view = _two(("original", "augmented"), original, augmented)
    sure = z.softmax(1).amax(1) > threshold
    target = F.log_softmax(z / temperature, 1)
    apart = F.kl_div(F.log_softmax(view, 1), target, reduction="none", log_target=True).sum(1)
    return (apart * sure).mean()


def fixmatch_loss(weak: Tensor, strong: Tensor, threshold: float = 0.95) -> Tensor:
    """FixMatch's consistency: the cross-entropy of the strong view and the class that the net sees in the weak one, where that
    has a probability of at least ``threshold``; the mean over all samples.

    Args:
        weak, strong: logits ``[B, C]`` of two views of unlabelled samples. No gradient goes through the weak ones.
        threshold: 0.95; the loss is added with weight 1 to that of a seventh as many labelled samples.

    Returns:
        A scalar, float32, or float64 of that; 0 where the net is sure of none.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    threshold = checks.probability("threshold", threshold)
    z, view = _two(("weak", "strong"), weak, strong)
    probability, said = z.softmax(1).max(1)
    return (F.cross_entropy(view, said, reduction="none") * (probability >= threshold)).mean()


def tsa_cross_entropy(logits: Tensor, labels: Tensor, threshold: float | Tensor) -> Tensor:
    """The cross-entropy of the labelled samples that the net does not know too well yet (UDA's training signal annealing): those
    whose class has a probability above ``threshold`` are left out, and the mean is that of the others.

    Args:
        logits: ``[B, C]``.
        labels: int64 class ids ``[B]``.
        threshold: of :func:`tsa_threshold`; a tensor of one value on the device may change without anything being compiled anew.

    Returns:
        A scalar, float32, or float64 of that; 0 where all are left out.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    z = full(given.features("logits", logits, "[B, C]"))
    given.labels("labels", labels, z, z.shape[1])
    threshold = number("threshold", threshold, z, 0, 1)
    loss = F.cross_entropy(z, labels, reduction="none")
    kept = ~((-loss.detach()).exp() > threshold)  # NaN is kept, and seen
    return (loss * kept).sum() / kept.sum().clamp(min=1)


def tsa_threshold(progress: float, classes: int, schedule: str = "linear") -> float:
    """UDA's threshold for :func:`tsa_cross_entropy`, from ``1 / classes`` at the start of training to 1 at its end (nearly, for
    "log").

    Args:
        progress: t, from 0 to 1.
        classes: at least 2.
        schedule: "linear", t; "log", 1 - exp(-5 t), of many labels; "exp", exp(5 (t - 1)), of few, which are soon known by heart.
    """
    t, classes = checks.number("progress", progress, 0, 1), checks.whole("classes", classes, 2)
    kind = checks.choice("schedule", schedule, SCHEDULES)
    part = {"linear": t, "log": 1 - math.exp(-5 * t), "exp": math.exp(5 * (t - 1))}[kind]
    return part * (1 - 1 / classes) + 1 / classes


def fixmatch_learning_rate(progress: float, base: float = 0.03) -> float:
    """FixMatch's learning rate, ``base cos(7 pi t / 16)``: it ends at a fifth, not at 0. UDA's is the same after a warm-up.

    Args:
        progress: t, from 0 to 1.
    """
    return checks.number("base", base, 0) * math.cos(7 * math.pi / 16 * checks.number("progress", progress, 0, 1))


def _two(names: tuple[str, str], first: Any, second: Any) -> tuple[Tensor, Tensor]:
    """Logits of one shape in full precision, the first of them without gradient."""
    given.features(names[0], first, "[B, C]")
    given.features(names[1], second, "[B, C]", like=first)
    if first.shape != second.shape:
        raise ShapeError(f"{names[1]}: expected {list(first.shape)} like {names[0]}, given {list(second.shape)}")
    return full(first.detach()), full(second)
