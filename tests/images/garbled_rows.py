"""Renders plans whose rows hold anything, as a damaged file might. Run as a program: it dies where something is believed."""

import sys

import torch

import anamorph as am

RECIPES = [
    [am.RandomResizedCrop(20), am.RandomAffine(10, interpolation="bilinear"), am.ColorJitter(0.4, 0.4), am.RandomErasing(1.0),
     am.ResizeMix()],
    [am.RandomResizedCrop(20), am.RandomField(0.1, 5, 0.1, 5, 0.3, 0.3, 0.3, 0.1), am.RandomPerspective(), am.ResizeMix()],
    [am.RandomCrop(20), am.GridMask((3, 9), p=1.0), am.HideAndSeek((4,)), am.ResizeMix()],
    [am.Resize((9, 7), "bicubic")],
    [am.RandomCrop(30, 3, padding_mode="reflect"), am.Resize(8)],
    [am.Resize(6), am.RandomRotation(30, fill=3), am.Resize((40, 40))],
    [am.Resize((16, 16)), am.RandomCrop(24, 5, padding_mode="symmetric"), am.RandomPerspective(0.5, 1.0),
     am.ColorJitter(hue=0.2)],
    [am.LetterBox(40), am.RandomInvert(1.0), am.RandomRotation(90, "bicubic", expand=True), am.Resize((9, 12))],
]
ODD = torch.tensor([float("nan"), float("inf"), -1e30, 1e20, 3.0, -7.0]).view(torch.int32)


def main(tries=300):
    random = torch.Generator().manual_seed(0)
    for transforms in RECIPES:
        recipe = am.Recipe(transforms)
        plan = recipe.plan(range(4), size=(24, 31))
        good = plan.rows.clone()
        for dtype in (torch.uint8, torch.float32, torch.bfloat16, "planar"):
            images = torch.randint(0, 255, (4, 24, 31, 3), dtype=torch.uint8, generator=random)
            images = images.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1) if dtype == "planar" else images.to(dtype)
            for k in range(tries):
                places = torch.randint(0, good.numel(), (1 + k % 6,), generator=random)
                values = torch.randint(-2**31, 2**31 - 1, (len(places),), generator=random).to(torch.int32)
                plan.rows = good.clone()
                plan.rows.view(-1)[places] = ODD[:len(places)] if k % 3 == 0 else values
                am.render(images, plan)
    print("nothing was believed")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
