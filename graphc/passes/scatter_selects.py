"""Scatters that write one place of each row become selections, which fuse with what is around them.

The gradient of picking one class per row (cross-entropy) is such a scatter.
"""

from __future__ import annotations

from graphc.core.tensor_types import int64
from graphc.ir.program import Node, Program, Value
from graphc.passes.rewrite import Build, Replacement, Rules, rewrite
from graphc.primitives.arithmetic import add
from graphc.primitives.comparison import equal, where
from graphc.primitives.creation import iota
from graphc.primitives.indexing import checked_index, scatter, scatter_add
from graphc.primitives.views import expand, reshape


def _selected(node: Node, build: Build) -> tuple[Value, Value] | None:
    """For a scatter of one place a row: which elements are written, and the source laid out like the result."""
    x, index, src = node.inputs
    axis, shape = node.attrs["axis"], x.shape
    rows = tuple(1 if n == axis else size for n, size in enumerate(shape))
    if index.shape != rows or not shape:
        return None
    place = build(checked_index, index, size=shape[axis], axis=axis)
    line = tuple(size if n == axis else 1 for n, size in enumerate(shape))
    counter = build(reshape, build(iota, size=shape[axis], start=0, step=1, dtype=int64), shape=line)
    here = build(equal, build(expand, counter, shape=shape), build(expand, place, shape=shape))
    return here, build(expand, src, shape=shape)


def scatter_one(node: Node, build: Build) -> Replacement:
    """scatter(x, index, src) with one place a row => where(places == index, src, x)"""
    found = _selected(node, build)
    return None if found is None else build(where, *found, node.inputs[0])


def scatter_add_one(node: Node, build: Build) -> Replacement:
    """scatter_add(x, index, src) with one place a row => where(places == index, x + src, x)"""
    found = _selected(node, build)
    if found is None:
        return None
    here, src = found
    x = node.inputs[0]
    return build(where, here, build(add, x, src), x)


RULES = Rules({scatter: (scatter_one,), scatter_add: (scatter_add_one,)})


def scatter_selects(program: Program) -> Program:
    """Turns scatters of one place a row into selections."""
    return rewrite(program, RULES, "scatter_selects")
