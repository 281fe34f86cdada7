"""Several views of each picture: rows, pixels and labels of each are those of its plan alone, one launch makes all of a size."""

import copy
import pickle

import numpy as np
import pytest
import torch

import anamorph as am
from anamorph import _native
from anamorph.images import presets
from emulation import route as emulation
from recipes import SINGLE
from reference.plan import plan_rows

pytestmark = pytest.mark.usefixtures("route")

SIZE = H, W = 40, 52
IDS = torch.tensor([3, 11, 2**40 + 5, 8])
NORMALIZE = am.Normalize((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
GEOMETRY = [am.RandomResizedCrop(32), am.RandomHorizontalFlip()]
WEAK = am.Recipe([*GEOMETRY, NORMALIZE])
STRONG = am.Recipe([*GEOMETRY, am.RandAugment(2, 9), am.RandomField(0.1), NORMALIZE, am.RandomErasing(1.0)])
LOCAL = am.Recipe([am.RandomResizedCrop(16, (0.05, 0.4)), am.ColorJitter(0.4, 0.4, 0.2, 0.1), NORMALIZE])


def pictures(count=4, size=SIZE, channels=3, seed=0):
    return torch.randint(0, 256, (count, *size, channels), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def each(plans):
    """(name, which, plan)"""
    for name, several in plans.items():
        for k, plan in enumerate(several if isinstance(several, tuple) else [several]):
            yield name, k if isinstance(several, tuple) else (), plan


# ---- a view is that of its plan alone ----


@pytest.mark.parametrize("name", [n for n, t in SINGLE.items() if not am.Recipe(t)._masks])
def test_views_of_one_recipe_have_the_rows_and_pixels_of_the_plan_of_that_view(name):
    recipe = am.Recipe(SINGLE[name], num_classes=3)
    images, labels = pictures(), torch.tensor([0, 1, 2, 1])
    plans = am.views(many=(recipe, 3)).plan(IDS, size=SIZE, seed=5, epoch=2)
    views, soft = am.render(images, plans, targets=labels)
    for k in range(3):
        alone = recipe.plan(IDS, size=SIZE, seed=5, epoch=2, view=k)
        assert torch.equal(plans["many"][k].rows, alone.rows) and plans["many"][k] == alone
        one, theirs = am.render(images, alone, targets=labels)
        assert torch.equal(views["many"][k], one) and torch.equal(soft["many"][k], theirs)


@pytest.mark.parametrize("shared", [False, True])
def test_views_of_several_recipes_are_each_rendered_as_their_plan_alone(shared):
    images = pictures()
    recipes = {"weak": WEAK, "strong": (STRONG, 2)} if shared else {"weak": WEAK, "strong": (STRONG, 2), "local": (LOCAL, 3)}
    plans = am.views(recipes, share_geometry=shared).plan(IDS, size=SIZE, seed=7)
    views = am.render(images, plans)
    assert [*views] == [*recipes] == [*plans] and len(plans) == len(recipes)
    for name, k, plan in each(plans):
        assert torch.equal(views[name][k], am.render(images, plan))
    assert views["weak"].shape == (4, 3, 32, 32) and views["strong"].shape == (2, 4, 3, 32, 32)


STRONGER = {"jitter": [am.ColorJitter(0.4, 0.4, 0.4, 0.1)], "RandAugment": [am.RandAugment(3, 9)],
            "statistics": [am.ColorJitter(contrast=0.5), am.RandomAutocontrast(1.0), am.RandomEqualize(0.5)],
            "stencils": [am.GaussianBlur(5), am.RandomAdjustSharpness(2, 1.0)], "erasing": [am.RandomErasing(1.0)],
            "geometry": [am.RandomRotation(30)], "a blend": [am.AugMix()], "nothing": [],
            "mixing": [am.MixUp()], "noise": [am.RandomGrayscale(0.5), am.GaussianNoise(0.1, 0.1)]}
BEGINNINGS = {"crop": GEOMETRY, "a turn": [am.RandomRotation(40, "bilinear", fill=(0.1, 0.8, 0.3)), am.RandomCrop(32)],
              "flip": [am.RandomHorizontalFlip(), am.CenterCrop(32)],
              "a fill after colour": [am.RandomInvert(0.5), am.ColorJitter(0.3),
                                      am.RandomAffine(30, interpolation="bicubic", fill=1), am.RandomCrop(32)]}


@pytest.mark.parametrize("beginning", BEGINNINGS)
@pytest.mark.parametrize("stronger", STRONGER)
def test_views_that_take_their_taps_together_are_those_of_each_alone(beginning, stronger, route):
    first = BEGINNINGS[beginning]
    weak, strong = am.Recipe([*first, NORMALIZE]), am.Recipe([*first, *STRONGER[stronger], NORMALIZE])
    plans = am.views(weak=(weak, 2), strong=(strong, 2), plain=weak, share_geometry=True).plan(IDS, size=SIZE, seed=7)
    floats = pictures().permute(0, 3, 1, 2).contiguous().float() / 255
    for images, layout in ((pictures(), None), (floats, "NCHW"), (floats.half(), "NCHW"), ([*pictures()], None)):
        views = am.render(images, plans, layout=layout)
        for name, k, plan in each(plans):
            alone = am.render(images, plan, layout=layout)
            if route == "cpu":
                assert torch.equal(views[name][k], alone)
            else:  # sums of whole views are added in another order by a GPU each time
                torch.testing.assert_close(views[name][k], alone, atol=1e-3, rtol=0)


@pytest.mark.cpu
@pytest.mark.parametrize("count", [3, 8, 33])
def test_any_number_of_threads_draws_the_same_views(count):
    """Whether a picture's views are one thread's, or each thread has some of them."""
    strong = am.Recipe([*GEOMETRY, am.ColorJitter(0.4, 0.4), NORMALIZE, am.RandomErasing(0.5)])
    plans = am.views(weak=WEAK, strong=(strong, 2), share_geometry=True).plan(range(count), size=SIZE)
    images, before = pictures(count), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = am.render(images, plans)
        torch.set_num_threads(2)
        assert all(torch.equal(views, alone[name]) for name, views in am.render(images, plans).items())
    finally:
        torch.set_num_threads(before)


def test_the_list_that_runs_is_the_recipes():
    """The weak view has no colour and no erasure, the strong one RandAugment's, the local ones their jitter."""
    plans = am.views(weak=WEAK, strong=STRONG, local=(LOCAL, 4)).plan(range(64), size=SIZE)
    colors = {name: {c for c in plan.rows[:, _native.WORDS["COLORS"]].tolist()}
              for name, _, plan in each(plans)}
    erased = {name: {c for c in plan.rows[:, _native.WORDS["ERASES"]].tolist()} for name, _, plan in each(plans)}
    assert colors["weak"] == {0} and max(colors["strong"]) == 2 and colors["local"] == {4}
    assert erased == {"weak": {0}, "strong": {1}, "local": {0}}


@pytest.mark.parametrize("counts", [(1, 1), (2, 5), (3, 1)])
def test_rows_of_recipes_drawn_together_are_the_references(counts):
    views = am.views({"a": (WEAK, counts[0]), "b": (am.Recipe([am.Resize(32), am.CenterCrop(32), am.ColorJitter(0.4), NORMALIZE]),
                                                    counts[1])})
    plans = views.plan(IDS, size=SIZE, seed=9, epoch=4)
    recipe = views._groups[0].recipe
    rows = torch.cat([plan.rows for _, _, plan in each(plans)]).unflatten(0, (-1, 4))
    for k, mine in enumerate(rows):
        expected = plan_rows(recipe, IDS, [SIZE] * 4, (32, 32), seed=9, epoch=4, view=k)
        assert np.array_equal(mine.numpy(), expected), k


def test_views_of_different_sizes_do_not_share_their_random_numbers():
    """A local crop whose number is that of a global one would lie where that does, always."""
    a, b = (am.Recipe([am.RandomResizedCrop(s, (0.3, 0.3), (1, 1))]) for s in (32, 16))
    plans = am.views(a=(a, 2), b=(b, 3)).plan(range(500), size=SIZE)
    at = _native.WORDS["MATRIX"]
    x = [plan.rows[:, at + 2].view(torch.float32) for _, _, plan in each(plans)]
    off = np.corrcoef(torch.stack(x).numpy()) - np.eye(5)
    assert abs(off).max() < 0.2


def test_ragged_pictures_and_clips():
    images = [pictures(1, (30 + 3 * i, 41 - 2 * i), seed=i)[0] for i in range(4)]
    sizes = torch.tensor([i.shape[:2] for i in images])
    views = am.views(weak=WEAK, local=(LOCAL, 2))
    plans = views.plan(IDS, size=sizes)
    for given in (images, am.Ragged.from_list(images)):
        drawn = am.render(given, plans)
        for name, k, plan in each(plans):
            assert torch.equal(drawn[name][k], am.render(images, plan))
    video = pictures(8).unflatten(0, (2, 4))
    plans = views.plan(IDS[:2], size=SIZE, frames=4, change="smooth")
    drawn = am.render(video, plans)
    assert drawn["local"].shape == (2, 2, 4, 3, 16, 16) and drawn["weak"].shape == (2, 4, 3, 32, 32)
    for name, k, plan in each(plans):
        assert torch.equal(drawn[name][k], am.render(video, plan))
    # and a list of clips
    again = am.render([[*clip] for clip in video], plans)
    assert all(torch.equal(again[name], drawn[name]) for name in drawn)


def test_many_channels_and_both_layouts():
    images = pictures(channels=6)
    recipe = am.Recipe([am.RandomResizedCrop(16), am.RandomErasing(1.0)], memory_format="channels_last")
    plans = am.views(a=(recipe, 3)).plan(IDS, size=SIZE)
    drawn = am.render(images, plans)["a"]
    assert drawn[1].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(drawn, am.render(images.permute(0, 3, 1, 2), plans)["a"])
    assert torch.equal(drawn[2], am.render(images, plans["a"][2]))


@pytest.mark.parametrize("labels", ["soft", "pairs"])
def test_each_view_that_mixes_has_labels_of_its_own(labels):
    a = am.Recipe([am.RandomCrop(32), am.MixUp(0.8), NORMALIZE], num_classes=5, labels=labels)
    b = am.Recipe([am.RandomCrop(16), am.CutMix(1.0), NORMALIZE], num_classes=5, labels=labels)
    images, ids = pictures(), torch.tensor([4, 0, 2, 1])
    plans = am.views(a=a, b=(b, 3)).plan(IDS, size=SIZE)
    views, made = am.render(images, plans, targets=ids)
    for name, k, plan in each(plans):
        one, theirs = am.render(images, plan, targets=ids)
        assert torch.equal(views[name][k], one)
        mine = made[name]
        for got, expected in zip(mine if labels == "pairs" else [mine], theirs if labels == "pairs" else [theirs], strict=True):
            assert torch.equal(got[k], expected)
    assert not torch.equal(views["b"][0], views["b"][1])


def test_labels_that_no_recipe_changes_come_back_as_they_are():
    ids = torch.tensor([4, 0, 2, 1])
    views, same = am.render(pictures(), am.views(a=WEAK, b=(LOCAL, 2)).plan(IDS, size=SIZE), targets=ids)
    assert torch.equal(same, ids) and [*views] == ["a", "b"]


# ---- launches ----


def test_one_launch_renders_all_views_of_one_output_size(route):
    """DINO's 2 + 8: one plan and one render for each of the two sizes, and on a GPU one that makes views ready for a blur."""
    dino = presets.dino(32, 16)
    views = am.views({"global_1": dino["global_1"], "global_2": dino["global_2"], "local": (dino["local"], 8)})
    count = emulation.native.launch_count if route == "emulated" else _native.launch_count
    before = count()
    plans = views.plan(IDS, size=SIZE)
    drawn = count()
    am.render(pictures(), plans)
    assert drawn - before == 2 and count() - drawn == (2 if route == "cpu" else 4)


def test_recipes_that_do_not_fit_into_one_are_rendered_by_a_launch_each():
    """A field before an IoU crop is refused in a list; here they are other views'."""
    field = am.Recipe([am.RandomField(0.1), am.Resize((32, 32))])
    crop = am.Recipe([am.RandomIoUCrop(), am.Resize((32, 32))])
    boxes = torch.tensor([[[4.0, 5, 20, 30]]]).expand(4, 1, 4).contiguous()
    plans = am.views(a=field, b=(crop, 2)).plan(IDS, size=SIZE, boxes=boxes)
    views = am.render(pictures(), plans)
    for name, k, plan in each(plans):
        assert torch.equal(views[name][k], am.render(pictures(), plan))
    assert len({plan.view for _, _, plan in each(plans)}) == 3


# ---- shared geometry ----


def test_shared_geometry_is_the_same_map_and_all_else_differs():
    plans = am.views(weak=WEAK, strong=(STRONG, 2), share_geometry=True).plan(range(32), size=SIZE)
    weak, strong = am.views(weak=WEAK, strong=STRONG).plan(range(32), size=SIZE).values()
    at = _native.WORDS["MATRIX"]
    assert not torch.equal(weak.rows[:, at:at + 9], strong.rows[:, at:at + 9])
    assert not torch.equal(plans["strong"][0].rows, plans["strong"][1].rows)
    corners = torch.tensor([[0.0, 0], [W, 0], [W, H], [0, H]]).expand(32, 4, 2)
    plain = am.views(weak=WEAK, strong=am.Recipe([*GEOMETRY, am.ColorJitter(0.4), NORMALIZE]), share_geometry=True)
    a, b = plain.plan(range(32), size=SIZE).values()
    assert torch.equal(a.to_view(corners), b.to_view(corners))
    _, both = am.correspondence(a, b)
    assert both.all()


def test_geometry_that_follows_the_common_one_is_on_top_of_it():
    """FixMatch's: what the strong view has more is done to the weak view."""
    weak = am.Recipe([am.RandomHorizontalFlip(), am.RandomCrop(24)])
    strong = am.Recipe([am.RandomHorizontalFlip(), am.RandomCrop(24), am.RandomRotate90()])
    a, b = am.views(weak=weak, strong=strong, share_geometry=True).plan(range(16), size=SIZE).values()
    images = pictures(16)
    one, other = am.render(images, a), am.render(images, b)
    for i in range(16):
        assert any(torch.equal(torch.rot90(one[i], k, (1, 2)), other[i]) for k in range(4)), i


# ---- correspondences ----


def test_correspondence_of_identical_plans_is_the_identity():
    for recipe in (WEAK, am.Recipe([am.RandomAffine(30, (0.1, 0.1), (0.8, 1.2), 10), am.RandomPerspective(0.3, p=1)])):
        plan = recipe.plan(IDS, size=SIZE)
        where, both = am.correspondence(plan, plan, grid=(5, 8))
        h, w = plan.output_size
        y, x = (torch.arange(5) + 0.5) * h / 5, (torch.arange(8) + 0.5) * w / 8
        known = ~where.isnan().any(-1)
        expected = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).expand_as(where)
        assert (where - expected)[known].abs().max() < 1e-3 and known.float().mean() > 0.9
        assert both[known].float().mean() > 0.5


def test_there_and_back_again_within_a_hundredth_of_a_pixel():
    recipe = am.Recipe([am.RandomResizedCrop(32), am.RandomRotation(30), am.RandomHorizontalFlip()])
    a, b = am.views(a=(recipe, 2)).plan(range(50), size=SIZE)["a"]
    where, both = am.correspondence(a, b)
    back = a.to_view(b.to_source(where.flatten(1, 2))).unflatten(1, (7, 7))
    centres = (torch.arange(7) + 0.5) * 32 / 7
    expected = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), -1).expand_as(back)
    assert (back - expected).abs().max() < 0.01
    assert 0 < both.float().mean() < 1


