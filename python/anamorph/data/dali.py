"""Everything that touches NVIDIA DALI: its decoders as a station of the loader, and users' own pipelines."""

from __future__ import annotations

import logging
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from anamorph.core.errors import ArgumentError, DecodeError, ShapeError
from anamorph.core.extras import extra
from anamorph.core.tensors import current, from_dlpack
from anamorph.data.background import check_process
from anamorph.data.batch import Batch
from anamorph.data.codecs import CodecsDecoder, codecs, opened
from anamorph.data.formats import orientation, turned

if TYPE_CHECKING:
    from nvidia.dali import Pipeline

logger = logging.getLogger("anamorph")

Reject = Callable[[DecodeError], None]

# nvimgcodecStatus_t, which DALI reports by number.
_CODEC_FAILURES = {3: "damaged code stream", 4: "unknown or unsupported image format", 5: "out of memory", 9: "not supported"}


def require_dali(what: str) -> tuple[ModuleType, ModuleType]:
    """The modules (nvidia.dali, nvidia.nvimgcodec), or one sentence saying which extra to install."""
    with extra("dali", what, ", or pass decoder='pillow' to decode with Pillow"):
        import nvidia.dali as dali
    return dali, codecs(what)


def is_pipeline(source: Any) -> bool:
    """Whether ``source`` is a DALI pipeline; does not import DALI to find out."""
    return any(c.__module__.startswith("nvidia.dali") and c.__name__ == "Pipeline" for c in type(source).__mro__)


class _Feed:
    """What DALI calls for its next batch of encoded images.

    DALI works several batches ahead, without copying what it is given. ``inflight`` keeps those
    batches: their memory must outlive the decoding, and what a pipeline that failed had not delivered is decoded
    without it.
    """

    def __init__(self) -> None:
        self.inflight: deque[Batch] = deque()
        self.batches: Iterator[Batch] = iter(())
        self.error: Exception | None = None

    def restart(self, batches: Iterator[Batch]) -> None:
        self.inflight.clear()
        self.batches = batches
        self.error = None

    def __call__(self) -> list[np.ndarray]:
        try:
            batch = next(self.batches)
        except StopIteration:
            raise
        except Exception as error:
            # DALI is ahead of the consumer: end the epoch here, so that the batches before the bad one
            # are still delivered, and raise when they have been.
            self.error = error
            raise StopIteration from None
        self.inflight.append(batch)
        return batch.images


