"""Edges where a fused chain is easily wrong: a crop after a resize, a padding of what was resized, quarter turns, fills and what
colours them, ties. The right values are torchvision's, PIL's and NumPy's for the steps one after the other."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import anamorph as am
from anamorph.bench._torchvision import v2 as load_torchvision
from pictures import bytes_of, close, nchw, pictures, render, unit, word

v2 = load_torchvision()
F, Mode = v2.functional, v2.InterpolationMode

here = pytest.mark.usefixtures("route")  # by the CPU's code and by the CUDA code; the other tests run at every instruction set
RAMP = np.tile(np.arange(64, dtype=np.uint8)[None, None, :, None], (1, 64, 1, 3))
MIRRORS = ["reflect", "symmetric", "edge"]


def turn(degrees: float, mode: str = "bilinear", **options) -> am.RandomRotation:
    return am.RandomRotation((degrees, degrees), mode, **options)


def corners(plan: am.Plan) -> list[list[int]]:
    """x and y, in the view before it, where each row's only crop began."""
    m = word(plan, "MATRIX", 9, torch.float32)
    return m[:, [2, 5]].round().int().tolist()


# ---- crops and paddings of what was resized ----

def test_a_crop_after_a_resize_reads_what_the_resize_read(simd):
    views, _ = render([am.Resize(16), am.CenterCrop(8)], RAMP)
    right = torch.arange(17.5, 46, 4)
    close(views * 255, right.expand(1, 3, 8, 8), 1e-4)
    close(views, F.center_crop(F.resize(unit(RAMP), [16], antialias=True), [8]))


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(40, 28), (90, 61)])
def test_evaluation_transforms(simd, size, mode):
    """Resize and CenterCrop, to half of the picture and to a little more than its size."""
    images = pictures(75, 100)
    steps = [am.Resize(size[0], mode), am.CenterCrop(size[1]), am.Normalize(0.4, 0.2)]
    theirs = F.center_crop(F.resize(unit(images), [size[0]], Mode(mode), antialias=True), [size[1]])
    if mode == "bicubic":  # a byte cannot overshoot
        theirs = theirs.clamp(0, 1)
    close(render(steps, images)[0], F.normalize(theirs, [0.4] * 3, [0.2] * 3), 2e-5)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("size", "to"), [((2, 68), (76, 2)), ((3, 90), (300, 4)), ((3, 60), (100, 2))])
def test_a_resize_that_shrinks_one_side_and_enlarges_the_other(simd, size, to, mode):
    """The enlarged side is not smooth: nothing may be read between the points of a grid."""
    images = np.random.default_rng(1).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    theirs = F.resize(unit(images), list(to), Mode(mode), antialias=True).clamp(0, 1)
    close(render([am.Resize(to, mode)], images)[0], theirs, 2e-5)


@here
def test_a_crop_before_a_resize_reads_no_more_than_it():
    images = pictures(60, 80)
    theirs = F.resize(F.center_crop(unit(images), [40, 31]), [20, 17], antialias=True)
    close(render([am.CenterCrop((40, 31)), am.Resize((20, 17))], images)[0], theirs)
    theirs = F.center_crop(F.resize(theirs, [9, 8], antialias=True), [5, 4])
    ours = render([am.CenterCrop((40, 31)), am.Resize((9, 8)), am.CenterCrop((5, 4))], images)[0]
    once = F.center_crop(F.resize(F.center_crop(unit(images), [40, 31]), [9, 8], antialias=True), [5, 4])
    close(ours, once)


@pytest.mark.parametrize(("mode", "starts"), [("reflect", [17.5, 13.5, 9.5, 5.5]), ("symmetric", [13.5, 9.5, 5.5]),
                                             ("edge", [1.892857] * 5)])
def test_a_resized_picture_is_padded_by_its_own_pixels(simd, mode, starts):
    theirs = F.pad(F.resize(unit(RAMP), [16], antialias=True), [4], padding_mode=mode)
    close(theirs[0, 0, 0, :len(starts)] * 255, torch.tensor(starts, dtype=torch.float64))
    close(render([am.Resize(16), am.RandomCrop(24, 4, padding_mode=mode)], RAMP)[0], theirs)


