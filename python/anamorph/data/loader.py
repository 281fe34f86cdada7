"""The Loader: reads, decodes and augments, and yields batches that are ready for the model."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import numpy as np
import torch

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DecodeError, DeviceError
from anamorph.data.background import Background, shared_out
from anamorph.data.batch import Batch
from anamorph.data.codecs import CodecsDecoder
from anamorph.data.dali import DaliDecoder, PipelineSource, Reject, is_pipeline
from anamorph.data.decode import PillowDecoder
from anamorph.data.order import Order
from anamorph.data.sources import ArraySource, Source, open_source
from anamorph.data.transfer import Lease, stage, to_device, upload
from anamorph.images.recipe import MAX_EPOCH
from anamorph.images.render import render

logger = logging.getLogger("anamorph")

# Files and their names to what the next station takes, or in a file's place what is wrong with it.
Decode = Callable[[Sequence[np.ndarray], Sequence[str]], list[Any]]


@dataclass
class Stats:
    """What happened in one pass over the data.

    ``wait_time`` is the time, in seconds, in which the training thread waited for decoded images. Augmenting
    them is not in it, nor is the GPU's share of nvJPEG decoding, which the host does not wait for.
    """

    epoch: int
    batches: int = 0
    images: int = 0
    wait_time: float = 0.0
    skipped: list[DecodeError] = field(default_factory=list)


class Loader:
    """Iterates over augmented batches of a data set: ``for images, targets in Loader(...)``.

    Each batch is ``am.render(images, recipe.plan(index, seed, epoch, ...), targets=labels)``: images
    ``[B, C, H, W]`` in the recipe's dtype on ``device``, and the targets the recipe makes of the labels.
    A source without labels yields the images alone. The sample ids in ``index`` number the samples of the
    source, so any view can be rendered again from its (seed, epoch, id).

    Args:
        source: one of

            * an image folder ``root/class/.../image.jpg``; sorted class names are the labels, as in
              torchvision's ``ImageFolder``;
            * WebDataset tar files (``key.jpg|jpeg|png`` with ``key.cls``), uncompressed: a path, a list, or a
              pattern with wildcards or braces (``"train-{000..012}.tar"``);
            * uint8 images ``[N, H, W, C]`` (numpy or torch, host or GPU), or ``(images, labels)``;
            * a map-style ``torch.utils.data.Dataset`` of ``(image, label)`` or ``image``, the image being PIL,
              a uint8 ``[H, W, C]`` array or a uint8 ``[C, H, W]`` tensor;
            * an ``nvidia.dali`` pipeline with the outputs images, labels[, index]. Shuffling and
              sharding are then the pipeline's, and each pass starts at the first sample of its reader (a pass after one
              that was left early first runs through the rest; without a reader it goes on where the pipeline
              stands). One iterator at a time; without an index output the ids of a rank run on from 0 in steps of
              the world size. ``batch_size`` must be the pipeline's.
        recipe: an ``am.Recipe``.
        batch_size: images per batch and rank.
        device: where the batches are made, ``"cpu"`` or ``"cuda[:i]"``. On a GPU files are decoded there by
            nvJPEG, and all work is queued on the stream that is current when a batch is asked for.
        seed: key of the order and of all augmentation, an integer in [0, 2**64).
        epoch: the first epoch. Each full pass moves on to the next epoch by itself, until ``set_epoch`` is
            called; from then on the caller counts. A pass left early does not move on.
        shard: ``(rank, world)``. The order of an epoch depends on (seed, epoch) only and rank ``r`` takes
            every ``world``-th element, so all ranks together see the same samples for any world size.
        shuffle: a new permutation of all samples in each epoch, or the source's order.
        drop_last: leave out what does not fill all ranks and a last batch; otherwise ranks are padded to
            the same length by wrapping around, as ``DistributedSampler`` does.
        prefetch: how many batches are read (and on a CPU decoded) ahead, and again how many decoded ahead on a GPU; 1
            to 1024.
        decoder: ``"dali"``, ``"pillow"``, or ``"auto"`` (DALI). Arrays, datasets and pipelines need none. Both read
            the same formats alike (``anamorph.data.formats`` has the table), drop alpha, and call a JPEG or PNG without
            its end, or a PNG with a wrong checksum, corrupt. For other damage in the middle of a file each keeps its own
            judgement; libjpeg, and so both, accept some as grey blocks.
        on_error: ``"raise"`` a DecodeError naming the file, after the batches before it; or ``"skip"``: leave
            the sample out (its batch gets smaller, an empty batch is passed over), log it to ``"anamorph"``,
            and list it in ``loader.skipped``. Ranks that must stay in step should raise.
        num_threads: threads that read and decode; by default one per available core (at most 16), but one for
            a ``Dataset``, which is not known to be thread-safe.
        channels: 3 decodes to RGB, 1 to luma.
        exif: turn files as their EXIF (or TIFF) orientation says. By default they come as they lie, as from
            torchvision's ``ImageFolder`` and ``decode_image``, which has ``apply_exif_orientation``; only TIFFs
            are turned by Pillow and so by ``ImageFolder`` whatever one asks for.

    Raises:
        ArgumentError, ShapeError, DtypeError: an argument is not what it should be.
        DeviceError: ``device`` is not available.
        MissingDependencyError: the decoder is not installed.
        DecodeError: while iterating, for an unreadable sample (``on_error="raise"``), or when all were unreadable.

    Frameworks: Lightning's ``Trainer.fit(model, loader)`` and plain loops take it as it is; Lightning sets the
    epoch through ``loader.sampler``, also when it limits the batches, and checkpoints ``state_dict``.
    ``accelerator.prepare(loader)`` returns it unchanged, so pass ``device=accelerator.device`` and
    ``shard=(accelerator.process_index, accelerator.num_processes)``. Under a distributed launch, likewise,
    the shard is not guessed.
    """

    def __init__(
        self,
        source: Any,
        recipe: Any,
        batch_size: int,
        device: str | torch.device = "cpu",
        seed: int = 0,
        epoch: int = 0,
        shard: tuple[int, int] = (0, 1),
        shuffle: bool = True,
        drop_last: bool = False,
        prefetch: int = 2,
        decoder: str = "auto",
        on_error: str = "raise",
        num_threads: int | None = None,
        channels: int = 3,
        exif: bool = False,
    ):
        if not hasattr(recipe, "plan"):
            raise ArgumentError(f"recipe: expected an anamorph.Recipe, given {type(recipe).__name__}")
        batch_size = checks.whole("batch_size", batch_size, 1, 2**31 - 1)
        seed = checks.whole("seed", seed, 0, 2**64 - 1)
        epoch = checks.whole("epoch", epoch, 0, MAX_EPOCH)
        prefetch = checks.whole("prefetch", prefetch, 1, 1024)
        num_threads = None if num_threads is None else checks.whole("num_threads", num_threads, 1, 1024)
        checks.choice("decoder", decoder, ("auto", "dali", "pillow"))
        checks.choice("on_error", on_error, ("raise", "skip"))
        channels = checks.whole("channels", channels, 1)
        if channels not in (1, 3):
            checks.wrong("channels", "1 or 3", channels)
        for name, flag in (("shuffle", shuffle), ("drop_last", drop_last), ("exif", exif)):
            if not isinstance(flag, (bool, np.bool_)):
                raise ArgumentError(f"{name}: expected True or False, given {flag!r}")
        self.recipe = recipe
        self.batch_size = batch_size
        self.seed = seed
        self.device = _device(device)
        self.shard = _shard(shard)
        self.on_error = on_error
        self.stats = Stats(epoch)
        self._prefetch = prefetch
        self._resume: tuple[int, int] | None = None  # (epoch, first batch)
        self._position: tuple[int, int] | None = None  # (epoch, next batch) of the running iteration
        self._decoder: DaliDecoder | None = None
        self._station: Decode | None = None  # which files go through on the host

        self.source: Source | PipelineSource
        if is_pipeline(source):
            if on_error == "skip":
                raise ArgumentError("on_error: 'skip' given with a DALI pipeline, which fails as a whole; use 'raise'")
            self.source = PipelineSource(source, self.device, self.shard, drop_last)
            if batch_size != self.source.batch_size:
                raise ArgumentError(
                    f"batch_size: expected {self.source.batch_size}, that of the DALI pipeline, given {batch_size}"
                )
            samples = 0
        else:
            self.source = open_source(source, channels)
            samples = len(self.source)
            if self.source.thread_safe:
                num_threads = num_threads or min(16, _cores())
            self._num_threads = num_threads or 1
            if self.source.encoded:
                if decoder == "pillow":
                    self._station = PillowDecoder(channels, exif)
                elif self.device.type == "cpu":
                    self._station = CodecsDecoder(channels, exif)
                else:
                    self._decoder = DaliDecoder(
                        batch_size, channels, exif, self.device, prefetch, self._num_threads, self.source.name
                    )
                    self._station = self._decoder.check
        # A dataset is read by one thread at a time, also by two passes, or by one that is just being left.
        self._alone = not getattr(self.source, "thread_safe", True) and self._num_threads == 1
        self._gate = threading.RLock()
        self.batch_sampler = None  # Lightning asks for one, and leaves a loader alone whose answer is none
        self.sampler = Order(
            samples, batch_size, seed=seed, epoch=epoch, shard=self.shard, shuffle=shuffle, drop_last=drop_last
        )

    @property
    def epoch(self) -> int:
        """The epoch of the next pass (of the running one, while one runs)."""
        return self.sampler.epoch

    @property
    def classes(self) -> list[str] | None:
        """Class names by label, where the source has them (image folders, torchvision datasets)."""
        return getattr(self.source, "classes", None)

    @property
    def wait_time(self) -> float:
        """Seconds the training thread waited for data in the last (or running) pass."""
        return self.stats.wait_time

    @property
    def skipped(self) -> list[DecodeError]:
        """The samples left out in the last (or running) pass, ``on_error="skip"``; reading runs ahead."""
        return self.stats.skipped

    def __len__(self) -> int:
        """Batches in one pass of this rank. TypeError for a DALI pipeline that does not know."""
        return len(self.source) if isinstance(self.source, PipelineSource) else len(self.sampler)

    def set_epoch(self, epoch: int) -> None:
        """Makes the next pass that of ``epoch``, and every pass until the next call."""
        self.sampler.set_epoch(epoch)
        if self._position and self._position[0] != epoch:
            self._position = None  # a pass left early is not gone on with

    def state_dict(self) -> dict[str, int]:
        """Where the loader stands, at a batch boundary: enough to go on in another process."""
        resume = self._resume if self._resume and self._resume[0] == self.epoch else None
        epoch, batch = self._position or resume or (self.epoch, 0)
        return {"epoch": epoch, "batch": batch, "seed": self.seed, "batch_size": self.batch_size,
                "world": self.shard[1]}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes on where ``state_dict`` was taken: the next pass starts at that batch.

        ArgumentError when seed, batch size or world size are others: batches would not be the same ones.
        """
        if not isinstance(state, Mapping) or not {"epoch", "batch", "seed", "batch_size", "world"} <= state.keys():
            raise ArgumentError(f"state_dict: expected what state_dict() returned, given {state!r}")
        for key, here in (("seed", self.seed), ("batch_size", self.batch_size), ("world", self.shard[1])):
            if state[key] != here:
                raise ArgumentError(f"state_dict: it was taken with {key} {state[key]}; this loader has {here}")
        epoch = checks.whole("state_dict: epoch", state["epoch"], 0, MAX_EPOCH)
        batch = checks.whole("state_dict: batch", state["batch"], 0)
        if not isinstance(self.source, PipelineSource) and batch >= len(self):
            epoch, batch = epoch + 1, 0  # taken after the last batch, before the loop came back for more
        self.sampler.epoch = epoch
        self._resume = (epoch, batch)
        self._position = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_gate": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _gate=threading.RLock())

    def __iter__(self) -> Iterator:
        epoch = self.epoch
        start = self._resume[1] if self._resume and self._resume[0] == epoch else 0
        self._resume = None
        self._position = (epoch, start)
        self.stats = Stats(epoch)
        return self._pass(epoch, start, self.stats)

    def _pass(self, epoch: int, start: int, stats: Stats) -> Iterator:
        lease = Lease(self.device, limit=self._prefetch + 1)
        batches = self._batches(epoch, start, partial(self._reject, stats))
        try:
            while True:
                began = time.perf_counter()
                batch, held = next(batches, (None, None))
                stats.wait_time += time.perf_counter() - began
                if batch is None:
                    break
                result = self._augment(batch, epoch)
                lease.hold(batch.images, held)
                stats.batches += 1
                stats.images += len(batch.images)
                self._position = (epoch, batch.number + 1)
                del batch, held  # while the model trains, this memory may serve the next batch
                yield result
                del result
            if stats.skipped and not stats.images and not start:
                raise DecodeError(f"all {len(stats.skipped)} samples were unreadable; the first: {stats.skipped[0]}")
            self.sampler.finish_epoch(epoch)
            self._position = None
        finally:
            batches.close()
            lease.release()

    def _batches(self, epoch: int, start: int, reject: Reject) -> Generator[tuple[Batch, Any], None, None]:
        """Decoded batches, each with what has to be kept until its pixels have been read."""
        if isinstance(self.source, PipelineSource):
            yield from self.source.batches(start)
            return
        reader: Generator[Batch, None, None] | Background[Batch]
        if isinstance(self.source, ArraySource) and self.source.on_gpu:
            # An array on the GPU needs no reading ahead, and another thread would use another stream.
            reader = self._read(epoch, start, reject)
        else:
            reader = Background(self._read(epoch, start, reject), self._prefetch)
        try:
            if self._decoder is not None:
                yield from self._decoder.decode(reader, reject)
            else:
                for batch in reader:
                    batch.images = upload(batch.images, self.device)
                    yield batch, None
        finally:
            reader.close()

    def _read(self, epoch: int, start: int, reject: Reject) -> Generator[Batch, None, None]:
        """Runs in the reader thread: encoded batches for DALI, or pixels ready for ``upload``."""
        source = self.source
        if isinstance(source, ArraySource):
            for number, ids in self.sampler.batches(epoch, start):
                labels = None if source.labels is None else source.labels[ids]
                yield Batch(number, ids, stage(source.gather(ids), self.device), labels)
            return
        labelled: bool | None = None
        jobs = (((number, ids), ids.tolist()) for number, ids in self.sampler.batches(epoch, start))
        with closing(shared_out(jobs, self._load, self._num_threads)) as batches:
            for (number, ids), loaded in batches:
                keep = []
                for position, item in enumerate(loaded):
                    if isinstance(item, DecodeError):
                        reject(item)
                    else:
                        keep.append(position)
                if keep:
                    good = [one for one in loaded if not isinstance(one, DecodeError)]
                    labelled = self._labelled(ids[keep], [label for _, label in good], labelled)
                    yield self._assemble(number, ids[keep], good)

    def _load(self, ids: list[int]) -> list[tuple[Any, int | None] | DecodeError]:
        """Some samples; a failure is a value here, so that one bad file does not end the whole batch."""
        loaded = [self._fetch(index) for index in ids]
        if self._station is None:
            return loaded
        names = cast(Source, self.source).name
        good = [(i, *item) for i, item in enumerate(loaded) if not isinstance(item, DecodeError)]
        decoded = self._station([data for _, data, _ in good], [names(ids[i]) for i, _, _ in good])
        for (i, _, label), image in zip(good, decoded):
            loaded[i] = image if isinstance(image, DecodeError) else (image, label)
        return loaded

    def _fetch(self, index: int) -> tuple[Any, int | None] | DecodeError:
        try:
            with self._gate if self._alone else nullcontext():
                return cast(Source, self.source).load(index)
        except DecodeError as error:
            return error

    def _labelled(self, ids: np.ndarray, labels: list[int | None], before: bool | None) -> bool:
        """Whether this batch has labels: all or none, and as those ``before`` it in the pass."""
        first = labels[0] is not None if before is None else before
        for index, label in zip(ids.tolist(), labels):
            if (label is not None) != first:
                name = cast(Source, self.source).name(index)
                has, others = ("no label", "others have") if first else ("a label", "others have none")
                raise ArgumentError(f"source: {name} has {has} while {others}; expected labels for all or none")
        return first

    def _assemble(self, number: int, ids: np.ndarray, loaded: list[tuple[Any, int | None]]) -> Batch:
        images = [image for image, _ in loaded]
        labels = [label for _, label in loaded]
        column = None if labels[0] is None else np.array(labels, dtype=np.int64)
        return Batch(number, ids, images if self._decoder is not None else stage(images, self.device), column)

    def _augment(self, batch: Batch, epoch: int) -> Any:
        # The loader's GPU need not be the current one, whose context pinning would open.
        with torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext():
            index = to_device(batch.ids, self.device)
            plan = self.recipe.plan(index, seed=self.seed, epoch=epoch, size=_sizes(batch.images), device=self.device)
            if batch.labels is None:
                return render(batch.images, plan, layout="NHWC")
            return render(batch.images, plan, targets=to_device(batch.labels, self.device), layout="NHWC")

    def _reject(self, stats: Stats, error: DecodeError) -> None:
        """The one place that decides what an unreadable sample means. Called from any thread."""
        if self.on_error == "raise":
            raise error
        logger.warning("skipped %s", error)
        error.__cause__ = error.__context__ = None
        stats.skipped.append(error.with_traceback(None))  # whose frames hold the file's bytes


