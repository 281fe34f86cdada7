"""render: does what a plan says, in one launch."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.core.lease import hold
from anamorph.core.memory import CODES, room
from anamorph.core.tensors import as_integers, as_tensor
from anamorph.images.frames import flat
from anamorph.images.picture import check_dtype
from anamorph.images.plan import Drawer, Plan, Plans
from anamorph.images.ragged import Ragged, check_grad

FOURS = 4  # channels that the native core takes at once
_LAYOUTS = {"NHWC": False, "NCHW": True}


def render(images: Any, plan: Plan | Plans, targets: Any = None, *, mask: Tensor | None = None, layout: str | None = None,
           out: Tensor | None = None) -> Any:
    """Apply a plan to its batch. One launch, and on a GPU one more before it where steps of the recipe need whole views (a
    statistic, a blur, chains that are blended), however many.

    Args:
        images: ``[B, H, W, C]`` or ``[B, C, H, W]`` of uint8 (0..255), float32, float16 or bfloat16 (0..1), any strides, 1
            to 16 channels (1 or 3 for brightness, contrast, saturation, hue and greyscale; more than 4 are rendered by fours, a
            launch each), on the plan's device: a tensor or another library's array. Or, for pictures of different sizes, a
            :class:`Ragged` or a list of PIL's, ``[H, W, C]`` or ``[C, H, W]`` pictures of 1 to 4 channels (a shape that fits both
            is taken for ``[H, W, C]``; the others are copied). On a GPU another library's array is read in torch's current
            stream, after what its library has queued on it, and kept until it has been read (of a captured graph its owner keeps
            what it reads). DALI's come without the host waiting from ``pipe.run(torch.cuda.current_stream())``.
            Of a plan of clips (``frames=`` T): ``[B, T, H, W, C]`` or ``[B, T, C, H, W]``, any strides (a video that lies as
            ``[B, C, T, H, W]`` is ``video.permute(0, 2, 1, 3, 4)``), or a list of clips, T pictures each.
        plan: from ``recipe.plan``, drawn for these pictures' sizes; or from ``views.plan`` (:func:`anamorph.views`).
        targets: class ids, integers ``[B]``, or soft float ``[B, K]``; of clips one for each clip.
        mask: for a recipe with MaskMix: float32 ``[B, 1, H, W]`` at the output's size, in [0, 1].
        layout: "NHWC" or "NCHW", where the shape fits both; of a list, its pictures' without the N.
        out: a tensor ``[B, C, H, W]`` of the recipe's dtype to write to. (Of clips this, the mask and the views have the T, too.)

    Returns:
        The views ``[B, C, H, W]`` of the recipe's dtype; with targets ``(views, soft)`` with soft float32 ``[B, K]``, or
        ``(views, (y_a, y_b, lam))`` for ``labels="pairs"``. A recipe without ``num_classes``, mixing and smoothing gives the
        targets back: ids int64 ``[B]``, or soft ones. A clip's soft target is the mean of its frames'. Of several views a dict
        by name, where (recipe, n) was given ``[n, B, ...]``; and so of the targets that a recipe makes.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected, before anything runs.
    """
    if type(plan) is Plan:
        return _render(images, plan, targets, mask, layout, out)
    if type(plan) is not Plans:
        several = isinstance(plan, tuple | list | dict)
        hint = "; views are rendered by the Plans that have them all, or one by one" if several else ""
        raise ArgumentError(f"plan: expected an anamorph.Plan, given {checks.kind(plan)}{hint}")
    if mask is not None or out is not None:
        name, given = ("out", out) if mask is None else ("mask", mask)
        raise ArgumentError(f"{name}: expected none for the plans of several views, given a {type(given).__name__}")
    return _render_views(images, plan, targets, layout)


def _render_views(images: Any, plans: Plans, targets: Any, layout: str | None) -> Any:
    views: dict[str, Any] = {}
    made: dict[str, Any] = {}
    for plan, counts in plans._groups:
        if isinstance(images, list | tuple) and plan.frames is None:
            images = Ragged.from_list(images, layout and layout[1:])  # once for all of them
        result = _render(images, plan, targets, None, layout, None)
        views |= _by_name(result if targets is None else result[0], plan, counts, plans)
        if targets is not None:
            makes = plan.recipe._pairs or plan.recipe.num_classes
            made |= _by_name(result[1], plan, counts, plans) if makes else dict.fromkeys(counts, result[1])
    views = {name: views[name] for name in plans}
    if targets is None:
        return views
    return views, {name: made[name] for name in plans} if makes else result[1]


def _by_name(t: Any, plan: Plan, counts: Mapping[str, int], plans: Plans) -> dict[str, Any]:
    """Whose parts of [V * B, ...] they are: [n, B, ...], or of a recipe that was given alone [B, ...]."""
    if isinstance(t, tuple):
        each = [_by_name(one, plan, counts, plans) for one in t]
        return {name: tuple(one[name] for one in each) for name in counts}
    t = t.unflatten(0, (-1, len(plan.index) // (plan.frames or 1)))
    return {name: t[at] if isinstance(plans[name], Plan) else t[at:at + counts[name]]
            for name, at in zip(counts, accumulate(counts.values(), initial=0), strict=False)}


def _render(images: Any, plan: Plan, targets: Any, mask: Tensor | None, layout: str | None, out: Tensor | None) -> Any:
    """Of a plan of one view; or of one with the rows of several, one after the other."""
    recipe, rows = plan.recipe, plan.rows
    h, w = plan.output_size
    frames = plan.frames
    count = len(plan.index) // (frames or 1)  # of samples: pictures, or clips
    views = len(rows) // len(plan.index)
    if layout is not None:
        layout = checks.choice("layout", layout, tuple(_LAYOUTS))
    foreign: list[Tensor] = []  # other libraries' memory on a GPU
    if isinstance(images, list | tuple):
        images = images if frames is None else flat("images", images, count, frames)
        images = Ragged.from_list(images, layout and layout[1:])
    if type(images) is Ragged:
        first, table, channels, code, source = False, _check_ragged(images, plan), images.channels, 0, images.buffer
        dtype, code = images.dtype, CODES[images.dtype]
        images._check_there()
        foreign += images._foreign
    else:
        source = as_tensor("images", images, foreign)
        table, dtype, code = None, source.dtype, 0
        if dtype not in CODES:
            check_dtype("images", source, images)
        if source.requires_grad:
            check_grad("images", source)
            source = source.detach()
        shape = source.shape if frames is None else _without_frames(source.shape, count, frames)
        first = channels_first(shape, plan.size, layout)
        channels = shape[1] if first else shape[3]
    if channels != 3 or recipe._channels > FOURS:
        _check_channels(recipe, channels)
    if recipe._no_floats and dtype != torch.uint8:
        raise ArgumentError(recipe._no_floats)
    if out is None:
        out = pictures = room(rows, (len(rows), channels, h, w), recipe.dtype, recipe.memory_format == "channels_last")
        out = out if frames is None else out.unflatten(0, (views * count, frames))
    else:
        _check_out(out, (count, *(() if frames is None else (frames,)), channels, h, w),
                   {"images": images.tensors if isinstance(images, Ragged) else (source,), "mask": (mask,)})
        pictures = out if frames is None else _one_after_the_other(out)

    share = ready = None
    if recipe._masks:
        mask, share = _check_mask(mask if frames is None else flat("mask", mask, count, frames), foreign)
    elif mask is not None:
        raise ArgumentError("mask: expected none for a recipe without MaskMix")
    if rows.is_cuda and (floats := recipe._native.ready_floats(len(rows), min(channels, FOURS), h, w)):
        ready = torch.empty(floats, dtype=torch.float32, device=rows.device)

    soft = y_b = lam = kept = None
    if targets is not None:
        targets = as_targets(targets, foreign)
        if recipe._pairs:
            soft, y_b = torch.empty((2, views * count), dtype=torch.int64, device=rows.device)
            lam = torch.empty(views * count, dtype=torch.float32, device=rows.device)
        elif recipe.num_classes is None:
            if recipe._mixes or recipe.label_smoothing:
                raise ArgumentError("targets: expected a recipe with num_classes for soft targets, or labels='pairs'")
            kept, targets = _check_kept(targets, rows, count, frames), None
        else:
            soft = torch.empty((views * count, recipe.num_classes), dtype=torch.float32, device=rows.device)
    rest = targets, soft, y_b, lam, mask, share, ready, torch.get_num_threads(), frames or 1, views
    if channels <= FOURS:
        recipe._native.render(rows, source, first, table, channels, code, pictures, *rest)
    else:
        natives = recipe._natives if recipe._channels else recipe._natives * channels
        for k, native in zip(range(0, channels, FOURS), natives, strict=False):
            part = slice(k, k + FOURS)
            four = source[..., part, :, :] if first else source[..., part]  # type: ignore[index]  # a list has no more than four
            native.render(rows, four, first, None, 0, 0, pictures[:, part], *rest)
    if foreign or rows.is_cuda:
        hold(foreign)
    if kept is not None:
        return out, kept
    if targets is None:
        return out
    return (out, (soft, y_b, lam)) if recipe._pairs else (out, soft)


def _without_frames(shape: torch.Size, clips: int, frames: int) -> torch.Size:
    if len(shape) != 5 or tuple(shape[:2]) != (clips, frames):
        raise ShapeError(f"images: expected [{clips}, {frames}, H, W, C] or [{clips}, {frames}, C, H, W], the plan's clips of "
                         f"{frames} frames, given {list(shape)}")
    return torch.Size((shape[0], *shape[2:]))


def _one_after_the_other(out: Tensor) -> Tensor:
    """[B, T, ...] as [B * T, ...] in the same memory."""
    if out.shape[0] > 1 and out.shape[1] > 1 and out.stride(0) != out.shape[1] * out.stride(1):
        raise ArgumentError(f"out: expected the frames of all clips one after the other in memory, given strides {out.stride()} "
                            f"for {list(out.shape)}")
    return out.view(-1, *out.shape[2:])


def _check_channels(recipe: Drawer, channels: int) -> None:
    names = ", ".join(recipe._grey_or_rgb).lower()
    if names and channels not in (1, 3):
        raise ShapeError(f"images: expected 1 or 3 channels for colour defined on grey or RGB ({names}), given {channels}; "
                         "images[..., :3] leaves an alpha channel out")
    if recipe._rgb and channels != 3:
        raise ShapeError(f"images: expected 3 channels for RGBShift, given {channels}")
    if channels > FOURS and recipe._together:
        raise ShapeError(f"images: expected 1 to {FOURS} channels for {' and '.join(recipe._together)}, given {channels}")
    if max(channels, recipe._channels) > FOURS and recipe._channels not in (0, channels):  # else the native core says it
        raise ShapeError(f"images: expected {recipe._channels} channels, as many as the recipe's mean, std, fill or value have, "
                         f"given {channels}")


def channels_first(shape: torch.Size, size: Any, layout: str | None) -> bool:
    """Is it [B, C, H, W]? By the plan's size, None where there is no plan; where that leaves it open, by ``layout``."""
    if len(shape) != 4:
        raise ShapeError(f"images: expected [B, H, W, C] or [B, C, H, W], given {list(shape)}")
    if isinstance(size, Tensor):  # one for each sample: all must be the batch's
        sizes = size.unique(dim=0).tolist() if size.device.type == "cpu" else []
        if len(sizes) > 1:
            raise ShapeError(f"images: expected pictures of the plan's {len(sizes)} different sizes, given {list(shape)}")
        size = tuple(sizes[0]) if sizes else None
    most = checks.MAX_CHANNELS if size else FOURS
    last = (size is None or (shape[1], shape[2]) == size) and 1 <= shape[3] <= most
    first = (size is None or (shape[2], shape[3]) == size) and 1 <= shape[1] <= most
    if layout is not None:
        first, last = first and _LAYOUTS[layout], last and not _LAYOUTS[layout]
    if first and last:
        raise ArgumentError(f"layout: expected 'NHWC' or 'NCHW', because the shape {list(shape)} fits both")
    if not first and not last:
        of = f"pictures of the plan's size {size[0]} x {size[1]}" if size else "pictures"
        raise ShapeError(f"images: expected {of} with 1 to {most} channels, {layout or 'NHWC or NCHW'}, given {list(shape)}"
                         + _other_layout(shape, size, layout, most))
    return first


