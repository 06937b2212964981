"""PyTorch's statistics: variance, order statistics, histograms and covariance."""

from __future__ import annotations

import math
import warnings
from typing import Any

from graphc.core.autocast import AUTOCAST, CPU_FULL, LOWER, brought, casts
from graphc.core.context import STATE, set_grad
from graphc.core.dims import Dim, product
from graphc.core.errors import ArgumentTypeError, DtypeError, ShapeError, SymbolicError, user_line
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import FLOAT, float32, float64, int64
from graphc.functions import return_types
from graphc.functions.axes import (
    as_int,
    at_least_1d,
    normalize_dim,
    normalize_dims,
    numpy_names,
    tensor_argument,
    with_kept,
)
from graphc.functions.norms import masked_sqrt
from graphc.functions.promotion import cast_to, promote, scalar_operand
from graphc.functions.reductions import (
    amax,
    amin,
    check_floating,
    check_not_empty,
    computed_in,
    count_of,
    mean,
    sum,
    take_along,
)  # fmt: skip
from graphc.functions.running import along
from graphc.functions.splitting import slice_axis
from graphc.primitives.contraction import matmul
from graphc.primitives.creation import full
from graphc.primitives.cumulative import cumulative_max
from graphc.primitives.elementwise import (
    add,
    ceil,
    divide,
    equal,
    floor,
    floor_divide,
    greater,
    is_nan,
    less,
    logical_not,
    logical_or,
    maximum,
    minimum,
    multiply,
    not_equal,
    round_,
    subtract,
    where,
)  # fmt: skip
from graphc.primitives.indexing import gather, scatter_add
from graphc.primitives.joining import concat
from graphc.primitives.reductions import argmax, reduce_min, reduce_sum
from graphc.primitives.sorting import sort as sort_op
from graphc.primitives.views import diagonal, expand, permute, reshape

# --- variance ---------------------------------------------------------------------------------------------------------


def _moments(fn: str, input: Any, dim: Any, unbiased: Any, keepdim: bool, correction: Any) -> tuple[Any, Any]:
    """Variance and mean as they are computed, in PyTorch's two signatures."""
    x = tensor_argument(input, fn)
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None and correction is not None:
        raise ArgumentTypeError(f"{fn}(): takes unbiased or correction, not both")
    if correction is None:
        correction = 1 if unbiased is None else int(unbiased)
    check_floating(x, f"{fn}: std and var only support floating point and complex dtypes, got {x.dtype.name}")
    axes = normalize_dims(dim, len(x.shape))
    wide = computed_in(x)
    center = mean(wide, axes, keepdim=True) if axes else wide
    centered = subtract(wide, center)
    total = reduce_sum(multiply(centered, centered), axes=axes)
    variance = divide(total, _freedom(fn, count_of(x, axes), correction, wide.dtype))
    return with_kept(variance, x.shape, axes, keepdim), center if keepdim else reshape(center, shape=tuple(total.shape))


def _freedom(fn: str, count: Any, correction: Any, dtype: Any) -> Any:
    if isinstance(count, Dim):
        free = subtract(scalar_operand(count, dtype), scalar_operand(correction, dtype))
        return maximum(free, scalar_operand(0, dtype))
    if count <= correction:
        warnings.warn(
            f"{fn}(): degrees of freedom is <= 0. Correction should be strictly less than the reduction factor "
            "(input numel divided by output numel).",
            stacklevel=5,
        )
    return scalar_operand(max(count - correction, 0), dtype)


@numpy_names
def var(input: Any, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None) -> Any:
    """The variance over `dim`: squared distances from the mean over n - `correction` (1; 0 if not `unbiased`)."""
    return cast_to(_moments("var", input, dim, unbiased, keepdim, correction)[0], input.dtype)


@numpy_names
def std(input: Any, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None) -> Any:
    """The square root of `var`; its gradient is 0 where it is 0."""
    return cast_to(masked_sqrt(_moments("std", input, dim, unbiased, keepdim, correction)[0]), input.dtype)


