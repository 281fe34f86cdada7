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
from anamorph.images.views import Views

TENSORS = (".pt", ".npy")


def replay(data: str, recipe_spec: str, index: int, output: str, *, seed: int = 0, epoch: int = 0,
           batch_size: int | None = None, shard: str = "0/1", in_order: bool = False, drop_last: bool = False,
           no_pad: bool = False, **how: Any) -> list[tuple[Path, str]]:
    """Write the view, and return where it is and what was done to the sample, as a sentence.

    Of ``am.views`` each view has a file of its own, ``view-NAME.png``, or ``view-NAME-0.png``, ``view-NAME-1.png`` ... where
    (recipe, number) was given. A recipe that mixes or has schedules needs the ``batch_size`` (and ``shard``, ``in_order``,
    ``drop_last``, ``no_pad``, ``on_error``) of the run, which decide what is in a batch and which one it is. ``how``: the
    Loader's ``decoder``, ``channels``, ``exif``, ``on_error`` and ``device``.
    """
    target = output_file("--output", output)
    if target.suffix not in (".png", *TENSORS):
        raise am.ArgumentError("--output: expected a file that ends in .png, or in .pt or .npy for the exact numbers, given "
                               f"{output}")
    recipe = load_recipe(recipe_spec, (am.Recipe, Views))
    targets = [target] if isinstance(recipe, am.Recipe) else _files(target, recipe)
    if batch_size is None:
        if recipe._of_the_batch:
            why = "mixes samples of a batch" if recipe._mixes else "has schedules, which are told the batch's number"
            raise am.ArgumentError(f"--batch-size: expected the run's, because the recipe {why}, given none")
        batch_size, in_order, drop_last, no_pad, shard = 1, True, False, False, "0/1"
    # Labels and classes without pictures are none of a view's business: a run may have been without the ones or with the others.
    loader = am.Loader(data, recipe, batch_size, seed=seed, shard=_shard(shard), shuffle=not in_order, drop_last=drop_last,
                       pad=not no_pad, num_threads=1, prefetch=1, labels=False, allow_empty=Path(data).is_dir(), **how)
    views, sentences = loader.replay(index, epoch)
    if isinstance(recipe, am.Recipe):
        seen = [(recipe, views, sentences)]
    else:
        seen = [(one, view, sentence) for name, one in recipe.recipes.items()
                for view, sentence in ([(views[name], sentences[name])] if recipe.counts[name] is None
                                       else zip(views[name], sentences[name], strict=True))]
    for file, (one, view, _) in zip(targets, seen, strict=True):
        _write(file, view.cpu(), one)
    return [(file, sentence) for file, (*_, sentence) in zip(targets, seen, strict=True)]


def _files(target: Path, recipe: Views) -> list[Path]:
    """One for each view, in their order."""
    names = [name if number is None else f"{name}-{number}" for name, count in recipe.counts.items()
             for number in (range(count) if count is not None else [None])]
    for name in names:
        if "/" in name or "\0" in name or names.count(name) > 1:
            raise am.ArgumentError(f"--recipe: expected views whose names make a file of its own for each, given {name!r}")
    return [output_file("--output", f"{target.with_suffix('')}-{name}{target.suffix}") for name in names]


def _write(target: Path, view: torch.Tensor, recipe: am.Recipe) -> None:
    if target.suffix == ".pt":
        torch.save(view.clone(), target)  # not all that it is a part of
    elif target.suffix == ".npy":
        np.save(target, view.float().numpy() if view.dtype == torch.bfloat16 else view.numpy())
    else:
        picture = displayable(view[None], recipe)[0]
        Image.fromarray(picture if picture.shape[2] == 3 else picture[..., 0]).save(target, "PNG")


def _shard(text: str) -> tuple[int, int]:
    rank, _, world = text.partition("/")
    if not rank.isdecimal() or not world.isdecimal():
        raise am.ArgumentError(f"--shard: expected RANK/WORLD such as 0/4, given {text!r}")
    return int(rank), int(world)