def _other_layout(shape: torch.Size, size: tuple[int, int] | None, layout: str | None, most: int) -> str:
    """What mends a batch, or a plan, that took the axes of one layout for those of the other."""
    for fits, sides, channels in (("NHWC", (shape[1], shape[2]), shape[3]), ("NCHW", (shape[2], shape[3]), shape[1])):
        if layout not in (None, fits) and size in (None, sides) and 1 <= channels <= most:
            to = "(0, 2, 3, 1)" if layout == "NHWC" else "(0, 3, 1, 2)"
            return f'; of {fits}: layout="{fits}", or images.permute{to}'
        if size == sides and channels > most:  # the plan's, which are no picture's
            right = "images.shape[2:]" if fits == "NHWC" else "images.shape[1:3]"
            return f"; of an {'NCHW' if fits == 'NHWC' else 'NHWC'} batch: recipe.plan(..., size={right})"
    return ""


def _check_ragged(images: Ragged, plan: Plan) -> Tensor:
    if len(images) != len(plan.index):
        raise ShapeError(f"images: expected {len(plan.index)} pictures as in the plan, given {len(images)}")
    if images.device != plan.rows.device:
        raise DeviceError(f"images: expected on {plan.rows.device} like the plan, given on {images.device}")
    sizes = plan.size if isinstance(plan.size, Tensor) else torch.tensor([plan.size])
    if sizes.device.type == "cpu" and bool((images.sizes != sizes).any()):
        i = int((images.sizes != sizes).any(1).nonzero()[0])
        expected = sizes[i if len(sizes) > 1 else 0].tolist()
        raise ShapeError(f"images[{i}]: expected {expected[0]} x {expected[1]} pixels as in the plan, given "
                         f"{images.sizes[i, 0]} x {images.sizes[i, 1]}")
    return images._table