def test_correspondence_finds_the_same_pixel():
    """Of pictures whose colours say where they are, cropped and mirrored without resampling."""
    y, x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    images = torch.stack([x, y, 0 * x], -1).to(torch.uint8).expand(8, H, W, 3).contiguous()
    recipe = am.Recipe([am.RandomCrop(24), am.RandomHorizontalFlip()], dtype=torch.uint8)
    plans = am.views(v=(recipe, 2)).plan(range(8), size=SIZE)
    one, other = am.render(images, plans)["v"]
    where, both = am.correspondence(*plans["v"], grid=(24, 24))
    assert both.any()
    for i, r, c in both.nonzero().tolist():
        u, v = (where[i, r, c] - 0.5).round().int().tolist()
        assert torch.equal(one[i, :, r, c], other[i, :, v, u])


def test_overlap_boxes_show_the_same_part_of_the_picture():
    plans = am.views(v=(am.Recipe([am.RandomResizedCrop((20, 28), (0.1, 0.5)), am.RandomHorizontalFlip()]), 2)).plan(
        range(200), size=SIZE)["v"]
    a, b, some = am.overlap_boxes(*plans)
    assert 0 < some.float().mean() < 1 and (a[~some] == 0).all() and (b[~some] == 0).all()
    source = []
    for plan, box in zip(plans, (a, b), strict=True):
        assert (box >= 0).all() and (box[:, 2] <= 28).all() and (box[:, 3] <= 20).all()
        points = plan.to_source(box.unflatten(1, (2, 2)))
        source.append(torch.cat([points.amin(1), points.amax(1)], 1))
    assert (source[0] - source[1])[some].abs().max() < 0.01
    # and the larger of both would not: a pixel further out in the source is in one view only
    seen = [torch.cat([(p := plan.to_source(torch.tensor([[0.0, 0], [28, 20]]).expand(200, 2, 2))).amin(1), p.amax(1)], 1)
            for plan in plans]
    low, high = torch.maximum(seen[0], seen[1])[:, :2], torch.minimum(seen[0], seen[1])[:, 2:]
    assert torch.equal(some, (high - low > 1e-4).all(1) | ((high > low).all(1)))
    assert (source[0] - torch.cat([low, high], 1))[some].abs().max() < 0.01


