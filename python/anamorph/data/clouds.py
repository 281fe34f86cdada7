"""Point clouds for the Loader: where they come from, and how batches of them are made."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch

from anamorph.core import checks
from anamorph.core.errors import AnamorphError, ArgumentError, DecodeError, DtypeError, ShapeError
from anamorph.core.move import to_device
from anamorph.core.tensors import as_tensor
from anamorph.data.batch import Batch, on_host
from anamorph.data.clips import Names
from anamorph.data.dataset import MapDataset, first_readable_label, item_of
from anamorph.data.folder import files_of
from anamorph.data.labels import Label, column_of, label_of
from anamorph.data.source import Source, WholeSource
from anamorph.data.sources import expand
from anamorph.data.transfer import Shipment
from anamorph.points.files import CLOUD_SUFFIXES, HDF5, MESHES, need_meshes, read_clouds, read_one
from anamorph.points.plan import Plan
from anamorph.points.recipe import Recipe
from anamorph.points.render import render
from anamorph.points.transforms.base import MAX_POINTS

MESH_POINTS = 2048
Attributes = dict[str, torch.Tensor]
_EXPECTED = ("source: expected a folder of class folders with clouds, HDF5 files, float32 clouds [n, N, 3] or a list of [N, 3], "
             "alone or as (clouds, labels), or a map-style dataset of (cloud, label)")


@dataclass
class Cloud:
    """One cloud on the host, float32 [N, 3], and the attributes of its points."""

    points: torch.Tensor
    attributes: Attributes


@dataclass
class CloudBatch(Batch):
    """``images`` are the points, float32 [B, N, 3]; ``counts`` says how many each cloud has of them, None: all have N."""

    attributes: Attributes = field(default_factory=dict)
    counts: np.ndarray | None = None
    counts_there: torch.Tensor | None = None  # where the batch has arrived

    def ship(self, device: torch.device) -> CloudBatch:
        if device.type == "cpu":
            return self
        mine = {f"attribute {name}": values for name, values in self.attributes.items()}
        given = {"ids": self.ids, "labels": self.labels, "points": self.images, "counts": self.counts, **mine}
        parts = {name: part for name, part in ((name, on_host(part)) for name, part in given.items()) if part is not None}
        if parts:
            self.shipment = Shipment({name: (part.dtype, tuple(part.shape)) for name, part in parts.items()}, device)
            for name, part in parts.items():
                self.shipment.host[name].copy_(part)
            self.shipment.send()
        return self

    def arrive(self, device: torch.device) -> None:
        if self.shipment is None:
            self.ship(device)
        there = self.shipment.arrive() if self.shipment else {}
        self.shipment = None
        # Whoever keeps ids or labels is not to keep the points with them.
        self.ids = there["ids"].clone() if "ids" in there else to_device(self.ids, device)
        self.labels = there["labels"].clone() if "labels" in there else self.labels
        if self.counts is not None:
            self.counts_there = there["counts"] if "counts" in there else to_device(self.counts, device)
        if self.images is not None:
            self.images = to_device(there.get("points", self.images), device)
            self.attributes = {name: to_device(there.get(f"attribute {name}", values), device)
                               for name, values in self.attributes.items()}


class CloudFolder(Source):
    """``root/class/**/file``, of the formats of :func:`anamorph.points.read_cloud`; sorted class names are the labels."""

    def __init__(self, root: Path, seed: int, mesh_points: int, wanted: tuple[str, ...], allow_empty: bool = False):
        self._seed, self._mesh_points, self._wanted = seed, mesh_points, wanted
        self.classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
        if not self.classes:
            raise ArgumentError(f"source: expected a folder with one subfolder per class, or with HDF5 files, given "
                                f"{str(root)!r}, which has neither")
        self._paths: list[str] = []
        labels: list[int] = []
        for label, name in enumerate(self.classes):
            found = [path for path in files_of(root / name, CLOUD_SUFFIXES) if not os.path.basename(path).startswith(".")]
            if not found and not allow_empty:
                raise ArgumentError(f"source: expected files ending in {', '.join(CLOUD_SUFFIXES)} in every class folder, given "
                                    f"{str(root / name)!r}, which holds none (allow_empty=True takes it as a class without "
                                    "samples)")
            self._paths += found
            labels += [label] * len(found)
        if any(path.lower().endswith(MESHES) for path in self._paths):
            need_meshes()  # said here and not by a thread
        self.labels = np.array(labels, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._paths)

    def name(self, index: int) -> str:
        return self._paths[index]

    def load(self, index: int) -> tuple[Cloud, Label | None]:
        points, attributes = read_one(self._paths[index], self._mesh_points, (self._seed, index))
        cloud = Cloud(torch.from_numpy(points), {name: torch.from_numpy(values) for name, values in attributes.items()})
        return _only(cloud, self._wanted, self.name(index), False), self.label(index)


class CloudArray(WholeSource):
    """float32 [n, N, 3] with attributes [n, N, ...], on the host or on a GPU."""

    what, hint = "the array", True

    def __init__(self, points: torch.Tensor, attributes: Attributes, labels: Any, wanted: tuple[str, ...]):
        self.points = points
        self.attributes = _only(Cloud(points, attributes), wanted, self.what, self.hint).attributes
        self.labels = None if labels is None else column_of(labels, len(points), self.name)

    def __len__(self) -> int:
        return len(self.points)

    def name(self, index: int) -> str:
        return f"cloud {index} of the array"

    @property
    def on_gpu(self) -> bool:
        return self.points.is_cuda

    def batch(self, number: int, ids: np.ndarray, labels: np.ndarray | None) -> CloudBatch:
        return CloudBatch(number, ids, None, labels)

    def fill(self, batch: Batch) -> None:
        assert isinstance(batch, CloudBatch)
        where = to_device(batch.ids, self.points.device)
        batch.images = self.points[where]
        batch.attributes = {name: values[where] for name, values in self.attributes.items()}


class CloudHdf5(CloudArray):
    """HDF5 files in ModelNet40's form, read into memory as one array."""

    what, hint = "each file", False

    def __init__(self, paths: list[str], labels: bool, wanted: tuple[str, ...]):
        read = [read_clouds(path) for path in paths]
        for path, (points, attributes, classes) in zip(paths, read, strict=True):
            first = read[0]
            if points.shape[1] != first[0].shape[1]:
                raise ArgumentError(f"source: expected clouds of one size, given {points.shape[1]} points in {path} and "
                                    f"{first[0].shape[1]} in {paths[0]}")
            if attributes.keys() != first[1].keys() or (classes is None) != (first[2] is None):
                raise ArgumentError(f"source: expected the same data sets in all files, given others in {path} than in "
                                    f"{paths[0]}")
        self._paths = paths
        self._ends = np.cumsum([len(points) for points, _, _ in read])
        columns = [classes for _, _, classes in read if classes is not None]
        points = np.concatenate([points for points, _, _ in read])
        whole = {name: torch.from_numpy(np.concatenate([attributes[name] for _, attributes, _ in read])) for name in read[0][1]}
        super().__init__(torch.from_numpy(points), whole,
                         np.concatenate(columns) if columns and labels else None, wanted)

    def name(self, index: int) -> str:
        file = int(np.searchsorted(self._ends, index, side="right"))
        return f"cloud {index - (int(self._ends[file - 1]) if file else 0)} of {self._paths[file]}"