def _cores() -> int:
    # The cores this process may use: on a shared machine fewer than there are.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _sizes(images: torch.Tensor | list[torch.Tensor]) -> tuple[int, int] | torch.Tensor:
    """(H, W) when all images agree, else int64 [B, 2]; known on the host, so nothing is asked of the GPU."""
    if isinstance(images, torch.Tensor):
        return images.shape[1], images.shape[2]
    sizes = [(image.shape[0], image.shape[1]) for image in images]
    return sizes[0] if len(set(sizes)) == 1 else torch.tensor(sizes, dtype=torch.int64, device="cpu")


def _shard(value: Any) -> tuple[int, int]:
    try:
        rank, world = value
    except (TypeError, ValueError):
        raise ArgumentError(f"shard: expected (rank, world), given {value!r}") from None
    world = checks.whole("shard[1]", world, 1, 2**31 - 1)
    return checks.whole("shard[0]", rank, 0, world - 1), world


def _device(value: Any) -> torch.device:
    try:
        device = torch.device(value)
    except (RuntimeError, TypeError) as error:
        raise ArgumentError(f"device: expected 'cpu' or 'cuda[:i]', given {value!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise ArgumentError(f"device: expected 'cpu' or 'cuda[:i]', given {value!r}")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise DeviceError(f"device: {value!r} given, but torch finds no usable GPU; use device='cpu'")
        if device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        elif device.index >= torch.cuda.device_count():
            raise DeviceError(f"device: {value!r} given, but there are {torch.cuda.device_count()} GPUs")
    return device
