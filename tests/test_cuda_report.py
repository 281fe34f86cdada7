"""The CUDA report reads what the compiler writes, counts blocks as the occupancy calculator does, and minds the ceilings.
The compiler's words here are nvcc 13.0's, from a compilation for two architectures."""

import itertools
import json
import shutil
import subprocess
import sysconfig
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

import cuda_compile
import cuda_report
import cuda_sass
from cuda_report import ALLOWED, LIMITS, Kernel, compare, entries, occupancy, record, shorten, usages

SYMBOL = "_ZN8anamorph36_GLOBAL__N__7395857f_4_k_cu_3ebd5163{}"
GATHER = SYMBOL.format("13gather_kernelILi3ENS_4cuda10ByteSourceILi3EEEEEvPfT0_")
FILL = SYMBOL.format("11fill_kernelILi32EEEvPfi")
LOG = f"""\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '{FILL}' for 'sm_80'
ptxas info    : Function properties for {FILL}
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 8 registers, used 0 barriers, 364 bytes cmem[0]
ptxas info    : Compile time = 18.406 ms
ptxas info    : Compiling entry function '{GATHER}' for 'sm_80'
ptxas info    : Function properties for {GATHER}
    24 bytes stack frame, 20 bytes spill stores, 40 bytes spill loads
ptxas info    : Function properties for _Z6calleei
    8 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 80 registers, used 1 barriers, 32 bytes cumulative stack size, 1200 bytes smem, 364 bytes cmem[0]
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '{FILL}' for 'sm_90'
ptxas info    : Function properties for {FILL}
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 10 registers, used 0 barriers
ptxas info    : Compiling entry function '{GATHER}' for 'sm_90'
ptxas info    : Function properties for {GATHER}
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 64 registers, used 1 barriers, 1200 bytes smem
"""
PTX = f"""\
// Cuda compilation tools, release 13.0, V13.0.88
.target sm_90
.visible .entry {GATHER}(
	.param .u64 .ptr .align 1 {GATHER}_param_0,
	.param .align 4 .b8 {GATHER}_param_1[20]
)
.maxntid 128, 2, 1
{{
	ret;
}}
.entry {FILL}(
	.param .u32 {FILL}_param_0,
	.param .u64 {FILL}_param_1
)
.maxntid 32, 1, 1
.minnctapersm 2
{{
	ret;
}}
"""


def kernel(name="render_kernel<3, ByteSource>", arch="sm_90", **changed):
    return replace(Kernel(arch, name, 256, 64, 0, 0, 0, 944, 356), **changed)


def ceilings(*found):
    return json.loads(cuda_report.record(list(found), {}, "release 13.0, V13.0.88"))


@pytest.fixture
def build(tmp_path):
    """A build folder with one CUDA object and one of C++."""
    commands = [{"file": "/src/k.cu", "output": "objects/k.cu.o"}, {"file": "/src/m.cpp", "output": "objects/m.cpp.o"}]
    (tmp_path / "compile_commands.json").write_text(json.dumps(commands))
    kept = tmp_path / "objects/k.cu.o.kept"
    kept.mkdir(parents=True)
    (kept / "usage.log").write_text(LOG)
    (kept / "k.ptx").write_text(PTX)
    return tmp_path


def report(build, *options):
    """The exit status and the JSON of a run over the build folder."""
    status = cuda_report.main(["--build", str(build), "--json", str(build / "report.json"),
                               "--ceilings", str(build / "ceilings.json"), *options])
    return status, json.loads((build / "report.json").read_text())


# ---- reading ----

def test_what_ptxas_says():
    found = list(usages(LOG))
    assert [(k["symbol"], k["arch"], k["registers"]) for k in found] == [
        (FILL, "sm_80", 8), (GATHER, "sm_80", 80), (FILL, "sm_90", 10), (GATHER, "sm_90", 64)]
    assert [(k["spill_stores"], k["spill_loads"], k["stack"], k["shared"]) for k in found] == [
        (0, 0, 0, 0), (24, 44, 32, 1200), (0, 0, 0, 0), (0, 0, 0, 1200)]


