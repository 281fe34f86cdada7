"""Geometry by given numbers: a matrix, or where four points go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from anamorph.core import checks
from anamorph.core.tensors import as_tensor
from anamorph.images.transforms.base import Size, Transform, lengths
from anamorph.images.transforms.program import INTERPOLATIONS, WARPS, Slot, slot

_Rows = tuple[tuple[float, ...], ...]


def _warp(matrix: np.ndarray, size: Size | None, interpolation: str, fill: Any) -> list[Slot]:
    """``matrix``: output -> input, in edge coordinates (a pixel's centre is at +0.5)."""
    return [slot("WARP", matrix.flatten(), count=1, flags=INTERPOLATIONS.index(interpolation)),
            slot("WARP", [*checks.four(fill), *(size or (0, 0))])]


@dataclass(frozen=True)
class Warp(Transform):
    """The picture through a matrix that is given, as OpenCV's ``warpAffine`` (2 x 3) and ``warpPerspective`` (3 x 3).

    Args:
        matrix: 2 x 3 or 3 x 3 numbers, nested lists, an array or a tensor: from a point (x, y, 1) of the **input** to the point
            of the **output** where it is seen, as OpenCV's functions take it and ``getRotationMatrix2D``,
            ``getAffineTransform`` and ``getPerspectiveTransform`` make it. Points are in pixels, whole numbers at the pixels'
            centres: (0, 0) is the middle of the first pixel.
        size: side or (height, width) of the output in pixels (OpenCV's ``dsize`` is (width, height)); None: as the input's.
        interpolation: "nearest", "bilinear" or "bicubic".
        fill: what is seen outside the picture, a number or one for each channel, in the input's units: 0..255 for uint8, 0..1 for
            float pictures.
        inverse: the matrix goes from the output to the input, as with OpenCV's ``WARP_INVERSE_MAP``.

    Where a 3 x 3 matrix puts a point behind the viewer (on the other side of the horizon than the output's middle) there is
    ``fill``; OpenCV divides by the negative number.
    """

    matrix: Any
    size: int | Sequence[int] | None = None
    interpolation: str = "bilinear"
    fill: float | Sequence[float] = 0
    inverse: bool = False

    def __post_init__(self) -> None:
        self._set(matrix=_matrix("Warp.matrix", self.matrix), inverse=checks.flag("Warp.inverse", self.inverse),
                  size=None if self.size is None else checks.size("Warp.size", self.size),
                  interpolation=checks.choice("Warp.interpolation", self.interpolation, WARPS),
                  fill=checks.colors("Warp.fill", self.fill))
        self._inverted()

    def _inverted(self) -> np.ndarray:
        """Output -> input, pixel centres at whole numbers."""
        rows = np.array([*self.matrix, (0.0, 0.0, 1.0)][:3])
        if not self.inverse:
            return _inverse("Warp.matrix", rows)
        _inverse("Warp.matrix", rows)  # for its check
        return rows

    def slots(self) -> list[Slot]:
        half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
        return _warp(half @ self._inverted() @ np.linalg.inv(half), cast(Size | None, self.size), self.interpolation, self.fill)

    def output_size(self, size: Size | None) -> Size | None:
        return size if self.size is None else cast(Size, self.size)

    def channels(self) -> set[int]:
        return lengths(self.fill)


@dataclass(frozen=True)
class Perspective(Transform):
    """The picture drawn so that four of its points lie at four given ones, as torchvision's ``functional.perspective``.

    Args:
        startpoints: four (x, y) of the input, in pixels; no three on a line.
        endpoints: where each is seen in the output.
        interpolation: "nearest", "bilinear" or "bicubic".
        fill: what is seen outside the picture, a number or one for each channel, in the input's units: 0..255 for uint8, 0..1 for
            float pictures.

    As in torchvision, a pixel's centre lies at +0.5: (0, 0) is the corner of the first pixel, (width, height) that of the last.
    Which corner comes first does not matter, only which belongs to which. The size stays.
    """

    startpoints: Any
    endpoints: Any
    interpolation: str = "bilinear"
    fill: float | Sequence[float] = 0

    def __post_init__(self) -> None:
        self._set(startpoints=_points("Perspective.startpoints", self.startpoints),
                  endpoints=_points("Perspective.endpoints", self.endpoints),
                  interpolation=checks.choice("Perspective.interpolation", self.interpolation, WARPS),
                  fill=checks.colors("Perspective.fill", self.fill))
        self._homography()

    def _homography(self) -> np.ndarray:
        """Output -> input: each point's map is the one that takes the unit frame's four points to the four."""
        start, end = (_from_frame(f"Perspective.{name}", getattr(self, name)) for name in ("startpoints", "endpoints"))
        return start @ np.linalg.inv(end)

    def slots(self) -> list[Slot]:
        return _warp(self._homography(), None, self.interpolation, self.fill)

    def channels(self) -> set[int]:
        return lengths(self.fill)


def _matrix(where: str, value: Any) -> _Rows:
    rows = _rows(where, value, "2 x 3 or 3 x 3 numbers")
    if len(rows) not in (2, 3) or any(len(row) != 3 for row in rows):
        checks.wrong(where, "2 x 3 or 3 x 3 numbers", value)
    return rows


def _points(where: str, value: Any) -> _Rows:
    rows = _rows(where, value, "four points (x, y)")
    if len(rows) != 4 or any(len(row) != 2 for row in rows):
        checks.wrong(where, "four points (x, y)", value)
    return rows


def _rows(where: str, value: Any, expected: str) -> _Rows:
    """Nested lists, an array or a tensor as tuples of finite numbers."""
    value = as_tensor(where, value).tolist() if hasattr(value, "tolist") else value
    if not checks.is_sequence(value) or not all(checks.is_sequence(row) for row in value):
        checks.wrong(where, expected, value)
    return tuple(tuple(checks.number(where, n, -1e9, 1e9) for n in row) for row in value)


def _inverse(where: str, matrix: np.ndarray) -> np.ndarray:
    scaled = matrix / np.abs(matrix).max(axis=1, keepdims=True).clip(1e-30)
    if abs(np.linalg.det(scaled)) < 1e-12:
        checks.wrong(where, "a matrix that can be inverted", matrix.tolist())
    return np.linalg.inv(matrix)


def _from_frame(where: str, points: _Rows) -> np.ndarray:
    """The 3 x 3 map that takes (1, 0, 0), (0, 1, 0), (0, 0, 1) and (1, 1, 1) to the four points."""
    p = np.column_stack([np.array(points), np.ones(4)])
    areas = [abs(np.linalg.det(np.delete(p, i, 0))) for i in range(4)]
    if min(areas) <= 1e-9 * np.abs(p).max() ** 2:
        checks.wrong(where, "four points of which no three lie on a line", points)
    return p[:3].T * np.linalg.solve(p[:3].T, p[3])
