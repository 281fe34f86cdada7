"""PoseAug (Gong, Zhang and Feng, CVPR 2021): networks that learn how poses are to be changed, from what a pose estimator finds
hard and two discriminators find right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, ShapeError
from anamorph.points.skeleton import (
    HUMAN36M_16,
    Tree,
    bones,
    change_angles,
    change_lengths,
    directions,
    lengths,
    project,
    rotate,
    translate,
)

#: The bones of HUMAN36M_16 that each of the five KCS discriminators sees: torso, the left leg, the right leg, the left arm, the
#: right arm. A leg is seen with both hips, an arm with the spine that it hangs on.
PARTS = ((0, 3, 6, 7, 8, 9, 12), (0, 3, 4, 5, 6), (0, 1, 2, 3, 6), (7, 9, 10, 11), (7, 12, 13, 14))
#: Joints of HUMAN36M_16 by how far they are from the trunk. The feedback weighs hips and shoulders 5, knees and elbows 2.
LIMBS = ((1, 4, 10, 13), (2, 5, 9, 11, 14), (3, 6, 12, 15))
_JOINT_WEIGHTS = (1, 5, 2, 1, 5, 2, 1, 1, 1, 1, 5, 2, 1, 5, 2, 1)

WARM_UP = 2  # epochs without feedback
EVERY = 2  # steps of the generator for one of the discriminators
LEARNING_RATE, BATCH, EPOCHS = 1e-4, 1024, 50  # Adam's, published


class Generated(NamedTuple):
    """Poses ``[B, J, 3]`` after each of the generator's steps, and its parameters."""

    angles: Tensor  #: with other directions of bones
    lengths: Tensor  #: and other lengths
    placed: Tensor  #: and turned, and put before the camera
    difference: Tensor  #: 1 - cos of what each bone turned by, [B, J - 1]
    ratios: Tensor  #: of the lengths, [B, G]
    axis_angle: Tensor  #: [B, 3], radians
    offset: Tensor  #: [B, 3], where the root is now


class PoseGenerator(nn.Module):
    """Changes of poses that a network makes of the pose and of noise: directions by normalise(unit + MLP), lengths by 1 + .2 tanh
    of one number for left and right, a turn of pi tanh about each axis, and a place, whose depth is a square.

    What the tree keeps fixed stays: of HUMAN36M_16 the directions pelvis-spine-thorax and the length spine-thorax. Batch norm is
    in it, so in training mode B must be 2 at least.

    Args:
        tree: the skeleton. limit: of the lengths, 0 to 0.99. noise: numbers of it for each of the four heads. width, stages: of
            the MLPs: ``stages`` times two layers.
    """

    def __init__(self, tree: Tree = HUMAN36M_16, *, limit: float = 0.2, noise: int = 48, width: int = 256,
                 stages: int = 2) -> None:
        super().__init__()
        self.tree, self.limit = tree, checks.number("PoseGenerator.limit", limit, 0, 0.99)
        self.noise = checks.whole("PoseGenerator.noise", noise, 1)
        width, stages = checks.whole("PoseGenerator.width", width, 1), checks.whole("PoseGenerator.stages", stages, 0)
        joints, count = len(tree), len(tree) - 1
        self.angle = _mlp(3 * joints + self.noise, 3 * count, width, stages)
        self.length = _mlp(3 * joints + count + self.noise, max(tree.groups) + 1, width, stages)
        self.rotation = _mlp(3 * joints + self.noise, 3, width, stages)
        self.place = _mlp(3 * joints + self.noise, 3, width, stages)

    def forward(self, pose: Tensor, noise: Tensor | None = None) -> Generated:
        """
        Args:
            pose: ``[B, J, 3]``, of the module's dtype; only what is relative to the root is used, and ``placed`` is elsewhere.
            noise: ``[B, 4, noise]``, standard normal; None: drawn from torch's generator.

        Raises:
            ShapeError, DtypeError, DeviceError, ArgumentError: what was given and what is expected.
        """
        if not isinstance(pose, Tensor):
            raise ArgumentError(f"pose: expected a tensor [B, J, 3], given {type(pose).__name__}")
        bone = bones(pose, self.tree)
        if self.training and len(pose) < 2:
            raise ShapeError(f"pose: expected at least 2 poses in training mode, for batch norm, given {list(pose.shape)}")
        if noise is None:
            noise = torch.randn(len(pose), 4, self.noise, dtype=pose.dtype, device=pose.device)
        elif list(noise.shape) != [len(pose), 4, self.noise]:
            raise ShapeError(f"noise: expected [{len(pose)}, 4, {self.noise}], given {list(noise.shape)}")
        root = pose[:, self.tree.root]
        relative = pose - root[:, None]
        flat = relative.flatten(1)

        def head(net: nn.Sequential, i: int, *more: Tensor) -> Tensor:
            return net(torch.cat([flat, *more, noise[:, i]], 1))

        angles = change_angles(pose, head(self.angle, 0).view_as(bone), self.tree)
        difference = 1 - (directions(bones(angles, self.tree)) * directions(bone)).sum(2)
        ratios = torch.tanh(head(self.length, 1, lengths(bone))) * self.limit
        longer = change_lengths(angles, ratios, self.tree)
        axis_angle = torch.tanh(head(self.rotation, 2)) * math.pi
        x, y, z = head(self.place, 3).unbind(1)
        offset = torch.stack([x, y, z * z], 1)
        placed = translate(rotate(longer - root[:, None], axis_angle, self.tree), offset, self.tree)
        return Generated(angles, longer, placed, difference, ratios, axis_angle, offset)


