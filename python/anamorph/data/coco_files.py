"""A data set in COCO's format: a JSON file of images, annotations and categories, and a folder of pictures."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from anamorph.core import checks
from anamorph.core.errors import AnamorphError, ArgumentError, DecodeError
from anamorph.data.annotations import targets
from anamorph.data.decode import decoded, pillow
from anamorph.data.folder import contents


class Dataset(torch.utils.data.Dataset[tuple[Tensor, dict[str, Any]]]):
    """A data set in COCO's format, for torch's ``DataLoader``: ``dataset[i]`` is a picture, uint8 ``[3, H, W]``, and its target.

    ``collate_fn=lambda batch: tuple(zip(*batch))`` leaves a batch as lists, which ``am.render`` and ``plan.apply_targets`` take.
    Pictures are decoded by Pillow (the extra ``pillow``), as they are stored: COCO's annotations know nothing of EXIF.

    Args:
        file: the JSON file, ``{"images": [...], "annotations": [...], "categories": [...]}``.
        folder: where the pictures are, by their "file_name".
        categories, masks: as :func:`anamorph.coco.targets`'.
        keypoints: with "keypoints", as many as the file's categories name.

    Attributes:
        ids: each picture's id, in the file's order.
        sizes: each picture's (height, width).
        categories: the file's, id to name.

    Raises:
        ArgumentError: a file that is not of this format; what in it is wrong.
        DecodeError: on access, a picture that cannot be read or is not of the size that the file says.
    """

    def __init__(self, file: str | os.PathLike[str], folder: str | os.PathLike[str], *, categories: Sequence[int] | None = None,
                 masks: bool = False, keypoints: bool = False) -> None:
        self._name, self._folder = os.fspath(file), os.fspath(folder)
        if not os.path.isdir(self._folder):
            checks.wrong("folder", "a folder of pictures", self._folder)
        pillow()
        whole = self._read()
        self.categories: dict[int, str] = {self._id(c, "categories"): str(c.get("name", "")) for c in whole["categories"]}
        self.ids: list[int] = [self._id(image, "images") for image in whole["images"]]
        if len({*self.ids}) < len(self.ids):
            checks.wrong(self._name, "a picture's id once", "one twice")
        self._files = [os.path.join(self._folder, str(self._of(image, "file_name"))) for image in whole["images"]]
        self.sizes = [(checks.side(f"{self._name}: image {id}'s height", self._of(image, "height")),
                       checks.side(f"{self._name}: image {id}'s width", self._of(image, "width")))
                      for id, image in zip(self.ids, whole["images"], strict=True)]
        self._annotations: defaultdict[int, list[Mapping[str, Any]]] = defaultdict(list)
        known = {*self.ids}
        for annotation in whole["annotations"]:
            picture = self._of(annotation, "image_id")
            if not isinstance(picture, int) or picture not in known:
                checks.wrong(self._name, "annotations of its pictures", f"one of image_id {picture!r}")
            self._annotations[picture].append(annotation)
        points = self._points(whole["categories"]) if checks.flag("keypoints", keypoints) else 0
        self._options: dict[str, Any] = {"categories": categories, "masks": masks, "keypoints": points}
        targets([], (1, 1), **self._options)  # what is wrong with these is said now

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Any]]:
        path, size = self._files[index], self.sizes[index]
        picture = decoded(contents(path), path)
        if picture.shape[:2] != size:
            raise DecodeError(f"{path}: expected {size[0]} x {size[1]} pixels, as {self._name} says, given "
                              f"{picture.shape[0]} x {picture.shape[1]}")
        return picture.permute(2, 0, 1), self.target(index)

    def target(self, index: int) -> dict[str, Any]:
        """The target alone, without its picture: :func:`anamorph.coco.targets`' dict with "image_id"."""
        id = self.ids[index]
        try:
            return {**targets(self._annotations.get(id, []), self.sizes[index], **self._options), "image_id": id}
        except AnamorphError as error:
            raise type(error)(f"{self._name}: image {id}: {error}") from error

    # ---- the file ----

    def _read(self) -> dict[str, list[Any]]:
        try:
            with open(self._name, encoding="utf-8") as file:
                whole = json.load(file)
        except (OSError, ValueError) as error:
            raise ArgumentError(f"{self._name}: expected a JSON file, given one that cannot be read ({error})") from error
        for part in ("images", "annotations", "categories"):
            entries = whole.get(part) if isinstance(whole, dict) else None
            if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
                raise ArgumentError(f"{self._name}: expected an object with {part!r}, a list of objects, given "
                                    f"{list(whole) if isinstance(whole, dict) else type(whole).__name__}")
        return whole

    def _of(self, entry: Mapping[str, Any], name: str) -> Any:
        if name not in entry:
            checks.wrong(self._name, f"{name!r} in every entry", list(entry))
        return entry[name]

    def _id(self, entry: Mapping[str, Any], part: str) -> int:
        return checks.whole(f"{self._name}: an id in {part!r}", self._of(entry, "id"))

    def _points(self, categories: list[Any]) -> int:
        for c in categories:
            if not isinstance(c.get("keypoints", []), list):
                checks.wrong(self._name, "a category's 'keypoints', a list of names", c["keypoints"])
        counts = {len(c["keypoints"]) for c in categories if c.get("keypoints")}
        if len(counts) != 1:
            checks.wrong("keypoints", "categories with keypoints, all as many",
                         f"{sorted(counts)} in {self._name}" if counts else f"none in {self._name}")
        return counts.pop()
