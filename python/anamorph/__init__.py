"""anamorph: a whole augmentation policy in one native launch per batch, on CUDA and on CPUs.

    recipe = am.Recipe([am.RandomResizedCrop(224), am.RandomHorizontalFlip(), am.Normalize(mean, std)])
    plan = recipe.plan(index, seed=0, epoch=0, size=(256, 256))
    views, targets = am.render(images, plan, targets=labels)
    for views, targets in am.Loader("train/", recipe, batch_size=256, device="cuda", seed=0): ...
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch

from anamorph import _native, features, images, learned, points, training
from anamorph.core.errors import (
    AnamorphError,
    ArgumentError,
    DecodeError,
    DeviceError,
    DtypeError,
    MissingDependencyError,
    ShapeError,
)
from anamorph.data import Loader, coco
from anamorph.images import *  # noqa: F403
from anamorph.images import presets
from anamorph.images.transforms import *  # noqa: F403
from anamorph.images.transforms.base import Scheduled
from anamorph.images.transforms.schedule import Schedule
from anamorph.images.transforms.views import ByView
from anamorph.training import *  # noqa: F403
from anamorph.training import corruptions

__version__: str = _native.VERSION


def launch_count() -> int:
    """Launches so far in this process: one for each native pass over a batch, CUDA kernel or CPU loop."""
    return _native.launch_count()


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Philox4x32-10 (Salmon et al., SC 2011): four random 32-bit words for a counter and a key."""
    try:
        a, b, c, d = _native.philox(counter, key)
    except TypeError:
        raise ArgumentError(f"philox: expected a counter of four and a key of two 32-bit numbers, given {counter!r} and "
                            f"{key!r}") from None
    return a, b, c, d


def info() -> dict[str, Any]:
    """What was built and what was found on this machine."""
    return {
        "version": __version__,
        "simd": _native.simd(),
        "threads": torch.get_num_threads(),
        "cuda_built": _native.CUDA_BUILT,
        "cuda_usable": _native.CUDA_BUILT and _native.cuda_usable() and torch.cuda.is_available(),
        "torch": torch.__version__,
        "dali": _dali_version(),
    }


def _dali_version() -> str | None:
    if importlib.util.find_spec("nvidia") is None or importlib.util.find_spec("nvidia.dali") is None:
        return None
    from nvidia import dali

    return dali.__version__


__all__ = [
    "AnamorphError",
    "ArgumentError",
    "DecodeError",
    "DeviceError",
    "DtypeError",
    "Loader",
    "MissingDependencyError",
    "ShapeError",
    "coco",
    "corruptions",
    "features",
    "images",
    "info",
    "launch_count",
    "learned",
    "philox",
    "points",
    "presets",
    "training",
    *images.__all__,
    *training.__all__,
]

# An unknown ANAMORPH_SIMD is said now, not in the middle of an epoch.
_native.simd()

# anamorph 0.1 named the classes in its files by the Python files they were in. Its recipes load; of its plans an error says what
# to do.
_old_files = {"Recipe": "anamorph.recipe", "Plan": "anamorph.plan", "Ragged": "anamorph.ragged"}
_old_names = []
for _name in images.__all__:
    _class = getattr(images, _name)
    _old_names.append((_class, f"{_old_files.get(_name, _class.__module__.replace('.transforms', ''))}.{_name}"))

# The public names are where their users find them, whatever file they are in: for error messages, and for files of recipes
# and plans, which hold the names of their classes.
for _name in {*__all__} - {"coco", "corruptions", "features", "images", "learned", "points", "presets", "training"}:
    globals()[_name].__module__ = __name__

_clouds = [getattr(points, _name) for _name in points.__all__ if isinstance(getattr(points, _name), type)]
for _class in _clouds:
    _class.__module__ = "anamorph.points"

# Plans and recipes are made of these alone, so torch.load reads them with its default weights_only=True; but for a schedule's
# function, which is the user's.
torch.serialization.add_safe_globals([*_old_names, *(getattr(images, _name) for _name in images.__all__), ByView,
                                       Schedule, Scheduled, *_clouds, points.plan._drawn])
