"""Schedules: a recipe whose numbers move draws the rows of the recipes that have those numbers."""

import copy
import io
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import anamorph as am
from anamorph import _native
from anamorph.images.transforms.program import slot
from anamorph.images.transforms.schedule import ramps
from devices import DEVICES, captured, is_gpu
from emulation.route import FOUND, emulated

pytestmark = pytest.mark.usefixtures("route")

SIZE = (40, 52)
IDS = torch.arange(40)
LIST = [am.RandomInvert(0.3), am.ColorJitter(0.3), am.RandomRotation(30)]

# By name what one number makes, and between which numbers.
MOVED = {
    "jitter": (lambda v: [am.ColorJitter(v, v, (0, v), v)], 0, 0.5),
    "brightness": (lambda v: [am.ColorJitter(v, 0.2)], 0, 1),
    "jitter's ends": (lambda v: [am.ColorJitter(brightness=(0.2, v), contrast=(v, 3))], 0.2, 3),
    "magnitude": (lambda v: [am.RandAugment(2, v)], 0, 30),
    "magnitude, timm": (lambda v: [am.RandAugment(3, v, interpolation="random", convention="timm")], 0, 10),
    "crop's area": (lambda v: [am.RandomResizedCrop(24, (v, 1))], 0.08, 1),
    "degrees": (lambda v: [am.RandomRotation(v, "bilinear", expand=True), am.Resize((24, 30))], 0, 90),
    "affine": (lambda v: [am.RandomAffine(v, (0.3, 0.1), (0.6, 1.4), 20)], 0, 60),
    "affine's scale": (lambda v: [am.RandomAffine(10, (v, v), (v, 1.2))], 0.3, 1),
    "perspective": (lambda v: [am.RandomPerspective(v, 1.0)], 0, 1),
    "field": (lambda v: [am.RandomField(v)], 0, 0.3),
    "elastic": (lambda v: [am.ElasticTransform(v)], 0, 50),
    "zoom": (lambda v: [am.RandomZoomOut(side_range=(1, v), p=0.7), am.Resize((24, 24))], 1, 4),
    "sigma": (lambda v: [am.GaussianBlur(5, (0.1, v))], 0.2, 3),
    "noise": (lambda v: [am.GaussianNoise(0.1, v)], 0, 0.4),
    "solarize": (lambda v: [am.RandomSolarize(v)], 0, 255),
    "sharpness": (lambda v: [am.RandomAdjustSharpness(v)], 0, 5),
    "gamma": (lambda v: [am.RandomGamma((v, 1.5))], 0.5, 1.5),
    "fill": (lambda v: [am.RandomRotation(30, fill=v)], 0, 255),
    "erasing": (lambda v: [am.RandomErasing(0.6, (0.02, v))], 0.02, 0.5),
    "erasing's value": (lambda v: [am.Normalize(0.5, 0.5), am.RandomErasing(0.6, value=(v, 0.5, v))], 0, 1),
    "grid mask": (lambda v: [am.GridMask((5, 24), v, p=0.5)], 0.1, 0.6),
    "hide and seek": (lambda v: [am.HideAndSeek((0, 7, 9), v)], 0.1, 0.9),
    "cutout's value": (lambda v: [am.Cutout(9, v)], 0, 1),
    "mixup": (lambda v: [am.MixUp(v)], 0.1, 2),
    "cutmix": (lambda v: [am.OneOf([am.MixUp(v), am.CutMix(v)])], 0.1, 2),
    "augmix": (lambda v: [am.AugMix(alpha=v)], 0.1, 1),
    "flip": (lambda v: [am.RandomHorizontalFlip(v), am.RandomVerticalFlip(v)], 0, 1),
    "apply": (lambda v: [am.RandomApply(LIST, v)], 0, 1),
    "one of": (lambda v: [am.OneOf(LIST, v)], 0, 1),
    "weights": (lambda v: [am.OneOf(LIST, 0.9, (v, 1, 0.5)), am.RandomChoice(LIST, (1, v, v))],
                0, 3),
    "some of": (lambda v: [am.SomeOf([*LIST, am.RandomErasing(v)], (1, 3), True, True, v)], 0, 1),
    "nested": (lambda v: [am.RandomApply([am.RandomOrder([am.RandomGrayscale(v), am.OneOf([am.RandomInvert(v), *LIST], v)])])],
               0, 1),
    "shared": (lambda v: [am.SharedAcrossViews([am.RandomHorizontalFlip(v), am.RandomRotation(30)]), am.ColorJitter(v, 0.3)],
               0, 1),
    "much": (lambda v: [am.RandomResizedCrop(32), am.RandomHorizontalFlip(v), am.RandAugment(2, 9), am.ColorJitter(v, 0.4),
                        am.Normalize(0.5, 0.5), am.RandomErasing(v)], 0, 1),
}


