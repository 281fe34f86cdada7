"""Pictures as a net has not seen them: ``am.corruptions``. Ten of ImageNet-C's and CIFAR-10-C's corruptions
(Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019;
github.com/hendrycks/robustness, ImageNet-C/create_c), and edge maps and families of shifts to validate by (Efthymiadis et al.,
"Crafting Distribution Shifts for Validation and Training in Single Source Domain Generalization", WACV 2025).

A corruption takes uint8 pictures ``[B, H, W, C]`` or ``[B, C, H, W]``, any strides, 1 to 4 channels, and gives new ones of the
same layout on the same device, by torch's operators. ``severity`` is 1 to 5; ``kind`` says whose constants: "imagenet", for 224
pixels and more, or "cifar", for 32. As published a result is truncated to bytes, not rounded, so it is half a level darker in the
mean.

``index`` holds the sample ids, integers ``[B]``. Noise is a pure function of (name of the corruption, ``seed``, sample id, place
in the picture): the same whatever the batch, the layout and the device, and the same numbers at every severity. Where nothing is
drawn ``index`` and ``seed`` may be left out. ``layout``: "NHWC" or "NCHW", where the shape fits both.

Every function raises ArgumentError, ShapeError or DtypeError, which say what was given and what is expected.
"""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.core.extras import extra
from anamorph.core.move import to_device
from anamorph.core.philox import words
from anamorph.training import given
from anamorph.training.edges import edge_map
from anamorph.training.filters import gaussian, mirrored
from anamorph.training.pixels import each_part, needs_ids
from anamorph.training.robustness import evaluate, mean_corruption_error
from anamorph.training.shifts import FAMILIES, shifts

__all__ = ["CONSTANTS", "FAMILIES", "brightness", "contrast", "defocus_blur", "edge_map", "evaluate", "gaussian_blur",
           "gaussian_noise", "impulse_noise", "jpeg_compression", "mean_corruption_error", "pixelate", "saturate", "shifts",
           "shot_noise", "suite"]

# What the published code has for severity 1 to 5, in its order of the corruptions.
CONSTANTS: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "gaussian_noise": {"imagenet": (0.08, 0.12, 0.18, 0.26, 0.38), "cifar": (0.04, 0.06, 0.08, 0.09, 0.10)},
    "shot_noise": {"imagenet": (60, 25, 12, 5, 3), "cifar": (500, 250, 100, 75, 50)},
    "impulse_noise": {"imagenet": (0.03, 0.06, 0.09, 0.17, 0.27), "cifar": (0.01, 0.02, 0.03, 0.05, 0.07)},
    "defocus_blur": {"imagenet": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
                     "cifar": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))},
    "brightness": {"imagenet": (0.1, 0.2, 0.3, 0.4, 0.5), "cifar": (0.05, 0.1, 0.15, 0.2, 0.3)},
    "contrast": {"imagenet": (0.4, 0.3, 0.2, 0.1, 0.05), "cifar": (0.75, 0.5, 0.4, 0.3, 0.15)},
    "pixelate": {"imagenet": (0.6, 0.5, 0.4, 0.3, 0.25), "cifar": (0.95, 0.9, 0.85, 0.75, 0.65)},
    "jpeg_compression": {"imagenet": (25, 18, 15, 10, 7), "cifar": (80, 65, 58, 50, 40)},
    "gaussian_blur": {"imagenet": (1, 2, 3, 4, 6), "cifar": (0.4, 0.6, 0.7, 0.8, 1)},
    "saturate": {"imagenet": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
                 "cifar": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2))},
}
_KINDS = ("imagenet", "cifar")
_WORD = 2**32
_STREAM = 0xFFFFC000  # of the first noise; no epoch that a training comes to
REACHED = 1e-6  # of a level: what is missing of a whole one when it counts as whole; a Fourier transform misses some 1e-12


class Corruption(Protocol):
    """What :func:`suite` maps names to."""

    def __call__(self, images: Any, severity: int, *, index: Any = None, seed: int = 0, layout: str | None = None) -> Tensor: ...


def suite(kind: str = "imagenet") -> Mapping[str, Corruption]:
    """The ten corruptions by name, in the published order, with the constants of one ``kind``:
    ``suite()["shot_noise"](images, 3, index=ids, seed=0)``."""
    kind = checks.choice("suite.kind", kind, _KINDS)
    published = (gaussian_noise, shot_noise, impulse_noise, defocus_blur, brightness, contrast, pixelate, jpeg_compression,
                 gaussian_blur, saturate)
    return MappingProxyType({one.__name__: functools.partial(one, kind=kind) for one in published})


