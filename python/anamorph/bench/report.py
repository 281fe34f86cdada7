"""What the benchmark shows while it runs and at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf, nan
from statistics import median
from time import monotonic
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .sweep import BAR, ON_GPU, SOURCES
from .work import sides

Status = Callable[[str], None]
PAUSE = 10.0  # seconds between two lines in a file


@contextmanager
def progress() -> Iterator[Status]:
    """Says what runs now on the standard error: in one line, or where that is a file in a line every ten seconds."""
    console = Console(stderr=True)
    if console.is_terminal:
        with console.status("starting") as status:
            yield lambda text: status.update(escape(text))
        return
    said = -inf

    def say(text: str) -> None:
        nonlocal said
        if monotonic() - said >= PAUSE:
            said = monotonic()
            console.print(escape(text), soft_wrap=True, highlight=False)

    yield say


def show_sweep(results: dict[str, Any]) -> None:
    """The recipes, the slowest first, what all cases say together, and the slowest ten."""
    console, rows = Console(highlight=False), results["sweep"]
    done = [row for row in rows if not row["error"]]
    sources = [source for source in SOURCES if any(row["source"] == source for row in done)]
    machine = results["machine"]
    where = (f"on batches of {ON_GPU}, {machine['gpu']}" if results["device"] == "cuda" else
             f"per sample, one thread, {machine['cpu']}, {results['anamorph']['simd']}")
    table = Table(title=escape(f"anamorph over torchvision v2 {where}: the lowest ratio by source"),
                  title_justify="left", title_style="bold")
    table.add_column("recipe", overflow="fold")
    for heading in (*(source.replace(" ", "\n") for source in sources), "median", f"below {BAR:g}x"):
        table.add_column(heading, justify="right", no_wrap=True)
    for recipe in dict.fromkeys(row["recipe"] for row in done):  # rows are sorted, so these are too
        same = [row for row in done if row["recipe"] == recipe]
        lowest = [min((row["ratio"] for row in same if row["source"] == source), default=nan) for source in sources]
        table.add_row(escape(recipe), *(f"{ratio:.2f}x" for ratio in lowest), f"{median(r['ratio'] for r in same):.2f}x",
                      f"{sum(row['ratio'] < BAR for row in same)} of {len(same)}")
    if done:
        console.print(table)
        console.print(f"{len(done)} cases: median {results['median']:.2f}x, {results['below']} below {BAR:g}x")
        for output, speed in results["outputs"].items():
            console.print(f"{output} out: {speed:.2f} times anamorph's own speed with float32 out, by the median")
        console.print("the slowest:")
    for row in done[:10]:
        console.print(f"{row['ratio']:6.2f}x  {row['images_per_second']:,.0f} images/s to {row['torchvision']:,.0f}: "
                      f"{escape(row['case'])}", soft_wrap=True)
    for row in rows:
        if row["error"]:
            console.print(f"[yellow]failed[/]   {escape(row['case'])}: {escape(row['error'])}", soft_wrap=True)


def show(results: dict[str, Any]) -> None:
    """The table and the numbers under it."""
    console, facts, settings = Console(), results["machine"], results["settings"]
    where = facts["gpu"] if settings["device"] == "cuda" else f"{facts['cpu']}, {facts['usable_cores']} cores"
    source, size = sides(settings["chain"])
    table = Table(title=escape(f"{settings['chain']}, {source}x{source} to {size}x{size} float32, "
                               f"batches of {settings['batch']}, {where}"),
                  title_justify="left", title_style="bold")
    table.add_column("engine", no_wrap=True)
    for heading in ("threads", "images/s", "spread", "anamorph is"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("what differs", overflow="fold")
    for row in results["chain"]:
        name = f"[bold green]{row['engine']}[/]" if row["ours"] else row["engine"]
        if row["error"]:
            table.add_row(name, str(row["threads"]), "-", "-", "-", f"[yellow]{escape(row['error'])}[/]")
            continue
        speedup = f"{row['anamorph_speedup']:.2f}x" if "anamorph_speedup" in row else "-"
        table.add_row(name, str(row["threads"]), f"{row['images_per_second']:,.0f}",
                      f"{(max(row['samples']) - min(row['samples'])) / row['images_per_second']:.0%}", speedup,
                      escape(row["note"]))
    console.print(table)
    console.print("images/s: the median of the rounds; spread: from the lowest to the highest of them; "
                  "anamorph: on one thread", style="dim", highlight=False)

    copies = {c["threads"]: c["bytes_per_second"] for c in results["copy"]}
    for row in results["chain"]:
        if "roofline_fraction" in row:
            say = f"{row['engine']}, {row['threads']} thread{'s' * (row['threads'] > 1)}: " \
                  f"{row['roofline_fraction']:.1%} of the roofline"
            if "launches_per_batch" in row:
                say += f", {row['launches_per_batch']} launches a batch"
            if row["threads"] > 1 and row["scaling"]:
                say += f", {row['scaling']:.2f} times one thread"
            console.print(say, highlight=False)
    if copies and results["bytes_per_image"]:
        speeds = ", ".join(f"{rate / 1e9:.1f} GB/s" for rate in copies.values())
        console.print(f"roofline: {results['bytes_per_image'] / 1e3:,.0f} kB an image at the speed of a copy, {speeds}",
                      highlight=False)
    if "host" in results:
        h = results["host"]
        console.print(f"host: {h['total_us']:.1f} µs a call (plan {h['plan_us']:.1f}, render {h['render_us']:.1f}) for "
                      "ten lines of recipe on four 8x8 images", highlight=False)
