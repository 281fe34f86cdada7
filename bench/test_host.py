"""What a call costs the host: ten lines of recipe on four 8 x 8 images, by pytest-benchmark."""

import pytest
import torch

from anamorph.bench.host import Calls

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
pytestmark = pytest.mark.benchmark(group="host, four 8x8 images")


@pytest.fixture
def calls():
    return Calls(DEVICE)


def test_plan(benchmark, calls):
    benchmark(calls.plan)


def test_render(benchmark, calls):
    benchmark(calls.render, calls.plan())


def test_plan_and_render(benchmark, calls):
    benchmark(calls.both)
