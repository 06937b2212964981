"""Adaptive pooling: windows chosen so that a given number of them covers each of the last dimensions.

Window i of O over L elements reaches from floor(i L / O) up to ceil((i + 1) L / O): all alike where O divides L, otherwise
of lengths that differ by one, and overlapping.
"""

from __future__ import annotations

from typing import Any

from graphc.core.autocast import CPU_FULL
from graphc.core.dims import Dim, Shape, Size, floordiv, product
from graphc.core.errors import ArgumentError, ShapeError
from graphc.core.one_call import one_call
from graphc.core.tensor_types import int64
from graphc.functions.arguments import need_float
from graphc.functions.pooling import entries, need_planes
from graphc.functions.promotion import cast_to, scalar_operand
from graphc.functions.reductions import computed_in
from graphc.primitives.creation import iota
from graphc.primitives.elementwise import (
    add,
    cast,
    divide,
    floor_divide,
    less,
    minimum,
    multiply,
    negate,
    subtract,
    where,
)  # fmt: skip
from graphc.primitives.indexing import gather, index
from graphc.primitives.reductions import reduce_sum
from graphc.primitives.views import reshape, show
from graphc.primitives.windows import window_max, window_sum


def _sizes(name: str, x: Any, spatial: int, output_size: Any) -> Shape:
    """The sizes asked for; None keeps the input's. ShapeError for a negative one or another count.

    ArgumentError where they are as many as all dimensions.
    """
    have = x.shape[len(x.shape) - spatial :]
    if isinstance(output_size, list | tuple) and spatial > 1:
        if len(output_size) != spatial:
            error = ArgumentError if len(output_size) >= len(x.shape) else ShapeError
            raise error(f"{name}: output_size must be {spatial} sizes, got {len(output_size)}")
        output_size = [h if size is None else size for size, h in zip(output_size, have, strict=True)]
    sizes = entries(name, "output_size", output_size, spatial)
    if any(isinstance(size, int) and size < 0 for size in sizes):
        raise ShapeError(
            f"{name}: elements of output_size must be greater than or equal to 0 but received {show(sizes)}"
        )
    return sizes


def _is(size: Size, number: Size) -> bool:
    """Whether two sizes are surely equal."""
    gap = size - number
    return isinstance(gap, int) and gap == 0


def _alike(size: Size, count: Size) -> bool:
    """Whether `count` windows over `size` elements are surely all of one length."""
    if isinstance(size, int) and isinstance(count, int):
        return count > 0 and size % count == 0
    return _is(size, count) or _is(count, 1)


def _even_window(sizes: Shape, counts: Shape) -> dict[str, Any]:
    """Attributes of windows that are all alike in every dimension."""
    kernel = tuple(floordiv(size, count) for size, count in zip(sizes, counts, strict=True))
    stride = tuple(1 if _is(count, 1) else k for k, count in zip(kernel, counts, strict=True))
    flat = ((0, 0),) * len(sizes)
    return {"kernel": kernel, "stride": stride, "padding": flat, "dilation": (1,) * len(sizes)}