@here
@pytest.mark.parametrize("mode", [*MIRRORS, "constant"])
def test_random_crop_of_a_resized_picture(mode):
    images = pictures(60, 80)
    small = F.resize(unit(images), [21], antialias=True)
    padded = F.pad(small, [5, 3], fill=0.2 if mode == "constant" else 0, padding_mode=mode)
    fill = 51 if mode == "constant" else 0
    views, plan = render([am.Resize(21), am.RandomCrop((20, 26), (5, 3), fill=fill, padding_mode=mode)], images)
    m, scale = word(plan, "MATRIX", 9, torch.float32), 60 / 21
    for i in range(len(images)):
        x, y = round(float(m[i, 2]) / (80 / 28)) + 5, round(float(m[i, 5]) / scale) + 3
        close(views[i], padded[i, :, y:y + 20, x:x + 26])


@pytest.mark.parametrize("angle", [15, -70, 135])
def test_cifars_crop_and_rotation(simd, angle):
    """RandomCrop(32, 4, padding_mode="reflect") and RandomRotation: the ubiquitous recipe for 32 pixels."""
    images = pictures(32, 32)
    padded = F.pad(unit(images), [4], padding_mode="reflect")
    _, plan = render([am.RandomCrop(32, 4, padding_mode="reflect")], images)
    views, _ = render([am.RandomCrop(32, 4, padding_mode="reflect"), turn(angle)], images)  # the same numbers are drawn
    for i, (x, y) in enumerate(corners(plan)):
        crop = padded[i:i + 1, :, y + 4:y + 36, x + 4:x + 36]
        close(views[i:i + 1], F.rotate(crop, angle, Mode.BILINEAR), 1e-4)


TWICE = [am.CenterCrop((50, 70)), am.CenterCrop((60, 56), 77)]  # of 64 x 64: cut down and padded across, then the other way


def twice(images: np.ndarray) -> torch.Tensor:
    x = F.center_crop(unit(images), [50, 70])
    return F.pad(x[..., 7:63], [0, 5], fill=77 / 255)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [True, False])
def test_two_paddings_that_also_cut(simd, mode, antialias):
    """What either cuts off is not read by the resize, and only the sides that are padded have a fill beyond them."""
    images = pictures(64, 64)
    views, _ = render([*TWICE, am.CenterCrop((40, 30)), am.Resize((75, 90), mode, antialias=antialias)], images)
    cut = F.center_crop(twice(images), [40, 30])
    close(views, F.resize(cut, [75, 90], Mode(mode), antialias=antialias).clamp(0, 1), 2e-5)


@pytest.mark.parametrize("angle", [15, -70])
def test_two_paddings_and_a_rotation(simd, angle):
    """What was cut off does not shine through. (Without a fill torchvision weighs the fringe once.)"""
    images = pictures(64, 64)
    views, _ = render([*TWICE, turn(angle, fill=77)], images)
    close(views, F.rotate(twice(images) - 77 / 255, angle, Mode.BILINEAR) + 77 / 255, 2e-5)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_a_crop_of_nothing_but_padding_stays_fill(simd, mode):
    """Also where it only touches what a picture that was padded before holds."""
    images = np.full((200, 4, 5, 3), 255, np.uint8)
    crops = [am.Pad((1, 0), 9), am.RandomCrop(2, 4, fill=9)]
    empty = (render(crops, images)[0] * 255 - 9).abs().amax((1, 2, 3)) < 1e-3
    assert 50 < empty.sum() < 190
    views, _ = render([*crops, turn(20, mode, fill=9)], images)
    close(views[empty], torch.full_like(views[empty], 9 / 255), 1e-6)


def test_a_perspective_that_draws_a_rectangle_is_square():
    """Then the fill of a later crop counts. Of 3 columns no corner can be moved across."""
    images = pictures(21, 3)[np.zeros(300, int)]
    views, plan = render([am.RandomPerspective(0.2, 1.0, "nearest", 9), am.CenterCrop((21, 5), 40)], images)
    level = word(plan, "MATRIX", 9, torch.float32)[:, [1, 3, 6, 7]].abs().amax(1) < 1e-12
    assert 10 < level.sum() < 100
    assert torch.equal((views * 255).round()[level][..., [0, 4]], torch.full((int(level.sum()), 3, 21, 2), 40.0))


