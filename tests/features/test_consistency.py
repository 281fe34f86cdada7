"""UDA and FixMatch: losses in loops, schedules by their numbers."""

import numpy as np
import pytest
import torch

from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.features.consistency import fixmatch_learning_rate, fixmatch_loss, tsa_cross_entropy, tsa_threshold, uda_loss


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def logits(count=40, classes=5, seed=0, scale=3.0):
    rng = np.random.default_rng(seed)
    return tuple(torch.from_numpy(scale * rng.normal(size=(count, classes))) for _ in range(2))


@pytest.mark.parametrize("temperature, threshold", [(0.4, 0.8), (1.0, 0.0), (0.4, 0.95)])
def test_uda_in_loops(temperature, threshold):
    z, view = logits()
    each = []
    for a, b in zip(z.numpy(), view.numpy(), strict=True):
        target = softmax(a / temperature)
        each.append((target * (np.log(target) - np.log(softmax(b)))).sum() if softmax(a).max() > threshold else 0.0)
    assert np.count_nonzero(each) > 0 and (threshold == 0 or 0 in each)
    assert uda_loss(z, view, temperature, threshold).item() == pytest.approx(np.mean(each))


def test_fixmatch_in_loops():
    weak, strong = logits(seed=1)
    each = [-np.log(softmax(b)[a.argmax()]) if softmax(a).max() >= 0.95 else 0.0
            for a, b in zip(weak.numpy(), strong.numpy(), strict=True)]
    assert 0 < np.count_nonzero(each) < len(each)
    assert fixmatch_loss(weak, strong).item() == pytest.approx(np.mean(each))


def test_a_probability_at_the_threshold_counts_in_fixmatch_alone():
    even, view = torch.zeros(2, 2, dtype=torch.float64), torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    assert uda_loss(even, view, threshold=0.5) == 0 < fixmatch_loss(even, view, threshold=0.5)
    assert uda_loss(even, view, threshold=0.499) > 0 == fixmatch_loss(even, view, threshold=0.501)


def test_the_mask_is_of_what_was_not_sharpened():
    z = torch.tensor([[1.0, 0.0]], dtype=torch.float64)  # .731; sharpened by .4, .924
    assert uda_loss(z, -z, threshold=0.8) == 0


def test_the_target_has_no_gradient():
    z, view = (t.requires_grad_() for t in logits())
    for loss in (uda_loss, fixmatch_loss):
        first, second = torch.autograd.grad(loss(z, view, threshold=0.6), [z, view], allow_unused=True)
        assert first is None and second.any()


@pytest.mark.parametrize("schedule, expected", [("linear", (0.1, 0.55, 1)), ("log", (0.1, 0.926124, 0.993936)),
                                                ("exp", (0.106064, 0.173876, 1))])
def test_thresholds_by_their_numbers(schedule, expected):
    assert [tsa_threshold(t, 10, schedule) for t in (0, 0.5, 1)] == pytest.approx(expected, abs=5e-7)
    assert tsa_threshold(0, 4) == 0.25


def test_annealing_in_loops():
    z, labels = logits(seed=2)[0], torch.arange(40) % 5
    for threshold in (0.2, 0.6, 0.9, 1.0):
        p = np.array([softmax(row)[y] for row, y in zip(z.numpy(), labels, strict=True)])
        kept = p <= threshold
        assert kept.sum() > 0 and (threshold == 1 or kept.sum() < 40)
        expected = -np.log(p[kept]).sum() / kept.sum()
        for given in (threshold, torch.tensor(threshold)):
            assert tsa_cross_entropy(z, labels, given).item() == pytest.approx(expected)
    torch.testing.assert_close(tsa_cross_entropy(z, labels, 1.0), torch.nn.functional.cross_entropy(z, labels))


def test_where_all_are_known_nothing_is_left():
    z = torch.tensor([[50.0, 0.0]], requires_grad=True)
    loss = tsa_cross_entropy(z, torch.tensor([0]), 0.5)
    (grad,) = torch.autograd.grad(loss, z)
    assert loss == 0 and not grad.any()