@numpy_names
def var_mean(
    input: Any, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None
) -> tuple[Any, Any]:
    """(`var`, `mean`) over `dim`."""
    variance, center = _moments("var_mean", input, dim, unbiased, keepdim, correction)
    return cast_to(variance, input.dtype), cast_to(center, input.dtype)


@numpy_names
def std_mean(
    input: Any, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *, correction: Any = None
) -> tuple[Any, Any]:
    """(`std`, `mean`) over `dim`."""
    variance, center = _moments("std_mean", input, dim, unbiased, keepdim, correction)
    return cast_to(masked_sqrt(variance), input.dtype), cast_to(center, input.dtype)


# --- order statistics -------------------------------------------------------------------------------------------------


def _sorted(x: Any, axis: int) -> tuple[Any, Any]:
    values, indices = sort_op(x, axis=axis, descending=False, stable=True)
    return values, indices


def _valid_count(x: Any, axis: int) -> Any:
    """How many elements along `axis` are not NaN (int64)."""
    if x.dtype.category != FLOAT:
        shape = tuple(s for i, s in enumerate(x.shape) if i != axis)
        return expand(scalar_operand(x.shape[axis], int64), shape=shape)
    return reduce_sum(cast_to(logical_not(is_nan(x)), int64), axes=(axis,))


def _median_place(x: Any, axis: int, skip_nan: bool) -> Any:
    """The rank of the (lower) median; that of the first NaN if NaN is not skipped."""
    valid = _valid_count(x, axis)
    one, two = scalar_operand(1, int64), scalar_operand(2, int64)
    middle = maximum(floor_divide(subtract(valid, one), two), scalar_operand(0, int64))
    if skip_nan:
        return middle
    return where(less(valid, scalar_operand(x.shape[axis], int64)), valid, middle)


def _median(fn: str, input: Any, dim: Any, keepdim: bool, skip_nan: bool) -> Any:
    x = tensor_argument(input, fn)
    if dim is None:
        return _whole_median(x, skip_nan)
    axis = normalize_dim(dim, len(x.shape))
    row = at_least_1d(x)
    check_not_empty(row, fn, (axis,), whole=False)
    with set_grad(False):
        _, order = _sorted(row, axis)
        indices = take_along(order, _median_place(row, axis, skip_nan), axis, keepdim=False)
    parts = take_along(row, indices, axis, keepdim), with_kept(indices, row.shape, (axis,), keepdim)
    return getattr(return_types, fn)(*(part if len(x.shape) else reshape(part, shape=()) for part in parts))


def _whole_median(x: Any, skip_nan: bool) -> Any:
    size = product(tuple(x.shape))
    if isinstance(size, int) and size == 0:
        lost = math.nan if x.dtype.category == FLOAT else -(2 ** (8 * x.dtype.itemsize - 1)) if x.dtype.is_signed else 0
        return full(shape=(), value=lost, dtype=x.dtype)
    flat = reshape(x, shape=(size,))
    with set_grad(False):
        values, _ = _sorted(flat, 0)
        found = take_along(values, _median_place(flat, 0, skip_nan), 0, keepdim=False)
    if x.dtype.category != FLOAT:
        return found
    # The smallest of the elements that equal the median: the same number, its gradient shared between them.
    ties = equal(flat, found)
    alone = where(ties, flat, scalar_operand(math.inf, x.dtype))
    return where(is_nan(found), found, reduce_min(alone, axes=(0,)))


