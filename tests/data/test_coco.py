"""COCO's format in and out: against pycocotools to the pixel and the letter, against torchvision's targets, there and back."""

import json
import math
import sys
import tracemalloc

import numpy as np
import pytest
import torch
from pycocotools import mask as reference
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import anamorph as am
from anamorph.bench._torchvision import v2 as load_torchvision
from anamorph.data.segmentation import mask_of, rle_of
from loading import encoded, picture

# pycocotools' own, with NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")

SIZE = H, W = 48, 64
TRIANGLE = [10.0, 8.0, 40.0, 8.0, 10.0, 30.0]


def annotation(**entries):
    return {"id": 5, "image_id": 7, "category_id": 3, "bbox": [10.0, 8.0, 30.0, 22.0], "area": 330.0, "iscrowd": 0,
            "segmentation": [TRIANGLE], "keypoints": [12, 9, 2, 35, 9, 1, 0, 0, 0], **entries}


CROWD = annotation(id=6, category_id=9, iscrowd=1, bbox=[0, 0, 64, 2], area=128, keypoints=[0] * 9,
                   segmentation={"size": [H, W], "counts": [0, 2, *[46, 2] * 63, 46]})  # the two rows at the top


def as_text(segmentation):
    return rle_of(mask_of("", segmentation, SIZE))["counts"]


def their_mask(segmentation, size):
    if isinstance(segmentation, list):
        return reference.decode(reference.merge(reference.frPyObjects(segmentation, *size)))
    counts = segmentation["counts"]
    return reference.decode(reference.frPyObjects(segmentation, *size) if isinstance(counts, list) else segmentation)


# ---- pixels ----


def test_a_rectangles_pixels():
    """By hand: pixels whose centres lie inside."""
    mask = mask_of("", [[1, 1, 4, 1, 4, 3, 1, 3]], (5, 6))
    assert mask.tolist() == [[0] * 6, [0, 1, 1, 1, 0, 0], [0, 1, 1, 1, 0, 0], [0] * 6, [0] * 6]


def test_runs_go_down_the_columns():
    assert mask_of("", {"size": [2, 3], "counts": [1, 2, 3]}, (2, 3)).tolist() == [[0, 1, 0], [1, 0, 0]]


@pytest.mark.parametrize("corners", ["anywhere", "whole", "tenths", "closed", "crossing", "huge"])
def test_polygons_are_pycocotools_to_the_pixel(corners):
    random = np.random.default_rng(len(corners))
    filled = 0
    for _ in range(200):
        size = h, w = random.integers(1, 70, 2).tolist()
        polygons = []
        for _ in range(int(random.integers(1, 4))):
            n = int(random.integers(3, 12))
            angles = np.sort(random.uniform(0, 2 * np.pi, n)) if corners != "crossing" else random.uniform(0, 2 * np.pi, n)
            radius = random.uniform(3, 300 if corners == "huge" else 50, (n, 1))
            points = random.uniform(-10, 80, 2) + radius * np.stack([np.cos(angles), np.sin(angles)], 1)
            points = {"whole": points.round(), "tenths": points.round(1)}.get(corners, points)
            polygons.append(np.concatenate([points, points[:1]] if corners == "closed" else [points]).ravel().tolist())
        mask = mask_of("", polygons, size)
        assert mask.dtype == np.uint8 and np.array_equal(mask, their_mask(polygons, size)), (polygons, size)
        filled += 0 < mask.sum() < h * w
    assert filled > 50


def star(size, count):
    """A polygon whose sides go to and fro between the middle of a picture and its border."""
    h, w = size
    angle, radius = np.linspace(0, 2 * np.pi, count, endpoint=False), np.where(np.arange(count) % 2, 0.5, 0.05)
    return np.stack([w / 2 + w * radius * np.cos(angle), h / 2 + h * radius * np.sin(angle)], 1).ravel().tolist()