def gaussian_noise(images: Any, severity: int, *, index: Any, seed: int = 0, kind: str = "imagenet",
                   layout: str | None = None) -> Tensor:
    """Adds normal noise to every value, deviation 0.08 to 0.38 of the range of bytes, its own in every channel.

    A byte with the noise on it, truncated, is the byte and a whole number of levels; that number is what is drawn, by its exact
    distribution to 2**-32.
    """
    sigma = 255 * _constant("gaussian_noise", severity, kind)
    # Levels above k with probability 1 - Phi((k + 1) / sigma), from what blackens white to what whitens black.
    at = [round(_WORD * math.erfc(-(k + 1) / sigma / math.sqrt(2)) / 2) for k in range(-255, 255)]
    return _noisy("gaussian_noise", images, layout, index, seed, at,
                  lambda x, u, table: (x + torch.bucketize(u, table, right=True) - 255).clamp_(0, 255))


def shot_noise(images: Any, severity: int, *, index: Any, seed: int = 0, kind: str = "imagenet",
               layout: str | None = None) -> Tensor:
    """Counts of photons: Poisson with ``c`` times the value as mean, over c, for c from 60 to 3 (or 500 to 50); own in every
    channel. Drawn by the exact distribution to 2**-32."""
    c = _constant("shot_noise", severity, kind)
    levels = torch.tensor([int(min(k / c, 1.0) * 255) for k in range(c + 1)], device="cpu")  # of k counts, truncated

    def counted(x: Tensor, u: Tensor, table: Tensor) -> Tensor:
        # The table has c numbers for each of 256 bytes, one after the other, each byte's in a range of its own.
        counts = torch.bucketize(x * _WORD + u, table, right=True) - x * c
        return to_device(levels, x.device)[counts]

    return _noisy("shot_noise", images, layout, index, seed, _poisson(c), counted)


def impulse_noise(images: Any, severity: int, *, index: Any, seed: int = 0, kind: str = "imagenet",
                  layout: str | None = None) -> Tensor:
    """Salt and pepper: 3 % to 27 % of the values, each channel's by itself, become 255 or 0, as often one as the other."""
    share = _constant("impulse_noise", severity, kind)
    salt, either = round(_WORD * share / 2), round(_WORD * share)
    return _noisy("impulse_noise", images, layout, index, seed, [],
                  lambda x, u, _: torch.where(u < salt, 255, torch.where(u < either, 0, x)))


def defocus_blur(images: Any, severity: int, *, index: Any = None, seed: int = 0, kind: str = "imagenet",
                 layout: str | None = None) -> Tensor:
    """Blurred by a disc of radius 3 to 10 pixels (0.3 to 1.5), whose edge is softened by a Gaussian; the border is mirrored.

    As published the Gaussian is mirrored where the disc's array ends, so that with radius 8 and 10 the weights sum to 1.013 and
    1.011: these brighten. Where a sum is a whole level on paper, as in a flat region, it is so here; the published code loses a
    level there, at radius 3 to 6, to float32 weights that sum to a little less than 1.
    """
    disc = _disc(*_constant("defocus_blur", severity, kind))
    reach = len(disc) // 2

    def blurred(x: Tensor, _: Tensor) -> Tensor:
        wide = mirrored(mirrored(x, reach, 2), reach, 3).double()
        size = wide.shape[2:]
        kernel = np.zeros(size)
        kernel[:len(disc), :len(disc)] = disc  # a symmetric one: no need to turn it
        spectrum = torch.fft.rfft2(wide) * torch.fft.rfft2(to_device(kernel, x.device))
        sums = torch.fft.irfft2(spectrum, s=size)[..., 2 * reach:, 2 * reach:]
        return (sums + REACHED).floor_().clamp_(0, 255).byte()

    return each_part("defocus_blur", images, layout, _ids("defocus_blur", index, seed), blurred)


def brightness(images: Any, severity: int, *, index: Any = None, seed: int = 0, kind: str = "imagenet",
               layout: str | None = None) -> Tensor:
    """Adds 0.1 to 0.5 (0.05 to 0.3) to HSV's value, hue and saturation kept. Pictures of 1 or 3 channels."""
    c = _constant("brightness", severity, kind)

    def brighter(x: Tensor, _: Tensor) -> Tensor:
        if x.shape[1] == 1:
            return _bytes(over(x.double(), 255) + c)
        h, s, v = _hsv(over(x.double(), 255))
        return _bytes(_rgb(h, s, (v + c).clamp_(0, 1)))

    return each_part("brightness", images, layout, _ids("brightness", index, seed), brighter, channels=(1, 3))


