"""Folds of much into little are done in two steps, so that the first can be done in parts side by side."""

from __future__ import annotations

import math

from graphc.core.dims import is_static
from graphc.core.op import Reduction
from graphc.core.tensor_types import bfloat16, float16
from graphc.ir.program import Node, Program
from graphc.passes.rewrite import Build, Replacement, Rules, rewrite
from graphc.primitives.views import reshape

#: Fewer results than this leave too little to do side by side: of folds across rows, whose results share vectors, and of folds
#: along them, which may share a pass with what reads the row again.
FEW, FEW_ROWS = 256, 32
#: Longer rows do not stay near the processor between two passes over them.
LONGEST_ROW = 65536
#: More elements than this are worth two steps.
MANY = 1 << 15
#: The first step gives at most this many partial results for each result, at least LEAST.
MOST, LEAST = 64, 4
#: Elements that a part should have at least where there are more parts.
PART = 4096


def _parts(size: int, most: int = MOST) -> int:
    """The largest divisor that is a fitting number of parts, 1 if there is none."""
    return next((n for n in range(min(most, size), LEAST - 1, -1) if size % n == 0), 1)


def split(node: Node, build: Build) -> Replacement:
    """reduce(x, axes) => reduce(reduce(x in parts, axes), parts), where few results come from many elements"""
    if not isinstance(node.op.kind, Reduction):
        return None
    (x,) = node.inputs
    if not is_static(x.shape) or x.dtype in (float16, bfloat16):
        return None
    axes: tuple[int, ...] = node.attrs["axes"]
    folded = [int(x.shape[a]) for a in axes]
    results = math.prod(int(n) for n in node.outputs[0].shape)
    along = axes == tuple(range(x.type.ndim - len(axes), x.type.ndim)) and math.prod(folded) <= LONGEST_ROW
    if (
        results >= (FEW_ROWS if along else FEW)
        or math.prod(folded) * max(results, 1) < MANY
        or math.prod(folded) < 4096
    ):
        return None
    axis = next((a for a in axes if x.shape[a] != 1), None)
    if axis is None:
        return None
    if results == 1 and len(axes) == x.type.ndim:  # everything: one long row
        size, axis, axes = math.prod(folded), 0, (0,)
        shape: tuple[int, ...] = (size,)
    else:
        size, shape = int(x.shape[axis]), tuple(map(int, x.shape))
    parts = _parts(size)
    if parts == 1 or parts == size:
        return None
    finer = (*shape[:axis], parts, size // parts, *shape[axis + 1 :])
    inner = tuple(sorted(a + 1 if a >= axis else a for a in axes))
    partial = build(node.op, build(reshape, x, shape=finer), axes=inner)
    kept = axis - sum(a < axis for a in axes)
    total = build(node.op, partial, axes=(kept,))
    return total if total.shape == node.outputs[0].shape else build(reshape, total, shape=node.outputs[0].shape)


RULES = Rules({}, others=(split,))


def split_reductions(program: Program) -> Program:
    """Splits folds of much into little."""
    return rewrite(program, RULES, "split_reductions")


def split_for_groups(program: Program, groups: int) -> Program:
    """Splits folds of everything, which have been split, into up to so many parts."""

    def split_further(node: Node, build: Build) -> Replacement:
        """reduce(reduce(x in parts)) => reduce(reduce(x in more parts)), where x is folded into one number"""
        if (
            not isinstance(node.op.kind, Reduction)
            or node.inputs[0].node.op is not node.op
            or node.outputs[0].type.size != 1
        ):
            return None
        (partial,), (x,) = node.inputs, node.inputs[0].node.inputs
        if not is_static(x.shape) or x.dtype in (float16, bfloat16) or build.uses(partial) > 1:
            return None
        size = int(x.type.size)
        parts = _parts(size, min(groups, size // PART))
        if parts < 2 * int(partial.type.size):
            return None
        rows = build(node.op, build(reshape, x, shape=(parts, size // parts)), axes=(1,))
        total = build(node.op, rows, axes=(0,))
        return total if total.shape == node.outputs[0].shape else build(reshape, total, shape=node.outputs[0].shape)

    return rewrite(program, Rules({}, others=(split_further,)), "split_for_groups") if groups > MOST else program
