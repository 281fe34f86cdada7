"""Turns, paddings, given maps and crops by the view, against torchvision, PIL, OpenCV and what NumPy makes of a definition."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import anamorph as am
from anamorph.bench._torchvision import v2 as load_torchvision
from pictures import bytes_of, close, nchw, pictures, render, unit

v2 = load_torchvision()
F = v2.functional

pytestmark = pytest.mark.usefixtures("route")


def found(views: torch.Tensor, candidates: list[np.ndarray]) -> list[int]:
    """Which of the candidates each view is."""
    theirs = nchw(np.stack(candidates))
    same = (views[:, None] == theirs).flatten(2).all(2)
    assert (same.sum(1) == 1).all()
    return same.int().argmax(1).tolist()


def evenly(which: list[int], kinds: int) -> None:
    counts = np.bincount(which, minlength=kinds)
    expected = len(which) / kinds
    assert np.abs(counts - expected).max() < 4.5 * expected ** 0.5, counts


# ---- other filters ----

SIZES = [(24, 32), (31, 50), (7, 100), (3, 2), (90, 200)]


@pytest.mark.parametrize("size", SIZES)
def test_lanczos_is_pils(size):
    """Of floats its numbers; of bytes within what it rounds between the axes."""
    images = pictures(48, 64)
    planes = images.astype(np.float32) / 255
    theirs = np.stack([np.stack([np.asarray(Image.fromarray(plane).resize(size[::-1], Image.Resampling.LANCZOS))
                                 for plane in np.moveaxis(i, 2, 0)]) for i in planes])
    resize = am.Resize(size, "lanczos")
    close(render([resize], planes)[0], torch.from_numpy(theirs))
    bytes_ = [np.asarray(Image.fromarray(i).resize(size[::-1], Image.Resampling.LANCZOS)) for i in images]
    close(bytes_of([resize], images), nchw(np.stack(bytes_)), 3)


@pytest.mark.parametrize("size", [(24, 32), (31, 50), (7, 40), (3, 2), (48, 20), (48, 64)])
def test_area_is_opencvs(size):
    """Each pixel is the mean of what it covers; OpenCV enlarges in another way."""
    planes = pictures(48, 64).astype(np.float32) / 255
    theirs = [cv2.resize(i, size[::-1], interpolation=cv2.INTER_AREA) for i in planes]
    close(render([am.Resize(size, "area")], planes)[0], nchw(np.stack(theirs)))


def test_area_and_lanczos_shrink():
    for name in ("lanczos", "area"):
        with pytest.raises(am.ArgumentError, match="antialias"):
            am.Resize(8, name, antialias=False)
        with pytest.raises(am.ArgumentError, match="interpolation"):
            am.RandomRotation(8, name)


# ---- turns ----

@pytest.mark.parametrize("size", [(12, 12), (13, 13)])
def test_rotate90_is_numpys(size):
    image = pictures(*size)[0]
    views = bytes_of([am.RandomRotate90(1.0)], np.repeat(image[None], 400, 0))
    evenly(found(views, [np.rot90(image, k) for k in range(4)]), 4)


@pytest.mark.parametrize("size", [(12, 17), (16, 11)])
def test_rotate90_lays_across(size):
    """Of every odd difference of the sides: the whole turned picture is somewhere in a frame that holds both ways of it."""
    image = pictures(*size)[0]
    recipe = [am.RandomRotate90(1.0), am.CenterCrop(20)]
    theirs = [F.center_crop(nchw(np.rot90(image, k)[None]), [20])[0].permute(1, 2, 0).numpy() for k in range(4)]
    evenly(found(bytes_of(recipe, np.repeat(image[None], 400, 0)), theirs), 4)


def test_d4_is_the_square_s_eight():
    image = pictures(12, 12)[0]
    eight = [np.rot90(m, k) for m in (image, image[:, ::-1]) for k in range(4)]
    evenly(found(bytes_of([am.D4()], np.repeat(image[None], 800, 0)), eight), 8)


@pytest.mark.parametrize("size", [(40, 57), (33, 33)])
def test_transpose_is_pils(size):
    images = pictures(*size)
    views, plan = render([am.Transpose(1.0)], images, dtype=torch.uint8)
    assert plan.output_size == size[::-1]
    theirs = [np.asarray(Image.fromarray(i).transpose(Image.Transpose.TRANSPOSE)) for i in images]
    assert torch.equal(views, nchw(np.stack(theirs)))
    assert torch.equal(bytes_of([am.Transpose(0.0)], images), nchw(images))


def test_turns_of_pictures_that_are_not_square_need_a_size():
    for transform in (am.RandomRotate90(), am.D4(), am.Transpose()):
        with pytest.raises(am.ArgumentError, match="differ"):
            am.Recipe([transform]).plan([0], size=(8, 9))
        assert am.Recipe([transform]).output_size((8, 8)) == (8, 8)
        assert am.Recipe([type(transform)(p=0.0)]).output_size((8, 9)) == (8, 9)


# ---- paddings ----

@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
@pytest.mark.parametrize("padding", [3, (2, 5), (1, 4, 7, 0), 0])
def test_pad_is_torchvisions(mode, padding):
    images = pictures(20, 31)
    fill = (10, 20, 30) if mode == "constant" else 0
    theirs = F.pad(nchw(images), list(padding) if isinstance(padding, tuple) else padding,
                   fill=list(fill) if fill else 0, padding_mode=mode)
    views, plan = render([am.Pad(padding, fill, mode)], images, dtype=torch.uint8)
    assert plan.output_size == tuple(theirs.shape[2:])
    assert torch.equal(views, theirs)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
def test_a_resized_picture_is_padded_with_its_own_pixels(mode):
    images = pictures(40, 60)
    theirs = F.pad(F.resize(unit(images), [20, 30], antialias=True), [4, 3], fill=0.25, padding_mode=mode)
    close(render([am.Resize((20, 30)), am.Pad((4, 3), 0.25 * 255, mode)], images)[0], theirs)


def in_a_frame(image: np.ndarray, h: int, w: int, fill) -> np.ndarray:
    """The middle of a frame; an odd pixel to the right and the bottom."""
    out = np.empty((h, w, 3), np.uint8)
    out[:] = fill
    y, x = (h - image.shape[0]) // 2, (w - image.shape[1]) // 2
    out[y:y + image.shape[0], x:x + image.shape[1]] = image
    return out


@pytest.mark.parametrize(("transform", "size"), [
    (am.PadIfNeeded((40, 20), fill=9), (40, 31)), (am.PadIfNeeded((10, 50), fill=9), (21, 50)),
    (am.PadIfNeeded(multiple=16, fill=9), (32, 32)), (am.PadIfNeeded(multiple=(7, 10), fill=9), (21, 40)),
    (am.PadIfNeeded(30, 8, fill=9), (32, 32)), (am.PadToSquare(9), (31, 31))])
def test_padded_to_what_is_asked(transform, size):
    images = pictures(21, 31)
    views, plan = render([transform], images, dtype=torch.uint8)
    assert plan.output_size == size
    assert torch.equal(views, nchw(np.stack([in_a_frame(i, *size, 9) for i in images])))
    ragged = am.Recipe([transform, am.CenterCrop(size)], dtype=torch.uint8)  # where it is known for each sample only
    plan = ragged.plan(range(4), size=torch.tensor([[21, 31]] * 4))
    assert torch.equal(am.render(list(images), plan), views)


@pytest.mark.parametrize("mode", ["edge", "reflect", "symmetric"])
def test_padded_to_a_multiple_by_its_own_pixels(mode):
    images = pictures(21, 29)
    theirs = F.pad(nchw(images), [1, 1, 2, 2], padding_mode=mode)
    assert torch.equal(bytes_of([am.PadIfNeeded(multiple=8, padding_mode=mode)], images), theirs)


def test_center_crop_fills():
    images = pictures(21, 31)
    fill = (5, 100, 250)
    views = bytes_of([am.CenterCrop((30, 20), fill)], images)
    cut = F.center_crop(nchw(images), [21, 20]).permute(0, 2, 3, 1).numpy()
    assert torch.equal(views, nchw(np.stack([in_a_frame(i, 30, 20, fill) for i in cut])))


@pytest.mark.parametrize("longer", [40, 90, 131, 20])
@pytest.mark.parametrize("size", [(50, 81), (81, 50), (64, 64)])
def test_resize_by_the_longer_side(size, longer):
    images = pictures(*size)
    theirs = v2.Resize(None, max_size=longer)(unit(images))
    views, plan = render([am.Resize(None, max_size=longer)], images)
    assert plan.output_size == tuple(theirs.shape[2:])
    close(views, theirs)


@pytest.mark.parametrize("size", [(64, 64), (40, 90), (101, 33), (20, 17)])
def test_letter_box(size):
    """The ratio that fits, rounded; torchvision resizes and pads."""
    images = pictures(45, 70)
    ratio = min(size[0] / 45, size[1] / 70)
    h, w = round(45 * ratio), round(70 * ratio)
    top, left = (size[0] - h) // 2, (size[1] - w) // 2
    small = F.resize(unit(images), [h, w], antialias=True)
    theirs = F.pad(small, [left, top, size[1] - w - left, size[0] - h - top], fill=114 / 255)
    close(render([am.LetterBox(size, 114)], images)[0], theirs)


# ---- cut and add ----

@pytest.mark.parametrize("px", [4, -5, (3, -4, -2, 6), (0, 7, 0, -1), (-30, 0, -30, 0)])
@pytest.mark.parametrize("keep", [True, False])
def test_crop_and_pad_by_given_amounts(px, keep):
    images = pictures(40, 50)
    top, right, bottom, left = px if isinstance(px, tuple) else (px,) * 4
    if top + bottom <= -40:  # a pixel is left, the two cuts share what they may
        top, bottom = -19, -20
    h, w = 40 + min(top, 0) + min(bottom, 0), 50 + min(left, 0) + min(right, 0)
    theirs = F.crop(nchw(images), max(-top, 0), max(-left, 0), h, w)
    theirs = F.pad(theirs, [max(v, 0) for v in (left, top, right, bottom)], fill=77)
    if keep:
        close(render([am.CropAndPad(px, fill=77)], images)[0], F.resize(theirs.double() / 255, [40, 50], antialias=True))
    else:
        crop = am.CenterCrop(tuple(theirs.shape[2:]))
        assert torch.equal(bytes_of([am.CropAndPad(px, keep_size=False, fill=77), crop], images), theirs)


def amounts(transform: am.CropAndPad, count: int) -> np.ndarray:
    """What was added to (or cut from) the left: the columns of the picture are numbered, black is what was added."""
    numbered = np.arange(1, 31, dtype=np.uint8)[None, None, :, None].repeat(9, 1).repeat(count, 0)
    row = bytes_of([transform, am.FiveCrop((1, 20))], numbered)[:, 0, 0].numpy().astype(int)  # view 0: from the top left
    return np.where(row[:, 0] > 0, 1 - row[:, 0], (row == 0).sum(1))


def test_crop_and_pad_draws_whole_pixels():
    drawn = amounts(am.CropAndPad((0, 0, 0, (-3, 4)), keep_size=False), 1600)
    evenly((drawn + 3).tolist(), 8)


def test_crop_and_pad_draws_shares_of_the_side():
    drawn = amounts(am.CropAndPad(percent=(0, 0, 0, (-0.25, 0.25)), keep_size=False), 3000)
    uniform = np.trunc(np.random.default_rng(0).uniform(-0.25, 0.25, 100_000) * 30).astype(int)  # imgaug: int(share * width)
    expected = np.bincount(uniform + 7, minlength=15) * 3000 / 100_000
    assert (np.abs(np.bincount(drawn + 7, minlength=15) - expected) < 4.5 * expected ** 0.5).all()


def test_crop_and_pad_of_one_draw():
    white = torch.full((60, 40, 40, 1), 255, dtype=torch.uint8)
    one = am.Recipe([am.CropAndPad((1, 9), keep_size=False, sample_independently=False), am.CenterCrop(60)], dtype=torch.uint8)
    views = am.render(white, one.plan(range(60), size=(40, 40)), layout="NHWC")[:, 0] > 0
    assert (views.sum((1, 2)) == 1600).all()  # the four alike: the picture is in the middle
    assert views[:, 10:50, 10:50].all()


# ---- given maps ----

def sampled(images: np.ndarray, to_source, h: int, w: int) -> torch.Tensor:
    """Bilinear, black outside, at the positions (edge coordinates) that a function gives for the output's pixel centres."""
    ys, xs = np.mgrid[0:h, 0:w] + 0.5
    px, py = to_source(xs, ys)
    size = images.shape[1:3]
    grid = torch.from_numpy(np.stack([2 * px / size[1] - 1, 2 * py / size[0] - 1], -1))
    return torch.nn.functional.grid_sample(unit(images), grid.expand(len(images), -1, -1, -1), align_corners=False)


