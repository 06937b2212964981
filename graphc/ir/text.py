"""Programs as text: one line per node, stable names, nested bodies indented.

Written in full, with every element of every constant, the text can be read again: see `reading.py`.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from graphc.core.dims import Dim
from graphc.core.tensor_types import DType, TensorType, type_of_array
from graphc.ir.program import CONSTANT, INPUT, ConstantData, Node, Origin, Program, Value

#: Constants of up to this many elements are printed, larger ones shown by a checksum.
SHOWN = 8
#: Names that need no quotes.
_PLAIN = re.compile(r"[\w.\-/~<>]+")


def value_names(program: Program) -> dict[Value, str]:
    """A name for every value: inputs by their own, others %0, %1, ... in program order; %3.1 is the second output of %3.

    Of several inputs with one name the second is called `name~2`.
    """
    leaves = dict.fromkeys([*program.inputs, *(node.outputs[0] for node in program.nodes if node.op is INPUT)])
    names: dict[Value, str] = {}
    times: dict[str, int] = {}
    for value in leaves:
        name = value.node.attrs["name"]
        times[name] = times.get(name, 0) + 1
        names[value] = name if times[name] == 1 else f"{name}~{times[name]}"
    count = 0
    for node in program.nodes:
        if node.op is INPUT:
            continue
        for value in node.outputs:
            names[value] = f"%{count}" if len(node.outputs) == 1 else f"%{count}.{value.index}"
        count += 1
    return names


def attr_text(x: Any, full: bool = False) -> str:
    """An attribute as short text; in `full`, text that tells everything."""
    if isinstance(x, ConstantData):
        return f"array({type_of_array(x.array)}, {constant_text(x.array, full)})" if full else constant_text(x.array)
    if isinstance(x, TensorType | Dim):
        return str(x)
    if isinstance(x, DType):
        return x.name
    if isinstance(x, tuple):
        return "(" + ", ".join(attr_text(part, full) for part in x) + ("," if len(x) == 1 else "") + ")"
    if callable(x):
        return str(getattr(x, "__qualname__", type(x).__qualname__))
    return f"<{type(x).__name__}>" if type(x).__module__ not in ("builtins", "numpy") else repr(x)


def constant_text(array: np.ndarray[Any, Any], full: bool = False) -> str:
    """The elements of a small constant; of a large one type and checksum or, in `full`, its bytes in base 64."""
    if array.size <= SHOWN and not (full and has_odd_nans(array)):
        return _elements(array.tolist())
    if full:
        return f'"{base64.b64encode(array.tobytes()).decode()}"'
    return f"<{type_of_array(array)} #{zlib.crc32(array.tobytes()):08x}>"


def has_odd_nans(array: np.ndarray[Any, Any]) -> bool:
    """Whether some NaN has other bits than the usual one, which the word `nan` would lose."""
    if array.dtype.kind in "iub":
        return False
    bits = array[array != array]
    return bits.tobytes() != np.full(bits.shape, np.nan, array.dtype).tobytes()


def _elements(x: Any) -> str:
    if isinstance(x, list):
        return "[" + ", ".join(map(_elements, x)) + "]"
    return repr(x)


def spelled(value: Value, names: dict[Value, str]) -> str:
    """A value's name as it stands in a text: an input's in quotes where it would be read as something else."""
    name = names[value]
    return name if value.node.op is not INPUT or _PLAIN.fullmatch(name) else repr(name)


def node_text(node: Node, names: dict[Value, str], full: bool = False) -> str:
    """One node without its bodies: `%2: f32[3] = add(x, %1)`."""
    results = ", ".join(f"{names[value]}: {value.type}" for value in node.outputs)
    if node.op is CONSTANT:
        return f"{results} = constant {constant_text(node.attrs['data'].array, full)}"
    operands = [spelled(value, names) for value in node.inputs]
    operands += [f"{k}={attr_text(x, full)}" for k, x in node.attrs.items() if not isinstance(x, Program)]
    return f"{results} = {node.op.name}({', '.join(operands)})"


def _origin_text(origin: Origin) -> str:
    role = "" if origin.role in ("", "forward") else f" ({origin.role})"
    return f"{origin}{f' {origin.module}' if origin.module else ''}{role}"


def _lines(program: Program, indent: str, lines: bool, full: bool) -> Iterator[str]:
    names = value_names(program)
    for node in program.nodes:
        if node.op is INPUT:
            continue
        comment = "  # " + ", ".join(map(_origin_text, node.origins)) if lines and node.origins else ""
        yield indent + node_text(node, names, full) + comment
        for key, attr in node.attrs.items():
            if isinstance(attr, Program):
                yield f"{indent}  {key}({_signature(attr)}):"
                yield from _lines(attr, indent + "    ", lines, full)
    for a, b, line in program.checks:
        yield f"{indent}check {a} == {b}" + (f"  # {line}" if lines and line else "")
    yield f"{indent}return {', '.join(spelled(value, names) for value in program.outputs)}".rstrip()


def _signature(program: Program) -> str:
    names = value_names(program)
    return ", ".join(f"{spelled(value, names)}: {value.type}" for value in program.inputs)


def program_text(program: Program, lines: bool = False, name: str = "program", full: bool = False) -> str:
    """The program as text, the same for the same program.

    `lines` adds the user's lines, modules and roles as comments; `full` leaves nothing out, so that the text can be read again.
    """
    return "\n".join([f"{name}({_signature(program)}):", *_lines(program, "  ", lines, full)]) + "\n"
