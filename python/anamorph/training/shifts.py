"""Families of shifts to validate by, after Efthymiadis et al., "Crafting Distribution Shifts for Validation and Training in
Single Source Domain Generalization", WACV 2025 (github.com/NikosEfth/crafting-shifts)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor

from anamorph.images.recipe import Recipe
from anamorph.images.render import render
from anamorph.images.transforms.base import Transform
from anamorph.images.transforms.color import (
    ColorJitter,
    RandomGamma,
    RandomGrayscale,
    RandomInvert,
    RandomPosterize,
    RandomSolarize,
)
from anamorph.images.transforms.compose import OneOf
from anamorph.images.transforms.erase import CoarseDropout
from anamorph.images.transforms.filters import GaussianBlur, GaussianNoise, RandomAdjustSharpness
from anamorph.images.transforms.geometry import RandomAffine, RandomPerspective
from anamorph.training import given
from anamorph.training.edges import edge_map
from anamorph.training.pixels import each_part, needs_ids

FAMILIES = ("arithmetic", "blur", "color", "contrast", "convolutional", "edges", "geometric")


class Shift(Protocol):
    """What :func:`shifts` maps names to."""

    def __call__(self, images: Any, *, index: Any, seed: int = 0, layout: str | None = None) -> Tensor: ...


def shifts() -> Mapping[str, Shift]:
    """The families by name: ``shifts()["geometric"](images, index=ids, seed=0)``.

    Each picture gets one op of the family, every one as likely, and strong: the ranges are the published ones. A validation set
    is the pictures under every family beside the pictures themselves. To choose a method by families that it does not train with,
    take half of them for each.

    Of the ten published families, made with imgaug, these seven have ops here, 21 of their 76: "arithmetic" 5 of 21, "blur" 1 of
    6, "color" 6 of 18, "contrast" 2 of 6, "convolutional" 1 of 5, "edges" 1 of 1, "geometric" 5 of 9. "artistic", "segmentation"
    and "weather" have none. :func:`operations` lists them. Pictures are taken as RGB (the published code hands imgaug BGR), and
    at their own size.

    A shift takes uint8 pictures ``[B, H, W, C]`` or ``[B, C, H, W]``, 1 or 3 channels, and gives new ones of the same layout on
    the same device. What is drawn is a function of (family, seed, sample id).

    Raises:
        ArgumentError, ShapeError, DtypeError: of a call, what was given and what is expected.
    """
    return MappingProxyType({name: _edges if name == "edges" else _shift(name) for name in FAMILIES})


def operations() -> dict[str, list[Transform]]:
    """The ops of each family that is a recipe."""
    dark, bright = (0.1, 0.3), (1.8, 2.0)
    return {
        "arithmetic": [_one(GaussianNoise(sigma=s / 255) for s in (50, 75, 100, 125, 150)), ColorJitter(brightness=(2, 4)),
                       CoarseDropout((5, 10), (0.2, 0.2), (0.2, 0.2), p=1), RandomInvert(p=0.5),
                       _one(RandomSolarize(t, p=0.5) for t in (32, 64, 96, 128))],
        "blur": [GaussianBlur(1, (5, 7), "pil")],
        # A hue is moved by 50 to 179 of imgaug's 180.
        "color": [OneOf([ColorJitter(hue=(50 / 180, 0.5)), ColorJitter(hue=(-0.5, -1 / 180))], weights=(40, 89)),
                  _one(ColorJitter(brightness=f) for f in (dark, bright)),
                  _one(ColorJitter(saturation=f) for f in (dark, bright)), RandomGrayscale(p=1), ColorJitter(saturation=(0, 0.2)),
                  _one(RandomPosterize(bits, p=1) for bits in (2, 3, 4))],
        "contrast": [_one(RandomGamma(g, p=1) for g in (dark, bright)),
                     _one(ColorJitter(contrast=f, contrast_mode="midgray") for f in (dark, bright))],
        # imgaug's Sharpen of alpha a and lightness 1 is a factor of 1 + 13 a.
        "convolutional": [_one(RandomAdjustSharpness(1 + 13 * a, p=1) for a in (0.8, 0.9, 1.0))],
        "geometric": [_one(_moved(0, scale=s) for s in ((0.5, 0.75), (1.25, 1.75))), _moved(0, translate=(0.4, 0.4)),
                      _one(_moved(d) for d in ((-45, -15), (15, 45))),
                      _one(_moved(0, shear=s) for s in ((-25, -15), (15, 25))),
                      RandomPerspective(0.4, p=1)],
    }


def _one(transforms: Any) -> Transform:
    return OneOf([*transforms])


def _moved(degrees: Any, **options: Any) -> Transform:
    return RandomAffine(degrees, interpolation="bilinear", **options)


def _shift(name: str) -> Shift:
    ops: Sequence[Transform] = operations()[name]
    recipe = Recipe([OneOf(ops)], dtype=torch.uint8)
    view = FAMILIES.index(name)  # so that families draw apart

    def shift(images: Any, *, index: Any, seed: int = 0, layout: str | None = None) -> Tensor:
        seed = given.seed(f"{name}.seed", seed)

        def shifted(x: Tensor, ids: Tensor) -> Tensor:
            plan = recipe.plan(ids, size=tuple(x.shape[2:]), seed=seed, view=view, device=x.device)
            made: Tensor = render(x, plan, layout="NCHW")
            return made

        return each_part(name, images, layout, needs_ids(name, index), shifted, channels=(1, 3))

    return shift


def _edges(images: Any, *, index: Any = None, seed: int = 0, layout: str | None = None) -> Tensor:
    return edge_map(images, 2.0, index=index, seed=seed, layout=layout)