class DaliDecoder:
    """Encoded batches in, batches decoded on a GPU by nvJPEG out, a few batches ahead, in DALI's own threads.

    The pixels stay in device memory, and the outputs are bound to torch's current stream: that stream waits for the
    decoding, the host does not. (On a CPU a pipeline brings nothing over ``CodecsDecoder``, and there a bad file would
    end it; it works, which is how it is tested.)
    """

    def __init__(self, batch_size: int, channels: int, exif: bool, device: torch.device, prefetch: int, num_threads: int,
                 name: Callable[[int], str]):
        self._dali, self._codecs = require_dali("decoding images on a GPU")
        self._batch_size = batch_size
        self._channels = channels
        self._exif = exif
        self._device = device
        self._prefetch = prefetch
        self._num_threads = num_threads
        self._name = name
        self._process = os.getpid()
        self._spare: tuple[Pipeline, _Feed] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_dali": None, "_codecs": None, "_spare": None}  # a copy builds its own pipeline

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _process=os.getpid())
        self._dali, self._codecs = require_dali("decoding images on a GPU")

    def check(self, files: Sequence[np.ndarray], names: Sequence[str]) -> list[np.ndarray | DecodeError]:
        """The files (uint8 [N]), or in the place of one that DALI would not recognise what is wrong with it.

        Every image must pass before it is decoded in a batch: DALI parses large batches in parallel
        and, when one header is bad, lets go of the batch while its threads still work on it, which ends the
        process. This is DALI's own parser; it takes some microseconds. Damage behind the header is
        reported properly by the decoding itself.
        """
        found = [opened(self._codecs, data, name) for data, name in zip(files, names)]
        return [stream if isinstance(stream, DecodeError) else data for stream, data in zip(found, files)]

    def decode(self, batches: Iterator[Batch], reject: Reject) -> Iterator[tuple[Batch, Any]]:
        """Decodes ``batches``, in order; yields each with what must outlive the reading of its pixels.

        ``reject`` is told of every image that cannot be decoded; what it raises ends the epoch there, and a
        batch that loses all its images is left out. Leaving early (``close``) drops the pipeline; after a
        whole epoch it is kept, for setting up nvJPEG takes longer than decoding many a batch.
        """
        check_process(self._process)
        spare, self._spare = self._spare, None  # two iterations at once must not share a pipeline
        pipeline: Pipeline | None
        if spare is None:
            feed = _Feed()
            pipeline = self._build(feed)
        else:
            pipeline, feed = spare
        feed.restart(batches)
        try:
            while True:
                failure: Exception | None = None
                try:
                    outputs = next_outputs(pipeline, self._device)
                except StopIteration:
                    break
                except Exception as error:
                    failure = error.with_traceback(None)  # its frames would keep the pipeline alive
                if failure is not None:
                    pipeline = None  # dead
                    yield from self._on_the_host(feed, failure, reject)
                    pipeline = self._build(feed)
                    continue
                batch = feed.inflight.popleft()
                decoded = Batch(batch.number, batch.ids, self._turned(tensors(outputs[0]), batch), batch.labels)
                held = (outputs, batch.images)  # an asynchronous decoder may still read the bytes
                del outputs, batch
                yield decoded, held
                del decoded, held
            pipeline.reset()
            self._spare = pipeline, feed
            if feed.error is not None:
                raise feed.error
        finally:
            # A pipeline that is dropped ends its threads; only then may the bytes they read go, which
            # ``feed`` holds until this function returns.
            pipeline = None

    def _turned(self, images: list[torch.Tensor], batch: Batch) -> list[torch.Tensor]:
        if not self._exif:
            return images
        return [turned(image, orientation(data)) for image, data in zip(images, batch.images)]

    def _build(self, source: Callable[[], list[np.ndarray]]) -> Pipeline:
        fn, types = self._dali.fn, self._dali.types
        gpu = self._device.type == "cuda"
        pipeline = self._dali.Pipeline(
            batch_size=self._batch_size,
            num_threads=self._num_threads,
            device_id=(self._device.index or 0) if gpu else None,
            prefetch_queue_depth=self._prefetch,
            exec_dynamic=True,  # outputs belong to whoever holds them, not to the next run
        )
        with pipeline:
            encoded = fn.external_source(source=source, batch=True, no_copy=True, ndim=1, dtype=types.UINT8)
            images = fn.decoders.image(
                encoded,
                device="mixed" if gpu else "cpu",
                output_type=types.GRAY if self._channels == 1 else types.RGB,
                adjust_orientation=False,  # EXIF is read by us, for it is by no decoder in all formats
                jpeg_fancy_upsampling=True,  # chroma interpolated, as by Pillow
            )
            pipeline.set_outputs(images)
        with current(self._device):
            pipeline.build()
        return pipeline

    def _on_the_host(self, feed: _Feed, failure: Exception, reject: Reject) -> Iterator[tuple[Batch, Any]]:
        """After a failed run: the batches DALI had begun, decoded image by image."""
        decode = CodecsDecoder(self._channels, self._exif)
        bad = 0
        while feed.inflight:
            batch = feed.inflight.popleft()
            images = decode(batch.images, [self._name(int(i)) for i in batch.ids])
            errors = {position: image for position, image in enumerate(images) if isinstance(image, DecodeError)}
            for error in errors.values():
                reject(error)
            bad += len(errors)
            batch.images = images
            batch = batch.without(errors)
            if batch.images:
                yield batch, None
        if not bad:  # not the fault of an image that the host could tell: a lost device, out of memory, nvJPEG's judgement
            logger.warning("the GPU's decoder failed, and the CPU's took its place for a moment: %s", _reason(failure))


