"""ISDA against its definition in float64, by quadrature and by loops over rows and classes."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from anamorph.core.errors import ArgumentError, DtypeError, ShapeError
from anamorph.features.isda import ISDA, isda, isda_logits

# The card's numbers: strength, closed form = log E[sum exp], E[CE].
QUADRATURE = [(0.0, 0.528229, 0.528229), (0.5, 0.624843, 0.582559), (1.0, 0.741459, 0.634550)]
W, BIAS = np.array([[1.0, 0], [0, 1], [-1, 1]]), np.array([0.1, 0, -0.1])
A, COV = np.array([0.5, -0.2]), np.array([[0.4, 0.1], [0.1, 0.3]])


def by_quadrature(strength, a=A, cov=COV, y=0):
    """log E[sum_j exp(l_j - l_y)] and E[CE] over N(a, strength cov), by Gauss and Hermite in two dimensions."""
    points, weights = np.polynomial.hermite_e.hermegauss(60)
    grid = np.stack(np.meshgrid(points, points), -1).reshape(-1, 2)
    weight = np.outer(weights, weights).ravel() / (2 * math.pi)
    logits = (a + grid @ np.linalg.cholesky(strength * cov + 1e-300 * np.eye(2)).T) @ W.T + BIAS
    sums = np.exp(logits - logits[:, [y]]).sum(1)
    return math.log(weight @ sums), weight @ np.log(sums)


def by_definition(logits, labels, weight, covariance, strength):
    """Row by row and class by class."""
    out = np.array(logits, dtype=np.float64)
    for i, y in enumerate(labels):
        spread = np.diag(covariance[y]) if covariance.ndim == 2 else covariance[y]
        for j in range(out.shape[1]):
            away = weight[j] - weight[y]
            out[i, j] += strength / 2 * away @ spread @ away
    return out


def drawn(rows=12, classes=5, dim=4, diagonal=False, dtype=torch.float64, seed=0):
    """Class 4 has no rows, and a covariance of 0."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes - 1, (rows,), generator=g)
    logits, weight = (torch.randn(*shape, generator=g, dtype=torch.float64) for shape in ((rows, classes), (classes, dim)))
    half = torch.randn(classes, dim, dim, generator=g, dtype=torch.float64)
    covariance = half @ half.mT / dim
    covariance[-1] = 0
    if diagonal:
        covariance = covariance.diagonal(dim1=1, dim2=2).contiguous()
    return logits.to(dtype), labels, weight.to(dtype), covariance.to(dtype)


@pytest.mark.parametrize("strength, closed, expected", QUADRATURE)
def test_the_closed_form_bounds_the_expected_loss(strength, closed, expected):
    logits = torch.from_numpy(A @ W.T + BIAS)[None]
    covariance = torch.from_numpy(np.stack([COV, 9 * COV, 0 * COV]))  # the other classes' do not matter
    found = isda(logits, torch.tensor([0]), torch.from_numpy(W), covariance, strength).item()
    log_mean, mean_log = by_quadrature(strength)
    assert found == pytest.approx(closed, abs=1e-6) and found == pytest.approx(log_mean, abs=1e-12)
    assert mean_log == pytest.approx(expected, abs=1e-6)
    assert found > mean_log if strength else found == pytest.approx(mean_log, abs=1e-12)


def test_it_bounds_the_loss_of_any_gaussian():
    g = np.random.default_rng(0)
    for _ in range(20):
        half, a, y, strength = g.normal(size=(2, 2)), g.normal(size=2), int(g.integers(3)), g.uniform(0.1, 2)
        cov = half @ half.T
        found = isda(torch.from_numpy(a @ W.T + BIAS)[None], torch.tensor([y]), torch.from_numpy(W),
                     torch.from_numpy(np.stack([cov] * 3)), strength).item()
        log_mean, mean_log = by_quadrature(strength, a, cov, y)
        assert found == pytest.approx(log_mean, rel=1e-9) and found > mean_log


