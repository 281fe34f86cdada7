"""Poses from another data set and another camera: python pose_gpa.py FOLDER [--picture FILE]   (FOLDER: three motion files).

A small net learns to lift 2D poses to 3D from people on a playground (CMU's 01_01.bvh and 01_03.bvh) before four cameras, and is
tested on a boxer (Boxing_Toes.bvh) whom another camera sees, from nearer by, from below and with a longer lens. Of the boxer it
may have seen 2D poses, of every other second. Between the two stand: nothing; the source's poses changed at random ("local");
global position alignment (PoseDA's GPA), which puts each source pose where a target's 2D pose is; both. And what labels of the
target would give. The files are in Debian's package assimp-testmodels (dpkg -x; usr/share/assimp/models/BVH).
"""

import argparse
import math
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch import Tensor, nn

from anamorph.points import skeleton as sk

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=Path)
parser.add_argument("--epochs", type=int, default=40)
parser.add_argument("--batch-size", type=int, default=128)
parser.add_argument("--seeds", type=int, default=3)
parser.add_argument("--picture", type=Path, help="draw poses before and after into this file")

TREE = sk.HUMAN36M_16
# The 16 joints by the files' names. CMU's unit is an inch / 0.45, the boxer's a centimetre.
CMU = ["Hips", "RightUpLeg", "RightLeg", "RightFoot", "LeftUpLeg", "LeftLeg", "LeftFoot", "Spine", "Neck1", "Head",
       "LeftArm", "LeftForeArm", "LeftHand", "RightArm", "RightForeArm", "RightHand"]
BOXER = ["Hips", "RightHip", "RightKnee", "RightAnkle", "LeftHip", "LeftKnee", "LeftAnkle", "Ab", "Neck", "Head",
         "LeftShoulder", "LeftElbow", "LeftWrist", "RightShoulder", "RightElbow", "RightWrist"]
CMU_METRES, BOXER_METRES = 0.0254 / 0.45, 0.01
SECOND, STANDING = 33, 760  # rows of the boxer's motion: in a second, and before he goes down
SOURCE_CAMERA = torch.tensor([1.15, 1.15, 0.0, 0.0])  # focal lengths and centre, in halves of the picture's width
TARGET_CAMERA = torch.tensor([1.7, 1.75, 0.04, -0.03])

LOCAL = sk.SkeletonRecipe([sk.BoneAngle(30), sk.Rigid(180, axis=(0, 1, 0))], TREE)


def motion(path: Path, names: list[str], metres: float, every: int) -> Tensor:
    """Joints in metres [T, 16, 3], y up."""
    tree, places, _ = sk.read_bvh(path)
    assert tree.names is not None
    pose = places[::every, [tree.names.index(name) for name in names]] * metres
    # The files have hip and spine at different heights. Human3.6M's hip is between the legs, its spine half way to the thorax.
    pose[:, 0] = (pose[:, 1] + pose[:, 4]) / 2
    pose[:, 7] = (pose[:, 0] + pose[:, 8]) / 2
    return pose


def seen(world: Tensor, yaw: float, height: float, distance: float) -> Tensor:
    """The same in the space of a camera (x right, y down, z ahead) that stands still and looks at where the person mostly is."""
    middle = world[:, 0].mean(0)
    yaw = math.radians(yaw)
    eye = middle + torch.tensor([math.sin(yaw) * distance, 0.0, math.cos(yaw) * distance])
    eye[1] = height
    ahead = nn.functional.normalize(middle - eye, dim=0)
    right = nn.functional.normalize(torch.linalg.cross(ahead, torch.tensor([0.0, 1.0, 0.0])), dim=0)
    return (world - eye) @ torch.stack([right, torch.linalg.cross(ahead, right), ahead]).T


