"""Views with steps that need the whole of them, as a GPU makes them ready, against the CPU's."""

from contextlib import nullcontext
from dataclasses import dataclass

import pytest
import torch

import anamorph as am
from anamorph import _native
from anamorph.images.transforms.base import Transform
from anamorph.images.transforms.program import Slot, chains
from devices import DEVICES, is_gpu
from emulation.route import FOUND, emulated

ROUTES = [pytest.param("emulated", marks=pytest.mark.skipif(not FOUND, reason="the emulation is not built; make test builds it")),
          *DEVICES[1:]]


@dataclass(frozen=True)
class Chains(Transform):
    """A blend of three runs of a list."""

    body: tuple[Transform, ...]

    def slots(self) -> list[Slot]:
        return chains(3, 1.0, 1.0, [one for t in self.body for one in t.slots()])


def contrast():
    return am.ColorJitter(contrast=(0.3, 1.9))


SHARP, SOFT = am.RandomAdjustSharpness(3.0, 1.0), am.RandomAdjustSharpness(0.2, 1.0)
AUTO, EQUAL = am.RandomAutocontrast(1.0), am.RandomEqualize(1.0)
BLUR, ZERO, BOXES = am.GaussianBlur(7, (0.5, 3.0)), am.GaussianBlur((23, 5), 1.4, "zero"), am.GaussianBlur(3, 2.5, "pil")
TURN = am.RandomAffine(40, (0.2, 0.1), (0.6, 1.3), interpolation="bilinear", fill=0.35)
STEPS = {"contrast": contrast(), "autocontrast": AUTO, "equalize": EQUAL, "sharper": SHARP, "softer": SOFT, "blur": BLUR,
         "blur, zeros": ZERO, "blur, boxes": BOXES}
LISTS = {
    **{name: [t] for name, t in STEPS.items()},
    **{f"{name}, then turned": [am.RandomInvert(1.0), t, TURN, am.ColorJitter(0.4)] for name, t in STEPS.items()},
    **{f"{name} of a turned view": [TURN, am.ColorJitter(0.4), t, am.ColorJitter(0.4)] for name, t in STEPS.items()},
    "statistics in a row": [contrast(), AUTO, EQUAL, contrast(), am.RandomInvert(1.0)],
    "stencils in a row": [BLUR, SHARP, SHARP, BOXES, ZERO, SOFT],
    "any order": [am.RandomOrder([contrast(), AUTO, EQUAL, SHARP, BLUR, am.ColorJitter(0.4)]), am.RandomInvert()],
    "sometimes": [am.RandomAutocontrast(0.5), am.RandomApply([BLUR], 0.4), am.RandomInvert()],
    "fill long after": [BLUR, am.ColorJitter(0.3), contrast(), am.RandomInvert(1.0), am.ColorJitter(0.3), TURN],
    "noise": [am.GaussianNoise(0.02, 0.1), BLUR, am.GaussianNoise(0.0, 0.05, clip=False)],
    "large windows": [am.Resize((9, 11)), contrast(), SHARP],
    "nothing after a blur": [BLUR, am.TrivialAugmentWide(2), am.RandomErasing(0.5), am.MixUp()],
    "mixup": [TURN, EQUAL, SHARP, am.MixUp()],
    "cutmix": [am.RandomApply([BLUR, AUTO], 0.5), am.CutMix()],
    "resizemix": [am.RandomApply([BLUR], 0.5), contrast(), TURN, am.RandomInvert(), am.RandomErasing(1.0), am.ResizeMix()],
    "resizemix, sometimes": [am.RandomApply([BLUR], 0.5), am.RandomInvert(), am.ResizeMix()],
    "resizemix, fill after": [am.RandomInvert(1.0), BLUR, TURN, am.ResizeMix()],
    "maskmix": [am.RandomApply([SOFT, AUTO], 0.5), am.MaskMix()],
    "chains": [am.RandomInvert(), Chains((TURN, am.ColorJitter(0.5)))],
    "chains of whole views": [SHARP, Chains((am.RandomOrder([AUTO, BLUR, SHARP]), TURN)), contrast(), am.RandomInvert()],
}
SIZES = [(1, 1), (2, 3), (33, 65)]


def pictures(channels, size, dtype, batch=5):
    generator = torch.Generator().manual_seed(channels * 1000 + size[0])
    image = torch.randint(0, 256, (batch, *size, channels), dtype=torch.uint8, generator=generator)
    return image if dtype == torch.uint8 else (image.to(torch.float32) / 255).to(dtype)


def views(where, transforms, images, size, **options):
    """Of pictures of one size by the CPU and by the route, with the launches of the latter."""
    device = where if where != "emulated" else "cpu"
    mixes = any(isinstance(t, am.MaskMix) for t in transforms)
    mask = torch.rand(len(images), 1, *size, generator=torch.Generator().manual_seed(1)) if mixes else None

    def render(on):
        recipe = am.Recipe(transforms, **options)
        plan = recipe.plan(torch.arange(len(images), device=on), size=size, seed=11)
        out = am.render(images.to(on), plan, mask=mask if mask is None else mask.to(on), layout="NHWC")
        return out.cpu()

    expected = render("cpu")
    with nullcontext() if is_gpu(device) else emulated(3):
        before = _native.launch_count()
        return expected, render(device), _native.launch_count() - before


