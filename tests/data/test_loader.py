"""The Loader: what it yields, in which order, and what it does when a file is bad.

Most tests look at what reaches the engine, so they put a recorder in the place of ``render``; those
at the end run the real one.
"""

import copy
import gc
import io
import logging
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
import torch

import anamorph as am
import anamorph.data.family as family_module
from anamorph.data.background import Background
from anamorph.data.order import Order
from anamorph.data.sources import expand
from loading import DECODERS, SIZES, Image, Items, StubRecipe, dali, encoded, ids, needs_dali, picture, reader_threads, write_tar

# ---------------------------------------------------------------- sources


@pytest.mark.parametrize("decoder", DECODERS)
def test_folder_gives_the_decoded_files_with_labels_and_sizes(folder, seen, decoder):
    loader = am.Loader(folder, StubRecipe(), 4, shuffle=False, decoder=decoder)
    assert loader.classes == ["cat", "dog"]
    assert len(loader) == 3
    labels = torch.cat([targets for _, targets in loader])
    assert labels.tolist() == [0] * 5 + [1] * 5 and labels.dtype == torch.int64
    assert [len(call.images) for call in seen] == [4, 4, 2]
    assert seen[0].plan.size.tolist() == [list(size) for size in SIZES[:4]]
    paths = sorted(folder.glob("*/*"))
    for index, image in enumerate(image for call in seen for image in call.images):
        expected = np.asarray(Image.open(paths[index]).convert("RGB"))
        assert image.dtype == torch.uint8
        np.testing.assert_allclose(image.numpy(), expected, atol=2)  # two builds of libjpeg may round apart


@pytest.mark.parametrize("decoder", DECODERS)
def test_one_channel_decodes_to_luma(folder, seen, decoder):
    list(am.Loader(str(folder), StubRecipe(), 10, shuffle=False, decoder=decoder, channels=1))
    assert [tuple(image.shape) for image in seen[0].images] == [(h, w, 1) for h, w in SIZES]
    expected = np.asarray(Image.open(folder / "cat" / "0.jpg").convert("L"))[:, :, None]
    assert np.abs(seen[0].images[0].numpy().astype(int) - expected).mean() < 2


def test_equal_sizes_give_one_size(tmp_path, seen):
    (tmp_path / "a").mkdir()
    for i in range(3):
        (tmp_path / "a" / f"{i}.png").write_bytes(encoded(picture(9, 7, i), "PNG"))
    list(am.Loader(tmp_path, StubRecipe(), 3, decoder="pillow"))
    assert seen[0].plan.size == (9, 7)


@pytest.mark.parametrize("decoder", DECODERS)
def test_webdataset_shards(tmp_path, seen, decoder):
    for shard in range(2):
        members = []
        for i in range(3):
            key = f"{shard}/sample.d/{i:03d}"
            members += [(f"{key}.cls", f"{shard * 3 + i}\n".encode()), (f"{key}.json", b"{}")]
            members += [(f"{key}.jpeg" if i else f"{key}.png", encoded(picture(12 + i, 10), "JPEG" if i else "PNG"))]
        write_tar(tmp_path / f"train-{shard:02d}.tar", members)
    for source in (
        str(tmp_path / "train-{00..01}.tar"),
        str(tmp_path / "train-*.tar"),
        [tmp_path / "train-00.tar", tmp_path / "train-01.tar"],
    ):
        seen.clear()
        loader = am.Loader(source, StubRecipe(), 4, seed=3, decoder=decoder)
        pairs = [(int(i), int(label)) for index, labels in loader for i, label in zip(index, labels)]
        assert sorted(pairs) == [(i, i) for i in range(6)]
        assert pairs != sorted(pairs)
        heights = {int(i): image.shape[0] for call in seen for i, image in zip(call.plan.index, call.images)}
        assert heights == {i: 12 + i % 3 for i in range(6)}


def test_folders_take_regular_files_and_each_once(folder, seen):
    os.mkfifo(folder / "cat" / "pipe.jpg")
    (folder / "cat" / "loop").symlink_to(folder / "cat")
    (folder / "dog" / "more").symlink_to(folder / "cat" / "..", target_is_directory=True)
    loader = am.Loader(folder, StubRecipe(), 4, decoder="pillow")
    assert len(loader.sampler.permutation(0)) == 10 + 5  # dog/more/cat is no loop
    (folder / "cat" / "nowhere.jpg").symlink_to(folder / "nowhere")
    with pytest.raises(am.DecodeError, match=r"nowhere\.jpg: cannot be read"):
        list(am.Loader(folder, StubRecipe(), 4, decoder="pillow"))


def test_webdataset_without_labels_yields_images_alone(tmp_path, seen):
    tar = write_tar(tmp_path / "a.tar", [("x.jpg", encoded(picture(8, 8)))])
    assert ids(am.Loader(tar, StubRecipe(), 1, decoder="pillow")) == [0]
    assert seen[0].targets is None


