"""Clips: several pictures under one sample id. And what pictures of one batch have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from anamorph.core.errors import ShapeError

Names = Sequence[Callable[[], str]]  # of the samples of a batch


def frames_of(images: Sequence[torch.Tensor | list[torch.Tensor]], names: Names) -> int | None:
    """How many pictures each clip of a batch has; None for single pictures."""
    lengths = [len(image) if isinstance(image, list) else None for image in images]
    for length, name in zip(lengths, names):
        if length != lengths[0]:
            what = [f"a clip of {n}" if n else "a single picture" for n in (length, lengths[0])]
            raise ShapeError("source: expected single pictures, or clips of one length, given "
                             f"{what[0]} as {name()} and {what[1]} as {names[0]()}")
    return lengths[0]


def check_channels(images: Sequence[torch.Tensor], names: Names, frames: int) -> None:
    """Pictures of one batch have one number of channels."""
    for at, image in enumerate(images):
        if image.shape[2] != images[0].shape[2]:
            raise ShapeError(f"source: expected {images[0].shape[2]} channels as in {names[0]()}, given {image.shape[2]} in "
                             f"{names[at // frames]()}")
