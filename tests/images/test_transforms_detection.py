"""Detection geometry: against torchvision v2's own transforms and the published rules."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import anamorph as am
from anamorph.bench._torchvision import v2 as load_torchvision
from pictures import word
from reference.plan import iou, plan_rows

V2 = load_torchvision()
SIZE = H, W = 60, 80
COUNT = 2000
BOXES = torch.tensor([[10.0, 10, 34, 40], [40, 20, 76, 52], [5, 44, 20, 56]])


def plan_of(transforms, count=COUNT, size=SIZE, **options):
    return am.Recipe(transforms).plan(range(count), size=size, **options)


def crops(plan):
    """left, top, right, bottom in the source of what the views show: of maps that do not turn."""
    m, view = word(plan, "MATRIX", 9, torch.float32), word(plan, "VIEW", 2, torch.float32)
    h, w = plan.output_size
    assert bool((m[:, [1, 3, 6, 7]] == 0).all()) and view.shape == (len(plan), 2)
    return torch.stack([m[:, 2], m[:, 5], m[:, 2] + m[:, 0] * w, m[:, 5] + m[:, 4] * h], 1)


# ---- RandomZoomOut ----


def test_zoom_out_places_the_picture_as_torchvision(route):
    plan = plan_of([am.RandomZoomOut(p=1.0), am.Resize((48, 64))], 500)
    shown = crops(plan).double()
    across, down = (shown[:, 2] - shown[:, 0]) / W, (shown[:, 3] - shown[:, 1]) / H
    assert bool((shown[:, :2] <= 1e-3).all()) and bool((shown[:, 2:] >= torch.tensor([W, H]) - 1e-3).all())
    assert (across - down).abs().max() < 1 / H + 1 / W  # one number for both sides, then whole pixels
    assert across.min() >= 1 and across.max() <= 4 and abs(across.mean() - 2.5) < 0.15
    places = -shown[:, :2] / (shown[:, 2:] - shown[:, :2] - torch.tensor([W, H]))
    assert abs(places[across > 1.5].nanmean() - 0.5) < 0.06
    assert abs(np.corrcoef(places[across > 1.5].T.numpy())[0, 1]) < 0.15
    theirs = V2.RandomZoomOut(p=1.0)
    drawn = [theirs.make_params([torch.zeros(3, H, W)])["padding"] for _ in range(500)]
    grown = torch.tensor([(W + left + right) / W for left, _, right, _ in drawn])
    assert abs(grown.mean() - across.mean()) < 0.2 and abs(grown.std() - across.std()) < 0.1


def test_zoom_out_renders_as_padding(route):
    picture = torch.randint(0, 256, (1, H, W, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    recipe = am.Recipe([am.RandomZoomOut((9, 8, 7), (2.0, 2.0), 1.0)], dtype=torch.uint8)
    view = recipe(picture[0].permute(2, 0, 1), seed=5)
    assert view.shape == (3, 2 * H, 2 * W)
    assert (view == torch.tensor([9, 8, 7]).view(3, 1, 1)).all(0).float().mean() == pytest.approx(0.75, abs=1e-3)


# ---- scales ----


def test_scale_jitters_sizes_are_torchvisions(route):
    for size in ((60, 80), (33, 101), (100, 40)):
        recipe = am.Recipe([am.ScaleJitter((64, 48), (0.1, 2.0))])
        for seed in range(20):
            view = recipe(torch.zeros(3, *size), seed=seed)
            h, w = view.shape[1:]
            # the scale that torchvision would have drawn for this height gives this width, but for rounding down
            r = np.array([h, h + 1]) / size[0]
            assert math.floor(size[1] * r[0]) - 1 <= w <= math.floor(size[1] * r[1]) + 1
            most = min(64 / size[0], 48 / size[1])
            assert 0.1 * most * size[0] - 1 <= h <= 2 * most * size[0]


def test_large_scale_jitters_mean_scale_and_place(route):
    plan = plan_of([am.LargeScaleJitter(96)], COUNT)
    assert plan.output_size == (96, 96)
    m = word(plan, "MATRIX", 9, torch.float32).double()
    scale = 1 / m[:, 4] / min(96 / H, 96 / W)
    assert abs(scale.mean() - 1.05) < 0.03 and scale.min() >= 0.08 and scale.max() <= 2.001
    larger = scale > 1.5
    places = torch.stack([m[larger, 2] / (W - 96 * m[larger, 0]), m[larger, 5] / (H - 96 * m[larger, 4])]).numpy()
    assert abs(places.mean() - 0.5) < 0.04 and abs(np.corrcoef(places)[0, 1]) < 0.12  # drawn apart
    smaller = scale < 0.9
    assert bool((m[smaller][:, [2, 5]] == 0).all())  # in the top left corner


def test_what_large_scale_jitter_pads_is_the_fill(route):
    recipe = am.Recipe([am.LargeScaleJitter(96, (0.5, 0.5), fill=(1, 2, 3))], dtype=torch.uint8)
    view = am.render(torch.full((1, H, W, 3), 200, dtype=torch.uint8), recipe.plan([0], size=SIZE))[0]
    assert bool((view[:, 37:, :] == torch.tensor([1, 2, 3]).view(3, 1, 1)).all())
    assert bool((view[:, :35, 49:] == torch.tensor([1, 2, 3]).view(3, 1, 1)).all()) and bool((view[:, :35, :47] == 200).all())


def test_shortest_sizes(route):
    recipe = am.Recipe([am.RandomShortestSize([24, 30, 36], 44)])
    found = {tuple(recipe(torch.zeros(3, 60, 80), seed=s).shape[1:]) for s in range(40)}
    expected = set()
    for s in (24, 30, 36):  # torchvision: the least of both ratios
        r = min(s / 60, 44 / 80)
        expected.add((int(60 * r), int(80 * r)))
    assert {h for h, _ in found} == {h for h, _ in expected}
    assert am.Recipe([am.RandomShortestSize(30)]).output_size((60, 80)) == (30, 40)


# ---- RandomIoUCrop ----


def drawn_crops(count=COUNT, **options):
    plan = plan_of([am.RandomIoUCrop(**options), am.Resize((48, 64))], count, boxes=BOXES.repeat(count, 1, 1))
    return crops(plan).round().double()


def test_iou_crops_keep_their_promise(route):
    for least in (0.0, 0.3, 0.7):
        for x0, y0, x1, y1 in drawn_crops(300, sampler_options=[least]).tolist():
            whole = (x0, y0, x1, y1) == (0, 0, W, H)
            if whole:
                continue
            within = [b for b in BOXES.tolist() if x0 < (b[0] + b[2]) / 2 < x1 and y0 < (b[1] + b[3]) / 2 < y1]
            assert within and max(iou(b, (x0, y0, x1, y1)) for b in within) >= least
            assert 0.5 <= (x1 - x0) / (y1 - y0) <= 2.0
            assert int(0.3 * W) <= x1 - x0 <= W and int(0.3 * H) <= y1 - y0 <= H


def test_iou_crops_are_distributed_as_torchvisions():
    from torchvision import tv_tensors
    count = 500  # torchvision takes 40 ms for one
    ours = drawn_crops(count)
    theirs = V2.RandomIoUCrop()
    torch.manual_seed(0)
    boxes = tv_tensors.BoundingBoxes(BOXES, format="XYXY", canvas_size=SIZE)
    drawn = []
    for _ in range(count):
        p = theirs.make_params([torch.zeros(3, H, W), boxes])
        drawn.append([p["left"], p["top"], p["left"] + p["width"], p["top"] + p["height"]] if p else [0, 0, W, H])
    theirs = torch.tensor(drawn, dtype=torch.float64)
    whole = [((c == torch.tensor([0.0, 0, W, H])).all(1)).double().mean() for c in (ours, theirs)]
    assert abs(whole[0] - whole[1]) < 0.08
    for quantity in (lambda c: c[:, 2] - c[:, 0], lambda c: c[:, 3] - c[:, 1], lambda c: c[:, 0], lambda c: c[:, 1]):
        a, b = quantity(ours), quantity(theirs)
        error = math.sqrt((a.var() + b.var()) / count)
        assert abs(a.mean() - b.mean()) < 4 * error
        assert abs(a.std() - b.std()) < 0.15 * b.std()


def test_an_option_of_one_leaves_the_view_whole(route):
    assert bool((drawn_crops(50, sampler_options=[1.0]) == torch.tensor([0.0, 0, W, H])).all())


def test_without_boxes_the_view_stays_whole(route):
    recipe = am.Recipe([am.RandomIoUCrop(sampler_options=[0.0]), am.Resize((48, 64))])
    plan = recipe.plan(range(3), size=SIZE, boxes=[BOXES, torch.zeros(0, 4), BOXES[:1]])
    shown = crops(plan)
    assert shown[1].tolist() == [0, 0, W, H]
    plan = recipe.plan(range(3), size=SIZE, boxes=BOXES.repeat(3, 1, 1), counts=torch.tensor([3, 0, 1]))
    assert torch.equal(crops(plan), shown)


def test_boxes_are_seen_as_the_view_is_by_then(route):
    """A crop after a flip and a resize: the boxes' middles, mapped, lie in it."""
    recipe = am.Recipe([am.RandomHorizontalFlip(1.0), am.Resize((120, 120)), am.RandomIoUCrop(sampler_options=[0.3]),
                        am.Resize((40, 40))])
    plan = recipe.plan(range(200), size=SIZE, boxes=BOXES.repeat(200, 1, 1))
    middles = (BOXES[:, :2] + BOXES[:, 2:]) / 2
    seen = plan.apply_keypoints(middles.repeat(200, 1, 1))[1]
    assert bool(seen.any(1).all())


