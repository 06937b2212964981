"""One ONNX translation an op, and one a kind for the rest: `write_node`.

A translation is `rule(writer, node, *operands) -> value or tuple of values`. An op without one is written by what its kind
says: elementwise ops by their tree for one element, views and scatters by where elements go, others by their `element` rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from graphc.core import scalar as s
from graphc.core.dims import is_static, product
from graphc.core.op import ArgReduction, Elementwise, Op, Reduction, Scatter, View
from graphc.core.tensor_types import BOOL, FLOAT, DType, bool_, float32, int32, int64, lowest
from graphc.ir.program import Node
from graphc.onnx.formulas import cast, computed_in, write
from graphc.onnx.lowering import pooled
from graphc.onnx.places import Elements, put_along
from graphc.onnx.writer import Writer, without_counterpart
from graphc.primitives.comparison import is_nan
from graphc.primitives.contraction import matmul
from graphc.primitives.convolution import convolution, convolution_input_gradient
from graphc.primitives.creation import full, size
from graphc.primitives.decompositions import determinant
from graphc.primitives.elementwise import sigmoid
from graphc.primitives.indexing import gather, index, nonzero, scatter, scatter_add
from graphc.primitives.joining import concat, pad
from graphc.primitives.random import random_bits
from graphc.primitives.sorting import sort
from graphc.primitives.views import expand, flip, permute, reshape, slice_, slice_put
from graphc.primitives.window_parts import place_of_maximum
from graphc.primitives.windows import window_max, window_sum

Translation = Callable[..., Any]


def in_wide(writer: Writer, x: Any, dtype: DType) -> tuple[Any, DType]:
    """x in the type its arithmetic is done in; bools as integers."""
    wide = int32 if dtype.category == BOOL else computed_in(dtype)
    return cast(writer, x, dtype, wide), wide


# --- by kind --------------------------------------------------------------------------------------------------------


def elementwise(writer: Writer, node: Node, *operands: Any) -> Any:
    kind, out = node.op.kind, node.outputs[0]
    assert isinstance(kind, Elementwise)
    tree = kind.scalar(*(s.leaf(i, x.dtype) for i, x in enumerate(node.inputs)), **node.attrs)
    found = write(writer, tree, operands)
    read = {x.value for x in s.postorder(tree) if x.op == "leaf"}
    if any(i not in read and x.shape != () for i, x in enumerate(node.inputs)):
        found = writer.expand(found, out.type)
    return writer.op("Identity", found) if any(found is x for x in operands) else found


def view(writer: Writer, node: Node, x: Any) -> Any:
    kind, out = node.op.kind, node.outputs[0]
    assert isinstance(kind, View)
    at = Elements(writer, node, (x,))
    where = kind.index(at.counters(out.shape), node.inputs[0].type, **node.attrs)
    return at.all(at(0, where), out.shape)


def by_element(writer: Writer, node: Node, *operands: Any) -> Any:
    rule, out = node.op.element, node.outputs[0]
    if rule is None:
        raise without_counterpart(node)
    at = Elements(writer, node, operands)
    tree = rule(at, at.counters(out.shape), *(x.type for x in node.inputs), **node.attrs)
    return at.all(tree, out.shape)


def scatter_by_place(writer: Writer, node: Node, *operands: Any) -> Any:
    kind = node.op.kind
    assert isinstance(kind, Scatter)
    at = Elements(writer, node, operands)
    base, value = node.inputs[0].type, node.inputs[kind.value].type
    if base.size == 0 or value.size == 0:
        return writer.op("Identity", operands[0])
    where = kind.place(at, at.counters(value.shape), *(x.type for x in node.inputs), **node.attrs)
    return at.put(operands[0], operands[kind.value], base, value, where, kind.adds(**node.attrs))


_REDUCTIONS = {"add": "ReduceSum", "multiply": "ReduceProd", "maximum": "ReduceMax", "minimum": "ReduceMin"}


def reduction(writer: Writer, node: Node, x: Any) -> Any:
    kind, axes, dtype = node.op.kind, node.attrs["axes"], node.inputs[0].dtype
    assert isinstance(kind, Reduction)
    if not axes:
        return writer.op("Identity", x)
    over = writer.constant(np.array(axes, np.int64))
    if kind.combine in ("or", "and"):  # counted, as that holds for no elements too
        counted = writer.cast(x if kind.combine == "or" else writer.op("Not", x), int32)
        total = writer.op("ReduceSum", counted, over, keepdims=0)
        zero = writer.constant(0, np.int32)
        return writer.op("Greater" if kind.combine == "or" else "Equal", total, zero)
    x, wide = in_wide(writer, x, dtype)
    return cast(writer, writer.op(_REDUCTIONS[kind.combine], x, over, keepdims=0), wide, dtype)


def arg_reduction(writer: Writer, node: Node, x: Any) -> Any:
    kind, axis = node.op.kind, node.attrs["axis"]
    assert isinstance(kind, ArgReduction)
    x, wide = in_wide(writer, x, node.inputs[0].dtype)
    if wide is int64:  # onnxruntime searches no int64
        most = writer.op(_REDUCTIONS[kind.combine], x, writer.constant([axis], np.int64), keepdims=1)
        x = writer.cast(writer.op("Equal", x, most), int32)
        return writer.op("ArgMax", x, axis=axis, keepdims=0)
    return writer.op("ArgMax" if kind.combine == "maximum" else "ArgMin", x, axis=axis, keepdims=0)


# --- views ----------------------------------------------------------------------------------------------------------


def _reshape(writer: Writer, node: Node, x: Any) -> Any:
    return writer.reshape(x, node.outputs[0].shape)


def _permute(writer: Writer, node: Node, x: Any) -> Any:
    axes = node.attrs["axes"]
    return writer.op("Transpose", x, perm=axes) if axes else writer.op("Identity", x)


def _expand(writer: Writer, node: Node, x: Any) -> Any:
    return writer.expand(x, node.outputs[0].type)


def _slice(writer: Writer, node: Node, x: Any) -> Any:
    sizes, kept = node.inputs[0].shape, []
    columns = zip(node.attrs["starts"], node.attrs["limits"], node.attrs["strides"], strict=True)
    for axis, (start, limit, stride) in enumerate(columns):
        if (start, limit, stride) != (0, sizes[axis], 1):
            kept.append((start, limit, axis, stride))
    if not kept:
        return writer.op("Identity", x)
    return writer.op("Slice", x, *(writer.shape(column) for column in zip(*kept, strict=True)))


def _flip(writer: Writer, node: Node, x: Any) -> Any:
    axes = node.attrs["axes"]
    if not axes:
        return writer.op("Identity", x)
    starts, ends, steps = ([n] * len(axes) for n in (-1, np.iinfo(np.int64).min, -1))
    return writer.op("Slice", x, *(writer.constant(v, np.int64) for v in (starts, ends, axes, steps)))


def _slice_put(writer: Writer, node: Node, base: Any, value: Any) -> Any:
    at = Elements(writer, node, (base, value))
    (x, y), kind = node.inputs, slice_.kind
    assert isinstance(kind, View)
    where = kind.index(at.counters(y.shape), x.type, **node.attrs)
    return at.put(base, value, x.type, y.type, where, False)


# --- placing --------------------------------------------------------------------------------------------------------


def _pad(writer: Writer, node: Node, x: Any) -> Any:
    dtype, attrs = node.inputs[0].dtype, node.attrs
    if not attrs["low"]:
        return writer.op("Identity", x)
    wide = computed_in(dtype)
    value = writer.constant(np.asarray(attrs["value"]).astype(dtype.np).astype(wide.np))
    amounts = writer.shape((*attrs["low"], *attrs["high"]))
    return cast(writer, writer.op("Pad", cast(writer, x, dtype, wide), amounts, value), wide, dtype)


def _concat(writer: Writer, node: Node, *xs: Any) -> Any:
    return writer.op("Concat", *xs, axis=node.attrs["axis"])


def _full(writer: Writer, node: Node) -> Any:
    attrs, out = node.attrs, node.outputs[0]
    one = full.eval(shape=(), value=attrs["value"], dtype=attrs["dtype"])
    return writer.expand(writer.constant(one), out.type) if out.shape else writer.constant(one)


def _size(writer: Writer, node: Node) -> Any:
    return writer.op("Identity", writer.size(node.attrs["dim"]))


def _gather(writer: Writer, node: Node, x: Any, index: Any) -> Any:
    return writer.op("GatherElements", x, index, axis=node.attrs["axis"])


def _index(writer: Writer, node: Node, x: Any, *indices: Any) -> Any:
    if len(indices) == 1:
        return writer.op("Gather", x, indices[0], axis=node.attrs["axes"][0])
    return by_element(writer, node, x, *indices)


def _scatter_along(writer: Writer, node: Node, x: Any, index: Any, value: Any) -> Any:
    if any(v.type.size == 0 for v in node.inputs):
        return writer.op("Identity", x)
    return put_along(writer, x, index, value, node.inputs[0].dtype, node.attrs["axis"], node.op is scatter_add)


def _nonzero(writer: Writer, node: Node, x: Any) -> Any:
    dtype = node.inputs[0].dtype
    truth = x if dtype is bool_ else cast(writer, x, dtype, bool_)
    found = writer.op("Transpose", writer.op("NonZero", truth), perm=[1, 0])
    if node.inputs[0].shape:
        return found
    zero, axis = writer.constant([0], np.int64), writer.constant([1], np.int64)
    return writer.op("Slice", found, zero, zero, axis)  # ONNX counts a number as a row of one


# --- arithmetic of whole tensors ------------------------------------------------------------------------------------


def _direct(name: str) -> Translation:
    """The node of that name, in the type of arithmetic."""

    def rule(writer: Writer, node: Node, x: Any) -> Any:
        dtype, out = node.inputs[0].dtype, node.outputs[0].dtype
        wide = computed_in(dtype)
        return cast(writer, writer.op(name, cast(writer, x, dtype, wide)), wide if out is dtype else out, out)

    return rule


def _matmul(writer: Writer, node: Node, a: Any, b: Any) -> Any:
    dtype = node.inputs[0].dtype
    operands = []
    for x, type, turned in zip((a, b), node.inputs, ("transpose_a", "transpose_b"), strict=True):
        x, wide = in_wide(writer, x, dtype)
        n = len(type.shape)
        operands.append(writer.op("Transpose", x, perm=[*range(n - 2), n - 1, n - 2]) if node.attrs[turned] else x)
    return cast(writer, writer.op("MatMul", *operands), wide, dtype)


def _settings(node: Node) -> dict[str, Any]:
    pads = [*(low for low, _ in node.attrs["padding"]), *(high for _, high in node.attrs["padding"])]
    return {
        "strides": node.attrs["stride"], "dilations": node.attrs["dilation"], "pads": pads, "group": node.attrs["groups"],
        "kernel_shape": node.inputs[1].shape[2:],
    }  # fmt: skip


def _need_numbers(node: Node, *sizes: Any) -> None:
    """Raises unless all of these are numbers: ONNX has them as attributes."""
    if not is_static(sizes):
        raise without_counterpart(node, f"has attributes that are unknown sizes ({sizes}), which ONNX has not")


_NOT_FLOAT32 = "is not of float32 and has unknown spatial sizes: onnxruntime has no such convolution"


def _convolution(writer: Writer, node: Node, x: Any, w: Any) -> Any:
    if node.inputs[0].dtype is not float32:
        raise without_counterpart(
            node, "is not of float32 and has unknown spatial sizes, which onnxruntime cannot compute"
        )
    settings = _settings(node)
    _need_numbers(node, *settings["pads"], *settings["kernel_shape"])
    return writer.op("Conv", x, w, **settings)


def _input_gradient(writer: Writer, node: Node, g: Any, w: Any) -> Any:
    settings, attrs = _settings(node), node.attrs
    if node.inputs[0].dtype is not float32:
        raise without_counterpart(node, _NOT_FLOAT32)
    axes = zip(
        attrs["input_size"], node.inputs[0].shape[2:], attrs["stride"], attrs["dilation"], settings["kernel_shape"],
        attrs["padding"], strict=True,
    )  # fmt: skip
    rest = [n - ((have - 1) * s + d * (k - 1) + 1 - low - high) for n, have, s, d, k, (low, high) in axes]
    _need_numbers(node, *settings["pads"], *settings["kernel_shape"], *rest)
    return writer.op("ConvTranspose", g, w, output_padding=rest, **settings)


def _pooling(node: Node) -> dict[str, Any]:
    attrs = node.attrs
    pads = [*(low for low, _ in attrs["padding"]), *(high for _, high in attrs["padding"])]
    return {"kernel_shape": attrs["kernel"], "strides": attrs["stride"], "dilations": attrs["dilation"], "pads": pads}


def _need_pooling(node: Node) -> None:
    """Raises for windows that are neither ONNX's pooling nor could be laid out, as sizes are unknown."""
    if not pooled(node):
        raise without_counterpart(node, "has windows over unknown sizes that ONNX's pooling does not cover")


