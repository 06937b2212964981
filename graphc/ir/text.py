"""Programs as text: one line per node, stable names, nested bodies indented."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from graphc.core.dims import Dim
from graphc.core.tensor_types import DType, TensorType, type_of_array
from graphc.ir.program import CONSTANT, INPUT, ConstantData, Node, Program, Value

#: Constants of up to this many elements are printed, larger ones shown by a checksum.
SHOWN = 8


def value_names(program: Program) -> dict[Value, str]:
    """A name for every value: inputs by their own, others %0, %1, ... in program order; %3.1 is the second output of %3."""
    names = {value: value.node.attrs["name"] for value in program.inputs}
    count = 0
    for node in program.nodes:
        if node.op is INPUT:
            names.setdefault(node.outputs[0], node.attrs["name"])
            continue
        for value in node.outputs:
            names[value] = f"%{count}" if len(node.outputs) == 1 else f"%{count}.{value.index}"
        count += 1
    return names


def attr_text(x: Any) -> str:
    """An attribute as short text."""
    if isinstance(x, ConstantData):
        return constant_text(x.array)
    if isinstance(x, TensorType | Dim):
        return str(x)
    if isinstance(x, DType):
        return x.name
    if isinstance(x, tuple):
        return "(" + ", ".join(map(attr_text, x)) + ("," if len(x) == 1 else "") + ")"
    if callable(x):
        return str(getattr(x, "__qualname__", type(x).__qualname__))
    return f"<{type(x).__name__}>" if type(x).__module__ not in ("builtins", "numpy") else repr(x)


def constant_text(array: np.ndarray[Any, Any]) -> str:
    """The elements of a small constant; type and checksum of a large one."""
    if array.size <= SHOWN:
        return _elements(array.tolist())
    return f"<{type_of_array(array)} #{zlib.crc32(array.tobytes()):08x}>"


def _elements(x: Any) -> str:
    if isinstance(x, list):
        return "[" + ", ".join(map(_elements, x)) + "]"
    return repr(x)


def node_text(node: Node, names: dict[Value, str]) -> str:
    """One node without its bodies: `%2: f32[3] = add(x, %1)`."""
    results = ", ".join(f"{names[value]}: {value.type}" for value in node.outputs)
    if node.op is CONSTANT:
        return f"{results} = constant {attr_text(node.attrs['data'])}"
    operands = [names[value] for value in node.inputs]
    operands += [f"{k}={attr_text(x)}" for k, x in node.attrs.items() if not isinstance(x, Program)]
    return f"{results} = {node.op.name}({', '.join(operands)})"


def _lines(program: Program, indent: str, lines: bool) -> Iterator[str]:
    names = value_names(program)
    for node in program.nodes:
        if node.op is INPUT:
            continue
        comment = ""
        if lines and node.origins:
            where = [str(o) + (f" {o.module}" if o.module else "") for o in node.origins]
            comment = "  # " + ", ".join(where)
        yield indent + node_text(node, names) + comment
        for key, attr in node.attrs.items():
            if isinstance(attr, Program):
                yield f"{indent}  {key}({_signature(attr)}):"
                yield from _lines(attr, indent + "    ", lines)
    yield f"{indent}return {', '.join(names[value] for value in program.outputs)}".rstrip()


def _signature(program: Program) -> str:
    return ", ".join(f"{value.node.attrs['name']}: {value.type}" for value in program.inputs)


def program_text(program: Program, lines: bool = False, name: str = "program") -> str:
    """The program as text, the same for the same program; `lines` adds the user's lines and modules as comments."""
    return "\n".join([f"{name}({_signature(program)}):", *_lines(program, "  ", lines)]) + "\n"
