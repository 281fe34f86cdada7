"""Instructions per output pixel of the chain of `anamorph bench`, contrast by midgray, counted on paper: an estimate.

    make cuda && python bench/cuda_sass.py [--rows]     # needs nvdisasm on the PATH, or NVDISASM=...

Every machine instruction of a kernel stands on a source line, inlined into other lines. RUNS says how often the instructions
of such a place run for one group of LANES pixels of a thread in this chain; the sum over the kernel, over LANES, is the number
per pixel. A row is `function: its line > function: its line ...` from the kernel inwards, the first rule that it matches
counts, and what no rule matches counts once. After a change of the kernels look through `--rows` and correct the rules.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import cuda_report

LANES, WARPS, ROUNDS = 4, 8, 4
# Of the chain's warps, measured on an H100: those with pixels inside their picture that read two by two taps, or weigh windows of
# so many lines; and those with pixels at its border.
INSIDE, INSIDE_WINDOWS, LINES, BORDER, BORDER_WINDOWS, TAPS = 0.67, 0.23, 3.0, 0.16, 0.06, 6.87

# No such steps; no window near an edge; neither nearest nor perspective; other colour steps; other outputs; slow divisions.
NEVER = "|".join([
    r"> (erase|mix|narrow|keep):|write_targets:|place_layer:|erases; \+\+k",
    r"border_index|tap_index|sum_window<false|cubic_weight|lanczos_weight|area_weight|nearest_inside|affine_to_nearest",
    r"tap_weights: case (CUBIC|LANCZOS|AREA)",
    r"window\(s., (0\.5f|1\.0f|drop|r\.reach_., .0)|unit_clamp\(share_",
    r"draw_points|read<C>\(v,|if \(v\.few\) sample|> read: .*(points|per_x|g\.)|fill: each|sample_fill|folded\(|mix:",
    r"lay_fill: .*inside|pad_cover|tap_cover|pads|1e-8f|product\(|s[xy], inverse|kernel == NEAREST\) \{",
    r"c\[1\] = c\[2\]|F\(1\.0f\) - c\[i\]|levels|as_byte|permute|power|spoilt|c\[I\] = |CONTRAST_MIDGRAY",
    r"weighed: \} else \{|r\.beyond == Beyond::FILL",
    r"store: (case (U8|F16)|default)",
    r"from_ready|shrunk_pixel|go_on_from|ready_progress|noise|NOISE|looked_up|seen >= |seen < |F\(add\)",
    r"^render_kernel: (\}|[^>]*render\(walk[^>]*)$",
])
RUNS = [  # the part, how often, which rows
    ("never in this chain", 0, NEVER),
    ("start of a block, by one warp", 1 / WARPS / ROUNDS, r"open_layer:"),
    ("start and end of a block", 1 / ROUNDS, r"^\w+_kernel: (?!.*(render|draw)\()(?!.*grey)|block_sum:"),
    ("inside: two by two", LANES * INSIDE, r"linear_inside"),
    ("inside: lines of a window", LANES * INSIDE_WINDOWS * LINES,
     r"weighed_inside: (for \(int j|const Line|const float wy|total \+=|for \(int c = 0; c < C; \+\+c\)$|out\[c\] \+=)"),
    ("inside: windows", LANES * INSIDE_WINDOWS, r"weighed_inside"),
    ("inside: is it", 1, r"> inside:|taps: if \(v\.few \|\|"),
    ("taps: two by two", LANES * BORDER, r"bilinear:"),
    ("taps: of a window", LANES * BORDER_WINDOWS * TAPS,
     r"sum_window: (for \(int i|I ix|F weight|s\.tap|for .*weight \* v|total = total)"),
    ("taps: lines of a window", LANES * BORDER_WINDOWS * LINES, r"sum_window: (for \(int j|I iy|F wy)"),
    ("taps: windows", LANES * BORDER_WINDOWS, r"(sum_window|weighed):"),
    ("taps: position and frame", LANES * (BORDER + BORDER_WINDOWS), r"taps: each\(at, px"),
    ("colour: clamps, where a factor is above 1", 0.5, r"blend: for .*unit_clamp"),
    ("colour", 1, r"color_step|done\.step < end|color_words|changes_pixels|walk\.color"),
    ("store", 1, r"store:"),
]
# An H100 SXM issues at most so many instructions of a thread in a second: 132 multiprocessors of 4 schedulers, a warp a cycle.
ISSUE, PIXELS = 132 * 4 * 32 * 1.7e9, 224 * 224


@cache
def source(file: str) -> tuple[list[str], list[str]]:
    """A source file's lines and, for each, the function that it belongs to."""
    lines = Path(file).read_text().splitlines()
    functions, name = [], "?"
    for line in lines:
        if re.match(r"(    )?(AM_HD|AM_D|__device__|__global__|template|static|inline)\b", line):
            head = re.search(r"(operator\S+?|\w+)\(", re.sub(r"__launch_bounds__\(.*?\)", "", line))
            name = head[1] if head else name
        functions.append(name)
    return lines, functions


