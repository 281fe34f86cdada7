"""SF(DA)^2 against its formulas in float64, by loops."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from anamorph.core.errors import ArgumentError, DtypeError, ShapeError
from anamorph.features.sfda2 import SFDA2, disentanglement, implicit_augmentation, neighbour_clustering
from anamorph.features.statistics import RunningGaussian, covariance

SAMPLES, DIM, CLASSES = 30, 5, 4


def drawn(seed=0, rows=9, dtype=torch.float64):
    """Features, logits, weight. Class 3 is nobody's."""
    g = torch.Generator().manual_seed(seed)
    features, weight = (torch.randn(n, DIM, generator=g, dtype=torch.float64) for n in (rows, CLASSES))
    logits = 2 * torch.randn(rows, CLASSES, generator=g, dtype=torch.float64)
    logits[:, 3] -= 30
    return features.to(dtype), logits.to(dtype), weight.to(dtype)


def spread(seed=0):
    half = torch.randn(CLASSES, DIM, DIM, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return half @ half.mT / DIM


# ---- spectral neighbour clustering ----


@pytest.mark.parametrize("k", [1, 5])
def test_one_hot_rows_with_equal_neighbours_and_orthogonal_others(k):
    """-K, whatever alpha is."""
    p = torch.eye(4, dtype=torch.float64)
    for alpha in (0.0, 1.0, 7.0):
        assert neighbour_clustering(p, p[:, None, :].expand(-1, k, -1), alpha).item() == -k


def test_clustering_as_defined():
    _, logits, _ = drawn()
    p = logits.softmax(1)
    q = drawn(1, 9 * 3)[1].softmax(1).view(9, 3, CLASSES)
    expected = 0
    for i in range(9):
        expected -= sum(float(q[i, k] @ p[i]) for k in range(3)) / 9
        expected += 0.4 * sum(float(p[i] @ p[j]) ** 2 for j in range(9) if j != i) / 9
    assert neighbour_clustering(p, q, 0.4).item() == pytest.approx(expected, rel=1e-12)


def test_a_batch_of_one_has_no_others():
    p, q = torch.tensor([[0.2, 0.8]]), torch.tensor([[[0.5, 0.5], [1.0, 0]]])
    assert neighbour_clustering(p, q, 3.0).item() == pytest.approx(-(0.5 + 0.2))


def test_neighbours_have_no_gradient():
    _, logits, _ = drawn()
    p, q = logits.softmax(1).requires_grad_(), drawn(1)[1].softmax(1)[:, None, :].requires_grad_()
    neighbour_clustering(p, q).backward()
    assert p.grad.any() and q.grad is None


# ---- implicit feature augmentation ----


def test_without_strength_it_is_every_classs_cross_entropy():
    """2 sum_c -log p_c."""
    _, logits, weight = drawn()
    expected = 2 * -logits.log_softmax(1).sum(1).mean()
    torch.testing.assert_close(implicit_augmentation(logits, logits.argmax(1), weight, spread(), 0), expected)


def test_augmentation_as_defined():
    _, logits, weight = drawn()
    s, pseudo, strength, expected = spread(), logits.argmax(1), 0.8, 0
    for i, y in enumerate(pseudo):
        for c in range(CLASSES):
            augmented = [float(logits[i, j]) + strength / 2 * float((weight[j] - weight[c]) @ s[y] @ (weight[j] - weight[c]))
                         for j in range(CLASSES)]
            expected += 2 * (math.log(sum(map(math.exp, augmented))) - augmented[c]) / len(logits)
    found = implicit_augmentation(logits, pseudo, weight, s, strength)
    assert found.item() == pytest.approx(expected, rel=1e-12)
    assert torch.equal(implicit_augmentation(logits, pseudo, weight, s, torch.tensor(0.8, dtype=torch.float64)), found)


# ---- disentanglement ----


def test_proportional_covariances_cost_nothing():
    s = spread()[:1] * torch.tensor([1.0, 0.1, 5, 70]).double()[:, None, None]
    p = drawn(2, CLASSES)[1].softmax(1)
    assert disentanglement(s, p).item() == pytest.approx(0, abs=1e-14)
    assert disentanglement(spread(), p).item() < -1e-3


def test_disentanglement_as_defined():
    s, p, expected = spread(3).numpy(), drawn(2, CLASSES)[1].softmax(1).numpy(), 0
    for a in range(CLASSES):
        for b in range(CLASSES):
            if a != b:
                cosine = np.sum(s[a] * s[b]) / np.linalg.norm(s[a]) / np.linalg.norm(s[b])
                expected -= 0.5 * (p[a] @ p[b]) * (1 - cosine)
    assert disentanglement(torch.from_numpy(s), torch.from_numpy(p)).item() == pytest.approx(expected, rel=1e-12)


def test_absent_classes_are_left_out():
    """The value is that of the classes that are there, and gradients are numbers."""
    s, p = spread(3), drawn(2, CLASSES)[1].softmax(1)
    p[2] = 0  # nobody's
    s[3] = 0  # of a single row
    leaf = s.clone().requires_grad_()
    found = disentanglement(leaf, p)
    cosine = float(F.cosine_similarity(s[0].flatten(), s[1].flatten(), 0))
    assert found.item() == pytest.approx(-float(p[0] @ p[1]) * (1 - cosine), rel=1e-12)
    found.backward()
    assert torch.isfinite(leaf.grad).all() and leaf.grad[0].any() and not leaf.grad[2:].any()


def test_probabilities_have_no_gradient():
    s, p = spread().requires_grad_(), drawn(2, CLASSES)[1].softmax(1).requires_grad_()
    disentanglement(s, p).backward()
    assert s.grad.any() and p.grad is None


# ---- gradients ----


def test_gradients():
    features, logits, weight = (t.requires_grad_() for t in drawn(4, 6))
    q = drawn(5, 6)[1].softmax(1)[:, None, :]
    pseudo = torch.tensor([0, 1, 0, 2, 1, 0])
    assert torch.autograd.gradcheck(lambda a: neighbour_clustering(a.softmax(1), q, 0.7), logits)
    s = spread().requires_grad_()
    assert torch.autograd.gradcheck(lambda a, w, c: implicit_augmentation(a, pseudo, w, c, 0.6), (logits, weight, s))
    p = drawn(2, CLASSES)[1].softmax(1)
    assert torch.autograd.gradcheck(lambda c: disentanglement(c, p), s)
    running = RunningGaussian(DIM, CLASSES, dtype=torch.float64).update(drawn(6)[0], torch.arange(9) % 4)
    assert torch.autograd.gradcheck(lambda f: disentanglement(covariance(running.merged(f, pseudo)), p), features)


# ---- the module ----


def filled(dtype=torch.float64, seed=7, **options):
    module = SFDA2(SAMPLES, DIM, CLASSES, dtype=dtype, **options)
    features, logits, _ = drawn(seed, SAMPLES, dtype)
    for index in torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(0)).split(8):
        module.fill(index, features[index], logits[index])
    return module


