"""Feature transformation against its formulas in NumPy, and against the closed form of the moved positives."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, MissingDependencyError, ShapeError
from anamorph.features import draws
from anamorph.features.queue import moco_logits
from anamorph.features.transformation import (
    FeatureTransformation,
    _smooth,
    extrapolate,
    feature_transformation,
    interpolate_rows,
    plot_scores,
    score_statistics,
)

STEP, TAU = (5, 7), 0.2


def unit(*shape, seed=0, dtype=torch.float64):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1).to(dtype)


Q, K, ROWS = unit(6, 8), unit(6, 8, seed=1), unit(20, 8, seed=2)
SHAPES = {"batch": lambda n, d: (1, 1), "sample": lambda n, d: (n, 1), "dimension": lambda n, d: (n, d)}


def drawn(positive_per="batch", negative_per="batch", rows=20):
    """m, m' and the permutation that a call draws."""
    m = 1 + draws.beta(STEP, "transformation.positive", SHAPES[positive_per](6, 8), 2.0, 2.0).double().numpy()
    n = draws.beta(STEP, "transformation.negative", SHAPES[negative_per](rows, 8), 1.6, 1.6).double().numpy()
    return m, n, draws.permutation(STEP, "transformation.partner", rows).numpy()


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("negative_per", SHAPES)
@pytest.mark.parametrize("positive_per", SHAPES)
def test_logits_are_the_papers(positive_per, negative_per, norm):
    m, n, partner = drawn(positive_per, negative_per)
    q, k, rows = Q.numpy(), K.numpy(), ROWS.numpy()
    q, k = m * q + (1 - m) * k, m * k + (1 - m) * q
    if norm:
        q, k = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q, k))
    rows = n * rows + (1 - n) * rows[partner]
    expected = np.concatenate([(q * k).sum(1)[:, None], q @ rows.T], 1) / TAU
    found = feature_transformation(Q, K, ROWS, TAU, step=STEP, positive_per=positive_per, negative_per=negative_per,
                                   postmix_norm=norm)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_one_number_for_the_batch_mixes_the_columns_of_the_products():
    m, n, partner = drawn()
    plain = moco_logits(extrapolate(Q, K, torch.from_numpy(m)), K, ROWS, TAU)[:, 1:]
    mixed = n.item() * plain + (1 - n.item()) * plain[:, partner]
    torch.testing.assert_close(feature_transformation(Q, K, ROWS, TAU, step=STEP)[:, 1:], mixed, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("m", [1.0, 1.1, 1.5, 2.0])
def test_moved_positives_have_the_closed_form(m):
    """s' = s + 2 m (1 - m) (1 - s) <= s, and |q'|^2 = 1 - 2 m (1 - m) (1 - s) >= 1."""
    weight, s = torch.tensor(m, dtype=torch.float64), (Q * K).sum(1)
    q, k = extrapolate(Q, K, weight), extrapolate(K, Q, weight)
    torch.testing.assert_close((q * k).sum(1), s + 2 * m * (1 - m) * (1 - s))
    torch.testing.assert_close(q.square().sum(1), 1 - 2 * m * (1 - m) * (1 - s))
    assert ((q * k).sum(1) <= s + 1e-12).all() and (q.norm(dim=1) >= 1 - 1e-12).all()
    assert m != 1 or (torch.equal(q, Q) and torch.equal(k, K)), "m = 1 is the identity"


def test_the_identity_as_a_permutation_leaves_the_queue():
    for shape in ((1, 1), (20, 1), (20, 8)):
        weight = torch.rand(*shape, dtype=torch.float64)
        torch.testing.assert_close(interpolate_rows(ROWS, torch.arange(20), weight), ROWS, rtol=1e-14, atol=0)
    assert torch.equal(interpolate_rows(ROWS, torch.arange(20), torch.ones(1, 1, dtype=torch.float64)), ROWS)


def test_without_both_it_is_moco():
    off = feature_transformation(Q, K, ROWS, TAU, step=STEP, positive_alpha=None, negative_alpha=None)
    assert torch.equal(off, moco_logits(Q, K, ROWS, TAU))
    positives = feature_transformation(Q, K, ROWS, TAU, step=STEP, negative_alpha=None)
    negatives = feature_transformation(Q, K, ROWS, TAU, step=STEP, positive_alpha=None)
    assert (positives[:, 0] < off[:, 0]).all() and torch.equal(negatives[:, 0], off[:, 0])
    assert not torch.equal(negatives[:, 1:], off[:, 1:])


def test_m_has_the_published_distribution():
    """1 + Beta(2, 2): of mean 1.5 and variance 1 / 20; and over steps another."""
    each = torch.stack([draws.beta((0, i), "transformation.positive", (1, 1), 2.0, 2.0) for i in range(4000)]).double() + 1
    assert abs(each.mean() - 1.5) < 4 * (0.05 / 4000) ** 0.5 and abs(each.var() - 0.05) < 0.004
    one, other = (feature_transformation(Q, K, ROWS, TAU, step=(0, i)) for i in (0, 1))
    assert not torch.equal(one, other)
    assert torch.equal(one, feature_transformation(Q, K, ROWS, TAU, step=torch.tensor([0, 0])))


def test_columns_that_have_a_part_of_what_is_excluded_go_too():
    _, _, partner = drawn()
    exclude = torch.zeros(6, 20, dtype=torch.bool)
    exclude[2, 5] = exclude[4, 0] = True
    found = feature_transformation(Q, K, ROWS, TAU, step=STEP, exclude=exclude)[:, 1:].isneginf()
    for b in range(6):
        for c in range(20):
            assert bool(found[b, c]) == bool(exclude[b, c] or exclude[b, partner[c]])
    empty = torch.arange(20)[None] >= 15
    found = feature_transformation(Q, K, ROWS, TAU, step=STEP, exclude=empty)[:, 1:].isneginf()
    assert [bool(x) for x in found[0]] == [c >= 15 or partner[c] >= 15 for c in range(20)] and (found == found[0]).all()


@pytest.mark.parametrize("per", SHAPES)
def test_gradients_go_through_both_factors(per):
    query, key, rows = (t.clone().requires_grad_() for t in (Q, K, ROWS))
    call = lambda q: feature_transformation(q, key, rows, TAU, step=STEP, positive_per=per, negative_per=per)  # noqa: E731
    assert torch.autograd.gradcheck(call, query)
    feature_transformation(query, key, rows, TAU, step=STEP, negative_alpha=None)[:, 0].sum().backward()
    assert key.grad is None and rows.grad is None
    m = drawn()[0].item()  # q'.k' = m (1 - m) (q.q + k.k) + (m^2 + (1 - m)^2) q.k
    torch.testing.assert_close(query.grad, (2 * m * (1 - m) * Q + (m * m + (1 - m) ** 2) * K) / TAU)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_whole(backend):
    def loss(query, step, exclude):
        logits = feature_transformation(query, K, ROWS, TAU, step=step, positive_per="dimension", negative_per="sample",
                                        postmix_norm=True, exclude=exclude)
        return F.cross_entropy(logits, torch.zeros(6, dtype=torch.int64))

    step, exclude = torch.tensor(STEP), torch.arange(20)[None] > 17
    plain, compiled = (Q.clone().requires_grad_() for _ in range(2))
    expected, = torch.autograd.grad(loss(plain, step, exclude), plain)
    found, = torch.autograd.grad(torch.compile(loss, fullgraph=True, backend=backend)(compiled, step, exclude), compiled)
    torch.testing.assert_close(found, expected)


def test_the_module_moves_on_replays_and_rests_in_evaluation():
    module, twin = (FeatureTransformation(TAU, seed=3) for _ in range(2))
    first, second = module(Q, K, ROWS), module(Q, K, ROWS)
    assert not torch.equal(first, second) and torch.equal(first, twin(Q, K, ROWS))
    assert torch.equal(first, feature_transformation(Q, K, ROWS, TAU, step=(3, 0)))
    late = FeatureTransformation(TAU)
    late.load_state_dict(module.state_dict())
    assert torch.equal(late(Q, K, ROWS), module(Q, K, ROWS))
    assert torch.equal(module.eval()(Q, K, ROWS), moco_logits(Q, K, ROWS, TAU))
    compiled = torch.compile(twin, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(Q, K, ROWS), second)


def test_autocast_and_halves():
    q, k, rows = (t.float() for t in (Q, K, ROWS))
    expected = feature_transformation(q, k, rows, TAU, step=STEP)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(feature_transformation(q, k, rows, TAU, step=STEP), expected)
    half = feature_transformation(q.bfloat16(), k.bfloat16(), rows, TAU, step=STEP)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, feature_transformation(q.bfloat16().float(), k.bfloat16().float(), rows, TAU, step=STEP))


