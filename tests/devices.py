"""Where a test runs: one body, on a CPU in every test run and on GPUs where there are some."""

from contextlib import contextmanager, nullcontext

import pytest
import torch


def gpu(*values, count=1):
    """Parameters that need GPUs."""
    return pytest.param(*values, marks=pytest.mark.gpu(count))


DEVICES = ["cpu", gpu("cuda")]


def is_gpu(device):
    return torch.device(device).type == "cuda"


@contextmanager
def side_stream(device):
    """Work inside is queued on a stream of its own; it has been done when that is left."""
    if not is_gpu(device):
        yield
        return
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        yield
    stream.synchronize()


def current(device):
    """Makes a GPU the current one."""
    return torch.cuda.device(device) if is_gpu(device) else nullcontext()


def captured(once, device, mode="global"):
    """``once`` as a CUDA graph that is replayed by a call; on a CPU it is ``once`` itself."""
    if not is_gpu(device):
        return once
    with side_stream(device):
        once()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode=mode):
        out = once()

    def replay(_once=once):  # kept, for a graph knows the addresses of its tensors alone
        graph.replay()
        return out

    return replay