def _as_planes(writer: Writer, node: Node, x: Any) -> Any:
    """x: [*lead, *sizes] -> [product of lead, 1, *sizes]."""
    shape, n = node.inputs[0].shape, len(node.attrs["kernel"])
    lead = shape[: len(shape) - n]
    return x if len(lead) == 2 else writer.reshape(x, (product(lead), 1, *shape[len(lead) :]))


def _window_sum(writer: Writer, node: Node, x: Any) -> Any:
    settings = _pooling(node)
    _need_pooling(node)
    del settings["dilations"]
    mean = writer.op("AveragePool", _as_planes(writer, node, x), count_include_pad=1, **settings)
    total = writer.op("Mul", mean, writer.constant(np.float32(np.prod(node.attrs["kernel"]))))
    return writer.reshape(total, node.outputs[0].shape)


def _window_max(writer: Writer, node: Node, x: Any) -> Any:
    _need_pooling(node)
    shape = node.inputs[0].shape
    planes = _as_planes(writer, node, x)
    best, places = writer.op("MaxPool", planes, outputs=2, **_pooling(node))
    plane = writer.size(product(shape[len(shape) - len(node.attrs["kernel"]) :]))
    places = writer.op("Mod", places, plane)
    return tuple(writer.reshape(v, node.outputs[0].shape) for v in (best, places))


