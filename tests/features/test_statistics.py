"""Running means and covariances, against NumPy and scikit-learn in float64."""

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf, shrunk_covariance
from torch import distributed as dist
from torch import multiprocessing
from torch.utils._python_dispatch import TorchDispatchMode

from anamorph.core.errors import ArgumentError, DtypeError, ShapeError
from anamorph.features import given, statistics
from anamorph.features.statistics import (
    Moments,
    RunningGaussian,
    class_moments,
    covariance,
    ledoit_wolf_shrinkage,
    merge,
    pooled,
)

ROWS, DIM, CLASSES = 61, 5, 4
SPLITS = [[61], [1] * 61, [20, 1, 40], [7] * 8 + [5], [60, 1]]
EXACT = {"rtol": 0, "atol": 1e-14}


def drawn(seed=0, rows=ROWS, dim=DIM, classes=CLASSES - 1, dtype=torch.float64):
    """Rows of different classes about different means; the last class of CLASSES has none."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (rows,), generator=g)
    mixing = torch.randn(classes, dim, dim, generator=g, dtype=torch.float64) / 3
    x = torch.einsum("nd,nde->ne", torch.randn(rows, dim, generator=g, dtype=torch.float64), mixing[labels])
    return (x + torch.randn(classes, dim, generator=g, dtype=torch.float64)[labels]).to(dtype), labels


def streamed(x, labels, split, **options):
    options = {"dtype": torch.float64} | options
    running = RunningGaussian(x.shape[1], CLASSES if labels is not None else 1, **options)
    for i, part in enumerate(x.split(split)):
        assert running.update(part, None if labels is None else labels.split(split)[i]) is running
    return running


def same(first, second, **tolerance):
    for a, b in zip(first, second, strict=True):
        if a is not None or b is not None:
            torch.testing.assert_close(a, b, **tolerance)


@pytest.mark.parametrize("split", SPLITS)
def test_streamed_in_any_split_is_numpys_covariance(split):
    x, labels = drawn()
    full, diagonal = streamed(x, labels, split), streamed(x, labels, split, diagonal=True)
    for c in range(CLASSES - 1):
        rows = x[labels == c].numpy()
        assert full.counts[c] == diagonal.counts[c] == len(rows) > 1
        for correction in (0, 1):
            expected = np.cov(rows.T, ddof=correction)
            np.testing.assert_allclose(full.covariance(correction)[c], expected, **EXACT)
            np.testing.assert_allclose(diagonal.covariance(correction)[c], np.diag(expected), **EXACT)
        np.testing.assert_allclose(full.mean[c], rows.mean(0), **EXACT)
        np.testing.assert_allclose(diagonal.mean[c], rows.mean(0), **EXACT)
    assert full.counts[-1] == 0 and not full.mean[-1].any() and not full.covariance(1)[-1].any()


@pytest.mark.parametrize("split", SPLITS)
def test_pooled_and_within_classes(split):
    x, labels = drawn(1)
    np.testing.assert_allclose(streamed(x, None, split).covariance()[0], np.cov(x.numpy().T, bias=True), **EXACT)
    centred = np.concatenate([x[labels == c].numpy() - x[labels == c].numpy().mean(0) for c in range(CLASSES - 1)])
    running = streamed(x, labels, split, ledoit_wolf=True)
    for correction in (0, 1, CLASSES - 1):
        np.testing.assert_allclose(running.pooled_covariance(correction), centred.T @ centred / (ROWS - correction), **EXACT)
    np.testing.assert_allclose(running.pooled_covariance(shrinkage="ledoit-wolf"),
                               LedoitWolf(assume_centered=True).fit(centred).covariance_, **EXACT)
    np.testing.assert_allclose(pooled(running.moments()).mean[0], x.mean(0), **EXACT)
    np.testing.assert_allclose(streamed(x, labels, split, diagonal=True).pooled_covariance(), (centred ** 2).mean(0), **EXACT)


@pytest.mark.parametrize("split", SPLITS)
def test_ledoit_wolf_is_scikit_learns(split):
    x, labels = drawn(2)
    running = streamed(x, labels, split, ledoit_wolf=True)
    found, amounts = running.covariance(shrinkage="ledoit-wolf"), ledoit_wolf_shrinkage(running.moments())
    for c in range(CLASSES - 1):
        expected = LedoitWolf().fit(x[labels == c].numpy())
        assert 0 < expected.shrinkage_ < 1
        np.testing.assert_allclose(amounts[c], expected.shrinkage_, rtol=1e-12)
        np.testing.assert_allclose(found[c], expected.covariance_, **EXACT)
    assert amounts[-1] == 0 and not found[-1].any()


def test_ledoit_wolf_at_its_ends():
    """Fewer rows than dimensions; one dimension; rows that are all alike; rows of noise alone, which shrink entirely."""
    g = torch.Generator().manual_seed(0)
    cases = [torch.randn(4, 9, generator=g), torch.randn(8, 1, generator=g), torch.ones(5, 3),
             torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])]
    found = []
    for x in cases:
        running = RunningGaussian(x.shape[1], ledoit_wolf=True, dtype=torch.float64).update(x)
        expected = LedoitWolf().fit(x.double().numpy())
        found.append(ledoit_wolf_shrinkage(running.moments()).item())
        assert found[-1] == pytest.approx(expected.shrinkage_, abs=1e-12)
        np.testing.assert_allclose(running.covariance(shrinkage="ledoit-wolf")[0], expected.covariance_, **EXACT)
    assert found[1:3] == [0, 0] and 0 < found[0] < 1


@pytest.mark.parametrize("amount", [0.0, 0.3, 1.0])
def test_shrinkage_by_a_number_is_scikit_learns(amount):
    x, labels = drawn(3)
    full = streamed(x, labels, [20, 41])
    diagonal = streamed(x, labels, [61], diagonal=True)
    for c in range(CLASSES - 1):
        expected = np.cov(x[labels == c].numpy().T)
        np.testing.assert_allclose(full.covariance(1, amount)[c], shrunk_covariance(expected, amount), **EXACT)
        of_each = np.diag(expected)
        np.testing.assert_allclose(diagonal.covariance(1, amount)[c], (1 - amount) * of_each + amount * of_each.mean(), **EXACT)


@pytest.mark.parametrize("options", [{}, {"diagonal": True}, {"ledoit_wolf": True}])
def test_two_are_merged_exactly(options):
    x, labels = drawn(4)
    whole = streamed(x, labels, [61], **options)
    for cut in (1, 30, 60):
        one, other = (streamed(a, b, [len(a)], **options) for a, b in ((x[:cut], labels[:cut]), (x[cut:], labels[cut:])))
        before = [None if t is None else t.clone() for t in other.moments()]
        assert one.merge(other) is one
        same(one.moments(), whole.moments(), rtol=1e-13, atol=1e-13)
        same(other.moments(), before, rtol=0, atol=0)
    empty = RunningGaussian(DIM, CLASSES, dtype=torch.float64, **options)
    same(empty.merge(whole).moments(), whole.moments(), rtol=0, atol=0)
    same(whole.merge(RunningGaussian(DIM, CLASSES, **options)).moments(), empty.moments(), rtol=0, atol=0)


def ranks(rank, file, x, labels, cut):
    """What two processes do; nothing is returned from them, so they look for themselves."""
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    try:
        mine, theirs = (x[:cut], labels[:cut]), (x[cut:], labels[cut:])
        if rank:
            mine, theirs = theirs, mine
        for options in ({}, {"diagonal": True}, {"ledoit_wolf": True}):
            whole = streamed(x, labels, [len(x)], **options)
            local = streamed(*mine, [len(mine[0])], **options)
            expected = local.covariance()
            for _ in range(2):  # once more: nothing is counted twice
                together = local.sync()
                same(together.moments(), whole.moments(), rtol=1e-12, atol=1e-12)
            assert torch.equal(local.covariance(), expected) and local.counts.sum() == len(mine[0])
            states = [torch.empty_like(together.scatter) for _ in range(2)]
            dist.all_gather(states, together.scatter)
            assert torch.equal(*states)
            steps = RunningGaussian(x.shape[1], CLASSES, dtype=torch.float64, **options)
            for a, b in zip(mine[0].tensor_split(3), mine[1].tensor_split(3), strict=True):
                steps.update(a, b, dist.group.WORLD)
            same(steps.moments(), whole.moments(), rtol=1e-12, atol=1e-12)
    finally:
        dist.destroy_process_group()


def test_two_ranks_are_one(tmp_path):
    multiprocessing.spawn(ranks, (str(tmp_path / "meet"), *drawn(5), 23), nprocs=2)


def test_state_dict_goes_on(tmp_path):
    x, labels = drawn(6)
    whole, half = streamed(x, labels, [30, 31], ledoit_wolf=True), streamed(x[:30], labels[:30], [30], ledoit_wolf=True)
    torch.save(half.state_dict(), tmp_path / "half.pt")
    other = RunningGaussian(DIM, CLASSES, ledoit_wolf=True, dtype=torch.float64)
    other.load_state_dict(torch.load(tmp_path / "half.pt"))
    same(other.update(x[30:], labels[30:]).moments(), whole.moments(), rtol=0, atol=0)
    assert {*RunningGaussian(DIM, diagonal=True).state_dict()} == {"counts", "mean", "scatter"}


def test_float32_sums():
    """Means a hundred times the spread: squares of the features alone would leave two digits."""
    x, labels = drawn(7)
    x = (x + 100).float()
    running = RunningGaussian(DIM, CLASSES)
    for a, b in zip(x.split(7), labels.split(7), strict=True):
        running.update(a, b)
    exact = streamed(x.double(), labels, [61])
    assert running.scatter.dtype == running.mean.dtype == torch.float32
    torch.testing.assert_close(running.covariance().double(), exact.covariance(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_features_of_any_float(dtype):
    x, labels = drawn(8)
    x = x.to(dtype)
    same(streamed(x, labels, [61]).moments(), streamed(x.double(), labels, [61]).moments(), rtol=0, atol=0)


def test_autocast_changes_nothing():
    x, labels = drawn(9, dtype=torch.float32)
    plain, cast = (RunningGaussian(DIM, CLASSES, ledoit_wolf=True) for _ in range(2))
    plain.update(x[:30], labels[:30]).update(x[30:], labels[30:])
    with torch.autocast("cpu", torch.bfloat16):
        cast.update(x[:30], labels[:30]).update(x[30:], labels[30:])
        same((cast.covariance(shrinkage="ledoit-wolf"),), (plain.covariance(shrinkage="ledoit-wolf"),), rtol=0, atol=0)
    same(cast.moments(), plain.moments(), rtol=0, atol=0)


@pytest.mark.parametrize("diagonal", [False, True])
def test_gradients(diagonal):
    x, labels = drawn(10, rows=9)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda t: class_moments(t, labels, CLASSES, diagonal)[1:3], x)
    old, old_labels = drawn(11, rows=7)
    running = RunningGaussian(DIM, CLASSES, diagonal=diagonal, dtype=torch.float64).update(old, old_labels)
    assert torch.autograd.gradcheck(lambda t: (m := running.merged(t, labels)).mean + covariance(m).sum(-1).view(CLASSES, -1),
                                    x)
    assert running.counts.sum() == 7, "merged() changes nothing"


def test_gradients_against_plain_autograd():
    """Not by differences: torch's own derivative of the definition, class by class."""
    x, labels = drawn(12)
    x.requires_grad_()
    g = torch.Generator().manual_seed(0)
    pull_mean, pull = torch.randn(CLASSES, DIM, generator=g).double(), torch.randn(CLASSES, DIM, DIM, generator=g).double()
    loss = 0
    for c in range(CLASSES - 1):
        rows = x[labels == c]
        mean = rows.sum(0) / len(rows)
        loss = loss + (pull_mean[c] * mean).sum() + (pull[c] * ((rows - mean).T @ (rows - mean))).sum()
    moments = class_moments(x, labels, CLASSES)
    found, = torch.autograd.grad((pull_mean * moments.mean).sum() + (pull * moments.scatter).sum(), x)
    torch.testing.assert_close(found, torch.autograd.grad(loss, x)[0], rtol=1e-12, atol=1e-12)


