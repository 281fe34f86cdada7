"""The forms in which a batch's targets are given, and given back: one tensor for the batch or a list with one for each sample;
both may be torchvision's tv_tensors, which bring their format along.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.core.tensors import as_integers, as_tensor

FORMATS = ("xyxy", "xywh", "cxcywh")
PARTNER = 2  # whose values of a mixed view, as the native core numbers them: 0 both pictures', 1 the own one's
BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

# What planes may hold: a check, and its words.
INTEGERS = (lambda t: not t.dtype.is_floating_point and not t.dtype.is_complex, "integers or bools")
FLOATS = (lambda t: t.dtype.is_floating_point, "floats")
BOOLS = (lambda t: t.dtype == torch.bool, "bools")


class Drawn(Protocol):
    """What is asked of a plan."""

    rows: Tensor
    size: Any
    output_size: tuple[int, int]

    def _partners(self) -> list[int]: ...


def check_device(name: str, t: Tensor, rows: Tensor) -> None:
    if t.device != rows.device:
        raise DeviceError(f"{name}: expected on {rows.device} like the plan, given on {t.device}")


class Planes:
    """Planes of values as they were given: one tensor for the batch, or a list."""

    def __init__(self, name: str, value: Any, plan: Drawn, good: Callable[[Tensor], bool], expected: str,
                 like: Planes | None = None, each: str | None = None) -> None:
        """``each``: what one of a list is called, {} its place."""
        self.name, self.original = name, value
        each = each or f"{name}[{{}}]"
        self.list = isinstance(value, list | tuple)
        if self.list and len(value) != len(plan.rows):
            raise ShapeError(f"{name}: expected a list of {len(plan.rows)}, one for each sample, given {len(value)}")
        self.tensors = [plain(as_tensor(each.format(i) if self.list else name, t)) for i, t in
                        enumerate(value if self.list else [value])]
        self.dims = max(t.dim() for t in self.tensors) if self.tensors else 0
        first = self.tensors[0]
        for i, t in enumerate(self.tensors):
            where = each.format(i) if self.list else name
            if not good(t):
                raise DtypeError(f"{where}: expected {expected}, given {t.dtype}")
            if t.dtype != first.dtype:
                raise DtypeError(f"{where}: expected {first.dtype} as the first of the list, given {t.dtype}")
            check_device(where, t, plan.rows)
            self._check_shape(where, t, i, plan, like)

    def _check_shape(self, where: str, t: Tensor, i: int, plan: Drawn, like: Planes | None) -> None:
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

    def to(self, dtype: torch.dtype) -> Planes:
        return self._with([t.to(dtype) for t in self.tensors])

    def _with(self, tensors: list[Tensor]) -> Planes:
        other = Planes.__new__(Planes)
        other.__dict__.update(self.__dict__, tensors=tensors)
        return other

    def like(self, plan: Drawn, h: int, w: int, part: int) -> Planes:
        """Room for the same planes of the views; of the partners' alone, as many as these have."""
        if not self.list:
            t = self.tensors[0]
            return self._with([t.new_empty((*t.shape[:-2], h, w))])
        tensors = [self.tensors[k] for k in plan._partners()] if part == PARTNER else self.tensors
        return self._with([t.new_empty((*t.shape[:-2], h, w)) for t in tensors])

    def native(self, plan: Drawn) -> tuple[Tensor, Any]:
        """What the native core reads, and what must live as long as that."""
        bits = BITS[self.bytes]
        if not self.list:
            t = self.tensors[0].contiguous().view(bits)
            return t if self.name == "valid" or t.dim() == 4 else t[:, None], t
        kept = [t.contiguous() for t in self.tensors]
        return table_of(kept, plan), kept

    def result(self, given: Planes) -> Any:
        tensors = [rewrap(t, o) for t, o in zip(self.tensors, given.original if given.list else [given.original], strict=True)]
        return tensors if self.list else tensors[0]


