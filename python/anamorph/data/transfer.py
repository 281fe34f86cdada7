"""Host pixels to the device: packed and pinned in the background, copied once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import overload

import numpy as np
import torch


@dataclass
class Packed:
    """Images of different sizes one after another in one buffer, so that one copy moves them all."""

    buffer: torch.Tensor
    shapes: list[tuple[int, ...]]

    def to(self, device: torch.device) -> list[torch.Tensor]:
        buffer = self.buffer.to(device, non_blocking=True)
        parts = buffer.split([int(np.prod(shape)) for shape in self.shapes])
        return [part.view(shape) for part, shape in zip(parts, self.shapes)]


@overload
def stage(images: torch.Tensor, device: torch.device) -> torch.Tensor: ...
@overload
def stage(images: list[torch.Tensor], device: torch.device) -> list[torch.Tensor] | Packed: ...
def stage(images: torch.Tensor | list[torch.Tensor],
          device: torch.device) -> torch.Tensor | list[torch.Tensor] | Packed:
    """Makes host images ready for ``upload``. Meant for the reader thread: it copies the pixels.

    On the CPU the images are used where they are. For a GPU they go to pinned memory, which torch
    takes back only after the copy that reads it has run, so nobody has to wait for that copy.
    """
    if device.type == "cpu" or (isinstance(images, torch.Tensor) and images.is_cuda):
        return images
    with torch.cuda.device(device):  # pinning from a fresh thread would open a context on GPU 0
        if isinstance(images, torch.Tensor):
            return images.pin_memory()
        shapes = [tuple(image.shape) for image in images]
        buffer = torch.empty(sum(image.numel() for image in images), dtype=images[0].dtype, device="cpu", pin_memory=True)
        for part, image in zip(buffer.split([image.numel() for image in images]), images):
            part.view(image.shape).copy_(image)
        return Packed(buffer, shapes)


@overload
def upload(staged: torch.Tensor, device: torch.device) -> torch.Tensor: ...
@overload
def upload(staged: list[torch.Tensor] | Packed, device: torch.device) -> list[torch.Tensor]: ...
def upload(staged: torch.Tensor | list[torch.Tensor] | Packed,
           device: torch.device) -> torch.Tensor | list[torch.Tensor]:
    """The staged images on ``device``, in order with its current stream and without waiting for it."""
    if isinstance(staged, list):
        return [_to(image, device) for image in staged]
    return _to(staged, device) if isinstance(staged, torch.Tensor) else staged.to(device)


def to_device(values: np.ndarray | torch.Tensor, device: torch.device) -> torch.Tensor:
    """A small array (ids, labels) on ``device``, without a synchronisation."""
    if not isinstance(values, torch.Tensor):
        values = torch.as_tensor(values, device="cpu")  # whatever torch's default device is
    if device.type == "cuda" and not values.is_cuda:
        values = values.pin_memory()
    return _to(values, device)


def _to(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    # A copy to the host must be waited for: what reads it next is not in the stream.
    return values.to(device, non_blocking=device.type == "cuda")