def check(expected, given, tolerance=1e-5, share=0.0):
    assert expected.shape == given.shape and expected.stride() == given.stride()
    if expected.dtype == torch.uint8:
        apart = (expected.int() - given.int()).abs()
        assert apart.max() <= 1 and (apart > 0).float().mean() <= 1e-3
    else:
        assert ((expected - given).abs() > tolerance).float().mean() <= share


@pytest.mark.parametrize("where", ROUTES)
@pytest.mark.parametrize("name", LISTS)
def test_whole_views(name, where):
    size = (33, 65)
    expected, given, launches = views(where, LISTS[name], pictures(3, size, torch.float32), size)
    # What is made sharper has larger differences; a value at the edge of a bin of equalize's is the next bin's.
    check(expected, given, 2e-5 if SHARP in LISTS[name] else 1e-5, 1e-3 if EQUAL in LISTS[name] else 0.0)
    assert launches == 3  # the plan, what is made ready, the views


@pytest.mark.parametrize("where", ROUTES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sizes_and_channels(channels, size, where):
    steps = [AUTO, BLUR, EQUAL, SHARP, BOXES, ZERO, *([contrast()] if channels in (1, 3) else [])]
    for dtype in (torch.uint8, torch.float32):
        expected, given, _ = views(where, steps, pictures(channels, size, dtype), size)
        # A value between two bytes may be either, and each of the stencils after it spreads that.
        check(expected, given, share=0.04)
        check(expected, given, 1 / 255)


@pytest.mark.parametrize("where", ROUTES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32])
def test_dtypes_and_layouts(dtype, where):
    size = (21, 40)
    steps = [AUTO, SHARP, contrast(), BOXES, am.CutMix()]
    for out, layout in ((torch.float32, "channels_last"), (torch.uint8, "contiguous")):
        check(*views(where, steps, pictures(3, size, dtype), size, dtype=out, memory_format=layout)[:2])


@pytest.mark.parametrize("where", ROUTES)
def test_lists_of_pictures(where):
    images = [pictures(3, size, torch.uint8, 1)[0] for size in ((20, 31), (5, 7), (40, 12))]

    def render(device):
        recipe = am.Recipe([am.RandomResizedCrop((25, 33)), contrast(), BLUR, am.RandomApply([EQUAL], 0.5), am.ResizeMix()])
        plan = recipe.plan([4, 5, 6], size=[image.shape[:2] for image in images], seed=2, device=device)
        return am.render(am.Ragged.from_list([image.to(device) for image in images], "HWC"), plan).cpu()

    expected = render("cpu")
    device = "cpu" if where == "emulated" else where
    with nullcontext() if is_gpu(device) else emulated(3):
        check(expected, render(device))


@pytest.mark.parametrize("where", ["cpu", *ROUTES])
def test_a_layer_blends_nothing(where):
    """A damaged row's layers say that layers are blended into them, and those again: such a step does nothing."""
    device = "cpu" if where == "emulated" else where
    recipe = am.Recipe([Chains((am.RandomInvert(0.5), am.ColorJitter(0.4)))])
    plan = recipe.plan(torch.arange(5, device=device), size=(9, 12), seed=11)
    layers = plan.rows.view(5, -1, recipe.info["layer_words"])
    layers[:, 1:] = layers[:, :1]
    steps = layers[..., _native.WORDS["HEADER"]:][..., :_native.COLOR_WORDS * recipe.info["max_colors"]]
    steps = steps.view(5, -1, recipe.info["max_colors"], _native.COLOR_WORDS)
    blends = steps[:, 1:, :, 0] == _native.OPS["BLEND"]
    assert blends.any()

    def render():
        images = pictures(3, (9, 12), torch.float32).to(device)
        with emulated(3) if where == "emulated" else nullcontext():
            return am.render(images, plan).cpu()

    damaged = render()
    steps[:, 1:, :, 0][blends] = 0
    check(render(), damaged)


@pytest.mark.parametrize("where", ROUTES)
def test_no_launch_without_such_steps(where):
    expected, given, launches = views(where, [TURN, am.RandomInvert()], pictures(3, (9, 12), torch.float32), (9, 12))
    check(expected, given)
    assert launches == 2


@pytest.mark.parametrize("where", ROUTES)
def test_three_launches_whatever_the_list(where):
    """A policy, a field, a blur and a mix: one for the plan, one that makes views ready, one that renders."""
    chain = [am.RandomResizedCrop(32), am.RandomHorizontalFlip(), am.RandAugment(2, 9, interpolation="bilinear"),
             am.RandomField(translation=0.05, correlation=0.15), am.GaussianBlur(5), am.RandomErasing(0.25),
             am.OneOf([am.MixUp(0.8), am.CutMix(1.0)]), am.Normalize(0.5, 0.25)]
    expected, given, launches = views(where, chain, pictures(3, (33, 65), torch.uint8, 12), (33, 65))
    assert launches == 3
    check(expected, given, 2e-4, 0.002)  # a position's last bit, a threshold of bytes
