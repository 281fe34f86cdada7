"""What travels with a picture: masks, depth, flow, boxes and points, taken into its view by the plan, and the way back.

Positions are edge coordinates everywhere: x to the right and y down, a picture's corners at (0, 0) and (width, height), the centre of
its first pixel at (0.5, 0.5). Each kind of target is one native launch for the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.core.tensors import as_integers, as_tensor
from anamorph.images.rows import WORDS

FORMATS = ("xyxy", "xywh", "cxcywh")
CONVENTIONS = ("edge", "torchvision")
MODES = ("nearest", "bilinear")
BOTH, OWN, PARTNER = range(3)  # whose values of a mixed view, as the native core numbers them
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Carries:
    """A plan's methods for what belongs to its pictures. (:class:`anamorph.Plan` is one.)"""

    __slots__ = ()

    rows: Tensor
    index: Tensor
    recipe: Any
    size: Any
    output_size: tuple[int, int]

    # ---- the two maps ----

    def to_view(self, points: Any) -> Tensor:
        """Positions of the sources where the views show them: the geometry alone, whether they are seen or not.

        Args:
            points: float ``[B, N, 2]``, (x, y) in edge coordinates of each source.

        Returns:
            float32 ``[B, N, 2]``, edge coordinates of each view; NaN for what lies nowhere: behind the viewer of a perspective, or
            where a field has folded the picture. A view that mixes is taken as the own picture's alone.
        """
        return self._points(points, None, False, 0.0)[0]

    def to_source(self, points: Any) -> Tensor:
        """Positions of the views where their sources have them: :meth:`to_view`'s inverse, of the same form."""
        return self._points(points, None, True, 0.0)[0]

    # ---- into the view ----

    def apply_mask(self, masks: Any, *, fill: int | bool = 0) -> Any:
        """Masks of the views: the same geometry, the nearest value, no blending.

        Args:
            masks: integers or bools ``[B, H, W]`` or ``[B, N, H, W]`` of the sources' size; a list of ``[H, W]`` or ``[N, H, W]``,
                N its own, where sizes differ.
            fill: the value of what lies outside the picture, such as 255 for "ignore".

        Returns:
            The same dtype and form at ``output_size``. Where a view mixes by boxes (CutMix, ResizeMix) the partner's mask is in
            the partner's box; where two pictures are laid over each other (MixUp) it is that of the larger share. Erasures leave
            masks alone, as torchvision's. Of lists of ``[N, H, W]`` of a recipe that mixes see :meth:`apply_targets`.

        Raises:
            ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
        """
        planes = _Given("masks", masks, self, lambda t: not t.dtype.is_floating_point and not t.dtype.is_complex, "integers or bools")
        if planes.list and self.recipe._mixes and any(t.dim() == 3 for t in planes.tensors):
            raise ArgumentError("masks: expected masks [H, W] for a recipe that mixes, given some [N, H, W]; apply_targets takes "
                                "those of objects")
        return self._into(planes, fill=fill)[0]

    def apply_depth(self, depth: Any, valid: Any = None, *, mode: str = "nearest", fill: float = 0.0) -> tuple[Any, Any]:
        """Depth, or any other values that belong to places, in the views. The values themselves are not rescaled.

        Args:
            depth: float ``[B, H, W]`` or ``[B, C, H, W]``, or a list of ``[H, W]`` or ``[C, H, W]``.
            valid: where there is depth, bool of the same sizes ``[B, H, W]``: sparse depth has holes. None: everywhere.
            mode: "nearest"; or "bilinear", which never blends with a hole: what is left of the taps is weighed, where it is at
                least half.
            fill: the value where there is none.

        Returns:
            The depth at ``output_size``, of the same dtype and form, and where it is valid, bool ``[B, h, w]``.
        """
        planes = _Given("depth", depth, self, lambda t: t.dtype.is_floating_point, "floats")
        known = None if valid is None else _Given("valid", valid, self, lambda t: t.dtype == torch.bool, "bools", like=planes)
        return self._into(planes, known, _mode(mode), fill)

    def apply_flow(self, flow: Any, next_plan: Carries | None = None, valid: Any = None, *, mode: str = "nearest") -> tuple[Any, Any]:
        """Flow between two frames as their views show it: each vector is moved with its pixel and its end with the second frame's map.

        With the maps B of the view to the first frame and F of the second frame to its view, the view's flow at p is
        F(B(p) + flow(B(p))) - p: for one affine map with the linear part L of both frames, L flow.

        Args:
            flow: float32 ``[B, 2, H, W]``, (x, y) in pixels from the first frame to the second.
            next_plan: the second frame's, of as many rows; None: the same as this one's.
            valid: where the flow is known, bool ``[B, H, W]``.
            mode: "nearest" or "bilinear", as :meth:`apply_depth`'s.

        Returns:
            float32 ``[B, 2, h, w]`` in pixels of the views, 0 where there is none, and where it is valid, bool ``[B, h, w]``. What
            leaves the second view is valid still.
        """
        planes = _Given("flow", flow, self, lambda t: t.dtype == torch.float32, "float32")
        if planes.list or planes.dims != 4 or planes.tensors[0].shape[1] != 2:
            raise ShapeError(f"flow: expected [B, 2, H, W], given {planes.shape()}")
        known = None if valid is None else _Given("valid", valid, self, lambda t: t.dtype == torch.bool, "bools", like=planes)
        following = self if next_plan is None else next_plan
        if not isinstance(following, Carries) or len(following.rows) != len(self.rows) or following.rows.device != self.rows.device:
            raise ArgumentError(f"next_plan: expected a plan of {len(self.rows)} rows on {self.rows.device}, given {next_plan!r}")
        if self.recipe._mixes or following.recipe._mixes:
            raise ArgumentError("flow: expected plans that do not mix, given one that does")
        if following.rows.shape != self.rows.shape or following.recipe.info != self.recipe.info:
            raise ArgumentError("next_plan: expected a plan of a recipe with as many steps, given one whose rows differ in length")
        return self._into(planes, known, _mode(mode), 0.0, following.rows)

    def apply_boxes(self, boxes: Any, counts: Any = None, *, format: str = "xyxy", min_size: float = 1.0, min_area: float = 1.0,
                    min_visibility: float = 0.0, tight: bool = True) -> tuple[Any, Any]:
        """Boxes around what the views show of what was in the sources' boxes.

        Args:
            boxes: float ``[B, N, 4]``, or a list of ``[N, 4]`` (or tv_tensors.BoundingBoxes), N its own; in edge coordinates.
            counts: of a tensor, int64 ``[B]``: how many of the N are boxes. None: all.
            format: "xyxy", "xywh" or "cxcywh"; tv_tensors bring their own.
            min_size: the least width and height that a box of the view may have, in pixels.
            min_area: its least area.
            min_visibility: the least share of the box's area in the source that the view must show, 0 to 1.
            tight: around the part that is seen. Else around all four corners, then cut at the view's border, which is
                torchvision's and larger where a box was turned. (Under a perspective what lies behind the viewer is left out.)

        Returns:
            The boxes of the views in the same form, and which are kept, bool ``[B, N]`` or a list of ``[N]``. Those that are not
            are zeros. Of a recipe that mixes there are twice as many: the own ones, cut where the partner lies over them, then the
            partner's. Under a field the box's sides are followed at 32 points.
        """
        given = _Rows("boxes", boxes, counts, self, 4)
        format = checks.choice("format", given.format or format, FORMATS)
        least = (checks.number("min_size", min_size, 0), checks.number("min_area", min_area, 0),
                 checks.number("min_visibility", min_visibility, 0, 1))
        tight = checks.flag("tight", tight)
        return self._boxes(given, format, False, tight, least)

    def apply_keypoints(self, points: Any, counts: Any = None, *, convention: str = "edge") -> tuple[Any, Any]:
        """Points of the sources in the views.

        Args:
            points: float ``[B, N, 2]``, or a list of ``[N, 2]``.
            counts: of a tensor, int64 ``[B]``: how many of the N are points. None: all.
            convention: "edge": x = 0 is the left edge of the first pixel. "torchvision": x = 0 is its centre, as torchvision counts
                where it flips keypoints (where it turns or resizes them, it does not: docs/targets.md).

        Returns:
            The points in the same form, NaN for those that lie nowhere, and which of them the view shows, bool ``[B, N]``. Of a
            recipe that mixes there are twice as many: the own ones, then the partner's.
        """
        shift = 0.5 * CONVENTIONS.index(checks.choice("convention", convention, CONVENTIONS))
        return self._points(points, counts, False, shift, both=True)

    def apply_targets(self, targets: Sequence[Mapping[str, Any]], *, min_size: float = 1.0, min_area: float = 1.0,
                      min_visibility: float = 0.0, tight: bool = True, convention: str = "edge") -> list[dict[str, Any]]:
        """torchvision's detection targets of the views, without the objects that are not seen any more.

        Args:
            targets: for each sample a dict: "boxes" ``[N, 4]`` xyxy (or tv_tensors.BoundingBoxes); any of "labels" ``[N]``, "masks"
                ``[N, H, W]``, "keypoints" ``[N, K, 2]`` or ``[N, K, 3]`` (x, y, seen); "area" ``[N]``, which is measured anew
                (of the masks, where there are some; else of the boxes); and whatever else has N rows, which is kept for the
                objects that are. Other entries stay as they are; of a recipe that mixes, the own sample's.
            min_size, min_area, min_visibility, tight: as :meth:`apply_boxes`'s.
            convention: as :meth:`apply_keypoints`'s, of "keypoints".

        Returns:
            New dicts with the same entries. A point that is not shown has "seen" 0.

        Raises:
            ArgumentError, ShapeError, DtypeError: what was given and what is expected.
        """
        return _apply_targets(self, targets, dict(min_size=min_size, min_area=min_area, min_visibility=min_visibility, tight=tight),
                              convention)

    # ---- back to the source ----

    def undo(self, prediction: Any, *, mode: str = "bilinear", fill: float = 0.0) -> tuple[Any, Any]:
        """What was found in the views, in the frames of their sources: AugUndo's way (Wu et al., ECCV 2024).

        Exact for flips, quarter turns and shifts by whole pixels. Affine and perspective maps are inverted exactly, fields by
        Newton's steps. Colour, noise and erasures are not undone. Differentiable with respect to ``prediction``.

        Args:
            prediction: ``[B, C, h, w]`` or ``[B, h, w]`` at ``output_size``: floats, or integers with mode "nearest".
            mode: "bilinear" or "nearest".
            fill: the value of what no view shows.

        Returns:
            ``[B, C, H, W]`` (or ``[B, H, W]``) of the same dtype, a list where the sources' sizes differ; and where it is valid,
            bool ``[B, H, W]``: a pixel whose place is in the view, and whose taps show nothing but the picture.

        Raises:
            ArgumentError: a recipe that mixes, whose views cannot be taken apart; and what is wrong with the arguments.
        """
        self._no_mix("undo")
        prediction = as_tensor("prediction", prediction)
        mode = _mode(mode)
        h, w = self.output_size
        shape = list(prediction.shape)
        if prediction.dim() not in (3, 4) or shape[0] != len(self.rows) or shape[-2:] != [h, w]:
            raise ShapeError(f"prediction: expected [{len(self.rows)}, C, {h}, {w}] or without the C, given {shape}")
        self._check_device("prediction", prediction)
        if prediction.dtype.is_complex or (mode == "bilinear" and not prediction.dtype.is_floating_point):
            raise DtypeError(f"prediction: expected floats, or integers with mode='nearest', given {prediction.dtype}")
        return _Undo.run(self, prediction, mode == "bilinear", fill)

    def undo_boxes(self, boxes: Any, counts: Any = None, *, format: str = "xyxy", tight: bool = False) -> tuple[Any, Any]:
        """Boxes of the views, such as a detector's, in the frames of their sources: around their corners, cut at the source's border.

        The arguments and what is returned are :meth:`apply_boxes`'s.
        """
        self._no_mix("undo_boxes")
        given = _Rows("boxes", boxes, counts, self, 4)
        format = checks.choice("format", given.format or format, FORMATS)
        return self._boxes(given, format, True, checks.flag("tight", tight), (0.0, 0.0, 0.0))

    def undo_keypoints(self, points: Any, counts: Any = None, *, convention: str = "edge") -> tuple[Any, Any]:
        """Points of the views in the frames of their sources, and which of them the view shows of its picture.

        The arguments and what is returned are :meth:`apply_keypoints`'s.
        """
        self._no_mix("undo_keypoints")
        shift = 0.5 * CONVENTIONS.index(checks.choice("convention", convention, CONVENTIONS))
        return self._points(points, counts, True, shift)

    # ---- how ----

    def _no_mix(self, what: str) -> None:
        if self.recipe._mixes:
            raise ArgumentError(f"{what}: expected a recipe that does not mix, because a view of two pictures cannot be taken apart; "
                                "given one that does")

    def _check_device(self, name: str, t: Tensor) -> None:
        if t.device != self.rows.device:
            raise DeviceError(f"{name}: expected on {self.rows.device} like the plan, given on {t.device}")

    def _into(self, given: _Given, known: _Given | None = None, mode: str = "nearest", fill: float = 0, next_rows: Tensor | None = None,
              part: int = BOTH) -> tuple[Any, Any]:
        h, w = self.output_size
        bilinear = mode == "bilinear"
        dtype = given.tensors[0].dtype
        work = given.to(torch.float32) if bilinear else given
        source, keep = work.native(self)
        out = work.like(self, h, w, part)
        valid = torch.empty((len(self.rows), h, w), dtype=torch.uint8, device=self.rows.device)
        view, _ = out.native(self)
        holes, kept = known.native(self) if known else (None, None)
        bits = _bits(fill, torch.float32 if bilinear else dtype)
        self.recipe._native.carry(self.rows, next_rows, source, view, holes, valid, work.bytes, bits, False, bilinear, False, part,
                                  self.output_size, torch.get_num_threads())
        del keep, kept
        return out.to(dtype).result(given), valid.bool()

    def _points(self, points: Any, counts: Any, undo: bool, shift: float, both: bool = False) -> tuple[Any, Any]:
        given = _Rows("points", points, counts, self, 2)
        twice = both and self.recipe._mixes and not undo
        shape = (len(self.rows), given.data.shape[1] * (1 + bool(self.recipe._mixes and not undo)), 2)
        out = torch.empty(shape, dtype=torch.float32, device=self.rows.device)
        seen = torch.empty(shape[:2], dtype=torch.uint8, device=self.rows.device)
        self.recipe._native.points(self.rows, given.data, given.counts, out, seen, undo, shift, self.output_size,
                                   torch.get_num_threads())
        if not twice:
            out, seen = out[:, :given.data.shape[1]], seen[:, :given.data.shape[1]]
        return given.result(out, self, twice), given.result(seen.bool(), self, twice, plain=True)

    def _boxes(self, given: _Rows, format: str, undo: bool, tight: bool, least: tuple[float, float, float]) -> tuple[Any, Any]:
        data = _to_xyxy(given.data, format)
        twice = self.recipe._mixes and not undo
        shape = (len(self.rows), data.shape[1] * (1 + twice), 4)
        out = torch.empty(shape, dtype=torch.float32, device=self.rows.device)
        keep = torch.empty(shape[:2], dtype=torch.uint8, device=self.rows.device)
        self.recipe._native.boxes(self.rows, data.contiguous(), given.counts, out, keep, undo, tight, least, self.output_size,
                                  torch.get_num_threads())
        return given.result(_from_xyxy(out, format), self, twice), given.result(keep.bool(), self, twice, plain=True)

    def _partners(self) -> list[int]:
        """The row that each is mixed with; itself where it is not."""
        rows = self.rows.cpu()
        own = torch.arange(len(rows), dtype=torch.int32)
        return torch.where(rows[:, WORDS["MIX"]] == 0, own, rows[:, WORDS["PARTNER"]]).tolist()


