"""How elements are held in registers and lie in memory, and how LLVM writes their types and constants.

Bool is i1 in registers and a byte in memory; float16 and bfloat16 are their bits (i16), the rest are themselves.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from graphc.backends.llvm.emit import Function
from graphc.core.scalar import is_half
from graphc.core.tensor_types import (
    BOOL,
    FLOAT,
    DType,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
)  # fmt: skip

REGISTER = {
    bool_: "i1", uint8: "i8", int8: "i8", int16: "i16", int32: "i32", int64: "i64",
    float16: "i16", bfloat16: "i16", float32: "float", float64: "double",
}  # fmt: skip
_SUFFIX = {"i1": "i1", "i8": "i8", "i16": "i16", "i32": "i32", "i64": "i64", "float": "f32", "double": "f64",
           "half": "f16"}  # fmt: skip


def vector(element: str, lanes: int) -> str:
    return element if lanes == 1 else f"<{lanes} x {element}>"


def overload(element: str, lanes: int) -> str:
    """The ending of an intrinsic's name."""
    return _SUFFIX[element] if lanes == 1 else f"v{lanes}{_SUFFIX[element]}"


def register_type(dtype: DType, lanes: int) -> str:
    """How `lanes` elements of a dtype are held in registers."""
    return vector(REGISTER[dtype], lanes)


def memory_type(dtype: DType, lanes: int) -> str:
    """How `lanes` elements of a dtype lie in memory."""
    return vector("i8" if dtype is bool_ else REGISTER[dtype], lanes)


def to_register(f: Function, value: str, dtype: DType, lanes: int) -> str:
    """What was loaded as `memory_type`, as `register_type`."""
    return f.let(f"icmp ne {vector('i8', lanes)} {value}, zeroinitializer") if dtype is bool_ else value


def to_memory(f: Function, value: str, dtype: DType, lanes: int) -> str:
    """A value as it is stored."""
    return f.let(f"zext {vector('i1', lanes)} {value} to {vector('i8', lanes)}") if dtype is bool_ else value


def literal(value: Any, dtype: DType, lanes: int = 1) -> str:
    """A constant as LLVM writes it, the same in every lane."""
    if dtype.category == BOOL:
        text = "true" if value else "false"
    elif is_half(dtype):
        text = str(int(np.array(value).astype(dtype.np).view(np.int16)))
    elif dtype.category == FLOAT:
        rounded = float(np.array(value).astype(dtype.np))
        text = f"0x{struct.unpack('>Q', struct.pack('>d', rounded))[0]:016X}"
    else:
        text = str(int(np.array(value).astype(dtype.np)))
    return text if lanes == 1 else f"splat ({REGISTER[dtype]} {text})"