def test_a_step_may_go_on_before_the_backward_pass():
    x, labels = drawn(13)
    x.requires_grad_()
    running = streamed(x.detach(), labels, [30, 31], ledoit_wolf=True)
    expected, = torch.autograd.grad(covariance(running.merged(x, labels), shrinkage="ledoit-wolf").square().sum(), x)
    loss = covariance(running.merged(x, labels), shrinkage="ledoit-wolf").square().sum()
    running.update(x, labels)
    assert torch.equal(torch.autograd.grad(loss, x)[0], expected) and not running.scatter.requires_grad


@pytest.mark.parametrize("most", [1, 2 * ROWS * DIM, 2**24])
def test_the_gpus_way_through_full_covariances(most, monkeypatch):
    """It waits for no number; here on a CPU, with the classes one, two and all at a time."""
    monkeypatch.setattr(statistics, "_MASKED", most)
    x, labels = drawn(14)
    centred = x - class_moments(x, labels, CLASSES).mean[labels]
    torch.testing.assert_close(statistics._products_masked(centred, labels, CLASSES), class_moments(x, labels, CLASSES).scatter)
    both = torch.randn(CLASSES, DIM, DIM, generator=torch.Generator().manual_seed(0)).double()
    expected = torch.stack([both[c] @ row for c, row in zip(labels, centred, strict=True)])
    torch.testing.assert_close(statistics._masked_grad(centred, labels, both.mT), expected)


