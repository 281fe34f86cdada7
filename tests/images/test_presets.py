"""The presets against the papers' code: what happens how often, between what, in what order; a batch of each; their text."""

from collections import Counter

import numpy as np
import pytest
import torch

import anamorph as am

ROWS = 2000
NAMES = {**vars(am), "torch": torch}
JITTERS = {"brightness", "contrast", "saturation", "hue"}


def views(name, **arguments):
    made = getattr(am.presets, name)(**arguments)
    return made if isinstance(made, dict) else {"": made}


def table(recipe, view=0, side=256):
    return recipe.plan(torch.arange(ROWS), size=(side, side), view=view, seed=3).table()


def near(share, p, n=ROWS):
    """Within four and a half deviations of a binomial's."""
    return abs(share - p) <= 4.5 * (p * (1 - p) / n) ** 0.5


@pytest.mark.parametrize("name", am.presets.__all__)
def test_prints_as_code_and_renders(name):
    side = 32 if name == "fixmatch" else 240
    images = torch.randint(0, 256, (2, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for recipe in views(name).values():
        assert eval(repr(recipe), NAMES) == recipe
        plan = recipe.plan(torch.arange(2), size=(side, side))
        made = am.render(images, plan, targets=torch.arange(2)) if recipe.num_classes else am.render(images, plan)
        out = made[0] if recipe.num_classes else made
        assert out.shape == (2, 3, *plan.output_size) and out.dtype == torch.float32 and bool(out.isfinite().all())


# (preset, view): jitter's reach, the area's, then the shares of blur and solarize.
CONTRASTIVE = {
    ("simclr", ""): ((0.8, 0.8, 0.8, 0.2), (0.08, 1), 0.5, 0), ("moco_v2", ""): ((0.4, 0.4, 0.4, 0.1), (0.2, 1), 0.5, 0),
    ("moco_v3", "view_1"): ((0.4, 0.4, 0.2, 0.1), (0.08, 1), 1, 0),
    ("moco_v3", "view_2"): ((0.4, 0.4, 0.2, 0.1), (0.08, 1), 0.1, 0.2),
    ("byol", "view_1"): ((0.4, 0.4, 0.2, 0.1), (0.08, 1), 1, 0), ("byol", "view_2"): ((0.4, 0.4, 0.2, 0.1), (0.08, 1), 0.1, 0.2),
    ("dino", "global_1"): ((0.4, 0.4, 0.2, 0.1), (0.4, 1), 1, 0),
    ("dino", "global_2"): ((0.4, 0.4, 0.2, 0.1), (0.4, 1), 0.1, 0.2),
    ("dino", "local"): ((0.4, 0.4, 0.2, 0.1), (0.05, 0.4), 0.5, 0),
    ("swav", "global"): ((0.8, 0.8, 0.8, 0.2), (0.14, 1), 0.5, 0),
    ("swav", "local"): ((0.8, 0.8, 0.8, 0.2), (0.05, 0.14), 0.5, 0),
}


@pytest.mark.parametrize(("name", "view"), CONTRASTIVE)
def test_contrastive(name, view):
    (b, c, s, h), area, blur, solarize = CONTRASTIVE[name, view]
    rows = table(views(name)[view])
    steps = [dict(row["steps"]) for row in rows]
    for op, p in (("brightness", 0.8), ("grayscale", 0.2), ("gaussian blur", blur), ("solarize", solarize)):
        assert near(sum(op in one for one in steps) / ROWS, p), op
    for op, low, high in (("brightness", 1 - b, 1 + b), ("contrast", 1 - c, 1 + c), ("saturation", 1 - s, 1 + s), ("hue", -h, h),
                          ("gaussian blur", 0.1, 2)):
        drawn = [one[op] for one in steps if op in one]
        reach = (high - low) * 0.05
        assert low - 1e-3 <= min(drawn) < low + reach and high - reach < max(drawn) <= high + 1e-3, op
    assert near(sum(row["mirrored"] for row in rows) / ROWS, 0.5)
    # The crop's share of the area, up to whole pixels.
    shares = [row["scale"][0] * row["scale"][1] * (rows_side(views(name)[view]) / 256) ** 2 for row in rows]
    assert area[0] - 0.01 <= min(shares) <= area[0] + 0.03 and area[1] - 0.06 <= max(shares) <= area[1] + 0.01
    # Jitter in any order, then grey, blur, solarize.
    late = ["grayscale", "gaussian blur", "solarize"]
    for row in rows:
        names = [n for n, _ in row["steps"]]
        tail = names[4:] if JITTERS & {*names} else names
        assert names[:len(names) - len(tail)] == [] or {*names[:4]} == JITTERS
        assert tail == [n for n in late if n in tail]


def rows_side(recipe):
    return recipe.output_size((256, 256))[0]


def test_simclrs_blur_is_a_tenth_of_the_side_and_its_cifar_form_has_none():
    assert "GaussianBlur(kernel_size=(23, 23)" in repr(am.presets.simclr()) and "'zero'" in repr(am.presets.simclr())
    steps = [dict(row["steps"]) for row in table(am.presets.simclr(32, strength=0.5, blur=0), side=32)]
    assert not any("gaussian blur" in one for one in steps)
    assert max(one.get("brightness", 1) for one in steps) == pytest.approx(1.4, abs=0.02)


def test_normalizes_as_published():
    assert am.presets.simclr().mean is None
    assert am.presets.swav()["local"].std == (0.228, 0.224, 0.225)
    assert am.presets.moco_v2().std == (0.229, 0.224, 0.225)


def test_fixmatch():
    weak, strong = (table(r, view, 32) for view, r in enumerate(am.presets.fixmatch().values()))
    assert near(sum(a["mirrored"] == b["mirrored"] for a, b in zip(weak, strong, strict=True)) / ROWS, 0.5)  # drawn anew
    assert near(sum(row["mirrored"] for row in weak) / ROWS, 0.5) and not any(row["steps"] for row in weak)
    assert len({row["reads"] for row in weak}) == 81  # nine offsets each way
    count = Counter(len(row["steps"]) for row in strong)  # two ops of probability a half
    assert near(count[0] / ROWS, 0.25) and near(count[1] / ROWS, 0.5) and near(count[2] / ROWS, 0.25)
    assert all(len(row["erased"]) == 1 for row in strong)


def test_augmix_shares_crop_and_flip():
    clean, one, two = (table(r, view) for view, r in enumerate(am.presets.augmix_jsd().values()))
    for a, b, c in zip(clean, one, two, strict=True):
        assert a["reads"] == b["reads"] == c["reads"] and a["mirrored"] == b["mirrored"] == c["mirrored"]
        assert a["chains"] is None and b["chains"] != c["chains"]
    assert all(len(row["chains"]) <= 3 and all(1 <= len(steps) <= 3 for _, steps in row["chains"]) for row in one)


@pytest.mark.parametrize(("name", "magnitude", "smoothing"), [("timm_a1", 7, 0.1), ("timm_a2", 7, 0), ("timm_a3", 6, 0)])
def test_timm(name, magnitude, smoothing):
    recipe = getattr(am.presets, name)()
    assert recipe.label_smoothing == smoothing and recipe.output_size((256, 256)) == (160 if name == "timm_a3" else 224,) * 2
    rows = table(recipe)
    count = Counter(len(row["steps"]) for row in rows)
    assert near(count[0] / ROWS, 0.25) and near(count[2] / ROWS, 0.25)
    turned = torch.tensor([abs(value) for row in rows for op, value in row["steps"] if op == "rotate by"])
    # Degrees are 3 for a step of the magnitude, whose deviation is 0.5.
    assert abs(float(turned.mean()) - 3 * magnitude) < 1 and abs(float(turned.std()) - 1.5) < 0.5
    assert len({row["mix"] for row in rows}) == 1  # one draw for the batch


def test_torchvision_v2():
    rows = table(am.presets.torchvision_v2())
    assert all(len(row["steps"]) == 1 for row in rows)
    count = Counter(row["steps"][0][0] for row in rows)
    assert len(count) == 14 and all(near(n / ROWS, 1 / 14) for n in count.values())
    assert near(sum(bool(row["erased"]) for row in rows) / ROWS, 0.1)


@pytest.mark.parametrize("simple_crop", [False, True])
def test_deit3(simple_crop):
    rows = table(am.presets.deit3(simple_crop=simple_crop))
    first = Counter(row["steps"][0][0] for row in rows)
    assert {*first} == {"grayscale", "solarize", "gaussian blur"} and all(near(n / ROWS, 1 / 3) for n in first.values())
    assert all({n for n, _ in row["steps"][1:]} == {"brightness", "contrast", "saturation"} for row in rows)


def test_mistakes():
    for made in (lambda: am.presets.simclr(strength=2), lambda: am.presets.deit3(simple_crop=1), lambda: am.presets.byol(size=0)):
        with pytest.raises(am.ArgumentError, match="expected"):
            made()


BAD = {
    "simclr of two sides": lambda: am.presets.simclr((224, 224)), "byol of two sides": lambda: am.presets.byol((224, 224)),
    "more taps than a blur has": lambda: am.presets.simclr(3000), "std without mean": lambda: am.presets.simclr(std=(1, 1, 1)),
    "mean of words": lambda: am.presets.timm_a1(mean=("a", "b", "c")),
    "mean that is none": lambda: am.presets.timm_a1(mean=(0.5, float("nan"), 0.5)),
}


@pytest.mark.parametrize("name", BAD)
def test_a_preset_that_cannot_be(name):
    with pytest.raises(am.ArgumentError, match=r"expected .*given"):
        BAD[name]()


def test_arrays_are_means():
    expected = am.presets.timm_a1(mean=(0.4, 0.5, 0.6))
    for mean in (np.array([0.4, 0.5, 0.6]), torch.tensor([0.4, 0.5, 0.6], dtype=torch.float64)):
        assert am.presets.timm_a1(mean=mean) == expected
    assert am.presets.timm_a1(mean=0.5).mean == (0.5,)