def bits_of(fill: Any, dtype: torch.dtype) -> int:
    """The bits of a value of the dtype."""
    given = checks.plain(fill)
    if dtype.is_floating_point:
        value = torch.tensor(float("nan") if given != given else checks.number("fill", given), dtype=dtype)
    else:
        info = (0, 1) if dtype == torch.bool else (torch.iinfo(dtype).min, torch.iinfo(dtype).max)
        value = torch.tensor(checks.whole("fill", int(given) if isinstance(given, bool) else given, *info), dtype=dtype)
    size = value.element_size()
    return int(value.reshape(1).view(BITS[size]).item()) % (1 << 8 * size)


def table_of(tensors: Sequence[Tensor], plan: Drawn) -> Tensor:
    rows = [[t.data_ptr(), 1 if t.dim() == 2 else t.shape[0], *t.shape[-2:]] for t in tensors]
    return torch.tensor(rows, dtype=torch.int64).to(plan.rows.device)


class Rows:
    """Boxes or points as they were given: float32 [B, N, values] and how many of the N are some."""

    def __init__(self, name: str, value: Any, counts: Any, rows: Tensor, values: int, canvas: Any, nowhere: bool = False,
                 each: str | None = None) -> None:
        """``canvas``: the (height, width) of what they lie in, or int64 [B, 2]. ``nowhere``: may they be NaN, which is what the
        maps say of points that are nowhere? ``each``: what one of a list is called, {} its place."""
        self.list = isinstance(value, list | tuple)
        self.format: str | None = None
        self.original = value
        batch = len(rows)
        if not self.list:
            self.format = format_of(name, value)
            check_canvas([name], [value], canvas)
            t = plain(as_tensor(name, value))
            check_device(name, t, rows)
            if t.dim() != 3 or t.shape[0] != batch or t.shape[2] != values:
                raise ShapeError(f"{name}: expected [{batch}, N, {values}], given {list(t.shape)}")
            self.counts = None if counts is None else _counts(counts, t, rows)
            if self.counts is not None:  # what lies behind them may be anything, such as the NaN that apply_keypoints puts there
                t = t.masked_fill((torch.arange(t.shape[1], device=t.device) >= self.counts[:, None])[..., None], 0)
            self.data = _floats(name, t, nowhere)
            self.lengths = [t.shape[1]] * batch
            return
        if counts is not None:
            raise ArgumentError("counts: expected none for a list, whose lengths they are, given some")
        if len(value) != batch:
            raise ShapeError(f"{name}: expected a list of {batch}, one for each sample, given {len(value)}")
        names = [(each or f"{name}[{{}}]").format(i) for i in range(batch)]
        formats = {format_of(*one) for one in zip(names, value, strict=True)}
        if len(formats) > 1:
            raise ArgumentError(f"{name}: expected boxes of one format, given {sorted(map(str, formats))}")
        self.format = formats.pop()
        check_canvas(names, value, canvas)
        tensors = []
        for where, one in zip(names, value, strict=True):
            t = plain(as_tensor(where, one))
            check_device(where, t, rows)
            t = t.reshape(0, values) if t.dim() in (1, 2) and len(t) == 0 else t
            if t.dim() != 2 or t.shape[1] != values:
                raise ShapeError(f"{where}: expected [N, {values}], given {list(t.shape)}")
            tensors.append(_floats(where, t, nowhere))
        self.lengths = [len(t) for t in tensors]
        self.data = torch.zeros((batch, max(self.lengths), values), dtype=torch.float32, device=rows.device)
        for i, t in enumerate(tensors):
            self.data[i, :len(t)] = t
        self.counts = torch.tensor(self.lengths, dtype=torch.int64).to(rows.device)

    def result(self, t: Tensor, plan: Drawn, twice: bool, undo: bool = False, plain: bool = False) -> Any:
        """In the form that was given; ``undo``: on the canvases of the sources."""
        originals = self.original if self.list else [self.original]
        sizes = plan.size if undo else plan.output_size
        if isinstance(sizes, Tensor):  # copied to the host only where tensors say on what canvas they are
            sizes = sizes.tolist() if not plain and any(_is_tv(o) for o in originals) else None
        canvases = [(h, w) for h, w in sizes] if isinstance(sizes, list) else [sizes] * len(self.lengths)
        if not self.list:
            return t if plain else rewrap(t, originals[0], canvases[0])
        n = self.data.shape[1]
        partners = plan._partners() if twice else range(len(self.lengths))
        each = []
        for i, k in enumerate(partners):
            own = t[i, :self.lengths[i]]
            each.append(torch.cat([own, t[i, n:n + self.lengths[k]]]) if twice and k != i else own)
        return each if plain else [rewrap(*one) for one in zip(each, originals, canvases, strict=True)]


