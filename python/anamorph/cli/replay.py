"""The view that a training run saw: the same bits, from the numbers that name it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import anamorph as am
from anamorph.cli.arguments import output_file
from anamorph.cli.preview import displayable, load_recipe

TENSORS = (".pt", ".npy")


def replay(data: str, recipe_spec: str, index: int, output: str, *, seed: int = 0, epoch: int = 0,
           batch_size: int | None = None, shard: str = "0/1", in_order: bool = False, drop_last: bool = False,
           **how: Any) -> tuple[Path, str]:
    """Write the view, and return where it is and what was done to the sample, as a sentence.

    A recipe that mixes needs the ``batch_size`` (and ``shard``, ``in_order``, ``drop_last``) of the run, which decide who is
    mixed with whom. ``how``: the Loader's ``decoder``, ``channels`` and ``exif``.
    """
    target = output_file("--output", output)
    if target.suffix not in (".png", *TENSORS):
        raise am.ArgumentError("--output: expected a file that ends in .png, or in .pt or .npy for the exact numbers, given "
                               f"{output}")
    recipe = load_recipe(recipe_spec)
    if batch_size is None:
        if recipe._mixes:
            raise am.ArgumentError("--batch-size: expected the run's, because the recipe mixes samples of a batch, given none")
        batch_size, in_order, drop_last, shard = 1, True, False, "0/1"
    loader = am.Loader(data, recipe, batch_size, seed=seed, shard=_shard(shard), shuffle=not in_order, drop_last=drop_last,
                       num_threads=1, prefetch=1, **how)
    view, sentence = loader.replay(index, epoch)
    if target.suffix == ".pt":
        torch.save(view, target)
    elif target.suffix == ".npy":
        np.save(target, view.float().numpy() if view.dtype == torch.bfloat16 else view.numpy())
    else:
        picture = displayable(view[None], recipe)[0]
        Image.fromarray(picture if picture.shape[2] == 3 else picture[..., 0]).save(target, "PNG")
    return target, sentence


def _shard(text: str) -> tuple[int, int]:
    rank, _, world = text.partition("/")
    if not rank.isdecimal() or not world.isdecimal():
        raise am.ArgumentError(f"--shard: expected RANK/WORLD such as 0/4, given {text!r}")
    return int(rank), int(world)
