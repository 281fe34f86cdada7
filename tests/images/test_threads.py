"""Several threads at once, as in a program with a thread for each GPU: one pool, one store of freed memory. `make sanitize` looks
at these with ThreadSanitizer."""

import threading

import pytest
import torch

import anamorph as am

pytestmark = pytest.mark.cpu


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("side", [24, 320], ids=["small", "large"])  # large: in memory that is kept
def test_callers_do_not_disturb_each_other(three_threads, side):
    images = torch.randint(0, 256, (8, 60, 80, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    recipe = am.Recipe([am.RandomResizedCrop(side), am.RandomAffine(10), am.ColorJitter(0.4, 0.4), am.MixUp()])
    expected = [am.render(images, recipe.plan(range(8), size=(60, 80), epoch=epoch)) for epoch in range(6)]
    wrong = []

    def call(first):
        for epoch in [*range(first, 6), *range(first)]:
            plan = recipe.plan(range(8), size=(60, 80), epoch=epoch)
            if not torch.equal(am.render(images, plan), expected[epoch]):
                wrong.append((first, epoch))

    callers = [threading.Thread(target=call, args=(i,)) for i in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_a_mistake_on_one_thread_is_that_callers(three_threads):
    """An error in one call, while others run, reaches its own caller."""
    images = torch.zeros(70, 8, 8, 3, dtype=torch.uint8)
    recipe = am.Recipe([am.RandomResizedCrop(64)])
    plan = recipe.plan(range(70), size=(8, 8))
    outcomes = {}

    def call(i):
        try:
            outcomes[i] = am.render(images if i % 2 else images[:69], plan).shape[0]
        except am.ShapeError as error:
            outcomes[i] = type(error)

    callers = [threading.Thread(target=call, args=(i,)) for i in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert outcomes == {i: 70 if i % 2 else am.ShapeError for i in range(6)}
