"""A carry that a step ends by adding to a product is added up by the next step.

The product stands at the end of a step: a sum behind it would be a walk of its own, while the next step begins with one
anyway. So both terms are carried.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.core.op import Elementwise, Kind
from graphc.core.tensor_types import FLOAT
from graphc.ir.program import Node, Program, Value, consumers
from graphc.passes.rewrite import Build
from graphc.passes.scans import Carry, Scan, rewrite_scans
from graphc.primitives.creation import full
from graphc.primitives.elementwise import add

_CONTRACTION = Kind("contraction")


def delay_sums(program: Program) -> Program:
    """Carries the two terms of sums with products instead of the sums."""
    return rewrite_scans(program, _delayed)


def _delayed(node: Node, read: Sequence[bool], build: Build) -> dict[int, Value] | None:
    if node.attrs["history"]:
        return None
    scan = Scan(node)
    carry = next((c for c in scan.carries if _can_wait(scan, c)), None)
    if carry is None:
        return None
    a, b = carry.output.node.inputs
    type_ = carry.input.type
    nothing = build(full, shape=type_.shape, value=-0.0, dtype=type_.dtype)  # x + -0.0 is x, also for 0.0
    first = Carry(carry.init, scan.add_input(type_), a)
    second = Carry(nothing, scan.add_input(type_), b)
    at = scan.carries.index(carry)
    scan.carries[at : at + 1] = [first, second]
    total = scan.table.apply(add, (first.input, second.input), {}).outputs[0]
    scan.replace({carry.input: total})
    made = scan.build(build)
    if carry.number is not None:
        scan.results[carry.number] = build(add, made.outputs[at], made.outputs[at + 1])
    return scan.outputs(made)


def _can_wait(scan: Scan, carry: Carry) -> bool:
    """Whether a carry is the sum of a product and something computed, and read only element by element."""
    node, made = carry.output.node, scan.made()
    if (
        node.op is not add
        or carry.output.dtype.category != FLOAT
        or made.count(carry.output) > 1
        or carry.input in made
    ):
        return False
    if any(v.type != carry.output.type for v in node.inputs):
        return False
    if not any(v.node.op.kind == _CONTRACTION for v in node.inputs):
        return False
    if not all(v.node.op.kind == _CONTRACTION or isinstance(v.node.op.kind, Elementwise) for v in node.inputs):
        return False
    readers = consumers(Program(scan.table, (), tuple(made)))
    if readers.get(carry.output):
        return False
    return all(isinstance(reader.op.kind, Elementwise) for reader in readers.get(carry.input, [node]))