def _mlp(inputs: int, outputs: int, width: int, stages: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(1 + 2 * stages):
        layers += [nn.Linear(width if i else inputs, width), nn.BatchNorm1d(width), nn.LeakyReLU()]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


class KCSDiscriminator(nn.Module):
    """How right the angles of poses look, part by part: scores ``[B, parts]`` of poses ``[B, J, 3]``, 1 for real ones.

    Each part is seen as the products of its bones' directions with each other (a kinematic chain space, Wandt and Rosenhahn, CVPR
    2019): lengths, place and turn of the pose do not show. (Published code pads each part's matrix to all bones with zeros, which
    says nothing more.)

    Args:
        tree: the skeleton. parts: numbers of bones, for each part; those of HUMAN36M_16 if left out. width, last: of the MLPs.
    """

    def __init__(self, tree: Tree = HUMAN36M_16, parts: Sequence[Sequence[int]] = PARTS, *, width: int = 256,
                 last: int = 100) -> None:
        super().__init__()
        if not checks.is_sequence(parts) or not parts:
            checks.wrong("KCSDiscriminator.parts", "numbers of bones, for each part", parts)
        self.tree = tree
        self.parts = [[checks.whole("KCSDiscriminator.parts", bone, 0, len(tree) - 2, " (a bone)") for bone in part]
                      for part in parts]
        for i, part in enumerate(self.parts):
            self.register_buffer(f"part_{i}", torch.tensor(part), persistent=False)
        self.paths = nn.ModuleList(_Residual(len(part) ** 2, width, last) for part in self.parts)

    def forward(self, pose: Tensor) -> Tensor:
        """Scores of ``[B, J, 3]``."""
        unit = directions(bones(pose, self.tree))
        scores = []
        for i, path in enumerate(self.paths):
            part = unit.index_select(1, self.get_buffer(f"part_{i}"))
            scores.append(path((part @ part.transpose(1, 2)).flatten(1)))
        return torch.cat(scores, 1)


class _Residual(nn.Module):
    """Two layers round which the input of the first goes."""

    def __init__(self, inputs: int, width: int, last: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(inputs, width), nn.LeakyReLU())
        self.middle = nn.Sequential(nn.Linear(width, width), nn.LeakyReLU(), nn.Linear(width, width))
        self.last = nn.Sequential(nn.Linear(width, last), nn.LeakyReLU(), nn.Linear(last, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(x + self.middle(x))


class Discriminator2D(nn.Module):
    """How right poses look in a picture: a score ``[B, 1]`` of points ``[B, J, 2]`` in ``screen``'s unit, 1 for real ones."""

    def __init__(self, tree: Tree = HUMAN36M_16, *, width: int = 100) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(2 * len(tree), width), nn.LeakyReLU())
        self.middle = nn.Sequential(nn.Linear(width, width), nn.LeakyReLU(), nn.Linear(width, width))
        self.last = nn.Sequential(nn.LeakyReLU(), nn.Linear(width, width), nn.Linear(width, width), nn.LeakyReLU(),
                                  nn.Linear(width, 1))

    def forward(self, points: Tensor) -> Tensor:
        """Scores of ``[B, J, 2]``."""
        x = self.first(points.flatten(1))
        return self.last(x + self.middle(x))


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Least squares: real ones are to be 1, fake ones 0. Give fake poses without their gradients."""
    return ((real - 1).square().mean() + fake.square().mean()) / 2


def adversarial_loss(fake: Tensor) -> Tensor:
    """The generator's side of it: fake ones are to be taken for real. (Published code adds the real ones' scores, which do not
    depend on the generator.)"""
    return (fake - 1).square().mean() / 2


def band_loss(value: Tensor, target: float, band: float) -> Tensor:
    """(value - target)^2 where that is more than ``band`` away, 0 within; the mean."""
    away = (value - target).square()
    return torch.where(away > band * band, away, torch.zeros_like(away)).mean()


def range_loss(generated: Generated) -> Tensor:
    """How far the changes leave what is wanted: a pose's mean 1 - cos of .205, give or take .165; lengths by up to .1."""
    return band_loss(generated.difference.mean(1), 0.205, 0.165) + band_loss(generated.ratios, 0.0, 0.1)


def limb_errors(predicted: Any, pose: Any) -> Tensor:
    """How wrong an estimator is about poses of HUMAN36M_16 ``[B, 16, 3]``, both relative to the root, by how far joints are from
    the trunk: ``[B, 3]``, the joints' distances weighed as published."""
    pose = pose - pose[:, :1]
    error = torch.linalg.vector_norm(predicted - pose, dim=2)
    weighed = [error[:, joint] * weight for joint, weight in enumerate(_JOINT_WEIGHTS)]
    return torch.stack([torch.stack([weighed[joint] for joint in part]).mean(0) for part in LIMBS], 1)


def feedback_loss(harder: Tensor, easier: Tensor, target: float, band: float) -> Tensor:
    """How far the estimator's error on changed poses, as multiples of that on the same poses unchanged, is from what is wanted;
    nothing within the band. Errors ``[B, n]`` as :func:`limb_errors` gives."""
    return band_loss(harder / easier, target, band)


def angle_target(epoch: int, epochs: int = EPOCHS) -> float:
    """How many times harder poses with other angles shall be: from 3 in the first epoch to 5 in the last."""
    return 3 + 2 * epoch / epochs


def generator_loss(generated: Generated, score_3d: Tensor, score_2d: Tensor, errors: tuple[Tensor, Tensor, Tensor] | None = None,
                   *, epoch: int = 0, epochs: int = EPOCHS) -> Tensor:
    """The generator's whole loss: 2D + 6 * 3D + 3 * range, and after the warm-up the feedback: .1 times that of the angles (3 to
    5 times harder, give or take 2), .01 times that of the placed poses (17, give or take 15).

    Args:
        generated: what the generator made.
        score_3d: the KCS discriminator's of ``generated.angles``. score_2d: the other's of ``generated.placed``, projected.
        errors: the estimator's :func:`limb_errors` on the poses as they were, on ``angles`` and on ``placed``; None in the
            warm-up, whose end you decide on (published: after epoch 2).
        epoch, epochs: for the angles' target.
    """
    loss = adversarial_loss(score_2d) + 6 * adversarial_loss(score_3d) + 3 * range_loss(generated)
    if errors is None:
        return loss
    plain, angles, placed = errors
    return (loss + 0.1 * feedback_loss(angles, plain, angle_target(epoch, epochs), 2.0)
            + 0.01 * feedback_loss(placed, plain, 17.0, 15.0))


def pairs(generated: Generated, camera: Any) -> tuple[Tensor, Tensor]:
    """What the estimator learns from: the placed poses' points in the picture ``[N, J, 2]`` and the poses ``[N, J, 3]``, without
    gradients; those that leave the picture are dropped, on each of its sides, and those that are not wholly ahead of the camera.
    (Published code drops what has a value above 1, and so keeps what leaves on the left, on the top, or lies behind.)

    On a GPU the host waits: how many are left is read.
    """
    with torch.no_grad():
        points = project(generated.placed, camera)
        kept = ((points.abs() <= 1).all(2) & (generated.placed[..., 2] > 0)).all(1)
        return points[kept], generated.placed.detach()[kept]
