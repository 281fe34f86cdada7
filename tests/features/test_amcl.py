"""AMCL's losses: numbers by hand, and loops over heads, anchors and negatives."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from anamorph.core.errors import ArgumentError, DtypeError, ShapeError
from anamorph.features.amcl import (
    AdaptiveTemperature,
    MultiHeadContrastive,
    MultiHeadProjector,
    multi_head_contrastive,
    multi_head_siamese,
    temperature_penalty,
)


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def at_cosines(*cosines, dim=2):
    """An anchor [1, 1, dim], a positive and negatives [1, K, dim] at these cosines."""
    made = [torch.tensor([[[s, math.sqrt(1 - s * s), *[0.0] * (dim - 2)]]], dtype=torch.float64) for s in (1.0, *cosines)]
    return made[0], made[1], torch.cat(made[2:], 1)


def net(dim=5, limits=(0.05, 2.0)):
    torch.manual_seed(0)
    made = AdaptiveTemperature(dim, 7, limits).double()
    torch.nn.init.normal_(made.out.weight, std=2.0)  # so that pairs differ
    return made


def two(first, second):
    """Temperatures .2 of pairs of cosine .8, .5 of others."""
    return torch.where(((first * second).sum(-1) - 0.8).abs() < 1e-9, 0.2, 0.5).double()


def told(module, a, b):
    """An adaptive temperature, in NumPy."""
    x = np.concatenate([a, b])
    hidden = np.maximum(module.joint.weight.detach().numpy() @ x + module.joint.bias.detach().numpy(), 0)
    out = (module.out.weight.detach().numpy() @ hidden + module.out.bias.detach().numpy())[0]
    low, high = module.limits
    return low + (high - low) / (1 + math.exp(-out))


def penalty(t, d):
    return d / 2 * math.log(t) + 1 / t


def by_hand(first, second, module, negatives, mode, beta, include, exclude=None):
    """The sum over heads and the mean over anchors, by loops."""
    total = 0.0
    for c in range(len(first)):
        a, b = ((x / np.linalg.norm(x, axis=1, keepdims=True)) for x in (first[c].detach().numpy(), second[c].detach().numpy()))
        dim, count = a.shape[1], len(a)
        if negatives is None:
            anchors = [(a[i], b[i], [v[j] for v in (a, b) for j in range(count) if j != i]) for i in range(count)]
            anchors += [(b[i], a[i], anchors[i][2]) for i in range(count)]
        else:
            n = negatives[c].numpy()
            n = n / np.linalg.norm(n, axis=1, keepdims=True)
            anchors = [(a[i], b[i], [n[j] for j in range(len(n)) if exclude is None or not exclude[i, j]]) for i in range(count)]
        for x, p, others in anchors:
            t = told(module, x, p)
            loss = -x @ p / t + beta * penalty(t, dim)
            others = [*others, p] if include else others
            if mode == "max":
                nearest = max(others, key=lambda o: x @ o)
                t = told(module, x, nearest)
                loss += x @ nearest / t - beta * penalty(t, dim)
            else:
                each = [(x @ o, told(module, x, o)) for o in others]
                loss += math.log(sum(math.exp(s / t - beta * penalty(t, dim)) for s, t in each))
            total += loss / len(anchors)
    return total


def test_one_temperature_with_numbers():
    """(max s_n - s_p) / T, whatever beta is."""
    for beta in (0.0, 0.1, 1.0):
        assert multi_head_contrastive(*case_of(0.8, 0.3), beta=beta).item() == pytest.approx(-5)
        of_three = multi_head_contrastive(*case_of(0.8, 0.3, 0.1, -0.2), mode="sum", beta=beta)
        assert of_three.item() == pytest.approx(-4.867155, abs=5e-7)


def case_of(*cosines, temperature=0.1, dim=2):
    """The same as arguments of the loss."""
    anchor, positive, negatives = at_cosines(*cosines, dim=dim)
    return anchor, positive, temperature, negatives


def test_two_temperatures_with_numbers():
    assert multi_head_contrastive(*case_of(0.8, 0.3, temperature=two, dim=128)).item() == pytest.approx(-8.964261, abs=5e-7)
    both = multi_head_contrastive(*case_of(0.8, 0.3, temperature=two, dim=128), mode="sum")
    assert both.item() == pytest.approx(-8.964261, abs=5e-7), "of one negative the modes are the same"


def test_the_penalty_is_least_at_2_over_d():
    for d, least in ((128, -202.168517), (5, None)):
        t = torch.linspace(0.2, 5, 9601, dtype=torch.float64) * 2 / d
        values = temperature_penalty(t, d)
        assert abs(t[values.argmin()].item() - 2 / d) < 1e-3 * 2 / d
        assert least is None or values.min().item() == pytest.approx(least, abs=5e-7)


def test_a_temperature_within_its_limits():
    module = net(limits=(0.05, 2.0))
    a, b = rows(6, 5), rows(4, 5, seed=1)
    every = module(a[:, None], b[None])
    assert every.shape == (6, 4) and (every > 0.05).all() and (every < 2).all()
    for i in range(6):
        for j in range(4):
            assert every[i, j].item() == pytest.approx(told(module, a[i].numpy(), b[j].numpy()), rel=1e-12)
    far = module(1e3 * a, 1e3 * a)
    assert far.min() >= 0.05 and far.max() <= 2
    published = AdaptiveTemperature()
    assert sum(p.numel() for p in published.parameters()) == 256 * 128 + 128 + 128 + 1


@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize("mode", ["max", "sum"])
@pytest.mark.parametrize("kind", ["SimCLR", "MoCo", "MoCo, some excluded"])
def test_losses_are_those_of_the_loops(kind, mode, include):
    first, second, module = rows(3, 4, 5), rows(3, 4, 5, seed=1), net()
    negatives = None if kind == "SimCLR" else rows(3, 6, 5, seed=2)
    exclude = torch.eye(6, dtype=torch.bool)[:4] if "excluded" in kind else None
    found = multi_head_contrastive(first, second, module, negatives, mode=mode, beta=0.3, include_positive=include,
                                   exclude=exclude)
    assert found.item() == pytest.approx(by_hand(first, second, module, negatives, mode, 0.3, include, exclude), rel=1e-9)


def test_infonce_counts_the_positive():
    """So the loss of one temperature is never below 0; in mode "sum" it is the cross-entropy."""
    loss = lambda mode: multi_head_contrastive(*case_of(0.8, 0.3, 0.1), mode=mode, include_positive=True).item()  # noqa: E731
    assert loss("max") == pytest.approx(0)
    assert loss("sum") == pytest.approx(F.cross_entropy(torch.tensor([[8.0, 3, 1]]).double(), torch.tensor([0])).item())


def test_without_limits_the_loss_has_no_bound():
    """O does not hold T: as T goes to 0 the positive's part goes to -inf where s > beta."""
    losses = [multi_head_contrastive(*case_of(0.8, 0.3, temperature=lambda a, b, t=t: torch.where((a * b).sum(-1) > 0.7, t, 0.5)))
              for t in (1e-1, 1e-2, 1e-3, 1e-4)]
    assert all(later < earlier for earlier, later in pairwise(losses)) and losses[-1] < -1000


