"""The peers: the same chain in each library, written as its users would write it. Imports are made late, on purpose."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import torch

from anamorph.core.tensors import from_dlpack
from anamorph.data.dali import next_outputs

from ._torchvision import v2
from .work import DEGREES, HUE, JITTER, MEAN, SCALE, SHEAR, SIZE, STD, TRANSLATE, Step, Work, chain_of, entry


def torchvision_chain() -> torch.nn.Module:
    """The chain as torchvision.transforms.v2 has it."""
    T = v2()
    return T.Compose([*chain_of(T, T.InterpolationMode.BILINEAR), T.ToDtype(torch.float32, scale=True), T.Normalize(MEAN, STD)])


def per_sample(transform: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> Step:
    """One picture at a time, as in a DataLoader's workers, and then a batch of them."""
    return lambda: torch.stack([transform(image) for image in images])


@entry("torchvision-sample", devices=("cpu",))
def torchvision_sample(work: Work) -> Step:
    """The chain for each picture by itself."""
    return per_sample(torchvision_chain(), work.nchw())


@entry("torchvision-batch", note="one draw for the whole batch")
def torchvision_batch(work: Work) -> Step:
    """The whole batch at once; every picture of it gets the same augmentation."""
    transform, images = torchvision_chain(), work.nchw()
    return lambda: transform(images)


@entry("kornia")
def kornia_eager(work: Work) -> Step:
    """kornia's batched augmentations. Its crop resamples (no loop over pictures) and is not antialiased."""
    import kornia.augmentation as K

    chain = K.AugmentationSequential(
        K.RandomResizedCrop((SIZE, SIZE), cropping_mode="resample"),
        K.RandomHorizontalFlip(),
        K.RandomAffine(DEGREES, (TRANSLATE, TRANSLATE), SCALE, SHEAR, p=1.0),
        K.ColorJitter(JITTER, JITTER, JITTER, HUE),
        K.Normalize(MEAN, STD),
    )
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

    around = (1 - JITTER, 1 + JITTER)
    chain = A.Compose([
        A.RandomResizedCrop((SIZE, SIZE)),
        A.HorizontalFlip(),
        A.Affine(scale=SCALE, translate_percent={"x": (-TRANSLATE, TRANSLATE), "y": (-TRANSLATE, TRANSLATE)},
                 rotate=(-DEGREES, DEGREES), shear={"x": (-SHEAR, SHEAR), "y": (0, 0)}, p=1.0),
        A.ColorJitter(around, around, around, (-HUE, HUE), p=1.0),
        A.Normalize(MEAN, STD),
        ToTensorV2(),
    ])
    return lambda: torch.stack([chain(image=picture)["image"] for picture in work.pictures])


@entry("triton-augment", devices=("cuda",), note="plain crop for the resized one, no hue, contrast about mid-grey")
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


@entry("dali", note="colour as one matrix, in a fixed order, contrast about mid-grey")
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
