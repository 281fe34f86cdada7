"""The style of feature maps, which is each channel's mean and deviation, changed: MixStyle, DSU and AdvStyle. One native pass
finds the statistics, one applies what becomes of them, and backward it is the same; NCHW and channels last, with one spatial
axis or more."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from anamorph import _native
from anamorph.core import checks
from anamorph.core.errors import ShapeError
from anamorph.features import draws, given
from anamorph.features.draws import Keyed, Step
from anamorph.features.memory import new_like
from anamorph.features.precision import full_dtype
from anamorph.features.reversal import gradient_reversal

EPS = 1e-6


def mixstyle(x: Tensor, step: Step, p: float = 0.5, alpha: float = 0.1, eps: float = EPS, domains: bool = False) -> Tensor:
    """MixStyle (Zhou et al., "Domain generalization with MixStyle", ICLR 2021): the statistics of each sample mixed with those of
    a partner.

        sigma = sqrt(var + eps)        var unbiased, over a channel of a sample
        out = (x - mu) / sigma * (lam sigma + (1 - lam) sigma[partner]) + lam mu + (1 - lam) mu[partner]

    One ``lam`` of Beta(alpha, alpha) for each sample. mu and sigma carry no gradient: that of ``x`` is
    ``grad * sigma_mix / sigma``.

    Args:
        x: floats ``[B, C, ...]`` (float16, bfloat16, float32, float64), with two or more values in a channel of a sample.
        step: (seed, step), :mod:`anamorph.features.draws`.
        p: how often a call changes anything.
        alpha: above 0.
        eps: above 0.
        domains: the batch is one half of one domain, then one of another: partners are of the other half. B is even then.

    Returns:
        As ``x``, in its layout. A batch of one comes out as it is. NaN stays in its channel and in those that mix with it.

    Raises:
        ArgumentError, DtypeError, ShapeError, DeviceError: what was given and what is expected.
    """
    _checked(x, p, eps)
    if checks.number("alpha", alpha) <= 0:
        checks.wrong("alpha", "a number above 0", alpha)
    key, batch = given.step(step, x.device), x.shape[0]
    if domains and batch % 2:
        raise ShapeError(f"x: expected an even batch, half of it of each domain, given {list(x.shape)}")
    if domains:
        half = batch // 2
        first, second = (draws.permutation(key, f"mixstyle.{name}", half) for name in ("first", "second"))
        partner = torch.cat([second + half, first])
    else:
        partner = draws.permutation(key, "mixstyle.partner", batch)
    lam = draws.beta(key, "mixstyle.lam", (batch,), alpha, alpha)
    return _restyle(x, "mix", eps, _active(key, "mixstyle.p", p), lam, partner)


def dsu(x: Tensor, step: Step, p: float = 0.5, eps: float = EPS) -> Tensor:
    """DSU (Li et al., "Uncertainty modeling for out-of-distribution generalization", ICLR 2022): each channel's mean and
    deviation moved as far as they differ within the batch.

        beta = mu + e1 sqrt(var_batch(mu) + eps)    gamma = sigma + e2 sqrt(var_batch(sigma) + eps)    e of N(0, 1)
        out = gamma (x - mu) / sigma + beta

    e1 and e2 are of each sample and channel. Nothing is detached: gradients go through all statistics, those of the batch too.

    Args, Returns, Raises: as :func:`mixstyle`'s. A batch of one has no variance and comes out as it is.
    """
    _checked(x, p, eps)
    key, shape = given.step(step, x.device), x.shape[:2]
    first, second = draws.normal(key, "dsu.mean", shape), draws.normal(key, "dsu.deviation", shape)
    return _restyle(x, "dsu", eps, _active(key, "dsu.p", p), first, second)


def advstyle(x: Tensor, mean: Tensor, deviation: Tensor, step: Step, weight: float = 10.0,
             shares: tuple[float, float] = (1 / 3, 1 / 3), eps: float = EPS) -> Tensor:
    """AdvStyle (Zhang et al., "Adversarial style augmentation for domain generalization", 2023): DSU whose widths are
    learned against the loss.

        mu' = mu + e1 GRL(mean, weight)    sigma' = sigma + e2 GRL(deviation, weight)    out = sigma' (x - mu) / sigma + mu'

    A call is this with the first of ``shares``, DSU with the second, and else changes nothing. The gradient of ``mean`` is
    ``-weight * sum e1 grad``, so what lowers the loss for the model raises it for them.

    Args:
        x: as :func:`mixstyle`'s.
        mean, deviation: floats ``[C]``, learned; :class:`AdvStyle` holds them.
        weight: of the reversed gradient, at least 0.
        shares: at least 0, together at most 1.

    Returns, Raises: as :func:`mixstyle`'s.
    """
    _checked(x, 1.0, eps)
    for name, t in (("mean", mean), ("deviation", deviation)):
        given.features(name, t, "[C]")
        given.same_device(name, t, x)
        if len(t) != x.shape[1]:
            raise ShapeError(f"{name}: expected [{x.shape[1]}], one for each channel, given {list(t.shape)}")
    own, other = (checks.probability("shares", share) for share in checks.several("shares", shares, (2,), "two probabilities"))
    if own + other > 1 + 1e-9:
        checks.wrong("shares", "probabilities that add up to 1 at most", shares)
    key, shape = given.step(step, x.device), x.shape[:2]
    u = draws.uniform(key, "advstyle.which", (1,))
    adversarial, active = u < own, u < own + other
    kind = full_dtype(x)
    e1, e2 = (draws.normal(key, f"advstyle.{name}", shape).to(kind) for name in ("mean", "deviation"))
    learned = [e * adversarial * gradient_reversal(t.to(kind), weight) for e, t in ((e1, mean), (e2, deviation))]
    return _restyle(x, "dsu", eps, active, e1 * ~adversarial, e2 * ~adversarial, *learned)


def style_statistics(x: Tensor, eps: float = EPS) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel of each sample, ``sqrt(unbiased variance + eps)``, in one native pass; differentiable.

    Args:
        x: floats ``[B, C, ...]``.

    Returns:
        float32 ``[B, C]`` each; float64 of float64.
    """
    _checked(x, 1.0, eps)
    mean, variance = torch.ops.anamorph.plane_moments(x)
    return mean, (variance + eps).sqrt()


