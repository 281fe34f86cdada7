"""What each kernel of a batch takes on a GPU: named recipes, what travels along, the way back, copy-paste, mosaics.

    python bench/gpu_kernels.py [--batch 256] [--only WORD,...] [--json FILE]

Photographs of 256 x 256 bytes, packed, to views of 224 x 224 float32; each line's kernels are timed by torch's profiler over a
number of batches, each with a new plan, and the whole by the host's clock, which also has what lies between kernels. A Markdown
table, in microseconds a batch.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch

import anamorph as am
from anamorph.bench.work import MEAN, SIZE, SOURCE, STD, chain_of, photographs

OBJECTS = 10


def recipes() -> dict[str, am.Recipe]:
    """By name; the plain ones end in Normalize."""
    crop, flip = am.RandomResizedCrop(SIZE), am.RandomHorizontalFlip()
    named: dict[str, list[Any]] = {
        "the chain": chain_of(am, "bilinear"),
        "the chain, contrast about mid-grey": chain_of(am, "bilinear", contrast_mode="midgray"),
        "crop, flip": [crop, flip],
        "RandAugment(2, 9)": [crop, flip, am.RandAugment(2, 9)],
        "TrivialAugmentWide": [crop, flip, am.TrivialAugmentWide()],
        "autocontrast": [crop, flip, am.RandomAutocontrast(1.0)],
        "equalize": [crop, flip, am.RandomEqualize(1.0)],
        "sharpness": [crop, flip, am.RandomAdjustSharpness(2.0, 1.0)],
        "blur of 23": [crop, flip, am.GaussianBlur(23, (0.1, 2.0))],
        "blur of 9": [crop, flip, am.GaussianBlur(9, (0.1, 2.0))],
        "noise": [crop, flip, am.GaussianNoise()],
        "RandomField, moves": [crop, flip, am.RandomField(translation=0.05, correlation=0.15)],
        "RandomField, colour": [crop, flip, am.RandomField(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.05,
                                                           correlation=0.15)],
        "ElasticTransform": [crop, flip, am.ElasticTransform()],
        "AugMix": [crop, flip, am.AugMix()],
        "erasing by noise": [crop, flip, am.RandomErasing(1.0, value="random")],
        "MixUp": [crop, flip, am.MixUp(0.8)],
        "CutMix": [crop, flip, am.CutMix(1.0)],
    }
    made = {name: am.Recipe([*steps, am.Normalize(MEAN, STD)]) for name, steps in named.items()}
    return made | {"simclr": am.presets.simclr(SIZE)}


def works(batch: int) -> dict[str, Callable[[int], object]]:
    """Each does one batch, of this epoch."""
    images = torch.from_numpy(photographs(64)).cuda().repeat(-(-batch // 64), 1, 1, 1)[:batch].contiguous()
    index = torch.arange(batch, device="cuda")
    size = (SOURCE, SOURCE)

    def render(recipe: am.Recipe) -> Callable[[int], object]:
        return lambda epoch: am.render(images, recipe.plan(index, epoch=epoch, size=size))

    found: dict[str, Callable[[int], object]] = {name: render(recipe) for name, recipe in recipes().items()}

    g = torch.Generator().manual_seed(0)
    classes = torch.randint(0, 20, (batch, 8, 8), dtype=torch.uint8, generator=g)
    classes = classes.repeat_interleave(32, 1).repeat_interleave(32, 2)
    corner = torch.rand(batch, OBJECTS, 2, generator=g) * 160
    boxes = torch.cat([corner, corner + 16 + 72 * torch.rand(batch, OBJECTS, 2, generator=g)], -1).round()
    at = torch.arange(SOURCE)
    across = (at >= boxes[..., 0, None]) & (at < boxes[..., 2, None])
    down = (at >= boxes[..., 1, None]) & (at < boxes[..., 3, None])
    masks = (across[:, :, None] & down[..., None]).to(torch.uint8).cuda()
    depth = torch.rand(batch, *size, generator=g).cuda()
    points = (torch.rand(batch, 17, 2, generator=g) * SOURCE).cuda()
    flow = torch.randn(batch, 2, *size, generator=g).cuda()
    labels, logits = classes.cuda(), torch.rand(batch, 3, SIZE, SIZE, generator=g).cuda()
    boxes = boxes.cuda()
    affine = am.Recipe([am.RandomResizedCrop(SIZE, (0.3, 1.0)), am.RandomHorizontalFlip(),
                        am.RandomAffine(10, (0.1, 0.1), (0.8, 1.2), interpolation="bilinear")])
    fields = am.Recipe([am.RandomResizedCrop(SIZE, (0.3, 1.0)), am.RandomField(translation=0.05, correlation=0.15)])
    for name, recipe in (("affine", affine), ("field", fields)):
        def plan(epoch: int, recipe: am.Recipe = recipe) -> am.Plan:
            return recipe.plan(index, epoch=epoch, size=size)

        found |= {
            f"{name}: a mask of classes": lambda epoch, plan=plan: plan(epoch).apply_mask(labels),
            f"{name}: {OBJECTS} masks of objects": lambda epoch, plan=plan: plan(epoch).apply_mask(masks),
            f"{name}: depth": lambda epoch, plan=plan: plan(epoch).apply_depth(depth),
            f"{name}: flow": lambda epoch, plan=plan: plan(epoch).apply_flow(flow),
            f"{name}: {OBJECTS} boxes": lambda epoch, plan=plan: plan(epoch).apply_boxes(boxes),
            f"{name}: 17 points": lambda epoch, plan=plan: plan(epoch).apply_keypoints(points),
            f"{name}: undo of 3 channels": lambda epoch, plan=plan: plan(epoch).undo(logits),
        }

    few = min(batch, 32)
    pasted = images[:few].permute(0, 3, 1, 2).contiguous()
    targets = [{"boxes": boxes[i], "labels": torch.arange(OBJECTS, device="cuda"), "masks": masks[i]} for i in range(few)]
    paste, ids = am.SimpleCopyPaste(), range(few)
    found[f"SimpleCopyPaste, {few} pictures"] = lambda epoch: paste(pasted, targets, index=ids, epoch=epoch)
    mosaic = am.Mosaic(SIZE)
    found[f"Mosaic, {few} pictures"] = lambda epoch: mosaic(images[:few], targets, index=ids, epoch=epoch)
    return found


def short(kernel: str) -> str:
    """A kernel's name without its namespaces and arguments."""
    name = kernel.replace("(anonymous namespace)::", "").split("(")[0]
    return name.split("<")[0].split("::")[-1].removeprefix("void ") if "anamorph" in kernel else "others"


