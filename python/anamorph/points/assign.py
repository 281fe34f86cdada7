"""Assignment of the points of one cloud to those of another, one to one: what mixing of clouds is made of.

The distance of two clouds is the sum of the Euclidean distances, not squared, of the points that are matched (the earth mover's
distance of clouds of equally many points).
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from torch import Tensor

from anamorph import _native
from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.core.extras import extra
from anamorph.core.tensors import as_tensor

METHODS = ("auto", "exact", "auction")
EXACT_UP_TO = 512  # points: there scipy takes about as long as the auction, or less than anybody notices
BIDS = 4096  # of each point, before an auction is ended by force; a hundred times what the worst clouds tried have needed
_ROOM, _MOST = _native.points.ASSIGN_ROOM, _native.points.MOST_ASSIGNED


def assign(a: Any, b: Any, method: str = "auto", eps: float | None = None) -> tuple[Tensor, Tensor]:
    """The points of ``b`` that those of ``a`` are matched with, one to one, so that the distances add up to little.

    Args:
        a: float32 ``[B, N, 3]``, or one cloud ``[N, 3]``; finite. N is at most 65536.
        b: the same shape, on the same device.
        method: "exact": the least sum, by ``scipy.optimize.linear_sum_assignment`` (Crouse, 2016), on the CPU. "auction":
            Bertsekas' auction with epsilon scaling (1981), on the CPU and on a GPU, which give the same bits. "auto": exact on
            the CPU for clouds of up to 512 points where scipy is there and no ``eps`` is given, else the auction.
        eps: how far above the least sum an auction may end, for each point: at most N * eps above it, in the clouds' unit. Below
            about 1e-6 of the longest side of the box round both clouds, to which distances are rounded, it is that. None: the sum
            is at most 1 % above the least, and N times that rounding, which counts where a point lies thousands of times farther
            out than the others; random clouds and shapes come out within 0.1 %.

    Returns:
        The permutation, int64 ``[B, N]``: point i of ``a`` is matched with point ``permutation[i]`` of ``b``. Always one to one,
        also where points coincide. And the sum of the matched distances, float32 ``[B]``. Without the B for single clouds.
        Nothing is differentiated.

    On a GPU values are not looked at, which would have to wait for the device: there a cloud with a NaN or an infinity still gets
    a permutation, and a sum that is NaN. An auction comes to its end by itself; after 4096 N bids, which no cloud has needed,
    each point that still waits takes the nearest one that is left, and the bound on the sum does not hold.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected. MissingDependencyError: "exact"
        without scipy.
    """
    method = checks.choice("method", method, METHODS)
    if eps is not None:
        eps = checks.number("eps", eps, 0, expected="a distance above 0, or None")
        if eps == 0:
            checks.wrong("eps", "a distance above 0, or None", eps)
    own, other = clouds("a", a, (2, 3)), clouds("b", b, (2, 3))
    if own.shape != other.shape:
        raise ShapeError(f"b: expected {list(own.shape)} like a, given {list(other.shape)}")
    if own.device != other.device:
        raise DeviceError(f"b: expected a tensor on {own.device} like a, given one on {other.device}")
    single = own.dim() == 2
    if single:
        own, other = own[None], other[None]
    matched, cost = match(own, other, method, eps)
    return (matched[0], cost[0]) if single else (matched, cost)


def match(a: Tensor, b: Tensor, method: str, eps: float | None, partner: Tensor | None = None,
          rule: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The same of clouds that have been checked: of ``a[i]`` with ``b[partner[i]]``, and of the samples whose ``rule`` needs
    it."""
    if method == "exact" and eps is not None:
        raise ArgumentError(f"eps: expected None for the exact method, given {eps!r}")
    if method == "exact" and a.is_cuda:
        raise DeviceError(f"method: 'exact' is for the CPU, given clouds on {a.device}; 'auction' is for both")
    few = a.shape[1] <= EXACT_UP_TO and not a.is_cuda and eps is None
    if method == "exact" or (method == "auto" and few and importlib.util.find_spec("scipy") is not None):
        return _exact(a, b, partner, rule)
    batch, size = a.shape[:2]
    matched = torch.empty((batch, size), dtype=torch.int64, device=a.device)
    cost = torch.empty((batch,), dtype=torch.float32, device=a.device)
    room = torch.empty((batch, _ROOM * size), dtype=torch.int32, device=a.device)  # a GPU's; on a CPU nothing touches it
    _native.points.assign(a=a, b=b, partner=partner, rule=rule, permutation=matched, cost=cost, room=room, eps=eps or 0.0,
                          most_bids=BIDS * size, threads=torch.get_num_threads())
    return matched, cost


def _exact(a: Tensor, b: Tensor, partner: Tensor | None, rule: Tensor | None) -> tuple[Tensor, Tensor]:
    with extra("points", "assign with method='exact'", "; method='auction' needs none"):
        from scipy.optimize import linear_sum_assignment
        from scipy.spatial.distance import cdist
    matched = torch.arange(a.shape[1], device="cpu").repeat(len(a), 1)
    cost = torch.empty(len(a), dtype=torch.float32, device="cpu")
    for i, own in enumerate(a.numpy()):
        distances = cdist(own, b[i if partner is None else int(partner[i])].numpy())  # in float64
        if rule is None or 1 <= int(rule[i]) <= 3:
            matched[i] = torch.from_numpy(linear_sum_assignment(distances)[1])
        cost[i] = torch.tensor(distances[range(len(own)), matched[i].numpy()].sum(), device="cpu")  # beyond float32: infinity
    return matched, cost


def clouds(name: str, value: Any, dims: tuple[int, ...] = (3,)) -> Tensor:
    """Clouds of equally many points, checked: float32, contiguous, and on a CPU finite."""
    tensor = as_tensor(name, value).detach()
    expected = " or ".join({2: "[N, 3]", 3: "[B, N, 3]"}[d] for d in dims)
    if tensor.dim() not in dims or tensor.shape[-1] != 3 or tensor.numel() == 0:
        raise ShapeError(f"{name}: expected clouds {expected} of at least one point, given {list(tensor.shape)}")
    if tensor.shape[-2] > _MOST:
        raise ShapeError(f"{name}: expected clouds of at most {_MOST} points, given {tensor.shape[-2]}")
    if tensor.dtype != torch.float32:
        raise DtypeError(f"{name}: expected float32, given {str(tensor.dtype).removeprefix('torch.')}")
    if tensor.device.type not in ("cpu", "cuda"):
        raise DeviceError(f"{name}: expected a tensor on the CPU or a GPU, given one on {tensor.device}")
    if tensor.device.type == "cpu" and not bool(torch.isfinite(tensor).all()):
        raise ArgumentError(f"{name}: expected finite coordinates, given a NaN or an infinity")
    return tensor.contiguous()