@pytest.mark.parametrize("diagonal", [False, True])
def test_as_defined(diagonal):
    logits, labels, weight, covariance = drawn(diagonal=diagonal)
    expected = by_definition(*(t.numpy() for t in (logits, labels, weight, covariance)), 0.7)
    found = isda_logits(logits, labels, weight, covariance, 0.7)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert isda(logits, labels, weight, covariance, 0.7).item() == pytest.approx(
        F.cross_entropy(torch.from_numpy(expected), labels).item(), rel=1e-12)
    assert torch.equal(isda_logits(logits, labels, weight, covariance, torch.tensor(0.7, dtype=torch.float64)), found)


@pytest.mark.parametrize("diagonal", [False, True])
def test_strength_0_is_the_cross_entropy(diagonal):
    logits, labels, weight, covariance = drawn(diagonal=diagonal)
    assert torch.equal(isda(logits, labels, weight, covariance, 0), F.cross_entropy(logits, labels))


@pytest.mark.parametrize("diagonal", [False, True])
def test_an_unseen_class_adds_nothing(diagonal):
    """To the rows that are said to be of it: its covariance is 0."""
    logits, labels, weight, covariance = drawn(diagonal=diagonal)
    labels[::2] = 4
    found = isda_logits(logits, labels, weight, covariance, 2)
    assert torch.equal(found[::2], logits[::2]) and not torch.equal(found[1::2], logits[1::2])
    fresh = ISDA(4, 5, diagonal, lambda0=2, dtype=torch.float64).eval()  # and before anything was seen nothing at all is added
    assert torch.equal(fresh(torch.zeros(12, 4), logits, labels, weight, 1), F.cross_entropy(logits, labels))