def plan(recipe, ids=IDS, **more):
    return recipe.plan(ids, **{"size": SIZE, "seed": 5, "epoch": 3, "view": 1, **more})


def tensor(*values):
    return torch.tensor(values, dtype=torch.float32)


# ---- the rows are those of the number itself ----


@pytest.mark.parametrize("name", MOVED)
def test_rows_are_those_of_the_recipe_with_that_number(name):
    make, low, high = MOVED[name]
    now = [low]
    recipe = am.Recipe(make(am.schedule(lambda epoch, step: now[0], low, high)))
    different = set()
    for share in (0.11, 0.25, 0.5, 0.83):
        now[0] = low + (high - low) * share
        rows = plan(recipe).rows
        assert torch.equal(rows, plan(am.Recipe(make(now[0]))).rows)
        different.add(rows.numpy().tobytes())
    assert len(different) == 4


@pytest.mark.parametrize("name", MOVED)
def test_each_sample_has_its_own_number(name):
    make, low, high = MOVED[name]
    numbers = low + (high - low) * torch.linspace(0.1, 0.9, len(IDS))
    drawn = plan(am.Recipe(make(am.schedule(numbers, low, high)))).rows
    for i in range(0, len(IDS), 13):
        assert torch.equal(drawn[i], plan(am.Recipe(make(numbers[i].item()))).rows[i])


@pytest.mark.parametrize(("make", "word", "ends"), [
    (lambda v: [am.RandomErasing(v)], "ERASES", ({0}, {1})),
    (lambda v: [am.RandomApply([am.RandomInvert(1)], v)], "COLORS", ({0}, {1})),
    (lambda v: [am.RandomHorizontalFlip(v)], "MATRIX", ({1.0}, {-1.0}))])
def test_a_probability_comes_to_never_and_always(make, word, ends):
    strength = tensor(0.0)
    recipe = am.Recipe(make(am.schedule(strength)))
    for number, expected in zip((0.0, 1.0), ends, strict=True):
        strength.fill_(number)
        words = plan(recipe).rows[:, _native.WORDS[word]]
        assert {*(words.view(torch.float32) if word == "MATRIX" else words).tolist()} == expected


def test_where_the_program_is_another_one_at_an_end_the_numbers_there_are_the_ends():
    """A brightness of 0 does nothing and is left out; as the end of a schedule it is a factor of 1."""
    recipe = am.Recipe([am.ColorJitter(am.schedule(lambda epoch, step: 0.0))])
    images = torch.randint(0, 256, (40, *SIZE, 3), dtype=torch.uint8)
    assert torch.equal(am.render(images, plan(recipe)), am.render(images, plan(am.Recipe([]))))


def test_several_schedules_move_each_their_own():
    a, b, c = tensor(0.2), torch.linspace(0, 1, 40), am.schedule(lambda epoch, step: epoch / 10 + step / 100)
    recipe = am.Recipe([am.ColorJitter(am.schedule(a), am.schedule(b), c), am.RandomErasing(am.schedule(b)), am.RandomRotation(
        am.schedule(tensor(33), 0, 90))])
    drawn = plan(recipe, epoch=4, step=7).rows
    for i in (1, 17, 38):
        s = b[i].item()
        alone = am.Recipe([am.ColorJitter(a.item(), s, 0.47), am.RandomErasing(s), am.RandomRotation(33)])
        assert torch.equal(drawn[i], plan(alone, epoch=4).rows[i])


