"""Detection with little data: python train_detection.py FOLDER   (FOLDER/category/*.png, cut-outs with alpha, such as those of
Tux Paint's stamps: Debian's tuxpaint-stamps-default has them in usr/share/tuxpaint/stamps).

A data set of 256 pictures is made: cut-outs pasted on scikit-image's photographs. The test pictures show other cut-outs on other
photographs. A small net is taught from nothing: with the pictures as they are, with views of them, and with views of pictures
into which am.InstancePaste has pasted more of the cut-outs. torchvision's targets go into plan.apply_targets and come out as
those of the views. What the net finds goes back through plan.undo_boxes, and AP50 is measured in the frame of the test pictures.
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
parser.add_argument("--categories", nargs="*", help="folders in FOLDER; where none of them is there, its first six",
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
Found = list[tuple[Tensor, Tensor, Tensor]]  # of each picture boxes [n, 4], labels [n], scores [n]
Pool = list[tuple[np.ndarray, int]]


def cutouts(test: bool) -> Pool:
    """To test with is the last third of each category by name, so that look-alikes (gnu-baby, gnu-stand) stay on one side.
    Mirrored copies are left out."""
    found = []
    folders = [options.folder / name for name in options.categories if (options.folder / name).is_dir()]
    for label, folder in enumerate(folders or sorted(entry for entry in options.folder.iterdir() if entry.is_dir())[:6]):
        files = [f for f in folder.rglob("*.*") if f.suffix in (".png", ".jpg") and "mirror" not in f.name]
        files.sort(key=lambda file: file.name)
        border = 2 * len(files) // 3
        for file in files[border:] if test else files[:border]:
            picture = Image.open(file).convert("RGBA")
            picture.thumbnail((SIDE, SIDE))
            found.append((np.asarray(picture), label))
    return found


def scenes(photographs: list[np.ndarray], pool: Pool, seed: int) -> tuple[Tensor, Targets]:
    """Crops of photographs, uint8 [SCENES, 3, SIDE, SIDE], with one to three cut-outs on each."""
    colour = [np.ascontiguousarray(np.broadcast_to(p if p.ndim == 3 else p[..., None], (*p.shape[:2], 3))) for p in photographs]
    pictures = [colour[i % len(colour)] for i in range(SCENES)]
    crop = am.Recipe([am.RandomResizedCrop(SIDE, scale=(0.1, 0.7), antialias=True)], dtype=torch.uint8)
    plan = crop.plan(range(SCENES), size=torch.tensor([p.shape[:2] for p in pictures]), seed=seed)
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64),
             "masks": torch.zeros(0, SIDE, SIDE, dtype=torch.bool)}
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


def wanted(targets: Targets, cells: int) -> tuple[Tensor, Tensor]:
    """CenterNet's heat (Zhou et al., "Objects as Points", 2019), of each category a bump about each object's middle; and the four
    distances of FCOS (Tian et al., ICCV 2019), in cells, of the object whose bump is highest there."""
    heat, sides = torch.zeros(len(targets), classes, cells, cells), torch.ones(len(targets), 4, cells, cells)
    line = torch.arange(cells) + 0.5
    place = torch.stack(torch.meshgrid(line, line, indexing="xy"))
    for i, target in enumerate(targets):
        boxes = (target["boxes"].cpu() / STRIDE)[..., None, None]
        if not len(boxes):
            continue
        low, high = boxes[:, :2], boxes[:, 2:]
        middle = (low + high) / 2
        bump = torch.exp(-18 * (((place - middle) / (high - low)) ** 2).sum(1))
        x, y = middle.flatten(1).long().clamp(max=cells - 1).T
        bump[torch.arange(len(bump)), y, x] = 1
        for one, label in zip(bump, target["labels"].tolist(), strict=True):
            heat[i, label] = torch.maximum(heat[i, label], one)
        distances = torch.cat([place - low, high - place], 1)
        sides[i] = distances.gather(0, bump.argmax(0).expand(1, 4, -1, -1))[0]
    return heat.to(device), sides.to(device)


def loss_of(logits: Tensor, sides: Tensor, heat: Tensor, truth: Tensor) -> Tensor:
    """CenterNet's focal loss of the heat, and 1 - IoU of the boxes near the middles."""
    p, peak = torch.sigmoid(logits), heat == 1
    focal = torch.where(peak, -F.logsigmoid(logits) * (1 - p) ** 2, -F.logsigmoid(-logits) * p ** 2 * (1 - heat) ** 4)
    near = heat.amax(1)
    near = near * (near > 0.4) * (truth.amin(1) > 0)
    both, mine, theirs = ((t[:, 0] + t[:, 2]) * (t[:, 1] + t[:, 3]) for t in (torch.minimum(sides, truth), sides, truth))
    apart = 1 - both / (mine + theirs - both)
    return focal.sum() / peak.sum().clamp(min=1) + (apart * near).sum() / near.sum().clamp(min=1)


