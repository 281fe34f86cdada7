"""Few labels on a graph: python features_graph.py FOLDER   (where the table goes).

Each of scikit-learn's 1,797 handwritten digits is a node, joined to its nearest neighbours by their 8 x 8 pixels (its
kneighbors_graph); a net is told what few of them are, and asked about the others. The second graph is networkx's karate club
(Zachary, 1977): 34 members, no features but who they are, of whom the instructor and the president are known, each of one of the
two clubs that it fell into.

Compared are a GCN (Kipf and Welling, ICLR 2017), and LAGNN (Liu et al., ICML 2022), which gives the net views of each node from a
generator of neighbours. To see what of it helps: a GCN with LAGNN's four passes and its consistency loss, but without views;
LAGNN's net with the node's own features in the views' place; and with the mean features of random neighbours there, which need no
generator. All have 16 hidden numbers; weights are those of the epoch with the least loss on 100 other nodes, of the karate club
the last. A run has other labels and other weights, the same for all. --quick is a short form, to see that it runs.
"""

import argparse
import copy
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean, stdev

import networkx
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import kneighbors_graph
from torch import Tensor
from torch.nn import functional as F

from anamorph.features import draws
from anamorph.features.graph import Adjacency, aggregate, normalised, sample_neighbours
from anamorph.features.lagnn import LAGCN, NeighbourGenerator, lagnn_loss, train_generator

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=Path)
parser.add_argument("--seeds", type=int, default=5, help="runs, each with other labels")
parser.add_argument("--epochs", type=int, default=200)
parser.add_argument("--neighbours", type=int, default=6, help="of a digit")
parser.add_argument("--labels", type=int, nargs="*", default=[1, 2, 5], help="of each digit, how many are known")
parser.add_argument("--quick", action="store_true", help="one run of few epochs, with a third of the digits, two known of each")
options = parser.parse_args()
if options.quick:
    options.seeds, options.epochs, options.labels = 1, 15, [2]

HIDDEN, PASSES, VALIDATION = 16, 4, 100
Views = Callable[[], Tensor]
Split = tuple[Tensor, Tensor, Tensor]  # nodes whose labels are known, by which the epoch is chosen, that are asked about


def csr(matrix) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(matrix.indptr).long(), torch.from_numpy(matrix.indices).long()


def ways(x: Tensor, indptr: Tensor, indices: Tensor, generator: NeighbourGenerator,
         seed: int) -> dict[str, tuple[Views, int, int]]:
    """What makes the views [count, N, F], how many, and how many passes."""
    counter = draws.Keyed(seed)
    every, ends = torch.arange(len(x)), torch.arange(len(x) + 1) * 3
    none = x.new_empty((0, *x.shape))

    def neighbours() -> Tensor:
        some = sample_neighbours(indptr, indices, every, 3, counter.next_step())
        return aggregate(ends, some.flatten(), None, x)[None] / (some >= 0).sum(1, keepdim=True)

    return {"GCN": (lambda: none, 0, 1), "GCN, four passes": (lambda: none, 0, PASSES),
            "own features": (lambda: x[None], 1, PASSES), "random neighbours": (neighbours, 1, PASSES),
            "LAGNN": (lambda: generator.generate(x, normalise=False), 1, PASSES)}


