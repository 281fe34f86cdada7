"""``anamorph bench``: one chain of transforms through anamorph and its peers, and what a call costs the host.

Every engine gets the same photographs and one thread; all run in one process and take turns (see ``rounds``), so the
ratios hold even where the machine is not quiet. A peer that is missing or fails has a row that says why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter
from typing import Any

import torch

import anamorph as am

from . import ours, peers  # noqa: F401  peers register themselves
from .rounds import Contender, race, reason
from .work import Entry, Step, Unavailable, Work, check

COPIED = 2**27  # bytes: far more than any cache holds


def prepare(entry: Entry, work: Work) -> Step:
    """An engine's step, checked on a first batch."""
    if work.device.type not in entry.devices:
        raise Unavailable(f"only on {' and '.join(entry.devices)}")
    if work.chain not in entry.chains:
        raise Unavailable(f"only in {' and '.join(entry.chains)}")
    step = entry.build(work)
    check(step(), (len(work.pictures), 3, work.size, work.size), torch.float32)
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
    needed = ours.bytes_per_image() if work.chain == "rrc-jitter" else None  # its views are a matrix and a crop
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
            if needed:
                row["roofline_fraction"] = c.rate * needed / copies[c.threads].rate
    return {
        "chain": rows,
        "copy": [{"threads": t, "bytes_per_second": c.rate, "samples": c.samples} for t, c in copies.items()
                 if c.samples],
        "bytes_per_image": needed,
    }
