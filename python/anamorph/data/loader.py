"""The Loader: reads, decodes and augments, and yields batches that are ready for the model."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from numbers import Integral
from typing import Any, cast

import numpy as np
import torch

from anamorph.core import checks
from anamorph.core.errors import AnamorphError, ArgumentError, DecodeError, DeviceError
from anamorph.core.lease import Lease
from anamorph.core.tensors import current
from anamorph.data.background import Background, Gate, shared_out
from anamorph.data.batch import Batch
from anamorph.data.clouds import CloudDataset, Clouds
from anamorph.data.codecs import CodecsDecoder
from anamorph.data.dali import DaliDecoder, PipelineSource, Reject, is_pipeline
from anamorph.data.dataset import DatasetSource
from anamorph.data.decode import PillowDecoder
from anamorph.data.family import Family, Pictures
from anamorph.data.labels import Label, check, collate, column, extremes, form, label_at, needs_classes, with_classes
from anamorph.data.order import InOrder, Order
from anamorph.data.source import Source, WholeSource
from anamorph.data.turns import Turns
from anamorph.images.recipe import MAX_EPOCH, Recipe
from anamorph.images.views import Views
from anamorph.points.recipe import Recipe as CloudRecipe

logger = logging.getLogger("anamorph")

# Files, uint8 [N], and their names to what the next station takes, or in a file's place what is wrong with it.
Decode = Callable[[Sequence[np.ndarray], Sequence[str]], list[Any]]

# What other loaders are told, and where it is said here.
_ELSEWHERE = {
    "num_workers": "num_threads=, threads that read and decode in this process",
    "pin_memory": "device=, on which batches are made, so that there is nothing to pin",
    "pin_memory_device": "device=",
    "persistent_workers": "num_threads=, threads, of which nothing has to be kept between passes",
    "prefetch_factor": "prefetch=, in batches",
    "dataset": "source=",
    "transform": "recipe=",
    "collate_fn": "recipe=, which makes whole batches",
    "sampler": "shuffle=, seed= and shard=",
    "batch_sampler": "batch_size=, shuffle=, seed= and shard=",
    "generator": "seed=",
    "worker_init_fn": "seed=, the only source of random numbers",
    "rank": "shard=(rank, world)",
    "world_size": "shard=(rank, world)",
    "return_index": "with_index=",
}


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

    A label is a class id, or a vector of numbers (multi-hot, soft, what is to be regressed), which is mixed like soft targets,
    or a dict, which is passed on with its entries put together as torch's ``DataLoader`` does (never by a recipe that mixes).
    A recipe that mixes or smooths labels and has no ``num_classes`` takes it from the source: the number of class folders or
    named classes, or the highest label + 1, or the length of the vectors. One that does neither passes class ids through,
    int64 ``[B]``.

    Args:
        source: one of

            * an image folder ``root/class/.../image.jpg``; sorted class names are the labels, as in
              torchvision's ``ImageFolder``;
            * WebDataset tar files, uncompressed: a path, a list, or a pattern with wildcards or braces
              (``"train-{000..012}.tar"``). A sample is what has one key, the name up to the first dot: a picture of a suffix
              that ``ImageFolder`` takes, and its label as a class id in ``.cls``; or in ``.json``, as a number, a list, an
              object's entry "label" or "cls", or the object; or as a class id in ``.txt``;
            * uint8 images ``[N, H, W, C]``, ``[N, C, H, W]`` or ``[N, H, W]`` (numpy or torch, host or GPU), or clips
              ``[N, T, H, W, C]`` or ``[N, T, C, H, W]``, or ``(images, labels)`` with labels ``[N]``, ``[N, K]`` or a dict of
              such;
            * a map-style ``torch.utils.data.Dataset`` (or a Hugging Face one) of ``(image, label)``, ``{"image": ...,
              "label": ...}`` or ``image``, the image being PIL, a uint8 ``[H, W, C]`` array or a uint8 ``[C, H, W]`` tensor. A
              list of T pictures is a clip, and a batch is ``[B, T, C, H, W]``;
            * an ``nvidia.dali`` pipeline with the outputs images, labels[, index]. Shuffling and
              sharding are then the pipeline's, and each pass starts at the first sample of its reader (a pass after one
              that was left early first runs through the rest; without a reader it goes on where the pipeline
              stands). One iterator at a time; without an index output the ids of a rank run on from 0 in steps of
              the world size. ``batch_size`` must be the pipeline's.
        recipe: an ``am.Recipe``, or an ``am.points.Recipe``, or :func:`anamorph.views` of several of the first: then dicts by
            name stand where images would, and where targets would that a recipe makes.
        batch_size: images per batch and rank.
        device: where the batches are made, ``"cpu"``, ``"cuda[:i]"`` or the number of a GPU. On a GPU files are decoded there
            by nvJPEG, and all work is queued on the stream that is current when a batch is asked for. Pixels that were
            decoded on the host are copied on a stream of their own, for which that one waits, while the model trains. The
            Loader's threads call CUDA: capture a CUDA graph before iterating, or with ``capture_error_mode="thread_local"``.
        seed: key of the order and of all augmentation, an integer in [0, 2**64).
        epoch: the first epoch. Each full pass moves on to the next epoch by itself, until ``set_epoch`` is
            called; from then on the caller counts. A pass left early does not move on. A pass begins, and takes its epoch,
            when its first batch is asked for.
        shard: ``(rank, world)``. The order of an epoch depends on (seed, epoch) only and rank ``r`` takes
            every ``world``-th element, so all ranks together see the same samples for any world size.
        shuffle: a new permutation of all samples in each epoch, or the source's order.
        drop_last: leave out what does not fill all ranks and a last batch; otherwise ranks are padded to
            the same length by wrapping around, as ``DistributedSampler`` does.
        prefetch: how many batches are read (and on a CPU decoded) ahead, and again how many decoded ahead on a GPU; 1 to 1024.
            Of pixels that come from the host so many batches, and one, lie on the GPU.
        decoder: ``"dali"``, ``"pillow"``, or ``"auto"`` (DALI). Arrays, datasets and pipelines need none. Both read the same
            formats alike (``anamorph.data.formats`` has the table), drop alpha, and refuse the same other ones, files that end
            too soon, and PNGs with a wrong checksum. For other damage in the middle of a file each keeps its own judgement;
            libjpeg, and so both, accept some as grey blocks.
        on_error: ``"raise"`` a DecodeError naming the file, after the batches before it; or ``"skip"``: leave
            the sample out (its batch gets smaller, an empty batch is passed over), log it to ``"anamorph"``,
            and list it in ``loader.skipped``. Ranks that must stay in step should raise.
        num_threads: threads that read and decode; by default one per available core (at most 16), but one for
            a ``Dataset``, which is not known to be thread-safe.
        channels: 3 decodes to RGB, 1 to luma.
        pad: False gives every sample exactly once over all ranks, for evaluation: some ranks then have one sample less, and may
            have a batch less, as their ``len`` says; ranks that wait for each other at every batch need True.
        with_index: yield the sample ids too, int64 ``[B]`` on the device, as the last of a batch.
        labels: False leaves the source's labels out.
        allow_empty: take class folders without images as classes without samples, as ``ImageFolder`` does when told so.
        exif: turn files as their EXIF (or TIFF) orientation says. By default they come as they lie, as from torchvision's
            ``ImageFolder`` and ``decode_image``, which has ``apply_exif_orientation``; only TIFFs are turned by Pillow and so
            by ``ImageFolder`` whatever one asks for.
        change, drift: how the views of a clip's frames differ, as of ``Recipe.plan``; by default not at all.
        attributes: of clouds, which of what their points have is yielded with them: names such as "normals", "colors", "labels".
        mesh_points: of clouds, how many points a mesh is sampled at; by default 2,048.

    **Point clouds.** With an :class:`anamorph.points.Recipe` the views are float32 ``[B, M, 3]``, and with ``attributes`` a dict
    of "points", each attribute and "origin" (:func:`anamorph.points.render`). ``source`` is then one of

        * a folder ``root/class/.../file``, or HDF5 files in ModelNet40's form: a path, a list, a pattern, or a folder of them.
          The formats are those of :func:`anamorph.points.read_cloud`;
        * clouds in memory: float32 ``[n, N, 3]`` (numpy or torch, host or GPU), or a list of ``[N, 3]`` on the host, in whose
          place a dict of "points" and attributes may stand; or ``(clouds, labels)``;
        * a map-style dataset of ``(cloud, label)`` or ``cloud``, a cloud being as in such a list.

    A mesh is sampled by the key (seed, sample id): at the same points in every epoch. HDF5 files are read into memory once. A
    batch is dense: where clouds differ in size, or the recipe's draw decides it, the recipe has ``num_points``. ``decoder`` is
    not used, and ``channels``, ``exif``, ``change`` and ``drift`` are about pictures.

    Where the recipe has :func:`anamorph.schedule`, ``step`` is the number of the batch in the pass, from 0.

    Raises:
        ArgumentError, ShapeError, DtypeError: an argument is not what it should be.
        DeviceError: ``device`` is not available.
        MissingDependencyError: the decoder is not installed.
        DecodeError: while iterating, for an unreadable sample (``on_error="raise"``), or when all were unreadable; for an HDF5
            file at once.

    Frameworks: Lightning's ``Trainer.fit(model, loader)`` and plain loops take it as it is; Lightning sets the
    epoch through ``loader.sampler``, also when it limits the batches, and checkpoints ``state_dict``.
    ``accelerator.prepare(loader)`` returns it unchanged, so pass ``device=accelerator.device`` and
    ``shard=(accelerator.process_index, accelerator.num_processes)``; with ``accelerator.register_for_checkpointing(loader)``
    its ``save_state`` and ``load_state`` keep where it stands, and the loop needs no ``skip_first_batches``, which works too.
    Under a distributed launch, likewise, the shard is not guessed.
    """

    prefetch_factor = None  # of a DataLoader without workers, for which accelerate would take another number

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
        pad: bool = True,
        with_index: bool = False,
        labels: bool = True,
        allow_empty: bool = False,
        exif: bool = False,
        change: str = "none",
        drift: float = 0.2,
        attributes: Sequence[str] = (),
        mesh_points: int | None = None,
        **unknown: Any,
    ):
        for name in unknown:
            if name not in _ELSEWHERE:
                raise TypeError(f"Loader.__init__() got an unexpected keyword argument {name!r}")
            raise ArgumentError(f"{name}: expected {_ELSEWHERE[name]}, given {name}={unknown[name]!r}")
        if not isinstance(recipe, Recipe | Views | CloudRecipe):
            raise ArgumentError("recipe: expected an anamorph.Recipe or views, or an anamorph.points.Recipe, given "
                                f"{type(recipe).__name__}")
        batch_size = checks.whole("batch_size", batch_size, 1, 2**31 - 1)
        seed = checks.whole("seed", seed, 0, 2**64 - 1)
        epoch = checks.whole("epoch", epoch, 0, MAX_EPOCH)
        prefetch = checks.whole("prefetch", prefetch, 1, 1024)
        num_threads = None if num_threads is None else checks.whole("num_threads", num_threads, 1, 1024)
        checks.choice("decoder", decoder, ("auto", "dali", "pillow"))
        checks.choice("on_error", on_error, ("raise", "skip"))
        channels = _channels(channels)
        self._family: Family
        if isinstance(recipe, CloudRecipe):
            self._family = Clouds(recipe, seed, attributes, mesh_points, channels=channels, exif=exif, change=change)
        else:
            self._family = Pictures(recipe, channels, change, drift, attributes, mesh_points)
        for name, flag in (("shuffle", shuffle), ("drop_last", drop_last), ("pad", pad), ("with_index", with_index),
                           ("labels", labels), ("allow_empty", allow_empty), ("exif", exif)):
            if not isinstance(flag, (bool, np.bool_)):
                checks.wrong(name, "True or False", flag)
        if drop_last and not pad:
            raise ArgumentError("pad: expected True with drop_last=True, which leaves samples out, given False")
        self.batch_size = batch_size
        self.seed = seed
        self.device = _device(device)
        self.shard = _shard(shard)
        self.on_error = on_error
        self.with_index = bool(with_index)
        self.stats = Stats(epoch)
        self._prefetch = prefetch
        self._resume: tuple[int, int] | None = None  # (epoch, first batch)
        self._position: tuple[int, int] | None = None  # (epoch, next batch) of the running iteration
        self._decoder: DaliDecoder | None = None
        self._station: Decode | None = None  # which files go through on the host

        self.source: Source | PipelineSource
        if is_pipeline(source) and isinstance(self._family, Pictures):
            if on_error == "skip":
                raise ArgumentError("on_error: expected 'raise' for a DALI pipeline, which fails as a whole, given 'skip'")
            if not pad or allow_empty:
                name, flag = ("allow_empty", allow_empty) if pad else ("pad", pad)
                raise ArgumentError(f"{name}: expected {not flag} for a DALI pipeline, which has its own reader, given {flag}")
            self.source = PipelineSource(source, self.device, self.shard, drop_last)
            if batch_size != self.source.batch_size:
                raise ArgumentError(f"batch_size: expected {self.source.batch_size}, the DALI pipeline's, given {batch_size}")
            samples = 0
        else:
            self.source = self._family.open(source, bool(labels), bool(allow_empty))
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
        if exif and self._station is None:
            raise ArgumentError(f"exif: expected an image folder or tar files as the source, given {type(source).__name__}, "
                                "whose pictures are decoded already")
        self._labels = bool(labels)
        self.recipe = self._fitted(recipe)
        self._family.check(self.recipe, self.source)
        # A dataset is read by one thread at a time, also by two passes, or by one that is just being left.
        self._alone = not getattr(self.source, "thread_safe", True) and self._num_threads == 1
        self._gate = Gate()
        order = Order if shuffle else InOrder
        self.sampler = order(samples, batch_size, seed=seed, epoch=epoch, shard=self.shard, shuffle=bool(shuffle),
                             drop_last=bool(drop_last), pad=bool(pad))
        self.batch_sampler = Turns(self.sampler)

    def _fitted(self, recipe: Recipe | Views | CloudRecipe) -> Recipe | Views | CloudRecipe:
        """The recipe with the source's number of classes, where it needs one; raises where the labels do not fit it."""
        source = self.source
        if not self._labels:
            return recipe
        if isinstance(source, PipelineSource):
            labelled = len(source.pipeline.output_ndim()) > 1
            return with_classes(recipe, None, "a DALI pipeline") if labelled else recipe
        known = source.num_classes
        if needs_classes(recipe) or recipe._mixes:
            label = source.first_label()  # read only here: a dataset's come with its items, which may take long
            if label is None:
                return recipe
            if not isinstance(label, int):
                check(label, recipe, partial(source.name, 0))
                known = len(label)
        recipe = with_classes(recipe, known, type(self.dataset).__name__)
        if source.labels is not None:
            for index in extremes(source.labels):
                check(source.label(index), recipe, partial(source.name, index))
        return recipe

    @property
    def dataset(self) -> Any:
        """The dataset that was given, or what the samples of another source are numbered by; it has a length."""
        return self.source.dataset if isinstance(self.source, DatasetSource | CloudDataset) else self.source

    @property
    def class_to_idx(self) -> dict[str, int] | None:
        """Labels by class name, where the source has names."""
        return getattr(self.source, "class_to_idx", None)

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

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands, at a batch boundary: enough to go on in another process."""
        # A pass of another epoch, left early, is not gone on with.
        standing = [place for place in (self._position, self._resume) if place and place[0] == self.epoch]
        epoch, batch = standing[0] if standing else (self.epoch, len(self) if self.sampler.over else 0)
        return {"epoch": epoch, "batch": batch, **self._identity()}

    def _identity(self) -> dict[str, Any]:
        """What must be the same for batches to be the same."""
        order = self.sampler
        return {"seed": self.seed, "batch_size": self.batch_size, "world": order.world, "samples": order.samples,
                "shuffle": order.shuffle, "drop_last": order.drop_last, "pad": order.pad, "recipe": self.recipe.fingerprint,
                **self._family.identity}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where ``state_dict`` was taken: the next pass starts at that batch.

        ArgumentError for a state of other batches: of another seed, batch size, number of ranks or samples, order, recipe,
        change or drift.
        """
        here = self._identity()
        if not isinstance(state, Mapping) or not {"epoch", "batch", *here} <= state.keys():
            raise ArgumentError(f"state_dict: expected what state_dict() returned, given {state!r}")
        for key, value in here.items():
            if state[key] != value:
                raise ArgumentError(f"state_dict: expected {key} {value}, this loader's, given {state[key]}")
        last = None if isinstance(self.source, PipelineSource) else self.sampler.longest
        epoch = checks.whole("state_dict: epoch", state["epoch"], 0, MAX_EPOCH)
        batch = checks.whole("state_dict: batch", state["batch"], 0, last)
        self._resume = self._position = None
        if batch and batch == last:  # taken after the last batch, before the loop came back for more
            self.sampler.go_to_next(epoch)
        else:
            self.sampler.epoch, self.sampler.over = epoch, False
            self._resume = (epoch, batch)

    def collate_fn(self, _: Any) -> Any:
        """The next batch of a DataLoader that was made of this loader's parts: ``turns.py``."""
        return self.batch_sampler.take(self._from)

    def replay(self, index: int, epoch: int) -> tuple[Any, Any]:
        """The view of a sample that a pass of ``epoch`` gave, or will give: the same bits.

        The batch that the sample is in is read and rendered again, because a recipe that mixes takes the partner from there. A
        pass that runs is not disturbed.

        Args:
            index: the sample's number in the source.
            epoch: of the pass.

        Returns:
            The view ``[C, H, W]`` (of a clip ``[T, C, H, W]``) and what was done, as ``plan[i]`` says it. Of several views dicts
            of these by name, ``[n, C, H, W]`` and a tuple of n where (recipe, n) was given.

        Raises:
            ArgumentError: a sample that this rank does not see in that epoch; a DALI pipeline, whose order is its own.
            DecodeError: it, or with ``on_error="raise"`` another one of its batch, cannot be read.
        """
        if isinstance(self.source, PipelineSource):
            raise ArgumentError("replay: expected a source whose order is the Loader's, given a DALI pipeline")
        index = checks.whole("index", index, 0, len(self.source) - 1)
        epoch = checks.whole("epoch", epoch, 0, MAX_EPOCH)
        places = np.flatnonzero(self.sampler.ids(epoch) == index)
        number = int(places[0]) // self.batch_size if len(places) else len(self)
        if number >= len(self):
            order = self.sampler
            raise ArgumentError(f"index: expected a sample that rank {order.rank} of {order.world} sees in epoch {epoch}, given "
                                f"{index}")
        rejected: list[DecodeError] = []
        reject = partial(self._reject, Stats(epoch)) if self.on_error == "raise" else rejected.append
        with closing(self._batches(epoch, number, reject)) as batches:
            batch, held = next(batches, (None, None))
            if batch is None or batch.number != number:
                raise rejected[0]
            with current(self.device):
                batch.labels = None
                batch.arrive(self.device)
                at = (cast(torch.Tensor, batch.ids) == index).nonzero()
                if not len(at):
                    raise next(e for e in rejected if self._name(index) in str(e))
                found = self._family.replay(batch, self._plan(batch, epoch), int(at[0]))
            del held
        return found

    def _from(self, number: int) -> Iterator:
        self._resume = (self.epoch, number)
        return iter(self)

    def __iter__(self) -> Iterator:
        # A generator, so the epoch is that of the moment in which the first batch is asked for: Lightning calls iter, and tells
        # the epoch afterwards.
        epoch = self.sampler.begin()
        start = self._resume[1] if self._resume and self._resume[0] == epoch else 0
        self._resume = None
        self._position = (epoch, start)
        self.stats = stats = Stats(epoch)
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
        if isinstance(self.source, WholeSource) and self.source.on_gpu:
            # An array on the GPU needs no reading ahead, and another thread would use another stream.
            reader = self._read(epoch, start, reject)
        else:
            reader = Background(self._read(epoch, start, reject), self._prefetch)
        try:
            if self._decoder is not None:
                yield from self._decoder.decode(reader, reject)
            else:
                for batch in reader:
                    yield batch, None
        finally:
            reader.close()

    def _read(self, epoch: int, start: int, reject: Reject) -> Generator[Batch, None, None]:
        """Runs in the reader thread: encoded batches for DALI, or pixels, on their way to a GPU."""
        source = self.source
        if isinstance(source, WholeSource):
            for number, ids in self.sampler.batches(epoch, start):
                labels = None if source.labels is None or not self._labels else source.labels[ids]
                batch = source.batch(number, ids, labels)
                if source.on_gpu:
                    batch.arrive(self.device)
                source.fill(batch)
                yield batch if source.on_gpu else batch.ship(self.device)
            return
        before: tuple[str, int] | None = None  # what the labels of this pass are, and a sample that has one
        jobs = (((number, ids), ids.tolist()) for number, ids in self.sampler.batches(epoch, start))
        with closing(shared_out(jobs, self._load, self._num_threads)) as batches:
            for (number, ids), loaded in batches:
                keep, good = [], []
                for index, item in zip(ids.tolist(), loaded):
                    if isinstance(item, DecodeError):
                        reject(item)
                    else:
                        keep.append(index)
                        good.append(item)
                if keep:
                    before = self._check_forms(keep, [label for _, label in good], before)
                    batch = self._assemble(number, np.array(keep), good)
                    self._check_labels(batch)
                    yield batch if self._decoder is not None else batch.ship(self.device)

    def _load(self, ids: list[int]) -> list[tuple[Any, Label | None] | DecodeError]:
        """Some samples as ``_assemble`` takes them. Runs in the reading threads."""
        loaded = [self._fetch(index) for index in ids]
        if self._station is None:
            return loaded
        names = cast(Source, self.source).name
        good = [(i, *item) for i, item in enumerate(loaded) if not isinstance(item, DecodeError)]
        decoded = self._station([data for _, data, _ in good], [names(ids[i]) for i, _, _ in good])
        for (i, _, label), image in zip(good, decoded):
            loaded[i] = image if isinstance(image, DecodeError) else (image, label)
        return loaded

    def _fetch(self, index: int) -> tuple[Any, Label | None] | DecodeError:
        """One sample of the source; a failure is a value, so that one bad file does not end the whole batch."""
        try:
            with self._gate if self._alone else nullcontext():
                return cast(Source, self.source).load(index)
        except DecodeError as error:
            return error

    def _check_forms(self, ids: list[int], labels: list[Label | None], before: tuple[str, int] | None) -> tuple[str, int]:
        """Labels come with all samples of a pass, in one form, or with none."""
        expected, one = before or (form(labels[0]), ids[0])
        for index, label in zip(ids, labels):
            if form(label) != expected:
                raise ArgumentError(f"source: expected labels of one form for all samples or none, given {form(label)} for "
                                    f"{self._name(index)} and {expected} for {self._name(one)}")
        return expected, one

    def _check_labels(self, batch: Batch) -> None:
        """They fit the recipe, as far as they are on the host."""
        labels = batch.labels
        if labels is None or (isinstance(labels, torch.Tensor) and labels.is_cuda):
            return
        labels = np.asarray(labels)
        for at in extremes(labels):
            check(label_at(labels, at), self.recipe, partial(self._name, int(batch.ids[at])))

    def _assemble(self, number: int, ids: np.ndarray, loaded: list[tuple[Any, Label | None]]) -> Batch:
        samples = [sample for sample, _ in loaded]
        labels = column([label for _, label in loaded])
        if self._decoder is not None:
            return Batch(number, ids, samples, labels)
        return self._family.assemble(number, ids, samples, labels, [partial(self._name, index) for index in ids.tolist()])

    def _augment(self, batch: Batch, epoch: int) -> Any:
        # The loader's GPU need not be the current one, whose context pinning would open.
        with current(self.device):
            if not self._labels:
                batch.labels = None
            if isinstance(self.source, PipelineSource):
                self._check_labels(batch)
            try:
                batch.arrive(self.device)
                targets = None if batch.labels is None else collate(batch.labels, self.device)
                if targets is None or isinstance(targets, Mapping):  # of which the recipe makes nothing
                    parts = [self._render(batch, None, epoch), *(() if targets is None else (targets,))]
                else:
                    parts = [*self._render(batch, targets, epoch)]
            except AnamorphError as error:
                raise type(error)(f"{error} (in the batch that begins with {self._name(int(batch.ids[0]))})") from None
        if self.with_index:
            parts.append(batch.ids)
        return tuple(parts) if len(parts) > 1 else parts[0]

    def _render(self, batch: Batch, targets: torch.Tensor | None, epoch: int) -> Any:
        return self._family.render(batch, self._plan(batch, epoch), targets)

    def _plan(self, batch: Batch, epoch: int) -> Any:
        return self._family.plan(self.recipe, batch, self.seed, epoch, self.device, partial(self._name_of, batch.ids))

    def _name_of(self, ids: np.ndarray | torch.Tensor, at: int) -> str:
        """Of a sample of a batch, for an error; only then, as ids may lie on a GPU."""
        return self._name(int(ids[at]))

    def _name(self, index: int) -> str:
        return f"sample {index} of the DALI pipeline" if isinstance(self.source, PipelineSource) else self.source.name(index)

    def _reject(self, stats: Stats, error: DecodeError) -> None:
        """The one place that decides what an unreadable sample means. Called from any thread."""
        if self.on_error == "raise":
            raise error
        logger.warning("skipped %s", error)
        error.__cause__ = error.__context__ = None
        stats.skipped.append(error.with_traceback(None))  # whose frames hold the file's bytes


def _channels(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value not in (1, 3):
        checks.wrong("channels", "1 or 3", value)
    return int(value)


def _cores() -> int:
    # The cores this process may use: on a shared machine fewer than there are.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _shard(value: Any) -> tuple[int, int]:
    try:
        rank, world = value
    except (TypeError, ValueError):
        raise ArgumentError(f"shard: expected (rank, world), given {value!r}") from None
    world = checks.whole("shard[1]", world, 1, 2**31 - 1)
    return checks.whole("shard[0]", rank, 0, world - 1), world


def _device(value: Any) -> torch.device:
    expected = "'cpu', 'cuda[:i]' or the number of a GPU"
    numbered = isinstance(value, Integral) and not isinstance(value, bool)
    try:
        device = torch.device(f"cuda:{value}" if numbered else value)
    except (RuntimeError, TypeError):
        checks.wrong("device", expected, value)
    if device.type not in ("cpu", "cuda"):
        checks.wrong("device", expected, value)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise DeviceError(f"device: expected 'cpu', as torch finds no usable GPU, given {value!r}")
        if device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        elif device.index >= torch.cuda.device_count():
            raise DeviceError(f"device: expected a GPU below {torch.cuda.device_count()}, how many there are, given {value!r}")
    return device
