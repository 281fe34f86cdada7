"""Host memory to a GPU: side by side in one pinned buffer, by one copy, beside the training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache

import torch

_ALIGNED = 16  # where values of any dtype may begin


@cache
def _copies(device: torch.device) -> torch.cuda.Stream:
    """One for all loaders of a process: memory that torch keeps for a stream serves no other."""
    return torch.cuda.Stream(device)


class Shipment:
    """Tensors on their way to a GPU.

    ``host`` is filled and ``send`` called by the thread that reads, so the copy of a batch runs while the model trains on those
    before it. ``arrive`` makes the current stream wait for the copy. The host waits for nothing.
    """

    def __init__(self, forms: Mapping[str, tuple[torch.dtype, Sequence[int]]], device: torch.device):
        self._forms = forms
        self._device = device
        self._sizes = [math.prod(shape) * dtype.itemsize for dtype, shape in forms.values()]
        with torch.cuda.device(device):  # pinning from a fresh thread would open a context on GPU 0
            self._buffer = torch.empty(sum(map(_padded, self._sizes)), dtype=torch.uint8, device="cpu", pin_memory=True)
        self.host = self._parts()

    def _parts(self) -> dict[str, torch.Tensor]:
        parts = self._buffer.split([_padded(size) for size in self._sizes])
        return {name: part[:size].view(dtype).view(*shape)
                for (name, (dtype, shape)), part, size in zip(self._forms.items(), parts, self._sizes)}

    def send(self) -> None:
        stream = _copies(self._device)
        with torch.cuda.device(self._device), torch.cuda.stream(stream):
            # What is pinned may be let go of: see to_device.
            self._buffer = self._buffer.to(self._device, non_blocking=True)
            self._sent = stream.record_event()
        self.host = {}

    def arrive(self) -> dict[str, torch.Tensor]:
        """The tensors, for work queued on the current stream from here on."""
        stream = torch.cuda.current_stream(self._device)
        stream.wait_event(self._sent)
        # The memory is the copies' stream's, which would write a later batch there as soon as Python lets go of this one.
        self._buffer.record_stream(stream)
        return self._parts()


def _padded(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED
