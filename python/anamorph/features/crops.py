"""Features off the shelf: a trained net as it is, sixteen views of a picture, and a linear classifier whose answers are added up.

Razavian et al., "CNN features off-the-shelf: an astounding baseline for recognition", CVPR workshops 2014 ("CNNaug + SVM").
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, ShapeError
from anamorph.features import given
from anamorph.features.precision import full

VIEWS = 16


def sixteen_views(pictures: Tensor, degrees: float = 30.0, area: float = 4 / 9) -> Tensor:
    """A picture, five crops of it (its corners and its middle, each brought to the picture's size), two rotations, and the mirror
    image of each of these eight. Bilinear; what a rotation brings in from outside is 0.

    Args:
        pictures: floats ``[B, C, H, W]``, normalised as the net expects it.
        degrees: by which is rotated, one way and the other.
        area: of a crop, as a share of the picture's.

    Returns:
        ``[16, B, C, H, W]``: the picture, its crops at the top left, top right, bottom left, bottom right and middle, rotated
        counterclockwise and clockwise; in the same order the eight mirror images.

    Raises:
        ArgumentError, ShapeError, DtypeError: what was given and what is expected.
    """
    given.features("pictures", pictures, "[B, C, H, W]")
    degrees = checks.number("degrees", degrees, -180, 180)
    side = math.sqrt(checks.number("area", area, 1e-6, 1))
    far = 1 - side  # of a crop's middle from the picture's, in half sides
    maps = [[[side, 0.0, x], [0.0, side, y]] for x, y in ((-far, -far), (far, -far), (-far, far), (far, far), (0.0, 0.0))]
    height, width = pictures.shape[2:]
    for turn in (math.radians(degrees), -math.radians(degrees)):
        cos, sin = math.cos(turn), math.sin(turn)  # in pixels: a side is two units along either axis, whatever its length
        maps.append([[cos, -sin * height / width, 0.0], [sin * width / height, cos, 0.0]])
    theta = torch.tensor(maps, dtype=pictures.dtype, device=pictures.device)
    grids = F.affine_grid(theta, [len(maps), 1, height, width], align_corners=False)
    made = [F.grid_sample(pictures, grid.expand(len(pictures), -1, -1, -1), align_corners=False) for grid in grids]
    views = torch.stack([pictures, *made])
    return torch.cat([views, views.flip(-1)])


def power_normalised(features: Tensor, power: float = 0.5) -> Tensor:
    """Features of length 1, each value to a power with its sign kept, of length 1 again. Zeros stay zeros, and get no gradient.

    Args:
        features: floats ``[..., D]``.
        power: above 0; 1 leaves the first length.

    Returns:
        The shape of ``features``, float32, or float64 of that.

    Raises:
        ArgumentError, ShapeError, DtypeError: what was given and what is expected.
    """
    given.features("features", features, "[..., D]")
    power = checks.number("power", power, 1e-3, 1e3)
    unit = F.normalize(full(features), dim=-1)
    there = unit != 0
    size = torch.where(there, unit.abs(), 1.0)  # a root has no slope at 0
    return F.normalize(torch.where(there, unit.sign() * size**power, 0.0), dim=-1)


class OffTheShelf(nn.Module):
    """A net's features of sixteen views, to train a linear classifier on, a view as good as a picture, and to ask it about.

        shelf = OffTheShelf(net)
        svm.fit(shelf(pictures).flatten(0, 1), labels.repeat(16))
        answers = shelf.responses(pictures, lambda features: torch.from_numpy(svm.decision_function(features)))

    Args:
        net: pictures ``[N, C, H, W]`` to features ``[N, D]``, in ``eval()``; it is asked without gradient.
        degrees, area: of :func:`sixteen_views`.
        power: of :func:`power_normalised`.
    """

    def __init__(self, net: nn.Module, *, degrees: float = 30.0, area: float = 4 / 9, power: float = 0.5) -> None:
        super().__init__()
        self.net, self.degrees, self.area, self.power = net, degrees, area, power

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        """``[16, B, D]`` of pictures ``[B, C, H, W]``."""
        if self.net.training:
            raise ArgumentError("net: expected one in eval(), given one in training")
        views = sixteen_views(pictures, self.degrees, self.area)
        return torch.stack([power_normalised(self.net(view), self.power) for view in views])

    def responses(self, pictures: Tensor, classifier: Callable[[Tensor], Tensor]) -> Tensor:
        """``[B, K]``: a classifier's answers, features ``[N, D]`` to ``[N, K]``, added up over the sixteen views."""
        features = self(pictures)
        answers = classifier(features.flatten(0, 1))
        if not isinstance(answers, Tensor) or answers.dim() != 2 or len(answers) != VIEWS * len(pictures):
            shape = list(answers.shape) if isinstance(answers, Tensor) else type(answers).__name__
            raise ShapeError(f"classifier: expected answers [{VIEWS * len(pictures)}, K], given {shape}")
        return answers.unflatten(0, (VIEWS, len(pictures))).sum(0)
