"""LAGNN: the card's numbers and the published steps written out in float64; a GCN without views."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.special import expit, log_softmax, softmax
from torch.nn import functional as F

from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.features import draws
from anamorph.features.graph import edge_pairs, normalised
from anamorph.features.lagnn import (
    LAGCN,
    NeighbourGenerator,
    consistency_loss,
    generator_loss,
    lagnn_loss,
    rows_to_one,
    train_generator,
    view_score,
)


def numbers(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def graph(nodes=12, seed=0, density=0.2):
    """Undirected, without loops: SciPy's matrix, and its CSR."""
    matrix = sp.random_array((nodes, nodes), density=density, format="csr", rng=np.random.default_rng(seed))
    matrix = sp.csr_array((((matrix + matrix.T).toarray() > 0) & ~np.eye(nodes, dtype=bool)).astype(float))
    return matrix, torch.from_numpy(matrix.indptr).long(), torch.from_numpy(matrix.indices).long()


def binary(nodes=12, features=6, seed=0):
    return (numbers(nodes, features, seed=seed) > 0.3).float()


# ---- the generator ----


@pytest.mark.parametrize("reconstruction", ["bce", "mse"])
def test_loss_is_the_published_sum(reconstruction):
    """(reconstruction + KL) / batch, by the formulas that the code has."""
    made, x = numbers(5, 4), torch.rand(5, 4, dtype=torch.float64)
    mean, log_variance = numbers(5, 3, seed=1), numbers(5, 3, seed=2)
    p = expit(made.numpy())
    if reconstruction == "bce":
        cost = -(x.numpy() * np.log(p) + (1 - x.numpy()) * np.log(1 - p)).sum()
    else:
        cost = ((made - x).numpy() ** 2).sum()
    m, v = mean.numpy(), log_variance.numpy()
    expected = (cost - 0.5 * (1 + v - m**2 - np.exp(v)).sum()) / 5
    assert generator_loss(made, x, mean, log_variance, reconstruction).item() == pytest.approx(expected, rel=1e-13)
    assert generator_loss(made, made.sigmoid(), 0 * mean, 0 * mean, "mse") > 0
    assert generator_loss(made, made, 0 * mean, 0 * mean, "mse") == 0  # KL of N(0, 1) from itself


def test_generator_is_the_published_net():
    """Encoder [2F, 256] and two heads of 10, decoder [10 + F, 256, F]."""
    generator = NeighbourGenerator(20)
    shapes = [tuple(p.shape) for p in generator.parameters()]
    assert shapes == [(256, 40), (256,), (20, 256), (20,), (256, 30), (256,), (20, 256), (20,)]


def test_loss_is_of_a_draw_of_the_posterior():
    generator = NeighbourGenerator(4, 5, 3, seed=2).double()
    x, c = binary(6, 4).double(), binary(6, 4, seed=1).double()
    key = generator.step.clone()
    mean, log_variance = generator.encoder(torch.cat([x, c], 1)).split(3, 1)
    z = mean + (log_variance / 2).exp() * draws.normal(key, "lagnn.posterior", (6, 3))
    expected = generator_loss(generator.decoder(torch.cat([z, c], 1)), x, mean, log_variance)
    assert generator(x, c).item() == pytest.approx(expected.item(), rel=1e-12) and generator.step.tolist() == [2, 1]


def test_views_have_rows_that_sum_to_one_and_differ():
    generator = NeighbourGenerator(6)
    x = binary()
    first, second = generator.generate(x)[0], generator.generate(x)[0]
    torch.testing.assert_close(first.sum(1), torch.ones(12))
    assert not torch.equal(first, second) and (first > 0).all() and not first.requires_grad
    several = generator.generate(x, 3)
    assert several.shape == (3, 12, 6) and not torch.equal(several[0], several[1])
    plain = generator.generate(x, normalise=False)[0]
    assert (plain.sum(1) - 1).abs().max() > 0.1 and ((plain > 0) & (plain < 1)).all()
    assert generator.generate(x, 0).shape == (0, 12, 6)


