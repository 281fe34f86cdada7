"""Self-supervised learning: python simclr.py FOLDER   (FOLDER/category/*.png, cut-outs with alpha, such as those of Tux Paint's
stamps: Debian's tuxpaint-stamps-default has them in usr/share/tuxpaint/stamps).

A small net learns, without labels, to tell two views of one picture from views of the others (SimCLR: Chen et al., ICML 2020).
The pictures are all cut-outs of FOLDER on plain colours. Compared are SimCLR's views, with and without blur, and with and
without a smooth random field (an idea of Mansfield et al., 2023), which warps the picture or changes its colours as well. The net
is then left as it is, and a logistic regression learns the categories from its features: the linear probe. It is asked about
cut-outs that neither it nor the net has seen: each run leaves out another third of them. Beside that stand a net that has learnt
nothing, and nets that learn the categories from the start.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional as F

import anamorph as am
from anamorph.cli.preview import contact_sheet, displayable

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", type=Path)
parser.add_argument("--categories", nargs="*", help="folders in FOLDER to tell apart; where none of them is there, all",
                    default=["animals/mammals", "animals/birds", "animals/insects", "food/fruit", "plants/flowers", "town/houses",
                             "town/roadsigns", "vehicles", "symbols/money"])
parser.add_argument("--epochs", type=int, default=80)
parser.add_argument("--batch-size", type=int, default=128)
parser.add_argument("--size", type=int, default=32, help="side of the pictures, in pixels")
parser.add_argument("--seeds", type=int, default=3, help="runs, each of which leaves out another third: at most 3")
parser.add_argument("--temperature", type=float, default=0.2)
parser.add_argument("--sheet", type=Path, help="where a picture of the views goes")
options = parser.parse_args()

SIZE = (options.size, options.size)
NORMALIZE = am.Normalize((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
MOVES = {"translation": 0.045, "rotation": 6, "scale": 0.06, "correlation": 0.3, "p": 0.5, "fill": 128}
WARP = am.RandomField(**MOVES)
FIELD = am.RandomField(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.05, **MOVES)


def views(blur: float, *field: am.RandomField) -> am.Recipe:
    """SimCLR's recipe for small pictures, after a field: what is cropped is the warped picture, whose middle the object is in."""
    return am.Recipe([*field, *am.presets.simclr(options.size, strength=0.5, blur=blur).transforms, NORMALIZE])


VIEWS = {"SimCLR": views(0.5), "no blur": views(0), "warp, no blur": views(0, WARP), "field, no blur": views(0, FIELD),
         "field and blur": views(0.5, FIELD)}
SEEN = am.Recipe([NORMALIZE])
CROPS = am.Recipe([am.RandomResizedCrop(options.size, (0.3, 1.0)), am.RandomHorizontalFlip(), NORMALIZE])


