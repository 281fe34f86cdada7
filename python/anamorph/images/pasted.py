"""The objects of a batch, whose masks are pasted over one another: checks of the targets, one table of all objects, and the
targets that are made of what is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anamorph import _native
from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.core.memory import room
from anamorph.core.move import to_device
from anamorph.core.tensors import as_integers, as_tensor
from anamorph.images.forms import plain, rewrap
from anamorph.images.objects import OF_PICTURES
from anamorph.images.picture import check_dtype
from anamorph.images.ragged import check_grad
from anamorph.images.recipe import MAX_EPOCH

_SHAPES = {"boxes": "[n, 4]", "labels": "[n]", "masks": "[n, H, W]"}


def check_images(images: Any) -> Tensor:
    """A batch [B, C, H, W]."""
    given = as_tensor("images", images)
    check_dtype("images", given, images)
    check_grad("images", given)
    if given.dim() != 4 or not len(given):
        raise ShapeError(f"images: expected [B, C, H, W] with B >= 1, given {list(given.shape)}")
    if not all(1 <= side <= checks.MAX_SIDE for side in given.shape[2:]):
        raise ShapeError(f"images: expected {checks.SIDES}, given {list(given.shape)}")
    if not 1 <= given.shape[1] <= checks.MAX_CHANNELS:
        raise ShapeError(f"images: expected [B, C, H, W] with 1 to {checks.MAX_CHANNELS} channels, given {list(given.shape)}")
    return given.detach().as_subclass(Tensor)


def check_draw(index: Any, seed: Any, epoch: Any, batch: int) -> tuple[Tensor, int, int]:
    """Sample ids on the host, seed and epoch."""
    ids = as_integers("index", index, device=torch.device("cpu")).contiguous()
    if list(ids.shape) != [batch]:
        raise ShapeError(f"index: expected [{batch}], a sample id for each picture, given shape {list(ids.shape)}")
    return ids, checks.whole("seed", seed, 0, 2**64 - 1), checks.whole("epoch", epoch, 0, MAX_EPOCH)


class Objects:
    """The objects of a batch's targets, one after the other."""

    counts: list[int]  # of each picture
    masks: Tensor  # uint8 [N, H, W]
    entries: dict[str, Tensor]  # of each object: boxes, labels, and what else has a row for each

    def __init__(self, targets: Any, images: Tensor) -> None:
        if not isinstance(targets, Sequence) or isinstance(targets, str | bytes):
            raise ArgumentError(f"targets: expected a list of dicts, one for each picture, given {type(targets).__name__}")
        if len(targets) != len(images):
            raise ShapeError(f"targets: expected {len(images)} dicts, one for each picture, given {len(targets)}")
        self.targets = targets
        self.counts = [_check(i, target, images) for i, target in enumerate(targets)]
        masks = [plain(target["masks"]) for target in targets]
        kinds = {mask.dtype for mask in masks}
        if len(kinds) > 1:
            raise DtypeError(f"targets: expected masks of one dtype, given {sorted(map(str, kinds))}")
        self.mask_dtype = kinds.pop()
        self.masks = torch.cat([mask.detach() for mask in masks]).contiguous().view(torch.uint8)
        self.entries = {name: together(name, targets) for name in ("boxes", "labels", *following(targets, self.counts, _SHAPES))}

    def offsets(self) -> np.ndarray:
        """Of each picture's first object; int64 [B + 1]."""
        return np.concatenate([[0], np.cumsum(self.counts)])


def following(targets: Sequence[dict[str, Any]], counts: Sequence[int], apart: Iterable[str]) -> list[str]:
    """Entries with a row for each object, in every target; ``apart``: those that are not looked at."""
    names = []
    for name in targets[0]:
        if name in apart or name in OF_PICTURES:
            continue
        values = [target.get(name) for target in targets]
        if all(isinstance(v, Tensor) and v.dim() and len(v) == n for v, n in zip(values, counts, strict=True)):
            names.append(name)
    for i, target in enumerate(targets):
        for name in ("area", "iscrowd", "keypoints", "labels", "masks"):
            if name in target and name not in names and name not in apart:
                raise ArgumentError(f"targets[{i}]: expected {name!r} with a row for each object in every target or in none")
    return names


def same(what: str, values: Sequence[Any]) -> Any:
    """What all of them are."""
    if len(set(values)) > 1:
        raise ArgumentError(f"targets: expected one {what}, given {sorted({str(v) for v in values})}")
    return values[0]


def together(name: str, targets: Sequence[Any]) -> Tensor:
    """An entry of all objects of the batch."""
    values = [plain(target[name]).detach() for target in targets]
    same(f"dtype of {name!r}", [v.dtype for v in values])
    shapes = {tuple(v.shape[1:]) for v in values}
    if len(shapes) > 1:
        raise ShapeError(f"targets: expected {name!r} of one shape but for the number of objects, given "
                         f"{sorted([len(v), *v.shape[1:]] for v in values)}")
    return torch.cat(values)


