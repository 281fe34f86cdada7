"""Other libraries' arrays as torch tensors, without a copy."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anamorph.core.errors import ArgumentError, DeviceError, DtypeError


def as_tensor(name: str, value: Any) -> Tensor:
    """A torch tensor over the memory of ``value``: a tensor, a NumPy, CuPy, Numba, JAX or DALI array, or a list of numbers.

    DLPack hands CUDA memory over in the order of the two libraries' current streams.
    """
    if isinstance(value, Tensor):
        if value.layout is not torch.strided or value.is_nested or value.is_meta:
            raise ArgumentError(f"{name}: expected a plain strided tensor, given {_kind(value)}")
        # Conjugation and negation may be noted on a tensor and not yet done in its memory.
        return value.resolve_conj().resolve_neg() if value.is_neg() or value.is_conj() else value
    try:
        if isinstance(value, np.ndarray | np.generic):
            return _from_numpy(np.asarray(value))
        if isinstance(value, list | tuple | range):
            return torch.tensor(value if not isinstance(value, range) else list(value))
        if type(value).__module__.startswith("nvidia.dali") and hasattr(value, "as_tensor"):
            value = value.as_tensor()  # a dense TensorList
        if hasattr(value, "__dlpack__"):
            return torch.from_dlpack(value)
        if hasattr(value, "__cuda_array_interface__"):  # Numba
            return torch.as_tensor(value, device="cuda")
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise ArgumentError(f"{name}: expected a tensor, given {type(value).__name__} that cannot be read as one "
                            f"({error})") from error
    hint = "; numpy.asarray(...) makes an array of it" if hasattr(value, "__array_interface__") else ""  # PIL's pictures
    raise ArgumentError(f"{name}: expected a tensor or an array that speaks DLPack, given {type(value).__name__}{hint}")


def _kind(value: Tensor) -> str:
    if value.is_nested or value.is_meta:
        return "a nested one" if value.is_nested else "a meta one"
    return f"one of layout {value.layout}; its .to_dense() is one"


def _from_numpy(array: np.ndarray) -> Tensor:
    if array.dtype == object or not array.dtype.isnative:
        raise ValueError(f"dtype {array.dtype}")
    if any(s < 0 for s in array.strides):  # torch has no negative strides
        array = np.ascontiguousarray(array)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # it is only read
        return torch.from_numpy(array)


def as_integers(name: str, value: Any) -> Tensor:
    """The same as int64, for ids and sizes; other integers are widened."""
    tensor = as_tensor(name, value)
    if tensor.dtype == torch.int64:
        return tensor
    if (tensor.dtype.is_floating_point or tensor.dtype.is_complex or tensor.dtype == torch.bool) and tensor.numel():
        raise DtypeError(f"{name}: expected integers, given {str(tensor.dtype).removeprefix('torch.')}")
    if tensor.dtype == torch.uint64 and tensor.device.type == "cpu" and bool((tensor.view(torch.int64) < 0).any()):
        raise ArgumentError(f"{name}: expected numbers below 2**63, given larger ones")
    return tensor.to(torch.int64)


_devices: dict[Any, torch.device] = {}


def as_device(device: Any) -> torch.device:
    """The torch device, "cuda" meaning the current one. Fails where torch cannot use it."""
    found = _devices.get(device) if isinstance(device, str | torch.device) else None
    if found is not None:
        return found
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise DeviceError(f"device: expected 'cpu', 'cuda' or 'cuda:N', given {device!r}") from error
    if found.type == "cpu":
        found = torch.device("cpu")  # cpu:0 is the same
    if found.type not in ("cpu", "cuda"):
        raise DeviceError(f"device: expected 'cpu', 'cuda' or 'cuda:N', given {device!r}")
    if found.type == "cuda":
        count = torch.cuda.device_count()
        if (found.index or 0) >= count:
            raise DeviceError(f"device: expected one of this machine's {count} CUDA devices, given {device!r}")
        if found.index is None:  # not remembered: the current device may change
            return torch.device("cuda", torch.cuda.current_device())
    _devices[device] = found
    return found
