"""Clouds bent by anchors with affine maps of their own, and clouds with points masked out: values and gradients in one native
pass each, on a CPU and on a GPU, in float32 and float64."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from anamorph import _native
from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError

MOST_ANCHORS = 64  # csrc/points/deform.h
_CHUNK, _SUMS = 1024, 16  # csrc/points/deform_args.h: DEFORM_CHUNK, DEFORM_SUMS


def rotation_matrix(angles: Tensor, compat: bool = False) -> Tensor:
    """Rotations ``Rz @ Ry @ Rx``, by torch's operators.

    Args:
        angles: floats ``[..., 3]``, radians about x, y and z.
        compat: the matrix of PointWOLF's published code, which AdaptPoint took over: its middle entry has ``cos z cos y`` in the
            place of ``cos z cos x``, so it is no rotation. Within 10 degrees ``|R @ R.T - I|`` reaches 0.03 and the determinant
            lies between 0.985 and 1.015.

    Returns:
        ``[..., 3, 3]``. Clouds are rows: ``points @ R``.

    Raises:
        ArgumentError, DtypeError, ShapeError: what was given and what is expected.
    """
    if not isinstance(angles, Tensor):
        checks.wrong("angles", "a tensor [..., 3]", angles)
    if not angles.is_floating_point():
        raise DtypeError(f"angles: expected floats [..., 3], given {angles.dtype}")
    if angles.dim() < 1 or angles.shape[-1] != 3:
        raise ShapeError(f"angles: expected [..., 3], given {list(angles.shape)}")
    if not isinstance(compat, bool):
        checks.wrong("compat", "True or False", compat)
    sx, sy, sz = angles.sin().unbind(-1)
    cx, cy, cz = angles.cos().unbind(-1)
    middle = sz * sy * sx + cz * (cy if compat else cx)
    entries = [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx,
               sz * cy, middle, sz * sy * cx - cz * sx,
               -sy, cy * sx, cy * cx]
    return torch.stack(entries, -1).unflatten(-1, (3, 3))


def deform(points: Tensor, anchors: Tensor, rotation: Tensor, scale: Tensor, shift: Tensor, sigma: float | Tensor,
           axes: Tensor | None = None, counts: Tensor | None = None) -> Tensor:
    """Clouds bent by anchors, as in PointWOLF (Kim et al., ICCV 2021): each anchor has an affine map, and a point goes where the
    maps say, weighed by how near their anchors are.

        q_j = (p - a_j) @ R_j @ diag(scale_j) + shift_j + a_j        R_j = Rz @ Ry @ Rx
        w_j = exp(-|axes * (p - a_j)|^2 / (2 sigma^2))
        out = sum w_j q_j / sum w_j

    The smallest squared distance is taken off before ``exp``, so a small ``sigma`` gives no 0/0. Nothing is normalised
    afterwards. Values are the same bits on a CPU, at every instruction set, and on a GPU; gradients are added up in an order that
    does not depend on threads, so two runs on one device give the same bits.

    Gradients reach points, anchors, rotation, scale, shift and sigma. Anchors that were picked from the points are
    ``points[index]`` to autograd, as usual.

    Args:
        points: float32 or float64 ``[B, N, 3]``.
        anchors: ``[B, A, 3]``, A from 1 to 64; the dtype and device of the points, as are the next three.
        rotation: ``[B, A, 3]``, radians about x, y and z.
        scale: ``[B, A, 3]``.
        shift: ``[B, A, 3]``.
        sigma: the width of the weights, above 0: a number, or a tensor ``[B]``.
        axes: ``[B, 3]`` of 0 and 1, or bool: the axes along which distances are measured. All of them by default.
        counts: int64 ``[B]``: how many of the N points of each cloud are there. The others come out as zeros, without gradient.

    Returns:
        ``[B, N, 3]``.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected. On a GPU values are not looked
            at: what is not finite there gives what is not finite.
    """
    matrix = _matrix(points, anchors, rotation, scale, shift)
    return _bent(points, anchors, matrix, shift, sigma, axes, counts)


def _matrix(points: Tensor, anchors: Tensor, rotation: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Anchors' maps, once it is clear that everything fits."""
    _cloud(points)
    many = _like("anchors", anchors, points, (len(points), None, 3), "[B, A, 3]").shape[1]
    if not 1 <= many <= MOST_ANCHORS:
        raise ShapeError(f"anchors: expected 1 to {MOST_ANCHORS} for each cloud, given {list(anchors.shape)}")
    for name, t in (("rotation", rotation), ("scale", scale), ("shift", shift)):
        _like(name, t, points, (len(points), many, 3), "[B, A, 3] as the anchors")
    return rotation_matrix(rotation) * scale[:, :, None, :]


