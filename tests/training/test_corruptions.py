"""ImageNet-C's corruptions against what NumPy, scikit-image, OpenCV and Pillow make of the published definitions, and against the
moments that these have on paper."""

import functools
import io
import itertools
import math

import cv2
import numpy as np
import pytest
import skimage as sk
import torch
from PIL import Image
from scipy import stats

import anamorph as am
from anamorph import corruptions
from anamorph.training import pixels
from pictures import pictures

NOISE = ("gaussian_noise", "shot_noise", "impulse_noise")
PHOTOS = pictures()
NAMES = (*corruptions.CONSTANTS,)
KINDS = ("imagenet", "cifar")
SEVERITIES = range(1, 6)
each_constant = pytest.mark.parametrize(("kind", "severity"), [(k, s) for k in KINDS for s in SEVERITIES])


def corrupt(name, images, severity, kind="imagenet", **options):
    options = {"index": range(len(images)), "layout": "NHWC", **options}
    return corruptions.suite(kind)[name](torch.from_numpy(np.ascontiguousarray(images)), severity, **options).numpy()


def constant(name, kind, severity):
    return corruptions.CONSTANTS[name][kind][severity - 1]


def truncated(x):
    return np.uint8(np.clip(x, 0, 1) * 255)


def alike(ours, theirs, share=1.0):
    """At most a level apart, and ``share`` of the bytes the same."""
    off = np.abs(ours.astype(int) - theirs.astype(int))
    assert ours.shape == theirs.shape and off.max() <= 1, off.max()
    assert (off == 0).mean() >= share, (off == 0).mean()


# ---- the published constants, written down here a second time ----


def test_constants():
    table = {
        "gaussian_noise": ([.08, .12, .18, .26, .38], [.04, .06, .08, .09, .10]),
        "shot_noise": ([60, 25, 12, 5, 3], [500, 250, 100, 75, 50]),
        "impulse_noise": ([.03, .06, .09, .17, .27], [.01, .02, .03, .05, .07]),
        "gaussian_blur": ([1, 2, 3, 4, 6], [.4, .6, .7, .8, 1]),
        "defocus_blur": ([(3, .1), (4, .5), (6, .5), (8, .5), (10, .5)], [(.3, .4), (.4, .5), (.5, .6), (1, .2), (1.5, .1)]),
        "brightness": ([.1, .2, .3, .4, .5], [.05, .1, .15, .2, .3]),
        "contrast": ([.4, .3, .2, .1, .05], [.75, .5, .4, .3, .15]),
        "saturate": ([(.3, 0), (.1, 0), (2, 0), (5, .1), (20, .2)], [(.3, 0), (.1, 0), (1.5, 0), (2, .1), (2.5, .2)]),
        "pixelate": ([.6, .5, .4, .3, .25], [.95, .9, .85, .75, .65]),
        "jpeg_compression": ([25, 18, 15, 10, 7], [80, 65, 58, 50, 40]),
    }
    assert {n: tuple(list(c[k]) for k in KINDS) for n, c in corruptions.CONSTANTS.items()} == table
    assert [*corruptions.suite()] == [*NAMES]


# ---- noise ----


def flat(level, side=300):
    return np.full((1, side, side, 3), level, np.uint8)


def moments(name, severity, levels=(127, 128)):
    """Mean and deviation of a grey of 0.5, in levels."""
    of = [corrupt(name, flat(v), severity, index=[7]).astype(float) for v in levels]
    return np.mean(of), math.sqrt(np.mean([o.var() for o in of]))


@pytest.mark.parametrize(("severity", "std"), [(1, 20.4), (5, 80.8)])
def test_gaussian_noise_of_grey(severity, std):
    assert moments("gaussian_noise", severity)[1] == pytest.approx(std, rel=0.005)


