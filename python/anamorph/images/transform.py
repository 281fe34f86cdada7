"""What every transform is: a frozen description that compiles to slots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anamorph.images.program import Slot

if TYPE_CHECKING:
    from anamorph.images.mix import Mixer

Size = tuple[int, int]


class Transform:
    """Base of the transforms. They describe; a :class:`anamorph.Recipe` compiles them, once."""

    def slots(self) -> list[Slot]:
        """The program of this transform."""
        raise NotImplementedError

    def output_size(self, size: Size | None) -> Size | None:
        """(height, width) of its output for that of its input; None stands for unknown."""
        return size

    def channels(self) -> set[int]:
        """Numbers of channels that its per-channel values fit (one value for all channels fits any: not listed)."""
        return set()

    def mixers(self) -> list[Mixer]:
        """The mixing transforms in it."""
        return []

    def _set(self, **canonical: Any) -> None:  # the dataclasses are frozen, also for their own checks
        for name, value in canonical.items():
            object.__setattr__(self, name, value)


def lengths(*values: float | Sequence[float]) -> set[int]:
    """The channel counts that per-channel values ask for."""
    return {len(v) for v in values if isinstance(v, Sequence) and len(v) > 1}
