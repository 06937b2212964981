"""Kernels as C-like text: groups of items, each of which does some rows, or a share of each.

The L items of a group are C columns times S slices. Item `ITEM` does row `GROUP * C + ITEM % C`, and of that row's inner
steps every S-th, from `ITEM / C` on. Folds are joined across the slices of a row in local memory. With C = L an item does
whole rows, which are neighbours in memory if columns are; with S = L a group does one row, whose elements are neighbours.

A kernel function takes a pointer and an offset in elements for each buffer, then for each scratch memory, then the words:
extents, strides and offsets, so that kernels of other sizes share their text; short inner extents and strides of 0 and 1 are
part of it. Last comes the fault word: a kernel does nothing once it is set, and an index check sets it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

from graphc.backends.c_like.scalars import literal, memory_type, print_trees, register_type, to_memory
from graphc.backends.c_like.tiles import power_of_two as _power_of_two
from graphc.backends.c_like.writing import Lines, Source
from graphc.backends.formulas.folds import joined, joined_found
from graphc.core import scalar as s
from graphc.core.scalar import Scalar
from graphc.core.tensor_types import DType, float32, float64, int32, int64
from graphc.ir.kernel import ADD, Access, Kernel, Made, Statement

#: Extents up to this are part of the text, except that of the outermost loop.
LARGEST_BAKED = 16
#: Elements of a row that an item may keep in its own memory between passes.
MOST_KEPT = 32
#: Rows with fewer inner steps are done by one item each.
SHORT_ROW = 16
#: How far beyond what there is numbers may go: rows of the last group, counters behind the last step, ends of parts.
_BEYOND = 1 << 13


@dataclass(frozen=True)
class Shape:
    """The items of a group: columns times slices."""

    columns: int
    slices: int

    @property
    def items(self) -> int:
        """All of them."""
        return self.columns * self.slices


@dataclass(frozen=True)
class Printed:
    """The function of a kernel in its source, and how it is launched.

    `groups`: of `items` items each. `scratch`: the bytes of each memory of its own. `words` are `wide` (`i64`) or `i32`.
    `apart`: whether its items never meet.
    """

    name: str
    groups: int
    items: int
    words: tuple[int, ...]
    wide: bool
    scratch: tuple[int, ...]
    apart: bool = False


#: Bytes of arguments: for a buffer with its offset, for the fault word.
PAIR, FAULT = 16, 8

#: What an item can add to memory that others add to.
ATOMIC = {float32: "ADD_F32", int32: "ADD_I32"}
#: The same for elements of 64 bits, which not every device can.
WIDE_ATOMIC = {float64: "ADD_F64", int64: "ADD_I64"}


def print_kernel(
    source: Source,
    kernel: Kernel,
    items: int,
    careful: bool = False,
    baked: int | None = None,
    atomic: Mapping[DType, str] | None = None,
) -> Printed:
    """Writes a kernel for groups of `items` items (a power of two) into a source. `baked`: instead of LARGEST_BAKED.

    `careful`: memory that it reads may be the memory it writes, so nothing is read again once a pass has stored.
    `atomic`: elements of these dtypes that a scatter adds up are added side by side, in any order, by the functions named.
    """
    given, kernel = kernel, side_by_side(kernel, atomic or {})
    shape = shape_of(kernel, items)
    rows = math.prod(kernel.extents[: kernel.n_outer])
    printer = KernelPrinter(source, kernel, shape, careful, baked)
    printer.meets = (atomic or {}) if kernel is not given else {}
    name = printer.print()
    scratch = tuple(rows * printer.inner_steps * kernel.statements[n].dtype.itemsize for n in printer.scratch)
    groups = -(-rows // shape.columns)
    wide, apart = printer.idx == "i64", shape.slices == 1
    return Printed(name, groups, shape.items, tuple(printer.words), wide, scratch, apart)


def side_by_side(kernel: Kernel, dtypes: Container[DType]) -> Kernel:
    """A scatter that adds to one of these, with an item for each element that is added; another kernel as it is."""
    if not kernel.scatters or len(kernel.extents) == kernel.n_outer:
        return kernel
    (statement,) = kernel.statements
    if statement.scatter != ADD or statement.store is None or kernel.buffers[statement.store.buffer] not in dtypes:
        return kernel
    return replace(kernel, n_outer=len(kernel.extents), statements=(replace(statement, inner=False),))


def shape_of(kernel: Kernel, items: int) -> Shape:
    """How a group's items share the rows: neighbours read neighbours."""
    n, rows = kernel.n_outer, math.prod(kernel.extents[: kernel.n_outer])
    inner = math.prod(kernel.extents[n:])
    if len(kernel.extents) == n or kernel.scatters or kernel.running or inner <= SHORT_ROW:
        return Shape(items, 1)  # also where there are fewer rows, for few and many then share a text
    if walks_across(kernel):
        columns = min(items, 32, _power_of_two(kernel.extents[n - 1]))
        return Shape(columns, min(items // columns, _power_of_two(inner)))
    slices = min(items, _power_of_two(inner))
    return Shape(min(items // slices, _power_of_two(rows)), slices)


def walks_across(kernel: Kernel) -> bool:
    """Whether more accesses have neighbours in the next row than in the next inner step."""
    accesses, n = list(kernel.accesses()), kernel.n_outer
    along_rows = sum(a.coefs[-1] == 1 for a in accesses)
    return sum(n > 0 and a.coefs[n - 1] == 1 and a.coefs[-1] != 1 for a in accesses) > along_rows


class KernelPrinter:
    """Writes one kernel."""

    def __init__(self, source: Source, kernel: Kernel, shape: Shape, careful: bool, baked: int | None = None):
        self.kernel, self.shape, self.careful = kernel, shape, careful
        self.baked = LARGEST_BAKED if baked is None else baked
        self.source = source
        self.outer = list(range(kernel.n_outer))
        self.inner = list(range(kernel.n_outer, len(kernel.extents)))
        self.inner_steps = math.prod(kernel.extents[kernel.n_outer :])
        self.idx = "i64" if _is_wide(kernel) else "i32"
        self.words: list[int] = []
        self.counters: dict[int, str] = {}
        self.accesses: list[Access] = list(kernel.accesses())
        self.numbers = {id(a): n for n, a in enumerate(self.accesses)}
        self.offsets: dict[int, str] = {}
        self.coefs: dict[tuple[int, int], str] = {}
        self.multipliers: dict[tuple[int, int], str] = {}
        self.extents: list[str] = []
        #: local memory, by its place among that of a fold and the type of its elements
        self.rooms: dict[tuple[int, str], str] = {}
        self.made: dict[int, str] = {}
        self.positions: dict[int, str] = {}
        self.before = ""
        #: by what items add to elements that others add to, if they do
        self.meets: Mapping[DType, str] = {}
        kept = [n for n, x in enumerate(kernel.statements) if x.kept]
        private = -(-self.inner_steps // shape.slices) <= MOST_KEPT
        #: kept rows: in the items' own memory, in scratch memory; the others are computed again
        self.private = kept if private else []
        self.scratch = [] if private or not self.reads_what_it_writes() else kept

    def reads_what_it_writes(self) -> bool:
        """Whether a pass may store where a later one would read again."""
        stored = {x.store.buffer for x in self.kernel.statements if x.store is not None}
        return self.careful or any(isinstance(x, Access) and x.buffer in stored for x in self.kernel.sources)

    # --- the frame ------------------------------------------------------------------------------------------------

    def word(self, number: int) -> str:
        """An argument that holds a number."""
        self.words.append(number)
        return f"w{len(self.words) - 1}"

    def print(self) -> str:
        """Writes the function; its name."""
        f = self.f = Lines(self.source)
        kernel = self.kernel
        rows = self.word(math.prod(kernel.extents[: kernel.n_outer]))
        self.steps = self.word(self.inner_steps) if self.inner_steps > LARGEST_BAKED else str(self.inner_steps)
        self.arguments()
        for n in self.scratch:
            f.do(f"k{n} += s{n}")
        self.rows(rows)
        self.body()
        return self.source.add_kernel(self.shape.items, self.parameters(), f)

    def arguments(self) -> None:
        """The words of extents and accesses; buffers begin where their offsets say."""
        self.extents = [self.extent(axis) for axis in range(len(self.kernel.extents))]
        for n, access in enumerate(self.accesses):
            self.offsets[n] = self.word(access.offset) if access.offset else ""
            for axis, c in enumerate(access.coefs):
                if c not in (0, 1):
                    self.coefs[n, axis] = self.word(c)
        self.multipliers = {
            (n, m): self.word(k) for n, a in enumerate(self.accesses) for m, (_, k) in enumerate(a.computed) if k != 1
        }
        for n in range(len(self.kernel.buffers)):
            self.f.do(f"b{n} += o{n}")

    def parameters(self) -> list[str]:
        """Those of the function."""
        found = []
        for n, dtype in enumerate(self.kernel.buffers):
            found += [f"GLOBAL {memory_type(dtype)} *b{n}", f"const i64 o{n}"]
        for n in self.scratch:
            found += [f"GLOBAL {memory_type(self.kernel.statements[n].dtype)} *k{n}", f"const i64 s{n}"]
        return [*found, *(f"const {self.idx} w{n}" for n in range(len(self.words))), "GLOBAL i32 *fault"]

    def extent(self, axis: int) -> str:
        n = self.kernel.extents[axis]
        return str(n) if n <= self.baked else self.word(n)

    def rows(self, rows: str) -> None:
        """Which row the item does, and the counters of the outer loops there."""
        f, (columns, slices) = self.f, (self.shape.columns, self.shape.slices)
        column = "ITEM" if slices == 1 else f"ITEM % {columns}" if columns > 1 else "0"
        f.do(f"{self.idx} row = ({self.idx})GROUP * {columns} + {column}")
        # a kernel that sets the word does not read it: items of a group would find different ones
        reads = not any(x.fails for x in self.kernel.statements)
        if slices == 1:
            f.do(f"if (row >= {rows}{' || *fault' if reads else ''}) return")
        else:
            f.do(f"const {self.idx} slice = ITEM / {columns}")
            f.do(f"const bool live = row < {rows}{' && !*fault' if reads else ''}")
            f.do("row = live ? row : 0")  # every item of a group must reach the barriers (PoCL: none may return)
        if self.scratch:
            f.do(f"const {self.idx} kept = row * {self.steps}")
        self.enter_flat(self.outer, "row")
        self.keep_private()

    def keep_private(self) -> None:
        """Room for the rows that the item keeps itself."""
        for n in self.private:
            dtype = self.kernel.statements[n].dtype
            size = _power_of_two(-(-self.inner_steps // self.shape.slices))
            self.f.do(f"{memory_type(dtype)} k{n}[{size}]")

    def enter_flat(self, axes: Sequence[int], number: str) -> None:
        """Enters loops of which only the common step number is known."""
        found: dict[int, str] = {}
        for axis in reversed(axes[1:]):
            if self.extents[axis] == "1":
                found[axis] = "0"
                continue
            found[axis] = self.f.let(self.idx, f"{number} % {self.extents[axis]}")
            number = self.f.let(self.idx, f"{number} / {self.extents[axis]}")
        for axis in axes:
            self.enter(axis, found.get(axis, number))

    def enter(self, axis: int, counter: str) -> None:
        """Moves every access along a loop."""
        self.counters[axis] = counter
        for n, access in enumerate(self.accesses):
            if access.coefs[axis] and counter != "0":
                step = counter if access.coefs[axis] == 1 else f"{counter} * {self.coefs[n, axis]}"
                before = self.offsets[n]
                self.offsets[n] = self.f.let(self.idx, f"{before} + {step}") if before else (
                    step if step == counter else self.f.let(self.idx, step))  # fmt: skip

    # --- statements -----------------------------------------------------------------------------------------------

    def body(self) -> None:
        """The passes over the inner loops, and what is done between them."""
        for stage in range(self.kernel.n_stages):
            self.evaluate([n for n, x in enumerate(self.kernel.statements) if x.stage == stage and not x.inner])
            inner = [n for n, x in enumerate(self.kernel.statements) if x.stage == stage and x.inner]
            if inner and self.kernel.running:
                self.run(inner[0])
            elif inner:
                self.passes(inner)

    def run(self, n: int) -> None:
        """A running fold, step by step."""
        statement = self.kernel.statements[n]
        self.before = self.f.variable(register_type(statement.dtype), literal(statement.identity, statement.dtype))

        def step() -> None:
            self.compute([n])
            self.f.do(f"{self.before} = {self.made[n]}")
            self.finish(n)

        self.each_step(step)

    def passes(self, numbers: list[int]) -> None:
        """One pass over the inner loops."""
        folds = {n: self.start(self.kernel.statements[n]) for n in numbers if self.kernel.statements[n].combine}

        def step() -> None:
            self.evaluate([n for n in numbers if n not in folds], also=list(folds))
            for n, registers in folds.items():
                new = [self.made[n], *([self.positions[n]] if n in self.positions else [])]
                self.fold(self.kernel.statements[n], registers, new, in_order=True)

        self.each_step(step)
        self.conclude(folds)

    def conclude(self, folds: dict[int, list[str]]) -> None:
        """The results of a pass's folds, and what is done with them."""
        self.have_all_read(folds)
        for n, registers in folds.items():
            self.made[n] = self.across(self.kernel.statements[n], registers)[-1]
            self.finish(n)

    def each_step(self, body: Callable[[], None]) -> None:
        """Writes the steps of the inner loops that the item does; `body` writes one."""
        f, saved = self.f, dict(self.offsets)
        if self.shape.slices == 1:
            with self.nested(self.inner):
                body()
        else:
            counted = ", q = 0" if self.private else ""
            more = ", ++q" if self.private else ""
            # where a compiler sees that a loop has one step at most, it is no loop: Intel's may die of it (docs/testing.md)
            once = self.steps.isdecimal() and int(self.steps) <= self.shape.slices
            head = f"for ({self.idx} j = slice, n = live ? {self.steps} : 0{counted}; j < n; j += {self.shape.slices}{more})"
            with f.block(f"if (live && slice < {self.steps})" if once else head):
                if once:
                    f.do(f"const {self.idx} j = slice{counted}")
                self.enter_flat(self.inner, "j")
                body()
        self.offsets = saved
        for axis in self.inner:
            del self.counters[axis]

    @contextmanager
    def nested(self, axes: Sequence[int]) -> Iterator[None]:
        if not axes:
            yield
            return
        counter = f"c{axes[0]}"
        with self.f.block(f"for ({self.idx} {counter} = 0; {counter} < {self.extents[axes[0]]}; ++{counter})"):
            self.enter(axes[0], counter)
            with self.nested(axes[1:]):
                yield

    def place_in_row(self) -> str:
        """The number of the current inner step."""
        if self.shape.slices > 1:
            return "j"
        flat = ""
        for axis in self.inner:
            flat = f"({flat}) * {self.extents[axis]} + {self.counters[axis]}" if flat else self.counters[axis]
        return flat

    def kept_place(self, n: int) -> str:
        """Where the current step's element of a kept row is."""
        if n in self.private:
            return f"k{n}[{'q' if self.shape.slices > 1 else self.place_in_row()}]"
        return f"k{n}[kept + {self.place_in_row()}]"

    def evaluate(self, numbers: list[int], also: Sequence[int] = ()) -> None:
        """Statements of one place, and what is done with their values; those of `also` are computed only."""
        self.compute(sorted([*numbers, *also]))
        self.have_all_read(numbers)
        for n in numbers:
            self.finish(n)

    def have_all_read(self, numbers: Iterable[int]) -> None:
        """Lets the items of a row read what one of them is about to write over."""
        if self.shape.slices > 1 and self.reads_what_it_writes() and any(map(self.is_stored_by_one, numbers)):
            self.f.do("BARRIER_GLOBAL")

    def is_stored_by_one(self, n: int) -> bool:
        """Whether a statement gives a value for each row, which the first item of the row stores."""
        statement = self.kernel.statements[n]
        return statement.store is not None and (not statement.inner or statement.combine is not None)

    def compute(self, numbers: list[int]) -> None:
        """Statements of one place, all at once: what they share is computed once."""
        if not numbers:
            return
        statements = self.kernel.statements
        trees: dict[int, Scalar] = {}

        def joined_tree(n: int) -> Scalar:
            if n not in trees:
                trees[n] = s.rebuild(statements[n].tree, rule)
            return trees[n]

        def rule(x: Scalar) -> Scalar:
            if x.op == "leaf":
                source = self.kernel.sources[x.value]
                if isinstance(source, Made) and self.is_written_out(source.statement, numbers):
                    return joined_tree(source.statement)
            return x

        wanted = [joined_tree(n) for n in numbers]
        found = [n for n in numbers if statements[n].position is not None]
        wanted += [s.rebuild(x, rule) for n in found if (x := statements[n].position) is not None]
        values = iter(self.values(wanted))
        self.made.update(zip(numbers, values, strict=False))
        self.positions.update(zip(found, values, strict=True))

    def is_written_out(self, n: int, numbers: Sequence[int]) -> bool:
        """Whether what statement n makes is written out where it is read: it is made beside it, or was not kept."""
        statement = self.kernel.statements[n]
        if statement.combine or statement.running:
            return False
        return n in numbers or (statement.inner and n not in self.private and n not in self.scratch)

    def values(self, trees: Sequence[Scalar]) -> list[str]:
        """The names of trees' values at the current place."""
        return print_trees(self.f, trees, self.leaf, lambda axis: f"(i64){self.counters[axis]}")

    def leaf(self, x: Scalar) -> str:
        """The value of a source."""
        source = self.kernel.sources[x.value]
        if isinstance(source, Access):
            return self.load(source, x.dtype)
        statement = self.kernel.statements[source.statement]
        if statement.running:
            return self.before
        if statement.inner and statement.combine is None:
            return self.f.let(register_type(x.dtype), self.kept_place(source.statement))
        return self.made[source.statement]

    def place(self, access: Access) -> str:
        """The element of an access, a text."""
        n = self.numbers[id(access)]
        terms = [self.offsets[n]] if self.offsets[n] else []
        for m, (tree, _) in enumerate(access.computed):
            (value,) = self.values([tree])
            factor = f" * {self.multipliers[n, m]}" if (n, m) in self.multipliers else ""
            terms.append(f"({self.idx}){value}{factor}")
        return f"b{access.buffer}[{' + '.join(terms) or '0'}]"

    def load(self, access: Access, dtype: DType) -> str:
        """The element of a load; 0 where nothing is read."""
        kind = register_type(dtype)
        stray = bool(access.computed) and self.shape.slices > 1 and not self.counters.keys() & set(self.inner)
        if access.guard is None and not stray:
            return self.f.let(kind, _from_memory(self.place(access), dtype))
        guard = "live"
        if access.guard is not None:
            (guard,) = self.values([access.guard])
            guard += " && live" if stray else ""
        found = self.f.variable(kind, literal(0, dtype))
        with self.f.block(f"if ({guard})"):
            self.f.do(f"{found} = {_from_memory(self.place(access), dtype)}")
        return found

    def finish(self, n: int) -> None:
        """Stores a statement's value where it is wanted."""
        statement, value = self.kernel.statements[n], self.made[n]
        if statement.fails:
            self.f.do(f"if ({value}) *fault = 1")
        if statement.store is not None:
            sole = self.shape.slices > 1 and self.is_stored_by_one(n)
            with self.f.block("if (live && slice == 0)") if sole else nullcontext():
                self.store(statement, statement.store, value)
        if n in self.private or n in self.scratch:
            self.f.do(f"{self.kept_place(n)} = {value}")

    def store(self, statement: Statement, access: Access, value: str) -> None:
        """Writes a value, or adds it to what is there."""
        target = self.kernel.buffers[access.buffer]
        if access.guard is not None:
            (guard,) = self.values([access.guard])
        place = self.place(access)
        if self.meets:
            (new,) = print_trees(self.f, [s.cast(s.leaf(0, statement.dtype), target)], lambda x: value, lambda axis: "")
            head = f"if ({guard}) " if access.guard is not None else ""
            self.f.do(f"{head}{self.meets[target]}(&{place}, {new})")
            return
        if statement.scatter == ADD:
            old = self.f.let(register_type(target), _from_memory(place, target))
            total = s.node(
                "or" if target.category == 0 else "add", s.leaf(0, target), s.cast(s.leaf(1, statement.dtype), target)
            )
        else:
            old, total = "", s.cast(s.leaf(1, statement.dtype), target)
        (new,) = print_trees(self.f, [total], lambda x: (old, value)[x.value], lambda axis: "")
        head = f"if ({guard}) " if access.guard is not None else ""
        self.f.do(f"{head}{place} = {to_memory(new, target)}")

    # --- folds ----------------------------------------------------------------------------------------------------

    def start(self, statement: Statement) -> list[str]:
        """The registers of a fold: the value, and the position of one that finds it."""
        kind = register_type(statement.tree.dtype)
        found = [self.f.variable(kind, literal(statement.identity, statement.tree.dtype))]
        return found if statement.position is None else [*found, self.f.variable("i64", literal(-1, int64))]

    def fold(self, statement: Statement, registers: Sequence[str], new: Sequence[str], in_order: bool) -> None:
        """Folds another part in."""
        dtype, combine = statement.tree.dtype, str(statement.combine)
        trees = (joined(combine, dtype),) if len(registers) == 1 else joined_found(combine, dtype, in_order)
        values = [*registers, *new]
        for register, value in zip(
            registers, print_trees(self.f, trees, lambda x: values[x.value], lambda axis: ""), strict=True
        ):
            self.f.do(f"{register} = {value}")

    def across(self, statement: Statement, registers: Sequence[str]) -> Sequence[str]:
        """Joins what the slices of a row have folded; all of them know the result then."""
        slices, columns, f = self.shape.slices, self.shape.columns, self.f
        if slices == 1:
            return registers
        kinds = [register_type(statement.tree.dtype), "i64"][: len(registers)]
        rooms = self.rooms_for(kinds)
        for room, register in zip(rooms, registers, strict=True):
            f.do(f"{room}[ITEM] = {register}")
        f.do("BARRIER")
        with f.block(f"for (int span = {slices // 2}; span > 0; span /= 2)"):
            with f.block("if (slice < span)"):
                other = [
                    f.let(kind, f"{room}[ITEM + span * {columns}]") for kind, room in zip(kinds, rooms, strict=True)
                ]
                self.fold(statement, registers, other, in_order=False)
                for room, register in zip(rooms, registers, strict=True):
                    f.do(f"{room}[ITEM] = {register}")
            f.do("BARRIER")
        for room, register in zip(rooms, registers, strict=True):
            f.do(f"{register} = {room}[{f'ITEM % {columns}' if columns > 1 else '0'}]")
        return registers

    def rooms_for(self, kinds: Sequence[str]) -> list[str]:
        """Local memory with an element for each item; folds take turns with it, since a group has little."""
        keys = [(n, _local_type(kind)) for n, kind in enumerate(kinds)]
        if self.rooms.keys() & set(keys):
            self.f.do("BARRIER")  # all have read what the fold before has left there
        for key in keys:
            if key not in self.rooms:
                self.rooms[key] = self.f.fresh()
                self.f.do(f"LOCAL {key[1]} {self.rooms[key]}[{self.shape.items}]")
        return [self.rooms[key] for key in keys]


def argument_bytes(kernel: Kernel) -> int:
    """The bytes of a kernel's arguments, at most."""
    pairs = len(kernel.buffers) + sum(x.kept for x in kernel.statements)
    words = 2 + len(kernel.extents)
    words += sum(1 + sum(c not in (0, 1) for c in x.coefs) + len(x.computed) for x in kernel.accesses())
    return PAIR * pairs + (8 if _is_wide(kernel) else 4) * words + FAULT


def _local_type(kind: str) -> str:
    return "u8" if kind == "bool" else kind


def _from_memory(place: str, dtype: DType) -> str:
    return f"{place} != 0" if dtype.category == 0 else place


def _is_wide(kernel: Kernel) -> bool:
    """Whether places are not told by 32 bits."""
    return _reach(kernel) + _BEYOND >= 1 << 31


def _reach(kernel: Kernel) -> int:
    """The largest number that places are computed with, but for what is computed from elements."""
    rows, steps = math.prod(kernel.extents[: kernel.n_outer]), math.prod(kernel.extents[kernel.n_outer :])
    most = [rows * steps if any(x.kept for x in kernel.statements) else max(rows, steps)]
    for access in kernel.accesses():
        if access.computed:
            return 1 << 31
        reach = access.offset + sum(abs(c) * (n - 1) for c, n in zip(access.coefs, kernel.extents, strict=True))
        most.append(reach)
    return max(most)


__all__ = [
    "ATOMIC", "FAULT", "PAIR", "WIDE_ATOMIC", "KernelPrinter", "Printed", "Shape", "argument_bytes", "print_kernel", "shape_of",
    "walks_across",
]  # fmt: skip
