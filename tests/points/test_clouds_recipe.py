"""Recipes of point clouds: what is drawn, and what is done with it, against NumPy in float64 and the distributions that the
transforms' papers name."""

import math
import pickle

import numpy as np
import pytest
import torch
from scipy import stats

import anamorph as am
from anamorph import points as P
from emulation.route import FOUND, emulated


def cloud(batch=3, n=200, seed=0):
    g = np.random.default_rng(seed)
    x = g.normal(size=(batch, n, 3))
    x /= np.linalg.norm(x, axis=2).max(1)[:, None, None]
    return torch.tensor(x, dtype=torch.float32)


def unit(batch=3, n=200, seed=1):
    return torch.nn.functional.normalize(torch.tensor(np.random.default_rng(seed).normal(size=(batch, n, 3)),
                                                      dtype=torch.float32), dim=2)


def maps(transform, rows=4000, **of):
    """The matrices and shifts that a transform draws, float64."""
    plan = P.Recipe([transform]).plan(range(rows), count=4, **of)
    steps = [plan[i]["steps"] for i in range(rows)]
    return (np.array([s[0]["matrix"] if s else np.eye(3) for s in steps], dtype=np.float64),
            np.array([s[0]["shift"] if s else [0, 0, 0] for s in steps], dtype=np.float64))


def uniform(values, low, high):
    assert values.min() >= low - 1e-6 and values.max() <= high + 1e-6
    assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 1e-4


LIST = [P.Scale(), P.Translate(), P.Rotate(), P.RotateXYZ(), P.RotationJitter(), P.RandomRotation(), P.Shear(), P.Flip(),
        P.Jitter(),
        P.Normalize(), P.PointWOLF(), P.Dropout(.4), P.Dropout((.1, .6)), P.RandomInputDropout(), P.Shuffle(), P.Resample(150),
        P.Resample(450),
        P.FarthestSample(40), P.DropLocal(30), P.AddGlobal(7), P.AddLocal(60), P.RandomApply([P.Jitter(), P.Dropout(.2)]),
        P.OneOf([P.Scale(), P.AddGlobal(3), P.Shuffle()], p=.8, weights=[1, 2, 1])]
LONG = [P.RandomApply([P.Rotate(30, (1, 2, 3))]), P.Shear(.1), P.PointWOLF(), P.Scale(2 / 3, 3 / 2, per_axis=True),
        P.Jitter(.01, .02),
        P.OneOf([P.DropLocal(20), P.AddLocal(25)]), P.RandomInputDropout((0, .3)), P.Dropout((.1, .3)), P.Normalize()]


# ---- plans ----
@pytest.mark.parametrize("transforms", [[t] for t in LIST] + [LONG], ids=lambda t: "+".join(type(o).__name__ for o in t))
def test_rows_are_a_function_of_the_sample(transforms, route):
    """Not of the batch, its order or the backend."""
    recipe = P.Recipe(transforms)
    ids = [5, 2**40 + 3, 0, 77]
    plan = recipe.plan(ids, count=200, seed=2**63 + 9, epoch=3, view=2)
    for order in ([3, 1], [0, 0, 2]):
        other = recipe.plan([ids[i] for i in order], count=200, seed=2**63 + 9, epoch=3, view=2)
        assert torch.equal(other._rows, plan._rows[order])
    again = pickle.loads(pickle.dumps(plan))
    assert torch.equal(again._rows, plan._rows) and again.recipe == recipe and hash(again.recipe) == hash(recipe)


@pytest.mark.parametrize("change", [{"seed": 1}, {"epoch": 1}, {"view": 1}, {"index": range(64, 128)}])
def test_each_part_of_the_key_counts(change):
    recipe = P.Recipe([P.Scale(), P.Jitter()])
    key = {"index": range(64), "seed": 0, "epoch": 0, "view": 0}
    a, b = recipe.plan(count=10, **key), recipe.plan(count=10, **key | change)
    assert not (a._rows == b._rows).all(1).any()


def test_an_epoch_in_a_tensor_is_the_number():
    recipe = P.Recipe(LONG)
    assert torch.equal(recipe.plan(range(5), count=200, epoch=torch.tensor([7]))._rows, recipe.plan(range(5), count=200,
                                                                                                    epoch=7)._rows)


@pytest.mark.skipif(not FOUND, reason="the emulation is not built; make test builds it")
@pytest.mark.parametrize("transforms", [[t] for t in LIST] + [LONG], ids=lambda t: "+".join(type(o).__name__ for o in t))
def test_both_backends_do_the_same(transforms):
    x, n = cloud(), unit()
    recipe = P.Recipe(transforms, num_points=None)
    plan = recipe.plan(range(3), count=200, seed=4)
    ours = P.render(x, plan, attributes={"normals": n})
    with emulated(11):
        rows = recipe.plan(range(3), count=200, seed=4)
        theirs = P.render(x, rows, attributes={"normals": n})
    assert torch.equal(plan._rows, rows._rows) and torch.equal(ours["origin"], theirs["origin"])
    for name in ("points", "normals"):
        assert (ours[name] - theirs[name]).abs().max() < 2e-6, name


def test_threads_and_levels_do_the_same(simd):
    x, n = cloud(16, 300), unit(16, 300)
    plan = P.Recipe(LONG).plan(range(16), count=300)
    ours = P.render(x, plan, attributes={"normals": n})
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        threads = P.render(x, plan, attributes={"normals": n})
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(ours[k], threads[k]) for k in ours)
    reference = P.render(x[3:4], P.Recipe(LONG).plan([3], count=300), attributes={"normals": n[3:4]})
    assert all(torch.equal(ours[k][3, :reference[k].shape[1]], reference[k][0]) for k in ours)


def test_launches():
    x = cloud()
    recipe = P.Recipe(LONG, num_points=100)
    before = am.launch_count()
    plan = recipe.plan(range(3), count=200)
    assert am.launch_count() - before == 1
    P.render(x, plan)
    assert am.launch_count() - before == 2


