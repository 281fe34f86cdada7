"""Erasing of several boxes, coarse dropout, and timm's forms of CutMix, against timm and albumentations' definition."""

from __future__ import annotations

import inspect
import random

import numpy as np
import pytest
import torch
from scipy import stats

import anamorph as am
from anamorph.bench._torchvision import v2 as load_torchvision
from pictures import pictures, render, word

load_torchvision()  # before timm, which imports it
from timm.data.mixup import mixup_target, rand_bbox_minmax  # noqa: E402
from timm.data.random_erasing import RandomErasing  # noqa: E402

pytestmark = pytest.mark.usefixtures("route")

SIZE = 50, 70
COUNT = 800


def erased(transform, count=COUNT, **key) -> list[list[tuple[int, int, int, int]]]:
    """The boxes (x0, y0, x1, y1) of each sample."""
    plan = am.Recipe([transform]).plan(range(count), size=SIZE, **key)
    return [[box for box, _ in row["erased"]] for row in plan.table()]


def black(transform, count=COUNT, **key) -> np.ndarray:
    """Where white pictures were erased."""
    white = torch.ones(count, *SIZE, 1)
    return (am.render(white, am.Recipe([transform]).plan(range(count), size=SIZE, **key), layout="NHWC")[:, 0] == 0).numpy()


def alike(ours, theirs) -> None:
    assert stats.ks_2samp(ours, theirs).pvalue > 1e-3


@pytest.mark.parametrize(("least", "most"), [(1, 1), (3, 3), (1, 5), (2, 9)])
def test_several_boxes_are_timms(least, most):
    random.seed(0)
    theirs = RandomErasing(1.0, 0.1, 0.5, 0.3, min_count=least, max_count=most, device="cpu")
    shares, columns = [], []
    for _ in range(COUNT):
        hole = (theirs(torch.ones(1, *SIZE)) == 0)[0]
        shares.append(hole.double().mean())
        columns.append(hole.any(0).double().mean())
    transform = am.RandomErasing(1.0, (0.1, 0.5), (0.3, 1 / 0.3), min_count=least, max_count=most)
    ours = black(transform)
    alike(ours.mean((1, 2)), shares)
    alike(ours.any(1).mean(1), columns)
    counts = np.bincount([len(boxes) for boxes in erased(transform)], minlength=most + 1)
    assert counts[:least].sum() == 0 and counts[least:].min() > 0.6 * COUNT / (most - least + 1)


def test_the_first_of_the_splits_stays_whole():
    """timm leaves the first of num_splits parts of the batch as it is; the parts are views of the same samples."""
    transform = am.RandomErasing(1.0, num_splits=3)
    assert [any(erased(transform, 20, view=v)) for v in range(6)] == [False, True, True, False, True, True]
    assert all(erased(transform, 20, view=1))
    assert not any(erased(am.RandomErasing(0.0, num_splits=3), 20, view=1))


@pytest.mark.parametrize("first", [[], [am.Normalize(0.3, 0.2)]])
def test_uniform_noise(first):
    recipe = am.Recipe([*first, am.RandomErasing(1.0, (0.3, 0.4), value="uniform")])
    flat = torch.full((4, *SIZE, 3), -1.0)
    plan = recipe.plan(range(4), size=SIZE)
    views = am.render(flat, plan)
    values = []
    for i, row in enumerate(plan.table()):
        ((x0, y0, x1, y1), kind), = row["erased"]
        assert kind == "uniform pixel noise"
        box = views[i, :, y0:y1, x0:x1]
        values.append((box * 0.2 + 0.3 if first else box).flatten(1))  # of the picture, wherever Normalize stands
    values = torch.cat(values, 1).double()
    assert values.min() >= -1e-6 and values.max() <= 1 + 1e-6
    for channel in values:
        assert stats.kstest(channel.numpy(), "uniform").pvalue > 1e-4
    assert np.abs(np.corrcoef(values.numpy()) - np.eye(3)).max() < 0.05
    assert abs(np.corrcoef(values[0, :-1], values[0, 1:])[0, 1]) < 0.05


