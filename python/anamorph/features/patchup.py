"""PatchUp: blocks of hidden feature maps exchanged or mixed with those of partners, in one native pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from anamorph.core import checks
from anamorph.core.errors import ShapeError
from anamorph.features import draws, given
from anamorph.features.draws import Step
from anamorph.features.manifold import Mix, MixedForward, blend, drawn_mix, soft, soft_bce


def patchup(x: Tensor, step: Step, hard: bool = False, gamma: float | None = None, block: int = 7, p: float | None = None,
            alpha: float = 2.0) -> tuple[Tensor, Mix]:
    """PatchUp (Faramarzi et al., "PatchUp: a feature-space block-level regularization technique for convolutional neural
    networks", AAAI 2022) of one layer's feature maps: in blocks of them, the same for all samples of the batch, a sample has its
    partner's features (``hard``) or ``lam x + (1 - lam) x[partner]`` (soft); elsewhere its own, to the bit.

    A block of ``block x block`` is drawn around each place of each channel with probability
    ``gamma S^2 / (block^2 (S - block + 1)^2)``, S the side of the map; blocks overlap, so ``gamma`` is not the share that is
    changed: of S = 32 and block 7 that is .287, .491, .636 and .702 for gamma .25, .5, .75 and .9. The rate is DropBlock's, which
    draws in the inner map alone; here, as in the authors' code, places are of the whole map.

    Args:
        x: floats ``[B, C, S, S]``.
        step: (seed, step), :mod:`anamorph.features.draws`.
        hard: exchange, not mix.
        gamma: 0 to 1; .75 by default, .5 where ``hard``.
        block: odd, at most S; the authors' 7, 5 or 3 at later stages. An even one would change the map's size in
            the published code.
        p: how often a call changes anything; 1 by default, .7 where ``hard``.
        alpha: of ``lam``, Beta(alpha, alpha), one for the batch.

    Returns:
        The features and the :class:`~anamorph.features.manifold.Mix`, whose ``lam`` is 0 where ``hard``, and ``changed`` the
        share of the map in blocks.

    Raises:
        ArgumentError, DtypeError, ShapeError, DeviceError: what was given and what is expected.
    """
    given.features("x", x, "[B, C, S, S]")
    channels, side = x.shape[1], x.shape[2]
    gamma = checks.probability("gamma", (0.5 if hard else 0.75) if gamma is None else gamma)
    p = checks.probability("p", (0.7 if hard else 1.0) if p is None else p)
    block = checks.whole("block", block, 1)
    if block % 2 == 0 or block > side:
        raise ShapeError(f"block: expected an odd side of at most {side}, the map's, given {block}")
    mix = drawn_mix(x, step, alpha)
    if hard:
        mix = replace(mix, lam=torch.zeros_like(mix.lam))
    seed = draws.uniform(step, "patchup.seeds", (channels, side, side), device=x.device) < block_rate(gamma, block, side)
    seed = seed & (draws.uniform(step, "patchup.p", (), device=x.device) < p)
    holes = nn.functional.max_pool2d(seed.float()[None], block, 1, block // 2)[0] > 0
    return blend(x, mix.partner, mix.lam, holes), replace(mix, changed=holes.float().mean())


def block_rate(gamma: float, block: int, side: int) -> float:
    """How likely a block stands around a place: ``gamma side^2 / (block^2 (side - block + 1)^2)``, at most 1."""
    return min(1.0, gamma * side**2 / (block**2 * (side - block + 1) ** 2))


def cutmix_batch(x: Tensor, step: Step, alpha: float = 1.0) -> tuple[Tensor, Mix]:
    """CutMix (Yun et al., ICCV 2019) with one box for the batch, which is what PatchUp does at the input: a box of the share
    ``1 - lam`` of the picture, ``lam`` of Beta(alpha, alpha), its middle anywhere, cut at the borders, is the partner's.

    Args, Returns: as :func:`patchup`'s, ``x`` ``[B, C, H, W]``.
    """
    given.features("x", x, "[B, C, H, W]")
    height, width = x.shape[2:]
    mix = drawn_mix(x, step, alpha)
    cut = (1 - mix.lam).sqrt()
    middle = draws.uniform(step, "patchup.middle", (2,), device=x.device)

    def inside(size: int, u: Tensor) -> Tensor:
        half, at = (size * cut).floor().div(2, rounding_mode="floor"), (u * size).floor()
        place = torch.arange(size, device=x.device)
        return (place >= at - half) & (place < at + half)

    box = inside(height, middle[0])[:, None] & inside(width, middle[1])
    holes = box.expand(x.shape[1], height, width)
    return blend(x, mix.partner, torch.zeros_like(mix.lam), holes), replace(mix, lam=torch.zeros_like(mix.lam),
                                                                               changed=box.float().mean())


def patchup_loss(logits: Tensor, targets: Tensor, mix: Mix, classes: int | None = None) -> Tensor:
    """``u BCE(p, y) + (1 - u) BCE(p, y_b) + BCE(p, u y + (1 - u) y_b)`` of the softmax p, with ``u`` the share of features that
    is unchanged, and ``y_b = lam y + (1 - lam) y[partner]``, the labels of what is in the blocks.

    At the input the authors' wide ResNet keeps the unmixed label in the third term; here, as in their other net, it is mixed.

    Args:
        logits: floats ``[B, C]``.
        targets: int64 ``[B]``, or floats ``[B, C]``.
        mix: of :func:`patchup` or :func:`cutmix_batch`.
    """
    given.features("logits", logits, "[B, C]")
    y = soft(targets, logits, logits.shape[1] if classes is None else classes)
    changed = torch.ones((), device=logits.device) if mix.changed is None else mix.changed
    lam, u = mix.lam.to(y.dtype).reshape(-1, 1), (1 - changed).to(y.dtype)
    blocks = lam * y + (1 - lam) * y[mix.partner]
    return u * soft_bce(logits, y) + (1 - u) * soft_bce(logits, blocks) + soft_bce(logits, u * y + (1 - u) * blocks)


class PatchUp(MixedForward):
    """:func:`patchup` at one of ``layers``, drawn anew each step, and :func:`cutmix_batch` at the input (``""``).

        patches = PatchUp(net, ["", "layer1", "layer2"], hard=True)
        logits, mix = patches(x)
        loss = patches.loss(logits, y, mix)

    Args:
        model, layers, seed: of :class:`~anamorph.features.manifold.MixedForward`.
        hard, gamma, block, p, alpha: of :func:`patchup`. ``block`` is made smaller where a map is.
    """

    def __init__(self, model: nn.Module, layers: Sequence[str], hard: bool = False, gamma: float | None = None, block: int = 7,
                 p: float | None = None, alpha: float = 2.0, seed: int = 0) -> None:
        super().__init__(model, layers, seed)
        self.hard, self.gamma, self.block, self.p, self.alpha = hard, gamma, block, p, alpha

    def change(self, x: Tensor, step: tuple[int, int], is_input: bool) -> tuple[Tensor, Mix]:
        if is_input:
            return cutmix_batch(x, step)
        given.features("x", x, "[B, C, S, S]")
        side = x.shape[2]
        return patchup(x, step, self.hard, self.gamma, min(self.block, side - 1 + side % 2), self.p, self.alpha)

    def loss(self, logits: Tensor, targets: Tensor, mix: Mix | None) -> Tensor:
        """:func:`patchup_loss`; of a Mix of None, :func:`~anamorph.features.manifold.soft_bce`."""
        if mix is None:
            return soft_bce(logits, soft(targets, logits, logits.shape[1]))
        return patchup_loss(logits, targets, mix)
