"""Pictures of more than 2 GiB, whose last bytes no int32 counts: of address space, of which a test touches a few pages."""

import mmap

import numpy as np
import pytest
import torch

import anamorph as am

pytestmark = pytest.mark.usefixtures("simd")
SHAPES = [(27000, 27001, 3), (32768, 32768, 3), (32768, 32768, 4)]


def sparse(shape):
    """uint8 of zeros that lie nowhere yet."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000)  # Python 3.12 knows it
    room = mmap.mmap(-1, int(np.prod(shape)), flags=flags)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        room.madvise(mmap.MADV_NOHUGEPAGE)  # a touched byte is a page, not 2 MiB
    return np.frombuffer(room, np.uint8).reshape(shape)


def given(picture):
    """The ways to give one."""
    h, w, c = picture.shape
    return {"list": [picture], "packed": am.Ragged(picture.ravel(), [0], [(h, w)], c), "batch": picture[None]}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_last_rows_are_read(shape):
    """The lower corners as they are, and turned by a half."""
    picture, side = sparse(shape), 12
    h, w, c = shape
    corner = np.random.default_rng(0).integers(1, 256, (side, side, c), dtype=np.uint8)
    recipe = am.Recipe([am.FiveCrop(side), am.RandomRotation((180, 180))], dtype=torch.uint8)
    for view, left in ((2, 0), (3, w - side)):
        picture[h - side:, left:left + side] = corner
        plan = recipe.plan([0], size=(h, w), view=view)
        for name, images in given(picture).items():
            got = am.render(images, plan, layout="NHWC")
            np.testing.assert_array_equal(got[0].permute(1, 2, 0).numpy(), corner[::-1, ::-1], err_msg=name)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_taps_all_over_a_picture(interpolation):
    """Of a picture whose pixels are alike around each place that a view looks at."""
    h, w, c = shape = SHAPES[1]
    picture, side = sparse(shape), 4
    centres = [[int((i + 0.5) * s / side) for i in range(side)] for s in (h, w)]
    expected = np.random.default_rng(0).integers(1, 256, (side, side, c), dtype=np.uint8)
    for i, y in enumerate(centres[0]):
        for j, x in enumerate(centres[1]):
            picture[y - 4:y + 4, x - 4:x + 4] = expected[i, j]
    plan = am.Recipe([am.Resize((side, side), interpolation, antialias=False)], dtype=torch.uint8).plan([0], size=(h, w))
    for name, images in given(picture).items():
        got = am.render(images, plan, layout="NHWC")
        np.testing.assert_array_equal(got[0].permute(1, 2, 0).numpy(), expected, err_msg=name)