def test_shot_noise_of_grey():
    mean, std = moments("shot_noise", 5)
    assert mean / 255 == pytest.approx(0.470, abs=0.004) and std / 255 == pytest.approx(0.345, abs=0.002)


@each_constant
def test_gaussian_noise_is_distributed_as_published(kind, severity):
    c, draw = constant("gaussian_noise", kind, severity), np.random.default_rng(severity)
    for level in (0, 3, 100, 254):
        ours = corrupt("gaussian_noise", flat(level), severity, kind, index=[severity])
        same_distribution(ours, truncated(level / 255 + draw.normal(size=10**6, scale=c)))


@each_constant
def test_shot_noise_is_distributed_as_published(kind, severity):
    c, draw = constant("shot_noise", kind, severity), np.random.default_rng(severity)
    for level in (0, 1, 77, 128, 255):
        ours = corrupt("shot_noise", flat(level), severity, kind, index=[severity])
        same_distribution(ours, truncated(draw.poisson(level / 255 * c, size=10**6) / c))


@each_constant
def test_impulse_noise_is_distributed_as_published(kind, severity):
    c = constant("impulse_noise", kind, severity)
    for level in (0, 99):
        ours = corrupt("impulse_noise", flat(level), severity, kind, index=[severity])
        theirs = sk.util.random_noise(np.full((600, 600, 3), level / 255), mode="s&p", amount=c, rng=severity)
        same_distribution(ours, truncated(theirs))


def same_distribution(ours, theirs):
    """Chi-squared of two samples' levels, those with few put together."""
    a, b = (np.bincount(x.reshape(-1), minlength=256) for x in (ours, theirs))
    assert not (a[b == 0].sum() > 100 or b[a == 0].sum() > 100)
    many = a + b >= 50
    table = np.stack([np.append(a[many], a[~many].sum()), np.append(b[many], b[~many].sum())])
    table = table[:, table.sum(0) > 0]
    assert table.shape[1] == 1 or stats.chi2_contingency(table).pvalue > 1e-4


@pytest.mark.parametrize("name", NOISE)
def test_channels_and_neighbours_have_noise_of_their_own(name):
    out = corrupt(name, flat(128), 4, index=[3])[0].astype(float)
    r, g = out[..., 0], out[..., 1]
    for a, b in ((r, g), (r[:, 1:], r[:, :-1]), (r[1:], r[:-1]), (r[4:], r[:-4])):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.015
    other = corrupt(name, flat(128), 4, index=[4])[0, ..., 0].astype(float)
    assert abs(np.corrcoef(r.ravel(), other.ravel())[0, 1]) < 0.015


def test_kinds_of_noise_are_drawn_apart():
    a, b = (corrupt(n, flat(128), 3, index=[3])[0].astype(float).ravel() for n in NOISE[:2])
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.01


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_corrupted_alike_in_any_batch_and_layout(name, monkeypatch):
    ids = [5, 2**40 + 1, 7, 0]
    whole = corrupt(name, PHOTOS, 3, index=ids)
    for i in range(len(PHOTOS)):
        assert np.array_equal(corrupt(name, PHOTOS[i:i + 1], 3, index=ids[i:i + 1]), whole[i:i + 1])
    planes = np.ascontiguousarray(PHOTOS.transpose(0, 3, 1, 2))
    assert np.array_equal(corrupt(name, planes, 3, index=ids, layout=None).transpose(0, 2, 3, 1), whole)
    turned = torch.from_numpy(PHOTOS.transpose(0, 2, 1, 3).copy()).transpose(1, 2)  # other strides
    assert np.array_equal(corruptions.suite()[name](turned, 3, index=ids).numpy(), whole)
    monkeypatch.setattr(pixels, "AT_ONCE", 1)
    assert np.array_equal(corrupt(name, PHOTOS, 3, index=ids), whole)
    assert np.array_equal(whole, corrupt(name, PHOTOS, 3, index=torch.tensor(ids, dtype=torch.int64)))
    if name in NOISE:
        assert not np.array_equal(corrupt(name, PHOTOS, 3, index=ids, seed=1), whole)
        assert not np.array_equal(corrupt(name, PHOTOS, 3, index=[6, *ids[1:]])[0], whole[0])
    else:
        assert np.array_equal(corrupt(name, PHOTOS, 3, index=None, seed=1), whole)