@pytest.mark.parametrize("size", [(3000, 2500), (40, 20000), (20000, 40)])
def test_large_polygons_are_pycocotools_to_the_pixel(size):
    """Sides of ten thousands of steps, nearly upright or level."""
    random = np.random.default_rng(0)
    corners = random.uniform(-0.2, 1.2, (300, 2)) * size[::-1]
    for polygon in (star(size, 300), corners.ravel().tolist(), corners.round().ravel().tolist()):
        mask = mask_of("", [polygon], size)
        assert np.array_equal(mask, their_mask([polygon], size)) and 0.01 < mask.mean() < 0.99


def test_a_large_polygon_takes_what_its_picture_takes():
    """Not what following all of its sides in fifths of a pixel takes, which is a hundred times as much."""
    size, count = (3000, 3000), 2000
    polygon = star(size, count)
    tracemalloc.start()
    mask = mask_of("", [polygon], size)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    crossings = count * 0.45 * size[1] * 2 / np.pi  # of the middles of columns, 8 bytes each
    assert mask.any() and most < 4 * mask.nbytes + 5 * 8 * crossings + (1 << 24)


def test_text_is_pycocotools_to_the_letter():
    random = np.random.default_rng(0)
    masks = [np.zeros((3, 4)), np.ones((3, 4)), np.eye(1), np.zeros((700, 900))]
    masks[3][600:, 1:] = 1
    masks += [random.random(random.integers(1, 60, 2)) < random.random() for _ in range(300)]
    for mask in masks:
        theirs = reference.encode(np.asfortranarray(mask, dtype=np.uint8))
        ours = rle_of(mask)
        assert ours == {"size": list(mask.shape), "counts": theirs["counts"].decode()}
        for counts in (ours["counts"], theirs["counts"]):
            assert np.array_equal(mask_of("", {"size": mask.shape, "counts": counts}, mask.shape), mask)


@pytest.mark.parametrize("given", [[TRIANGLE], CROWD["segmentation"], {"size": [H, W], "counts": as_text([TRIANGLE])},
                                   {"size": [H, W], "counts": as_text([TRIANGLE]).encode()}],
                         ids=["polygon", "list", "text", "bytes"])
def test_every_form_of_a_segmentation(given):
    (mask,) = am.coco.targets([annotation(segmentation=given)], SIZE, masks=True)["masks"]
    assert np.array_equal(mask.numpy(), their_mask(given, SIZE)) and mask.sum() > 100


# ---- in ----


def test_a_target_by_hand():
    target = am.coco.targets([annotation(), CROWD], SIZE, masks=True, keypoints=3)
    expected = {
        "boxes": torch.tensor([[10.0, 8, 40, 30], [0, 0, 64, 2]]), "labels": torch.tensor([3, 9]),
        "area": torch.tensor([330.0, 128]), "iscrowd": torch.tensor([0, 1]),
        "keypoints": torch.tensor([[[12.0, 9, 2], [35, 9, 1], [0, 0, 0]], [[0.0, 0, 0]] * 3]),
    }
    for name, value in expected.items():
        assert target[name].dtype == value.dtype and torch.equal(target[name], value), name
    assert target["masks"].shape == (2, *SIZE) and target["masks"].dtype == torch.uint8
    assert target["masks"][1, :2].all() and not target["masks"][1, 2:].any() and target["image_id"] == 7
    assert {*target} == {*expected, "masks", "image_id"}


def test_what_is_not_asked_for_or_not_there():
    bare = {"bbox": [1, 2, 3, 4], "category_id": 1}
    target = am.coco.targets([bare], SIZE)
    assert {*target} == {"boxes", "labels", "area", "iscrowd"} and target["area"].tolist() == [12]
    assert am.coco.targets([bare], SIZE, keypoints=2)["keypoints"].tolist() == [[[0, 0, 0], [0, 0, 0]]]
    outlined = am.coco.targets([{**bare, "segmentation": [TRIANGLE]}], SIZE, masks=True)
    assert outlined["area"].item() == outlined["masks"].sum().item()


