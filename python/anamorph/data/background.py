"""Running an iterator ahead of its consumer, in a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
_END = object()


class Background(Generic[T]):
    """Iterates ``source`` in a daemon thread, at most ``depth`` items ahead.

    What ``source`` raises is raised by ``__next__``, after the items that came before it.
    ``close`` stops the thread, also when it waits for room in the queue; it is called when the
    iteration ends, and must be called by whoever leaves it early.
    """

    def __init__(self, source: Generator[T, None, None], depth: int):
        self._queue: queue.Queue = queue.Queue(maxsize=depth)
        self._stop = threading.Event()
        self._finished = False
        self._thread = threading.Thread(
            target=_work, args=(source, self._queue, self._stop), name="anamorph-reader", daemon=True
        )
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._finished:
            raise StopIteration
        item, error = self._queue.get()
        if error is None and item is not _END:
            return item
        self.close()
        if error is not None:
            raise error
        raise StopIteration

    def close(self) -> None:
        self._finished = True
        self._stop.set()
        # The worker looks at _stop before every put, so after the flag is set it puts at most one
        # more item; emptying the queue makes sure that this one finds room and the thread ends.
        try:
            while True:
                self._queue.get_nowait()
        except queue.Empty:
            pass
        if self._thread is not threading.current_thread():  # the garbage collector runs in any thread
            self._thread.join()


def _work(source: Generator, out: queue.Queue, stop: threading.Event) -> None:
    # A function and not a method: a thread that refers to the Background would keep it alive.
    error = None
    try:
        for item in source:
            if stop.is_set():
                break
            out.put((item, None))
    except BaseException as caught:
        error = caught
    finally:
        source.close()
    if not stop.is_set():
        out.put((_END, error))
