"""Feature space on a CPU against the same methods in PyTorch, eager and compiled, in one run.

    python bench/features.py                # milliseconds and ratios, of one thread and of two
    python bench/features.py --quick        # small shapes: that it runs
    python bench/features.py --memory       # the peak of MoCHi's memory, each version in a process of its own

The peers are written with care: no loop over samples, statistics once, indices drawn beforehand. What has a gradient is timed
forward and backward. Contenders take turns, and what is shown is the best of its rounds.
"""

from __future__ import annotations

import argparse
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from anamorph import _native
from anamorph.features.manifold import manifold_mixup
from anamorph.features.mochi import mochi
from anamorph.features.patchup import block_rate, patchup
from anamorph.features.statistics import RunningGaussian
from anamorph.features.style import dsu, mixstyle

Call = Callable[[], object]
EPS = 1e-6


def torch_mixstyle(x: Tensor, lam: Tensor, partner: Tensor) -> Tensor:
    with torch.no_grad():
        variance, mean = torch.var_mean(x, (2, 3), keepdim=True)
        deviation = (variance + EPS).sqrt()
        scale = (lam * deviation + (1 - lam) * deviation[partner]) / deviation
        shift = lam * mean + (1 - lam) * mean[partner] - mean * scale
    return x * scale + shift


def torch_dsu(x: Tensor, e1: Tensor, e2: Tensor) -> Tensor:
    variance, mean = torch.var_mean(x, (2, 3))
    deviation = (variance + EPS).sqrt()
    new_mean = mean + e1 * (mean.var(0) + EPS).sqrt()
    scale = (deviation + e2 * (deviation.var(0) + EPS).sqrt()) / deviation
    return x * scale[:, :, None, None] + (new_mean - mean * scale)[:, :, None, None]


def torch_mixup(x: Tensor, lam: Tensor, partner: Tensor) -> Tensor:
    return lam * x + (1 - lam) * x[partner]


