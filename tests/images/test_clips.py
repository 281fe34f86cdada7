"""Clips: B * T rows in one plan, how their views differ from frame to frame, and what is rendered and carried by them."""

from __future__ import annotations

import io
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats

import anamorph as am
from anamorph import _native
from recipes import SINGLE
from reference.plan import plan_rows

pytestmark = pytest.mark.usefixtures("route")

T = 4
SIZE = H, W = 37, 45
AT = _native.WORDS
MIXED = {name for name, transforms in SINGLE.items() if am.Recipe(transforms)._mixes}
OWN = [name for name in SINGLE if name not in MIXED]
CHANGES = ("none", "each", "smooth")
POLICIES = {"randaugment": [am.RandAugment()], "timm": [am.auto_augment("rand-m9-mstd0.5-inc1")], "augmix": [am.AugMix()],
            "trivial": [am.TrivialAugmentWide()], "jitters": [am.RandomZoomOut(), am.LargeScaleJitter(30)],
            "cutout": [am.auto_augment("rand-m6-mstd2"), am.RandomRotate90(), am.SharedAcrossViews([am.RandomAffine(20)])]}


def floats(plan, word, count=1):
    return plan.rows[:, AT[word]:AT[word] + count].contiguous().view(torch.float32).double()


def numbers(plan, step=0):
    """Of a colour step of each row."""
    at = AT["HEADER"] + _native.COLOR_WORDS * step + 1
    return plan.rows[:, at].contiguous().view(torch.float32).double()


def alone(rows):
    """But for the row that each is mixed with, which without mixing is its own."""
    return rows[..., [w for w in range(rows.shape[-1]) if w != AT["PARTNER"]]]


def per_clip(t, frames):
    return t.unflatten(0, (-1, frames))


def video(clips=2, frames=T, size=SIZE, channels=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (clips, frames, *size, channels), dtype=torch.uint8, generator=generator)


# ---- the rows ----


@pytest.mark.parametrize("name", OWN)
def test_none_has_the_bits_of_an_id_that_stands_several_times(name):
    recipe, ids = am.Recipe(SINGLE[name]), [5, 2**40 + 7, 3]
    clips = recipe.plan(ids, size=SIZE, seed=9, epoch=2, view=3, frames=T)
    rows = recipe.plan([i for i in ids for _ in range(T)], size=SIZE, seed=9, epoch=2, view=3)
    assert torch.equal(clips.rows, rows.rows) and torch.equal(clips.index, rows.index)
    assert clips.frames == T and rows.frames is None and len(clips) == len(ids) * T