@pytest.mark.parametrize("name", NAMES)
def test_a_torch_default_device_changes_nothing(name):
    expected, ids = corrupt(name, PHOTOS, 1), torch.arange(len(PHOTOS))
    with torch.device("meta"):
        assert np.array_equal(corrupt(name, PHOTOS, 1, index=ids), expected)


# ---- the rest, byte by byte ----


@each_constant
def test_gaussian_blur(kind, severity):
    sigma = constant("gaussian_blur", kind, severity)
    theirs = [truncated(sk.filters.gaussian(p / 255.0, sigma=sigma, channel_axis=-1)) for p in PHOTOS]
    alike(corrupt("gaussian_blur", PHOTOS, severity, kind), np.stack(theirs), share=0.99999)


@each_constant
def test_defocus_blur(kind, severity):
    radius, alias = constant("defocus_blur", kind, severity)
    at = np.arange(-8, 9) if radius <= 8 else np.arange(-radius, radius + 1)
    disc = (np.add.outer(at**2, at**2) <= radius**2).astype(np.float32)
    kernel = cv2.GaussianBlur(disc / disc.sum(), ksize=(3, 3) if radius <= 8 else (5, 5), sigmaX=alias)
    theirs = np.stack([truncated(cv2.filter2D(p / 255.0, -1, kernel)) for p in PHOTOS])
    ours = corrupt("defocus_blur", PHOTOS, severity, kind)
    # Where the exact value is a whole level, or within a millionth of one, float32 weights decide. At radius 3, 29 equal weights,
    # that is one value in 29, and their sum is less than 1.
    alike(ours, theirs, share=0.99 if kind == "cifar" or severity > 1 else 0.95)
    assert (ours < theirs).mean() < 0.01
    blank = np.stack([flat(v, 40)[0] for v in range(256)])
    brighter = {8: 1.0129754, 10: 1.0107858}.get(radius, 1)
    assert np.array_equal(corrupt("defocus_blur", blank, severity, kind), np.uint8(np.minimum(blank * brighter, 255)))


@each_constant
def test_brightness(kind, severity):
    def published(p):
        hsv = sk.color.rgb2hsv(p / 255.0)
        hsv[..., 2] = np.clip(hsv[..., 2] + constant("brightness", kind, severity), 0, 1)
        return truncated(sk.color.hsv2rgb(hsv))

    colours = all_sorts_of_colours()
    alike(corrupt("brightness", colours, severity, kind), np.stack([published(p) for p in colours]), share=0.9999)


@each_constant
def test_saturate(kind, severity):
    a, b = constant("saturate", kind, severity)

    def published(p):
        hsv = sk.color.rgb2hsv(p / 255.0)
        hsv[..., 1] = np.clip(hsv[..., 1] * a + b, 0, 1)
        return truncated(sk.color.hsv2rgb(hsv))

    colours = all_sorts_of_colours()
    alike(corrupt("saturate", colours, severity, kind), np.stack([published(p) for p in colours]), share=0.9999)


def all_sorts_of_colours():
    corners = np.stack(np.meshgrid(*[[0, 1, 127, 254, 255]] * 3), -1).reshape(1, 25, 5, 3).astype(np.uint8)
    grey = np.repeat(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), 3, 3)
    some = np.random.default_rng(0).integers(0, 256, (4, *PHOTOS.shape[1:]), dtype=np.uint8)
    some[0, :16, :16], some[1, :25, :5] = grey[0], corners[0]
    return np.concatenate([PHOTOS, some])


