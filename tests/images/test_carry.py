"""What travels with a picture, and the way back: against torchvision's functional calls, against the picture's own rendering, and
against float64."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch

import anamorph as am
from anamorph.bench._torchvision import v2 as load_torchvision
from pictures import pictures

V2 = load_torchvision()
F = V2.functional
SIZE = H, W = 60, 80
MOVES = {
    "flip": [am.RandomHorizontalFlip(1.0)], "vertical flip": [am.RandomVerticalFlip(1.0)],
    "turn": [am.RandomRotation((90, 90), expand=True)], "crop": [am.RandomCrop((40, 50))],
    "half turn": [am.RandomRotation((180, 180))], "padded": [am.Pad(7, fill=9)], "padded crop": [am.RandomCrop(56, padding=8)],
    "shift": [am.Warp([[1, 0, 5], [0, 1, -3], [0, 0, 1]])],
}
SMOOTH = {
    "affine": [am.RandomAffine(30, (0.1, 0.1), (0.8, 1.2), 10, interpolation="bilinear")],
    "perspective": [am.RandomPerspective(0.5, 1.0)],
    "crop, resize, rotate": [am.RandomResizedCrop((48, 64), (0.5, 1.0)), am.RandomRotation(20, "bilinear")],
    "chain": [am.Resize((70, 90)), am.RandomAffine(20, interpolation="bilinear"), am.RandomPerspective(0.3, 1.0),
              am.CenterCrop((56, 72)), am.RandomHorizontalFlip()],
    "field": [am.RandomField(0.02, 5, 0.05, 4, correlation=0.2)],
    "elastic": [am.ElasticTransform()],
    "field, turned": [am.RandomResizedCrop((48, 64), (0.5, 1.0)), am.RandomField(0.02, correlation=0.2),
                      am.RandomRotation(20, "bilinear")],
}
FIELDS = ("field", "elastic", "field, turned")


def plan_of(transforms, count=4, size=SIZE, **options):
    return am.Recipe(transforms).plan(range(count), size=size, **options)


def smooth_picture(count=4, size=SIZE):
    y, x = torch.meshgrid(torch.arange(size[0]) / size[0], torch.arange(size[1]) / size[1], indexing="ij")
    one = torch.stack([0.5 + 0.4 * torch.sin(5 * x + 3 * y), 0.5 * x + 0.3 * y, 0.5 + 0.4 * torch.cos(4 * y)])
    return one[None].repeat(count, 1, 1, 1)


def labels_of(count=4, size=SIZE, dtype=torch.int64, seed=0):
    return torch.randint(1, 120, (count, *size), generator=torch.Generator().manual_seed(seed)).to(dtype)


# ---- the frame convention ----


def test_positions_are_edge_coordinates(route):
    plan = plan_of([am.RandomHorizontalFlip(1.0)], 1)
    points = torch.tensor([[[0.0, 0.0], [0.5, 0.5], [W, H]]])
    assert torch.equal(plan.to_view(points), torch.tensor([[[W, 0.0], [W - 0.5, 0.5], [0.0, H]]]))
    plan = plan_of([am.Resize((2 * H, 2 * W))], 1)
    assert torch.equal(plan.to_view(points), 2 * points)  # corners stay corners
    assert torch.equal(plan.to_source(2 * points), points)
    plan = plan_of([am.CenterCrop((H - 20, W - 10))], 1)
    assert torch.equal(plan.to_view(points), points - torch.tensor([5.0, 10.0]))


def test_the_centre_of_a_pixel_is_seen_where_its_value_is(route):
    """A point at a pixel's centre goes to the centre of the pixel that shows its value: the image's own rendering says where."""
    for name in ("flip", "vertical flip", "turn", "half turn", "padded"):
        plan = plan_of(MOVES[name], 1)
        picture = torch.zeros(1, 1, H, W)
        picture[0, 0, 7, 31] = 1
        view = am.render(picture, plan)
        y, x = (view[0, 0] == 1).nonzero()[0].tolist()
        assert plan.to_view(torch.tensor([[[31.5, 7.5]]])).tolist() == [[[x + 0.5, y + 0.5]]], name


def test_torchvisions_keypoint_convention_by_name(route):
    points = torch.tensor([[[0.0, 0.0], [31.0, 7.0], [W - 1.0, H - 1.0]]])
    keypoints = torch_keypoints(points[0])
    for ours, theirs in ((am.RandomHorizontalFlip(1.0), F.horizontal_flip), (am.RandomVerticalFlip(1.0), F.vertical_flip)):
        found, seen = plan_of([ours], 1).apply_keypoints(points, convention="torchvision")
        assert torch.equal(found[0], theirs(keypoints).as_subclass(torch.Tensor)) and bool(seen.all())


def torch_keypoints(points, size=SIZE):
    from torchvision import tv_tensors
    return tv_tensors.KeyPoints(points, canvas_size=size)


# ---- the maps ----


@pytest.mark.parametrize("name", [*MOVES, *SMOOTH])
def test_there_and_back(route, name):
    plan = plan_of({**MOVES, **SMOOTH}[name])
    points = torch.rand(4, 60, 2, generator=torch.Generator().manual_seed(3)) * torch.tensor([W, H])
    there = plan.to_view(points)
    back = plan.to_source(there)
    known = ~there.isnan().any(2)
    assert known.float().mean() > 0.98
    assert (back - points)[known].abs().max() < (0.01 if name in FIELDS else 1e-3)


@pytest.mark.parametrize("name", SMOOTH)
def test_the_map_is_the_one_that_the_picture_is_drawn_by(route, name):
    """Pictures of x and of y, rendered, say where each pixel of the view is from."""
    plan = plan_of(SMOOTH[name])
    h, w = plan.output_size
    y, x = torch.meshgrid(torch.arange(H) + 0.5, torch.arange(W) + 0.5, indexing="ij")
    drawn = am.render(torch.stack([x / W, y / H, torch.ones(H, W)])[None].repeat(4, 1, 1, 1), plan)
    vy, vx = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
    places = plan.to_source(torch.stack([vx, vy], -1).reshape(1, -1, 2).repeat(4, 1, 1)).view(4, h, w, 2)
    inside = ((places > 1).all(-1) & (places < torch.tensor([W - 1.0, H - 1.0])).all(-1) & (drawn[:, 2] > 0.999))
    assert inside.float().mean() > 0.25
    off = drawn[:, :2].movedim(1, -1) * torch.tensor([W, H]) - places
    assert off[inside].abs().max() < (0.15 if "Resize" in str(plan.recipe) else 2e-2)  # antialiased


def test_what_lies_behind_the_viewer_is_nowhere(route):
    m = np.array([[1, 0, 0], [0, 1, 0], [-0.03, 0, 1]])
    plan = am.Recipe([am.Warp(m.tolist())]).plan([0], size=SIZE)
    points = torch.tensor([[[-10.0, 10.0], [10.0, 10.0], [30.0, 10.0], [50.0, 10.0]]])
    found = plan.to_view(points)[0]
    before = [bool((m @ [x - 0.5, y - 0.5, 1])[2] > 0) for x, y in points[0].tolist()]
    seen = [not bool(p.isnan().any()) for p in found]
    assert seen in (before, [not b for b in before])  # which side is before the viewer is what the view's middle shows
    assert {True, False} == set(seen)
    for k, (x, y) in enumerate(points[0].tolist()):
        q = m @ [x - 0.5, y - 0.5, 1]  # OpenCV's matrix counts from the first pixel's centre
        assert not seen[k] or np.allclose(found[k], q[:2] / q[2] + 0.5, rtol=1e-3)


# ---- masks ----


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.int16, torch.int32, torch.int64])
@pytest.mark.parametrize("name", [*MOVES, *SMOOTH])
def test_masks_are_the_nearest_of_the_same_map(simd, name, dtype):
    """Rendering a picture of the mask with nearest taps and no antialias is the second witness: another code path."""
    masks = labels_of(dtype=torch.uint8)
    plan = plan_of({**MOVES, **SMOOTH}[name])
    found = plan.apply_mask((masks > 60) if dtype == torch.bool else masks.to(dtype), fill=0)
    assert found.dtype == dtype and found.shape == (4, *plan.output_size)
    h, w = plan.output_size
    y, x = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
    places = plan.to_source(torch.stack([x, y], -1).reshape(1, -1, 2).repeat(4, 1, 1)).view(4, h, w, 2)
    near = (places - places.round()).abs().min(-1).values < 2e-3  # a tie may go either way
    clear = ~near & (places > 0.01).all(-1) & (places < torch.tensor([W, H]) - 0.01).all(-1)
    if name in MOVES:
        clear = (places > 0).all(-1) & (places < torch.tensor([W, H])).all(-1)
    px = places.floor().long().clamp(min=0)
    px = torch.minimum(px, torch.tensor([W - 1, H - 1]))
    expected = masks[torch.arange(4)[:, None, None], px[..., 1], px[..., 0]]
    expected = (expected > 60) if dtype == torch.bool else expected.to(dtype)
    framed = am.render(torch.ones(4, 1, H, W), plan)[:, 0] > 0.99
    assert (clear & framed).float().mean() > 0.2
    assert torch.equal(found[clear & framed], expected[clear & framed])
    outside = am.render(torch.ones(4, 1, H, W), plan)[:, 0] < 0.01
    if name not in ("padded",):  # whose fill is 9
        assert bool((found[outside] == 0).all())


def test_masks_against_torchvision(route):
    from torchvision import tv_tensors
    masks = labels_of(2, dtype=torch.uint8)
    tv = tv_tensors.Mask(masks)
    cases = {
        "flip": ([am.RandomHorizontalFlip(1.0)], lambda m: F.horizontal_flip(m)),
        "crop": ([am.CenterCrop((40, 52))], lambda m: F.center_crop(m, [40, 52])),
        "pad": ([am.Pad(5)], lambda m: F.pad(m, [5])),
        "turn": ([am.RandomRotation((90, 90), expand=True)], lambda m: F.rotate(m, 90, expand=True)),
        "turn by 30": ([am.RandomRotation((30, 30))], lambda m: F.rotate(m, 30)),
    }
    for name, (ours, theirs) in cases.items():
        found = plan_of(ours, 2).apply_mask(tv)
        assert type(found) is tv_tensors.Mask
        assert (found == theirs(tv)).float().mean() > 0.995, name


def test_several_masks_of_a_sample_and_lists(route):
    sizes = torch.tensor([[60, 80], [50, 44], [32, 90]])
    recipe = am.Recipe([am.RandomResizedCrop(40), am.RandomHorizontalFlip()])
    plan = recipe.plan(range(3), size=sizes)
    g = torch.Generator().manual_seed(0)
    masks = [torch.randint(0, 9, (k, *s), generator=g) for k, s in zip((2, 0, 5), sizes.tolist(), strict=True)]
    found = plan.apply_mask(masks)
    assert [list(m.shape) for m in found] == [[2, 40, 40], [0, 40, 40], [5, 40, 40]]
    for i, s in enumerate(sizes.tolist()):
        alone = recipe.plan([i], size=tuple(s))
        if len(masks[i]):
            assert torch.equal(alone.apply_mask(masks[i][None])[0], found[i])
    flat = plan.apply_mask([m[0] if len(m) else torch.zeros(*s, dtype=torch.int64)
                            for m, s in zip(masks, sizes.tolist(), strict=True)])
    assert torch.equal(flat[0], found[0][0])


def test_mixed_masks_are_the_partners_in_its_box(route):
    masks = labels_of(6)
    recipe = am.Recipe([am.RandomHorizontalFlip(), am.CutMix()], num_classes=3)
    plan = recipe.plan(range(6), size=SIZE)
    own = am.Recipe([am.RandomHorizontalFlip()]).plan(range(6), size=SIZE).apply_mask(masks)
    found = plan.apply_mask(masks)
    for i, row in enumerate(plan.table()):
        x0, y0, x1, y1 = row["box"]
        expected = own[i].clone()
        expected[y0:y1, x0:x1] = own[row["partner"]][y0:y1, x0:x1]
        assert torch.equal(found[i], expected)


def test_a_shrunk_partners_mask(route):
    masks = labels_of(6)
    plan = am.Recipe([am.ResizeMix()], num_classes=3).plan(range(6), size=SIZE)
    found = plan.apply_mask(masks)
    for i, row in enumerate(plan.table()):
        x0, y0, x1, y1 = row["box"]
        ys, xs = ((torch.arange(b - a) + 0.5) * (side / (b - a)) for a, b, side in ((y0, y1, H), (x0, x1, W)))
        small = masks[row["partner"]][ys.long()][:, xs.long()]
        clear = ((ys - ys.round()).abs() > 1e-3)[:, None] & ((xs - xs.round()).abs() > 1e-3)  # a tie may go either way
        assert torch.equal(found[i, y0:y1, x0:x1][clear], small[clear]) and bool(clear.any())
        kept = torch.ones(SIZE, dtype=torch.bool)
        kept[y0:y1, x0:x1] = False
        assert torch.equal(found[i][kept], masks[i][kept])


def test_of_two_masks_laid_over_each_other_the_larger_share(route):
    masks = labels_of(8)
    plan = am.Recipe([am.MixUp(1.0)], num_classes=3).plan(range(8), size=SIZE)
    found = plan.apply_mask(masks)
    lams = plan.rows[:, am._native.WORDS["LAM"]].view(torch.float32)
    for i, row in enumerate(plan.table()):
        assert torch.equal(found[i], masks[i if lams[i] >= 0.5 else row["partner"]])


def test_erasures_leave_masks_alone(route):
    masks = labels_of()
    assert torch.equal(plan_of([am.RandomErasing(1.0)]).apply_mask(masks), masks)


# ---- depth ----


def test_sparse_depth_never_blends_with_a_hole(route):
    g = torch.Generator().manual_seed(5)
    valid = torch.rand(4, *SIZE, generator=g) < 0.3
    depth = torch.where(valid, 5 + torch.rand(4, *SIZE, generator=g), torch.tensor(float("nan")))
    plan = plan_of(SMOOTH["affine"])
    for mode in ("nearest", "bilinear"):
        found, known = plan.apply_depth(depth, valid, mode=mode)
        assert bool(torch.isfinite(found).all()) and 0.02 < known.float().mean() < 0.4
        assert bool(((found[known] >= 5) & (found[known] <= 6)).all()) and bool((found[~known] == 0).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_dense_depth_is_what_the_picture_would_be(route, dtype):
    depth = smooth_picture()[:, :1].to(dtype)
    plan = plan_of(SMOOTH["affine"])
    found, known = plan.apply_depth(depth, mode="bilinear")
    drawn = am.render(depth.float(), plan)
    inner = torch.nn.functional.avg_pool2d(am.render(torch.ones(4, 1, H, W), plan), 3, 1, 1)[:, 0] > 0.999
    assert found.dtype == dtype and bool(known[inner].all())
    assert (found.float() - drawn)[:, 0][inner].abs().max() < (2e-2 if dtype in (torch.float16, torch.bfloat16) else 1e-5)


# ---- flow ----


def test_flow_under_one_affine_map_is_its_linear_part(route):
    plan = plan_of(SMOOTH["affine"])
    flow = torch.tensor([2.0, -1.0]).view(1, 2, 1, 1).repeat(4, 1, *SIZE)
    found, known = plan.apply_flow(flow)
    m = plan.rows[:, :9].view(torch.float32).view(4, 3, 3).double()
    for i in range(4):
        expected = torch.linalg.inv(m[i])[:2, :2] @ torch.tensor([2.0, -1.0], dtype=torch.float64)
        assert (found[i].movedim(0, -1)[known[i]].double() - expected).abs().max() < 1e-3


def test_moving_the_second_frame_alone_adds_its_shift(route):
    still, moved = plan_of([am.Warp([[1, 0, 0], [0, 1, 0], [0, 0, 1]])]), plan_of([am.Warp([[1, 0, 4], [0, 1, -2], [0, 0, 1]])])
    flow = torch.randn(4, 2, *SIZE, generator=torch.Generator().manual_seed(0))
    same, known = still.apply_flow(flow)
    assert bool(known.all()) and (same - flow).abs().max() < 1e-5
    found, _ = still.apply_flow(flow, moved)
    assert (found - flow - torch.tensor([4.0, -2.0]).view(2, 1, 1)).abs().max() < 1e-4


def test_flow_of_a_flip(route):
    flow = torch.randn(2, 2, *SIZE, generator=torch.Generator().manual_seed(0))
    found, _ = plan_of([am.RandomHorizontalFlip(1.0)], 2).apply_flow(flow)
    assert (found - flow.flip(-1) * torch.tensor([-1.0, 1.0]).view(2, 1, 1)).abs().max() < 1e-4


# ---- boxes ----


def boxes_of(count=4, n=6, size=SIZE, seed=0):
    g = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, n, 2, generator=g) * torch.tensor([size[1] - 24.0, size[0] - 24.0])
    return torch.cat([corner, corner + 4 + 20 * torch.rand(count, n, 2, generator=g)], -1)


def test_boxes_against_torchvision(route):
    from torchvision import tv_tensors
    boxes = boxes_of(1)[0]
    tv = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=SIZE)
    cases = {
        "flip": ([am.RandomHorizontalFlip(1.0)], lambda b: F.horizontal_flip(b)),
        "crop": ([am.CenterCrop((40, 52))], lambda b: F.center_crop(b, [40, 52])),
        "pad": ([am.Pad(5)], lambda b: F.pad(b, [5])),
        "resize": ([am.Resize((30, 100))], lambda b: F.resize(b, [30, 100])),
        "turn by 30": ([am.RandomRotation((30, 30))], lambda b: F.rotate(b, 30)),
        "affine": ([am.RandomAffine((20, 20), shear=(8, 8), scale=(1.1, 1.1))],
                   lambda b: F.affine(b, 20, [0, 0], 1.1, [8, 0])),
    }
    for name, (ours, theirs) in cases.items():
        (found,), (keep,) = plan_of(ours, 1).apply_boxes([tv], tight=False, min_size=0, min_area=0)
        expected = F.clamp_bounding_boxes(theirs(tv))
        assert type(found) is tv_tensors.BoundingBoxes and tuple(found.canvas_size) == tuple(expected.canvas_size)
        real = (expected[:, 2:] - expected[:, :2]).min(1).values > 1e-3
        assert bool(keep[real].all()) and (found - expected)[keep].abs().max() < 2e-3, name


@pytest.mark.parametrize("format", ["xyxy", "xywh", "cxcywh"])
def test_formats_of_boxes(route, format):
    boxes = boxes_of()
    plan = plan_of(SMOOTH["affine"])
    expected, keep = plan.apply_boxes(boxes)
    a, b = boxes[..., :2], boxes[..., 2:]
    given = {"xyxy": boxes, "xywh": torch.cat([a, b - a], -1), "cxcywh": torch.cat([(a + b) / 2, b - a], -1)}[format]
    found, kept = plan.apply_boxes(given, format=format)
    x, y = found[..., :2], found[..., 2:]
    corners = {"xyxy": found, "xywh": torch.cat([x, x + y], -1), "cxcywh": torch.cat([x - y / 2, x + y / 2], -1)}[format]
    assert torch.equal(keep, kept) and (corners - expected)[keep].abs().max() < 1e-3


def test_a_tight_box_is_within_the_loose_one(route):
    boxes = boxes_of()
    for name in SMOOTH:
        plan = plan_of(SMOOTH[name])
        tight, keep = plan.apply_boxes(boxes, min_size=0, min_area=0)
        loose, _ = plan.apply_boxes(boxes, tight=False, min_size=0, min_area=0)
        assert bool((tight[..., :2] >= loose[..., :2] - 1e-2)[keep].all()), name
        assert bool((tight[..., 2:] <= loose[..., 2:] + 1e-2)[keep].all()), name


def test_visibility_is_the_share_of_the_boxs_area(route):
    plan = plan_of([am.CenterCrop((40, 40))], 1)  # shows x 20..60, y 10..50
    boxes = torch.tensor([[[10.0, 20, 30, 40], [0, 20, 25, 40], [30, 20, 50, 30], [0, 0, 10, 10]]])
    yes, no = True, False
    for least, expected in ((0.0, [yes, yes, yes, no]), (0.3, [yes, no, yes, no]), (0.6, [no, no, yes, no])):
        found, keep = plan.apply_boxes(boxes, min_visibility=least)
        assert keep[0].tolist() == expected
    assert found[0, 2].tolist() == [10, 10, 30, 20] and found[0, 3].tolist() == [0, 0, 0, 0]


def test_empty_boxes_pass_every_recipe(route):
    for transforms in [*MOVES.values(), *SMOOTH.values(), [am.MixUp()], [am.CutMix()]]:
        plan = am.Recipe(transforms, num_classes=2).plan(range(3), size=SIZE)
        boxes, keep = plan.apply_boxes(torch.zeros(3, 0, 4))
        assert boxes.shape == (3, 0, 4) and keep.shape == (3, 0)
        boxes, keep = plan.apply_boxes([torch.zeros(0, 4)] * 3)
        assert [len(b) for b in boxes] == [0, 0, 0]
        points, seen = plan.apply_keypoints(torch.zeros(3, 0, 2))
        assert points.shape == (3, 0, 2) and seen.shape == (3, 0)


def random_geometry(rng):
    """A random list of geometric transforms whose output has one size."""
    choices = [
        lambda: am.RandomHorizontalFlip(), lambda: am.RandomVerticalFlip(),
        lambda: am.RandomAffine(rng.uniform(0, 180), (0.2, 0.2), (0.6, 1.4), rng.uniform(0, 30)),
        lambda: am.RandomPerspective(rng.uniform(0, 0.6), 1.0), lambda: am.RandomRotation(rng.uniform(0, 90)),
        lambda: am.RandomResizedCrop((rng.randint(30, 80), rng.randint(30, 80)), (0.2, 1.0)),
        lambda: am.Resize((rng.randint(30, 90), rng.randint(30, 90))), lambda: am.Pad(rng.randint(0, 12)),
        lambda: am.CenterCrop((rng.randint(24, 60), rng.randint(24, 60))),
    ]
    picked = [rng.choice(choices)() for _ in range(rng.randint(1, 4))]
    if rng.random() < 0.3:
        picked.insert(rng.randrange(len(picked) + 1), am.RandomField(rng.uniform(0, 0.03), rng.uniform(0, 6), correlation=0.25))
    return [*picked, am.CenterCrop((48, 56))]


def test_a_filled_masks_hull_lies_in_its_box():
    """Over 1,000 random recipes: the mask of each box, warped, within its box by a pixel, and touching its sides."""
    rng = random.Random(0)
    loose = 0
    for case in range(1000):
        plan = plan_of(random_geometry(rng), 2, seed=case)
        boxes = boxes_of(2, 3, seed=case).round()
        masks = torch.zeros(2, 3, *SIZE, dtype=torch.uint8)
        for i in range(2):
            for k in range(3):
                x0, y0, x1, y1 = boxes[i, k].int().tolist()
                masks[i, k, y0:y1, x0:x1] = 1
        seen = plan.apply_mask(masks)
        found, keep = plan.apply_boxes(boxes, min_size=0, min_area=0)
        for i in range(2):
            for k in range(3):
                places = seen[i, k].nonzero()
                if not len(places):
                    continue
                (y0, x0), (y1, x1) = places.min(0).values.tolist(), (places.max(0).values + 1).tolist()
                assert bool(keep[i, k]), (case, i, k, plan.recipe)
                box = found[i, k].tolist()
                inside = x0 >= box[0] - 1 and y0 >= box[1] - 1 and x1 <= box[2] + 1 and y1 <= box[3] + 1
                assert inside, (case, i, k, box, plan.recipe)
                loose += max(x0 - box[0], y0 - box[1], box[2] - x1, box[3] - y1) > 3
    assert loose < 60  # of about 5,000: a thin sliver has pixels whose centres it misses


def test_boxes_of_a_cut_mix(route):
    plan = am.Recipe([am.CutMix()], num_classes=2).plan(range(8), size=SIZE)
    boxes = torch.tensor([[10.0, 10, 40, 30]]).repeat(8, 1, 1)
    found, keep = plan.apply_boxes(boxes, min_size=0, min_area=0)
    assert found.shape == (8, 2, 4)
    for i, row in enumerate(plan.table()):
        x0, y0, x1, y1 = row["box"]
        mask = torch.zeros(SIZE, dtype=torch.int64)
        mask[10:30, 10:40] = 1
        own, theirs = mask.clone(), torch.zeros_like(mask)
        own[y0:y1, x0:x1] = 0
        theirs[y0:y1, x0:x1] = mask[y0:y1, x0:x1]
        for k, left in enumerate((own, theirs)):
            at = left.nonzero()
            assert bool(keep[i, k]) == (len(at) > 0)
            if len(at):
                (b, a), (d, c) = at.min(0).values.tolist(), (at.max(0).values + 1).tolist()
                assert found[i, k].tolist() == [a, b, c, d]


# ---- targets ----


def targets_of(count, size=SIZE, seed=0):
    out = []
    for i in range(count):
        n = (3, 0, 2, 1)[i % 4]
        boxes = boxes_of(1, max(n, 1), size, seed + i)[0, :n].round()
        masks = torch.zeros(n, *size, dtype=torch.uint8)
        for k, (x0, y0, x1, y1) in enumerate(boxes.int().tolist()):
            masks[k, y0:y1, x0:x1] = 1
        points = torch.stack([boxes[:, :2] + 1, boxes[:, 2:] - 1], 1)
        points = torch.cat([points, torch.full((n, 2, 1), 2.0)], -1)
        out.append({"boxes": boxes, "labels": torch.arange(n) + 10 * i, "masks": masks, "keypoints": points,
                    "area": masks.flatten(1).sum(1).float(), "iscrowd": torch.zeros(n, dtype=torch.int64), "image_id": i})
    return out


@pytest.mark.parametrize("mix", [None, am.CutMix(), am.MixUp(), am.ResizeMix()], ids=str)
def test_targets_keep_what_belongs_together(route, mix):
    transforms = [am.RandomAffine(20, (0.2, 0.2)), am.CenterCrop((40, 50)), *([mix] if mix else [])]
    plan = am.Recipe(transforms, num_classes=3).plan(range(8), size=SIZE)
    targets = targets_of(8)
    partners = [row["partner"] for row in plan.table()]
    found = plan.apply_targets(targets)
    dropped = 0
    for i, t in enumerate(found):
        n = len(t["boxes"])
        assert all(len(t[name]) == n for name in ("labels", "masks", "keypoints", "area", "iscrowd")) and t["image_id"] == i
        owners = {int(label) // 10 for label in t["labels"]}
        assert owners <= {i, partners[i] if mix else i}
        assert torch.equal(t["area"], t["masks"].flatten(1).sum(1).float())
        dropped += len(targets[i]["boxes"]) - sum(int(label) // 10 == i for label in t["labels"])
        for box, mask in zip(t["boxes"], t["masks"], strict=True):
            at = mask.nonzero()
            if len(at):
                (y0, x0), (y1, x1) = at.min(0).values.tolist(), (at.max(0).values + 1).tolist()
                assert x0 >= box[0] - 1 and y0 >= box[1] - 1 and x1 <= box[2] + 1 and y1 <= box[3] + 1
        for flag, point in zip(t["keypoints"][..., 2].flatten(), t["keypoints"][..., :2].flatten(0, 1), strict=True):
            assert flag in (0, 2) and (flag == 0 or bool(((point >= 0) & (point <= torch.tensor([50.0, 40.0]))).all()))
    assert dropped > 0
    assert torch.equal(targets_of(8)[0]["boxes"], targets[0]["boxes"])  # the given ones are as they were


def test_tv_tensors_come_back_as_what_they_were(route):
    from torchvision import tv_tensors

    plan = plan_of([am.CenterCrop((40, 50))], 1)
    boxes = tv_tensors.BoundingBoxes([[20, 15, 30, 20]], format="XYWH", canvas_size=SIZE, clamping_mode="hard")
    given = {"boxes": boxes, "masks": tv_tensors.Mask(torch.ones(1, *SIZE).byte()), "labels": torch.tensor([2]),
             "keypoints": tv_tensors.KeyPoints([[[20.0, 15.0], [70.0, 50.0]]], canvas_size=SIZE)}
    (found,) = plan.apply_targets([given])
    assert {name: type(value) for name, value in found.items()} == {name: type(value) for name, value in given.items()}
    assert found["boxes"].format is boxes.format and found["boxes"].clamping_mode == "hard"
    assert found["boxes"].canvas_size == found["keypoints"].canvas_size == (40, 50)
    assert found["boxes"].tolist() == [[5, 5, 30, 20]]


def object_targets(**entries):
    """A box that a middle crop of 30 x 40 drops and two that it keeps."""
    return [{"boxes": torch.tensor([[0.0, 0, 5, 5], [30, 20, 50, 40], [25, 20, 35, 30]]), **entries}]


def test_what_lies_behind_the_counts_may_be_anything(route):
    """apply_keypoints itself puts NaN there."""
    plan, counts = plan_of([am.CenterCrop((30, 40))], 2), torch.tensor([1, 2])
    points, seen = plan.apply_keypoints(torch.full((2, 2, 2), 30.0), counts)
    assert points.isnan().any(2).tolist() == [[False, True], [False, False]]
    back, there = plan.undo_keypoints(points, counts)
    assert torch.equal(there, seen) and bool((back[there] == 30).all())
    boxes = torch.tensor([[[30.0, 20, 40, 30], [math.nan] * 4], [[30, 20, 40, 30], [math.inf] * 4]])
    assert plan.apply_boxes(boxes, torch.tensor([1, 1]))[1].tolist() == [[True, False]] * 2


def test_rows_that_are_no_tensors_go_with_their_boxes():
    """Else labels silently belong to other boxes than before."""
    plan = plan_of([am.CenterCrop((30, 40))], 1)
    (found,) = plan.apply_targets(object_targets(labels=[1, 2, 3], area=np.ones(3), names=["cat", "dog", "cow"], ids=(7, 8, 9)))
    assert found["labels"] == [2, 3] and found["names"] == ["dog", "cow"] and found["ids"] == (7, 8, 9)  # a tuple is one thing
    assert type(found["area"]) is np.ndarray and found["area"].tolist() == [400, 100]
    mixed = am.Recipe([am.MixUp()], num_classes=2).plan(range(2), size=SIZE)
    both = mixed.apply_targets([*object_targets(labels=[1, 2, 3]), *object_targets(labels=[4, 5, 6])])
    assert [t["labels"] for t in both] == [[1, 2, 3, 4, 5, 6], [4, 5, 6, 1, 2, 3]]


def test_what_is_the_pictures_stays_however_many_objects_there_are():
    plan = plan_of([am.CenterCrop((30, 40))], 1)
    entries = {"image_id": torch.tensor([7]), "orig_size": torch.tensor([60, 80]), "size": [60, 80]}
    for n in (1, 2):
        (found,) = plan.apply_targets([{"boxes": object_targets()[0]["boxes"][:n], **entries}])
        assert len(found["boxes"]) == n - 1
        assert found["image_id"].tolist() == [7] and found["orig_size"].tolist() == [60, 80] and found["size"] == [60, 80]


def test_keypoints_in_whole_numbers_are_not_cut_off():
    plan = plan_of([am.Resize((30, 40))], 1)
    points = torch.tensor([[[31, 21, 2]]])
    (found,) = plan.apply_targets([{"boxes": torch.tensor([[30.0, 20, 50, 40]]), "keypoints": points}])
    assert found["keypoints"].tolist() == [[[15.5, 10.5, 2]]]


# ---- undo ----


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("name", MOVES)
def test_moves_of_whole_pixels_come_back_bit_for_bit(route, name, mode):
    plan = plan_of(MOVES[name])
    picture = torch.rand(4, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    back, valid = plan.undo(am.render(picture, plan), mode=mode)
    assert torch.equal(back.movedim(1, -1)[valid], picture.movedim(1, -1)[valid])
    assert bool((back.movedim(1, -1)[~valid] == 0).all())
    if name not in ("crop", "padded crop", "shift"):
        assert bool(valid.all())
    else:
        assert valid.float().mean() > 0.3


@pytest.mark.parametrize("name", SMOOTH)
def test_a_smooth_picture_comes_back(simd, name):
    plan = plan_of(SMOOTH[name])
    picture = smooth_picture()
    back, valid = plan.undo(am.render(picture, plan))
    assert valid.float().mean() > 0.3
    off = (back - picture).abs().movedim(1, -1)[valid]
    assert off.mean() < 2 / 255 / 4 and off.max() < 12 / 255


def test_a_photograph_comes_back_but_for_what_resampling_blurs(route):
    picture = torch.from_numpy(pictures(96, 128)).permute(0, 3, 1, 2).float() / 255
    plan = plan_of([am.RandomAffine(15, interpolation="bilinear")], size=(96, 128))
    back, valid = plan.undo(am.render(picture, plan))
    assert (back - picture).abs().movedim(1, -1)[valid].mean() < 0.03


def test_a_depth_ramp_turned_by_ten_degrees(route):
    y, x = torch.meshgrid(torch.arange(H) + 0.5, torch.arange(W) + 0.5, indexing="ij")
    ramp = (0.3 * x / W + 0.6 * y / H)[None, None]
    plan = plan_of([am.RandomRotation((10, 10), "bilinear")], 1)
    back, valid = plan.undo(am.render(ramp, plan))
    assert (back - ramp)[:, 0][valid].abs().max() < 1e-3


def test_labels_come_back_by_their_nearest(route):
    labels = torch.arange(H)[:, None].expand(H, W).div(10, rounding_mode="floor")[None].repeat(4, 1, 1)
    plan = plan_of(SMOOTH["affine"])
    back, valid = plan.undo(plan.apply_mask(labels, fill=-1), mode="nearest", fill=-1)
    assert back.dtype == torch.int64 and bool((back[~valid] == -1).all())
    assert (back == labels)[valid].float().mean() > 0.9  # a border of ten pixels' bands may move by one


def test_sources_of_different_sizes_come_back_as_a_list(route):
    sizes = torch.tensor([[60, 80], [50, 44]])
    plan = am.Recipe([am.Resize((64, 64)), am.RandomHorizontalFlip(1.0)]).plan(range(2), size=sizes)
    view = smooth_picture(2, (64, 64)).requires_grad_()
    back, valid = plan.undo(view)
    assert [list(b.shape) for b in back] == [[3, 60, 80], [3, 50, 44]] and [list(v.shape) for v in valid] == sizes.tolist()
    sum(b.sum() for b in back).backward()
    seen = sum(int(v.sum()) for v in valid)
    assert view.grad.shape == view.shape and float(view.grad.sum()) == pytest.approx(3 * seen, rel=1e-4)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("name", ["flip", "affine", "perspective", "field"])
def test_the_gradient_is_the_adjoint(route, name, mode):
    """undo is linear in the prediction: <undo(a), b> = <a, gradient of b>."""
    plan = plan_of({**MOVES, **SMOOTH}[name])
    g = torch.Generator().manual_seed(1)
    a = torch.rand(4, 2, *plan.output_size, generator=g).requires_grad_()
    out, _ = plan.undo(a, mode=mode)
    b = torch.rand(out.shape, generator=g)
    out.backward(b)
    other = torch.rand(a.shape, generator=g)
    moved, _ = plan.undo(other, mode=mode)
    assert float((moved.double() * b).sum()) == pytest.approx(float((other.double() * a.grad).sum()), rel=1e-5)


def test_a_second_derivative_is_refused():
    """A gradient penalty would silently lose the part that goes through undo."""
    plan = plan_of(SMOOTH["affine"], 1)
    prediction, scale = torch.rand(1, *SIZE, requires_grad=True), torch.ones((), requires_grad=True)
    found, _ = plan.undo(prediction * scale)
    (slope,) = torch.autograd.grad((found ** 2).sum(), prediction, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        (slope ** 2).sum().backward()


def test_boxes_and_points_come_back(route):
    boxes, points = boxes_of(), boxes_of()[..., :2] + 1
    for name, transforms in {**MOVES, "affine without a turn": [am.RandomAffine(0, (0.05, 0.05), (0.9, 1.1))]}.items():
        plan = plan_of(transforms)
        there, keep = plan.apply_boxes(boxes, min_visibility=0.9999)
        back, _ = plan.undo_boxes(there)
        assert (back - boxes)[keep].abs().max() < 1e-3, name
    for name, transforms in SMOOTH.items():
        plan = plan_of(transforms)
        there, seen = plan.apply_keypoints(points)
        back, shown = plan.undo_keypoints(torch.nan_to_num(there))
        assert (back - points)[seen].abs().max() < (0.25 if name in FIELDS else 0.05), name
        assert (seen == shown)[seen].float().mean() > 0.97


def test_a_field_without_motions_moves_nothing(route):
    """As a row from a file may say: it has a field that moves, of no function."""
    recipe = am.Recipe([am.RandomField(0.05)])
    plan = recipe.plan(range(4), size=SIZE)
    at = recipe.info["layer_words"] - am._native.FIELD_WORDS + am._native.FIELD["SIGMA"]
    plan.rows[:, at:at + 5] = 0
    masks, boxes = labels_of(), boxes_of()
    assert torch.equal(plan.apply_mask(masks), masks)
    assert torch.equal(plan.undo(masks, mode="nearest")[0], masks)
    there, keep = plan.apply_boxes(boxes)
    assert (there - boxes)[keep].abs().max() < 1e-3 and keep.any()


def test_a_mixed_view_cannot_be_taken_apart():
    plan = am.Recipe([am.MixUp()], num_classes=2).plan(range(2), size=SIZE)
    for call in (lambda: plan.undo(torch.zeros(2, 3, *SIZE)), lambda: plan.undo_boxes(torch.zeros(2, 1, 4)),
                 lambda: plan.undo_keypoints(torch.zeros(2, 1, 2))):
        with pytest.raises(am.ArgumentError, match="does not mix, because a view of two pictures cannot be taken apart"):
            call()


def test_one_launch_for_each_kind(route):
    plan = am.Recipe([am.RandomResizedCrop(32), am.RandomField(0.02), am.CutMix()], num_classes=2).plan(range(4), size=SIZE)
    masks, boxes = labels_of(), boxes_of()
    for call in (lambda: plan.apply_mask(masks), lambda: plan.apply_boxes(boxes), lambda: plan.apply_keypoints(boxes[..., :2]),
                 lambda: plan.apply_depth(masks.float())):
        before = am._native.launch_count()
        call()
        assert am._native.launch_count() - before == 1


@pytest.mark.cpu
def test_instruction_sets_and_threads_agree(simd):
    masks, boxes = labels_of(), boxes_of()
    for name, transforms in SMOOTH.items():
        plan = plan_of(transforms)
        found = plan.apply_mask(masks), plan.apply_boxes(boxes)[0], plan.to_view(boxes[..., :2])
        simd("base")
        threads = torch.get_num_threads()
        torch.set_num_threads(3)
        base = plan.apply_mask(masks), plan.apply_boxes(boxes)[0], plan.to_view(boxes[..., :2])
        torch.set_num_threads(threads)
        assert (found[0] == base[0]).float().mean() > 0.999, name
        assert (found[1] - base[1]).abs().max() < 2e-2 and (found[2] - base[2]).abs().nan_to_num().max() < 2e-2, name


PLAN = plan_of(SMOOTH["affine"])
MIXED = am.Recipe([am.CutMix()], num_classes=2).plan(range(4), size=SIZE)
MASKED = am.Recipe([am.MaskMix()], num_classes=2).plan(range(4), size=SIZE)
VARIED = am.Recipe([am.RandomResizedCrop(32)]).plan(range(2), size=torch.tensor([[60, 80], [50, 44]]))
ZEROS = torch.zeros(4, *SIZE)
BAD = {
    "mask of floats": (lambda: PLAN.apply_mask(ZEROS), am.DtypeError, "integers or bools"),
    "mask of another size": (lambda: PLAN.apply_mask(torch.zeros(4, 60, 81, dtype=torch.int64)), am.ShapeError, "60, 80"),
    "mask of another batch": (lambda: PLAN.apply_mask(torch.zeros(3, *SIZE, dtype=torch.int64)), am.ShapeError,
                              r"\[4, N, 60, 80\]"),
    "mask of five axes": (lambda: PLAN.apply_mask(torch.zeros(4, 1, 1, *SIZE, dtype=torch.int64)), am.ShapeError,
                          "without the N"),
    "fill beyond a byte": (lambda: PLAN.apply_mask(labels_of(dtype=torch.uint8), fill=256), am.ArgumentError, "0 to 255"),
    "fill of half": (lambda: PLAN.apply_mask(labels_of(), fill=0.5), am.ArgumentError, "whole number"),
    "short list": (lambda: PLAN.apply_mask([torch.zeros(SIZE, dtype=torch.int64)]), am.ShapeError, "a list of 4"),
    "list of two dtypes": (lambda: PLAN.apply_mask([labels_of(1)[0]] * 3 + [labels_of(1)[0].int()]), am.DtypeError,
                           "as the first"),
    "tensor for pictures of two sizes": (lambda: VARIED.apply_mask(torch.zeros(2, 60, 80, dtype=torch.int64)), am.ShapeError,
                                         "a list"),
    "wrong size in a list": (lambda: VARIED.apply_mask([torch.zeros(60, 80).int(), torch.zeros(50, 45).int()]), am.ShapeError,
                             r"masks\[1\].*50, 44"),
    "objects' masks of a mix": (lambda: MIXED.apply_mask([torch.zeros(1, *SIZE).int()] * 4), am.ArgumentError, "apply_targets"),
    "text for masks": (lambda: PLAN.apply_mask("mask"), am.ArgumentError, "masks"),
    "none for masks": (lambda: PLAN.apply_mask(None), am.ArgumentError, "masks"),
    "integer depth": (lambda: PLAN.apply_depth(labels_of()), am.DtypeError, "floats"),
    "validity of numbers": (lambda: PLAN.apply_depth(ZEROS, ZEROS), am.DtypeError, "bools"),
    "validity of another size": (lambda: PLAN.apply_depth(ZEROS, torch.ones(4, 60, 81).bool()), am.ShapeError, "like depth"),
    "depth of several channels in a mix": (lambda: MIXED.apply_depth([torch.zeros(3, *SIZE)] * 3 + [torch.zeros(1, *SIZE)]),
                                           am.ShapeError, "as many channels"),
    "cubic depth": (lambda: PLAN.apply_depth(ZEROS, mode="bicubic"), am.ArgumentError, "'nearest', 'bilinear'"),
    "flow of one channel": (lambda: PLAN.apply_flow(ZEROS[:, None]), am.ShapeError, r"\[B, 2, H, W\]"),
    "flow of doubles": (lambda: PLAN.apply_flow(torch.zeros(4, 2, *SIZE).double()), am.DtypeError, "float32"),
    "flow of a mix": (lambda: MIXED.apply_flow(torch.zeros(4, 2, *SIZE)), am.ArgumentError, "do not mix"),
    "flow to no plan": (lambda: PLAN.apply_flow(torch.zeros(4, 2, *SIZE), 3), am.ArgumentError, "next_plan"),
    "flow to a shorter plan": (lambda: PLAN.apply_flow(torch.zeros(4, 2, *SIZE), PLAN[:2]), am.ArgumentError, "4 rows"),
    "flow to other rows": (lambda: PLAN.apply_flow(torch.zeros(4, 2, *SIZE), plan_of([am.ColorJitter(0.1)])), am.ArgumentError,
                           "steps"),
    "boxes of three": (lambda: PLAN.apply_boxes(torch.zeros(4, 2, 3)), am.ShapeError, r"\[4, N, 4\]"),
    "boxes of another batch": (lambda: PLAN.apply_boxes(torch.zeros(5, 2, 4)), am.ShapeError, r"\[4, N, 4\]"),
    "boxes of one sample": (lambda: PLAN.apply_boxes(torch.zeros(2, 4)), am.ShapeError, r"\[4, N, 4\]"),
    "box that is no number": (lambda: PLAN.apply_boxes(torch.full((4, 1, 4), math.nan)), am.ArgumentError, "finite"),
    "infinite box": (lambda: PLAN.apply_boxes([torch.full((1, 4), math.inf)] * 4), am.ArgumentError, "finite"),
    "boxes of bools": (lambda: PLAN.apply_boxes(torch.zeros(4, 1, 4).bool()), am.DtypeError, "numbers"),
    "unknown format": (lambda: PLAN.apply_boxes(torch.zeros(4, 1, 4), format="yxyx"), am.ArgumentError, "'xyxy'"),
    "counts of a list": (lambda: PLAN.apply_boxes([torch.zeros(1, 4)] * 4, torch.ones(4).long()), am.ArgumentError, "counts"),
    "counts beyond": (lambda: PLAN.apply_boxes(torch.zeros(4, 1, 4), torch.tensor([0, 1, 2, 1])), am.ArgumentError, "0 to 1"),
    "counts of another batch": (lambda: PLAN.apply_boxes(torch.zeros(4, 1, 4), torch.ones(3).long()), am.ShapeError, r"\[4\]"),
    "counts of floats": (lambda: PLAN.apply_boxes(torch.zeros(4, 1, 4), torch.ones(4)), am.DtypeError, "integers"),
    "visibility of two": (lambda: PLAN.apply_boxes(torch.zeros(4, 1, 4), min_visibility=2), am.ArgumentError, "0 to 1"),
    "negative size": (lambda: PLAN.apply_boxes(torch.zeros(4, 1, 4), min_size=-1), am.ArgumentError, "at least 0"),
    "tight by a word": (lambda: PLAN.apply_boxes(torch.zeros(4, 1, 4), tight="yes"), am.ArgumentError, "True or False"),
    "points of three": (lambda: PLAN.apply_keypoints(torch.zeros(4, 2, 3)), am.ShapeError, r"\[4, N, 2\]"),
    "unknown convention": (lambda: PLAN.apply_keypoints(torch.zeros(4, 2, 2), convention="pil"), am.ArgumentError, "'edge'"),
    "prediction of another size": (lambda: PLAN.undo(torch.zeros(4, 1, 60, 81)), am.ShapeError, "60, 80"),
    "prediction without a batch": (lambda: PLAN.undo(torch.zeros(60, 80)), am.ShapeError, r"\[4, C, 60, 80\]"),
    "blended labels": (lambda: PLAN.undo(labels_of()), am.DtypeError, "mode='nearest'"),
    "unknown mode": (lambda: PLAN.undo(ZEROS, mode="linear"), am.ArgumentError, "'bilinear'"),
    "targets of a dict": (lambda: PLAN.apply_targets({"boxes": torch.zeros(1, 4)}), am.ArgumentError, "a list of dicts"),
    "targets of another batch": (lambda: PLAN.apply_targets(targets_of(3)), am.ShapeError, "4 dicts"),
    "targets without boxes": (lambda: PLAN.apply_targets([{"labels": torch.zeros(1)}] * 4), am.ArgumentError, "'boxes'"),
    "masks of fewer objects": (lambda: PLAN.apply_targets([{**t, "masks": t["masks"][:1]} for t in targets_of(4)]), am.ShapeError,
                               r"targets\[0\]\['masks'\]: expected \[3, H, W\]"),
    "labels of fewer objects": (lambda: PLAN.apply_targets([{**t, "labels": t["labels"][:1]} for t in targets_of(4)]),
                                am.ShapeError, r"targets\[0\]\['labels'\]: expected 3 rows"),
    "labels that are none": (lambda: PLAN.apply_targets([{**t, "labels": None} for t in targets_of(4)]), am.ShapeError,
                             "NoneType"),
    "points of two kinds in a mix": (lambda: MIXED.apply_targets([{**t, "keypoints": t["keypoints"][:, :i % 2 + 1]} for i, t in
                                                                  enumerate(targets_of(4))]), am.ShapeError, "mixed with"),
    "rows of two kinds in a mix": (lambda: MIXED.apply_targets([{**t, "more": torch.zeros(len(t["boxes"]), i + 1)} for i, t in
                                                                enumerate(targets_of(4))]), am.ShapeError, "mixed with"),
    "boxes of nothing": (lambda: PLAN.apply_boxes([torch.zeros(3, 0)] * 4), am.ShapeError, r"\[N, 4\]"),
    "masks of a given mask's mix": (lambda: MASKED.apply_mask(labels_of()), am.ArgumentError, "without MaskMix"),
    "depth of a given mask's mix": (lambda: MASKED.apply_depth(ZEROS), am.ArgumentError, "without MaskMix"),
    "boxes of a given mask's mix": (lambda: MASKED.apply_boxes(torch.zeros(4, 1, 4)), am.ArgumentError, "without MaskMix"),
    "points of a given mask's mix": (lambda: MASKED.apply_keypoints(torch.zeros(4, 1, 2)), am.ArgumentError, "without MaskMix"),
    "targets of a given mask's mix": (lambda: MASKED.apply_targets(targets_of(4)), am.ArgumentError, "without MaskMix"),
    "masks of some": (lambda: PLAN.apply_targets([*targets_of(3), {"boxes": torch.zeros(0, 4)}]), am.ArgumentError, "'masks'"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_travel(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=r"expected .*given"):
        call()
    with pytest.raises(error, match=message):
        call()


def test_what_comes_back_lies_on_the_canvas_of_its_source():
    from torchvision import tv_tensors

    boxes = tv_tensors.BoundingBoxes([[1.0, 1, 5, 5]], format="XYXY", canvas_size=(32, 32))
    points = tv_tensors.KeyPoints([[1.0, 1]], canvas_size=(32, 32))
    for plan, sizes in ((VARIED, [(60, 80), (50, 44)]), (am.Recipe([am.CenterCrop(32)]).plan(range(2), size=SIZE), [SIZE] * 2)):
        assert [b.canvas_size for b in plan.undo_boxes([boxes] * 2)[0]] == sizes
        assert [p.canvas_size for p in plan.undo_keypoints([points] * 2)[0]] == sizes
        mine = [tv_tensors.wrap(torch.tensor([[1.0, 1, 5, 5]]), like=boxes, canvas_size=size) for size in sizes]
        assert [b.canvas_size for b in plan.apply_boxes(mine)[0]] == [(32, 32)] * 2


def canvas(kind, size=(30, 44), batch=()):
    from torchvision import tv_tensors

    if kind == "points":
        return tv_tensors.KeyPoints(torch.full((*batch, 1, 2), 9.0), canvas_size=size)
    return tv_tensors.BoundingBoxes(torch.tensor([3.0, 3, 9, 9]).expand(*batch, 1, 4), format="XYXY", canvas_size=size)


IOU = am.Recipe([am.RandomIoUCrop(), am.Resize((8, 8))])
ON_SIZE = [canvas("boxes", SIZE)] * 3
CANVASES = {
    "boxes": (lambda: PLAN.apply_boxes([*ON_SIZE, canvas("boxes")]), "boxes[3]", SIZE),
    "points as one tensor": (lambda: PLAN.apply_keypoints(canvas("points", batch=(4,))), "points", SIZE),
    "the other sample's": (lambda: VARIED.apply_boxes([canvas("boxes", SIZE)] * 2), "boxes[1]", (50, 44)),
    "points": (lambda: PLAN.apply_keypoints([canvas("points")] * 4), "points[0]", SIZE),
    "positions": (lambda: PLAN.to_view([canvas("points")] * 4), "points[0]", SIZE),
    "boxes of views": (lambda: VARIED.undo_boxes([canvas("boxes")] * 2), "boxes[0]", (32, 32)),
    "points of views": (lambda: VARIED.undo_keypoints([canvas("points")] * 2), "points[0]", (32, 32)),
    "targets": (lambda: PLAN.apply_targets([*({"boxes": b} for b in ON_SIZE), {"boxes": canvas("boxes")}]), "targets[3]['boxes']",
                SIZE),
    "keypoints of targets": (lambda: PLAN.apply_targets([{"boxes": b, "keypoints": canvas("points", batch=(1,))}
                                                         for b in [*ON_SIZE, ON_SIZE[0]]]), "targets[0]['keypoints']", SIZE),
    "for RandomIoUCrop": (lambda: IOU.plan([0], size=SIZE, boxes=[canvas("boxes")]), "boxes[0]", SIZE),
}


@pytest.mark.parametrize("name", CANVASES)
def test_another_canvas_than_the_plans(name):
    """Whose boxes would be taken for those of a picture of another size."""
    call, where, expected = CANVASES[name]
    with pytest.raises(am.ShapeError) as error:
        call()
    said, given = str(error.value), SIZE if name == "the other sample's" else (30, 44)
    assert said.startswith(f"{where}: expected canvas_size {expected}, ") and said.endswith(f"given {given}")


TARGET = {"boxes": torch.tensor([[3.0, 3, 9, 9]]), "masks": torch.ones(1, *SIZE, dtype=torch.uint8),
          "keypoints": torch.full((1, 2, 2), 5.0)}
TARGETS = {
    "boxes that are no numbers": ({"boxes": torch.full((1, 4), math.nan)}, "targets[1]['boxes']: expected finite"),
    "boxes of three": ({"boxes": torch.zeros(1, 3)}, "targets[1]['boxes']: expected [N, 4]"),
    "boxes of bools": ({"boxes": torch.ones(1, 4).bool()}, "targets[1]['boxes']: expected numbers"),
    "boxes of text": ({"boxes": "boxes"}, "targets[1]['boxes']: expected"),
    "no boxes": ({"boxes": None}, "targets[1]['boxes']: expected"),
    "masks of floats": ({"masks": torch.ones(1, *SIZE)}, "targets[1]['masks']: expected integers"),
    "masks of another dtype": ({"masks": torch.ones(1, *SIZE).bool()}, "targets[1]['masks']: expected torch.uint8"),
    "masks of another size": ({"masks": torch.ones(1, 9, 9).byte()}, "targets[1]['masks']: expected [N, 60, 80]"),
    "masks of text": ({"masks": "masks"}, "targets[1]['masks']: expected"),
    "points that are infinite": ({"keypoints": torch.full((1, 2, 2), math.inf)}, "targets[1]['keypoints']: expected finite"),
    "points of bools": ({"keypoints": torch.ones(1, 2, 2).bool()}, "targets[1]['keypoints']: expected numbers"),
}


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_wrong_in_targets_is_called_as_it_was_given(name):
    entries, message = TARGETS[name]
    with pytest.raises(am.AnamorphError) as error:
        PLAN.apply_targets([TARGET, {**TARGET, **entries}, TARGET, TARGET])
    assert str(error.value).startswith(message)


def test_two_formats_and_a_given_mask_are_those_of_targets():
    for plan, boxes in ((PLAN, canvas("boxes", SIZE)), (MASKED, TARGET["boxes"])):
        with pytest.raises(am.ArgumentError, match=r"^targets: expected"):
            plan.apply_targets([{"boxes": TARGET["boxes"]}, *[{"boxes": boxes}] * 3])


@pytest.mark.parametrize("side", [1e19, 1e20, 1e30, 1e38, 3e38])
def test_boxes_as_large_as_float32_is(route, side):
    """Their areas are not of float32. Such a box holds the whole view, of which it is next to nothing."""
    big, small = [-side, -side, side, side], [30.0, 20, 50, 40]
    for transforms in ([am.CenterCrop((30, 40))], [am.RandomRotation(20, "bilinear")], [am.RandomField(0.01)]):
        plan = plan_of(transforms, 1)
        boxes, keep = plan.apply_boxes(torch.tensor([[big, small]]))
        assert keep.tolist() == [[True, True]], transforms
        if transforms[0] == am.CenterCrop((30, 40)):
            assert boxes.tolist() == [[[0, 0, 40, 30], [10, 5, 30, 25]]]
        assert plan.apply_boxes(torch.tensor([[big, small]]), min_visibility=1e-3)[1].tolist() == [[False, True]]
    plan = plan_of([am.CenterCrop((30, 40))], 1)
    back, keep = plan.undo_boxes(torch.tensor([[big]]))
    assert bool(keep) and back.tolist() == [[[20, 15, 60, 45]]]
    aside = [-100.0, -100, side, side]  # whose middle is far away; the other one's is the source's corner
    assert plan_of([am.Pad(10)], 1).apply_boxes(torch.tensor([[big, aside]]), middles=True)[1].tolist() == [[True, False]]


# ---- findings of readers who tried to break it ----


def test_a_sample_that_is_its_own_partner_is_as_it_was(route):
    """Alone in its batch, or in the middle of one that is paired by mirroring: no picture is mixed with itself."""
    boxes, points = torch.tensor([[[7.0, 10, 67, 54]]]), torch.tensor([[[37.0, 32.0]]])
    image = torch.rand(1, 1, *SIZE)
    for mixer in (am.CutMix(), am.ResizeMix(), am.MixUp(), am.CutMix(mode="batch", partner="flip")):
        recipe = am.Recipe([mixer], num_classes=2)
        plan = recipe.plan([5], size=SIZE)
        view, soft = am.render(image, plan, targets=torch.tensor([1]))
        assert torch.equal(view, image) and torch.equal(soft, torch.tensor([[0.0, 1.0]]))
        moved, keep = plan.apply_boxes(boxes)
        assert keep.tolist() == [[True, False]] and torch.equal(moved[:, :1], boxes)
        assert plan.apply_keypoints(points)[1].tolist() == [[True, False]]
        assert torch.equal(plan.apply_mask((image[:, 0] > 0.5).byte()), (image[:, 0] > 0.5).byte())
    plan = am.Recipe([am.ResizeMix(partner="flip")], num_classes=2).plan(range(3), size=SIZE, seed=1)
    images = torch.zeros(3, 1, *SIZE)
    images[..., :40] = 1
    views = am.render(images, plan, targets=torch.tensor([0, 1, 1]))[0]
    assert torch.equal(plan.apply_mask((images[:, 0] > 0.5).byte())[1], (views[1, 0] > 0.5).byte())


@pytest.mark.parametrize("recipe", [[am.RandomRotation((30, 30))], [am.RandomZoomOut(p=1.0), am.Resize((40, 50))],
                                    [am.Pad(7), am.Resize((40, 50))]])
def test_what_is_undone_by_nearest_pixels_and_valid_is_the_pictures(recipe, route):
    plan = am.Recipe(recipe).plan([0, 1], size=(40, 40), seed=3)
    mask = plan.apply_mask(torch.ones(2, 40, 40, dtype=torch.uint8))
    back, valid = plan.undo(mask, mode="nearest")
    assert back[valid].all() and valid.float().mean() > 0.5


def test_what_lies_nowhere_may_go_back_and_forth(route):
    plan = am.Recipe([am.RandomPerspective(0.9, p=1.0)]).plan(range(4), size=SIZE)
    far = torch.tensor([[[10.0, 10], [1e6, -1e6], [math.nan, 3]]]).expand(4, 3, 2)
    there = plan.to_view(far)
    assert there[:, 2].isnan().all() and plan.to_source(there).isnan()[:, 2].all()
    back, seen = plan.undo_keypoints(there)
    known = ~there[:, 0].isnan().any(-1)
    assert not seen[:, 2].any() and known.sum() >= 2 and (back - far)[known, 0].abs().max() < 0.1
    with pytest.raises(am.ArgumentError, match="finite numbers, given inf"):
        plan.to_view(far * math.inf)
    with pytest.raises(am.ArgumentError, match="finite numbers, given nan"):
        plan.apply_keypoints(far)


def test_random_iou_crop_keeps_the_boxes_that_torchvisions_keeps(route):
    """Those whose middle the crop has, as SSD does; all that are seen with middles=False."""
    boxes = torch.rand(200, 6, 4, generator=torch.Generator().manual_seed(1)) * torch.tensor([60.0, 40, 20, 20])
    boxes[..., 2:] += boxes[..., :2] + 2
    recipe = am.Recipe([am.RandomIoUCrop(), am.RandomHorizontalFlip(), am.Resize((30, 30))])
    plan = recipe.plan(range(200), size=SIZE, boxes=boxes)
    _, keep = plan.apply_boxes(boxes)
    _, seen = plan.apply_boxes(boxes, middles=False)
    middle = plan.to_view((boxes[..., :2] + boxes[..., 2:]) / 2)
    inside = ((middle >= 0) & (middle < 30)).all(-1)
    assert torch.equal(keep, seen & inside) and bool((seen & ~inside).any())


def test_random_iou_crop_gives_the_boxes_that_torchvision_gives(route, monkeypatch):
    """torchvision's own code, given for its random numbers those that make the crop that the plan drew. Whole numbers, so that
    middles lie on the border of many a crop."""
    from torchvision import tv_tensors

    boxes = torch.randint(0, 30, (12, 4), generator=torch.Generator().manual_seed(2)).float()
    boxes[:, 2:] += boxes[:, :2] + 2
    boxes[4] = torch.tensor([0.0, 0, W, H])  # whose middle most crops have
    count, given = 300, {"image": tv_tensors.Image(torch.zeros(1, *SIZE)),
                         "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=SIZE)}
    recipe = am.Recipe([am.RandomIoUCrop(sampler_options=[0.0]), am.Resize((48, 64))])
    plan = recipe.plan(range(count), size=SIZE, boxes=[given["boxes"]] * count)
    found, keep = plan.apply_boxes(boxes.repeat(count, 1, 1), min_size=0, min_area=0)
    corners = plan.to_source(torch.tensor([[[0.0, 0], [64, 48]]]).repeat(count, 1, 1))
    borders = 0
    for i, ((left, top), (right, bottom)) in enumerate(corners.round().int().tolist()):
        w, h = right - left, bottom - top
        if (w, h) == (W, H):
            continue
        sizes, places = [(w + 0.5) / W, (h + 0.5) / H], [(at + 0.5) / max(room, 1) for at, room in ((left, W - w), (top, H - h))]
        numbers = iter([[(s - 0.3) / 0.7 for s in sizes], places])
        monkeypatch.setattr(torch, "rand", lambda *_, numbers=numbers: torch.tensor(next(numbers), dtype=torch.float64))
        theirs = V2.RandomIoUCrop(sampler_options=[0.0])(given)
        monkeypatch.undo()
        assert theirs["image"].shape == (1, h, w) and next(numbers, None) is None
        corner = torch.tensor([left, top] * 2)
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2 - corner[:2]
        far = torch.tensor([w, h])
        on = ((middle == 0) | (middle == far)).any(1) & ((middle >= 0) & (middle <= far)).all(1)
        kept = (theirs["boxes"] != 0).any(1)
        borders += int(on.sum())
        assert torch.equal(keep[i], kept), (i, left, top, w, h)
        expected = theirs["boxes"].as_subclass(torch.Tensor) * torch.tensor([64 / w, 48 / h] * 2)
        assert (found[i] - expected).abs().max() < 1e-3
    assert borders > 20


def test_entries_are_the_objects_where_they_are_so_in_every_target():
    plan = am.Recipe([am.CenterCrop(20)]).plan([0, 1], size=SIZE)
    box = [30.0, 20, 45, 35]
    given = [{"boxes": torch.tensor([box, [0.0, 0, 5, 5]]), "labels": ["a", "b"], "img_shape": (60, 80), "scale": [2.0, 3.0]},
             {"boxes": torch.tensor([box]), "labels": ["c"], "img_shape": (60, 80), "scale": [2.0, 3.0]}]
    one, other = plan.apply_targets(given)
    assert one["labels"] == ["a"] and other["labels"] == ["c"]
    assert one["img_shape"] == (60, 80) and one["scale"] == other["scale"] == [2.0, 3.0]
