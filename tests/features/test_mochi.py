"""Mixed hard negatives: the definition written out in float64, the card's numbers, derivatives."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torch.utils.checkpoint

from anamorph.core.errors import ArgumentError, DtypeError, ShapeError
from anamorph.features import draws
from anamorph.features.mochi import MoCHi, mochi, mochi_negatives

STEP = (11, 4)


def unit(*shape, seed=0):
    return F.normalize(torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


def given(batch, dim, size, dtype=torch.float32):
    return unit(batch, dim).to(dtype), unit(batch, dim, seed=1).to(dtype), unit(size, dim, seed=2).to(dtype)


def mixed(first, second, share):
    h = share * first + (1 - share) * second
    return h / np.linalg.norm(h)


def written(query, key, queue, n_hard, n_mix, n_query_mix, tau, most):
    """Logits, and the synthetic negatives, in float64, point by point."""
    q, k, n = (t.double().numpy() for t in (query, key, queue))
    count = n_mix + n_query_mix
    shares = draws.uniform(STEP, "mochi.share", (len(q), count)).double().numpy()
    first, second = (draws.integers(STEP, f"mochi.{name}", (len(q), count), n_hard).numpy() for name in ("first", "second"))
    made = np.zeros((len(q), count, q.shape[1]))
    scores = q @ n.T
    for b in range(len(q)):
        hardest = np.sort(np.argsort(-scores[b], kind="stable")[:n_hard])
        for s in range(count):
            one, share = (n[hardest[first[b, s]]], shares[b, s]) if s < n_mix else (q[b], shares[b, s] * most)
            made[b, s] = mixed(one, n[hardest[second[b, s]]], share)
    return np.concatenate([(q * k).sum(1, keepdims=True), scores, np.einsum("bd,bsd->bs", q, made)], 1) / tau, made


CASES = [(4, 16, 90, 10, 7, 3), (3, 5, 40, 40, 0, 6), (2, 33, 5000, 700, 9, 0), (2, 128, 300, 1, 2, 2), (1, 1, 1, 1, 1, 1)]


@pytest.mark.parametrize("case", CASES)
def test_as_written(simd, case):
    batch, dim, size, *numbers = case
    query, key, queue = given(batch, dim, size)
    query.requires_grad_(), key.requires_grad_()
    out = mochi(query, key, queue, *numbers, 0.2, 0.5, step=STEP)
    expected, made = written(query.detach(), key.detach(), queue, *numbers, 0.2, 0.5)
    torch.testing.assert_close(out.double(), torch.from_numpy(expected), rtol=1e-5, atol=1e-5)
    negatives = mochi_negatives(query, queue, *numbers, step=STEP)
    torch.testing.assert_close(negatives.double(), torch.from_numpy(made), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(negatives.norm(dim=2), torch.ones(negatives.shape[:2]))
    grad = unit(*out.shape, seed=4).float()
    on_query, on_key = torch.autograd.grad(out, [query, key], grad)
    own, others = key.detach().double().numpy()[:, None], np.broadcast_to(queue.double().numpy(), (batch, size, dim))
    columns = np.concatenate([own, others, made], 1)
    torch.testing.assert_close(on_query.double(), torch.from_numpy(np.einsum("bc,bcd->bd", grad.double().numpy(), columns) / 0.2),
                               rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(on_key, grad[:, :1] * query.detach() / 0.2)


@pytest.mark.parametrize("size, count", [(1, 1), (50, 7), (5000, 1), (5000, 999), (70_000, 1024), (3000, 3000)])
@pytest.mark.parametrize("kind", ["normal", "ties", "nan", "same", "zeros of both signs"])
def test_the_hardest(simd, size, count, kind):
    """Torch's stable order of falling values; NaN last of all."""
    from anamorph.features.mochi import _hardest

    scores = torch.randn(3, size + 2, generator=torch.Generator().manual_seed(size))
    if kind == "ties":
        scores = scores.mul(3).round()
    if kind == "nan":
        scores[:, ::3] = float("nan")
    if kind == "same":
        scores = torch.full_like(scores, 0.25)
    if kind.startswith("zeros"):
        scores = torch.where(scores > 0, 0.0, -0.0)
    view = scores[:, 1:-1]
    order = torch.where(view.isnan(), -torch.inf, view).sort(dim=1, descending=True, stable=True).indices[:, :count]
    around, divided = scores[:, [0, -1]].clone(), view / 0.7
    assert _hardest(view, count, 0.7).tolist() == order.sort(dim=1).values.tolist()
    assert torch.equal(view, divided) or kind == "nan"
    assert torch.equal(scores[:, [0, -1]].nan_to_num(7), around.nan_to_num(7))


