"""Plan: what happens to one batch of clouds, a row of 32-bit words for each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.core.errors import ArgumentError
from anamorph.core.tensors import as_device
from anamorph.points.transforms.base import Counts, Transform

# csrc/points/program.h
FROM, COUNT, STEPS, USED, MIX, PARTNER, PARTNER_ID, NUMBERS, KEYS, HEADER = 0, 1, 2, 3, 4, 5, 6, 8, 10, 14
MIXES = (None, "PointMixup", "PointCutMix R", "PointCutMix K", "RSMix", "RSMix neighbours")


class Drawer(Protocol):
    """What a plan and its render need of the :class:`anamorph.points.Recipe` that has drawn it."""

    transforms: tuple[Transform, ...]
    num_classes: int | None
    label_smoothing: float
    labels: str
    _mixes: bool

    def counts(self, least: int, most: int | None = None) -> Counts: ...
    def plan(self, index: Any, *, count: Any = None, seed: int = 0, epoch: int | Tensor = 0, view: int = 0,
             device: Any = None) -> Plan: ...


@dataclass(frozen=True, eq=False)
class Plan:
    """What :meth:`Recipe.plan` has drawn. ``len(plan)`` is B; ``plan[i]`` says in words what happens to cloud i; it can be
    pickled, and is then drawn again from what it is a function of.

    Attributes:
        recipe, index, seed, epoch, view, count: what it is a function of.
    """

    recipe: Drawer
    _rows: Tensor  # int32 [B, words]
    index: Tensor
    seed: int
    epoch: int | Tensor
    view: int
    count: int | Tensor

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def device(self) -> torch.device:
        return self._rows.device

    @property
    def counts(self) -> Tensor:
        """int64 ``[B]``: how many points each view has."""
        return self._rows[:, COUNT].to(torch.int64)

    @property
    def partner(self) -> Tensor:
        """int64 ``[B]``: the row of the batch that each is mixed with; its own where it is not mixed."""
        own = torch.arange(len(self), device=self.device)
        return torch.where(self._rows[:, MIX] == 0, own, self._rows[:, PARTNER].to(torch.int64))

    def to(self, device: Any) -> Plan:
        """The same plan on another device."""
        where = as_device(device)
        epoch, count = (v.to(where) if isinstance(v, Tensor) else v for v in (self.epoch, self.count))
        return Plan(self.recipe, self._rows.to(where), self.index.to(where), self.seed, epoch, self.view, count)

    def __getitem__(self, i: Any) -> Any:
        """What happens to cloud i: its numbers of points before and after, its steps, and with whom it is mixed; of a slice a
        list."""
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        i = checks.whole("plan", i, of=" or a slice")
        if not -len(self) <= i < len(self):
            raise IndexError(f"plan: expected a row below {len(self)}, given {i}")
        row = self._rows[i].cpu()
        found: dict[str, Any] = {"sample": int(self.index[i]), "count": int(row[FROM]), "view count": int(row[COUNT]),
                                 "steps": list(_steps(row))}
        if row[MIX]:
            number = float(row[NUMBERS:NUMBERS + 1].view(torch.float32))
            low, high = row[PARTNER_ID:PARTNER_ID + 2].tolist()
            partner = high << 32 | low & 0xFFFFFFFF
            found["mix"] = {"rule": MIXES[int(row[MIX])], "partner": partner, "number": number}
        return found

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        epoch = "device" if isinstance(self.epoch, Tensor) else self.epoch
        what = "clouds of different sizes"
        if isinstance(self.count, int):
            least, most, _ = self.recipe.counts(self.count)
            what = f"clouds of {self.count} points, views of {most if least == most else f'{least} to {most}'}"
        return f"Plan of {len(self)} samples, {what} (seed {self.seed}, epoch {epoch}, view {self.view}, on {self.device})"

    def __reduce__(self) -> tuple[Any, ...]:
        epoch = int(self.epoch) if isinstance(self.epoch, Tensor) else self.epoch
        count = self.count.cpu() if isinstance(self.count, Tensor) else self.count
        return _drawn, (self.recipe, self.index.cpu(), count, self.seed, epoch, self.view)


def _drawn(recipe: Drawer, index: Tensor, count: Any, seed: int, epoch: int, view: int) -> Plan:
    return recipe.plan(index, count=count, seed=seed, epoch=epoch, view=view)


def _steps(row: Tensor) -> Iterator[dict[str, Any]]:
    """The steps of a row, by csrc/points/program.h."""
    at = HEADER
    for _ in range(int(row[STEPS])):
        op, words = (int(w) for w in row[at:at + 2])
        whole = row[at:at + words].tolist()
        floats = row[at:at + words].view(torch.float32).tolist()
        yield _STEPS[op](whole, floats)
        at += words


def _affine(w: list[int], f: list[float]) -> dict[str, Any]:
    return {"step": "affine", "matrix": [f[2:5], f[5:8], f[8:11]], "shift": f[11:14]}


def _wolf(w: list[int], f: list[float]) -> dict[str, Any]:
    each = [f[6 + 12 * k:18 + 12 * k] for k in range(w[5])]
    return {"step": "deformation", "start": w[2], "sigma": (2 * f[3]) ** -0.5,
            "axes": "".join("xyz"[k] for k in range(3) if w[4] >> k & 1),
            "matrices": [[a[0:3], a[3:6], a[6:9]] for a in each], "shifts": [a[9:12] for a in each]}


_STEPS: dict[int, Any] = {
    1: _affine,
    2: lambda w, f: {"step": "jitter", "sigma": f[4], "clip": f[5] or None},
    3: lambda w, f: {"step": "normalize", "center": bool(w[2] & 8), "scale": bool(w[2] & 16)},
    4: _wolf,
    5: lambda w, f: {"step": "keep", "points": w[2]},
    6: lambda w, f: {"step": "farthest", "points": w[2], "start": w[3]},
    7: lambda w, f: {"step": "to first", "share": (w[4] & 0xFFFFFFFF) / 2**32},
    8: lambda w, f: {"step": "drop local", "points": w[4:4 + 2 * w[2]:2]},
    9: lambda w, f: {"step": "add global", "points": w[2]},
    10: lambda w, f: {"step": "add local", "points": w[7:7 + 2 * w[5]:2], "sigma": f[6:6 + 2 * w[5]:2]},
}


def check_plan(plan: Any) -> Plan:
    if not isinstance(plan, Plan):
        raise ArgumentError(f"plan: expected a Plan of anamorph.points, given {checks.kind(plan)}")
    return plan
