"""The tester's tests: every primitive of the emulation against values computed here, and every planted fault found."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import anamorph as am
from emulation.route import FOUND, memory, span

if not FOUND:
    pytest.skip("the emulation is not built; make test builds it", allow_module_level=True)

from emulation.route import native

SEEDS = range(6)
ALL = 0xFFFFFFFF
random = np.random.default_rng(0)


def words(array):
    """The bits of an array as a tensor that kernels read."""
    return torch.from_numpy(np.ascontiguousarray(array).view(np.int32).copy())


def run(name, given, count, grid=(1,), block=(32,), shared=0, a=0, b=0, seed=0, start=None):
    """What kernel `name` makes of `given`, as uint32 [count]; `start`: what it finds there."""
    given = words(given)
    out = torch.empty(count, dtype=torch.int32) if start is None else words(start)
    native.set_seed(seed)
    with memory({"in": given}, {"out": out} if start is None else {}, [] if start is None else [span("out", out, True)]):
        native.run_kernel(name, list(grid), list(block), shared, given.data_ptr(), out.data_ptr(), a, b)
    return out.numpy().view(np.uint32)


def numbers(n, high=2**32):
    return random.integers(0, high, n).astype(np.uint32)


# ---- what is right ----

@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("grid", "block"), [((1,), (1,)), ((7, 1, 1), (33,)), ((2, 3, 4), (4, 3, 2)), ((5, 2), (2, 2, 64))])
def test_every_thread_of_every_block_runs_once(grid, block, seed):
    gx, gy, gz, bx, by, bz = (n for v in (grid, block) for n in (*v, 1, 1)[:3])
    out = run("places", numbers(1), 6 * gx * gy * gz * bx * by * bz, grid, block, seed=seed).reshape(gz, gy, gx, bz, by, bx, 6)
    z, y, x, tz, ty, tx = np.indices((gz, gy, gx, bz, by, bx))
    np.testing.assert_array_equal(out, np.stack([x, y, z, tx, ty, tz], -1))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("blocks", "size"), [(1, 1), (16, 16), (64, 8), (30, 2)])
def test_blocks_meet(blocks, size, seed):
    threads = 33
    given = numbers(threads, 1000)
    start = np.zeros(17 + blocks + blocks * threads, np.uint32)
    out = run("meetings", given, None, (blocks,), (threads,), a=size, seed=seed, start=start)
    out = out[17 + blocks:].reshape(blocks, threads)
    place = np.arange(blocks, dtype=np.uint32)
    sums = (given[0] + 100 * place).reshape(-1, size).sum(1, dtype=np.uint32).repeat(size)
    np.testing.assert_array_equal(out, sums[:, None] * np.uint32(1000) + given[::-1] + place[:, None])


@pytest.mark.parametrize("width", [1, 2, 4, 8, 16, 32])
@pytest.mark.parametrize("by", [0, 1, 3, 8, 31])
def test_shuffles(by, width):
    n = 96
    given = numbers(n)
    out = run("shuffles", given, 8 * n, block=(n,), a=by, b=width, seed=by).reshape(2, 4, n)
    for lane in range(n):
        warp, i = lane // 32 * 32, lane % 32
        segment = range(i // width * width, i // width * width + width)
        sources = (segment[by % width], i - by, i + by, i ^ by)
        inside = (True, sources[1] >= segment[0], sources[2] <= segment[-1], sources[3] <= segment[-1])
        for k in range(4):
            expected = given[warp + (sources[k] if inside[k] else i)]
            assert out[0, k, lane] == expected and out[1, k, lane] == expected


@pytest.mark.parametrize("high", [2, 4, 2**32])
@pytest.mark.parametrize("limit", [1, 3, 2**31 - 1])
def test_votes(limit, high):
    given = numbers(32, high)
    out = run("votes", given, 6 * 32, a=limit, seed=high % 7).reshape(32, 6)
    for lane in range(32):
        together = [k for k in range(32) if k % 2 == lane % 2]
        below = [k for k in together if given[k] < limit]
        same = [k for k in together if given[k] == given[lane]]
        mask_below, mask_same = (sum(1 << k for k in v) for v in (below, same))
        expected = [mask_below, bool(below), below == together, mask_same, mask_same if same == together else 0, same == together]
        assert out[lane].tolist() == [int(e) for e in expected]


@pytest.mark.parametrize("high", [5, 2**32])
def test_reductions(high):
    given = numbers(32, high)
    signed = given.view(np.int32)
    with np.errstate(over="ignore"):
        expected = [given.sum(dtype=np.uint32), given.min(), given.max(), signed.sum(dtype=np.int32), signed.min(), signed.max(),
                    np.bitwise_and.reduce(given), np.bitwise_or.reduce(given), np.bitwise_xor.reduce(given)]
    out = run("reductions", given, 9 * 32).reshape(32, 9)
    assert (out == np.array([int(e) & ALL for e in expected], np.uint32)).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_active_lanes(seed):
    given = numbers(32, 4)
    out = run("active", given, 64, seed=seed).reshape(32, 2)
    masks = [sum(1 << k for k in range(32) if given[k] == v) for v in range(4)]
    for lane, v in enumerate(given):
        if v < 3:
            assert out[lane, 0] == (masks[v] if v < 2 else ~masks[2] & ALL)
            assert out[lane, 1] == masks[0] | masks[1] | masks[2]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("block", [(32,), (256,), (16, 8, 8)])
def test_sums_of_blocks(block, seed):
    given = random.integers(0, 100, (5, int(np.prod(block)))).astype(np.float32)
    out = run("sums", given, 5, (5,), block, seed=seed).view(np.float32)
    np.testing.assert_array_equal(out, given.sum(1))


@pytest.mark.parametrize("seed", SEEDS)
def test_dynamic_shared_memory(seed):
    given = numbers((3, 70))
    np.testing.assert_array_equal(run("turned", given, 210, (3,), (70,), 280, seed=seed), given[:, ::-1].ravel())


@pytest.mark.parametrize("limit", [0, 5, 9])
def test_votes_at_barriers(limit):
    given = numbers(100, 8)
    out = run("barrier_votes", given, 300, block=(100,), a=limit).reshape(100, 3)
    left = given[given > 0]
    expected = [(left < limit).sum(), (left < limit).all(), (left < limit).any()]
    assert (out[given > 0] == np.array(expected, np.uint32)).all()


COUNTERS = np.dtype([(name, kind) for names, kind in (
    ("sum less least most both either odd swapped slot", "i4"), ("up down", "u4"), ("float_sum", "f4"), ("wide_sum", "u8"),
    ("double_sum", "f8"), ("lock guarded", "u4")) for name in names.split()], align=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_atomics(seed):
    given = numbers((4, 50), 1000).astype(np.int32)
    start = np.zeros(1, COUNTERS)
    start["least"], start["both"], start["swapped"], start["slot"], start["down"] = 10**6, -1, -1, 7, 30
    out = run("atomics", given, 0, (4,), (50,), seed=seed, start=start).view(COUNTERS)[0]
    all_ = given.ravel()
    assert out["sum"] == all_.sum() == -out["less"] and out["least"] == all_.min() and out["most"] == all_.max()
    assert out["both"] == np.bitwise_and.reduce(all_ | 0xF0) and out["either"] == np.bitwise_or.reduce(all_ & 0x0F0F)
    assert out["odd"] == np.bitwise_xor.reduce(all_) and out["swapped"] in all_ and out["slot"] == 8
    assert out["up"] == 200 % 10 and out["down"] == (9 - 199) % 10
    assert out["float_sum"] == all_.sum() and out["wide_sum"] == int(all_.sum()) << 32 and out["double_sum"] == all_.sum() / 2
    assert out["lock"] == 0 and out["guarded"] == 200


def test_a_histogram_in_shared_memory():
    given = numbers((6, 128))
    out = run("histogram", given, 0, (6,), (128,), start=np.zeros(16, np.uint32))
    np.testing.assert_array_equal(out, np.bincount(given.ravel() % 16, minlength=16))


def test_bits():
    given = np.concatenate([numbers((30, 2)), [[0, 0], [ALL, ALL]]]).astype(np.uint32)
    given[:8, 0] = (random.random(8) * 1e10 - 5e9).astype(np.float32).view(np.uint32)  # also beyond an int's range
    given[:8, 1] = (random.random(8) * 1e10 - 1e9).astype(np.float32).view(np.uint32)
    out = run("bits", given, 16 * 32).reshape(32, 16)
    for (a, b), mine in zip(given.tolist(), out.tolist()):
        both = b << 32 | a
        sa, sb = (v - 2**32 if v >= 2**31 else v for v in (a, b))
        octets = [both >> 8 * k & 255 for k in range(8)]
        x, y = (np.array(v, np.uint32).view(np.float32) for v in (a, b))
        x, y = float(x), float(y)
        signed = [((v >> 8 * k & 255) ^ 128) - 128 for v in (a, b) for k in range(4)]
        expected = [a.bit_count(), both.bit_count(), (a & -a).bit_length(), (both & -both).bit_length(), 32 - a.bit_length(),
                    64 - both.bit_length(), int(f"{a:032b}"[::-1], 2), int(f"{both:064b}"[::-1], 2) >> 32,
                    sa * sb >> 32, a * b >> 32,
                    octets[4] | octets[5] << 8 | octets[2] << 16 | octets[7] << 24, (both << 9) >> 32, both >> 9,
                    0 if np.isnan(x) else round(min(max(x, -2**31), 2**31 - 1)),
                    0 if np.isnan(y) else int(min(max(y, 0), 2**32 - 1)),
                    5 + sum(signed[k] * signed[4 + k] for k in range(4))]
        assert mine == [int(e) & ALL for e in expected]


def test_vectors():
    given = (random.random((32, 4)) * 4 - 2).astype(np.float32)
    out = run("vectors", given, 6 * 32)
    x, y, z, w = given.T.astype(float)
    expected = np.stack([w, np.maximum(x, y), (x * y + z), np.clip(x, 0, 1)], 1).astype(np.float32)
    np.testing.assert_array_equal(out[:128].view(np.float32).reshape(32, 4), expected)
    pairs = given.view(np.uint32).reshape(-1, 2)[:32]
    np.testing.assert_array_equal(out[128:].reshape(32, 2), np.sort(pairs, 1))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_warp_that_synchronises_in_halves(seed):
    given = numbers(32)
    neighbours = given.reshape(16, 2)[:, ::-1].ravel() + np.uint32(1)
    np.testing.assert_array_equal(run("handed_over", given, 32, seed=seed), np.roll(neighbours, 16))


@pytest.mark.parametrize(("grid", "block", "shared", "why"), [
    ((0,), (32,), 0, "configuration"), ((1, 65536), (1,), 0, "configuration"), ((2**31,), (1,), 0, "configuration"),
    ((1,), (0,), 0, "configuration"), ((1,), (1025,), 0, "configuration"), ((1,), (64, 32), 0, "configuration"),
    ((1,), (1, 1, 65), 0, "configuration"), ((1,), (32,), 48 * 1024 - 127, "invalid argument"),
])
def test_what_a_device_refuses(grid, block, shared, why):
    """By the runtime's own error, and the next launch is free of it. `sums` has 128 bytes of shared memory of its own."""
    with pytest.raises(am.AnamorphError, match=f"sums: the CUDA launch, .* failed .*{why}"):
        run("sums", np.ones(32, np.float32), 1, grid, block, shared)
    assert run("sums", np.ones(32, np.float32), 1, shared=48 * 1024 - 128).view(np.float32) == 32


