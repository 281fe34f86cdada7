"""Decoupled mixup: the published numbers, the formula in loops, and what its gradient leaves alone."""

import numpy as np
import pytest
import torch

from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.features.decoupled import decoupled_mixup, decoupled_mixup_bce

Z = torch.tensor([[2.0, 1.0, 0.0, -1.0]], dtype=torch.float64)
A, B = torch.tensor([0]), torch.tensor([1])


def log_softmax(z):
    return z - np.log(np.exp(z).sum())


def in_loops(z, a, b, lam, eta, power):
    losses = []
    for row, i, j, share in zip(z, a, b, lam, strict=True):
        loss = -(share * log_softmax(row)[i] + (1 - share) * log_softmax(row)[j])
        if i != j:
            def alone(of, out, row=row):
                kept = [c for c in range(len(row)) if c != out]
                return -log_softmax(row[kept])[kept.index(of)]

            loss += eta * (share**power * alone(i, j) + (1 - share) ** power * alone(j, i))
        losses.append(loss)
    return np.mean(losses)


def batch(classes=5, count=6, seed=0):
    rng = np.random.default_rng(seed)
    z, lam = rng.normal(size=(count, classes)), rng.uniform(size=count)
    a, b = rng.integers(classes, size=(2, count))
    b[0], lam[1] = a[0], 1.0
    return tuple(map(torch.from_numpy, (z, a, b, lam)))


def test_the_cards_numbers():
    assert decoupled_mixup(Z, A, B, 0.7, eta=0).item() == pytest.approx(0.740190, abs=5e-7)
    assert decoupled_mixup(Z, A, B, 0.7).item() == pytest.approx(0.797935, abs=5e-7)
    assert decoupled_mixup(Z, A, B, 0.7, power=1).item() == pytest.approx(0.764307, abs=5e-7)
    alone = decoupled_mixup(Z, A, B, 1.0, eta=1, power=1) - decoupled_mixup(Z, A, B, 1.0, eta=0)
    assert alone.item() == pytest.approx(0.169846, abs=5e-7)  # D_a
    alone = decoupled_mixup(Z, A, B, 0.0, eta=1, power=1) - decoupled_mixup(Z, A, B, 0.0, eta=0)
    assert alone.item() == pytest.approx(0.407606, abs=5e-7)  # D_b


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_the_formula_in_loops(power):
    z, a, b, lam = batch()
    expected = in_loops(*(t.numpy() for t in (z, a, b, lam)), 0.3, power)
    assert decoupled_mixup(z, a, b, lam, 0.3, power).item() == pytest.approx(expected)
    one = in_loops(*(t.numpy() for t in (z, a, b, torch.full_like(lam, 0.4))), 0.3, power)
    for share in (0.4, torch.tensor(0.4, dtype=torch.float64)):
        assert decoupled_mixup(z, a, b, share, 0.3, power).item() == pytest.approx(one)


def test_neither_class_pushes_the_other_one_down():
    z = Z.clone().requires_grad_()
    first = decoupled_mixup(z, A, B, 1.0, eta=1, power=1) - torch.nn.functional.cross_entropy(z, A)  # D_a
    (grad,) = torch.autograd.grad(first, z)
    assert grad[0, 1].abs() < 1e-15 and grad[0, 0] < -0.1 and (grad[0, 2:] > 0.01).all()


def test_a_pair_of_one_class_is_cross_entropy():
    z, a, _, lam = batch()
    torch.testing.assert_close(decoupled_mixup(z, a, a, lam), torch.nn.functional.cross_entropy(z, a))
    two = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)  # without the other of two classes nothing is left to tell
    a, b = torch.tensor([0, 1, 0, 1]), torch.tensor([0, 1, 1, 0])
    torch.testing.assert_close(decoupled_mixup(two, a, b, 0.3), decoupled_mixup(two, a, b, 0.3, eta=0))
    assert torch.autograd.grad(decoupled_mixup(two, a, a, 0.3), two)[0].isfinite().all()