def test_a_picture_without_objects():
    target = am.coco.targets([], SIZE, masks=True, keypoints=17)
    assert [list(target[name].shape) for name in ("boxes", "labels", "area", "iscrowd", "masks", "keypoints")] == [
        [0, 4], [0], [0], [0], [0, *SIZE], [0, 17, 3]]
    plan = am.Recipe([am.Resize(24)]).plan([0, 1], size=SIZE)
    both = plan.apply_targets([target, am.coco.targets([annotation()], SIZE, masks=True, keypoints=3)])
    assert both[0]["masks"].shape[0] == 0 and len(both[1]["boxes"]) == 1
    assert am.coco.annotations(both[0], image_id=3) == []


def test_categories_are_places_in_a_list():
    given = [annotation(category_id=c) for c in (9, 4, 3)]
    target = am.coco.targets(given, SIZE, categories=[0, 3, 9])
    assert target["labels"].tolist() == [2, 1]
    assert [a["category_id"] for a in am.coco.annotations(target, categories=[0, 3, 9])] == [9, 3]


def written(folder, count=4):
    """A data set of pictures with one to three objects, and its parts."""
    random = np.random.default_rng(0)
    (folder / "pictures").mkdir()
    whole = {"images": [], "annotations": [], "categories": [
        {"id": 1, "name": "person", "keypoints": ["nose", "hand"], "skeleton": [[1, 2]]}, {"id": 18, "name": "dog"}]}
    for i in range(count):
        h, w = 40 + 6 * i, 70 - 4 * i
        (folder / "pictures" / f"{i}.png").write_bytes(encoded(picture(h, w, i), "PNG"))
        whole["images"].append({"id": 100 + i, "file_name": f"{i}.png", "height": h, "width": w})
        for k in range(i % 3 + (i > 0)):
            x, y = random.uniform(0, 30, 2).round(2).tolist()
            corners = [x, y, x + 20.5, y + 1, x + 18, y + 9.25, x + 4, y + 9]
            segmentation = [corners, [x + 1, y, x + 6, y, x + 6, y + 4]]
            if k == 1:
                segmentation = {"size": [h, w], "counts": reference.encode(np.asfortranarray(their_mask([corners], (h, w))))
                                ["counts"].decode()}
            whole["annotations"].append({"id": len(whole["annotations"]) + 1, "image_id": 100 + i, "category_id": (1, 18)[k % 2],
                                         "bbox": [x, y, 20.5, 9.25], "area": 150.25, "iscrowd": 0, "segmentation": segmentation,
                                         "keypoints": [x + 1, y + 1, 2, 0, 0, 0]})
    (folder / "instances.json").write_text(json.dumps(whole))
    return folder / "instances.json", folder / "pictures", whole


def test_against_torchvisions_dataset(tmp_path):
    load_torchvision()
    from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2

    file, folder, _ = written(tmp_path)
    theirs = wrap_dataset_for_transforms_v2(CocoDetection(str(folder), str(file)),
                                            target_keys=["boxes", "labels", "masks", "image_id"])
    ours = am.coco.Dataset(file, folder, masks=True)
    assert len(theirs) == len(ours) == 4
    for (image, target), (pixels, own) in zip(theirs, ours, strict=True):
        assert np.array_equal(np.asarray(image), pixels.permute(1, 2, 0)) and target["image_id"] == own["image_id"]
        if "boxes" in target:  # theirs has no more than the id where there is no object
            assert torch.allclose(target["boxes"].as_subclass(torch.Tensor), own["boxes"], atol=1e-5)  # theirs adds in float32
            assert torch.equal(target["labels"], own["labels"])
            assert torch.equal(target["masks"].as_subclass(torch.Tensor), own["masks"])


# ---- out ----


