"""Manifold mixup: hidden features of a batch mixed with those of partners, in one native pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from anamorph import _native
from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DtypeError, ShapeError
from anamorph.features import draws, given
from anamorph.features.draws import Step
from anamorph.features.memory import new_like
from anamorph.features.precision import full, full_dtype, no_autocast


@dataclass(frozen=True)
class Mix:
    """Who was mixed with whom, and how much: what the labels need.

    Attributes:
        partner: int64 ``[B]``.
        lam: float32, the weight of the own features, ``[]`` or ``[B]``.
        changed: float32 ``[]``, the share of the features that was mixed; None: all of them.
    """

    partner: Tensor
    lam: Tensor
    changed: Tensor | None = None


def manifold_mixup(x: Tensor, step: Step, alpha: float = 2.0) -> tuple[Tensor, Mix]:
    """Manifold mixup (Verma et al., "Manifold mixup: better representations by interpolating hidden states", ICML 2019) of one
    layer's features: ``out = lam x + (1 - lam) x[partner]``, one ``lam`` of Beta(alpha, alpha) and one permutation for the batch.

    Args:
        x: floats ``[B, ...]`` (float16, bfloat16, float32, float64).
        step: (seed, step), :mod:`anamorph.features.draws`.
        alpha: at least 0; of 0 ``lam`` is 1. The authors': 2 for CIFAR, 0.2 for Tiny-ImageNet.

    Returns:
        The features and the :class:`Mix`, for :func:`mixed_targets`. The gradient of ``x[i]`` is ``lam grad[i] + (1 - lam)
        grad[j]``, of the ``j`` whose partner ``i`` is. NaN stays in its sample and in the one that it is a partner of.

    Raises:
        ArgumentError, DtypeError, ShapeError, DeviceError: what was given and what is expected.
    """
    given.features("x", x, "[B, ...]")
    mix = drawn_mix(x, step, alpha)
    return blend(x, mix.partner, mix.lam), mix


def drawn_mix(x: Tensor, step: Step, alpha: float) -> Mix:
    """A permutation and one share, for a batch."""
    if checks.number("alpha", alpha, 0) == 0:
        lam = torch.ones((), device=x.device)
    else:
        lam = draws.beta(step, "manifold_mixup.lam", (), alpha, alpha, x.device)
    return Mix(draws.permutation(step, "manifold_mixup.partner", x.shape[0], x.device), lam)


def mix_rows(x: Tensor, partner: Tensor, lam: Tensor, holes: Tensor | None = None) -> Tensor:
    """``lam x + (1 - lam) x[partner]``, everywhere or in holes; elsewhere the bits of ``x``. Where ``lam`` is 0 nothing of ``x``
    is seen, where it is 1 nothing of the partner: what is not finite there does not come through.

    Args:
        x: floats ``[B, ...]``.
        partner: int64 ``[B]``, a permutation: each is somebody's partner once.
        lam: floats ``[]`` or ``[B]``, without gradient.
        holes: bool, the shape of a sample, the same for all.

    Returns:
        As ``x``, without gaps. Differentiable in ``x``.
    """
    given.features("x", x, "[B, ...]")
    batch = x.shape[0]
    if not isinstance(partner, Tensor) or partner.dtype != torch.int64:
        raise DtypeError(f"partner: expected int64 [B], given {getattr(partner, 'dtype', partner)!r}")
    if list(partner.shape) != [batch]:
        raise ShapeError(f"partner: expected [{batch}], one for each sample, given {list(partner.shape)}")
    given.same_device("partner", partner, x)
    if given.looked_at(partner) and not torch.equal(partner.sort().values, torch.arange(batch)):
        raise ArgumentError("partner: expected a permutation of the batch, given one in which some stand twice "
                            "or are out of range")
    if not isinstance(lam, Tensor) or not lam.is_floating_point():
        raise DtypeError(f"lam: expected floats [] or [B], given {getattr(lam, 'dtype', lam)!r}")
    if list(lam.shape) not in ([], [1], [batch]):
        raise ShapeError(f"lam: expected [] or [{batch}], given {list(lam.shape)}")
    given.same_device("lam", lam, x)
    if lam.requires_grad:
        raise ArgumentError("lam: expected one without gradient, given one that requires it")
    if holes is not None:
        if not isinstance(holes, Tensor) or holes.dtype != torch.bool:
            raise DtypeError(f"holes: expected bool, the shape of a sample, given {getattr(holes, 'dtype', holes)!r}")
        if holes.shape != x.shape[1:]:
            raise ShapeError(f"holes: expected {list(x.shape[1:])}, the shape of a sample, given {list(holes.shape)}")
        given.same_device("holes", holes, x)
    return blend(x, partner, lam, holes)


def blend(x: Tensor, partner: Tensor, lam: Tensor, holes: Tensor | None = None) -> Tensor:
    """:func:`mix_rows` of what is known to fit."""
    own = lam.to(full_dtype(x)).expand(x.shape[0])
    out: Tensor = torch.ops.anamorph.mix_rows(x, partner, own, 1 - own, holes)
    return out


def mixed_targets(targets: Tensor, mix: Mix, classes: int | None = None) -> Tensor:
    """Labels mixed as the features were.

    Args:
        targets: int64 class ids ``[B]``, or floats ``[B, C]``.
        mix: of :func:`manifold_mixup`.
        classes: C, of ids.

    Returns:
        floats ``[B, C]``, whose rows add up to what they did, 1 of ids.
    """
    y = soft(targets, mix.partner, classes)
    lam = mix.lam.to(y.dtype).reshape(-1, 1)
    return lam * y + (1 - lam) * y[mix.partner]


def soft(targets: Tensor, like: Tensor, classes: int | None) -> Tensor:
    """Class ids as one-hot floats; floats as they are."""
    if not isinstance(targets, Tensor):
        raise ArgumentError(f"targets: expected int64 class ids [B] or floats [B, C], given {type(targets).__name__}")
    if targets.is_floating_point():
        given.features("targets", targets, "[B, C]")
        if len(targets) != len(like):
            raise ShapeError(f"targets: expected {len(like)} rows, given {list(targets.shape)}")
        given.same_device("targets", targets, like)
        return targets
    if classes is None:
        raise ArgumentError("classes: expected the number of classes, because targets are ids, given None")
    classes = checks.whole("classes", classes, 1)
    return nn.functional.one_hot(given.labels("targets", targets, like, classes), classes).float()


def soft_bce(logits: Tensor, targets: Tensor) -> Tensor:
    """The authors' loss: binary cross entropy of the softmax against soft labels, the mean over ``B x C``. In
    float32 under autocast.

    Args:
        logits: floats ``[B, C]``.
        targets: floats ``[B, C]``, 0 to 1.
    """
    given.features("logits", logits, "[B, C]")
    given.features("targets", targets, "[B, C]")
    given.same_shape("targets", targets, "the logits", logits)
    with no_autocast(logits):
        logits = full(logits)
        log_p = logits.log_softmax(1)
        # log(1 - p). Of the likeliest class 1 - p may have lost everything, so there it is what is left for the others.
        first = logits.argmax(1, keepdim=True)
        rest = logits.scatter(1, first, float("-inf")).logsumexp(1, keepdim=True) - logits.logsumexp(1, keepdim=True)
        others = torch.log1p(-log_p.exp().scatter(1, first, 0.0)).scatter(1, first, rest)
        y = targets.to(logits.dtype)
        return -(y * log_p.clamp(min=-100.0) + (1 - y) * others.clamp(min=-100.0)).mean()


class MixedForward(draws.Seeded):
    """A model whose forward pass mixes features at one of several places, another each step; :class:`ManifoldMixup` and
    :class:`~anamorph.features.patchup.PatchUp` say how. The place is chosen on the host, by the same key, so a captured CUDA
    graph keeps its own.

    Args:
        model: any module whose batch is the first axis.
        layers: names of submodules, whose outputs are mixed; ``""`` is the input of the model.
        seed: of the numbers; the step is counted in ``steps``.
    """

    def __init__(self, model: nn.Module, layers: Sequence[str], seed: int = 0) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise ArgumentError(f"model: expected a torch.nn.Module, given {type(model).__name__}")
        known = dict(model.named_modules())
        if not layers or isinstance(layers, str):
            checks.wrong("layers", "names of submodules, or '' for the input", layers)
        for name in layers:
            if name not in known:
                checks.wrong("layers", f"names of submodules ({', '.join(known)[1:200]}), or '' for the input", name)
        self.model, self.layers, self.seed, self.steps = model, tuple(layers), checks.whole("seed", seed), 0

    def restart(self, seed: int) -> None:
        self.seed, self.steps = seed, 0

    def get_extra_state(self) -> dict[str, int]:
        return {"seed": self.seed, "steps": self.steps}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.seed, self.steps = state["seed"], state["steps"]

    def change(self, x: Tensor, step: tuple[int, int], is_input: bool) -> tuple[Tensor, Mix]:
        raise NotImplementedError

    def forward(self, x: Tensor) -> tuple[Tensor, Mix | None]:
        """In training the output and the :class:`Mix`; in evaluation the output and None."""
        if not self.training:
            return self.model(x), None
        step = (self.seed, self.steps)
        self.steps += 1
        layer = self.layers[int(draws.integers(step, "mixed_forward.layer", (), len(self.layers)))]
        if layer == "":
            x, mix = self.change(x, step, True)
            return self.model(x), mix
        mixes: list[Mix] = []

        def hook(_module: nn.Module, _inputs: Any, output: Any) -> Tensor:
            if not isinstance(output, Tensor):
                raise ArgumentError(f"layers: expected one that gives a tensor, given {layer!r}, "
                                    f"which gives {type(output).__name__}")
            if mixes:
                raise ArgumentError(f"layers: expected one that runs once in a forward pass, given {layer!r}, which runs again")
            out, mix = self.change(output, step, False)
            mixes.append(mix)
            return out

        handle = self.model.get_submodule(layer).register_forward_hook(hook)
        try:
            out = self.model(x)
        finally:
            handle.remove()
        if not mixes:
            raise ArgumentError(f"layers: expected one that the forward pass runs, given {layer!r}, which it does not")
        return out, mixes[0]


class ManifoldMixup(MixedForward):
    """:func:`manifold_mixup` at one of ``layers``, drawn anew each step; the authors take the input and the outputs of the first
    two stages of a ResNet.

        mixup = ManifoldMixup(net, ["", "layer1", "layer2"])
        logits, mix = mixup(x)
        loss = mixup.loss(logits, y, mix)

    Args:
        model, layers, seed: of :class:`MixedForward`.
        alpha: of :func:`manifold_mixup`.
    """

    def __init__(self, model: nn.Module, layers: Sequence[str], alpha: float = 2.0, seed: int = 0) -> None:
        super().__init__(model, layers, seed)
        self.alpha = checks.number("alpha", alpha, 0)

    def change(self, x: Tensor, step: tuple[int, int], is_input: bool) -> tuple[Tensor, Mix]:
        return manifold_mixup(x, step, self.alpha)

    def loss(self, logits: Tensor, targets: Tensor, mix: Mix | None) -> Tensor:
        """:func:`soft_bce` of :func:`mixed_targets`; of a Mix of None, of the targets as they are."""
        y = soft(targets, logits, logits.shape[1]) if mix is None else mixed_targets(targets, mix, logits.shape[1])
        return soft_bce(logits, y)


# ---- the operator, as torch.compile and autograd see it ----


@torch.library.custom_op("anamorph::mix_rows", mutates_args=(),
                         schema="(Tensor x, Tensor partner, Tensor own, Tensor other, Tensor? holes) -> Tensor")
def _mix_rows(x: Tensor, partner: Tensor, own: Tensor, other: Tensor, holes: Tensor | None) -> Tensor:
    flat = x.detach().contiguous()
    out = new_like(flat, torch.contiguous_format)
    batch = x.shape[0]
    mask = None if holes is None else holes.contiguous().view(-1).view(torch.uint8)
    _native.features.mix_rows(x=flat.view(batch, -1), partner=partner.contiguous(), own=own.contiguous(),
                              other=other.contiguous(), holes=mask, out=out.view(batch, -1), threads=torch.get_num_threads())
    return out


@_mix_rows.register_fake
def _(x: Tensor, partner: Tensor, own: Tensor, other: Tensor, holes: Tensor | None) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _save_mix(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[1:])


def _mix_back(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    partner, own, other, holes = ctx.saved_tensors
    back = partner.argsort()
    return torch.ops.anamorph.mix_rows(grad, back, own, other[back], holes), None, None, None, None


_mix_rows.register_autograd(_mix_back, setup_context=_save_mix)
