"""Lists of transforms that together reach every op and every branch of the engine."""

from hypothesis import strategies as st

import anamorph as am

SINGLE = {
    "resized crop": [am.RandomResizedCrop((24, 31))],
    "resized crop, far": [am.RandomResizedCrop(20, (0.9, 1.0), (5.0, 6.0), "bicubic")],  # the ten tries fail
    "resized crop, nearest": [am.RandomResizedCrop(17, interpolation="nearest", antialias=False)],
    "resize": [am.Resize((19, 50))],
    "resize, lanczos": [am.Resize((23, 40), "lanczos")],
    "area, turned": [am.Resize((20, 24), "area"), am.RandomRotation(20, "bilinear")],
    "resize, bicubic up": [am.Resize((60, 70), "bicubic", antialias=False)],
    "resize, shorter side": [am.Resize(20, max_size=25), am.CenterCrop(18)],
    "center crop": [am.CenterCrop((50, 21))],
    "crop": [am.RandomCrop(30, 4, fill=(9, 80, 200))],
    "crop, reflect": [am.RandomCrop(30, (3, 5), padding_mode="reflect")],
    "crop, symmetric": [am.RandomCrop((33, 41), pad_if_needed=True, padding=2, padding_mode="symmetric")],
    "crop, edge": [am.RandomCrop(36, 9, padding_mode="edge")],
    "flips": [am.RandomHorizontalFlip(), am.RandomVerticalFlip()],
    "rotation": [am.RandomRotation(40, "bilinear", fill=120)],
    "rotation, expanded": [am.RandomRotation((10, 80), "bicubic", expand=True), am.Resize((25, 25))],
    "rotation, centre": [am.RandomRotation(180, center=(3, 4))],
    "affine": [am.RandomAffine(30, (0.2, 0.1), (0.6, 1.5), (-10, 10, -5, 5), "bilinear", (5, 6, 7))],
    "affine, bicubic": [am.RandomAffine(20, scale=(0.8, 1.2), interpolation="bicubic", fill=77, center=(10, 10))],
    "perspective": [am.RandomPerspective(0.7, 0.8, fill=33)],
    "perspective, bicubic": [am.RandomPerspective(0.3, 1.0, "bicubic")],
    "turns": [am.D4(), am.RandomRotate90(0.7), am.CenterCrop((30, 41), fill=50)],
    "transposed": [am.Transpose(), am.Resize((31, 22))],
    "padded": [am.Pad((1, 2, 3, 4), fill=(9, 8, 7)), am.PadIfNeeded((50, 20), (7, 16), 40)],
    "padded, reflect": [am.Pad(5, padding_mode="reflect"), am.RandomAffine(20, interpolation="bilinear")],
    "padded to a square": [am.Resize(21), am.PadToSquare(padding_mode="edge"), am.CenterCrop(26)],
    "letter box": [am.LetterBox((40, 30), 114)],
    "longer side": [am.Resize(None, max_size=33), am.CenterCrop((20, 40))],
    "crop and pad": [am.CropAndPad(px=(-9, 9), fill=70), am.CropAndPad(percent=(0.1, (-0.2, 0), 0, (-0.5, 0.5)), p=0.5)],
    "crop and pad, one draw": [am.CropAndPad((-30, 6), keep_size=False, sample_independently=False, padding_mode="symmetric"),
                               am.CenterCrop(30)],
    "affine, two scales": [am.RandomAffine(30, scale=(0.7, 1, 1, 1.6), shear=9, interpolation="bilinear")],
    "warp": [am.Warp([[1.1, 0.2, -3], [-0.1, 0.9, 5]], fill=60)],
    "warp, perspective": [am.Warp([[1, 0.1, 2], [0, 1, 1], [0.002, 0.001, 1]], (30, 50), "bicubic", inverse=True)],
    "perspective, given": [am.Perspective([(0, 0), (40, 0), (40, 30), (0, 30)], [(3, 2), (38, 5), (44, 33), (1, 28)])],
    "five crops": [am.FiveCrop((20, 30))],
    "ten crops": [am.TenCrop(25, vertical_flip=True), am.ColorJitter(0.3)],
    "jitter": [am.ColorJitter(0.5, 0.5, 0.5, 0.3)],
    "jitter, midgray": [am.ColorJitter(0.5, 0.9, 2.0, 0.5, "midgray")],
    "two contrasts": [am.ColorJitter(contrast=0.5), am.RandomInvert(), am.ColorJitter(contrast=0.9, hue=0.2)],
    "switches": [am.RandomGrayscale(0.5), am.RandomInvert(), am.RandomPosterize(3), am.RandomSolarize(100)],
    "channels": [am.RandomChannelPermutation(), am.ColorJitter(0.3)],
    "erasing": [am.RandomErasing(0.8, value=(0.2, 0.4, 0.6))],
    "erasing, noise": [am.RandomErasing(1.0, value="random"), am.RandomErasing(0.5, value="channel")],
    "erasing, several": [am.RandomErasing(0.9, min_count=2, max_count=5), am.RandomErasing(1.0, num_splits=2)],
    "erasing, uniform": [am.CoarseDropout((1, 8), value="uniform", p=1.0), am.Normalize(0.4, 0.3),
                         am.CoarseDropout((3, 3), (1, 9), (4, 60), "uniform channel")],
    "erasing, normalised": [am.Normalize(0.4, 0.3), am.RandomErasing(1.0, value=-1.5)],
    "cutout": [am.Cutout(13, (0.1, 0.5, 0.9)), am.Normalize(0.4, 0.3), am.Cutout(40, p=0.5)],
    "grid mask": [am.GridMask((5, 24)), am.RandomApply([am.GridMask((9, 9), 0.3, 30, 0, (0.1, 0.5, 0.9), 1.0)], 0.5)],
    "grid mask, normalised": [am.ColorJitter(0.4), am.Normalize(0.4, 0.3), am.GridMask((3, 40), 0.45, value=0.2, p=1.0),
                              am.MixUp()],
    "hide and seek": [am.HideAndSeek((0, 4, 7, 32), 0.4, (0.2, 0.6, 0.8)), am.ResizeMix()],
    "hide and seek, normalised": [am.Normalize(0.5, 0.2), am.HideAndSeek((1,), 0.7, p=0.9), am.HideAndSeek((9,)), am.CutMix()],
    "normalize": [am.Normalize((0.4, 0.5, 0.6), (0.2, 0.3, 0.4))],
    "mixup": [am.MixUp(0.3)],
    "mixup, batch": [am.RandomHorizontalFlip(), am.MixUp(0.8, "batch", "roll")],
    "cutmix, pair": [am.CutMix(1.0, "pair")],
    "cutmix": [am.RandomHorizontalFlip(), am.CutMix(1.0)],
    "resizemix": [am.ColorJitter(0.5), am.RandomErasing(1.0), am.ResizeMix()],
    "cutmix, sides": [am.CutMix(minmax=(0.2, 0.9))],
    "cutmix, as drawn": [am.CutMix(0.5, correct_lam=False)],
    "gamma": [am.RandomGamma((0.3, 3.0), 0.8), am.RGBShift(60, (0, 30), 90, 0.9)],
    "some of": [am.SomeOf([am.RandomInvert(1.0), am.RandomPosterize(2, 1.0), am.ColorJitter(0.4), am.RandomHorizontalFlip()],
                          (1, 3), random_order=True)],
    "some of, repeated": [am.SomeOf([am.ColorJitter(0.4), am.SomeOf([am.RandomErasing(), am.ColorJitter(hue=0.2)], 2, True),
                                     am.RandomAffine(10, interpolation="bilinear")], (0, 4), True, p=0.9)],
    "one of many": [am.OneOf([am.RandomPosterize(1 + i % 8, 1.0) for i in range(40)], 0.9, range(1, 41))],
    "one of": [am.OneOf([am.MixUp(0.2), am.CutMix(0.5), am.ResizeMix((0.3, 1.0))], 0.7, [1, 2, 3])],
    "nested": [am.RandomApply([am.RandomOrder([am.RandomGrayscale(0.3), am.ColorJitter(0.4, 0, 0.4),
                                               am.RandomChoice([am.RandomInvert(1.0), am.RandomPosterize(2, 1.0)], [1, 3])]),
                               am.RandomAffine(10)], 0.8)],
    "stretched": [am.RandomAutocontrast(0.7), am.RandomGrayscale(0.3), am.RandomEqualize(0.7)],
    "equalized, turned": [am.RandomEqualize(1.0), am.RandomRotation(40, "bilinear", fill=200), am.RandomAutocontrast(0.5)],
    "blurred": [am.RandomResizedCrop(29), am.GaussianBlur((5, 9)), am.RandomAdjustSharpness(2.0)],
    "blurred, zeros": [am.RandomAffine(30, interpolation="bilinear", fill=90), am.GaussianBlur(11, 2.0, "zero"), am.CutMix()],
    "blurred, boxes": [am.RandomHorizontalFlip(), am.GaussianBlur(1, (0.3, 3.0), "pil"), am.ResizeMix()],
    "noise": [am.GaussianNoise(0.1, 0.2), am.RandomInvert(), am.GaussianNoise(clip=False), am.MixUp()],
    "distorted": [am.RandomPhotometricDistort(), am.RandomSolarizeAdd(60)],
    "chain": [am.RandomResizedCrop(28), am.RandomHorizontalFlip(),
              am.RandomAffine(15, (0.1, 0.1), (0.9, 1.1), 5), am.ColorJitter(0.4, 0.4, 0.4, 0.1), am.RandomErasing(0.25),
              am.OneOf([am.MixUp(0.8), am.CutMix(1.0), am.ResizeMix()], p=0.5),
              am.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))],
}

