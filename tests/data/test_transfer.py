"""What a GPU is sent of a batch: by one copy, from pinned memory, beside the training. On a fake one."""

import time

import numpy as np
import pytest
import torch

import anamorph as am
from anamorph.data import family as family_module
from anamorph.data.batch import Batch
from fake_streams import GPU, FakeGpu
from loading import SIZES, Items, picture

RECIPE = am.Recipe([am.RandomResizedCrop(8), am.ColorJitter(0.4), am.MixUp()], num_classes=10)
PICTURES = [picture(h, w, i) for i, (h, w) in enumerate(SIZES)]
ARRAY = np.stack([picture(20, 30, i) for i in range(10)])


@pytest.fixture
def cuda(monkeypatch):
    fake = FakeGpu(monkeypatch)
    render = family_module.render

    def noted(*args, **kwargs):
        fake.note("render", fake.current())
        return render(*args, **kwargs)

    monkeypatch.setattr(family_module, "render", noted)
    return fake


def vectors():
    return np.random.default_rng(0).random((10, 10), dtype=np.float32)


SOURCES = {"array": lambda: (ARRAY, np.arange(10)), "tensor": lambda: (torch.from_numpy(ARRAY), vectors()),
           "pictures": lambda: Items(list(zip(PICTURES, range(10)))), "same size": lambda: Items(list(zip(ARRAY, range(10)))),
           "clips": lambda: Items([([a, a[::-1]], i) for i, a in enumerate(PICTURES)])}


@pytest.mark.parametrize("source", SOURCES)
def test_a_batch_is_one_copy_beside_the_training(cuda, source):
    recipe = am.Recipe(RECIPE.transforms[:2], num_classes=10) if source == "clips" else RECIPE
    expected = list(am.Loader(SOURCES[source](), recipe, 4, with_index=True))
    assert not [entry for entry in cuda.log if entry.what != "render"]
    cuda.log.clear()
    batches = list(am.Loader(SOURCES[source](), recipe, 4, with_index=True, device="cuda"))
    for batch, same in zip(batches, expected, strict=True):
        for there, here in zip(batch, same, strict=True):
            assert there.is_cuda and torch.equal(there.cpu(), here)
    uploads = [entry for entry in cuda.log if entry.what == "upload"]
    assert len(uploads) == len(batches)
    (copies,) = {entry.stream for entry in uploads}
    assert copies is not cuda.default and all(entry.pinned and entry.non_blocking for entry in uploads)
    # On the copies' stream an event after each copy; on the training's a wait for it, and the memory held, before the render.
    assert [entry.what for entry in cuda.log if entry.stream is copies] == ["upload", "event"] * len(batches)
    training = [entry for entry in cuda.log if entry.stream is cuda.default]
    assert [entry.what for entry in training] == ["wait", "held", "render", "event"] * len(batches)  # the lease's event
    assert all(entry.of is copies for entry in training if entry.what == "wait")


@pytest.mark.parametrize("source", ["array", "pictures"])
def test_the_next_copy_does_not_wait_to_be_asked_for(cuda, source):
    def sent():  # of batches with their pixels
        return sum(entry.what == "upload" and entry.bytes > 2000 for entry in cuda.log)

    batches = iter(am.Loader(SOURCES[source](), RECIPE, 2, device="cuda", prefetch=2))
    next(batches)
    deadline = time.monotonic() + 20
    while sent() < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert sent() >= 3
    batches.close()


def test_kept_ids_and_labels_do_not_keep_the_pixels(cuda):
    plain = am.Recipe([am.Resize((8, 8))])
    for _, labels, ids in am.Loader(SOURCES["pictures"](), plain, 5, device="cuda", with_index=True):
        assert ids.is_cuda and labels.is_cuda and torch.equal(ids, labels)
        assert ids.untyped_storage().nbytes() == labels.untyped_storage().nbytes() == 5 * 8


def test_pictures_on_the_device_take_one_copy_for_all_that_goes_with_them(cuda):
    """As nvJPEG leaves them."""
    images = [cuda.put(torch.from_numpy(p.copy())) for p in PICTURES]
    batch = Batch(0, np.arange(10), images, vectors())
    batch.arrive(GPU)
    assert [entry.what for entry in cuda.log] == ["upload", "event", "wait", "held"]
    assert cuda.log[0].pinned and cuda.log[0].bytes == 10 * (8 + 40 + 24)
    table = batch.images._table
    assert table.is_cuda and table[:10].tolist() == [image.data_ptr() for image in images]
    assert batch.images._sizes_there().tolist() == [list(size) for size in SIZES]
    assert batch.ids.is_cuda and batch.ids.tolist() == list(range(10))
    assert batch.labels.is_cuda and torch.equal(batch.labels.cpu(), torch.from_numpy(vectors()))


def test_an_array_on_the_device_takes_one_copy(cuda):
    expected = list(am.Loader((ARRAY, np.arange(10)), RECIPE, 4))
    cuda.log.clear()
    source = cuda.put(torch.from_numpy(ARRAY.copy()))
    batches = list(am.Loader((source, np.arange(10)), RECIPE, 4, device="cuda"))
    assert sum(entry.what == "upload" and entry.bytes < 100 for entry in cuda.log) == len(batches) == 3
    for (views, labels), (same, soft) in zip(batches, expected, strict=True):
        assert torch.equal(views.cpu(), same) and torch.equal(labels.cpu(), soft)


def test_a_pass_left_early_begins_again(cuda):
    loader = am.Loader(SOURCES["pictures"](), RECIPE, 2, device="cuda")
    batches = iter(loader)
    first = next(batches)[0].cpu()
    batches.close()
    assert torch.equal(next(iter(loader))[0].cpu(), first)
