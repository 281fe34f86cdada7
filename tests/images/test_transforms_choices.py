"""Which of a list's transforms run, and how often."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import anamorph as am

pytestmark = pytest.mark.usefixtures("route")

COUNT = 3000


def steps(transforms, count=COUNT, seed=0, **key) -> list[list[float]]:
    """The numbers of each sample's colour steps."""
    recipe = am.Recipe(transforms)
    rows = recipe.plan(range(count), size=(8, 8), seed=seed, **key).rows
    at = am._native.WORDS["HEADER"] + 1 + am._native.COLOR_WORDS * np.arange(recipe.info["max_colors"])
    values = rows.view(torch.float32)[:, at].double().tolist()
    return [line[:n] for line, n in zip(values, rows[:, am._native.WORDS["COLORS"]].tolist(), strict=True)]


def marks(count: int) -> list[am.Transform]:
    """Transforms that leave their own number in the plan."""
    return [am.RandomSolarize(i, 1.0) for i in range(count)]


def as_often(found, expected: dict) -> None:
    """Counts as a multinomial of these probabilities makes them."""
    values, counts = np.unique([str(f) for f in found], return_counts=True)
    counts = dict(zip(values.tolist(), counts.tolist(), strict=True))
    assert set(counts) <= {str(e) for e in expected}
    for value, p in expected.items():
        assert abs(counts.get(str(value), 0) - len(found) * p) <= 4.5 * (len(found) * p) ** 0.5 + 1, value


@pytest.mark.parametrize("count", [2, 11, 12, 40, 64])
def test_one_of_many(count):
    weights = np.arange(1, count + 1)
    expected = {(float(i),): w / weights.sum() for i, w in enumerate(weights)}
    as_often([tuple(s) for s in steps([am.OneOf(marks(count), weights=weights.tolist())])], expected)
    as_often([tuple(s) for s in steps([am.RandomChoice(marks(count))])], {(float(i),): 1 / count for i in range(count)})


def test_one_of_many_perhaps():
    found = [tuple(s) for s in steps([am.OneOf(marks(20), 0.3)])]
    as_often(found, {(): 0.7, **{(float(i),): 0.3 / 20 for i in range(20)}})


@pytest.mark.parametrize("n", [0, 1, 3, 5])
def test_some_of_takes_each_subset_as_often(n):
    expected = list(itertools.combinations([0.0, 1.0, 2.0, 3.0, 4.0], n))
    as_often([tuple(s) for s in steps([am.SomeOf(marks(5), n)])], dict.fromkeys(expected, 1 / len(expected)))


@pytest.mark.parametrize("n", [1, 2, 4])
def test_some_of_in_a_random_order(n):
    expected = list(itertools.permutations([0.0, 1.0, 2.0, 3.0], n))
    as_often([tuple(s) for s in steps([am.SomeOf(marks(4), n, random_order=True)])], dict.fromkeys(expected, 1 / len(expected)))


@pytest.mark.parametrize("random_order", [False, True])
def test_some_of_with_replacement(random_order):
    words = list(itertools.product([0.0, 1.0, 2.0], repeat=3))
    expected = {}
    for word in words:
        word = word if random_order else tuple(sorted(word))
        expected[word] = expected.get(word, 0) + 1 / len(words)
    as_often([tuple(s) for s in steps([am.SomeOf(marks(3), 3, replace=True, random_order=random_order)])], expected)


def test_some_of_a_number_drawn():
    found = [len(s) for s in steps([am.SomeOf(marks(6), (1, 4))])]
    as_often(found, dict.fromkeys(range(1, 5), 0.25))
    found = [len(s) for s in steps([am.SomeOf(marks(6), (1, 4), p=0.5)])]
    as_often(found, {0: 0.5, **dict.fromkeys(range(1, 5), 0.125)})


def test_who_runs_twice_has_new_numbers():
    """As RandAugment's two draws of the same op; also of lists inside lists."""
    twice = steps([am.SomeOf([am.ColorJitter(brightness=(0.0, 1.0))], 8, replace=True)])
    values = np.array(twice)
    assert values.shape == (COUNT, 8)
    off = np.corrcoef(values.T) - np.eye(8)
    assert np.abs(off).max() < 0.08
    from scipy import stats
    assert stats.kstest(values.ravel(), "uniform").pvalue > 1e-3
    inner = [am.SomeOf([am.SomeOf([am.ColorJitter(brightness=(0.0, 1.0))], 3, replace=True)], 3, replace=True)]
    assert len({v for s in steps(inner, 20) for v in s}) == 20 * 9


def test_what_comes_after_does_not_depend_on_what_ran():
    def last(some):
        return [s[-1] for s in steps([some, am.ColorJitter(brightness=(0.0, 1.0))], 50)]

    assert last(am.SomeOf(marks(3), (1, 3))) == last(am.SomeOf(marks(3), (0, 3), replace=True))


def test_randaugment_as_some_of():
    """Fourteen ops of which two run, the same one perhaps twice: torchvision's RandAugment draws so."""
    found = [tuple(s) for s in steps([am.SomeOf(marks(14), 2, replace=True, random_order=True)], 6000)]
    as_often(found, dict.fromkeys(itertools.product(map(float, range(14)), repeat=2), 1 / 196))


def test_room_for_what_may_run():
    """The row has room for the most that may run, no more."""
    jitter = am.ColorJitter(0.1, 0.1, 0.1, 0.1)
    for some, most in ((am.SomeOf([jitter, am.RandomInvert(), am.RandomGrayscale()], 2), 5),
                       (am.SomeOf([jitter, am.RandomInvert()], 3, replace=True), 12),
                       (am.OneOf([jitter, am.RandomInvert()]), 4)):
        assert am.Recipe([some]).info["max_colors"] == most
    with pytest.raises(am.ArgumentError, match="at most one mixing"):
        am.Recipe([am.SomeOf([am.MixUp(), am.CutMix()], 2)])
    assert am.Recipe([am.SomeOf([am.MixUp(), am.CutMix()], 1)]).info["mixes"]


def test_lists_that_cannot_be():
    for make, word in ((lambda: am.SomeOf(marks(3), 4), "from 0 to 3"), (lambda: am.SomeOf(marks(3), (2, 1)), "least <= most"),
                       (lambda: am.SomeOf(marks(3), 65, replace=True), "from 0 to 64"),
                       (lambda: am.SomeOf([], 1), "at least one"),
                       (lambda: am.SomeOf(marks(2), 1, replace=1), "True or False"),
                       (lambda: am.SomeOf([am.MixUp(mode="batch")], 1), "mode 'elem'"),
                       (lambda: am.Recipe([am.SomeOf([am.ColorJitter(0.1, 0.1)], 40, replace=True)]), "at most 64 colour")):
        with pytest.raises(am.ArgumentError, match=word):
            make()
    assert am.Recipe([am.SomeOf([am.Resize((4, 4)), am.RandomInvert()], 1), am.CenterCrop(3)]).output_size((8, 8)) == (3, 3)
    with pytest.raises(am.ArgumentError, match="differ"):
        am.Recipe([am.SomeOf([am.Resize((4, 4)), am.RandomInvert()], 1)]).output_size((8, 8))


def test_some_of_renders():
    images = torch.randint(0, 256, (6, 8, 8, 3), dtype=torch.uint8)
    recipe = am.Recipe([am.SomeOf([am.RandomHorizontalFlip(1.0), am.RandomInvert(1.0)], 2)], dtype=torch.uint8)
    views = am.render(images, recipe.plan(range(6), size=(8, 8)))
    assert torch.equal(views, 255 - images.flip(2).permute(0, 3, 1, 2))
