"""UniCon-HA's loss, against its formula written out with loops in float64."""

import math

import numpy as np
import pytest
import torch

import anamorph as am

OUTLIER = torch.tensor([False, True, False, False, True])


def embeddings(count=5):
    return torch.randn(2, count, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def cosines(first, second):
    z = np.concatenate([first.numpy(), second.numpy()])
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    return z @ z.T


@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_written_out(weighted):
    a, b = embeddings()
    cos, out = cosines(a, b), OUTLIER.repeat(2).tolist()
    n, e = 10, np.exp(cosines(a, b) / 0.2)
    inliers = [i for i in range(n) if not out[i]]
    weight = {p: sum(math.exp(cos[p, j] / 0.5) for j in inliers if j != p) if weighted else 1.0 for p in inliers}
    total = 0.0
    for i in range(n):
        positives = [(i + 5) % n] if out[i] else [p for p in inliers if p != i]
        w = [weight.get(p, 1.0) for p in positives]
        logs = [-math.log(e[i, p] / (e[i].sum() - e[i, i])) for p in positives]
        total += sum(x * y for x, y in zip(w, logs, strict=True)) / sum(w) / n
    assert am.one_class_loss(a, b, OUTLIER, 0.2, weighted=weighted).item() == pytest.approx(total, rel=1e-12)


def test_outliers_alone_are_nt_xent():
    a, b = embeddings()
    assert am.one_class_loss(a, b, [True] * 5).item() == pytest.approx(am.nt_xent(a, b).item(), rel=1e-12)


def test_equal_weights_are_the_plain_mean():
    """Three inliers at right angles to each other, both of whose views are the same."""
    z = torch.eye(5, dtype=torch.float64)
    plain, weighted = (am.one_class_loss(z, z, OUTLIER, weighted=w) for w in (False, True))
    assert plain.item() == pytest.approx(weighted.item(), rel=1e-12)
    a, b = embeddings()
    assert am.one_class_loss(a, b, OUTLIER).item() != pytest.approx(am.one_class_loss(a, b, OUTLIER, weighted=True).item())


def test_weights_have_no_gradient_and_the_loss_has():
    a, b = embeddings()
    a.requires_grad_()
    am.one_class_loss(a, b, OUTLIER, weighted=True).backward()
    assert a.grad.isfinite().all() and a.grad.abs().sum() > 0


def test_outliers_are_turned_copies():
    images = torch.randint(256, (2, 3, 6, 6), dtype=torch.uint8)
    views, outlier = am.virtual_outliers(images)
    assert outlier.tolist() == [False, True, True, True] * 2
    assert torch.equal(views[~outlier], images) and torch.equal(views[6], torch.rot90(images[1], 2, (1, 2)))


def test_stages():
    losses = [torch.tensor(x) for x in (1.0, 2.0, 3.0, 4.0)]
    assert am.hierarchical_loss(losses).item() == 2.5
    assert am.hierarchical_loss(losses, [0, 0.5, 0, 1]).item() == 1.25
    recipes = am.hierarchical_recipes(16)
    assert [r.transforms[0].scale[0] for r in recipes] == [0.75, 0.54, 0.3, 0.08]
    images = torch.randint(256, (2, 20, 20, 3), dtype=torch.uint8)
    assert all(am.render(images, r.plan([0, 1], size=(20, 20), view=v)).shape == (2, 3, 16, 16) for v, r in enumerate(recipes))


A = torch.ones(5, 4)
BAD = {
    "outliers of others": (lambda: am.one_class_loss(A, A, [True]), am.ShapeError, r"outlier: expected \[5\]"),
    "numbers for flags": (lambda: am.one_class_loss(A, A, [1, 0, 0, 0, 0]), am.DtypeError, "outlier: expected bool"),
    "weighted": (lambda: am.one_class_loss(A, A, OUTLIER, weighted=2), am.ArgumentError, "True or False"),
    "temperature": (lambda: am.one_class_loss(A, A, OUTLIER, -1), am.ArgumentError, "temperature"),
    "no losses": (lambda: am.hierarchical_loss([]), am.ArgumentError, "a list of scalars"),
    "no scalar": (lambda: am.hierarchical_loss([torch.ones(2)]), am.ShapeError, r"losses\[0\]: expected a scalar"),
    "three weights": (lambda: am.hierarchical_loss([A.sum()], [1, 2, 3]), am.ArgumentError, "1 numbers"),
    "size": (lambda: am.hierarchical_recipes(0), am.ArgumentError, "hierarchical_recipes.size"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, words = BAD[name]
    with pytest.raises(error, match=words):
        call()
