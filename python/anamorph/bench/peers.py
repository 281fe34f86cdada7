"""The peers: the same chain in each library, written as its users would write it. Imports are made late, on purpose."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from typing import Any

import torch

from anamorph.core.tensors import from_dlpack
from anamorph.data.dali import next_outputs

from ._torchvision import v2
from .work import DEGREES, HUE, JITTER, MEAN, SCALE, SHEAR, SIZE, STD, TRANSLATE, Step, Unavailable, Work, entry, named_chain


def torchvision_chain(chain: str) -> torch.nn.Module:
    """The chain as torchvision.transforms.v2 has it."""
    T = v2()
    modes = T.InterpolationMode
    end = [] if chain == "simclr" else [T.Normalize(MEAN, STD)]
    return T.Compose([*named_chain(T, chain, modes.BILINEAR, modes.BICUBIC), T.ToDtype(torch.float32, scale=True), *end])


def per_sample(transform: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> Step:
    """One picture at a time, as in a DataLoader's workers, and then a batch of them."""
    return lambda: torch.stack([transform(image) for image in images])


@entry("torchvision-sample", devices=("cpu",))
def torchvision_sample(work: Work) -> Step:
    """The chain for each picture by itself."""
    return per_sample(torchvision_chain(work.chain), work.nchw())


@entry("torchvision-batch", note="one draw for the whole batch")
def torchvision_batch(work: Work) -> Step:
    """The whole batch at once; every picture of it gets the same augmentation."""
    transform, images = torchvision_chain(work.chain), work.nchw()
    return lambda: transform(images)


@entry("kornia")
def kornia_eager(work: Work) -> Step:
    """kornia's batched augmentations. Its crop resamples (no loop over pictures) and is not antialiased."""
    import kornia.augmentation as K

    crop = K.RandomResizedCrop((work.size, work.size), cropping_mode="resample",
                               resample="BICUBIC" if work.chain == "simclr" else "BILINEAR")
    flip, end = K.RandomHorizontalFlip(), K.Normalize(MEAN, STD)
    if work.chain == "rrc-jitter":
        steps = [crop, flip, K.RandomAffine(DEGREES, (TRANSLATE, TRANSLATE), SCALE, SHEAR, p=1.0),
                 K.ColorJitter(JITTER, JITTER, JITTER, HUE), end]
    elif work.chain == "randaugment":
        from kornia.augmentation.auto import RandAugment

        steps = [crop, flip, RandAugment(2, 9), end]
    elif work.chain == "simclr":
        steps = [crop, flip, K.ColorJitter(0.8, 0.8, 0.8, 0.2, p=0.8), K.RandomGrayscale(p=0.2),
                 K.RandomGaussianBlur((23, 23), (0.1, 2.0), p=0.5)]
    elif work.chain == "cifar":
        steps = [K.RandomCrop((32, 32), 4, cropping_mode="resample"), flip, K.RandomErasing(p=0.5), end]
    else:
        raise Unavailable("has no such field")
    chain = K.AugmentationSequential(*steps)
    images = work.nchw()
    return lambda: chain(images.float() / 255)


@entry("kornia-compile")
def kornia_compile(work: Work) -> Step:
    """The same under torch.compile, which breaks the graph where kornia looks at values."""
    torch._logging.set_logs(dynamo=logging.ERROR)  # it would print a page about every break
    return torch.compile(kornia_eager(work))


@entry("albumentations", devices=("cpu",))
def albumentations(work: Work) -> Step:
    """One picture at a time on OpenCV, in uint8 until Normalize."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network for news at import
    import albumentations as A
    from albumentations.pytorch import ToTensorV2

    end, flip = [A.Normalize(MEAN, STD), ToTensorV2()], A.HorizontalFlip()
    if work.chain == "rrc-jitter":
        around = (1 - JITTER, 1 + JITTER)
        steps = [A.RandomResizedCrop((SIZE, SIZE)), flip,
                 A.Affine(scale=SCALE, translate_percent={"x": (-TRANSLATE, TRANSLATE), "y": (-TRANSLATE, TRANSLATE)},
                          rotate=(-DEGREES, DEGREES), shear={"x": (-SHEAR, SHEAR), "y": (0, 0)}, p=1.0),
                 A.ColorJitter(around, around, around, (-HUE, HUE), p=1.0)]
    elif work.chain == "randaugment":
        steps = [A.RandomResizedCrop((SIZE, SIZE)), flip, A.SomeOf(albumentations_ops(A), n=2, replace=True, p=1.0)]
    elif work.chain == "simclr":
        steps = [A.RandomResizedCrop((SIZE, SIZE), interpolation=2), flip,  # OpenCV's INTER_CUBIC
                 A.ColorJitter((0.2, 1.8), (0.2, 1.8), (0.2, 1.8), (-0.2, 0.2), p=0.8), A.ToGray(p=0.2),
                 A.GaussianBlur((23, 23), (0.1, 2.0), p=0.5)]
        end = [A.ToFloat(255), ToTensorV2()]
    elif work.chain == "cifar":
        steps = [A.Pad(4), A.RandomCrop(32, 32), flip, A.Erasing(p=0.5)]
    else:
        raise Unavailable("has no such field")
    chain = A.Compose([*steps, *end])
    return lambda: torch.stack([chain(image=picture)["image"] for picture in work.pictures])


def albumentations_ops(A: Any) -> list[Any]:
    """RandAugment's fourteen at magnitude 9 of 31, 30 % of each range, in either direction with the same chance."""
    def either(make: Callable[[float], Any], value: float) -> Any:
        return A.OneOf([make(value), make(-value)], p=1.0)

    def affine(axis: str, what: str) -> Callable[[float], Any]:
        other = "y" if axis == "x" else "x"
        return lambda v: A.Affine(**{what: {axis: (v, v), other: (0, 0)}}, interpolation=0, p=1.0)

    def factor(**which: float) -> Callable[[float], Any]:
        none = {name: (1.0, 1.0) for name in ("brightness", "contrast", "saturation")}
        return lambda v: A.ColorJitter(**none | {name: (1 + v, 1 + v) for name in which}, hue=(0.0, 0.0), p=1.0)

    shear, shift = math.degrees(math.atan(0.09)), 0.3 * 150 / 331
    return [
        A.NoOp(p=1.0), either(affine("x", "shear"), shear), either(affine("y", "shear"), shear),
        either(affine("x", "translate_percent"), shift), either(affine("y", "translate_percent"), shift),
        either(lambda v: A.Rotate((v, v), interpolation=0, border_mode=0, p=1.0), 9.0),
        either(factor(brightness=1), 0.27), either(factor(saturation=1), 0.27), either(factor(contrast=1), 0.27),
        A.Sharpen(alpha=(0.27, 0.27), p=1.0), A.Posterize(7, p=1.0), A.Solarize((0.7, 0.7), p=1.0),
        A.AutoContrast(p=1.0), A.Equalize(p=1.0),
    ]


