"""A loss in the frame of the source: python depth_undo.py FOLDER   (where a table and a picture go).

A small net completes depth: it sees one picture of scikit-image's stereo pair and the disparity of a few of its pixels, three in
a thousand. A few windows of the left part are taught, always the same; the right part is tested. With augmentation it sees
turned, scaled, sheared and mirrored views, with which the sparse points travel; its predictions are undone, and the loss is taken
where the truth is, which is never resampled (AugUndo, Wu et al., ECCV 2024). Beside it: the points interpolated, without a net.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev

import torch
from PIL import Image
from skimage import data
from torch import nn
from torch.nn import functional as F

import anamorph as am

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=Path)
parser.add_argument("--epochs", type=int, default=100)
parser.add_argument("--windows", type=int, default=16, help="how many there are to learn from")
parser.add_argument("--batch-size", type=int, default=4)
parser.add_argument("--size", type=int, default=96, help="side of a window, in pixels of the halved picture")
parser.add_argument("--seeds", type=int, default=3)
parser.add_argument("--sparse", type=float, default=0.003, help="the share of pixels whose disparity is seen")
options = parser.parse_args()

UNIT = 10  # pixels of the whole picture, in which the net counts disparity
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
left, _, disparity = data.stereo_motorcycle()
picture = torch.from_numpy(left[::2, ::2].copy()).to(device)  # uint8 [H, W, 3]
truth = torch.from_numpy(disparity[::2, ::2].copy()).to(device)
known = torch.isfinite(truth)
truth = torch.where(known, truth / UNIT, 0)
border = picture.shape[1] * 5 // 8  # taught to the left of it


class Net(nn.Module):
    """Three scales down and up again. From colours, interpolated disparity, the points and where they are, a correction."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()

        def block(i: int, o: int, stride: int = 1) -> nn.Module:
            return nn.Sequential(nn.Conv2d(i, o, 3, stride, 1), nn.GroupNorm(4, o), nn.ReLU())

        widths = [width, 2 * width]
        self.down = nn.ModuleList([block(6, width), *(nn.Sequential(block(w, 2 * w, 2), block(2 * w, 2 * w)) for w in widths)])
        self.up = nn.ModuleList([nn.Conv2d(2 * w, w, 1) for w in widths])
        self.out = nn.ModuleList([block(w, w) for w in widths])
        self.last = nn.Conv2d(width, 1, 3, 1, 1)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = []
        for stage in self.down:
            x = stage(x)
            seen.append(x)
        for i in (1, 0):
            x = self.out[i](seen[i] + F.interpolate(self.up[i](x), scale_factor=2, mode="bilinear"))
        return self.last(x)


def samples(seed: int) -> tuple[torch.Tensor, ...]:
    """What is taught: windows of the left part, their disparity, where it is known, and the points that are seen."""
    g = torch.Generator().manual_seed(seed)
    corners = [(int(torch.randint(picture.shape[0] - options.size + 1, (), generator=g)),
                int(torch.randint(border - options.size + 1, (), generator=g))) for _ in range(options.windows)]
    images, depth, there = (torch.stack([whole[y:y + options.size, x:x + options.size] for y, x in corners])
                            for whole in (picture, truth, known))
    return images, depth, there, there & (torch.rand(there.shape, generator=g).to(device) < options.sparse)


