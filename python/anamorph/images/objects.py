"""Detection targets: dicts of an object's box, label, mask and points, of which those that are not seen any more are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from anamorph.core.errors import ArgumentError, ShapeError
from anamorph.core.tensors import as_tensor
from anamorph.images.forms import INTEGERS, PARTNER, Planes, format_of, plain, rewrap, to_xyxy

OWN = 1


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
    boxes, keep = plan.apply_boxes([t["boxes"] for t in targets], **filters)
    counts = [len(t["boxes"]) for t in targets]
    partners = plan._partners() if plan.recipe._mixes else list(range(len(targets)))
    masks = _carried_masks(plan, [t["masks"] for t in targets], partners) if "masks" in names else None
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
            if name in ("boxes", "masks", "keypoints"):
                continue
            if isinstance(value, Tensor) and value.dim() and len(value) == counts[i]:
                both = value
                if k != i:
                    other = targets[k].get(name)
                    if not isinstance(other, Tensor) or len(other) != counts[k]:
                        raise ArgumentError(f"targets[{k}]: expected {name!r} with a row for each box, as its partner {i} has")
                    both = torch.cat([plain(value), plain(other)])
                one[name] = rewrap(plain(both)[keep[i]], value)
        if "area" in t:
            corners = to_xyxy(plain(one["boxes"]), format_of("boxes", t["boxes"]) or "xyxy")
            one["area"] = area(corners, plain(one["masks"]) if "masks" in one else None).to(t["area"].dtype)
        out.append(one)
    return out


def area(boxes: Tensor, masks: Tensor | None) -> Tensor:
    """Of objects, [N]: the pixels of their masks [N, H, W], or where there are none of their boxes [N, 4], xyxy."""
    return (boxes[:, 2:] - boxes[:, :2]).prod(1) if masks is None else masks.flatten(1).ne(0).sum(1)


def _carried_masks(plan: Any, masks: list[Any], partners: list[int]) -> list[Tensor]:
    given = Planes("masks", masks, plan, *INTEGERS)
    if not plan.recipe._mixes:
        return [plain(m) for m in plan._into(given, judged=False)[0]]
    own, _ = plan._into(given, part=OWN, judged=False)
    theirs, _ = plan._into(given, part=PARTNER, judged=False)
    return [torch.cat([plain(a), plain(b)]) if k != i else plain(a)
            for i, (a, b, k) in enumerate(zip(own, theirs, partners, strict=True))]


def _carried_keypoints(plan: Any, points: list[Any], counts: list[int], partners: list[int], convention: str) -> list[Tensor]:
    tensors = [plain(as_tensor(f"targets[{i}]['keypoints']", p)) for i, p in enumerate(points)]
    for i, t in enumerate(tensors):
        if t.dim() != 3 or t.shape[0] != counts[i] or t.shape[2] not in (2, 3):
            raise ShapeError(f"targets[{i}]['keypoints']: expected [{counts[i]}, K, 2] or [{counts[i]}, K, 3], given "
                             f"{list(t.shape)}")
    moved, seen = plan.apply_keypoints([t[..., :2].reshape(-1, 2) for t in tensors], convention=convention)
    out = []
    for i, k in enumerate(partners):
        both = torch.cat([tensors[i], tensors[k]]) if k != i else tensors[i]
        place, shown = moved[i].view(*both.shape[:2], 2), seen[i].view(both.shape[:2])
        if both.shape[2] == 3:
            flag = torch.where(shown, both[..., 2], torch.zeros_like(both[..., 2]))
            place = torch.cat([torch.nan_to_num(place.to(both.dtype), 0.0), flag[..., None]], -1)
        out.append(place)
    return out


