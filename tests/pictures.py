"""Real pictures for the tests, cut to the sizes they need, and the engine run with one fixed choice."""

from __future__ import annotations

import functools

import numpy as np
import torch
from skimage import data

import anamorph as am


@functools.cache
def pictures(h: int = 96, w: int = 128) -> np.ndarray:
    """Four photographs, uint8 [4, h, w, 3]."""
    sources = (data.astronaut(), data.chelsea(), data.coffee(), data.rocket())
    return np.stack([p[40:40 + h, 60:60 + w] for p in sources])


def render(transforms, images: np.ndarray, *, epoch: int = 0, seed: int = 0, dtype=torch.float32, **options):
    """The engine's views of an NHWC batch, and their plan."""
    recipe = am.Recipe(transforms, dtype=dtype, **options)
    plan = recipe.plan(range(len(images)), size=images.shape[1:3], seed=seed, epoch=epoch)
    return am.render(images, plan, layout="NHWC"), plan


def bytes_of(transforms, images: np.ndarray, **options) -> torch.Tensor:
    """The engine's views as uint8."""
    return render(transforms, images, dtype=torch.uint8, **options)[0]


def nchw(images: np.ndarray) -> torch.Tensor:
    """An NHWC batch as torchvision takes it."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).contiguous()


def unit(images: np.ndarray) -> torch.Tensor:
    """The same of bytes in [0, 1], float64."""
    return nchw(images).double() / 255


def close(ours: torch.Tensor, theirs: torch.Tensor, within: float = 1e-5, share: float = 1.0) -> None:
    """Are at least ``share`` of the values alike?"""
    assert ours.shape == theirs.shape
    off = (ours.double() - theirs.double()).abs()
    good = (off <= within).double().mean()
    assert good >= share, f"{good:.5f} within {within}, worst {off.max():.6f}"


def word(plan: am.Plan, name: str, n: int = 1, kind=torch.int32) -> torch.Tensor:
    """Columns of the plan's rows by name."""
    at = am._native.WORDS[name]
    return plan.rows[:, at:at + n].contiguous().view(kind)
