"""Networks that are asked and not taught."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def frozen(*modules: nn.Module, mode: bool | None = None) -> Iterator[None]:
    """Parameters want no gradient meanwhile, though gradients go through to what is given to the modules. ``mode``: all of them
    in training (True) or evaluation mode (False); None: as they are. Afterwards every part has its own mode and wish again."""
    parts = [(part, part.training) for module in modules for part in module.modules()]
    wished = [(parameter, parameter.requires_grad) for module in modules for parameter in module.parameters()]
    try:
        for parameter, _ in wished:
            parameter.requires_grad_(False)
        if mode is not None:
            for part, _ in parts:
                part.training = mode
        yield
    finally:
        for parameter, wish in wished:
            parameter.requires_grad_(wish)
        for part, training in parts:
            part.training = training
