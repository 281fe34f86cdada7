"""Test-time augmentation: nets whose answer is known, NumPy for the aggregates, and models that count what they are shown."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import anamorph as am

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
NORMALIZE = am.Normalize(MEAN, STD)
IMAGES = torch.randint(256, (5, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
SHIFTS = am.Recipe([am.RandomCrop(16, padding=4), am.D4(), NORMALIZE])  # every pixel of the views is one of the picture
INF = math.inf


def normalised(images=IMAGES):
    return (images.permute(0, 3, 1, 2).double() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


class Counting(nn.Module):
    """Remembers what it is shown."""

    def __init__(self, net):
        super().__init__()
        self.net, self.seen = net, []

    def forward(self, x):
        self.seen.append(x.detach().clone())
        return self.net(x)


def linear(classes=4, scale=3.0):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(768, classes))
    net[1].weight.data *= scale
    return net


def pixelwise(classes=4):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Conv2d(3, classes, 1)


# ---- aggregates ----

LOGITS = torch.randn(6, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def softmax(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def test_aggregates_written_out():
    p = softmax(LOGITS.numpy())
    h = -(p * np.log(p)).sum(-1)
    w = np.exp(-h) / np.exp(-h).sum(1, keepdims=True)
    expected = {"mean": p.mean(1), "logit-mean": LOGITS.numpy().mean(1), "entropy-weighted": (w[..., None] * p).sum(1)}
    for how, value in expected.items():
        assert np.allclose(am.aggregate_views(LOGITS, how), value, rtol=1e-12)
    assert np.allclose(am.prediction_entropy(LOGITS[:, 0]), h[:, 0], rtol=1e-12)


def test_aggregates_with_numbers():
    """One view is sure of the first class, one says nothing: weights exp(0) and exp(-log 2) = 1/2."""
    logits = torch.tensor([[[100.0, -100], [0, 0]]])
    assert torch.allclose(am.aggregate_views(logits), torch.tensor([[0.75, 0.25]]))
    assert torch.allclose(am.aggregate_views(logits, "entropy-weighted"), torch.tensor([[5 / 6, 1 / 6]]))
    assert am.aggregate_views(logits, "logit-mean").tolist() == [[50.0, -50.0]]


def test_entropies():
    logits = torch.tensor([[0.0, 0, 0, 0], [0, -INF, -INF, -INF], [0, 0, -INF, -INF]])
    assert am.prediction_entropy(logits).tolist() == pytest.approx([math.log(4), 0, math.log(2)])


@pytest.mark.parametrize("share", [0, 0.1, 0.25, 0.5, 0.9, 1])
def test_the_threshold_of_a_share(share):
    logits = torch.randn(40, 5, generator=torch.Generator().manual_seed(2))
    t = am.entropy_threshold(logits, share)
    assert isinstance(t, float)
    assert int((am.prediction_entropy(logits) >= t).sum()) == round(40 * share)
    assert (t == INF) == (share == 0) and (t == 0) == (share == 1)


# ---- pictures ----


@pytest.mark.parametrize("aggregate", ["mean", "logit-mean", "entropy-weighted"])
def test_the_mean_of_views_is_that_of_the_plans(route, aggregate):
    net = linear()
    inputs = [am.render(IMAGES, am.Recipe([NORMALIZE]).plan(range(10, 15), size=(16, 16)))]
    inputs += [am.render(IMAGES, SHIFTS.plan(range(10, 15), size=(16, 16), seed=7, epoch=2, view=v)) for v in range(3)]
    with torch.no_grad():
        expected = am.aggregate_views(torch.stack([net(x) for x in inputs], 1), aggregate)
    found = am.tta(net, IMAGES, SHIFTS, 3, aggregate=aggregate, index=range(10, 15), seed=7, epoch=2)
    assert torch.allclose(found, expected, atol=1e-6) and not found.requires_grad


def test_one_launch_for_all_views():
    net, before = Counting(linear()), am.launch_count()
    am.tta(net, IMAGES, SHIFTS, 8)
    assert [len(x) for x in net.seen] == [5, 40]
    assert am.launch_count() - before == 2 + 2  # plans and renders, of the pictures themselves and of all their views


@pytest.mark.parametrize("limit", [1, 2, 5, 7, 12, 40])
@pytest.mark.parametrize("dense", [False, True])
def test_batches_change_nothing(limit, dense):
    net = Counting(pixelwise() if dense else linear())
    whole = am.tta(net.net, IMAGES, SHIFTS, 6, dense=dense)
    parts = am.tta(net, IMAGES, SHIFTS, 6, dense=dense, batch_size=limit)
    assert max(len(x) for x in net.seen) <= limit and sum(len(x) for x in net.seen) == 5 * 7
    for a, b in zip(whole if dense else [whole], parts if dense else [parts], strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_layouts_and_lists_say_the_same():
    net, recipe = linear(), am.Recipe([am.RandomCrop(16, padding=4), NORMALIZE])
    expected = am.tta(net, IMAGES, recipe)
    assert torch.equal(am.tta(net, IMAGES.permute(0, 3, 1, 2), recipe), expected)
    assert torch.equal(am.tta(net, IMAGES.numpy(), recipe), expected)
    assert torch.allclose(am.tta(net, list(IMAGES), recipe), expected, atol=1e-6)
    sizes = [torch.randint(256, (20 + i, 30 - i, 3), dtype=torch.uint8) for i in range(3)]
    recipe = am.Recipe([am.RandomResizedCrop(16), NORMALIZE])
    found = am.tta(net, sizes, recipe, 2, entropy_above=0)
    assert found.shape == (3, 4)
    for i, picture in enumerate(sizes):  # the same as alone
        assert torch.allclose(am.tta(net, picture[None], recipe, 2, index=[i])[0], found[i], atol=1e-6)


def test_the_pictures_own_view():
    net = Counting(linear())
    recipe = am.Recipe([am.RandomResizedCrop(16), NORMALIZE])
    large = IMAGES.repeat_interleave(2, 1).repeat_interleave(2, 2)  # halved with antialias it is no copy, but near
    am.tta(net, IMAGES, recipe, 1)
    assert torch.allclose(net.seen[0].double(), normalised(), atol=1e-5)
    am.tta(net, large, recipe, 1)
    resized = am.render(large, am.Recipe([am.Resize((16, 16)), NORMALIZE]).plan(range(5), size=(32, 32)))
    assert torch.equal(net.seen[2], resized)
    am.tta(net, large, recipe, 1, plain=am.Recipe([am.CenterCrop(16), NORMALIZE]))
    assert torch.allclose(net.seen[4].double(), normalised(large[:, 8:24, 8:24]), atol=1e-5)
    am.tta(net, large, recipe, 1, plain=False)
    assert len(net.seen) == 7 and net.seen[6].shape == (5, 3, 16, 16)


def test_gradients_on_request():
    net = linear()
    am.tta(net, IMAGES, SHIFTS, 2, grad=True, entropy_above=0.5)[:, 0].sum().backward()
    assert net[1].weight.grad.abs().sum() > 0


# ---- only those that are not sure ----


def test_who_is_augmented():
    net = Counting(linear())
    own = am.tta(net, IMAGES, SHIFTS, 4, entropy_above=INF, aggregate="logit-mean")
    assert len(net.seen) == 1 and torch.allclose(own, net.net(normalised().float()).detach(), atol=1e-5)
    entropy = am.prediction_entropy(own)
    everyone = am.tta(net.net, IMAGES, SHIFTS, 4, aggregate="logit-mean")
    for t in sorted({0.0, *entropy.tolist(), 10.0}):
        net.seen.clear()
        found = am.tta(net, IMAGES, SHIFTS, 4, entropy_above=t, aggregate="logit-mean")
        chosen = entropy >= t
        assert sum(len(x) for x in net.seen) == 5 + 4 * int(chosen.sum())
        assert torch.allclose(found, torch.where(chosen[:, None], everyone, own), atol=1e-5)
    assert len(set(entropy.tolist())) == 5


def test_zero_augments_also_who_is_sure():
    class Sure(nn.Module):
        def forward(self, x):
            return torch.tensor([[1e4, 0.0]]).repeat(len(x), 1)

    net = Counting(Sure())
    am.tta(net, IMAGES, SHIFTS, 4, entropy_above=0)
    assert [len(x) for x in net.seen] == [5, 20]


# ---- pixels ----


@pytest.mark.parametrize("aggregate", ["mean", "logit-mean", "entropy-weighted"])
@pytest.mark.parametrize("plain", [True, False])
def test_a_pixelwise_net_gives_the_single_pass_answer(route, aggregate, plain):
    net = pixelwise()
    single = net(normalised().float()).detach()
    single = single if aggregate == "logit-mean" else single.softmax(1)
    found, weight = am.tta(net, IMAGES, SHIFTS, 6, dense=True, aggregate=aggregate, plain=plain, seed=1)
    seen = weight > 0
    assert found.shape == (5, 4, 16, 16) and weight.shape == (5, 16, 16)
    assert ((found - single).abs().amax(1)[seen] < 1e-5).all()
    assert (found.abs().amax(1)[~seen] == 0).all()
    assert bool(seen.all()) if plain else 0.9 < seen.float().mean() < 1
    if aggregate != "entropy-weighted":
        assert torch.equal(weight, weight.round()) and weight.max() == 6 + plain


def test_the_weight_is_how_many_views_show_the_pixel():
    plans = [SHIFTS.plan(range(5), size=(16, 16), seed=1, view=v) for v in range(6)]
    expected = sum(plan.undo(torch.ones(5, 16, 16))[0] for plan in plans)
    _, weight = am.tta(pixelwise(), IMAGES, SHIFTS, 6, dense=True, plain=False, seed=1)
    assert torch.equal(weight, expected)


def test_smooth_maps_come_back_near():
    """Turned and resized views of a smooth picture: bilinear twice."""
    y, x = torch.meshgrid(torch.linspace(0, 3, 48), torch.linspace(0, 4, 64), indexing="ij")
    images = torch.stack([0.5 + 0.3 * torch.sin(x + y), 0.5 + 0.3 * torch.cos(x), 0.5 + 0.1 * y])[None]
    recipe = am.Recipe([am.RandomRotation(20, "bilinear"), am.RandomResizedCrop((40, 50), (0.5, 1.0))])
    net = pixelwise()
    found, weight = am.tta(net, images, recipe, 16, dense=True, aggregate="logit-mean", plain=False)
    off = (found - net(images).detach()).abs().amax(1)[weight > 0]
    assert weight.bool().float().mean() > 0.9 and off.max() < 0.02


def test_some_pictures_densely():
    net = pixelwise()
    net.weight.data *= 10
    images = IMAGES.clone()
    images[2:] = images[2:] // 200 * 255
    own, _ = am.tta(net, images, SHIFTS, 4, dense=True, entropy_above=INF, aggregate="logit-mean")
    entropy = torch.distributions.Categorical(logits=own.movedim(1, -1)).entropy().mean((1, 2))
    t = float(entropy.sort().values[2])
    _, weight = am.tta(net, images, SHIFTS, 4, dense=True, entropy_above=t)
    assert [bool((w > 1).any()) for w in weight] == (entropy >= t).tolist() and int((entropy >= t).sum()) == 3


# ---- texts ----


def judge(texts):
    """Two classes, by how many a's and b's a text has."""
    return torch.tensor([[float(t.count("a")), float(t.count("b"))] for t in texts])


def test_texts():
    asked = []

    def rewrite(texts, views):
        asked.append(texts)
        return [[t + "b" * (v + 1) for v in range(views)] for t in texts]

    texts = ["aaaa", "ab", "bbbbbb"]
    assert am.tta_text(judge, texts, rewrite, 3).tolist() == [[4, 1.5], [1, 2.5], [0, 7.5]]  # (0 + 1 + 2 + 3) / 4 more b's
    assert am.tta_text(judge, texts, rewrite, 3, entropy_above=0.5).tolist() == [[4, 0], [1, 2.5], [0, 6]]
    assert asked == [texts, ["ab"]]
    assert am.tta_text(judge, texts, rewrite, 3, entropy_above=INF).tolist() == judge(texts).tolist() and len(asked) == 2
    sizes = []
    found = am.tta_text(lambda part: sizes.append(len(part)) or judge(part), texts, rewrite, 3, batch_size=2, aggregate="mean")
    assert sizes == [2, 1, 2, 2, 2, 2, 1]
    each = torch.stack([judge([t, t + "b", t + "bb", t + "bbb"]).softmax(1).mean(0) for t in texts])
    assert torch.allclose(found, each)


def test_a_list_of_pictures_of_one_size_is_their_batch():
    """Also where the source decides how large the views are, densely, and in parts."""
    listed = [*IMAGES]
    for options in ({}, {"batch_size": 3}, {"entropy_above": 1.2}):
        assert torch.equal(am.tta(LINEAR, listed, FLIPS, 3, **options), am.tta(LINEAR, IMAGES, FLIPS, 3, **options))
        for one, other in zip(am.tta(pixelwise(), listed, FLIPS, 3, dense=True, **options),
                              am.tta(pixelwise(), IMAGES, FLIPS, 3, dense=True, **options), strict=True):
            assert torch.equal(one, other)


# ---- what can be wrong ----


LINEAR = linear()
FLIPS = am.Recipe([am.RandomHorizontalFlip(), NORMALIZE])  # as large as the picture


def run(model=LINEAR, images=IMAGES, recipe=SHIFTS, views=2, **options):
    return lambda: am.tta(model, images, recipe, views, **options)


def texts(given=("a", "b"), rewrite=lambda t, n: [["b"] * n for _ in t], model=judge, **options):
    return lambda: am.tta_text(model, given, rewrite, 2, **options)


BAD = {
    "no model": (run(None), am.ArgumentError, "model: expected something to be called"),
    "no recipe": (run(recipe=[am.D4()]), am.ArgumentError, "recipe: expected an anamorph.Recipe"),
    "mixing": (run(recipe=am.Recipe([am.MixUp()])), am.ArgumentError, "does not mix"),
    "no views": (run(views=0), am.ArgumentError, "views.*given 0"),
    "views and the picture's own": (run(views=4096), am.ArgumentError, "views.*1 to 4095, given 4096"),
    "aggregate": (run(aggregate="max"), am.ArgumentError, "'entropy-weighted', given 'max'"),
    "threshold": (run(entropy_above=-0.1), am.ArgumentError, "entropy_above: expected nats of at least 0, or inf"),
    "threshold nan": (run(entropy_above=math.nan), am.ArgumentError, "entropy_above"),
    "threshold alone": (run(entropy_above=0.5, plain=False), am.ArgumentError, "plain: expected a picture's own view"),
    "plain": (run(plain="yes"), am.ArgumentError, "plain: expected an anamorph.Recipe, True or False"),
    "batch of 0": (run(batch_size=0), am.ArgumentError, "batch_size"),
    "ids": (run(index=[1, 2]), am.ShapeError, "5 sample ids"),
    "ints": (run(images=IMAGES.int()), am.DtypeError, "images: expected uint8"),
    "one picture": (run(images=IMAGES[0]), am.ShapeError, r"images: expected \[B, H, W, C\]"),
    "empty": (run(images=IMAGES[:0]), am.ShapeError, "B >= 1 pictures"),
    "pixels": (run(pixelwise()), am.ShapeError, "dense=True takes predictions of pixels"),
    "no pixels": (run(dense=True), am.ShapeError, r"expected predictions \[5, K, 16, 16\]"),
    "coarse pixels": (run(nn.Conv2d(3, 4, 2, 2), dense=True), am.ShapeError, r"given \[5, 4, 8, 8\]"),
    "dense list": (run(images=[*IMAGES[:4], IMAGES[4, :, :9]], dense=True), am.ArgumentError, "of one size for dense=True"),
    "list of two sizes": (run(images=[*IMAGES[:4], IMAGES[4, :, :9]], recipe=FLIPS), am.ArgumentError,
                          "given one for each sample"),
    "one class": (run(linear(1)), am.ShapeError, "at least two classes for probabilities"),
    "rows": (run(lambda x: linear()(x)[1:]), am.ShapeError, "model: expected 5 rows"),
    "a dict": (run(lambda x: {"logits": x}), am.ArgumentError, "gives a tensor, given one that gives dict"),
    "classes": (run(lambda x: linear()(x).argmax(1)), am.DtypeError, "model: expected floats"),
    "sizes": (run(recipe=am.Recipe([am.RandomRotation(20, expand=True)])), am.ArgumentError, "differ between samples"),
    "grad": (run(grad=1), am.ArgumentError, "True or False"),
    "logits": (lambda: am.aggregate_views(torch.zeros(3, 4)), am.ShapeError, r"\[B, V, K\]"),
    "entropy of one": (lambda: am.prediction_entropy(torch.zeros(3, 1)), am.ShapeError, "two classes"),
    "entropy of numbers": (lambda: am.prediction_entropy([[1, 2]]), am.DtypeError, "logits: expected floats"),
    "share": (lambda: am.entropy_threshold(torch.zeros(3, 2), 1.5), am.ArgumentError, "share"),
    "share of nan": (lambda: am.entropy_threshold(torch.full((3, 2), math.nan), 0.5), am.ArgumentError, "finite"),
    "a text": (texts("ab"), am.ArgumentError, "texts: expected a list of texts"),
    "no texts": (texts([]), am.ShapeError, "at least one"),
    "numbers for texts": (texts([1]), am.ArgumentError, "texts: expected a list of texts"),
    "no rewriting": (texts(rewrite=None), am.ArgumentError, "rewrite: expected a function"),
    "few texts": (texts(rewrite=lambda t, n: [["b"]] * len(t)), am.ShapeError, "expected 2 texts for each, given 1 for text 0"),
    "flat texts": (texts(rewrite=lambda t, n: ["b"] * 4), am.ArgumentError, "a list of 2 lists"),
    "text for texts": (texts(rewrite=lambda t, n: ["bb", "bb"]), am.ArgumentError, "a list of texts"),
    "text model": (texts(model=lambda t: judge(t)[0]), am.ShapeError, "model: expected 2 rows"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, words = BAD[name]
    with pytest.raises(error, match=words):
        call()
