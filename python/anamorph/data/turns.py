"""A Loader as the three parts of a torch DataLoader, for code that makes another DataLoader of them.

``accelerate.skip_first_batches`` does: it takes ``dataset``, ``batch_sampler`` and ``collate_fn``, and leaves out the first
numbers that the batch sampler gives. Here a batch sampler gives turns, each of no samples, and collating them takes the next
batch of a pass of the Loader, which begins at the first turn that was not left out. So nothing is read for those that were, and
reading ahead, the epoch and ``state_dict`` are what they always are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anamorph.data.order import Order


class Turns:
    """The batches of a pass by their numbers; ``begin`` starts a pass at one of them."""

    def __init__(self, sampler: Order):
        self.sampler = sampler
        self._number = 0
        self._running: Iterator[Any] | None = None

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[list[int]]:
        self._running = None
        for number in range(len(self)):
            self._number = number
            yield []
        if self._running is not None:
            next(self._running, None)  # so that the pass ends, and the epoch with it

    def take(self, begin: Any) -> Any:
        """The batch whose turn it is; ``begin(number)`` starts a pass there."""
        if self._running is None:
            self._running = begin(self._number)
        return next(self._running)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_running": None}