@pytest.mark.parametrize("distortion", [0.5, 0.8, 1.0])
def test_overlap_boxes_of_strong_perspectives(distortion):
    """Corners beyond a horizon are nowhere; what the rest of the views have in common is found all the same."""
    recipe = am.Recipe([am.RandomPerspective(distortion, 1.0)])
    plans = am.views(v=(recipe, 2)).plan(range(300), size=(64, 64))["v"]
    where, both = am.correspondence(*plans, grid=(16, 16))
    a, b, some = am.overlap_boxes(*plans)
    assert a.isfinite().all() and b.isfinite().all()
    assert some[both.flatten(1).float().mean(1) > 0.1].all()
    y, x = torch.meshgrid(*[torch.arange(16) * 4 + 2.0] * 2, indexing="ij")
    for points, box in ((torch.stack([x, y], -1).expand(300, -1, -1, -1), a), (where, b)):
        low, high = (box[:, None, None, at] for at in (slice(2), slice(2, 4)))
        inside = ((points > low - 4) & (points < high + 4)).all(-1)  # the 17 x 17 points are as far apart as that
        assert inside[both].float().mean() > 0.995


def test_pixpro_mask_of_identical_square_crops_is_the_unit_matrix():
    """The middles of neighbours are .707 diagonals apart, just more than .7."""
    plan = am.Recipe([am.CenterCrop(28)]).plan([1], size=(40, 40))
    assert torch.equal(am.pixpro_mask(plan, plan)[0], torch.eye(49, dtype=torch.bool))
    neighbours = am.pixpro_mask(plan, plan, threshold=0.71)[0].sum(1)
    assert neighbours.max() == 5 and neighbours.min() == 3
    assert am.pixpro_mask(plan, plan, threshold=0)[0].sum() == 0


