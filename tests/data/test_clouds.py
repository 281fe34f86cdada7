"""Clouds for the Loader: files of every format against what was written into them, meshes by the areas of their triangles, and
batches against `points.render` of the same samples."""

import json
import os
import pickle
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch
import trimesh
from scipy import stats

import anamorph as am
from fake_streams import FakeGpu

P = am.points
RECIPE = P.Recipe([P.Rotate(), P.Jitter()], num_points=16)


def some(n, seed=0, channels=3):
    return np.random.default_rng(seed).normal(size=(n, channels)).astype(np.float32)


def unit(values):
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


POINTS, NORMALS = some(30), unit(some(30, 1))
COLORS, PARTS = np.random.default_rng(2).integers(0, 256, (30, 3), dtype=np.uint8), np.arange(30) % 4


def ply(path, points, binary, faces=None, **columns):
    """A .ply by its specification (Turk, 1994), not by the library that reads it."""
    kinds = {"nx": "float", "ny": "float", "nz": "float", "red": "uchar", "green": "uchar", "blue": "uchar", "label": "int"}
    form = np.dtype([(n, "<f4") for n in "xyz"] + [(n, {"float": "<f4", "uchar": "u1", "int": "<i4"}[kinds[n]]) for n in columns])
    rows = np.empty(len(points), form)
    for k, n in enumerate("xyz"):
        rows[n] = points[:, k]
    for n, values in columns.items():
        rows[n] = values
    head = [b"ply", b"format " + (b"binary_little_endian" if binary else b"ascii") + b" 1.0", b"element vertex %d" % len(points)]
    head += [b"property float " + n.encode() for n in "xyz"] + [f"property {kinds[n]} {n}".encode() for n in columns]
    body = rows.tobytes() if binary else "".join(" ".join(str(v) for v in row) + "\n" for row in rows.tolist()).encode()
    if faces is not None:
        head += [b"element face %d" % len(faces), b"property list uchar int vertex_indices"]
        body += b"".join(b"\3" + np.asarray(f, "<i4").tobytes() if binary else b"3 %d %d %d\n" % tuple(f) for f in faces)
    path.write_bytes(b"\n".join([*head, b"end_header", b""]) + body)


def hdf5(path, count, n, seed=0, **more):
    data = np.random.default_rng(seed).normal(size=(count, n, 3)).astype(np.float32)
    written(path, data=data, **more)
    return data


def written(path, **sets):
    with h5py.File(path, "w") as file:
        for name, values in sets.items():
            file[name] = values


WRITE = {
    "npy": lambda p: np.save(p, POINTS), "columns.npy": lambda p: np.save(p, np.hstack([POINTS, NORMALS])),
    "doubles.npy": lambda p: np.save(p, POINTS.astype(">f8")),
    "npz": lambda p: np.savez(p, points=POINTS, normals=NORMALS, colors=COLORS, labels=PARTS),
    "xyz.npz": lambda p: np.savez_compressed(p, xyz=POINTS, colors=COLORS / np.float32(255)),
    "ply": lambda p: ply(p, POINTS, False, nx=NORMALS[:, 0], ny=NORMALS[:, 1], nz=NORMALS[:, 2], red=COLORS[:, 0],
                         green=COLORS[:, 1], blue=COLORS[:, 2], label=PARTS),
    "binary.ply": lambda p: ply(p, POINTS, True, nx=NORMALS[:, 0], ny=NORMALS[:, 1], nz=NORMALS[:, 2], red=COLORS[:, 0],
                                green=COLORS[:, 1], blue=COLORS[:, 2], label=PARTS),
    "off": lambda p: p.write_text("OFF\n30 0 0\n" + "".join(f"{x!r} {y!r} {z!r}\n" for x, y, z in POINTS.tolist())),
    "obj": lambda p: p.write_text("".join(f"v {x!r} {y!r} {z!r}\n" for x, y, z in POINTS.tolist())),
    "h5": lambda p: written(p, data=POINTS[None].repeat(2, 0), normal=NORMALS[None].repeat(2, 0),
                                             label=np.array([[3], [1]], np.uint8), pid=PARTS[None].repeat(2, 0)),
}
HOLDS = {"columns.npy": {"normals"}, "npz": {"normals", "colors", "labels"}, "xyz.npz": {"colors"},
         "ply": {"normals", "colors", "labels"}, "binary.ply": {"normals", "colors", "labels"}, "h5": {"normals", "labels"}}