# ---- turns ----

@here
@pytest.mark.parametrize("expand", [True, False])
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(40, 57), (41, 57), (33, 33), (16, 11), (1, 2), (7, 1), (64, 96)])
def test_quarter_turns_are_transposes(size, mode, expand):
    """Of every size, odd differences of the sides among them, and whatever the interpolation: PIL's transposes, and NumPy's."""
    images = pictures(*size)
    transposes = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}
    for degrees in (90, 180, 270, -90, 450, 0) if expand or size[0] == size[1] else (180, 0):
        quarters = degrees // 90 % 4
        theirs = [np.asarray(Image.fromarray(i).transpose(transposes[90 * quarters]) if quarters else i) for i in images]
        assert np.array_equal(theirs, np.rot90(images, quarters, (1, 2)))
        steps = [turn(degrees, mode, expand=expand), am.CenterCrop(theirs[0].shape[:2])]
        assert torch.equal(bytes_of(steps, images), nchw(np.stack(theirs))), degrees


@here
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(24, 30), (9, 7), (70, 11), (1, 3)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_quarter_turn_of_what_was_shrunk(size, mode, dtype):
    """Windows of any size are turned exactly: torchvision's resize of floats, transposed."""
    images = pictures() if dtype == torch.uint8 else pictures().astype(np.float32) / 255
    shrunk = F.resize(nchw(images).double() / (255 if dtype == torch.uint8 else 1), list(size), Mode(mode), antialias=True)
    if dtype == torch.uint8:
        shrunk = shrunk.clamp(0, 1)
    for degrees in (90, 180, 270):
        theirs = shrunk.rot90(degrees // 90, (2, 3))
        steps = [am.Resize(size, mode), turn(degrees, "bilinear", expand=True), am.CenterCrop(tuple(theirs.shape[2:]))]
        close(render(steps, images)[0], theirs, 3e-5)  # float32 sums of thousands of values


@here
@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(224, 224), (224, 17), (17, 224), (100, 90)])
def test_a_quarter_turn_of_what_was_enlarged(size, mode):
    """Noise, of which no point between two says anything: the resize alone, transposed."""
    noise = np.random.default_rng(3).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    plain = render([am.Resize(size, mode)], noise)[0]
    for degrees in (90, 270):
        theirs = plain.rot90(degrees // 90, (2, 3))
        close(render([am.Resize(size, mode), turn(degrees, "bilinear", expand=True)], noise)[0], theirs, 3e-5)


@here
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize(("angle", "center"), [(-10.9, (1.2, 4.9)), (33, (90.5, 3)), (-110, (0, 0)), (90, (10, 20)),
                                               (45, (-20, 150))])
def test_expanding_about_a_centre_cuts_as_torchvision(angle, center, mode):
    images = pictures()
    theirs = F.rotate(unit(images), angle, Mode(mode), expand=True, center=list(center))
    ours, _ = render([turn(angle, mode, expand=True, center=center), am.CenterCrop(tuple(theirs.shape[2:]))], images)
    close(ours, theirs, 1e-4)


# ---- fills ----

@here
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_colour_before_a_warp_does_not_touch_its_fill(mode):
    images = pictures()
    theirs = F.rotate(F.invert(unit(images)), 45, Mode(mode))
    assert (theirs[:, :, 0, 0] == 0).all()
    # At 45 degrees many positions lie between two pixels, where torchvision's nearest takes the even one.
    close(render([am.RandomInvert(1.0), turn(45, mode, fill=0)], images)[0], theirs, 1e-4, 0.99 if mode == "nearest" else 1)


@here
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_colour_after_a_warp_touches_its_fill(mode):
    images = pictures()
    theirs = F.invert(F.rotate(unit(images), 45, Mode(mode)))
    assert (theirs[:, :, 0, 0] == 1).all()
    close(render([turn(45, mode, fill=0), am.RandomInvert(1.0)], images)[0], theirs, 1e-4, 0.99 if mode == "nearest" else 1)


@here
def test_colour_around_a_warp():
    """Before and after: brightness, the warp with its fill, contrast of the whole (whose mean counts the fill), saturation."""
    images = pictures()
    color = {name: am.ColorJitter(**{name: (0.6, 0.6)}) for name in ("brightness", "contrast", "saturation")}
    ours, _ = render([color["brightness"], turn(30, fill=0), color["contrast"], color["saturation"]], images)
    theirs = F.rotate(F.adjust_brightness(unit(images), 0.6), 30, Mode.BILINEAR)
    close(ours, F.adjust_saturation(F.adjust_contrast(theirs, 0.6), 0.6), 1e-4)


@here
@pytest.mark.parametrize("before", [True, False])
def test_colour_and_the_fill_of_a_padding(before):
    images = pictures(30, 40)
    pad, invert = am.Pad(5, (10, 20, 30)), am.RandomInvert(1.0)
    fill = [10, 20, 30]
    theirs = F.pad(F.invert(nchw(images)), [5], fill=fill) if before else F.invert(F.pad(nchw(images), [5], fill=fill))
    assert torch.equal(bytes_of([invert, pad] if before else [pad, invert], images), theirs)


# ---- ResizeMix ----

@here
@pytest.mark.parametrize("scale", [0.25, 0.6])
@pytest.mark.parametrize("first", [[], [am.RandomHorizontalFlip(1.0)]])
def test_resizemix_pastes_an_antialiased_partner(scale, first):
    images = pictures()
    whole = unit(images).flip(3) if first else unit(images)
    views, plan = render([*first, am.ResizeMix((scale, scale), partner="roll")], images)
    for i, row in enumerate(plan.table()):
        x0, y0, x1, y1 = row["box"]
        theirs = whole[i].clone()
        theirs[:, y0:y1, x0:x1] = F.resize(whole[i - 1], [y1 - y0, x1 - x0], antialias=True)
        close(views[i], theirs)


# ---- no number ----

COLOR = {"brightness": (am.ColorJitter((0.7, 0.7)), lambda x: F.adjust_brightness(x, 0.7)),
         "contrast": (am.ColorJitter(0, (0.7, 0.7)), lambda x: F.adjust_contrast(x, 0.7)),
         "saturation": (am.ColorJitter(0, 0, (0.7, 0.7)), lambda x: F.adjust_saturation(x, 0.7)),
         "greyscale": (am.RandomGrayscale(1.0), lambda x: F.rgb_to_grayscale(x, 3)),
         "invert": (am.RandomInvert(1.0), F.invert), "solarize": (am.RandomSolarize(0.5, 1.0), lambda x: F.solarize(x, 0.5)),
         "gamma": (am.RandomGamma((0.5, 0.5), 1.0), lambda x: F.adjust_gamma(x, 0.5)),
         "equal channels": (am.RandomApply([am.RandomInvert(1.0)], 0.0), lambda x: x)}


@pytest.mark.parametrize("name", COLOR)
def test_no_number_stays_none_where_it_is_torchvisions(simd, name):
    images = pictures(21, 37) / np.float32(255)
    images[0, 11, 20, 1] = np.nan
    transform, theirs = COLOR[name]
    theirs = torch.cat([theirs(x[None]) for x in nchw(images)])
    ours, _ = render([transform], images)
    assert torch.equal(ours.isnan(), theirs.isnan())
    close(ours.nan_to_num(0), theirs.nan_to_num(0))


@pytest.mark.parametrize("transform", [am.RandomPosterize(3, 1.0), am.ColorJitter(hue=0.3), am.RGBShift(30, 30, 30, 1.0),
                                       am.ColorJitter(0, 0.5, contrast_mode="midgray"), am.RandomChannelPermutation(),
                                       am.Normalize(0.5, 0.2), am.RandomRotation((90, 90)), am.MixUp()],
                         ids=lambda t: type(t).__name__)
def test_no_number_stays_none(simd, transform):
    """Also where torchvision's answer is another number (hue, posterize) or it has no such step: what is no number is seen."""
    images = pictures(21, 21) / np.float32(255)
    images[:, 11, 12, 1] = np.nan
    ours, _ = render([transform], images)
    assert ours.isnan().flatten(1).any(1).all()
    assert ours.isnan().any(1).flatten(1).sum(1).max() <= 2  # and nowhere else: MixUp shows the partner's too


# ---- nearest ----

SIZES = [(48, 64), (96, 128), (32, 43), (192, 256), (150, 170), (64, 85)]  # of 96 x 128: many positions between two pixels


@pytest.mark.parametrize("size", SIZES)
def test_nearest_then_flipped(simd, size):
    """Positions tie exactly: the pixel is torchvision's, at every instruction set and in the CUDA code."""
    images = pictures()
    flips = [am.RandomHorizontalFlip(1.0), am.RandomVerticalFlip(1.0)]
    theirs = F.resize(nchw(images), list(size), Mode.NEAREST_EXACT).flip(2, 3)
    assert torch.equal(bytes_of([am.Resize(size, "nearest", antialias=False), *flips], images), theirs)


@pytest.mark.parametrize("size", SIZES)
def test_flipped_then_nearest(simd, size):
    """One map: in an exact tie the other pixel of the two, and that at every instruction set; elsewhere torchvision's."""
    images = pictures()
    flips = [am.RandomHorizontalFlip(1.0), am.RandomVerticalFlip(1.0)]
    ours = bytes_of([*flips, am.Resize(size, "nearest", antialias=False)], images)
    assert torch.equal(ours, bytes_of([am.Resize(size, "nearest", antialias=False), *flips], images))
    theirs = F.resize(nchw(images).flip(2, 3), list(size), Mode.NEAREST_EXACT)
    down, across = (torch.tensor([(2 * i + 1) * side % (2 * n) == 0 for i in range(n)])  # on the boundary of two pixels
                    for n, side in zip(size, (96, 128), strict=True))
    apart = ~(down[:, None] | across)
    assert torch.equal(ours[..., apart], theirs[..., apart])


@pytest.mark.cpu
@pytest.mark.parametrize("angle", [0, 30, 45, 180])
def test_nearest_is_the_same_everywhere(simd, angle):
    images = pictures()
    steps = [am.RandomHorizontalFlip(1.0), turn(angle, "nearest"), am.Resize((48, 64), "nearest", antialias=False)]
    ours = bytes_of(steps, images)
    simd("base")
    assert torch.equal(ours, bytes_of(steps, images))


# ---- far away ----

FAR = {
    "reflect, scale": "padded('reflect'), shrunk(0, 'nearest')",
    "edge, scale": "padded('edge'), shrunk(9, 'bicubic')",
    "reflect, shrink": "padded('reflect'), shrunk(20, 'bilinear'), am.Resize((3, 2), 'bicubic'), am.Resize((224, 224))",
    "many shrinks": "padded('edge'), *[shrunk(9, 'nearest')] * 3, am.Resize((1, 1)), turned, am.Resize((400, 400), 'bicubic')",
    "large, to one pixel": "am.RandomCrop(2000, 99, True, padding_mode='symmetric'), turned, am.Resize((1, 1))",
}


@pytest.mark.parametrize("name", FAR)
def test_a_view_from_far_away_ends(name):
    """A window is bounded whatever the recipe: a process that renders for minutes is stopped."""
    program = f"""
import torch, anamorph as am
padded = lambda mode: am.RandomCrop(40, 9, padding_mode=mode)
shrunk = lambda degrees, mode: am.RandomAffine(degrees, scale=(.001, .001), interpolation=mode)
turned = am.RandomRotation(9)
recipe = am.Recipe([{FAR[name]}])
for dtype in (torch.uint8, torch.float32):
    views = am.render(torch.ones(2, 64, 48, 3, dtype=dtype), recipe.plan([0, 1], size=(64, 48)))
    assert torch.isfinite(views).all()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


@here
@pytest.mark.parametrize("mode", MIRRORS)
def test_a_mirrored_picture_shrunk_to_a_few_pixels(mode):
    """Hundreds of taps each way, all of them counted: torchvision's."""
    images = pictures()
    padded = F.pad(unit(images), [30], padding_mode=mode)
    for size in ((1, 1), (2, 3)):
        close(render([am.Pad(30, padding_mode=mode), am.Resize(size)], images)[0], F.resize(padded, list(size), antialias=True),
              1e-4)


# ---- behind the viewer ----

@here
@pytest.mark.parametrize("distortion", [0.8, 1.0])
def test_behind_the_viewer_there_is_the_fill(distortion):
    """torchvision divides by a negative z there; before the viewer we are alike, where the picture has no fringe."""
    images, seen = pictures(), 0
    for epoch in range(8):
        ours, plan = render([am.RandomPerspective(distortion, 1.0, fill=90)], images, epoch=epoch)
        for view, picture, m in zip(ours, unit(images), word(plan, "MATRIX", 9, torch.float32).double(), strict=True):
            ys, xs = torch.meshgrid(torch.arange(96) + 0.5, torch.arange(128) + 0.5, indexing="ij")
            z = m[6] * xs + m[7] * ys + m[8]
            coefficients = (m / m[8])[:8].tolist()

            def theirs(x, fill, c=coefficients):
                return F.perspective(x, None, None, Mode.BILINEAR, fill, coefficients=c)

            cover = theirs(torch.ones_like(picture), None)
            whole = ((cover < 1e-6) | (cover > 1 - 1e-6)) & (z > 0.05)
            close(view[whole], theirs(picture, [90 / 255] * 3)[whole], 2e-3)
            assert (view[:, z <= 0] == np.float32(90) * np.float32(1 / 255)).all()
            seen += bool((z <= 0).any())
    assert seen


# ---- many channels ----

MANY = {"resized": ([am.Resize((30, 44))], lambda x: F.resize(x, [30, 44], antialias=True)),
        "turned": ([turn(20, center=(9, 7))], lambda x: F.rotate(x, 20, Mode.BILINEAR, center=[9, 7])),
        "cut": ([am.CenterCrop(30), am.RandomVerticalFlip(1.0)], lambda x: F.vertical_flip(F.center_crop(x, [30])))}


@pytest.mark.parametrize("channels", [5, 8, 13, 16])
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
@pytest.mark.parametrize("name", MANY)
def test_many_channels_are_torchvisions(simd, name, memory_format, channels):
    """What needs no colour, in either layout, with numbers of their own for Normalize."""
    photos = pictures(40, 50)
    images = np.concatenate([photos, 255 - photos[:, ::-1], photos[:, :, ::-1]] * 2, 3)[..., :channels]
    mean, std = [0.03 * k for k in range(channels)], [0.2 + 0.01 * k for k in range(channels)]
    steps, theirs = MANY[name]
    recipe = am.Recipe([*steps, am.RandomInvert(1.0), am.RandomErasing(1.0, value=0.3), am.Normalize(mean, std)],
                       memory_format=memory_format)
    plan = recipe.plan(range(4), size=(40, 50))
    theirs = F.invert(theirs(unit(images)))
    for i, row in enumerate(plan.table()):
        (x0, y0, x1, y1), _ = row["erased"][0]
        theirs[i, :, y0:y1, x0:x1] = 0.3
    theirs = F.normalize(theirs, mean, std)
    for layout, same in (("NHWC", torch.from_numpy(images)), ("NCHW", nchw(images))):
        ours = am.render(same, plan, layout=layout)
        assert ours.is_contiguous(memory_format=recipe._torch_format)
        close(ours, theirs, 5e-4)


@here
def test_labels_of_many_channels():
    images = np.concatenate([pictures(24, 24)] * 3, 3)
    recipe = am.Recipe([am.MixUp(partner="roll")], num_classes=4)
    plan = recipe.plan(range(4), size=(24, 24))
    views, soft = am.render(images, plan, targets=[0, 1, 2, 3])
    for i, row in enumerate(plan.table()):
        close(views[i], row["lam"] * unit(images)[i] + (1 - row["lam"]) * unit(images)[i - 1], 1e-3)
        close(soft[i], row["lam"] * torch.eye(4)[i] + (1 - row["lam"]) * torch.eye(4)[i - 1], 1e-3)