class Watched(TorchDispatchMode):
    """Fails where a number is read on the host."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func not in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default), func
        return func(*args, **(kwargs or {}))


def test_no_number_is_read_on_the_way_of_a_gpu(monkeypatch):
    """On a GPU reading one would make the host wait. The CPU's own checks of values are left out, as there."""
    monkeypatch.setattr(given, "looked_at", lambda t: False)
    monkeypatch.setattr(statistics, "_on_host", lambda t: False)
    x, labels = drawn(15)
    leaf = x.clone().requires_grad_()
    with pytest.raises(AssertionError), Watched():  # the test of the test
        x.sum().item()
    for options in ({}, {"diagonal": True}, {"ledoit_wolf": True}):
        running = RunningGaussian(DIM, CLASSES, dtype=torch.float64, **options)
        with Watched():
            running.update(x, labels).update(x, labels)
            running.covariance(1, "ledoit-wolf" if running.ledoit_wolf else 0.1)
            covariance(running.merged(leaf, labels)).square().sum().backward()
        assert running.counts.sum() == 2 * ROWS and leaf.grad.any()
        for c in range(CLASSES - 1):
            expected = np.cov(x[labels == c].numpy().T, bias=True)
            np.testing.assert_allclose(running.covariance()[c], np.diag(expected) if running.diagonal else expected, **EXACT)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_native_pass(route, dtype):
    x, labels = drawn(16, rows=300, dim=37, dtype=dtype)
    found = class_moments(x, labels, CLASSES, diagonal=True)
    for c in range(CLASSES - 1):
        rows = x[labels == c].double().numpy()
        tolerance = {"rtol": 1e-12, "atol": 1e-12} if dtype == torch.float64 else {"rtol": 1e-5, "atol": 1e-5}
        np.testing.assert_allclose(found.mean[c], rows.mean(0), **tolerance)
        np.testing.assert_allclose(found.scatter[c], ((rows - rows.mean(0)) ** 2).sum(0), **tolerance)
    assert found.counts.tolist() == torch.bincount(labels, minlength=CLASSES).tolist()
    assert not found.mean[-1].any() and not found.scatter[-1].any()


