"""bench/gpu.sh, with tools that do nothing in the place of Python, nvidia-smi and compute-sanitizer."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "bench" / "gpu.sh"
SANITIZERS = ["memcheck", "racecheck", "initcheck", "synccheck"]
BASH = shutil.which("bash")
pytestmark = pytest.mark.skipif(not BASH, reason="needs bash")

# Writes down how it was called, and fails where FAIL says so: a part of the call and a status, or "killed", as by a time limit.
STUB = """\
#!{bash}
call="$(basename "$0") ${{*//$'\n'/ }}"
echo "$call | caching off: ${{PYTORCH_NO_CUDA_MEMORY_CACHING:-no}}" >> "{log}"
echo "said by $call"
for fail in $FAIL; do
    [[ $call == *${{fail%%:*}}* ]] || continue
    [[ ${{fail##*:}} == killed ]] && kill $PPID
    exit "${{fail##*:}}"
done
exit 0
"""


class Bench:
    """The script on a PATH of these tools and nothing else of the machine's."""

    def __init__(self, folder):
        self.folder, self.log, self.out = folder, folder / "log", folder / "out"
        self.tools = folder / "tools"
        self.tools.mkdir()
        for tool in ("basename", "cat", "dirname", "mkdir", "tail", "tee"):
            (self.tools / tool).symlink_to(shutil.which(tool))
        for tool in ("python3", "nvidia-smi", "compute-sanitizer"):
            (self.tools / tool).write_text(STUB.format(bash=BASH, log=self.log))
            (self.tools / tool).chmod(0o755)

    def run(self, *parts, fail="", **variables):
        """The exit status and all that was said."""
        self.log.write_text("")
        there = {"PATH": str(self.tools), "OUT": str(self.out), "CUDA_HOME": str(self.folder), "FAIL": fail, **variables}
        done = subprocess.run([BASH, SCRIPT, *parts], env=there, capture_output=True, text=True, timeout=60)
        self.said = done.stdout + done.stderr
        return done.returncode

    @property
    def calls(self):
        return self.log.read_text().splitlines()

    @property
    def summary(self):
        """What became of each step."""
        lines = (self.out / "summary.txt").read_text().splitlines()
        assert self.said.endswith("\n".join(lines) + "\n")  # it is also the end of what is said
        return {name: result for name, result in (re.fullmatch(r"(\S+) +\d+ s  (.*)", line).groups() for line in lines)}


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_all_parts_run_the_tests_marked_gpu_first(bench):
    assert bench.run() == 0
    assert list(bench.summary) == ["gpu", "build", "usable", "tests", *SANITIZERS, "bench-64", "bench-256", "rest"]
    assert set(bench.summary.values()) == {"ok"}
    smi, build, usable, tests, *sanitized, small, large, rest = bench.calls
    assert smi.startswith("nvidia-smi --query-gpu=name,driver_version")
    assert build.startswith("python3 -m pip install ")
    assert "define.ANAMORPH_CUDA=on" in build and "define.CMAKE_CUDA_FLAGS=-lineinfo" in build
    assert usable.startswith("python3 -c ")
    assert tests.startswith("python3 -m pytest tests -m gpu ")
    for tool, call in zip(SANITIZERS, sanitized, strict=True):
        assert call.startswith(f"compute-sanitizer --tool {tool} --error-exitcode 1 python3 -m pytest "
                               "tests/images/test_render.py tests/points -m gpu -k ")
        assert call.endswith("| caching off: 1")
    for batch, call in ((64, small), (256, large)):
        assert call.startswith(f"python3 -m anamorph bench --device cuda --batch {batch} --json {bench.out}/bench-{batch}.json")
    assert rest.startswith("python3 -m pytest tests ") and "-m gpu" not in rest
    assert all(call.endswith("| caching off: no") for call in (tests, small, rest))


@pytest.mark.parametrize("part", ["build", "tests", "sanitizers", "bench", "rest"])
def test_a_part_alone(bench, part):
    assert bench.run(part) == 0
    steps = {"sanitizers": SANITIZERS, "bench": ["bench-64", "bench-256"]}.get(part, [part])
    assert list(bench.summary) == (["gpu", "build"] if part == "build" else ["gpu", "usable", *steps])
    assert all((bench.out / f"{step}.txt").read_text().startswith("said by") for step in steps)


def test_parts_have_an_order_of_their_own(bench):
    assert bench.run("bench", "build", "bench") == 0
    assert list(bench.summary) == ["gpu", "build", "usable", "bench-64", "bench-256"]


def test_the_status_is_the_worst_and_the_others_run(bench):
    assert bench.run(fail="nvidia-smi:9 racecheck:3 synccheck:2 tests:1 64:14") == 14
    assert list(bench.summary.items()) == [
        ("gpu", "FAILED (9)"), ("build", "ok"), ("usable", "ok"), ("tests", "FAILED (1)"), ("memcheck", "FAILED (1)"),
        ("racecheck", "FAILED (3)"), ("initcheck", "FAILED (1)"), ("synccheck", "FAILED (2)"), ("bench-64", "FAILED (14)"),
        ("bench-256", "ok"), ("rest", "FAILED (1)")]


def test_a_missing_tool_is_said(bench):
    (bench.tools / "compute-sanitizer").unlink()
    (bench.tools / "nvidia-smi").unlink()
    assert bench.run("sanitizers", "bench") == 127
    assert {bench.summary[tool] for tool in SANITIZERS} == {"FAILED (127): compute-sanitizer not found"}
    assert bench.summary["gpu"] == "FAILED (127): nvidia-smi not found" and bench.summary["bench-256"] == "ok"
    assert (bench.out / "memcheck.txt").read_text() == "compute-sanitizer: not found\n"


def test_a_toolkit_that_is_not_on_the_path_is_found(bench):
    (bench.folder / "bin").mkdir()
    (bench.tools / "compute-sanitizer").rename(bench.folder / "bin" / "compute-sanitizer")
    assert bench.run("sanitizers") == 0


@pytest.mark.parametrize(("fail", "stopped", "ran"), [
    ("install:6", "no build", ["gpu", "build"]),
    ("import:5", "no GPU that works", ["gpu", "build", "usable"]),
])
def test_nothing_runs_without_a_build_or_a_gpu(bench, fail, stopped, ran):
    """For then every test is skipped, or tries what was installed before, and none fails."""
    assert bench.run(fail=fail) == int(fail[-1]) and len(bench.calls) == len(ran)
    assert list(bench.summary)[:len(ran)] == ran
    assert {part: bench.summary[part] for part in ("tests", "sanitizers", "bench", "rest")} == dict.fromkeys(
        ("tests", "sanitizers", "bench", "rest"), f"FAILED (1): not run: {stopped}")


def test_a_run_that_is_ended_says_where(bench):
    assert bench.run("tests", "bench", fail="64:killed") != 0
    assert list(bench.summary.items())[-2:] == [("tests", "ok"), ("bench-64", "FAILED (143): ended before it was done")]


def test_what_torch_and_anamorph_make_of_this_machine(bench):
    """The check itself, by this Python: it fails here unless there is a GPU and code for it."""
    import torch

    import anamorph as am

    (bench.tools / "python3").unlink()
    (bench.tools / "python3").write_text(f'#!{BASH}\n[[ $1 == -c ]] || exit 0\nexec {sys.executable} "$@"\n')
    (bench.tools / "python3").chmod(0o755)
    usable = torch.cuda.is_available() and am.info()["cuda_usable"]
    status = bench.run("rest", PYTHONPATH=str(Path(am.__file__).parents[1]))
    assert (status == 0) == (bench.summary["usable"] == "ok") == usable
    assert am.__version__ in (bench.out / "usable.txt").read_text()
    if not torch.cuda.is_available():
        assert "finds no GPU" in (bench.out / "usable.txt").read_text()


@pytest.mark.parametrize("parts", [["out/gpu"], ["build", "test"], ["build tests"], [""]])
def test_what_is_not_a_part_is_refused(bench, parts):
    assert bench.run(*parts) == 2 and bench.calls == [] and not bench.out.exists()
    assert bench.said == f"gpu.sh: expected parts among: build tests sanitizers bench rest; given {parts[-1]}\n"


def test_a_python_that_is_not_there_is_refused(bench):
    assert bench.run("tests", PYTHON="nowhere/python") == 2 and "given nowhere/python, which is not found" in bench.said


def test_help_names_the_parts(bench):
    assert bench.run("--help") == 0 and bench.calls == []
    assert re.findall(r"^    (\w+) {2,}", bench.said, re.M) == ["build", "tests", "sanitizers", "bench", "rest"]


def test_the_sanitizers_find_tests(bench):
    """Their words pick tests that exist: of the recipes that reach shared memory and partners, of lists of pictures, and of every
    kernel of point clouds."""
    bench.run("sanitizers")
    command = bench.calls[-1].partition(" -m pytest ")[2].rpartition(" | ")[0]
    where, words = re.fullmatch(r"(.*) -m gpu -k (.*)", command).groups()
    done = subprocess.run([sys.executable, "-m", "pytest", *where.split(), "-m", "gpu", "-k", words, "--collect-only"], cwd=ROOT,
                          capture_output=True, text=True, timeout=120)
    found = set(re.findall(r"::(test_\w+(?:\[[^\]]*\])?)$", done.stdout, re.M))
    assert done.returncode == 0, done.stdout
    assert {f"test_cuda_agrees[cpu-{name}]" for name in ("chain", "mixup", "cutmix", "resizemix", "two contrasts")} <= found
    assert "test_cuda_ragged_masks_and_pairs[cpu]" in found
    of_points = {name.partition("[")[0] for name in found if "[a_gpu" in name}
    assert {"test_every_kernel_of_farthest_points", "test_large_clouds_of_different_sizes", "test_every_kernel_of_nearest_points",
            "test_balls_on_every_route", "test_threads_and_levels_do_the_same", "test_farthest_sample_is_greedy",
            "test_clouds_of_different_sizes", "test_all_routes_give_the_same_bits", "test_cutmix", "test_rsmix",
            "test_gradients_over_many_points"} <= of_points


def test_shellcheck():
    checker = shutil.which("shellcheck")
    if not checker:
        pytest.skip("needs shellcheck")
    done = subprocess.run([checker, "--severity=warning", SCRIPT], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