# ---- distributions ----
def test_scale():
    m, t = maps(P.Scale(.8, 1.25))
    assert (t == 0).all() and (m[:, 0, 0] == m[:, 1, 1]).all() and (m[:, 0, 0] == m[:, 2, 2]).all()
    uniform(m[:, 0, 0], .8, 1.25)
    m, _ = maps(P.Scale(2 / 3, 3 / 2, per_axis=True, axes="xz"))
    uniform(m[:, 0, 0], 2 / 3, 3 / 2)
    uniform(m[:, 2, 2], 2 / 3, 3 / 2)
    assert (m[:, 1, 1] == 1).all() and abs(np.corrcoef(m[:, 0, 0], m[:, 2, 2])[0, 1]) < .06


def test_translate():
    m, t = maps(P.Translate(.2))
    assert (m == np.eye(3)).all() and abs(np.corrcoef(t.T) - np.eye(3)).max() < .06
    for k in range(3):
        uniform(t[:, k], -.2, .2)
    _, t = maps(P.Translate((0, .3), same=True))
    assert (t[:, 0] == t[:, 1]).all() and (t[:, 0] == t[:, 2]).all()
    uniform(t[:, 0], 0, .3)


def rodrigues(axis, angle):
    """For columns: v' = R v, by the right-hand rule."""
    k = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + math.sin(angle) * k + (1 - math.cos(angle)) * k @ k


@pytest.mark.parametrize("axis", ["x", "y", "z", (1, 2, -2)])
def test_rotate_is_rodrigues(axis):
    direction = np.array([float(a == axis) for a in "xyz"] if isinstance(axis, str) else axis, dtype=float)
    direction /= np.linalg.norm(direction)
    m, _ = maps(P.Rotate((25, 25), axis), 2)
    assert np.abs(m[0] - rodrigues(direction, math.radians(25)).T).max() < 1e-6
    m, _ = maps(P.Rotate(40, axis))
    side = np.cross(direction, [.3, .5, .7])
    turned = side @ m
    angle = np.degrees(np.arctan2(np.cross(side, turned) @ direction, turned @ side))
    uniform(angle, -40, 40)


def test_rotate_xyz_is_rz_ry_rx():
    angles = np.radians([20., 20., 20.])
    rx, ry, rz = (rodrigues(np.eye(3)[k], angles[k]) for k in range(3))
    m, _ = maps(P.RotateXYZ((20, 20)), 2)
    assert np.abs(m[0] - rz @ ry @ rx).max() < 1e-6
    m, _ = maps(P.RotateXYZ(30))
    assert np.abs(m @ m.transpose(0, 2, 1) - np.eye(3)).max() < 1e-6
    uniform(np.degrees(np.arcsin(-m[:, 2, 0])), -30, 30)
    uniform(np.degrees(np.arctan2(m[:, 2, 1], m[:, 2, 2])), -30, 30)
    uniform(np.degrees(np.arctan2(m[:, 1, 0], m[:, 0, 0])), -30, 30)


def test_rotation_jitter_is_a_clipped_normal():
    m, _ = maps(P.RotationJitter(), 4000)
    y = np.arcsin(-m[:, 2, 0])
    assert abs(y).max() <= .18 + 1e-6
    inner = y[abs(y) < .179]
    assert stats.kstest(inner, stats.truncnorm(-.179 / .06, .179 / .06, scale=.06).cdf).pvalue > 1e-4


