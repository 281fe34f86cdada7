"""Copy-paste: objects of other pictures, or of a pool of cut-outs, pasted into the views of a batch, with their masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anamorph import _native
from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DtypeError, ShapeError
from anamorph.core.move import to_device
from anamorph.core.tensors import as_tensor
from anamorph.images.forms import format_of, plain, to_xyxy
from anamorph.images.pasted import Layers, Objects, check_draw, check_images, collect, cover, new_planes

MOVED, REMAINS = 10, 300  # pixels: X-Paste's rule for objects that are partly covered
OPAQUE = 128  # alpha above it belongs to a cut-out's object
MOST = 1000  # pastes of a picture
_WORDS = 7  # of a placement: cut-out, left, top, height, width, flip, mask


class SimpleCopyPaste:
    """Objects of one picture of the batch pasted into another, where they are (Ghiasi et al., "Simple Copy-Paste is a Strong Data
    Augmentation Method for Instance Segmentation", CVPR 2021).

    Each picture is pasted into from the one before it in the batch, the first from the last, as torchvision's reference does. Of
    that one's n objects n are drawn with replacement, and those that were drawn at least once are pasted: a share of
    1 - (1 - 1/n)**n, 63 % of many. A batch of one comes back as it is. The paper jitters the scale of both pictures before.

    Pixels are blended by the pasted objects' union, blurred by a Gaussian; masks are not blurred. (torchvision's blur acts on a
    mask of bools and gives one, so its pictures are not blended.)

    Args:
        p: probability that a picture is pasted into.
        blur: the Gaussian's (taps, sigma in pixels), taps odd, 1 to 31; None for hard edges.

    Raises:
        ArgumentError: what was given and what is expected.
    """

    def __init__(self, p: float = 1.0, blur: tuple[int, float] | None = (5, 2.0)) -> None:
        self.p = checks.probability("SimpleCopyPaste.p", p)
        self.blur: tuple[int, float] | None = None
        if blur is not None:
            taps, sigma = checks.several("SimpleCopyPaste.blur", blur, (2,), "(taps, sigma) or None")
            taps = checks.whole("SimpleCopyPaste.blur", taps, 1, _native.MAX_BLENDED, " of taps")
            if taps % 2 == 0:
                checks.wrong("SimpleCopyPaste.blur", "an odd number of taps", taps)
            self.blur = taps, checks.number("SimpleCopyPaste.blur", sigma, 0.05, 1000)

    def __repr__(self) -> str:
        return f"SimpleCopyPaste(p={self.p:g}, blur={self.blur})"

    def __call__(self, images: Any, targets: Any, *, index: Any, seed: int = 0,
                 epoch: int = 0) -> tuple[Tensor, list[dict[str, Any]]]:
        """Paste within a batch. What is drawn is a pure function of (p, seed, epoch, sample id) and the number of the partner's
        objects.

        Two launches; on a GPU the host waits once, for how many objects each picture has left.

        Args:
            images: ``[B, C, H, W]``, uint8, float32, float16 or bfloat16, any range, any strides.
            targets: a list of B dicts on the same device: "boxes" float32 ``[n, 4]``, the edges left, top, right, bottom in
                pixels; "labels" int64 ``[n]``; "masks" bool or uint8 ``[n, H, W]``. Any other tensor that has a row for each
                object in every target ("iscrowd", "keypoints") follows its object; "area" is counted anew. The rest stays.
            index: the sample ids, integers ``[B]``.
            seed: 0 to 2**64 - 1.
            epoch: 0 to 2**32 - 1.

        Returns:
            New images and targets: of each picture the objects of which something is still seen, then the pasted. Masks end where
            others are pasted over them; the box of an object that lost pixels is the tight one of the rest, other boxes stay.

        Raises:
            ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected, before anything runs.
        """
        images = check_images(images)
        index, seed, epoch = check_draw(index, seed, epoch, len(images))
        objects = Objects(targets, images)
        counts, first = np.array(objects.counts), objects.offsets()
        batch, threads = len(images), torch.get_num_threads()

        partners = np.roll(np.arange(batch, dtype=np.int32), 1)
        theirs = torch.from_numpy(counts[partners].astype(np.int32))
        drawn = torch.zeros(int(counts.sum()), dtype=torch.uint8)
        _native.paste_choose(index, seed, epoch, theirs, self.p if batch > 1 else 0.0, drawn)
        chosen = [np.flatnonzero(flags) for flags in np.split(drawn.numpy(), np.cumsum(theirs.numpy())[:-1])]

        source = [rows for i, k in enumerate(partners)
                  for rows in (np.arange(first[i], first[i + 1]), first[k] + chosen[i])]
        lengths = np.array([len(rows) for rows in source])
        layers = Layers(np.concatenate(source).astype(np.int64), np.repeat(np.arange(2 * batch) % 2 == 1, lengths),
                        lengths.reshape(batch, 2).sum(1))
        masks, front = new_planes(objects, len(layers.source)), new_planes(objects, batch)
        before, after = cover(objects, layers, masks, front, threads)
        out = torch.empty_like(images)
        _native.paste_partners(images, out, to_device(partners, images.device), front, *(self.blur or (1, 1.0)), threads)
        return out, collect(objects, layers, masks, before, after, after[:, 0] > 0)


class InstancePaste:
    """Cut-outs of a pool pasted at random sizes and places (X-Paste: Zhao et al., "X-Paste: Revisiting Scalable Copy-Paste for
    Instance Segmentation", ICML 2023; DiverGen, Fan et al., CVPR 2024, has more diverse pools and the same rules).

    For each picture the number of pastes is uniform; of each paste the category is uniform, then the cut-out among the
    category's. Its linear size, sqrt(area of its box / area of the picture), is normal with the category's mean and deviation,
    clipped to 10 pixels of the picture's height and half the picture; its sides' ratio is the cut-out's times
    U(1 - aspect, 1 + aspect). One with a side below 5 pixels, or as long as the picture's, is left out, so a picture may have
    fewer. Its centre is uniform in the picture, so parts of it may lie outside. Later ones lie over earlier ones.

    A cut-out is prepared once: of its pixels with alpha above 128 the largest connected part is the object, whose tight box is
    cut out; faint pixels that hang on to it stay. It is resized bilinearly with antialias, weighed by alpha, and blended by it;
    where the resized alpha is above 1/2 is its mask.

    Args:
        cutouts: a list of (RGBA picture, label): uint8 ``[h, w, 4]``, tensors or arrays, and whole numbers.
        sizes: the mean and deviation of the linear size: a dict from labels to such pairs, as :meth:`measure` gives, or one pair
            for all.
        count: the least and most pastes of a picture.
        aspect: by how much the sides' ratio may change, 0 to 0.9.
        flip: probability of a horizontal flip.
        mean, std: of the recipe's Normalize, where the views were normalised. uint8 views must not be.

    Raises:
        ArgumentError, ShapeError, DtypeError: what was given and what is expected.
    """

    def __init__(self, cutouts: Sequence[tuple[Any, int]], *, sizes: Mapping[int, Sequence[float]] | Sequence[float],
                 count: tuple[int, int] = (0, 19), aspect: float = 0.2, flip: float = 0.5, mean: float | Sequence[float] = 0.0,
                 std: float | Sequence[float] = 1.0) -> None:
        if not isinstance(cutouts, Sequence) or not len(cutouts):
            given = "none" if isinstance(cutouts, Sequence) else type(cutouts).__name__
            raise ArgumentError(f"InstancePaste.cutouts: expected a list of (RGBA picture, label), given {given}")
        prepared = sorted((_prepare(i, cutout) for i, cutout in enumerate(cutouts)), key=lambda one: one[1])  # by label, stable
        self.count = _count(count)
        self.aspect = checks.number("InstancePaste.aspect", aspect, 0, 0.9)
        self.flip = checks.probability("InstancePaste.flip", flip)
        self.mean, self.std = (_three(f"InstancePaste.{name}", value) for name, value in (("mean", mean), ("std", std)))
        if min(self.std) <= 0:
            checks.wrong("InstancePaste.std", "numbers above 0", std)
        labels = [label for _, label in prepared]
        self.labels = sorted(set(labels))
        self.sizes = {label: _size(sizes, label) for label in self.labels}

        heights, widths = (torch.tensor([t.shape[axis] for t, _ in prepared]) for axis in (0, 1))
        texels = heights * widths
        if int(texels.sum()) >= 2**31:
            raise ArgumentError(f"InstancePaste.cutouts: expected less than 2**31 pixels in all, given {int(texels.sum())}")
        self._cutouts = torch.stack([texels.cumsum(0) - texels, heights, widths], 1).to(torch.int32)
        self._texels = torch.cat([t.reshape(-1, 4) for t, _ in prepared])
        self._label_of = torch.tensor(labels)
        self._first = torch.searchsorted(self._label_of, torch.tensor([*self.labels, self.labels[-1] + 1])).to(torch.int32)
        self._table = torch.tensor([self.sizes[label] for label in self.labels], dtype=torch.float64)
        self._pools: dict[torch.device, tuple[Tensor, ...]] = {}

    def __repr__(self) -> str:
        return f"InstancePaste({len(self._cutouts)} cut-outs of {len(self.labels)} labels, count={self.count})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pools": {}}  # the copies on devices are made anew

    @staticmethod
    def measure(targets: Iterable[Mapping[str, Tensor]]) -> dict[int, tuple[float, float]]:
        """The mean and deviation of sqrt(area of the box / area of the picture) of every label, for ``sizes``.

        Args:
            targets: dicts with "boxes" ``[n, 4]``, left, top, right, bottom in pixels, "labels" ``[n]`` and "masks"
                ``[n, H, W]``, which say the picture's size.
        """
        sizes, labels = [torch.zeros(0, dtype=torch.float64)], [torch.zeros(0, dtype=torch.int64)]
        for i, target in enumerate(targets):
            if not isinstance(target, Mapping):
                raise ArgumentError(f"targets[{i}]: expected a dict, given {type(target).__name__}")
            for name, dims in (("boxes", 2), ("labels", 1), ("masks", 3)):
                if not isinstance(target.get(name), Tensor) or target[name].dim() != dims:
                    raise ArgumentError(f"targets[{i}]: expected {name!r}, a tensor of {dims} dimensions")
            n, h, w = target["masks"].shape
            if list(target["boxes"].shape) != [n, 4] or len(target["labels"]) != n or not h * w:
                raise ShapeError(f"targets[{i}]: expected boxes [n, 4], labels [n] and masks [n, H, W], given "
                                 f"{[list(target[name].shape) for name in ('boxes', 'labels', 'masks')]}")
            given = target["boxes"]
            boxes = to_xyxy(plain(given).detach().cpu().double(), format_of(f"targets[{i}]['boxes']", given) or "xyxy")
            if not bool(torch.isfinite(boxes).all()):
                raise ArgumentError(f"targets[{i}]['boxes']: expected finite numbers, given others")
            sizes.append(((boxes[:, 2:] - boxes[:, :2]).clamp_min(0).prod(1) / (h * w)).sqrt())
            labels.append(target["labels"].detach().cpu())
        size, label = torch.cat(sizes), torch.cat(labels)
        return {int(k): (float(size[label == k].mean()), float(size[label == k].std(correction=0))) for k in label.unique()}

    def __call__(self, images: Any, targets: Any, *, index: Any, seed: int = 0,
                 epoch: int = 0) -> tuple[Tensor, list[dict[str, Any]]]:
        """Paste into a batch. What is drawn is a pure function of (the pool and the arguments, seed, epoch, sample id, H, W).

        Two launches; on a GPU the host waits once, for how many objects each picture has left.

        Args:
            images: ``[B, 3, H, W]``, uint8, or float32, float16 or bfloat16 of range 0..1 (or normalised: ``mean``, ``std``), any
                strides.
            targets: as :class:`SimpleCopyPaste` takes them. What follows its object is 0 for a cut-out's.
            index, seed, epoch: as there.

        Returns:
            New images and targets: of each picture the old objects that are kept, then the pasted that are. Masks end where
            others are pasted over them. An object that lost pixels gets the tight box of the rest. It is kept if something is
            left and either no side of its tight box has moved by more than 10 pixels or more than 300 pixels are left: X-Paste's
            rule, which is applied there after every paste, and here once, to what all of them have left.

        Raises:
            ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected, before anything runs.
        """
        images = check_images(images)
        if images.shape[1] != 3:
            raise ShapeError(f"images: expected [B, 3, H, W], given {list(images.shape)}")
        index, seed, epoch = check_draw(index, seed, epoch, len(images))
        objects = Objects(targets, images)
        batch, (h, w), device, threads = len(images), images.shape[2:], images.device, torch.get_num_threads()

        numbers, placed = self._place(index, seed, epoch, (h, w))
        old, new = np.array(objects.counts), numbers.numpy().astype(np.int64)
        pasted = np.repeat(np.arange(2 * batch) % 2 == 1, np.stack([old, new], 1).ravel())
        source = np.full(len(pasted), -1, dtype=np.int64)
        source[~pasted] = np.arange(old.sum())
        planes = torch.from_numpy(np.flatnonzero(pasted))
        placed[:, -1] = planes
        labels = torch.zeros(len(pasted), dtype=torch.int64)
        labels[planes] = self._label_of[placed[:, 0].long()]
        layers = Layers(source, pasted, old + new)

        masks = new_planes(objects, len(pasted))
        out = torch.empty_like(images)
        level = images.dtype == torch.uint8
        scale = [1.0 if level else 1 / (255 * s) for s in self.std]
        bias = [0.0 if level else -m / s for m, s in zip(self.mean, self.std, strict=True)]
        first = torch.from_numpy(np.concatenate([[0], np.cumsum(new)]).astype(np.int32))
        texels, cutouts = self._pool(device)
        _native.paste_cutouts(images, out, texels, cutouts, to_device(placed, device), to_device(first, device), masks, scale,
                              bias, threads)
        before, after = cover(objects, layers, masks, None, threads)

        whole = before[:, 0] == after[:, 0]
        near = ((before[:, 1:] - after[:, 1:]).abs() <= MOVED).all(1)
        keep = (after[:, 0] > 0) & (whole | near | (after[:, 0] > REMAINS))
        return out, collect(objects, layers, masks, before, after, keep, to_device(labels, device))

    def _place(self, index: Tensor, seed: int, epoch: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """How many pastes each sample has, int32 [B], and all of them, int32 [K, words of a placement]."""
        numbers = torch.zeros(len(index), dtype=torch.int32)
        placements = torch.zeros((len(index), self.count[1], _WORDS), dtype=torch.int32)
        _native.paste_place(index, seed, epoch, self.count, size, self._first, self._table, self._cutouts,
                            (10.0, 0.5, self.aspect, self.flip), 5, numbers, placements)
        return numbers, placements[torch.arange(self.count[1]) < numbers[:, None]]

    def _pool(self, device: torch.device) -> tuple[Tensor, ...]:
        if device not in self._pools:
            self._pools[device] = self._texels.to(device), self._cutouts.to(device)
        return self._pools[device]


def _prepare(i: int, cutout: Any) -> tuple[Tensor, int]:
    """A cut-out's object alone, in its tight box, and its label."""
    where = f"InstancePaste.cutouts[{i}]"
    if not isinstance(cutout, list | tuple) or len(cutout) != 2:
        checks.wrong(where, "(RGBA picture, label)", cutout)
    picture, label = as_tensor(where, cutout[0]), checks.whole(f"{where}: label", cutout[1], -(2**63), 2**63 - 2)
    if picture.dtype != torch.uint8:
        raise DtypeError(f"{where}: expected uint8, given {picture.dtype}")
    if picture.dim() != 3 or picture.shape[2] != 4 or not all(1 <= side <= checks.MAX_SIDE for side in picture.shape[:2]):
        raise ShapeError(f"{where}: expected [h, w, 4] of {checks.SIDES}, given {list(picture.shape)}")
    texels = picture.detach().as_subclass(Tensor).cpu().clone(memory_format=torch.contiguous_format)
    box = _native.paste_part(texels, OPAQUE)
    if box is None:
        raise ArgumentError(f"{where}: expected pixels with alpha above {OPAQUE}, given at most {int(texels[..., 3].max())}")
    left, top, right, bottom = box
    return texels[top:bottom, left:right], label


def _count(value: Any) -> tuple[int, int]:
    least, most = (checks.whole("InstancePaste.count", v, 0, MOST)
                   for v in checks.several("InstancePaste.count", value, (2,), "(least, most)"))
    if least > most:
        checks.wrong("InstancePaste.count", "least <= most", tuple(value))
    return least, most


def _three(where: str, value: Any) -> tuple[float, ...]:
    numbers = checks.colors(where, value, 1e6)
    if len(numbers) not in (1, 3):
        checks.wrong(where, "a number, or one for each of 3 channels", value)
    return numbers * 3 if len(numbers) == 1 else numbers


def _size(sizes: Any, label: int) -> tuple[float, float]:
    pair = sizes
    if isinstance(sizes, Mapping):
        if label not in sizes:
            raise ArgumentError("InstancePaste.sizes: expected a (mean, deviation) for every label of the cut-outs, given none "
                                f"for {label}")
        pair = sizes[label]
    mean, deviation = checks.several("InstancePaste.sizes", pair, (2,), "(mean, deviation), or a dict from labels to such pairs")
    return (checks.number("InstancePaste.sizes", mean, 0, 1), checks.number("InstancePaste.sizes", deviation, 0, 1))