def test_numbers_that_two_schedules_move_are_moved_by_both():
    def compiled(shares):
        a, b = shares[0], 2 * shares[1]
        return [slot("ROTATE", [3 + 2 * a - 5 * b, 7 * b, 4, *[0] * 6, a, 1, a - b])]

    base, moves = ramps("x", compiled, [am.schedule(half), am.schedule(half, 0, 2)])
    assert base[0].numbers == (3, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1, 0)
    assert [m[:4] for m in moves] == [(0, 0, 0, 0), (1, 0, 0, 0)]
    assert [m.numbers for m in moves] == [(2, *[0] * 8, 1, 0, 1), (-5, 7, *[0] * 9, -1)]


@pytest.mark.parametrize(("make", "low", "high"), [
    (lambda v: [am.CropAndPad(percent=v)], 0.1, 0.4), (lambda v: [am.GridMask((5, 20), v, p=1.0)], 0.1, 0.9),
    (lambda v: [am.RandomRotation(30, fill=v)], -0.3, 0.6), (lambda v: [am.GaussianNoise(v, 0.1)], -0.1, 0.3),
    (lambda v: [am.ColorJitter(v, (v, 2), v)], 0.1, 0.7),
    (lambda v: [am.RandomField(translation=v)], 0.05, 0.3), (lambda v: [am.RandomResizedCrop(24, (v, 1))], 0.03, 0.97)])
def test_numbers_of_few_digits_are_not_rounded_on_their_way(make, low, high):
    """What is a hair off is a whole pixel off behind a floor."""
    now = [low]
    recipe = am.Recipe(make(am.schedule(lambda epoch, step: now[0], low, high)))
    for number in [low, high, 0.0, *(k / 20 for k in range(-6, 20))]:
        if low <= number <= high:
            now[0] = number
            assert torch.equal(plan(recipe, size=(256, 256)).rows, plan(am.Recipe(make(number)), size=(256, 256)).rows), number


# ---- what says the number ----


def test_a_function_is_given_the_plans_epoch_and_step():
    asked = []
    recipe = am.Recipe([am.RandomErasing(am.schedule(lambda epoch, step: asked.append((epoch, step)) or 0.5))])
    plan(recipe, epoch=7, step=9)
    plan(recipe)
    assert asked == [(7, 9), (3, 0)]


def test_a_function_may_give_a_number_for_each_sample():
    numbers = torch.linspace(0, 1, 40, dtype=torch.float64)
    recipe = am.Recipe([am.ColorJitter(am.schedule(lambda epoch, step: numbers * epoch / 3))])
    assert torch.equal(plan(recipe).rows, plan(am.Recipe([am.ColorJitter(am.schedule(numbers.float()))])).rows)


def test_a_tensor_where_one_number_goes_is_a_schedule():
    strength = torch.rand(40)
    bare = am.Recipe([am.ColorJitter(brightness=strength), am.RandomErasing(strength)])
    named = am.Recipe([am.ColorJitter(am.schedule(strength)), am.RandomErasing(p=am.schedule(strength))])
    assert torch.equal(plan(bare).rows, plan(named).rows)
    assert am.Normalize(torch.tensor([0.1, 0.2, 0.3]), 1).mean == pytest.approx((0.1, 0.2, 0.3))  # which has three
    assert am.RandomErasing(torch.tensor(0.25)).p == 0.25  # one number, for good


def test_what_is_written_into_a_tensor_is_what_the_next_plan_reads():
    strength = torch.zeros(40)
    recipe = am.Recipe([am.RandAugment(2, am.schedule(strength, 0, 30))])
    fingerprint = recipe.fingerprint
    for number in (1.0, 20.0):
        strength.fill_(number)
        before = am.launch_count()
        rows = plan(recipe).rows
        assert am.launch_count() == before + 1 and recipe.fingerprint == fingerprint
        assert torch.equal(rows, plan(am.Recipe([am.RandAugment(2, number)])).rows)


def test_an_end_may_be_what_float32_makes_of_it():
    ends = tensor(0.1, 0.7)  # 0.1 becomes a little more, 0.7 a little less
    for low, high, end in ((0, 0.1, ends[:1]), (0.7, 1, ends[1:])):
        recipe = am.Recipe([am.RandomErasing(am.schedule(end, low, high))])
        assert torch.equal(plan(recipe).rows, plan(am.Recipe([am.RandomErasing(high if high < 1 else low)])).rows)


