"""GridMask and HideAndSeek against their definitions, written here in NumPy (and PIL, which turns the authors' grid)."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

import anamorph as am
from anamorph import _native
from emulation.route import FOUND, emulated
from pictures import render

pytestmark = pytest.mark.usefixtures("route")

SIZE = 40, 53
COSINE, SINE, ACROSS, DOWN, SHARE = 0, 1, 2, 3, 10


def holes(transform, count: int, size=SIZE, **key) -> np.ndarray:
    """Where white pictures were overwritten, bool [count, height, width]."""
    white = torch.ones(count, *size, 1)
    return (am.render(white, am.Recipe([transform]).plan(range(count), size=size, **key), layout="NHWC")[:, 0] == 0).numpy()


def words(transform, count: int, size=SIZE, **key) -> np.ndarray:
    """The erasure's words, as floats [count, 12], of a recipe that has no other step."""
    rows = am.Recipe([transform]).plan(range(count), size=size, **key).rows
    return rows[:, _native.WORDS["HEADER"]:].view(torch.float32).double().numpy()


def equally_often(counts) -> None:
    assert stats.chisquare(counts).pvalue > 1e-4


# ---- GridMask ----

def strips(side: int, d: int, ratio: float, start: int) -> np.ndarray:
    """The lines of the authors' canvas that are strips: from start + i d on ceil(ratio d)."""
    lines = np.zeros(side, bool)
    for first in range(start - d, side, d):
        lines[max(first, 0):max(first + math.ceil(ratio * d), 0)] = True
    return lines


def code_mask(size, d: int, ratio: float, down: int, across: int, mode: int) -> np.ndarray:
    """What the authors' code overwrites before it turns the canvas: the lines that are strips, or all but these."""
    grid = strips(size[0], d, ratio, down)[:, None] | strips(size[1], d, ratio, across)
    return ~grid if mode else grid


@pytest.mark.parametrize("mode", [0, 1])
def test_a_level_grid_is_the_codes(mode):
    """All that the authors' code can draw, each of it equally often, whatever the rows say: no other masks."""
    low, high, ratio = 4, 7, 0.6
    given = {code_mask(SIZE, d, ratio, down, across, mode).tobytes(): (d, down, across)
             for d in range(low, high + 1) for down in range(d) for across in range(d)}
    assert len(given) == 16 + 25 + 36 + 49
    drawn = [given[hole.tobytes()] for hole in holes(am.GridMask((low, high), ratio, 0, mode, p=1.0), 3000)]
    equally_often(np.bincount([d for d, _, _ in drawn])[low:])
    for d in range(low, high + 1):
        equally_often(np.bincount([down * d + across for of, down, across in drawn if of == d], minlength=d * d))


