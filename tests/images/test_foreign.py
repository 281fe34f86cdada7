"""Arrays on a GPU, torch's and other libraries': read when they have been made, and kept until they have been read."""

import weakref

import numpy as np
import pytest
import torch

import anamorph as am
from anamorph.core import lease
from anamorph.core.tensors import as_tensor
from fake_gpu import Foreign, ForeignByInterface, OnGpu, fake_gpus, placed

GPU = torch.device("cuda", 0)
RECIPE = am.Recipe([am.RandomResizedCrop(8), am.MixUp()], num_classes=3)
SIZE = (10, 12)
PICTURES = np.random.default_rng(0).integers(0, 200, (2, *SIZE, 3)).astype(np.uint8)


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(lease, "_leases", {})
    return fake_gpus(monkeypatch)


def on_gpu(array):
    return placed(torch.from_numpy(array), GPU)


def alive(memory):
    return memory() is not None


def plan(recipe=RECIPE):
    return recipe.plan([1, 2], size=SIZE, device=GPU)


def packed(given):
    ragged = am.Ragged(given, [0, PICTURES[0].size], [SIZE, SIZE], 3)
    return lambda: am.render(ragged, plan())


MASKED = am.Recipe([am.Resize((8, 8)), am.MaskMix()])
CASES = {
    "images": (PICTURES, lambda given: lambda: am.render(given, plan())),
    "class ids, widened": (np.array([0, 2], np.int32), lambda given: lambda: am.render(on_gpu(PICTURES), plan(), targets=given)),
    "soft targets": (np.eye(2, 3), lambda given: lambda: am.render(on_gpu(PICTURES), plan(), targets=given)),
    "mask": (np.ones((2, 1, 8, 8), np.float32), lambda given: lambda: am.render(on_gpu(PICTURES), plan(MASKED), mask=given)),
    "one of a list": (PICTURES[0], lambda given: lambda: am.render([on_gpu(PICTURES[1]), given], plan())),
    "one of a list, copied": (PICTURES[0].transpose(2, 0, 1), lambda given: lambda: am.render(
        [on_gpu(PICTURES[1].transpose(2, 0, 1).copy()), given], plan(), layout="NCHW")),
    "packed": (PICTURES.reshape(-1), packed),
    "ids": (np.array([1, 2]), lambda given: lambda: RECIPE.plan(given, size=SIZE)),
    "ids, widened": (np.array([1, 2], np.int16), lambda given: lambda: RECIPE.plan(given, size=SIZE)),
    "sizes": (np.array([SIZE, SIZE]), lambda given: lambda: RECIPE.plan([1, 2], size=given, device=GPU)),
    "one picture": (PICTURES[0], lambda given: lambda: am.Recipe([am.RandomResizedCrop(8)])(given)),
}


@pytest.mark.parametrize("kind", [Foreign, ForeignByInterface])
@pytest.mark.parametrize("case", CASES)
def test_an_array_is_kept_until_it_has_been_read(gpu, case, kind):
    array, given_to = CASES[case]
    given = kind(array.copy())
    memory = weakref.ref(given.array)
    call = given_to(given)
    call()
    del given, call
    assert alive(memory), "gone while the kernel that reads it may be queued"
    assert {event.stream.device for event in gpu.events} == {GPU}
    plan()
    assert alive(memory)
    for event in gpu.events:
        event.passed = True
    plan()  # any later call lets go
    assert not alive(memory)


def test_torchs_own_tensors_are_not_kept(gpu):
    am.render(on_gpu(PICTURES), RECIPE.plan(on_gpu(np.array([1, 2])), size=SIZE), targets=on_gpu(np.array([0, 1])))
    am.render([on_gpu(picture) for picture in PICTURES], plan())
    assert not gpu.events


def test_the_host_waits_rather_than_keep_many(gpu):
    memories, waited = [], []
    gpu.waited_for = lambda event: waited.append(alive(memories[len(waited)]))
    for _ in range(lease.AHEAD + 5):
        given = Foreign(PICTURES.copy())
        memories.append(weakref.ref(given.array))
        am.render(given, plan())
        del given
    assert waited == [True] * 5, "let go of before it was waited for"
    assert [alive(memory) for memory in memories] == [False] * 5 + [True] * lease.AHEAD
    lease._release_all()
    assert len(waited) == lease.AHEAD + 5 and all(waited) and not any(map(alive, memories))


def test_each_gpu_has_its_own_events(gpu):
    ids = Foreign(np.array([1, 2]), "cuda:1")
    memory = weakref.ref(ids.array)
    am.render(Foreign(PICTURES.copy()), RECIPE.plan(ids, size=SIZE, device=GPU))
    del ids
    assert [str(event.stream.device) for event in gpu.events] == ["cuda:1", "cuda:0"]
    gpu.events[1].passed = True
    plan()
    assert alive(memory)
    gpu.events[0].passed = True
    plan()
    assert not alive(memory)


