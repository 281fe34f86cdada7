"""What the tests of the Loader share: small sources, and a recipe that only says what it was asked for."""

import io
import tarfile
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import anamorph as am

try:
    import nvidia.dali as dali
except ImportError:
    dali = None

needs_dali = pytest.mark.skipif(dali is None, reason="NVIDIA DALI is not installed")
DECODERS = [pytest.param("dali", marks=needs_dali), "pillow"]
SIZES = [(20 + 3 * i, 48 - 2 * i) for i in range(10)]  # of the files in the fixture `folder`, by sample id


class StubRecipe(am.Recipe):
    """A recipe whose plan is what it was asked for."""

    def __init__(self):
        super().__init__([am.Resize((8, 8))])

    def plan(self, index, *, seed, epoch, size, device, step=0):
        return SimpleNamespace(index=index, seed=seed, epoch=epoch, size=size, device=device)

    def __reduce__(self):
        return StubRecipe, ()


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


def picture(height, width, seed=0):
    """A smooth random image, uint8 [H, W, 3]: JPEG keeps it nearly as it is."""
    small = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def encoded(array, format="JPEG"):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format)
    return buffer.getvalue()


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
    """Those left a moment after a pass: a thread ends by itself, nobody waits for it."""
    deadline = time.monotonic() + 5
    while True:
        alive = [thread for thread in threading.enumerate() if thread.name.startswith("anamorph")]
        if not alive or time.monotonic() > deadline:
            return alive
        time.sleep(0.005)