class CloudList(Source):
    """Clouds in memory, each with its own number of points."""

    def __init__(self, clouds: Sequence[Any], labels: Any, wanted: tuple[str, ...]):
        self._clouds = [_cloud(cloud, self.name(i), wanted) for i, cloud in enumerate(clouds)]
        self.labels = None if labels is None or not self._clouds else column_of(labels, len(self._clouds), self.name)

    def __len__(self) -> int:
        return len(self._clouds)

    def name(self, index: int) -> str:
        return f"cloud {index} of the list"

    def load(self, index: int) -> tuple[Cloud, Label | None]:
        return self._clouds[index], self.label(index)


class CloudDataset(Source):
    """A map-style dataset of (cloud, label) or cloud; read by one thread, as nothing promises that several may share it."""

    thread_safe = False

    def __init__(self, dataset: MapDataset, labels: bool, wanted: tuple[str, ...]):
        self.dataset = dataset
        self._labelled, self._wanted = labels, wanted
        names = getattr(dataset, "classes", None)
        self.classes = list(names) if names is not None and labels else None

    def __len__(self) -> int:
        return len(self.dataset)

    def name(self, index: int) -> str:
        return f"item {index} of {type(self.dataset).__name__}"

    def first_label(self) -> Label | None:
        return first_readable_label(self)

    def load(self, index: int) -> tuple[Cloud, Label | None]:
        item = item_of(self.dataset, index, self.name(index))
        cloud, label = item if isinstance(item, (tuple, list)) and len(item) == 2 else (item, None)
        found = None if label is None or not self._labelled else label_of(label, partial(self.name, index))
        return _cloud(cloud, self.name(index), self._wanted, DecodeError), found


