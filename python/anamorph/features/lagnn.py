"""LAGNN: a generator learns what neighbours of a node look like, and what it makes of each node is another view of the node,
which a graph net is given beside the node's own features.

Liu et al., "Local augmentation for graph neural networks", ICML 2022.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, ShapeError
from anamorph.features import draws, given
from anamorph.features.graph import Adjacency, aggregate, edge_pairs, some_nodes
from anamorph.features.precision import full

RECONSTRUCTIONS = ("bce", "mse")


def rows_to_one(features: Tensor) -> Tensor:
    """Each row divided by its sum; a row of sum 0 becomes zeros. The input of the citation graphs' nets."""
    given.features("features", features, "[N, F]")
    total = features.sum(1, keepdim=True)
    return torch.where(total != 0, features / torch.where(total != 0, total, 1.0), 0.0)


def generator_loss(made: Tensor, x: Tensor, mean: Tensor, log_variance: Tensor, reconstruction: str = "bce") -> Tensor:
    """The negative evidence lower bound of a conditional variational autoencoder: what the neighbour costs, and how far the
    latent numbers are from N(0, 1), ``-(1/2) sum (1 + log v - m^2 - v)``; sums over features, the mean over the batch.

    Args:
        made: floats ``[B, F]``, of "bce" before the sigmoid.
        x: ``[B, F]``, the neighbours' features; of "bce" from 0 to 1.
        mean, log_variance: ``[B, Z]``.
        reconstruction: "bce", the binary cross-entropy; "mse", squared differences.

    Returns:
        A scalar, float32, or float64 of that.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    kind = checks.choice("reconstruction", reconstruction, RECONSTRUCTIONS)
    for name, t in (("x", x), ("made", made)):
        given.features(name, t, "[B, F]")
    given.same_shape("made", made, "x", x)
    given.features("mean", mean, "[B, Z]")
    given.same_shape("log_variance", log_variance, "mean", mean)
    if len(mean) != len(x):
        raise ShapeError(f"mean: expected [{len(x)}, Z] like x, given {list(mean.shape)}")
    x, made, mean, log_variance = full(x), full(made), full(mean), full(log_variance)
    if kind == "bce":
        _zero_to_one(x)
        cost = F.binary_cross_entropy_with_logits(made, x, reduction="sum")
    else:
        cost = (made - x).square().sum()
    far = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum()
    return (cost + far) / len(x)


class NeighbourGenerator(draws.Keyed):
    """A conditional variational autoencoder of a neighbour's features given a node's, which :func:`train_generator` trains.

    Args:
        features: F.
        hidden: width of encoder and decoder.
        latent: Z.
        reconstruction: "bce" for features from 0 to 1, which come out as such; "mse" for any, as the published code does for the
            graphs of OGB.
        seed: of what is drawn; its step is kept in ``state_dict``.
    """

    def __init__(self, features: int, hidden: int = 256, latent: int = 10, *, reconstruction: str = "bce", seed: int = 0) -> None:
        super().__init__(seed)
        self.features, hidden = checks.whole("features", features, 1), checks.whole("hidden", hidden, 1)
        self.latent = checks.whole("latent", latent, 1)
        self.reconstruction = checks.choice("reconstruction", reconstruction, RECONSTRUCTIONS)
        self.encoder = nn.Sequential(nn.Linear(2 * self.features, hidden), nn.ReLU(), nn.Linear(hidden, 2 * self.latent))
        self.decoder = nn.Sequential(nn.Linear(self.latent + self.features, hidden), nn.ReLU(), nn.Linear(hidden, self.features))

    def loss(self, x: Tensor, condition: Tensor) -> Tensor:
        """:func:`generator_loss` of neighbours ``x`` ``[B, F]`` of nodes whose features are ``condition`` ``[B, F]``."""
        self._check("condition", condition)
        self._check("x", x)
        given.same_shape("x", x, "condition", condition)
        mean, log_variance = (full(t) for t in self.encoder(torch.cat([x, condition], 1)).chunk(2, 1))
        noise = draws.normal(self.next_step(), "lagnn.posterior", mean.shape, device=mean.device)
        z = mean + torch.exp(0.5 * log_variance) * noise
        made = self.decoder(torch.cat([z.to(condition.dtype), condition], 1))
        return generator_loss(made, x, mean, log_variance, self.reconstruction)

    @torch.no_grad()
    def generate(self, condition: Tensor, count: int = 1, *, normalise: bool | None = None) -> Tensor:
        """New views of nodes, by latent numbers of N(0, 1) of their own.

        Args:
            condition: ``[N, F]``, the nodes' features, as in training.
            count: how many views.
            normalise: each row to the sum 1, :func:`rows_to_one`; None: where reconstruction is "bce", as published.

        Returns:
            ``[count, N, F]``, without gradient.

        Raises:
            ArgumentError, ShapeError, DtypeError: what was given and what is expected.
        """
        self._check("condition", condition)
        count = checks.whole("count", count, 0)
        bce = self.reconstruction == "bce"
        normalise = bce if normalise is None else checks.flag("normalise", normalise)
        if not count:
            return condition.new_empty((0, *condition.shape))
        z = draws.normal(self.next_step(), "lagnn.prior", (count, len(condition), self.latent), device=condition.device)
        made = self.decoder(torch.cat([z.to(condition.dtype), condition.expand(count, -1, -1)], 2))
        made = full(made).sigmoid() if bce else full(made)
        if normalise:
            made = rows_to_one(made.flatten(0, 1)).view_as(made)
        return made.to(condition.dtype)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """The loss."""
        return self.loss(x, condition)

    def _check(self, name: str, t: Tensor) -> None:
        given.features(name, t, f"[N, {self.features}]")


def train_generator(generator: NeighbourGenerator, features: Tensor, indptr: Tensor, indices: Tensor, *, epochs: int = 10,
                    batch_size: int = 64, lr: float = 0.01, score: Callable[[Tensor], float] | None = None, warmup: int = 200,
                    kept: Callable[[Tensor], None] | None = None) -> list[float]:
    """Trains a generator by Adam on all pairs of neighbours, in another order each epoch.

    With ``score`` (such as :func:`view_score` of a GCN's passes) a view is made after each step, and the weights are kept whose
    view scores highest of all so far, those before ``warmup`` included, which are never kept themselves: as published. Where no
    later view beats them, the last weights stay.

    Args:
        generator: changed in place.
        features: floats ``[N, F]``, as they are, not normalised.
        indptr, indices: the graph, both directions of an edge; edges of a node to itself are left out.
        epochs, batch_size, lr: of Adam.
        score: of a view ``[N, F]``, the higher the better.
        warmup: the first so many steps are not kept.
        kept: called with each view whose generator is kept; the published code trains the scoring GCN on it for 20 epochs.

    Returns:
        The mean loss of each epoch.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    generator._check("features", features)
    epochs, batch_size = checks.whole("epochs", epochs, 1), checks.whole("batch_size", batch_size, 1)
    lr, warmup = checks.number("lr", lr, 0), checks.whole("warmup", warmup, 0)
    node, neighbour = edge_pairs(indptr, indices)
    given.same_device("features", features, indptr)
    if len(indptr) - 1 != len(features):
        raise ShapeError(f"features: expected [{len(indptr) - 1}, F], one row for each node, given {list(features.shape)}")
    if not len(node):
        raise ArgumentError("indices: expected edges between nodes, given none")
    optimizer = torch.optim.Adam(generator.parameters(), lr=lr)
    best, chosen, steps = -float("inf"), None, 0
    means = []
    for _ in range(epochs):
        order = draws.permutation(generator.next_step(), "lagnn.order", len(node), device=features.device)
        total = torch.zeros((), dtype=torch.float64, device=features.device)
        for ids in order.split(batch_size):
            loss = generator.loss(features[neighbour[ids]], features[node[ids]])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(ids)
            steps += 1
            if score is not None:
                view = generator.generate(features)[0]
                of_view = float(score(view))
                if of_view > best:
                    best = of_view
                    if steps > warmup:
                        chosen = copy.deepcopy(generator.state_dict())
                        if kept is not None:
                            kept(view)
        means.append(float(total) / len(node))
    if chosen is not None:
        generator.load_state_dict(chosen)
    return means


def view_score(logits: Tensor, labels: Tensor) -> Tensor:
    """How well the passes of a net with dropout agree on a view: the negative log-likelihood of the mean prediction minus the
    mean of those of the single passes. At most 0, and 0 where all agree.

    Args:
        logits: floats ``[R, N, C]`` of R passes over labelled nodes.
        labels: int64 class ids ``[N]``.

    Returns:
        A scalar, float32, or float64 of that.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    given.features("logits", logits, "[R, N, C]")
    given.labels("labels", labels, logits[0], logits.shape[2])
    log_p = F.log_softmax(full(logits), 2).gather(2, labels[None, :, None].expand(len(logits), -1, 1))[..., 0]
    of_mean = torch.logsumexp(log_p, 0) - math.log(len(logits))
    return (log_p.mean(0) - of_mean).mean()


class GraphConvolution(nn.Module):
    """``A (x W) + b`` (Kipf and Welling, ICLR 2017), W by Glorot's uniform, b 0.

    Args:
        inputs, outputs: widths.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        inputs, outputs = checks.whole("inputs", inputs, 1), checks.whole("outputs", outputs, 1)
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x: Tensor, adjacency: Adjacency) -> Tensor:
        """``[N, outputs]`` of ``x`` ``[N, inputs]`` and what :func:`~anamorph.features.graph.normalised` gives."""
        return aggregate(adjacency.indptr, adjacency.indices, adjacency.weights, x @ self.weight, adjacency.back) + self.bias


