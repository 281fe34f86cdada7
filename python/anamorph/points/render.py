"""render: plan x clouds -> clouds, in one launch; with mixing one more, and one for the assignment it may need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from anamorph import _native
from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.core.tensors import as_integers, as_tensor
from anamorph.points import given
from anamorph.points.plan import KEYS, MIX, NUMBERS, Drawer, Plan, check_plan
from anamorph.points.transforms.mix import RSMix


def render(points: Any, plan: Plan, targets: Any = None, attributes: Mapping[str, Any] | None = None) -> Any:
    """The views of a batch of clouds.

    Args:
        points: float32 ``[B, N, 3]`` on the plan's device. Where the plan has a count for each cloud, N is at least the
            largest; what lies behind a cloud's points is not read.
        plan: of :meth:`Recipe.plan`.
        targets: class ids int64 ``[B]``, or class probabilities float ``[B, K]``.
        attributes: what each point has, by its name: tensors ``[B, N]`` or ``[B, N, ...]`` of any dtype. "normals", float32 ``[B,
            N, 3]``, turn with the cloud, keep length 1 and are carried by deformations; all others (colours, part labels) go
            where their point goes. Points that were added have 0, integer labels -1.

    Returns:
        The views, float32 ``[B, M, 3]``; M is the recipe's ``num_points`` or the most points that a view may have, and points
        behind ``plan.counts`` are 0. With ``attributes`` a dict in their place: "points", each attribute, and "origin", int64
        ``[B, M]``: which point of the cloud each is, -1 for those that were added or are not there (with a mixing recipe N + k is
        point k of the partner). With ``targets`` (views, targets): as given, or soft ``[B, K]`` float32 of a recipe with
        ``num_classes``, or ``(y_a, y_b, lam)`` with ``labels="pairs"``.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected. That coordinates are finite is
            only seen where they lie on the host.
    """
    check_plan(plan)
    recipe, rows = plan.recipe, plan._rows
    points = _clouds(points, plan)
    batch, n = points.shape[:2]
    low, high = (plan.count,) * 2 if isinstance(plan.count, int) else (_least(plan.count, n), n)
    _, most, way = recipe.counts(low, high)
    given_attributes = {} if attributes is None else _attributes(attributes, points)
    normals = given_attributes.get("normals")
    out = torch.empty((batch, most, 3), dtype=torch.float32, device=points.device)
    out_normals = None if normals is None else torch.empty_like(out)
    origin = None if attributes is None else torch.empty((batch, most), dtype=torch.int64, device=points.device)
    way = (max(way, n) + 3) // 4 * 4
    room = torch.empty(batch * 16 * way, dtype=torch.float32, device=points.device) if rows.is_cuda else None
    _native.points.render(rows=rows, points=points, normals=normals, out=out, out_normals=out_normals, origin=origin, room=room,
                          most=way, threads=torch.get_num_threads())
    views = {"points": out}
    if origin is not None:
        for name, values in given_attributes.items():
            views[name] = out_normals if name == "normals" and out_normals is not None else _gathered(values, origin)
        views["origin"] = origin
    share = partner = None
    if recipe._mixes:
        views, partner, share = _mixed(views, plan, n)
    result = views["points"] if attributes is None else views
    return result if targets is None else (result, _targets(targets, recipe, partner, share, points))


def _least(counts: Tensor, n: int) -> int:
    """What is known of it without waiting for a device."""
    return int(counts.min()) if counts.device.type == "cpu" else n


def _clouds(points: Any, plan: Plan) -> Tensor:
    ragged = isinstance(plan.count, Tensor)
    points = as_tensor("points", points)
    if ragged and points.device.type == "cpu" and points.dim() == 3 and points.shape[2] == 3 and points.is_floating_point():
        there = torch.arange(points.shape[1], device="cpu")[None] < plan.count.cpu()[:, None]  # type: ignore[union-attr]
        if there.shape[0] == points.shape[0]:
            given.finite("points", torch.where(there[..., None], points.detach(), 0))
            points = torch.where(there[..., None], points, 0) if not bool(torch.isfinite(points.detach()).all()) else points
    points = given.clouds("points", points)
    if len(points) != len(plan):
        raise ShapeError(f"points: expected {len(plan)} clouds as in the plan, given {len(points)}")
    if points.device != plan.device:
        raise DeviceError(f"points: expected on {plan.device} like the plan, given on {points.device}")
    if not ragged and points.shape[1] != plan.count:
        raise ShapeError(f"points: expected clouds of {plan.count} points as in the plan, given {points.shape[1]}")
    if ragged and plan.device.type == "cpu" and points.shape[1] < int(plan.count.max()):  # type: ignore[union-attr]
        raise ShapeError(f"points: expected room for the plan's {int(plan.count.max())} points, given {points.shape[1]}")  # type: ignore[union-attr]
    return points


def _attributes(attributes: Any, points: Tensor) -> dict[str, Tensor]:
    if not isinstance(attributes, Mapping):
        raise ArgumentError(f"attributes: expected a dict of tensors, given {type(attributes).__name__}")
    found = {}
    for name, value in attributes.items():
        where = f"attributes[{name!r}]"
        if not isinstance(name, str) or name in ("points", "origin"):
            checks.wrong("attributes", "names other than 'points' and 'origin'", name)
        t = as_tensor(where, value).detach()
        if t.shape[:2] != points.shape[:2]:
            raise ShapeError(f"{where}: expected [{points.shape[0]}, {points.shape[1]}, ...] like the points, given "
                             f"{list(t.shape)}")
        if t.device != points.device:
            raise DeviceError(f"{where}: expected on {points.device} like the points, given on {t.device}")
        if name == "normals":
            if t.shape != points.shape:
                raise ShapeError(f"{where}: expected {list(points.shape)}, given {list(t.shape)}")
            if t.dtype != torch.float32:
                raise DtypeError(f"{where}: expected float32, given {str(t.dtype).removeprefix('torch.')}")
            t = t.contiguous()
        found[name] = t
    return found


def _gathered(values: Tensor, origin: Tensor) -> Tensor:
    """The values of the points that a view's points are; of none 0, or -1 of integers that have a sign."""
    at = origin.clamp(min=0).reshape(*origin.shape, *[1] * (values.dim() - 2)).expand(*origin.shape, *values.shape[2:])
    bits = _BITS.get(values.dtype)  # of what torch cannot gather
    if bits is not None:
        return _gathered(values.view(bits), origin).masked_fill(_none(values, origin), 0).view(values.dtype)
    signed = values.dtype in (torch.int8, torch.int16, torch.int32, torch.int64)
    return values.gather(1, at).masked_fill(_none(values, origin), -1 if signed else 0)


