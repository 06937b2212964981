"""GEMM on graphc's own kernels, as LLVM IR: `C[b] = alpha * A[b] @ B[b] + beta * C[b]` for any element type and strides.

The scheme is Goto's: a block of A (`row_block` x `depth_block`) is copied into panels of 8 rows, a strip of B (up to three
vectors wide) is copied beside it, and register tiles of 8 rows x 3 vectors are computed from the two copies, each an outer
product per step of k. Copying makes every load of the inner loop contiguous and aligned whatever the strides were; edges
exist in the copies and in the final store only, where masks cut them off.
K. Goto, R. van de Geijn: Anatomy of High-Performance Matrix Multiplication (2008).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from graphc.backends.llvm.emit import Function, Module
from graphc.backends.llvm.gemm_words import (
    Element,
    at,
    batch_starts,
    element,
    least,
    minus,
    part_of,
    place,
    plus,
    run_time_alpha,
    scale,
    times,
    word,
)
from graphc.backends.llvm.host import Machine


def symbol(dtype: str) -> str:
    """The name of the task function."""
    return f"graphc_gemm_{dtype}"


@functools.cache
def module(dtype: str, machine: Machine) -> str:
    """The LLVM IR of one element type's task and of all that it calls."""
    kind, text = element(dtype, machine), Module(machine)
    for rows in (kind.rows, kind.rows // 2, 1):
        for vectors in range(1, kind.vectors + 1):
            _tile(text, kind, rows, vectors)
    _pack_columns(text, kind)
    for group in sorted({kind.rows, kind.lanes}):
        _pack_rows(text, kind, group)
        _pack(text, kind, group)
    _pack_any(text, kind)
    _panels(text, kind)
    _strips(text, kind)
    _product(text, kind)
    _task(text, kind, symbol(dtype))
    return text.text()


def _splat(f: Function, kind: Element, value: str) -> str:
    first = f.let(f"insertelement {kind.vector} poison, {kind.llvm} {value}, i64 0")
    return f.let(f"shufflevector {kind.vector} {first}, {kind.vector} poison, <{kind.lanes} x i32> zeroinitializer")


def _mask(f: Function, kind: Element, count: str, start: int = 0) -> str:
    """The lanes whose position (plus `start`) is below `count`, an i64 below 2^31."""
    wide = f"<{kind.lanes} x i32>"
    small = f.let(f"trunc i64 {count} to i32")
    first = f.let(f"insertelement {wide} poison, i32 {small}, i64 0")
    every = f.let(f"shufflevector {wide} {first}, {wide} poison, {wide} zeroinitializer")
    positions = ", ".join(f"i32 {start + i}" for i in range(kind.lanes))
    return f.let(f"icmp slt {wide} <{positions}>, {every}")


def _load_masked(f: Function, kind: Element, where: str, mask: str) -> str:
    operands = [("ptr", where), ("i32", str(kind.size)), (kind.mask, mask), (kind.vector, "zeroinitializer")]
    return f.call(f"llvm.masked.load.{kind.suffix}.p0", kind.vector, *operands)


def _store_masked(f: Function, kind: Element, value: str, where: str, mask: str) -> None:
    name, kinds = f"llvm.masked.store.{kind.suffix}.p0", [kind.vector, "ptr", "i32", kind.mask]
    f.module.declare(name, "void", kinds)
    f.do(f"call void @{name}({kind.vector} {value}, ptr {where}, i32 {kind.size}, {kind.mask} {mask})")


def _multiply_add(f: Function, kind: Element, x: str, y: str, z: str) -> str:
    v = kind.vector
    if kind.floating and kind.fma:
        return f.call(f"llvm.fma.{kind.suffix}", v, (v, x), (v, y), (v, z))
    multiply, add = ("fmul", "fadd") if kind.floating else ("mul", "add")
    return f.let(f"{add} {v} {f.let(f'{multiply} {v} {x}, {y}')}, {z}")


# ------------------------------------------------------------------------------------------------ register tiles


def _tile(text: Module, kind: Element, rows: int, vectors: int) -> None:
    """A register tile: `rows` x `vectors` of C from a panel of A and a strip of B.

    Rows from `%rows` and columns from `%columns` on are computed from whatever the copies hold there and never stored.
    """
    numbers = [("i64", name) for name in ("k", "stride", "rows", "columns")]
    pointers = [("ptr", name) for name in "abc"]
    scales = [(kind.llvm, "alpha"), (kind.llvm, "beta")]
    f = text.function(f"tile_{rows}_{vectors}", [*pointers, *numbers, *scales], "internal void")
    strip = vectors * kind.bytes

    def step(a: str, b: str, sums: list[str], ahead: int) -> list[str]:
        starts = [at(f, b, ahead * strip + i * kind.bytes) for i in range(vectors)]
        right = [f.let(f"load {kind.vector}, ptr {start}, align {kind.bytes}") for start in starts]
        found = []
        for row in range(rows):
            left = f.let(f"load {kind.llvm}, ptr {at(f, a, (ahead * kind.rows + row) * kind.size)}")
            left = _splat(f, kind, left)
            found += [_multiply_add(f, kind, left, right[i], sums[row * vectors + i]) for i in range(vectors)]
        return found

    values = [("ptr", "%a"), ("ptr", "%b"), *[(kind.vector, "zeroinitializer")] * (rows * vectors)]
    for unroll, count in ((2, f.let("lshr i64 %k, 1")), (1, f.let("and i64 %k, 1"))):
        with f.loop("0", count, 1, carry=values) as turn:
            a, b, *sums = turn.carried
            for ahead in range(unroll):
                sums = step(a, b, sums, ahead)
            turn.next = [at(f, a, unroll * kind.rows * kind.size), at(f, b, unroll * strip), *sums]
        values = [(name, value) for (name, _), value in zip(values, turn.results, strict=True)]
    _store_tile(f, kind, rows, vectors, turn.results[2:])
    f.do("ret void")


def _store_tile(f: Function, kind: Element, rows: int, vectors: int, sums: list[str]) -> None:
    """`C = alpha * sums + beta * C`; C is not read where beta is 0."""
    multiply, equal, zero = ("fmul", "fcmp oeq", "0.0") if kind.floating else ("mul", "icmp eq", "0")
    alpha, beta = _splat(f, kind, "%alpha"), _splat(f, kind, "%beta")
    masks = [_mask(f, kind, "%columns", i * kind.lanes) for i in range(vectors)]
    fresh, add, done = f.label("fresh"), f.label("add"), f.label("done")
    f.branch_if(f.let(f"{equal} {kind.llvm} %beta, {zero}"), fresh, add)
    for label, reads in ((fresh, False), (add, True)):
        f.begin(label)
        for row in range(rows):
            following = f.label("row")
            f.branch_if(f.let(f"icmp sgt i64 %rows, {row}"), following, done)
            f.begin(following)
            start = at(f, "%c", times(f, "%stride", row))
            for i in range(vectors):
                where = at(f, start, i * kind.bytes)
                value = f.let(f"{multiply} {kind.vector} {sums[row * vectors + i]}, {alpha}")
                if reads:
                    value = _multiply_add(f, kind, _load_masked(f, kind, where, masks[i]), beta, value)
                _store_masked(f, kind, value, where, masks[i])
        f.branch(done)
    f.begin(done)


# ------------------------------------------------------------------------------------------------ copies
#
# Each makes, of `%count` <= `%width` rows (or columns) that are `%across` bytes apart, and `%k` steps that are `%along`
# bytes apart, a copy in which step after step holds one element of each: `to[step][i]`, i < `%width`. What a copy holds
# for i >= `%count` is any number; it may run over its end by one vector's steps.
_COPY = [
    *(("ptr", "from"), ("i64", "across"), ("i64", "along"), ("ptr", "to")),
    *(("i64", "width"), ("i64", "count"), ("i64", "k")),
]


def _pack_columns(text: Module, kind: Element) -> None:
    """The copy where elements of one step are neighbours."""
    f = text.function("pack_columns", _COPY, "internal void")
    step = times(f, "%width", kind.size)
    with f.loop("0", "%width", kind.lanes) as vector:
        mask = _mask(f, kind, minus(f, "%count", vector.index))
        offset = times(f, vector.index, kind.size)
        with f.loop("0", "%k", 1, carry=[("ptr", at(f, "%from", offset)), ("ptr", at(f, "%to", offset))]) as turn:
            start, to = turn.carried
            f.do(f"store {kind.vector} {_load_masked(f, kind, start, mask)}, ptr {to}, align {kind.size}")
            turn.next = [at(f, start, "%along"), at(f, to, step)]
    f.do("ret void")


def _interleave(f: Function, kind: Element, x: str, y: str) -> list[str]:
    """x0 y0 x1 y1 ... as two vectors."""
    found = []
    for half in range(2):
        picks = [half * kind.lanes // 2 + i // 2 + (i % 2) * kind.lanes for i in range(kind.lanes)]
        indices = ", ".join(f"i32 {i}" for i in picks)
        operands = f"{kind.vector} {x}, {kind.vector} {y}, <{kind.lanes} x i32> <{indices}>"
        found.append(f.let(f"shufflevector {operands}"))
    return found


def _pack_rows(text: Module, kind: Element, group: int) -> None:
    """The copy where what follows each other along k are neighbours; `%width` is `group`, or a multiple of `group` = lanes.

    Interleaving the first half of `group` vectors with the second, log2(group) times, transposes them.
    """
    f = text.function(f"pack_rows_{group}", _COPY, "internal void")
    last, step = minus(f, "%count", 1), times(f, "%width", kind.size)
    starts = [at(f, "%from", times(f, least(f, last, row), "%across")) for row in range(group)]
    with f.loop("0", "%k", kind.lanes, carry=[("ptr", "%to")]) as turn:
        mask = _mask(f, kind, minus(f, "%k", turn.index))
        offset = times(f, turn.index, kind.size)
        vectors = [_load_masked(f, kind, at(f, start, offset), mask) for start in starts]
        for _ in range(group.bit_length() - 1):
            pairs = zip(vectors[: group // 2], vectors[group // 2 :], strict=True)
            vectors = [half for x, y in pairs for half in _interleave(f, kind, x, y)]
        to = turn.carried[0]
        for i, vector in enumerate(vectors):
            steps, within = divmod(i * kind.lanes, group)
            where = at(f, at(f, to, times(f, step, steps)), within * kind.size)
            f.do(f"store {kind.vector} {vector}, ptr {where}, align {kind.size}")
        turn.next = [at(f, to, times(f, step, kind.lanes))]
    f.do("ret void")


def _pack_any(text: Module, kind: Element) -> None:
    """The copy where nothing are neighbours: element by element."""
    f = text.function("pack_any", _COPY, "internal void")
    with f.loop("0", "%k", 1) as step:
        start, to = at(f, "%from", times(f, step.index, "%along")), times(f, step.index, "%width")
        with f.loop("0", "%count", 1) as i:
            value = f.let(f"load {kind.llvm}, ptr {at(f, start, times(f, i.index, '%across'))}")
            f.do(f"store {kind.llvm} {value}, ptr {at(f, '%to', times(f, plus(f, to, i.index), kind.size))}")
    f.do("ret void")


def _pack(text: Module, kind: Element, group: int) -> None:
    """The copy by whichever of the three fits the strides."""
    f = text.function(f"pack_{group}", _COPY, "internal void")
    columns, other, rows, strided, done = (f.label(x) for x in ("columns", "other", "rows", "strided", "done"))
    f.branch_if(f.let(f"icmp eq i64 %across, {kind.size}"), columns, other)
    f.begin(columns)
    _call(f, "pack_columns", [(name, f"%{value}") for name, value in _COPY])
    f.branch(done)
    f.begin(other)
    f.branch_if(f.let(f"icmp eq i64 %along, {kind.size}"), rows, strided)
    f.begin(rows)
    with f.loop("0", "%count", group) as i:
        values = {name: f"%{name}" for _, name in _COPY}
        values["from"] = at(f, "%from", times(f, i.index, "%across"))
        values["to"] = at(f, "%to", times(f, i.index, kind.size))
        values["count"] = minus(f, "%count", i.index)
        _call(f, f"pack_rows_{group}", [(type_, values[name]) for type_, name in _COPY])
    f.branch(done)
    f.begin(strided)
    _call(f, "pack_any", [(name, f"%{value}") for name, value in _COPY])
    f.branch(done)
    f.begin(done)
    f.do("ret void")


def _call(f: Function, name: str, operands: Sequence[tuple[str, str]]) -> None:
    f.do(f"call void @{name}({', '.join(f'{kind} {value}' for kind, value in operands)})")


# ------------------------------------------------------------------------------------------------ blocks


def _step_bytes(f: Function, kind: Element, k: str) -> str:
    """The bytes that `k` steps of one row take in a copy: whole vectors, which is how copies overrun."""
    return times(f, f.let(f"and i64 {plus(f, k, kind.lanes - 1)}, {-kind.lanes}"), kind.size)


def _panels(text: Module, kind: Element) -> None:
    """Copies a block of A (`%m` x `%k`), panel after panel."""
    numbers = [("i64", name) for name in ("row", "column", "m", "k")]
    f = text.function("panels", [("ptr", "a"), ("ptr", "to"), *numbers], "internal void")
    panel = times(f, _step_bytes(f, kind, "%k"), kind.rows)
    with f.loop("0", "%m", kind.rows, carry=[("ptr", "%a"), ("ptr", "%to")]) as turn:
        start, to = turn.carried
        count = least(f, minus(f, "%m", turn.index), kind.rows)
        copy = [("ptr", start), ("i64", "%row"), ("i64", "%column"), ("ptr", to), ("i64", str(kind.rows))]
        _call(f, f"pack_{kind.rows}", [*copy, ("i64", count), ("i64", "%k")])
        turn.next = [at(f, start, times(f, "%row", kind.rows)), at(f, to, panel)]
    f.do("ret void")


def _strips(text: Module, kind: Element) -> None:
    """`C = alpha * A @ B + beta * C` from copied panels of A: strip after strip of B is copied and used."""
    pointers = [("ptr", name) for name in ("panels", "b", "strip", "c")]
    numbers = [("i64", name) for name in ("row", "column", "stride", "m", "n", "k")]
    f = text.function("strips", [*pointers, *numbers, (kind.llvm, "alpha"), (kind.llvm, "beta")], "internal void")
    panel = times(f, _step_bytes(f, kind, "%k"), kind.rows)
    with f.loop("0", "%n", kind.lanes * kind.vectors) as j:
        columns = least(f, minus(f, "%n", j.index), kind.lanes * kind.vectors)
        vectors = f.let(f"udiv i64 {plus(f, columns, kind.lanes - 1)}, {kind.lanes}")
        start = at(f, "%b", times(f, j.index, "%column"))
        copy = [("ptr", start), ("i64", "%column"), ("i64", "%row"), ("ptr", "%strip")]
        copy += [("i64", times(f, vectors, kind.lanes)), ("i64", columns), ("i64", "%k")]
        _call(f, f"pack_{kind.lanes}", copy)
        tiles = [_tile_of(f, kind, rows, vectors) for rows in (kind.rows, kind.rows // 2, 1)]
        left = [("ptr", "%panels"), ("ptr", at(f, "%c", times(f, j.index, kind.size)))]
        with f.loop("0", "%m", kind.rows, carry=left) as i:
            a, c = i.carried
            rows = minus(f, "%m", i.index)
            small = f.let(f"select i1 {f.let(f'icmp sgt i64 {rows}, 1')}, ptr {tiles[1]}, ptr {tiles[2]}")
            many = f.let(f"icmp sgt i64 {rows}, {kind.rows // 2}")
            tile = f.let(f"select i1 {many}, ptr {tiles[0]}, ptr {small}")
            numbers = f"i64 %k, i64 %stride, i64 {rows}, i64 {columns}"
            f.do(f"call void {tile}(ptr {a}, ptr %strip, ptr {c}, {numbers}, {kind.llvm} %alpha, {kind.llvm} %beta)")
            i.next = [at(f, a, panel), at(f, c, times(f, "%stride", kind.rows))]
    f.do("ret void")


def _tile_of(f: Function, kind: Element, rows: int, vectors: str) -> str:
    """The address of the tile for that many vectors."""
    found = f"@tile_{rows}_1"
    for count in range(2, kind.vectors + 1):
        chosen = f.let(f"icmp eq i64 {vectors}, {count}")
        found = f.let(f"select i1 {chosen}, ptr @tile_{rows}_{count}, ptr {found}")
    return found


_STRIDES = ("a_row", "a_column", "b_row", "b_column", "c_row")


def _product(text: Module, kind: Element) -> None:
    """`C = alpha * A @ B + beta * C`, block after block. Strides are bytes; C's columns are neighbours."""
    pointers = [("ptr", name) for name in ("a", "b", "c", "scratch")]
    numbers = [("i64", name) for name in (*_STRIDES, "m", "n", "k", "row_block", "depth_block")]
    f = text.function("product", [*pointers, *numbers, (kind.llvm, "alpha"), (kind.llvm, "beta")], "internal void")
    one = "1.0" if kind.floating else "1"
    strip = at(f, "%scratch", times(f, _step_bytes(f, kind, "%depth_block"), "%row_block"))
    deep = f.call("llvm.smax.i64", "i64", ("i64", "%k"), ("i64", "1"))  # with k = 0, C is scaled still
    with f.loop("0", "%m", "%row_block") as i:
        rows = least(f, minus(f, "%m", i.index), "%row_block")
        c, a = at(f, "%c", times(f, i.index, "%c_row")), at(f, "%a", times(f, i.index, "%a_row"))
        with f.loop("0", deep, "%depth_block", carry=[(kind.llvm, "%beta")]) as p:
            k = least(f, minus(f, "%k", p.index), "%depth_block")
            block = at(f, a, times(f, p.index, "%a_column"))
            sizes = [("i64", rows), ("i64", k)]
            _call(f, "panels", [("ptr", block), ("ptr", "%scratch"), ("i64", "%a_row"), ("i64", "%a_column"), *sizes])
            b = at(f, "%b", times(f, p.index, "%b_row"))
            places = [("ptr", "%scratch"), ("ptr", b), ("ptr", strip), ("ptr", c)]
            strides = [("i64", "%b_row"), ("i64", "%b_column"), ("i64", "%c_row")]
            sizes = [("i64", rows), ("i64", "%n"), ("i64", k)]
            scales = [(kind.llvm, "%alpha"), (kind.llvm, p.carried[0])]
            _call(f, "strips", [*places, *strides, *sizes, *scales])
            p.next = [one]
    f.do("ret void")


# ------------------------------------------------------------------------------------------------ the task


def _scratch(f: Function) -> str:
    """The working memory of the part that starts at `%begin`."""
    extent, parts = word(f, "extent"), word(f, "parts")
    number = f.let(f"udiv i64 {plus(f, times(f, '%begin', parts), minus(f, extent, 1))}, {extent}")
    offset = plus(f, word(f, "scratch_offset"), times(f, number, word(f, "scratch_bytes")))
    return place(f, word(f, "scratch_slot"), offset)


def _task(text: Module, kind: Element, name: str) -> None:
    """The task function: the part `[%begin, %end)` of the rows, columns or batches."""
    f = text.function(name, [("ptr", "table"), ("ptr", "args"), ("i64", "begin"), ("i64", "end")], "i64")
    batches = times(f, times(f, word(f, "batch0"), word(f, "batch1")), word(f, "batch2"))
    (first_row, end_row), (first_column, end_column), (first, end) = (
        part_of(f, size, i) for i, size in enumerate((word(f, "m"), word(f, "n"), batches))
    )
    alpha, beta, work = run_time_alpha(f, kind), scale(f, kind, "beta"), _scratch(f)
    starts = [(x, place(f, word(f, f"{x}_slot"), word(f, f"{x}_offset"))) for x in "abc"]
    strides = {x: times(f, word(f, x), kind.size) for x in (*_STRIDES, "c_column")}
    with f.loop(first, end, 1) as batch:
        a, b, c = batch_starts(f, batch.index, starts, kind.size)
        a = at(f, a, times(f, first_row, strides["a_row"]))
        b = at(f, b, times(f, first_column, strides["b_column"]))
        c = at(f, at(f, c, times(f, first_row, strides["c_row"])), times(f, first_column, strides["c_column"]))
        sizes = [minus(f, end_row, first_row), minus(f, end_column, first_column), word(f, "k")]
        sizes += [word(f, "row_block"), word(f, "depth_block")]
        numbers = [("i64", x) for x in (*(strides[x] for x in _STRIDES), *sizes)]
        pointers = [("ptr", x) for x in (a, b, c, work)]
        _call(f, "product", [*pointers, *numbers, (kind.llvm, alpha), (kind.llvm, beta)])
    f.do("ret i64 0")
