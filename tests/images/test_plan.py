"""Plans: the bits, against a recomputation in Python; what they depend on; their forms for people and for files."""

import io
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import anamorph as am
from anamorph import _native
from recipes import SINGLE, lists
from reference.plan import plan_rows

pytestmark = pytest.mark.usefixtures("route")


def same_bits(recipe, index, size, **key):
    plan = recipe.plan(index, size=size, **key)
    sizes = size if isinstance(size, torch.Tensor) else [size] * len(index)
    expected = plan_rows(recipe, index, sizes, plan.output_size, **key)
    ours = plan.rows.numpy()
    assert ours.dtype == expected.dtype and ours.shape == expected.shape
    # -0.0 and 0.0 are the same number, but not the same bits: that counts too.
    bad = np.argwhere(ours != expected)
    assert not len(bad), f"row, word: {bad[:5].tolist()} of {recipe}"


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize(("seed", "epoch", "view"), [(0, 0, 0), (2**64 - 3, 2**32 - 1, 4095)])
def test_bits(name, seed, epoch, view):
    index = [5, 0, 2**40 + 7, 77, 3, 1000003, 9]
    same_bits(am.Recipe(SINGLE[name]), index, (37, 45), seed=seed, epoch=epoch, view=view)


@settings(deadline=None, max_examples=40)
@given(lists(), st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.integers(1, 9),
       st.tuples(st.integers(1, 60), st.integers(1, 60)))
def test_bits_of_any_recipe(transforms, seed, epoch, batch, size):
    recipe = am.Recipe(transforms)
    same_bits(recipe, [3 * i + seed % 1000 for i in range(batch)], size, seed=seed, epoch=epoch)


def test_bits_of_ragged_sizes():
    sizes = torch.tensor([[10, 20], [33, 7], [64, 64]])
    same_bits(am.Recipe([am.RandomResizedCrop(16), am.MixUp()]), [4, 5, 6], sizes, seed=3, epoch=1)


@settings(deadline=None, max_examples=30)
@given(lists(), st.permutations(range(12)), st.integers(1, 11))
def test_rows_do_not_depend_on_the_batch(transforms, order, count):
    """Any subset, any order: the same row, but for the partner, who comes from the batch: one who is alone, or in the middle of a
    batch that is paired by mirroring, has none and is not mixed."""
    recipe = am.Recipe(transforms)
    whole = recipe.plan(range(12), size=(30, 40), seed=9, epoch=2)
    some = recipe.plan(order[:count], size=(30, 40), seed=9, epoch=2)
    there, words = whole.rows[order[:count]].clone(), am._native.WORDS
    alone = some.rows[:, words["PARTNER"]] == torch.arange(count)
    there[alone, words["MIX"]:words["COLORS"]] = some.rows[alone, words["MIX"]:words["COLORS"]]
    there[:, words["PARTNER"]:words["PARTNER_ID"] + 2] = some.rows[:, words["PARTNER"]:words["PARTNER_ID"] + 2]
    assert torch.equal(there, some.rows)


def test_keys_matter():
    recipe = am.Recipe(SINGLE["chain"])
    rows = [recipe.plan(range(4), size=(32, 32), **key).rows.numpy().tobytes()
            for key in ({}, {"seed": 1}, {"epoch": 1}, {"view": 1}, {"seed": 1 << 32}, {"seed": 1 << 63})]
    assert len(set(rows)) == len(rows)


def test_epoch_may_be_a_tensor():
    recipe = am.Recipe(SINGLE["chain"])
    cell = torch.tensor([7])
    assert torch.equal(recipe.plan([1, 2], size=(9, 9), epoch=cell).rows, recipe.plan([1, 2], size=(9, 9), epoch=7).rows)


@pytest.mark.parametrize("batch", [2, 3, 4, 5, 17, 64, 257])
def test_partners(batch):
    """The derangement has no fixed point and takes everyone once; roll and flip are what they say."""
    def partners(kind):
        plan = am.Recipe([am.MixUp(partner=kind)]).plan(range(batch), size=(8, 8), seed=batch)
        at = am._native.WORDS["PARTNER"]
        return plan.rows[:, at].tolist()

    found = partners("derange")
    assert sorted(found) == list(range(batch)) and all(i != p for i, p in enumerate(found))
    assert partners("roll") == [(i - 1) % batch for i in range(batch)]
    assert partners("flip") == list(range(batch))[::-1]


def test_a_batch_of_one_mixes_with_itself():
    recipe = am.Recipe([am.MixUp()], num_classes=3)
    image = torch.randint(0, 256, (1, 6, 6, 3), dtype=torch.uint8)
    views, soft = am.render(image, recipe.plan([4], size=(6, 6)), targets=[2])
    torch.testing.assert_close(views, image.permute(0, 3, 1, 2) / 255)
    torch.testing.assert_close(soft, torch.tensor([[0.0, 0.0, 1.0]]))


def test_shared_draws():
    """batch: one draw for all, and one decision; pair: the same for mirror rows."""
    def lams(transforms):
        plan = am.Recipe(transforms).plan(range(8), size=(16, 16), seed=2)
        return [(row["mix"], row["lam"], row["box"]) for row in plan.table()]

    for transforms in ([am.CutMix(mode="batch")], [am.OneOf([am.MixUp(mode="batch"), am.CutMix(mode="batch")], p=0.5)]):
        assert len(set(lams(transforms))) == 1
    pairs = lams([am.OneOf([am.MixUp(mode="pair"), am.CutMix(mode="pair")])])
    assert pairs == pairs[::-1] and len(set(pairs)) > 1
    assert len(set(lams([am.CutMix()]))) > 1


