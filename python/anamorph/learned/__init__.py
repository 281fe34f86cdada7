"""Augmentations that are learnt: networks that give parameters."""

from anamorph.learned import adaptpoint as adaptpoint
from anamorph.learned import poseaug as poseaug
from anamorph.learned.adaptpoint import AdaptPoint as AdaptPoint
from anamorph.learned.augtune import augtune as augtune
