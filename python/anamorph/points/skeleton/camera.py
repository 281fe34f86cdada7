"""Cameras: poses to points in a picture, and poses put where the points in another picture ask for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, ShapeError
from anamorph.core.tensors import as_tensor
from anamorph.points.skeleton import given


def project(points: Any, camera: Any, clamp: bool = True) -> Tensor:
    """Points of a camera's space in its picture, by Human3.6M's model of a lens (VideoPose3D's ``project_to_2d``).

    With (x, y) = (X / Z, Y / Z), r2 = x^2 + y^2: f * ((x, y) * (1 + k1 r2 + k2 r2^2 + k3 r2^3 + p . (x, y)) + p * r2) + c.

    Args:
        points: float32 or float64 ``[B, J, 3]``: X to the right, Y down, Z ahead.
        camera: ``[9]`` or ``[B, 9]``: focal lengths fx, fy, centre cx, cy, k1, k2, k3, p1, p2; or ``[4]``, ``[B, 4]`` without
            distortion. The picture's unit is that of f and c.
        clamp: keep x and y within -1 and 1, as published: 45 degrees from the middle.

    Returns:
        ``[B, J, 2]``. Differentiable. A point that is not ahead of the camera (Z <= 0) has no place in the picture; what stands
        for it there means nothing.

    Raises:
        ShapeError, DtypeError, DeviceError, ArgumentError: what was given and expected. On a GPU values are not looked at.
    """
    points = given.floats("points", points, "[B, J, 3]", (None, None, 3))
    f, c, k, p = (part[:, None] for part in given.camera("camera", camera, points).split((2, 2, 3, 2), 1))
    xy = points[..., :2] / points[..., 2:]
    if checks.flag("clamp", clamp):
        xy = xy.clamp(-1, 1)
    r2 = (xy * xy).sum(2, keepdim=True)
    bent = 1 + (k * torch.cat([r2, r2 ** 2, r2 ** 3], 2)).sum(2, keepdim=True) + (p * xy).sum(2, keepdim=True)
    return f * (xy * bent + p * r2) + c


def screen(points: Any, width: float, height: float) -> Tensor:
    """Pixels ``[B, J, 2]`` as numbers that do not depend on the resolution: x from -1 to 1, y by the same scale, 0 in the middle
    (VideoPose3D's ``normalize_screen_coordinates``)."""
    points, middle = _screen(points, width, height)
    return points / float(width) * 2 - middle


def unscreen(points: Any, width: float, height: float) -> Tensor:
    """:func:`screen` undone."""
    points, middle = _screen(points, width, height)
    return (points + middle) * float(width) / 2


def _screen(points: Any, width: float, height: float) -> tuple[Tensor, Tensor]:
    points = given.floats("points", points, "[B, J, 2]", (None, None, 2))
    width, height = (checks.number(n, v, 1e-6, expected="a size above 0, in pixels") for n, v in
                     (("width", width), ("height", height)))
    # Filled where it lies: a copy of host memory would be waited for.
    return points, torch.stack([points.new_full((), 1.0), points.new_full((), height / width)])


def global_position_alignment(source: Any, target: Any, camera: Any, root: int = 0) -> Tensor:
    """Poses of one data set put where those of another are seen: PoseDA's GPA (Chai et al., ICCV 2023).

    With s = (w + h) / 2 of the 2D pose's box and dx, dy of the 3D pose's: z = (fx dx + fy dy) / (2 s), and x = z (u - cx) / fx,
    y = z (v - cy) / fy of the target's root (u, v). The pose is moved so that its root is there. Distortion is not looked at.

    Args:
        source: float32 or float64 ``[B, J, 3]``, turned as its own camera sees it; where it is does not matter.
        target: ``[B, J, 2]``, what is seen in the target's picture. Which target is given to which source is yours:
            :func:`permutation` draws one.
        camera: the target's, ``[4]``, ``[9]`` or one row for each target, in the picture's unit. (Published code takes the first
            row's focal lengths for all, and reads them where its own text has the centre; here each row has its own.)
        root: the joint.

    Returns:
        ``[B, J, 3]`` in the target camera's space.

    Raises:
        ShapeError, DtypeError, DeviceError, ArgumentError: what was given and what is expected; a pose all of whose joints are
            one point in its picture. On a GPU values are not looked at.
    """
    source = given.floats("source", source, "[B, J, 3]", (None, None, 3))
    joints = source.shape[1]
    target = given.floats("target", target, f"[{len(source)}, {joints}, 2], as the sources", (len(source), joints, 2), source)
    root = checks.whole("root", root, 0, joints - 1, " (a joint)")
    fx, fy, cx, cy = given.camera("camera", camera, source)[:, :4].unbind(1)
    box2 = target.amax(1) - target.amin(1)
    box3 = source[..., :2].amax(1) - source[..., :2].amin(1)
    size = box2.sum(1) / 2
    if source.device.type == "cpu":
        for name, boxes in (("source", box3), ("target", box2)):
            if not bool((boxes.detach().sum(1) > 0).all()):
                raise ArgumentError(f"{name}: expected poses of some width or height, given one whose joints are all one point")
    z = (fx * box3[:, 0] + fy * box3[:, 1]) / (2 * size)
    u, v = target[:, root].unbind(1)
    place = torch.stack([z * (u - cx) / fx, z * (v - cy) / fy, z], 1)
    return source + (place - source[:, root])[:, None]


def inside(points: Any) -> Tensor:
    """Which poses lie in the picture whole: bool ``[B]`` of ``[B, J, 2]`` in :func:`screen`'s unit, all of them from -1 to 1.

    PoseAug drops the others from training. (Published code looks for values above 1 alone, and so keeps poses that leave the
    picture on its left or top.)
    """
    points = as_tensor("points", points)
    if points.dim() != 3 or points.shape[2] != 2:
        raise ShapeError(f"points: expected [B, J, 2], given {list(points.shape)}")
    return (points.abs() <= 1).all(2).all(1)
