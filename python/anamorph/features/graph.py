"""Graphs by rows (CSR, as SciPy's ``csr_array``): pairs of neighbours, random neighbours, products with features.

The edges of node i are ``indices[indptr[i]:indptr[i + 1]]``: ``indptr`` is int64 ``[N + 1]``, ``indices`` int64 ``[E]``, nodes
without edges are fine. An index of -1 is no edge, as in what :func:`sample_neighbours` pads with. Values are checked on a CPU; on
a GPU they are not looked at, and an index that is no node counts as none.
"""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

import torch
from torch import Tensor

from anamorph import _native
from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DtypeError, ShapeError
from anamorph.features import given
from anamorph.features.draws import Step
from anamorph.features.precision import full_dtype

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_STREAM = zlib.crc32(b"graph.neighbours")


class Transposed(NamedTuple):
    """A graph with its edges turned round; ``order[e]`` is which edge of the graph edge e is."""

    indptr: Tensor
    indices: Tensor
    order: Tensor


class Adjacency(NamedTuple):
    """A graph whose edges have weights: what :func:`aggregate` takes, ``back`` for its gradient."""

    indptr: Tensor
    indices: Tensor
    weights: Tensor
    back: Transposed


def edge_pairs(indptr: Tensor, indices: Tensor) -> Tensor:
    """The two ends of each edge, without edges of a node to itself. On a GPU it waits for the device, to know how many there are.

    Args:
        indptr: int64 ``[N + 1]``.
        indices: int64 ``[E]``, each -1 or below N.

    Returns:
        int64 ``[2, pairs]``: node i, neighbour j, in the order of the edges.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    nodes = _csr(indptr, indices)
    _look(indptr, indices, nodes)
    row = _rows(indptr, indices)
    pairs = torch.stack([row, indices])
    return pairs[:, (row != indices) & (indices >= 0)]


def transpose(indptr: Tensor, indices: Tensor, columns: int | None = None) -> Transposed:
    """The graph with its edges turned round, the edges of a node in their old order. It is made once: :func:`aggregate` takes it
    as ``back``. Edges that are none stand at the end of the last row, as -1.

    Args:
        indptr: int64 ``[N + 1]``.
        indices: int64 ``[E]``, each -1 or below ``columns``.
        columns: the number of nodes at the other end; None: N.

    Returns:
        ``indptr`` ``[columns + 1]``, ``indices`` ``[E]``, ``order`` ``[E]``, all int64.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    nodes = _csr(indptr, indices)
    columns = nodes if columns is None else checks.whole("columns", columns, 1)
    _look(indptr, indices, columns)
    return _transposed(indptr, indices, columns)


def normalised(indptr: Tensor, indices: Tensor, dtype: torch.dtype = torch.float32) -> Adjacency:
    """What a GCN propagates by (Kipf and Welling, ICLR 2017): each node with an edge to itself, at the end of its row, and
    symmetric weights ``1 / sqrt(d_i d_j)``, d the number of edges, that one included.

    Args:
        indptr: int64 ``[N + 1]``.
        indices: int64 ``[E]``, each below N. Of an undirected graph both directions of an edge stand there.
        dtype: of the weights, float32 or float64.

    Returns:
        The graph of E + N edges, its weights and its transpose.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    nodes = _csr(indptr, indices)
    _look(indptr, indices, nodes, lowest=0)
    if dtype not in (torch.float32, torch.float64):
        raise DtypeError(f"dtype: expected torch.float32 or torch.float64, given {dtype}")
    every = torch.arange(nodes + 1, device=indptr.device)
    ends = indptr + every
    others = torch.empty(len(indices) + nodes, dtype=torch.int64, device=indptr.device)
    others[torch.arange(len(indices), device=indptr.device) + _rows(indptr, indices)] = indices
    others[ends[1:] - 1] = every[:-1]
    root = ends.diff().double().rsqrt()
    weights = root[_rows(ends, others)] * root[others]
    return Adjacency(ends, others, weights.to(dtype), _transposed(ends, others, nodes))


def sample_neighbours(indptr: Tensor, indices: Tensor, nodes: Tensor, k: int, step: Step) -> Tensor:
    """k random neighbours of each node, each set of k as likely as any other (GraphSAGE: Hamilton et al., NeurIPS 2017; without
    replacement). A node of fewer than k edges gets all of them in their order, then -1.

    A pure function of (seed, step, node): a node that is asked for twice gets the same neighbours, and so it does on a CPU and on
    a GPU. ``aggregate(torch.arange(n + 1) * k, sampled.flatten(), weights, x)`` adds them up.

    Args:
        indptr: int64 ``[N + 1]``.
        indices: int64 ``[E]``, fewer than 2^32.
        nodes: int64 ``[n]``, each below N. On a GPU what is no node has no neighbours.
        k: how many, at least 1.
        step: (seed, step) as int64 ``[2]`` where the graph is, which the kernel reads there, or two ints.

    Returns:
        int64 ``[n, k]``.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    of = _csr(indptr, indices)
    some_nodes("nodes", nodes, of, indptr)
    k = checks.whole("k", k, 1, 2**31 - 1)
    return torch.ops.anamorph.sample_neighbours(indptr, indices, nodes, k, given.step(step, indptr.device))


