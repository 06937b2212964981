"""What ONNX has no op for, or onnxruntime no kernel, in other primitives, before a program is written.

Products over windows laid out side by side stand for convolutions that are not of float32 and for the gradient of weights;
sums and maxima over them for pooling that is not of float32, and wherever the places of maxima are asked for.
"""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Any

from graphc.core.dims import is_static, product
from graphc.core.tensor_types import float32, int64
from graphc.ir.program import Node, Program, Value
from graphc.passes.convolution_folds import of_halves, of_nothing
from graphc.passes.rewrite import Build, Replacement, Rules, rewrite
from graphc.passes.window_folds import gathered_maximum, gathered_sum, maximum_of_windows, sum_of_windows
from graphc.primitives.contraction import matmul, matmul_add
from graphc.primitives.convolution import (
    convolution,
    convolution_input_gradient,
    convolution_weight_gradient,
    convolution_weight_parts,
)
from graphc.primitives.creation import full, iota
from graphc.primitives.elementwise import add, cast, multiply
from graphc.primitives.joining import concat
from graphc.primitives.reductions import reduce_max, reduce_sum
from graphc.primitives.views import expand, permute, reshape, slice_
from graphc.primitives.window_parts import place_of_maximum, windows, windows_by_place
from graphc.primitives.windows import window_max, window_max_gradient, window_sum, window_sum_gradient


def _window(attrs: Any, kernel: tuple[Any, ...]) -> dict[str, Any]:
    names = ("stride", "padding", "dilation")
    return {"kernel": kernel, "value": 0, **{name: attrs[name] for name in names}}


class _Parts:
    """The numbers of a convolution, and products of its operands with groups apart."""

    def __init__(self, node: Node, build: Build, weight: Any):
        self.build, self.groups = build, node.attrs["groups"]
        self.filters, self.channels, self.kernel = weight[0] // self.groups, weight[1], tuple(weight[2:])
        self.d, self.window = len(self.kernel), _window(node.attrs, self.kernel)

    def split(self, x: Value, own: int) -> Value:
        """x: [n, groups * own, *] -> [n, groups, own, *]."""
        return self.build(reshape, x, shape=(x.shape[0], self.groups, own, *x.shape[2:]))

    def arranged(self, x: Value, axes: tuple[int, ...], shape: tuple[Any, ...]) -> Value:
        return self.build(reshape, self.build(permute, x, axes=axes), shape=shape)

    def product(self, a: Value, b: Value) -> Value:
        return self.build(matmul, a, b, transpose_a=False, transpose_b=False)


def _axes(first: int, count: int) -> tuple[int, ...]:
    return tuple(range(first, first + count))


def convolution_by_product(node: Node, build: Build) -> Replacement:
    """convolution(x, w), not of float32 => matmul(windows(x), w)"""
    x, w = node.inputs
    if x.dtype is float32 or not is_static((*x.shape[2:], *w.shape)):
        return None
    p, d = _Parts(node, build, w.shape), len(w.shape) - 2
    laid = build(windows, p.split(x, p.channels), **p.window)  # [n, g, c, *own, *kernel]
    own, inner = node.outputs[0].shape[2:], p.channels * prod(p.kernel)
    rows = p.arranged(laid, (0, 1, *_axes(3, d), 2, *_axes(3 + d, d)), (x.shape[0], p.groups, prod(own), inner))
    weights = build(reshape, w, shape=(p.groups, p.filters, inner))
    found = p.product(rows, build(permute, weights, axes=(0, 2, 1)))
    return p.arranged(found, (0, 1, 3, 2), node.outputs[0].shape)


def input_gradient_by_product(node: Node, build: Build) -> Replacement:
    """convolution_input_gradient(g, w), not of float32 => matmul(windows_by_place(g), w)"""
    g, w = node.inputs
    out = node.outputs[0]
    if g.dtype is float32 or not is_static((*out.shape[2:], *w.shape)):
        return None
    p, d = _Parts(node, build, w.shape), len(w.shape) - 2
    laid = build(windows_by_place, p.split(g, p.filters), input_size=tuple(out.shape[2:]), **p.window)
    inner = p.filters * prod(p.kernel)
    rows = p.arranged(
        laid, (0, 1, *_axes(3, d), 2, *_axes(3 + d, d)), (g.shape[0], p.groups, prod(out.shape[2:]), inner)
    )
    apart = build(reshape, w, shape=(p.groups, p.filters, p.channels, *p.kernel))
    weights = p.arranged(apart, (0, 1, *_axes(3, d), 2), (p.groups, inner, p.channels))
    return p.arranged(p.product(rows, weights), (0, 1, 3, 2), out.shape)


def weight_gradient_by_product(node: Node, build: Build) -> Replacement:
    """convolution_weight_gradient(x, g) => matmul(g, windows(x))"""
    x, g = node.inputs
    out = node.outputs[0]
    if not is_static((*x.shape[2:], *out.shape)):
        return None
    p, d = _Parts(node, build, out.shape), len(out.shape) - 2
    laid = build(windows, p.split(x, p.channels), **p.window)
    terms = x.shape[0] * prod(g.shape[2:])
    inner = p.channels * prod(p.kernel)
    right = p.arranged(laid, (1, 0, *_axes(3, d), 2, *_axes(3 + d, d)), (p.groups, terms, inner))
    left = p.arranged(p.split(g, p.filters), (1, 2, 0, *_axes(3, d)), (p.groups, p.filters, terms))
    return build(reshape, p.product(left, right), shape=out.shape)


