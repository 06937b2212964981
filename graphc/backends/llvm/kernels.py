"""Kernels as LLVM IR: loops, loads and stores around scalar trees, vectorised along one loop.

A kernel becomes a task function `i64 task(ptr table, ptr args, i64 begin, i64 end)` that does the steps [begin, end) of its
outermost loop. Extents, strides and offsets are read from `args`, so that kernels of other sizes share their code; short
inner extents and strides of 0 and 1 are part of the code. `args` begins with a (slot, byte offset) pair for each buffer.

The loop that is vectorised is the last outer or the last inner one, whichever most accesses walk with stride 1. What is
left of it after whole vectors is done once more under a mask.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from graphc.backends.llvm.accesses import INSIDE, Reader
from graphc.backends.llvm.emit import Function, Module
from graphc.backends.llvm.folds import Fold
from graphc.backends.llvm.host import Machine
from graphc.backends.llvm.narrowing import narrowed
from graphc.backends.llvm.registers import memory_type, to_memory, to_register
from graphc.backends.llvm.running import run, running_axis
from graphc.backends.llvm.scalars import print_trees
from graphc.backends.llvm.scatters import FEWEST_COLUMNS, along_rows, splits_places, walks_rows
from graphc.backends.llvm.sharing import print_in_runs, run_bits
from graphc.core import scalar as s
from graphc.core.scalar import Scalar
from graphc.core.tensor_types import FLOAT, DType
from graphc.ir.kernel import ADD, Access, Kernel, Made, Statement

#: Extents up to this are part of the code, except that of the outermost loop.
LARGEST_BAKED = 16
#: Bytes that rows kept between passes may take on the stack.
LARGEST_KEPT = 1 << 18


@dataclass(frozen=True)
class Printed:
    """The text of a kernel's task function, the words of `args` after the buffers, and the lanes of its vectors.

    `extent`, `grain`: the range of the task and what borders of its parts are multiples of; `scans`: every part looks through
    all steps for its own.
    """

    text: str
    words: tuple[int, ...]
    lanes: int
    extent: int
    grain: int
    scans: bool


def print_kernel(kernel: Kernel, machine: Machine, name: str = "task") -> Printed:
    """The task function of a kernel. Kernels that are equal, as those of a net's layers are, are printed once."""
    return _printed(kernel, tuple(repr(x.identity) for x in kernel.statements), machine, name)  # 0.0 is not -0.0


@functools.lru_cache(maxsize=1024)
def _printed(kernel: Kernel, identities: tuple[str, ...], machine: Machine, name: str) -> Printed:
    module = Module(machine)
    printer = _Printer(narrowed(kernel), module, name)
    printer.print()
    extent, grain = kernel.extents[0] if kernel.n_outer else 1, 1
    if printer.by_places:
        extent = kernel.statements[0].places
    elif printer.axis == 0 and kernel.n_outer:
        grain = max(printer.lanes, FEWEST_COLUMNS if printer.rows_inside else 1)
    return Printed(module.text(), tuple(printer.words), printer.lanes, extent, grain, printer.by_places)


# --- which loop, how many lanes ------------------------------------------------------------------------------------------


def vector_axis(kernel: Kernel) -> int | None:
    """The loop to vectorise, None if there is none."""
    last_outer = kernel.n_outer - 1 if kernel.n_outer else None
    last_inner = len(kernel.extents) - 1 if len(kernel.extents) > kernel.n_outer else None
    if kernel.scatters and last_inner is not None:
        return last_outer if walks_rows(kernel) else None
    if kernel.running:
        return running_axis(kernel)
    if last_inner is None or last_outer is None:
        return last_outer if last_inner is None else last_inner
    width = min(_widest(kernel), 4)
    kept = any(x.kept for x in kernel.statements)
    inner_steps = 1
    for n in kernel.extents[kernel.n_outer :]:
        inner_steps *= n
    if kept and inner_steps * 16 * width > LARGEST_KEPT:
        return last_inner
    return min((last_inner, last_outer), key=lambda axis: _cost(kernel, axis, inner_steps))


