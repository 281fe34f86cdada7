"""``python -m tests.differential --cases N --seed S``: the table of what was explained, and a line for each kind that was not."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from differential import compare, policies
from differential.cases import BATCH, Draw
from differential.compare import Tally
from differential.explained import FUSED, NOT_COMPARED, PIL, POLICIES, REASONS

FAMILIES = {"geometry": (Draw, compare.run), "policies": (policies.PolicyDraw, policies.run)}


def sizes(of: list[tuple[float, float]]) -> str:
    """Of the views that needed a reason, in the middle of them."""
    return "" if not of else " (a view's largest difference {:.1f}, its mean {:.2f} of 255)".format(*np.median(of, axis=0))


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.differential", description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--family", choices=FAMILIES, default="geometry", help="which recipes")
    parser.add_argument("--only", type=int, help="one case, by its number")
    parser.add_argument("--show", type=int, default=40, help="kinds to show of those that are not explained")
    args = parser.parse_args()
    torch.set_num_threads(1)
    tally, start = Tally(), time.perf_counter()
    numbers = range(args.cases // BATCH) if args.only is None else [args.only]
    draw, run = FAMILIES[args.family]
    for number in numbers:
        run(draw(number, args.seed).case(), tally)
    print(f"{tally.cases} cases in {time.perf_counter() - start:.0f} s, seed {args.seed}: {tally.equal} equal, "
          f"{tally.unexplained.total()} unexplained")
    sentences = FUSED | NOT_COMPARED | {r.name: r.sentence for r in POLICIES + REASONS + PIL}
    for name, count in tally.reasons.most_common():
        print(f"{count:8}  {name}: {sentences[name.split(': ')[-1]]}{sizes(tally.sizes.get(name, []))}")
    for kind, count in tally.unexplained.most_common(args.show):
        print(f"UNEXPLAINED {count:6} {kind}\n    {tally.smallest[kind][1]}")
    return bool(tally.unexplained)


sys.exit(main())
