"""Recipe: what may happen to a cloud. Compiled once; :meth:`Recipe.plan` then costs one native call a batch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from anamorph import _native
from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.core.move import to_device
from anamorph.core.tensors import as_device, as_integers, as_tensor
from anamorph.points.plan import Plan
from anamorph.points.render import render
from anamorph.points.transforms.base import MAX_POINTS, Counts, Mixer, Transform
from anamorph.points.transforms.compose import MAX_DEPTH, check_list, depth, run
from anamorph.points.transforms.counts import FarthestSample, Resample
from anamorph.points.transforms.mix import RSMix
from anamorph.points.transforms.program import packed

MAX_SLOTS = 64
MAX_EPOCH = 2**32 - 1
MAX_VIEW = 4095


class Recipe:
    """A list of transforms of point clouds with their distributions, done in list order.

    Args:
        transforms: of :mod:`anamorph.points`; a mixing one, if any, last.
        num_points: M, of every view: a cloud that has more when the list is done loses some, one that has fewer repeats some.
            None: as many as the list leaves.
        sample: how it loses them: "random", or "farthest" (farthest point sampling).
        num_classes: K, for soft targets ``[B, K]``. Without it targets stay what they are, in a recipe that neither mixes nor
            smooths.
        label_smoothing: s in [0, 1): 1 - s for the class plus s / K for every class.
        labels: "soft" for targets ``[B, K]`` float32; "pairs" for ``(y_a, y_b, lam)``.

    Raises:
        ArgumentError: a transform or an argument that cannot be.
    """

    def __init__(self, transforms: Sequence[Transform], num_points: int | None = None, sample: str = "random",
                 num_classes: int | None = None, label_smoothing: float = 0.0, labels: str = "soft") -> None:
        self.transforms = check_list("transforms", transforms, mixers=True)
        mixers = [t for t in self.transforms if isinstance(t, Mixer)]
        if len(mixers) > 1 or (mixers and mixers[0] is not self.transforms[-1]):
            raise ArgumentError(f"transforms: expected at most one mixing transform, at the end, given {mixers[0]!r} before "
                                f"{self.transforms[-1]!r}")
        self.num_points = None if num_points is None else checks.whole("num_points", num_points, 1, MAX_POINTS)
        self.sample = checks.choice("sample", sample, ("random", "farthest"))
        self.num_classes = None if num_classes is None else checks.whole("num_classes", num_classes, 1, 2**31 - 1)
        self.label_smoothing = checks.number("label_smoothing", label_smoothing, 0, 1)
        self.labels = checks.choice("labels", labels, ("soft", "pairs"))
        if self.label_smoothing == 1 or (self.label_smoothing and self.labels == "pairs"):
            checks.wrong("label_smoothing", "less than 1, and 0 with labels='pairs', whose loss does it", label_smoothing)
        self._mixes = bool(mixers)
        self._list = list(self.transforms[:len(self.transforms) - len(mixers)])
        if self.num_points is not None:
            self._list.append((FarthestSample if self.sample == "farthest" else Resample)(self.num_points))
        if depth(self.transforms) > MAX_DEPTH - 1:
            raise ArgumentError(f"transforms: expected choices in each other at most {MAX_DEPTH - 1} deep, given more")
        #: The compiled program.
        self.slots = [s for t in [*self._list, *mixers] for s in t.slots()]
        if len(self.slots) > MAX_SLOTS:
            raise ArgumentError(f"transforms: expected at most {MAX_SLOTS} slots, given {len(self.slots)}")
        self._program = packed(self.slots)
        # A map that ends before each transform that is none has words of its own.
        self._row_words = _native.points.HEADER + sum(t.words() + 14 for t in self._leaves(self._list)) + 14

    @staticmethod
    def _leaves(transforms: Sequence[Transform]) -> list[Transform]:
        return [leaf for t in transforms for leaf in (Recipe._leaves(t.transforms) if hasattr(t, "transforms") else [t])]

    def counts(self, least: int, most: int | None = None) -> Counts:
        """How many points a view may have, of clouds of ``least`` to ``most`` (None: ``least``): at least, at most, and at most
        on the way.

        Raises:
            ArgumentError: a transform takes more points than there are.
        """
        most = least if most is None else most
        found = run(self._list, Counts(least, most, most))
        if found.on_the_way > MAX_POINTS:
            checks.wrong("count", f"at most {MAX_POINTS} points at any place of the list", found.on_the_way)
        return found

    def plan(self, index: Any, *, count: Any = None, seed: int = 0, epoch: int | Tensor = 0, view: int = 0,
             device: Any = None) -> Plan:
        """Draw what happens to a batch: a pure function of (recipe, seed, epoch, sample id, view) and of each cloud's number of
        points.

        Args:
            index: the sample ids, int64 ``[B]``: a tensor, an array or a list; the plan keeps a copy. An id may stand there
                several times: each time it gets the same view (but for a partner, whose id is another row's).
            count: how many points the clouds have: a number, or int64 ``[B]`` where they differ. It must be given.
            seed: 0 to 2**64 - 1.
            epoch: 0 to 2**32 - 1; or an int64 tensor of one element on the plan's device, read by the kernel, so that a captured
                CUDA graph replays with the epoch it then holds.
            view: 0 to 4095: which of several views of the same sample.
            device: where the plan is drawn; by default where ``index`` is.

        Returns:
            A :class:`Plan` of B rows. One launch, no synchronisation (counts that lie on a GPU are bounded by the clouds' room,
            and not looked at).

        Raises:
            ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
        """
        if count is None:
            raise ArgumentError("count: expected how many points the clouds have, a number or int64 [B], given none")
        where = None if device is None else as_device(device)
        index = as_integers("index", index, None, where)
        if index.dim() != 1 or len(index) == 0:
            raise ShapeError(f"index: expected sample ids [B] with B >= 1, given shape {list(index.shape)}")
        where = where or index.device
        index = to_device(index.clone(memory_format=torch.contiguous_format), where)
        seed = checks.whole("seed", seed, 0, 2**64 - 1)
        view = checks.whole("view", view, 0, MAX_VIEW)
        epoch = _cell(epoch, where)
        each = None
        if (isinstance(count, Tensor) and count.dim()) or checks.is_sequence(count):
            each = as_integers("count", count, None, where)
            if each.shape != index.shape:
                raise ShapeError(f"count: expected a number, or int64 [{len(index)}], given shape {list(each.shape)}")
            each = to_device(each.clone(memory_format=torch.contiguous_format), where)
            if where.type == "cpu":
                low, high = int(each.min()), int(each.max())
                _check_count(low)
                _check_count(high)
                self.counts(low, high)
        else:
            count = _check_count(count)
            self.counts(count)
        if self._mixes:
            self._check_mixing(each, count)
        rows = torch.empty((len(index), self._row_words), dtype=torch.int32, device=where)
        _native.points.plan(slots=self._program, rows=rows, index=index, seed=seed, epoch=epoch, view=view,
                            count=0 if each is not None else count, counts=each, threads=torch.get_num_threads())
        return Plan(self, rows, index, seed, epoch, view, count if each is None else each)

    def _check_mixing(self, each: Tensor | None, count: Any) -> None:
        most = _native.points.MOST_ASSIGNED
        views = self.num_points or (self.counts(count).most if each is None else 0)
        if not isinstance(self.transforms[-1], RSMix) and views > most:
            raise ArgumentError(f"num_points: expected views of at most {most} points for {type(self.transforms[-1]).__name__}, "
                                "which matches them, given more")
        if self.num_points is not None:
            return
        if each is not None:
            raise ArgumentError("count: expected a recipe with num_points for clouds of different sizes that are mixed, given "
                                "num_points=None")
        least, most, _ = self.counts(count)
        if least != most:
            raise ArgumentError("transforms: expected num_points in a recipe that mixes clouds whose size the draw decides "
                                f"({least} to {most} points)")

    def __call__(self, points: Any, index: int = 0, seed: int = 0, epoch: int = 0) -> Tensor:
        """The view ``[M, 3]`` of one cloud ``[N, 3]``."""
        cloud = as_tensor("points", points)
        if self._mixes:
            raise ArgumentError("points: expected a batch, by plan and render, for a recipe that mixes, given one cloud")
        if cloud.dim() != 2:
            raise ShapeError(f"points: expected one cloud [N, 3], given {list(cloud.shape)}")
        plan = self.plan([index], count=len(cloud), seed=seed, epoch=epoch, device=cloud.device)
        out = render(cloud[None], plan)
        assert isinstance(out, Tensor)
        return out[0, :int(plan.counts[0])]

    @property
    def fingerprint(self) -> int:
        """A 63-bit number of the program and the options, the same in every process: recipes of the same
        number make the same batches."""
        text = repr((self.slots, self._options()))
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1

    def _with_classes(self, num_classes: int) -> Recipe:
        return Recipe(self.transforms, self.num_points, self.sample, num_classes, self.label_smoothing, self.labels)

    def _options(self) -> tuple[Any, ...]:
        return self.num_points, self.sample, self.num_classes, self.label_smoothing, self.labels

    def __reduce__(self) -> tuple[Any, ...]:
        return Recipe, (self.transforms, *self._options())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and self.transforms == other.transforms and self._options() == other._options()

    def __hash__(self) -> int:
        return hash((self._program, self._options()))

    def __repr__(self) -> str:
        lines = "".join(f"    {t!r},\n" for t in self.transforms)
        names = ("num_points", "sample", "num_classes", "label_smoothing", "labels")
        defaults = (None, "random", None, 0.0, "soft")
        rest = "".join(f", {name}={value!r}" for name, value, default in zip(names, self._options(), defaults, strict=True)
                       if value != default)
        return f"Recipe([\n{lines}]{rest})"


def _check_count(count: Any) -> int:
    return checks.whole("count", count, 1, MAX_POINTS, " of points")


def _cell(given: Any, where: torch.device) -> int | Tensor:
    """An epoch, or a tensor on ``where`` that holds one."""
    if not isinstance(given, Tensor):
        return checks.whole("epoch", given, 0, MAX_EPOCH)
    if given.device != where:
        raise DeviceError(f"epoch: expected a number or a tensor on {where}, given one on {given.device}")
    if given.numel() != 1 or given.dtype != torch.int64:
        raise (ShapeError if given.dtype == torch.int64 else DtypeError)(
            f"epoch: expected a number, or an int64 tensor of one, given {given.dtype} {list(given.shape)}")
    if not given.is_cuda:
        checks.whole("epoch", given.item(), 0, MAX_EPOCH)
    return given.clone().reshape(1)
