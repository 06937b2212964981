"""Canonical views: at most one view where several follow each other, none where nothing moves.

Reshape is preferred where several views say the same: over a permutation that moves only axes of size one, and over an
expansion that only adds them.
"""

from __future__ import annotations

from graphc.core.dims import Size, is_static
from graphc.ir.program import Node, Program, Value
from graphc.passes.rewrite import Build, Replacement, Rules, rewrite
from graphc.passes.splats import broadcast_plainly
from graphc.primitives.joining import pad
from graphc.primitives.views import expand, flip, permute, reshape, slice_, slice_put


def same_shape(node: Node, build: Build) -> Replacement:
    """reshape(x, x.shape) => x, and so for expand"""
    (x,) = node.inputs
    return x if x.type.shape == node.outputs[0].type.shape else None


def reshape_of_reshape(node: Node, build: Build) -> Replacement:
    """reshape(reshape(x, a), b) => reshape(x, b)"""
    (x,) = node.inputs
    if x.node.op is not reshape:
        return None
    return build(reshape, x.node.inputs[0], shape=node.attrs["shape"])


def permute_of_permute(node: Node, build: Build) -> Replacement:
    """permute(permute(x, a), b) => permute(x, a[b])"""
    (x,) = node.inputs
    if x.node.op is not permute:
        return None
    inner = x.node.attrs["axes"]
    return build(permute, x.node.inputs[0], axes=tuple(inner[a] for a in node.attrs["axes"]))


def permute_in_place(node: Node, build: Build) -> Replacement:
    """permute(x, (0, 1, ...)) => x"""
    axes = node.attrs["axes"]
    return node.inputs[0] if axes == tuple(range(len(axes))) else None


def permute_of_ones(node: Node, build: Build) -> Replacement:
    """permute(x) that moves only axes of size 1 => reshape(x)"""
    (x,) = node.inputs
    moved = [a for a in node.attrs["axes"] if x.type.shape[a] != 1]
    if moved != sorted(moved):
        return None
    return build(reshape, x, shape=node.outputs[0].type.shape)


def expand_of_expand(node: Node, build: Build) -> Replacement:
    """expand(expand(x, a), b) => expand(x, b)"""
    (x,) = node.inputs
    if x.node.op is not expand:
        return None
    return build(expand, x.node.inputs[0], shape=node.attrs["shape"])


def expand_by_ones(node: Node, build: Build) -> Replacement:
    """expand(x: [3], (1, 3)) => reshape(x, (1, 3))"""
    (x,) = node.inputs
    shape = node.outputs[0].type.shape
    lead = len(shape) - x.type.ndim
    if shape[lead:] != x.type.shape or any(size != 1 for size in shape[:lead]):
        return None
    return build(reshape, x, shape=shape)


def expand_of_added_ones(node: Node, build: Build) -> Replacement:
    """expand(reshape(x: [3], (1, 3)), (2, 3)) => expand(x, (2, 3))"""
    (x,) = node.inputs
    if x.node.op is not reshape:
        return None
    (inner,) = x.node.inputs
    shape = x.type.shape
    lead = len(shape) - inner.type.ndim
    if lead <= 0 or shape[lead:] != inner.type.shape or any(size != 1 for size in shape[:lead]):
        return None
    return build(expand, inner, shape=node.attrs["shape"])


def slice_of_all(node: Node, build: Build) -> Replacement:
    """slice_(x) of everything => x"""
    (x,) = node.inputs
    return x if _takes_all(node, x) else None


def _takes_all(node: Node, x: Value) -> bool:
    attrs = node.attrs
    return (
        attrs["limits"] == x.type.shape
        and all(start == 0 for start in attrs["starts"])
        and all(stride == 1 for stride in attrs["strides"])
    )


def slice_of_slice(node: Node, build: Build) -> Replacement:
    """slice_(slice_(x)) => slice_(x)"""
    (x,) = node.inputs
    if x.node.op is not slice_:
        return None
    first, second = x.node.attrs, node.attrs
    starts: list[Size] = []
    limits: list[Size] = []
    strides: list[int] = []
    for a1, s1, a2, b2, s2 in zip(
        first["starts"], first["strides"], second["starts"], second["limits"], second["strides"], strict=True
    ):
        if s1 == 1:
            start, limit = a1 + a2, a1 + b2
        elif not is_static((a1, a2, b2)):
            return None
        elif b2 > a2:
            start, limit = a1 + a2 * s1, a1 + (b2 - 1) * s1 + 1
        else:  # nothing: a2 steps of s1 may lie beyond the end
            start, limit = a1, a1
        starts.append(start)
        limits.append(limit)
        strides.append(s1 * s2)
    if is_static((*starts, *limits)) and any(a > b for a, b in zip(starts, limits, strict=True)):
        return None
    bounds = {"starts": tuple(starts), "limits": tuple(limits), "strides": tuple(strides)}
    return build(slice_, x.node.inputs[0], **bounds)


def flip_of_nothing(node: Node, build: Build) -> Replacement:
    """flip(x, ()) => x; axes of size 0 and 1 do not count"""
    (x,) = node.inputs
    axes = tuple(a for a in node.attrs["axes"] if x.type.shape[a] not in (0, 1))
    if axes == node.attrs["axes"]:
        return None if axes else x
    return build(flip, x, axes=axes) if axes else x


def flip_of_flip(node: Node, build: Build) -> Replacement:
    """flip(flip(x, a), b) => flip(x, axes in one of a and b)"""
    (x,) = node.inputs
    if x.node.op is not flip:
        return None
    axes = set(node.attrs["axes"]) ^ set(x.node.attrs["axes"])
    return build(flip, x.node.inputs[0], axes=tuple(sorted(axes)))


def pad_by_nothing(node: Node, build: Build) -> Replacement:
    """pad(x, low=0, high=0) => x"""
    nothing = all(amount == 0 for amount in (*node.attrs["low"], *node.attrs["high"]))
    return node.inputs[0] if nothing else None


def put_all(node: Node, build: Build) -> Replacement:
    """slice_put(base, value) of everything => value"""
    base, value = node.inputs
    return value if _takes_all(node, base) else None


def operand_of_elementwise(node: Node, build: Build) -> Replacement:
    """f(expand(x), y) => f(x, y) where y alone gives the shape"""
    for i, value in enumerate(node.inputs):
        if value.node.op is expand:
            inputs = [*node.inputs[:i], value.node.inputs[0], *node.inputs[i + 1 :]]
            if broadcast_plainly(*[v.type.shape for v in inputs]) == node.outputs[0].type.shape:
                return build(node.op, *inputs, **node.attrs)
    return None


RULES = Rules(
    {
        reshape: (same_shape, reshape_of_reshape),
        permute: (permute_in_place, permute_of_permute, permute_of_ones),
        expand: (same_shape, expand_of_expand, expand_by_ones, expand_of_added_ones),
        slice_: (slice_of_all, slice_of_slice),
        flip: (flip_of_nothing, flip_of_flip),
        pad: (pad_by_nothing,),
        slice_put: (put_all,),
    },
    elementwise=(operand_of_elementwise,),
)


def canonical_views(program: Program) -> Program:
    """Merges views that follow each other and drops those that move nothing."""
    return rewrite(program, RULES, "canonical_views")
