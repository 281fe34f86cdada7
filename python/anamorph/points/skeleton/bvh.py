"""Motion files: Biovision's BVH, read to the places of the joints."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from os import PathLike, fspath
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from anamorph.core.errors import ArgumentError, DecodeError
from anamorph.points.skeleton.tree import MOST, Tree

_CHANNELS = {f"{axis}{kind}": (kind, "XYZ".index(axis)) for axis in "XYZ" for kind in ("position", "rotation")}
_KINDS = {name.lower(): value for name, value in _CHANNELS.items()}


@dataclass
class _Joint:
    name: str
    parent: int
    offset: tuple[float, ...] = (0.0, 0.0, 0.0)
    channels: list[tuple[str, int]] = field(default_factory=list)


def read_bvh(path: str | PathLike[str]) -> tuple[Tree, Tensor, float]:
    """A motion file's skeleton, and where its joints are in each frame.

    A joint's rotations are taken in the order in which the file names them, the first one outermost: Zrotation Xrotation
    Yrotation is Rz Rx Ry. Its position channels are added to its offset. Whole frames after those that the file counts are not
    read.

    Args:
        path: of a BVH file.

    Returns:
        the tree, with the joints' names (end sites are not joints; left and right are not told, give ``pairs`` to a Tree of your
        own for that); float32 ``[T, J, 3]`` in the file's unit and axes (y is mostly up); the time between frames, in seconds.

    Raises:
        DecodeError: a file that is not there, is damaged or holds something else, by its name and what was found.
    """
    if not isinstance(path, str | PathLike):
        raise ArgumentError(f"path: expected a file's path, given {path!r}")
    name = fspath(path)
    try:
        with open(path, encoding="latin-1") as file:  # names may hold anything, the rest is ASCII
            text = file.read()
    except OSError as error:
        raise DecodeError(f"{name}: expected a motion file, which cannot be read ({error.strerror or error})") from error
    reader = _Reader(name, text)
    joints = reader.joints()
    frames, frame_time = reader.frames(sum(len(joint.channels) for joint in joints))
    try:
        tree = Tree(tuple(joint.parent for joint in joints), tuple(joint.name for joint in joints))
    except ArgumentError as error:
        raise DecodeError(f"{name}: {error}") from error
    return tree, torch.from_numpy(_places(joints, frames).astype(np.float32)), frame_time


class _Reader:
    """The words of a file, one after the other."""

    def __init__(self, name: str, text: str) -> None:
        self.name, self.words, self.at = name, text.split(), 0

    def wrong(self, expected: str, given: object) -> NoReturn:
        raise DecodeError(f"{self.name}: expected {expected}, given {given!r}")

    def word(self, expected: str) -> str:
        if self.at >= len(self.words):
            self.wrong(expected, "the end of the file")
        self.at += 1
        return self.words[self.at - 1]

    def must(self, *expected: str) -> None:
        for one in expected:
            found = self.word(one)
            if found.upper() != one.upper():
                self.wrong(one, found)

    def number(self, expected: str) -> float:
        found = self.word(expected)
        try:
            value = float(found)
        except ValueError:
            self.wrong(expected, found)
        if not math.isfinite(value):
            self.wrong(expected, found)
        return value

    def whole(self, expected: str, low: int, high: int) -> int:
        found = self.word(expected)
        if not found.isascii() or not found.isdigit() or not low <= int(found) <= high:
            self.wrong(f"{expected} from {low} to {high}", found)
        return int(found)

    def title(self, first: str, then: tuple[str, ...]) -> str:
        """A joint's name, which some programs write with spaces."""
        parts = [first]
        while self.at < len(self.words) and self.words[self.at] not in then:
            parts.append(self.word("{"))
        return " ".join(parts)

    def joints(self) -> list[_Joint]:
        """The part before MOTION. Told apart by braces, not by lines."""
        self.must("HIERARCHY", "ROOT")
        joints = [_Joint(self.title(self.word("the root's name"), ("{",)), -1)]
        self.must("{")
        open_: list[int | None] = [0]  # the joints whose braces are open; None: an end site
        while open_:
            word = self.word("}")
            here = open_[-1]
            if word == "}":
                open_.pop()
            elif word.upper() == "OFFSET":
                offset = tuple(self.number("an offset of three numbers") for _ in range(3))
                if here is not None:
                    joints[here].offset = offset
            elif here is None:
                self.wrong("OFFSET or } in an end site", word)
            elif word.upper() == "CHANNELS":
                joints[here].channels = [self.channel() for _ in range(self.whole("a number of channels", 0, 6))]
            elif word.upper() == "JOINT":
                joints.append(_Joint(self.title(self.word("a joint's name"), ("{",)), here))
                self.must("{")
                open_.append(len(joints) - 1)
                if len(joints) > MOST:
                    self.wrong(f"at most {MOST} joints", "more")
            elif word.upper() == "END":
                self.must("Site", "{")
                open_.append(None)
            else:
                self.wrong("OFFSET, CHANNELS, JOINT, End Site or }", word)
        return joints

    def channel(self) -> tuple[str, int]:
        found = self.word("a channel")
        if found.lower() not in _KINDS:
            self.wrong(f"one of the channels {', '.join(_CHANNELS)}", found)
        return _KINDS[found.lower()]

    def frames(self, channels: int) -> tuple[np.ndarray, float]:
        """The part from MOTION on: float64 [T, channels], seconds."""
        if not channels:
            self.wrong("channels", "none")
        self.must("MOTION", "Frames:")
        count = self.whole("a number of frames", 1, 10**8)
        self.must("Frame", "Time:")
        seconds = self.number("seconds between frames")
        if seconds <= 0:
            self.wrong("seconds above 0 between frames", seconds)
        rest = self.words[self.at:]
        if len(rest) < count * channels or len(rest) % channels:
            self.wrong(f"{count} frames of {channels} numbers", f"{len(rest)} numbers")
        del rest[count * channels:]  # files with a frame more than they say are about
        try:
            values = np.array(rest, dtype=np.float64).reshape(count, channels)
        except ValueError as error:
            self.wrong("numbers in the frames", str(error))
        if not np.isfinite(values).all():
            self.wrong("finite numbers in the frames", "some that are not")
        return values, seconds


def _places(joints: list[_Joint], frames: np.ndarray) -> np.ndarray:
    """Forward kinematics: float64 [T, J, 3]. A joint stands behind its parent in the file."""
    count, at = len(frames), 0
    places = np.empty((count, len(joints), 3))
    turns: list[np.ndarray] = []
    for j, joint in enumerate(joints):
        moved = np.tile(np.asarray(joint.offset), (count, 1))
        turn = np.tile(np.eye(3), (count, 1, 1))
        for kind, axis in joint.channels:
            if kind == "position":
                moved[:, axis] += frames[:, at]
            else:
                turn = turn @ _about(axis, np.radians(frames[:, at]))
            at += 1
        if joint.parent < 0:
            places[:, j] = moved
        else:
            above = turns[joint.parent]
            places[:, j] = places[:, joint.parent] + np.einsum("tij,tj->ti", above, moved)
            turn = above @ turn
        turns.append(turn)
    return places


def _about(axis: int, angle: np.ndarray) -> np.ndarray:
    """Turns about a coordinate's axis, [T, 3, 3]."""
    found = np.zeros((len(angle), 3, 3))
    a, b = (axis + 1) % 3, (axis + 2) % 3
    found[:, axis, axis] = 1
    found[:, a, a] = found[:, b, b] = np.cos(angle)
    found[:, b, a] = np.sin(angle)
    found[:, a, b] = -found[:, b, a]
    return found
