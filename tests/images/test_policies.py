"""Automatic policies: what they draw, against the tables of torchvision's code and of the papers; whole rows replayed through
torchvision's own functional calls."""

from __future__ import annotations

import math
import pickle
from collections import Counter

import numpy as np
import pytest
import torch
from torch.distributions import Chi2

import anamorph as am
from anamorph.images.transforms.policies import FOURTEEN, sub_policies
from pictures import close, nchw, pictures, render, word
from replay import MAPS, NAMES, V2, step

IMAGES = pictures(96, 128)


def rows_of(transform, count, size=(96, 128), **key):
    plan = am.Recipe([transform]).plan(range(count), size=size, **key)
    return [[(NAMES.get(name, name), value) for name, value in row["steps"]] for row in plan.table()]


def as_likely(counts, shares):
    """Pearson's chi-square: are these counts of these shares, at the 1e-4 level?"""
    counts, shares = np.asarray(counts, float), np.asarray(shares, float)
    expected = shares / shares.sum() * counts.sum()
    x = ((counts - expected) ** 2 / expected).sum()
    assert 1 - Chi2(len(counts) - 1.0).cdf(torch.tensor(x)) > 1e-4, (counts, expected)


def torchvisions(space, name, bins, magnitude, size):
    values, signed = space[name][0](bins, *size), space[name][1]
    return (None if values is None else float(values[magnitude])), signed


@pytest.mark.parametrize(("cls", "transform", "space"), [
    ("RandAugment", am.RandAugment, V2.RandAugment._AUGMENTATION_SPACE),
    ("TrivialAugmentWide", None, V2.TrivialAugmentWide._AUGMENTATION_SPACE)])
def test_arguments_are_torchvisions(route, cls, transform, space):
    """All of the range, each op."""
    size = (96, 128)
    if transform is None:
        drawn = {}
        for row in rows_of(am.TrivialAugmentWide(), 20000):
            drawn.setdefault(row[0][0], Counter())[round(row[0][1], 3)] += 1
        assert set(drawn) == set(FOURTEEN)
        for name, counts in drawn.items():
            values, signed = space[name][0](31, *size), space[name][1]
            if values is None:
                assert set(counts) == {0.0}
                continue
            theirs = [_as_ours(name, float(v) * sign) for v in values for sign in ((1, -1) if signed else (1,))]
            away = [min(abs(v - t) for t in theirs) for v in counts]
            # In float32 the half of 32 pixels is a little less, and is cut to 15.
            assert max(away) < (1.001 if name.startswith("Translate") else 2e-3) and sum(v > 2e-3 for v in away) <= 2
            assert max(counts) == pytest.approx(max(theirs), abs=2e-3) and min(counts) == pytest.approx(min(theirs), abs=2e-3)
        return
    for magnitude in (0, 1, 9, 17, 30):
        seen = {}
        for row in rows_of(transform(1, magnitude), 600):
            seen.setdefault(row[0][0], set()).add(row[0][1])
        for name, values in seen.items():
            theirs, signed = torchvisions(space, name, 31, magnitude, size)
            expected = {0.0} if theirs is None else {_as_ours(name, theirs * s) for s in ((1, -1) if signed else (1,))}
            assert len({round(v, 3) for v in values}) <= len(expected)
            for v in values:
                assert min(abs(v - e) for e in expected) < 2e-3, (name, magnitude, values, expected)


def _as_ours(name, value):
    if name in ("Brightness", "Color", "Contrast", "Sharpness"):
        return 1.0 + value
    return value * 255.0 if name == "Solarize" else float(int(value)) if name.startswith("Translate") else value


def test_randaugment_draws_ops_and_signs_alike(route):
    rows = rows_of(am.RandAugment(2, 9), 10000)
    assert all(len(row) == 2 for row in rows)
    for place in (0, 1):
        counts = Counter(row[place][0] for row in rows)
        as_likely([counts[name] for name in FOURTEEN], [1] * 14)
    pairs = Counter((row[0][0], row[1][0]) for row in rows)
    as_likely([pairs[a, b] for a in FOURTEEN for b in FOURTEEN], [1] * 196)
    for name in ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"):
        signs = Counter(value > 0 for row in rows for op, value in row if op == name)
        as_likely([signs[True], signs[False]], [1, 1])
    signs = Counter(value > 1 for row in rows for op, value in row if op == "Sharpness")
    as_likely([signs[True], signs[False]], [1, 1])