def test_affine_with_a_scale_for_each_axis():
    """Scaled along the picture's own axes, then sheared, then turned, about the middle: torchvision's order of matrices."""
    images = pictures(60, 80)
    angle, shear, sx, sy = np.deg2rad(20), np.deg2rad(12), 0.7, 1.4
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    forward = turn @ np.array([[1, -np.tan(shear)], [0, 1]]) @ np.diag([sx, sy])
    back = np.linalg.inv(forward)

    def to_source(x, y):
        return back[0, 0] * (x - 40) + back[0, 1] * (y - 30) + 40, back[1, 0] * (x - 40) + back[1, 1] * (y - 30) + 30

    recipe = [am.RandomAffine((20, 20), scale=(sx, sx, sy, sy), shear=(12, 12), interpolation="bilinear")]
    close(render(recipe, images)[0], sampled(images, to_source, 60, 80), 1e-4)
    same = [am.RandomAffine((20, 20), scale=(sx, sx), shear=(12, 12), interpolation="bilinear")]
    theirs = F.affine(unit(images), 20, [0, 0], sx, [12, 0], v2.InterpolationMode.BILINEAR)
    close(render(same, images)[0], theirs, 1e-4)
    two = [am.RandomAffine((20, 20), scale=(sx, sx, sx, sx), shear=(12, 12), interpolation="bilinear")]
    close(render(two, images)[0], theirs, 1e-4)