def parts_of_weight_gradient(node: Node, build: Build) -> Replacement:
    """convolution_weight_parts(x, g) => the gradients of slices, one after another"""
    x, g = node.inputs
    attrs = dict(node.attrs)
    parts, batch = attrs.pop("parts"), x.shape[0]
    ends = [batch * i // parts for i in range(parts + 1)]
    found = []
    for first, last in pairwise(ends):
        pair = [_rows(build, a, first, last) for a in (x, g)]
        part = build(convolution_weight_gradient, *pair, **attrs)
        found.append(build(reshape, part, shape=(1, *part.shape)))
    return build(concat, *found, axis=0)


def _rows(build: Build, x: Value, first: int, last: int) -> Value:
    rest = len(x.shape) - 1
    ones = (1,) * (rest + 1)
    return build(slice_, x, starts=(first, *(0,) * rest), limits=(last, *x.shape[1:]), strides=ones)


def product_and_sum(node: Node, build: Build) -> Replacement:
    """matmul_add(a, b, c, scale) => c + alpha * scale * (a @ b)"""
    a, b, c, *scale = node.inputs
    attrs = dict(node.attrs)
    factor = build(full, shape=(), value=attrs.pop("alpha"), dtype=a.dtype)
    if scale:
        factor = build(multiply, factor, build(cast, scale[0], dtype=a.dtype))
    return build(add, c, build(multiply, factor, build(matmul, a, b, **attrs)))


def pooled(node: Node) -> bool:
    """Whether ONNX's pooling says the same: float32, one to three dimensions, two more, padding less than a window."""
    (x,) = node.inputs
    n = len(node.attrs["kernel"])
    window = [v for name in ("kernel", "stride", "dilation") for v in node.attrs[name]]
    pads = zip(node.attrs["padding"], node.attrs["kernel"], strict=True)
    if node.op is window_sum and any(d != 1 for d in node.attrs["dilation"]):
        return False  # ONNX has averages of dilated windows only of late
    return (
        x.dtype is float32
        and 1 <= n <= 3
        and len(x.shape) >= n
        and x.type.size != 0
        and is_static((*window, *(p for pair in node.attrs["padding"] for p in pair)))
        and all(low < kernel and 0 <= high < kernel for (low, high), kernel in pads)
    )


def _whole(node: Node) -> list[int]:
    """The axes of which one window takes all."""
    (x,) = node.inputs
    first = len(x.shape) - len(node.attrs["kernel"])
    columns = zip(x.shape[first:], node.attrs["kernel"], node.attrs["padding"], node.attrs["dilation"], strict=True)
    return [first + i for i, (n, *rest) in enumerate(columns) if rest == [n, (0, 0), 1] and n not in (0, 1)]


def sum_of_everything(node: Node, build: Build) -> Replacement:
    """window_sum(x), a window over a whole dimension => window_sum(reduce_sum(x)), a window of one there"""
    (x,), axes = node.inputs, _whole(node)
    if not axes:
        return None
    first = len(x.shape) - len(node.attrs["kernel"])
    kept = tuple(1 if axis in axes else n for axis, n in enumerate(x.shape))
    rest = build(reshape, build(reduce_sum, x, axes=tuple(axes)), shape=kept)
    ones = {name: tuple(1 if first + i in axes else n for i, n in enumerate(node.attrs[name])) for name in _EACH}
    if all(n == 1 for n in kept[first:]):
        return rest
    return build(window_sum, rest, **{**node.attrs, **ones})


_EACH = ("kernel", "stride")


def maximum_of_everything(node: Node, build: Build) -> Replacement:
    """window_max(x), a window over all of unknown sizes => reduce_max(x), place_of_maximum(x)"""
    (x,), axes = node.inputs, tuple(_whole(node))
    first = len(x.shape) - len(node.attrs["kernel"])
    if is_static(x.shape[first:]) or len(axes) != len(node.attrs["kernel"]):
        return None
    flat = build(reshape, x, shape=(*x.shape[:first], product(x.shape[first:])))
    places = build(iota, size=flat.shape[-1], start=0, step=1, dtype=int64)
    at = build(place_of_maximum, flat, build(expand, places, shape=flat.shape), axes=(first,))
    found = (build(reduce_max, flat, axes=(first,)), at)
    best, places = (build(reshape, v, shape=out.shape) for v, out in zip(found, node.outputs, strict=True))
    return best, places


def sum_where_not_pooled(node: Node, build: Build) -> Replacement:
    """window_sum(x) => reduce_sum(windows(x))"""
    return None if pooled(node) else sum_of_windows(node, build)


def maximum_where_not_pooled(node: Node, build: Build) -> Replacement:
    """window_max(x) => reduce_max(windows(x)), place_of_maximum(windows(x))"""
    return None if pooled(node) else maximum_of_windows(node, build)


RULES = Rules(
    {
        convolution: (of_nothing, of_halves, convolution_by_product),
        convolution_input_gradient: (of_nothing, of_halves, input_gradient_by_product),
        convolution_weight_gradient: (of_nothing, of_halves, weight_gradient_by_product),
        convolution_weight_parts: (parts_of_weight_gradient,),
        matmul_add: (product_and_sum,),
        window_sum: (sum_of_everything, sum_where_not_pooled),
        window_max: (maximum_of_everything, maximum_where_not_pooled),
        window_sum_gradient: (gathered_sum,),
        window_max_gradient: (gathered_maximum,),
    }
)


def lower(program: Program) -> Program:
    """Writes out what has no op in ONNX."""
    return rewrite(program, RULES, "onnx_lowering")
