"""The family of point clouds: ``am.points``."""

from anamorph.points import robustness, skeleton

__all__ = ["robustness", "skeleton"]
