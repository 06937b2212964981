"""Folds of whole axes: sum, product, extremes, any, all, and the positions of extremes.

Axes vanish from the shape; public functions put them back with `reshape` for `keepdim=True`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from graphc.core.dims import product
from graphc.core.errors import DimensionError, DtypeError
from graphc.core.op import OUT, ArgReduction, ErrorSample, Reduction, Sample, declare
from graphc.core.tensor_types import BOOL, TensorType, highest, int64, lowest
from graphc.primitives.axis_samples import (
    bool_arrays,
    check_axes,
    check_not_bool,
    computed,
    int_arrays,
    odd_arrays,
    smooth_arrays,
)  # fmt: skip
from graphc.primitives.cumulative import exclusive_prod
from graphc.primitives.elementwise import cast, divide, equal, multiply
from graphc.primitives.views import expand, flip, permute, reshape

#: Rows added one after another before their sums are added in turn; bounds the rounding error of long columns.
BLOCK = 128
#: Arrays of at most this many elements are added up by NumPy as it likes: what is lost is less than the care costs.
SMALL = 1024
_SUMMED_AS_THEY_ARE = frozenset(np.dtype(t).num for t in (np.float32, np.float64, np.int64))


def kept(g: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """g, a reduction of x, with its axes back as ones."""
    return reshape(g, shape=tuple(1 if i in axes else s for i, s in enumerate(x.shape))) if axes else g


def spread(g: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """g, a reduction of x, repeated along the reduced axes."""
    if not axes:
        return g
    leading = axes == tuple(range(len(axes)))  # expand itself adds dimensions in front
    return expand(g if leading else kept(g, x, axes), shape=tuple(x.shape))


def _reduced(x: TensorType, axes: tuple[int, ...]) -> TensorType:
    check_axes(x, axes)
    return x.with_shape(s for i, s in enumerate(x.shape) if i not in axes)


def _infer_arithmetic(x: TensorType, *, axes: tuple[int, ...]) -> TensorType:
    check_not_bool(x)
    return _reduced(x, axes)


def _infer_extreme(x: TensorType, *, axes: tuple[int, ...]) -> TensorType:
    out = _reduced(x, axes)
    _check_not_empty(x.shape, axes)
    return out


def _infer_bool(x: TensorType, *, axes: tuple[int, ...]) -> TensorType:
    if x.dtype.category != BOOL:
        raise DtypeError(f"got {x.dtype.name}", "a bool operand", "cast it first")
    return _reduced(x, axes)


def _check_not_empty(shape: Any, axes: tuple[int, ...]) -> None:
    for axis in axes:
        if isinstance(shape[axis], int) and shape[axis] == 0:
            raise DimensionError(f"Expected reduction dim {axis} to have non-zero size.", "at least one element")


def _eval_sum(x: Any, *, axes: tuple[int, ...]) -> Any:
    if x.size <= SMALL and x.dtype.num in _SUMMED_AS_THEY_ARE:
        return np.add.reduce(x, axis=axes)
    kept_in = computed(x)
    if x.dtype.kind in "iu" or (x.flags.c_contiguous and axes == tuple(range(x.ndim))):
        return np.add.reduce(x, axis=axes, dtype=kept_in).astype(x.dtype, copy=False)
    out = x
    for axis in reversed(axes):
        out = _column_sum(out, axis, kept_in)
    return np.add.reduce(x, axis=()) if not axes else out.astype(x.dtype, copy=False)


def _column_sum(x: Any, axis: int, dtype: Any) -> Any:
    """The sum along one axis in blocks: NumPy adds pairwise only along the innermost one."""
    size = x.shape[axis]
    blocks = size // BLOCK
    if blocks < 2 or axis == x.ndim - 1:
        return np.add.reduce(x, axis=axis, dtype=dtype)
    whole = (slice(None),) * axis
    body = x[(*whole, slice(0, blocks * BLOCK))].reshape(*x.shape[:axis], blocks, BLOCK, *x.shape[axis + 1 :])
    total = _column_sum(np.add.reduce(body, axis=axis + 1, dtype=dtype), axis, dtype)
    return total + np.add.reduce(x[(*whole, slice(blocks * BLOCK, None))], axis=axis, dtype=dtype)


def _sum_into(out: Any, x: Any, *, axes: tuple[int, ...]) -> None:
    if x.dtype.kind in "iu" or (x.flags.c_contiguous and axes == tuple(range(x.ndim)) and computed(x) == x.dtype):
        np.add.reduce(x, axis=axes, dtype=x.dtype, out=out)
    else:
        np.copyto(out, _eval_sum(x, axes=axes))


def _eval_prod(x: Any, *, axes: tuple[int, ...]) -> Any:
    return np.multiply.reduce(x, axis=axes, dtype=computed(x)).astype(x.dtype, copy=False)


def _eval_fold(ufunc: np.ufunc, checked: bool = False) -> Callable[..., Any]:
    def evaluate(x: Any, *, axes: tuple[int, ...]) -> Any:
        if checked:
            _check_not_empty(x.shape, axes)
        return ufunc.reduce(x, axis=axes, dtype=x.dtype)

    return evaluate


def _fold_into(ufunc: np.ufunc, checked: bool = False) -> Callable[..., None]:
    def write(out: Any, x: Any, *, axes: tuple[int, ...]) -> None:
        if checked:
            _check_not_empty(x.shape, axes)
        ufunc.reduce(x, axis=axes, dtype=x.dtype, out=out)

    return write


def _prod_into(out: Any, x: Any, *, axes: tuple[int, ...]) -> None:
    if computed(x) == x.dtype:
        np.multiply.reduce(x, axis=axes, dtype=x.dtype, out=out)
    else:
        np.copyto(out, _eval_prod(x, axes=axes))


def _prod_vjp(g: Any, out: Any, x: Any, *, axes: tuple[int, ...]) -> Any:
    # The product of all others, from the left and from the right: exact beside zeros, where out / x is not.
    if not axes:
        return g
    rest = tuple(i for i in range(len(x.shape)) if i not in axes)
    order = rest + axes
    moved = permute(x, axes=order)
    lead = tuple(x.shape[i] for i in rest)
    last = len(rest)
    flat = reshape(moved, shape=(*lead, product(tuple(x.shape[i] for i in axes))))
    right = flip(exclusive_prod(flip(flat, axes=(last,)), last), axes=(last,))
    others = multiply(exclusive_prod(flat, last), right)
    grad = multiply(others, reshape(g, shape=(*lead, 1)))
    back = tuple(order.index(i) for i in range(len(order)))
    return permute(reshape(grad, shape=tuple(moved.shape)), axes=back)


def _extreme_vjp(g: Any, out: Any, x: Any, *, axes: tuple[int, ...]) -> Any:
    # Shared equally by ties; a NaN extreme equals nothing, so that its gradient is 0 / 0, NaN, as in PyTorch.
    ties = cast(equal(x, kept(out, x, axes)), dtype=x.dtype)
    return multiply(kept(divide(g, reduce_sum(ties, axes=axes)), x, axes), ties)


def _axes_of(x: Any) -> list[tuple[int, ...]]:
    return [(), (0,), (1,), (0, 1), (2,), (0, 2), (1, 2), (0, 1, 2)][: 2**x.ndim]


def _samples(arithmetic: bool) -> Callable[[], Iterator[Sample]]:
    def samples() -> Iterator[Sample]:
        for x in smooth_arrays():
            for axes in _axes_of(x):
                yield Sample((x,), {"axes": axes})
        for x in odd_arrays():
            yield Sample((x,), {"axes": (0,)}, smooth=False)
            yield Sample((x,), {"axes": (0, 1)}, smooth=False)
        for x in int_arrays():
            yield Sample((x,), {"axes": (1,)})
            yield Sample((x,), {"axes": (0, 1)})
        yield Sample((np.array(1.5),), {"axes": ()})
        yield Sample((np.zeros((0, 3), np.float32),), {"axes": (1,)})
        if arithmetic:
            yield Sample((np.zeros((0, 3)),), {"axes": (0,)})
            yield Sample((np.zeros(0, np.int32),), {"axes": (0,)})
        else:
            yield from (Sample((x,), {"axes": tuple(range(x.ndim))}) for x in bool_arrays())

    return samples


def _zero_samples() -> Iterator[Sample]:
    yield Sample((np.array([[0.5, 0.0, 2.0], [0.0, 1.5, 0.0], [1.0, 2.0, -3.0]]),), {"axes": (1,)})
    yield Sample((np.array([[0.5, 0.0, 2.0], [1.0, 2.0, -3.0]]),), {"axes": (0, 1)})
    yield from _samples(arithmetic=True)()


def _bool_samples() -> Iterator[Sample]:
    for x in bool_arrays():
        for axes in _axes_of(x):
            yield Sample((x,), {"axes": axes})
    yield Sample((np.zeros((0, 3), bool),), {"axes": (0,)})
    yield Sample((np.zeros((0, 3), bool),), {"axes": (1,)})


def _errors() -> Iterator[ErrorSample]:
    x = np.zeros((2, 3))
    yield ErrorSample((x,), {"axes": (2,)}, DimensionError, "do not fit 2 dimensions")
    yield ErrorSample((x,), {"axes": (1, 0)}, DimensionError, "rising")
    yield ErrorSample((x,), {"axes": (0, 0)}, DimensionError, "rising")


def _arithmetic_errors() -> Iterator[ErrorSample]:
    yield from _errors()
    yield ErrorSample((np.zeros(3, bool),), {"axes": (0,)}, DtypeError, "integer or floating")


def _extreme_errors() -> Iterator[ErrorSample]:
    yield from _errors()
    yield ErrorSample((np.zeros((0, 3)),), {"axes": (0,)}, DimensionError, "non-zero size")


def _bool_errors() -> Iterator[ErrorSample]:
    yield ErrorSample((np.zeros((2, 3), bool),), {"axes": (2,)}, DimensionError, "do not fit 2 dimensions")
    yield ErrorSample((np.zeros(3),), {"axes": (0,)}, DtypeError, "bool operand")


reduce_sum = declare(
    "reduce_sum",
    infer=_infer_arithmetic,
    eval=_eval_sum,
    inplace=_sum_into,
    kind=Reduction("add", lambda dtype: dtype.np.type(0).item()),
    vjp=(lambda g, out, x, *, axes: spread(g, x, axes),),
    saves=((),),
    samples=_samples(arithmetic=True),
    errors=_arithmetic_errors,
)

reduce_prod = declare(
    "reduce_prod",
    infer=_infer_arithmetic,
    eval=_eval_prod,
    inplace=_prod_into,
    kind=Reduction("multiply", lambda dtype: dtype.np.type(1).item()),
    vjp=(_prod_vjp,),
    saves=((0,),),
    samples=_zero_samples,
    errors=_arithmetic_errors,
)

reduce_max = declare(
    "reduce_max",
    infer=_infer_extreme,
    eval=_eval_fold(np.maximum, checked=True),
    inplace=_fold_into(np.maximum, checked=True),
    kind=Reduction("maximum", lowest),
    vjp=(_extreme_vjp,),
    saves=((0, OUT),),
    samples=_samples(arithmetic=False),
    errors=_extreme_errors,
)

reduce_min = declare(
    "reduce_min",
    infer=_infer_extreme,
    eval=_eval_fold(np.minimum, checked=True),
    inplace=_fold_into(np.minimum, checked=True),
    kind=Reduction("minimum", highest),
    vjp=(_extreme_vjp,),
    saves=((0, OUT),),
    samples=_samples(arithmetic=False),
    errors=_extreme_errors,
)

reduce_any = declare(
    "reduce_any",
    infer=_infer_bool,
    eval=_eval_fold(np.logical_or),
    inplace=_fold_into(np.logical_or),
    kind=Reduction("or", lambda dtype: False),
    samples=_bool_samples,
    errors=_bool_errors,
)

reduce_all = declare(
    "reduce_all",
    infer=_infer_bool,
    eval=_eval_fold(np.logical_and),
    inplace=_fold_into(np.logical_and),
    kind=Reduction("and", lambda dtype: True),
    samples=_bool_samples,
    errors=_bool_errors,
)


def _infer_position(x: TensorType, *, axis: int) -> TensorType:
    out = _infer_extreme(x, axes=(axis,))
    return out.with_dtype(int64)


def _eval_position(find: Callable[..., Any]) -> Callable[..., Any]:
    def evaluate(x: Any, *, axis: int) -> Any:
        _check_not_empty(x.shape, (axis,))
        return np.asarray(find(x, axis=axis), dtype=np.int64)

    return evaluate


def _position_into(find: Callable[..., Any]) -> Callable[..., None]:
    def write(out: Any, x: Any, *, axis: int) -> None:
        _check_not_empty(x.shape, (axis,))
        find(x, axis=axis, out=out)

    return write


def _position_samples() -> Iterator[Sample]:
    for sample in _samples(arithmetic=False)():
        if len(sample.attrs["axes"]) == 1:
            yield Sample(sample.inputs, {"axis": sample.attrs["axes"][0]}, smooth=False)


def _position_errors() -> Iterator[ErrorSample]:
    yield ErrorSample((np.zeros((2, 3)),), {"axis": 2}, DimensionError, "do not fit 2 dimensions")
    yield ErrorSample((np.zeros((0, 3)),), {"axis": 0}, DimensionError, "non-zero size")


argmax = declare(
    "argmax",
    infer=_infer_position,
    eval=_eval_position(np.argmax),
    inplace=_position_into(np.argmax),
    kind=ArgReduction("maximum"),
    samples=_position_samples,
    errors=_position_errors,
)

argmin = declare(
    "argmin",
    infer=_infer_position,
    eval=_eval_position(np.argmin),
    inplace=_position_into(np.argmin),
    kind=ArgReduction("minimum"),
    samples=_position_samples,
    errors=_position_errors,
)