@pytest.mark.parametrize("number", [-3.0, 70.0, float("nan"), float("inf"), float("-inf")])
def test_on_a_device_numbers_beyond_an_end_are_taken_for_it(number):
    """Which cannot be seen there before the kernel; the native call is what a GPU's plan comes to."""
    make = MOVED["degrees"][0]
    there = tensor(number)
    recipe = am.Recipe(make(am.schedule(there, 0, 40)))
    rows = torch.empty((40, recipe.info["row_words"]), dtype=torch.int32)
    moved = torch.empty((40, recipe._native.moved_words), dtype=torch.int64)
    recipe._native.plan(IDS, 5, 3, 1, *SIZE, None, 24, 30, rows, 1, None, None, 1, 0, 0.0, 1, [there], moved)
    end = 40 if number > 0 else 0
    assert torch.equal(rows, plan(am.Recipe(make(am.schedule(lambda epoch, step: end, 0, 40)))).rows)


@pytest.mark.parametrize("device", DEVICES)
def test_a_graph_replays_with_what_the_schedules_then_say(device, route):
    """The recipe is the same and nothing comes from the host: the strengths, the epoch and the step are read where they lie.
    Without a GPU a replay is the same native call once more, with its arguments of the first time."""
    strength, epoch, step = (torch.zeros(1, dtype=dtype, device=device) for dtype in (torch.float32, torch.int64, torch.int64))
    each = torch.zeros(8, device=device)

    def share(e, s):
        at = (10 * e + s) / 100 if is_gpu(device) else 0.25
        return at.clamp(max=1.0) if isinstance(at, torch.Tensor) else at

    if is_gpu(device) and route == "a_gpu":
        pytest.skip("that route waits for every call, which a capture forbids")
    warm = am.schedule(share)
    recipe = am.Recipe([am.RandomResizedCrop(24), am.RandAugment(2, am.schedule(each, 0, 30)),
                        am.ColorJitter(am.schedule(strength)), am.RandomErasing(warm)])
    ids = torch.arange(8, device=device)

    def once(e=epoch, s=step):
        return recipe.plan(ids, size=SIZE, epoch=e, step=s, seed=1).rows

    if is_gpu(device):
        torch.cuda.set_sync_debug_mode("error")
        try:
            once()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        replay = captured(once, device)
    else:
        native, calls = recipe._native, []
        recipe._native = SimpleNamespace(moved_words=native.moved_words,
                                         plan=lambda *given: calls.append(given) or native.plan(*given))
        rows = once()
        assert {t.data_ptr() for t in calls[0][17][:2]} == {each.data_ptr(), strength.data_ptr()}  # no copy of them

        def replay():
            native.plan(*calls[0])
            return rows

    for e, s, number in ((0, 0, 0.0), (3, 5, 0.5), (9, 9, 1.0)):
        strength.fill_(number)
        each.copy_(torch.linspace(0, 30 * number, 8))
        epoch.fill_(e)
        step.fill_(s)
        if not is_gpu(device):
            calls[0][2].fill_(e)  # the plan's copy of the cell, which a graph would make again
        found = replay().clone()
        assert torch.equal(found, recipe.plan(ids, size=SIZE, epoch=e, step=s, seed=1).rows)


# ---- with everything else ----


@pytest.mark.parametrize("shared", [False, True])
def test_views_have_schedules(shared):
    strength, common = torch.rand(40), am.RandomResizedCrop(24, (am.schedule(lambda epoch, step: 0.3, 0.2), 1))
    weak = am.Recipe([common, am.RandomHorizontalFlip(am.schedule(strength))])
    strong = am.Recipe([common, am.RandomHorizontalFlip(am.schedule(strength)), am.ColorJitter(am.schedule(strength)),
                        am.RandAugment(2, am.schedule(lambda epoch, step: step, 0, 30))])
    plans = am.views(weak=(weak, 2), strong=(strong, 2), share_geometry=shared).plan(IDS, size=SIZE, seed=5, epoch=3, step=11)
    i = 17
    s = strength[i].item()
    common = am.RandomResizedCrop(24, (0.3, 1))
    alone = am.views(weak=(am.Recipe([common, am.RandomHorizontalFlip(s)]), 2), strong=(
        am.Recipe([common, am.RandomHorizontalFlip(s), am.ColorJitter(s), am.RandAugment(2, 11)]), 2), share_geometry=shared)
    for name, two in alone.plan(IDS, size=SIZE, seed=5, epoch=3).items():
        for k in range(2):
            assert torch.equal(plans[name][k].rows[i], two[k].rows[i])


