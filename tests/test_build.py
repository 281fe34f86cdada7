"""What CMakeLists.txt makes of ANAMORPH_CUDA and of the compilers it finds. CMake configures; nothing of ours is compiled."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = [str(Path(sys.executable).parent), *os.environ["PATH"].split(os.pathsep)]
CMAKE, NINJA, NVCC = (shutil.which(tool, path=os.pathsep.join(FOLDERS)) for tool in ("cmake", "ninja", "nvcc"))
RELEASED = "75-real;80-real;86-real;89-real;90"
pybind11 = pytest.importorskip("pybind11")
pytestmark = pytest.mark.skipif(not (CMAKE and NINJA), reason="needs cmake and ninja")


@pytest.fixture
def configure(tmp_path, monkeypatch):
    """Configure with this nvcc first on the PATH and no other there; the exit code and what CMake said."""
    for name in ("CUDACXX", "CUDAARCHS", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)

    def run(nvcc=None, **definitions):
        tools = tmp_path / "tools"
        tools.mkdir(exist_ok=True)
        others = [folder for folder in FOLDERS if not (Path(folder) / "nvcc").exists()]
        if nvcc:
            (tools / "nvcc").write_text(nvcc)
            (tools / "nvcc").chmod(0o755)
        path = os.pathsep.join([str(tools), *others])
        if not shutil.which("c++", path=path):
            pytest.skip("the C++ compiler is where nvcc is")
        monkeypatch.setenv("PATH", path)
        settings = {"CMAKE_MAKE_PROGRAM": NINJA, "Python_EXECUTABLE": sys.executable,
                    "pybind11_DIR": pybind11.get_cmake_dir(), **definitions}
        command = [CMAKE, "-S", ROOT, "-B", tmp_path / "build", "-G", "Ninja", *(f"-D{k}={v}" for k, v in settings.items())]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        return done.returncode, done.stdout + done.stderr

    return run


BROKEN = "#!/bin/sh\necho 'nvcc: no host compiler' >&2\nexit 1\n"


def working():
    """A script that is the nvcc found here."""
    if not NVCC:
        pytest.skip("needs nvcc")
    return f'#!/bin/sh\nexec "{NVCC}" "$@"\n'


@pytest.mark.parametrize("nvcc", [None, BROKEN], ids=["no nvcc", "a broken nvcc"])
def test_auto_is_off_without_a_compiler_that_works(configure, nvcc):
    code, said = configure(nvcc)
    assert code == 0 and "CUDA backend off" in said and f"no nvcc on the PATH that compiles for {RELEASED}" in said


def test_on_fails_with_a_compiler_that_does_not_work(configure):
    code, said = configure(BROKEN, ANAMORPH_CUDA="on")
    assert code != 0 and "CUDA" in said.partition("CMake Error")[2] and "CUDA backend" not in said


def test_what_is_not_a_choice(configure):
    code, said = configure(ANAMORPH_CUDA="atuo")
    assert code != 0 and "expected auto, on or off, given atuo" in said


def test_auto_finds_a_compiler_later(configure):
    assert "CUDA backend off" in configure(BROKEN, CMAKE_CUDA_ARCHITECTURES="90")[1]
    assert "CUDA backend on, for 90\n" in configure(working(), CMAKE_CUDA_ARCHITECTURES="90")[1]


@pytest.mark.parametrize(("asked", "made"), [({}, RELEASED), ({"CMAKE_CUDA_ARCHITECTURES": "90a"}, "90a")])
def test_the_target_has_its_architectures(configure, tmp_path, asked, made):
    code, said = configure(working(), **asked)
    assert code == 0 and f"CUDA backend on, for {made}\n" in said
    ninja = (tmp_path / "build" / "build.ninja").read_text()
    for architecture in made.replace("-real", "").split(";"):
        assert f"sm_{architecture}" in ninja


def test_architectures_of_the_environment(configure, monkeypatch):
    script = working()
    monkeypatch.setenv("CUDAARCHS", "80-virtual")
    assert "CUDA backend on, for 80-virtual\n" in configure(script)[1]


def test_auto_is_off_for_an_architecture_that_the_compiler_does_not_know(configure):
    code, said = configure(working(), CMAKE_CUDA_ARCHITECTURES="12")
    assert code == 0 and "CUDA backend off" in said and "compiles for 12" in said


def test_native_without_a_gpu_is_what_a_release_has(configure):
    script = working()
    if shutil.which("nvidia-smi"):
        pytest.skip("there may be a GPU")
    code, said = configure(script, CMAKE_CUDA_ARCHITECTURES="native")
    assert code == 0 and f"CUDA backend on, for {RELEASED}\n" in said