def contrast(images: Any, severity: int, *, index: Any = None, seed: int = 0, kind: str = "imagenet",
             layout: str | None = None) -> Tensor:
    """0.4 to 0.05 (0.75 to 0.15) of what differs from the mean of its channel."""
    c = _constant("contrast", severity, kind)

    def flatter(x: Tensor, _: Tensor) -> Tensor:
        # A mean of whole numbers, which no order of adding changes.
        mean = x.sum((2, 3), keepdim=True, dtype=torch.int64).double()
        mean = over(mean, 255 * x.shape[2] * x.shape[3])
        return _bytes((over(x.double(), 255) - mean) * c + mean)

    return each_part("contrast", images, layout, _ids("contrast", index, seed), flatter)


def saturate(images: Any, severity: int, *, index: Any = None, seed: int = 0, kind: str = "imagenet",
             layout: str | None = None) -> Tensor:
    """HSV's saturation times a, plus b: nearly grey at severity 1 and 2, garish from 3 on. Greys, which have no hue, turn red
    where b is not 0, as published. Pictures of 3 channels."""
    a, b = _constant("saturate", severity, kind)

    def saturated(x: Tensor, _: Tensor) -> Tensor:
        h, s, v = _hsv(over(x.double(), 255))
        return _bytes(_rgb(h, (s * a + b).clamp_(0, 1), v))

    return each_part("saturate", images, layout, _ids("saturate", index, seed), saturated, channels=(3,))


def gaussian_blur(images: Any, severity: int, *, index: Any = None, seed: int = 0, kind: str = "imagenet",
                  layout: str | None = None) -> Tensor:
    """Blurred by a Gaussian of deviation 1 to 6 pixels (0.4 to 1), cut off at four of them; the edge is repeated. The bits are
    ``skimage.filters.gaussian``'s, truncated."""
    sigma = _constant("gaussian_blur", severity, kind)
    return each_part("gaussian_blur", images, layout, _ids("gaussian_blur", index, seed),
                     lambda x, _: _bytes(gaussian(over(x.double(), 255), sigma)))


def pixelate(images: Any, severity: int, *, index: Any = None, seed: int = 0, kind: str = "imagenet",
             layout: str | None = None) -> Tensor:
    """Shrunk to 0.6 to 0.25 (0.95 to 0.65) of each side, at least a pixel, and enlarged again, each by PIL's BOX filter, with
    its bits."""
    share = _constant("pixelate", severity, kind)

    def coarse(x: Tensor, _: Tensor) -> Tensor:
        h, w = x.shape[2:]
        small = max(1, int(h * share)), max(1, int(w * share))
        for size in (small, (h, w)):
            for axis in (3, 2):  # across first, and bytes between, as PIL
                weights = to_device(_box(x.shape[axis], size[axis - 2]), x.device)
                sums = x.double() @ weights.T if axis == 3 else weights @ x.double()  # of whole numbers: exact in any order
                x = ((sums + 2**21) / 2**22).floor_().clamp_(0, 255).byte()
        return x

    return each_part("pixelate", images, layout, _ids("pixelate", index, seed), coarse)


def jpeg_compression(images: Any, severity: int, *, index: Any = None, seed: int = 0, kind: str = "imagenet",
                     layout: str | None = None) -> Tensor:
    """To JPEG and back, quality 25 to 7 (80 to 40), colour at half the resolution, as PIL saves by default. PIL does it, on the
    host, one picture after the other: pictures on a GPU are copied there and back, and waited for. Pictures of 1 or 3 channels.

    Raises:
        MissingDependencyError: Pillow is not installed.
    """
    quality = _constant("jpeg_compression", severity, kind)
    with extra("pillow", "jpeg_compression"):
        from PIL import Image

    def compressed(picture: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture).save(file, "JPEG", quality=quality)
        with Image.open(file) as image:
            return np.array(image).reshape(picture.shape)

    def on_the_host(x: Tensor, _: Tensor) -> Tensor:
        pictures = [compressed(np.ascontiguousarray(p)) for p in x.permute(0, 2, 3, 1).cpu().numpy()]
        return to_device(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous(), x.device)

    return each_part("jpeg_compression", images, layout, _ids("jpeg_compression", index, seed), on_the_host, channels=(1, 3))


# ---- what they share ----


def _constant(name: str, severity: Any, kind: Any) -> Any:
    kind = checks.choice(f"{name}.kind", kind, _KINDS)
    return CONSTANTS[name][kind][checks.whole(f"{name}.severity", severity, 1, 5) - 1]


def _ids(name: str, index: Any, seed: Any) -> Any:
    """What is given and not needed is looked at all the same."""
    given.seed(f"{name}.seed", seed)
    return index


