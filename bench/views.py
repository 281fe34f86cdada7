"""Several views of each picture: DINO's ten against torchvision v2, and a weak and a strong view that share their geometry
against one view: one thread, engines in turns.

    python bench/views.py                      # microseconds and ratios; bench's extras bring the peers

Pictures of 375 x 500 bytes. DINO's crops are two of 224 and eight of 96 pixels with jitter, blur and solarize; torchvision's are
its own transforms one after the other, as DINO's code lists them.
"""

from __future__ import annotations

import argparse
import time

import torch
from skimage import data

import anamorph as am
from anamorph.bench._torchvision import v2
from anamorph.bench.rounds import Contender, race, steady

BATCH, THEIRS, SIZE = 16, 2, (375, 500)  # THEIRS: of the pictures, which is enough to time torchvision by


def contenders() -> list[Contender]:
    picture = torch.from_numpy(data.astronaut().copy())
    images = torch.stack([picture[i:i + SIZE[0], :SIZE[1]] for i in range(0, 8 * BATCH, 8)])
    planar, ids, T = images.permute(0, 3, 1, 2).contiguous(), torch.arange(BATCH), v2()
    dino = am.presets.dino()
    crops = am.views({"global_1": dino["global_1"], "global_2": dino["global_2"], "local": (dino["local"], 8)})

    def chain(side: int, scale: tuple[float, float], blur: float, solarize: float) -> object:
        jitter = T.RandomApply([T.ColorJitter(0.4, 0.4, 0.2, 0.1)], 0.8)
        return T.Compose([T.RandomResizedCrop(side, scale, interpolation=T.InterpolationMode.BICUBIC), T.RandomHorizontalFlip(),
                          jitter, T.RandomGrayscale(0.2), T.RandomApply([T.GaussianBlur(23, (0.1, 2.0))], blur),
                          T.RandomSolarize(128, solarize), T.ToDtype(torch.float32, scale=True),
                          T.Normalize(am.presets.MEAN, am.presets.STD)])

    chains = [chain(224, (0.4, 1.0), 1.0, 0.0), chain(224, (0.4, 1.0), 0.1, 0.2), *[chain(96, (0.05, 0.4), 0.5, 0.0)] * 8]
    geometry = [am.RandomResizedCrop(224), am.RandomHorizontalFlip()]
    normalize = am.Normalize(am.presets.MEAN, am.presets.STD)
    weak, jitter = am.Recipe([*geometry, normalize]), [am.ColorJitter(0.4, 0.4, 0.4, 0.1), am.RandomGrayscale(0.2)]
    strong = am.Recipe([*geometry, *jitter, normalize, am.RandomErasing(0.5)])
    policy = am.Recipe([*geometry, am.RandAugment(2, 9), normalize])  # more than half of its draws move pixels further

    def ours(name: str, recipe: am.Recipe | am.Views) -> Contender:
        return Contender(name, 1, lambda: am.render(images, recipe.plan(ids, size=SIZE)), BATCH)

    return [ours("DINO's 2 + 8 views", crops),
            Contender("torchvision v2's", 1, lambda: [[c(planar[i]) for c in chains] for i in range(THEIRS)], THEIRS),
            ours("a weak view", weak), ours("a strong view", strong),
            ours("both, of one geometry", am.views(weak=weak, strong=strong, share_geometry=True)),
            ours("a view by RandAugment", policy),
            ours("a weak one and that, of one geometry", am.views(weak=weak, strong=policy, share_geometry=True))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    racing = contenders()
    with steady():
        race(racing, options.rounds, options.seconds, torch.device("cpu"), warm_ups=2, clock=time.process_time)
    dino, theirs, weak, *pairs = racing
    for c in racing:
        print(f"{c.name}: {c.error or f'{1e6 / c.rate:,.0f} microseconds a picture'}")
    if not theirs.error:
        print(f"DINO's views: {dino.rate / theirs.rate:.1f}x torchvision v2")
    for strong, both in (pairs[:2], pairs[2:]):
        print(f"{both.name}: {strong.rate / both.rate:.2f} of the strong view, {weak.rate / both.rate:.2f} of the weak one, "
              f"{2 / both.rate / (1 / weak.rate + 1 / strong.rate):.2f} of one in the mean")


if __name__ == "__main__":
    main()
