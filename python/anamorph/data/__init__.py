"""Feeding the engine: where images come from, in which order, and how they are decoded."""

from anamorph.data import coco
from anamorph.data.loader import Loader, Stats

__all__ = ["Loader", "Stats", "coco"]