def _none(values: Tensor, origin: Tensor) -> Tensor:
    return (origin < 0).reshape(*origin.shape, *[1] * (values.dim() - 2))


_BITS = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64,
         **{t: torch.uint8 for t in (torch.float8_e4m3fn, torch.float8_e5m2)}}


def _mixed(views: dict[str, Tensor], plan: Plan, n: int) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    from anamorph.points.mix_clouds import mix_clouds

    rows, partner = plan._rows, plan.partner
    numbers = rows[:, NUMBERS:NUMBERS + 2].contiguous().view(torch.float32)
    words = rows[:, KEYS:KEYS + 4].to(torch.int64) & 0xFFFFFFFF
    points, where, share = mix_clouds(views["points"], partner, rows[:, MIX].contiguous(), numbers, words,
                                       not isinstance(plan.recipe.transforms[-1], RSMix))
    mixed = {"points": points}
    m = points.shape[1]
    for name, values in views.items():
        if name == "points":
            continue
        both = torch.cat([values, values[partner] + n * (values[partner] >= 0) if name == "origin" else values[partner]], 1)
        at = where.reshape(*where.shape, *[1] * (values.dim() - 2)).expand(-1, m, *values.shape[2:])
        mixed[name] = both.gather(1, at)
    return mixed, partner, share


def _targets(targets: Any, recipe: Drawer, partner: Tensor | None, share: Tensor | None, points: Tensor) -> Any:
    t = as_tensor("targets", targets).detach()
    if t.dim() not in (1, 2) or len(t) != len(points):
        raise ShapeError(f"targets: expected class ids [{len(points)}] or probabilities [{len(points)}, K], given "
                         f"{list(t.shape)}")
    if t.device != points.device:
        raise DeviceError(f"targets: expected on {points.device} like the points, given on {t.device}")
    if recipe.labels == "pairs":
        ids = as_integers("targets", t)
        lam = torch.ones(len(t), device=t.device) if share is None else 1 - share
        return ids, ids if partner is None else ids[partner], lam
    if recipe.num_classes is None:
        if recipe._mixes or recipe.label_smoothing:
            what = "mixes" if recipe._mixes else "smooths labels"
            raise ArgumentError("targets: expected a recipe with num_classes, for soft targets, or with labels='pairs', given "
                                f"one that {what}, with num_classes=None and labels='soft'")
        if t.dim() == 2 and not t.is_floating_point():  # labels of points would come back in another order than the points
            raise DtypeError(f"targets: expected class ids [{len(t)}] or floats [{len(t)}, K], given {t.dtype} {list(t.shape)}; "
                             "labels of points go in attributes=")
        return t
    soft = soft_targets(t, recipe.num_classes, recipe.label_smoothing)
    return soft if share is None or partner is None else torch.lerp(soft, soft[partner], share[:, None])


def soft_targets(t: Tensor, num_classes: int, smoothing: float = 0.0) -> Tensor:
    """Class ids ``[B]`` or probabilities ``[B, K]`` as float32 ``[B, K]``, smoothed."""
    if t.dim() == 1:
        ids = as_integers("targets", t)
        if ids.device.type == "cpu" and not bool(((ids >= 0) & (ids < num_classes)).all()):
            raise ArgumentError(f"targets: expected class ids from 0 to {num_classes - 1}, given {int(ids.min())} to "
                                f"{int(ids.max())}")
        soft = torch.nn.functional.one_hot(ids, num_classes).to(torch.float32)
    else:
        if not t.dtype.is_floating_point or t.shape[1] != num_classes:
            raise (ShapeError if t.dtype.is_floating_point else DtypeError)(
                f"targets: expected float [B, {num_classes}] or class ids [B], given {t.dtype} {list(t.shape)}")
        soft = t.to(torch.float32)
    return soft * (1 - smoothing) + smoothing / num_classes if smoothing else soft