@numpy_names
def median(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The lower median of all elements, or (values, indices) along `dim`; NaN if there is one."""
    return _median("median", input, dim, keepdim, skip_nan=False)


@numpy_names
def nanmedian(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The lower median of the elements that are not NaN: of all, or (values, indices) along `dim`."""
    return _median("nanmedian", input, dim, keepdim, skip_nan=True)


@numpy_names
def mode(input: Any, dim: int = -1, keepdim: bool = False) -> Any:
    """(values, indices) of the most frequent element along `dim`: the smallest of several, its last place."""
    x = tensor_argument(input, "mode")
    axis = normalize_dim(dim, len(x.shape))
    row = at_least_1d(x)
    check_not_empty(row, "mode", (axis,), whole=False)
    size = row.shape[axis]
    with set_grad(False):
        values, order = _sorted(row, axis)
        first = full(shape=tuple(1 if i == axis else s for i, s in enumerate(row.shape)), value=0, dtype=int64)
        later, earlier = slice_axis(values, axis, 1, size), slice_axis(values, axis, 0, size - 1)
        places = along(size, axis, len(row.shape))
        moved = where(not_equal(later, earlier), slice_axis(places, axis, 1, size), scalar_operand(0, int64))
        starts = cumulative_max(concat(first, moved, axis=axis), axis=axis)
        place = argmax(subtract(places, starts), axis=axis)
        indices = take_along(order, place, axis, keepdim=False)
    parts = take_along(row, indices, axis, keepdim), with_kept(indices, row.shape, (axis,), keepdim)
    return return_types.mode(*(part if len(x.shape) else reshape(part, shape=()) for part in parts))


_INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


def _check_quantile(fn: str, x: Any, q: Any, interpolation: str) -> Any:
    if x.dtype not in (float32, float64):
        raise DtypeError(f"{fn}() input tensor must be either float or double dtype", "float32 or float64")
    if isinstance(x.tensor_type.size, int) and x.tensor_type.size == 0:
        raise ShapeError(f"{fn}() input tensor must be non-empty")
    if interpolation not in _INTERPOLATIONS:
        raise ShapeError(
            f"{fn}() interpolation must be one of linear, lower, higher, midpoint or nearest, but got {interpolation}"
        )
    if not isinstance(q, TensorBase):
        if not 0 <= q <= 1:
            raise ShapeError(f"{fn}() q must be in the range [0, 1] but got {q}")
        return scalar_operand(q, x.dtype)
    if len(q.shape) > 1:
        raise ShapeError(f"{fn}() q must be a scalar or 1D tensor")
    if q.dtype is not x.dtype:
        raise DtypeError(f"{fn}() q tensor must be same dtype as the input tensor")
    return q


def _between(ranks: Any, values: Any, axis: int, interpolation: str) -> Any:
    """The values at fractional ranks along `axis`."""
    if interpolation in ("lower", "higher", "nearest"):
        rounded = {"lower": floor, "higher": ceil, "nearest": round_}[interpolation](ranks)
        return gather(values, cast_to(rounded, int64), axis=axis)
    low = floor(ranks)
    weight = subtract(ranks, low) if interpolation == "linear" else scalar_operand(0.5, values.dtype)
    below = gather(values, cast_to(low, int64), axis=axis)
    above = gather(values, cast_to(ceil(ranks), int64), axis=axis)
    gap, half = subtract(above, below), scalar_operand(0.5, values.dtype)
    from_above = subtract(above, multiply(gap, subtract(scalar_operand(1, values.dtype), weight)))
    return where(less(weight, half), add(below, multiply(gap, weight)), from_above)


def _quantile(fn: str, input: Any, q: Any, dim: Any, keepdim: bool, interpolation: str) -> Any:
    x = tensor_argument(input, fn)
    q = _check_quantile(fn, x, q, interpolation)
    axis = 0 if dim is None else normalize_dim(dim, len(x.shape))
    row = reshape(x, shape=(product(tuple(x.shape)),)) if dim is None else at_least_1d(x)
    ndim, size = len(row.shape), row.shape[axis]
    order = (*(i for i in range(ndim) if i != axis), axis)
    row = permute(row, axes=order)
    lead = tuple(row.shape[:-1])
    values, _ = _sorted(row, ndim - 1)
    one = scalar_operand(1, x.dtype)
    valid = reshape(cast_to(_valid_count(row, ndim - 1), x.dtype), shape=(*lead, 1))
    points = reshape(q, shape=(product(tuple(q.shape)),))
    if fn == "quantile":
        last = subtract(scalar_operand(size, x.dtype), one)
        ranks = where(less(valid, scalar_operand(size, x.dtype)), last, multiply(points, last))
    else:
        ranks = maximum(multiply(points, subtract(valid, one)), scalar_operand(0, x.dtype))
    found = _between(expand(ranks, shape=(*lead, points.shape[0])), values, ndim - 1, interpolation)
    kept = (1,) * len(x.shape) if dim is None else tuple(1 if i == axis else s for i, s in enumerate(x.shape))
    front = permute(found, axes=(ndim - 1, *range(ndim - 1)))
    return reshape(front, shape=(*q.shape, *(kept if keepdim else lead)))


@numpy_names
@casts(CPU_FULL)
def quantile(input: Any, q: Any, dim: Any = None, keepdim: bool = False, *, interpolation: str = "linear") -> Any:
    """The q-quantiles over `dim`, q a number or 1-d tensor in [0, 1]; the result starts with q's dimension."""
    return _quantile("quantile", input, q, dim, keepdim, interpolation)


@numpy_names
@casts(CPU_FULL)
def nanquantile(input: Any, q: Any, dim: Any = None, keepdim: bool = False, *, interpolation: str = "linear") -> Any:
    """The q-quantiles over `dim` of the elements that are not NaN."""
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation)


