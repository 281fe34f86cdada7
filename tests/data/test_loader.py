"""The Loader: what it yields, in which order, and what it does when a file is bad.

Most tests look at what reaches the engine, so they put a recorder in the place of ``render``; those
at the end run the real one.
"""

import gc
import io
import logging
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import anamorph as am
import anamorph.data.loader as loader_module
from anamorph.data.order import Order
from anamorph.data.sources import expand

Image = pytest.importorskip("PIL.Image")

try:
    import nvidia.dali as dali
except ImportError:
    dali = None

needs_dali = pytest.mark.skipif(dali is None, reason="NVIDIA DALI is not installed")
DECODERS = [pytest.param("dali", marks=needs_dali), "pillow"]


class StubRecipe:
    """A recipe whose plan is what it was asked for."""

    def plan(self, index, *, seed, epoch, size, device):
        return SimpleNamespace(index=index, seed=seed, epoch=epoch, size=size, device=device)


@pytest.fixture
def seen(monkeypatch):
    """Replaces render: batches come out as (ids, labels), and all that went in is kept, pixels copied."""
    calls = []

    def render(images, plan, targets=None):
        pixels = [image.clone() for image in images]
        calls.append(SimpleNamespace(images=pixels, given=type(images), plan=plan, targets=targets))
        return plan.index if targets is None else (plan.index, targets)

    monkeypatch.setattr(loader_module, "render", render)
    return calls


def picture(height, width, seed=0):
    """A smooth random image, uint8 [H, W, 3]: JPEG keeps it nearly as it is."""
    small = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def encoded(array, format="JPEG"):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format)
    return buffer.getvalue()


SIZES = [(20 + 3 * i, 48 - 2 * i) for i in range(10)]  # of the files in `folder`, by sample id


