"""Running folds along one axis, and the linear recurrence their gradients are made of.

All gradients here are exact where elements are zero, and differentiable again: none divides by an operand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from graphc.core import scalar as s
from graphc.core.dims import same
from graphc.core.errors import DimensionError, DtypeError, ShapeError
from graphc.core.op import OUT, Cumulative, ErrorSample, Op, Sample, declare
from graphc.core.tensor_types import TensorType, highest, lowest
from graphc.primitives.axis_samples import (
    bool_arrays,
    check_axis,
    check_float,
    check_not_bool,
    computed,
    int_arrays,
    odd_arrays,
    smooth_arrays,
)  # fmt: skip
from graphc.primitives.creation import full
from graphc.primitives.elementwise import (
    cast,
    equal,
    exp,
    is_nan,
    logical_and,
    logical_or,
    multiply,
    not_equal,
    subtract,
    where,
)  # fmt: skip
from graphc.primitives.joining import pad
from graphc.primitives.views import flip, slice_


def shifted(x: Any, axis: int, first: float | bool) -> Any:
    """x moved one place along `axis`, `first` coming in and the last element falling out."""
    ndim = len(x.shape)
    low = tuple(int(i == axis) for i in range(ndim))
    longer = pad(x, low=low, high=(0,) * ndim, value=first)
    return slice_(longer, starts=(0,) * ndim, limits=tuple(x.shape), strides=(1,) * ndim)


def backward_recurrence(a: Any, g: Any, axis: int) -> Any:
    """s with s[k] = g[k] + a[k+1] * s[k+1], from the last element to the first."""
    coefficients = shifted(flip(a, axes=(axis,)), axis, 0.0)
    return flip(linear_recurrence(coefficients, flip(g, axes=(axis,)), axis=axis), axes=(axis,))


def exclusive_prod(x: Any, axis: int) -> Any:
    """The product of all elements before each place."""
    return cumulative_prod(shifted(x, axis, 1.0), axis=axis)


def _infer_arithmetic(x: TensorType, *, axis: int) -> TensorType:
    check_axis(x, axis)
    check_not_bool(x)
    return x


def _infer_extreme(x: TensorType, *, axis: int) -> TensorType:
    check_axis(x, axis)
    return x


def _infer_float(x: TensorType, *, axis: int) -> TensorType:
    check_axis(x, axis)
    check_float(x)
    return x


def _accumulate(ufunc: np.ufunc) -> Callable[..., Any]:
    def evaluate(x: Any, *, axis: int) -> Any:
        out = ufunc.accumulate(x, axis=axis, dtype=computed(x))
        return out.astype(x.dtype, copy=False)

    return evaluate


def _accumulate_into(ufunc: np.ufunc) -> Callable[..., None]:
    def write(out: Any, x: Any, *, axis: int) -> None:
        if computed(x) == x.dtype:
            ufunc.accumulate(x, axis=axis, dtype=x.dtype, out=out)
        else:
            np.copyto(out, ufunc.accumulate(x, axis=axis, dtype=computed(x)), casting="unsafe")

    return write


def _eval_recurrence(a: Any, b: Any, *, axis: int) -> Any:
    kept = computed(b)
    coefficients = np.moveaxis(a, axis, 0)
    out = np.array(np.moveaxis(b, axis, 0), dtype=kept)
    for k in range(1, len(out)):
        out[k] += coefficients[k].astype(kept, copy=False) * out[k - 1]
    return np.ascontiguousarray(np.moveaxis(out, 0, axis)).astype(b.dtype, copy=False)


def _infer_recurrence(a: TensorType, b: TensorType, *, axis: int) -> TensorType:
    check_axis(a, axis)
    check_float(a)
    if a.dtype is not b.dtype:
        raise DtypeError(f"got {a.dtype.name} and {b.dtype.name}", "equal dtypes")
    if a.ndim != b.ndim:
        raise ShapeError("shapes differ", f"equal shapes, got {a} and {b}")
    sizes = tuple(same(i, j, "shapes differ") for i, j in zip(a.shape, b.shape, strict=True))
    return a.with_shape(sizes)


def _recurrence_samples() -> Iterator[Sample]:
    for x in smooth_arrays():
        for axis in range(x.ndim):
            yield Sample((x, x[..., ::-1]), {"axis": axis})
    yield Sample((np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32)), {"axis": 1})
    yield Sample((np.zeros((0, 3)), np.zeros((0, 3))), {"axis": 0})
    yield Sample((np.zeros((0, 3)), np.zeros((0, 3))), {"axis": 1})
    for x in odd_arrays():
        yield Sample((x, x), {"axis": 1}, smooth=False)


def _recurrence_errors() -> Iterator[ErrorSample]:
    x, y = np.zeros((2, 3)), np.zeros((3, 3))
    yield ErrorSample((x, y), {"axis": 0}, ShapeError, "shapes differ")
    yield ErrorSample((x, x[0]), {"axis": 0}, ShapeError, "shapes differ")
    yield ErrorSample((x, x.astype(np.float32)), {"axis": 0}, DtypeError, "equal dtypes")
    yield ErrorSample((x.astype(int), x.astype(int)), {"axis": 0}, DtypeError, "floating")
    yield ErrorSample((x, x), {"axis": 2}, DimensionError, "axes")


#: r with r[0] = b[0], r[k] = a[k] * r[k-1] + b[k] along `axis`.
linear_recurrence = declare(
    "linear_recurrence",
    infer=_infer_recurrence,
    eval=_eval_recurrence,
    kind=Cumulative("linear", lambda before, a, b: a * before + b, None),
    vjp=(
        lambda g, out, a, b, *, axis: multiply(backward_recurrence(a, g, axis), shifted(out, axis, 0.0)),
        lambda g, out, a, b, *, axis: backward_recurrence(a, g, axis),
    ),
    saves=((0, OUT), (0,)),
    samples=_recurrence_samples,
    errors=_recurrence_errors,
)


def _samples(arithmetic: bool, floats_only: bool = False) -> Callable[[], Iterator[Sample]]:
    def samples() -> Iterator[Sample]:
        for x in smooth_arrays():
            for axis in range(x.ndim):
                yield Sample((x,), {"axis": axis})
        for x in odd_arrays():
            yield Sample((x,), {"axis": 0}, smooth=False)
            yield Sample((x,), {"axis": 1}, smooth=False)
        yield Sample((np.zeros((0, 3), np.float32),), {"axis": 0})
        yield Sample((np.zeros((3, 0)),), {"axis": 0})
        if floats_only:
            return
        for x in int_arrays():
            yield Sample((x,), {"axis": 1})
        if not arithmetic:
            yield from (Sample((x,), {"axis": x.ndim - 1}) for x in bool_arrays() if x.ndim)

    return samples


def _errors(arithmetic: bool, floats_only: bool = False) -> Callable[[], Iterator[ErrorSample]]:
    def errors() -> Iterator[ErrorSample]:
        yield ErrorSample((np.zeros((2, 3)),), {"axis": 2}, DimensionError, "do not fit 2 dimensions")
        yield ErrorSample((np.zeros(()),), {"axis": 0}, DimensionError, "do not fit 0 dimensions")
        if arithmetic or floats_only:
            yield ErrorSample((np.zeros(3, bool),), {"axis": 0}, DtypeError, "operand")
        if floats_only:
            yield ErrorSample((np.zeros(3, np.int32),), {"axis": 0}, DtypeError, "floating")

    return errors


def _zero_samples() -> Iterator[Sample]:
    yield Sample((np.array([[0.5, 0.0, 2.0, 3.0], [0.0, 1.5, 0.0, 2.0]]),), {"axis": 1})
    yield from _samples(arithmetic=True)()


cumulative_sum: Op = declare(
    "cumulative_sum",
    infer=_infer_arithmetic,
    eval=_accumulate(np.add),
    inplace=_accumulate_into(np.add),
    kind=Cumulative("add", lambda before, x: before + x, lambda dtype: dtype.np.type(0).item()),
    vjp=(lambda g, out, x, *, axis: flip(cumulative_sum(flip(g, axes=(axis,)), axis=axis), axes=(axis,)),),
    saves=((),),
    samples=_samples(arithmetic=True),
    errors=_errors(arithmetic=True),
)

# With s[k] the sum of g[i] * x[k+1] ... x[i] over i >= k, the gradient at k is x[0] ... x[k-1] * s[k].
cumulative_prod = declare(
    "cumulative_prod",
    infer=_infer_arithmetic,
    eval=_accumulate(np.multiply),
    inplace=_accumulate_into(np.multiply),
    kind=Cumulative("multiply", lambda before, x: before * x, lambda dtype: dtype.np.type(1).item()),
    vjp=(lambda g, out, x, *, axis: multiply(exclusive_prod(x, axis), backward_recurrence(x, g, axis)),),
    saves=((0,),),
    samples=_zero_samples,
    errors=_errors(arithmetic=True),
)


def takes_over(x: Any, running: Any) -> Any:
    """Where a running extreme is (again) reached: its last place so far is there. A NaN is reached by each NaN."""
    reached = equal(x, running)
    return logical_or(reached, is_nan(x)) if x.dtype.is_floating_point else reached


def _extreme_vjp(g: Any, out: Any, x: Any, *, axis: int) -> Any:
    # The gradient of each place goes to the place its value came from: sums over runs that begin where x takes over.
    taken = cast(takes_over(x, out), dtype=x.dtype)
    continues = subtract(full(shape=(), value=1.0, dtype=x.dtype), taken)
    return multiply(backward_recurrence(continues, g, axis), taken)


cumulative_max = declare(
    "cumulative_max",
    infer=_infer_extreme,
    eval=_accumulate(np.maximum),
    inplace=_accumulate_into(np.maximum),
    kind=Cumulative("maximum", s.maximum, lowest),
    vjp=(_extreme_vjp,),
    saves=((0, OUT),),
    samples=_samples(arithmetic=False),
    errors=_errors(arithmetic=False),
)

cumulative_min = declare(
    "cumulative_min",
    infer=_infer_extreme,
    eval=_accumulate(np.minimum),
    inplace=_accumulate_into(np.minimum),
    kind=Cumulative("minimum", s.minimum, highest),
    vjp=(_extreme_vjp,),
    saves=((0, OUT),),
    samples=_samples(arithmetic=False),
    errors=_errors(arithmetic=False),
)


def _exp_gap(low: Any, high: Any) -> Any:
    """exp(low - high) for low <= high; 1 where both are the same infinity."""
    zero = full(shape=(), value=0.0, dtype=low.dtype)
    same_infinity = logical_and(equal(low, high), not_equal(multiply(low, zero), zero))
    return exp(where(same_infinity, zero, subtract(low, high)))


def _log_add(x: s.Scalar, y: s.Scalar) -> s.Scalar:
    """log(exp(x) + exp(y))."""
    apart = s.maximum(x, y) + s.log1p(s.exp(-abs(x - y)))
    return s.select(s.eq(x, y), x + math.log(2), apart)


def _logsumexp_vjp(g: Any, out: Any, x: Any, *, axis: int) -> Any:
    # s[k], the sum of g[i] * exp(out[k] - out[i]) over i >= k, is a recurrence with factors that never exceed 1.
    flipped = flip(out, axes=(axis,))
    factors = _exp_gap(flipped, shifted(flipped, axis, math.inf))
    sums = flip(linear_recurrence(factors, flip(g, axes=(axis,)), axis=axis), axes=(axis,))
    return multiply(_exp_gap(x, out), sums)


cumulative_logsumexp = declare(
    "cumulative_logsumexp",
    infer=_infer_float,
    eval=_accumulate(np.logaddexp),
    inplace=_accumulate_into(np.logaddexp),
    kind=Cumulative("logaddexp", _log_add, lambda dtype: -math.inf),
    vjp=(_logsumexp_vjp,),
    saves=((0, OUT),),
    samples=_samples(arithmetic=True, floats_only=True),
    errors=_errors(arithmetic=True, floats_only=True),
)