@pytest.mark.parametrize("name", sorted(MIXED))
@pytest.mark.parametrize("change", CHANGES)
def test_a_clip_mixes_with_a_clip_frame_by_frame(name, change):
    recipe, ids = am.Recipe(SINGLE[name]), [5, 9, 3, 8, 1]
    clips = recipe.plan(ids, size=SIZE, seed=9, frames=T, change=change)
    single = recipe.plan(ids, size=SIZE, seed=9)
    rows, partner = per_clip(clips.rows, T), AT["PARTNER"]
    for t in range(T):
        mixed = rows[:, t, AT["MIX"]] != 0
        if change != "each":
            assert torch.equal(rows[:, t, AT["MIX"]], single.rows[:, AT["MIX"]])
            assert torch.equal(rows[:, t, partner], single.rows[:, partner] * T + t)
        else:  # whether it mixes is drawn in every frame, with whom is not
            assert torch.equal(rows[mixed, t, partner] % T, torch.full((int(mixed.sum()),), t, dtype=torch.int32))
            decided = single.rows[:, AT["MIX"]] != 0
            both = mixed & decided
            assert torch.equal(rows[both, t, partner] // T, single.rows[both, partner])
    if change == "none":
        assert all(torch.equal(alone(rows[:, t]), alone(single.rows)) for t in range(T))


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("change", CHANGES)
def test_one_frame_has_the_bits_of_a_picture(name, change):
    recipe = am.Recipe(SINGLE[name])
    plain = recipe.plan([4, 7, 11], size=SIZE, seed=1)
    clips = recipe.plan([4, 7, 11], size=SIZE, seed=1, frames=1, change=change, drift=1.0)
    assert torch.equal(plain.rows, clips.rows) and clips.frames == 1


@pytest.mark.parametrize("name", [*SINGLE, *POLICIES])
@pytest.mark.parametrize(("change", "drift"), [("each", 0.2), ("smooth", 0.2), ("smooth", 1.0)])
def test_bits(name, change, drift):
    """Against the planner in Python."""
    recipe = am.Recipe({**SINGLE, **POLICIES}[name])
    ids, key = [5, 2**40 + 7, 77], {"seed": 2**64 - 3, "epoch": 7, "view": 2, "frames": 5, "change": change, "drift": drift}
    try:
        plan = recipe.plan(ids, size=SIZE, **key)
    except am.ArgumentError:
        pytest.skip("a recipe without one size")
    expected = plan_rows(recipe, ids, [SIZE] * 3, plan.output_size, **key)
    bad = np.argwhere(plan.rows.numpy() != expected)
    assert not len(bad), f"row, word: {bad[:5].tolist()} of {recipe}"


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("change", CHANGES)
def test_the_first_frame_is_the_pictures(name, change):
    recipe = am.Recipe(SINGLE[name])
    clips, plain = recipe.plan(range(6), size=SIZE, frames=T, change=change), recipe.plan(range(6), size=SIZE)
    assert torch.equal(alone(clips.rows[::T]), alone(plain.rows))


def test_clips_do_not_depend_on_the_batch():
    recipe = am.Recipe([t for t in SINGLE["chain"] if not t.mixers()])
    for change in CHANGES:
        whole = recipe.plan(range(8), size=SIZE, frames=T, change=change)
        some = recipe.plan([6, 2], size=SIZE, frames=T, change=change)
        assert torch.equal(alone(per_clip(whole.rows, T)[[6, 2]]), alone(per_clip(some.rows, T)))


def test_what_is_drawn_is_right_and_can_be_kept():
    for name in ("chain", "noise", "erasing, several", "cutmix", "some of, repeated"):
        recipe = am.Recipe(SINGLE[name])
        plan = recipe.plan([3, 4], size=[[30, 40], [9, 12]] if recipe._fixed else SIZE, frames=3, change="smooth", drift=0.7)
        file = io.BytesIO()
        torch.save(plan, file)
        file.seek(0)
        for read in (pickle.loads(pickle.dumps(plan)), torch.load(file), am.Plan.from_state_dict(recipe, plan.state_dict())):
            assert read == plan and read.frames == 3
        assert plan != plan._rows_alone() and plan._rows_alone() == plan._rows_alone()
        assert "2 clips of 3 frames" in repr(plan)
        assert plan[4].startswith("sample 4, frame 1: ") and [row["frame"] for row in plan.table()] == [0, 1, 2, 0, 1, 2]


def test_slices():
    recipe = am.Recipe([am.RandomHorizontalFlip(), am.MixUp(partner="flip")])
    plan = recipe.plan(range(4), size=SIZE, frames=T)
    assert plan[T:3 * T].frames == T and plan[::T].frames is None and plan[:].frames == T
    assert torch.equal(plan[1::T].rows[:, AT["PARTNER"]], torch.tensor([3, 2, 1, 0], dtype=torch.int32))
    with pytest.raises(am.ArgumentError, match="a slice with the partners of its rows, given 0:4"):
        plan[0:4]


def test_a_size_for_each_clip_or_each_frame():
    recipe = am.Recipe([am.RandomResizedCrop(12)])
    sizes = torch.tensor([[30, 40], [9, 12]])
    plan = recipe.plan([1, 2], size=sizes, frames=3)
    assert torch.equal(plan.rows, recipe.plan([1, 2], size=sizes[:, None].expand(-1, 3, -1), frames=3).rows)
    assert torch.equal(plan.rows, recipe.plan([1, 1, 1, 2, 2, 2], size=sizes.repeat_interleave(3, 0)).rows)


# ---- each frame alone has the recipe's distribution ----

MANY = 3000


def frames_of(transforms, change, seed=5, size=(60, 80), frames=6, drift=0.9):
    """The plans of the first, a middle and the last frame of many clips, and of as many other samples' pictures."""
    recipe = am.Recipe(transforms)
    plan = recipe.plan(range(MANY), size=size, seed=seed, frames=frames, change=change, drift=drift)
    return [plan[t::frames] for t in (0, 3, frames - 1)], recipe.plan(range(MANY, 2 * MANY), size=size, seed=seed + 1)


@pytest.mark.cpu  # the bits are the same
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("transforms", "low", "high"), [
    ([am.ColorJitter(0.4)], 0.6, 1.4), ([am.ColorJitter(hue=0.3)], -0.3, 0.3), ([am.GaussianBlur(5, (0.5, 2.0))], 0.5, 2.0),
    ([am.RandomGamma((0.5, 2.0), 1.0)], 0.5, 2.0)], ids=["brightness", "hue", "blur", "gamma"])
def test_numbers_are_uniform_in_every_frame(change, transforms, low, high):
    for plan in frames_of(transforms, change)[0]:
        found = numbers(plan).numpy()
        assert low <= found.min() and found.max() <= high + 1e-6
        assert stats.kstest(found, stats.uniform(low, high - low).cdf).pvalue > 1e-3


@pytest.mark.cpu  # the bits are the same
@pytest.mark.parametrize("change", CHANGES)
def test_angles_are_uniform_in_every_frame(change):
    for plan in frames_of([am.RandomRotation(40)], change)[0]:
        m = floats(plan, "MATRIX", 9)
        angle = torch.rad2deg(torch.atan2(m[:, 1], m[:, 0])).numpy()
        assert stats.kstest(angle, stats.uniform(-40, 80).cdf).pvalue > 1e-3


@pytest.mark.cpu  # the bits are the same
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("transforms", [
    [am.RandomResizedCrop(20, (0.08, 1.0))], [am.RandomResizedCrop(20, (0.6, 1.0), (0.5, 2.0))],
    [am.RandomResizedCrop(20, (0.9, 1.0), (1.2, 2.5))], [am.RandomCrop(40, 9)],
    [am.RandomZoomOut(0, (1, 3), 1.0), am.Resize((30, 30))], [am.RandomAffine(0, (0.2, 0.1), (0.5, 2.0))]],
    ids=["crop", "large crop", "crop that hardly fits", "cut", "zoom out", "affine"])