def test_the_bank_and_its_neighbours():
    module = filled()
    features, logits, _ = drawn(7, SAMPLES)
    unit = features / features.norm(dim=1, keepdim=True)
    torch.testing.assert_close(module.features, unit)
    torch.testing.assert_close(module.probabilities, logits.softmax(1))
    index = torch.tensor([3, 0, 29])
    cosine = (unit @ unit.T).numpy()
    for i, found in zip(index.tolist(), module.nearest(index).tolist(), strict=True):
        assert found == [j for j in np.argsort(-cosine[i], kind="stable").tolist() if j != i][:5]


def test_a_sample_is_not_its_own_neighbour_even_where_another_is_the_same():
    """The published code drops whichever comes first."""
    module = SFDA2(8, DIM, CLASSES, neighbours=2)
    features, logits, _ = drawn(8, 8, torch.float32)
    features[5] = features[2]
    module.fill(torch.arange(8), features, logits)
    for i, other in ((2, 5), (5, 2)):
        assert other in module.nearest(torch.tensor([i])).tolist()[0] and i not in module.nearest(torch.tensor([i])).tolist()[0]


def test_samples_that_were_not_filled_in_are_no_neighbours():
    module = SFDA2(SAMPLES, DIM, CLASSES, neighbours=3)
    features, logits, _ = drawn(9, 4, torch.float32)
    features = features.abs()
    module.fill(torch.tensor([1, 4, 9, 16]), features, logits)
    module.features[0] = features[0]  # as if by chance: zeros would be far off anyway
    assert sorted(module.nearest(torch.tensor([4])).tolist()[0]) == [1, 9, 16]