@pytest.mark.parametrize("change", ["none", "each", "smooth"])
def test_a_clip_has_one_number(change):
    numbers = tensor(10, 80)
    recipe = am.Recipe([am.RandomRotation(am.schedule(numbers, 0, 90))])
    drawn = plan(recipe, IDS[:2], frames=3, change=change).rows
    for i, number in enumerate((10, 80)):
        alone = plan(am.Recipe([am.RandomRotation(number)]), IDS[:2], frames=3, change=change).rows
        assert torch.equal(drawn[3 * i:3 * i + 3], alone[3 * i:3 * i + 3])


def test_boxes_and_schedules_go_together():
    boxes = tensor(5, 5, 30, 30).expand(40, 2, 4).contiguous()
    make = lambda v: am.Recipe([am.RandomIoUCrop(0.3, v), am.Resize((30, 30))])  # noqa: E731
    assert torch.equal(plan(make(am.schedule(lambda e, s: 0.7, 0.5, 1)), boxes=boxes).rows, plan(make(0.7), boxes=boxes).rows)


def test_one_picture_is_a_plan_of_one():
    image = torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8)
    recipe = am.Recipe([am.RandomRotation(am.schedule(lambda epoch, step: 60 + epoch + step, 0, 90), expand=True)])
    assert torch.equal(recipe(image, seed=4), am.Recipe([am.RandomRotation(60, expand=True)])(image, seed=4))


@pytest.mark.cpu
def test_a_loader_counts_steps():
    images = torch.randint(0, 256, (10, *SIZE, 3), dtype=torch.uint8)
    recipe = am.Recipe([am.ColorJitter(am.schedule(lambda epoch, step: epoch / 10 + step / 100))])
    loader = am.Loader(images, recipe, 4, seed=3, with_index=True)
    for epoch in range(2):
        for step, (views, ids) in enumerate(loader):
            alone = am.Recipe([am.ColorJitter(epoch / 10 + step / 100)]) if epoch + step else am.Recipe([])
            assert torch.equal(views, am.render(images[ids], alone.plan(ids, size=SIZE, seed=3, epoch=epoch)))
            view, _ = loader.replay(int(ids[1]), epoch)
            assert torch.equal(view, views[1])
    state = loader.state_dict()
    assert state["recipe"] == am.Recipe([am.ColorJitter(am.schedule(print))]).fingerprint
    loader.load_state_dict(state)


def half(epoch, step):
    return 0.5


@pytest.mark.cpu
def test_recipes_with_schedules_are_values():
    same = [am.Recipe([am.ColorJitter(am.schedule(half)), am.RandomApply([am.RandomErasing(p=am.schedule(half))], 0.4)])
            for _ in range(2)]
    assert same[0] == same[1] and hash(same[0]) == hash(same[1]) and same[0].fingerprint == same[1].fingerprint
    assert "ColorJitter(brightness=schedule(half, 0, 1))" in repr(same[0])
    for other in (copy.deepcopy(same[0]), pickle.loads(pickle.dumps(same[0])), same[0]._with_classes(4)._with_classes(5)):
        assert torch.equal(plan(other).rows, plan(same[0]).rows)
    assert same[0] != am.Recipe([am.ColorJitter(am.schedule(half, 0, 0.9)), same[0].transforms[1]])
    assert same[0] != am.Recipe([am.ColorJitter(0.5), same[0].transforms[1]])
    file = io.BytesIO()
    torch.save(am.Recipe([am.RandomErasing(am.schedule(tensor(0.25)))]), file)
    file.seek(0)
    assert torch.equal(plan(torch.load(file)).rows, plan(am.Recipe([am.RandomErasing(0.25)])).rows)


@pytest.mark.cpu
@pytest.mark.parametrize("make", [lambda v: am.RandomErasing(v, scale=(0.1, 0.3)), lambda v: am.RandomErasing(p=v),
                                  lambda v: am.OneOf([am.ColorJitter(v), am.RandomErasing(0.1, (v, 1))], p=v)])
def test_a_transform_is_the_same_however_its_arguments_are_named(make):
    assert make(am.schedule(half)) == make(am.schedule(half)) and len({make(am.schedule(half)), make(am.schedule(half))}) == 1


