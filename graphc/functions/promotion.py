"""PyTorch's promotion, done once: public functions bring their operands to one dtype here, primitives take equal dtypes."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

from graphc.core.context import SLOTS, STATE
from graphc.core.dims import Dim
from graphc.core.errors import ArgumentTypeError
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import BOOL, FLOAT, DType, defaults, result_dtype, scalar_dtype
from graphc.primitives.creation import full, size
from graphc.primitives.elementwise import cast


def is_number(x: Any) -> bool:
    """Whether x acts as a weak Python scalar (bool, int, float, NumPy scalar or unknown size)."""
    return isinstance(x, numbers.Real | np.generic | Dim)


def scalar_operand(value: Any, dtype: DType) -> Any:
    """A 0-d tensor of `dtype` that holds a Python number, or the number an unknown size will have."""
    if isinstance(value, Dim):
        return cast_to(size(dim=value), dtype)
    if STATE.recorder is None:
        return _eager_constant(value, dtype)
    return full(shape=(), value=plain(value, dtype), dtype=dtype)


_CONSTANTS: dict[Any, Any] = {}


def _eager_constant(value: Any, dtype: DType) -> Any:
    """A read-only 0-d tensor; the everyday ones (`x * 2`) are made once."""
    key = (value or str(value), type(value), dtype)  # 0.0 is not -0.0
    found = _CONSTANTS.get(key)
    if found is None:
        array = np.asarray(value).astype(dtype.np)
        array.flags.writeable = False
        found = SLOTS.new_tensor(array)
        if value == value:
            if len(_CONSTANTS) > 1024:
                _CONSTANTS.clear()
            _CONSTANTS[key] = found
    return found


def plain(value: Any, dtype: DType) -> Any:
    """The Python number that `value` is in `dtype`'s category (an attribute that interns well)."""
    if dtype.category == FLOAT:
        return float(value)
    return bool(value) if dtype.category == BOOL else int(value)


def as_operand(x: Any, what: str = "input") -> Any:
    """x if it is a tensor, a 0-d tensor for a number; ArgumentTypeError otherwise."""
    if isinstance(x, TensorBase):
        return x
    if is_number(x):
        return scalar_operand(x, scalar_dtype(x))
    raise ArgumentTypeError(f"argument {what!r} must be Tensor or number, not {type(x).__name__}")


def cast_to(x: Any, dtype: DType) -> Any:
    """x in `dtype`; x itself if it has it."""
    return x if x.dtype is dtype else cast(x, dtype=dtype)


def to_float(x: Any) -> Any:
    """x as it is if floating, else in the default float dtype."""
    x = as_operand(x)
    return x if x.dtype.category == FLOAT else cast(x, dtype=defaults.float_dtype)


def common_dtype(*operands: Any) -> DType:
    """PyTorch's result type of tensors and numbers (`torch.result_type` for any count)."""
    strong: list[DType] = []
    zero_d: list[DType] = []
    scalars: list[DType] = []
    for x in operands:
        if isinstance(x, TensorBase):
            (strong if len(x.shape) else zero_d).append(x.dtype)
        elif is_number(x):
            scalars.append(scalar_dtype(x))
        else:
            raise ArgumentTypeError(f"expected Tensor or number as an operand, not {type(x).__name__}")
    return result_dtype(strong, zero_d, scalars)


def promote(*operands: Any, floating: bool = False, dtype: DType | None = None) -> tuple[Any, ...]:
    """The operands as tensors of their common dtype.

    `floating`: integer and bool results become the default float dtype (true division, exp, ...). `dtype` overrides.
    A scalar or 0-d operand is cast before it is used, as PyTorch does.
    """
    if dtype is None and len(operands) == 2:
        x, y = operands
        if (
            isinstance(x, TensorBase)
            and isinstance(y, TensorBase)
            and x.dtype is y.dtype
            and (x.dtype.category == FLOAT or not floating)
        ):
            return operands
    target = dtype or common_dtype(*operands)
    if floating and target.category != FLOAT:
        target = defaults.float_dtype
    return tuple(cast_to(x, target) if isinstance(x, TensorBase) else scalar_operand(x, target) for x in operands)
