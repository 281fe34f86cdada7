"""Each transform against the library that defines it, on photographs: torchvision v2's functional form is given the numbers
that our plan drew. uint8 within 1 for 99.9 % of the values, float within 1e-5 where both resample in float."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

import anamorph as am
from anamorph.bench._torchvision import v2 as load_torchvision
from pictures import nchw, pictures, render, unit, word

try:
    F = load_torchvision().functional
except ImportError:
    pytest.skip("torchvision is not installed", allow_module_level=True)

from torchvision.transforms import InterpolationMode as Mode

pytestmark = pytest.mark.usefixtures("route")

MODES = {"nearest": Mode.NEAREST, "bilinear": Mode.BILINEAR, "bicubic": Mode.BICUBIC}


def agree(ours: torch.Tensor, theirs: torch.Tensor, share: float = 0.999, within: float | None = None) -> None:
    assert ours.shape == theirs.shape
    limit = within if within is not None else (1 if ours.dtype == torch.uint8 else 1e-5)
    off = (ours.double() - theirs.double()).abs()
    good = (off <= limit).double().mean().item()
    assert good >= share, f"{good:.5f} within {limit}, worst {off.max():.5f}"


# ---- geometry ----

@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("size", [(40, 56), (150, 170), (96, 31)])
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_resize(mode, size, antialias):
    if mode == "nearest" and antialias:
        pytest.skip("torchvision has no antialiased nearest")
    images = pictures()
    # torchvision's "nearest" takes floor(i * scale), half a pixel off; "nearest-exact" is PIL's and ours.
    theirs_mode = Mode.NEAREST_EXACT if mode == "nearest" else MODES[mode]
    theirs = F.resize(unit(images), list(size), theirs_mode, antialias=antialias)
    ours, _ = render([am.Resize(size, mode, antialias=antialias)], images)
    agree(ours, theirs)
    ours8, _ = render([am.Resize(size, mode, antialias=antialias)], images, dtype=torch.uint8)
    agree(ours8, (theirs.clamp(0, 1) * 255).round())


@pytest.mark.parametrize(("size", "limit"), [(48, None), (200, None), (90, 100), (30, 35)])
def test_resize_shorter_side(size, limit):
    images = pictures()
    theirs = F.resize(unit(images), [size], Mode.BILINEAR, max_size=limit, antialias=True)
    ours, plan = render([am.Resize(size, max_size=limit)], images)
    assert plan.output_size == tuple(theirs.shape[2:])
    agree(ours, theirs)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("epoch", range(3))
def test_random_resized_crop(mode, epoch):
    images = pictures()
    ours, plan = render([am.RandomResizedCrop((60, 70), interpolation=mode)], images, epoch=epoch)
    rect = word(plan, "RECT", 4, torch.float32).int().tolist()
    for i, (x0, y0, x1, y1) in enumerate(rect):
        theirs = F.resized_crop(unit(images)[i:i + 1], y0, x0, y1 - y0, x1 - x0, [60, 70], MODES[mode], antialias=True)
        agree(ours[i:i + 1], theirs)


def test_random_resized_crop_distribution():
    """Areas and ratios are spread as torchvision's own sampler spreads them."""
    v2 = load_torchvision()
    recipe = am.Recipe([am.RandomResizedCrop(8)])
    plan = recipe.plan(range(4000), size=(200, 300))
    x0, y0, x1, y1 = word(plan, "RECT", 4, torch.float32).double().T
    area, ratio = (x1 - x0) * (y1 - y0) / 60000, ((x1 - x0) / (y1 - y0)).log()
    torch.manual_seed(0)
    t = v2.RandomResizedCrop(8)
    theirs = [t.make_params([torch.empty(3, 200, 300)]) for _ in range(4000)]
    area_t = torch.tensor([p["height"] * p["width"] / 60000 for p in theirs]).double()
    ratio_t = torch.tensor([math.log(p["width"] / p["height"]) for p in theirs]).double()
    left_t = torch.tensor([p["left"] / max(1, 300 - p["width"]) for p in theirs]).double()
    left = x0 / (300 - (x1 - x0)).clamp(min=1)
    for a, b in ((area, area_t), (ratio, ratio_t), (left, left_t)):
        q = torch.linspace(0.05, 0.95, 10).double()
        spread = (b.quantile(0.95) - b.quantile(0.05)).item()
        assert (a.quantile(q) - b.quantile(q)).abs().max() < 0.06 * spread


