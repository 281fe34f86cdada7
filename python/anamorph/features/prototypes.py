"""Class prototypes moved towards those that are well known (TEEN), and learned prototypes that a student's tokens are augmented
with (ProC-KD)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F

from anamorph.core import checks
from anamorph.features import given
from anamorph.features.precision import full, no_autocast
from anamorph.features.statistics import RunningGaussian


def calibrate_prototypes(new: Tensor, base: Tensor, shift: float = 0.5, scale: float = 16.0) -> Tensor:
    """New classes' prototypes moved towards the base classes that they resemble: ``(1 - shift) c + shift unit(sum_b w_b b)`` with
    ``w = softmax(scale cos(c, b))``, c and b of unit length.

    Wang et al., "Few-shot class-incremental learning via training-free prototype calibration", NeurIPS 2023.

    Args:
        new: floats ``[N, D]``; normalised here, as are the next. Gradients reach both.
        base: ``[C, D]``.
        shift: 0 (``new`` as it is, normalised) to 1; 0.5 by default and on CUB, 0.1 on CIFAR-100.
        scale: of the cosines.

    Returns:
        ``[N, D]``, not of unit length again: a cosine classifier does not mind. float32, or float64 where ``new`` is.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    dim = given.features("new", new, "[N, D]").shape[1]
    given.features("base", base, f"[C, {dim}]")
    given.same_device("base", base, new)
    shift, scale = checks.number("shift", shift, 0, 1), checks.number("scale", scale, 0)
    c = F.normalize(full(new))
    b = F.normalize(base.to(c.dtype))
    with no_autocast(c):
        return (1 - shift) * c + shift * F.normalize((scale * c @ b.T).softmax(1) @ b)


