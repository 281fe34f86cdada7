"""Other libraries' arrays as torch tensors, without a copy, in the order of the current stream."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anamorph.core.errors import ArgumentError, DeviceError, DtypeError

_HOST, _PINNED = 1, 3  # kinds of devices, as DLPack numbers them


def as_tensor(name: str, value: Any, foreign: list[Tensor] | None = None) -> Tensor:
    """A torch tensor over the memory of ``value``: a tensor, a NumPy, CuPy, Numba, JAX or DALI array, or a list of numbers.

    What another library has on a GPU is added to ``foreign``, for :func:`anamorph.core.lease.hold`.
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
        tensor = None
        if hasattr(value, "__dlpack__"):
            tensor = from_dlpack(value)
        elif hasattr(value, "__cuda_array_interface__"):  # Numba
            tensor = _from_cuda_array(value)
        if tensor is not None:
            if foreign is not None and tensor.is_cuda:
                foreign.append(tensor)
            return tensor
    except MemoryError:
        raise
    except Exception as error:  # of the other library's, whichever it is
        raise ArgumentError(f"{name}: expected a tensor, given {type(value).__name__} that cannot be read as one "
                            f"({error})") from error
    hint = "; numpy.asarray(...) makes an array of it" if hasattr(value, "__array_interface__") else ""  # PIL's pictures
    raise ArgumentError(f"{name}: expected a tensor or an array that speaks DLPack, given {type(value).__name__}{hint}")


def from_dlpack(value: Any, ordered: bool = False) -> Tensor:
    """A tensor over an array that speaks DLPack. On a GPU its library puts what it has queued on the array before what torch's
    current stream will do, unless that has been ``ordered`` already.
    """
    kind, _ = value.__dlpack_device__()
    if kind == _PINNED:  # memory of the host, which torch refuses to read under that name; its library waits for it
        return torch.utils.dlpack.from_dlpack(value.__dlpack__(dl_device=(type(kind)(_HOST), 0)))
    return torch.utils.dlpack.from_dlpack(value.__dlpack__(stream=-1)) if ordered else torch.from_dlpack(value)


def _from_cuda_array(value: Any) -> Tensor:
    """A tensor over an array that speaks the CUDA array interface alone. From version 3 on it names the stream that made it."""
    with torch._C.DisableTorchFunction():  # a default device of the user's, which it would be copied to
        tensor = torch.as_tensor(value)
    named = value.__cuda_array_interface__.get("stream")
    if named is not None:  # None: nothing to wait for
        # 1 is the legacy default stream, a number that torch would take for the id of one of its own.
        maker = (torch.cuda.default_stream(tensor.device) if named in (0, 1)
                 else torch.cuda.ExternalStream(named, device=tensor.device))
        current = torch.cuda.current_stream(tensor.device)
        if maker.cuda_stream != current.cuda_stream:
            current.wait_stream(maker)
    return tensor


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


def as_integers(name: str, value: Any, foreign: list[Tensor] | None = None, device: torch.device | None = None) -> Tensor:
    """The same as int64, for ids and sizes; other integers are widened. On the host, if that is the ``device`` they are for."""
    tensor = as_tensor(name, value, foreign)
    if device is not None and device.type == "cpu":
        tensor = tensor.cpu()  # waits for the copy, and then all that is checked on the host is
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


def current(device: torch.device) -> AbstractContextManager[object]:
    """Makes a GPU the current one for a while; of the host it makes nothing."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