def _check(i: int, target: Any, images: Tensor) -> int:
    where = f"targets[{i}]"
    if not isinstance(target, dict):
        raise ArgumentError(f"{where}: expected a dict, given {type(target).__name__}")
    for name, shape in _SHAPES.items():
        value = target.get(name)
        if not isinstance(value, Tensor):
            given = "none" if value is None else type(value).__name__
            raise ArgumentError(f"{where}: expected {name!r}, a tensor {shape}, given {given}")
        if value.device != images.device:
            raise DeviceError(f"{where}[{name!r}]: expected on {images.device} like the images, given on {value.device}")
    boxes, labels, masks = (target[name] for name in _SHAPES)
    n = check_boxes(where, boxes)
    form = getattr(getattr(boxes, "format", None), "value", "XYXY")
    if form != "XYXY":
        raise ArgumentError(f"{where}['boxes']: expected boxes of format XYXY, given {form}")
    if list(labels.shape) != [n]:
        raise ShapeError(f"{where}['labels']: expected [{n}], one for each box, given {list(labels.shape)}")
    if labels.dtype != torch.int64:
        raise DtypeError(f"{where}['labels']: expected int64, given {labels.dtype}")
    check_masks(where, masks, n, images.shape[2:])
    return n


def check_boxes(where: str, boxes: Tensor) -> int:
    """How many boxes a target has."""
    if boxes.dim() != 2 or boxes.shape[1] != 4:
        raise ShapeError(f"{where}['boxes']: expected [n, 4], given {list(boxes.shape)}")
    if boxes.dtype != torch.float32:
        raise DtypeError(f"{where}['boxes']: expected float32, given {boxes.dtype}")
    if not boxes.is_cuda and not bool(boxes.isfinite().all()):  # on a device it would be a host copy
        raise ArgumentError(f"{where}['boxes']: expected finite numbers, given {boxes[~boxes.isfinite()][0].item()}")
    return len(boxes)


def check_masks(where: str, masks: Any, n: int, size: Sequence[int]) -> None:
    """Those of n objects of a picture (height, width)."""
    if not isinstance(masks, Tensor) or list(masks.shape) != [n, *size]:
        given = list(masks.shape) if isinstance(masks, Tensor) else type(masks).__name__
        raise ShapeError(f"{where}['masks']: expected [{n}, {size[0]}, {size[1]}], one for each box, given {given}")
    if masks.dtype not in (torch.bool, torch.uint8):
        raise DtypeError(f"{where}['masks']: expected bool or uint8, given {masks.dtype}")


@dataclass
class Layers:
    """The objects of a batch after pasting, also those of which nothing is left: in each picture the old, then the pasted."""

    source: np.ndarray  # int64 [N]: which of the given objects it is; -1: one of a cut-out, whose mask is in its plane already
    pasted: np.ndarray  # bool [N]
    counts: np.ndarray  # int64 [B]

    @property
    def first(self) -> np.ndarray:
        """Of each picture's first object, and their number; int64 [B + 1]."""
        return np.concatenate([[0], np.cumsum(self.counts)])


def new_planes(objects: Objects, count: int) -> Tensor:
    """Room for masks, uint8 [count, H, W]."""
    h, w = objects.masks.shape[1:]
    return room(objects.masks, (count, 1, h, w), torch.uint8)[:, 0]


def cover(objects: Objects, layers: Layers, masks: Tensor, front: Tensor | None, threads: int) -> tuple[Tensor, Tensor]:
    """Takes off every mask what is pasted over it. One launch.

    Args:
        masks: uint8 ``[N, H, W]``, the planes that are written; those of cut-outs are there.
        front: uint8 ``[B, H, W]`` for where something is pasted, or None.

    Returns:
        Two int32 ``[N, 5]``, each mask's area and tight box (left, top, right, bottom; the edges of its pixels) before and after.
    """
    n, h, w = masks.shape
    extents = torch.tensor([0, w, h, 0, 0], dtype=torch.int32).repeat(n, 2, 1)
    if masks.is_cuda:
        extents = to_device(extents, masks.device)
    table = np.stack([layers.source, layers.pasted], 1).astype(np.int32)
    first = layers.first.astype(np.int32)
    _native.paste_objects(objects.masks, to_device(table, masks.device), to_device(first, masks.device), masks, extents, front,
                          threads)
    before, after = extents.unbind(1)
    return before, after


def collect(objects: Objects, layers: Layers, masks: Tensor, before: Tensor, after: Tensor, keep: Tensor,
            labels: Tensor | None = None) -> list[dict[str, Any]]:
    """The targets of what is kept. ``labels``: int64 [N], of cut-outs where ``source`` is -1."""
    kept = keep.cpu()  # on a GPU the host waits here, for how many objects each picture has
    each = [part.nonzero()[:, 0] + begin for part, begin in zip(kept.split(layers.counts.tolist()), layers.first, strict=False)]
    left = to_device(torch.cat(each), masks.device)
    source = to_device(layers.source, masks.device)[left]
    own, rows, after = source < 0, source.clamp_min(0), after[left]
    measured = own | (before[left, 0] > after[:, 0])
    if len(left) < len(masks):
        masks = torch.index_select(masks, 0, left, out=new_planes(objects, len(left)))
    entries = {"masks": masks.view(objects.mask_dtype)}
    for name, given in objects.entries.items():
        values = given[rows] if len(given) else given.new_zeros((len(rows), *given.shape[1:]))
        if name == "boxes":
            values = torch.where(measured[:, None], after[:, 1:].to(torch.float32), values)
        elif name == "labels" and labels is not None:
            values = torch.where(own, labels[left], values)
        elif name == "area":
            values = after[:, 0].to(values.dtype)
        elif labels is not None:
            values = values.masked_fill(own.view(-1, *[1] * (values.dim() - 1)), 0)
        entries[name] = values
    numbers = [len(part) for part in each]
    parts = {name: values.split(numbers) for name, values in entries.items()}
    return [{**target, **{name: rewrap(values[i], target[name]) for name, values in parts.items()}}
            for i, target in enumerate(objects.targets)]
