"""``anamorph bench --sweep``: recipes x picture sizes x sources x outputs against torchvision, to find the slow corners.

Both libraries get the same memory, one thread and the same recipe, written once for both. On a CPU torchvision takes one picture
after another, as the transform of a Dataset does; on a GPU the whole batch at once with one draw for all of it, which is the best
it can do. Each draws the same views at every step, so its best round is not its luckiest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, product, repeat
from statistics import median
from time import process_time
from typing import Any

import torch

import anamorph as am

from . import ours, peers
from ._torchvision import v2
from .rounds import Contender, race, reason
from .work import MEAN, STD, Step, Work, chain_of, check, photographs

BAR = 2.0  # times torchvision: nothing should be slower
ROUNDS = 5  # of a case
FEWEST, MOST, PIXELS = 4, 16, 2**20  # pictures in a batch, and their pixels together
ON_GPU = 128  # pictures in a batch there

SIZES = (32, 32), (96, 96), (256, 256), (375, 500), (600, 800)
SOURCES: dict[str, Callable[[Work], torch.Tensor]] = {
    "packed uint8": Work.nhwc,
    "planar uint8": Work.nchw,
    "planar float32": lambda work: work.nchw() / 255,
}
OUTPUTS = {str(dtype).removeprefix("torch."): dtype for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.uint8)}


def recipes(T: Any, white: float = 255) -> dict[str, list[Any]]:
    """The recipes before Normalize, from the transforms of ``T``, which is anamorph or torchvision's v2: names, arguments and
    meanings are the same. ``white`` is the source's."""
    modes = v2().InterpolationMode
    linear, cubic = modes.BILINEAR, modes.BICUBIC
    return {
        "benchmark chain": chain_of(T, linear),
        "flip": [T.RandomHorizontalFlip()],
        "Resize(256), CenterCrop(224)": [T.Resize(256), T.CenterCrop(224)],
        "Resize(256, bicubic), CenterCrop(224)": [T.Resize(256, cubic), T.CenterCrop(224)],
        "Resize((256, 256)), CenterCrop(224)": [T.Resize((256, 256)), T.CenterCrop(224)],
        "Resize((224, 224), bicubic)": [T.Resize((224, 224), cubic)],
        "Resize((64, 64))": [T.Resize((64, 64))],
        "Resize((224, 224), bicubic), rotation": [T.Resize((224, 224), cubic), T.RandomRotation(30, linear)],
        "Resize(16), rotation, Resize(224)": [T.Resize(16), T.RandomRotation(10, linear), T.Resize(224)],
        "RandomResizedCrop, flip": [T.RandomResizedCrop(224), T.RandomHorizontalFlip()],
        "RandomResizedCrop(bicubic), flip": [T.RandomResizedCrop(224, interpolation=cubic), T.RandomHorizontalFlip()],
        "RandomResizedCrop(bicubic), rotation": [T.RandomResizedCrop(224, interpolation=cubic), T.RandomRotation(30, linear)],
        "RandomResizedCrop, flip, jitter, grayscale": [
            T.RandomResizedCrop(224), T.RandomHorizontalFlip(), T.RandomApply([T.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8),
            T.RandomGrayscale(0.2)],
        "RandomCrop(32, padding), flip": [T.RandomCrop(32, padding=4, pad_if_needed=True), T.RandomHorizontalFlip()],
        "Resize(224, bicubic), RandomCrop(reflect), flip": [
            T.Resize(224, cubic), T.RandomCrop(224, padding=4, padding_mode="reflect"), T.RandomHorizontalFlip()],
        "rotation, nearest": [T.RandomRotation(30)],
        "affine": [T.RandomAffine(15, (0.1, 0.1), (0.9, 1.1), 5, linear)],
        "perspective": [T.RandomPerspective(0.5, 1.0)],
        "jitter": [T.ColorJitter(0.4, 0.4, 0.4, 0.1)],
        "brightness, contrast": [T.ColorJitter(0.4, 0.4)],
        "grayscale": [T.RandomGrayscale(1.0)],
        "posterize": [T.RandomPosterize(4, 1.0)],
        "solarize": [T.RandomSolarize(white / 2, 1.0)],
        "invert": [T.RandomInvert(1.0)],
        "erasing": [T.RandomErasing(1.0)],
        "erasing, random": [T.RandomErasing(1.0, value="random")],
    }


@dataclass(frozen=True)
class Case:
    """One line of the sweep."""

    size: tuple[int, int]
    source: str
    recipe: str
    output: str

    def __str__(self) -> str:
        return f"{self.recipe}, {self.size[0]}x{self.size[1]} {self.source} to {self.output}"

    def transforms(self, T: Any) -> tuple[list[Any], list[Any]]:
        """What comes before Normalize, and what comes after it: erasing, as in torchvision's own training script."""
        steps = recipes(T, 1 if self.source == "planar float32" else 255)[self.recipe]
        late = [t for t in steps if isinstance(t, T.RandomErasing)]
        return [t for t in steps if t not in late], late

    def ours(self, images: torch.Tensor) -> Step:
        """A step of anamorph's."""
        early, late = self.transforms(am)
        dtype = OUTPUTS[self.output]
        normalize = [am.Normalize(MEAN, STD)] if dtype.is_floating_point else []
        return ours.eager(am.Recipe([*early, *normalize, *late], dtype), images, self.size, repeat(0))

    def theirs(self, images: torch.Tensor) -> Step:
        """A step of torchvision's."""
        T, dtype = v2(), OUTPUTS[self.output]
        early, late = self.transforms(T)
        normalize = [T.ToDtype(torch.float32, scale=True), T.Normalize(MEAN, STD)] if dtype.is_floating_point else []
        pictures = images.permute(0, 3, 1, 2) if self.source == "packed uint8" else images  # as decoders give them
        transform = T.Compose([*early, *normalize, *late, T.ToDtype(dtype, scale=not normalize)])
        step = (lambda: transform(pictures)) if images.is_cuda else peers.per_sample(transform, pictures)

        def seeded() -> torch.Tensor:
            torch.manual_seed(0)
            return step()

        return seeded


def cases(quick: bool = False, only: str = "") -> list[Case]:
    """The cases; a quick sweep has two sizes and float32 out. ``only``: words that a case's line has, parted by commas."""
    sizes, outputs = (SIZES[2:4], ["float32"]) if quick else (SIZES, list(OUTPUTS))
    words = [word.strip().lower() for word in only.split(",")]
    found = (Case(*parts) for parts in product(sizes, SOURCES, recipes(am), outputs))
    # Normal noise is not a byte.
    return [c for c in found if (c.recipe, c.output) != ("erasing, random", "uint8") and all(w in str(c).lower() for w in words)]


def run(chosen: Sequence[Case], device: torch.device, seconds: float, status: Callable[[str], None]) -> dict[str, Any]:
    """Race each case by itself, for about ``seconds``; its row, the slowest ratio first, and what all of them say together."""
    rows: list[dict[str, Any]] = []
    for (size, source), same in groupby(chosen, lambda case: (case.size, case.source)):
        count = ON_GPU if device.type == "cuda" else min(max(PIXELS // (size[0] * size[1]), FEWEST), MOST)
        images = SOURCES[source](Work(photographs(count, size), device))
        for case in same:
            status(f"{len(rows) + 1} of {len(chosen)}: {case}")
            rows.append(measure(case, images, seconds))
    rows.sort(key=lambda row: row["ratio"] or 0)  # what failed comes first
    ratios = [row["ratio"] for row in rows if row["ratio"]]
    return {"sweep": rows, "device": device.type, "median": median(ratios) if ratios else None,
            "below": sum(r < BAR for r in ratios), "outputs": output_speeds(rows)}


def output_speeds(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """How fast anamorph is with the other outputs, by its speed with float32: medians over the cases."""
    speeds: dict[str, dict[Any, float]] = {output: {} for output in OUTPUTS}
    for row in rows:
        if row["ratio"]:
            speeds[row["output"]][row["recipe"], row["size"], row["source"]] = row["images_per_second"]
    plain = speeds.pop("float32")
    both = {output: [speed / plain[case] for case, speed in other.items() if case in plain] for output, other in speeds.items()}
    return {output: median(ratios) for output, ratios in both.items() if ratios}


def measure(case: Case, images: torch.Tensor, seconds: float) -> dict[str, Any]:
    """A case's row."""
    row: dict[str, Any] = {"case": str(case), **asdict(case), "images_per_second": None, "torchvision": None, "ratio": None,
                           "error": None}
    try:
        ours, theirs = case.ours(images), case.theirs(images)
        check(ours(), theirs().shape, OUTPUTS[case.output])
    except Exception as error:  # the other cases go on
        return row | {"error": reason(error)}
    a, b = (Contender(str(case), 1, step, len(images)) for step in (ours, theirs))
    race([a, b], ROUNDS, seconds, images.device, warm_ups=1, clock=process_time)  # whatever else the machine does meanwhile
    if a.error or b.error:
        return row | {"error": a.error or b.error}
    return row | {"images_per_second": a.best, "torchvision": b.best, "ratio": a.best / b.best}
