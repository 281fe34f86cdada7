"""A picture of what each transform of point clouds does: a teapot, two weak draws of it, three strong ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

import anamorph as am
from anamorph.cli.arguments import output_file
from anamorph.cli.preview import contact_sheet
from anamorph.cli.shapes import plane, teapot
from anamorph.cli.spheres import ADDED, by_share, drawn
from anamorph.points.transforms import Transform

WEAK, STRONG = 2, 3  # draws
SEVERITIES = (1, 3, 5)
COLORS = 96  # of a sheet's palette

Pair = tuple[list[Transform], list[Transform]]


def pairs() -> dict[str, Pair]:
    """The weak and the strong list of each transform that has a look."""
    P = am.points
    turn, noise, fewer = P.Rotate(30), P.Jitter(0.03, None), P.Dropout(0.7)

    def one(weak: Transform, strong: Transform) -> Pair:
        return [weak], [strong]

    found = {
        "AddGlobal": one(P.AddGlobal(20), P.AddGlobal(200)),
        "AddLocal": one(P.AddLocal(100), P.AddLocal(500)),
        "DropLocal": one(P.DropLocal(200), P.DropLocal(1000)),
        "Dropout": one(P.Dropout((0, 0.5)), P.Dropout(0.875)),
        "FarthestSample": one(P.FarthestSample(1024), P.FarthestSample(128)),
        "Flip": one(P.Flip("x", 1), P.Flip("xyz")),
        "Jitter": one(P.Jitter(), P.Jitter(0.05, None)),
        "Normalize": ([P.Scale(0.4, 0.6), P.Translate(0.4), P.Normalize()], [P.Scale(0.2, 1.2, True), P.Normalize()]),
        "OneOf": one(P.OneOf([turn, noise], p=0.5), P.OneOf([turn, noise, fewer])),
        "PointWOLF": one(P.PointWOLF(degrees=5, scale=1.5, shift=0.1), P.PointWOLF()),
        "RSMix": one(P.RSMix(1, neighbours=True, most=400), P.RSMix(1, neighbours=True, most=1600)),
        "RandomApply": one(P.RandomApply([turn, noise], p=0.5), P.RandomApply([turn, noise], p=0.9)),
        "RandomInputDropout": one(P.RandomInputDropout((0.2, 0.4)), P.RandomInputDropout((0.6, 0.95))),
        "RandomRotation": one(P.RandomRotation(), P.RandomRotation()),
        "Resample": one(P.Resample(1024), P.Resample(128)),
        "Rotate": one(P.Rotate(30), P.Rotate()),
        "RotateXYZ": one(P.RotateXYZ(10), P.RotateXYZ(45)),
        "RotationJitter": one(P.RotationJitter(), P.RotationJitter(20, 40)),
        "Scale": one(P.Scale(), P.Scale(2 / 3, 3 / 2, per_axis=True)),
        "Shear": one(P.Shear(), P.Shear(0.6)),
        "Shuffle": one(P.Shuffle(), P.Shuffle()),
        "Translate": one(P.Translate(0.1), P.Translate(0.3)),
    }
    found["PointCutMix"] = one(P.PointCutMix("K", 1), P.PointCutMix("R", 1))
    found["PointMixup"] = one(P.PointMixup(0.4), P.PointMixup(2))
    found["WOLFMix"] = P.WOLFMix(rsmix=P.RSMix(1, neighbours=True, most=400)), P.WOLFMix(rsmix=P.RSMix(1, neighbours=True))
    return found


def heights(points: torch.Tensor) -> torch.Tensor:
    """A colour for each point of a cloud, by its height: float32 ``[N, 3]``."""
    y = points[:, 1]
    share = (y - y.min()) / (y.max() - y.min())
    return torch.from_numpy(by_share(share.numpy()).astype(np.float32))


def views(points: torch.Tensor, colors: torch.Tensor, transforms: list[Transform], numbers: range, side: int, seed: int,
          by_order: bool = False) -> tuple[list[np.ndarray], list[str]]:
    """Pictures of the first cloud's views, and how many points each has. The colours go where their points go, or follow the
    list (``by_order``). What was added has a colour of its own."""
    recipe = am.points.Recipe(transforms)
    pictures, captions = [], []
    for view in numbers:
        plan = recipe.plan(range(len(points)), count=points.shape[1], seed=seed, view=view)
        found = am.points.render(points, plan, attributes={"colors": colors})
        n = int(plan.counts[0])
        shown, color = found["points"][0, :n].numpy(), found["colors"][0, :n].numpy()
        color = np.where((found["origin"][0, :n] < 0).numpy()[:, None], ADDED, colors[0, :n].numpy() if by_order else color)
        pictures.append(drawn(shown, color, side))
        captions.append(f"{n:,} points")
    return pictures, captions


def transform_sheets(side: int, seed: int) -> dict[str, Image.Image]:
    """A row for each transform."""
    # The plane, which is what a teapot may be mixed with, in greys.
    points = torch.stack([teapot(), plane()])
    grey = heights(points[1]).mean(1, keepdim=True).expand(-1, 3) * 0.5 + 30
    colors = torch.stack([heights(points[0]), grey])
    original = drawn(points[0].numpy(), colors[0].numpy(), side)
    titles, found = ["original", *["weak"] * WEAK, *["strong"] * STRONG], {}
    for name, lists in pairs().items():
        row, captions = [original], [f"{points.shape[1]:,} points"]
        for transforms, numbers in zip(lists, (range(WEAK), range(WEAK, WEAK + STRONG)), strict=True):
            pictures, counts = views(points, colors, transforms, numbers, side, seed, name == "Shuffle")
            row, captions = row + pictures, captions + counts
        found[name] = contact_sheet([row], cell=side, titles=titles, captions=[captions] if len({*captions}) > 1 else [])
    return found


def recipe_sheet(side: int, seed: int) -> Image.Image:
    """Views of both shapes by README's recipe."""
    P = am.points
    points = torch.stack([teapot(), plane()])
    colors = torch.stack([heights(cloud) for cloud in points])
    transforms = [P.PointWOLF(), P.Rotate(180, "y"), P.Scale(2 / 3, 3 / 2, per_axis=True), P.DropLocal(200),
                  P.Jitter(0.01, 0.02), P.Resample(1024)]
    rows = []
    for k in range(2):
        pictures, _ = views(points.roll(k, 0), colors.roll(k, 0), transforms, range(WEAK + STRONG), side, seed + k)
        rows.append([drawn(points[k].numpy(), colors[k].numpy(), side), *pictures])
    return contact_sheet(rows, cell=side, titles=["original", *["view"] * (WEAK + STRONG)])


