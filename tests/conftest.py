import pytest

from anamorph import _native


@pytest.fixture(params=["base", "avx2", "avx512"])
def simd(request):
    """The test at every instruction set that this machine has; called with a name, it changes to another."""

    def use(name):
        if not _native.use_simd(name):
            pytest.skip(f"this machine has no {name}")

    before = _native.simd()
    use(request.param)
    yield use
    use(before)