def test_annotations_by_hand():
    target = am.coco.targets([annotation(), CROWD], SIZE, masks=True, keypoints=3)
    first, second = am.coco.annotations(target, first_id=20)
    assert first == {"id": 20, "image_id": 7, "category_id": 3, "bbox": [10, 8, 30, 22], "area": 330, "iscrowd": 0,
                     "segmentation": {"size": [H, W], "counts": as_text([TRIANGLE])}, "keypoints": [12, 9, 2, 35, 9, 1, 0, 0, 0],
                     "num_keypoints": 2}
    assert second["iscrowd"] == 1 and second["id"] == 21 and second["num_keypoints"] == 0
    assert json.loads(json.dumps([first, second])) == [first, second]
    result = {"boxes": torch.tensor([[1, 2, 5, 4]]), "labels": [8], "scores": torch.tensor([0.5])}
    (other,) = am.coco.annotations(result, image_id=1)
    assert other == {"id": 1, "image_id": 1, "category_id": 8, "bbox": [1, 2, 4, 2], "area": 8, "iscrowd": 0, "score": 0.5}


def test_there_and_back_is_exact():
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(50, 4, generator=generator) * 40
    boxes[:, 2:] += boxes[:, :2]
    points = torch.rand(50, 5, 3, generator=generator) * 40
    points[..., 2] = torch.randint(0, 3, (50, 5), generator=generator)
    points[points[..., 2] == 0] = 0
    target = {"boxes": boxes, "labels": torch.arange(50), "masks": (torch.rand(50, *SIZE, generator=generator) < 0.5).byte(),
              "keypoints": points, "area": torch.rand(50, generator=generator), "iscrowd": torch.arange(50) % 2, "image_id": 3}
    back = am.coco.targets(json.loads(json.dumps(am.coco.annotations(target))), SIZE, masks=True, keypoints=5)
    assert {*back} == {*target} and back.pop("image_id") == 3
    for name, value in back.items():
        assert value.dtype == target[name].dtype and torch.equal(value, target[name]), name


def test_boxes_of_torchvision_bring_their_format():
    load_torchvision()
    from torchvision import tv_tensors

    for format, box in (("XYXY", [10, 8, 40, 30]), ("XYWH", [10, 8, 30, 22]), ("CXCYWH", [25, 19, 30, 22])):
        boxes = tv_tensors.BoundingBoxes([box], format=format, canvas_size=SIZE)
        (one,) = am.coco.annotations({"boxes": boxes, "labels": torch.tensor([1]), "image_id": torch.tensor([4])})
        assert one["bbox"] == [10, 8, 30, 22] and one["image_id"] == 4


