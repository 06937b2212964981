"""PyTorch's reductions: sums, means, products, extremes and their places, truth values, norms.

`dim` is an int, a tuple of ints, or None for all; negative ones count from the end. Sums and products of integers and
bools are int64. 16-bit floats are added up in float32.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

from graphc.core.autocast import AUTOCAST, DEVICE_FULL, FULL, brought, casts
from graphc.core.context import set_grad
from graphc.core.dims import product
from graphc.core.errors import ArgumentTypeError, DimensionError, DtypeError, ShapeError
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import BOOL, FLOAT, as_dtype, bool_, float32, int64, uint8
from graphc.functions import return_types
from graphc.functions.axes import (
    as_int,
    at_least_1d,
    kept_shape,
    normalize_dim,
    normalize_dims,
    numpy_names,
    tensor_argument,
    with_kept,
)  # fmt: skip
from graphc.functions.promotion import cast_to, promote, scalar_operand, to_float
from graphc.primitives import reductions as ops
from graphc.primitives.elementwise import (
    absolute,
    add,
    divide,
    equal,
    exp,
    is_nan,
    log,
    logical_not,
    maximum,
    minimum,
    subtract,
    where,
)  # fmt: skip
from graphc.primitives.indexing import gather
from graphc.primitives.views import reshape


def computed_in(x: Any) -> Any:
    """x as sums and exponentials of it are computed: float32 for the 16-bit floats."""
    return cast_to(x, float32) if x.dtype.category == FLOAT and x.dtype.itemsize == 2 else x


def count_of(x: Any, axes: tuple[int, ...]) -> Any:
    """How many elements a reduction of these axes folds into one."""
    shape = x.shape
    return product(tuple([shape[i] for i in axes]))


def check_floating(x: Any, message: str) -> None:
    """DtypeError with `message` unless x is floating."""
    if x.dtype.category != FLOAT:
        raise DtypeError(message, "a floating operand", "cast it first, for example with x.float()")


def check_not_empty(x: Any, fn: str, axes: tuple[int, ...], whole: bool) -> None:
    """Refuses to reduce a size known to be 0: ShapeError if `whole`, DimensionError for a dimension named."""
    for axis in axes:
        if isinstance(x.shape[axis], int) and x.shape[axis] == 0:
            if whole:
                raise ShapeError(
                    f"{fn}(): Expected reduction dim to be specified for input.numel() == 0. "
                    "Specify the reduction dim with the 'dim' argument."
                )
            raise DimensionError(f"{fn}(): Expected reduction dim {axis} to have non-zero size.")


def _summable(x: Any, dtype: Any) -> Any:
    if dtype is not None:
        return cast_to(x, as_dtype(dtype))
    return x if x.dtype.category == FLOAT else cast_to(x, int64)


@numpy_names
def sum(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The sum over `dim`; int64 for integers and bools unless `dtype` is given."""
    if AUTOCAST.used:
        (input,) = brought(DEVICE_FULL, input)
    x = _summable(tensor_argument(input, "sum"), dtype)
    axes = normalize_dims(dim, len(x.shape))
    if x.dtype.category == BOOL:
        return with_kept(ops.reduce_any(x, axes=axes), x.shape, axes, keepdim)
    return with_kept(ops.reduce_sum(x, axes=axes), x.shape, axes, keepdim)


