"""Augmentations that are learnt: networks that give parameters."""
