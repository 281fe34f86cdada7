"""Mixed hard negatives for contrastive learning, which are never written: a native pass finds each query's hardest negatives,
another mixes them and keeps the similarities alone."""

from __future__ import annotations

import zlib
from typing import Any

import torch
from torch import Tensor

from anamorph import _native
from anamorph.core import checks
from anamorph.core.errors import ArgumentError, ShapeError
from anamorph.features import given
from anamorph.features.draws import Keyed, Step
from anamorph.features.precision import full, no_autocast

_STREAMS = [zlib.crc32(name) for name in (b"mochi.share", b"mochi.first", b"mochi.second")]


def mochi(query: Tensor, key: Tensor, queue: Tensor, n_hard: int = 1024, n_mix: int = 1024, n_query_mix: int = 128,
          temperature: float = 0.2, query_mix_max: float = 0.5, *, step: Step) -> Tensor:
    """Logits of MoCo with mixed hard negatives, MoCHi (Kalantidis et al., "Hard negative mixing for contrastive learning",
    NeurIPS 2020).

    Of each query's similarities to the queue the ``n_hard`` largest are chosen. ``n_mix`` synthetic negatives are mixes of two of
    these, ``n_query_mix`` of the query and one of them, each divided by its length:

        h = a n_i + (1 - a) n_j        a of [0, 1)
        h = a q + (1 - a) n_j          a of [0, query_mix_max)

    i and j are any of the chosen, i = j too. The queue's own negatives stay. The synthetic ones are held fast in the gradient,
    the query inside them too: it reaches ``query`` as ``sum grad h``, and ``key`` likewise. The paper begins them after 10 to 15
    epochs, with ``(1024, 1024, 128)`` and 0.2 for ImageNet-100.

    Args:
        query: floats ``[B, D]``, rows of length 1.
        key: ``[B, D]``, the positives.
        queue: ``[K, D]``, rows of length 1, without gradient. All three of one dtype, float32 or less, on one device; D at most
            1,536 on a GPU. Computed in float32.
        n_hard: 1 to K.
        n_mix, n_query_mix: at least 0. With 0 and 0 the logits are MoCo's, bit for bit.
        temperature: above 0.
        query_mix_max: above 0, at most 1.
        step: (seed, step), :mod:`anamorph.features.draws`.

    Returns:
        float32 ``[B, 1 + K + n_mix + n_query_mix]``, over the temperature: the positive first (label 0), the queue, the
        synthetic ones.

    Raises:
        ArgumentError, DtypeError, ShapeError, DeviceError: what was given and what is expected. NaN in a query spoils its own row
            alone; NaN in the queue its column, and what is mixed with it only where it is among the hardest, which it is
            last of all.
    """
    given.features("query", query)
    for name, t, form in (("key", key, "[B, D]"), ("queue", queue, "[K, D]")):
        given.features(name, t, form, query)
    given.same_shape("key", key, "query", query)
    if queue.shape[1] != query.shape[1]:
        raise ShapeError(f"queue: expected [K, {query.shape[1]}], of the query's dimensions, given {list(queue.shape)}")
    if query.dtype == torch.float64:
        raise ArgumentError("query: expected float32 or less, given torch.float64")
    if queue.requires_grad:
        raise ArgumentError("queue: expected one without gradient, given one that requires it")
    n_hard = checks.whole("n_hard", n_hard, 1)
    if n_hard > queue.shape[0]:
        raise ArgumentError(f"n_hard: expected at most {queue.shape[0]}, the length of the queue, given {n_hard}")
    n_mix, n_query_mix = checks.whole("n_mix", n_mix, 0), checks.whole("n_query_mix", n_query_mix, 0)
    for name, value, most in (("temperature", temperature, float("inf")), ("query_mix_max", query_mix_max, 1.0)):
        if checks.number(name, value, high=most) <= 0:
            checks.wrong(name, "a number above 0", value)
    logits: Tensor = torch.ops.anamorph.mochi(full(query), full(key), full(queue), given.step(step, query.device), n_hard, n_mix,
                                              n_query_mix, float(temperature), float(query_mix_max))[0]
    return logits


def mochi_negatives(query: Tensor, queue: Tensor, n_hard: int = 1024, n_mix: int = 1024, n_query_mix: int = 128,
                    query_mix_max: float = 0.5, *, step: Step) -> Tensor:
    """The synthetic negatives of :func:`mochi`, written out, for looking at them.

    Returns:
        float32 ``[B, n_mix + n_query_mix, D]``, of length 1, without gradient.
    """
    logits = mochi(query.detach(), query.detach(), queue, n_hard, 0, 0, 1.0, query_mix_max, step=step)
    scores = logits[:, 1:].contiguous()
    index = _hardest(scores, n_hard, 1.0)
    count = n_mix + n_query_mix
    made = query.new_empty((len(query), count, query.shape[1]), dtype=torch.float32)
    if count:
        _native.features.mochi(**_mixed(full(query), full(queue), index, given.step(step, query.device), n_mix, n_query_mix,
                                        query_mix_max, 1.0), scores=scores.new_empty((len(query), count)), made=made)
    return made


