"""Gaussian anomaly detection and classifiers against scikit-learn, SciPy and their formulas in float64."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2, multivariate_normal
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.naive_bayes import GaussianNB

from anamorph.core.errors import ArgumentError, DtypeError, ShapeError
from anamorph.features.gaussian import (
    ALPHAS,
    CLIPGDA,
    GaussianAnomaly,
    GaussianNaiveBayes,
    gda_head,
    mahalanobis,
    mahalanobis_threshold,
    ridge_precision,
)
from anamorph.features.statistics import RunningGaussian


def drawn(rows, dim, seed=0, dtype=torch.float64):
    """Rows whose directions vary by very different amounts."""
    g = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(dim, dim, generator=g, dtype=torch.float64)).Q
    scale = 2.0 ** -torch.arange(dim, dtype=torch.float64)
    return (torch.randn(rows, dim, generator=g, dtype=torch.float64) * scale @ turn + 1).to(dtype)


def of_classes(rows, dim, classes, seed=0):
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % classes
    centre = torch.randn(classes, dim, generator=g, dtype=torch.float64)
    return drawn(rows, dim, seed) + 0.5 * centre[labels], labels


# ---- distances ----


def test_distances_are_those_of_the_inverse():
    x = drawn(20, 4)
    mean, cov = x.mean(0), torch.from_numpy(np.cov(x.numpy().T))
    expected = np.sqrt([(row - mean.numpy()) @ np.linalg.inv(cov.numpy()) @ (row - mean.numpy()) for row in x.numpy()])
    np.testing.assert_allclose(mahalanobis(x, mean, cov), expected, rtol=1e-10)


def test_directions_without_variance_do_not_count():
    """As with the pseudo-inverse, which scikit-learn takes."""
    x = drawn(4, 9)
    cov = torch.from_numpy(np.cov(x.numpy().T))
    other = drawn(6, 9, 1)
    away = (other - x.mean(0)).numpy()
    expected = np.sqrt(np.einsum("nd,de,ne->n", away, np.linalg.pinv(cov.numpy(), hermitian=True), away))
    np.testing.assert_allclose(mahalanobis(other, x.mean(0), cov), expected, rtol=1e-8)
    assert not mahalanobis(other, x.mean(0), torch.zeros(9, 9, dtype=torch.float64)).any()


def test_gradients_of_distances():
    x = drawn(5, 3)
    cov = torch.from_numpy(np.cov(x.numpy().T))
    assert torch.autograd.gradcheck(lambda t: mahalanobis(t, x.mean(0), cov), (x + 0.1).requires_grad_())


@pytest.mark.parametrize("dim", [1, 2, 24, 448, 1792])
@pytest.mark.parametrize("p", [1e-12, 1e-6, 0.05, 0.5, 0.9973, 1 - 1e-9, 1 - 2**-53])
def test_the_threshold_is_that_of_chi_squared(dim, p):
    assert mahalanobis_threshold(dim, p) == pytest.approx(math.sqrt(chi2.ppf(p, dim)), rel=1e-9)


def test_the_default_threshold_is_three_deviations():
    assert mahalanobis_threshold(1) == pytest.approx(3, abs=1e-3)
    assert mahalanobis_threshold(24) == pytest.approx(math.sqrt(chi2.ppf(0.9973, 24)), rel=1e-12)


# ---- anomaly detection ----


def published(train, test, subset, share=0.95):
    """The steps of the published code with its libraries: components, then Ledoit-Wolf among them. Its second subset begins one
    component earlier than its text says; here the text counts."""
    train, test = train.numpy(), test.numpy()
    if subset != "all":
        pca = PCA().fit(train)
        last = int((pca.explained_variance_ratio_.cumsum() > share).argmax())
        components = pca.components_[:last + 1] if subset == "pca" else pca.components_[last:]
        train, test = ((x - train.mean(0)) @ components.T for x in (train, test))
    found = LedoitWolf().fit(train)
    return np.sqrt(found.mahalanobis(test)), train.shape[1]


@pytest.mark.parametrize("subset", ["all", "pca", "npca"])
def test_scores_are_scikit_learns(subset):
    """Two levels, one of them maps that are averaged."""
    train, test = [drawn(60, 6), drawn(60, 9, 1)], [drawn(7, 6, 2) + 0.1, drawn(7, 9, 3)]
    noise = torch.randn(7, 9, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    maps = test[1][:, :, None, None] + noise - noise.mean((2, 3), keepdim=True)
    found = GaussianAnomaly((6, 9), subset).double().fit(train)
    expected, kept = zip(*(published(a, b, subset) for a, b in zip(train, test, strict=True)), strict=True)
    assert found.components.tolist() == list(kept) and (subset == "all") == (kept == (6, 9))
    np.testing.assert_allclose(found([test[0], maps], each=True), np.stack(expected, 1), rtol=1e-9)
    np.testing.assert_allclose(found([test[0], maps]), np.mean(expected, 0), rtol=1e-9)
    assert found.thresholds() == pytest.approx([math.sqrt(chi2.ppf(0.9973, k)) for k in kept])


def test_fewer_pictures_than_dimensions():
    """Ledoit and Wolf's covariance has every direction; the components that the pictures do not have are in no subset."""
    train, test = drawn(8, 12), drawn(5, 12, 1)
    for subset in ("all", "pca", "npca"):
        found = GaussianAnomaly([12], subset, share=0.9).double().fit([train])
        if subset == "all":
            expected, kept = published(train, test, subset, 0.9)
        else:  # the last of scikit-learn's eight components is rounding
            pca = PCA(7).fit(train.numpy())
            last = int((pca.explained_variance_ratio_.cumsum() > 0.9).argmax())
            chosen = pca.components_[:last + 1] if subset == "pca" else pca.components_[last:]
            expected, kept = published((train - train.mean(0)) @ chosen.T, (test - train.mean(0)) @ chosen.T, "all")
        assert found.components.tolist() == [kept]
        np.testing.assert_allclose(found([test]), expected, rtol=1e-8)


