"""Reading and writing at places given by integer tensors. Negative indices wrap; those out of range raise.

Where several writes of `scatter` or `index_put` meet in one place, which one stays is not defined (NumPy: the last).
Half-precision sums are accumulated in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np

from graphc.core.context import STATE
from graphc.core.dims import Dim, Shape, Size, broadcast_shapes, same
from graphc.core.errors import (
    ArgumentError,
    DimensionError,
    DtypeError,
    IndexRangeError,
    ShapeError,
    SymbolicError,
    user_line,
)
from graphc.core.op import ErrorSample, Joint, Kind, Op, Sample, Scatter, declare
from graphc.core.tensor_types import TensorType, int64
from graphc.primitives.creation import full

Array = np.ndarray[Any, Any]

# More index operands than any tensor has dimensions: `saves` of the ops that take one index per axis.
_MOST = 64
_HALF = (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))


def _zeros_like(x: Any) -> Any:
    return full(shape=tuple(x.shape), value=0.0, dtype=x.dtype)


# ---- checks ----------------------------------------------------------------------------------------------------------


def _check_index(name: str, index: TensorType) -> None:
    if index.dtype is not int64:
        raise DtypeError(f"{name} is {index.dtype.name}", need="an int64 tensor of indices")


def _check_axis(axis: int, ndim: int) -> None:
    if not 0 <= axis < ndim:
        raise DimensionError(f"axis {axis} is out of range", need=f"an axis of a {ndim}-d tensor")


def _check_along(x: TensorType, index: TensorType, axis: int) -> None:
    _check_index("index", index)
    _check_axis(axis, x.ndim)
    if x.ndim != index.ndim:
        raise ShapeError("index and input differ in their number of dimensions", need=f"{x.ndim}-d index, got {index}")
    for i, (have, want) in enumerate(zip(x.shape, index.shape, strict=True)):
        if i != axis and isinstance(have, int) and isinstance(want, int) and want > have:
            raise ShapeError(
                f"index reaches beyond the input in dimension {i}",
                need=f"index.shape[{i}] <= {have} in every dimension but {axis}, got {want}",
            )


def _check_equal(name: str, value: TensorType, x: TensorType, shape: Shape) -> None:
    if value.dtype is not x.dtype:
        raise DtypeError(f"{name} is {value.dtype.name}, the input {x.dtype.name}", need="equal dtypes")
    if len(value.shape) != len(shape):
        raise ShapeError(f"{name} has {value.ndim} dimensions", need=f"{len(shape)}, one per dimension of the places")
    for have, want in zip(value.shape, shape, strict=True):
        same(have, want, f"{name} does not have the shape of the places", f"{have} == {want}")


#: What is added to a negative index where those do not wrap; messages take it off again.
REFUSED = -(1 << 62)


def in_range(index: Array, size: int, axis: int) -> Array:
    """The indices with negative ones wrapped; IndexRangeError if one does not exist."""
    if not index.size:
        return index
    low, high = int(index.min()), int(index.max())
    if high >= size or low < -size:
        wrong, least = high if high >= size else low, -size
        if wrong < REFUSED:
            wrong, least = wrong - REFUSED, 0
        raise IndexRangeError(
            f"index {wrong} is out of bounds for dimension {axis} with size {size}",
            need=f"{least} <= index < {size}" if size else "no indices at all",
        )
    return np.where(index < 0, index + size, index) if low < 0 else index


def _places(shape: tuple[int, ...], index: Array, axis: int) -> tuple[Array, ...]:
    """Index arrays that name, together, the places of `x` that gather reads and scatter writes."""
    grid = list(np.ogrid[tuple(slice(n) for n in index.shape)])
    grid[axis] = in_range(index, shape[axis], axis)
    return tuple(grid)


def _flat(shape: tuple[int, ...], places: tuple[Array, ...]) -> Array:
    """The same places as positions in the flattened array."""
    flat: Any = np.zeros((), np.int64)
    for size, index in zip(shape, places, strict=True):
        flat = flat * size + index
    return np.ravel(flat)


def _add_at(x: Array, places: tuple[Array, ...], values: Array) -> Array:
    """x with values added at places (one index array per axis of x), repeated places counted each time."""
    work = np.float32 if x.dtype in _HALF else x.dtype
    out = np.array(x, dtype=work, order="C")
    np.add.at(out.reshape(-1), _flat(x.shape, places), np.ascontiguousarray(values, dtype=work).reshape(-1))
    return out.astype(x.dtype, copy=False)


# ---- indices that have been tested -----------------------------------------------------------------------------------


def _checked_index_type(index: TensorType, *, size: Size, axis: int) -> TensorType:
    _check_index("index", index)
    return index


def _checked_index_samples() -> Iterator[Sample]:
    for values in ([0, 2, -1, -3], [], [[1, -2]]):
        yield Sample((np.array(values, np.int64),), {"size": 3, "axis": 0})
    yield Sample((np.array(-1, np.int64),), {"size": 1, "axis": 2})
    yield Sample((np.arange(6)[::-2],), {"size": 6, "axis": 0})


checked_index: Op = declare(
    "checked_index",
    infer=_checked_index_type,
    eval=lambda index, *, size, axis: np.array(in_range(index, size, axis)),
    element=lambda at, out_index, index, *, size, axis: at.looked_up(0, out_index, size).tree(),
    kind=Kind("gather"),
    samples=_checked_index_samples,
    errors=lambda: [
        ErrorSample((np.zeros(2, np.float32),), {"size": 3, "axis": 0}, DtypeError, "index is float32"),
    ],
)


# ---- one index along one axis ----------------------------------------------------------------------------------------


def _gather_type(x: TensorType, index: TensorType, *, axis: int) -> TensorType:
    _check_along(x, index, axis)
    return x.with_shape(index.shape)


def _scatter_type(x: TensorType, index: TensorType, src: TensorType, *, axis: int) -> TensorType:
    _check_along(x, index, axis)
    _check_equal("src", src, x, index.shape)
    return x


def _gather(x: Array, index: Array, *, axis: int) -> Array:
    return np.asarray(x[_places(x.shape, index, axis)])


def _scatter(x: Array, index: Array, src: Array, *, axis: int) -> Array:
    out = np.array(x)
    out[_places(x.shape, index, axis)] = src
    return out


def _scatter_add(x: Array, index: Array, src: Array, *, axis: int) -> Array:
    return _add_at(x, _places(x.shape, index, axis), src)


def _kinds() -> Iterator[tuple[Array, bool]]:
    """Data [3, 4] of each dtype, and whether it suits finite differences."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 4))
    yield x, True
    yield np.asfortranarray(x), True
    yield np.concatenate([x, x])[::-2], True
    for dtype in (np.float32, np.float16, ml_dtypes.bfloat16):
        yield x.astype(dtype), False
    yield np.where(x > 0.5, np.nan, np.where(x < -0.5, -np.inf, x)), False
    for dtype in (np.int8, np.uint8, np.int16, np.int32, np.int64):
        yield rng.integers(0, 100, (3, 4)).astype(dtype), False
    yield x > 0, False