@pytest.mark.parametrize("kind", WRITE)
def test_a_file_holds_what_was_written(tmp_path, kind):
    path = tmp_path / f"cloud.{kind}"
    WRITE[kind](path)
    points, attributes = P.read_cloud(path)
    exact = torch.equal(points, torch.from_numpy(POINTS))
    assert exact and points.dtype == torch.float32 and {*attributes} == HOLDS.get(kind, set())
    for name, values in (("normals", NORMALS), ("labels", PARTS)):
        assert name not in attributes or torch.equal(attributes[name], torch.from_numpy(values))
    if "colors" in attributes:
        given = COLORS / np.float32(255) if kind == "xyz.npz" else COLORS
        assert torch.equal(attributes["colors"], torch.from_numpy(given))


TRIANGLES = np.array([[0, 0, 0], [4, 0, 0], [0, 1, 0], [0, 0, 2], [0, 3, 2], [5, 0, 2], [0, 0, 5], [1, 0, 5], [2, 0, 5]], float)
FACES = [[0, 1, 2], [3, 5, 4], [6, 7, 8]]  # of areas 2, 7.5 and none, normals +z and +z


def mesh(path):
    if path.suffix == ".stl":  # its specification's binary form: a normal and three corners each
        rows = b"".join(np.zeros(3, "<f4").tobytes() + TRIANGLES[f].astype("<f4").tobytes() + b"\0\0" for f in FACES)
        path.write_bytes(b" " * 80 + np.uint32(3).tobytes() + rows)
    elif path.suffix == ".off":  # as some of ModelNet40's are: the numbers in the first line
        path.write_text("OFF9 3 0\n" + "".join(f"{x} {y} {z}\n" for x, y, z in TRIANGLES)
                        + "".join(f"3 {a} {b} {c}\n" for a, b, c in FACES))
    elif path.suffix == ".obj":
        path.write_text("mtllib nowhere.mtl\n" + "".join(f"v {x} {y} {z}\n" for x, y, z in TRIANGLES)
                        + "".join(f"f {a + 1} {b + 1} {c + 1}\n" for a, b, c in FACES))
    else:
        ply(path, TRIANGLES, True, FACES)
    return path


@pytest.mark.parametrize("suffix", ["ply", "off", "obj", "stl"])
def test_a_mesh_is_sampled_by_area(tmp_path, suffix):
    points, attributes = P.read_cloud(mesh(tmp_path / f"m.{suffix}"), 4000, key=(5, 7))
    assert points.shape == (4000, 3) and torch.equal(attributes["normals"].abs(), torch.tensor([[0., 0, 1]]).expand(4000, 3))
    x, y, z = points.double().numpy().T
    low, high = z == 0, z == 2
    assert (low | high).all()  # and none of the one without area
    assert stats.chisquare([low.sum(), high.sum()], [4000 * 2 / 9.5, 4000 * 7.5 / 9.5]).pvalue > 1e-3
    assert (x >= 0).all() and (y >= 0).all()
    assert (x[low] / 4 + y[low] <= 1 + 1e-6).all() and (x[high] / 5 + y[high] / 3 <= 1 + 1e-6).all()
    # In a triangle: sixteen of the same area by halving its sides twice.
    u, v = np.where(low, x / 4, x / 5), np.where(low, y, y / 3)
    cell = np.minimum(np.floor(u * 4), 3) * 8 + np.minimum(np.floor(v * 4), 3) * 2 + (u * 4 % 1 + v * 4 % 1 > 1)
    _, counts = np.unique(cell, return_counts=True)
    assert len(counts) == 16 and stats.chisquare(counts).pvalue > 1e-3


def test_many_faces_by_their_area(tmp_path):
    ball = trimesh.creation.icosphere(2)
    corners = ball.vertices * [1, 2, 3]
    ply(tmp_path / "m.ply", corners, True, ball.faces)
    points, attributes = P.read_cloud(tmp_path / "m.ply", 32000)
    given = trimesh.Trimesh(corners.astype(np.float32), ball.faces, process=False)
    which = (attributes["normals"].numpy() @ given.face_normals.T).argmax(1)
    assert np.abs(attributes["normals"].numpy() - given.face_normals[which]).max() < 1e-5
    shares = trimesh.triangles.points_to_barycentric(given.triangles[which], points.numpy())
    assert shares.min() > -1e-5 and np.abs((shares[..., None] * given.triangles[which]).sum(1) - points.numpy()).max() < 1e-5
    expected = given.area_faces / given.area * 32000
    assert stats.chisquare(np.bincount(which, minlength=len(ball.faces)), expected).pvalue > 1e-3
    for k in range(3):  # each corner's share of a uniform point: density 2 (1 - s)
        assert stats.kstest(shares[:, k], stats.beta(1, 2).cdf).pvalue > 1e-3