# ---- planes ----


class _Given:
    """Planes of values as they were given: one tensor for the batch, or a list."""

    def __init__(self, name: str, value: Any, plan: Carries, good: Callable[[Tensor], bool], expected: str,
                 like: _Given | None = None) -> None:
        self.name, self.original = name, value
        self.list = isinstance(value, list | tuple)
        if self.list and len(value) != len(plan.rows):
            raise ShapeError(f"{name}: expected a list of {len(plan.rows)}, one for each sample, given {len(value)}")
        self.tensors = [_plain(as_tensor(f"{name}[{i}]" if self.list else name, t)) for i, t in
                        enumerate(value if self.list else [value])]
        self.dims = max(t.dim() for t in self.tensors) if self.tensors else 0
        first = self.tensors[0]
        for i, t in enumerate(self.tensors):
            where = f"{name}[{i}]" if self.list else name
            if not good(t):
                raise DtypeError(f"{where}: expected {expected}, given {t.dtype}")
            if t.dtype != first.dtype:
                raise DtypeError(f"{where}: expected {first.dtype} as the first of the list, given {t.dtype}")
            plan._check_device(where, t)
            self._check_shape(where, t, i, plan, like)

    def _check_shape(self, where: str, t: Tensor, i: int, plan: Carries, like: _Given | None) -> None:
        batch = [] if self.list else [len(plan.rows)]
        size = plan.size
        if isinstance(size, Tensor):
            sizes = size.cpu()
            each = sizes[i:i + 1] if self.list else sizes
            if bool((each != each[0]).any()):
                raise ShapeError(f"{where}: expected a list, because the plan's pictures differ in size, given one tensor")
            size = tuple(each[0].tolist())
        if like is not None:
            expected = [*batch, *size]
            if list(t.shape) != expected or self.list != like.list:
                raise ShapeError(f"{where}: expected {expected} like {like.name}, given {list(t.shape)}")
            return
        shape = list(t.shape)
        good = len(shape) - len(batch) in (2, 3) and shape[:len(batch)] == batch and shape[-2:] == list(size)
        if not good:
            of = ", ".join(map(str, [*batch, "N", *size]))
            raise ShapeError(f"{where}: expected [{of}] or without the N, given {shape}")

    def shape(self) -> Any:
        return [list(t.shape) for t in self.tensors] if self.list else list(self.tensors[0].shape)

    @property
    def bytes(self) -> int:
        return self.tensors[0].element_size()

    def to(self, dtype: torch.dtype) -> _Given:
        return self._with([t.to(dtype) for t in self.tensors])

    def _with(self, tensors: list[Tensor]) -> _Given:
        other = _Given.__new__(_Given)
        other.name, other.original, other.list, other.dims, other.tensors = self.name, self.original, self.list, self.dims, tensors
        return other

    def like(self, plan: Carries, h: int, w: int, part: int) -> _Given:
        """Room for the same planes of the views; of the partners' alone, as many as these have."""
        if not self.list:
            t = self.tensors[0]
            return self._with([t.new_empty((*t.shape[:-2], h, w))])
        tensors = [self.tensors[k] for k in plan._partners()] if part == PARTNER else self.tensors
        return self._with([t.new_empty((*t.shape[:-2], h, w)) for t in tensors])

    def native(self, plan: Carries) -> tuple[Tensor, Any]:
        """What the native core reads, and what must live as long as that."""
        bits = _BITS[self.bytes]
        if not self.list:
            t = self.tensors[0].contiguous().view(bits)
            return t if self.name == "valid" or t.dim() == 4 else t[:, None], t
        kept = [t.contiguous() for t in self.tensors]
        table = torch.tensor([[t.data_ptr(), 1 if t.dim() == 2 else t.shape[0], *t.shape[-2:]] for t in kept], dtype=torch.int64)
        return table.to(plan.rows.device), kept

    def result(self, given: _Given) -> Any:
        tensors = [_rewrap(t, o) for t, o in zip(self.tensors, given.original if given.list else [given.original], strict=True)]
        return tensors if self.list else tensors[0]


