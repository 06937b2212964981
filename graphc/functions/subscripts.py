"""`x[key]` and `x[key] = value`, by PyTorch's rules.

A key is read in two layers. Numbers, slices, None and Ellipsis are *basic*: they become one slice and one reshape,
which are views, so that results share memory and writes show through. Tensors, lists and arrays are *advanced*: they
index what the basic part gives, and their results are copies.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np

from graphc.core.arrays import is_array
from graphc.core.context import STATE, eagerly
from graphc.core.dims import Dim, Shape, Size, is_static, size_max, size_min
from graphc.core.errors import ArgumentError, ArgumentTypeError, DimensionError, DtypeError, IndexRangeError, ShapeError
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import FLOAT, bool_, int32, int64, uint8
from graphc.functions.creation import from_array
from graphc.functions.creation import tensor as new_tensor
from graphc.functions.promotion import cast_to, is_number, scalar_operand
from graphc.primitives.comparison import where
from graphc.primitives.indexing import index, index_put, indexed_shape, nonzero
from graphc.primitives.views import expand, reshape, show, slice_


@dataclass
class Subscript:
    """A key read against a tensor's shape.

    `starts`, `limits`, `strides`: the slice of each dimension; `shape`: what the basic part gives. `selects`: 0-d index
    tensors known only at run time, `advanced`: the other index tensors and masks; each with its dimension in `shape`.
    """

    starts: list[Size] = field(default_factory=list)
    limits: list[Size] = field(default_factory=list)
    strides: list[int] = field(default_factory=list)
    shape: list[Size] = field(default_factory=list)
    selects: list[tuple[int, Any]] = field(default_factory=list)
    advanced: list[tuple[int, Any]] = field(default_factory=list)

    def take(self, start: Size, limit: Size, stride: int = 1) -> None:
        """The next dimension is sliced."""
        self.starts.append(start)
        self.limits.append(limit)
        self.strides.append(stride)

    def takes_all(self, x: Any) -> bool:
        """Whether no slice leaves out anything of x."""
        sliced = zip(self.starts, self.limits, self.strides, x.shape, strict=True)
        return all(a == 0 and b == n and s == 1 for a, b, s, n in sliced)

    def target(self, x: Any) -> Any:
        """The basic part of x, sharing its memory; x itself if that is all of it."""
        all_of_it, shape = self.takes_all(x), tuple(self.shape)
        if not all_of_it:
            x = slice_(x, starts=tuple(self.starts), limits=tuple(self.limits), strides=tuple(self.strides))
        return x if shape == tuple(x.shape) else reshape(x, shape=shape)


# --- reading the key -------------------------------------------------------------------------------------------------


def _as_tuple(key: Any) -> tuple[Any, ...]:
    """The key's items. A short list with anything but numbers in it counts as a tuple, as in PyTorch."""
    if isinstance(key, tuple):
        return key
    if isinstance(key, list) and len(key) < 32:
        for item in key:
            if item is None or item is Ellipsis or isinstance(item, slice | TensorBase | np.ndarray | Sequence):
                return tuple(key)
    return (key,)


def _as_item(item: Any) -> Any:
    """One item as a bool, int, Dim, slice, None, Ellipsis or index tensor (int64 or bool)."""
    if item is None or item is Ellipsis or isinstance(item, bool | int | slice | Dim):
        return item
    if isinstance(item, np.bool_):
        return bool(item)
    if isinstance(item, np.ndarray | list | tuple | range):
        item = _known_indices(item)
    if isinstance(item, tuple):
        return item
    if isinstance(item, TensorBase):
        return _checked_indices(item)
    try:
        return operator.index(item)
    except TypeError:
        raise DimensionError(
            "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices "
            f"(got {type(item).__name__})"
        ) from None


def _known_indices(item: Any) -> Any:
    """A list or array as an index tensor; a mask, whose places are known here, as a tuple of them and its shape."""
    if isinstance(item, np.ndarray):
        if item.dtype.kind not in "biu":
            raise DimensionError("tensors used as indices must be long, int, byte or bool tensors")
        array = item
    elif _only_numbers(item):
        with eagerly():
            array = new_tensor(item).numpy() if len(item) else np.empty(0, np.int64)
    else:
        built = new_tensor(item)
        return built if built.dtype.category != FLOAT else cast_to(built, int64)
    if array.dtype.kind == "b":
        return _KnownMask((array.shape, *map(from_array, np.nonzero(array)))) if array.ndim else bool(array)
    return int(array) if array.ndim == 0 else from_array(array.astype(np.int64))


