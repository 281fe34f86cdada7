"""A CPU's shortest ways, for every width, dtype, layout and instruction set: pixels that are only moved, outputs stored past the
caches, erasures' noise. What is right comes from torch and torchvision."""

from __future__ import annotations

import math

import pytest
import torch

import anamorph as am
import gpu_route
from anamorph.bench._torchvision import v2 as load_torchvision

try:
    F = load_torchvision().functional
except ImportError:
    pytest.skip("torchvision is not installed", allow_module_level=True)

DTYPES = [torch.uint8, torch.float32, torch.float16, torch.bfloat16]
WIDTHS = [1, 3, 15, 16, 17, 31, 40, 64, 83]


def batch(n, channels, h, w, dtype):
    images = torch.randint(0, 256, (n, channels, h, w), generator=torch.manual_seed(w), dtype=torch.uint8)
    return images if dtype == torch.uint8 else (images / 255).to(dtype)


def both_layouts(images, transforms, dtype):
    """The views of planar and of packed pictures, which must be the same; of a GPU's two programs but for the last bits."""
    recipe = am.Recipe(transforms, dtype=dtype)
    n, _, h, w = images.shape
    plan = recipe.plan(range(n), size=(h, w))
    views = am.render(images, plan, layout="NCHW")
    packed = am.render(images.permute(0, 2, 3, 1).contiguous(), plan, layout="NHWC")
    torch.testing.assert_close(packed, views, atol=1e-6 if gpu_route.entered() else 0, rtol=0)
    return views


def moved(views, expected):
    """The same pixels, but for the last bit of float32: a GPU finds them between two taps of which one weighs nothing."""
    torch.testing.assert_close(views, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_flips(simd, dtype, channels):
    for w in WIDTHS:
        images = batch(2, channels, 9, w, dtype)
        moved(both_layouts(images, [am.RandomHorizontalFlip(1.0)], dtype), images.flip(3))
        moved(both_layouts(images, [am.RandomVerticalFlip(1.0)], dtype), images.flip(2))
        moved(both_layouts(images, [am.Resize((9, w)), am.RandomHorizontalFlip(0.0)], dtype), images)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
def test_paddings(simd, dtype, mode):
    """A crop as large as what is padded has one place to lie."""
    for w in WIDTHS[2:]:
        images = batch(2, 3, 12, w, dtype)
        crop = am.RandomCrop((12 + 10, w + 10), 5, padding_mode=mode, fill=0)
        padded = F.pad(images, [5], fill=0, padding_mode=mode)
        moved(both_layouts(images, [crop], dtype), padded)
        moved(both_layouts(images, [crop, am.RandomHorizontalFlip(1.0)], dtype), padded.flip(3))


@pytest.mark.parametrize("size", [(8, 20), (11, 90), (40, 33), (12, 83)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_center_crop_after_a_resize_to_the_same_size(simd, interpolation, size):
    images = batch(2, 3, 12, 83, torch.uint8)
    views = both_layouts(images, [am.Resize((12, 83), interpolation), am.CenterCrop(size)], torch.uint8)
    assert torch.equal(views, F.center_crop(images, list(size)))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(30, 50), (64, 37), (130, 141)])
def test_planar_pictures_are_resized_as_packed_ones(simd, interpolation, size):
    images = batch(2, 3, 60, 67, torch.uint8)
    views = both_layouts(images, [am.Resize(size, interpolation)], torch.float32)
    expected = F.resize(images / 255, list(size), F.InterpolationMode(interpolation), antialias=True)
    torch.testing.assert_close(views, expected.clamp(0, 1), atol=2e-5, rtol=0)


@pytest.mark.cpu
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(70, 83), (64, 64)])
def test_large_outputs_of_every_dtype(simd, size, dtype, memory_format):
    """Past the caches' size, with rows that begin on a pack's edge and rows that do not."""
    images = batch(1, 3, *size, torch.uint8).expand(360, -1, -1, -1)
    steps = [] if dtype == torch.uint8 else [am.Normalize((0.4, 0.5, 0.6), 0.25)]
    recipe = am.Recipe(steps, dtype=dtype, memory_format=memory_format)
    views = am.render(images, recipe.plan(range(360), size=size), layout="NCHW")
    expected = images[0]
    if steps:
        expected = F.normalize(images[0].double() / 255, [0.4, 0.5, 0.6], [0.25] * 3)
    step = {torch.uint8: 0.0, torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}[dtype]
    off = (views.double() - expected.double()).abs() - step * expected.double().abs().clamp(min=1)
    assert off.max() <= 0


def noise(n, side):
    """Erasures' normal numbers: n times a square of them, [n, 3, side, side]."""
    recipe = am.Recipe([am.RandomErasing(1.0, (0.6, 0.6), (1.0, 1.0), value="random")])
    plan = recipe.plan(range(n), size=(side * 2, side * 2), seed=5)
    views = am.render(torch.zeros(n, side * 2, side * 2, 3, dtype=torch.uint8), plan)
    at = am._native.WORDS["HEADER"]
    return torch.stack([v[:, y:y + side, x:x + side] for v, (x, y) in zip(views, plan.rows[:, at:at + 2].tolist(), strict=True)])


def test_noise_is_normal(simd):
    z = noise(4, 96).double()
    n, flat = z.numel(), z.flatten()
    for power, right, spread in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((flat**power).mean() - right) < 5 * math.sqrt(spread / n)
    ranks = torch.arange(1, n + 1) / n
    gap = (torch.special.ndtr(flat.sort().values) - ranks).abs().max()
    assert gap < 2.0 / math.sqrt(n)  # Kolmogorov and Smirnov: once in 1,500 such samples
    for far in (2.0, 3.0, 4.0):
        share = 2 * torch.special.ndtr(torch.tensor(-far, dtype=torch.float64)).item()
        assert abs((flat.abs() > far).double().mean() - share) < 5 * math.sqrt(share / n)


def test_noise_has_no_neighbours(simd):
    """Pixels side by side or one below the other, channels and samples have nothing to do with one another; nor their sizes."""
    z = noise(4, 96).double()
    for v in (z, z.abs() - math.sqrt(2 / math.pi)):
        power = (v * v).mean()
        for axis in range(4):
            for lag in range(1, min(18, v.shape[axis])):
                length = v.shape[axis] - lag
                product = v.narrow(axis, 0, length) * v.narrow(axis, lag, length)
                assert abs(product.mean() / power) < 5.5 / math.sqrt(product.numel())


def test_noise_stays_with_its_place():
    """The numbers depend on the erasure and the place in the view, not on the batch, and are others in the next epoch."""
    recipe = am.Recipe([am.RandomErasing(1.0, value="random")])
    images = torch.zeros(3, 40, 50, 3, dtype=torch.uint8)
    views = am.render(images, recipe.plan([7, 8, 9], size=(40, 50)))
    assert torch.equal(am.render(images[:1], recipe.plan([8], size=(40, 50))), views[1:2])
    assert not torch.equal(am.render(images[:1], recipe.plan([8], size=(40, 50), epoch=1)), views[1:2])
