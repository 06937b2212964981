"""Zeros around parts that lie beside each other, added up, are the parts joined.

The gradient of splitting a tensor (the gates of a recurrence, the heads of attention) is such a sum.
"""

from __future__ import annotations

from graphc.core.dims import is_static
from graphc.ir.program import Node, Program, Value
from graphc.passes.rewrite import Build, Replacement, Rules, rewrite
from graphc.passes.splats import filled, is_splat
from graphc.primitives.elementwise import add
from graphc.primitives.joining import concat, pad

#: (start, value) of the parts of a tensor that is 0.0 everywhere else
Parts = list[tuple[int, Value]]


def _parts(value: Value) -> tuple[int, Parts] | None:
    """The axis and the parts of a value that is parts among zeros."""
    node = value.node
    if node.op is pad and node.attrs["value"] == 0:
        low, high = node.attrs["low"], node.attrs["high"]
        axes = [a for a in range(len(low)) if low[a] != 0 or high[a] != 0]
        return (axes[0], [(low[axes[0]], node.inputs[0])]) if len(axes) == 1 else None
    if node.op is concat:
        axis, start, parts = node.attrs["axis"], 0, []
        for x in node.inputs:
            if not is_splat(x, 0.0) and not is_splat(x, 0):
                parts.append((start, x))
            start += x.shape[axis]
        return (axis, parts) if len(parts) < len(node.inputs) else None
    return None


def join(node: Node, build: Build) -> Replacement:
    """pad(x) + pad(y), beside each other => concat(x, y), with zeros in gaps; -0.0 in them stays -0.0"""
    a, b = (_parts(v) for v in node.inputs)
    shape = node.outputs[0].shape
    if a is None or b is None or a[0] != b[0] or not is_static(shape):
        return None
    if any(v.type != node.outputs[0].type for v in node.inputs):
        return None
    axis, parts = a[0], sorted([*a[1], *b[1]], key=lambda part: part[0])
    pieces: list[Value] = []
    end = 0
    for start, value in [*parts, (int(shape[axis]), None)]:
        if start < end:
            return None
        if start > end:
            gap = tuple(start - end if i == axis else n for i, n in enumerate(shape))
            pieces.append(filled(build, node.outputs[0].type.with_shape(gap), 0))
        if value is not None:
            pieces.append(value)
            end = start + int(value.shape[axis])
    return build(concat, *pieces, axis=axis)


RULES = Rules({add: (join,)})


def join_pads(program: Program) -> Program:
    """Turns sums of padded parts into joins."""
    return rewrite(program, RULES, "join_pads")
