"""Several views of a picture, of which the plan's ``view`` says which is drawn:

    recipe = am.Recipe([am.Resize(256), am.TenCrop(224), am.Normalize(mean, std)])
    views = torch.stack([am.render(images, recipe.plan(index, size=size, view=k)) for k in range(10)], 1)  # [B, 10, C, H, W]
    scores = net(views.flatten(0, 1)).unflatten(0, views.shape[:2]).mean(1)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from anamorph.core import checks
from anamorph.core.errors import ShapeError
from anamorph.images.transforms.base import Size, Transform
from anamorph.images.transforms.compose import Composite, chain_size, chain_slots, check_list
from anamorph.images.transforms.program import Slot, by_view, slot


class _Crops(Transform):
    """What the two share: crops of one size, inside the picture."""

    size: int | Sequence[int]

    def _five(self) -> list[Slot]:
        """Top left, top right, bottom left, bottom right, middle: torchvision's order."""
        return [slot("CENTER_CROP", cast(Size, self.size), k=k) for k in (1, 2, 3, 4, 0)]

    def output_size(self, size: Size | None) -> Size | None:
        crop = cast(Size, self.size)
        if size is not None and (crop[0] > size[0] or crop[1] > size[1]):
            raise ShapeError(f"{type(self).__name__}.size: expected at most the picture's {size[0]} x {size[1]} pixels, given "
                             f"{crop[0]} x {crop[1]}")
        return crop


@dataclass(frozen=True)
class FiveCrop(_Crops):
    """One of five crops, by the plan's ``view``: 0 the top left corner, 1 top right, 2 bottom left, 3 bottom right, 4 the middle
    (torchvision's order), 5 again the first. Five plans, ``view=0`` to 4, make torchvision's tuple of five:
    ``torch.stack([am.render(images, recipe.plan(index, size=size, view=k)) for k in range(5)], 1)``.

    Args:
        size: side or (height, width) in pixels, no larger than the picture.
    """

    size: int | Sequence[int]

    def __post_init__(self) -> None:
        self._set(size=checks.size("FiveCrop.size", self.size))

    def slots(self) -> list[Slot]:
        return by_view([[crop] for crop in self._five()])


@dataclass(frozen=True)
class TenCrop(_Crops):
    """One of ten crops, by the plan's ``view``: 0 to 4 as :class:`FiveCrop`, 5 to 9 the same of the mirrored picture.

    Args:
        size: side or (height, width) in pixels, no larger than the picture.
        vertical_flip: mirrored top to bottom, in place of left to right.
    """

    size: int | Sequence[int]
    vertical_flip: bool = False

    def __post_init__(self) -> None:
        self._set(size=checks.size("TenCrop.size", self.size),
                  vertical_flip=checks.flag("TenCrop.vertical_flip", self.vertical_flip))

    def slots(self) -> list[Slot]:
        flip = slot("FLIP_V" if self.vertical_flip else "FLIP_H")
        return by_view([[crop] for crop in self._five()] + [[flip, crop] for crop in self._five()])


@dataclass(frozen=True)
class ByView(Composite):
    """One of several lists, by the plan's ``view``: ``counts[0]`` views are the first's, then ``counts[1]`` the second's, and so
    round. What :func:`anamorph.views` makes one recipe of several with.
    """

    lists: Sequence[Sequence[Transform]]
    counts: Sequence[int]

    def __post_init__(self) -> None:
        self._set(lists=tuple(check_list(f"ByView.lists[{i}]", one) for i, one in enumerate(self.lists)),
                  counts=tuple(self.counts), transforms=tuple(t for one in self.lists for t in one))

    def slots(self) -> list[Slot]:
        return by_view([chain_slots(one) for one in self.lists], self.counts)

    def output_size(self, size: Size | None) -> Size | None:
        sizes = {chain_size(one, size) for one in self.lists}
        return sizes.pop() if len(sizes) == 1 else None
