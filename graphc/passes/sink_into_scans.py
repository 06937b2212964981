"""A bias added to a scan's sequence is added inside the body, where the sequence is read anyway.

Outside it is one more walk through all steps: a product writes its result, the sum reads and writes it again.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.core.dims import is_static
from graphc.core.op import Elementwise, Kind
from graphc.ir.program import INPUT, Node, Program, Value
from graphc.passes.rewrite import Build
from graphc.passes.scans import Operand, Scan, rewrite_scans
from graphc.primitives.elementwise import add, cast, multiply, negate, subtract
from graphc.primitives.views import reshape

_CHEAP = (add, subtract, multiply, negate, cast)
_IN_MEMORY = (Kind("contraction"), Kind("control"))


def sink_into_scans(program: Program) -> Program:
    """Moves cheap operations on one sequence, read by nobody else, into the scan's body."""
    return rewrite_scans(program, _sunk)


def _sunk(node: Node, read: Sequence[bool], build: Build) -> dict[int, Value] | None:
    if node.attrs["history"]:
        return None
    scan = Scan(node)
    found = [x for x in scan.xs if _can_sink(x.outer, build)]
    if not found:
        return None
    inner: dict[Value, Value] = {}
    for x in found:
        scan.xs.remove(x)
        inner[x.inner] = _inside(scan, x.outer, build)
    scan.replace(inner)
    return scan.outputs(scan.build(build))


def _can_sink(value: Value, build: Build) -> bool:
    """Whether a sequence is a cheap operation on one sequence in memory and on what is the same at every step."""
    node = value.node
    if node.op not in _CHEAP or not isinstance(node.op.kind, Elementwise) or build.uses(value) != 1:
        return False
    if not is_static(value.shape) or value.shape[0] == 1:
        return False
    sequences = [v for v in node.inputs if v.shape == value.shape]
    others = [v for v in node.inputs if v.shape != value.shape]
    if len(sequences) != 1 or not (sequences[0].node.op.kind in _IN_MEMORY or sequences[0].node.op is INPUT):
        return False
    return all(v.type.ndim < value.type.ndim or v.shape[0] == 1 for v in others)


def _inside(scan: Scan, value: Value, build: Build) -> Value:
    """One step of the sequence, computed in the body."""
    operands = []
    for v in value.node.inputs:
        if v.shape == value.shape:
            inner = scan.add_input(v.type.with_shape(v.shape[1:]))
            scan.xs.append(Operand(v, inner))
        else:
            same = v if v.type.ndim < value.type.ndim else build(reshape, v, shape=v.shape[1:])
            inner = scan.add_input(same.type)
            scan.consts.append(Operand(same, inner))
        operands.append(inner)
    return scan.table.apply(value.node.op, operands, value.node.attrs, value.node.origins).outputs[0]