def test_bounds_hold_at_both_ends():
    """What depends on how far a recipe may shrink, or on its fills, looks at both ends of a schedule."""
    recipe = am.Recipe([am.RandomAffine(0, scale=(am.schedule(half, 0.01, 1), 1))])
    assert recipe._furthest(100) == am.Recipe([am.RandomAffine(0, scale=(0.01, 1))])._furthest(100)
    images = torch.rand(1, 3, *SIZE)
    bright = am.Recipe([am.RandomRotation(30, fill=am.schedule(half, 0, 255)), am.ColorJitter(0.4)])
    with pytest.raises(am.ArgumentError, match=r"RandomRotation.fill: expected values in \[0, 1\] for float pictures"):
        am.render(images, bright.plan([0], size=SIZE))


def test_who_changes_a_list_later_changes_no_transform():
    given, scale, moved = [am.RandomErasing(am.schedule(half))], [0.1, am.schedule(half, 0.2, 0.9)], np.array([0.1, 0.2])
    lists = [am.OneOf(given), am.RandomErasing(0.5, scale), am.RandomAffine(am.schedule(half), moved)]
    before = plan(am.Recipe(lists[:2])).rows
    assert lists[2] == am.RandomAffine(am.schedule(half), [0.1, 0.2])
    given.append(am.RandomInvert())
    scale[0] = 0.19
    moved[0] = 0.9
    assert torch.equal(plan(am.Recipe(lists[:2])).rows, before) and lists[2] == am.RandomAffine(am.schedule(half), (0.1, 0.2))


@pytest.mark.cpu
def test_spelling_does_not_count():
    s = am.schedule(half)
    assert am.RandomErasing(s, [0.1, 0.2]) == am.RandomErasing(p=s, scale=(0.1, 0.2), value=0)
    area = am.schedule(half, 0.1)
    assert am.RandomResizedCrop(24, (area, 1)) == am.RandomResizedCrop((24, 24), [area, 1.0])
    assert am.RandomApply([am.RandomInvert()], s) != am.RandomApply([am.RandomInvert(0.1)], s)
    assert am.ColorJitter(s, am.schedule(half, 0, 0.5)) != am.ColorJitter(am.schedule(half, 0, 0.5), s)


def test_a_function_cannot_change_the_plans_epoch():
    recipe = am.Recipe([am.RandomErasing(am.schedule(lambda epoch, step: (epoch.fill_(9), 0.5)[1]))])
    epoch = torch.tensor([3])
    assert torch.equal(plan(recipe, epoch=epoch).rows, plan(am.Recipe([am.RandomErasing(0.5)]), epoch=3).rows) and epoch == 3


# ---- bad input ----

TENSOR = torch.full((8,), 0.5)


def drawn(source, low=0.0, high=1.0, count=8, **more):
    recipe = am.Recipe([am.RandomErasing(am.schedule(source, low, high))])
    return recipe.plan(torch.arange(count), size=SIZE, **more)


