"""Which patches of a picture a model does not get to see: masks for masked image modelling, drawn where the model is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from anamorph import _native
from anamorph.core import checks
from anamorph.training import philox

PATCHES, BLOCKS = 1015, 1019  # slots of four each, behind those of a recipe, of copy-paste and of mosaics
MAX_GRID = 128  # patches a side: a word for each in PATCHES
TRIES = 10  # at a block, as published
AT_ONCE = 8  # tries that are drawn together


def patch_mask(index: Any, grid: Any = (14, 14), keep: float = 0.25, *, seed: int, epoch: int | Tensor, view: int = 0,
               device: Any = None) -> Tensor:
    """Patches removed at random, as many of every picture (He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR
    2022: the patches with the smallest of uniform noise are kept).

    Args:
        index: the sample ids, int64 ``[B]``: a tensor, an array or a list.
        grid: (rows, columns) of patches, or one number for both, 1 to 128 each.
        keep: the share of the L patches that is kept, 0 to 1: ``int(L * keep)`` of them, 49 of 14 x 14.
        seed, epoch, view: as :meth:`anamorph.Recipe.plan` has them. With an id they say what is drawn; nothing else does, neither
            the device nor who else is in the batch. ``epoch`` may be a tensor of one element on the device.
        device: where the mask is drawn; by default where ``index`` is. Nothing is waited for.

    Returns:
        bool ``[B, rows, columns]``, True where a patch is removed.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    rows, columns = _grid(grid)
    count = int(rows * columns * checks.probability("keep", keep))
    key = philox.key(index, seed, epoch, view, device)
    noise = philox.words(key, rows * columns, PATCHES)
    places = torch.arange(rows * columns, device=noise.device)
    order = (noise * (MAX_GRID * MAX_GRID) + places).argsort(1)  # two patches of one word: the first one first, on every device
    removed = torch.ones(noise.shape, dtype=torch.bool, device=noise.device)
    return removed.scatter_(1, order[:, :count], False).unflatten(1, (rows, columns))


def block_mask(index: Any, grid: Any = (14, 14), count: int = 75, min_block: int = 16, aspect: Any = (0.3, 1 / 0.3),
               max_block: int | None = None, *, seed: int, epoch: int | Tensor, view: int = 0, device: Any = None) -> Tensor:
    """Patches removed in blocks (Bao et al., "BEiT: BERT Pre-Training of Image Transformers", ICLR 2022).

    A block's area is uniform from ``min_block`` to what is left of ``count``, the ratio of its sides log-uniform in ``aspect``,
    and its place uniform. It is laid if it is smaller than the grid each way and removes at least one patch more, but no more
    than are left. Blocks are laid until ``count`` patches are removed, or ten tries in a row have failed.

    Args:
        index: the sample ids, int64 ``[B]``: a tensor, an array or a list.
        grid: (rows, columns) of patches, or one number for both, 1 to 128 each.
        count: how many patches to remove, at most. Of 14 x 14 exactly 75 are removed in 67 % of the masks, in others 64 to 74.
        min_block: the least area that is drawn, in patches, at least 1. Near the end, where fewer than that are left, the area is
            uniform between the two.
        aspect: (low, high) of height over width, 0.01 to 100.
        max_block: the largest area that is drawn, and the most patches that a block may remove, at least ``min_block``. None:
            what is left.
        seed, epoch, view, device: as for :func:`patch_mask`. The host looks every eight tries whether all masks are done, so on a
            GPU it waits, and a call cannot be captured in a CUDA graph.

    Returns:
        bool ``[B, rows, columns]``, True where a patch is removed.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    rows, columns = _grid(grid)
    count = checks.whole("count", count, 0, rows * columns, " of patches")
    min_block = checks.whole("min_block", min_block, 1, rows * columns, " of patches")
    max_block = rows * columns if max_block is None else max_block
    largest = checks.whole("max_block", max_block, min_block, rows * columns, " of patches")
    low, high = (_native.exact_log(a) for a in checks.interval("aspect", aspect, 0.01, 100.0))
    key = philox.key(index, seed, epoch, view, device)
    batch, where = len(key.index), key.index.device
    row, column = torch.arange(rows, device=where)[:, None], torch.arange(columns, device=where)
    removed = torch.zeros(batch, rows, columns, dtype=torch.bool, device=where)
    left = torch.full((batch, 1, 1), count, device=where)
    failed = torch.zeros_like(left)  # tries in a row
    first = 0
    while bool((going := (left > 0) & (failed < TRIES)).any()):
        # What is drawn for a try depends on its number alone, not on when the others of the batch are done.
        unit = philox.words(key, 4 * AT_ONCE, BLOCKS, first).unflatten(1, (AT_ONCE, 4)).double() * 2.0**-32
        ratio = _exp(unit[..., 1] * (high - low) + low)
        for n in range(AT_ONCE):
            area, _, y, x = unit[:, n, :, None, None].unbind(1)
            area = area * (left.clamp(max=largest) - min_block) + min_block
            height = (area * ratio[:, n, None, None]).sqrt().round()
            width = (area / ratio[:, n, None, None]).sqrt().round()
            top, start = (y * (rows - height + 1)).floor(), (x * (columns - width + 1)).floor()
            block = (row >= top) & (row < top + height) & (column >= start) & (column < start + width)
            new = (block & ~removed).sum((1, 2), keepdim=True)
            laid = going & (height < rows) & (width < columns) & (new > 0) & (new <= left.clamp(max=largest))
            removed |= block & laid
            left = left - torch.where(laid, new, 0)
            failed = torch.where(laid, 0, failed + 1)
            going = (left > 0) & (failed < TRIES)
        first += 4 * AT_ONCE
    return removed


def _grid(grid: Any) -> tuple[int, int]:
    given = grid if checks.is_sequence(grid) else (grid,)
    sides = checks.several("grid", given, (1, 2), "(rows, columns), or one number for both")
    rows, columns = (checks.whole("grid", side, 1, MAX_GRID, " of patches a side") for side in (sides[0], sides[-1]))
    return rows, columns


def _exp(v: Tensor) -> Tensor:
    """e to the power of numbers from -5 to 5, by operations that round the same on every device."""
    small, out = v / 32, torch.ones_like(v)
    for k in range(12, 0, -1):
        out = small / k * out + 1
    for _ in range(5):
        out = out * out
    return out