def whole_of(once: Callable[[int], object], batches: int) -> float:
    """Microseconds a batch, as the host sees it."""
    for epoch in range(3):
        once(epoch)
    torch.cuda.synchronize()
    began = time.perf_counter()
    for epoch in range(batches):
        once(epoch)
    torch.cuda.synchronize()
    return (time.perf_counter() - began) / batches * 1e6


def timed(once: Callable[[int], object], batches: int) -> dict[str, float]:
    """Microseconds a batch of each kernel, and of the whole as the host sees it."""
    whole = whole_of(once, batches)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for epoch in range(batches):
            once(epoch)
        torch.cuda.synchronize()
    kernels: dict[str, float] = defaultdict(float)
    for event in profile.key_averages():
        if event.device_type == torch.autograd.DeviceType.CUDA:
            kernels[short(event.key)] += event.self_device_time_total / batches
    return {"whole": whole, **kernels}


def options(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--only", default="", help="words; lines that have one of them")
    parser.add_argument("--json")
    return parser


def table(jobs: dict[str, Callable[[int], object]], given: argparse.Namespace,
          more: Callable[[str, dict[str, float]], str] = lambda name, found: "") -> None:
    """A line for each job that was asked for. ``more``: further cells of it."""
    words = [word for word in given.only.split(",") if word]
    results = {}
    for name, once in jobs.items():
        if words and not any(word in name for word in words):
            continue
        results[name] = found = timed(once, given.batches)
        kernels = ", ".join(f"{kernel} {us:.0f}" for kernel, us in sorted(found.items()) if kernel != "whole")
        print(f"| {name} | {found['whole']:.0f} | {kernels} |{more(name, found)}", flush=True)
    if given.json:
        with open(given.json, "w") as file:
            json.dump(results, file)


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--batch", type=int, default=256)
    given = parser.parse_args()
    print(f"{torch.cuda.get_device_name()}, batches of {given.batch}\n\n| | whole | kernels |\n|---|---|---|")
    table(works(given.batch), given)


if __name__ == "__main__":
    main()
