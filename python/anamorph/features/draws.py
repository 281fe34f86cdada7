"""Random numbers of feature space: a pure function of (seed, step, name of the stream, place), made natively where
the features lie.

``step`` is the key: int64 ``[2]``, (seed, step), on the features' device, where the kernels read it, so that a captured CUDA
graph draws anew when the tensor changes; or two ints. The same key gives the same bits on a CPU and on a GPU.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from anamorph import _native
from anamorph.core import checks
from anamorph.core.errors import ArgumentError
from anamorph.features import given
from anamorph.features.buffers import as_now

Step = Tensor | tuple[int, int]


def uniform(step: Step, name: str, shape: Sequence[int], low: float = 0.0, high: float = 1.0,
            device: torch.device | str | None = None) -> Tensor:
    """float32, from ``low`` to ``high``: 2^24 values, evenly apart, the last of which is below ``high`` before rounding."""
    return _draw(step, name, shape, "uniform", low, high, device)


def normal(step: Step, name: str, shape: Sequence[int], device: torch.device | str | None = None) -> Tensor:
    """float32 of mean 0 and variance 1."""
    return _draw(step, name, shape, "normal", 0.0, 1.0, device)


def beta(step: Step, name: str, shape: Sequence[int], a: float, b: float, device: torch.device | str | None = None) -> Tensor:
    """float32 of Beta(a, b), a and b above 0."""
    return _draw(step, name, shape, "beta", a, b, device)


def integers(step: Step, name: str, shape: Sequence[int], below: int, device: torch.device | str | None = None) -> Tensor:
    """int64, each of 0 .. below - 1 as likely as the others, to one part in 2^32 / below."""
    return _draw(step, name, shape, "integers", float(below), 0.0, device)


def permutation(step: Step, name: str, n: int, device: torch.device | str | None = None) -> Tensor:
    """int64 ``[n]``: each of 0 .. n - 1 once."""
    return _draw(step, name, (n,), "permutation", 0.0, 0.0, device)


def _draw(step: Step, name: str, shape: Sequence[int], kind: str, a: float, b: float,
          device: torch.device | str | None) -> Tensor:
    if device is None:
        device = step.device if isinstance(step, Tensor) else torch.device("cpu")
    key = given.step(step, torch.device(device))
    return torch.ops.anamorph.draw(key, name, list(shape), kind, a, b)


KINDS = ("uniform", "normal", "beta", "integers", "permutation")  # csrc/features/draws.h: DrawKind


@torch.library.custom_op("anamorph::draw", mutates_args=(),
                         schema="(Tensor step, str name, SymInt[] shape, str kind, float a, float b) -> Tensor")
def _drawn(step: Tensor, name: str, shape: Sequence[int], kind: str, a: float, b: float) -> Tensor:
    out = _drawn_like(step, name, shape, kind, a, b)
    if out.numel():
        _native.features.draw(step=step.contiguous(), stream=zlib.crc32(name.encode()), kind=KINDS.index(kind), a=a, b=b, out=out,
                              threads=torch.get_num_threads())
    return out


@_drawn.register_fake
def _drawn_like(step: Tensor, name: str, shape: Sequence[int], kind: str, a: float, b: float) -> Tensor:
    dtype = torch.int64 if kind in ("integers", "permutation") else torch.float32
    return torch.empty(shape, dtype=dtype, device=step.device)


class Seeded(nn.Module):
    """A module whose random numbers begin with a seed."""

    def restart(self, seed: int) -> None:
        """Steps begin anew, of another seed."""
        raise NotImplementedError


class Keyed(Seeded):
    """A module that draws: its buffer ``step`` is (seed, step), which a training call reads and moves on, so that a run replays
    from its seed and goes on from its ``state_dict``.

    Args:
        seed: modules of one seed draw the same numbers; :func:`reseed` gives each in a model its own.
    """

    step: Tensor

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        seed = checks.whole("seed", seed, -2**63, 2**63 - 1)
        self.register_buffer("step", torch.tensor([seed, 0], dtype=torch.int64))

    def restart(self, seed: int) -> None:
        self.step[0] = seed
        self.step[1] = 0

    def next_step(self) -> Tensor:
        """The key of this call."""
        if not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1:
            raise ArgumentError("checkpoint: expected modules that draw outside of activation checkpointing, whose second pass "
                                "would draw others, given one inside; the functions, with a step of yours, may stand there")
        # Compiled, the backward pass would else read the next step.
        now = as_now(self.step.clone())
        self.step[1] += 1
        return now


def reseed(model: nn.Module, seed: int) -> nn.Module:
    """Gives each module of a model that draws a seed made of ``seed`` and of its name in the model, and begins its
    steps anew.

    Returns:
        ``model``, changed in place.
    """
    seed = checks.whole("seed", seed, -2**63, 2**63 - 1)
    for name, module in model.named_modules():
        if isinstance(module, Seeded):
            module.restart((seed + (zlib.crc32(name.encode()) << 32)) % 2**64 - 2**63)
    return model
