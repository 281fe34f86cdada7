"""Gradient reversal: what goes forward and what comes back; DANN's schedules by their numbers; the loss of domains."""

import numpy as np
import pytest
import torch
from torch import nn

from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.features.reversal import GradientReversal, dann_learning_rate, dann_weight, domain_loss, gradient_reversal


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_forward_is_the_identity_and_backward_turns_round(dtype):
    x = torch.randn(3, 4, dtype=dtype, requires_grad=True)
    out, above = gradient_reversal(x, 0.25), torch.randn(3, 4, dtype=dtype)
    assert torch.equal(out, x) and out.data_ptr() == x.data_ptr() and out.dtype == dtype
    (grad,) = torch.autograd.grad(out, x, above)
    assert torch.equal(grad, -0.25 * above)


def test_twice_with_weight_one_is_the_identity():
    x, above = torch.randn(5, dtype=torch.float64, requires_grad=True), torch.randn(5, dtype=torch.float64)
    (grad,) = torch.autograd.grad(gradient_reversal(gradient_reversal(x)), x, above)
    assert torch.equal(grad, above)


def test_a_weight_of_none_stops_the_gradient_and_derivatives_of_it_go_on():
    x = torch.randn(5, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(gradient_reversal(x, 0.0).sum(), x)
    assert not grad.any()
    (grad,) = torch.autograd.grad((gradient_reversal(x, 0.5) ** 2).sum(), x, create_graph=True)
    torch.testing.assert_close(grad, -x)
    (second,) = torch.autograd.grad(grad.sum(), x)  # of -0.5 (2 gradient_reversal(x)), turned round again
    torch.testing.assert_close(second, torch.full_like(x, 0.5))
    scaled = torch.randn(5, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda s: gradient_reversal(gradient_reversal(s, 2.0), 0.5) ** 3, (scaled,))


def test_the_module_trains_against_its_head():
    torch.manual_seed(0)
    body, head = nn.Linear(3, 4), nn.Linear(4, 1)
    reversal = GradientReversal(0.3)
    x = torch.randn(6, 3)
    plain = torch.autograd.grad(head(body(x)).sum(), [*body.parameters(), *head.parameters()])
    turned = torch.autograd.grad(head(reversal(body(x))).sum(), [*body.parameters(), *head.parameters()])
    for a, b in zip(plain[:2], turned[:2], strict=True):
        torch.testing.assert_close(b, -0.3 * a)
    for a, b in zip(plain[2:], turned[2:], strict=True):
        assert torch.equal(a, b)
    again = GradientReversal()
    again.load_state_dict(reversal.state_dict())
    assert again.weight == torch.tensor(0.3)


def test_compiled_and_its_weight_changes_without_compiling_anew():
    torch._dynamo.reset()
    reversal, x = GradientReversal(), torch.ones(3, requires_grad=True)
    compiled = torch.compile(lambda x: (reversal(2 * x)).sum(), fullgraph=True, backend="aot_eager")
    for progress in (0.0, 0.1, 0.5, 1.0):
        with torch.compiler.set_stance("default" if not progress else "fail_on_recompile"):
            reversal.weight.fill_(dann_weight(progress))
            (grad,) = torch.autograd.grad(compiled(x), x)
            torch.testing.assert_close(grad, torch.full((3,), -2 * dann_weight(progress)))
    number = torch.compile(lambda x: gradient_reversal(x, 0.5).sum(), fullgraph=True, backend="aot_eager")
    assert torch.autograd.grad(number(x), x)[0].tolist() == [-0.5] * 3


def test_under_autocast():
    layer, x = nn.Linear(3, 2), torch.randn(4, 3)
    with torch.autocast("cpu", torch.bfloat16):
        loss = domain_loss(*layer(gradient_reversal(x)).mean(1).chunk(2))
    assert loss.dtype == torch.float32 and loss.isfinite()


@pytest.mark.parametrize("progress, expected", [(0, 0), (0.1, 0.462117), (0.5, 0.986614), (1, 0.999909)])
def test_the_weight_by_its_numbers(progress, expected):
    assert dann_weight(progress) == pytest.approx(expected, abs=5e-7)
    assert dann_weight(progress, highest=0.3) == pytest.approx(0.3 * expected, abs=5e-7)


@pytest.mark.parametrize("progress, expected", [(0, 0.01), (0.5, 0.002608), (1, 0.001656)])
def test_the_learning_rate_by_its_numbers(progress, expected):
    assert dann_learning_rate(progress) == pytest.approx(expected, abs=5e-7)


def test_the_loss_of_domains():
    source, target = torch.tensor([1.5, -0.5, 0.25], dtype=torch.float64), torch.tensor([2.0], dtype=torch.float64)
    p, q = 1 / (1 + np.exp(-source.numpy())), 1 / (1 + np.exp(-target.numpy()))
    expected = (np.mean(-np.log(1 - p)) + np.mean(-np.log(q))) / 2
    assert domain_loss(source, target).item() == pytest.approx(expected)
    assert domain_loss(source[:, None], target[:, None]).item() == pytest.approx(expected)
    assert domain_loss(torch.zeros(3), torch.zeros(5)).item() == pytest.approx(np.log(2))
    torch.autograd.gradcheck(domain_loss, (source.requires_grad_(), target.requires_grad_()))


X = torch.rand(4)
BAD = {
    "not a tensor": (lambda: gradient_reversal([1.0]), ArgumentError),
    "integers": (lambda: gradient_reversal(torch.arange(3)), DtypeError),
    "empty": (lambda: gradient_reversal(torch.zeros(0, 3)), ShapeError),
    "a weight of NaN": (lambda: gradient_reversal(X, float("nan")), ArgumentError),
    "a weight of words": (lambda: GradientReversal("1"), ArgumentError),
    "a weight of each": (lambda: gradient_reversal(X, torch.ones(4)), ShapeError),
    "a weight of whole numbers": (lambda: gradient_reversal(X, torch.tensor(1)), DtypeError),
    "a weight elsewhere": (lambda: gradient_reversal(X.to("meta"), torch.tensor(1.0)), DeviceError),
    "progress beyond its end": (lambda: dann_weight(1.5), ArgumentError),
    "no progress": (lambda: dann_learning_rate(float("nan")), ArgumentError),
    "two logits": (lambda: domain_loss(torch.rand(4, 2), torch.rand(4, 2)), ShapeError),
    "one domain": (lambda: domain_loss(X, X[:0]), ShapeError),
    "two forms": (lambda: domain_loss(X, X[:, None]), ShapeError),
    "two dtypes": (lambda: domain_loss(X, X.double()), DtypeError),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    call, error = BAD[name]
    with pytest.raises(error, match="expected"):
        call()
