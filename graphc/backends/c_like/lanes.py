"""Kernels for processors: a group is one item, whose innermost loop counts the lanes of vectors.

What compilers of OpenCL C for processors turn into vectors is a short loop of fixed length over neighbours whose results are
kept in arrays as long: `for (int l = 0; l < 32; ++l) sums[l] += x[j + l]`. Lanes are neighbours in a row, or rows side by side,
whichever most accesses walk with stride 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from graphc.backends.c_like.kernels import KernelPrinter, Printed, Shape, walks_across
from graphc.backends.c_like.scalars import literal, memory_type, register_type
from graphc.backends.c_like.tiles import Target
from graphc.backends.c_like.writing import Source
from graphc.core.tensor_types import int64
from graphc.ir.kernel import Kernel, Statement

#: Bytes of the lanes: two of the longest vectors, so that one waits while the other is computed.
LANES_BYTES = 128
#: Bytes of one vector. Clang takes half of what a processor with AVX-512 has, unless it is told (softmax on PoCL: 1.44 ms, told
#: 1.06); other compilers skip the line, and shorter vectors become several.
VECTOR_BYTES = 64
#: Steps of all loops below which lanes are not worth their longer text; steps that a group should have at least.
FEWEST_STEPS, GROUP_STEPS = 1 << 13, 1 << 12
#: Elements of a row that an item keeps on its stack between passes.
MOST_KEPT = 1 << 12


def print_lanes(source: Source, kernel: Kernel, target: Target, careful: bool = False) -> Printed | None:
    """Writes a kernel for a processor into a source; None where it is done as on any device."""
    if not target.vector or kernel.scatters or kernel.running or math.prod(kernel.extents) < FEWEST_STEPS:
        return None
    widest = max([4, *(d.itemsize for d in kernel.buffers)])
    lanes, n = LANES_BYTES // widest, kernel.n_outer
    if len(kernel.extents) == n:  # items side by side make vectors of longer formulas too
        return None
    rows_apart = n > 0 and kernel.extents[n - 1] >= lanes and walks_across(kernel)
    printer: _Lanes
    if rows_apart:
        printer = _SideBySide(source, kernel, lanes, careful)
    elif kernel.extents[-1] >= lanes:
        printer = _AlongRows(source, kernel, lanes, careful)
    else:
        return None
    return None if printer.scratch else printer.printed()


class _Lanes(KernelPrinter):
    """What both ways share. `lane`: how an element of the arrays is told at the current place, empty outside of lanes."""

    def __init__(self, source: Source, kernel: Kernel, lanes: int, careful: bool):
        super().__init__(source, kernel, Shape(1, 1), careful)
        self.lanes, self.lane = lanes, ""
        self.vector = lanes * VECTOR_BYTES // LANES_BYTES
        self.groups = 1

    def printed(self) -> Printed:
        """The function and how it is launched."""
        name = self.print()
        return Printed(name, self.groups, 1, tuple(self.words), self.idx == "i64", ())

    def array(self, kind: str) -> str:
        """An array with an element for each lane."""
        name = self.f.fresh()
        self.f.do(f"{'u8' if kind == 'bool' else kind} {name}[{self.lanes}]")
        return name

    @contextmanager
    def each_lane(self, limit: str = "") -> Iterator[None]:
        """What is written within is done for each lane, or for `limit` of them."""
        if not limit:
            self.f.line(f"#pragma clang loop vectorize_width({self.vector})")
        with self.f.block(f"for (int l = 0; l < {limit or self.lanes}; ++l)"):
            yield

    def start(self, statement: Statement) -> list[str]:
        """The arrays of a fold."""
        first = [(statement.tree.dtype, statement.identity), (int64, -1)]
        found = []
        for dtype, number in first[: 1 if statement.position is None else 2]:
            found.append(self.array(register_type(dtype)))
            with self.each_lane():
                self.f.do(f"{found[-1]}[l] = {literal(number, dtype)}")
        return found

    def fold(self, statement: Statement, registers: Sequence[str], new: Sequence[str], in_order: bool) -> None:
        """Folds another part in, of the current lane where there are lanes."""
        super().fold(statement, [x + self.lane for x in registers], new, in_order)


class _AlongRows(_Lanes):
    """Lanes are neighbours in the row; a group does some rows one after another."""

    def __init__(self, source: Source, kernel: Kernel, lanes: int, careful: bool):
        super().__init__(source, kernel, lanes, careful)
        kept = [n for n, x in enumerate(kernel.statements) if x.kept]
        if self.inner_steps <= MOST_KEPT:
            self.private, self.scratch = kept, []

    def rows(self, rows: str) -> None:
        """The rows of the group."""
        f, n_rows = self.f, math.prod(self.kernel.extents[: self.kernel.n_outer])
        each = max(1, min(GROUP_STEPS // max(self.inner_steps, 1), n_rows))
        self.groups = -(-n_rows // each)
        step = self.word(each)
        if not any(x.fails for x in self.kernel.statements):
            f.do("if (*fault) return")
        self.keep_private()
        f.do(f"const {self.idx} first = ({self.idx})GROUP * {step}")
        f.do(f"const {self.idx} last = first + {step} < {rows} ? first + {step} : {rows}")

    def body(self) -> None:
        """All passes over a row, for each row."""
        with self.f.block(f"for ({self.idx} row = first; row < last; ++row)"):
            self.enter_flat(self.outer, "row")
            super().body()

    def each_step(self, body: Callable[[], None]) -> None:
        """Whole vectors of a row, then what is left, one by one."""
        f, saved, axis = self.f, dict(self.offsets), self.inner[-1]
        counter, end = f"c{axis}", self.extents[axis]
        with self.nested(self.inner[:-1]):
            outside = dict(self.offsets)
            whole = f"for ({self.idx} {counter} = 0; {counter} + {self.lanes} <= {end}; {counter} += {self.lanes})"
            with f.block(whole), self.each_lane():
                self.at_lane(axis, f"({counter} + l)", "[l]", body)
            self.offsets = outside
            rest = f"{end} / {self.lanes} * {self.lanes}"
            with f.block(f"for ({self.idx} {counter} = {rest}; {counter} < {end}; ++{counter})"):
                self.at_lane(axis, counter, "[0]", body)
        self.offsets = saved
        for inner in self.inner:
            del self.counters[inner]

    def at_lane(self, axis: int, counter: str, lane: str, body: Callable[[], None]) -> None:
        """Writes one step."""
        self.offsets = dict(self.offsets)
        self.enter(axis, counter)
        self.lane = lane
        body()
        self.lane = ""

    def across(self, statement: Statement, registers: Sequence[str]) -> Sequence[str]:
        """Joins the lanes."""
        f, kinds = self.f, [register_type(statement.tree.dtype), "i64"]
        found = [f.variable(kind, f"{x}[0]") for kind, x in zip(kinds, registers, strict=False)]
        with f.block(f"for (int l = 1; l < {self.lanes}; ++l)"):
            other = [f.let(kind, f"{x}[l]") for kind, x in zip(kinds, registers, strict=False)]
            self.fold(statement, found, other, in_order=False)
        return found


class _SideBySide(_Lanes):
    """Lanes are rows side by side; a group does some blocks of as many, one after another."""

    def __init__(self, source: Source, kernel: Kernel, lanes: int, careful: bool):
        super().__init__(source, kernel, lanes, careful)
        self.axis, self.limit = self.outer[-1], str(lanes)
        self.private = []
        if any(x.kept for x in kernel.statements) and self.reads_what_it_writes():
            self.scratch = [0]

    def rows(self, rows: str) -> None:
        """The part of the last outer loop that the group does, and the counters of the others."""
        f, extents = self.f, self.kernel.extents
        blocks = max(1, GROUP_STEPS // max(self.inner_steps * self.lanes, 1))
        each = self.lanes * blocks
        parts = -(-extents[self.axis] // each)
        self.groups = parts * math.prod(extents[: self.axis])
        step, many, end = self.word(each), self.word(parts), self.extents[self.axis]
        if not any(x.fails for x in self.kernel.statements):
            f.do("if (*fault) return")
        f.do(f"const {self.idx} line = ({self.idx})GROUP / {many}")
        f.do(f"{self.idx} r = ({self.idx})GROUP % {many} * {step}")
        f.do(f"const {self.idx} end = r + {step} < {end} ? r + {step} : {end}")
        if self.outer[:-1]:
            self.enter_flat(self.outer[:-1], "line")

    def body(self) -> None:
        """All passes over a block of rows, for whole blocks and for what is left."""
        outside, counters = self.offsets, self.counters
        for head, limit in (
            (f"for (; r + {self.lanes} <= end; r += {self.lanes})", str(self.lanes)),
            ("if (r < end)", ""),
        ):
            self.offsets, self.counters = dict(outside), dict(counters)
            with self.f.block(head):
                self.limit = limit or self.f.let("int", "(int)(end - r)")
                super().body()

    @contextmanager
    def side_by_side(self) -> Iterator[None]:
        """What is written within is done for each row of the block."""
        saved = dict(self.offsets)
        with self.each_lane("" if self.limit == str(self.lanes) else self.limit):
            self.enter(self.axis, "(r + l)")
            self.lane = "[l]"
            yield
            self.lane = ""
        self.offsets = saved
        del self.counters[self.axis]

    def evaluate(self, numbers: list[int], also: Sequence[int] = ()) -> None:
        """Statements of one place; those of rows are kept in arrays for what comes later."""
        if self.lane or not numbers:
            super().evaluate(numbers, also)
            return
        rooms = {n: self.array(memory_type(self.kernel.statements[n].dtype)) for n in numbers}
        with self.side_by_side():
            super().evaluate(numbers, also)
            for n, room in rooms.items():
                self.f.do(f"{room}[l] = {self.made[n]}")
                self.made[n] = f"{room}[l]"

    def each_step(self, body: Callable[[], None]) -> None:
        """The steps of the inner loops, all rows of the block at each."""
        saved = dict(self.offsets)
        with self.nested(self.inner), self.side_by_side():
            body()
        self.offsets = saved
        for axis in self.inner:
            del self.counters[axis]

    def conclude(self, folds: dict[int, list[str]]) -> None:
        """The results of a pass's folds, and what is done with them."""
        if folds:
            with self.side_by_side():
                super().conclude(folds)

    def across(self, statement: Statement, registers: Sequence[str]) -> Sequence[str]:
        """Each row has its own."""
        return [x + self.lane for x in registers]
