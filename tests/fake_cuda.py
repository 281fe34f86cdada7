"""torch.cuda's streams and graphs on a machine without a GPU: they run nothing and say what was asked of them."""

from contextlib import contextmanager

import torch


class Stream:
    """A queue that is always empty."""

    def __init__(self, device=None):
        self.waits_for, self.waited_for = [], False

    def wait_stream(self, other):
        self.waits_for.append(other)

    def synchronize(self):
        self.waited_for = True


class Graph:
    """What is captured runs once, for its results' sake; a replay is counted."""

    def __init__(self):
        self.replays = 0
        self.captured_on = self.options = None

    def replay(self):
        assert self.captured_on is not None, "nothing was captured"
        self.replays += 1


class FakeCuda:
    """The streams that are current, innermost last, and the graphs that were made."""

    def __init__(self, monkeypatch):
        self.streams, self.graphs = [Stream()], []
        for name in ("current_stream", "stream", "graph"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))
        monkeypatch.setattr(torch.cuda, "Stream", Stream)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", self._new_graph)

    def _new_graph(self):
        self.graphs.append(Graph())
        return self.graphs[-1]

    def current_stream(self, device=None):
        return self.streams[-1]

    @contextmanager
    def stream(self, stream):
        self.streams.append(stream)
        yield
        self.streams.pop()

    @contextmanager
    def graph(self, graph, **options):
        graph.captured_on, graph.options = Stream(), options  # as torch, on a stream of its own
        with self.stream(graph.captured_on):
            yield
