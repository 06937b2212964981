"""Programs: immutable, typed, interned nodes, and the closed functions made of them.

A `Node` is one op applied to values; a `Value` is one output of a node. Nodes are interned by a `Table`: the same op on the
same values with the same attributes (compared by type and bits) is the same object, so common subexpressions vanish when
they are built and equality is `is`. Where a node came from (user lines, module paths) is kept beside it and never counts.

A `Program` is a pure function: some input leaves, some output values. Nothing here knows an op by name, except the two leaf
ops every program has: `INPUT` and `CONSTANT`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from graphc.core.config import config
from graphc.core.dims import Dim, Size
from graphc.core.errors import show_line
from graphc.core.op import Kind, Op
from graphc.core.tensor_types import DType, TensorType, type_of_array


class Origin(NamedTuple):
    """Where a node was made: the user's file and line, the path of the module it ran in ("" outside modules), and its role.

    The op of a gradient rule has the line and module of the forward op it belongs to, and the role "backward"; the ops of an
    optimizer's step have the role "update".
    """

    file: str
    line: int
    module: str = ""
    role: str = "forward"

    def __str__(self) -> str:
        return show_line(self.file, self.line)

    @property
    def place(self) -> str:
        """Line, module and role, for messages."""
        module = f" in module {self.module}" if self.module else ""
        return f"{self}{module}" + (f" ({self.role})" if self.role != "forward" else "")


class Value:
    """One output of a node. Compared by identity."""

    __slots__ = ("dtype", "index", "node", "type")
    __array_ufunc__ = None

    def __init__(self, node: Node, index: int, type: TensorType):
        self.node, self.index, self.type = node, index, type
        self.dtype = type.dtype

    @property
    def shape(self) -> tuple[Size, ...]:
        """The sizes."""
        return self.type.shape

    def origin_text(self) -> str:
        """The user's line that made it, for messages."""
        return str(self.node.origins[0]) if self.node.origins else ""

    def __repr__(self) -> str:
        return f"{self.node.op.name}#{self.node.number}.{self.index}: {self.type}"


class Node:
    """One op applied to values.

    `number` counts up in the order nodes were made in their table: operands always have smaller numbers.
    """

    __slots__ = ("__weakref__", "attrs", "inputs", "number", "op", "origins", "outputs", "table")

    def __init__(
        self, op: Op, inputs: tuple[Value, ...], attrs: Mapping[str, Any], types: Sequence[TensorType], table: Table
    ):
        self.op, self.inputs, self.attrs = op, inputs, attrs
        self.outputs = tuple([Value(self, i, t) for i, t in enumerate(types)])
        self.origins: tuple[Origin, ...] = ()
        self.table = table
        self.number = table.count
        table.count += 1

    def __repr__(self) -> str:
        return f"{self.op.name}#{self.number}"


def _input_infer(*, type: TensorType, **_: Any) -> TensorType:
    return type


def _no_eval(**_: Any) -> Any:
    raise AssertionError("leaves are not evaluated")


INPUT = Op("input", infer=_input_infer, eval=_no_eval, kind=Kind("leaf"))
CONSTANT = Op("constant", infer=lambda *, data: type_of_array(data.array), eval=_no_eval, kind=Kind("leaf"))


class ConstantData:
    """The elements of a constant: small ones compare by dtype, shape and bits, large ones by identity."""

    __slots__ = ("array", "key")

    def __init__(self, array: np.ndarray[Any, Any]):
        self.array = array
        array.flags.writeable = False
        small = array.nbytes <= config.largest_fold
        self.key: Any = (array.dtype.str, array.dtype.name, array.shape, array.tobytes()) if small else id(self)

    def __repr__(self) -> str:
        return f"<{type_of_array(self.array)}>"


def attr_key(x: Any) -> Any:
    """A hashable that tells attribute values apart by type and bits: 0.0 is not -0.0, 1 is not True."""
    kind = type(x)
    if kind is int or kind is str or x is None:
        return x
    if kind is float:
        return (float, x.hex() if x == x else "nan")
    if kind is bool:
        return (bool, x)
    if kind is tuple or kind is list:
        return (tuple, *map(attr_key, x))
    if kind is ConstantData:
        return (ConstantData, x.key)
    if isinstance(x, TensorType):
        return (TensorType, attr_key(x.shape), x.dtype.name)
    if isinstance(x, Dim | DType):
        return x
    if isinstance(x, Program):
        return (Program, x.identity)
    return (kind, id(x)) if x.__hash__ is object.__hash__ else (kind, x)