@dataclass
class _Run:
    """Samples of a pipeline; ``held`` is what their memory belongs to."""

    images: list[torch.Tensor]
    labels: torch.Tensor | None
    ids: torch.Tensor | None
    held: list[Any]

    def part(self, start: int, stop: int | None) -> _Run:
        images = self.images[start:stop]
        labels = None if self.labels is None else self.labels[start:stop]
        return _Run(images, labels, None if self.ids is None else self.ids[start:stop], self.held if images else [])

    def followed_by(self, other: _Run) -> _Run:
        if not self.images:
            return other
        labels = None if self.labels is None or other.labels is None else torch.cat([self.labels, other.labels])
        ids = None if self.ids is None or other.ids is None else torch.cat([self.ids, other.ids])
        return _Run(self.images + other.images, labels, ids, self.held[-1:] + other.held)


def _unpack(outputs: tuple[Any, ...]) -> _Run:
    if not 1 <= len(outputs) <= 3:
        raise ArgumentError(f"source: the DALI pipeline has {len(outputs)} outputs; expected images, labels[, index]")
    images = tensors(outputs[0])
    if images[0].ndim != 3:
        raise ArgumentError(
            f"source: the DALI pipeline gives images of shape {tuple(images[0].shape)}; expected [H, W, C]"
            + (" (decode the files with fn.decoders.image)" if images[0].ndim == 1 else "")
        )
    if outputs[0].layout() == "CHW":
        images = [image.permute(1, 2, 0).contiguous() for image in images]
    labels = _column(outputs[1], "labels") if len(outputs) > 1 else None
    return _Run(images, labels, _column(outputs[2], "index") if len(outputs) == 3 else None, [outputs])


