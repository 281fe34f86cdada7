"""Random fields: their distribution, what they do to pixels, and torchvision's elastic transform."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import anamorph as am
from anamorph import _native
from anamorph.bench._torchvision import v2 as load_torchvision
from anamorph.images.transforms import Transform
from anamorph.images.transforms.program import chains, slot
from emulation.route import FOUND, emulated
from pictures import close, nchw, pictures, unit
from reference.philox import philox
from reference.render import normal

v2 = load_torchvision()
H, W = 60, 90
IMAGES = pictures(61, 83)
BOTH = ("translation", "rotation", "scale", "shear", "brightness", "contrast", "saturation", "hue")
EVERYTHING = {"translation": 0.02, "rotation": 4, "scale": 0.05, "shear": 3, "brightness": 0.3, "contrast": 0.2,
              "saturation": 0.3, "hue": 0.05}


def render(transforms, images):
    """Views [B, C, H, W] of an NHWC batch."""
    return am.render(torch.from_numpy(images), am.Recipe(transforms).plan(range(len(images)), size=images.shape[1:3]))


def ramp(h=H, w=W):
    """A picture whose first two channels say where a pixel lies, in shares of the sides."""
    y, x = np.mgrid[:h, :w]
    return np.stack([(x + 0.5) / w, (y + 0.5) / h, 0.5 + 0.0 * x], -1).astype(np.float32)


class Words:
    """A row's field."""

    def __init__(self, plan, i):
        words = plan.rows[i, plan.recipe.info["layer_words"] - _native.FIELD_WORDS:plan.recipe.info["layer_words"]]
        floats = words.view(torch.float32).double().tolist()
        at = _native.FIELD
        self.key = int(words[at["KEY"]]) & 0xFFFFFFFF
        self.knots, self.offset, self.size = (floats[at[name]:at[name] + 2] for name in ("KNOTS", "OFFSET", "SIZE"))
        self.sigma = floats[at["SIGMA"]:at["SIGMA"] + 5]

    def value(self, function, x, y):
        """A function's values at columns x of rows y of the field's view, by the B-spline's definition."""
        keys = [int(k) for k in philox((0, function, 0, 0xF1E1D), (self.key, 0))][:2]
        basis = [self.along(axis, np.asarray(p)) for axis, p in enumerate((x, y))]
        across, down = (b.shape[1] for b in basis)
        at = np.arange(down)[:, None] * 2048 + np.arange(across)
        coefficients = np.array([[normal(int(a), *keys) for a in line] for line in at])
        return basis[1] @ coefficients @ basis[0].T

    def along(self, axis, p):
        if not self.knots[axis]:
            return np.ones((len(p), 1))
        u = np.clip(p, 0, self.size[axis]) * self.knots[axis] + self.offset[axis]
        d = np.abs(u[:, None] + 1 - np.arange(int(u.max()) + 5))
        spline = np.where(d < 1, 2 / 3 - d**2 + d**3 / 2, np.where(d < 2, (2 - d)**3 / 6, 0))
        return spline / math.sqrt(151 / 315)


# ---- the distribution ----

@pytest.mark.parametrize("correlation", [0.1, 0.2, 0.4])
def test_covariance_is_the_stated_one(correlation):
    """At five distances along x, by where pixels of a ramp come from: exp(-r^2 / 2 l^2), and the B-spline's 0.01."""
    count, sigma, size = 1500, 0.01, 80
    plan = am.Recipe([am.RandomField(translation=sigma, correlation=correlation)]).plan(range(count), size=(size, size), seed=1)
    images = torch.from_numpy(ramp(size, size))[None].expand(count, -1, -1, -1).contiguous()
    moved = am.render(images, plan)[:, :2].double() - nchw(ramp(size, size)[None])[:, :2]
    inner = moved[..., 8:-8, 8:-8] / sigma  # beyond, the ramp's edge is repeated or filled
    length, line = correlation * size, inner.shape[-1]
    assert abs(float(inner.mean())) < 0.05
    for lag in (0, length / 2, length, 1.5 * length, 2 * length):
        lag = round(lag)
        if lag > line - 2:
            continue
        for a, b in ((inner[..., :line - lag], inner[..., lag:]), (inner[..., :line - lag, :], inner[..., lag:, :])):
            each = (a * b).mean((2, 3)).flatten()
            error = float(each.std()) / math.sqrt(len(each))
            assert abs(float(each.mean()) - math.exp(-lag**2 / (2 * length**2))) < 0.012 + 4 * error
    assert abs(float((inner[:, 0] * inner[:, 1]).mean())) < 0.05  # x and y have functions of their own


