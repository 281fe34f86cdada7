"""Published recipes of augmentation, as their code has them: ``am.presets.simclr(size=224)``.

Each returns a :class:`anamorph.Recipe`, or a dict of them by the name of the view; both print as the code that makes them.
Several views of a sample differ by ``recipe.plan(..., view=v)``: draw each with a number of its own, also where their recipes
differ. What every docstring calls exact is the order of the steps, their probabilities and their ranges; draws are per sample
and view unless it says otherwise. The pictures are uint8, of which thresholds and fills are 0 to 255. ``mean=None`` leaves
Normalize out. Losses, schedules and repeated samples are the training's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from anamorph.core import checks
from anamorph.images.recipe import Recipe
from anamorph.images.transforms.base import Transform
from anamorph.images.transforms.color import ColorJitter, Normalize, RandomGrayscale, RandomSolarize
from anamorph.images.transforms.compose import OneOf, RandomApply, SharedAcrossViews
from anamorph.images.transforms.erase import RandomErasing
from anamorph.images.transforms.filters import GaussianBlur
from anamorph.images.transforms.geometry import RandomCrop, RandomHorizontalFlip, RandomResizedCrop, Resize
from anamorph.images.transforms.mix import CutMix, MixUp
from anamorph.images.transforms.policies import AugMix, RandAugment, TrivialAugmentWide, auto_augment

__all__ = ["augmix_jsd", "byol", "deit3", "dino", "fixmatch", "moco_v2", "moco_v3", "simclr", "swav", "timm_a1", "timm_a2",
           "timm_a3", "torchvision_v2"]

Numbers = Sequence[float] | None
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
SIGMA = (0.1, 2.0)
MIDDLE = 128  # of bytes, where PIL's solarize starts


def _normalize(mean: Numbers, std: Numbers) -> list[Transform]:
    return [] if mean is None else [Normalize(mean, STD if std is None else std)]


def _side_of_blur(name: str, size: int) -> int:
    """A side whose tenth has no more taps than a blur may."""
    return checks.whole(f"{name}.size", size, 1, 1279, " of pixels")


def _jitter(brightness: float, contrast: float, saturation: float, hue: float) -> list[Transform]:
    """Strong colour, as all contrastive recipes have it: jitter with probability 0.8, then grey with 0.2."""
    return [RandomApply([ColorJitter(brightness, contrast, saturation, hue)], p=0.8), RandomGrayscale(0.2)]


def _blur(p: float, kind: str = "pil", size: int = 224) -> Transform:
    """SimCLR's and BYOL's kernel is a tenth of the side, made odd: 23 taps at 224."""
    return RandomApply([GaussianBlur(2 * (size // 20) + 1, SIGMA, kind)], p=p)


def simclr(size: int = 224, strength: float = 1.0, blur: float = 0.5, mean: Numbers = None, std: Numbers = None,
           dtype: torch.dtype = torch.float32) -> Recipe:
    """SimCLR's view, of which two are drawn (Chen et al., "SimCLR", ICML 2020; github.com/google-research/simclr).

    Args:
        size: of the view. strength: of the jitter. blur: its probability. For CIFAR: ``simclr(32, strength=0.5, blur=0)``.
        mean, std: of Normalize; SimCLR has none. dtype: of the output.

    Exact: order, probabilities, ranges, the blur's taps and the black around. What differs: SimCLR draws one sigma for a
    batch and view, here each sample has its own; its contrast is about the mean of each channel and its saturation in HSV,
    here both are torchvision's.
    """
    size = _side_of_blur("simclr", size)
    if mean is None and std is not None:
        checks.wrong("simclr.mean", "numbers where std is given", mean)
    strength = checks.number("simclr.strength", strength, 0, 1.25)  # of hue 0.2, of which 0.5 is all; of jitter 0.8
    jitter = _jitter(0.8 * strength, 0.8 * strength, 0.8 * strength, 0.2 * strength)
    return Recipe([RandomResizedCrop(size, interpolation="bicubic"), RandomHorizontalFlip(), *jitter, _blur(blur, "zero", size),
                   *_normalize(mean, std)], dtype=dtype)


def moco_v2(size: int = 224, mean: Numbers = MEAN, std: Numbers = STD, dtype: torch.dtype = torch.float32) -> Recipe:
    """MoCo v2's view, of which two are drawn (Chen et al., "Improved Baselines", 2020; github.com/facebookresearch/moco).

    Exact: order, probabilities, ranges, PIL's blur.
    """
    return Recipe([RandomResizedCrop(size, (0.2, 1.0)), *_jitter(0.4, 0.4, 0.4, 0.1), _blur(0.5), RandomHorizontalFlip(),
                   *_normalize(mean, std)], dtype=dtype)


def moco_v3(size: int = 224, mean: Numbers = MEAN, std: Numbers = STD, dtype: torch.dtype = torch.float32) -> dict[str, Recipe]:
    """MoCo v3's "view_1" and "view_2" (Chen et al., ICCV 2021; github.com/facebookresearch/moco-v3): the first is always
    blurred; the second seldom, and may be solarized.

    Exact: order, probabilities, ranges, PIL's blur. The repository's smallest crop is 0.08 of the area.
    """
    def view(blur: float, solarize: float) -> Recipe:
        return Recipe([RandomResizedCrop(size), *_jitter(0.4, 0.4, 0.2, 0.1), _blur(blur), RandomSolarize(MIDDLE, solarize),
                       RandomHorizontalFlip(), *_normalize(mean, std)], dtype=dtype)

    return {"view_1": view(1.0, 0.0), "view_2": view(0.1, 0.2)}


def byol(size: int = 224, mean: Numbers = MEAN, std: Numbers = STD, dtype: torch.dtype = torch.float32) -> dict[str, Recipe]:
    """BYOL's "view_1" and "view_2" (Grill et al., NeurIPS 2020; github.com/google-deepmind/deepmind-research): the first is
    always blurred; the second seldom, and may be solarized.

    Exact: order, probabilities, ranges, the blur's taps and the black around. What differs: BYOL adds U(-0.4, 0.4) for
    brightness, here it is a factor of U(0.6, 1.4); its contrast is about the mean of each channel and its saturation in HSV,
    here both are torchvision's.
    """
    size = _side_of_blur("byol", size)

    def view(blur: float, solarize: float) -> Recipe:
        return Recipe([RandomResizedCrop(size, interpolation="bicubic"), RandomHorizontalFlip(), *_jitter(0.4, 0.4, 0.2, 0.1),
                       _blur(blur, "zero", size), RandomSolarize(MIDDLE, solarize), *_normalize(mean, std)], dtype=dtype)

    return {"view_1": view(1.0, 0.0), "view_2": view(0.1, 0.2)}


def dino(size: int = 224, local_size: int = 96, mean: Numbers = MEAN, std: Numbers = STD,
         dtype: torch.dtype = torch.float32) -> dict[str, Recipe]:
    """DINO's "global_1", "global_2" and "local", of which eight are drawn (Caron et al., ICCV 2021;
    github.com/facebookresearch/dino).

    Exact: order, probabilities, ranges, PIL's blur. The teacher sees the global views.
    """
    def view(side: int, scale: Sequence[float], blur: float, solarize: float) -> Recipe:
        return Recipe([RandomResizedCrop(side, scale, interpolation="bicubic"), RandomHorizontalFlip(),
                       *_jitter(0.4, 0.4, 0.2, 0.1), _blur(blur), RandomSolarize(MIDDLE, solarize), *_normalize(mean, std)],
                      dtype=dtype)

    return {"global_1": view(size, (0.4, 1.0), 1.0, 0.0), "global_2": view(size, (0.4, 1.0), 0.1, 0.2),
            "local": view(local_size, (0.05, 0.4), 0.5, 0.0)}


def swav(size: int = 224, local_size: int = 96, mean: Numbers = MEAN, std: Numbers = (0.228, 0.224, 0.225),
         dtype: torch.dtype = torch.float32) -> dict[str, Recipe]:
    """SwAV's "global", of which two are drawn, and "local", of which six (Caron et al., NeurIPS 2020;
    github.com/facebookresearch/swav).

    Exact: order, probabilities, ranges, PIL's blur, and the repository's std, whose first number is 0.228.
    """
    def view(side: int, scale: Sequence[float]) -> Recipe:
        return Recipe([RandomResizedCrop(side, scale), RandomHorizontalFlip(), *_jitter(0.8, 0.8, 0.8, 0.2), _blur(0.5),
                       *_normalize(mean, std)], dtype=dtype)

    return {"global": view(size, (0.14, 1.0)), "local": view(local_size, (0.05, 0.14))}


def fixmatch(size: int = 32, mean: Numbers = (0.5, 0.5, 0.5), std: Numbers = (0.5, 0.5, 0.5),
             dtype: torch.dtype = torch.float32) -> dict[str, Recipe]:
    """FixMatch's "weak" view, and the "strong" one on top of a weak view of its own (Sohn et al., NeurIPS 2020;
    github.com/google-research/fixmatch, its RandAugment variant, which draws crop and flip anew for each).

    Exact: the code's order, probabilities and levels (1 to 9, which are not the paper's). For SVHN, which is not flipped, and
    STL, whose padding is 12, change the list; for a pair of one crop and flip put both into ``SharedAcrossViews``.
    """
    weak = [RandomHorizontalFlip(), RandomCrop(size, padding=4, padding_mode="reflect")]
    strong = RandAugment(2, convention="fixmatch", fill=127.5)
    return {"weak": Recipe([*weak, *_normalize(mean, std)], dtype=dtype),
            "strong": Recipe([*weak, strong, *_normalize(mean, std)], dtype=dtype)}


def augmix_jsd(size: int = 224, severity: int = 1, mean: Numbers = MEAN, std: Numbers = STD,
               dtype: torch.dtype = torch.float32) -> dict[str, Recipe]:
    """AugMix's "clean", "augmented_1" and "augmented_2", which share a crop and a flip (Hendrycks et al., ICLR 2020;
    github.com/google-research/augmix): for the Jensen-Shannon loss of three predictions.

    Args:
        severity: 1 for ImageNet, 3 for CIFAR.

    Exact: order, ops, ranges of the ImageNet script. The augmented two are the same recipe, to be drawn as two views.
    """
    both = SharedAcrossViews([RandomResizedCrop(size), RandomHorizontalFlip()])
    augmented = Recipe([both, AugMix(severity, all_ops=False, convention="paper"), *_normalize(mean, std)], dtype=dtype)
    return {"clean": Recipe([both, *_normalize(mean, std)], dtype=dtype), "augmented_1": augmented, "augmented_2": augmented}


def _timm(size: int, magnitude: int, mixup: float, smoothing: float, num_classes: int, mean: Numbers, std: Numbers,
          dtype: torch.dtype) -> Recipe:
    mean = None if mean is None else checks.colors("mean", mean)
    fill = tuple(min(255, max(0, round(255 * m))) for m in mean or (0.5,) * 3)
    policy = auto_augment(f"rand-m{magnitude}-mstd0.5-inc1", fill=fill)
    mix = OneOf([MixUp(mixup, "batch", "flip"), CutMix(1.0, "batch", "flip")])
    return Recipe([RandomResizedCrop(size, interpolation="bicubic"), RandomHorizontalFlip(), policy, mix, *_normalize(mean, std)],
                  dtype=dtype, num_classes=num_classes, label_smoothing=smoothing)


def timm_a1(size: int = 224, num_classes: int = 1000, mean: Numbers = MEAN, std: Numbers = STD,
            dtype: torch.dtype = torch.float32) -> Recipe:
    """timm's A1, 600 epochs (Wightman et al., "ResNet strikes back", 2021; github.com/huggingface/pytorch-image-models).

    Exact: ``rand-m7-mstd0.5-inc1``, mixup 0.2 or cutmix 1 once for a batch, smoothing 0.1; targets are for a binary
    cross-entropy. What differs: timm's crop is bilinear or bicubic by chance, here bicubic.
    """
    return _timm(size, 7, 0.2, 0.1, num_classes, mean, std, dtype)


def timm_a2(size: int = 224, num_classes: int = 1000, mean: Numbers = MEAN, std: Numbers = STD,
            dtype: torch.dtype = torch.float32) -> Recipe:
    """timm's A2, 300 epochs: :func:`timm_a1` with mixup 0.1 and no smoothing."""
    return _timm(size, 7, 0.1, 0.0, num_classes, mean, std, dtype)