def test_views_of_any_features_are_what_the_decoder_says():
    generator = NeighbourGenerator(6, reconstruction="mse").double()
    x = numbers(12, 6)
    key = generator.step.clone()
    z = draws.normal(key, "lagnn.prior", (1, 12, 10))[0].double()
    torch.testing.assert_close(generator.generate(x)[0], generator.decoder(torch.cat([z, x], 1)).detach())


def test_views_replay_from_a_state():
    generator = NeighbourGenerator(6, seed=4)
    generator.generate(binary())
    again = NeighbourGenerator(6)
    again.load_state_dict(generator.state_dict())
    assert torch.equal(again.generate(binary()), generator.generate(binary()))


def test_rows_to_one():
    x = torch.tensor([[1.0, 3], [0, 0], [2, 2]])
    assert rows_to_one(x).tolist() == [[0.25, 0.75], [0, 0], [0.5, 0.5]]


# ---- its training ----


def test_it_learns_from_every_pair_once_an_epoch():
    """As many pairs as the matrix has entries; each neighbour with its node."""
    matrix, indptr, indices = graph()
    x = torch.eye(12)  # which node is which

    class Watch(NeighbourGenerator):
        def loss(self, x, condition):
            seen.append((condition.argmax(1), x.argmax(1)))
            return super().loss(x, condition)

    seen = []
    losses = train_generator(Watch(12), x, indptr, indices, epochs=2, batch_size=7)
    pairs = sorted(zip(*(torch.cat(t).tolist() for t in zip(*seen, strict=True)), strict=True))
    coo = matrix.tocoo()
    assert pairs == sorted(2 * [*zip(coo.row.tolist(), coo.col.tolist(), strict=True)])
    assert edge_pairs(indptr, indices).shape[1] == matrix.nnz > 20 and len(losses) == 2
    order = [torch.cat([a for a, _ in seen])[i * matrix.nnz:(i + 1) * matrix.nnz].tolist() for i in (0, 1)]
    assert order[0] != order[1]


def test_it_learns_what_neighbours_look_like():
    """Nodes of kind A have neighbours of kind B and the reverse: what it makes of a node is the other kind."""
    torch.manual_seed(0)
    kinds = torch.arange(20) % 2
    matrix = sp.csr_array((kinds[:, None] != kinds[None]).numpy().astype(float))
    x = torch.stack([kinds, 1 - kinds], 1).float().repeat(1, 3)
    generator = NeighbourGenerator(6, 32)
    losses = train_generator(generator, x, torch.from_numpy(matrix.indptr).long(), torch.from_numpy(matrix.indices).long(),
                             epochs=40)
    made = generator.generate(x, normalise=False)[0]
    assert losses[-1] < losses[0] / 10 and (made - (1 - x)).abs().max() < 0.1


def test_the_weights_that_score_best_after_the_warmup_are_kept():
    _, indptr, indices = graph()
    x = binary()
    given = iter([5.0, 1.0, 6.0, 2.0, 7.0, 3.0, *[0.0] * 100])
    seen, kept, states = [], [], []
    generator = NeighbourGenerator(6)

    def score(view):
        seen.append(view)
        states.append({k: v.clone() for k, v in generator.state_dict().items()})
        return next(given)

    train_generator(generator, x, indptr, indices, epochs=1, batch_size=4, score=score, warmup=3, kept=kept.append)
    assert len(seen) > 6 and len(kept) == 1 and torch.equal(kept[0], seen[4])  # 6 came within the warmup, 7 behind it
    for k, v in generator.state_dict().items():
        assert torch.equal(v, states[4][k])


def test_weights_of_the_warmup_are_never_kept():
    _, indptr, indices = graph()
    generator, kept = NeighbourGenerator(6), []
    scores = iter([9.0, *[1.0] * 100])
    train_generator(generator, binary(), indptr, indices, epochs=1, score=lambda view: next(scores), warmup=1, kept=kept.append)
    assert not kept


def test_training_replays():
    _, indptr, indices = graph()
    found = []
    for _ in range(2):
        torch.manual_seed(3)
        generator = NeighbourGenerator(6, 8, seed=1)
        found.append((train_generator(generator, binary(), indptr, indices, epochs=2), generator.decoder[0].weight))
    assert found[0][0] == found[1][0] and torch.equal(found[0][1], found[1][1])


