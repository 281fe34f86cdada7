"""Style of feature maps: the definitions of the papers written out in torch's float64, and their derivatives."""

import numpy as np
import pytest
import torch

from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.features import draws, style

STEP = (11, 4)
EPS = 1e-6


def maps(*shape, dtype=torch.float64, seed=0, last=False):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    contrast = torch.rand(*shape[:2], *[1] * (len(shape) - 2), generator=torch.Generator().manual_seed(seed + 1)).double()
    x = (x * contrast + 0.5).to(dtype)
    return x.contiguous(memory_format=torch.channels_last) if last else x


def statistics(x):
    flat = x.flatten(2)
    return flat.mean(2), (flat.var(2) + EPS).sqrt()


def spread(t, like):
    return t.reshape(*t.shape, *[1] * (like.dim() - 2))


def written_mix(x, lam, partner):
    mean, deviation = (t.detach() for t in statistics(x))
    lam = lam.double()[:, None]
    new_mean, new_deviation = lam * mean + (1 - lam) * mean[partner], lam * deviation + (1 - lam) * deviation[partner]
    return (x - spread(mean, x)) / spread(deviation, x) * spread(new_deviation, x) + spread(new_mean, x)


def written_dsu(x, e1, e2, more=None):
    mean, deviation = statistics(x)
    new_mean = mean + e1 * (mean.var(0) + EPS).sqrt()
    new_deviation = deviation + e2 * (deviation.var(0) + EPS).sqrt()
    if more:
        new_mean, new_deviation = new_mean + more[0], new_deviation + more[1]
    return spread(new_deviation, x) * (x - spread(mean, x)) / spread(deviation, x) + spread(new_mean, x)


SHAPES = [((4, 6, 5, 7), False), ((4, 6, 5, 7), True), ((3, 33, 9, 11), True), ((2, 3, 70, 71), False), ((5, 2, 2), False),
          ((2, 3, 4, 3, 2), False), ((2, 5, 1, 2), True), ((3, 2, 33, 33), False)]


@pytest.mark.parametrize("shape, last", SHAPES)
@pytest.mark.parametrize("dtype, close", [(torch.float64, 1e-12), (torch.float32, 3e-6), (torch.float16, 8e-3),
                                          (torch.bfloat16, 6e-2)])
def test_as_written(simd, shape, last, dtype, close):
    x = maps(*shape, dtype=dtype, last=last).requires_grad_()
    exact = x.detach().double().requires_grad_()
    grad = maps(*shape, dtype=dtype, seed=5)
    e1, e2 = (draws.normal(STEP, f"dsu.{name}", shape[:2]).double() for name in ("mean", "deviation"))
    lam, partner = draws.beta(STEP, "mixstyle.lam", shape[:1], 0.1, 0.1), draws.permutation(STEP, "mixstyle.partner", shape[0])
    for out, expected in [(style.dsu(x, STEP, p=1), written_dsu(exact, e1, e2)),
                          (style.mixstyle(x, STEP, p=1), written_mix(exact, lam, partner))]:
        assert out.dtype == dtype and out.stride() == x.stride()
        torch.testing.assert_close(out.double(), expected, rtol=close, atol=close)
        back, = torch.autograd.grad(out, x, grad)
        expected_back, = torch.autograd.grad(expected, exact, grad.double())
        scale = float(expected_back.abs().max())
        torch.testing.assert_close(back.double(), expected_back, rtol=4 * close, atol=4 * close * scale)


