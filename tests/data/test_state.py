"""Where a Loader stands: kept, given to another that is made alike, and refused by one that is not. And the last epoch."""

import numpy as np
import pytest
import torch

import anamorph as am
from anamorph.images.recipe import MAX_EPOCH
from loading import StubRecipe, ids

OTHER = am.Recipe([am.RandomResizedCrop(4)])


def make(array, recipe=None, batch_size=2, **arguments):
    return am.Loader(array, recipe or StubRecipe(), batch_size, **arguments)


@pytest.mark.parametrize("key, other", [
    ("recipe", dict(recipe=OTHER)), ("seed", dict(seed=1)), ("batch_size", dict(batch_size=3)), ("shuffle", dict(shuffle=False)),
    ("world", dict(shard=(0, 2))), ("drop_last", dict(drop_last=True)), ("pad", dict(pad=False)), ("samples", None),
])
def test_a_state_of_other_batches_is_refused(array, key, other):
    here = make(array)
    there = make(array[:9]) if other is None else make(array, **other)
    with pytest.raises(am.ArgumentError, match=f"state_dict: expected {key} .*, this loader's, given "):
        here.load_state_dict(there.state_dict())
    with pytest.raises(am.ArgumentError, match=f"state_dict: expected {key} .*, this loader's, given "):
        there.load_state_dict(here.state_dict())
    alike = make(array[:9]) if other is None else make(array, **other)
    alike.load_state_dict(there.state_dict())


def test_a_state_of_clips_that_change_otherwise_is_refused():
    clips = np.zeros((6, 3, 8, 8, 3), np.uint8)
    none, smooth, far = (make(clips, OTHER, **change) for change in ({}, dict(change="smooth"), dict(change="smooth", drift=1.0)))
    for here, there, key in ((none, smooth, "change"), (smooth, none, "change"), (smooth, far, "drift")):
        with pytest.raises(am.ArgumentError, match=f"state_dict: expected {key} .*, this loader's, given "):
            here.load_state_dict(there.state_dict())


def test_single_pictures_have_no_frames_that_change(array):
    with pytest.raises(am.ArgumentError, match="change: expected 'none' for single pictures, given 'smooth'"):
        next(iter(make(array, OTHER, change="smooth")))


def test_a_state_is_plain_data_and_the_same_on_every_rank(array, tmp_path):
    loaders = [make(array, shard=(rank, 3)) for rank in range(3)]
    torch.save(loaders[0].state_dict(), tmp_path / "state.pt")
    for loader in loaders:
        loader.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))


def test_the_number_of_classes_is_not_part_of_a_state(array, seen):
    """So a state goes from a recipe that took it from the source to one that was given it."""
    mixes = [am.RandomResizedCrop(4), am.CutMix()]
    state = make((array, np.arange(10)), am.Recipe(mixes)).state_dict()
    make((array, np.arange(10)), am.Recipe(mixes, num_classes=10)).load_state_dict(state)


def test_set_epoch_after_iter_is_the_epoch_of_the_pass_and_of_the_state(array, seen):
    loader = make(array)
    started = iter(loader)
    loader.sampler.set_epoch(7)
    assert (loader.state_dict()["epoch"], loader.state_dict()["batch"]) == (7, 0)
    assert next(started).tolist() == ids(make(array, epoch=7))[:2]
    assert (loader.state_dict()["epoch"], loader.state_dict()["batch"]) == (7, 1)


def test_a_state_loaded_after_iter_is_gone_on_with(array, seen):
    loader, whole = make(array), ids(make(array, epoch=3))
    started = iter(loader)
    loader.load_state_dict({**loader.state_dict(), "epoch": 3, "batch": 4})
    assert [int(i) for batch in started for i in batch] == whole[8:] and loader.epoch == 4


# ---------------------------------------------------------------- the last epoch


def test_after_the_last_epoch_there_is_no_other(array, seen):
    loader = make(array, epoch=MAX_EPOCH)
    last = ids(loader)
    assert len(last) == 10 and loader.epoch == MAX_EPOCH
    state = loader.state_dict()
    for over in (loader, make(array)):
        over.load_state_dict(state)
        with pytest.raises(am.ArgumentError, match=r"epoch: expected set_epoch .* to 4294967295, given a pass after the last"):
            next(iter(over))
        assert over.state_dict() == state
    loader.set_epoch(MAX_EPOCH)
    assert ids(loader) == ids(loader) == last
    loader.load_state_dict({**state, "batch": 3})
    assert ids(loader) == last[6:]


def test_a_state_of_the_last_epochs_last_batch(array, seen):
    loader = make(array, epoch=MAX_EPOCH)
    started = iter(loader)
    for _ in range(5):
        next(started)
    resumed = make(array)
    resumed.load_state_dict(loader.state_dict())
    with pytest.raises(am.ArgumentError, match="after the last"):
        list(resumed)
    assert list(started) == []


# ---------------------------------------------------------------- exact evaluation


@pytest.mark.parametrize("world", [1, 2, 3, 4, 7, 12])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 20])
@pytest.mark.parametrize("shuffle", [False, True])
def test_without_padding_every_sample_comes_once(array, seen, world, batch_size, shuffle):
    ranks = [make(array, shard=(rank, world), batch_size=batch_size, pad=False, shuffle=shuffle) for rank in range(world)]
    counted = [[len(call) for call in loader] for loader in ranks]
    assert [len(loader) for loader in ranks] == [len(batches) for batches in counted]
    assert [sum(batches) for batches in counted] == [len(range(rank, 10, world)) for rank in range(world)]
    for loader in ranks:
        loader.set_epoch(0)
    assert sorted(i for loader in ranks for i in ids(loader)) == list(range(10))


def test_a_state_is_resumed_by_ranks_of_unequal_length(array, seen):
    """Five batches and four: after the fourth, a rank has one more and the other none."""
    def ranks():
        return [make(array[:9], batch_size=1, shard=(rank, 2), pad=False) for rank in range(2)]

    whole = [ids(loader) for loader in ranks()]
    states = []
    for batch in range(6):
        long, short = ranks()
        long.load_state_dict({**long.state_dict(), "batch": batch})
        short.load_state_dict(long.state_dict())
        epoch = [loader.epoch for loader in (long, short)]
        states.append((epoch, ids(long), ids(short)))
    later = [ids(make(array[:9], batch_size=1, shard=(rank, 2), pad=False, epoch=1)) for rank in range(2)]
    assert states == [*(([0, 0], whole[0][n:], whole[1][n:]) for n in range(5)), ([1, 1], *later)]


def test_padding_is_torchs(array, seen):
    for world in (1, 3, 4, 7):
        for rank in range(world):
            right = torch.utils.data.DistributedSampler(range(10), world, rank, shuffle=False)
            assert ids(make(array, shard=(rank, world), shuffle=False)) == list(right)
            assert list(make(array, shard=(rank, world), shuffle=False).sampler) == list(right)


def test_what_cannot_be_without_padding_is_named(array):
    with pytest.raises(am.ArgumentError, match=r"pad: expected True with drop_last=True, .*, given False"):
        make(array, pad=False, drop_last=True)