def _mode(mode: str) -> str:
    return checks.choice("mode", mode, MODES)


def _bits(fill: Any, dtype: torch.dtype) -> int:
    """The bits of a value of the dtype."""
    given = checks.plain(fill)
    if dtype.is_floating_point:
        value = torch.tensor(float("nan") if given != given else checks.number("fill", given), dtype=dtype)
    else:
        info = (0, 1) if dtype == torch.bool else (torch.iinfo(dtype).min, torch.iinfo(dtype).max)
        value = torch.tensor(checks.whole("fill", int(given) if isinstance(given, bool) else given, *info), dtype=dtype)
    size = value.element_size()
    return int(value.reshape(1).view(_BITS[size]).item()) % (1 << 8 * size)


class _Undo(torch.autograd.Function):
    """The way back of planes; its gradient is the way there, added up."""

    @staticmethod
    def run(plan: Carries, prediction: Tensor, bilinear: bool, fill: float) -> tuple[Any, Any]:
        apply = cast(Callable[..., tuple[Tensor, ...]], _Undo.apply)
        *out, valid = apply(prediction, plan, bilinear, fill)
        if not isinstance(plan.size, Tensor):
            return out[0], valid
        areas = [h * w for h, w in plan.size.tolist()]
        masks = [v.view(h, w) for v, (h, w) in zip(valid.split(areas), plan.size.tolist(), strict=True)]
        return list(out), masks

    @staticmethod
    def forward(ctx: Any, prediction: Tensor, plan: Carries, bilinear: bool, fill: float) -> Any:
        ctx.plan, ctx.bilinear, ctx.shape, ctx.dtype = plan, bilinear, prediction.shape, prediction.dtype
        work = prediction.detach().to(torch.float32) if bilinear else prediction.detach()
        out, valid, tables = _source_planes(plan, work)
        view = work.contiguous().view(_BITS[work.element_size()])
        view = view if view.dim() == 4 else view[:, None]
        plan.recipe._native.carry(plan.rows, None, tables[0], view, None, tables[1], work.element_size(), _bits(fill, work.dtype),
                                  True, bilinear, False, BOTH, plan.output_size, torch.get_num_threads())
        valid = valid.bool()
        ctx.mark_non_differentiable(valid)
        return (*(t.to(prediction.dtype) for t in out), valid)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        plan = ctx.plan
        grads = [g.to(torch.float32).contiguous() for g in gradients[:-1]]
        into = torch.zeros(ctx.shape, dtype=torch.float32, device=plan.rows.device)
        view = into if into.dim() == 4 else into[:, None]
        if isinstance(plan.size, Tensor):
            source = _table([g if g.dim() == 3 else g[None] for g in grads], plan)
        else:
            source = grads[0] if grads[0].dim() == 4 else grads[0][:, None]
        plan.recipe._native.carry(plan.rows, None, source.view(torch.int32) if source.is_floating_point() else source,
                                  view.view(torch.int32), None, None, 4, 0, True, ctx.bilinear, True, BOTH, plan.output_size,
                                  torch.get_num_threads())
        return into.to(ctx.dtype), None, None, None