_geometry = st.sampled_from([
    am.RandomHorizontalFlip(), am.RandomVerticalFlip(), am.RandomAffine(25, (0.1, 0.2), (0.7, 1.3), 9, "bilinear"),
    am.RandomRotation(50, "bilinear", fill=90), am.RandomPerspective(0.4, 0.7), am.Resize((21, 26)),
    am.RandomResizedCrop((22, 18)), am.RandomCrop(16, 3, pad_if_needed=True), am.CenterCrop(20),
])
_color = st.sampled_from([
    am.ColorJitter(0.4, 0.4, 0.4, 0.1), am.ColorJitter(0.2, contrast_mode="midgray", contrast=0.3), am.RandomGrayscale(0.4),
    am.RandomInvert(), am.ColorJitter(hue=0.5),
])
_rest = st.sampled_from([[], [am.RandomErasing(0.6)], [am.MixUp(0.5)], [am.RandomErasing(), am.CutMix(1.0)], [am.ResizeMix()],
                         [am.OneOf([am.MixUp(1.0), am.CutMix(0.7)], p=0.6)], [am.Normalize(0.45, 0.22)]])


@st.composite
def lists(draw):
    """A random list of transforms."""
    geometry = draw(st.lists(_geometry, max_size=4))
    colors = draw(st.lists(_color, max_size=3))
    if colors and draw(st.booleans()):
        colors = [am.RandomApply([am.RandomOrder(colors)], 0.7)]
    return [*geometry, *colors, *draw(_rest)]
