"""The counter-based generator against its published vectors, and the sampler's own exp, log, sqrt, sin and cos."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import anamorph as am
from anamorph import _native
from reference import exact, philox

word = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(("counter", "key", "expected"), philox.KNOWN)
def test_known_answers(counter, key, expected):
    assert am.philox(counter, key) == expected
    assert philox.philox(counter, key) == expected


@given(st.tuples(word, word, word, word), st.tuples(word, word))
def test_philox_matches_the_paper(counter, key):
    assert am.philox(counter, key) == philox.philox(counter, key)


def test_philox_names_its_arguments():
    with pytest.raises(am.ArgumentError, match="expected a counter of four"):
        am.philox((1, 2, 3), (4, 5))


def close(a, b):
    return abs(a - b) <= 1e-15 * max(1.0, abs(b))


@given(st.floats(-600, 600))
def test_exp(v):
    assert _native.exact_exp(v) == exact.exp(v)
    assert abs(exact.exp(v) / math.exp(v) - 1) < 1e-15


@given(st.floats(1e-300, 1e300))
def test_log_and_sqrt(v):
    assert _native.exact_log(v) == exact.log(v) and close(exact.log(v), math.log(v))
    assert _native.exact_sqrt(v) == exact.sqrt(v) == math.sqrt(v)


@given(st.floats(-720, 720))
def test_sin_and_cos(v):
    assert _native.exact_sincos_deg(v) == exact.sincos_deg(v)
    turns = math.fmod(v, 90.0)  # exact, and its radians hardly round
    s, c = exact.sincos_deg(turns)
    assert close(s, math.sin(math.radians(turns))) and close(c, math.cos(math.radians(turns)))


@given(st.integers(-40, 40), st.integers(-1400, 1400))
def test_quarter_turns_are_exact(quarters, angle):
    s, c = _native.exact_sincos_deg(angle / 32)
    assert _native.exact_sincos_deg(angle / 32 + 90.0 * quarters) == [(s, c), (c, -s), (-s, -c), (-c, s)][quarters % 4]


@pytest.mark.parametrize("v", [0.0, -0.0, -1.0, float("nan")])
def test_no_root(v):
    assert _native.exact_sqrt(v) == exact.sqrt(v) == 0.0
