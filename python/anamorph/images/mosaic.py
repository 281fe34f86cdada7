"""Mosaics: four pictures of the batch side by side, seen through a random affine map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anamorph import _native
from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DeviceError, ShapeError
from anamorph.core.lease import hold
from anamorph.core.memory import CODES, room
from anamorph.core.move import to_device
from anamorph.core.tensors import as_tensor
from anamorph.images.pasted import check_draw
from anamorph.images.picture import check_dtype
from anamorph.images.ragged import Ragged, check_grad
from anamorph.images.render import as_targets, channels_first
from anamorph.images.tiled import SAMPLE, Rules, tile_targets

GREY = 114  # yolov5's, of bytes
_LAYOUTS = ("NHWC", "NCHW")


class Mosaic:
    """Four pictures of the batch side by side, turned, scaled, slanted and moved at random: YOLOv4's mosaic (Bochkovskiy et al.,
    2020) by yolov5's rules.

    On a canvas of ``2 * size`` each way, of the colour ``fill``, a point is drawn. A sample's own picture and three others of the
    batch, drawn with replacement, stand in random order to its top left, top right, bottom left and bottom right, each with a
    corner on the point and cut where the canvas ends. Before, each is resized so that its long side is ``size``. The canvas is
    turned and scaled about its middle, slanted, and its middle put in the middle of a view of ``size`` each way, or a bit beside.

    No canvas is made: every pixel of the views is one bilinear reading of a source. That is the canvas's bilinear value, with
    seams and borders that fade over one pixel of the canvas. Where a source is shrunk, there is no antialias, as in yolov5.

    Args:
        size: the views' height and width in pixels.
        scale: range of the zoom.
        translate: how far the canvas's middle may lie from the view's, in views each way, 0 to 1.
        degrees: d for a turn by -d to d, counter-clockwise, or (low, high).
        shear: degrees, of either axis; d or (low, high), within -44 to 44.
        center: range of the point's coordinates in sizes, 0 to 2; whole pixels are drawn.
        fill: where no picture is: a number or one for each channel, in the input's units. None: 114 of bytes, 114/255 of floats
            (of views that are normalised, give the normalised grey).
        p: probability of a mosaic. Else the own picture stands alone in the middle of a canvas of one size, and the map is drawn
            as ever.
        resize: bring the long side of every picture to ``size``; False: pictures as large as they are.
        min_size: a box is kept if its width and height in the view are above so many pixels,
        max_aspect: their ratio is below this,
        min_visibility: and its area is above this share of its area before it was cut at the view's border (of the upright box on
            the canvas times zoom squared, as in yolov5).
        num_classes: for class ids as targets.

    Raises:
        ArgumentError: what was given and what is expected.
    """

    def __init__(self, size: int, *, scale: Sequence[float] = (0.5, 1.5), translate: float = 0.1,
                 degrees: float | Sequence[float] = 0.0, shear: float | Sequence[float] = 0.0,
                 center: Sequence[float] = (0.5, 1.5), fill: float | Sequence[float] | None = None, p: float = 1.0,
                 resize: bool = True, min_size: float = 2.0, max_aspect: float = 100.0, min_visibility: float = 0.1,
                 num_classes: int | None = None) -> None:
        self.size = checks.side("Mosaic.size", size)
        self.scale = checks.interval("Mosaic.scale", scale, 0.01)
        if self.scale[1] > 100:
            checks.wrong("Mosaic.scale", "at most 100", tuple(scale))
        self.translate = checks.number("Mosaic.translate", translate, 0, 1)
        self.degrees = checks.degrees("Mosaic.degrees", degrees)
        self.shear = checks.degrees("Mosaic.shear", shear)
        if not -44 <= self.shear[0] <= self.shear[1] <= 44:
            checks.wrong("Mosaic.shear", "degrees within -44 to 44", shear)
        self.center = checks.interval("Mosaic.center", center, 0)
        if self.center[1] > 2:
            checks.wrong("Mosaic.center", "at most 2 sizes, where the canvas ends", tuple(center))
        self.fill = None if fill is None else checks.colors("Mosaic.fill", fill)
        self.p = checks.probability("Mosaic.p", p)
        self.resize = checks.flag("Mosaic.resize", resize)
        self.rules = Rules(checks.number("Mosaic.min_size", min_size, 0), checks.number("Mosaic.max_aspect", max_aspect, 1),
                           checks.number("Mosaic.min_visibility", min_visibility, 0, 1))
        self.num_classes = None if num_classes is None else checks.whole("Mosaic.num_classes", num_classes, 1)

    def __repr__(self) -> str:
        return (f"Mosaic({self.size}, scale={self.scale}, translate={self.translate:g}, degrees={self.degrees}, "
                f"shear={self.shear}, center={self.center}, p={self.p:g})")

    def __call__(self, images: Any, targets: Any = None, *, index: Any, seed: int = 0, epoch: int = 0,
                 layout: str | None = None) -> Any:
        """The mosaics of a batch. What is drawn is a pure function of (the arguments, seed, epoch, sample id, number of pictures
        in the batch); which pictures that means depends on the batch.

        One launch for the pixels and, where there are masks, one for these. With boxes on a GPU the host waits once, for how many
        objects each view has.

        Args:
            images: ``[B, H, W, C]`` or ``[B, C, H, W]``, a list of pictures of different sizes, or :class:`Ragged`, as
                :func:`anamorph.render` takes them: uint8, float32, float16 or bfloat16, 1 to 4 channels.
            targets: a list of B dicts on the same device: "boxes" float32 ``[n, 4]``, the edges left, top, right, bottom in
                pixels, or tv_tensors.BoundingBoxes of format xyxy, xywh or cxcywh; "masks" bool or uint8 ``[n, h, w]`` of the
                picture's size, "keypoints" floats ``[n, K, 2]`` or ``[n, K, 3]`` (x, y in edge coordinates, seen), and any
                other tensor with a row for each object in every target ("labels", "iscrowd"). "area" is measured anew, of the
                masks if there are some, else of the boxes. The rest stays, the own sample's. Or, for classification, class ids
                ``[B]`` (then ``num_classes`` is needed) or soft float ``[B, K]``. Or None.
            index: the sample ids, integers ``[B]``.
            seed: 0 to 2**64 - 1.
            epoch: 0 to 2**32 - 1.
            layout: "NHWC" or "NCHW", where the shape fits both; of a list, its pictures' without the N.

        Returns:
            The views ``[B, C, size, size]`` of the same dtype; with targets also new ones. Of dicts: the objects that are kept,
            in the order of their pictures, tv_tensors where some were given. A box goes around its four corners' places and is
            cut at the view's border; what belongs to an object that is not kept goes with it; a keypoint that is not shown has
            "seen" 0.
            Of classes: float32 ``[B, K]``, each picture's class by its share of what the view shows of pictures; where a view
            shows none, the own one's.

        Raises:
            ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected, before anything runs.
        """
        if layout is not None:
            layout = checks.choice("layout", layout, _LAYOUTS)
        pictures = _Pictures(images, layout)
        like, channels = pictures.like, pictures.channels
        batch, threads = len(pictures.sizes), torch.get_num_threads()
        index, seed, epoch = check_draw(index, seed, epoch, batch)
        fill = self._fill(channels, like.dtype)
        objects = isinstance(targets, Sequence) and any(isinstance(t, Mapping) for t in targets)
        classes = None if targets is None or objects else self._classes(targets, batch, like.device, pictures.foreign)

        samples = self._draw(index, seed, epoch, pictures.sizes)
        drawn = samples.numpy().view(SAMPLE)[:, 0]
        there = to_device(samples, like.device)
        moved = None
        if objects:
            moved = tile_targets(targets, pictures.sizes, drawn, there, self.size, self.rules, threads)

        out = room(like, (batch, channels, self.size, self.size), like.dtype)
        _native.mosaic_pixels(pictures.source, pictures.first, pictures.table, channels, CODES[like.dtype], there, out, fill,
                              threads)
        if pictures.foreign or like.is_cuda:
            hold(pictures.foreign)
        if moved is not None:
            return out, moved
        return out if classes is None else (out, _by_area(classes, drawn))

    def _draw(self, index: Tensor, seed: int, epoch: int, sizes: Tensor) -> Tensor:
        """The native core's samples, int64 [B, words]."""
        samples = torch.empty((len(index), SAMPLE.itemsize // 8), dtype=torch.int64, device="cpu")
        rules = (self.p, *self.center, *self.scale, *self.degrees, *self.shear, self.translate)
        _native.mosaic_draw(index, seed, epoch, sizes, self.size, rules, self.resize, samples)
        return samples

    def _fill(self, channels: int, dtype: torch.dtype) -> tuple[float, ...]:
        if self.fill is None:
            return (GREY if dtype == torch.uint8 else GREY / 255,) * 4
        if len(self.fill) not in (1, channels):
            checks.wrong("Mosaic.fill", f"a number, or one for each of {channels} channels", self.fill)
        return checks.four(self.fill[0] if len(self.fill) == 1 else self.fill)

    def _classes(self, targets: Any, batch: int, device: torch.device, foreign: list[Tensor]) -> Tensor:
        """Soft targets of the pictures, float32 [B, K]."""
        if isinstance(targets, Mapping):
            raise ArgumentError("targets: expected a list of dicts, one for each picture, given one dict")
        given = as_targets(targets, foreign)
        if given.dim() not in (1, 2) or len(given) != batch:
            raise ShapeError(f"targets: expected {batch} rows, one for each picture, given {list(given.shape)}")
        if given.device != device:
            raise DeviceError(f"targets: expected on {device} like the images, given on {given.device}")
        if given.dim() == 2:
            if self.num_classes not in (None, given.shape[1]):
                raise ShapeError(f"targets: expected {self.num_classes} classes, given {given.shape[1]}")
            return given
        if self.num_classes is None:
            raise ArgumentError("targets: expected Mosaic(num_classes=...) for class ids, given ids and no num_classes")
        if not given.is_cuda and not bool(((given >= 0) & (given < self.num_classes)).all()):
            raise ArgumentError(f"targets: expected class ids from 0 to {self.num_classes - 1}, given {int(given.min())} to "
                                f"{int(given.max())}")
        return (given[:, None] == torch.arange(self.num_classes, device=device)).to(torch.float32)


class _Pictures:
    """A batch as the native core reads it."""

    def __init__(self, images: Any, layout: str | None) -> None:
        self.foreign: list[Tensor] = []  # other libraries' memory on a GPU
        self.source: Tensor | None  # the tensor, or a Ragged's buffer
        self.table: Tensor | None = None  # a list's or a Ragged's
        self.ragged: Ragged | None = None  # lives as long as what the table has the addresses of is read
        self.first = False  # channels first
        if isinstance(images, list | tuple):
            images = Ragged.from_list(images, layout and layout[1:])
        if type(images) is Ragged:
            images._check_there()
            self.foreign += images._foreign
            self.ragged, self.source, self.table = images, images.buffer, images._table
            self.channels, self.sizes, self.like = images.channels, images.sizes, images.tensors[0]
            return
        source = as_tensor("images", images, self.foreign)
        check_dtype("images", source, images)
        check_grad("images", source)
        self.source = self.like = source = source.detach().as_subclass(Tensor)  # `like`: of the dtype, where the pictures are
        self.first = channels_first(source.shape, None, layout)
        self.channels, h, w = source.shape[1:] if self.first else (source.shape[3], *source.shape[1:3])
        if not len(source):
            raise ShapeError(f"images: expected at least one picture, given {list(source.shape)}")
        if not all(1 <= side <= checks.MAX_SIDE for side in (h, w)):
            raise ShapeError(f"images: expected {checks.SIDES}, given {h} x {w}")
        self.sizes = torch.tensor([[h, w]] * len(source))


def _by_area(classes: Tensor, drawn: np.ndarray) -> Tensor:
    """Every picture's class by its share of what a view shows of pictures."""
    shown, pictures = drawn["shown"].copy(), drawn["tiles"]["picture"].clip(0)
    nothing = np.flatnonzero(shown.sum(1) == 0)
    shown[nothing, 0], pictures[nothing, 0] = 1.0, nothing
    shares = to_device((shown / shown.sum(1, keepdims=True)).astype(np.float32), classes.device)
    return (classes[to_device(pictures.astype(np.int64), classes.device)] * shares[..., None]).sum(1)
