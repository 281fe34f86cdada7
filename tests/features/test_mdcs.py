"""MDCS: the adjusted heads, which samples count as confident, the loss in loops as published."""

import numpy as np
import pytest
import torch
from torch import nn

from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.features.mdcs import MDCS, confident, mdcs_adjustment, mdcs_loss, mdcs_weight

COUNTS = (500, 80, 20, 3)
LABELS = torch.tensor([0, 1, 2, 3, 0, 1, 0, 2])


def views(heads=3, scale=2.0, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(torch.from_numpy(scale * rng.normal(size=(heads, len(LABELS), len(COUNTS)))) for _ in range(2))


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def in_loops(first, second, labels, counts, exponents, weight):
    total = 0.0
    for weak, strong, e in zip(first.numpy(), second.numpy(), exponents, strict=True):
        add = np.log(np.array(counts, np.float64) ** e + 1e-9)
        teachers, students = ([softmax(row + add) for row in view] for view in (weak, strong))
        entropy = np.mean([-np.log(p[y]) for view in (teachers, students) for p, y in zip(view, labels, strict=True)])
        right = [(t, s) for t, s, y in zip(teachers, students, labels, strict=True) if t.argmax() == y]
        apart = [(t * (np.log(t) - np.log(s))).sum() for t, s in right]
        total += entropy + weight * (np.mean(apart) if apart else 0.0)
    return total


def test_the_loss_in_loops():
    first, second = views()
    for weight in (0.0, 0.6, torch.tensor(0.6, dtype=torch.float64)):
        expected = in_loops(first, second, LABELS.tolist(), COUNTS, (-0.5, 1.0, 2.5), float(weight))
        assert mdcs_loss(first, second, LABELS, mdcs_adjustment(COUNTS), weight).item() == pytest.approx(expected)


def test_the_adjustment():
    expected = [[e * np.log(n) for n in COUNTS] for e in (-0.5, 1, 2.5)]
    np.testing.assert_allclose(mdcs_adjustment(COUNTS), expected, atol=1e-7)
    assert mdcs_adjustment([10**6], [-3.0]).item() == pytest.approx(np.log(1e-18 + 1e-9))
    assert mdcs_adjustment(torch.tensor([10**6]), [2.5]).item() == pytest.approx(15 * np.log(10))


def test_confident_means_right():
    z = torch.tensor([[3.0, 0, 0], [0.1, 0.2, 0], [0, 5, 9], [1, 1, 1]])
    assert confident(z, torch.tensor([0, 1, 1, 0])).tolist() == [True, True, False, True]  # however close it was
    assert confident(torch.stack([z, -z]), torch.tensor([0, 1, 1, 0])).tolist() == [[True, True, False, True],
                                                                                    [False, False, False, True]]


def test_only_confident_samples_teach_and_only_the_second_view_learns():
    first, second = (t.requires_grad_() for t in views(seed=1))
    adjustment = mdcs_adjustment(COUNTS)
    difference = mdcs_loss(first, second, LABELS, adjustment, 1.0) - mdcs_loss(first, second, LABELS, adjustment, 0.0)
    teacher, student = torch.autograd.grad(difference, [first, second])
    assert not teacher.any()
    right = (first + adjustment[:, None]).argmax(2) == LABELS
    assert right.any() and not right.all()
    assert torch.equal(student.abs().sum(2) > 1e-9, right)


def test_a_head_that_is_right_of_nothing_does_not_teach():
    first, second = views(heads=1, seed=2)
    wrong = first - 100 * torch.nn.functional.one_hot(LABELS, 4)
    zero = torch.zeros(1, 4, dtype=torch.float64)
    loss = mdcs_loss(wrong, second, LABELS, zero, 1.0)
    assert loss.isfinite() and loss == mdcs_loss(wrong, second, LABELS, zero, 0.0)


def test_the_weight():
    assert [mdcs_weight(epoch) for epoch in (0, 5, 20, 200)] == pytest.approx([0, 0.15, 0.6, 0.6])


def test_the_module():
    first, second = (view.float() for view in views())
    loss = MDCS(COUNTS)
    expected = in_loops(first.double(), second.double(), LABELS.tolist(), COUNTS, (-0.5, 1.0, 2.5), 0.15)
    assert loss(first, second, LABELS, epoch=5).item() == pytest.approx(expected, rel=1e-5)
    assert torch.equal(loss(list(first), [*second], LABELS, epoch=5), loss(first, second, LABELS, epoch=5))
    assert [*loss.state_dict()] == ["adjustment"] and isinstance(loss, nn.Module)


def test_gradients_compiled_and_under_autocast():
    first, second = views(seed=3)
    adjustment = mdcs_adjustment(COUNTS)
    torch.autograd.gradcheck(lambda b: mdcs_loss(first, b, LABELS, adjustment), (second.clone().requires_grad_(),))
    torch._dynamo.reset()
    compiled = torch.compile(mdcs_loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(first, second, LABELS, adjustment), mdcs_loss(first, second, LABELS, adjustment))
    with torch.autocast("cpu", torch.bfloat16):
        found = mdcs_loss(first.bfloat16(), second.bfloat16(), LABELS, adjustment)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, mdcs_loss(first.bfloat16().float(), second.bfloat16().float(), LABELS, adjustment))


FIRST, SECOND = (view.float() for view in views())
ADDED = mdcs_adjustment(COUNTS)
BAD = {
    "one head as two axes": (lambda: mdcs_loss(FIRST[0], SECOND[0], LABELS, ADDED), ShapeError),
    "views of other samples": (lambda: mdcs_loss(FIRST, SECOND[:, :3], LABELS, ADDED), ShapeError),
    "whole numbers": (lambda: mdcs_loss(FIRST.long(), SECOND, LABELS, ADDED), DtypeError),
    "empty": (lambda: mdcs_loss(FIRST[:, :0], SECOND[:, :0], LABELS[:0], ADDED), ShapeError),
    "counts of other classes": (lambda: MDCS(COUNTS[:3])(FIRST, SECOND, LABELS, 0), ShapeError),
    "counts of other heads": (lambda: MDCS(COUNTS, (1.0, 2.0))(FIRST, SECOND, LABELS, 0), ShapeError),
    "an adjustment of whole numbers": (lambda: mdcs_loss(FIRST, SECOND, LABELS, ADDED.long()), DtypeError),
    "an adjustment elsewhere": (lambda: mdcs_loss(FIRST, SECOND, LABELS, ADDED.to("meta")), DeviceError),
    "a class that is none": (lambda: mdcs_loss(FIRST, SECOND, LABELS + 1, ADDED), ArgumentError),
    "classes of other samples": (lambda: confident(FIRST, LABELS[:3]), ShapeError),
    "a class without samples": (lambda: MDCS((5, 0, 3)), ArgumentError),
    "no classes": (lambda: MDCS(()), ArgumentError),
    "no heads": (lambda: MDCS(COUNTS, ()), ArgumentError),
    "a negative weight": (lambda: mdcs_loss(FIRST, SECOND, LABELS, ADDED, -0.1), ArgumentError),
    "a negative epoch": (lambda: mdcs_weight(-1), ArgumentError),
    "no warm-up": (lambda: MDCS(COUNTS, warmup=0), ArgumentError),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    call, error = BAD[name]
    with pytest.raises(error, match="expected"):
        call()