def _place_of_maximum(writer: Writer, node: Node, x: Any, places: Any) -> Any:
    """The first maximum or the last NaN among the elements with a place; -1 where none has."""
    dtype, axes, out = node.inputs[0].dtype, node.attrs["axes"], node.outputs[0]
    shape = node.inputs[0].shape
    kept = [a for a in range(len(shape)) if a not in axes]
    row = product(tuple(shape[a] for a in axes))
    if out.type.size == 0 or row == 0 or not axes:
        return _few_places(writer, node, places)
    x, wide = in_wide(writer, x, dtype)
    moved = [writer.op("Transpose", v, perm=[*kept, *axes]) for v in (x, places)]
    keys, at = (writer.reshape(v, (*out.shape, row)) for v in moved)
    there = writer.op("GreaterOrEqual", at, writer.constant(0, np.int64))
    low = writer.constant(np.asarray(lowest(wide)).astype(wide.np))
    counted = writer.op("Where", there, keys, low)
    most = writer.op("ReduceMax", counted, writer.constant([-1], np.int64), keepdims=1)
    hit = writer.op("And", there, writer.op("Equal", counted, most))
    first = writer.op("ArgMax", writer.cast(hit, int32), axis=-1, keepdims=1)
    if dtype.category == FLOAT:
        lost = writer.cast(writer.op("And", there, writer.op("IsNaN", keys)), int32)
        last = writer.op("ArgMax", lost, axis=-1, keepdims=1, select_last_index=1)
        any_lost = writer.op("ReduceMax", lost, writer.constant([-1], np.int64), keepdims=1)
        first = writer.op("Where", writer.cast(any_lost, bool_), last, first)
    found = writer.reshape(writer.op("GatherElements", at, first, axis=-1), out.shape)
    some = writer.op("ReduceMax", writer.cast(there, int32), writer.constant([-1], np.int64), keepdims=0)
    return writer.op("Where", writer.cast(some, bool_), found, writer.constant(-1, np.int64))


