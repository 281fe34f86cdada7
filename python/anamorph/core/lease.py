"""Memory that is not torch's, kept until the GPU has read it."""

from __future__ import annotations

from collections import deque

import torch


class Lease:
    """Keeps foreign memory alive until the GPU has passed the point where it was handed in.

    Decoded images belong to DALI, whose pool may hand their memory to the decoding of another batch as
    soon as Python drops them, while the kernel that reads them is still queued on our stream. An
    event on that stream tells when it has run; asking it costs no synchronisation. At most
    ``limit`` batches are kept: a host that runs further ahead than that waits here for the GPU.
    """

    def __init__(self, device: torch.device, limit: int):
        self._device = device
        self._limit = limit
        self._held: deque[tuple[torch.cuda.Event, tuple[object, ...]]] = deque()

    def hold(self, *things: object) -> None:
        if self._device.type != "cuda":
            return  # on the CPU render returns when it is done
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(self._device))
        self._held.append((event, things))
        while len(self._held) > self._limit:
            self._held.popleft()[0].synchronize()
        while self._held and self._held[0][0].query():
            self._held.popleft()

    def release(self) -> None:
        """Waits for the GPU and lets go of everything."""
        while self._held:
            self._held.popleft()[0].synchronize()