def test_what_the_ptx_says():
    assert list(entries(PTX)) == [(GATHER, 256, 28), (FILL, 32, 16)]
    unbounded = PTX.replace(".maxntid 128, 2, 1\n", "")
    assert [threads for _, threads, _ in entries(unbounded)] == [0, 32]


@pytest.mark.parametrize(("name", "short"), [
    ("void anamorph::(anonymous namespace)::render_kernel<3, anamorph::cuda::ByteSource<3> >(anamorph::RenderArgs, int)",
     "render_kernel<3, ByteSource>"),
    ("void anamorph::(anonymous namespace)::plan_kernel<32>(anamorph::(anonymous namespace)::Program<32>, int)",
     "plan_kernel<32>"),
    ("anamorph::copy_kernel(float*)", "copy_kernel"),
    ("void anamorph::warp_kernel<(anamorph::Border)2, anamorph::Taps<4>, true>(int)", "warp_kernel<2, Taps<4>, true>"),
])
def test_names(name, short):
    assert shorten(name) == short


@pytest.mark.skipif(not shutil.which("c++filt"), reason="no c++filt")
def test_a_build_folder(build, capsys):
    status, said = report(build)
    assert status == 1 and said["compiler"] == "release 13.0, V13.0.88"
    assert [(k["arch"], k["name"], k["threads"], k["parameters"]) for k in said["kernels"]] == [
        ("sm_80", "fill_kernel<32>", 32, 16), ("sm_80", "gather_kernel<3, ByteSource>", 256, 28),
        ("sm_90", "fill_kernel<32>", 32, 16), ("sm_90", "gather_kernel<3, ByteSource>", 256, 28)]
    assert said["kernels"][3]["occupancy"] == {"blocks": 4, "share": 0.5, "limit": "registers"}
    assert said["errors"] == ["gather_kernel<3, ByteSource> (sm_80) spills: 24 bytes stored, 44 loaded"]
    printed = capsys.readouterr()
    row = ["gather_kernel<3,", "ByteSource>", "256", "64", "0/0", "0", "1200", "28", "4", "50.0%", "registers"]
    assert row in [line.split() for line in printed.out.splitlines()]
    assert "spills" in printed.err


@pytest.mark.skipif(not shutil.which("c++filt"), reason="no c++filt")
def test_what_the_report_cannot_be_made_of(build):
    kept = build / "objects/k.cu.o.kept"
    (kept / "k.ptx").write_text(PTX.replace(".maxntid 128, 2, 1\n", ""))
    with pytest.raises(SystemExit, match=r"gather_kernel<3, ByteSource>.*__launch_bounds__"):
        report(build)
    (kept / "k.ptx").write_text(PTX)
    (kept / "usage.log").write_text(LOG.replace("gather", "father"))
    with pytest.raises(SystemExit, match="different kernels"):
        report(build)
    shutil.rmtree(kept)
    with pytest.raises(SystemExit, match="make cuda"):
        report(build)
    (build / "compile_commands.json").write_text("[]")
    with pytest.raises(SystemExit, match="no kernel"):
        report(build)


# ---- ceilings ----

def test_within_the_ceilings():
    assert compare([kernel()], ceilings(kernel())) == ([], [])
    assert compare([kernel(registers=40, shared=0)], ceilings(kernel())) == ([], [])


@pytest.mark.parametrize("what", ["registers", "stack", "shared"])
def test_growth_fails(what):
    grown = kernel(**{what: getattr(kernel(), what) + 1})
    errors, notes = compare([grown], ceilings(kernel()))
    assert len(errors) == 1 and not notes
    assert f"render_kernel<3, ByteSource> (sm_90): {what} {getattr(grown, what)}, ceiling {getattr(kernel(), what)}" in errors[0]


@pytest.mark.parametrize("spilt", [{"spill_stores": 4}, {"spill_loads": 4}])
def test_a_spill_fails_whatever_was_recorded(spilt):
    errors, _ = compare([kernel(**spilt)], ceilings(kernel(**spilt)))
    assert len(errors) == 1 and "spills" in errors[0]


