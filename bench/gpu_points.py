"""What clouds take on a GPU: neighbourhoods, recipes, mixing, deformation; beside torch where torch has a way of its own.

    python bench/gpu_points.py [--only WORD,...] [--json FILE]

Each line's kernels are timed by torch's profiler over a number of batches, each with a new plan, and the whole by the host's
clock, which also has what lies between kernels. torch's way is the plain one: farthest points in a loop, nearest points by cdist
and topk, PointWOLF in batched operators. Both in one run, by the host's clock. A Markdown table, in microseconds a batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from anamorph import points as P
from gpu_kernels import options, table, whole_of

Call = Callable[[int], object]


def farthest(x: Tensor, m: int) -> Tensor:
    """A loop over samples, as most research code has it."""
    rows = torch.arange(len(x), device=x.device)
    out = torch.zeros(len(x), m, dtype=torch.int64, device=x.device)
    distance = torch.full(x.shape[:2], float("inf"), device=x.device)
    for i in range(m - 1):
        distance = torch.minimum(distance, (x - x[rows, out[:, i]][:, None]).square().sum(-1))
        out[:, i + 1] = distance.argmax(1)
    return out


def wolf(x: Tensor) -> Tensor:
    """PointWOLF with its defaults, a scale and a jitter in batched operators; each of the three maps with probability 1/2."""
    anchors, sigma, degrees, scale, shift = 4, 0.5, 10.0, 3.0, 0.25
    b, shape = len(x), (len(x), anchors, 3)
    at = x.gather(1, farthest(x, anchors)[..., None].expand(shape))
    on = torch.rand(3, b, anchors, 1, device=x.device) < 0.5
    turn = torch.where(on[0], torch.empty(shape, device=x.device).uniform_(-degrees, degrees).deg2rad(), 0.0)
    size = torch.where(on[1], torch.empty(shape, device=x.device).uniform_(1.0, scale), 1.0)
    move = torch.where(on[2], torch.empty(shape, device=x.device).uniform_(-shift, shift), 0.0)
    use = (torch.randint(1, 8, (b, 1), device=x.device) >> torch.arange(3, device=x.device)) & 1
    apart = x[:, None] - at[:, :, None]
    d = (apart * use[:, None, None]).square().sum(-1)
    w = torch.softmax(d / (-2 * sigma**2), 1)
    q = apart @ (P.rotation_matrix(turn) * size[:, :, None]) + (move + at)[:, :, None]
    out = (w[..., None] * q).sum(1)
    out = out - out.mean(1, keepdim=True)
    out = out / out.norm(dim=2).amax(1)[:, None, None] * torch.empty(b, 1, 1, device=x.device).uniform_(0.8, 1.25)
    return out + 0.01 * torch.randn_like(out)


def shapes(batch: int, n: int) -> Tensor:
    """Points on spheres."""
    x = torch.randn(batch, n, 3, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.normalize(x, dim=2).cuda()


def works() -> dict[str, tuple[Call, Call | None]]:
    """Each does one batch of this epoch: ours, and torch's way."""
    found: dict[str, tuple[Call, Call | None]] = {}
    for batch, n, m in ((256, 1024, 512), (32, 8192, 1024), (256, 8192, 1024), (1, 131072, 16384)):
        x = shapes(batch, n)
        found[f"{m:,} farthest of {n:,}, {batch} clouds"] = (lambda epoch, x=x, m=m: P.farthest_point_sample(x, m),
                                                             (lambda epoch, x=x, m=m: farthest(x, m)) if n < 100000 else None)
    for batch, n, k in ((256, 1024, 20), (32, 8192, 16)):
        x = shapes(batch, n)
        found[f"{k} nearest of {n:,}, {batch} clouds"] = (
            lambda epoch, x=x, k=k: P.knn(x, x, k), lambda epoch, x=x, k=k: torch.cdist(x, x).topk(k, largest=False))
        first = x[:, :512].contiguous()
        found[f"32 in 512 balls of .2, {n:,}, {batch} clouds"] = (
            lambda epoch, x=x, first=first: P.ball_query(first, x, 0.2, 32), None)

    batch = 256
    x, ids = shapes(batch, 1024), torch.arange(batch, device="cuda")
    normals, labels = x.clone(), torch.randint(0, 40, (batch,), device="cuda")

    def call(recipe: P.Recipe, **more: object) -> Call:
        return lambda epoch: P.render(x, recipe.plan(ids, epoch=epoch, count=1024), **more)

    chain = P.Recipe([P.PointWOLF(), P.Scale(0.8, 1.25), P.Jitter(0.01, None)])
    named = {
        "scale, shift": P.Recipe([P.Scale(2 / 3, 3 / 2, per_axis=True), P.Translate(0.2)]),
        "rotate, jitter, normalise": P.Recipe([P.Rotate(), P.Jitter(), P.Normalize()]),
        "dropout": P.Recipe([P.Dropout(0.5)]),
        "to 512 by farthest points": P.Recipe([P.Scale()], num_points=512, sample="farthest"),
        "PointMixup": P.Recipe([P.PointMixup(0.4)]),
        "PointCutMix, R": P.Recipe([P.PointCutMix("R")]),
        "PointCutMix, K": P.Recipe([P.PointCutMix("K")]),
        "RSMix": P.Recipe([P.RSMix()]),
        "WOLFMix": P.Recipe(P.WOLFMix()),
    }
    found["PointWOLF, scale, jitter"] = call(chain), lambda epoch: wolf(x)
    for name, recipe in named.items():
        found[name] = call(recipe), None
    found["scale, shift; normals and labels too"] = call(named["scale, shift"], targets=labels,
                                                         attributes={"normals": normals}), None
    for name in P.corruptions.NAMES:
        found[f"{name}, severity 3"] = call(P.corruptions.corruption(name, 3)), None

    at = P.group(x, P.farthest_point_sample(x, 4))
    shape = (batch, 4, 3)
    turn = torch.zeros(shape, device="cuda", requires_grad=True)
    size, move = torch.ones(shape, device="cuda", requires_grad=True), torch.zeros(shape, device="cuda", requires_grad=True)

    def plain() -> Tensor:
        apart = x[:, None] - at[:, :, None]
        w = torch.softmax(apart.square().sum(-1) / -0.5, 1)
        q = apart @ (P.rotation_matrix(turn) * size[:, :, None]) + (move + at)[:, :, None]
        return (w[..., None] * q).sum(1)

    found["deform, and back"] = (lambda epoch: P.deform(x, at, turn, size, move, 0.5).sum().backward(),
                                 lambda epoch: plain().sum().backward())
    return found


def main() -> None:
    given = options(__doc__ or "").parse_args()
    jobs = works()

    def beside(name: str, found: dict[str, float]) -> str:
        theirs = jobs[name][1]
        if theirs is None:
            return " | |"
        took = whole_of(theirs, 3)
        return f" {took:.0f} | {took / found['whole']:.1f} |"

    print(f"{torch.cuda.get_device_name()}; 256 clouds of 1,024 points where a line says no others\n")
    print("| | whole | kernels | torch | ratio |\n|---|---|---|---|---|")
    table({name: ours for name, (ours, _) in jobs.items()}, given, beside)


if __name__ == "__main__":
    main()