class LAGCN(draws.Keyed):
    """A GCN of two layers whose first layer is one for each view and one for the node's own features; their hidden states,
    joined, go through the second. Without views it is a GCN.

    Args:
        features: F.
        hidden: of each first layer. 8 for Cora and Citeseer with a view, 4 for Pubmed with three, as published.
        classes: C.
        views: how many, beside the own features.
        dropout: of what goes into a layer.
        seed: of dropout; its step is kept in ``state_dict``.
    """

    def __init__(self, features: int, hidden: int, classes: int, views: int = 1, *, dropout: float = 0.5, seed: int = 0) -> None:
        super().__init__(seed)
        self.views = checks.whole("views", views, 0)
        self.dropout = checks.number("dropout", dropout, 0, 0.999)
        self.first = nn.ModuleList(GraphConvolution(features, hidden) for _ in range(self.views + 1))
        self.second = GraphConvolution((self.views + 1) * hidden, classes)

    def forward(self, x: Tensor, views: Tensor | Sequence[Tensor], adjacency: Adjacency) -> Tensor:
        """Logits ``[N, C]``.

        Args:
            x: floats ``[N, F]``, the nodes' own features, as normalised for the net.
            views: as many of ``[N, F]`` as the net takes, such as ``generator.generate(features, count)``.
            adjacency: :func:`~anamorph.features.graph.normalised`.

        Raises:
            ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
        """
        given.features("x", x, "[N, F]")
        if len(views) != self.views:
            raise ShapeError(f"views: expected {self.views} of them, given {len(views)}")
        if len(x) != len(adjacency.indptr) - 1:
            raise ShapeError(f"x: expected [{len(adjacency.indptr) - 1}, F], one row for each node, given {list(x.shape)}")
        step = self.next_step() if self.training and self.dropout else None
        hidden = []
        for i, (layer, view) in enumerate(zip(self.first, [*views, x], strict=True)):
            given.features(f"views[{i}]", view, "[N, F]", like=x)
            given.same_shape(f"views[{i}]", view, "x", x)
            hidden.append(F.relu(layer(self._dropped(view, step, f"lagnn.input.{i}"), adjacency)))
        return self.second(self._dropped(torch.cat(hidden, 1), step, "lagnn.hidden"), adjacency)

    def _dropped(self, x: Tensor, step: Tensor | None, name: str) -> Tensor:
        if step is None:
            return x
        keep = draws.uniform(step, name, x.shape, device=x.device) >= self.dropout
        return x * keep / (1 - self.dropout)