def _source_planes(plan: Carries, like: Tensor) -> tuple[list[Tensor], Tensor, tuple[Tensor, Tensor]]:
    """Room for planes of the sources and for their masks, and what the native core writes there."""
    bits = _BITS[like.element_size()]
    if not isinstance(plan.size, Tensor):
        out = like.new_empty((*like.shape[:-2], *plan.size))
        valid = torch.empty((len(plan.rows), *plan.size), dtype=torch.uint8, device=like.device)
        planes = out.view(bits)
        return [out], valid, (planes if planes.dim() == 4 else planes[:, None], valid)
    sizes = plan.size.tolist()
    out_list = [like.new_empty((*like.shape[1:-2], h, w)) for h, w in sizes]
    valid = torch.empty(sum(h * w for h, w in sizes), dtype=torch.uint8, device=like.device)
    masks = [v.view(h, w) for v, (h, w) in zip(valid.split([h * w for h, w in sizes]), sizes, strict=True)]
    return out_list, valid, (_table(out_list, plan), _table(masks, plan))


def _table(tensors: Sequence[Tensor], plan: Carries) -> Tensor:
    rows = [[t.data_ptr(), 1 if t.dim() == 2 else t.shape[0], *t.shape[-2:]] for t in tensors]
    return torch.tensor(rows, dtype=torch.int64).to(plan.rows.device)


