"""Detection: python train_detection.py FOLDER   (FOLDER/category/*.png, cut-outs with alpha, such as Tux Paint's stamps).

Cut-outs are pasted on photographs, so the boxes are known. A small net, one cell of which answers for one object, is taught with
views whose boxes have travelled along: torchvision's targets go into plan.apply_targets and come out of it. What it finds in the
test pictures is counted at an overlap of one half.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data
from torch import nn
from torch.nn import functional as F

import anamorph as am

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=Path)
parser.add_argument("--epochs", type=int, default=60)
parser.add_argument("--batch-size", type=int, default=16)
parser.add_argument("--size", type=int, default=96, help="side of the net's input, a multiple of eight")
parser.add_argument("--categories", type=int, default=4)
parser.add_argument("--per-category", type=int, default=24, help="cut-outs, half of them to test with")
options = parser.parse_args()

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SOURCE, SCENES, STRIDE = (120, 160), 240, 8
GROUNDS = [np.asarray(Image.fromarray(p).resize(SOURCE[::-1])) for p in (data.coffee(), data.chelsea(), data.rocket())]
categories = sorted(entry.name for entry in options.folder.iterdir() if entry.is_dir())[:options.categories]
stamps: list[tuple[list[Image.Image], list[Image.Image]]] = []
for category in categories:
    files = sorted(f for f in (options.folder / category).rglob("*.*") if f.suffix in (".png", ".jpg"))[:options.per_category]
    found = [Image.open(file).convert("RGBA") for file in files]
    stamps.append((found[::2], found[1::2] or found))


def scene(random: np.random.Generator, test: bool) -> tuple[np.ndarray, dict[str, torch.Tensor]]:
    """A photograph with one to three cut-outs, and torchvision's target."""
    ground = Image.fromarray(GROUNDS[random.integers(len(GROUNDS))]).convert("RGBA")
    boxes, labels = [], []
    for _ in range(random.integers(1, 4)):
        label = int(random.integers(len(stamps)))
        stamp = stamps[label][test][random.integers(len(stamps[label][test]))]
        side = int(random.integers(28, 64))
        stamp = stamp.resize((max(8, side * stamp.width // max(stamp.size)), max(8, side * stamp.height // max(stamp.size))))
        x, y = (int(random.integers(0, most - has + 1)) for most, has in zip(ground.size, stamp.size, strict=True))
        ground.alpha_composite(stamp, (x, y))
        boxes.append([x, y, x + stamp.width, y + stamp.height])
        labels.append(label)
    target = {"boxes": torch.tensor(boxes, dtype=torch.float32), "labels": torch.tensor(labels)}
    return np.asarray(ground.convert("RGB")), target


def scenes(count: int, seed: int) -> tuple[torch.Tensor, list[dict[str, torch.Tensor]]]:
    random = np.random.default_rng(seed)
    made = [scene(random, test=seed > 0) for _ in range(count)]
    return torch.from_numpy(np.stack([picture for picture, _ in made])), [target for _, target in made]


def wanted(targets: list[dict[str, torch.Tensor]], cells: int) -> tuple[torch.Tensor, torch.Tensor]:
    """For each cell the label of the object whose middle it holds (or -1), and the distances to the box's sides."""
    labels, sides = torch.full((len(targets), cells, cells), -1), torch.zeros(len(targets), 4, cells, cells)
    for i, target in enumerate(targets):
        for box, label in zip(target["boxes"], target["labels"], strict=True):
            x, y = ((box[:2] + box[2:]) / 2 / STRIDE).long().clamp(0, cells - 1).tolist()
            middle = (torch.tensor([x, y]) + 0.5) * STRIDE
            labels[i, y, x] = label
            sides[i, :, y, x] = torch.cat([middle - box[:2], box[2:] - middle]) / STRIDE
    return labels.to(device), sides.to(device)


class Detector(nn.Module):
    def __init__(self, classes: int, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, o, stride in ((3, width, 2), (width, 2 * width, 2), (2 * width, 4 * width, 2), (4 * width, 4 * width, 1)):
            layers += [nn.Conv2d(i, o, 3, stride, 1), nn.BatchNorm2d(o), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Conv2d(4 * width, 4 * width, 5, 1, 2), nn.ReLU())
        self.head = nn.Conv2d(4 * width, 1 + classes + 4, 1)
        nn.init.constant_(self.head.bias[:1], -3.0)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        out = self.head(self.body(x))
        return out[:, 0], out[:, 1:-4], F.softplus(out[:, -4:])


def loss_of(outputs: tuple[torch.Tensor, ...], labels: torch.Tensor, sides: torch.Tensor) -> torch.Tensor:
    there, classes, boxes = outputs
    object_, at = (labels >= 0).float(), labels >= 0
    p = torch.sigmoid(there)
    focal = F.binary_cross_entropy_with_logits(there, object_, reduction="none") * (object_ - p).abs() ** 2
    few = at.sum().clamp(min=1)
    return (focal.sum() + F.cross_entropy(classes, labels.clamp(min=0), reduction="none")[at].sum()
            + (boxes - sides).abs().mean(1)[at].sum()) / few


def detected(model: Detector, recipe: am.Recipe, images: torch.Tensor, targets: list[dict[str, torch.Tensor]]) -> float:
    """The share of the objects that a detection of their class overlaps by half: as many detections as there are objects."""
    plan = recipe.plan(range(len(images)), size=SOURCE, device=device)
    model.eval()
    with torch.no_grad():
        there, classes, sides = model(am.render(images.to(device), plan, layout="NHWC"))
    cells, hits, count = there.shape[-1], 0, 0
    for i, target in enumerate(targets):
        best = there[i].flatten().topk(len(target["boxes"])).indices
        middle = torch.stack([best % cells, best // cells], 1) * STRIDE + STRIDE / 2
        s = sides[i].flatten(1)[:, best].T * STRIDE
        found = torch.cat([middle - s[:, :2], middle + s[:, 2:]], 1)
        back = plan[i:i + 1].undo_boxes(found[None])[0][0].cpu()  # in the frame of the source, where the truth is
        kind = classes[i].flatten(1)[:, best].argmax(0).cpu()
        a, b = back[:, None], target["boxes"][None]
        both = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
        union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - both
        good = (both / union > 0.5) & (kind[:, None] == target["labels"][None])
        hits, count = hits + int(good.any(0).sum()), count + len(target["boxes"])
    return hits / count


mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
taught = am.Recipe([am.RandomIoUCrop(), am.RandomHorizontalFlip(), am.LargeScaleJitter(options.size, (0.6, 1.5), fill=124),
                    am.ColorJitter(0.3, 0.3, 0.3), am.Normalize(mean, std)])
shown = am.Recipe([am.LetterBox(options.size, fill=124), am.Normalize(mean, std)])
images, targets = scenes(SCENES, 0)
tests = scenes(SCENES // 2, 1)
torch.manual_seed(0)
model = Detector(len(categories)).to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs)
for epoch in range(options.epochs):
    model.train()
    total, order = 0.0, torch.randperm(SCENES, generator=torch.Generator().manual_seed(epoch))
    for ids in order.split(options.batch_size):
        batch = [targets[i] for i in ids.tolist()]
        plan = taught.plan(ids, size=SOURCE, seed=0, epoch=epoch, boxes=[t["boxes"] for t in batch])
        views = am.render(images[ids], plan, layout="NHWC").to(device)
        outputs = model(views)
        loss = loss_of(outputs, *wanted(plan.apply_targets(batch, min_size=4, min_visibility=0.3), outputs[0].shape[-1]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += float(loss.detach()) * len(ids) / SCENES
    schedule.step()
    if epoch % 10 == 9 or epoch + 1 == options.epochs:
        share = detected(model, shown, *tests)
        print(f"epoch {epoch + 1}: loss {total:.2f}, found {100 * share:.0f} % of the objects in the test pictures")