@pytest.fixture
def folder(tmp_path):
    """Two classes of five images of different sizes; ids follow the sorted paths."""
    for index, (height, width) in enumerate(SIZES):
        path = tmp_path / "images" / ("cat", "dog")[index // 5] / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(picture(height, width, index)))
    return tmp_path / "images"


@pytest.fixture
def array():
    return np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((1, 6, 8, 3), dtype=np.uint8)


def write_tar(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def ids(loader):
    return [int(i) for batch in loader for i in (batch[0] if isinstance(batch, (tuple, list)) else batch)]


def reader_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("anamorph")]


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
    assert seen[0].plan.size == (9, 7) and seen[0].given is torch.Tensor


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


class Items(torch.utils.data.Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        item = self.items[index]
        if isinstance(item, Exception):
            raise item
        return item


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
    dataset = Items([picture(5, 7), picture(6, 4), picture(5, 5)[:, :, 0]])
    assert ids(am.Loader(dataset, StubRecipe(), 3, shuffle=False, num_threads=2)) == [0, 1, 2]
    assert seen[0].plan.size.tolist() == [[5, 7], [6, 4], [5, 5]]
    assert seen[0].images[2].shape == (5, 5, 1)


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
    with pytest.raises(am.ArgumentError, match="batch_size: 3 given; expected 2"):
        am.Loader(pipeline(), StubRecipe(), 3)


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
    with pytest.raises(am.ArgumentError, match="seed 4; this loader has 5"):
        am.Loader(array, StubRecipe(), 2, seed=5).load_state_dict(state)


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
    from anamorph.data.decode import check_complete

    thumbnail, body = encoded(picture(4, 4)), encoded(picture(32, 32))
    whole = body[:2] + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + body[2:]
    check_complete(np.frombuffer(whole, np.uint8), "whole")
    check_complete(np.frombuffer(whole + b"padding", np.uint8), "with trailing bytes")
    with pytest.raises(am.DecodeError, match="cut: truncated JPEG"):
        check_complete(np.frombuffer(whole[:-40], np.uint8), "cut")


def test_truncated_tar_names_the_member(tmp_path, seen):
    data = encoded(picture(64, 64))
    tar = write_tar(tmp_path / "a.tar", [("x.jpg", data), ("y.jpg", data)])
    loader = am.Loader(tar, StubRecipe(), 1, shuffle=False, decoder="pillow")
    tar.write_bytes(tar.read_bytes()[: 512 + len(data) // 512 * 512 + 512 + 700])
    with pytest.raises(am.DecodeError, match=r"a\.tar:y\.jpg: the archive ends"):
        list(loader)


def test_dataset_errors_name_the_item(seen):
    dataset = Items([(picture(4, 4), 0), ValueError("cosmic ray"), (picture(4, 4), 2)])
    with pytest.raises(am.DecodeError, match="item 1 of Items: ValueError: cosmic ray"):
        list(am.Loader(dataset, StubRecipe(), 1))
    loader = am.Loader(dataset, StubRecipe(), 3, shuffle=False, on_error="skip")
    assert ids(loader) == [0, 2] and len(loader.skipped) == 1


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
    with pytest.raises(am.DtypeError, match="item 0 of Items has an image of dtype float32"):
        list(am.Loader(dataset, StubRecipe(), 1, on_error="skip"))


@needs_dali
def test_prefetched_pixels_are_not_overwritten(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    for i in range(12):
        (tmp_path / "a" / f"{i:02d}.png").write_bytes(encoded(np.full((16, 16, 3), i, np.uint8), "PNG"))
    kept = []
    monkeypatch.setattr(loader_module, "render", lambda images, plan, targets: kept.extend(images))
    list(am.Loader(tmp_path, StubRecipe(), 2, shuffle=False, decoder="dali"))
    assert [set(image.flatten().tolist()) for image in kept] == [{i} for i in range(12)]


@needs_dali
def test_the_interpreter_ends_cleanly_in_the_middle_of_a_pass(folder):
    program = f"""
        import anamorph.data.loader as module
        from anamorph import Loader
        module.render = lambda images, plan, targets: images
        class Recipe:
            def plan(self, *args, **kwargs): pass
        passes = []
        for decoder in ("dali", "pillow"):
            passes.append(iter(Loader({str(folder)!r}, Recipe(), 1, prefetch=1, decoder=decoder)))
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
        (dict(batch_size=0), am.ArgumentError, "batch_size: 0 given; expected at least 1"),
        (dict(batch_size=2.0), am.ArgumentError, "batch_size: 2.0 given; expected an integer"),
        (dict(seed=-1), am.ArgumentError, "seed: -1 given"),
        (dict(epoch="3"), am.ArgumentError, "epoch: '3' given"),
        (dict(prefetch=0), am.ArgumentError, "prefetch: 0 given"),
        (dict(num_threads=0), am.ArgumentError, "num_threads: 0 given"),
        (dict(shard=(2, 2)), am.ArgumentError, r"shard\[0\]: 2 given; expected at least 0, at most 1"),
        (dict(shard=3), am.ArgumentError, r"shard: 3 given; expected \(rank, world\)"),
        (dict(decoder="jpeg"), am.ArgumentError, "decoder: 'jpeg' given; expected one of 'auto'"),
        (dict(on_error="ignore"), am.ArgumentError, "on_error: 'ignore' given"),
        (dict(channels=4), am.ArgumentError, "channels: 4 given; expected one of 1, 3"),
        (dict(device="tpu"), am.ArgumentError, "device: 'tpu' given"),
        (dict(device="mps"), am.ArgumentError, "device: 'mps' given"),
        (dict(recipe=None), am.ArgumentError, "recipe: NoneType given"),
        (dict(source=3), am.ArgumentError, "source: int given; expected an image folder"),
        (dict(source="/no/such"), am.ArgumentError, "source: there is no folder or file '/no/such'"),
        (dict(source="/no/*.tar"), am.ArgumentError, "source: nothing matches"),
        (dict(source=np.zeros((0, 4, 4, 3), np.uint8)), am.ArgumentError, "source: it holds no samples"),
        (dict(source=np.zeros((2, 4, 4, 3))), am.DtypeError, "source: images of dtype float64 given; expected uint8"),
        (dict(source=torch.zeros(2, 4, 4, 3)), am.DtypeError, "source: images of dtype torch.float32 given"),
        (dict(source=np.zeros((2, 4, 4), np.uint8)), am.ShapeError, r"shape \(2, 4, 4\) given; expected uint8 \[N"),
        (dict(source=np.zeros((2, 3, 9, 9), np.uint8)), am.ShapeError, r"look like \[N, C, H, W\]"),
        (dict(source=(np.zeros((2, 4, 4, 3), np.uint8), [1])), am.ShapeError, r"labels of shape \(1,\) given for 2"),
        (dict(source=(np.zeros((1, 4, 4, 3), np.uint8), [0.5])), am.DtypeError, "labels of dtype float64"),
    ],
)
def test_bad_arguments_are_named(array, arguments, error, message):
    with pytest.raises(error, match=message):
        am.Loader(**(dict(source=array, recipe=StubRecipe(), batch_size=2) | arguments))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_missing_gpu_is_named(array):
    with pytest.raises(am.DeviceError, match="device: 'cuda' given, but torch finds no usable GPU"):
        am.Loader(array, StubRecipe(), 2, device="cuda")


def test_bad_folders_and_archives_are_named(tmp_path):
    def load(source):
        am.Loader(source, StubRecipe(), 2, decoder="pillow")

    with pytest.raises(am.ArgumentError, match="no subfolders; expected an image folder"):
        load(tmp_path)
    (tmp_path / "cat").mkdir()
    with pytest.raises(am.ArgumentError, match=r"class folder .*cat' holds no image"):
        load(tmp_path)
    (tmp_path / "a.tar").write_bytes(b"x" * 2000)
    with pytest.raises(am.DecodeError, match=r"a\.tar: not a readable, uncompressed tar"):
        load(tmp_path / "a.tar")
    with pytest.raises(am.ArgumentError, match=r"holds b'cat'; expected a class number"):
        load(write_tar(tmp_path / "b.tar", [("x.jpg", b""), ("x.cls", b"cat")]))
    with pytest.raises(am.ArgumentError, match=r"b\.tar:y\.jpg has no \.cls member"):
        load(write_tar(tmp_path / "b.tar", [("x.jpg", b""), ("x.cls", b"1"), ("y.jpg", b"")]))
    with pytest.raises(am.ArgumentError, match=r"no \.jpg, \.jpeg or \.png member"):
        load(write_tar(tmp_path / "b.tar", [("x.txt", b"")]))


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(())


def test_iterable_datasets_are_refused():
    with pytest.raises(am.ArgumentError, match="Stream is an IterableDataset; expected a map-style"):
        am.Loader(Stream(), StubRecipe(), 2)


@pytest.mark.parametrize("decoder", ["auto", "dali"])
def test_missing_dali_says_what_to_install(folder, monkeypatch, decoder):
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)  # makes the import fail
    with pytest.raises(am.MissingDependencyError, match=r"pip install anamorph\[dali\].*decoder='pillow'"):
        am.Loader(folder, StubRecipe(), 2, decoder=decoder)
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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("decoder", DECODERS)
def test_the_gpu_makes_the_views_of_the_cpu(folder, decoder):
    recipe = am.Recipe([am.RandomResizedCrop(16), am.RandomHorizontalFlip()], num_classes=2)
    host = list(am.Loader(folder, recipe, 3, decoder=decoder))
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        device = [(x.clone(), y.clone()) for x, y in am.Loader(folder, recipe, 3, decoder=decoder, device="cuda")]
    stream.synchronize()
    for (images, targets), (expected, labels) in zip(device, host, strict=True):
        assert images.is_cuda and targets.is_cuda
        # nvJPEG and libjpeg interpolate chroma differently; a smooth picture keeps them close
        assert (images.cpu() - expected).abs().mean() < 4 / 255
        torch.testing.assert_close(targets.cpu(), labels)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("where", ["cpu", "cuda"])
def test_arrays_on_the_gpu(array, where):
    recipe = am.Recipe([am.RandomResizedCrop(4)], num_classes=10)
    source = (torch.from_numpy(array), torch.arange(10))
    moved = (source[0].to(where), source[1])
    for (images, targets), (expected, labels) in zip(
        am.Loader(moved, recipe, 4, device="cuda"), am.Loader(source, recipe, 4), strict=True
    ):
        torch.testing.assert_close(images.cpu(), expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(targets.cpu(), labels)


@pytest.mark.slow
def test_lightning_trains_with_the_loader(array, seen):
    try:
        import lightning
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision built for another torch
        pytest.skip(f"Lightning does not import here: {error}")

    class Model(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def training_step(self, batch, _):
            _index, labels = batch
            return (self.weight * labels).float().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    trainer = lightning.Trainer(
        max_epochs=2, limit_train_batches=2, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )
    trainer.fit(Model(), am.Loader((array, np.arange(10)), StubRecipe(), 3))
    # Lightning tells loader.sampler the epoch, so a limited epoch is still followed by the next one.
    assert {call.plan.epoch for call in seen} == {0, 1}


def test_accelerate_leaves_the_loader_as_it_is(array, seen):
    accelerate = pytest.importorskip("accelerate")
    loader = am.Loader((array, np.arange(10)), StubRecipe(), 5)
    accelerator = accelerate.Accelerator(cpu=True)
    model = torch.nn.Linear(1, 1)
    model, prepared = accelerator.prepare(model, loader)
    assert prepared is loader
    for _, labels in prepared:
        accelerator.backward(model(labels[:, None].float()).mean())
    assert model.weight.grad is not None