def test_trivialaugment_draws_ops_and_bits_alike(route):
    for convention, ends in (("torchvision", (3, 3)), ("paper", (5, 1))):
        bits = {8: ends[0], 7: 5, 6: 5, 5: 5, 4: 5, 3: 5, 2: ends[1]}
        rows = rows_of(am.TrivialAugmentWide(convention=convention), 10000)
        counts = Counter(row[0][0] for row in rows)
        as_likely([counts[name] for name in FOURTEEN], [1] * 14)
        kept = Counter(int(row[0][1]) for row in rows if row[0][0] == "Posterize")
        as_likely([kept[b] for b in bits], list(bits.values()))
        assert set(kept) == set(bits)


@pytest.mark.parametrize(("name", "counts"), [("imagenet", {"Equalize": 17, "Solarize": 7, "Posterize": 5}),
                                              ("cifar10", {"Equalize": 9, "AutoContrast": 7}),
                                              ("svhn", {"Invert": 12, "ShearY": 8})])
def test_the_tables_of_autoaugment(name, counts):
    """The card's counts, and torchvision's table itself."""
    table = sub_policies(name)
    drawn = Counter(op for pair in table for op, _, _ in pair)
    assert len(table) == 25 and all(len(pair) == 2 for pair in table)
    assert {op: drawn[op] for op in counts} == counts
    policy = {"imagenet": "IMAGENET", "cifar10": "CIFAR10", "svhn": "SVHN"}[name]
    theirs = V2.AutoAugment()._get_policies(getattr(V2.AutoAugmentPolicy, policy))
    assert [tuple(pair) for pair in table] == theirs


def test_autoaugment_draws_as_its_table(route):
    rows = rows_of(am.AutoAugment("svhn"), 10000)
    expected = Counter()
    for pair in sub_policies("svhn"):
        for name, p, _ in pair:
            expected[name] += p / 25
    for name, rate in expected.items():
        seen = sum(op == name for row in rows for op, _ in row)
        assert abs(seen - 10000 * rate) < 5 * math.sqrt(10000 * rate), name
    drawn = {round(abs(v), 3) for row in rows for op, v in row if op == "ShearY"}
    assert drawn == {round(0.3 * m / 9, 3) for pair in sub_policies("svhn") for op, _, m in pair if op == "ShearY"}


@pytest.mark.parametrize("transform", [am.RandAugment(2, 9), am.RandAugment(2, 25), am.TrivialAugmentWide(),
                                       *map(am.AutoAugment, ("imagenet", "cifar10", "svhn"))], ids=str)
def test_rows_replayed_by_torchvision(route, transform):
    images = np.concatenate([IMAGES] * 16)
    ours, plan = render([transform], images, dtype=torch.uint8)
    shares = []
    for view, picture, row in zip(ours, nchw(images), plan.table(), strict=True):
        steps = [(NAMES[name], value) for name, value in row["steps"]]
        names = [name for name, _ in steps]
        if sum(name in MAPS for name in names) > 1 or differs(names):
            continue
        theirs = picture
        for name, value in steps:
            theirs = step(theirs, name, value)
        within = 2 * max([1.0, *(value for name, value in steps if name in ENHANCE)])  # of what was cut before
        share = ((view.int() - theirs.int()).abs() <= within).double().mean()
        assert share > (0.9 if {"ShearX", "ShearY"} & {*names} else 0.985), steps  # a shear's nearest taps fall on ties
        shares.append(share)
    assert len(shares) > 30 and np.median(shares) > 0.999


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_a_fill_waits_for_colour_alone(route, interpolation):
    """Steps that change no pixel before a map leave its frame as it is alone: a cubic's taps beyond it are the fill."""
    recipe = am.Recipe([am.RandAugment(2, 30, interpolation=interpolation, fill=200)], dtype=torch.uint8)
    plan = recipe.plan(range(600), size=(40, 30))
    views = am.render(np.repeat(IMAGES[:1, :40, :30], 600, 0), plan, layout="NHWC")
    found = {}
    for view, row in zip(views, plan.table(), strict=True):
        names = [NAMES[name] for name, _ in row["steps"]]
        if "Identity" in names and set(names) & set(MAPS):
            alone = tuple(s for s in row["steps"] if s[0] != "identity")
            found.setdefault(alone, {})[names.index("Identity")] = view
    both = [views for views in found.values() if len(views) == 2]
    assert len(both) > 4
    assert all(torch.equal(one[0], one[1]) for one in both)
    painted = [any(NAMES[name] not in (*MAPS, "Identity") for name, _ in row["steps"]) for row in plan.table()]
    assert all(colored or step == 0 for colored, step in zip(painted, word(plan, "FILL_STEP").ravel().tolist(), strict=True))


