"""Farthest point sampling, nearest neighbours, balls and groups: index for index what loops over float64 give, on every route."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from anamorph import _native
from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.points import ball_query, farthest_point_sample, group, knn
from anamorph.points.neighbours import curve_order
from emulation.route import FOUND


def squared(a, b):
    """As the package defines it: in float64, the sum from the left."""
    e = a.astype(np.float64) - b.astype(np.float64)
    return (e[..., 0] * e[..., 0] + e[..., 1] * e[..., 1]) + e[..., 2] * e[..., 2]


def greedy(points, m, start=0):
    """Farthest point sampling by its rule; NumPy's argmax gives the lowest index."""
    distance, out = np.full(len(points), np.inf), [start]
    while len(out) < m:
        distance = np.minimum(distance, squared(points, points[out[-1]]))
        out.append(int(distance.argmax()))
    return out


def nearest(query, points, k):
    d = squared(query[:, None], points[None])
    order = np.argsort(d, axis=1, kind="stable")[:, :k]
    with np.errstate(over="ignore"):  # float32 has no larger number than infinity
        return np.take_along_axis(d, order, 1).astype(np.float32), order


def ball(query, points, radius, k, pad="first"):
    out = []
    for q in query:
        hits = [i for i, d in enumerate(squared(points, q)) if d < radius * radius][:k]
        rest = -1 if pad == -1 else hits[0] if hits else 0
        out.append(hits + [rest] * (k - len(hits)))
    return np.array(out)


