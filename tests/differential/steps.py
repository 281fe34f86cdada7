"""What a recipe of a case is made of: each transform with torchvision's functional form, the numbers that it takes, and the map
from the new view to the old one (edge coordinates, pixel centres at +0.5), by torchvision's own formulas."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor
from torch.nn.functional import grid_sample

import anamorph as am
import replay

F = replay.V2.functional

from torchvision.transforms import InterpolationMode  # noqa: E402
from torchvision.transforms.functional import _get_perspective_coeffs  # noqa: E402
from torchvision.transforms.v2.functional._geometry import (  # noqa: E402
    _compute_affine_output_size,
    _compute_resized_output_size,
    _get_inverse_affine_matrix,
)

Size = tuple[int, int]  # height, width
MODES = {"nearest": InterpolationMode.NEAREST, "bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}
RESIZE_MODES = {**MODES, "nearest": InterpolationMode.NEAREST_EXACT}


@dataclass(frozen=True)
class How:
    """How a chain of steps is computed: as torchvision does (the defaults), or as an explanation says."""

    once: bool = False  # warps: the picture's fringe weighed once by its cover
    nudge: tuple[float, float] | None = None  # nearest: the position moved by this many pixels
    fill: float = 1.0  # what the fill is multiplied by: 1/255 for bytes as floats, 0 for a picture of cover
    wide: bool = False  # hue: what lies beyond [0, 1] is not cut


@dataclass(frozen=True)
class Geometry:
    """``before``, ``after``: the view's size. ``drawn``: what is read from the plan, for a step that draws."""

    before: Size
    after: Size
    mode: str | None = None
    antialias: bool = False
    fill: Any = None
    draws = False

    def transform(self) -> Any:
        raise NotImplementedError

    def read(self, change: np.ndarray) -> Any:
        """What the plan drew, from its map of the new view to the old one."""

    def inverse(self, drawn: Any) -> np.ndarray:
        raise NotImplementedError

    def apply(self, x: Any, drawn: Any, how: How) -> Any:
        raise NotImplementedError

    def exact(self, drawn: Any) -> bool:
        """Does it move whole pixels only?"""
        m = self.inverse(drawn)
        turn = np.abs(m[:2, :2])
        whole = np.allclose(turn, np.round(turn), atol=1e-9) and (np.round(turn).sum(0) == 1).all() and not m[2, :2].any()
        centre = m @ [0.5, 0.5, 1]
        return bool(whole and np.allclose(centre[:2] - 0.5, np.round(centre[:2] - 0.5), atol=1e-9))


def scaling(sx: float, tx: float, sy: float, ty: float) -> np.ndarray:
    return np.array([[sx, 0, tx], [0, sy, ty], [0, 0, 1]], float)


