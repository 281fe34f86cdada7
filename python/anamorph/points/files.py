"""Clouds from files: arrays, scans, meshes that are sampled by area, and ModelNet40's HDF5."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DecodeError
from anamorph.core.extras import extra
from anamorph.points.transforms.base import MAX_POINTS

ARRAYS = (".npy", ".npz")
MESHES = (".ply", ".off", ".obj", ".stl")
HDF5 = (".h5", ".hdf5")
#: What a file of one cloud may end in.
CLOUD_SUFFIXES = ARRAYS + MESHES
#: What a file may say of its points.
ATTRIBUTES = ("normals", "colors", "labels")

Attributes = dict[str, np.ndarray]
_HDF5_NAMES = {"normals": ("normal", "normals"), "colors": ("color", "colors"), "labels": ("pid", "labels")}


class _Bad(Exception):
    """What is wrong with a file; its name is added by whoever knows it."""


def read_cloud(path: str | os.PathLike[str], num_points: int = 2048, key: tuple[int, int] = (0, 0), index: int = 0
               ) -> tuple[Tensor, dict[str, Tensor]]:
    """The cloud of a file.

    * ``.npy``: ``[N, 3]``, or, with normals, ``[N, 6]``;
    * ``.npz``: "points" or "xyz" ``[N, 3]``; "normals" ``[N, 3]``, "colors" ``[N, ...]``, "labels" ``[N]`` where there are;
    * ``.ply``, ``.off``, ``.obj``, ``.stl``: a mesh, which is sampled; without faces its vertices, and what a .ply says
      of them as nx ny nz, colours and "label";
    * ``.h5``, ``.hdf5``: ModelNet40's "data" ``[n, N, 3]`` and "normal", ShapeNet's part labels "pid"
      ``[n, N]``; cloud ``index`` of it.

    A mesh is sampled uniformly by area: a triangle is drawn with a probability proportional to its area, and a point in it by
    (1 - sqrt(u)) A + sqrt(u) (1 - v) B + sqrt(u) v C (Osada et al., "Shape distributions", TOG 2002, 4.1). The normal of a point
    is that of its triangle, its colour that of the triangle or, of coloured vertices, between theirs. Textures are not read.

    Args:
        path: the file; the end of its name says the format.
        num_points: how many points a mesh is sampled at. Other clouds come with the points that they have.
        key: (seed, sample id), two whole numbers in [0, 2**64): the same key gives the same points of a mesh, on every machine.
        index: which cloud of an HDF5 file.

    Returns:
        The points, float32 ``[N, 3]`` in the file's unit and order, and what the file says of them: "normals" float32 ``[N, 3]``,
        "colors" in the file's dtype and range (of meshes: uint8 ``[N, 3]``), "labels" int64 ``[N]``.

    Raises:
        DecodeError: a file that cannot be read, is not what its name says, or holds no points or some that are not finite.
        ArgumentError: a name that ends in nothing of the table, or an argument out of its range.
        MissingDependencyError: meshes take trimesh and HDF5 takes h5py, of the extra "points".
    """
    num_points = checks.whole("num_points", num_points, 1, MAX_POINTS)
    index = checks.whole("index", index, 0)
    words = checks.several("key", key, (2,), "(seed, sample id)")
    seed, sample = (checks.whole(f"key[{i}]", word, 0, 2**64 - 1) for i, word in enumerate(words))
    if not isinstance(path, str | os.PathLike):
        checks.wrong("path", "a file's path", path)
    path = os.fspath(path)
    if path.lower().endswith(HDF5):
        points, attributes, _ = read_clouds(path)
        if index >= len(points):
            checks.wrong("index", f"a cloud below {len(points)}, how many are in {path}", index)
        return torch.from_numpy(points[index]), {name: torch.from_numpy(values[index]) for name, values in attributes.items()}
    one, of_points = read_one(path, num_points, (seed, sample))
    return torch.from_numpy(one), {name: torch.from_numpy(values) for name, values in of_points.items()}


def read_one(path: str, num_points: int, key: tuple[int, int]) -> tuple[np.ndarray, Attributes]:
    """The cloud of a file of one, as :func:`read_cloud` gives it."""
    suffix = Path(path).suffix.lower()
    if suffix not in CLOUD_SUFFIXES:
        raise ArgumentError(f"path: expected a file that ends in {', '.join(CLOUD_SUFFIXES + HDF5)}, given {path!r}")
    if suffix in MESHES:
        need_meshes()
    try:
        with open(path, "rb") as file:
            data = io.BytesIO(file.read())
    except OSError as error:
        raise DecodeError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        if suffix == ".npy":
            points, attributes = _columns(np.load(data, allow_pickle=False))
        elif suffix == ".npz":
            points, attributes = _named(data)
        else:
            points, attributes = _mesh(data, suffix[1:], num_points, key)
        return _checked(points, attributes)
    except _Bad as bad:
        raise DecodeError(f"{path}: {bad}") from None
    except Exception as error:  # whatever numpy and trimesh raise for a damaged file
        said = "" if isinstance(error, ImportError) else f" ({type(error).__name__}: {error})"  # it guessed at what is broken
        raise DecodeError(f"{path}: is no {suffix} file that can be read{said}") from error


def need_meshes() -> None:
    """Raises MissingDependencyError where what reads meshes is not installed."""
    with extra("points", f"a file that ends in {', '.join(MESHES)}"):
        import trimesh  # noqa: F401


def read_clouds(path: str) -> tuple[np.ndarray, Attributes, np.ndarray | None]:
    """All clouds of an HDF5 file, float32 ``[n, N, 3]``, what it says of their points, and the classes int64 ``[n]``."""
    with extra("points", "an HDF5 file"):
        import h5py
    try:
        with h5py.File(path, "r") as file:
            if "data" not in file:
                raise _Bad(f"expected a data set 'data' [n, N, 3], given {', '.join(map(repr, file)) or 'none'}")
            points = np.asarray(file["data"])
            attributes = {}
            for name, names in _HDF5_NAMES.items():
                found = next((n for n in names if n in file), None)
                if found is not None:
                    attributes[name] = np.asarray(file[found])
            labels = np.asarray(file["label"]) if "label" in file else None
        if points.ndim != 3:
            raise _Bad(f"expected 'data' [n, N, 3], given {list(points.shape)}")
        points, attributes = _checked(points, attributes)
        return points, attributes, None if labels is None else _classes(labels, len(points))
    except _Bad as bad:
        raise DecodeError(f"{path}: {bad}") from None
    except Exception as error:
        raise DecodeError(f"{path}: is no HDF5 file that can be read ({type(error).__name__}: {error})") from error


def _classes(labels: np.ndarray, count: int) -> np.ndarray:
    if labels.size != count or labels.shape[:1] != (count,) or labels.dtype.kind not in "iu":
        raise _Bad(f"expected 'label' with an integer for each of {count} clouds, given {labels.dtype} {list(labels.shape)}")
    return labels.reshape(-1).astype(np.int64)


def _columns(values: np.ndarray) -> tuple[np.ndarray, Attributes]:
    if values.ndim != 2 or values.shape[1] not in (3, 6):
        raise _Bad(f"expected [N, 3] or, with normals, [N, 6], given {list(values.shape)}")
    return values[:, :3], {} if values.shape[1] == 3 else {"normals": values[:, 3:]}


def _named(data: io.BytesIO) -> tuple[np.ndarray, Attributes]:
    with np.load(data, allow_pickle=False) as arrays:
        name = next((n for n in ("points", "xyz") if n in arrays), None)
        if name is None:
            raise _Bad(f"expected an array 'points' or 'xyz', given {', '.join(map(repr, arrays)) or 'none'}")
        return arrays[name], {n: arrays[n] for n in ATTRIBUTES if n in arrays}


def _mesh(data: io.BytesIO, kind: str, num_points: int, key: tuple[int, int]) -> tuple[np.ndarray, Attributes]:
    import trimesh

    # As a stream, so that nothing else is opened that the file may name. process=False: vertices are not merged, nor reordered.
    found: Any = trimesh.load(data, file_type=kind, process=False)
    if isinstance(found, trimesh.Scene):  # of several objects
        if not found.geometry:
            raise _Bad("holds no points")
        found = found.to_mesh()
    vertices = np.asarray(found.vertices, np.float64)
    faces = getattr(found, "faces", None)
    _whole(data.getvalue(), kind, len(vertices), 0 if faces is None else len(faces))
    if faces is None or len(faces) == 0:
        return vertices, _of_vertices(found, len(vertices))
    faces = np.asarray(faces, np.int64)
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise _Bad(f"expected faces of its {len(vertices)} vertices, given {faces.min()} to {faces.max()}")
    colors = {"vertex": "vertex_colors", "face": "face_colors"}.get(found.visual.kind or "")
    given = None if colors is None else np.asarray(getattr(found.visual, colors))[:, :3]
    return sample_mesh(vertices, faces, num_points, key, given, colors == "face_colors")


def _whole(data: bytes, kind: str, vertices: int, faces: int) -> None:
    """What was cut off, which trimesh reads as far as it goes: a file with fewer vertices or faces than its head says."""
    if kind == "off":
        numbers = [w for line in data[:4096].splitlines() for w in line.partition(b"#")[0].split() if w.isdigit()][:2]
        said = [int(w) for w in numbers]
    elif kind == "ply":
        head = data.partition(b"end_header")[0].split()
        said = [int(head[i + 2]) for name in (b"vertex", b"face") for i in range(len(head) - 2)
                if head[i] == b"element" and head[i + 1] == name]
    else:
        return
    for name, there, expected in zip(("vertices", "faces"), (vertices, faces), said, strict=False):
        if there < expected:  # polygons become several triangles
            raise _Bad(f"expected the {expected} {name} that its head says, given {there}")


def _of_vertices(found: Any, count: int) -> Attributes:
    """What a file without faces says of its vertices."""
    attributes: Attributes = {}
    colors = getattr(found, "colors", None)
    if colors is None and getattr(getattr(found, "visual", None), "kind", None) == "vertex":
        colors = found.visual.vertex_colors
    if colors is not None and len(colors) == count:
        attributes["colors"] = np.asarray(colors)[:, :3]
    raw = found.metadata.get("_ply_raw", {}).get("vertex", {}).get("data", {})
    names = raw.dtype.names or () if isinstance(raw, np.ndarray) else raw  # of a binary file one array with fields
    if all(n in names for n in ("nx", "ny", "nz")):
        attributes["normals"] = np.stack([np.asarray(raw[n]).reshape(-1) for n in ("nx", "ny", "nz")], 1)
    label = next((n for n in ("label", "labels") if n in names), None)
    if label is not None:
        attributes["labels"] = np.asarray(raw[label]).reshape(-1)
    return attributes


def sample_mesh(vertices: np.ndarray, faces: np.ndarray, num_points: int, key: tuple[int, int],
                colors: np.ndarray | None = None, of_faces: bool = False) -> tuple[np.ndarray, Attributes]:
    """Points of triangles, uniform by area, with their normals; ``colors`` [vertices, 3] or, ``of_faces``, [faces, 3]."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    cross = np.cross(b - a, c - a)
    twice = np.sqrt((cross * cross).sum(1))
    if not np.isfinite(twice).all():  # of faces alone; points that are not finite are found behind this
        raise _Bad("expected finite coordinates, given NaN or infinity, or faces too large to have an area")
    ends = np.cumsum(twice)
    if not ends[-1] > 0:
        raise _Bad("expected faces with an area, given none")
    # Raw words, whose stream numpy promises never to change; their upper 53 bits are a double in [0, 1).
    words = np.random.Philox(key=np.array(key, np.uint64)).random_raw(3 * num_points)
    which, u, v = (words >> np.uint64(11)).reshape(num_points, 3).T * 2.0**-53
    # The first end beyond the number, so that a triangle without area is never taken.
    at = np.minimum(np.searchsorted(ends, which * ends[-1], side="right"), np.flatnonzero(twice)[-1])
    root = np.sqrt(u)
    shares = np.stack([1 - root, root * (1 - v), root * v], 1)[..., None]
    points = shares[:, 0] * a[at] + shares[:, 1] * b[at] + shares[:, 2] * c[at]
    attributes = {"normals": cross[at] / twice[at, None]}
    if colors is not None and of_faces:
        attributes["colors"] = colors[at]
    elif colors is not None:
        mixed = (shares * colors[faces[at]]).sum(1)
        attributes["colors"] = np.rint(mixed).astype(colors.dtype) if colors.dtype.kind in "iu" else mixed
    return points, attributes


