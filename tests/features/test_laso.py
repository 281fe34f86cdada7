"""LaSO: laws of label sets, the two kinds of nets layer by layer, the loss term by term, pairs to train with."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.features.laso import (
    LaSO,
    ResidualSetOperation,
    SetFeatures,
    SetOperation,
    difference,
    intersection,
    laso_loss,
    laso_pairs,
    union,
)

A, B = (torch.tensor([*itertools.product((0, 1), repeat=2)])[:, i].repeat(2, 1) for i in range(2))  # all four cases


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.uint8, torch.float32, torch.float64])
def test_labels_are_sets(dtype):
    a, b = A.to(dtype), B.to(dtype)
    of = [{i for i, hot in enumerate(row) if hot} for row in (a[0].tolist(), b[0].tolist())]
    for made, expected in ((union(a, b), of[0] | of[1]), (intersection(a, b), of[0] & of[1]), (difference(a, b), of[0] - of[1])):
        assert made.dtype == dtype and made.shape == a.shape
        assert {i for i, hot in enumerate(made[0].tolist()) if hot} == expected


def test_laws_of_labels():
    rng = torch.Generator().manual_seed(0)
    a, b = (torch.randint(2, (50, 7), generator=rng) for _ in range(2))
    assert torch.equal(union(a, a), a) and torch.equal(intersection(a, a), a) and not difference(a, a).any()
    parts = difference(a, b) + intersection(a, b) + difference(b, a)  # disjoint: no sum is above 1
    assert torch.equal(parts, union(a, b))
    assert torch.equal(union(difference(a, intersection(b, a)), intersection(a, b)), a)  # what the nets rebuild
    assert torch.equal(difference(difference(a, b), b), difference(a, b))
    assert torch.equal(intersection(intersection(a, b), b), intersection(a, b))
    assert torch.equal(union(union(a, b), b), union(a, b))


def test_the_net_of_the_paper():
    torch.manual_seed(0)
    net = SetOperation(6, 5).eval()
    kinds = [type(layer).__name__ for layer in net.layers]
    assert kinds == ["Linear", "BatchNorm1d", "LeakyReLU", "Dropout"] * 2 + ["Linear", "Tanh"]
    a, b = torch.randn(4, 6), torch.randn(4, 6)
    w = [p.detach() for p in net.parameters()]  # weight and bias of: linear, norm, linear, norm, linear

    def hidden(x, i):
        x = (x @ w[i].T + w[i + 1]) / (1 + 1e-5) ** 0.5  # running mean 0 and variance 1
        return torch.where(x > 0, x, 0.2 * x)

    expected = torch.tanh(hidden(hidden(torch.cat([a, b], 1), 0), 4) @ w[8].T + w[9])
    torch.testing.assert_close(net(a, b), expected)
    with torch.device("meta"):
        widths = [[layer.out_features for layer in net.layers if isinstance(layer, nn.Linear)]
                  for net in (LaSO().union, LaSO().intersection, LaSO().difference)]
    assert widths == [[2048, 2048, 2048], [2048, 2048, 2048], [8192, 8192, 2048]]


@pytest.mark.parametrize("operation, plain", [("union", np.add), ("intersection", np.minimum),
                                              ("difference", lambda a, b: np.maximum(a - b, 0))])
def test_the_residual_net(operation, plain):
    torch.manual_seed(0)
    net = ResidualSetOperation(6, operation, layers=2).eval()
    a, b = torch.randn(4, 6), torch.randn(4, 6)
    w = [p.detach().numpy() for p in net.parameters()]

    def normed(x, i):
        return (x @ w[i].T + w[i + 1]) / (1 + 1e-5) ** 0.5

    def leaky(x):
        return np.where(x > 0, x, 0.2 * x)

    x, y = a.numpy(), b.numpy()
    out = leaky(normed(np.concatenate([x, y], 1), 0))
    for i in (4, 8):
        out = leaky(normed(out, i) + plain(x, y))
    np.testing.assert_allclose(net(a, b).detach(), np.maximum(out @ w[12].T + w[13], 0), rtol=1e-4, atol=1e-6)


def test_what_the_nets_are_asked_for():
    """With sets for features and set operations for nets, everything is what its name says."""
    nets = LaSO(5)
    for name, operation in (("union", union), ("intersection", intersection), ("difference", difference)):
        setattr(nets, name, type("Net", (nn.Module,), {"forward": lambda self, a, b, operation=operation: operation(a, b)})())
    a, b = (torch.randint(2, (9, 5), generator=torch.Generator().manual_seed(seed)).float() for seed in (0, 1))
    made = nets(a, b)
    for x, y, i in ((a, b, 0), (b, a, 1)):
        for form in (made.union, made.union_again):
            assert torch.equal(form[i], union(x, y))
        for form in (made.intersection, made.intersection_again):
            assert torch.equal(form[i], intersection(x, y))
        for form in (made.difference, made.difference_again, made.difference_of_intersection, made.difference_of_swapped):
            assert torch.equal(form[i], difference(x, y))
        assert torch.equal(made.rebuilt[i], x)


def random_features(count=5, dim=6, seed=0):
    rng = torch.Generator().manual_seed(seed)
    pairs = [tuple(torch.randn(count, dim, dtype=torch.float64, generator=rng) for _ in range(2)) for _ in SetFeatures._fields]
    a, b = (torch.randn(count, dim, dtype=torch.float64, generator=rng) for _ in range(2))
    labels = [torch.randint(2, (count, 4), generator=rng) for _ in range(2)]
    weight = torch.randn(dim, 4, dtype=torch.float64, generator=rng)
    return SetFeatures(*pairs), a, b, labels, weight


def test_the_loss_term_by_term():
    made, a, b, (ya, yb), weight = random_features()

    def entropy(x, y):
        p = 1 / (1 + np.exp(-(x.numpy() @ weight.numpy())))
        y = np.asarray(y)
        return -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()

    def squared(x, y):
        return ((x.numpy() - y.numpy()) ** 2).mean()

    either, both, only_a, only_b = ya | yb, ya & yb, ya & ~yb, yb & ~ya
    expected = sum(entropy(x, y) for x, y in ((a, ya), (b, yb), (made.rebuilt[0], ya), (made.rebuilt[1], yb)))
    for name, labels in (("union", (either, either)), ("union_again", (either, either)), ("intersection", (both, both)),
                         ("intersection_again", (both, both)), ("difference", (only_a, only_b)),
                         ("difference_again", (only_a, only_b)), ("difference_of_intersection", (only_a, only_b)),
                         ("difference_of_swapped", (only_a, only_b))):
        expected += sum(entropy(x, y) for x, y in zip(getattr(made, name), labels, strict=True))
    expected += squared(made.rebuilt[0], a) + squared(made.rebuilt[1], b) + squared(*made.union) + squared(*made.intersection)
    for form in (made.difference_again, made.difference_of_intersection, made.difference_of_swapped):
        expected += sum(squared(x, y) for x, y in zip(form, made.difference, strict=True))
    for kind in (torch.int64, torch.bool, torch.float32):
        assert laso_loss(made, a, b, ya.to(kind), yb.to(kind), lambda x: x @ weight).item() == pytest.approx(expected)


def test_the_gradient_goes_through_a_classifier_that_stays():
    torch.manual_seed(0)
    nets, classifier = LaSO(6, 5, 7), nn.Linear(6, 4).requires_grad_(False)
    _, a, b, (ya, yb), _ = random_features()
    laso_loss(nets(a.float(), b.float()), a.float(), b.float(), ya, yb, classifier).backward()
    assert classifier.weight.grad is None and all(p.grad.isfinite().all() and p.grad.any() for name, p in nets.named_parameters()
                                                  if not name.endswith(("layers.0.bias", "layers.4.bias")))  # before batch norms


@pytest.mark.parametrize("residual", [False, True])
def test_gradients_compiled_and_under_autocast(residual):
    torch.manual_seed(0)
    nets, classifier = LaSO(6, 5, 7, 0.0, residual=residual).double(), nn.Linear(6, 4).double().requires_grad_(False)
    _, a, b, (ya, yb), _ = random_features()

    def loss(a, b):
        return laso_loss(nets(a, b), a, b, ya, yb, classifier)

    nets.eval()
    torch.autograd.gradcheck(loss, (a.clone().requires_grad_(), b.clone().requires_grad_()))
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(loss, fullgraph=True, backend="aot_eager")(a, b), loss(a, b))
    expected = loss(a, b).float()
    nets.float(), classifier.float()
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(a.float(), b.float())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)


def test_the_loss_itself_has_the_right_gradient():
    made, a, b, (ya, yb), weight = random_features(count=2, dim=3)
    flat = [t.requires_grad_() for pair in made for t in pair]

    def loss(*flat):
        return laso_loss(SetFeatures(*zip(flat[::2], flat[1::2], strict=True)), a, b, ya, yb, lambda x: x @ weight)

    torch.autograd.gradcheck(loss, flat)


def test_pairs_share_a_label_and_labels_are_seen_alike_often():
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.random((400, 8)) < np.linspace(0.5, 0.02, 8))
    pairs = laso_pairs(labels, 300, (0, 1))
    first, second = labels[pairs[:, 0]], labels[pairs[:, 1]]
    assert pairs.shape == (300, 2) and pairs.dtype == torch.int64 and intersection(first, second).any(1).all()
    seen = first.sum(0) + second.sum(0)
    plain = labels[torch.from_numpy(rng.integers(400, size=600))].sum(0)
    assert seen.min() > 3 * plain.min() and seen.min() > 60
    assert torch.equal(pairs, laso_pairs(labels.long(), 300, torch.tensor([0, 1])))
    assert not torch.equal(pairs, laso_pairs(labels, 300, (0, 2)))


def test_pairs_begin_with_what_was_seen_least():
    """In loops, with the first and the second sample of each step known: they are of the labels that had to be."""
    labels = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0]])  # nothing has the last label
    times = np.zeros(4, int)
    for first, second in laso_pairs(labels, 30, (3, 3)).tolist():
        least = min(times[c] for c in range(3))
        assert any(labels[first, c] and times[c] == least for c in range(3))
        times += labels[first].numpy()
        own = [c for c in range(4) if labels[first, c]]
        assert labels[second, min(own, key=lambda c: times[c])]
        times += labels[second].numpy()


MADE, X, Y, (LA, LB), W = random_features()
BAD = {
    "labels that are none": (lambda: union(A + 1, B), ArgumentError),
    "labels of NaN": (lambda: difference(A * torch.nan, B * torch.nan), ArgumentError),
    "labels of other classes": (lambda: intersection(A, B[:, :3]), ShapeError),
    "labels of two dtypes": (lambda: union(A, B.bool()), DtypeError),
    "labels as lists": (lambda: union([1, 0], [0, 1]), ArgumentError),
    "labels of nothing": (lambda: union(A[:0], B[:0]), ShapeError),
    "a batch of one in training": (lambda: LaSO(6, 5, 5)(X[:1].float(), Y[:1].float()), ShapeError),
    "features of another width": (lambda: LaSO(5, 5, 5)(X.float(), Y.float()), ShapeError),
    "features of two batches": (lambda: LaSO(6, 5, 5)(X.float(), Y[:2].float()), ShapeError),
    "features of two dtypes": (lambda: LaSO(6, 5, 5)(X.float(), Y), DtypeError),
    "features elsewhere": (lambda: LaSO(6, 5, 5)(X, Y.to("meta")), DeviceError),
    "no operation": (lambda: ResidualSetOperation(6, "xor"), ArgumentError),
    "no width": (lambda: SetOperation(0), ArgumentError),
    "a dropout above 1": (lambda: LaSO(6, dropout=2), ArgumentError),
    "a tuple as what was made": (lambda: laso_loss(tuple(MADE), X, Y, LA, LB, lambda x: x @ W), ArgumentError),
    "made of other samples": (lambda: laso_loss(MADE, X[:2], Y[:2], LA[:2], LB[:2], lambda x: x @ W), ShapeError),
    "labels of other samples": (lambda: laso_loss(MADE, X, Y, LA[:2], LB[:2], lambda x: x @ W), ShapeError),
    "a classifier of other classes": (lambda: laso_loss(MADE, X, Y, LA, LB, lambda x: x), ShapeError),
    "pairs of samples without labels": (lambda: laso_pairs(torch.zeros(4, 3), 2, (0, 0)), ArgumentError),
    "no pairs": (lambda: laso_pairs(LA, 0, (0, 0)), ArgumentError),
    "pairs of one sample's labels": (lambda: laso_pairs(LA[0], 3, (0, 0)), ShapeError),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    call, error = BAD[name]
    with pytest.raises(error, match="expected"):
        call()


def test_nan_is_not_hidden():
    made = MADE._replace(union=(MADE.union[0] * torch.nan, MADE.union[1]))
    assert laso_loss(made, X, Y, LA, LB, lambda x: x @ W).isnan()