_ROWS = np.array([[2, 0, -2, 1], [0, 1, 2, 0]])  # distinct in each column
_COLUMNS = np.array([[3, -4, 1], [0, 1, -1]])  # distinct in each row
_REPEATED = np.array([[2, 2, -1], [0, 0, 0]])


def _gather_samples() -> Iterator[Sample]:
    for x, smooth in _kinds():
        yield Sample((x, _ROWS), {"axis": 0}, smooth)
        yield Sample((x, _REPEATED), {"axis": 1}, smooth)
    yield Sample((x, np.empty((0, 4), np.int64)), {"axis": 0}, False)
    yield Sample((np.arange(24.0).reshape(2, 3, 4), np.array([[[1], [-1], [0]]])), {"axis": 2})
    yield Sample((np.arange(3.0)[::-1], np.array([0, 0, 2, 1, 0])[::2]), {"axis": 0})


def _written(index: Array, x: Array) -> Array:
    return np.arange(1, index.size + 1).reshape(index.shape).astype(x.dtype)


def _gather_element(at: Any, out_index: Any, x: TensorType, index: TensorType, *, axis: int) -> Any:
    found = at.looked_up(1, out_index, x.shape[axis])
    return at(0, [found if n == axis else i for n, i in enumerate(out_index)])


def _along_place(at: Any, own: Any, x: TensorType, index: TensorType, src: TensorType, *, axis: int) -> Any:
    found = at.looked_up(1, own, x.shape[axis])
    return [found if n == axis else i for n, i in enumerate(own)]


