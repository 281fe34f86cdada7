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
_AT_ONCE = 1 << 16  # crossings of a polygon: what is made of them on the way stays in a cache
_LONGEST = 7  # digits of a number in a text of runs: 35 bits


def mask_of(where: str, segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """The pixels, uint8 [H, W], of a list of polygons, or of runs: a list of counts or their text."""
    if isinstance(segmentation, Mapping):
        return _filled(where, _runs(where, segmentation, size), size).T
    expected = "a list of polygons [[x, y, x, y, x, y, ...], ...], or a dict of 'size' and 'counts'"
    if not isinstance(segmentation, list | tuple) or not segmentation or any(_is_number(p) for p in segmentation):
        checks.wrong(where, expected, segmentation)
    columns = np.zeros(size[::-1], dtype=np.uint8)
    for i, polygon in enumerate(segmentation):
        columns |= _filled(where, _outlined(f"{where}[{i}]", polygon, size), size)
    return columns.T


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
    """The columns, uint8 [W, H]."""
    h, w = size
    if int(runs.sum()) != h * w:
        checks.wrong(where, f"runs of {h} x {w} = {h * w} pixels together", int(runs.sum()))
    return np.repeat((np.arange(len(runs)) & 1).astype(np.uint8), runs).reshape(w, h)


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
    x, y = np.trunc(FINE * flat.reshape(-1, 2) + 0.5).astype(np.int64).T
    sides = np.stack([x, y, np.roll(x, -1), np.roll(y, -1)])
    low, high = np.minimum(sides[0], sides[2]), np.maximum(sides[0], sides[2])
    first, last = (np.clip(-((FINE // 2 - end) // FINE), 0, w) for end in (low, high))  # columns whose middles lie between
    parts = np.cumsum(last - first) // _AT_ONCE
    changes = []
    for part in np.split(np.arange(len(parts)), np.flatnonzero(np.diff(parts)) + 1):
        some = np.repeat(part, (last - first)[part])
        column = np.arange(len(some)) - np.repeat(np.cumsum((last - first)[part]) - last[part], (last - first)[part])
        lower = _crossings(sides[:, some], FINE * column + FINE // 2)
        changes.append(column * h + np.clip(-((FINE // 2 - lower) // FINE), 0, h))  # rounded up
    return np.diff(np.sort(np.concatenate(changes)), prepend=0, append=h * w)


def _crossings(sides: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Where sides (x, y, x, y), int64 [4, N], go from the fine column ``at`` [N] to the next: the upper end of that step."""
    x0, y0, x1, y1 = sides
    across, down = np.abs(x1 - x0), np.abs(y1 - y0)
    steep = down > across
    back = np.where(steep, y0 > y1, x0 > x1)  # followed from the lower end of the longer axis on
    x0, x1, y0, y1 = np.where(back, x1, x0), np.where(back, x0, x1), np.where(back, y1, y0), np.where(back, y0, y1)
    rise = np.where(steep, x1 - x0, y1 - y0)
    slope = rise / np.maximum(across, down)
    # Along the longer axis each step is known; across a steep side the first one that is beyond is sought.
    step = np.where(steep, np.floor((at + 0.5 - x0) / np.where(steep, slope, 1)).astype(np.int64), at - x0)
    begin = np.where(steep, x0, y0)

    def place(step: np.ndarray) -> np.ndarray:
        return np.trunc(begin + slope * step + 0.5).astype(np.int64)

    here, following = place(step), place(step + 1)
    late = sum(((p > at) != (rise > 0)).astype(np.int64) for p in (here, following))
    return np.where(steep, y0 + step + late - 1, np.minimum(here, following))
