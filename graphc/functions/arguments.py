"""Checks of arguments that many public functions share."""

from __future__ import annotations

from typing import Any

from graphc.core.errors import ArgumentTypeError, DtypeError
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import FLOAT, INT
from graphc.functions.promotion import is_number, promote, scalar_operand, to_float


def need_tensor(x: Any, what: str = "input") -> Any:
    """x, which must be a tensor; ArgumentTypeError otherwise."""
    if not isinstance(x, TensorBase):
        raise ArgumentTypeError(f"argument {what!r} must be Tensor, not {type(x).__name__}")
    return x


def need_operand(x: Any, what: str = "other") -> Any:
    """x, which must be a tensor or a number; ArgumentTypeError otherwise."""
    if not isinstance(x, TensorBase) and not is_number(x):
        raise ArgumentTypeError(f"argument {what!r} must be Tensor or number, not {type(x).__name__}")
    return x


def need_float(x: Any, what: str = "input") -> Any:
    """x, which must be a floating tensor; ArgumentTypeError or DtypeError otherwise."""
    if need_tensor(x, what).dtype.category != FLOAT:
        raise DtypeError(f"argument {what!r} is {x.dtype.name}", "a floating dtype")
    return x


def floating(x: Any, what: str = "input") -> Any:
    """The tensor x, cast to the default float dtype if it is not floating."""
    return to_float(need_tensor(x, what))


def pair(x: Any, y: Any, floating: bool = False) -> tuple[Any, ...]:
    """`promote(x, y)`, with the commonest case, a tensor and a number of its own category, decided at once."""
    kind = type(y)
    try:
        if x._data.dtype is y._data.dtype and (not floating or x.dtype.category == FLOAT):
            return x, y
    except AttributeError:
        pass
    if (kind is float or kind is int) and isinstance(x, TensorBase):
        dtype = x.dtype
        if dtype.category == FLOAT or (kind is int and dtype.category == INT and not floating):
            return x, scalar_operand(y, dtype)
    return promote(x, y, floating=floating)
