"""SimpleNet: the card's numbers, the published steps written out in float64, SciPy's filter."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn
from torch.nn import functional as F

from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.features.simplenet import SimpleNet, image_score, margin_loss, noisy, patch_features, score_map


def numbers(*shape, dtype=torch.float32, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def pooled(row, width):
    """Adaptive averages of a row, by their definition: part i is floor(i n / w) to ceil((i + 1) n / w)."""
    n = len(row)
    return np.array([row[i * n // width:-(-(i + 1) * n // width)].mean() for i in range(width)])


def published(maps, width):
    """Unfold, resize, average each patch over (channel, row, column), join, average: place by place, in float64."""
    height, wide = maps[0].shape[1:]
    layers = []
    for m in maps:
        h, w = m.shape[1:]
        padded = np.pad(m, ((0, 0), (1, 1), (1, 1)))
        patches = np.array([[padded[:, y:y + 3, x:x + 3].reshape(-1) for x in range(w)] for y in range(h)])  # [h, w, c 9]
        resized = F.interpolate(torch.from_numpy(patches).permute(2, 0, 1)[None], size=(height, wide), mode="bilinear",
                                align_corners=False)[0].permute(1, 2, 0).numpy()
        layers.append(resized)
    out = np.empty((height, wide, width))
    for y in range(height):
        for x in range(wide):
            out[y, x] = pooled(np.concatenate([pooled(layer[y, x], width) for layer in layers]), width)
    return out


# ---- features ----


def test_patch_features_are_the_published_steps():
    maps = [numbers(2, 5, 6, 4, dtype=torch.float64), numbers(2, 8, 3, 2, dtype=torch.float64, seed=1)]
    found = patch_features(maps, 10)
    assert found.shape == (2, 6, 4, 10)
    for i in range(2):
        np.testing.assert_allclose(found[i].numpy(), published([m[i].numpy() for m in maps], 10), rtol=0, atol=1e-13)


def test_shapes_of_the_paper():
    """layer2 and layer3 of a WideResNet50 on pictures of 288 pixels: 36 x 36 places of 1536."""
    found = patch_features([torch.ones(1, 512, 36, 36), torch.ones(1, 1024, 18, 18)])
    assert found.flatten(0, 2).shape == (1296, 1536)
    torch.testing.assert_close(found[0, 5, 5], torch.ones(1536))  # no normalisation


def test_zeros_lie_around_a_map():
    found = patch_features([torch.ones(1, 1, 3, 3)], 1)[0, ..., 0]
    torch.testing.assert_close(found, torch.tensor([[4, 6, 4], [6, 9, 6], [4, 6, 4]]) / 9)


# ---- noise and losses ----


def test_the_noise_is_of_its_sigma():
    """0.015 to 1%, of 200,000 numbers: their standard deviation is known to 0.16%."""
    true = numbers(400, 500)
    far = noisy(true, (1, 0)) - true
    assert abs(float(far.std()) / 0.015 - 1) < 0.01 and abs(float(far.mean())) < 0.015 * 5 / 447
    assert torch.equal(noisy(true, (1, 0), 0.0), true)


def test_the_noise_is_a_pure_function_of_its_key():
    true = numbers(4, 5)
    assert torch.equal(noisy(true, (1, 2)), noisy(true, torch.tensor([1, 2])))
    assert not torch.equal(noisy(true, (1, 2)), noisy(true, (1, 3)))
    assert noisy(true.double(), (1, 2)).dtype == torch.float64


def test_a_discriminator_that_says_nothing_costs_one():
    nothing = torch.zeros(12, 1)
    assert margin_loss(nothing, nothing).item() == 1.0
    net = SimpleNet(4, 3)
    nn.init.zeros_(net.discriminator[-1].weight)
    assert net.loss(numbers(6, 4)).item() == 1.0


def test_margin_loss_is_its_formula():
    good, fake = numbers(30, dtype=torch.float64), numbers(20, dtype=torch.float64, seed=1)
    fake = torch.cat([fake, fake[:10]])
    expected = np.maximum(0, 0.3 - good.numpy()).mean() + np.maximum(0, 0.3 + fake.numpy()).mean()
    assert margin_loss(good, fake, 0.3).item() == pytest.approx(expected, abs=1e-15)
    assert margin_loss(torch.tensor([0.6]), torch.tensor([-0.7])).item() == 0.0


def test_loss_is_the_published_step():
    """Adapted and noisy features pass together: batch norm knows one mean and variance for both."""
    net = SimpleNet(6, 5, seed=3).double()
    x = numbers(7, 6, dtype=torch.float64)
    key = net.step.clone()
    w, b = (p.detach().numpy() for p in net.adapter.parameters())
    good = x.numpy() @ w.T + b
    fake = noisy(torch.from_numpy(good), key).numpy()
    first, norm, _, last = net.discriminator
    hidden = np.concatenate([good, fake]) @ first.weight.detach().numpy().T + first.bias.detach().numpy()
    hidden = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + norm.eps)
    answers = np.where(hidden > 0, hidden, 0.2 * hidden) @ last.weight.detach().numpy().T
    expected = np.maximum(0, 0.5 - answers[:7]).mean() + np.maximum(0, 0.5 + answers[7:]).mean()
    assert net.loss(x).item() == pytest.approx(expected, abs=1e-12)
    assert last.bias is None and net.step.tolist() == [3, 1]


def test_each_loss_has_noise_of_its_own_and_a_run_replays():
    def losses(net, steps):
        return [net.loss(x).item() for _ in range(steps)]

    x = numbers(8, 6)
    net = SimpleNet(6, 5, sigma=1.0)
    state = {k: v.clone() for k, v in net.state_dict().items()}
    run = losses(net, 3)
    assert len(set(run)) == 3
    again = SimpleNet(6, 5, sigma=1.0)
    again.load_state_dict(state)
    assert losses(again, 3) == run


def test_weights_begin_as_published():
    net = SimpleNet(300, 200)
    for layer, spread in ((net.adapter, (2 / 600) ** 0.5), (net.discriminator[0], (2 / 500) ** 0.5)):
        assert abs(float(layer.weight.std()) / spread - 1) < 0.02


# ---- scores ----


def test_scores_are_minus_the_discriminator():
    net = SimpleNet(6, 5)
    net.loss(numbers(20, 6))  # running statistics
    net.eval()
    x = numbers(2, 3, 4, 6, seed=2)
    with torch.no_grad():
        expected = -net.discriminator(net.adapter(x.reshape(-1, 6))).reshape(2, 3, 4)
        scores = net.score(x)
    torch.testing.assert_close(scores, expected)
    torch.testing.assert_close(scores[1], net.score(x[1:]).detach()[0])  # of each place alone
    assert torch.equal(net(x), net.score(x))
    assert torch.equal(image_score(scores), torch.stack([scores[0].max(), scores[1].max()]))


@pytest.mark.parametrize("size, sigma", [((36, 36), 4.0), ((9, 40), 4.0), ((5, 3), 2.0)])
def test_maps_are_scipys(size, sigma):
    """Also where the filter is wider than the map."""
    scores = numbers(2, 5, 4, dtype=torch.float64)
    resized = F.interpolate(scores[:, None], size=size, mode="bilinear", align_corners=False)[:, 0].numpy()
    expected = np.stack([gaussian_filter(each, sigma) for each in resized])
    np.testing.assert_allclose(score_map(scores, size, sigma).numpy(), expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(score_map(scores, size, 0.0).numpy(), resized, rtol=0, atol=1e-15)


def test_it_finds_what_is_far_from_good_features():
    """Good features on a line of 8 dimensions; after training, a point off the line scores above all on it."""
    torch.manual_seed(0)
    ahead = torch.ones(8)
    good = numbers(400, 1).clamp(-2, 2) * ahead
    net = SimpleNet(8, 16, sigma=0.3, seed=1)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    first = net.loss(good).item()
    for _ in range(200):
        optimizer.zero_grad()
        loss = net.loss(good)
        loss.backward()
        optimizer.step()
    net.eval()
    bad = good + 2 * torch.tensor([1.0, -1] * 4)
    assert loss.item() < 0.7 * first
    assert net.score(bad).median() > net.score(good).quantile(0.95)


# ---- as torch expects it ----


def test_gradients():
    maps = [numbers(1, 2, 3, 4, dtype=torch.float64).requires_grad_(), numbers(1, 3, 2, 2, dtype=torch.float64).requires_grad_()]
    assert torch.autograd.gradcheck(lambda *m: patch_features(m, 5), maps)
    good, fake = numbers(6, dtype=torch.float64).requires_grad_(), numbers(6, dtype=torch.float64, seed=4).requires_grad_()
    assert torch.autograd.gradcheck(margin_loss, (good, fake))
    scores = numbers(1, 3, 2, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: score_map(s, (5, 6), 1.0), scores)
    net = SimpleNet(3, 4, sigma=0.5).double()
    x = numbers(5, 3, dtype=torch.float64).requires_grad_()

    def loss(x, weight):
        net.step.copy_(torch.tensor([0, 5]))  # the same noise each time
        return margin_loss(*torch.func.functional_call(net, {"adapter.weight": weight}, (x,)).reshape(1).expand(2, 1))

    assert torch.autograd.gradcheck(loss, (x, net.adapter.weight.detach().requires_grad_()))


def test_both_parts_learn():
    net = SimpleNet(6, 5, sigma=1.0)
    net.loss(numbers(9, 6)).backward()
    grads = {name: p.grad.abs().sum() for name, p in net.named_parameters()}
    assert all(grads[name] > 0 for name in grads if name != "discriminator.0.bias")  # batch norm takes that off again


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_whole(backend):
    maps = (numbers(2, 4, 4, 4), numbers(2, 6, 2, 2, seed=1))
    nets = [SimpleNet(6, 5, seed=2) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    compiled = torch.compile(lambda *m: nets[1].loss(patch_features(m, 6)), fullgraph=True, backend=backend)
    for _ in range(2):
        torch.testing.assert_close(compiled(*maps), nets[0].loss(patch_features(maps, 6)))
    assert torch.equal(nets[0].step, nets[1].step)
    for net in nets:
        net.eval()
    asked = torch.compile(lambda *m: score_map(nets[1].score(patch_features(m, 6)), (8, 8), 1.0), fullgraph=True, backend=backend)
    torch.testing.assert_close(asked(*maps), score_map(nets[0].score(patch_features(maps, 6)), (8, 8), 1.0))


def test_under_autocast():
    """The noise would be lost in bfloat16, so adapter and discriminator stay float32."""
    x = numbers(50, 6)
    nets = [SimpleNet(6, 5, seed=2) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    with torch.autocast("cpu", torch.bfloat16):
        loss = nets[0].loss(x)
        nets[0].eval()
        scores = nets[0].score(x.bfloat16())
    assert loss.dtype == scores.dtype == torch.float32 and torch.equal(loss, nets[1].loss(x))


# ---- what does not fit ----

SOME = torch.zeros(4, 6)


@pytest.mark.parametrize("call, error, says", [
    (lambda: patch_features([]), ArgumentError, "maps: expected one feature map or more"),
    (lambda: patch_features(SOME), ArgumentError, "maps: expected one feature map or more"),
    (lambda: patch_features([torch.zeros(2, 3, 4)], 4), ShapeError, r"maps\[0\]: expected"),
    (lambda: patch_features([torch.zeros(2, 3, 4, 4).long()], 4), DtypeError, r"maps\[0\]: expected floats"),
    (lambda: patch_features([torch.zeros(2, 3, 4, 4), torch.zeros(1, 3, 2, 2)], 4), ShapeError, "expected a batch of 2"),
    (lambda: patch_features([torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 2, 2).double()], 4), DtypeError, r"maps\[1\]: expected"),
    (lambda: patch_features([torch.zeros(0, 3, 4, 4)], 4), ShapeError, "nothing empty"),
    (lambda: patch_features([torch.zeros(1, 3, 4, 4)], 4, patch=2), ArgumentError, "patch: expected an odd number"),
    (lambda: patch_features([torch.zeros(1, 3, 4, 4)], 0), ArgumentError, "width: expected"),
    (lambda: noisy(SOME, (0, 0), -1.0), ArgumentError, "sigma: expected"),
    (lambda: noisy(SOME, 3), ArgumentError, "step: expected"),
    (lambda: margin_loss(SOME, SOME.double()), DtypeError, "fake: expected"),
    (lambda: margin_loss(SOME, SOME.to("meta")), DeviceError, "fake: expected"),
    (lambda: margin_loss(SOME, SOME, -0.1), ArgumentError, "margin: expected"),
    (lambda: image_score(SOME), ShapeError, "scores: expected"),
    (lambda: score_map(SOME[None], (0, 5)), ArgumentError, "size: expected"),
    (lambda: score_map(SOME[None], (5, 5), float("nan")), ArgumentError, "sigma: expected"),
    (lambda: SimpleNet(0), ArgumentError, "width: expected"),
    (lambda: SimpleNet(6, 5).loss(torch.zeros(4, 7)), ShapeError, "features: expected"),
    (lambda: SimpleNet(6, 5).loss(torch.zeros(1, 6)), ShapeError, "two places or more"),
    (lambda: SimpleNet(6, 5).loss(torch.zeros(0, 6)), ShapeError, "nothing empty"),
    (lambda: SimpleNet(6, 5).score(SOME), ArgumentError, "in eval"),
])
def test_what_does_not_fit(call, error, says):
    with pytest.raises(error, match=says):
        call()
