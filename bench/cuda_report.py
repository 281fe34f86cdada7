"""What each CUDA kernel takes of a multiprocessor, as the compiler says it, and whether it is more than was agreed.

    make cuda-report                    the table; build/cuda-report.json; fails where a kernel spills or outgrows its ceiling
                                        (but what "allowed spills" there says, which is written by hand)
    make cuda-report ARGS=--record      the same, after writing the present numbers into bench/cuda_ceilings.json

Registers, spills, stack and shared memory are what ptxas reports, threads (__launch_bounds__) and parameters stand in the PTX;
cuda_compile.py keeps both when an object is compiled. The occupancy is theoretical: how many blocks fit at once.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
BOUNDED = ("registers", "stack", "shared")  # what has a ceiling
ALLOWED = "allowed spills"  # bytes; written by hand


class Limits(NamedTuple):
    """One multiprocessor. ``unit``: shared memory is handed out in so many bytes; ``reserved``: of it, by the system, a block."""

    warps: int
    blocks: int
    shared: int
    reserved: int
    unit: int


# CUDA C++ Programming Guide, "Technical Specifications per Compute Capability": resident warps and blocks, shared memory and
# (shared memory sections of 8.x to 12.x) the kilobyte reserved. Units: the occupancy calculator (cuda_occupancy.h).
LIMITS = {
    "sm_75": Limits(32, 16, 64 * 1024, 0, 256),
    "sm_80": Limits(64, 32, 164 * 1024, 1024, 128),
    "sm_86": Limits(48, 16, 100 * 1024, 1024, 128),
    "sm_89": Limits(48, 24, 100 * 1024, 1024, 128),
    "sm_90": Limits(64, 32, 228 * 1024, 1024, 128),
    "sm_100": Limits(64, 32, 228 * 1024, 1024, 128),
    "sm_120": Limits(48, 24, 100 * 1024, 1024, 128),
}
# All of these: a warp takes registers in units of 256 from one of four partitions of 16,384.
REGISTERS, PARTITIONS, REGISTER_UNIT = 65536, 4, 256


class Occupancy(NamedTuple):
    blocks: int     # of the kernel at once on a multiprocessor
    share: float    # of the warps that it can hold
    limit: str      # what keeps more from fitting


def occupancy(arch: str, threads: int, registers: int, shared: int) -> Occupancy | None:
    """``None`` where the architecture's limits are not in the table."""
    limits = LIMITS.get(arch.rstrip("af"))
    if limits is None:
        return None
    warps = math.ceil(threads / 32)
    warp_registers = math.ceil(registers * 32 / REGISTER_UNIT) * REGISTER_UNIT
    block_shared = math.ceil((shared + limits.reserved) / limits.unit) * limits.unit
    fits = {
        "warps": limits.warps // warps,
        "blocks": limits.blocks,
        "registers": REGISTERS // PARTITIONS // warp_registers * PARTITIONS // warps,
    }
    if block_shared:
        fits["shared memory"] = limits.shared // block_shared
    limit = min(fits, key=fits.__getitem__)
    return Occupancy(fits[limit], fits[limit] * warps / limits.warps, limit)


@dataclass(frozen=True)
class Kernel:
    """Bytes, but for ``threads`` a block and ``registers`` a thread."""

    arch: str
    name: str
    threads: int
    registers: int
    spill_stores: int
    spill_loads: int
    stack: int
    shared: int
    parameters: int

    @property
    def occupancy(self) -> Occupancy | None:
        return occupancy(self.arch, self.threads, self.registers, self.shared)

    def __str__(self) -> str:
        return f"{self.name} ({self.arch})"


def usages(log: str) -> Iterator[dict]:
    """What ptxas says of each kernel, by its symbol. The spills of functions that a kernel calls are its own."""
    kernel: dict = {}
    for line in log.splitlines():
        if found := re.search(r"Compiling entry function '(\w+)' for '(\w+)'", line):
            kernel = {"symbol": found[1], "arch": found[2], "spill_stores": 0, "spill_loads": 0}
        elif found := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
            kernel["spill_stores"] += int(found[1])
            kernel["spill_loads"] += int(found[2])
        elif found := re.search(r"Used (\d+) registers", line):
            stack, shared = (re.search(rf"(\d+) bytes {what}", line) for what in ("cumulative stack size", "smem"))
            yield {**kernel, "registers": int(found[1]), "stack": int(stack[1]) if stack else 0,
                   "shared": int(shared[1]) if shared else 0}


