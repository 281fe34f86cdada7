"""am.points.assign against scipy's exact solver."""

import sys

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from anamorph import _native
from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, MissingDependencyError, ShapeError
from anamorph.points import assign
from anamorph.points.assign import match

MODULE = sys.modules["anamorph.points.assign"]  # which the function of that name hides


def cube(size, seed, batch=1):
    return (np.random.default_rng(seed).random((batch, size, 3)) * 2 - 1).astype(np.float32)


def sphere(size, seed, batch=1):
    x = np.random.default_rng(seed).normal(size=(batch, size, 3))
    return (x / np.linalg.norm(x, axis=2, keepdims=True)).astype(np.float32)


def least(a, b):
    distances = cdist(a, b)
    return distances[linear_sum_assignment(distances)].sum()


def checked(a, b, permutation, cost):
    """One to one, and the sum is that of the matched distances, in float64."""
    size = a.shape[1]
    assert torch.equal(permutation.sort(1).values, torch.arange(size).expand(len(a), size))
    sums = np.linalg.norm(a.astype(np.float64) - np.take_along_axis(b, permutation.numpy()[:, :, None], 1), axis=2).sum(1)
    np.testing.assert_allclose(cost.numpy(), sums, rtol=2e-7, atol=1e-30)
    return sums


@pytest.mark.parametrize("size", [1, 2, 3, 17, 64, 100])
@pytest.mark.parametrize("shapes", [(cube, cube), (sphere, cube), (sphere, sphere)], ids=["cubes", "sphere to cube", "spheres"])
def test_the_auction_is_within_one_percent_of_the_least(simd, size, shapes):
    a, b = shapes[0](size, size, 2), shapes[1](size, size + 1, 2)
    sums = checked(a, b, *assign(torch.from_numpy(a), torch.from_numpy(b), "auction"))
    for i in range(2):
        exact = least(a[i], b[i])
        assert exact * (1 - 1e-5) <= sums[i] <= exact * 1.0102


@pytest.mark.cpu
@pytest.mark.parametrize("size", [512, 1024])
def test_large_clouds_come_out_close(size):
    a, b = sphere(size, 3), cube(size, 4)
    sums = checked(a, b, *assign(torch.from_numpy(a), torch.from_numpy(b), "auction"))
    assert sums[0] <= least(a[0], b[0]) * 1.001


@pytest.mark.parametrize("eps", [0.3, 0.03, 1e-3, 1e-5, 1e-9])
def test_the_sum_is_within_n_eps_of_the_least(route, eps):
    size = 48
    a, b = sphere(size, 8), cube(size, 9)
    sums = checked(a, b, *assign(torch.from_numpy(a), torch.from_numpy(b), "auction", eps))
    exact = least(a[0], b[0])
    assert exact - 1e-4 <= sums[0] <= exact + size * (eps + 2 * 2.0 ** -19)  # the box's side is 2, costs are rounded to its 2^-20
    if eps < 1e-4:  # the optimum of random clouds is unique, and eps is far below what the next one costs
        distances = cdist(a[0], b[0])
        assert sums[0] == pytest.approx(distances[linear_sum_assignment(distances)].sum(), rel=1e-6)


def test_eps_is_in_the_clouds_unit(route):
    """Clouds a thousand times larger, and an eps as much larger: the same matches."""
    a, b = (torch.from_numpy(f(40, 5)) for f in (sphere, cube))
    small, cost = assign(a, b, "auction", 0.25)
    large, costs = assign(a * 1024, b * 1024, "auction", 256.0)
    assert torch.equal(small, large) and torch.equal(cost * 1024, costs)


def test_exact_is_the_least():
    a, b = sphere(70, 1, 3), cube(70, 2, 3)
    sums = checked(a, b, *assign(torch.from_numpy(a), torch.from_numpy(b), "exact"))
    np.testing.assert_allclose(sums, [least(x, y) for x, y in zip(a, b, strict=True)], rtol=1e-12)


