"""The same with Accelerate, on one device or many: accelerate launch train_accelerate.py FOLDER   (FOLDER/class/*.jpg).

Every process gets its own share of one common order, so the result does not depend on how a sample
travelled: an augmentation is keyed by the sample's id, not by the process that rendered it.
"""

import argparse
from pathlib import Path

import torch
from accelerate import Accelerator
from torch.nn import functional as F

import anamorph as am
from anamorph.cli.train import small_net


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=64, help="per process")
    parser.add_argument("--size", type=int, default=96)
    options = parser.parse_args()

    accelerator = Accelerator()
    classes = sum(entry.is_dir() for entry in options.folder.iterdir())
    recipe = am.Recipe(
        [
            am.RandomResizedCrop(options.size, scale=(0.3, 1.0), antialias=True),
            am.RandomHorizontalFlip(),
            am.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3),
            am.RandomErasing(p=0.15),
            am.OneOf([am.MixUp(0.4), am.CutMix(1.0), am.ResizeMix()], p=0.5),
            am.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ],
        num_classes=classes,
    )
    # The Loader is its own sharded, device-side loader; only the net and the optimizer need preparing.
    loader = am.Loader(
        options.folder, recipe, batch_size=options.batch_size, device=accelerator.device, seed=0,
        shard=(accelerator.process_index, accelerator.num_processes),
    )
    net = small_net(classes, options.size, width=32)
    net, optimizer = accelerator.prepare(net, torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.05))

    for epoch in range(options.epochs):
        total = 0.0
        for images, targets in loader:
            with accelerator.autocast():
                loss = F.cross_entropy(net(images), targets)
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()
            total += loss.detach()
        mean = accelerator.reduce(total / len(loader), reduction="mean")
        accelerator.print(f"epoch {epoch + 1}: loss {float(mean):.3f}")


if __name__ == "__main__":
    main()