def pictures() -> tuple[Tensor, Tensor, Tensor]:
    """The cut-outs on plain colours, uint8 [N, 3, H, W]; their categories, -1 for those of other folders; and which third each is
    of, by name within the category, so that look-alikes (gnu-baby, gnu-stand) stay together. Mirrored copies are left out."""
    folders = [options.folder / name for name in options.categories if (options.folder / name).is_dir()]
    folders = folders or sorted(entry for entry in options.folder.iterdir() if entry.is_dir())
    files = [f for f in options.folder.rglob("*.*") if f.suffix in (".png", ".jpg") and "mirror" not in f.name]
    files.sort(key=lambda file: (file.name, file))
    papers = np.random.default_rng(0).integers(32, 224, (len(files), 3)).tolist()
    made = []
    for file, paper in zip(files, papers, strict=True):
        cutout = Image.open(file).convert("RGBA")
        cutout.thumbnail(SIZE)
        picture = Image.new("RGB", SIZE, tuple(paper))
        picture.paste(cutout, ((SIZE[0] - cutout.width) // 2, (SIZE[1] - cutout.height) // 2), cutout)
        made.append(torch.from_numpy(np.array(picture)))
    labels = torch.tensor([next((i for i, folder in enumerate(folders) if folder in file.parents), -1) for file in files])
    third = torch.empty_like(labels)
    for label in labels.unique():
        there = labels == label
        third[there] = torch.arange(int(there.sum())) * 3 // int(there.sum())
    return torch.stack(made).permute(0, 3, 1, 2).contiguous(), labels, third


def network() -> nn.Module:
    def block(i: int, o: int, stride: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU())

    return nn.Sequential(block(3, 32, 2), block(32, 64, 2), block(64, 128, 2), block(128, 128, 1), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten())


def steps(model: nn.Module, ids: Tensor, size: int) -> Iterator[tuple[int, Tensor]]:
    """Epochs and whole batches of ids; after each the optimizer takes a step."""
    size = min(size, len(ids))
    count = options.epochs * (len(ids) // size)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=count, pct_start=min(0.1 + 1 / count, 0.2))
    for epoch in range(options.epochs):
        for batch in ids[torch.randperm(len(ids))].split(size)[:len(ids) // size]:
            optimizer.zero_grad()
            yield epoch, batch
            optimizer.step()
            schedule.step()


def pretrain(body: nn.Module, recipe: am.Recipe, ids: Tensor, seed: int) -> list[float]:
    """The net learns which two views are of one picture, by no label. Returns each epoch's loss."""
    head = nn.Sequential(nn.Linear(128, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 64))
    pair = am.views(pair=(recipe, 2))
    losses: list[list[float]] = [[] for _ in range(options.epochs)]
    for epoch, batch in steps(nn.ModuleList([body, head]), ids, options.batch_size):
        plans = pair.plan(batch, size=SIZE, seed=seed, epoch=epoch)
        both = am.render(images[batch], plans)["pair"]  # [2, B, 3, H, W]
        first, second = head(body(both.flatten(0, 1))).chunk(2)
        loss = am.nt_xent(first, second, options.temperature)
        loss.backward()
        losses[epoch].append(loss.item())
    return [mean(each) for each in losses]


def learn(net: nn.Module, recipe: am.Recipe, ids: Tensor, seed: int) -> list[float]:
    """The net learns the categories. Returns each epoch's loss."""
    losses: list[list[float]] = [[] for _ in range(options.epochs)]
    for epoch, batch in steps(net, ids, options.batch_size // 4):
        shown = am.render(images[batch], recipe.plan(batch, size=SIZE, seed=seed, epoch=epoch))
        loss = F.cross_entropy(net(shown), labels[batch])
        loss.backward()
        losses[epoch].append(loss.item())
    return [mean(each) for each in losses]


@torch.no_grad()
def outputs(net: nn.Module, ids: Tensor) -> Tensor:
    return torch.cat([net(am.render(images[batch], SEEN.plan(batch, size=SIZE))) for batch in ids.split(256)])


def probe(body: nn.Module, train: Tensor, test: Tensor) -> float:
    """Right of 100, by a logistic regression whose strength is chosen by cross-validation of what it learns from."""
    body.eval()
    regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    grid = GridSearchCV(regression, {"logisticregression__C": [0.001, 0.01, 0.1, 1]}, cv=3)
    grid.fit(outputs(body, train).numpy(), labels[train].numpy())
    return 100 * float(grid.score(outputs(body, test).numpy(), labels[test].numpy()))


def sheet(ids: Tensor) -> Image.Image:
    """Each picture, and two views of it by each recipe."""
    columns = [images[ids].permute(0, 2, 3, 1).numpy()]
    for recipe in VIEWS.values():
        both = am.render(images[ids], am.views(pair=(recipe, 2)).plan(ids, size=SIZE))["pair"]
        columns += [displayable(view, recipe) for view in both]
    return contact_sheet(list(zip(*columns, strict=True)), cell=96, titles=["picture", *(name for name in VIEWS for _ in (0, 1))])


images, labels, third = pictures()
if options.sheet:
    sheet(torch.cat([(labels == label).nonzero()[:1, 0] for label in range(int(labels.max()) + 1)])).save(options.sheet)
rights: dict[str, list[float]] = {}
spans: dict[str, list[list[float]]] = {}
for seed in range(options.seeds):
    known, named = third != seed, labels >= 0
    everything, train, test = (ids.nonzero()[:, 0] for ids in (known, known & named, ~known & named))
    print(f"run {seed}: {len(everything)} pictures, of which {len(train)} have labels that are used; {len(test)} to test with")

    def report(name: str, right: float, losses: list[float], began: float, seed: int = seed) -> None:
        rights.setdefault(name, []).append(right)
        spans.setdefault(name, []).append(losses)
        course = "".join(f" {losses[len(losses) * k // 4]:.2f}" for k in range(4)) + f" {losses[-1]:.2f}" if losses else " none"
        print(f"{name}, run {seed}: loss{course}; right {right:.1f} %; {time.process_time() - began:.0f} s", flush=True)

    for name, recipe in VIEWS.items():
        began = time.process_time()
        torch.manual_seed(seed)
        body = network()
        losses = pretrain(body, recipe, everything, seed)
        report(f"{name}; probe", probe(body, train, test), losses, began)
    began = time.process_time()
    torch.manual_seed(seed)
    body = network()
    for _ in range(30):  # for batch norm's statistics
        outputs(body, everything)
    report("nothing learnt; probe", probe(body, train, test), [], began)
    for name, recipe in {"crops, flips": CROPS, "SimCLR's views": VIEWS["SimCLR"]}.items():
        began = time.process_time()
        torch.manual_seed(seed)
        net = nn.Sequential(network(), nn.Linear(128, int(labels.max()) + 1))
        losses = learn(net, recipe, train, seed)
        right = 100 * (outputs(net.eval(), test).argmax(1) == labels[test]).float().mean().item()
        report(f"taught the categories; {name}", right, losses, began)


def spread(numbers: list[float], sign: str = "") -> str:
    return f"{mean(numbers):{sign}.1f}" + (f" ± {stdev(numbers):.1f}" if len(numbers) > 1 else "")


first = next(iter(rights.values()), [])
print("| learnt from | right, % | more than by SimCLR's views | loss of the first and last epoch |\n|---|---|---|---|")
for name, numbers in rights.items():
    more = [a - b for a, b in zip(numbers, first, strict=True)]
    ends = [f"{mean(one[at] for one in spans[name]):.2f}" for at in (0, -1) if spans[name][0]]
    print(f"| {name} | {spread(numbers)} | {spread(more, '+') if any(more) else ''} | {', '.join(ends)} |")
