"""What the user gave as ``source``, made a Source."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anamorph.core.errors import ArgumentError
from anamorph.data.array import ArraySource
from anamorph.data.dataset import DatasetSource
from anamorph.data.folder import IMAGE_SUFFIXES, FolderSource
from anamorph.data.source import Source
from anamorph.data.tar import TarSource


def expand(pattern: str) -> list[str]:
    """Shell braces (``{000..012}``, ``{a,b}``) and then wildcards to paths, in order."""
    match = re.search(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}", pattern)
    if match:
        if match[3] is not None:
            parts = match[3].split(",")
        else:
            width = len(match[1]) if match[1].startswith("0") else 0
            parts = [str(number).zfill(width) for number in range(int(match[1]), int(match[2]) + 1)]
        head, tail = pattern[: match.start()], pattern[match.end() :]
        return [path for part in parts for path in expand(head + part + tail)]
    if glob.has_magic(pattern) and not os.path.exists(pattern):
        return sorted(glob.glob(pattern))
    return [pattern]


def open_source(source: Any, channels: int, labels: bool = True, allow_empty: bool = False) -> Source:
    """The Source for what the user gave (DALI pipelines are handled before)."""
    opened = _open(source, channels, labels, allow_empty)
    if allow_empty and not isinstance(opened, FolderSource):
        raise ArgumentError(f"allow_empty: expected an image folder as the source, given {type(source).__name__}")
    if len(opened) == 0:
        raise ArgumentError("source: expected at least one sample, given none")
    if not labels:
        opened.labels = None
    return opened


def _open(source: Any, channels: int, labels: bool, allow_empty: bool) -> Source:
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        return FolderSource(Path(path), allow_empty) if os.path.isdir(path) else TarSource(_tars([path]), labels)
    if isinstance(source, (list, tuple)) and source and all(isinstance(s, (str, os.PathLike)) for s in source):
        return TarSource(_tars([os.fspath(s) for s in source]), labels)
    if isinstance(source, (np.ndarray, torch.Tensor)):
        return ArraySource(source)
    if isinstance(source, (tuple, list)) and len(source) == 2 and isinstance(source[0], (np.ndarray, torch.Tensor)):
        return ArraySource(source[0], source[1] if labels else None)
    if isinstance(source, torch.utils.data.IterableDataset):
        raise ArgumentError("source: expected a map-style dataset, whose samples have numbers to shuffle, shard and replay by, "
                            f"given the IterableDataset {type(source).__name__}")
    if isinstance(source, torch.utils.data.DataLoader):
        raise ArgumentError("source: expected the dataset itself, given a DataLoader; Loader(loader.dataset, ...)")
    if hasattr(source, "__getitem__") and hasattr(source, "__len__") and not isinstance(source, (tuple, list, dict)):
        return DatasetSource(source, channels, labels)
    given = type(source).__name__
    if isinstance(source, dict):
        given += f" of {', '.join(map(repr, source))}"  # Hugging Face's DatasetDict among them
    raise ArgumentError(
        "source: expected an image folder, WebDataset tar path(s), a uint8 [N, H, W, C] array or an (images, labels) tuple, "
        f"a map-style torch Dataset, or a DALI pipeline, given {given}"
    )


def _tars(patterns: list[str]) -> list[str]:
    paths = []
    for pattern in patterns:
        found = expand(pattern)
        if not found:
            raise ArgumentError(f"source: expected a pattern of tar files, given {pattern!r}, which nothing matches")
        paths += found
    for path in paths:
        what = None
        if not os.path.exists(path):
            what = "which does not exist"
        elif os.path.isdir(path):
            what = "which is a folder; a list names WebDataset tar files"
        elif path.lower().endswith(IMAGE_SUFFIXES):
            what = "which is an image"
        if what:
            raise ArgumentError(f"source: expected a folder of class folders, or WebDataset tar files, given {path!r}, {what}")
    return paths