def test_operators_as_torch_expects_them():
    x, labels = drawn(17, rows=7)
    for t in (x, x.clone().requires_grad_()):
        for diagonal in (False, True):
            torch.library.opcheck(torch.ops.anamorph.class_moments.default, (t, labels, CLASSES, diagonal))
    torch.library.opcheck(torch.ops.anamorph.as_now.default, (labels,))
    counts, mean, scatter = class_moments(x, labels, CLASSES)[:3]
    for pull in (scatter, scatter.diagonal(dim1=1, dim2=2).contiguous()):
        torch.library.opcheck(torch.ops.anamorph.class_moments_grad.default, (x, labels, counts, mean, mean, pull))


@pytest.mark.parametrize("options", [{}, {"diagonal": True}, {"ledoit_wolf": True}])
def test_compiled_whole(options):
    """Split into a forward and a backward pass as inductor does."""
    torch.compiler.reset()
    x, labels = drawn(18)
    plain, compiled = (RunningGaussian(DIM, CLASSES, dtype=torch.float64, **options) for _ in range(2))

    def step(running, x, labels):
        spread = covariance(running.merged(x, labels)).square().sum()
        running.update(x, labels)
        return spread

    whole = torch.compile(step, fullgraph=True, backend="aot_eager_decomp_partition")
    for a, b in zip(x.split(31), labels.split(31), strict=True):  # of two lengths
        leaves = [a.clone().requires_grad_() for _ in range(2)]
        losses = [step(plain, leaves[0], b), whole(compiled, leaves[1], b)]
        torch.testing.assert_close(*losses)
        torch.testing.assert_close(*(torch.autograd.grad(loss, leaf)[0] for loss, leaf in zip(losses, leaves, strict=True)))
    same(plain.moments(), compiled.moments())


