"""What the tasks of GEMM have in common: the words they take, and the IR that reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from graphc.backends.llvm.emit import Function
from graphc.backends.llvm.host import Machine

#: What the words of a task mean, in order. Sizes and strides count elements, offsets count bytes; `split` is 0 where
#: `[begin, end)` counts rows of C in steps of `unit`, 1 for columns, 2 for batches; `alpha` and `beta` are the bits of a
#: double (of integer types: the number), `alpha_slot` is -1 where no number is read at run time.
WORDS = (
    *("m", "n", "k", "split", "unit", "extent", "parts"),
    *("alpha", "beta", "alpha_slot", "alpha_offset", "alpha_double"),
    *("batch0", "batch1", "batch2"),
    *(f"{x}_{part}" for x in "abcd" for part in ("slot", "offset", "row", "column", "batch0", "batch1", "batch2")),
    *("scratch_slot", "scratch_offset", "scratch_bytes", "row_block", "depth_block", "group"),
    *("function", "a_order", "a_leading", "b_order", "b_leading", "c_leading"),
)


@dataclass(frozen=True)
class Element:
    """An element type as LLVM knows it, and how many of it a vector holds."""

    llvm: str
    size: int
    lanes: int
    rows: int  # of a register tile
    vectors: int  # of a row of a register tile
    fma: bool

    @property
    def floating(self) -> bool:
        """Whether it is float or double."""
        return self.llvm in ("float", "double")

    @property
    def vector(self) -> str:
        """The vector type."""
        return f"<{self.lanes} x {self.llvm}>"

    @property
    def mask(self) -> str:
        """The type of one bit for each lane."""
        return f"<{self.lanes} x i1>"

    @property
    def bytes(self) -> int:
        """The size of a vector."""
        return self.lanes * self.size

    @property
    def suffix(self) -> str:
        """How overloaded intrinsics spell the vector type."""
        return f"v{self.lanes}{'f' if self.floating else 'i'}{self.size * 8}"


_LLVM_TYPES = {
    **{"float32": ("float", 4), "float64": ("double", 8), "int8": ("i8", 1), "uint8": ("i8", 1)},
    **{"int16": ("i16", 2), "int32": ("i32", 4), "int64": ("i64", 8)},
}


def element(dtype: str, machine: Machine) -> Element:
    """The element type of a dtype's name in the vectors of a machine (at most 16 elements: of bytes, a row has few)."""
    llvm, size = _LLVM_TYPES[dtype]
    many = machine.vector_bytes == 64 or not machine.triple.startswith("x86_64")  # 32 registers instead of 16
    rows, vectors = (8, 3) if many else (4, 3 if machine.fma else 2)
    return Element(llvm, size, min(machine.lanes(size), 16), rows, vectors, machine.fma)


def at(f: Function, base: str, offset: str | int) -> str:
    """The address `offset` bytes behind `base`."""
    return f.let(f"getelementptr i8, ptr {base}, i64 {offset}")


def times(f: Function, x: str, y: str | int) -> str:
    """The product of two i64."""
    return f.let(f"mul i64 {x}, {y}")


def plus(f: Function, x: str, y: str | int) -> str:
    """The sum of two i64."""
    return f.let(f"add i64 {x}, {y}")


def minus(f: Function, x: str, y: str | int) -> str:
    """The difference of two i64."""
    return f.let(f"sub i64 {x}, {y}")


def least(f: Function, x: str, y: str | int) -> str:
    """The smaller of two i64."""
    return f.call("llvm.smin.i64", "i64", ("i64", x), ("i64", str(y)))


@contextmanager
def when(f: Function, condition: str) -> Iterator[None]:
    """What is written inside runs where the i1 `condition` holds."""
    then, after = f.label("then"), f.label("after")
    f.branch_if(condition, then, after)
    f.begin(then)
    yield
    f.branch(after)
    f.begin(after)


def word(f: Function, name: str) -> str:
    """The word of that name of the task's arguments."""
    return f.let(f"load i64, ptr {at(f, '%args', 8 * WORDS.index(name))}")


def place(f: Function, slot: str, offset: str) -> str:
    """The address `offset` bytes behind what a slot of the table points to."""
    base = f.let(f"load ptr, ptr {f.let(f'getelementptr ptr, ptr %table, i64 {slot}')}")
    return at(f, base, offset)


def part_of(f: Function, size: str, direction: int) -> tuple[str, str]:
    """First and end of the rows (direction 0), columns (1) or batches (2) that `[%begin, %end)` means."""
    split = f.let(f"icmp eq i64 {word(f, 'split')}, {direction}")
    unit = word(f, "unit")
    end = least(f, times(f, "%end", unit), size)
    first = f.let(f"select i1 {split}, i64 {times(f, '%begin', unit)}, i64 0")
    return first, f.let(f"select i1 {split}, i64 {end}, i64 {size}")


def scale(f: Function, kind: Element, name: str) -> str:
    """The constant `alpha` or `beta`."""
    bits = word(f, name)
    if not kind.floating:
        return bits if kind.llvm == "i64" else f.let(f"trunc i64 {bits} to {kind.llvm}")
    value = f.let(f"bitcast i64 {bits} to double")
    return value if kind.llvm == "double" else f.let(f"fptrunc double {value} to {kind.llvm}")


def run_time_alpha(f: Function, kind: Element) -> str:
    """The constant alpha times the number in a slot, where one is named (`alpha_double`: that number is a double)."""
    constant, slot, where = scale(f, kind, "alpha"), word(f, "alpha_slot"), f.block
    if not kind.floating:
        return constant
    read, wide, narrow, known, done = (f.label(x) for x in ("read", "wide", "narrow", "known", "done"))
    f.branch_if(f.let(f"icmp slt i64 {slot}, 0"), done, read)
    f.begin(read)
    start = place(f, slot, word(f, "alpha_offset"))
    f.branch_if(f.let(f"icmp ne i64 {word(f, 'alpha_double')}, 0"), wide, narrow)
    f.begin(wide)
    x = f.let(f"load double, ptr {start}")
    x = x if kind.llvm == "double" else f.let(f"fptrunc double {x} to float")
    f.branch(known)
    f.begin(narrow)
    y = f.let(f"load float, ptr {start}")
    y = y if kind.llvm == "float" else f.let(f"fpext float {y} to double")
    f.branch(known)
    f.begin(known)
    number = f.phi(kind.llvm, (x, wide), (y, narrow)).name
    product = f.let(f"fmul {kind.llvm} {constant}, {number}")
    f.branch(done)
    f.begin(done)
    return f.phi(kind.llvm, (constant, where), (product, known)).name


def batch_starts(f: Function, batch: str, places: Sequence[tuple[str, str]], size: int) -> list[str]:
    """Where the operands ("a", address) of the batch numbered `batch` begin."""
    inner, middle = word(f, "batch2"), word(f, "batch1")
    rest, last = f.let(f"udiv i64 {batch}, {inner}"), f.let(f"urem i64 {batch}, {inner}")
    numbers = f.let(f"udiv i64 {rest}, {middle}"), f.let(f"urem i64 {rest}, {middle}"), last
    found = []
    for name, start in places:
        offset = "0"
        for axis, number in enumerate(numbers):
            offset = plus(f, offset, times(f, number, word(f, f"{name}_batch{axis}")))
        found.append(at(f, start, times(f, offset, size)))
    return found
