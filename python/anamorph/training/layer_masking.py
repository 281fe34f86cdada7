"""A convolutional net that sees only what a mask keeps: the mask travels with the activations through every layer."""

from __future__ import annotations

import inspect
import math
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from anamorph.core import checks
from anamorph.core.errors import ArgumentError, DeviceError, DtypeError, ShapeError
from anamorph.core.tensors import as_tensor

FILLS = ("neighbour", "none", "partial")


def layer_masking(model: nn.Module, fill: str = "neighbour") -> LayerMasking:
    """Wrap a CNN so that masked pixels have no influence on what it says, and look like nothing to it (Balasubramanian and Feizi,
    "Towards Improved Input Masking for Convolutional Neural Networks", ICCV 2023).

    The model's own code runs; every operation that it asks for is done by the rule for masked activations, which
    ``docs/training.md`` lists. One that has no rule is an error that names it.

    Args:
        model: whose parameters the result shares. The model itself is not changed.
        fill: what a convolution finds at masked places. "neighbour": the mean of the neighbours that are known, grown inwards one
            ring of pixels at a time, as far as the kernel reaches. "none": zeros. "partial": zeros, and the sum is divided by the
            share of the kernel's places that are kept (Liu et al., "Image Inpainting for Irregular Holes Using Partial
            Convolutions", ECCV 2018).

    Returns:
        A module: ``wrapped(x, mask)`` is the model's output for images ``[N, C, H, W]``, floats, and a mask ``[N, 1, H, W]`` of
        bools, integers or floats, 1 where a pixel is kept and 0 where it is masked. On a GPU, where a look at them would wait,
        other numbers than 0 are taken for 1. The model's parameters and buffers stand in its state dict behind ``model.``.

    Raises:
        ArgumentError: what is no module, is scripted, compiled or wrapped already; an unknown fill; a mask of other numbers; a
            layer without a rule.
        ShapeError, DtypeError, DeviceError: images or a mask that do not fit.
    """
    return LayerMasking(model, fill)


class LayerMasking(nn.Module):
    """What :func:`layer_masking` makes."""

    def __init__(self, model: nn.Module, fill: str = "neighbour") -> None:
        super().__init__()
        if isinstance(model, type) and issubclass(model, nn.Module):
            checks.wrong("model", f"a module; call it: {model.__name__}(...)", model)
        if not isinstance(model, nn.Module):
            checks.wrong("model", "a torch.nn.Module", model)
        for name, module in model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):  # whose operations pass by __torch_function__
                raise ArgumentError(f"model: expected Python modules, given {name or 'one'} that is scripted or traced")
            if module._compiled_call_impl is not None or hasattr(module, "_orig_mod"):
                raise ArgumentError(f"model: expected modules as they are, given {name or 'one'} that torch.compile has made")
            if isinstance(module, LayerMasking):
                raise ArgumentError(f"model: expected one that is not wrapped yet, given {name or 'one'} that is")
        self.fill = checks.choice("fill", fill, FILLS)
        self.model = model

    def forward(self, x: Tensor, mask: Tensor) -> Any:
        """The model's output for what the mask keeps of ``x``."""
        # torch.compile cannot trace the rules and runs them as they are; it costs seconds to import, so only where it is used.
        run = torch.compiler.disable(self._run) if "torch._dynamo" in sys.modules else self._run
        return run(x, mask)

    def _run(self, x: Tensor, mask: Tensor) -> Any:
        x, keep = _checked(x, mask, next(self.model.parameters(), None))
        try:
            # Where, not times: NaN and infinity are masked too, and the gradient is 0 exactly.
            out = self.model(_masked(torch.where(keep, x, 0), keep, self.fill))
        except _NoRuleError as error:
            raise ArgumentError(f"layer_masking: {self._place(error)}{error}") from None
        return tree_map(lambda value: _zeroed(value) if isinstance(value, Masked) else value, out)

    def extra_repr(self) -> str:
        return f"fill={self.fill!r}"

    def _place(self, error: BaseException) -> str:
        """The innermost module of the model that the error came through."""
        names = {id(module): name for name, module in self.model.named_modules()}
        place = ""
        for frame, _ in traceback.walk_tb(error.__traceback__):
            module = frame.f_locals.get("self")
            if id(module) in names:
                place = f"{names[id(module)] or 'the model'} ({type(module).__name__}): "
        return place


