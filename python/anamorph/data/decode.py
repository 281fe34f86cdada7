"""Encoded bytes to pixels with Pillow. What it reads, and how: ``formats.py``."""

from __future__ import annotations

import io
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import torch

from anamorph.core.errors import DecodeError
from anamorph.core.extras import extra
from anamorph.data.formats import Decoded, check, check_size, orientation, turned, unreadable

if TYPE_CHECKING:
    from PIL import Image

_MODES = {1: "L", 3: "RGB"}

# Pillow has turned a TIFF already: what undoes that.
_INVERSE = {6: 8, 8: 6}


def pillow() -> ModuleType:
    """The PIL.Image module, or one sentence saying how to get it."""
    with extra("pillow", "decoder='pillow'"):
        from PIL import Image
    return Image


class PillowDecoder:
    """Files, uint8 [N], to pixels, uint8 [H, W, channels]. Threads may share it."""

    def __init__(self, channels: int, exif: bool):
        self._channels = channels
        self._exif = exif
        pillow()

    def __call__(self, files: Sequence[np.ndarray], names: Sequence[str]) -> list[Decoded]:
        """The pictures, or in their place what is wrong with them."""
        return [self._decode(data, name) for data, name in zip(files, names)]

    def _decode(self, data: np.ndarray, name: str) -> Decoded:
        image_module = pillow()
        try:
            kind = check(data, name)
            image_module.init()
            # Not Image.open: what the format is has been seen, and its limit of pixels is not the other decoder's.
            with image_module.OPEN[kind][0](io.BytesIO(data.data)) as image:
                check_size(image.height, image.width, name)
                if self._channels == 1:
                    image.draft("L", None)  # a JPEG stores its luma: take that, as DALI does
                decoded = pixels(image, self._channels)
        except DecodeError as error:
            return error
        except Exception as error:  # Pillow raises OSError, ValueError, SyntaxError, struct.error, ...
            return unreadable(name, f"Pillow: {error}", error)
        wanted = orientation(data) if self._exif or kind == "TIFF" else 1
        if kind == "TIFF":
            return decoded if self._exif else turned(decoded, _INVERSE.get(wanted, wanted))
        return turned(decoded, wanted)


def decoded(data: np.ndarray, name: str, channels: int = 3, exif: bool = False) -> torch.Tensor:
    """One file with Pillow, uint8 [H, W, channels]; raises its DecodeError."""
    (one,) = PillowDecoder(channels, exif)([data], [name])
    if isinstance(one, DecodeError):
        raise one
    return one


def pixels(image: Image.Image, channels: int) -> torch.Tensor:
    """A PIL image as uint8 [H, W, channels]: RGB, or luma for one channel. EXIF rotation is not applied."""
    # convert() would clip what has more than 8 bits to 255 instead of scaling it.
    sixteen = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PPM", "PNG"))
    if sixteen:
        image = pillow().fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode!r} given, whose range is not known; expected 8 or 16 bits")
    array = np.array(image.convert(_MODES[channels]))  # a copy: what Pillow exports is read-only
    return torch.from_numpy(array if array.ndim == 3 else array[:, :, None])