def learn(views: Views, count: int, passes: int, x: Tensor, labels: Tensor, adjacency: Adjacency, known: Tensor, checked: Tensor,
          seed: int) -> LAGCN:
    """A net, as it was when it knew the nodes ``checked`` best."""
    torch.manual_seed(seed)
    net = LAGCN(x.shape[1], HIDDEN // (count + 1), int(labels.max()) + 1, count, seed=seed)
    optimizer = torch.optim.Adam(net.parameters(), 0.01, weight_decay=5e-4)
    least, best = float("inf"), net.state_dict()
    for _ in range(options.epochs):
        net.train()
        logits = torch.stack([net(x, views(), adjacency) for _ in range(passes)])
        loss = lagnn_loss(logits, labels[known], known) if passes > 1 else F.cross_entropy(logits[0, known], labels[known])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if len(checked):
            net.eval()
            with torch.no_grad():
                now = float(F.cross_entropy(net(x, views(), adjacency)[checked], labels[checked]))
            if now < least:
                least, best = now, copy.deepcopy(net.state_dict())
    if len(checked):
        net.load_state_dict(best)
    return net.eval()


@torch.no_grad()
def right(net: LAGCN, views: Views, x: Tensor, labels: Tensor, adjacency: Adjacency, asked: Tensor) -> float:
    """Of 100, by the mean prediction over ten views."""
    said = sum(net(x, views(), adjacency).softmax(1) for _ in range(10))
    return float((said.argmax(1) == labels)[asked].float().mean()) * 100


def split(labels: Tensor, each: int, seed: int) -> Split:
    """``each`` nodes of every class, VALIDATION others, and the rest."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    known = torch.cat([order[labels[order] == c][:each] for c in labels.unique()])
    others = order[~torch.isin(order, known)]
    return known, others[:VALIDATION], others[VALIDATION:]


def compare(name: str, x: Tensor, labels: Tensor, graph: tuple[Tensor, Tensor], splits: dict[str, Callable[[int], Split]],
            epochs: int) -> dict[str, dict[str, list[float]]]:
    """Right of 100, by way and what is known."""
    indptr, indices = graph
    adjacency = normalised(indptr, indices)
    found: dict[str, dict[str, list[float]]] = {}
    for seed in range(options.seeds):
        began = time.process_time()
        torch.manual_seed(seed)
        generator = NeighbourGenerator(x.shape[1], seed=seed)
        losses = train_generator(generator, x, indptr, indices, epochs=epochs)
        print(f"{name}, run {seed}: generator {losses[0]:.2f} {losses[-1]:.2f}; {time.process_time() - began:.0f} s", flush=True)
        for column, parts in splits.items():
            known, checked, asked = parts(seed)
            for way, (views, count, passes) in ways(x, indptr, indices, generator, seed).items():
                net = learn(views, count, passes, x, labels, adjacency, known, checked, seed)
                found.setdefault(way, {}).setdefault(column, []).append(right(net, views, x, labels, adjacency, asked))
        print(f"{name}, run {seed}: " + "; ".join(f"{way} " + ", ".join(f"{runs[-1]:.1f}" for runs in columns.values())
                                                 for way, columns in found.items())
              + f"; {time.process_time() - began:.0f} s", flush=True)
    return found


def spread(numbers: list[float], sign: str = "") -> str:
    return f"{mean(numbers):{sign}.1f}" + (f" ± {stdev(numbers):.1f}" if len(numbers) > 1 else "")


pixels, named = (array[::3 if options.quick else 1] for array in load_digits(return_X_y=True))
nearest = kneighbors_graph(pixels, options.neighbours)
digits, what = torch.from_numpy(pixels / 16).float(), torch.from_numpy(named)
found = compare("digits", digits, what, csr((nearest + nearest.T).tocsr()),
                {f"digits, {each} each": partial(split, what, each) for each in options.labels}, 2 if options.quick else 10)
club = networkx.karate_club_graph()
sides = torch.tensor([int(club.nodes[member]["club"] == "Officer") for member in club])
friends = csr(networkx.to_scipy_sparse_array(club, weight=None, format="csr"))
leaders, nobody, others = torch.tensor([0, 33]), torch.tensor([], dtype=torch.int64), torch.arange(1, 33)
members = compare("club", torch.eye(len(club)), sides, friends, {"karate club": lambda seed: (leaders, nobody, others)},
                  10 if options.quick else 50)

columns = [*found["GCN"], *members["GCN"]]
table = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
both = {way: found[way] | members[way] for way in found}
for way, row in both.items():
    table.append(f"| {way} | {' | '.join(spread(row[column]) for column in columns)} |")
for way, row in list(both.items())[1:]:
    more = [[a - b for a, b in zip(row[column], both["GCN"][column], strict=True)] for column in columns]
    table.append(f"| {way}, more than GCN | {' | '.join(spread(numbers, '+') for numbers in more)} |")
options.folder.mkdir(parents=True, exist_ok=True)
(options.folder / "features_graph.md").write_text("\n".join(table) + "\n")
print("\n".join(table))
