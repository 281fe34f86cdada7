"""What is timed: real pictures, and the numbers of the chain that every engine is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

SOURCE, SIZE = 256, 224
DEGREES, TRANSLATE, SCALE, SHEAR = 15.0, 0.1, (0.9, 1.1), 5.0
JITTER, HUE = 0.4, 0.1  # brightness, contrast and saturation; hue
CHAINS = ("rrc-jitter", "randaugment", "simclr", "field", "cifar")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# Photographs that scikit-image brings along, so that nothing is downloaded.
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "hubble_deep_field", "immunohistochemistry", "retina", "rocket")

Step = Callable[[], torch.Tensor]  # augments the same pictures once more, as float32 [n, 3, SIZE, SIZE]


def chain_of(T: Any, bilinear: Any, **contrast: str) -> list[Any]:
    """The chain before Normalize, from the transforms of ``T``: anamorph's or torchvision's, whose names are the same."""
    return [
        T.RandomResizedCrop(SIZE),
        T.RandomHorizontalFlip(),
        T.RandomAffine(DEGREES, (TRANSLATE, TRANSLATE), SCALE, SHEAR, bilinear),
        T.ColorJitter(JITTER, JITTER, JITTER, HUE, **contrast),
    ]


def sides(chain: str) -> tuple[int, int]:
    """Of the pictures and of the views."""
    return (32, 32) if chain == "cifar" else (SOURCE, SIZE)


def named_chain(T: Any, chain: str, bilinear: Any, bicubic: Any) -> list[Any]:
    """A chain before Normalize that anamorph and torchvision write alike."""
    if chain == "rrc-jitter":
        return chain_of(T, bilinear)
    if chain == "cifar":
        return [T.RandomCrop(32, 4), T.RandomHorizontalFlip(), T.RandomErasing(0.5)]
    crop = T.RandomResizedCrop(SIZE, interpolation=bicubic if chain == "simclr" else bilinear)
    if chain == "randaugment":
        return [crop, T.RandomHorizontalFlip(), T.RandAugment(2, 9)]
    if chain == "simclr":
        return [crop, T.RandomHorizontalFlip(), T.RandomApply([T.ColorJitter(0.8, 0.8, 0.8, 0.2)], 0.8), T.RandomGrayscale(0.2),
                T.RandomApply([T.GaussianBlur(23, (0.1, 2.0))], 0.5)]
    raise Unavailable("has no such field")


class Unavailable(Exception):
    """Why an engine cannot take part here."""


@dataclass(frozen=True)
class Work:
    """A batch of pictures, uint8 [n, height, width, 3], and where they are augmented."""

    pictures: np.ndarray
    device: torch.device
    chain: str = "rrc-jitter"

    @property
    def size(self) -> int:
        """Of the views."""
        return sides(self.chain)[1]

    def nhwc(self) -> torch.Tensor:
        """The pictures on the device, channels last."""
        return torch.from_numpy(self.pictures).to(self.device)

    def nchw(self) -> torch.Tensor:
        """The pictures on the device, channels first."""
        return self.nhwc().permute(0, 3, 1, 2).contiguous()


def photographs(count: int, size: tuple[int, int] = (SOURCE, SOURCE)) -> np.ndarray:
    """``count`` different cuts of photographs: uint8 [count, height, width, 3]."""
    import skimage.data
    from PIL import Image

    random = np.random.default_rng(0)
    originals = [Image.fromarray(getattr(skimage.data, name)()) for name in PHOTOGRAPHS]
    height, width = size
    cuts = []
    for i in range(count):
        picture = originals[i % len(originals)]
        scale = min(picture.width / width, picture.height / height) * random.uniform(0.6, 1.0)
        across, down = scale * width, scale * height
        left, top = (picture.width - across) * random.random(), (picture.height - down) * random.random()
        cut = picture.resize((width, height), Image.Resampling.BICUBIC, (left, top, left + across, top + down))
        cuts.append(np.asarray(cut))
    return np.stack(cuts)


def check(out: torch.Tensor, shape: Sequence[int], dtype: torch.dtype) -> None:
    """That an engine made what is compared."""
    if tuple(out.shape) != tuple(shape) or out.dtype != dtype or not bool(out.isfinite().all()):
        raise ValueError(f"made {out.dtype} {list(out.shape)} instead of finite {dtype} {list(shape)}")


@dataclass(frozen=True)
class Entry:
    """One engine of the comparison. What ``build`` raises becomes its row."""

    name: str
    build: Callable[[Work], Step]
    devices: tuple[str, ...] = ("cpu", "cuda")
    ours: bool = False
    chains: tuple[str, ...] = CHAINS
    note: str = ""  # what differs from the chain


ENTRIES: dict[str, Entry] = {}


def entry(name: str, **facts: Any) -> Callable[[Callable[[Work], Step]], Callable[[Work], Step]]:
    """Register a function that builds an engine's step."""

    def register(build: Callable[[Work], Step]) -> Callable[[Work], Step]:
        ENTRIES[name] = Entry(name, build, **facts)
        return build

    return register