class MixStyle(Keyed):
    """:func:`mixstyle` in training, nothing in evaluation. In the paper after the first stages of a ResNet (1 to 3 for PACS, 1
    and 2 for Office-Home).

    Args:
        p, alpha, eps, domains: of :func:`mixstyle`.
        seed: of :class:`~anamorph.features.draws.Keyed`.
    """

    def __init__(self, p: float = 0.5, alpha: float = 0.1, eps: float = EPS, domains: bool = False, seed: int = 0) -> None:
        super().__init__(seed)
        self.p, self.alpha, self.eps, self.domains = p, alpha, eps, domains

    def forward(self, x: Tensor) -> Tensor:
        return mixstyle(x, self.next_step(), self.p, self.alpha, self.eps, self.domains) if self.training else x


class DSU(Keyed):
    """:func:`dsu` in training, nothing in evaluation. In the paper at six places of a ResNet: behind the first convolution and
    before its batch normalisation, behind the pooling, and behind each of the four stages.

    Args:
        p, eps: of :func:`dsu`.
        seed: of :class:`~anamorph.features.draws.Keyed`.
    """

    def __init__(self, p: float = 0.5, eps: float = EPS, seed: int = 0) -> None:
        super().__init__(seed)
        self.p, self.eps = p, eps

    def forward(self, x: Tensor) -> Tensor:
        return dsu(x, self.next_step(), self.p, self.eps) if self.training else x