def test_the_score_of_views():
    """NLL of the mean prediction minus the mean NLL: Jensen has it at most 0."""
    logits, labels = numbers(50, 8, 3), torch.arange(8) % 3
    p = softmax(logits.numpy(), 2)[:, np.arange(8), labels.numpy()]
    expected = -np.log(p.mean(0)).mean() + np.log(p).mean()
    assert view_score(logits, labels).item() == pytest.approx(expected, rel=1e-12) and expected < -0.1
    assert view_score(logits[:1].expand(5, -1, -1), labels).abs() < 1e-12


# ---- the net ----


def test_without_views_it_is_a_gcn():
    """A relu(A X W1 + b1) W2 + b2, in NumPy."""
    matrix, indptr, indices = graph()
    net = LAGCN(6, 5, 3, 0).double().eval()
    assert len(list(net.parameters())) == 4
    (w1, b1), (w2, b2) = [(p.weight.detach().numpy(), p.bias.detach().numpy()) for p in (net.first[0], net.second)]
    loops = matrix.toarray() + np.eye(12)
    a = loops / np.sqrt(np.outer(loops.sum(0), loops.sum(0)))
    x = numbers(12, 6)
    expected = a @ np.maximum(a @ x.numpy() @ w1 + b1, 0) @ w2 + b2
    np.testing.assert_allclose(net(x, [], normalised(indptr, indices, torch.float64)).detach().numpy(), expected, atol=1e-13)


def test_each_view_has_a_first_layer_and_they_meet_in_the_second():
    matrix, indptr, indices = graph()
    net = LAGCN(6, 5, 3, 2).double().eval()
    loops = matrix.toarray() + np.eye(12)
    a = torch.from_numpy(loops / np.sqrt(np.outer(loops.sum(0), loops.sum(0))))
    x, views = numbers(12, 6), numbers(2, 12, 6, seed=1)
    hidden = [F.relu(a @ v @ layer.weight + layer.bias) for v, layer in zip([*views, x], net.first, strict=True)]
    expected = a @ torch.cat(hidden, 1) @ net.second.weight + net.second.bias
    torch.testing.assert_close(net(x, views, normalised(indptr, indices, torch.float64)), expected, rtol=0, atol=1e-12)
    assert net.second.weight.shape == (15, 3)


def test_dropout_is_torchs_in_the_mean_and_replays():
    _, indptr, indices = graph(nodes=40)
    adjacency = normalised(indptr, indices)
    net = LAGCN(6, 5, 3, 1, dropout=0.4, seed=5)
    x = numbers(40, 6, dtype=torch.float32)
    ones = net._dropped(torch.ones(500, 200), torch.tensor([1, 2]), "a")
    kept = float((ones > 0).float().mean())
    assert abs(kept - 0.6) < 0.008 and ones.unique().tolist() == [0, pytest.approx(1 / 0.6)]
    again = LAGCN(6, 5, 3, 1, dropout=0.4)
    again.load_state_dict(net.state_dict())
    runs = [[n(x, [x], adjacency) for _ in range(2)] for n in (net, again)]
    assert torch.equal(runs[0][0], runs[1][0]) and torch.equal(runs[0][1], runs[1][1]) and not torch.equal(*runs[0])
    net.eval()
    assert torch.equal(net(x, [x], adjacency), net(x, [x], adjacency)) and net.step.tolist() == [5, 2]


# ---- the losses ----


def test_consistency_is_the_published_loss():
    logits = numbers(4, 7, 3)
    p = softmax(logits.numpy(), 2)
    mean = p.mean(0)
    sharp = mean**2 / (mean**2).sum(1, keepdims=True)
    expected = ((p - sharp) ** 2).sum(2).mean()
    assert consistency_loss(logits).item() == pytest.approx(expected, rel=1e-12)
    one = numbers(1, 7, 3).expand(4, -1, -1)
    assert consistency_loss(one, 1.0) < 1e-28  # nothing sharpened, all agree


def test_the_target_has_no_gradient():
    logits = numbers(4, 7, 3).requires_grad_()
    found, = torch.autograd.grad(consistency_loss(logits), logits)
    mean = logits.detach().softmax(2).mean(0)
    sharp = mean**2 / (mean**2).sum(1, keepdim=True)
    expected, = torch.autograd.grad((logits.softmax(2) - sharp).square().sum(2).mean(), logits)
    torch.testing.assert_close(found, expected)


