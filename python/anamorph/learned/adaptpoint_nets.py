"""AdaptPoint's networks: what is to be done to a cloud is read off it, and whether a cloud looks real."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DtypeError, ShapeError
from anamorph.learned import draws
from anamorph.learned.draws import Key
from anamorph.points.deform import _bent, mask_points, rotation_matrix
from anamorph.points.neighbours import ball_query, farthest_point_sample, group, knn

WIDTHS = (64, 128, 256, 512, 1024)  # of the embedding and of the four stages
RADII = (0.1, 0.2, 0.4, 0.8)  # of the stages' balls, for clouds in the unit sphere
ANCHORS, HEADS = 4, 4
NEIGHBOURS = 24  # in a ball, and about an anchor
DEGREES, SCALE, SHIFT, SIGMA, TAU = 10.0, 3.0, 0.25, 0.5, 0.1
_INSIDE = 0.999999  # the largest norm afterwards, as PointWOLF's


class Generated(NamedTuple):
    """What became of clouds ``[B, N, 3]``, and why. What the options leave out is None."""

    points: Tensor  #: float32 [B, N, 3]: deformed, in the unit sphere, points that were dropped at the origin
    deformed: Tensor  #: the same before the mask
    keep: Tensor | None  #: [B, N], 1 or 0, whose gradient is that of a softmax
    rotation: Tensor | None  #: [B, 4, 3], radians about x, y and z, 0 where it is switched off, as the next two
    scale: Tensor | None  #: [B, 4, 3], 1 where off
    shift: Tensor | None  #: [B, 4, 3]
    logits: Tensor | None  #: [B, N, 2]: of staying and of going


class Controls(NamedTuple):
    """What the network says, before switches, subsets and noise."""

    rotation: Tensor | None  #: [B, 4, 3], within 10 degrees, in radians
    scale: Tensor | None  #: [B, 4, 3], between 1 and 3
    shift: Tensor | None  #: [B, 4, 3], within .25
    logits: Tensor | None  #: [B, N, 2]
    anchors: Tensor  #: [B, 4, 3], the first of the farthest points


class Attention(nn.Module):
    """Points look at all points: what they find is convolved, normalised and added to what they are. Where they are, relative to
    their mean, is added to queries, keys and values."""

    def __init__(self, width: int, heads: int = HEADS) -> None:
        super().__init__()
        self.heads = heads
        self.looks = nn.Conv1d(width, 3 * width, 1, bias=False)
        self.place = nn.Sequential(nn.Conv1d(3, width, 1), nn.BatchNorm1d(width))
        self.found = nn.Sequential(nn.Conv1d(width, width, 1), nn.BatchNorm1d(width))

    def forward(self, x: Tensor, points: Tensor) -> Tensor:
        """``x`` is ``[B, C, M]``, ``points`` ``[B, M, 3]``."""
        place = self.place((points - points.mean(1, keepdim=True)).transpose(1, 2))
        # Rows lie together, without which torch takes its slow way and keeps all M x M weights.
        asked = [(part + place).unflatten(1, (self.heads, -1)).transpose(2, 3).contiguous() for part in self.looks(x).chunk(3, 1)]
        seen = F.scaled_dot_product_attention(*asked)  # [B, heads, M, C / heads]
        return x + self.found(seen.transpose(2, 3).flatten(1, 2))


class Gather(nn.Module):
    """Differences of features to those of a ball's centre, with a gain and an offset for each channel; the largest of them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain, self.offset = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, index: Tensor, centre: Tensor) -> Tensor:
        """Of ``x`` ``[B, C, N]`` with neighbours ``[B, M, k]`` and centres ``[B, M]``: ``[B, C, M]``."""
        rows = x.transpose(1, 2)
        apart = group(rows, index) - group(rows, centre)[:, :, None]
        return (self.gain * apart + self.offset).amax(2).transpose(1, 2)


