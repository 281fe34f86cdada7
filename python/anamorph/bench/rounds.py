"""Timing: contenders take turns, round after round, so that a machine's moods fall on all of them alike."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from statistics import median

import torch

from .work import Unavailable

Clock = Callable[[], float]
WARM_UPS = 3  # torch.compile recompiles on the second
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # <malloc.h>


@dataclass
class Contender:
    """Something that is timed: ``step`` handles ``amount`` images or bytes."""

    name: str
    threads: int
    step: Callable[[], object]
    amount: float
    samples: list[float] = field(default_factory=list)  # amount per second, one a round
    error: str | None = None

    @property
    def rate(self) -> float:
        """The median of its rounds."""
        return median(self.samples)

    @property
    def best(self) -> float:
        """The best of its rounds: what disturbs one only ever slows it."""
        return max(self.samples)


@contextmanager
def steady() -> Iterator[None]:
    """torch and OpenCV on one thread, and freed memory kept by the process; afterwards as before.

    glibc gives a large block back to the kernel when it is freed, or does not, by what else lies in the heap. A new
    batch then is or is not thousands of page faults, which halves or doubles the speed of whoever makes it. Without
    this an engine's speed depends on who ran before it. (anamorph keeps its outputs' memory by itself.)
    """
    dials: list[tuple[int, Callable[[int], object]]] = [(torch.get_num_threads(), torch.set_num_threads)]
    with suppress(ImportError):
        import cv2

        dials.append((cv2.getNumThreads(), cv2.setNumThreads))
    mallopt = getattr(ctypes.CDLL(None), "mallopt", lambda option, value: None)  # glibc's; others have none
    try:
        for _, turn in dials:
            turn(1)
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        yield
    finally:
        for before, turn in dials:
            turn(before)
        mallopt(M_MMAP_MAX, 65536)  # glibc's defaults
        mallopt(M_TRIM_THRESHOLD, 2**17)


def seconds(step: Callable[[], object], repeats: int, device: torch.device, clock: Clock = time.perf_counter) -> float:
    """How long ``repeats`` steps take: by CUDA events on a GPU, by ``clock`` on a CPU."""
    if device.type == "cuda":
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(device)
        first.record()
        for _ in range(repeats):
            step()
        last.record()
        last.synchronize()
        return first.elapsed_time(last) / 1e3
    begin = clock()
    for _ in range(repeats):
        step()
    return clock() - begin


def race(contenders: Sequence[Contender], rounds: int, budget: float, device: torch.device,
         report: Callable[[str], None] = lambda _: None, warm_ups: int = WARM_UPS,
         clock: Clock = time.perf_counter) -> None:
    """Fill in the samples of every contender within about ``budget`` seconds, warm-up not counted.

    Each has the same slice of time in a round and does as many whole steps as fit, at least one. Who begins changes
    from round to round. A contender that fails is out, and says why.
    """
    share, repeats = budget / (rounds * max(1, len(contenders))), dict[int, int]()
    for r in range(-1, rounds):  # round -1 warms up
        for c in (contenders[(i + r) % len(contenders)] for i in range(len(contenders))):
            if c.error:
                continue
            report(f"warming up: {c.name}" if r < 0 else f"round {r + 1} of {rounds}: {c.name}")
            torch.set_num_threads(c.threads)
            try:
                if r < 0:
                    seconds(c.step, warm_ups - 1, device, clock)
                    repeats[id(c)] = max(1, round(share / seconds(c.step, 1, device, clock)))
                else:
                    n = repeats[id(c)]
                    c.samples.append(n * c.amount / seconds(c.step, n, device, clock))
            except Exception as error:  # a peer may fail in any way; the others go on
                c.error = reason(error)
    torch.set_num_threads(1)


def reason(error: Exception) -> str:
    """An exception in one line."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"not installed: {error.name.partition('.')[0]}"
    if isinstance(error, Unavailable):
        return str(error)
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