@entry("triton-augment", devices=("cuda",), chains=("rrc-jitter",),
       note="plain crop for the resized one, no hue, contrast about mid-grey")
def triton_augment(work: Work) -> Step:
    """triton-augment's one fused kernel. It has neither a resized crop nor hue and takes floats."""
    os.environ.setdefault("TRITON_AUGMENT_SUPPRESS_FIRST_RUN_MESSAGE", "1")
    import triton_augment as ta

    chain = ta.TritonFusedAugment(
        crop_size=SIZE, horizontal_flip_p=0.5, degrees=DEGREES, translate=(TRANSLATE, TRANSLATE), scale=SCALE,
        shear=SHEAR, interpolation=ta.InterpolationMode.BILINEAR, brightness=JITTER, contrast=JITTER,
        saturation=JITTER, mean=MEAN, std=STD)
    images = work.nchw()
    return lambda: chain(images.float() / 255)


@entry("dali", chains=("rrc-jitter",), note="colour as one matrix, in a fixed order, contrast about mid-grey")
def dali(work: Work) -> Step:
    """DALI's closest operators.

    What differs: ``color_twist`` is one linear map of a pixel (brightness, contrast about mid-grey, hue and saturation
    by rotation in YIQ) where the chain has four clamped steps in random order; the flip comes last, inside
    ``crop_mirror_normalize``; the picture is uint8 until there. The pipeline prepares one batch at a time, when it is asked
    for, or work that it does ahead would be counted as another engine's time.
    """
    import nvidia.dali as nd
    from nvidia.dali import fn

    gpu = work.device.type == "cuda"
    uniform, around, half = fn.random.uniform, (1 - JITTER, 1 + JITTER), SIZE / 2
    images = work.nhwc() if gpu else work.pictures
    pipeline = nd.Pipeline(batch_size=len(images), num_threads=1, device_id=work.device.index,  # None: no GPU
                           prefetch_queue_depth=1, exec_dynamic=True, seed=0)
    with pipeline:
        image = fn.external_source(source=lambda: images, layout="HWC", device="gpu" if gpu else "cpu", no_copy=True)
        image = fn.random_resized_crop(image, size=(SIZE, SIZE))
        scale, shear = uniform(range=SCALE), uniform(range=(-SHEAR, SHEAR))
        matrix = fn.transforms.shear(angles=fn.stack(shear, 0.0), center=(half, half))
        matrix = fn.transforms.scale(matrix, scale=fn.stack(scale, scale), center=(half, half))
        matrix = fn.transforms.rotation(matrix, angle=uniform(range=(-DEGREES, DEGREES)), center=(half, half))
        reach = TRANSLATE * SIZE
        matrix = fn.transforms.translation(matrix, offset=uniform(range=(-reach, reach), shape=2))
        image = fn.warp_affine(image, matrix=matrix, fill_value=0, inverse_map=False)
        image = fn.color_twist(image, brightness=uniform(range=around), contrast=uniform(range=around),
                               saturation=uniform(range=around), hue=uniform(range=(-360 * HUE, 360 * HUE)))
        image = fn.crop_mirror_normalize(image, mirror=fn.random.coin_flip(), mean=[255 * m for m in MEAN],
                                         std=[255 * s for s in STD], output_layout="CHW")
        pipeline.set_outputs(image)
    pipeline.build()

    def step() -> torch.Tensor:
        (output,) = next_outputs(pipeline, work.device)  # on a GPU in torch's stream, which the timing events are on
        return from_dlpack(output.as_tensor())

    return step
