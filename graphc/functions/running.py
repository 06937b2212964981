"""Running sums, products and extremes along a dimension, differences and integrals."""

from __future__ import annotations

from typing import Any

from graphc.core.autocast import DEVICE_FULL, casts
from graphc.core.context import set_grad
from graphc.core.errors import ArgumentTypeError, ShapeError
from graphc.core.tape import TensorBase
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


def _mixed(parts: Any, weights: Any) -> Any:
    """The sum of parts times weights, which are numbers or tensors."""
    total: Any = None
    for part, weight in zip(parts, weights, strict=True):
        share = multiply(part, weight if isinstance(weight, TensorBase) else scalar_operand(weight, part.dtype))
        total = share if total is None else add(total, share)
    return total


def _slope(x: Any, axis: int, steps: Any, edge_order: int) -> Any:
    """The derivative along `axis`, neighbours apart by `steps`: one number, or a tensor of them that broadcasts."""
    count = x.shape[axis]

    def part(start: Any, stop: Any) -> Any:
        return slice_axis(x, axis, start, stop)

    def step(start: Any, stop: Any) -> Any:
        return slice_axis(steps, axis, start, stop) if isinstance(steps, TensorBase) else steps

    def edge(elements: Any, a: Any, b: Any = None) -> Any:
        """At the first of two elements a apart, or of three, the next ones b apart (Fornberg 1988)."""
        if b is None:
            return _mixed(elements, (-1.0 / a, 1.0 / a))
        return _mixed(elements, (-(a * 2.0 + b) / (a * (a + b)), (a + b) / (a * b), -a / (b * (a + b))))

    near = range(edge_order)
    first = edge([part(i, i + 1) for i in range(edge_order + 1)], *(step(i, i + 1) for i in near))
    ends = [part(count - 1 - i, count - i) for i in range(edge_order + 1)]
    last = edge(ends, *(-step(count - 2 - i, count - 1 - i) for i in near))
    a, b = step(0, count - 2), step(1, count - 1)
    weights = (-b / (a * (a + b)), (b - a) / (a * b), a / (b * (a + b)))
    inner = _mixed((part(0, count - 2), part(1, count - 1), part(2, count)), weights)
    return concat(first, inner, last, axis=axis)


def _gradient_steps(spacing: Any, axes: Any, x: Any) -> list[Any]:
    """What lies between neighbours along each axis, from numbers or tensors of coordinates."""
    given = list(spacing) if isinstance(spacing, tuple | list) else [spacing] * len(axes)
    if len(given) != len(axes):
        raise ShapeError(
            f"torch.gradient expected spacing to be unspecified, a scalar, or a list of {len(axes)} (one for each dim), got "
            f"a list of {len(given)}"
        )
    steps: list[Any] = []
    for axis, space in zip(axes, given, strict=True):
        space = 1.0 if space is None else space
        if not isinstance(space, TensorBase) or not space.shape:
            steps.append(float(space))
            continue
        shape = tuple(-1 if i == axis else 1 for i in range(len(x.shape)))
        if tuple(space.shape) != (x.shape[axis],):
            raise ShapeError(
                f"torch.gradient expected coordinates of dim {axis} to be [{x.shape[axis]}], got {list(space.shape)}"
            )
        apart = gaps(cast_to(space, x.dtype), 0)
        steps.append(reshape(apart, shape=tuple(apart.shape[0] if n == -1 else n for n in shape)))
    return steps


def gradient(input: Any, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1) -> tuple[Any, ...]:
    """The derivatives along `dim` (None: along each) by central differences: a tuple of tensors of x's shape.

    `spacing`: the distance of neighbours, or for each dim a distance or a tensor of coordinates. `edge_order`: 1 or 2, the
    order at the ends. ShapeError where a dim is shorter than `edge_order` + 1.
    """
    x = to_float(tensor_argument(input, "gradient"))
    rank = len(x.shape)
    axes = [normalize_dim(d, rank) for d in (range(rank) if dim is None else [dim] if isinstance(dim, int) else dim)]
    if edge_order not in (1, 2):
        raise ShapeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    for axis in axes:
        if isinstance(x.shape[axis], int) and x.shape[axis] < edge_order + 1:
            raise ShapeError("torch.gradient expected each dimension size to be at least edge_order+1")
    return tuple(_slope(x, a, s, edge_order) for a, s in zip(axes, _gradient_steps(spacing, axes, x), strict=True))


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
__all__ = [*METHODS, "cumulative_trapezoid", "gradient", "trapezoid", "trapz"]
