"""The chain through every engine that this machine has, by pytest-benchmark."""

import pytest
import torch

from anamorph.bench import prepare
from anamorph.bench.rounds import WARM_UPS, reason
from anamorph.bench.work import ENTRIES, Work, photographs

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BATCH = 32


@pytest.fixture(scope="module")
def work():
    return Work(photographs(BATCH), DEVICE)


@pytest.mark.benchmark(group=f"chain, batch of {BATCH}")
@pytest.mark.parametrize("entry", ENTRIES.values(), ids=list(ENTRIES))
def test_chain(benchmark, work, entry):
    try:
        step = prepare(entry, work)
    except Exception as error:  # a peer may be missing or fail; what it said is what is reported
        if entry.name == "anamorph":
            raise
        pytest.skip(reason(error))

    def finished():
        step()
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()

    benchmark.pedantic(finished, rounds=10, warmup_rounds=WARM_UPS)