def _only(cloud: Cloud, wanted: tuple[str, ...], name: str, hint: bool) -> Cloud:
    """The cloud with the attributes that were asked for; ``hint``: a dict could have had them."""
    for one in wanted:
        if one not in cloud.attributes:
            there = " and ".join(map(repr, cloud.attributes))
            expected = f"some of {there}, which {name} has" if there else f"none, as {name} has points alone"
            more = f"; a dict of 'points' and {one!r} in its place has both" if hint else ""
            raise ArgumentError(f"attributes: expected {expected}, given {one!r}{more}")
    return Cloud(cloud.points, {one: cloud.attributes[one] for one in wanted})


def _parts(given: Any, name: str) -> tuple[Any, dict[str, Any]]:
    """The points and the attributes of a dict of them, or of points alone."""
    if not isinstance(given, Mapping):
        return given, {}
    if "points" not in given:
        raise ArgumentError(f"source: expected a dict with 'points', given {', '.join(map(repr, given)) or 'none'} as {name}")
    return given["points"], {key: values for key, values in given.items() if key != "points"}


def _tensor(values: Any, name: str) -> torch.Tensor:
    if isinstance(values, np.ndarray):
        if values.dtype.kind not in "iufb":
            raise DtypeError(f"source: expected arrays of numbers, given {values.dtype} as {name}")
        return torch.from_numpy(np.require(values, requirements=["C", "W"]))
    if isinstance(values, torch.Tensor):
        return as_tensor(name, values).detach()
    raise DtypeError(f"source: expected an array or a tensor, given a {type(values).__name__} as {name}")


def _points(values: Any, name: str, dims: int, error: type[AnamorphError] = ArgumentError) -> torch.Tensor:
    """float32 [N, 3] or, of several clouds, [n, N, 3]; finite, where they lie on the host; ``error``: where they are not."""
    form = "[N, 3]" if dims == 2 else "[n, N, 3]"
    points = _tensor(values, name)
    if points.dtype != torch.float32:
        raise DtypeError(f"source: expected float32 points {form}, given {str(points.dtype).removeprefix('torch.')} as {name}")
    if points.dim() != dims or points.shape[-1] != 3 or 0 in points.shape[-2:] or points.shape[-2] > MAX_POINTS:
        raise ShapeError(f"source: expected points {form}, N from 1 to {MAX_POINTS}, given {list(points.shape)} as {name}")
    if not points.is_cuda and not bool(torch.isfinite(points).all()):
        at = (~torch.isfinite(points)).nonzero()[0].tolist()
        raise error(f"{name}: expected finite coordinates, given {points[tuple(at)].item()} at {at}")
    return points


def _with(points: torch.Tensor, given: Mapping[str, Any], name: str) -> Attributes:
    """Attributes, each with an entry for each point."""
    found = {}
    for key, values in given.items():
        where = f"{key!r} of {name}"
        found[key] = tensor = _tensor(values, where)
        if tensor.shape[:points.dim() - 1] != points.shape[:-1]:
            raise ShapeError(f"source: expected an entry for each of the points {list(points.shape[:-1])}, given "
                             f"{list(tensor.shape)} as {where}")
        if key == "normals" and (tensor.dtype != torch.float32 or tensor.shape != points.shape):
            raise (ShapeError if tensor.dtype == torch.float32 else DtypeError)(
                f"source: expected float32 {list(points.shape)}, given {str(tensor.dtype).removeprefix('torch.')} "
                f"{list(tensor.shape)} as {where}")
        if tensor.device != points.device:
            raise ArgumentError(f"source: expected on {points.device} like the points, given on {tensor.device} as {where}")
    return found


