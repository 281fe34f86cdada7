"""Stratified batches: what the published notebook's ranks and sorts give, and how many clusters a batch has."""

import numpy as np
import pytest
import torch

from anamorph.core.errors import ArgumentError, DtypeError, ShapeError
from anamorph.features.clusters import stratified_order


def clusters(count=4096, k=64, seed=0):
    """Of unequal sizes, each of some at least."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(k, generator=generator) + 0.2
    drawn = torch.multinomial(weights, count - k, replacement=True, generator=generator)
    return torch.cat([torch.arange(k), drawn])[torch.randperm(count, generator=generator)]


@pytest.mark.parametrize("step", [None, (0, 0), (0, 1)])
def test_the_first_batches_have_each_cluster_once(step):
    given = clusters()
    order = stratified_order(given, step=step)
    assert torch.equal(order.sort().values, torch.arange(4096))
    smallest = int(given.bincount().min())
    assert smallest > 10
    batches = given[order].split(64)
    assert [len(batch.unique()) for batch in batches[:smallest]] == [64] * smallest
    assert len(batches[-1].unique()) < 64, "later ones repeat the larger clusters"


def test_the_order_is_that_of_the_ranks():
    given = clusters(500, 7, 1).numpy()
    seen, ranks = dict.fromkeys(range(7), 0), []
    for c in given.tolist():
        ranks.append(seen[c])
        seen[c] += 1
    assert stratified_order(torch.from_numpy(given)).tolist() == sorted(range(500), key=lambda i: (ranks[i], given[i]))


def test_steps_shuffle_within_clusters_and_replay():
    given = clusters(500, 7)
    orders = [stratified_order(given, step=(3, epoch)) for epoch in (0, 1, 0)]
    assert torch.equal(orders[0], orders[2]) and not torch.equal(orders[0], orders[1])
    assert torch.equal(given[orders[0]], given[orders[1]]), "the clusters come in the same order"
    first = np.array([stratified_order(torch.zeros(5, dtype=torch.int64), step=(0, i)).tolist() for i in range(2000)])[:, 0]
    assert abs(np.bincount(first) - 400).max() < 4 * 18, "each sample is as often the first"


def test_ids_need_not_be_close_together():
    assert stratified_order(torch.tensor([900, 5, 900, 5, 5])).tolist() == [1, 0, 3, 2, 4]
    assert stratified_order(torch.tensor([3])).tolist() == [0]


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_whole(backend):
    given, step = clusters(100, 7), torch.tensor([1, 2])
    call = torch.compile(lambda c, s: (stratified_order(c), stratified_order(c, step=s)), fullgraph=True, backend=backend)
    plain, shuffled = call(given, step)
    assert torch.equal(plain, stratified_order(given)) and torch.equal(shuffled, stratified_order(given, step=step))


BAD = {
    "no samples": (lambda: stratified_order(torch.zeros(0, dtype=torch.int64)), ShapeError, r"N >= 1, given \[0\]"),
    "a matrix": (lambda: stratified_order(torch.zeros(3, 2, dtype=torch.int64)), ShapeError, r"given \[3, 2\]"),
    "floats": (lambda: stratified_order(torch.zeros(3)), DtypeError, "clusters: expected int64"),
    "a list": (lambda: stratified_order([0, 1]), ArgumentError, "clusters: expected a tensor"),
    "noise's label": (lambda: stratified_order(torch.tensor([0, -1])), ArgumentError, "at least 0, given -1"),
    "a step": (lambda: stratified_order(torch.tensor([0, 1]), step="first"), ArgumentError, "step: expected"),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes(case):
    call, error, text = BAD[case]
    with pytest.raises(error, match=text):
        call()