ENHANCE = ("Brightness", "Color", "Contrast", "Sharpness")


def differs(names):
    """Rows that mean something else fused (docs/architecture.md): a statistic before a map is of what the map leaves to be
    seen; a step that is steep sees values that torchvision has cut to bytes."""
    if len(names) < 2:
        return False
    first, second = names
    return (second in MAPS and first in ("AutoContrast", "Equalize", "Contrast", "Sharpness")) or (
        first in (*ENHANCE, *MAPS) and second in ("Equalize", "AutoContrast", "Solarize", "Posterize"))


def test_the_papers_randaugment(route):
    """M / 10 without a limit: at 28 it turns by 84 degrees, keeps 8 bits of 11 and solarizes nothing; cutout is the sixteenth
    op."""
    rows = rows_of(am.RandAugment(1, 28, convention="paper"), 3000)
    values = {}
    for row in rows:
        for name, value in row:
            values.setdefault(name, set()).add(round(value, 3))
    assert values["Rotate"] == {84.0, -84.0} and values["Posterize"] == {8.0} and values["Solarize"] == {256.0}
    assert values["Brightness"] == {5.14} and values["TranslateX"] == {280.0, -280.0} and "Identity" not in values
    assert abs(sum(not row for row in rows) - 3000 / 16) < 5 * math.sqrt(3000 / 16)


def test_fixmatchs_randaugment(route):
    """Levels of 1 to 9, each op half of the time, and a square of 16 that is cut off at the border."""
    transform = am.RandAugment(convention="fixmatch")
    rows = rows_of(transform, 10000, (32, 32))
    assert abs(sum(map(len, rows)) - 10000) < 5 * math.sqrt(10000 / 2)
    turns = Counter(round(abs(v)) for row in rows for name, v in row if name == "Rotate")
    as_likely([turns[int(3 * level)] for level in range(1, 10)], [1] * 9)
    bits = {int(v) for row in rows for name, v in row if name == "Posterize"}
    assert bits == {4, 3, 2, 1}
    plan = am.Recipe([transform]).plan(range(500), size=(32, 32))
    boxes = np.array([row["erased"][0][0] for row in plan.table()])
    sides = boxes[:, 2:] - boxes[:, :2]
    assert sides.max() == 16 and sides.min() == 8 and boxes.min() == 0 and boxes.max() == 32
    white = np.full((1, 32, 32, 3), 255, np.uint8)
    view = am.render(white, am.Recipe([transform], dtype=torch.uint8).plan([3], size=(32, 32)), layout="NHWC")
    assert (view == 128).any()


AUGMIX = [am.AugMix(), am.AugMix(1, 2, 2, all_ops=False), am.AugMix(3, 3, convention="paper", all_ops=False)]