@numpy_names
def nansum(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The sum over `dim` of the elements that are not NaN."""
    x = _summable(tensor_argument(input, "nansum"), dtype)
    if x.dtype.category == FLOAT:
        x = where(is_nan(x), scalar_operand(0, x.dtype), x)
    return sum(x, dim, keepdim, dtype=x.dtype)


@numpy_names
def mean(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The mean over `dim` of a floating tensor (or of any in a floating `dtype`); NaN over nothing."""
    x = tensor_argument(input, "mean")
    x = x if dtype is None else cast_to(x, as_dtype(dtype))
    if x.dtype.category != FLOAT:
        what = "Input dtype" if dtype is None else "Optional dtype"
        check_floating(
            x, f"mean(): could not infer output dtype. {what} must be either a floating point or complex dtype. "
            f"Got: {x.dtype.name}",
        )  # fmt: skip
    axes = normalize_dims(dim, len(x.shape))
    wide = computed_in(x)
    out = divide(ops.reduce_sum(wide, axes=axes), scalar_operand(count_of(x, axes), wide.dtype))
    return with_kept(cast_to(out, x.dtype), x.shape, axes, keepdim)


@numpy_names
def nanmean(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The mean over `dim` of the elements that are not NaN."""
    x = tensor_argument(input, "nanmean")
    check_floating(x, f"nanmean(): expected input to have floating point or complex dtype but got {x.dtype.name}")
    x = x if dtype is None else cast_to(x, as_dtype(dtype))
    wide = computed_in(x)
    valid = cast_to(logical_not(is_nan(wide)), wide.dtype)
    return cast_to(divide(nansum(wide, dim, keepdim), sum(valid, dim, keepdim)), x.dtype)


@casts(FULL)
@numpy_names
def prod(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The product over one dimension, or of all elements."""
    x = _summable(tensor_argument(input, "prod"), dtype)
    axes = normalize_dims(None if dim is None else as_int(dim), len(x.shape))
    if x.dtype.category == BOOL:
        return with_kept(ops.reduce_all(x, axes=axes), x.shape, axes, keepdim)
    return with_kept(ops.reduce_prod(x, axes=axes), x.shape, axes, keepdim)


def _truth(fold: Callable[..., Any], input: Any, fn: str, dim: Any, keepdim: bool) -> Any:
    x = tensor_argument(input, fn)
    # An empty tuple of dimensions means none for `any` and `all` alone.
    axes = () if isinstance(dim, tuple | list) and not dim else normalize_dims(dim, len(x.shape))
    out = with_kept(fold(cast_to(x, bool_), axes=axes), x.shape, axes, keepdim)
    return cast_to(out, uint8) if x.dtype is uint8 else out


@numpy_names
def any(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Whether some element over `dim` is not zero: bool, uint8 for uint8."""
    return _truth(ops.reduce_any, input, "any", dim, keepdim)


@numpy_names
def all(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Whether every element over `dim` is not zero: bool, uint8 for uint8."""
    return _truth(ops.reduce_all, input, "all", dim, keepdim)


@numpy_names
def count_nonzero(input: Any, dim: Any = None) -> Any:
    """How many elements over `dim` are not zero (int64)."""
    return sum(cast_to(tensor_argument(input, "count_nonzero"), bool_), dim)


def _extreme(op: Any, fn: str, input: Any, dim: Any, keepdim: bool) -> Any:
    x = tensor_argument(input, fn)
    axes = normalize_dims(dim, len(x.shape))
    check_not_empty(x, fn, axes, whole=dim is None or (isinstance(dim, tuple | list) and not dim))
    return with_kept(op(x, axes=axes), x.shape, axes, keepdim)


@numpy_names
def amax(input: Any, dim: Any = (), keepdim: bool = False) -> Any:
    """The greatest element over `dim`, NaN if there is one; equal elements share the gradient."""
    return _extreme(ops.reduce_max, "amax", input, dim, keepdim)


@numpy_names
def amin(input: Any, dim: Any = (), keepdim: bool = False) -> Any:
    """The smallest element over `dim`, NaN if there is one; equal elements share the gradient."""
    return _extreme(ops.reduce_min, "amin", input, dim, keepdim)


@numpy_names
def aminmax(input: Any, *, dim: Any = None, keepdim: bool = False) -> Any:
    """The smallest and the greatest element over one dimension, or of all."""
    at = None if dim is None else as_int(dim)
    return return_types.aminmax(
        _extreme(ops.reduce_min, "aminmax", input, at, keepdim), _extreme(ops.reduce_max, "aminmax", input, at, keepdim)
    )


def take_along(x: Any, position: Any, axis: int, keepdim: bool) -> Any:
    """The elements of x at `position` along `axis`, and the gradient back to them alone; `position` lacks the axis."""
    shape = kept_shape(x.shape, (axis,))
    found = gather(x, reshape(position, shape=shape), axis=axis)
    return found if keepdim else reshape(found, shape=tuple(position.shape))


def _choose(find: Any, fold: Any, binary: Any, fn: str, input: Any, args: tuple[Any, ...], keepdim: bool) -> Any:
    """`max` and `min` in their three forms."""
    x = tensor_argument(input, fn)
    dim, other = args
    if isinstance(dim, TensorBase) or other is not None:
        return binary(*promote(x, tensor_argument(dim if other is None else other, fn, "other")))
    if dim is None:
        return _extreme(fold, fn, x, None, keepdim)
    axis = normalize_dim(dim, len(x.shape))
    row = at_least_1d(x)
    check_not_empty(row, fn, (axis,), whole=False)
    position = find(row, axis=axis)
    parts = take_along(row, position, axis, keepdim), with_kept(position, row.shape, (axis,), keepdim)
    return getattr(return_types, fn)(*(part if len(x.shape) else reshape(part, shape=()) for part in parts))


@numpy_names
def max(input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """`max(x)`: the greatest element; `max(x, dim)`: (values, indices); `max(x, other)`: elementwise `maximum`.

    `max(x, dim)` sends the gradient to the first of equal elements alone, `max(x)` shares it.
    """
    return _choose(ops.argmax, ops.reduce_max, maximum, "max", input, (dim, other), keepdim)


@numpy_names
def min(input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """`min(x)`: the smallest element; `min(x, dim)`: (values, indices); `min(x, other)`: elementwise `minimum`."""
    return _choose(ops.argmin, ops.reduce_min, minimum, "min", input, (dim, other), keepdim)


def _position(find: Any, fn: str, input: Any, dim: Any, keepdim: bool) -> Any:
    x = tensor_argument(input, fn)
    if x.dtype.category == BOOL:
        raise DtypeError(f"{fn}(): does not support bool input", "a number dtype", "cast it first")
    if dim is None:
        if builtins.any(isinstance(s, int) and s == 0 for s in x.shape):
            raise DimensionError(f"{fn}(): Expected reduction dim to be specified for input.numel() == 0.")
        out = find(reshape(x, shape=(product(tuple(x.shape)),)), axis=0)
        return reshape(out, shape=(1,) * len(x.shape)) if keepdim else out
    axis = normalize_dim(dim, len(x.shape))
    row = at_least_1d(x)
    check_not_empty(row, fn, (axis,), whole=False)
    return with_kept(find(row, axis=axis), x.shape, (axis,) if len(x.shape) else (), keepdim)


@numpy_names
def argmax(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The place (int64) of the greatest element along `dim`, or in the flattened tensor; the first of equals."""
    return _position(ops.argmax, "argmax", input, dim, keepdim)


@numpy_names
def argmin(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The place (int64) of the smallest element along `dim`, or in the flattened tensor; the first of equals."""
    return _position(ops.argmin, "argmin", input, dim, keepdim)


def finite_peak(x: Any, axes: tuple[int, ...]) -> Any:
    """The greatest element over `axes` (kept), 0 where it is infinite, without gradient: a shift for exponents."""
    with set_grad(False):
        peak = reshape(ops.reduce_max(x, axes=axes), shape=kept_shape(x.shape, axes))
        infinite = equal(absolute(peak), scalar_operand(float("inf"), x.dtype))
        return where(infinite, scalar_operand(0, x.dtype), peak)


@casts(DEVICE_FULL)
@numpy_names
def logsumexp(input: Any, dim: Any, keepdim: bool = False) -> Any:
    """log(sum(exp(x))) over `dim` without overflow; integers as the default float dtype."""
    x = to_float(tensor_argument(input, "logsumexp"))
    if dim is None:
        raise ArgumentTypeError("logsumexp(): argument 'dim' must be tuple of ints, not NoneType")
    axes = normalize_dims(dim, len(x.shape))
    wide = computed_in(x)
    if builtins.any(isinstance(x.shape[i], int) and x.shape[i] == 0 for i in axes):
        out = log(ops.reduce_sum(exp(wide), axes=axes))
    else:
        peak = finite_peak(wide, axes)
        total = log(ops.reduce_sum(exp(subtract(wide, peak)), axes=axes))
        out = add(total, reshape(peak, shape=tuple(total.shape)))
    return with_kept(cast_to(out, x.dtype), x.shape, axes, keepdim)


METHODS = (
    "sum", "nansum", "mean", "nanmean", "prod", "any", "all", "count_nonzero", "amax", "amin", "aminmax", "max", "min",
    "argmax", "argmin", "logsumexp",
)  # fmt: skip
INPLACE = ()
__all__ = list(METHODS)
