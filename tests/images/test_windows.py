"""The taps of every window size, layout and edge on a CPU, where rows of dense bytes take a way of their own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

import anamorph as am
from devices import DEVICES
from emulation import route
from reference.render import loose
from reference.render import render as reference


def noise(n, h, w, channels):
    return np.random.default_rng(h * w + channels).integers(0, 256, (n, h, w, channels), dtype=np.uint8)


def layouts(images):
    """The same pictures: pixel by pixel, plane by plane, as every other pixel of a wider buffer, from float planes."""
    t = torch.from_numpy(images)
    wide = torch.zeros(*t.shape[:2], 2 * t.shape[2], t.shape[3], dtype=torch.uint8)
    wide[:, :, ::2] = t
    yield "NHWC", t
    yield "NCHW", t.permute(0, 3, 1, 2).contiguous()
    yield "NHWC", wide[:, :, ::2]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("shrink", [0.7, 1.0, 1.2, 1.7, 2.3, 3.4])
def test_window_sizes(simd, shrink, interpolation, channels):
    """Supports from 2 to 14 taps: those that rows stage and those beyond, which are read from a grid."""
    images = noise(2, 37, 41, channels)
    recipe = am.Recipe([am.Resize((round(37 / shrink), round(41 / shrink)), interpolation),
                        am.RandomAffine(10, scale=(0.9, 1.1), interpolation=interpolation)])
    plan = recipe.plan(range(2), size=(37, 41))
    expected, _ = reference(recipe, images, plan)
    within = 0.06 if loose(recipe, plan).any() else 2e-4
    for layout, same in layouts(images):
        np.testing.assert_allclose(am.render(same, plan, layout=layout), expected, atol=within)


def photographs(h, w):
    return np.stack([p[:h, :w] for p in (data.astronaut(), data.chelsea(), data.coffee(), data.rocket())])


def black_and_white(h, w):
    return np.random.default_rng(3).integers(0, 2, (4, h, w, 3), dtype=np.uint8) * 255


@pytest.mark.cpu
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(("pictures", "mean", "worst"), [(photographs, 0.5, 8), (black_and_white, 2.5, 24)])
@pytest.mark.parametrize(("interpolation", "shrink"), [("bilinear", 3.2), ("bilinear", 8), ("bicubic", 1.8), ("bicubic", 4)])
def test_the_error_of_a_grid(simd, interpolation, shrink, pictures, mean, worst, dtype):
    """As docs/architecture.md states it, in levels: of photographs, and of what is hardest, pixels black or white by chance."""
    images = pictures(200, 300)
    images = images if dtype == np.uint8 else images.astype(np.float32) / 255
    recipe = am.Recipe([am.Resize((round(200 / shrink), round(300 / shrink)), interpolation),
                        am.RandomAffine((20, 20), scale=(0.9, 0.9), interpolation=interpolation)])
    plan = recipe.plan(range(4), size=(200, 300))
    expected, _ = reference(recipe, images, plan)
    off = np.abs(am.render(images, plan, layout="NHWC").numpy() - expected) * 255
    assert off.mean() <= mean and off.max() <= worst
    assert dtype != np.uint8 or off.max() > 0.1  # it is a grid that is measured; of floats only where it pays


@pytest.mark.cpu
@pytest.mark.parametrize("pictures", [photographs, black_and_white])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "area"])
def test_the_error_of_a_grid_in_a_square_view(simd, interpolation, pictures):
    """What is shrunk and shown enlarged, within what is stated for photographs."""
    images = pictures(200, 300)
    recipe = am.Recipe([am.Resize((14, 21), interpolation), am.Resize((200, 300), interpolation)])
    plan = recipe.plan(range(4), size=(200, 300))
    expected, _ = reference(recipe, images, plan)
    off = np.abs(am.render(images, plan, layout="NHWC").numpy() - expected) * 255
    assert off.mean() <= (0.5 if pictures is photographs else 2.5) and off.max() <= 8


@pytest.mark.parametrize(("pictures", "mean", "worst"), [(photographs, 0.5, 8), (black_and_white, 2.5, 24)])
@pytest.mark.parametrize("small", [(12, 16), (30, 40), (18, 94)])
@pytest.mark.parametrize("turned", [True, False])
def test_the_error_of_a_grid_of_areas(simd, turned, small, pictures, mean, worst):
    """The same of a box's sharp edges, in square views too, which are read from a grid on a GPU."""
    images = pictures(96, 128)[:2]
    turn = [am.RandomRotation((20, 20), "bilinear")] if turned else []
    recipe = am.Recipe([am.Resize(small, "area"), *turn, am.Resize((200, 260), "area")])
    plan = recipe.plan(range(2), size=(96, 128))
    expected, _ = reference(recipe, images, plan)
    off = np.abs(am.render(images, plan, layout="NHWC").numpy() - expected) * 255
    assert off.mean() <= mean and off.max() <= worst