def test_subsets_share_one_component_and_have_all():
    train = drawn(60, 6)
    sizes = [GaussianAnomaly([6], s).fit([train]).components.item() for s in ("pca", "npca")]
    assert sum(sizes) == 7 and min(sizes) > 1
    assert GaussianAnomaly([6], "pca", share=1.0).fit([train]).components.item() == 6
    assert GaussianAnomaly([6], "npca", share=1.0).fit([train]).components.item() == 1
    assert GaussianAnomaly([6], "npca", share=0.0).fit([train]).components.item() == 6


def test_affine_invariance_only_without_shrinkage():
    train, test = drawn(60, 4), drawn(9, 4, 1)
    change = torch.randn(4, 4, generator=torch.Generator().manual_seed(2)).double() + 2 * torch.eye(4)
    scores = {}
    for shrinkage in (0.0, 0.2, "ledoit-wolf"):
        plain, changed = (GaussianAnomaly([4], shrinkage=shrinkage).double().fit([x]) for x in (train, train @ change + 5))
        scores[shrinkage] = plain([test]), changed([test @ change + 5])
    torch.testing.assert_close(*scores[0.0])
    assert all(float((scores[s][0] - scores[s][1]).abs().min()) > 1e-3 for s in (0.2, "ledoit-wolf"))
    expected = mahalanobis(test, train.mean(0), torch.from_numpy(np.cov(train.numpy().T, bias=True)))
    torch.testing.assert_close(scores[0.0][0], expected)


def test_what_is_far_scores_more_and_the_state_goes_on():
    train, normal, strange = drawn(180, 5, dtype=torch.float32).split([80, 50, 50])
    strange = strange + 2 * torch.linalg.eigh(torch.from_numpy(np.cov(train.numpy().T))).eigenvectors[:, 0].float()
    detector = GaussianAnomaly([5]).fit([train])
    assert detector([normal]).max() < detector([strange]).median()
    other = GaussianAnomaly([5])
    other.load_state_dict(detector.state_dict())
    assert torch.equal(other([normal]), detector([normal])) and other([normal.bfloat16()]).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(other([normal]), detector([normal]))
    assert (detector([normal]) < detector.thresholds()[0]).double().mean() > 0.9


def test_gradients_of_scores():
    detector = GaussianAnomaly([3, 4], "npca", 0.5).double().fit([drawn(30, 3), drawn(30, 4)])
    maps = torch.randn(2, 4, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, m: detector([x, m]), (drawn(2, 3, 1).requires_grad_(), maps))


# ---- discriminant analysis ----


