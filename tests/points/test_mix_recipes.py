"""Mixing of clouds by recipes: which points are whose, where they are, and the labels' shares."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

import anamorph as am
from anamorph import points as P


def clouds(batch=6, n=64, seed=0):
    x = np.random.default_rng(seed).normal(size=(batch, n, 3))
    return torch.tensor(x / np.linalg.norm(x, axis=2).max(1)[:, None, None], dtype=torch.float32)


def mixed(mixer, x, seed=0, **of):
    recipe = P.Recipe([mixer], num_classes=len(x), **of)
    plan = recipe.plan(range(len(x)), count=x.shape[1], seed=seed)
    out, soft = P.render(x, plan, targets=torch.arange(len(x)), attributes={"part": torch.arange(x.shape[1]).expand(len(x), -1)})
    return plan, out, soft


def least(a, b):
    """The exact assignment, by SciPy over SciPy's distances."""
    d = cdist(a.double().numpy(), b.double().numpy())
    return linear_sum_assignment(d)[1], d


def matched(a, b):
    """What mixing takes: the auction's, one to one and within 1 % of the least cost."""
    phi = P.assign(a, b, method="auction")[0]
    best, d = least(a, b)
    assert sorted(phi.tolist()) == list(range(len(a))) and d[range(len(a)), phi].sum() <= 1.01 * d[range(len(a)),
                                                                                                   best].sum() + 1e-6
    return phi, d


def test_the_partner_is_somebody_else(route):
    for seed in range(20):
        plan = P.Recipe([P.RSMix(p=1)]).plan(range(7), count=8, seed=seed)
        partner = plan.partner.tolist()
        assert sorted(partner) == list(range(7)) and all(i != p for i, p in enumerate(partner))
    alone = P.Recipe([P.RSMix(p=1)], num_classes=3).plan([4], count=8)
    x = clouds(1, 8)
    out, soft = P.render(x, alone, targets=torch.tensor([2]))
    assert torch.equal(out, x) and soft.tolist() == [[0, 0, 1]]


def test_mixup_is_the_blend_with_the_aligned_partner(route):
    x = clouds()
    plan, out, soft = mixed(P.PointMixup(.4), x)
    for i in range(6):
        j, r = int(plan.partner[i]), plan[i]["mix"]["number"]
        phi, d = matched(x[i], x[j])
        expected = (1 - r) * x[i].double() + r * x[j][phi].double()
        assert (out["points"][i].double() - expected).abs().max() < 1e-6
        assert abs(soft[i, j] - r) < 1e-6 and abs(soft[i, i] - (1 - r)) < 1e-6 and 0 <= r <= .5
        assert (out["origin"][i] == torch.arange(64)).all()
        # The card's: cost(x_i, x) = r cost(x_i, x_j).
        there, back = least(x[i], out["points"][i])
        assert abs(back[range(64), there].sum() - r * d[range(64), phi].sum()) <= 0.011 * r * d[range(64), phi].sum() + 1e-4


@pytest.mark.parametrize(("alpha", "mean"), [(.4, .160), (1, .250), (1.5, .288), (2, .312)])
def test_mixup_shares(alpha, mean):
    """E[r] of the card."""
    plan = P.Recipe([P.PointMixup(alpha)]).plan(range(6000), count=4)
    r = [plan[i]["mix"]["number"] for i in range(6000)]
    assert max(r) <= .5 and abs(np.mean(r) - mean) < .007


def test_the_order_of_the_partner_changes_nothing():
    x = clouds(2)
    plan = P.Recipe([P.PointMixup(1)]).plan([0, 1], count=64)
    out = P.render(x, plan)
    shuffled = x.clone()
    shuffled[1] = x[1][torch.randperm(64)]
    far = (P.render(shuffled, plan)[0] - out[0]).norm(dim=1)  # of near ways the auction may find either
    assert (far < 1e-6).float().mean() > 0.8


@pytest.mark.parametrize("mode", ["R", "K"])
def test_cutmix(route, mode):
    x = clouds()
    some = 0
    for seed in range(5 if route == "emulated" else 12):
        plan, out, soft = mixed(P.PointCutMix(mode, p=1), x, seed)
        n = int(plan[0]["mix"]["number"])
        assert all(plan[i]["mix"]["number"] == n for i in range(6)) and 1 <= n <= 64
        sets = []
        for i in range(6):
            j = int(plan.partner[i])
            origin = out["origin"][i]
            theirs = origin >= 64
            sets.append(tuple(theirs.tolist()))
            assert theirs.sum() == n and abs(soft[i, j] - n / 64) < 1e-6
            phi, _ = matched(x[i], x[j])
            assert torch.equal(out["points"][i][~theirs], x[i][~theirs]) and (origin[~theirs] == torch.arange(64)[~theirs]).all()
            assert torch.equal(out["points"][i][theirs], x[j][phi][theirs])
            assert torch.equal(out["part"][i], torch.where(theirs, phi, torch.arange(64)))
            if mode == "K":  # the ball round one of its points
                d = cdist(x[i].double().numpy(), x[i].double().numpy())
                assert any({*np.argsort(row, kind="stable")[:n]} == {*np.flatnonzero(theirs)} for row in d[theirs.numpy()])
            if n == 64:
                assert sorted(map(tuple, out["points"][i].tolist())) == sorted(map(tuple, x[j].tolist()))
        assert mode == "K" or len({*sets}) == 1
        some += n < 64
    assert some > 1


