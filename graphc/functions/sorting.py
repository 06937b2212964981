"""Sorting, choosing by rank, and distinct elements. Every sort is stable; NaN counts as the greatest."""

from __future__ import annotations

from typing import Any

from graphc.core.context import STATE
from graphc.core.errors import ShapeError, SymbolicError, user_line
from graphc.core.tensor_types import bool_, int64
from graphc.functions import return_types
from graphc.functions.axes import as_int, at_least_1d, like_input, normalize_dim, numpy_names, tensor_argument
from graphc.functions.promotion import cast_to, scalar_operand
from graphc.functions.reductions import take_along
from graphc.functions.running import along, gaps
from graphc.functions.splitting import slice_axis
from graphc.primitives.copying import copy
from graphc.primitives.creation import full
from graphc.primitives.cumulative import cumulative_sum
from graphc.primitives.elementwise import not_equal, subtract
from graphc.primitives.indexing import gather, nonzero, scatter
from graphc.primitives.indexing import index as index_op
from graphc.primitives.joining import concat
from graphc.primitives.reductions import reduce_any
from graphc.primitives.sorting import sort as sort_op
from graphc.primitives.views import permute, reshape


@numpy_names
def sort(input: Any, dim: Any = -1, descending: bool = False, stable: bool = False) -> Any:
    """(values, indices) sorted along `dim`."""
    x = tensor_argument(input, "sort")
    axis = normalize_dim(dim, len(x.shape))
    parts = sort_op(at_least_1d(x), axis=axis, descending=bool(descending), stable=bool(stable))
    return return_types.sort(*(like_input(part, x) for part in parts))


@numpy_names
def argsort(input: Any, dim: Any = -1, descending: bool = False, stable: bool = False) -> Any:
    """The indices (int64) that sort x along `dim`."""
    return sort(input, dim, descending, stable)[1]


def msort(input: Any) -> Any:
    """x sorted along its first dimension."""
    return sort(input, 0)[0]


