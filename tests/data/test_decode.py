"""The decoders: which formats and samples they read, that both read them alike, and what they say of the rest."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

import anamorph as am
from anamorph.data.decode import PillowDecoder
from anamorph.data.formats import check

try:
    from anamorph.data.codecs import CodecsDecoder, codecs

    codecs("the tests")
except am.MissingDependencyError:
    CodecsDecoder = None

DECODERS = {"pillow": PillowDecoder, "dali": CodecsDecoder}
decoders = pytest.mark.parametrize("decoder", ["pillow", pytest.param("dali", marks=pytest.mark.skipif(
    CodecsDecoder is None, reason="NVIDIA DALI is not installed"))])

H, W = 24, 37
RGBA = np.asarray(Image.fromarray(np.random.default_rng(0).integers(0, 255, (4, 5, 4), dtype=np.uint8), "RGBA").resize((W, H)))
RGB, GREY, ALPHA = RGBA[..., :3].copy(), RGBA[..., 1].copy(), RGBA[..., 3].copy()
DEEP, DEEP_RGB = GREY.astype(np.uint16) * 256 + 90, RGB.astype(np.uint16) * 256 + 90
CMYK = Image.fromarray(RGB).convert("CMYK")
PALETTE = Image.fromarray(RGB).quantize(200)
BITS = Image.fromarray(GREY).convert("1")


def saved(image, form, **options):
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, form, **options)
    return buffer.getvalue()


def tiff(array, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def png(colour, depth, rows):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", W, H, depth, colour, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + r for r in rows)))
            + chunk(b"IEND", b""))


def packed(values, bits):
    """Rows of samples of fewer than eight bits."""
    spread = (values[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return [row.tobytes() for row in np.packbits(spread.reshape(H, -1), axis=1)]


def bmp(bits, rows, height=H, compression=0, tables=b""):
    data, start = b"".join(row + b"\0" * (-len(row) % 4) for row in rows), 54 + len(tables)
    return (b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start)
            + struct.pack("<IiiHHIIiiII", 40, W, height, 1, bits, compression, len(data), 0, 0, len(tables) // 4, 0)
            + tables + data)


def by_pillow(data, mode, turn=lambda image: image):
    image = Image.open(io.BytesIO(data))
    image.draft(mode, None)  # grey from a JPEG is its own luma
    return np.asarray(turn(image).convert(mode))


def cases():
    """name: (file, its pixels or None for what Pillow makes of it, tolerance)."""
    grey = {2: GREY >> 6, 4: GREY >> 4}
    swapped = RGB[..., ::-1]
    yield "JPEG colour", saved(RGB, "JPEG", quality=90), None, 0
    yield "JPEG 4:4:4", saved(RGB, "JPEG", subsampling=0), None, 0
    yield "JPEG progressive", saved(RGB, "JPEG", progressive=True), None, 0
    yield "JPEG grey", saved(GREY, "JPEG"), None, 0
    yield "JPEG CMYK", saved(CMYK, "JPEG"), None, 1
    yield "JPEG restarts, and a film behind it", saved(RGB, "JPEG", restart_marker_blocks=2) + b"film" * 99, None, 0
    yield "PNG 1 bit", saved(BITS, "PNG"), None, 0
    for bits in (2, 4):
        yield f"PNG grey {bits} bits", png(0, bits, packed(grey[bits], bits)), grey[bits] * (255 // (2**bits - 1)), 0
    for bits in (1, 2, 4, 8):
        yield f"PNG palette {bits} bits", saved(Image.fromarray(RGB).quantize(2**bits), "PNG", bits=bits), None, 0
    yield "PNG palette with a transparent colour", saved(PALETTE, "PNG", transparency=3), None, 0
    yield "PNG grey", saved(GREY, "PNG"), GREY, 0
    yield "PNG grey and alpha", saved(Image.merge("LA", [*map(Image.fromarray, (GREY, ALPHA))]), "PNG"), GREY, 0
    yield "PNG colour", saved(RGB, "PNG"), RGB, 0
    yield "PNG with a transparent colour", saved(RGB, "PNG", transparency=tuple(map(int, RGB[0, 0]))), RGB, 0
    yield "PNG colour and alpha", saved(RGBA, "PNG"), RGB, 0
    yield "PNG animation", saved(RGB, "PNG", save_all=True, append_images=[Image.fromarray(255 - RGB)]), RGB, 0
    yield "PNG 16 bits grey", saved(DEEP, "PNG"), GREY, 0
    yield "PNG 16 bits grey and alpha", png(4, 16, [np.stack([r, r], 1).astype(">u2").tobytes() for r in DEEP]), GREY, 0
    yield "PNG 16 bits colour", png(2, 16, [row.astype(">u2").tobytes() for row in DEEP_RGB]), RGB, 0
    yield "PNG 16 bits colour and alpha", png(6, 16, [np.dstack([r, r[..., :1]]).astype(">u2").tobytes()
                                                       for r in DEEP_RGB[:, None]]), RGB, 0
    yield "WebP", saved(RGB, "WEBP", quality=90), None, 0
    yield "WebP with alpha", saved(RGBA, "WEBP", quality=90), None, 0
    yield "WebP lossless", saved(RGB, "WEBP", lossless=True), RGB, 0
    yield "WebP animation", saved(RGB, "WEBP", lossless=True, save_all=True,
                                  append_images=[Image.fromarray(255 - RGB)]), RGB, 0
    yield "BMP 1 bit", saved(BITS, "BMP"), None, 0
    yield "BMP grey", saved(GREY, "BMP"), GREY, 0
    yield "BMP palette", saved(PALETTE, "BMP"), None, 0
    yield "BMP colour", saved(RGB, "BMP"), RGB, 0
    yield "BMP colour from the top", bmp(24, [row.tobytes() for row in swapped], -H), RGB, 0
    yield "BMP colour and alpha", saved(RGBA, "BMP"), RGB, 0
    runs = b"".join(b"".join(bytes([1, int(v)]) for v in row) + b"\0\0" for row in GREY[::-1]) + b"\0\1"
    yield "BMP run lengths", bmp(8, [runs], compression=1, tables=bytes(i // 4 for i in range(1024))), GREY, 0
    yield "PBM", saved(BITS, "PPM"), None, 0
    yield "PGM", saved(GREY, "PPM"), GREY, 0
    yield "PGM with remarks", b"P5 # a\n# remark\n%d\t%d\n255\n" % (W, H) + GREY.tobytes(), GREY, 0
    yield "PGM 16 bits", b"P5\n%d %d\n65535\n" % (W, H) + DEEP.astype(">u2").tobytes(), GREY, 1
    yield "PPM", saved(RGB, "PPM"), RGB, 0
    yield "PPM 16 bits", b"P6\n%d %d\n65535\n" % (W, H) + DEEP_RGB.astype(">u2").tobytes(), RGB, 1
    colour = dict(photometric="rgb")
    yield "TIFF grey", tiff(GREY), GREY, 0
    yield "TIFF grey, white is 0", tiff(255 - GREY, photometric="miniswhite"), GREY, 0
    yield "TIFF colour", tiff(RGB, **colour), RGB, 0
    yield "TIFF in planes", tiff(RGB.transpose(2, 0, 1).copy(), planarconfig="separate", **colour), RGB, 0
    yield "TIFF tiles", tiff(RGB, tile=(16, 16), **colour), RGB, 0
    yield "TIFF of more than 4 GB, were it so large", tiff(RGB, bigtiff=True, **colour), RGB, 0
    for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        yield f"TIFF {name}", saved(RGB, "TIFF", compression=name), RGB, 0
    yield "TIFF jpeg", saved(RGB, "TIFF", compression="jpeg", quality=95), None, 1
    yield "TIFF colour and alpha", saved(RGBA, "TIFF"), RGB, 0
    yield "TIFF CMYK", saved(CMYK, "TIFF"), None, 0
    yield "TIFF YCbCr", saved(Image.fromarray(RGB).convert("YCbCr"), "TIFF"), None, 1
    yield "TIFF palette", saved(PALETTE, "TIFF"), None, 1
    yield "TIFF two pages", saved(RGB, "TIFF", save_all=True, append_images=[Image.fromarray(255 - RGB)]), RGB, 0
    yield "TIFF 16 bits grey", tiff(DEEP), GREY, 1
    yield "TIFF 16 bits, the high byte first", tiff(DEEP, byteorder=">"), GREY, 1
    yield "TIFF 16 bits colour", tiff(DEEP_RGB, **colour), RGB, 1


CASES = {name: case for name, *case in cases()}

REFUSED = {
    "nothing": (b"", "the file is empty"),
    "text": (b"hello, world", "unknown format; expected JPEG, PNG, WebP"),
    "GIF": (saved(PALETTE, "GIF"), "a GIF; expected JPEG"),
    "JPEG 2000": (saved(RGB, "JPEG2000"), "a JPEG 2000 image"),
    "PGM in digits": (b"P2\n2 1\n255\n1 2\n", "an image in ASCII digits"),
    "PGM of another range": (b"P5\n%d %d\n100\n" % (W, H) + GREY.tobytes(), "largest value of 100"),
    "PFM": (b"PF\n%d %d\n-1.0\n" % (W, H) + RGB.astype("<f4").tobytes(), "unknown format"),
    "BMP 16 bits": (bmp(16, [row.tobytes() for row in DEEP]), "BMP of 1, 4, 8, 24 or 32 bits a pixel, given 16"),
    "TIFF 100.0": (tiff(np.full((H, W), 100, np.float32)), "8 or 16 bits, given 32-bit float ones"),
    "TIFF float colour": (tiff(RGB / np.float32(255), photometric="rgb"), "32-bit float ones"),
    "TIFF half": (tiff(GREY.astype(np.float16)), "16-bit float ones"),
    "TIFF double": (tiff(GREY.astype(np.float64)), "64-bit float ones"),
    "TIFF signed bytes": (tiff(GREY.astype(np.int8)), "8-bit signed ones"),
    "TIFF signed": (tiff(GREY.astype(np.int16)), "16-bit signed ones"),
    "TIFF 32 bits": (tiff(GREY.astype(np.uint32)), "32-bit unsigned ones"),
    "TIFF 1 bit": (saved(BITS, "TIFF"), "1-bit unsigned ones"),
    "TIFF fax": (saved(BITS, "TIFF", compression="group4"), "1-bit unsigned ones"),
    "TIFF LAB": (saved(Image.frombytes("LAB", (W, H), RGB.tobytes()), "TIFF"), "given CIELAB with 3 samples"),
    "TIFF grey and alpha": (tiff(RGBA[..., :2].copy(), photometric="minisblack", planarconfig="contig"), "grey and alpha"),
    "TIFF 16 bits in planes": (tiff(DEEP_RGB.transpose(2, 0, 1).copy(), photometric="rgb", planarconfig="separate"),
                               "channels interleaved"),
    "TIFF 16 bits, white is 0": (tiff(DEEP, photometric="miniswhite"), "black is 0"),
    "TIFF LZMA": (saved(RGB, "TIFF", compression="lzma"), "not compressed, or by LZW, .* given number 34925"),
    "BigTIFF, the high byte first": (tiff(RGB, bigtiff=True, byteorder=">", photometric="rgb"), "a big-endian BigTIFF"),
    "TIFF header": (b"II*\0\x08\0\0\0\xff\xff", "damaged TIFF header"),
}


def decode(decoder, data, channels=3, exif=False):
    (one,) = DECODERS[decoder](channels, exif)([np.frombuffer(data, np.uint8)], ["a/b"])
    return one


@decoders
@pytest.mark.parametrize("name", CASES)
def test_both_decoders_read_a_format_alike(name, decoder):
    data, pixels, tolerance = CASES[name]
    if pixels is None:
        pixels = by_pillow(data, "RGB")
    pixels = np.broadcast_to(pixels if pixels.ndim == 3 else pixels[..., None], (H, W, 3)).astype(int)
    colour = decode(decoder, data)
    assert not isinstance(colour, am.DecodeError), colour
    assert np.abs(colour.numpy() - pixels).max() <= tolerance
    # Luma: a JPEG's own, or what ITU-R 601 makes of the colours.
    grey = decode(decoder, data, channels=1).numpy()
    luma = pixels @ (0.299, 0.587, 0.114)
    if name.startswith("JPEG") and "CMYK" not in name:
        luma = by_pillow(data, "L")
    assert grey.shape == (H, W, 1) and np.abs(grey[..., 0] - luma).max() <= 1 + tolerance


@decoders
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_is_said_in_the_same_words(name, decoder):
    data, reason = REFUSED[name]
    with pytest.raises(am.DecodeError, match=rf"^a/b: .*{reason}"):
        raise decode(decoder, data)


EXIF = ["JPEG", "PNG", "WEBP", "TIFF"]


@decoders
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("form", EXIF)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations(form, orientation, channels, decoder):
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = "a remark of more than four bytes"
    options = {"WEBP": dict(lossless=True, exif=exif), "TIFF": dict(tiffinfo={0x0112: orientation})}
    data = saved(RGB, form, **options.get(form, dict(exif=exif)))
    mode = {1: "L", 3: "RGB"}[channels]
    turned = by_pillow(data, mode, ImageOps.exif_transpose)
    plain = by_pillow(saved(RGB, form, **{"WEBP": dict(lossless=True)}.get(form, {})), mode)
    for wanted, pixels in ((False, plain), (True, turned)):
        one = decode(decoder, data, channels, wanted)
        assert one.is_contiguous() and tuple(one.shape) == (*pixels.shape[:2], channels)
        assert np.abs(one.numpy().reshape(pixels.shape) - pixels.astype(int)).max() <= (form != "JPEG" and channels == 1)


@decoders
@pytest.mark.parametrize("exif", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0\x2a\0\0\0\x08\xff\xff",
                                  b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\x09\0\0\0"])
def test_a_damaged_orientation_is_none(exif, decoder):
    plain = saved(RGB, "JPEG")
    data = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:]
    assert np.array_equal(decode(decoder, data, exif=True), by_pillow(plain, "RGB"))


NOISE = np.random.default_rng(1).integers(0, 255, (40, 60, 3), dtype=np.uint8)
FILES = {"JPEG": saved(NOISE, "JPEG"), "PNG": saved(NOISE, "PNG"), "WebP": saved(NOISE, "WEBP"), "BMP": saved(NOISE, "BMP"),
         "PPM": saved(NOISE, "PPM"), "TIFF": tiff(NOISE, photometric="rgb"),
         "TIFF lzw": saved(NOISE, "TIFF", compression="tiff_lzw")}


@decoders
@pytest.mark.parametrize("form", FILES)
def test_a_file_that_ends_too_early_is_an_error(form, decoder):
    whole = FILES[form]
    for length in range(0, len(whole) - 4, len(whole) // 12):
        assert isinstance(decode(decoder, whole[:length]), am.DecodeError), length
    assert not isinstance(decode(decoder, whole), am.DecodeError)


def test_png_checksums():
    whole = FILES["PNG"]
    middle = len(whole) // 2
    with pytest.raises(am.DecodeError, match="x: damaged PNG, its 'IDAT' chunk has another checksum than it says"):
        check(np.frombuffer(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :], np.uint8), "x")
    remark = b"\0\0\0\4tEXta\0bc" + bytes(4)  # optional, so its checksum may be wrong
    assert check(np.frombuffer(whole[:33] + remark + whole[33:] + b"more", np.uint8), "x") == "PNG"


@decoders
def test_one_bad_file_among_good_ones(decoder):
    webp = saved(NOISE, "WEBP", lossless=True)
    files = [FILES["JPEG"], webp[:40] + b"\xff" * (len(webp) - 40), FILES["PNG"], b"text", FILES["TIFF"]]
    found = DECODERS[decoder](3, False)([np.frombuffer(f, np.uint8) for f in files], [f"{i}.x" for i in range(5)])
    assert [isinstance(one, am.DecodeError) for one in found] == [False, True, False, True, False]
    assert str(found[1]).startswith("1.x: not a readable image (") and "\n" not in str(found[1])
    for i in (2, 4):
        assert np.array_equal(found[i], NOISE)


@pytest.mark.skipif(CodecsDecoder is None, reason="NVIDIA DALI is not installed")
def test_memory_is_used_again_only_when_nobody_looks_at_it():
    decoder = CodecsDecoder(3, False)
    shades = [np.frombuffer(saved(np.full((50, 60, 3), shade, np.uint8), "PNG"), np.uint8) for shade in range(40)]
    kept, places = [], set()
    for shade, file in enumerate(shades):
        (one,) = decoder([file], ["x"])
        places.add(one.data_ptr())
        if shade % 4 == 0:
            kept.append((shade, one[10:20, :, 1]))  # a view of a part
        del one
    assert all((view == shade).all() for shade, view in kept)
    assert len(kept) < len(places) < 20
    (small,), (large,) = decoder([shades[0][:]], ["x"]), decoder([np.frombuffer(FILES["PNG"], np.uint8)], ["x"])
    assert small.shape == (50, 60, 3) and np.array_equal(large, NOISE)