@pytest.mark.parametrize("size", [50, (33, 120), (97, 129), (150, 200), (96, 128), (101, 60)])
def test_center_crop(size):
    images = pictures()
    ours, _ = render([am.CenterCrop(size)], images, dtype=torch.uint8)
    assert torch.equal(ours, F.center_crop(nchw(images), list(size) if isinstance(size, tuple) else [size]))


@pytest.mark.parametrize("padding_mode", ["constant", "edge", "reflect", "symmetric"])
@pytest.mark.parametrize("padding", [4, (3, 9), (1, 2, 3, 4)])
def test_random_crop(padding_mode, padding):
    images = pictures(40, 40)
    fill = (7, 100, 200) if padding_mode == "constant" else 0
    ours, plan = render([am.RandomCrop(36, padding, fill=fill, padding_mode=padding_mode)], images, dtype=torch.uint8)
    padded = F.pad(nchw(images), list(padding) if isinstance(padding, tuple) else [padding], fill=list(fill) if fill else 0,
                   padding_mode=padding_mode)
    left, top = (padding if isinstance(padding, tuple) else (padding, padding))[:2]
    m = word(plan, "MATRIX", 9, torch.float32)
    for i in range(len(images)):
        x, y = int(m[i, 2]) + left, int(m[i, 5]) + top
        assert torch.equal(ours[i], padded[i, :, y:y + 36, x:x + 36])


def test_random_crop_pads_if_needed():
    images = pictures(30, 40)
    ours, plan = render([am.RandomCrop((50, 60), pad_if_needed=True, fill=9)], images, dtype=torch.uint8)
    padded = F.pad(nchw(images), [20, 20], fill=9)
    m = word(plan, "MATRIX", 9, torch.float32)
    for i in range(len(images)):
        x, y = int(m[i, 2]) + 20, int(m[i, 5]) + 20
        assert torch.equal(ours[i], padded[i, :, y:y + 50, x:x + 60])


@pytest.mark.parametrize(("ours", "theirs"), [(am.RandomHorizontalFlip, "horizontal_flip"),
                                              (am.RandomVerticalFlip, "vertical_flip")])
def test_flips(ours, theirs):
    images = pictures()
    always, _ = render([ours(1.0)], images, dtype=torch.uint8)
    assert torch.equal(always, getattr(F, theirs)(nchw(images)))
    never, _ = render([ours(0.0)], images, dtype=torch.uint8)
    assert torch.equal(never, nchw(images))


# Warps. With a fill, torchvision's tensor path weighs the picture's fringe twice by its coverage (it samples with zeros
# around, then blends by the sampled mask), which darkens it; PIL and we weigh it once. So with a fill we compare where a
# pixel is wholly inside or outside, and everywhere without one, where both fade to black.
# Positions differ by float32 rounding, which a photograph's slopes multiply; "nearest" may flip at a pixel's boundary.

def warp_agree(ours: torch.Tensor, warp, images: torch.Tensor, mode: str, fill: float = 0) -> None:
    """``warp(picture, fill)``: torchvision's."""
    theirs = warp(images, [fill] * 3 if fill else None)
    if fill:
        cover = warp(torch.ones_like(images), None)
        whole = (cover < 1e-6) | (cover > 1 - 1e-6)
        assert whole.double().mean() > 0.95
        ours = torch.where(whole, ours, theirs.to(ours.dtype))
    if mode == "nearest":
        agree(ours, theirs, share=0.99)
    else:
        agree(ours, theirs, within=1e-4)
        agree((ours * 255).round(), (theirs * 255).round(), within=1)


@pytest.mark.parametrize("fill", [0, 200])
@pytest.mark.parametrize("angle", [0, 13, -37.5, 90, 180, 271])
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize("center", [None, (20.0, 30.0)])
def test_rotation(angle, mode, center, fill):
    images = pictures()
    ours, _ = render([am.RandomRotation((angle, angle), mode, center=center, fill=fill)], images)
    warp_agree(ours, lambda x, f: F.rotate(x, angle, MODES[mode], center=list(center) if center else None, fill=f),
               unit(images), mode, fill / 255)


