"""A picture of what each transform does: the original, two weak draws, three strong ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from skimage import data

import anamorph as am
from anamorph.cli.arguments import output_file
from anamorph.cli.gallery_points import gallery_points
from anamorph.cli.preview import augmented_views, contact_sheet
from anamorph.images.frames import CHANGES
from anamorph.images.transforms import Transform

WEAK, STRONG = 2, 3  # draws
FRAMES = 8  # of a clip
COLORS = 128  # of a sheet's palette

Pair = tuple[list[Transform], list[Transform]]


def pairs(side: int) -> dict[str, Pair]:
    """The weak and the strong list of each transform that has a look, for pictures of ``side`` pixels."""
    part, flip = side * 5 // 8, am.RandomHorizontalFlip()
    jitter, solarize, grey = am.ColorJitter(0.6, 0.6, 0.6), am.RandomSolarize(128, p=1), am.RandomGrayscale(p=1)
    corners = [[0, 0], [side - 1, 0], [side - 1, side - 1], [0, side - 1]]

    def moved(by: float) -> list[list[float]]:
        return [[by * side, 0], [(1 - by) * side, by * side], [side - 1, side - 1], [0, (1 - by) * side]]

    def one(weak: Transform, strong: Transform) -> Pair:
        return [weak], [strong]

    return {
        "AugMix": one(am.AugMix(severity=1), am.AugMix(severity=10)),
        "AutoAugment": one(am.AutoAugment("cifar10"), am.AutoAugment("imagenet")),
        "CenterCrop": one(am.CenterCrop(side * 7 // 8), am.CenterCrop(side // 2)),
        "CoarseDropout": one(am.CoarseDropout(p=1), am.CoarseDropout((4, 8), p=1)),
        "ColorJitter": one(am.ColorJitter(0.2, 0.2, 0.2, 0.02), am.ColorJitter(0.8, 0.8, 0.8, 0.2)),
        "CropAndPad": one(am.CropAndPad(percent=(-0.1, 0.1)), am.CropAndPad(percent=(-0.3, 0.3))),
        "CutMix": one(am.CutMix(0.2), am.CutMix(1.0)),
        "D4": one(am.D4(p=0.5), am.D4()),
        "ElasticTransform": one(am.ElasticTransform(30.0, 5.0), am.ElasticTransform(120.0, 5.0)),
        "FiveCrop": one(am.FiveCrop(side * 7 // 8), am.FiveCrop(side // 2)),
        "GaussianBlur": one(am.GaussianBlur(9, (0.5, 1.0)), am.GaussianBlur(17, (2.0, 4.0))),
        "GaussianNoise": one(am.GaussianNoise(sigma=0.05), am.GaussianNoise(sigma=0.25)),
        "LetterBox": one(am.LetterBox(side), am.LetterBox((side, side // 2))),
        "MaskMix": one(am.MaskMix(), am.MaskMix("batch")),
        "MixUp": one(am.MixUp(0.2), am.MixUp(1.0)),
        "OneOf": one(am.OneOf([jitter, solarize, grey], p=0.5), am.OneOf([jitter, solarize, grey])),
        "Pad": one(am.Pad(side // 16, fill=128), am.Pad(side // 4, padding_mode="reflect")),
        "PadIfNeeded": one(am.PadIfNeeded(side, fill=128), am.PadIfNeeded(side * 5 // 4, fill=128)),
        "PadToSquare": one(am.PadToSquare(), am.PadToSquare(padding_mode="reflect")),
        "Perspective": one(am.Perspective(corners, moved(0.05)), am.Perspective(corners, moved(0.25))),
        "RGBShift": one(am.RGBShift(20, 20, 20, p=1), am.RGBShift(80, 80, 80, p=1)),
        "RandAugment": one(am.RandAugment(2, 5), am.RandAugment(2, 15)),
        "RandomAdjustSharpness": one(am.RandomAdjustSharpness(2, p=1), am.RandomAdjustSharpness(8, p=1)),
        "RandomAffine": one(am.RandomAffine(10, (0.05, 0.05), (0.9, 1.1), 5), am.RandomAffine(45, (0.2, 0.2), (0.6, 1.4), 25)),
        "RandomApply": one(am.RandomApply([jitter, flip], p=0.3), am.RandomApply([jitter, flip], p=0.9)),
        "RandomAutocontrast": one(am.RandomAutocontrast(), am.RandomAutocontrast(p=1)),
        "RandomChannelPermutation": one(am.RandomChannelPermutation(), am.RandomChannelPermutation()),
        "RandomChoice": one(am.RandomChoice([jitter, solarize]), am.RandomChoice([jitter, solarize, grey])),
        "RandomCrop": one(am.RandomCrop(side * 7 // 8), am.RandomCrop(side // 2)),
        "RandomEqualize": one(am.RandomEqualize(), am.RandomEqualize(p=1)),
        "RandomErasing": one(am.RandomErasing(p=1, scale=(0.02, 0.1)), am.RandomErasing(p=1, scale=(0.2, 0.4))),
        "RandomField": one(am.RandomField(translation=0.03, brightness=0.1),
                           am.RandomField(translation=0.05, brightness=0.3, saturation=0.5)),
        "RandomGamma": one(am.RandomGamma((0.8, 1.2), p=1), am.RandomGamma((0.3, 3.0), p=1)),
        "RandomGrayscale": one(am.RandomGrayscale(), am.RandomGrayscale(p=1)),
        "RandomHorizontalFlip": one(flip, am.RandomHorizontalFlip(p=1)),
        "RandomInvert": one(am.RandomInvert(), am.RandomInvert(p=1)),
        "RandomOrder": one(am.RandomOrder([solarize, am.RandomInvert(p=1)]), am.RandomOrder([solarize, jitter, grey])),
        "RandomPerspective": one(am.RandomPerspective(0.2, p=1), am.RandomPerspective(0.7, p=1)),
        "RandomPhotometricDistort": one(am.RandomPhotometricDistort(p=0.3), am.RandomPhotometricDistort(p=1)),
        "RandomPosterize": one(am.RandomPosterize(4, p=1), am.RandomPosterize(2, p=1)),
        "RandomResizedCrop": one(am.RandomResizedCrop(side, (0.6, 1)), am.RandomResizedCrop(side, (0.08, 0.3))),
        "RandomRotate90": one(am.RandomRotate90(), am.RandomRotate90(p=1)),
        "RandomRotation": one(am.RandomRotation(10), am.RandomRotation(90)),
        "RandomSolarize": one(am.RandomSolarize(200, p=1), am.RandomSolarize(64, p=1)),
        "RandomSolarizeAdd": one(am.RandomSolarizeAdd(32, p=1), am.RandomSolarizeAdd(110, p=1)),
        "RandomVerticalFlip": one(am.RandomVerticalFlip(), am.RandomVerticalFlip(p=1)),
        "Resize": one(am.Resize((side // 2, side // 2)), am.Resize((side // 8, side // 8))),
        "ResizeMix": one(am.ResizeMix((0.1, 0.4)), am.ResizeMix((0.4, 0.8))),
        "SharedAcrossViews": ([am.SharedAcrossViews([am.RandomResizedCrop(side)]), am.ColorJitter(0.2)],
                              [am.SharedAcrossViews([am.RandomResizedCrop(side)]), jitter]),
        "SomeOf": one(am.SomeOf([jitter, solarize, grey, flip], 1), am.SomeOf([jitter, solarize, grey, flip], 3)),
        "TenCrop": one(am.TenCrop(side * 7 // 8), am.TenCrop(part)),
        "Transpose": one(am.Transpose(), am.Transpose(p=1)),
        "TrivialAugmentWide": one(am.TrivialAugmentWide(), am.TrivialAugmentWide()),
        "Warp": one(am.Warp([[1, 0.1, 0], [0, 1, 0]]), am.Warp([[0.8, 0.5, 0], [-0.3, 0.8, side / 3]])),
        "auto_augment": one(am.auto_augment("rand-m5-mstd0.5"), am.auto_augment("rand-m9-n3-mstd0.5-inc1")),
        "FixedSizeCrop": one(am.FixedSizeCrop(side * 7 // 8), am.FixedSizeCrop((side // 2, side * 5 // 4), fill=128)),
        "LargeScaleJitter": one(am.LargeScaleJitter(side, (0.8, 1.25)), am.LargeScaleJitter(side)),
        "RandomIoUCrop": ([am.RandomIoUCrop(0.8), am.Resize((side, side))], [am.RandomIoUCrop(), am.Resize((side, side))]),
        "RandomShortestSize": ([am.RandomShortestSize([side, side * 7 // 8]), am.FixedSizeCrop(side)],
                               [am.RandomShortestSize([side // 4, side // 2, side]), am.FixedSizeCrop(side)]),
        "RandomZoomOut": ([am.RandomZoomOut(128, (1, 1.5)), am.Resize((side, side))],
                          [am.RandomZoomOut(128, p=1), am.Resize((side, side))]),
        "ScaleJitter": ([am.ScaleJitter(side, (0.8, 1.25)), am.CenterCrop(side)], [am.ScaleJitter(side), am.CenterCrop(side)]),
        "GridMask": one(am.GridMask((side // 4, side // 2), p=1), am.GridMask((side // 4, side // 2), 0.4, p=1)),
        "HideAndSeek": one(am.HideAndSeek((side // 14, side // 7), 0.25), am.HideAndSeek((side // 7, side // 4))),
        "Cutout": one(am.Cutout(side // 6), am.Cutout(side // 2)),
    }


# The astronaut's face, in shares of the square picture: its box, and eyes and mouth.
FACE = (0.35, 0.18, 0.63, 0.56)
POINTS = ((0.43, 0.34), (0.56, 0.33), (0.5, 0.47))


def moved_targets(side: int) -> dict[str, list[Transform]]:
    """What a sheet of boxes, masks and points shows."""
    return {"flip, turn": [am.RandomHorizontalFlip(1), am.RandomAffine(30, (0.1, 0.1), (0.8, 1.2), 10, interpolation="bilinear")],
            "perspective": [am.RandomPerspective(0.5, 1, interpolation="bilinear")], "field": [am.RandomField(0.04, 8, 0.1)],
            "large-scale jitter": [am.LargeScaleJitter(side)], "IoU crop": [am.RandomIoUCrop(), am.Resize((side, side))],
            "CutMix": [am.RandomHorizontalFlip(), am.CutMix()]}


def targets_sheet(side: int, seed: int) -> Image.Image:
    """The astronaut's views with what travels along: the face's box, its mask (bright) and three points."""
    pictures = np.stack(samples(side, False))
    edges = torch.tensor([FACE], dtype=torch.float32) * side
    y, x = torch.meshgrid(torch.arange(side) + 0.5, torch.arange(side) + 0.5, indexing="ij")
    middle, half = (edges[0, :2] + edges[0, 2:]) / 2, (edges[0, 2:] - edges[0, :2]) / 2
    mask = ((x - middle[0]) / half[0]) ** 2 + ((y - middle[1]) / half[1]) ** 2 < 1
    points = torch.tensor([[(x * side, y * side, 1) for x, y in POINTS]], dtype=torch.float32)
    target = {"boxes": edges, "masks": mask[None], "keypoints": points}
    nothing = {"boxes": edges[:0], "masks": mask[None][:0], "keypoints": points[:0]}
    targets, rows = [target, nothing, nothing], []
    for transforms in moved_targets(side).values():
        recipe = am.Recipe(transforms, num_classes=3, dtype=torch.uint8)
        row = [_drawn(pictures[0], target)]
        for view in range(WEAK + STRONG):
            boxes = [t["boxes"] for t in targets] if recipe._boxed else None
            plan = recipe.plan(range(3), size=(side, side), seed=seed, view=view, boxes=boxes)
            shown = am.render(pictures, plan, layout="NHWC").permute(0, 2, 3, 1)
            row.append(_drawn(shown[0].numpy(), plan.apply_targets(targets)[0]))
        rows.append(row)
    return contact_sheet(rows, cell=side, titles=["original", *["view"] * (WEAK + STRONG)], headings=list(moved_targets(side)))


def clips_sheet(side: int, seed: int) -> Image.Image:
    """The astronaut's picture as a video that stands still: the views of its frames, for each way in which they may differ."""
    picture = torch.from_numpy(samples(side, False)[0])
    recipe = am.Recipe([am.RandomResizedCrop(side, (0.4, 1)), am.RandomHorizontalFlip(), am.ColorJitter(0.4, 0.4, 0.4, 0.1),
                        am.RandomAffine(25, shear=10, interpolation="bilinear"), am.RandomErasing(1, (0.02, 0.1))], torch.uint8)
    rows = []
    for change in CHANGES:
        plan = recipe.plan([0], size=(side, side), seed=seed, frames=FRAMES, change=change, drift=1.0)
        views = am.render(picture.expand(1, FRAMES, -1, -1, -1), plan, layout="NHWC")
        rows.append([picture.numpy(), *views[0].permute(0, 2, 3, 1).numpy()])
    titles = ["original", *[f"frame {t}" for t in range(FRAMES)]]
    return contact_sheet(rows, cell=side, titles=titles, headings=[f'change="{change}"' for change in CHANGES])