def _few_places(writer: Writer, node: Node, places: Any) -> Any:
    """The place of the only element of each window, or -1 where windows have none."""
    none = writer.constant(-1, np.int64)
    if node.attrs["axes"]:
        return writer.expand(none, node.outputs[0].type)
    there = writer.op("GreaterOrEqual", places, writer.constant(0, np.int64))
    return writer.op("Where", there, places, none)


def _sort(writer: Writer, node: Node, x: Any) -> Any:
    (source,), attrs = node.inputs, node.attrs
    x, wide = in_wide(writer, x, source.dtype)
    count = writer.shape((source.shape[attrs["axis"]],))
    values, order = writer.op(
        "TopK", x, count, outputs=2, axis=attrs["axis"], largest=int(attrs["descending"]), sorted=1
    )  # fmt: skip
    return cast(writer, values, wide, source.dtype), order


def _random_bits(writer: Writer, node: Node, seed: Any, offset: Any) -> Any:
    """Element by element of the flattened result, so that its sizes may be unknown."""
    out, rule = node.outputs[0], random_bits.element
    assert rule is not None
    at = Elements(writer, node, (seed, offset))
    count = product(out.shape)
    tree = rule(at, at.counters((count,)), *(x.type for x in node.inputs), shape=(1,), width=node.attrs["width"])
    return writer.reshape(at.all(tree, (count,)), out.shape)


TRANSLATIONS: Mapping[Op, Translation] = {
    reshape: _reshape, permute: _permute, expand: _expand, slice_: _slice, flip: _flip, slice_put: _slice_put,
    pad: _pad, concat: _concat, full: _full, size: _size, gather: _gather, index: _index, nonzero: _nonzero,
    scatter: _scatter_along, scatter_add: _scatter_along,
    matmul: _matmul, convolution: _convolution, convolution_input_gradient: _input_gradient, window_sum: _window_sum,
    window_max: _window_max, place_of_maximum: _place_of_maximum, sort: _sort, random_bits: _random_bits,
    determinant: _direct("Det"), sigmoid: _direct("Sigmoid"), is_nan: _direct("IsNaN"),
}  # fmt: skip
