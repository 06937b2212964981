"""Loads and stores of a kernel at one place of its loops, for all lanes at once."""

from __future__ import annotations

from typing import Protocol

from graphc.backends.llvm.emit import Function
from graphc.backends.llvm.narrowing import conjuncts
from graphc.backends.llvm.registers import memory_type, register_type, to_memory, to_register
from graphc.backends.llvm.scalars import print_trees
from graphc.core import scalar as s
from graphc.core.scalar import Scalar
from graphc.core.tensor_types import DType, bool_
from graphc.ir.kernel import Access, Kernel, Made

#: A leaf that stands for the mask of the lanes that take part. Numbers of other leaves of our own begin at -1.
INSIDE = s.leaf(-(1 << 20), bool_)
#: Elements so far apart are read with those between them.
WIDEST_STEP = 4


class Loops(Protocol):
    """What loads and stores ask of the loops around them."""

    f: Function
    kernel: Kernel
    axis: int | None
    mask: str | None
    before: str
    buffers: list[str]
    counters: dict[int, str]
    offsets: dict[int, str]
    coefs: dict[tuple[int, int], str]
    multipliers: dict[tuple[int, int], str]
    numbers: dict[int, int]
    made: dict[int, str]

    @property
    def row_lanes(self) -> int:
        """Lanes of row-level values."""

    def splat(self, value: str, kind: str, lanes: int | None = None) -> str:
        """A scalar in every lane."""

    def ramp(self, kind: str) -> str:
        """0, 1, 2, ... in the lanes."""

    def recall(self, n: int) -> str:
        """A value kept from an earlier pass."""


