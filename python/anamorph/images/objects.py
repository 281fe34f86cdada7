"""Detection targets: dicts of an object's box, label, mask and points, of which those that are not seen any more are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anamorph.core.errors import ArgumentError, ShapeError
from anamorph.core.tensors import as_tensor
from anamorph.images.forms import INTEGERS, PARTNER, Planes, Rows, check_canvas, format_of, plain, rewrap, to_xyxy

OWN = 1
CARRIED = ("boxes", "masks", "keypoints")
OF_OBJECTS = ("labels", "area", "iscrowd")  # what cannot be anything else, torchvision's names
OF_PICTURES = ("image_id", "size", "orig_size")  # what is not an object's, however long it is: torchvision's and DETR's names


def carry_objects(plan: Any, targets: Sequence[Mapping[str, Any]], convention: str, **filters: Any) -> list[dict[str, Any]]:
    """:meth:`anamorph.Plan.apply_targets`."""
    if not isinstance(targets, list | tuple) or not all(isinstance(t, Mapping) for t in targets):
        raise ArgumentError(f"targets: expected a list of dicts, one for each sample, given {type(targets).__name__}")
    if len(targets) != len(plan.rows):
        raise ShapeError(f"targets: expected {len(plan.rows)} dicts, one for each sample, given {len(targets)}")
    for i, t in enumerate(targets):
        if "boxes" not in t:
            raise ArgumentError(f"targets[{i}]: expected a dict with 'boxes', given one with {list(t)}")
    names = {name for t in targets for name in t}
    for i, t in enumerate(targets):
        missing = [n for n in ("masks", "keypoints", "labels") if n in names and n not in t]
        if missing:
            raise ArgumentError(f"targets[{i}]: expected {missing[0]!r}, which other samples have, given a dict without")
    plan._no_given_mask("targets")
    given = Rows("targets", [t["boxes"] for t in targets], None, plan.rows, 4, plan.size, each="targets[{}]['boxes']")
    boxes, keep = plan._boxes_of_view(given, "xyxy", **filters)
    counts = given.lengths
    for i, t in enumerate(targets):
        for name in OF_OBJECTS:
            if name in t and not _has_rows(t[name], counts[i]):
                raise ShapeError(f"targets[{i}][{name!r}]: expected {counts[i]} rows, one for each box, given {_form(t[name])}")
    of_objects = {name for name in names if name not in (*CARRIED, *OF_PICTURES)
                  and all(_has_rows(t[name], n) for t, n in zip(targets, counts, strict=True) if name in t)}
    partners = plan._partners() if plan.recipe._mixes else list(range(len(targets)))
    masks = _carried_masks(plan, [t["masks"] for t in targets], counts, partners) if "masks" in names else None
    points = None
    if "keypoints" in names:
        points = _carried_keypoints(plan, [t["keypoints"] for t in targets], counts, partners, convention)
    out = []
    for i, t in enumerate(targets):
        k = partners[i]
        one: dict[str, Any] = dict(t)
        one["boxes"] = rewrap(plain(boxes[i])[keep[i]], t["boxes"], plan.output_size)
        if masks is not None:
            one["masks"] = rewrap(masks[i][keep[i]], t["masks"])
        if points is not None:
            one["keypoints"] = rewrap(points[i][keep[i]], t["keypoints"], plan.output_size)
        for name, value in t.items():
            if name not in of_objects:
                continue
            if k != i:
                other = targets[k].get(name)
                if not _has_rows(other, counts[k]):
                    raise ArgumentError(f"targets[{k}]: expected {name!r} with a row for each box, as its partner {i} has")
                value = _joined(name, value, other, i, k)
            one[name] = _kept(value, keep[i])
        if "area" in t:
            corners = to_xyxy(plain(one["boxes"]), format_of("boxes", t["boxes"]) or "xyxy")
            one["area"] = _as_given(area(corners, plain(one["masks"]) if "masks" in one else None), t["area"])
        out.append(one)
    return out


def area(boxes: Tensor, masks: Tensor | None) -> Tensor:
    """Of objects, [N]: the pixels of their masks [N, H, W], or where there are none of their boxes [N, 4], xyxy."""
    return (boxes[:, 2:] - boxes[:, :2]).prod(1) if masks is None else masks.flatten(1).ne(0).sum(1)


def _has_rows(value: Any, count: int) -> bool:
    """Is it a row for each object?"""
    several = isinstance(value, list) or (isinstance(value, Tensor | np.ndarray) and value.ndim > 0)
    return several and len(value) == count


def _form(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return str(list(shape)) if shape is not None else f"a {type(value).__name__}" + (
        f" of {len(value)}" if isinstance(value, list | tuple) else "")


def _joined(name: str, own: Any, theirs: Any, i: int, k: int) -> Any:
    """The rows of a mixed view's two pictures."""
    if isinstance(own, list) and isinstance(theirs, list):
        return [*own, *theirs]
    alike = any(isinstance(own, kind) and isinstance(theirs, kind) for kind in (Tensor, np.ndarray))
    if not alike or own.shape[1:] != theirs.shape[1:]:
        raise ShapeError(f"targets[{k}][{name!r}]: expected rows like those of targets[{i}], which it is mixed with, "
                         f"{_form(own)}, given {_form(theirs)}")
    return np.concatenate([own, theirs]) if isinstance(own, np.ndarray) else rewrap(torch.cat([plain(own), plain(theirs)]), own)


