"""Detection with little data: python train_detection.py FOLDER   (FOLDER/category/*.png, cut-outs with alpha, such as those of
Tux Paint's stamps: Debian's tuxpaint-stamps-default has them in usr/share/tuxpaint/stamps).

A data set of 256 pictures is made: cut-outs pasted on scikit-image's photographs. The test pictures show other cut-outs on other
photographs. A small net is taught from nothing, once with the pictures as they are and once with views of them: torchvision's targets
go into plan.apply_targets and come out of it with the views' boxes, and am.InstancePaste pastes more of the cut-outs into these. What
the net finds goes back through plan.undo_boxes, and AP50 (see average_precision) is measured in the test pictures' own frame.
"""

import argparse
import time
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
from PIL import Image
from skimage import data
from torch import Tensor, nn
from torch.nn import functional as F

import anamorph as am

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=Path)
parser.add_argument("--categories", nargs="*", help="folders in FOLDER; by default those below, or the first that there are",
                    default=["animals/mammals", "food/fruit", "plants/flowers", "town/houses", "town/roadsigns", "vehicles"])
parser.add_argument("--epochs", type=int, default=40)
parser.add_argument("--batch-size", type=int, default=8)
parser.add_argument("--size", type=int, default=96, help="side of the net's input, a multiple of eight")
parser.add_argument("--seeds", type=int, default=1)
options = parser.parse_args()

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STRIDE, SIDE, SCENES = 8, options.size * 4 // 3, 256
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
Targets = list[dict[str, Tensor]]  # torchvision's: boxes float32 [n, 4], labels int64 [n], masks bool [n, H, W]


def cutouts(test: bool) -> list[tuple[np.ndarray, int]]:
    """The cut-outs to test with are the last third of each category by name, so that look-alikes (gnu-baby, gnu-stand) stay on one
    side; mirrored copies are left out."""
    folders = [options.folder / name for name in options.categories if (options.folder / name).is_dir()]
    found = []
    for label, folder in enumerate(folders or sorted(entry for entry in options.folder.iterdir() if entry.is_dir())[:6]):
        files = sorted((f for f in folder.rglob("*.*") if f.suffix in (".png", ".jpg") and "mirror" not in f.name), key=lambda f: f.name)
        for file in files[2 * len(files) // 3:] if test else files[:2 * len(files) // 3]:
            picture = Image.open(file).convert("RGBA")
            picture.thumbnail((SIDE, SIDE))
            found.append((np.asarray(picture), label))
    return found


def scenes(photographs: list[np.ndarray], pool: list[tuple[np.ndarray, int]], seed: int) -> tuple[Tensor, Targets]:
    """Crops of photographs, uint8 [SCENES, 3, SIDE, SIDE], with one to three cut-outs on each."""
    grounds = [np.ascontiguousarray(np.broadcast_to(p if p.ndim == 3 else p[..., None], (*p.shape[:2], 3))) for p in photographs]
    pictures = [grounds[i % len(grounds)] for i in range(SCENES)]
    crop = am.Recipe([am.RandomResizedCrop(SIDE, scale=(0.1, 0.7), antialias=True)], dtype=torch.uint8)
    plan = crop.plan(range(SCENES), size=torch.tensor([p.shape[:2] for p in pictures]), seed=seed)
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "masks": torch.zeros(0, SIDE, SIDE, dtype=torch.bool)}
    paste = am.InstancePaste(pool, sizes=(0.38, 0.08), count=(1, 3))
    return paste(am.render(pictures, plan), [dict(empty) for _ in pictures], index=range(SCENES), seed=seed)