def test_the_head_is_scikit_learns():
    x, labels = of_classes(90, 5, 3)
    expected = LinearDiscriminantAnalysis(solver="lsqr").fit(x.numpy(), labels.numpy())
    running = RunningGaussian(5, 3, dtype=torch.float64).update(x, labels)
    prior = running.counts / running.counts.sum()
    head = gda_head(running.mean, torch.linalg.inv(running.pooled_covariance()), prior.double())
    np.testing.assert_allclose(head.weight, expected.coef_, rtol=1e-8)
    np.testing.assert_allclose(head.bias, expected.intercept_, rtol=1e-8)


def test_the_head_is_bayes_rule():
    """Log densities and log priors, up to what all classes share."""
    x, labels = of_classes(60, 4, 3)
    running = RunningGaussian(4, 3, dtype=torch.float64).update(x, labels)
    cov, prior = running.pooled_covariance(), torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    for given_prior in (None, prior):
        head = gda_head(running.mean, torch.linalg.inv(cov), given_prior)
        log = np.log(np.full(3, 1 / 3) if given_prior is None else given_prior.numpy())
        joint = np.stack([multivariate_normal(m, cov).logpdf(x) for m in running.mean.numpy()], 1) + log
        found = (x @ head.weight.T + head.bias).numpy()
        np.testing.assert_allclose(found - found[:, :1], joint - joint[:, :1], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("rows", [3, 40])
def test_the_ridge_is_shrinkage(rows):
    """D pinv((n - 1) S + tr(S) I) = D / (n - 1 + D) times the inverse of (1 - r) S + r tr(S) / D I."""
    x = drawn(rows, 6).numpy()
    s, d = np.cov(x.T), 6
    r = d / (rows - 1 + d)
    expected = d / (rows - 1 + d) * np.linalg.inv((1 - r) * s + r * np.trace(s) / d * np.eye(d))
    found = ridge_precision(torch.from_numpy(s * (rows - 1)), rows)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_allclose(found, d * np.linalg.pinv((rows - 1) * s + np.trace(s) * np.eye(d)), rtol=1e-9)
    both = ridge_precision(torch.from_numpy(np.stack([s, 2 * s])) * (rows - 1), rows)
    torch.testing.assert_close(both[0], found)
    torch.testing.assert_close(both[1], found / 2)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def clip_case(rows=24, dim=6, classes=3, seed=0):
    x, labels = of_classes(rows, dim, classes, seed)
    text = torch.randn(classes, dim, generator=torch.Generator().manual_seed(seed + 9), dtype=torch.float64)
    return x, labels, text


def test_the_clip_baseline_as_published():
    """In batches, as several passes of random views would come; every formula in NumPy."""
    x, labels, text = clip_case()
    model = CLIPGDA(text, alpha=0.3)
    for a, b in zip(x.split(7), labels.split(7), strict=True):
        model.update(a, b)
    f, y = unit(x.numpy()), labels.numpy()
    mu = np.stack([f[y == c].mean(0) for c in range(3)])
    centred = np.concatenate([f[y == c] - mu[c] for c in range(3)])
    cov = np.cov(centred.T)
    precision = 6 * np.linalg.pinv((len(f) - 1) * cov + np.trace(cov) * np.eye(6))
    weight, bias = mu @ precision, np.log(1 / 3) - np.einsum("nd,dc,nc->n", mu, precision, mu) / 2
    np.testing.assert_allclose(model.fit().weight, weight, rtol=1e-9)
    np.testing.assert_allclose(model.bias, bias, rtol=1e-9)
    test = unit(drawn(10, 6, 5).numpy())
    expected = 100 * test @ unit(text.numpy()).T + 0.3 * (test @ weight.T + bias)
    np.testing.assert_allclose(model(torch.from_numpy(test * 3)), expected, rtol=1e-9)
    assert ALPHAS == (1e-4, 1e-3, 1e-2, 1e-1, 1, 10, 100)


def test_alpha_is_the_first_that_is_right_most_often():
    x, labels, text = clip_case(60)
    model = CLIPGDA(text).update(x[:30], labels[:30]).fit()
    f = unit(x[30:].numpy())
    parts = 100 * f @ unit(text.numpy()).T, f @ model.weight.numpy().T + model.bias.numpy()
    right = [np.mean((parts[0] + a * parts[1]).argmax(1) == labels[30:].numpy()) for a in ALPHAS]
    assert len({*right}) > 2
    assert model.tune(x[30:], labels[30:]) == max(right) and float(model.alpha) == ALPHAS[int(np.argmax(right))]
    assert model.tune(x[30:], labels[30:], [7.0, 7.5]) and float(model.alpha) == 7.0


def test_base_to_new_as_published():
    x, labels, text = clip_case(48)
    f, y = unit(x.numpy()), labels.numpy()
    model = CLIPGDA(text, alpha=2.0).update(x, labels).fit("mean")
    mu = np.stack([f[y == c].mean(0) for c in range(3)])
    precision = np.linalg.pinv(np.mean([np.cov(f[y == c].T) for c in range(3)], 0))
    np.testing.assert_allclose(model.weight, mu @ precision, rtol=1e-8)
    np.testing.assert_allclose(model.bias, np.log(1 / 3) - np.einsum("nd,dc,nc->n", mu, precision, mu) / 2, rtol=1e-8)
    new_text = torch.randn(4, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    new, k, copies = model.new_classes(new_text, x, neighbours=10, copies=5), 10, 5
    t, means, precisions = unit(new_text.numpy()), [], []
    for w in t:
        near = f[np.argsort(-(f @ w))[:k]]
        means.append(np.concatenate([near, np.repeat(w[None], copies, 0)]).mean(0))
        cov = (near - w).T @ (near - w) / (k - 1)
        precisions.append(6 * np.linalg.pinv((k - 1) * cov + np.trace(cov) * np.eye(6)))
    means, precision = np.stack(means), np.mean(precisions, 0)
    np.testing.assert_allclose(new.weight, means @ precision, rtol=1e-8)
    np.testing.assert_allclose(new.bias, np.log(1 / 4) - np.einsum("nd,dc,nc->n", means, precision, means) / 2, rtol=1e-8)
    np.testing.assert_allclose(new.text, t, rtol=1e-12)
    assert float(new.alpha) == 2.0


def test_the_state_of_the_clip_baseline_goes_on():
    x, labels, text = clip_case()
    model = CLIPGDA(text.float()).update(x.float(), labels).fit()
    model.tune(x.float(), labels)
    other = CLIPGDA(torch.ones(3, 6))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x.float()), model(x.float()))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(other(x.float()), model(x.float()))
    assert other(x.bfloat16()).dtype == torch.float32