def test_gradients_reach_temperatures_and_through_them_the_features():
    first, second, negatives = (rows(2, n, 5, seed=i) for i, n in enumerate((3, 3, 6)))
    module = net()
    first.requires_grad_(), second.requires_grad_()
    for mode in ("max", "sum"):
        assert torch.autograd.gradcheck(lambda a, b: multi_head_contrastive(a, b, module, mode=mode), (first, second))  # noqa: B023
        assert torch.autograd.gradcheck(lambda a: multi_head_contrastive(a, second, module, negatives, mode=mode), first)  # noqa: B023
    multi_head_contrastive(first, second, module, negatives.requires_grad_(), mode="sum").backward()
    assert second.grad is None and negatives.grad is None and first.grad.abs().min() > 0
    assert all(p.grad.abs().max() > 0 for p in module.parameters())
    attached, = torch.autograd.grad(multi_head_contrastive(first, second, module), first)
    detached, = torch.autograd.grad(multi_head_contrastive(first, second, lambda a, b: module(a, b).detach()), first)
    assert not torch.allclose(attached, detached)


def test_simsiam_both_ways():
    p1, p2, z1, z2 = (rows(3, 4, 5, seed=i).requires_grad_() for i in range(4))
    module, expected = net(), 0.0
    loss = multi_head_siamese(p1, p2, z1, z2, module, beta=0.3)
    for c in range(3):
        for i in range(4):
            for p, z in ((p1, z2), (p2, z1)):
                a, b = (t[c, i].detach().numpy() / t[c, i].detach().norm().item() for t in (p, z))
                t = told(module, a, b)
                expected += (-a @ b / (2 * t) + 0.3 * penalty(t, 5)) / 4
    assert loss.item() == pytest.approx(expected, rel=1e-9)
    loss.backward()
    assert z1.grad is None and z2.grad is None and all(p.grad.abs().max() > 0 for p in (p1, p2, *module.parameters()))
    assert torch.autograd.gradcheck(lambda a, b: multi_head_siamese(a, b, z1, z2, module), (p1, p2))
    constant = multi_head_siamese(p1, p2, z1, z2, 0.5, beta=0)
    cosines = F.cosine_similarity(p1, z2, dim=2) + F.cosine_similarity(p2, z1, dim=2)
    assert constant.item() == pytest.approx(-cosines.sum(0).mean().item())