def corruption_sheets(side: int, seed: int) -> dict[str, Image.Image]:
    """A row for each of ModelNet-C's corruptions, of the teapot in 1,024 points."""
    points = teapot(1024)[None]
    colors = heights(points[0])[None]
    original = drawn(points[0].numpy(), colors[0].numpy(), side)
    titles, found = ["original", *(f"severity {s}" for s in SEVERITIES)], {}
    for name in am.points.corruptions.NAMES:
        row, captions = [original], ["1,024 points"]
        for severity in SEVERITIES:
            recipe = am.points.corruptions.corruption(name, severity)
            pictures, counts = views(points, colors, list(recipe.transforms), range(1), side, seed)
            row, captions = row + pictures, captions + counts
        found[name] = contact_sheet([row], cell=side, titles=titles, captions=[captions] if len({*captions}) > 1 else [])
    return found


def gallery_points(folder: str | Path, *, seed: int = 0, cell: int = 112) -> Path:
    """Write ``NAME.png`` into ``folder`` for every transform of point clouds, ``corruption-NAME.png`` for every corruption, and
    ``recipe.png`` for README's recipe."""
    sheets = transform_sheets(cell, seed) | {"recipe": recipe_sheet(cell, seed)}
    sheets |= {f"corruption-{name}": sheet for name, sheet in corruption_sheets(cell, seed).items()}
    for name, sheet in sheets.items():
        target = output_file("--output", str(Path(folder) / f"{name}.png"))
        sheet.quantize(COLORS, dither=Image.Dither.NONE).save(target, "PNG", optimize=True)
    return Path(folder)
