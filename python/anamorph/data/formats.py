"""What a file says of itself: its format, its samples, whether it is whole, and how it wants to be turned.

Decoders disagree at the edges, so every file passes here before any of them sees it, and the same files are read,
turned and refused whichever decodes them. What is read, in any size up to 32768 a side:

==================  ==================================================================================
JPEG                grey, RGB, CMYK; baseline and progressive
PNG                 1 to 16 bits; grey, RGB, palette, with or without alpha
WebP                lossy and lossless, with or without alpha; the first picture of an animation
BMP                 1, 4, 8, 24 or 32 bits
PGM, PPM, PBM       binary, with a largest value of 255 or 65535
TIFF                unsigned samples of 8 bits (grey, RGB, CMYK, YCbCr, palette) or 16 (grey, RGB); not
                    compressed, or by LZW, Deflate, PackBits or JPEG; with or without alpha where in colour;
                    the first page
==================  ==================================================================================

Of sixteen bits the upper eight are taken, and alpha is dropped. EXIF and TIFF orientations are ignored, as
torchvision's ``ImageFolder`` and ``decode_image`` ignore those of EXIF (Pillow, and so ``ImageFolder``, always obeys that of a
TIFF), or obeyed with ``exif=True``, as by ``ImageOps.exif_transpose`` and ``apply_exif_orientation=True``. All else is a
DecodeError that says what was expected: TIFFs of float, signed, 32-bit or CIELAB samples, whose range or colours are
anybody's guess, and what only one of the decoders reads, such as GIF, AVIF, JPEG 2000, ASCII digits and 1-bit TIFFs. The
same pixels come from both, within 1 where colours or sixteen bits are converted.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import torch

from anamorph.core import checks
from anamorph.core.errors import DecodeError

# What a decoder makes of a file.
Decoded = torch.Tensor | DecodeError

NAMES = "JPEG, PNG, WebP, BMP, PGM, PPM, PBM or TIFF"

# By their first bytes: Pillow's names of the formats, and whether they are read.
_SIGNATURES = (
    (re.compile(rb"\xff\xd8"), "JPEG", True),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "PNG", True),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "WEBP", True),
    (re.compile(rb"BM"), "BMP", True),
    (re.compile(rb"P[456]\s"), "PPM", True),
    (re.compile(rb"II\x2a\0|MM\0\x2a|II\x2b\0"), "TIFF", True),
    (re.compile(rb"MM\0\x2b"), "a big-endian BigTIFF", False),
    (re.compile(rb"P[123]\s"), "an image in ASCII digits", False),
    (re.compile(rb"GIF8"), "a GIF", False),
    (re.compile(rb"....ftyp(avif|avis)", re.DOTALL), "an AVIF image", False),
    (re.compile(rb"....ftyp(heic|heix|mif1)", re.DOTALL), "a HEIF image", False),
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), "a JPEG 2000 image", False),
)

# Any marker but the two that compressed data may hold: a stuffed zero, and restarts.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_PNM = re.compile(rb"P[456](?:\s|#[^\n\r]*[\n\r])+(\d+)(?:\s|#[^\n\r]*[\n\r])+(\d+)(?:(?:\s|#[^\n\r]*[\n\r])+(\d+))?\s")
_TIFF_INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_TIFF_COLOURS = {0: "grey", 1: "grey", 2: "RGB", 3: "a palette", 5: "CMYK", 6: "YCbCr"}
_TIFF_COMPRESSIONS = (1, 5, 7, 8, 32773, 32946)  # none, LZW, JPEG, Deflate, PackBits
_TIFF_SAMPLES = {1: "unsigned", 2: "signed", 3: "float"}
_ORIENTATION = 274


def check(data: np.ndarray, name: str) -> str:
    """The format of a whole file (uint8 [N]) that every decoder reads alike, as Pillow calls it; else DecodeError.

    What follows the end of the picture is nobody's business: phones append whole films.
    """
    if data.size == 0:
        raise DecodeError(f"{name}: the file is empty")
    view = data.data
    kind, read = next(((kind, read) for start, kind, read in _SIGNATURES if start.match(view)), ("unknown format", False))
    if not read:
        raise DecodeError(f"{name}: not a readable image ({kind}; expected {NAMES})")
    wrong = _CHECKS[kind](view)
    if wrong:
        raise DecodeError(f"{name}: {wrong}")
    return kind


def check_size(height: int, width: int, name: str) -> None:
    """Raises DecodeError for a picture that the engine does not take."""
    if max(height, width) > checks.MAX_SIDE:
        raise DecodeError(f"{name}: expected sides of at most {checks.MAX_SIDE}, given {height} x {width} pixels")


def unreadable(name: str, reason: str, cause: Exception | None = None) -> DecodeError:
    """What a decoder says of a file whose damage only it can see."""
    error = DecodeError(f"{name}: not a readable image ({reason})")
    error.__cause__ = cause
    return error


def orientation(data: np.ndarray) -> int:
    """The EXIF or TIFF orientation of a file that passed ``check``, 1 to 8; 1 (as it lies) where none can be read."""
    view = data.data
    try:
        exif = _exif(view)
        value = _tiff_tags(exif).get(_ORIENTATION, (1,))[0] if exif else 1
    except (struct.error, KeyError, IndexError):
        return 1
    return value if 1 <= value <= 8 else 1


def turned(pixels: torch.Tensor, orientation: int) -> torch.Tensor:
    """Pixels [H, W, C] as they are meant to be seen; the same tensor for orientation 1."""
    if orientation == 1:
        return pixels
    if orientation >= 5:
        pixels = pixels.transpose(0, 1)
    return pixels.flip(_FLIPS[orientation]).contiguous()


# After a transposition, from 5 on.
_FLIPS: dict[int, tuple[int, ...]] = {2: (1,), 3: (0, 1), 4: (0,), 5: (), 6: (1,), 7: (0, 1), 8: (0,)}


def _jpeg(view: memoryview) -> str | None:
    # libjpeg fills the rest of a JPEG without an end with grey, nvJPEG may too, Pillow raises.
    if view[-2:] == b"\xff\xd9":
        return None
    if any(code == 0xD9 for code, _ in _jpeg_segments(view)):
        return None
    return f"truncated JPEG, no end-of-image marker in its {len(view)} bytes"


def _jpeg_segments(view: memoryview) -> Iterator[tuple[int, memoryview]]:
    at = 2
    while match := _MARKER.search(view, at):
        at = match.end()
        code = view[at - 1]
        # Those which stand alone; the others say how long they are.
        length = 0 if code in (0x01, 0xD8, 0xD9) else int.from_bytes(view[at : at + 2], "big")
        yield code, view[at + 2 : at + length]
        at += length


def _png(view: memoryview) -> str | None:
    for kind, body, crc in _png_chunks(view):
        if kind == b"IEND":
            return None
        # An optional chunk, whose name begins with a small letter, may be damaged.
        if kind[0] < 0x60 and zlib.crc32(body, zlib.crc32(kind)) != crc:
            return f"damaged PNG, its {kind.decode('latin-1')!r} chunk has another checksum than it says"
    return f"truncated PNG, no end in its {len(view)} bytes"


def _png_chunks(view: memoryview) -> Iterator[tuple[bytes, memoryview, int]]:
    at = 8
    while at + 12 <= len(view):
        end = at + 8 + int.from_bytes(view[at : at + 4], "big")
        if end + 4 > len(view):
            return
        yield bytes(view[at + 4 : at + 8]), view[at + 8 : end], int.from_bytes(view[end : end + 4], "big")
        at = end + 4


def _webp(view: memoryview) -> str | None:
    size = 8 + int.from_bytes(view[4:8], "little")
    return None if size <= len(view) else f"truncated WebP, {len(view)} of its {size} bytes"


def _bmp(view: memoryview) -> str | None:
    bits = int.from_bytes(view[24:26] if view[14] == 12 else view[28:30], "little") if len(view) > 30 else 0
    return None if bits in (1, 4, 8, 24, 32) else f"expected a BMP of 1, 4, 8, 24 or 32 bits a pixel, given {bits}"


def _pnm(view: memoryview) -> str | None:
    match = _PNM.match(view)
    if not match:
        return "damaged PNM header"
    width, height, kind = int(match[1]), int(match[2]), view[1]
    if kind == ord("4"):
        # The pattern takes what comes after the two numbers for a third one where it can.
        size, start = (width + 7) // 8 * height, match.end(2) + 1
    else:
        if match[3] not in (b"255", b"65535"):
            most = match[3].decode() if match[3] else "nothing"
            return f"expected PNM samples of at most 255 or 65535, given a largest value of {most}"
        size, start = width * height * (3 if kind == ord("6") else 1) * (1 + (match[3] == b"65535")), match.end()
    return None if start + size <= len(view) else f"truncated PNM, {len(view)} of its {start + size} bytes"


def _tiff(view: memoryview) -> str | None:
    try:
        tags = _tiff_tags(view)
        colour = tags[262][0]
        compression = tags.get(259, (1,))[0]
        count = tags.get(277, (1,))[0]
        bits, kinds = tags.get(258, (1,)), tags.get(339, (1,))
        starts, sizes = (273, 279) if 273 in tags else (324, 325)  # strips or tiles
        end = max(start + size for start, size in zip(tags[starts], tags[sizes]))
    except (struct.error, KeyError, IndexError, ValueError):
        return "damaged TIFF header"
    if set(kinds) != {1} or set(bits) not in ({8}, {16}):
        given = f"{'/'.join(map(str, sorted(set(bits))))}-bit {_TIFF_SAMPLES.get(kinds[0], 'unknown')} ones"
        return f"expected TIFF samples that are unsigned and have 8 or 16 bits, given {given}, whose range is not known"
    if colour not in _TIFF_COLOURS or count == 2 or (colour == 2 and count < 3):
        given = "grey and alpha" if count == 2 else {8: "CIELAB", 9: "ICCLAB"}.get(colour, f"photometric {colour}")
        return f"expected a TIFF in grey, RGB, CMYK, YCbCr or a palette, given {given} with {count} samples a pixel"
    if 16 in bits and (colour not in (1, 2) or tags.get(284, (1,))[0] != 1):
        return "expected a TIFF of 16 bits in grey (black is 0) or RGB, its channels interleaved, given another"
    if compression not in _TIFF_COMPRESSIONS:
        return f"expected a TIFF that is not compressed, or by LZW, Deflate, PackBits or JPEG, given number {compression}"
    return None if end <= len(view) else f"truncated TIFF, {len(view)} of its {end} bytes"


def _tiff_tags(view: memoryview) -> dict[int, tuple[int, ...]]:
    """The whole numbers among the tags of a TIFF's first picture. EXIF is a TIFF without pixels."""
    order = {b"II": "<", b"MM": ">"}[bytes(view[:2])]
    big = struct.unpack_from(order + "H", view, 2)[0] == 43
    offset, entry, inline = ("Q", "HHQ", 8) if big else ("I", "HHI", 4)
    at = struct.unpack_from(order + offset, view, 8 if big else 4)[0]
    total = struct.unpack_from(order + ("Q" if big else "H"), view, at)[0]
    at += 8 if big else 2
    tags = {}
    for _ in range(min(total, 4096)):
        tag, kind, count = struct.unpack_from(order + entry, view, at)
        if kind in _TIFF_INTEGERS:
            values = f"{order}{count}{_TIFF_INTEGERS[kind]}"
            where = at + 4 + inline
            if struct.calcsize(values) > inline:
                where = struct.unpack_from(order + offset, view, where)[0]
            tags[tag] = struct.unpack_from(values, view, where)
        at += 4 + 2 * inline
    return tags


def _exif(view: memoryview) -> memoryview | None:
    if view[:2] == b"\xff\xd8":
        for code, body in _jpeg_segments(view):
            if code == 0xE1 and body[:6] == b"Exif\0\0":
                return body[6:]
            if code == 0xDA:  # the picture itself
                return None
    elif view[:4] == b"\x89PNG":
        return next((body for kind, body, _ in _png_chunks(view) if kind == b"eXIf"), None)
    elif view[:4] == b"RIFF":
        at = 12
        while at + 8 <= len(view):
            size = int.from_bytes(view[at + 4 : at + 8], "little")
            if view[at : at + 4] == b"EXIF":
                body = view[at + 8 : at + 8 + size]
                return body[6:] if body[:6] == b"Exif\0\0" else body
            at += 8 + size + size % 2
    elif view[:2] in (b"II", b"MM"):
        return view
    return None


_CHECKS = {"JPEG": _jpeg, "PNG": _png, "WEBP": _webp, "BMP": _bmp, "PPM": _pnm, "TIFF": _tiff}