def _scatter_samples() -> Iterator[Sample]:
    for x, smooth in _kinds():
        yield Sample((x, _ROWS, _written(_ROWS, x)), {"axis": 0}, smooth)
        yield Sample((x, _COLUMNS, _written(_COLUMNS, x)), {"axis": 1}, smooth)
    yield Sample((x, np.empty((0, 4), np.int64), np.empty((0, 4), x.dtype)), {"axis": 0}, False)
    yield Sample((np.arange(3.0)[::-1], np.array([0, -1]), np.arange(6.0)[::-3]), {"axis": 0})


def _scatter_add_samples() -> Iterator[Sample]:
    yield from _scatter_samples()
    for x, smooth in _kinds():
        yield Sample((x, _REPEATED, _written(_REPEATED, x)), {"axis": 1}, smooth)


def _along_errors(*values: Array) -> Iterator[ErrorSample]:
    x, axis = np.zeros((3, 4)), {"axis": 0}
    index = np.zeros((2, 4), np.int64)
    yield ErrorSample((x, index.astype(np.float32), *values), axis, DtypeError, "index is float32")
    yield ErrorSample((x, index[0], *values), axis, ShapeError, "number of dimensions")
    yield ErrorSample((x, np.zeros((2, 5), np.int64), *values), axis, ShapeError, "beyond the input in dimension 1")
    yield ErrorSample((x, index, *values), {"axis": 2}, DimensionError, "axis 2 is out of range")


def _scatter_errors() -> Iterator[ErrorSample]:
    x, index = np.zeros((3, 4)), np.zeros((2, 4), np.int64)
    yield from _along_errors(np.zeros((2, 4)))
    yield ErrorSample((x, index, np.zeros((2, 4), np.float32)), {"axis": 0}, DtypeError, "src is float32")
    yield ErrorSample((x, index, np.zeros((2, 3))), {"axis": 0}, ShapeError, "shape of the places")


gather: Op = declare(
    "gather",
    infer=_gather_type,
    eval=_gather,
    element=_gather_element,
    kind=Kind("gather"),
    vjp=(lambda g, out, x, index, *, axis: scatter_add(_zeros_like(x), index, g, axis=axis), None),
    saves=((1,), ()),
    samples=_gather_samples,
    errors=_along_errors,
)
scatter: Op = declare(
    "scatter",
    infer=_scatter_type,
    eval=_scatter,
    kind=Scatter(2, _along_place, lambda axis: False),
    vjp=(
        lambda g, out, x, index, src, *, axis: scatter(g, index, _zeros_like(src), axis=axis),
        None,
        lambda g, out, x, index, src, *, axis: gather(g, index, axis=axis),
    ),
    saves=((1,), (), (1,)),
    samples=_scatter_samples,
    errors=_scatter_errors,
)
scatter_add: Op = declare(
    "scatter_add",
    infer=_scatter_type,
    eval=_scatter_add,
    kind=Scatter(2, _along_place, lambda axis: True),
    vjp=(
        lambda g, out, x, index, src, *, axis: g,
        None,
        lambda g, out, x, index, src, *, axis: gather(g, index, axis=axis),
    ),
    saves=((), (), (1,)),
    samples=_scatter_add_samples,
    errors=_scatter_errors,
)


