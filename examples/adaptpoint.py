"""Clouds that are not what the net was trained on: python adaptpoint.py FOLDER   (the models of Debian's assimp-testmodels).

A small PointNet learns eight shapes, and is then asked about corrupted clouds (ModelNet-C's seven corruptions). Trained without
augmentation, and with scale and shift, PointWOLF, RSMix and AdaptPoint, this one also without its mask. There is one mesh of each
class, so the clouds of a class differ by what was sampled, by turns about the vertical and by a stretch along each axis, and so
do those for training from those for the test: this measures what corruptions do, not how well a class is understood. mCE is in
errors of DGCNN on ModelNet40, which is another task, so it compares the rows and nothing else.
dpkg -x assimp-testmodels_*.deb . gives usr/share/assimp/models, which is FOLDER; trimesh reads them.
"""

import argparse
import time
from pathlib import Path
from statistics import mean, stdev

import torch
import trimesh
from torch import Tensor, nn
from torch.nn import functional as F

import anamorph as am
from anamorph.learned import adaptpoint
from anamorph.points import corruptions, robustness

P = am.points
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=Path)
parser.add_argument("--epochs", type=int, default=30)
parser.add_argument("--batch-size", type=int, default=16)
parser.add_argument("--seeds", type=int, default=3)
parser.add_argument("--clouds", type=int, default=8, help="of each class, for training")
parser.add_argument("--tested", type=int, default=20, help="of each class, for the test")
parser.add_argument("--points", type=int, default=512, help="of a cloud for training; for the test 1,024, as ModelNet-C's")
options = parser.parse_args()

# The axis that points up is brought to y.
SHAPES = {"wolf": ("OBJ/WusonOBJ.obj", "y"), "spider": ("OBJ/spider.obj", "y"), "engine": (
    "glTF2/2CylinderEngine-glTF-Binary/2CylinderEngine.glb", "y"), "boards": ("glTF2/ClearCoat-glTF/ClearCoatTest.gltf", "y"),
    "torn sphere": ("STL/sphereWithHole.stl", "z"), "swarm": ("STL/3DSMaxExport.STL", "z"), "bottle": ("OBJ/empty_mat.obj", "y"),
    "cube": ("OBJ/box.obj", "y")}
TEST_POINTS, POOL = 1024, 40_000
OWN = P.Recipe([P.Scale(0.75, 1.33, per_axis=True), P.Rotate(), P.Normalize()])  # what makes clouds of a class differ
DGCNN = [P.Scale(2 / 3, 3 / 2, per_axis=True), P.Translate(0.2)]
WAYS = {"nothing": P.Recipe([P.Shuffle()], num_classes=len(SHAPES)), "scale + shift": P.Recipe(DGCNN, num_classes=len(SHAPES)),
        "PointWOLF": P.Recipe([P.PointWOLF(), *DGCNN], num_classes=len(SHAPES)),
        "RSMix": P.Recipe([*DGCNN, P.RSMix()], num_classes=len(SHAPES))}


