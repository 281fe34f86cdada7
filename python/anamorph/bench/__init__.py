"""``anamorph bench``: one chain of transforms through anamorph and its peers, and what a call costs the host.

Every engine gets the same photographs and one thread; all run in one process and take turns (see ``rounds``), so the
ratios hold even where the machine is not quiet. A peer that is missing or fails has a row that says why.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from statistics import median
from time import perf_counter
from typing import Any

import torch

import anamorph as am
from anamorph.cli import Help, Parser, output_file
from anamorph.errors import ArgumentError, DeviceError

from . import host, machine, ours, peers  # noqa: F401  peers register themselves
from .rounds import Contender, race, reason, steady
from .work import ENTRIES, SIZE, Entry, Step, Unavailable, Work, photographs

COPIED = 2**27  # bytes: far more than any cache holds


def parser() -> argparse.ArgumentParser:
    """The options of ``anamorph bench``."""
    p = Parser(prog="anamorph bench", description="Time anamorph against its peers.", formatter_class=Help)
    p.add_argument("--json", metavar="FILE", help="write everything measured there too")
    p.add_argument("--batch", type=int, default=64, help="pictures in a batch")
    p.add_argument("--rounds", type=int, default=7, help="turns that every engine gets; medians are over these")
    p.add_argument("--seconds", type=float, default=30.0, help="about how long all rounds take, warm-up not counted")
    p.add_argument("--engines", help=f"a comma-separated part of: {', '.join(ENTRIES)}; all of the device if not given")
    p.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"], help="auto: a GPU if there is one")
    p.add_argument("--threads", default="1,2", help="of anamorph on a CPU; 1 is always among them, peers have 1")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark, print its table and, if asked, write its JSON."""
    options = parser().parse_args(argv)
    for name, least in (("batch", 1), ("rounds", 1), ("seconds", 0.0)):
        if not least <= getattr(options, name) < float("inf"):
            raise ArgumentError(f"bench: expected --{name} of at least {least:g}, given {getattr(options, name):g}")
    device = choose_device(options.device)
    entries = choose_engines(options.engines, device)
    threads = choose_threads(options.threads) if device.type == "cpu" else [1]
    target = None if options.json is None else output_file("bench: --json", options.json)

    from . import report  # needs rich, which only the commands do

    results: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.facts(), "versions": machine.versions(), "anamorph": am.info(),
        "settings": {"device": device.type, "batch": options.batch, "rounds": options.rounds,
                     "seconds": options.seconds, "threads": threads},
    }
    with steady(), torch.no_grad(), report.progress() as status:
        results.update(run_chain(entries, Work(photographs(options.batch), device), threads, options.rounds,
                                 options.seconds, status))
        if any(e.ours for e in entries):
            status("host overhead")
            results["host"] = host.overhead(device)
    report.show(results)
    if target:
        target.write_text(json.dumps(results, indent=2) + "\n")
    return 0


def choose_device(name: str) -> torch.device:
    """``auto`` is the GPU where there is one; peers that need one can be timed even if anamorph cannot use it."""
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError("bench: expected a CUDA device for --device cuda, found none")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def choose_engines(names: str | None, device: torch.device) -> list[Entry]:
    """The entries by name; by default all that run on the device."""
    if names is None:
        return [e for e in ENTRIES.values() if device.type in e.devices]
    asked = [name.strip() for name in names.split(",")]
    for name in asked:
        if name not in ENTRIES:
            raise ArgumentError(f"bench: expected --engines among {', '.join(ENTRIES)}, given {name!r}")
    return [e for e in ENTRIES.values() if e.name in asked]


def choose_threads(text: str) -> list[int]:
    """``1,2,4`` as numbers, 1 always among them."""
    try:
        threads = sorted({1, *map(int, text.split(","))})
    except ValueError:
        threads = [0]
    if not 1 <= threads[0] <= threads[-1] <= 1024:
        raise ArgumentError(f"bench: expected --threads like 1,2 of numbers from 1 to 1024, given {text!r}")
    return threads


def prepare(entry: Entry, work: Work) -> Step:
    """An engine's step, checked on a first batch."""
    if work.device.type not in entry.devices:
        raise Unavailable(f"only on {' and '.join(entry.devices)}")
    step = entry.build(work)
    out, wanted = step(), (len(work.pictures), 3, SIZE, SIZE)
    if tuple(out.shape) != wanted or out.dtype != torch.float32 or not bool(out.isfinite().all()):
        raise ValueError(f"made {out.dtype} {list(out.shape)} instead of finite float32 {list(wanted)}")
    return step


def launches(step: Step) -> int:
    """Native launches of one step."""
    before = am.launch_count()
    step()
    return am.launch_count() - before


def run_chain(entries: Sequence[Entry], work: Work, threads: Sequence[int], rounds: int, budget: float,
              status: Callable[[str], None]) -> dict[str, Any]:
    """Race the engines and the copy that is our roofline; return rows for all of them."""
    source = torch.zeros(COPIED, dtype=torch.uint8, device=work.device)
    target = torch.ones_like(source)  # written once, so that its pages exist
    copies = {t: Contender("copy", t, lambda: target.copy_(source), 2 * COPIED) for t in threads}
    rows: list[dict[str, Any]] = []
    racing: dict[int, Contender] = {}
    for entry in entries:
        row = {"engine": entry.name, "threads": 1, "note": entry.note, "ours": entry.ours, "error": None}
        status(f"preparing {entry.name}")
        began = perf_counter()
        try:
            step = prepare(entry, work)
            row["setup_seconds"] = perf_counter() - began  # imports, compilation and a first batch
            if entry.ours and entry.name != "anamorph-graph":  # a replay launches what was counted at its capture
                row["launches_per_batch"] = launches(step)
        except Exception as error:  # a peer may fail in any way: its row says how
            rows.append(row | {"error": reason(error)})
            continue
        for t in threads if entry.ours else [1]:
            racing[len(rows)] = Contender(entry.name, t, step, len(work.pictures))
            rows.append(row | {"threads": t})
    race([*copies.values(), *racing.values()] if racing else [], rounds, budget, work.device, status)

    base = next((c for c in racing.values() if c.name == "anamorph" and c.threads == 1 and c.samples), None)
    needed = ours.bytes_per_image()
    for place, c in racing.items():
        row = rows[place]
        row["error"] = c.error
        if c.error:
            continue
        row |= {"images_per_second": c.rate, "samples": c.samples}
        if base:
            # Of each round by itself: what slowed one slowed the other.
            row["anamorph_speedup"] = median(b / s for b, s in zip(base.samples, c.samples, strict=True))
        if row["ours"]:
            first = next(o for o in racing.values() if o.name == c.name)  # one thread
            row["scaling"] = c.rate / first.rate if first.samples else None
            row["roofline_fraction"] = c.rate * needed / copies[c.threads].rate
    return {
        "chain": rows,
        "copy": [{"threads": t, "bytes_per_second": c.rate, "samples": c.samples} for t, c in copies.items()
                 if c.samples],
        "bytes_per_image": needed,
    }