def _bent(points: Tensor, anchors: Tensor, matrix: Tensor, shift: Tensor, sigma: float | Tensor, axes: Tensor | None,
          counts: Tensor | None) -> Tensor:
    batch = len(points)
    if isinstance(sigma, Tensor) and sigma.dim():
        _like("sigma", sigma, points, (batch,), "a number, or [B]")
    else:
        width = checks.number("sigma", sigma)
        if width <= 0:
            checks.wrong("sigma", "a number above 0", sigma)
        sigma = points.new_full((batch,), width)
    if axes is not None:
        if not isinstance(axes, Tensor):
            checks.wrong("axes", "a tensor [B, 3] of 0 and 1", axes)
        axes = _like("axes", axes.to(points.dtype), points, (batch, 3), "[B, 3]").detach()
    if counts is not None:
        if not isinstance(counts, Tensor) or counts.dtype != torch.int64:
            raise DtypeError(f"counts: expected int64 [B], given {getattr(counts, 'dtype', counts)!r}")
        _fits("counts", counts, points, (batch,), "[B]")
    return torch.ops.anamorph.deform(points, anchors, matrix, shift, sigma, axes, counts)


def mask_points(points: Tensor, keep: Tensor) -> Tensor:
    """Points times what is kept of them; a point with ``keep`` 0 is exactly 0, whatever it was. N stays, as in AdaptPoint (Wang
    et al., ICCV 2023): dropped points sit at the origin.

    Gradients reach the points, and ``keep`` also where it is 0, so a straight-through estimator learns from dropped points too.

    Args:
        points: float32 or float64 ``[B, N, 3]``.
        keep: ``[B, N]``, bool or floats of the points' dtype.

    Returns:
        ``[B, N, 3]``.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected. On a GPU values are not looked
        at.
    """
    _cloud(points)
    if isinstance(keep, Tensor) and keep.dtype == torch.bool:
        keep = keep.to(points.dtype)
    _like("keep", keep, points, tuple(points.shape[:2]), "[B, N] as the points")
    return torch.ops.anamorph.mask_points(points, keep)


def _cloud(points: Any) -> None:
    if not isinstance(points, Tensor):
        raise ArgumentError(f"points: expected a tensor [B, N, 3], given {type(points).__name__}")
    if points.dtype not in (torch.float32, torch.float64):
        raise DtypeError(f"points: expected float32 or float64 [B, N, 3], given {points.dtype}")
    if points.dim() != 3 or points.shape[2] != 3 or 0 in points.shape:
        raise ShapeError(f"points: expected [B, N, 3] with nothing empty, given {list(points.shape)}")


def _like(name: str, t: Any, points: Tensor, shape: tuple[int | None, ...], form: str) -> Tensor:
    """A tensor of the points' dtype and device; None in the shape stands for any length."""
    if not isinstance(t, Tensor):
        raise ArgumentError(f"{name}: expected a tensor {form}, given {type(t).__name__}")
    if t.dtype != points.dtype:
        raise DtypeError(f"{name}: expected {points.dtype} as the points, given {t.dtype}")
    _fits(name, t, points, shape, form)
    return t


def _fits(name: str, t: Tensor, points: Tensor, shape: tuple[int | None, ...], form: str) -> None:
    if t.device != points.device:
        raise DeviceError(f"{name}: expected {points.device} as the points, given {t.device}")
    if t.dim() != len(shape) or any(side not in (None, given) for side, given in zip(shape, t.shape)):
        raise ShapeError(f"{name}: expected {form}, for points {list(points.shape)}, given {list(t.shape)}")


def _look(tensors: dict[str, Tensor]) -> None:
    """Values, where they lie in the host's memory."""
    for name, t in tensors.items():
        if t.device.type == "cpu" and not torch.isfinite(t).all():
            raise ArgumentError(f"{name}: expected finite numbers, given NaN or infinity")


# ---- the operators, as torch.compile and autograd see them ----


@torch.library.custom_op("anamorph::deform", mutates_args=(),
                         schema="(Tensor points, Tensor at, Tensor matrix, Tensor shift, Tensor sigma, Tensor? axes, "
                                "Tensor? counts) -> Tensor")
def _deform(points: Tensor, at: Tensor, matrix: Tensor, shift: Tensor, sigma: Tensor, axes: Tensor | None,
            counts: Tensor | None) -> Tensor:
    _look({"points": points, "anchors": at, "rotation and scale": matrix, "shift": shift, "sigma": sigma})
    if sigma.device.type == "cpu" and not (sigma > 0).all():
        raise ArgumentError("sigma: expected numbers above 0, given one that is not")
    if counts is not None and counts.device.type == "cpu" and not ((counts >= 0) & (counts <= points.shape[1])).all():
        raise ArgumentError(f"counts: expected 0 to {points.shape[1]}, given {counts.tolist()}")
    out = torch.empty_like(points, memory_format=torch.contiguous_format)
    _native.points.deform(**_given(points, at, matrix, shift, sigma, axes, counts), out=out, threads=torch.get_num_threads())
    return out