def test_heads():
    torch.manual_seed(0)
    heads = MultiHeadProjector(6, 9, 4, heads=2)
    x = torch.randn(3, 6)
    assert heads(x).shape == (2, 3, 4)
    torch.testing.assert_close(heads(x)[1], heads.heads[1](x))
    published = MultiHeadProjector()
    assert sum(p.numel() for p in published.parameters()) == 3 * (512 * 512 + 512 + 512 * 128 + 128)


@pytest.mark.parametrize("mode", ["max", "sum"])
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_whole(backend, mode):
    torch.manual_seed(0)
    module = MultiHeadContrastive(5, 7, mode=mode).double()
    negatives, found = rows(2, 6, 5, seed=2), []
    exclude = torch.eye(6, dtype=torch.bool)[:3]
    for call in (module, torch.compile(module, fullgraph=True, backend=backend)):
        first, second = rows(2, 3, 5).requires_grad_(), rows(2, 3, 5, seed=1).requires_grad_()
        loss = call(first, second) + call(first, second, negatives, exclude)
        found.append(torch.autograd.grad(loss, [first, second, *module.parameters()]))
    torch.testing.assert_close(found[1], found[0])


def test_autocast_and_halves():
    module, first, second = net().float(), rows(2, 3, 5).float(), rows(2, 3, 5, seed=1).float()
    expected = multi_head_contrastive(first, second, module), multi_head_siamese(first, second, second, first, module)
    with torch.autocast("cpu", torch.bfloat16):
        found = multi_head_contrastive(first, second, module), multi_head_siamese(first, second, second, first, module)
        halves = multi_head_contrastive(first.bfloat16(), second.half(), module)
    assert found == expected and halves.dtype == torch.float32
    assert halves.item() == multi_head_contrastive(first.bfloat16().float(), second.half().float(), module).item()


Z, NEGATIVES = rows(2, 4, 5), rows(2, 6, 5)


def loss(first=Z, second=Z, temperature=0.1, *rest, **options):
    return multi_head_contrastive(first, second, temperature, *rest, **options)


def every(*shape):
    return torch.ones(*shape, dtype=torch.bool)


BAD = {
    "one head's embeddings": (lambda: loss(Z[0], Z[0]), ShapeError, r"first: expected \[C, B, D\]"),
    "a batch of one": (lambda: loss(Z[:, :1], Z[:, :1]), ShapeError, "at least two pictures"),
    "no batch": (lambda: loss(Z[:, :0], Z[:, :0]), ShapeError, "first.*nothing empty"),
    "views of two sizes": (lambda: loss(Z, Z[:, :2]), ShapeError, r"second: expected \[2, 4, 5\]"),
    "negatives of other heads": (lambda: loss(negatives=NEGATIVES[:1]), ShapeError, r"negatives: expected \[2, K, 5\]"),
    "no negatives": (lambda: loss(negatives=NEGATIVES[:, :0]), ShapeError, "negatives.*nothing empty"),
    "an anchor without": (lambda: loss(negatives=NEGATIVES, exclude=every(1, 6)), ArgumentError, "an anchor without"),
    "exclude in SimCLR": (lambda: loss(exclude=every(4, 4)), ArgumentError, "exclude: expected none"),
    "exclude of others": (lambda: loss(negatives=NEGATIVES, exclude=every(4, 5)), ShapeError, r"exclude: expected \[4, 6\]"),
    "mode": (lambda: loss(mode="min"), ArgumentError, "mode.*'sum', given 'min'"),
    "beta": (lambda: loss(beta=-1), ArgumentError, "beta.*given -1"),
    "temperature 0": (lambda: loss(temperature=0), ArgumentError, "temperature.*given 0"),
    "temperature of words": (lambda: multi_head_siamese(Z, Z, Z, Z, "low"), ArgumentError, "temperature.*given 'low'"),
    "precisions": (lambda: loss(negatives=NEGATIVES.float()), DtypeError, "negatives: expected torch.float64"),
    "limits turned round": (lambda: AdaptiveTemperature(5, limits=(2, 0.1)), ArgumentError, "limits: expected low <= high"),
    "a limit of 0": (lambda: MultiHeadContrastive(5, limits=(0, 2)), ArgumentError, "limits"),
    "another width": (lambda: net()(rows(2, 4), rows(2, 4)), ShapeError, r"first: expected \[..., 5\]"),
    "no heads": (lambda: MultiHeadProjector(heads=0), ArgumentError, "heads.*given 0"),
    "targets of others": (lambda: multi_head_siamese(Z, Z, Z, Z[:1], 0.1), ShapeError, "second_target: expected"),
    "predictions of others": (lambda: multi_head_siamese(Z, Z[:, :2], Z[:, :2], Z, 0.1), ShapeError, "second_prediction: exp"),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes(case):
    call, error, text = BAD[case]
    with pytest.raises(error, match=text):
        call()