def test_pixpro_mask_is_the_papers_on_crops_and_flips():
    """Recomputed from (x0, y0, x1, y1) in the source and who is mirrored, as the authors do."""
    recipe = am.Recipe([am.RandomResizedCrop(28, (0.2, 0.8)), am.RandomHorizontalFlip()])
    plans = am.views(v=(recipe, 2)).plan(range(40), size=SIZE)["v"]
    mask = am.pixpro_mask(*plans, grid=(7, 7))
    grids, diagonals = [], []
    for plan in plans:
        (x0, y0), (x1, y1) = plan.to_source(torch.tensor([[0.0, 0], [28, 28]]).expand(40, 2, 2)).double().unbind(1)[0].T, \
            plan.to_source(torch.tensor([[0.0, 0], [28, 28]]).expand(40, 2, 2)).double().unbind(1)[1].T
        x0, x1, y0, y1 = x0 / W, x1 / W, y0 / H, y1 / H
        k = (torch.arange(7) + 0.5) / 7
        x, y = x0[:, None] + (x1 - x0)[:, None] * k, y0[:, None] + (y1 - y0)[:, None] * k
        grids.append(torch.stack([x[:, None].expand(-1, 7, -1), y[:, :, None].expand(-1, -1, 7)], -1).flatten(1, 2))
        diagonals.append(((x1 - x0).square() + (y1 - y0).square()).sqrt() / 7)
    ratio = torch.cdist(*grids) / torch.maximum(*diagonals)[:, None, None]
    sure = (ratio - 0.7).abs() > 1e-4
    assert torch.equal(mask[sure], (ratio < 0.7)[sure]) and 0.001 < mask.float().mean() < 0.2


