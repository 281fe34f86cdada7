"""Random numbers of networks that augment, by sample ids: a step that is done again with the same key draws the same."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.core.errors import DeviceError, ShapeError
from anamorph.core.philox import words
from anamorph.core.tensors import as_integers

# Slots behind those of plans for clouds, pictures and skeletons, before those of pretext tasks: one seed for all is fine.
MAPS, SPACE, DROP_REAL, DROP_FAKE, DROP_GENERATOR, NOISE, BEHIND = 768, 769, 770, 772, 774, 776, 880


class Key(NamedTuple):
    """What a batch's numbers are a function of, each cloud's of its own id alone."""

    ids: Tensor  #: int64 [B], the sample ids
    seed: int
    step: int  #: of the training


def key(index: Any, seed: Any, step: Any, points: Tensor) -> Key:
    """The same, checked, for clouds ``[B, N, 3]``."""
    ids = as_integers("index", index)
    if list(ids.shape) != [len(points)]:
        raise ShapeError(f"index: expected sample ids [{len(points)}], one for each cloud, given {list(ids.shape)}")
    if ids.device != points.device:
        raise DeviceError(f"index: expected on {points.device} as the clouds, given on {ids.device}")
    return Key(ids, checks.whole("seed", seed, 0, 2**64 - 1), checks.whole("step", step, 0, 2**32 - 1))


def uniform(key: Key, count: int, slot: int) -> Tensor:
    """float32 ``[B, count]``, above 0 and below 1: the middles of 2**23 equal parts, which float32 holds as they are."""
    found = words(key.ids, count, key.seed, key.step, slot << 10) >> 9
    return (found.float() + 0.5) * 2.0**-23


def coins(key: Key, count: int, slot: int) -> Tensor:
    """bool ``[B, count]``, each as often True as False."""
    return words(key.ids, count, key.seed, key.step, slot << 10) >= 1 << 31


def gumbel(key: Key, count: int, slot: int) -> Tensor:
    """float32 ``[B, count]`` of the standard Gumbel distribution, worked out in float64."""
    return -torch.log(-torch.log(uniform(key, count, slot).double())).float()
