"""What a row of a plan takes: divisions and square roots of doubles, a GPU's slowest steps, one after another in a thread."""

import numpy as np
import pytest

import anamorph as am
from anamorph.bench import work
from emulation.route import FOUND
from recipes import SINGLE

if not FOUND:
    pytest.skip("the emulation is not built; make test builds it", allow_module_level=True)

from emulation.route import native

BENCHMARK = [*work.chain_of(am, "bilinear"), am.Normalize(work.MEAN, work.STD)]


def counts(transforms, size, count):
    """Divisions and roots [count, 2], by the engine's own code with doubles that count: the rows are the engine's."""
    recipe = am.Recipe(transforms)
    plan = recipe.plan(range(count), size=size)
    rows, found = native.counted_plan(recipe.slots, list(range(count)), size, plan.output_size, recipe.info["max_colors"],
                                      recipe.info["row_words"])
    assert np.array_equal(np.array(rows, np.int32), plan.rows.numpy().ravel())
    return np.array(found)


def test_the_benchmark_chain():
    """Three for the affine map, two for the crop's scale, two for the frame, and for each try of the crop one."""
    found = counts(BENCHMARK, (work.SOURCE, work.SOURCE), 2000)
    assert (found[:, 0] - (found[:, 1] - 2) // 2 == 7).all()  # two roots a try, two for the filter's support
    assert found.min(0).tolist() == [8, 4]
    assert found.mean(0) == pytest.approx([8.2, 4.3], abs=0.1)


@pytest.mark.parametrize("name", SINGLE)
def test_any_row(name):
    divisions, roots = counts(SINGLE[name], (37, 45), 64).max(0)
    assert divisions <= 30 and roots <= 25


def test_a_division_is_seen():
    """A padding to multiples divides: the count is not of something that never happens."""
    assert counts([am.PadIfNeeded((10, 10), (7, 16))], (20, 30), 3)[:, 0].tolist() == [2, 2, 2]