def random_cloud(g, most):
    """One of many kinds: units from far too small for float32's products to far too large, grids, repeated points, lines."""
    n = int(g.integers(1, most + 1))
    points = g.standard_normal((n, 3))
    kind = g.choice(["plain", "unit", "grid", "repeated", "line", "plane", "far", "sphere"])
    if kind == "unit":
        points *= 10.0 ** g.uniform(-30, 18)
    elif kind == "grid":
        points = g.integers(0, g.integers(2, 9), (n, 3))
    elif kind == "repeated":
        points = points[g.integers(0, n, n) // 3]
    elif kind == "line":
        points = np.outer(g.integers(-20, 21, n), g.standard_normal(3))
    elif kind == "plane":
        points[:, g.integers(3)] = 0
    elif kind == "far":
        points = 1e-3 * points + 1e3
    elif kind == "sphere":
        points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points.astype(np.float32)


def real_clouds():
    """Scans, handwriting and surfaces: 20 clouds of 300 to 2,000 points."""
    trimesh, datasets = pytest.importorskip("trimesh"), pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits().images
    for i in range(8):  # a digit as a surface: column, row and ink, four of them side by side
        y, x = np.mgrid[:8, :32]
        yield np.stack([x.ravel(), y.ravel(), np.concatenate(digits[4 * i:4 * i + 4], 1).ravel()], 1)
    yield datasets.make_swiss_roll(2000, random_state=0)[0]
    yield datasets.make_swiss_roll(1000, noise=0.2, random_state=1)[0]
    yield datasets.make_s_curve(1500, random_state=0)[0]
    yield datasets.load_iris().data[:, :3]
    yield datasets.load_wine().data[:, :3]
    yield datasets.load_diabetes().data[:, :3]
    yield datasets.load_breast_cancer().data[:, :3]
    for mesh in (trimesh.creation.torus(1.0, 0.3), trimesh.creation.icosphere(3), trimesh.creation.capsule(2.0, 0.5),
                 trimesh.creation.box(), trimesh.creation.cylinder(0.5, 2.0)):
        vertices = np.asarray(mesh.vertices)
        yield np.concatenate([vertices, mesh.sample(800, seed=0)]) if len(vertices) < 1000 else vertices


def tensor(points):
    return torch.from_numpy(np.ascontiguousarray(points, dtype=np.float32))[None]


def samples(points, m, start=0):
    return farthest_point_sample(tensor(points), m, start)[0].tolist()


# ---- farthest points ----

def test_a_grid_a_line_and_pairs(route):
    y, x = np.mgrid[:4, :4]
    assert samples(np.stack([x.ravel(), y.ravel(), 0 * x.ravel()], 1), 8) == [0, 15, 3, 12, 5, 10, 1, 2]
    assert samples(np.outer(range(9), [1, 0, 0]), 9) == [0, 8, 4, 2, 6, 1, 3, 5, 7]
    assert samples([[0, 0, 0], [1, 2, 3], [1, 2, 3], [0, 0, 0]], 4) == [0, 1, 0, 0]
    assert samples([[1, 1, 1]], 1) == [0]


@pytest.mark.cpu
def test_200_random_clouds(simd):
    g = np.random.default_rng(7)
    for _ in range(200):
        points = random_cloud(g, 600)
        m, start = int(g.integers(1, len(points) + 1)), int(g.integers(len(points)))
        m = min(m, 160)
        assert samples(points, m, start) == greedy(points, m, start)


@pytest.mark.cpu
def test_real_clouds(simd):
    clouds = [np.asarray(c, dtype=np.float32) for c in real_clouds()]
    assert len(clouds) == 20
    for points in clouds:
        m = min(len(points), 300)
        assert samples(points, m, len(points) // 2) == greedy(points, m, len(points) // 2)


@pytest.mark.cpu
def test_a_large_cloud(simd):
    """Several packs of groups of buckets; then one where most distances are equal."""
    g = np.random.default_rng(3)
    for points in (g.standard_normal((20000, 3)), g.integers(0, 25, (20000, 3))):
        points = points.astype(np.float32)
        assert samples(points, 200) == greedy(points, 200)


@pytest.mark.parametrize("n, m", [(1, 1), (33, 33), (250, 20), (700, 9), (1500, 5), (3000, 4), (8192, 3), (8300, 4),
                                  (9000, 40), (140000, 3)])
def test_every_kernel_of_farthest_points(route, n, m):
    """Plain points and a grid's, where every sample is one of many; side by side."""
    g = np.random.default_rng(n)
    points = np.stack([g.standard_normal((n, 3)), g.integers(0, 4, (n, 3))]).astype(np.float32)
    start = torch.tensor([n // 3, n - 1])
    given = farthest_point_sample(torch.from_numpy(points), m, start)
    assert given.dtype == torch.int64
    assert given.tolist() == [greedy(p, m, int(s)) for p, s in zip(points, start, strict=True)]


def test_large_clouds_of_different_sizes(route):
    """In leaves, some of which are cut off; a flat cloud, one of few places, and one place."""
    g = np.random.default_rng(12)
    points = g.standard_normal((4, 8400, 3)).astype(np.float32)
    points[1, :, 2] = 1
    points[2] = g.integers(0, 3, (8400, 3))
    points[3] = 7
    counts, start = torch.tensor([8400, 40, 8193, 33]), torch.tensor([8399, 12, 5, 2])
    for b, n in enumerate(counts):
        points[b, n:] = np.nan
    given = farthest_point_sample(torch.from_numpy(points), 30, start, counts)
    for b, n in enumerate(counts):
        assert given[b].tolist() == greedy(points[b, :n], 30, int(start[b]))


@pytest.mark.parametrize("shape", ["normal", "sphere", "cube", "grid"])
def test_a_stray_point_does_not_spoil_the_order_of_a_large_cloud(shape):
    """What lies in a leaf lies near, also of a cloud with room for others behind it."""
    def length(points, order):
        return float(np.linalg.norm(np.diff(points[order].astype(np.float64), axis=0), axis=1).sum())

    g = np.random.default_rng(14)
    points = {"normal": g.standard_normal((9000, 3)), "sphere": g.standard_normal((9000, 3)), "cube": g.random((9000, 3)),
              "grid": np.stack(np.mgrid[:30, :20, :15], -1).reshape(-1, 3)}[shape].astype(np.float32)
    if shape == "sphere":
        points /= np.linalg.norm(points, axis=1, keepdims=True)
    alone = curve_order(tensor(points), None)[0].numpy()
    assert sorted(alone) == list(range(9000)) and length(points, alone) < 0.15 * length(points, g.permutation(9000))
    stray = np.insert(points, 4000, 1e6, axis=0)
    behind = np.concatenate([stray, np.full((3000, 3), np.nan, np.float32)])
    for given, counts in ((stray, None), (behind, torch.tensor([9001]))):
        order = curve_order(tensor(given), counts)[0].numpy()
        assert sorted(order) == list(range(len(given))) and set(order[:9001]) == set(range(9001))
        kept = order[:9001][order[:9001] != 4000]
        assert abs(length(stray, kept) / length(points, alone) - 1) < 0.1


def native_call(cloud, m, start=0, **more):
    room = -(-cloud.shape[1] // _native.points.FARTHEST_LEAF) * _native.points.FARTHEST_LEAF
    exact = torch.empty((len(cloud), room), dtype=torch.float64)
    return {"points": cloud, "counts": None, "start": torch.full((len(cloud),), start), "m": m, "exact": exact,
            "rough": exact.float(), "out": torch.empty((len(cloud), m), dtype=torch.int64), "order": None, "placed": None,
            "threads": 1, **more}


def test_small_clouds_in_the_kernel_of_large_ones(route):
    """Fewer leaves than warps, few lanes with a point, ties between lanes, leaves and warps, in any order. (A CPU has no use for
    an order.)"""
    g = np.random.default_rng(15)
    for i in range(60):
        points = random_cloud(g, 300)
        n = len(points)
        m, start = int(g.integers(1, min(n, 30) + 1)), int(g.integers(n))
        order = curve_order(tensor(points), None) if i % 2 else torch.from_numpy(g.permutation(n))[None]
        call = native_call(tensor(points), m, start, order=order, placed=torch.empty((1, n, 4)))
        _native.points.farthest(**call)
        assert call["out"][0].tolist() == greedy(points, m, start)


def test_random_clouds_on_every_route(route):
    g = np.random.default_rng(11)
    for _ in range(12):
        points = random_cloud(g, 300)
        m, start = min(len(points), 25), int(g.integers(len(points)))
        assert samples(points, m, start) == greedy(points, m, start)


def test_neighbouring_floats(route):
    """Distances that differ by less than float32 can tell: the double decides, not the index."""
    far = np.float32(1000)
    points = np.zeros((40, 3), np.float32)
    points[1:, 0] = far
    points[1:, 1] = 1e-3 * np.random.default_rng(5).permutation(39)
    assert len(set(squared(points, points[0]).astype(np.float32)[1:])) < 3
    assert samples(points, 40) == greedy(points, 40)
    distance, index = knn(tensor(points[:1]), tensor(points), 40)
    assert index[0].tolist() == nearest(points[:1], points, 40)[1].tolist()
    assert distance[0].tolist() == nearest(points[:1], points, 40)[0].tolist()


def test_what_overflows_and_what_vanishes(route):
    """Coordinates whose squared distances are infinite or zero as float32."""
    g = np.random.default_rng(2)
    points = g.standard_normal((60, 3)) * np.repeat([1e-35, 1e25], 30)[:, None]
    points = points.astype(np.float32)[g.permutation(60)]
    assert samples(points, 60) == greedy(points, 60)
    assert knn(tensor(points), tensor(points), 9)[1][0].tolist() == nearest(points, points, 9)[1].tolist()


def test_fewer_points_than_places(route):
    g = np.random.default_rng(1)
    points = torch.from_numpy(g.standard_normal((3, 90, 3)).astype(np.float32))
    counts = torch.tensor([90, 41, 12])
    for b, n in enumerate(counts.tolist()):
        points[b, n:] = float("nan")  # never read
    start = torch.tensor([5, 40, 0])
    given = farthest_point_sample(points, 12, start, counts)
    query = points[:, :20].nan_to_num()
    distance, index = knn(query, points, 16, counts, torch.tensor([20, 20, 7]))
    hits = ball_query(query, points, 1.1, 6, counts, torch.tensor([20, 20, 7]), pad=-1)
    first = ball_query(query, points, 0.3, 6, counts)
    for b, n in enumerate(counts.tolist()):
        cloud, asked = points[b, :n].numpy(), query[b].numpy()
        assert given[b].tolist() == greedy(cloud, 12, int(start[b]))
        there = 7 if b == 2 else 20
        d, i = nearest(asked[:there], cloud, 16)
        assert index[b, :there, :n].tolist() == i.tolist() and distance[b, :there, :n].tolist() == d.tolist()
        assert (index[b, :there, n:] == -1).all() and torch.isinf(distance[b, :there, n:]).all()
        assert (index[b, there:] == -1).all() and torch.isinf(distance[b, there:]).all()
        assert hits[b, :there].tolist() == ball(asked[:there], cloud, 1.1, 6, -1).tolist() and (hits[b, there:] == -1).all()
        assert first[b].tolist() == ball(asked, cloud, 0.3, 6).tolist()


def test_queries_of_a_cloud_with_counts(route):
    """The cloud is its own queries: those beyond the count are none."""
    points = torch.randn((2, 70, 3), generator=torch.Generator().manual_seed(0))
    counts = torch.tensor([70, 33])
    points[1, 33:] = float("nan")
    distance, index = knn(points, points, 5, counts, counts)
    assert index[1, :33].tolist() == nearest(points[1, :33].numpy(), points[1, :33].numpy(), 5)[1].tolist()
    assert (index[1, 33:] == -1).all() and torch.isinf(distance[1, 33:]).all()
    assert index[0, :, 0].tolist() == list(range(70))
    hits = ball_query(points, points, 0.7, 4, counts, counts)
    assert hits[1, :33].tolist() == ball(points[1, :33].numpy(), points[1, :33].numpy(), 0.7, 4).tolist()
    assert (hits[1, 33:] == -1).all()


# ---- nearest points ----

@pytest.mark.cpu
def test_nearest_of_random_clouds(simd):
    g = np.random.default_rng(9)
    for _ in range(60):
        points = random_cloud(g, 400)
        query = points if g.random() < 0.5 else np.resize(points, (int(g.integers(1, 60)), 3)) * np.float32(0.9)
        k = int(g.integers(1, min(len(points), 90) + 1))
        distance, index = knn(tensor(query), tensor(points), k)
        d, i = nearest(query, points, k)
        assert np.array_equal(index[0].numpy(), i) and np.array_equal(distance[0].numpy(), d)


@pytest.mark.cpu
def test_nearest_against_scipy(simd):
    for points in list(real_clouds())[::3]:
        points = np.asarray(points, dtype=np.float32)
        cloud = tensor(points)
        distance, index = knn(cloud, cloud, 16)
        theirs, places = cKDTree(points.astype(np.float64)).query(points, 17)
        np.testing.assert_allclose(distance[0].sqrt().numpy(), theirs[:, :16], rtol=2e-7)
        alone = np.diff(theirs, axis=1) > 1e-9  # no tie with the one before or after
        alone = np.concatenate([np.ones((len(points), 1), bool), alone], 1)
        alone = alone[:, :-1] & alone[:, 1:]
        assert alone.mean() > 0.01 and np.array_equal(index[0].numpy()[alone], places[:, :16][alone])


@pytest.mark.parametrize("n, m, k", [(1, 3, 1), (50, 20, 8), (1100, 4, 33), (300, 3, 70), (600, 2, 300)])
def test_every_kernel_of_nearest_points(route, n, m, k):
    g = np.random.default_rng(n)
    points = np.stack([g.standard_normal((n, 3)), g.integers(0, 5, (n, 3))]).astype(np.float32)
    query = np.stack([g.standard_normal((m, 3)), g.integers(0, 5, (m, 3))]).astype(np.float32)
    distance, index = knn(torch.from_numpy(query), torch.from_numpy(points), k)
    for b in range(2):
        d, i = nearest(query[b], points[b], k)
        assert np.array_equal(index[b].numpy(), i) and np.array_equal(distance[b].numpy(), d)


@pytest.mark.cpu
def test_very_many_nearest_points(simd):
    points = np.random.default_rng(0).integers(0, 12, (2500, 3)).astype(np.float32)
    distance, index = knn(tensor(points[:40]), tensor(points), 1024)
    d, i = nearest(points[:40], points, 1024)
    assert np.array_equal(index[0].numpy(), i) and np.array_equal(distance[0].numpy(), d)
    assert np.array_equal(knn(tensor(points[:3]), tensor(points), 2500)[1][0].numpy(), nearest(points[:3], points, 2500)[1])


# ---- balls ----

@pytest.mark.cpu
def test_balls_in_random_clouds(simd):
    g = np.random.default_rng(4)
    for _ in range(40):
        points = random_cloud(g, 300)
        scale = float(np.ptp(points, axis=0).max()) or 1.0
        radius, k = scale * float(g.uniform(0.02, 0.7)), int(g.integers(1, 40))
        query = points[:30]
        for pad in ("first", -1):
            given = ball_query(tensor(query), tensor(points), radius, k, pad=pad)[0].numpy()
            assert np.array_equal(given, ball(query, points, radius, k, pad))


@pytest.mark.cpu
def test_balls_in_large_clouds(simd):
    """Where leaves of a tree are searched for what is rare, and not for what is common."""
    g = np.random.default_rng(6)
    for points, radius in ((g.random((6000, 3)), 0.1), (g.random((6000, 3)), 0.5), (g.integers(0, 20, (6000, 3)), 2.0)):
        points = points.astype(np.float32)
        query = points[::150] + np.float32(0.25) * (radius == 0.1)
        for k in (5, 64):
            given = ball_query(tensor(query), tensor(points), radius, k)[0].numpy()
            assert np.array_equal(given, ball(query, points, radius, k))


def test_the_border_of_a_ball_is_outside(route):
    y, x = np.mgrid[-2:3, -2:3]
    points = np.stack([x.ravel(), y.ravel(), 0 * x.ravel()], 1).astype(np.float32)
    for radius in (1.0, np.nextafter(1.0, 2), 2.0, np.sqrt(2.0), 5.0):
        for pad in ("first", -1):
            assert np.array_equal(ball_query(tensor(points), tensor(points), radius, 7, pad=pad)[0].numpy(),
                                  ball(points, points, radius, 7, pad))
    away = tensor([[50, 0, 0]])
    assert ball_query(away, tensor(points), 1.0, 3).tolist() == [[[0, 0, 0]]]
    assert ball_query(away, tensor(points), 1.0, 3, pad=-1).tolist() == [[[-1, -1, -1]]]


def test_balls_on_every_route(route):
    g = np.random.default_rng(8)
    points = g.random((2, 400, 3)).astype(np.float32)
    query = points[:, ::40]
    given = ball_query(torch.from_numpy(query), torch.from_numpy(points), 0.25, 12)
    assert given.tolist() == [ball(q, p, 0.25, 12).tolist() for q, p in zip(query, points, strict=True)]


# ---- groups ----

def test_groups():
    values = torch.arange(24.0).reshape(2, 4, 3).requires_grad_()
    index = torch.tensor([[[0, 3], [-1, 1]], [[2, 2], [-1, -1]]])
    given = group(values, index)
    assert given.tolist() == [[[values[b, i].tolist() if i >= 0 else [0, 0, 0] for i in row] for row in index[b].tolist()]
                              for b in range(2)]
    given.sum().backward()
    assert values.grad[:, :, 0].tolist() == [[1, 1, 0, 1], [0, 0, 2, 0]]
    assert group(values, index[:, 0]).shape == (2, 2, 3)
    assert group(values.detach().int(), index).dtype == torch.int32


def test_groups_of_what_was_found(route):
    points = torch.randn((2, 60, 3), generator=torch.Generator().manual_seed(1))
    distance, index = knn(points, points, 4)
    found = group(points, index)
    torch.testing.assert_close((found - points[:, :, None]).square().sum(-1), distance)


# ---- threads, forms, launches ----

@pytest.mark.cpu
def test_threads_change_nothing():
    points = torch.randn((5, 900, 3), generator=torch.Generator().manual_seed(2))
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append([farthest_point_sample(points, 70), *knn(points, points, 9), ball_query(points, points, 0.4, 8)])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_views_arrays_and_gradients(route):
    """Not contiguous; NumPy's; and what asks for gradients, which indices have none of."""
    wide = torch.randn((2, 3, 80), generator=torch.Generator().manual_seed(3))
    points = wide.transpose(1, 2)
    expected = farthest_point_sample(points.contiguous(), 9)
    assert torch.equal(farthest_point_sample(points, 9), expected)
    assert torch.equal(farthest_point_sample(points.numpy(), 9), expected)
    assert torch.equal(farthest_point_sample(points.clone().requires_grad_(), 9, [0, 0]), expected)
    backwards = points[:, ::2]
    assert torch.equal(knn(backwards, points, 3)[1], knn(backwards.contiguous(), points.contiguous(), 3)[1])


@pytest.mark.cpu
def test_a_call_is_few_launches():
    points = torch.randn((4, 100, 3), generator=torch.Generator().manual_seed(4))
    before = _native.launch_count()
    farthest_point_sample(points, 5)
    assert _native.launch_count() - before == 1


# ---- errors ----

CLOUD = torch.zeros((2, 10, 3))
WRONG = {
    "m of 0": (lambda: farthest_point_sample(CLOUD, 0), ArgumentError, "m: .*at least 1"),
    "m over N": (lambda: farthest_point_sample(CLOUD, 11), ArgumentError, "m: expected at most 10.*given 11"),
    "m of 1.5": (lambda: farthest_point_sample(CLOUD, 1.5), ArgumentError, "m: expected a whole number"),
    "m over a count": (lambda: farthest_point_sample(CLOUD, 5, counts=torch.tensor([9, 4])), ArgumentError, "counts: .*5 to 10"),
    "no points": (lambda: farthest_point_sample(CLOUD[:, :0], 1), ShapeError, "N at least 1"),
    "no clouds": (lambda: farthest_point_sample(CLOUD[:0], 1), ShapeError, "B and N at least 1"),
    "two dimensions": (lambda: farthest_point_sample(CLOUD[0], 1), ShapeError, r"points: expected \[B, N, 3\].*\[10, 3\]"),
    "four coordinates": (lambda: farthest_point_sample(torch.zeros((1, 5, 4)), 1), ShapeError, r"\[1, 5, 4\]"),
    "doubles": (lambda: farthest_point_sample(CLOUD.double(), 1), DtypeError, "points: expected float32, given float64"),
    "halves": (lambda: knn(CLOUD, CLOUD.half(), 1), DtypeError, "points: expected float32, given float16"),
    "bytes": (lambda: knn(CLOUD.byte(), CLOUD, 1), DtypeError, "query: expected float32, given uint8"),
    "text": (lambda: farthest_point_sample("cloud", 1), ArgumentError, "points: expected a tensor"),
    "NaN": (lambda: farthest_point_sample(CLOUD * float("nan"), 2), ArgumentError, "points: expected finite.*point 0 of cloud 0"),
    "infinite": (lambda: farthest_point_sample(at_17(float("inf")), 2), ArgumentError, "given inf in point 7 of cloud 1"),
    "infinite query": (lambda: knn(at_17(float("-inf")), CLOUD, 2), ArgumentError, "query: .*-inf in point 7 of cloud 1"),
    "NaN in a ball": (lambda: ball_query(CLOUD, at_17(float("nan")), 1.0, 2), ArgumentError, "points: .*nan in point 7"),
    "start out of range": (lambda: farthest_point_sample(CLOUD, 1, 10), ArgumentError, "start: .*0 to 9, given 10"),
    "start below 0": (lambda: farthest_point_sample(CLOUD, 1, torch.tensor([0, -1])), ArgumentError, "cloud 1, given -1"),
    "start over a count": (lambda: farthest_point_sample(CLOUD, 1, 5, torch.tensor([9, 5])), ArgumentError, "0 to 4 for cloud 1"),
    "starts of floats": (lambda: farthest_point_sample(CLOUD, 1, torch.zeros(2)), DtypeError, "start: expected int64"),
    "too many starts": (lambda: farthest_point_sample(CLOUD, 1, torch.zeros(3).long()), ShapeError, r"start: expected \[2\]"),
    "a start by name": (lambda: farthest_point_sample(CLOUD, 1, "random"), ArgumentError, "start: expected a whole number"),
    "counts over N": (lambda: knn(CLOUD, CLOUD, 1, torch.tensor([3, 11])), ArgumentError, "counts: .*0 to 10, given 11"),
    "counts below 0": (lambda: knn(CLOUD, CLOUD, 1, None, torch.tensor([3, -2])), ArgumentError, "query_counts: .*given -2"),
    "counts of int32": (lambda: knn(CLOUD, CLOUD, 1, torch.tensor([3, 3]).int()), DtypeError, "counts: .*given int32"),
    "k over N": (lambda: knn(CLOUD, CLOUD, 11), ArgumentError, "k: expected at most 10"),
    "k of 0": (lambda: knn(CLOUD, CLOUD, 0), ArgumentError, "k: .*at least 1"),
    "other batch": (lambda: knn(CLOUD[:1], CLOUD, 1), ShapeError, "query: expected a batch of 2.*given 1"),
    "radius of 0": (lambda: ball_query(CLOUD, CLOUD, 0.0, 1), ArgumentError, "radius: expected a number above 0"),
    "radius below 0": (lambda: ball_query(CLOUD, CLOUD, -1, 1), ArgumentError, "radius: .*-1"),
    "radius of NaN": (lambda: ball_query(CLOUD, CLOUD, float("nan"), 1), ArgumentError, "radius: .*nan"),
    "radius too large": (lambda: ball_query(CLOUD, CLOUD, 1e19, 1), ArgumentError, r"radius: .*1e\+18"),
    "pad": (lambda: ball_query(CLOUD, CLOUD, 1.0, 1, pad=0), ArgumentError, "pad: expected 'first' or -1, given 0"),
    "pad of True": (lambda: ball_query(CLOUD, CLOUD, 1.0, 1, pad=True), ArgumentError, "pad: "),
    "on another device": (lambda: knn(CLOUD.to("meta"), CLOUD, 1), ArgumentError, "query: expected a plain strided tensor"),
    "group of a matrix": (lambda: group(CLOUD[0], torch.zeros((2, 1)).long()), ShapeError, r"values: expected \[B, N, C\]"),
    "group by floats": (lambda: group(CLOUD, torch.zeros((2, 1))), DtypeError, "index: expected int64"),
    "group of another batch": (lambda: group(CLOUD, torch.zeros((3, 1)).long()), ShapeError, "index: .*B 2"),
    "group beyond": (lambda: group(CLOUD, torch.tensor([[0], [10]])), ArgumentError, "index: .*-1 to 9, given 10"),
    "group below": (lambda: group(CLOUD, torch.tensor([[0], [-2]])), ArgumentError, "given -2"),
}


def at_17(value):
    cloud = CLOUD.clone()
    cloud[1, 7, 1] = value
    return cloud


@pytest.mark.parametrize("name", WRONG)
def test_errors_say_what_was_expected(name):
    call, error, message = WRONG[name]
    with pytest.raises(error, match=message):
        call()


@pytest.mark.gpu
def test_other_devices_are_told():
    here, there = CLOUD, CLOUD.cuda()
    with pytest.raises(DeviceError, match="query: expected on cuda:0 like points, given on cpu"):
        knn(here, there, 1)
    with pytest.raises(DeviceError, match="counts: expected on cuda:0"):
        farthest_point_sample(there, 1, counts=torch.tensor([3, 3]))
    with pytest.raises(DeviceError, match="index: expected on cpu"):
        group(here, torch.zeros((2, 1), dtype=torch.int64, device="cuda"))


def test_the_native_core_checks_too():
    good = native_call(CLOUD, 4)
    _native.points.farthest(**good)
    with pytest.raises(ArgumentError, match="expected both or none, given order alone"):
        _native.points.farthest(**{**good, "order": torch.zeros(CLOUD.shape[:2]).long()})
    for change in ({"out": good["out"][:1]}, {"rough": good["rough"][:, :9].clone()}, {"points": CLOUD[:, :, :2].contiguous()}):
        with pytest.raises(ShapeError):
            _native.points.farthest(**{**good, **change})
    with pytest.raises(DtypeError):
        _native.points.farthest(**{**good, "start": torch.zeros(2)})


@pytest.mark.skipif(not FOUND, reason="the emulation is not built; make test builds it")
def test_what_the_kernel_of_large_clouds_needs():
    """An order; and points that a GPU can write as wholes."""
    from emulation.route import native

    large = native_call(torch.zeros((1, _native.points.FARTHEST_HELD + 1, 3)), 2)
    with pytest.raises(ArgumentError, match=r"order: expected one for clouds of more than 8192 points.* given none for 8193"):
        native.points.farthest(**large)
    off = torch.empty(CLOUD.numel() // 3 * 4 + 1)[1:].view(*CLOUD.shape[:2], 4)
    with pytest.raises(ArgumentError, match=r"placed: expected memory at a multiple of 16 bytes.* 4 past"):
        native.points.farthest(**native_call(CLOUD, 4, order=curve_order(CLOUD, None), placed=off))