def test_places_are_distributed_as_a_pictures(change, transforms):
    """Area, ratio and place of what is shown, against other samples'. Of a crop that hardly fits most tries fail."""
    plans, others = frames_of(transforms, change)
    theirs = floats(others, "MATRIX", 9)
    for plan in plans:
        mine = floats(plan, "MATRIX", 9)
        features = {"area": lambda m: m[:, 0] * m[:, 4], "ratio": lambda m: m[:, 0] / m[:, 4], "x": lambda m: m[:, 2],
                    "y": lambda m: m[:, 5], "right": lambda m: m[:, 2] + 20 * m[:, 0]}
        for name, feature in features.items():
            assert stats.ks_2samp(feature(mine).numpy(), feature(theirs).numpy()).pvalue > 1e-3, name


@pytest.mark.cpu  # the bits are the same
@pytest.mark.parametrize("change", CHANGES)
def test_erasures_are_distributed_as_a_pictures(change):
    transforms = [am.RandomErasing(1.0, (0.2, 0.9), (0.3, 3.3))]
    plans, others = frames_of(transforms, change)

    def boxes(plan):
        return plan.rows[plan.rows[:, AT["ERASES"]] > 0][:, AT["HEADER"]:AT["HEADER"] + 4].double().numpy()

    for plan in plans:
        mine, theirs = boxes(plan), boxes(others)
        share = len(mine) / MANY, len(theirs) / MANY  # of boxes that were found: the tries may all fail
        assert abs(share[0] - share[1]) < 5 * (share[1] * (1.001 - share[1]) * 2 / MANY) ** 0.5
        for k in range(4):
            assert stats.ks_2samp(mine[:, k], theirs[:, k]).pvalue > 1e-3
        assert stats.ks_2samp((mine[:, 2] - mine[:, 0]) * (mine[:, 3] - mine[:, 1]),
                              (theirs[:, 2] - theirs[:, 0]) * (theirs[:, 3] - theirs[:, 1])).pvalue > 1e-3


@pytest.mark.cpu  # the bits are the same
@pytest.mark.parametrize("change", CHANGES)
def test_normal_levels_stay_normal(change):
    """timm's magnitude 9 with the deviation 0.5: of each op the number's distribution."""
    plans, others = frames_of([am.auto_augment("rand-m5-n1-mstd1")], change)
    op = _native.OPS["SHEAR_X"]

    def shears(plan):
        return numbers(plan)[plan.rows[:, AT["HEADER"]] == op].numpy()

    for plan in plans:
        assert len(shears(plan)) > 60
        assert stats.ks_2samp(shears(plan), shears(others)).pvalue > 1e-3


@pytest.mark.cpu  # the bits are the same
@pytest.mark.parametrize("change", CHANGES)
def test_choices_are_as_likely_in_every_frame(change):
    """Chi-square: flips, and which of three."""
    for plan in frames_of([am.RandomHorizontalFlip(0.3), am.OneOf([am.RandomInvert(1.0), am.RandomPosterize(3, 1.0),
                                                                   am.RandomSolarize(90, 1.0)], 1.0, [1, 2, 3])], change)[0]:
        flipped = int((floats(plan, "MATRIX", 1) < 0).sum())
        assert stats.chisquare([flipped, MANY - flipped], [0.3 * MANY, 0.7 * MANY]).pvalue > 1e-3
        ops = [_native.OPS[name] for name in ("INVERT", "POSTERIZE", "SOLARIZE")]
        counts = [int((plan.rows[:, AT["HEADER"]] == op).sum()) for op in ops]
        assert stats.chisquare(counts, [MANY / 6, MANY / 3, MANY / 2]).pvalue > 1e-3


@pytest.mark.cpu  # the bits are the same
def test_beta_stays_and_frames_of_each_are_independent():
    smooth = am.Recipe([am.MixUp(0.4)]).plan(range(500), size=SIZE, frames=3, change="smooth")
    lam = per_clip(floats(smooth, "LAM")[:, 0], 3)
    assert torch.equal(lam[:, 0], lam[:, 1]) and torch.equal(lam[:, 0], lam[:, 2])
    each = am.Recipe([am.ColorJitter(0.4)]).plan(range(MANY), size=SIZE, frames=3, change="each")
    found = per_clip(numbers(each), 3)
    for a, b in ((0, 1), (1, 2), (0, 2)):
        assert abs(np.corrcoef(found[:, a], found[:, b])[0, 1]) < 5 / MANY ** 0.5


# ---- nothing jumps in a smooth clip ----

LONG = 33


def smooth(transforms, drift=0.5, clips=40, size=(96, 128), frames=LONG):
    return am.Recipe(transforms).plan(range(clips), size=size, seed=3, frames=frames, change="smooth", drift=drift)