def aggregate(indptr: Tensor, indices: Tensor, weights: Tensor | None, x: Tensor, back: Transposed | None = None) -> Tensor:
    """The features of a node's neighbours, weighed and added up: over the edges of node i, the sum of
    ``weights[e] x[indices[e]]``.

    The sums are taken in the order of the edges, products rounded before: the same bits on a CPU, at every instruction set, and
    on a GPU. Gradients, of any order, reach ``weights`` and ``x``: for x it is the same product with the transpose, for an edge's
    weight the product of two rows.

    Args:
        indptr: int64 ``[N + 1]``.
        indices: int64 ``[E]``, each -1 or below M.
        weights: ``[E]``, float32, or float64 where x is; None: 1 each.
        x: ``[M, F]``, float32, float64, float16 or bfloat16. Halves are added up in float32.
        back: :func:`transpose` of the graph (of M columns), for x's gradient; None: it is made whenever one is asked for.

    Returns:
        ``[N, F]`` of x's dtype.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    _csr(indptr, indices)
    _features("x", x, indptr)
    if weights is not None:
        if not isinstance(weights, Tensor):
            raise ArgumentError(f"weights: expected a tensor [E], given {type(weights).__name__}")
        if weights.dtype != full_dtype(x):
            raise DtypeError(f"weights: expected {full_dtype(x)} for x of {x.dtype}, given {weights.dtype}")
        given.same_shape("weights", weights, "indices", indices)
        given.same_device("weights", weights, indptr)
    if back is not None:
        if not isinstance(back, tuple) or len(back) != 3:
            raise ArgumentError(f"back: expected what transpose gives, given {type(back).__name__}")
        back = Transposed(*back)
        columns = _csr(back.indptr, back.indices, "back.")
        given.same_device("back", back.indptr, indptr)
        if columns != len(x) or back.indices.shape != indices.shape:
            raise ShapeError(f"back: expected the transpose, of {len(x)} rows and {len(indices)} edges, given one of "
                             f"{columns} rows and {len(back.indices)} edges")
        _ints("back.order", back.order, "[E]", indptr)
        given.same_shape("back.order", back.order, "indices", indices)
    return torch.ops.anamorph.aggregate(indptr, indices, weights, x, *(back or (None, None, None)))


# ---- what is given ----


def some_nodes(name: str, nodes: Any, of: int, like: Tensor) -> None:
    """int64 ``[n]``, at least one, each below ``of``."""
    _ints(name, nodes, "[n]", like)
    if not len(nodes):
        raise ShapeError(f"{name}: expected [n] with nothing empty, given [0]")
    if given.looked_at(nodes):
        low, high = (int(v) for v in torch.aminmax(nodes))
        if low < 0 or high >= of:
            raise ArgumentError(f"{name}: expected nodes from 0 to {of - 1}, given {low if low < 0 else high}")


def _csr(indptr: Any, indices: Any, of: str = "") -> int:
    """The number of nodes, once it is clear that the form is right."""
    _ints(f"{of}indptr", indptr, "[N + 1]")
    _ints(f"{of}indices", indices, "[E]", indptr)
    if len(indptr) < 2:
        raise ShapeError(f"{of}indptr: expected [N + 1] of at least one node, given {list(indptr.shape)}")
    return len(indptr) - 1


def _ints(name: str, t: Any, form: str, like: Tensor | None = None) -> None:
    if not isinstance(t, Tensor):
        raise ArgumentError(f"{name}: expected an int64 tensor {form}, given {type(t).__name__}")
    if t.dtype != torch.int64:
        raise DtypeError(f"{name}: expected int64 {form}, given {t.dtype}")
    if t.dim() != 1:
        raise ShapeError(f"{name}: expected {form}, given {list(t.shape)}")
    if like is not None:
        given.same_device(name, t, like)


def _features(name: str, x: Any, indptr: Tensor) -> None:
    given.features(name, x, "[N, F]")
    given.same_device(name, x, indptr)
    if x.dtype not in FLOATS:
        raise DtypeError(f"{name}: expected float32, float64, float16 or bfloat16, given {x.dtype}")


def _look(indptr: Tensor, indices: Tensor, columns: int, lowest: int = -1) -> None:
    """Values, on the host."""
    if not given.looked_at(indptr):
        return
    if int(indptr[0]) != 0 or int(indptr[-1]) != len(indices) or bool((indptr.diff() < 0).any()):
        raise ArgumentError(f"indptr: expected numbers that rise from 0 to {len(indices)}, the number of edges, given "
                            f"{int(indptr[0])} to {int(indptr[-1])}" + (", falling" if bool((indptr.diff() < 0).any()) else ""))
    if len(indices):
        low, high = (int(v) for v in torch.aminmax(indices))
        if low < lowest or high >= columns:
            raise ArgumentError(f"indices: expected nodes from {lowest} to {columns - 1}, given {low if low < lowest else high}")


# ---- what graphs are made of ----


def _rows(indptr: Tensor, indices: Tensor) -> Tensor:
    """The node that each edge begins at."""
    edges = torch.arange(len(indices), device=indptr.device)
    return torch.searchsorted(indptr, edges, right=True) - 1


def _transposed(indptr: Tensor, indices: Tensor, columns: int) -> Transposed:
    column = torch.where((indices >= 0) & (indices < columns), indices, columns)
    column, order = torch.sort(column, stable=True)
    starts = torch.searchsorted(column, torch.arange(columns, device=indptr.device))
    ends = torch.cat([starts, starts.new_full((1,), len(indices))])
    return Transposed(ends, torch.where(column < columns, _rows(indptr, indices)[order], -1), order)


# ---- the operators, as torch.compile and autograd see them ----


@torch.library.custom_op("anamorph::sample_neighbours", mutates_args=(),
                         schema="(Tensor indptr, Tensor indices, Tensor nodes, SymInt k, Tensor step) -> Tensor")
def _sampled(indptr: Tensor, indices: Tensor, nodes: Tensor, k: int, step: Tensor) -> Tensor:
    _look(indptr, indices, len(indptr) - 1)
    some_nodes("nodes", nodes, len(indptr) - 1, indptr)
    out = _sampled_like(indptr, indices, nodes, k, step)
    _native.features.sample_neighbours(indptr=indptr.contiguous(), indices=indices.contiguous(), nodes=nodes.contiguous(),
                                       step=step.contiguous(), stream=_STREAM, k=k, out=out, threads=torch.get_num_threads())
    return out


@_sampled.register_fake
def _sampled_like(indptr: Tensor, indices: Tensor, nodes: Tensor, k: int, step: Tensor) -> Tensor:
    return torch.empty((nodes.shape[0], k), dtype=torch.int64, device=nodes.device)


@torch.library.custom_op("anamorph::aggregate", mutates_args=(),
                         schema="(Tensor indptr, Tensor indices, Tensor? weights, Tensor x, Tensor? back_indptr, "
                                "Tensor? back_indices, Tensor? order) -> Tensor")
def _aggregated(indptr: Tensor, indices: Tensor, weights: Tensor | None, x: Tensor, back_indptr: Tensor | None,
                back_indices: Tensor | None, order: Tensor | None) -> Tensor:
    _look(indptr, indices, len(x))
    out = _aggregated_like(indptr, indices, weights, x, back_indptr, back_indices, order)
    weights = None if weights is None else weights.detach().contiguous()
    _native.features.aggregate(indptr=indptr.contiguous(), indices=indices.contiguous(), weights=weights,
                               x=x.detach().contiguous(), out=out, threads=torch.get_num_threads())
    return out


@_aggregated.register_fake
def _aggregated_like(indptr: Tensor, indices: Tensor, weights: Tensor | None, x: Tensor, back_indptr: Tensor | None,
                     back_indices: Tensor | None, order: Tensor | None) -> Tensor:
    return x.new_empty((indptr.shape[0] - 1, x.shape[1]))


@torch.library.custom_op("anamorph::edge_dots", mutates_args=(),
                         schema="(Tensor indptr, Tensor indices, Tensor left, Tensor right) -> Tensor")
def _dots(indptr: Tensor, indices: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Of each edge the product of its ends: ``left[i] . right[indices[e]]``."""
    _look(indptr, indices, len(right))
    out = _dots_like(indptr, indices, left, right)
    if len(out):
        _native.features.edge_dots(indptr=indptr.contiguous(), indices=indices.contiguous(), left=left.detach().contiguous(),
                                   right=right.detach().contiguous(), out=out, threads=torch.get_num_threads())
    return out


