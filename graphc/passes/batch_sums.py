"""Sums that a scan carries over its steps are taken after it, over all steps at once.

The gradient of a weight is the sum over time of `g^T h`: step by step it is many small products that each read and write the
whole sum, after the scan it is one product over time and batch. The same for biases, which are sums of `g`. Exact up to the
order of additions.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.core.dims import is_static
from graphc.ir.program import Node, Program, Value, consumers
from graphc.passes.rewrite import Build
from graphc.passes.scans import Carry, Scan, Stacked, rewrite_scans
from graphc.passes.splats import is_splat
from graphc.primitives.contraction import matmul
from graphc.primitives.elementwise import add
from graphc.primitives.reductions import reduce_sum
from graphc.primitives.views import permute, reshape


def batch_sums(program: Program) -> Program:
    """Takes sums of products, and of sums, out of scans."""
    return rewrite_scans(program, _batched)


def _batched(node: Node, read: Sequence[bool], build: Build) -> dict[int, Value] | None:
    if node.attrs["history"] or not isinstance(node.attrs["length"], int) or not node.attrs["length"]:
        return None
    scan = Scan(node)
    found = {id(c): term for c in scan.carries if (term := _term(scan, c)) is not None}
    sums = [c for c in scan.carries if id(c) in found]
    if not sums:
        return None
    scan.carries = [c for c in scan.carries if id(c) not in found]
    totals = _Totals(scan, build)
    for carry in sums:
        totals.prepare(found[id(carry)])
    totals.node = scan.build(build)
    for carry in sums:
        total = totals.total(found[id(carry)])
        assert carry.number is not None
        scan.results[carry.number] = (
            total if is_splat(carry.init, 0) or is_splat(carry.init, 0.0) else build(add, carry.init, total)
        )
    return scan.outputs(totals.node)


def _term(scan: Scan, carry: Carry) -> Value | None:
    """What a carry is the sum of, if it is nothing but the sum of something that can be summed later."""
    node = carry.output.node
    if node.op is not add or carry.input not in node.inputs or node.inputs[0] is node.inputs[1]:
        return None
    readers = consumers(Program(scan.table, (), tuple(scan.made())))
    if readers.get(carry.input) != [node] or readers.get(carry.output) or carry.input in scan.made():
        return None
    if scan.made().count(carry.output) > 1:
        return None
    term = next(v for v in node.inputs if v is not carry.input)
    return term if term.type == carry.output.type and _can_wait(term) else None


def _can_wait(term: Value) -> bool:
    """Whether the sum over all steps of this is one product or fold of stacked values."""
    node = term.node
    if node.op is reshape or node.op is permute:
        return is_static(node.inputs[0].shape) and _can_wait(node.inputs[0])
    if node.op is matmul:
        return all(v.type.ndim == 2 and is_static(v.shape) for v in node.inputs)
    return node.op is reduce_sum and is_static(node.inputs[0].shape)


class _Totals:
    """Makes sums over all steps of terms, from what the scan stacks."""

    def __init__(self, scan: Scan, build: Build):
        self.scan, self.build = scan, build
        self.node: Node | None = None
        self.steps = {x.inner: x.outer for x in scan.xs}
        self.stacked: dict[Value, Stacked] = {}

    def prepare(self, term: Value) -> None:
        """Sees to it that what the term reads is stacked."""
        node = term.node
        for value in node.inputs:
            if node.op is reshape or node.op is permute:
                self.prepare(value)
            elif value not in self.steps:
                self.stacked[value] = self.scan.stack(value)

    def all_steps(self, value: Value) -> Value:
        """The values of all steps, stacked."""
        if value in self.steps:
            return self.steps[value]
        assert self.node is not None
        return self.scan.stacked_output(self.node, self.stacked[value])

    def total(self, term: Value) -> Value:
        """The sum of a term over all steps."""
        node, build = term.node, self.build
        if node.op is reshape or node.op is permute:
            return build(node.op, self.total(node.inputs[0]), **node.attrs)
        if node.op is reduce_sum:
            axes = (0, *(a + 1 for a in node.attrs["axes"]))
            return build(reduce_sum, self.all_steps(node.inputs[0]), axes=axes)
        a = self.rows(node.inputs[0], node.attrs["transpose_a"])
        b = self.rows(node.inputs[1], not node.attrs["transpose_b"])
        return build(matmul, a, b, transpose_a=True, transpose_b=False)

    def rows(self, value: Value, contracted_first: bool) -> Value:
        """All steps as one matrix whose rows are steps and contracted places."""
        x = self.all_steps(value)
        if not contracted_first:
            x = self.build(permute, x, axes=(0, 2, 1))
        steps, rows, columns = map(int, x.shape)
        return self.build(reshape, x, shape=(steps * rows, columns))