# ---- the Loader ----


def test_a_loader_yields_dicts_and_replays_them():
    images, labels = pictures(10).numpy(), np.arange(10) % 3
    views = am.views({"global": (WEAK, 2), "local": (LOCAL, 3), "one": STRONG})
    loader = am.Loader((images, labels), views, batch_size=4, seed=3, with_index=True)
    seen = 0
    for epoch in range(2):
        for batch, y, ids in loader:
            n = len(ids)
            assert {k: tuple(v.shape) for k, v in batch.items()} == {
                "global": (2, n, 3, 32, 32), "local": (3, n, 3, 16, 16), "one": (n, 3, 32, 32)}
            assert torch.equal(y, ids % 3)
            if seen % 2 == 0:
                again, words = loader.replay(int(ids[1]), epoch)
                assert torch.equal(again["local"], batch["local"][:, 1]) and torch.equal(again["one"], batch["one"][1])
                assert len(words["global"]) == 2 and words["one"].startswith(f"sample {int(ids[1])}")
            seen += 1
    assert seen == 6


def test_a_loader_tells_views_how_many_classes_there_are():
    mixed = am.Recipe([am.RandomCrop(16), am.MixUp()])
    loader = am.Loader((pictures(8).numpy(), np.arange(8)), am.views(a=mixed, b=(mixed, 2)), batch_size=4)
    for batch, soft in loader:
        assert soft["a"].shape == (4, 8) and soft["b"].shape == (2, 4, 8)
        assert batch["b"].shape == (2, 4, 3, 16, 16)