def test_full_covariances_that_are_diagonal_are_the_diagonal_form():
    logits, labels, weight, variance = drawn(diagonal=True)
    torch.testing.assert_close(isda_logits(logits, labels, weight, torch.diag_embed(variance), 1.3),
                               isda_logits(logits, labels, weight, variance, 1.3), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("diagonal", [False, True])
def test_gradients(diagonal):
    logits, labels, weight, covariance = drawn(6, 3, 2, diagonal)
    leaves = [t.requires_grad_() for t in (logits, weight, covariance)]
    assert torch.autograd.gradcheck(lambda a, w, s: isda(a, labels, w, s, 0.8), leaves)


@pytest.mark.parametrize("diagonal", [False, True])
def test_the_gradient_reaches_the_last_layer_by_both_ways(diagonal):
    """W through the logits and through the added term, the features and the bias through the logits alone."""
    g = torch.Generator().manual_seed(1)
    _, labels, weight, covariance = drawn(diagonal=diagonal)
    features = torch.randn(12, 4, generator=g, dtype=torch.float64, requires_grad=True)
    bias, weight = torch.zeros(5, dtype=torch.float64, requires_grad=True), weight.requires_grad_()
    logits = features @ weight.T + bias
    p = isda_logits(logits, labels, weight, covariance, 0.6).softmax(1)
    by_features, by_bias, by_weight = torch.autograd.grad(isda(logits, labels, weight, covariance, 0.6), (features, bias, weight))
    error = ((p - F.one_hot(labels, 5)) / 12).detach()
    torch.testing.assert_close(by_features, error @ weight.detach())
    torch.testing.assert_close(by_bias, error.sum(0))
    expected = error.T @ features.detach()
    for i, y in enumerate(labels):
        spread = torch.diag(covariance[y]) if diagonal else covariance[y]
        for j in range(5):
            pull = 0.6 * error[i, j] * spread @ (weight[j] - weight[y]).detach()
            expected[j] += pull
            expected[y] -= pull
    torch.testing.assert_close(by_weight, expected)


@pytest.mark.parametrize("diagonal", [False, True])
def test_the_module_updates_and_then_uses(diagonal):
    g = torch.Generator().manual_seed(2)
    features, labels = torch.randn(40, 4, generator=g, dtype=torch.float64), torch.randint(4, (40,), generator=g)
    logits, _, weight, _ = drawn(40)
    module = ISDA(4, 5, diagonal, lambda0=2.0, dtype=torch.float64)
    seen = 0
    for step, rows in enumerate(torch.arange(40).split([15, 1, 24])):
        seen += len(rows)
        covariance = np.zeros((5, 4) if diagonal else (5, 4, 4))
        for c in range(4):
            of_class = features[:seen][labels[:seen] == c].numpy()
            if len(of_class):
                covariance[c] = of_class.var(0) if diagonal else np.cov(of_class.T, bias=True)
        expected = F.cross_entropy(torch.from_numpy(by_definition(
            logits[rows].numpy(), labels[rows].numpy(), weight.numpy(), covariance, 2.0 * step / 3)), labels[rows])
        found = module(features[rows].requires_grad_(), logits[rows], labels[rows], weight, step / 3)
        assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    np.testing.assert_allclose(module.statistics.covariance(), covariance, rtol=0, atol=1e-14)
    assert not module.statistics.scatter.requires_grad
    assert {*module.state_dict()} == {"statistics.counts", "statistics.mean", "statistics.scatter"}
    before = module.statistics.scatter.clone()
    module.eval()(features, logits, labels, weight, 1)
    assert torch.equal(module.statistics.scatter, before)


def test_the_strength_grows_from_0():
    logits, labels, weight, _ = drawn(40)
    features = torch.randn(40, 4, generator=torch.Generator().manual_seed(3)).double()
    module = ISDA(4, 5)
    losses = [module(features, logits, labels, weight, epoch / 4).item() for epoch in range(4)]
    assert losses[0] == pytest.approx(F.cross_entropy(logits, labels).item()) and losses == sorted(losses)
    assert module.lambda0 == 0.5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_and_halves(dtype):
    """Logits of halves become float32; the products are not made in halves."""
    logits, labels, weight, covariance = drawn(dtype=torch.float32)
    plain = isda(logits.to(dtype), labels, weight, covariance, 0.5)
    with torch.autocast("cpu", torch.bfloat16):
        found = isda(logits.to(dtype), labels, weight, covariance, 0.5)
    assert found.dtype == torch.float32 and torch.equal(found, plain)
    expected = by_definition(logits.to(dtype).double().numpy(), labels.numpy(), weight.double().numpy(),
                             covariance.double().numpy(), 0.5)
    assert plain.item() == pytest.approx(F.cross_entropy(torch.from_numpy(expected), labels).item(), rel=1e-5)


@pytest.mark.parametrize("diagonal", [False, True])
def test_compiled_whole(diagonal):
    """Split into a forward and a backward pass as inductor does."""
    torch.compiler.reset()
    logits, labels, weight, _ = drawn(40)
    features = torch.randn(40, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)

    def grads(module, step, progress):
        leaves = [t.clone().requires_grad_() for t in (logits, weight)]
        return torch.autograd.grad(step(module, features, leaves[0], labels, leaves[1], progress), leaves)

    def step(module, *args):
        return module(*args)

    plain, compiled = (ISDA(4, 5, diagonal, dtype=torch.float64) for _ in range(2))
    whole = torch.compile(step, fullgraph=True, backend="aot_eager_decomp_partition")
    for progress in (0.0, 0.3, 0.6, torch.tensor(0.7), torch.tensor(0.9)):  # a number that changes, and a tensor
        for a, b in zip(grads(plain, step, progress), grads(compiled, whole, progress), strict=True):
            torch.testing.assert_close(a, b)
    torch.testing.assert_close(plain.statistics.scatter, compiled.statistics.scatter)


class Largest(TorchDispatchMode):
    """The largest tensor that is made."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for t in out if isinstance(out, tuple | list) else [out]:
            if isinstance(t, torch.Tensor):
                self.numel = max(self.numel, t.numel())
        return out


@pytest.mark.parametrize("diagonal, most", [(False, 10 * 48 * 48), (True, 500 * 48)])
def test_no_rows_by_classes_by_dimensions(diagonal, most):
    """Forward and backward: never more than the covariances, or the rows themselves."""
    rows, classes, dim = 500, 10, 48
    logits, labels, weight, _ = drawn(rows, classes, dim)
    features, logits, weight = torch.randn(rows, dim, dtype=torch.float64), logits.requires_grad_(), weight.requires_grad_()
    module = ISDA(dim, classes, diagonal, dtype=torch.float64)
    with Largest() as made:
        module(features, logits, labels, weight, 0.5).backward()
    assert 0 < made.numel <= most < rows * classes * dim


LOGITS, LABELS, WEIGHT, COVARIANCE = drawn(dtype=torch.float32)


@pytest.mark.parametrize("change, error, says", [
    ({"logits": LOGITS[0]}, ShapeError, r"logits: expected \[B, C\]"),
    ({"logits": LOGITS[:0]}, ShapeError, r"logits: expected \[B, C\] with nothing empty"),
    ({"logits": LOGITS.long()}, DtypeError, "logits: expected floats"),
    ({"labels": LABELS.float()}, DtypeError, "labels: expected int64"),
    ({"labels": LABELS + 3}, ArgumentError, "labels: expected class ids from 0 to 4"),
    ({"labels": LABELS[1:]}, ShapeError, r"labels: expected class ids \[12\]"),
    ({"weight": WEIGHT[1:]}, ShapeError, r"weight: expected \[5, D\] for logits of 5 classes, given \[4, 4\]"),
    ({"weight": WEIGHT.numpy()}, ArgumentError, "weight: expected a tensor"),
    ({"covariance": COVARIANCE[1:]}, ShapeError, r"covariance: expected \[5, 4, 4\] or \[5, 4\], given \[4, 4, 4\]"),
    ({"covariance": COVARIANCE.long()}, DtypeError, "covariance: expected floats"),
    ({"strength": -1}, ArgumentError, "strength: expected a finite number of at least 0, given -1"),
    ({"strength": math.nan}, ArgumentError, "strength: expected a finite number"),
    ({"strength": torch.ones(2)}, ShapeError, "strength: expected a number or a tensor of one"),
])
def test_bad_input(change, error, says):
    given = {"logits": LOGITS, "labels": LABELS, "weight": WEIGHT, "covariance": COVARIANCE, "strength": 1.0} | change
    with pytest.raises(error, match=says):
        isda(**given)


@pytest.mark.parametrize("call, error, says", [
    (lambda: ISDA(4, 5, lambda0=-1), ArgumentError, "lambda0: expected"),
    (lambda: ISDA(4, 5, diagonal="yes"), ArgumentError, "diagonal: expected True or False"),
    (lambda: ISDA(3, 5)(torch.zeros(12, 4), LOGITS, LABELS, WEIGHT, 0), ShapeError, r"weight: expected \[5, 3\]"),
    (lambda: ISDA(4, 6)(torch.zeros(12, 4), LOGITS, LABELS, torch.zeros(6, 4), 0), ShapeError, r"logits: expected \[B, 6\]"),
    (lambda: ISDA(4, 5)(torch.zeros(12, 3), LOGITS, LABELS, WEIGHT, 0), ShapeError, r"features: expected \[B, 4\]"),
    (lambda: ISDA(4, 5)(torch.zeros(12, 4), LOGITS, LABELS, WEIGHT, 1.1), ArgumentError, "progress: expected a finite"),
    (lambda: ISDA(4, 5)(torch.zeros(11, 4), LOGITS, LABELS, WEIGHT, 0), ShapeError, r"labels: expected class ids \[11\]"),
])
def test_bad_input_of_the_module(call, error, says):
    with pytest.raises(error, match=says):
        call()


def test_bad_input_changes_nothing():
    module = ISDA(4, 5)
    for change in ({"weight": WEIGHT[1:]}, {"progress": 2}, {"labels": LABELS + 3}):
        arguments = {"features": torch.ones(12, 4), "logits": LOGITS, "labels": LABELS, "weight": WEIGHT, "progress": 0} | change
        with pytest.raises((ArgumentError, ShapeError)):
            module(**arguments)
    assert not module.statistics.counts.any()
