"""One rule for every argument of every transform: what one of them takes as a number, a pair or a flag, all take."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
import torch

import anamorph as am
from anamorph.images import transforms

TRANSFORMS = [t for t in (getattr(transforms, name) for name in transforms.__all__) if dataclasses.is_dataclass(t)]
BLUR = [am.RandomInvert(), am.RandomGrayscale()]

# Good values of arguments by their names; a class's own where it means something else.
GOOD = {
    "size": [8, (8, 6)], "scale": [(0.25, 0.5)], "ratio": [(0.5, 2.0)], "interpolation": ["bilinear"], "antialias": [False],
    "max_size": [24], "padding": [2, (2, 3), (1, 2, 3, 4)], "pad_if_needed": [True], "fill": [3, 0.5, (1, 0.5, 2)],
    "padding_mode": ["reflect"], "p": [0.25], "degrees": [5, (-2.5, 5)], "expand": [True], "center": [(3, 4.5)],
    "translate": [(0.25, 0.5)], "shear": [2, (1, 2.5), (1, 2, -3, 4.5)], "distortion_scale": [0.25],
    "brightness": [0.25, (0.5, 1.5)], "contrast": [0.25, (0.5, 1.5)], "saturation": [0.25, (0.5, 1.5)],
    "hue": [0.25, (-0.125, 0.25)], "contrast_mode": ["midgray"], "bits": [3], "threshold": [128, 0.5],
    "mean": [0.5, (0.25, 0.5, 0.75)], "std": [0.5, (0.25, 0.5, 0.75)], "value": [1, 0.5, (0.25, 0.5, 0.75), "random"],
    "alpha": [0.5], "mode": ["batch"], "partner": ["roll"], "transforms": [BLUR], "weights": [(1, 2.5)],
    (am.RandomChoice, "p"): [(1, 2.5)], "gamma": [(0.5, 2.0)], "min_count": [2], "max_count": [3], "num_splits": [2],
    "r_shift_limit": [10, (-2.5, 5)], "g_shift_limit": [10, (-2.5, 5)], "b_shift_limit": [10, (-2.5, 5)],
    "num_holes_range": [(1, 3)], "hole_height_range": [(0.25, 0.5)], "hole_width_range": [(0.25, 0.5)],
    "minmax": [(0.25, 0.5)], "correct_lam": [False], "px": [4, (-2, 4)], "percent": [0.25, (-0.25, 0.5)], "keep_size": [False],
    "sample_independently": [False], "multiple": [8, (8, 6)], "vertical_flip": [True], "n": [2, (1, 2)], "replace": [True],
    "random_order": [True], "inverse": [True], "matrix": [((1, 0.5, 2), (0, 1, 3)), ((1, 0, 2), (0, 1, 3), (0, 0.25, 1))],
    "kernel_size": [5, (3, 7)], "sigma": [0.5, (0.25, 2.0)], (am.GaussianNoise, "sigma"): [0.5], "kind": ["pil"],
    (am.GaussianNoise, "mean"): [0.25], "clip": [False], "sharpness_factor": [2, 0.5], "addition": [110, 0.5],
    **{(am.RandomPhotometricDistort, name): [(0.5, 1.25)] for name in ("brightness", "contrast", "saturation")},
    (am.RandomPhotometricDistort, "hue"): [(-0.125, 0.25)],
    "severity": [2], "mixture_width": [2], "chain_depth": [2], "all_ops": [False], "convention": ["paper"], "num_ops": [3],
    "policy": ["svhn"], "magnitude": [4], "num_magnitude_bins": [11], (am.ElasticTransform, "alpha"): [20, (10.5, 20)],
    (am.ElasticTransform, "sigma"): [4, (2.5, 4)], "config": ["rand-m9-mstd0.5"], "translate_const": [100],
    "translate_pct": [0.25], "correlation": [0.25], "side_range": [(1.0, 2.5)], "target_size": [8, (8, 6)],
    "scale_range": [(0.25, 2.0)], "min_size": [8, (8, 12)], "min_scale": [0.5], "max_scale": [0.75], "min_aspect_ratio": [0.25],
    "max_aspect_ratio": [1.5], "sampler_options": [(0.25, 1.0)], "trials": [7],
    **{(am.RandomField, name): [0.25] for name in ("translation", "rotation", "scale", "shear", "brightness", "contrast",
                                                  "saturation", "hue")},
    "d": [(8, 24)], (am.GridMask, "ratio"): [0.25], (am.GridMask, "mode"): [0], "grid_sizes": [(8,), (0, 8, 24)],
    "hide_prob": [0.25],
    **{(cls, "value"): [1, 0.5, (0.25, 0.5, 0.75)] for cls in (am.Cutout, am.GridMask, am.HideAndSeek)},
    (am.Cutout, "size"): [8, 21],
    "startpoints": [((1, 0), (8, 0.5), (8, 8), (0, 8))], "endpoints": [((1, 0), (8, 0.5), (8, 8), (0, 8))],
}
SQUARE = ((0, 0), (8, 0), (8, 8), (0, 8))
# What a class must be given.
NEEDED = {"padding": 2, "matrix": ((1, 0, 2), (0, 1, 3)), "startpoints": SQUARE, "endpoints": SQUARE, "size": 8,
          "degrees": 5, "bits": 3, "threshold": 100, "kernel_size": 5,
          "sharpness_factor": 2, "addition": 100, "config": "rand-m9", "target_size": 8,
          "min_size": 8, "mean": 0.5, "std": 0.5, "transforms": BLUR}

POLICIES = (am.RandAugment, am.TrivialAugmentWide, am.AutoAugment, am.AugMix, am.auto_augment)  # whose fill may be None, black

# Classes that take one of two.
EITHER = {am.CropAndPad: ("px", "percent"), am.PadIfNeeded: ("multiple", "size")}

CASES = [(t, f.name) for t in TRANSFORMS for f in dataclasses.fields(t)]


def make(cls, name, value):
    given = {f.name: NEEDED[f.name] for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING and f.name != name}
    if cls in EITHER and name not in EITHER[cls]:
        given[EITHER[cls][0]] = 4
    return cls(**given, **{name: value})


def good(cls, name):
    return GOOD.get((cls, name)) or GOOD[name]


def forms(value):
    """The same value as other libraries write it."""
    if isinstance(value, bool):
        return [np.bool_(value), np.array(value), torch.tensor(value)]
    if isinstance(value, int):
        return [np.int64(value), np.int32(value), np.uint8(value), np.array(value), torch.tensor(value)]
    if isinstance(value, float):
        return [np.float32(value), np.float64(value), np.float16(value), np.array(value), torch.tensor(value), Fraction(value)]
    if isinstance(value, tuple):
        whole = all(isinstance(v, int) for v in value)
        more = [torch.Size(value), np.array(value, np.int16)] if whole else [np.array(value, np.float32)]
        return [list(value), np.array(value), torch.tensor(value), [np.array(v) for v in value], [torch.tensor(v) for v in value],
                *more]
    return []


def annotation(cls, name):
    return next(f.type for f in dataclasses.fields(cls) if f.name == name)


@pytest.mark.parametrize(("cls", "name"), CASES)
def test_the_same_value_in_any_form(cls, name):
    for value in good(cls, name):
        plain = make(cls, name, value)
        for form in forms(value):
            if annotation(cls, name) == "Strength" and isinstance(form, torch.Tensor) and form.dim():
                continue  # a schedule
            same = make(cls, name, form)
            assert same == plain and hash(same) == hash(plain) and repr(same) == repr(plain), repr(form)
            assert [*same.slots()] == [*plain.slots()]


@pytest.mark.parametrize(("cls", "name"), CASES)
def test_what_no_argument_takes(cls, name):
    """Each is an error that names the class and the argument."""
    nothing = object()
    bad = [nothing, {}, {1, 2}, 1j, b"ab", (x for x in (1, 2)), np.array([[1, 2], [3, 4]]), torch.ones(2, 2), np.array("ab"),
           torch.tensor(1.0, device="meta"), np.datetime64("2020-01-01"), (), [], (nothing, nothing), (1, 2, 3, 4, 5, 6) * 3,
           print, "no such name"]
    kinds = {type(v) for v in good(cls, name)}
    if bool not in kinds:
        bad += [True, np.bool_(True), torch.tensor(True)]
        if str not in kinds and name != "transforms":
            bad += [float("nan"), np.float32("nan"), torch.tensor(float("nan")), 10**400, (True, True), (float("nan"), 1.0)]
            bad += [float("inf"), np.array(np.inf)] * (name != "correlation")  # infinite: one number for the whole view
    if tuple not in kinds and name != "transforms":
        bad += [[0.5, 0.5], np.array([1, 1])]
        if annotation(cls, name) != "float":  # where a tensor is a schedule
            bad += [torch.tensor([0.5, 0.5])]
    default = next(f.default for f in dataclasses.fields(cls) if f.name == name)
    if default is not None and (cls, name) != (am.Resize, "size") and name not in ("brightness", "contrast", "saturation", "hue"):
        bad += [None] * (cls not in POLICIES or name != "fill")
    for value in bad:
        with pytest.raises(am.ArgumentError, match=rf"{cls.__name__}\.{name}"):
            make(cls, name, value)
            pytest.fail(f"{value!r} was taken")


@pytest.mark.parametrize("form", forms((9, 11)), ids=lambda f: type(f).__name__)
def test_size_of_a_plan_takes_the_same(form):
    recipe = am.Recipe([am.RandomHorizontalFlip()])
    assert recipe.output_size(form) == (9, 11)
    plan = recipe.plan(np.array([3, 4]), size=form, seed=np.int64(1), epoch=torch.tensor(2), view=np.uint8(3))
    assert plan == recipe.plan([3, 4], size=(9, 11), seed=1, epoch=2, view=3)
    assert plan.size == (9, 11) and all(type(n) is int for n in plan.size)


@pytest.mark.parametrize("size", [(0, 8), (8, -1), (8, 32769), (True, 4), (4, np.bool_(True)), (8.0, 4), ("8", 4), (None, 4),
                                  (8, 8, 3), (8,), 8, np.int64(8), "ab", None, torch.tensor([8.0, 8.0]), torch.tensor(8), ()])
def test_the_same_mistake_is_the_same_error(size):
    recipe = am.Recipe([am.RandomHorizontalFlip()])
    errors = []
    for call in (lambda: recipe.output_size(size), lambda: recipe.plan([0, 1], size=size)):
        with pytest.raises(am.AnamorphError, match="size") as caught:
            call()
        errors.append((type(caught.value), str(caught.value)))
    assert errors[0] == errors[1]


def test_a_bool_in_a_size_is_named():
    with pytest.raises(am.ArgumentError, match=r"size\[0\]: expected a whole number of pixels, given True"):
        am.Recipe([]).plan([0], size=(True, 4))


@pytest.mark.parametrize("name", ["num_classes", "label_smoothing"])
def test_arguments_of_a_recipe(name):
    value = {"num_classes": 3, "label_smoothing": 0.25}[name]
    given = {"num_classes": 3, name: value}
    plain = am.Recipe([am.MixUp()], **given)
    for form in forms(value):
        same = am.Recipe([am.MixUp()], **{**given, name: form})
        assert same == plain and type(getattr(same, name)) is type(value)


# ---- values that are taken alone and cannot be together ----

@pytest.mark.parametrize(("make", "text"), [
    (lambda: am.Normalize(0.5, 1e-45), "Normalize.std"),
    (lambda: am.Normalize(1e10, 1e-30), "Normalize.std"),
    (lambda: am.Recipe([am.RandomAffine(0, scale=(0.001, 0.001))] * 14), "shrink a picture by at most"),
    (lambda: am.Recipe([am.RandomAffine(0, scale=(0.001, 1000))] * 120), "shrink a picture by at most"),
    (lambda: am.Recipe([am.RandomOrder([am.RandomAffine(0, scale=(0.001, 1))] * 11)]), "shrink a picture by at most"),
    (lambda: am.Recipe([am.Normalize(0.5, 1e-6)], dtype=torch.float16), "float16 can hold in the output, given 0"),
    (lambda: am.Recipe([am.RandomErasing(value=1e30), am.Normalize(0.5, 1e-20)]), "RandomErasing.value"),
    (lambda: am.Recipe([am.Normalize(0.5, 1e20), am.RandomErasing(value=1e30)]), "RandomErasing.value"),
    (lambda: am.Recipe([am.OneOf([am.RandomRotation(5, fill=3e38)]), am.Normalize(0.5, 0.001)]), "RandomRotation.fill"),
    (lambda: am.Recipe([am.RandomRotation(5, fill=1e9)], dtype=torch.float16), "RandomRotation.fill"),
])
def test_products_that_overflow(make, text):
    with pytest.raises(am.ArgumentError, match=text):
        make()


@pytest.mark.parametrize("recipe", [
    lambda: am.Recipe([am.RandomAffine(0, scale=(0.001, 1000))] * 8 + [am.Normalize(0.5, 1e-30)]),
    lambda: am.Recipe([am.RandomOrder([am.RandomResizedCrop(224, antialias=False)] * 8), am.Resize((8, 8))]),
    lambda: am.Recipe([am.Resize((32768, 32768)), am.CenterCrop(1)] * 12 + [am.RandomAffine(0), am.Resize((8, 8))]),
    lambda: am.Recipe([am.RandomErasing(1.0, value=6e4), am.RandomRotation(9, fill=255)], dtype=torch.float16),
    lambda: am.Recipe([am.Normalize((0.0, 1e10), (1e-5, 1e-5)), am.RandomErasing(1.0, value=1e38)], dtype=torch.bfloat16),
])
def test_products_that_do_not_are_finite(recipe, route):
    recipe = recipe()
    plan = recipe.plan(range(4), size=(20, 31))
    channels = len(recipe.mean) if recipe.mean and len(recipe.mean) > 1 else 3
    images = torch.randint(0, 256, (4, 20, 31, channels), dtype=torch.uint8)
    assert torch.isfinite(am.render(images, plan)).all()
