"""A program for given sizes: numbers put in for unknown dims, every type inferred anew. Linear, some microseconds a node."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

from graphc.core.dims import Dim, Size, assumptions, is_static, substitute
from graphc.core.errors import ArgumentError, OperandError
from graphc.core.op import Attrs, Op
from graphc.core.tensor_types import TensorType
from graphc.ir.blame import blame
from graphc.ir.program import CONSTANT, INPUT, ConstantData, Node, Program, Table, Value

_PLAIN = (int, float, bool, str, type(None), ConstantData)


def sizes_in(x: Any) -> Iterator[Dim]:
    """The unknown sizes in an attribute: itself, in tuples, in tensor types, in nested programs."""
    if isinstance(x, Dim):
        yield x
    elif isinstance(x, Program):
        for node in x.nodes:
            yield from dims_of(node)
    elif isinstance(x, tuple | list):
        for part in x:
            yield from sizes_in(part)


def dims_of(node: Node) -> Iterator[Dim]:
    """The unknown sizes that a node's own attributes hold."""
    for x in node.attrs.values():
        if not isinstance(x, _PLAIN):
            yield from sizes_in(x)


def input_unknowns(program: Program) -> Iterator[str]:
    """The names of the unknown sizes in the inputs' types, with repetitions."""
    for value in program.inputs:
        for size in value.type.shape:
            if isinstance(size, Dim):
                yield from size.names()


def node_unknowns(program: Program) -> Iterator[str]:
    """The names of the unknown sizes in attributes, with repetitions."""
    for node in program.nodes:
        for dim in dims_of(node):
            yield from dim.names()


def unknowns(program: Program) -> list[str]:
    """The names of the unknown sizes the program depends on: the inputs' in order, then those only attributes hold."""
    return list(dict.fromkeys(chain(input_unknowns(program), node_unknowns(program))))


def specialise(program: Program, sizes: Mapping[str, Size]) -> Program:
    """The program with the unknown sizes named in `sizes` replaced by numbers.

    Names left out stay unknown. Returns the program itself where there is nothing to replace. Raises the shape rule's
    error, with the user's lines, where the numbers do not fit together, and ArgumentError for a negative size.
    """
    for name, size in sizes.items():
        if isinstance(size, int) and size < 0:
            raise ArgumentError(f"size {name} = {size} is negative", "sizes >= 0")
    if not any(name in sizes for name in chain(input_unknowns(program), node_unknowns(program))):
        return program
    with assumptions(lambda a, b: None):
        return Rebuilder(dict(sizes)).program(program)


class Rebuilder:
    """Rebuilds programs in one new table, bodies included; a body that occurs twice is rebuilt once.

    sizes: numbers to put in for unknown sizes. op: what stands for each op, the op itself by default.
    """

    def __init__(self, sizes: dict[str, Size], op: Callable[[Op], Op] = lambda op: op):
        self.sizes, self.op = sizes, op
        self.table = Table()
        self.bodies: dict[int, Program] = {}

    def program(self, program: Program) -> Program:
        """The program rebuilt."""
        done = self.bodies.get(id(program))
        if done is not None:
            return done
        new: dict[Value, Value] = {}
        for value in program.inputs:
            new[value] = self.leaf(value.node)
        for node in program.nodes:
            if node.op is INPUT:
                if node.outputs[0] not in new:
                    new[node.outputs[0]] = self.leaf(node)
                continue
            made = self.node(node, tuple([new[v] for v in node.inputs]))
            for before, after in zip(node.outputs, made.outputs, strict=True):
                new[before] = after
        checks = tuple(
            (left, right, line)
            for a, b, line in program.checks
            for left, right in [(substitute(a, self.sizes), substitute(b, self.sizes))]
            if left != right
        )
        outputs = tuple([new[v] for v in program.outputs])
        done = Program(self.table, tuple([new[v] for v in program.inputs]), outputs, checks)
        self.bodies[id(program)] = done
        return done

    def leaf(self, node: Node) -> Value:
        name, type = node.attrs["name"], node.attrs["type"]
        return self.table.input(name, self.tensor_type(type), node.origins)

    def node(self, node: Node, inputs: tuple[Value, ...]) -> Node:
        if node.op is CONSTANT:
            return self.table.node(CONSTANT, (), node.attrs, lambda: (node.outputs[0].type,), node.origins)
        attrs = self.attrs(node.attrs) if node.attrs else node.attrs
        op = self.op(node.op)
        try:
            infer = lambda: op.output_types(*[v.type for v in inputs], **attrs)  # noqa: E731
            return self.table.node(op, inputs, attrs, infer, node.origins)
        except OperandError as error:
            raise blame(error, node, inputs) from None

    def attrs(self, attrs: Attrs) -> Attrs:
        for x in attrs.values():
            if not isinstance(x, _PLAIN):
                return {k: self.attr(x) for k, x in attrs.items()}
        return attrs

    def attr(self, x: Any) -> Any:
        if isinstance(x, _PLAIN):
            return x
        if isinstance(x, Dim):
            return x.substitute(self.sizes)
        if isinstance(x, TensorType):
            return self.tensor_type(x)
        if isinstance(x, tuple):
            return x if is_static(x) else tuple([self.attr(part) for part in x])
        return self.program(x) if isinstance(x, Program) else x

    def tensor_type(self, type: TensorType) -> TensorType:
        if is_static(type.shape):
            return type
        return TensorType(tuple([substitute(size, self.sizes) for size in type.shape]), type.dtype)
