"""Families of shifts to validate by."""

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency

import anamorph as am
from anamorph import corruptions
from anamorph.training.shifts import operations
from pictures import pictures

PHOTOS = pictures()
SHIFTS = corruptions.shifts()


def shift(name, images, index, **options):
    return SHIFTS[name](torch.from_numpy(np.ascontiguousarray(images)), index=index, layout="NHWC", **options).numpy()


def test_the_families_are_those_that_are_said():
    assert (*SHIFTS,) == corruptions.FAMILIES
    counts = {"edges": 1, **{name: len(ops) for name, ops in operations().items()}}
    said = corruptions.shifts.__doc__.replace("\n", " ")
    for name, count in counts.items():
        assert f'"{name}" {count} of ' in " ".join(said.split()), name
    assert f"{sum(counts.values())} of their 76" in " ".join(said.split())


@pytest.mark.parametrize("name", corruptions.FAMILIES)
def test_a_picture_is_shifted_alike_in_any_batch_and_layout(name):
    ids = [5, 2**40 + 1, 7, 0]
    whole = shift(name, PHOTOS, ids)
    assert whole.shape == PHOTOS.shape and whole.dtype == np.uint8
    for i in range(4):
        assert np.array_equal(shift(name, PHOTOS[i:i + 1], ids[i:i + 1])[0], whole[i])
    planes = torch.from_numpy(PHOTOS).permute(0, 3, 1, 2).contiguous()
    assert np.array_equal(SHIFTS[name](planes, index=ids).permute(0, 2, 3, 1).numpy(), whole)
    if name != "edges":
        assert not np.array_equal(shift(name, PHOTOS, ids, seed=1), whole)


@pytest.mark.parametrize("name", corruptions.FAMILIES)
def test_shifts_are_strong(name):
    out = shift(name, PHOTOS, range(4)).astype(float)
    off = np.abs(out - PHOTOS).mean((1, 2, 3))
    assert (off > 3).mean() >= 0.5, off  # an op may leave a picture as it is: inverted with probability one half


def test_every_op_is_as_likely():
    """Of the ops of colour one in six makes a picture grey."""
    many = np.repeat(np.random.default_rng(0).integers(0, 256, (1, 24, 24, 3), dtype=np.uint8), 1200, 0)
    out = shift("color", many, range(1200)).astype(int)
    grey = (np.ptp(out, axis=-1) == 0).all((1, 2))
    assert 150 < grey.sum() < 255  # 200 expected, deviation 13
    out = shift("arithmetic", many, range(1200))
    same, inverted = (out == many).all((1, 2, 3)), (out == 255 - many).all((1, 2, 3))
    # Half of inverting and of solarizing is none; a fifth of the pictures each.
    assert 190 < same.sum() < 300 and 85 < inverted.sum() < 160


def test_families_draw_apart():
    """Were it one draw, whoever gets the first of two ops of contrast would get a given part of those of geometry."""
    dark, white = (np.full((600, 24, 24, 3), v, np.uint8) for v in (64, 255))
    level = shift("contrast", dark, range(600))[:, 0, 0, 0]
    linear = (level < 15) | ((level > 100) & (level < 125))  # about 127; the powers are 16 to 21, and 168 and more
    assert 250 < linear.sum() < 350
    empty = (shift("geometric", white, range(600)) == 0).mean((1, 2, 3))
    part = np.digitize(empty, np.quantile(empty, [0.25, 0.5, 0.75]))
    table = [[((part == k) & (linear == which)).sum() for k in range(4)] for which in (False, True)]
    assert chi2_contingency(table).pvalue > 1e-4, table


IMAGES = torch.zeros(2, 8, 8, 3, dtype=torch.uint8)
BAD = {
    "text": (lambda f: f("a.jpg", index=[0, 1]), am.ArgumentError, "speaks DLPack"),
    "a list": (lambda f: f([*IMAGES], index=[0, 1]), am.ArgumentError, "one tensor .*, given a list of 2; torch.stack"),
    "floats": (lambda f: f(IMAGES.float(), index=[0, 1]), am.DtypeError, "expected uint8"),
    "int32": (lambda f: f(IMAGES.int(), index=[0, 1]), am.DtypeError, "given int32"),
    "one picture": (lambda f: f(IMAGES[0], index=[0]), am.ShapeError, r"\[B, H, W, C\]"),
    "no picture": (lambda f: f(IMAGES[:0], index=[]), am.ShapeError, "B >= 1"),
    "two channels": (lambda f: f(IMAGES[..., :2], index=[0, 1]), am.ShapeError, "1 or 3 channels, given 2"),
    "either layout": (lambda f: f(IMAGES[:, :3], index=[0, 1]), am.ArgumentError, "fits both"),
    "layout": (lambda f: f(IMAGES, index=[0, 1], layout=3), am.ArgumentError, "'NHWC'"),
    "sparse": (lambda f: f(IMAGES.to_sparse(), index=[0, 1]), am.ArgumentError, "strided"),
    "three ids": (lambda f: f(IMAGES, index=[0, 1, 2]), am.ShapeError, "2 sample ids"),
    "ids of floats": (lambda f: f(IMAGES, index=[0.5, 1]), am.DtypeError, "integers"),
    "seed": (lambda f: f(IMAGES, index=[0, 1], seed=-1), am.ArgumentError, "seed"),
    "seed of text": (lambda f: f(IMAGES, index=[0, 1], seed="a"), am.ArgumentError, "seed"),
}


@pytest.mark.parametrize("name", corruptions.FAMILIES)
@pytest.mark.parametrize("case", BAD)
def test_named_errors(name, case):
    call, error, text = BAD[case]
    with pytest.raises(error, match=text):
        call(SHIFTS[name])


@pytest.mark.parametrize("name", [n for n in corruptions.FAMILIES if n != "edges"])
def test_draws_need_ids(name):
    with pytest.raises(am.ArgumentError, match="sample ids"):
        SHIFTS[name](IMAGES, index=None)