def _only_numbers(item: Any) -> bool:
    return all(_only_numbers(i) if isinstance(i, list | tuple) else isinstance(i, Real | np.generic) for i in item)


class _KnownMask(tuple[Any, ...]):
    """(shape, places along each dimension) of a mask whose elements are known."""


def _checked_indices(item: Any) -> Any:
    if item.dtype is uint8:
        item = cast_to(item, bool_)
    if item.dtype not in (int64, int32, bool_):
        raise DimensionError("tensors used as indices must be long, int, byte or bool tensors")
    if not item.shape and STATE.recorder is None and is_array(item._data):
        return item.item()
    return item if item.dtype is bool_ else cast_to(item, int64)


def _consumed(item: Any) -> int:
    """How many dimensions an item takes."""
    if item is None or item is Ellipsis or isinstance(item, bool):
        return 0
    if isinstance(item, _KnownMask):
        return len(item[0])
    if isinstance(item, TensorBase) and item.dtype is bool_:
        return len(item.shape)
    return 1


def read_key(shape: Shape, key: Any) -> Subscript:
    """A key against a shape. DimensionError (IndexError) for too many items, wrong kinds and numbers out of range."""
    items = [_as_item(item) for item in _as_tuple(key)]
    taken = sum(map(_consumed, items))
    if taken > len(shape):
        if not shape and any(isinstance(i, int | Dim) for i in items):
            raise DimensionError(
                "invalid index of a 0-dim tensor. Use `tensor.item()` in Python to convert a 0-dim tensor to a number"
            )
        if not shape:
            raise DimensionError("slice() cannot be applied to a 0-dim tensor.")
        raise DimensionError(f"too many indices for tensor of dimension {len(shape)}")
    out, free = Subscript(), len(shape) - taken
    for item in items:
        if item is Ellipsis:
            _skip(out, shape, free)
            free = 0
        else:
            _take_item(out, shape, item)
    _skip(out, shape, len(shape) - len(out.starts))
    _check_broadcast(out)
    return out


def _skip(out: Subscript, shape: Shape, count: int) -> None:
    for size in shape[len(out.starts) : len(out.starts) + count]:
        out.take(0, size)
        out.shape.append(size)


