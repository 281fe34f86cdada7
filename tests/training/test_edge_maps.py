"""Edge maps against scikit-image's thresholds and Canny's lines, and SciPy's gradients."""

import numpy as np
import pytest
import skimage as sk
import torch
from scipy import ndimage
from scipy.stats import norm

import anamorph as am
from anamorph.core.philox import words
from anamorph.training import edges, thresholds
from anamorph.training.corruptions import edge_map
from pictures import pictures

PHOTOS = pictures()
IDS = range(len(PHOTOS))
KINDS = ("otsu", "yen", "mean", "isodata", "li")


def gradient(picture, sigma=1.0):
    grey = picture @ [0.2989, 0.5870, 0.1140] / 255
    smooth = sk.filters.gaussian(grey, sigma) if sigma else grey
    return grey, np.hypot(ndimage.sobel(smooth, axis=0), ndimage.sobel(smooth, axis=1))


def mapped(images, *arguments, **options):
    return edge_map(torch.from_numpy(np.ascontiguousarray(images)), *arguments, layout="NHWC", **options).numpy()


def lines(images, *arguments, **options):
    """Where they are."""
    out = mapped(images, *arguments, **options)
    assert out.dtype == np.uint8 and out.shape == images.shape and {*np.unique(out)} <= {0, 255}
    assert (out == out[..., :1]).all()
    return out[..., 0] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_thresholds_are_scikit_images(kind):
    draw = np.random.default_rng(0)
    cases = [gradient(p, s)[1].ravel() for p in PHOTOS for s in (0, 1.0, 2.0)]
    cases += [draw.random(500) ** power for power in (0.5, 1, 4)] + [draw.normal(size=500), np.repeat([0.2, 0.9], 200)]
    for values in cases:
        ours = thresholds.BY_NAME[kind](torch.from_numpy(values)[None].clone()).item()
        theirs = getattr(sk.filters, f"threshold_{kind}")(values.copy())
        bin_ = (values.max() - values.min()) / 256
        # Both take the first bin of the best; in Yen's criterion scikit-image's floats of 32 bits may see two alike.
        assert ours == pytest.approx(theirs, abs=1.001 * bin_ if kind == "yen" else 1e-9 + 1e-4 * bin_), (kind, len(values))


@pytest.mark.parametrize("kind", KINDS)
def test_thresholds_of_a_batch_are_those_of_each(kind):
    values = torch.from_numpy(np.stack([gradient(p)[1].ravel() for p in PHOTOS]))
    each = torch.cat([thresholds.BY_NAME[kind](v[None]) for v in values])
    assert torch.equal(thresholds.BY_NAME[kind](values), each) and len({*each.tolist()}) == len(PHOTOS)


@pytest.mark.parametrize("kind", KINDS)
def test_of_one_value_it_is_that(kind):
    assert thresholds.BY_NAME[kind](torch.full((2, 9), 0.3, dtype=torch.float64)).tolist() == [0.3, 0.3]


@pytest.mark.parametrize("sigma", [0, 0.8, 1.0, 2.0])
def test_gradient_is_scipys(sigma):
    x = torch.from_numpy(PHOTOS).permute(0, 3, 1, 2)
    down, across = edges.gradient(edges.grey(x), [sigma], torch.zeros(len(x), dtype=torch.int64))
    theirs = np.stack([gradient(p, sigma)[1] for p in PHOTOS])
    np.testing.assert_allclose(np.hypot(down.numpy(), across.numpy()), theirs, atol=1e-12)
    assert theirs.max() > 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_thick_lines_are_what_is_above_the_threshold(kind):
    for p, ours in zip(PHOTOS, lines(PHOTOS, 1.0, kind, thin=False), strict=True):
        size = gradient(p)[1]
        theirs = size > getattr(sk.filters, f"threshold_{kind}")(size.copy())
        assert (ours == theirs).mean() > (0.99 if kind == "yen" else 0.9999) and 0.005 < ours.mean() < 0.6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_thin_lines_are_cannys(kind, sigma):
    for p, ours in zip(PHOTOS, lines(PHOTOS, sigma, kind), strict=True):
        grey, size = gradient(p, sigma)
        t = getattr(sk.filters, f"threshold_{kind}")(size.copy())
        theirs = sk.feature.canny(grey, sigma, 0.5 * t, 1.5 * t, mode="nearest")
        if not theirs.any():
            theirs = sk.feature.canny(grey, sigma, mode="nearest")
        assert (ours == theirs).mean() > (0.98 if kind == "yen" else 0.9999) and ours.any()


