"""Two GPUs for tests on a machine without: streams, events and the current device, and tensors that say they lie there.

Nothing runs on them: kernels are the CPU's, and what was queued "has run" when a test says so. So whoever reads a copy that need
not have arrived, or touches an event while a graph is captured, is caught.
"""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch


class OnGpu(torch.Tensor):
    """A tensor of the host that says it lies on ``cuda:0``."""

    device = property(lambda self: torch.device("cuda", 0))
    is_cuda = property(lambda self: True)

    def plain(self):
        return torch.Tensor.as_subclass(self, torch.Tensor)

    def cpu(self):
        return self.plain().clone()

    def to(self, *args, non_blocking=False, **options):
        where = device_of(args, options)
        if where is None:
            return super().to(*args, **options)
        if where.type == "cuda":
            return placed(self.plain(), where)
        return torch.zeros_like(self.plain()) if non_blocking else self.cpu()  # the copy has not run yet


class OnOtherGpu(OnGpu):
    device = property(lambda self: torch.device("cuda", 1))


def placed(tensor, device):
    """The tensor, saying that it lies on a device."""
    return tensor.as_subclass((OnGpu, OnOtherGpu)[device.index or 0]) if device.type == "cuda" else tensor


def device_of(args, options):
    """That a call of ``Tensor.to`` names."""
    named = options.get("device", next((a for a in args if isinstance(a, torch.device | str)), None))
    return None if named is None else torch.device(named)


class Foreign:
    """Another library's array on a GPU, which speaks DLPack."""

    def __init__(self, array, device="cuda:0"):
        self.array, self.where = np.ascontiguousarray(array), torch.device(device)

    def __dlpack_device__(self):
        return 2, self.where.index

    def __dlpack__(self, **_):
        raise AssertionError("torch.from_dlpack takes the array itself")

    def tensor(self):
        return placed(torch.from_numpy(self.array), self.where)


class ForeignByInterface:
    """One that speaks the CUDA array interface alone, as Numba's, and names the stream that makes it."""

    def __init__(self, array, stream=None, device="cuda:0"):
        self.array, self.where = np.ascontiguousarray(array), torch.device(device)
        self.__cuda_array_interface__ = {"version": 3, "stream": stream}

    tensor = Foreign.tensor


@dataclass(eq=False)
class Stream:
    gpu: SimpleNamespace
    device: torch.device
    cuda_stream: int

    def wait_stream(self, other):
        self.gpu.waits.append((self.cuda_stream, other.cuda_stream, other.device))

    def synchronize(self):
        self.gpu.waits.append(self.cuda_stream)


class Event:
    gpu: SimpleNamespace

    def record(self, stream):
        assert not self.gpu.capturing, "recorded in a capture"
        self.stream, self.passed = stream, False
        self.gpu.events.append(self)

    def query(self):
        assert not self.gpu.capturing, "asked in a capture"
        return self.passed

    def synchronize(self):
        assert not self.gpu.capturing, "waited for in a capture"
        self.gpu.waited_for(self)
        self.passed = True


def fake_gpus(monkeypatch):
    """Puts them in the place of torch's. What they know: the ``current`` device, the handle of the current ``stream``, the
    ``events`` that were recorded, the ``waits`` of streams for others, whether a graph is ``capturing``."""
    gpu = SimpleNamespace(current=0, stream=0, events=[], waits=[], capturing=False, waited_for=lambda event: None)

    class Device:
        def __init__(self, device):
            self.index = torch.device(device).index

        def __enter__(self):
            self.before, gpu.current = gpu.current, self.index

        def __exit__(self, *_):
            gpu.current = self.before

    def on(device):
        return torch.device("cuda", gpu.current) if device is None else torch.device(device)

    def as_tensor(value, *args, **options):
        return value.tensor() if isinstance(value, ForeignByInterface) else real.as_tensor(value, *args, **options)

    def from_dlpack(value):
        return value.tensor() if isinstance(value, Foreign) else real.from_dlpack(value)

    def empty(*args, device=None, **options):
        if device is None or torch.device(device).type != "cuda":
            return real.empty(*args, device=device, **options)
        return placed(real.empty(*args, device="cpu", **options), torch.device(device))

    def to(tensor, *args, **options):
        where = device_of(args, options)
        return placed(tensor, where) if where is not None and where.type == "cuda" else real.to(tensor, *args, **options)

    real = SimpleNamespace(as_tensor=torch.as_tensor, from_dlpack=torch.from_dlpack, empty=torch.empty, to=torch.Tensor.to)
    for fake in (as_tensor, from_dlpack, empty):
        monkeypatch.setattr(torch, fake.__name__, fake)
    monkeypatch.setattr(torch.Tensor, "to", to)
    monkeypatch.setattr(torch.Tensor, "pin_memory", torch.Tensor.clone)
    for name, fake in {
        "Event": type("Event", (Event,), {"gpu": gpu}),
        "device": Device,
        "device_count": lambda: 2,
        "current_device": lambda: gpu.current,
        "is_current_stream_capturing": lambda: gpu.capturing,
        "current_stream": lambda device=None: Stream(gpu, on(device), gpu.stream),
        "default_stream": lambda device=None: Stream(gpu, on(device), 0),
        "ExternalStream": lambda handle, device=None: Stream(gpu, on(device), handle),
    }.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr("anamorph.core.tensors._devices", {})  # what it found out of these
    return gpu