def test_statistics_equal_the_scores_themselves():
    logits = moco_logits(Q, K, ROWS, 0.07)
    s, found = (Q @ ROWS.T).numpy(), score_statistics(logits, 0.07)
    np.testing.assert_allclose(found.negative_mean, s.mean(1))
    np.testing.assert_allclose(found.negative_variance, s.var(1, ddof=1))
    np.testing.assert_allclose(found.positive, (Q * K).sum(1))
    np.testing.assert_allclose(found.negative_exp, np.exp(s / 0.07).mean(1))
    np.testing.assert_allclose(found.positive_exp, np.exp((Q * K).sum(1).numpy() / 0.07))
    exclude = torch.zeros(6, 20, dtype=torch.bool)
    exclude[3, :7] = True
    some = score_statistics(moco_logits(Q, K, ROWS, 0.07, exclude=exclude), 0.07)
    for b in range(6):
        there = s[b][~exclude[b].numpy()]
        assert some.negative_mean[b].item() == pytest.approx(there.mean())
        assert some.negative_variance[b].item() == pytest.approx(there.var(ddof=1))
        assert some.negative_exp[b].item() == pytest.approx(np.exp(there / 0.07).mean())


def test_curves_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    steps = [score_statistics(feature_transformation(Q, K, ROWS, TAU, step=(0, i)), TAU) for i in range(5)]
    plot_scores({"FT": steps, "MoCo": [score_statistics(moco_logits(Q, K, ROWS, TAU), TAU)] * 5}, tmp_path / "curves.png")
    picture = np.asarray(Image.open(tmp_path / "curves.png").convert("RGB")).astype(int)
    for panel in np.split(picture, 3, axis=1):
        for colour in ((31, 119, 180), (255, 127, 14)):  # matplotlib's first two
            assert (abs(panel - colour).max(2) < 60).sum() > 100