# ---- naive Bayes ----


@pytest.mark.parametrize("split", [[90], [1] * 90, [50, 40]])
def test_naive_bayes_is_scikit_learns(split):
    """Its own variances of each class; no smoothing on either side."""
    x, labels = of_classes(90, 5, 3)
    expected = GaussianNB(var_smoothing=0).fit(x.numpy(), labels.numpy())
    model = GaussianNaiveBayes(5, 3, shared=False, epsilon=0)
    for a, b in zip(x.split(split), labels.split(split), strict=True):
        model.update(a, b)
    test = drawn(20, 5, 8)
    np.testing.assert_allclose(model(test), expected.predict_joint_log_proba(test.numpy()), rtol=1e-9)
    np.testing.assert_allclose(model(test).log_softmax(1), expected.predict_log_proba(test.numpy()), rtol=1e-8, atol=1e-8)


def test_shared_variances_as_published():
    x, labels = of_classes(91, 5, 3)  # classes of unequal size
    model = GaussianNaiveBayes(5, 3).update(x[:40], labels[:40]).update(x[40:], labels[40:])
    f, y, test = x.numpy(), labels.numpy(), drawn(20, 5, 8).numpy()
    prior = np.bincount(y) / len(y)
    variance = sum(prior[c] * (f[y == c].var(0) + 1e-9) for c in range(3))
    expected = np.stack([np.log(prior[c]) - 0.5 * (((test - f[y == c].mean(0)) ** 2) / variance
                                                   + np.log(2 * np.pi * variance)).sum(1) for c in range(3)], 1)
    found = model(torch.from_numpy(test))
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    middle = model(torch.from_numpy(test[:2].mean(0, keepdims=True)))  # linear: differences of classes are affine in the features
    torch.testing.assert_close((middle - middle[:, :1])[0], (found[:2] - found[:2, :1]).mean(0))


