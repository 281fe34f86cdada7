"""timm's strings, read as timm reads them: by running it."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

import anamorph as am
from anamorph.bench._torchvision import v2 as load_torchvision

load_torchvision()  # which timm imports
timm = pytest.importorskip("timm.data.auto_augment")

STEPS = {"AutoContrast": "autocontrast", "Equalize": "equalize", "Invert": "invert", "Rotate": "rotate by",
         "Posterize": "posterize", "Solarize": "solarize", "SolarizeAdd": "solarize add", "Color": "saturation",
         "Contrast": "contrast", "Brightness": "brightness", "Sharpness": "sharpness", "ShearX": "shear x", "ShearY": "shear y",
         "TranslateX": "translate x", "TranslateY": "translate y", "Desaturate": "saturation", "GaussianBlur": "gaussian blur"}


def plain(name):
    for end in ("Increasing", "Original", "Rel", "Rand"):
        name = name.removesuffix(end)
    return STEPS[name]


def arguments(op, count, side):
    """What timm passes to its function, drawn ``count`` times as its AugmentOp does."""
    drawn = []
    for _ in range(count):
        m = op.magnitude
        if op.magnitude_std == float("inf"):
            m = random.uniform(0, m)
        elif op.magnitude_std > 0:
            m = random.gauss(m, op.magnitude_std)
        m = max(0.0, min(m, op.magnitude_max or 10.0))
        value = op.level_fn(m, op.hparams)[0] if op.level_fn else 0.0
        if op.name == "Desaturate":
            value = 1 - value
        if op.name.startswith("Translate"):
            value *= side if op.name.endswith("Rel") else 1
        drawn.append(max(value, 0) if plain(op.name) == "posterize" else value)
    return np.array(drawn, float)


STRINGS = ["rand-m9-mstd0.5-inc1", "rand-m7-mstd0.5-inc1", "rand-m9", "rand-m10-n3-p0.8-inc0", "rand-m5-mstd101",
           "rand-m15-mmax20-inc1",
           "rand-m12-mmax20-mstd2", "rand-n1-m9-t3a", "rand-m6-n3-mstd1-inc1"]


@pytest.mark.parametrize("config", STRINGS)
def test_randaugment_strings(route, config):
    """The same ops, as likely, and the same arguments."""
    random.seed(0)
    theirs = timm.rand_augment_transform(config)
    side, count = 64, 12000
    table = am.Recipe([am.auto_augment(config)]).plan(range(count), size=(side, side)).table()
    drawn = [step for row in table for step in row["steps"]]
    names = {plain(op.name) for op in theirs.ops}
    assert {name for name, _ in drawn} == names and len(theirs.ops) == len(names)
    rate = theirs.ops[0].prob * theirs.num_layers
    assert abs(len(drawn) / count - rate) < 0.03
    assert max(len(row["steps"]) for row in table) == theirs.num_layers
    counts = Counter(name for name, _ in drawn)
    expected = len(drawn) / len(names)
    assert all(abs(n - expected) < 5 * np.sqrt(expected) for n in counts.values())
    for op in theirs.ops:
        ours = np.array([v for name, v in drawn if name == plain(op.name)])
        alike(ours, arguments(op, 6000, side))


def alike(ours, theirs):
    """Two samples of one distribution: the same ends and quantiles, give or take what chance does."""
    if np.ptp(theirs) < 1e-9:
        assert np.abs(ours - theirs[0]).max() < 1e-3
        return
    scale = np.ptp(theirs)
    points = np.sort(np.unique(np.round(theirs, 2)))
    for x in points[:: max(1, len(points) // 40)]:
        a, b = (ours <= x + 0.006).mean(), (theirs <= x + 0.006).mean()
        assert abs(a - b) < 4.5 * np.sqrt(0.25 / len(ours) + 0.25 / len(theirs)), (x, a, b)
    assert abs(ours.mean() - theirs.mean()) < 5 * theirs.std() / np.sqrt(len(ours)) + 1e-3 * scale


@pytest.mark.parametrize("config", ["rand-m9-tweights", "rand-m9-n3-t3aw-mstd0.5", "rand-m9-p1.0-tweights-n2"])
def test_weighted_sets_are_drawn_without_replacement(route, config):
    np.random.seed(0)
    theirs = timm.rand_augment_transform(config)
    p = theirs.ops[0].prob
    count = 12000
    table = am.Recipe([am.auto_augment(config)]).plan(range(count), size=(64, 64)).table()
    names = [plain(op.name) for op in theirs.ops]
    expected = Counter()
    for _ in range(4000):
        for k in np.random.choice(len(names), theirs.num_layers, replace=False, p=theirs.choice_weights):
            expected[names[k]] += p / 4000
    ours = Counter(name for row in table for name, _ in row["steps"])
    for name in set(names):
        rate = expected[name]
        assert abs(ours[name] / count - rate) < 5 * np.sqrt(max(rate, 1e-3) * (1 / count + 1 / 4000)), name
    first = Counter(row["steps"][0][0] for row in table if len(row["steps"]) == theirs.num_layers)
    if "t3aw" not in config and p == 1:
        shares = dict(zip(names, theirs.choice_weights, strict=True))
        total = sum(first.values())
        assert all(abs(first[n] / total - s) < 5 * np.sqrt(s / total) for n, s in shares.items())
    both = [row["steps"] for row in table if len(row["steps"]) > 1]
    assert not any(a[0] == b[0] for a, b in ((s[0], s[1]) for s in both) if "t3aw" not in config)


@pytest.mark.parametrize("config", ["original", "originalr", "v0", "v0r"])
def test_the_tables(config):
    theirs = timm.auto_augment_transform(config).policy
    ours = am.auto_augment(config).sub_policies()
    magnitudes = [[(op.name, op.prob, op.magnitude if op.level_fn else 0) for op in pair] for pair in theirs]
    rename = {"TranslateY": "TranslateYRel"} if config.startswith("v0") else {}
    silent = {"AutoContrast", "Equalize", "Invert"}
    assert [[(rename.get(n, n), p, 0 if n in silent else m) for n, p, m in pair] for pair in ours] == magnitudes


@pytest.mark.parametrize("config", ["original-mstd0.5", "v0", "originalr", "v0r-mstd1", "original-mstd150"])
def test_autoaugment_strings(route, config):
    random.seed(0)
    policy = timm.auto_augment_transform(config).policy
    table = am.Recipe([am.auto_augment(config)]).plan(range(12000), size=(64, 64)).table()
    ours, theirs = {}, {}
    for name, v in (step for row in table for step in row["steps"]):
        ours.setdefault(name, []).append(v)
    for _ in range(400):
        for pair in policy:
            for op in pair:
                theirs.setdefault(plain(op.name), []).extend(arguments(op, 1, 64) if random.random() < op.prob else [])
    theirs = {name: values for name, values in theirs.items() if values}
    assert set(ours) == set(theirs)
    for name, values in theirs.items():
        rate, seen = len(values) / 10000, len(ours[name]) / 12000
        assert abs(rate - seen) < 5 * np.sqrt(rate * 2 / 10000), name
        alike(np.array(ours[name]), np.array(values))


@pytest.mark.parametrize("config", ["augmix-m5-w4-d2", "augmix", "augmix-m3-w2-d1-a0.5", "augmix-m5-mstd0.5",
                                    "augmix-m5-mstd200"])
def test_augmix_strings(route, config):
    random.seed(0)
    theirs = timm.augment_and_mix_transform(config)
    table = am.Recipe([am.auto_augment(config)]).plan(range(4000), size=(64, 64)).table()
    chains = [steps for row in table for _, steps in row["chains"]]
    assert len(chains) == 4000 * theirs.width
    assert {len(c) for c in chains} == ({theirs.depth} if theirs.depth > 0 else {1, 2, 3})
    blends = np.array([row["steps"][-1][1] for row in table])
    np.random.seed(0)
    alike(blends, np.random.beta(theirs.alpha, theirs.alpha, 20000))
    alike(np.array([row["chains"][0][0] for row in table]), np.random.dirichlet([theirs.alpha] * theirs.width, 20000)[:, 0])
    for op in theirs.ops:
        alike(np.array([v for c in chains for name, v in c if name == plain(op.name)]), arguments(op, 6000, 64))


def test_the_three_of_deit(route):
    table = am.Recipe([am.auto_augment("3a")]).plan(range(6000), size=(64, 64)).table()
    counts = Counter(row["steps"][0][0] for row in table)
    assert all(abs(counts[name] - 2000) < 200 for name in ("solarize", "saturation", "gaussian blur")) and len(counts) == 3
    assert {v for row in table for name, v in row["steps"] if name == "solarize"} == {128.0}
    assert {v for row in table for name, v in row["steps"] if name == "saturation"} == {0.0}
    sigmas = np.array([v for row in table for name, v in row["steps"] if name == "gaussian blur"])
    alike(sigmas, np.random.default_rng(0).uniform(0.1, 2.0, 8000))


def test_hparams(route):
    config = am.auto_augment("original", "bicubic", (124, 116, 104), translate_const=100)
    recipe = am.Recipe([config])
    plan = recipe.plan(range(400), size=(64, 64))
    fills = plan.rows.view(am.images.plan.torch.float32)[:, am._native.WORDS["FILL"]:][:, :3]
    turned = [i for i, row in enumerate(plan.table()) if any(name == "rotate by" and v for name, v in row["steps"])]
    assert turned and all(fills[i].tolist() == [124, 116, 104] for i in turned)
    assert {int(plan.rows[i, am._native.WORDS["FLAGS"]]) & 7 for i in turned} == {2}
    assert eval(repr(config), {"auto_augment": am.auto_augment}) == config