def test_the_whole_loss():
    logits, nodes, labels = numbers(4, 7, 3), torch.tensor([5, 0, 2]), torch.tensor([2, 0, 1])
    log_p = log_softmax(logits.numpy(), 2)
    clean = np.mean([-log_p[s, n, c] for s in range(4) for n, c in zip(nodes, labels, strict=True)])
    assert lagnn_loss(logits, labels, nodes, weight=0.0).item() == pytest.approx(clean, rel=1e-12)
    both = clean + 0.7 * consistency_loss(logits, 0.3).item()
    assert lagnn_loss(logits, labels, nodes, temperature=0.3, weight=0.7).item() == pytest.approx(both, rel=1e-12)


# ---- as torch expects it ----


def test_gradients():
    made, x = numbers(3, 4).requires_grad_(), torch.rand(3, 4, dtype=torch.float64)
    mean, log_variance = numbers(3, 2, seed=1).requires_grad_(), numbers(3, 2, seed=2).requires_grad_()
    for kind in ("bce", "mse"):
        assert torch.autograd.gradcheck(lambda a, m, v, kind=kind: generator_loss(a, x, m, v, kind), (made, mean, log_variance))
    logits = numbers(3, 4, 3).requires_grad_()
    labels, nodes = torch.tensor([0, 2]), torch.tensor([3, 1])
    assert torch.autograd.gradcheck(lambda z: lagnn_loss(z, labels, nodes, weight=0.0), logits)
    assert torch.autograd.gradcheck(lambda z: view_score(z[:, :2], labels), logits)
    _, indptr, indices = graph()
    net = LAGCN(2, 3, 2, 1).double().eval()
    adjacency = normalised(indptr, indices, torch.float64)
    x, views = numbers(12, 2).requires_grad_(), numbers(1, 12, 2, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, v: net(x, v, adjacency), (x, views))
    assert torch.autograd.gradcheck(lambda x: rows_to_one(x.exp()), x)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_whole(backend):
    _, indptr, indices = graph()
    adjacency, x = normalised(indptr, indices), binary()
    torch.manual_seed(0)
    one, other = [(LAGCN(6, 5, 3, 2, seed=1), NeighbourGenerator(6, 8, seed=2)) for _ in range(2)]
    for a, b in zip(one, other, strict=True):
        b.load_state_dict(a.state_dict())
    labels, nodes = torch.tensor([0, 2]), torch.tensor([3, 1])

    def step(net, generator):
        logits = torch.stack([net(rows_to_one(x), generator.generate(x, 2), adjacency) for _ in range(2)])
        return lagnn_loss(logits, labels, nodes) + generator.loss(x[:5], x[5:10])

    compiled = torch.compile(lambda: step(*other), fullgraph=True, backend=backend)
    for _ in range(2):
        torch.testing.assert_close(compiled(), step(*one))
    losses = step(*one), compiled()
    grads = [torch.autograd.grad(loss, [*net.parameters(), *generator.parameters()])
             for loss, (net, generator) in zip(losses, (one, other), strict=True)]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


def test_under_autocast():
    _, indptr, indices = graph()
    net, generator, x = LAGCN(6, 5, 3, 1), NeighbourGenerator(6, 8), binary()
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(rows_to_one(x), generator.generate(x), normalised(indptr, indices))
        loss = lagnn_loss(logits[None], torch.tensor([0]), torch.tensor([1])) + generator.loss(x, x)
        loss.backward()
    assert loss.dtype == torch.float32
    assert all(torch.isfinite(p.grad).all() for p in [*net.parameters(), *generator.parameters()])


# ---- what does not fit ----

ROWS, EDGES = torch.tensor([0, 1, 2]), torch.tensor([1, 0])
TWO, SIX = torch.zeros(2, 6), torch.zeros(3, 6, 4)


def train(**change):
    case = {"features": TWO, "indptr": ROWS, "indices": EDGES} | change
    return train_generator(NeighbourGenerator(6), case.pop("features"), case.pop("indptr"), case.pop("indices"), **case)