@pytest.mark.parametrize("seed", range(3))
def test_the_planner_in_python_draws_the_same_bits(route, seed):
    recipes = [[am.RandomZoomOut(3, (1.0, 3.0)), am.Resize((32, 40))], [am.LargeScaleJitter((40, 50), fill=7)],
               [am.RandomHorizontalFlip(), am.RandomIoUCrop(), am.Resize((32, 32))],
               [am.RandomShortestSize([20, 30]), am.FixedSizeCrop(28)], [am.ScaleJitter((64, 48)), am.CenterCrop(20)],
               [am.RandomZoomOut(p=1.0), am.RandomIoUCrop(sampler_options=[0.1, 0.5]), am.Resize((24, 24))]]
    for transforms in recipes:
        recipe = am.Recipe(transforms)
        boxes = BOXES.repeat(24, 1, 1) if recipe._boxed else None
        plan = recipe.plan(range(24), size=SIZE, seed=seed, epoch=2, boxes=boxes)
        expected = plan_rows(recipe, range(24), [SIZE] * 24, plan.output_size, seed=seed, epoch=2,
                             boxes=None if boxes is None else boxes.tolist())
        assert np.array_equal(plan.rows.numpy(), expected), transforms
        assert am.Plan.from_state_dict(recipe, plan.state_dict()) == plan


