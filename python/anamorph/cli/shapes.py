"""Shapes to show point clouds with: a teapot and an aeroplane, of curved patches made here. y points up, x to the right."""

from __future__ import annotations

import math

import numpy as np
import torch

import anamorph as am

STEPS = 48  # of a patch along each of its ways
CANDIDATES = 8  # for each point that is kept


def curve(corners: list[tuple[float, ...]], steps: int = STEPS) -> np.ndarray:
    """A cubic Bezier curve, or several that follow each other, every third corner the end of one: ``[curves * steps + 1, K]``."""
    given = np.array(corners)
    t = np.linspace(0, 1, steps + 1)[:, None]
    weights = np.concatenate([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], 1)
    parts = [weights @ given[k:k + 4] for k in range(0, len(given) - 1, 3)]
    return np.concatenate([parts[0], *(part[1:] for part in parts[1:])])


def turned(profile: np.ndarray) -> np.ndarray:
    """The surface of a profile (radius, height) that goes round the y axis, ``[U, V, 3]``."""
    angle = np.linspace(0, 2 * math.pi, STEPS + 1)
    radius, height = profile[:, :1], profile[:, 1:]
    return np.stack([radius * np.cos(angle), height + 0 * angle, radius * np.sin(angle)], -1)


def tube(middle: np.ndarray, radius: np.ndarray, flat: float = 1.0) -> np.ndarray:
    """A tube about a curve in the x-y plane, ``flat`` times as wide along z as across, ``[U, V, 3]``."""
    along = np.gradient(middle, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = np.stack([-along[:, 1], along[:, 0]], 1)
    angle = np.linspace(0, 2 * math.pi, STEPS // 2 + 1)
    plane = middle[:, None] + (radius[:, None] * np.cos(angle))[..., None] * across[:, None]
    return np.concatenate([plane, (flat * radius[:, None] * np.sin(angle))[..., None]], 2)


def wing(root: tuple[float, float, float], tip: tuple[float, float, float], chord: tuple[float, float], thick: float,
         up: bool = False) -> np.ndarray:
    """A wing from ``root`` to ``tip`` (its leading edge), as deep along -x as ``chord`` says at both ends, ``[U, V, 3]``."""
    share = np.linspace(0, 1, STEPS + 1)[:, None]
    edge = (1 - share)[..., None] * np.array(root) + share[..., None] * np.array(tip)
    angle = np.linspace(0, 2 * math.pi, STEPS + 1)
    deep = chord[0] + share * (chord[1] - chord[0])
    back, out = deep * (0.5 - 0.5 * np.cos(angle)), deep * thick * np.sin(angle)
    nothing = 0 * out
    return edge + np.stack([-back, nothing, out] if up else [-back, out, nothing], -1)


def cloud(patches: list[np.ndarray], count: int, seed: int) -> torch.Tensor:
    """``count`` points spread evenly over patches, from the lowest to the highest, in the unit sphere: float32 ``[count, 3]``."""
    draw = np.random.default_rng(seed)
    corners = [np.stack([p[:-1, :-1], p[1:, :-1], p[:-1, 1:], p[1:, 1:]], -2).reshape(-1, 4, 3) for p in patches]
    quads = np.concatenate(corners)
    area = np.linalg.norm(np.cross(quads[:, 3] - quads[:, 0], quads[:, 2] - quads[:, 1]), axis=1)
    quads = quads[draw.choice(len(quads), CANDIDATES * count, p=area / area.sum())]
    u, v = draw.random((2, len(quads), 1))
    found = (1 - u) * ((1 - v) * quads[:, 0] + v * quads[:, 2]) + u * ((1 - v) * quads[:, 1] + v * quads[:, 3])
    points = torch.from_numpy(found.astype(np.float32))
    even = am.points.Recipe([am.points.FarthestSample(count), am.points.Normalize()])(points, seed=seed)
    return even[torch.argsort(even[:, 1], stable=True)]


def teapot(count: int = 2048) -> torch.Tensor:
    """In the proportions of Newell's: the spout points to +x, the handle to -x."""
    body = curve([(1.4, 2.4), (1.33, 2.53), (1.44, 2.53), (1.5, 2.4), (1.75, 1.88), (2, 1.35), (2, 0.9), (2, 0.45), (1.5, 0.22),
                  (1.5, 0.15), (1.2, 0.02), (0.6, 0), (0, 0)])
    lid = curve([(0, 3.15), (0.8, 3.15), (0, 2.7), (0.2, 2.55), (0.4, 2.4), (1.3, 2.4), (1.3, 2.4)])
    spout = curve([(1.7, 0.8), (2.9, 0.8), (2.4, 2.1), (3.1, 2.45)])
    handle = curve([(-1.5, 2.15), (-3.2, 2.5), (-3.3, 1.0), (-1.85, 0.65)])
    return cloud([turned(body), turned(lid), tube(spout, np.linspace(0.55, 0.2, len(spout))),
                  tube(handle, np.full(len(handle), 0.15))], count, 0)


def plane(count: int = 2048) -> torch.Tensor:
    """Its nose points to +x."""
    hull = turned(curve([(0, -2.6), (0.3, -2.5), (0.34, -1.4), (0.36, 0), (0.38, 1.2), (0.42, 2.3), (0, 2.6)]))[..., [1, 0, 2]]
    wings = [wing((0.7, -0.05, side * 0.3), (-0.5, 0.2, side * 2.6), (1.2, 0.45), 0.06) for side in (-1, 1)]
    tail = [wing((-1.9, 0.15, side * 0.1), (-2.4, 0.25, side * 1.0), (0.6, 0.3), 0.06) for side in (-1, 1)]
    fin = wing((-1.7, 0.2, 0.0), (-2.45, 1.1, 0.0), (0.8, 0.4), 0.06, up=True)
    engines = [tube(np.stack([np.linspace(-0.05, 0.65, STEPS + 1), np.full(STEPS + 1, -0.18)], 1), np.full(STEPS + 1, 0.15))
               + np.array([0.0, 0.0, side * 1.1]) for side in (-1, 1)]
    return cloud([hull, *wings, *tail, fin, *engines], count, 1)