SQUARE = {
    "shrunk": [am.Resize((23, 50))],
    "shrunk, bicubic": [am.Resize((11, 9), "bicubic")],
    "grown, bicubic": [am.Resize((60, 70), "bicubic", antialias=False)],
    "crop, flip": [am.RandomResizedCrop((18, 31), (0.3, 1.0)), am.RandomHorizontalFlip()],
    "flip": [am.RandomVerticalFlip(1.0)],
    "framed": [am.RandomCrop((50, 48), 7, fill=1), am.Resize((29, 21))],
    "mirrored": [am.RandomCrop(50, 9, padding_mode="reflect"), am.Resize(21)],
}


@pytest.mark.parametrize("name", SQUARE)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_square_views(simd, channels, dtype, name):
    """No rotation and no shear: each axis is summed by itself, from any dtype."""
    images = noise(3, 37, 41, channels)
    recipe = am.Recipe([*SQUARE[name], am.RandomHorizontalFlip()])
    plan = recipe.plan(range(3), size=(37, 41))
    if dtype != torch.uint8:
        images = (torch.from_numpy(images) / 255).to(dtype)
    expected, _ = reference(recipe, images if dtype == torch.uint8 else images.double().numpy(), plan)
    images = torch.as_tensor(images)
    for layout, same in (("NHWC", images), ("NCHW", images.permute(0, 3, 1, 2).contiguous())):
        np.testing.assert_allclose(am.render(same, plan, layout=layout), expected, atol=5e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (3, 5), (5, 3)])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_pictures_smaller_than_a_window(simd, interpolation, size):
    images = noise(3, *size, 3)
    for antialias in (False, True):
        recipe = am.Recipe([am.Resize((4, 7), interpolation, antialias=antialias and interpolation != "nearest")])
        plan = recipe.plan(range(3), size=size)
        expected, _ = reference(recipe, images, plan)
        for layout, same in layouts(images):
            np.testing.assert_allclose(am.render(same, plan, layout=layout), expected, atol=2e-5)


@pytest.mark.parametrize("level", ["base", "avx2", "avx512", "emulated"])
@pytest.mark.parametrize("program", ["guarded_pages.py", "garbled_rows.py"])
def test_nothing_is_read_outside_the_picture(program, level):
    """Pictures between two pages that must not be touched, and rows of nonsense: a process that reads elsewhere dies."""
    command = [Path(__file__).with_name(program)]
    if level == "emulated":
        if not route.FOUND:
            pytest.skip("the emulation is not built; make test builds it")
        command = [route.__file__, *command, "10"]  # tries: nonsense often means windows as large as the picture
    simd = {} if level == "emulated" else {"ANAMORPH_SIMD": level}
    subprocess.run([sys.executable, *command], env={**os.environ, **simd}, check=True)


@pytest.mark.parametrize("offset", [0, 1, 16])
def test_large_batches(simd, offset):
    """A batch past the caches' size is stored another way, where the memory is aligned for it."""
    images = torch.from_numpy(noise(1, 64, 64, 3)).expand(12, -1, -1, -1)
    recipe = am.Recipe([am.RandomResizedCrop((200, 184)), am.ColorJitter(0.4, 0.4, 0.4, 0.1), am.RandomErasing(0.5),
                        am.Normalize(0.4, 0.2)])
    plan = recipe.plan(range(12), size=(64, 64))
    room = torch.full((12 * 3 * 200 * 184 + 64,), float("nan"))
    out = room[offset:offset + 12 * 3 * 200 * 184].view(12, 3, 200, 184)
    am.render(images, plan, out=out)
    for i in range(12):
        alone = am.render(images[i:i + 1], recipe.plan([i], size=(64, 64)))
        torch.testing.assert_close(out[i:i + 1], alone, atol=1e-6, rtol=0)
    assert room[:offset].isnan().all() and room[offset + out.numel():].isnan().all()


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_rows_that_overlap(simd, interpolation, channels, offset):
    """A window that slides over a buffer: nothing beyond its ends is read, and its copy gives the same views."""
    buffer = torch.from_numpy(noise(1, 1, offset + 19 + 20 * channels, 1).reshape(-1))[offset:]
    windows = torch.as_strided(buffer, (1, 20, 20, channels), (len(buffer), 1, channels, 1))
    recipe = am.Recipe([am.Resize((40, 40), interpolation, antialias=False)])
    plan = recipe.plan([0], size=(20, 20))
    assert torch.equal(am.render(windows, plan, layout="NHWC"), am.render(windows.contiguous(), plan, layout="NHWC"))


@pytest.mark.parametrize("device", DEVICES)
def test_a_tie_with_a_frame_is_fill(device):
    """A column's positions lie on its frame's end, where nearest is fill: products are rounded one by one on a GPU too."""
    half = am.Warp([[1, 0, -0.5], [0, 1, -0.5]], interpolation="nearest")
    recipe = am.Recipe([am.Resize((23, 23), "nearest", antialias=False), am.CenterCrop((13, 13)), half, am.CenterCrop((13, 13))])
    images = torch.full((1, 20, 20, 3), 255, dtype=torch.uint8, device=device)
    views = am.render(images, recipe.plan([0], size=(20, 20), device=device))
    assert not views[..., 12].any() and views[..., 2:12, 2:12].all()
