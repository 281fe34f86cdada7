"""Memory that is not torch's, kept until the GPU has read it."""

from __future__ import annotations

import atexit
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

import torch


class Lease:
    """Keeps foreign memory alive until the GPU has passed the point where it was handed in.

    Decoded images belong to DALI, whose pool may hand their memory to the decoding of another batch as
    soon as Python drops them, while the kernel that reads them is still queued on our stream. An
    event on that stream tells when it has run; asking it costs no synchronisation. At most
    ``limit`` batches are kept: a host that runs further ahead than that waits here for the GPU.

    While a CUDA graph is captured nothing is kept and no event is touched: one recorded then is a place in the graph, which
    cannot be asked for, and asking for another spoils the capture. Nor would one event do, for the graph reads the memory at
    every replay: who keeps the graph keeps what it reads, as with torch's own tensors.
    """

    def __init__(self, device: torch.device, limit: int):
        self._device = device
        self._limit = limit
        self._held: deque[tuple[torch.cuda.Event, tuple[object, ...]]] = deque()

    def hold(self, *things: object) -> None:
        """Keeps ``things`` until what the current stream has queued by now has run; lets go of what has been read."""
        if self._device.type != "cuda":
            return  # on the CPU render returns when it is done
        if torch.cuda.is_current_stream_capturing():  # the current device's stream, as torch.cuda.graph has made it
            return
        if things:
            event = torch.cuda.Event()
            event.record(torch.cuda.current_stream(self._device))
            self._held.append((event, things))
        while len(self._held) > self._limit:
            self._wait()
        while self._held and self._held[0][0].query():
            self._held.popleft()

    def release(self) -> None:
        """Waits for the GPU and lets go of everything."""
        while self._held:
            self._wait()

    def _wait(self) -> None:
        self._held[0][0].synchronize()  # first: what leaves the deque may be gone at once
        self._held.popleft()


AHEAD = 8  # calls whose arrays are kept at most
_leases: dict[torch.device, Lease] = {}
_turn = threading.RLock()


def hold(arrays: Sequence[torch.Tensor]) -> None:
    """Keeps other libraries' arrays on GPUs until what was queued to read them has run.

    Torch gives its own memory out again in the order of its streams; other libraries know nothing of these and may give theirs
    to somebody else the moment Python drops the array.
    """
    if not arrays and not _leases:
        return
    with _turn:
        for device in {array.device for array in arrays} | _leases.keys():
            lease = _leases.setdefault(device, Lease(device, AHEAD))
            lease.hold(*(array for array in arrays if array.device == device))


@atexit.register
def _release_all() -> None:
    # Here and not when the interpreter is half gone, and with it perhaps the library that owns the memory.
    for lease in _leases.values():
        with suppress(RuntimeError):  # of a GPU that has failed, which has been told before
            lease.release()
