"""Calls with arguments at random, good and bad: each gives what it promises or one of anamorph's errors, and nothing else.

FUZZ=30000 python -m pytest tests/points/test_fuzzed_clouds.py makes more of them.
"""

import os
import random
from dataclasses import fields

import pytest
import torch

import anamorph as am
from anamorph import points as P

CALLS = int(os.environ.get("FUZZ", "1500"))
NUMBERS = [0, 1, -1, 0.5, 2, 1e-9, 1e9, 1e30, float("nan"), float("inf"), None, "x", True, (0.1, 0.9), (1, 0), [0.2, 0.2], (), 3,
           7, 64, 65, 5000,
           2**31, -2**40]


def number(g):
    return g.choice(NUMBERS) if g.random() < 0.3 else g.choice([0.1, 0.3, 1.2, 1, 2, 5, 20, (0.1, 0.4)])


def transform(g, depth=0):
    kind = g.choice([P.Scale, P.Translate, P.Rotate, P.RotateXYZ, P.RotationJitter, P.RandomRotation, P.Shear, P.Flip, P.Jitter,
                     P.Normalize,
                     P.PointWOLF, P.Dropout, P.RandomInputDropout, P.Shuffle, P.Resample, P.FarthestSample, P.DropLocal,
                     P.AddGlobal,
                     P.AddLocal, P.RandomApply, P.OneOf, P.PointMixup, P.PointCutMix, P.RSMix])
    if kind in (P.RandomApply, P.OneOf):
        return kind([transform(g, depth + 1) for _ in range(g.randrange(3))], *([number(g)] if g.random() < 0.5 else []))
    if kind is P.Flip and g.random() < 0.7:
        return kind(g.choice(["x", "xyz", "w", "", "xx"]), g.choice([0, 0.5, 1, 2]))
    counting = kind in (P.Resample, P.FarthestSample, P.DropLocal, P.AddGlobal, P.AddLocal)
    least = 1 if kind in (P.Resample, P.FarthestSample) else 0
    count = g.randrange(least, len(fields(kind)) + 1)
    return kind(*[g.choice([1, 3, 17, 90]) if counting and g.random() < 0.8 else number(g) for _ in range(count)])


def cloud(g, batch, n):
    kind = g.randrange(16)
    x = torch.randn(batch, n, 3) * g.choice([1, 1e-20, 1e10, 1e-3])
    if kind == 0:
        x = x.round()
    if kind == 1:
        x = torch.zeros(batch, n, 3)
    if kind == 2 and x.numel():
        x.view(-1)[g.randrange(x.numel())] = float(g.choice(["nan", "inf", "-inf", "3e38"]))
    if kind == 3:
        x = g.choice([x.double(), x.half(), x[..., :2], x[0] if batch else x, x.transpose(1, 2), x.numpy(), None, "cloud"])
    if kind == 4 and n:
        x = x[:, torch.zeros(n, dtype=torch.int64)]
    return x


def rendered(g):
    batch, n = g.choice([1, 2, 5]), g.choice([1, 2, 33, 120])
    recipe = P.Recipe([transform(g) for _ in range(g.randrange(5))], num_points=g.choice([None, None, 1, 40, 200, 0]),
                      sample=g.choice(["random", "farthest"]), num_classes=g.choice([None, 4]))
    count = g.choice([n, n, n, torch.randint(1, n + 1, (batch,)), n + 1, 0])
    plan = recipe.plan(g.choice([range(batch), torch.randint(0, 2**62, (batch,))]), count=count, seed=g.choice([0, 2**64 - 1,
                                                                                                                -1]),
                       epoch=g.choice([0, 5, 2**32 - 1]), view=g.choice([0, 4095]))
    given = {"normals": torch.randn(batch, n, 3), "label": torch.randint(0, 5, (batch, n))} if g.random() < 0.5 else None
    out = P.render(cloud(g, batch, n), plan, attributes=given, targets=g.choice([None, torch.randint(0, 4, (batch,))]))
    out = out[0] if isinstance(out, tuple) else out
    points = out["points"] if given else out
    assert points.shape[0] == batch and points.shape[2] == 3 and int(plan.counts.max()) <= points.shape[1]
    if given:
        assert out["normals"].shape == points.shape and out["label"].shape == points.shape[:2]
    plan[0]


def neighbours(g):
    batch, n = g.choice([1, 3]), g.choice([1, 5, 64, 130])
    x = cloud(g, batch, n)
    which, k = g.randrange(3), g.choice([1, 1, 2, 5, n, n, n + 1, 0, -1, 2.5, None])
    counts = g.choice([None, None, None, None, torch.randint(0, n + 2, (batch,)), torch.ones(batch + 1, dtype=torch.int64), 3])
    if which == 0:
        found = P.farthest_point_sample(x, k, start=g.choice([0, 0, n - 1, n, torch.zeros(batch, dtype=torch.int64)]),
                                        counts=counts)
        assert found.shape == (batch, k) and found.min() >= 0 and found.max() < n
    elif which == 1:
        distance, found = P.knn(cloud(g, batch, g.choice([1, 40])), x, k, counts=counts)
        assert found.shape == distance.shape and found.shape[2] == k and found.max() < n
    else:
        found = P.ball_query(cloud(g, batch, g.choice([1, 40])), x, number(g), k, counts=counts, pad=g.choice(["first", -1, -1,
                                                                                                               "last"]))
        assert found.shape[2] == k and found.max() < n
        P.group(torch.randn(batch, n, 4), found)


def others(g):
    batch, n = g.choice([1, 3]), g.choice([1, 20, 300])
    x = cloud(g, batch, n)
    which = g.randrange(3)
    if which == 0:
        P.corrupt(x, g.choice([*P.corruptions.NAMES, "rain"]), severity=g.choice([1, 3, 5, 0, 6, 2.5]), seed=g.choice([0, 3, -1]))
    elif which == 1 and n < 100:
        permutation, _ = P.assign(x, cloud(g, batch, n))
        assert all(sorted(p) == list(range(n)) for p in permutation.reshape(-1, n).tolist())
    else:
        a = g.choice([1, 4, 64, 65])
        out = P.deform(x, torch.randn(batch, a, 3), torch.randn(batch, a, 3), torch.rand(batch, a, 3), torch.randn(batch, a, 3),
                       g.choice([0.5, 1e-30, 0, -1, float("nan"), torch.rand(batch)]))
        assert out.shape == (batch, n, 3)
        P.mask_points(out, torch.rand(batch, n) > 0.5)


@pytest.mark.parametrize("f", [rendered, neighbours, others], ids=lambda f: f.__name__)
def test_nothing_but_results_and_named_errors(f):
    fine = 0
    for seed in range(CALLS // 3):
        g = random.Random(f"{f.__name__} {seed}")
        torch.manual_seed(seed)
        try:
            f(g)
            fine += 1
        except am.AnamorphError:
            pass
        except BaseException as error:
            raise AssertionError(f"{f.__name__}, seed {seed}: {type(error).__name__}: {error}") from error
    assert fine > CALLS // 3 * 0.1, "hardly any call was good"