def test_pycocotools_reads_what_is_written(tmp_path, capsys):
    """Views' annotations as a file of their own; of results that say the same, COCO's evaluation makes 1."""
    _, _, whole = written(tmp_path)
    ids = [image["id"] for image in whole["images"]]
    sizes = [[image["height"], image["width"]] for image in whole["images"]]
    given = [am.coco.targets([a for a in whole["annotations"] if a["image_id"] == id], size, masks=True)
             for id, size in zip(ids, sizes, strict=True)]
    plan = am.Recipe([am.RandomHorizontalFlip(), am.LetterBox(96)]).plan(ids, size=sizes)
    views = plan.apply_targets(given)
    annotations = []
    for id, target in zip(ids, views, strict=True):
        annotations += am.coco.annotations(target, image_id=id, first_id=len(annotations) + 1)
    truth = tmp_path / "views.json"
    truth.write_text(json.dumps({"images": [{"id": id, "height": 96, "width": 96, "file_name": ""} for id in ids],
                                 "annotations": annotations, "categories": whole["categories"], "info": {}}))
    read = COCO(truth)
    assert len(read.anns) == len(whole["annotations"]) > 4
    masks = torch.cat([target["masks"] for target in views])
    for mask, one in zip(masks, annotations, strict=True):
        assert np.array_equal(read.annToMask(read.anns[one["id"]]), mask) and mask.any()
    results = []
    for id, target in zip(ids, views, strict=True):
        results += am.coco.annotations({**target, "scores": torch.ones(len(target["boxes"]))}, image_id=id)
    for kind in ("bbox", "segm"):
        found = read.loadRes([{name: r[name] for name in ("image_id", "category_id", "score", "bbox" if kind == "bbox" else
                                                           "segmentation")} for r in results])
        evaluation = COCOeval(read, found, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        assert evaluation.stats[0] == pytest.approx(1)
    capsys.readouterr()


# ---- by a plan ----


def test_points_that_are_not_seen():
    """v = 0 stays 0 wherever the zeros that stand for the place go, what leaves the view becomes 0, what stays keeps 1 or 2."""
    given = annotation(bbox=[0, 0, 64, 48], segmentation=[[0, 0, 64, 0, 64, 48, 0, 48]], keypoints=[
        20, 20, 2, 30, 20, 1, 5, 5, 2, 0, 0, 0])
    plan = am.Recipe([am.CenterCrop((24, 32)), am.RandomHorizontalFlip(1.0)]).plan([0], size=SIZE)
    (target,) = plan.apply_targets([am.coco.targets([given], SIZE, keypoints=4)])
    assert target["keypoints"][0, :, 2].tolist() == [2, 1, 0, 0]
    (out,) = am.coco.annotations(target)
    assert out["keypoints"] == [28, 8, 2, 18, 8, 1, 0, 0, 0, 0, 0, 0] and out["num_keypoints"] == 2
    mirrored = am.Recipe([am.RandomHorizontalFlip(1.0)]).plan([0], size=SIZE)
    pixels = mirrored.apply_targets([am.coco.targets([given], SIZE, keypoints=4)], convention="torchvision")
    assert pixels[0]["keypoints"][0, 0].tolist() == [W - 1 - 20, 20, 2]  # as COCO counts: the pixel's number


def test_a_crowd_stays_one():
    plan = am.Recipe([am.RandomVerticalFlip(1.0)]).plan([0], size=SIZE)
    (target,) = plan.apply_targets([am.coco.targets([annotation(), CROWD], SIZE, masks=True)])
    one, crowd = am.coco.annotations(target)
    assert (one["iscrowd"], crowd["iscrowd"]) == (0, 1) and crowd["bbox"] == [0, 46, 64, 2] and crowd["area"] == 128
    assert np.array_equal(their_mask(crowd["segmentation"], SIZE), their_mask(CROWD["segmentation"], SIZE)[::-1])


# ---- a data set ----


def test_a_data_set_feeds_a_plan(tmp_path):
    file, folder, whole = written(tmp_path)
    data = am.coco.Dataset(file, folder, masks=True, keypoints=True, categories=[1, 18])
    assert data.categories == {1: "person", 18: "dog"} and data.ids == [100, 101, 102, 103]
    recipe = am.Recipe([am.RandomIoUCrop(), am.RandomHorizontalFlip(), am.LargeScaleJitter(64)])
    loader = torch.utils.data.DataLoader(data, 4, collate_fn=lambda batch: tuple(zip(*batch, strict=True)))
    ((images, targets),) = loader
    assert [tuple(image.shape[1:]) for image in images] == data.sizes
    assert torch.equal(images[2].permute(1, 2, 0), torch.tensor(picture(*data.sizes[2], 2)))
    assert [target["image_id"] for target in targets] == data.ids
    assert sum(len(target["boxes"]) for target in targets) == len(whole["annotations"])
    assert {int(label) for target in targets for label in target["labels"]} == {0, 1}
    ids, sizes = [t["image_id"] for t in targets], [image.shape[1:] for image in images]
    plan = recipe.plan(ids, size=sizes, boxes=[t["boxes"] for t in targets])
    views, found = am.render(list(images), plan), plan.apply_targets(targets)
    assert views.shape == (4, 3, 64, 64)
    assert all(t["masks"].shape[1:] == (64, 64) and t["keypoints"].shape[1:] == (2, 3) for t in found)
    assert torch.equal(data.target(3)["boxes"], targets[3]["boxes"])


def test_a_picture_that_is_not_what_the_file_says(tmp_path):
    file, folder, _ = written(tmp_path)
    data = am.coco.Dataset(file, folder)
    (folder / "1.png").unlink()
    (folder / "2.png").write_bytes(encoded(picture(30, 30), "PNG"))
    with pytest.raises(am.DecodeError, match=r"1\.png: cannot be read"):
        data[1]
    with pytest.raises(am.DecodeError, match=r"2\.png: expected 52 x 62 pixels, as .*instances\.json says, given 30 x 30"):
        data[2]


def test_an_extra_brings_the_decoder(tmp_path, monkeypatch):
    file, folder, _ = written(tmp_path)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(am.MissingDependencyError, match=r"anamorph\[pillow\]"):
        am.coco.Dataset(file, folder)


# ---- what is wrong ----


def of(**entries):
    return lambda: am.coco.targets([annotation(**entries)], SIZE, masks=True, keypoints=3)


def without(name):
    return lambda: am.coco.targets([{k: v for k, v in annotation().items() if k != name}], SIZE, masks=True)


def rle(counts, size=(2, 3)):
    return lambda: am.coco.targets([annotation(segmentation={"size": size, "counts": counts})], (2, 3), masks=True)


def out(**entries):
    target = {"boxes": torch.tensor([[1.0, 2, 3, 4]]), "labels": torch.tensor([1]), "image_id": 1, **entries}
    return lambda: am.coco.annotations(target)


BAD = {
    "no list": (lambda: am.coco.targets(annotation(), SIZE), am.ArgumentError, "a list of dicts"),
    "no dicts": (lambda: am.coco.targets([1], SIZE), am.ArgumentError, "a list of dicts"),
    "two pictures": (lambda: am.coco.targets([annotation(), annotation(image_id=8)], SIZE), am.ArgumentError, "image_id 7, 8"),
    "pictures by name": (of(image_id="seven"), am.ArgumentError, "image_id"),
    "no size": (lambda: am.coco.targets([], None), am.ArgumentError, "size"),
    "three sides": (lambda: am.coco.targets([], (3, 4, 3)), am.ArgumentError, "height, width"),
    "masks by a word": (lambda: am.coco.targets([], SIZE, masks="yes"), am.ArgumentError, "True or False"),
    "points by a flag": (lambda: am.coco.targets([], SIZE, keypoints=True), am.ArgumentError, "how many"),
    "fewer than no points": (lambda: am.coco.targets([], SIZE, keypoints=-1), am.ArgumentError, "from 0 to 65536"),
    "unknown device": (lambda: am.coco.targets([], SIZE, device="tpu"), am.DeviceError, "'cpu'"),
    "categories by name": (lambda: am.coco.targets([], SIZE, categories=["dog"]), am.ArgumentError, r"categories\[0\]"),
    "a category twice": (lambda: am.coco.targets([], SIZE, categories=[1, 1]), am.ArgumentError, "each id once"),
    "one category": (lambda: am.coco.targets([], SIZE, categories=3), am.ArgumentError, "a list of category ids"),
    "no box": (without("bbox"), am.ArgumentError, r"annotations\[0\] \(id 5\).*'bbox'"),
    "no category": (without("category_id"), am.ArgumentError, "'category_id'"),
    "an area beyond float32": (of(area=1e40), am.ArgumentError, r"\['area'\]: expected a finite number"),
    "a box of such an area": (lambda: am.coco.targets([{"bbox": [0, 0, 1e20, 1e20], "category_id": 1}], SIZE), am.ArgumentError,
                              r"annotations\[0\]\['bbox'\]: expected a box whose area float32 holds, given 1e\+40"),
    "no segmentation": (without("segmentation"), am.ArgumentError, "'segmentation'"),
    "box of three": (of(bbox=[1, 2, 3]), am.ArgumentError, "width, height"),
    "box of corners": (of(bbox=[10, 8, -3, 5]), am.ArgumentError, "neither side below 0"),
    "box that is no number": (of(bbox=[1, 2, math.nan, 3]), am.ArgumentError, "bbox"),
    "box of text": (of(bbox=["1", "2", "3", "4"]), am.ArgumentError, "bbox"),
    "nothing for a box": (of(bbox=None), am.ArgumentError, "bbox"),
    "category by name": (of(category_id="dog"), am.ArgumentError, "category_id"),
    "negative area": (of(area=-1), am.ArgumentError, "area"),
    "a crowd of three": (of(iscrowd=3), am.ArgumentError, "iscrowd"),
    "one polygon, no list": (of(segmentation=TRIANGLE), am.ArgumentError, "a list of polygons"),
    "no polygon": (of(segmentation=[]), am.ArgumentError, "a list of polygons"),
    "a polygon by name": (of(segmentation="polygon"), am.ArgumentError, "a list of polygons"),
    "two corners": (of(segmentation=[[1, 2, 3, 4]]), am.ArgumentError, "at least three corners"),
    "half a corner": (of(segmentation=[TRIANGLE, [1, 2, 3, 4, 5, 6, 7]]), am.ArgumentError,
                      r"segmentation'\]\[1\].*three corners"),
    "corners in pairs": (of(segmentation=[[[1, 2], [3, 4], [5, 6]]]), am.ArgumentError, "three corners"),
    "a corner far away": (of(segmentation=[[1, 2, 3, 4, 1e30, 6]]), am.ArgumentError, "32768"),
    "runs without a size": (of(segmentation={"counts": [1]}), am.ArgumentError, "'size' and 'counts'"),
    "runs of another size": (rle([6], (3, 2)), am.ShapeError, r"expected \[2, 3\]"),
    "too few pixels": (rle([1, 2]), am.ArgumentError, "2 x 3 = 6 pixels"),
    "less than none": (rle([7, -1]), am.ArgumentError, "at least 0 pixels"),
    "half a pixel": (rle([5.5, 0.5]), am.ArgumentError, "whole numbers"),
    "runs beyond all": (rle([1e300]), am.ArgumentError, "whole numbers"),
    "no runs": (rle(None), am.ArgumentError, "whole numbers"),
    "text of other letters": (rle("6!"), am.ArgumentError, "'0' to 'o'"),
    "text beyond ASCII": (rle("6é"), am.ArgumentError, "'0' to 'o'"),
    "text that ends too soon": (rle("6o"), am.ArgumentError, "the last ends a number"),
    "no text": (rle(""), am.ArgumentError, "a text of runs"),
    "a long number": (rle("PPPPPPPPPPPP0"), am.ArgumentError, "at most 7"),
    "text of other pixels": (rle("7"), am.ArgumentError, "6 pixels"),
    "points of another count": (of(keypoints=[1, 2, 2]), am.ArgumentError, "9 numbers.*given '3 numbers'"),
    "points seen by half": (of(keypoints=[1, 2, 0.5] * 3), am.ArgumentError, "0, 1 or 2"),
    "points of text": (of(keypoints="none"), am.ArgumentError, "keypoints"),
    "no target": (lambda: am.coco.annotations([1]), am.ArgumentError, "'boxes' and 'labels'"),
    "a target without labels": (lambda: am.coco.annotations({"boxes": torch.zeros(1, 4)}), am.ArgumentError, "'labels'"),
    "no picture's id": (out(image_id=None), am.ArgumentError, "image_id"),
    "boxes of three": (out(boxes=torch.zeros(1, 3)), am.ShapeError, r"\[N, 4\]"),
    "a box that is no number": (out(boxes=torch.full((1, 4), math.nan)), am.ArgumentError, "finite"),
    "a box turned over": (out(boxes=torch.tensor([[3.0, 2, 1, 4]])), am.ArgumentError, "left <= right"),
    "labels of another count": (out(labels=torch.tensor([1, 2])), am.ShapeError, r"\[1\]"),
    "labels of halves": (out(labels=torch.tensor([0.5])), am.ArgumentError, "integers"),
    "masks of another count": (out(masks=torch.zeros(2, 4, 4)), am.ShapeError, r"\[1, H, W\]"),
    "points without v": (out(keypoints=torch.zeros(1, 4, 2)), am.ShapeError, r"3\]"),
    "a score that is no number": (out(scores=torch.tensor([math.nan])), am.ArgumentError, "scores.*finite"),
    "an area without end": (out(area=torch.tensor([math.inf])), am.ArgumentError, "area.*finite"),
    "a seen point that is nowhere": (out(keypoints=torch.tensor([[[math.nan, 1.0, 2.0]]])), am.ArgumentError, "points with v"),
    "a category beyond int64": (of(category_id=2**63), am.ArgumentError, "category_id"),
    "more points than there are": (lambda: am.coco.targets([], SIZE, keypoints=2**62), am.ArgumentError, "keypoints"),
    "a label beyond": (lambda: am.coco.annotations({"boxes": torch.zeros(1, 4), "labels": torch.tensor([2])}, image_id=1,
                                                   categories=[5, 6]), am.ArgumentError, "0 to 1"),
    "a negative first id": (lambda: am.coco.annotations({"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long()}, image_id=1,
                                                        first_id=-1), am.ArgumentError, "first_id"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=r"(?s)expected .*given"):
        call()
    with pytest.raises(error, match=message):
        call()


def change(part, **entries):
    return lambda whole: whole[part][0].update(entries)


BAD_FILES = {
    "no images": (lambda whole: whole.pop("images"), {}, "'images'"),
    "images of numbers": (lambda whole: whole.update(images=[1]), {}, "'images'"),
    "a picture without a name": (lambda whole: whole["images"][0].pop("file_name"), {}, "'file_name'"),
    "a picture without a height": (lambda whole: whole["images"][0].pop("height"), {}, "'height'"),
    "a picture of no width": (change("images", width=0), {}, "image 100's width"),
    "a picture by name": (change("images", id="one"), {}, "an id in 'images'"),
    "a picture twice": (change("images", id=101), {}, "id once"),
    "objects of no picture": (change("annotations", image_id=5), {}, "image_id 5"),
    "objects of a list of pictures": (change("annotations", image_id=[100]), {}, r"image_id \[100\]"),
    "a skeleton by number": (change("categories", keypoints=3), {"keypoints": True}, "a list of names"),
    "objects without a picture": (lambda whole: whole["annotations"][0].pop("image_id"), {}, "'image_id'"),
    "no skeleton": (lambda whole: whole["categories"][0].pop("keypoints"), {"keypoints": True}, "with keypoints.*none"),
    "two skeletons": (lambda whole: whole["categories"][1].update(keypoints=["tail"]), {"keypoints": True}, r"\[1, 2\]"),
    "points by number": (lambda whole: None, {"keypoints": 17}, "True or False"),
    "masks by a word": (lambda whole: None, {"masks": "yes"}, "True or False"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file(tmp_path, name):
    file, folder, whole = written(tmp_path)
    spoil, options, message = BAD_FILES[name]
    spoil(whole)
    file.write_text(json.dumps(whole))
    with pytest.raises(am.ArgumentError, match=f"expected .*{message}|{message}.*expected "):
        am.coco.Dataset(file, folder, **options)


def test_files_that_are_none(tmp_path):
    file, folder, whole = written(tmp_path)
    with pytest.raises(am.ArgumentError, match="expected a folder of pictures"):
        am.coco.Dataset(file, folder / "none")
    with pytest.raises(am.ArgumentError, match="expected a JSON file"):
        am.coco.Dataset(folder / "none.json", folder)
    file.write_text("{")
    with pytest.raises(am.ArgumentError, match="expected a JSON file"):
        am.coco.Dataset(file, folder)
    whole["annotations"][0]["bbox"] = [1]
    file.write_text(json.dumps(whole))
    with pytest.raises(am.ArgumentError, match=r"instances\.json: image 101: annotations\[0\] \(id 1\)\['bbox'\]: expected"):
        am.coco.Dataset(file, folder)[1]