def test_the_key_and_the_colours_of_a_mesh(tmp_path):
    path = mesh(tmp_path / "m.ply")
    one, two, other, seed = (P.read_cloud(path, 50, key=key)[0] for key in ((0, 0), (0, 0), (0, 1), (1, 0)))
    assert torch.equal(one, two) and not torch.equal(one, other) and not torch.equal(one, seed) and not torch.equal(other, seed)
    ply(path, TRIANGLES[:3], False, FACES[:1], red=[0, 200, 0], green=[0, 0, 100], blue=[7, 7, 7])
    points, attributes = P.read_cloud(path, 500)
    assert attributes["colors"].dtype == torch.uint8  # linear between the corners, by x and y
    expected = torch.stack([points[:, 0] * 50, points[:, 1] * 100, torch.full((500,), 7.)], 1)
    assert (attributes["colors"] - expected).abs().max() <= .5 + 1e-4


def test_samples_are_the_same_numbers_everywhere(tmp_path):
    """Of a square of two triangles, by numpy's Philox; written once."""
    (tmp_path / "q.off").write_text("OFF\n4 1 0\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n4 0 1 2 3\n")
    points, _ = P.read_cloud(tmp_path / "q.off", 2, key=(3, 4))
    words = (np.random.Philox(key=np.array([3, 4], np.uint64)).random_raw(6) >> np.uint64(11)) * 2.0**-53
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
    for point, (t, u, v) in zip(points.numpy(), words.reshape(2, 3), strict=True):
        a, b, c = corners[[0, 1, 2] if t < .5 else [2, 3, 0]]
        np.testing.assert_allclose(point, (1 - u**.5) * a + u**.5 * (1 - v) * b + u**.5 * v * c, atol=1e-6)


