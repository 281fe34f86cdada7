"""The table of docs/architecture.md, "Where the libraries themselves disagree", cell by cell."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import anamorph as am
from differential.steps import MODES, RESIZE_MODES, F
from pictures import pictures

WEIGHTS = np.array([0.2989, 0.587, 0.114])
FACTORS = (0.0, 0.3, 0.7, 0.97, 1.3, 1.8, 3.0)


def noise(h: int = 60, w: int = 70, levels: int = 256) -> np.ndarray:
    return (np.random.default_rng(1).integers(0, levels, (h, w, 3)) * (255 // (levels - 1))).astype(np.uint8)


PICTURES = [noise(), pictures()[1]]


def ours(transform, picture: np.ndarray, dtype: torch.dtype = torch.uint8) -> np.ndarray:
    recipe = am.Recipe([transform], dtype=dtype)
    views = am.render(picture[None], recipe.plan([0], size=picture.shape[:2]), layout="NHWC")
    return views[0].permute(1, 2, 0).double().numpy()


def torchvisions(call, picture: np.ndarray) -> np.ndarray:
    return call(torch.from_numpy(picture).permute(2, 0, 1).contiguous()).permute(1, 2, 0).double().numpy()


def pils(call, picture: np.ndarray) -> np.ndarray:
    return np.array(call(Image.fromarray(picture))).astype(float)


def jitter(name: str, value: float) -> am.ColorJitter:
    return am.ColorJitter(**{name: (value, value)})


def down(x: np.ndarray) -> np.ndarray:
    return np.floor(np.clip(x, 0, 255) + 1e-9)


def rounded_down(theirs: np.ndarray, exact: np.ndarray, factor: float = 1.3) -> bool:
    """Their float32 may fall just short of a whole number. (A whole factor does not tell rounding down from rounding.)"""
    low, high = (np.floor(np.clip(exact + e, 0, 255)) for e in (-1e-3, 1e-3))
    seen = factor in (0, 3) or (theirs < np.clip(exact, 0, 255) - 0.6).any()
    return bool(((theirs >= low) & (theirs <= high)).all() and seen)


def near(x: np.ndarray, exact: np.ndarray, slack: float = 1e-3) -> bool:
    """Is it the exact value, rounded?"""
    return bool((np.abs(x - np.clip(exact, 0, 255)) <= 0.5 + slack).all())


@pytest.mark.parametrize("factor", FACTORS)
def test_brightness_of_bytes(factor):
    for picture in PICTURES:
        exact = picture * factor
        assert near(ours(jitter("brightness", factor), picture), exact)
        for theirs in (torchvisions(lambda x: F.adjust_brightness(x, factor), picture),
                       pils(lambda x: F.adjust_brightness(x, factor), picture)):
            assert rounded_down(theirs, exact, factor)


@pytest.mark.parametrize("factor", FACTORS)
def test_contrast_of_bytes(factor):
    for picture in PICTURES:
        grey = picture @ WEIGHTS
        assert near(ours(jitter("contrast", factor), picture), factor * picture + (1 - factor) * grey.mean())
        theirs = torchvisions(lambda x: F.adjust_contrast(x, factor), picture)
        assert rounded_down(theirs, factor * picture + (1 - factor) * down(grey).mean(), factor)
        theirs = pils(lambda x: F.adjust_contrast(x, factor), picture)
        mean = np.floor(pils(lambda x: x.convert("L"), picture).mean() + 0.5)
        assert rounded_down(theirs, factor * picture + (1 - factor) * mean, factor)


@pytest.mark.parametrize("factor", FACTORS)
def test_saturation_of_bytes(factor):
    for picture in PICTURES:
        grey = (picture @ WEIGHTS)[..., None]
        assert near(ours(jitter("saturation", factor), picture), factor * picture + (1 - factor) * grey)
        theirs = torchvisions(lambda x: F.adjust_saturation(x, factor), picture)
        assert rounded_down(theirs, factor * picture + (1 - factor) * down(grey), factor)
        theirs = pils(lambda x: F.adjust_saturation(x, factor), picture)
        grey = pils(lambda x: x.convert("L"), picture)[..., None]
        assert rounded_down(theirs, factor * picture + (1 - factor) * grey, factor)


def test_greyscale_of_bytes():
    for picture in PICTURES:
        grey = np.repeat((picture @ WEIGHTS)[..., None], 3, -1)
        assert near(ours(am.RandomGrayscale(1.0), picture), grey)
        assert rounded_down(torchvisions(lambda x: F.rgb_to_grayscale(x, 3), picture), grey)
        theirs = pils(lambda x: F.rgb_to_grayscale(x, 3), picture)
        grey = np.repeat((picture @ np.array([0.299, 0.587, 0.114]))[..., None], 3, -1)
        assert np.abs(theirs - grey).max() <= 0.5 + 1e-2


def test_hue_of_bytes():
    worst = {"torchvision": 0.0, "pil": 0.0}
    for picture, turn in itertools.product(PICTURES, (-0.4, -0.1, 0.05, 0.3)):
        exact = F.adjust_hue(torch.from_numpy(picture).permute(2, 0, 1).double() / 255, turn).permute(1, 2, 0).numpy() * 255
        assert near(ours(jitter("hue", turn), picture), exact)
        for name, theirs in (("torchvision", torchvisions(lambda x, t=turn: F.adjust_hue(x, t), picture)),
                             ("pil", pils(lambda x, t=turn: F.adjust_hue(x, t), picture))):
            worst[name] = max(worst[name], np.abs(theirs - exact).max())
    assert worst["torchvision"] < 1
    assert 8 < worst["pil"] < 20  # bytes of HSV


@pytest.mark.parametrize("bits", range(1, 9))
def test_posterize(bits):
    """Of bytes it masks bits, of floats it takes the level below: each as torchvision."""
    for picture in PICTURES:
        view = ours(am.RandomPosterize(bits, 1.0), picture)
        assert np.array_equal(view, torchvisions(lambda x: F.posterize(x, bits), picture))
        assert np.array_equal(view, pils(lambda x: ImageOps.posterize(x, bits), picture))
        floats = (picture / 255).astype(np.float32)
        assert np.array_equal(ours(am.RandomPosterize(bits, 1.0), floats, torch.float32),
                              torchvisions(lambda x: F.posterize(x, bits), floats))


def test_solarize():
    for picture, threshold in itertools.product(PICTURES, (0, 1, 100, 255, 256)):
        view = ours(am.RandomSolarize(threshold, 1.0), picture)
        assert np.array_equal(view, pils(lambda x, t=threshold: ImageOps.solarize(x, t), picture))
        if threshold < 256:
            assert np.array_equal(view, torchvisions(lambda x, t=threshold: F.solarize(x, t), picture))
    with pytest.raises(TypeError):
        F.solarize(torch.zeros(3, 2, 2, dtype=torch.uint8), 256)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("size", [(150, 170), (97, 131), (40, 56), (17, 23)])
def test_bicubic_resize_of_bytes(size, antialias):
    """Once in the two axes, clamped at the end. torchvision and PIL have bytes between the axes."""
    for picture, least, most in ((noise(levels=2), 9, 50), *((p, 0, 4) for p in pictures())):
        view = ours(am.Resize(size, "bicubic", antialias=antialias), picture)
        exact = F.resize(torch.from_numpy(picture).permute(2, 0, 1).double(), list(size), MODES["bicubic"], antialias=antialias)
        assert near(view, exact.permute(1, 2, 0).numpy(), 1e-2)
        theirs = torchvisions(lambda x: F.resize(x, list(size), MODES["bicubic"], antialias=antialias), picture)
        assert least <= np.abs(view - theirs).max() <= most
        if antialias:
            assert np.abs(theirs - pils(lambda x: F.resize(x, list(size), MODES["bicubic"]), picture)).max() <= 2


def test_lanczos_resize_of_bytes():
    """Once in the two axes; PIL has bytes between them. The docs' numbers, over six sizes."""
    sizes = [(24, 32), (31, 50), (7, 40), (50, 66), (3, 2), (90, 120)]
    for most, some in ((4, pictures()), (31, [noise()]), (56, [noise(levels=2)])):
        off = [np.abs(ours(am.Resize(size, "lanczos"), p) - pils(lambda x, s=size: x.resize(s[::-1], Image.LANCZOS), p))
               for p in some for size in sizes]
        assert max(o.max() for o in off) == most