BAD = {
    "a number": (lambda: am.schedule(0.5), am.ArgumentError,
                 r"schedule: expected a function of \(epoch, step\), or a float32 tensor"),
    "a list": (lambda: am.schedule([0.1, 0.2]), am.ArgumentError, "schedule: expected a function"),
    "an array": (lambda: am.schedule(np.ones(3, np.float32)), am.ArgumentError, "schedule: expected a function"),
    "whole numbers": (lambda: am.schedule(torch.arange(3)), am.DtypeError,
                      "schedule: expected a float32 tensor, given torch.int64"),
    "doubles": (lambda: am.schedule(torch.rand(3).double()), am.DtypeError, "schedule: expected a float32 tensor"),
    "a matrix": (lambda: am.schedule(torch.rand(3, 2)), am.ShapeError, r"schedule: expected one number, or .*\[3, 2\]"),
    "nothing": (lambda: am.schedule(torch.rand(0)), am.ShapeError, r"schedule: .*given shape \[0\]"),
    "every other": (lambda: am.schedule(torch.rand(8)[::2]), am.ShapeError, "schedule: expected one number"),
    "no range": (lambda: am.schedule(half, 1, 1), am.ArgumentError, "schedule.high: expected a number above low, 1, given 1"),
    "the wrong way": (lambda: am.schedule(half, 1, 0), am.ArgumentError, "schedule.high: expected a number above low"),
    "no number": (lambda: am.schedule(half, "0"), am.ArgumentError, "schedule.low: expected a finite number"),
    "endless": (lambda: am.schedule(half, 0, float("inf")), am.ArgumentError, "schedule.high: expected a finite number"),
    "an end that is refused": (lambda: am.RandomErasing(am.schedule(half, 0, 2)), am.ArgumentError,
                               r"RandomErasing.p: expected a probability, 0 to 1, given 2.0 \(where its schedules are at 2\)"),
    "hue's end": (lambda: am.ColorJitter(hue=am.schedule(half)), am.ArgumentError,
                  "ColorJitter.hue: .*where its schedules are at"),
    "a kink": (lambda: am.Recipe([am.ColorJitter(am.schedule(half, 0, 2))]), am.ArgumentError,
               "ColorJitter: expected a schedule whose numbers the transform follows in proportion"),
    "a kink near the end": (lambda: am.Recipe([am.ColorJitter(am.schedule(half, 0, 255))]), am.ArgumentError,
                            "ColorJitter: expected a schedule whose numbers"),
    "truths": (lambda: drawn(lambda e, s: torch.ones(8, dtype=torch.bool)), am.DtypeError, "schedule: expected real numbers"),
    "complex": (lambda: drawn(lambda e, s: torch.ones(8) * 1j), am.DtypeError, "schedule: expected real numbers"),
    "sparse": (lambda: drawn(lambda e, s: torch.ones(8).to_sparse()), am.ArgumentError, "schedule: expected a plain strided"),
    "a sparse one": (lambda: am.schedule(torch.ones(8).to_sparse()), am.ArgumentError, "schedule: expected a plain strided"),
    "whole numbers alone": (lambda: am.RandomErasing(torch.tensor([1, 0])), am.ArgumentError, "RandomErasing.p: expected"),
    "a ratio": (lambda: am.Recipe([am.RandomResizedCrop(24, ratio=(0.5, am.schedule(half, 0.6, 1)))]), am.ArgumentError,
                "RandomResizedCrop: expected a schedule whose numbers"),
    "paper's square": (lambda: am.Recipe([am.RandAugment(2, am.schedule(half, 0, 10), convention="paper")]), am.ArgumentError,
                       "RandAugment: expected a schedule whose"),
    "pixels": (lambda: am.RandomCrop(am.schedule(half, 10, 20)), am.ArgumentError,
               "RandomCrop.size: expected a whole number of pixels .*given 15.0"),
    "a count": (lambda: am.SomeOf(LIST, am.schedule(half, 1, 2)), am.ArgumentError, "SomeOf.n: expected a whole number"),
    "a name": (lambda: am.RandomRotation(30, interpolation=am.schedule(half)), am.ArgumentError,
               "interpolation: expected one of"),
    "Normalize": (lambda: am.Recipe([am.Normalize(am.schedule(half), 0.5)]), am.ArgumentError, "changes nothing|Normalize"),
    "unused": (lambda: am.Recipe([am.RandAugment(2, am.schedule(half), convention="fixmatch")]), am.ArgumentError,
               "RandAugment: expected a schedule for a number of what is drawn, given one that changes nothing"),
    "an unknown argument": (lambda: am.RandomErasing(chance=am.schedule(half)), TypeError, "chance"),
    "nine": (lambda: am.Recipe([am.RandomErasing(am.schedule(half, 0, 1 - i / 100)) for i in range(9)]), am.ArgumentError,
             "expected at most 8 schedules, given 9"),
    "nine in one": (lambda: am.OneOf([am.RandomErasing(am.schedule(half, 0, 1 - i / 100)) for i in range(9)]), am.ArgumentError,
                    "OneOf: expected at most 8 schedules, given 9"),
    "says too much": (lambda: drawn(lambda e, s: 1.5), am.ArgumentError,
                      "schedule: expected a finite number from 0 to 1, given 1.5"),
    "says nan": (lambda: drawn(lambda e, s: float("nan")), am.ArgumentError, "schedule: expected a finite number"),
    "says nothing": (lambda: drawn(lambda e, s: None), am.ArgumentError,
                     "schedule: expected a finite number from 0 to 1, given None"),
    "says a word": (lambda: drawn(lambda e, s: "much"), am.ArgumentError, "schedule: expected a finite number"),
    "a tensor with nan": (lambda: drawn(tensor(0.1, float("nan"), *[0] * 6)), am.ArgumentError, "schedule: expected a finite"),
    "a tensor beyond": (lambda: drawn(tensor(0.1, 1.25, *[0] * 6)), am.ArgumentError, "schedule: .* given 1.25"),
    "too few": (lambda: drawn(TENSOR, count=9), am.ShapeError,
                r"schedule: expected one number, or \[9\] for 9 samples, given .*\[8\]"),
    "too many": (lambda: drawn(lambda e, s: torch.rand(9)), am.ShapeError, r"schedule: expected .*\[8\] for 8 samples"),
    "another device": (lambda: drawn(torch.empty(8, device="meta")), am.ArgumentError, "schedule: expected a plain"),
    "a step below 0": (lambda: drawn(half, step=-1), am.ArgumentError, "step: expected a whole number from 0"),
    "a step that is none": (lambda: drawn(half, step=0.5), am.ArgumentError, "step: expected a whole number from 0"),
    "steps": (lambda: drawn(half, step=torch.arange(8)), am.ShapeError, "step: expected a number, or an int64 tensor of one"),
    "a float step": (lambda: drawn(half, step=torch.tensor(1.0)), am.DtypeError,
                     "step: expected a number, or an int64 tensor of one"),
    "a step of no schedule": (lambda: plan(am.Recipe([]), step=-1), am.ArgumentError, "step: expected a whole number from 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(("ramp", "message"), [
    *((ramp, "expected one of the dials") for ramp in ((1, 1, 0), (-1, 1, 0), (0, 5, 0), (0, -1, 0))),
    *((ramp, "expected none for a number that counts") for ramp in ((0, 2, 0), (0, 2, 1), (0, 0, 9)))])
