"""torchvision's transforms, even where its compiled operators are missing.

A torchvision built for another torch stops at import, because ``torchvision::nms`` does not exist. Its transforms are
Python and need no such operator, so declaring the names is enough. Only tests and benchmarks do that: the package
proper never touches torchvision.
"""

from __future__ import annotations

import functools
import sys
from types import ModuleType

import torch

_declared: list[torch.library.Library] = []  # the declarations live as long as these


@functools.cache
def v2() -> ModuleType:
    """``torchvision.transforms.v2``."""
    try:
        from torchvision.transforms import v2
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _declared.append(library)
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]  # half imported
        from torchvision.transforms import v2
    return v2
