"""Batches of bytes as functions of this folder take and give them: any layout in, planes inside, the same layout out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.core.errors import DtypeError, ShapeError
from anamorph.core.lease import hold
from anamorph.training import given

AT_ONCE = 1 << 22  # values of a batch; what is made of them on the way takes some hundred megabytes

Body = Callable[[Tensor, Tensor], Tensor]  # uint8 [b, C, H, W] and sample ids [b] to uint8 [b, C, H, W]


def each_part(where: str, images: Any, layout: str | None, index: Any, body: Body,
              channels: Sequence[int] = (1, 2, 3, 4)) -> Tensor:
    """What ``body`` makes of a batch, a few pictures at a time. ``index`` is None where nothing is drawn; ``channels``: how many
    the pictures may have."""
    foreign: list[Tensor] = []
    pixels, layout = given.batch(f"{where}.", images, layout, foreign)
    if pixels.dtype != torch.uint8:
        raise DtypeError(f"{where}.images: expected uint8, given {str(pixels.dtype).removeprefix('torch.')}")
    planes = pixels if layout == "NCHW" else pixels.permute(0, 3, 1, 2)
    if planes.shape[1] not in channels:
        raise ShapeError(f"{where}.images: expected {' or '.join(map(str, channels))} channels, given {planes.shape[1]}, of "
                         f"{layout} {list(pixels.shape)}")
    if index is None:
        ids = torch.zeros(len(planes), dtype=torch.int64, device=planes.device)
    else:
        ids = given.sample_ids(f"{where}.index", index, len(planes), planes.device)
    few = max(1, AT_ONCE // planes[0].numel())
    done = [body(x.contiguous(), i) for x, i in zip(planes.split(few), ids.split(few), strict=True)]
    out = done[0] if len(done) == 1 else torch.cat(done)
    if foreign:
        hold(foreign)
    return out if layout == "NCHW" else out.permute(0, 2, 3, 1).contiguous()


def needs_ids(where: str, index: Any) -> Any:
    """The ids of what is drawn, which must be given."""
    if index is None:
        checks.wrong(f"{where}.index", "the sample ids, of which the random numbers are a function", None)
    return index