@numpy_names
def topk(input: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """(values, indices) of the `k` largest (or smallest) elements along `dim`, in order."""
    x = tensor_argument(input, "topk")
    axis, k = normalize_dim(dim, len(x.shape)), as_int(k, "k")
    row = at_least_1d(x)
    size = row.shape[axis]
    if k < 0 or (isinstance(size, int) and k > size):
        raise ShapeError("selected index k out of range", f"0 <= k <= {size}, got {k}")
    parts = sort_op(row, axis=axis, descending=bool(largest), stable=True)
    if not len(x.shape) and k == 0:
        return return_types.topk(*(slice_axis(part, 0, 0, 0) for part in parts))
    # copies: results are tensors of their own, whose rows follow each other whatever was sorted beside them
    return return_types.topk(*(copy(like_input(slice_axis(part, axis, 0, k), x)) for part in parts))


@numpy_names
def kthvalue(input: Any, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """(values, indices) of the k-th smallest element along `dim`, counted from 1."""
    x = tensor_argument(input, "kthvalue")
    axis, k = normalize_dim(dim, len(x.shape)), as_int(k, "k")
    row = at_least_1d(x)
    size = row.shape[axis]
    if k < 1 or (isinstance(size, int) and k > size):
        problem = f"kthvalue(): selected number k out of range for dimension {axis}"
        raise ShapeError(problem, f"1 <= k <= {size}, got {k}")
    values, indices = sort_op(row, axis=axis, descending=False, stable=True)
    place = full(shape=tuple(s for i, s in enumerate(row.shape) if i != axis), value=k - 1, dtype=int64)
    parts = (take_along(part, place, axis, keepdim) for part in (values, indices))
    return return_types.kthvalue(*(part if len(x.shape) else reshape(part, shape=()) for part in parts))


def _only_eager(fn: str) -> None:
    if STATE.recorder is not None:
        raise SymbolicError(
            f"{fn} at {user_line()}: how many distinct elements there are is known only when the graph runs\n"
            "  hint: call it eagerly, or keep the shape: sort the elements and compare neighbours"
        )


def _run_starts(rows: Any) -> Any:
    """bool[n]: where a row of [n, m] differs from the one before it."""
    count = rows.shape[0]
    if count == 0:
        return full(shape=(0,), value=False, dtype=bool_)
    later, earlier = slice_axis(rows, 0, 1, count), slice_axis(rows, 0, 0, count - 1)
    changed = reduce_any(not_equal(later, earlier), axes=(1,))
    return concat(full(shape=(1,), value=True, dtype=bool_), changed, axis=0)


def _runs(rows: Any) -> tuple[Any, Any, Any]:
    """Of rows [n, m]: the place where each run of equal rows starts, each row's run, and the length of each run."""
    starts = _run_starts(rows)
    at = nonzero(starts)
    at = reshape(at, shape=(at.shape[0],))
    inverse = subtract(cumulative_sum(cast_to(starts, int64), axis=0), scalar_operand(1, int64))
    end = full(shape=(1,), value=int(rows.shape[0]), dtype=int64)
    counts = gaps(concat(at, end, axis=0), 0)
    return at, inverse, counts


def _as_rows(x: Any, axis: int | None) -> Any:
    """x as [n, m]: its elements one a row, or its slices along `axis` one a row."""
    if axis is None:
        return reshape(x, shape=(x.tensor_type.size, 1))
    order = (axis, *(i for i in range(len(x.shape)) if i != axis))
    moved = permute(x, axes=order)
    count = moved.shape[0]
    width = 1
    for s in moved.shape[1:]:
        width *= s
    return reshape(moved, shape=(count, width))


def _row_order(rows: Any) -> Any:
    """The order (int64[n]) that sorts the rows of [n, m] by their first, second, ... element."""
    count, width = rows.shape
    order = along(count, 0, 1)
    for column in reversed(range(width)):
        keys = reshape(slice_axis(rows, 1, column, column + 1), shape=(count,))
        _, found = sort_op(gather(keys, order, axis=0), axis=0, descending=False, stable=True)
        order = gather(order, found, axis=0)
    return order


def _distinct_parts(x: Any, axis: int | None, at: Any, inverse: Any, counts: Any, wanted: tuple[bool, bool]) -> Any:
    source = reshape(x, shape=(x.tensor_type.size,)) if axis is None else x
    values = index_op(source, at, axes=(axis or 0,))
    if axis is None:
        inverse = reshape(inverse, shape=tuple(x.shape))
    chosen = [values] + [part for part, want in zip((inverse, counts), wanted, strict=True) if want]
    return tuple(chosen) if len(chosen) > 1 else values


def unique(
    input: Any, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False, dim: Any = None
) -> Any:
    """The distinct elements, or slices along `dim`, in order; if asked, each one's place among them and the counts.

    Eager only: SymbolicError in a graph, whose shapes cannot depend on values.
    """
    x = tensor_argument(input, "unique")
    _only_eager("unique")
    axis = None if dim is None else normalize_dim(dim, len(x.shape))
    if axis is not None and not len(x.shape):
        return unique(at_least_1d(x), sorted, return_inverse, return_counts, 0)
    rows = _as_rows(x, axis)
    order = _row_order(rows)
    at, inverse, counts = _runs(index_op(rows, order, axes=(0,)))
    back = scatter(full(shape=tuple(order.shape), value=0, dtype=int64), order, inverse, axis=0)
    return _distinct_parts(x, axis, gather(order, at, axis=0), back, counts, (return_inverse, return_counts))


def unique_consecutive(input: Any, return_inverse: bool = False, return_counts: bool = False, dim: Any = None) -> Any:
    """The elements, or slices along `dim`, that differ from the one before; eager only, as `unique`."""
    x = tensor_argument(input, "unique_consecutive")
    _only_eager("unique_consecutive")
    axis = None if dim is None else normalize_dim(dim, len(x.shape))
    at, inverse, counts = _runs(_as_rows(x, axis))
    return _distinct_parts(x, axis, at, inverse, counts, (return_inverse, return_counts))


METHODS = ("sort", "argsort", "msort", "topk", "kthvalue", "unique", "unique_consecutive")
INPLACE = ()
__all__ = list(METHODS)