class MoCHi(Keyed):
    """:func:`mochi` as a module that counts its steps.

    Args:
        n_hard, n_mix, n_query_mix, temperature, query_mix_max: of :func:`mochi`.
        seed: of :class:`~anamorph.features.draws.Keyed`.
    """

    def __init__(self, n_hard: int = 1024, n_mix: int = 1024, n_query_mix: int = 128, temperature: float = 0.2,
                 query_mix_max: float = 0.5, seed: int = 0) -> None:
        super().__init__(seed)
        self.n_hard, self.n_mix, self.n_query_mix = n_hard, n_mix, n_query_mix
        self.temperature, self.query_mix_max = temperature, query_mix_max

    def forward(self, query: Tensor, key: Tensor, queue: Tensor) -> Tensor:
        return mochi(query, key, queue, self.n_hard, self.n_mix, self.n_query_mix, self.temperature, self.query_mix_max,
                     step=self.next_step())


# ---- the operators, as torch.compile and autograd see them ----


def _hardest(scores: Tensor, count: int, tau: float) -> Tensor:
    """int32 [B, count], ascending, and the scores divided by tau, where they are."""
    index = torch.empty((scores.shape[0], count), dtype=torch.int32, device=scores.device)
    _native.features.hardest(scores=scores, index=index, tau=tau, threads=torch.get_num_threads())
    return index


def _mixed(query: Tensor, queue: Tensor, index: Tensor, step: Tensor, mixes: int, query_mixes: int, most: float,
           tau: float) -> dict[str, Any]:
    return {"query": query.detach().contiguous(), "queue": queue.detach().contiguous(), "index": index, "step": step.contiguous(),
            "streams": _STREAMS, "mixes": mixes, "query_mixes": query_mixes, "query_most": most, "tau": tau,
            "threads": torch.get_num_threads()}


@torch.library.custom_op("anamorph::mochi", mutates_args=(),
                         schema="(Tensor query, Tensor key, Tensor queue, Tensor step, int n_hard, int n_mix, int n_query_mix, "
                                "float tau, float most) -> (Tensor, Tensor)")
def _mochi(query: Tensor, key: Tensor, queue: Tensor, step: Tensor, n_hard: int, n_mix: int, n_query_mix: int, tau: float,
           most: float) -> tuple[Tensor, Tensor]:
    logits, index = _shaped(query, key, queue, step, n_hard, n_mix, n_query_mix, tau, most)
    size, count = queue.shape[0], n_mix + n_query_mix
    with no_autocast(query):
        logits[:, :1] = (query * key).sum(1, keepdim=True) / tau
        scores = logits[:, 1:1 + size]
        torch.mm(query, queue.t(), out=scores)
    index = _hardest(scores, index.shape[1], tau)
    if count:
        _native.features.mochi(**_mixed(query, queue, index, step, n_mix, n_query_mix, most, tau), scores=logits[:, 1 + size:],
                               made=None)
    return logits, index


@_mochi.register_fake
def _shaped(query: Tensor, key: Tensor, queue: Tensor, step: Tensor, n_hard: int, n_mix: int, n_query_mix: int, tau: float,
            most: float) -> tuple[Tensor, Tensor]:
    count = n_mix + n_query_mix
    return (query.new_empty((query.shape[0], 1 + queue.shape[0] + count)),
            torch.empty((query.shape[0], n_hard if count else 0), dtype=torch.int32, device=query.device))


@torch.library.custom_op("anamorph::mochi_grad", mutates_args=(),
                         schema="(Tensor query, Tensor key, Tensor queue, Tensor step, Tensor index, int n_mix, int n_query_mix, "
                                "float tau, float most, Tensor grad) -> (Tensor, Tensor)")
def _mochi_grad(query: Tensor, key: Tensor, queue: Tensor, step: Tensor, index: Tensor, n_mix: int, n_query_mix: int, tau: float,
                most: float, grad: Tensor) -> tuple[Tensor, Tensor]:
    size, count = queue.shape[0], n_mix + n_query_mix
    grad = grad.contiguous()
    own = grad[:, :1] / tau
    with no_autocast(query):
        on_query = torch.mm(grad[:, 1:1 + size], queue).div_(tau)
    if count:
        mixed = torch.empty_like(on_query)
        _native.features.mochi_grad(**_mixed(query, queue, index, step, n_mix, n_query_mix, most, tau), grad=grad[:, 1 + size:],
                                    grad_query=mixed)
        on_query += mixed
    return on_query.addcmul_(own, key), own * query


@_mochi_grad.register_fake
def _(query: Tensor, key: Tensor, queue: Tensor, step: Tensor, index: Tensor, n_mix: int, n_query_mix: int, tau: float,
      most: float, grad: Tensor) -> tuple[Tensor, Tensor]:
    return (torch.empty_like(query, memory_format=torch.contiguous_format),
            torch.empty_like(query, memory_format=torch.contiguous_format))


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, queue, step, _, *ctx.numbers = inputs
    ctx.save_for_backward(query, key, queue, step, output[1])


def _back(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    on_query, on_key = torch.ops.anamorph.mochi_grad(*ctx.saved_tensors, *ctx.numbers, grad)
    return on_query, on_key, *(None,) * 7


_mochi.register_autograd(_back, setup_context=_save)
