"""The steps of a recipe for poses: what each draws, and what it does with that."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.points.skeleton import change, draw
from anamorph.points.skeleton.tree import Tree

Parameters = dict[str, Tensor]


@dataclass(frozen=True)
class Step:
    """Base of the steps. ``p`` is the probability that a pose is changed at all."""

    p: float = 1.0
    needs_pairs: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "p", checks.probability(f"{type(self).__name__}.p", self.p))

    def count(self, tree: Tree) -> int:
        """How many uniform numbers it draws for a pose."""
        raise NotImplementedError

    def parameters(self, u: Tensor, tree: Tree) -> Parameters:
        """What these numbers, float32 ``[B, count]``, mean."""
        raise NotImplementedError

    def apply(self, pose: Tensor, given: Parameters, tree: Tree) -> Tensor:
        """The poses ``[B, J, 3]`` changed."""
        raise NotImplementedError

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)


@dataclass(frozen=True)
class BoneAngle(Step):
    """Other directions of bones, each by itself; lengths stay, and so do bones of ``tree.fixed_directions``.

    Give one of the two:

    Args:
        degrees: each bone turns about an axis that may point anywhere, by an angle from -degrees to degrees, up to 180.
        sigma: unit' = normalise(unit + delta), delta normal of this deviation in each coordinate: the form that PoseAug's network
            has (Gong et al., CVPR 2021).
        p: probability that a pose is changed.

    Raises:
        ArgumentError: what was given and what is expected.
    """

    degrees: float | None = None
    sigma: float | None = None

    def __init__(self, degrees: float | None = None, *, sigma: float | None = None, p: float = 1.0) -> None:
        if (degrees is None) == (sigma is None):
            checks.wrong("BoneAngle", "degrees or sigma", {"degrees": degrees, "sigma": sigma})
        self._set("degrees", None if degrees is None else checks.number("BoneAngle.degrees", degrees, 0, 180))
        self._set("sigma", None if sigma is None else checks.number("BoneAngle.sigma", sigma, 0, 100))
        self._set("p", p)
        self.__post_init__()

    def count(self, tree: Tree) -> int:
        """An axis and an angle, or three normal numbers, for each bone."""
        return (len(tree) - 1) * (3 if self.sigma is None else 6)

    def parameters(self, u: Tensor, tree: Tree) -> Parameters:
        """"axis_angle" or "delta", ``[B, J - 1, 3]``."""
        bones = len(tree) - 1
        if self.sigma is not None:
            return {"delta": draw.normal(u).view(-1, bones, 3) * self.sigma}
        assert self.degrees is not None
        angle = (2 * u[:, 2 * bones:] - 1) * math.radians(self.degrees)
        return {"axis_angle": draw.sphere(u[:, :2 * bones]) * angle[:, :, None]}

    def apply(self, pose: Tensor, given: Parameters, tree: Tree) -> Tensor:
        """By turns or by what is added."""
        if self.sigma is not None:
            return change.shift_directions(pose, given["delta"], tree)
        return change.turn_directions(pose, given["axis_angle"], tree)


@dataclass(frozen=True)
class BoneLength(Step):
    """Other lengths of bones: length' = length * (1 + r), r uniform from -ratio to ratio, one for left and right together; bones
    of ``tree.fixed_lengths`` stay (PoseAug's, whose network gives .2 tanh).

    Args:
        ratio: 0 to 0.99.
        tied: left and right get one number; False: each bone its own.
        p: probability that a pose is changed.
    """

    ratio: float = 0.2
    tied: bool = True

    def __init__(self, ratio: float = 0.2, *, tied: bool = True, p: float = 1.0) -> None:
        self._set("ratio", checks.number("BoneLength.ratio", ratio, 0, 0.99))
        self._set("tied", checks.flag("BoneLength.tied", tied))
        self._set("p", p)
        self.__post_init__()

    def count(self, tree: Tree) -> int:
        """One for each group or bone."""
        return max(tree.groups) + 1 if self.tied else len(tree) - 1

    def parameters(self, u: Tensor, tree: Tree) -> Parameters:
        """"ratio" ``[B, groups]`` or ``[B, J - 1]``."""
        return {"ratio": (2 * u - 1) * self.ratio}

    def apply(self, pose: Tensor, given: Parameters, tree: Tree) -> Tensor:
        """Directions stay."""
        return change.scale_lengths(pose, given["ratio"], tree)


@dataclass(frozen=True)
class Rigid(Step):
    """The whole pose turned about its root and moved.

    Args:
        rotation: degrees d, 0 to 180: the angle is uniform from -d to d.
        translation: t, or (tx, ty, tz), in the poses' unit: uniform from -t to t.
        axis: three numbers, the axis of the turn, as (0, 1, 0) for the vertical of a camera that stands level; None: any
            direction is as likely.
        p: probability that a pose is changed.
    """

    rotation: float = 0.0
    translation: tuple[float, ...] = (0.0, 0.0, 0.0)
    axis: tuple[float, ...] | None = None

    def __init__(self, rotation: float = 0.0, translation: Any = 0.0, *, axis: Any = None, p: float = 1.0) -> None:
        self._set("rotation", checks.number("Rigid.rotation", rotation, 0, 180))
        given = translation if checks.is_sequence(translation) else (translation,) * 3
        expected = "a length of at least 0 or three of them"
        self._set("translation", tuple(checks.number("Rigid.translation", t, 0, expected=expected) for t in
                                       checks.several("Rigid.translation", given, (3,), expected)))
        if axis is not None:
            axis = tuple(checks.number("Rigid.axis", a) for a in
                         checks.several("Rigid.axis", axis, (3,), "three numbers, or None"))
            size = math.hypot(*axis)
            if size < 1e-6:
                checks.wrong("Rigid.axis", "a direction", axis)
            axis = tuple(a / size for a in axis)
        self._set("axis", axis)
        self._set("p", p)
        self.__post_init__()

    def count(self, tree: Tree) -> int:
        """Axis, angle and translation."""
        return 6

    def parameters(self, u: Tensor, tree: Tree) -> Parameters:
        """"axis_angle" and "offset", ``[B, 3]``."""
        angle = (2 * u[:, 2:3] - 1) * math.radians(self.rotation)
        axis = draw.sphere(u[:, :2])[:, 0] if self.axis is None else _row(u, self.axis)
        return {"axis_angle": axis * angle, "offset": (2 * u[:, 3:] - 1) * _row(u, self.translation)}

    def apply(self, pose: Tensor, given: Parameters, tree: Tree) -> Tensor:
        """Turned, then moved."""
        return change.turn(pose, given["axis_angle"], tree) + given["offset"][:, None]


def _row(like: Tensor, values: tuple[float, ...]) -> Tensor:
    """Numbers on the device without a copy that would be waited for."""
    return torch.stack([like.new_full((), value) for value in values])


@dataclass(frozen=True)
class Flip(Step):
    """The mirror image: x becomes -x, left and right change (``tree.pairs``). That is what the camera sees of a mirrored scene.

    Args:
        p: probability. axis: of the coordinate that changes its sign.
    """

    axis: int = 0
    needs_pairs: ClassVar[bool] = True

    def __init__(self, p: float = 0.5, *, axis: int = 0) -> None:
        self._set("axis", checks.whole("Flip.axis", axis, 0, 2))
        self._set("p", p)
        self.__post_init__()

    def count(self, tree: Tree) -> int:
        """Nothing but whether."""
        return 0

    def parameters(self, u: Tensor, tree: Tree) -> Parameters:
        """None."""
        return {}

    def apply(self, pose: Tensor, given: Parameters, tree: Tree) -> Tensor:
        """Mirrored."""
        return change.mirrored(pose, tree, self.axis)