class Detector(nn.Module):
    """For each cell of eight pixels the logits of an object's middle lying there, of each category, and the distances from the
    cell's middle to the left, top, right and bottom of its box, in cells."""

    def __init__(self, classes: int, width: int = 24) -> None:
        super().__init__()

        def block(i: int, o: int, stride: int = 1, dilation: int = 1) -> nn.Module:
            return nn.Sequential(nn.Conv2d(i, o, 3, stride, dilation, dilation, bias=False), nn.BatchNorm2d(o), nn.ReLU())

        w = width
        self.body = nn.Sequential(block(3, w // 2, 2), block(w // 2, w, 2), block(w, w), block(w, 3 * w, 2), block(3 * w, 3 * w),
                                  block(3 * w, 3 * w, dilation=2), block(3 * w, 3 * w))
        self.heads = nn.Conv2d(3 * w, classes + 4, 1)
        nn.init.constant_(self.heads.bias[:classes], -3.0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out = self.heads(self.body(x))
        return out[:, :-4], F.softplus(out[:, -4:])


def wanted(targets: Targets, classes: int, cells: int) -> tuple[Tensor, Tensor]:
    """CenterNet's heat (Zhou et al., "Objects as Points", 2019): of each category a bump about each object's middle; and FCOS's four
    distances in cells (Tian et al., ICCV 2019) of the object whose bump is highest there."""
    heat, sides = torch.zeros(len(targets), classes, cells, cells), torch.ones(len(targets), 4, cells, cells)
    middle = torch.arange(cells) + 0.5
    for i, target in enumerate(targets):
        if not len(target["boxes"]):
            continue
        left, top, right, bottom = (target["boxes"].cpu() / STRIDE).T[..., None, None]
        x, y = (left + right) / 2, (top + bottom) / 2
        bump = torch.exp(-18 * (((middle - x) / (right - left)) ** 2 + ((middle[:, None] - y) / (bottom - top)) ** 2))
        n = torch.arange(len(bump))
        bump[n, y.long().flatten().clamp(max=cells - 1), x.long().flatten().clamp(max=cells - 1)] = 1
        for one, label in zip(bump, target["labels"].tolist(), strict=True):
            heat[i, label] = torch.maximum(heat[i, label], one)
        distances = torch.stack([t.expand(-1, cells, cells) for t in (middle - left, middle[:, None] - top, right - middle, bottom - middle[:, None])], 1)
        sides[i] = distances.gather(0, bump.argmax(0).expand(1, 4, -1, -1))[0]
    return heat.to(device), sides.to(device)


def loss_of(logits: Tensor, sides: Tensor, heat: Tensor, truth: Tensor) -> Tensor:
    """CenterNet's focal loss of the heat, and 1 - IoU of the boxes near the middles, both by the number of objects."""
    p, peak = torch.sigmoid(logits), heat == 1
    focal = torch.where(peak, -F.logsigmoid(logits) * (1 - p) ** 2, -F.logsigmoid(-logits) * p ** 2 * (1 - heat) ** 4)
    near = heat.amax(1)
    near = near * (near > 0.4) * (truth.amin(1) > 0)
    both = torch.minimum(sides, truth)
    both, mine, theirs = ((t[:, 0] + t[:, 2]) * (t[:, 1] + t[:, 3]) for t in (both, sides, truth))
    return focal.sum() / peak.sum().clamp(min=1) + ((1 - both / (mine + theirs - both)) * near).sum() / near.sum().clamp(min=1)


def detect(model: Detector, recipe: am.Recipe, images: Tensor, most: int = 20) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Of each picture the boxes [most, 4] in its own frame, their categories and scores: the heat's local maxima."""
    found = []
    for ids in torch.arange(len(images)).split(64):
        plan = recipe.plan(ids, size=images.shape[2:], device=device)
        with torch.no_grad():
            logits, sides = model.eval()(am.render(images[ids].to(device), plan))
        peaks = logits.masked_fill(logits < F.max_pool2d(logits, 3, 1, 1), -torch.inf)
        cells = logits.shape[-1]
        scores, best = peaks.flatten(1).topk(min(most, peaks[0].numel()))
        labels, at = best // cells**2, best % cells**2
        middle = torch.stack([at % cells, at // cells], 2) + 0.5
        d = sides.flatten(2).gather(2, at[:, None].expand(-1, 4, -1)).transpose(1, 2)
        boxes, _ = plan.undo_boxes(torch.cat([middle - d[..., :2], middle + d[..., 2:]], 2) * STRIDE)
        found += [(b.cpu(), k.cpu(), s.sigmoid().cpu()) for b, k, s in zip(boxes, labels, scores, strict=True)]
    return found


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Of boxes [n, 4] and [m, 4] the intersection over the union, [n, m]."""
    a, b = a[:, None], b[None]
    both = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    return both / ((a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - both).clamp(min=1e-9)


def average_precision(found: list[tuple[Tensor, Tensor, Tensor]], targets: Targets, label: int | None = None) -> float:
    """AP50 of a category, or of all as one: the area below the envelope of precision over recall, as COCO's but for its sampling. By
    falling score each detection takes the object, of those not yet taken, that it overlaps most, if by half or more."""
    said: list[tuple[float, bool]] = []
    count = 0
    for (boxes, labels, scores), target in zip(found, targets, strict=True):
        mine, there = (torch.ones_like(t, dtype=torch.bool) if label is None else t == label for t in (labels, target["labels"]))
        overlaps = iou(boxes[mine], target["boxes"][there])
        count += overlaps.shape[1]
        for score, row in sorted(zip(scores[mine].tolist(), overlaps, strict=True), key=lambda pair: -pair[0]):
            right = bool((row >= 0.5).any())
            said.append((score, right))
            if right:
                overlaps[:, row.argmax()] = 0  # taken
    right = np.array([r for _, r in sorted(said, key=lambda pair: -pair[0])], dtype=bool)
    precision = right.cumsum() / np.arange(1, len(right) + 1)
    return float(np.maximum.accumulate(precision[::-1])[::-1][right].sum()) / max(count, 1)


def train(recipe: am.Recipe, paste: am.InstancePaste | None, seed: int) -> Detector:
    torch.manual_seed(seed)
    model, size, count = Detector(classes).to(device), tuple(images.shape[2:]), len(images)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.02)
    steps = options.epochs * -(-count // options.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps, pct_start=min(0.15, 1 / steps + 0.1))
    for epoch in range(options.epochs):
        model.train()
        total = 0.0
        for ids in torch.randperm(count).split(options.batch_size):
            batch = [targets[i] for i in ids.tolist()]
            pictures = images[ids]
            if paste:
                pictures, batch = paste(pictures, batch, index=ids, seed=seed, epoch=epoch)
            plan = recipe.plan(ids, size=size, seed=seed, epoch=epoch)
            batch = plan.apply_targets(batch, min_size=4, min_visibility=0.3)
            logits, sides = model(am.render(pictures, plan).to(device))
            loss = loss_of(logits, sides, *wanted(batch, classes, logits.shape[-1]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(ids) / count
        if epoch % 10 == 9 or epoch + 1 == options.epochs:
            print(f"epoch {epoch + 1}: loss {total:.2f}")
    return model


stamps = cutouts(test=False)
classes = max(label for _, label in stamps) + 1
images, targets = scenes([data.astronaut(), data.chelsea(), data.coffee(), data.stereo_motorcycle()[0], data.immunohistochemistry(), data.coins(), data.grass(), data.gravel(), data.hubble_deep_field()], stamps, 1000)
test_images, test_targets = scenes([data.rocket(), data.camera(), data.brick()], cutouts(test=True), 1001)
shown = am.Recipe([am.Resize((options.size, options.size), antialias=True), am.Normalize(MEAN, STD)])
varied = am.Recipe([am.RandomHorizontalFlip(), am.LargeScaleJitter(options.size, (0.7, 1.5), fill=124),
                    am.ColorJitter(0.3, 0.3, 0.3, 0.05), am.Normalize(MEAN, STD)])
more = am.InstancePaste(stamps, sizes=(0.38, 0.08), count=(0, 3))
lines = ["| taught with | AP50, mean of the categories | AP50, categories as one |", "|---|---|---|"]
for name, recipe, paste in (("the pictures", shown, None), ("views", varied, None), ("views, more pasted", varied, more)):
    results = []
    for seed in range(options.seeds):
        began = time.process_time()
        found = detect(train(recipe, paste, seed), shown, test_images)
        results.append((mean(average_precision(found, test_targets, k) for k in range(classes)), average_precision(found, test_targets)))
        print(f"{name}, seed {seed}: AP50 {100 * results[-1][0]:.1f}, as one {100 * results[-1][1]:.1f}, {time.process_time() - began:.0f} s")
    cells = [f"{100 * mean(r):.1f} ± {100 * stdev(r):.1f}" if len(r) > 1 else f"{100 * r[0]:.1f}" for r in zip(*results, strict=True)]
    lines.append(f"| {name} | {cells[0]} | {cells[1]} |")
print("\n".join(lines))
