"""What a scan's body computes from its sequences and constants alone is computed before it.

Products over all steps at once are larger and so faster, and what does not change from step to step is computed once. What
is cheap stays in the body, where it costs no memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from graphc.core.dims import is_static
from graphc.core.op import Elementwise, Kind, Op, Reduction, View
from graphc.ir.program import Node, Program, Value, consumers, toposort
from graphc.passes.rewrite import Build
from graphc.passes.scans import Operand, Scan, rewrite_scans
from graphc.primitives.contraction import matmul
from graphc.primitives.elementwise import add, cast, maximum, minimum, multiply, negate, subtract
from graphc.primitives.indexing import index
from graphc.primitives.views import expand, permute, reshape, slice_

_CONTRACTION, _LEAF = Kind("contraction"), Kind("leaf")
_CHEAP: tuple[Op, ...] = (add, subtract, multiply, negate, cast, maximum, minimum)


class Outside(NamedTuple):
    """A value of the body as it is outside: of all steps (`stacked`), or the same at every step."""

    value: Value
    stacked: bool


def hoist(program: Program) -> Program:
    """Moves products of sequences, and what never changes, out of scans."""
    return rewrite_scans(program, _hoisted)


def _hoisted(node: Node, read: Sequence[bool], build: Build) -> dict[int, Value] | None:
    if node.attrs["history"] or not isinstance(node.attrs["length"], int) or not node.attrs["length"]:
        return None
    scan = Scan(node)
    lift = _Lift(scan, build)
    wanted = [value for value in _roots(scan, lift.is_free) if lift.out(value) is not None]
    if not wanted:
        return None
    inputs: dict[Value, Value] = {}
    for value in wanted:
        found = lift.out(value)
        assert found is not None
        inner = inputs[value] = scan.add_input(value.type)
        (scan.xs if found.stacked else scan.consts).append(Operand(found.value, inner))
    scan.replace(inputs)
    return scan.outputs(scan.build(build))


def _roots(scan: Scan, free: dict[Value, bool]) -> list[Value]:
    """What is worth moving: products, and what is the same at every step and not cheap, where the rest reads them."""
    made = scan.made()
    readers = consumers(Program(scan.table, (), tuple(made)))
    covered: set[Value] = set()
    found = []
    for node in reversed(toposort(made)):
        for value in node.outputs:
            inside = value in made or any(out not in covered for r in readers.get(value, []) for out in r.outputs)
            worth = node.op.kind == _CONTRACTION or (free.get(value, False) and not _is_cheap(node))
            if not inside:
                covered.add(value)
            elif value in free and node.inputs and worth:
                covered.add(value)
                found.append(value)
    return found[::-1]


def _is_cheap(node: Node) -> bool:
    return isinstance(node.op.kind, View) or node.op in _CHEAP


class _Lift:
    """Values of a body made outside, for all steps at once."""

    def __init__(self, scan: Scan, build: Build):
        self.scan, self.build = scan, build
        self.known: dict[Value, Outside | None] = {x.inner: Outside(x.outer, True) for x in scan.xs}
        self.known.update((x.inner, Outside(x.outer, False)) for x in scan.consts)
        self.known.update((c.input, None) for c in scan.carries)
        #: the values that depend on no carry, and whether they are the same at every step
        self.is_free: dict[Value, bool] = {v: not found.stacked for v, found in self.known.items() if found is not None}
        for node in toposort(scan.made()):
            if (
                node.op.kind != _LEAF
                and all(v in self.is_free for v in node.inputs)
                and is_static(node.outputs[0].shape)
            ):
                same = all(self.is_free[v] for v in node.inputs)
                if same or _stacks(node) or self.looks_up(node):
                    self.is_free.update(dict.fromkeys(node.outputs, same))

    def looks_up(self, node: Node) -> bool:
        """Whether rows of what never changes are looked up: the embeddings of all steps are one look-up."""
        if node.op is not index or len(node.inputs) != 2 or node.attrs["axes"] != (0,):
            return False
        return self.is_free[node.inputs[0]] and not self.is_free[node.inputs[1]]

    def out(self, value: Value) -> Outside | None:
        """The value outside, None if it cannot be made there."""
        if value not in self.known:
            self.known[value] = self.made(value)
        return self.known[value]

    def made(self, value: Value) -> Outside | None:
        node, build = value.node, self.build
        if value not in self.is_free:
            return None
        operands = [self.out(v) for v in node.inputs]
        if any(x is None for x in operands):
            return None
        known = [x for x in operands if x is not None]
        if not any(x.stacked for x in known):
            made = build.table.apply(node.op, [x.value for x in known], node.attrs, build.origins)
            build.made[made] = None
            return Outside(made.outputs[value.index], False)
        return Outside(self.of_all_steps(node, known), True)

    def of_all_steps(self, node: Node, operands: list[Outside]) -> Value:
        """The node over a new first axis."""
        build, op, attrs, n = self.build, node.op, node.attrs, self.scan.length
        x = operands[0].value
        if isinstance(op.kind, Elementwise):
            rank = node.outputs[0].type.ndim
            return build(op, *[self.aligned(x, rank) for x in operands], **attrs)
        if op is reshape:
            return build(reshape, x, shape=(n, *attrs["shape"]))
        if op is permute:
            return build(permute, x, axes=(0, *(a + 1 for a in attrs["axes"])))
        if op is expand:
            return build(expand, self.aligned(operands[0], len(attrs["shape"])), shape=(n, *attrs["shape"]))
        if op is slice_:
            ends = {"starts": (0, *attrs["starts"]), "limits": (n, *attrs["limits"]), "strides": (1, *attrs["strides"])}
            return build(slice_, x, **ends)
        if isinstance(op.kind, Reduction):
            return build(op, x, axes=tuple([a + 1 for a in attrs["axes"]]))
        assert op in (matmul, index)
        return build(op, *[x.value for x in operands], **attrs)

    def aligned(self, x: Outside, rank: int) -> Value:
        """A stacked operand with axes of size 1 behind the first, so that it broadcasts as in the body."""
        shape = x.value.shape
        if not x.stacked or len(shape) == rank + 1:
            return x.value
        return self.build(reshape, x.value, shape=(shape[0], *(1,) * (rank + 1 - len(shape)), *shape[1:]))


def _stacks(node: Node) -> bool:
    """Whether the op can be done for all steps at once."""
    op = node.op
    if op is matmul:
        return all(v.type.ndim == 2 for v in node.inputs)
    return (
        isinstance(op.kind, Elementwise) or op in (reshape, permute, expand, slice_) or isinstance(op.kind, Reduction)
    )
