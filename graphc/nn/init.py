"""`torch.nn.init`: ways to fill a tensor in place. None of them is put on the tape or recorded in a graph.

Sources: Glorot & Bengio 2010 (xavier), He et al. 2015 (kaiming), Saxe et al. 2013 (orthogonal), Martens 2010 (sparse).
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from graphc.core.arrays import is_array
from graphc.core.context import eagerly
from graphc.core.errors import ArgumentError, SymbolicError, user_line
from graphc.core.lazy import lazy_attributes
from graphc.core.tape import TensorBase
from graphc.functions.creation import eye as eye_matrix
from graphc.functions.creation import from_array
from graphc.functions.random import randn, randperm
from graphc.grad_mode import no_grad

F = TypeVar("F", bound=Callable[..., Any])


def _quietly(fn: F) -> F:
    """Runs an initialiser off the tape and outside of any graph."""

    @functools.wraps(fn)
    def init(*args: Any, **kwargs: Any) -> Any:
        tensor = args[0] if args else kwargs.get("tensor")
        if isinstance(tensor, TensorBase) and not is_array(tensor._data):
            raise SymbolicError(
                f"{fn.__name__} cannot fill a symbolic tensor {tensor.tensor_type} at {user_line()}\n  hint: make and fill it "
                "inside `with gc.eagerly():`, or use the tensor's own method to fill it anew at each run"
            )
        with no_grad(), eagerly():
            return fn(*args, **kwargs)

    return init  # type: ignore[return-value]


_LINEAR = (
    "linear",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "sigmoid",
)


def calculate_gain(nonlinearity: str, param: Any = None) -> float:
    """The recommended factor on the standard deviation for a nonlinearity; ArgumentError for an unknown one."""
    if nonlinearity in _LINEAR:
        return 1
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        if param is None:
            return math.sqrt(2.0 / (1 + 0.01**2))
        if isinstance(param, bool) or not isinstance(param, int | float):
            raise ArgumentError(f"negative_slope {param} not a valid number")
        return math.sqrt(2.0 / (1 + param**2))
    if nonlinearity == "selu":
        return 3.0 / 4
    raise ArgumentError(f"Unsupported nonlinearity {nonlinearity}")


@_quietly
def uniform_(tensor: Any, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Any:
    """Numbers from [a, b)."""
    return tensor.uniform_(a, b, generator=generator)


@_quietly
def normal_(tensor: Any, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Any:
    """Numbers from the normal distribution."""
    return tensor.normal_(mean, std, generator=generator)


@_quietly
def trunc_normal_(
    tensor: Any, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, generator: Any = None
) -> Any:
    """Numbers from the normal distribution, those outside [a, b] drawn again (by the inverse of the distribution)."""
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            "mean is more than 2 std from [a, b] in nn.init.trunc_normal_. The distribution of values may be incorrect.",
            stacklevel=3,
        )
    low, high = (math.erf((end - mean) / (std * math.sqrt(2))) for end in (a, b))
    tensor.uniform_(low, high, generator=generator)
    x = _erfinv(tensor.detach().numpy().astype(np.float64)) * (std * math.sqrt(2)) + mean
    return tensor.copy_(from_array(np.clip(x, a, b)))


def _erfinv(y: Any) -> Any:
    """The inverse error function: Winitzki's approximation, then Newton steps on `erf`."""
    y = np.clip(y, -1 + 1e-16, 1 - 1e-16)
    c = 0.147
    part = np.log1p(-y * y)
    first = 2 / (math.pi * c) + part / 2
    x = np.sign(y) * np.sqrt(np.sqrt(first * first - part / c) - first)
    erf = np.vectorize(math.erf, otypes=[np.float64])
    for _ in range(2):
        x = x - (erf(x) - y) / (2 / math.sqrt(math.pi) * np.exp(-x * x)) if x.size else x
    return x


@_quietly
def constant_(tensor: Any, val: float) -> Any:
    """One number everywhere."""
    return tensor.fill_(val)


@_quietly
def ones_(tensor: Any) -> Any:
    """Ones."""
    return tensor.fill_(1.0)


@_quietly
def zeros_(tensor: Any) -> Any:
    """Zeros."""
    return tensor.zero_()


@_quietly
def eye_(tensor: Any) -> Any:
    """The identity matrix; ArgumentError unless the tensor has two dimensions."""
    if tensor.ndim != 2:
        raise ArgumentError("Only tensors with 2 dimensions are supported")
    return tensor.copy_(eye_matrix(*tensor.shape))