def timm_a3(size: int = 160, num_classes: int = 1000, mean: Numbers = MEAN, std: Numbers = STD,
            dtype: torch.dtype = torch.float32) -> Recipe:
    """timm's A3, 100 epochs at 160 pixels: :func:`timm_a2` with ``rand-m6-mstd0.5-inc1``."""
    return _timm(size, 6, 0.1, 0.0, num_classes, mean, std, dtype)


def torchvision_v2(size: int = 176, num_classes: int = 1000, mean: Numbers = MEAN, std: Numbers = STD,
                   dtype: torch.dtype = torch.float32) -> Recipe:
    """The recipe of torchvision's IMAGENET1K_V2 weights (Vryniotis, "How to Train State-Of-The-Art Models", 2021;
    github.com/pytorch/vision, references/classification).

    Exact: order, TrivialAugmentWide, erasing 0.1 after Normalize, mixup 0.2 or cutmix 1 once for a batch, smoothing 0.1
    (there in the loss, here in the targets, which is the same).
    """
    mix = OneOf([MixUp(0.2, "batch", "roll"), CutMix(1.0, "batch", "roll")])
    return Recipe([RandomResizedCrop(size), RandomHorizontalFlip(), TrivialAugmentWide(interpolation="bilinear"),
                   *_normalize(mean, std), RandomErasing(0.1), mix], dtype=dtype, num_classes=num_classes, label_smoothing=0.1)