@_dots.register_fake
def _dots_like(indptr: Tensor, indices: Tensor, left: Tensor, right: Tensor) -> Tensor:
    return left.new_empty(indices.shape, dtype=full_dtype(left))


def _product(indptr: Tensor, indices: Tensor, weights: Tensor | None, x: Tensor) -> Tensor:
    return torch.ops.anamorph.aggregate(indptr, indices, weights, x, None, None, None)


def _save_aggregated(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _aggregated_back(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    indptr, indices, weights, x, *back = ctx.saved_tensors
    of_weights = torch.ops.anamorph.edge_dots(indptr, indices, grad, x) if ctx.needs_input_grad[2] else None
    of_x = None
    if ctx.needs_input_grad[3]:
        turned = Transposed(*back) if back[0] is not None else _transposed(indptr, indices, x.shape[0])
        of_x = _product(turned.indptr, turned.indices, None if weights is None else weights[turned.order], grad)
    return None, None, of_weights, of_x, None, None, None


_aggregated.register_autograd(_aggregated_back, setup_context=_save_aggregated)


def _save_dots(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _dots_back(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    indptr, indices, left, right = ctx.saved_tensors
    of_left = _product(indptr, indices, grad, right) if ctx.needs_input_grad[2] else None
    of_right = None
    if ctx.needs_input_grad[3]:
        turned = _transposed(indptr, indices, right.shape[0])
        of_right = _product(turned.indptr, turned.indices, grad[turned.order], left)
    return None, None, of_left, of_right


_dots.register_autograd(_dots_back, setup_context=_save_dots)
