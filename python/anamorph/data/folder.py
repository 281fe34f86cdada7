"""Image folders, one folder a class, and the files in them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from anamorph.core.errors import ArgumentError, DecodeError
from anamorph.data.labels import Label
from anamorph.data.source import Source

# What torchvision.datasets.ImageFolder takes for an image.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


class FolderSource(Source):
    """``root/class/**/image.jpg``: sorted class names are the labels, as in torchvision's ImageFolder."""

    encoded = True

    def __init__(self, root: Path, allow_empty: bool = False):
        self.root = root
        self.classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
        if not self.classes:
            raise ArgumentError(
                f"source: expected an image folder with one subfolder per class, given {str(root)!r}, which has no subfolders"
                " (of WebDataset shards give the tar paths or a pattern such as 'shards/*.tar')"
            )
        self._paths: list[str] = []
        labels: list[int] = []
        for label, name in enumerate(self.classes):
            found = pictures(root / name)
            if not found and not allow_empty:
                raise ArgumentError(
                    f"source: expected files ending in {', '.join(IMAGE_SUFFIXES)} in every class folder, given "
                    f"{str(root / name)!r}, which holds no image (allow_empty=True takes it as a class without samples)"
                )
            self._paths += found
            labels += [label] * len(found)
        self.labels = np.array(labels, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._paths)

    def name(self, index: int) -> str:
        return self._paths[index]

    def load(self, index: int) -> tuple[np.ndarray, Label | None]:
        return contents(self._paths[index]), self.label(index)


def contents(path: str | Path) -> np.ndarray:
    """The bytes of a file, uint8 [N]; DecodeError where it cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            return np.frombuffer(file.read(), dtype=np.uint8)
    except OSError as error:
        raise DecodeError(f"{path}: cannot be read ({error.strerror or error})") from error


def pictures(folder: str | Path) -> list[str]:
    """The image files in and below a folder, in ImageFolder's order."""
    return files_of(folder, IMAGE_SUFFIXES)


def files_of(folder: str | Path, suffixes: tuple[str, ...]) -> list[str]:
    """The files in and below a folder whose names end in one of some suffixes, in ImageFolder's order."""
    return [os.path.join(place, file) for place, files in sorted(_walk(str(folder), suffixes)) for file in sorted(files)]


def _walk(folder: str, suffixes: tuple[str, ...], above: tuple[str, ...] = ()) -> Iterator[tuple[str, list[str]]]:
    """(folder, files) of a folder and those below it; ``above`` are the real paths of its parents."""
    real = os.path.realpath(folder)
    if real in above:  # a link to a parent
        return
    files = []
    for entry in os.scandir(folder):
        if entry.is_dir():
            yield from _walk(entry.path, suffixes, (*above, real))
        # Reading a pipe or a device could wait for ever. A broken link is reported when it is read.
        elif entry.name.lower().endswith(suffixes) and (entry.is_file() or not os.path.exists(entry.path)):
            files.append(entry.name)
    yield folder, files
