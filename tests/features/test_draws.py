"""Random numbers of feature space: their distributions, against SciPy, and that they are a function of their key alone."""

import numpy as np
import pytest
import scipy.stats
import torch

from anamorph.core.errors import ArgumentError, DtypeError, ShapeError
from anamorph.features import draws

STEP = (7, 3)


@pytest.mark.parametrize("name, made, law", [
    ("uniform", lambda: draws.uniform(STEP, "a", (200_000,), -2, 3), scipy.stats.uniform(-2, 5)),
    ("normal", lambda: draws.normal(STEP, "a", (200_000,)), scipy.stats.norm()),
    ("beta .1", lambda: draws.beta(STEP, "a", (50_000,), 0.1, 0.1), scipy.stats.beta(0.1, 0.1)),
    ("beta 2, 5", lambda: draws.beta(STEP, "a", (50_000,), 2, 5), scipy.stats.beta(2, 5)),
])
def test_laws(simd, name, made, law):
    numbers = np.sort(made().double().numpy())
    places = law.ppf(np.linspace(0.001, 0.999, 999))
    if name.startswith("beta"):
        places = places[(places > 1e-6) & (places < 1 - 1e-6)]  # float32 rounds the rest to an end
    far = np.abs(np.searchsorted(numbers, places) / len(numbers) - law.cdf(places)).max()
    assert far < 1.95 / len(numbers) ** 0.5, "one in a thousand is farther (Kolmogorov)"


def test_integers_are_even(simd):
    counts = draws.integers(STEP, "a", (140_000,), 7).bincount(minlength=7).numpy()
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("n", [1, 2, 3, 17, 1000])
def test_permutations(simd, n):
    assert draws.permutation(STEP, "a", n).sort().values.tolist() == list(range(n))


def test_places_of_small_permutations_are_even():
    seen = torch.stack([draws.permutation((0, step), "a", 5) for step in range(2000)])
    for place in range(5):
        assert scipy.stats.chisquare(seen[:, place].bincount(minlength=5).numpy()).pvalue > 1e-4


KINDS = [lambda step, name, n: draws.uniform(step, name, (n,)),
         lambda step, name, n: draws.normal(step, name, (n,)),
         lambda step, name, n: draws.beta(step, name, (n,), 0.4, 0.4),
         lambda step, name, n: draws.integers(step, name, (n,), 1000),
         lambda step, name, n: draws.permutation(step, name, n)]


@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_bits_are_the_same_everywhere(simd, kind):
    """Those of the base level, of a key of 64 bits with a sign."""
    made = KINDS[kind]((-5, 2**40 + 3), "a", 1003)
    with torch.no_grad():
        expected = _AT_BASE.setdefault(kind, made)
    assert torch.equal(made, expected)


_AT_BASE = {}


def test_other_keys_other_numbers():
    keys = [((0, 0), "a"), ((0, 0), "b"), ((0, 1), "a"), ((1, 0), "a"), ((1 << 40, 0), "a"), ((0, 1 << 40), "a")]
    numbers = [draws.uniform(*key, (1000,)) for key in keys]
    for i, one in enumerate(numbers):
        for other in numbers[:i]:
            assert abs(np.corrcoef(one, other)[0, 1]) < 0.12
    assert torch.equal(numbers[0], draws.uniform(torch.tensor([0, 0]), "a", (1000,)))
    fewer = draws.uniform((0, 0), "a", (10,))
    assert torch.equal(numbers[0][:10], fewer), "a place's number does not depend on how many there are"


def test_module_replays_and_goes_on():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = draws.Keyed(), draws.Keyed()

    net, again = draws.reseed(Net(), 5), draws.reseed(Net(), 5)
    assert net.one.step.tolist() != net.two.step.tolist()
    steps = [net.one.next_step().tolist() for _ in range(3)]
    assert [s[1] for s in steps] == [0, 1, 2]
    assert again.one.next_step().tolist() == steps[0]
    again.load_state_dict(net.state_dict())
    assert again.one.next_step().tolist() == net.one.next_step().tolist() == [steps[0][0], 3]


def test_compiles():
    step = torch.tensor([3, 4])
    compiled = torch.compile(lambda step: draws.normal(step, "a", (4, 5)) + draws.beta(step, "b", (4, 1), 2, 2), fullgraph=True)
    for at in range(3):
        step[1] = at
        assert torch.equal(compiled(step), draws.normal(step, "a", (4, 5)) + draws.beta(step, "b", (4, 1), 2, 2))
    torch.library.opcheck(torch.ops.anamorph.draw, (step, "a", [3], "uniform", 0.0, 1.0))


@pytest.mark.parametrize("call, error, words", [
    (lambda: draws.uniform(3, "a", (2,)), ArgumentError, "step: expected"),
    (lambda: draws.uniform((1, 2.5), "a", (2,)), ArgumentError, "step: expected"),
    (lambda: draws.uniform((1, 2**63), "a", (2,)), ArgumentError, "64 bits"),
    (lambda: draws.uniform(torch.zeros(2), "a", (2,)), DtypeError, "int64"),
    (lambda: draws.uniform(torch.zeros(3, dtype=torch.int64), "a", (2,)), ShapeError, r"\[2\]"),
    (lambda: draws.beta((0, 0), "a", (2,), 0, 1), ArgumentError, "above 0"),
    (lambda: draws.integers((0, 0), "a", (2,), 0), ArgumentError, "below"),
    (lambda: draws.Keyed(1.5), ArgumentError, "seed"),
])
def test_errors(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_nothing_is_asked_for():
    assert draws.uniform(STEP, "a", (0, 3)).shape == (0, 3)