# --- counting ---------------------------------------------------------------------------------------------------------


def bincount(input: Any, weights: Any = None, minlength: int = 0) -> Any:
    """How often each number 0, 1, ... occurs in a 1-d integer tensor, or the sum of its weights; eager only."""
    x = tensor_argument(input, "bincount")
    if x.dtype.category == FLOAT:
        raise DtypeError(f'"bincount" not implemented for {x.dtype.name}', "integers")
    problem = "bincount only supports 1-d non-negative integral inputs."
    if len(x.shape) != 1:
        raise ShapeError(problem)
    if as_int(minlength, "minlength") < 0:
        raise ShapeError("minlength should be >= 0")
    if STATE.recorder is not None:
        raise SymbolicError(
            f"bincount at {user_line()}: the largest element, and with it how many bins there are, is known only when the "
            "graph runs\n  hint: where no element reaches n, torch.zeros(n, dtype=torch.int64).scatter_add(0, x, "
            "torch.ones_like(x)) counts them; or call it eagerly"
        )
    places = cast_to(x, int64)
    longest = minlength
    if x.shape[0] != 0:
        if int(amin(places)) < 0:
            raise ShapeError(problem)
        longest = max(minlength, int(amax(places)) + 1)
    if weights is None:
        counted = expand(scalar_operand(1, int64), shape=tuple(x.shape))
    else:
        counted = weights if weights.dtype is float32 else cast_to(weights, float64)
        if tuple(counted.shape) != tuple(x.shape):
            raise ShapeError("weights should be 1-d and have the same length as input")
    zero: Any = 0.0 if counted.dtype.category == FLOAT else 0
    return scatter_add(full(shape=(longest,), value=zero, dtype=counted.dtype), places, counted, axis=0)


def histc(input: Any, bins: int = 100, min: float = 0, max: float = 0) -> Any:
    """How many elements fall into each of `bins` equal bins from `min` to `max` (both 0: the data's own)."""
    x = tensor_argument(input, "histc")
    check_floating(x, f'"histogram" not implemented for {x.dtype.name}')
    if min > max:
        raise ShapeError("torch.histc: max must be larger than min")
    if bins <= 0:
        raise ShapeError("bins must be > 0")
    with set_grad(False):
        flat = reshape(x, shape=(product(tuple(x.shape)),))
        if min == max == 0 and flat.shape[0] != 0:
            low, high = amin(flat), amax(flat)
        else:
            low, high = scalar_operand(min, x.dtype), scalar_operand(max, x.dtype)
        one = scalar_operand(1, x.dtype)
        flat_data = equal(low, high)
        low, high = where(flat_data, subtract(low, one), low), where(flat_data, add(high, one), high)
        return _histogram(flat, bins, low, high)


