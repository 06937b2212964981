"""GEMM on graphc's own kernels, as LLVM IR: `C[b] = alpha * A[b] @ B[b] + beta * D[b]` for any element type and strides.

The scheme is Goto's: a block of A (`row_block` x `depth_block`) is copied into panels of 8 rows, a strip of B (up to three
vectors wide) is copied beside it, and register tiles of 8 rows x 3 vectors are computed from the two copies, each an outer
product per step of k. Copying makes every load of the inner loop contiguous and aligned whatever the strides were; edges
exist in the copies and in the final store only, where masks cut them off.
K. Goto, R. van de Geijn: Anatomy of High-Performance Matrix Multiplication (2008).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

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
    when,
    word,
)
from graphc.backends.llvm.host import Machine

#: Steps of k that are copied at a time where each is on a page of its own.
CHUNK = 64


def symbol(dtype: str, copies: bool) -> str:
    """The name of the task function, with copies or without."""
    return f"graphc_gemm_{dtype}" if copies else f"graphc_small_gemm_{dtype}"


@functools.cache
def module(dtype: str, machine: Machine, copies: bool) -> str:
    """The LLVM IR of one element type's task, with copies or without, and of all that it calls."""
    kind, text = element(dtype, machine), Module(machine)
    for vectors in range(1, kind.vectors + 1):
        if copies:
            for rows in (kind.rows, kind.rows // 2, 1):
                _tile(text, kind, rows, vectors)
            _tile(text, kind, kind.rows, vectors, copies=True)
        else:
            _direct(text, kind, vectors)
    if copies:
        for group in sorted({kind.rows, kind.lanes}):
            _pack_columns(text, kind, group)
            _pack_rows(text, kind, group)
            _pack(text, kind, group)
        for write in (_pack_any, _panels, _group, _strips, _product):
            write(text, kind)
    else:
        _directly(text, kind)
    _task(text, kind, symbol(dtype, copies), copies)
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


def _add(f: Function, kind: Element, x: str, y: str) -> str:
    return f.let(f"{'fadd' if kind.floating else 'add'} {kind.vector} {x}, {y}")


def _multiply_add(f: Function, kind: Element, x: str, y: str, z: str) -> str:
    v = kind.vector
    if kind.floating and kind.fma:
        return f.call(f"llvm.fma.{kind.suffix}", v, (v, x), (v, y), (v, z))
    multiply, add = ("fmul", "fadd") if kind.floating else ("mul", "add")
    return f.let(f"{add} {v} {f.let(f'{multiply} {v} {x}, {y}')}, {z}")


# ------------------------------------------------------------------------------------------------ register tiles


def _tile(text: Module, kind: Element, rows: int, vectors: int, copies: bool = False) -> None:
    """A register tile: `rows` x `vectors` of C from a panel of A and a strip of B.

    Rows from `%rows` and columns from `%columns` on are computed from whatever the copies hold there and never stored.
    With `copies`, B is read where it stands (its columns are neighbours and fill the vectors) and the strip is written on
    the way: arithmetic hides the time that a copy alone would take.
    """
    source = [("ptr", "from"), ("i64", "along")] if copies else []
    numbers = [("i64", name) for name in ("k", "stride", "d_stride", "rows", "columns")]
    scales = [(kind.llvm, "alpha"), (kind.llvm, "beta")]
    name = f"tile_copying_{vectors}" if copies else f"tile_{rows}_{vectors}"
    f = text.function(name, [*(("ptr", x) for x in "abcd"), *numbers, *scales, *source], "internal void")
    _prefetch(f, kind, rows, vectors)
    pointers = [("ptr", "%a"), ("ptr", "%b"), *([("ptr", "%from")] if copies else [])]
    fixed, each = len(pointers), rows * vectors
    sets = _sum_sets(kind, each)
    values = [*pointers, *[(kind.vector, "zeroinitializer")] * (each * sets)]
    loops = [(1, "%k")]
    if sets > 1:
        whole, left = f.let(f"lshr i64 %k, {sets.bit_length() - 1}"), f.let(f"and i64 %k, {sets - 1}")
        loops = [(sets, whole), (1, left)]
    for steps, turns in loops:
        with f.loop("0", turns, 1, carry=values) as turn:
            now, sums = turn.carried[:fixed], turn.carried[fixed:]
            for i in range(steps):
                mine = slice(i % sets * each, (i % sets + 1) * each)
                now, sums[mine] = _step(f, kind, rows, vectors, now, sums[mine])
            turn.next = [*now, *sums]
        values = [(name, value) for (name, _), value in zip(values, turn.results, strict=True)]
    sums = turn.results[fixed:]
    while len(sums) > each:
        half = len(sums) // 2
        sums = [_add(f, kind, x, y) for x, y in zip(sums[:half], sums[half:], strict=True)]
    _store_tile(f, kind, rows, vectors, sums)
    f.do("ret void")


def _sum_sets(kind: Element, each: int) -> int:
    """How many sets of sums a tile keeps: additions in flight are independent when there are eight or more."""
    sets = 1
    while sets < 4 and 2 * sets * each <= 2 * kind.rows:
        sets *= 2
    return sets


def _step(
    f: Function, kind: Element, rows: int, vectors: int, pointers: list[str], sums: list[str]
) -> tuple[list[str], list[str]]:
    """One step of k: adds the outer product of a column of A and a row of B; returns pointers and sums for the next."""
    a, b, *source = pointers
    read, aligned = (source[0], kind.size) if source else (b, kind.bytes)
    right = [f.let(f"load {kind.vector}, ptr {at(f, read, i * kind.bytes)}, align {aligned}") for i in range(vectors)]
    if source:
        for i, value in enumerate(right):
            f.do(f"store {kind.vector} {value}, ptr {at(f, b, i * kind.bytes)}, align {kind.bytes}")
    found = []
    for row in range(rows):
        left = _splat(f, kind, f.let(f"load {kind.llvm}, ptr {at(f, a, row * kind.size)}"))
        found += [_multiply_add(f, kind, left, right[i], sums[row * vectors + i]) for i in range(vectors)]
    following = [at(f, a, kind.rows * kind.size), at(f, b, vectors * kind.bytes)]
    return following + [at(f, start, "%along") for start in source], found


def _prefetch(f: Function, kind: Element, rows: int, vectors: int) -> None:
    """Asks for the tile of C while the sums are made: its rows lie far apart, where no hardware looks ahead."""
    f.module.declare("llvm.prefetch.p0", "void", ["ptr", "i32", "i32", "i32"])
    for row in range(rows):
        start = at(f, "%c", times(f, "%stride", row))
        for i in range(vectors):
            # for writing, to be kept close, data; an address that is not there does no harm
            f.do(f"call void @llvm.prefetch.p0(ptr {at(f, start, i * kind.bytes)}, i32 1, i32 3, i32 1)")


def _direct(text: Module, kind: Element, vectors: int) -> None:
    """A register tile that reads A and B where they stand, for products too small to be worth copies."""
    numbers = [("i64", name) for name in ("across", "along", "row", "k", "stride", "d_stride", "rows", "columns")]
    pointers, scales = [("ptr", x) for x in "abcd"], [(kind.llvm, "alpha"), (kind.llvm, "beta")]
    f = text.function(f"tile_direct_{vectors}", [*pointers, *numbers, *scales], "internal void")
    last = minus(f, "%rows", 1)
    offsets = [times(f, least(f, last, row), "%across") for row in range(kind.rows)]
    masks = [_mask(f, kind, "%columns", i * kind.lanes) for i in range(vectors)]
    each = kind.rows * vectors
    values = [("ptr", "%a"), ("ptr", "%b"), *[(kind.vector, "zeroinitializer")] * each]
    with f.loop("0", "%k", 1, carry=values) as turn:
        a, b, *sums = turn.carried
        right = [_load_masked(f, kind, at(f, b, i * kind.bytes), mask) for i, mask in enumerate(masks)]
        found = []
        for row, offset in enumerate(offsets):
            left = _splat(f, kind, f.let(f"load {kind.llvm}, ptr {at(f, a, offset)}"))
            found += [_multiply_add(f, kind, left, right[i], sums[row * vectors + i]) for i in range(vectors)]
        turn.next = [at(f, a, "%along"), at(f, b, "%row"), *found]
    _store_tile(f, kind, kind.rows, vectors, turn.results[2:])
    f.do("ret void")


def _directly(text: Module, kind: Element) -> None:
    """`C = alpha * A @ B + beta * D` without copies, tile after tile."""
    numbers = [("i64", name) for name in (*_STRIDES, "m", "n", "k")]
    scales = [(kind.llvm, "alpha"), (kind.llvm, "beta")]
    f = text.function("directly", [*(("ptr", x) for x in "abcd"), *numbers, *scales], "internal void")
    with f.loop("0", _strip_count(f, kind, "%n"), 1) as j:
        index, columns, vectors = _width(f, kind, "%n", j.index)
        b, *other = at(f, "%b", times(f, index, "%b_column")), *_columns_from(f, kind, index)
        tile = _tile_of(f, kind, "direct", vectors)
        with f.loop("0", "%m", kind.rows, carry=[("ptr", "%a"), *other]) as i:
            start, to, added = i.carried
            rows = least(f, minus(f, "%m", i.index), kind.rows)
            counts = [("i64", x) for x in ("%a_row", "%a_column", "%b_row", "%k", "%c_row", "%d_row", rows, columns)]
            operands = [("ptr", start), ("ptr", b), ("ptr", to), ("ptr", added), *counts]
            _call(f, tile, [*operands, (kind.llvm, "%alpha"), (kind.llvm, "%beta")])
            skips = [times(f, f"%{x}_row", kind.rows) for x in "acd"]
            i.next = [at(f, x, skip) for x, skip in zip((start, to, added), skips, strict=True)]
    f.do("ret void")


def _columns_from(f: Function, kind: Element, index: str) -> list[tuple[str, str]]:
    """C and D from a column on; columns of both are neighbours."""
    skip = times(f, index, kind.size)
    return [("ptr", at(f, f"%{x}", skip)) for x in "cd"]


def _store_tile(f: Function, kind: Element, rows: int, vectors: int, sums: list[str]) -> None:
    """`C = alpha * sums + beta * D`; D is not read where beta is 0."""
    multiply, differs, zero = ("fmul", "fcmp une", "0.0") if kind.floating else ("mul", "icmp ne", "0")
    alpha, beta = _splat(f, kind, "%alpha"), _splat(f, kind, "%beta")
    masks = [_mask(f, kind, "%columns", i * kind.lanes) for i in range(vectors)]
    reads = f.let(f"{differs} {kind.llvm} %beta, {zero}")
    reading = [f.let(f"select i1 {reads}, {kind.mask} {mask}, {kind.mask} zeroinitializer") for mask in masks]
    done = f.label("done")
    for row in range(rows):
        following = f.label("row")
        f.branch_if(f.let(f"icmp sgt i64 %rows, {row}"), following, done)
        f.begin(following)
        start = at(f, "%c", times(f, "%stride", row))
        added = at(f, "%d", times(f, "%d_stride", row))
        for i in range(vectors):
            value = f.let(f"{multiply} {kind.vector} {sums[row * vectors + i]}, {alpha}")
            old = _load_masked(f, kind, at(f, added, i * kind.bytes), reading[i])
            value = _multiply_add(f, kind, old, beta, value)
            _store_masked(f, kind, value, at(f, start, i * kind.bytes), masks[i])
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


def _pack_columns(text: Module, kind: Element, group: int) -> None:
    """The copy where elements of one step are neighbours: `%width` is `group`, or a multiple of `group` = lanes."""
    f = text.function(f"pack_columns_{group}", _COPY, "internal void")
    narrow = replace(kind, lanes=min(group, kind.lanes))
    most = kind.vectors if group == kind.lanes else group // narrow.lanes
    for vectors in range(1, most + 1):
        with when(f, f.let(f"icmp eq i64 %width, {vectors * narrow.lanes}")):
            masks = [_mask(f, narrow, "%count", i * narrow.lanes) for i in range(vectors)]
            with f.loop("0", "%k", 1, carry=[("ptr", "%from"), ("ptr", "%to")]) as turn:
                start, to = turn.carried
                for i in range(vectors):
                    value = _load_masked(f, narrow, at(f, start, i * narrow.bytes), masks[i])
                    f.do(f"store {narrow.vector} {value}, ptr {at(f, to, i * narrow.bytes)}, align {narrow.size}")
                turn.next = [at(f, start, "%along"), at(f, to, vectors * narrow.bytes)]
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
    _call(f, f"@pack_columns_{group}", [(name, f"%{value}") for name, value in _COPY])
    f.branch(done)
    f.begin(other)
    f.branch_if(f.let(f"icmp eq i64 %along, {kind.size}"), rows, strided)
    f.begin(rows)
    with f.loop("0", "%count", group) as i:
        values = {name: f"%{name}" for _, name in _COPY}
        values["from"] = at(f, "%from", times(f, i.index, "%across"))
        values["to"] = at(f, "%to", times(f, i.index, kind.size))
        values["count"] = minus(f, "%count", i.index)
        _call(f, f"@pack_rows_{group}", [(type_, values[name]) for type_, name in _COPY])
    f.branch(done)
    f.begin(strided)
    _call(f, "@pack_any", [(name, f"%{value}") for name, value in _COPY])
    f.branch(done)
    f.begin(done)
    f.do("ret void")


def _call(f: Function, name: str, operands: Sequence[tuple[str, str]]) -> None:
    f.do(f"call void {name}({', '.join(f'{kind} {value}' for kind, value in operands)})")


# ------------------------------------------------------------------------------------------------ blocks


def _step_bytes(f: Function, kind: Element, k: str) -> str:
    """The bytes that `k` steps of one row take in a copy: whole vectors, which is how copies overrun."""
    return times(f, f.let(f"and i64 {plus(f, k, kind.lanes - 1)}, {-kind.lanes}"), kind.size)


def _panels(text: Module, kind: Element) -> None:
    """Copies a block of A (`%m` x `%k`), panel after panel; a few steps of k at a time where each is on a page of its own."""
    numbers = [("i64", name) for name in ("row", "column", "m", "k")]
    f = text.function("panels", [("ptr", "a"), ("ptr", "to"), *numbers], "internal void")
    panel = times(f, _step_bytes(f, kind, "%k"), kind.rows)
    chunk = f.let(f"select i1 {f.let(f'icmp eq i64 %column, {kind.size}')}, i64 %k, i64 {CHUNK}")
    with f.loop("0", "%k", chunk) as p:
        a, to = at(f, "%a", times(f, p.index, "%column")), at(f, "%to", times(f, p.index, kind.rows * kind.size))
        steps = least(f, minus(f, "%k", p.index), chunk)
        with f.loop("0", "%m", kind.rows, carry=[("ptr", a), ("ptr", to)]) as turn:
            start, place_ = turn.carried
            count = least(f, minus(f, "%m", turn.index), kind.rows)
            copy = [("ptr", start), ("i64", "%row"), ("i64", "%column"), ("ptr", place_), ("i64", str(kind.rows))]
            _call(f, f"@pack_{kind.rows}", [*copy, ("i64", count), ("i64", steps)])
            turn.next = [at(f, start, times(f, "%row", kind.rows)), at(f, place_, panel)]
    f.do("ret void")


def _group(text: Module, kind: Element) -> None:
    """Copies the strips `[%first, %last)` of B, one behind the other, a few steps of k at a time."""
    numbers = [("i64", name) for name in ("row", "column", "n", "k", "strip", "first", "last")]
    f = text.function("group", [("ptr", "b"), ("ptr", "to"), *numbers], "internal void")
    with f.loop("0", "%k", CHUNK) as p:
        steps, start = least(f, minus(f, "%k", p.index), CHUNK), at(f, "%b", times(f, p.index, "%row"))
        with f.loop("%first", "%last", 1, carry=[("ptr", "%to")]) as j:
            index, columns, vectors = _width(f, kind, "%n", j.index)
            width = times(f, vectors, kind.lanes)
            to = at(f, j.carried[0], times(f, times(f, p.index, width), kind.size))
            copy = [("ptr", at(f, start, times(f, index, "%column"))), ("i64", "%column"), ("i64", "%row"), ("ptr", to)]
            _call(f, f"@pack_{kind.lanes}", [*copy, ("i64", width), ("i64", columns), ("i64", steps)])
            j.next = [at(f, j.carried[0], "%strip")]
    f.do("ret void")


def _strip_count(f: Function, kind: Element, n: str) -> str:
    """How many strips `n` columns are."""
    wide = kind.lanes * kind.vectors
    return f.let(f"udiv i64 {plus(f, n, wide - 1)}, {wide}")


def _width(f: Function, kind: Element, n: str, strip: str) -> tuple[str, str, str]:
    """First column, columns and vectors of a strip: as many vectors as tiles have, but 2 + 2 at the end rather than 3 + 1."""
    if kind.vectors < 3:
        index = times(f, strip, kind.vectors * kind.lanes)
        columns = least(f, minus(f, n, index), kind.vectors * kind.lanes)
        return index, columns, f.let(f"udiv i64 {plus(f, columns, kind.lanes - 1)}, {kind.lanes}")
    every = f.let(f"udiv i64 {plus(f, n, kind.lanes - 1)}, {kind.lanes}")
    alone = f.let(f"icmp eq i64 {f.let(f'urem i64 {every}, 3')}, 1")
    alone = f.let(f"and i1 {alone}, {f.let(f'icmp ugt i64 {every}, 3')}")
    left = minus(
        f, every, times(f, strip, 3)
    )  # vectors from the strip's usual start on: 4 and 1 in the last two strips
    last = f.let(f"and i1 {alone}, {f.let(f'icmp eq i64 {left}, 1')}")
    short = f.let(f"and i1 {alone}, {f.let(f'icmp ule i64 {left}, 4')}")
    first = minus(f, times(f, strip, 3), f.let(f"zext i1 {last} to i64"))
    vectors = f.let(f"select i1 {short}, i64 2, i64 {least(f, left, 3)}")
    index = times(f, first, kind.lanes)
    return index, least(f, minus(f, n, index), times(f, vectors, kind.lanes)), vectors


def _strips(text: Module, kind: Element) -> None:
    """`C = alpha * A @ B + beta * D` from copied panels of A.

    Strip after strip of B is copied and used; with `%group` above 1, that many are copied at a time.
    """
    pointers = [("ptr", name) for name in ("panels", "b", "strips", "c", "d")]
    numbers = [("i64", name) for name in ("row", "column", "stride", "d_stride", "m", "n", "k", "group")]
    f = text.function("strips", [*pointers, *numbers, (kind.llvm, "alpha"), (kind.llvm, "beta")], "internal void")
    bytes_ = times(f, _step_bytes(f, kind, "%k"), kind.lanes * kind.vectors)
    many = f.let("icmp sgt i64 %group, 1")
    near = f.let(f"and i1 {f.let(f'icmp eq i64 %column, {kind.size}')}, {f.let(f'icmp sge i64 %m, {kind.rows}')}")
    count = _strip_count(f, kind, "%n")
    with f.loop("0", count, "%group") as g:
        last = least(f, count, plus(f, g.index, "%group"))
        with when(f, many):
            numbers = [("i64", x) for x in ("%row", "%column", "%n", "%k", bytes_, g.index, last)]
            _call(f, "@group", [("ptr", "%b"), ("ptr", "%strips"), *numbers])
        with f.loop(g.index, last, 1, carry=[("ptr", "%strips")]) as j:
            _strip(f, kind, j.index, j.carried[0], many, near)
            j.next = [at(f, j.carried[0], f.let(f"select i1 {many}, i64 {bytes_}, i64 0"))]
    f.do("ret void")


def _strip(f: Function, kind: Element, number: str, strip: str, copied: str, near: str) -> None:
    """One strip: its copy, unless it is `copied` already, and its tiles."""
    index, columns, vectors = _width(f, kind, "%n", number)
    width = times(f, vectors, kind.lanes)
    start, others = at(f, "%b", times(f, index, "%column")), _columns_from(f, kind, index)
    full = f.let(f"and i1 {near}, {f.let(f'icmp eq i64 {width}, {columns}')}")
    here, first, pack, tiles = (f.label(x) for x in ("here", "first", "pack", "tiles"))
    before = f.block
    f.branch_if(copied, tiles, here)
    f.begin(here)
    f.branch_if(full, first, pack)
    f.begin(first)
    numbers = [("i64", x) for x in ("%k", "%stride", "%d_stride", str(kind.rows), columns)]
    operands = [("ptr", "%panels"), ("ptr", strip), *others, *numbers, (kind.llvm, "%alpha")]
    operands += [(kind.llvm, "%beta"), ("ptr", start), ("i64", "%row")]
    _call(f, _tile_of(f, kind, "copying", vectors), operands)
    f.branch(tiles)
    f.begin(pack)
    copy = [("ptr", start), ("i64", "%column"), ("i64", "%row"), ("ptr", strip), ("i64", width)]
    _call(f, f"@pack_{kind.lanes}", [*copy, ("i64", columns), ("i64", "%k")])
    f.branch(tiles)
    f.begin(tiles)
    done = f.phi("i64", ("0", before), (str(kind.rows), first), ("0", pack)).name
    _panel_tiles(f, kind, strip, others, vectors, columns, done)


def _panel_tiles(
    f: Function, kind: Element, strip: str, others: list[tuple[str, str]], vectors: str, columns: str, done: str
) -> None:
    """The tiles of one strip, from row `done` on (0, or the first panel's rows); `others`: C and D."""
    panel = times(f, _step_bytes(f, kind, "%k"), kind.rows)
    tiles = [_tile_of(f, kind, str(rows), vectors) for rows in (kind.rows, kind.rows // 2, 1)]
    skip = f.let(f"select i1 {f.let(f'icmp eq i64 {done}, 0')}, i64 0, i64 {panel}")
    strides = ["%stride", "%d_stride"]
    starts = [at(f, x, times(f, done, stride)) for (_, x), stride in zip(others, strides, strict=True)]
    with f.loop(done, "%m", kind.rows, carry=[("ptr", x) for x in (at(f, "%panels", skip), *starts)]) as i:
        a, to, added = i.carried
        rows = minus(f, "%m", i.index)
        small = f.let(f"select i1 {f.let(f'icmp sgt i64 {rows}, 1')}, ptr {tiles[1]}, ptr {tiles[2]}")
        many = f.let(f"icmp sgt i64 {rows}, {kind.rows // 2}")
        tile = f.let(f"select i1 {many}, ptr {tiles[0]}, ptr {small}")
        counts = [("i64", x) for x in ("%k", *strides, rows, columns)]
        operands = [*(("ptr", x) for x in (a, strip, to, added)), *counts]
        _call(f, tile, [*operands, (kind.llvm, "%alpha"), (kind.llvm, "%beta")])
        skips = [times(f, stride, kind.rows) for stride in strides]
        i.next = [at(f, a, panel), *(at(f, x, skip) for x, skip in zip((to, added), skips, strict=True))]


def _tile_of(f: Function, kind: Element, rows: str, vectors: str) -> str:
    """The address of the tile of that name for that many vectors."""
    found = f"@tile_{rows}_1"
    for count in range(2, kind.vectors + 1):
        chosen = f.let(f"icmp eq i64 {vectors}, {count}")
        found = f.let(f"select i1 {chosen}, ptr @tile_{rows}_{count}, ptr {found}")
    return found


_STRIDES = ("a_row", "a_column", "b_row", "b_column", "c_row", "d_row")


def _product(text: Module, kind: Element) -> None:
    """`C = alpha * A @ B + beta * D`, block after block. Strides are bytes; columns of C and of D are neighbours."""
    pointers = [("ptr", name) for name in ("a", "b", "c", "d", "scratch")]
    numbers = [("i64", name) for name in (*_STRIDES, "m", "n", "k", "row_block", "depth_block", "group")]
    f = text.function("product", [*pointers, *numbers, (kind.llvm, "alpha"), (kind.llvm, "beta")], "internal void")
    one = "1.0" if kind.floating else "1"
    strip = at(f, "%scratch", times(f, _step_bytes(f, kind, "%depth_block"), "%row_block"))
    deep = f.call("llvm.smax.i64", "i64", ("i64", "%k"), ("i64", "1"))  # with k = 0, C is scaled still
    with f.loop("0", "%m", "%row_block") as i:
        rows = least(f, minus(f, "%m", i.index), "%row_block")
        a, c, d = (at(f, f"%{x}", times(f, i.index, f"%{x}_row")) for x in "acd")
        carry = [(kind.llvm, "%beta"), ("ptr", d), ("i64", "%d_row")]  # from the second block of k on, D is C
        with f.loop("0", deep, "%depth_block", carry=carry) as p:
            beta, added, stride = p.carried
            k = least(f, minus(f, "%k", p.index), "%depth_block")
            block = at(f, a, times(f, p.index, "%a_column"))
            sizes = [("i64", rows), ("i64", k)]
            _call(f, "@panels", [("ptr", block), ("ptr", "%scratch"), ("i64", "%a_row"), ("i64", "%a_column"), *sizes])
            b = at(f, "%b", times(f, p.index, "%b_row"))
            places = [("ptr", x) for x in ("%scratch", b, strip, c, added)]
            strides = [("i64", x) for x in ("%b_row", "%b_column", "%c_row", stride)]
            sizes = [("i64", rows), ("i64", "%n"), ("i64", k), ("i64", "%group")]
            scales = [(kind.llvm, "%alpha"), (kind.llvm, beta)]
            _call(f, "@strips", [*places, *strides, *sizes, *scales])
            p.next = [one, c, "%c_row"]
    f.do("ret void")


# ------------------------------------------------------------------------------------------------ the task


def _scratch(f: Function) -> str:
    """The working memory of the part that starts at `%begin`."""
    extent, parts = word(f, "extent"), word(f, "parts")
    number = f.let(f"udiv i64 {plus(f, times(f, '%begin', parts), minus(f, extent, 1))}, {extent}")
    offset = plus(f, word(f, "scratch_offset"), times(f, number, word(f, "scratch_bytes")))
    return place(f, word(f, "scratch_slot"), offset)


def _task(text: Module, kind: Element, name: str, copies: bool) -> None:
    """The task function: the part `[%begin, %end)` of the rows, columns or batches."""
    f = text.function(name, [("ptr", "table"), ("ptr", "args"), ("i64", "begin"), ("i64", "end")], "i64")
    batches = times(f, times(f, word(f, "batch0"), word(f, "batch1")), word(f, "batch2"))
    (first_row, end_row), (first_column, end_column), (first, end) = (
        part_of(f, size, i) for i, size in enumerate((word(f, "m"), word(f, "n"), batches))
    )
    alpha, beta, work = run_time_alpha(f, kind), scale(f, kind, "beta"), _scratch(f)
    starts = [(x, place(f, word(f, f"{x}_slot"), word(f, f"{x}_offset"))) for x in "abcd"]
    strides = {x: times(f, word(f, x), kind.size) for x in (*_STRIDES, "c_column", "d_column")}
    with f.loop(first, end, 1) as batch:
        a, b, *others = batch_starts(f, batch.index, starts, kind.size)
        a = at(f, a, times(f, first_row, strides["a_row"]))
        b = at(f, b, times(f, first_column, strides["b_column"]))
        c, d = (
            at(
                f,
                at(f, x, times(f, first_row, strides[f"{name}_row"])),
                times(f, first_column, strides[f"{name}_column"]),
            )
            for name, x in zip("cd", others, strict=True)
        )
        sizes = [minus(f, end_row, first_row), minus(f, end_column, first_column), word(f, "k")]
        sizes += [word(f, "row_block"), word(f, "depth_block"), word(f, "group")]
        strides_ = [("i64", strides[x]) for x in _STRIDES]
        scales = [(kind.llvm, alpha), (kind.llvm, beta)]
        pointers = [("ptr", x) for x in (a, b, c, d, *([work] if copies else []))]
        numbers = [("i64", x) for x in (sizes if copies else sizes[:3])]
        _call(f, "@product" if copies else "@directly", [*pointers, *strides_, *numbers, *scales])
    f.do("ret i64 0")
