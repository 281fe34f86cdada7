"""SAN's losses: the numbers of the published code by hand, and loops in float64."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import t as student

from anamorph.core.errors import ArgumentError, DtypeError, ShapeError
from anamorph.features.san import (
    SoftContrastive,
    is_unknown,
    open_set_loss,
    pair_entropy,
    soft_contrastive,
    student_similarity,
)


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def similarity(d, v, c):
    k = 6.28 * student.pdf(math.sqrt(d / c), v) ** 2
    return k + k - k * k


def by_hand(f, z0, z1, scale, rate=1e4, freedom=(100, 10)):
    """With loops, as the card has it."""
    f, z, count = f.numpy(), np.concatenate([z0.numpy(), z1.numpy()]), len(f)
    d = [[((a - b) ** 2).sum() for b in f] for a in f]
    e = [min(d[i][j] for j in range(count) if j != i) / rate for i in range(count)]
    total = 0.0
    for i in range(2 * count):
        for j in range(2 * count):
            if i != j:
                x = d[i % count][j % count] + (e[i - count] if i >= count else 0) + (e[j - count] if j >= count else 0)
                p = similarity(x, freedom[0], scale)
                q = similarity(((z[i] - z[j]) ** 2).sum(), freedom[1], 1.0)
                total -= p * math.log(q + 1e-12) + (1 - p) * math.log(1 - q + 1e-12)
    return total / (2 * count) ** 2


FEATURES = torch.tensor([[0.0, 0], [1, 0], [0, 2]], dtype=torch.float64)
FIRST = torch.tensor([[0.0, 0], [1, 0], [0, 1]], dtype=torch.float64)
SECOND = torch.tensor([[0.5, 0], [1, 0.5], [0, 1.5]], dtype=torch.float64)
UNKNOWN, KNOWN = [0, 1, 0.5], [2.0, 0, -1]


@pytest.mark.parametrize("d, v, c, expected", [(1, 10, 1, 0.555456), (4, 100, 10, 0.887448)])
def test_similarities_with_numbers(d, v, c, expected):
    found = student_similarity(torch.tensor(float(d), dtype=torch.float64), v, c).item()
    assert found == pytest.approx(expected, abs=5e-7) and found == pytest.approx(similarity(d, v, c), rel=1e-12)


def test_two_views_of_a_picture_are_as_alike_as_can_be():
    """P of a pair is .99997."""
    for scale in (10, 50):
        assert student_similarity(torch.tensor(1e-4), 100, scale).item() == pytest.approx(0.99997, abs=5e-6)


def test_the_loss_with_numbers():
    assert soft_contrastive(FEATURES, FIRST, SECOND, scale=10).item() == pytest.approx(0.657317, abs=5e-7)


@pytest.mark.parametrize("scale, rate, freedom", [(10, 1e4, (100, 10)), (50, 100, (100, 10)), (3, 2, (5, 1))])
def test_the_loss_is_that_of_the_loops(scale, rate, freedom):
    f, z0, z1 = rows(5, 7), rows(5, 3, seed=1), rows(5, 3, seed=2)
    found = soft_contrastive(f, z0, z1, scale=scale, rate=rate, freedom=freedom)
    assert found.item() == pytest.approx(by_hand(f, z0, z1, scale, rate, freedom), rel=1e-9)
    far = soft_contrastive(f + 1e4, z0 - 1e4, z1 - 1e4, scale=scale, rate=rate, freedom=freedom)
    assert far.item() == pytest.approx(found.item(), rel=1e-6), "distances do not care where the features lie"


def test_gradients_reach_features_and_embeddings():
    f, z0, z1 = (t.requires_grad_() for t in (rows(4, 5), rows(4, 3, seed=1), rows(4, 3, seed=2)))
    soft_contrastive(f, z0, z1, rate=1e30, scale=5).backward()
    assert all(t.grad.abs().max() > 0 for t in (f, z0, z1))
    # e has no gradient, so with a rate that makes it vanish the derivative is the whole one.
    assert torch.autograd.gradcheck(lambda *given: soft_contrastive(*given, rate=1e30, scale=5), (f, z0, z1))
    assert torch.autograd.gradcheck(lambda a, b: soft_contrastive(f.detach(), a, b), (z0, z1))


def test_the_nearest_ones_distance_has_no_gradient():
    f, z0, z1 = rows(4, 5).requires_grad_(), rows(4, 3, seed=1), rows(4, 3, seed=2)
    found, = torch.autograd.grad(soft_contrastive(f, z0, z1, rate=2.0, scale=5), f)
    d = (f.detach()[:, None] - f.detach()).square().sum(2)
    e = d.masked_fill(torch.eye(4, dtype=torch.bool), math.inf).amin(0) / 2.0
    e = torch.cat([torch.zeros(4, dtype=torch.float64), e])

    def held(f):
        x = (f[:, None] - f).square().sum(2).repeat(2, 2) + e + e[:, None]
        z = torch.cat([z0, z1])
        p = student_similarity(x, 100, 5)
        q = student_similarity((z[:, None] - z).square().sum(2), 10, 1)
        cells = -(p * (q + 1e-12).log() + (1 - p) * (1 - q + 1e-12).log())
        return cells.masked_fill(torch.eye(8, dtype=torch.bool), 0).mean()

    expected, = torch.autograd.grad(held(f), f)
    torch.testing.assert_close(found, expected)


def test_the_classifier_with_numbers():
    logits = torch.tensor([UNKNOWN + KNOWN])
    assert open_set_loss(logits, torch.tensor([0])).item() == pytest.approx(1.184570, abs=2e-6)


@pytest.mark.parametrize("top", [2, 5, 20, 50])
def test_only_the_nearest_classes_take_part(top):
    logits, labels, beta = rows(6, 2 * 30).requires_grad_(), torch.tensor([0, 29, 3, 3, 7, 12]), 0.7
    loss = open_set_loss(logits, labels, beta=beta, top=top)
    expected = []
    for z, y in zip(logits.detach().numpy(), labels.tolist()):
        unknown, known = z[:30], z[30:]
        others = sorted((c for c in range(30) if c != y), key=lambda c: -known[c])[:top - 1]
        chosen = [y, *others]
        p = np.exp(np.concatenate([unknown[chosen], known[chosen]]))
        u, k = np.split(p / p.sum(), 2)
        gap = k.max() - u.max()
        expected.append((-math.log(k[0]) + max(-np.log(u[1:])) + beta * math.log(1 + math.exp(-gap))) / 3)
    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-9)
    loss.backward()
    assert ((logits.grad != 0).sum(1) == 2 * min(top, 30)).all()


def test_entropy_of_pairs_and_who_is_unknown():
    logits = rows(5, 8)
    expected = 0.0
    for z in logits.numpy():
        for c in range(4):
            p = np.exp([z[c], z[4 + c]])
            p /= p.sum()
            expected -= (p * np.log(p)).sum() / 20
    assert pair_entropy(logits).item() == pytest.approx(expected, rel=1e-9)
    assert pair_entropy(torch.zeros(2, 8)).item() == pytest.approx(math.log(2))
    assert is_unknown(torch.tensor([[0.0, 2, 1, 1], [0, 1, 1, 0], [0, 1, 2, 0], [3, 0, 2, 9]])).int().tolist() == [1, 1, 0, 0]


def test_gradcheck_of_the_classifier():
    logits = rows(4, 12).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: open_set_loss(z, torch.tensor([0, 5, 2, 2]), top=3), logits)
    assert torch.autograd.gradcheck(pair_entropy, logits)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_whole(backend):
    def loss(f, z0, z1, logits):
        labels = torch.tensor([0, 3, 1, 1])
        return soft_contrastive(f, z0, z1) + open_set_loss(logits, labels, top=3) + pair_entropy(logits)

    given = [rows(4, 5), rows(4, 3, seed=1), rows(4, 3, seed=2), rows(4, 10, seed=3)]
    plain, compiled = ([t.clone().requires_grad_() for t in given] for _ in range(2))
    expected = torch.autograd.grad(loss(*plain), plain)
    found = torch.autograd.grad(torch.compile(loss, fullgraph=True, backend=backend)(*compiled), compiled)
    torch.testing.assert_close(found, expected)


def test_autocast_and_halves():
    f, z0, z1, logits = (t.float() for t in (rows(6, 64), rows(6, 16, seed=1), rows(6, 16, seed=2), rows(6, 20)))
    labels = torch.arange(6)
    expected = soft_contrastive(f, z0, z1), open_set_loss(logits, labels), pair_entropy(logits)
    with torch.autocast("cpu", torch.bfloat16):
        found = soft_contrastive(f, z0, z1), open_set_loss(logits, labels), pair_entropy(logits)
        halves = soft_contrastive(f.bfloat16(), z0.bfloat16(), z1.bfloat16())
    assert found == expected and halves.dtype == torch.float32
    assert halves.item() == soft_contrastive(f.bfloat16().float(), z0.bfloat16().float(), z1.bfloat16().float()).item()


def test_far_apart_in_float32():
    """Where Q is far below float32's epsilon its logarithm counts all the same."""
    f, z0, z1 = rows(6, 64), 3 * rows(6, 16, seed=1), 3 * rows(6, 16, seed=2)
    assert soft_contrastive(f.float(), z0.float(), z1.float()).item() == pytest.approx(by_hand(f, z0, z1, 50.0), rel=1e-4)