def net() -> nn.Module:
    """Martinez et al.'s lifting net, smaller."""
    def block(inputs: int) -> list[nn.Module]:
        return [nn.Linear(inputs, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Dropout(0.1)]

    return nn.Sequential(nn.Flatten(), *block(32), *block(256), *block(256), nn.Linear(256, 48), nn.Unflatten(1, (16, 3)))


def relative(poses: Tensor) -> Tensor:
    return poses - poses[:, :1]


def examples(way: str, source: Tensor, target2d: Tensor, target3d: Tensor, seed: int, epoch: int) -> tuple[Tensor, Tensor]:
    """What an epoch learns from: points in the picture and poses."""
    if way == "labels of the target":
        return target2d, target3d
    poses, camera = source, SOURCE_CAMERA
    if "local" in way:
        poses = sk.render(poses, LOCAL.plan(torch.arange(len(poses)), seed=seed, epoch=epoch))
    if "GPA" in way:
        order = sk.permutation(len(poses), seed=seed, epoch=epoch) % len(target2d)
        poses, camera = sk.global_position_alignment(poses, target2d[order], TARGET_CAMERA), TARGET_CAMERA
    points = sk.project(poses, camera)
    kept = sk.inside(points)
    return points[kept], poses[kept]


def error(model: nn.Module, points: Tensor, poses: Tensor) -> float:
    """MPJPE in millimetres, both relative to the hip."""
    model.eval()
    with torch.no_grad():
        return 1000 * float((relative(model(points)) - relative(poses)).norm(dim=2).mean())


def trained(way: str, data: tuple[Tensor, ...], seed: int, options: argparse.Namespace) -> nn.Module:
    torch.manual_seed(seed)
    model = net()
    steps = options.epochs * (len(data[0]) // options.batch_size)  # as many for each way, however many examples it has
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps)
    done = epoch = 0
    while done < steps:
        points, poses = examples(way, *data, seed=seed, epoch=epoch)
        model.train()
        for rows in torch.randperm(len(points)).split(options.batch_size):
            if len(rows) < 2 or done == steps:
                continue
            loss = (model(points[rows]) - relative(poses[rows])).norm(dim=2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            done += 1
        epoch += 1
    return model


def draw(file: Path, source: Tensor, target2d: Tensor) -> None:
    """A pose after each step, and what GPA makes of six."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(3, 6, figsize=(9, 4.9))

    def bones(axis: Any, points: Tensor, size: float) -> None:
        for joint, parent in enumerate(TREE.parents):
            if parent >= 0:
                side = (TREE.names or ())[joint].split()[0]
                color = {"left": "tab:blue", "right": "tab:orange"}.get(side, "black")
                axis.plot(*points[[joint, parent]].T.tolist(), color=color, linewidth=1.5)
        x, y = points[0].tolist()
        axis.set(xlim=(x - size, x + size), ylim=(y + size, y - size), xticks=[], yticks=[], aspect="equal")

    pose = source[300:301]
    titles = ("BoneAngle(30)", "BoneLength(0.4)", "Rigid(180, axis=y)", "Flip(1)")
    steps = [sk.BoneAngle(30), sk.BoneLength(0.4), sk.Rigid(180, axis=(0, 1, 0)), sk.Flip(1)]
    recipes = [(title, sk.SkeletonRecipe([step], TREE)) for title, step in zip(titles, steps, strict=True)]
    for axis, (title, recipe) in zip(axes[0], [("the pose", None), *recipes, ("all of them", sk.SkeletonRecipe(steps, TREE))],
                                     strict=True):
        changed = sk.render(pose, recipe.plan([4], seed=0)) if recipe else pose
        bones(axis, changed[0, :, :2], 1.0)
        axis.set_title(title, fontsize=8)
    rows = torch.arange(6) * 350 + 60
    targets = target2d[torch.arange(6) * 70 + 20]
    aligned = sk.global_position_alignment(source[rows], targets, TARGET_CAMERA)
    before, after = sk.project(source[rows], SOURCE_CAMERA), sk.project(aligned, TARGET_CAMERA)
    for i in range(6):
        bones(axes[1, i], before[i], 0.5)
        bones(axes[2, i], targets[i], 0.5)
        for line in axes[2, i].lines:
            line.set(color="lightgrey", linewidth=3)
        bones(axes[2, i], after[i], 0.5)
    axes[1, 0].set_ylabel("as its camera sees it", fontsize=8)
    axes[2, 0].set_ylabel("by GPA; grey: the target", fontsize=8)
    figure.tight_layout(pad=0.5)
    figure.savefig(file, dpi=80)


def main() -> None:
    options = parser.parse_args()
    cmu = [motion(options.folder / f"{name}.bvh", CMU, CMU_METRES, 12) for name in ("01_01", "01_03")]
    boxer = motion(options.folder / "Boxing_Toes.bvh", BOXER, BOXER_METRES, 3)[:STANDING]
    source = torch.cat([seen(world, yaw, 1.6, 5.5) for world in cmu for yaw in (20, 110, 200, 290)])
    target = seen(boxer, 60, 0.5, 4.2)
    points = sk.project(target, TARGET_CAMERA)
    known = torch.arange(len(target)) // SECOND % 2 == 0
    print(f"{len(source)} poses of the source; of the target {int(known.sum())} seen before and {int((~known).sum())} tested")
    if options.picture:
        draw(options.picture, source, points[known])
    data = source, points[known], target[known]
    print("| learnt from | source, mm | target, mm |\n|---|---|---|")
    for way in ("source", "local", "GPA", "GPA + local", "labels of the target"):
        found = []
        for seed in range(options.seeds):
            model = trained(way, data, seed, options)
            found.append((error(model, sk.project(source, SOURCE_CAMERA), source), error(model, points[~known], target[~known])))
        cells = [f"{mean(column):.1f} ± {stdev(column):.1f}" if len(column) > 1 else f"{column[0]:.1f}" for column in zip(*found)]
        print(f"| {way} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
