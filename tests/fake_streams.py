"""A GPU without one, as far as Python asks torch for it: ``cuda = FakeGpu(monkeypatch)``.

Memory that counts as a device's or as pinned lies on the host. A copy on a stream of its own runs only when some stream waits for
an event recorded after it, and leaves noise until then: who does not wait, reads noise. On the default stream it runs at once.
"""

import threading
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace

import torch

from anamorph.data import transfer

GPU = torch.device("cuda", 0)


class Stream:
    def __init__(self, cuda):
        self.cuda, self.queue = cuda, []

    def record_event(self):
        event = Event(self.cuda)
        event.record(self)
        return event

    def wait_event(self, event):
        self.cuda.note("wait", self, of=event.stream)
        for work in event.before:
            work()


class Event:
    def __init__(self, cuda):
        self.cuda = cuda

    def record(self, stream):
        self.stream, self.before = stream, stream.queue[:]
        self.cuda.note("event", stream)

    def query(self):
        return True

    def synchronize(self):
        pass


class FakeGpu:
    """``log``: what happened, in order, on which stream, by which thread. ``put``: a tensor on the device."""

    def __init__(self, monkeypatch):
        self.log = []
        self.default = Stream(self)
        self._there, self._pinned = {}, {}  # storages by address, alive so that no other gets it
        self._local = threading.local()
        base, empty = torch._C.TensorBase, torch.empty

        def device(t):
            return GPU if self.on_device(t) else base.device.__get__(t)

        def new(*size, device=None, pin_memory=False, **kwargs):
            t = empty(*size, device="cpu" if device is not None and torch.device(device).type == "cuda" else device, **kwargs)
            if device is not None and torch.device(device).type == "cuda":
                self.put(t)
            return self._pin(t) if pin_memory else t

        def to(t, *args, **kwargs):
            target = args[0] if args and isinstance(args[0], str | torch.device) else kwargs.get("device")
            if target is None:
                return base.to(t, *args, **kwargs)
            if torch.device(target).type != "cuda":
                return base.clone(t) if self.on_device(t) else base.to(t, *args, **kwargs)
            return t if self.on_device(t) else self._upload(t, kwargs.get("non_blocking", False))

        def stays(method):
            return lambda t, *args, **kwargs: (self.put if self.on_device(t) else lambda made: made)(method(t, *args, **kwargs))

        for name, value in {"device": property(device), "is_cuda": property(self.on_device), "to": to,
                            "clone": stays(base.clone), "repeat_interleave": stays(base.repeat_interleave),
                            "pin_memory": lambda t: self._pin(base.clone(t)),
                            "record_stream": lambda t, stream: self.note("held", stream)}.items():
            monkeypatch.setattr(torch.Tensor, name, value)
        monkeypatch.setattr(torch, "empty", new)
        for name, value in {"is_available": lambda: True, "device_count": lambda: 1, "current_device": lambda: 0,
                            "is_current_stream_capturing": lambda: False,
                            "current_stream": lambda device=None: self.current(), "stream": self._on, "device": self._device,
                            "Stream": lambda device=None: Stream(self), "Event": lambda: Event(self)}.items():
            monkeypatch.setattr(torch.cuda, name, value)
        monkeypatch.setattr(transfer, "_copies", cache(torch.cuda.Stream))

    def note(self, what, stream, **more):
        self.log.append(SimpleNamespace(what=what, stream=stream, thread=threading.current_thread().name, **more))

    def put(self, t):
        self._there[t.untyped_storage().data_ptr()] = t.untyped_storage()
        return t

    def on_device(self, t):
        return t.layout is torch.strided and t.untyped_storage().data_ptr() in self._there

    def current(self):
        return getattr(self._local, "stream", self.default)

    def _pin(self, t):
        self._pinned[t.untyped_storage().data_ptr()] = t.untyped_storage()
        return t

    def _upload(self, t, non_blocking):
        there = self.put(torch.full_like(t, 0x5A))
        stream = self.current()
        self.note("upload", stream, pinned=t.untyped_storage().data_ptr() in self._pinned, non_blocking=non_blocking,
                  bytes=t.nbytes)
        if stream is self.default:
            there.copy_(t)
        else:
            stream.queue.append(lambda: there.copy_(t))
        return there

    @contextmanager
    def _on(self, stream):
        before, self._local.stream = self.current(), stream
        try:
            yield
        finally:
            self._local.stream = before

    @contextmanager
    def _device(self, device):
        yield