def entries(ptx: str) -> Iterator[tuple[str, int, int]]:
    """Symbol, threads of a block (0: no __launch_bounds__) and bytes of parameters of each kernel."""
    for symbol, parameters, directives in re.findall(r"\.entry\s+(\w+)\s*\(([^)]*)\)([^{]*)\{", ptx):
        size = 0
        for parameter in filter(str.strip, parameters.split(",")):
            packed = re.search(r"\.align (\d+) \.b8 \w+\[(\d+)\]", parameter)  # else a number: .u64, .f32
            width = re.search(r"\.[a-z](\d+)", parameter)
            align, bytes_ = map(int, packed.groups()) if packed else (int(width[1]) // 8,) * 2
            size = math.ceil(size / align) * align + bytes_
        bound = re.search(r"\.(?:max|req)ntid\s+(\d+)(?:,\s*(\d+))?(?:,\s*(\d+))?", directives)
        yield symbol, math.prod(int(n or 1) for n in bound.groups()) if bound else 0, size


def readable(symbols: list[str]) -> dict[str, str]:
    """``render_kernel<3, ByteSource>`` for each mangled name: without namespaces, parameters and repeated arguments."""
    if not symbols:
        return {}
    done = subprocess.run(["c++filt"], input="\n".join(symbols), capture_output=True, text=True, check=True)
    return dict(zip(symbols, map(shorten, done.stdout.splitlines()), strict=True))


def shorten(name: str) -> str:
    name = re.sub(r"\((?:\w|::)+\)(?=-?\d)", "", name)  # (anamorph::Kernel)2, an enumerator
    name = re.sub(r"\(anonymous namespace\)::|\w+::", "", name)
    name = name.split("(")[0].removeprefix("void ").replace(" >", ">")
    return re.sub(r"(?<=<)(\w+)((?:, \w+)*?, \w+)<\1>", r"\1\2", name)


def read(build: Path) -> tuple[str, list[Kernel]]:
    """The compiler and the kernels of the CUDA objects in a build folder."""
    commands = json.loads((build / "compile_commands.json").read_text())
    objects = [build / command["output"] for command in commands if command["file"].endswith(".cu")]
    facts: dict[str, tuple[int, int]] = {}
    found, compiler = [], ""
    for kept in (object_.with_name(object_.name + ".kept") for object_ in objects):
        if not (kept / "usage.log").exists():
            raise SystemExit(f"cuda-report: {kept} is missing: compile with `make cuda`")
        found += usages((kept / "usage.log").read_text())
        for file in kept.glob("*.ptx"):
            ptx = file.read_text()
            compiler = ptx.partition("Cuda compilation tools, ")[2].partition("\n")[0]
            facts |= {symbol: (threads, parameters) for symbol, threads, parameters in entries(ptx)}
    names = readable([usage["symbol"] for usage in found])
    return compiler, kernels(found, facts, names)


def kernels(found: Iterable[dict], facts: dict[str, tuple[int, int]], names: dict[str, str]) -> list[Kernel]:
    found = list(found)
    if lost := facts.keys() ^ {usage["symbol"] for usage in found}:
        raise SystemExit(f"cuda-report: what ptxas said and the PTX name different kernels: {', '.join(sorted(lost))}")
    if not found:
        raise SystemExit("cuda-report: found no kernel")
    result = []
    for usage in found:
        symbol = usage.pop("symbol")
        threads, parameters = facts[symbol]
        if not threads:
            raise SystemExit(f"cuda-report: {names[symbol]} does not state its block: give it __launch_bounds__")
        result.append(Kernel(name=names[symbol], threads=threads, parameters=parameters, **usage))
    return sorted(result, key=lambda kernel: (kernel.arch, kernel.name))


def compare(found: list[Kernel], ceilings: dict) -> tuple[list[str], list[str]]:
    """What fails, and what is only said."""
    errors, notes = [], []
    for kernel in found:
        if max(kernel.spill_stores, kernel.spill_loads) > ceilings.get(ALLOWED, {}).get(kernel.name, 0):
            errors.append(f"{kernel} spills: {kernel.spill_stores} bytes stored, {kernel.spill_loads} loaded")
    for arch in dict.fromkeys(kernel.arch for kernel in found):
        if arch not in ceilings:
            notes.append(f"{arch} has no ceilings, so only spills fail")
            continue
        here = {kernel.name: kernel for kernel in found if kernel.arch == arch}
        for name, kernel in here.items():
            ceiling = ceilings[arch].get(name)
            if ceiling is None:
                errors.append(f"{kernel} has no ceiling; `make cuda-report ARGS=--record` writes it")
                continue
            errors += (f"{kernel}: {what} {getattr(kernel, what)}, ceiling {ceiling[what]}"
                       for what in BOUNDED if getattr(kernel, what) > ceiling[what])
        notes += (f"{name} ({arch}) has a ceiling but is gone; record anew" for name in ceilings[arch] if name not in here)
    return errors, notes


def record(found: list[Kernel], ceilings: dict, compiler: str) -> str:
    """The ceilings' file: a kernel a line, so that a change shows what grew."""
    measured = ceilings.get(ALLOWED)
    ceilings = {arch: kept for arch, kept in ceilings.items() if arch.startswith("sm_")}
    for arch in {kernel.arch for kernel in found}:
        ceilings[arch] = {kernel.name: {what: getattr(kernel, what) for what in BOUNDED}
                          for kernel in found if kernel.arch == arch}
    blocks = [f'  "compiler": {json.dumps(compiler)}']
    if measured:
        blocks.append(f'  "{ALLOWED}": {json.dumps(measured)}')
    for arch in sorted(ceilings):
        lines = (f"    {json.dumps(name)}: {json.dumps(ceiling)}" for name, ceiling in ceilings[arch].items())
        blocks.append(f'  "{arch}": {{\n' + ",\n".join(lines) + "\n  }")
    return "{\n" + ",\n".join(blocks) + "\n}\n"


def table(found: list[Kernel]) -> str:
    head = ("kernel", "threads", "registers", "spills st/ld", "stack", "shared", "parameters", "blocks/SM", "occupancy",
            "limited by")
    rows = [head]
    for k in found:
        full = k.occupancy
        rows.append((k.name, *map(str, (k.threads, k.registers)), f"{k.spill_stores}/{k.spill_loads}",
                     *map(str, (k.stack, k.shared, k.parameters)),
                     *((str(full.blocks), f"{full.share:.1%}", full.limit) if full else ("?", "?", "?"))))
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(cell.ljust(width) if i in (0, len(head) - 1) else cell.rjust(width)
                       for i, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in rows]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="cuda-report", description="What each CUDA kernel takes of a multiprocessor.")
    parser.add_argument("--build", type=Path, default=REPOSITORY / "build/cuda", help="the build folder of `make cuda`")
    parser.add_argument("--json", type=Path, default=REPOSITORY / "build/cuda-report.json", help="where the JSON goes")
    parser.add_argument("--ceilings", type=Path, default=REPOSITORY / "bench/cuda_ceilings.json")
    parser.add_argument("--record", action="store_true", help="make the present numbers the ceilings")
    options = parser.parse_args(arguments)

    compiler, found = read(options.build)
    ceilings = json.loads(options.ceilings.read_text()) if options.ceilings.exists() else {}
    if options.record:
        options.ceilings.write_text(record(found, ceilings, compiler))
        ceilings = json.loads(options.ceilings.read_text())
    errors, notes = compare(found, ceilings)
    if ceilings and ceilings["compiler"] != compiler:
        notes.append(f"the ceilings are of another compiler: {ceilings['compiler']}")
    options.json.write_text(json.dumps({
        "compiler": compiler,
        "kernels": [asdict(kernel) | {"occupancy": kernel.occupancy and kernel.occupancy._asdict()} for kernel in found],
        "errors": errors, "notes": notes}, indent=2) + "\n")

    for arch in dict.fromkeys(kernel.arch for kernel in found):
        print(f"{arch}, {compiler}\n\n{table([kernel for kernel in found if kernel.arch == arch])}\n")
    for line in notes:
        print(f"note: {line}")
    for line in errors:
        print(f"error: {line}", file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