@pytest.mark.parametrize("correlation", [0.15, math.inf])
def test_values_are_normal(correlation):
    """At a place of each of many rows, by the factor of brightness: four moments."""
    images = np.full((4000, 4, 4, 1), 0.25, np.float32)
    out = render([am.RandomField(brightness=0.1, correlation=correlation)], images)[:, 0, 1, 2].double()
    g = (out / 0.25 - 1) / 0.1
    assert abs(float(g.mean())) < 0.07 and abs(float((g**2).mean()) - 1) < 0.1
    assert abs(float((g**3).mean())) < 0.25 and abs(float((g**4).mean()) - 3) < 0.6


def test_parameters_have_functions_of_their_own():
    plan = am.Recipe([am.RandomField(**EVERYTHING)]).plan(range(300), size=(H, W))
    values = np.array([[Words(plan, i).value(k, [10.5], [20.5])[0, 0] for k in range(9)] for i in range(300)])
    correlation = np.corrcoef(values.T) - np.eye(9)
    assert np.abs(correlation).max() < 0.25


# ---- what it does ----

def test_displacement_is_what_the_row_says(simd):
    plan = am.Recipe([am.RandomField(translation=0.03, correlation=0.2)]).plan(range(3), size=(H, W), seed=4)
    out = am.render(torch.from_numpy(np.stack([ramp()] * 3)), plan).double().numpy()
    x, y = np.arange(W) + 0.5, np.arange(H) + 0.5
    for i in range(3):
        words = Words(plan, i)
        source = np.stack([np.add(x, words.sigma[0] * words.value(0, x, y)) / W,
                           np.add(y[:, None], words.sigma[1] * words.value(1, x, y)) / H])
        inside = ((source * [[[W]], [[H]]] > 1) & (source * [[[W]], [[H]]] < [[[W - 1]], [[H - 1]]])).all(0)
        assert inside.mean() > 0.8
        assert np.abs(out[i, :2] - source)[:, inside].max() < 2e-5


@pytest.mark.parametrize("name", ["rotation", "scale", "shear", "translation"])
def test_one_number_for_the_whole_view_is_the_affine_operation(simd, name):
    """correlation=inf: torchvision's affine of the same numbers."""
    plan = am.Recipe([am.RandomField(**{name: EVERYTHING[name]}, correlation=math.inf)]).plan(range(4), size=(61, 83), seed=2)
    images = unit(IMAGES).float()
    out = am.render(images, plan)
    for i in range(4):
        words = Words(plan, i)
        g = [s * words.value(k, [0.5], [0.5])[0, 0] for k, s in enumerate(words.sigma)]
        if name == "translation":
            expected = am.render(images[i:i + 1], am.Recipe([am.Warp([[1, 0, g[0]], [0, 1, g[1]]], inverse=True)]).plan(
                [0], size=(61, 83)))[0]
        else:
            expected = v2.functional.affine(images[i], math.degrees(g[2]), [0, 0], math.exp(g[3]), [math.degrees(g[4]), 0],
                                            interpolation=v2.InterpolationMode.BILINEAR)
        close(out[i, :, 3:-3, 3:-3], expected[:, 3:-3, 3:-3], 2e-4)  # what float32 positions cost of a sharp picture
        smooth = am.render(torch.from_numpy(ramp(61, 83))[None], plan[i:i + 1])[0]
        if name != "translation":
            theirs = v2.functional.affine(nchw(ramp(61, 83)[None])[0], math.degrees(g[2]), [0, 0], math.exp(g[3]),
                                          [math.degrees(g[4]), 0], interpolation=v2.InterpolationMode.BILINEAR)
            close(smooth[:, 8:-8, 12:-12], theirs[:, 8:-8, 12:-12])


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_one_number_for_the_whole_view_is_the_colour_operation(simd, name):
    plan = am.Recipe([am.RandomField(**{name: EVERYTHING[name]}, correlation=math.inf)]).plan(range(4), size=(61, 83), seed=2)
    images = unit(IMAGES).float()
    out = am.render(images, plan)
    for i in range(4):
        by = EVERYTHING[name] * Words(plan, i).value(5 + BOTH[4:].index(name), [0.5], [0.5])[0, 0]
        factor = by if name == "hue" else max(0.0, 1 + by)
        expected = getattr(v2.functional, f"adjust_{name}")(images[i], factor)
        close(out[i], expected, 1e-5 if name != "hue" else 3e-5)


