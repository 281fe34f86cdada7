"""The objects of a batch in its mosaics: checks of the targets, the places of boxes, points and masks, and what is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anamorph import _native
from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.core.memory import room
from anamorph.core.move import to_device
from anamorph.images.forms import format_of, from_xyxy, plain, rewrap, to_xyxy
from anamorph.images.objects import area
from anamorph.images.pasted import check_boxes, check_masks, following, same, together

# As csrc/images/mosaic.h says. Coordinates of the canvas begin at the point that all tiles touch.
TILE = np.dtype([("picture", "i4"), ("size", "i4", 2), ("shown", "i4", 2), ("cut", "f4", 4), ("corner", "f4", 2),
                 ("ratio", "f4", 2)])
SAMPLE = np.dtype([("forward", "f8", 6), ("zoom", "f8"), ("shown", "f8", 4), ("inverse", "f4", 6), ("tiles", TILE, 4)])
TILES = 4
_MASK = np.dtype([("source", "i8"), ("sample", "i4"), ("tile", "i4")])
_EPSILON = 1e-16  # yolov5's


@dataclass(frozen=True)
class Rules:
    """Of boxes that are kept: yolov5's box_candidates."""

    min_size: float  # pixels of the view; the others are ratios
    max_aspect: float
    min_visibility: float


