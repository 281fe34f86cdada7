"""PatchAugment (Sheshappanavar, Singh and Kambhamettu, ICCV workshops 2021): neighbourhoods, each augmented by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.core.errors import DeviceError, DtypeError, ShapeError
from anamorph.core.philox import words
from anamorph.core.tensors import as_integers
from anamorph.points.deform import rotation_matrix

_SLOT, _SLOTS = 880, 120  # behind those of learned.draws; a slot has 4096 words
_OWN = 6  # numbers of a group: scale, four angles, shift


def patch_augment(groups: Tensor, index: Any, *, seed: int = 0, step: int = 0, keep: float = 0.75,
                  scale: Sequence[float] = (0.95, 1.05), angle: float = 0.1, shift: float = 0.05, jitter: float = 0.01,
                  layer: int = 0, training: bool = True) -> Tensor:
    """Groups of neighbours, as :func:`anamorph.points.group` makes them, each one changed: some neighbours drop out, the others
    are scaled, turned, shifted and jittered. Drawn anew in each step; gradients go through.

        p' = Ry(theta) Rz(c) Ry(b) Rx(a) (s p) + t (1, 1, 1) + noise

    The rules are those of the published code, which however draws once, when the network is built, keeps the first three
    quarters, and turns only one way, because its angles lose their signs: meant are new draws, any three quarters and both ways.

    Args:
        groups: floats ``[B, M, k, C]``: the first three channels are a neighbour's coordinates less its centre's, the others
            (features) go with their neighbour, unchanged.
        index: int64 ``[B]``, sample ids, of which the numbers are a function, with seed, step and layer.
        seed: 0 to 2**64 - 1. step: of the training, 0 to 2**32 - 1.
        keep: the share of neighbours that stay, above 0: ``int(keep * k)``, one at least, in their order.
        scale: (low, high) of the factor. angle: radians, each of four angles is within it. shift: one number within it is added
            to all three coordinates. jitter: each coordinate's own number is within it.
        layer: which layer of a network this is: another one draws other numbers. 0 to 255.
        training: False: the groups as they are.

    Returns:
        ``[B, M, int(keep * k), C]``.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    if not isinstance(groups, Tensor):
        checks.wrong("groups", "a tensor [B, M, k, C]", groups)
    if not groups.is_floating_point():
        raise DtypeError(f"groups: expected floats, given {groups.dtype}")
    if groups.dim() != 4 or groups.shape[3] < 3 or 0 in groups.shape:
        raise ShapeError(f"groups: expected [B, M, k, C] with C of at least 3 and nothing empty, given {list(groups.shape)}")
    ids = as_integers("index", index)
    if list(ids.shape) != [len(groups)]:
        raise ShapeError(f"index: expected sample ids [{len(groups)}], one for each cloud, given {list(ids.shape)}")
    if ids.device != groups.device:
        raise DeviceError(f"index: expected on {groups.device} as the groups, given on {ids.device}")
    seed, step = checks.whole("seed", seed, 0, 2**64 - 1), checks.whole("step", step, 0, 2**32 - 1)
    layer = checks.whole("layer", layer, 0, 255)
    keep = checks.number("keep", keep, 1e-6, 1)
    low, high = checks.interval("scale", scale)
    angle, shift = checks.number("angle", angle, 0), checks.number("shift", shift, 0)
    jitter = checks.number("jitter", jitter, 0)
    if not checks.flag("training", training):
        return groups
    batch, many, k = groups.shape[:3]
    stay = max(1, int(keep * k))
    drawn = many * (_OWN + k + 3 * stay)
    if drawn > 4096 * _SLOTS:
        raise ShapeError(f"groups: expected at most {4096 * _SLOTS // (_OWN + k + 3 * stay)} groups of {k}, given {many}")
    # A layer has the place of a plan's view, so layers do not share numbers.
    u = words(ids, drawn, seed, step, (layer << 20) + (_SLOT << 10)) >> 8
    unit = (u.to(torch.float64) * 2.0**-24).to(groups.dtype)
    own, order, noise = unit.split([many * _OWN, many * k, many * 3 * stay], 1)
    size, turns, moved = own.view(batch, many, 1, _OWN).split([1, 4, 1], 3)
    place = order.view(batch, many, k).argsort(dim=2, stable=True)[..., :stay].sort(2).values[..., None]
    groups = groups.gather(2, place.expand(-1, -1, -1, groups.shape[3]))
    angles = (2 * turns[:, :, 0] - 1) * angle
    with torch.autocast(groups.device.type, enabled=False):  # coordinates keep the dtype that they have
        turn = rotation_matrix(angles[..., :3])
        none = torch.zeros_like(angles[..., 3:])
        about_y = rotation_matrix(torch.cat([none, angles[..., 3:], none], 2))
        points = (low + (high - low) * size) * groups[..., :3] @ (about_y @ turn).transpose(2, 3)
    points = points + (2 * moved - 1) * shift + (2 * noise.view(batch, many, stay, 3) - 1) * jitter
    return torch.cat([points, groups[..., 3:]], 3)