@pytest.mark.parametrize("transform", AUGMIX, ids=str)
def test_what_augmix_draws(route, transform):
    table = am.Recipe([transform]).plan(range(4000), size=(96, 128)).table()
    shares = np.array([[share for share, _ in row["chains"]] for row in table])
    assert shares.shape[1] == transform.mixture_width and np.allclose(shares.sum(1), 1, atol=1e-3)
    m = np.array([row["steps"][0][1] for row in table])
    assert [row["steps"][0][0] for row in table] == ["blend"] * 4000
    for uniform in (m, shares[:, 0]) if transform.mixture_width == 2 else (m,):  # Beta(1, 1)
        as_likely(np.histogram(uniform, 10, (0, 1))[0], [1] * 10)
    depths = Counter(len(steps) for row in table for _, steps in row["chains"])
    assert set(depths) == ({2} if transform.chain_depth > 0 else {1, 2, 3})
    if transform.chain_depth < 0:
        as_likely([depths[d] for d in (1, 2, 3)], [1, 1, 1])
    names = Counter(NAMES[name] for row in table for _, steps in row["chains"] for name, _ in steps)
    assert len(names) == (13 if transform.all_ops else 9)
    as_likely(list(names.values()), [1] * len(names))
    turns = [abs(v) for row in table for _, steps in row["chains"] for name, v in steps if name == "rotate by"]
    if transform.convention == "torchvision":
        assert {round(t, 2) for t in turns} == {round(30 * k / 9, 2) for k in range(transform.severity)}
        for name, (values, signed) in V2.AugMix._AUGMENTATION_SPACE.items():
            drawn = {v for row in table for _, steps in row["chains"] for op, v in steps if NAMES[op] == name}
            theirs = [0.0] if (of := values(10, 96, 128)) is None else [
                _as_ours(name, float(v) * sign) for v in of[:transform.severity] for sign in ((1, -1) if signed else (1,))]
            assert all(min(abs(v - t) for t in theirs) < 2e-3 for v in drawn), (name, drawn, theirs)
            assert not drawn or all(min(abs(v - t) for v in drawn) < 2e-3 for t in theirs), (name, drawn, theirs)
    else:
        assert 8 <= max(turns) <= 9 and {round(t) for t in turns} == set(range(9))


def test_augmix_replayed_by_torchvision(route):
    images = np.concatenate([IMAGES] * 3)
    ours, plan = render([am.AugMix(interpolation="nearest")], images)
    for view, picture, row in zip(ours, nchw(images), plan.table(), strict=True):
        m = row["steps"][0][1]
        theirs = (1 - m) * picture.double()
        for share, steps in row["chains"]:
            chain = picture
            for name, value in steps:
                chain = step(chain, NAMES[name], value)
            theirs += m * share * chain.double()
        assert (view.double() * 255 - theirs).abs().mean() < 6
    calm = [am.AugMix(1, 3, 1, all_ops=False, interpolation="nearest")]  # severity 1: maps stand still
    ours, plan = render(calm, images)
    for view, picture, row in zip(ours, nchw(images), plan.table(), strict=True):
        m = row["steps"][0][1]
        theirs = (1 - m) * picture.double()
        for share, [(name, value)] in row["chains"]:
            theirs += m * share * step(picture, NAMES[name], value).double()
        close(view * 255, theirs, 0.6, 0.999)


def test_augmix_of_no_share_is_the_view(route):
    recipe = am.Recipe([am.RandomHorizontalFlip(), am.AugMix(), am.Normalize(0.4, 0.3)])
    clean = am.Recipe([am.RandomHorizontalFlip(), am.Normalize(0.4, 0.3)])
    plan = recipe.plan(range(4), size=(96, 128))
    rows = plan.rows.clone()
    rows.view(torch.float32)[:, am._native.WORDS["HEADER"] + 1] = 0.0
    still = am.images.Plan(recipe, rows, plan.index, 0, 0, 0, plan.size, plan.output_size)
    close(am.render(IMAGES, still, layout="NHWC"), am.render(IMAGES, clean.plan(range(4), size=(96, 128)), layout="NHWC"), 1e-6)


def test_colour_after_augmix_is_done_to_the_blend(route):
    recipe = am.Recipe([am.AugMix(), am.RandomInvert(1.0)])
    plain = am.Recipe([am.AugMix()])
    close(am.render(IMAGES, recipe.plan(range(4), size=(96, 128)), layout="NHWC"),
          1 - am.render(IMAGES, plain.plan(range(4), size=(96, 128)), layout="NHWC"), 1e-6)