# ---- several indices, one per named axis -----------------------------------------------------------------------------


def adjacent(axes: tuple[int, ...]) -> bool:
    """Whether indexed axes are neighbours, so that what they give stays in their place; otherwise it comes first."""
    return axes[-1] - axes[0] == len(axes) - 1


def indexed_shape(shape: Shape, axes: tuple[int, ...], *indices: Shape) -> Shape:
    """The shape `index` gives: the indices' common shape in place of adjacent axes, else in front (NumPy's rule)."""
    common = broadcast_shapes(*indices)
    rest = tuple(size for i, size in enumerate(shape) if i not in axes)
    at = axes[0] if adjacent(axes) else 0
    return rest[:at] + common + rest[at:]


def _check_indices(x: TensorType, indices: tuple[TensorType, ...], axes: tuple[int, ...]) -> None:
    if not indices or len(indices) != len(axes):
        raise ArgumentError(f"{len(indices)} indices for {len(axes)} axes", need="one index per axis, at least one")
    for axis, index in zip(axes, indices, strict=True):
        _check_axis(axis, x.ndim)
        _check_index("index", index)
    if list(axes) != sorted(set(axes)):
        raise ArgumentError(f"axes {axes} are not ascending", need="sorted axes, each once")


def _index_type(x: TensorType, *indices: TensorType, axes: tuple[int, ...]) -> TensorType:
    _check_indices(x, indices, axes)
    return x.with_shape(indexed_shape(x.shape, axes, *(i.shape for i in indices)))


def _index_put_type(
    x: TensorType, value: TensorType, *indices: TensorType, axes: tuple[int, ...], accumulate: bool
) -> TensorType:
    _check_equal("value", value, x, _index_type(x, *indices, axes=axes).shape)
    return x


def _wrapped(x: Array, indices: tuple[Array, ...], axes: tuple[int, ...]) -> tuple[Array, ...]:
    return tuple(in_range(i, x.shape[a], a) for i, a in zip(indices, axes, strict=True))


def _key(x: Array, indices: tuple[Array, ...], axes: tuple[int, ...]) -> tuple[Any, ...]:
    key: list[Any] = [slice(None)] * x.ndim
    for axis, index in zip(axes, _wrapped(x, indices, axes), strict=True):
        key[axis] = index
    return tuple(key)


def _index(x: Array, *indices: Array, axes: tuple[int, ...]) -> Array:
    if len(axes) == 1:
        return np.asarray(x.take(in_range(indices[0], x.shape[axes[0]], axes[0]), axes[0]))
    out = x[_key(x, indices, axes)]
    return np.array(out) if out.base is not None else np.asarray(out)


def _index_place(
    at: Any, own: Any, first_index: int, x: TensorType, indices: tuple[TensorType, ...], axes: tuple[int, ...]
) -> list[Any]:
    """The place in x of element `own` of what an index reads or writes; `first_index`: the number of that operand."""
    depth = max(i.ndim for i in indices)
    first = axes[0] if adjacent(axes) else 0
    common = own[first : first + depth]
    rest = iter((*own[:first], *own[first + depth :]))
    found = {}
    for n, (axis, index) in enumerate(zip(axes, indices, strict=True), first_index):
        last = common[depth - index.ndim :]
        where = [0 if size == 1 else i for i, size in zip(last, index.shape, strict=True)]
        found[axis] = at.looked_up(n, where, x.shape[axis])
    return [found[a] if a in found else next(rest) for a in range(x.ndim)]


