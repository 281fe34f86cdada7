"""COCO's annotations of one picture to the target that a plan carries, and a target to annotations."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, ShapeError
from anamorph.core.tensors import as_device, as_tensor
from anamorph.data.segmentation import mask_of, numbers, rle_of
from anamorph.images.forms import format_of, plain, to_xyxy
from anamorph.images.objects import area

MOST_POINTS = 1 << 16


def targets(annotations: Sequence[Mapping[str, Any]], size: tuple[int, int], *, categories: Sequence[int] | None = None,
            masks: bool = False, keypoints: int = 0, device: Any = None) -> dict[str, Any]:
    """What :meth:`anamorph.Plan.apply_targets` takes for a picture, of its annotations in COCO's format (Lin et al., ECCV 2014).

    Args:
        annotations: the dicts of one picture's objects: "bbox" (x, y, width, height), "category_id"; "segmentation" for ``masks``
            (a list of polygons, or runs ``{"size", "counts"}`` with counts as a list or as text), "keypoints" (x, y, v for each
            point); and, where they are there, "area", "iscrowd", "image_id". Other entries are not read.
        size: the picture's (height, width) in pixels.
        categories: the ids of categories whose place in the list is the label; objects of others are left out. None: the label is
            the id.
        masks: with "masks". Polygons are filled by pycocotools' rule, to the pixel.
        keypoints: with "keypoints": how many points an object has, 17 in COCO's people; 0: without. An object that has none has
            points with v = 0.
        device: where the tensors are. None: the CPU.

    Returns:
        torchvision's dict: "boxes" float32 ``[N, 4]``, xyxy as they are given, also beyond the picture; "labels" int64 ``[N]``;
        "area" float32 ``[N]`` as given, or else of the mask or the box; "iscrowd" int64 ``[N]``, so a crowd's region stays one;
        "masks" uint8 ``[N, H, W]``; "keypoints" float32 ``[N, K, 3]``, (x, y, v) as given; and "image_id", if the annotations
        have it.

    Raises:
        ArgumentError, ShapeError, DeviceError: what was given and what is expected, with the annotation's number and id.
    """
    if not isinstance(annotations, list | tuple) or not all(isinstance(a, Mapping) for a in annotations):
        raise ArgumentError(f"annotations: expected a list of dicts, one for each object, given {type(annotations).__name__}")
    height, width = checks.size("size", size)
    masks, points = checks.flag("masks", masks), _count(keypoints)
    place = torch.device("cpu") if device is None else as_device(device)
    named = [(f"annotations[{i}]" + (f" (id {a['id']})" if "id" in a else ""), a) for i, a in enumerate(annotations)]
    pictures = {checks.whole(f"{where}['image_id']", a["image_id"]) for where, a in named if "image_id" in a}
    if len(pictures) > 1:
        checks.wrong("annotations", "those of one picture", f"image_id {', '.join(sorted(map(str, pictures)))}")
    labels = {id: i for i, id in enumerate(_ids(categories))} if categories is not None else None
    kept = []
    for where, a in named:
        category = checks.whole(f"{where}['category_id']", _entry(where, a, "category_id"), 0, 2**63 - 1)
        if labels is None or category in labels:
            kept.append((where, a, category if labels is None else labels[category]))
    boxes, areas, crowds, planes, places = [], [], [], [], []
    for where, a, _ in kept:
        boxes.append(_box(where, a))
        mask = mask_of(f"{where}['segmentation']", _entry(where, a, "segmentation"), (height, width)) if masks else None
        measured = boxes[-1][2] * boxes[-1][3] if mask is None else np.count_nonzero(mask)
        if "area" in a:
            measured = checks.number(f"{where}['area']", a["area"], 0)
        areas.append(checks.number(f"{where}['bbox']", measured, 0, expected="a box whose area float32 holds"))
        crowd = a.get("iscrowd", 0)
        crowds.append(checks.whole(f"{where}['iscrowd']", int(crowd) if isinstance(crowd, bool) else crowd, 0, 1))
        if mask is not None:
            planes.append(mask)
        if points:
            places.append(_points(where, a, points))
    corners = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    target: dict[str, Any] = {"boxes": torch.from_numpy(corners.astype(np.float32)),
                              "labels": torch.tensor([label for _, _, label in kept], dtype=torch.int64),
                              "area": torch.tensor(areas, dtype=torch.float32),
                              "iscrowd": torch.tensor(crowds, dtype=torch.int64)}
    if masks:
        target["masks"] = torch.from_numpy(np.array(planes, dtype=np.uint8).reshape(-1, height, width))
    if points:
        target["keypoints"] = torch.from_numpy(np.array(places, dtype=np.float32).reshape(-1, points, 3))
    target = {name: value.to(place) for name, value in target.items()}
    if pictures:
        target["image_id"] = pictures.pop()
    return target


def annotations(target: Mapping[str, Any], *, image_id: int | None = None, categories: Sequence[int] | None = None,
                first_id: int = 1) -> list[dict[str, Any]]:
    """A target's objects as COCO's annotations, of plain Python numbers: ``json.dump`` writes them. :func:`targets`' inverse.

    Args:
        target: "boxes" ``[N, 4]`` xyxy (or tv_tensors.BoundingBoxes) and "labels" ``[N]``; any of "masks" ``[N, H, W]``,
            "keypoints" ``[N, K, 3]``, "area", "iscrowd" and "scores" ``[N]``.
        image_id: the picture's. None: the target's own entry.
        categories: the ids of which the labels are places, as :func:`targets`'. None: the labels are ids.
        first_id: the first annotation's id; the others follow. COCO's own evaluation takes id 0 for none.

    Returns:
        A dict for each object: "id", "image_id", "category_id", "bbox" (x, y, width, height), "area" (as given, or else of the
        mask or the box), "iscrowd"; "segmentation", the mask's runs as text; "keypoints", where a point with v = 0 is 0, 0, 0,
        with "num_keypoints", how many others there are; "score", which makes it one of COCO's results.

    Raises:
        ArgumentError, ShapeError: what was given and what is expected.
    """
    if not isinstance(target, Mapping) or "boxes" not in target or "labels" not in target:
        given = list(target) if isinstance(target, Mapping) else target
        checks.wrong("target", "a dict with 'boxes' and 'labels'", given)
    picture = target.get("image_id") if image_id is None else image_id
    if isinstance(picture, Tensor) and picture.numel() == 1:  # torchvision's older references have it so
        picture = picture.reshape(())
    picture = checks.whole("image_id", picture)
    first_id = checks.whole("first_id", first_id, 0)
    format = format_of("boxes", target["boxes"]) or "xyxy"
    corners = to_xyxy(_array("boxes", target, None, 4).to(torch.float64), format)
    n = len(corners)
    sizes = corners[:, 2:] - corners[:, :2]
    if not bool(torch.isfinite(corners).all()) or bool((sizes < 0).any()):
        raise ArgumentError("target['boxes']: expected finite corners, left <= right and top <= bottom, given others")
    columns: dict[str, list[Any]] = {"bbox": torch.cat([corners[:, :2], sizes], 1).tolist()}
    columns["category_id"] = _categories(_array("labels", target, n), categories)
    masks = _array("masks", target, n, None, None) if "masks" in target else None
    columns["area"] = (_finite("area", target, n) if "area" in target else area(corners, masks)).tolist()
    columns["iscrowd"] = _array("iscrowd", target, n).to(torch.int64).tolist() if "iscrowd" in target else [0] * n
    if masks is not None:
        columns["segmentation"] = [rle_of(mask) for mask in masks.numpy()]
    if "keypoints" in target:
        points = _array("keypoints", target, n, None, 3).to(torch.float64)
        shown = points[..., 2:] > 0
        points = torch.where(shown, points, 0.0)
        if not bool(torch.isfinite(points).all()):
            raise ArgumentError("target['keypoints']: expected finite places of points with v above 0, given others")
        columns["keypoints"] = points.flatten(1).tolist()
        columns["num_keypoints"] = shown.sum((1, 2)).tolist()
    if "scores" in target:
        columns["score"] = _finite("scores", target, n).tolist()
    return [{"id": first_id + i, "image_id": picture, **{name: column[i] for name, column in columns.items()}} for i in range(n)]


# ---- of an annotation ----


def _count(keypoints: Any) -> int:
    if isinstance(keypoints, bool):
        checks.wrong("keypoints", "how many points an object has, such as 17, or 0", keypoints)
    return checks.whole("keypoints", keypoints, 0, MOST_POINTS)


def _entry(where: str, annotation: Mapping[str, Any], name: str) -> Any:
    if name not in annotation:
        checks.wrong(where, f"a dict with {name!r}", list(annotation))
    return annotation[name]


def _box(where: str, annotation: Mapping[str, Any]) -> list[float]:
    expected = "(x, y, width, height), neither side below 0"
    given = _entry(where, annotation, "bbox")
    box = numbers(f"{where}['bbox']", given, expected).tolist()
    if len(box) != 4 or min(box[2:]) < 0:
        checks.wrong(f"{where}['bbox']", expected, given)
    return box


def _points(where: str, annotation: Mapping[str, Any], count: int) -> list[float]:
    given = annotation.get("keypoints")
    if given is None:
        return [0.0] * (3 * count)
    where, expected = f"{where}['keypoints']", f"x, y, v for each of {count} points"
    each = numbers(where, given, expected)
    if len(each) != 3 * count:
        checks.wrong(where, f"{3 * count} numbers, {expected}", f"{len(each)} numbers")
    if not bool(np.isin(each[2::3], (0, 1, 2)).all()):
        checks.wrong(where, "v of 0, 1 or 2: not labelled, hidden, seen", given)
    return each.tolist()


# ---- of a target ----


def _ids(categories: Any) -> list[int]:
    if not checks.is_sequence(categories):
        checks.wrong("categories", "a list of category ids", categories)
    ids = [checks.whole(f"categories[{i}]", c, 0) for i, c in enumerate(categories)]
    if len({*ids}) < len(ids):
        checks.wrong("categories", "each id once", ids)
    return ids


def _categories(labels: Tensor, categories: Sequence[int] | None) -> list[int]:
    if labels.dtype.is_floating_point or labels.dtype == torch.bool:
        raise ArgumentError(f"target['labels']: expected integers, given {labels.dtype}")
    given: list[int] = labels.tolist()
    if categories is None:
        return given
    ids = _ids(categories)
    for label in given:
        if not 0 <= label < len(ids):
            checks.wrong("target['labels']", f"labels from 0 to {len(ids) - 1}, places in categories", label)
    return [ids[label] for label in given]


def _array(name: str, target: Mapping[str, Any], *shape: int | None) -> Tensor:
    """An entry on the host; None: any length."""
    t = plain(as_tensor(f"target[{name!r}]", target[name])).detach().cpu()
    if t.dim() != len(shape) or any(want not in (None, has) for want, has in zip(shape, t.shape, strict=True)):
        free = iter({"masks": "HW", "keypoints": "K"}.get(name, "N"))
        of = ", ".join(str(want) if want is not None else next(free) for want in shape)
        raise ShapeError(f"target[{name!r}]: expected [{of}], given {list(t.shape)}")
    return t


def _finite(name: str, target: Mapping[str, Any], n: int) -> Tensor:
    t = _array(name, target, n)
    if t.is_complex() or not bool(torch.isfinite(t).all()):
        raise ArgumentError(f"target[{name!r}]: expected finite numbers, which JSON can hold, given {t.tolist()}")
    return t