def deit3(size: int = 224, simple_crop: bool = False, num_classes: int = 1000, mean: Numbers = MEAN, std: Numbers = STD,
          dtype: torch.dtype = torch.float32) -> Recipe:
    """DeiT III's three-augment: grey, solarize or blur, always one of them (Touvron et al., ECCV 2022;
    github.com/facebookresearch/deit, ``augment.py``).

    Args:
        simple_crop: the "simple random crop" of its ImageNet-21k runs: resized, reflected by 4 pixels, cropped.

    Exact: order, ranges, PIL's blur; mixup 0.8 or cutmix 1 once for a batch, as in the ImageNet-1k runs.
    """
    crop: list[Transform] = [RandomResizedCrop(size, interpolation="bicubic")]
    if checks.flag("deit3.simple_crop", simple_crop):
        crop = [Resize(size, interpolation="bicubic"), RandomCrop(size, padding=4, padding_mode="reflect")]
    one = OneOf([RandomGrayscale(1.0), RandomSolarize(MIDDLE, 1.0), GaussianBlur(1, SIGMA, "pil")])
    mix = OneOf([MixUp(0.8, "batch", "flip"), CutMix(1.0, "batch", "flip")])
    return Recipe([*crop, RandomHorizontalFlip(), one, ColorJitter(0.3, 0.3, 0.3), mix, *_normalize(mean, std)], dtype=dtype,
                  num_classes=num_classes)