def test_the_core_lets_no_schedule_move_what_rows_are_counted_by(ramp, message):
    slots = [slot("ERASE", [0.1, 0.2, 1, 1, 1, 0, 0, 0, 1, 1]), slot("ROTATE", [0, 1]),
             slot("ORDER", [1, 1], count=2, k=1), slot("BRANCH", [0], count=1), slot("FLIP_H")]
    with pytest.raises(am.ArgumentError, match=message):
        dial, which, number = ramp
        numbers = [float(k == number) for k in range(12)]
        _native.Recipe(slots, [0.0] * 4, [1.0] * 4, 0, 0, 0, 0.0, 0.0, False, [(dial, which, 0, 0, numbers)], [(0.0, 1.0)])


def test_what_the_core_is_given_it_looks_at():
    recipe = am.Recipe([am.RandomErasing(am.schedule(half))])
    rows, words = torch.empty((8, recipe.info["row_words"]), dtype=torch.int32), recipe._native.moved_words

    def call(dials, moved):
        recipe._native.plan(IDS[:8], 0, 0, 0, *SIZE, None, *SIZE, rows, 1, None, None, 1, 0, 0.0, 1, dials, moved)

    room = torch.empty(8 * words, dtype=torch.int64)
    for dials, moved, error, message in (
            ([], room, am.ArgumentError, "dials: expected 1"), ([0.5, 0.5], room, am.ArgumentError, "dials: expected 1"),
            ([torch.rand(7)], room, am.ShapeError, "schedule: expected one number, or one for each of 8"),
            ([torch.rand(8).double()], room, am.DtypeError, "schedule"), ([0.5], room[1:], am.ShapeError, "moved: expected"),
            ([0.5], room.int(), am.DtypeError, "moved")):
        with pytest.raises(error, match=message):
            call(dials, moved)


@pytest.mark.cpu
@pytest.mark.skipif(not FOUND, reason="the emulation is not built")
def test_the_cuda_code_draws_the_cpus_rows():
    numbers = torch.rand(40)
    lists = [make(am.schedule(low + (high - low) * numbers, low, high)) for make, low, high in MOVED.values()]
    here = [plan(am.Recipe(one)).rows for one in lists]
    with emulated(3):
        there = [plan(am.Recipe(one)).rows for one in lists]
    assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))