# ---- boxes and points ----


class _Rows:
    """Boxes or points as they were given: float32 [B, N, values] and how many of the N are some."""

    def __init__(self, name: str, value: Any, counts: Any, plan: Carries, values: int) -> None:
        self.list = isinstance(value, list | tuple)
        self.format: str | None = None
        self.original = value
        batch = len(plan.rows)
        if not self.list:
            self.format = _format_of(name, value)
            t = _plain(as_tensor(name, value))
            plan._check_device(name, t)
            if t.dim() != 3 or t.shape[0] != batch or t.shape[2] != values:
                raise ShapeError(f"{name}: expected [{batch}, N, {values}], given {list(t.shape)}")
            self.data = _floats(name, t)
            self.counts = None if counts is None else _counts(counts, t, plan)
            self.lengths = [t.shape[1]] * batch
            return
        if counts is not None:
            raise ArgumentError("counts: expected none for a list, whose lengths they are, given some")
        if len(value) != batch:
            raise ShapeError(f"{name}: expected a list of {batch}, one for each sample, given {len(value)}")
        formats = {_format_of(f"{name}[{i}]", t) for i, t in enumerate(value)}
        if len(formats) > 1:
            raise ArgumentError(f"{name}: expected boxes of one format, given {sorted(map(str, formats))}")
        self.format = formats.pop()
        tensors = []
        for i, one in enumerate(value):
            t = _plain(as_tensor(f"{name}[{i}]", one))
            plan._check_device(f"{name}[{i}]", t)
            t = t.reshape(0, values) if t.numel() == 0 and t.dim() <= 2 else t
            if t.dim() != 2 or t.shape[1] != values:
                raise ShapeError(f"{name}[{i}]: expected [N, {values}], given {list(t.shape)}")
            tensors.append(_floats(f"{name}[{i}]", t))
        self.lengths = [len(t) for t in tensors]
        self.data = torch.zeros((batch, max(self.lengths), values), dtype=torch.float32, device=plan.rows.device)
        for i, t in enumerate(tensors):
            self.data[i, :len(t)] = t
        self.counts = torch.tensor(self.lengths, dtype=torch.int64).to(plan.rows.device)

    def result(self, t: Tensor, plan: Carries, twice: bool, plain: bool = False) -> Any:
        """In the form that was given."""
        originals = self.original if self.list else [self.original]
        if not self.list:
            return t if plain else _rewrap(t, originals[0], plan.output_size)
        n = self.data.shape[1]
        partners = plan._partners() if twice else range(len(self.lengths))
        each = []
        for i, k in enumerate(partners):
            own = t[i, :self.lengths[i]]
            each.append(torch.cat([own, t[i, n:n + self.lengths[k]]]) if twice and k != i else own)
        return each if plain else [_rewrap(one, original, plan.output_size) for one, original in zip(each, originals, strict=True)]