def test_the_cards_numbers():
    q, n, m = np.array([1.0, 0.0]), np.array([0.6, 0.8]), np.array([0.8, -0.6])
    assert abs(q @ mixed(q, n, 0.3) - 0.789352) < 1e-6
    assert abs(q @ mixed(n, m, 0.25) - 0.948683) < 1e-6, "harder than both parents"
    # The same two points natively: whichever share is drawn, it is on this curve.
    query, queue = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8], [0.8, -0.6]])
    for step in range(20):
        at = (3, step)
        logits = mochi(query, query, queue, 2, 1, 1, 1.0, step=at)[0]
        shares = draws.uniform(at, "mochi.share", (2,))
        i, j = (draws.integers(at, f"mochi.{name}", (2,), 2) for name in ("first", "second"))
        rows = queue.numpy()
        assert abs(float(logits[3]) - q @ mixed(rows[i[0]], rows[j[0]], float(shares[0]))) < 1e-6
        assert abs(float(logits[4]) - q @ mixed(q, rows[j[1]], float(shares[1]) / 2)) < 1e-6


def test_mixes_with_the_query_are_harder_than_their_parent():
    query, key, queue = given(20, 8, 100)
    out = mochi(query, key, queue, 30, 0, 50, 1.0, step=STEP)
    second = draws.integers(STEP, "mochi.second", (20, 50), 30)
    hardest = (query @ queue.T).topk(30, 1).indices.sort(1).values
    parents = (query @ queue.T).gather(1, hardest.gather(1, second))
    assert (out[:, 101:] >= parents - 1e-6).all() and (out[:, 101:] > parents + 0.01).any()


def test_without_mixes_it_is_moco_bit_for_bit():
    query, key, queue = given(7, 32, 500)
    moco = torch.cat([(query * key).sum(1, keepdim=True), query @ queue.T], 1) / 0.07
    assert torch.equal(mochi(query, key, queue, 10, 0, 0, 0.07, step=STEP), moco)


def test_gradient_of_the_loss():
    """The card: dL/dq = sum over columns of (p - y) column / tau."""
    query, key, queue = given(5, 8, 60)
    query.requires_grad_()
    logits = mochi(query, key, queue, 20, 10, 5, step=STEP)
    F.cross_entropy(logits, torch.zeros(5, dtype=torch.int64)).backward()
    made = mochi_negatives(query, queue, 20, 10, 5, step=STEP)
    columns = torch.cat([key[:, None], queue.expand(5, -1, -1), made], 1)
    error = logits.detach().softmax(1)
    error[:, 0] -= 1
    torch.testing.assert_close(query.grad, torch.einsum("bc,bcd->bd", error / 5, columns) / 0.2, rtol=1e-4, atol=1e-5)


def test_operator_compiles_and_replays():
    query, key, queue = given(4, 8, 50)
    query.requires_grad_()
    step = torch.tensor(STEP)
    torch.library.opcheck(torch.ops.anamorph.mochi, (query, key, queue, step, 10, 5, 3, 0.2, 0.5))
    f = torch.compile(lambda q, step: mochi(q, key, queue, 10, 5, 3, step=step), fullgraph=True)
    for at in range(3):
        step[1] = at
        assert torch.equal(f(query, step), mochi(query, key, queue, 10, 5, 3, step=(11, at)))
    module, again = MoCHi(10, 5, 3, seed=9), MoCHi(10, 5, 3, seed=9)
    first = module(query, key, queue)
    assert not torch.equal(first, module(query, key, queue)) and torch.equal(first, again(query, key, queue))


