"""Running an iterator ahead of its consumer, in a thread."""

from __future__ import annotations

import atexit
import queue
import threading
import time
import weakref
from collections.abc import Generator, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
_END = object()


class _Channel:
    """Between the worker and its consumer. The worker takes a token from ``room`` for each item it puts.

    Everything ``close`` does with it is reentrant and never waits, because the garbage collector calls it: in
    any thread, at any point, with whatever locks that thread holds. (``Queue`` and ``Event`` are not reentrant.)
    """

    def __init__(self, depth: int):
        self.items: queue.SimpleQueue = queue.SimpleQueue()
        self.room: queue.SimpleQueue = queue.SimpleQueue()
        self.stopped = False
        for _ in range(depth):
            self.room.put(None)


class Background(Generic[T]):
    """Iterates ``source`` in a daemon thread, at most ``depth`` items ahead.

    What ``source`` raises is raised by ``__next__``, after the items that came before it.
    ``close`` tells the thread to end, which it does after the item it is at; it must be called by whoever leaves the
    iteration early.
    """

    def __init__(self, source: Generator[T, None, None], depth: int):
        self._channel = _Channel(depth)
        self._finished = False
        self._thread = threading.Thread(target=_work, args=(source, self._channel), name="anamorph-reader", daemon=True)
        self._thread.start()
        _threads[self._thread] = self._channel

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._finished:
            raise StopIteration
        item, error = self._channel.items.get()
        if error is None and item is not _END:
            self._channel.room.put(None)
            return item
        self._finished = True
        self._thread.join()  # this was its last act
        if error is not None:
            raise error
        raise StopIteration

    def close(self) -> None:
        self._finished = True
        _stop(self._channel)


def _stop(channel: _Channel) -> None:
    channel.stopped = True
    channel.room.put(None)


def _work(source: Generator, channel: _Channel) -> None:
    # A function and not a method: a thread that refers to the Background would keep it alive.
    error = None
    try:
        for item in source:
            channel.room.get()
            if channel.stopped:
                break
            channel.items.put((item, None))
            del item
    except BaseException as caught:
        error = caught
    finally:
        source.close()
    channel.items.put((_END, error))


# By thread, not by Background: a closed one may be gone while its thread is still at its last item.
_threads: weakref.WeakKeyDictionary[threading.Thread, _Channel] = weakref.WeakKeyDictionary()


@atexit.register
def _stop_all(timeout: float = 5.0) -> None:
    # A thread that is still inside C++ code when the interpreter goes down takes the process with it.
    # atexit and not threading's own hook: that one runs while other threads may still train.
    deadline = time.monotonic() + timeout
    threads = list(_threads.items())
    for _, channel in threads:
        _stop(channel)
    for thread, _ in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
