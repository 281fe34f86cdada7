"""Random numbers of samples where their ids are, as the plans draw theirs: Philox4x32-10 (Salmon et al., SC 2011) with the
counter (view, slot | sample | epoch) and the seed as its key. By torch's operators, so that ids on a GPU are not waited for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.core.errors import ShapeError
from anamorph.core.move import to_device
from anamorph.core.tensors import as_integers

TURNS, JIGSAW, PERMUTATIONS = 1011, 1012, 1013  # slots behind a recipe's own, copy-paste's and mosaics'
_LOW = 0xFFFFFFFF


def check_draw(index: Any, count: int, device: torch.device, seed: Any, epoch: Any,
               view: Any = 0) -> tuple[Tensor, int, int, int]:
    """The sample ids, int64 ``[count]`` on ``device``, and what they are drawn by."""
    ids = as_integers("index", index)
    if list(ids.shape) != [count]:
        raise ShapeError(f"index: expected {count} sample ids, one for each picture, given shape {list(ids.shape)}")
    ids = ids if ids.device == device else to_device(ids, device)
    return (ids, checks.whole("seed", seed, 0, 2**64 - 1), checks.whole("epoch", epoch, 0, 2**32 - 1),
            checks.whole("view", view, 0, 1023))


def words(index: Tensor, seed: int, epoch: int, view: int, slot: int) -> Tensor:
    """Four words of 32 bits for each id, int64 ``[B, 4]``."""
    c = [torch.full_like(index, view << 20 | slot << 10), index & _LOW, index >> 32 & _LOW, torch.full_like(index, epoch)]
    k0, k1 = seed & _LOW, seed >> 32
    for _ in range(10):
        a, b = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57  # modulo 2**64, so that all bits of the products are there
        c = [(b >> 32 & _LOW) ^ c[1] ^ k0, b & _LOW, (a >> 32 & _LOW) ^ c[3] ^ k1, a & _LOW]
        k0, k1 = (k0 + 0x9E3779B9) & _LOW, (k1 + 0xBB67AE85) & _LOW
    return torch.stack(c, 1)


def pick(index: Tensor, count: int, seed: int, epoch: int, view: int, slot: int) -> Tensor:
    """For each id one of 0 .. ``count`` - 1, each as likely."""
    return words(index, seed, epoch, view, slot)[:, 0] * count >> 32
