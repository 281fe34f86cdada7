"""The same in Lightning: python train_lightning.py FOLDER   (FOLDER/train/class/*.jpg, FOLDER/val/class/*.jpg).

The Loader already shuffles, augments and puts batches on the device, so the Trainer takes it as it is.
"""

import argparse
from pathlib import Path

import lightning
import torch
from torch.nn import functional as F

import anamorph as am
from anamorph.cli.train import small_net

NORMALIZE = am.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Classifier(lightning.LightningModule):
    """A small net that learns from soft targets."""

    def __init__(self, classes: int, size: int):
        super().__init__()
        self.net = small_net(classes, size, width=32)

    def training_step(self, batch, _):
        images, targets = batch
        loss = F.cross_entropy(self.net(images), targets)
        self.log("loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch, _):
        images, targets = batch
        right = self.net(images).argmax(1) == targets.argmax(1)
        self.log("accuracy", right.float().mean(), prog_bar=True, batch_size=len(images))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=2e-3, weight_decay=0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--size", type=int, default=96)
    options = parser.parse_args()

    classes = sum(entry.is_dir() for entry in (options.folder / "train").iterdir())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    augmented = am.Recipe(
        [
            am.RandomResizedCrop(options.size, scale=(0.3, 1.0), antialias=True),
            am.RandomHorizontalFlip(),
            am.OneOf([am.MixUp(0.4), am.CutMix(1.0)], p=0.5),
            NORMALIZE,
        ],
        num_classes=classes,
    )
    plain = am.Recipe([am.Resize((options.size, options.size), antialias=True), NORMALIZE], num_classes=classes)
    train = am.Loader(options.folder / "train", augmented, batch_size=options.batch_size, device=device, seed=0)
    val = am.Loader(options.folder / "val", plain, batch_size=options.batch_size, device=device, shuffle=False)

    # One device: on several, give every rank's Loader its device and shard=(rank, world).
    trainer = lightning.Trainer(max_epochs=options.epochs, devices=1, logger=False, enable_checkpointing=False)
    trainer.fit(Classifier(classes, options.size), train, val)


if __name__ == "__main__":
    main()
