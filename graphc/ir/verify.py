"""The verifier: infers every type anew and checks what every program promises. Run after each pass in tests."""

from __future__ import annotations

from graphc.core.dims import Size, assumptions
from graphc.core.errors import VerifyError
from graphc.core.tensor_types import TensorType
from graphc.ir.blame import user_line_of
from graphc.ir.program import CONSTANT, INPUT, Node, Program, Value


def verify(program: Program, after: str = "") -> None:
    """Raises VerifyError, naming the pass `after` which the program came and the node, if the program contradicts itself.

    Holds afterwards: every node's types are what its op infers; operands are of the program's table and older than their
    users; every input leaf is an input of the program, and no two inputs share a name. Bodies are checked too.
    """
    with assumptions(_accept):
        _Verifier(after).program(program)


def _accept(a: Size, b: Size) -> None:
    """Sizes that may be equal were assumed equal when the program was made, and are checked on the actual sizes."""


class _Verifier:
    def __init__(self, after: str):
        self.where = f" after pass {after}" if after else ""
        self.done: set[int] = set()

    def fail(self, problem: str, node: Node | None = None) -> VerifyError:
        named = ""
        if node is not None:
            line = user_line_of(node)
            named = f"{node!r}: "
            problem += f"\n  at {line}" if line else ""
        return VerifyError(f"verify{self.where}: {named}{problem}")

    def program(self, program: Program) -> None:
        if id(program) in self.done:
            return
        self.done.add(id(program))
        self.leaves(program)
        inputs = set(program.inputs)
        for node in program.nodes:
            if node.table is not program.table:
                raise self.fail("the node belongs to another table than its program", node)
            if node.op is INPUT and node.outputs[0] not in inputs:
                raise self.fail(f"the leaf {node.attrs['name']!r} is not among the program's inputs", node)
            self.node(node)
        for value in program.outputs:
            self.value(value, value.node)

    def leaves(self, program: Program) -> None:
        names: set[str] = set()
        for value in program.inputs:
            if value.node.op is not INPUT:
                raise self.fail("an input of the program is not an input leaf", value.node)
            if value.node.table is not program.table:
                raise self.fail("the input leaf belongs to another table than its program", value.node)
            name = value.node.attrs["name"]
            if name in names:
                raise self.fail(f"two inputs are called {name!r}", value.node)
            names.add(name)

    def value(self, value: Value, user: Node) -> None:
        outputs = value.node.outputs
        if not value.index < len(outputs) or outputs[value.index] is not value:
            raise self.fail(f"it reads {value!r}, which is not an output of its node", user)

    def node(self, node: Node) -> None:
        op = node.op
        for value in node.inputs:
            self.value(value, node)
            if value.node.table is not node.table:
                raise self.fail(f"operand {value!r} belongs to another table", node)
            if value.node.number >= node.number:
                raise self.fail(f"operand {value!r} is younger than its user", node)
        if isinstance(op.vjp, tuple) and len(op.vjp) != len(node.inputs):
            raise self.fail(f"{len(node.inputs)} operands for an op of {len(op.vjp)}", node)
        if op.n_outputs >= 0 and op is not CONSTANT and op is not INPUT and len(node.outputs) != op.n_outputs:
            raise self.fail(f"{len(node.outputs)} outputs for an op of {op.n_outputs}", node)
        self.types(node)
        for attr in node.attrs.values():
            if isinstance(attr, Program):
                self.program(attr)

    def types(self, node: Node) -> None:
        recorded = tuple([value.type for value in node.outputs])
        try:
            inferred = node.op.output_types(*[value.type for value in node.inputs], **node.attrs)
        except Exception as error:
            raise self.fail(f"its types cannot be inferred: {error}", node) from error
        if inferred != recorded:
            raise self.fail(f"it is recorded as {show_types(recorded)}, inferred as {show_types(inferred)}", node)
        if any(value.dtype is not value.type.dtype for value in node.outputs):
            raise self.fail("a value's dtype is not its type's", node)


def show_types(types: tuple[TensorType, ...]) -> str:
    """Types as text, several in parentheses."""
    return str(types[0]) if len(types) == 1 else "(" + ", ".join(map(str, types)) + ")"