@pytest.mark.cpu
def test_dino_and_swav_run_from_one_loader():
    for make, globals_ in ((presets.dino, ("global_1", "global_2")), (presets.swav, ("global",))):
        recipes = make(32, 16)
        views = am.views({**{name: (recipes[name], 2 // len(globals_)) for name in globals_}, "local": (recipes["local"], 8)})
        batch = next(iter(am.Loader(pictures(4).numpy(), views, batch_size=4)))
        assert batch["local"].shape == (8, 4, 3, 16, 16) and batch[globals_[0]].shape == (2 // len(globals_), 4, 3, 32, 32)


# ---- as objects ----


def test_views_are_equal_hash_print_and_travel():
    views = am.views({"weak": WEAK, "strong": (STRONG, 2)}, share_geometry=True)
    assert pickle.loads(pickle.dumps(views)) == views == copy.deepcopy(views) and hash(views) == hash(copy.copy(views))
    again = eval(repr(views).replace("torch.", "torch."), {**vars(am), "torch": torch})
    assert again == views and again.fingerprint == views.fingerprint
    assert views != am.views({"weak": WEAK, "strong": (STRONG, 2)}) and views != 1
    assert views.fingerprint != am.views({"weak": WEAK, "strong": (STRONG, 3)}, share_geometry=True).fingerprint
    assert views.output_size(SIZE) == {"weak": (32, 32), "strong": (32, 32)}
    plans = views.plan(IDS, size=SIZE)
    assert "strong" in repr(plans) and "local" not in plans
    with pytest.raises(KeyError):
        plans["local"]


def test_each_plan_carries_its_own_boxes():
    boxes = torch.tensor([[[4.0, 5, 20, 30]]]).expand(4, 1, 4).contiguous()
    plans = am.views(weak=WEAK, local=(LOCAL, 2)).plan(IDS, size=SIZE)
    for _, k, plan in each(plans):
        out, keep = plan.apply_boxes(boxes)
        assert out.shape == (4, 1, 4) and keep.shape == (4, 1)
        assert plan.view == (0 if k == () else 2 + k)


def test_boxes_go_to_the_recipes_that_ask_for_them():
    crop = am.Recipe([am.RandomIoUCrop(), am.Resize((32, 32))])
    boxes = torch.tensor([[[4.0, 5, 20, 30]]]).expand(4, 1, 4).contiguous()
    views = am.views(a=(crop, 2), b=LOCAL)
    plans = views.plan(IDS, size=SIZE, boxes=boxes)
    assert torch.equal(plans["a"][1].rows, crop.plan(IDS, size=SIZE, boxes=boxes, view=1).rows)
    with pytest.raises(am.ArgumentError, match="RandomIoUCrop"):
        views.plan(IDS, size=SIZE)
    with pytest.raises(am.ArgumentError, match="expected none"):
        am.views(b=LOCAL).plan(IDS, size=SIZE, boxes=boxes)


# ---- mistakes ----

PLANS = am.views(a=WEAK, b=(LOCAL, 2)).plan(IDS, size=SIZE)
PLAN, OTHER = WEAK.plan(IDS, size=SIZE), WEAK.plan([1], size=SIZE)
MISTAKES = {
    "none": (lambda: am.views(), am.ArgumentError, "at least one"),
    "a list": (lambda: am.views([WEAK]), am.ArgumentError, "dict of recipes by name"),
    "a transform": (lambda: am.views(a=am.RandomCrop(3)), am.ArgumentError, r"views\['a'\]: expected an anamorph.Recipe"),
    "a number for a name": (lambda: am.views({3: WEAK}), am.ArgumentError, "names that are strings"),
    "a name twice": (lambda: am.views({"a": WEAK}, a=WEAK), am.ArgumentError, "'a' twice"),
    "no views": (lambda: am.views(a=(WEAK, 0)), am.ArgumentError, "of views"),
    "half a view": (lambda: am.views(a=(WEAK, 1.5)), am.ArgumentError, "of views"),
    "count first": (lambda: am.views(a=(2, WEAK)), am.ArgumentError, "number of views"),
    "too many views": (lambda: am.views(a=(WEAK, 4000), b=(LOCAL, 4000)), am.ArgumentError, "at most 4096"),
    "classes": (lambda: am.views(a=am.Recipe(GEOMETRY, num_classes=3), b=am.Recipe(GEOMETRY, num_classes=4)), am.ArgumentError,
                "one num_classes"),
    "mask mix": (lambda: am.views(a=am.Recipe([am.RandomCrop(8), am.MaskMix()], num_classes=3)), am.ArgumentError, "MaskMix"),
    "share, two sizes": (lambda: am.views(a=WEAK, b=LOCAL, share_geometry=True), am.ArgumentError, "one output size"),
    "share, two dtypes": (lambda: am.views(a=WEAK, b=am.Recipe(GEOMETRY, dtype=torch.uint8), share_geometry=True),
                          am.ArgumentError, "dtype"),
    "share, nothing in common": (lambda: am.views(a=WEAK, b=am.Recipe([am.RandomCrop(32), NORMALIZE]), share_geometry=True),
                                 am.ArgumentError, "begin with the same geometry"),
    "share, colour alone": (lambda: am.views(a=am.Recipe([am.ColorJitter(0.1), *GEOMETRY]), share_geometry=True,
                                             b=am.Recipe([am.ColorJitter(0.1), am.RandomCrop(32)])), am.ArgumentError,
                            "begin with the same geometry"),
    "share, a word": (lambda: am.views(a=WEAK, share_geometry="yes"), am.ArgumentError, "share_geometry"),
    "out": (lambda: am.render(pictures(), PLANS, out=torch.zeros(4, 3, 32, 32)), am.ArgumentError, "out: expected none"),
    "mask": (lambda: am.render(pictures(), PLANS, mask=torch.zeros(4, 1, 32, 32)), am.ArgumentError, "mask: expected none"),
    "fewer pictures": (lambda: am.render(pictures(3), PLANS), am.ShapeError, "4 pictures"),
    "twice the pictures": (lambda: am.render(pictures(8), PLANS), am.ShapeError, "4 pictures"),
    "fewer labels": (lambda: am.render(pictures(), PLANS, targets=torch.zeros(3, dtype=torch.int64)), am.ShapeError, "4 rows"),
    "other size": (lambda: am.render(pictures(size=(20, 20)), PLANS), am.ShapeError, "of the plan's size"),
    "a list too short": (lambda: am.render([*pictures(3)], PLANS), am.ShapeError, "4 pictures"),
    "a tuple of plans": (lambda: am.render(pictures(), PLANS["b"]), am.ArgumentError, "plan: expected"),
    "loader": (lambda: am.Loader(pictures().numpy(), {"a": WEAK}, batch_size=2), am.ArgumentError, "Recipe or views"),
    "plan of no ids": (lambda: am.views(a=WEAK).plan([], size=SIZE), am.ShapeError, "index"),
    "plan of a size": (lambda: am.views(a=WEAK).plan(IDS, size=3), am.ArgumentError, "size"),
    "correspondence of rows": (lambda: am.correspondence(PLAN, PLAN.rows), am.ArgumentError, "b: expected an anamorph.Plan"),
    "correspondence of other pictures": (lambda: am.correspondence(PLAN, OTHER), am.ShapeError, "of the same pictures"),
    "correspondence of other ids": (lambda: am.correspondence(PLAN, WEAK.plan(IDS + 1, size=SIZE)), am.ArgumentError,
                                    "sample ids"),
    "grid of one": (lambda: am.correspondence(PLAN, PLAN, grid=7), am.ArgumentError, "rows, columns"),
    "grid of none": (lambda: am.correspondence(PLAN, PLAN, grid=(0, 7)), am.ArgumentError, "of cells"),
    "other sources": (lambda: am.correspondence(PLAN, WEAK.plan(PLAN.index, size=(41, 52))), am.ShapeError,
                      r"expected plans of the same pictures, given sources of \(40, 52\) and \(41, 52\)"),
    "some other sources": (lambda: am.overlap_boxes(PLAN, WEAK.plan(PLAN.index, size=[[40, 52]] * (len(PLAN) - 1) + [[9, 9]])),
                           am.ShapeError, "given sources of other sizes"),
    "plans of one name": (lambda: am.render(pictures(), PLANS["b"]), am.ArgumentError, "tuple; views are rendered by the Plans"),
    "overlap of a word": (lambda: am.overlap_boxes("a", PLAN), am.ArgumentError, "a: expected an anamorph.Plan"),
    "threshold": (lambda: am.pixpro_mask(PLAN, PLAN, threshold=-1), am.ArgumentError, "threshold"),
    "threshold NaN": (lambda: am.pixpro_mask(PLAN, PLAN, threshold=float("nan")), am.ArgumentError, "threshold"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_named_error(name):
    call, error, said = MISTAKES[name]
    with pytest.raises(error, match=said) as found:
        call()
    assert ": expected" in str(found.value) and "given" in str(found.value)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p)), "saved"])
def test_plans_come_back_from_a_file(copied, tmp_path, route):
    plans = am.views({"weak": WEAK, "strong": (STRONG, 2), "local": (LOCAL, 3)}).plan(IDS, size=SIZE, seed=7)
    if copied == "saved":
        torch.save(plans, tmp_path / "plans.pt")
        torch.save(plans["strong"][1], tmp_path / "plan.pt")
        found = torch.load(tmp_path / "plans.pt")
        assert torch.load(tmp_path / "plan.pt") == plans["strong"][1]
    else:
        found = copied(plans)
    assert found == plans == plans.to("cpu") and [*found] == [*plans]
    counts, rendered = [], []
    for each in (plans, found, copy.deepcopy(found)):
        before = am.launch_count()
        rendered.append(am.render(pictures(), each))
        counts.append(am.launch_count() - before)
    for name, views in rendered[0].items():  # sums of whole views are added in another order by a GPU each time
        for same in rendered[1:]:
            torch.testing.assert_close(views, same[name], atol=1e-3, rtol=0)
    said = "one launch for each output, and on a GPU one before each"
    assert counts[1] == counts[2] <= 4, said
    if route == "cpu":  # on the others the recipes, made before, are still a CPU's
        assert counts[0] == counts[1], said


@pytest.mark.parametrize("turned", [False, True])
def test_what_goes_by_the_number_of_the_view_is_counted_from_the_first_of_its_own(turned):
    """Five crops are five crops, whoever is drawn beside them; and of two views with num_splits=2 the first stays whole."""
    crops, erased = am.Recipe([am.FiveCrop(24)]), am.Recipe([am.Resize((24, 24)), am.RandomErasing(1.0, num_splits=2)])
    named = {"five": (crops, 5), "other": (am.Recipe([am.RandomResizedCrop(24)]), 3), "erased": (erased, 4)}
    plans = am.views(dict(reversed(named.items())) if turned else named).plan(IDS, size=SIZE)
    for k in range(5):
        assert torch.equal(plans["five"][k].rows, crops.plan(IDS, size=SIZE, view=k).rows)
    assert [int(plan.rows[:, _native.WORDS["ERASES"]].sum()) for plan in plans["erased"]] == [0, 4, 0, 4]
    with pytest.raises(am.ArgumentError, match="share_geometry: expected recipes without FiveCrop, TenCrop and num_splits"):
        am.views(named, share_geometry=True)