def test_a_permutation_whatever_the_points(route):
    """Points that coincide, clouds that coincide, all at one place, on a line, at the ends of float32."""
    size = 20
    a = torch.from_numpy(cube(size, 11))[0]
    few = a[:3].repeat(7, 1)[:size]
    line = torch.zeros(size, 3)
    line[:, 1] = torch.arange(size)
    far = a.clone()
    far[0] = 1e6
    clouds = torch.stack([a, a.flip(0), few, few.flip(0), torch.zeros(size, 3), torch.ones(size, 3), line, line.flip(0), far,
                          a.sign() * 3e38, a * 1e-42, few * 1e-30])
    pairs = [(i, j) for i in range(len(clouds)) for j in (0, 2, 4, 7, 9, i)]
    x, y = clouds[[i for i, _ in pairs]], clouds[[j for _, j in pairs]]
    permutation, cost = assign(x, y, "auction")
    assert torch.equal(permutation.sort(1).values, torch.arange(size).expand(len(x), size))
    for k, (i, j) in enumerate(pairs):
        exact = least(x[k].numpy(), y[k].numpy())
        if exact < 3e38:  # else the sum is beyond float32
            # On a line many assignments are the best.  Costs are rounded to 2^-20 of the box's side, which `far` makes large.
            side = float((torch.cat([x[k], y[k]]).double().amax(0) - torch.cat([x[k], y[k]]).double().amin(0)).max())
            assert cost[k] <= exact * 1.0102 + size * 2.0 ** -18 * side, (i, j)


def test_twins_are_matched_with_themselves(route):
    a = torch.from_numpy(cube(50, 3, 2))
    permutation, cost = assign(a, a, "auction")
    assert torch.equal(permutation, torch.arange(50).expand(2, 50)) and not cost.any()
    turned, cost = assign(a, a.flip(1), "auction")
    assert torch.equal(turned, torch.arange(50).flip(0).expand(2, 50)) and not cost.any()


def test_the_end_by_force_is_a_permutation(route, monkeypatch):
    """After most_bids each of those that wait takes the nearest one left: as a loop over NumPy's distances does from the
    start."""
    size = 30
    a, b = cube(size, 20), cube(size, 21)
    monkeypatch.setattr(MODULE, "BIDS", 0)
    permutation, cost = assign(torch.from_numpy(a), torch.from_numpy(b), "auction")
    checked(a, b, permutation, cost)
    left, expected = set(range(size)), []
    for i in range(size):
        expected.append(min(left, key=lambda j: np.linalg.norm(a[0, i].astype(float) - b[0, j])))
        left.remove(expected[-1])
    assert permutation[0].tolist() == expected
    for bids in (1, 2):
        monkeypatch.setattr(MODULE, "BIDS", bids)
        checked(a, b, *assign(torch.from_numpy(a), torch.from_numpy(b), "auction"))


@pytest.mark.parametrize("size", [33, 64, 100])
def test_all_routes_give_the_same_bits(simd, size):
    """Those of the baseline CPU code: by the other levels and the CUDA code."""
    a, b = torch.from_numpy(sphere(size, 30, 2)), torch.from_numpy(cube(size, 31, 2))
    permutation, cost = assign(a, b, "auction")
    again, costs = plain(a, b)
    assert torch.equal(permutation, again) and torch.equal(cost.view(torch.int32), costs.view(torch.int32))


