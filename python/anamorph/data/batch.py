"""One batch on its way from the source to the engine."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from anamorph import _native
from anamorph.core.move import to_device
from anamorph.data.transfer import Shipment
from anamorph.images.ragged import Ragged


@dataclass
class Batch:
    """``images`` is what the current station makes of them: encoded bytes (a list of uint8 [N]), then
    decoded pixels (a list of [H, W, C] tensors, or one [B, H, W, C] tensor). ``labels`` are a column of ``labels.py``.
    Of clips the pictures of one follow each other, ``frames`` for each sample."""

    number: int
    ids: np.ndarray | torch.Tensor
    images: Any
    labels: np.ndarray | torch.Tensor | None
    frames: int | None = None
    shipment: Shipment | None = None  # of what was on the host, where a GPU is to have it

    def without(self, rejected: Collection[int]) -> Batch:
        """The same batch, of encoded pictures, with the given positions left out."""
        keep = [i for i in range(len(self.images)) if i not in rejected]
        labels = None if self.labels is None else self.labels[keep]
        return replace(self, ids=self.ids[keep], images=[self.images[i] for i in keep], labels=labels)

    def ship(self, device: torch.device) -> Batch:
        """Sends to a GPU what of ids, labels and decoded pixels is on the host. For the thread that read them, as it copies the
        pixels. On a CPU all is used where it is; so are dicts as labels, which are put together later."""
        if device.type == "cpu":
            return self
        if isinstance(self.images, list):
            self.images = Ragged._of_list(self.images, "HWC")
        images = self.images
        ragged = isinstance(images, Ragged)
        pixels = {"table": images._table} if ragged else {"images": images}
        parts = {name: on_host(part) for name, part in {"ids": self.ids, "labels": self.labels, **pixels}.items()}
        given = {name: part for name, part in parts.items() if part is not None}
        if not given:
            return self
        forms = {name: (part.dtype, tuple(part.shape)) for name, part in given.items()}
        packed = ragged and images.device.type == "cpu"
        if packed:
            forms["pixels"] = torch.uint8, (images._values(),)
        self.shipment = Shipment(forms, device)
        for name, part in given.items():
            self.shipment.host[name].copy_(part)
        if packed:
            _native.pack(self.shipment.host["table"], images.channels, self.shipment.host["pixels"])
        self.shipment.send()
        return self

    def arrive(self, device: torch.device) -> None:
        """Makes tensors on ``device`` of ids, labels and pixels, for what is queued on its current stream from here on."""
        if self.shipment is None:
            self.ship(device)  # what no thread of ours has read
        there = self.shipment.arrive() if self.shipment else {}
        self.shipment = None
        # Whoever keeps ids or labels is not to keep the pixels with them.
        self.ids = there["ids"].clone() if "ids" in there else to_device(self.ids, device)
        self.labels = there["labels"].clone() if "labels" in there else self.labels
        if isinstance(self.images, list):
            self.images = Ragged.from_list(self.images, "HWC")
        if isinstance(self.images, Ragged):
            if "table" in there:
                self.images._arrive(there["table"], there.get("pixels"))
        elif self.images is not None:
            self.images = to_device(there.get("images", self.images), device)


def on_host(values: Any) -> torch.Tensor | None:
    """A tensor of what is on the host and can be one."""
    if isinstance(values, np.ndarray) and values.dtype != object:
        values = torch.as_tensor(values, device="cpu")  # whatever torch's default device is
    return values if isinstance(values, torch.Tensor) and values.device.type == "cpu" else None
