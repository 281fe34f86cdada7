"""Graphs by rows: against SciPy's sparse matrices, dense products in float64, loops; the same bits on every route."""

import itertools
import zlib

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.stats import chi2

from anamorph import _native
from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.features.graph import Transposed, aggregate, edge_pairs, normalised, sample_neighbours, transpose
from reference.philox import philox

KEY = (7, 3)


def random_graph(rows=40, columns=40, most=9, seed=0):
    """Rows of 0 to ``most`` edges, some to the node itself, some twice."""
    g = np.random.default_rng(seed)
    degree = g.integers(0, most + 1, rows)
    degree[rows // 2] = 0
    indptr = np.concatenate([[0], degree.cumsum()])
    return torch.from_numpy(indptr), torch.from_numpy(g.integers(0, columns, indptr[-1]))


def scipys(indptr, indices, weights=None, columns=None):
    weights = np.ones(len(indices)) if weights is None else weights.double().numpy()
    return sp.csr_array((weights, indices.numpy(), indptr.numpy()), shape=(len(indptr) - 1, columns or len(indptr) - 1))


def numbers(*shape, dtype=torch.float64, seed=1):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


# ---- pairs, transposes, weights ----


def test_pairs_are_the_entries_off_the_diagonal():
    indptr, indices = random_graph()
    coo = scipys(indptr, indices).tocoo()
    off = coo.row != coo.col
    assert (~off).any()
    pairs = edge_pairs(indptr, indices)
    assert pairs.dtype == torch.int64 and pairs.tolist() == [coo.row[off].tolist(), coo.col[off].tolist()]


def test_pairs_of_a_graph_without_loops_are_as_many_as_its_entries():
    matrix = sp.random_array((30, 30), density=0.2, format="csr", rng=np.random.default_rng(0))
    matrix.setdiag(0)
    matrix.eliminate_zeros()
    pairs = edge_pairs(torch.from_numpy(matrix.indptr).long(), torch.from_numpy(matrix.indices).long())
    assert pairs.shape == (2, matrix.nnz) and matrix.nnz > 100


def test_pairs_leave_out_what_is_no_edge():
    assert edge_pairs(torch.tensor([0, 3, 3]), torch.tensor([1, -1, 0])).tolist() == [[0], [1]]
    assert edge_pairs(torch.tensor([0, 0]), torch.tensor([], dtype=torch.int64)).shape == (2, 0)


@pytest.mark.parametrize("columns", [40, 25, 60])
def test_transposes_are_scipys(columns):
    indptr, indices = random_graph(columns=min(columns, 40))
    weights = numbers(len(indices))
    turned = transpose(indptr, indices, columns)
    mine = scipys(turned.indptr, turned.indices, weights[turned.order], 40).toarray()
    np.testing.assert_allclose(mine, scipys(indptr, indices, weights, columns).toarray().T, rtol=0, atol=1e-15)
    for node in range(columns):  # in their old order
        order = turned.order[turned.indptr[node]:turned.indptr[node + 1]].tolist()
        assert order == sorted(order)


def test_transposes_keep_what_is_no_edge_at_the_end():
    turned = transpose(torch.tensor([0, 3, 5]), torch.tensor([1, -1, 0, -1, 1]))
    assert turned.indptr.tolist() == [0, 1, 5] and turned.indices.tolist() == [0, 0, 1, -1, -1]
    assert turned.order.tolist() == [2, 0, 4, 1, 3]


def test_normalised_weights_are_kipfs():
    """D^-1/2 (A + I) D^-1/2, of an undirected graph with a loop and a node alone."""
    matrix = sp.random_array((20, 20), density=0.15, format="csr", rng=np.random.default_rng(2))
    dense = ((matrix + matrix.T).toarray() > 0).astype(float)
    dense[7] = dense[:, 7] = 0
    np.fill_diagonal(dense, 0)
    dense[3, 3] = 1
    matrix = sp.csr_array(dense)
    found = normalised(torch.from_numpy(matrix.indptr).long(), torch.from_numpy(matrix.indices).long(), torch.float64)
    with_loops = dense + np.eye(20)
    root = np.diag(with_loops.sum(1) ** -0.5)
    mine = scipys(found.indptr, found.indices, found.weights).toarray()
    np.testing.assert_allclose(mine, root @ with_loops @ root, rtol=1e-14)
    x = numbers(20, 5).requires_grad_()
    out = aggregate(found.indptr, found.indices, found.weights, x, found.back)
    pull = numbers(20, 5, seed=3)
    grad, = torch.autograd.grad(out, x, pull)
    np.testing.assert_allclose(grad.numpy(), (root @ with_loops @ root).T @ pull.numpy(), rtol=1e-12, atol=1e-14)
    assert normalised(found.indptr, found.indices).weights.dtype == torch.float32


# ---- products ----


@pytest.mark.parametrize("features", [1, 3, 16, 33, 200])
@pytest.mark.parametrize("weighed", [True, False])
def test_products_are_scipys(route, features, weighed):
    indptr, indices = random_graph(rows=70, columns=50)
    weights = numbers(len(indices)) if weighed else None
    x = numbers(50, features)
    expected = scipys(indptr, indices, weights, 50) @ x.numpy()
    np.testing.assert_allclose(aggregate(indptr, indices, weights, x).numpy(), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_the_same_bits_everywhere(simd, dtype):
    """Each product rounded, then added in the order of the edges: NumPy's loop, every instruction set, the CUDA code."""
    kind = np.float64 if dtype == torch.float64 else np.float32
    indptr, indices = random_graph(rows=30, columns=20, seed=4)
    weights = numbers(len(indices), dtype=torch.from_numpy(np.empty(0, kind)).dtype)
    x = numbers(20, 147, dtype=dtype)
    wide = x.to(weights.dtype).numpy()
    expected = np.zeros((30, 147), kind)
    for i in range(30):
        for e in range(int(indptr[i]), int(indptr[i + 1])):
            expected[i] = expected[i] + weights.numpy()[e] * wide[indices[e]]
    out = aggregate(indptr, indices, weights, x)
    assert out.dtype == dtype and torch.equal(out, torch.from_numpy(expected).to(dtype))


@pytest.mark.parametrize("features", [5, 32, 100])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_products_of_ends_are_the_same_bits_everywhere(simd, dtype, features):
    """32 sums, of every 32nd term each, then added in pairs."""
    kind = np.float64 if dtype == torch.float64 else np.float32
    indptr, indices = random_graph(rows=25, columns=30, seed=5)
    left, right = numbers(25, features, dtype=dtype), numbers(30, features, dtype=dtype, seed=2)
    a, b = (t.double().numpy().astype(kind) for t in (left, right))
    expected = []
    for i, j in zip(np.repeat(np.arange(25), indptr.diff().numpy()), indices.tolist(), strict=True):
        lanes = np.zeros(32, kind)
        for f in range(features):
            lanes[f % 32] += a[i, f] * b[j, f]
        half = 16
        while half:
            lanes = lanes[:half] + lanes[half:2 * half]
            half //= 2
        expected.append(lanes[0])
    out = torch.ops.anamorph.edge_dots(indptr, indices, left, right)
    assert torch.equal(out, torch.from_numpy(np.array(expected, kind)))
    np.testing.assert_allclose(out.double().numpy(), [float(left[i].double() @ right[j].double()) for i, j in zip(
        np.repeat(np.arange(25), indptr.diff().numpy()), indices.tolist(), strict=True)], rtol=0, atol=2e-5)


def test_edges_that_are_none(route):
    indptr, indices = random_graph(rows=20, columns=20)
    x = numbers(20, 9, dtype=torch.float32)
    holes = indices.clone()
    holes[::3] = -1
    weights = torch.ones(len(indices))
    weights[::3] = 0
    assert torch.equal(aggregate(indptr, holes, None, x), aggregate(indptr, indices, weights, x))
    leaf = x.clone().requires_grad_()
    grads = [torch.autograd.grad(aggregate(indptr, i, w, leaf).square().sum(), leaf)[0]
             for i, w in ((holes, None), (indices, weights))]
    torch.testing.assert_close(*grads)
    dots = torch.ops.anamorph.edge_dots(indptr, holes, x, x)
    assert not dots[::3].any() and dots[1::3].all()


def test_kernels_stay_inside_whatever_a_tensor_holds(route):
    """As on a GPU, where nobody looks: rows keep to the edges that are there, edges to nodes that are."""
    indices = torch.tensor([1, 10**12, 0, -7, 2, 3])
    x = numbers(3, 5, dtype=torch.float32)
    rows = torch.tensor([-5, 4, 2, 99])
    out = torch.empty(3, 5)
    _native.features.aggregate(indptr=rows, indices=indices, weights=None, x=x, out=out, threads=1)
    torch.testing.assert_close(out, torch.stack([x[1] + x[0], torch.zeros(5), x[0] + x[2]]))
    dots = torch.empty(6)
    left = numbers(2, 5, dtype=torch.float32, seed=2)
    _native.features.edge_dots(indptr=torch.tensor([1, 3, 10**15]), indices=indices, left=left, right=x, out=dots, threads=1)
    torch.testing.assert_close(dots, torch.stack([left.new_zeros(()), left.new_zeros(()), left[0] @ x[0], left.new_zeros(()),
                                                  left[1] @ x[2], left.new_zeros(())]))
    found = torch.empty(4, 2, dtype=torch.int64)
    _native.features.sample_neighbours(indptr=torch.tensor([0, 2, 10**15]), indices=indices, nodes=torch.tensor([0, 1, 2, -1]),
                                       step=torch.tensor(KEY), stream=0, k=2, out=found, threads=1)
    assert set(found[0].tolist()) == {1, 10**12} and set(found[1].tolist()) <= {0, -7, 2, 3} and (found[2:] == -1).all()


def test_no_edges(route):
    indptr, indices = torch.zeros(4, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
    x = torch.ones(3, 2, requires_grad=True)
    weights = torch.ones(0, requires_grad=True)
    out = aggregate(indptr, indices, None, x)
    assert out.tolist() == [[0, 0]] * 3
    out.sum().backward()
    assert not x.grad.any()
    assert torch.autograd.grad(aggregate(indptr, indices, weights, x).sum(), weights)[0].shape == (0,)
    assert sample_neighbours(indptr, indices, torch.tensor([2]), 2, KEY).tolist() == [[-1, -1]]


def test_views_that_are_not_contiguous(route):
    indptr, indices = random_graph(rows=12, columns=12)
    x = numbers(7, 24, dtype=torch.float32).T[::2]
    assert torch.equal(aggregate(indptr, indices, None, x), aggregate(indptr, indices, None, x.contiguous()))


# ---- gradients ----


@pytest.mark.parametrize("given_back", [True, False])
def test_gradients(route, given_back):
    """By differences, first and second ones."""
    indptr, indices = random_graph(rows=6, columns=5, most=4)
    back = transpose(indptr, indices, 5) if given_back else None
    weights, x = numbers(len(indices)).requires_grad_(), numbers(5, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda w, x: aggregate(indptr, indices, w, x, back), (weights, x))
    assert torch.autograd.gradgradcheck(lambda w, x: aggregate(indptr, indices, w, x, back), (weights, x))
    left = numbers(6, 3, seed=5).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: torch.ops.anamorph.edge_dots(indptr, indices, a, b), (left, x))


def test_gradients_of_many_features_in_float32(simd):
    indptr, indices = random_graph(rows=90, columns=80, most=20, seed=6)
    weights, x = numbers(len(indices)), numbers(80, 130)
    pull = numbers(90, 130, seed=7)
    dense = torch.from_numpy(scipys(indptr, indices, weights, 80).toarray())
    rows = torch.from_numpy(np.repeat(np.arange(90), indptr.diff().numpy()))
    expected = ((pull[rows] * x[indices]).sum(1), dense.T @ pull)
    leaves = [weights.float().requires_grad_(), x.float().requires_grad_()]
    found = torch.autograd.grad(aggregate(indptr, indices, *leaves), leaves, pull.float())
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a.double(), b, rtol=0, atol=1e-4)


def test_gradients_with_a_transpose_are_those_without_it():
    indptr, indices = random_graph()
    x = numbers(40, 8, dtype=torch.float32).requires_grad_()
    grads = [torch.autograd.grad(aggregate(indptr, indices, None, x, back).square().sum(), x)[0]
             for back in (None, transpose(indptr, indices))]
    assert torch.equal(*grads)


# ---- samples ----


def test_samples_are_neighbours_without_replacement(route):
    indptr, indices = random_graph(rows=200, columns=200, most=12, seed=8)
    slots = torch.arange(len(indices))  # in the place of nodes: which edge was taken
    nodes = torch.arange(200)
    for k in (1, 5, 12):
        found = sample_neighbours(indptr, slots % 200, nodes, k, KEY)
        real = sample_neighbours(indptr, indices, nodes, k, KEY)
        for i in range(200):
            first, last = int(indptr[i]), int(indptr[i + 1])
            row = [v for v in found[i].tolist() if v >= 0]
            assert len(row) == min(k, last - first) and len(set(row)) == len(row)
            assert set(row) <= {e % 200 for e in range(first, last)}
            if last - first < k:
                assert real[i].tolist() == indices[first:last].tolist() + [-1] * (k - (last - first))
            else:
                assert set(real[i].tolist()) <= set(indices[first:last].tolist())


def test_samples_are_a_pure_function_of_seed_step_and_node(route):
    indptr, indices = random_graph(rows=50, columns=50, most=40, seed=9)
    nodes = torch.arange(50)
    all_of_them = sample_neighbours(indptr, indices, nodes, 4, KEY)
    some = torch.tensor([30, 3, 30, 49])
    assert torch.equal(sample_neighbours(indptr, indices, some, 4, torch.tensor(KEY)), all_of_them[some])
    assert torch.equal(sample_neighbours(indptr, indices, nodes, 7, KEY)[:, :4], torch.where(
        (indptr.diff() >= 7)[:, None], all_of_them, sample_neighbours(indptr, indices, nodes, 7, KEY)[:, :4]))
    for other in ((8, 3), (7, 4), (7, 2**40)):
        assert not torch.equal(sample_neighbours(indptr, indices, nodes, 4, other), all_of_them)


def chosen(seed, step, node, degree, k):
    """Which k of a node's edges: Philox of (seed, step, stream), of these words and the node, and a permutation by eight Feistel
    rounds, walked until inside."""
    def words(counter, key):
        return [v & 0xFFFFFFFF for v in philox(counter, key)]

    def halves(v):
        return v & 0xFFFFFFFF, v >> 32 & 0xFFFFFFFF

    stream = words((zlib.crc32(b"graph.neighbours"), *halves(step), 0xFEA70000), halves(seed))[:2]
    first = words((*halves(node), 0, 0), stream)[:2]
    keys = words((0, 0, 0, 0), first) + words((4, 0, 0, 0), first)
    bits = 1
    while 4**bits < degree:
        bits += 1
    places = []
    for slot in range(k):
        x = slot
        while True:
            left, right = x >> bits, x & 2**bits - 1
            for key in keys:
                h = (right ^ key) * 0x9E3779B1 & 0xFFFFFFFF
                h = (h ^ h >> 15) * 0x85EBCA77 & 0xFFFFFFFF
                left, right = right, left ^ (h ^ h >> 13) & 2**bits - 1
            x = left << bits | right
            if x < degree:
                break
        places.append(x)
    return places


@pytest.mark.parametrize("seed, step", [(7, 3), (-1, 2**40 + 5)])
def test_samples_are_the_same_everywhere(route, seed, step):
    degrees = [5, 0, 3, 900, 17, 4]
    indptr = torch.tensor([0, *np.cumsum(degrees)])
    found = sample_neighbours(indptr, torch.arange(int(indptr[-1])) % 6, torch.arange(6), 4, torch.tensor([seed, step]))
    for node, degree in enumerate(degrees):
        places = chosen(seed, step, node, degree, 4) if degree >= 4 else [*range(degree)]
        expected = [(int(indptr[node]) + place) % 6 for place in places] + [-1] * (4 - len(places))
        assert found[node].tolist() == expected


@pytest.mark.parametrize("degree, k", [(2, 1), (3, 2), (5, 2), (7, 1), (4, 4)])
def test_every_choice_is_as_likely(degree, k):
    """chi-square of ordered choices over nodes and steps, at one in 10,000."""
    nodes = 4000
    indptr = torch.arange(nodes + 1) * degree
    indices = torch.arange(degree).repeat(nodes)
    found = torch.cat([sample_neighbours(indptr, indices, torch.arange(nodes), k, (5, step)) for step in range(6)])
    places = {choice: i for i, choice in enumerate(itertools.permutations(range(degree), k))}
    counts = np.bincount([places[tuple(row)] for row in found.tolist()], minlength=len(places))
    expected = len(found) / len(places)
    assert ((counts - expected) ** 2 / expected).sum() < chi2.ppf(1 - 1e-4, len(places) - 1)


def test_samples_add_up_by_aggregate(route):
    indptr, indices = random_graph(rows=30, columns=30, most=6, seed=10)
    x = numbers(30, 4, dtype=torch.float32)
    found = sample_neighbours(indptr, indices, torch.arange(30), 3, KEY)
    total = aggregate(torch.arange(31) * 3, found.flatten(), None, x)
    for i in range(30):
        expected = sum((x[j] for j in found[i] if j >= 0), torch.zeros(4))
        torch.testing.assert_close(total[i], expected)


# ---- as torch expects it ----


def test_operators_as_torch_expects_them():
    indptr, indices = random_graph(rows=6, columns=5, most=4)
    weights, x = numbers(len(indices)).requires_grad_(), numbers(5, 3).requires_grad_()
    back = transpose(indptr, indices, 5)
    torch.library.opcheck(torch.ops.anamorph.aggregate.default, (indptr, indices, weights, x, *back))
    torch.library.opcheck(torch.ops.anamorph.aggregate.default, (indptr, indices, None, x, None, None, None))
    torch.library.opcheck(torch.ops.anamorph.edge_dots.default, (indptr, indices, numbers(6, 3).requires_grad_(), x))
    graph = random_graph(rows=6, columns=6, most=4)
    torch.library.opcheck(torch.ops.anamorph.sample_neighbours.default, (*graph, torch.tensor([0, 5]), 2, torch.tensor(KEY)))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_whole(backend):
    indptr, indices = random_graph()
    back = transpose(indptr, indices)

    def step(weights, x, key):
        sampled = sample_neighbours(indptr, indices, torch.arange(40), 3, key)
        few = aggregate(torch.arange(41) * 3, sampled.flatten(), None, x)
        return (aggregate(indptr, indices, weights, x, back) + few).square().sum()

    key = torch.tensor(KEY)
    weights, x = numbers(len(indices), dtype=torch.float32), numbers(40, 6, dtype=torch.float32)
    plain, compiled = ([weights.clone().requires_grad_(), x.clone().requires_grad_()] for _ in range(2))
    expected = torch.autograd.grad(step(*plain, key), plain)
    found = torch.autograd.grad(torch.compile(step, fullgraph=True, backend=backend)(*compiled, key), compiled)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_under_autocast():
    """A product of matrices comes out as bfloat16; what is added up is float32."""
    indptr, indices = random_graph()
    layer = torch.nn.Linear(6, 4, bias=False)
    x = numbers(40, 6, dtype=torch.float32)
    weights = torch.full((len(indices),), 0.25)
    with torch.autocast("cpu", torch.bfloat16):
        hidden = layer(x)
        out = aggregate(indptr, indices, weights, hidden)
        out.float().sum().backward()
    assert hidden.dtype == out.dtype == torch.bfloat16 and torch.isfinite(layer.weight.grad).all()
    expected = scipys(indptr, indices, weights) @ hidden.detach().double().numpy()
    torch.testing.assert_close(out.double(), torch.from_numpy(expected), rtol=2**-8, atol=1e-6)


# ---- what does not fit ----

ROWS, EDGES = torch.tensor([0, 2, 3]), torch.tensor([1, 0, 1])


@pytest.mark.parametrize("change, error, says", [
    ({"indptr": [0, 2, 3]}, ArgumentError, "indptr: expected an int64 tensor"),
    ({"indptr": ROWS.int()}, DtypeError, "indptr: expected int64"),
    ({"indptr": ROWS[None]}, ShapeError, r"indptr: expected \[N"),
    ({"indptr": ROWS[:1]}, ShapeError, "at least one node"),
    ({"indptr": torch.tensor([0, 3, 2])}, ArgumentError, "indptr: expected numbers that rise from 0 to 3"),
    ({"indptr": torch.tensor([0, 4, 3])}, ArgumentError, "falling"),
    ({"indptr": torch.tensor([1, 2, 3])}, ArgumentError, "rise from 0 to 3, the number of edges, given 1 to 3"),
    ({"indptr": torch.tensor([0, 2, 2])}, ArgumentError, "rise from 0 to 3, the number of edges, given 0 to 2"),
    ({"indices": EDGES.int()}, DtypeError, "indices: expected int64"),
    ({"indices": torch.tensor([1, 0, 2])}, ArgumentError, "indices: expected nodes from -1 to 1, given 2"),
    ({"indices": torch.tensor([1, -2, 0])}, ArgumentError, "indices: expected nodes from -1 to 1, given -2"),
    ({"indices": EDGES.to("meta")}, DeviceError, "indices: expected on cpu"),
    ({"weights": torch.ones(2)}, ShapeError, "weights: expected"),
    ({"weights": torch.ones(3, dtype=torch.float64)}, DtypeError, "weights: expected torch.float32"),
    ({"weights": [1.0, 1, 1]}, ArgumentError, "weights: expected a tensor"),
    ({"x": torch.ones(2, 4, dtype=torch.int64)}, DtypeError, "x: expected floats"),
    ({"x": torch.ones(2, 4).to(torch.float8_e4m3fn)}, DtypeError, "x: expected float32, float64"),
    ({"x": torch.ones(2)}, ShapeError, "x: expected"),
    ({"x": torch.ones(0, 4)}, ShapeError, "nothing empty"),
    ({"x": torch.ones(1, 4)}, ArgumentError, "indices: expected nodes from -1 to 0"),
    ({"x": torch.ones(2, 4, device="meta")}, DeviceError, "x: expected on cpu"),
    ({"back": 1}, ArgumentError, "back: expected what transpose gives"),
    ({"back": Transposed(ROWS, EDGES[:2], EDGES)}, ShapeError, "back: expected the transpose"),
    ({"back": Transposed(ROWS, EDGES, EDGES.int())}, DtypeError, "back.order: expected int64"),
])
def test_what_does_not_fit(change, error, says):
    case = {"indptr": ROWS, "indices": EDGES, "weights": torch.ones(3), "x": torch.ones(2, 4)} | change
    with pytest.raises(error, match=says):
        aggregate(**case)


@pytest.mark.parametrize("change, error, says", [
    ({"nodes": torch.tensor([2])}, ArgumentError, "nodes: expected nodes from 0 to 1, given 2"),
    ({"nodes": torch.tensor([-1])}, ArgumentError, "nodes: expected nodes from 0 to 1, given -1"),
    ({"nodes": torch.tensor([], dtype=torch.int64)}, ShapeError, "nothing empty"),
    ({"nodes": torch.tensor([0.0])}, DtypeError, "nodes: expected int64"),
    ({"k": 0}, ArgumentError, "k: expected a whole number"),
    ({"k": 1.5}, ArgumentError, "k: expected a whole number"),
    ({"step": (1, 2, 3)}, ArgumentError, "step: expected"),
    ({"step": torch.zeros(2)}, DtypeError, "step: expected int64"),
    ({"indptr": torch.tensor([0, 3, 2])}, ArgumentError, "indptr: expected numbers that rise"),
])
def test_samples_that_do_not_fit(change, error, says):
    case = {"indptr": ROWS, "indices": EDGES, "nodes": torch.tensor([0]), "k": 1, "step": KEY} | change
    with pytest.raises(error, match=says):
        sample_neighbours(**case)


def test_what_else_does_not_fit():
    with pytest.raises(ArgumentError, match="indices: expected nodes from -1 to 1"):
        edge_pairs(ROWS, torch.tensor([1, 0, 5]))
    with pytest.raises(ArgumentError, match="columns: expected"):
        transpose(ROWS, EDGES, 0)
    with pytest.raises(ArgumentError, match="indices: expected nodes from 0 to 1"):
        normalised(ROWS, torch.tensor([1, 0, -1]))
    with pytest.raises(DtypeError, match="dtype: expected"):
        normalised(ROWS, EDGES, torch.float16)
