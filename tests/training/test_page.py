"""The code of docs/training.md and docs/corruptions.md runs, in the pages' order."""

import math
import re
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

import anamorph as am

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "training.md").read_text()


def head(inputs, classes):
    return nn.Linear(inputs, classes)


def flat(classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, classes))


def test_the_code_of_the_page_runs():
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert len(blocks) == 7
    images = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8)
    names = {"am": am, "torch": torch, "math": math, "cross_entropy": F.cross_entropy, "images": images, "known": images,
             "ids": torch.arange(4), "labels": torch.tensor([1, 0, 9, 3]), "test": torch.rand(4, 3, 32, 32),
             "recipe": am.Recipe([am.RandomCrop(32, padding=4)]), "net": flat(40), "alone_head": flat(10), "body": flat(8),
             "turn_head": head(8, 4), "order_head": head(72, 35), "classifier": flat(10), "segmenter": nn.Conv2d(3, 5, 3, 1, 1),
             "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.2), "judge": lambda texts: torch.zeros(len(texts), 2)}
    masks = {"net": nn.Sequential(nn.Conv2d(3, 10, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), "images": images / 255,
             "mask": torch.rand(4, 1, 32, 32) < 0.5, "index": torch.arange(4), "epoch": 3, "patches": torch.rand(4, 196, 8),
             "error": torch.rand(4, 196)}
    for i, block in enumerate(blocks):
        if i == 5:
            assert names["probabilities"].shape == (4, 5, 32, 32) and names["logits"].shape == (2, 2)
            names |= masks
        exec(block, names)
        if "loss" in names:
            assert names.pop("loss").isfinite()
    assert names["tokens"].shape == (4, 49, 8) and names["keep"].shape == (4, 1, 224, 224)


def test_the_page_names_every_call():
    assert all(f"am.{name}" in PAGE for name in am.training.__all__)


def test_the_code_of_the_page_of_corruptions_runs():
    (block,) = re.findall(r"```python\n(.*?)```", (DOCS / "corruptions.md").read_text(), re.S)
    images, ids, seen = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8), torch.arange(4), []
    net = nn.Sequential(nn.Conv2d(3, 10, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    mean, std = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1), torch.tensor([0.2, 0.25, 0.3]).view(3, 1, 1)
    names = {"am": am, "net": net, "mean": mean, "std": std, "batches": [(images, torch.tensor([1, 0, 9, 3]), ids)],
             "baseline": {name: [0.5] * 5 for name in am.corruptions.suite()}, "images": images, "ids": ids}
    exec(block, names)
    assert len(seen) == 51 and torch.equal(seen[0], (images / 255 - mean) / std)
    assert len(names["errors"]) == 11 and len(names["views"]) == 7
    assert names["noisy"].shape == names["lines"].shape == images.shape and not torch.equal(names["noisy"], images)
