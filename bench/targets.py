"""A detection recipe with everything that travels along, against torchvision v2 and albumentations: one thread, engines in turns.

    python bench/targets.py                    # a Markdown table; bench's extras bring the peers

Crop to 416 x 416, flip, a turn, colour, Normalize of 480 x 640 bytes, with ten boxes and either one mask of classes or ten of
objects. Each engine's own time on the processor, the median of the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

import anamorph as am
from anamorph.bench._torchvision import v2

BATCH, SOURCE, SIZE, OBJECTS = 16, (480, 640), (416, 416), 10
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def work() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pictures [B, H, W, 3], class masks [B, H, W], boxes [B, N, 4], objects' masks [B, N, H, W]."""
    g = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (BATCH, *SOURCE, 3), dtype=torch.uint8, generator=g)
    classes = torch.randint(0, 20, (BATCH, 12, 16), dtype=torch.uint8, generator=g)
    classes = classes.repeat_interleave(40, 1).repeat_interleave(40, 2)
    corner = torch.rand(BATCH, OBJECTS, 2, generator=g) * torch.tensor([480.0, 320.0])
    boxes = torch.cat([corner, corner + 24 + 120 * torch.rand(BATCH, OBJECTS, 2, generator=g)], -1).round()
    y, x = torch.arange(SOURCE[0])[:, None], torch.arange(SOURCE[1])
    b = boxes[..., None, None]
    masks = (x >= b[:, :, 0]) & (x < b[:, :, 2]) & (y >= b[:, :, 1]) & (y < b[:, :, 3])
    return images, classes, boxes, masks


def engines(masks: torch.Tensor, images: torch.Tensor, boxes: torch.Tensor) -> dict[str, Callable[[], object]]:
    """Each does the batch once."""
    recipe = am.Recipe([am.RandomResizedCrop(SIZE, (0.3, 1.0)), am.RandomHorizontalFlip(),
                        am.RandomAffine(10, (0.1, 0.1), (0.8, 1.2), interpolation="bilinear"),
                        am.ColorJitter(0.2, 0.2, 0.2, 0.05), am.Normalize(MEAN, STD)])
    T, epoch = v2(), iter(range(10**9))
    from torchvision import tv_tensors

    def ours() -> object:
        plan = recipe.plan(range(BATCH), size=SOURCE, epoch=next(epoch))
        return am.render(images, plan), plan.apply_mask(masks), plan.apply_boxes(boxes)

    theirs = T.Compose([T.RandomResizedCrop(SIZE, (0.3, 1.0)), T.RandomHorizontalFlip(),
                        T.RandomAffine(10, (0.1, 0.1), (0.8, 1.2), interpolation=T.InterpolationMode.BILINEAR),
                        T.ColorJitter(0.2, 0.2, 0.2, 0.05), T.ToDtype(torch.float32, scale=True), T.Normalize(MEAN, STD),
                        T.ClampBoundingBoxes()])
    planar, stacked = images.permute(0, 3, 1, 2), masks if masks.dim() == 4 else masks[:, None]

    def torchvision() -> object:
        return [theirs(tv_tensors.Image(planar[i]), tv_tensors.BoundingBoxes(boxes[i], format="XYXY", canvas_size=SOURCE),
                       tv_tensors.Mask(stacked[i])) for i in range(BATCH)]

    found: dict[str, Callable[[], object]] = {"anamorph": ours, "torchvision v2, per sample": torchvision}
    try:
        import albumentations as A
    except ImportError:
        return found
    compose = A.Compose([A.RandomResizedCrop(SIZE, (0.3, 1.0)), A.HorizontalFlip(),
                         A.Affine(rotate=(-10, 10), translate_percent=(-0.1, 0.1), scale=(0.8, 1.2), p=1),
                         A.ColorJitter(0.2, 0.2, 0.2, 0.05, p=1), A.Normalize(MEAN, STD)],
                        bbox_params=A.BboxParams("pascal_voc", label_fields=["labels"], clip=True))
    arrays, planes, lists = images.numpy(), stacked.numpy().astype(np.uint8), boxes.numpy()
    labels = list(range(OBJECTS))

    def albumentations() -> object:
        return [compose(image=arrays[i], masks=list(planes[i]), bboxes=lists[i], labels=labels) for i in range(BATCH)]

    return found | {f"albumentations {A.__version__}": albumentations}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    images, classes, boxes, objects = work()
    print("| with | engine | ms a sample | anamorph is |\n|---|---|---|---|")
    for name, masks in (("one mask of classes", classes), ("ten masks of objects", objects)):
        racing = engines(masks, images, boxes)
        times: dict[str, list[float]] = {engine: [] for engine in racing}
        for turn in range(rounds + 1):
            for engine, once in racing.items():
                began = time.process_time()
                once()
                if turn:  # the first warms up
                    times[engine].append((time.process_time() - began) / BATCH * 1e3)
        medians = {engine: statistics.median(t) for engine, t in times.items()}
        for engine, ms in medians.items():
            print(f"| {name} | {engine} | {ms:.2f} | {ms / medians['anamorph']:.1f}x |")


if __name__ == "__main__":
    try:  # albumentations' own threads
        import cv2

        cv2.setNumThreads(1)
    except ImportError:
        pass
    main()