class PipelineSource:
    """A pipeline the user built; its outputs are images, labels and, optionally, sample ids.

    Order, sharding and shuffling are the pipeline's own. An epoch is what its first reader says; every rank
    takes as many samples as the largest shard has. A reader knows no way back and runs on from one epoch into the next,
    also within a batch, so what it gives is cut into epochs here: a pass that was left early is run to its end
    before the next one, and padding is left out. Without a reader an epoch is what an ``external_source``
    gives until it raises StopIteration; whether it ever does is not known, so after a pass that was left early the
    next one goes on where the pipeline stands.
    """

    def __init__(self, pipeline: Pipeline, device: torch.device, shard: tuple[int, int], drop_last: bool):
        try:
            with current(device):
                pipeline.build()
        except Exception as error:
            raise ArgumentError(f"source: the DALI pipeline cannot be built ({_reason(error)})") from error
        self.pipeline = pipeline
        self.batch_size = pipeline.max_batch_size
        self._process = os.getpid()
        self._device = device
        self._rank, self._world = shard
        self._busy = False
        self._ahead = _Run([], None, None, [])
        self._rest = 0  # samples that come before the reader's next epoch
        self._epochs = 0  # that the reader has begun
        self._size: int | None = None  # samples in a pass
        readers = [meta for meta in pipeline.reader_meta().values() if meta.get("epoch_size", 0) > 0]
        if readers:
            self._reader = readers[0]
            largest = -(-self._reader["epoch_size"] // self._reader["number_of_shards"])
            self._size = largest - largest % self.batch_size if drop_last else largest

    def __len__(self) -> int:
        if self._size is None:
            raise TypeError("a DALI pipeline without a reader does not say how long an epoch is")
        return -(-self._size // self.batch_size)

    def __getstate__(self) -> dict[str, Any]:
        raise ArgumentError("source: a loader with a DALI pipeline as its source cannot be copied or pickled;"
                            " build another pipeline and loader")

    def batches(self, start: int) -> Iterator[tuple[Batch, Any]]:
        """Decoded batches on the loader's device; the first ``start`` of the epoch are run and dropped."""
        check_process(self._process)
        if self._busy:
            raise ArgumentError("source: a second iterator given over a DALI pipeline, which has one position;"
                                " expected the first to be used up or closed")
        self._busy = True
        try:
            yield from self._cut(start)
        finally:
            self._busy = False

    def _cut(self, start: int) -> Iterator[tuple[Batch, Any]]:
        number = seen = 0
        if self._size is not None:
            while self._rest:
                if self._take(min(self._rest, self.batch_size)) is None:
                    return
            self._rest = self._epoch_samples()
            self._epochs += 1
        while self._size is None or seen < self._size:
            run = self._take(None if self._size is None else min(self.batch_size, self._size - seen))
            if run is None:
                return
            images, count = run.images, len(run.images)
            # Consecutive per rank, and no id twice among the ranks.
            ids = torch.arange(seen, seen + count, device="cpu") * self._world + self._rank if run.ids is None else run.ids
            seen += count
            if number >= start:
                if self._device.type == "cpu":
                    images = [image.cpu() for image in images]
                yield Batch(number, ids, images, run.labels), run.held
            number += 1

    def _epoch_samples(self) -> int:
        """How many samples the reader gives, padding included, before it begins its next epoch."""
        total, shards = self._reader["epoch_size"], self._reader["number_of_shards"]
        if self._reader["pad_last_batch"]:
            largest = -(-total // shards)
            return -(-largest // self.batch_size) * self.batch_size
        shard = self._reader["shard_id"]
        if not self._reader["stick_to_shard"]:
            shard = (shard + self._epochs) % shards
        return (shard + 1) * total // shards - shard * total // shards

    def _take(self, count: int | None) -> _Run | None:
        """The next ``count`` samples, or those of one run; None where the pipeline's own end is reached."""
        while len(self._ahead.images) < (count or 1):
            if not self.pipeline.exec_dynamic:
                # The old executor overwrites its outputs at the next run, whoever still reads them.
                self._ahead.images = [image.clone() for image in self._ahead.images]
                if self._device.type == "cuda":
                    torch.cuda.current_stream(self._device).synchronize()
            try:
                outputs = next_outputs(self.pipeline, self._device)
            except StopIteration:
                self.pipeline.reset()
                self._ahead, self._rest = _Run([], None, None, []), 0
                return None
            except Exception as error:
                raise DecodeError(f"the DALI pipeline given as source failed: {_reason(error)}") from error
            self._ahead = self._ahead.followed_by(_unpack(outputs))
        run = self._ahead.part(0, count)
        # What a pass takes past the reader's epoch is also the beginning of the next.
        used = len(run.images) if count is None else min(count, self._rest)
        self._ahead = self._ahead.part(used, None)
        self._rest -= 0 if count is None else used
        return run


def next_outputs(pipeline: Pipeline, device: torch.device) -> tuple[Any, ...]:  # tensor lists, whose stubs leave out __dlpack__
    """What a pipeline makes next, before whatever torch's current stream on ``device`` will do.

    That stream waits where it can, the host where the pipeline is one of the legacy executor's or of the host's. The device is
    the current one meanwhile: torch's default stream has the handle 0, which DALI takes for the current device's, and a source
    that the pipeline calls may make arrays.
    """
    with current(device):
        if device.type == "cuda" and pipeline.exec_dynamic:
            return pipeline.run(torch.cuda.current_stream(device))
        return pipeline.run()


def tensors(outputs: Any) -> list[torch.Tensor]:
    """A DALI tensor list as torch tensors that share its memory (and keep it alive)."""
    # The run has already put the outputs before what the stream, or the host, does next.
    return [from_dlpack(outputs[i], ordered=True) for i in range(len(outputs))]


def _column(outputs: Any, what: str) -> torch.Tensor:
    """One integer per sample, int64 [B]."""
    values = tensors(outputs)
    if any(value.numel() != 1 for value in values):
        raise ShapeError(f"source: the DALI pipeline's {what} output has {tuple(values[0].shape)} elements per sample;"
                         " expected one integer")
    return torch.stack([value.reshape(()) for value in values]).to(torch.int64)


def _reason(error: Exception) -> str:
    """The telling line of a DALI error, which comes wrapped in tracebacks, advice and positions in batches and sources."""
    text = str(error).split("encountered:", 1)[-1]
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith(("Current pipeline object", "Critical error"))]
    line = re.sub(r"^\[\S+:\d+\] ", "", lines[0]) if lines else type(error).__name__
    line = re.sub(r"\bsample #\d+ ?: *(?=\S)", "", line)
    line = re.sub(r"\bsample #\d+ ?:?$", "a sample", line)
    if len(lines) > 1 and (failure := re.match(r"nvImageCodec failure: '#(\d+)'", lines[1])):
        line += f": {_CODEC_FAILURES.get(int(failure[1]), 'failure of its codec')}"
    elif line.endswith(":") and len(lines) > 1:
        line += f" {lines[1]}"
    return f"DALI: {line}"