def test_one_uniform_number_a_channel():
    recipe = am.Recipe([am.RandomErasing(1.0, value="uniform channel")])
    plan = recipe.plan(range(600), size=SIZE)
    views = am.render(torch.zeros(600, *SIZE, 3), plan)
    colors = []
    for view, row in zip(views, plan.table(), strict=True):
        (x0, y0, x1, y1), _ = row["erased"][0]
        box = view[:, y0:y1, x0:x1].flatten(1)
        assert (box == box[:, :1]).all()
        colors.append(box[:, 0])
    for channel in torch.stack(colors, 1).double():
        assert stats.kstest(channel.numpy(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize(("heights", "widths"), [((0.1, 0.4), (0.05, 0.2)), ((3, 12), (1, 90))])
def test_coarse_dropout_is_albumentations(heights, widths):
    """Its definition, drawn by NumPy: the sides are int(share * side) or whole numbers, at most the picture's; then a place."""
    transform = am.CoarseDropout((2, 7), heights, widths, p=1.0)
    boxes = erased(transform)
    assert {len(b) for b in boxes} == set(range(2, 8))
    counts = np.bincount([len(b) for b in boxes])[2:]
    assert np.abs(counts - COUNT / 6).max() < 4.5 * (COUNT / 6) ** 0.5
    x0, y0, x1, y1 = np.array([b for sample in boxes for b in sample]).T
    rng = np.random.default_rng(1)

    def drawn(low_high, side):
        if low_high[1] < 1:
            return (side * rng.uniform(*low_high, size=len(x0))).astype(int)
        return rng.integers(low_high[0], min(low_high[1], side) + 1, size=len(x0))

    h, w = drawn(heights, SIZE[0]), drawn(widths, SIZE[1])
    alike(y1 - y0, h)
    alike(x1 - x0, w)
    alike(y0, rng.integers(0, SIZE[0] - h + 1))
    alike(x0, rng.integers(0, SIZE[1] - w + 1))
    assert x0.min() >= 0 and y0.min() >= 0 and x1.max() <= SIZE[1] and y1.max() <= SIZE[0]
    holes = black(transform, 20)
    for hole, sample in zip(holes, boxes[:20], strict=True):
        expected = np.zeros(SIZE, bool)
        for a, b, c, d in sample:
            expected[b:d, a:c] = True
        assert (hole == expected).all()


@pytest.mark.parametrize("transform", [am.CoarseDropout(value=-1.5, p=1.0), am.RandomErasing(1.0, value=-1.5),
                                       am.RandomApply([am.CoarseDropout(value=-1.5, p=1.0)], 1.0)])
def test_a_value_after_normalize_is_in_its_units(transform):
    """The list's order, as albumentations and torchvision run it: what is erased after Normalize holds the value itself."""
    views, plan = render([am.Normalize(0.5, 0.25), transform], pictures(40, 50))
    for view, row in zip(views, plan.table(), strict=True):
        for (x0, y0, x1, y1), _ in row["erased"]:
            torch.testing.assert_close(view[:, y0:y1, x0:x1], torch.full((3, y1 - y0, x1 - x0), -1.5))
    before, _ = render([transform, am.Normalize(0.5, 0.25)], pictures(40, 50))
    assert before.min() == -8  # (-1.5 - 0.5) / 0.25


def test_coarse_dropout_perhaps():
    assert 0.4 < np.mean([bool(b) for b in erased(am.CoarseDropout())]) < 0.6
    assert all(len(b) == 64 for b in erased(am.CoarseDropout((64, 64), p=1.0), 5))


def test_erasing_that_cannot_be():
    for make, text in ((lambda: am.RandomErasing(min_count=0), "from 1 to 64"), (lambda: am.RandomErasing(max_count=65), "to 64"),
                       (lambda: am.RandomErasing(min_count=3, max_count=2), "from 3 to 64"),
                       (lambda: am.RandomErasing(num_splits=-1), "from 0"),
                       (lambda: am.RandomErasing(value="noise"), "'uniform'"),
                       (lambda: am.CoarseDropout((0, 2)), "1 to 64"), (lambda: am.CoarseDropout((1.5, 2)), "whole number"),
                       (lambda: am.CoarseDropout((3, 2)), "low <= high"),
                       (lambda: am.CoarseDropout(hole_height_range=(0.5, 3)), "shares"),
                       (lambda: am.CoarseDropout(hole_height_range=(2, 3)), "shares or pixels"),
                       (lambda: am.Recipe([am.CoarseDropout((40, 40))] * 2), "at most 64"),
                       (lambda: am.CutMix(minmax=(0.5, 0.2)), "low <= high"), (lambda: am.CutMix(minmax=(0, 0)), "above 0"),
                       (lambda: am.CutMix(correct_lam=None), "True or False")):
        with pytest.raises(am.ArgumentError, match=text):
            make()


# ---- CutMix ----

def mixed(transform, count=2000):
    plan = am.Recipe([transform]).plan(range(count), size=SIZE)
    return word(plan, "BOX", 4).numpy(), word(plan, "LAM", 1, torch.float32)[:, 0].double().numpy()


def test_cutmix_minmax_is_timms():
    boxes, lam = mixed(am.CutMix(minmax=(0.2, 0.8)))
    np.random.seed(0)
    yl, yu, xl, xu = rand_bbox_minmax(SIZE, (0.2, 0.8), 2000)
    x0, y0, x1, y1 = boxes.T
    for ours, theirs in ((x0, xl), (y0, yl), (x1 - x0, xu - xl), (y1 - y0, yu - yl)):
        alike(ours, theirs)
        assert set(np.unique(ours)) <= set(range(theirs.min(), theirs.max() + 1))
    assert np.allclose(lam, 1 - (x1 - x0) * (y1 - y0) / (SIZE[0] * SIZE[1]), atol=1e-6)


def test_a_share_as_drawn():
    """correct_lam=False: the label has Beta's number; the box that was clipped is smaller than that says."""
    boxes, lam = mixed(am.CutMix(1.0, correct_lam=False))
    assert stats.kstest(lam, "uniform").pvalue > 1e-3
    corrected_boxes, corrected = mixed(am.CutMix(1.0))
    assert (boxes == corrected_boxes).all()  # the same boxes
    x0, y0, x1, y1 = boxes.T
    area = (x1 - x0) * (y1 - y0) / (SIZE[0] * SIZE[1])
    assert np.allclose(corrected, 1 - area, atol=1e-6)
    assert (area <= 1 - lam + 1e-6).all() and (area < 1 - lam - 0.1).mean() > 0.2
    images, labels = torch.rand(4, *SIZE, 3), [0, 1, 2, 3]
    recipe = am.Recipe([am.CutMix(correct_lam=False)], num_classes=4)
    plan = recipe.plan(range(4), size=SIZE)
    _, soft = am.render(images, plan, targets=labels)
    assert np.allclose(soft.diagonal(), lam[:4], atol=1e-6)


# ---- smoothing ----

@pytest.mark.parametrize("multi_label", [False, True])
def test_smoothing_is_timms(multi_label):
    if "multi_label" not in inspect.signature(mixup_target).parameters:
        pytest.skip("this timm knows no such labels")
    classes, smoothing = 5, 0.2
    labels = (torch.rand(6, classes) < 0.5).float() if multi_label else torch.arange(6) % classes
    recipe = am.Recipe([am.MixUp(0.4, "batch", "flip")], num_classes=classes, label_smoothing=smoothing, multi_label=multi_label)
    plan = recipe.plan(range(6), size=(4, 4))
    _, soft = am.render(torch.rand(6, 4, 4, 3), plan, targets=labels)
    lam = float(word(plan, "LAM", 1, torch.float32)[0])
    torch.testing.assert_close(soft, mixup_target(labels, classes, lam, smoothing, multi_label))
    assert recipe != am.Recipe(recipe.transforms, num_classes=classes, label_smoothing=smoothing, multi_label=not multi_label)


# ---- Cutout ----


def test_cutout_erases_what_the_papers_does():
    """Each place of the middle, once, by the authors' lines; and .191 of 32 x 32 pixels in the mean."""
    expected = []
    for y in range(32):
        for x in range(32):
            mask = np.zeros((32, 32), bool)
            y1, y2, x1, x2 = (int(np.clip(v, 0, 32)) for v in (y - 8, y + 8, x - 8, x + 8))
            mask[y1:y2, x1:x2] = True
            expected.append(mask)
    expected = {mask.tobytes() for mask in expected}
    plan = am.Recipe([am.Cutout()]).plan(range(20000), size=(32, 32))
    assert [len(row["erased"]) for row in plan[:50].table()] == [1] * 50
    masks = am.render(torch.ones(20000, 32, 32, 1), plan, layout="NHWC")[:, 0] == 0
    assert {mask.numpy().tobytes() for mask in masks} == expected
    share = masks.float().mean((1, 2))
    assert abs(share.mean() - 0.191) < 4 * share.std() / 20000**0.5 + 5e-4


def test_cutout_of_a_value_normalised_or_not():
    images = torch.rand(64, 20, 30, 3)
    for transforms, value in (([am.Cutout(9, (0.1, 0.5, 0.9)), am.Normalize(0.4, 0.3)], (-1.0, 1 / 3, 5 / 3)),
                              ([am.Normalize(0.4, 0.3), am.Cutout(9, 0.25)], (0.25,) * 3)):
        plan = am.Recipe(transforms).plan(range(64), size=(20, 30))
        views = am.render(images, plan)
        for i, row in enumerate(plan.table()):
            ((x0, y0, x1, y1), _), = row["erased"]
            assert (views[i, :, y0:y1, x0:x1] - torch.tensor(value)[:, None, None]).abs().max() < 1e-6
            rest = torch.ones(20, 30, dtype=torch.bool)
            rest[y0:y1, x0:x1] = False
            assert torch.allclose(views[i][:, rest], ((images[i] - 0.4) / 0.3).permute(2, 0, 1)[:, rest], atol=1e-5)
