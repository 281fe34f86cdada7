"""The queue against a Python list of rows, and MoCo's logits against NumPy."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn import functional as F

from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.features.queue import Queue, moco_logits


def unit(*shape, seed=0, dtype=torch.float32):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1).to(dtype)


@pytest.mark.parametrize("batches", [[3, 3, 3], [4, 4], [7], [23], [2, 19, 1, 5], [1] * 16, [14], [7, 7]])
def test_rows_come_one_by_one(batches):
    """As a loop that writes a row and moves on, whether the batch divides the size or is longer than it."""
    queue = Queue(4, 7, filled=False)
    rows, names, at = np.zeros((7, 4)), [-1] * 7, 0
    for i, batch in enumerate(batches):
        keys = torch.randn(batch, 4, generator=torch.Generator().manual_seed(i))
        ids = torch.arange(batch) + 100 * i
        queue.enqueue(keys, ids)
        for key, name in zip(keys.double().numpy(), ids.tolist()):
            rows[at], names[at] = key / np.sqrt((key ** 2).sum()), name
            at = (at + 1) % 7
        np.testing.assert_allclose(queue.keys.numpy(), rows, atol=1e-6)
        assert queue.ids.tolist() == names
        assert queue.pointer.item() == at and queue.count.item() == min(7, sum(batches[:i + 1]))


def test_a_queue_begins_with_directions_or_empty():
    queue = Queue(16, 500, seed=3)
    torch.testing.assert_close(queue.keys.norm(dim=1), torch.ones(500))
    assert torch.equal(queue.keys, Queue(16, 500, seed=3).keys) and not torch.equal(queue.keys, Queue(16, 500, seed=4).keys)
    assert queue.keys.mean(0).norm() < 4 / 500 ** 0.5, "in all directions"
    assert queue.count.item() == 500 and not queue.excluded().any() and (queue.ids == -1).all()
    empty = Queue(16, 5, filled=False)
    assert not empty.keys.any() and empty.count.item() == 0 and empty.excluded().all()
    empty.enqueue(unit(2, 16))
    assert empty.excluded().tolist() == [[False, False, True, True, True]]


def test_keys_of_the_same_picture_are_excluded():
    queue = Queue(4, 5, filled=False)
    queue.enqueue(unit(3, 4), torch.tensor([7, 0, 7]))
    queue.enqueue(unit(1, 4))  # of a picture that is not named
    assert queue.excluded(torch.tensor([7, 0, 3])).int().tolist() == [[1, 0, 1, 0, 1], [0, 1, 0, 0, 1], [0, 0, 0, 0, 1]]


def test_halves_and_doubles_come_in_and_the_state_goes_on():
    queue = Queue(8, 6)
    queue.enqueue(10 * unit(4, 8, dtype=torch.bfloat16))
    torch.testing.assert_close(queue.keys.norm(dim=1), torch.ones(6))
    queue.enqueue(unit(4, 8, dtype=torch.float64))
    assert queue.keys.dtype == torch.float32 and queue.double().keys.dtype == torch.float64
    other = Queue(8, 6, seed=5)
    other.load_state_dict(queue.state_dict())
    for each in (queue, other):
        each.enqueue(unit(3, 8, seed=9, dtype=torch.float64))
    assert torch.equal(queue.keys.float(), other.keys) and torch.equal(queue.pointer, other.pointer)


def test_the_queue_has_no_gradient_and_enqueueing_before_backward_is_noticed():
    queue, query = Queue(8, 6), unit(2, 8).requires_grad_()
    key = unit(2, 8, seed=1).requires_grad_()
    loss = moco_logits(query, key, queue.keys).logsumexp(1).sum()
    queue.enqueue(key)
    assert not queue.keys.requires_grad
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_enqueue_compiled(backend):
    plain, compiled = (Queue(4, 5, filled=False) for _ in range(2))
    step = torch.compile(compiled.enqueue, fullgraph=True, backend=backend)
    for i in range(4):
        keys, ids = torch.randn(3, 4), torch.arange(3) + i
        plain.enqueue(keys, ids)
        step(keys, ids)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, compiled.state_dict()[name]), name


def _rank(rank, file, out):
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    queue = Queue(3, 5, filled=False)
    queue.enqueue(torch.eye(3)[:2] * (1 - 2 * rank), torch.tensor([0, 1]) + 10 * rank, gather=True)
    queue.enqueue(torch.eye(3)[2:] * (1 - 2 * rank), gather=True)
    torch.save(queue.state_dict(), f"{out}{rank}")
    dist.destroy_process_group()


def test_keys_of_all_ranks(tmp_path):
    mp.start_processes(_rank, (str(tmp_path / "meet"), str(tmp_path / "rank")), nprocs=2, start_method="fork")
    first, second = (torch.load(tmp_path / f"rank{rank}") for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    x, y, z = torch.eye(3)
    assert torch.equal(first["keys"], torch.stack([-z, y, -x, -y, z]))
    assert first["ids"].tolist() == [-1, 1, 10, 11, -1] and first["pointer"].item() == 1


def test_alone_there_is_nothing_to_gather():
    queue = Queue(3, 4, filled=False)
    queue.enqueue(torch.eye(3), gather=True)
    assert queue.count.item() == 3 and torch.equal(queue.keys[:3], torch.eye(3))


def test_logits():
    query, key, rows = (unit(n, 6, seed=n, dtype=torch.float64) for n in (3, 3, 8))
    key = unit(3, 6, seed=20, dtype=torch.float64)
    exclude = torch.zeros(3, 8, dtype=torch.bool)
    exclude[1, 4] = True
    found = moco_logits(query, key, rows, 0.07, exclude=exclude).numpy()
    for b in range(3):
        assert found[b, 0] == pytest.approx(float(np.dot(query[b], key[b])) / 0.07)
        for k in range(8):
            assert found[b, 1 + k] == (-np.inf if (b, k) == (1, 4) else pytest.approx(float(np.dot(query[b], rows[k])) / 0.07))


def test_logits_have_the_gradient_of_the_cross_entropy():
    """The sum over columns of (p - y) column / tau."""
    query, key, rows = (unit(n, 6, seed=i, dtype=torch.float64).requires_grad_() for i, n in enumerate((3, 3, 8)))
    F.cross_entropy(moco_logits(query, key, rows, 0.2), torch.zeros(3, dtype=torch.int64), reduction="sum").backward()
    assert key.grad is None and rows.grad is None
    for b in range(3):
        columns = np.concatenate([key.detach()[b:b + 1].numpy(), rows.detach().numpy()])
        z = columns @ query.detach()[b].numpy() / 0.2
        p = np.exp(z) / np.exp(z).sum()
        np.testing.assert_allclose(query.grad[b], ((p - np.eye(9)[0])[:, None] * columns).sum(0) / 0.2, rtol=1e-9)


def test_logits_gradcheck_compile_and_autocast():
    query, key, rows = unit(3, 6).requires_grad_(), unit(3, 6, seed=1), unit(8, 6, seed=2)
    assert torch.autograd.gradcheck(moco_logits, (query.detach().double().requires_grad_(), key.double(), rows.double()))
    compiled = torch.compile(moco_logits, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(query, key, rows), moco_logits(query, key, rows))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(moco_logits(query, key, rows), moco_logits(query.detach(), key, rows))
        assert moco_logits(query.bfloat16(), key.half(), rows).dtype == torch.float32


Q, ROWS = Queue(4, 6), unit(6, 4)
NAN = torch.tensor([[1.0, 2, 3, float("nan")]])
BAD = {
    "no length": (lambda: Queue(0, 6), ArgumentError, "dim.*given 0"),
    "no rows": (lambda: Queue(4, 0), ArgumentError, "size.*given 0"),
    "filled": (lambda: Queue(4, 6, filled=1), ArgumentError, "filled: expected True or False"),
    "keys of another length": (lambda: Q.enqueue(unit(2, 5)), ShapeError, r"keys: expected \[B, 4\].*\[2, 5\]"),
    "no keys": (lambda: Q.enqueue(unit(0, 4)), ShapeError, r"nothing empty, given \[0, 4\]"),
    "whole numbers": (lambda: Q.enqueue(torch.ones(2, 4, dtype=torch.int64)), DtypeError, "keys: expected floats"),
    "a list": (lambda: Q.enqueue([[1.0] * 4]), ArgumentError, "keys: expected a tensor"),
    "a key that is NaN": (lambda: Q.enqueue(NAN), ArgumentError, "keys: expected finite"),
    "a key that is zero": (lambda: Q.enqueue(torch.zeros(1, 4)), ArgumentError, "direction"),
    "keys elsewhere": (lambda: Q.enqueue(torch.empty(2, 4, device="meta")), DeviceError, "keys: expected on cpu"),
    "ids of others": (lambda: Q.enqueue(unit(2, 4), torch.arange(3)), ShapeError, r"ids: expected class ids \[2\]"),
    "negative ids": (lambda: Q.enqueue(unit(2, 4), torch.tensor([0, -1])), ArgumentError, "ids: .*at least 0"),
    "no ids to exclude": (lambda: Q.excluded(torch.zeros(2, 2, dtype=torch.int64)), ShapeError, r"ids: expected int64 \[B\]"),
    "queries and keys": (lambda: moco_logits(unit(2, 4), unit(3, 4), ROWS), ShapeError, r"key: expected \[2, 4\] like query"),
    "a queue of other rows": (lambda: moco_logits(unit(2, 4), unit(2, 4), unit(6, 3)), ShapeError, r"queue: expected \[K, 4\]"),
    "an empty queue": (lambda: moco_logits(unit(2, 4), unit(2, 4), ROWS[:0]), ShapeError, "queue.*nothing empty"),
    "two precisions": (lambda: moco_logits(unit(2, 4).double(), unit(2, 4), ROWS), DtypeError, "key: expected torch.float64"),
    "temperature": (lambda: moco_logits(unit(2, 4), unit(2, 4), ROWS, 0), ArgumentError, "temperature.*given 0"),
    "exclude of floats": (lambda: moco_logits(unit(2, 4), unit(2, 4), ROWS, exclude=torch.zeros(2, 6)), DtypeError, "exclude"),
    "exclude of others": (lambda: moco_logits(unit(2, 4), unit(2, 4), ROWS, exclude=ROWS[:3] > 0), ShapeError, "exclude"),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes(case):
    call, error, text = BAD[case]
    with pytest.raises(error, match=text):
        call()
