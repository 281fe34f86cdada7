"""Tasks whose labels are free: by how many quarter turns a picture was turned, in which order its tiles lie.

What is drawn is a pure function of (seed, epoch, sample id, view), as a plan is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DtypeError, ShapeError
from anamorph.core.tensors import as_integers
from anamorph.images.recipe import Recipe
from anamorph.images.transforms.base import Size, Transform, plain
from anamorph.images.transforms.compose import leaves
from anamorph.images.transforms.geometry import RandomHorizontalFlip, RandomVerticalFlip
from anamorph.images.transforms.program import Slot, slot
from anamorph.images.transforms.turns import D4, RandomRotate90, Transpose
from anamorph.images.transforms.views import TenCrop
from anamorph.training import given, philox
from anamorph.training.batches import Pictures

TURNS, JIGSAW, PERMUTATIONS = 1011, 1012, 1013  # slots behind a recipe's own, copy-paste's and mosaics'
_FLIPS = (RandomHorizontalFlip, RandomVerticalFlip)


def rotnet(images: Any) -> tuple[Tensor, Tensor]:
    """Each picture turned counter-clockwise by 0, 90, 180 and 270 degrees, and by how many quarters: the task of RotNet (Gidaris
    et al., "Unsupervised representation learning by predicting image rotations", ICLR 2018).

    Args:
        images: square ``[B, C, H, W]`` of any dtype.

    Returns:
        ``[B * 4, C, H, W]``, row b * 4 + k picture b turned k times, and int64 ``[B * 4]``, the k.

    Raises:
        ShapeError: pictures that are not square.
    """
    pictures = given.pictures("images", images, square=True)
    views = torch.stack([torch.rot90(pictures, k, (2, 3)) for k in range(4)], 1).flatten(0, 1)
    return views, torch.arange(4, device=pictures.device).repeat(len(pictures))


@dataclass(frozen=True)
class _Turn(Transform):
    """By ``quarters`` quarter turns clockwise, always."""

    quarters: int

    def slots(self) -> list[Slot]:
        counted = -self.quarters % 4  # counter-clockwise, as the op has them
        return [slot("TURN", [counted, counted])]

    def output_size(self, size: Size | None) -> Size | None:
        return size[::-1] if size is not None and self.quarters % 2 else size


class RotationPretext:
    """Turned views and by how many quarter turns clockwise: ScatSimCLR's rotation task (Kinakh et al., "ScatSimCLR", ICCVW 2021;
    github.com/vkinakh/scatsimclr), for a loss NT-Xent + 0.3 * cross-entropy. The turn is a part of the view's one map.

    Args:
        recipe: of the views, without quarter turns of its own (RandomRotate90, D4, Transpose) and without mixing; of pictures
            that are not square its output has one size.
        order: "flip first" (default): what the recipe flips, it flips before the turn. "official": as published, the turn comes
            first and the whole recipe after it. A flip turns the sense of a turn around: flip(rot90(x)) = rot270(flip(x)), so of
            pictures that look like their mirror images the labels 1 and 3 then have the same views, and no net is right more
            often than in 75 % of them.
        turns: "all": four views of each picture, as published; "one": one, by a turn that is drawn.

    Raises:
        ArgumentError: a recipe that cannot be.
    """

    def __init__(self, recipe: Recipe, order: str = "flip first", turns: str = "all") -> None:
        if not isinstance(recipe, Recipe):
            checks.wrong("RotationPretext.recipe", "an anamorph.Recipe", recipe)
        self.recipe = recipe
        self.order = checks.choice("RotationPretext.order", order, ("flip first", "official"))
        self.turns = checks.choice("RotationPretext.turns", turns, ("all", "one"))
        if recipe._mixes:
            raise ArgumentError("RotationPretext.recipe: expected one that does not mix, whose views have one turn, given one "
                                "that does")
        flips = [t for t in recipe.transforms if isinstance(plain(t), _FLIPS)] if order == "flip first" else []
        rest = [t for t in recipe.transforms if t not in flips]
        for t in leaves(rest):
            if isinstance(t, D4 | RandomRotate90 | Transpose):
                raise ArgumentError(f"RotationPretext.recipe: expected no quarter turns but those of the task, given {t!r}")
            if order == "flip first" and isinstance(t, (*_FLIPS, TenCrop)):
                raise ArgumentError("RotationPretext.recipe: expected flips in the recipe's own list, from which they are moved "
                                    f"before the turn, given {t!r}, which cannot be; order='official' leaves it where it is")
        self._recipes = [Recipe([*flips, _Turn(k), *rest], *recipe._options()) for k in range(4)]

    def __repr__(self) -> str:
        return f"RotationPretext({self.recipe!r}, order={self.order!r}, turns={self.turns!r})"

    def __call__(self, images: Any, *, index: Any, seed: int = 0, epoch: int = 0, view: int = 0,
                 layout: str | None = None, step: int = 0) -> tuple[Tensor, Tensor]:
        """The views of a batch and their labels, in one launch of the render.

        Args:
            images: ``[B, H, W, C]`` or ``[B, C, H, W]``, or a list of pictures, as :func:`anamorph.render` takes them; of
                several sizes where the recipe's output has one.
            index: the sample ids, integers ``[B]``.
            seed, epoch, view: as a plan's, view 0 to 1023.
            layout: "NHWC" or "NCHW", where the shape fits both; of a list, its pictures' without the N.
            step: for the recipe's schedules, as a plan's.

        Returns:
            Views ``[B * 4, C, h, w]`` of the recipe's dtype, row b * 4 + k picture b turned k times, each with draws of its own,
            and int64 ``[B * 4]``; with ``turns="one"`` ``[B, C, h, w]`` and ``[B]``.

        Raises:
            ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
        """
        pictures = Pictures(images, layout)
        view = checks.whole("view", view, 0, 1023)
        key = philox.key(index, seed, epoch, view, pictures.device, len(pictures))
        ids = key.index
        plans = [r.plan(ids, size=pictures.size, seed=seed, epoch=epoch, view=4 * view + k, step=step)
                 for k, r in enumerate(self._recipes)]
        sizes = {plan.output_size for plan in plans}
        if len(sizes) > 1:
            raise ShapeError("images: expected square pictures, or a recipe whose output has one size, given pictures of "
                             f"{pictures.size[0]} x {pictures.size[1]} pixels, whose views would have {len(sizes)} sizes")
        if self.turns == "all":
            return pictures.render(plans).flatten(0, 1), torch.arange(4, device=ids.device).repeat(len(ids))
        labels = philox.pick(key, 4, TURNS)
        return pictures.render(plans, labels)[:, 0], labels


def jigsaw_permutations(count: int = 35, tiles: int = 9, distance: int = 3, seed: int = 0) -> Tensor:
    """Orders of tiles that a jigsaw is told by, the untouched one first; any two differ in at least ``distance`` places.

    Drawn one after the other, by Philox, those too near to an earlier one left out: the same on every machine. It is not the set
    of 35 that ScatSimCLR reads from a file, but has what that has: the identity, and no two that differ in less than 3 places.

    Args:
        count: how many, at least 2. tiles: how many tiles, 2 to 64. distance: 2 to ``tiles``. seed: of the draws.

    Returns:
        int64 ``[count, tiles]``.

    Raises:
        ArgumentError: so many are not found.
    """
    tiles = checks.whole("tiles", tiles, 2, 64)
    count, distance = checks.whole("count", count, 2, 10000), checks.whole("distance", distance, 2, tiles)
    seed = checks.whole("seed", seed, 0, 2**64 - 1)
    found = torch.arange(tiles)[None]
    places = torch.arange((tiles + 3) // 4)
    for attempt in range(100 * count + 1000):
        keys = philox.words(philox.Key(places, seed, attempt, 0), 4, PERMUTATIONS).flatten()[:tiles]
        order = keys.argsort(stable=True)
        if bool(((found != order).sum(1) >= distance).all()):
            found = torch.cat([found, order[None]])
            if len(found) == count:
                return found
    raise ArgumentError(f"count: expected fewer permutations of {tiles} tiles that differ in {distance} places, or a smaller "
                        f"distance; {len(found)} of {count} were found")


class JigsawPretext:
    """Tiles in one of a few orders, and in which: the jigsaw task (Noroozi and Favaro, ECCV 2016) as in ScatSimCLR, for a net
    that sees each tile alone and a head that sees what it makes of all of them.

    Args:
        permutations: int64 ``[P, 9]`` of 0 to 8 each; None: :func:`jigsaw_permutations`' 35.
        grid: tiles along a side; with permutations of grid * grid.
        resize: each tile at the full size of the picture, as published (bilinear); else of a third.

    Raises:
        ArgumentError, ShapeError: an argument that cannot be.
    """

    def __init__(self, permutations: Any = None, grid: int = 3, resize: bool = True) -> None:
        self.grid = checks.whole("JigsawPretext.grid", grid, 2, 8)
        self.resize = checks.flag("JigsawPretext.resize", resize)
        tiles = self.grid**2
        if permutations is None:
            permutations = jigsaw_permutations(tiles=tiles)
        table = as_integers("JigsawPretext.permutations", permutations).cpu().clone()
        if table.dim() != 2 or table.shape[1] != tiles or len(table) < 2:
            raise ShapeError(f"JigsawPretext.permutations: expected [P, {tiles}] with P >= 2, given {list(table.shape)}")
        if not torch.equal(table.sort(1).values, torch.arange(tiles).expand_as(table)):
            raise ArgumentError(f"JigsawPretext.permutations: expected each row to have 0 to {tiles - 1} once, given others")
        self.permutations = table

    def __repr__(self) -> str:
        return f"JigsawPretext({len(self.permutations)} permutations, grid={self.grid}, resize={self.resize})"

    def __call__(self, images: Any, *, index: Any, seed: int = 0, epoch: int = 0, view: int = 0) -> tuple[Tensor, Tensor]:
        """The tiles of a batch and the numbers of their permutations.

        Args:
            images: ``[B, C, H, W]`` of floats or bytes, mostly what ``am.render`` gave. Of sides that the grid does not divide
                the tiles are whole pixels, and lines between them are left out (published: the same).
            index: the sample ids, integers ``[B]``.
            seed, epoch, view: as a plan's, view 0 to 1023.

        Returns:
            ``[B, 9, C, h, w]`` of the same dtype, tile t being the picture's tile ``permutations[label, t]``, counted row by row;
            and the labels, int64 ``[B]``.

        Raises:
            ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
        """
        pictures = given.pictures("images", images)
        if pictures.dtype != torch.uint8 and not pictures.dtype.is_floating_point:
            raise DtypeError(f"images: expected floats or uint8, given {pictures.dtype}")
        view = checks.whole("view", view, 0, 1023)
        key = philox.key(index, seed, epoch, view, pictures.device, len(pictures))
        labels = philox.pick(key, len(self.permutations), JIGSAW)
        orders = self.permutations.to(pictures.device)[labels]
        tiles = self.tiles(pictures)
        tiles = tiles.gather(1, orders[:, :, None, None, None].expand(-1, -1, *tiles.shape[2:]))
        if not self.resize:
            return tiles, labels
        large = F.interpolate(tiles.flatten(0, 1).float(), tuple(pictures.shape[2:]), mode="bilinear", align_corners=False)
        large = large.round() if pictures.dtype == torch.uint8 else large
        return large.to(pictures.dtype).unflatten(0, (len(pictures), -1)), labels

    def tiles(self, images: Any) -> Tensor:
        """The tiles in the order of the picture, row by row: ``[B, C, H, W]`` to ``[B, 9, C, H // 3, W // 3]``."""
        pictures = given.pictures("images", images)
        h, w = (side // self.grid for side in pictures.shape[2:])
        if not h or not w:
            raise ShapeError(f"images: expected sides of at least {self.grid} pixels, given {list(pictures.shape)}")
        rows, columns = (_begins(side, self.grid) for side in pictures.shape[2:])
        return torch.stack([pictures[:, :, y:y + h, x:x + w] for y in rows for x in columns], 1)


def _begins(side: int, grid: int) -> Sequence[int]:
    """Where the tiles along a side begin: at the next whole pixel."""
    return [-(-i * side // grid) for i in range(grid)]