def test_boxes_bring_their_format_to_the_plan():
    from torchvision import tv_tensors

    recipe = am.Recipe([am.RandomIoUCrop(), am.Resize((8, 8))])
    expected = recipe.plan(range(16), size=SIZE, boxes=[torch.tensor([[10.0, 12, 30, 20]])] * 16)
    for format, numbers in (("XYXY", [10.0, 12, 30, 20]), ("XYWH", [10.0, 12, 20, 8]), ("CXCYWH", [20.0, 16, 20, 8])):
        boxes = tv_tensors.BoundingBoxes([numbers], format=format, canvas_size=SIZE)
        assert recipe.plan(range(16), size=SIZE, boxes=[boxes] * 16) == expected


def test_targets_of_a_detection_recipe(route):
    """Boxes around the objects that are left, after all of it."""
    recipe = am.Recipe([am.RandomZoomOut(), am.RandomIoUCrop(), am.RandomHorizontalFlip(), am.LargeScaleJitter((64, 72))])
    masks = torch.zeros(3, H, W, dtype=torch.uint8)
    for k, (x0, y0, x1, y1) in enumerate(BOXES.int().tolist()):
        masks[k, y0:y1, x0:x1] = 1
    targets = [{"boxes": BOXES, "labels": torch.arange(3), "masks": masks}] * 16
    plan = recipe.plan(range(16), size=SIZE, boxes=[t["boxes"] for t in targets])
    left = 0
    for t in plan.apply_targets(targets):
        left += len(t["boxes"])
        assert len(t["boxes"]) == len(t["labels"]) == len(t["masks"])
        for box, mask in zip(t["boxes"], t["masks"], strict=True):
            at = mask.nonzero()
            if len(at):
                (y0, x0), (y1, x1) = at.min(0).values.tolist(), (at.max(0).values + 1).tolist()
                assert x0 >= box[0] - 1 and y0 >= box[1] - 1 and x1 <= box[2] + 1 and y1 <= box[3] + 1
    assert 16 < left < 48


