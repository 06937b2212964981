"""From a program to steps: fused kernels, contractions, and what neither can do.

One walk, operands first. Values that cost little or are read once are written out where they are read; the others are added
to a group (`planning/groups.py`), preferably one that makes or reads the same data. Each group and each other step has a level
above those of all it reads: steps of one level are independent of each other, and the levels are the order of a run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from graphc.core import scalar as s
from graphc.core.op import ArgReduction, Cumulative, Elementwise, Kind, Reduction, Scatter, View
from graphc.core.tensor_types import int64
from graphc.ir.kernel import Access, Kernel, Made, Statement
from graphc.ir.program import CONSTANT, INPUT, Node, Program, Value
from graphc.passes.split_reductions import LONGEST_ROW
from graphc.planning.convolutions import is_native
from graphc.planning.groups import OTHER_LOOPS, Group, Load, NotFusable, Part, finish
from graphc.planning.index_maps import Space, Split
from graphc.planning.steps import (
    CONTROL_OPS,
    Buffered,
    CheckStep,
    ContractionStep,
    ControlStep,
    ConvolutionStep,
    HostStep,
    KernelStep,
    NodeStep,
    OutputCopy,
    ScatterStep,
    SortStep,
    Step,
    Strided,
    copy_step,
)
from graphc.planning.strides import contiguous as contiguous
from graphc.planning.strides import view_of_memory

#: An inlined value may cost this much and still be written out for several readers.
CHEAP = 3
#: No tree is written out beyond this cost; it bounds the size of kernels and with it the time to compile them.
LARGEST = 160
#: A group has at most this many statements.
MOST_STATEMENTS = 48
#: A fold with fewer rows than this and more elements than that is not joined to what makes its operand.
FEW_ROWS, MANY_ELEMENTS = 256, 1 << 15

#: Kinds whose values are made over more steps than they have elements.
FOLDS = Reduction | ArgReduction
#: Ops that give elements of their operand in other places, several times perhaps.
WINDOW_PARTS = Kind("window part")

#: Parts of a concatenation with fewer elements than this are not made by kernels of their own.
SMALLEST_PART = 256

_COSTS = dict.fromkeys(("divide", "sqrt", "rsqrt", "remainder", "fmod", "floor_divide"), 4)
_FREE = ("cast", "copy")
_CHEAP_OPS = (
    "add", "subtract", "multiply", "negate", "absolute", "maximum", "minimum", "where", "equal", "not_equal", "less",
    "less_equal", "greater", "greater_equal", "logical_and", "logical_or", "logical_not", "logical_xor",
)  # fmt: skip


@dataclass(eq=False)
class _Pending:
    """A step that is no group, before its level is final."""

    level: int
    step: Any = field(default=None)


class Fuser:
    """One walk over a program with known sizes."""

    def __init__(self, program: Program):
        self.program = program
        self.homes: dict[Value, Group | _Pending] = {}
        self.groups: list[Group] = []
        self.others: list[_Pending] = []
        self.numbers: dict[Value, Any] = {}
        self.costs: dict[Value, int] = {}
        self.checks: dict[tuple[Value, int], _Pending] = {}
        self.near: dict[Any, list[Group]] = {}
        self.outputs = set(program.outputs)
        #: the concatenations in which kernels store values directly
        self.parts: dict[Value, list[Part]] = {}
        #: values that only a scatter reads, which goes on in their memory
        self.continued: dict[Value, Value] = {}
        #: what stores the first contents of values that scatters go on with
        self.begun: list[KernelStep] = []
        self.uses = self._count_uses()

    def _count_uses(self) -> dict[Value, list[Node]]:
        """Who reads each value in the end, views looked through."""
        uses: dict[Value, list[Node]] = {}
        for node in reversed(self.program.nodes):
            through = isinstance(node.op.kind, View) and node.outputs[0] not in self.outputs
            readers = uses.get(node.outputs[0], []) if through else [node]
            for value in dict.fromkeys(node.inputs):
                known = uses.setdefault(value, [])
                if len(known) < 16:
                    known.extend(readers)
        return uses

    @cached_property
    def sort_readers(self) -> dict[Value, list[Node]]:
        """Who reads the results of sorts."""
        found: dict[Value, list[Node]] = {}
        for node in self.program.nodes:
            for value in node.inputs:
                if value.node.op.kind == Kind("sort"):
                    found.setdefault(value, []).append(node)
        return found

    # --- what groups ask (groups.Memory) --------------------------------------------------------------------------

    def number(self, value: Value) -> Any:
        """The number of a constant that holds one element."""
        node = value.node
        if node.op is not CONSTANT:
            return None
        found = self.numbers.get(value)
        if found is None and node.attrs["data"].array.size == 1:
            found = self.numbers[value] = node.attrs["data"].array.reshape(()).item()
        return found

    def level(self, value: Value) -> int | None:
        """The level of the step that makes the value; 0 for leaves; None if it is not in memory."""
        if value.node.op is INPUT or value.node.op is CONSTANT:
            return 0
        home = self.homes.get(value)
        return None if home is None else home.level

    def check(self, index: Value, size: int, node: Node) -> int:
        """The level at which `index` is tested against `size`, by a step that is made if there is none."""
        known = self.checks.get((index, size))
        if known is None:
            base = self.require(index)
            known = _Pending((self.level(base.value) or 0) + 1)
            self.checks[(index, size)] = known
            kernel = _check_kernel(base, size)
            known.step = lambda level: CheckStep(level, kernel, (base.value,), (node,), size)
            self.others.append(known)
        return known.level

    # --- the walk -------------------------------------------------------------------------------------------------

    def run(self) -> list[Step]:
        """The steps, sorted by level."""
        for node in self.program.nodes:
            if node.op is INPUT or node.op is CONSTANT:
                continue
            if not self.is_inlinable(node):
                self.place(node)
            elif self.wants_memory(node):
                self.root(node.outputs[0])
        for value in self.program.outputs:
            if self.level(value) is None:
                self.root(value)
        return self.steps()

    def is_inlinable(self, node: Node) -> bool:
        """Whether an element of the node's output can be written as a tree."""
        return isinstance(node.op.kind, Elementwise | View) or node.op.element is not None

    def cost(self, value: Value) -> int:
        """A measure of the work to write out one element."""
        found = self.costs.get(value)
        if found is not None:
            return found
        node = value.node
        if node.op is INPUT or value in self.homes:
            return 1
        if node.op is CONSTANT or not node.inputs:
            return 0 if node.op is not CONSTANT or self.number(value) is not None else 1
        own = 0 if isinstance(node.op.kind, View) else self.own_cost(node)
        total = own + sum(self.cost(x) for x in node.inputs)
        self.costs[value] = total
        return total

    def own_cost(self, node: Node) -> int:
        """What the op itself adds."""
        name = node.op.name
        return 0 if name in _FREE or node.op.kind == WINDOW_PARTS else 1 if name in _CHEAP_OPS else _COSTS.get(name, 12)

    def wants_memory(self, node: Node) -> bool:
        """Whether an inlinable value is better made once than written out where it is read."""
        value = node.outputs[0]
        if value in self.outputs:
            return True
        if isinstance(node.op.kind, View) or node.op.kind == WINDOW_PARTS:
            return False
        cost = self.cost(value)
        if cost > LARGEST:
            return True
        readers = self.uses.get(value, [])
        if cost <= CHEAP + len(node.inputs):
            return False
        if len(readers) > 1:
            return True
        n = value.type.size
        return any(
            reader.outputs[0].type.size >= 2 * n > 0
            and (isinstance(reader.op.kind, Elementwise) or reader.op.kind == WINDOW_PARTS)
            for reader in readers
        )

    # --- groups ---------------------------------------------------------------------------------------------------

    def root(self, value: Value) -> None:
        """Adds the value to the best group, or to a new one."""
        if value.node.op.kind == Kind("concat") and self.join(value):
            return
        producers, loads = self.neighbours(value)
        n = value.node.inputs[0].type.size if isinstance(value.node.op.kind, FOLDS) else value.type.size
        for group in self.candidates(value, n, producers, loads):
            if not self.refused(value, group):
                self.settle(value, group, loads)
                return
        folds = isinstance(value.node.op.kind, FOLDS)
        shape = value.node.inputs[0].shape if folds else value.shape
        group = Group(self, tuple(map(int, shape)), 1)
        self.groups.append(group)
        group.add(value)
        self.settle(value, group, loads)

    def join(self, value: Value) -> bool:
        """Has the parts of a concatenation stored where they belong in it by the kernels that make them."""
        node = value.node
        if not all(map(self.is_part, node.inputs)):
            return False
        start, axis, level = 0, node.attrs["axis"], 0
        for x in node.inputs:
            if x not in self.homes:
                self.root(x)
            level = max(level, self.homes[x].level)
            self.parts.setdefault(x, []).append(Part(value, axis, start))
            start += int(x.shape[axis])
        self.homes[value] = _Pending(level)
        self.costs[value] = 1
        return True

    def is_part(self, value: Value) -> bool:
        """Whether a kernel makes the value and can store it anywhere."""
        kind = value.node.op.kind
        made = isinstance(kind, Reduction) or self.is_inlinable(value.node)
        known = value not in self.homes or isinstance(self.homes[value], Group)
        return made and known and kind != Kind("concat") and value.type.size >= SMALLEST_PART

    def settle(self, value: Value, group: Group, loads: list[Value]) -> None:
        """Notes where a value is made and who reads what."""
        self.homes[value] = group
        self.costs[value] = 1
        for load in loads:
            near = self.near.setdefault(load, [])
            if group not in near[-4:]:
                near.append(group)

    def neighbours(self, value: Value) -> tuple[list[Group], list[Value]]:
        """The groups that make what the value reads, and everything in memory it reads."""
        groups: dict[Group, None] = {}
        loads: dict[Value, None] = {}
        seen = {value}
        pending = list(value.node.inputs)
        while pending:
            x = pending.pop()
            if x in seen:
                continue
            seen.add(x)
            if self.level(x) is not None:
                home = self.homes.get(x)
                if isinstance(home, Group):
                    groups[home] = None
                if self.number(x) is None:
                    loads[x] = None
            else:
                pending.extend(x.node.inputs)
        return list(groups), list(loads)

    def candidates(self, value: Value, n: Any, producers: list[Group], loads: list[Value]) -> Iterator[Group]:
        """Groups that may take the value, best first: those that make what it reads, then those that read the same."""
        if n == 0:
            return
        found: dict[Group, None] = {}
        for group in sorted(producers, key=lambda g: -g.level):
            found[group] = None
        for load in loads[:8]:
            for group in self.near.get(load, [])[-4:]:
                found[group] = None
        yield from (group for group in list(found)[:8] if not self.unsuited(value, group, n))

    def unsuited(self, value: Value, group: Group, n: Any) -> str:
        """Why a group is not tried for a value over `n` elements, "" if it is."""
        if len(group.drafts) >= MOST_STATEMENTS:
            return f"the kernel has {MOST_STATEMENTS} statements already"
        total = group.size(group.space.order)
        if n != total and not (group.inner and n == group.size(group.outer)):
            return OTHER_LOOPS
        if isinstance(value.node.op.kind, FOLDS) and not self.may_fold(value, group, total):
            return f"a fold into fewer than {FEW_ROWS} rows of {MANY_ELEMENTS:,} elements together runs by itself, in parts"
        if self.keeps_long_row(group, value):
            return f"the kernel passes over rows of more than {LONGEST_ROW:,} elements, which do not stay near the processor"
        return ""

    def refused(self, value: Value, group: Group) -> str:
        """Adds a value to a group; why that cannot be, "" if it is done."""
        try:
            group.add(value)
        except NotFusable as reason:
            return str(reason)
        return ""

    def may_fold(self, value: Value, group: Group, total: int) -> bool:
        """Whether folding in this group leaves enough rows to work on side by side."""
        rows = int(value.type.size)
        return bool(group.inner) or rows >= FEW_ROWS or total < MANY_ELEMENTS

    def keeps_long_row(self, group: Group, value: Value) -> bool:
        """Whether the group passes over rows too long to stay near the processor."""
        return (
            bool(group.inner) and value.type.size != group.size(group.outer) and group.size(group.inner) > LONGEST_ROW
        )

    # --- other steps ----------------------------------------------------------------------------------------------

    def place(self, node: Node) -> None:
        """A node that is not written out element by element."""
        if isinstance(node.op.kind, FOLDS | Cumulative):
            self.root(node.outputs[0])
            return
        if isinstance(node.op.kind, Scatter):
            self.scatter(node, node.inputs[node.op.kind.value])
            return
        dtype = node.outputs[0].dtype
        native = node.op.kind == Kind("contraction") and not s.is_half(dtype)
        kind = _step_kind(node)
        first = node.attrs["n_carry"] + node.attrs["n_const"] if node.op.name == "scan" else len(node.inputs)
        if native:
            operands = [self.matrix(x) for x in node.inputs[:2]]
            operands += [self.addend(x, node.outputs[0]) for x in node.inputs[2:3]]
            operands += [self.require(x) for x in node.inputs[3:]]
        else:
            operands = [
                self.require(x) if kind is HostStep else self.dense(x, n >= first) for n, x in enumerate(node.inputs)
            ]
        pending = _Pending(1 + max((self.level(x.value) or 0 for x in operands), default=0))
        if native:
            a, b, *others = operands
            a = a.transposed() if node.attrs["transpose_a"] else a
            b = b.transposed() if node.attrs["transpose_b"] else b
            pending.step = lambda level: ContractionStep(level, node, a, b, *others)
        else:
            more = (self.sorted_elements(node),) if kind is SortStep else ()
            pending.step = lambda level: kind(level, node, tuple(operands), *more)
        self.others.append(pending)
        for value in node.outputs:
            self.homes[value] = pending

    def sorted_elements(self, node: Node) -> int:
        """How many elements of each sorted row are read: the first few, where all readers are views of those."""
        axis, most = node.attrs["axis"], 0
        size = int(node.inputs[0].shape[axis])
        for value in node.outputs:
            if value in self.outputs:
                return size
            for reader in self.sort_readers.get(value, ()):
                most = max(most, _reach(reader, axis, size))
        return most

    def scatter(self, node: Node, elements: Value) -> None:
        """A group that puts elements in a value, and what begins that value: operand 0, in the same memory."""
        value, base = node.outputs[0], node.inputs[0]
        start = None if self.level(base) is not None else Group(self, tuple(map(int, base.shape)), 1)
        if start is not None:
            start.add(base)
        group = Group(self, tuple(map(int, elements.shape)), 1)
        group.come_after(self.level(base) or 0 if start is None else start.level)
        group.add(value)
        self.groups.append(group)
        alone = self.uses.get(base) == [node] and base not in self.outputs and isinstance(self.homes.get(base), Group)
        if start is not None:  # late: the memory is not taken longer than need be
            kernel, buffers = finish(start, lambda _: False, {base: (Part(value, 0, 0),)})
            self.begun.append(KernelStep(group.level - 1, kernel, buffers, (value,), (base.node,)))
        elif alone and not any(isinstance(x, Load) and x.value is base for x in group.sources):
            self.continued[base] = value
        else:
            group.level = max(group.level, (self.level(base) or 0) + 2)
            self.begun.append(copy_step(base, value, group.level - 1))
        self.settle(value, group, [])

    def require(self, value: Value) -> Strided:
        """The value's elements in memory: where they are, or put there now."""
        found = self.strided(value)
        if found is None:
            source = value
            while isinstance(source.node.op.kind, View):
                source = source.node.inputs[0]
            if self.level(source) is None:
                self.root(source)
                found = self.strided(value)
            if found is None:
                self.root(value)
                found = self.strided(value)
        assert found is not None
        return found

    def dense(self, value: Value, sequence: bool) -> Strided:
        """The value in C order, of a sequence each element; put in memory anew where it is not."""
        found = self.require(value)
        skipped = int(sequence)
        steps = zip(found.shape[skipped:], found.strides[skipped:], contiguous(found.shape)[skipped:], strict=True)
        if not all(have == want or n == 1 for n, have, want in steps) and self.level(value) is None:
            self.root(value)
        return self.require(value)

    def matrix(self, value: Value) -> Strided:
        """The value as a stack of matrices with a unit stride, put in memory anew where its strides are others."""
        found = self.require(value)
        rows, columns = found.strides[-2:]
        m, n = found.shape[-2:]
        fits = (columns == 1 or n == 1) and (rows >= n or m == 1)
        fits = fits or ((rows == 1 or m == 1) and (columns >= m or n == 1))
        if fits:
            return found
        if self.level(value) is None:
            self.root(value)
        return self.require(value)

    def addend(self, value: Value, product: Value) -> Strided:
        """The value broadcast to the product's shape, rows in one piece; put in memory anew where they are not."""
        found = self.require(value)
        if found.shape and found.shape[-1] > 1 and found.strides[-1] != 1 and self.level(value) is None:
            self.root(value)
            found = self.require(value)
        return found.expanded(tuple(map(int, product.shape)))

    def strided(self, value: Value) -> Strided | None:
        """The value as strided elements of something in memory, if it is no more than a view of that."""
        found = view_of_memory(value, lambda x: self.level(x) is not None)
        return None if found is None else Strided(found[0], tuple(map(int, value.shape)), *found[1:])

    # --- the result -----------------------------------------------------------------------------------------------

    def steps(self) -> list[Step]:
        """The steps of all groups and others, by level."""
        others: list[Step] = [*(pending.step(pending.level) for pending in self.others), *self.begun]
        needed: set[Value] = {*self.outputs, *self.continued}
        for step in others:
            if isinstance(step, ContractionStep | NodeStep):
                needed.update(x.value for x in step.operands)
            else:
                needed.update(x for x in step.buffers if isinstance(x, Value))
        for group in self.groups:
            needed.update(
                x.value for x in group.sources if not isinstance(x, Made) and self.homes.get(x.value) is not group
            )
        again = self.stored_again()
        kernels: list[Step] = []
        for group in self.groups:
            kernel, buffers = finish(group, needed.__contains__, again)
            made: dict[Buffered, None] = {}
            for v in [d.value for d in group.drafts]:
                places = (*((v,) if v in needed else ()), *again.get(v, ()))
                made.update((x.whole if isinstance(x, Part) else x, None) for x in places)
            nodes = tuple(d.value.node for d in group.drafts)
            if made:
                kind = ScatterStep if kernel.scatters else KernelStep
                kernels.append(kind(group.level, kernel, buffers, tuple(made), nodes))
        found = [self.renamed(step) for step in (*others, *kernels)] if self.continued else [*others, *kernels]
        return sorted([*found, *self.copies(again)], key=lambda step: step.level)

    def renamed(self, step: Step) -> Step:
        """The step with values that a scatter goes on with under that scatter's name."""
        if not isinstance(step, KernelStep):
            return step

        def last(x: Buffered) -> Buffered:
            while isinstance(x, Value) and x in self.continued:
                x = self.continued[x]
            return x

        return replace(step, buffers=tuple(map(last, step.buffers)), made=tuple(dict.fromkeys(map(last, step.made))))

    def stored_again(self) -> dict[Value, list[OutputCopy | Part]]:
        """Values of groups that are several outputs or parts: the kernel that makes them stores them in each."""
        found: dict[Value, list[OutputCopy | Part]] = {value: list(parts) for value, parts in self.parts.items()}
        plain = {d.value for group in self.groups for d in group.drafts if d.position is None and not d.is_alone}
        seen: set[Value] = set()
        for k, value in enumerate(self.program.outputs):
            if value in seen and value in plain:
                found.setdefault(value, []).append(OutputCopy(k, value))
            seen.add(value)
        return found

    def copies(self, again: dict[Value, list[OutputCopy | Part]]) -> Iterator[Step]:
        """Outputs that are inputs, constants, or given twice get memory of their own."""
        seen: set[Value] = set()
        for k, value in enumerate(self.program.outputs):
            if value in again:
                continue
            if value in seen or value.node.op is INPUT or value.node.op is CONSTANT:
                yield copy_step(value, OutputCopy(k, value), (self.level(value) or 0) + 1)
            seen.add(value)