def test_the_learning_rate():
    assert fixmatch_learning_rate(0) == 0.03
    assert fixmatch_learning_rate(0.5, 1.0) == pytest.approx(np.cos(7 * np.pi / 32))
    assert fixmatch_learning_rate(1) == pytest.approx(0.03 * 0.195090, abs=5e-8)  # cos(78.75 degrees)


LOSSES = {"uda": lambda z, view: uda_loss(z, view, threshold=0.6), "fixmatch": lambda z, view: fixmatch_loss(z, view, 0.6),
          "tsa": lambda z, view: tsa_cross_entropy(view, torch.arange(len(view)) % 5, 0.7)}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_compiled_and_under_autocast(name):
    loss = LOSSES[name]
    z, view = logits(count=8, scale=2.0)
    assert loss(z, view) > 0
    torch.autograd.gradcheck(lambda view: loss(z, view), (view.clone().requires_grad_(),))
    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(z, view), loss(z, view))
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(z.bfloat16(), view.bfloat16())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, loss(z.bfloat16().float(), view.bfloat16().float()))


def test_a_threshold_that_changes_compiles_nothing_anew():
    z, labels = logits()[0], torch.arange(40) % 5
    torch._dynamo.reset()
    compiled = torch.compile(tsa_cross_entropy, fullgraph=True, backend="aot_eager")
    for progress in (0.0, 0.3, 0.9):
        with torch.compiler.set_stance("default" if not progress else "fail_on_recompile"):
            threshold = torch.tensor(tsa_threshold(progress, 5), dtype=torch.float64)
            torch.testing.assert_close(compiled(z, labels, threshold), tsa_cross_entropy(z, labels, threshold))


def test_one_sample_is_enough_and_nan_is_seen():
    z, view = logits(count=1)
    broken = torch.full_like(z, torch.nan)
    for loss in LOSSES.values():
        assert loss(z, view).isfinite() and loss(z, broken).isnan()


Z, Y = torch.rand(3, 4), torch.tensor([0, 1, 3])
BAD = {
    "not a tensor": (lambda: uda_loss([[1.0]], Z), ArgumentError),
    "whole numbers": (lambda: fixmatch_loss(Z.long(), Z), DtypeError),
    "empty": (lambda: fixmatch_loss(Z[:0], Z[:0]), ShapeError),
    "views of other samples": (lambda: uda_loss(Z, Z[:2]), ShapeError),
    "views of other classes": (lambda: fixmatch_loss(Z, Z[:, :3]), ShapeError),
    "two dtypes": (lambda: uda_loss(Z, Z.double()), DtypeError),
    "two devices": (lambda: uda_loss(Z, Z.to("meta")), DeviceError),
    "a temperature of 0": (lambda: uda_loss(Z, Z, temperature=0), ArgumentError),
    "a threshold above 1": (lambda: fixmatch_loss(Z, Z, 95), ArgumentError),
    "a class that is none": (lambda: tsa_cross_entropy(Z, Y + 1, 0.5), ArgumentError),
    "classes of other samples": (lambda: tsa_cross_entropy(Z, Y[:2], 0.5), ShapeError),
    "a threshold of NaN": (lambda: tsa_cross_entropy(Z, Y, torch.tensor(torch.nan)), ArgumentError),
    "thresholds": (lambda: tsa_cross_entropy(Z, Y, torch.rand(3)), ShapeError),
    "one class": (lambda: tsa_threshold(0.5, 1), ArgumentError),
    "no schedule": (lambda: tsa_threshold(0.5, 10, "cosine"), ArgumentError),
    "steps for progress": (lambda: tsa_threshold(100, 10), ArgumentError),
    "no progress": (lambda: fixmatch_learning_rate(-0.1), ArgumentError),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    call, error = BAD[name]
    with pytest.raises(error, match="expected"):
        call()