def test_colour_factors_are_the_rows(simd):
    plan = am.Recipe([am.RandomField(brightness=0.4, correlation=0.1)]).plan([7], size=(H, W))
    out = am.render(torch.full((1, H, W, 3), 0.4), plan)[0, 1].double().numpy()
    factor = 1 + 0.4 * Words(plan, 0).value(5, np.arange(W) + 0.5, np.arange(H) + 0.5)
    np.testing.assert_allclose(out, np.clip(0.4 * np.maximum(factor, 0), 0, 1), atol=1e-5)


@pytest.mark.parametrize("name", [None, *BOTH])
def test_a_deviation_of_zero_is_no_field(route, name):
    recipe = am.Recipe([am.RandomResizedCrop(40), am.RandomField(**({name: 0} if name else {})), am.ColorJitter(0.4)])
    plain = am.Recipe([am.RandomResizedCrop(40), am.ColorJitter(0.4)])
    a, b = (r.plan(range(4), size=(61, 83)) for r in (recipe, plain))
    assert torch.equal(a.rows, b.rows)
    assert torch.equal(am.render(torch.from_numpy(IMAGES), a), am.render(torch.from_numpy(IMAGES), b))


def test_a_field_that_was_not_drawn_leaves_the_view_as_it_is(route):
    out = render([am.RandomResizedCrop(40), am.RandomField(**EVERYTHING, p=0.5)], IMAGES)
    plain = render([am.RandomResizedCrop(40)], IMAGES)
    plan = am.Recipe([am.RandomResizedCrop(40), am.RandomField(**EVERYTHING, p=0.5)]).plan(range(len(IMAGES)), size=(61, 83))
    drawn = [row["field"] is not None for row in plan.table()]
    assert any(drawn) and not all(drawn)
    for i, there in enumerate(drawn):
        assert torch.equal(out[i], plain[i]) != there


def test_fields_that_only_colour_move_nothing(route):
    """The map stays square: a crop of whole pixels keeps their bits."""
    out = render([am.CenterCrop(40), am.RandomField(brightness=1e-9)], IMAGES)
    close(out, render([am.CenterCrop(40)], IMAGES), 1e-6)


# ---- in company ----

def test_a_crop_before_and_a_turn_after(simd):
    """The field lies in the crop's view; what comes after moves it along: the same as the field's view turned."""
    field = am.RandomField(translation=0.02, rotation=3, correlation=0.3)
    plan = am.Recipe([am.RandomResizedCrop(50, scale=(0.5, 0.9)), field]).plan(range(4), size=(61, 83), seed=3)
    images = torch.from_numpy(np.stack([ramp(61, 83)] * 4))
    view = am.render(images, plan)
    for more in ([am.RandomVerticalFlip(1.0)], [am.RandomRotate90(1.0)], [am.RandomHorizontalFlip(1.0), am.Transpose(1.0)]):
        both = am.Recipe([am.RandomResizedCrop(50, scale=(0.5, 0.9)), field, *more]).plan(range(4), size=(61, 83), seed=3)
        turned = am.render(images, both)
        alone = am.Recipe(more)
        for i in range(4):  # a turn's own number comes from its slot, which is another one alone: one of the four fits
            ways = [view[i], view[i].flip(1), view[i].flip(2), view[i].flip(1, 2)]
            ways += [w.transpose(1, 2) for w in ways]
            assert min(float((turned[i] - w).abs().max()) for w in ways) < 3e-5, alone