def complete(model: Callable[[torch.Tensor], torch.Tensor], plan: am.Plan, images: torch.Tensor, depth: torch.Tensor,
             points: torch.Tensor) -> torch.Tensor:
    """The depth of the views: what the points that have travelled along say around themselves, and the net's correction."""
    sparse, there = (t.float()[:, None] for t in plan.apply_depth(depth, points))
    near = torch.zeros_like(sparse)
    for side in (63, 31, 15, 7):  # the mean of the nearest points
        some, count = (F.avg_pool2d(F.avg_pool2d(t, (side, 1), 1, (side // 2, 0)), (1, side), 1, (0, side // 2))
                       for t in (sparse * there, there))
        near = torch.where(count > 0, some / count.clamp(min=1e-6), near)
    views = am.render(images, plan, layout="NHWC")
    return (near + model(torch.cat([views, near, sparse * there, there], 1)))[:, 0]


def train(recipe: am.Recipe, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model = Net().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs)
    everything = samples(seed)
    for epoch in range(options.epochs):
        total = 0.0
        for ids in torch.randperm(options.windows).split(options.batch_size):
            images, depth, there, points = (t[ids.to(device)] for t in everything)
            plan = recipe.plan(ids, size=tuple(depth.shape[1:]), seed=seed, epoch=epoch, device=device)
            prediction, valid = plan.undo(complete(model, plan, images, depth, points))
            valid = valid & there
            loss = ((prediction - depth).abs() * valid).sum() / valid.sum().clamp(min=1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(ids) / options.windows
        schedule.step()
        if epoch % 20 == 19 or epoch + 1 == options.epochs:
            print(f"epoch {epoch + 1}: loss {UNIT * total:.2f} pixels")
    return model


def predict(model: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Of the whole picture but the pixels that a crop to sides of multiples of eight leaves out, which are NaN."""
    h, w = (side // 8 * 8 for side in picture.shape[:2])
    recipe = am.Recipe([am.CenterCrop((h, w)), am.Normalize(MEAN, STD)])
    plan = recipe.plan([0], size=tuple(picture.shape[:2]), device=device)
    points = known & (torch.rand(known.shape, generator=torch.Generator().manual_seed(99)).to(device) < options.sparse)
    with torch.no_grad():
        prediction, valid = plan.undo(complete(model, plan, picture[None], truth[None], points[None]))
    return torch.where(valid, prediction, torch.nan)[0]


def error(prediction: torch.Tensor) -> float:
    """The mean of what it is off by in the part that was not taught, in pixels of the whole picture."""
    off = ((prediction - truth).abs() * UNIT)[:, border:]
    return float(off[known[:, border:] & off.isfinite()].mean())


plain = [am.Normalize(MEAN, STD)]
recipes = {
    "none": am.Recipe([am.CenterCrop(options.size), *plain]),
    "colour": am.Recipe([am.CenterCrop(options.size), am.ColorJitter(0.5, 0.5, 0.5, 0.1), *plain]),
    "geometry and colour": am.Recipe([  # a view is never shrunk: points would be lost between its pixels
        am.RandomHorizontalFlip(), am.RandomAffine(15, (0.1, 0.1), (1.0, 1.5), 5, interpolation="bilinear"),
        am.ColorJitter(0.5, 0.5, 0.5, 0.1), *plain]),
}
options.folder.mkdir(parents=True, exist_ok=True)
began = time.process_time()
alone = predict(lambda x: 0 * x[:, :1])
shown, lines = [truth, alone], ["| | error, pixels |", "|---|---|", f"| points interpolated | {error(alone):.2f} |"]
for name, recipe in recipes.items():
    errors = []
    for seed in range(options.seeds):
        prediction = predict(train(recipe, seed))
        errors.append(error(prediction))
        print(f"{name}, seed {seed}: {errors[-1]:.2f} pixels; {time.process_time() - began:.0f} s since the start")
        if not seed:
            shown.append(prediction)
    lines.append(f"| {name} | {mean(errors):.2f}" + (f" ± {stdev(errors):.2f}" if len(errors) > 1 else "") + " |")
print("\n".join(lines))
(options.folder / "depth.md").write_text("\n".join(lines) + "\n")
tiles = [picture.cpu().clone()]
for depth in shown:
    grey = (depth.cpu().nan_to_num() * UNIT / 60).clamp(0, 1).mul(255).byte()
    tiles.append(grey[..., None].repeat(1, 1, 3))
for tile in tiles:
    tile[:, border] = torch.tensor([255, 0, 0], dtype=torch.uint8)
sheet = torch.cat([torch.cat(tiles[:3], 1), torch.cat(tiles[3:], 1)])
Image.fromarray(sheet.numpy()).save(options.folder / "depth.png")