@pytest.mark.parametrize("call, error, says", [
    (lambda: train(features=torch.zeros(2, 5)), ShapeError, "features: expected"),
    (lambda: train(features=torch.zeros(3, 6)), ShapeError, "features: expected .* one row for each node"),
    (lambda: train(features=TWO + 2), ArgumentError, "x: expected features from 0 to 1"),
    (lambda: train(indptr=torch.tensor([0, 0, 0]), indices=EDGES[:0]), ArgumentError, "expected edges between nodes, given none"),
    (lambda: train(indices=torch.tensor([0, 1])), ArgumentError, "expected edges between nodes, given none"),
    (lambda: train(indptr=torch.tensor([0, 2, 1])), ArgumentError, "indptr: expected numbers that rise"),
    (lambda: train(indices=torch.tensor([1, 3])), ArgumentError, "indices: expected nodes"),
    (lambda: train(batch_size=0), ArgumentError, "batch_size: expected"),
    (lambda: train(lr=-1.0), ArgumentError, "lr: expected"),
    (lambda: NeighbourGenerator(6, reconstruction="l1"), ArgumentError, "reconstruction: expected one of"),
    (lambda: NeighbourGenerator(0), ArgumentError, "features: expected"),
    (lambda: NeighbourGenerator(6).loss(TWO, torch.zeros(3, 6)), ShapeError, "x: expected"),
    (lambda: NeighbourGenerator(6).loss(torch.zeros(0, 6), torch.zeros(0, 6)), ShapeError, "nothing empty"),
    (lambda: NeighbourGenerator(6).loss(TWO.long(), TWO.long()), DtypeError, "condition: expected floats"),
    (lambda: NeighbourGenerator(6).generate(TWO, -1), ArgumentError, "count: expected"),
    (lambda: generator_loss(TWO, TWO, TWO, torch.zeros(2, 5)), ShapeError, "log_variance: expected"),
    (lambda: generator_loss(TWO, TWO, torch.zeros(3, 6), torch.zeros(3, 6)), ShapeError, "mean: expected"),
    (lambda: rows_to_one(TWO.long()), DtypeError, "features: expected floats"),
    (lambda: view_score(TWO, torch.tensor([0, 1])), ShapeError, "logits: expected"),
    (lambda: view_score(SIX, torch.tensor([0, 1])), ShapeError, "labels: expected"),
    (lambda: LAGCN(6, 5, 3, -1), ArgumentError, "views: expected"),
    (lambda: LAGCN(6, 5, 3, dropout=1.0), ArgumentError, "dropout: expected"),
    (lambda: LAGCN(6, 5, 3)(TWO, [], normalised(ROWS, EDGES)), ShapeError, "views: expected 1 of them, given 0"),
    (lambda: LAGCN(6, 5, 3)(TWO, [torch.zeros(3, 6)], normalised(ROWS, EDGES)), ShapeError, r"views\[0\]: expected"),
    (lambda: LAGCN(6, 5, 3)(TWO, [TWO.double()], normalised(ROWS, EDGES)), DtypeError, r"views\[0\]: expected"),
    (lambda: LAGCN(6, 5, 3)(torch.zeros(3, 6), [TWO], normalised(ROWS, EDGES)), ShapeError, "x: expected .* each node"),
    (lambda: consistency_loss(TWO), ShapeError, "logits: expected"),
    (lambda: consistency_loss(SIX, 0.0), ArgumentError, "temperature: expected"),
    (lambda: lagnn_loss(SIX, torch.tensor([4]), torch.tensor([0])), ArgumentError, "labels: expected class ids from 0 to 3"),
    (lambda: lagnn_loss(SIX, torch.tensor([1]), torch.tensor([6])), ArgumentError, "nodes: expected nodes from 0 to 5"),
    (lambda: lagnn_loss(SIX, torch.tensor([1]), torch.tensor([0, 1])), ShapeError, "labels: expected"),
    (lambda: lagnn_loss(SIX, torch.tensor([1]), torch.tensor([0], device="meta")), DeviceError, "nodes: expected"),
    (lambda: lagnn_loss(SIX, torch.tensor([1]), torch.tensor([1]), weight=-1.0), ArgumentError, "weight: expected"),
])
def test_what_does_not_fit(call, error, says):
    with pytest.raises(error, match=says):
        call()
