"""A node as a line of Python: by its public name where that says the same, else by the op's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphc.core.tensor_types import FLOAT, DType
from graphc.ir.program import CONSTANT, Node


class NotWritableError(Exception):
    """The program has something for which there are no words; its text says what."""


Write = Callable[..., str]

#: Ops of floats whose public function has the same name and takes the operands as they are.
_SAME = (
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "rsqrt", "sin", "cos", "tan", "asin", "acos", "atan",
    "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "erfc", "sigmoid", "maximum", "minimum", "floor", "ceil",
    "trunc", "sign", "absolute", "atan2", "fmod", "remainder",
)  # fmt: skip
_INFIX = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/", "equal": "==", "not_equal": "!=", "less": "<",
    "less_equal": "<=",
    "greater": ">", "greater_equal": ">=",
}  # fmt: skip
_COMPARES = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
_LOGICAL = ("logical_and", "logical_or", "logical_xor", "logical_not")


def expression(node: Node, operands: Sequence[str]) -> tuple[str, bool]:
    """The expression of a node that has no bodies, and whether it is written by the op's own name."""
    name, attrs = node.op.name, node.attrs
    dtypes = {v.dtype for v in node.inputs}
    floats = all(dtype.category == FLOAT for dtype in dtypes) and len(dtypes) <= 1
    if name in _INFIX and (floats or name in _COMPARES):
        a, b = operands
        return f"{a} {_INFIX[name]} {b}", False
    if (name in _SAME and floats) or name in _LOGICAL:
        return f"gc.{name}({', '.join(operands)})", False
    written = _OTHERS.get(name)
    text = written(*operands, node=node, **attrs) if written is not None and (floats or name in _ANY) else None
    if text:
        return text, False
    said = [f"{key}={value_text(x)}" for key, x in attrs.items()]
    return f"{name}({', '.join([*operands, *said])})", True


def value_text(x: Any) -> str:
    """A plain value as Python."""
    if isinstance(x, DType):
        return f"gc.{x.name}" if x.name != "bool" else "gc.bool_"
    if isinstance(x, float):
        return repr(x) if x == x and abs(x) != float("inf") else f'float("{x}")'
    if isinstance(x, tuple | list):
        return "(" + ", ".join(map(value_text, x)) + ("," if len(x) == 1 else "") + ")"
    if not isinstance(x, bool | int | str | type(None)):
        raise NotWritableError(f"an attribute that is a {type(x).__name__} has no words")
    return repr(x)


def _matmul(a: str, b: str, node: Node, transpose_a: bool, transpose_b: bool) -> str:
    plain = all(v.type.ndim == 2 for v in node.inputs)
    turned = ".T" if plain else ".transpose(-2, -1)"
    return f"{a}{turned if transpose_a else ''} @ {b}{turned if transpose_b else ''}"


def _axes(axes: tuple[int, ...]) -> str:
    return str(axes[0]) if len(axes) == 1 else value_text(axes)


_ANY = ("where", "cast", "reshape", "permute", "expand", "flip", "full", "concat")
_OTHERS: dict[str, Write] = {
    "negate": lambda x, node: f"-{x}",
    "power": lambda a, b, node: f"gc.pow({a}, {b})",
    "where": lambda c, a, b, node: f"gc.where({c}, {a}, {b})",
    "cast": lambda x, node, dtype: f"{x}.to({value_text(dtype)})",
    "reshape": lambda x, node, shape: f"{x}.reshape({value_text(shape)})",
    "permute": lambda x, node, axes: f"{x}.permute({value_text(axes)})",
    "expand": lambda x, node, shape: f"{x}.expand({value_text(shape)})",
    "flip": lambda x, node, axes: f"{x}.flip({value_text(axes)})",
    "matmul": _matmul,
    "reduce_sum": lambda x, node, axes: f"{x}.sum({_axes(axes)})" if axes else "",
    "reduce_max": lambda x, node, axes: f"gc.amax({x}, {_axes(axes)})" if axes else "",
    "reduce_min": lambda x, node, axes: f"gc.amin({x}, {_axes(axes)})" if axes else "",
    "full": lambda node, shape, value, dtype: (
        f"gc.full({value_text(shape)}, {value_text(value)}, dtype={value_text(dtype)})"
    ),
    "concat": lambda *x, node, axis: f"gc.cat([{', '.join(x)}], {axis})",
}


def constant_text(node: Node) -> str | None:
    """A small constant as Python, None for a large one."""
    assert node.op is CONSTANT
    array = node.attrs["data"].array
    if array.size > 8 or array.dtype.kind not in "fiub" or array.dtype.name not in _PLAIN:
        return None
    return f"gc.tensor({_nested(array.tolist())}, dtype={value_text(node.outputs[0].dtype)})"


_PLAIN = ("float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool", "float16")


def _nested(x: Any) -> str:
    return "[" + ", ".join(map(_nested, x)) + "]" if isinstance(x, list) else value_text(x)
