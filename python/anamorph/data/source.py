"""What a source is: it numbers its samples from 0 and loads any of them in any order."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch

from anamorph.data.batch import Batch
from anamorph.data.labels import Label, label_at


class Source:
    """Base of the random-access sources.

    ``encoded``: ``load`` gives file contents, uint8 [N], which still have to be decoded.
    ``thread_safe``: ``load`` may be called from several threads at once.
    ``labels``: a column of ``labels.py``, or None when there are none or they come with each sample.
    ``classes``: the names of the classes, where they have names.
    """

    encoded = False
    thread_safe = True
    labels: np.ndarray | None = None
    classes: list[str] | None = None

    def __len__(self) -> int:
        raise NotImplementedError

    def name(self, index: int) -> str:
        """What a person would look for to find this sample."""
        raise NotImplementedError

    def load(self, index: int) -> tuple[Any, Label | None]:
        """(encoded bytes or uint8 [H, W, C] tensor, label). Raises DecodeError naming the sample."""
        raise NotImplementedError

    def label(self, index: int) -> Label | None:
        return None if self.labels is None else label_at(self.labels, index)

    @property
    def num_classes(self) -> int | None:
        """How many classes there are, or how many numbers a vector has; None where that is not known."""
        if self.classes is not None:
            return len(self.classes)
        if self.labels is None or self.labels.dtype == object:
            return None
        return self.labels.shape[1] if self.labels.ndim == 2 else int(self.labels.max()) + 1

    def first_label(self) -> Label | None:
        """The label of some sample, None where there are none."""
        return self.label(0)

    @property
    def class_to_idx(self) -> dict[str, int] | None:
        return None if self.classes is None else {name: label for label, name in enumerate(self.classes)}


class WholeSource(Source):
    """One that lies in memory, from which a batch is gathered in one piece. ``on_gpu``: there, on its current stream."""

    @property
    @abstractmethod
    def on_gpu(self) -> bool: ...

    @abstractmethod
    def batch(self, number: int, ids: np.ndarray, labels: np.ndarray | None) -> Batch:
        """One without samples yet."""

    @abstractmethod
    def fill(self, batch: Batch) -> None:
        """Puts the samples of its ids in, where the source lies."""


Pixels = torch.Tensor | list[torch.Tensor]  # of a picture [H, W, C], or of a clip's