def test_curves_are_smoothed_by_the_mean_about_each_step():
    values = torch.arange(7.0, dtype=torch.float64).square()
    expected = [np.mean(values.numpy()[max(i - 2, 0):i + 3]) for i in range(7)]
    np.testing.assert_allclose(_smooth(values, 2), expected)


def test_curves_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match="plot_scores"):
        plot_scores({"FT": [score_statistics(moco_logits(Q, K, ROWS))]}, tmp_path / "curves.png")
    assert not [*tmp_path.iterdir()]


def call(**changed):
    given = {"query": Q, "key": K, "queue": ROWS, "temperature": TAU, "step": STEP} | changed
    return feature_transformation(**given)


BAD = {
    "no batch": (lambda: call(query=Q[:0], key=K[:0]), ShapeError, "query.*nothing empty"),
    "no queue": (lambda: call(queue=ROWS[:0]), ShapeError, "queue.*nothing empty"),
    "keys of another batch": (lambda: call(key=K[:2]), ShapeError, r"key: expected \[6, 8\] like query, given \[2, 8\]"),
    "a queue of another length": (lambda: call(queue=ROWS[:, :3]), ShapeError, r"queue: expected \[K, 8\]"),
    "a queue elsewhere": (lambda: call(queue=ROWS.to("meta")), DeviceError, "queue: expected on cpu"),
    "whole numbers": (lambda: call(query=Q.long()), DtypeError, "query: expected floats"),
    "alpha 0": (lambda: call(positive_alpha=0), ArgumentError, "positive_alpha.*given 0"),
    "alpha below 0": (lambda: call(negative_alpha=-1.6), ArgumentError, "negative_alpha.*given -1.6"),
    "alpha nan": (lambda: FeatureTransformation(positive_alpha=float("nan")), ArgumentError, "positive_alpha.*given nan"),
    "per element": (lambda: call(positive_per="element"), ArgumentError, "'dimension', given 'element'"),
    "per nothing": (lambda: FeatureTransformation(negative_per=None), ArgumentError, "negative_per"),
    "norm": (lambda: call(postmix_norm="yes"), ArgumentError, "postmix_norm: expected True or False"),
    "temperature": (lambda: call(temperature=-1), ArgumentError, "temperature.*given -1"),
    "a step that is one number": (lambda: call(step=3), ArgumentError, "step: expected .seed, step."),
    "a step of floats": (lambda: call(step=torch.zeros(2)), DtypeError, "step: expected int64"),
    "exclude": (lambda: call(exclude=torch.zeros(6, 19) > 0), ShapeError, r"exclude: expected \[6, 20\]"),
    "statistics of no negatives": (lambda: score_statistics(Q[:, :1]), ShapeError, "at least one negative"),
    "no curves": (lambda: plot_scores({}, "x.png"), ArgumentError, "curves: expected a mapping"),
    "an empty curve": (lambda: plot_scores({"FT": []}, "x.png"), ArgumentError, "curves: expected a mapping"),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes(case):
    wrong, error, text = BAD[case]
    with pytest.raises(error, match=text):
        wrong()