def test_compiled_modules_gradient_is_of_this_step():
    """Split into passes as inductor does it, the backward pass must not read the step that the forward pass has moved on."""
    query, key, queue = given(4, 8, 50)
    query.requires_grad_()
    module, again = MoCHi(10, 8, 5), MoCHi(10, 8, 5)
    compiled = torch.compile(again, fullgraph=True, backend="aot_eager_decomp_partition")
    for _ in range(3):
        grads = [torch.autograd.grad(m(query, key, queue)[:, -13:].square().sum(), query)[0] for m in (module, compiled)]
        torch.testing.assert_close(grads[0], grads[1])


def test_drawing_modules_refuse_checkpoints():
    query, key, queue = given(4, 8, 50)
    module = MoCHi(10, 8, 5)
    out = torch.utils.checkpoint.checkpoint(lambda q: module(q, key, queue), query.requires_grad_(), use_reentrant=False)
    with pytest.raises(ArgumentError, match="activation checkpointing"):
        out.sum().backward()


def test_halves_are_computed_in_float32():
    query, key, queue = given(4, 8, 50)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(mochi(query, key, queue, 10, 5, 3, step=STEP), mochi(query.float(), key, queue, 10, 5, 3, step=STEP))
    low = [t.bfloat16() for t in (query, key, queue)]
    out = mochi(*low, 10, 5, 3, step=STEP)
    assert out.dtype == torch.float32
    assert torch.equal(out, mochi(*[t.float() for t in low], 10, 5, 3, step=STEP))


def test_nan_of_a_query_stays_in_its_row(simd):
    query, key, queue = given(3, 8, 50)
    query[1, 2] = float("nan")
    bad = mochi(query, key, queue, 10, 5, 3, step=STEP).isnan().any(1)
    assert bad.tolist() == [False, True, False]


Q, K, QUEUE = given(4, 8, 50)


@pytest.mark.parametrize("call, error, words", [
    (lambda: mochi(Q, K, QUEUE, 51, step=STEP), ArgumentError, "at most 50, the length of the queue"),
    (lambda: mochi(Q, K, QUEUE, 0, step=STEP), ArgumentError, "n_hard"),
    (lambda: mochi(Q, K, QUEUE[:0], 1, step=STEP), ShapeError, "queue: expected .* nothing empty"),
    (lambda: mochi(Q[:0], K[:0], QUEUE, 1, step=STEP), ShapeError, "nothing empty"),
    (lambda: mochi(Q, K[:2], QUEUE, 1, step=STEP), ShapeError, "key"),
    (lambda: mochi(Q, K, QUEUE[:, :5], 1, step=STEP), ShapeError, "queue"),
    (lambda: mochi(Q.double(), K.double(), QUEUE.double(), 1, step=STEP), ArgumentError, "float32 or less"),
    (lambda: mochi(Q, K.half(), QUEUE, 1, step=STEP), DtypeError, "key"),
    (lambda: mochi(Q.long(), K, QUEUE, 1, step=STEP), DtypeError, "query"),
    (lambda: mochi(Q, K, QUEUE.clone().requires_grad_(), 1, step=STEP), ArgumentError, "without gradient"),
    (lambda: mochi(Q, K, QUEUE, 1, -1, step=STEP), ArgumentError, "n_mix"),
    (lambda: mochi(Q, K, QUEUE, 1, 1, 1, 0.0, step=STEP), ArgumentError, "temperature"),
    (lambda: mochi(Q, K, QUEUE, 1, 1, 1, 0.2, 1.5, step=STEP), ArgumentError, "query_mix_max"),
    (lambda: mochi(Q, K, QUEUE, 1, step=5), ArgumentError, "step"),
    (lambda: mochi(Q[0], K[0], QUEUE, 1, step=STEP), ShapeError, "query"),
])
def test_errors(call, error, words):
    with pytest.raises(error, match=words):
        call()
