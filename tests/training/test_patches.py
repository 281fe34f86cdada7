"""Masks of patches: their numbers one by one by the rules, and their statistics by the published programs'."""

import math
from collections import Counter

import pytest
import torch

import anamorph as am
from anamorph.training import philox
from devices import DEVICES, captured

LOW = 2**32 - 1


def words(sample, slot, block, seed=0, epoch=0, view=0):
    """A block of four by the native generator, which has published vectors."""
    sample &= 2**64 - 1
    return am.philox((view << 20 | slot << 10 | block, sample & LOW, sample >> 32, epoch), (seed & LOW, seed >> 32))


def test_words_are_philox_at_the_counters_of_plans():
    ids, seed, epoch, view = [3, 2**40 + 5, -7, 2**63 - 1], 2**63 + 11, 2**32 - 1, 4095
    got = philox.words(philox.key(ids, seed, epoch, view, None), 10, 1015, 4)
    for row, sample in zip(got.tolist(), ids):
        assert row == [w for block in (1, 2, 3) for w in words(sample, 1015, block, seed, epoch, view)][:10]


# patch_mask

def test_patches_are_kept_by_the_smallest_of_noise():
    ids = [5, 6, 2**33]
    got = am.patch_mask(ids, (4, 5), 0.3, seed=7, epoch=2, view=1)
    for mask, sample in zip(got, ids):
        noise = [w for block in range(5) for w in words(sample, 1015, block, 7, 2, 1)]
        kept = sorted(range(20), key=lambda i: noise[i])[:6]
        assert {*(~mask).flatten().nonzero().flatten().tolist()} == {*kept}


@pytest.mark.parametrize(("grid", "keep", "count"), [((14, 14), 0.25, 49), (16, 0.25, 64), ((7, 9), 0.5, 31), ((1, 1), 0.9, 0),
                                                     (128, 0.1, 1638), ((3, 4), 0, 0), ((3, 4), 1, 12)])
def test_as_many_are_kept_of_each(grid, keep, count):
    mask = am.patch_mask(range(16), grid, keep, seed=0, epoch=0)
    assert mask.dtype == torch.bool and mask.shape[1:] == (grid if isinstance(grid, tuple) else (grid, grid))
    assert ((~mask).sum((1, 2)) == count).all()


def test_every_patch_is_as_likely_and_neighbours_know_nothing_of_each_other():
    n = 20000
    kept = (~am.patch_mask(range(n), seed=3, epoch=0)).double()
    share = kept.mean(0)
    deviation = math.sqrt(0.25 * 0.75 / n)
    assert (share - 0.25).abs().max() < 4.5 * deviation
    chi = ((share - 0.25) / deviation).square().sum().item() * 195 / 196  # its mean is 195 and its deviation 20
    assert 120 < chi < 280
    both = (kept[:, :, 1:] * kept[:, :, :-1]).mean().item()
    assert abs(both - 49 * 48 / (196 * 195)) < 1e-3


# block_mask

def by_the_rules(sample, grid=(14, 14), count=75, min_block=16, aspect=(0.3, 1 / 0.3), max_block=None, **key):
    """BEiT's blocks (Bao et al. 2022), one patch after the other."""
    rows, columns = grid
    masked, left, attempt = set(), count, 0
    while left > 0:
        for _ in range(10):
            area, ratio, y, x = (w / 2**32 for w in words(sample, 1019, attempt, **key))
            attempt += 1
            most = min(left, max_block or left)
            area = min_block + (most - min_block) * area
            ratio = math.exp(math.log(aspect[0]) + (math.log(aspect[1]) - math.log(aspect[0])) * ratio)
            h, w = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if h >= rows or w >= columns:
                continue
            top, start = int(y * (rows - h + 1)), int(x * (columns - w + 1))
            new = {(r, c) for r in range(top, top + h) for c in range(start, start + w)} - masked
            if 0 < len(new) <= most:
                masked |= new
                left -= len(new)
                break
        else:
            break
    return masked


@pytest.mark.parametrize("rules", [
    {}, dict(count=120, min_block=4), dict(grid=(10, 20), count=60, max_block=20, aspect=(0.5, 0.9)),
    dict(grid=(3, 3), count=9, min_block=1), dict(grid=(6, 6), count=1), dict(min_block=196, count=196)])
def test_blocks_are_laid_by_the_rules(rules):
    ids = range(100, 160)
    got = am.block_mask(ids, **rules, seed=2**40 + 3, epoch=5, view=2)
    for mask, sample in zip(got, ids):
        assert {*map(tuple, mask.nonzero().tolist())} == by_the_rules(sample, **rules, seed=2**40 + 3, epoch=5, view=2)


def test_statistics_are_those_of_the_published_program():
    """20000 masks by microsoft/unilm's MaskingGenerator((14, 14), 75, 16): 64 to 75 patches, 75 of them in 66.9 %, 74 in 23.1 %,
    a corner is masked in 4.1 %, the centre in 71.7 %, the middle of the upper border in 19.2 %; a row changes 1.431 times."""
    n = 8000
    mask = am.block_mask(range(n), seed=11, epoch=0)
    counts = mask.sum((1, 2))
    assert counts.max() == 75 and counts.min() >= 60
    share = {k: v / n for k, v in Counter(counts.tolist()).items()}
    assert abs(share[75] - 0.669) < 0.025 and abs(share[74] - 0.231) < 0.02
    where = mask.double().mean(0)
    assert all(abs(where[y, x] - 0.041) < 0.012 for y in (0, -1) for x in (0, -1))
    assert abs(where[7, 6] - 0.717) < 0.025 and abs(where[0, 6] - 0.192) < 0.025
    assert abs((mask[:, :, 1:] != mask[:, :, :-1]).double().sum(2).mean() - 20.03 / 14) < 0.03