@each_constant
def test_contrast(kind, severity):
    c = constant("contrast", kind, severity)

    def published(p):
        x = p / 255.0
        mean = x.mean((0, 1), keepdims=True)
        return truncated((x - mean) * c + mean)

    alike(corrupt("contrast", PHOTOS, severity, kind), np.stack([published(p) for p in PHOTOS]), share=0.9999)


@each_constant
@pytest.mark.parametrize("size", [(96, 128), (224, 224), (32, 32), (31, 97)])
def test_pixelate(kind, severity, size):
    c = constant("pixelate", kind, severity)
    source = pictures(*size)

    def published(p):
        h, w = p.shape[:2]
        small = Image.fromarray(p).resize((int(w * c), int(h * c)), Image.Resampling.BOX)
        return np.asarray(small.resize((w, h), Image.Resampling.BOX))

    assert np.array_equal(corrupt("pixelate", source, severity, kind), np.stack([published(p) for p in source]))


@pytest.mark.parametrize(("severity", "side"), [*zip(SEVERITIES, (134, 112, 89, 67, 56))])
def test_sides_of_pixelated_pictures(severity, side):
    ramp = np.repeat(np.arange(224, dtype=np.uint8)[None, None, :, None], 224, 1)
    assert len(np.unique(corrupt("pixelate", ramp, severity))) == side


@each_constant
def test_jpeg_compression(kind, severity):
    def published(p):
        file = io.BytesIO()
        Image.fromarray(p).save(file, "JPEG", quality=constant("jpeg_compression", kind, severity))
        return np.asarray(Image.open(file))

    for source in (PHOTOS, PHOTOS[:, :33, :41]):
        assert np.array_equal(corrupt("jpeg_compression", source, severity, kind), np.stack([published(p) for p in source]))
    grey = np.ascontiguousarray(PHOTOS[..., :1])
    ours = corrupt("jpeg_compression", grey, severity, kind)[..., 0]
    assert np.array_equal(ours, np.stack([published(p[..., 0]) for p in grey]))


# ---- all of them ----


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_more_is_worse(name, kind):
    off = [np.square(corrupt(name, PHOTOS, s, kind).astype(float) - PHOTOS).mean() for s in SEVERITIES]
    runs = [off[:2], off[2:]] if name == "saturate" else [off]  # first away from colour, then towards it
    assert all(0 < a < b for run in runs for a, b in itertools.pairwise(run)), off


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (2, 2, 5, 3), (3, 40, 3, 3)])
def test_small_pictures(name, shape):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for severity in SEVERITIES:
        assert corrupt(name, images, severity).shape == shape


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_other_channels(name, channels):
    images = np.random.default_rng(0).integers(0, 256, (2, 24, 24, channels), dtype=np.uint8)
    call = functools.partial(corrupt, name, images, 2)
    allowed = {"saturate": (3,), "brightness": (1, 3), "jpeg_compression": (1, 3)}.get(name, (1, 2, 3, 4))
    if channels in allowed:
        assert call().shape == images.shape
        return
    with pytest.raises(am.ShapeError, match=f"channels, given {channels}"):
        call()


def test_grey_is_brightened_as_three_equal_channels():
    grey = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    for severity in SEVERITIES:
        assert np.array_equal(corrupt("brightness", grey, severity), corrupt("brightness", grey.repeat(3, 3), severity)[..., :1])