def fuse(program: Program) -> list[Step]:
    """The steps of a program whose sizes are all numbers, by level."""
    return Fuser(program).run()


def _reach(reader: Node, axis: int, size: int) -> int:
    """How many elements along an axis of its operand, of that size, a node reads at most, the first ones."""
    if not isinstance(reader.op.kind, View):
        return size
    if not reader.outputs[0].type.size:
        return 0
    space = Space(tuple(map(int, reader.outputs[0].shape)))
    counters = tuple(map(space.counter, space.order))
    try:
        at = reader.op.kind.index(counters, reader.inputs[0].type, **reader.attrs)[axis]
    except Split:
        return size
    if isinstance(at, int):
        return at + 1
    last = at.offset + sum(max(c, 0) * (space.extents[a] - 1) for a, c in at.coefs.items())
    return size if at.computed else min(last + 1, size)


def _step_kind(node: Node) -> type[NodeStep]:
    """What a node becomes that is neither a kernel nor a product."""
    if node.op.kind == Kind("control") and node.op.name in CONTROL_OPS:
        return ControlStep
    if node.op.kind == Kind("convolution") and is_native(node):
        return ConvolutionStep
    return SortStep if node.op.kind == Kind("sort") else HostStep


def _check_kernel(index: Strided, size: int) -> Kernel:
    """Fails if any element is outside [-size, size)."""
    x = s.cast(s.leaf(0, index.value.dtype), int64)
    bad = (x < -size) | (x >= size)
    access = Access(0, index.strides or (0,), index.offset)
    statement = Statement(bad, 0, True, "or", False, fails=True)
    return Kernel(index.shape or (1,), 0, (access,), (statement,), (index.value.dtype,))
