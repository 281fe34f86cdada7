"""What recipes of point clouds cost beside the same arithmetic in NumPy: python bench/points.py [--rounds 7]

Clouds of 1,024 points, one thread. NumPy takes the clouds one by one and draws from numpy.random, as the published code does in
its data set's __getitem__; the last column is the fastest way to write it in NumPy: float32 numbers of a Generator, whole batches
where nothing but elementwise arithmetic and products of matrices is needed. Ratios are taken in turns in one run, of the best
round of each (neighbours.race).
"""

import argparse

import numpy as np
import torch

import anamorph as am
from anamorph import points as P
from anamorph.bench.machine import cpu_name
from neighbours import race

BATCH, N = 64, 1024


class Legacy:
    """numpy.random as published code uses it, under the names of a Generator."""

    def __init__(self):
        self.random = np.random.random_sample
        self.uniform = np.random.uniform

    def standard_normal(self, shape, dtype):
        return np.random.standard_normal(shape).astype(dtype)

    def integers(self, low, high=None, size=None):
        return np.random.randint(low, high, size)

    def shuffled(self, x):
        x = x.copy()
        np.random.shuffle(x)
        return x


class Fast:
    def __init__(self):
        g = np.random.default_rng(0)
        self.random, self.uniform, self.standard_normal, self.integers = g.random, g.uniform, g.standard_normal, g.integers
        self.shuffled = lambda x: x[g.permutation(len(x))]


def unit(x):
    x = x - x.mean(-2, keepdims=True)
    return x / np.sqrt((x * x).sum(-1)).max(-1)[..., None, None]


def farthest(x, m, start):
    chosen, d = [start], np.full(len(x), np.inf, np.float32)
    for _ in range(m - 1):
        d = np.minimum(d, ((x - x[chosen[-1]]) ** 2).sum(1))
        chosen.append(int(d.argmax()))
    return chosen


def rotations(g, shape, degrees):
    a = np.radians(g.uniform(-degrees, degrees, (*shape, 3)).astype(np.float32))
    (cx, cy, cz), (sx, sy, sz) = np.moveaxis(np.cos(a), -1, 0), np.moveaxis(np.sin(a), -1, 0)
    return np.stack([cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx, sz * cy, sz * sy * sx + cz * cx,
                     sz * sy * cx - cz * sx, -sy, cy * sx, cy * cx], -1).reshape(*shape, 3, 3)


def wolf(g, x, m=4, sigma=.5, degrees=10, scale=3, shift=.25):
    p = x[farthest(x, m, g.integers(len(x)))]
    on = g.random((3, m, 1)) < .5
    axes = ((g.integers(1, 8, m)[:, None] >> np.arange(3)) & 1).astype(bool)
    r = np.where(on[0][..., None], rotations(g, (m,), degrees), np.eye(3, dtype=np.float32))
    s = np.where(on[1] & axes, g.uniform(1, scale, (m, 3)), 1).astype(np.float32)
    t = np.where(on[2] & axes, g.uniform(-shift, shift, (m, 3)), 0).astype(np.float32)
    use = ((g.integers(1, 8) >> np.arange(3)) & 1).astype(np.float32)
    apart = x[None] - p[:, None]
    d = ((use * apart) ** 2).sum(2)
    w = np.exp((d.min(0) - d) / np.float32(2 * sigma**2))
    q = apart @ (r * s[:, None]) + (t + p)[:, None]
    return unit((w[..., None] * q).sum(0) / w.sum(0)[:, None])


def noise(g, x, sigma):
    return x + np.float32(sigma) * g.standard_normal(x.shape, np.float32)


def drop_global(g, x, level):
    return g.shuffled(x)[:int(len(x) * (1 - (.25, .375, .5, .625, .75)[level - 1]))]


def shared(g, n, c):
    return np.bincount(g.integers(c, size=n), minlength=c)


def drop_local(g, x, level):
    for k in shared(g, 100 * level, g.integers(1, 8)):
        x = g.shuffled(x)
        x = x[np.argsort(((x - x[0]) ** 2).sum(1))[k:]]
    return x


def add_global(g, x, level):
    v = g.standard_normal((10 * level, 3), np.float32)
    v *= (g.random(10 * level) ** (1 / 3) / np.sqrt((v * v).sum(1)))[:, None]
    return np.concatenate([x, v])


def add_local(g, x, level):
    c = g.integers(1, 8)
    centers, new = g.shuffled(x)[:c], []
    for center, k in zip(centers, shared(g, 100 * level, c), strict=True):
        new.append(center + g.uniform(.075, .125) * g.standard_normal((k, 3), np.float32))
    v = np.concatenate(new)
    square = (v * v).sum(1)
    v[square > 1] /= square[square > 1][:, None]
    return np.concatenate([x, v]).astype(np.float32)


def one_by_one(f):
    return lambda g, x, *more: [f(g, cloud, *more) for cloud in x]


def scale(g, x, level):
    s = (1.6, 1.7, 1.8, 1.9, 2.)[level - 1]
    return unit(x * g.uniform(1 / s, s, (*x.shape[:-2], 1, 3)).astype(np.float32))


def rotate(g, x, level):
    return x @ rotations(g, x.shape[:-2], 6 * level)


def jitter(g, x, level):
    return noise(g, x, .01 * level)


CORRUPTIONS = {"scale": scale, "jitter": jitter, "rotate": rotate, "dropout_global": drop_global, "dropout_local": drop_local,
               "add_global": add_global, "add_local": add_local}


def chain(g, x):
    return noise(g, wolf(g, x) * np.float32(g.uniform(.8, 1.25)), .01)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    x = unit(np.random.default_rng(0).standard_normal((BATCH, N, 3), np.float32)).astype(np.float32)
    t, ids = torch.tensor(x), torch.arange(BATCH)
    legacy, fast = Legacy(), Fast()

    def job(recipe, single, *more, together=None):
        return [lambda: P.render(t, recipe.plan(ids, count=N)), lambda: one_by_one(single)(legacy, x, *more),
                lambda: (together or one_by_one(single))(fast, x, *more)]

    jobs = {"PointWOLF, scale, jitter": job(P.Recipe([P.PointWOLF(), P.Scale(.8, 1.25), P.Jitter(.01, None)]), chain)}
    for name, single in CORRUPTIONS.items():
        jobs[name] = job(P.corruptions.corruption(name, 3), single, 3, together=single if single in (scale, jitter,
                                                                                                     rotate) else None)
    print(f"{cpu_name()}; anamorph {am.__version__}, NumPy {np.__version__}, one thread; {BATCH} clouds of {N} points")
    print(f"{'microseconds a cloud':28}{'anamorph':>10}{'published':>11}{'ratio':>8}{'fastest':>10}{'ratio':>8}")
    for name, functions in jobs.items():
        best = [1e3 * ms / BATCH for ms in race(dict(zip(("ours", "published", "fastest"), functions, strict=True)),
                                                rounds).values()]
        print(f"{name:28}{best[0]:10.1f}{best[1]:11.1f}{best[1] / best[0]:8.1f}{best[2]:10.1f}{best[2] / best[0]:8.1f}")


if __name__ == "__main__":
    main()