class AdvStyle(Keyed):
    """:func:`advstyle` in training, nothing in evaluation. Its widths begin as those of DSU at the first batch that it
    sees in training.

    The published trainer takes three steps of an optimiser of the widths, then one of the model's, each with a forward pass of
    its own; ``[p for name, p in net.named_parameters() if "adversarial" in name]`` are the widths of all.

    Args:
        channels: C.
        weight, shares, eps: of :func:`advstyle`.
        seed: of :class:`~anamorph.features.draws.Keyed`.
    """

    started: Tensor

    def __init__(self, channels: int, weight: float = 10.0, shares: tuple[float, float] = (1 / 3, 1 / 3), eps: float = EPS,
                 seed: int = 0) -> None:
        super().__init__(seed)
        channels = checks.whole("channels", channels, 1)
        self.weight, self.shares, self.eps = weight, shares, eps
        self.adversarial_mean, self.adversarial_deviation = (nn.Parameter(torch.zeros(channels)) for _ in range(2))
        # In the state, so that what is loaded is not begun anew.
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        self._start(x.detach())
        return advstyle(x, self.adversarial_mean, self.adversarial_deviation, self.next_step(), self.weight, self.shares,
                        self.eps)

    @torch.no_grad()
    def _start(self, x: Tensor) -> None:
        """By values where they lie, so that neither a graph nor a GPU waits: once they are there, they stay."""
        if not torch.compiler.is_compiling() and x.device.type == "cpu" and bool(self.started):
            return
        if x.shape[0] < 2:
            return
        parameters = (self.adversarial_mean, self.adversarial_deviation)
        widths = [(values.var(0) + self.eps).sqrt() for values in style_statistics(x, self.eps)]
        begins = torch.stack([w.isfinite().all() for w in widths]).all() & ~self.started  # a batch that overflows begins nothing
        for parameter, width in zip(parameters, widths, strict=True):
            parameter.copy_(torch.where(begins, width.to(parameter.dtype), parameter))
        self.started |= begins


def _checked(x: Any, p: float, eps: float) -> None:
    given.features("x", x, "[B, C, ...]")
    if x.dim() < 3 or x.shape[2:].numel() < 2:
        raise ShapeError(f"x: expected feature maps [B, C, ...] with two or more values in a channel, given {list(x.shape)}")
    checks.probability("p", p)
    if checks.number("eps", eps) <= 0:
        checks.wrong("eps", "a number above 0", eps)


def _active(step: Tensor, name: str, p: float) -> Tensor:
    return draws.uniform(step, name, (1,)) < p


def _restyle(x: Tensor, mode: str, eps: float, active: Tensor, first: Tensor, second: Tensor, more_mean: Tensor | None = None,
             more_deviation: Tensor | None = None) -> Tensor:
    if x.shape[0] == 1 and more_mean is None:
        return x
    out: Tensor = torch.ops.anamorph.restyle(x, mode, eps, active, first, second, more_mean, more_deviation)[0]
    return out


# ---- planes, as the native passes take them ----


def _format(x: Tensor) -> torch.memory_format:
    for last in (torch.channels_last, torch.channels_last_3d):
        if x.dim() == (4 if last is torch.channels_last else 5) and not x.is_contiguous() and x.is_contiguous(memory_format=last):
            return last
    return torch.contiguous_format


def _planes(x: Tensor, layout: torch.memory_format) -> tuple[Tensor, bool]:
    """[B, C, N], or with the channels last [B, N, C], without gaps; a view where that can be."""
    x = x.detach().contiguous(memory_format=layout)
    if layout is torch.contiguous_format:
        return x.reshape(x.shape[0], x.shape[1], -1), False
    return x.movedim(1, -1).reshape(x.shape[0], -1, x.shape[1]), True


def _per_plane(x: Tensor) -> tuple[Tensor, Tensor]:
    shape = x.shape[:2]
    return torch.empty(shape, dtype=full_dtype(x), device=x.device), torch.empty(shape, dtype=full_dtype(x), device=x.device)


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    planes, last = _planes(x, _format(x))
    mean, variance = _per_plane(x)
    _native.features.moments(x=planes, last=last, mean=mean, variance=variance, threads=torch.get_num_threads())
    return mean, variance