def _checked(x: Any, mask: Any, parameter: Tensor | None) -> tuple[Tensor, Tensor]:
    """The images, and where they are kept, as bools."""
    x, mask = as_tensor("x", x), as_tensor("mask", mask)
    if not x.dtype.is_floating_point:
        raise DtypeError(f"x: expected floats, given {x.dtype}")
    if x.ndim != 4 or not x.numel():
        raise ShapeError(f"x: expected images [N, C, H, W], given shape {list(x.shape)}")
    expected = [x.shape[0], 1, *x.shape[2:]]
    if list(mask.shape) != expected:
        raise ShapeError(f"mask: expected {expected}, as x is {list(x.shape)}, given shape {list(mask.shape)}")
    if mask.dtype.is_complex:
        raise DtypeError(f"mask: expected bools, integers or floats, given {mask.dtype}")
    for name, other in (("mask", mask), ("the model", parameter)):
        if other is not None and other.device != x.device:
            raise DeviceError(f"x and {name}: expected one device, given {x.device} and {other.device}")
    keep = mask != 0
    if mask.device.type == "cpu" and mask.dtype != torch.bool and bool((keep & (mask != 1)).any()):
        raise ArgumentError(f"mask: expected 1 where a pixel is kept and 0 where it is not, given "
                            f"{mask[keep & (mask != 1)][0].item():g} among them")
    return x, keep


class Masked(Tensor):
    """An activation ``[N, C, H, W]`` and where it is kept, bool ``[N, 1, H, W]``. Every function of torch comes to
    ``__torch_function__``, whatever module asks for it, so the model's own code runs, with its branches and loops.

    What stands at masked places is never read: whatever takes several places together puts something else there first. So what
    takes each place alone runs as it is, in place too. It is finite there, or else gradients of 0 would become NaN.
    """

    keep: Tensor
    fill: str

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", str(func))
        with torch._C.DisableTorchFunctionSubclass():  # within a rule a masked tensor is a tensor
            if name == "__get__":  # of an attribute
                name = func.__self__.__name__
            if name in ASKED:
                return func(*args, **kwargs)
            if name in ALONE or name.rstrip("_") in ALONE:
                return _alone(func, args, kwargs)
            if name not in RULES or not args:
                raise _NoRuleError(name)
            try:
                return RULES[name](*args, **kwargs)
            except TypeError:
                if _fits(RULES[name], args, kwargs):
                    raise
            raise _NoRuleError(name, "with these arguments")

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        with torch._C.DisableTorchFunctionSubclass():
            return f"Masked({list(self.shape)}, {self.dtype}, {self.device})"


class _NoRuleError(ArgumentError):
    def __init__(self, name: str, what: str = "") -> None:
        super().__init__(f"no rule for {name}{what and ' ' + what} of masked activations; there are some for convolutions, "
                         "batch, group and instance norm, pooling, torch.cat along channels, what takes each value alone "
                         "(activations, dropout, sums and products) and, at the end, flatten and the mean over a picture")


def _masked(value: Tensor, keep: Tensor, fill: str) -> Masked:
    out = value if isinstance(value, Masked) else value.as_subclass(Masked)
    out.keep, out.fill = keep, fill
    return out


def _fits(rule: Callable[..., Any], args: Any, kwargs: Any) -> bool:
    try:
        inspect.signature(rule).bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def _mine(x: Any, function: str) -> Masked:
    """The masked activation that a rule is for; no other argument may be one."""
    if not isinstance(x, Masked):
        raise _NoRuleError(function, "with a kernel or a statistic")
    return x


def _zeroed(x: Masked) -> Tensor:
    """A plain tensor with zeros at masked places."""
    with torch._C.DisableTorchFunctionSubclass():
        return torch.where(x.keep, x, 0)