@pytest.mark.parametrize("drift", [0.1, 0.5, 1.0])
def test_a_number_moves_evenly(drift):
    """brightness: every step is at most its share of the drift, and as long as the one before but where it turns back."""
    found = per_clip(numbers(smooth([am.ColorJitter(0.4)], drift)), LONG)
    steps = found.diff(dim=1).abs()
    assert steps.max() <= 0.8 * drift / (LONG - 1) * (1 + 1e-5)
    even = (steps - steps[:, :1]).abs() < 1e-5
    assert even.double().mean() > 0.9 and steps.max() > 0.5 * 0.8 * drift / (LONG - 1)
    assert (found[:, -1] - found[:, 0]).abs().max() > 0.3 * 0.8 * drift


@pytest.mark.parametrize(("transforms", "most"), [
    ([am.RandomAffine(30, (0.1, 0.1), (0.8, 1.2), 10, "bilinear")], 4.5), ([am.RandomRotation(40, "bilinear")], 1.75),
    ([am.RandomResizedCrop(64)], 6.0), ([am.RandomHorizontalFlip(), am.RandomResizedCrop(64, (0.5, 1.0))], 6.0),
    ([am.RandomCrop(64)], 2.3), ([am.D4(), am.RandomCrop(64)], 2.3)],
    ids=["affine", "rotation", "crop", "flip and crop", "cut", "turns"])
def test_the_view_moves_little_by_little(transforms, most):
    """The view's corners in the source, in pixels of it from frame to frame: half of a range in 32 steps, and rounding."""
    plan = smooth(transforms)
    h, w = plan.output_size
    corners = torch.tensor([[[0.0, 0.0], [w, 0.0], [w, h], [0.0, h]]]).expand(len(plan), -1, -1)
    places = per_clip(plan._rows_alone().to_source(corners), LONG)
    jump = places.diff(dim=1).norm(dim=-1)
    assert jump.max() <= most
    assert (places[:, -1] - places[:, 0]).norm(dim=-1).max() > 2 * most  # they do move


def test_a_perspective_moves_little_by_little():
    """The picture's corners in the view, which are what is drawn: whole pixels, within float32."""
    plan = smooth([am.RandomPerspective(0.4, 1.0)])
    corners = torch.tensor([[[0.5, 0.5], [127.5, 0.5], [127.5, 95.5], [0.5, 95.5]]]).expand(len(plan), -1, -1)
    places = per_clip(plan._rows_alone().to_view(corners), LONG)
    assert places.diff(dim=1).abs().max() < 1.05 and (places[:, -1] - places[:, 0]).abs().max() > 4


def test_decisions_are_the_clips():
    """No flip, no order, no choice, no turn, no level, no number of erasures changes within a clip; it does between clips."""
    transforms = [am.RandomHorizontalFlip(), am.RandomVerticalFlip(), am.RandomRotate90(), am.RandomApply([am.RandomCrop(30)]),
                  am.Resize((30, 30)), am.RandomOrder([am.ColorJitter(0.3, 0, 0.3), am.RandomGrayscale(0.4)]),
                  am.TrivialAugmentWide(), am.RandomChannelPermutation(), am.CoarseDropout((1, 5), p=0.5)]
    plan = smooth(transforms, drift=1.0, size=(48, 48))
    rows = per_clip(plan.rows, LONG)
    m = per_clip(floats(plan, "MATRIX", 9), LONG)
    assert torch.equal(m.sign()[:, :, [0, 1, 3, 4]], m.sign()[:, :1, [0, 1, 3, 4]].expand(-1, LONG, -1))
    decided = [AT["COLORS"], AT["ERASES"], AT["FLAGS"]]
    decided += [AT["HEADER"] + _native.COLOR_WORDS * k for k in range(plan.recipe.info["max_colors"])]
    assert torch.equal(rows[:, :, decided], rows[:, :1, decided].expand(-1, LONG, -1))
    assert len({tuple(row) for row in rows[:, 0, decided].tolist()}) > 20
    for clip in rows:  # the policy's level and the permutation's number
        for k in range(int(clip[0, AT["COLORS"]])):
            at = AT["HEADER"] + _native.COLOR_WORDS * k
            if int(clip[0, at]) in (_native.OPS["CHANNEL_PERMUTATION"], _native.OPS["POSTERIZE"], _native.OPS["ROTATE_BY"]):
                assert len(clip[:, at + 1].unique()) == 1


def test_noise_is_anew_in_every_frame():
    for transforms, at in (([am.GaussianNoise(0.0, 0.1)], AT["HEADER"] + 2),
                           ([am.RandomErasing(1.0, value="random")], AT["HEADER"] + 5)):
        for change, fresh in (("none", 1), ("each", LONG), ("smooth", LONG)):
            plan = am.Recipe(transforms).plan([1], size=(96, 128), frames=LONG, change=change)
            assert len(plan.rows[:, at].unique()) == fresh


