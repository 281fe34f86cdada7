"""One batch on its way from the source to the engine."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch


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

    def without(self, rejected: Collection[int]) -> Batch:
        """The same batch, of encoded pictures, with the given positions left out."""
        keep = [i for i in range(len(self.images)) if i not in rejected]
        labels = None if self.labels is None else self.labels[keep]
        return replace(self, ids=self.ids[keep], images=[self.images[i] for i in keep], labels=labels)