def corruptions_sheet(side: int, seed: int) -> Image.Image:
    """The astronaut under each of ImageNet-C's corruptions that are here, by severity."""
    picture = torch.from_numpy(samples(side, False)[0])[None]
    severities = range(1, 6)
    suite = am.corruptions.suite()
    rows = [[picture[0].numpy(), *(one(picture, s, index=[0], seed=seed, layout="NHWC")[0].numpy() for s in severities)]
            for one in suite.values()]
    return contact_sheet(rows, cell=side, titles=["original", *[f"severity {s}" for s in severities]], headings=[*suite])


def shifts_sheet(side: int, seed: int) -> Image.Image:
    """The astronaut, coffee and cat under each family of shifts, twice; of edges the second time with all that can be drawn."""
    pictures = torch.from_numpy(np.stack(samples(side, False)))
    shifts = am.corruptions.shifts()
    rows = []
    for name, one in shifts.items():
        row = [*one(pictures, index=[0, 1, 2], seed=seed, layout="NHWC")]
        if name == "edges":
            row += [*am.corruptions.edge_map(pictures, (0.5, 1, 2), ("otsu", "yen", "mean", "isodata", "li"), 0.04, spread=0.2,
                                             index=[3, 4, 5], seed=seed, layout="NHWC")]
        else:
            row += [*one(pictures, index=[3, 4, 5], seed=seed, layout="NHWC")]
        rows.append([p.numpy() for p in row])
    return contact_sheet([[p.numpy() for p in pictures] * 2, *rows], cell=side, headings=["originals", *shifts])


