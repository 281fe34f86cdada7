"""Test-time augmentation where it is needed: python tta_digits.py FOLDER   (where a table goes).

A small net learns scikit-learn's digits, as they are or by random views. The tests show digits that are damaged: covered with
noise, or turned, moved and scaled as well. Views of those that the net is least sure of are rendered and averaged; the threshold
for each share of them is that of a validation set, damaged alike, whose labels are not used.
"""

import argparse
import itertools
import math
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import anamorph as am

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=Path)
parser.add_argument("--epochs", type=int, default=30)
parser.add_argument("--batch-size", type=int, default=64)
parser.add_argument("--size", type=int, default=32, help="side of a digit, in pixels")
parser.add_argument("--seeds", type=int, default=3)
parser.add_argument("--views", type=int, default=8)
options = parser.parse_args()

TRAIN, VALIDATION = 700, 400
MOVE = am.RandomAffine(25, (0.12, 0.12), (0.8, 1.2), interpolation="bilinear")
DAMAGES = {"noise": [am.GaussianNoise(0, 0.3)], "moved, noise": [MOVE, am.GaussianNoise(0, 0.15)]}
NORMALIZE = am.Normalize(0.3, 0.35)
VIEWS = am.Recipe([am.RandomAffine(15, (0.08, 0.08), (0.9, 1.15), interpolation="bilinear"), NORMALIZE])
LEARNT = {"as they are": am.Recipe([NORMALIZE]), "views": VIEWS}
SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)

found = load_digits()
order = np.random.default_rng(0).permutation(len(found.target))
labels = torch.from_numpy(found.target[order])
images = F.interpolate(torch.from_numpy(found.images[order]).float()[:, None] / 16, (options.size, options.size), mode="bilinear")
images = images.mul(255).round().to(torch.uint8)  # [N, 1, H, W]
train, validation, test = slice(TRAIN), slice(TRAIN, TRAIN + VALIDATION), slice(TRAIN + VALIDATION, None)


def rendered(recipe: am.Recipe, which: slice, **draw: int) -> torch.Tensor:
    """Views of some of the digits."""
    ids = torch.arange(len(images))[which]
    return am.render(images[which], recipe.plan(ids, size=images.shape[2:], **draw), layout="NCHW")


def trained(recipe: am.Recipe, seed: int) -> nn.Module:
    """A net that has learnt from the recipe's views."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1),
                        nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * 16, 10))
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3)
    for epoch in range(options.epochs):
        inputs = rendered(recipe, train, seed=seed, epoch=epoch)
        for at in torch.randperm(TRAIN).split(options.batch_size):
            loss = F.cross_entropy(net(inputs[at]), labels[train][at])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    print(f"seed {seed}: loss {loss.item():.3f}")
    return net.eval()


rows: dict[tuple[str, ...], list[tuple[float, float]]] = {}
for (learnt, recipe), seed in itertools.product(LEARNT.items(), range(options.seeds)):
    net = trained(recipe, seed)
    for damage, transforms in DAMAGES.items():
        damaged = am.Recipe(transforms, dtype=torch.uint8)
        known, shown = rendered(damaged, validation, seed=2 * seed), rendered(damaged, test, seed=2 * seed + 1)

        def predict(given: torch.Tensor, aggregate: str, above: float | None = None, net=net, seed=seed) -> torch.Tensor:
            return am.tta(net, given, VIEWS, options.views, aggregate=aggregate, entropy_above=above, seed=seed, layout="NCHW")

        # With entropy_above=t each sample has its own prediction or that of all views, so two calls show every t.
        own, of_validation = (predict(given, "logit-mean", math.inf) for given in (shown, known))
        entropy = am.prediction_entropy(own)
        everyone = {how: predict(shown, how).argmax(1) == labels[test] for how in ("mean", "logit-mean", "entropy-weighted")}
        for how, share in [("mean", share) for share in SHARES] + [("logit-mean", 1.0), ("entropy-weighted", 1.0)]:
            done = entropy >= am.entropy_threshold(of_validation, share)
            right = torch.where(done, everyone[how], own.argmax(1) == labels[test])
            rows.setdefault((learnt, damage, how, f"{share:.0%}"), []).append(
                (100 * done.float().mean().item(), 100 * right.float().mean().item()))

table = ["| learnt | damage | aggregate | asked | augmented, % | right, % |", "|---|---|---|---|---|---|"]
for names, each in rows.items():
    done, right = zip(*each, strict=True)
    spread = stdev(right) if len(right) > 1 else math.nan
    table.append(f"| {' | '.join(names)} | {mean(done):.1f} | {mean(right):.1f} ± {spread:.1f} |")
(options.folder / "tta_digits.md").write_text("\n".join(table) + "\n")
print("\n".join(table))
