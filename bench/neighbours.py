"""Farthest point sampling and nearest neighbours on one thread, against fpsample, a NumPy loop and scipy's cKDTree, in one run.

    python bench/neighbours.py                 # milliseconds and ratios; bench's extra brings the peers
    python bench/neighbours.py --quick         # without the largest cloud

Of fpsample only exact methods: the plain one, the tree of buckets and the line of buckets at several heights; the fastest counts.
Contenders take turns, and what is shown is the best of its rounds. Clouds are normally distributed, and points on a sphere.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from anamorph import _native
from anamorph.points import ball_query, farthest_point_sample, knn

Contenders = dict[str, Callable[[], object]]


def missing(error: ImportError) -> SystemExit:
    return SystemExit(f"bench/neighbours.py: expected {error.name}, which pip install anamorph[bench] brings: {error}")


def race(contenders: Contenders, rounds: int) -> dict[str, float]:
    """The least milliseconds of each. A turn lasts 20 ms or one call, so that a short call is timed as warm as a long one."""
    best = dict.fromkeys(contenders, float("inf"))
    for turn in range(rounds + 1):  # the first warms up
        for name, call in contenders.items():
            begin = start = time.perf_counter()
            while start - begin < 0.02:
                call()
                end = time.perf_counter()
                if turn:
                    best[name] = min(best[name], 1e3 * (end - start))
                start = end
    return best


def loop(points: np.ndarray, m: int) -> list[int]:
    """Farthest points as one writes them in NumPy."""
    distance, out = np.full(len(points), np.inf, np.float32), [0]
    for _ in range(m - 1):
        distance = np.minimum(distance, np.square(points - points[out[-1]]).sum(1))
        out.append(int(distance.argmax()))
    return out


def clouds(n: int) -> dict[str, np.ndarray]:
    normal = np.random.default_rng(0).standard_normal((n, 3)).astype(np.float32)
    return {"normal": normal, "sphere": normal / np.linalg.norm(normal, axis=1, keepdims=True)}


def line_of(name: str, best: dict[str, float], ours: str, theirs: str) -> str:
    times = ", ".join(f"{who} {ms:.2f}" for who, ms in best.items())
    return f"{name}: {times} ms; {min(v for k, v in best.items() if k.startswith(theirs)) / best[ours]:.2f}x {theirs}"


def farthest(n: int, m: int, rounds: int, small: bool) -> None:
    try:
        import fpsample
    except ImportError as error:
        raise missing(error) from error
    for kind, points in clouds(n).items():
        cloud = torch.from_numpy(points)[None]
        contenders: Contenders = {"ours": lambda cloud=cloud: farthest_point_sample(cloud, m)}
        for h in (3, 5, 7) if small else (7, 9):
            contenders[f"fpsample's line (h={h})"] = \
                lambda h=h, p=points: fpsample.bucket_fps_kdline_sampling(p, m, h=h, start_idx=0)
        if small:
            contenders["fpsample's tree"] = lambda p=points: fpsample.bucket_fps_kdtree_sampling(p, m, start_idx=0)
            contenders["fpsample's plain one"] = lambda p=points: fpsample.fps_sampling(p, m, start_idx=0)
            contenders["NumPy"] = lambda p=points: loop(p, m)
        best = race(contenders, rounds)
        print(line_of(f"{m:,} farthest of {n:,}, {kind}", best, "ours", "fpsample"), end="")
        print(f", {best['NumPy'] / best['ours']:.0f}x NumPy" if small else "", flush=True)


def nearest(n: int, k: int, rounds: int) -> None:
    try:
        from scipy.spatial import cKDTree
    except ImportError as error:
        raise missing(error) from error
    for kind, points in clouds(n).items():
        cloud = torch.from_numpy(points)[None]
        best = race({"ours": lambda cloud=cloud: knn(cloud, cloud, k),
                     "scipy": lambda p=points: cKDTree(p).query(p, k=k)}, rounds)
        print(line_of(f"{k} nearest of {n:,}, {kind}", best, "ours", "scipy"), flush=True)
        balls = race({"ours": lambda cloud=cloud: ball_query(cloud, cloud, 0.2, 32)}, 2)
        print(f"  the first 32 in balls of radius 0.2: {balls['ours']:.2f} ms", flush=True)


def processor() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")] \
        if info.exists() else []
    return names[0] if names else platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{processor()}, {_native.simd()}, 1 thread, torch {torch.__version__}, NumPy {np.__version__}")
    farthest(1024, 512, options.rounds, True)
    farthest(8192, 1024, options.rounds, True)
    if not options.quick:
        farthest(131072, 16384, 2, False)
    nearest(1024, 20, options.rounds)
    nearest(8192, 16, options.rounds)


if __name__ == "__main__":
    main()