def _float(x: Tensor) -> Tensor:
    """In float32 at least, for sums."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


# What a convolution finds.

def _neighbours(x: Masked, rings: int) -> Tensor:
    """Masked places filled with the mean of their known 3 x 3 neighbours, ring by ring. No gradient flows through what is filled.
    """
    kept = _zeroed(x)
    if not rings:
        return kept
    with torch.no_grad():
        known, filled = _float(x.keep.to(x.dtype)), _float(kept.detach())
        for _ in range(rings):
            count = F.avg_pool2d(known, 3, 1, 1, divisor_override=1)
            total = F.avg_pool2d(filled, 3, 1, 1, divisor_override=1)
            filled = torch.where(known > 0, filled, total / count.clamp(min=1))
            known = (count > 0).to(known.dtype)
    return torch.where(x.keep, x, filled.to(x.dtype))


def _conv2d(x: Any, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
            groups: int = 1) -> Masked:
    x = _mine(x, "conv2d")
    if isinstance(weight, Masked) or isinstance(bias, Masked):
        _mine(None, "conv2d")
    size, stride, dilation = weight.shape[2:], _pair(stride), _pair(dilation)
    reach = [(k - 1) * d for k, d in zip(size, dilation)]
    # A place is kept where the kernel sees a kept one. From there it reaches no further than this, so no ring beyond is read.
    seen = _neighbours(x, max(reach)) if x.fill == "neighbour" else _zeroed(x)
    around = _padding(padding, reach)
    kept = F.pad(x.keep.float(), around)
    keep = F.max_pool2d(kept, size, stride, 0, dilation) > 0
    if x.fill != "partial":
        return _masked(F.conv2d(seen, weight, bias, stride, padding, dilation, groups), keep, x.fill)
    ones = torch.ones(1, 1, *size, device=x.device)
    with torch.autocast(x.device.type, enabled=False):  # which would count in halves
        full = F.conv2d(F.pad(torch.ones_like(x.keep[:1], dtype=torch.float32), around), ones, None, stride, 0, dilation)
        share = full / F.conv2d(kept, ones, None, stride, 0, dilation).clamp(min=1)
    out = F.conv2d(seen, weight, None, stride, padding, dilation, groups)
    out = out * share.to(out.dtype)
    return _masked(out if bias is None else out + bias.to(out.dtype)[:, None, None], keep, x.fill)


def _pair(value: Any) -> tuple[int, int]:
    both = tuple(value) if isinstance(value, Sequence) else (value,)
    return int(both[0]), int(both[-1])


def _padding(padding: Any, reach: Sequence[int]) -> list[int]:
    """A convolution's padding as F.pad takes it: left, right, top, bottom."""
    if isinstance(padding, str):
        down, across = reach if padding == "same" else (0, 0)
        return [across // 2, across - across // 2, down // 2, down - down // 2]
    down, across = _pair(padding)
    return [across, across, down, down]


def _pad(x: Any, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Masked:
    x = _mine(x, "pad")
    if len(pad) > 4:
        raise _NoRuleError("pad", "of channels or samples")
    # A constant is the net's own and no content: kept.
    around = {"value": 1.0} if mode == "constant" else {}
    return _masked(F.pad(_zeroed(x), pad, mode, value), F.pad(x.keep.float(), pad, mode, **around) > 0, x.fill)


# Pooling.

def _max_pool2d(x: Any, *args: Any, return_indices: bool = False, **kwargs: Any) -> Masked:
    x = _mine(x, "max_pool2d")
    if return_indices:
        raise _NoRuleError("max_pool2d", "with return_indices")
    return _largest(x, lambda values: F.max_pool2d(values, *args, **kwargs))


def _adaptive_max_pool2d(x: Any, output_size: Any, return_indices: bool = False) -> Tensor:
    x = _mine(x, "adaptive_max_pool2d")
    if return_indices:
        raise _NoRuleError("adaptive_max_pool2d", "with return_indices")
    return _whole(_largest(x, lambda values: F.adaptive_max_pool2d(values, output_size)))


def _largest(x: Masked, pool: Callable[[Tensor], Tensor]) -> Masked:
    """What is masked is never the largest. Where nothing else is there stands 0: of infinity gradients would become NaN."""
    keep = pool(x.keep.float()) > 0
    return _masked(torch.where(keep, pool(torch.where(x.keep, x, -math.inf)), 0), keep, x.fill)


def _avg_pool2d(x: Any, *args: Any, **kwargs: Any) -> Tensor:
    x = _mine(x, "avg_pool2d")
    kept = _float(x.keep.to(x.dtype))
    out, share = F.avg_pool2d(_zeroed(x), *args, **kwargs), F.avg_pool2d(kept, *args, **kwargs)
    if out.shape[2:] == (1, 1):  # a mean over the picture; what the pool itself makes of one, padding and divisor, stays
        out = out * (F.avg_pool2d(torch.ones_like(kept), *args, **kwargs) / torch.where(share != 0, share, 1))
    return _whole(_masked(out.to(x.dtype), share != 0, x.fill))


def _adaptive_avg_pool2d(x: Any, output_size: Any) -> Tensor:
    x = _mine(x, "adaptive_avg_pool2d")
    share = F.adaptive_avg_pool2d(x.keep.float(), output_size)
    out = F.adaptive_avg_pool2d(_zeroed(x), output_size) / share.clamp(min=1e-12)
    return _whole(_masked(out.to(x.dtype), share > 0, x.fill))


def _whole(x: Masked) -> Tensor:
    """One value for a whole picture is not at a place any more: 0 of a picture that is masked as a whole, then what the net makes
    of it."""
    return _zeroed(x) if x.shape[2:] == (1, 1) else x


def _mean(x: Any, dim: Any = None, keepdim: bool = False, **options: Any) -> Tensor:
    x = _mine(x, "mean")
    dims = sorted(d % 4 for d in ([dim] if isinstance(dim, int) else dim or ()))
    if dims != [2, 3] or options:
        raise _NoRuleError("mean", "but over both sides of a picture")
    out = _adaptive_avg_pool2d(x, 1)
    return out if keepdim else out.flatten(1)


# Statistics: of kept places alone.

def _moments(x: Tensor, keep: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, variance and number over dims of what is kept."""
    x = _float(x)
    count = keep.expand_as(x).sum(dims, keepdim=True)
    mean = torch.where(keep, x, 0).sum(dims, keepdim=True) / count.clamp(min=1)
    var = torch.where(keep, x - mean, 0).square().sum(dims, keepdim=True) / count.clamp(min=1)
    return mean, var, count


def _scaled(out: Tensor, x: Masked, weight: Tensor | None, bias: Tensor | None) -> Masked:
    if weight is not None:
        out = out * weight[:, None, None]
    if bias is not None:
        out = out + bias[:, None, None]
    return _masked(torch.where(x.keep, out, 0).to(x.dtype), x.keep, x.fill)  # halves may have no room for what is masked


def _batch_norm(x: Any, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
                bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5) -> Masked:
    x = _mine(x, "batch_norm")
    if not training:
        return _masked(F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps), x.keep, x.fill)
    mean, var, count = _moments(x, x.keep, (0, 2, 3))
    if running_mean is not None and running_var is not None:
        with torch.no_grad():  # of less than two values there is no variance
            part = momentum * (count > 1).to(mean.dtype)
            for running, now in ((running_mean, mean), (running_var, var * count / (count - 1).clamp(min=1))):
                running.lerp_(now.flatten().to(running.dtype), part.expand_as(now).flatten().to(running.dtype))
    return _scaled((_float(x) - mean) * (var + eps).rsqrt(), x, weight, bias)


def _group_norm(x: Any, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Masked:
    x = _mine(x, "group_norm")
    groups = x.unflatten(1, (num_groups, -1))
    mean, var, _ = _moments(groups, x.keep[:, None], (2, 3, 4))
    return _scaled(((_float(groups) - mean) * (var + eps).rsqrt()).flatten(1, 2), x, weight, bias)


def _instance_norm(x: Any, running_mean: Tensor | None = None, running_var: Tensor | None = None, weight: Tensor | None = None,
                   bias: Tensor | None = None, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5) -> Masked:
    x = _mine(x, "instance_norm")
    if not use_input_stats:
        return _batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    if running_mean is not None:
        raise _NoRuleError("instance_norm", "that keeps running statistics")
    return _group_norm(x, x.shape[1], weight, bias, eps)


# Several activations, parts of one, and the end of the picture.

def _cat(tensors: Sequence[Any], dim: int = 0) -> Masked:
    kinds = [isinstance(t, Masked) for t in tensors]
    if dim not in (1, -3) or not all(kinds):
        raise _NoRuleError("cat", "but of masked ones along channels")
    kept = torch.stack([t.keep for t in tensors]).float().mean(0) > 0.5  # where most are kept
    return _masked(torch.cat([_zeroed(t) for t in tensors], 1), kept, tensors[0].fill)


def _parts(function: Callable[..., Any]) -> Callable[..., Any]:
    def parts(x: Any, *args: Any, dim: int = 0, **kwargs: Any) -> tuple[Masked, ...]:
        x = _mine(x, function.__name__)
        dim = args[1] if len(args) > 1 else dim
        if dim not in (1, -3):
            raise _NoRuleError(function.__name__, "but along channels")
        return tuple(_masked(part, x.keep, x.fill) for part in function(x, *args[:1], dim=dim, **kwargs))
    return parts


def _rows(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Each sample's values in one row, for a linear layer: what is masked is 0."""
    def rows(x: Any, *args: Any, **kwargs: Any) -> Tensor:
        x = _mine(x, function.__name__)
        out = function(_zeroed(x), *args, **kwargs)
        if out.ndim != 2 or out.shape[0] != x.shape[0]:
            raise _NoRuleError(function.__name__, f"to {list(out.shape)}")
        return out
    return rows


# What takes each value alone.

def _alone(func: Any, args: Any, kwargs: Any) -> Any:
    masked = [value for value in (*args, *kwargs.values()) if isinstance(value, Masked)]
    name = func.__name__
    if "out" in kwargs or not masked or ("div" in name and isinstance(args[-1], Masked)):
        raise _NoRuleError(name, "by masked activations" if "div" in name else "with these arguments")
    keep = masked[0].keep
    for other in masked[1:]:
        keep = keep & other.keep  # where all are kept: this undoes what the branch of a residual block has grown
    out = func(*args, **kwargs)
    if not isinstance(out, Tensor):  # type() without a type is asked
        return out
    if out.ndim != 4 or out.shape[0] != keep.shape[0] or out.shape[2:] != keep.shape[2:]:
        raise _NoRuleError(name, f"to {list(out.shape)}")
    return _masked(out, keep.to(out.device), masked[0].fill)


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Functions of torch and methods of tensors by their names; those in place (relu_, add_) go with them.
ALONE = _names("""
    relu relu6 leaky_relu elu selu celu gelu silu mish hardtanh hardsigmoid hardswish sigmoid logsigmoid tanh softplus softsign
    tanhshrink softshrink hardshrink threshold prelu rrelu clamp clamp_min clamp_max
    dropout dropout1d dropout2d alpha_dropout feature_dropout feature_alpha_dropout
    add sub subtract rsub mul multiply neg negative abs square maximum minimum div divide true_divide
    __add__ __radd__ __iadd__ __sub__ __rsub__ __isub__ __mul__ __rmul__ __imul__ __truediv__ __idiv__ __itruediv__ __neg__
    contiguous clone detach to type type_as float double half bfloat16 cuda cpu
""")

RULES: dict[str, Callable[..., Any]] = {
    "conv2d": _conv2d, "pad": _pad,
    "max_pool2d": _max_pool2d, "avg_pool2d": _avg_pool2d, "mean": _mean,
    "adaptive_max_pool2d": _adaptive_max_pool2d, "adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "batch_norm": _batch_norm, "group_norm": _group_norm, "instance_norm": _instance_norm,
    "cat": _cat, "concat": _cat, "concatenate": _cat, "chunk": _parts(torch.chunk), "split": _parts(torch.split),
    "flatten": _rows(torch.flatten), "view": _rows(Tensor.view), "reshape": _rows(Tensor.reshape),
}

# What a model may ask of a tensor without reading its values.
ASKED = _names("""
    shape dtype device ndim requires_grad layout is_cuda is_cpu is_leaf is_sparse is_quantized is_mkldnn is_meta is_nested is_mps
    is_xpu grad_fn names itemsize nbytes size dim ndimension numel nelement element_size stride is_contiguous get_device
    is_floating_point is_complex is_signed is_inference __len__ storage_offset is_sparse_csr is_xla is_vulkan is_ipu is_mtia
    is_maia is_conj is_neg is_pinned is_shared is_distributed is_same_size dim_order dense_dim sparse_dim name output_nr
    retains_grad retain_grad register_hook result_type _version
""")