def _kept(value: Any, keep: Tensor) -> Any:
    """The rows of the objects that are left, as what was given."""
    if isinstance(value, Tensor):
        return rewrap(plain(value)[keep.to(value.device)], value)
    if isinstance(value, np.ndarray):
        return value[keep.cpu().numpy()]
    return [one for one, k in zip(value, keep.tolist(), strict=True) if k]


def _as_given(numbers: Tensor, given: Any) -> Any:
    """Numbers in the form that others were given in."""
    if isinstance(given, Tensor):
        return numbers.to(given.dtype)
    return numbers.cpu().numpy().astype(given.dtype) if isinstance(given, np.ndarray) else numbers.tolist()


def _carried_masks(plan: Any, masks: list[Any], counts: list[int], partners: list[int]) -> list[Tensor]:
    given = Planes("targets", masks, plan, *INTEGERS, each="targets[{}]['masks']")
    for i, t in enumerate(given.tensors):
        if t.dim() != 3 or len(t) != counts[i]:
            raise ShapeError(f"targets[{i}]['masks']: expected [{counts[i]}, H, W], one for each box, given {list(t.shape)}")
    if not plan.recipe._mixes:
        return [plain(m) for m in plan._into(given, judged=False)[0]]
    own, _ = plan._into(given, part=OWN, judged=False)
    theirs, _ = plan._into(given, part=PARTNER, judged=False)
    return [torch.cat([plain(a), plain(b)]) if k != i else plain(a)
            for i, (a, b, k) in enumerate(zip(own, theirs, partners, strict=True))]


def _carried_keypoints(plan: Any, points: list[Any], counts: list[int], partners: list[int], convention: str) -> list[Tensor]:
    names = [f"targets[{i}]['keypoints']" for i in range(len(points))]
    check_canvas(names, points, plan.size)
    tensors = [plain(as_tensor(*one)) for one in zip(names, points, strict=True)]
    for i, t in enumerate(tensors):
        if t.dim() != 3 or t.shape[0] != counts[i] or t.shape[2] not in (2, 3):
            raise ShapeError(f"{names[i]}: expected [{counts[i]}, K, 2] or [{counts[i]}, K, 3], given {list(t.shape)}")
    for i, k in enumerate(partners):
        if tensors[i].shape[1:] != tensors[k].shape[1:]:
            raise ShapeError(f"{names[k]}: expected points like those of targets[{i}], which it is mixed with, "
                             f"{list(tensors[i].shape)}, given {list(tensors[k].shape)}")
    given = Rows("targets", [t[..., :2].reshape(-1, 2) for t in tensors], None, plan.rows, 2, plan.size,
                 each="targets[{}]['keypoints']")
    moved, seen = plan._points_of_view(given, convention)
    out = []
    for i, k in enumerate(partners):
        both = torch.cat([tensors[i], tensors[k]]) if k != i else tensors[i]
        place, shown = moved[i].view(*both.shape[:2], 2), seen[i].view(both.shape[:2])
        if both.shape[2] == 3:
            flag = torch.where(shown, both[..., 2], torch.zeros_like(both[..., 2]))
            dtype = both.dtype if both.is_floating_point() else torch.float32  # places are no whole numbers any more
            place = torch.cat([torch.nan_to_num(place.to(dtype), 0.0), flag[..., None].to(dtype)], -1)
        out.append(place)
    return out