class TEEN(nn.Module):
    """A cosine classifier whose prototypes are the classes' mean features, those of new classes calibrated. Nothing is trained,
    and in which order new classes come does not matter: each is moved towards the base classes alone.

    Args:
        dim: D.
        classes: of all sessions.
        base: how many of them, the first ones, are base classes.
        shift, scale: of :func:`calibrate_prototypes`.
        temperature: of the logits, which are ``temperature`` times a cosine; 16 on CIFAR-100, else 32.
        dtype: of the running means.

    ``statistics`` is the diagonal :class:`RunningGaussian`.
    """

    def __init__(self, dim: int, classes: int, base: int, shift: float = 0.5, scale: float = 16.0, temperature: float = 16.0,
                 dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.statistics = RunningGaussian(dim, classes, diagonal=True, dtype=dtype)
        self.base = checks.whole("base", base, 1, classes)
        self.shift, self.scale = checks.number("shift", shift, 0, 1), checks.number("scale", scale, 0)
        self.temperature = checks.number("temperature", temperature, 0)

    def update(self, features: Tensor, labels: Tensor, group: dist.ProcessGroup | None = None) -> Self:
        """Takes in labelled features ``[B, D]``; see :meth:`RunningGaussian.update`."""
        self.statistics.update(features, labels, group)
        return self

    def prototypes(self) -> Tensor:
        """``[C, D]``: of base classes unit length, of new ones as :func:`calibrate_prototypes` gives them, of unseen ones 0. A
        base class that is unseen draws nothing to itself."""
        mean, seen = self.statistics.mean, (self.statistics.counts > 0)[:, None]
        base = F.normalize(mean[:self.base])
        if self.base == len(mean):
            return base
        return torch.cat([base, calibrate_prototypes(mean[self.base:], base, self.shift, self.scale)]) * seen

    def forward(self, features: Tensor) -> Tensor:
        """Logits ``[B, C]``; -inf for a class without features."""
        mean = self.statistics.mean
        given.features("features", features, f"[B, {mean.shape[1]}]")
        given.same_device("features", features, mean)
        f = F.normalize(full(features))
        with no_autocast(f):
            cosine = f @ F.normalize(self.prototypes()).T.to(f.dtype)
        return (self.temperature * cosine).masked_fill(self.statistics.counts == 0, -torch.inf)


class PrototypeAugmentation(nn.Module):
    """ProC-KD's prototype learning and augmentation: prototypes are learned on a teacher's tokens and added to the student's.

    In training the student's head sees two sets of tokens, its own and those made of the teacher's, ``augment(learn(teacher))``;
    afterwards its own tokens, augmented. Both go through the student's last normalisation and head.

    Li et al., "Prototype-guided cross-task knowledge distillation for large-scale models", 2022.

    Args:
        dim: D of the student's tokens.
        prototypes: K.
        layers: how many of the teacher's layers are looked at.
        teacher_dim: of the teacher's tokens; D by default.

    Parameters start as torch's layers do; the prototypes uniformly between 0 and 1.
    """

    def __init__(self, dim: int, prototypes: int = 72, layers: int = 3, teacher_dim: int | None = None) -> None:
        super().__init__()
        dim, count = checks.whole("dim", dim, 1), checks.whole("prototypes", prototypes, 1)
        self.layers = checks.whole("layers", layers, 1)
        self.teacher_dim = dim if teacher_dim is None else checks.whole("teacher_dim", teacher_dim, 1)
        self.prototypes = nn.Parameter(nn.init.uniform_(torch.empty(count, dim)))
        self.gather = nn.Sequential(nn.Linear(self.layers * self.teacher_dim, dim), nn.ReLU())
        self.assign = nn.Linear(dim, count, bias=False)
        self.describe = nn.Linear(count * dim, dim)
        self.join = _two_layers(dim)
        self.encode = nn.Linear(dim, dim, bias=False)
        self.transform = _two_layers(dim)

    def learn(self, teacher: Sequence[Tensor]) -> Tensor:
        """The teacher's tokens with the descriptor of the whole picture joined to each.

        Args:
            teacher: of each layer the tokens ``[B, N, teacher_dim]``, from a frozen network.

        Returns:
            ``[B, N, D]``.
        """
        if not isinstance(teacher, Sequence) or len(teacher) != self.layers:
            checks.wrong("teacher", f"tokens of {self.layers} layers",
                         f"{len(teacher)} of them" if isinstance(teacher, Sequence) else type(teacher).__name__)
        for i, t in enumerate(teacher):
            given.features(f"teacher[{i}]", t, f"[B, N, {self.teacher_dim}]", like=teacher[0] if i else None)
            given.same_shape(f"teacher[{i}]", t, "the first layer", teacher[0])
            given.same_device(f"teacher[{i}]", t, self.prototypes)
        x = self.gather(torch.cat(list(teacher), 2))
        described = self.describe(self.descriptor(x))
        return self.join(torch.cat([x, described[:, None, :].expand_as(x)], 2))

    def descriptor(self, tokens: Tensor) -> Tensor:
        """How the tokens lie about the prototypes, ``[B, K D]`` of unit length: ``v_k = sum_n a_nk (x_n - c_k)`` with x of unit
        length and a the softmax over prototypes of the assignment; each v_k of unit length, then all together.

        Args:
            tokens: ``[B, N, D]``.
        """
        self._tokens(tokens)
        x = F.normalize(full(tokens), dim=2)  # in halves a token of zeros has no direction, but NaN
        share = self.assign(x.to(tokens.dtype)).softmax(2).to(x.dtype)
        with no_autocast(x):
            apart = share.mT @ x - share.sum(1)[:, :, None] * self.prototypes.to(x.dtype)
            return F.normalize(F.normalize(apart, dim=2).flatten(1)).to(tokens.dtype)

    def augment(self, tokens: Tensor) -> Tensor:
        """Tokens with the prototypes that they resemble: ``relu(F + T[E(F); r])``, ``r = sum_k A_k E(c_k)``, A the softmax over
        prototypes of ``E(c_k) . E(F)``, unscaled.

        Args:
            tokens: F, ``[B, N, D]``.
        """
        self._tokens(tokens)
        e, c = self.encode(tokens), self.encode(self.prototypes)
        found = (e @ c.T).softmax(2).to(c.dtype) @ c
        return F.relu(tokens + self.transform(torch.cat([e, found.to(e.dtype)], 2)))

    def forward(self, tokens: Tensor, teacher: Sequence[Tensor] | None = None) -> Tensor:
        """The augmented tokens ``[B, N, D]``: of the teacher where it is given (training), else of the student's last tokens."""
        return self.augment(tokens if teacher is None else self.learn(teacher))

    def _tokens(self, tokens: Any) -> None:
        given.features("tokens", tokens, f"[B, N, {self.prototypes.shape[1]}]")
        given.same_device("tokens", tokens, self.prototypes)


def _two_layers(dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(2 * dim, dim, bias=False), nn.ReLU(), nn.Linear(dim, dim, bias=False), nn.ReLU())


class PrototypeLosses(NamedTuple):
    """The parts; ``sum`` of them is the loss."""

    plain: Tensor
    augmented: Tensor
    distillation: Tensor


def prototype_losses(logits: Tensor, augmented: Tensor, labels: Tensor, weight: float = 10.0) -> PrototypeLosses:
    """ProC-KD's loss: ``CE(plain) + CE(augmented) + weight KL(augmented || plain)``, the augmented probabilities of the last part
    without gradient. The released code has the first part alone; the others are our reading of the paper.

    Args:
        logits: of the student's own tokens, floats ``[B, C]``.
        augmented: of the augmented ones, ``[B, C]``.
        labels: int64 ``[B]``.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    given.features("logits", logits, "[B, C]")
    given.features("augmented", augmented, "[B, C]")
    given.same_shape("augmented", augmented, "logits", logits)
    given.same_device("augmented", augmented, logits)
    given.labels("labels", labels, logits, logits.shape[1])
    weight = checks.number("weight", weight, 0)
    plain, other = full(logits), full(augmented).to(full(logits).dtype)
    target = other.detach().log_softmax(1)
    apart = F.kl_div(plain.log_softmax(1), target, reduction="batchmean", log_target=True)
    return PrototypeLosses(F.cross_entropy(plain, labels), F.cross_entropy(other, labels), weight * apart)
