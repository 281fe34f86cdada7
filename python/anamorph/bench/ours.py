"""anamorph in the comparison: the chain eagerly and in a CUDA graph, and the bytes it cannot avoid moving."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import torch

import anamorph as am
from anamorph import _native

from .work import MEAN, SIZE, SOURCE, STD, Step, Work, chain_of, entry, named_chain


def chain(contrast_mode: str) -> am.Recipe:
    """The chain as a recipe."""
    return am.Recipe([*chain_of(am, "bilinear", contrast_mode=contrast_mode), am.Normalize(MEAN, STD)])


def recipe(work: Work) -> am.Recipe:
    """The chain of this run, with torchvision's contrast."""
    if work.chain == "rrc-jitter":
        return chain("exact")
    if work.chain == "simclr":
        return am.presets.simclr(SIZE)
    if work.chain == "field":
        field = am.RandomField(translation=0.05, correlation=0.15)
        return am.Recipe([am.RandomResizedCrop(SIZE), am.RandomHorizontalFlip(), field, am.Normalize(MEAN, STD)])
    return am.Recipe([*named_chain(am, work.chain, "bilinear", "bicubic"), am.Normalize(MEAN, STD)])


def eager(recipe: am.Recipe, images: torch.Tensor, size: tuple[int, int], epochs: Iterable[int]) -> Step:
    """A plan of the next epoch and a new batch at every step."""
    index, epoch = torch.arange(len(images), device=images.device), iter(epochs)
    return lambda: am.render(images, recipe.plan(index, epoch=next(epoch), size=size))


@entry("anamorph", ours=True)
def exact(work: Work) -> Step:
    """Contrast about the picture's own grey mean, as torchvision's."""
    return eager(recipe(work), work.nhwc(), work.pictures.shape[1:3], itertools.count())


@entry("anamorph-no-field", ours=True, chains=("field",), note="the chain without its field")
def no_field(work: Work) -> Step:
    """What the field costs."""
    plain = am.Recipe([am.RandomResizedCrop(SIZE), am.RandomHorizontalFlip(), am.Normalize(MEAN, STD)])
    return eager(plain, work.nhwc(), (SOURCE, SOURCE), itertools.count())


@entry("anamorph-midgray", ours=True, chains=("rrc-jitter",), note="contrast about mid-grey")
def midgray(work: Work) -> Step:
    """Contrast about 0.5: no statistic of the picture is needed."""
    return eager(chain("midgray"), work.nhwc(), (SOURCE, SOURCE), itertools.count())


@entry("anamorph-graph", ours=True, devices=("cuda",), note="plan and render in one captured CUDA graph")
def graph(work: Work) -> Step:
    """Plan and render captured once; every replay counts the epoch up on the device and so draws anew."""
    chained, images = recipe(work), work.nhwc()
    index = torch.arange(len(images), device=work.device)
    epoch = torch.zeros((), dtype=torch.int64, device=work.device)
    out = torch.empty((len(images), 3, work.size, work.size), device=work.device)

    def once() -> torch.Tensor:
        am.render(images, chained.plan(index, epoch=epoch, size=work.pictures.shape[1:3], device=work.device), out=out)
        epoch.add_(1)
        return out

    return Captured(once, work.device)


class Captured:
    """``once`` as a CUDA graph. A graph knows addresses alone, so ``once`` is kept too, and with it what lies there."""

    def __init__(self, once: Step, device: torch.device):
        self._once = once
        side = torch.cuda.Stream(device)  # what is made on first use must not be made during the capture
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            once()
        torch.cuda.current_stream(device).wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._out = once()

    def __call__(self) -> torch.Tensor:
        self._graph.replay()
        return self._out


def bytes_per_image(contrast_mode: str = "exact", count: int = 1024, grid: int = 32) -> float:
    """What one picture of the chain must move at the least, on average, in bytes:

        3 * 1 * footprint + 3 * 4 * SIZE * SIZE

    three uint8 channels of every source pixel that the view's taps cover, each once, and the float32 output. The
    footprint is ``|det| * SIZE * SIZE * inside``: a view's map takes an output pixel to ``|det|`` source pixels, and
    ``inside`` is the share of the view that falls into its crop (the rest is fill, which nothing is read for).
    Averaged over ``count`` plans, with ``inside`` counted on a ``grid`` x ``grid`` raster.
    """
    plan = chain(contrast_mode).plan(torch.arange(count), size=(SOURCE, SOURCE))
    words = plan.rows.view(torch.float32)
    matrix = words[:, _native.WORDS["MATRIX"]:][:, :9].reshape(-1, 3, 3)
    left, top, right, bottom = words[:, _native.WORDS["RECT"]:][:, :4].T[..., None]
    centres = (torch.arange(grid) + 0.5) * (SIZE / grid)
    x, y = torch.meshgrid(centres, centres, indexing="xy")
    x, y, _ = (matrix @ torch.stack([x.flatten(), y.flatten(), torch.ones(grid * grid)])).unbind(1)
    inside = ((x >= left) & (x < right) & (y >= top) & (y < bottom)).float().mean(1)
    footprint = (torch.linalg.det(matrix[:, :2, :2]).abs() * inside).mean().item() * SIZE * SIZE
    return 3 * footprint + 3 * 4 * SIZE * SIZE
