"""A scan reads from an earlier one what both would compute.

The gradient of a scan repeats what the forward step computed. Where the body's values depend only on sequences, constants
and earlier carries that the forward scan had too, the forward scan stacks those that are dear and the gradient reads them:
for an LSTM the gates and the tanh of the cell, which saves a third of all products.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from graphc.control import scan_op
from graphc.core.op import Elementwise, Kind, Reduction, View
from graphc.ir.program import Node, Program, Value, toposort
from graphc.passes.rewrite import Build
from graphc.passes.scans import Operand, Scan, renewed, with_bodies
from graphc.primitives.elementwise import add, cast, maximum, minimum, multiply, negate, subtract

#: Work for one element from which a value is stacked and read rather than computed again, in additions.
DEAR = 8
_CHEAP = (add, subtract, multiply, negate, cast, maximum, minimum)
_COMMUTES = (add, multiply, maximum, minimum)


@dataclass(eq=False)
class _Share:
    """What one scan reads from another: pairs of a value of its body and the same in the other's body."""

    source: Node
    pairs: list[tuple[Value, Value]] = field(default_factory=list)


def share_scans(program: Program) -> Program:
    """Stacks in one scan what a later one computes again, in bodies too."""
    return _Sharing().program(program)


class _Sharing:
    def __init__(self) -> None:
        self.done: dict[int, tuple[Program, Program]] = {}

    def program(self, program: Program) -> Program:
        known = self.done.get(id(program))
        if known is None:
            known = self.done[id(program)] = (program, self.shared(program))
        return known[1]

    def shared(self, program: Program) -> Program:
        nodes = [node for node in program.nodes if node.op.kind == Kind("control")]
        scans = [node for node in nodes if node.op is scan_op and not node.attrs["history"]]
        shares = {node: share for node in scans if (share := _share(node, scans)) is not None}
        wanted: dict[Node, dict[Value, None]] = {}
        for share in shares.values():
            wanted.setdefault(share.source, {}).update(dict.fromkeys(v for _, v in share.pairs))
        build = Build(program)
        new: dict[Value, Value] = {}
        places: dict[tuple[Node, Value], Value] = {}
        for node in program.nodes:
            current = renewed(node, new)
            if node in wanted or node in shares:
                build.origins = node.origins
                found = self.changed(node, current, shares.get(node), wanted.get(node, {}), places, build)
            else:
                current = with_bodies(current, self.program)
                found = dict(enumerate(current.outputs))
            for i, after in found.items():
                if after is not node.outputs[i]:
                    new[node.outputs[i]] = after
        return program.with_outputs(new.get(value, value) for value in program.outputs) if new else program

    def changed(
        self, node: Node, current: Node, share: _Share | None, wanted: Iterable[Value],
        places: dict[tuple[Node, Value], Value], build: Build,
    ) -> dict[int, Value]:  # fmt: skip
        """The scan that stacks what others want of it and reads what it shares."""
        scan = Scan(current)
        given = {value: scan.stack(value) for value in wanted}
        if share is not None:
            inputs: dict[Value, Value] = {}
            for own, other in share.pairs:
                inner = inputs[own] = scan.add_input(own.type)
                scan.xs.append(Operand(places[share.source, other], inner))
            scan.replace(inputs)
        made = scan.build(build)
        places.update(((node, value), scan.stacked_output(made, y)) for value, y in given.items())
        return scan.outputs(made)


def _share(node: Node, scans: list[Node]) -> _Share | None:
    """The best earlier scan to read from, and what."""
    scan = Scan(node)
    best: _Share | None = None
    for other in scans:
        if other.number >= node.number or other.attrs["length"] != node.attrs["length"]:
            continue
        source = Scan(other)
        if source.table is not scan.table:
            continue
        pairs = _dear(scan, _same(scan, source))
        if pairs and (best is None or len(pairs) > len(best.pairs)):
            best = _Share(other, pairs)
    return best


def _same(scan: Scan, source: Scan) -> dict[Value, Value]:
    """Values of the scan's body that the source's body has too, at the same place of the sequences."""
    outer = {x.outer: x.inner for x in source.xs}
    outer.update((source.node.outputs[n], y.inner) for y in source.ys for n in y.numbers)
    fixed = {x.outer: x.inner for x in source.consts}
    same = {x.inner: outer[x.outer] for x in scan.xs if x.outer in outer}
    if not same:
        return {}
    same.update((x.inner, fixed[x.outer]) for x in scan.consts if x.outer in fixed)
    there = set(toposort(source.made()))
    for node in toposort(scan.made()):
        if not node.inputs:
            if node.outputs[0] not in same and node in there and node.op.kind != Kind("leaf"):
                same[node.outputs[0]] = node.outputs[0]
        elif all(v in same for v in node.inputs):
            found = _found(node, tuple([same[v] for v in node.inputs]), there)
            if found is not None:
                same.update(zip(node.outputs, found.outputs, strict=True))
    return same


def _found(node: Node, inputs: tuple[Value, ...], there: set[Node]) -> Node | None:
    """The node of that op on these operands, if the other body has it."""
    types = [value.type for value in node.outputs]
    orders = [inputs, inputs[::-1]] if node.op in _COMMUTES else [inputs]
    for operands in orders:
        made = node.table.node(node.op, operands, node.attrs, lambda: types)
        if made in there:
            return made
    return None


def _dear(scan: Scan, same: dict[Value, Value]) -> list[tuple[Value, Value]]:
    """The shared values that the rest of the body reads and that are dearer to compute than to read."""
    made = scan.made()
    nodes = toposort(made)
    read = {v: None for node in nodes if not all(o in same for o in node.outputs) for v in node.inputs if v in same}
    read.update((v, None) for v in made if v in same)
    costs: dict[Value, float] = {}
    for node in nodes:
        own = _cost(node) + sum(costs.get(v, 0.0) for v in node.inputs)
        costs.update(dict.fromkeys(node.outputs, own if node.inputs else 0.0))
    return [(v, same[v]) for v in read if v.node.inputs and costs[v] >= DEAR and _base(v) not in read]


def _base(value: Value) -> Value | None:
    """What a view shows, None for other values."""
    base = value
    while isinstance(base.node.op.kind, View):
        base = base.node.inputs[0]
    return None if base is value else base


def _cost(node: Node) -> float:
    """Work for one element of the node's output."""
    kind = node.op.kind
    if isinstance(kind, View):
        return 0.0
    if isinstance(kind, Elementwise):
        return 1.0 if node.op in _CHEAP else float(DEAR)
    if isinstance(kind, Reduction):
        sizes = [int(n) if isinstance(n, int) else 1 for n in node.inputs[0].shape]
        own = [int(n) if isinstance(n, int) else 1 for n in node.outputs[0].shape]
        return math.prod(sizes) / max(math.prod(own), 1)
    return 2.0 * DEAR
