"""A plain PyTorch loop on an image folder: python train_plain.py FOLDER   (FOLDER/class/*.jpg)."""

import argparse
from pathlib import Path

import torch
from torch.nn import functional as F

import anamorph as am
from anamorph.cli.train import small_net

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("folder")
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--batch-size", type=int, default=64)
parser.add_argument("--size", type=int, default=96)
options = parser.parse_args()

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
half = torch.float16 if device.type == "cuda" else torch.float32


def make_recipe(classes: int) -> am.Recipe:
    """Everything up to the net's input, labels included, in one recipe."""
    return am.Recipe(
        [
            am.RandomResizedCrop(options.size, scale=(0.3, 1.0), antialias=True),
            am.RandomHorizontalFlip(),
            am.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3),
            am.OneOf([am.MixUp(0.4), am.CutMix(1.0), am.ResizeMix()], p=0.5),
            am.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ],
        dtype=half,
        num_classes=classes,
        memory_format="channels_last",
    )


classes = sum(entry.is_dir() for entry in Path(options.folder).iterdir())
loader = am.Loader(options.folder, make_recipe(classes), batch_size=options.batch_size, device=device, seed=0)
net = small_net(classes, options.size, width=32).to(device, memory_format=torch.channels_last)
optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.05)
scaler = torch.amp.GradScaler(device.type, enabled=half == torch.float16)

for epoch in range(options.epochs):
    total = 0.0
    for images, targets in loader:  # images [B, 3, H, W], soft targets [B, classes], both on the device
        with torch.autocast(device.type, dtype=half, enabled=half != torch.float32):
            loss = F.cross_entropy(net(images), targets)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        total += loss.detach()
    print(f"epoch {epoch + 1}: loss {float(total) / len(loader):.3f}, waited {loader.wait_time:.2f} s for data")