def test_where_nothing_is_steep_enough_the_default_thresholds_hold():
    noise = np.random.default_rng(0).integers(0, 4, (40, 40))
    weak = np.repeat((6 * np.arange(40) + noise).astype(np.uint8)[None, ..., None], 3, 3)  # nearly the same slope everywhere
    grey, size = gradient(weak[0], 1.0)
    inner = size[1:-1, 1:-1]
    assert not (inner >= 1.5 * sk.filters.threshold_mean(size)).any()
    expected = sk.feature.canny(grey, 1.0, mode="nearest")
    assert expected.any() and np.array_equal(lines(weak, 1.0, "mean")[0], expected)
    assert not edges._connected(*[torch.zeros(1, 4, 4, dtype=torch.bool)] * 2).any()


@pytest.mark.parametrize("thin", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("level", [0, 1, 100, 255])
def test_a_constant_picture_is_white(thin, kind, level):
    assert (mapped(np.full((2, 30, 20, 3), level, np.uint8), 1.0, kind, 0.5, thin=thin, index=[0, 1]) == 255).all()


def test_a_frame_is_no_edge():
    half = np.zeros((1, 40, 40, 1), np.uint8)
    half[:, :, 20:] = 200
    found = lines(half)[0]
    assert found[1:-1, 18:22].any(1).all() and not found[:, :16].any() and not found[:, 24:].any()


def test_long_lines_are_followed_to_their_end():
    """A spiral whose beginning alone is strong."""
    inside = torch.zeros(1, 61, 61, dtype=torch.bool)
    y = x = 0
    for turn, n in enumerate([60, *[m for m in range(60, 2, -2) for _ in (0, 1)]]):
        for _ in range(n):
            inside[0, y, x] = True
            y, x = y + (0, 1, 0, -1)[turn % 4], x + (1, 0, -1, 0)[turn % 4]
    seeds = torch.zeros_like(inside)
    seeds[0, 0, 0] = True
    assert inside.sum() > 1000 and torch.equal(edges._connected(seeds, inside), inside)
    inside[0, 0, 30] = False
    assert edges._connected(seeds, inside).sum() == 30


DRAWN = {"sigma": (0.5, 1.0, 3.0), "threshold": KINDS, "noise": 0.04, "spread": 0.2}


def test_what_is_drawn_is_a_function_of_seed_and_id():
    ids = [3, 2**35, 9, 4]
    whole = mapped(PHOTOS, **DRAWN, index=ids)
    for i in range(4):
        assert np.array_equal(mapped(PHOTOS[i:i + 1], **DRAWN, index=ids[i:i + 1])[0], whole[i])
    planes = edge_map(torch.from_numpy(PHOTOS).permute(0, 3, 1, 2), **DRAWN, index=ids, layout="NCHW")
    assert np.array_equal(planes.permute(0, 2, 3, 1).numpy(), whole)
    assert not np.array_equal(mapped(PHOTOS, **DRAWN, index=ids, seed=1), whole)


def test_each_picture_draws_one_of_the_sigmas_and_thresholds():
    one = PHOTOS[:1, :48, :48]
    each = [lines(one, s, k, thin=False)[0] for s in (1.0, 2.0) for k in ("otsu", "mean", "li")]
    many = lines(np.repeat(one, 600, 0), (1.0, 2.0), ("otsu", "mean", "li"), thin=False, index=range(600))
    which = [[np.array_equal(m, e) for e in each] for m in many]
    assert all(sum(w) == 1 for w in which)
    counts = np.sum(which, 0)
    assert counts.min() > 65 and counts.max() < 140  # 100 expected, deviation 9


@pytest.mark.parametrize("noise", [0.04, 1.0])
def test_noise_moves_the_threshold(noise):
    """By as much as is said: the threshold is found again from how much of the picture is above it."""
    size = np.sort(gradient(PHOTOS[0])[1].ravel())
    exact = sk.filters.threshold_otsu(size)
    found = lines(np.repeat(PHOTOS[:1], 400, 0), 1.0, "otsu", noise, thin=False, index=range(400))
    moved = np.array([size[-n - 1] - exact for n in found.sum((1, 2))])
    assert (moved + exact < size[-1]).all()
    if noise < exact / 4:
        assert moved.mean() == pytest.approx(0, abs=noise / 5) and moved.std() == pytest.approx(noise, rel=0.15)
    else:  # out of the range, and back
        out = norm.cdf(size[0], exact, noise) + norm.sf(size[-1], exact, noise)
        assert out > 0.2 and (np.abs(moved) < 0.01).mean() == pytest.approx(out, abs=0.1)


def test_spread_moves_the_two_thresholds_of_canny():
    ids = np.arange(20, dtype=np.int64)
    u = words(torch.from_numpy(ids), 4, 5, edges.STREAM)[:, 3].numpy()
    grey, size = gradient(PHOTOS[2])
    t = sk.filters.threshold_otsu(size)
    found = lines(np.repeat(PHOTOS[2:3], 20, 0), spread=0.5, index=ids, seed=5)
    for e, ours in zip(norm.ppf((u + 0.5) / 2**32, scale=0.5), found, strict=True):
        low, high = sorted((max(0.1, 0.5 - e), min(2, 1.5 + e)))
        assert (ours == sk.feature.canny(grey, 1.0, low * t, high * t, mode="nearest")).mean() > 0.9999
    assert len({int(o.sum()) for o in found}) > 8


IMAGES = torch.zeros(2, 8, 8, 3, dtype=torch.uint8)
BAD = {
    "a list": (lambda: edge_map([*IMAGES]), am.ArgumentError, "one tensor .*, given a list of 2; torch.stack"),
    "floats": (lambda: edge_map(IMAGES.float()), am.DtypeError, "uint8"),
    "one picture": (lambda: edge_map(IMAGES[0]), am.ShapeError, r"\[B, H, W, C\]"),
    "four channels": (lambda: edge_map(torch.zeros(2, 8, 8, 4, dtype=torch.uint8)), am.ShapeError, "1 or 3 channels, given 4"),
    "sigma -1": (lambda: edge_map(IMAGES, -1), am.ArgumentError, "sigma: .* from 0 to 20, given -1"),
    "sigma nan": (lambda: edge_map(IMAGES, float("nan")), am.ArgumentError, "sigma"),
    "no sigma": (lambda: edge_map(IMAGES, []), am.ArgumentError, "1 to 16 of them"),
    "threshold": (lambda: edge_map(IMAGES, threshold="canny"), am.ArgumentError, "'otsu', 'yen', 'mean', 'isodata', 'li'"),
    "a wrong one of two": (lambda: edge_map(IMAGES, threshold=["li", 3], index=[0, 1]), am.ArgumentError, "given 3"),
    "negative noise": (lambda: edge_map(IMAGES, noise=-0.1, index=[0, 1]), am.ArgumentError, "noise"),
    "spread 2": (lambda: edge_map(IMAGES, spread=2, index=[0, 1]), am.ArgumentError, "spread"),
    "thin": (lambda: edge_map(IMAGES, thin="yes"), am.ArgumentError, "thin: expected True or False"),
    "hysteresis": (lambda: edge_map(IMAGES, hysteresis=(1.5, 0.5)), am.ArgumentError, "low <= high"),
    "hysteresis of one": (lambda: edge_map(IMAGES, hysteresis=1.0), am.ArgumentError, "hysteresis"),
    "noise without ids": (lambda: edge_map(IMAGES, noise=0.1), am.ArgumentError, "index: expected the sample ids"),
    "two sigmas without ids": (lambda: edge_map(IMAGES, (1, 2)), am.ArgumentError, "index"),
    "three ids": (lambda: edge_map(IMAGES, index=[1, 2, 3]), am.ShapeError, "2 sample ids"),
    "seed": (lambda: edge_map(IMAGES, seed=-1), am.ArgumentError, "seed"),
    "layout": (lambda: edge_map(IMAGES, layout="CHW"), am.ArgumentError, "'NHWC'"),
}


@pytest.mark.parametrize("case", BAD)
def test_named_errors(case):
    call, error, text = BAD[case]
    with pytest.raises(error, match=text):
        call()
