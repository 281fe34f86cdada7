"""Recipe: what may happen to a sample. Compiled once; :meth:`Recipe.plan` then costs one native call a batch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from numbers import Number
from typing import Any, NoReturn, cast

import torch
from torch import Tensor

from anamorph import _native
from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.core.lease import hold
from anamorph.core.memory import CODES
from anamorph.core.move import to_device
from anamorph.core.tensors import as_device, as_integers, as_tensor
from anamorph.images.bounds import branches, has_antialias, reach
from anamorph.images.forms import Rows, to_xyxy
from anamorph.images.frames import check_change, every_frame, flat
from anamorph.images.picture import as_batch
from anamorph.images.plan import MAX_VIEW, Plan
from anamorph.images.render import FOURS, render
from anamorph.images.transforms.base import Scheduled, Transform, settings
from anamorph.images.transforms.color import Normalize
from anamorph.images.transforms.compose import chain_size, check_list, leaves
from anamorph.images.transforms.filters import GaussianNoise
from anamorph.images.transforms.mix import MaskMix
from anamorph.images.transforms.program import IN_ORDER, NORMALISED, REPLACE, Slot, view_size
from anamorph.images.transforms.schedule import Schedule

MAX_EPOCH = 2**32 - 1  # a plan's key has one word for it
MAX_STEP = 2**63 - 1

# Colour that is defined on grey or red, green and blue, as in torchvision: a fourth channel would be taken for a colour.
GREY_OR_RGB = ("BRIGHTNESS", "CONTRAST", "CONTRAST_MIDGRAY", "SATURATION", "HUE", "GRAYSCALE", "FIELD_BRIGHTNESS",
               "FIELD_CONTRAST", "FIELD_SATURATION", "FIELD_HUE")
RGB = ("SHIFT_RED", "SHIFT_GREEN", "SHIFT_BLUE")  # albumentations'
ENDS = "end the geometry with RandomResizedCrop, Resize((h, w)), RandomCrop or CenterCrop"
ERASES = tuple(_native.OPS[name] for name in ("ERASE", "DROPOUT", "CUTOUT", "GRID_MASK", "HIDE_AND_SEEK"))
_GEOMETRY = frozenset(_native.GEOMETRY_OPS)


class Recipe:
    """A list of transforms with their distributions, and the form of the output.

    Args:
        transforms: run as one map per sample: the geometry in list order, then the colour in list order, then erasing,
            mixing, normalising and casting.
        dtype: of the output: torch.float32, float16, bfloat16 or uint8. Before Normalize
            float outputs are in [0, 1] for uint8 images.
        num_classes: K, for soft targets ``[B, K]``. Without it class ids stay ids, in a recipe that neither mixes nor smooths.
        label_smoothing: s in [0, 1); as timm: 1 - s for the class plus s / K for every class; with ``multi_label`` s / 2.
        labels: "soft" for targets ``[B, K]`` float32; "pairs" for ``(y_a, y_b, lam)``.
        memory_format: "contiguous" (NCHW) or "channels_last" (NHWC in memory, the shape stays ``[B, C, H, W]``).
        multi_label: the classes are questions of their own, several of which may hold: smoothing moves each towards 1/2 (timm's).

    Raises:
        ArgumentError: a transform or an argument that cannot be.
    """

    def __init__(self, transforms: Sequence[Transform], dtype: torch.dtype = torch.float32,
                 num_classes: int | None = None, label_smoothing: float = 0.0, labels: str = "soft",
                 memory_format: str = "contiguous", multi_label: bool = False) -> None:
        self.transforms = check_list("transforms", transforms)
        if not isinstance(dtype, torch.dtype) or dtype not in CODES:
            checks.wrong("dtype", "torch.float32, float16, bfloat16 or uint8", dtype)
        self.dtype = dtype
        self.num_classes = None if num_classes is None else checks.whole("num_classes", num_classes, 1, 2**31 - 1)
        self.label_smoothing = checks.number("label_smoothing", label_smoothing, 0, 1)
        self.labels = checks.choice("labels", labels, ("soft", "pairs"))
        if self.label_smoothing == 1 or (self.label_smoothing and self.labels == "pairs"):
            checks.wrong("label_smoothing", "less than 1, and 0 with labels='pairs', whose loss does it", label_smoothing)
        self.memory_format = checks.choice("memory_format", memory_format, ("contiguous", "channels_last"))
        self.multi_label = checks.flag("multi_label", multi_label)
        off = self.label_smoothing * (0.5 if multi_label else 1 / (self.num_classes or 1))
        normalize = _normalize_of(self.transforms, dtype)
        #: Normalize's numbers, one for each channel (or one for all); None without it.
        self.mean = cast(tuple[float, ...], normalize.mean) if normalize else None
        self.std = cast(tuple[float, ...], normalize.std) if normalize else None
        #: The compiled program; where schedules move it, in the middle of their ranges.
        self.slots = _compile(self.transforms)
        self._programs: list[list[list[Slot]]] = [[self.slots]]
        self._schedules, base, ramps = list[Schedule](), self.slots, list[Slot]()
        if any(isinstance(t, Scheduled) for t in self.transforms):
            self._programs = _programs(self.transforms)
            self._schedules, base, ramps = _moving(self.transforms, self.slots)
        every = [t for each in settings(self.transforms) for t in each]

        _check_chains(self.transforms)
        _check_reach(self._programs)
        _check_finite(every, self.mean, self.std, dtype)
        #: Why it cannot render float pictures, if so.
        self._no_floats = _float_pictures(every, self.slots)
        ops = {s.op for s in self.slots}
        self._boxed = _native.OPS["IOU_CROP"] in ops
        if self._boxed and _native.OPS["FIELD"] in [s.op for s in self.slots][:_last(self.slots, "IOU_CROP")]:
            raise ArgumentError("transforms: expected RandomIoUCrop before a random field, whose bent view it cannot see, given "
                                "it behind one")
        self._grey_or_rgb = tuple(name for name in GREY_OR_RGB if _native.OPS[name] in ops)
        self._rgb = any(_native.OPS[name] in ops for name in RGB)
        #: What looks at all channels of a pixel at once, or draws for each, so that pictures may not have more than four.
        self._together = [*(["channel_permutation"] if _native.OPS["CHANNEL_PERMUTATION"] in ops else []),
                          *(["an erasure's noise"] if any(s.op in ERASES and s.k for s in self.slots) else [])]

        channels = set().union(*(t.channels() for t in self.transforms))
        if len(channels) > 1:
            raise ArgumentError(f"transforms: expected per-channel values of one length, given lengths {sorted(channels)}")
        mixers = [m for t in self.transforms for m in t.mixers()]
        self._mixes = bool(mixers)
        self._partner_rules = {str(m.partner) for m in mixers}
        self._masks = any(isinstance(m, MaskMix) for m in mixers)
        self._fixed = chain_size(self.transforms, None)
        self._pairs = self.labels == "pairs"
        self._torch_format = torch.channels_last if self.memory_format == "channels_last" else torch.contiguous_format
        self._code = CODES[dtype]
        #: That its numbers are for; 0: any.
        self._channels = channels.pop() if channels else 0
        self._natives = [
            _native.Recipe(base, _numbers(self.mean, 0.0, k), _numbers(self.std, 1.0, k), self._code,
                           min(max(self._channels - k, 0), FOURS), self.num_classes or 0, self.label_smoothing, off, self._pairs,
                           ramps, [(s.low, s.high) for s in self._schedules])
            for k in range(0, self._channels or 1, FOURS)]
        self._native = self._natives[0]
        self._row_words: int = self._native.row_words

    @property
    def info(self) -> dict[str, Any]:
        """What the native core found: the most steps of a row, those of them that need the whole view, its erasures, fields and
        layers, and its length in words."""
        return self._native.info()

    @property
    def fingerprint(self) -> int:
        """A 63-bit number of the program and the output's form: a plan fits recipes of the same number."""
        text = repr((self.slots, self.mean, self.std, str(self.dtype)))
        if self._schedules:  # their ranges, not what they say
            text += repr(self._programs)
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the output for sources of ``size``.

        Raises:
            ArgumentError: it would differ from sample to sample.
            ShapeError: ``size`` is no picture's, or less than a crop takes.
        """
        return self._size_of(_pair(size)) or self._no_size()

    def _no_size(self) -> NoReturn:
        raise ArgumentError(f"transforms: the output's size would differ between samples; {ENDS}, or give pictures one by one: "
                            "recipe(image)")

    def _size_of(self, size: tuple[int, int]) -> tuple[int, int] | None:
        """The output's for sources of ``size``; None where the draw decides."""
        found = chain_size(self.transforms, size)  # also for its checks
        out = self._fixed or found
        return out and _within(size, out)

    def plan(self, index: Any, *, size: Any, seed: int = 0, epoch: int | Tensor = 0, view: int = 0,
             device: Any = None, boxes: Any = None, counts: Any = None, frames: int | None = None, change: str = "none",
             drift: float = 0.2, step: int | Tensor = 0) -> Plan:
        """Draw what happens to a batch: a pure function of (recipe, seed, epoch, sample id, view), of clips also of ``frames``,
        ``change`` and ``drift``, and of what the recipe's schedules then say.

        Args:
            index: the sample ids, int64 ``[B]``: a tensor, an array or a list. The plan keeps a copy (one small one on the
                same device), so the memory may be used again. An id may stand there several times, for a pair or the frames of
                a clip: each time it gets the same view (but for a partner, whose id is another row's).
            size: (height, width) of the source images, or int64 ``[B, 2]`` where they differ (of clips, or ``[B, T, 2]``). Copied
                likewise.
            seed: 0 to 2**64 - 1.
            epoch: 0 to 2**32 - 1; or an int64 tensor of one element on the plan's device, read by the kernel, so that a
                captured CUDA graph replays with the epoch it then holds.
            view: 0 to 4095: which of several views of the same sample.
            device: where the plan is drawn; by default where ``index`` is.
            boxes: for a recipe with RandomIoUCrop, whose rows are then a function of these too: float32 ``[B, N, 4]``, xyxy in
                edge coordinates of the sources, or a list of ``[N, 4]``; tv_tensors.BoundingBoxes bring their format.
            counts: of a tensor of boxes, int64 ``[B]``: how many of the N are boxes. None: all.
            frames: T, 1 to 65536, for samples that are clips of T frames; boxes and counts are then ``[B, T, ...]``, ids and
                sizes still one for each clip. None: they are pictures.
            change: how the views of a clip's frames differ. "none": all have the same. "each": each frame is drawn anew.
                "smooth": what is decided (whether a transform is applied, which one, in what order) stays for the clip, and its
                numbers move: docs/video.md.
            drift: of a smooth clip, in [0, 1]: how far from the first frame to the last a number moves at most, as a share of its
                range; each at a speed of its own, up to that.
            step: for the functions of :func:`anamorph.schedule`: 0 or more, or, as ``epoch``, a tensor on the plan's device.

        Returns:
            A :class:`Plan` of B rows, of clips B * T. One launch, no synchronisation.

        Raises:
            ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
        """
        return self._draw(index, size, seed, epoch, view, device, boxes, counts, frames, change, drift, step)

    def _draw(self, index: Any, size: Any, seed: int, epoch: int | Tensor, view: int, device: Any, boxes: Any, counts: Any,
              frames: int | None, change: str, drift: float, step: int | Tensor, views: int = 1) -> Plan:
        """The plan of one view, or of several: rows ``[views * B, words]`` for B ids, of which :class:`Plans` knows."""
        where = None if device is None else as_device(device)
        foreign: list[Tensor] = []
        index = as_integers("index", index, foreign, where)
        usual = frames is None and type(change) is str and change == "none" and type(drift) is float and drift == 0.2
        clips = None if usual else check_change(frames, change, drift)
        index = index.clone() if index.is_contiguous() else index.contiguous()  # the caller may use the memory again
        shape = index.shape
        if len(shape) != 1 or shape[0] == 0:
            raise ShapeError(f"index: expected sample ids [B] with B >= 1, given shape {list(shape)}")
        where = where or index.device
        if index.device != where:
            index = to_device(index, where)
        if type(seed) is not int or not 0 <= seed < 1 << 64:
            seed = checks.whole("seed", seed, 0, 2**64 - 1)
        if type(view) is not int or not 0 <= view < 4096:
            view = checks.whole("view", view, 0, MAX_VIEW)
        if type(epoch) is not int or not 0 <= epoch < 1 << 32:
            epoch = _cell("epoch", epoch, where, MAX_EPOCH)
        if type(step) is not int or not 0 <= step < 1 << 63:
            step = _cell("step", step, where, MAX_STEP)

        if frames is not None and clips is not None:
            self._check_clips(change)
            frames = clips[0]
            index = every_frame(index, frames)
        sizes = None
        if type(size) is not tuple or len(size) != 2 or type(size[0]) is not int or type(size[1]) is not int:
            size, sizes = _sizes(size, shape[0], foreign, where, frames)
        if sizes is None:
            h, w = size
            out = self._fixed if self._fixed and self._checked == size else self._check_size(size)
            each = None
        else:
            h = w = 0
            out = self._output(sizes)
            each = to_device(sizes, where)
        rows = torch.empty((views * len(index), self._row_words), dtype=torch.int32, device=where)
        if boxes is None and not self._boxed and frames is None and views == 1 and not self._schedules:
            self._native.plan(index, seed, epoch, view, h, w, each, out[0], out[1], rows, torch.get_num_threads())
        else:
            moved = self._moved(epoch, step, shape[0], rows)
            if frames is not None:
                boxes, counts = (flat(name, given, shape[0], frames) for name, given in (("boxes", boxes), ("counts", counts)))
            objects = None
            if boxes is not None or self._boxed:
                objects = self._objects(boxes, counts, rows[:len(index)], size if sizes is None else sizes)
            self._native.plan(index, seed, epoch, view, h, w, each, out[0], out[1], rows, torch.get_num_threads(),
                              objects and objects.data, objects and objects.counts, *(clips or (1, 0, 0.0)), views, *moved)
        if foreign or rows.is_cuda:
            hold(foreign)
        return Plan._drawn(self, rows, index, seed, epoch, view, size if sizes is None else sizes, out, frames)

    def _moved(self, epoch: int | Tensor, step: int | Tensor, count: int, rows: Tensor) -> tuple[list[float | Tensor], Any]:
        """What its schedules say for a plan of ``count`` samples, and memory for the programs of its rows."""
        if not self._schedules:
            return [], None
        values = [s.value(epoch, step, count, rows.device) for s in self._schedules]
        return values, torch.empty((len(rows), self._native.moved_words), dtype=torch.int64, device=rows.device)

    def _check_clips(self, change: str) -> None:
        """A clip has one label, so one partner."""
        if change == "each" and self._pairs and len(self._partner_rules) > 1:
            raise ArgumentError("change: expected 'none' or 'smooth' for labels='pairs' and mixers that pair in several ways "
                                f"({', '.join(sorted(self._partner_rules))}), so that a clip has one partner, given 'each'")

    def _objects(self, boxes: Any, counts: Any, rows: Tensor, size: Any) -> Rows:
        if not self._boxed:
            raise ArgumentError("boxes: expected none for a recipe without RandomIoUCrop, given some")
        if boxes is None:
            raise ArgumentError("boxes: expected float32 [B, N, 4] or a list for a recipe with RandomIoUCrop, given none")
        given = Rows("boxes", boxes, counts, rows, 4, size)
        given.data = to_xyxy(given.data, given.format or "xyxy").contiguous()
        return given

    def _plan_one(self, size: tuple[int, int], seed: int, device: torch.device) -> Plan:
        """The plan of sample 0 alone, which may have a size of its own: the row that was drawn says it."""
        index = torch.zeros(1, dtype=torch.int64, device="cpu")
        if self._size_of(size):
            return self.plan(index, size=size, seed=seed, device=device)
        index = to_device(index, device)
        rows = torch.empty((1, self._row_words), dtype=torch.int32, device=device)
        self._native.plan(index, seed, 0, 0, *size, None, 0, 0, rows, 1, None, None, 1, 0, 0.0, 1, *self._moved(0, 0, 1, rows))
        return Plan._drawn(self, rows, index, seed, 0, 0, size, _within(size, view_size(rows)), None)

    def __call__(self, image: Any, *, seed: int | None = None) -> Tensor:
        """The view of one picture, as a torchvision transform gives it: for Datasets, Compose and a quick look. Batches are
        what :meth:`plan` and :func:`anamorph.render` are for, which are many times faster.

        Args:
            image: a tensor ``[C, H, W]``, a PIL image, or an array ``[H, W, C]`` (grey: ``[H, W]``).
            seed: of the view. By default a number of torch's default generator, so that ``torch.manual_seed`` rules it and the
                workers of a DataLoader differ. The view is ``plan([0], seed=seed, ...)``'s, where that has one size.

        Returns:
            A tensor ``[C, h, w]`` of the recipe's dtype, on the picture's device. Of a recipe whose output differs in size
            between samples, as after ``RandomRotation(30, expand=True)``, the view has its own.

        Raises:
            ArgumentError, ShapeError, DtypeError: what was given and what is expected; a recipe that mixes needs a batch.
        """
        if self._boxed:
            raise ArgumentError("image: expected a plan with boxes for a recipe with RandomIoUCrop, given one picture alone")
        if self._mixes:
            raise ArgumentError("image: expected a batch for a recipe that mixes, given one picture; plan and render do a batch")
        foreign: list[Tensor] = []
        batch, layout = as_batch(image, foreign)
        size = _pair(tuple(batch.shape[2:] if layout == "NCHW" else batch.shape[1:3]))
        if seed is None:
            seed = int(torch.randint(2**63 - 1, (), dtype=torch.int64, device="cpu"))
        plan = self._plan_one(size, checks.whole("seed", seed, 0, 2**64 - 1), batch.device)
        view = render(batch, plan, layout=layout)[0]
        if foreign:
            hold(foreign)
        return view

    _checked: tuple[int, int] | None = None  # the size that was last found good

    def _check_size(self, size: tuple[int, int]) -> tuple[int, int]:
        out = self.output_size(size)
        self._checked = size
        return out

    def _output(self, size: Any) -> tuple[int, int]:
        """The output's (height, width) for one size of all sources, or for a tensor with one for each."""
        if not isinstance(size, Tensor):
            return self.output_size(size)
        if self._fixed is None:
            raise ArgumentError(f"size: expected one (height, width), given one for each sample; {ENDS}")
        return self._fixed

    def _furthest(self, side: int) -> tuple[float, float]:
        """For sources of at most ``side`` pixels: how many of theirs a pixel of the views may span, and their widest filter."""
        span = reach(self._programs, side).span
        stretch = 10**span * (1 + 1e-6) if span < math.log10(_native.MAX_WORD) else _native.MAX_WORD  # rows are float32
        return stretch, stretch if has_antialias(self.slots) else 1.0

    def _options(self) -> tuple[Any, ...]:
        return self.dtype, self.num_classes, self.label_smoothing, self.labels, self.memory_format, self.multi_label

    @property
    def _of_the_batch(self) -> bool:
        """Is a view also a function of its batch: by a partner that is there, or by its number in the epoch?"""
        return self._mixes or bool(self._schedules)

    def _with_classes(self, num_classes: int) -> Recipe:
        dtype, _, *rest = self._options()
        return Recipe(self.transforms, dtype, num_classes, *rest)

    def __reduce__(self) -> tuple[Any, ...]:
        return Recipe, (self.transforms, *self._options())

    def __eq__(self, other: object) -> bool:
        return (isinstance(other, Recipe) and self.transforms == other.transforms
                and self._options() == other._options())

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        lines = "".join(f"    {t!r},\n" for t in self.transforms)
        rest = f"dtype={self.dtype}"
        if self.num_classes is not None:
            rest += f", num_classes={self.num_classes}"
        if self.label_smoothing:
            rest += f", label_smoothing={self.label_smoothing}"
        for name, default in (("labels", "soft"), ("memory_format", "contiguous"), ("multi_label", False)):
            if getattr(self, name) != default:
                rest += f", {name}={getattr(self, name)!r}"
        return f"Recipe([\n{lines}], {rest})"


def _pair(size: Any) -> tuple[int, int]:
    """(h, w), by the rule that every size of a source is held against."""
    if not checks.is_sequence(size):
        checks.wrong("size", "(height, width), or int64 [B, 2]", size)
    if len(size) != 2:
        raise ShapeError(f"size: expected (height, width), or int64 [B, 2], given {size!r}")
    h, w = (checks.whole(f"size[{i}]", s, of=" of pixels") for i, s in enumerate(size))
    if not (1 <= h <= checks.MAX_SIDE and 1 <= w <= checks.MAX_SIDE):
        raise ShapeError(f"size: expected {checks.SIDES}, given {h} x {w}")
    return h, w


def _within(size: tuple[int, int], out: tuple[int, int]) -> tuple[int, int]:
    """The output's size, unless it is no picture's."""
    if max(out) > checks.MAX_SIDE:
        raise ShapeError(f"size: expected an output of at most {checks.MAX_SIDE} pixels a side, given {size[0]} x {size[1]}, "
                         f"which becomes {out[0]} x {out[1]}")
    return out


def _sizes(size: Any, count: int, foreign: list[Tensor], where: torch.device, frames: int | None) -> tuple[Any, Tensor | None]:
    """(h, w) and None, or None and the sizes [B, 2] (of clips the frames'), in memory of their own, for a plan that is drawn on
    ``where``."""
    each = checks.is_sequence(size) and any(checks.is_sequence(s) for s in size)
    if not each and (checks.is_sequence(size) or isinstance(checks.plain(size), Number | str | None)):
        return _pair(size), None
    sizes = as_integers("size", size, foreign, where)
    each_frame = frames is not None and sizes.dim() == 3
    if frames is not None and each_frame:
        sizes, count = flat("size", sizes, count, frames), count * frames
    if sizes.dim() != 2 or sizes.shape[1] != 2 or sizes.shape[0] != count:
        raise ShapeError(f"size: expected (height, width) or int64 [{count}, 2] for {count} samples, given shape "
                         f"{list(sizes.shape)}")
    if sizes.device.type == "cpu" and not bool(((sizes >= 1) & (sizes <= checks.MAX_SIDE)).all()):
        raise ShapeError(f"size: expected {checks.SIDES}, given {sizes.min().item()} to {sizes.max().item()}")
    if frames is not None and not each_frame:
        return None, every_frame(sizes, frames)
    return None, sizes.clone(memory_format=torch.contiguous_format)


def _numbers(values: tuple[float, ...] | None, default: float, first: int) -> list[float]:
    """Four of them, from channel ``first`` on."""
    if values is None or len(values) == 1:
        return list(values or [default]) * FOURS
    four = values[first:first + FOURS]
    return [*four, *[default] * (FOURS - len(four))]


def _normalize_of(transforms: Sequence[Transform], dtype: torch.dtype) -> Normalize | None:
    found = [i for i, t in enumerate(transforms) if isinstance(t, Normalize)]
    if not found:
        return None
    if len(found) > 1:
        raise ArgumentError(f"transforms: expected at most one Normalize, given {len(found)}")
    if dtype == torch.uint8:
        raise ArgumentError("transforms: Normalize needs a float dtype, given torch.uint8")
    for t in transforms[found[0] + 1:]:
        if any(s.op in _native.COLOR_OPS for s in t.slots()):
            raise ArgumentError(f"transforms: colour is defined on [0, 1], so it comes before Normalize; given {t!r} after")
    normalize = transforms[found[0]]
    assert isinstance(normalize, Normalize)
    return normalize


def _check_chains(transforms: Sequence[Transform]) -> None:
    """What is blended of several chains cannot be moved as one map any more, nor blended again."""
    blended = False
    for top in transforms:
        slots = top.slots()
        found = _blends(slots, 0, len(slots), blended)
        if found is None:
            raise ArgumentError("transforms: expected no geometry and no other blend after AugMix or auto_augment('augmix'), "
                                f"which blend what the geometry ends in, given {top!r}; list it before, and let it run once")
        blended = found


def _blends(slots: Sequence[Slot], at: int, end: int, blended: bool) -> bool | None:
    """May what these slots have made be a blend of chains, where ``blended`` says that of what they begin with? None where they
    go on with one as they cannot."""
    while at < end:
        s = slots[at]
        after = at + 1 + s.count
        bodies = branches(slots, at) if s.op in (_native.OPS["CHOICE"], _native.OPS["ORDER"]) else [(at + 1, after)]
        if blended and (s.op in _GEOMETRY or s.op == _native.OPS["CHAINS"]):
            return None
        if s.op in (_native.OPS["APPLY"], _native.OPS["CHOICE"], _native.OPS["ORDER"]):
            several = s.op == _native.OPS["ORDER"] and s.numbers[1] > 1
            each = [_blends(slots, a, b, blended) for a, b in bodies]
            for k, (a, b) in enumerate(bodies):  # behind those that may run before it
                others = each[:k] + each[k:k + 1] * bool(s.flags & REPLACE) + each[k + 1:] * (not s.flags & IN_ORDER)
                if several and any(others) and _blends(slots, a, b, True) is None:
                    return None
            if None in each:
                return None
            blended = blended or any(each)
        blended = blended or s.op == _native.OPS["CHAINS"]
        at = after
    return blended


def _check_reach(programs: Sequence[Sequence[Sequence[Slot]]]) -> None:
    """Maps that shrink without end would overflow; what depends on the draw is clamped when it is drawn (plan.h)."""
    span = reach(programs, checks.MAX_SIDE).span
    if math.log10(_native.MAX_WORD) < span < math.inf:
        raise ArgumentError(f"transforms: expected scales that shrink a picture by at most {_native.MAX_WORD:g} altogether, "
                            f"given some that may by 1e+{span:.0f}")


def _check_finite(transforms: Sequence[Transform], mean: tuple[float, ...] | None, std: tuple[float, ...] | None,
                  dtype: torch.dtype) -> None:
    """Every value that the arguments bring into the picture, and 0 and 1, must be one that the output can hold."""
    if not dtype.is_floating_point:
        return
    most, normalised = torch.finfo(dtype).max, False
    m, s = (torch.tensor(v, dtype=torch.float64, device="cpu") for v in (mean or [0.0], std or [1.0]))
    given: list[tuple[str, float, Tensor]] = [("pixels", v, (v - m) / s) for v in (0.0, 1.0)]
    for top in transforms:
        normalised = normalised or isinstance(top, Normalize)
        for t in leaves([top]):
            name = type(t).__name__
            given += [(f"{name}.fill", v, (v / 255 - m) / s) for v in _floats(getattr(t, "fill", ()))]
            for v in _floats(getattr(t, "value", ())):
                noise = torch.tensor([v, v * s.max() + m.abs().max()], device="cpu")
                given.append((f"{name}.value", v, noise if normalised else (v - m) / s))
            if isinstance(t, GaussianNoise) and not t.clip:  # the largest of the normal numbers is below 6 (normal.h)
                given.append((f"{name}.sigma", t.sigma, (abs(t.mean) + 6 * t.sigma + m.abs()) / s))
    for name, value, becomes in given:
        if not bool((becomes.abs() <= most).all()):
            raise ArgumentError(f"{name}: expected values that {str(dtype).removeprefix('torch.')} can hold in the output, given "
                                f"{value:g}, which becomes {becomes[becomes.abs().argmax()].item():g}")


def _last(slots: Sequence[Slot], op: str) -> int:
    return max(i for i, s in enumerate(slots) if s.op == _native.OPS[op])


def _float_pictures(transforms: Sequence[Transform], slots: Sequence[Slot]) -> str | None:
    """Why float pictures cannot be given, if so: a fill, in their units, lies outside of what colour is defined on."""
    if not any(s.op in _native.COLOR_OPS for s in slots):
        return None
    for t in leaves(transforms):
        for v in _floats(getattr(t, "fill", ())):
            if not 0 <= v <= 1:
                return (f"{type(t).__name__}.fill: expected values in [0, 1] for float pictures, whose colour is defined there, "
                        f"given {v:g}; 128 of 255 is fill=128/255")
    return None


def _floats(values: Any) -> list[float]:
    return [v for v in (values if isinstance(values, tuple) else (values,)) if isinstance(v, float)]


def _compile(transforms: Sequence[Transform]) -> list[Slot]:
    slots: list[Slot] = []
    normalised = 0
    for t in transforms:
        if isinstance(t, Normalize):
            normalised = NORMALISED
        slots += [s._replace(flags=s.flags | normalised) if s.op in ERASES else s for s in t.slots()]
    return slots


def _programs(transforms: Sequence[Transform]) -> list[list[list[Slot]]]:
    """The program in parts, each with what it may be: one that schedules move is what it is at their ends, or between."""
    parts: list[list[list[Slot]]] = [[[]]]
    for each in settings(transforms):
        if len(each) > 1:
            parts += [[t.slots() for t in each], [[]]]
        else:
            parts[-1][0].extend(each[0].slots())
    return parts


def _moving(transforms: Sequence[Transform], slots: Sequence[Slot]) -> tuple[list[Schedule], list[Slot], list[Slot]]:
    """The schedules; the program without the numbers that they move; and the ramps that do it."""
    base = list(slots)
    ramps: list[Slot] = []
    found: dict[Schedule, int] = {}
    at = 0
    for t in transforms:
        count = len(t.slots())
        if isinstance(t, Scheduled):
            own, moves = t.ramps()
            base[at:at + count] = [s._replace(numbers=o.numbers) for s, o in zip(base[at:at + count], own, strict=True)]
            dials = [found.setdefault(s, len(found)) for s in t.schedules]
            ramps += [m._replace(op=dials[m.op], count=at + m.count) for m in moves]
        at += count
    return list(found), base, ramps


def _cell(name: str, given: int | Tensor, where: torch.device, most: int) -> int | Tensor:
    """A number of at most so much; or a tensor on ``where`` that holds one, read when the plan is drawn."""
    if not isinstance(given, Tensor):
        return checks.whole(name, given, 0, most)
    given = as_tensor(name, given)
    if given.device != where:
        raise DeviceError(f"{name}: expected a number or a tensor on {where}, given one on {given.device}")
    if given.numel() != 1 or given.dtype != torch.int64:
        raise (ShapeError if given.dtype == torch.int64 else DtypeError)(
            f"{name}: expected a number, or an int64 tensor of one, given {given.dtype} {list(given.shape)}")
    if not given.is_cuda:
        checks.whole(name, given.item(), 0, most)
    return given.clone()