def test_a_field_slides():
    """Its coefficients stay, its grid moves by at most the drift's share of a knot."""
    plan = smooth([am.RandomField(0.05, correlation=0.2)], 0.4)
    at = plan.recipe.info["layer_words"] - _native.FIELD_WORDS
    keys = per_clip(plan.rows[:, at + _native.FIELD["KEY"]], LONG)
    assert torch.equal(keys, keys[:, :1].expand(-1, LONG)) and len(keys[:, 0].unique()) == 40
    offset = per_clip(plan.rows[:, at + _native.FIELD["OFFSET"]:][:, :2].contiguous().view(torch.float32), LONG)
    assert offset.diff(dim=1).abs().max() <= 0.4 / (LONG - 1) + 1e-6 and (offset >= 0).all() and (offset < 1).all()
    places = torch.rand(40 * LONG, 30, 2, generator=torch.Generator().manual_seed(0))[:1] * torch.tensor([128.0, 96.0])
    moved = per_clip(plan._rows_alone().to_source(places.expand(40 * LONG, -1, -1)), LONG)
    assert moved.diff(dim=1).norm(dim=-1).max() < 1.5 and (moved[:, -1] - moved[:, 0]).norm(dim=-1).max() > 1.5


def test_the_crop_of_boxes_is_the_first_frames():
    recipe = am.Recipe([am.RandomIoUCrop(0.3), am.Resize((30, 30))])
    boxes = torch.rand(6, T, 3, 2) * 40
    boxes = torch.cat([boxes, boxes + 15], -1)
    for change in ("none", "smooth"):
        plan = recipe.plan(range(6), size=(60, 60), frames=T, change=change, boxes=boxes)
        single = recipe.plan(range(6), size=(60, 60), boxes=boxes[:, 0].contiguous())
        assert torch.equal(alone(per_clip(plan.rows, T)), alone(single.rows)[:, None].expand(-1, T, -1))
    key = {"size": (60, 60), "frames": T, "change": "each"}
    plan = recipe.plan(range(6), boxes=[list(clip) for clip in boxes], **key)
    sizes = [(60, 60)] * 6
    expected = plan_rows(recipe, range(6), sizes, plan.output_size, frames=T, change="each", boxes=boxes.tolist())
    assert np.array_equal(plan.rows.numpy(), expected)


# ---- render ----

def chain(**options):
    return am.Recipe([am.RandomResizedCrop(24), am.RandomHorizontalFlip(), am.RandomAffine(15, interpolation="bilinear"),
                      am.ColorJitter(0.4, 0.4), am.GaussianNoise(0.0, 0.05), am.RandomErasing(0.5)], **options)


@pytest.mark.parametrize("change", CHANGES)
def test_a_video_is_its_frames_one_by_one(change):
    images = video()
    plan = chain().plan([3, 8], size=SIZE, frames=T, change=change)
    views = am.render(images, plan)
    assert views.shape == (2, T, 3, 24, 24)
    for t in range(T):
        assert torch.equal(views[:, t], am.render(images[:, t], plan[t::T]))
    assert torch.equal(views.flatten(0, 1), am.render(images.flatten(0, 1), plan._rows_alone()))
    same = (views[:, 0] == views[:, 1]).flatten(1).all(1)
    assert bool(same.any()) is False  # other frames


def test_any_strides_and_layouts(route):
    images = video()
    plan = chain().plan([3, 8], size=SIZE, frames=T, change="smooth")
    views = am.render(images, plan)
    bound = 1e-4 if route == "a_gpu" else 0  # a GPU adds up whole views in another order each time
    same = partial(torch.testing.assert_close, atol=bound, rtol=0)
    longer = video(3, 2 * T)
    longer[::2, ::2] = images
    for given in (images.permute(0, 1, 4, 2, 3), images.permute(0, 1, 4, 2, 3).contiguous(), longer[::2, ::2],
                  images.permute(0, 4, 1, 2, 3).contiguous().permute(0, 2, 1, 3, 4),  # [B, C, T, H, W]
                  images.transpose(0, 1).contiguous().transpose(0, 1), images.numpy(), list(images), [[*clip] for clip in images],
                  am.Ragged.from_list([*images.flatten(0, 1)])):
        same(am.render(given, plan), views)
    one = am.render(images[:1].expand(2, -1, -1, -1, -1), plan)
    same(one[0], views[0])
    still = am.render(images[:, :1].expand(-1, T, -1, -1, -1), plan)
    same(still[:, 0], views[:, 0])


def test_where_it_is_written():
    images = video()
    for memory_format in ("contiguous", "channels_last"):
        recipe = chain(dtype=torch.uint8, memory_format=memory_format)
        plan = recipe.plan([3, 8], size=SIZE, frames=T)
        views = am.render(images, plan)
        out = torch.zeros(2, T, 3, 24, 24, dtype=torch.uint8)
        assert am.render(images, plan, out=out) is out and torch.equal(out, views)
    with pytest.raises(am.ArgumentError, match="the frames of all clips one after the other"):
        am.render(images, plan, out=torch.zeros(T, 2, 3, 24, 24, dtype=torch.uint8).transpose(0, 1))
    with pytest.raises(am.ShapeError, match=r"out: expected \[2, 4, 3, 24, 24\]"):
        am.render(images, plan, out=torch.zeros(2 * T, 3, 24, 24, dtype=torch.uint8))


def test_many_channels():
    recipe = am.Recipe([am.RandomResizedCrop(20), am.Normalize([0.1 * k for k in range(7)], 0.5)])
    images = video(channels=7)
    plan = recipe.plan([3, 8], size=SIZE, frames=T, change="smooth")
    views = am.render(images, plan)
    assert torch.equal(am.render(images.permute(0, 1, 4, 2, 3), plan), views)
    assert torch.equal(views[:, 2], am.render(images[:, 2], plan[2::T]))