def detect(model: Detector, recipe: am.Recipe, pictures: Tensor, most: int = 20) -> Found:
    """The local maxima of the heat, with boxes in the frames of the pictures."""
    found = []
    for ids in torch.arange(len(pictures)).split(64):
        plan = recipe.plan(ids, size=pictures.shape[2:], device=device)
        with torch.no_grad():
            logits, sides = model.eval()(am.render(pictures[ids].to(device), plan))
        peaks, cells = logits.masked_fill(logits < F.max_pool2d(logits, 3, 1, 1), -torch.inf), logits.shape[-1]
        scores, best = peaks.flatten(1).topk(min(most, peaks[0].numel()))
        labels, at = best // cells**2, best % cells**2
        middle = torch.stack([at % cells, at // cells], 2) + 0.5
        d = sides.flatten(2).gather(2, at[:, None].expand(-1, 4, -1)).transpose(1, 2)
        boxes, _ = plan.undo_boxes(torch.cat([middle - d[..., :2], middle + d[..., 2:]], 2) * STRIDE)
        found += list(zip(boxes.cpu(), labels.cpu(), scores.sigmoid().cpu(), strict=True))
    return found


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Of boxes [n, 4] and [m, 4] the intersections over the unions, [n, m]."""
    a, b = a[:, None], b[None]
    both = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    return both / ((a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - both).clamp(min=1e-9)


def average_precision(found: Found, truth: Targets, label: int | None = None) -> float:
    """AP50 of a category, or of all as one: the area below the envelope of precision over recall, as COCO's but for its sampling.
    By falling score each detection takes that of the objects not yet taken which it overlaps most, if by half or more."""
    said: list[tuple[float, bool]] = []
    count = 0
    for (boxes, labels, scores), target in zip(found, truth, strict=True):
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
    model = Detector(classes).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.02)
    steps = options.epochs * -(-SCENES // options.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps, pct_start=min(0.1 + 1 / steps, 0.15))
    for epoch in range(options.epochs):
        model.train()
        total = 0.0
        for ids in torch.randperm(SCENES).split(options.batch_size):
            pictures, batch = images[ids], [targets[i] for i in ids.tolist()]
            if paste:
                pictures, batch = paste(pictures, batch, index=ids, seed=seed, epoch=epoch)
            plan = recipe.plan(ids, size=(SIDE, SIDE), seed=seed, epoch=epoch)
            logits, sides = model(am.render(pictures, plan).to(device))
            batch = plan.apply_targets(batch, min_size=4, min_visibility=0.3)
            loss = loss_of(logits, sides, *wanted(batch, logits.shape[-1]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(ids) / SCENES
        if epoch % 10 == 9 or epoch + 1 == options.epochs:
            print(f"epoch {epoch + 1}: loss {total:.2f}")
    return model


stamps = cutouts(test=False)
classes = max(label for _, label in stamps) + 1
images, targets = scenes([data.astronaut(), data.chelsea(), data.coffee(), data.stereo_motorcycle()[0],
                          data.immunohistochemistry(), data.coins(), data.grass(), data.gravel(), data.hubble_deep_field()],
                         stamps, seed=1000)
test_images, test_targets = scenes([data.rocket(), data.camera(), data.brick()], cutouts(test=True), seed=1001)
shown = am.Recipe([am.Resize((options.size, options.size), antialias=True), am.Normalize(MEAN, STD)])
varied = am.Recipe([am.RandomHorizontalFlip(), am.LargeScaleJitter(options.size, (0.7, 1.5), fill=124),
                    am.ColorJitter(0.3, 0.3, 0.3, 0.05), am.Normalize(MEAN, STD)])
more = am.InstancePaste(stamps, sizes=(0.38, 0.08), count=(0, 3))
lines = ["| taught with | AP50, mean of the categories | AP50, all as one category |", "|---|---|---|"]
for name, recipe, paste in (("the pictures", shown, None), ("views", varied, None), ("views, more pasted", varied, more)):
    results = []
    for seed in range(options.seeds):
        began = time.process_time()
        found = detect(train(recipe, paste, seed), shown, test_images)
        each = [100 * average_precision(found, test_targets, label) for label in range(classes)]
        results.append((mean(each), 100 * average_precision(found, test_targets)))
        print(f"{name}, seed {seed}: AP50 {results[-1][0]:.1f}, as one {results[-1][1]:.1f}; {time.process_time() - began:.0f} s")
    cells = [f"{mean(r):.1f}" + (f" ± {stdev(r):.1f}" if len(r) > 1 else "") for r in zip(*results, strict=True)]
    lines.append(f"| {name} | {' | '.join(cells)} |")
print("\n".join(lines))
