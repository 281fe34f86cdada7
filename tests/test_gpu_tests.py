"""The tests that wait for a GPU, as far as they can be tried without one."""

import ast
from pathlib import Path

import pytest
import torch

import devices
from fake_cuda import FakeCuda


def test_what_needs_a_gpu_is_marked():
    """A test that is skipped without a GPU and has no mark is not among those that `-m gpu` picks on one."""
    for file in Path(__file__).parent.rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            for decorator in getattr(node, "decorator_list", []):
                assert "not torch.cuda.is_available()" not in ast.unparse(decorator), (
                    f"{file.name}::{node.name}: pytest.mark.gpu skips it, and picks it")


def test_marks_say_how_many():
    assert [mark.args for mark in devices.gpu("cuda:1", "cuda:0", count=2).marks] == [(2,)]
    assert devices.DEVICES[0] == "cpu" and [(m.name, m.args) for m in devices.DEVICES[1].marks] == [("gpu", (1,))]


def test_a_side_stream_begins_after_what_was_queued_and_is_waited_for(monkeypatch):
    cuda = FakeCuda(monkeypatch)
    before = cuda.current_stream()
    with devices.side_stream("cuda"):
        side = cuda.current_stream()
        assert side.waits_for == [before] and not side.waited_for
    assert side.waited_for and cuda.current_stream() is before


@pytest.mark.parametrize("mode", ["global", "thread_local"])
def test_a_capture_warms_up_and_replays(monkeypatch, mode):
    cuda, streams = FakeCuda(monkeypatch), []
    out = torch.zeros(1)

    def once():
        streams.append(cuda.current_stream())
        return out

    replay = devices.captured(once, "cuda", mode)
    (graph,) = cuda.graphs
    assert graph.options == {"capture_error_mode": mode} and streams[1] is graph.captured_on is not streams[0]
    assert replay() is out and graph.replays == 1 and len(streams) == 2
    assert devices.captured(once, "cpu") is once