def test_no_block_and_all():
    assert not am.block_mask([1, 2], count=0, seed=0, epoch=0).any()
    assert not am.block_mask([1, 2], (1, 8), 4, 1, seed=0, epoch=0).any()  # none is smaller than the grid
    assert am.block_mask(range(8), 8, 64, 4, seed=0, epoch=0).sum((1, 2)).min() > 40


# Both

MASKS = {"patch": am.patch_mask, "block": am.block_mask}


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_is_a_function_of_its_key_alone(name):
    make = MASKS[name]
    whole = make(range(50), seed=1, epoch=2, view=3)
    assert torch.equal(whole[[7, 49, 7]], make([7, 49, 7], seed=1, epoch=2, view=3))
    assert torch.equal(whole, make(torch.arange(50, dtype=torch.int32), seed=1, epoch=torch.tensor([2]), view=3))
    for other in (dict(seed=2, epoch=2, view=3), dict(seed=1, epoch=3, view=3), dict(seed=1, epoch=2)):
        assert (make(range(50), **other) != whole).flatten(1).any(1).all()
    assert len({bytes(m.numpy().tobytes()) for m in whole}) == 50


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("device", DEVICES)
def test_a_mask_has_the_same_bits_everywhere(device, name):
    make = MASKS[name]
    expected = make(range(256), seed=5, epoch=1)
    assert torch.equal(make(range(256), seed=5, epoch=1, device=device).cpu(), expected)
    there = make(torch.arange(256, device=device), seed=5, epoch=1)
    assert there.device.type == torch.device(device).type and torch.equal(there.cpu(), expected)


@pytest.mark.parametrize("device", DEVICES)
def test_patches_are_drawn_in_a_graph(device):
    index, epoch = torch.arange(8, device=device), torch.zeros(1, dtype=torch.int64, device=device)
    replay = captured(lambda: am.patch_mask(index, seed=5, epoch=epoch), device)
    for e in (0, 4):
        epoch.fill_(e)
        assert torch.equal(replay().cpu(), am.patch_mask(range(8), seed=5, epoch=e))


def patches(index=(0,), seed=0, epoch=0, **options):
    return am.patch_mask(list(index), **options, seed=seed, epoch=epoch)


def blocks(*args, index=(0,), seed=0, epoch=0, **options):
    return am.block_mask(list(index), *args, **options, seed=seed, epoch=epoch)


MISTAKES = {
    "no ids": (lambda: patches([]), am.ShapeError, r"index: expected sample ids \[B\] with B >= 1, given shape \[0\]"),
    "ids in rows": (lambda: blocks(index=[[1, 2]]), am.ShapeError, r"given shape \[1, 2\]"),
    "float ids": (lambda: patches([0.5]), am.DtypeError, "index: expected integers, given float32"),
    "negative seed": (lambda: patches(seed=-1), am.ArgumentError, "seed: expected a whole number from 0"),
    "epoch": (lambda: blocks(epoch=2**32), am.ArgumentError, "epoch: expected a whole number from 0 to 4294967295"),
    "epoch's shape": (lambda: patches(epoch=torch.tensor([1, 2])), am.ShapeError, r"a tensor of one, given shape \[2\]"),
    "epoch's value": (lambda: patches(epoch=torch.tensor(-1)), am.ArgumentError, "epoch: expected a whole number from 0"),
    "epoch's dtype": (lambda: patches(epoch=torch.tensor(1.0)), am.DtypeError, "epoch: expected integers"),
    "view": (lambda: patches(view=4096), am.ArgumentError, "view: expected a whole number from 0 to 4095, given 4096"),
    "device": (lambda: patches(device="tpu"), am.DeviceError, "given 'tpu'"),
    "no grid": (lambda: patches(grid=(0, 4)), am.ArgumentError, "grid: expected a whole number of patches a side from 1 to 128"),
    "large grid": (lambda: blocks(129), am.ArgumentError, "from 1 to 128, given 129"),
    "three sides": (lambda: patches(grid=(2, 2, 2)), am.ArgumentError, r"grid: expected \(rows, columns\)"),
    "keep": (lambda: patches(keep=1.5), am.ArgumentError, "keep: expected a probability, 0 to 1, given 1.5"),
    "a number kept": (lambda: patches(keep=49), am.ArgumentError, "keep: expected a probability"),
    "count": (lambda: blocks(count=197), am.ArgumentError, "count: expected a whole number of patches from 0 to 196, given 197"),
    "a share": (lambda: blocks(count=0.4), am.ArgumentError, "count: expected a whole number"),
    "min_block": (lambda: blocks(min_block=0), am.ArgumentError, "min_block: expected a whole number of patches from 1"),
    "max_block": (lambda: blocks(max_block=8), am.ArgumentError, "max_block: expected a whole number of patches from 16"),
    "aspect": (lambda: blocks(aspect=(3, 0.3)), am.ArgumentError, "aspect: expected low <= high"),
    "aspect of 0": (lambda: blocks(aspect=(0, 1)), am.ArgumentError, "aspect"),
    "one aspect": (lambda: blocks(aspect=0.3), am.ArgumentError, r"aspect: expected two numbers \(low, high\)"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_has_a_name(case):
    call, error, text = MISTAKES[case]
    with pytest.raises(error, match=text):
        call()
