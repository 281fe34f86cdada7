"""What every transform is: a frozen description that compiles to slots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anamorph.core import checks
from anamorph.images.transforms.program import MODES, PARTNER_SHIFT, PARTNERS, Slot

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


def mode_flags(mode: str) -> int:
    """The bits by which a slot's draw is shared."""
    return {"elem": 0, "batch": 1 << 8, "pair": 1 << 9}[mode]


class Mixer(Transform):
    """Base of the mixing transforms."""

    mode: str
    partner: str | None

    def _check(self) -> None:
        name = type(self).__name__
        self._set(mode=checks.choice(f"{name}.mode", self.mode, MODES))
        default = "flip" if self.mode == "pair" else "derange"
        self._set(partner=checks.choice(f"{name}.partner", default if self.partner is None else self.partner, PARTNERS))
        if self.mode == "pair" and self.partner != "flip":
            checks.wrong(f"{name}.partner", "'flip' for mode='pair'", self.partner)

    def _flags(self) -> int:
        return mode_flags(self.mode) | PARTNERS.index(self.partner or "derange") << PARTNER_SHIFT

    def mixers(self) -> list[Mixer]:
        return [self]