def test_a_resize_after_a_field_averages(simd):
    """Halved behind the field: near the mean of the four pixels of the field's view."""
    field = am.RandomField(translation=0.03, correlation=0.2)
    key = {"size": (60, 80), "seed": 3}
    images = torch.from_numpy(np.stack([ramp(60, 80)] * 4))
    view = am.render(images, am.Recipe([field]).plan(range(4), **key))
    half = am.render(images, am.Recipe([field, am.Resize((30, 40))]).plan(range(4), **key))
    expected = torch.nn.functional.avg_pool2d(view, 2)
    close(half[..., 4:-4, 4:-4], expected[..., 4:-4, 4:-4], 5e-3)


COMPANY = {
    "crop, flip": [am.RandomResizedCrop(50), am.RandomHorizontalFlip(), am.RandomField(**EVERYTHING)],
    "affine after": [am.RandomField(0.05, 5, correlation=0.1), am.RandomAffine(30, interpolation="bilinear", fill=0.9),
                     am.ColorJitter(0.3)],
    "perspective after": [am.RandomField(0.05, brightness=0.3), am.RandomPerspective(0.6, 1.0)],
    "bicubic": [am.RandomRotation(20), am.RandomField(scale=0.1, interpolation="bicubic", fill=(200, 20, 90))],
    "nearest": [am.RandomField(0.04, interpolation="nearest")],
    "shrunk": [am.Resize(20), am.RandomField(0.04, shear=4)],
    "late fill": [am.RandomInvert(1.0), am.RandomField(0.1, correlation=0.3, fill=1), am.GaussianBlur(5)],
    "contrast, equalized": [am.RandomField(0.03, contrast=0.5), am.RandomEqualize(1.0), am.RandomAutocontrast(1.0)],
    "mixed": [am.RandomField(**EVERYTHING, p=0.8), am.RandomErasing(0.8), am.MixUp()],
    "boxed": [am.RandomField(0.05, hue=0.1), am.CutMix()],
    "shrunk partner": [am.RandomField(0.05, brightness=0.4, saturation=0.3), am.ResizeMix((0.4, 0.9))],
    "shrunk partner, ready": [am.RandomField(0.05, contrast=0.4, hue=0.1), am.GaussianBlur(3), am.ResizeMix((0.4, 0.9))],
    "fine": [am.RandomField(0.001, brightness=0.2, correlation=0.01)],
    "elastic": [am.ElasticTransform(), am.RandomHorizontalFlip()],
}


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("name", COMPANY)
@pytest.mark.skipif(not FOUND, reason="the emulation is not built; make test builds it")
def test_the_cuda_code_draws_the_same(name, dtype):
    """The bits of the plan; of the views what the order of sums costs."""
    images = torch.from_numpy(IMAGES) if dtype == torch.uint8 else unit(IMAGES).float().permute(0, 2, 3, 1)
    recipe = am.Recipe(COMPANY[name])
    plan = recipe.plan(range(4), size=(61, 83), seed=5)
    expected = am.render(images, plan)
    with emulated(3):
        drawn = recipe.plan(range(4), size=(61, 83), seed=5)
        out = am.render(images, drawn)
    assert torch.equal(plan.rows, drawn.rows)
    close(out, expected, 2e-3, 0.995)  # steps, nearest taps and equalize turn a last bit into more


@pytest.mark.parametrize("name", COMPANY)
def test_batches_levels_and_files_change_nothing(name):
    recipe, images = am.Recipe(COMPANY[name]), torch.from_numpy(IMAGES)
    plan = recipe.plan(range(4), size=(61, 83), seed=5)
    out = am.render(images, plan)
    again = am.Plan.from_state_dict(recipe, plan.state_dict())
    assert again == plan and torch.equal(am.render(images, again), out)
    if not recipe.info["mixes"]:
        for i in range(4):
            assert torch.equal(am.render(images[i:i + 1], recipe.plan([i], size=(61, 83), seed=5)), out[i:i + 1])
    assert not torch.equal(am.render(images, recipe.plan(range(4), size=(61, 83), seed=6)), out)