def _given(points: Tensor, at: Tensor, matrix: Tensor, shift: Tensor, sigma: Tensor, axes: Tensor | None,
           counts: Tensor | None) -> dict[str, Tensor | None]:
    given = {"points": points, "at": at, "matrix": matrix, "shift": shift, "falloff": 0.5 / sigma.square(), "axes": axes,
             "counts": counts}
    return {name: None if t is None else t.detach().contiguous() for name, t in given.items()}


@_deform.register_fake
def _(points: Tensor, at: Tensor, matrix: Tensor, shift: Tensor, sigma: Tensor, axes: Tensor | None,
      counts: Tensor | None) -> Tensor:
    return torch.empty_like(points, memory_format=torch.contiguous_format)


@torch.library.custom_op("anamorph::deform_grad", mutates_args=(),
                         schema="(Tensor points, Tensor at, Tensor matrix, Tensor shift, Tensor sigma, Tensor? axes, "
                                "Tensor? counts, Tensor grad) -> (Tensor, Tensor, Tensor, Tensor, Tensor)")
def _deform_grad(points: Tensor, at: Tensor, matrix: Tensor, shift: Tensor, sigma: Tensor, axes: Tensor | None,
                 counts: Tensor | None, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    grads = _empty(points, at, matrix, shift, sigma)
    sums = points.new_empty((len(points), -(-points.shape[1] // _CHUNK), at.shape[1], _SUMS))
    names = ("grad_points", "grad_at", "grad_matrix", "grad_shift", "grad_falloff")
    _native.points.deform_grad(**_given(points, at, matrix, shift, sigma, axes, counts), grad=grad.contiguous(), sums=sums,
                               **dict(zip(names, grads)), threads=torch.get_num_threads())
    # Where the falloff is so large that the kernels hold it at their bound, nothing depends on sigma.
    grad_sigma = torch.where(grads[4] == 0, grads[4], -grads[4] / (sigma * sigma * sigma))
    return grads[0], grads[1], grads[2], grads[3], grad_sigma


def _empty(*tensors: Tensor) -> list[Tensor]:
    return [torch.empty_like(t, memory_format=torch.contiguous_format) for t in tensors]


@_deform_grad.register_fake
def _(points: Tensor, at: Tensor, matrix: Tensor, shift: Tensor, sigma: Tensor, axes: Tensor | None, counts: Tensor | None,
      grad: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    a, b, c, d, e = _empty(points, at, matrix, shift, sigma)
    return a, b, c, d, e


def _save_deform(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _deform_back(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    grads = torch.ops.anamorph.deform_grad(*ctx.saved_tensors, grad)
    return *grads, None, None


_deform.register_autograd(_deform_back, setup_context=_save_deform)


@torch.library.custom_op("anamorph::mask_points", mutates_args=(), schema="(Tensor points, Tensor keep) -> Tensor")
def _mask(points: Tensor, keep: Tensor) -> Tensor:
    _look({"keep": keep})
    out = torch.empty_like(points, memory_format=torch.contiguous_format)
    _native.points.mask_points(points=points.detach().contiguous(), keep=keep.detach().contiguous(), out=out,
                               threads=torch.get_num_threads())
    return out


@_mask.register_fake
def _(points: Tensor, keep: Tensor) -> Tensor:
    return torch.empty_like(points, memory_format=torch.contiguous_format)


@torch.library.custom_op("anamorph::mask_points_grad", mutates_args=(),
                         schema="(Tensor points, Tensor keep, Tensor grad) -> (Tensor, Tensor)")
def _mask_grad(points: Tensor, keep: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    grad_points, grad_keep = _empty(points, keep)
    _native.points.mask_grad(points=points.detach().contiguous(), keep=keep.detach().contiguous(), grad=grad.contiguous(),
                             grad_points=grad_points, grad_keep=grad_keep, threads=torch.get_num_threads())
    return grad_points, grad_keep


@_mask_grad.register_fake
def _(points: Tensor, keep: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    a, b = _empty(points, keep)
    return a, b


def _save_mask(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _mask_back(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
    points, keep = torch.ops.anamorph.mask_points_grad(*ctx.saved_tensors, grad)
    return points, keep


_mask.register_autograd(_mask_back, setup_context=_save_mask)
