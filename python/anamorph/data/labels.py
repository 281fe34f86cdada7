"""What may stand beside a picture, a class id, a vector of numbers or a dict, and what a recipe asks of it.

A class id is an int, a vector (multi-hot, soft, or numbers to be found) float32 [K]. A dict is passed on as it is, so no recipe
may mix it. The labels of several samples are one array, a row for each: int64 [B], float32 [B, K] or, of dicts, object [B].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from anamorph.core.errors import ArgumentError, DtypeError, ShapeError
from anamorph.core.move import to_device
from anamorph.core.tensors import as_tensor
from anamorph.images.recipe import Recipe
from anamorph.images.views import Views
from anamorph.points.recipe import Recipe as CloudRecipe

Label = int | np.ndarray | Mapping[Any, Any]
AnyRecipe = Recipe | Views | CloudRecipe


def label_of(value: Any, name: Callable[[], str]) -> Label:
    """One sample's label in its canonical form."""
    if type(value) is int and -(2**63) < value < 2**63:  # as most are
        return value
    if isinstance(value, Mapping):
        return value
    if isinstance(value, torch.Tensor):
        value = as_tensor(f"label of {name()}", value)
    try:
        array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    except ValueError:  # lists of different lengths
        array = np.asarray(None)
    if array.ndim == 1 and array.size and array.dtype.kind in "biuf" and (array.size > 1 or array.dtype.kind == "f"):
        return array.astype(np.float32)
    if array.size == 1 and array.dtype.kind in "biuf":
        number = array.reshape(()).item()
        if number == number and abs(number) < 2**63 and int(number) == number:
            return int(number)
    raise DtypeError(f"label of {name()}: expected a class id, a vector of numbers or a dict, given {value!r}")


def form(label: Label | None) -> str:
    """What a label is, for people; one pass has labels of one form."""
    if label is None or isinstance(label, int):
        return "no label" if label is None else "a class id"
    return f"a vector of {len(label)}" if isinstance(label, np.ndarray) else "a dict"


def column(labels: Sequence[Label | None]) -> np.ndarray | None:
    """The labels of several samples, all of one form, as one array."""
    if labels[0] is None:
        return None
    if isinstance(labels[0], Mapping):
        array = np.empty(len(labels), dtype=object)
        array[:] = labels
        return array
    return np.array(labels, dtype=np.int64 if isinstance(labels[0], int) else np.float32)


def label_at(labels: np.ndarray, index: int) -> Label:
    """One row of a column."""
    label = labels[index]
    return int(label) if isinstance(label, np.integer) else label


def column_of(values: Any, count: int, names: Callable[[int], str]) -> np.ndarray:
    """The labels given with ``count`` pictures in one piece: an array, a list, or a dict of them."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            if len(value) != count:
                raise ShapeError(f"labels[{key!r}]: expected one entry for each of the {count} pictures, given {len(value)}")
        array = np.empty(count, dtype=object)
        array[:] = [{key: value[i] for key, value in values.items()} for i in range(count)]
        return array
    if isinstance(values, torch.Tensor):
        values = as_tensor("labels", values)
    try:
        array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    except ValueError:  # lists of different lengths
        raise ShapeError(f"labels: expected class ids [{count}] or vectors [{count}, K], given lists of no one shape") from None
    if array.ndim not in (1, 2) or len(array) != count or 0 in array.shape:
        raise ShapeError(f"labels: expected class ids [{count}] or vectors [{count}, K], given shape {list(array.shape)}")
    if array.dtype.kind not in ("iu" if array.ndim == 1 else "biuf"):
        raise DtypeError(f"labels: expected integer class ids [{count}] or vectors [{count}, K], given {array.dtype} "
                         f"{list(array.shape)}")
    if array.ndim == 2 and (array.shape[-1] > 1 or array.dtype.kind == "f"):
        return array.astype(np.float32)
    if int(array.max()) >= 2**63:
        raise ArgumentError(f"label of {names(int(array.argmax()))}: expected a class id below 2**63, given {array.max()}")
    return array.reshape(-1).astype(np.int64)


def collate(labels: np.ndarray | torch.Tensor, device: torch.device) -> Any:
    """A batch's labels on ``device``; dicts as one dict, each entry as torch's DataLoader would put it together."""
    if labels.dtype != object:
        return to_device(labels, device)
    try:
        return _moved(torch.utils.data.default_collate(list(labels)), device)
    except (TypeError, ValueError, RuntimeError, KeyError) as error:
        raise ShapeError("labels: expected dicts of the same entries, each of one shape in the whole batch, given others "
                         f"({' '.join(str(error).split())[:200]})") from error


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, torch.Tensor):
        return to_device(value, device)
    return {key: _moved(entry, device) for key, entry in value.items()} if isinstance(value, Mapping) else value


def needs_classes(recipe: AnyRecipe) -> bool:
    """Whether a recipe can make nothing of class ids before it knows how many classes there are."""
    return recipe.labels == "soft" and recipe.num_classes is None and bool(recipe._mixes or recipe.label_smoothing)


def with_classes(recipe: AnyRecipe, known: int | None, source: str) -> AnyRecipe:
    """The recipe that knows the source's number of classes, which ``known`` is; None where the source does not say."""
    if recipe.labels == "soft" and recipe.num_classes is not None and known is not None and recipe.num_classes < known:
        raise ArgumentError(f"num_classes: expected at least {known} in the recipe, as the labels of {source} say, given "
                            f"{recipe.num_classes}")
    if not needs_classes(recipe):
        return recipe
    if known is None:
        raise ArgumentError(f"num_classes: expected Recipe(..., num_classes=K) for a recipe that mixes or smooths labels, given "
                            f"none, and {source} does not say how many classes it has")
    return recipe._with_classes(known)


def check(label: Label | None, recipe: AnyRecipe, name: Callable[[], str]) -> None:
    """Raises for a label of which the recipe can make nothing."""
    classes = recipe.num_classes if recipe.labels == "soft" else None
    if isinstance(label, int):
        if classes is not None and not 0 <= label < classes:
            raise ArgumentError(f"label of {name()}: expected a class id from 0 to {classes - 1}, as the recipe has "
                                f"num_classes={classes}, given {label}")
    elif isinstance(label, np.ndarray):
        if recipe.labels == "pairs" or (classes is not None and len(label) != classes):
            expected = "a class id for labels='pairs'" if recipe.labels == "pairs" else f"a vector of {classes}, the num_classes"
            raise ShapeError(f"label of {name()}: expected {expected} of the recipe, given {form(label)}")
    elif label is not None and (recipe._mixes or recipe.labels == "pairs" or recipe.label_smoothing):
        raise ArgumentError(f"label of {name()}: expected a class id or a vector for a recipe that mixes or smooths labels or "
                            "pairs them, given a dict, which is passed on as it is")


def extremes(labels: np.ndarray) -> list[int]:
    """Where to look in a column, of labels of one form, for what ``check`` would find in all of it."""
    return [int(labels.argmin()), int(labels.argmax())] if labels.dtype == np.int64 else [0]
