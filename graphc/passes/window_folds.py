"""Windows become folds over their elements laid out side by side, which fuse with what is around them.

Gradients are folds too: each element of the input gathers from the windows that meet it, so that nothing is scattered, and
windows that do not overlap need no fold at all.
"""

from __future__ import annotations

from math import prod

from graphc.core.dims import is_static
from graphc.core.op import Op
from graphc.core.tensor_types import int64, lowest
from graphc.ir.program import Node, Program, Value
from graphc.passes.rewrite import Build, Replacement, Rules, rewrite
from graphc.primitives.comparison import equal, where
from graphc.primitives.creation import full, iota
from graphc.primitives.reductions import reduce_max, reduce_sum
from graphc.primitives.views import expand, reshape
from graphc.primitives.window_parts import meeting_windows, place_of_maximum, window_places, windows
from graphc.primitives.windows import window_max, window_max_gradient, window_sum, window_sum_gradient


def folded(build: Build, op: Op, x: Value, n: int) -> Value:
    """x with its last n dimensions folded."""
    kept = x.type.ndim - n
    if prod(map(int, x.shape[kept:])) == 1:
        return build(reshape, x, shape=tuple(x.shape[:kept]))
    return build(op, x, axes=tuple(range(kept, x.type.ndim)))


def _windowed(x: Value, node: Node) -> bool:
    """Whether the sizes that windows go over are numbers."""
    return is_static(x.shape[x.type.ndim - len(node.attrs["kernel"]) :])


def sum_of_windows(node: Node, build: Build) -> Replacement:
    """window_sum(x) => reduce_sum(windows(x), over the windows)"""
    (x,) = node.inputs
    if not _windowed(x, node):
        return None
    return folded(build, reduce_sum, build(windows, x, value=0, **node.attrs), len(node.attrs["kernel"]))


def maximum_of_windows(node: Node, build: Build) -> Replacement:
    """window_max(x) => reduce_max(windows(x)), place_of_maximum(windows(x), window_places)"""
    (x,) = node.inputs
    n = len(node.attrs["kernel"])
    if not _windowed(x, node):
        return None
    if not n:
        return x, build(full, shape=x.shape, value=0, dtype=int64)
    found = build(windows, x, value=lowest(x.dtype), **node.attrs)
    places = build(window_places, sizes=tuple(x.shape[x.type.ndim - n :]), **node.attrs)
    axes = tuple(range(found.type.ndim - n, found.type.ndim))
    at = build(place_of_maximum, found, build(expand, places, shape=found.shape), axes=axes)
    return folded(build, reduce_max, found, n), at


def gathered_sum(node: Node, build: Build) -> Replacement:
    """window_sum_gradient(g) => reduce_sum(meeting_windows(g), over the windows that meet an element)"""
    (g,) = node.inputs
    if not _windowed(g, node):
        return None
    return folded(build, reduce_sum, build(meeting_windows, g, value=0, **node.attrs), len(node.attrs["kernel"]))


def gathered_maximum(node: Node, build: Build) -> Replacement:
    """window_max_gradient(g, i) => reduce_sum(where(meeting_windows(i) == own place, meeting_windows(g), 0))"""
    g, indices = node.inputs
    sizes, n = node.attrs["input_size"], len(node.attrs["kernel"])
    if not _windowed(g, node):
        return None
    found = build(meeting_windows, g, value=0, **node.attrs)
    chosen = build(meeting_windows, indices, value=-1, **node.attrs)
    own = build(iota, size=prod(sizes), start=0, step=1, dtype=int64)
    own = build(expand, build(reshape, own, shape=(*sizes, *(1 for _ in range(n)))), shape=found.shape)
    zero = build(full, shape=found.shape, value=0, dtype=g.dtype)
    return folded(build, reduce_sum, build(where, build(equal, chosen, own), found, zero), n)


RULES = Rules(
    {
        window_sum: (sum_of_windows,),
        window_max: (maximum_of_windows,),
        window_sum_gradient: (gathered_sum,),
        window_max_gradient: (gathered_maximum,),
    }
)


def window_folds(program: Program) -> Program:
    """Turns windows into folds."""
    return rewrite(program, RULES, "window_folds")
