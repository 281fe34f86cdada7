"""Metrix: the losses against their formulas in loops and against pytorch-metric-learning; what is mixed with what; all levels."""

import numpy as np
import pytest
import torch
from torch import nn

from anamorph.core.errors import AnamorphError, ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.features.metrix import (
    Contrastive,
    Metrix,
    MixedPairs,
    MultiSimilarity,
    ProxyAnchor,
    contrastive_loss,
    metrix_loss,
    mixing_pairs,
    multi_similarity_loss,
    proxy_anchor_loss,
    utilization,
)

LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 3])  # the last has no positive


def batch(dim=6, seed=0):
    return torch.randn(len(LABELS), dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def mean_of_nonzero(values):
    kept = [v for v in values if v > 0]
    return sum(kept) / len(kept) if kept else 0.0


def contrastive_in_loops(d, y, low=0.0, high=0.5):
    """The published mixed loss, and of y in {0, 1} the clean one; ``d``, ``y``: lists."""
    return (mean_of_nonzero([p * max(x - low, 0) for x, p in zip(d, y, strict=True)])
            + mean_of_nonzero([(1 - p) * max(high - x, 0) for x, p in zip(d, y, strict=True)]))


def multi_similarity_in_loops(rows, alpha, beta, base):
    """``rows``: of each anchor its (cosine, positiveness)s."""
    of_each = [np.log(1 + sum(y * np.exp(-alpha * (s - base)) for s, y in row)) / alpha
               + np.log(1 + sum((1 - y) * np.exp(beta * (s - base)) for s, y in row)) / beta for row in rows]
    return np.mean(of_each)


def proxy_anchor_in_loops(s, y, margin=0.1, alpha=32.0):
    rows = [[*zip(*row, strict=True)] for row in zip(s, y, strict=True)]
    near = [np.log(1 + sum(p * np.exp(-alpha * (x - margin)) for x, p in row)) for row in rows]
    far = [np.log(1 + sum((1 - p) * np.exp(alpha * (x + margin)) for x, p in row)) for row in rows]
    return sum(near) / max(sum(any(p > 0 for p in row) for row in y), 1) + np.mean(far)


def clean_in_loops(name, embeddings, labels, proxies=None):
    e, n = unit(embeddings.numpy()), len(labels)
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    if name == "Contrastive":
        same = [float(labels[i] == labels[j]) for i, j in pairs]
        return contrastive_in_loops([np.linalg.norm(e[i] - e[j]) for i, j in pairs], same)
    if name == "MultiSimilarity":
        rows = [[(e[i] @ e[j], float(labels[i] == labels[j])) for j in range(n) if j != i] for i in range(n)]
        return multi_similarity_in_loops(rows, 2, 50, 0.5)
    p = unit(proxies.detach().double().numpy())
    return proxy_anchor_in_loops(p @ e.T, [[float(c == y) for y in labels] for c in range(len(p))])


def mixed_in_loops(name, embeddings, labels, pairs, proxies=None, embed=lambda x: x, x=None):
    x = embeddings if x is None else x
    lam, e = float(pairs.lam), unit(embeddings.numpy())
    rows = [[(i, int(pairs.first[i, k]), int(pairs.second[i, k])) for k in there.nonzero()[:, 0]]
            for i, there in enumerate(pairs.valid)]
    made = {t: unit(embed(lam * x[t[1]] + (1 - lam) * x[t[2]]).numpy()) for row in rows for t in row}
    if name == "Contrastive":
        d = [np.linalg.norm(e[i] - made[i, j, k]) for row in rows for i, j, k in row]
        return contrastive_in_loops(d, [lam] * len(d))
    if name == "MultiSimilarity":
        return multi_similarity_in_loops([[(e[t[0]] @ made[t], lam) for t in row] for row in rows], 2, 50, 0.5)
    p, flat = unit(proxies.detach().double().numpy()), [t for row in rows for t in row]
    y = [[lam * (labels[j] == c) + (1 - lam) * (labels[k] == c) for _, j, k in flat] for c in range(len(p))]
    return proxy_anchor_in_loops(p @ np.array([made[t] for t in flat]).T, [[float(v) for v in row] for row in y])


def losses(dim=6):
    torch.manual_seed(1)
    return [Contrastive(), MultiSimilarity(), ProxyAnchor(4, dim).double()]


@pytest.mark.parametrize("loss", losses(), ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("pairing", ["positive-negative", "anchor-negative"])
def test_the_loss_is_the_formula(loss, pairing):
    x = batch()
    name = type(loss).__name__
    proxies = getattr(loss, "proxies", None)
    torch.testing.assert_close(loss(x, LABELS).item(), float(clean_in_loops(name, x, LABELS, proxies)))
    pairs = mixing_pairs(x, LABELS, (3, 4), pairing="anchor-negative" if proxies is not None else pairing)
    expected = clean_in_loops(name, x, LABELS, proxies) + 0.4 * mixed_in_loops(name, x, LABELS, pairs, proxies)
    torch.testing.assert_close(metrix_loss(x, LABELS, (3, 4), loss=loss, pairing=pairing).item(), float(expected))


@pytest.mark.parametrize("loss", losses(3), ids=lambda loss: type(loss).__name__)
def test_inputs_and_features_go_through_the_rest_of_the_network(loss):
    maps = torch.randn(len(LABELS), 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    torch.manual_seed(0)
    head = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(18, 3)).double().requires_grad_(False)
    embeddings = head(maps)
    name, proxies = type(loss).__name__, getattr(loss, "proxies", None)
    pairs = mixing_pairs(embeddings, LABELS, (0, 7), hardest=2, pairing="anchor-negative" if proxies is not None else "either")
    seen = []
    head.register_forward_hook(lambda module, inputs, out: seen.append(len(inputs[0])))
    found = metrix_loss(maps, LABELS, (0, 7), head, loss, hardest=2, weight=0.3)
    assert seen == [8, 16]
    expected = clean_in_loops(name, embeddings, LABELS, proxies) + 0.3 * mixed_in_loops(
        name, embeddings, LABELS, pairs, proxies, lambda one: head(one[None])[0], maps)
    torch.testing.assert_close(found.item(), float(expected))


def test_a_share_of_one_is_the_positive_and_of_none_the_negative():
    d, valid = torch.rand(3, 5, dtype=torch.float64), torch.rand(3, 5) < 0.7
    s = 2 * torch.rand(3, 5, dtype=torch.float64) - 1
    one, none = torch.ones_like(d), torch.zeros_like(d)
    kept, cosines = d[valid].numpy(), [row[there].numpy() for row, there in zip(s, valid, strict=True)]
    assert contrastive_loss(d, one, valid).item() == pytest.approx(mean_of_nonzero(np.maximum(kept, 0)))
    assert contrastive_loss(d, none, valid).item() == pytest.approx(mean_of_nonzero(np.maximum(0.5 - kept, 0)))
    assert multi_similarity_loss(s, one, valid).item() == pytest.approx(
        np.mean([np.log(1 + np.exp(-2 * (row - 0.5)).sum()) / 2 for row in cosines]))
    assert multi_similarity_loss(s, none, valid).item() == pytest.approx(
        np.mean([np.log(1 + np.exp(50 * (row - 0.5)).sum()) / 50 for row in cosines]))
    assert proxy_anchor_loss(s, one, valid).item() == pytest.approx(
        sum(np.log(1 + np.exp(-32 * (row - 0.1)).sum()) for row in cosines) / max(sum(len(row) > 0 for row in cosines), 1))
    assert proxy_anchor_loss(s, none, valid).item() == pytest.approx(
        np.mean([np.log(1 + np.exp(32 * (row + 0.1)).sum()) for row in cosines]))


def test_numbers_by_hand():
    d, y = torch.tensor([[0.3, 0.7]]), torch.tensor([[0.25, 0.25]])
    # (.25 x .3 + .25 x .7) / 2, and of the other part only .75 x (.5 - .3) is not 0
    assert contrastive_loss(d, y).item() == pytest.approx(0.125 + 0.15)
    s = torch.tensor([[0.6]], dtype=torch.float64)
    assert multi_similarity_loss(s, torch.tensor([[0.25]])).item() == pytest.approx(
        np.log(1 + 0.25 * np.exp(-0.2)) / 2 + np.log(1 + 0.75 * np.exp(5)) / 50)


@pytest.fixture
def library():
    return pytest.importorskip("pytorch_metric_learning")


def foreign(name, **arguments):
    from pytorch_metric_learning import losses

    return getattr(losses, name)(**arguments)


def test_clean_losses_are_those_of_pytorch_metric_learning(library):
    from pytorch_metric_learning import miners

    x = batch(seed=3)
    theirs = foreign("ProxyAnchorLoss", num_classes=5, embedding_size=6)
    torch.testing.assert_close(Contrastive()(x, LABELS), foreign("ContrastiveLoss", neg_margin=0.5)(x, LABELS))
    torch.testing.assert_close(MultiSimilarity()(x, LABELS), foreign("MultiSimilarityLoss")(x, LABELS))
    ours = ProxyAnchor(5, 6).double()
    ours.proxies.data = theirs.proxies.data.double()
    torch.testing.assert_close(ours(x, LABELS), theirs(x, LABELS))
    mined = miners.MultiSimilarityMiner(epsilon=0.0)(x, LABELS)
    assert len(mined[2]) < sum(int((y != LABELS).sum()) for y in LABELS)
    torch.testing.assert_close(MultiSimilarity()(x, LABELS, mined), foreign("MultiSimilarityLoss")(x, LABELS, mined))
    torch.testing.assert_close(Contrastive()(x, LABELS, mined), foreign("ContrastiveLoss", neg_margin=0.5)(x, LABELS, mined))


def test_losses_of_pytorch_metric_learning_are_taken(library):
    x = batch(seed=4).requires_grad_()
    theirs = foreign("ProxyAnchorLoss", num_classes=4, embedding_size=6, alpha=16, margin=0.2)
    theirs.proxies.data = theirs.proxies.data.double()
    proxies = ProxyAnchor(4, 6, 0.2, 16).double()
    proxies.proxies.data = theirs.proxies.data.clone()
    for own, other in ((Contrastive(0.1, 0.9), foreign("ContrastiveLoss", pos_margin=0.1, neg_margin=0.9)), (proxies, theirs),
                       (MultiSimilarity(18, 75, 0.77), foreign("MultiSimilarityLoss", alpha=18, beta=75, base=0.77))):
        gradients = []
        for loss in (own, other):
            module = Metrix(loss, seed=5)
            loss = module(x, LABELS)
            gradients.append((loss.detach(), *torch.autograd.grad(loss, [x, *module.parameters()])))
        for a, b in zip(*gradients, strict=True):
            torch.testing.assert_close(a, b)


def test_miners_say_what_counts(library):
    from pytorch_metric_learning import miners

    x = batch(seed=6)
    for miner in (miners.MultiSimilarityMiner(epsilon=0.0), miners.TripletMarginMiner(margin=0.1)):
        mined = miner(x, LABELS)
        pairs = mixing_pairs(x, LABELS, (0, 0), pairing="positive-negative", mined=mined)
        near = {*zip(mined[0].tolist(), mined[1].tolist(), strict=True)}
        far = {*zip(mined[-2 if len(mined) == 4 else 0].tolist(), mined[-1].tolist(), strict=True)}
        assert near and len(far) < sum(int((y != LABELS).sum()) for y in LABELS)
        anchors = pairs.valid.nonzero()[:, 0].tolist()
        assert {*zip(anchors, pairs.first[pairs.valid].tolist(), strict=True)} <= near
        expected = {(a, n) for a, n in far if a in {anchor for anchor, _ in near}}
        assert {*zip(anchors, pairs.second[pairs.valid].tolist(), strict=True)} == expected
        expected = metrix_loss(x, LABELS, (0, 0), miner=lambda *given, mined=mined: mined)
        torch.testing.assert_close(metrix_loss(x, LABELS, (0, 0), miner=miner), expected)
        assert Metrix(miner=miner, hardest=1)(x.float(), LABELS).isfinite()


def test_pairs_are_of_the_anchor_its_positives_and_its_negatives():
    x = batch()
    for pairing in ("positive-negative", "anchor-negative"):
        pairs = mixing_pairs(x, LABELS, (1, 2), pairing=pairing)
        assert pairs.first.shape == pairs.second.shape == pairs.valid.shape == (8, 8) and pairs.lam.shape == ()
        for a in range(8):
            there = pairs.valid[a]
            lonely = pairing == "positive-negative" and LABELS[a] == 3
            assert pairs.second[a, there].tolist() == ([] if lonely else (LABELS[a] != LABELS).nonzero()[:, 0].tolist())
            for p in pairs.first[a, there].tolist():
                assert p == a if pairing == "anchor-negative" else p != a and LABELS[p] == LABELS[a]
    hard = mixing_pairs(x, LABELS, (1, 2), pairing="anchor-negative", hardest=2)
    e = unit(x.numpy())
    for a in range(8):
        others = sorted((j for j in range(8) if LABELS[j] != LABELS[a]), key=lambda j: -(e[a] @ e[j]))
        assert hard.second[a].tolist() == others[:2]
    few = mixing_pairs(x[:3], torch.tensor([0, 0, 1]), (0, 0), pairing="anchor-negative", hardest=5)
    assert few.valid.sum(1).tolist() == [1, 1, 2] and few.second.shape == (3, 3)


def test_pairings_and_shares_are_drawn():
    x, steps = batch(), 4000
    drawn = [mixing_pairs(x, LABELS, (9, step), hardest=1) for step in range(steps)]
    own = np.array([bool((pairs.first[:, 0] == torch.arange(8)).all()) for pairs in drawn])
    assert abs(own.mean() - 0.5) < 4 * 0.5 / steps**0.5
    lam = np.array([float(pairs.lam) for pairs in drawn])
    assert abs(lam.mean() - 0.5) < 4 * np.sqrt(0.05 / steps) and abs(lam.var() - 0.05) < 0.005  # Beta(2, 2)
    positives = [int(pairs.first[0, 0]) for pairs, itself in zip(drawn, own, strict=True) if not itself]
    assert {*positives} == {3, 6} and abs(np.mean(np.array(positives) == 3) - 0.5) < 4 * 0.5 / len(positives) ** 0.5
    replayed = mixing_pairs(x, LABELS, torch.tensor([9, 5]), hardest=1)
    assert all(torch.equal(a, b) for a, b in zip(replayed, drawn[5], strict=True))
    spread = np.var([float(mixing_pairs(x, LABELS, (9, step), hardest=1, alpha=50.0).lam) for step in range(300)])
    assert spread < 0.005  # Beta(50, 50): .0025


def test_mixing_is_the_share():
    pairs = MixedPairs(torch.tensor([[0, 1]]), torch.tensor([[1, 0]]), torch.ones(1, 2, dtype=torch.bool), torch.tensor(0.75))
    with pytest.raises(ShapeError):
        pairs.mix(torch.rand(2, 3))
    pairs = MixedPairs(torch.tensor([[0], [0]]), torch.tensor([[1], [0]]), torch.ones(2, 1, dtype=torch.bool), torch.tensor(0.75))
    assert pairs.mix(torch.tensor([[0.0, 4.0], [4.0, 0.0]])).tolist() == [[1.0, 3.0], [0.0, 4.0]]


def test_a_batch_of_one_class_has_its_own_loss_alone():
    x, same = batch(), torch.zeros(8, dtype=torch.int64)
    for loss in losses():
        torch.testing.assert_close(metrix_loss(x, same, (0, 0), loss=loss), loss(x, same))
    x, all_apart = batch().requires_grad_(), torch.arange(8)
    found = metrix_loss(x, all_apart, (0, 0), pairing="positive-negative")
    found.backward()
    torch.testing.assert_close(found, Contrastive()(x, all_apart))
    assert x.grad.isfinite().all()


def test_equal_embeddings_have_a_finite_gradient():
    x = torch.ones(4, 3, requires_grad=True)
    for loss in (Contrastive(), MultiSimilarity()):
        (gradient,) = torch.autograd.grad(metrix_loss(x, torch.tensor([0, 0, 1, 1]), (0, 0), loss=loss), x)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("loss", losses(), ids=lambda loss: type(loss).__name__)
def test_gradients(loss):
    x = (0.3 * batch(seed=8) + torch.eye(8, dtype=torch.float64)[:, :6]).requires_grad_()
    parameters = tuple(loss.parameters())
    torch.autograd.gradcheck(lambda x, *_: metrix_loss(x, LABELS, (1, 1), loss=loss), (x, *parameters))
    weight = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    torch.autograd.gradcheck(lambda w: metrix_loss(x.detach(), LABELS, (1, 1), lambda x: x @ w, loss, hardest=3), (weight,))


@pytest.mark.parametrize("loss", losses(), ids=lambda loss: type(loss).__name__)
def test_compiled_and_under_autocast(loss):
    x, step = batch().float(), torch.tensor([2, 3])
    loss = loss.float()
    torch.manual_seed(0)
    head = nn.Linear(6, 6)
    expected = metrix_loss(x, LABELS, step, head, loss)
    torch._dynamo.reset()
    compiled = torch.compile(lambda x, step: metrix_loss(x, LABELS, step, head, loss), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, step), expected)
    torch.testing.assert_close(compiled(x, step + 1), metrix_loss(x, LABELS, step + 1, head, loss))
    with torch.autocast("cpu", torch.bfloat16):
        halved = metrix_loss(x, LABELS, step, head, loss)
        exact = metrix_loss(x, LABELS, step, loss=loss)
    assert halved.dtype == torch.float32
    torch.testing.assert_close(halved, expected, rtol=0.1, atol=0.1)
    torch.testing.assert_close(exact, metrix_loss(x, LABELS, step, loss=loss), rtol=0, atol=0)


def test_the_module_replays_and_is_the_loss_alone_after_eval():
    x = batch().float()
    first, second = Metrix(seed=4), Metrix(seed=4)
    seen = [first(x, LABELS).item() for _ in range(3)]
    assert seen == [metrix_loss(x, LABELS, (4, step)).item() for step in range(3)] and len({*seen}) == 3
    second.load_state_dict(first.state_dict())
    assert second(x, LABELS).item() == metrix_loss(x, LABELS, (4, 3)).item()
    before = first.step.clone()
    torch.testing.assert_close(first.eval()(x, LABELS), Contrastive()(x, LABELS))
    assert torch.equal(first.step, before)
    compiled = torch.compile(Metrix(seed=4), fullgraph=True, backend="aot_eager")
    assert [compiled(x, LABELS).item() for _ in range(2)] == pytest.approx(seen[:2])


def test_utilization():
    rng = np.random.default_rng(0)
    queries, training, more = (unit(rng.normal(size=(n, 5))) for n in (7, 11, 6))
    expected = np.mean([min(((q - v) ** 2).sum() for v in training) for q in queries])
    found = utilization(*map(torch.from_numpy, (queries, training)))
    assert found.item() == pytest.approx(expected, abs=1e-14)
    for count in range(7):
        now = utilization(torch.from_numpy(queries), torch.from_numpy(np.concatenate([training, more[:count]])))
        assert now <= found
        found = now
    assert utilization(torch.from_numpy(training[3:4]), torch.from_numpy(training)) == 0


def test_utilization_in_parts(monkeypatch):
    a, b = torch.rand(9, 4), torch.rand(5, 4)
    whole = utilization(a, b)
    monkeypatch.setattr("anamorph.features.metrix._AT_ONCE", 10)
    torch.testing.assert_close(utilization(a, b), whole)


X, Y = torch.rand(4, 3), torch.tensor([0, 0, 1, 1])
BAD = {
    "not a tensor": (lambda: metrix_loss([[1.0]], Y, (0, 0)), ArgumentError),
    "integers": (lambda: metrix_loss(torch.ones(4, 3, dtype=torch.int64), Y, (0, 0)), DtypeError),
    "empty": (lambda: metrix_loss(X[:0], Y[:0], (0, 0)), ShapeError),
    "a batch of one": (lambda: metrix_loss(X[:1], Y[:1], (0, 0)), ShapeError),
    "maps as embeddings": (lambda: metrix_loss(torch.rand(4, 3, 2, 2), Y, (0, 0)), ShapeError),
    "labels of another batch": (lambda: metrix_loss(X, Y[:3], (0, 0)), ShapeError),
    "labels of floats": (lambda: metrix_loss(X, Y.float(), (0, 0)), DtypeError),
    "a class that has no proxy": (lambda: metrix_loss(X, Y + 4, (0, 0), loss=ProxyAnchor(4, 3)), ArgumentError),
    "a step of one number": (lambda: metrix_loss(X, Y, (0,)), ArgumentError),
    "another loss": (lambda: metrix_loss(X, Y, (0, 0), loss=nn.CrossEntropyLoss()), ArgumentError),
    "a negative weight": (lambda: Metrix(weight=-1), ArgumentError),
    "no pairing": (lambda: Metrix(pairing="positive"), ArgumentError),
    "no hardest": (lambda: Metrix(hardest=0), ArgumentError),
    "alpha 0": (lambda: metrix_loss(X, Y, (0, 0), alpha=0.0), ArgumentError),
    "a miner of two": (lambda: metrix_loss(X, Y, (0, 0), miner=lambda e, y: (y, y)), ArgumentError),
    "embed of another length": (lambda: metrix_loss(X, Y, (0, 0), lambda x: x[:3]), ShapeError),
    "positiveness above 1": (lambda: contrastive_loss(X, X + 1), ArgumentError),
    "positiveness of NaN": (lambda: multi_similarity_loss(X, X * torch.nan), ArgumentError),
    "positiveness of another shape": (lambda: proxy_anchor_loss(X, X[:2]), ShapeError),
    "valid of floats": (lambda: contrastive_loss(X, X, X), ArgumentError),
    "alpha of no number": (lambda: multi_similarity_loss(X, X, alpha="2"), ArgumentError),
    "one proxy": (lambda: ProxyAnchor(1, 3), ArgumentError),
    "another device": (lambda: metrix_loss(X, Y.to("meta"), (0, 0)), DeviceError),
    "queries of another width": (lambda: utilization(X, X[:, :2]), ShapeError),
    "nothing trained on": (lambda: utilization(X, X[:0]), ShapeError),
    "queries of another dtype": (lambda: utilization(X, X.double()), DtypeError),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    call, error = BAD[name]
    with pytest.raises(error, match="expected"):
        call()


def test_other_losses_and_distances_are_refused(library):
    from pytorch_metric_learning import distances

    for loss in (foreign("TripletMarginLoss"), foreign("GeneralizedLiftedStructureLoss"),
                 foreign("ContrastiveLoss", distance=distances.CosineSimilarity(), pos_margin=1, neg_margin=0),
                 foreign("ContrastiveLoss", distance=distances.LpDistance(power=2)),
                 foreign("MultiSimilarityLoss", distance=distances.DotProductSimilarity(normalize_embeddings=False))):
        with pytest.raises(AnamorphError, match=r"loss: expected"):
            Metrix(loss)


def test_nan_is_not_hidden():
    x = X.clone()
    x[0, 0] = torch.nan
    for loss in (Contrastive(), MultiSimilarity(), ProxyAnchor(2, 3)):
        assert metrix_loss(x, Y, (0, 0), loss=loss).isnan()
