"""Sorting as kernels, of rows [before, n, behind] along the middle: stable, NaN the greatest.

Short rows: an element's place is the number of elements that come before it, and it is put there. Longer ones: Batcher's
bitonic sorter on rows that are filled up to a power of two (K. E. Batcher, Sorting networks and their applications, 1968),
one kernel for each exchange of all pairs so far apart. Equal elements are told apart by where they came from.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from graphc.core import scalar as s
from graphc.core.scalar import Scalar, is_half
from graphc.core.tensor_types import BOOL, FLOAT, DType, float32, int32, int64
from graphc.ir.kernel import Access, Kernel, Made, Statement

#: Rows of more elements than this are sorted by exchanges.
LONGEST_COUNTED = 2048


class Rows(NamedTuple):
    """What is sorted. `wanted`: how many of each row are wanted, the first ones."""

    dtype: DType
    before: int
    n: int
    behind: int
    descending: bool
    wanted: int

    @property
    def filled(self) -> int:
        """The elements of a row that is filled up to a power of two."""
        return 1 << (self.n - 1).bit_length()

    @property
    def steps(self) -> tuple[int, int, int]:
        """How far apart neighbours are: before, behind, and along the row."""
        return self.n * self.behind, 1, self.behind


def _comes_before(rows: Rows, a: Scalar, at: Scalar, b: Scalar, there: Scalar) -> Scalar:
    """Whether a, from place `at`, comes before b, from `there`."""
    if is_half(rows.dtype) or rows.dtype.category == BOOL:
        a, b = (s.cast(x, float32 if is_half(rows.dtype) else int32) for x in (a, b))
    low, high = (b, a) if rows.descending else (a, b)
    less, equal = low < high, s.eq(a, b)
    if rows.dtype.category == FLOAT:
        less = less | (s.ne(high, high) & s.eq(low, low))
        equal = equal | (s.ne(a, a) & s.ne(b, b))
    return less | (equal & (at < there))


def counting_kernel(rows: Rows) -> Kernel:
    """Buffers: the elements, then the sorted ones and where they came from (int64)."""
    apart, near, along = rows.steps
    one, other = Access(0, (apart, near, along, 0), 0), Access(0, (apart, near, 0, along), 0)
    ahead = _comes_before(rows, s.leaf(1, rows.dtype), s.index(3), s.leaf(0, rows.dtype), s.index(2))
    place = s.leaf(2, int64)
    guard = None if rows.wanted == rows.n else place < rows.wanted
    stores = [Access(buffer, (apart, near, 0, 0), 0, ((place, along),), guard) for buffer in (1, 2)]
    statements = (
        Statement(s.cast(ahead, int64), 0, True, "add", 0),
        Statement(s.leaf(0, rows.dtype), 1, store=stores[0]),
        Statement(s.index(2), 1, store=stores[1]),
    )
    extents = (rows.before, rows.behind, rows.n, rows.n)
    return Kernel(extents, 3, (one, other, Made(0)), statements, (rows.dtype, rows.dtype, int64))


def exchange_kernels(rows: Rows) -> Iterator[Kernel]:
    """Buffers of the first: the elements, then filled rows of them and of places (int32); of the following: these two; of the
    last: these two, then the sorted elements and where they came from (int64)."""
    yield _filling(rows)
    size = 2
    while size <= rows.filled:
        apart = size // 2
        while apart:
            yield _exchange(rows, size, apart)
            apart //= 2
        size *= 2
    yield _taking(rows)


def _last(rows: Rows) -> float | int | bool:
    """A number that no element comes behind."""
    if rows.dtype.category == FLOAT:
        return -np.inf if rows.descending else np.nan
    if rows.dtype.category == BOOL:
        return not rows.descending
    info = np.iinfo(rows.dtype.np)
    return int(info.min if rows.descending else info.max)


def _filling(rows: Rows) -> Kernel:
    apart, near, along = rows.steps
    inside = s.index(2) < rows.n
    load = Access(0, (apart, near, along), 0, (), inside)
    m = rows.filled
    stores = [Access(buffer, (rows.behind * m, m, 1), 0) for buffer in (1, 2)]
    statements = (
        Statement(s.select(inside, s.leaf(0, rows.dtype), s.const(_last(rows), rows.dtype)), store=stores[0]),
        Statement(s.cast(s.index(2), int32), store=stores[1]),
    )
    return Kernel((rows.before, rows.behind, m), 3, (load,), statements, (rows.dtype, rows.dtype, int32))


def _exchange(rows: Rows, size: int, apart: int) -> Kernel:
    """Elements so far apart change places where they are not in order; runs of `size` rise and fall in turn."""
    m = rows.filled
    turns = 2 if size < m else 1
    extents = (rows.before * rows.behind, m // (size * turns), turns, size // (2 * apart), apart)
    walk = (m, size * turns, size, 2 * apart, 1)
    low, high = ([Access(buffer, walk, offset) for buffer in (0, 1)] for offset in (0, apart))
    a, i, b, j = (s.leaf(n, d) for n, d in enumerate((rows.dtype, int32) * 2))
    falls = s.eq(s.index(2), s.const(1, int64))
    ordered = _comes_before(rows, a, i, b, j)
    swap = s.eq(s.cast(ordered, int32), s.cast(falls, int32))
    statements = tuple(
        Statement(s.select(swap, *pair), store=store)
        for pair, store in (((b, a), low[0]), ((j, i), low[1]), ((a, b), high[0]), ((i, j), high[1]))
    )
    return Kernel(extents, 5, (*low, *high), statements, (rows.dtype, int32))


def _taking(rows: Rows) -> Kernel:
    apart, near, along = rows.steps
    m = rows.filled
    loads = [Access(buffer, (rows.behind * m, m, 1), 0) for buffer in (0, 1)]
    stores = [Access(buffer, (apart, near, along), 0) for buffer in (2, 3)]
    statements = (
        Statement(s.leaf(0, rows.dtype), store=stores[0]),
        Statement(s.cast(s.leaf(1, int32), int64), store=stores[1]),
    )
    extents = (rows.before, rows.behind, rows.wanted)
    return Kernel(extents, 3, tuple(loads), statements, (rows.dtype, int32, rows.dtype, int64))
