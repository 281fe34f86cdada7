"""The family of point clouds, ``am.points``: transforms, the recipe that compiles them, the plan it draws and the call that
renders it."""

from anamorph.points import corruptions, robustness, skeleton, transforms
from anamorph.points.assign import assign
from anamorph.points.corruptions import corrupt
from anamorph.points.deform import deform, mask_points, rotation_matrix
from anamorph.points.files import read_cloud
from anamorph.points.neighbours import ball_query, farthest_point_sample, group, knn
from anamorph.points.patch import patch_augment
from anamorph.points.plan import Plan
from anamorph.points.recipe import Recipe
from anamorph.points.render import render
from anamorph.points.transforms import *  # noqa: F403

__all__ = ["Plan", "Recipe", "assign", "ball_query", "corrupt", "corruptions", "deform", "farthest_point_sample", "group",
           "knn", "mask_points", "patch_augment", "read_cloud", "render", "robustness", "rotation_matrix", "skeleton"]
__all__ += transforms.__all__
