"""What PyTorch tells about dtypes: promotion, casts, the limits of numbers."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from graphc.core.errors import ArgumentTypeError, ShapeError
from graphc.core.tensor_types import FLOAT, INT, DType, defaults, promote_dtypes
from graphc.functions.arguments import need_tensor
from graphc.functions.promotion import common_dtype


def _need_dtype(x: Any, what: str) -> DType:
    if not isinstance(x, DType):
        raise ArgumentTypeError(f"argument {what!r} must be graphc.dtype, not {type(x).__name__}")
    return x


def result_type(tensor1: Any, tensor2: Any) -> DType:
    """The dtype an arithmetic operation on two tensors or numbers would give."""
    return common_dtype(tensor1, tensor2)


def promote_types(type1: Any, type2: Any) -> DType:
    """The smallest dtype that both can be cast to without losing their category or size."""
    return promote_dtypes(_need_dtype(type1, "type1"), _need_dtype(type2, "type2"))


def can_cast(from_: Any, to: Any) -> bool:
    """Whether PyTorch's rules allow a cast in place: floats do not become integers, nothing else becomes bool."""
    return _need_dtype(from_, "from_").category <= _need_dtype(to, "to").category


def is_nonzero(input: Any) -> bool:
    """Whether a tensor of one element is not zero; raises ShapeError for any other count, and in a graph."""
    if need_tensor(input).numel() != 1:
        count = "no values" if input.numel() == 0 else "more than one value"
        raise ShapeError(f"Boolean value of Tensor with {count} is ambiguous")
    return bool(input)


def is_complex(input: Any) -> bool:
    """False for every tensor: graphc has no complex dtypes."""
    need_tensor(input)
    return False


def is_signed(input: Any) -> bool:
    """Whether the dtype has negative numbers."""
    return bool(need_tensor(input).dtype.is_signed)


def is_same_size(input: Any, other: Any) -> bool:
    """Whether two tensors have the same shape."""
    return bool(need_tensor(input).shape == need_tensor(other, "other").shape)


def clone(input: Any, *, memory_format: Any = None) -> Any:
    """The same elements in memory of their own; gradients flow through."""
    return need_tensor(input).clone(memory_format=memory_format)


def detach(input: Any) -> Any:
    """The same elements without history."""
    return need_tensor(input).detach()


class finfo:  # noqa: N801
    """The limits of a float dtype: `bits eps max min tiny smallest_normal resolution dtype`."""

    def __init__(self, type: Any = None) -> None:
        dtype = defaults.float_dtype if type is None else _need_dtype(type, "type")
        if dtype.category != FLOAT:
            raise ArgumentTypeError(
                f"graphc.finfo() requires a floating point input type. Use graphc.iinfo to handle '{dtype}'"
            )
        info = ml_dtypes.finfo(dtype.np)  # type: ignore[no-untyped-call]
        self.bits = dtype.itemsize * 8
        self.eps, self.max, self.min = float(info.eps), float(info.max), float(info.min)
        self.tiny = self.smallest_normal = float(info.smallest_normal)
        self.resolution = float(info.resolution)
        self.dtype = dtype.name

    def __repr__(self) -> str:
        parts = ("resolution", "min", "max", "eps", "smallest_normal", "tiny", "dtype")
        return f"finfo({', '.join(f'{part}={_short(getattr(self, part))}' for part in parts)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, finfo) and self.dtype == other.dtype

    def __hash__(self) -> int:
        return hash(self.dtype)


class iinfo:  # noqa: N801
    """The limits of an integer dtype: `bits max min dtype`."""

    def __init__(self, type: Any) -> None:
        dtype = _need_dtype(type, "type")
        if dtype.category != INT:
            raise ArgumentTypeError(
                f"graphc.iinfo() requires an integer input type. Use graphc.finfo to handle '{dtype}'"
            )
        info = np.iinfo(dtype.np)
        self.bits, self.max, self.min, self.dtype = dtype.itemsize * 8, int(info.max), int(info.min), dtype.name

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, iinfo) and self.dtype == other.dtype

    def __hash__(self) -> int:
        return hash(self.dtype)


def _short(value: Any) -> Any:
    return f"{value:g}" if isinstance(value, float) else value


METHODS = ("is_nonzero", "is_same_size")
__all__ = [
    "can_cast", "clone", "detach", "finfo", "iinfo", "is_complex", "is_nonzero", "is_same_size", "is_signed",
    "promote_types", "result_type",
]  # fmt: skip