IMAGES = torch.zeros(2, 8, 8, 3, dtype=torch.uint8)
BAD = {
    "text": (lambda f: f("a.jpg", 1, index=[0, 1]), am.ArgumentError, "speaks DLPack"),
    "a list": (lambda f: f([*IMAGES], 1, index=[0, 1]), am.ArgumentError, "one tensor .*, given a list of 2; torch.stack"),
    "floats": (lambda f: f(IMAGES.float(), 1, index=[0, 1]), am.DtypeError, "expected uint8, given float32"),
    "int64": (lambda f: f(IMAGES.long(), 1, index=[0, 1]), am.DtypeError, "expected uint8, given int64"),
    "one picture": (lambda f: f(IMAGES[0], 1, index=[0]), am.ShapeError, r"\[B, H, W, C\]"),
    "no picture": (lambda f: f(IMAGES[:0], 1, index=[]), am.ShapeError, "B >= 1"),
    "no pixels": (lambda f: f(IMAGES[:, :0], 1, index=[0, 1]), am.ShapeError, "images"),
    "five channels": (lambda f: f(torch.zeros(2, 8, 8, 5, dtype=torch.uint8), 1, index=[0, 1]), am.ShapeError, "1 to 4 channels"),
    "either layout": (lambda f: f(IMAGES[:, :3], 1, index=[0, 1]), am.ArgumentError, "fits both"),
    "unknown layout": (lambda f: f(IMAGES, 1, index=[0, 1], layout="HWC"), am.ArgumentError, "'NHWC', 'NCHW'"),
    "other layout": (lambda f: f(IMAGES, 1, index=[0, 1], layout="NCHW"), am.ShapeError, "NCHW"),
    "sparse": (lambda f: f(IMAGES.to_sparse(), 1, index=[0, 1]), am.ArgumentError, "strided"),
    "severity 0": (lambda f: f(IMAGES, 0, index=[0, 1]), am.ArgumentError, "severity: .* from 1 to 5, given 0"),
    "severity 6": (lambda f: f(IMAGES, 6, index=[0, 1]), am.ArgumentError, "1 to 5, given 6"),
    "severity 2.5": (lambda f: f(IMAGES, 2.5, index=[0, 1]), am.ArgumentError, "given 2.5"),
    "severity True": (lambda f: f(IMAGES, True, index=[0, 1]), am.ArgumentError, "given True"),
    "three ids": (lambda f: f(IMAGES, 1, index=[0, 1, 2]), am.ShapeError, "2 sample ids"),
    "one id": (lambda f: f(IMAGES, 1, index=0), am.AnamorphError, "index"),
    "ids of floats": (lambda f: f(IMAGES, 1, index=[0.5, 1]), am.DtypeError, "integers"),
    "negative seed": (lambda f: f(IMAGES, 1, index=[0, 1], seed=-1), am.ArgumentError, "seed"),
    "seed of text": (lambda f: f(IMAGES, 1, index=[0, 1], seed="a"), am.ArgumentError, "seed"),
    "large seed": (lambda f: f(IMAGES, 1, index=[0, 1], seed=2**64), am.ArgumentError, "seed"),
    "kind": (lambda f: f(IMAGES, 1, index=[0, 1], kind="coco"), am.ArgumentError, "'imagenet', 'cifar'"),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", BAD)
def test_named_errors(name, case):
    call, error, text = BAD[case]
    with pytest.raises(error, match=text):
        call(getattr(corruptions, name))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("images, index", [("a.jpg", [0, 1]), (IMAGES.float(), [0, 1]), (IMAGES, [0.5, 1]), (IMAGES, [0]),
                                           (IMAGES, [[0], [1]])])
def test_errors_say_whose_argument_it_is(name, images, index):
    with pytest.raises(am.AnamorphError, match=rf"^{name}\.{'index' if images is IMAGES else 'images'}: expected"):
        getattr(corruptions, name)(images, 1, index=index)


@pytest.mark.parametrize("name", NOISE)
def test_noise_needs_ids(name):
    with pytest.raises(am.ArgumentError, match=f"{name}.index: expected the sample ids"):
        getattr(corruptions, name)(IMAGES, 1, index=None)


def test_suite_names_its_kind():
    with pytest.raises(am.ArgumentError, match=r"suite\.kind"):
        corruptions.suite("tiny")
    with pytest.raises(TypeError):
        corruptions.suite()["fog"] = None