def plain(a, b):
    """The rounds that csrc/points/assign.h describes, by NumPy: costs from float32 arithmetic, everything else whole numbers."""
    found, sums = [], []
    for x, y in zip(a.numpy(), b.numpy(), strict=True):
        both = np.concatenate([x, y]).astype(np.float64)
        low, size = both.min(0), len(x)
        inverse = 1 / (both.max(0) - low).max()
        p, q = (((v - low) * inverse).astype(np.float32) for v in (x.astype(np.float64), y.astype(np.float64)))
        d = p[:, None] - q[None]
        root = np.sqrt(d[..., 0] * d[..., 0] + d[..., 1] * d[..., 1] + d[..., 2] * d[..., 2])
        cost = (root * np.float32(2**20) + np.float32(0.5)).astype(np.int64)
        price, eps = np.zeros(size, np.int64), 2**18
        while True:
            owner, queue = [-1] * size, list(range(size))
            while queue:
                who, queue = queue[:32], queue[32:]
                bids = []
                for i in who:
                    value = np.roll(cost[i] + price, -i)  # from its own number on
                    first, second = np.partition(value, 1)[:2]
                    j = (int(value.argmin()) + i) % size
                    bids.append((j, int(price[j] + second - first + eps)))
                for t, (i, (j, bid)) in enumerate(zip(who, bids, strict=True)):
                    best = max((v, -s) for s, (o, v) in enumerate(bids) if o == j)
                    if best != (bid, -t):
                        queue.append(i)
                        continue
                    if owner[j] >= 0:
                        queue.append(owner[j])
                    owner[j], price[j] = i, bid
            total = int(sum(cost[i, j] for j, i in enumerate(owner)))
            if eps == 1 or eps * size * 100 <= total:
                break
            eps = max(eps // 5, total * 9 // (size * 1000), 1)
        permutation = np.argsort(owner)
        found.append(permutation)
        d = (x.astype(np.float64) - y[permutation].astype(np.float64)) * inverse
        distance = np.sqrt(d[:, 0] * d[:, 0] + d[:, 1] * d[:, 1] + d[:, 2] * d[:, 2])
        whole = int((distance * 2.0**40 + 0.5).astype(np.int64).sum())
        sums.append(np.float32(whole * 2.0**-40 * (both.max(0) - low).max()))
    return torch.from_numpy(np.stack(found)), torch.tensor(np.array(sums))


@pytest.mark.cpu
def test_clouds_whose_costs_are_not_kept():
    """Above 2048 points costs are taken anew; few points are enough to see that, where most coincide."""
    size = 2100
    a, b = cube(size, 40), cube(size, 40)[:, ::-1].copy()
    b[:, :200] += 0.01
    permutation, cost = assign(torch.from_numpy(a), torch.from_numpy(b), "auction")
    sums = checked(a, b, permutation, cost)
    # Who has a twin may stay with it, which costs what the 200 were moved.
    assert sums[0] <= 200 * np.sqrt(3) * 0.01 * 1.0102


@pytest.mark.cpu
def test_threads_change_nothing():
    a, b = torch.from_numpy(sphere(100, 50, 5)), torch.from_numpy(cube(100, 51, 5))
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            results.append(assign(a, b, "auction"))
    finally:
        torch.set_num_threads(before)
    for permutation, cost in results[1:]:
        assert torch.equal(permutation, results[0][0]) and torch.equal(cost, results[0][1])


def test_samples_do_not_depend_on_their_batch(route):
    a, b = torch.from_numpy(sphere(40, 60, 3)), torch.from_numpy(cube(40, 61, 3))
    permutation, cost = assign(a, b, "auction")
    for i in range(3):
        alone, sum_alone = assign(a[i], b[i], "auction")
        assert alone.shape == (40,) and sum_alone.shape == ()
        assert torch.equal(alone, permutation[i]) and torch.equal(sum_alone, cost[i])


def test_partners_and_rules(route):
    """As mixing asks: cloud partner[i] of the batch, and only for the rules that match points."""
    a = torch.from_numpy(cube(32, 70, 5))
    partner, rule = torch.tensor([3, 0, 1, 2, 4]), torch.tensor([1, 2, 3, 0, 4], dtype=torch.int32)
    for method in ("auction", "exact"):
        permutation, cost = match(a, a, method, None, partner, rule)
        expected, costs = assign(a, a[partner], method)
        assert torch.equal(permutation[:3], expected[:3]) and torch.equal(cost[:3], costs[:3])
        assert torch.equal(permutation[3:], torch.arange(32).expand(2, 32))
        np.testing.assert_allclose(cost[3:], (a[3:] - a[partner][3:]).norm(dim=2).sum(1), rtol=1e-6)


def test_auto_is_exact_for_small_clouds_on_a_cpu(monkeypatch):
    a, b = torch.from_numpy(sphere(64, 80)), torch.from_numpy(cube(64, 81))
    calls = []
    native = _native.points

    class Counted:
        def __getattr__(self, name):
            calls.append(name)
            return getattr(native, name)

    monkeypatch.setattr(_native, "points", Counted())
    exact = assign(a, b)
    assert torch.equal(exact[0], assign(a, b, "exact")[0]) and not calls
    assign(a, b, eps=0.1)
    assert calls == ["assign"]
    monkeypatch.setattr(MODULE, "EXACT_UP_TO", 63)
    assign(a, b)
    assert calls == ["assign"] * 2


def test_without_scipy(monkeypatch):
    a = torch.from_numpy(cube(8, 1))
    for name in [name for name in sys.modules if name.partition(".")[0] == "scipy"] + ["scipy"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=r"method='exact' needs an extra: pip install 'anamorph\[points\]'"):
        assign(a, a, "exact")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert torch.equal(assign(a, a)[0], torch.arange(8)[None])


def test_not_a_number_ends_on_cuda(route):
    """On a GPU values are not looked at: still a permutation, and a sum that says so. (The CPU's code does the same.)"""
    a, b = torch.from_numpy(cube(40, 90, 3)), torch.from_numpy(cube(40, 91, 3))
    a[0, 5], b[1, 7, 2], a[1, 3, 0], a[2] = float("nan"), float("inf"), -float("inf"), float("nan")
    permutation, cost = match(a, b, "auction", None)
    assert torch.equal(permutation.sort(1).values, torch.arange(40).expand(3, 40)) and cost.isnan().all()


@pytest.mark.parametrize("arguments, error, message", [
    ((torch.zeros(4, 3), torch.zeros(5, 3)), ShapeError, r"b: expected \[4, 3\] like a, given \[5, 3\]"),
    ((torch.zeros(4, 2), torch.zeros(4, 2)), ShapeError, r"a: expected clouds \[N, 3\] or \[B, N, 3\].* given \[4, 2\]"),
    ((torch.zeros(0, 3), torch.zeros(0, 3)), ShapeError, r"a: expected clouds .* of at least one point, given \[0, 3\]"),
    ((torch.zeros(1, 65537, 3), torch.zeros(1, 65537, 3)), ShapeError, "a: expected clouds of at most 65536 points, given 65537"),
    ((torch.zeros(4, 3).double(), torch.zeros(4, 3)), DtypeError, "a: expected float32, given float64"),
    ((torch.zeros(4, 3), torch.full((4, 3), torch.nan)), ArgumentError, "b: expected finite coordinates, given a NaN"),
    ((torch.zeros(4, 3), torch.zeros(4, 3), "sinkhorn"), ArgumentError, "method: expected one of 'auto', .* given 'sinkhorn'"),
    ((torch.zeros(4, 3), torch.zeros(4, 3), "auction", 0), ArgumentError, "eps: expected a distance above 0, or None, given 0"),
    ((torch.zeros(4, 3), torch.zeros(4, 3), "auction", -1.0), ArgumentError, "eps: expected a distance above 0"),
    ((torch.zeros(4, 3), torch.zeros(4, 3), "exact", 0.1), ArgumentError, "eps: expected None for the exact method, given 0.1"),
    ((torch.zeros(4, 3), torch.zeros(4, 3, device="meta")), ArgumentError,
     "b: expected a plain strided tensor, given a meta one"),
])
def test_bad_input(arguments, error, message):
    with pytest.raises(error, match=message):
        assign(*arguments)


def test_other_arrays_and_strides():
    a, b = cube(20, 1), cube(20, 2)
    expected = assign(torch.from_numpy(a), torch.from_numpy(b))[0]
    assert torch.equal(assign(a, b)[0], expected)
    wide = torch.zeros(1, 20, 6)
    wide[..., ::2] = torch.from_numpy(a)
    assert torch.equal(assign(wide[..., ::2].requires_grad_(), b)[0], expected)


@pytest.mark.gpu
def test_exact_is_for_the_cpu():
    with pytest.raises(DeviceError, match="method: 'exact' is for the CPU"):
        assign(torch.zeros(4, 3, device="cuda"), torch.zeros(4, 3, device="cuda"), "exact")