IOU = am.Recipe([am.RandomIoUCrop(), am.Resize((8, 8))])
BAD = {
    "canvas that shrinks": (lambda: am.RandomZoomOut(side_range=(0.5, 2)), "at least 1|from 1 to 100"),
    "sides in the wrong order": (lambda: am.RandomZoomOut(side_range=(3, 2)), "low <= high"),
    "one side": (lambda: am.RandomZoomOut(side_range=2), "two numbers"), "probability": (lambda: am.RandomZoomOut(p=2), "0 to 1"),
    "fill of words": (lambda: am.RandomZoomOut("grey"), "finite number"),
    "no target": (lambda: am.ScaleJitter(0), "pixels"), "no scale": (lambda: am.ScaleJitter(8, (0, 1)), "0.001"),
    "lanczos without antialias": (lambda: am.ScaleJitter(8, interpolation="lanczos", antialias=False), "True"),
    "half a side": (lambda: am.FixedSizeCrop(8.5), "whole number"),
    "three sides": (lambda: am.FixedSizeCrop((1, 2, 3)), "side or"),
    "scale of one number": (lambda: am.LargeScaleJitter(8, 0.5), "two numbers"),
    "cubic by another name": (lambda: am.LargeScaleJitter(8, interpolation="cubic"), "'bicubic'"),
    "no lengths": (lambda: am.RandomShortestSize([]), "1 to 16"),
    "a longest side of none": (lambda: am.RandomShortestSize(8, 0), "pixels"),
    "scales in the wrong order": (lambda: am.RandomIoUCrop(0.9, 0.3), "low <= high"),
    "scale above one": (lambda: am.RandomIoUCrop(0.3, 1.5), "0.001 to 1"),
    "no options": (lambda: am.RandomIoUCrop(sampler_options=[]), "1 to 12"),
    "negative option": (lambda: am.RandomIoUCrop(sampler_options=[-0.1]), "0 to 10"),
    "no trials": (lambda: am.RandomIoUCrop(trials=0), "1 to 100"),
    "too many trials": (lambda: am.RandomIoUCrop(trials=101), "1 to 100"),
    "no boxes": (lambda: IOU.plan([0], size=SIZE), "RandomIoUCrop"),
    "boxes for another": (lambda: am.Recipe([am.Resize((8, 8))]).plan([0], size=SIZE, boxes=BOXES[None]), "without Random"),
    "boxes of another batch": (lambda: IOU.plan([0, 1], size=SIZE, boxes=BOXES[None]), r"\[2, N, 4\]"),
    "box that is no number": (lambda: IOU.plan([0], size=SIZE, boxes=BOXES[None] * math.nan), "finite"),
    "counts beyond": (lambda: IOU.plan([0], size=SIZE, boxes=BOXES[None], counts=torch.tensor([4])), "0 to 3"),
    "one picture": (lambda: IOU(torch.zeros(3, 8, 8)), "boxes"),
    "behind a field": (lambda: am.Recipe([am.RandomField(0.1), am.RandomIoUCrop(), am.Resize((8, 8))]), "before a random"),
    "no size of its own": (lambda: am.Recipe([am.RandomIoUCrop()]).plan([0], size=SIZE, boxes=BOXES[None]), "differ between"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be(name):
    call, message = BAD[name]
    with pytest.raises(am.AnamorphError, match=message):
        call()