def test_brace_patterns():
    assert expand("a-{08..11}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]
    assert expand("{x,y}-{0..1}") == ["x-0", "x-1", "y-0", "y-1"]


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_array_with_and_without_labels(array, seen, kind):
    images = array if kind == "numpy" else torch.from_numpy(array)
    labels = np.arange(10, dtype=np.uint8)
    for index, targets in am.Loader((images, labels), StubRecipe(), 4, seed=1):
        assert targets.tolist() == index.tolist() and targets.dtype == torch.int64
    for call in seen:
        assert [int(image[0, 0, 0]) for image in call.images] == call.plan.index.tolist()
        assert call.plan.size == (6, 8)
    assert sorted(ids(am.Loader(images, StubRecipe(), 4))) == list(range(10))
    assert seen[-1].targets is None


def test_dataset_of_pil_arrays_and_tensors(seen):
    pixels = picture(5, 7)
    dataset = Items([
        (Image.fromarray(pixels), 4),
        (pixels, np.int64(5)),
        (torch.from_numpy(pixels.copy()).permute(2, 0, 1), torch.tensor(6)),
    ])
    batches = list(am.Loader(dataset, StubRecipe(), 3, shuffle=False))
    assert batches[0][1].tolist() == [4, 5, 6]
    for image in seen[0].images:
        np.testing.assert_array_equal(image.numpy(), pixels)


def test_dataset_without_labels_and_of_mixed_sizes(seen):
    gray = [picture(5, 7)[:, :, 0], picture(6, 4)[:, :, 0], picture(5, 5)[:, :, 0]]
    assert ids(am.Loader(Items(gray), StubRecipe(), 3, shuffle=False, num_threads=2)) == [0, 1, 2]
    assert seen[0].plan.size.tolist() == [[5, 7], [6, 4], [5, 5]]
    assert seen[0].images[2].shape == (5, 5, 1)
    with pytest.raises(am.ShapeError, match="expected 1 channels as in item 0 of Items, given 3 in item 1 of Items"):
        list(am.Loader(Items([gray[0], picture(6, 4)]), StubRecipe(), 2, shuffle=False))


@needs_dali
@pytest.mark.parametrize("dynamic", [True, False])
def test_dali_pipeline_with_a_reader(folder, seen, dynamic):
    @dali.pipeline_def(batch_size=4, num_threads=1, device_id=None, exec_dynamic=dynamic)
    def pipeline():
        data, label = dali.fn.readers.file(file_root=str(folder), name="reader")
        return dali.fn.decoders.image(data), label

    loader = am.Loader(pipeline(), StubRecipe(), 4, shard=(1, 3))
    assert len(loader) == 3
    first = list(loader)
    assert len(first) == 3 and first[0][0].tolist() == [1, 4, 7, 10]
    assert first[0][1].tolist() == [0, 0, 0, 0] and first[1][1].tolist() == [0, 1, 1, 1]
    assert tuple(seen[0].images[1].shape) == (*SIZES[1], 3)
    assert loader.epoch == 1 and len(list(loader)) == 3


@needs_dali
def test_dali_pipeline_with_an_index_and_an_end(seen):
    pixels = [picture(4, 4, i) for i in range(4)]

    def pipeline():
        batches = iter(range(2))

        def source():
            nonlocal batches
            batch = next(batches, None)
            if batch is None:
                batches = iter(range(2))
                raise StopIteration
            numbers = [2 * batch, 2 * batch + 1]
            return [pixels[i] for i in numbers], np.array(numbers) + 5, np.array(numbers) + 100

        pipe = dali.Pipeline(batch_size=2, num_threads=1, device_id=None)
        with pipe:
            pipe.set_outputs(*dali.fn.external_source(source=source, num_outputs=3))
        return pipe

    loader = am.Loader(pipeline(), StubRecipe(), 2)
    for _ in range(2):
        batches = list(loader)
        assert torch.cat([index for index, _ in batches]).tolist() == [100, 101, 102, 103]
        assert torch.cat([labels for _, labels in batches]).tolist() == [5, 6, 7, 8]
    np.testing.assert_array_equal(seen[1].images[1].numpy(), pixels[3])
    with pytest.raises(TypeError, match="does not say how long"):
        len(loader)
    with pytest.raises(am.ArgumentError, match=r"batch_size: expected 2, .*, given 3"):
        am.Loader(pipeline(), StubRecipe(), 3)


def file_pipeline(root, batch_size=4, decode=True, dynamic=True, **arguments):
    pipe = dali.Pipeline(batch_size=batch_size, num_threads=1, device_id=None, exec_dynamic=dynamic)
    with pipe:
        data, label = dali.fn.readers.file(file_root=str(root), name="reader", **arguments)
        pipe.set_outputs(dali.fn.decoders.image(data) if decode else data, label)
    return pipe


@pytest.fixture
def classes(tmp_path):
    """Nine classes of one 4 x 4 image whose pixels all are its label."""
    for i in range(9):
        (tmp_path / "nine" / str(i)).mkdir(parents=True)
        (tmp_path / "nine" / str(i) / "x.png").write_bytes(encoded(np.full((4, 4, 3), i, np.uint8), "PNG"))
    return tmp_path / "nine"


def labels_of(loader, seen):
    seen.clear()
    labels = [targets.tolist() for _, targets in loader]
    assert [[int(image[0, 0, 0]) for image in call.images] for call in seen] == labels
    return labels


@needs_dali
@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("pad", [True, False])
def test_each_pass_of_a_dali_pipeline_is_its_readers_epoch(classes, seen, pad, dynamic):
    loader = am.Loader(file_pipeline(classes, pad_last_batch=pad, dynamic=dynamic), StubRecipe(), 4)
    epoch = [[0, 1, 2, 3], [4, 5, 6, 7], [8]]
    assert labels_of(loader, seen) == labels_of(loader, seen) == epoch
    for _ in zip(range(2), loader):
        pass
    gc.collect()
    assert labels_of(loader, seen) == epoch and len(loader) == 3
    cut = am.Loader(file_pipeline(classes, pad_last_batch=pad, dynamic=dynamic), StubRecipe(), 4, drop_last=True)
    assert labels_of(cut, seen) == labels_of(cut, seen) == epoch[:2] and len(cut) == 2


@needs_dali
def test_shards_of_a_dali_pipeline_are_equally_long(classes, seen):
    def epochs(**arguments):
        loader = am.Loader(file_pipeline(classes, num_shards=2, **arguments), StubRecipe(), 4)
        return [[label for batch in labels_of(loader, seen) for label in batch] for _ in range(2)]

    assert epochs(shard_id=0) == [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8]]  # the reader changes to the next shard
    assert epochs(shard_id=0, stick_to_shard=True) == [[0, 1, 2, 3, 0]] * 2
    assert epochs(shard_id=0, stick_to_shard=True, pad_last_batch=True) == [[0, 1, 2, 3, 3]] * 2
    assert epochs(shard_id=1, stick_to_shard=True) == [[4, 5, 6, 7, 8]] * 2