def test_one_launch(route):
    if route == "cpu":
        pytest.skip("launches are a GPU's")
    recipe = am.Recipe([am.RandomResizedCrop(20), am.ColorJitter(0.4, 0.4, contrast_mode="midgray"), am.MixUp()], num_classes=3)
    images = video()
    before = _native.launch_count()
    plan = recipe.plan([3, 8], size=SIZE, frames=T, change="smooth")
    assert _native.launch_count() - before == 1
    am.render(images, plan, targets=torch.tensor([0, 2]))
    assert _native.launch_count() - before == 2


# ---- labels ----


@pytest.mark.parametrize("change", CHANGES)
def test_a_clips_label_is_the_mean_of_its_frames(change):
    mixers = am.OneOf([am.MixUp(0.8), am.CutMix(1.0), am.ResizeMix()], p=0.7)
    recipe = am.Recipe([am.RandomHorizontalFlip(), mixers], num_classes=5, label_smoothing=0.1)
    images, labels = video(5), torch.tensor([0, 1, 2, 3, 4])
    plan = recipe.plan(range(5), size=SIZE, frames=T, change=change)
    _, soft = am.render(images, plan, targets=labels)
    assert soft.shape == (5, 5)
    _, rows = am.render(images.flatten(0, 1), plan._rows_alone(), targets=labels.repeat_interleave(T))
    torch.testing.assert_close(soft, per_clip(rows, T).double().mean(1).float(), rtol=0, atol=1e-7)
    if change == "none":
        assert torch.equal(soft, rows[::T])
    _, again = am.render(images, plan, targets=torch.eye(5))
    torch.testing.assert_close(again, soft)
    pairs = am.Recipe(recipe.transforms, labels="pairs")
    _, (own, partner, lam) = am.render(images, pairs.plan(range(5), size=SIZE, frames=T, change=change), targets=labels)
    assert torch.equal(own, labels)
    mixed = lam[:, None] * torch.eye(5)[own] + (1 - lam[:, None]) * torch.eye(5)[partner]
    torch.testing.assert_close(mixed * 0.9 + 0.02, soft)


def test_labels_that_stay():
    images = video()
    plan = chain().plan([3, 8], size=SIZE, frames=T)
    assert am.render(images, plan, targets=torch.tensor([7, 9]))[1].tolist() == [7, 9]
    with pytest.raises(am.ShapeError, match="2 rows, one for each clip"):
        am.render(images, plan, targets=torch.arange(8))


def test_masks_of_the_mix():
    recipe = am.Recipe([am.MaskMix()], num_classes=2)
    plan = recipe.plan([1, 2], size=SIZE, frames=T)
    mask = torch.rand(2, T, 1, *SIZE)
    views, soft = am.render(video(), plan, targets=[0, 1], mask=mask)
    rows, each = am.render(video().flatten(0, 1), plan._rows_alone(), targets=[0] * T + [1] * T, mask=mask.flatten(0, 1))
    assert torch.equal(views.flatten(0, 1), rows)
    torch.testing.assert_close(soft, per_clip(each, T).mean(1))


# ---- what travels along ----

def moves():
    return am.Recipe([am.RandomResizedCrop(24), am.RandomHorizontalFlip(), am.RandomAffine(15, interpolation="bilinear")])


def moving(change="smooth", size=SIZE, view=0):
    return moves().plan([3, 8], size=size, frames=T, change=change, drift=0.8, view=view)


@pytest.mark.parametrize("change", CHANGES)
def test_targets_have_the_clips_front(change):
    plan = moving(change)
    rows, masks = plan._rows_alone(), torch.randint(0, 9, (2, T, 2, *SIZE))
    depth, valid = torch.rand(2, T, *SIZE), torch.rand(2, T, *SIZE) > 0.3
    boxes, counts = torch.rand(2, T, 5, 2) * 20, torch.randint(0, 6, (2, T))
    boxes, points = torch.cat([boxes, boxes + 12], -1), torch.rand(2, T, 6, 2) * 37
    prediction = torch.rand(2, T, 3, *plan.output_size)

    def same(ours, theirs):
        assert ours.shape[:2] == (2, T)
        torch.testing.assert_close(ours.flatten(0, 1), theirs, rtol=0, atol=0, equal_nan=True)

    same(plan.apply_mask(masks, fill=7), rows.apply_mask(masks.flatten(0, 1), fill=7))
    for mode in ("nearest", "bilinear"):
        for ours, theirs in zip(plan.apply_depth(depth, valid, mode=mode),
                                rows.apply_depth(depth.flatten(0, 1), valid.flatten(0, 1), mode=mode), strict=True):
            same(ours, theirs)
    for name, given in (("apply_boxes", boxes), ("undo_boxes", boxes), ("apply_keypoints", points), ("undo_keypoints", points)):
        found = getattr(plan, name)(given, counts=counts if "box" in name else None)
        expected = getattr(rows, name)(given.flatten(0, 1), counts.flatten() if "box" in name else None)
        for ours, theirs in zip(found, expected, strict=True):
            same(ours, theirs)
    for name in ("to_view", "to_source"):
        same(getattr(plan, name)(points), getattr(rows, name)(points.flatten(0, 1)))
    for ours, theirs in zip(plan.undo(prediction), rows.undo(prediction.flatten(0, 1)), strict=True):
        same(ours, theirs)