def place(file: str, number: int) -> str:
    try:
        lines, functions = source(file)
    except OSError:
        return Path(file).name
    return f"{functions[number - 1]}: {lines[number - 1].strip()}"


def rows(disassembly: str, symbol: str) -> Iterator[str]:
    """The row of each instruction of a kernel, but for the padding at its end."""
    inside, frames, fresh = False, [], True
    for line in disassembly.splitlines():
        if line.startswith(".text."):
            inside = line == f".text.{symbol}:"
        elif not inside:
            continue
        elif found := re.match(r'\s*//## File "(.*?)", line (\d+)', line):
            frames = [(found[1], int(found[2])), *([] if fresh else frames)]
            fresh = False
        elif found := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z]\w*)", line):
            fresh = True
            if found[1] != "NOP":
                yield " > ".join(place(*frame) for frame in frames)


def runs(row: str) -> tuple[str, float]:
    return next(((part, count) for part, count, rule in RUNS if re.search(rule, row)), ("other", 1))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="cuda-sass", description="Instructions per output pixel of the chain: an estimate.")
    parser.add_argument("--build", type=Path, default=cuda_report.REPOSITORY / "build/cuda")
    parser.add_argument("--rows", action="store_true", help="every place with its instructions and runs")
    options = parser.parse_args(arguments)
    per_pixel = None
    for cubin in sorted(options.build.rglob("render*.cubin")):
        done = subprocess.run([os.environ.get("NVDISASM", "nvdisasm"), "-c", "-gi", cubin],
                              capture_output=True, text=True, check=True)
        symbols = re.findall(r"^\.text\.(\w+):", done.stdout, re.MULTILINE)
        for symbol, name in cuda_report.readable(symbols).items():
            if name != "render_kernel<3, ByteSource, 0>":
                continue
            found = Counter(rows(done.stdout, symbol))
            instructions, executed = Counter(), Counter()
            for row, count in found.items():
                part, times = runs(row)
                instructions[part] += count
                executed[part] += count * times
                if options.rows:
                    print(f"{count:6} x {times:6.3f}  [{part}]  {row}")
            print(f"\n{name}, {cubin.name}\n{'':44}instructions  per pixel")
            for part in instructions:
                print(f"    {part:40}{instructions[part]:12}{executed[part] / LANES:11.1f}")
            per_pixel = executed.total() / LANES
            print(f"    {'all':40}{instructions.total():12}{per_pixel:11.1f}\n")
    if per_pixel is None:
        raise SystemExit("cuda-sass: the chain's kernel is not there: `make cuda` first")
    rate = ISSUE / PIXELS / per_pixel
    print(f"estimate, not measured: midgray {per_pixel:.0f} instructions per pixel, an H100 issues them for at most "
          f"{rate:,.0f} images/s ({256 / rate * 1e6:.0f} us for 256)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
