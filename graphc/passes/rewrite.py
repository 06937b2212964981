"""The driver of all rewriting passes.

A rule is `rule(node, build) -> Value | tuple[Value, ...] | None` with `before => after` as its docstring: it looks at a node
whose operands are already rewritten and names the values that take the place of its outputs. Rules are found by the node's
op, so a node no rule cares for costs one dictionary look-up. The driver rebuilds users, carries origins over, refuses a
replacement of another type, goes into the bodies of control ops, and returns the same program where nothing applied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.core.dims import assumptions
from graphc.core.errors import VerifyError
from graphc.core.op import Elementwise, Kind, Op, View
from graphc.core.tensor_types import TensorType
from graphc.ir.program import INPUT, Node, Origin, Program, Value

Replacement = Value | tuple[Value, ...] | None
Rule = Callable[[Node, "Build"], Replacement]

#: Sweeps over a program before a pass gives up on reaching a fixpoint; each sweep is linear.
MOST_SWEEPS = 16
#: Rules applied one after another to what stands in one node's place.
MOST_STEPS = 32


class Build:
    """What a rule makes nodes with: `build(op, x, y, **attrs)`. New nodes take the origins of the node they replace."""

    def __init__(self, program: Program):
        self.program, self.table = program, program.table
        self.origins: tuple[Origin, ...] = ()
        #: what has taken the place of which value so far
        self.new: dict[Value, Value] = {}
        #: what rules have made: the only nodes of a sweep's result that no rule has looked at
        self.made: dict[Node, None] = {}
        self._uses: dict[Value, int] | None = None

    def __call__(self, op: Op, *inputs: Value, **attrs: Any) -> Value:
        """The first output of the node of that op."""
        node = self.table.apply(op, inputs, attrs, self.origins)
        self.made[node] = None
        return node.outputs[0]

    def joined(self, done: Node, op: Op, *inputs: Value, **attrs: Any) -> Value:
        """The same for a node that also does what `done` did alone, whose origins come first."""
        before, self.origins = self.origins, tuple(dict.fromkeys((*done.origins, *self.origins)))
        try:
            return self(op, *inputs, **attrs)
        finally:
            self.origins = before

    @property
    def asked_for_uses(self) -> bool:
        """Whether some rule has looked at who reads a value, which the sweep itself changes."""
        return self._uses is not None

    def constant(self, array: np.ndarray[Any, Any]) -> Value:
        """The leaf that holds these elements."""
        return self.table.constant(array, self.origins)

    def uses(self, value: Value) -> int:
        """How many operands and outputs read the value, in the program as it was before the sweep."""
        if self._uses is None:  # few rules ask
            self._uses = count_uses(self.program)
            for before, after in self.new.items():
                self._inherit(before, after)
        return self._uses.get(value, 2)

    def replace(self, before: Value, after: Value) -> None:
        """Notes that from here on `after` is read instead of `before`."""
        self.new[before] = after
        if self._uses is not None:
            self._inherit(before, after)

    def _inherit(self, before: Value, after: Value) -> None:
        assert self._uses is not None
        self._uses[after] = self._uses.get(after, 0) + self._uses.get(before, 0)


class Rules:
    """Rules by op and by kind of op; those of an op's name come first."""

    def __init__(
        self,
        by_op: Mapping[Op, Sequence[Rule]],
        elementwise: Sequence[Rule] = (),
        views: Sequence[Rule] = (),
        others: Sequence[Rule] = (),
    ):
        self._by_op = {op: tuple(rules) for op, rules in by_op.items()}
        self._by_kind: dict[type, tuple[Rule, ...]] = {Elementwise: tuple(elementwise), View: tuple(views)}
        self._others = tuple(others)
        self._known: dict[Op, tuple[Rule, ...]] = {}

    def together(self, *others: Rules) -> Rules:
        """The rules of all, those of the first before those of the next."""
        found = Rules({})
        for rules in (self, *others):
            for op, more in rules._by_op.items():
                found._by_op[op] = found._by_op.get(op, ()) + more
            for kind, more in rules._by_kind.items():
                found._by_kind[kind] = found._by_kind[kind] + more
            found._others += rules._others
        return found

    def of(self, op: Op) -> tuple[Rule, ...]:
        """The rules for nodes of that op."""
        found = self._known.get(op)
        if found is None:
            general = self._by_kind.get(type(op.kind), self._others)
            found = () if op.kind == Kind("leaf") else self._by_op.get(op, ()) + general
            self._known[op] = found
        return found