@pytest.mark.parametrize("angle", [30.0, -75.0, 200.5])
def test_a_turned_grid_is_the_codes(angle):
    """PIL turns a canvas as wide as the view's diagonal, nine times as fine: the authors' way, but for its rounding."""
    size, d, fine, ratio = (60, 80), 20, 9, 0.6
    transform = am.GridMask((d, d), ratio, (angle, angle), p=1.0)
    side = 100  # of the canvas
    for hole, (cosine, sine, across, down, *_) in zip(holes(transform, 8, size), words(transform, 8, size), strict=True):
        x, y = size[1] / 2, size[0] / 2
        start = [(side / 2 - d * at) % d for at in (sine * x + cosine * y + down, cosine * x - sine * y + across)]
        lines = [strips(side * fine, d * fine, ratio, round(s * fine)) for s in start]
        canvas = Image.fromarray((lines[0][:, None] | lines[1]).astype(np.uint8)).rotate(angle)
        turned = np.asarray(canvas)[fine // 2::fine, fine // 2::fine]
        expected = turned[20:80, 10:90] == 0
        assert (hole != expected).mean() < 0.01
        assert 0.1 < expected.mean() < 0.22


def test_the_modes_are_each_others_opposite():
    one, zero = (holes(am.GridMask((5, 30), mode=mode, p=1.0), 50) for mode in (1, 0))
    assert (one != zero).all()


def test_what_is_drawn_of_a_grid():
    """The authors' numbers: the period and the angle uniform, the strips rounded up, 16 % overwritten."""
    transform = am.GridMask(p=1.0)
    cosine, sine, across, down, share = words(transform, 4000, (224, 224))[:, [COSINE, SINE, ACROSS, DOWN, SHARE]].T
    d = np.rint(1 / np.hypot(cosine, sine))
    assert set(d) == set(range(96, 224))
    equally_often(np.bincount(d.astype(int))[96:])
    np.testing.assert_allclose(share, np.ceil(0.6 * d) / d, atol=1e-6)
    assert stats.kstest(np.degrees(np.arctan2(sine, cosine)) % 360 / 360, "uniform").pvalue > 1e-3
    middle = cosine * 112 - sine * 112 + across, sine * 112 + cosine * 112 + down
    for phase in middle:
        assert stats.kstest(phase % 1, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(*middle)[0, 1]) < 0.06
    shares = holes(transform, 150, (224, 224)).mean((1, 2))
    expected = np.mean([(1 - math.ceil(0.6 * n) / n) ** 2 for n in range(96, 224)])
    assert abs(expected - 0.16) < 0.004
    assert abs(shares.mean() - expected) < 4.5 * shares.std() / len(shares) ** 0.5


def test_a_grid_perhaps():
    drawn = holes(am.GridMask((5, 9)), 1000).any((1, 2)).mean()  # 0.8, and every such grid shows in the view
    assert abs(drawn - 0.8) < 4.5 * (0.8 * 0.2 / 1000) ** 0.5
    assert not holes(am.GridMask((5, 9), p=0.0), 20).any()


@pytest.mark.parametrize(("ratio", "mode", "all_of_it"), [(0, 1, True), (0, 0, False), (1, 1, False), (1, 0, True)])
def test_the_ends_of_ratio(ratio, mode, all_of_it):
    assert (holes(am.GridMask((3, 9), ratio, 90, mode, p=1.0), 30) == all_of_it).all()


# ---- HideAndSeek ----

def cells(hole: np.ndarray, side: int) -> np.ndarray:
    """What the definition would have of a view: the upper left pixel of each cell says it for all."""
    corners = hole[::side, ::side]
    assert (np.kron(corners, np.ones((side, side), bool))[:hole.shape[0], :hole.shape[1]] == hole).all()
    return corners


@pytest.mark.parametrize("side", [1, 2, 7, 16, 40, 100])
def test_whole_cells_are_hidden(side):
    """Each by a coin of its own, the cut ones too."""
    hidden = np.stack([cells(hole, side) for hole in holes(am.HideAndSeek((side,), 0.3), 200)])
    assert hidden.shape[1:] == (-(-SIZE[0] // side), -(-SIZE[1] // side))
    assert abs(hidden.mean() - 0.3) < 4.5 * (0.21 / hidden.size) ** 0.5


def test_cells_are_hidden_independently():
    """The patterns of two by two cells, of neighbours and of one cell in samples and views that follow one another."""
    hidden = np.stack([cells(hole, 5) for hole in holes(am.HideAndSeek((5,)), 400)]).astype(int)
    blocks = hidden[:, :8, :10].reshape(400, 4, 2, 5, 2)
    equally_often(np.bincount((blocks.transpose(0, 1, 3, 2, 4).reshape(-1, 4) @ [8, 4, 2, 1]), minlength=16))
    equally_often(np.bincount((hidden[:-1:2] * 2 + hidden[1::2]).ravel(), minlength=4))
    assert stats.binomtest(int(hidden.sum()), hidden.size).pvalue > 1e-3
    for key in ({"view": 1}, {"epoch": 1}, {"seed": 1}):
        other = np.stack([cells(hole, 5) for hole in holes(am.HideAndSeek((5,)), 400, **key)]).astype(int)
        equally_often(np.bincount((hidden * 2 + other).ravel(), minlength=4))


def test_the_sizes_are_drawn_equally_often():
    """The authors' grids; 0 leaves a sample whole."""
    plan = am.Recipe([am.HideAndSeek()]).plan(range(2500), size=(224, 224))
    words = plan.rows[:, _native.WORDS["HEADER"]:].view(torch.float32).double().numpy()
    sizes = np.rint(1 / np.maximum(words[:, COSINE], 1e-9)) * (words[:, COSINE] > 0)
    assert set(sizes) == {0, 16, 32, 44, 56}
    equally_often(np.unique(sizes, return_counts=True)[1])
    few = am.Recipe([am.HideAndSeek()]).plan(range(150), size=(224, 224))
    views = (am.render(torch.ones(150, 224, 224, 1), few, layout="NHWC")[:, 0] == 0).numpy()
    for hole, size, row in zip(views, sizes[:150].astype(int), few.table(), strict=True):
        assert [kind for _, kind in row["erased"]] == ["hide and seek"] * bool(size)
        assert cells(hole, size).any() if size else not hole.any()
    shares = views.mean((1, 2))
    assert abs(shares.mean() - 0.4) < 4.5 * shares.std() / 150 ** 0.5


def test_hidden_perhaps():
    drawn = holes(am.HideAndSeek((4,), p=0.3), 1000).any((1, 2)).mean()
    assert abs(drawn - 0.3) < 4.5 * (0.21 / 1000) ** 0.5
    assert not holes(am.HideAndSeek((4,), 0.0), 20).any() and holes(am.HideAndSeek((4,), 1.0), 20).all()
    assert not am.HideAndSeek((0,)).slots() and not am.HideAndSeek((0, 0)).slots() and not am.HideAndSeek(p=0).slots()


# ---- both ----

BOTH = [am.GridMask((6, 20), value=(0.25, 0.5, 0.75), p=1.0), am.HideAndSeek((6,), value=(0.25, 0.5, 0.75))]


@pytest.mark.parametrize("transform", BOTH)
def test_values_are_of_the_picture_or_normalised(transform):
    """The list's order says which: what is erased after Normalize holds the value itself."""
    images = np.full((4, *SIZE, 3), 255, np.uint8)
    value = torch.tensor([0.25, 0.5, 0.75])
    plain, _ = render([transform], images)
    hole = plain[:, 0] != 1
    assert 0.05 < hole.double().mean() < 0.7
    for transforms, inside, outside in (([transform, am.Normalize(0.5, 0.25)], (value - 0.5) / 0.25, 2.0),
                                        ([am.Normalize(0.5, 0.25), transform], value, 2.0), ([transform], value, 1.0)):
        views, _ = render(transforms, images)
        expected = torch.where(hole[:, None], inside[None, :, None, None], torch.tensor(outside))
        torch.testing.assert_close(views, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("transform", BOTH)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16])
def test_every_dtype_has_the_same_holes(transform, dtype):
    images = np.full((4, *SIZE, 3), 255, np.uint8)
    views, _ = render([transform], images, dtype=dtype)
    expected, _ = render([transform], images)
    assert ((views == views.max()) == (expected == 1)).all()


@pytest.mark.parametrize("transform", [am.GridMask((6, 20), value=0.5, p=1.0), am.HideAndSeek((6,), value=0.5)])
def test_pictures_of_many_channels(transform):
    views = am.render(torch.ones(5, *SIZE, 7), am.Recipe([transform]).plan(range(5), size=SIZE))
    assert (views == views[:, :1]).all() and (views == 0.5).any() and (views == 1).any()


@pytest.mark.parametrize("transform", BOTH)
def test_a_plan_names_them(transform):
    plan = am.Recipe([transform]).plan(range(3), size=SIZE)
    kind = "grid mask" if isinstance(transform, am.GridMask) else "hide and seek"
    assert [row["erased"] for row in plan.table()] == [[((0, 0, SIZE[1], SIZE[0]), kind)]] * 3
    assert f"erased ({kind}) from (0, 0) to (53, 40)" in plan[1]
    strips = am.Recipe([am.GridMask(mode=0, p=1.0)]).plan([0], size=SIZE)
    assert strips.table()[0]["erased"][0][1] == "grid mask, strips"


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (33, 130), (129, 31)])
@pytest.mark.parametrize("mode", [0, 1])
def test_a_row_says_where(size, mode):
    """By its words alone, in float64: nothing but pixels within a thousandth of an edge may differ."""
    transform = am.GridMask((1, 25), 0.55, mode=mode, p=1.0)
    ys, xs = np.mgrid[0:size[0], 0:size[1]] + 0.5
    for hole, row in zip(holes(transform, 30, size), words(transform, 30, size), strict=True):
        cosine, sine, across, down = row[:4]
        within = np.minimum((cosine * xs - sine * ys + across) % 1, (sine * xs + cosine * ys + down) % 1)
        clear = (np.abs(within - row[SHARE]) > 1e-3) & (within > 1e-3)
        assert ((hole == ((within >= row[SHARE]) == bool(mode))) | ~clear).all()


