"""The transforms of point clouds."""

from anamorph.points.transforms.base import Transform as Transform
from anamorph.points.transforms.compose import OneOf, RandomApply
from anamorph.points.transforms.counts import (
    AddGlobal,
    AddLocal,
    DropLocal,
    Dropout,
    FarthestSample,
    RandomInputDropout,
    Resample,
    Shuffle,
)
from anamorph.points.transforms.deformation import Jitter, Normalize, PointWOLF
from anamorph.points.transforms.geometry import Flip, RandomRotation, Rotate, RotateXYZ, RotationJitter, Scale, Shear, Translate
from anamorph.points.transforms.mix import PointCutMix, PointMixup, RSMix, WOLFMix

__all__ = ["AddGlobal", "AddLocal", "DropLocal", "Dropout", "FarthestSample", "Flip", "Jitter", "Normalize", "OneOf",
           "PointCutMix", "PointMixup", "PointWOLF", "RSMix", "RandomApply", "RandomInputDropout", "RandomRotation", "Resample",
           "Rotate", "RotateXYZ", "RotationJitter", "Scale", "Shear", "Shuffle", "Translate", "WOLFMix"]
