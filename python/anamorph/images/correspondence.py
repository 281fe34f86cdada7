"""Two views of one picture: where the one shows what the other shows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DeviceError, ShapeError
from anamorph.images.plan import Plan

_SHARES = torch.cartesian_prod(*[torch.linspace(0, 1, 17, device="cpu")] * 2)  # points of a square, [N, 2]


def correspondence(a: Plan, b: Plan, grid: Any = (7, 7)) -> tuple[Tensor, Tensor]:
    """Where view ``b`` shows what view ``a`` has in the middles of a grid's cells: a's map to the source, then b's to its view.

        where, both = am.correspondence(plans["weak"], plans["strong"], grid=(7, 7))
        at = where / torch.tensor([w, h]) * 2 - 1                        # as torch's grid_sample(align_corners=False) takes it
        there = F.grid_sample(features_b, at, align_corners=False)       # [B, C, 7, 7], beside features_a where both

    Args:
        a, b: plans of the same pictures, on one device: B rows each.
        grid: (rows, columns) of cells that divide view a, such as a feature map's.

    Returns:
        Positions float32 ``[B, rows, columns, 2]``, (x, y) in edge coordinates of view b, NaN for what has none there (as
        ``to_view``); and bool ``[B, rows, columns]``: whether it lies in the picture and in both views. Of clips B is the number
        of all frames.

    Raises:
        ArgumentError, ShapeError, DeviceError: what was given and what is expected.
    """
    a, b = _both(a, b)
    rows, columns = _grid(grid)
    at = _centres(a, rows, columns)
    source = a.to_source(at)
    there = b.to_view(source)
    both = _inside(source, _sizes(b)) & _inside(there, there.new_tensor(b.output_size))
    return there.unflatten(1, (rows, columns)), both.unflatten(1, (rows, columns))


def overlap_boxes(a: Plan, b: Plan) -> tuple[Tensor, Tensor, Tensor]:
    """What two views of one picture have in common, as a box in each.

    Args:
        a, b: plans of the same pictures, on one device: B rows each.

    Returns:
        Boxes float32 ``[B, 4]``, xyxy in edge coordinates of view a, the same of view b, and bool ``[B]``: whether there is any.
        Where both maps are square (crops, resizes, flips, quarter turns) the box is exactly what both show; else it is the box
        around the common part of the boxes around what each shows, of which a perspective's and a field's are found from 17 x 17
        points, without those beyond a horizon. Boxes of none are zeros.

    Raises:
        ArgumentError, ShapeError, DeviceError: what was given and what is expected.
    """
    a, b = _both(a, b)
    seen = [_around(plan.to_source(_all_over(plan))) for plan in (a, b)]
    low = torch.maximum(seen[0][:, :2], seen[1][:, :2]).clamp(min=0)
    high = torch.minimum(torch.minimum(seen[0][:, 2:], seen[1][:, 2:]), _sizes(a)[:, 0].flip(-1))
    some = (high > low).all(1)
    low, high = (torch.where(some[:, None], edge, 0) for edge in (low, high))
    common = low[:, None] * (1 - _SHARES.to(low.device)) + high[:, None] * _SHARES.to(low.device)
    out = []
    for plan in (a, b):
        h, w = plan.output_size
        box = _around(plan.to_view(common)).clamp(min=0).minimum(low.new_tensor([w, h, w, h]))
        out.append(torch.where(some[:, None], box, 0))
    return out[0], out[1], some


def pixpro_mask(a: Plan, b: Plan, grid: Any = (7, 7), threshold: float = 0.7) -> Tensor:
    """Which cells of two views are positive pairs (PixPro, Xie et al., CVPR 2021): those whose middles lie, in the source, within
    ``threshold`` times the larger of their diagonals.

    As in the authors' code x and y are measured in sides of the source. What differs: cells are those of any map, also a turned
    one (a diagonal is the root of the squares of its two middle lines), and edges are at whole numbers, where the code has a crop
    of w pixels end at w - 1.

    Args:
        a, b: plans of the same pictures, on one device: B rows each.
        grid: (rows, columns) of both feature maps.
        threshold: 0.7 in the paper.

    Returns:
        bool ``[B, rows * columns, rows * columns]``: of cell i of view a and cell j of view b, row by row.

    Raises:
        ArgumentError, ShapeError, DeviceError: what was given and what is expected.
    """
    a, b = _both(a, b)
    rows, columns = _grid(grid)
    threshold = checks.number("threshold", threshold, 0)
    middles, diagonals = zip(*(_cells(plan, rows, columns) for plan in (a, b)), strict=True)
    apart = (middles[0][:, :, None] - middles[1][:, None]).norm(dim=-1)
    return apart < threshold * torch.maximum(diagonals[0][:, :, None], diagonals[1][:, None])  # not so of NaN


def _cells(plan: Plan, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Their middles [B, N, 2] and diagonals [B, N], in sides of the source."""
    h, w = plan.output_size
    at = _centres(plan, rows, columns)
    half = at.new_tensor([[0, 0], [-w / columns / 2, 0], [w / columns / 2, 0], [0, -h / rows / 2], [0, h / rows / 2]])
    points = (at[:, :, None] + half).flatten(1, 2)
    middle, left, right, top, bottom = (plan.to_source(points) / _sizes(plan).flip(-1)).unflatten(1, (-1, 5)).unbind(2)
    return middle, ((right - left).square().sum(-1) + (bottom - top).square().sum(-1)).sqrt()