@pytest.mark.parametrize("angle", [20, 45, -110])
def test_rotation_expands(angle):
    images = pictures()

    def warp(x, fill):
        return F.rotate(x, angle, Mode.BILINEAR, expand=True, fill=fill)

    h, w = warp(unit(images), None).shape[2:]
    ours, _ = render([am.RandomRotation((angle, angle), "bilinear", expand=True), am.CenterCrop((h, w))], images)
    warp_agree(ours, warp, unit(images), "bilinear")


@pytest.mark.parametrize("fill", [0, 99])
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize(("angle", "scale", "shear"), [(0, 1, (0, 0)), (15, 1.1, (5, 0)), (-40, 0.7, (0, 12)),
                                                       (170, 1.5, (-20, 8))])
@pytest.mark.parametrize("center", [None, (31.0, 50.0)])
def test_affine(mode, angle, scale, shear, center, fill):
    images = pictures()
    transform = am.RandomAffine((angle, angle), None, (scale, scale), (shear[0], shear[0], shear[1], shear[1]), mode,
                                fill, center)
    warp_agree(render([transform], images)[0],
               lambda x, f: F.affine(x, angle, [0, 0], scale, list(shear), MODES[mode], f, list(center) if center else None),
               unit(images), mode, fill / 255)


def test_affine_translates():
    images = pictures()
    ours, plan = render([am.RandomAffine(0, (0.3, 0.2))], images, dtype=torch.uint8)
    m = word(plan, "MATRIX", 9, torch.float32)
    for i in range(len(images)):
        tx, ty = -int(m[i, 2]), -int(m[i, 5])
        assert abs(tx) <= 0.3 * 128 + 1 and abs(ty) <= 0.2 * 96 + 1
        assert torch.equal(ours[i], F.affine(nchw(images)[i], 0, [tx, ty], 1, [0, 0]))


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize("epoch", range(3))
def test_perspective(mode, epoch):
    images = pictures()
    ours, plan = render([am.RandomPerspective(0.6, 1.0, mode)], images, epoch=epoch)
    m = word(plan, "MATRIX", 9, torch.float32).double()
    for i in range(len(images)):
        c = (m[i] / m[i, 8])[:8].tolist()  # torchvision's eight coefficients also work on pixel centres at +0.5
        warp_agree(ours[i], lambda x, f, c=c: F.perspective(x, None, None, MODES[mode], f, coefficients=c),
                   unit(images)[i], mode)


@pytest.mark.parametrize("epoch", range(3))
def test_perspective_corners(epoch):
    """The quad that we draw goes where torchvision's own solver sends it."""
    images = pictures()
    _, plan = render([am.RandomPerspective(0.6, 1.0)], images, epoch=epoch)
    m = word(plan, "MATRIX", 9, torch.float32).double().reshape(-1, 3, 3)
    from torchvision.transforms.v2.functional._geometry import _perspective_coefficients

    h, w = images.shape[1:3]
    start = [[0, 0], [w - 1, 0], [w - 1, h - 1], [0, h - 1]]
    for one in m:
        corners = torch.tensor([[*p, 1.0] for p in start]).double() @ torch.linalg.inv(one).T
        end = corners[:, :2] / corners[:, 2:]
        whole = end.round()
        assert (end - whole).abs().max() < 1e-3  # whole pixels, in their own quarters
        assert (whole[0] <= torch.tensor([w, h]) * 0.3 + 1).all() and (whole[2] >= torch.tensor([w, h]) * 0.7 - 2).all()
        c = torch.tensor([*_perspective_coefficients(start, whole.int().tolist(), None), 1.0]).double()
        assert (c / one.flatten() - 1).abs().nan_to_num(0).max() < 2e-2 or (c - one.flatten()).abs().max() < 1e-3


# ---- colour ----

def jitter(name: str, value: float) -> am.ColorJitter:
    return am.ColorJitter(**{name: (value, value)})


@pytest.mark.parametrize("value", [0.0, 0.3, 0.97, 1.4, 3.0])
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_factors(name, value):
    images = pictures()
    theirs = getattr(F, f"adjust_{name}")(unit(images), value)
    agree(render([jitter(name, value)], images)[0], theirs)
    ours, _ = render([jitter(name, value)], images, dtype=torch.uint8)
    agree(ours, (theirs * 255).round())
    # torchvision's own uint8 path rounds the grey and the result down, so it differs from its float path as from us.
    agree(ours, getattr(F, f"adjust_{name}")(nchw(images), value), within=1 + math.ceil(abs(1 - value)))