class Table:
    """Interns nodes. Values of two tables never meet in one program."""

    def __init__(self) -> None:
        self.count = 0
        #: what the elements of its constants take
        self.constant_bytes = 0
        self.nodes: dict[Any, Node] = {}
        #: the table of this table's control bodies, made by the first
        self.bodies: Table | None = None

    @property
    def weight(self) -> tuple[int, int]:
        """How many nodes it holds, and how many bytes of constants, with those of the bodies."""
        nodes, nbytes = (0, 0) if self.bodies is None else self.bodies.weight
        return self.count + nodes, self.constant_bytes + nbytes

    def node(
        self,
        op: Op,
        inputs: tuple[Value, ...],
        attrs: Mapping[str, Any],
        infer: Callable[[], Sequence[TensorType]],
        origins: tuple[Origin, ...] = (),
    ) -> Node:
        """The node of that op, operands and attributes; `infer` is asked for its types only if it is new."""
        key = (op, inputs, tuple([(k, attr_key(attrs[k])) for k in sorted(attrs)]) if attrs else ())
        found = self.nodes.get(key)
        if found is None:
            found = self.nodes[key] = Node(op, inputs, attrs, infer(), self)
            found.origins = origins
        elif origins and origins[0] not in found.origins and len(found.origins) < 8:
            found.origins = found.origins + origins
        return found

    def input(self, name: str, type: TensorType, origins: tuple[Origin, ...] = ()) -> Value:
        """The leaf of that name and type."""
        return self.node(INPUT, (), {"name": name, "type": type}, lambda: (type,), origins).outputs[0]

    def constant(self, array: np.ndarray[Any, Any], origins: tuple[Origin, ...] = ()) -> Value:
        """The leaf that holds these elements (the array becomes read-only)."""
        data, before = ConstantData(array), self.count
        found = self.node(CONSTANT, (), {"data": data}, lambda: (type_of_array(array),), origins)
        if self.count > before:
            self.constant_bytes += array.nbytes
        return found.outputs[0]

    def apply(
        self, op: Op, inputs: Sequence[Value], attrs: Mapping[str, Any], origins: tuple[Origin, ...] = ()
    ) -> Node:
        """The node of an op on values of this table, its types inferred."""
        operands = tuple(inputs)
        return self.node(op, operands, attrs, lambda: op.output_types(*[v.type for v in operands], **attrs), origins)


@dataclass(frozen=True, eq=False)
class Program:
    """A pure function from `inputs` (leaves) to `outputs`.

    `checks`: pairs of sizes that the trace assumed equal, each with the line that did so; whoever runs the program tests them
    on the actual sizes.
    """

    table: Table
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    checks: tuple[tuple[Size, Size, str], ...] = ()
    _order: list[tuple[Node, ...]] = field(default_factory=list, repr=False)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Every node the outputs need, operands first; computed once."""
        if not self._order:
            self._order.append(toposort(self.outputs))
        return self._order[0]

    @property
    def identity(self) -> tuple[Any, ...]:
        """Equal programs of one table have equal identities."""
        return (self.inputs, self.outputs)

    def with_outputs(self, outputs: Iterable[Value]) -> Program:
        """The same inputs with other outputs; itself if they are the same."""
        new = tuple(outputs)
        return self if new == self.outputs else Program(self.table, self.inputs, new, self.checks)


def toposort(outputs: Iterable[Value]) -> tuple[Node, ...]:
    """Every node the values need, operands before users, in the order they were made. Iterative and linear."""
    seen: dict[int, Node] = {}
    stack = [value.node for value in outputs]
    while stack:
        node = stack.pop()
        if node.number in seen:
            continue
        seen[node.number] = node
        for value in node.inputs:
            if value.node.number not in seen:
                stack.append(value.node)
    return tuple([seen[number] for number in sorted(seen)])


def consumers(program: Program) -> dict[Value, list[Node]]:
    """The nodes that read each value (a node once per value)."""
    readers: dict[Value, list[Node]] = {}
    for node in program.nodes:
        for value in dict.fromkeys(node.inputs):
            readers.setdefault(value, []).append(node)
    return readers