def test_a_capture_sees_no_event(gpu):
    given = Foreign(PICTURES.copy())
    memory = weakref.ref(given.array)
    am.render(given, plan())
    del given
    gpu.events[0].passed = True
    gpu.capturing = True
    for _ in range(lease.AHEAD + 2):
        am.render(Foreign(PICTURES), RECIPE.plan(Foreign(np.array([1, 2])), size=SIZE))
    assert len(gpu.events) == 1 and alive(memory)
    gpu.capturing = False
    plan()
    assert not alive(memory)


@pytest.mark.parametrize("device", ["cuda:0", "cuda:1"])
@pytest.mark.parametrize(("named", "current", "waited_for"), [
    (None, 0, []), (None, 7, []),  # nothing to wait for, it says
    (1, 0, []), (1, 0x70, [0]), (0, 0x70, [0]), (2, 0, [2]), (0x60, 0, [0x60]), (0x60, 0x60, []), (0x60, 0x70, [0x60])])
def test_the_stream_that_an_array_names_is_waited_for(gpu, named, current, waited_for, device):
    gpu.stream = current
    t = as_tensor("images", ForeignByInterface(PICTURES, named, device))
    assert str(t.device) == device
    assert gpu.waits == [(current, handle, torch.device(device)) for handle in waited_for]


def test_an_array_stays_where_it_is_whatever_the_default_device(gpu, monkeypatch):
    monkeypatch.setattr(torch, "as_tensor", lambda value: torch.ones(2))  # torch's own takes the default device
    torch.set_default_device("meta")
    try:
        assert torch.ones(1).device.type == "meta"
        assert as_tensor("images", ForeignByInterface(PICTURES)).device.type == "cpu"
    finally:
        torch.set_default_device(None)


# ---- from a device to the host ----

def test_a_plan_on_the_host_waits_for_ids_and_sizes_of_a_gpu(gpu):
    ids, sizes = np.array([5, 2**40, 7]), np.array([[9, 30], [40, 8], [20, 20]])
    recipe = am.Recipe([am.RandomResizedCrop(16)])
    expected = recipe.plan(ids, size=sizes)
    for given in (on_gpu(ids), Foreign(ids)):
        for size in (on_gpu(sizes), Foreign(sizes), sizes):
            found = recipe.plan(given, size=size, device="cpu")
            assert torch.equal(found.rows, expected.rows) and torch.equal(found.index, expected.index)
            assert not found.rows.is_cuda and not found.index.is_cuda and not found.size.is_cuda
    assert torch.equal(recipe.plan(ids, size=on_gpu(sizes)).rows, expected.rows)  # on the host, where the ids are


def test_and_looks_at_their_values(gpu):
    with pytest.raises(am.ShapeError, match=r"size: expected .*, given 0 to 40"):
        RECIPE.plan([1, 2], size=on_gpu(np.array([[9, 30], [40, 0]])), device="cpu")
    with pytest.raises(am.ArgumentError, match=r"index: expected numbers below 2\*\*63"):
        RECIPE.plan(on_gpu(np.array([2**63, 1], np.uint64)), size=SIZE, device="cpu")


def test_a_copy_to_the_host_that_does_not_wait_is_seen_by_these_tests(gpu):
    ids = on_gpu(np.array([3, 4]))
    assert isinstance(ids, OnGpu) and ids.to("cpu", non_blocking=True).tolist() == [0, 0]


# ---- on a GPU that is there ----

class Interface:
    """A tensor on a GPU as the array of a library that names the stream that makes it."""

    def __init__(self, t, stream):
        self.t = t
        self.__cuda_array_interface__ = {"shape": tuple(t.shape), "strides": None, "typestr": "|u1", "version": 3,
                                         "data": (t.data_ptr(), False), "stream": stream.cuda_stream or 1}


@pytest.mark.gpu
def test_cuda_waits_for_the_stream_that_makes_an_array_and_keeps_it():
    pictures, plan = torch.from_numpy(PICTURES).cuda(), RECIPE.plan([1, 2], size=SIZE, device="cuda")
    expected, late, side = am.render(pictures, plan), torch.zeros_like(pictures), torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        torch.cuda._sleep(200_000_000)
        late.copy_(pictures)
    given = Interface(late, side)
    memory = weakref.ref(given)
    views = am.render(given, plan)
    del given
    kept = alive(memory)
    assert torch.equal(views, expected) and kept
    am.render(pictures, plan)
    assert not alive(memory)


@pytest.mark.gpu
def test_cuda_captures_a_graph_while_an_array_is_kept():
    pictures, index = torch.from_numpy(PICTURES).cuda(), torch.tensor([1, 2], device="cuda")
    expected = am.render(Interface(pictures, torch.cuda.current_stream()), RECIPE.plan(index, size=SIZE))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        views = am.render(pictures, RECIPE.plan(index, size=SIZE))
    graph.replay()
    assert torch.equal(views, expected)
