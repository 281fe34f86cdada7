"""What is timed: real pictures, and the numbers of the chain that every engine is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

SOURCE, SIZE = 256, 224
DEGREES, TRANSLATE, SCALE, SHEAR = 15.0, 0.1, (0.9, 1.1), 5.0
JITTER, HUE = 0.4, 0.1  # brightness, contrast and saturation; hue
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# Photographs that scikit-image brings along, so that nothing is downloaded.
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "hubble_deep_field", "immunohistochemistry", "retina", "rocket")

Step = Callable[[], torch.Tensor]  # augments the same pictures once more, as float32 [n, 3, SIZE, SIZE]


class Unavailable(Exception):
    """Why an engine cannot take part here."""


@dataclass(frozen=True)
class Work:
    """A batch of pictures, uint8 [n, SOURCE, SOURCE, 3], and where they are augmented."""

    pictures: np.ndarray
    device: torch.device

    def nhwc(self) -> torch.Tensor:
        """The pictures on the device, channels last."""
        return torch.from_numpy(self.pictures).to(self.device)

    def nchw(self) -> torch.Tensor:
        """The pictures on the device, channels first."""
        return self.nhwc().permute(0, 3, 1, 2).contiguous()


def photographs(count: int) -> np.ndarray:
    """``count`` different square cuts of photographs: uint8 [count, SOURCE, SOURCE, 3]."""
    import skimage.data
    from PIL import Image

    random = np.random.default_rng(0)
    originals = [Image.fromarray(getattr(skimage.data, name)()) for name in PHOTOGRAPHS]
    cuts = []
    for i in range(count):
        picture = originals[i % len(originals)]
        side = min(picture.size) * random.uniform(0.6, 1.0)
        left, top = ((length - side) * random.random() for length in picture.size)
        cut = picture.resize((SOURCE, SOURCE), Image.Resampling.BICUBIC, (left, top, left + side, top + side))
        cuts.append(np.asarray(cut))
    return np.stack(cuts)


@dataclass(frozen=True)
class Entry:
    """One engine of the comparison. What ``build`` raises becomes its row."""

    name: str
    build: Callable[[Work], Step]
    devices: tuple[str, ...] = ("cpu", "cuda")
    ours: bool = False
    note: str = ""  # what differs from the chain


ENTRIES: dict[str, Entry] = {}


def entry(name: str, **facts: Any) -> Callable[[Callable[[Work], Step]], Callable[[Work], Step]]:
    """Register a function that builds an engine's step."""

    def register(build: Callable[[Work], Step]) -> Callable[[Work], Step]:
        ENTRIES[name] = Entry(name, build, **facts)
        return build

    return register