class Reader:
    """Loads and stores at one place of the loops, `lanes` elements at once."""

    def __init__(self, printer: Loops, lanes: int):
        self.p, self.f, self.lanes = printer, printer.f, lanes
        self.axis = printer.axis if lanes > 1 else None
        self.mask = printer.mask if lanes > 1 else None

    def index(self, axis: int) -> str:
        """A loop's counter in every lane."""
        counter = self.p.splat(self.p.counters[axis], "i64", self.lanes)
        if axis != self.axis:
            return counter
        return self.f.let(f"add nsw <{self.lanes} x i64> {counter}, {self.p.ramp('i64').split('> ', 1)[1]}")

    def leaf(self, x: Scalar) -> str:
        """The value of a source, or the mask for `INSIDE`."""
        if x.value == INSIDE.value:
            assert self.p.mask is not None
            return self.p.mask
        source = self.p.kernel.sources[x.value]
        if isinstance(source, Access):
            return self.load(source, x.dtype)
        n = source.statement
        statement = self.p.kernel.statements[n]
        if statement.running:
            return self.p.before
        if statement.inner and statement.combine is None:
            return self.p.recall(n)
        value = self.p.made[n]
        if self.lanes > 1 and self.p.row_lanes == 1:
            value = self.p.splat(value, register_type(x.dtype, 1), self.lanes)
        return value

    def varies(self, tree: Scalar) -> bool:
        """Whether a tree differs from lane to lane."""
        return any(
            (x.op == "index" and x.value == self.axis) or (x.op == "leaf" and self._source_varies(x.value))
            for x in s.postorder(tree)
        )

    def _source_varies(self, n: int) -> bool:
        source = self.p.kernel.sources[n]
        if isinstance(source, Made):
            return self.p.row_lanes > 1 or self.p.kernel.statements[source.statement].combine is None
        assert self.axis is not None
        trees = [tree for tree, _ in source.computed] + ([] if source.guard is None else [source.guard])
        return bool(source.coefs[self.axis]) or any(map(self.varies, trees))

    def place(self, access: Access) -> tuple[str, str | None]:
        """The offset common to all lanes, and what each lane adds (None: consecutive lanes, consecutive elements)."""
        f, n = self.f, self.p.numbers[id(access)]
        common, apart = self.p.offsets[n], None
        step = access.coefs[self.axis] if self.axis is not None else 0
        for m, (tree, _) in enumerate(access.computed):
            uniform = self.lanes == 1 or not self.varies(tree)
            reader = Reader(self.p, 1) if uniform else self
            lanes = 1 if uniform else self.lanes
            (value,) = print_trees(f, [tree], lanes, reader.leaf, reader.index)
            kind = "i64" if lanes == 1 else f"<{lanes} x i64>"
            if (n, m) in self.p.multipliers:
                value = f.let(f"mul {kind} {value}, {self.p.splat(self.p.multipliers[n, m], 'i64', lanes)}")
            if uniform:
                common = value if common == "0" else f.let(f"add i64 {common}, {value}")
            else:
                apart = value if apart is None else f.let(f"add {kind} {apart}, {value}")
        if self.lanes == 1:
            return common, None
        kind = f"<{self.lanes} x i64>"
        if step == 1 and apart is None:
            return common, None
        if step:
            walk = self.p.ramp("i64").split("> ", 1)[1]
            if step != 1:
                walk = f.let(f"mul {kind} {walk}, {self.p.splat(self.p.coefs[n, self.axis or 0], 'i64', self.lanes)}")
            apart = walk if apart is None else f.let(f"add {kind} {apart}, {walk}")
        return common, "zeroinitializer" if apart is None else apart

    def condition(self, access: Access) -> str | None:
        """The lanes that may be read."""
        if access.guard is None:
            return self.mask
        guard = self.guard(access.guard)
        return guard if self.mask is None else self.f.let(f"and <{self.lanes} x i1> {guard}, {self.mask}")

    def guard(self, tree: Scalar) -> str:
        """The lanes for which a condition holds; what all lanes share is tested once for all."""
        parts = conjuncts(tree)
        apart = [x for x in parts if self.lanes > 1 and self.varies(x)]
        shared = [x for x in parts if x not in apart]
        kind = f"<{self.lanes} x i1>"
        if self.lanes == 1 or not shared:
            return print_trees(self.f, [tree], self.lanes, self.leaf, self.index)[0]
        single = Reader(self.p, 1)
        (same,) = print_trees(self.f, [_all_of(shared)], 1, single.leaf, single.index)
        if not apart:
            return self.p.splat(same, "i1", self.lanes)
        (some,) = print_trees(self.f, [_all_of(apart)], self.lanes, self.leaf, self.index)
        return self.f.let(f"select i1 {same}, {kind} {some}, {kind} zeroinitializer")

    def load(self, access: Access, dtype: DType) -> str:
        """The element(s) of a load, in registers; 0 where nothing is read."""
        f, lanes, kind = self.f, self.lanes, memory_type(dtype, self.lanes)
        condition = self.condition(access)
        rearranged = self.rearranged(access, dtype, condition)
        if rearranged is not None:
            return to_register(f, rearranged, dtype, lanes)
        common, apart = self.place(access)
        one, align = memory_type(dtype, 1), dtype.itemsize
        base = f.let(f"getelementptr {one}, ptr {self.p.buffers[access.buffer]}, i64 {common}")
        if lanes == 1:
            if condition is not None:
                base = f.let(f"select i1 {condition}, ptr {base}, ptr %args")
            value = f.let(f"load {one}, ptr {base}, align {align}")
            if condition is not None:
                value = f.let(f"select i1 {condition}, {one} {value}, {one} zeroinitializer")
        elif apart is None and condition is None:
            value = f.let(f"load {kind}, ptr {base}, align {align}")
        elif apart == "zeroinitializer" and access.guard is None:
            value = self.p.splat(f.let(f"load {one}, ptr {base}, align {align}"), one, lanes)
        elif apart is None:
            value = masked(f, "load", dtype, lanes, base, condition)
        else:
            places = f.let(f"getelementptr {one}, ptr {base}, <{lanes} x i64> {apart}")
            value = masked(f, "gather", dtype, lanes, places, condition)
        return to_register(f, value, dtype, lanes)

    # --- loads of neighbours in another order ---------------------------------------------------------------------

    def rearranged(self, access: Access, dtype: DType, condition: str | None) -> str | None:
        """A load of elements a few apart, or of each element several times: neighbours are read and shuffled into place."""
        if self.axis is None:
            return None
        step = access.coefs[self.axis]
        varying = [m for m, (tree, _) in enumerate(access.computed) if self.varies(tree)]
        if 2 <= step <= WIDEST_STEP and not varying:
            return self.apart(access, dtype, step, condition)
        if step == 0 and len(varying) == 1 and access.computed[varying[0]][1] == 1:
            times = self.quotient(access.computed[varying[0]][0])
            if times is not None:
                return self.repeated(access, dtype, varying[0], times, condition)
        return None

    def apart(self, access: Access, dtype: DType, step: int, condition: str | None) -> str:
        """Each `step`-th of lanes * step neighbours; those behind the last one are not read."""
        f, lanes = self.f, self.lanes
        wide = lanes * step
        kind = memory_type(dtype, wide)
        inside = ", ".join(f"i1 {str(n <= (lanes - 1) * step).lower()}" for n in range(wide))
        mask = f"<{inside}>"
        if condition is not None:
            spread = self.shuffled(f"<{lanes} x i1>", condition, [n // step for n in range(wide)])
            mask = f.let(f"and <{wide} x i1> {spread}, {mask}")
        value = masked(f, "load", dtype, wide, self.address(access, dtype, []), mask)
        return self.shuffled(kind, value, [n * step for n in range(lanes)])

    def repeated(self, access: Access, dtype: DType, varying: int, times: int, condition: str | None) -> str:
        """Each of lanes / times neighbours `times` times."""
        f, lanes = self.f, self.lanes
        few = lanes // times
        kind = memory_type(dtype, few)
        assert self.axis is not None
        start = f.let(f"lshr i64 {self.p.counters[self.axis]}, {times.bit_length() - 1}")
        base = self.address(access, dtype, [(varying, start)])
        if condition is None:
            value = f.let(f"load {kind}, ptr {base}, align {dtype.itemsize}")
        else:
            parts = [
                self.shuffled(f"<{lanes} x i1>", condition, [n * times + i for n in range(few)]) for i in range(times)
            ]
            any_of = parts[0]
            for part in parts[1:]:
                any_of = f.let(f"or <{few} x i1> {any_of}, {part}")
            value = masked(f, "load", dtype, few, base, any_of)
        value, all_lanes = self.shuffled(kind, value, [n // times for n in range(lanes)]), memory_type(dtype, lanes)
        if condition is None:
            return value
        return f.let(f"select <{lanes} x i1> {condition}, {all_lanes} {value}, {all_lanes} zeroinitializer")

    def quotient(self, tree: Scalar) -> int | None:
        """k of the tree `counter of the lanes' loop / k`, where whole vectors begin at multiples of k."""
        if tree.op != "quot" or tree.args[1].op != "const":
            return None
        (x, k), times = tree.args, tree.args[1].value
        fits = x.op == "index" and x.value == self.axis and times > 1 and times & (times - 1) == 0
        return times if fits and k.dtype is x.dtype and self.lanes % times == 0 and self.lanes > times else None

    def shuffled(self, kind: str, value: str, places: list[int]) -> str:
        """Elements of a vector, by their places."""
        order = ", ".join(f"i32 {n}" for n in places)
        return self.f.let(f"shufflevector {kind} {value}, {kind} poison, <{len(places)} x i32> <{order}>")

    def address(self, access: Access, dtype: DType, known: list[tuple[int, str]]) -> str:
        """Where the first lane's element lies, for terms that are the same in all lanes, and others that are `known`."""
        f, n = self.f, self.p.numbers[id(access)]
        given, common, single = dict(known), self.p.offsets[n], Reader(self.p, 1)
        for m, (tree, _) in enumerate(access.computed):
            value = given.get(m)
            if value is None:
                (value,) = print_trees(f, [tree], 1, single.leaf, single.index)
            if (n, m) in self.p.multipliers:
                value = f.let(f"mul i64 {value}, {self.p.multipliers[n, m]}")
            common = value if common == "0" else f.let(f"add i64 {common}, {value}")
        return f.let(f"getelementptr {memory_type(dtype, 1)}, ptr {self.p.buffers[access.buffer]}, i64 {common}")

    # --- stores ---------------------------------------------------------------------------------------------------

    def store(self, access: Access, value: str, dtype: DType, adds: bool = False) -> None:
        """Writes the element(s) of a statement, given in registers; `adds`: the sums with what is there."""
        f, lanes, kind = self.f, self.lanes, memory_type(dtype, self.lanes)
        common, apart = self.place(access)
        one, align = memory_type(dtype, 1), dtype.itemsize
        where = f.let(f"getelementptr {one}, ptr {self.p.buffers[access.buffer]}, i64 {common}")
        spread = lanes > 1 and apart is not None and apart != "zeroinitializer"
        if spread:
            where = f.let(f"getelementptr {one}, ptr {where}, <{lanes} x i64> {apart}")
        if adds:
            value = self.added(value, self.stored(where, dtype, spread), dtype)
        value = to_memory(f, value, dtype, lanes)
        if lanes == 1:
            f.do(f"store {one} {value}, ptr {where}, align {align}")
        elif spread:
            masked(f, "scatter", dtype, lanes, where, self.mask, value)
        elif apart is not None:  # all lanes hold the same
            first = f.let(f"extractelement {kind} {value}, i64 0")
            f.do(f"store {one} {first}, ptr {where}, align {align}")
        elif self.mask is None:
            f.do(f"store {kind} {value}, ptr {where}, align {align}")
        else:
            masked(f, "store", dtype, lanes, where, self.mask, value)

    def stored(self, where: str, dtype: DType, spread: bool) -> str:
        """What is in memory now, in registers."""
        f, lanes = self.f, self.lanes
        if lanes > 1 and (spread or self.mask is not None):
            value = masked(f, "gather" if spread else "load", dtype, lanes, where, self.mask)
        else:
            value = f.let(f"load {memory_type(dtype, lanes)}, ptr {where}, align {dtype.itemsize}")
        return to_register(f, value, dtype, lanes)

    def added(self, value: str, old: str, dtype: DType) -> str:
        """The sum of two registers."""
        tree = s.leaf(0, dtype) + s.leaf(1, dtype)
        return print_trees(self.f, [tree], self.lanes, lambda leaf: (old, value)[leaf.value], lambda axis: "")[0]


def _all_of(trees: list[Scalar]) -> Scalar:
    found = trees[0]
    for tree in trees[1:]:
        found = found & tree
    return found


_SUFFIXES = {"i8": "i8", "i16": "i16", "i32": "i32", "i64": "i64", "float": "f32", "double": "f64"}


def masked(
    f: Function, what: str, dtype: DType, lanes: int, where: str, mask: str | None, value: str | None = None
) -> str:
    """A masked load, store, gather or scatter."""
    kind, one = memory_type(dtype, lanes), memory_type(dtype, 1)
    suffix = f"v{lanes}{_SUFFIXES[one]}"
    mask = mask if mask is not None else "splat (i1 true)"
    apart = what in ("gather", "scatter")
    pointer = f"<{lanes} x ptr>" if apart else "ptr"
    name = f"llvm.masked.{what}.{suffix}.{f'v{lanes}p0' if apart else 'p0'}"
    bits = f"<{lanes} x i1>"
    if value is None:
        f.module.declare(name, kind, [pointer, "i32 immarg", bits, kind])
        return f.let(
            f"call {kind} @{name}({pointer} {where}, i32 {dtype.itemsize}, {bits} {mask}, {kind} zeroinitializer)"
        )
    f.module.declare(name, "void", [kind, pointer, "i32 immarg", bits])
    f.do(f"call void @{name}({kind} {value}, {pointer} {where}, i32 {dtype.itemsize}, {bits} {mask})")
    return ""