@pytest.mark.parametrize("size", [(150, 170), (40, 56), (17, 23)])
def test_bilinear_resize_of_bytes(size):
    """Within one, whatever is between the axes."""
    for picture in PICTURES:
        view = ours(am.Resize(size), picture)
        assert np.abs(view - torchvisions(lambda x: F.resize(x, list(size), antialias=True), picture)).max() <= 1
        assert np.abs(view - pils(lambda x: F.resize(x, list(size)), picture)).max() <= 1


def test_nearest_resize():
    """NEAREST_EXACT's pixel always; PIL's too, except that PIL adds up its positions and so goes either way in exact ties."""
    ties = others = 0
    for n, size in itertools.product(range(1, 24), range(1, 40)):
        row = np.arange(n, dtype=np.uint8)[None, :, None].repeat(3, 2)
        view = ours(am.Resize((1, size), "nearest", antialias=False), row)
        assert np.array_equal(view, torchvisions(lambda x, s=size: F.resize(x, [1, s], RESIZE_MODES["nearest"]), row))
        tie = (2 * np.arange(size) + 1) * n % (2 * size) == 0
        differs = (view != pils(lambda x, s=size: x.resize((s, 1), Image.Resampling.NEAREST), row))[0, :, 0]
        assert not differs[~tie].any()
        ties += tie.sum()
        others += differs.sum()
    assert 0.2 < others / ties < 0.6
    assert F.resize(torch.arange(4)[None, None], [1, 2], MODES["nearest"]).flatten().tolist() == [0, 2]  # floor(i * scale)
    assert F.resize(torch.arange(4)[None, None], [1, 2], RESIZE_MODES["nearest"]).flatten().tolist() == [1, 3]
    assert ours(am.Resize((1, 2), "nearest"), np.arange(4, dtype=np.uint8)[None, :, None])[0, :, 0].tolist() == [1, 3]