BAD = {
    "missing.npy": (None, "cannot be read"), "empty.npy": (b"", "cannot be|can be read"), "text.npy": (b"hello", ".npy"),
    "empty.npz": (b"", "npz"), "text.npz": (b"PK hello", "npz"), "empty.ply": (b"", "ply"), "text.ply": (b"hello", "ply"),
    "cut.ply": (b"ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\n", "ply"), "empty.off": (b"", "off"),
    "text.off": (b"hello", "off"), "cut.off": (b"OFF\n3 1 0\n0 0 0\n1 0 0\n", "off"),
    "face.off": (b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n", "face"),
    "nan.off": (b"OFF\n3 1 0\n0 0 nan\n1 0 0\n0 1 0\n3 0 1 2\n", "finite"),
    "nan2.off": (b"OFF\n2 0 0\n0 0 nan\n1 0 0\n", "finite"),
    "line.off": (b"OFF\n3 1 0\n0 0 0\n1 0 0\n2 0 0\n3 0 1 2\n", "area"), "none.off": (b"OFF\n0 0 0\n", "off|no points"),
    "empty.obj": (b"", "obj|no points"), "text.obj": (b"hello", "obj|no points"), "empty.stl": (b"", "no points"),
    "cut.stl": (b" " * 80 + b"\3\0\0\0" + b"\0" * 60, "stl"), "empty.h5": (b"", "HDF5"), "text.h5": (b"hello", "HDF5"),
    "pickle.npy": (lambda p: np.save(p, np.array([{}, 1], object), allow_pickle=True), "pickle"),
    "flat.npy": (lambda p: np.save(p, POINTS[0]), r"\[N, 3\]"),
    "four.npy": (lambda p: np.save(p, some(5, 0, 4)), r"\[5, 4\]"),
    "none.npy": (lambda p: np.save(p, POINTS[:0]), "no points"),
    "words.npy": (lambda p: np.save(p, np.full((2, 3), "a")), "numbers"),
    "nan.npy": (lambda p: np.save(p, np.where(POINTS > 1, np.nan, POINTS)), "finite"),
    "large.npy": (lambda p: np.save(p, np.full((2, 3), 1e300)), "finite"),
    "complex.npy": (lambda p: np.save(p, POINTS + 1j), "complex"),
    "nameless.npz": (lambda p: np.savez(p, a=POINTS), "'a'"),
    "fewer.npz": (lambda p: np.savez(p, points=POINTS, labels=PARTS[:3]), "labels"),
    "floats.npz": (lambda p: np.savez(p, points=POINTS, labels=PARTS + .5), "integers"),
    "flat.npz": (lambda p: np.savez(p, points=POINTS, normals=PARTS), "normals"),
    "nan.npz": (lambda p: np.savez(p, points=POINTS, normals=NORMALS * np.inf), "normals"),
    "nameless.h5": (lambda p: written(p, a=POINTS), "'a'"),
    "flat.h5": (lambda p: written(p, data=POINTS), r"\[n, N, 3\]"),
    "nan.h5": (lambda p: written(p, data=POINTS[None] * np.nan), "finite"),
    "fewer.h5": (lambda p: written(p, data=POINTS[None], label=[1, 2]), "label"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_named(tmp_path, name):
    write, said = BAD[name]
    path = tmp_path / name
    if callable(write):
        write(path)
    elif write is not None:
        path.write_bytes(write)
    with pytest.raises(am.DecodeError, match=said) as error:
        P.read_cloud(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("arguments, error", [
    (("c.txt",), "ends in"), (("c.npy", 0), "num_points"), (("c.npy", 2.5), "num_points"), (("c.npy", 8, 3), "key"),
    (("c.npy", 8, (0, -1)), "key"), (("c.npy", 8, (0, 0), -1), "index"), (("c.h5", 8, (0, 0), 2), "below 2")])
def test_arguments_of_read_cloud(tmp_path, arguments, error):
    hdf5(tmp_path / "c.h5", 2, 5)
    with pytest.raises(am.ArgumentError, match=error):
        P.read_cloud(tmp_path / arguments[0], *arguments[1:])


@pytest.fixture
def shapes(tmp_path):
    """Three classes, of clouds of different sizes and a mesh; ids follow the sorted paths."""
    root = tmp_path / "shapes"
    for at in range(12):
        folder = root / ("chair", "lamp", "table")[at // 4]
        folder.mkdir(parents=True, exist_ok=True)
        if at == 5:
            mesh(folder / "05.off")
        else:
            np.savez(folder / f"{at:02}.npz", points=some(20 + at, at), normals=unit(some(20 + at, 50 + at)))
    (root / "readme.txt").write_text("not a cloud")
    return root


def every(loader):
    return [tuple(part.clone() if isinstance(part, torch.Tensor) else {n: v.clone() for n, v in part.items()} for part in batch)
            for batch in loader]


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else len(a) == len(b) and all(map(same, a, b))


def test_a_folder_gives_the_views_that_render_gives(shapes):
    loader = am.Loader(shapes, RECIPE, 5, seed=4, epoch=2, with_index=True, attributes=("normals",), mesh_points=40)
    assert loader.classes == ["chair", "lamp", "table"] and loader.class_to_idx["lamp"] == 1 and len(loader) == 3
    seen = []
    files = sorted(shapes.glob("*/*.*"))
    for views, labels, ids in loader:
        assert views["points"].shape == (len(ids), 16, 3) and labels.tolist() == [i // 4 for i in ids.tolist()]
        for row, i in enumerate(ids.tolist()):
            points, attributes = P.read_cloud(files[i], 40, key=(4, i))
            alone = P.render(points[None], RECIPE.plan([i], count=len(points), seed=4, epoch=2),
                             attributes={"normals": attributes["normals"][None]})
            assert all(torch.equal(alone[n][0], views[n][row]) for n in ("points", "normals", "origin"))
        seen += ids.tolist()
    assert sorted(seen) == [*range(12), *seen[12:]] and loader.epoch == 3
    (views, labels) = next(iter(am.Loader(str(shapes), RECIPE, 12)))
    assert views.shape == (12, 16, 3) and views.dtype == torch.float32 and sorted(labels.tolist()) == [0] * 4 + [1] * 4 + [2] * 4


def test_a_mesh_is_at_the_same_points_in_every_epoch(shapes):
    loader = am.Loader(shapes, P.Recipe([P.Translate(0.)], num_points=40), 12, shuffle=False, mesh_points=40)
    first, second = (torch.sort(batch[0][5], 0).values for _ in range(2) for batch in every(loader))
    assert loader.epoch == 2 and torch.equal(first, second)


def test_hdf5_files(tmp_path):
    """ModelNet40's: several files, labels [n, 1]."""
    a = hdf5(tmp_path / "train0.h5", 5, 32, 0, label=np.arange(5, dtype=np.uint8)[:, None], normal=unit(np.ones((5, 32, 3))))
    b = hdf5(tmp_path / "train1.h5", 4, 32, 1, label=np.full((4, 1), 7, np.uint8), normal=unit(np.ones((4, 32, 3))))
    plain = P.Recipe([P.Translate(0.)])
    both = [tmp_path / "train0.h5", tmp_path / "train1.h5"]
    for source in (tmp_path, str(tmp_path / "train*.h5"), both, str(tmp_path / "train{0,1}.h5")):
        (views, labels), = every(am.Loader(source, plain, 9, shuffle=False))
        assert torch.equal(views, torch.from_numpy(np.concatenate([a, b]))) and labels.tolist() == [0, 1, 2, 3, 4, 7, 7, 7, 7]
    loader = am.Loader(tmp_path, P.Recipe([P.Jitter(), P.RSMix()], labels="soft"), 9, attributes=["normals"])
    assert loader.recipe.num_classes == 8 and loader.source.name(6) == f"cloud 1 of {tmp_path / 'train1.h5'}"
    (views, soft), = every(loader)
    assert soft.shape == (9, 8) and torch.allclose(soft.sum(1), torch.ones(9)) and views["normals"].shape == (9, 32, 3)
    hdf5(tmp_path / "train2.h5", 4, 31)
    with pytest.raises(am.ArgumentError, match=r"31 points in .*train2\.h5"):
        am.Loader(tmp_path, plain, 9)


class Items:
    classes = ["a", "b"]  # noqa: RUF012

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


WHOLE = np.stack([some(20, i) for i in range(10)])
LABELS = np.arange(10) % 3
SOURCES = {
    "array": lambda: (WHOLE, LABELS), "tensor": lambda: (torch.from_numpy(WHOLE), torch.from_numpy(LABELS)),
    "dict": lambda: ({"points": WHOLE, "normals": unit(WHOLE)}, LABELS), "list": lambda: ([*WHOLE], LABELS),
    "list of dicts": lambda: ([{"points": w, "normals": torch.from_numpy(unit(w))} for w in WHOLE], LABELS.tolist()),
    "dataset": lambda: Items([(w, int(k)) for w, k in zip(WHOLE, LABELS, strict=True)]),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_clouds_in_memory(kind):
    loader = am.Loader(SOURCES[kind](), RECIPE, 4, seed=1, pad=False, with_index=True)
    batches = every(loader)
    views, labels, ids = map(torch.cat, zip(*batches, strict=True))
    assert sorted(ids.tolist()) == [*range(10)] and torch.equal(labels, torch.from_numpy(LABELS)[ids])
    assert torch.equal(views, P.render(torch.from_numpy(WHOLE)[ids], RECIPE.plan(ids, count=20, seed=1, epoch=0)))
    alone = every(am.Loader(SOURCES[kind](), RECIPE, 4, seed=1, pad=False, labels=False, with_index=True))
    assert all(torch.equal(a[0], b[0]) and len(a) == 2 for a, b in zip(alone, batches, strict=True))
    if "dict" in kind:
        (views, _), = every(am.Loader(SOURCES[kind](), P.Recipe([P.Shear(0.)]), 10, shuffle=False, attributes=("normals",)))
        assert (views["normals"] - torch.from_numpy(unit(WHOLE))).abs().max() < 1e-6


@pytest.mark.parametrize("source", ["folder", "list", "array"])
def test_a_pass_goes_on_where_it_was_left(shapes, source):
    given = {"folder": shapes, "list": SOURCES["list"](), "array": SOURCES["array"]()}[source]
    mixing = P.Recipe([P.Rotate(), P.PointCutMix("R")], num_points=16)
    whole = every(am.Loader(given, mixing, 3, seed=9))
    loader = am.Loader(given, mixing, 3, seed=9)
    passing = iter(loader)
    next(passing), next(passing)
    state = json.loads(json.dumps(loader.state_dict()))
    passing.close()
    other = am.Loader(given, mixing, 3, seed=9)
    other.load_state_dict(state)
    assert same(every(other), whole[2:])
    for change in ({"mesh_points": 7}, {"seed": 8}):
        with pytest.raises(am.ArgumentError, match="state_dict"):
            am.Loader(given, mixing, 3, **{"seed": 9, **change}).load_state_dict(state)
    with pytest.raises(am.ArgumentError, match="recipe"):
        am.Loader(given, P.Recipe([P.Rotate(), P.PointCutMix("K")], num_points=16), 3, seed=9).load_state_dict(state)


def test_threads_give_the_same_and_shards_share(shapes):
    one, three = (every(am.Loader(shapes, RECIPE, 4, num_threads=n, attributes=("normals",), with_index=True)) for n in (1, 3))
    assert same(one, three)
    ids = [torch.cat([b[-1] for b in every(am.Loader(shapes, RECIPE, 2, shard=(r, 3), with_index=True))]) for r in range(3)]
    assert sorted(torch.cat(ids).tolist()) == [*range(12)] and all(len(i) == 4 for i in ids)
    alone = {int(i): v for views, _, index in every(am.Loader(shapes, RECIPE, 2, shard=(1, 3), with_index=True))
             for i, v in zip(index, views, strict=True)}
    whole = {int(i): v for views, _, index in one for i, v in zip(index, views["points"], strict=True)}
    assert all(torch.equal(v, whole[i]) for i, v in alone.items())


def test_any_view_again(shapes):
    loader = am.Loader(shapes, RECIPE, 5, seed=3, with_index=True, attributes=("normals",))
    (views, _, ids), *_ = every(loader)
    again, done = loader.replay(int(ids[2]), 0)
    assert all(torch.equal(again[n], views[n][2]) for n in views) and done["sample"] == int(ids[2]) and done["view count"] == 16
    again, _ = am.Loader(SOURCES["array"](), RECIPE, 5, seed=3).replay(4, 1)
    assert torch.equal(again, P.render(torch.from_numpy(WHOLE[4:5]), RECIPE.plan([4], count=20, seed=3, epoch=1))[0])


def test_unreadable_files_are_named_or_left_out(shapes):
    for name in ("chair/01.npz", "table/09.npz"):
        (shapes / name).write_bytes(b"nothing")
    with pytest.raises(am.DecodeError, match=r"01\.npz"):
        every(am.Loader(shapes, RECIPE, 12, shuffle=False))
    loader = am.Loader(shapes, RECIPE, 12, on_error="skip", with_index=True, shuffle=False)
    (views, labels, ids), = every(loader)
    assert ids.tolist() == [0, 2, 3, 4, 5, 6, 7, 8, 10, 11] and len(views) == len(labels) == 10 and len(loader.skipped) == 2
    assert pickle.loads(pickle.dumps(loader.skipped[0])).args == loader.skipped[0].args


def test_views_of_one_size_need_no_num_points():
    cuts = [some(n, n) for n in (9, 12, 30)]
    (views,) = am.Loader(cuts, P.Recipe([P.Resample(7)]), 3)
    assert views.shape == (3, 7, 3)
    (views,) = am.Loader([*WHOLE], P.Recipe([P.Dropout(.5)]), 10)
    assert views.shape == (10, 10, 3)
    with pytest.raises(am.ArgumentError, match=r"num_points=M.*9 to 30.*cloud 0 of the list and cloud 2 of the list"):
        next(iter(am.Loader(cuts, P.Recipe([P.Rotate()]), 3, shuffle=False)))
    with pytest.raises(am.ArgumentError, match=r"num_points=M.*10 to 15"):
        am.Loader(WHOLE, P.Recipe([P.Dropout((.25, .5))]), 3)


ARGUMENTS = {
    "doubles": (lambda: am.Loader(WHOLE.astype(float), RECIPE, 3), am.DtypeError, "float32"),
    "four columns": (lambda: am.Loader(np.ones((3, 5, 4), np.float32), RECIPE, 3), am.ShapeError, r"\[n, N, 3\]"),
    "nan": (lambda: am.Loader(WHOLE * np.float32("nan"), RECIPE, 3), am.ArgumentError, "finite"),
    "nan in a list": (lambda: am.Loader([WHOLE[0], WHOLE[0] * np.float32("inf")], RECIPE, 3), am.ArgumentError, "cloud 1 of the"),
    "no clouds": (lambda: am.Loader(WHOLE[:0], RECIPE, 3), am.ArgumentError, "at least one"),
    "no points": (lambda: am.Loader(WHOLE[:, :0], RECIPE, 3), am.ShapeError, r"\[n, N, 3\]"),
    "labels of others": (lambda: am.Loader((WHOLE, LABELS[:3]), RECIPE, 3), am.ShapeError, "labels"),
    "no such attribute": (lambda: am.Loader(WHOLE, RECIPE, 3, attributes=("normals",)), am.ArgumentError,
                          "attributes: expected none, as the array has points alone, given 'normals'; a dict of 'points' and"),
    "another attribute": (lambda: am.Loader([{"points": WHOLE[0], "a": WHOLE[0]}], RECIPE, 1, attributes=("normals",)),
                          am.ArgumentError, "attributes: expected some of 'a', which cloud 0 of the list has, given 'normals'"),
    "pairs": (lambda: am.Loader([(WHOLE[0], 0), (WHOLE[1], 1)], RECIPE, 2), am.ArgumentError,
              r"source: .* given a list of pairs .*; tuple\(map\(list, zip\(\*pairs\)\)\) is \(clouds, labels\)"),
    "one string": (lambda: am.Loader(WHOLE, RECIPE, 3, attributes="normals"), am.ArgumentError, "attributes"),
    "points twice": (lambda: am.Loader(WHOLE, RECIPE, 3, attributes=("points",)), am.ArgumentError, "attributes"),
    "short attribute": (lambda: am.Loader({"points": WHOLE, "a": WHOLE[:, :3]}, RECIPE, 3), am.ShapeError, "'a'"),
    "double normals": (lambda: am.Loader({"points": WHOLE, "normals": WHOLE.astype(float)}, RECIPE, 3), am.DtypeError, "normals"),
    "a dict of none": (lambda: am.Loader([{"xyz": WHOLE[0]}], RECIPE, 3), am.ArgumentError, "'xyz'"),
    "words": (lambda: am.Loader(["a"], RECIPE, 3), am.ArgumentError, "'a'"),
    "a path of nothing": (lambda: am.Loader("nowhere/*.h5", RECIPE, 3), am.ArgumentError, "nothing matches"),
    "a number": (lambda: am.Loader(3, RECIPE, 3), am.ArgumentError, "int"),
    "mesh_points": (lambda: am.Loader(WHOLE, RECIPE, 3, mesh_points=0), am.ArgumentError, "mesh_points"),
    "channels": (lambda: am.Loader(WHOLE, RECIPE, 3, channels=1), am.ArgumentError, "channels"),
    "exif": (lambda: am.Loader(WHOLE, RECIPE, 3, exif=True), am.ArgumentError, "exif"),
    "change": (lambda: am.Loader(WHOLE, RECIPE, 3, change="drift"), am.ArgumentError, "change"),
    "allow_empty": (lambda: am.Loader(WHOLE, RECIPE, 3, allow_empty=True), am.ArgumentError, "allow_empty"),
    "clouds for pictures": (lambda: am.Loader(np.zeros((3, 4, 4, 3), np.uint8), am.Recipe([am.Resize(2)]), 3, mesh_points=3),
                            am.ArgumentError, "mesh_points"),
    "too few points": (lambda: am.Loader(WHOLE, P.Recipe([P.DropLocal(25)]), 3), am.ArgumentError, "25"),
    "attributes of two forms": (lambda: next(iter(am.Loader([{"points": WHOLE[0], "a": a} for a in (WHOLE[0], WHOLE[0, :, 0])],
                                                            RECIPE, 2, attributes=["a"]))), am.ShapeError, "'a'"),
    "an item of nan": (lambda: next(iter(am.Loader(Items([WHOLE[0] * np.float32("nan")]), RECIPE, 1))), am.DecodeError, "item 0"),
    "an item of words": (lambda: next(iter(am.Loader(Items(["a"]), RECIPE, 1))), am.DtypeError, "item 0"),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_what_cannot_be_is_said(name):
    make, error, said = ARGUMENTS[name]
    with pytest.raises(error, match=said):
        make()


@pytest.mark.parametrize("library, suffix", [("trimesh", "off"), ("h5py", "h5")])
def test_a_library_that_is_not_there(tmp_path, monkeypatch, library, suffix):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / f"1.{suffix}").write_text("OFF")
    monkeypatch.setitem(sys.modules, library, None)
    for read in (P.read_cloud, lambda path: am.Loader(path if suffix == "h5" else tmp_path, RECIPE, 1)):
        with pytest.raises(am.MissingDependencyError, match=r"anamorph\[points\]"):
            read(tmp_path / "a" / f"1.{suffix}")
    np.save(tmp_path / "a" / "1.npy", POINTS)  # which needs none
    assert len(P.read_cloud(tmp_path / "a" / "1.npy")[0]) == 30


def test_folders_without_clouds(tmp_path):
    with pytest.raises(am.ArgumentError, match="neither"):
        am.Loader(tmp_path, RECIPE, 1)
    (tmp_path / "a").mkdir()
    with pytest.raises(am.ArgumentError, match="holds none"):
        am.Loader(tmp_path, RECIPE, 1)
    (tmp_path / "b").mkdir()
    np.save(tmp_path / "b" / "1.npy", POINTS)
    assert am.Loader(tmp_path, RECIPE, 1, allow_empty=True).source.labels.tolist() == [1]


def test_a_fingerprint_is_the_same_in_every_process():
    text = "import anamorph as am; P = am.points; print(P.Recipe([P.Rotate(), P.Jitter()], num_points=16).fingerprint)"
    found = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True,
                           env={**os.environ, "PYTHONHASHSEED": "5", "PYTHONPATH": os.pathsep.join(sys.path)})
    assert int(found.stdout) == RECIPE.fingerprint and 0 <= RECIPE.fingerprint < 2**63
    others = [P.Recipe([P.Rotate(), P.Jitter()]), P.Recipe([P.Jitter(), P.Rotate()], num_points=16),
              P.Recipe([P.Rotate(90), P.Jitter()], num_points=16), P.Recipe([P.Rotate(), P.Jitter()], 16, num_classes=3)]
    assert len({r.fingerprint for r in [RECIPE, *others]}) == 5


RAGGED = [some(n, n) for n in range(20, 30)]
THERE = {"array": lambda put: (WHOLE, LABELS), "there": lambda put: ({n: put(torch.from_numpy(v.copy())) for n, v in (
             ("points", WHOLE), ("normals", unit(WHOLE)))}, LABELS),
         "list": lambda put: ([{"points": w, "normals": unit(w)} for w in WHOLE], LABELS),
         "ragged": lambda put: ([{"points": w, "normals": unit(w)} for w in RAGGED], LABELS)}


@pytest.mark.parametrize("kind", THERE)
def test_batches_on_a_gpu_are_one_copy_beside_the_training(monkeypatch, kind):
    wanted = () if kind == "array" else ("normals",)
    expected = every(am.Loader(THERE[kind](lambda t: t), RECIPE, 4, with_index=True, attributes=wanted))
    cuda = FakeGpu(monkeypatch)
    loader = am.Loader(THERE[kind](cuda.put), RECIPE, 4, with_index=True, device="cuda", attributes=wanted)
    for batch, here in zip(list(loader), expected, strict=True):
        views = batch[0] if wanted else {"points": batch[0]}
        others = here[0] if wanted else {"points": here[0]}
        assert all(torch.equal(views[n].cpu(), others[n]) for n in others) and batch[2].is_cuda
        assert torch.equal(batch[1].cpu(), here[1]) and torch.equal(batch[2].cpu(), here[2])
    uploads = [entry for entry in cuda.log if entry.what == "upload"]
    assert all(entry.pinned and entry.stream is not cuda.default for entry in uploads)
    assert kind == "there" or len(uploads) == len(loader)  # the fake takes what is gathered for the host's


def test_files_that_are_cut_off_are_said(tmp_path):
    off = "OFF\n4 4 0\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n3 0 1 2\n3 0 1 3\n3 0 2 3\n3 1 2 3\n"
    ply = "ply\nformat ascii 1.0\nelement vertex 9\nproperty float x\nproperty float y\nproperty float z\nend_header\n0 0 0\n"
    for name, text, said in (("a.off", off[:40], "4 faces"), ("b.off", off[:-8], "4 faces"), ("c.ply", ply, "9 vertices")):
        (tmp_path / name).write_text(text)
        with pytest.raises(am.DecodeError, match=f"{name}.*{said}|{name}.*cannot|{name}.*can be read"):
            am.points.read_cloud(tmp_path / name)
    (tmp_path / "whole.off").write_text(off)
    assert am.points.read_cloud(tmp_path / "whole.off", 10)[0].shape == (10, 3)
    for bad in (None, 5):
        with pytest.raises(am.ArgumentError, match="path: expected a file's path"):
            am.points.read_cloud(bad)


def test_hidden_files_are_no_clouds(tmp_path):
    (tmp_path / "a").mkdir()
    np.save(tmp_path / "a" / "one.npy", np.random.default_rng(0).normal(size=(8, 3)))
    (tmp_path / "a" / "._one.npy").write_bytes(b"what another system leaves")
    assert len(list(am.Loader(tmp_path, am.points.Recipe([], num_points=4), batch_size=1))) == 1