def tile_targets(targets: Sequence[Any], sizes: Tensor, drawn: np.ndarray, samples: Tensor, size: int, rules: Rules,
                 threads: int) -> list[dict[str, Any]]:
    """The targets of mosaics.

    Args:
        targets: the pictures', B dicts.
        sizes: int64 ``[B, 2]`` on the host, the pictures' heights and widths.
        drawn: :data:`SAMPLE` ``[B]``.
        samples: the same on the pictures' device.
    """
    if len(targets) != len(sizes):
        raise ShapeError(f"targets: expected {len(sizes)} dicts, one for each picture, given {len(targets)}")
    counts = [_check(i, target, sizes[i].tolist(), samples.device) for i, target in enumerate(targets)]
    names = following(targets, counts, ("boxes",))
    format = same("format of boxes", [format_of(f"targets[{i}]['boxes']", t["boxes"]) for i, t in enumerate(targets)]) or "xyxy"
    given = {name: together(name, targets) for name in ("boxes", *names) if name != "masks"}

    number, tile = _objects(drawn, np.array(counts))
    moved = Moved(drawn, tile, size, samples.device)
    which = to_device(number, samples.device)
    boxes, keep = moved.boxes(to_xyxy(given["boxes"], format)[which], rules)
    kept = keep.nonzero()[:, 0]
    chosen = kept.cpu().numpy()  # on a GPU the host waits here, for how many objects each view has
    which, boxes = which[kept], boxes[kept]

    entries = {"boxes": from_xyxy(boxes, format)}
    for name in names:
        if name == "keypoints":
            entries[name] = moved.points(given[name][which], kept)
        elif name == "masks":
            entries[name] = _masks(targets, counts, number[chosen], tile[chosen], samples, size, threads)
        else:
            entries[name] = given[name][which]
    if "area" in entries:
        entries["area"] = area(boxes, entries.get("masks")).to(entries["area"].dtype)
    numbers = np.bincount(tile[chosen] // TILES, minlength=len(targets)).tolist()
    parts = {name: values.split(numbers) for name, values in entries.items()}
    return [{**target, **{name: rewrap(values[i], target[name], (size, size)) for name, values in parts.items()}}
            for i, target in enumerate(targets)]


def _check(i: int, target: Any, size: Sequence[int], device: torch.device) -> int:
    where = f"targets[{i}]"
    if not isinstance(target, Mapping):
        raise ArgumentError(f"{where}: expected a dict, given {type(target).__name__}")
    boxes = target.get("boxes")
    if not isinstance(boxes, Tensor):
        raise ArgumentError(f"{where}: expected 'boxes', a tensor [n, 4], given "
                            f"{'none' if boxes is None else type(boxes).__name__}")
    for name, value in target.items():
        if isinstance(value, Tensor) and value.device != device and name in ("boxes", "labels", "masks", "keypoints"):
            raise DeviceError(f"{where}[{name!r}]: expected on {device} like the images, given on {value.device}")
    n = check_boxes(where, boxes)
    masks, points = target.get("masks"), target.get("keypoints")
    if masks is not None:
        check_masks(where, masks, n, size)
    if points is not None:
        if not isinstance(points, Tensor) or points.dim() != 3 or len(points) != n or points.shape[2] not in (2, 3):
            given = list(points.shape) if isinstance(points, Tensor) else type(points).__name__
            raise ShapeError(f"{where}['keypoints']: expected [{n}, K, 2] or [{n}, K, 3], given {given}")
        if not points.dtype.is_floating_point:
            raise DtypeError(f"{where}['keypoints']: expected floats, given {points.dtype}")
    return n


def _objects(drawn: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The objects of all tiles, one after the other: which of the batch's each is, and in which of its tiles."""
    picture = drawn["tiles"]["picture"].ravel()
    each = np.where(picture >= 0, counts[picture], 0)
    tile = np.repeat(np.arange(len(picture)), each)
    begin, first = np.cumsum(each) - each, np.cumsum(counts) - counts
    return np.arange(len(tile)) - begin[tile] + first[picture[tile]], tile


class Moved:
    """The maps of objects from their pictures into their views, one for each."""

    def __init__(self, drawn: np.ndarray, tile: np.ndarray, size: int, device: torch.device) -> None:
        tiles = drawn["tiles"]
        ratio = (tiles["shown"] / np.maximum(tiles["size"], 1))[..., ::-1]
        sample = np.concatenate([drawn["forward"], drawn["zoom"][:, None]], 1)
        facts = np.concatenate([tiles["corner"], ratio, tiles["cut"], np.repeat(sample[:, None], TILES, 1)], 2)
        each = to_device(facts.reshape(-1, facts.shape[2]), device)[to_device(tile, device)]
        self.corner, self.ratio, self.low, self.high = each[:, :8].split(2, 1)
        self.forward, self.zoom, self.size = each[:, 8:14].view(-1, 2, 3), each[:, 14], size

    def boxes(self, boxes: Tensor, rules: Rules) -> tuple[Tensor, Tensor]:
        """Of float32 [N, 4]: the boxes of the views, and which are kept."""
        canvas = boxes.double().view(-1, 2, 2) * self.ratio[:, None] + self.corner[:, None]
        left, top, right, bottom = canvas.clamp(self.low[:, None], self.high[:, None]).view(-1, 4).unbind(1)
        corners = _mapped(self.forward, torch.stack([left, right, right, left], 1), torch.stack([top, top, bottom, bottom], 1))
        hull = torch.cat([corners.amin(1), corners.amax(1)], 1).clamp(0, self.size)
        w, h = (hull[:, 2:] - hull[:, :2]).unbind(1)
        before = (right - left) * (bottom - top) * self.zoom**2
        aspect = torch.maximum(w / (h + _EPSILON), h / (w + _EPSILON))
        keep = (w > rules.min_size) & (h > rules.min_size) & (aspect < rules.max_aspect)
        return hull.to(torch.float32), keep & (w * h / (before + _EPSILON) > rules.min_visibility)

    def points(self, points: Tensor, kept: Tensor) -> Tensor:
        """Of [n, K, 2 or 3], those objects' keypoints: the same in the views."""
        corner, ratio, low, high = (part[kept, None] for part in (self.corner, self.ratio, self.low, self.high))
        canvas = points[..., :2].double() * ratio + corner
        place = _mapped(self.forward[kept], canvas[..., 0], canvas[..., 1])
        moved = place.to(points.dtype)
        if points.shape[2] == 2:
            return moved
        shown = ((canvas >= low) & (canvas < high) & (place >= 0) & (place < self.size)).all(2)
        return torch.cat([moved, torch.where(shown, points[..., 2], 0)[..., None]], 2)


def _mapped(forward: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Points [N, K, 2] by maps [N, 2, 3]."""
    return torch.stack([row[:, :1] * x + row[:, 1:2] * y + row[:, 2:] for row in forward.unbind(1)], 2)


def _masks(targets: Sequence[Any], counts: Sequence[int], number: np.ndarray, tile: np.ndarray, samples: Tensor, size: int,
           threads: int) -> Tensor:
    """The masks of those objects in their views."""
    masks = [plain(target["masks"]).detach() for target in targets]
    dtype = same("dtype of 'masks'", [m.dtype for m in masks])
    given = torch.cat([m.reshape(-1) for m in masks]).view(torch.uint8)
    planes = np.repeat([m.shape[1] * m.shape[2] for m in masks], counts)
    rows = np.empty(len(number), _MASK)
    rows["source"], rows["sample"], rows["tile"] = (np.cumsum(planes) - planes)[number], tile // TILES, tile % TILES
    table = to_device(rows.view(np.int64), given.device)
    out = room(given, (len(rows), 1, size, size), torch.uint8)[:, 0]
    _native.mosaic_masks(given, table, samples, out, threads)
    return out.view(dtype)