def test_bicubic_warp():
    """PIL's is the cubic with a = -1, ours that of torch's grid_sample, a = -0.75; torchvision has none for tensors."""
    step = np.zeros((9, 9, 3), np.uint8)
    step[:, 5:] = 200
    view = ours(am.RandomAffine(0, None, (1.25, 1.25), None, "bicubic"), step)
    with pytest.raises(ValueError, match="unsupported"):
        torchvisions(lambda x: F.affine(x, 0, [0, 0], 1.25, [0, 0], MODES["bicubic"]), step)
    theirs = pils(lambda x: F.affine(x, 0, [0, 0], 1.25, [0, 0], MODES["bicubic"]), step)
    for values, a in ((view, -0.75), (theirs, -1.0)):
        x = 4.5 + (np.arange(9) + 0.5 - 4.5) / 1.25
        d = np.abs(np.arange(9) + 0.5 - x[:, None])
        weights = np.where(d < 1, (a + 2) * d**3 - (a + 3) * d**2 + 1, np.where(d < 2, a * (d**3 - 5 * d**2 + 8 * d - 4), 0))
        exact = np.clip(weights @ step[4, :, 0], 0, 255)
        assert (np.abs(values[4, 2:-2, 0] - exact[2:-2]) <= 1).all(), a


def test_fringe_of_a_warp():
    """A white picture on a black ground, pushed aside by a quarter of a pixel: the column of the border is covered by 3/4."""
    white = np.full((8, 8, 3), 255, np.uint8)
    size = 8.0 / 8.5  # scaling about the left border moves the right one by 8 * size
    view = ours(am.RandomAffine(0, None, (size, size), None, "bilinear", 0, (0, 4)), white)[4, :, 0]
    black, mode = [0.0] * 3, MODES["bilinear"]
    theirs = torchvisions(lambda x: F.affine(x, 0, [0, 0], size, [0, 0], mode, black, [0, 4]), white)[4, :, 0]
    pil = pils(lambda x: F.affine(x, 0, [0, 0], size, [0, 0], mode, [0] * 3, [0, 4]), white)[4, :, 0]
    cover = np.clip(8 - 7.5 / size + 0.5, 0, 1)
    assert 0.1 < cover < 0.9
    assert abs(view[7] - 255 * cover) <= 1
    assert abs(theirs[7] - 255 * cover**2) <= 1
    assert pil[7] in (0, 255)