def test_random_rotation_is_uniform():
    """By Haar's measure each entry is uniform in (-1, 1) (Archimedes), and the trace's angle has the density (1 - cos) / pi."""
    m, _ = maps(P.RandomRotation())
    assert np.abs(m @ m.transpose(0, 2, 1) - np.eye(3)).max() < 1e-6 and np.abs(np.linalg.det(m) - 1).max() < 1e-6
    for k in range(9):
        uniform(m[:, k // 3, k % 3], -1, 1)
    angle = np.arccos(np.clip((np.trace(m, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert stats.kstest(angle, lambda a: (a - np.sin(a)) / math.pi).pvalue > 1e-4


def test_shear_and_flip():
    m, _ = maps(P.Shear(.3))
    assert (m[:, range(3), range(3)] == 1).all()
    for r, c in ((0, 1), (1, 0), (2, 0), (1, 2)):
        uniform(m[:, r, c], -.3, .3)
    m, _ = maps(P.Flip("xz", .3))
    assert (m[:, 1, 1] == 1).all()
    assert [abs((m[:, k, k] == -1).mean() - .3) < .03 for k in (0, 2)] == [True, True]
    assert abs(((m[:, 0, 0] < 0) & (m[:, 2, 2] < 0)).mean() - .09) < .02


def test_maps_in_a_row_are_one():
    each = [P.Scale((1.5), 1.5), P.Rotate((90, 90), "z"), P.Translate((.1, .1), axes="x"), P.Flip("x", 1)]
    plan = P.Recipe(each).plan([0], count=10)
    assert len(plan[0]["steps"]) == 1
    x = cloud(1, 10)
    expected = x[0].double().numpy() * 1.5 @ rodrigues((0, 0, 1), math.pi / 2).T + [.1, 0, 0]
    expected[:, 0] *= -1
    assert np.abs(P.render(x, plan)[0].numpy() - expected).max() < 1e-6


def test_jitter():
    x = torch.zeros(8, 5000, 3)
    out = P.render(x, P.Recipe([P.Jitter(.01, None)]).plan(range(8), count=5000)).numpy()
    assert stats.kstest(out.ravel() / .01, "norm").pvalue > 1e-4
    assert np.abs(np.corrcoef(out.reshape(-1, 3).T) - np.eye(3)).max() < .02
    out = P.render(x, P.Recipe([P.Jitter(.01, .02)]).plan(range(8), count=5000)).numpy()
    assert np.abs(out).max() == np.float32(.02) and abs((np.abs(out) == np.float32(.02)).mean() - 2 * stats.norm.cdf(-2)) < .004


def test_normalize():
    x = cloud(2, 777) * 5 + torch.tensor([3., -2, 1])
    out = P.render(x, P.Recipe([P.Normalize()]).plan(range(2), count=777)).double().numpy()
    y = x.double().numpy()
    y = y - y.mean(1, keepdims=True)
    y /= np.linalg.norm(y, axis=2).max(1)[:, None, None]
    assert np.abs(out - y).max() < 1e-6
    one = torch.full((1, 5, 3), 4.)
    assert torch.equal(P.render(one, P.Recipe([P.Normalize()]).plan([0], count=5)), torch.zeros(1, 5, 3))
    assert torch.equal(P.render(one, P.Recipe([P.Normalize(scale=False)]).plan([0], count=5)), torch.zeros(1, 5, 3))


# ---- which points ----
def origins(transform, batch=2000, n=16, **of):
    plan = P.Recipe([transform], **of).plan(range(batch), count=n)
    return P.render(torch.randn(batch, n, 3), plan, attributes={})["origin"].numpy()


def test_dropout_is_a_random_subset():
    found = origins(P.Dropout(.375))
    assert found.shape == (2000, 10) and all(len({*row}) == 10 for row in found)
    assert stats.chisquare(np.bincount(found.ravel(), minlength=16)).pvalue > 1e-4
    assert stats.chisquare(np.bincount(found[:, 0], minlength=16)).pvalue > 1e-4
    pairs = (found == 3).any(1) & (found == 11).any(1)  # without replacement
    assert abs(pairs.mean() - 10 * 9 / (16 * 15)) < .04


def test_dropout_of_a_drawn_share():
    plan = P.Recipe([P.Dropout((.2, .7))]).plan(range(3000), count=1000)
    uniform(plan.counts.numpy() / 1000, .299, .801)
    out = P.render(torch.rand(3000, 1000, 3) + .5, plan)
    assert out.shape == (3000, 800, 3)
    there = torch.arange(800)[None] < plan.counts[:, None]
    assert (out[~there] == 0).all() and (out[there] != 0).all()


def test_shuffle_is_uniform():
    found = origins(P.Shuffle(), 12000, 3)
    number = found @ [9, 3, 1]
    assert stats.chisquare(np.unique(number, return_counts=True)[1]).pvalue > 1e-4 and len({*number}) == 6


def test_resample_repeats_each_point_once_more():
    found = origins(P.Resample(40), 200)
    assert all((np.bincount(row, minlength=16) >= 2).all() and (np.bincount(row, minlength=16) <= 3).all() for row in found)
    assert origins(P.Shuffle(), 10, num_points=5).shape == (10, 5)


def test_input_dropout():
    x = cloud(400, 500)
    plan = P.Recipe([P.RandomInputDropout()]).plan(range(400), count=500)
    out = P.render(x, plan, attributes={"label": torch.arange(500).expand(400, -1)})
    first = (out["origin"] == 0).numpy()
    assert (out["points"][first] == x[:, :1].expand_as(x)[first]).all() and (out["label"] == out["origin"]).all()
    assert (out["points"][~first] == x[~first]).all()
    uniform(first[:, 1:].mean(1), 0, .875 + .05)
    shares = [plan[i]["steps"][0]["share"] for i in range(400)]
    assert np.abs(first[:, 1:].mean(1) - shares).max() < 5 * .5 / math.sqrt(500)


def test_farthest_sample_is_greedy(simd):
    """Of equally far points, as a grid has, the first."""
    x = cloud(5, 300)
    x[3:] = torch.tensor(np.random.default_rng(2).integers(0, 5, (2, 300, 3)))
    out = P.render(x, P.Recipe([P.FarthestSample(60)]).plan(range(5), count=300), attributes={})["origin"].numpy()
    for i in range(5):
        y = x[i].double().numpy()
        d = np.full(300, np.inf)
        for k in range(1, 60):
            d = np.minimum(d, ((y - y[out[i, k - 1]]) ** 2).sum(1))
            assert out[i, k] == d.argmax()
    assert len({*out[:, 0]}) > 1


@pytest.mark.parametrize("k", [1, 40, 199])
def test_drop_local_drops_the_nearest(route, k):
    x = cloud(6)
    out = P.render(x, P.Recipe([P.DropLocal(k, 1)]).plan(range(6), count=200), attributes={})
    for i in range(6):
        kept = out["origin"][i].tolist()
        assert kept == sorted(kept) and len(kept) == 200 - k
        gone = sorted({*range(200)} - {*kept})
        y = x[i].double().numpy()
        d = ((y[gone][:, None] - y[None]) ** 2).sum(2)
        assert any(sorted(np.argsort(row, kind="stable")[:k].tolist()) == gone for row in d)


def test_drop_local_of_equally_far_points_drops_the_first(route):
    """Points 0, then ones on a circle: all as far from the middle."""
    x = torch.zeros(1, 9, 3)
    x[0, 1:, :2] = torch.tensor([[1, 0], [0, 1], [-1, 0], [0, -1]] * 2).float()
    seen = set()
    for seed in range(30):
        out = P.render(x, P.Recipe([P.DropLocal(4, 1)]).plan([0], count=9, seed=seed), attributes={})["origin"][0].tolist()
        gone = {*range(9)} - {*out}
        seen.add(tuple(sorted(gone)))
    assert (0, 1, 2, 3) in seen  # about the middle itself


def test_several_clusters_share_the_points():
    plan = P.Recipe([P.DropLocal(300, (2, 5))]).plan(range(400), count=1000)
    counts = [plan[i]["steps"][0]["points"] for i in range(400)]
    assert all(sum(c) == 300 for c in counts)
    assert stats.chisquare(np.bincount([len(c) for c in counts], minlength=6)[2:]).pvalue > 1e-4
    first = [c[0] for c in counts if len(c) == 3]
    assert stats.kstest((np.array(first) + np.random.default_rng(0).random(len(first)) - .5 - 100) / math.sqrt(300 * 2 / 9),
                        "norm").pvalue > 1e-4


def test_add_global_is_uniform_in_the_ball(route):
    out = P.render(cloud(3, 10), P.Recipe([P.AddGlobal(3000)]).plan(range(3), count=10), attributes={"label": torch.ones(3,
                                                                                                                         10).long(),
                   "normals": unit(3, 10), "color": torch.ones(3, 10, 4)})
    new = out["points"][:, 10:].double().numpy().reshape(-1, 3)
    r = np.linalg.norm(new, axis=1)
    assert abs(r.mean() - .75) < .01  # the card's
    uniform(r**3, 0, 1)
    uniform(new[:, 0] / r, -1, 1)
    uniform(np.arctan2(new[:, 1], new[:, 2]), -math.pi, math.pi)
    assert (out["origin"][:, 10:] == -1).all() and (out["label"][:, 10:] == -1).all() and (out["normals"][:, 10:] == 0).all()
    assert (out["color"][:, 10:] == 0).all() and (out["points"][:, :10] == cloud(3, 10)).all()


def test_add_local_is_normal_about_points_of_the_cloud(route):
    x = cloud(4, 50) * .5
    plan = P.Recipe([P.AddLocal(1500, 1, (.02, .05))]).plan(range(4), count=50)
    out = P.render(x, plan).double().numpy()
    for i in range(4):
        sigma = plan[i]["steps"][0]["sigma"][0]
        assert .02 <= sigma <= .05
        new = out[i, 50:]
        center = new.mean(0)
        at = np.linalg.norm(x[i].numpy() - center, axis=1).argmin()
        noise = (new - x[i, at].numpy()) / sigma
        assert stats.kstest(noise.ravel(), "norm").pvalue > 1e-4


def test_what_is_added_outside_comes_back_by_its_squared_norm():
    x = torch.tensor([[[1., 0, 0], [-1, 0, 0]]])
    a = P.render(x, P.Recipe([P.AddLocal(500, 1, (.1, .1))]).plan([0], count=2))[0, 2:]
    assert a.norm(dim=1).max() <= 1 + 1e-6
    near = P.render(x * .5, P.Recipe([P.AddLocal(500, 1, (.1, .1))]).plan([0], count=2))[0, 2:]
    shifted = near + torch.sign(near[:1]) * torch.tensor([.5, 0, 0])  # the same noise about the point itself
    square = (shifted**2).sum(1, keepdim=True)
    assert (a - torch.where(square > 1, shifted / square, shifted)).abs().max() < 1e-5


# ---- attributes and targets ----
def test_normals_turn_and_keep_their_length():
    x, n = cloud(), unit()
    recipe = P.Recipe([P.RandomRotation()])
    plan = recipe.plan(range(3), count=200)
    out = P.render(x, plan, attributes={"normals": n})
    m = torch.tensor([plan[i]["steps"][0]["matrix"] for i in range(3)])
    assert (out["normals"] - n @ m).abs().max() < 1e-6


@pytest.mark.parametrize("transform", [P.Shear(.5), P.Scale(.5, 2, per_axis=True), P.Flip("xyz", .5)],
                         ids=lambda t: type(t).__name__)
def test_normals_stay_normal_to_the_surface(transform):
    """Two tangents of a plane, moved as points are, stay orthogonal to its normal; and it stays on its side."""
    g = torch.Generator().manual_seed(0)
    base = torch.randn(4, 1, 3, generator=g)
    a, b = torch.randn(4, 1, 3, generator=g), torch.randn(4, 1, 3, generator=g)
    n = torch.nn.functional.normalize(torch.linalg.cross(a, b), dim=2)
    x = torch.cat([base, base + a, base + b, base + n], 1)
    out = P.render(x, P.Recipe([transform]).plan(range(4), count=4), attributes={"normals": n.expand(4, 4, 3)})
    p, m = out["points"], out["normals"]
    for k in (1, 2):
        assert ((p[:, k] - p[:, 0]) * m[:, 0]).sum(1).abs().max() < 1e-5
    assert (((p[:, 3] - p[:, 0]) * m[:, 0]).sum(1) > 0).all()
    assert (m.norm(dim=2) - 1).abs().max() < 1e-6


def test_attributes_follow_their_points():
    x = cloud()
    given = {"color": torch.randint(0, 255, (3, 200, 3), dtype=torch.uint8), "part": torch.randint(0, 9, (3, 200)),
             "weight": torch.randn(3, 200, dtype=torch.float64), "seen": torch.rand(3, 200) > .5}
    out = P.render(x, P.Recipe([P.Shuffle(), P.Dropout(.3)]).plan(range(3), count=200), attributes=given)
    assert {*out} == {"points", "origin", *given}
    for i in range(3):
        assert torch.equal(out["points"][i], x[i][out["origin"][i]])
        for name, value in given.items():
            assert torch.equal(out[name][i], value[i][out["origin"][i]]) and out[name].dtype == value.dtype


def test_targets():
    x = cloud()
    plain = P.Recipe([P.Jitter()])
    kept = torch.tensor([4, 1, 2])
    assert P.render(x, plain.plan(range(3), count=200), targets=kept)[1] is not None
    assert torch.equal(P.render(x, plain.plan(range(3), count=200), targets=kept)[1], kept)
    soft = P.render(x, P.Recipe([P.Jitter()], num_classes=5, label_smoothing=.1).plan(range(3), count=200), targets=kept)[1]
    assert torch.allclose(soft, torch.nn.functional.one_hot(kept, 5) * .9 + .02)


def test_clouds_of_different_sizes(route):
    x = cloud(3, 200)
    counts = torch.tensor([200, 57, 1])
    padded = x.clone()
    for i, c in enumerate(counts):
        padded[i, c:] = float("nan")  # is never read
    recipe = P.Recipe([P.Jitter(), P.Normalize(), P.Dropout(.25)])
    plan = recipe.plan([7, 8, 9], count=counts, seed=3)
    out = P.render(padded, plan)
    assert plan.counts.tolist() == [150, 42, 1] and out.shape == (3, 150, 3)
    for i, c in enumerate(counts.tolist()):
        alone = P.render(x[i:i + 1, :c], recipe.plan([7 + i], count=c, seed=3))
        assert torch.equal(out[i, :alone.shape[1]], alone[0]) and (out[i, alone.shape[1]:] == 0).all()


def test_one_cloud():
    x = cloud(1)[0]
    recipe = P.Recipe([P.Rotate(), P.Dropout((.1, .5))])
    assert torch.equal(recipe(x, index=4, seed=2), P.render(x[None], recipe.plan([4], count=200, seed=2))[0,
                                                                                                          :len(recipe(x, 4, 2))])


def test_inputs_are_not_written(simd):
    x, n = cloud(), unit()
    before = x.clone(), n.clone()
    P.render(x, P.Recipe(LONG).plan(range(3), count=200), attributes={"normals": n})
    assert torch.equal(x, before[0]) and torch.equal(n, before[1])


def test_other_memory():
    """Clouds that are not contiguous, and arrays of NumPy."""
    x = cloud()
    plan = P.Recipe(LONG).plan(range(3), count=200)
    expected = P.render(x, plan)
    assert torch.equal(P.render(x.transpose(1, 2).contiguous().transpose(1, 2), plan), expected)
    assert torch.equal(P.render(x.numpy(), plan), expected)


# ---- PointWOLF ----
def published(points, step, normalize=True, moved=None):
    """PointWOLF's formulas (the card's) in float64, with the numbers of a plan; of ``moved`` points, by the anchors of these."""
    p = points.astype(np.float64)
    anchors = [p[step["start"]]]
    d = np.full(len(p), np.inf)
    for _ in range(len(step["matrices"]) - 1):
        d = np.minimum(d, ((p - anchors[-1]) ** 2).sum(1))
        anchors.append(p[d.argmax()])
    p = p if moved is None else moved
    axes = np.array([float(a in step["axes"]) for a in "xyz"])
    square = np.stack([((axes * (p - a)) ** 2).sum(1) for a in anchors])
    w = np.exp(-(square - square.min(0)) / (2 * step["sigma"] ** 2))
    q = np.stack([(p - a) @ np.array(m) + t + a for a, m, t in zip(anchors, step["matrices"], step["shifts"], strict=True)])
    out = (w[..., None] * q).sum(0) / w.sum(0)[:, None]
    if normalize:
        out = out - out.mean(0)
        out = out / np.linalg.norm(out, axis=1).max() * .999999
    return out


@pytest.mark.parametrize("wolf", [P.PointWOLF(), P.PointWOLF(1), P.PointWOLF(9, .05), P.PointWOLF(4, 1e-3),
                                  P.PointWOLF(compat=True, degrees=40),
                                  P.PointWOLF(normalize=False)], ids=repr)
def test_wolf_is_the_published_formula(route, wolf):
    x = cloud()
    plan = P.Recipe([wolf]).plan(range(3), count=200, seed=5)
    out = P.render(x, plan).numpy()
    for i in range(3):
        expected = published(x[i].numpy(), plan[i]["steps"][0], wolf.normalize)
        assert np.abs(out[i] - expected).max() < 1e-5


def test_wolf_without_strength_is_the_normalised_cloud():
    x = cloud() * 3 + 1
    out = P.render(x, P.Recipe([P.PointWOLF(degrees=0, scale=1, shift=0)]).plan(range(3), count=200))
    expected = P.render(x, P.Recipe([P.Normalize()]).plan(range(3), count=200))
    assert (out - expected * .999999).abs().max() < 1e-6


def test_wolf_draws_as_published():
    """The card: E[scale on an axis] = 1 + (2/7)(S - 1)/2, an axis is scaled 2/7 of the time, an anchor is the identity 1/8 of
    it."""
    plan = P.Recipe([P.PointWOLF()]).plan(range(3000), count=500)
    steps = [plan[i]["steps"][0] for i in range(3000)]
    m = np.array([s["matrices"] for s in steps], dtype=np.float64).reshape(-1, 3, 3)
    t = np.array([s["shifts"] for s in steps], dtype=np.float64).reshape(-1, 3)
    scale = np.linalg.norm(m, axis=1)
    assert abs(scale.mean() - (1 + 2 / 7)) < .015 and abs((scale > 1 + 1e-6).mean() - 2 / 7) < .015
    turned = np.abs(m / scale[:, None] - np.eye(3)).max((1, 2)) > 1e-6
    moved = np.abs(t).max(1) > 0
    scaled = (scale > 1 + 1e-6).any(1)
    for what in (turned, scaled, moved):
        assert abs(what.mean() - .5) < .03
    assert abs((~turned & ~scaled & ~moved).mean() - 1 / 8) < .02
    uniform(scale[scale > 1 + 1e-6], 1, 3)
    uniform(t[t != 0], -.25, .25)
    assert abs((t != 0).mean() - 2 / 7) < .015
    both = scaled & moved  # one subset of the axes for both
    assert (((scale > 1 + 1e-6) == (t != 0))[both]).all()
    assert stats.chisquare(np.unique([s["axes"] for s in steps], return_counts=True)[1]).pvalue > 1e-4
    assert len({s["axes"] for s in steps}) == 7
    uniform(np.array([s["start"] for s in steps]) / 500 + .001, 0, 1)


def test_the_published_matrix_is_no_rotation():
    """At R = 10 degrees |R R^T - I| up to .03, det .985 to 1.015 (the card); a true rotation has neither."""
    for compat, far, apart in ((True, .03, .015), (False, 1e-6, 1e-6)):
        plan = P.Recipe([P.PointWOLF(scale=1, compat=compat)]).plan(range(3000), count=10)
        m = np.array([plan[i]["steps"][0]["matrices"] for i in range(3000)], dtype=np.float64).reshape(-1, 3, 3)
        error = np.abs(m @ m.transpose(0, 2, 1) - np.eye(3)).max()
        det = np.linalg.det(m)
        assert error < far * 1.1 and abs(det - 1).max() < apart * 1.1
        assert not compat or (error > far * .8 and det.min() < 1 - apart * .8 and det.max() > 1 + apart * .8)


def test_wolf_carries_normals_by_its_derivative():
    """Against the numerical derivative of the formula: the normal of a moved small triangle."""
    x = cloud(2, 60, 3).double()
    n = unit(2, 60, 4)
    wolf = P.PointWOLF(normalize=False)
    plan = P.Recipe([wolf]).plan(range(2), count=60)
    out = P.render(x.float(), plan, attributes={"normals": n})["normals"].double().numpy()
    for i in range(2):
        step = plan[i]["steps"][0]
        y = x[i].float().double().numpy()

        def at(q, step=step, y=y):
            return published(y, step, False, q)

        h = 1e-5
        jacobian = np.stack([(at(y + h * e) - at(y - h * e)) / (2 * h) for e in np.eye(3)], 1)  # [N, in, out]
        expected = np.einsum("nij,ni->nj", np.linalg.inv(jacobian).transpose(0, 2, 1), n[i].double().numpy())
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        assert np.abs(out[i] - expected).max() < 2e-4


# ---- ModelNet-C ----
COUNTS = {"scale": [1024] * 5, "jitter": [1024] * 5, "rotate": [1024] * 5, "dropout_global": [768, 640, 512, 384, 256],
          "dropout_local": [924, 824, 724, 624, 524], "add_global": [1034, 1044, 1054, 1064, 1074],
          "add_local": [1124, 1224, 1324, 1424, 1524]}


@pytest.mark.parametrize("name", P.corruptions.NAMES)
def test_corruptions_have_the_published_counts(name):
    x = cloud(4, 1024)
    assert [P.corrupt(x, name, s).shape[1] for s in range(1, 6)] == COUNTS[name]
    assert P.corrupt(x[0], name, 2).shape == (COUNTS[name][1], 3)
    assert torch.equal(P.corrupt(x[2:3], name, 5, index=[2]), P.corrupt(x, name, 5)[2:3])


def test_corruptions_do_as_their_rules_say():
    x = cloud(64, 1024)
    rows = {*map(tuple, x.reshape(-1, 3).tolist())}
    for level in range(1, 6):
        assert (P.corrupt(x, "rotate", level).norm(dim=2) - x.norm(dim=2)).abs().max() < 1e-6
        noise = P.corrupt(x, "jitter", level) - x
        assert abs(noise.std() / (.01 * level) - 1) < .01
        scaled = P.corrupt(x, "scale", level)
        assert (scaled.norm(dim=2).amax(1) - 1).abs().max() < 1e-6 and scaled.mean(1).abs().max() < 1e-6
        for name in ("dropout_global", "dropout_local"):
            assert {*map(tuple, P.corrupt(x[:4], name, level).reshape(-1, 3).tolist())} <= rows
        for name in ("add_global", "add_local"):
            out = P.corrupt(x, name, level)
            assert torch.equal(out[:, :1024], x) and out[:, 1024:].norm(dim=2).max() <= 1 + 1e-6
    angles = next(r.plan(range(500), count=4) for n, s, r in P.corruptions.suite() if n == "rotate" and s == 5)
    m = np.array([angles[i]["steps"][0]["matrix"] for i in range(500)])
    uniform(np.degrees(np.arcsin(-m[:, 2, 0])), -30, 30)


def test_the_suite_has_35():
    assert [(n, s) for n, s, _ in P.corruptions.suite()] == [(n, s) for n in P.corruptions.NAMES for s in range(1, 6)]


# ---- a user's errors ----
X = cloud()
PLAN = P.Recipe([P.Jitter()])
NAN = X.clone()
NAN[1, 5, 2] = float("nan")
BAD = {
    "no list": (lambda: P.Recipe(P.Jitter()), am.ArgumentError, "a list of transforms"),
    "a transform of pictures": (lambda: P.Recipe([P.Scale(), am.Normalize(.5, .5)]), am.ArgumentError,
                                r"transforms\[1\]: expected a transform of anamorph.points, given .*\(anamorph.Normalize\)"),
    "a class": (lambda: P.OneOf([P.Scale]), am.ArgumentError, r"OneOf.transforms\[0\]: .*; call it: Scale\(...\)"),
    "a list in the list": (lambda: P.Recipe([P.Scale(), P.WOLFMix()]), am.ArgumentError,
                           r"transforms\[1\]: .*given a list of 2; unpack it .*\*WOLFMix\(\)"),
    "mixing first": (lambda: P.Recipe([P.RSMix(), P.Jitter()]), am.ArgumentError, "at the end"),
    "mixing twice": (lambda: P.Recipe([P.RSMix(), P.PointMixup()]), am.ArgumentError, "at most one"),
    "mixing in a choice": (lambda: P.OneOf([P.RSMix()]), am.ArgumentError, "recipe's own list"),
    "too many slots": (lambda: P.Recipe([P.Jitter()] * 65), am.ArgumentError, "at most 64"),
    "no points": (lambda: P.Recipe([], num_points=0), am.ArgumentError, "num_points"),
    "half a point": (lambda: P.Recipe([], num_points=2.5), am.ArgumentError, "num_points"),
    "another way to sample": (lambda: P.Recipe([], num_points=2, sample="best"), am.ArgumentError, "'farthest'"),
    "smoothing of 1": (lambda: P.Recipe([], label_smoothing=1), am.ArgumentError, "label_smoothing"),
    "scale upside down": (lambda: P.Scale(2, 1), am.ArgumentError, "low <= high"),
    "scale 0": (lambda: P.Scale(0, 1), am.ArgumentError, "above 0"),
    "scale along w": (lambda: P.Scale(axes="xw"), am.ArgumentError, "letters x, y and z"),
    "shift NaN": (lambda: P.Translate(float("nan")), am.ArgumentError, "finite"),
    "no axis": (lambda: P.Rotate(axis=(0, 0, 0)), am.ArgumentError, "direction"),
    "two axes": (lambda: P.Rotate(axis="xy"), am.ArgumentError, "three numbers"),
    "sigma below 0": (lambda: P.Jitter(-1), am.ArgumentError, "sigma"),
    "clip 0": (lambda: P.Jitter(.1, 0), am.ArgumentError, "clip"),
    "all dropped": (lambda: P.Dropout(1), am.ArgumentError, "ratio"),
    "probability 2": (lambda: P.Flip(p=2), am.ArgumentError, "probability"),
    "no anchor": (lambda: P.PointWOLF(0), am.ArgumentError, "anchors"),
    "65 anchors": (lambda: P.PointWOLF(65), am.ArgumentError, "1 to 64"),
    "sigma 0": (lambda: P.PointWOLF(sigma=0), am.ArgumentError, "sigma"),
    "scale below 1": (lambda: P.PointWOLF(scale=.5), am.ArgumentError, "scale"),
    "no cluster": (lambda: P.DropLocal(5, 0), am.ArgumentError, "clusters"),
    "too many added": (lambda: P.AddGlobal(5000), am.ArgumentError, "4000"),
    "weights of 0": (lambda: P.OneOf([P.Jitter()], weights=[0]), am.ArgumentError, "above 0"),
    "a weight too many": (lambda: P.OneOf([P.Jitter()], weights=[1, 2]), am.ArgumentError, "one for each"),
    "alpha 0": (lambda: P.PointMixup(0), am.ArgumentError, "alpha"),
    "mode Q": (lambda: P.PointCutMix("Q"), am.ArgumentError, "'R', 'K'"),
    "no ids": (lambda: PLAN.plan([], count=3), am.ShapeError, "B >= 1"),
    "float ids": (lambda: PLAN.plan([1.5], count=3), am.DtypeError, "integers"),
    "no count": (lambda: PLAN.plan([1]), am.ArgumentError, r"count: expected how many points .*, given none"),
    "count 0": (lambda: PLAN.plan([1], count=0), am.ArgumentError, "count"),
    "a count 0": (lambda: PLAN.plan([1, 2], count=[3, 0]), am.ArgumentError, "count"),
    "counts of others": (lambda: PLAN.plan([1, 2], count=[3]), am.ShapeError, "count"),
    "seed below 0": (lambda: PLAN.plan([1], count=3, seed=-1), am.ArgumentError, "seed"),
    "epoch 2**32": (lambda: PLAN.plan([1], count=3, epoch=2**32), am.ArgumentError, "epoch"),
    "float epoch": (lambda: PLAN.plan([1], count=3, epoch=torch.tensor([1.])), am.DtypeError, "epoch"),
    "view 5000": (lambda: PLAN.plan([1], count=3, view=5000), am.ArgumentError, "view"),
    "no such device": (lambda: PLAN.plan([1], count=3, device="tpu"), am.DeviceError, "tpu"),
    "more dropped than there": (lambda: P.Recipe([P.DropLocal(100)]).plan([1], count=100), am.ArgumentError, "DropLocal"),
    "mixing of drawn counts": (lambda: P.Recipe([P.Dropout((.1, .2)), P.RSMix()]).plan([1, 2], count=50), am.ArgumentError,
                               "num_points"),
    "no plan": (lambda: P.render(X, None), am.ArgumentError, "a Plan of anamorph.points, given NoneType"),
    "a plan of pictures": (lambda: P.render(X, am.Recipe([]).plan([1], size=(4, 4))), am.ArgumentError,
                           "a Plan of anamorph.points, given anamorph.Plan"),
    "pictures by a plan of clouds": (lambda: am.render(torch.zeros(3, 4, 4, 3), PLAN.plan(range(3), count=200)), am.ArgumentError,
                                     "an anamorph.Plan, given anamorph.points.Plan"),
    "two axes of points": (lambda: P.render(X[0], PLAN.plan([1], count=200)), am.ShapeError, r"\[B, N, 3\]"),
    "four coordinates": (lambda: P.render(torch.zeros(3, 200, 4), PLAN.plan(range(3), count=200)), am.ShapeError, r"\[B, N, 3\]"),
    "no cloud": (lambda: P.render(torch.zeros(0, 200, 3), PLAN.plan(range(3), count=200)), am.ShapeError, "at least 1"),
    "no point": (lambda: P.render(torch.zeros(3, 0, 3), PLAN.plan(range(3), count=200)), am.ShapeError, "at least 1"),
    "doubles": (lambda: P.render(X.double(), PLAN.plan(range(3), count=200)), am.DtypeError, "float32, given float64"),
    "a NaN": (lambda: P.render(NAN, PLAN.plan(range(3), count=200)), am.ArgumentError, r"\[1, 5, 2\]"),
    "another count": (lambda: P.render(X, PLAN.plan(range(3), count=100)), am.ShapeError, "100 points"),
    "another batch": (lambda: P.render(X, PLAN.plan(range(4), count=200)), am.ShapeError, "4 clouds"),
    "no room": (lambda: P.render(X, PLAN.plan(range(3), count=[1, 2, 300])), am.ShapeError, "300"),
    "a gradient": (lambda: P.render(X.clone().requires_grad_(), PLAN.plan(range(3), count=200)), am.ArgumentError, "detach"),
    "attributes no dict": (lambda: P.render(X, PLAN.plan(range(3), count=200), attributes=[X]), am.ArgumentError, "dict"),
    "attributes of others": (lambda: P.render(X, PLAN.plan(range(3), count=200), attributes={"a": X[:, :5]}), am.ShapeError,
                             "'a'"),
    "half normals": (lambda: P.render(X, PLAN.plan(range(3), count=200), attributes={"normals": X.half()}), am.DtypeError,
                     "float32"),
    "an attribute called origin": (lambda: P.render(X, PLAN.plan(range(3), count=200), attributes={"origin": X}),
                                   am.ArgumentError, "names"),
    "targets of others": (lambda: P.render(X, PLAN.plan(range(3), count=200), targets=[1, 2]), am.ShapeError, "targets"),
    "mixed classes": (lambda: P.render(X, P.Recipe([P.RSMix()]).plan(range(3), count=200), targets=[0, 1, 2]), am.ArgumentError,
                      "targets: expected a recipe with num_classes.*, given one that mixes, with num_classes=None"),
    "smoothed classes": (lambda: P.render(X, P.Recipe([], label_smoothing=.1).plan(range(3), count=200), targets=[0, 1, 2]),
                         am.ArgumentError, "targets: .*, given one that smooths labels"),
    "a class too high": (lambda: P.render(X, P.Recipe([], num_classes=2).plan(range(3), count=200), targets=[0, 1, 2]),
                         am.ArgumentError,
                         "0 to 1"),
    "a corruption of none": (lambda: P.corrupt(X, "rain"), am.ArgumentError, "'dropout_local'"),
    "too few to drop": (lambda: P.corrupt(X[:, :100], "dropout_local", 5), am.ShapeError,
                        "points: expected clouds of more than 500 points for 'dropout_local' of severity 5, .*, given 100"),
    "severity 6": (lambda: P.corrupt(X, "jitter", 6), am.ArgumentError, "severity"),
}


@pytest.mark.parametrize("name", BAD)
def test_errors_say_what_is_wrong(name):
    call, error, text = BAD[name]
    with pytest.raises(error, match=text):
        call()


# ---- what a stranger found ----
@pytest.mark.parametrize("n", [1, 58, 100, 428])
def test_equal_points_go_to_the_origin(route, n):
    x = torch.full((1, n, 3), .1)
    assert torch.equal(P.render(x, P.Recipe([P.Normalize()]).plan([0], count=n)), torch.zeros(1, n, 3))


@pytest.mark.parametrize("unit_of", [1e-37, 1e-30, 1e-22, 1e19, 1e30, 1e37])
def test_clouds_may_have_any_unit(route, unit_of):
    x = cloud(1, 100)
    big = torch.tensor(x.double().numpy() * unit_of, dtype=torch.float32)
    out = P.render(big, P.Recipe([P.Normalize()]).plan([0], count=100)).double().numpy()[0]
    y = big.double().numpy()[0]
    y = y - y.mean(0)
    assert np.abs(out - y / np.linalg.norm(y, axis=1).max()).max() < 2e-6


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.int16, torch.bool, torch.bfloat16,
                                   torch.float8_e5m2, torch.complex64])
def test_attributes_of_any_dtype(dtype):
    values = torch.arange(100).reshape(2, 50).to(dtype)
    plan = P.Recipe([P.Shuffle(), P.AddGlobal(3)]).plan([0, 1], count=50)
    out = P.render(cloud(2, 50), plan, attributes={"v": values})
    assert out["v"].dtype == dtype
    for i in range(2):
        assert out["v"][i, :50].tolist() == [values[i].tolist()[k] for k in out["origin"][i, :50]]
        assert out["v"][i, 50:].tolist() == [-1 if dtype == torch.int16 else 0] * 3


def test_a_plan_takes_slices():
    plan = P.Recipe([P.Scale()]).plan(range(4), count=5)
    assert plan[1:3] == [plan[1], plan[2]] and plan[-1] == plan[3]
    for bad in ("a", 1.5):
        with pytest.raises(am.ArgumentError, match="whole number or a slice"):
            plan[bad]


def test_a_plan_says_what_it_is():
    plan = P.Recipe([P.Scale()]).plan(range(4), count=5, seed=7, epoch=3, view=2)
    assert repr(plan) == "Plan of 4 samples, clouds of 5 points, views of 5 (seed 7, epoch 3, view 2, on cpu)"
    drawn = P.Recipe([P.Dropout((.1, .5))]).plan([9], count=200, epoch=torch.tensor([3]))
    assert repr(drawn) == "Plan of 1 samples, clouds of 200 points, views of 100 to 180 (seed 0, epoch device, view 0, on cpu)"
    ragged = P.Recipe([], num_points=5).plan([1, 2], count=[3, 9])
    assert repr(ragged) == "Plan of 2 samples, clouds of different sizes (seed 0, epoch 0, view 0, on cpu)"


def test_one_cloud_is_not_mixed():
    with pytest.raises(am.ArgumentError, match="a batch"):
        P.Recipe([P.RSMix()])(cloud(1)[0])


def test_many_farthest_points_in_a_recipe_are_those_of_the_function():
    x = cloud(2, 3000)
    recipe = P.Recipe([], num_points=400, sample="farthest")
    plan = recipe.plan([0, 1], count=3000)
    found = P.render(x, plan, attributes={})["origin"]
    assert torch.equal(found, P.farthest_point_sample(x, 400, start=found[:, 0].contiguous()))


def test_labels_of_points_are_no_targets():
    """They would come back in another order than the points."""
    recipe = am.points.Recipe([am.points.Shuffle()])
    with pytest.raises(am.DtypeError, match=r"expected class ids \[4\] or floats \[4, K\], given torch.int64 \[4, 16\]"):
        am.points.render(torch.zeros(4, 16, 3), recipe.plan(torch.arange(4), count=16), targets=torch.zeros(4, 16).long())