def torch_patchup(x: Tensor, lam: Tensor, partner: Tensor, rate: float, block: int) -> Tensor:
    seeds = (torch.rand(x.shape[1:]) < rate).float()
    holes = F.max_pool2d(seeds[None], block, 1, block // 2)
    weight = 1 - (1 - lam) * holes
    return weight * x + (1 - weight) * x[partner]


def torch_mochi(query: Tensor, key: Tensor, queue: Tensor, n_hard: int, n_mix: int, n_query_mix: int) -> Tensor:
    positive, negative = (query * key).sum(1, keepdim=True), query @ queue.t()
    batch = len(query)
    with torch.no_grad():
        hardest = negative.topk(n_hard, dim=1, sorted=False).indices
        i, j = (hardest.gather(1, torch.randint(n_hard, (batch, n_mix))) for _ in range(2))
        share = torch.rand(batch, n_mix, 1)
        mixed = F.normalize(share * queue[i] + (1 - share) * queue[j], dim=2)
        share = torch.rand(batch, n_query_mix, 1) / 2
        other = hardest.gather(1, torch.randint(n_hard, (batch, n_query_mix)))
        with_query = F.normalize(share * query[:, None] + (1 - share) * queue[other], dim=2)
    made = [torch.bmm(h, query[:, :, None])[:, :, 0] for h in (mixed, with_query)]
    return torch.cat([positive, negative, *made], 1) / 0.2


class TorchDiagonal:
    """Running means and variances of classes, merged batch by batch."""

    def __init__(self, classes: int, size: int) -> None:
        self.count, self.mean, self.squares = torch.zeros(classes), torch.zeros(classes, size), torch.zeros(classes, size)

    def update(self, x: Tensor, labels: Tensor) -> None:
        count = torch.zeros_like(self.count).index_add_(0, labels, torch.ones(len(x)))
        mean = torch.zeros_like(self.mean).index_add_(0, labels, x) / count.clamp(min=1)[:, None]
        squares = torch.zeros_like(self.squares).index_add_(0, labels, (x - mean[labels]).square())
        both = self.count + count
        share, far = (count / both.clamp(min=1))[:, None], mean - self.mean
        self.squares += squares + far * far * self.count[:, None] * share
        self.mean += far * share
        self.count = both


class TorchFull:
    """The pooled covariance: one product of matrices."""

    def __init__(self, size: int) -> None:
        self.count, self.mean, self.scatter = torch.zeros(()), torch.zeros(size), torch.zeros(size, size)

    def update(self, x: Tensor) -> None:
        mean = x.mean(0)
        centred, far, n = x - mean, mean - self.mean, len(x)
        share = n / (self.count + n)
        self.scatter += centred.t() @ centred + torch.outer(far, far) * self.count * share
        self.mean += far * share
        self.count += n


def trained(f: Callable[..., Tensor], x: Tensor) -> Call:
    """Forward and backward."""
    grads: dict[tuple[int, ...], Tensor] = {}

    def call() -> None:
        leaf = x.detach().requires_grad_()
        out = f(leaf)
        shape = tuple(out.shape)
        if shape not in grads:
            grads[shape] = torch.randn(shape)
        out.backward(grads[shape])

    return call


def methods(quick: bool) -> dict[str, tuple[Call, Call, Call | None]]:
    """Ours, eager, compiled."""
    g = torch.Generator().manual_seed(0)
    shape = (8, 16, 14, 14) if quick else (64, 256, 56, 56)
    batch, size, dim = (8, 512, 32) if quick else (256, 65536, 128)
    numbers = (64, 64, 8) if quick else (1024, 1024, 128)
    rows, width, classes = (256, 32, 10) if quick else (4096, 512, 100)
    x, step = torch.randn(shape, generator=g), torch.tensor([1, 2])
    lam, partner = torch.rand(shape[0], 1, 1, 1, generator=g), torch.randperm(shape[0], generator=g)
    e1, e2 = torch.randn(shape[:2], generator=g), torch.randn(shape[:2], generator=g)
    rate, one = block_rate(0.75, 7, shape[-1]), torch.tensor(0.7)
    query, key, queue = (F.normalize(torch.randn(n, dim, generator=g), dim=1) for n in (batch, batch, size))
    features, labels = torch.randn(rows, width, generator=g), torch.randint(classes, (rows,), generator=g)

    def three(ours: Callable[[Tensor], Tensor], theirs: Callable[..., Tensor], on: Tensor,
              *rest: object) -> tuple[Call, Call, Call]:
        compiled = torch.compile(theirs)
        return (trained(ours, on), trained(lambda x: theirs(x, *rest), on), trained(lambda x: compiled(x, *rest), on))

    classed, theirs = RunningGaussian(width, classes, diagonal=True), TorchDiagonal(classes, width)
    pooled, full = RunningGaussian(width), TorchFull(width)
    compiled_diagonal, compiled_full = torch.compile(TorchDiagonal.update), torch.compile(TorchFull.update)
    return {
        f"MixStyle {list(shape)}": three(lambda x: mixstyle(x, step, 1.0), torch_mixstyle, x, lam, partner),
        f"DSU {list(shape)}": three(lambda x: dsu(x, step, 1.0), torch_dsu, x, e1, e2),
        f"manifold mixup {list(shape)}": three(lambda x: manifold_mixup(x, step)[0], torch_mixup, x, one, partner),
        f"PatchUp {list(shape)}": three(lambda x: patchup(x, step)[0], torch_patchup, x, one, partner, rate, 7),
        f"MoCHi queue {size} x {dim}, batch {batch}": three(lambda q: mochi(q, key, queue, *numbers, step=step), torch_mochi,
                                                            query, key, queue, *numbers),
        f"class variances [{rows}, {width}], {classes} classes": (lambda: classed.update(features, labels),
                                                                  lambda: theirs.update(features, labels),
                                                                  lambda: compiled_diagonal(theirs, features, labels)),
        f"pooled covariance [{rows}, {width}] (one product)": (lambda: pooled.update(features), lambda: full.update(features),
                                                               lambda: compiled_full(full, features)),
    }


def race(contenders: dict[str, Call], rounds: int) -> dict[str, float]:
    """The least milliseconds of each."""
    best = dict.fromkeys(contenders, float("inf"))
    for turn in range(rounds + 1):  # the first warms up
        for name, call in contenders.items():
            start = time.perf_counter()
            call()
            if turn:
                best[name] = min(best[name], 1e3 * (time.perf_counter() - start))
    return best


def table(quick: bool, rounds: int) -> None:
    print(f"{platform.processor() or platform.machine()}, {_native.simd()}, torch {torch.__version__}")
    for threads in (1, 2):
        torch.set_num_threads(threads)
        torch._dynamo.reset()
        print(f"\n{f'threads: {threads}':50}      ms     eager  compiled   x eager  x compiled")
        for name, (ours, eager, compiled) in methods(quick).items():
            calls = {"ours": ours, "eager": eager, "compiled": compiled}
            ms = race({k: v for k, v in calls.items() if v is not None}, rounds)
            print(f"{name:50}{ms['ours']:8.2f}{ms['eager']:10.2f}{ms['compiled']:10.2f}{ms['eager'] / ms['ours']:10.1f}"
                  f"{ms['compiled'] / ms['ours']:12.1f}", flush=True)


def memory_of(name: str, quick: bool) -> None:
    """How far one step of MoCHi, forward and backward, raises the most memory that this process has held. The gradient of the
    logits is given: a cross entropy would take three times the logits more, whoever makes them."""
    torch.set_num_threads(1)
    batch, size, dim, numbers = (64, 8192, 128, (256, 256, 32)) if quick else (256, 65536, 128, (1024, 1024, 128))
    query, key, queue = (F.normalize(torch.randn(n, dim), dim=1) for n in (batch, batch, size))
    small = [t[:16] for t in (query, key, queue)]
    step = torch.tensor([1, 2])

    def once(query: Tensor, key: Tensor, queue: Tensor, *numbers: int) -> None:
        leaf = query.detach().requires_grad_()
        out = mochi(leaf, key, queue, *numbers, step=step) if name == "ours" else torch_mochi(leaf, key, queue, *numbers)
        out.backward(grad[:len(out), :out.shape[1]])

    grad = torch.randn(batch, 1 + size + sum(numbers[1:]))
    once(*small, 4, 4, 4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    once(query, key, queue, *numbers)
    print(f"{name:8}{(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024:8.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", nargs="?", const="both", choices=["both", "ours", "eager"])
    args = parser.parse_args()
    if args.memory == "both":
        for name in ("ours", "eager"):
            subprocess.run([sys.executable, __file__, "--memory", name, *(["--quick"] if args.quick else [])], check=True)
    elif args.memory:
        memory_of(args.memory, args.quick)
    else:
        table(args.quick, args.rounds)


if __name__ == "__main__":
    main()