@pytest.mark.parametrize("neighbours", [False, True])
def test_rsmix(route, neighbours):
    x = clouds(6, 96)
    moved = 0
    for seed in range(8):
        plan, out, soft = mixed(P.RSMix(p=1, neighbours=neighbours, most=40), x, seed)
        rho = plan[0]["mix"]["number"]
        for i in range(6):
            j = int(plan.partner[i])
            theirs = out["origin"][i] >= 96
            k = int(theirs.sum())
            assert out["points"].shape == x.shape and 1 <= k <= 40 and abs(soft[i, j] - k / 96) < 1e-6
            if neighbours:
                assert k == int(rho)
            assert torch.equal(out["points"][i][~theirs], x[i][~theirs])
            from_ = out["origin"][i][theirs] - 96
            a, b = out["points"][i][theirs].double(), x[j][from_].double()
            assert (torch.cdist(a, a) - torch.cdist(b, b)).abs().max() < 1e-6  # rigid
            d = cdist(x[i].double().numpy(), x[i].double().numpy())  # what went was the nearest to one of its points
            gone = np.flatnonzero(theirs)
            assert any({*np.argsort(row, kind="stable")[:k]} == {*gone} for row in d[gone])
            if not neighbours and k < 40:
                assert any((row[gone] < rho + 1e-5).all() and (np.delete(row, gone) >= rho - 1e-5).all() for row in d[gone])
            moved += k > 1
    assert moved > 20


def test_the_share_is_at_most_a_half_of_1024():
    x = clouds(4, 1024)
    for seed in range(6):
        _, _, soft = mixed(P.RSMix(p=1), x, seed)
        assert soft.diagonal().min() >= .5 - 1e-6


def test_a_batch_is_mixed_with_probability_p():
    plans = [P.Recipe([P.PointCutMix("R", p=.3)]).plan(range(s, s + 2), count=9) for s in range(0, 4000, 2)]
    on = np.array([["mix" in p[0], "mix" in p[1]] for p in plans])
    assert (on[:, 0] == on[:, 1]).all() and abs(on[:, 0].mean() - .3) < .04


def test_pairs_of_labels():
    x = clouds()
    recipe = P.Recipe([P.RSMix(p=1)], labels="pairs")
    plan = recipe.plan(range(6), count=64)
    _, (a, b, lam) = P.render(x, plan, targets=torch.arange(6))
    assert (a == torch.arange(6)).all() and torch.equal(b, plan.partner) and ((lam > 0) & (lam < 1)).all()


def test_wolfmix_is_wolf_then_rsmix():
    x = clouds(4, 200)
    plan = P.Recipe([P.Scale(), *P.WOLFMix(rsmix=P.RSMix(p=1))], num_classes=4).plan(range(4), count=200)
    assert [s["step"] for s in plan[0]["steps"]] == ["affine", "deformation", "normalize"] and plan[0]["mix"]["rule"] == "RSMix"
    out, soft = P.render(x, plan, targets=torch.arange(4))
    assert out.shape == x.shape and torch.allclose(soft.sum(1), torch.ones(4))


def test_rows_say_with_whom():
    """Of rows of an odd number of words, too, and of ids of 64 bits."""
    ids = [2**62 + 5, -7, 3, 2**32 - 1]
    for transforms in ([P.Rotate()], [P.Shuffle()], [P.Jitter(), P.Shuffle()]):
        plan = P.Recipe([*transforms, P.RSMix(p=1)], num_points=64).plan(ids, count=64)
        assert [said["mix"]["partner"] for said in plan] == [ids[p] for p in plan.partner.tolist()]


def test_launches_of_mixing():
    x = clouds()
    plan = P.Recipe([P.Jitter(), P.RSMix(p=1)]).plan(range(6), count=64)
    before = am.launch_count()
    P.render(x, plan)
    assert am.launch_count() - before == 2


def test_mixed_targets_need_classes():
    x = clouds()
    with pytest.raises(am.ArgumentError, match="num_classes"):
        P.render(x, P.Recipe([P.RSMix()]).plan(range(6), count=64), targets=torch.arange(6))


def test_assignment_is_scipys():
    a, b = clouds(3, 50), clouds(3, 50, 1)
    phi, cost = P.assign(a, b)
    for i in range(3):
        expected, d = least(a[i], b[i])
        assert phi[i].tolist() == expected.tolist() and abs(cost[i] - d[range(50), expected].sum()) < 1e-3
    assert P.assign(a[0], a[0])[0].tolist() == list(range(50))
    with pytest.raises(am.ShapeError, match="like a"):
        P.assign(a, b[:, :4])