def _affine(x: Tensor, layout: torch.memory_format, mean: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """(x - mean) * scale + shift."""
    planes, last = _planes(x, layout)
    out = new_like(x, layout)
    _native.features.affine(x=planes, last=last, mean=mean, scale=scale.contiguous(), shift=shift.contiguous(),
                            out=_planes(out, layout)[0], threads=torch.get_num_threads())
    return out


def _sums(x: Tensor, grad: Tensor, layout: torch.memory_format, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Of grad, and of grad * (x - mean)."""
    planes, last = _planes(x, layout)
    first, second = _per_plane(x)
    _native.features.sums(x=planes, last=last, grad=_planes(grad, layout)[0], mean=mean, first=first, second=second,
                          threads=torch.get_num_threads())
    return first, second


# ---- the operators, as torch.compile and autograd see them ----


@torch.library.custom_op("anamorph::plane_moments", mutates_args=(), schema="(Tensor x) -> (Tensor, Tensor)")
def _plane_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    return _moments(x)


@_plane_moments.register_fake
def _(x: Tensor) -> tuple[Tensor, Tensor]:
    return _per_plane(x)


@torch.library.custom_op("anamorph::plane_moments_grad", mutates_args=(),
                         schema="(Tensor x, Tensor mean, Tensor grad_mean, Tensor grad_variance) -> Tensor")
def _plane_moments_grad(x: Tensor, mean: Tensor, grad_mean: Tensor, grad_variance: Tensor) -> Tensor:
    n = x.shape[2:].numel()
    return _affine(x, _format(x), mean, grad_variance * (2.0 / (n - 1)), grad_mean / n)


@_plane_moments_grad.register_fake
def _(x: Tensor, mean: Tensor, grad_mean: Tensor, grad_variance: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=_format(x))


def _save_moments(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(inputs[0], output[0])


def _moments_back(ctx: Any, grad_mean: Tensor, grad_variance: Tensor) -> Tensor:
    grad: Tensor = torch.ops.anamorph.plane_moments_grad(*ctx.saved_tensors, grad_mean, grad_variance)
    return grad


_plane_moments.register_autograd(_moments_back, setup_context=_save_moments)


def _styles(mode: str, eps: float, active: Tensor, mean: Tensor, variance: Tensor, first: Tensor, second: Tensor,
            more_mean: Tensor | None, more_deviation: Tensor | None) -> tuple[Tensor, Tensor]:
    """What becomes of statistics: the factor of x - mean, and the new mean."""
    deviation = (variance + eps).sqrt()
    if mode == "mix":
        lam = torch.where(active, first, 1.0).to(mean.dtype)[:, None]
        factor = (lam * deviation + (1 - lam) * deviation[second]) / deviation
        return factor, lam * mean + (1 - lam) * mean[second]
    new_mean, new_deviation = mean, deviation
    if mean.shape[0] > 1:
        width_mean, width_deviation = (mean.var(0) + eps).sqrt(), (deviation.var(0) + eps).sqrt()
        new_mean = new_mean + first.to(mean.dtype) * active * width_mean
        new_deviation = new_deviation + second.to(mean.dtype) * active * width_deviation
    if more_mean is not None and more_deviation is not None:
        new_mean, new_deviation = new_mean + more_mean, new_deviation + more_deviation
    return new_deviation / deviation, new_mean


def _width_grad(values: Tensor, eps: float, grads: Tensor) -> Tensor:
    """Of sqrt(variance over the batch + eps), which each sample has been given times a number of its own."""
    width = (values.var(0) + eps).sqrt()
    return (values - values.mean(0)) * (grads.sum(0) / width / (values.shape[0] - 1))


def _skipped(active: Tensor) -> bool:
    """Where a value can be looked at without waiting for a device, a call that changes nothing is a copy."""
    return active.device.type == "cpu" and not bool(active)


_STYLE = "Tensor x, str mode, float eps, Tensor active, Tensor first, Tensor second, Tensor? more_mean, Tensor? more_deviation"


@torch.library.custom_op("anamorph::restyle", mutates_args=(), schema=f"({_STYLE}) -> (Tensor, Tensor, Tensor)")
def _restyled(x: Tensor, mode: str, eps: float, active: Tensor, first: Tensor, second: Tensor, more_mean: Tensor | None,
              more_deviation: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    layout = _format(x)
    if _skipped(active):
        mean, variance = _per_plane(x)
        return new_like(x, layout).copy_(x), mean.zero_(), variance.zero_()
    mean, variance = _moments(x)
    factor, new_mean = _styles(mode, eps, active, mean, variance, first, second, more_mean, more_deviation)
    return _affine(x, layout, mean, factor, new_mean), mean, variance


@_restyled.register_fake
def _(x: Tensor, mode: str, eps: float, active: Tensor, first: Tensor, second: Tensor, more_mean: Tensor | None,
      more_deviation: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x, memory_format=_format(x)), *_per_plane(x)


@torch.library.custom_op("anamorph::restyle_grad", mutates_args=(),
                         schema=f"({_STYLE}, Tensor mean, Tensor variance, Tensor grad) -> (Tensor, Tensor, Tensor)")
def _restyle_grad(x: Tensor, mode: str, eps: float, active: Tensor, first: Tensor, second: Tensor, more_mean: Tensor | None,
                  more_deviation: Tensor | None, mean: Tensor, variance: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    layout = _format(x)
    none = torch.zeros_like(mean)
    if _skipped(active):
        return new_like(x, layout).copy_(grad), none, none.clone()
    if mode == "mix":  # the statistics carry no gradient
        factor, _ = _styles(mode, eps, active, mean, variance, first, second, None, None)
        return _affine(grad.to(x.dtype), layout, none, factor, none), none, none.clone()
    grad = grad.to(x.dtype)
    total, product = _sums(x, grad, layout, mean)  # the gradients of the new mean and of the factor
    factor, _ = _styles(mode, eps, active, mean, variance, first, second, more_mean, more_deviation)
    deviation = (variance + eps).sqrt()
    on_new = product / deviation
    on_mean, on_deviation = total - total * factor, on_new - on_new * factor
    if mean.shape[0] > 1:  # through the widths
        on_mean = on_mean + _width_grad(mean, eps, total * first.to(mean.dtype) * active)
        on_deviation = on_deviation + _width_grad(deviation, eps, on_new * second.to(mean.dtype) * active)
    n = x.shape[2:].numel()
    slope, shift = on_deviation / deviation / (n - 1), on_mean / n
    planes, last = _planes(x, layout)
    out = new_like(x, layout)
    _native.features.combine(x=planes, last=last, grad=_planes(grad, layout)[0], mean=mean, scale=factor, slope=slope,
                             shift=shift, out=_planes(out, layout)[0], threads=torch.get_num_threads())
    return out, total, on_new


@_restyle_grad.register_fake
def _(x: Tensor, mode: str, eps: float, active: Tensor, first: Tensor, second: Tensor, more_mean: Tensor | None,
      more_deviation: Tensor | None, mean: Tensor, variance: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x, memory_format=_format(x)), torch.empty_like(mean), torch.empty_like(mean)


def _save_style(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, ctx.mode, ctx.eps, *rest = inputs
    ctx.save_for_backward(x, *rest, *output[1:])
    ctx.learned = rest[3] is not None
    ctx.set_materialize_grads(False)


def _style_back(ctx: Any, grad: Tensor | None, *_: Tensor | None) -> tuple[Any, ...]:
    if grad is None:
        return (None,) * 8
    x, *rest = ctx.saved_tensors
    dx, first, second = torch.ops.anamorph.restyle_grad(x, ctx.mode, ctx.eps, *rest, grad)
    more = (first, second) if ctx.learned else (None, None)
    return dx, None, None, None, None, None, *more


_restyled.register_autograd(_style_back, setup_context=_save_style)