def consistency_loss(logits: Tensor, temperature: float = 0.5) -> Tensor:
    """How far the passes' predictions are from their sharpened mean ``p^(1/T) / sum p^(1/T)``, which gets no gradient: squared
    distances over the classes, the mean over nodes and passes (after GRAND: Feng et al., NeurIPS 2020).

    Args:
        logits: floats ``[S, N, C]`` of S passes over all nodes.
        temperature: T, above 0; 1 does not sharpen.

    Returns:
        A scalar, float32, or float64 of that.

    Raises:
        ArgumentError, ShapeError, DtypeError: what was given and what is expected.
    """
    given.features("logits", logits, "[S, N, C]")
    temperature = checks.number("temperature", temperature, 1e-3)
    p = F.softmax(full(logits), 2)
    with torch.no_grad():
        target = F.softmax(p.mean(0).log() / temperature, 1)
    return (p - target).square().sum(2).mean()


def lagnn_loss(logits: Tensor, labels: Tensor, nodes: Tensor, *, temperature: float = 0.5, weight: float = 1.0) -> Tensor:
    """The mean cross-entropy of the labelled nodes over the passes, and ``weight`` times :func:`consistency_loss` of all nodes.

        logits = torch.stack([net(x, generator.generate(features), adjacency) for _ in range(4)])
        lagnn_loss(logits, labels, nodes).backward()

    Args:
        logits: floats ``[S, N, C]`` of S passes, 4 as published, each with views of its own.
        labels: int64 class ids ``[n]`` of the labelled nodes.
        nodes: int64 ``[n]``, which nodes these are.
        temperature: of the consistency.
        weight: at least 0.

    Returns:
        A scalar, float32, or float64 of that.

    Raises:
        ArgumentError, ShapeError, DtypeError, DeviceError: what was given and what is expected.
    """
    given.features("logits", logits, "[S, N, C]")
    some_nodes("nodes", nodes, logits.shape[1], logits)
    given.labels("labels", labels, nodes, logits.shape[2])
    weight = checks.number("weight", weight, 0)
    known = full(logits)[:, nodes]
    clean = F.cross_entropy(known.flatten(0, 1), labels.repeat(len(logits)))
    return clean + weight * consistency_loss(logits, temperature)


def _zero_to_one(x: Tensor) -> None:
    if given.looked_at(x) and not bool(((x >= 0) & (x <= 1)).all()):
        raise ArgumentError(f"x: expected features from 0 to 1 for reconstruction 'bce', given {float(x.min()):g} to "
                            f"{float(x.max()):g}")