def _floats(name: str, t: Tensor) -> Tensor:
    if t.dtype.is_complex or t.dtype == torch.bool:
        raise DtypeError(f"{name}: expected numbers, given {t.dtype}")
    t = t.detach().to(torch.float32).contiguous()
    if not t.is_cuda and not bool(torch.isfinite(t).all()):  # on a device it would be a host copy; there NaN stays NaN
        raise ArgumentError(f"{name}: expected finite numbers, given {t[~torch.isfinite(t)][0].item()}")
    return t


def _counts(counts: Any, t: Tensor, plan: Carries) -> Tensor:
    counts = as_integers("counts", counts)
    plan._check_device("counts", counts)
    if counts.shape != t.shape[:1]:
        raise ShapeError(f"counts: expected [{len(t)}], given {list(counts.shape)}")
    if not counts.is_cuda and not bool(((counts >= 0) & (counts <= t.shape[1])).all()):
        raise ArgumentError(f"counts: expected 0 to {t.shape[1]}, given {counts.min().item()} to {counts.max().item()}")
    return counts.contiguous()


def _to_xyxy(boxes: Tensor, format: str) -> Tensor:
    if format == "xyxy":
        return boxes
    a, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([a, a + size], -1) if format == "xywh" else torch.cat([a - size / 2, a + size / 2], -1)