def _both(a: Any, b: Any) -> tuple[Plan, Plan]:
    for name, plan in (("a", a), ("b", b)):
        if not isinstance(plan, Plan):
            checks.wrong(name, "an anamorph.Plan", plan)
    if len(a) != len(b) or a.frames != b.frames:
        raise ShapeError(f"a, b: expected plans of the same pictures, given {a!r} and {b!r}")
    if a.device != b.device:
        raise DeviceError(f"a, b: expected plans on one device, given {a.device} and {b.device}")
    if isinstance(a.size, tuple) and isinstance(b.size, tuple) and a.size != b.size:
        raise ShapeError(f"a, b: expected plans of the same pictures, given sources of {a.size} and {b.size}")
    if a.device.type == "cpu":
        if not torch.equal(a.index, b.index):
            raise ArgumentError("a, b: expected plans of the same sample ids, given others")
        if not bool((_sizes(a) == _sizes(b)).all()):
            raise ShapeError("a, b: expected plans of the same pictures, given sources of other sizes")
    return a._rows_alone(), b._rows_alone()


def _grid(grid: Any) -> tuple[int, int]:
    if not checks.is_sequence(grid) or len(grid) != 2:
        checks.wrong("grid", "(rows, columns)", grid)
    rows, columns = (checks.whole(f"grid[{i}]", n, 1, checks.MAX_SIDE, " of cells") for i, n in enumerate(grid))
    return rows, columns


def _centres(plan: Plan, rows: int, columns: int) -> Tensor:
    """Of a grid's cells, [B, rows * columns, 2], (x, y) of the view."""
    h, w = plan.output_size
    y = (torch.arange(rows, device=plan.device) + 0.5) * (h / rows)
    x = (torch.arange(columns, device=plan.device) + 0.5) * (w / columns)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).flatten(0, 1).expand(len(plan), -1, -1)


def _all_over(plan: Plan) -> Tensor:
    """Points of a view, its corners among them, [B, N, 2]."""
    h, w = plan.output_size
    return (_SHARES * torch.tensor([w, h])).to(plan.device).expand(len(plan), -1, -1)


def _around(points: Tensor) -> Tensor:
    """The box around each row's points, but for those that are nowhere; of none it is inside out."""
    there = points.isfinite().all(-1, keepdim=True)
    return torch.cat([points.where(there, torch.inf).amin(1), points.where(there, -torch.inf).amax(1)], 1)


def _sizes(plan: Plan) -> Tensor:
    """(height, width) of the sources, [B, 1, 2], or of all [1, 1, 2]."""
    size = plan.size if isinstance(plan.size, Tensor) else torch.tensor([plan.size])
    return size.to(plan.device)[:, None]


def _inside(points: Tensor, size: Tensor) -> Tensor:
    return ((points >= 0) & (points <= size.flip(-1))).all(-1)
