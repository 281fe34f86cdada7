"""A short run of ``python -m tests.differential``, and that it can fail."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from differential import policies
from differential.cases import BATCH, Draw
from differential.compare import Tally, run
from differential.explained import FUSED, NOT_COMPARED, PIL, POLICIES, REASONS

pytestmark = pytest.mark.cpu


@pytest.fixture(autouse=True)
def one_thread():
    """The pictures are too small to share."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("part", range(4))
def test_no_difference_is_unexplained(part):
    tally = Tally()
    for number in range(part, 2000 // BATCH, 4):
        run(Draw(number, 8).case(), tally)
    assert tally.cases == 500
    assert not tally.unexplained, [line for _, line in tally.smallest.values()]


@pytest.mark.parametrize(("seed", "number", "reason"), [
    (11, 16962, "cut by a warp"),
    (11, 23423, "nearest tie"),  # of a mirrored position and its frame's side
    (11, 23677, "row: grid"),  # its window is longer than the picture
    (3, 23936, None),  # a turn brings no filter: there is one resampling
    (3, 14594, "fused"),  # its frame fades over a 68th of a pixel of the source
    (5, 20538, "threshold"),  # 101.5 is not 102
    (1, 19310, "threshold"),  # beside a border of positions
    (2, 1687, "threshold"),  # of some pixels of a column, before a mean
    (2, 18781, "cut by a warp"),
])
def test_rare_differences(seed, number, reason):
    tally = Tally()
    run(Draw(number, seed).case(), tally)
    assert not tally.unexplained and (reason in tally.reasons if reason else tally.equal == BATCH)


@pytest.mark.parametrize("wrong", [0.01, -3 / 255])
def test_a_wrong_value_is_seen(wrong):
    """The same cases with one pixel of ours changed."""
    missed = seen = 0
    for number in range(100):
        case = Draw(number, 8).case()
        made = case.render()
        views = made[0].clone().double()
        views[:, :, views.shape[2] // 2, views.shape[3] // 2] += wrong * (255 if made[0].dtype == torch.uint8 else 1)
        tally = Tally()
        run(_Given(case, (views, made[1])), tally)
        if case.fused or case.finish.erase:
            continue  # not every value is compared
        seen += tally.unexplained.total() > 0
        missed += not tally.unexplained
    assert seen > 19 * missed, (seen, missed)


@pytest.mark.parametrize("part", range(2))
def test_no_difference_of_policies_is_unexplained(part):
    tally = Tally()
    for number in range(part, 1200 // BATCH, 2):
        policies.run(policies.PolicyDraw(number, 8).case(), tally)
    assert tally.cases == 600
    assert not tally.unexplained, [line for _, line in tally.smallest.values()]
    assert tally.reasons["grid, then colour"] < 6


@pytest.mark.parametrize(("seed", "number"), [
    (3, 522),  # a cubic's frame after an identity
    (4, 2382),  # after an identity, in a row of three
    (1, 575),  # sheared, sheared back, and framed again
])
def test_rare_differences_of_policies(seed, number):
    tally = Tally()
    policies.run(policies.PolicyDraw(number, seed).case(), tally)
    assert not tally.unexplained


@pytest.mark.parametrize("wrong", [0.01, -6 / 255])
def test_a_wrong_value_of_a_policy_is_seen(wrong):
    """One pixel of ours changed, in the middle: by more than what float32 leaves open of nearly all views, and than the levels by
    which torchvision's bytes are below ours where every step cuts them."""
    missed = seen = 0
    for number in range(40):
        case = policies.PolicyDraw(number, 8).case()
        made = case.render()
        views = made[0].clone().double()
        views[:, :, views.shape[2] // 2, views.shape[3] // 2] += wrong * (255 if made[0].dtype == torch.uint8 else 1)
        if case.finish.transforms():
            continue  # not every value is compared, or not in these units
        tally = Tally()
        policies.run(_Given(case, (views, made[1])), tally)
        found = min(tally.unexplained.total(), BATCH)  # PIL's is another
        seen, missed = seen + found, missed + BATCH - found
    assert seen > 19 * missed, (seen, missed)


def test_the_table_of_the_docs_has_every_reason():
    lines = (Path(__file__).parents[2] / "docs/architecture.md").read_text().splitlines()
    table = {tuple(cell.strip() for cell in line.strip("|").split("|"))[::2] for line in lines if line.count("|") == 4}
    rules = {(r.name, r.sentence) for r in REASONS + POLICIES + PIL} | set((FUSED | NOT_COMPARED).items())
    missing = rules - table
    assert not missing


class _Given:
    """A case whose views are given."""

    def __init__(self, case, made):
        self.__dict__.update({f.name: getattr(case, f.name) for f in dataclasses.fields(case)})
        self._case, self._made = case, made

    def __getattr__(self, name):
        return getattr(self._case, name)

    def render(self):
        return self._made
