"""Self-supervised label augmentation: one label for the class and the transform together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from anamorph.core import checks
from anamorph.core.errors import ShapeError
from anamorph.core.tensors import as_integers
from anamorph.training import given

_NONE = ((0, 1, 2),)
_CYCLES = ((0, 1, 2), (1, 2, 0), (2, 0, 1))
_ALL = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
_TURNS = (0, 1, 2, 3)
# What is done to a picture, in order: each number of quarter turns with each order of the channels.
TRANSFORMS = {"none": ((0,), _NONE), "rotation": (_TURNS, _NONE), "rotation2": ((0, 2), _NONE), "color_perm": ((0,), _ALL),
              "color_perm3": ((0,), _CYCLES), "rot_color_perm6": ((0, 2), _CYCLES), "rot_color_perm12": (_TURNS, _CYCLES),
              "rot_color_perm24": (_TURNS, _ALL)}


@dataclass(frozen=True)
class SLA:
    """Each picture M times, transformed, and its class told apart from that of its transformed copies (Lee et al.,
    "Self-supervised label augmentation via input transformations", ICML 2020; github.com/hankook/SLA).

    A net with one head of K * M logits learns the joint label y * M + j of transform j of class y. What it then says of the M
    copies of a picture is put together by :meth:`aggregate`, or it is asked for the picture alone, :meth:`single`.

    Args:
        num_classes: K.
        transforms: the published names. "rotation": by 0, 90, 180 and 270 degrees counter-clockwise; "rotation2": 0 and 180;
            "color_perm": the channels RGB, RBG, GRB, GBR, BRG, BGR; "color_perm3": RGB, GBR, BRG; "rot_color_perm6": rotation2
            with color_perm3; "rot_color_perm12": rotation with color_perm3; "rot_color_perm24": rotation with color_perm (with
            each turn all orders of the channels, one after the other); "none": M = 1, plain classes.
        large_loss: the joint loss times M, as published where many transforms make one step.

    Raises:
        ArgumentError: an argument that cannot be.
    """

    num_classes: int
    transforms: str = "rotation"
    large_loss: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_classes", checks.whole("SLA.num_classes", self.num_classes, 1, 2**31 - 1))
        object.__setattr__(self, "transforms", checks.choice("SLA.transforms", self.transforms, tuple(TRANSFORMS)))
        object.__setattr__(self, "large_loss", checks.flag("SLA.large_loss", self.large_loss))

    @property
    def count(self) -> int:
        """M, how many transforms there are."""
        turns, orders = TRANSFORMS[self.transforms]
        return len(turns) * len(orders)

    @property
    def joint_classes(self) -> int:
        """K * M, the logits of the net's head."""
        return self.num_classes * self.count

    def __call__(self, images: Any, labels: Any) -> tuple[Tensor, Tensor]:
        """The views and joint labels of a batch: row b * M + j is transform j of picture b.

        Args:
            images: ``[B, C, H, W]`` of any dtype, square where they are turned, of 3 channels where these change places; mostly
                what ``am.render`` gave.
            labels: class ids, integers ``[B]``, on the same device.

        Returns:
            ``[B * M, C, H, W]`` of the same dtype and int64 ``[B * M]``.

        Raises:
            ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
        """
        pictures = self._pictures(images)
        return self._views(pictures), self.labels(given.class_ids("labels", labels, len(pictures), self.num_classes, pictures))

    def views(self, images: Any) -> Tensor:
        """The views alone, for a prediction."""
        return self._views(self._pictures(images))

    def labels(self, labels: Any) -> Tensor:
        """The joint labels alone: ``[B]`` to ``[B * M]``, label b * M + j being y * M + j."""
        ids = as_integers("labels", labels)
        ids = given.class_ids("labels", ids, ids.numel(), self.num_classes, ids)
        return (ids[:, None] * self.count + torch.arange(self.count, device=ids.device)).flatten()

    def aggregate(self, logits: Any) -> Tensor:
        """What the M views of a picture say of its class: of view j the logits of the joint classes y * M + j, the mean over j.

        Args:
            logits: ``[B * M, K * M]``.

        Returns:
            Logits ``[B, K]``, for a softmax.
        """
        t = self._joint(logits)
        return t.view(-1, self.count, self.num_classes, self.count).diagonal(dim1=1, dim2=3).mean(2)

    def single(self, logits: Any) -> Tensor:
        """What the pictures alone say: ``[B, K * M]``, of pictures that were not transformed, to ``[B, K]``. (Of the logits of
        all views these are the rows ``logits[::M]``.)"""
        t = self._wide(logits)
        return t[:, ::self.count]

    def loss(self, logits: Any, labels: Any) -> Tensor:
        """The cross-entropy of joint logits ``[B * M, K * M]`` and joint labels ``[B * M]``, the mean over all rows (times M with
        ``large_loss``)."""
        t = self._joint(logits)
        loss = F.cross_entropy(t, given.class_ids("labels", labels, len(t), self.joint_classes, t))
        return loss * self.count if self.large_loss else loss

    def distillation_loss(self, logits: Any, labels: Any, alone: Any, *, temperature: float = 1.0, alone_weight: float = 1.0,
                          weight: float = 1.0) -> Tensor:
        """SLA with self-distillation: a second head of K logits learns from the aggregated prediction, so that one pass over one
        picture is enough later.

        Args:
            logits, labels: the joint ones, as :meth:`loss` takes them.
            alone: the second head's logits ``[B, K]`` of the pictures that were not transformed, the views' rows ``[::M]``.
            temperature: T.
            alone_weight: of the second head's cross-entropy; 1 as published.
            weight: of T^2 KL(softmax(aggregate / T) || softmax(alone / T)), through whose first part no gradient goes; 1 as
                published.

        Returns:
            A scalar: :meth:`loss` and these two.
        """
        temperature = checks.number("temperature", temperature, 1e-6)
        alone_weight, weight = checks.number("alone_weight", alone_weight, 0), checks.number("weight", weight, 0)
        joint = self._joint(logits)
        single = given.floats("alone", alone)
        if list(single.shape) != [len(joint) // self.count, self.num_classes]:
            raise ShapeError(f"alone: expected [{len(joint) // self.count}, {self.num_classes}], the second head's logits of "
                             f"pictures that were not transformed, given {list(single.shape)}")
        given.same_device("alone", single, "logits", joint)
        ids = given.class_ids("labels", labels, len(joint), self.joint_classes, joint)
        teacher = torch.log_softmax(self.aggregate(joint).detach() / temperature, 1)
        apart = F.kl_div(torch.log_softmax(single / temperature, 1), teacher, reduction="batchmean", log_target=True)
        own = F.cross_entropy(single, ids[::self.count] // self.count)
        return self.loss(joint, ids) + alone_weight * own + weight * temperature**2 * apart

    def _pictures(self, images: Any) -> Tensor:
        turns, orders = TRANSFORMS[self.transforms]
        pictures = given.pictures("images", images, square=turns == _TURNS)
        if len(orders) > 1 and pictures.shape[1] != 3:
            raise ShapeError(f"images: expected 3 channels for {self.transforms!r}, given {pictures.shape[1]}")
        return pictures

    def _views(self, pictures: Tensor) -> Tensor:
        turns, orders = TRANSFORMS[self.transforms]
        turned = [torch.rot90(pictures, k, (2, 3)) for k in turns]
        return torch.stack([t if order == _NONE[0] else t[:, list(order)] for t in turned for order in orders], 1).flatten(0, 1)

    def _wide(self, logits: Any) -> Tensor:
        t = given.floats("logits", logits)
        if t.shape[1] != self.joint_classes:
            raise ShapeError(f"logits: expected [.., {self.joint_classes}], {self.num_classes} classes times {self.count} "
                             f"transforms, given {list(t.shape)}")
        return t

    def _joint(self, logits: Any) -> Tensor:
        t = self._wide(logits)
        if len(t) % self.count:
            raise ShapeError(f"logits: expected rows of all {self.count} views of each picture, given {len(t)} rows")
        return t