def test_undo_has_its_gradient():
    plan = moving()
    prediction = torch.rand(2, T, 1, *plan.output_size, requires_grad=True)
    back, valid = plan.undo(prediction)
    (back * valid[:, :, None]).sum().backward()
    assert prediction.grad.shape == prediction.shape and bool((prediction.grad != 0).any(-1).any(-1).all())


def test_targets_as_lists():
    plan = moving()
    dicts = [[{"boxes": torch.tensor([[2.0, 3.0, 30.0, 33.0], [0.0, 0.0, 9.0, 9.0]]), "labels": torch.tensor([t, 9])}
              for t in range(T)] for _ in range(2)]
    found = plan.apply_targets(dicts)
    flat = plan._rows_alone().apply_targets([one for clip in dicts for one in clip])
    assert [len(clip) for clip in found] == [T, T]
    for ours, theirs in zip((one for clip in found for one in clip), flat, strict=True):
        assert torch.equal(ours["boxes"], theirs["boxes"]) and torch.equal(ours["labels"], theirs["labels"])
    ragged = moves().plan([3, 8], size=[[30, 40], [20, 33]], frames=T, change="each")
    masks = [torch.randint(0, 5, (T, 30, 40)), torch.randint(0, 5, (T, 20, 33))]
    views = ragged.apply_mask(masks)
    assert [len(clip) for clip in views] == [T, T]
    assert torch.equal(torch.stack(views[1]), torch.stack(ragged[T:]._rows_alone().apply_mask([*masks[1]])))
    boxes, keep = plan.apply_boxes([[torch.rand(t, 4).cumsum(-1) * 9 for t in range(T)]] * 2)
    assert [[len(one) for one in clip] for clip in keep] == [[0, 1, 2, 3]] * 2 and len(boxes[0]) == T


def test_flow_pairs_each_frame_with_the_next():
    """Points that move by a flow: the view of the flow takes a point of frame t's view to its end in frame t + 1's."""
    plan = moving(size=(60, 80))
    y, x = torch.meshgrid(torch.arange(60.0), torch.arange(80.0), indexing="ij")
    smooth_flow = torch.stack([2 + 0.02 * x, 1 - 0.03 * y])
    flow = torch.stack([smooth_flow * (1 + t) for t in range(T - 1)])[None].expand(2, -1, -1, -1, -1)
    moved, valid = plan.apply_flow(flow, mode="bilinear")
    assert moved.shape == (2, T - 1, 2, 24, 24) and valid.shape == (2, T - 1, 24, 24)
    vy, vx = torch.meshgrid(torch.arange(24) + 0.5, torch.arange(24) + 0.5, indexing="ij")
    grid = torch.stack([vx, vy], -1).view(1, 1, -1, 2).expand(2, T, -1, -1)
    places = plan.to_source(grid)[:, :-1]
    px, py = places[..., 0] - 0.5, places[..., 1] - 0.5
    scale = torch.arange(1, T).view(1, -1, 1).float()
    ends = places + torch.stack([(2 + 0.02 * px) * scale, (1 - 0.03 * py) * scale], -1)
    last = torch.zeros_like(ends[:, :1])
    expected = plan.to_view(torch.cat([last, ends], 1))[:, 1:] - grid[:, :-1]  # frame t's ends by the rows of frame t + 1
    found = moved.flatten(-2).transpose(-1, -2)
    inside = valid.flatten(-2) & (places > 1).all(-1) & (places < torch.tensor([79.0, 59.0])).all(-1)
    assert inside.double().mean() > 0.5
    assert (found - expected)[inside].abs().max() < 5e-2
    still, _ = moving("none", size=(60, 80)).apply_flow(flow, mode="bilinear")
    assert (still - moved)[valid[:, :, None].expand_as(moved)].abs().max() > 0.5  # the frames' views do differ


def test_flow_between_two_plans():
    plan, following = moving(), moving(view=1)
    flow = torch.rand(2, T, 2, *SIZE)
    found, valid = plan.apply_flow(flow, following)
    expected, known = plan._rows_alone().apply_flow(flow.flatten(0, 1), following._rows_alone())
    assert torch.equal(found.flatten(0, 1), expected) and torch.equal(valid.flatten(0, 1), known)


# ---- what a user can get wrong ----

