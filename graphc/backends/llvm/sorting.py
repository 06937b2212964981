"""Rows put in order: keys with their places as whole numbers, sorted by digits or merged, then written out.

An element becomes an unsigned number that sorts as it does (the greatest for NaN, the same for both zeros, its complement
where the order falls), with its place in the row as lower bits: no two are equal, and any way to sort them is stable.
Short rows are merged, in runs of 1, 2, 4, ...; long ones are sorted by eight bits of the key at a time. Where only the first
few are wanted of a long row, those are sorted whose highest bits tell that they may be among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from graphc.backends.llvm.chains import part_of, word
from graphc.backends.llvm.emit import Function, Module
from graphc.backends.llvm.gemm_words import plus, times
from graphc.backends.llvm.host import Machine
from graphc.core.tensor_types import FLOAT, INT, DType
from graphc.planning.memory import aligned

#: Rows of at most so many elements for each byte of a key are merged.
SHORT = 12
#: The words of a task; places are slot and byte offset.
WORDS = (
    "x_slot", "x_offset", "values_slot", "values_offset", "order_slot", "order_offset", "scratch_slot", "scratch_offset",
    "extent", "parts", "size", "apart", "scratch_bytes", "count",
)  # fmt: skip
#: Rows of at least so many elements are searched for the first few, if these are at most a quarter, by so many bits.
LONG, HIGHEST = 1024, 11
#: The bits of infinity in each float's width (bfloat16's are the upper half of float32's).
_INFINITY = {"float16": 0x7C00, "bfloat16": 0x7F80, "float32": 0x7F800000, "float64": 0x7FF0000000000000}


def scratch_bytes(dtype: DType, size: int) -> int:
    """Working memory of a part that sorts rows of so many elements: two rows of keys, and one key behind each."""
    return 2 * aligned((size + 1) * _width(dtype) // 8)


def cycles(dtype: DType, size: int) -> float:
    """About how long a row takes."""
    if size <= SHORT * dtype.itemsize:
        return 50 + size * (10.0 + 12 * size.bit_length())
    return dtype.itemsize * (400.0 + 6 * size) + 10 * size


def _width(dtype: DType) -> int:
    """The bits of key and place."""
    return 64 if dtype.itemsize <= 4 else 128


def module(dtype: DType, descending: bool, machine: Machine) -> str:
    """The module of the task `sort`, whose range is one of rows."""
    made = Module(machine)
    return _Sorter(made, dtype, descending).text()


class _Sorter:
    """Writes the task."""

    def __init__(self, made: Module, dtype: DType, descending: bool):
        self.module, self.dtype, self.descending = made, dtype, descending
        self.bits, self.width = 8 * dtype.itemsize, _width(dtype)
        self.key, self.both = f"i{self.bits}", f"i{self.width}"
        self.shift = self.width // 2
        self.f: Function = made.function(
            "sort", [("ptr", "table"), ("ptr", "args"), ("i64", "begin"), ("i64", "end")], "i64"
        )

    def text(self) -> str:
        """The whole module."""
        f = self.f
        args = dict(zip(WORDS, (word(f, "%args", n) for n in range(len(WORDS))), strict=True))
        x, values, order, scratch = (self.base(args, name) for name in ("x", "values", "order", "scratch"))
        size, apart = args["size"], args["apart"]
        part = part_of(f, args["extent"], args["parts"])
        first = f.let(f"getelementptr i8, ptr {scratch}, i64 {times(f, part, args['scratch_bytes'])}")
        half = f.let(f"lshr i64 {args['scratch_bytes']}, 1")
        second = f.let(f"getelementptr i8, ptr {first}, i64 {half}")
        counts = f.place(f"[{256 * (self.bits // 8)} x i64]")
        with f.loop("%begin", "%end", 1) as row:
            outer, inner = (f.let(f"{op} i64 {row.index}, {apart}") for op in ("udiv", "urem"))
            start = plus(f, times(f, times(f, outer, size), apart), inner)
            with f.loop("0", size, 1) as turn:
                at = plus(f, start, times(f, turn.index, apart))
                self.put(first, turn.index, self.joined(self.element(x, at), turn.index))
            chosen, other, many = self.chosen(first, second, size, args["count"])
            done = self.sorted(chosen, other, many, counts)
            with f.loop("0", args["count"], 1) as turn:
                place = f.let(f"trunc {self.both} {self.get(done, turn.index)} to {self.place_type}")
                place = place if self.place_type == "i64" else f.let(f"zext {self.place_type} {place} to i64")
                at = plus(f, start, times(f, turn.index, apart))
                value = self.element(x, plus(f, start, times(f, place, apart)))
                f.do(f"store {self.key} {value}, ptr {self.at(values, self.key, at)}, align {self.dtype.itemsize}")
                f.do(f"store i64 {place}, ptr {self.at(order, 'i64', at)}, align 8")
        f.do("ret i64 0")
        return self.module.text()

    # --- memory ---------------------------------------------------------------------------------------------------

    @property
    def place_type(self) -> str:
        return f"i{self.shift}"

    def base(self, args: dict[str, str], name: str) -> str:
        base = self.f.let(f"load ptr, ptr {self.at('%table', 'ptr', args[f'{name}_slot'])}, align 8")
        return self.f.let(f"getelementptr i8, ptr {base}, i64 {args[f'{name}_offset']}")

    def at(self, base: str, kind: str, n: str) -> str:
        return self.f.let(f"getelementptr {kind}, ptr {base}, i64 {n}")

    def element(self, x: str, at: str) -> str:
        return self.f.let(f"load {self.key}, ptr {self.at(x, self.key, at)}, align {self.dtype.itemsize}")

    def get(self, row: str, n: str) -> str:
        return self.f.let(f"load {self.both}, ptr {self.at(row, self.both, n)}, align 8")

    def put(self, row: str, n: str, value: str) -> None:
        self.f.do(f"store {self.both} {value}, ptr {self.at(row, self.both, n)}, align 8")

    # --- keys -----------------------------------------------------------------------------------------------------

    def joined(self, element: str, place: str) -> str:
        """Key and place as one number."""
        f = self.f
        high = f.let(f"zext {self.key} {self.sortable(element)} to {self.both}")
        high = f.let(f"shl {self.both} {high}, {self.shift}")
        low = place if self.both == "i64" else f.let(f"zext i64 {place} to {self.both}")
        return f.let(f"or {self.both} {high}, {low}")

    def sortable(self, x: str) -> str:
        """The unsigned number that sorts as an element does."""
        f, kind, top = self.f, self.key, 1 << self.bits - 1
        if self.dtype.category == FLOAT:
            size = f.let(f"and {kind} {x}, {top - 1}")
            x = f.let(f"select i1 {f.let(f'icmp eq {kind} {size}, 0')}, {kind} 0, {kind} {x}")
            falls = f.let(f"xor {kind} {x}, -1")
            rises = f.let(f"xor {kind} {x}, {-top}")
            key = f.let(f"select i1 {f.let(f'icmp slt {kind} {x}, 0')}, {kind} {falls}, {kind} {rises}")
            lost = f.let(f"icmp ugt {kind} {size}, {_INFINITY[self.dtype.name]}")
            x = f.let(f"select i1 {lost}, {kind} -1, {kind} {key}")
        elif self.dtype.category == INT and self.dtype.np.kind == "i":
            x = f.let(f"xor {kind} {x}, {-top}")
        return f.let(f"xor {kind} {x}, -1") if self.descending else x

    # --- the first few --------------------------------------------------------------------------------------------

    def chosen(self, first: str, second: str, size: str, count: str) -> tuple[str, str, str]:
        """Where the elements are that must be sorted for the first `count`, the other row, and how many they are."""
        f = self.f
        few, after, before = f.label("few"), f.label("all"), f.block
        is_long = f.let(f"icmp sge i64 {size}, {LONG}")
        is_few = f.let(f"icmp sle i64 {count}, {f.let(f'lshr i64 {size}, 2')}")
        f.branch_if(f.let(f"and i1 {is_long}, {is_few}"), few, after)
        f.begin(few)
        bits = min(self.bits, HIGHEST)
        counts, shift = f.place(f"[{1 << bits} x i64]"), self.shift + self.bits - bits
        with f.loop("0", str(1 << bits), 1) as turn:
            f.do(f"store i64 0, ptr {self.at(counts, 'i64', turn.index)}, align 8")
        with f.loop("0", size, 1) as turn:
            here = self.at(counts, "i64", self.highest(self.get(first, turn.index), shift))
            n = f.let(f"load i64, ptr {here}, align 8")
            f.do(f"store i64 {plus(f, n, 1)}, ptr {here}, align 8")
        with f.loop("0", str(1 << bits), 1, [("i64", "0"), ("i64", "0")]) as turn:  # the bits that must still be in
            n = f.let(f"load i64, ptr {self.at(counts, 'i64', turn.index)}, align 8")
            total = plus(f, turn.carried[0], n)
            is_less = f.let(f"zext i1 {f.let(f'icmp slt i64 {total}, {count}')} to i64")
            turn.next = [total, plus(f, turn.carried[1], is_less)]
        last = turn.results[1]
        with f.loop("0", size, 1, [("i64", "0")]) as kept:
            value = self.get(first, kept.index)
            self.put(second, kept.carried[0], value)
            is_in = f.let(f"icmp ule i64 {self.highest(value, shift)}, {last}")
            kept.next = [plus(f, kept.carried[0], f.let(f"zext i1 {is_in} to i64"))]
        end = f.block
        f.branch(after)
        f.begin(after)
        return (
            f.phi("ptr", (first, before), (second, end)).name,
            f.phi("ptr", (second, before), (first, end)).name,
            f.phi("i64", (size, before), (kept.results[0], end)).name,
        )

    def highest(self, value: str, shift: int) -> str:
        """The highest bits of a value's key."""
        high = self.f.let(f"lshr {self.both} {value}, {shift}")
        return high if self.both == "i64" else self.f.let(f"trunc {self.both} {high} to i64")

    # --- the two ways ---------------------------------------------------------------------------------------------

    def sorted(self, first: str, second: str, size: str, counts: str) -> str:
        """Puts a row in order; which of the two rows it is in then."""
        f = self.f
        short, long, done = f.label("short"), f.label("long"), f.label("done")
        f.branch_if(f.let(f"icmp sle i64 {size}, {SHORT * self.dtype.itemsize}"), short, long)
        f.begin(short)
        merged = self.merged(first, second, size)
        short_end = f.block
        f.branch(done)
        f.begin(long)
        self.count_all(first, size, counts)
        source, target = first, second
        for digit in range(self.bits // 8):
            source, target = self.by_digit(source, target, size, counts, digit)
        long_end = f.block
        f.branch(done)
        f.begin(done)
        return f.phi("ptr", (merged, short_end), (source, long_end)).name

    @contextmanager
    def while_less(self, start: str, end: str, carry: list[tuple[str, str]]) -> Iterator[tuple[list[str], list[str]]]:
        """A loop while a number that doubles is less than `end`; gives it, what is carried, and a list for the next values."""
        f = self.f
        before, head, body, after = f.block, f.label("head"), f.label("body"), f.label("after")
        f.branch(head)
        f.begin(head)
        phis = [f.phi(kind, (value, before)) for kind, value in [("i64", start), *carry]]
        f.branch_if(f.let(f"icmp slt i64 {phis[0].name}, {end}"), body, after)
        f.begin(body)
        following: list[str] = []
        yield [phi.name for phi in phis], following
        twice = f.let(f"shl i64 {phis[0].name}, 1")
        for phi, value in zip(phis, [twice, *following], strict=True):
            phi.add(value, f.block)
        f.branch(head)
        f.begin(after)

    def merged(self, first: str, second: str, size: str) -> str:
        """Merges neighbouring runs until there is one."""
        f = self.f
        with self.while_less("1", size, [("ptr", first), ("ptr", second)]) as ((width, source, target), following):
            twice = f.let(f"shl i64 {width}, 1")
            with f.loop("0", size, twice) as pair:
                middle, end = (self.least(plus(f, pair.index, n), size) for n in (width, twice))
                with f.loop(pair.index, end, 1, [("i64", pair.index), ("i64", middle)]) as turn:
                    i, j = turn.carried
                    a, b = self.get(source, i), self.get(source, j)
                    left = f.let(f"icmp slt i64 {i}, {middle}")
                    ahead = f.let(f"and i1 {left}, {f.let(f'icmp ult {self.both} {a}, {b}')}")
                    takes = f.let(f"or i1 {ahead}, {f.let(f'icmp sge i64 {j}, {end}')}")
                    self.put(target, turn.index, f.let(f"select i1 {takes}, {self.both} {a}, {self.both} {b}"))
                    step = f.let(f"zext i1 {takes} to i64")
                    other = f.let(f"xor i64 {step}, 1")
                    turn.next = [plus(f, i, step), plus(f, j, other)]
            following += [target, source]
        return source

    def least(self, x: str, y: str) -> str:
        return self.f.call("llvm.smin.i64", "i64", ("i64", x), ("i64", y))

    def count_all(self, row: str, size: str, counts: str) -> None:
        """How often each value of each eight bits of the keys occurs."""
        f, digits = self.f, range(self.bits // 8)
        with f.loop("0", str(256 * len(digits)), 1) as turn:
            f.do(f"store i64 0, ptr {self.at(counts, 'i64', turn.index)}, align 8")
        with f.loop("0", size, 1) as turn:
            value = self.get(row, turn.index)
            for digit in digits:
                self.count(counts, value, digit)

    def by_digit(self, source: str, target: str, size: str, counts: str, digit: int) -> tuple[str, str]:
        """Puts a row in the order of eight bits, unless all have the same; where it is then, and the other row."""
        f = self.f
        sort, after = f.label("digit"), f.label("sorted")
        same = f.let(f"load i64, ptr {self.bucket(counts, self.get(source, '0'), digit)}, align 8")
        before = f.block
        f.branch_if(f.let(f"icmp eq i64 {same}, {size}"), after, sort)
        f.begin(sort)
        with f.loop("0", "256", 1, [("i64", "0")]) as turn:
            here = self.at(counts, "i64", plus(f, turn.index, 256 * digit))
            n = f.let(f"load i64, ptr {here}, align 8")
            f.do(f"store i64 {turn.carried[0]}, ptr {here}, align 8")
            turn.next = [plus(f, turn.carried[0], n)]
        with f.loop("0", size, 1) as turn:
            value = self.get(source, turn.index)
            self.put(target, self.count(counts, value, digit), value)
        end = f.block
        f.branch(after)
        f.begin(after)
        return (
            f.phi("ptr", (source, before), (target, end)).name,
            f.phi("ptr", (target, before), (source, end)).name,
        )

    def bucket(self, counts: str, value: str, digit: int) -> str:
        """Where the count of a value's eight bits is."""
        key = self.f.let(f"lshr {self.both} {value}, {self.shift + 8 * digit}")
        low = self.f.let(f"zext i8 {self.f.let(f'trunc {self.both} {key} to i8')} to i64")
        return self.at(counts, "i64", plus(self.f, low, 256 * digit))

    def count(self, counts: str, value: str, digit: int) -> str:
        """Adds one to the count of a value's eight bits; what it was."""
        here = self.bucket(counts, value, digit)
        n = self.f.let(f"load i64, ptr {here}, align 8")
        self.f.do(f"store i64 {plus(self.f, n, '1')}, ptr {here}, align 8")
        return n
