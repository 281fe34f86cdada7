"""Manifold mixup and PatchUp: the definitions written out, the cards' numbers, their derivatives."""

import importlib

import pytest
import torch
from torch import nn

from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.features import draws, manifold

patchup = importlib.import_module("anamorph.features.patchup")  # the package has the function of that name
STEP = (11, 4)


def rows(*shape, dtype=torch.float64, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("shape", [(5,), (4, 7), (3, 2, 9, 9), (2, 8200), (6, 1)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("holes", [False, True])
def test_rows_are_mixed(simd, shape, dtype, holes):
    x = rows(*shape, dtype=dtype).requires_grad_()
    partner, lam = draws.permutation(STEP, "a", shape[0]), torch.rand(shape[0], generator=torch.Generator().manual_seed(1))
    mask = (rows(*shape[1:], seed=3) > 0) if holes and len(shape) > 1 else None
    out = manifold.mix_rows(x, partner, lam, mask)
    exact = x.detach().double().requires_grad_()
    own = lam.double().reshape(-1, *[1] * (len(shape) - 1))
    expected = own * exact + (1 - own) * exact[partner]
    if mask is not None:
        expected = torch.where(mask, expected, exact)
        assert torch.equal(out[:, ~mask], x[:, ~mask]), "elsewhere the bits of x"
    close = {torch.float64: 1e-7, torch.float32: 1e-6, torch.float16: 4e-3, torch.bfloat16: 3e-2}[dtype]
    torch.testing.assert_close(out.double(), expected, rtol=close, atol=close)
    grad = rows(*shape, dtype=dtype, seed=7)
    back, = torch.autograd.grad(out, x, grad)
    torch.testing.assert_close(back.double(), torch.autograd.grad(expected, exact, grad.double())[0], rtol=close, atol=close)


def test_gradient_is_the_cards():
    """dL/dh[i] = lam g[i] + (1 - lam) g[perm^-1(i)]."""
    x, grad = rows(6, 3).requires_grad_(), rows(6, 3, seed=2)
    out, mix = manifold.manifold_mixup(x, STEP, 2.0)
    back, = torch.autograd.grad(out, x, grad)
    lam = mix.lam.double()
    for i in range(6):
        before = mix.partner.tolist().index(i)
        torch.testing.assert_close(back[i], lam * grad[i] + (1 - lam) * grad[before], rtol=1e-6, atol=1e-6)


def test_own_partner_is_the_identity():
    x = rows(4, 5)
    out = manifold.mix_rows(x, torch.arange(4), torch.tensor(0.3))
    torch.testing.assert_close(out, x)
    out, mix = manifold.manifold_mixup(x, STEP, 0.0)
    assert torch.equal(out, x) and mix.lam == 1
    assert torch.equal(manifold.manifold_mixup(x[:1], STEP)[0].round(decimals=12), x[:1].round(decimals=12))


def test_a_weight_of_nothing_takes_nothing(simd):
    x = rows(2, 9, dtype=torch.float32)
    x[1] = float("nan")
    swap = torch.tensor([1, 0])
    assert torch.equal(manifold.mix_rows(x, swap, torch.tensor([1.0, 0.0])), x[[0, 0]])
    assert manifold.mix_rows(x, swap, torch.tensor([0.5, 0.0])).isnan()[0].all()


def test_shares_are_of_beta():
    import scipy.stats

    lams = torch.stack([manifold.manifold_mixup(rows(2, 1), (0, step), 2.0)[1].lam for step in range(2000)])
    assert scipy.stats.kstest(lams.numpy(), scipy.stats.beta(2, 2).cdf).pvalue > 1e-3


def test_labels_of_a_mix():
    mix = manifold.Mix(torch.tensor([2, 0, 1]), torch.tensor(0.7))
    y = manifold.mixed_targets(torch.tensor([0, 1, 3]), mix, 4)
    expected = torch.tensor([[0.7, 0, 0, 0.3], [0.3, 0.7, 0, 0], [0, 0.3, 0, 0.7]])
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(manifold.mixed_targets(torch.eye(4)[[0, 1, 3]], mix), expected)


def test_soft_bce_is_torchs():
    logits, targets = rows(5, 4), torch.rand(5, 4, dtype=torch.float64)
    expected = nn.functional.binary_cross_entropy(logits.softmax(1), targets)
    torch.testing.assert_close(manifold.soft_bce(logits, targets), expected)
    assert torch.autograd.gradcheck(lambda z: manifold.soft_bce(z, targets), logits.requires_grad_())
    # Of a class that is all but sure, float32 has 1 - p = 0; what is left for the others is e^-40.
    sure = torch.tensor([[40.0, 0.0]], requires_grad=True)
    loss = manifold.soft_bce(sure, torch.tensor([[0.0, 1.0]]))
    torch.testing.assert_close(loss, torch.tensor(40.0))
    loss.backward()
    torch.testing.assert_close(sure.grad, torch.tensor([[1.0, -1.0]]))


@pytest.mark.parametrize("gamma, share", [(0.25, 0.287), (0.5, 0.491), (0.75, 0.636), (0.9, 0.702)])
def test_patchup_changes_the_cards_share(gamma, share):
    x = torch.zeros(2, 16, 32, 32)
    shares = [float(patchup.patchup(x, (0, step), gamma=gamma)[1].changed) for step in range(12)]
    assert abs(sum(shares) / len(shares) - share) < 0.02


@pytest.mark.parametrize("hard", [False, True])
def test_patchup_in_blocks_and_nowhere_else(hard):
    x = rows(4, 3, 9, 9)
    out, mix = patchup.patchup(x, STEP, hard, gamma=0.2, block=3, p=1)
    seeds = draws.uniform(STEP, "patchup.seeds", (3, 9, 9)) < 0.2 * 81 / (9 * 49)
    holes = torch.zeros(3, 9, 9, dtype=torch.bool)
    for c, i, j in seeds.nonzero().tolist():
        holes[c, max(i - 1, 0):i + 2, max(j - 1, 0):j + 2] = True
    assert 0 < holes.float().mean() < 1
    assert torch.equal(out[:, ~holes], x[:, ~holes])
    lam = 0 if hard else mix.lam.double()
    torch.testing.assert_close(out[:, holes], (lam * x + (1 - lam) * x[mix.partner])[:, holes], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(mix.changed, holes.float().mean())
    torch.testing.assert_close(1 - mix.changed, (~holes).float().mean())


def test_patchup_loss_as_written():
    logits, y = rows(4, 5), torch.tensor([0, 3, 2, 4])
    mix = manifold.Mix(torch.tensor([3, 0, 1, 2]), torch.tensor(0.7), torch.tensor(0.4))
    one = torch.eye(5, dtype=torch.float64)[y]
    bce = nn.functional.binary_cross_entropy
    p, u = logits.softmax(1), 0.6
    blocks = 0.7 * one + 0.3 * one[mix.partner]
    expected = u * bce(p, one) + (1 - u) * bce(p, blocks) + bce(p, u * one + (1 - u) * blocks)
    torch.testing.assert_close(patchup.patchup_loss(logits, y, mix), expected, rtol=1e-6, atol=1e-6)


def test_cutmix_of_a_batch_is_a_box():
    x = torch.arange(3.0).reshape(3, 1, 1, 1).expand(3, 2, 16, 20).contiguous()
    shares = []
    for step in range(300):
        out, mix = patchup.cutmix_batch(x, (1, step))
        box = (out[0, 0] != x[0, 0]) | (mix.partner[0] == 0)
        if mix.partner[0] != 0:
            assert box.float().mean() == mix.changed
            inside = box.nonzero()
            if len(inside):
                low, high = inside.min(0).values, inside.max(0).values
                assert box[low[0]:high[0] + 1, low[1]:high[1] + 1].all()
        shares.append(float(mix.changed))
    assert 0.25 < sum(shares) / len(shares) < 0.45  # half of a picture in the mean, cut at its borders


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 5)

    def forward(self, x):
        return self.head(self.second(self.first(x).relu()).relu().mean((2, 3)))


@pytest.mark.parametrize("make", [lambda net: manifold.ManifoldMixup(net, ["", "first", "second"], seed=3),
                                  lambda net: patchup.PatchUp(net, ["", "first", "second"], block=3, seed=3),
                                  lambda net: patchup.PatchUp(net, ["first"], hard=True, seed=3)])
def test_models_that_mix(make):
    net, x, y = Net(), rows(6, 3, 8, 8, dtype=torch.float32), torch.tensor([0, 1, 2, 3, 4, 0])
    mixed = make(net)
    seen = [mixed(x) for _ in range(8)]
    for logits, mix in seen:
        loss = mixed.loss(logits, y, mix)
        loss.backward()
        assert torch.isfinite(loss)
    changed = [mix for _, mix in seen if mix.changed is None or mix.changed > 0]
    assert len(changed) >= 4 and not any(torch.equal(logits, net(x)) for logits, mix in seen if any(mix is m for m in changed))
    again = make(net)
    again.load_state_dict(mixed.state_dict())
    assert torch.equal(again(x)[0], mixed(x)[0])
    one, same, other = (draws.reseed(make(net), seed) for seed in (7, 7, 8))
    assert torch.equal(one(x)[0], same(x)[0]) and one.seed != other.seed
    mixed.eval()
    logits, mix = mixed(x)
    assert mix is None and torch.equal(logits, net(x))
    torch.testing.assert_close(mixed.loss(logits, y, None),
                               nn.functional.binary_cross_entropy(logits.softmax(1), nn.functional.one_hot(y, 5).float()))


def test_a_layer_is_drawn_evenly():
    net, x = Net(), rows(2, 3, 8, 8, dtype=torch.float32)
    mixed, places = manifold.ManifoldMixup(net, ["", "first", "second"]), []
    mixed.change = lambda x, step, is_input: (places.append(x.shape[1]), manifold.manifold_mixup(x, step))[1]
    for _ in range(300):
        mixed(x)
    assert 70 < places.count(3) < 130


def test_derivatives_and_operator():
    x = rows(4, 2, 5, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: manifold.manifold_mixup(x, STEP)[0], x, atol=1e-5)
    assert torch.autograd.gradcheck(lambda x: patchup.patchup(x, STEP, gamma=0.5, block=3)[0], x, atol=1e-5)
    half = torch.full((4,), 0.5, dtype=torch.float64)
    torch.library.opcheck(torch.ops.anamorph.mix_rows, (x, torch.tensor([1, 2, 3, 0]), half, half, rows(2, 5, 5) > 0))


def test_compiles():
    x, step = rows(4, 2, 5, 5, dtype=torch.float32), torch.tensor(STEP)
    for f in (lambda x, step: manifold.manifold_mixup(x, step)[0], lambda x, step: patchup.patchup(x, step, block=3)[0],
              lambda x, step: patchup.cutmix_batch(x, step)[0]):
        assert torch.equal(torch.compile(f, fullgraph=True)(x, step), f(x, step))


X = rows(4, 2, 6, 6)
SWAP = torch.tensor([1, 0, 3, 2])
SWAPPED = manifold.Mix(SWAP, torch.tensor(0.5))


@pytest.mark.parametrize("call, error, words", [
    (lambda: manifold.manifold_mixup(X[:0], STEP), ShapeError, "nothing empty"),
    (lambda: manifold.manifold_mixup(X.long(), STEP), DtypeError, "floats"),
    (lambda: manifold.manifold_mixup(X, STEP, -1), ArgumentError, "alpha"),
    (lambda: manifold.mix_rows(X, SWAP.int(), torch.tensor(0.5)), DtypeError, "partner"),
    (lambda: manifold.mix_rows(X, SWAP[:3], torch.tensor(0.5)), ShapeError, "partner"),
    (lambda: manifold.mix_rows(X, torch.tensor([0, 0, 1, 2]), torch.tensor(0.5)), ArgumentError, "permutation"),
    (lambda: manifold.mix_rows(X, torch.tensor([0, 1, 2, 9]), torch.tensor(0.5)), ArgumentError, "permutation"),
    (lambda: manifold.mix_rows(X, SWAP, 0.5), DtypeError, "lam"),
    (lambda: manifold.mix_rows(X, SWAP, torch.rand(3)), ShapeError, "lam"),
    (lambda: manifold.mix_rows(X, SWAP, torch.rand(4, requires_grad=True)), ArgumentError, "without gradient"),
    (lambda: manifold.mix_rows(X, SWAP, torch.rand(4, device="meta")), DeviceError, "lam"),
    (lambda: manifold.mix_rows(X, SWAP, torch.rand(4), torch.ones(2, 6, 5, dtype=torch.bool)), ShapeError, "holes"),
    (lambda: manifold.mix_rows(X, SWAP, torch.rand(4), torch.ones(2, 6, 6)), DtypeError, "holes"),
    (lambda: manifold.mixed_targets(torch.tensor([0, 1]), SWAPPED, 3), ShapeError, "targets"),
    (lambda: manifold.mixed_targets(torch.tensor([0, 1, 2, 3]), SWAPPED, 3), ArgumentError, "targets"),
    (lambda: manifold.mixed_targets(torch.tensor([0, 1, 2, 3]), SWAPPED), ArgumentError, "classes"),
    (lambda: patchup.patchup(X[:, :, :5], STEP), ShapeError, "S"),
    (lambda: patchup.patchup(X, STEP, block=4), ShapeError, "odd"),
    (lambda: patchup.patchup(X, STEP, block=7), ShapeError, "at most 6"),
    (lambda: patchup.patchup(X, STEP, gamma=1.5), ArgumentError, "gamma"),
    (lambda: patchup.patchup(X, STEP, p=-1), ArgumentError, "p"),
    (lambda: manifold.ManifoldMixup(Net(), ["third"]), ArgumentError, "layers"),
    (lambda: manifold.ManifoldMixup(Net(), []), ArgumentError, "layers"),
    (lambda: manifold.ManifoldMixup(nn.Identity, ["a"]), ArgumentError, "model"),
    (lambda: manifold.soft_bce(torch.rand(2, 3), torch.rand(2, 4)), ShapeError, "targets"),
])
def test_errors(call, error, words):
    with pytest.raises(error, match=words):
        call()
