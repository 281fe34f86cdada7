"""Random words by sample ids, with the counters that plans have: (view, slot, block | sample | epoch), the seed as the key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.core.errors import DeviceError, ShapeError
from anamorph.core.philox import philox
from anamorph.core.tensors import as_device, as_integers, as_tensor
from anamorph.training import given

_LOW = 0xFFFFFFFF


@dataclass(frozen=True)
class Key:
    """What a sample's numbers are a function of."""

    index: Tensor  # int64 [B]
    seed: int
    epoch: int | Tensor
    view: int


def key(index: Any, seed: Any, epoch: Any, view: Any, device: Any, count: int | None = None) -> Key:
    """The same, checked, on ``device``, or else where ``index`` is; ``count``: how many pictures they are the ids of."""
    ids = given.sample_ids("index", index, count, None if device is None else as_device(device))
    where = ids.device
    if isinstance(epoch, Tensor):  # read where it is, so that a captured CUDA graph replays with what it then holds
        epoch = as_integers("epoch", as_tensor("epoch", epoch))
        if epoch.numel() != 1:
            raise ShapeError(f"epoch: expected a number or a tensor of one, given shape {list(epoch.shape)}")
        if epoch.device != where:
            raise DeviceError(f"epoch: expected a number or a tensor on {where}, given one on {epoch.device}")
        if where.type == "cpu":
            checks.whole("epoch", epoch.item(), 0, 2**32 - 1)
    else:
        epoch = checks.whole("epoch", epoch, 0, 2**32 - 1)
    return Key(ids, given.seed("seed", seed), epoch, checks.whole("view", view, 0, 4095))


def words(key: Key, count: int, slot: int, first: int = 0) -> Tensor:
    """Words ``first`` .. ``first + count - 1`` of a slot, 32 bits each, for every sample: int64 ``[B, count]``. ``first`` is a
    multiple of 4, for a block of Philox has four. A slot has 4096; what is more lies in the slots behind it."""
    ids = key.index[:, None]
    blocks = torch.arange(first // 4, (first + count + 3) // 4, device=ids.device)
    counter = (key.view << 20 | slot << 10) + blocks, ids & _LOW, ids >> 32 & _LOW, torch.zeros_like(ids) + key.epoch
    return torch.stack(torch.broadcast_tensors(*philox(counter, key.seed)), 2).flatten(1)[:, :count]


def pick(key: Key, count: int, slot: int) -> Tensor:
    """For each id one of 0 .. ``count`` - 1, each as likely."""
    return words(key, 1, slot)[:, 0] * count >> 32
