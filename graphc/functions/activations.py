"""Activation functions with the signatures of `torch.nn.functional`; `inplace=True` writes into the input."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

from graphc.core.autocast import DEVICE_FULL, LOWER, casts
from graphc.core.dims import Size, floordiv
from graphc.core.errors import DtypeError, ShapeError
from graphc.core.one_call import one_call
from graphc.core.tensor_types import FLOAT, bool_
from graphc.functions.arguments import floating, need_float, need_tensor
from graphc.functions.axes import normalize_dim
from graphc.functions.promotion import plain, scalar_operand
from graphc.primitives import elementwise as op
from graphc.primitives.copying import copy
from graphc.primitives.views import reshape, slice_

Function = Callable[..., Any]


def _may_write_input(fn: Function) -> Function:
    """Gives `inplace` its meaning; the function itself never looks at it."""
    position = list(inspect.signature(fn).parameters).index("inplace") - 1

    @functools.wraps(fn)
    def function(input: Any, *args: Any, **kwargs: Any) -> Any:
        inplace = args[position] if len(args) > position else kwargs.get("inplace", False)
        if not inplace:
            return fn(input, *args, **kwargs)
        # the rules must not find the new numbers where they saved the old ones
        return input.copy_(fn(copy(input), *args, **kwargs))

    return function


def _in_place(fn: Function) -> Function:
    """`relu_` from `relu`."""

    def function(input: Any, *args: Any, **kwargs: Any) -> Any:
        return input.copy_(fn(copy(input), *args, **kwargs))

    function.__name__ = function.__qualname__ = fn.__name__ + "_"
    function.__doc__ = f"`{fn.__name__}` written into its input."
    return function


def _number(value: Any, x: Any) -> Any:
    """A number as a 0-d tensor of x's dtype."""
    return scalar_operand(plain(value, x.dtype), x.dtype)


def _need_numbers(x: Any) -> Any:
    if need_tensor(x).dtype is bool_:
        raise DtypeError("Boolean inputs are not supported", "an integer or floating dtype")
    return x


# --- piecewise linear ------------------------------------------------------------------------------------------------


@_may_write_input
def threshold(input: Any, threshold: float, value: float, inplace: bool = False) -> Any:
    """x where it is above the threshold, else `value`."""
    x = _need_numbers(input)
    return op.where(op.less_equal(x, _number(threshold, x)), _number(value, x), x)


@_may_write_input
@one_call(rereads=False)
def relu(input: Any, inplace: bool = False) -> Any:
    """max(x, 0), with gradient 0 at 0."""
    x = _need_numbers(input)
    zero = _number(0, x)
    return op.where(op.less_equal(x, zero), zero, x)


@_may_write_input
@one_call()
def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Any:
    """x limited to [min_val, max_val], with gradient 0 at the bounds."""
    x = _need_numbers(input)
    if min_val < 0 and x.dtype.category != FLOAT and not x.dtype.is_signed:
        raise DtypeError("cannot do hardtanh on an unsigned type with negative limits")
    low, high = _number(min_val, x), _number(max_val, x)
    raised = op.where(op.less_equal(x, low), low, x)
    return op.where(op.greater_equal(raised, high), high, raised)


@_may_write_input
def relu6(input: Any, inplace: bool = False) -> Any:
    """x limited to [0, 6], with gradient 0 at the bounds."""
    return hardtanh(input, 0.0, 6.0)


@_may_write_input
@one_call()
def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    """x if positive, else negative_slope x."""
    x = need_float(input)
    return op.where(op.greater(x, _number(0, x)), x, op.multiply(x, _number(negative_slope, x)))


@casts(LOWER)
def prelu(input: Any, weight: Any) -> Any:
    """x if positive, else weight x; the weight is one number or one per channel (dimension 1)."""
    x, w = need_tensor(input), need_tensor(weight, "weight")
    if x.dtype is not w.dtype:
        raise DtypeError(f"prelu: Type promoting not supported. Got {x.dtype.name} and {w.dtype.name}", "equal dtypes")
    if len(w.shape) > 1:
        raise ShapeError(f"prelu: Expected `weight` to be a scalar or 1D tensor, but got {len(w.shape)} dimensions")
    count: Size = w.shape[0] if w.shape else 1
    channels: Size = x.shape[1] if len(x.shape) > 1 else 1
    if count == 1:
        w = reshape(w, shape=())
    elif count != channels:
        raise ShapeError(
            "Mismatch of parameter numbers and input channel size",
            f"1 or {channels} parameters, got {count}",
        )
    else:
        w = reshape(w, shape=(count, *[1] * (len(x.shape) - 2)))
    return op.where(op.greater(x, _number(0, x)), x, op.multiply(w, x))


@_may_write_input
@one_call()
def hardsigmoid(input: Any, inplace: bool = False) -> Any:
    """relu6(x + 3) / 6."""
    return relu6(need_float(input) + 3) / 6


@_may_write_input
@one_call()
def hardswish(input: Any, inplace: bool = False) -> Any:
    """x relu6(x + 3) / 6."""
    x = need_float(input)
    return x * relu6(x + 3) / 6


def hardshrink(input: Any, lambd: float = 0.5) -> Any:
    """x outside [-lambd, lambd], 0 inside."""
    x = need_float(input)
    inside = op.logical_and(op.greater_equal(x, _number(-lambd, x)), op.less_equal(x, _number(lambd, x)))
    return op.where(inside, _number(0, x), x)


