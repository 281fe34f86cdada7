"""Neighbourhoods in point clouds: farthest point sampling, k nearest neighbours, balls, and groups of what they find.

Distances are those of a plain loop in float64 over the float32 coordinates, and where two are equal the point of the lower index
comes first: every function here gives the same indices on every device, at every SIMD level and on any number of threads.

Clouds are ``[B, N, 3]``. With ``counts``, int64 ``[B]``, cloud b has its first ``counts[b]`` points; what lies beyond is never
read. On a CPU all values are checked. On a GPU they are not looked at, which would have to wait for the device: there a point
with a NaN is farther from everything than any other, and counts and starts out of range are taken to the nearest in range.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from anamorph import _native
from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.core.tensors import as_tensor

MAX_RADIUS = 1e18  # its square is a float32
_LEAF, _HELD, _LONGEST = _native.points.FARTHEST_LEAF, _native.points.FARTHEST_HELD, _native.points.MAX_NEAREST_CUDA


def farthest_point_sample(points: Any, m: int, start: Any = 0, counts: Any = None) -> Tensor:
    """Indices of ``m`` points of each cloud, each the farthest from those before it (Gonzalez 1985; Eldar et al. 1997).

    Greedy: the next sample has the largest distance to its nearest sample, and of several such points the lowest index. When no
    distinct point is left all distances are 0, and index 0 repeats. Large clouds (on a GPU of more than 8,192 points) are sorted
    into buckets, most of which a new sample cannot change (Han et al., "QuickFPS", 2023); the samples are the same.

    Args:
        points: float32 ``[B, N, 3]``, finite.
        m: samples of each cloud, at most N, and on a CPU at most ``counts[b]``.
        start: the index of each cloud's first sample: a number for all, or int64 ``[B]``.
        counts: int64 ``[B]``, how many points each cloud has; None: N.

    Returns:
        int64 ``[B, m]``.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    cloud = _cloud("points", points)
    batch, size = cloud.shape[:2]
    m = checks.whole("m", m, 1)
    if m > size:
        raise ArgumentError(f"m: expected at most {size}, the points of a cloud, given {m}")
    known = _counts("counts", counts, cloud, m)
    first = _start(start, cloud, known)
    out = torch.empty((batch, m), dtype=torch.int64, device=cloud.device)
    room = -(-size // _LEAF) * _LEAF  # distances, which are worked with in whole leaves
    exact = torch.empty((batch, room), dtype=torch.float64, device=cloud.device)
    rough = torch.empty((batch, room), dtype=torch.float32, device=cloud.device)
    order = curve_order(cloud, known) if cloud.is_cuda and size > _HELD else None
    placed = None if order is None else torch.empty((batch, size, 4), dtype=torch.float32, device=cloud.device)
    _native.points.farthest(points=cloud, counts=known, start=first, m=m, out=out, exact=exact, rough=rough, order=order,
                            placed=placed, threads=torch.get_num_threads())
    return out


def curve_order(cloud: Tensor, counts: Tensor | None) -> Tensor:
    """The points of each cloud along a curve that fills space (Morton 1966), those that are there first: int64 ``[B, N]``. Its
    grid spans the cloud, but at most three times what 97 of 100 points span: one stray point would put all others in a cell."""
    size, beyond = cloud.shape[1], None
    there: Tensor | int = size
    if counts is not None:
        beyond = torch.arange(size, device=cloud.device) >= counts[:, None]
        cloud = torch.where(beyond[..., None], cloud[:, :1], cloud)
        there = counts.clamp(1, size)[:, None]
    # 1,024 points from all over a cloud, by multiples of the golden ratio: with these no rows of a grid are in step.
    some = (torch.arange(1024, device=cloud.device).expand(len(cloud), -1) * 2654435769 & 0xFFFFFFFF) * there >> 32
    values = cloud.gather(1, some[..., None].expand(-1, -1, 3)).sort(1).values
    first, last = values[:, 16:17], values[:, -17:-16]
    reach = (last - first).amax(2, keepdim=True)
    low = torch.maximum(cloud.amin(1, keepdim=True), first - reach)
    high = torch.minimum(cloud.amax(1, keepdim=True), last + reach)
    side = (high - low).amax(2, keepdim=True).clamp(min=1e-30)
    bits = ((cloud - low) / side * 1023).nan_to_num(0.0).clamp(0, 1023).int()  # any order will do, some are slower
    for shift, mask in ((16, 0x030000FF), (8, 0x0300F00F), (4, 0x030C30C3), (2, 0x09249249)):
        bits = (bits | bits << shift) & mask
    code = bits[..., 0] << 2 | bits[..., 1] << 1 | bits[..., 2]
    if beyond is not None:
        code = code.masked_fill(beyond, 1 << 30)
    return code.argsort(1)


def knn(query: Any, points: Any, k: int, counts: Any = None, query_counts: Any = None) -> tuple[Tensor, Tensor]:
    """The ``k`` nearest points of each query, nearest first, itself included where it is one of them; ties by the lowest index.

    Args:
        query: float32 ``[B, M, 3]``, finite.
        points: float32 ``[B, N, 3]``, finite.
        k: how many; at most N, and on a GPU at most 1024.
        counts: int64 ``[B]``, how many points each cloud has; None: N.
        query_counts: int64 ``[B]``, how many queries; None: M.

    Returns:
        Squared distances, float32 ``[B, M, k]``, and indices, int64 ``[B, M, k]``. Where a cloud has fewer than ``k`` points, and
        for queries beyond their count: infinity and -1.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    asked, cloud, known, of_query = _pair(query, points, counts, query_counts)
    k = checks.whole("k", k, 1)
    if k > cloud.shape[1]:
        raise ArgumentError(f"k: expected at most {cloud.shape[1]}, the points of a cloud, given {k}")
    if cloud.is_cuda and k > _LONGEST:
        raise ArgumentError(f"k: expected at most {_LONGEST} on a GPU, given {k}")
    shape = (*asked.shape[:2], k)
    distance = torch.empty(shape, dtype=torch.float32, device=cloud.device)
    index = torch.empty(shape, dtype=torch.int64, device=cloud.device)
    _native.points.nearest(query=asked, points=cloud, query_counts=of_query, counts=known, k=k, distance=distance, index=index,
                           threads=torch.get_num_threads())
    return distance, index


def ball_query(query: Any, points: Any, radius: float, k: int, counts: Any = None, query_counts: Any = None, *,
               pad: int | str = "first") -> Tensor:
    """The first ``k`` points, in the order of their indices, less than ``radius`` away from each query (Qi et al., "PointNet++",
    2017).

    Args:
        query: float32 ``[B, M, 3]``, finite.
        points: float32 ``[B, N, 3]``, finite.
        radius: above 0, at most 1e18. Its square is taken as a double.
        k: how many.
        counts: int64 ``[B]``, how many points each cloud has; None: N.
        query_counts: int64 ``[B]``, how many queries; None: M.
        pad: what stands in a row after its hits: "first", the first hit again, or 0 where there is none, as in PointNet++'s own
            code; or -1, as in PyTorch3D.

    Returns:
        int64 ``[B, M, k]``; the rows of queries beyond their count are -1.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    asked, cloud, known, of_query = _pair(query, points, counts, query_counts)
    radius = checks.number("radius", radius, expected=f"a number above 0, at most {MAX_RADIUS:g}")
    if not 0 < radius <= MAX_RADIUS:
        checks.wrong("radius", f"a number above 0, at most {MAX_RADIUS:g}", radius)
    k = checks.whole("k", k, 1, 2**31 - 1)
    plain = checks.plain(pad)
    if isinstance(plain, bool) or plain not in ("first", -1):
        checks.wrong("pad", "'first' or -1", pad)
    index = torch.empty((*asked.shape[:2], k), dtype=torch.int64, device=cloud.device)
    _native.points.ball(query=asked, points=cloud, query_counts=of_query, counts=known, radius=radius, k=k,
                        pad=0 if plain == "first" else 1, index=index, threads=torch.get_num_threads())
    return index


def group(values: Any, index: Any) -> Tensor:
    """What belongs to the points that were found: ``values[b, index[b, ...]]``, zeros where an index is -1. Gradients pass.

    Args:
        values: ``[B, N, C]`` of any dtype: coordinates, features, labels.
        index: int64 ``[B, M, k]`` or ``[B, m]``, each -1 or below N.

    Returns:
        ``[B, M, k, C]`` or ``[B, m, C]``, of the dtype of ``values``.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    values, index = as_tensor("values", values), as_tensor("index", index)
    if values.dim() != 3 or not values.shape[1]:
        raise ShapeError(f"values: expected [B, N, C], N at least 1, given {list(values.shape)}")
    if index.dtype != torch.int64:
        raise DtypeError(f"index: expected int64, given {str(index.dtype).removeprefix('torch.')}")
    if index.dim() not in (2, 3) or index.shape[0] != values.shape[0]:
        raise ShapeError(f"index: expected [B, M, k] or [B, m], B {values.shape[0]} like values, given {list(index.shape)}")
    if index.device != values.device:
        raise DeviceError(f"index: expected on {values.device} like values, given on {index.device}")
    if not index.is_cuda and index.numel():
        low, high = (int(x) for x in torch.aminmax(index))
        if low < -1 or high >= values.shape[1]:
            raise ArgumentError(f"index: expected numbers from -1 to {values.shape[1] - 1}, given {low if low < -1 else high}")
    flat, channels = index.flatten(1), values.shape[2]
    found = values.gather(1, flat.clamp(min=0).unsqueeze(2).expand(-1, -1, channels))
    return found.masked_fill((flat < 0).unsqueeze(2), 0).reshape(*index.shape, channels)


# ---- what is given ----

def _cloud(name: str, value: Any) -> Tensor:
    tensor = as_tensor(name, value)
    if tensor.dtype != torch.float32:
        raise DtypeError(f"{name}: expected float32, given {str(tensor.dtype).removeprefix('torch.')}")
    if tensor.dim() != 3 or tensor.shape[2] != 3 or not tensor.shape[0] or not tensor.shape[1]:
        raise ShapeError(f"{name}: expected [B, N, 3], B and N at least 1, given {list(tensor.shape)}")
    return tensor.detach().contiguous()


def _pair(query: Any, points: Any, counts: Any, query_counts: Any) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    cloud = _cloud("points", points)
    asked = cloud if query is points else _cloud("query", query)
    if asked.device != cloud.device:
        raise DeviceError(f"query: expected on {cloud.device} like points, given on {asked.device}")
    if asked.shape[0] != cloud.shape[0]:
        raise ShapeError(f"query: expected a batch of {cloud.shape[0]} like points, given {asked.shape[0]}")
    known = _counts("counts", counts, cloud)
    of_query = known if query is points and query_counts is counts else _counts("query_counts", query_counts, asked)
    return asked, cloud, known, of_query


def _numbers(name: str, value: Any, cloud: Tensor) -> Tensor:
    """int64 [B] on the clouds' device."""
    tensor = as_tensor(name, value)
    if tensor.dtype != torch.int64:
        raise DtypeError(f"{name}: expected int64, given {str(tensor.dtype).removeprefix('torch.')}")
    if tensor.shape != (cloud.shape[0],):
        raise ShapeError(f"{name}: expected [{cloud.shape[0]}], a number for each cloud, given {list(tensor.shape)}")
    if tensor.device != cloud.device:
        raise DeviceError(f"{name}: expected on {cloud.device} like the clouds, given on {tensor.device}")
    return tensor.contiguous()


def _counts(name: str, value: Any, cloud: Tensor, least: int = 0) -> Tensor | None:
    if value is None:
        return None
    counts = _numbers(name, value, cloud)
    if not counts.is_cuda:
        low, high = (int(x) for x in torch.aminmax(counts))
        if low < least or high > cloud.shape[1]:
            given = low if low < least else high
            raise ArgumentError(f"{name}: expected numbers from {least} to {cloud.shape[1]}, given {given}")
    return counts


def _start(start: Any, cloud: Tensor, counts: Tensor | None) -> Tensor:
    if not isinstance(start, Tensor) and not checks.is_sequence(start):
        value = checks.whole("start", start, 0, cloud.shape[1] - 1)
        first = torch.full((cloud.shape[0],), value, dtype=torch.int64, device=cloud.device)
    else:
        first = _numbers("start", start, cloud)
    if not first.is_cuda:
        bad = (first < 0) | (first >= (cloud.shape[1] if counts is None else counts))
        if bool(bad.any()):
            b = int(bad.nonzero()[0])
            most = (cloud.shape[1] if counts is None else int(counts[b])) - 1
            raise ArgumentError(f"start: expected a number from 0 to {most} for cloud {b}, given {int(first[b])}")
    return first