def rewrite(program: Program, rules: Rules, name: str) -> Program:
    """The program with the rules applied until none applies; the same object where none did."""
    return _Rewriter(rules, name).program(program)


def accepts(old: Sequence[TensorType], new: Sequence[TensorType], rule: str) -> bool:
    """Whether values of types `new` may stand for those of types `old`.

    Sizes that differ only in which unknown they name are refused quietly; a wrong rank, dtype or number is our own fault.
    """
    if tuple(old) == tuple(new):
        return True
    for a, b in zip(old, new, strict=True):
        gaps = [x - y for x, y in zip(a.shape, b.shape, strict=False)]
        if a.dtype is not b.dtype or a.ndim != b.ndim or any(isinstance(gap, int) and gap for gap in gaps):
            raise VerifyError(f"rule {rule} turned {a} into {b}")
    return False


class _Rewriter:
    def __init__(self, rules: Rules, name: str):
        self.rules, self.name = rules, name
        self.bodies: dict[int, tuple[Program, Program]] = {}

    def program(self, program: Program) -> Program:
        done = self.bodies.get(id(program))
        if done is not None:
            return done[1]
        new = program
        with assumptions(lambda a, b: None):
            for _ in range(MOST_SWEEPS):
                build = Build(new)
                before, new = new, self.sweep(new, build)
                if new is before or self.settled(build):
                    break
        self.bodies[id(program)] = (program, new)
        return new

    def settled(self, build: Build) -> bool:
        """Whether another sweep would find nothing: every other node was met with its final operands."""
        if build.asked_for_uses:
            return False
        return not any(rule(node, build) is not None for node in list(build.made) for rule in self.rules.of(node.op))

    def sweep(self, program: Program, build: Build) -> Program:
        """One walk through the program, operands first, with the rules applied where they fit."""
        new = build.new
        rules_of = self.rules.of
        for node in program.nodes:
            current = node
            for value in node.inputs:
                if value in new:
                    current = self.rebuilt(node, tuple([new.get(v, v) for v in node.inputs]), node.attrs)
                    break
            kind = node.op.kind
            if type(kind) is Kind and kind.name == "control":
                current = self.with_bodies(current)
            outputs = current.outputs
            build.origins = current.origins
            for rule in rules_of(current.op):
                if rule(current, build) is not None:
                    outputs = self.replaced(current, build)
                    break
            if outputs is not node.outputs:
                for before, after in zip(node.outputs, outputs, strict=True):
                    if before is not after:
                        build.replace(before, after)
        if not new:
            return program
        return program.with_outputs(new.get(value, value) for value in program.outputs)

    def rebuilt(self, node: Node, inputs: tuple[Value, ...], attrs: Mapping[str, Any]) -> Node:
        types = [value.type for value in node.outputs]
        return node.table.node(node.op, inputs, attrs, lambda: types, node.origins)

    def with_bodies(self, node: Node) -> Node:
        attrs = {k: self.program(x) if isinstance(x, Program) else x for k, x in node.attrs.items()}
        if all(attrs[k] is node.attrs[k] for k in attrs):
            return node
        return self.rebuilt(node, node.inputs, attrs)

    def replaced(self, node: Node, build: Build) -> tuple[Value, ...]:
        """The outputs of what finally stands in the node's place; the node's own where no rule applied."""
        outputs = node.outputs
        types = [value.type for value in outputs]
        for _ in range(MOST_STEPS):
            found = self.step(node, self.rules.of(node.op), build, types)
            if found is None:
                return outputs
            outputs = found
            next_node = found[0].node
            if next_node.outputs != found or next_node.op is INPUT:
                return outputs
            node = next_node
        return outputs

    def step(
        self, node: Node, rules: tuple[Rule, ...], build: Build, types: Sequence[TensorType]
    ) -> tuple[Value, ...] | None:
        for rule in rules:
            found = rule(node, build)
            if found is None:
                continue
            values = found if isinstance(found, tuple) else (found,)
            if values != node.outputs and accepts(types, [v.type for v in values], f"{self.name}.{rule.__name__}"):
                return values
        return None


def count_uses(program: Program) -> dict[Value, int]:
    """How many operands and outputs read each value."""
    uses: dict[Value, int] = {}
    for node in program.nodes:
        for value in node.inputs:
            uses[value] = uses.get(value, 0) + 1
    for value in program.outputs:
        uses[value] = uses.get(value, 0) + 1
    return uses