FLIP, BLENDS = am.RandomHorizontalFlip(), (am.AugMix(), am.auto_augment("augmix-m3"))


@pytest.mark.parametrize("blend", BLENDS, ids=("AugMix", "timm"))
def test_nothing_moves_or_blends_a_blend(blend):
    for transforms in ([blend, FLIP], [blend, am.RandomField(brightness=0.1)], [blend, am.AugMix()],
                       [am.SomeOf([blend], 2, replace=True)], [am.SomeOf([blend, FLIP], 2)],
                       [am.SomeOf([blend, FLIP], 2, random_order=False)], [am.OneOf([blend, am.CenterCrop(8)]), FLIP],
                       [am.RandomApply([blend]), FLIP]):
        with pytest.raises(am.ArgumentError, match=r"no geometry and no other blend after AugMix.*given"):
            am.Recipe(transforms)


@pytest.mark.parametrize("blend", BLENDS, ids=("AugMix", "timm"))
def test_a_blend_that_runs_once_may_stand_anywhere(route, blend):
    for transforms in ([FLIP, blend, am.ColorJitter(0.1)], [am.SomeOf([blend, FLIP], 1)],
                       [am.SomeOf([blend, am.ColorJitter(0.1)], 2)], [am.SomeOf([FLIP, blend], 2, random_order=False)],
                       [am.OneOf([blend, FLIP, am.AugMix()])]):
        recipe = am.Recipe(transforms)
        plan = pickle.loads(pickle.dumps(recipe.plan(range(32), size=(24, 32))))  # which holds every word against what it may be
        assert am.render(torch.zeros(32, 24, 32, 3, dtype=torch.uint8), plan).shape == (32, 3, 24, 32)


def test_a_grey_of_128_is_none_of_float_pictures():
    recipe = am.Recipe([am.auto_augment("rand-m9")])
    with pytest.raises(am.ArgumentError, match=r"auto_augment.fill: expected values in \[0, 1\] for float pictures.*given 128"):
        am.render(torch.rand(1, 3, 8, 8), recipe.plan([0], size=(8, 8)))
    recipe = am.Recipe([am.auto_augment("rand-m9", "bilinear", fill=128 / 255)])
    assert am.render(torch.rand(1, 3, 8, 8), recipe.plan([0], size=(8, 8))).max() <= 1
    recipe = am.Recipe([am.Pad(2, fill=128)])  # without colour the units are the picture's own
    assert am.render(torch.rand(1, 3, 8, 8), recipe.plan([0], size=(8, 8))).max() == 128


def test_views_share_what_is_shared(route):
    shared = am.SharedAcrossViews([am.RandomResizedCrop(24), am.RandomHorizontalFlip()])
    recipe = am.Recipe([shared, am.RandAugment(2, 20, interpolation="bilinear"), am.RandomErasing(1.0)])
    clean = am.Recipe([shared])
    drawn = [recipe.plan(range(64), size=(96, 128), view=v).table() for v in range(3)]
    boxes = clean.plan(range(64), size=(96, 128), view=7).table()
    for a, b, plain in zip(*drawn[:2], boxes, strict=True):
        still = not any(NAMES.get(name) in MAPS for name, _ in a["steps"] + b["steps"])
        if still:
            assert a["reads"] == b["reads"] == plain["reads"] and a["mirrored"] == b["mirrored"] == plain["mirrored"]
    assert sum(a["steps"] == b["steps"] for a, b in zip(*drawn[:2], strict=True)) < 16
    assert sum(a["erased"] == b["erased"] for a, b in zip(*drawn[:2], strict=True)) < 3
    other = clean.plan(range(64), size=(96, 128), epoch=1).table()
    assert sum(a["reads"] == b["reads"] for a, b in zip(boxes, other, strict=True)) < 8