CLIPS = video()
BAD = {
    "no frames": (lambda: chain().plan([1], size=SIZE, change="smooth"), am.ArgumentError, "frames: expected how many"),
    "frames 0": (lambda: chain().plan([1], size=SIZE, frames=0), am.ArgumentError, "frames: expected .*1 to 65536"),
    "frames 2.5": (lambda: chain().plan([1], size=SIZE, frames=2.5), am.ArgumentError, "frames: expected a whole number"),
    "frames True": (lambda: chain().plan([1], size=SIZE, frames=True), am.ArgumentError, "frames: expected a whole number"),
    "too many frames": (lambda: chain().plan([1], size=SIZE, frames=2**17), am.ArgumentError, "65536"),
    "change": (lambda: chain().plan([1], size=SIZE, frames=2, change="slow"), am.ArgumentError, "'none', 'each', 'smooth'"),
    "drift": (lambda: chain().plan([1], size=SIZE, frames=2, change="smooth", drift=1.5), am.ArgumentError, "drift: .* 0 to 1"),
    "drift NaN": (lambda: chain().plan([1], size=SIZE, frames=2, drift=float("nan")), am.ArgumentError, "drift"),
    "negative drift": (lambda: chain().plan([1], size=SIZE, drift=-0.1), am.ArgumentError, "drift"),
    "sizes of frames": (lambda: chain().plan([1, 2], size=torch.full((4, 2), 9), frames=2), am.ShapeError, r"int64 \[2, 2\]"),
    "sizes of other clips": (lambda: chain().plan([1, 2], size=torch.full((2, 3, 2), 9), frames=2), am.ShapeError,
                             r"size: expected \[2, 2, ...\]"),
    "pictures": (lambda: am.render(CLIPS[0], moving()), am.ShapeError, r"images: expected \[2, 4, H, W, C\]"),
    "a clip too many": (lambda: am.render(video(3), moving()), am.ShapeError, r"given \[3, 4, 37, 45, 3\]"),
    "a frame too many": (lambda: am.render(video(2, 5), moving()), am.ShapeError, r"given \[2, 5, 37, 45, 3\]"),
    "clips of a plan of pictures": (lambda: am.render(CLIPS, chain().plan([1, 2], size=SIZE)), am.ShapeError, r"\[B, H, W, C\]"),
    "list of pictures": (lambda: am.render([*CLIPS.flatten(0, 1)], moving()), am.ShapeError, "a list of 2, one for each clip"),
    "list of short clips": (lambda: am.render([*CLIPS[:, :2]], moving()), am.ShapeError, r"images\[0\]: expected 4, one for"),
    "masks of rows": (lambda: moving().apply_mask(torch.zeros(8, *SIZE, dtype=torch.uint8)), am.ShapeError,
                      r"masks: expected \[2, 4, ...\] for 2 clips of 4 frames"),
    "boxes of clips": (lambda: moving().apply_boxes(torch.zeros(2, 3, 4)), am.ShapeError, r"boxes: expected \[2, 4, ...\]"),
    "counts of clips": (lambda: moving().apply_boxes(torch.zeros(2, T, 3, 4), torch.tensor([1, 2])), am.ShapeError, "counts"),
    "targets of clips": (lambda: moving().apply_targets([{"boxes": torch.zeros(0, 4)}] * 2), am.ShapeError,
                         r"targets\[0\]: expected 4, one for each frame, given a dict"),
    "flow of every frame": (lambda: moving().apply_flow(torch.zeros(2, T, 2, *SIZE)), am.ShapeError,
                            r"flow: expected \[2, 3, ...\]"),
    "flow of one frame": (lambda: moves().plan([1], size=SIZE, frames=1).apply_flow(torch.zeros(1, 1, 2, *SIZE)),
                          am.ArgumentError, "at least two frames"),
    "flow to pictures": (lambda: moving().apply_flow(torch.zeros(2, T, 2, *SIZE), moving()._rows_alone()), am.ArgumentError,
                         "clips of 4 frames"),
    "undo of rows": (lambda: moving().undo(torch.zeros(8, 1, 24, 24)), am.ShapeError, r"prediction: expected \[2, 4, ...\]"),
    "boxes of one frame": (lambda: am.Recipe([am.RandomIoUCrop(), am.Resize((9, 9))]).plan(
        [1, 2], size=SIZE, frames=T, boxes=torch.zeros(2, 3, 4)), am.ShapeError, r"boxes: expected \[2, 4, ...\]"),
    "two partners": (lambda: am.Recipe([am.OneOf([am.MixUp(partner="roll"), am.CutMix(partner="flip")])], labels="pairs").plan(
        [1, 2], size=SIZE, frames=2, change="each"), am.ArgumentError, "so that a clip has one partner"),
    "a plan's frames": (lambda: am.Plan(moves(), moving().rows, moving().index, 0, 0, 0, SIZE, (24, 24), 3), am.ShapeError,
                        "clips that make 8 rows together, given 3"),
    "mask of clips": (lambda: am.render(CLIPS, am.Recipe([am.MaskMix()]).plan([1, 2], size=SIZE, frames=T),
                                        mask=torch.zeros(2, 1, *SIZE)), am.ShapeError, r"mask: expected \[2, 4, ...\]"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=message):
        call()


def test_what_no_word_or_number_is_for_clips_is_named():
    recipe = am.Recipe([am.RandomHorizontalFlip()])
    plan = recipe.plan([1, 2], size=SIZE, frames=2)
    for call in (lambda: recipe.plan([1], size=SIZE, change=torch.zeros(2)),
                 lambda: recipe.plan([1], size=SIZE, drift=np.zeros(2)), lambda: plan.to_view([torch.tensor(1.0)] * 2),
                 lambda: plan.apply_boxes([np.float32(1), np.float32(2)])):
        with pytest.raises(am.AnamorphError, match=r"expected .* given"):
            call()
