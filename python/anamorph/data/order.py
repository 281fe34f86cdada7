"""Which sample comes when: a pure function of (seed, epoch), cut into shards and batches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from anamorph.core import checks
from anamorph.images.recipe import MAX_EPOCH


class Order:
    """The sample ids one rank visits, epoch by epoch.

    The permutation depends on (seed, epoch) alone, never on the number of ranks or the batch size,
    so a run may be continued on another number of devices and still see every sample once.
    Rank ``r`` of ``w`` takes elements ``r, r + w, r + 2w, ...`` of it. With ``drop_last`` the tail
    that does not fill all ranks (and then the last incomplete batch) is left out; without, the
    permutation is continued from its start until every rank has the same number of samples, as
    ``torch.utils.data.DistributedSampler`` does.

    It has the ``set_epoch`` of a torch sampler, so code that calls
    ``loader.sampler.set_epoch(epoch)`` works.
    """

    def __init__(self, samples: int, batch_size: int, *, seed: int, epoch: int, shard: tuple[int, int],
                 shuffle: bool, drop_last: bool):
        self.samples = samples
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = epoch
        self.rank, self.world = shard
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.fixed = False  # True once the caller counts the epochs

    def set_epoch(self, epoch: int) -> None:
        """Go to ``epoch`` and stay there until told otherwise."""
        self.epoch = checks.whole("epoch", epoch, 0, MAX_EPOCH)
        self.fixed = True

    def finish_epoch(self, epoch: int) -> None:
        """A whole pass of ``epoch`` is over: count on, unless the caller or another pass did so already."""
        if not self.fixed and self.epoch == epoch:
            self.epoch += 1

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
        return -(-self.samples // self.world)

    def ids(self, epoch: int) -> np.ndarray:
        """The sample ids of this rank in that epoch, int64 [samples_per_rank]."""
        return np.resize(self.permutation(epoch), self.samples_per_rank * self.world)[self.rank :: self.world]

    def __len__(self) -> int:
        """The number of batches."""
        if self.drop_last:
            return self.samples_per_rank // self.batch_size
        return -(-self.samples_per_rank // self.batch_size)

    def batches(self, epoch: int, start: int = 0) -> Iterator[tuple[int, np.ndarray]]:
        """(batch number, sample ids) of that epoch, from batch ``start`` on."""
        ids = self.ids(epoch)
        for number in range(start, len(self)):
            yield number, ids[number * self.batch_size : (number + 1) * self.batch_size]