def test_jensen_shannon():
    logits = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    assert abs(am.jensen_shannon_loss(logits, logits, logits).item()) < 1e-9
    a, b, c = (torch.randn(6, 5, dtype=torch.float64, requires_grad=True) for _ in range(3))
    p = [t.softmax(1) for t in (a, b, c)]
    mean = (p[0] + p[1] + p[2]) / 3
    expected = 12 * sum((q * (q.log() - mean.log())).sum(1).mean() for q in p) / 3
    loss = am.jensen_shannon_loss(a, b, c)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
    loss.backward()
    assert all(t.grad.abs().sum() > 0 for t in (a, b, c))


def test_jensen_shannon_of_a_class_that_cannot_be():
    logits = torch.tensor([[1.0, 2.0, -math.inf]])
    assert am.jensen_shannon_loss(logits, logits, logits).item() == 0
    half = torch.tensor([[20.0, 0.0, -20.0], [1.0, 2.0, 3.0]], dtype=torch.bfloat16)
    assert abs(am.jensen_shannon_loss(half, half, half).item()) < 1e-5
    for logits, error in ((torch.zeros(0, 3), am.ShapeError), (torch.zeros(2, 3, dtype=torch.int64), am.DtypeError),
                          ("logits", am.ArgumentError)):
        with pytest.raises(error, match="expected"):
            am.jensen_shannon_loss(logits, logits, logits)
    with pytest.raises(am.ArgumentError, match="weight"):
        am.jensen_shannon_loss(half, half, half, weight=math.nan)


def test_no_fill_is_black_as_torchvisions():
    for transform in (am.RandAugment, am.TrivialAugmentWide, am.AutoAugment, am.AugMix):
        assert transform(fill=None) == transform(fill=0)


BAD = {
    "unknown convention": lambda: am.RandAugment(convention="kornia"), "too many bins": lambda: am.RandAugment(2, 31),
    "no magnitude": lambda: am.RandAugment(2, -1), "half an op": lambda: am.RandAugment(1.5),
    "one bin": lambda: am.RandAugment(2, 0, 1),
    "lanczos": lambda: am.RandAugment(interpolation="lanczos"), "unknown policy": lambda: am.AutoAugment("mnist"),
    "severity": lambda: am.AugMix(0), "severity 11": lambda: am.AugMix(11), "no chain": lambda: am.AugMix(mixture_width=0),
    "too many chains": lambda: am.AugMix(mixture_width=9), "too deep": lambda: am.AugMix(chain_depth=9),
    "alpha": lambda: am.AugMix(alpha=0),
    "bins": lambda: am.TrivialAugmentWide(1), "random": lambda: am.TrivialAugmentWide(31, "random"),
    "no string": lambda: am.auto_augment(9), "unknown name": lambda: am.auto_augment("randaug-m9"),
    "empty": lambda: am.auto_augment(""),
    "unknown key": lambda: am.auto_augment("rand-q9"), "bare key": lambda: am.auto_augment("rand-m9-inc"),
    "word": lambda: am.auto_augment("rand-mnine"), "infinite": lambda: am.auto_augment("rand-m9-mstdinf"),
    "half a magnitude": lambda: am.auto_augment("rand-m9.5"), "dash": lambda: am.auto_augment("augmix-d-1"),
    "unknown set": lambda: am.auto_augment("rand-tw0"), "probability": lambda: am.auto_augment("rand-p2"),
    "chains": lambda: am.auto_augment("augmix-w9"), "key of another": lambda: am.auto_augment("original-m9"),
    "3a": lambda: am.auto_augment("3a-mstd0.5"), "fill": lambda: am.RandAugment(fill="black"),
    "share": lambda: am.auto_augment("rand-m9", translate_pct=2), "a line's end": lambda: am.auto_augment("rand-m9\n"),
    "two lines": lambda: am.auto_augment("rand-m9\n5"), "underscore": lambda: am.auto_augment("rand-m1_0"),
    "digits of another script": lambda: am.auto_augment("rand-m\u0669"),
    "timm's interpolation": lambda: am.RandAugment(interpolation="random"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_policy_that_cannot_be(name):
    with pytest.raises(am.ArgumentError, match=r"expected .*given") as caught:
        BAD[name]()
    assert str(caught.value).startswith(("RandAugment.", "AutoAugment.", "AugMix.", "TrivialAugmentWide.", "auto_augment."))