@pytest.mark.parametrize("threshold, power", [(1.0, 1.0), (0.8, 1.0), (0.5, 0.5), (1.0, 0.0)])
def test_the_form_of_binary_cross_entropy(threshold, power):
    z, a, b, lam = batch(seed=1)
    losses = []
    for row, i, j, share in zip(z.numpy(), a.tolist(), b.tolist(), lam.tolist(), strict=True):
        y = np.zeros(len(row))
        y[j] = min(1, ((1 - share) / threshold) ** power)
        y[i] = 1 if i == j else min(1, (share / threshold) ** power)
        p = 1 / (1 + np.exp(-row))
        losses.append(-(y * np.log(p) + (1 - y) * np.log(1 - p)).sum())
    assert decoupled_mixup_bce(z, a, b, lam, threshold, power).item() == pytest.approx(np.mean(losses))


def test_gradients():
    z, a, b, lam = batch()
    z, share = z.requires_grad_(), lam.clamp(0.15, 0.8).requires_grad_()
    torch.autograd.gradcheck(lambda z, s: decoupled_mixup(z, a, b, s, 0.3, 0.5), (z, share))
    torch.autograd.gradcheck(lambda z, s: decoupled_mixup_bce(z, a, b, s, 0.9, 2.0), (z, share))


@pytest.mark.parametrize("loss", [decoupled_mixup, decoupled_mixup_bce])
def test_compiled_and_under_autocast(loss):
    z, a, b, lam = batch()
    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(z, a, b, lam), loss(z, a, b, lam))
    torch.testing.assert_close(compiled(z, a, b, 0.3), loss(z, a, b, 0.3))
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(z.bfloat16(), a, b, lam)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, loss(z.bfloat16().float(), a, b, lam))


def test_a_share_of_each_sample_is_its_own():
    """The published code takes all shares from the batch's first row, by class index, and none at 0.5."""
    a, b = torch.tensor([2, 0]), torch.tensor([0, 2])
    z, lam = Z.repeat(2, 1), torch.tensor([0.5, 0.9], dtype=torch.float64)
    each = [decoupled_mixup(Z, a[i:i + 1], b[i:i + 1], lam[i].item(), 1.0, 1.0) for i in range(2)]
    torch.testing.assert_close(decoupled_mixup(z, a, b, lam, 1.0, 1.0), sum(each) / 2)
    assert decoupled_mixup(Z, A, B, 0.5, 1.0) > decoupled_mixup(Z, A, B, 0.5, 0.0)


BAD = {
    "not a tensor": (lambda: decoupled_mixup([[1.0, 2.0]], A, B, 0.5), ArgumentError),
    "integers": (lambda: decoupled_mixup(Z.long(), A, B, 0.5), DtypeError),
    "one class": (lambda: decoupled_mixup(Z[:, :1], A, A, 0.5), ShapeError),
    "empty": (lambda: decoupled_mixup_bce(Z[:0], A[:0], B[:0], 0.5), ShapeError),
    "a class that is none": (lambda: decoupled_mixup(Z, A, B + 3, 0.5), ArgumentError),
    "a class below 0": (lambda: decoupled_mixup_bce(Z, A - 1, B, 0.5), ArgumentError),
    "classes of another batch": (lambda: decoupled_mixup(Z, A.repeat(2), B, 0.5), ShapeError),
    "soft targets": (lambda: decoupled_mixup(Z, A.float(), B, 0.5), DtypeError),
    "a share above 1": (lambda: decoupled_mixup(Z, A, B, 1.5), ArgumentError),
    "a share of NaN": (lambda: decoupled_mixup(Z, A, B, torch.tensor([torch.nan])), ArgumentError),
    "shares of another batch": (lambda: decoupled_mixup(Z, A, B, torch.rand(2)), ShapeError),
    "shares of whole numbers": (lambda: decoupled_mixup(Z, A, B, torch.tensor([1])), DtypeError),
    "shares elsewhere": (lambda: decoupled_mixup(Z, A, B, torch.rand(1, device="meta")), DeviceError),
    "a negative eta": (lambda: decoupled_mixup(Z, A, B, 0.5, eta=-0.1), ArgumentError),
    "a negative power": (lambda: decoupled_mixup_bce(Z, A, B, 0.5, power=-1), ArgumentError),
    "a threshold of 0": (lambda: decoupled_mixup_bce(Z, A, B, 0.5, threshold=0), ArgumentError),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    call, error = BAD[name]
    with pytest.raises(error, match="expected"):
        call()
