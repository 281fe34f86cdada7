"""Which sample comes when: a pure function of (seed, epoch), cut into shards and batches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import SequentialSampler

from anamorph.core import checks
from anamorph.core.errors import ArgumentError
from anamorph.images.recipe import MAX_EPOCH


class Order:
    """The sample ids one rank visits, epoch by epoch.

    The permutation depends on (seed, epoch) alone, never on the number of ranks or the batch size,
    so a run may be continued on another number of devices and still see every sample once.
    Rank ``r`` of ``w`` takes elements ``r, r + w, r + 2w, ...`` of it. With ``drop_last`` the tail
    that does not fill all ranks (and then the last incomplete batch) is left out; with ``pad`` the
    permutation is continued from its start until every rank has the same number of samples, as
    ``torch.utils.data.DistributedSampler`` does; with neither, every sample comes exactly once and
    some ranks have one less.

    It has the ``set_epoch`` of a torch sampler, so code that calls
    ``loader.sampler.set_epoch(epoch)`` works.
    """

    def __init__(self, samples: int, batch_size: int, *, seed: int, epoch: int, shard: tuple[int, int],
                 shuffle: bool, drop_last: bool, pad: bool = True):
        self.samples = samples
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = epoch
        self.rank, self.world = shard
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.pad = pad
        self.over = False  # True once the last epoch that there is has been counted off
        self.fixed = False  # True once the caller counts the epochs

    def set_epoch(self, epoch: int) -> None:
        """Go to ``epoch`` and stay there until told otherwise."""
        self.epoch = checks.whole("epoch", epoch, 0, MAX_EPOCH)
        self.fixed, self.over = True, False

    def finish_epoch(self, epoch: int) -> None:
        """A whole pass of ``epoch`` is over: count on, unless the caller or another pass did so already."""
        if not self.fixed and self.epoch == epoch:
            self.go_to_next(epoch)

    def go_to_next(self, epoch: int) -> None:
        """Stand at the beginning of the epoch after ``epoch``, or, after the last, at its end."""
        self.epoch, self.over = min(epoch + 1, MAX_EPOCH), epoch == MAX_EPOCH

    def begin(self) -> int:
        """The epoch of a pass that begins now."""
        if self.over:
            raise ArgumentError(f"epoch: expected set_epoch with a number from 0 to {MAX_EPOCH}, given a pass after the last")
        return self.epoch

    def permutation(self, epoch: int) -> np.ndarray:
        """All sample ids in that epoch's order, int64 [samples]."""
        if not self.shuffle:
            return np.arange(self.samples, dtype=np.int64)
        # Sorting raw words rather than Generator.permutation: numpy promises that a bit generator's
        # stream never changes, which it does not promise for what Generator makes of it.
        key = np.array([self.seed, epoch], dtype=np.uint64)
        words = np.random.Philox(key=key).random_raw(self.samples)
        return np.argsort(words, kind="stable").astype(np.int64, copy=False)

    @property
    def samples_per_rank(self) -> int:
        if self.drop_last:
            return self.samples // self.world
        return -(-self.samples // self.world) if self.pad else len(range(self.rank, self.samples, self.world))

    def ids(self, epoch: int) -> np.ndarray:
        """The sample ids of this rank in that epoch, int64 [samples_per_rank]."""
        every = self.permutation(epoch)
        if self.drop_last or self.pad:
            every = np.resize(every, self.samples_per_rank * self.world)
        return every[self.rank :: self.world]

    def __iter__(self) -> Iterator[int]:
        return iter(self.ids(self.epoch).tolist())

    def __len__(self) -> int:
        """The number of batches."""
        if self.drop_last:
            return self.samples_per_rank // self.batch_size
        return -(-self.samples_per_rank // self.batch_size)

    @property
    def longest(self) -> int:
        """The number of batches of the rank that has the most, which the first one has."""
        return len(self) if self.drop_last else -(-self.samples // (self.world * self.batch_size))

    def batches(self, epoch: int, start: int = 0) -> Iterator[tuple[int, np.ndarray]]:
        """(batch number, sample ids) of that epoch, from batch ``start`` on."""
        ids = self.ids(epoch)
        for number in range(start, len(self)):
            yield number, ids[number * self.batch_size : (number + 1) * self.batch_size]


class InOrder(Order, SequentialSampler):
    """The order of a source that is not shuffled. Its class says so to frameworks that would turn shuffling off."""