def _checked(points: np.ndarray, attributes: Attributes) -> tuple[np.ndarray, Attributes]:
    """float32 points, [N, 3] or of a file of several [n, N, 3], and what belongs to each."""
    if points.dtype.kind not in "iuf":
        raise _Bad(f"expected numbers, given {points.dtype}")
    if points.ndim not in (2, 3) or points.shape[-1] != 3:
        raise _Bad(f"expected points [N, 3], given {list(points.shape)}")
    if 0 in points.shape:
        raise _Bad("holds no points")
    if points.shape[-2] > MAX_POINTS:
        raise _Bad(f"expected at most {MAX_POINTS} points, given {points.shape[-2]}")
    found = {}
    for name, values in attributes.items():
        if values.shape[:points.ndim - 1] != points.shape[:-1]:
            raise _Bad(f"expected {name} for each of the points {list(points.shape[:-1])}, given {list(values.shape)}")
        if name == "normals":
            if values.shape != points.shape or values.dtype.kind not in "iuf":
                raise _Bad(f"expected normals {list(points.shape)}, given {values.dtype} {list(values.shape)}")
            found[name] = _single(values, "normals")
        elif name == "labels":
            if values.dtype.kind not in "iu" or values.shape != points.shape[:-1]:
                raise _Bad(f"expected labels of integers {list(points.shape[:-1])}, given {values.dtype} {list(values.shape)}")
            found[name] = np.ascontiguousarray(values, np.int64)
        else:
            if values.dtype.kind not in "iuf":
                raise _Bad(f"expected {name} of numbers, given {values.dtype}")
            found[name] = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    return _single(points, "coordinates"), found


def _single(values: np.ndarray, what: str) -> np.ndarray:
    with np.errstate(over="ignore"):  # what is too large for float32 is said below
        single = np.ascontiguousarray(values, np.float32)
    if not np.isfinite(single).all():
        at = np.argwhere(~np.isfinite(single))[0].tolist()
        raise _Bad(f"expected finite {what}, given {values[tuple(at)]} at {at}")
    return single if single.flags.writeable else single.copy()
