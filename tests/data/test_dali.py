"""The pipeline that decodes on a GPU, run on the CPU: order, damage, orientation, and what it says."""

import ctypes
import io
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import anamorph as am

dali = pytest.importorskip("nvidia.dali")

from anamorph.core.tensors import as_tensor  # noqa: E402
from anamorph.data import dali as dali_module  # noqa: E402
from anamorph.data.batch import Batch  # noqa: E402
from anamorph.data.dali import DaliDecoder, PipelineSource, _reason, tensors  # noqa: E402
from fake_gpu import fake_gpus  # noqa: E402


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


def test_a_failure_that_is_no_images_fault_is_logged(caplog, monkeypatch):
    station = decoder(2)
    run, calls = dali_module.next_outputs, []

    def fails_once(pipeline, device):
        if not calls:
            calls.append(run(pipeline, device))
            raise RuntimeError("encountered:\nout of memory")
        return run(pipeline, device)

    monkeypatch.setattr(dali_module, "next_outputs", fails_once)
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


# ---- on a GPU that is not there ----

class Sample:
    """Of a tensor list: DALI's side of DLPack, for memory of the host."""

    def __init__(self, array):
        self.array = array

    def __dlpack_device__(self):
        return 1, 0

    def __dlpack__(self, stream=None):
        return self.array.__dlpack__()


class Samples(list):
    def layout(self):
        return "HWC"


class Pipeline:
    """A user's or the decoder's. What its outputs are bound to is found out as DALI does: a stream of handle 0 is the current
    device's, whatever device it was asked of."""

    __module__ = "nvidia.dali.pipeline"
    exec_dynamic, max_batch_size = True, 2

    def __init__(self, gpu, source=None):
        self.gpu, self.source, self.bound, self.built = gpu, source, [], []
        self.batches = iter(range(3))

    def build(self):
        self.built.append(self.gpu.current)

    def reader_meta(self):
        return {}

    def run(self, stream=None):
        if self.source is not None:
            self.source()
        elif next(self.batches, None) is None:
            raise StopIteration
        self.bound.append(None if stream is None else self.gpu.current if stream.cuda_stream == 0 else stream.device.index)
        return (Samples(Sample(np.zeros((4, 5, 3), np.uint8)) for _ in range(2)),)

    def reset(self):
        pass


def runs(source):
    """What a source takes of its pipeline, before the pixels go to the device."""
    return list(iter(lambda: source._take(None), None))


@pytest.fixture
def gpu(monkeypatch):
    return fake_gpus(monkeypatch)


@pytest.mark.parametrize("stream", [0, 0x70])
def test_a_users_pipeline_runs_on_its_own_device(gpu, stream):
    gpu.stream = stream
    pipe = Pipeline(gpu)
    source = PipelineSource(pipe, torch.device("cuda", 1), (0, 1), False)
    assert len(runs(source)) == 3
    assert pipe.built == [1] and pipe.bound == [1, 1, 1] and gpu.current == 0


@pytest.mark.parametrize("stream", [0, 0x70])
def test_the_decoders_pipeline_runs_on_its_own_device(gpu, monkeypatch, stream):
    gpu.stream = stream
    pipes = []

    class Dali:
        fn, types = SimpleNamespace(external_source=print, decoders=SimpleNamespace(image=print)), dali.types

        @staticmethod
        def Pipeline(**options):
            assert options["device_id"] == 1 and options["exec_dynamic"]
            pipes.append(Built(gpu))
            return pipes[0]

    class Built(Pipeline):
        def __enter__(self):
            Dali.fn.external_source = self.feed

        def __exit__(self, *_):
            pass

        def feed(self, source, **_):
            self.source = source

        def set_outputs(self, _):
            pass

    Dali.fn.decoders.image = lambda encoded, **_: encoded
    station = DaliDecoder(2, 3, False, torch.device("cuda", 1), 2, 1, str)
    monkeypatch.setattr(station, "_dali", Dali)
    batches = (Batch(n, np.arange(2), [shade(0), shade(1)], None) for n in range(3))
    assert len(list(station.decode(batches, None))) == 3
    assert pipes[0].built == [1] and pipes[0].bound == [1, 1, 1] and gpu.current == 0


def test_the_legacy_executor_is_given_no_stream(gpu):
    pipe = Pipeline(gpu)
    pipe.exec_dynamic = False
    assert len(runs(PipelineSource(pipe, torch.device("cuda", 1), (0, 1), False))) == 3
    assert pipe.bound == [None] * 3


class Pinned:
    """DALI's memory of the host that a GPU copies from and to, as DLPack names it (kDLCUDAHost), which torch refuses to read."""

    def __init__(self, tensor):
        self.tensor = tensor
        self.kind = type(tensor.__dlpack_device__()[0])

    def __dlpack_device__(self):
        return self.kind(3), 0

    def __dlpack__(self, stream=None, dl_device=None):
        assert stream is None, "memory of the host is waited for"
        if dl_device is not None:  # "downgraded to regular host memory"
            assert dl_device == (self.kind(1), 0)
            return self.tensor.__dlpack__(dl_device=dl_device)
        capsule = np.asarray(self.tensor).__dlpack__()  # DALI's own would ask CUDA when it goes
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        ctypes.c_int32.from_address(pointer(capsule, b"dltensor") + 8).value = 3  # DLTensor: the data, then the device's type
        return capsule


def one_output(values):
    """The tensor list that a pipeline of the host makes of some arrays."""
    pipe = dali.Pipeline(batch_size=len(values), num_threads=1, device_id=None)
    with pipe:
        pipe.set_outputs(dali.fn.external_source(source=lambda: values))
    return pipe.run()[0]


def test_outputs_in_pinned_memory_are_read():
    values = [np.arange(12, dtype=np.uint8).reshape(2, 2, 3), np.full((4, 1, 3), 7, np.uint8)]
    outputs = one_output(values)
    for array, found in zip(values, tensors(outputs)):
        assert np.array_equal(array, found)
    pinned = [Pinned(outputs[i]) for i in range(2)]
    with pytest.raises(BufferError, match="device_type: 3"):
        torch.from_dlpack(pinned[0])  # that it is one
    for i, found in enumerate(tensors(pinned)):
        assert np.array_equal(values[i], found) and found.data_ptr() == outputs[i].data_ptr()
    assert np.array_equal(values[0], as_tensor("images", pinned[0]))
    del outputs, pinned
    assert np.array_equal(values[1], found)  # the memory lives as long as the tensor