MATRICES = {"turned": cv2.getRotationMatrix2D((30, 25), 25, 1.2), "sheared": np.array([[1, 0.3, -4], [0.1, 0.8, 3.5]]),
            "shrunk": np.array([[0.5, 0, 3], [0, 0.6, 2]]), "moved": np.array([[1.0, 0, 7], [0, 1, -5]])}


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("size", [None, (40, 90)])
@pytest.mark.parametrize("name", MATRICES)
def test_warp_is_opencvs_warp_affine(name, size, inverse):
    images = pictures(60, 80)
    h, w = size or (60, 80)
    flags = cv2.INTER_LINEAR | (cv2.WARP_INVERSE_MAP if inverse else 0)
    theirs = np.stack([cv2.warpAffine(i.astype(np.float32) / 255, MATRICES[name], (w, h), flags=flags) for i in images])
    ours, plan = render([am.Warp(MATRICES[name], size, inverse=inverse)], images)
    assert plan.output_size == (h, w)
    close(ours, nchw(theirs), 0.02, 0.999)  # OpenCV may round positions to 1/32 of a pixel

    m = np.vstack([MATRICES[name], [0, 0, 1]])
    m = m if inverse else np.linalg.inv(m)
    exact = sampled(images, lambda x, y: (m[0, 0] * (x - 0.5) + m[0, 1] * (y - 0.5) + m[0, 2] + 0.5,
                                          m[1, 0] * (x - 0.5) + m[1, 1] * (y - 0.5) + m[1, 2] + 0.5), h, w)
    close(ours, exact, 1e-4)


