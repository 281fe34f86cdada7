"""Known faults of the engine that are being mended. Where one stands it excuses the pixels it reaches, and nothing else, so that
the rest can be seen. Each goes with its mend; when the list is empty, so does the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Fault:
    name: str
    where: Callable[[Any], Tensor | None]


FAULTS: list[Fault] = []
