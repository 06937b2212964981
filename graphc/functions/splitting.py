"""Parts of a tensor: slices along one dimension, splits and chunks."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from graphc.core.dims import Dim, Shape, Size, size_min
from graphc.core.errors import ArgumentTypeError, DimensionError, ShapeError
from graphc.core.tape import TensorBase
from graphc.functions.axes import as_int, normalize_dim, numpy_names
from graphc.functions.sizes import as_size, as_sizes
from graphc.primitives import views
from graphc.primitives.views import show


def shape_of(x: Any) -> Shape:
    """The sizes of a tensor as a plain tuple; ArgumentTypeError for anything else."""
    if not isinstance(x, TensorBase):
        raise ArgumentTypeError(f"argument 'input' must be Tensor, not {type(x).__name__}")
    data = x._data
    return data.shape if type(data) is np.ndarray else tuple(x.shape)


def slice_axis(x: Any, axis: int, start: Size, limit: Size, stride: int = 1) -> Any:
    """x[start:limit:stride] along one axis, for 0 <= start <= limit <= size."""
    shape = tuple(x.shape)
    starts: list[Size] = [0] * len(shape)
    limits, strides = list(shape), [1] * len(shape)
    starts[axis], limits[axis], strides[axis] = start, limit, stride
    return views.slice_(x, starts=tuple(starts), limits=tuple(limits), strides=tuple(strides))


def narrow(input: Any, dim: int, start: Any, length: Any) -> Any:
    """`length` elements along `dim` from `start` on: a view."""
    shape = shape_of(input)
    if not shape:
        raise ShapeError("narrow() cannot be applied to a 0-dim tensor.")
    at = normalize_dim(dim, len(shape))
    count, first, size = as_size(length, "length"), as_size(start, "start"), shape[at]
    if isinstance(count, int) and count < 0:
        raise ShapeError("narrow(): length must be non-negative.")
    if isinstance(first, int) and first < 0:
        if isinstance(size, int) and -first > size:
            raise DimensionError(f"start out of range (expected to be in range of [{-size}, {size}], but got {first})")
        first = first + size
    beyond = first + count - size
    if isinstance(beyond, int) and beyond > 0:
        raise ShapeError(f"start ({first}) + length ({count}) exceeds dimension size ({size}).")
    return slice_axis(input, at, first, first + count)


def select(input: Any, dim: int, index: Any) -> Any:
    """The part at one index of a dimension, which goes away: a view."""
    shape = shape_of(input)
    if not shape:
        raise DimensionError("select() cannot be applied to a 0-dim tensor.")
    at, i, size = normalize_dim(dim, len(shape)), as_size(index, "index"), shape[normalize_dim(dim, len(shape))]
    if isinstance(i, int) and isinstance(size, int) and not -size <= i < size:
        raise DimensionError(
            f"select(): index {i} out of range for tensor of size {show(shape)} at dimension {at}",
            f"{-size} to {size - 1}",
        )
    if isinstance(i, int) and i < 0:
        i = i + size
    return views.reshape(slice_axis(input, at, i, i + 1), shape=shape[:at] + shape[at + 1 :])


@numpy_names
def unbind(input: Any, dim: int = 0) -> tuple[Any, ...]:
    """The parts at every index of a dimension, which must be known."""
    shape = shape_of(input)
    if not shape:
        raise DimensionError("Dimension specified as 0 but tensor has no dimensions")
    at = normalize_dim(dim, len(shape))
    return tuple(select(input, at, i) for i in range(operator.index(shape[at])))


def _parts(input: Any, at: int, sizes: Sequence[Size]) -> tuple[Any, ...]:
    found = []
    start: Size = 0
    for size in sizes:
        found.append(slice_axis(input, at, start, start + size))
        start = start + size
    return tuple(found)


def split(tensor: Any, split_size_or_sections: Any, dim: int = 0) -> tuple[Any, ...]:
    """Pieces of one size along `dim` (the last may be smaller), or pieces of the sizes given."""
    shape = shape_of(tensor)
    if not shape:
        raise ShapeError("split expects at least a 1-dimensional tensor")
    at = normalize_dim(dim, len(shape))
    size = shape[at]
    if isinstance(split_size_or_sections, Sequence):
        sections = as_sizes((split_size_or_sections,), "split_sizes")
        return _split_sections(tensor, at, sections)
    each = as_size(split_size_or_sections, "split_size")
    if isinstance(size, Dim) or isinstance(each, Dim):
        count = operator.index(size // each) if each != size else 1
        return _parts(tensor, at, (each,) * count)
    if each < 0:
        raise ShapeError(f"split expects split_size be non-negative, but got split_size={each}")
    if each == 0:
        if size:
            raise ShapeError(f"split_size can only be 0 if dimension size is 0, but got dimension size of {size}")
        return (slice_axis(tensor, at, 0, 0),)
    return _parts(tensor, at, [min(each, size - i) for i in range(0, size, each)] or [0])


def _split_sections(tensor: Any, at: int, sections: Shape) -> tuple[Any, ...]:
    if any(isinstance(s, int) and s < 0 for s in sections):
        raise ShapeError(
            f"split_with_sizes expects split_sizes have only non-negative entries, but got split_sizes={show(sections)}"
        )
    size = tensor.shape[at]
    total: Size = 0
    for section in sections:
        total = total + section
    gap = total - size
    if isinstance(gap, int) and gap:
        raise ShapeError(
            f"split_with_sizes expects split_sizes to sum exactly to {size} (input tensor's size at dimension {at}), "
            f"but got split_sizes={show(sections)}"
        )
    return _parts(tensor, at, sections)


def split_with_sizes(input: Any, split_sizes: Any, dim: int = 0) -> tuple[Any, ...]:
    """Pieces of the sizes given along `dim`."""
    return split(input, tuple(split_sizes), dim)


@numpy_names
def chunk(input: Any, chunks: int, dim: int = 0) -> tuple[Any, ...]:
    """At most `chunks` pieces of one size along `dim`, the last one perhaps smaller."""
    shape = shape_of(input)
    if not shape:
        raise ShapeError("chunk expects at least a 1-dimensional tensor")
    count = as_int(chunks, "chunks")
    if count < 1:
        raise ShapeError(f"chunk expects `chunks` to be greater than 0, got: {count}")
    size = shape[normalize_dim(dim, len(shape))]
    if isinstance(size, int):
        return split(input, -(-size // count), dim) if size else (input,) * count
    each = (size + count - 1) // count
    bounds = [size_min(each * i, size) for i in range(count + 1)]
    return _parts(input, normalize_dim(dim, len(shape)), [b - a for a, b in pairwise(bounds)])


@numpy_names
def tensor_split(input: Any, indices_or_sections: Any, dim: int = 0) -> tuple[Any, ...]:
    """Pieces along `dim`: a number of nearly equal ones, or those between the indices given."""
    shape = shape_of(input)
    if not shape:
        raise ShapeError("tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims")
    at = normalize_dim(dim, len(shape))
    size = shape[at]
    if isinstance(indices_or_sections, TensorBase):
        indices_or_sections = indices_or_sections.tolist()  # type: ignore[attr-defined]
    if not isinstance(indices_or_sections, Sequence):
        count = as_int(indices_or_sections, "sections")
        if count < 1:
            raise ShapeError(f"number of sections must be larger than 0, got {count}")
        return _parts(input, at, [(size - i + count - 1) // count for i in range(count)])
    known = operator.index(size)
    bounds = [0, *(slice(0, as_int(i, "indices")).indices(known)[1] for i in indices_or_sections), known]
    return tuple(slice_axis(input, at, a, max(a, b)) for a, b in pairwise(bounds))


def _named_split(name: str, least: int, dim_of: Callable[[int], int]) -> Callable[..., Any]:
    def function(input: Any, indices_or_sections: Any) -> tuple[Any, ...]:
        shape = shape_of(input)
        if len(shape) < least:
            raise ShapeError(
                f"torch.{name} requires a tensor with at least {least} dimension, but got a tensor with {len(shape)} "
                "dimensions!"
            )
        at = dim_of(len(shape))
        if isinstance(indices_or_sections, int):
            if indices_or_sections < 1:
                raise ShapeError(f"{name}: number of sections must be larger than 0, got {indices_or_sections}")
            rest = shape[at] % indices_or_sections
            if isinstance(rest, int) and rest:
                raise ShapeError(
                    f"torch.{name} attempted to split along dimension {at}, but the size of the dimension "
                    f"{shape[at]} is not divisible by the split_size {indices_or_sections}!"
                )
        return tensor_split(input, indices_or_sections, at)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = "Equal pieces, or those between the indices given, along the dimension the name tells."
    return function


hsplit = _named_split("hsplit", 1, lambda ndim: 0 if ndim == 1 else 1)
vsplit = _named_split("vsplit", 2, lambda ndim: 0)
dsplit = _named_split("dsplit", 3, lambda ndim: 2)
