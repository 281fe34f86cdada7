"""The way of small tensors, ids, sizes and labels, to the device that reads them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def to_device(values: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """An array or tensor on ``device``, in the order of its current stream. What is there already stays.

    The host does not wait for a GPU. From memory that is not pinned a copy might, for all that is queued. Pinned memory may be
    let go of at once: torch's copy_kernel_cuda tells its allocator which stream reads it (ATen/cuda/CachingHostAllocator.h), and
    it is given out again when what that stream had queued by then has run.
    """
    if not isinstance(values, Tensor):
        values = torch.as_tensor(values, device="cpu")  # whatever torch's default device is
    if device.type == "cuda" and values.device.type == "cpu":
        with torch.cuda.device(device):  # the current one's context would be opened by pinning
            return values.pin_memory().to(device, non_blocking=True)
    # A copy to the host must be waited for: what reads it next is not in the stream.
    return values.to(device, non_blocking=device.type == "cuda")
