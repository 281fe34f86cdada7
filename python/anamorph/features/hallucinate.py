"""Positives that a small net makes up (Wu et al., "Hallucination improves the performance of unsupervised visual representation
learning", ICCV 2023), and crops whose middle keeps away from the picture's."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anamorph.core import checks
from anamorph.core.errors import ShapeError
from anamorph.features import draws
from anamorph.features.draws import Step
from anamorph.features.precision import no_autocast
from anamorph.features.queue import against, pair, triple
from anamorph.features.transformation import extrapolate


class Hallucinator(draws.Keyed):
    """A net that makes of a query, and of its extrapolation away from the key, another positive.

        g = (1 + r) q - r k        h = MLP[q; g]        r of [0, largest), one for the batch

    The MLP has layers of 2 D, 2 D, 2 D, D with ReLU between them, 164,480 parameters for D = 128. It learns with the encoder, and
    goes when that has learnt. In evaluation mode r is 0.

    Args:
        dim: D.
        largest: .1 as published.
        seed: of r.
    """

    def __init__(self, dim: int = 128, largest: float = 0.1, *, seed: int = 0) -> None:
        super().__init__(seed)
        self.dim, self.largest = checks.whole("dim", dim, 1), checks.number("largest", largest, 0)
        wide = 2 * self.dim
        self.mlp = nn.Sequential(nn.Linear(wide, wide), nn.ReLU(), nn.Linear(wide, wide), nn.ReLU(), nn.Linear(wide, self.dim))

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """h ``[B, D]`` of query and key ``[B, D]``, not normalised."""
        query, key = pair("query", query, "key", key)
        if query.shape[1] != self.dim:
            raise ShapeError(f"query: expected [B, {self.dim}], given {list(query.shape)}")
        m = query.new_ones(1)
        if self.training:
            m = m + draws.uniform(self.next_step(), "hallucinate.ratio", (1,), 0.0, self.largest, query.device)
        return self.mlp(torch.cat([query, extrapolate(query, key, m)], 1))

    def extra_repr(self) -> str:
        return f"largest={self.largest}"


def hallucinate_moco(hallucinator: nn.Module, query: Tensor, key: Tensor, queue: Tensor, temperature: float = 0.2, *,
                     exclude: Tensor | None = None) -> Tensor:
    """MoCo's logits of the queries and of what is hallucinated from them: both have the query's key for positive and the queue
    for negatives. The loss is the mean of the cross-entropy over all 2 B.

    Gradients reach the query and the hallucinator, not the key. float32 at least, also under autocast. Enqueue each key once.

    Args:
        hallucinator: a :class:`Hallucinator`, or what else makes ``[B, D]`` of a query and a key.
        query: floats ``[B, D]``, as the encoder gives them; they are normalised after the hallucination.
        key: ``[B, D]`` of length 1.
        queue: ``[K, D]`` of length 1.
        temperature: what the products are divided by; .2 as published.
        exclude: bool ``[B, K]`` or ``[1, K]``: columns that become ``-inf``.

    Returns:
        Logits ``[2 B, 1 + K]``, first those of the queries; the right class is 0.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    query, key, queue = triple(query, key, queue)
    key, queue = key.detach(), queue.detach()
    made = hallucinator(query, key).to(query.dtype)
    return torch.cat([against(F.normalize(t, dim=1), key, queue, temperature, exclude) for t in (query, made)])


