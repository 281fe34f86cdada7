"""Augmentations that are learnt: networks that give parameters."""

from anamorph.learned import poseaug as poseaug
