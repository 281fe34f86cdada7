"""Encoded bytes to pixels on the host with nvImageCodec, the codecs of NVIDIA DALI. What they read, and how: ``formats.py``."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch

from anamorph.core.errors import DecodeError
from anamorph.core.extras import extra
from anamorph.data.formats import Decoded, check, check_size, orientation, turned, unreadable

MOST_KEPT = 2**20  # bytes


def codecs(what: str) -> ModuleType:
    """The module nvidia.nvimgcodec, the codecs of DALI, or one sentence saying which extra to install."""
    # A bad file is reported once, by us.
    os.environ.setdefault("PYNVIMGCODEC_VERBOSITY", "0")
    with extra("dali", what, ", or pass decoder='pillow' to decode with Pillow"):
        import nvidia.nvimgcodec as nvimgcodec
    return nvimgcodec


class CodecsDecoder:
    """Files, uint8 [N], to pixels, uint8 [H, W, channels]. Threads may share it, and a fork may go on with it."""

    def __init__(self, channels: int, exif: bool):
        self._channels = channels
        self._exif = exif
        self._nv = nv = codecs("decoding image files")
        colour = nv.ColorSpec.GRAY if channels == 1 else nv.ColorSpec.SRGB
        self._params = nv.DecodeParams(apply_exif_orientation=False, color_spec=colour)
        # One serves one thread at a time, and has none of its own: a fork may use those that its parent did not.
        self._spare: deque[Any] = deque()
        self._memory = _Memory()

    def __reduce__(self) -> tuple[Any, ...]:
        return CodecsDecoder, (self._channels, self._exif)

    def __call__(self, files: Sequence[np.ndarray], names: Sequence[str]) -> list[Decoded]:
        """The pictures, or in their place what is wrong with them."""
        found: list[Any] = [opened(self._nv, data, name) for data, name in zip(files, names)]
        good = [i for i, stream in enumerate(found) if not isinstance(stream, DecodeError)]
        try:
            decoder = self._spare.pop()
        except IndexError:
            nv = self._nv
            decoder = nv.Decoder(device_id=nv.NVIMGCODEC_DEVICE_CPU_ONLY, max_num_cpu_threads=1,
                                 backends=[nv.Backend(nv.CPU_ONLY)], options=":fancy_upsampling=1")
        used = self._memory.take(len(good))
        images = decoder.decode([found[i] for i in good[: len(used)]], images=used, params=self._params) if used else []
        if len(used) < len(good):
            images += decoder.decode([found[i] for i in good[len(used) :]], params=self._params)
        self._spare.append(decoder)
        for i, image in zip(good, images):
            if image is None:
                found[i] = unreadable(names[i], "DALI: damaged")
            else:
                decoded = torch.from_numpy(np.asarray(_Lent(image, self._memory)))
                found[i] = turned(decoded, orientation(files[i]) if self._exif else 1)
        return found


class _Memory:
    """Images whose pixels nobody looks at any more: getting fresh memory costs a tenth of the decoding.

    Not that of large ones, or all would grow to the size of the largest.
    """

    def __init__(self) -> None:
        self._images: deque[Any] = deque()

    def take(self, most: int) -> list[Any]:
        taken: list[Any] = []
        try:
            while len(taken) < most:
                taken.append(self._images.pop())
        except IndexError:  # other threads take too, so that nobody knows how many there are
            pass
        return taken

    def give(self, image: Any) -> None:
        if image.capacity <= MOST_KEPT:
            self._images.append(image)


class _Lent:
    """The pixels of an image, which goes back to the memory it is from when the last tensor that shows them has gone."""

    def __init__(self, image: Any, memory: _Memory):
        self._image = image
        self._memory = memory
        self.__array_interface__ = image.__array_interface__

    def __del__(self) -> None:
        self._memory.give(self._image)


def opened(nvimgcodec: ModuleType, data: np.ndarray, name: str) -> Any:
    """nvImageCodec's stream of a file (uint8 [N]) that may be decoded, or the DecodeError why not."""
    try:
        check(data, name)
        stream = nvimgcodec.CodeStream(data)
        check_size(stream.height, stream.width, name)
        return stream
    except DecodeError as error:
        return error
    except RuntimeError as error:
        return unreadable(name, "DALI: damaged header", error)
