"""Convolutions in the form that suits their numbers.

Floats of enough channels are left to products on columns (planning/convolutions.py), the weight's gradient as a sum of
equal parts of the batch. Few channels in a group (depthwise), and integers, become folds over windows, which fuse; 16-bit
floats are computed in float32, and what is made of nothing is zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from graphc.core.dims import is_static
from graphc.core.tensor_types import bfloat16, float16, float32, float64
from graphc.ir.program import Node, Program, Value
from graphc.passes.rewrite import Build, Replacement, Rules, rewrite
from graphc.primitives.arithmetic import cast, multiply
from graphc.primitives.convolution import (
    convolution,
    convolution_input_gradient,
    convolution_weight_gradient,
    convolution_weight_parts,
)
from graphc.primitives.creation import full
from graphc.primitives.reductions import reduce_sum
from graphc.primitives.views import expand, permute, reshape
from graphc.primitives.window_parts import windows, windows_by_place

#: Fewer filters than this in a group, with less than that many weights each, fill no tile of a product.
FEW_FILTERS, FEW_WEIGHTS = 4, 64
#: The weight's gradient is summed in at most this many parts, which take at most this many bytes, but two in any case.
PARTS, PARTS_BYTES = 8, 1 << 22

_OPS = (convolution, convolution_input_gradient, convolution_weight_gradient)


def of_nothing(node: Node, build: Build) -> Replacement:
    """a convolution that sums no products => zeros"""
    out = node.outputs[0]
    if not is_static(tuple(n for x in (out, *node.inputs) for n in x.shape)) or all(x.type.size for x in node.inputs):
        return None
    return build(full, shape=out.shape, value=0, dtype=out.dtype)


def of_halves(node: Node, build: Build) -> Replacement:
    """conv(x, w) of 16-bit floats => cast(conv(cast(x), cast(w)))"""
    dtype = node.outputs[0].dtype
    if dtype not in (float16, bfloat16):
        return None
    a, b = (build(cast, x, dtype=float32) for x in node.inputs)
    return build(cast, build(node.op, a, b, **node.attrs), dtype=dtype)


def _is_product(node: Node, weight: tuple[int, ...]) -> bool:
    """Whether products on columns suit; `weight`: filters, channels of a group, kernel."""
    filters = weight[0] // node.attrs["groups"]
    many = filters >= FEW_FILTERS or prod(weight[1:]) >= FEW_WEIGHTS
    return node.outputs[0].dtype in (float32, float64) and many


def _weight_shape(node: Node) -> tuple[int, ...]:
    return tuple(map(int, node.outputs[0].shape if node.op is convolution_weight_gradient else node.inputs[1].shape))


def _window(attrs: Mapping[str, Any], kernel: tuple[int, ...]) -> dict[str, Any]:
    return {
        "kernel": kernel, "stride": attrs["stride"], "padding": attrs["padding"], "dilation": attrs["dilation"],
        "value": 0,
    }  # fmt: skip


class _Numbers:
    """A node's operands with groups apart, and the axes of what they are laid out to: [n, group, filter, channel, own, kernel].

    `own`: the spatial dimensions of the output, of g for the weight's gradient.
    """

    def __init__(self, node: Node, build: Build):
        self.build, self.groups = build, node.attrs["groups"]
        self.weight = _weight_shape(node)
        self.filters, self.channels, self.kernel = self.weight[0] // self.groups, self.weight[1], self.weight[2:]
        self.d = len(self.kernel)
        self.window = _window(node.attrs, self.kernel)

    def per_channel(self, x: Value) -> Value:
        """x: [n, channels, *] -> [n, groups, 1, channels of a group, *]."""
        rest = x.shape[2:]
        return self.build(reshape, x, shape=(x.shape[0], self.groups, 1, self.channels, *rest))

    def per_filter(self, g: Value, trailing: int) -> Value:
        """g: [n, filters, *] -> [n, groups, filters of a group, 1, *, 1...]."""
        rest = (*g.shape[2:], *(1 for _ in range(trailing)))
        return self.build(reshape, g, shape=(g.shape[0], self.groups, self.filters, 1, *rest))

    def weights(self, w: Value) -> Value:
        """w: [filters, channels, *kernel] -> [1, groups, filters, channels, 1..., *kernel]."""
        ones = tuple(1 for _ in range(self.d))
        return self.build(reshape, w, shape=(1, self.groups, self.filters, self.channels, *ones, *self.kernel))

    def products(self, a: Value, b: Value, kept: tuple[int, ...]) -> Value:
        """The sums of a * b (broadcast against each other), the axes `kept` left, in their order."""
        shape = tuple(max(m, n) if m and n else 0 for m, n in zip(map(int, a.shape), map(int, b.shape), strict=True))
        order = (*kept, *(axis for axis in range(len(shape)) if axis not in kept))
        a, b = (self.build(permute, self.build(expand, x, shape=shape), axes=order) for x in (a, b))
        product = self.build(multiply, a, b)
        return self.build(reduce_sum, product, axes=tuple(range(len(kept), len(shape))))


def by_fold(node: Node, build: Build) -> Replacement:
    """conv(x, w) of few filters, or of integers => reduce_sum(windows(x) * w)"""
    a, b = node.inputs
    if not is_static((*a.shape, *b.shape)) or _is_product(node, _weight_shape(node)):
        return None
    to = _Numbers(node, build)
    d = to.d
    own = tuple(range(4, 4 + d))
    if node.op is convolution:
        found = to.products(build(windows, to.per_channel(a), **to.window), to.weights(b), (0, 1, 2, *own))
    elif node.op is convolution_input_gradient:
        sizes = tuple(map(int, node.attrs["input_size"]))
        spread = build(windows_by_place, to.per_filter(a, 0), input_size=sizes, **to.window)
        found = to.products(spread, to.weights(b), (0, 1, 3, *own))
    else:
        beside = tuple(range(4 + d, 4 + 2 * d))
        found = to.products(
            build(windows, to.per_channel(a), **to.window), to.per_filter(b, d), (1, 2, 3, *beside)
        )  # fmt: skip
    return build(reshape, found, shape=node.outputs[0].shape)


def in_parts(node: Node, build: Build) -> Replacement:
    """convolution_weight_gradient(x, g) => reduce_sum(convolution_weight_parts(x, g), over the parts)"""
    x, g = node.inputs
    out = node.outputs[0]
    if not is_static((*x.shape, *g.shape)) or not _is_product(node, _weight_shape(node)):
        return None
    fitting = PARTS_BYTES // (int(out.type.size) * out.dtype.itemsize)
    batch = int(x.shape[0])
    most = max(1, min(batch, PARTS, max(2, fitting)))
    parts = next((n for n in range(most, 1, -1) if batch % n == 0), most)
    found = build(convolution_weight_parts, x, g, parts=parts, **node.attrs)
    return build(reshape, found, shape=out.shape) if parts == 1 else build(reduce_sum, found, axes=(0,))


RULES = Rules(dict.fromkeys(_OPS, (of_nothing, of_halves, by_fold))).together(
    Rules({convolution_weight_gradient: (in_parts,)})
)


def convolution_folds(program: Program) -> Program:
    """Gives convolutions the form that suits their numbers."""
    return rewrite(program, RULES, "convolution_folds")