def test_warp_moves_whole_pixels():
    images = pictures(30, 40)
    ours = bytes_of([am.Warp([[1, 0, 7], [0, 1, -5]], interpolation="nearest", fill=(1, 2, 3))], images)
    theirs = [cv2.warpAffine(i, MATRICES["moved"], (40, 30), flags=cv2.INTER_NEAREST, borderValue=(1, 2, 3)) for i in images]
    assert torch.equal(ours, nchw(np.stack(theirs)))


def test_warp_is_opencvs_warp_perspective():
    images = pictures(60, 80)
    start = np.float32([[5, 4], [70, 8], [75, 50], [2, 55]])
    end = np.float32([[0, 0], [79, 0], [79, 59], [0, 59]])
    matrix = cv2.getPerspectiveTransform(start, end)
    theirs = np.stack([cv2.warpPerspective(i.astype(np.float32) / 255, matrix, (80, 60)) for i in images])
    for sign in (1, -1, 0.01):  # a homography times a number is the same
        close(render([am.Warp(matrix * sign)], images)[0], nchw(theirs), 0.02, 0.999)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize(("start", "end"), [
    ([[0, 0], [79, 0], [79, 59], [0, 59]], [[6, 4], [70, 9], [76, 52], [3, 57]]),
    ([[10, 10], [60, 5], [70, 50], [5, 45]], [[0, 0], [80, 0], [80, 60], [0, 60]]),
    ([[0, 59], [0, 0], [79, 0], [79, 59]], [[0, 0], [79, 0], [79, 59], [0, 59]])])