class PointNet(nn.Module):
    """[B, N, 3] to logits: each point by itself, the largest of all points, a head."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, o in ((3, 64), (64, 64), (64, 128)):
            layers += [nn.Conv1d(i, o, 1, bias=False), nn.BatchNorm1d(o), nn.ReLU()]
        self.points = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Linear(128, 128, bias=False), nn.BatchNorm1d(128), nn.ReLU(), nn.Dropout(0.3),
                                  nn.Linear(128, len(SHAPES)))

    def forward(self, points: Tensor) -> Tensor:
        return self.head(self.points(points.transpose(1, 2)).amax(2))


def pool(name: str, up: str) -> Tensor:
    """Points of a surface, by area [POOL, 3]."""
    mesh = trimesh.load(options.folder / name, force="mesh")
    points = torch.from_numpy(trimesh.sample.sample_surface(mesh, POOL, seed=0)[0]).float()
    return points if up == "y" else points[:, [0, 2, 1]] * torch.tensor([1.0, 1.0, -1.0])


def clouds(pools: Tensor, each: int, count: int, seed: int, first: int) -> tuple[Tensor, Tensor]:
    """``each`` clouds of every class, and what they are."""
    labels = torch.arange(len(pools)).repeat_interleave(each)
    generator = torch.Generator().manual_seed(seed)
    points = torch.stack([pools[label][torch.randperm(pools.shape[1], generator=generator)[:count]] for label in labels])
    return P.render(points, OWN.plan(first + torch.arange(len(labels)), count=count, seed=seed)), labels


def batches(count: int, generator: torch.Generator) -> list[Tensor]:
    """Ids of an epoch, in a random order; of the last batch none alone, for batch norm."""
    return [ids for ids in torch.randperm(count, generator=generator).split(options.batch_size) if len(ids) > 1]


def train(way: str, points: Tensor, labels: Tensor, seed: int) -> tuple[nn.Module, float]:
    """A net, and the loss of its last epoch."""
    torch.manual_seed(seed)
    net, generator = PointNet(), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs, 1e-4)
    adapt = am.learned.AdaptPoint(len(SHAPES), widths=(16, 32, 32, 64, 64), discriminator=(32, 64, 128, 64, 32),
                                  use_mask="no mask" not in way, seed=seed)
    optimizers = adapt.optimizers()
    loss = 0.0
    for epoch in range(options.epochs):
        order = batches(len(points), generator)
        if way.startswith("AdaptPoint"):
            fakes = adapt.epoch([(points[ids], labels[ids], ids) for ids in order], net, optimizers, epoch=epoch,
                                epochs=options.epochs)
            loss = float(adaptpoint.classifier_epoch(fakes, net, optimizer, smoothing=0))
        else:
            losses = []
            for ids in order:
                plan = WAYS[way].plan(ids, count=points.shape[1], seed=seed, epoch=epoch)
                views, targets = P.render(points[ids], plan, targets=labels[ids])
                step = F.cross_entropy(net(views), targets)
                optimizer.zero_grad()
                step.backward()
                optimizer.step()
                losses.append(step.item())
            loss = mean(losses)
        schedule.step()
    return net.eval(), loss


@torch.no_grad()
def right(net: nn.Module, points: Tensor, labels: Tensor) -> float:
    """The share of clouds that are told, a few at a time, which the processor's memory likes better than all."""
    said = torch.cat([net(part).argmax(1) for part in points.split(8)])
    return float((said == labels).float().mean())


pools = torch.stack([pool(*shape) for shape in SHAPES.values()])
half = POOL // 2
found: dict[str, list[dict[str, float]]] = {way: [] for way in [*WAYS, "AdaptPoint", "AdaptPoint, no mask"]}
for seed in range(options.seeds):
    train_points, train_labels = clouds(pools[:, :half], options.clouds, options.points, seed, 0)
    test_points, test_labels = clouds(pools[:, half:], options.tested, TEST_POINTS, seed, 1_000_000)
    worse = {name: [P.corrupt(test_points, name, level, seed=seed) for level in corruptions.SEVERITIES]
             for name in corruptions.NAMES}
    for way, runs in found.items():
        began = time.process_time()
        net, loss = train(way, train_points, train_labels, seed)
        took = time.process_time() - began
        each = {"clean": right(net, test_points, test_labels)}
        each |= {name: mean(right(net, view, test_labels) for view in views) for name, views in worse.items()}
        runs.append(each | {"mCE": robustness.mce(each, digits=None)})
        said = ", ".join(f"{column} {value:.3f}" for column, value in runs[-1].items())
        print(f"{way}, run {seed}: loss {loss:.2f}; {said}; {took:.0f} s", flush=True)

columns = ["clean", *corruptions.NAMES, "mCE"]
print(f"| trained with | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
for way, runs in found.items():
    cells = [[run[column] for run in runs] for column in columns]
    print(f"| {way} | " + " | ".join(f"{mean(c):.3f}" + (f" ± {stdev(c):.3f}" if len(c) > 1 else "") for c in cells) + " |")
