"""What travels with a picture: masks, depth, flow, boxes and points, taken into its view by the plan, and the way back.

Positions are edge coordinates everywhere: x to the right and y down, a picture's corners at (0, 0) and (width, height), its first
pixel's centre at (0.5, 0.5). Each kind of target is one native launch for the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DtypeError, ShapeError
from anamorph.core.tensors import as_tensor
from anamorph.images.forms import (
    BITS,
    BOOLS,
    FLOATS,
    FORMATS,
    INTEGERS,
    Planes,
    Rows,
    bits_of,
    check_device,
    from_xyxy,
    table_of,
    to_xyxy,
)
from anamorph.images.frames import by_frames
from anamorph.images.objects import carry_objects
from anamorph.images.rows import WORDS

CONVENTIONS = ("edge", "torchvision")
MODES = ("nearest", "bilinear")
BOTH = 0  # pictures' values of a mixed view


class Carries:
    """A plan's methods for what belongs to its pictures. (:class:`anamorph.Plan` is one.)

    Of a plan of clips (``frames=`` T) whatever is said to be ``[B, ...]`` is ``[B, T, ...]``, in and out, and a list of B is one
    of B lists of T.
    """

    __slots__ = ()

    rows: Tensor
    index: Tensor
    recipe: Any
    size: Any
    output_size: tuple[int, int]
    frames: int | None

    # ---- the two maps ----

    @by_frames
    def to_view(self, points: Any) -> Tensor:
        """Positions of the sources where the views show them: the geometry alone, whether they are seen or not.

        Args:
            points: float ``[B, N, 2]``, (x, y) in edge coordinates of each source.

        Returns:
            float32 ``[B, N, 2]``, edge coordinates of each view; NaN for what lies nowhere: behind the viewer of a perspective,
            or where a field has folded the picture. A view that mixes is taken as the own picture's alone.
        """
        return self._points(Rows("points", points, None, self.rows, 2, self.size, nowhere=True), False, 0.0)[0]

    @by_frames
    def to_source(self, points: Any) -> Tensor:
        """Positions of the views where their sources have them: :meth:`to_view`'s inverse, of the same form."""
        return self._points(Rows("points", points, None, self.rows, 2, self.output_size, nowhere=True), True, 0.0)[0]

    # ---- into the view ----

    @by_frames
    def apply_mask(self, masks: Any, *, fill: int | bool = 0) -> Any:
        """Masks of the views: the same geometry, the nearest value, no blending.

        Args:
            masks: integers or bools ``[B, H, W]`` or ``[B, N, H, W]`` of the sources' size; a list of ``[H, W]`` or
                ``[N, H, W]``, N its own, where sizes differ.
            fill: the value of what lies outside the picture, such as 255 for "ignore".

        Returns:
            The same dtype and form at ``output_size``. Where a view mixes by boxes (CutMix, ResizeMix) the partner's mask is in
            the partner's box; where two pictures are laid over each other (MixUp) it is that of the larger share. Erasures leave
            masks alone, as torchvision's do. For lists of ``[N, H, W]`` of a recipe that mixes see :meth:`apply_targets`.

        Raises:
            ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
        """
        self._no_given_mask("masks")
        planes = Planes("masks", masks, self, *INTEGERS)
        if planes.list and self.recipe._mixes and any(t.dim() == 3 for t in planes.tensors):
            raise ArgumentError("masks: expected masks [H, W] for a recipe that mixes, given some [N, H, W]; apply_targets "
                                "takes those of objects")
        return self._into(planes, fill=fill, judged=False)[0]

    @by_frames
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
        self._no_given_mask("depth")
        planes = Planes("depth", depth, self, *FLOATS)
        if planes.list and self.recipe._mixes and len({t.shape[:-2].numel() for t in planes.tensors}) > 1:
            raise ShapeError("depth: expected as many channels in all of a recipe that mixes, where a view reads its partner's, "
                             f"given {planes.shape()}")
        known = None if valid is None else Planes("valid", valid, self, *BOOLS, like=planes)
        return self._into(planes, known, _mode(mode), fill)

    def apply_flow(self, flow: Any, next_plan: Carries | None = None, valid: Any = None, *,
                   mode: str = "nearest") -> tuple[Any, Any]:
        """Flow between two frames as their views show it: a vector is moved with its pixel, its end with the second frame's map.

        With the maps B of the view to the first frame and F of the second frame to its view, the view's flow at p is
        F(B(p) + flow(B(p))) - p: for one affine map with the linear part L of both frames, L flow.

        Args:
            flow: float32 ``[B, 2, H, W]``, (x, y) in pixels from the first frame to the second. Of clips ``[B, T - 1, 2, H, W]``:
                ``flow[:, t]`` is from frame t to frame t + 1, and moved by the rows of both.
            next_plan: the second frame's, of as many rows; None: the same as this one's, of clips the next frame's. Of clips with
                a ``next_plan`` (of as many frames each): ``flow[:, t]``, T of them, is from frame t of this one's clips to that
                one's.
            valid: where the flow is known, bool ``[B, H, W]``.
            mode: "nearest" or "bilinear", as :meth:`apply_depth`'s.

        Returns:
            float32 ``[B, 2, h, w]`` in pixels of the views, 0 where there is none, and where it is valid, bool ``[B, h, w]``.
            What leaves the second view is valid still.
        """
        if self.frames is not None:
            if next_plan is None:
                plan, next_plan = self._pairs()
                return plan.apply_flow(flow, next_plan, valid, mode=mode)
            if isinstance(next_plan, Carries) and next_plan.frames != self.frames:
                raise ArgumentError(f"next_plan: expected one of clips of {self.frames} frames, given {next_plan!r}")
        return self._flow(flow, next_plan, valid, mode)

    @by_frames
    def _flow(self, flow: Any, next_plan: Carries | None, valid: Any, mode: str) -> tuple[Any, Any]:
        planes = Planes("flow", flow, self, lambda t: t.dtype == torch.float32, "float32")
        if planes.list or planes.dims != 4 or planes.tensors[0].shape[1] != 2:
            raise ShapeError(f"flow: expected [B, 2, H, W], given {planes.shape()}")
        known = None if valid is None else Planes("valid", valid, self, *BOOLS, like=planes)
        following = self if next_plan is None else next_plan
        if not isinstance(following, Carries) or len(following.rows) != len(self.rows):
            raise ArgumentError(f"next_plan: expected a plan of {len(self.rows)} rows, given {next_plan!r}")
        check_device("next_plan", following.rows, self.rows)
        if self.recipe._mixes or following.recipe._mixes:
            raise ArgumentError("flow: expected plans that do not mix, given one that does")
        if following.rows.shape != self.rows.shape or following.recipe.info != self.recipe.info:
            raise ArgumentError("next_plan: expected a plan of a recipe with as many steps, given one of other rows")
        return self._into(planes, known, _mode(mode), 0.0, following.rows)

    @by_frames
    def apply_boxes(self, boxes: Any, counts: Any = None, *, format: str = "xyxy", min_size: float = 1.0, min_area: float = 1.0,
                    min_visibility: float = 0.0, tight: bool = True, middles: bool | None = None) -> tuple[Any, Any]:
        """Boxes around what the views show of what was in the sources' boxes.

        Args:
            boxes: float ``[B, N, 4]``, or a list of ``[N, 4]`` (or tv_tensors.BoundingBoxes), N its own; in edge coordinates.
            counts: of a tensor, int64 ``[B]``: how many of the N are boxes. None: all.
            format: "xyxy", "xywh" or "cxcywh"; tv_tensors bring their own.
            min_size: the least width and height that a box of the view may have, in pixels.
            min_area: its least area.
            min_visibility: the least share of the box's area in the source that the view must show, 0 to 1.
            tight: around the part that is seen. Else around all four corners, then cut at the view's border, which is
                torchvision's and larger where a box was turned. (What lies behind the viewer of a perspective is left out.)
            middles: keep only boxes whose middle the view has, SSD's rule for its crops. None: for recipes with RandomIoUCrop.

        Returns:
            The boxes of the views in the same form, and which are kept, bool ``[B, N]`` or a list of ``[N]``. Those that are not
            are zeros. Of a recipe that mixes there are twice as many: the own ones, cut where the partner lies over them, then
            the partner's. Under a field the box's sides are followed at 32 points.
        """
        self._no_given_mask("boxes")
        return self._boxes_of_view(Rows("boxes", boxes, counts, self.rows, 4, self.size), format, min_size, min_area,
                                   min_visibility, tight, middles)

    def _boxes_of_view(self, given: Rows, format: str, min_size: float, min_area: float, min_visibility: float, tight: bool,
                       middles: bool | None) -> tuple[Any, Any]:
        format = checks.choice("format", given.format or format, FORMATS)
        least = (checks.number("min_size", min_size, 0), checks.number("min_area", min_area, 0),
                 checks.number("min_visibility", min_visibility, 0, 1),
                 self.recipe._boxed if middles is None else checks.flag("middles", middles))
        tight = checks.flag("tight", tight)
        return self._boxes(given, format, False, tight, least)

    @by_frames
    def apply_keypoints(self, points: Any, counts: Any = None, *, convention: str = "edge") -> tuple[Any, Any]:
        """Points of the sources in the views.

        Args:
            points: float ``[B, N, 2]``, or a list of ``[N, 2]``.
            counts: of a tensor, int64 ``[B]``: how many of the N are points. None: all.
            convention: "edge": x = 0 is the left edge of the first pixel. "torchvision": x = 0 is its centre, as torchvision
                counts where it flips keypoints (where it turns or resizes them, it does not: docs/targets.md).

        Returns:
            The points in the same form, NaN for those that lie nowhere, and which of them the view shows, bool ``[B, N]``. Of a
            recipe that mixes there are twice as many: the own ones, then the partner's.
        """
        self._no_given_mask("points")
        return self._points_of_view(Rows("points", points, counts, self.rows, 2, self.size), convention)

    def _points_of_view(self, given: Rows, convention: str) -> tuple[Any, Any]:
        return self._points(given, False, _shift(convention), both=True)

    @by_frames
    def apply_targets(self, targets: Sequence[Mapping[str, Any]], *, min_size: float = 1.0, min_area: float = 1.0,
                      min_visibility: float = 0.0, tight: bool = True, middles: bool | None = None,
                      convention: str = "edge") -> list[dict[str, Any]]:
        """torchvision's detection targets of the views, without the objects that are not seen any more.

        Args:
            targets: for each sample a dict: "boxes" ``[N, 4]`` xyxy (or tv_tensors.BoundingBoxes); any of "labels" ``[N]``,
                "masks" ``[N, H, W]``, "keypoints" ``[N, K, 2]`` or ``[N, K, 3]`` (x, y, seen); "area" ``[N]``, which is measured
                anew (of the masks, where there are some; else of the boxes); and whatever else has N rows (a tensor, an array or
                a list) in every target that has it, which is kept for the objects that are. Other entries stay as they are, and
                so do "image_id", "size" and "orig_size", even of N numbers; of a recipe that mixes, the own sample's.
            min_size, min_area, min_visibility, tight, middles: as :meth:`apply_boxes`'s.
            convention: as :meth:`apply_keypoints`'s, of "keypoints".

        Returns:
            New dicts with the same entries. A point that is not shown has "seen" 0.

        Raises:
            ArgumentError, ShapeError, DtypeError: what was given and what is expected.
        """
        return carry_objects(self, targets, convention, min_size=min_size, min_area=min_area, min_visibility=min_visibility,
                             tight=tight, middles=middles)

    # ---- back to the source ----

    @by_frames
    def undo(self, prediction: Any, *, mode: str = "bilinear", fill: float = 0) -> tuple[Any, Any]:
        """What was found in the views, in the frames of their sources: AugUndo's way (Wu et al., ECCV 2024).

        Exact for flips, quarter turns and shifts by whole pixels. Affine and perspective maps are inverted exactly, fields by
        Newton's steps. Colour, noise and erasures are not undone. Differentiable with respect to ``prediction``,
        once.

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
        check_device("prediction", prediction, self.rows)
        if prediction.dtype.is_complex or (mode == "bilinear" and not prediction.dtype.is_floating_point):
            raise DtypeError(f"prediction: expected floats, or integers with mode='nearest', given {prediction.dtype}")
        return _Undo.run(self, prediction, mode == "bilinear", fill)

    @by_frames
    def undo_boxes(self, boxes: Any, counts: Any = None, *, format: str = "xyxy", tight: bool = False) -> tuple[Any, Any]:
        """Boxes of the views, such as a detector's, in the frames of their sources: around their corners, cut at its border.

        The arguments and what is returned are :meth:`apply_boxes`'s.
        """
        self._no_mix("undo_boxes")
        given = Rows("boxes", boxes, counts, self.rows, 4, self.output_size)
        format = checks.choice("format", given.format or format, FORMATS)
        return self._boxes(given, format, True, checks.flag("tight", tight), (0.0, 0.0, 0.0, False))

    @by_frames
    def undo_keypoints(self, points: Any, counts: Any = None, *, convention: str = "edge") -> tuple[Any, Any]:
        """Points of the views in the frames of their sources, and which of them the view shows of its picture.

        The arguments and what is returned are :meth:`apply_keypoints`'s.
        """
        self._no_mix("undo_keypoints")
        given = Rows("points", points, counts, self.rows, 2, self.output_size, nowhere=True)
        return self._points(given, True, _shift(convention))

    # ---- how ----

    def _pairs(self) -> tuple[Carries, Carries]:
        """The plans of the frames that have a next one, and of these."""
        raise NotImplementedError

    def _no_mix(self, what: str) -> None:
        if self.recipe._mixes:
            raise ArgumentError(f"{what}: expected a recipe that does not mix, because a view of two pictures cannot be taken "
                                "apart; given one that does")

    def _no_given_mask(self, what: str) -> None:
        if self.recipe._masks:
            raise ArgumentError(f"{what}: expected a recipe without MaskMix, whose mask only render is given, so that a plan "
                                "does not know whose pixel is seen; given one with it")

    def _into(self, given: Planes, known: Planes | None = None, mode: str = "nearest", fill: float = 0,
              next_rows: Tensor | None = None, part: int = BOTH, judged: bool = True) -> tuple[Any, Any]:
        h, w = self.output_size
        bilinear = mode == "bilinear"
        dtype = given.tensors[0].dtype
        work = given.to(torch.float32) if bilinear else given
        source, keep = work.native(self)
        out = work.like(self, h, w, part)
        valid = torch.empty((len(self.rows), h, w), dtype=torch.uint8, device=self.rows.device) if judged else None
        view, _ = out.native(self)
        holes, kept = known.native(self) if known else (None, None)
        bits = bits_of(fill, torch.float32 if bilinear else dtype)
        self.recipe._native.carry(self.rows, next_rows, source, view, holes, valid, work.bytes, bits, False, bilinear, False,
                                  part, self.output_size, torch.get_num_threads())
        del keep, kept
        return out.to(dtype).result(given), None if valid is None else valid.view(torch.bool)

    def _points(self, given: Rows, undo: bool, shift: float, both: bool = False) -> tuple[Any, Any]:
        twice = both and self.recipe._mixes and not undo
        shape = (len(self.rows), given.data.shape[1] * (1 + bool(self.recipe._mixes and not undo)), 2)
        out = torch.empty(shape, dtype=torch.float32, device=self.rows.device)
        seen = torch.empty(shape[:2], dtype=torch.uint8, device=self.rows.device)
        self.recipe._native.points(self.rows, given.data, given.counts, out, seen, undo, shift, self.output_size,
                                   torch.get_num_threads())
        if not twice:
            out, seen = out[:, :given.data.shape[1]], seen[:, :given.data.shape[1]]
        return given.result(out, self, twice, undo), given.result(seen.view(torch.bool), self, twice, plain=True)

    def _boxes(self, given: Rows, format: str, undo: bool, tight: bool,
               least: tuple[float, float, float, bool]) -> tuple[Any, Any]:
        data = to_xyxy(given.data, format)
        twice = self.recipe._mixes and not undo
        shape = (len(self.rows), data.shape[1] * (1 + twice), 4)
        out = torch.empty(shape, dtype=torch.float32, device=self.rows.device)
        keep = torch.empty(shape[:2], dtype=torch.uint8, device=self.rows.device)
        self.recipe._native.boxes(self.rows, data.contiguous(), given.counts, out, keep, undo, tight, least, self.output_size,
                                  torch.get_num_threads())
        moved = given.result(from_xyxy(out, format), self, twice, undo)
        return moved, given.result(keep.view(torch.bool), self, twice, plain=True)

    def _partners(self) -> list[int]:
        """The row that each is mixed with; itself where it is not."""
        rows = self.rows.cpu()
        own = torch.arange(len(rows), dtype=torch.int32)
        return torch.where(rows[:, WORDS["MIX"]] == 0, own, rows[:, WORDS["PARTNER"]]).tolist()


def _shift(convention: str) -> float:
    return 0.5 * CONVENTIONS.index(checks.choice("convention", convention, CONVENTIONS))


def _mode(mode: str) -> str:
    return checks.choice("mode", mode, MODES)


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
        view = work.contiguous().view(BITS[work.element_size()])
        view = view if view.dim() == 4 else view[:, None]
        plan.recipe._native.carry(plan.rows, None, tables[0], view, None, tables[1], work.element_size(),
                                  bits_of(fill, work.dtype), True, bilinear, False, BOTH, plan.output_size,
                                  torch.get_num_threads())
        valid = valid.view(torch.bool)
        ctx.mark_non_differentiable(valid)
        return (*(t.to(prediction.dtype) for t in out), valid)

    @staticmethod
    @once_differentiable  # what is done here leaves no graph: a second derivative would be wrong
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        plan = ctx.plan
        grads = [g.to(torch.float32).contiguous() for g in gradients[:-1]]
        into = torch.zeros(ctx.shape, dtype=torch.float32, device=plan.rows.device)
        view = into if into.dim() == 4 else into[:, None]
        if isinstance(plan.size, Tensor):
            source = table_of([g if g.dim() == 3 else g[None] for g in grads], plan)
        else:
            source = grads[0] if grads[0].dim() == 4 else grads[0][:, None]
        plan.recipe._native.carry(plan.rows, None, source.view(torch.int32) if source.is_floating_point() else source,
                                  view.view(torch.int32), None, None, 4, 0, True, ctx.bilinear, True, BOTH, plan.output_size,
                                  torch.get_num_threads())
        return into.to(ctx.dtype), None, None, None


def _source_planes(plan: Carries, like: Tensor) -> tuple[list[Tensor], Tensor, tuple[Tensor, Tensor]]:
    """Room for planes of the sources and for their masks, and what the native core writes there."""
    bits = BITS[like.element_size()]
    if not isinstance(plan.size, Tensor):
        out = like.new_empty((*like.shape[:-2], *plan.size))
        valid = torch.empty((len(plan.rows), *plan.size), dtype=torch.uint8, device=like.device)
        planes = out.view(bits)
        return [out], valid, (planes if planes.dim() == 4 else planes[:, None], valid)
    sizes = plan.size.tolist()
    out_list = [like.new_empty((*like.shape[1:-2], h, w)) for h, w in sizes]
    valid = torch.empty(sum(h * w for h, w in sizes), dtype=torch.uint8, device=like.device)
    masks = [v.view(h, w) for v, (h, w) in zip(valid.split([h * w for h, w in sizes]), sizes, strict=True)]
    return out_list, valid, (table_of(out_list, plan), table_of(masks, plan))
