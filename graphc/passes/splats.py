"""Values whose elements are all one known number, and other small questions that rules ask."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.core.dims import Shape, broadcast_shapes
from graphc.core.op import View
from graphc.core.tensor_types import BOOL, FLOAT, DType, TensorType
from graphc.ir.program import CONSTANT, Value
from graphc.passes.rewrite import Build
from graphc.primitives.creation import full
from graphc.primitives.views import expand

Number = bool | int | float


def splat(value: Value) -> Number | None:
    """The number every element is, where that is known: `full`, a constant of one element, and views of them."""
    node = value.node
    while isinstance(node.op.kind, View):
        node = node.inputs[0].node
    if node.op is full:
        return as_number(node.attrs["value"], value.dtype)
    if node.op is CONSTANT:
        array = node.attrs["data"].array
        return as_number(array.reshape(-1)[0], value.dtype) if array.size == 1 else None
    return None


def as_number(x: Any, dtype: DType) -> Number:
    """x as the Python number that an element of `dtype` is, rounded and wrapped as the dtype does."""
    element = np.asarray(x).astype(dtype.np)
    if dtype.category == FLOAT:
        return float(element)
    return bool(element) if dtype.category == BOOL else int(element)


def is_splat(value: Value, number: Number) -> bool:
    """Whether every element is `number`, told apart by bits: 0.0 is not -0.0."""
    found = splat(value)
    return found is not None and found == number and np.signbit(found) == np.signbit(number)


def filled(build: Build, like: TensorType, number: Any) -> Value:
    """A `full` of that type."""
    return build(full, shape=like.shape, value=as_number(number, like.dtype), dtype=like.dtype)


def fit(build: Build, value: Value, like: TensorType) -> Value:
    """The value broadcast to that type's shape."""
    return value if value.type.shape == like.shape else build(expand, value, shape=like.shape)


def broadcast_plainly(*shapes: Shape) -> Shape | None:
    """The common shape of operands, None where that needs an assumption on unknown sizes."""
    rank = max(map(len, shapes))
    for axis in range(rank):
        known = {shape[axis - rank + len(shape)] for shape in shapes if axis - rank + len(shape) >= 0}
        if len(known - {1}) > 1:
            return None
    return broadcast_shapes(*shapes)
