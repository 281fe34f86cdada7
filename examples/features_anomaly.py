"""Anomalies in textures: python features_anomaly.py FOLDER   (where the table goes).

Good are pieces of one of scikit-image's textures (brick, grass, gravel). Defects are made in pieces of its lower part, which
nothing has learnt from: a rectangle is cut out of another of these textures, made lighter or darker, and pasted (as CutPaste: Li
et al., CVPR 2021). A small net that has learnt which of fifteen other photographs a piece is of (scikit-image's, scikit-learn's)
gives the features, and is left as it is. Compared by the area under the ROC curve, of pieces and of pixels: SimpleNet (Liu et
al., CVPR 2023) with noise of several sigmas, after its last epoch; and a Gaussian of the features (Rippel et al., ICPR 2020), of
each level's mean over a piece, and of places. --quick is a short form, to see that it runs.
"""

import argparse
import time
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
from skimage import color, data
from sklearn.datasets import load_sample_images
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F

import anamorph as am
from anamorph.cli.preview import contact_sheet
from anamorph.features.gaussian import GaussianAnomaly
from anamorph.features.simplenet import SimpleNet, image_score, patch_features, score_map

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=Path)
parser.add_argument("--seeds", type=int, default=3, help="runs, each with a net, pieces and defects of its own")
parser.add_argument("--steps", type=int, default=600, help="of the net that gives the features")
parser.add_argument("--epochs", type=int, default=40, help="of SimpleNet")
parser.add_argument("--pieces", type=int, default=60, help="good ones to learn from, good and bad ones to ask about")
parser.add_argument("--sigmas", type=float, nargs="*", default=[0, 0.005, 0.015, 0.05, 0.2, 0.5])
parser.add_argument("--sheet", type=Path, help="where a picture of the score maps goes")
parser.add_argument("--quick", action="store_true", help="one run of few steps on one texture, with two sigmas")
options = parser.parse_args()
if options.quick:
    options.seeds, options.steps, options.epochs, options.pieces, options.sigmas = 1, 30, 10, 12, [0.0, 0.2]

SIDE, WIDTH, HELD_OUT, BLUR = 64, 128, 300, 2.0
TEXTURES = ["brick", "grass", "gravel"]
ASKED = TEXTURES[:1] if options.quick else TEXTURES
OTHERS = ["astronaut", "camera", "cell", "chelsea", "coffee", "coins", "hubble_deep_field", "immunohistochemistry", "moon",
          "page", "retina", "rocket", "text"]


def grey(picture: np.ndarray) -> Tensor:
    """[1, H, W], of 0 to 1."""
    picture = picture[..., :3] if picture.ndim == 3 else picture
    made = color.rgb2gray(picture) if picture.ndim == 3 else picture / 255
    return torch.from_numpy(made)[None].float()