def test_perspective_is_torchvisions(start, end, mode):
    images = pictures(60, 80)
    theirs = F.perspective(unit(images), start, end, getattr(v2.InterpolationMode, mode.upper()))
    ours, _ = render([am.Perspective(start, end, mode)], images)
    if mode == "nearest":
        close(ours, theirs, 1e-5, 0.99)
    else:
        close(ours, theirs, 2e-3, 0.999)  # torchvision solves for its coefficients in float32


def test_maps_that_cannot_be():
    line = [(0, 0), (1, 1), (2, 2), (0, 3)]
    for make, word in ((lambda: am.Warp([[1, 2, 3], [2, 4, 5]]), "inverted"), (lambda: am.Warp([[1, 2], [3, 4]]), "2 x 3"),
                       (lambda: am.Warp("identity"), "2 x 3"), (lambda: am.Warp([[1, 0, float("nan")], [0, 1, 0]]), "nan"),
                       (lambda: am.Perspective(line, [(0, 0), (1, 0), (1, 1), (0, 1)]), "line"),
                       (lambda: am.Perspective([(0, 0)], [(0, 0)]), "four points"),
                       (lambda: am.RandomAffine(0, scale=(1, 2, 3)), "low, high"),
                       (lambda: am.Resize(None), "longer side"), (lambda: am.PadIfNeeded(), "a size"),
                       (lambda: am.CropAndPad(), "either"), (lambda: am.CropAndPad(1, 0.1), "either"),
                       (lambda: am.CropAndPad(0.5), "whole number"), (lambda: am.CropAndPad((1, 2, 3)), "four of these"),
                       (lambda: am.CropAndPad((3, 2)), "low <= high"), (lambda: am.Pad(-1), "whole number"),
                       (lambda: am.PadIfNeeded(multiple=0), "whole number"), (lambda: am.FiveCrop("a"), "whole number"),
                       (lambda: am.TenCrop(4, vertical_flip=1), "True or False"), (lambda: am.D4(2), "probability")):
        with pytest.raises(am.ArgumentError, match=word):
            make()


# ---- crops by the view ----

@pytest.mark.parametrize("size", [20, (31, 17), (40, 57)])
def test_five_crops_are_torchvisions(size):
    images = pictures(40, 57)
    recipe = am.Recipe([am.FiveCrop(size)], dtype=torch.uint8)
    theirs = F.five_crop(nchw(images), list(size) if isinstance(size, tuple) else size)
    for k in range(10):
        assert torch.equal(am.render(images, recipe.plan(range(4), size=(40, 57), view=k)), theirs[k % 5])


@pytest.mark.parametrize("vertical", [False, True])
def test_ten_crops_are_torchvisions(vertical):
    images = pictures(40, 57)
    recipe = am.Recipe([am.TenCrop(22, vertical)], dtype=torch.uint8)
    for k, theirs in enumerate(F.ten_crop(nchw(images), 22, vertical)):
        assert torch.equal(am.render(images, recipe.plan(range(4), size=(40, 57), view=k)), theirs)
    with pytest.raises(am.ShapeError, match="40 x 57"):
        am.Recipe([am.TenCrop(41)]).plan([0], size=(40, 57))


@pytest.mark.parametrize("angle", [90, -90, 180, 270, 450, 0, 30, 45, -17.3, 200])
@pytest.mark.parametrize("size", [(20, 31), (31, 20), (7, 9), (1, 9)])
def test_one_angle_expanded_ends_a_recipe(angle, size):
    """The size is known before anything is drawn, and is torchvision's."""
    images = pictures()[:, :size[0], :size[1]]
    theirs = load_torchvision().functional.rotate(nchw(images), angle, expand=True)
    recipe = am.Recipe([am.RandomRotation((angle, angle), expand=True)], dtype=torch.uint8)
    assert recipe.output_size(size) == tuple(theirs.shape[2:])
    ours = bytes_of([am.RandomRotation((angle, angle), expand=True), am.RandomHorizontalFlip(1.0)], images)
    if angle % 90 == 0:
        assert torch.equal(ours, theirs.flip(3))
    else:
        assert ours.shape == theirs.shape