def _check_out(out: Any, shape: tuple[int, ...], inputs: dict[str, tuple[Any, ...]]) -> None:
    if not isinstance(out, Tensor):
        raise ArgumentError(f"out: expected a torch tensor, given {type(out).__name__}")
    as_tensor("out", out)  # for its check
    if tuple(out.shape) != shape:
        raise ShapeError(f"out: expected {list(shape)}, given {list(out.shape)}")
    if out.requires_grad:
        raise ArgumentError("out: expected a tensor that requires no gradient")
    if out.is_neg():
        raise ArgumentError("out: expected a plain tensor, given a negated view")
    reach = 1  # of the axes with smaller strides, elements
    for stride, side in sorted(zip(out.stride(), out.shape, strict=True)):
        if side > 1 and stride < reach:
            raise ArgumentError("out: expected every value in memory of its own, given a tensor that overlaps itself")
        reach += stride * (side - 1)
    begin, end = _memory(out)
    for name, tensors in inputs.items():
        for t in (t for t in tensors if isinstance(t, Tensor) and t.device == out.device):
            first, last = _memory(t)
            if first < end and begin < last:
                raise ArgumentError(f"out: expected other memory than {name}")


def _memory(t: Tensor) -> tuple[int, int]:
    """The addresses between which a tensor's values lie."""
    reach = sum(stride * (side - 1) for stride, side in zip(t.stride(), t.shape, strict=True)) + 1
    return t.data_ptr(), t.data_ptr() + reach * t.element_size()