def softshrink(input: Any, lambd: float = 0.5) -> Any:
    """x moved toward 0 by lambd, 0 inside [-lambd, lambd]; DtypeError for a negative lambd."""
    x = need_float(input)
    if lambd < 0:
        raise DtypeError(f"lambda must not be negative, but found {lambd}")
    width = _number(lambd, x)
    low = op.where(op.less(x, -width), op.add(x, width), _number(0, x))
    return op.where(op.greater(x, width), op.subtract(x, width), op.where(op.is_nan(x), x, low))


# --- smooth ----------------------------------------------------------------------------------------------------------


def _not_positive(x: Any) -> Any:
    """x where it is not positive, else 0: keeps the exponential of an unused branch, and its gradient, finite."""
    zero = _number(0, x)
    return op.where(op.greater(x, zero), zero, x)


@_may_write_input
@one_call()
def elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """x if positive, else alpha (e^x - 1)."""
    x = need_float(input)
    return op.where(op.greater(x, _number(0, x)), x, op.expm1(_not_positive(x)) * alpha)


@_may_write_input
@one_call()
def celu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """x if positive, else alpha (e^(x / alpha) - 1)."""
    x = need_float(input)
    if alpha == 0:
        raise DtypeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return op.where(op.greater(x, _number(0, x)), x, op.expm1(_not_positive(x) * (1 / alpha)) * alpha)


#: G. Klambauer et al., "Self-normalizing neural networks", 2017
SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


@_may_write_input
@one_call()
def selu(input: Any, inplace: bool = False) -> Any:
    """scale elu(x, alpha) with the constants that keep mean 0 and variance 1."""
    x = need_float(input)
    return op.where(
        op.greater(x, _number(0, x)), x * SELU_SCALE, op.expm1(_not_positive(x)) * (SELU_ALPHA * SELU_SCALE)
    )


@one_call(cast=DEVICE_FULL)
def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """log(1 + e^(beta x)) / beta; x itself where beta x is above the threshold."""
    x = need_float(input)
    scaled = x * beta
    linear = op.greater(scaled, _number(threshold, x))
    return op.where(linear, x, op.log1p(op.exp(op.where(linear, _number(0, x), scaled))) / beta)


@one_call()
def logsigmoid(input: Any) -> Any:
    """log(sigmoid(x)) without overflow."""
    x = need_float(input)
    return op.minimum(x, _number(0, x)) - op.log1p(op.exp(-op.absolute(x)))


@_may_write_input
@one_call()
def silu(input: Any, inplace: bool = False) -> Any:
    """x sigmoid(x)."""
    x = need_float(input)
    return x * op.sigmoid(x)


@_may_write_input
@one_call()
def mish(input: Any, inplace: bool = False) -> Any:
    """x tanh(softplus(x))."""
    x = need_float(input)
    return x * op.tanh(softplus(x))


@one_call()
def gelu(input: Any, approximate: str = "none") -> Any:
    """x times the normal distribution's share below x; with `approximate="tanh"` by Hendrycks and Gimpel's formula."""
    x = need_float(input)
    if approximate == "none":
        return 0.5 * x * (1 + op.erf(x * math.sqrt(0.5)))
    if approximate != "tanh":
        raise DtypeError("approximate argument must be either none or tanh.")
    return 0.5 * x * (1 + op.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))))


@one_call()
def softsign(input: Any) -> Any:
    """x / (1 + |x|)."""
    x = _need_numbers(input)
    return x / (op.absolute(x) + 1)


def tanhshrink(input: Any) -> Any:
    """x - tanh(x)."""
    return need_tensor(input) - op.tanh(floating(input))


@one_call()
def glu(input: Any, dim: int = -1) -> Any:
    """a sigmoid(b) of the two halves a, b along `dim`; ShapeError if it cannot be halved."""
    x = need_tensor(input)
    if not x.shape:
        raise ShapeError("glu does not support scalars because halving size must be even")
    axis = normalize_dim(dim, len(x.shape))
    size = x.shape[axis]
    if isinstance(size, int) and size % 2:
        raise ShapeError(f"Halving dimension must be even, but dimension {axis} is size {size}", "an even size")
    half = floordiv(size, 2)

    def part(first: Size, last: Size) -> Any:
        starts = tuple(first if i == axis else 0 for i in range(len(x.shape)))
        limits = tuple(last if i == axis else s for i, s in enumerate(x.shape))
        return slice_(x, starts=starts, limits=limits, strides=(1,) * len(x.shape))

    need_float(x)
    return part(0, half) * op.sigmoid(part(half, size))


relu_, elu_, celu_, selu_ = _in_place(relu), _in_place(elu), _in_place(celu), _in_place(selu)
leaky_relu_, hardtanh_, threshold_ = _in_place(leaky_relu), _in_place(hardtanh), _in_place(threshold)

METHODS = ("relu", "prelu", "hardshrink")
INPLACE = ("relu",)
#: also public outside of nn.functional, as in PyTorch
__all__ = ["relu", "relu_", "prelu", "hardshrink", "selu", "selu_", "celu", "celu_", "threshold", "threshold_"]
FUNCTIONAL = (
    "celu", "celu_", "elu", "elu_", "gelu", "glu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "hardtanh_",
    "leaky_relu", "leaky_relu_", "logsigmoid", "mish", "prelu", "relu", "relu6", "relu_", "selu", "selu_", "sigmoid",
    "silu", "softplus", "softshrink", "softsign", "tanh", "tanhshrink", "threshold", "threshold_",
)  # fmt: skip
