"""Batches whose samples come from different clusters."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from anamorph.core.errors import ArgumentError, ShapeError
from anamorph.features import draws, given
from anamorph.features.draws import Step


def stratified_order(clusters: Tensor, *, step: Step | None = None) -> Tensor:
    """An order of samples in which neighbours are of different clusters, so that the other samples of a batch are true negatives
    (G-SimCLR: Chakraborty et al., "G-SimCLR: self-supervised contrastive learning with guided projection via pseudo labelling",
    ICDMW 2020): first one sample of each cluster, then the second of each, and so on.

    With as many clusters as a batch has samples, the first batches, as many as the smallest cluster has samples, have one of
    each; later ones repeat the larger clusters.

    Args:
        clusters: int64 ``[N]``, the cluster of each sample, say of k-means on an autoencoder's latents, k = 64 as published.
        step: (seed, step): the samples of each cluster in another order for each step, which is then an epoch. None: in their own
            order, the same in each epoch, as published.

    Returns:
        int64 ``[N]``: the samples in their order, to be cut into batches.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    _checked(clusters)
    samples = torch.arange(len(clusters), device=clusters.device)
    if step is not None:
        samples = draws.permutation(step, "clusters.order", len(clusters), clusters.device)
    together = samples[clusters[samples].argsort(stable=True)]
    named = clusters[together]
    rank = torch.arange(len(named), device=named.device) - torch.searchsorted(named, named)
    return together[rank.argsort(stable=True)]


def _checked(clusters: Any) -> None:
    if not isinstance(clusters, Tensor):
        raise ArgumentError(f"clusters: expected a tensor of int64 [N], given {type(clusters).__name__}")
    if clusters.dim() != 1 or not len(clusters):
        raise ShapeError(f"clusters: expected int64 [N] with N >= 1, given {list(clusters.shape)}")
    given.labels("clusters", clusters, clusters)
