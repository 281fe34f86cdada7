"""The random words that torch's operators make: the engine's Philox, whatever the batch."""

import torch
from hypothesis import given
from hypothesis import strategies as st

import anamorph as am
from anamorph.core import philox

word = st.integers(0, 2**32 - 1)


@given(st.lists(st.tuples(word, word, word, word), min_size=1, max_size=5), st.integers(0, 2**64 - 1))
def test_philox_is_the_engines(counters, seed):
    ours = philox.philox(torch.tensor(counters, dtype=torch.int64).unbind(1), seed)
    key = seed & 0xFFFFFFFF, seed >> 32
    assert [tuple(row) for row in torch.stack(ours, 1).tolist()] == [am.philox(c, key) for c in counters]


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4), st.integers(1, 11), st.integers(0, 2**64 - 1), word)
def test_words_stand_in_order(ids, count, seed, stream):
    found = philox.words(torch.tensor(ids), count, seed, stream)
    key = seed & 0xFFFFFFFF, seed >> 32
    for row, i in zip(found.tolist(), ids, strict=True):
        blocks = [am.philox((b, i & 0xFFFFFFFF, i >> 32, stream), key) for b in range((count + 3) // 4)]
        assert row == [w for block in blocks for w in block][:count]