def test_two_steps_as_defined():
    """Banks before the search; covariances with the batch in them; schedules."""
    module = filled(neighbours=3)
    bank, logits, _ = drawn(7, SAMPLES)
    bank, probabilities = (bank / bank.norm(dim=1, keepdim=True)).numpy(), logits.softmax(1).numpy()
    seen, classes = np.zeros((0, DIM)), np.zeros(0, int)
    for step, index in enumerate(([0, 4, 8, 15, 16, 23], [2, 4, 6, 8])):
        features, logits, weight = drawn(20 + step, len(index))
        p, f, pseudo = logits.softmax(1).numpy(), features.numpy(), logits.argmax(1).numpy()
        bank[index], probabilities[index] = f / np.linalg.norm(f, axis=1, keepdims=True), p
        seen, classes, t = np.concatenate([seen, f]), np.concatenate([classes, pseudo]), 0.25 + step / 2
        cosine = bank[index] @ bank.T
        cosine[np.arange(len(index)), index] = -np.inf
        near = probabilities[np.argsort(-cosine, 1)[:, :3]]
        alike = (p @ p.T) ** 2
        clustering = -np.einsum("ikc,ic->", near, p) / len(index)
        clustering += (1 + 10 * t) ** -5 * (alike.sum() - np.trace(alike)) / len(index)
        covariances = np.stack([np.cov(seen[classes == c].T, bias=True) if (classes == c).any() else np.zeros((DIM, DIM))
                                for c in range(CLASSES)])
        augmentation = 0
        for i, y in enumerate(pseudo):
            for c in range(CLASSES):
                away = (weight - weight[c]).numpy()
                augmented = logits[i].numpy() + 5 * t / 2 * np.einsum("jd,de,je->j", away, covariances[y], away)
                augmentation += 2e-4 * (np.log(np.exp(augmented).sum()) - augmented[c]) / len(index)
        mean = np.stack([probabilities[probabilities.argmax(1) == c].mean(0) if (probabilities.argmax(1) == c).any()
                         else np.zeros(CLASSES) for c in range(CLASSES)])
        apart = 0
        for a in range(CLASSES):
            for b in range(CLASSES):
                sizes = [np.linalg.norm(covariances[c]) for c in (a, b)]
                if a != b and min(sizes) > 0:
                    apart -= 5 * (mean[a] @ mean[b]) * (1 - np.sum(covariances[a] * covariances[b]) / math.prod(sizes))
        losses = module(torch.tensor(index), features, logits, weight, t)
        for name, expected in (("clustering", clustering), ("augmentation", augmentation), ("disentanglement", apart)):
            assert getattr(losses, name).item() == pytest.approx(expected, rel=1e-10), name
        torch.testing.assert_close(module.features.numpy(), bank)
        torch.testing.assert_close(module.probabilities.numpy(), probabilities)
    assert module.statistics.counts.sum() == 10


def test_gradients_of_a_step():
    """Also through the covariances, of which the batch is a part; what was seen before is fixed, and so are the banks."""
    features, logits, weight = drawn(10)
    index = torch.arange(9) * 3
    fixed = filled().eval()
    fixed.fill(index, features, logits)
    fixed.statistics.update(drawn(11)[0], torch.arange(9) % 4)

    def step(features, logits, weight):
        return sum(fixed(index, features, logits, weight, 0.4))

    leaves = [t.requires_grad_() for t in (features, logits, weight)]
    assert torch.autograd.gradcheck(step, leaves)
    module = filled()
    parts = module(index, *leaves, 0.4)
    by_part = [torch.autograd.grad(part, leaves, retain_graph=True, allow_unused=True) for part in parts]
    assert [[g is not None and bool(g.any()) for g in grads] for grads in by_part] == [
        [False, True, False], [True, True, True], [True, False, False]]


def test_evaluation_mode_and_state_dict():
    module = filled()
    index, (features, logits, weight) = torch.arange(9), drawn(12)
    module(index, features, logits, weight, 0.1)
    other = SFDA2(SAMPLES, DIM, CLASSES, dtype=torch.float64)
    other.load_state_dict(module.state_dict())
    expected = [t.clone() for t in module.state_dict().values()]
    module.eval()(index + 3, features, logits, weight, 0.1)
    assert all(torch.equal(a, b) for a, b in zip(module.state_dict().values(), expected, strict=True))
    again = module.train()(index, features, logits, weight, 0.2)
    assert all(torch.equal(a, b) for a, b in zip(again, other(index, features, logits, weight, 0.2), strict=True))


def test_autocast():
    features, logits, weight = drawn(13, dtype=torch.float32)
    index, found = torch.arange(9), []
    for enabled in (False, True):
        module = filled(torch.float32)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            found.append(module(index, features, logits, weight, 0.5))
    assert all(a.dtype == torch.float32 and torch.equal(a, b) for a, b in zip(*found, strict=True))
    halves = filled(torch.float32)(index, features.bfloat16(), logits.bfloat16(), weight, 0.5)
    assert all(torch.isfinite(t) and t.dtype == torch.float32 for t in halves)


