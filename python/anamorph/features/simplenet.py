"""SimpleNet: anomalies found by a discriminator that learns, from features of good pictures alone, to tell them from the same
features with noise.

Liu et al., "SimpleNet: a simple network for image anomaly detection and localization", CVPR 2023.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, ShapeError
from anamorph.features import draws, given
from anamorph.features.precision import full, no_autocast


def patch_features(maps: Sequence[Tensor], width: int = 1536, patch: int = 3) -> Tensor:
    """What a frozen net's maps say of each place: of each map the ``patch`` x ``patch`` values around the place, averaged down to
    ``width``; later maps are brought to the size of the first; what the maps say is joined and averaged down once more.

    Averages are taken before a later map is resized, where the published code resizes first: both are linear, so only rounding
    differs, and it takes a fraction of the work.

    Args:
        maps: floats ``[B, C, H, W]`` each, of one batch, the largest first: of a WideResNet50 layer2 and layer3.
        width: D, at most the values of the narrowest patch.
        patch: odd; zeros lie around a map.

    Returns:
        ``[B, H, W, D]``, H and W of the first map.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    if not isinstance(maps, Sequence) or not maps:
        raise ArgumentError(f"maps: expected one feature map or more, given {maps!r}")
    width, patch = checks.whole("width", width, 1), checks.whole("patch", patch, 1)
    if patch % 2 == 0:
        raise ArgumentError(f"patch: expected an odd number, given {patch}")
    found = []
    for i, each in enumerate(maps):
        given.features(f"maps[{i}]", each, "[B, C, H, W]", like=maps[0])
        if len(each) != len(maps[0]):
            raise ShapeError(f"maps[{i}]: expected a batch of {len(maps[0])} like the first, given {list(each.shape)}")
        around = F.unfold(each, patch, padding=patch // 2)  # [B, C patch patch, H W]
        averaged = F.adaptive_avg_pool1d(around.transpose(1, 2), width)
        found.append(averaged.transpose(1, 2).unflatten(2, each.shape[2:]))
    size = maps[0].shape[2:]
    joined = [found[0], *(F.interpolate(each, size=size, mode="bilinear", align_corners=False) for each in found[1:])]
    places = torch.cat(joined, 1).flatten(2).transpose(1, 2)
    return F.adaptive_avg_pool1d(places, width).unflatten(1, size)


def noisy(features: Tensor, step: draws.Step, sigma: float = 0.015) -> Tensor:
    """Features that no good picture has: each value with normal noise of its own.

    Args:
        features: floats of any shape.
        step: (seed, step), int64 ``[2]`` where the features are, or two ints.
        sigma: the noise's standard deviation, at least 0.

    Returns:
        The shape and dtype of ``features``.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    given.features("features", features, "[...]")
    sigma = checks.number("sigma", sigma, 0)
    noise = draws.normal(step, "simplenet.noise", features.shape, device=features.device)
    return features + (sigma * noise).to(features.dtype)


def margin_loss(good: Tensor, fake: Tensor, margin: float = 0.5) -> Tensor:
    """``mean relu(margin - good) + mean relu(margin + fake)``: what is beyond the margin on its side costs nothing.

    Args:
        good, fake: the discriminator's answers, floats of any shape.
        margin: at least 0.

    Returns:
        A scalar, float32, or float64 of that.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    given.features("good", good, "[...]")
    given.features("fake", fake, "[...]", like=good)
    margin = checks.number("margin", margin, 0)
    return F.relu(margin - full(good)).mean() + F.relu(margin + full(fake)).mean()


def image_score(scores: Tensor) -> Tensor:
    """``[B, H, W]`` scores of places to ``[B]`` scores of pictures: a picture is as bad as its worst place."""
    given.features("scores", scores, "[B, H, W]")
    return scores.amax((1, 2))


def score_map(scores: Tensor, size: tuple[int, int], sigma: float = 4.0) -> Tensor:
    """The scores of places as a map of a picture's size: resized (bilinear, ``align_corners=False``), then blurred by a Gaussian
    that ends at four sigma, the map mirrored at its edges, as SciPy's ``gaussian_filter``.

    Args:
        scores: floats ``[B, H, W]``.
        size: (height, width) of the map.
        sigma: in pixels, at least 0; 0 does not blur.

    Returns:
        ``[B, *size]``, float32, or float64 of that.

    Raises:
        ArgumentError, ShapeError, DtypeError: what was given and what is expected.
    """
    given.features("scores", scores, "[B, H, W]")
    height, wide = checks.size("size", size)
    sigma = checks.number("sigma", sigma, 0)
    maps = F.interpolate(full(scores)[:, None], size=(height, wide), mode="bilinear", align_corners=False)
    radius = int(4 * sigma + 0.5)
    if not radius:
        return maps[:, 0]
    far = torch.arange(-radius, radius + 1, device=maps.device, dtype=torch.float64)
    weights = torch.exp(-0.5 * (far / sigma) ** 2)
    weights = (weights / weights.sum()).to(maps.dtype)
    maps = F.conv2d(_mirrored(maps, 2, radius), weights[None, None, :, None])
    return F.conv2d(_mirrored(maps, 3, radius), weights[None, None, None, :])[:, 0]


def _mirrored(maps: Tensor, axis: int, radius: int) -> Tensor:
    """Longer by ``radius`` at both ends: dcba | abcd | dcba, as often as needed."""
    side = maps.shape[axis]
    at = torch.arange(-radius, side + radius, device=maps.device).remainder(2 * side)
    return maps.index_select(axis, torch.minimum(at, 2 * side - 1 - at))


class SimpleNet(draws.Keyed):
    """The adapter and the discriminator, to be trained on :func:`patch_features` of good pictures. They are computed in float32
    also under autocast, for the noise is no larger than what bfloat16 rounds. Published: Adam of 2e-4 and weight decay 1e-5 for
    the discriminator, AdamW of 1e-4 for the adapter, batches of 8 pictures, 160 epochs, of which the one that does best on the
    test set is reported.

        optimizer.zero_grad(); net.loss(features).backward(); optimizer.step()
        net.eval(); scores = net.score(features)

    Args:
        width: D of the features.
        hidden: width of the discriminator.
        sigma: of the noise.
        margin: of the loss.
        seed: of the noise; its step is kept in ``state_dict``.
    """

    def __init__(self, width: int = 1536, hidden: int = 1024, *, sigma: float = 0.015, margin: float = 0.5,
                 seed: int = 0) -> None:
        super().__init__(seed)
        self.width, hidden = checks.whole("width", width, 1), checks.whole("hidden", hidden, 1)
        self.sigma, self.margin = checks.number("sigma", sigma, 0), checks.number("margin", margin, 0)
        self.adapter = nn.Linear(self.width, self.width)
        self.discriminator = nn.Sequential(nn.Linear(self.width, hidden), nn.BatchNorm1d(hidden), nn.LeakyReLU(0.2),
                                           nn.Linear(hidden, 1, bias=False))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)

    def loss(self, features: Tensor) -> Tensor:
        """Good features and noisy ones pass the discriminator as one batch, so they share its batch statistics.

        Args:
            features: floats ``[..., D]`` of good pictures, at least two in training.

        Returns:
            A scalar, float32, or float64 of that.

        Raises:
            ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
        """
        places = self._places(features)
        with no_autocast(places):
            good = self.adapter(places)
            fake = noisy(good, self.next_step(), self.sigma)
            answers = self.discriminator(torch.cat([good, fake]))
        of_good, of_fake = answers.chunk(2)
        return margin_loss(of_good, of_fake, self.margin)

    def score(self, features: Tensor) -> Tensor:
        """How unlike good features these are: minus what the discriminator says. In ``eval()``.

        Args:
            features: floats ``[..., D]``.

        Returns:
            ``[...]``, float32, or float64 of that.

        Raises:
            ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected; a net in training, whose
            batch statistics would be those of what is asked about.
        """
        if self.training:
            raise ArgumentError("score: expected a net in eval(), given one in training")
        places = self._places(features)
        with no_autocast(places):
            answers = self.discriminator(self.adapter(places))
        return -answers.reshape(features.shape[:-1])

    def forward(self, features: Tensor) -> Tensor:
        """The loss in training, else the scores."""
        return self.loss(features) if self.training else self.score(features)

    def _places(self, features: Tensor) -> Tensor:
        given.features("features", features, f"[..., {self.width}]")
        places = full(features).reshape(-1, self.width)
        if self.training and len(places) < 2:
            raise ShapeError(f"features: expected two places or more, which batch norm needs, given {list(features.shape)}")
        return places
