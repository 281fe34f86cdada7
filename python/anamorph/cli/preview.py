"""See what a recipe of pictures or point clouds does: a contact sheet with the originals in front and their views beside them."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

import anamorph as am
from anamorph.cli.arguments import output_file
from anamorph.cli.cloud_views import cloud_rows, some_clouds
from anamorph.data.decode import decoded
from anamorph.data.folder import IMAGE_SUFFIXES, contents, pictures

FROM_A_FOLDER = 8  # pictures
MOST_PIXELS = 2**26  # of a sheet; Pillow warns of larger pictures when it opens them
PAPER, INK, FAINT = (250, 249, 246), (32, 34, 38), (128, 130, 136)


def load_recipe(spec: str, kinds: tuple[type, ...] = (am.Recipe,)) -> Any:
    """The recipe that ``FILE.py:NAME`` names, of one of ``kinds``, or made by a function without arguments."""
    path, _, name = spec.rpartition(":")
    if not path or not name:
        raise am.ArgumentError(f"--recipe wants FILE.py:NAME, got {spec!r}")
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"no recipe file {path}")

    module_name = f"_anamorph_recipe_{file.stem}"
    loader = importlib.util.spec_from_file_location(module_name, file)
    if loader is None or loader.loader is None:
        raise am.ArgumentError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(loader)
    # Registered, and with its folder on the path, so that dataclasses and neighbouring imports work in it.
    sys.modules[module_name] = module
    sys.path.insert(0, str(file.resolve().parent))
    try:
        loader.loader.exec_module(module)
        found = getattr(module, name, module)
        recipe = found() if callable(found) and not isinstance(found, kinds) else found
    except (Exception, SystemExit) as error:  # whatever a user's file may raise becomes one line
        raise am.ArgumentError(f"{spec}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)
    if recipe is module:
        raise am.ArgumentError(f"{path} defines no {name!r}")
    if not isinstance(recipe, kinds):
        names = " or ".join(dict.fromkeys(kind.__name__ for kind in kinds))
        raise am.ArgumentError(f"{spec} is a {type(recipe).__name__}, not a {names}")
    return recipe


def some_pictures(path: str) -> list[str]:
    """The picture, or of a folder and those in it some pictures, evenly spread over the sorted paths."""
    if not Path(path).is_dir():
        return [path]
    found = pictures(path)
    if not found:
        raise am.ArgumentError(f"{path}: expected a folder with pictures, files that end in {', '.join(IMAGE_SUFFIXES)}")
    count = min(len(found), FROM_A_FOLDER)
    return [found[i * len(found) // count] for i in range(count)]


def read_image(path: str | Path) -> np.ndarray:
    """A picture as uint8 [H, W, 3], just as the Loader decodes it."""
    return decoded(contents(path), str(path)).numpy()


def displayable(images: torch.Tensor, recipe: am.Recipe) -> np.ndarray:
    """Rendered images as uint8 [B, H, W, C]: cast back and, if the recipe normalises, un-normalised."""
    if images.dtype != torch.uint8:
        images = images.to(torch.float32, copy=True)
        if recipe.mean is not None:
            mean, std = (torch.tensor(v, device=images.device).view(-1, 1, 1) for v in (recipe.mean, recipe.std))
            images.mul_(std).add_(mean)
        images = images.mul_(255).round_().clamp_(0, 255).to(torch.uint8)
    return images.permute(0, 2, 3, 1).cpu().numpy()


def augmented_views(images: Sequence[np.ndarray], recipe: am.Recipe, count: int, *, seed: int = 0,
                    epoch: int = 0) -> Iterator[np.ndarray]:
    """``count`` views of every picture, ready to show: one uint8 [B, H, W, C] per view.

    View ``v`` is what a training run with this seed and epoch would see of samples 0 .. B-1. What MaskMix asks for is a
    ramp: the view itself on the left passes into its partner on the right; what RandomIoUCrop asks for is the middle.
    """
    sizes = [image.shape[:2] for image in images]
    # A recipe without a size of its own takes only pictures that agree, and wants to be told so.
    size = sizes[0] if len(set(sizes)) == 1 else torch.tensor(sizes)
    sources = am.Ragged.from_list([torch.from_numpy(image) for image in images])
    for view in range(count):
        boxes = None
        if recipe._boxed:  # objects as large as the middle of each picture
            boxes = torch.tensor([[[w / 4, h / 4, w * 3 / 4, h * 3 / 4]] for h, w in sizes])
        plan = recipe.plan(torch.arange(len(images)), seed=seed, epoch=epoch, view=view, size=size, boxes=boxes)
        height, width = plan.output_size
        mask = torch.linspace(1, 0, width).expand(len(images), 1, height, width) if recipe._masks else None
        yield displayable(am.render(sources, plan, mask=mask), recipe)


def contact_sheet(rows: Sequence[Sequence[np.ndarray]], *, cell: int = 192, titles: Sequence[str] = (),
                  headings: Sequence[str] = (), captions: Sequence[Sequence[str]] = ()) -> Image.Image:
    """Rows of pictures in square cells of ``cell`` pixels.

    ``titles`` stand above the columns and ``headings`` above the rows; ``captions[r][c]`` is printed under
    its picture and may have several lines. Every picture is fitted into its cell with its proportions kept.
    """
    gap = max(6, cell // 24)
    text = int(min(18, max(10, cell / 10)))
    font = ImageFont.load_default(size=text)
    leading = int(text * 1.25)
    head = leading + gap if any(titles) else 0
    above = [leading + gap if heading else 0 for heading in headings]
    above += [0] * (len(rows) - len(above))
    below = [leading * max((c.count("\n") + 1 for c in line if c), default=0) for line in captions]
    below += [0] * (len(rows) - len(below))

    columns = max(len(row) for row in rows)
    width = gap + columns * (cell + gap)
    height = gap + head + len(rows) * (cell + gap) + sum(above) + sum(below)
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)

    for column, title in enumerate(titles):
        x = gap + column * (cell + gap) + cell // 2
        draw.text((x, gap), shorten(title, font, cell), INK if column == 0 else FAINT, font, anchor="ma")
    y = gap + head
    for r, row in enumerate(rows):
        if above[r]:
            draw.text((gap, y + gap // 2), headings[r], FAINT, font)
        y += above[r]
        for c, picture in enumerate(row):
            x = gap + c * (cell + gap)
            tile = fitted(picture, cell)
            sheet.paste(tile, (x + (cell - tile.width) // 2, y + (cell - tile.height) // 2))
            if r < len(captions) and c < len(captions[r]):
                for i, line in enumerate(captions[r][c].split("\n")):
                    place = (x + cell // 2, y + cell + gap // 2 + i * leading)
                    draw.text(place, shorten(line, font, cell), INK, font, anchor="ma")
        y += cell + gap + below[r]
    return sheet


def fitted(picture: np.ndarray, cell: int) -> Image.Image:
    """The picture as large as its cell allows. Small pictures keep their pixels visible."""
    if picture.shape[2] == 1:
        picture = np.repeat(picture, 3, axis=2)
    image = Image.fromarray(np.ascontiguousarray(picture))
    scale = cell / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.LANCZOS)


def shorten(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """``text`` cut with an ellipsis so that it is no wider than ``width`` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def preview(paths: Sequence[str], recipe_spec: str, output: str, *, views: int = 6, seed: int = 0, epoch: int = 0,
            cell: int = 192) -> Path:
    """Write the contact sheet of a recipe: one row per picture or cloud, the original first, then its views."""
    if views < 1 or cell < 16:
        raise am.ArgumentError("a preview needs at least one view and cells of at least 16 pixels, "
                               f"given --views {views} and --size {cell}")
    recipe = load_recipe(recipe_spec, (am.Recipe, am.points.Recipe))
    of_clouds = isinstance(recipe, am.points.Recipe)
    files = [file for path in paths
             for file in (some_clouds(path, FROM_A_FOLDER) if of_clouds and Path(path).is_dir() else some_pictures(path))]
    if len(files) * (views + 1) * cell**2 > MOST_PIXELS:
        raise am.ArgumentError(f"expected a sheet of at most {MOST_PIXELS // 10**6} million pixels, given "
                               f"{len(files)} x {views + 1} cells of {cell} x {cell}; try a smaller --size or --views")
    target = output_file("--output", output)
    names = [Path(path).name for path in files]
    if of_clouds:
        rows, captions = cloud_rows(files, recipe, views, seed=seed, epoch=epoch, side=cell)
        captions = [[f"{name}\n{first}", *others] for name, (first, *others) in zip(names, captions, strict=True)]
    else:
        originals = [read_image(path) for path in files]
        rows, captions = [[original] for original in originals], [[name] for name in names]
        for view in augmented_views(originals, recipe, views, seed=seed, epoch=epoch):
            for row, picture in zip(rows, view):
                row.append(np.asarray(fitted(picture, cell)))  # a view may be as large as its picture
    titles = ["original", *(f"view {v}" for v in range(views))]
    sheet = contact_sheet(rows, cell=cell, titles=titles, captions=captions)
    sheet.save(target, "PNG")
    return target