def _floats(name: str, t: Tensor, nowhere: bool) -> Tensor:
    if t.dtype.is_complex or t.dtype == torch.bool:
        raise DtypeError(f"{name}: expected numbers, given {t.dtype}")
    t = t.detach().to(torch.float32).contiguous()
    if not t.is_cuda:  # on a device it would be a host copy; there NaN stays NaN
        wrong = t.isinf() if nowhere else ~t.isfinite()
        if bool(wrong.any()):
            raise ArgumentError(f"{name}: expected finite numbers, given {t[wrong][0].item()}")
    return t


def _counts(counts: Any, t: Tensor, rows: Tensor) -> Tensor:
    counts = as_integers("counts", counts)
    check_device("counts", counts, rows)
    if counts.shape != t.shape[:1]:
        raise ShapeError(f"counts: expected [{len(t)}], given {list(counts.shape)}")
    if not counts.is_cuda and not bool(((counts >= 0) & (counts <= t.shape[1])).all()):
        raise ArgumentError(f"counts: expected 0 to {t.shape[1]}, given {counts.min().item()} to {counts.max().item()}")
    return counts.contiguous()


def to_xyxy(boxes: Tensor, format: str) -> Tensor:
    if format == "xyxy":
        return boxes
    a, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([a, a + size], -1) if format == "xywh" else torch.cat([a - size / 2, a + size / 2], -1)


def from_xyxy(boxes: Tensor, format: str) -> Tensor:
    if format == "xyxy":
        return boxes
    a, b = boxes[..., :2], boxes[..., 2:]
    return torch.cat([a, b - a] if format == "xywh" else [(a + b) / 2, b - a], -1)


# ---- torchvision's tv_tensors, which bring their format and are given back as what they were ----


def _is_tv(value: Any) -> bool:
    kinds = sys.modules.get("torchvision.tv_tensors")  # who has one has imported it
    return kinds is not None and isinstance(value, kinds.TVTensor)


def plain(t: Tensor) -> Tensor:
    return t.as_subclass(Tensor) if type(t) is not Tensor else t


def format_of(name: str, value: Any) -> str | None:
    if not _is_tv(value) or not hasattr(value, "format"):
        return None
    format = value.format.value.lower()
    if format not in FORMATS:
        raise ArgumentError(f"{name}: expected boxes of format {', '.join(FORMATS)}, given {format}")
    return cast(str, format)


def check_canvas(names: Sequence[str], values: Sequence[Any], canvas: Any) -> None:
    """What says its canvas lies in pictures of that size. ``canvas``: (height, width), or int64 [B, 2]; of one value, which is
    then the whole batch's, all of them."""
    given = [(i, tuple(v.canvas_size)) for i, v in enumerate(values) if _is_tv(v) and hasattr(v, "canvas_size")]
    if not given:
        return
    sizes = [tuple(size) for size in (canvas.tolist() if isinstance(canvas, Tensor) else [canvas])]
    for i, size in given:
        for expected in {*sizes} if len(values) == 1 or len(sizes) == 1 else {sizes[i]}:
            if size != expected:
                raise ShapeError(f"{names[i]}: expected canvas_size {expected}, the height and width that the plan has for it, "
                                 f"given {size}")


def rewrap(t: Tensor, original: Any, canvas: tuple[int, int] | None = None) -> Tensor:
    """A tv_tensor where one was given, of its kind and format. ``canvas``: the view's (height, width), where it is another."""
    if not _is_tv(original):
        return t
    moved = {"canvas_size": canvas} if canvas is not None and hasattr(original, "canvas_size") else {}
    return cast(Tensor, sys.modules["torchvision.tv_tensors"].wrap(t, like=original, **moved))