def positions(m: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the pixels of a view of ``size`` lie, x, y and z (not above 0: behind the viewer)."""
    ys, xs = np.mgrid[0:size[0], 0:size[1]] + 0.5
    px, py, pz = (m[k, 0] * xs + m[k, 1] * ys + m[k, 2] for k in range(3))
    z = np.where(np.abs(pz) > 1e-9, pz, 1e-9)
    return px / z, py / z, pz


def numbers(fill: Any, channels: int, scale: float) -> list[float]:
    return [v * scale for v in (fill if isinstance(fill, tuple) else (fill or 0,) * channels)]


def given(fill: Any, scale: float) -> Any:
    """For torchvision: a number or a list, None for black."""
    if fill is None:
        return None
    return [v * scale for v in fill] if isinstance(fill, tuple) else fill * scale


def nearest(x: Tensor, m: np.ndarray, size: Size, nudge: tuple[float, float], fill: list[float] | None) -> Tensor:
    h, w = x.shape[-2:]
    px, py, pz = positions(m, size)
    ix, iy = (np.floor(np.clip(p + n, -1e6, 1e6)).astype(int) for p, n in ((px, nudge[0]), (py, nudge[1])))
    out = x[..., np.clip(iy, 0, h - 1), np.clip(ix, 0, w - 1)]
    if fill is None:
        return out
    inside = torch.from_numpy((ix >= 0) & (ix < w) & (iy >= 0) & (iy < h) & (pz > 0))
    return torch.where(inside, out, torch.tensor(fill, dtype=x.dtype)[:, None, None])


def warp_once(x: Tensor, m: np.ndarray, size: Size, mode: str, fill: list[float]) -> Tensor:
    """One resampling of the picture on an endless ground of ``fill``."""
    h, w = x.shape[-2:]
    px, py, pz = positions(m, size)
    grid = np.stack([px * 2 / w - 1, py * 2 / h - 1], -1)
    grid[pz <= 0] = 9e3
    ground = torch.tensor(fill, dtype=torch.float64)[:, None, None]
    out = grid_sample((x.double() - ground)[None], torch.from_numpy(np.clip(grid, -9e3, 9e3))[None], mode, "zeros", False)[0]
    return out + ground


def resize(x: Any, size: list[int], step: Any, how: How) -> Any:
    options = RESIZE_MODES[step.mode], step.max_size, step.antialias
    if how.once and step.after[1] == 1:
        return F.resize(x.mT.contiguous(), [1, step.after[0]], options[0], None, step.antialias).mT
    try:
        if not isinstance(x, Tensor):
            return F.resize(x, size, options[0], options[1])  # PIL antialiases in any case
        return F.resize(x, size, *options)
    except RuntimeError as error:  # torch 2.13 on some bytes of one pixel a row
        assert "INTERNAL ASSERT" in str(error)
        return F.resize(x.double(), size, *options).round().clamp(0, 255).to(x.dtype)


# ---- the transforms ----

@dataclass(frozen=True)
class Resize(Geometry):
    size: Any = None
    max_size: int | None = None

    @staticmethod
    def resized(before: Size, size: Any, max_size: int | None) -> Size:
        h, w = _compute_resized_output_size(before, list(size) if isinstance(size, tuple) else [size], max_size)
        return h, w

    def transform(self):
        return am.Resize(self.size, self.mode, self.max_size, self.antialias)

    def inverse(self, drawn):
        (h, w), (oh, ow) = self.before, self.after
        return scaling(w / ow, 0, h / oh, 0)

    def apply(self, x, drawn, how):
        if how.nudge and self.mode == "nearest":
            return nearest(x, self.inverse(drawn), self.after, how.nudge, None)
        size = list(self.size) if isinstance(self.size, tuple) else [self.size]
        return resize(x, size, self, how)


@dataclass(frozen=True)
class ResizedCrop(Geometry):
    max_size = None
    scale: tuple[float, float] = (0.08, 1)
    draws = True

    def transform(self):
        return am.RandomResizedCrop(self.after, self.scale, interpolation=self.mode, antialias=self.antialias)

    def read(self, change):
        (h, w), (oh, ow) = self.before, self.after
        box = round(change[0, 2]), round(change[1, 2]), round(change[0, 0] * ow), round(change[1, 1] * oh)
        assert np.abs(change - self.inverse(box)).max() < 1e-3, (change, box)
        x, y, cw, ch = box
        assert x >= 0 and y >= 0 and cw >= 1 and ch >= 1 and x + cw <= w and y + ch <= h, box
        return box

    def inverse(self, drawn):
        x, y, w, h = drawn
        return scaling(w / self.after[1], x, h / self.after[0], y)

    def apply(self, x, drawn, how):
        left, top, w, h = drawn
        if how.nudge and self.mode == "nearest":
            inner = scaling(w / self.after[1], 0, h / self.after[0], 0)
            return nearest(F.crop(x, top, left, h, w), inner, self.after, how.nudge, None)
        return resize(F.crop(x, top, left, h, w), list(self.after), self, how)


@dataclass(frozen=True)
class CenterCrop(Geometry):
    def transform(self):
        return am.CenterCrop(self.after)

    def inverse(self, drawn):
        place = []
        for old, new in zip(self.before, self.after, strict=True):
            place.append(-((new - old) // 2) if new > old else round((old - new) / 2.0))
        return scaling(1, place[1], 1, place[0])

    def apply(self, x, drawn, how):
        if self.fill is None:
            return F.center_crop(x, list(self.after))
        ty, tx = (round(t) for t in self.inverse(drawn)[[1, 0], 2])  # the same on another ground than black
        (h, w), (oh, ow) = self.before, self.after
        left, top, right, bottom = (max(v, 0) for v in (-tx, -ty, tx + ow - w, ty + oh - h))
        return F.crop(F.pad(x, [left, top, right, bottom], given(self.fill, how.fill)), ty + top, tx + left, oh, ow)


@dataclass(frozen=True)
class Crop(Geometry):
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)  # as given
    padding_mode: str = "constant"
    pad_if_needed: bool = False
    draws = True

    def transform(self):
        return am.RandomCrop(self.after, self.padding, self.pad_if_needed, self.fill or 0, self.padding_mode)

    @functools.cached_property
    def pads(self) -> tuple[int, int, int, int]:
        left, top, right, bottom = self.padding
        need_y = max(self.after[0] - self.before[0] - top - bottom, 0)
        need_x = max(self.after[1] - self.before[1] - left - right, 0)
        return left + need_x, top + need_y, right + need_x, bottom + need_y

    def read(self, change):
        x, y = round(change[0, 2]), round(change[1, 2])
        assert np.abs(change - scaling(1, x, 1, y)).max() < 1e-3, change
        left, top, right, bottom = self.pads
        (h, w), (oh, ow) = self.before, self.after
        assert -left <= x and x + ow <= w + right and -top <= y and y + oh <= h + bottom, (x, y)
        return x, y

    def inverse(self, drawn):
        return scaling(1, drawn[0], 1, drawn[1])

    def apply(self, x, drawn, how):
        left, top = self.pads[:2]
        if any(self.pads):
            fill = given(self.fill or 0, how.fill)
            if not isinstance(x, Tensor) and not isinstance(fill, list):
                fill = [fill] * len(x.getbands())  # PIL's padding by a number colours the first channel only
            x = F.pad(x, list(self.pads), fill, self.padding_mode)
        return F.crop(x, drawn[1] + top, drawn[0] + left, *self.after)


@dataclass(frozen=True)
class Flip(Geometry):
    across: str = "h"

    def transform(self):
        return am.RandomHorizontalFlip(1.0) if self.across == "h" else am.RandomVerticalFlip(1.0)

    def inverse(self, drawn):
        return scaling(-1, self.before[1], 1, 0) if self.across == "h" else scaling(1, 0, -1, self.before[0])

    def apply(self, x, drawn, how):
        return F.horizontal_flip(x) if self.across == "h" else F.vertical_flip(x)


def about_middle(theta: list[float], before: Size, after: Size) -> np.ndarray:
    """torchvision's six numbers, which count from the middles."""
    m = np.array([theta[:3], theta[3:], [0, 0, 1]], float)
    m[:2, 2] += [before[1] / 2, before[0] / 2]
    m[:2, 2] -= m[:2, :2] @ [after[1] / 2, after[0] / 2]
    return m


def from_middle(center: Any, size: Size) -> list[float]:
    return [0.0, 0.0] if center is None else [center[0] - size[1] / 2, center[1] - size[0] / 2]


@dataclass(frozen=True)
class Warp(Geometry):
    def call(self, x: Any, drawn: Any, fill: Any) -> Any:
        raise NotImplementedError

    def apply(self, x, drawn, how):
        fill = self.fill
        if isinstance(x, Tensor):
            m = self.inverse(drawn)
            if how.nudge and self.mode == "nearest":
                return nearest(x, m, self.after, how.nudge, numbers(fill, len(x), how.fill))
            if how.once or self.mode == "bicubic":
                out = warp_once(x, m, self.after, self.mode, numbers(fill, len(x), how.fill))
                return out if x.is_floating_point() else out.clamp(0, 255).round().to(x.dtype)
        return self.call(x, drawn, given(fill, how.fill))


@dataclass(frozen=True)
class Rotation(Warp):
    angle: float = 0
    expand: bool = False
    center: Any = None

    def transform(self):
        return am.RandomRotation((self.angle, self.angle), self.mode, self.expand, self.center, self.fill or 0)

    def theta(self):
        angle = -self.angle
        return _get_inverse_affine_matrix(from_middle(self.center, self.before), angle, [0.0, 0.0], 1.0, [0.0, 0.0])

    def expanded(self) -> Size:
        h, w = self.before
        if self.center is None and self.angle % 90 == 0:
            return (h, w) if self.angle % 180 == 0 else (w, h)
        return _compute_affine_output_size(self.theta(), w, h)[::-1]

    @property
    def tied(self) -> bool:
        """Do its corners lie on whole pixels, as near as that float32 decides how large the expanded frame is?"""
        (h, w), m = self.before, np.linalg.inv(about_middle(self.theta(), self.before, self.before))
        corners = m[:2] @ [[0, w, w, 0], [0, 0, h, h], [1, 1, 1, 1]]
        return bool((np.abs(corners - np.round(corners)) < 1e-3).any())

    @property
    def turns(self) -> bool:
        """By quarters: every pixel stays one."""
        whole = self.angle % 180 == 0 or self.expand or self.before[0] == self.before[1]
        return self.center is None and self.angle % 90 == 0 and whole

    def inverse(self, drawn):
        m = about_middle(self.theta(), self.before, self.after)
        if self.angle % 90 == 0:
            m = np.round(m * 2) / 2 if self.center is None else np.round(m, 9)
        return m

    def call(self, x, drawn, fill):
        return F.rotate(x, self.angle, MODES[self.mode], self.expand, list(self.center) if self.center else None, fill)


@dataclass(frozen=True)
class Affine(Warp):
    angle: float = 0
    translate: Any = None
    scale: float = 1
    shear: tuple[float, float] = (0, 0)
    center: Any = None
    draws = True

    def transform(self):
        sx, sy = self.shear
        return am.RandomAffine((self.angle, self.angle), self.translate, (self.scale, self.scale), (sx, sx, sy, sy), self.mode,
                               self.fill or 0, self.center)

    def theta(self, shift):
        center = from_middle(self.center, self.before)
        return _get_inverse_affine_matrix(center, self.angle, [float(s) for s in shift], self.scale, list(self.shear))

    def read(self, change):
        if self.translate is None:
            return [0, 0]
        rest = about_middle(self.theta((0, 0)), self.before, self.after)
        shift = -np.linalg.solve(rest[:2, :2], change[:2, 2] - rest[:2, 2])
        whole = [round(s) for s in shift]
        assert np.abs(change - self.inverse(whole)).max() < 1e-3 * max(1, 1 / self.scale), (change, shift)
        most = [t * s for t, s in zip(self.translate, self.before[::-1], strict=True)]
        assert all(abs(s) <= round(m) for s, m in zip(whole, most, strict=True)), (whole, most)
        return whole

    def inverse(self, drawn):
        return about_middle(self.theta(drawn), self.before, self.after)

    def call(self, x, drawn, fill):
        center = list(self.center) if self.center else None
        return F.affine(x, self.angle, list(drawn), self.scale, list(self.shear), MODES[self.mode], fill, center)


@dataclass(frozen=True)
class Perspective(Warp):
    distortion: float = 0.5
    draws = True

    @functools.cached_property
    def start(self) -> list[list[int]]:
        h, w = self.before
        return [[0, 0], [w - 1, 0], [w - 1, h - 1], [0, h - 1]]

    def transform(self):
        return am.RandomPerspective(self.distortion, 1.0, self.mode, self.fill or 0)

    def read(self, change):
        corners = np.linalg.solve(change, np.array([[*p, 1] for p in self.start], float).T).T
        assert (np.abs(corners[:, 2]) > 1e-9).all(), corners
        end = corners[:, :2] / corners[:, 2:]
        whole = np.round(end)
        assert np.abs(end - whole).max() < 1e-2, end
        assert (whole >= 0).all() and (whole < self.before[::-1]).all(), end
        return whole.astype(int).tolist()

    def inverse(self, drawn):
        return np.array([*_get_perspective_coeffs(self.start, drawn), 1.0]).reshape(3, 3)

    def call(self, x, drawn, fill):
        return F.perspective(x, self.start, drawn, MODES[self.mode], fill)


@dataclass(frozen=True)
class PolicyMap(Warp):
    """A map that a policy drew; ``op``: its name in the plan's table. Drawn: its number."""

    op: str = ""

    def theta(self, drawn):
        angle, shift, shear, center = 0.0, [0.0, 0.0], [0.0, 0.0], None
        if self.op == "rotate by":
            angle = -drawn
        elif self.op.startswith("shear"):
            shear[self.op == "shear y"], center = math.degrees(math.atan(drawn)), (0, 0)
        else:
            shift[self.op == "translate y"] = float(drawn)
        return _get_inverse_affine_matrix(from_middle(center, self.before), angle, shift, 1.0, shear)

    def inverse(self, drawn):
        return about_middle(self.theta(drawn), self.before, self.after)

    def call(self, x, drawn, fill):
        return replay.step(x, replay.NAMES[self.op], drawn, MODES[self.mode], fill)


@dataclass(frozen=True)
class Several:
    """A transform that makes steps of its own in each row, maps and colour: a policy, or colour of any number of steps."""

    made: Any
    view: Size
    mode: str | None = None  # of its maps
    fill: Any = None

    def transform(self) -> Any:
        return self.made

    def steps(self, row: list[tuple[str, Any]]) -> Iterator[tuple[Geometry | Color, Any]]:
        """The row's steps that it made, each with what a geometric one drew."""
        for op, value in row:
            if replay.NAMES.get(op) in replay.MAPS:
                yield PolicyMap(self.view, self.view, self.mode, fill=self.fill, op=op), value
            elif op != "identity":
                yield Color(self.made), None


def pads(step: Any, drawn: Any) -> bool:
    """Does it show what lies outside its view?"""
    if isinstance(step, CenterCrop):
        return step.after[0] > step.before[0] or step.after[1] > step.before[1]
    if not isinstance(step, Crop) or not isinstance(drawn, tuple):
        return False
    x, y = drawn
    return x < 0 or y < 0 or x + step.after[1] > step.before[1] or y + step.after[0] > step.before[0]


def crops(step: Any, drawn: Any) -> bool:
    """Does it show a part of its view, or more than that?"""
    return isinstance(step, (Crop, CenterCrop)) and (step.after != step.before or pads(step, drawn))


def bordered(step: Any, drawn: Any) -> bool:
    """Does it show its view mirrored or repeated?"""
    return isinstance(step, Crop) and step.padding_mode != "constant" and pads(step, drawn)


def framed(step: Any, drawn: Any) -> bool:
    """Is there a fill outside its view?"""
    if isinstance(step, Warp):
        return not (isinstance(step, Rotation) and step.turns)
    return pads(step, drawn) and not bordered(step, drawn)


def square(step: Any, drawn: Any) -> bool:
    """Do its view's sides lie along the old one's?"""
    if isinstance(step, Perspective):
        (a, b), (c, d), (e, f), (g, h) = drawn
        return a == g and b == d and c == e and f == h
    m = step.inverse(drawn)
    return not m[2, :2].any() and bool(min(np.abs(m[[0, 1], [0, 1]]).max(), np.abs(m[[0, 1], [1, 0]]).max()) < 1e-12)


@dataclass(frozen=True)
class Color:
    """A colour transform; ``ops``: how many steps of a row it makes."""

    made: Any
    ops: int = 1

    def transform(self) -> Any:
        return self.made


def recolor(x: Any, op: str, value: float, of_bytes: bool, how: How) -> Any:
    """torchvision's step. ``of_bytes``: x holds bytes / 255, and steps that are defined on bytes round it first."""
    if op == "hue" and how.wide:  # the same of any scale and offset: of ones that leave nothing to cut
        return F.adjust_hue((x + 1) / 3, value) * 3 - 1
    if op in ("brightness", "contrast", "saturation", "hue"):
        return getattr(F, f"adjust_{op}")(x, value)
    if op == "grayscale":
        return F.rgb_to_grayscale(x, 3) if F.get_num_channels(x) == 3 else x
    if op == "invert":
        return F.invert(x)
    if op == "posterize":
        if of_bytes:
            return F.posterize(as_bytes(x), int(value)).double() / 255
        return F.posterize(x, int(value))
    if op == "solarize":
        if of_bytes:
            return torch.where((x.clamp(0, 1) * 255).round() >= value, 1 - x, x)
        beyond = value > (1 if isinstance(x, Tensor) and x.is_floating_point() else 255)  # an error in torchvision
        return x if beyond else F.solarize(x, value)
    return recolor_whole(x, op, value, of_bytes) if op in WHOLE else recolor_more(x, op, value, of_bytes)


WHOLE = ("contrast", "autocontrast", "equalize", "sharpness", "gaussian blur")


def as_bytes(x: Tensor) -> Tensor:
    return (x.clamp(0, 1) * 255).round().to(torch.uint8)


def recolor_whole(x: Any, op: str, value: Any, of_bytes: bool) -> Any:
    """A step that needs the whole view."""
    if op in ("autocontrast", "equalize"):
        if of_bytes:
            return getattr(F, op)(as_bytes(x)).double() / 255
        return replay.step(x, replay.NAMES[op], 0.0)
    if op == "sharpness":
        if not of_bytes:
            return replay.step(x, "Sharpness", value)
        if min(x.shape[-2:]) <= 2:
            return x
        soft = x.clone()  # bytes, as torchvision's
        soft[:, 1:-1, 1:-1] = as_bytes(F.adjust_sharpness(x, 0.0))[:, 1:-1, 1:-1].double() / 255
        return (soft + value * (x - soft)).clamp(0, 1)
    sigma, across, down, kind = value
    if kind == "pil":
        return blur_boxes(x, sigma, of_bytes)
    if kind == "zero":  # more of them than the kernel is wide
        x = F.pad(x, [across - across % 2, down - down % 2])
        return F.center_crop(F.gaussian_blur(x, [across, down], [sigma, sigma]),
                             [x.shape[-2] - 2 * (down - 1), x.shape[-1] - 2 * (across - 1)])
    return F.gaussian_blur(x, [across, down], [sigma, sigma])


def blur_boxes(x: Any, sigma: float, of_bytes: bool) -> Any:
    """PIL's, of bytes."""
    if not isinstance(x, Tensor):
        return x.filter(ImageFilter.GaussianBlur(sigma))
    planes = as_bytes(x) if of_bytes else x
    out = torch.stack([F.pil_to_tensor(Image.fromarray(p.numpy()).filter(ImageFilter.GaussianBlur(sigma)))[0] for p in planes])
    return out.double() / 255 if of_bytes else out


def recolor_more(x: Any, op: str, value: Any, of_bytes: bool) -> Any:
    if op == "channel permutation":
        orders = list(itertools.permutations(range(F.get_num_channels(x))))
        return F.permute_channels(x, list(orders[int(value * len(orders))]))
    assert op == "solarize add"  # timm's; in 255ths
    if not isinstance(x, Tensor):
        return x.point([min(255, v + int(value)) if v < 128 else v for v in range(256)] * len(x.getbands()))
    if of_bytes:
        return torch.where((x.clamp(0, 1) * 255).round() < 128, (x + value / 255).clamp(0, 1), x)
    if x.is_floating_point():
        return torch.where(x < 128 / 255, (x + value / 255).clamp(0, 1), x)
    return torch.where(x < 128, (x.int() + int(value)).clamp(0, 255), x.int()).to(torch.uint8)


@dataclass
class Finish:
    """What comes after geometry and colour."""

    erase: Any = None  # am.RandomErasing
    value: Any = None  # its numbers, or the name of a noise
    mean: list[float] = field(default_factory=list)
    std: list[float] = field(default_factory=list)

    def transforms(self) -> list[Any]:
        return [*([self.erase] if self.erase else []), *([am.Normalize(self.mean, self.std)] if self.mean else [])]