def _from_xyxy(boxes: Tensor, format: str) -> Tensor:
    if format == "xyxy":
        return boxes
    a, b = boxes[..., :2], boxes[..., 2:]
    return torch.cat([a, b - a] if format == "xywh" else [(a + b) / 2, b - a], -1)


# ---- torchvision's tv_tensors, which bring their format and are given back as what they were ----


def _is_tv(value: Any) -> bool:
    return type(value).__module__.startswith("torchvision.tv_tensors")


def _plain(t: Tensor) -> Tensor:
    return t.as_subclass(Tensor) if type(t) is not Tensor else t


def _format_of(name: str, value: Any) -> str | None:
    if not _is_tv(value) or not hasattr(value, "format"):
        return None
    format = value.format.value.lower()
    if format not in FORMATS:
        raise ArgumentError(f"{name}: expected boxes of format {', '.join(FORMATS)}, given {format}")
    return cast(str, format)


def _rewrap(t: Tensor, original: Any, canvas: tuple[int, int] | None = None) -> Tensor:
    if not _is_tv(original):
        return t
    kind = type(original)
    if hasattr(original, "format"):
        return cast(Tensor, kind(t, format=original.format, canvas_size=canvas))
    return cast(Tensor, kind(t, canvas_size=canvas) if hasattr(original, "canvas_size") else kind(t))


# ---- detection targets ----


