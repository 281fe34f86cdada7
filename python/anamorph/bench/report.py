"""What the benchmark shows while it runs and at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

Status = Callable[[str], None]


@contextmanager
def progress() -> Iterator[Status]:
    """A line that says what runs now, where a person watches."""
    console = Console(stderr=True)
    with console.status("starting") as status:
        yield lambda text: status.update(escape(text))


def show(results: dict[str, Any]) -> None:
    """The table and the numbers under it."""
    console, facts, settings = Console(), results["machine"], results["settings"]
    where = facts["gpu"] if settings["device"] == "cuda" else f"{facts['cpu']}, {facts['usable_cores']} cores"
    table = Table(title=escape(f"256x256 to 224x224 float32, batches of {settings['batch']}, {where}"),
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
    if copies:
        speeds = ", ".join(f"{rate / 1e9:.1f} GB/s" for rate in copies.values())
        console.print(f"roofline: {results['bytes_per_image'] / 1e3:,.0f} kB an image at the speed of a copy, {speeds}",
                      highlight=False)
    if "host" in results:
        h = results["host"]
        console.print(f"host: {h['total_us']:.1f} µs a call (plan {h['plan_us']:.1f}, render {h['render_us']:.1f}) for "
                      "ten lines of recipe on four 8x8 images", highlight=False)
