"""What the engine does with devices, contexts, errors and the interpreter's lock around a launch. The tensors lie on device 0;
the test's thread stands where it says."""

import threading
import time

import pytest
import torch

import anamorph as am
from emulation.route import FOUND, emulated

if not FOUND:
    pytest.skip("the emulation is not built; make test builds it", allow_module_level=True)

from emulation.route import native

IMAGES = torch.arange(2 * 12 * 15 * 3, dtype=torch.uint8).reshape(2, 12, 15, 3)


@pytest.fixture(autouse=True)
def devices():
    with emulated():
        native.use_devices(2)
        yield
    native.use_devices(1)


def plan():
    return am.Recipe([am.RandomResizedCrop(8), am.ColorJitter(0.4, 0.4), am.MixUp()]).plan([3, 4], size=(12, 15))


def launches():
    """Each of the engine's calls, as a function; what they need is there."""
    drawn = plan()
    return {"plan": plan, "render": lambda: am.render(IMAGES, drawn)}


CALLS = ["plan", "render"]


@pytest.mark.parametrize("call", CALLS)
def test_kernels_go_where_the_tensors_are(call):
    run = launches()[call]
    assert native.set_device(1) == 0
    run()
    assert native.launched_on() == 0
    assert native.current_device() == 1 and native.open_contexts() == [0, 1]


@pytest.mark.parametrize("call", CALLS)
def test_no_context_is_opened_on_a_device_where_nothing_runs(call):
    """A thread that has called no CUDA, with its tensors on another device than it stands on."""
    run = launches()[call]
    native.use_devices(2, stands_on=1)
    run()
    assert native.launched_on() == 0
    assert native.open_contexts() == [0]
    assert native.current_device() == 1


@pytest.mark.parametrize("call", CALLS)
def test_a_failed_launch_gives_the_device_back(call):
    """Though every call of the runtime and the driver fails from then on."""
    run = launches()[call]
    native.set_device(1)
    native.break_device()
    name = "plan" if call == "plan" else "prepare"
    with pytest.raises(am.AnamorphError, match=f"{name}: the CUDA launch, or an earlier kernel, failed .an illegal"):
        run()
    assert native.current_device() == 1
    with pytest.raises(am.DeviceError, match=r"device: expected a GPU that works, given cuda:0 .*illegal"):
        run()
    assert native.current_device() == 1


def test_an_earlier_error_is_not_blamed_on_a_launch():
    assert native.set_device(7) != 0  # which its caller has seen
    assert len(am.render(IMAGES, plan())) == 2


def test_a_device_that_is_not_there():
    native.use_devices(0)
    with pytest.raises(am.DeviceError, match="given cuda:0"):
        plan()
    native.use_devices(1)
    assert len(plan()) == 2


@pytest.mark.parametrize("call", CALLS)
def test_a_launch_that_waits_stops_no_other_thread(call):
    """The queue is full until another Python thread has run. (The seconds are for the test to end where none can.)"""
    run, over = launches()[call], threading.Event()

    def other():
        while not native.queue_waits() and not over.is_set():
            time.sleep(0.001)
        native.empty_queue()

    thread = threading.Thread(target=other)
    thread.start()
    native.fill_queue(20.0)
    try:
        run()
    finally:
        over.set()
        thread.join()


def test_threads_do_not_disturb_each_other():
    recipe = am.Recipe([am.RandomResizedCrop(8), am.ColorJitter(0.4, 0.4), am.MixUp()])
    expected = [am.render(IMAGES, recipe.plan([3, 4], size=(12, 15), epoch=epoch)) for epoch in range(4)]
    wrong = list(range(4))

    def call(first):
        for epoch in [*range(first, 4), *range(first)]:
            assert torch.equal(am.render(IMAGES, recipe.plan([3, 4], size=(12, 15), epoch=epoch)), expected[epoch])
        wrong.remove(first)

    callers = [threading.Thread(target=call, args=(i,)) for i in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


# ---- addresses ----

def odd(t, by):
    """The same values `by` bytes past a multiple of 64."""
    room = torch.empty(t.numel() * t.element_size() + 128, dtype=torch.uint8)
    start = -room.data_ptr() % 64 + by
    moved = torch.frombuffer(room.numpy(), dtype=t.dtype, offset=start, count=t.numel()).view(t.shape)
    moved.copy_(t)
    assert moved.data_ptr() % 64 == by
    return moved


@pytest.mark.parametrize("by", [1, 4, 8])
def test_rows_at_an_odd_address_are_refused(by):
    drawn = plan()
    drawn.rows = odd(drawn.rows, by)
    with pytest.raises(am.ArgumentError, match=f"plan: expected memory at a multiple of (4|16) bytes .* {by} past"):
        am.render(IMAGES, drawn)


@pytest.mark.parametrize("by", [1, 4, 8])
def test_a_plan_takes_rows_from_anywhere(by):
    drawn = plan()
    expected = am.render(IMAGES, drawn)
    state = {name: odd(t, by) for name, t in drawn.state_dict().items()}
    for again in (am.Plan.from_state_dict(drawn.recipe, state),
                  am.Plan(drawn.recipe, state["rows"], drawn.index, 0, 0, 0, (12, 15), (8, 8))):
        assert torch.equal(am.render(IMAGES, again), expected)


def test_pictures_at_an_odd_address_are_refused():
    pictures = odd(IMAGES.float() / 255, 2)
    with pytest.raises(am.ArgumentError, match="images: expected memory at a multiple of 4 bytes on a GPU"):
        am.render(pictures, plan())
