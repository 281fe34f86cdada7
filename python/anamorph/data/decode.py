"""Encoded bytes to pixels with Pillow, and the test for files that end too early."""

from __future__ import annotations

import io
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import torch

from anamorph.errors import DecodeError, MissingDependencyError

if TYPE_CHECKING:
    from PIL import Image

_MODES = {1: "L", 3: "RGB"}


def pillow() -> ModuleType:
    """The PIL.Image module, or one sentence saying how to get it."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingDependencyError("decoder='pillow' needs Pillow: pip install pillow") from error
    return Image


def check_complete(data: np.ndarray, name: str) -> None:
    """Raises DecodeError when ``data`` is empty or a JPEG that was cut off.

    Decoders disagree about a JPEG whose end is missing: libjpeg fills the rest with grey, nvJPEG may
    too, Pillow raises. One test in front of all of them makes the same files corrupt everywhere.
    Inside compressed data a 0xFF byte is never followed by 0xD9 or 0xDA, so the file is whole when its
    last end marker lies behind its last start-of-scan marker (an embedded thumbnail has a pair of its own).
    """
    if data.size == 0:
        raise DecodeError(f"{name}: the file is empty")
    if data.size >= 2 and data[0] == 0xFF and data[1] == 0xD8:
        if data[-2] == 0xFF and data[-1] == 0xD9:
            return
        raw = data.tobytes()
        if raw.rfind(b"\xff\xd9") <= raw.rfind(b"\xff\xda"):
            raise DecodeError(f"{name}: truncated JPEG, no end-of-image marker in its {data.size} bytes")


def decode_pillow(data: np.ndarray, name: str, channels: int) -> torch.Tensor:
    """Encoded bytes, uint8 [N], to pixels, uint8 [H, W, channels]."""
    image_module = pillow()
    try:
        with image_module.open(io.BytesIO(data.data)) as image:
            if channels == 1:
                image.draft("L", None)  # a JPEG stores its luma: take that, as DALI does
            return pixels(image, channels)
    except image_module.UnidentifiedImageError as error:  # whose text shows a buffer's address
        raise DecodeError(f"{name}: not a readable image (Pillow: unknown image format)") from error
    except Exception as error:  # Pillow raises OSError, ValueError, SyntaxError, struct.error, ...
        raise DecodeError(f"{name}: not a readable image (Pillow: {error})") from error


def pixels(image: Image.Image, channels: int) -> torch.Tensor:
    """A PIL image as uint8 [H, W, channels]: RGB, or luma for one channel. EXIF rotation is not applied."""
    if image.mode.startswith("I;16"):  # convert() would clip 16 bits to 255 instead of scaling them
        image = pillow().fromarray((np.asarray(image) >> 8).astype(np.uint8))
    array = np.array(image.convert(_MODES[channels]))  # a copy: what Pillow exports is read-only
    return torch.from_numpy(array if array.ndim == 3 else array[:, :, None])
