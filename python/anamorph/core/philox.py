"""Random words where the sample ids are: Philox4x32-10 (Salmon et al., SC 2011) by torch's operators, the same bits on every
device and in every batch."""

from __future__ import annotations

import torch
from torch import Tensor

_LOW = 0xFFFFFFFF


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four words of 32 bits for each counter of four, int64 tensors that broadcast; the key is the seed's two halves."""
    c0, c1, c2, c3 = counter
    k0, k1 = seed & _LOW, seed >> 32
    for _ in range(10):
        a, b = c0 * 0xD2511F53, c2 * 0xCD9E8D57  # modulo 2**64: all bits of the products are there
        c0, c1, c2, c3 = (b >> 32 & _LOW) ^ c1 ^ k0, b & _LOW, (a >> 32 & _LOW) ^ c3 ^ k1, a & _LOW
        k0, k1 = (k0 + 0x9E3779B9) & _LOW, (k1 + 0xBB67AE85) & _LOW
    return c0, c1, c2, c3


def words(index: Tensor, count: int, seed: int, stream: int, first: int = 0) -> Tensor:
    """``count`` words for each sample id: int64 ``[B, count]``, 0 to 2**32 - 1.

    Args:
        index: int64 ``[B]``. count: up to 2**34.
        seed: 0 to 2**64 - 1. stream: what the numbers are for, 0 to 2**32 - 1. It stands where a plan has its epoch.
        first: the block of four words to begin with. A slot of a plan has 1024 of them, so slot s begins with 1024 s.
    """
    ids = index[:, None]
    blocks = first + torch.arange((count + 3) // 4, device=index.device)[None]
    found = philox((blocks, ids & _LOW, ids >> 32 & _LOW, torch.full_like(ids, stream)), seed)
    return torch.stack(torch.broadcast_tensors(*found), 2).flatten(1)[:, :count].contiguous()