def test_a_spill_that_is_allowed_has_a_ceiling_of_its_own():
    written = ceilings(kernel(spill_loads=8)) | {ALLOWED: {kernel().name: 8}}
    assert compare([kernel(spill_loads=8)], written) == ([], [])
    errors, _ = compare([kernel(spill_loads=12)], written)
    assert len(errors) == 1 and "12 loaded" in errors[0]
    assert json.loads(record([kernel(spill_loads=12)], written, "nvcc"))[ALLOWED] == written[ALLOWED]


def test_a_new_kernel_fails_and_one_that_is_gone_is_reported():
    errors, notes = compare([kernel("new_kernel")], ceilings(kernel("old_kernel")))
    assert len(errors) == 1 and "new_kernel" in errors[0] and "make cuda-report ARGS=--record" in errors[0]
    assert len(notes) == 1 and "old_kernel" in notes[0]


def test_an_architecture_without_ceilings():
    errors, notes = compare([kernel(arch="sm_80"), kernel("b", "sm_80", spill_loads=8)], ceilings(kernel()))
    assert len(errors) == 1 and "b (sm_80) spills" in errors[0]
    assert len(notes) == 1 and "sm_80" in notes[0]


def test_recording_replaces_an_architecture_and_keeps_the_others():
    before = ceilings(kernel("a"), kernel("b", "sm_80"))
    after = json.loads(cuda_report.record([kernel("c")], before, "release 13.1"))
    assert after == {"compiler": "release 13.1", "sm_80": before["sm_80"],
                     "sm_90": {"c": {"registers": 64, "stack": 0, "shared": 944}}}


@pytest.mark.skipif(not shutil.which("c++filt"), reason="no c++filt")
def test_record_then_compare(build, capsys):
    (build / "objects/k.cu.o.kept/usage.log").write_text(LOG.replace("20 bytes spill stores, 40", "0 bytes spill stores, 0")
                                                         .replace("4 bytes spill stores, 4", "0 bytes spill stores, 0"))
    assert report(build, "--record")[0] == 0
    status, said = report(build)
    assert status == 0 and not said["errors"] and not said["notes"]
    file = build / "ceilings.json"
    file.write_text(file.read_text().replace('"registers": 64', '"registers": 63').replace("V13.0.88", "V13.0.48"))
    status, said = report(build)
    assert status == 1 and len(said["errors"]) == 1 and "registers 64, ceiling 63" in said["errors"][0]
    assert "V13.0.48" in said["notes"][0]
    assert "ceiling 63" in capsys.readouterr().err


def test_the_recorded_ceilings():
    """The file in the repository is what --record writes."""
    file = Path(cuda_report.__file__).with_name("cuda_ceilings.json")
    found = json.loads(file.read_text())
    kernels = [kernel(name, arch, **ceiling) for arch in found if arch.startswith("sm_") for name, ceiling in found[arch].items()]
    assert kernels and cuda_report.record(kernels, found, found["compiler"]) == file.read_text()


# ---- occupancy ----