def _noisy(name: str, images: Any, layout: str | None, index: Any, seed: Any, table: list[int] | Tensor,
           noise: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    """``noise(x, u, table)`` of the bytes and a word for each, all int64."""
    seed = given.seed(f"{name}.seed", seed)
    stream = _STREAM + [*CONSTANTS].index(name)
    table = torch.as_tensor(table, dtype=torch.int64, device="cpu")  # whatever torch's default device is

    def body(x: Tensor, ids: Tensor) -> Tensor:
        u = words(ids, x[0].numel(), seed, stream).view(x.shape)
        return noise(x.long(), u, to_device(table, x.device)).byte()

    return each_part(name, images, layout, needs_ids(name, index), body)


@functools.lru_cache(16)
def _poisson(c: int) -> Tensor:
    """For each byte v, and k from 0 to c - 1, the words below which no more than k are counted; v * 2**32 is added."""
    mean = np.arange(256)[:, None] * c / 255
    k = np.arange(c)
    with np.errstate(divide="ignore", invalid="ignore"):  # of v = 0 nothing is ever counted
        steps = np.where(k == 0, -mean, np.log(mean) - np.log(np.maximum(k, 1)))
    share = np.exp(steps.cumsum(1)).cumsum(1).clip(0, 1)
    share[0] = 1
    return torch.from_numpy(np.rint(share * _WORD).astype(np.int64) + np.arange(256)[:, None] * _WORD).flatten()


@functools.cache
def _disc(radius: float, alias: float) -> np.ndarray:
    """The weights of a soft disc."""
    half, reach = (8, 1) if radius <= 8 else (int(radius), 2)
    at = np.arange(-half, half + 1)
    disc = (at[:, None] ** 2 + at**2 <= radius * radius).astype(np.float64)
    disc /= disc.sum()
    taps = np.exp(-np.arange(-reach, reach + 1) ** 2 / (2 * alias * alias))
    taps /= taps.sum()
    wide = np.pad(disc, reach, mode="reflect")
    lines = sum(t * wide[i:i + len(at)] for i, t in enumerate(taps))
    soft: np.ndarray = sum(t * lines[:, i:i + len(at)] for i, t in enumerate(taps))
    return soft


@functools.lru_cache(64)
def _box(given: int, wanted: int) -> Tensor:
    """PIL's BOX filter from one length to another: [wanted, given] in units of 2**-22, float64."""
    scale = given / wanted
    wide = max(scale, 1.0)
    weights = np.zeros((wanted, given))
    for i in range(wanted):
        middle = (i + 0.5) * scale
        low, high = max(0, int(middle - wide / 2 + 0.5)), min(given, int(middle + wide / 2 + 0.5))
        off = (np.arange(low, high) - middle + 0.5) / wide
        inside = ((off > -0.5) & (off <= 0.5)).astype(np.float64)
        weights[i, low:high] = np.floor(inside / inside.sum() * 2**22 + 0.5)
    return torch.from_numpy(weights)


def over(x: Tensor, by: float) -> Tensor:
    """Divided on a GPU as on a CPU: by a number that the host has torch multiplies there, by its rounded reciprocal."""
    return x / torch.full((), by, dtype=x.dtype, device=x.device)


def _bytes(x: Tensor) -> Tensor:
    """Clipped to [0, 1] and truncated."""
    return (x.clamp(0, 1) * 255).byte()


def _hsv(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue in turns, saturation and value of ``[b, 3, H, W]`` (Smith, SIGGRAPH 1978); a grey has hue and saturation 0."""
    r, g, b = x.unbind(1)
    value = x.amax(1)
    range_ = value - x.amin(1)
    grey = range_ == 0
    safe = torch.where(grey, 1, range_)
    sixth = torch.where(b == value, 4 + (r - g) / safe, torch.where(g == value, 2 + (b - r) / safe, (g - b) / safe))
    hue = torch.where(grey, 0, over(sixth, 6) % 1)
    return hue, torch.where(grey, 0, range_ / torch.where(grey, 1, value)), value


def _rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """The way back."""
    sector = (hue * 6).floor()
    part = hue * 6 - sector
    p = value * (1 - saturation)
    q = value * (1 - part * saturation)
    t = value * (1 - (1 - part) * saturation)
    sector = sector % 6

    def channel(top: int, rising: int, falling: int) -> Tensor:
        """Highest in a sector and the one after it, on its way there in one and back in another, else low."""
        highest = (sector == top) | (sector == (top + 1) % 6)
        return torch.where(highest, value, torch.where(sector == rising, t, torch.where(sector == falling, q, p)))

    return torch.stack([channel(5, 4, 1), channel(1, 0, 3), channel(3, 2, 5)], 1)