def pieces(picture: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """[count, 1, SIDE, SIDE] from anywhere in a picture."""
    made = []
    for _ in range(count):
        y, x = (int(torch.randint(side - SIDE + 1, (), generator=rng)) for side in picture.shape[1:])
        made.append(picture[:, y:y + SIDE, x:x + SIDE])
    return torch.stack(made)


def damaged(good: Tensor, others: list[Tensor], rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pieces with a rectangle of another texture, lighter or darker; and where that is, bool [N, SIDE, SIDE]."""
    made, where = good.clone(), torch.zeros(len(good), SIDE, SIDE, dtype=torch.bool)
    for i in range(len(good)):
        height, width = torch.randint(6, 21, (2,), generator=rng).tolist()
        y, x = (int(torch.randint(SIDE - side, (), generator=rng)) for side in (height, width))
        cut = pieces(others[i % len(others)], 1, rng)[0, :, :height, :width] * (0.7 + 0.6 * float(torch.rand((), generator=rng)))
        made[i, :, y:y + height, x:x + width] = cut.clamp(0, 1)
        where[i, y:y + height, x:x + width] = True
    return made, where


class Extractor(nn.Module):
    """Two maps of a picture, a quarter and an eighth of its size."""

    def __init__(self) -> None:
        super().__init__()

        def block(i: int, o: int) -> nn.Module:
            return nn.Sequential(nn.Conv2d(i, o, 3, 2, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(),
                                 nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU())

        self.first, self.second, self.third = block(1, 16), block(16, 32), block(32, 64)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        quarter = self.second(self.first((pictures - 0.5) / 0.25))
        return [quarter, self.third(quarter)]


def extractor(photographs: list[Tensor], seed: int) -> tuple[Extractor, float]:
    """A net that has learnt which photograph a piece is of, and how often it was right at the end."""
    torch.manual_seed(seed)
    net, head = Extractor(), nn.Linear(64, len(photographs))
    optimizer = torch.optim.AdamW([*net.parameters(), *head.parameters()], 2e-3)
    rng, right = torch.Generator().manual_seed(seed), []
    for step in range(options.steps):
        which = torch.randint(len(photographs), (48,), generator=rng)
        shown = torch.cat([pieces(photographs[i], 1, rng) for i in which.tolist()])
        shown = am.render(shown, CHANGES.plan(48 * step + torch.arange(48), size=(SIDE, SIDE), seed=seed))
        logits = head(net(shown)[1].mean((2, 3)))
        optimizer.zero_grad()
        F.cross_entropy(logits, which).backward()
        optimizer.step()
        right.append(float((logits.argmax(1) == which).float().mean()))
    return net.eval().requires_grad_(False), 100 * mean(right[-20:])


def trained(features: Tensor, sigma: float, seed: int) -> SimpleNet:
    torch.manual_seed(seed)
    net = SimpleNet(WIDTH, WIDTH, sigma=sigma, seed=seed)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3, weight_decay=1e-5)
    for _ in range(options.epochs):
        for batch in features[torch.randperm(len(features))].split(4):
            optimizer.zero_grad()
            net.loss(batch).backward()
            optimizer.step()
    return net.eval()


def areas(of_pieces: Tensor, maps: Tensor | None, where: Tensor) -> tuple[float, float]:
    """Under the ROC curves, of 100: which pieces are damaged, and which pixels."""
    bad = where.flatten(1).any(1)
    return (100 * roc_auc_score(bad, of_pieces),
            float("nan") if maps is None else 100 * roc_auc_score(where.flatten(), maps.flatten()))


def rising(maps: Tensor) -> Tensor:
    """From 0 to 1: the middle of all pixels, and their top percent."""
    low, high = maps.flatten().quantile(torch.tensor([0.5, 0.995], dtype=maps.dtype))
    return ((maps - low) / (high - low)).clamp(0, 1)


def tile(values: Tensor) -> np.ndarray:
    return (255 * values).round().to(torch.uint8)[..., None].expand(-1, -1, 3).numpy()


def spread(runs: list[tuple[float, float]]) -> str:
    """Pieces, pixels."""
    return ", ".join(f"{mean(kind):.1f}" + (f" ± {stdev(kind):.1f}" if len(kind) > 1 else "")
                     for kind in zip(*runs, strict=True) if kind[0] == kind[0])


CHANGES = am.Recipe([am.RandomHorizontalFlip(), am.ColorJitter(brightness=0.3, contrast=0.3)])
photographs = [grey(getattr(data, name)()) for name in OTHERS] + [grey(each) for each in load_sample_images().images]
textures = {name: grey(getattr(data, name)()) for name in TEXTURES}
SIMPLE = [f"SimpleNet, sigma {sigma:g}" for sigma in options.sigmas]
LEVELS, PLACES = "Gaussian of each level's mean", "Gaussian of places"
Areas = tuple[float, float]
found: dict[str, dict[str, list[Areas]]] = {row: {name: [] for name in ASKED} for row in [*SIMPLE, LEVELS, PLACES]}
spreads, sheet = [], []
for seed in range(options.seeds):
    began = time.process_time()
    net, right = extractor(photographs, seed)
    print(f"run {seed}: the net tells {right:.0f} % of the photographs' pieces; {time.process_time() - began:.0f} s", flush=True)
    for name in ASKED:
        picture, others = textures[name], [textures[other] for other in TEXTURES if other != name]
        rng = torch.Generator().manual_seed(seed)
        good = pieces(picture[:, :HELD_OUT], options.pieces, rng)
        asked = pieces(picture[:, HELD_OUT:], 2 * options.pieces, rng)
        bad, where = damaged(asked[options.pieces:], others, rng)
        asked = torch.cat([asked[:options.pieces], bad])
        where = torch.cat([torch.zeros_like(where), where])
        levels, of_asked = net(good), net(asked)
        features, unknown = patch_features(levels, WIDTH), patch_features(of_asked, WIDTH)
        spreads.append(float(features.flatten(0, 2).std(0).mean()))
        maps = {}
        for row, sigma in zip(SIMPLE, options.sigmas, strict=True):
            simple = trained(features, sigma, seed)
            with torch.no_grad():
                scores = simple.score(unknown)
            maps[row] = score_map(scores, (SIDE, SIDE), BLUR)
            found[row][name].append(areas(image_score(scores), maps[row], where))
        gaussian = GaussianAnomaly([level.shape[1] for level in levels]).fit(levels)
        found[LEVELS][name].append(areas(gaussian(of_asked), None, where))
        of_places = GaussianAnomaly([WIDTH]).fit([features.flatten(0, 2)])
        scores = of_places([unknown.flatten(0, 2)]).view(unknown.shape[:3])
        maps[PLACES] = score_map(scores, (SIDE, SIDE), BLUR)
        found[PLACES][name].append(areas(image_score(scores), maps[PLACES], where))
        print(f"run {seed}, {name}: " + "; ".join(f"{row} {spread(each[name][-1:])}" for row, each in found.items())
              + f"; {time.process_time() - began:.0f} s", flush=True)
        if seed == 0:
            shown = [*SIMPLE[::2], PLACES]
            for i in (0, options.pieces, options.pieces + 1):
                sheet.append([tile(asked[i, 0]), tile(where[i].float()), *(tile(rising(maps[row])[i]) for row in shown)])

table = [f"| | {' | '.join(ASKED)} | mean |", "|---" * (len(ASKED) + 2) + "|"]
for row, each in found.items():
    means = [tuple(mean(kind) for kind in zip(*run, strict=True)) for run in zip(*each.values(), strict=True)]
    table.append(f"| {row} | {' | '.join(spread(runs) for runs in [*each.values(), means])} |")
options.folder.mkdir(parents=True, exist_ok=True)
(options.folder / "features_anomaly.md").write_text("\n".join(table) + "\n")
print("\n".join(table))
print(f"The features' standard deviation is {min(spreads):.2f} to {max(spreads):.2f}.")
if options.sheet:
    contact_sheet(sheet, cell=96, titles=["piece", "defect", *(row.split(", ")[-1] for row in shown)]).save(options.sheet)
