"""Two views of one picture: where the one shows what the other shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DeviceError, ShapeError
from anamorph.images.plan import Plan

GRID = 33  # points along a side, for what corners alone do not tell


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
        around the common part of the boxes around what each shows. Of a perspective so strong that a corner lies beyond the
        horizon, it is around what 33 x 33 points find, about a 32nd of a side too small at most. Boxes of none are zeros.

    Raises:
        ArgumentError, ShapeError, DeviceError: what was given and what is expected.
    """
    a, b = _both(a, b)
    seen = [_carried(plan.to_source, plan.to_view, _corners(plan), _sizes(plan)) for plan in (a, b)]
    low = torch.maximum(seen[0][:, :2], seen[1][:, :2]).clamp(min=0)
    high = torch.minimum(torch.minimum(seen[0][:, 2:], seen[1][:, 2:]), _sizes(a)[:, 0].flip(-1))
    some = (high > low).all(1)  # not so of NaN
    x0, y0, x1, y1 = torch.where(some[:, None], torch.cat([low, high], 1), 0).unbind(1)
    corners = torch.stack([torch.stack(c, 1) for c in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))], 1)
    boxes = []
    for plan in (a, b):
        h, w = plan.output_size
        box = _carried(plan.to_view, plan.to_source, corners, low.new_tensor([[plan.output_size]]))
        boxes.append(box.clamp(min=0).minimum(low.new_tensor([w, h, w, h])))
    some = some & ~torch.cat(boxes, 1).isnan().any(1)
    return torch.where(some[:, None], boxes[0], 0), torch.where(some[:, None], boxes[1], 0), some


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
    if a.device.type == "cpu" and not torch.equal(a.index, b.index):
        raise ArgumentError("a, b: expected plans of the same sample ids, given others")
    sizes = [plan.size if isinstance(plan.size, Tensor) else torch.tensor([plan.size]) for plan in (a, b)]
    if all(each.device.type == "cpu" for each in sizes) and bool((sizes[0] != sizes[1]).any()):
        i = int((sizes[0] != sizes[1]).any(1).nonzero()[0])
        one, other = (" x ".join(map(str, each[i if len(each) > 1 else 0].tolist())) for each in sizes)
        raise ShapeError(f"a, b: expected plans of the same pictures, given one of {one} pixels and one of {other}, picture {i}")
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


def _corners(plan: Plan) -> Tensor:
    h, w = plan.output_size
    return torch.tensor([[0.0, 0.0], [w, 0.0], [w, h], [0.0, h]], device=plan.device).expand(len(plan), -1, -1)


def _carried(carry: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor], corners: Tensor, size: Tensor) -> Tensor:
    """The box around where ``carry`` takes the box with these corners, into a frame of a (height, width) [B or 1, 1, 2]. Where a
    corner comes to lie nowhere, the box around those points of a grid on either side that lie in both; NaN where none does."""
    box = _around(carry(corners))
    lost = box.isnan().any(1)
    if lost.device.type == "cpu" and not bool(lost.any()):  # elsewhere a look would wait
        return box
    share = torch.linspace(0, 1, GRID, device=corners.device)
    grid = torch.stack(torch.meshgrid(share, share, indexing="xy"), -1).flatten(0, 1)
    low, high = corners[:, :1], corners[:, 2:3]
    there = (grid * size.flip(-1)).expand(len(corners), -1, -1)
    origins = back(there)
    points = torch.cat([carry(low + (high - low) * grid), there], 1)
    inside = torch.cat([_inside(points[:, :len(grid)], size), ((origins >= low) & (origins <= high)).all(-1)], 1)[..., None]
    found = torch.cat([torch.where(inside, points, torch.inf).amin(1), torch.where(inside, points, -torch.inf).amax(1)], 1)
    return torch.where(lost[:, None], torch.where(inside.any(1), found, torch.nan), box)


def _around(points: Tensor) -> Tensor:
    """The box around each row's points; NaN where one is."""
    return torch.cat([points.amin(1), points.amax(1)], 1)


def _sizes(plan: Plan) -> Tensor:
    """(height, width) of the sources, [B, 1, 2], or of all [1, 1, 2]."""
    size = plan.size if isinstance(plan.size, Tensor) else torch.tensor([plan.size])
    return size.to(plan.device)[:, None]


def _inside(points: Tensor, size: Tensor) -> Tensor:
    return ((points >= 0) & (points <= size.flip(-1))).all(-1)