def test_beta_distribution():
    from scipy import stats

    for alpha in (0.2, 0.8, 1.0, 4.0):
        plan = am.Recipe([am.MixUp(alpha)]).plan(range(4000), size=(8, 8), seed=5)
        at = am._native.WORDS["LAM"]
        lam = plan.rows[:, at].contiguous().view(torch.float32).double().numpy()
        assert stats.kstest(lam, stats.beta(alpha, alpha).cdf).pvalue > 1e-3


def test_cutmix_and_resizemix_facts():
    plan = am.Recipe([am.OneOf([am.CutMix(), am.ResizeMix()])]).plan(range(400), size=(40, 60), seed=1)
    for row in plan.table():
        x0, y0, x1, y1 = row["box"]
        assert 0 <= x0 <= x1 <= 60 and 0 <= y0 <= y1 <= 40
        assert row["lam"] == pytest.approx(1 - (x1 - x0) * (y1 - y0) / 2400, abs=1e-4)
        if row["mix"] == "resizemix":
            assert 0.1 * 60 - 1 <= x1 - x0 <= 0.8 * 60 and abs((x1 - x0) / 60 - (y1 - y0) / 40) < 1 / 40


def test_for_people():
    plan = am.Recipe(SINGLE["chain"]).plan([10, 11, 12], size=(50, 60), seed=4)
    text = str(plan.table())
    assert len(text.splitlines()) == 4 and "brightness" in text
    assert plan[0].startswith("sample 10: x ") and plan[-1].startswith("sample 12")
    assert list(plan)[1] == plan[1] and "3 samples to 28x28" in repr(plan)
    with pytest.raises(IndexError):
        plan[3]


def test_files(tmp_path):
    from safetensors.torch import load_file, save_file

    recipe = am.Recipe(SINGLE["chain"], num_classes=4)
    plan = recipe.plan([1, 2], size=(50, 60), seed=2**64 - 1, epoch=3)
    torch.save(plan, tmp_path / "plan.pt")
    save_file(plan.state_dict(), tmp_path / "plan.safetensors")
    images = torch.randint(0, 256, (2, 50, 60, 3), dtype=torch.uint8)
    for read in (torch.load(tmp_path / "plan.pt"), pickle.loads(pickle.dumps(plan)),
                 am.Plan.from_state_dict(recipe, load_file(tmp_path / "plan.safetensors"))):
        assert torch.equal(read.rows, plan.rows) and read.recipe == recipe and read.seed == plan.seed
        assert torch.equal(am.render(images, read), am.render(images, plan))
    with pytest.raises(am.ArgumentError, match="one of another"):
        am.Plan.from_state_dict(am.Recipe([am.MixUp()]), plan.state_dict())
    buffer = io.BytesIO()
    torch.save(recipe, buffer)
    buffer.seek(0)
    assert torch.load(buffer) == recipe


def test_partners_are_uniform():
    """Every other row is as likely a partner, within the noise of the count."""
    count, epochs = 8, 4000
    recipe = am.Recipe([am.MixUp()])
    at = _native.WORDS["PARTNER"]
    pairs = torch.zeros(count, count)
    for epoch in range(epochs):
        pairs[torch.arange(count), recipe.plan(range(count), size=(4, 4), epoch=epoch).rows[:, at].long()] += 1
    assert pairs.diagonal().sum() == 0
    expected = epochs / (count - 1)
    off = (pairs[~torch.eye(count, dtype=torch.bool)] - expected).abs()
    assert off.max() < 6 * expected ** 0.5


def test_a_plan_of_anything_can_be_read():
    """What lies behind the viewer, and a mask's share, which is not known before the mask."""
    behind = am.Recipe([am.RandomPerspective(0.5, 1.0)])
    assert all(behind.plan(range(50), size=(4, 4)))
    masks = am.Recipe([am.MaskMix()]).plan([0, 1], size=(4, 4))
    assert "shares by the mask" in masks[0] and masks.table()[0]["lam"] is None


def test_a_saved_plan_is_no_larger_than_its_rows():
    index = torch.arange(1_000_000)[:6]
    file = io.BytesIO()
    torch.save(am.Recipe([am.RandomHorizontalFlip()]).plan(index, size=(4, 4)), file)
    assert len(file.getvalue()) < 20_000


@pytest.mark.parametrize(("word", "value"), [("color", 99), ("color", 1), ("erase", 8)])
def test_steps_of_another_version_are_named(word, value):
    recipe = am.Recipe([am.ColorJitter(0.4, 0.4), am.RandomErasing(1.0)])
    state = recipe.plan(range(3), size=(9, 9)).state_dict()
    at = am._native.WORDS["HEADER"] + (0 if word == "color" else am._native.COLOR_WORDS * recipe.info["max_colors"] + 4)
    state["rows"] = state["rows"].clone()
    state["rows"][1, at] = value
    with pytest.raises(am.ArgumentError, match="of this version"):
        am.Plan.from_state_dict(recipe, state)


def test_more_contrasts_than_the_recipe_has(route):
    """A damaged row: both steps ask for a mean, and there is room for one."""
    recipe = am.Recipe([am.ColorJitter(0.4, 0.4)])
    plan = recipe.plan(range(2), size=(8, 8))
    for step in range(2):
        plan.rows[0, am._native.WORDS["HEADER"] + am._native.COLOR_WORDS * step] = am._native.OPS["CONTRAST"]
    assert torch.isfinite(am.render(torch.rand(2, 8, 8, 3), plan)).all()
