"""Scans taken apart for passes, and the walk that rewrites them.

A `Scan` says for each carry, constant and sequence what it is outside and inside the body. A pass changes it and builds the
new node; each output of the old node that somebody reads is told what stands for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from graphc.control import scan_op
from graphc.core.op import Kind
from graphc.core.tensor_types import TensorType
from graphc.ir.program import INPUT, Node, Program, Table, Value, toposort
from graphc.passes.rewrite import MOST_SWEEPS, Build


@dataclass
class Carry:
    """Where it begins outside, where the body reads it, what the body makes of it, its number among the old outputs if any."""

    init: Value
    input: Value
    output: Value
    number: int | None = None


@dataclass
class Operand:
    """A constant or a sequence: outside, and inside the body."""

    outer: Value
    inner: Value


@dataclass
class Stacked:
    """A value of the body that is stacked, and its numbers among the old outputs."""

    inner: Value
    numbers: tuple[int, ...] = ()


class Scan:
    """A scan's parts. The carries before each step (`history`) are stacked outputs like others."""

    def __init__(self, node: Node):
        self.node, attrs = node, node.attrs
        self.body: Program = attrs["body"]
        self.length, self.reverse = attrs["length"], attrs["reverse"]
        n, m = attrs["n_carry"], attrs["n_carry"] + attrs["n_const"]
        inputs, outputs = self.body.inputs, self.body.outputs
        self.carries = [
            Carry(*parts, i) for i, parts in enumerate(zip(node.inputs[:n], inputs[:n], outputs[:n], strict=True))
        ]
        self.consts = [Operand(*both) for both in zip(node.inputs[n:m], inputs[n:m], strict=True)]
        self.xs = [Operand(*both) for both in zip(node.inputs[m:], inputs[m:], strict=True)]
        stacked = [*outputs[n:], *(inputs[:n] if attrs["history"] else ())]
        self.ys = [Stacked(value, (i,)) for i, value in enumerate(stacked, n)]
        #: what stands for outputs of the old node that are none of the new one
        self.results: dict[int, Value] = {}
        self._names = {value.node.attrs["name"] for value in inputs}

    @property
    def table(self) -> Table:
        """The body's table."""
        return self.body.table

    def made(self) -> list[Value]:
        """What the body gives."""
        return [*(c.output for c in self.carries), *(y.inner for y in self.ys)]

    def add_input(self, type_: TensorType) -> Value:
        """A new input of the body."""
        name = next(name for i in range(len(self._names) + 1) if (name := f"in{i}") not in self._names)
        self._names.add(name)
        return self.table.input(name, type_)

    def stack(self, inner: Value) -> Stacked:
        """The stacked output of a value of the body, a new one if there is none."""
        for y in self.ys:
            if y.inner is inner:
                return y
        self.ys.append(Stacked(inner))
        return self.ys[-1]

    def replace(self, mapping: Mapping[Value, Value]) -> None:
        """Replaces values inside the body."""
        new = substituted(self.made(), mapping)
        for carry in self.carries:
            carry.output = new.get(carry.output, carry.output)
        for y in self.ys:
            y.inner = new.get(y.inner, y.inner)

    def build(self, build: Build) -> Node:
        """The node of what the scan is now."""
        inputs = [*(c.input for c in self.carries), *(x.inner for x in (*self.consts, *self.xs))]
        operands = [*(c.init for c in self.carries), *(x.outer for x in (*self.consts, *self.xs))]
        body = Program(self.table, tuple(inputs), tuple(self.made()), self.body.checks)
        node = build.table.apply(
            scan_op, operands, {
                "body": body, "n_carry": len(self.carries), "n_const": len(self.consts), "length": self.length,
                "reverse": self.reverse, "history": False,
            }, build.origins,
        )  # fmt: skip
        build.made[node] = None
        return node

    def outputs(self, node: Node) -> dict[int, Value]:
        """What stands for each output of the old node, `node` being the new one."""
        found = dict(self.results)
        found.update((c.number, node.outputs[i]) for i, c in enumerate(self.carries) if c.number is not None)
        for i, y in enumerate(self.ys, len(self.carries)):
            found.update((number, node.outputs[i]) for number in y.numbers)
        return found

    def stacked_output(self, node: Node, y: Stacked) -> Value:
        """The output of the new node that holds this."""
        place = next(i for i, other in enumerate(self.ys) if other is y)
        return node.outputs[len(self.carries) + place]


def substituted(outputs: Iterable[Value], mapping: Mapping[Value, Value]) -> dict[Value, Value]:
    """What stands for each value that is, or reads, a key of the mapping."""
    new = dict(mapping)
    for node in toposort(outputs):
        if any(v in new for v in node.inputs) and not all(v in new for v in node.outputs):
            types = [value.type for value in node.outputs]
            inputs = tuple([new.get(v, v) for v in node.inputs])
            made = node.table.node(node.op, inputs, node.attrs, lambda types=types: types, node.origins)  # type: ignore[misc]
            for before, after in zip(node.outputs, made.outputs, strict=True):
                new.setdefault(before, after)
    return new


def leaves_of(outputs: Iterable[Value]) -> set[Value]:
    """The inputs that values depend on."""
    return {node.outputs[0] for node in toposort(outputs) if node.op is INPUT}


#: What stands for the outputs of a scan, by number (those nobody reads may be missing); None: it stays as it is.
Change = Callable[[Node, Sequence[bool], Build], dict[int, Value] | None]


def rewrite_scans(program: Program, change: Change) -> Program:
    """The program with every scan, also those in bodies, changed until nothing changes.

    `change(node, read, build)`: `read` tells for each output whether somebody reads it.
    """
    return _Walk(change).program(program)


class _Walk:
    def __init__(self, change: Change):
        self.change = change
        self.done: dict[int, tuple[Program, Program]] = {}

    def program(self, program: Program) -> Program:
        known = self.done.get(id(program))
        if known is not None:
            return known[1]
        new = program
        for _ in range(MOST_SWEEPS):
            before, new = new, self.sweep(new)
            if new is before:
                break
        self.done[id(program)] = (program, new)
        return new

    def sweep(self, program: Program) -> Program:
        build = Build(program)
        read = {value for node in program.nodes for value in node.inputs} | set(program.outputs)
        new: dict[Value, Value] = {}
        for node in program.nodes:
            current = with_bodies(renewed(node, new), self.program)
            found: dict[int, Value] | None = None
            if current.op is scan_op:
                build.origins = current.origins
                found = self.change(current, [value in read for value in node.outputs], build)
            if found is None:
                found = dict(enumerate(current.outputs)) if current is not node else {}
            for i, after in found.items():
                if after is not node.outputs[i]:
                    new[node.outputs[i]] = after
        return program.with_outputs(new.get(value, value) for value in program.outputs) if new else program


def renewed(node: Node, new: Mapping[Value, Value]) -> Node:
    """The node on what stands for its operands."""
    if not any(value in new for value in node.inputs):
        return node
    types = [value.type for value in node.outputs]
    return node.table.node(
        node.op, tuple([new.get(v, v) for v in node.inputs]), node.attrs, lambda: types, node.origins
    )


def with_bodies(node: Node, program: Callable[[Program], Program]) -> Node:
    """The node with `program` applied to its bodies."""
    if node.op.kind != Kind("control"):
        return node
    attrs = {k: program(x) if isinstance(x, Program) else x for k, x in node.attrs.items()}
    if all(attrs[k] is node.attrs[k] for k in attrs):
        return node
    types = [value.type for value in node.outputs]
    return node.table.node(node.op, node.inputs, attrs, lambda: types, node.origins)
