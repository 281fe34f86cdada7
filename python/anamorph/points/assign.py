"""Assignment: which point of one cloud belongs to which of another."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from anamorph.core.errors import ArgumentError, DeviceError, ShapeError
from anamorph.core.extras import extra
from anamorph.core.tensors import as_tensor
from anamorph.points import given


def assign(a: Any, b: Any) -> tuple[Tensor, Tensor]:
    """The bijection between two clouds whose distances, not squared, add up to the least: exact, by SciPy's solver (a modified
    Jonker-Volgenant, O(N^3): about .03 s for a pair of 512 points, .2 s for 1,024, 2 s for 2,048).

    Args:
        a, b: float32 ``[B, N, 3]`` or one cloud each ``[N, 3]``, on the host.

    Returns: (permutation int64 ``[B, N]``: the point of b that each point of a is matched with; the sum of the distances, float32
        ``[B]``), of one pair ``[N]`` and ``[]``.

    Raises: ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected. MissingDependencyError: SciPy
        is not
            there.
    """
    first, second = as_tensor("a", a), as_tensor("b", b)
    one = first.dim() == 2
    first, second = (given.clouds(name, t[None] if one and t.dim() == 2 else t) for name, t in (("a", first), ("b", second)))
    if first.shape != second.shape:
        raise ShapeError(f"b: expected {list(first.shape)} like a, given {list(second.shape)}")
    if first.device.type != "cpu" or second.device.type != "cpu":
        raise DeviceError(f"a: expected clouds on the host, where the solver is, given on {first.device} and {second.device}")
    with extra("points", "an exact assignment"):
        from scipy.optimize import linear_sum_assignment
    permutation = torch.empty(first.shape[:2], dtype=torch.int64)
    cost = torch.empty(len(first))
    for i in range(len(first)):
        distance = torch.cdist(first[i].double(), second[i].double()).numpy()
        rows, columns = linear_sum_assignment(distance)
        if not np.array_equal(rows, np.arange(len(rows))):
            raise ArgumentError("a: expected coordinates whose distances are finite, given larger ones")
        permutation[i] = torch.from_numpy(columns)
        cost[i] = torch.tensor(distance[rows, columns].sum())  # beyond float32: infinity
    return (permutation[0], cost[0]) if one else (permutation, cost)