def _index_element(at: Any, out_index: Any, x: TensorType, *indices: TensorType, axes: tuple[int, ...]) -> Any:
    return at(0, _index_place(at, out_index, 1, x, indices, axes))


def _index_put_place(
    at: Any, own: Any, x: TensorType, value: TensorType, *indices: TensorType, axes: tuple[int, ...], accumulate: bool
) -> Any:
    return _index_place(at, own, 2, x, indices, axes)


def _index_put(x: Array, value: Array, *indices: Array, axes: tuple[int, ...], accumulate: bool) -> Array:
    if accumulate:
        return _index_add(x, value, _wrapped(x, indices, axes), axes)
    out = np.array(x)
    out[_key(x, indices, axes)] = value
    return out


def _index_add(x: Array, value: Array, indices: tuple[Array, ...], axes: tuple[int, ...]) -> Array:
    """x with `value` added: the indexed axes are brought first, so that each index names a whole row."""
    lead = len(axes)
    rest = tuple(i for i in range(x.ndim) if i not in axes)
    common = np.broadcast_shapes(*(i.shape for i in indices))
    at = axes[0] if adjacent(axes) else 0
    moved = x.transpose(axes + rest)
    rows = np.moveaxis(value, range(at, at + len(common)), range(len(common)))
    inner = tuple(np.ogrid[tuple(slice(n) for n in moved.shape[lead:])]) if rest else ()
    outer = tuple(i.reshape(i.shape + (1,) * len(rest)) for i in np.broadcast_arrays(*indices))
    return _add_at(moved, outer + inner, rows).transpose(np.argsort(axes + rest))


def _index_vjp(
    g: Any, out: Any, x: Any, *indices: Any, needs: tuple[bool, ...], axes: tuple[int, ...]
) -> tuple[Any, ...]:
    return (index_put(_zeros_like(x), g, *indices, axes=axes, accumulate=True), *(None for _ in indices))


def _index_put_vjp(
    g: Any,
    out: Any,
    x: Any,
    value: Any,
    *indices: Any,
    needs: tuple[bool, ...],
    axes: tuple[int, ...],
    accumulate: bool,
) -> tuple[Any, ...]:
    of_x = of_value = None
    if needs[0]:
        of_x = g if accumulate else index_put(g, _zeros_like(value), *indices, axes=axes, accumulate=False)
    if needs[1]:
        of_value = index(g, *indices, axes=axes)
    return (of_x, of_value, *(None for _ in indices))


_BOX = np.arange(24.0).reshape(2, 3, 4) / 8 - 1


def _index_samples() -> Iterator[Sample]:
    for x, smooth in _kinds():
        yield Sample((x, np.array([2, 0, -1, 2])), {"axes": (0,)}, smooth)
        yield Sample((x, _REPEATED), {"axes": (1,)}, smooth)
    yield Sample((_BOX, np.array([[1], [0]]), np.array([0, 2, -1])), {"axes": (0, 1)})
    yield Sample((_BOX, np.array([1, 0]), np.array([3, 3])), {"axes": (0, 2)})
    yield Sample((_BOX, np.array([1, 0]), np.array([0, 0])), {"axes": (1, 2)})
    yield Sample((_BOX, np.array(1), np.array(-2), np.array(0)), {"axes": (0, 1, 2)})
    yield Sample((_BOX, np.array(1)), {"axes": (1,)})
    yield Sample((_BOX, np.array(1), np.array([0, 3])), {"axes": (0, 2)})
    yield Sample((_BOX, np.empty((0, 2), np.int64)), {"axes": (1,)})
    yield Sample((np.empty((0, 3)), np.array([1, 1])), {"axes": (1,)})