@pytest.mark.parametrize(("arch", "threads", "registers", "shared", "blocks", "share"), [
    # CUDA C++ Best Practices Guide, "Calculating Occupancy": 64 warps and 65,536 registers, 37 registers a thread.
    ("sm_80", 128, 37, 0, 12, 0.75),
    ("sm_80", 320, 37, 0, 4, 0.625),
    ("sm_90", 320, 37, 0, 4, 0.625),
    # There too: for all 64 warps a thread may have 32 registers.
    ("sm_80", 1024, 32, 0, 2, 1.0),
    ("sm_80", 1024, 33, 0, 1, 0.5),
    # By hand: 65,536 registers over 256 threads.
    ("sm_90", 256, 64, 0, 4, 0.5),
    ("sm_90", 256, 128, 0, 2, 0.25),
    ("sm_90", 256, 255, 0, 1, 0.125),
    # The most blocks, and the most warps, of the programming guide's table.
    ("sm_75", 32, 16, 0, 16, 0.5),
    ("sm_86", 32, 16, 0, 16, 16 / 48),
    ("sm_89", 32, 16, 0, 24, 0.5),
    ("sm_90a", 32, 16, 0, 32, 0.5),
    ("sm_100", 32, 16, 0, 32, 0.5),
    ("sm_120", 32, 16, 0, 24, 0.5),
    ("sm_75", 512, 32, 0, 2, 1.0),
    ("sm_86", 512, 32, 0, 3, 1.0),
    # Shared memory: 48 KB and the reserved kilobyte go 4 times into 228 KB, 3 times into 164 KB, twice into 100 KB;
    # before 8.x nothing is reserved, and 32 KB go twice into 64 KB.
    ("sm_90", 256, 32, 48 * 1024, 4, 0.5),
    ("sm_80", 256, 32, 48 * 1024, 3, 0.375),
    ("sm_89", 256, 32, 48 * 1024, 2, 2 * 8 / 48),
    ("sm_75", 256, 32, 32 * 1024, 2, 0.5),
])
def test_occupancy(arch, threads, registers, shared, blocks, share):
    found = occupancy(arch, threads, registers, shared)
    assert (found.blocks, found.share) == (blocks, share)


def test_an_unknown_architecture_has_no_occupancy():
    assert occupancy("sm_999", 256, 64, 0) is None
    assert "?" in cuda_report.table([kernel(arch="sm_999")])


CALCULATOR = """
#include <climits>
#include <cstdio>
#include <cuda_occupancy.h>
int main() {
    int arch, warps, shared, reserved, threads, registers, used;
    while (std::scanf("%d %d %d %d %d %d %d", &arch, &warps, &shared, &reserved, &threads, &registers, &used) == 7) {
        cudaOccDeviceProp p;
        p.computeMajor = arch / 10, p.computeMinor = arch % 10, p.warpSize = 32, p.numSms = 1;
        p.maxThreadsPerBlock = 1024, p.maxThreadsPerMultiprocessor = warps * 32;
        p.regsPerBlock = p.regsPerMultiprocessor = 65536;
        p.sharedMemPerBlock = 48 * 1024, p.sharedMemPerMultiprocessor = shared;
        p.sharedMemPerBlockOptin = shared - reserved, p.reservedSharedMemPerBlock = reserved;
        cudaOccFuncAttributes f;
        f.maxThreadsPerBlock = INT_MAX, f.numRegs = registers, f.sharedSizeBytes = used, f.maxDynamicSharedSizeBytes = 0;
        f.partitionedGCConfig = PARTITIONED_GC_OFF, f.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN, f.numBlockBarriers = 1;
        cudaOccDeviceState state;
        cudaOccResult result;
        if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &p, &f, &state, threads, 0) != CUDA_OCC_SUCCESS) return 1;
        std::printf("%d\\n", result.activeBlocksPerMultiprocessor);
    }
}
"""


def test_occupancy_as_nvidias_calculator(tmp_path):
    """The toolkit's cuda_occupancy.h is a calculator of its own; where it is here, it says the same."""
    places = [*Path("/usr/local").glob("cuda*/include"), Path(sysconfig.get_path("purelib")) / "nvidia/cu13/include"]
    include = next((place for place in places if (place / "cuda_occupancy.h").exists()), None)
    if include is None or not shutil.which("c++"):
        pytest.skip("no cuda_occupancy.h")
    (tmp_path / "calculator.cpp").write_text(CALCULATOR)
    subprocess.run(["c++", "-w", "-I", include, "calculator.cpp", "-o", "calculator"], cwd=tmp_path, check=True)
    cases = list(itertools.product(LIMITS, (32, 96, 128, 256, 320, 1024), (16, 37, 40, 54, 64, 98, 120, 128, 255),
                                   (0, 944, 1500, 12_300, 49_152 - 1024)))
    lines = (f"{arch[3:]} {LIMITS[arch].warps} {LIMITS[arch].shared} {LIMITS[arch].reserved} {threads} {registers} {shared}"
             for arch, threads, registers, shared in cases)
    done = subprocess.run([tmp_path / "calculator"], input="\n".join(lines), capture_output=True, text=True, check=True)
    theirs = [int(line) for line in done.stdout.split()]
    assert [(case, occupancy(*case).blocks) for case in cases] == list(zip(cases, theirs, strict=True))