def _longest(size: Size, count: Size) -> Size:
    """The length of the longest window, or a bound of it."""
    if isinstance(size, Dim) or isinstance(count, Dim):
        return floordiv(size, count) + 2
    return max((-(-(i + 1) * size // count) - i * size // count for i in range(count)), default=1)


def _spans(size: Size, count: Size) -> tuple[Any, Any]:
    """The positions of each window: i64[count, longest], and which of them exist; others repeat the last."""
    i = reshape(iota(size=count, start=0, step=1, dtype=int64), shape=(count, 1))
    total, number, one = (scalar_operand(n, int64) for n in (size, 1 if _is(count, 0) else count, 1))
    starts = floor_divide(multiply(i, total), number)
    ends = negate(floor_divide(negate(multiply(add(i, one), total)), number))
    steps = iota(size=_longest(size, count), start=0, step=1, dtype=int64)
    places = add(starts, reshape(steps, shape=(1, steps.shape[0])))
    return minimum(places, subtract(ends, one)), less(places, ends)


# --- mean ------------------------------------------------------------------------------------------------------------


def _uneven_mean(x: Any, axis: int, count: Size) -> Any:
    """The means of `count` windows along one axis."""
    places, inside = _spans(x.shape[axis], count)
    behind = (1,) * (len(x.shape) - axis - 1)
    longest = places.shape[1]
    met = index(x, places, axes=(axis,))
    inside = reshape(inside, shape=(count, longest, *behind))
    total = reduce_sum(where(inside, met, scalar_operand(0, x.dtype)), axes=(axis + 1,))
    return divide(total, reduce_sum(cast(inside, dtype=x.dtype), axes=(1,)))


def _adaptive_avg_pool(spatial: int, x: Any, output_size: Any) -> Any:
    name = f"adaptive_avg_pool{spatial}d"
    need_planes(name, need_float(x), spatial, channels=False)
    lead = len(x.shape) - spatial
    sizes, counts = tuple(x.shape[lead:]), _sizes(name, x, spatial, output_size)
    out = computed_in(x)
    even = tuple(c if _alike(size, c) else size for size, c in zip(sizes, counts, strict=True))
    if not all(map(_is, even, sizes)):
        window = _even_window(sizes, even)
        out = divide(window_sum(out, **window), scalar_operand(product(window["kernel"]), out.dtype))
    for i, (size, count) in enumerate(zip(sizes, counts, strict=True)):
        if not _alike(size, count):
            out = _uneven_mean(out, lead + i, count)
    return cast_to(out, x.dtype)


@one_call(weight=2)
def adaptive_avg_pool1d(input: Any, output_size: Any) -> Any:
    """The means of `output_size` windows that cover input: f32[N, C, L] or f32[C, L].

    Raises ShapeError for a negative size, DtypeError for integers.
    """
    return _adaptive_avg_pool(1, input, output_size)


@one_call(weight=2)
def adaptive_avg_pool2d(input: Any, output_size: Any) -> Any:
    """The means of `output_size` windows in each dimension that cover input: f32[N, C, H, W] or f32[C, H, W].

    A size None keeps the input's. Raises ShapeError for a negative size, DtypeError for integers.
    """
    return _adaptive_avg_pool(2, input, output_size)


@one_call(weight=2, cast=CPU_FULL)
def adaptive_avg_pool3d(input: Any, output_size: Any) -> Any:
    """The means of `output_size` windows in each dimension that cover input: f32[N, C, D, H, W] or f32[C, D, H, W].

    A size None keeps the input's. Raises ShapeError for a negative size, DtypeError for integers.
    """
    return _adaptive_avg_pool(3, input, output_size)


# --- maximum ---------------------------------------------------------------------------------------------------------


def _table(sizes: Shape, counts: Shape) -> Any:
    """The flat places that each window meets: i64[windows, places], those of one window in order."""
    spatial, table = len(sizes), None
    for i, (size, count) in enumerate(zip(sizes, counts, strict=True)):
        places, _ = _spans(size, count)
        ones = [1] * spatial
        shape = (*ones[:i], count, *ones[i + 1 :], *ones[:i], places.shape[1], *ones[i + 1 :])
        places = reshape(places, shape=shape)
        table = places if table is None else add(multiply(table, scalar_operand(size, int64)), places)
    assert table is not None
    return reshape(table, shape=(product(counts), product(tuple(table.shape[spatial:]))))


def _uneven_max(x: Any, lead: int, counts: Shape) -> tuple[Any, Any]:
    """The maxima of windows of differing lengths, and their flat places."""
    sizes, before = tuple(x.shape[lead:]), tuple(x.shape[:lead])
    table = _table(sizes, counts)
    windows, longest = table.shape
    planes = reshape(x, shape=(*before, product(sizes)))
    met = index(planes, table, axes=(lead,))
    _, taps = window_max(met, kernel=(longest,), stride=(1,), padding=((0, 0),), dilation=(1,))
    taps = reshape(taps, shape=(*before, windows))
    rows = multiply(iota(size=windows, start=0, step=1, dtype=int64), scalar_operand(longest, int64))
    indices = index(reshape(table, shape=(windows * longest,)), add(taps, rows), axes=(0,))
    values = gather(planes, indices, axis=lead)
    shape = (*before, *counts)
    return reshape(values, shape=shape), reshape(indices, shape=shape)


def _adaptive_max_pool(spatial: int, x: Any, output_size: Any, both: bool) -> Any:
    name = f"adaptive_max_pool{spatial}d"
    need_planes(name, need_float(x), spatial)
    lead = len(x.shape) - spatial
    sizes, counts = tuple(x.shape[lead:]), _sizes(name, x, spatial, output_size)
    if all(_alike(size, count) for size, count in zip(sizes, counts, strict=True)):
        values, indices = window_max(x, **_even_window(sizes, counts))
    else:
        values, indices = _uneven_max(x, lead, counts)
    return (values, indices) if both else values


@one_call(weight=2)
def adaptive_max_pool1d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """The maxima of `output_size` windows that cover input: f32[N, C, L] or f32[C, L].

    With `return_indices` also their positions. Raises ShapeError for a negative size, DtypeError for integers.
    """
    return _adaptive_max_pool(1, input, output_size, return_indices)


@one_call(weight=2)
def adaptive_max_pool2d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """The maxima of `output_size` windows in each dimension that cover input: f32[N, C, H, W] or f32[C, H, W].

    With `return_indices` also their positions in the flattened [H, W]. A size None keeps the input's. Raises ShapeError for
    a negative size, DtypeError for integers.
    """
    return _adaptive_max_pool(2, input, output_size, return_indices)


@one_call(weight=2, cast=CPU_FULL)
def adaptive_max_pool3d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """The maxima of `output_size` windows in each dimension that cover input: f32[N, C, D, H, W] or f32[C, D, H, W].

    With `return_indices` also their positions in the flattened [D, H, W]. A size None keeps the input's. Raises ShapeError
    for a negative size, DtypeError for integers.
    """
    return _adaptive_max_pool(3, input, output_size, return_indices)


@one_call(weight=2)
def adaptive_max_pool1d_with_indices(input: Any, output_size: Any) -> Any:
    """`adaptive_max_pool1d` with the positions of the maxima."""
    return _adaptive_max_pool(1, input, output_size, True)


@one_call(weight=2)
def adaptive_max_pool2d_with_indices(input: Any, output_size: Any) -> Any:
    """`adaptive_max_pool2d` with the positions of the maxima."""
    return _adaptive_max_pool(2, input, output_size, True)


@one_call(weight=2, cast=CPU_FULL)
def adaptive_max_pool3d_with_indices(input: Any, output_size: Any) -> Any:
    """`adaptive_max_pool3d` with the positions of the maxima."""
    return _adaptive_max_pool(3, input, output_size, True)


METHODS: tuple[str, ...] = ()
INPLACE: tuple[str, ...] = ()
__all__ = ["adaptive_avg_pool1d"]
