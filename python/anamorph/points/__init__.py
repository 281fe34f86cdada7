"""The family of point clouds: ``am.points``."""

from anamorph.points.deform import deform, mask_points, rotation_matrix

__all__ = ["deform", "mask_points", "rotation_matrix"]