# ---- the compilation ----

@pytest.fixture
def nvcc(tmp_path):
    """Something that says, keeps and ends as nvcc does."""
    script = tmp_path / "nvcc"
    script.write_text(f"""#!/bin/sh
for argument; do case $argument in --keep-dir=*) kept=${{argument#*=}} ;; esac; done
touch "$kept/k.ptx" "$kept/k.sm_90.cubin" "$kept/k.cpp1.ii"
cat >&2 <<'END'
{LOG}k.cu(3): warning #177-D: variable "x" was declared but never referenced
END
exit "$STATUS"
""")
    script.chmod(0o755)
    return [str(script), "-c", "k.cu", "-o", str(tmp_path / "k.o")]


def test_the_compilation_keeps_what_the_report_reads(nvcc, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("STATUS", "0")
    kept = tmp_path / "k.o.kept"
    kept.mkdir()
    (kept / "old.ptx").touch()
    assert cuda_compile.main(nvcc) == 0
    assert {file.name for file in kept.iterdir()} == {"k.ptx", "k.sm_90.cubin", "usage.log"}
    assert list(usages((kept / "usage.log").read_text())) == list(usages(LOG))
    assert capsys.readouterr().err == 'k.cu(3): warning #177-D: variable "x" was declared but never referenced\n'


def test_a_failed_compilation_leaves_nothing_to_report(nvcc, tmp_path, monkeypatch):
    monkeypatch.setenv("STATUS", "3")
    assert cuda_compile.main(nvcc) == 3
    assert not (tmp_path / "k.o.kept").exists()


# ---- instructions ----

def test_instructions_stand_on_the_lines_that_they_come_from(tmp_path):
    """As nvdisasm -gi prints them: the innermost line first, none repeated where it does not change."""
    code = tmp_path / "k.cu"
    code.write_text("""\
template <class F> AM_HD F lerp(F a, F b, F share) { return a + share * (b - a); }
AM_HD float sample(float x) {
    return lerp(x, 1.0f, 0.5f);
}
__global__ void __launch_bounds__(256) render_kernel(float* a) {
    a[0] = sample(a[0]);
}
""")
    found = Counter(cuda_sass.rows(f"""\
.text.other:
        /*0000*/                   EXIT ;
.text.render_kernel:
	//## File "{code}", line 1 inlined at "{code}", line 3
	//## File "{code}", line 3 inlined at "{code}", line 6
	//## File "{code}", line 6
        /*0000*/                   FADD R1, R1, -R2 ;
        /*0010*/              @!P1 FFMA.FTZ R1, R1, R3, R2 ;
	//## File "{code}", line 6
        /*0020*/                   STG.E desc[UR4][R2.64], R1 ;
.L_x_1:
        /*0030*/              @UP0 BRA `(.L_x_1);
        /*0040*/                   NOP ;
""", "render_kernel"))
    call, inner = "render_kernel: a[0] = sample(a[0]);", "sample: return lerp(x, 1.0f, 0.5f);"
    assert [(row[:len(call + inner) + 3], count) for row, count in found.items()] == [(f"{call} > {inner}", 2), (call, 2)]
    assert [row.count("> lerp: template") for row in found] == [1, 0]


def test_how_often_instructions_run():
    assert cuda_sass.runs("render_kernel: if (mixed) mix(); > mix: draw(); > sample: bilinear();")[1] == 0
    assert cuda_sass.runs("render_kernel: draw(); > sample: bilinear(); > bilinear: s.tap(x0, y0, a);")[0] == "taps: two by two"
    assert cuda_sass.runs("render_kernel: int x = 0;")[0] == "start and end of a block"
    assert cuda_sass.runs("render_kernel: render(); > render: something new") == ("other", 1)