@needs_dali
def test_what_a_dali_pipeline_cannot_do_is_named(classes, seen):
    loader = am.Loader(file_pipeline(classes), StubRecipe(), 4)
    first = iter(loader)
    next(first)
    with pytest.raises(am.ArgumentError, match="a second iterator given over a DALI pipeline"):
        next(iter(loader))
    first.close()
    assert len(list(loader)) == 3
    with pytest.raises(am.ArgumentError, match="a DALI pipeline as its source cannot be copied"):
        copy.deepcopy(loader)
    with pytest.raises(am.ArgumentError, match=r"gives images of shape \(\d+,\); expected \[H, W, C\] .*decoders.image"):
        list(am.Loader(file_pipeline(classes, decode=False), StubRecipe(), 4))
    with pytest.raises(am.ArgumentError, match="the DALI pipeline cannot be built"):
        am.Loader(file_pipeline("/no/such"), StubRecipe(), 4)


# ---------------------------------------------------------------- order, shards, epochs


def test_order_depends_on_seed_and_epoch_only(array, seen):
    reference = ids(am.Loader(array, StubRecipe(), 10, seed=5, epoch=2))
    assert ids(am.Loader(array, StubRecipe(), 3, seed=5, epoch=2, prefetch=1)) == reference
    assert ids(am.Loader(array, StubRecipe(), 3, seed=6, epoch=2)) != reference
    assert ids(am.Loader(array, StubRecipe(), 3, seed=5, epoch=3)) != reference
    shards = [ids(am.Loader(array, StubRecipe(), 2, seed=5, epoch=2, shard=(rank, 5))) for rank in range(5)]
    assert [i for column in zip(*shards) for i in column] == reference
    assert {(call.plan.seed, call.plan.epoch) for call in seen} == {(5, 2), (6, 2), (5, 3)}


def test_the_permutation_is_frozen():
    # Replaying an old run needs the same order from every later version.
    order = Order(8, 2, seed=1, epoch=0, shard=(0, 1), shuffle=True, drop_last=False)
    assert order.permutation(0).tolist() == FROZEN[0]
    assert order.permutation(1).tolist() == FROZEN[1]


FROZEN = {0: [3, 5, 2, 7, 0, 6, 1, 4], 1: [0, 6, 5, 3, 4, 7, 2, 1]}