def test_functions_of_moments():
    x, labels = drawn(19)
    first, second = class_moments(x[:20], labels[:20], CLASSES), class_moments(x[20:], labels[20:], CLASSES)
    together = merge(first, second)
    assert isinstance(together, Moments) and together.cubic is None
    same(together, class_moments(x, labels, CLASSES), **EXACT)
    assert class_moments(x.half(), labels, CLASSES).mean.dtype == torch.float32


X, Y = drawn(20, dtype=torch.float32)


@pytest.mark.parametrize("call, error, says", [
    (lambda: RunningGaussian(0), ArgumentError, "dim: expected a whole number of at least 1, given 0"),
    (lambda: RunningGaussian(3, 0), ArgumentError, "classes: expected a whole number of at least 1, given 0"),
    (lambda: RunningGaussian(3, dtype=torch.float16), DtypeError, "dtype: expected float32 or float64, given torch.float16"),
    (lambda: RunningGaussian(3, diagonal=True, ledoit_wolf=True), ArgumentError, "ledoit_wolf: expected with full"),
    (lambda: RunningGaussian(3, diagonal=1), ArgumentError, "diagonal: expected True or False, given 1"),
    (lambda: RunningGaussian(DIM + 1).update(X), ShapeError, r"features: expected \[B, 6\], given \[61, 5\]"),
    (lambda: RunningGaussian(DIM).update(X[:0]), ShapeError, r"features: expected \[B, D\] with nothing empty"),
    (lambda: RunningGaussian(DIM).update(X[0]), ShapeError, r"features: expected \[B, D\]"),
    (lambda: RunningGaussian(DIM).update(X.numpy()), ArgumentError, "features: expected a tensor"),
    (lambda: RunningGaussian(DIM).update(X.long()), DtypeError, "features: expected floats"),
    (lambda: RunningGaussian(DIM).half().update(X), DtypeError, "features: expected sums of float32 or float64"),
    (lambda: RunningGaussian(DIM).update(X / 0), ArgumentError, "features: expected finite numbers"),
    (lambda: RunningGaussian(DIM, CLASSES).update(X), ArgumentError, "labels: expected class ids of 4 classes, given none"),
    (lambda: RunningGaussian(DIM, 2).update(X, Y), ArgumentError, "labels: expected class ids from 0 to 1, given 0 to 2"),
    (lambda: RunningGaussian(DIM, CLASSES).update(X, -Y), ArgumentError, "labels: expected class ids from 0 to 3, given -2 to 0"),
    (lambda: RunningGaussian(DIM, CLASSES).update(X, Y[1:]), ShapeError, r"labels: expected class ids \[61\]"),
    (lambda: RunningGaussian(DIM, CLASSES).update(X, Y.int()), DtypeError, "labels: expected int64"),
    (lambda: RunningGaussian(DIM).update(X).covariance(-1), ArgumentError, "correction: expected a whole number"),
    (lambda: RunningGaussian(DIM).update(X).covariance(0, 1.5), ArgumentError, "shrinkage: expected a finite number from 0 to 1"),
    (lambda: RunningGaussian(DIM).update(X).covariance(0, "oas"), ArgumentError, "shrinkage: expected one of 'ledoit-wolf'"),
    (lambda: RunningGaussian(DIM).covariance(0, "ledoit-wolf"), ArgumentError, "shrinkage: expected moments with ledoit_wolf"),
    (lambda: RunningGaussian(DIM).merge(RunningGaussian(DIM, 2)), ShapeError, "other.counts: expected"),
    (lambda: RunningGaussian(DIM).merge(RunningGaussian(DIM, diagonal=True)), ShapeError, "other.scatter: expected"),
    (lambda: RunningGaussian(DIM).merge(RunningGaussian(DIM, ledoit_wolf=True)), ArgumentError, "other: expected ledoit_wolf"),
    (lambda: RunningGaussian(DIM).merge(X), ArgumentError, "other: expected a RunningGaussian, given Tensor"),
    (lambda: RunningGaussian(DIM).sync(), ArgumentError, "group: expected torch.distributed to have been started"),
    (lambda: class_moments(X, Y, 2.5), ArgumentError, "classes: expected a whole number"),
    (lambda: class_moments(X, Y, CLASSES, diagonal=True, ledoit_wolf=True), ArgumentError, "ledoit_wolf: expected"),
])
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says):
        call()


def test_bad_input_changes_nothing():
    running = RunningGaussian(DIM, CLASSES).update(X, Y)
    before = running.scatter.clone()
    with pytest.raises(ArgumentError):
        running.update(torch.full_like(X, torch.nan), Y)
    assert torch.equal(running.scatter, before) and running.counts.sum() == ROWS