def test_the_module_projects_both_views_and_learns():
    torch.manual_seed(0)
    module, first = SoftContrastive(8, 32, scale=10).double(), rows(16, 8)
    second = first + 0.1 * rows(16, 8, seed=1)
    assert sum(p.numel() for p in SoftContrastive().parameters()) == 2048 * 4096 + 4096 + 2 * 4096 + 4096 * 2048 + 2048
    found = module(first, second)
    assert found.item() == pytest.approx(by_hand(first, module.projector(first).detach(), module.projector(second).detach(), 10))
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = module(first, second)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


Z, LOGITS, LABELS = rows(4, 6), rows(4, 10), torch.tensor([0, 1, 2, 4])
BAD = {
    "a batch of one": (lambda: soft_contrastive(Z[:1], Z[:1], Z[:1]), ShapeError, "two pictures or more, given 1"),
    "no batch": (lambda: soft_contrastive(Z[:0], Z[:0], Z[:0]), ShapeError, "features.*nothing empty"),
    "features of others": (lambda: soft_contrastive(Z[:3], Z, Z), ShapeError, "given 3 and 4"),
    "views of two sizes": (lambda: soft_contrastive(Z, Z, Z[:, :2]), ShapeError, r"second: expected \[4, 6\]"),
    "maps": (lambda: soft_contrastive(Z[:, :, None], Z, Z), ShapeError, r"features: expected \[B, F\]"),
    "scale": (lambda: soft_contrastive(Z, Z, Z, scale=0), ArgumentError, "scale.*given 0"),
    "rate": (lambda: soft_contrastive(Z, Z, Z, rate=-1), ArgumentError, "rate.*given -1"),
    "freedom": (lambda: soft_contrastive(Z, Z, Z, freedom=(100, 0)), ArgumentError, "freedom.*given 0"),
    "one freedom": (lambda: soft_contrastive(Z, Z, Z, freedom=100), ArgumentError, "freedom: expected two numbers"),
    "precisions": (lambda: soft_contrastive(Z, Z, Z.float()), DtypeError, "second: expected torch.float64"),
    "an odd number of logits": (lambda: open_set_loss(LOGITS[:, :9], LABELS), ShapeError, r"expected \[B, 2 C\]"),
    "one class": (lambda: open_set_loss(LOGITS[:, :2], LABELS), ShapeError, "C of at least 2"),
    "labels of other classes": (lambda: open_set_loss(LOGITS, LABELS + 1), ArgumentError, "from 0 to 4, given 1 to 5"),
    "labels of others": (lambda: open_set_loss(LOGITS, LABELS[:2]), ShapeError, r"labels: expected class ids \[4\]"),
    "labels of floats": (lambda: open_set_loss(LOGITS, LABELS.float()), DtypeError, "labels: expected int64"),
    "top 1": (lambda: open_set_loss(LOGITS, LABELS, top=1), ArgumentError, "top.*given 1"),
    "beta": (lambda: open_set_loss(LOGITS, LABELS, beta=-1), ArgumentError, "beta.*given -1"),
    "no logits": (lambda: pair_entropy(LOGITS[:0]), ShapeError, "logits.*nothing empty"),
    "whole logits": (lambda: is_unknown(LOGITS.long()), DtypeError, "logits: expected floats"),
    "no width": (lambda: SoftContrastive(8, 0), ArgumentError, "hidden.*given 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes(case):
    call, error, text = BAD[case]
    with pytest.raises(error, match=text):
        call()