@pytest.mark.parametrize("world", [1, 2, 3, 4, 7])
def test_shards_partition_the_samples(array, seen, world):
    whole = ids(am.Loader(array, StubRecipe(), 100))
    padded = [am.Loader(array, StubRecipe(), 2, shard=(rank, world)) for rank in range(world)]
    got = [ids(loader) for loader in padded]
    assert {len(part) for part in got} == {-(-10 // world)}
    assert {len(loader) for loader in padded} == {-(-len(got[0]) // 2)}
    assert [i for column in zip(*got) for i in column] == (whole * 2)[: world * -(-10 // world)]

    cut = [am.Loader(array, StubRecipe(), 2, shard=(rank, world), drop_last=True) for rank in range(world)]
    got = [ids(loader) for loader in cut]
    assert {len(part) for part in got} == {10 // world // 2 * 2}
    every = [i for part in got for i in part]
    assert len(set(every)) == len(every)
    assert [len(loader) for loader in cut] == [10 // world // 2] * world


def test_more_ranks_than_samples(array, seen):
    shards = [ids(am.Loader(array[:2], StubRecipe(), 4, shard=(rank, 5))) for rank in range(5)]
    assert [len(shard) for shard in shards] == [1] * 5 and len({tuple(shard) for shard in shards}) == 2


def test_epochs_advance_by_themselves_until_set(array, seen):
    loader = am.Loader(array, StubRecipe(), 5, epoch=7)
    first, second = ids(loader), ids(loader)
    assert first != second and loader.epoch == 9
    loader.set_epoch(7)
    assert ids(loader) == first and ids(loader) == first and loader.epoch == 7
    loader.sampler.set_epoch(8)
    assert ids(loader) == second
    assert [call.plan.epoch for call in seen] == [7, 7, 8, 8, 7, 7, 7, 7, 8, 8]


def test_two_whole_passes_of_one_epoch_count_once(array, seen):
    loader = am.Loader(array, StubRecipe(), 5)
    assert len(list(zip(loader, loader))) == 2  # zip does not ask the second one for its end
    passes = [iter(loader), iter(loader)]
    for one in passes:
        list(one)
    assert loader.epoch == 3  # these two were an epoch each, since the second began when the first was over


def test_the_epoch_is_that_of_the_first_next(array, seen):
    loader = am.Loader(array, StubRecipe(), 5)
    reference = ids(am.Loader(array, StubRecipe(), 5, epoch=7))
    started = iter(loader)
    loader.set_epoch(7)
    first = next(started)
    loader.set_epoch(3)  # of the next pass: this one has begun
    assert [int(i) for batch in (first, *started) for i in batch] == reference and loader.epoch == 3
    assert {call.plan.epoch for call in seen[-2:]} == {7}


def test_an_epoch_left_early_does_not_count(array, seen):
    loader = am.Loader(array, StubRecipe(), 2)
    first = next(iter(loader)).tolist()
    assert loader.epoch == 0 and ids(loader)[:2] == first


def test_not_shuffled(array, seen):
    loader = am.Loader(array, StubRecipe(), 4, shuffle=False)
    assert ids(loader) == ids(loader) == list(range(10))


def test_resume_at_a_batch(array, seen):
    whole = ids(am.Loader(array, StubRecipe(), 2, seed=4))
    loader = am.Loader(array, StubRecipe(), 2, seed=4)
    for number, _ in enumerate(loader):
        if number == 1:
            state = loader.state_dict()
            break
    resumed = am.Loader(array, StubRecipe(), 2, seed=4)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    assert ids(resumed) == whole[4:]
    assert ids(resumed) != whole[4:] and resumed.epoch == 2
    with pytest.raises(am.ArgumentError, match="state_dict: expected seed 5, this loader's, given 4"):
        am.Loader(array, StubRecipe(), 2, seed=5).load_state_dict(state)


def test_set_epoch_replaces_a_loaded_state(array, seen):
    loader = am.Loader(array, StubRecipe(), 2)
    loader.load_state_dict({**loader.state_dict(), "epoch": 3, "batch": 4})
    loader.set_epoch(4)
    assert (loader.state_dict()["epoch"], loader.state_dict()["batch"]) == (4, 0)


@pytest.mark.parametrize(
    "state, message",
    [
        (None, r"state_dict: expected what state_dict\(\) returned, given None"),
        ({}, "state_dict: expected .*, given {}"),
        (dict(batch=-3), "state_dict: batch: expected a whole number from 0 to 5, given -3"),
        (dict(batch=6), "state_dict: batch: expected a whole number from 0 to 5, given 6"),
        (dict(epoch="x"), "state_dict: epoch: expected a whole number from 0 to 4294967295, given 'x'"),
        (dict(epoch=2**32), "state_dict: epoch: expected .* given 4294967296"),
    ],
)
def test_bad_states_are_named(array, state, message):
    loader = am.Loader(array, StubRecipe(), 2)
    with pytest.raises(am.ArgumentError, match=message):
        loader.load_state_dict({**loader.state_dict(), **state} if state else state)


@pytest.mark.parametrize("epoch", [-1, 2**32, "3", 1.0])
def test_bad_epochs_are_named(array, epoch):
    loader = am.Loader(array, StubRecipe(), 2)
    for call in (loader.set_epoch, loader.sampler.set_epoch):
        with pytest.raises(am.ArgumentError, match=r"epoch: expected .*, given"):
            call(epoch)
    assert loader.epoch == 0


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda loader: pickle.loads(pickle.dumps(loader))])
def test_a_loader_can_be_copied(folder, seen, decoder, duplicate):
    loader = am.Loader(folder, StubRecipe(), 4, decoder=decoder)
    expected = ids(loader)
    twin = duplicate(loader)
    assert ids(twin) == ids(loader) != expected


def test_a_loader_of_a_tar_can_be_copied(tmp_path, seen):
    tar = write_tar(tmp_path / "a.tar", [("x.jpg", encoded(picture(8, 8)))])
    loader = am.Loader(tar, StubRecipe(), 1, decoder="pillow")
    assert ids(loader) == ids(copy.deepcopy(loader)) == [0]


def test_a_state_taken_after_the_last_batch_resumes_with_the_next_epoch(array, seen):
    loader = am.Loader(array, StubRecipe(), 5)
    iterator = iter(loader)
    next(iterator), next(iterator)
    state = loader.state_dict()
    resumed = am.Loader(array, StubRecipe(), 5)
    resumed.load_state_dict(state)
    assert list(iterator) == [] and loader.epoch == 1
    assert ids(resumed) == ids(loader)


# ---------------------------------------------------------------- bad files

HARMS = {
    "truncated": lambda data: data[: len(data) * 2 // 3],
    "no end marker": lambda data: data[:-2],
    "empty": lambda data: b"",
    "garbage": lambda data: b"not an image" * 20,
}


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("harm", HARMS)
def test_corrupt_file_is_named_after_the_good_batches(folder, seen, decoder, harm):
    bad = folder / "dog" / "7.jpg"
    bad.write_bytes(HARMS[harm](bad.read_bytes()))
    loader = am.Loader(folder, StubRecipe(), 2, shuffle=False, decoder=decoder)
    with pytest.raises(am.DecodeError, match=r"dog.7\.jpg: "):
        list(loader)
    assert len(seen) == 3  # samples 0..5: all that came before
    assert not reader_threads()
    bad.write_bytes(encoded(picture(*SIZES[7], 7)))
    assert ids(loader) == list(range(10))  # and the loader still works


@pytest.mark.parametrize("decoder", DECODERS)
def test_corrupt_files_are_skipped_counted_and_logged(folder, seen, decoder, caplog):
    (folder / "cat" / "1.jpg").write_bytes(HARMS["garbage"](b""))
    (folder / "dog" / "5.jpg").write_bytes(b"")
    for name in ("6", "7"):  # a whole batch
        (folder / "dog" / f"{name}.jpg").write_bytes(HARMS["garbage"](b""))
    loader = am.Loader(folder, StubRecipe(), 2, shuffle=False, decoder=decoder, on_error="skip")
    for _ in range(2):
        seen.clear(), caplog.clear()
        with caplog.at_level(logging.WARNING, "anamorph"):
            batches = list(loader)
        assert [index.tolist() for index, _ in batches] == [[0], [2, 3], [4], [8, 9]]
        assert torch.cat([labels for _, labels in batches]).tolist() == [0, 0, 0, 0, 1, 1]
        assert [tuple(i.shape[:2]) for call in seen for i in call.images] == [SIZES[i] for i in (0, 2, 3, 4, 8, 9)]
        names = sorted(str(error).split(": ")[0][-9:] for error in loader.skipped)
        assert names == ["cat/1.jpg", "dog/5.jpg", "dog/6.jpg", "dog/7.jpg"]
        assert sorted(r.getMessage() for r in caplog.records) == sorted(f"skipped {e}" for e in loader.skipped)
        assert loader.stats.images == 6 and loader.stats.batches == 4


@pytest.mark.parametrize("decoder", DECODERS)
def test_nothing_readable_is_an_error_even_when_skipping(folder, seen, decoder):
    for path in folder.glob("*/*.jpg"):
        path.write_bytes(b"no image")
    with pytest.raises(am.DecodeError, match="all 10 samples were unreadable; the first: "):
        list(am.Loader(folder, StubRecipe(), 4, decoder=decoder, on_error="skip"))


@pytest.mark.parametrize("decoder", DECODERS)
def test_bad_headers_in_a_large_batch_do_not_end_the_process(tmp_path, seen, decoder):
    # DALI parses more than a few images in parallel, and crashes when one of the last has a bad header.
    (tmp_path / "a").mkdir()
    for i in range(120):
        data = b"no header" * 50 if i % 40 == 39 else encoded(picture(16, 16, i), "PNG")
        (tmp_path / "a" / f"{i:03d}.png").write_bytes(data)
    for _ in range(5):
        loader = am.Loader(tmp_path, StubRecipe(), 120, shuffle=False, decoder=decoder, on_error="skip", num_threads=2)
        assert len(ids(loader)) == 117 and len(loader.skipped) == 3


def test_file_that_vanished(folder, seen):
    loader = am.Loader(folder, StubRecipe(), 2, decoder="pillow")
    (folder / "cat" / "3.jpg").unlink()
    with pytest.raises(am.DecodeError, match=r"3\.jpg: cannot be read \(No such file"):
        list(loader)


def test_thumbnail_does_not_hide_a_truncated_jpeg():
    from anamorph.data.formats import check

    thumbnail, body = encoded(picture(4, 4)), encoded(picture(32, 32))
    whole = body[:2] + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + body[2:]
    check(np.frombuffer(whole, np.uint8), "whole")
    check(np.frombuffer(whole + b"padding", np.uint8), "with trailing bytes")
    with pytest.raises(am.DecodeError, match="cut: truncated JPEG"):
        check(np.frombuffer(whole[:-40], np.uint8), "cut")


@pytest.mark.parametrize("options", [dict(), dict(progressive=True), dict(restart_marker_blocks=3)])
def test_what_follows_a_jpeg_does_not_make_it_truncated(options):
    from anamorph.data.formats import check

    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG", **options)
    film = b"ftypmp42\xff\xda\x00\x11\xff\xd9\xff\xda" + bytes(1000)
    check(np.frombuffer(buffer.getvalue() + film, np.uint8), "film")
    for cut in range(2, len(buffer.getvalue()) - 1, 97):
        with pytest.raises(am.DecodeError, match="cut: truncated JPEG"):
            check(np.frombuffer(buffer.getvalue()[:cut], np.uint8), "cut")


def test_a_damaged_tar_header_is_not_the_end_of_the_archive(tmp_path):
    tar = write_tar(tmp_path / "a.tar", [(f"{i}.jpg", b"x" * 100) for i in range(4)])
    whole = tar.read_bytes()

    def length(data):
        tar.write_bytes(data)
        return len(am.Loader(tar, StubRecipe(), 1, decoder="pillow"))

    for harm in (b"\x55" * 512, bytes(512), whole[2048:2100] + b"?" + whole[2101:2560]):
        with pytest.raises(am.DecodeError, match=r"a\.tar: damaged header at byte 2048"):
            length(whole[:2048] + harm + whole[2560:])
    with pytest.raises(am.DecodeError, match="damaged header at byte 2048"):
        length(whole[:2100])
    assert length(whole) == 4 and length(whole[:4096]) == 4 and length(whole[:2048]) == 2


def test_truncated_tar_names_the_member(tmp_path, seen):
    data = encoded(picture(64, 64))
    tar = write_tar(tmp_path / "a.tar", [("x.jpg", data), ("y.jpg", data)])
    loader = am.Loader(tar, StubRecipe(), 1, shuffle=False, decoder="pillow")
    tar.write_bytes(tar.read_bytes()[: 512 + len(data) // 512 * 512 + 512 + 700])
    with pytest.raises(am.DecodeError, match=r"a\.tar:y\.jpg: the archive ends"):
        list(loader)


def test_skipped_errors_do_not_keep_the_files(folder, seen):
    (folder / "cat" / "1.jpg").write_bytes(b"garbage" * 20)
    loader = am.Loader(folder, StubRecipe(), 2, decoder="pillow", on_error="skip")
    list(loader)
    (error,) = loader.skipped
    assert error.__traceback__ is None and error.__cause__ is None and error.__context__ is None


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_picture_too_large_for_the_engine_is_named_and_skipped(folder, seen, decoder):
    (folder / "cat" / "1.jpg").write_bytes(encoded(np.zeros((1, 32769), np.uint8), "PNG"))
    arguments = dict(shuffle=False, decoder=decoder)
    with pytest.raises(am.DecodeError, match=r"1\.jpg: expected sides of at most 32768, given 1 x 32769 pixels"):
        list(am.Loader(folder, StubRecipe(), 2, **arguments))
    assert len(ids(am.Loader(folder, StubRecipe(), 2, on_error="skip", **arguments))) == 9


def test_sixteen_bits_are_scaled_and_more_refused():
    from anamorph.data.decode import decoded

    gray = np.arange(0, 60, 5, dtype=np.uint8).reshape(3, 4) * 4
    for form in ("PPM", "PNG", "TIFF"):
        data = np.frombuffer(encoded(gray.astype(np.uint16) * 257, form), np.uint8)
        for channels in (1, 3):
            expected = np.repeat(gray[:, :, None], channels, axis=2)
            np.testing.assert_array_equal(decoded(data, "x", channels).numpy(), expected)
    for dtype in (np.int32, np.float32):
        with pytest.raises(am.DecodeError, match=r"x: expected TIFF samples .* 8 or 16 bits, given 32-bit"):
            decoded(np.frombuffer(encoded(gray.astype(dtype), "TIFF"), np.uint8), "x")


def test_dataset_errors_name_the_item(seen):
    dataset = Items([(picture(4, 4), 0), ValueError("cosmic ray"), (picture(4, 4), 2)])
    with pytest.raises(am.DecodeError, match="item 1 of Items: ValueError: cosmic ray"):
        list(am.Loader(dataset, StubRecipe(), 1))
    loader = am.Loader(dataset, StubRecipe(), 3, shuffle=False, on_error="skip")
    assert ids(loader) == [0, 2] and len(loader.skipped) == 1


@pytest.mark.parametrize(
    "item, error, message",
    [
        ((), am.ArgumentError, r"source: expected items \(image, label\) or the image, given a tuple of 0 as item 0 of Items"),
        ((picture(4, 4),), am.ArgumentError, "given a tuple of 1 as item 0 of Items"),
        ((picture(4, 4), 0, 0), am.ArgumentError, "given a tuple of 3 as item 0 of Items"),
        ((picture(4, 4), float("inf")), am.DtypeError, "label of item 0 of Items: expected a class id, .* given inf"),
        ((picture(4, 4), 10**20), am.DtypeError, "label of item 0 of Items: expected .*, given 1000"),
    ],
)
def test_bad_dataset_items_are_named(seen, item, error, message):
    with pytest.raises(error, match=message):
        list(am.Loader(Items([item]), StubRecipe(), 1))


@pytest.mark.parametrize("labels, message", [((0, None), "given no label for item 1 of Items and a class id for item 0"),
                                             ((0, [.5, .5]), "given a vector of 2 for item 1 of Items and a class id for item 0"),
                                             (([.5], [.5, .5]), "given a vector of 2 for item 1 of Items and a vector of 1 for"),
                                             ((None, 0), "given a class id for item 1 of Items and no label for item 0")])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_labels_for_all_or_none_in_the_whole_pass(seen, labels, message, batch_size):
    dataset = Items([(picture(4, 4), label) for label in labels])
    with pytest.raises(am.ArgumentError, match=message):
        list(am.Loader(dataset, StubRecipe(), batch_size, shuffle=False))


# ---------------------------------------------------------------- threads


@pytest.mark.parametrize("decoder", DECODERS)
def test_leaving_early_stops_the_threads(folder, seen, decoder):
    loader = am.Loader(folder, StubRecipe(), 1, decoder=decoder, prefetch=1, num_threads=2)
    for _ in range(3):
        for number, _batch in enumerate(loader):
            if number == 2:
                break
        gc.collect()
        assert not reader_threads()
    assert sorted(ids(loader)) == list(range(10))


@pytest.mark.parametrize("decoder", DECODERS)
def test_two_passes_at_once(folder, seen, decoder):
    loader = am.Loader(folder, StubRecipe(), 2, decoder=decoder)
    loader.set_epoch(0)
    pairs = [(a[0].tolist(), b[0].tolist()) for a, b in zip(loader, loader)]
    assert len(pairs) == 5 and all(a == b for a, b in pairs)


GARBAGE = """
    import gc, threading, time
    import numpy as np, torch
    import anamorph as am

    go = threading.Event()

    class Collecting(torch.utils.data.Dataset):  # any allocation may do what this one does
        def __len__(self):
            return 1000

        def __getitem__(self, index):
            if go.is_set():
                gc.collect()
            return np.zeros((9, 8, 3), np.uint8)

    def half():
        iterator = iter(am.Loader(Collecting(), am.Recipe([am.RandomResizedCrop(8)]), 8, num_threads=2, prefetch=50))
        next(iterator)
        cycle = [iterator]
        cycle.append(cycle)
        go.set()

    gc.disable()
    half()
    deadline = time.monotonic() + 10
    while any(thread.name == "anamorph-reader" for thread in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    print([thread.name for thread in threading.enumerate() if thread.name == "anamorph-reader"])
"""


def start(program):
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def test_the_garbage_collector_may_run_in_a_reader():
    with start(GARBAGE) as process:
        try:
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert out == "[]\n" and process.returncode == 0, err


def test_closing_waits_for_nothing():
    entered, go = threading.Event(), threading.Event()

    def items():
        entered.set()
        go.wait(10)
        yield 1

    reader = Background(items(), 1)
    entered.wait(10)
    began = time.monotonic()
    reader.close()
    assert time.monotonic() - began < 5 and list(reader) == []
    go.set()
    assert not reader_threads()


def test_exit_in_the_middle_of_a_pass_ends_the_readers():
    program = """
        import atexit, threading
        # handlers run last in, first out: this one comes after the loader's
        atexit.register(lambda: print([t.name for t in threading.enumerate() if t.name.startswith("anamorph-r")]))
        import numpy as np, time, torch
        import anamorph as am

        class Slow(torch.utils.data.Dataset):
            def __len__(self):
                return 1000

            def __getitem__(self, index):
                time.sleep(0.001)
                return np.zeros((9, 8, 3), np.uint8)

        iterator = iter(am.Loader(Slow(), am.Recipe([am.RandomResizedCrop(8)]), 8, prefetch=100))
        next(iterator)
    """
    process = start(program)
    out, err = process.communicate(timeout=60)
    assert out == "[]\n" and process.returncode == 0, err


def test_two_passes_take_turns_with_a_dataset(seen):
    class Alone(Items):
        inside = 0

        def __getitem__(self, index):
            assert self.inside == 0
            self.inside += 1
            time.sleep(0.002)
            self.inside -= 1
            return super().__getitem__(index)

    loader = am.Loader(Alone([picture(4, 4)] * 20), StubRecipe(), 4, prefetch=5)
    assert sum(1 for _ in zip(loader, loader)) == 5


def test_reading_ahead_is_bounded(seen):
    class Counting(Items):
        taken = 0

        def __getitem__(self, index):
            self.taken += 1
            return super().__getitem__(index)

    dataset = Counting([picture(4, 4)] * 50)
    iterator = iter(am.Loader(dataset, StubRecipe(), 2, prefetch=3))
    next(iterator)
    time.sleep(0.2)
    assert 2 < dataset.taken <= 2 * (1 + 3 + 1)  # one used, three waiting, one in the reader's hands


def test_an_error_in_the_reader_reaches_the_training_thread(seen):
    # not a DecodeError: a mistake in the data set is never skipped
    dataset = Items([(picture(4, 4).astype(np.float32), 0)])
    with pytest.raises(am.DtypeError, match="given float32 as the image of item 0 of Items"):
        list(am.Loader(dataset, StubRecipe(), 1, on_error="skip"))


@needs_dali
def test_prefetched_pixels_are_not_overwritten(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    for i in range(12):
        (tmp_path / "a" / f"{i:02d}.png").write_bytes(encoded(np.full((16, 16, 3), i, np.uint8), "PNG"))
    kept = []
    monkeypatch.setattr(family_module, "render", lambda images, plan, targets, layout: (kept.extend(images.tensors), targets))
    list(am.Loader(tmp_path, StubRecipe(), 2, shuffle=False, decoder="dali"))
    assert [set(image.flatten().tolist()) for image in kept] == [{i} for i in range(12)]


@needs_dali
def test_the_interpreter_ends_cleanly_in_the_middle_of_a_pass(folder):
    program = f"""
        from anamorph import Loader, Recipe, Resize
        passes = []
        for decoder in ("dali", "pillow"):
            passes.append(iter(Loader({str(folder)!r}, Recipe([Resize((8, 8))]), 1, prefetch=1, decoder=decoder)))
            next(passes[-1])
        print("leaving")
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60)
    assert run.stdout == "leaving\n" and run.returncode == 0, run.stderr


def test_waiting_is_measured(seen):
    class Slow(Items):
        def __getitem__(self, index):
            time.sleep(0.02)
            return super().__getitem__(index)

    loader = am.Loader(Slow([picture(4, 4)] * 6), StubRecipe(), 2)
    list(loader)
    assert 0.06 < loader.wait_time < 2
    assert (loader.stats.epoch, loader.stats.batches, loader.stats.images) == (0, 3, 6)


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        (dict(batch_size=0), am.ArgumentError, "batch_size: expected .* from 1 to 2147483647, given 0"),
        (dict(batch_size=2.0), am.ArgumentError, "batch_size: expected a whole number .*, given 2.0"),
        (dict(batch_size=2**40), am.ArgumentError, "batch_size: expected .* to 2147483647, given 1099511627776"),
        (dict(epoch=2**32), am.ArgumentError, "epoch: expected .* to 4294967295, given 4294967296"),
        (dict(channels=np.array([1, 3])), am.ArgumentError, r"channels: expected 1 or 3, given array\(\[1, 3\]\)"),
        (dict(prefetch=2**70), am.ArgumentError, "prefetch: expected a whole number from 1 to 1024, given 11805"),
        (dict(channels=True), am.ArgumentError, "channels: expected .*, given True"),
        (dict(channels=0), am.ArgumentError, "channels: expected 1 or 3, given 0"),
        (dict(channels=3.0), am.ArgumentError, "channels: expected .*, given 3.0"),
        (dict(shuffle="no"), am.ArgumentError, "shuffle: expected True or False, given 'no'"),
        (dict(drop_last=None), am.ArgumentError, "drop_last: expected True or False, given None"),
        (dict(source=(np.zeros((2, 4, 4, 3), np.uint8), [[1], [1, 2]])), am.ShapeError, "lists of no one shape"),
        (dict(source=(np.zeros((1, 4, 4, 3), np.uint8), np.array([2**63], np.uint64))), am.ArgumentError, "below 2..63"),
        (dict(seed=-1), am.ArgumentError, "seed: expected .*, given -1"),
        (dict(epoch="3"), am.ArgumentError, "epoch: expected .*, given '3'"),
        (dict(prefetch=0), am.ArgumentError, "prefetch: expected .*, given 0"),
        (dict(num_threads=0), am.ArgumentError, "num_threads: expected .*, given 0"),
        (dict(shard=(2, 2)), am.ArgumentError, r"shard\[0\]: expected .* from 0 to 1, given 2"),
        (dict(shard=3), am.ArgumentError, r"shard: expected \(rank, world\), given 3"),
        (dict(decoder="jpeg"), am.ArgumentError, "decoder: expected one of 'auto', .*, given 'jpeg'"),
        (dict(on_error="ignore"), am.ArgumentError, "on_error: expected .*, given 'ignore'"),
        (dict(channels=4), am.ArgumentError, "channels: expected 1 or 3, given 4"),
        (dict(device="tpu"), am.ArgumentError, "device: expected .*, given 'tpu'"),
        (dict(device="mps"), am.ArgumentError, "device: expected .*, given 'mps'"),
        (dict(recipe=None), am.ArgumentError, "recipe: expected .*, given NoneType"),
        (dict(source=3), am.ArgumentError, "source: expected an image folder, .* given int"),
        (dict(source="/no/such"), am.ArgumentError, "source: expected a folder .*, given '/no/such', which does not exist"),
        (dict(source="/no/*.tar"), am.ArgumentError, "source: expected a pattern .*, given '/no/.*', which nothing matches"),
        (dict(source=np.zeros((0, 4, 4, 3), np.uint8)), am.ArgumentError, "source: expected at least one sample, given none"),
        (dict(source=np.zeros((2, 4, 4, 3))), am.DtypeError, "source: expected uint8 .*, given dtype float64"),
        (dict(source=torch.zeros(2, 4, 4, 3)), am.DtypeError, "source: expected .*, given dtype torch.float32"),
        (dict(source=np.zeros((2, 4), np.uint8)), am.ShapeError, r"expected uint8 images \[N.*, given shape \[2, 4\]"),
        (dict(source=np.zeros((2, 3, 0, 9), np.uint8)), am.ShapeError, r"with pixels, given shape \[2, 3, 0, 9\]"),
        (dict(source=(np.zeros((2, 4, 4, 3), np.uint8), [1])), am.ShapeError, r"expected class ids \[2\] .* shape \[1\]"),
        (dict(source=(np.zeros((1, 4, 4, 3), np.uint8), [0.5])), am.DtypeError, "expected integer class ids .* given float64"),
    ],
)
def test_bad_arguments_are_named(array, arguments, error, message):
    with pytest.raises(error, match=message):
        am.Loader(**(dict(source=array, recipe=StubRecipe(), batch_size=2) | arguments))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_missing_gpu_is_named(array):
    with pytest.raises(am.DeviceError, match=r"device: expected 'cpu', .*, given 'cuda'"):
        am.Loader(array, StubRecipe(), 2, device="cuda")
    with pytest.raises(am.DeviceError, match=r"device: expected 'cpu', .*, given 0"):
        am.Loader(array, StubRecipe(), 2, device=0)


def test_bad_folders_and_archives_are_named(tmp_path):
    def load(source):
        am.Loader(source, StubRecipe(), 2, decoder="pillow")

    with pytest.raises(am.ArgumentError, match=r"expected an image folder .* has no subfolders"):
        load(tmp_path)
    (tmp_path / "cat").mkdir()
    with pytest.raises(am.ArgumentError, match=r"in every class folder, given .*cat', which holds no image \(allow_empty=True"):
        load(tmp_path)
    (tmp_path / "a.tar").write_bytes(b"x" * 2000)
    with pytest.raises(am.DecodeError, match=r"a\.tar: not a readable, uncompressed tar"):
        load(tmp_path / "a.tar")
    with pytest.raises(am.ArgumentError, match=r"label of .*b\.tar:x\.cls: expected a class id, given b'cat'"):
        load(write_tar(tmp_path / "b.tar", [("x.jpg", b""), ("x.cls", b"cat")]))
    with pytest.raises(am.ArgumentError, match=r"expected a class id, given b'9{30}'"):
        load(write_tar(tmp_path / "b.tar", [("x.jpg", b""), ("x.cls", b"9" * 30)]))
    (tmp_path / "x.jpg").write_bytes(b"")
    with pytest.raises(am.ArgumentError, match=r"expected a folder .*x\.jpg', which is an image"):
        load(tmp_path / "x.jpg")
    with pytest.raises(am.ArgumentError, match=r"given no label for .*b\.tar:y\.jpg and a class id for .*b\.tar:x\.jpg"):
        load(write_tar(tmp_path / "b.tar", [("x.jpg", b""), ("x.cls", b"1"), ("y.jpg", b"")]))
    with pytest.raises(am.ArgumentError, match=r"expected members ending in \.jpg, .*, given none in .*b\.tar"):
        load(write_tar(tmp_path / "b.tar", [("x.txt", b"")]))


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(())


def test_iterable_datasets_are_refused():
    with pytest.raises(am.ArgumentError, match=r"expected a map-style dataset, .*, given the IterableDataset Stream"):
        am.Loader(Stream(), StubRecipe(), 2)


@pytest.mark.parametrize("decoder", ["auto", "dali"])
def test_missing_dali_says_what_to_install(folder, monkeypatch, decoder):
    monkeypatch.setitem(sys.modules, "nvidia.nvimgcodec", None)  # makes the import fail
    with pytest.raises(am.MissingDependencyError, match=r"'anamorph\[dali\]', or pass decoder='pillow'"):
        am.Loader(folder, StubRecipe(), 2, decoder=decoder)
    am.Loader(folder, StubRecipe(), 2, decoder="pillow")


def test_missing_pillow_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(am.MissingDependencyError, match=r"^decoder='pillow' needs an extra: .*'anamorph\[pillow\]' \("):
        am.Loader(folder, StubRecipe(), 2, decoder="pillow")


# ---------------------------------------------------------------- with the engine and in frameworks


def test_batches_are_what_render_makes_of_the_plan(folder):
    recipe = am.Recipe([am.RandomResizedCrop(16), am.RandomHorizontalFlip()], num_classes=2)
    loader = am.Loader(folder, recipe, 4, seed=9, epoch=3, decoder="pillow", shuffle=False)
    paths = sorted(folder.glob("*/*"))
    for number, (images, targets) in enumerate(loader):
        index = list(range(number * 4, min(number * 4 + 4, 10)))
        source = [torch.from_numpy(np.array(Image.open(paths[i]))) for i in index]
        plan = recipe.plan(index, seed=9, epoch=3, size=torch.tensor([SIZES[i] for i in index]))
        expected, labels = am.render(source, plan, targets=torch.tensor([i // 5 for i in index]))
        torch.testing.assert_close(images, expected, rtol=0, atol=0)
        torch.testing.assert_close(targets, labels)
        assert images.shape == (len(index), 3, 16, 16) and images.dtype == torch.float32


@pytest.mark.parametrize("side", [1, 3])
def test_pictures_whose_shape_fits_both_layouts(side):
    recipe = am.Recipe([am.Resize(side)], dtype=torch.uint8)
    pixels = np.random.default_rng(0).integers(0, 255, (3, side, side, 3), dtype=np.uint8)
    (views,) = am.Loader(pixels, recipe, 3, shuffle=False)
    np.testing.assert_array_equal(views.permute(0, 2, 3, 1).numpy(), pixels)


def test_torchs_default_device_changes_nothing(folder):
    recipe = am.Recipe([am.Resize((8, 8))], num_classes=2)
    expected = list(am.Loader(folder, recipe, 4, decoder="pillow"))
    before = torch.get_default_device()
    torch.set_default_device("meta")
    try:
        views = list(am.Loader(folder, recipe, 4, decoder="pillow"))
    finally:
        torch.set_default_device(before if before.type != "cpu" else None)
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(views, expected, strict=True))


@needs_dali
def test_both_decoders_give_the_same_views(folder):
    recipe = am.Recipe([am.RandomResizedCrop(16)], num_classes=2)
    views = [list(am.Loader(folder, recipe, 4, seed=2, decoder=decoder)) for decoder in ("dali", "pillow")]
    for (a, target_a), (b, target_b) in zip(*views):
        torch.testing.assert_close(a, b, rtol=0, atol=2 / 255)
        assert torch.equal(target_a, target_b)


def test_a_view_does_not_depend_on_batch_size_or_rank(array):
    recipe = am.Recipe([am.RandomResizedCrop(4)], num_classes=10)

    def views(**arguments):
        loader = am.Loader((array, np.arange(10)), recipe, seed=1, **arguments)
        return {int(target.argmax()): image for images, targets in loader for image, target in zip(images, targets)}

    whole = views(batch_size=10)
    parts = views(batch_size=3, shard=(0, 2)) | views(batch_size=2, shard=(1, 2))
    assert whole.keys() == parts.keys()
    for label, image in whole.items():
        assert torch.equal(image, parts[label])
