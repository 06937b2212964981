"""Guards (does this element lie inside?) made cheap before a kernel is printed.

They are comparisons of sums and products of loop counters, whose ranges are known: 32 bits do, and a vector holds twice as
many of them. And a load gives 0 where its guard fails, so that a selection of 0 under the same condition says nothing new.
"""

from __future__ import annotations

import math
from dataclasses import replace

from graphc.core import scalar as s
from graphc.core.scalar import Scalar
from graphc.core.tensor_types import int32, int64
from graphc.ir.kernel import Access, Kernel

Range = tuple[int, int]

_LARGEST = (1 << 31) - 1


def narrowed(kernel: Kernel) -> Kernel:
    """The kernel with comparisons of indices in int32 where every number on the way fits, and without idle selections."""
    if not any(x.op == "index" for tree in kernel.trees() for x in s.postorder(tree)):
        return kernel

    def working(x: Scalar) -> Scalar:
        return x.args[1] if x.op == "select" and _is_idle(x, kernel) else x

    def rule(x: Scalar) -> Scalar:
        if x.op not in ("lt", "le", "eq", "ne") or x.args[0].dtype is not int64:
            return x
        narrow = [_narrow(arg, kernel.extents) for arg in x.args]
        return x if None in narrow else s.node(x.op, *narrow)

    def access(x: Access) -> Access:
        guard = None if x.guard is None else s.rebuild(x.guard, rule)
        return x._replace(computed=tuple((s.rebuild(tree, rule), k) for tree, k in x.computed), guard=guard)

    sources = tuple(access(x) if isinstance(x, Access) else x for x in kernel.sources)
    statements = tuple(
        replace(
            x,
            tree=s.rebuild(s.rebuild(x.tree, working), rule),
            store=None if x.store is None else access(x.store),
            position=None if x.position is None else s.rebuild(x.position, rule),
        )
        for x in kernel.statements
    )
    return replace(kernel, sources=sources, statements=statements)


def _is_idle(x: Scalar, kernel: Kernel) -> bool:
    """Whether it is a load or, where that load's own guard fails, 0."""
    condition, chosen, other = x.args
    if chosen.op != "leaf" or other.op != "const" or other.value != 0 or math.copysign(1, other.value) < 0:
        return False
    source = kernel.sources[chosen.value]
    if not isinstance(source, Access) or source.guard is None:
        return False
    tested = conjuncts(source.guard)
    return all(part in tested for part in conjuncts(condition))


def conjuncts(tree: Scalar) -> list[Scalar]:
    """The conditions that all must hold."""
    return [x for arg in tree.args for x in conjuncts(arg)] if tree.op == "and" else [tree]


def _narrow(root: Scalar, extents: tuple[int, ...]) -> Scalar | None:
    """The same number as an int32 tree; None where a number on the way may not fit, or is not made of counters."""
    ranges: dict[int, Range] = {}
    new: dict[int, Scalar] = {}
    for x in s.postorder(root):
        found = _range(x, [ranges[id(a)] for a in x.args], extents)
        if found is None or max(-found[0], found[1]) > _LARGEST:
            return None
        ranges[id(x)] = found
        if x.op == "index":
            new[id(x)] = s.cast(x, int32)
        elif x.op == "const":
            new[id(x)] = s.const(x.value, int32)
        else:
            new[id(x)] = s.node(x.op, *(new[id(a)] for a in x.args))
    return new[id(root)]


def _range(x: Scalar, args: list[Range], extents: tuple[int, ...]) -> Range | None:
    """The least and the greatest value of a node; None if they are not known."""
    if x.dtype is not int64:
        return None
    if x.op == "index":
        return 0, max(extents[x.value] - 1, 0)
    if x.op == "const":
        return x.value, x.value
    if x.op == "add":
        return args[0][0] + args[1][0], args[0][1] + args[1][1]
    if x.op == "sub":
        return args[0][0] - args[1][1], args[0][1] - args[1][0]
    if x.op == "mul":
        ends = [a * b for a in args[0] for b in args[1]]
        return min(ends), max(ends)
    if x.op in ("quot", "rem") and args[1][0] == args[1][1] > 0:
        most = max(-args[0][0], args[0][1])
        return -most, most
    return None