def _cloud(given: Any, name: str, wanted: tuple[str, ...], error: type[AnamorphError] = ArgumentError) -> Cloud:
    values, others = _parts(given, name)
    points = _points(values, name, 2, error)
    if points.is_cuda:
        raise ArgumentError(f"source: expected clouds on the host, or one tensor [n, N, 3] of a GPU, given {name} on "
                            f"{points.device}")
    return _only(Cloud(points, _with(points, others, name)), wanted, name, True)


class Clouds:
    """The family of point clouds: see ``family.py``."""

    def __init__(self, recipe: Recipe, seed: int, attributes: Any, mesh_points: Any, **usual: Any):
        for name, given in usual.items():
            if given != {"channels": 3, "exif": False, "change": "none"}[name]:
                raise ArgumentError(f"{name}: expected to be left alone for a recipe of point clouds, as it is about pictures, "
                                    f"given {given!r}")
        self._seed = seed
        if not isinstance(attributes, (list, tuple)) or not all(isinstance(a, str) for a in attributes):
            checks.wrong("attributes", "a list of names such as ('normals',)", attributes)
        if {"points", "origin"} & {*attributes} or len({*attributes}) < len(attributes):
            checks.wrong("attributes", "different names, and not 'points' or 'origin', which come by themselves", attributes)
        self.attributes = tuple(attributes)
        self._mesh_points = MESH_POINTS if mesh_points is None else checks.whole("mesh_points", mesh_points, 1, MAX_POINTS)
        self.identity = {"attributes": list(self.attributes), "mesh_points": self._mesh_points}

    def open(self, source: Any, labels: bool, allow_empty: bool) -> Source:
        opened = self._open(source, labels, allow_empty)
        if allow_empty and not isinstance(opened, CloudFolder):
            raise ArgumentError(f"allow_empty: expected a folder of class folders as the source, given {type(source).__name__}")
        if len(opened) == 0:
            raise ArgumentError("source: expected at least one sample, given none")
        if not labels:
            opened.labels = None
        return opened

    def _open(self, source: Any, labels: bool, allow_empty: bool) -> Source:
        if isinstance(source, (str, os.PathLike)):
            return self._path(os.fspath(source), labels, allow_empty)
        if isinstance(source, (list, tuple)) and source and all(isinstance(s, (str, os.PathLike)) for s in source):
            return CloudHdf5([path for one in source for path in _hdf5(os.fspath(one))], labels, self.attributes)
        classes = None
        if isinstance(source, tuple) and len(source) == 2 and _is_clouds(source[0]):
            source, classes = source
        if isinstance(source, list):
            if any(isinstance(one, tuple) for one in source):
                raise ArgumentError("source: expected a list of clouds [N, 3], or (clouds, labels), given a list of pairs or "
                                    "other tuples; tuple(map(list, zip(*pairs))) is (clouds, labels)")
            return CloudList(source, classes if labels else None, self.attributes)
        if _is_clouds(source):
            values, others = _parts(source, "the source")
            points = _points(values, "the source", 3)
            return CloudArray(points, _with(points, others, "the source"), classes if labels else None, self.attributes)
        if isinstance(source, (tuple, dict, torch.utils.data.IterableDataset, torch.utils.data.DataLoader)):
            _unknown(source)
        if hasattr(source, "__getitem__") and hasattr(source, "__len__"):
            return CloudDataset(source, labels, self.attributes)
        _unknown(source)

    def _path(self, path: str, labels: bool, allow_empty: bool) -> Source:
        if not os.path.isdir(path):
            return CloudHdf5(_hdf5(path), labels, self.attributes)
        inside = sorted(entry.path for entry in os.scandir(path) if entry.name.lower().endswith(HDF5) and entry.is_file())
        if inside:
            return CloudHdf5(inside, labels, self.attributes)
        return CloudFolder(Path(path), self._seed, self._mesh_points, self.attributes, allow_empty)

    def check(self, recipe: Any, source: Any) -> None:
        if isinstance(source, CloudArray):
            _even(recipe, source.points.shape[1], source.points.shape[1], "")

    def assemble(self, number: int, ids: np.ndarray, loaded: Sequence[Cloud], labels: np.ndarray | None,
                 names: Names) -> CloudBatch:
        counts = np.array([len(cloud.points) for cloud in loaded], dtype=np.int64)
        most = int(counts.max())
        # By numpy, which does not wake torch's threads: those would take the cores from the threads that read.
        points = np.zeros((len(loaded), most, 3), np.float32)
        for row, cloud in zip(points, loaded):
            row[:len(cloud.points)] = cloud.points.numpy()
        attributes = {}
        for name in self.attributes:
            each = [cloud.attributes[name] for cloud in loaded]
            for at, values in enumerate(each):
                if values.shape[1:] != each[0].shape[1:] or values.dtype != each[0].dtype:
                    raise ShapeError(f"attributes: expected {name!r} of one form, given {_form(values)} in {names[at]()} and "
                                     f"{_form(each[0])} in {names[0]()}")
            whole = torch.zeros((len(each), most, *each[0].shape[1:]), dtype=each[0].dtype, device="cpu")
            for at, values in enumerate(each):
                whole[at, :len(values)] = values
            attributes[name] = whole
        same = int(counts.min()) == most
        return CloudBatch(number, ids, torch.from_numpy(points), labels, attributes=attributes, counts=None if same else counts)

    def plan(self, recipe: Any, batch: Batch, seed: int, epoch: int, device: torch.device, name: Callable[[int], str]) -> Plan:
        assert isinstance(batch, CloudBatch)
        if batch.counts is None:
            count: Any = batch.images.shape[1]
            _even(recipe, count, count, "")
        else:
            least, most = int(batch.counts.argmin()), int(batch.counts.argmax())
            _even(recipe, int(batch.counts[least]), int(batch.counts[most]), f" in {name(least)} and {name(most)}")
            count = batch.counts_there
        return recipe.plan(batch.ids, count=count, seed=seed, epoch=epoch, device=device)

    def render(self, batch: Batch, plan: Any, targets: torch.Tensor | None) -> Any:
        assert isinstance(batch, CloudBatch)
        return render(batch.images, plan, targets=targets, attributes=batch.attributes or None)

    def replay(self, batch: Batch, plan: Any, i: int) -> tuple[Any, Any]:
        drawn = self.render(batch, plan, None)
        view = {name: values[i].clone() for name, values in drawn.items()} if isinstance(drawn, dict) else drawn[i].clone()
        return view, plan[i]


