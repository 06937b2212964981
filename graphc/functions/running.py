"""Running sums, products and extremes along a dimension, differences and integrals."""

from __future__ import annotations

from typing import Any

from graphc.core.autocast import DEVICE_FULL, casts
from graphc.core.context import set_grad
from graphc.core.errors import ArgumentTypeError, ShapeError
from graphc.core.tensor_types import BOOL, FLOAT, as_dtype, int64
from graphc.functions import return_types
from graphc.functions.axes import as_int, at_least_1d, like_input, normalize_dim, numpy_names, tensor_argument
from graphc.functions.promotion import cast_to, promote, scalar_operand, to_float
from graphc.functions.reductions import check_floating, computed_in
from graphc.functions.splitting import slice_axis
from graphc.primitives import cumulative as ops
from graphc.primitives.creation import iota
from graphc.primitives.elementwise import add, multiply, not_equal, subtract, where
from graphc.primitives.indexing import gather
from graphc.primitives.joining import concat
from graphc.primitives.reductions import reduce_sum
from graphc.primitives.views import reshape


def along(size: Any, axis: int, ndim: int) -> Any:
    """0, 1, ..., size - 1 (int64) along `axis` of a tensor whose other sizes are 1."""
    shape = tuple(size if i == axis else 1 for i in range(ndim))
    return reshape(iota(size=size, start=0, step=1, dtype=int64), shape=shape)


def _running(op: Any, fn: str, input: Any, dim: Any, dtype: Any) -> Any:
    x = tensor_argument(input, fn)
    axis = normalize_dim(dim, len(x.shape))
    wanted = as_dtype(dtype) if dtype is not None else x.dtype if x.dtype.category == FLOAT else int64
    row = at_least_1d(cast_to(x, wanted))
    if wanted.category == BOOL:
        return like_input(cast_to(op(cast_to(row, int64), axis=axis), wanted), x)
    return like_input(op(row, axis=axis), x)


@casts(DEVICE_FULL)
@numpy_names
def cumsum(input: Any, dim: int, *, dtype: Any = None) -> Any:
    """The sum of the elements up to each place along `dim`; int64 for integers and bools unless `dtype` says."""
    return _running(ops.cumulative_sum, "cumsum", input, dim, dtype)


@casts(DEVICE_FULL)
@numpy_names
def cumprod(input: Any, dim: int, *, dtype: Any = None) -> Any:
    """The product of the elements up to each place along `dim`; int64 for integers and bools unless `dtype` says."""
    return _running(ops.cumulative_prod, "cumprod", input, dim, dtype)


@numpy_names
def logcumsumexp(input: Any, dim: int) -> Any:
    """log(cumsum(exp(x))) along `dim` without overflow."""
    x = tensor_argument(input, "logcumsumexp")
    check_floating(x, f'"logcumsumexp" not implemented for {x.dtype.name}')
    axis = normalize_dim(dim, len(x.shape))
    row = computed_in(at_least_1d(x))
    return like_input(cast_to(ops.cumulative_logsumexp(row, axis=axis), x.dtype), x)


def _running_extreme(op: Any, fn: str, input: Any, dim: Any) -> Any:
    x = tensor_argument(input, fn)
    axis = normalize_dim(dim, len(x.shape))
    row = at_least_1d(x)
    with set_grad(False):
        taken = ops.takes_over(row, op(row, axis=axis))
        places = where(taken, along(row.shape[axis], axis, len(row.shape)), scalar_operand(0, int64))
        indices = ops.cumulative_max(places, axis=axis)
    parts = gather(row, indices, axis=axis), indices
    return getattr(return_types, fn)(*(like_input(part, x) for part in parts))


@numpy_names
def cummax(input: Any, dim: int) -> Any:
    """(values, indices): the greatest element up to each place along `dim`, NaN after NaN, and its last place."""
    return _running_extreme(ops.cumulative_max, "cummax", input, dim)


@numpy_names
def cummin(input: Any, dim: int) -> Any:
    """(values, indices): the smallest element up to each place along `dim`, NaN after NaN, and its last place."""
    return _running_extreme(ops.cumulative_min, "cummin", input, dim)


def gaps(x: Any, axis: int) -> Any:
    """The difference of each two neighbours along `axis` (of at least one element); "not equal" for bools."""
    size = x.shape[axis]
    later, earlier = slice_axis(x, axis, 1, size), slice_axis(x, axis, 0, size - 1)
    return not_equal(later, earlier) if x.dtype.category == BOOL else subtract(later, earlier)


@numpy_names
def diff(input: Any, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """The n-th differences along `dim`, of `prepend`, x and `append` put together."""
    x = tensor_argument(input, "diff")
    if not len(x.shape):
        raise ShapeError("diff expects input to be at least one-dimensional")
    if as_int(n, "n") < 0:
        raise ShapeError(f"order must be non-negative but got {n}")
    axis = normalize_dim(dim, len(x.shape))
    if not n:
        return slice_axis(x, axis, 0, x.shape[axis])
    given = [part for part in (prepend, x, append) if part is not None]
    parts = promote(*(tensor_argument(part, "diff", "prepend") for part in given))
    x = concat(*parts, axis=axis) if len(parts) > 1 else x
    for _ in range(n):
        if isinstance(x.shape[axis], int) and x.shape[axis] == 0:
            break
        x = gaps(x, axis)
    return x


def _trapezoids(y: Any, x: Any, dx: Any, dim: Any, fn: str) -> tuple[Any, int]:
    """The areas between neighbours, before they are added up, and their axis."""
    y = tensor_argument(y, fn)
    axis = normalize_dim(dim, len(y.shape))
    if x is not None:
        if dx is not None:
            raise ArgumentTypeError(f"{fn}(): takes x or dx, not both")
        x, y = promote(tensor_argument(x, fn, "x"), y, floating=True)
        if len(x.shape) == 1:
            x = reshape(x, shape=tuple(x.shape[0] if i == axis else 1 for i in range(len(y.shape))))
        width = gaps(x, axis - len(y.shape) + len(x.shape))
    else:
        y = to_float(y)
        width = scalar_operand(1 if dx is None else dx, y.dtype)
    size = y.shape[axis]
    heights = add(slice_axis(y, axis, 1, size), slice_axis(y, axis, 0, size - 1))
    return multiply(multiply(heights, width), scalar_operand(0.5, y.dtype)), axis


@numpy_names
def trapezoid(y: Any, x: Any = None, *, dx: Any = None, dim: int = -1) -> Any:
    """The integral of `y` along `dim` by the trapezoidal rule, over the points `x` or in steps of `dx` (1)."""
    areas, axis = _trapezoids(y, x, dx, dim, "trapezoid")
    return reduce_sum(areas, axes=(axis,))


@numpy_names
def cumulative_trapezoid(y: Any, x: Any = None, *, dx: Any = None, dim: int = -1) -> Any:
    """The running integral of `y` along `dim` by the trapezoidal rule; one element shorter than y."""
    areas, axis = _trapezoids(y, x, dx, dim, "cumulative_trapezoid")
    return ops.cumulative_sum(areas, axis=axis)


trapz = trapezoid

METHODS = ("cumsum", "cumprod", "logcumsumexp", "cummax", "cummin", "diff")
INPLACE = ("cumsum", "cumprod")
__all__ = [*METHODS, "cumulative_trapezoid", "trapezoid", "trapz"]