@pytest.mark.cpu
@pytest.mark.parametrize("name", COMPANY)
def test_instruction_sets_agree(simd, name):
    images = torch.from_numpy(IMAGES)
    plan = am.Recipe(COMPANY[name]).plan(range(4), size=(61, 83), seed=5)
    out = am.render(images, plan)
    simd("base")
    close(am.render(images, plan), out, 2e-3, 0.995)


def test_a_shrunk_partner_is_the_partners_view(route):
    """ResizeMix of a field's view: what a resize makes of that view."""
    first = [am.RandomField(0.02, brightness=0.3, correlation=0.3)]
    images = np.stack([ramp(60, 60)] * 2)
    views = render(first, images)
    recipe = am.Recipe([*first, am.ResizeMix((0.5, 0.5))])
    plan = recipe.plan(range(2), size=(60, 60))
    out = am.render(torch.from_numpy(images), plan)
    for i in range(2):
        x0, y0, x1, y1 = plan.rows[i, _native.WORDS["BOX"]:_native.WORDS["BOX"] + 4].tolist()
        small = torch.nn.functional.avg_pool2d(views[1 - i:2 - i], 2)[0]
        close(out[i, :, y0 + 2:y1 - 2, x0 + 2:x1 - 2], small[:, 2:-2, 2:-2], 1e-2)


def test_chains_keep_the_field(route):
    """A blend of chains over a field's view: chains that change nothing give the view."""

    class Chains(Transform):
        def slots(self):
            return chains(2, 1.0, 1.0, [slot("IDENTITY")])

    recipe = am.Recipe([am.RandomField(0.03, brightness=0.3), Chains()])
    plain = am.Recipe([am.RandomField(0.03, brightness=0.3)])
    images = torch.from_numpy(IMAGES)
    close(am.render(images, recipe.plan(range(4), size=(61, 83))), am.render(images, plain.plan(range(4), size=(61, 83))), 1e-5)


# ---- torchvision's elastic transform ----

@pytest.mark.parametrize(("alpha", "sigma"), [(50.0, 5.0), ((30.0, 80.0), 4.0), (60.0, (3.0, 6.0))])
def test_elastic_displacement_is_torchvisions(alpha, sigma):
    """The deviation and the correlation, over draws of both; torchvision's inside, away from the mirrored border."""
    size, pad = 96, 24
    torch.manual_seed(0)
    theirs = v2.ElasticTransform(alpha, sigma)
    scale = torch.tensor([size / 2, size / 2])
    moved = torch.cat([theirs.make_params([torch.zeros(3, size, size)])["displacement"] for _ in range(150)]) * scale
    moved = moved[:, pad:-pad, pad:-pad].double()
    plan = am.Recipe([am.ElasticTransform(alpha, sigma)]).plan(range(150), size=(size, size))
    x = np.arange(pad, size - pad) + 0.5
    words = [Words(plan, i) for i in range(150)]
    ours = torch.from_numpy(np.stack([np.stack([w.sigma[k] * w.value(k, x, x) for k in (0, 1)], -1) for w in words]))
    for k in (0, 1):
        variances = [float((m[..., k]**2).mean()) for m in (ours, moved)]
        assert abs(variances[0] / variances[1] - 1) < 0.08
        for lag in (3, 6, 10):
            for a, b in ((slice(lag, None), slice(None)), (slice(None), slice(lag, None))):
                back = [slice(None, -lag) if s.start else slice(None) for s in (a, b)]
                pair = [float((m[:, a, b, k] * m[:, back[0], back[1], k]).mean()) / v for m, v in zip((ours, moved), variances)]
                # Of two sigmas torchvision cuts the wider kernel where the narrower one ends.
                assert abs(pair[0] - pair[1]) < (0.05 if np.ndim(sigma) == 0 else 0.1)