LISTS = {"each": [am.GridMask((3, 40), value=0.25), am.HideAndSeek((0, 1, 5, 16), value=0.5)],
         "strips": [am.HideAndSeek((3, 9), 0.2, 0.5), am.GridMask((3, 40), 0.3, mode=0, value=0.25)],
         "shrunk": [am.GridMask((9, 40), value=0.25, p=1.0), am.HideAndSeek((5, 16), value=0.5), am.ResizeMix((0.3, 0.8))]}


@pytest.mark.cpu
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("size", [SIZE, (129, 67)])
@pytest.mark.parametrize("name", LISTS)
def test_all_code_has_the_same_holes(name, size, dtype):
    """Every instruction set of this machine, and the CUDA code."""
    def drawn() -> tuple[torch.Tensor, torch.Tensor]:
        recipe = am.Recipe(LISTS[name], num_classes=2)
        plan = recipe.plan(range(12), size=size, seed=3)
        white = torch.full((12, *size, 3), 255 if dtype == torch.uint8 else 1, dtype=dtype)
        return plan.rows, (am.render(white, plan, targets=torch.zeros(12, dtype=torch.int64))[0] * 4).round()

    before, found = _native.simd(), []
    for level in ("base", "avx2", "avx512"):
        if _native.use_simd(level):
            found.append(drawn())
    _native.use_simd(before)
    if FOUND:
        with emulated():
            found.append(drawn())
    assert len(found) > 1
    rows, views = found[0]
    assert views.unique().tolist() == [1, 2, 4]
    for other_rows, others in found[1:]:
        assert torch.equal(rows, other_rows) and torch.equal(views, others)


