"""The pipeline that decodes on a GPU, run on the CPU: order, damage, orientation, and what it says."""

import io
import logging

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import anamorph as am

dali = pytest.importorskip("nvidia.dali")

from anamorph.data.batch import Batch  # noqa: E402
from anamorph.data.dali import DaliDecoder, _reason  # noqa: E402


def shade(i, form="PNG", **options):
    buffer = io.BytesIO()
    array = np.full((20 + i, 30, 3), 5 * i, np.uint8)
    array[0] = np.random.default_rng(i).integers(0, 255, (30, 3))
    Image.fromarray(array).save(buffer, form, **options)
    return np.frombuffer(buffer.getvalue(), np.uint8)


def broken(i):
    """A WebP whose header is right, so that only decoding it fails."""
    data = shade(i, "WEBP", lossless=True).copy()
    data[40:] = 0xFF
    return data


def decoder(size, exif=False, channels=3):
    return DaliDecoder(size, channels, exif, torch.device("cpu"), 2, 1, lambda i: f"{i}.png")


def decoded(decoder, files, size, reject):
    batches = (Batch(n, np.arange(n * size, (n + 1) * size), files[n * size : (n + 1) * size], None)
               for n in range(len(files) // size))
    return {int(i): image.clone() for batch, _ in decoder.decode(batches, reject) for i, image in zip(batch.ids, batch.images)}


def test_damage_costs_the_damaged_alone(caplog):
    files = [broken(i) if i in (3, 4, 10, 16, 17, 18, 19) else shade(i) for i in range(28)]
    station, rejected, built = decoder(4), [], []
    assert not any(isinstance(f, am.DecodeError) for f in station.check(files, ["x"] * 28))
    build = station._build
    station._build = lambda feed: built.append(1) or build(feed)
    with caplog.at_level(logging.WARNING, "anamorph"):
        found = decoded(station, files, 4, rejected.append)
    assert list(found) == [i for i in range(28) if i not in (3, 4, 10, 16, 17, 18, 19)]
    for i, image in found.items():
        assert np.array_equal(image, Image.open(io.BytesIO(files[i])))
    assert [str(error).split(":")[0] for error in rejected] == [f"{i}.png" for i in (3, 4, 10, 16, 17, 18, 19)]
    assert all(str(e).endswith(".png: not a readable image (DALI: damaged)") for e in rejected)
    assert len(built) <= 5  # not one for each image
    assert not caplog.records
    assert len(decoded(station, [shade(i) for i in range(8)], 4, rejected.append)) == 8  # and it still works


def test_what_rejection_raises_comes_after_the_batches_before():
    files = [shade(0), shade(1), shade(2), broken(3), shade(4), shade(5)]
    seen = []

    def reject(error):
        raise error

    with pytest.raises(am.DecodeError, match=r"3\.png: not a readable image"):
        batches = (Batch(n, np.arange(n, n + 1), files[n : n + 1], None) for n in range(6))
        for batch, _ in decoder(1).decode(batches, reject):
            seen.append(batch.number)
    assert seen == [0, 1, 2]


def test_a_failure_that_is_no_images_fault_is_logged(caplog):
    station = decoder(2)
    run, calls = station._run, []

    def fails_once(pipeline):
        if not calls:
            calls.append(run(pipeline))
            raise RuntimeError("encountered:\nout of memory")
        return run(pipeline)

    station._run = fails_once
    with caplog.at_level(logging.WARNING, "anamorph"):
        assert list(decoded(station, [shade(i) for i in range(8)], 2, None)) == [*range(8)]
    assert "out of memory" in caplog.text


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = shade(3, "PNG", exif=exif)
    image = Image.open(io.BytesIO(file))
    for wanted, expected in ((False, image), (True, ImageOps.exif_transpose(image))):
        (one,) = decoded(decoder(1, wanted), [file], 1, None).values()
        assert np.array_equal(one, expected)


def test_a_file_it_would_not_recognise_does_not_reach_it():
    files = [shade(0), np.frombuffer(b"text", np.uint8), np.array([], np.uint8), shade(1)[:60]]
    given = decoder(4).check(files, ["a", "b", "c", "d"])
    assert given[0] is files[0]
    for error, reason in zip(given[1:], ("b: not a readable image", "c: the file is empty", "d: truncated PNG")):
        assert isinstance(error, am.DecodeError) and str(error).startswith(reason)


def test_a_users_pipeline_that_fails_is_told_in_one_line(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.webp").write_bytes(broken(0).tobytes())
    pipe = dali.Pipeline(batch_size=1, num_threads=1, device_id=None)
    with pipe:
        data, label = dali.fn.readers.file(file_root=str(tmp_path), name="reader")
        pipe.set_outputs(dali.fn.decoders.image(data), label)
    with pytest.raises(am.DecodeError) as caught:
        list(am.Loader(pipe, am.Recipe([am.RandomResizedCrop(16)], dtype=torch.uint8), 1))
    text = str(caught.value)
    assert text.startswith("the DALI pipeline given as source failed: DALI: ") and "a/0.webp" in text
    for noise in ("\n", "#", "0x", "__", "[/", "Critical", "Current pipeline"):
        assert noise not in text, text


def test_the_reason_of_a_dali_error():
    lines = ("Critical error in pipeline:\nError in CPU operator `x`,\nencountered:\n\n"
             "Failed to decode sample #0 :\nnvImageCodec failure: '#3'\nCurrent pipeline object is no longer valid.")
    assert _reason(RuntimeError(lines)) == "DALI: Failed to decode a sample: damaged code stream"
    assert _reason(RuntimeError("encountered:\nout of memory\nand more")) == "DALI: out of memory"
    traced = "encountered:\n\n[/opt/dali/x.cc:12] Assert on 'a == b' failed: expected 3\nStacktrace (9 entries):\n[frame 0]: y\n"
    assert _reason(RuntimeError(traced)) == "DALI: Assert on 'a == b' failed: expected 3"
