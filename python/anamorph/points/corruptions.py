"""ModelNet-C's seven corruptions of point clouds (Ren et al., "Benchmarking and analyzing point cloud classification under
corruptions", ICML 2022): each a :class:`Recipe` for a severity, so a corruption has a plan, replays, and runs where the clouds
are.

    view = am.points.corrupt(points, "dropout_local", severity=3, seed=0)
    for name, severity, recipe in am.points.corruptions.suite(): ...

Clouds are centred and lie in the unit ball, mostly of 1,024 points. Rules and counts are those of the published code, also where
the paper or the project's page say something else (``dropout_global`` at level 4 leaves 384 of 1,024), with one difference: as
many points are added as the table says, also to clouds that have fewer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.core.errors import ShapeError
from anamorph.core.tensors import as_integers, as_tensor
from anamorph.points import given
from anamorph.points.recipe import Recipe
from anamorph.points.render import render
from anamorph.points.transforms import AddGlobal, AddLocal, DropLocal, Dropout, Jitter, Normalize, RotateXYZ, Scale

SEVERITIES = (1, 2, 3, 4, 5)
NAMES = ("scale", "jitter", "rotate", "dropout_global", "dropout_local", "add_global", "add_local")
_SCALE = (1.6, 1.7, 1.8, 1.9, 2.0)
_DROPPED = (0.25, 0.375, 0.5, 0.625, 0.75)
_DROPPED_LOCALLY = 100  # points, by each level


def corruption(name: str, severity: int) -> Recipe:
    """The recipe of one corruption.

    Args:
        name: one of ``NAMES``:

            ``scale``: each axis by a factor uniform in (1 / s, s), s = 1.6, 1.7, 1.8, 1.9, 2, then to the unit sphere;
            ``jitter``: normal noise of deviation .01 l;
            ``rotate``: p Rz Ry Rx by angles uniform in (-6 l, 6 l) degrees;
            ``dropout_global``: of N points 3/4, 5/8, 1/2, 3/8, 1/4 stay, in a random order;
            ``dropout_local``: 100 l points go, in 1 to 7 clusters (:class:`DropLocal`);
            ``add_global``: 10 l points uniform in the unit ball are added at the end;
            ``add_local``: 100 l points in 1 to 7 clusters are added at the end (:class:`AddLocal`).
        severity: l, 1 to 5.
    """
    name = checks.choice("name", name, NAMES)
    level = checks.whole("severity", severity, 1, 5)
    if name == "scale":
        s = _SCALE[level - 1]
        return Recipe([Scale(1 / s, s, per_axis=True), Normalize()])
    return Recipe([{"jitter": Jitter(0.01 * level, None), "rotate": RotateXYZ(6 * level),
                    "dropout_global": Dropout(_DROPPED[level - 1]), "dropout_local": DropLocal(_DROPPED_LOCALLY * level),
                    "add_global": AddGlobal(10 * level), "add_local": AddLocal(100 * level)}[name]])


def corrupt(points: Any, name: str, severity: int = 3, seed: int = 0, index: Any = None) -> Tensor:
    """Clouds corrupted.

    Args:
        points: float32 ``[B, N, 3]``, or one cloud ``[N, 3]``, in the unit ball.
        name, severity: see :func:`anamorph.points.corruptions.corruption`.
        seed: 0 to 2**64 - 1.
        index: int64 ``[B]``, the sample ids, which the numbers are a function of; by default 0 to B - 1.

    Returns:
        float32 ``[B, M, 3]`` (or ``[M, 3]``) where they lie: M is N; of ``dropout_global`` 768, 640, 512, 384, 256 of 1,024; of
        ``dropout_local`` N - 100 l; of ``add_global`` N + 10 l; of ``add_local`` N + 100 l.

    Raises:
        ArgumentError, ShapeError, DtypeError: what was given and what is expected.
    """
    one = as_tensor("points", points)
    batch = given.clouds("points", one[None] if one.dim() == 2 else one)
    recipe = corruption(name, severity)
    dropped = _DROPPED_LOCALLY * int(severity) if name == "dropout_local" else 0
    if batch.shape[1] <= dropped:
        raise ShapeError(f"points: expected clouds of more than {dropped} points for 'dropout_local' of severity {severity}, "
                         f"which leaves out {dropped}, given {batch.shape[1]}")
    ids = torch.arange(len(batch), device=batch.device) if index is None else as_integers("index", index)
    if ids.shape != (len(batch),):
        raise ShapeError(f"index: expected {len(batch)} sample ids, one for each cloud, given shape {list(ids.shape)}")
    plan = recipe.plan(ids, count=batch.shape[1], seed=seed, device=batch.device)
    out: Tensor = render(batch, plan)
    return out[0] if one.dim() == 2 else out


def suite() -> Iterator[tuple[str, int, Recipe]]:
    """All 35, as (name, severity, recipe)."""
    for name in NAMES:
        for severity in SEVERITIES:
            yield name, severity, corruption(name, severity)
