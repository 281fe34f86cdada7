"""What a call costs the CPU: a long recipe on four tiny images, where the pixels are almost free."""

from __future__ import annotations

import itertools
import time
from statistics import median

import torch

import anamorph as am

from .work import MEAN, STD


def recipe() -> am.Recipe:
    """Ten lines of a usual training recipe, for 8 x 8 images."""
    return am.Recipe(
        [
            am.RandomResizedCrop(8),
            am.RandomHorizontalFlip(),
            am.RandomAffine(degrees=15, translate=(0.1, 0.1), scale=(0.9, 1.1), shear=5),
            am.ColorJitter(0.4, 0.4, 0.4, 0.1),
            am.RandomErasing(0.25),
            am.OneOf([am.MixUp(alpha=0.8), am.CutMix(alpha=1.0), am.ResizeMix()], p=0.5),
            am.Normalize(MEAN, STD),
        ],
        dtype=torch.float16,
        num_classes=10,
    )


class Calls:
    """The two calls of a training step on a batch of four."""

    def __init__(self, device: torch.device):
        self.recipe, self.device, self.epochs = recipe(), device, itertools.count()
        self.images = torch.randint(0, 256, (4, 8, 8, 3), dtype=torch.uint8).to(device)
        self.labels, self.index = torch.arange(4, device=device), torch.arange(4, device=device)

    def plan(self) -> am.Plan:
        """A plan of the next epoch."""
        return self.recipe.plan(self.index, epoch=next(self.epochs), size=(8, 8), device=self.device)

    def render(self, plan: am.Plan) -> tuple[torch.Tensor, torch.Tensor]:
        """Images and soft labels."""
        return am.render(self.images, plan, targets=self.labels)

    def both(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What a training loop does."""
        return self.render(self.plan())


def overhead(device: torch.device, calls: int = 2000) -> dict[str, float]:
    """Median microseconds of ``recipe.plan``, of ``am.render`` with targets, and of both."""
    work, plans, renders = Calls(device), [], []
    for i in range(-calls // 10, calls):  # the first tenth warms up
        begin = time.perf_counter()
        plan = work.plan()
        planned = time.perf_counter()
        work.render(plan)
        end = time.perf_counter()
        if device.type == "cuda":  # the kernels themselves are not the host's time; an empty queue never blocks it
            torch.cuda.synchronize(device)
        if i >= 0:
            plans.append(planned - begin)
            renders.append(end - planned)
    return {"calls": calls, "plan_us": 1e6 * median(plans), "render_us": 1e6 * median(renders),
            "total_us": 1e6 * median(map(sum, zip(plans, renders, strict=True)))}
