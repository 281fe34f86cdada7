"""Encoded bytes to pixels with Pillow, and the test for files that end too early."""

from __future__ import annotations

import io
import re
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import torch

from anamorph.core import checks
from anamorph.core.errors import DecodeError
from anamorph.core.extras import extra

if TYPE_CHECKING:
    from PIL import Image


_MODES = {1: "L", 3: "RGB"}

# Any marker but the two that compressed data may hold: a stuffed zero, and restarts.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def pillow() -> ModuleType:
    """The PIL.Image module, or one sentence saying how to get it."""
    with extra("pillow", "decoder='pillow'"):
        from PIL import Image
    return Image


def check_complete(data: np.ndarray, name: str) -> None:
    """Raises DecodeError when ``data`` is empty or a JPEG that was cut off.

    Decoders disagree about a JPEG whose end is missing: libjpeg fills the rest with grey, nvJPEG may
    too, Pillow raises. One test in front of all of them makes the same files corrupt everywhere. What follows
    the end marker is nobody's business: phones append whole films.
    """
    if data.size == 0:
        raise DecodeError(f"{name}: the file is empty")
    if data.size >= 2 and data[0] == 0xFF and data[1] == 0xD8:
        if data[-2] == 0xFF and data[-1] == 0xD9:
            return
        view, at = data.data, 2
        while match := _MARKER.search(view, at):
            at = match.end()
            code = view[at - 1]
            if code == 0xD9:
                return
            if code not in (0x01, 0xD8):  # which stand alone; the others say how long they are
                at += int.from_bytes(view[at : at + 2], "big")
        raise DecodeError(f"{name}: truncated JPEG, no end-of-image marker in its {data.size} bytes")


def check_size(height: int, width: int, name: str) -> None:
    """Raises DecodeError for a picture that the engine does not take."""
    if max(height, width) > checks.MAX_SIDE:
        raise DecodeError(f"{name}: expected sides of at most {checks.MAX_SIDE}, given {height} x {width} pixels")


def decode_pillow(data: np.ndarray, name: str, channels: int) -> torch.Tensor:
    """Encoded bytes, uint8 [N], to pixels, uint8 [H, W, channels]."""
    image_module = pillow()
    try:
        with image_module.open(io.BytesIO(data.data)) as image:
            check_size(image.height, image.width, name)
            if channels == 1:
                image.draft("L", None)  # a JPEG stores its luma: take that, as DALI does
            return pixels(image, channels)
    except DecodeError:
        raise
    except image_module.UnidentifiedImageError as error:  # whose text shows a buffer's address
        raise DecodeError(f"{name}: not a readable image (Pillow: unknown image format)") from error
    except Exception as error:  # Pillow raises OSError, ValueError, SyntaxError, struct.error, ...
        raise DecodeError(f"{name}: not a readable image (Pillow: {error})") from error


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