def _cost(kernel: Kernel, axis: int, inner_steps: int) -> float:
    """About how many cycles a step takes with vectors along a loop: elements that lie apart are read one by one."""
    extent = max(kernel.extents[axis], 1)
    used = extent / -(-extent // 16)
    total = kernel.operations / 4 / used
    for access in kernel.accesses():
        inner = any(access.coefs[kernel.n_outer :]) or not any(access.coefs)
        each = 1 / used if access.coefs[axis] in (0, 1) else 1.0
        total += each if inner else each / max(inner_steps, 1)
    if axis >= kernel.n_outer:  # the lanes of each row are folded in the end
        total += 6 * sum(x.combine is not None for x in kernel.statements) / max(inner_steps, 1)
    return total


def _widest(kernel: Kernel) -> int:
    """Bytes of the widest number that is computed with at every step; what a row does once does not count."""
    has_inner = len(kernel.extents) > kernel.n_outer
    trees = [x.tree for x in kernel.statements if x.inner or not has_inner]
    trees += [x.position for x in kernel.statements if x.position is not None]
    trees += [tree for access in kernel.accesses() for tree, _ in access.computed]
    sizes = [x.dtype.itemsize for tree in trees for x in s.postorder(tree) if x.op not in ("index", "const")]
    return max(sizes, default=4)


def lanes_for(kernel: Kernel, axis: int | None, machine: Machine, run_bits: int = 0) -> int:
    """Elements done at once: a few registers' worth for short trees and folds, one for long ones, or for what runs share."""
    if axis is None:
        return 1
    one = max(machine.vector_bytes // 4, 4)
    operations = kernel.operations
    folds = any(x.combine for x in kernel.statements)
    lanes = one * (4 if operations <= 12 or (folds and operations <= 40) else 2 if operations <= 60 else 1)
    if _widest(kernel) == 8:
        lanes, one = max(lanes // 2, one // 2) << run_bits, one // 2
    if kernel.running and axis >= kernel.n_outer:
        lanes = one
    extent = kernel.extents[axis]
    while lanes > 1 and extent <= lanes // 2:
        lanes //= 2
    return lanes


# --- printing ------------------------------------------------------------------------------------------------------------


class _Printer:
    def __init__(self, kernel: Kernel, module: Module, name: str):
        self.kernel = kernel
        self.f: Function = module.function(
            name, [("ptr", "table"), ("ptr", "args"), ("i64", "begin"), ("i64", "end")], "i64"
        )
        self.axis = vector_axis(kernel)
        self.run_bits = run_bits(kernel, self.axis)
        self.lanes = lanes_for(kernel, self.axis, module.machine, self.run_bits)
        self.outer = list(range(kernel.n_outer))
        self.inner = list(range(kernel.n_outer, len(kernel.extents)))
        self.rows_inside, self.by_places = walks_rows(kernel), splits_places(kernel)
        self.words: list[int] = []
        self.counters: dict[int, str] = {}
        #: for each access, its offset in elements as far as the open loops have moved it
        self.offsets: dict[int, str] = {}
        self.coefs: dict[tuple[int, int], str] = {}
        self.accesses: list[Access] = list(kernel.accesses())
        self.buffers: list[str] = []
        self.multipliers: dict[tuple[int, int], str] = {}
        self.numbers = {id(a): n for n, a in enumerate(self.accesses)}
        self.joined: dict[tuple[tuple[int, ...], bool], tuple[list[int], list[Scalar]]] = {}
        self.made: dict[int, str] = {}
        self.positions: dict[int, str] = {}
        self.before = ""
        self.kept: dict[int, str] = {}
        self.mask: str | None = None
        #: whether LLVM knows which lanes the mask leaves out
        self.mask_is_known = False

    # --- the frame ------------------------------------------------------------------------------------------------

    def word(self, number: int) -> str:
        """A number of the plan, read from `args`."""
        at = 2 * len(self.kernel.buffers) + len(self.words)
        self.words.append(number)
        return self.argument(at)

    def argument(self, at: int) -> str:
        where = self.f.let(f"getelementptr i64, ptr %args, i64 {at}")
        return self.f.let(f"load i64, ptr {where}, align 8")

    def print(self) -> None:
        """Writes the function."""
        f, kernel = self.f, self.kernel
        self.buffers = [self.buffer(n) for n in range(len(kernel.buffers))]
        self.extents = [self.extent(axis) for axis in range(len(kernel.extents))]
        for n, access in enumerate(self.accesses):
            self.offsets[n] = self.word(access.offset) if access.offset else "0"
            for axis, c in enumerate(access.coefs):
                if c not in (0, 1):
                    self.coefs[n, axis] = self.word(c)
        self.multipliers = {
            (n, m): self.word(k) for n, a in enumerate(self.accesses) for m, (_, k) in enumerate(a.computed) if k != 1
        }
        self.allocate_kept()
        if self.outer:
            self.over(self.outer)
        elif self.rows_inside:
            along_rows(self, self.inner, self.body)
        else:
            self.body()
        f.do("ret i64 0")

    def buffer(self, n: int) -> str:
        f = self.f
        slot, offset = self.argument(2 * n), self.argument(2 * n + 1)
        base = f.let(f"load ptr, ptr {f.let(f'getelementptr ptr, ptr %table, i64 {slot}')}, align 8")
        return f.let(f"getelementptr i8, ptr {base}, i64 {offset}")

    def extent(self, axis: int) -> str:
        if axis == 0 and self.outer and not self.by_places:
            return "%end"
        n = self.kernel.extents[axis]
        return str(n) if n <= LARGEST_BAKED else self.word(n)

    def allocate_kept(self) -> None:
        """Room on the stack for the rows that a later pass reads again."""
        steps = 1
        for axis in self.inner:
            steps *= self.kernel.extents[axis]
        kept = [n for n, x in enumerate(self.kernel.statements) if x.kept]
        if not kept:
            return
        room = self.word(steps * self.lanes if self.axis not in self.inner else steps + self.lanes)
        for n in kept:
            kind = memory_type(self.kernel.statements[n].dtype, 1)
            self.kept[n] = self.f.let(f"alloca {kind}, i64 {room}, align 64")

    # --- loops ----------------------------------------------------------------------------------------------------

    def over(self, axes: Sequence[int]) -> None:
        """The outer loops from here on, and in them the body."""
        if not axes:
            self.body()
            return
        axis = axes[0]
        start = "%begin" if axis == 0 and not self.by_places else "0"
        if axis == self.outer[-1] and self.rows_inside:
            along_rows(self, self.inner, lambda: self.vectors(axis, start, [], self.rows))
            return
        if axis == self.axis:
            self.vectors(axis, start, [], self.rows)
            return
        with self.f.loop(start, self.extents[axis], 1) as turn:
            saved = self.enter(axis, turn.index)
            self.over(axes[1:])
            self.leave(axis, saved)

    def enter(self, axis: int, counter: str) -> dict[int, str]:
        """Moves every access along a loop; returns where they were."""
        saved = dict(self.offsets)
        self.counters[axis] = counter
        for n, access in enumerate(self.accesses):
            if access.coefs[axis]:
                step = counter
                if access.coefs[axis] != 1:
                    step = self.f.let(f"mul nsw i64 {counter}, {self.coefs[n, axis]}")
                before = self.offsets[n]
                self.offsets[n] = step if before == "0" else self.f.let(f"add nsw i64 {before}, {step}")
        return saved

    def leave(self, axis: int, saved: dict[int, str]) -> None:
        """Back to where the accesses were before the loop."""
        self.offsets = saved
        del self.counters[axis]

    def vectors(self, axis: int, start: str, carry: list[tuple[str, str]], body: object) -> list[str]:
        """Whole vectors of a loop, then the rest under a mask; `body(carried)` returns what is carried on."""
        f, lanes, extent = self.f, self.lanes, self.extents[axis]
        assert callable(body)
        known = int(extent) if extent.isdecimal() and start == "0" else None
        if lanes == 1:
            with f.loop(start, extent, 1, carry) as turn:
                saved = self.enter(axis, turn.index)
                turn.next = body(turn.carried)
                self.leave(axis, saved)
            return turn.results
        carried = [value for _, value in carry]
        whole = str(known // lanes * lanes) if known is not None else self.whole(start, extent)
        if known is None or known >= lanes:
            with f.loop(start, whole, lanes, carry) as turn:
                saved = self.enter(axis, turn.index)
                turn.next = body(turn.carried)
                self.leave(axis, saved)
            carried = turn.results
        if known is not None and known % lanes == 0:
            return carried
        return self.rest(axis, whole, carry, carried, body, known)

    def whole(self, start: str, extent: str) -> str:
        """Where the last whole vector ends."""
        f = self.f
        steps = f.let(f"sub nsw i64 {extent}, {start}")
        return f.let(f"add nsw i64 {start}, {f.let(f'and i64 {steps}, {-self.lanes}')}")

    def rest(
        self, axis: int, whole: str, carry: list[tuple[str, str]], carried: list[str], body: object, known: int | None
    ) -> list[str]:
        """The last, partial vector of a loop."""
        f = self.f
        assert callable(body)
        before, some, after = f.block, f.label("rest"), f.label("done")
        if known is None:
            f.branch_if(f.let(f"icmp slt i64 {whole}, {self.extents[axis]}"), some, after)
            f.begin(some)
        left = f.let(f"sub nsw i64 {self.extents[axis]}, {whole}")
        narrow = f.let(f"trunc i64 {left} to i32")
        self.mask = f.let(f"icmp ult {self.ramp('i32')}, {self.splat(narrow, 'i32')}")
        self.mask_is_known = known is not None
        saved = self.enter(axis, whole)
        following = body(carried)
        self.leave(axis, saved)
        self.mask, self.mask_is_known = None, False
        if known is not None:
            return list(following)
        last = f.block
        f.branch(after)
        f.begin(after)
        results = []
        for (kind, _), old, new in zip(carry, carried, following, strict=True):
            results.append(f.phi(kind, (old, before), (new, last)).name)
        return results

    def ramp(self, kind: str) -> str:
        """0, 1, 2, ... in the lanes, with the type before it."""
        return f"<{self.lanes} x {kind}> <{', '.join(f'{kind} {i}' for i in range(self.lanes))}>"

    def splat(self, value: str, kind: str, lanes: int | None = None) -> str:
        """A scalar in every lane."""
        lanes = self.lanes if lanes is None else lanes
        if lanes == 1:
            return value
        first = self.f.let(f"insertelement <{lanes} x {kind}> poison, {kind} {value}, i64 0")
        return self.f.let(
            f"shufflevector <{lanes} x {kind}> {first}, <{lanes} x {kind}> poison, <{lanes} x i32> zeroinitializer"
        )

    # --- statements -----------------------------------------------------------------------------------------------

    def rows(self, carried: list[str]) -> list[str]:
        """The body as vectors of rows want it; nothing is carried from one to the next."""
        self.body()
        return carried

    def body(self) -> None:
        """One step of the outer loops: the passes over the inner ones, and what is done between them."""
        for stage in range(self.kernel.n_stages):
            rows = [n for n, x in enumerate(self.kernel.statements) if x.stage == stage and not x.inner]
            self.evaluate(rows, self.row_lanes)
            inner = [n for n, x in enumerate(self.kernel.statements) if x.stage == stage and x.inner]
            if inner:
                self.passes(inner)

    @property
    def row_lanes(self) -> int:
        """Lanes of row-level values: rows are side by side in vectors unless the vectors run along the rows."""
        return 1 if self.axis in self.inner else self.lanes

    def passes(self, numbers: list[int]) -> None:
        """One pass over the inner loops."""
        if self.kernel.running:
            run(self)
            return
        folds = {n: Fold(self.f, self.kernel.statements[n]) for n in numbers if self.kernel.statements[n].combine}
        carry = [pair for fold in folds.values() for pair in fold.start(self.lanes)]
        results = iter(self.within([] if self.rows_inside else self.inner, numbers, folds, carry))
        for n, fold in folds.items():
            values = [next(results) for _ in fold.dtypes]
            self.made[n] = fold.across(values, self.lanes) if self.axis in self.inner else fold.result(values)
            self.finish(n, self.made[n], self.row_lanes)

    def within(
        self, axes: Sequence[int], numbers: list[int], folds: dict[int, Fold], carry: list[tuple[str, str]]
    ) -> list[str]:
        """The inner loops from here on; returns the folds' values."""
        if not axes:
            return self.step(numbers, folds, [value for _, value in carry])
        axis = axes[0]

        def deeper(carried: list[str]) -> list[str]:
            kinds = [(kind, value) for (kind, _), value in zip(carry, carried, strict=True)]
            return self.within(axes[1:], numbers, folds, kinds)

        if axis == self.axis:
            return self.vectors(axis, "0", carry, deeper)
        with self.f.loop("0", self.extents[axis], 1, carry) as turn:
            saved = self.enter(axis, turn.index)
            turn.next = deeper(turn.carried)
            self.leave(axis, saved)
        return turn.results

    def step(self, numbers: list[int], folds: dict[int, Fold], carried: list[str]) -> list[str]:
        """One step of the inner loops."""
        self.evaluate(numbers, self.lanes)
        mask = self.mask if self.axis in self.inner else None
        following: list[str] = []
        for n, fold in folds.items():
            before = carried[len(following) : len(following) + len(fold.dtypes)]
            new = [self.made[n], self.positions[n]] if fold.finds else [self.made[n]]
            following += fold.step(before, new, self.lanes, mask)
        return following

    def evaluate(self, numbers: list[int], lanes: int) -> None:
        """Statements of one place, and what is done with their values."""
        self.compute(numbers, lanes)
        for n in numbers:
            if not self.kernel.statements[n].combine:
                self.finish(n, self.made[n], lanes)

    def compute(self, numbers: list[int], lanes: int) -> None:
        """Statements of one place, all at once: what they share is computed once."""
        if not numbers:
            return
        found, trees = self.joined_trees(tuple(numbers), self.mask_is_known and lanes > 1)
        summed = [i for i, n in enumerate(numbers) if self.kernel.statements[n].combine == "add"]
        values = iter(print_in_runs(self, Reader(self, lanes), trees, self.run_bits, summed))
        self.made.update(zip(numbers, values, strict=False))
        self.positions.update(zip(found, values, strict=True))

    def joined_trees(self, numbers: tuple[int, ...], guarded: bool) -> tuple[list[int], list[Scalar]]:
        """The trees of statements, with what they make in them, then the positions that some of them find; which those are.

        `guarded`: for the last vector of a loop of which LLVM knows how full it is.
        """
        if (numbers, guarded) in self.joined:
            return self.joined[numbers, guarded]
        statements = self.kernel.statements
        trees: dict[int, Scalar] = {}

        def joined(x: Scalar) -> Scalar:
            if x.op == "leaf":
                source = self.kernel.sources[x.value]
                if isinstance(source, Made) and source.statement in trees and not statements[source.statement].combine:
                    return trees[source.statement]
            # LLVM takes 0 / 0 for 0 in lanes of which it knows that both are 0, and drops the mask behind it (LLVM 22).
            if guarded and x.op == "div" and x.dtype.category == FLOAT:
                return x.args[0] / s.select(INSIDE, x.args[1], s.const(1, x.dtype))
            return x

        for n in numbers:
            trees[n] = s.rebuild(statements[n].tree, joined)
        found = [n for n in numbers if statements[n].position is not None]
        positions = [s.rebuild(x, joined) for n in found if (x := statements[n].position) is not None]
        self.joined[numbers, guarded] = found, [*trees.values(), *positions]
        return self.joined[numbers, guarded]

    def finish(self, n: int, value: str, lanes: int) -> None:
        """Stores a statement's value where it is wanted."""
        statement = self.kernel.statements[n]
        if statement.fails:
            self.stop_if(value, lanes)
        if statement.store is not None:
            target = self.kernel.buffers[statement.store.buffer]
            if target is not statement.dtype:
                tree = s.cast(s.leaf(0, statement.dtype), target)
                (value,) = print_trees(self.f, [tree], lanes, lambda leaf: value, lambda axis: "")
            Reader(self, lanes).store(statement.store, value, target, statement.scatter == ADD)
        if statement.kept:
            self.keep(n, statement, value)

    def stop_if(self, value: str, lanes: int) -> None:
        """Ends the task with a failure if the condition holds in any lane."""
        f = self.f
        if lanes > 1:
            if self.mask is not None:
                value = f.let(f"and <{lanes} x i1> {value}, {self.mask}")
            value = f.call(f"llvm.vector.reduce.or.v{lanes}i1", "i1", (f"<{lanes} x i1>", value))
        bad, good = f.label("bad"), f.label("good")
        f.branch_if(value, bad, good)
        f.begin(bad)
        f.do("ret i64 1")
        f.begin(good)

    # --- rows kept between passes ---------------------------------------------------------------------------------

    def kept_place(self, n: int, dtype: DType) -> str:
        """Where the current step's element(s) of a kept row are."""
        f, flat = self.f, "0"
        for axis in self.inner:
            step = self.counters[axis]
            if flat == "0":
                flat = step
            else:
                flat = f.let(f"add i64 {f.let(f'mul i64 {flat}, {self.extents[axis]}')}, {step}")
        if self.axis not in self.inner and self.lanes > 1:
            flat = f.let(f"mul i64 {flat}, {self.lanes}")
        return f.let(f"getelementptr {memory_type(dtype, 1)}, ptr {self.kept[n]}, i64 {flat}")

    def keep(self, n: int, statement: Statement, value: str) -> None:
        """Writes a kept row's element(s); beyond the row's end there is room."""
        kind = memory_type(statement.dtype, self.lanes)
        value = to_memory(self.f, value, statement.dtype, self.lanes)
        self.f.do(f"store {kind} {value}, ptr {self.kept_place(n, statement.dtype)}, align {statement.dtype.itemsize}")

    def recall(self, n: int) -> str:
        """Reads them back."""
        dtype = self.kernel.statements[n].dtype
        kind = memory_type(dtype, self.lanes)
        value = self.f.let(f"load {kind}, ptr {self.kept_place(n, dtype)}, align {dtype.itemsize}")
        return to_register(self.f, value, dtype, self.lanes)