def _form(values: torch.Tensor) -> str:
    return f"{str(values.dtype).removeprefix('torch.')} [{', '.join(['N', *map(str, values.shape[1:])])}]"


def _even(recipe: Recipe, least: int, most: int, where: str) -> None:
    """All views of a batch have the same number of points."""
    if recipe.num_points is not None:
        recipe.counts(least, most)  # also for its checks
        return
    found = recipe.counts(least, most)
    if found.least != found.most:
        raise ArgumentError(f"recipe: expected num_points=M, which makes every view M points, for a batch whose views would have "
                            f"{found.least} to {found.most}, given num_points=None and clouds of "
                            f"{f'{least} to {most}' if least < most else most} points{where}")


def _is_clouds(value: Any) -> bool:
    """Whether something is clouds in memory: with labels, it is the first of two."""
    return isinstance(value, (np.ndarray, torch.Tensor, list)) or (isinstance(value, dict) and "points" in value)


def _hdf5(pattern: str) -> list[str]:
    """The files that a pattern names."""
    found = expand(pattern)
    if not found:
        raise ArgumentError(f"source: expected a pattern of HDF5 files, given {pattern!r}, which nothing matches")
    for path in found:
        what = None
        if not os.path.exists(path):
            what = "which does not exist"
        elif not path.lower().endswith(HDF5):
            what = f"which does not end in {' or '.join(HDF5)}"
        if what:
            raise ArgumentError(f"source: expected a folder of class folders, or HDF5 files, given {path!r}, {what}")
    return found


def _unknown(source: Any) -> NoReturn:
    raise ArgumentError(f"{_EXPECTED}, given {type(source).__name__}")