def _apply_targets(plan: Carries, targets: Sequence[Mapping[str, Any]], filters: dict[str, Any], convention: str) -> list[dict[str, Any]]:
    if not isinstance(targets, list | tuple) or not all(isinstance(t, Mapping) for t in targets):
        raise ArgumentError(f"targets: expected a list of dicts, one for each sample, given {type(targets).__name__}")
    if len(targets) != len(plan.rows):
        raise ShapeError(f"targets: expected {len(plan.rows)} dicts, one for each sample, given {len(targets)}")
    for i, t in enumerate(targets):
        if "boxes" not in t:
            raise ArgumentError(f"targets[{i}]: expected a dict with 'boxes', given one with {', '.join(map(repr, t)) or 'nothing'}")
    names = {name for t in targets for name in t}
    for i, t in enumerate(targets):
        missing = [n for n in ("masks", "keypoints", "labels") if n in names and n not in t]
        if missing:
            raise ArgumentError(f"targets[{i}]: expected {missing[0]!r}, which other samples have, given a dict without")
    boxes, keep = plan.apply_boxes([t["boxes"] for t in targets], **filters)
    counts = [len(t["boxes"]) for t in targets]
    partners = plan._partners() if plan.recipe._mixes else list(range(len(targets)))
    masks = _carried_masks(plan, [t["masks"] for t in targets], partners) if "masks" in names else None
    points = _carried_keypoints(plan, [t["keypoints"] for t in targets], counts, partners, convention) if "keypoints" in names else None
    out = []
    for i, t in enumerate(targets):
        k = partners[i]
        one: dict[str, Any] = dict(t)
        one["boxes"] = _rewrap(_plain(boxes[i])[keep[i]], t["boxes"], plan.output_size)
        if masks is not None:
            one["masks"] = _rewrap(masks[i][keep[i]], t["masks"])
        if points is not None:
            one["keypoints"] = _rewrap(points[i][keep[i]], t["keypoints"], plan.output_size)
        for name, value in t.items():
            if name in ("boxes", "masks", "keypoints"):
                continue
            if isinstance(value, Tensor) and value.dim() and len(value) == counts[i]:
                both = value
                if k != i:
                    other = targets[k].get(name)
                    if not isinstance(other, Tensor) or len(other) != counts[k]:
                        raise ArgumentError(f"targets[{k}]: expected {name!r} with a row for each box, as its partner {i} has")
                    both = torch.cat([_plain(value), _plain(other)])
                one[name] = _rewrap(_plain(both)[keep[i]], value)
        if "area" in t:
            kept = _plain(one["boxes"])
            one["area"] = (_plain(one["masks"]).flatten(1).ne(0).sum(1) if masks is not None else
                           (_to_xyxy(kept, _format_of("boxes", t["boxes"]) or "xyxy")[:, 2:]
                            - _to_xyxy(kept, _format_of("boxes", t["boxes"]) or "xyxy")[:, :2]).prod(1)).to(t["area"].dtype)
        out.append(one)
    return out


def _carried_masks(plan: Carries, masks: list[Any], partners: list[int]) -> list[Tensor]:
    given = _Given("masks", masks, plan, lambda t: not t.dtype.is_floating_point and not t.dtype.is_complex, "integers or bools")
    if not plan.recipe._mixes:
        return [_plain(m) for m in plan._into(given)[0]]
    own, _ = plan._into(given, part=OWN)
    theirs, _ = plan._into(given, part=PARTNER)
    return [torch.cat([_plain(a), _plain(b)]) if k != i else _plain(a)
            for i, (a, b, k) in enumerate(zip(own, theirs, partners, strict=True))]


def _carried_keypoints(plan: Carries, points: list[Any], counts: list[int], partners: list[int], convention: str) -> list[Tensor]:
    tensors = [_plain(as_tensor(f"targets[{i}]['keypoints']", p)) for i, p in enumerate(points)]
    for i, t in enumerate(tensors):
        if t.dim() != 3 or t.shape[0] != counts[i] or t.shape[2] not in (2, 3):
            raise ShapeError(f"targets[{i}]['keypoints']: expected [{counts[i]}, K, 2] or [{counts[i]}, K, 3], given {list(t.shape)}")
    moved, seen = plan.apply_keypoints([t[..., :2].reshape(-1, 2) for t in tensors], convention=convention)
    out = []
    for i, k in enumerate(partners):
        both = torch.cat([tensors[i], tensors[k]]) if k != i else tensors[i]
        place, shown = moved[i].view(*both.shape[:2], 2), seen[i].view(both.shape[:2])
        if both.shape[2] == 3:
            flag = torch.where(shown, both[..., 2], torch.zeros_like(both[..., 2]))
            place = torch.cat([torch.nan_to_num(place.to(both.dtype), 0.0), flag[..., None]], -1)
        out.append(place)
    return out