@pytest.mark.parametrize("value", [-0.5, -0.13, 0.0, 0.07, 0.3, 0.5])
def test_hue(value):
    images = pictures()
    agree(render([jitter("hue", value)], images)[0], F.adjust_hue(unit(images), value))


def test_grayscale_invert():
    images = pictures()
    agree(render([am.RandomGrayscale(1.0)], images)[0], F.rgb_to_grayscale(unit(images), 3))
    ours, _ = render([am.RandomInvert(1.0)], images, dtype=torch.uint8)
    assert torch.equal(ours, F.invert(nchw(images)))


@pytest.mark.parametrize("bits", range(1, 9))
def test_posterize(bits):
    images = pictures()
    ours, _ = render([am.RandomPosterize(bits, 1.0)], images, dtype=torch.uint8)
    assert torch.equal(ours, F.posterize(nchw(images), bits))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_channel_permutation(channels):
    """torchvision's permutation of the channels, each order as often as any other."""
    images = np.concatenate([pictures(8, 8), 255 - pictures(8, 8)], 3)[:1, ..., :channels].repeat(600, 0)
    ours, _ = render([am.RandomChannelPermutation()], images, dtype=torch.uint8)
    orders = list(itertools.permutations(range(channels)))
    theirs = torch.stack([F.permute_channels(nchw(images[:1])[0], list(order)) for order in orders])
    same = (ours[:, None] == theirs).flatten(2).all(2)
    assert same.any(1).all()
    counts = same.sum(0).double()
    assert (counts - 600 / len(orders)).abs().max() < 5 * (600 / len(orders)) ** 0.5


@pytest.mark.parametrize("threshold", [0, 1, 100, 128, 255, 256])
def test_solarize(threshold):
    images = pictures()
    ours, _ = render([am.RandomSolarize(threshold, 1.0)], images, dtype=torch.uint8)
    theirs = nchw(images)
    theirs = torch.where(theirs.int() >= threshold, 255 - theirs, theirs)
    assert torch.equal(ours, theirs)
    if threshold < 256:
        assert torch.equal(ours, F.solarize(nchw(images), threshold))


def test_jitter_chain_follows_its_order():
    """All four, in the order drawn, one after the other by torchvision."""
    images = pictures()
    ours, plan = render([am.ColorJitter(0.4, 0.4, 0.4, 0.1)], images)
    orders = set()
    for i, row in enumerate(plan.table()):
        x = unit(images)[i:i + 1]
        for name, value in exact_steps(plan, i):
            x = getattr(F, f"adjust_{name}")(x, value)
        orders.add(tuple(name for name, _ in row["steps"]))
        agree(ours[i:i + 1], x)
    assert len(orders) > 1


def exact_steps(plan, i):
    start, n = am._native.WORDS["HEADER"], am._native.COLOR_WORDS
    names = {am._native.OPS[k.upper()]: k for k in ("brightness", "contrast", "saturation", "hue")}
    for at in range(start, start + 4 * n, n):
        yield names[int(plan.rows[i, at])], float(plan.rows[i, at + 1:at + 2].view(torch.float32))


def test_normalize():
    images = pictures()
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    agree(render([am.Normalize(mean, std)], images)[0], F.normalize(unit(images), list(mean), list(std)))


def test_erasing():
    images = pictures()
    ours, plan = render([am.RandomErasing(1.0, value=(0.1, 0.5, 0.9))], images)
    for i, row in enumerate(plan.table()):
        ((x0, y0, x1, y1), kind), = row["erased"]
        assert kind == "constant"
        value = torch.tensor([0.1, 0.5, 0.9]).view(3, 1, 1)
        agree(ours[i], F.erase(unit(images)[i], y0, x0, y1 - y0, x1 - x0, value))


# ---- PIL ----

@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(41, 57), (151, 171)])  # no position falls between two pixels
def test_resize_is_pils(mode, size):
    from PIL import Image

    images = pictures()
    ours, _ = render([am.Resize(size, mode, antialias=mode != "nearest")], images, dtype=torch.uint8)
    for i, image in enumerate(images):
        pil = Image.fromarray(image).resize(size[::-1], getattr(Image.Resampling, mode.upper()))
        agree(ours[i], torch.from_numpy(np.array(pil)).permute(2, 0, 1))
