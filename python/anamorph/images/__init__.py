"""The image family: transforms, compiled to one program per recipe."""

from anamorph.images.color import (
    ColorJitter,
    Normalize,
    RandomGrayscale,
    RandomInvert,
    RandomPosterize,
    RandomSolarize,
)
from anamorph.images.compose import OneOf, RandomApply, RandomChoice, RandomOrder
from anamorph.images.erase import RandomErasing
from anamorph.images.geometry import (
    CenterCrop,
    RandomAffine,
    RandomCrop,
    RandomHorizontalFlip,
    RandomPerspective,
    RandomResizedCrop,
    RandomRotation,
    RandomVerticalFlip,
    Resize,
)
from anamorph.images.mix import CutMix, MaskMix, MixUp, ResizeMix
from anamorph.images.transform import Transform

__all__ = [
    "CenterCrop",
    "ColorJitter",
    "CutMix",
    "MaskMix",
    "MixUp",
    "Normalize",
    "OneOf",
    "RandomAffine",
    "RandomApply",
    "RandomChoice",
    "RandomCrop",
    "RandomErasing",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomInvert",
    "RandomOrder",
    "RandomPerspective",
    "RandomPosterize",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomSolarize",
    "RandomVerticalFlip",
    "Resize",
    "ResizeMix",
    "Transform",
]
