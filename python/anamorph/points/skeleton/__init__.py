"""Skeletons: poses as bones, changes of them, recipes and plans, cameras, motion files: ``am.points.skeleton``."""

from __future__ import annotations

import torch

from anamorph.points.skeleton.bones import bones, directions, lengths, pose_of
from anamorph.points.skeleton.bvh import read_bvh
from anamorph.points.skeleton.camera import global_position_alignment, inside, project, screen, unscreen
from anamorph.points.skeleton.change import change_angles, change_lengths, flip, rotate, translate, turn_bones
from anamorph.points.skeleton.draw import permutation
from anamorph.points.skeleton.recipe import SkeletonPlan, SkeletonRecipe, render
from anamorph.points.skeleton.steps import BoneAngle, BoneLength, Flip, Rigid
from anamorph.points.skeleton.tree import HUMAN36M_16, HUMAN36M_17, MPI_INF_3DHP, MPI_INF_3DHP_JOINTS, Tree

__all__ = [
    "HUMAN36M_16",
    "HUMAN36M_17",
    "MPI_INF_3DHP",
    "MPI_INF_3DHP_JOINTS",
    "BoneAngle",
    "BoneLength",
    "Flip",
    "Rigid",
    "SkeletonPlan",
    "SkeletonRecipe",
    "Tree",
    "bones",
    "change_angles",
    "change_lengths",
    "directions",
    "flip",
    "global_position_alignment",
    "inside",
    "lengths",
    "permutation",
    "pose_of",
    "project",
    "read_bvh",
    "render",
    "rotate",
    "screen",
    "translate",
    "turn_bones",
    "unscreen",
]

# Plans and recipes are made of these alone, so torch.load reads them with its default weights_only=True.
torch.serialization.add_safe_globals([BoneAngle, BoneLength, Flip, Rigid, SkeletonPlan, SkeletonRecipe, Tree])