@_quietly
def dirac_(tensor: Any, groups: int = 1) -> Any:
    """A convolution that keeps its channels as they are; ArgumentError unless the tensor has 3, 4 or 5 dimensions."""
    if tensor.ndim not in (3, 4, 5):
        raise ArgumentError("Only tensors with 3, 4, or 5 dimensions are supported")
    sizes = tensor.shape
    if sizes[0] % groups != 0:
        raise ArgumentError("dim 0 must be divisible by groups")
    out_channels = sizes[0] // groups
    array = np.zeros(tuple(sizes))
    middle = tuple(size // 2 for size in sizes[2:])
    for group in range(groups):
        for d in range(min(out_channels, sizes[1])):
            array[(group * out_channels + d, d, *middle)] = 1
    return tensor.copy_(from_array(array))


def _calculate_fan_in_and_fan_out(tensor: Any) -> tuple[int, int]:
    """How many inputs an output unit has, and how many outputs an input unit; ArgumentError below two dimensions."""
    if tensor.dim() < 2:
        raise ArgumentError("Fan in and fan out can not be computed for tensor with fewer than 2 dimensions")
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def _calculate_correct_fan(tensor: Any, mode: str) -> int:
    mode = mode.lower()
    if mode not in ("fan_in", "fan_out"):
        raise ArgumentError(f"Mode {mode} not supported, please use one of ['fan_in', 'fan_out']")
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    return fan_in if mode == "fan_in" else fan_out


def xavier_uniform_(tensor: Any, gain: float = 1.0, generator: Any = None) -> Any:
    """Uniform in +-gain sqrt(6 / (fan_in + fan_out))."""
    bound = gain * math.sqrt(6.0 / float(sum(_calculate_fan_in_and_fan_out(tensor))))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Any, gain: float = 1.0, generator: Any = None) -> Any:
    """Normal with standard deviation gain sqrt(2 / (fan_in + fan_out))."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / float(sum(_calculate_fan_in_and_fan_out(tensor)))), generator)


def _empty(tensor: Any) -> bool:
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=3)
        return True
    return False


def kaiming_uniform_(
    tensor: Any, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Any:
    """Uniform in +-gain sqrt(3 / fan)."""
    if _empty(tensor):
        return tensor
    bound = math.sqrt(3.0) * calculate_gain(nonlinearity, a) / math.sqrt(_calculate_correct_fan(tensor, mode))
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Any, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Any:
    """Normal with standard deviation gain / sqrt(fan)."""
    if _empty(tensor):
        return tensor
    return normal_(
        tensor, 0.0, calculate_gain(nonlinearity, a) / math.sqrt(_calculate_correct_fan(tensor, mode)), generator
    )


@_quietly
def orthogonal_(tensor: Any, gain: float = 1, generator: Any = None) -> Any:
    """A (semi-)orthogonal matrix, the dimensions after the first read as one; ArgumentError below two dimensions."""
    if tensor.ndim < 2:
        raise ArgumentError("Only tensors with 2 or more dimensions are supported")
    if 0 in tensor.shape:
        return tensor
    rows = tensor.shape[0]
    columns = tensor.numel() // rows
    flat = randn(rows, columns, generator=generator).numpy().astype(np.float64)
    q, r = np.linalg.qr(flat.T if rows < columns else flat)
    q = q * np.sign(np.diag(r))
    matrix = (q.T if rows < columns else q) * gain
    return tensor.copy_(from_array(np.ascontiguousarray(matrix.reshape(tuple(tensor.shape)))))


@_quietly
def sparse_(tensor: Any, sparsity: float, std: float = 0.01, generator: Any = None) -> Any:
    """Normal numbers with a fraction `sparsity` of each column set to 0; ArgumentError unless 2-d."""
    if tensor.ndim != 2:
        raise ArgumentError("Only tensors with 2 dimensions are supported")
    rows, columns = tensor.shape
    zeroed = math.ceil(sparsity * rows)
    tensor.normal_(0, std, generator=generator)
    array = tensor.detach().numpy()
    for column in range(columns):
        array[randperm(rows, generator=generator).numpy()[:zeroed], column] = 0
    return tensor


def _deprecated(fn: F) -> F:
    """The name without underscore that PyTorch still answers to."""
    old, new = fn.__name__[:-1], fn.__name__

    def call(*args: Any, **kwargs: Any) -> Any:
        warnings.warn(f"`nn.init.{old}` is now deprecated in favor of `nn.init.{new}`.", FutureWarning, stacklevel=2)
        return fn(*args, **kwargs)

    call.__name__ = call.__qualname__ = old
    call.__doc__ = f"Deprecated name of `{new}`."
    return call  # type: ignore[return-value]


uniform, normal, constant = _deprecated(uniform_), _deprecated(normal_), _deprecated(constant_)
eye, dirac = _deprecated(eye_), _deprecated(dirac_)
xavier_uniform, xavier_normal = _deprecated(xavier_uniform_), _deprecated(xavier_normal_)
kaiming_uniform, kaiming_normal = _deprecated(kaiming_uniform_), _deprecated(kaiming_normal_)
orthogonal, sparse = _deprecated(orthogonal_), _deprecated(sparse_)

__getattr__ = lazy_attributes("graphc.nn.init", {})

__all__ = [
    "calculate_gain", "constant", "constant_", "dirac", "dirac_", "eye", "eye_", "kaiming_normal", "kaiming_normal_",
    "kaiming_uniform", "kaiming_uniform_", "normal", "normal_", "ones_", "orthogonal", "orthogonal_", "sparse", "sparse_",
    "trunc_normal_", "uniform", "uniform_", "xavier_normal", "xavier_normal_", "xavier_uniform", "xavier_uniform_",
    "zeros_",
]  # fmt: skip
