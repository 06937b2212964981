"""Planning of GEMM: which engine computes `C[b] = alpha * A[b] @ B[b] + beta * D[b]`, how it is split, its words.

A planner describes the product (`Gemm`), asks `choose` for a way to do it (one that depends on sizes and strides only, so
that equal plans give equal bits), finds room for its working memory, and writes the task's words with `words`.

    gemm = Gemm("float32", m, n, k, a=Matrix(1, 0, k, 1), b=Matrix(2, 0, 1, k), c=Matrix(3, 0, n, 1))
    way = choose(gemm, threads=2, machine=machine(), library=blas.library)
    args = words(gemm, way, machine(), scratch=(4, 0))
    # for each (begin, end) of way.borders: task(table, args, begin, end), the address of way.symbol in way.module
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil, prod

from graphc.backends.llvm import gemm_kernels, gemm_library
from graphc.backends.llvm.blas import Library
from graphc.backends.llvm.gemm_words import WORDS, Element, element
from graphc.backends.llvm.host import Machine
from graphc.planning.costs import product_flops

#: The most rows of A, and the most steps of k, that are copied at a time: together they stay in the second-level cache. Deep
#: blocks read C less often (measured: 35 ms for a step that is five products of 2.1 GFLOP, where 384 x 256 takes 37).
ROW_BLOCK, DEPTH_BLOCK = 256, 512

#: Rows of B that are further apart than this, in bytes, are copied for that many strips at once.
FAR, GROUP = 2048, 4

#: Products at least so large in m, n and k go to a BLAS: its copies of B, reused by all rows, are worth it then. Measured with
#: vectors of 512 bits, GFLOP/s on a core: 203 against 186 at 2048 all ways, 187 against 186 at 1024, 187 against 203 at 512.
LIBRARY_SIZE = 1536

#: Products with fewer multiplications than this in each part are not split: handing a part over costs as much.
SMALLEST_PART = 1 << 15

DIRECTIONS = ("rows", "columns", "batch")


@dataclass(frozen=True)
class Matrix:
    """Where matrices lie: slot of the table, offset in bytes; strides in elements, `batch` one for each batch axis."""

    slot: int
    offset: int
    row: int
    column: int
    batch: tuple[int, ...] = ()

    def transposed(self) -> Matrix:
        """The same memory with rows and columns exchanged."""
        return replace(self, row=self.column, column=self.row)


@dataclass(frozen=True)
class Gemm:
    """`C[b] = alpha * A[b] @ B[b] + beta * D[b]`, A [*batch, m, k], B [*batch, k, n], C and D [*batch, m, n].

    With `d` None, D is C. With beta = 0, D is not read. `alpha_at` (slot, offset, "float32" or "float64") names a number
    that alpha is multiplied with at run time. C overlaps neither A nor B, nor D unless it lies exactly as D does.
    """

    dtype: str
    m: int
    n: int
    k: int
    a: Matrix
    b: Matrix
    c: Matrix
    batch: tuple[int, ...] = ()
    alpha: float = 1.0
    beta: float = 0.0
    alpha_at: tuple[int, int, str] | None = None
    d: Matrix | None = None

    @property
    def added(self) -> Matrix:
        """D."""
        return self.c if self.d is None else self.d

    @property
    def batches(self) -> int:
        """How many products there are."""
        return prod(self.batch)

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        return product_flops(self.m, self.n, self.k, self.batches)


@dataclass(frozen=True)
class Way:
    """How a product is computed: the task function, and the parts of its range that may run at the same time."""

    engine: str  # "kernels" (our own) or "library"
    symbol: str
    module: str
    split: str  # rows, columns or batch
    unit: int
    extent: int
    parts: int
    scratch_bytes: int  # for each part; aligned to 64
    cycles: int  # of the longest part, estimated
    library: Library | None = None

    @property
    def borders(self) -> list[tuple[int, int]]:
        """`[begin, end)` of each part; working memory is found by `begin`, so parts must be these."""
        ends = [self.extent * i // self.parts for i in range(self.parts + 1)]
        return list(pairwise(ends))

    @property
    def total_scratch(self) -> int:
        """The working memory of all parts together."""
        return self.scratch_bytes * self.parts

    def __str__(self) -> str:
        return f"{self.engine}, {self.parts} x {self.split}" if self.parts > 1 else self.engine


def described(gemm: Gemm, way: Way) -> str:
    """What computes a product, in words."""
    if way.library is None:
        return "graphc's packed product"
    return f"{'sgemm' if gemm.dtype == 'float32' else 'dgemm'} of {way.library.name} ({way.library.core})"


def supported(dtype: str) -> bool:
    """Whether there are tasks for this element type."""
    return dtype in ("float32", "float64", "int8", "uint8", "int16", "int32", "int64")


def needs_copy(gemm: Gemm) -> tuple[str, ...]:
    """The operands that must be materialised first: a C whose rows and columns both have gaps, more batch axes than three.

    D's columns must be neighbours where C's are. A and B may have any strides, 0 and negative ones included.
    """
    gemm = normal(gemm)
    if len(gemm.batch) > 3:
        return ("a", "b", "c") if gemm.d is None else ("a", "b", "c", "d")
    results = (("c", gemm.c), ("d", gemm.d))
    return tuple(x for x, matrix in results if matrix is not None and matrix.column != 1 and gemm.n != 1)


def normal(gemm: Gemm) -> Gemm:
    """The same product with as few batch axes as may be, and columns of C beside each other."""
    gemm = _fold_batches(_drop_ones(gemm))
    if gemm.c.column != 1 and (gemm.c.row == 1 or gemm.m == 1) and gemm.n != 1:
        a, b, c = gemm.b.transposed(), gemm.a.transposed(), gemm.c.transposed()
        d = gemm.d and gemm.d.transposed()
        gemm = replace(gemm, m=gemm.n, n=gemm.m, a=a, b=b, c=c, d=d)
        if gemm.n == 1:
            gemm = replace(gemm, c=replace(gemm.c, column=1), d=d and replace(d, column=1))
    return gemm


def _drop_ones(gemm: Gemm) -> Gemm:
    """Without batch axes of size 1; neighbours that are one axis for A, B and C are joined."""
    sizes: list[int] = []
    strides: list[tuple[int, ...]] = []
    for i, size in enumerate(gemm.batch):
        step = (gemm.a.batch[i], gemm.b.batch[i], gemm.c.batch[i], gemm.added.batch[i])
        if size == 1:
            continue
        if sizes and all(outer == inner * size for outer, inner in zip(strides[-1], step, strict=True)):
            sizes[-1], strides[-1] = sizes[-1] * size, step
        else:
            sizes.append(size)
            strides.append(step)
    matrices = (gemm.a, gemm.b, gemm.c, gemm.added)
    a, b, c, d = (replace(x, batch=tuple(s[i] for s in strides)) for i, x in enumerate(matrices))
    return replace(gemm, batch=tuple(sizes), a=a, b=b, c=c, d=gemm.d and d)


def _fold_batches(gemm: Gemm) -> Gemm:
    """With the innermost batch axis made rows, where B is the same for all and A and C go on evenly."""
    while gemm.batch and gemm.b.batch[-1] == 0:
        m = gemm.m
        if any(x.batch[-1] != m * x.row for x in (gemm.a, gemm.c, gemm.added)):
            break
        a, b, c, d = (replace(x, batch=x.batch[:-1]) for x in (gemm.a, gemm.b, gemm.c, gemm.added))
        gemm = replace(gemm, m=m * gemm.batch[-1], a=a, b=b, c=c, d=gemm.d and d, batch=gemm.batch[:-1])
    return gemm


# ------------------------------------------------------------------------------------------------ the choice


def choose(gemm: Gemm, threads: int, machine: Machine, library: Callable[[], Library | None]) -> Way:
    """The way to compute a product for which `needs_copy` is empty, on that many threads.

    `library()` gives the BLAS, if there is one; it is asked, and so loaded, only where a BLAS would be used.
    """
    gemm = normal(gemm)
    kind = element(gemm.dtype, machine)
    blas = library() if _library_takes(gemm) and _library_is_faster(gemm, kind) else None
    if blas is not None:
        engine, symbol = "library", gemm_library.symbol(gemm.dtype)
        module = gemm_library.module(gemm.dtype, machine, blas.int_bits)
    else:
        copies = not _without_copies(gemm, kind)
        engine, symbol = "kernels", gemm_kernels.symbol(gemm.dtype, copies)
        module = gemm_kernels.module(gemm.dtype, machine, copies)
    most = max(1, min(threads, gemm.flops // (2 * SMALLEST_PART)))
    cost, _, unit, extent, parts, split = min(_splits(gemm, kind, most), key=lambda s: s[:2])
    scratch_bytes = _scratch_bytes(gemm, kind) if engine == "kernels" else 0
    return Way(engine, symbol, module, split, unit, extent, parts, scratch_bytes, cost, blas)


def split_of(gemm: Gemm, threads: int, machine: Machine) -> str:
    """The direction in which a product is split: that in which the longest part is shortest, rows if equal."""
    gemm = normal(gemm)
    return min(_splits(gemm, element(gemm.dtype, machine), threads), key=lambda s: s[:2])[-1]


def _splits(gemm: Gemm, kind: Element, threads: int) -> Iterator[tuple[int, int, int, int, int, str]]:
    """For each direction: cycles of the longest part, rank, unit, extent, parts, name."""
    units = {"rows": kind.rows, "columns": kind.lanes, "batch": 1}
    sizes = {"rows": gemm.m, "columns": gemm.n, "batch": gemm.batches}
    for rank, split in enumerate(DIRECTIONS):
        unit, extent = units[split], ceil(sizes[split] / units[split])
        parts = max(1, min(threads, extent))
        longest = ceil(extent / parts) * unit
        part = {**sizes, split: min(longest, sizes[split])}
        yield (
            cycles(part["rows"], part["columns"], gemm.k, gemm, kind) * part["batch"],
            rank,
            unit,
            extent,
            parts,
            split,
        )


def cycles(m: int, n: int, k: int, gemm: Gemm, kind: Element) -> int:
    """What one product of these sizes costs on our kernels: register tiles at two vectors a cycle, and the copies."""
    tiles = ceil(m / kind.rows) * kind.rows * ceil(n / kind.lanes)
    blocks, turns = ceil(m / ROW_BLOCK), max(1, ceil(k / DEPTH_BLOCK))
    a = _copy_cycles(gemm.a.row, gemm.a.column, kind) * m * k
    b = _copy_cycles(gemm.b.column, gemm.b.row, kind) * n * k * blocks
    return ceil(tiles * k / 2 + tiles * turns + a + b) + 40


def _copy_cycles(across: int, along: int, kind: Element) -> float:
    """Cycles for one element of a copy: whole vectors, whole vectors transposed, one by one (measured)."""
    if across == 1:
        return 1.6 / kind.lanes
    return 4.0 / kind.lanes if along == 1 else 1.5


def _library_takes(gemm: Gemm) -> bool:
    """Whether a BLAS has this product: floats, and one unit stride in each matrix."""
    operands = (_leading(gemm.a, gemm.m, gemm.k), _leading(gemm.b, gemm.k, gemm.n))
    even = gemm.c.row >= gemm.n or gemm.m == 1
    return gemm.dtype in ("float32", "float64") and None not in operands and even


def _library_is_faster(gemm: Gemm, kind: Element) -> bool:
    """Whether a BLAS beats our kernels: without fused multiply-add or vectors of 256 bits, and in products large all ways."""
    return not kind.fma or kind.bytes < 32 or min(gemm.m, gemm.n, gemm.k) >= LIBRARY_SIZE


def _leading(x: Matrix, rows: int, columns: int) -> tuple[int, int] | None:
    """A matrix's order and leading dimension in CBLAS's terms; None where it cannot be said."""
    if (x.column == 1 or columns == 1) and (x.row >= columns or rows == 1):
        return gemm_library.AS_STORED, max(x.row, columns, 1)
    if (x.row == 1 or rows == 1) and (x.column >= rows or columns == 1):
        return gemm_library.TRANSPOSED, max(x.column, rows, 1)
    return None


def _blocks(gemm: Gemm, kind: Element) -> tuple[int, int]:
    """Rows and steps of k of a copied block: equal shares below the largest."""
    turns, blocks = max(1, ceil(gemm.k / DEPTH_BLOCK)), max(1, ceil(gemm.m / ROW_BLOCK))
    rows = ceil(ceil(gemm.m / blocks) / kind.rows) * kind.rows
    return max(rows, kind.rows), max(ceil(gemm.k / turns), 1)


def _scratch_bytes(gemm: Gemm, kind: Element) -> int:
    """A block of A and a strip of B; copies fill whole vectors and run over by at most one."""
    if _without_copies(gemm, kind):
        return 0
    rows, deep = _blocks(gemm, kind)
    steps = ceil(deep / kind.lanes) * kind.lanes
    columns = _group(gemm, kind) * kind.vectors * kind.lanes
    return ceil((steps * (rows + columns) + kind.lanes) * kind.size / 64) * 64


def _without_copies(gemm: Gemm, kind: Element) -> bool:
    """Whether copies would not pay: a strip of B stays in the first-level cache as it is, rows of A do not evict another."""
    strip = gemm.k * (kind.vectors * kind.bytes + 64)
    few = gemm.n <= 4 * kind.lanes and strip <= 1 << 15
    near = (gemm.b.column == 1 or gemm.n == 1) and abs(gemm.b.row) * kind.size < FAR
    return kind.bytes == 64 and few and near and (gemm.a.row == 1 or gemm.a.row * kind.size % 2048 != 0)


def _group(gemm: Gemm, kind: Element) -> int:
    """Strips of B that are copied at a time: several where each row of B is on a page of its own."""
    strips = ceil(gemm.n / (kind.vectors * kind.lanes))
    far = gemm.b.column == 1 and gemm.b.row * kind.size >= FAR and gemm.k * gemm.b.row * kind.size > 1 << 19
    return min(GROUP, max(strips, 1)) if far else 1


# ------------------------------------------------------------------------------------------------ the words


def words(gemm: Gemm, way: Way, machine: Machine, scratch: tuple[int, int]) -> tuple[int, ...]:
    """The task's arguments; `scratch` is slot and offset (aligned to 64) of `way.total_scratch` bytes."""
    gemm = normal(gemm)
    kind = element(gemm.dtype, machine)
    rows, deep = _blocks(gemm, kind)
    values = {"m": gemm.m, "n": gemm.n, "k": gemm.k, "split": DIRECTIONS.index(way.split), "unit": way.unit}
    values |= {
        "extent": max(way.extent, 1),
        "parts": way.parts,
        "row_block": rows,
        "depth_block": deep,
        "group": _group(gemm, kind),
    }
    values |= {"alpha": _bits(gemm.alpha, gemm.dtype), "beta": _bits(gemm.beta, gemm.dtype), "alpha_slot": -1}
    if gemm.alpha_at is not None:
        slot, offset, dtype = gemm.alpha_at
        values |= {"alpha_slot": slot, "alpha_offset": offset, "alpha_double": int(dtype == "float64")}
    missing = 3 - len(gemm.batch)
    values |= {f"batch{i}": n for i, n in enumerate((1,) * missing + gemm.batch)}
    for name, x in (("a", gemm.a), ("b", gemm.b), ("c", gemm.c), ("d", gemm.added)):
        values |= {f"{name}_slot": x.slot, f"{name}_offset": x.offset, f"{name}_row": x.row, f"{name}_column": x.column}
        values |= {f"{name}_batch{i}": n for i, n in enumerate((0,) * missing + x.batch)}
    values |= dict(zip(("scratch_slot", "scratch_offset"), scratch, strict=True), scratch_bytes=way.scratch_bytes)
    if way.library is not None:
        values |= _library_words(gemm, way.library)
    return tuple(values.get(name, 0) for name in WORDS)


def _library_words(gemm: Gemm, library: Library) -> dict[str, int]:
    a, b = _leading(gemm.a, gemm.m, gemm.k), _leading(gemm.b, gemm.k, gemm.n)
    assert a is not None and b is not None
    found = {"function": library.addresses["sgemm" if gemm.dtype == "float32" else "dgemm"]}
    found |= {"a_order": a[0], "a_leading": a[1], "b_order": b[0], "b_leading": b[1]}
    return found | {"c_leading": max(gemm.c.row, gemm.n, 1)}


def _bits(value: float, dtype: str) -> int:
    """A number as a word: the bits of a double, or the integer itself."""
    if not dtype.startswith("float"):
        return int(value)
    return int(struct.unpack("q", struct.pack("d", value))[0])


__all__ = [
    "Gemm",
    "Matrix",
    "Way",
    "choose",
    "cycles",
    "described",
    "needs_copy",
    "normal",
    "split_of",
    "supported",
    "words",
]
