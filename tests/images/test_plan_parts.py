"""Plans own what they say; they are sliced and compared."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import anamorph as am
from recipes import SINGLE

PLAIN = am.Recipe([am.RandomResizedCrop(8), am.ColorJitter(0.4, 0.4), am.RandomErasing(0.7)])


@pytest.mark.parametrize("kind", ["tensor", "array", "other dtype"])
def test_a_buffer_may_be_used_again(kind, route):
    """What is saved is what was drawn, whatever becomes of the memory that it was drawn from."""
    ids, sizes, epoch = torch.arange(5, 9), torch.tensor([[9, 9], [20, 8], [5, 30], [16, 16]]), torch.tensor(4)
    index = {"tensor": ids, "array": ids.numpy(), "other dtype": ids.int()}[kind]
    plan = PLAIN.plan(index, size=sizes, epoch=epoch)
    before, text = plan.state_dict(), str(plan.table())
    index[:], sizes[:], epoch[...] = 0, 1, 9
    assert plan.index.tolist() == [5, 6, 7, 8] and plan.size.tolist()[1] == [20, 8] and int(plan.epoch) == 4
    assert str(plan.table()) == text and all(torch.equal(before[k], v) for k, v in plan.state_dict().items())
    assert plan == PLAIN.plan([5, 6, 7, 8], size=[[9, 9], [20, 8], [5, 30], [16, 16]], epoch=4)


def test_one_id_may_stand_there_several_times(route):
    """A pair or a clip: the same view of each of its frames."""
    frames = torch.randint(0, 256, (1, 20, 31, 3), dtype=torch.uint8).expand(4, -1, -1, -1)
    for name in ("chain", "nested", "erasing, noise", "affine"):
        recipe = am.Recipe([t for t in SINGLE[name] if not t.mixers()])
        views = am.render(frames, recipe.plan([7, 9, 7, 7], size=(20, 31), seed=3))
        assert torch.equal(views[0], views[2]) and torch.equal(views[0], views[3]) and not torch.equal(views[0], views[1])


@pytest.mark.parametrize("which", [slice(2, 5), slice(None), slice(-2, None), slice(None, None, 3), slice(None, None, -2)])
@pytest.mark.parametrize("sizes", [(20, 31), [[20, 31]] * 7])
def test_a_slice_renders_what_the_whole_does(which, sizes, route):
    images = torch.randint(0, 256, (7, 20, 31, 3), dtype=torch.uint8)
    plan = PLAIN.plan(range(10, 17), size=sizes, seed=1)
    part, kept = plan[which], list(range(7))[which]
    assert isinstance(part, am.Plan) and part.index.tolist() == [10 + i for i in kept]
    assert torch.equal(am.render(images[kept], part), am.render(images, plan)[kept])
    assert part == am.Plan.from_state_dict(PLAIN, part.state_dict())
    assert part[0] == plan[kept[0]]


def test_a_slice_keeps_its_partners(route):
    mix = am.OneOf([am.MixUp(partner="flip"), am.CutMix(partner="flip")])
    recipe = am.Recipe([am.RandomHorizontalFlip(), mix], num_classes=9)
    images = torch.randint(0, 256, (8, 12, 12, 3), dtype=torch.uint8)
    plan = recipe.plan(range(8), size=(12, 12), seed=2)
    views, soft = am.render(images, plan, targets=range(8))
    part = plan[2:6]  # the middle: mirror rows are among them
    some, some_soft = am.render(images[2:6], part, targets=range(2, 6))
    assert torch.equal(some, views[2:6]) and torch.equal(some_soft, soft[2:6])
    assert [row["partner"] for row in part.table()] == [5, 4, 3, 2]
    with pytest.raises(am.ArgumentError, match="row 0 mixes with row 7"):
        plan[:4]
    plan.rows[3, am._native.WORDS["PARTNER"]] = 2**31 - 1
    with pytest.raises(am.ArgumentError, match="row 3 mixes with row 2147483647"):
        plan[2:6]


def test_no_slice_is_empty():
    plan = PLAIN.plan(range(4), size=(9, 9))
    for which in (slice(0, 0), slice(4, 9), slice(3, 1)):
        with pytest.raises(am.ShapeError, match="at least one"):
            plan[which]
    with pytest.raises(am.ArgumentError, match="or a slice"):
        plan["a"]


def test_equal_plans():
    plan = PLAIN.plan([1, 2], size=(9, 12), seed=3)
    assert plan == PLAIN.plan(np.array([1, 2]), size=[9, 12], seed=3, epoch=torch.tensor(0))
    assert plan == am.Recipe(list(PLAIN.transforms)).plan([1, 2], size=(9, 12), seed=3)
    for other in (PLAIN.plan([1, 3], size=(9, 12), seed=3), PLAIN.plan([1, 2], size=(9, 12), seed=4),
                  PLAIN.plan([1, 2], size=(9, 12), seed=3, epoch=1), PLAIN.plan([1, 2], size=(9, 12), seed=3, view=1),
                  PLAIN.plan([1, 2], size=(12, 9), seed=3), PLAIN.plan([1, 2, 3], size=(9, 12), seed=3),
                  PLAIN.plan([1, 2], size=[[9, 12], [9, 12]], seed=3), plan[:1], 3, None,
                  am.Recipe([am.RandomResizedCrop(8)]).plan([1, 2], size=(9, 12), seed=3)):
        assert plan != other
    changed = plan[:]
    changed.rows[0, 0] += 1
    assert plan != changed
    with pytest.raises(TypeError, match="unhashable"):
        hash(plan)


# ---- what render takes ----

def test_a_list_of_channels_first(route):
    """[C, H, W] tensors of different sizes give what their [H, W, C] give."""
    sizes = [(20, 30), (41, 17), (6, 5), (64, 80)]
    last = [torch.randint(0, 256, (h, w, 3), dtype=torch.uint8) for h, w in sizes]
    first = [t.permute(2, 0, 1).contiguous() for t in last]
    plan = PLAIN.plan(range(4), size=sizes)
    views = am.render(last, plan)
    for given in (first, [t.numpy() for t in first], am.Ragged.from_list(first), am.Ragged.from_list(first, layout="CHW"),
                  [t.permute(2, 0, 1) for t in last]):
        assert torch.equal(am.render(given, plan), views)
    assert torch.equal(am.render(first, plan, layout="NCHW"), views)
    assert torch.equal(am.render(last, plan, layout="NHWC"), views)


def test_a_list_that_fits_both_layouts():
    """Rows of three, three pixels wide: [H, W, C], unless the layout says [C, H, W]."""
    images = [torch.randint(0, 256, (3, 9, 3), dtype=torch.uint8) for _ in range(2)]
    plain = am.Recipe([], dtype=torch.uint8)
    assert torch.equal(am.render(images, plain.plan([0, 1], size=(3, 9))), torch.stack(images).permute(0, 3, 1, 2))
    assert torch.equal(am.render(images, plain.plan([0, 1], size=(9, 3)), layout="NCHW"), torch.stack(images))
    with pytest.raises(am.ShapeError, match=r"images\[0\]: expected \[H, W, C\] with .*; without layout= both are told apart"):
        am.Ragged.from_list([torch.zeros(3, 9, 7)], layout="HWC")
    with pytest.raises(am.ArgumentError, match="'HWC', 'CHW'"):
        am.Ragged.from_list(images, layout="NCHW")


COLOR = {"brightness": am.ColorJitter(0.5), "contrast": am.ColorJitter(0, 0.5), "saturation": am.ColorJitter(0, 0, 0.5),
         "hue": am.ColorJitter(0, 0, 0, 0.3), "contrast_midgray": am.ColorJitter(0, 0.5, contrast_mode="midgray"),
         "grayscale": am.RandomGrayscale(0.5), "invert": am.RandomInvert(1.0), "posterize": am.RandomPosterize(3, 1.0),
         "solarize": am.RandomSolarize(99, 1.0)}


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("name", COLOR)
def test_colour_refuses_the_channels_that_torchvision_refuses(name, channels):
    from anamorph.bench._torchvision import v2

    F = v2().functional
    theirs = {"brightness": lambda x: F.adjust_brightness(x, 0.7), "contrast": lambda x: F.adjust_contrast(x, 0.7),
              "saturation": lambda x: F.adjust_saturation(x, 0.7), "hue": lambda x: F.adjust_hue(x, 0.2),
              "contrast_midgray": lambda x: F.adjust_contrast(x, 0.7), "grayscale": lambda x: F.rgb_to_grayscale(x, 1),
              "invert": F.invert, "posterize": lambda x: F.posterize(x, 3), "solarize": lambda x: F.solarize(x, 99)}[name]
    image = torch.randint(0, 256, (channels, 9, 12), dtype=torch.uint8)
    try:
        theirs(image)
        refused = False
    except (TypeError, ValueError):
        refused = True
    plan = am.Recipe([am.RandomApply([COLOR[name]])]).plan([0], size=(9, 12))
    before = am.launch_count()
    if refused:
        with pytest.raises(am.ShapeError, match=f"1 or 3 channels .*{name}.*, given {channels}"):
            am.render(image[None], plan)
        assert am.launch_count() == before
    else:
        am.render(image[None], plan)


@pytest.mark.parametrize(("level", "good"), [("avx9000", False), ("AVX2", False), ("base", True), ("", True)])
def test_an_unknown_instruction_set_is_named(level, good):
    program = "import anamorph; print(anamorph.info()['simd'])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                           env={**os.environ, "ANAMORPH_SIMD": level})
    if good:
        assert found.returncode == 0 and found.stdout.strip() == (level or found.stdout.strip())
    else:
        assert f"ArgumentError: ANAMORPH_SIMD: expected base, avx2 or avx512, given {level}" in found.stderr