def _index_put_samples() -> Iterator[Sample]:
    for sample in _index_samples():
        x, *indices = sample.inputs
        axes = sample.attrs["axes"]
        shape = indexed_shape(x.shape, axes, *(i.shape for i in indices))
        value = _written(np.empty(shape), x)
        yield Sample((x, value, *indices), {"axes": axes, "accumulate": True}, sample.smooth)
    for x, smooth in _kinds():  # overwriting: every place at most once
        at = np.array([2, -3])
        yield Sample((x, _written(np.empty((2, 4)), x), at), {"axes": (0,), "accumulate": False}, smooth)
    once = (np.array([1, 0]), np.array([3, 3]))
    yield Sample((_BOX, _written(np.empty((2, 3)), _BOX), *once), {"axes": (0, 2), "accumulate": False})
    yield Sample((_BOX, np.array(5.0), *map(np.array, (1, -2, 0))), {"axes": (0, 1, 2), "accumulate": False})


def _indices_errors(*between: Array, **attrs: bool) -> Iterator[ErrorSample]:
    x, at = np.zeros((3, 4)), np.array([0, 1])
    yield ErrorSample((x, *between, at.astype(np.int32)), {"axes": (0,), **attrs}, DtypeError, "index is int32")
    yield ErrorSample((x, *between, at, at), {"axes": (0,), **attrs}, ArgumentError, "2 indices for 1 axes")
    yield ErrorSample((x, *between, at, at), {"axes": (1, 0), **attrs}, ArgumentError, "not ascending")
    yield ErrorSample((x, *between, at), {"axes": (2,), **attrs}, DimensionError, "axis 2 is out of range")
    yield ErrorSample((x, *between, at, np.arange(3)), {"axes": (0, 1), **attrs}, ShapeError, "do not broadcast")


def _index_put_errors() -> Iterator[ErrorSample]:
    attrs = {"axes": (0,), "accumulate": False}
    x, at = np.zeros((3, 4)), np.array([0, 1])
    yield from _indices_errors(np.zeros((2, 4)), accumulate=False)
    yield ErrorSample((x, np.zeros((2, 4), np.float32), at), attrs, DtypeError, "value is float32")
    yield ErrorSample((x, np.zeros((2, 3)), at), attrs, ShapeError, "shape of the places")
    yield ErrorSample((x, np.zeros(4), at), attrs, ShapeError, "value has 1 dimensions")


index: Op = declare(
    "index",
    infer=_index_type,
    eval=_index,
    element=_index_element,
    kind=Kind("gather"),
    vjp=Joint(_index_vjp),
    saves=tuple(range(1, _MOST + 1)),
    samples=_index_samples,
    errors=_indices_errors,
)
index_put: Op = declare(
    "index_put",
    infer=_index_put_type,
    eval=_index_put,
    kind=Scatter(1, _index_put_place, lambda axes, accumulate: accumulate),
    vjp=Joint(_index_put_vjp),
    saves=tuple(range(2, _MOST + 2)),
    samples=_index_put_samples,
    errors=_index_put_errors,
)


# ---- places where something holds ------------------------------------------------------------------------------------


def _nonzero_type(x: TensorType) -> TensorType:
    if STATE.recorder is None:
        return TensorType((Dim.named("nonzero"), x.ndim), int64)
    raise SymbolicError(
        f"nonzero at {user_line()}: how many elements of {x} are not zero is known only when the graph runs\n"
        "  hint: keep the shape and choose by value with torch.where(condition, x, y), or call it eagerly"
    )


def _nonzero_samples() -> Iterator[Sample]:
    for x, _ in _kinds():
        yield Sample((x,), smooth=False)
    for x in (np.array(0.0), np.array(True), np.zeros((0, 2)), np.array([[0, 3], [0, 0], [5, 0]]).T):
        yield Sample((x,), smooth=False)


nonzero: Op = declare(
    "nonzero",
    infer=_nonzero_type,
    eval=lambda x: np.ascontiguousarray(np.argwhere(x), dtype=np.int64),
    kind=Kind("opaque"),
    samples=_nonzero_samples,
)

__all__ = ["gather", "index", "index_put", "nonzero", "scatter", "scatter_add"]
