"""The native functions for point clouds, ``_native.points``: which tensors each of them writes."""

import torch

from anamorph import _native
from anamorph.points.neighbours import curve_order

_native_points = _native.points
WRITTEN = {
    "assign": ("permutation", "cost", "room"),
    "ball": ("index",),
    "deform": ("out",),
    "deform_grad": ("sums", "grad_points", "grad_at", "grad_matrix", "grad_shift", "grad_falloff"),
    "mask_points": ("out",),
    "mask_grad": ("grad_points", "grad_keep"),
    "farthest": ("out", "exact", "rough", "placed"),
    "nearest": ("distance", "index"),
    "mix": ("out", "origin", "share", "room"),
    "plan": ("rows",),
    "render": ("out", "out_normals", "origin", "room"),
}


def prepare(name, given):
    """The public calls make room where the tensors are a GPU's."""
    if name == "mix":
        given["room"] = torch.empty(given["points"].shape[:2], dtype=torch.int32)
    if name == "farthest" and given["points"].shape[1] > _native_points.FARTHEST_HELD:
        given["order"] = curve_order(given["points"], given["counts"])
        given["placed"] = torch.empty(*given["points"].shape[:2], 4)
    if name == "render":
        given["room"] = torch.empty(16 * len(given["rows"]) * given["most"])