def _take_item(out: Subscript, shape: Shape, item: Any) -> None:
    at, here = len(out.starts), len(out.shape)
    if item is None:
        out.shape.append(1)
    elif isinstance(item, bool):
        out.advanced.append((here, from_array(np.zeros(int(item), np.int64))))
        out.shape.append(1)
    elif isinstance(item, int | Dim):
        start = _place(item, shape[at], at)
        out.take(start, start + 1)
    elif isinstance(item, slice):
        start, limit, stride = _bounds(item, shape[at])
        out.take(start, limit, stride)
        out.shape.append((limit - start + stride - 1) // stride)
    elif isinstance(item, _KnownMask):
        _check_mask(item[0], shape, at)
        out.advanced += [(here + i, places) for i, places in enumerate(item[1:])]
        _skip(out, shape, len(item[0]))
    elif item.dtype is bool_:
        _check_mask(item.shape, shape, at)
        out.advanced.append((here, item))
        _skip(out, shape, len(item.shape))
        if not item.shape:
            out.shape.append(1)
    else:
        (out.advanced if item.shape else out.selects).append((here, item))
        _skip(out, shape, 1)


def _place(item: Size, size: Size, dim: int) -> Size:
    """An int index counted from 0; IndexRangeError if it is surely out of range."""
    if isinstance(item, int) and isinstance(size, int) and not -size <= item < size:
        raise IndexRangeError(f"index {item} is out of bounds for dimension {dim} with size {size}")
    return item + size if _is_negative(item) else item


def _is_negative(x: Size) -> bool:
    return x < 0 if isinstance(x, int) else size_min(x, 0) == x


def _bound(x: Any) -> Size:
    if isinstance(x, int | Dim):
        return x
    try:
        return operator.index(x)
    except TypeError:
        raise ArgumentTypeError("slice indices must be integers or None or have an __index__ method") from None


def _bounds(item: slice, size: Size) -> tuple[Size, Size, int]:
    """start, limit and step with 0 <= start <= limit <= size."""
    step = 1 if item.step is None else operator.index(item.step)
    if step <= 0:
        raise ArgumentError("slice step cannot be zero" if step == 0 else "step must be greater than zero")
    first = 0 if item.start is None else _bound(item.start)
    start = _clamped(first, size)
    if item.stop is None:
        return start, size, step
    last = _bound(item.stop)
    if first == 0 or not (isinstance(first, int) and isinstance(last, int)):
        limit = _clamped(last, size)
        return start, limit if first == 0 else size_max(start, limit), step
    if (first < 0) == (last < 0):
        return start, start if last <= first else _clamped(last, size), step
    if last < 0:
        return start, start + size_max(size + last - first, 0), step
    return start, size_max(start, _clamped(last, size)), step


def _clamped(x: Size, size: Size) -> Size:
    """A slice bound within 0 and size; an expression of unknown sizes is negative only if it surely is.

    min(k, size) is written size - max(size - k, 0), so that `x[1:]` and `x[:-1]` have one size.
    """
    if _is_negative(x):
        return size_max(x + size, 0)
    low = size_min(x, size)
    return size - size_max(size - x, 0) if isinstance(x, int) and low not in (x, size) else low


def _check_mask(mask: Shape, shape: Shape, at: int) -> None:
    for i, want in enumerate(mask):
        have = shape[at + i]
        if isinstance(want, int) and isinstance(have, int) and want != have:
            raise DimensionError(
                f"The shape of the mask {show(tuple(mask))} at index {i} does not match the shape of the indexed "
                f"tensor {show(tuple(shape))} at index {at + i}"
            )


def _check_broadcast(out: Subscript) -> None:
    shapes = [tuple(t.shape) for _, t in out.advanced if t.dtype is int64]
    if len(shapes) > 1 and all(map(is_static, shapes)):
        try:
            np.broadcast_shapes(*shapes)
        except ValueError:
            raise DimensionError(
                "shape mismatch: indexing tensors could not be broadcast together with shapes "
                + ", ".join(map(show, shapes))
            ) from None


# --- the advanced part -----------------------------------------------------------------------------------------------


Stage = tuple[tuple[int, ...], tuple[Any, ...]]  # the indexed axes and one index tensor for each


def places_of(mask: Any) -> tuple[Any, ...]:
    """Where a mask is true: one int64 tensor per dimension. Needs values, so it cannot be recorded."""
    found, rank = nonzero(mask), len(mask.shape)
    count = found.shape[0]
    columns = (slice_(found, starts=(0, i), limits=(count, i + 1), strides=(1, 1)) for i in range(rank))
    return tuple(reshape(column, shape=(count,)) for column in columns)


def stages_of(key: Subscript) -> list[Stage]:
    """The advanced part as `index` calls: first the 0-d tensors, which act like numbers, then all others together."""
    stages: list[Stage] = []
    if key.selects:
        stages.append((tuple(a for a, _ in key.selects), tuple(t for _, t in key.selects)))
    axes: list[int] = []
    indices: list[Any] = []
    for axis, t in key.advanced:
        at = axis - sum(a < axis for a, _ in key.selects)
        if t.dtype is not bool_:
            axes.append(at)
            indices.append(t)
        elif t.shape:
            axes += range(at, at + len(t.shape))
            indices += places_of(t)
        else:
            axes.append(at)
            found = nonzero(reshape(t, shape=(1,)))
            indices.append(reshape(found, shape=(found.shape[0],)))
    if axes:
        stages.append((tuple(axes), tuple(indices)))
    return stages


def getitem(x: Any, key: Any) -> Any:
    """`x[key]`: a view for numbers, slices, None and Ellipsis; a copy where tensors, lists or masks take part.

    Raises DimensionError (IndexError) for what does not exist, ArgumentError for steps below 1, SymbolicError for a
    mask known only when a graph runs.
    """
    read = read_key(tuple(x.shape), key)
    out = read.target(x)
    if out is x and not read.advanced and not read.selects:
        return reshape(x, shape=tuple(x.shape))
    for axes, indices in stages_of(read):
        out = index(out, *indices, axes=axes)
    return out


# --- writing ---------------------------------------------------------------------------------------------------------


def write_into(x: Any, new: Any) -> Any:
    """Replaces the elements of x, in place, by those of `new`."""
    return x.copy_(new)


def setitem(x: Any, key: Any, value: Any) -> None:
    """`x[key] = value`: value, a number or a tensor that broadcasts to `x[key]`, is written into x.

    Raises what `getitem` raises, ShapeError where value does not broadcast, DtypeError for tensors of another dtype
    beside index tensors.
    """
    read = read_key(tuple(x.shape), key)
    value = _as_value(value, x)
    if not read.advanced and not read.selects:
        target = read.target(x)
        write_into(target, fitted(cast_to(value, x.dtype), tuple(target.shape)))
        return
    if value.dtype is not x.dtype:
        if value.shape:
            raise DtypeError(
                f"Index put requires the source and destination dtypes match, got {x.dtype.name} for the destination "
                f"and {value.dtype.name} for the source."
            )
        value = cast_to(value, x.dtype)
    target = read.target(x)
    write_into(target, with_value(target, read, value))


def _as_value(value: Any, x: Any) -> Any:
    if isinstance(value, TensorBase):
        return value
    if is_number(value):
        return scalar_operand(value, x.dtype)
    raise ArgumentTypeError(f"can't assign a {type(value).__name__} to a {x.dtype.name} tensor")


def fitted(value: Any, shape: Shape) -> Any:
    """value broadcast to `shape`; superfluous leading dimensions of size 1 are dropped, as in PyTorch."""
    have = tuple(value.shape)
    if have == shape:
        return value
    extra = len(have) - len(shape)
    if extra > 0:
        if any(size != 1 for size in have[:extra]):
            raise _does_not_fit(have, shape)
        have = have[extra:]
        value = reshape(value, shape=have)
    for size, want in zip(have, shape[len(shape) - len(have) :], strict=True):
        if isinstance(size, int) and isinstance(want, int) and size not in (1, want):
            raise _does_not_fit(tuple(value.shape), shape)
    return value if have == shape else expand(value, shape=shape)


def _does_not_fit(have: Shape, shape: Shape) -> ShapeError:
    return ShapeError(
        f"shape mismatch: value tensor of shape {show(have)} cannot be broadcast to indexing result of shape "
        f"{show(shape)}"
    )


def with_value(x: Any, read: Subscript, value: Any, accumulate: bool = False) -> Any:
    """x, the basic part of a key, with `value` written (or added) at the places of the advanced part."""
    new = None if accumulate else _masked(x, read, value)
    return _put(x, stages_of(read), value, accumulate) if new is None else new


def _put(x: Any, stages: list[Stage], value: Any, accumulate: bool) -> Any:
    """x with `value` at the places the stages, one inside the other, lead to."""
    axes, indices = stages[0]
    if len(stages) > 1:
        value, accumulate = _put(index(x, *indices, axes=axes), stages[1:], value, accumulate), False
    shape = indexed_shape(tuple(x.shape), axes, *(tuple(t.shape) for t in indices))
    return index_put(x, fitted(value, shape), *indices, axes=axes, accumulate=accumulate)


def _masked(x: Any, read: Subscript, value: Any) -> Any:
    """x with `value` where the key's one mask is true, as a `where`; None if each place gets a value of its own."""
    if read.selects or len(read.advanced) != 1:
        return None
    (axis, mask), rank = read.advanced[0], len(x.shape)
    if mask.dtype is not bool_:
        return None
    covered = len(mask.shape) or 1
    after = rank - axis - covered
    have = tuple(value.shape)
    while len(have) > rank - covered + 1 and have[0] == 1:
        have = have[1:]
    if len(have) > after and (len(have) > rank - covered + 1 or have[len(have) - after - 1] != 1):
        return None
    split = max(len(have) - after - 1, 0), max(len(have) - after, 0)
    shape = have[: split[0]] + (1,) * (covered if len(have) > after else 0) + have[split[1] :]
    condition = reshape(mask, shape=(*mask.shape, *(1,) * (rank - axis - len(mask.shape))))
    return where(condition, fitted(reshape(value, shape=shape), tuple(x.shape)), x)


__all__ = ["fitted", "getitem", "places_of", "read_key", "setitem", "with_value", "write_into"]
