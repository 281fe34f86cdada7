"""WebDataset shards: tar files whose members of one key make one sample."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from anamorph.core.errors import ArgumentError, DecodeError
from anamorph.data.background import Gate
from anamorph.data.folder import IMAGE_SUFFIXES
from anamorph.data.labels import Label, column, form, label_of
from anamorph.data.source import Source

# A key ends at the first dot of the base name, WebDataset's rule; what follows is the member's suffix.
_KEY = re.compile(r"^((?:.*/|)[^./][^/.]*)\.([^/]*)$")
_LABELS = ("cls", "json", "txt")  # the members that may hold a label; the first that a sample has does
_NO_LABELS = "(labels=False takes the pictures alone)"


@dataclass
class _Sample:
    """The members of one key."""

    pictures: dict[str, tuple[int, int, int, str]] = field(default_factory=dict)  # suffix: shard, offset, size, name
    texts: dict[str, tuple[str, bytes]] = field(default_factory=dict)  # suffix: name, contents
    others: list[str] = field(default_factory=list)  # names


class TarSource(Source):
    """Members ``key.jpg`` (or another picture) and ``key.cls`` (or .json, or .txt) make one sample.

    The headers are read once, here; a sample is then read by its offset, so that the order of an
    epoch is a permutation of all samples and not only of the shards.
    """

    encoded = True

    def __init__(self, paths: list[str], labels: bool = True):
        self._paths = paths
        self._members: list[tuple[int, int, int, str]] = []  # shard, offset, size, name
        self._files: dict[int, io.FileIO] = {}
        self._gate = Gate()
        found: list[Label | None] = []
        for shard, path in enumerate(paths):
            for key, sample in _samples(shard, path, labels).items():
                if sample.pictures:
                    self._members.append(_picture(path, key, sample.pictures))
                    found.append(_label(path, sample) if labels else None)
                elif "cls" in sample.texts:
                    raise ArgumentError(f"source: expected a picture ({', '.join(IMAGE_SUFFIXES)}) beside every label, given "
                                        f"{path}:{sample.texts['cls'][0]} without one")
        if not self._members:
            raise ArgumentError(f"source: expected members ending in {', '.join(IMAGE_SUFFIXES)}, given none in "
                                + ", ".join(paths))
        first = form(found[0])
        for index, label in enumerate(found):
            if form(label) != first:
                raise ArgumentError(f"source: expected a label of one form for every sample or none for any, given "
                                    f"{form(label)} for {self.name(index)} and {first} for {self.name(0)} {_NO_LABELS}")
        self.labels = column(found)

    def __len__(self) -> int:
        return len(self._members)

    def name(self, index: int) -> str:
        shard, _, _, name = self._members[index]
        return f"{self._paths[shard]}:{name}"

    def load(self, index: int) -> tuple[np.ndarray, Label | None]:
        shard, offset, size, _ = self._members[index]
        try:
            with self._gate:
                if shard not in self._files:
                    self._files[shard] = io.FileIO(self._paths[shard])
                file = self._files[shard]
            data = os.pread(file.fileno(), size, offset)  # has no file position to share between threads
        except OSError as error:
            raise DecodeError(f"{self.name(index)}: cannot be read ({error.strerror or error})") from error
        if len(data) < size:
            raise DecodeError(f"{self.name(index)}: the archive ends after {len(data)} of its {size} bytes")
        return np.frombuffer(data, dtype=np.uint8), self.label(index)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}}  # open files cannot be copied

    def __del__(self) -> None:
        for file in getattr(self, "_files", {}).values():
            file.close()


def _samples(shard: int, path: str, labels: bool) -> dict[str, _Sample]:
    """The samples of one archive by their keys, in its order."""
    samples: dict[str, _Sample] = {}
    try:
        with tarfile.open(path, "r:") as tar:  # "r:" refuses compression: it has no offsets
            for member in tar:
                match = _KEY.match(member.name)
                if not match or not member.isfile():
                    continue
                key, suffix = match[1], match[2].lower()
                sample = samples.setdefault(key, _Sample())
                if f".{suffix}".endswith(IMAGE_SUFFIXES):
                    if suffix in sample.pictures:
                        raise _two(path, key, sample.pictures[suffix][3], member.name)
                    sample.pictures[suffix] = shard, member.offset_data, member.size, member.name
                elif not labels:
                    continue
                elif suffix in _LABELS:
                    file = tar.extractfile(member)
                    assert file is not None  # as isfile() said
                    sample.texts[suffix] = member.name, file.read()
                else:
                    sample.others.append(member.name)
            _check_end(path, tar.offset)
    except FileNotFoundError:
        raise ArgumentError(f"source: expected a tar file, given {path!r}, which does not exist") from None
    except (tarfile.TarError, OSError) as error:
        raise DecodeError(f"{path}: not a readable, uncompressed tar archive ({error})") from error
    return samples


def _picture(path: str, key: str, pictures: dict[str, tuple[int, int, int, str]]) -> tuple[int, int, int, str]:
    """The picture of a sample: the one whose suffix is a picture's alone (x.jpg beside x.mask.png), or else the only one."""
    plain = [suffix for suffix in pictures if "." not in suffix] or list(pictures)
    if len(plain) > 1:
        raise _two(path, key, *(pictures[suffix][3] for suffix in plain[:2]))
    return pictures[plain[0]]


def _two(path: str, key: str, one: str, other: str) -> ArgumentError:
    return ArgumentError(f"source: expected one picture for each key, given {path}:{one} and {other} for the key {key!r}, which "
                         "ends at the first dot")


def _label(path: str, sample: _Sample) -> Label | None:
    for suffix in _LABELS:
        if suffix in sample.texts:
            name, data = sample.texts[suffix]
            return _parsed(f"{path}:{name}", suffix, data)
    if sample.others:
        raise ArgumentError(f"source: expected the label in a member ending in .cls, .json or .txt, given "
                            f"{path}:{sample.others[0]} {_NO_LABELS}")
    return None


def _parsed(name: str, suffix: str, data: bytes) -> Label:
    """A class id as text; in JSON also a vector, or an object, whose entry "label" or "cls" is the label if it has one."""
    try:
        if suffix != "json":
            return label_of(int(data), lambda: name)
        value = json.loads(data)
        if isinstance(value, dict):
            value = next((value[entry] for entry in ("label", "cls") if entry in value), value)
        return label_of(value, lambda: name)
    except (ValueError, TypeError):
        expected = "a class id" if suffix != "json" else "a class id, a list of numbers, or an object in JSON"
        raise ArgumentError(f"label of {name}: expected {expected}, given {data.strip()[:60]!r} {_NO_LABELS}") from None


def _check_end(path: str, offset: int) -> None:
    # tarfile takes any header it cannot read for the end of the archive, and says nothing.
    with open(path, "rb") as file:
        file.seek(offset)
        while block := file.read(1 << 20):
            if block.count(0) != len(block):
                raise DecodeError(f"{path}: damaged header at byte {offset}")