def _check_mask(mask: Any, foreign: list[Tensor]) -> tuple[Tensor, Tensor]:
    if mask is None:
        raise ArgumentError("mask: expected a float32 [B, 1, H, W] for a recipe with MaskMix, given none")
    mask = as_tensor("mask", mask, foreign).detach()
    if mask.dtype != torch.float32:
        raise DtypeError(f"mask: expected float32, given {mask.dtype}")
    if mask.dim() != 4:
        raise ShapeError(f"mask: expected [B, 1, H, W], given {list(mask.shape)}")
    if not mask.is_cuda and mask.numel():  # on a device it would be a host copy
        low, high = mask.aminmax()
        if not 0 <= low <= high <= 1:
            raise ArgumentError(f"mask: expected values from 0 to 1, given {low:g} to {high:g}")
    return mask, mask.mean((1, 2, 3))


def _check_kept(targets: Tensor, rows: Tensor, count: int, frames: int | None) -> Tensor:
    """Targets that the native core does not see."""
    if targets.dim() not in (1, 2) or len(targets) != count:
        of = "picture" if frames is None else "clip"
        raise ShapeError(f"targets: expected {count} rows, one for each {of}, given {list(targets.shape)}")
    if targets.device != rows.device:
        raise DeviceError(f"targets: expected on {rows.device} like the plan, given on {targets.device}")
    return targets


def as_targets(targets: Any, foreign: list[Tensor]) -> Tensor:
    if type(targets) is Tensor and targets.dtype is torch.int64 and targets.dim() == 1 and targets.is_contiguous():
        return targets
    targets = as_tensor("targets", targets, foreign).detach()
    if targets.dim() == 2:
        if not targets.dtype.is_floating_point:
            raise DtypeError(f"targets: expected float [B, K] or class ids [B], given {targets.dtype} {list(targets.shape)}")
        return targets.to(torch.float32).contiguous()
    return as_integers("targets", targets).contiguous()