def test_elastic_default_deviation():
    """0.814 pixels, as torchvision's noise and kernel have it."""
    plan = am.Recipe([am.ElasticTransform()]).plan([0], size=(61, 83))
    assert Words(plan, 0).sigma[:2] == pytest.approx([0.8143] * 2, abs=2e-4)


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_elastic_renders_as_torchvision(simd, interpolation):
    """torchvision's functional call with the displacement that the row says, in its units."""
    plan = am.Recipe([am.ElasticTransform(150.0, 4.0, interpolation, fill=90)]).plan(range(4), size=(61, 83), seed=8)
    out = am.render(torch.from_numpy(IMAGES), plan)
    x, y = np.arange(83) + 0.5, np.arange(61) + 0.5
    for i in range(4):
        words = Words(plan, i)
        moved = np.stack([words.sigma[k] * words.value(k, x, y) * 2 / side for k, side in enumerate((83, 61))], -1)
        expected = v2.functional.elastic(nchw(IMAGES)[i], torch.from_numpy(moved[None]).float(),
                                         v2.InterpolationMode(interpolation), fill=[90.0])
        ours = out[i] * 255
        from_x, from_y = x + moved[..., 0] * 83 / 2, y[:, None] + moved[..., 1] * 61 / 2
        fringe = (np.abs(np.minimum(from_x, 83 - from_x)) < 0.51) | (np.abs(np.minimum(from_y, 61 - from_y)) < 0.51)
        off = (ours - expected).abs()[:, torch.from_numpy(~fringe)]  # in the fringe torchvision weighs the fill twice
        assert float((off <= 1.01).float().mean()) >= 0.999 and fringe.mean() < 0.05


# ---- plans ----

def test_the_plan_says_what_the_field_is():
    plan = am.Recipe([am.RandomField(0.1, 5, brightness=0.2)]).plan([0], size=(50, 80))
    assert plan.table()[0]["field"] == [("translation x", 8.0), ("translation y", 5.0), ("rotation", 5.0)]
    assert plan.table()[0]["steps"] == [("field brightness", 0.2)]
    assert "random field of translation x 8" in plan[0]
    assert am.Recipe([am.RandomInvert()]).plan([0], size=(5, 5)).table()[0]["field"] is None


@pytest.mark.parametrize("correlation", [0.15, math.inf])
def test_fields_print_as_code(correlation):
    transform = am.RandomField(0.05, hue=0.1, correlation=correlation)
    assert eval(repr(transform), {"RandomField": am.RandomField}) == transform


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_colour_is_of_grey_or_rgb(channels):
    for what in ("brightness", "contrast", "saturation", "hue"):
        recipe = am.Recipe([am.RandomField(**{what: 0.3})])
        with pytest.raises(am.ShapeError, match=f"1 or 3 channels.*field_{what}"):
            am.render(torch.rand(1, channels, 8, 8), recipe.plan([0], size=(8, 8)), layout="NCHW")


def test_rows_without_fields_do_not_grow():
    assert am.Recipe([am.RandomResizedCrop(9)]).info["row_words"] == _native.WORDS["HEADER"]
    assert am.Recipe([am.RandomField(0.1)]).info["row_words"] == _native.WORDS["HEADER"] + _native.FIELD_WORDS


@pytest.mark.parametrize(("word", "value"), [("FLAGS", 2), ("FLAGS", 7), ("KNOTS", 1e6), ("KNOTS", -1.0), ("KNOTS", math.nan),
                                             ("OFFSET", 1.0), ("SIZE", -3.0), ("SIGMA", -0.1), ("SIGMA", math.inf),
                                             ("AFTER", math.nan)])
def test_damaged_fields_are_refused(word, value):
    recipe = am.Recipe([am.RandomResizedCrop(20), am.RandomField(0.1, hue=0.1)])
    state = recipe.plan(range(3), size=(30, 40)).state_dict()
    state["rows"] = state["rows"].clone()
    at = recipe.info["layer_words"] - _native.FIELD_WORDS + _native.FIELD[word]
    state["rows"][1, at] = value if word == "FLAGS" else torch.tensor(value).view(torch.int32)
    with pytest.raises(am.ArgumentError, match=r"rows\[1\]: expected FIELD"):
        am.Plan.from_state_dict(recipe, state)