@pytest.mark.parametrize("shared", [True, False])
def test_a_split_fit_is_the_whole_fit(shared):
    x, labels = of_classes(60, 5, 3)
    whole, split = (GaussianNaiveBayes(5, 4, shared) for _ in range(2))
    whole.update(x, labels)
    for a, b in zip(x.split(11), labels.split(11), strict=True):
        split.update(a, b)
    test = drawn(20, 5, 8)
    torch.testing.assert_close(split(test), whole(test), rtol=1e-10, atol=1e-10)
    assert torch.isinf(whole(test)[:, 3]).all() and torch.isfinite(whole(test)[:, :3]).all()
    assert torch.isinf(GaussianNaiveBayes(5, 4, shared)(test)).all()


def test_digits_far_from_zero():
    """Means a thousand times the spread, sums of float32: the squares keep their digits."""
    x, labels = of_classes(90, 5, 3)
    model = GaussianNaiveBayes(5, 3, dtype=torch.float32).update((x + 300).float(), labels)
    exact = GaussianNaiveBayes(5, 3).update((x + 300).float(), labels)
    near = (x[:20] + 300).float()
    torch.testing.assert_close(model(near).log_softmax(1).double(), exact(near).log_softmax(1), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("shared", [True, False])
def test_gradients_of_naive_bayes(shared):
    x, labels = of_classes(30, 3, 2)
    model = GaussianNaiveBayes(3, 2, shared).update(x, labels)
    assert torch.autograd.gradcheck(model, drawn(4, 3, 1).requires_grad_())


def test_compiled_whole():
    torch.compiler.reset()
    x, labels, text = clip_case()
    detector = GaussianAnomaly([6]).double().fit([x])
    clip, bayes = CLIPGDA(text).update(x, labels).fit(), GaussianNaiveBayes(6, 3).update(x, labels)

    def run(x):
        return detector([x]), clip(x), bayes(x), mahalanobis(x, text[0], torch.eye(6, dtype=torch.float64))

    for found, expected in zip(torch.compile(run, fullgraph=True, backend="aot_eager")(x), run(x), strict=True):
        torch.testing.assert_close(found, expected)

    def learn(x, labels):
        return bayes.update(x, labels).statistics.counts.sum()

    assert torch.compile(learn, fullgraph=True, backend="aot_eager")(x, labels) == 2 * len(x)


# ---- what is wrong ----

X, Y = drawn(12, 4, dtype=torch.float32), torch.arange(12) % 3
TEXT = torch.eye(3, 4)
FITTED = GaussianAnomaly([4]).fit([X])


@pytest.mark.parametrize("call, error, says", [
    (lambda: mahalanobis(X, torch.zeros(3), torch.eye(4)), ShapeError, r"mean: expected \[4\]"),
    (lambda: mahalanobis(X, torch.zeros(4), torch.eye(3)), ShapeError, r"covariance: expected \[4, 4\]"),
    (lambda: mahalanobis(X[0], torch.zeros(4), torch.eye(4)), ShapeError, r"features: expected \[B, D\]"),
    (lambda: mahalanobis_threshold(0), ArgumentError, "dim: expected a whole number"),
    (lambda: mahalanobis_threshold(2, 1), ArgumentError, "p: expected a number between 0 and 1, given 1"),
    (lambda: mahalanobis_threshold(2, 0), ArgumentError, "p: expected a number between 0 and 1, given 0"),
    (lambda: GaussianAnomaly([]), ArgumentError, "dims: expected the number of channels of each level"),
    (lambda: GaussianAnomaly(4), ArgumentError, "dims: expected the number of channels of each level, given 4"),
    (lambda: GaussianAnomaly([4, 0]), ArgumentError, "dims: expected a whole number"),
    (lambda: GaussianAnomaly([4], "low"), ArgumentError, "subset: expected one of 'all', 'pca', 'npca', given 'low'"),
    (lambda: GaussianAnomaly([4], share=2), ArgumentError, "share: expected a probability"),
    (lambda: GaussianAnomaly([4], shrinkage="oas"), ArgumentError, "shrinkage: expected one of 'ledoit-wolf'"),
    (lambda: GaussianAnomaly([4], shrinkage=-1), ArgumentError, "shrinkage: expected a finite number from 0 to 1"),
    (lambda: GaussianAnomaly([4])([X]), ArgumentError, r"levels: expected after fit\(\), given before"),
    (lambda: GaussianAnomaly([4]).fit([X[:1]]), ShapeError, r"levels\[0\]: expected at least two normal pictures, given 1"),
    (lambda: GaussianAnomaly([4]).fit([X[:0]]), ShapeError, r"levels\[0\]: expected \[B, 4\] with nothing empty"),
    (lambda: GaussianAnomaly([4]).fit([X / 0]), ArgumentError, "features: expected finite numbers"),
    (lambda: GaussianAnomaly([4], shrinkage=0).fit([X[:3]]), ArgumentError, r"levels\[0\]: expected features that vary in every"),
    (lambda: GaussianAnomaly([4]).fit([torch.ones(5, 4)]), ArgumentError, r"levels\[0\]: expected features that vary in every"),
    (lambda: GaussianAnomaly([4], "npca").fit([torch.ones(5, 4)]), ArgumentError, "levels: expected features that vary"),
    (lambda: FITTED(X), ArgumentError, "levels: expected a list of 1 tensors, one for each level, given 'Tensor'"),
    (lambda: FITTED([X, X]), ArgumentError, "levels: expected a list of 1 tensors, one for each level, given '2 of them'"),
    (lambda: FITTED([X[:, 1:]]), ShapeError, r"levels\[0\]: expected \[B, 4\]"),
    (lambda: FITTED([X[:, :3, None, None]]), ShapeError, r"levels\[0\]: expected \[B, 4, H, W\]"),
    (lambda: FITTED([X.long()]), DtypeError, r"levels\[0\]: expected floats"),
    (lambda: GaussianAnomaly([4, 4]).fit([X, X[1:]]), ShapeError, r"levels\[1\]: expected 12 pictures as in the first level"),
    (lambda: gda_head(TEXT, torch.eye(3)), ShapeError, r"precision: expected \[4, 4\]"),
    (lambda: gda_head(TEXT, torch.eye(4), torch.ones(4)), ShapeError, r"prior: expected \[3\]"),
    (lambda: gda_head(TEXT, torch.eye(4).double()), DtypeError, "precision: expected torch.float32"),
    (lambda: ridge_precision(torch.eye(3), 1), ArgumentError, "count: expected a whole number of at least 2, given 1"),
    (lambda: ridge_precision(TEXT, 5), ShapeError, r"scatter: expected \[..., D, D\]"),
    (lambda: CLIPGDA(TEXT[0]), ShapeError, r"text: expected \[C, D\]"),
    (lambda: CLIPGDA(TEXT * math.nan), ArgumentError, "text: expected finite numbers"),
    (lambda: CLIPGDA(TEXT, alpha=-1), ArgumentError, "alpha: expected"),
    (lambda: CLIPGDA(TEXT).fit(), ArgumentError, r"fit: expected at least 1 row of each class, given \[0, 0, 0\]"),
    (lambda: CLIPGDA(TEXT).update(X[:4], Y[:4]).fit("mean"), ArgumentError, "fit: expected at least 2 rows of each class"),
    (lambda: CLIPGDA(TEXT).update(X, Y).fit("ridge"), ArgumentError, "precision: expected one of 'pooled', 'mean'"),
    (lambda: CLIPGDA(TEXT).update(X[:, 1:], Y), ShapeError, r"features: expected \[B, 4\]"),
    (lambda: CLIPGDA(TEXT).update(X, Y + 1), ArgumentError, "labels: expected class ids from 0 to 2, given 1 to 3"),
    (lambda: CLIPGDA(TEXT)(X[:, 1:]), ShapeError, r"features: expected \[B, 4\]"),
    (lambda: CLIPGDA(TEXT).tune(X, Y, []), ArgumentError, "alphas: expected numbers"),
    (lambda: CLIPGDA(TEXT).tune(X, Y, [-1]), ArgumentError, "alphas: expected a finite number of at least 0"),
    (lambda: CLIPGDA(TEXT).new_classes(TEXT, X), ShapeError, "features: expected at least 64 rows, one for each"),
    (lambda: CLIPGDA(TEXT).new_classes(TEXT[:, 1:], X, 2), ShapeError, r"text: expected \[C', 4\]"),
    (lambda: CLIPGDA(TEXT).new_classes(TEXT, X, 1), ArgumentError, "neighbours: expected a whole number of at least 2"),
    (lambda: GaussianNaiveBayes(4, 3, epsilon=-1), ArgumentError, "epsilon: expected"),
    (lambda: GaussianNaiveBayes(4, 3).update(X, Y.float()), DtypeError, "labels: expected int64"),
    (lambda: GaussianNaiveBayes(4, 3)(X[:, 1:]), ShapeError, r"features: expected \[B, 4\]"),
])
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says):
        call()
