"""Batches of bytes as functions of this folder take and give them: any layout in, planes inside, the same layout out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.core.errors import DtypeError, ShapeError
from anamorph.core.lease import hold
from anamorph.core.move import to_device
from anamorph.core.tensors import as_integers, as_tensor
from anamorph.images.render import channels_first

AT_ONCE = 1 << 22  # values of a batch; what is made of them on the way takes some hundred megabytes

Body = Callable[[Tensor, Tensor], Tensor]  # uint8 [b, C, H, W] and sample ids [b] to uint8 [b, C, H, W]


def each_part(where: str, images: Any, layout: str | None, index: Any, body: Body, channels: Sequence[int] = ()) -> Tensor:
    """What ``body`` makes of a batch, a few pictures at a time. ``index`` is None where nothing is drawn; ``channels``: how many
    the pictures may have."""
    foreign: list[Tensor] = []
    pixels = as_tensor("images", images, foreign)
    if pixels.dtype != torch.uint8:
        raise DtypeError(f"{where}.images: expected uint8, given {str(pixels.dtype).removeprefix('torch.')}")
    if layout is not None:
        layout = checks.choice(f"{where}.layout", layout, ("NHWC", "NCHW"))
    first = channels_first(pixels.shape, None, layout)
    if not pixels.numel():
        raise ShapeError(f"{where}.images: expected B >= 1 pictures with pixels, given {list(pixels.shape)}")
    planes = pixels if first else pixels.permute(0, 3, 1, 2)
    if channels and planes.shape[1] not in channels:
        raise ShapeError(f"{where}.images: expected {' or '.join(map(str, channels))} channels, given {planes.shape[1]}")
    if index is None:
        ids = torch.zeros(len(planes), dtype=torch.int64, device=planes.device)
    else:
        ids = as_integers("index", index)
        if list(ids.shape) != [len(planes)]:
            raise ShapeError(f"{where}.index: expected {len(planes)} sample ids, one for each picture, given shape "
                             f"{list(ids.shape)}")
        ids = ids if ids.device == planes.device else to_device(ids, planes.device)
    few = max(1, AT_ONCE // planes[0].numel())
    done = [body(x.contiguous(), i) for x, i in zip(planes.split(few), ids.split(few), strict=True)]
    out = done[0] if len(done) == 1 else torch.cat(done)
    if foreign:
        hold(foreign)
    return out if first else out.permute(0, 2, 3, 1).contiguous()


def seed_of(where: str, seed: Any) -> int:
    """A seed in its range."""
    return checks.whole(f"{where}.seed", seed, 0, 2**64 - 1)


def needs_ids(where: str, index: Any) -> Any:
    """The ids of what is drawn, which must be given."""
    if index is None:
        checks.wrong(f"{where}.index", "the sample ids, of which the random numbers are a function", None)
    return index
