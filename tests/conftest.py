import zlib
from contextlib import nullcontext

import pytest
import torch

from anamorph import _native
from emulation.route import FOUND, emulated
from gpu_route import on_a_gpu

LEVELS = ["base", "avx2", "avx512"]


def pytest_runtest_setup(item):
    """``pytest.mark.gpu`` or, of several, ``gpu(2)``."""
    needed = max((mark.args[0] if mark.args else 1 for mark in item.iter_markers("gpu")), default=0)
    if needed > torch.cuda.device_count():
        pytest.skip(f"needs {needed} CUDA device{'s' * (needed > 1)}")


def pytest_generate_tests(metafunc):
    """Tests that use ``route`` or ``simd`` also run the CUDA kernels, emulated on the CPU and on a GPU; not those about the CPU's
    own ways."""
    marks = {mark.name for mark in metafunc.definition.iter_markers()}
    cuda = [] if marks & {"cpu", "gpu"} else ["emulated", pytest.param("a_gpu", marks=pytest.mark.gpu)]
    if "simd" in metafunc.fixturenames:
        metafunc.parametrize("simd", LEVELS + cuda, indirect=True)
    elif "route" in metafunc.fixturenames:
        metafunc.parametrize("route", ["cpu", *cuda], indirect=True)


def kernels(request, where):
    """The CUDA kernels: emulated, in an order of its own for each test and the same every time, or on a GPU."""
    if where == "a_gpu":
        return on_a_gpu()
    if not FOUND:
        pytest.skip("the emulation is not built; make test builds it")
    return emulated(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture
def route(request):
    """Where tensors on a CPU are planned and rendered: by the CPU's code, or by the CUDA code, emulated or on a GPU."""
    where = getattr(request, "param", "cpu")  # none where `simd` says it
    with nullcontext() if where == "cpu" else kernels(request, where):
        yield where


@pytest.fixture
def simd(request):
    """The test at every instruction set of this machine, and by the CUDA code; called with a name, it changes to another."""

    def use(name):
        if not _native.use_simd(name):
            pytest.skip(f"this machine has no {name}")

    if request.param not in LEVELS:
        with kernels(request, request.param):
            yield use
        return
    before = _native.simd()
    use(request.param)
    yield use
    use(before)
