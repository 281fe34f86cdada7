"""Keys of earlier batches, which serve as negatives (MoCo), and the logits of a query against them."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DtypeError, ShapeError
from anamorph.features import draws, given
from anamorph.features.precision import full, no_autocast


class Queue(nn.Module):
    """The latest ``size`` keys, a ring whose oldest rows the next batch takes the place of (He et al., "Momentum contrast for
    unsupervised visual representation learning", CVPR 2020).

    The batch may be of any length: rows that reach the end go on at the beginning, and of a batch longer than the queue its last
    ``size`` rows stay, as if they had come one by one. Rows have length 1.

    ``keys`` is what losses take: ``loss(query, key, queue.keys)``. It is changed in place, so enqueue after ``backward()``.

    Args:
        dim: length of a key, D.
        size: number of keys, K.
        filled: begin with random directions, which count as negatives until they are replaced, as published; False: empty, and
            :meth:`excluded` names the columns where nothing is yet.
        seed: of the random directions.

    Attributes:
        keys: float32 ``[K, D]``.
        ids: int64 ``[K]``, of which picture each key is; -1 where that was not said.
        pointer: int64, the row that the next key goes to.
        count: int64, how many rows hold keys.
    """

    keys: Tensor
    ids: Tensor
    pointer: Tensor
    count: Tensor

    def __init__(self, dim: int, size: int, *, filled: bool = True, seed: int = 0) -> None:
        super().__init__()
        self.dim, self.size = checks.whole("dim", dim, 1), checks.whole("size", size, 1)
        shape = (self.size, self.dim)
        filled, seed = checks.flag("filled", filled), checks.whole("seed", seed, -2**63, 2**63 - 1)
        rows = F.normalize(draws.normal((seed, 0), "queue.keys", shape), dim=1) if filled else torch.zeros(shape)
        self.register_buffer("keys", rows)
        self.register_buffer("ids", torch.full((self.size,), -1))
        self.register_buffer("pointer", torch.tensor(0))
        self.register_buffer("count", torch.tensor(self.size if filled else 0))

    @torch.no_grad()
    def enqueue(self, keys: Tensor, ids: Tensor | None = None, *, gather: bool = False) -> None:
        """Takes in a batch, normalised.

        Args:
            keys: floats ``[B, D]``, not 0.
            ids: int64 ``[B]`` of at least 0, of which picture each is.
            gather: take in the keys of all ranks, in their order, so that the queue is the same everywhere; every rank gives as
                many. Of no effect where torch.distributed is not initialised.

        Raises:
            ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected. On a GPU values are not
                looked at.
        """
        given.features("keys", keys, f"[B, {self.dim}]")
        given.same_device("keys", keys, self.keys)
        given.finite("keys", keys)
        if given.looked_at(keys) and not bool(keys.any(dim=1).all()):
            raise ArgumentError("keys: expected rows that have a direction, given one of zeros")
        rows = F.normalize(full(keys), dim=1).to(self.keys.dtype)
        named = torch.full_like(self.ids[:1], -1).expand(len(rows)) if ids is None else given.labels("ids", ids, keys)
        if checks.flag("gather", gather) and dist.is_initialized():
            rows, named = (_of_all_ranks(t) for t in (rows, named))
        batch = len(rows)
        places = (self.pointer + torch.arange(batch, device=rows.device)) % self.size
        self.keys.index_copy_(0, places[-self.size:], rows[-self.size:])
        self.ids.index_copy_(0, places[-self.size:], named[-self.size:])
        self.pointer.add_(batch).remainder_(self.size)
        self.count.add_(batch).clamp_(max=self.size)

    def excluded(self, ids: Tensor | None = None) -> Tensor:
        """The columns that are no negatives: rows where nothing is yet, and keys of the picture that a query is of.

        Args:
            ids: int64 ``[B]``, of which picture each query is.

        Returns:
            bool ``[B, K]``, or ``[1, K]`` without ids: the ``exclude`` of the losses.
        """
        empty = torch.arange(self.size, device=self.keys.device) >= self.count
        if ids is None:
            return empty[None]
        if not isinstance(ids, Tensor) or ids.dim() != 1:
            raise ShapeError(f"ids: expected int64 [B], given {list(ids.shape) if isinstance(ids, Tensor) else ids!r}")
        given.same_device("ids", ids, self.keys)
        return (given.labels("ids", ids, ids)[:, None] == self.ids) | empty

    def extra_repr(self) -> str:
        return f"dim={self.dim}, size={self.size}"


def _of_all_ranks(t: Tensor) -> Tensor:
    out = t.new_empty(dist.get_world_size() * len(t), *t.shape[1:])
    dist.all_gather_into_tensor(out, t.contiguous())
    return out


def moco_logits(query: Tensor, key: Tensor, queue: Tensor, temperature: float = 0.2, *, exclude: Tensor | None = None) -> Tensor:
    """What MoCo's cross-entropy is of: each query against its key and against the queue (He et al., CVPR 2020).

    Nothing is normalised here. Gradients reach the query alone. float32 at least, also under autocast.

    Args:
        query: floats ``[B, D]`` of length 1.
        key: ``[B, D]`` of length 1.
        queue: ``[K, D]`` of length 1.
        temperature: what the products are divided by: .2 in MoCo-v2, .07 in MoCo-v1.
        exclude: bool ``[B, K]`` or ``[1, K]``, :meth:`Queue.excluded`: columns that become ``-inf``.

    Returns:
        Logits ``[B, 1 + K]``; the right class is 0.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    query, key, queue = triple(query, key, queue)
    return against(query, key.detach(), queue.detach(), temperature, exclude)


def triple(query: Any, key: Any, queue: Any) -> tuple[Tensor, Tensor, Tensor]:
    """A query, a key and a queue that go together."""
    query, key = pair("query", query, "key", key)
    return query, key, beside("queue", queue, query, f"[K, {query.shape[1]}]")


def pair(name: str, first: Any, other: str, second: Any, form: str = "[B, D]") -> tuple[Tensor, Tensor]:
    """Two tensors of one shape, device and dtype, float32 at least."""
    a = full(given.features(name, first, form))
    b = beside(other, second, a, form)
    given.same_shape(other, b, name, a)
    return a, b


def beside(name: str, value: Any, like: Tensor, form: str) -> Tensor:
    """A tensor on the device and in the dtype of ``like``; halves become float32."""
    return given.features(name, full(given.features(name, value, form)), form, like)


def against(query: Tensor, key: Tensor, queue: Tensor, temperature: float, exclude: Tensor | None) -> Tensor:
    """Logits ``[B, 1 + K]`` of what :func:`triple` gave."""
    temperature = checks.number("temperature", temperature, 1e-6)
    with no_autocast(query):
        others = query @ queue.T
        if exclude is not None:
            others = others.masked_fill(excluding("exclude", exclude, query, queue), -torch.inf)
        return torch.cat([(query * key).sum(1, keepdim=True), others], 1) / temperature


def excluding(name: str, value: Any, rows: Tensor, columns: Tensor) -> Tensor:
    """Bools that say of rows [B, D] which of columns [K, D] are left out."""
    if not isinstance(value, Tensor) or value.dtype != torch.bool:
        raise DtypeError(f"{name}: expected bools [B, K], given {getattr(value, 'dtype', value)!r}")
    expected = [[len(rows), len(columns)], [1, len(columns)]]
    if list(value.shape) not in expected:
        raise ShapeError(f"{name}: expected {expected[0]} or {expected[1]}, given {list(value.shape)}")
    given.same_device(name, value, rows)
    return value
