"""Scans carry, read and stack only what somebody needs.

Carries before each step that the gradient does not read are not kept, results nobody reads are not made, a carry that only
makes itself goes, one that never changes is a constant, sequences and constants of one number are numbers in the body.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.core.tensor_types import FLOAT
from graphc.ir.program import Node, Program, Value, consumers
from graphc.passes.rewrite import Build
from graphc.passes.scans import Carry, Operand, Scan, Stacked, leaves_of, rewrite_scans
from graphc.passes.splats import Number, is_splat, splat
from graphc.primitives.creation import full
from graphc.primitives.elementwise import add


def prune_scans(program: Program) -> Program:
    """Drops what scans need not carry, read or stack. A sequence of 0.0 that is added goes: the sign of a zero may change."""
    return rewrite_scans(program, _pruned)


def _pruned(node: Node, read: Sequence[bool], build: Build) -> dict[int, Value] | None:
    scan = Scan(node)
    steps = (
        _read_outputs(scan, read),
        _given_outputs(scan),
        _still_carries(scan),
        _needed_carries(scan, read),
        _numbers(scan),
        _read_inputs(scan),
    )
    if not any(steps) and not node.attrs["history"]:
        return None
    return scan.outputs(scan.build(build))


def _read_outputs(scan: Scan, read: Sequence[bool]) -> bool:
    """Stacked outputs that are read, each once."""
    kept: dict[Value, Stacked] = {}
    for y in scan.ys:
        numbers = tuple([n for n in y.numbers if read[n]])
        if numbers:
            known = kept.setdefault(y.inner, Stacked(y.inner))
            known.numbers += numbers
    changed = len(kept) < len(scan.ys)
    scan.ys = list(kept.values())
    return changed


def _given_outputs(scan: Scan) -> bool:
    """Stacked outputs that are a sequence are that sequence."""
    outer = {x.inner: x.outer for x in scan.xs}
    given = [y for y in scan.ys if y.inner in outer]
    scan.results.update((number, outer[y.inner]) for y in given for number in y.numbers)
    scan.ys = [y for y in scan.ys if y.inner not in outer]
    return bool(given)


def _still_carries(scan: Scan) -> bool:
    """Carries that the body hands on as they are become constants."""
    still = [c for c in scan.carries if c.output is c.input]
    for carry in still:
        scan.carries.remove(carry)
        scan.consts.append(Operand(carry.init, carry.input))
        scan.results[_number_of(carry)] = carry.init
    return bool(still)


def _number_of(carry: Carry) -> int:
    assert carry.number is not None
    return carry.number


def _needed_carries(scan: Scan, read: Sequence[bool]) -> bool:
    """Carries that are read afterwards or make something that is needed."""
    needed = [y.inner for y in scan.ys] + [c.output for c in scan.carries if read[_number_of(c)]]
    kept = [c for c in scan.carries if read[_number_of(c)]]
    while True:
        leaves = leaves_of(needed)
        more = [c for c in scan.carries if c not in kept and c.input in leaves]
        if not more:
            break
        kept += more
        needed += [c.output for c in more]
    changed = len(kept) < len(scan.carries)
    scan.carries = [c for c in scan.carries if c in kept]
    return changed


def _numbers(scan: Scan) -> bool:
    """Operands of one number."""
    numbers: dict[Value, Value] = {}
    for operand in (*scan.consts, *scan.xs):
        number = splat(operand.outer)
        if number is not None:
            numbers[operand.inner] = _number(scan, operand, number)
    if numbers:
        scan.replace(numbers)
        scan.consts = [x for x in scan.consts if x.inner not in numbers]
        scan.xs = [x for x in scan.xs if x.inner not in numbers]
    return bool(numbers)


def _number(scan: Scan, operand: Operand, number: Number) -> Value:
    """The number in the body; -0.0, which changes nothing, for a 0.0 that is only added."""
    inner = operand.inner
    if inner.dtype.category == FLOAT and is_splat(operand.outer, 0.0):
        body = Program(scan.table, (), tuple(scan.made()))
        readers = consumers(body).get(inner, [])
        if inner not in body.outputs and all(reader.op is add for reader in readers):
            number = -0.0
    attrs = {"shape": inner.shape, "value": number, "dtype": inner.dtype}
    return scan.table.apply(full, (), attrs).outputs[0]


def _read_inputs(scan: Scan) -> bool:
    """Constants and sequences that the body reads, each once."""
    leaves = leaves_of(scan.made())
    again: dict[Value, Value] = {}
    for group in (scan.consts, scan.xs):
        known: dict[Value, Value] = {}
        for x in group:
            first = known.setdefault(x.outer, x.inner)
            if first is not x.inner:
                again[x.inner] = first
    before = len(scan.consts) + len(scan.xs)
    if again:
        scan.replace(again)
    scan.consts = [x for x in scan.consts if x.inner in leaves and x.inner not in again]
    scan.xs = [x for x in scan.xs if x.inner in leaves and x.inner not in again]
    return len(scan.consts) + len(scan.xs) < before