def _drawn(picture: np.ndarray, target: dict[str, torch.Tensor]) -> np.ndarray:
    seen = target["masks"].any(0).numpy()[..., None]
    image = Image.fromarray(np.where(seen, 128 + picture // 2, picture // 3 * 2))
    draw = ImageDraw.Draw(image)
    for x0, y0, x1, y1 in target["boxes"].tolist():
        draw.rectangle((x0, y0, max(x1 - 1, x0), max(y1 - 1, y0)), outline=(255, 220, 0))
    for x, y, there in target["keypoints"].flatten(0, 1).tolist():
        if there:
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=(230, 30, 60))
    return np.asarray(image)


def samples(side: int, wide: bool) -> list[np.ndarray]:
    """Astronaut, coffee and cat: uint8, ``side`` pixels wide, square or 3 : 4."""
    height = side * 3 // 4 if wide else side
    found = []
    for picture in (data.astronaut()[:320, 64:384], data.coffee(), data.cat()):
        rows, columns = picture.shape[:2]
        across = min(columns, rows * side // height)
        down = min(rows, across * height // side)
        top, left = (rows - down) // 2, (columns - across) // 2
        image = Image.fromarray(picture[top:top + down, left:left + across])
        found.append(np.array(image.resize((side, height), Image.Resampling.LANCZOS)))
    return found


def gallery(folder: str, *, seed: int = 0, cell: int = 112) -> Path:
    """Write ``NAME.png`` into ``folder`` for every transform with a look of its own; those of point clouds into ``points``."""
    if not 32 <= cell <= 512:
        raise am.ArgumentError(f"--size: expected 32 to 512 pixels, given {cell}")
    titles = ["original", *["weak"] * WEAK, *["strong"] * STRONG]
    for number, (name, lists) in enumerate(pairs(cell).items()):
        target = output_file("--output", str(Path(folder) / f"{name}.png"))
        pictures = samples(cell, wide=name in {"LetterBox", "Pad", "PadIfNeeded", "PadToSquare"})
        pictures = pictures[number % 3:] + pictures[:number % 3]
        row = [pictures[0]]
        for transforms, draws in zip(lists, (WEAK, STRONG)):
            recipe = am.Recipe(transforms, num_classes=len(pictures), dtype=torch.uint8)
            row += [views[0] for views in augmented_views(pictures, recipe, draws, seed=seed)]
        _save(contact_sheet([row], cell=cell, titles=titles), target)
    for name, sheet in (("targets", targets_sheet), ("clips", clips_sheet), ("shifts", shifts_sheet)):
        _save(sheet(cell, seed), output_file("--output", str(Path(folder) / f"{name}.png")))
    # In all its colours, for a palette is a corruption too.
    target = output_file("--output", str(Path(folder) / "corruptions.png"))
    corruptions_sheet(max(32, cell * 3 // 4), seed).save(target, "PNG", optimize=True)
    gallery_points(Path(folder) / "points", seed=seed, cell=cell)
    return Path(folder)


def _save(sheet: Image.Image, target: Path) -> None:
    sheet.quantize(COLORS, dither=Image.Dither.NONE).save(target, "PNG", optimize=True)