@pytest.mark.parametrize("place", [-1, 0])
def test_at_most_as_many_as_a_row_holds(place):
    am.Recipe([am.HideAndSeek((4,))] * 64)
    with pytest.raises(am.ArgumentError, match="at most 64"):
        am.Recipe([am.HideAndSeek((4,))] * 64 + [BOTH[place]])


def test_a_smooth_clip_keeps_its_cells_and_moves_its_grid():
    clip = {"size": SIZE, "frames": 4, "change": "smooth", "drift": 0.05}
    hidden = am.render(torch.ones(3, 4, *SIZE, 1), am.Recipe([am.HideAndSeek((6,))]).plan(range(3), **clip))
    assert (hidden == hidden[:, :1]).all() and (hidden == 0).any()
    plan = am.Recipe([am.GridMask((12, 30), p=1.0)]).plan(range(3), **clip)
    grids = am.render(torch.ones(3, 4, *SIZE, 1), plan)
    row = plan.rows[:, _native.WORDS["HEADER"]:].view(torch.float32).double().reshape(3, 4, -1)
    period = torch.hypot(row[..., COSINE], row[..., SINE])
    torch.testing.assert_close(period, period[:, :1].expand(3, 4), atol=1e-6, rtol=0)
    changed = (grids[:, 1:] != grids[:, :-1]).double().flatten(2).mean(2)
    assert changed.min() > 0 and changed.max() < 0.25


def test_lattices_that_cannot_be():
    for make, text in ((lambda: am.GridMask((0, 5)), r"GridMask.d: .*1 to 32768"), (lambda: am.GridMask((5, 4)), "low <= high"),
                       (lambda: am.GridMask((4.5, 5)), "whole number of pixels"), (lambda: am.GridMask(9), "two numbers"),
                       (lambda: am.GridMask(ratio=1.1), "GridMask.ratio: .*0 to 1"), (lambda: am.GridMask(mode=2), "0 to 1"),
                       (lambda: am.GridMask(degrees=-5), "degrees"), (lambda: am.GridMask(p=2), "probability"),
                       (lambda: am.GridMask(value="random"), "GridMask.value: expected a finite number"),
                       (lambda: am.HideAndSeek(value="uniform"), "HideAndSeek.value: expected a finite number"),
                       (lambda: am.HideAndSeek(()), "1 to 16"), (lambda: am.HideAndSeek(range(17)), "1 to 16"),
                       (lambda: am.HideAndSeek((-1, 4)), "whole number"), (lambda: am.HideAndSeek((4.5,)), "whole number"),
                       (lambda: am.HideAndSeek(16), "1 to 16"), (lambda: am.HideAndSeek(hide_prob=1.5), "hide_prob.*probability"),
                       (lambda: am.Recipe([am.GridMask(value=(1, 2)), am.HideAndSeek(value=(1, 2, 3))]), "one length")):
        with pytest.raises(am.ArgumentError, match=text):
            make()


DAMAGE = [(COSINE, 1.5, "turn"), (SINE, float("nan"), "turn"), (ACROSS, 1e6, "shift"), (DOWN, float("-inf"), "shift"),
          (SHARE, 1.25, "share"), (SHARE, -0.5, "share"), (SHARE, float("nan"), "share"), (11, 1.0, "spare"),
          (6, float("inf"), "value")]


@pytest.mark.parametrize(("transform", "damage"), [*itertools.product(BOTH, DAMAGE)])
def test_a_damaged_word_is_named(transform, damage):
    at, value, named = damage
    recipe = am.Recipe([transform])
    plan = recipe.plan(range(3), size=SIZE)
    assert am.Plan.from_state_dict(recipe, plan.state_dict()) == plan
    plan.rows[1, _native.WORDS["HEADER"] + at] = torch.tensor(value).view(torch.int32)
    with pytest.raises(am.ArgumentError, match=rf"rows\[1\]: expected ERASE 0 {named}"):
        am.Plan.from_state_dict(recipe, plan.state_dict())
