"""The public transforms: frozen descriptions that compile to slots of a recipe's program."""

from anamorph.images.transforms.base import Transform
from anamorph.images.transforms.color import (
    ColorJitter,
    Normalize,
    RandomChannelPermutation,
    RandomGrayscale,
    RandomInvert,
    RandomPosterize,
    RandomSolarize,
)
from anamorph.images.transforms.compose import OneOf, RandomApply, RandomChoice, RandomOrder
from anamorph.images.transforms.erase import RandomErasing
from anamorph.images.transforms.geometry import (
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
from anamorph.images.transforms.mix import CutMix, MaskMix, MixUp, ResizeMix

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
    "RandomChannelPermutation",
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
