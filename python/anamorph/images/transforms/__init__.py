"""The public transforms: frozen descriptions that compile to slots of a recipe's program."""

from anamorph.images.transforms.base import Transform
from anamorph.images.transforms.color import (
    ColorJitter,
    Normalize,
    RandomAutocontrast,
    RandomChannelPermutation,
    RandomEqualize,
    RandomGamma,
    RandomGrayscale,
    RandomInvert,
    RandomPhotometricDistort,
    RandomPosterize,
    RandomSolarize,
    RandomSolarizeAdd,
    RGBShift,
)
from anamorph.images.transforms.compose import OneOf, RandomApply, RandomChoice, RandomOrder, SharedAcrossViews, SomeOf
from anamorph.images.transforms.detection import (
    FixedSizeCrop,
    LargeScaleJitter,
    RandomIoUCrop,
    RandomShortestSize,
    RandomZoomOut,
    ScaleJitter,
)
from anamorph.images.transforms.erase import CoarseDropout, Cutout, GridMask, HideAndSeek, RandomErasing
from anamorph.images.transforms.fields import ElasticTransform, RandomField
from anamorph.images.transforms.filters import GaussianBlur, GaussianNoise, RandomAdjustSharpness
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
from anamorph.images.transforms.pads import CropAndPad, LetterBox, Pad, PadIfNeeded, PadToSquare
from anamorph.images.transforms.policies import AugMix, AutoAugment, RandAugment, TrivialAugmentWide, auto_augment
from anamorph.images.transforms.schedule import schedule
from anamorph.images.transforms.turns import D4, RandomRotate90, Transpose
from anamorph.images.transforms.views import FiveCrop, TenCrop
from anamorph.images.transforms.warps import Perspective, Warp

__all__ = [
    "D4",
    "AugMix",
    "AutoAugment",
    "CenterCrop",
    "CoarseDropout",
    "ColorJitter",
    "CropAndPad",
    "CutMix",
    "Cutout",
    "ElasticTransform",
    "FiveCrop",
    "FixedSizeCrop",
    "GaussianBlur",
    "GaussianNoise",
    "GridMask",
    "HideAndSeek",
    "LargeScaleJitter",
    "LetterBox",
    "MaskMix",
    "MixUp",
    "Normalize",
    "OneOf",
    "Pad",
    "PadIfNeeded",
    "PadToSquare",
    "Perspective",
    "RGBShift",
    "RandAugment",
    "RandomAdjustSharpness",
    "RandomAffine",
    "RandomApply",
    "RandomAutocontrast",
    "RandomChannelPermutation",
    "RandomChoice",
    "RandomCrop",
    "RandomEqualize",
    "RandomErasing",
    "RandomField",
    "RandomGamma",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomInvert",
    "RandomIoUCrop",
    "RandomOrder",
    "RandomPerspective",
    "RandomPhotometricDistort",
    "RandomPosterize",
    "RandomResizedCrop",
    "RandomRotate90",
    "RandomRotation",
    "RandomShortestSize",
    "RandomSolarize",
    "RandomSolarizeAdd",
    "RandomVerticalFlip",
    "RandomZoomOut",
    "Resize",
    "ResizeMix",
    "ScaleJitter",
    "SharedAcrossViews",
    "SomeOf",
    "TenCrop",
    "Transform",
    "Transpose",
    "TrivialAugmentWide",
    "Warp",
    "auto_augment",
    "schedule",
]
