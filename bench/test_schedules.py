"""What a schedule costs a plan: 256 rows of a recipe with numbers, with one number for all, with one for each sample."""

import pytest
import torch

import anamorph as am

EACH = torch.full((256,), 0.4)
NUMBERS = {"numbers": (0.4, 9),
           "one for all": (am.schedule(lambda epoch, step: 0.4), am.schedule(lambda epoch, step: 9, high=30)),
           "one for each sample": (am.schedule(EACH), am.schedule(EACH, high=30))}
pytestmark = pytest.mark.benchmark(group="a plan of 256 rows")


@pytest.mark.parametrize("name", NUMBERS)
def test_plan(benchmark, name):
    strength, magnitude = NUMBERS[name]
    recipe = am.Recipe([am.RandomResizedCrop(224), am.RandomHorizontalFlip(), am.RandAugment(2, magnitude),
                        am.ColorJitter(strength, 0.3, 0.2), am.Normalize(0.5, 0.5), am.RandomErasing(strength)])
    ids = torch.arange(256)
    benchmark(lambda: recipe.plan(ids, size=(256, 256)))
