"""One thread for every library, as in ``anamorph bench``."""

import pytest
import torch

from anamorph.bench.rounds import one_thread


@pytest.fixture(autouse=True, scope="session")
def quiet():
    """torch and OpenCV on one thread, no autograd."""
    with one_thread(), torch.no_grad():
        yield