def _histogram(x: Any, bins: int, low: Any, high: Any) -> Any:
    share = divide(multiply(subtract(x, low), scalar_operand(bins, x.dtype)), subtract(high, low))
    place = minimum(floor(share), scalar_operand(bins - 1, x.dtype))
    outside = logical_or(logical_or(less(x, low), greater(x, high)), is_nan(x))
    inside = cast_to(where(outside, scalar_operand(0, x.dtype), place), int64)
    places = where(outside, scalar_operand(bins, int64), inside)
    ones = expand(scalar_operand(1, x.dtype), shape=tuple(x.shape))
    counts = scatter_add(full(shape=(bins + 1,), value=0.0, dtype=x.dtype), places, ones, axis=0)
    return slice_axis(counts, 0, 0, bins)


# --- covariance -------------------------------------------------------------------------------------------------------


def cov(input: Any, *, correction: int = 1, fweights: Any = None, aweights: Any = None) -> Any:
    """The covariance matrix of the rows (variables) of x: [variables, observations]; 0-d for one variable.

    `fweights`: integer repetitions, `aweights`: floating importances of the observations.
    """
    x = tensor_argument(input, "cov")
    if len(x.shape) > 2:
        raise ShapeError(
            f"cov(): expected input to have two or fewer dimensions but got an input with {len(x.shape)} dimensions"
        )
    rows = x if len(x.shape) == 2 else reshape(x, shape=(1, product(tuple(x.shape))))
    (rows,) = promote(rows, floating=True)
    count, weights = rows.shape[1], None
    for given in (fweights, aweights):
        if given is not None:
            part = cast_to(given, rows.dtype)
            weights = part if weights is None else multiply(weights, part)
    if weights is None:
        center = mean(rows, 1, keepdim=True)
        free = _freedom("cov", count, correction, rows.dtype)
        weighted = centered = subtract(rows, center)
    else:
        total = sum(weights)
        center = divide(sum(multiply(rows, weights), 1, keepdim=True), total)
        free = _weighted_freedom(weights, total, aweights, correction)
        centered = subtract(rows, center)
        weighted = multiply(centered, weights)
    if AUTOCAST.used:
        centered, weighted = brought(LOWER, centered, weighted)
    out = matmul(centered, weighted, transpose_a=False, transpose_b=True)
    out = divide(out, cast_to(free, out.dtype))
    return reshape(out, shape=()) if isinstance(rows.shape[0], int) and rows.shape[0] == 1 else out


def _weighted_freedom(weights: Any, total: Any, aweights: Any, correction: int) -> Any:
    correct = scalar_operand(correction, weights.dtype)
    if aweights is not None:
        share = divide(sum(multiply(weights, cast_to(aweights, weights.dtype))), total)
        correct = multiply(correct, share)
    return maximum(subtract(total, correct), scalar_operand(0, weights.dtype))


def corrcoef(input: Any) -> Any:
    """The Pearson correlation coefficients of the rows of x, within [-1, 1]."""
    x = tensor_argument(input, "corrcoef")
    if len(x.shape) > 2:
        raise ShapeError(
            f"corrcoef(): expected input to have two or fewer dimensions but got an input with {len(x.shape)} dimensions"
        )
    table = cov(x)
    if not len(table.shape):
        return divide(table, table)
    count = table.shape[0]
    spread = masked_sqrt(diagonal(table, offset=0, axis1=0, axis2=1))
    out = divide(divide(table, reshape(spread, shape=(count, 1))), spread)
    one = scalar_operand(1, out.dtype)
    return maximum(minimum(out, one), scalar_operand(-1, out.dtype))


METHODS = (
    "var", "std", "median", "nanmedian", "mode", "quantile", "nanquantile", "bincount", "histc", "cov", "corrcoef",
)  # fmt: skip
INPLACE = ()
__all__ = [*METHODS, "std_mean", "var_mean"]
