"""A loader in a process that was forked: it makes a pass of its own, or says why it cannot, and never hangs."""

import os
import pickle
import select
import signal
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

import anamorph as am
from anamorph.data.dali import DaliDecoder

try:
    import nvidia.dali as dali
except ImportError:
    dali = None

needs_dali = pytest.mark.skipif(dali is None, reason="NVIDIA DALI is not installed")
DECODERS = [pytest.param("dali", marks=needs_dali), "pillow"]
pytestmark = [pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
              pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")]


def in_a_fork(work, seconds=60):
    """What ``work`` returns or raises in a forked process, which is killed when it takes too long."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = pickle.dumps(work())
        except BaseException as error:
            answer = pickle.dumps(error)
        os.write(into, answer)
        os._exit(0)
    os.close(into)
    try:
        assert select.select([out], [], [], seconds)[0], "the forked process hangs"
        with open(out, "rb") as file:
            answer = pickle.load(file)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if isinstance(answer, BaseException):
        raise answer
    return answer


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images" / "a").mkdir(parents=True)
    for i in range(12):
        Image.fromarray(np.full((20 + i, 30, 3), 10 * i, np.uint8)).save(tmp_path / "images" / "a" / f"{i:02d}.jpg")
    return tmp_path / "images"


def loader(folder, decoder, **options):
    recipe = am.Recipe([am.RandomResizedCrop(16)], dtype=torch.uint8, num_classes=2)
    return am.Loader(folder, recipe, 4, decoder=decoder, num_threads=2, **options)


def sums(batches):
    return [int(images.sum()) for images, _ in batches]


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_loader_works_in_a_fork_after_passes_in_its_parent(folder, decoder):
    shared = loader(folder, decoder)
    list(shared)
    there = in_a_fork(lambda: sums(shared))
    assert there == sums(shared)  # the same epoch, so the same batches, and the parent's goes on


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_pass_cannot_be_gone_on_with_in_a_fork_but_another_begun(folder, decoder):
    shared = loader(folder, decoder, prefetch=1)
    batches = iter(shared)
    first = sums([next(batches)])
    with pytest.raises(am.ArgumentError, match="cannot go on in a fork"):
        in_a_fork(lambda: next(batches))

    def another():
        batches.close()
        return sums(loader(folder, decoder))

    assert in_a_fork(another) == first + sums(batches)


class Slow(torch.utils.data.Dataset):
    """A dataset whose items are as slow as it is told to be."""

    def __init__(self):
        self.asked, self.held = False, True

    def __len__(self):
        return 8

    def __getitem__(self, index):
        self.asked = True
        while self.held:
            time.sleep(0.001)
        return np.full((20, 20, 3), 10 * index, np.uint8), 0


def test_a_dataset_that_was_being_read_is_read_in_a_fork():
    items = Slow()
    shared = am.Loader(items, am.Recipe([am.Resize(16)], dtype=torch.uint8, num_classes=2), 4)
    read = threading.Thread(target=list, args=(shared,))
    read.start()
    while not items.asked:
        time.sleep(0.001)

    def there():
        items.held = False
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()  # else the next gets the lost one's identity
        return sums(shared)

    seen = in_a_fork(there)
    items.held = False
    read.join()
    shared.set_epoch(0)
    assert seen == sums(shared)


class Crops(torch.utils.data.Dataset):
    """A dataset that has a loader inside, as those of distilled or generated pictures do."""

    def __init__(self, inner):
        self.inner = inner

    def __len__(self):
        return 2

    def __getitem__(self, index):
        self.inner.set_epoch(index)
        return torch.tensor(sums(self.inner))


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_loader_works_in_a_forked_worker(folder, decoder):
    crops = Crops(loader(folder, decoder))
    here = torch.stack([crops[i] for i in range(2)])
    workers = torch.utils.data.DataLoader(crops, 2, num_workers=1, multiprocessing_context="fork", timeout=60)
    (there,) = workers
    assert torch.equal(there, here)


@needs_dali
def test_a_dali_pipeline_in_a_fork_is_a_named_error(folder):
    pipe = dali.Pipeline(batch_size=4, num_threads=1, device_id=None)
    with pipe:
        data, label = dali.fn.readers.file(file_root=str(folder), name="reader")
        pipe.set_outputs(dali.fn.decoders.image(data), label)
    shared = am.Loader(pipe, am.Recipe([am.RandomResizedCrop(16)], dtype=torch.uint8, num_classes=2), 4)
    before = sums(shared)
    with pytest.raises(am.ArgumentError, match=r"build a DALI pipeline .* there"):
        in_a_fork(lambda: sums(shared))
    assert len(before) == len(sums(shared)) == 3


@needs_dali
def test_a_decoder_for_a_gpu_in_a_fork_is_a_named_error():
    """Its pipeline has threads, and nvJPEG a context; the decoder itself runs here, on a CPU."""
    station = DaliDecoder(4, 3, False, torch.device("cpu"), 2, 1, str)
    assert list(station.decode(iter(()), None)) == []
    with pytest.raises(am.ArgumentError, match="build a DALI pipeline or a loader on a GPU there"):
        in_a_fork(lambda: list(station.decode(iter(()), None)))


@pytest.mark.gpu
@pytest.mark.parametrize("decoder", DECODERS)
def test_a_loader_on_a_gpu_in_a_fork_says_so(folder, decoder):
    shared = loader(folder, decoder, device="cuda")
    list(shared)
    with pytest.raises((am.ArgumentError, RuntimeError), match="fork"):
        in_a_fork(lambda: sums(shared))
    assert len(sums(shared)) == 3
