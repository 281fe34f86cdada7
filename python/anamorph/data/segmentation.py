"""An object's pixels as COCO writes them: runs down the columns, such runs as text, polygons.

Runs count pixels column by column, first those outside the object, then those inside, and so on in turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from anamorph.core import checks
from anamorph.core.errors import ShapeError

FINE = 5  # to a pixel: the steps of the grid on which an outline is followed
_LONGEST = 7  # digits of a number in a text of runs: 35 bits


def mask_of(where: str, segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """The pixels, uint8 [H, W], of a list of polygons, or of runs: a list of counts or their text."""
    if isinstance(segmentation, Mapping):
        return _filled(where, _runs(where, segmentation, size), size)
    expected = "a list of polygons [[x, y, x, y, x, y, ...], ...], or a dict of 'size' and 'counts'"
    if not isinstance(segmentation, list | tuple) or not segmentation or any(_is_number(p) for p in segmentation):
        checks.wrong(where, expected, segmentation)
    mask = np.zeros(size, dtype=np.uint8)
    for i, polygon in enumerate(segmentation):
        mask |= _filled(where, _outlined(f"{where}[{i}]", polygon, size), size)
    return mask


def rle_of(mask: np.ndarray) -> dict[str, Any]:
    """The runs of a mask [H, W], which is the object where it is not 0, as text."""
    flat = mask.T.reshape(-1) != 0
    changes = np.flatnonzero(np.diff(flat, prepend=False))
    return {"size": list(mask.shape), "counts": _text(np.diff(changes, prepend=0, append=flat.size))}


def numbers(where: str, value: Any, expected: str, limit: float = checks.LARGEST) -> np.ndarray:
    """Finite numbers, float64 [N]."""
    try:
        array = np.asarray(value)
    except (ValueError, TypeError):  # lists of different lengths; a tensor on a GPU
        checks.wrong(where, expected, value)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iuf"):
        checks.wrong(where, expected, value)
    array = array.astype(np.float64)
    if not bool((np.abs(array) <= limit).all()):
        checks.wrong(where, f"{expected}, each from {-limit:g} to {limit:g}", value)
    return array


def _is_number(value: Any) -> bool:
    return isinstance(checks.plain(value), int | float)


# ---- runs ----


def _filled(where: str, runs: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    h, w = size
    if int(runs.sum()) != h * w:
        checks.wrong(where, f"runs of {h} x {w} = {h * w} pixels together", int(runs.sum()))
    return np.repeat((np.arange(len(runs)) & 1).astype(np.uint8), runs).reshape(w, h).T


def _runs(where: str, rle: Mapping[str, Any], size: tuple[int, int]) -> np.ndarray:
    for name in ("size", "counts"):
        if name not in rle:
            checks.wrong(where, "a dict of 'size' and 'counts'", list(rle))
    given = numbers(f"{where}['size']", rle["size"], "(height, width)").tolist()
    if given != list(size):
        raise ShapeError(f"{where}['size']: expected {list(size)}, the picture's height and width, given {rle['size']!r}")
    where, counts = f"{where}['counts']", rle["counts"]
    if isinstance(counts, str | bytes):
        runs = _read(where, counts)
    else:
        each = numbers(where, counts, "a list of whole numbers, or their text", checks.MAX_SIDE**2)
        runs = each.astype(np.int64)
        if bool((runs != each).any()):
            checks.wrong(where, "a list of whole numbers, or their text", counts)
    if bool((runs < 0).any()):
        checks.wrong(where, "runs of at least 0 pixels", int(runs.min()))
    return runs


# As text a run is a number of 5-bit digits, the lowest first, in two's complement; a digit before the last one has the bit 32,
# and characters begin at "0". From the fourth run on it is what a run has more than the run before the last.


def _text(runs: np.ndarray) -> str:
    deltas = runs.astype(np.int64)
    deltas[3:] -= runs[1:-2]
    shifts = 5 * np.arange(_LONGEST)
    rest = deltas[:, None] >> (shifts + 4)  # the sign, once all is said
    more = (rest != 0) & (rest != -1)
    digits = (deltas[:, None] >> shifts & 31) + 32 * more + ord("0")
    said = np.concatenate([np.ones_like(more[:, :1]), more[:, :-1]], 1)
    return digits[said].astype(np.uint8).tobytes().decode("ascii")


def _read(where: str, text: str | bytes) -> np.ndarray:
    data = text.encode("utf-8") if isinstance(text, str) else text
    codes = np.frombuffer(data, dtype=np.uint8).astype(np.int64) - ord("0")
    if not len(codes) or bool(((codes < 0) | (codes > 63)).any()) or codes[-1] & 32:
        checks.wrong(where, "a text of runs, characters '0' to 'o' of which the last ends a number", text)
    last = np.flatnonzero(codes & 32 == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    length = last - first + 1
    if int(length.max()) > _LONGEST:
        checks.wrong(where, f"a text of runs, numbers of at most {_LONGEST} characters", text)
    shift = 5 * (np.arange(len(codes)) - np.repeat(first, length))
    runs = np.add.reduceat((codes & 31) << shift, first)
    runs -= np.where(codes[last] & 16, 1 << 5 * length, 0)
    runs[1::2], runs[2::2] = np.cumsum(runs[1::2]), np.cumsum(runs[2::2])
    return runs


# ---- polygons ----


def _outlined(where: str, polygon: Any, size: tuple[int, int]) -> np.ndarray:
    """The runs of what a polygon encloses, by pycocotools' rule.

    Corners are rounded to fifths of a pixel, and each side is followed in steps of a fifth along its longer axis. Where it
    crosses the middle of a column of pixels, the pixels change sides from the first one on whose centre is not above the
    crossing. So a pixel belongs to what an odd number of sides lies above.
    """
    h, w = size
    expected = "at least three corners, x, y, x, y, x, y, ..."
    flat = numbers(where, polygon, expected, checks.MAX_SIDE)
    if len(flat) < 6 or len(flat) % 2:
        checks.wrong(where, expected, polygon)
    corners = np.trunc(FINE * flat.reshape(-1, 2) + 0.5).astype(np.int64)
    ends = np.stack([corners, np.roll(corners, -1, 0)])  # [2, sides, (x, y)]
    steps = np.abs(ends[1] - ends[0]).max(1)
    steep = np.abs(ends[1] - ends[0]) @ [-1, 1] > 0
    ends[:, steep] = ends[:, steep, ::-1]  # first the longer axis, from its lower end on
    back = ends[0, :, 0] > ends[1, :, 0]
    ends[:, back] = ends[::-1, back]
    slope = (ends[1] - ends[0])[:, 1] / np.maximum(steps, 1)
    side = np.repeat(np.arange(len(steps)), steps + 1)
    step = np.arange(len(side)) - np.repeat(np.cumsum(steps + 1) - steps - 1, steps + 1)
    along = ends[0, side, 0] + step
    across = np.trunc(ends[0, side, 1] + slope[side] * step + 0.5).astype(np.int64)
    x, y = np.where(steep[side], across, along), np.where(steep[side], along, across)
    fine, lower = np.minimum(x[1:], x[:-1]), np.minimum(y[1:], y[:-1])
    column, off = np.divmod(fine - FINE // 2, FINE)
    crosses = (side[1:] == side[:-1]) & (x[1:] != x[:-1]) & (off == 0) & (column >= 0) & (column < w)
    row = np.clip(-((FINE // 2 - lower) // FINE), 0, h)  # rounded up
    return np.diff(np.sort((column * h + row)[crosses]), prepend=0, append=h * w)