def test_compiled_whole():
    """Split into a forward and a backward pass as inductor does; two steps, so that banks and covariances were written."""
    torch.compiler.reset()
    plain, compiled = filled(), filled()

    def step(module, *args):
        return sum(module(*args))

    whole = torch.compile(step, fullgraph=True, backend="aot_eager_decomp_partition")
    for i, progress in enumerate((0.1, 0.5, torch.tensor(0.9))):
        index, case, grads = (torch.arange(9) * 3 + i) % SAMPLES, drawn(30 + i), []
        for module, run in ((plain, step), (compiled, whole)):
            leaves = [t.clone().requires_grad_() for t in case]
            grads.append(torch.autograd.grad(run(module, index, *leaves, progress), leaves))
        for a, b in zip(*grads, strict=True):
            torch.testing.assert_close(a, b)
    for a, b in zip(plain.state_dict().values(), compiled.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b)


# ---- what is wrong ----

F32, L32, W32 = drawn(dtype=torch.float32)
P32, S32 = L32.softmax(1), spread().float()


@pytest.mark.parametrize("call, error, says", [
    (lambda: neighbour_clustering(P32, P32), ShapeError, r"neighbours: expected \[B, K, C\]"),
    (lambda: neighbour_clustering(P32, P32[1:, None]), ShapeError, r"neighbours: expected \[9, K, 4\]"),
    (lambda: neighbour_clustering(P32[:0], P32[:0, None]), ShapeError, "probabilities: expected"),
    (lambda: neighbour_clustering(P32, P32[:, None], -1), ArgumentError, "alpha: expected"),
    (lambda: implicit_augmentation(L32, L32, W32, S32, 1), DtypeError, "pseudo: expected int64"),
    (lambda: implicit_augmentation(L32, L32.argmax(1), W32[1:], S32, 1), ShapeError, "weight: expected"),
    (lambda: implicit_augmentation(L32, L32.argmax(1), W32, S32[:, 0], 1), ShapeError, r"covariance: expected \[C, D, D\]"),
    (lambda: implicit_augmentation(L32, L32.argmax(1), W32, S32, math.inf), ArgumentError, "strength: expected"),
    (lambda: disentanglement(S32, P32), ShapeError, r"probabilities: expected \[C, C\]"),
    (lambda: disentanglement(S32, P32[:3, :3]), ShapeError, r"probabilities: expected \[4, 4\]"),
    (lambda: disentanglement(S32[..., 1:], P32[:4]), ShapeError, r"covariance: expected \[C, D, D\]"),
    (lambda: SFDA2(1, DIM, CLASSES), ArgumentError, "samples: expected a whole number of at least 2"),
    (lambda: SFDA2(5, DIM, CLASSES), ArgumentError, "neighbours: expected a whole number from 1 to 4, given 5"),
    (lambda: SFDA2(SAMPLES, DIM, CLASSES, disentanglement=-1), ArgumentError, "disentanglement: expected"),
    (lambda: SFDA2(SAMPLES, DIM, CLASSES)(torch.arange(5), F32[:5], L32[:5], W32, 0), ArgumentError,
     r"index: expected banks with more than 5 samples, given 5; fill\(\) comes first"),
])
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says):
        call()


@pytest.mark.parametrize("change, error, says", [
    ({"index": torch.arange(9) + 25}, ArgumentError, "index: expected samples from 0 to 29, given 25 to 33"),
    ({"index": torch.arange(9) - 1}, ArgumentError, "index: expected samples from 0 to 29, given -1 to 7"),
    ({"index": torch.arange(9).int()}, DtypeError, "index: expected int64"),
    ({"index": [1, 2]}, DtypeError, "index: expected int64"),
    ({"index": torch.arange(8)}, ShapeError, r"index: expected \[9\]"),
    ({"features": F32[:, 1:]}, ShapeError, r"features: expected \[9, 5\], given \[9, 4\]"),
    ({"features": F32 * math.nan}, ArgumentError, "features: expected finite numbers"),
    ({"logits": L32[:, 1:]}, ShapeError, r"logits: expected \[9, 4\], given \[9, 3\]"),
    ({"logits": L32 / 0}, ArgumentError, "logits: expected finite numbers"),
    ({"weight": W32[1:]}, ShapeError, r"weight: expected \[4, 5\]"),
    ({"progress": 1.5}, ArgumentError, "progress: expected a finite number from 0 to 1"),
])
def test_bad_input_of_a_step_changes_nothing(change, error, says):
    module = filled(torch.float32)
    before = [t.clone() for t in module.state_dict().values()]
    arguments = {"index": torch.arange(9), "features": F32, "logits": L32, "weight": W32, "progress": 0.5}
    with pytest.raises(error, match=says):
        module(**arguments | change)
    assert all(torch.equal(a, b) for a, b in zip(module.state_dict().values(), before, strict=True))