def hallucinate_simclr(hallucinator: nn.Module, first: Tensor, second: Tensor, temperature: float = 0.2) -> Tensor:
    """SimCLR's loss with hallucinated embeddings h of the first view: the cross-entropies of q and k, k and q, h and k, k and h,
    each against the q, h and k of all other pictures. Those of its own picture are no negatives.

    Gradients reach both views and the hallucinator. float32 at least, also under autocast.

    Args:
        hallucinator: a :class:`Hallucinator`, or what else makes ``[B, D]`` of a query and a key.
        first, second: embeddings ``[B, D]`` of two views, q and k, B >= 2; they are normalised after the hallucination.
        temperature: of the cosines.

    Returns:
        A scalar: the mean over the 4 B cross-entropies.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    temperature = checks.number("temperature", temperature, 1e-6)
    first, second = pair("first", first, "second", second)
    batch = len(first)
    if batch < 2:
        raise ShapeError(f"first: expected embeddings of at least two pictures, given {batch}")
    made = hallucinator(first, second).to(first.dtype)
    with no_autocast(first):
        z = F.normalize(torch.cat([first, made, second]), dim=1)
        alike = z @ z.T / temperature
        own = torch.eye(batch, dtype=torch.bool, device=z.device).repeat(3, 3)
        of_first, of_made, of_second = alike.masked_fill(own, -torch.inf).logsumexp(1).chunk(3)
        by_first, by_made = alike[:2 * batch, 2 * batch:].unflatten(0, (2, batch)).diagonal(dim1=1, dim2=2)
        # Of a positive s and negatives whose log-sum-exp is n the cross-entropy is softplus(n - s).
        return F.softplus(torch.cat([of_first - by_first, of_second - by_first, of_made - by_made, of_second - by_made])).mean()


def hallucinate_simsiam(hallucinator: nn.Module, first_prediction: Tensor, second_prediction: Tensor, first_target: Tensor,
                        second_target: Tensor) -> Tensor:
    """SimSiam's loss with hallucinated predictions, of the first from the second and the other way round, each with its own r.

    Gradients reach predictions and hallucinator, not the targets. float32 at least, also under autocast.

    Args:
        hallucinator: a :class:`Hallucinator`, or what else makes ``[B, D]`` of a query and a key.
        first_prediction, second_prediction: ``[B, D]``, the predictor's of two views.
        first_target, second_target: ``[B, D]``, the projector's of them.

    Returns:
        A scalar: minus the mean of the 4 B cosines of predictions, hallucinated ones too, and the other view's targets.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    p1, p2 = pair("first_prediction", first_prediction, "second_prediction", second_prediction)
    _, z1 = pair("first_prediction", p1, "first_target", first_target)
    _, z2 = pair("first_prediction", p1, "second_target", second_target)
    ways = ((p1, z2), (hallucinator(p1, p2), z2), (p2, z1), (hallucinator(p2, p1), z1))
    cosines = [F.cosine_similarity(p.to(z.dtype), z.detach()) for p, z in ways]
    return -torch.cat(cosines).mean()


def center_crops(step: Step, count: int, size: int | Sequence[int], *, box: Sequence[float] = (0.25, 0.75), alpha: float = 0.1,
                 scale: Sequence[float] = (0.2, 1.0), ratio: Sequence[float] = (3 / 4, 4 / 3),
                 device: torch.device | None = None) -> Tensor:
    """The crops that the hallucinator's first view has ("center"; the second is a plain one): torchvision's RandomResizedCrop,
    but its middle is drawn by Beta(alpha, alpha) along each axis between the edges of a box in the picture. With a small alpha it
    is mostly near one of the box's edges, so that two crops of an object show different parts of it (ContrastiveCrop: Peng et
    al., "Crafting better contrastive views for siamese representation learning", CVPR 2022, with a box that is fixed).

    Args:
        step: (seed, step), int64 ``[2]`` or two ints.
        count: N.
        size: side of the pictures or (height, width), pixels.
        box: the edges, as shares of the sides: (.25, .75), and (.2, .8) on ImageNet.
        alpha: .1, and .6 on ImageNet; 1 is uniform.
        scale: (low, high) of the crop's share of the area.
        ratio: (low, high) of its width / height.
        device: where the crops are; by default where ``step`` is.

    Returns:
        int64 ``[N, 4]``: top, left, height, width, in pixels, inside the picture; the order of torchvision's ``resized_crop``.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    count = checks.whole("count", count, 1)
    height, width = checks.size("size", size)
    edges, shares = checks.interval("box", box, 0, 1), checks.interval("scale", scale, 1e-6, 1)
    low, high = checks.interval("ratio", ratio, 1e-3, 1e3)
    alpha = checks.number("alpha", alpha, 1e-3)
    area = height * width * draws.uniform(step, "center.area", (count, 10), *shares, device)
    aspect = draws.uniform(step, "center.ratio", (count, 10), math.log(low), math.log(high), device).exp()
    tall, wide = (area / aspect).sqrt().round(), (area * aspect).sqrt().round()
    fits = (tall >= 1) & (tall <= height) & (wide >= 1) & (wide <= width)
    first = fits.int().argmax(1, keepdim=True)  # of ten tries
    whole = min(max(width / height, low), high)  # else the largest in the middle
    sides = []
    for tries, largest in ((tall, min(height, round(width / whole))), (wide, min(width, round(height * whole)))):
        sides.append(torch.where(fits.any(1), tries.gather(1, first)[:, 0], largest).long())
    at = draws.beta(step, "center.place", (2, count), alpha, alpha, device)
    starts = []
    for length, side, share in zip((height, width), sides, at):
        ends = [torch.minimum((int(length * edge) - side // 2).clamp(min=0), length - side) for edge in edges]
        place = ends[0] + ((ends[1] - ends[0]) * share).long()
        starts.append(torch.where(fits.any(1), place, (length - side) // 2))
    return torch.stack([*starts, *sides], 1)
