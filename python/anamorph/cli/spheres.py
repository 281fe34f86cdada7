"""A picture of a point cloud: lit spheres, seen from above the front without perspective, over a floor with their shadow."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

FINER = 3  # pixels for each of the picture's, along both axes
REACH = 1.25  # of the picture, from its middle, in the cloud's units
YAW, PITCH = math.radians(-28), math.radians(24)
FLOOR = -0.7  # the height that a shadow falls on
PAPER, TILE, LINE = (250, 249, 246), (239, 238, 233), (221, 220, 214)
LIGHT = np.array([-0.45, 0.65, 0.6])
RAMP = np.array([(43, 47, 119), (33, 113, 167), (36, 163, 151), (140, 192, 77), (250, 184, 50), (238, 106, 60)], np.float64)
ADDED = (214, 20, 72)


def by_share(share: np.ndarray) -> np.ndarray:
    """The ramp's colours at shares of it, 0 to 1: ``[N, 3]``, 0 to 255."""
    at = np.clip(share, 0, 1) * (len(RAMP) - 1)
    return np.stack([np.interp(at, np.arange(len(RAMP)), RAMP[:, c]) for c in range(3)], -1)


def seen(points: np.ndarray) -> np.ndarray:
    """To the right, upwards, and towards the viewer."""
    (sy, cy), (sp, cp) = (np.sin(YAW), np.cos(YAW)), (np.sin(PITCH), np.cos(PITCH))
    x, y, z = points.T
    right, deep = cy * x + sy * z, cy * z - sy * x
    return np.stack([right, cp * y - sp * deep, sp * y + cp * deep], 1)


def drawn(points: np.ndarray, colors: np.ndarray, side: int, radius: float = 0.032) -> np.ndarray:
    """uint8 ``[side, side, 3]`` of points ``[N, 3]`` with colours ``[N, 3]``, 0 to 255."""
    wide = side * FINER
    scale = wide / (2 * REACH)

    def places(p: np.ndarray) -> np.ndarray:
        return np.stack([wide / 2 + p[:, 0] * scale, wide / 2 - p[:, 1] * scale], 1)

    ground = Image.new("RGB", (wide, wide), PAPER)
    corners = np.array([[x, FLOOR, z] for x, z in ((-1, -1), (1, -1), (1, 1), (-1, 1))], np.float64)
    tile = [tuple(p) for p in places(seen(corners))]
    ImageDraw.Draw(ground).polygon(tile, TILE, LINE, max(1, FINER // 2))
    shade = Image.new("L", (wide, wide), 0)
    pen = ImageDraw.Draw(shade)
    for x, y in places(seen(points * (1, 0, 1) + (0, FLOOR, 0))):
        pen.ellipse((x - 1.4 * FINER, y - 0.6 * FINER, x + 1.4 * FINER, y + 0.6 * FINER), fill=90)
    ground.paste((205, 203, 198), (0, 0), shade.filter(ImageFilter.GaussianBlur(FINER)))
    pixels = np.asarray(ground, np.float64).reshape(-1, 3).copy()

    # Each sphere's pixels with their depth; the nearest of a pixel stays.
    across = max(1.5, radius * scale)
    steps = np.arange(-math.ceil(across), math.ceil(across) + 1)
    dx, dy = (g.ravel() / across for g in np.meshgrid(steps, steps))
    inside = dx**2 + dy**2 <= 1
    dx, dy = dx[inside], dy[inside]
    out = np.sqrt(1 - dx**2 - dy**2)
    lit = 0.62 + 0.5 * np.clip((dx * LIGHT[0] - dy * LIGHT[1] + out * LIGHT[2]) / np.linalg.norm(LIGHT), 0, 1)
    view = seen(points)
    middle = np.round(places(view)).astype(int)
    x, y = middle[:, :1] + np.round(dx * across).astype(int), middle[:, 1:] + np.round(dy * across).astype(int)
    deep = view[:, 2:] + radius * out
    fog = np.clip(0.35 - 0.35 * (view[:, 2] + 1.1) / 1.6, 0, 0.4)[:, None]  # what is far pales
    color = (colors * (1 - fog) + np.array(PAPER) * fog)[:, None] * np.minimum(lit, 1.12)[None, :, None]
    there = (x >= 0) & (x < wide) & (y >= 0) & (y < wide)
    order = np.argsort(deep[there], kind="stable")
    place = (y * wide + x)[there][order]
    last = len(place) - 1 - np.unique(place[::-1], return_index=True)[1]
    pixels[place[last]] = np.clip(color[there][order][last], 0, 255)
    image = Image.fromarray(pixels.reshape(wide, wide, 3).astype(np.uint8))
    return np.asarray(image.resize((side, side), Image.Resampling.BOX))