def test_statistics_far_from_zero(simd):
    """A mean of a thousand deviations costs them few digits."""
    x = (torch.randn(2, 3, 64, 65, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1000).float()
    for given in (x, x.contiguous(memory_format=torch.channels_last)):
        mean, deviation = style.style_statistics(given)
        expected = statistics(x.double())
        torch.testing.assert_close(mean.double(), expected[0], rtol=1e-6, atol=0)
        torch.testing.assert_close(deviation.double(), expected[1], rtol=2e-5, atol=0)


def test_mixstyle_means_and_deviations_are_the_mixed_ones():
    """The card: channel means are mu_mix, unbiased deviations sig_mix sqrt(var / (var + eps))."""
    x = maps(6, 4, 8, 8)
    lam = draws.beta(STEP, "mixstyle.lam", (6,), 0.1, 0.1).double()[:, None]
    partner = draws.permutation(STEP, "mixstyle.partner", 6)
    mean, deviation = statistics(x)
    out = style.mixstyle(x, STEP, p=1).flatten(2)
    torch.testing.assert_close(out.mean(2), lam * mean + (1 - lam) * mean[partner])
    variance, mixed = x.flatten(2).var(2), lam * deviation + (1 - lam) * deviation[partner]
    torch.testing.assert_close(out.std(2), mixed * (variance / (variance + EPS)).sqrt())


def test_mixstyle_gradient_has_held_statistics():
    x = maps(5, 3, 4, 4).requires_grad_()
    out = style.mixstyle(x, STEP, p=1)
    grad = maps(5, 3, 4, 4, seed=9)
    lam = draws.beta(STEP, "mixstyle.lam", (5,), 0.1, 0.1).double()[:, None]
    partner = draws.permutation(STEP, "mixstyle.partner", 5)
    _, deviation = statistics(x.detach())
    factor = (lam * deviation + (1 - lam) * deviation[partner]) / deviation
    torch.testing.assert_close(torch.autograd.grad(out, x, grad)[0], grad * factor[:, :, None, None])


def test_domains_swap_halves():
    """A constant map of a domain takes the deviation and the mean of one of the other."""
    x = maps(8, 2, 6, 6)
    x[4:] += 100
    out = style.mixstyle(x, STEP, p=1, domains=True)
    lam = draws.beta(STEP, "mixstyle.lam", (8,), 0.1, 0.1).double()
    shift = (out.mean((1, 2, 3)) - x.mean((1, 2, 3)))[:4] / 100
    torch.testing.assert_close(shift, 1 - lam[:4], atol=0.05, rtol=0)
    assert float((1 - lam).max()) > 0.9
    with pytest.raises(ShapeError, match="even batch"):
        style.mixstyle(x[:5], STEP, domains=True)


@pytest.mark.parametrize("last", [False, True])
def test_batch_of_one_is_itself(last):
    x = maps(1, 3, 4, 4, last=last)
    assert torch.equal(style.mixstyle(x, STEP, p=1), x) and torch.equal(style.dsu(x, STEP, p=1), x)
    learned = style.AdvStyle(3).double()
    assert torch.isfinite(learned(x)).all()


def test_dsu_without_noise_is_the_identity(monkeypatch):
    x = maps(4, 3, 5, 5)
    monkeypatch.setattr(draws, "normal", lambda step, name, shape, device=None: torch.zeros(shape))
    torch.testing.assert_close(style.dsu(x, STEP, p=1), x)


def test_dsu_means_scatter_as_the_batch_does():
    """The card: the variance of a channel's mean over draws is Sm^2."""
    x = maps(4, 3, 6, 6)
    means = torch.stack([style.dsu(x, (0, step), p=1).flatten(2).mean(2) for step in range(4000)])
    expected = (statistics(x)[0].var(0) + EPS).expand(4, 3)
    torch.testing.assert_close(means.var(0), expected, rtol=0.1, atol=0)


def test_p_is_how_often():
    x = maps(2, 2, 3, 3)
    for function in (style.mixstyle, style.dsu):
        changed = [not torch.equal(function(x, (1, step), 0.3), x) for step in range(1000)]
        assert 0.25 < np.mean(changed) < 0.35
    untouched = x.clone().requires_grad_()
    step = next(s for s in range(100) if torch.equal(style.dsu(x, (1, s), 0.3), x))
    grad = torch.randn_like(x)
    assert torch.equal(torch.autograd.grad(style.dsu(untouched, (1, step), 0.3), untouched, grad)[0], grad)


def test_advstyle_gradient_is_reversed():
    """The card: gradient(a_mu) = -w sum of e dL/dout, of each channel; w = 0 leaves it."""
    x, grad = maps(4, 3, 5, 5), maps(4, 3, 5, 5, seed=3)
    mean, deviation = (torch.full((3,), v, dtype=torch.float64, requires_grad=True) for v in (0.3, 0.1))
    e1, e2 = (draws.normal(STEP, f"advstyle.{name}", (4, 3)).double() for name in ("mean", "deviation"))
    out = style.advstyle(x, mean, deviation, STEP, 10.0, (1, 0))
    own_mean, own_deviation = statistics(x)
    expected = written_dsu(x, 0 * e1, 0 * e2, (e1 * 0.3, e2 * 0.1))
    torch.testing.assert_close(out, expected)
    on_mean, on_deviation = torch.autograd.grad(out, [mean, deviation], grad)
    torch.testing.assert_close(on_mean, -10 * (e1[:, :, None, None] * grad).sum((0, 2, 3)))
    unit = (x - spread(own_mean, x)) / spread(own_deviation, x)
    torch.testing.assert_close(on_deviation, -10 * (e2[:, :, None, None] * unit * grad).sum((0, 2, 3)))
    out = style.advstyle(x, mean, deviation, STEP, 0.0, (1, 0))
    assert torch.autograd.grad(out, mean, grad)[0].abs().max() == 0


def test_advstyle_is_one_of_three():
    x = maps(3, 2, 4, 4)
    learned = style.AdvStyle(2).double()
    learned(x)
    widths = (statistics(x)[0].var(0) + EPS).sqrt()
    torch.testing.assert_close(learned.adversarial_mean.detach(), widths)
    kinds = {"same": 0, "dsu": 0, "adversarial": 0}
    for _ in range(600):
        learned.zero_grad()
        out = learned(x)
        out.square().sum().backward()
        same = torch.equal(out, x)
        kinds["same" if same else "adversarial" if float(learned.adversarial_mean.grad.abs().sum()) else "dsu"] += 1
    assert all(150 < n < 250 for n in kinds.values()), kinds


def test_advstyle_state_keeps_what_it_has_learned():
    learned, other = style.AdvStyle(2), style.AdvStyle(2)
    learned(maps(3, 2, 4, 4).float())
    other.load_state_dict(learned.state_dict())
    other(maps(3, 2, 4, 4, seed=8).float() * 7)
    assert torch.equal(learned.adversarial_mean, other.adversarial_mean)


def test_advstyle_begins_with_a_batch_that_is_finite():
    learned = style.AdvStyle(2)
    bad = maps(3, 2, 4, 4).float()
    bad[0, 0, 0, 0] = float("inf")
    learned(bad)
    assert not learned.started and torch.isfinite(learned.adversarial_mean).all()
    learned(maps(3, 2, 4, 4).float())
    assert learned.started and (learned.adversarial_mean > 0).all()


@pytest.mark.parametrize("last", [False, True])
def test_derivatives(last):
    x = maps(3, 2, 2, 3, last=last).requires_grad_()
    more = [torch.rand(2, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(lambda x: style.dsu(x, STEP, p=1), x)
    assert torch.autograd.gradcheck(style.style_statistics, x)
    assert torch.autograd.gradcheck(lambda x: style.advstyle(x, *more, STEP, 2.0, (1, 0)), x)


def test_operators():
    x = maps(3, 2, 4, 5).requires_grad_()
    active, none = torch.tensor([True]), None
    numbers, last = torch.rand(3, 2, dtype=torch.float64), x.detach().float().contiguous(memory_format=torch.channels_last)
    for args in [(x, "dsu", EPS, active, numbers, numbers, none, none),
                 (x, "mix", EPS, active, numbers[:, 0], torch.tensor([2, 0, 1]), none, none),
                 (last, "dsu", EPS, active, numbers, numbers, none, none)]:
        torch.library.opcheck(torch.ops.anamorph.restyle, args)
    torch.library.opcheck(torch.ops.anamorph.plane_moments, (x,))


@pytest.mark.parametrize("module", [style.MixStyle(1.0), style.DSU(1.0), style.AdvStyle(6)])
@pytest.mark.parametrize("last", [False, True])
def test_compiles(module, last):
    module = module.train()
    x = maps(4, 6, 5, 7, dtype=torch.float32, last=last)
    module(x)
    state = {k: v.clone() for k, v in module.state_dict().items()}
    expected = [module(x) for _ in range(3)]
    module.load_state_dict(state)
    compiled = torch.compile(module, fullgraph=True)
    for one in expected:
        torch.testing.assert_close(compiled(x), one)
    module.eval()
    assert module(x) is x


def test_autocast_takes_what_comes():
    x = maps(4, 6, 5, 7, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert style.dsu(x, STEP, 1.0).dtype == torch.bfloat16


def test_nan_stays_in_its_channel():
    x = maps(4, 3, 4, 4)
    x[1, 2, 0, 0] = float("nan")
    bad = style.mixstyle(x, STEP, p=1).isnan().flatten(2).any(2)
    assert bad[1, 2] and not bad[:, :2].any()
    assert style.dsu(x, STEP, p=1).isnan().flatten(2).any(2)[:, :2].sum() == 0


GOOD = maps(2, 3, 4, 4)


@pytest.mark.parametrize("call, error, words", [
    (lambda: style.mixstyle([1.0], STEP), ArgumentError, "x: expected a tensor"),
    (lambda: style.mixstyle(GOOD.int(), STEP), DtypeError, "x: expected floats"),
    (lambda: style.mixstyle(GOOD[0, 0], STEP), ShapeError, "x: expected feature maps"),
    (lambda: style.dsu(GOOD[:, :, :1, :1], STEP), ShapeError, "two or more values"),
    (lambda: style.dsu(GOOD[:0], STEP), ShapeError, "nothing empty"),
    (lambda: style.dsu(GOOD, STEP, p=1.5), ArgumentError, "probability"),
    (lambda: style.dsu(GOOD, STEP, eps=0), ArgumentError, "eps"),
    (lambda: style.mixstyle(GOOD, STEP, alpha=0), ArgumentError, "alpha"),
    (lambda: style.dsu(GOOD, 3), ArgumentError, "step"),
    (lambda: style.dsu(GOOD, torch.zeros(2, dtype=torch.int64, device="meta")), DeviceError, "step"),
    (lambda: style.advstyle(GOOD, torch.ones(2), torch.ones(3), STEP), ShapeError, "mean: expected"),
    (lambda: style.advstyle(GOOD, torch.ones(3), torch.ones(3), STEP, shares=(0.7, 0.7)), ArgumentError, "add up to 1"),
    (lambda: style.advstyle(GOOD, torch.ones(3, dtype=torch.int64), torch.ones(3), STEP), DtypeError, "mean"),
    (lambda: style.AdvStyle(0), ArgumentError, "channels"),
])
def test_errors(call, error, words):
    with pytest.raises(error, match=words):
        call()