# ---- what is wrong ----

RACE = r"(reads|writes) 4 bytes of shared memory at words \+ \d+, which thread \(\d+, 0, 0\) (wrote|read), with no barrier"
UNWRITTEN = r"reads 4 bytes of shared memory at words \+ \d+, which nothing in the block has written"
WATCHED = {  # what the hooks find: threads of the block, bytes of shared memory, the message
    "missing_barrier": (64, 0, rf"({RACE}|{UNWRITTEN})"),  # whichever the order brings first
    "missing_second_barrier": (64, 0, RACE),
    "unsynchronised_warp": (64, 0, rf"({RACE}|{UNWRITTEN})"),
    "shuffle_for_a_fence": (64, 0, RACE),
    "unwritten_shared": (64, 0, r"thread \(0, 0, 0\) " + UNWRITTEN),
    "store_outside": (64, 0, r"thread \(63, 0, 0\) writes 4 bytes that lie 0 bytes past the end of out \(256 bytes\)"),
    "load_outside": (64, 0, r"thread \(0, 0, 0\) reads 4 bytes that lie 4 bytes before in \(256 bytes\)"),
    "store_to_input": (64, 0, r"writes 4 bytes of in, which is only to be read"),
    "store_outside_shared": (64, 0, r"thread \(63, 0, 0\) writes 4 bytes outside this kernel's shared variables"),
    "store_outside_dynamic": (64, 256, r"thread \(63, 0, 0\) writes 4 bytes outside this kernel's shared variables"),
    "misaligned": (64, 0, r"accesses 8 bytes at an address that is no multiple of it"),
}
ALWAYS = {  # what the scheduler finds
    "divided_barrier": (64, 0, r"waits at __syncthreads \(kernels.cu:\d+\) and .* at __syncthreads \(kernels.cu:\d+\): a"),
    "absent_lane": (32, 0, r"none can go on; .*__shfl_down_sync \(kernels.cu:\d+\) for lanes 0x20 .*; .*__syncthreads"),
    "other_masks": (32, 0, r"none can go on; .*__shfl_down_sync"),
    "foreign_mask": (32, 0, r"calls __ballot_sync with a mask that does not name its own lane"),
    "endless": (4, 0, r"waits for a word that nobody writes"),
    "unmet": (4, 0, r"thread \(0, 0, 0\) waits for a word that nobody writes"),
    "trapped": (32, 0, r"thread \(9, 0, 0\) traps"),
}
SANITIZED = {  # what the sanitizers find in their build, and end the process
    "store_outside": (0, "heap-buffer-overflow"),
    "load_outside": (0, "heap-buffer-overflow"),
    "store_outside_shared": (0, "index 64 out of bounds"),
    "store_outside_dynamic": (256, "use-after-poison"),
    "misaligned": (0, "store to misaligned address"),
}
# What they would give if the one thing were right.
RIGHT = {
    "missing_barrier": lambda v: v[::-1],
    "missing_second_barrier": lambda v: v[::-1] + np.uint32(3),
    "unsynchronised_warp": lambda v: v.reshape(32, 2)[:, ::-1].ravel(),
    "shuffle_for_a_fence": lambda v: v.reshape(32, 2)[:, ::-1].ravel(),
    "unwritten_shared": lambda v: v,
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", [*(WATCHED if native.WATCHED else {}), *ALWAYS])
def test_a_fault_is_found(name, seed):
    threads, shared, message = {**WATCHED, **ALWAYS}[name]
    given = np.arange(threads, dtype=np.uint32)
    with pytest.raises(native.Fault, match=f"^{name}: .*{message}.*; block \\(0, 0, 0\\), seed {seed}$"):
        run(name, given, threads, block=(threads,), shared=shared, seed=seed)
    # And nothing of it is left.
    np.testing.assert_array_equal(run("turned", given, threads, block=(threads,), shared=4 * threads), given[::-1])


@pytest.mark.parametrize("name", [] if native.WATCHED else SANITIZED)
def test_a_sanitizer_finds_a_fault(name):
    shared, message = SANITIZED[name]
    program = f"from emulation.test_emulation import *; run('{name}', np.ones(64, np.uint32), 64, block=(64,), shared={shared})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=Path(__file__).parents[2],
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode != 0 and message in done.stderr, done.stderr[-2000:]


@pytest.mark.parametrize("name", RIGHT)
def test_order_and_noise_alone_show_a_fault(name):
    """Without a look at the accesses: the numbers are wrong, whatever the seed, and differ from seed to seed."""
    given = numbers(64)
    native.watch(False)
    try:
        found = [run(name, given, 64, block=(64,), seed=seed).copy() for seed in SEEDS]
    finally:
        native.watch(True)
    wrong = [not np.array_equal(out, RIGHT[name](given)) for out in found]
    if name == "shuffle_for_a_fence":  # which does order the threads, here as on most devices
        assert not any(wrong)
    else:
        assert all(wrong) and len({out.tobytes() for out in found}) == len(SEEDS)


def test_a_seed_is_an_order():
    """The same one twice is the same run."""
    given = numbers(64)
    native.watch(False)
    try:
        same = [run("missing_barrier", given, 64, block=(64,), seed=3).tolist() for _ in range(3)]
    finally:
        native.watch(True)
    for out in same[1:]:  # the noise in `out` is gone: every thread writes its word
        assert out == same[0]
