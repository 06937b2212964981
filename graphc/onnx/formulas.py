"""Meanings on one element, as ONNX nodes on whole tensors: what elementwise ops and `element` rules are written by.

Narrow integers are computed in int32 and 16-bit floats in float32, and rounded back after each step: few runtimes have
kernels for them. What ONNX has not, or onnxruntime not in float64, is written out by `scalar.decompose` and by `WRITTEN_OUT`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.core import scalar as s
from graphc.core.scalar import Scalar
from graphc.core.tensor_types import (
    BOOL,
    FLOAT,
    INT,
    DType,
    bool_,
    float32,
    float64,
    int32,
    int64,
    uint8,
)
from graphc.onnx.writer import Writer, ir

#: One node each.
NODES: Mapping[str, str] = {
    "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "quot": "Div", "neg": "Neg", "abs": "Abs", "pow": "Pow",
    "max": "Max", "min": "Min", "lt": "Less", "le": "LessOrEqual", "eq": "Equal", "select": "Where", "rarely": "Where",
    "floor": "Floor", "ceil": "Ceil", "rint": "Round", "sqrt": "Sqrt", "exp": "Exp", "log": "Log", "sin": "Sin",
    "cos": "Cos", "tan": "Tan", "asin": "Asin", "acos": "Acos", "atan": "Atan", "sinh": "Sinh", "cosh": "Cosh", "tanh": "Tanh",
    "asinh": "Asinh", "acosh": "Acosh", "atanh": "Atanh", "erf": "Erf",
    "and": "BitwiseAnd", "or": "BitwiseOr", "xor": "BitwiseXor", "not": "BitwiseNot",
}  # fmt: skip
#: Those of two bools (`ne` and `max` of bools are exclusive and inclusive or, and so on).
LOGIC: Mapping[str, str] = {
    "and": "And", "or": "Or", "xor": "Xor", "not": "Not", "ne": "Xor", "max": "Or", "min": "And", "eq": "Equal",
}  # fmt: skip
#: Functions that onnxruntime has in float32 alone.
SINGLE = frozenset({"tan", "asin", "acos", "sinh", "cosh", "asinh", "acosh", "atanh", "erf"})
#: What `decompose` writes out always.
LACKING = frozenset({"expm1", "log1p", "log2", "log10", "atan2", "erfc", "bits", "from_bits"})


def computed_in(dtype: DType) -> DType:
    """The type arithmetic is done in."""
    if dtype.category == INT and dtype.itemsize < 4:
        return int32
    return float32 if dtype.category == FLOAT and dtype.itemsize < 4 else dtype


def _has(op: str, dtype: DType) -> bool:
    if op == "pow":
        return dtype.category == FLOAT  # ONNX leaves open what happens when whole numbers overflow
    return op not in LACKING and not (op in SINGLE and dtype is float64)


def _atan(x: Scalar) -> Scalar:
    """That of float32, and the angle that is missing, from the sine and cosine of the first."""
    x = s.select(x > 1e200, 1e200, s.select(x < -1e200, -1e200, x))
    near = s.cast(s.atan(s.cast(x, float32)), float64)
    sine, cosine = s.sin(near), s.cos(near)
    rest = (x * cosine - sine) / (cosine + x * sine)
    return s.select(s.eq(x, 0), x, near + (rest - rest * rest * rest / 3))


def _scale(x: Scalar, n: Scalar) -> Scalar:
    half = s.floor(n * 0.5)
    return x * s.pow(s.const(2.0, x.dtype), half) * s.pow(s.const(2.0, x.dtype), n - half)


WRITTEN_OUT: Mapping[str, Callable[..., Scalar]] = {
    "trunc": lambda x: s.select(x < 0, s.ceil(x), s.floor(x)),
    "exp2": lambda x: s.pow(s.const(2.0, x.dtype), x),
    "fma": lambda x, y, z: x * y + z,
    "scale": _scale,
    "atan": _atan,
}


def write(writer: Writer, root: Scalar, leaves: Sequence[Any] | Mapping[int, Any]) -> Any:
    """The value of a tree whose leaves are these values."""
    tree = s.decompose(root, _has)
    values: dict[int, Any] = {}
    for x in s.postorder(tree):
        if x.op == "leaf":
            values[id(x)] = leaves[x.value]
        elif x.op == "const":
            values[id(x)] = writer.constant(np.asarray(x.value).astype(x.dtype.np))
        elif x.op == "table":
            table = writer.constant(np.array(x.value, x.dtype.np))
            values[id(x)] = writer.op("Gather", table, values[id(x.args[0])], axis=0)
        else:
            values[id(x)] = _written(writer, x, [values[id(a)] for a in x.args])
    return values[id(tree)]


def cast(writer: Writer, x: Any, source: DType, target: DType) -> Any:
    """x in another type; a float becomes a narrow integer by way of a wide one, which wraps around."""
    if source is target:
        return x
    if source.category == FLOAT and target.category == INT and target.itemsize < 4:
        x = writer.cast(x, int64)
    return writer.cast(x, target)


def _written(writer: Writer, x: Scalar, operands: list[Any]) -> Any:
    dtype = x.args[-1].dtype
    if x.op == "cast":
        return cast(writer, operands[0], dtype, x.dtype)
    if x.op in WRITTEN_OUT and not (x.op == "atan" and dtype is not float64):
        leaves = [s.leaf(i, a.dtype) for i, a in enumerate(x.args)]
        return write(writer, WRITTEN_OUT[x.op](*leaves), operands)
    if dtype.category == BOOL:
        return _logic(writer, x.op, operands)
    wide = computed_in(dtype)
    operands = [
        cast(writer, v, a.dtype, wide) if a.dtype is dtype else v for v, a in zip(operands, x.args, strict=True)
    ]
    found = _arithmetic(writer, x.op, wide, operands)
    return found if x.dtype is bool_ else cast(writer, found, wide, x.dtype)


def _arithmetic(writer: Writer, op: str, dtype: DType, operands: list[Any]) -> Any:
    if op == "ne":
        return writer.op("Not", writer.op("Equal", *operands))
    if op == "rem":
        return writer.op("Mod", *operands, fmod=1)
    if op in ("shl", "shr"):
        return _shift(writer, op, dtype, *operands)
    return writer.op(NODES[op], *operands)


def _shift(writer: Writer, op: str, dtype: DType, x: Any, count: Any) -> Any:
    """Shifts of signed numbers by those of their bits; for a negative one what comes in from above is ones."""
    bits, direction = _UNSIGNED[dtype], "LEFT" if op == "shl" else "RIGHT"
    to = int(getattr(ir.DataType, bits))

    def shifted(y: Any) -> Any:
        parts = (writer.op("Cast", part, to=to) for part in (y, count))
        return writer.cast(writer.op("BitShift", *parts, direction=direction), dtype)

    if op == "shl":
        return shifted(x)
    negative = writer.op("Less", x, writer.constant(0, dtype.np))
    flipped = writer.op("BitwiseNot", shifted(writer.op("BitwiseNot", x)))
    return writer.op("Where", negative, flipped, shifted(x))


def _logic(writer: Writer, op: str, operands: list[Any]) -> Any:
    if op in LOGIC:
        return writer.op(LOGIC[op], *operands)
    if op in ("select", "rarely"):
        condition, x, y = operands
        numbers = [writer.cast(v, uint8) for v in (x, y)]
        return writer.cast(writer.op("Where", condition, *numbers), bool_)
    x, y = operands
    return writer.op({"lt": "And", "le": "Or"}[op], writer.op("Not", x), y)


_UNSIGNED = {int32: "UINT32", int64: "UINT64"}
