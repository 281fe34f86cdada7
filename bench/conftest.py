"""The same conditions as in ``anamorph bench``."""

import pytest
import torch

from anamorph.bench.rounds import steady


@pytest.fixture(autouse=True, scope="session")
def quiet():
    """One thread, kept memory, no autograd."""
    with steady(), torch.no_grad():
        yield
