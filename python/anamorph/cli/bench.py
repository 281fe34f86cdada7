"""``anamorph bench``: its options, its table and its file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import torch

import anamorph as am
from anamorph import bench
from anamorph.bench import host, machine, sweep
from anamorph.bench.rounds import steady
from anamorph.bench.work import CHAINS, ENTRIES, Entry, Work, photographs, sides
from anamorph.cli.arguments import Help, Parser, output_file
from anamorph.core.errors import ArgumentError, DeviceError, MissingDependencyError
from anamorph.core.extras import extra

COMPARISON, CASE = 30.0, 0.2  # seconds that all rounds take, where nobody says


def parser() -> argparse.ArgumentParser:
    """The options of ``anamorph bench``."""
    p = Parser(prog="anamorph bench", description="Time anamorph against its peers.", formatter_class=Help)
    p.add_argument("--json", metavar="FILE", help="write everything measured there too")
    p.add_argument("--seconds", type=float, help=f"about how long all rounds take, warm-up not counted: {COMPARISON:g} of the "
                   f"comparison, {CASE:g} of each case of the sweep if not given")
    p.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"], help="auto: a GPU if there is one")
    chain = p.add_argument_group("the comparison")
    chain.add_argument("--chain", default=CHAINS[0], choices=CHAINS, help="what is done to the pictures")
    chain.add_argument("--batch", type=int, default=64, help="pictures in a batch")
    chain.add_argument("--rounds", type=int, default=7, help="turns that every engine gets; medians are over these")
    chain.add_argument("--engines", help=f"a comma-separated part of: {', '.join(ENTRIES)}; all of the device if not given")
    chain.add_argument("--threads", default="1,2", help="of anamorph on a CPU; 1 is always among them, peers have 1")
    many = p.add_argument_group("the sweep")
    many.add_argument("--sweep", action="store_true", default=None, help="instead: many recipes, sizes, layouts and dtypes "
                      "against torchvision, the slowest first (about a quarter of an hour)")
    many.add_argument("--quick", action="store_true", default=None, help="of the sweep two sizes and float32 out (a minute)")
    many.add_argument("--only", metavar="WORDS", help="of the sweep the cases that have all of these, parted by "
                      "commas: --only bicubic,planar,256x256")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark, print its table and, if asked, write its JSON."""
    p = parser()
    options = p.parse_args(argv)
    check_kind(p, options)
    if options.seconds is None:
        options.seconds = CASE if options.sweep else COMPARISON
    for name, least in (("batch", 1), ("rounds", 1), ("seconds", 0.0)):
        if not least <= getattr(options, name) < float("inf"):
            raise ArgumentError(f"bench: expected --{name} of at least {least:g}, given {getattr(options, name):g}")
    device = choose_device(options.device)
    entries = choose_engines(options.engines, device, options.chain)
    threads = choose_threads(options.threads) if device.type == "cpu" else [1]
    target = None if options.json is None else output_file("bench: --json", options.json)

    with extra("bench", "anamorph bench"):
        from anamorph.bench import report

        pictures = photographs(options.batch, (sides(options.chain)[0],) * 2)
    cases = choose_cases(options) if options.sweep else []
    results: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.facts(), "versions": machine.versions(), "anamorph": am.info(),
    }
    with steady(), torch.no_grad(), report.progress() as status:
        if options.sweep:
            results |= sweep.run(cases, device, options.seconds, status)
        else:
            results["settings"] = {"device": device.type, "chain": options.chain, "batch": options.batch,
                                   "rounds": options.rounds, "seconds": options.seconds, "threads": threads}
            results |= bench.run_chain(entries, Work(pictures, device, options.chain), threads,
                                       options.rounds, options.seconds, status)
            if any(e.ours for e in entries):
                status("host overhead")
                results["host"] = host.overhead(device)
    (report.show_sweep if options.sweep else report.show)(results)
    if target:
        target.write_text(json.dumps(results, indent=2) + "\n")
    return 0


def check_kind(p: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """The sweep's options come with ``--sweep``, the comparison's without."""
    for name in ("chain", "batch", "rounds", "engines", "threads") if options.sweep else ("quick", "only"):
        if getattr(options, name) != p.get_default(name):
            raise ArgumentError(f"bench: expected --{name} only {'without' if options.sweep else 'with'} --sweep")


def choose_cases(options: argparse.Namespace) -> list[sweep.Case]:
    """The sweep's cases."""
    try:
        cases = sweep.cases(bool(options.quick), options.only or "")
    except ModuleNotFoundError as error:
        raise MissingDependencyError(f"bench: --sweep is a comparison with torchvision, which is missing ({error})") from error
    if not cases:
        raise ArgumentError(f"bench: expected --only words of the sweep's lines, such as bicubic,planar,256x256; given "
                            f"{options.only!r}, which none has")
    return cases


def choose_device(name: str) -> torch.device:
    """``auto`` is the GPU where there is one; peers that need one can be timed even if anamorph cannot use it."""
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError("bench: expected a CUDA device for --device cuda, found none")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def choose_engines(names: str | None, device: torch.device, chain: str) -> list[Entry]:
    """The entries by name; by default all that have the chain and run on the device."""
    if names is None:
        return [e for e in ENTRIES.values() if device.type in e.devices and chain in e.chains]
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
