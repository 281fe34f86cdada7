"""Random cases: a recipe, and a batch of small pictures that it is done to. A number and a seed name one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import anamorph as am
from differential import steps
from differential.steps import Color, Finish, Geometry, Size

BATCH = 4
KINDS = ("noise", "noise", "ramp", "constant", "smooth")
W = am._native.WORDS
NAMES = {code: name.lower() for name, code in am._native.OPS.items()}


@dataclass
class Unreadable:
    """In place of a step's numbers: the plan's map is none that torchvision could have drawn."""

    why: str


@dataclass
class Case:
    """``chain``: geometry and colour in list order. The pictures [B, H, W, C] as they are given to ``render``."""

    number: int
    chain: list[Geometry | Color]
    finish: Finish
    images: Tensor
    planar: bool
    picture: str
    seed: int
    fused: bool  # may the recipe resample more than once?

    @property
    def bytes(self) -> bool:
        return self.images.dtype == torch.uint8

    @property
    def geometry(self) -> list[Geometry]:
        return [s for s in self.chain if isinstance(s, Geometry)]

    def transforms(self) -> list[Any]:
        out = [s.transform() for s in self.chain]
        if any(isinstance(s, steps.Rotation) and s.expand for s in self.chain):
            out.append(am.CenterCrop(self.geometry[-1].after))  # the size that torchvision's frame has
        return out + self.finish.transforms()

    def plan(self, transforms: list[Any], dtype: torch.dtype = torch.float32) -> am.Plan:
        recipe = am.Recipe(transforms, dtype=dtype)
        return recipe.plan(range(len(self.images)), size=tuple(self.images.shape[1:3]), seed=self.seed)

    def render(self) -> tuple[Tensor, am.Plan]:
        plan = self.plan(self.transforms(), torch.uint8 if self.bytes and not self.finish.mean else torch.float32)
        images = self.images.permute(0, 3, 1, 2).contiguous() if self.planar else self.images
        return am.render(images, plan, layout="NCHW" if self.planar else "NHWC"), plan

    def drawn(self) -> list[list[Any]]:
        """For each picture what each geometric step drew: how the map of the recipe up to it differs from that before it."""
        out: list[list[Any]] = [[] for _ in self.images]
        for at, step in enumerate(self.chain):
            if not isinstance(step, Geometry):
                continue
            old, new = (self._maps(at), self._maps(at + 1)) if step.draws else (out, out)
            for one, a, b in zip(out, old, new, strict=True):
                one.append(self._read(step, a, b) if step.draws else None)
        return out

    @staticmethod
    def _read(step: Geometry, old: np.ndarray, new: np.ndarray) -> Any:
        try:
            change = np.linalg.solve(old, new)
            return step.read(change / change[2, 2])
        except (AssertionError, np.linalg.LinAlgError) as error:
            return Unreadable(type(error).__name__)

    def _maps(self, end: int) -> np.ndarray:
        done = self.chain[:end]
        transforms = [s.transform() for s in done]
        if any(isinstance(s, steps.Rotation) and s.expand for s in done):
            transforms.append(am.CenterCrop([s for s in done if isinstance(s, Geometry)][-1].after))
        m = self.plan(transforms).rows[:, W["MATRIX"]:W["MATRIX"] + 9].contiguous().view(torch.float32)
        return m.double().numpy().reshape(-1, 3, 3)

    def __repr__(self) -> str:
        h, w, c = self.images.shape[1:]
        form = "NCHW" if self.planar else "NHWC"
        return f"{self.transforms()} of {self.picture} {h}x{w}x{c} {str(self.images.dtype)[6:]} {form}"


def colors_of(plan: am.Plan, i: int) -> list[tuple[str, float]]:
    """The colour steps of a row with their full numbers."""
    words, step = plan.rows[i], am._native.COLOR_WORDS
    values = words.view(torch.float32)
    return [(NAMES[int(words[at])], float(values[at + 1]))
            for at in range(W["HEADER"], W["HEADER"] + step * int(words[W["COLORS"]]), step)]


class Draw:
    """Draws a case."""

    def __init__(self, number: int, seed: int) -> None:
        self.rng = np.random.default_rng([seed, number])
        self.number = number

    def below(self, n: int) -> int:
        return int(self.rng.integers(n))

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def pick(self, options: Any) -> Any:
        return options[self.below(len(options))]

    def number_in(self, low: float, high: float) -> float:
        """In a few digits, so that a reproduction can be typed."""
        return round(float(self.rng.uniform(low, high)), 3)

    def size(self, most: int = 70) -> Size:
        """Small ones are where the borders meet."""
        return (1 + self.below(self.pick((4, 16, most, most))), 1 + self.below(self.pick((4, 16, most, most))))

    def case(self) -> Case:
        self.bytes, self.channels = self.chance(0.5), self.pick((3, 3, 1))
        self.fill = self.fills()
        before = view = self.size()
        count = self.pick((1, 1, 1, 1, 2, 2, 2, 3, 3))
        fused = count > 1 and self.chance(0.4)
        geometry: list[Geometry] = []
        while len(geometry) < count:
            step = self.step(view)
            if step.mode and not fused and any(s.mode for s in geometry):
                continue  # more than one resampling is a kind of its own
            geometry.append(step)
            view = step.after
        fused = sum(bool(s.mode) for s in geometry) > 1
        # an exact contrast's mean would hang on every tie of a nearest
        self.contrast = all(s.mode != "nearest" for s in geometry)
        chain: list[Geometry | Color] = list(geometry)
        if not fused and self.chance(0.45):
            chain += [self.color() for _ in range(self.pick((1, 1, 2, 3)))]
        if not fused and all(s.mode != "bicubic" for s in geometry) and self.chance(0.08):
            chain.insert(self.below(len(geometry)), self.linear_color())
        picture = "ramp" if fused else self.pick(KINDS)
        return Case(self.number, chain, Finish() if fused else self.finish(), self.pictures(picture, before), self.chance(0.5),
                    picture, self.below(1 << 31), fused)

    # ---- transforms ----

    def fills(self) -> Any:
        """In the input's units."""
        one = (lambda: self.below(256)) if self.bytes else (lambda: self.number_in(0, 1))
        return self.pick((None, one(), one(), tuple(one() for _ in range(self.channels))))

    def step(self, view: Size) -> Geometry:
        kind = self.pick(("resize", "resize", "resized crop", "center crop", "crop", "crop", "flip", "rotation", "rotation",
                          "affine", "affine", "perspective"))
        mode, antialias = self.pick(("nearest", "bilinear", "bilinear", "bicubic")), self.chance(0.6)
        if kind == "resize":
            return self.resize(view, mode, antialias and mode != "nearest")
        if kind == "resized crop":
            low = self.pick((0.08, 0.3, 1.0))
            return steps.ResizedCrop(view, self.size(), mode, antialias and mode != "nearest", scale=(low, 1.0))
        if kind == "center crop":
            return steps.CenterCrop(view, tuple(max(1, s + self.pick((0, -1, -2, -s // 2, 1, 5))) for s in view))
        if kind == "crop":
            return self.crop(view)
        if kind == "flip":
            return steps.Flip(view, view, across=self.pick("hv"))
        if kind == "rotation":
            return self.rotation(view, mode)
        if kind == "affine":
            return steps.Affine(view, view, mode, fill=self.fill, angle=self.angle(),
                                translate=self.pick((None, (0.1, 0.3), (1.0, 0.5))),
                                scale=self.pick((1, 1, self.number_in(0.3, 3))),
                                shear=self.pick(((0, 0), (self.number_in(-40, 40), 0), (0, self.number_in(-40, 40)),
                                                 (self.number_in(-40, 40), self.number_in(-40, 40)))), center=self.center(view))
        if min(view) < 2:  # no quad
            return steps.Flip(view, view)
        return steps.Perspective(view, view, mode, fill=self.fill, 
                                 distortion=self.pick((0.0, 0.2, 0.5, 0.5, *((0.8, 1.0) if min(view) > 7 else ()))))

    def resize(self, view: Size, mode: str, antialias: bool) -> Geometry:
        size: Any = self.size(90)
        limit = None
        if self.chance(0.3):
            size = size[0]
            limit = self.pick((None, size + 1, size + 9))
        after = steps.Resize.resized(view, size, limit)
        if min(after) == 0:  # an error in torchvision
            return self.resize(view, mode, antialias)
        return steps.Resize(view, after, mode, antialias, size=size, max_size=limit)

    def crop(self, view: Size) -> Geometry:
        mode = self.pick(("constant", "constant", "edge", "reflect", "symmetric"))
        fill = self.fill if mode == "constant" else None
        if mode == "constant" and self.chance(0.3):
            size = tuple(max(1, s + self.below(9) - 4) for s in view)
            return steps.Crop(view, size, fill=fill, padding=(self.below(4),) * 4, pad_if_needed=True)
        most = [s - (mode == "reflect") for s in view] if mode in ("reflect", "symmetric") else [99, 99]
        h, w = most
        pads = tuple(min(self.pick((0, 1, 3, 12)), m) for m in (w, h, w, h))
        h, w = view[0] + pads[1] + pads[3], view[1] + pads[0] + pads[2]
        size = (max(1, h - self.below(self.pick((1, 5, h)))), max(1, w - self.below(self.pick((1, 5, w)))))
        return steps.Crop(view, size, fill=fill, padding=pads, padding_mode=mode)

    def angle(self) -> float:
        return self.pick((self.number_in(-180, 180), self.number_in(-20, 20), self.pick((0, 90, 180, 270, -90, 45))))

    def center(self, view: Size) -> Any:
        if self.chance(0.7):
            return None
        return self.number_in(0, view[1]), self.number_in(0, view[0])

    def rotation(self, view: Size, mode: str) -> Geometry:
        step = steps.Rotation(view, view, mode, fill=self.fill, angle=self.angle(), expand=self.chance(0.3),
                              center=self.center(view))
        if not step.expand:
            return step
        if step.center and step.tied:
            return self.rotation(view, mode)
        return steps.Rotation(view, step.expanded(), mode, fill=self.fill, angle=step.angle, expand=True, center=step.center)

    def color(self) -> Color:
        kind = self.pick(("part", "part", "jitter", "grayscale", "invert", "posterize", "solarize"))
        if kind == "part":
            name = self.pick(("brightness", "saturation", "hue", *(("contrast",) if self.contrast else ())))
            value = self.pick((0.0, self.number_in(0, 0.999), self.number_in(1.001, 3)))
            if name == "hue":
                value = self.pick((-1, 1)) * self.number_in(0.001, 0.5)
            return Color(am.ColorJitter(**{name: (value, value)}))
        if kind == "jitter":
            return Color(am.ColorJitter(0.4, 0.4 * self.contrast, 0.4, 0.1), 3 + self.contrast)
        if kind == "posterize":
            return Color(am.RandomPosterize(1 + self.below(8), 1.0))
        if kind == "solarize":
            return Color(am.RandomSolarize(self.below(256) if self.bytes else self.number_in(0, 1), 1.0))
        return Color(am.RandomGrayscale(1.0) if kind == "grayscale" else am.RandomInvert(1.0))

    def linear_color(self) -> Color:
        """Before geometry: one that commutes with resampling, so that the order of the two does not matter inside."""
        value = self.number_in(0, 0.999)
        return Color(self.pick((am.RandomInvert(1.0), am.ColorJitter(brightness=(value, value)),
                                am.ColorJitter(saturation=(value, value)), am.RandomGrayscale(1.0))))

    def finish(self) -> Finish:
        out = Finish()
        if self.chance(0.15):
            each = tuple(self.number_in(0, 1) for _ in range(self.channels))
            out.value = self.pick((0, self.number_in(0, 1), each, "random", "channel"))
            out.erase = am.RandomErasing(1.0, value=out.value)
        if self.chance(0.1):
            out.mean, out.std = ([self.number_in(*r) for _ in range(self.channels)] for r in ((0, 1), (0.1, 1)))
        return out

    # ---- pictures ----

    def pictures(self, kind: str, size: Size) -> Tensor:
        h, w, c = *size, self.channels
        ys, xs = np.mgrid[0:h, 0:w] + 0.5
        if kind == "noise":
            x = self.rng.random((BATCH, h, w, c))
        elif kind == "constant":
            x = np.broadcast_to(self.rng.random((BATCH, 1, 1, c)), (BATCH, h, w, c))
        elif kind == "ramp":
            a, b = self.rng.uniform(-1, 1, (2, BATCH, 1, 1, c)) * 0.24
            x = 0.5 + a * (2 * xs / w - 1)[..., None] + b * (2 * ys / h - 1)[..., None]
        else:
            a, b, p = self.rng.uniform(-4, 4, (3, BATCH, 1, 1, c))
            x = 0.5 + 0.5 * np.sin(a * xs[..., None] / w + b * ys[..., None] / h + p)
        if self.bytes:
            return torch.from_numpy(np.floor(x * 255 + 0.5).astype(np.uint8))
        return torch.from_numpy(np.ascontiguousarray(x, np.float32))