class Generator(nn.Module):
    """Networks that look at a cloud and say how each of four anchors turns, scales and shifts it, and which points stay.

    Four stages halve the cloud by farthest point sampling and gather features from balls; four steps of inverse distances bring
    them back to all points. Farthest points are taken in one order, so each stage is the first half of the one before it.

    Args:
        widths: channels of the embedding and of the four stages. The first and the last are multiples of 4, the heads.
        use_deformation, use_mask: what it does; one of them at least.
        sigma: the width of the anchors' weights. tau: the temperature of the mask's softmax. neighbours: in a ball and about an
            anchor; a cloud needs 16 times as many points.
        compat: PointWOLF's published matrix, which is no rotation (see :func:`anamorph.points.rotation_matrix`).
    """

    def __init__(self, widths: Sequence[int] = WIDTHS, *, use_deformation: bool = True, use_mask: bool = True,
                 sigma: float = SIGMA, tau: float = TAU, neighbours: int = NEIGHBOURS, compat: bool = False) -> None:
        super().__init__()
        widths = [checks.whole("widths", width, 4) for width in
                  checks.several("widths", widths, (len(RADII) + 1,), "five numbers of channels")]
        for width in (widths[0], widths[-1]):
            if width % HEADS:
                checks.wrong("widths", f"multiples of {HEADS}, the heads, first and last", tuple(widths))
        self.use_deformation = checks.flag("use_deformation", use_deformation)
        self.use_mask = checks.flag("use_mask", use_mask)
        if not self.use_deformation and not self.use_mask:
            checks.wrong("use_mask", "one of use_deformation and use_mask at least", use_mask)
        self.sigma, self.tau = checks.number("sigma", sigma, 1e-6), checks.number("tau", tau, 1e-6)
        self.neighbours, self.compat = checks.whole("neighbours", neighbours, 1), checks.flag("compat", compat)
        first, last = widths[0], widths[-1]
        self.embed = _conv(3, first)
        self.down = nn.ModuleList(_conv(a, b) for a, b in pairwise(widths))
        self.gather = nn.ModuleList(Gather(width) for width in widths[1:])
        if self.use_deformation:
            self.anchors = Attention(last)
            self.whole = _conv(3, last, act=False)
            self.maps = _conv(2 * last, 9, act=False)
        if self.use_mask:
            self.up = nn.ModuleList(_conv(a + b, a) for a, b in pairwise(widths))
            self.local = Attention(first)
            self.of_point, self.of_cloud = _conv(first, 3, act=False), _conv(last, 3, act=False)
            self.stays = _conv(6, 2, act=False)

    def forward(self, points: Tensor, key: Key) -> Generated:
        """
        Args:
            points: float32 ``[B, N, 3]``, centred and in the unit sphere, N at least 384. All N points are there: this network
                takes no ``counts``. In training mode B is 2 at least, for batch norm.
            key: which clouds they are, seed and step; :func:`anamorph.learned.draws.key` makes one.

        Raises:
            ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
        """
        said = self.control(points)
        rotation = scale = shift = None
        out = points
        if said.rotation is not None and said.scale is not None and said.shift is not None:
            # Of autocast's halves, too, which only the networks are computed in.
            rotation, scale, shift = (t.to(points.dtype) for t in switched(said.rotation, said.scale, said.shift, key))
            matrix = rotation_matrix(rotation, self.compat) * scale[:, :, None]
            axes = _subset(draws.uniform(key, 1, draws.SPACE))[:, 0]
            out = _bent(points, said.anchors, matrix, shift, self.sigma, axes, None)
        out = deformed = normalised(out)
        keep = None
        if said.logits is not None:
            noise = draws.gumbel(key, 2 * points.shape[1], draws.NOISE).view(said.logits.shape)
            keep = straight_through(said.logits.to(points.dtype), noise, self.tau)
            out = mask_points(deformed, keep)
        return Generated(out, deformed, keep, rotation, scale, shift, said.logits)

    def control(self, points: Tensor) -> Controls:
        """What the networks say of clouds; nothing in it is random."""
        least = self.neighbours << len(RADII)
        cloud(points, least)
        if points.shape[1] > _MOST:
            raise ShapeError(f"points: expected at most {_MOST} in a cloud, given {points.shape[1]}")
        if self.training and len(points) < 2:
            raise ShapeError(f"points: expected at least 2 clouds in training mode, for batch norm, given {list(points.shape)}")
        order = farthest_point_sample(points, points.shape[1] // 2)
        places, features = [points], [self.embed(points.transpose(1, 2))]
        for i, (conv, gather, radius) in enumerate(zip(self.down, self.gather, RADII, strict=True)):
            # Stage 1 picks from the cloud; the next ones from what is already in the order of farthest points, whose first half
            # is their farthest points.
            centre = (order if i == 0 else torch.arange(places[-1].shape[1] // 2, device=points.device).expand(len(points), -1))
            at = group(places[-1], centre)
            index = ball_query(at, places[-1], radius, self.neighbours)
            features.append(gather(conv(features[-1]), index, centre))
            places.append(at)
        rotation = scale = shift = logits = None
        anchors = places[1][:, :ANCHORS]
        if self.use_deformation:
            rotation, scale, shift = self._maps(anchors, places[-1], features[-1])
        if self.use_mask:
            logits = self._logits(places, features)
        return Controls(rotation, scale, shift, logits, anchors)

    def _maps(self, anchors: Tensor, places: Tensor, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _, index = knn(anchors, places, self.neighbours)
        local = group(features.transpose(1, 2), index).amax(2).transpose(1, 2)  # [B, C, 4]
        local = self.anchors(local, anchors)
        whole = self.whole(anchors.transpose(1, 2)).amax(2, keepdim=True).expand_as(local)
        turn, scale, shift = self.maps(torch.cat([local, whole], 1)).transpose(1, 2).chunk(3, 2)
        return torch.tanh(turn) * math.radians(DEGREES), 1 + (SCALE - 1) * torch.sigmoid(scale), torch.tanh(shift) * SHIFT

    def _logits(self, places: list[Tensor], features: list[Tensor]) -> Tensor:
        deep = x = features[-1]
        for i in reversed(range(len(self.up))):
            x = self.up[i](torch.cat([features[i], _spread(x, places[i + 1], places[i])], 1))
        local = self.of_point(self.local(x, places[0]))
        whole = self.of_cloud(deep).amax(2, keepdim=True).expand_as(local)
        logits: Tensor = self.stays(torch.cat([local, whole], 1)).transpose(1, 2)
        return logits


_MOST = (draws.BEHIND - draws.NOISE) * 4096 // 2


def cloud(points: Any, least: int) -> None:
    """float32 ``[B, N, 3]``, N of ``least`` at least."""
    if not isinstance(points, Tensor):
        checks.wrong("points", "a tensor [B, N, 3]", points)
    if points.dtype != torch.float32:
        raise DtypeError(f"points: expected float32 [B, N, 3], given {points.dtype}")
    if points.dim() != 3 or points.shape[2] != 3 or not len(points) or points.shape[1] < least:
        raise ShapeError(f"points: expected [B, N, 3] with N of at least {least}, given {list(points.shape)}")
    if points.device.type == "cpu" and not bool(torch.isfinite(points).all()):
        raise ArgumentError("points: expected finite numbers, given NaN or infinity")


def switched(rotation: Tensor, scale: Tensor, shift: Tensor, key: Key) -> tuple[Tensor, Tensor, Tensor]:
    """Each anchor's three maps, each of them on or off by a coin, as PointWOLF draws them: one subset of the axes, of the seven
    that are not empty, has scales and shifts; all axes turn. (AdaptPoint's published code draws the coin's own probability
    uniformly, anew for each coin, which is the same coin.)"""
    many = rotation.shape[1]
    drawn = draws.uniform(key, 4 * many, draws.MAPS).unflatten(1, (many, 4))
    on = drawn[..., :3] < 0.5
    axes = _subset(drawn[..., 3])
    turned, scaled, moved = (on[..., i:i + 1] for i in range(3))
    return (torch.where(turned, rotation, torch.zeros_like(rotation)), torch.where(scaled & axes, scale, torch.ones_like(scale)),
            torch.where(moved & axes, shift, torch.zeros_like(shift)))


def _subset(u: Tensor) -> Tensor:
    """For each uniform number a subset of the three axes, of the seven that are not empty: bool ``[..., 3]``."""
    number = (u * 7).long().clamp(max=6) + 1
    return (number[..., None] >> torch.arange(3, device=u.device) & 1).bool()


def straight_through(logits: Tensor, noise: Tensor, tau: float) -> Tensor:
    """Channel 0 of a hard Gumbel softmax: 1 where the first logit with its noise is the largest, else 0, and for gradients the
    softmax's share. Exactly 0 or 1, which a sum of hard - soft + soft in another order is not."""
    soft = ((logits + noise) / tau).softmax(-1)[..., 0]
    hard = (logits + noise)[..., 0] >= (logits + noise)[..., 1]
    return hard.to(soft.dtype) + (soft - soft.detach())


def normalised(points: Tensor) -> Tensor:
    """Less the mean, divided by the largest norm, times .999999, as PointWOLF's. A cloud that is one point becomes zeros."""
    points = points - points.mean(1, keepdim=True)
    largest = torch.linalg.vector_norm(points, dim=2).amax(1).clamp_min(1e-30)
    return points * (_INSIDE / largest)[:, None, None]


def _spread(x: Tensor, known: Tensor, asked: Tensor) -> Tensor:
    """Features ``[B, C, M]`` at ``known`` brought to ``asked``: of the three nearest, weighed by the inverse of their distances,
    which are no squares here."""
    squared, index = knn(asked, known, 3)
    weight = 1 / (squared.sqrt() + 1e-8)
    weight = weight / weight.sum(2, keepdim=True)
    return (group(x.transpose(1, 2), index) * weight[..., None]).sum(2).transpose(1, 2)


def _conv(inputs: int, outputs: int, act: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv1d(inputs, outputs, 1, bias=False), nn.BatchNorm1d(outputs)]
    return nn.Sequential(*layers, *([nn.ReLU()] if act else []))


class Discriminator(nn.Module):
    """Whether clouds look real: a PointNet whose every layer has a spectral norm of 1 and none a batch norm.

    Args:
        classes: channels before the last layer. widths: of the three layers before the maximum and the two behind it.
        dropout: behind those two.
    """

    def __init__(self, classes: int, widths: Sequence[int] = (64, 128, 1024, 512, 256), *, dropout: float = 0.4) -> None:
        super().__init__()
        a, b, c, d, e = (checks.whole("widths", width, 1) for width in checks.several("widths", widths, (5,), "five widths"))
        self.dropout = checks.number("dropout", dropout, 0, 0.99)
        classes = checks.whole("classes", classes, 1)
        self.points = nn.Sequential(*(layer for i, o in ((3, a), (a, b), (b, c))
                                      for layer in (spectral_norm(nn.Conv1d(i, o, 1)), nn.ReLU())))
        self.first, self.second = spectral_norm(nn.Linear(c, d)), spectral_norm(nn.Linear(d, e))
        self.last = nn.Sequential(spectral_norm(nn.Linear(e, classes)), spectral_norm(nn.Linear(classes, 1)))

    def forward(self, points: Tensor, key: Key | None = None, slot: int = draws.DROP_REAL) -> Tensor:
        """Logits ``[B]`` of clouds ``[B, N, 3]``; their sigmoid is the probability that a cloud is real.

        In training mode points of the hidden layers are dropped: by the key, so that a step can be done again, or without one by
        torch's generator."""
        x = self.points(points.transpose(1, 2)).amax(2)
        for i, layer in enumerate((self.first, self.second)):
            x = self._dropped(F.relu(layer(x)), key, slot + i)
        logits: Tensor = self.last(x)[:, 0]
        return logits

    def _dropped(self, x: Tensor, key: Key | None, slot: int) -> Tensor:
        if key is None or not self.training:
            return F.dropout(x, self.dropout, self.training)
        stays = draws.uniform(key, x.shape[1], slot) >= self.dropout
        return x * stays / (1 - self.dropout)
