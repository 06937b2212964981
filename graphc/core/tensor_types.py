"""Dtypes, `TensorType` and PyTorch's promotion rule.

bool < uint8, int8..int64 < float16, bfloat16, float32, float64. Python scalars and 0-d operands are weak: they widen the
category of the others (bool, integer, floating) but never the size inside their own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from graphc.core.dims import Dim, Shape, Size, product
from graphc.core.errors import ArgumentTypeError


class DType:
    """One element type. There is exactly one object per type; compare with `is`."""

    __slots__ = ("category", "itemsize", "name", "np", "short")

    def __init__(self, name: str, short: str, category: int, np_dtype: Any):
        self.name, self.short, self.category = name, short, category
        self.np = np.dtype(np_dtype)
        self.itemsize = self.np.itemsize

    @property
    def is_floating_point(self) -> bool:
        """Whether this is a float type."""
        return self.category == FLOAT

    @property
    def is_signed(self) -> bool:
        """Whether negative numbers exist in this type."""
        return self.category == FLOAT or (self.category == INT and self.np.kind == "i")

    is_complex = False

    def __getitem__(self, shape: int | tuple[int, ...]) -> TensorType:
        """The type of tensors of these sizes: `float32[64, 1000]`, `int64[()]`."""
        return TensorType(shape if isinstance(shape, tuple) else (shape,), self)

    def __repr__(self) -> str:
        return f"graphc.{self.name}"

    def __reduce__(self) -> str:
        return "bool_" if self.name == "bool" else self.name

    def to_numpy(self) -> np.dtype[Any]:
        """The NumPy dtype of the same meaning (ml_dtypes' for bfloat16)."""
        return self.np


BOOL, INT, FLOAT = 0, 1, 2

bool_ = DType("bool", "bool", BOOL, np.bool_)
uint8 = DType("uint8", "u8", INT, np.uint8)
int8 = DType("int8", "i8", INT, np.int8)
int16 = DType("int16", "i16", INT, np.int16)
int32 = DType("int32", "i32", INT, np.int32)
int64 = DType("int64", "i64", INT, np.int64)
float16 = DType("float16", "f16", FLOAT, np.float16)
bfloat16 = DType("bfloat16", "bf16", FLOAT, ml_dtypes.bfloat16)
float32 = DType("float32", "f32", FLOAT, np.float32)
float64 = DType("float64", "f64", FLOAT, np.float64)

DTYPES: tuple[DType, ...] = (bool_, uint8, int8, int16, int32, int64, float16, bfloat16, float32, float64)
DTYPE_OF: dict[np.dtype[Any], DType] = {d.np: d for d in DTYPES}
BY_NAME: dict[str, DType] = {d.name: d for d in DTYPES}


def dtype_of(np_dtype: Any) -> DType:
    """The DType of a NumPy dtype (any byte order); raises ArgumentTypeError for a type graphc has not."""
    found = DTYPE_OF.get(np_dtype)
    if found is None:
        found = DTYPE_OF.get(np.dtype(np_dtype).newbyteorder("="))
    if found is None:
        known = ", ".join(d.name for d in DTYPES)
        raise ArgumentTypeError(f"can't convert numpy type {np.dtype(np_dtype)}: the supported types are {known}")
    return found


def as_dtype(x: Any) -> DType:
    """A DType from a DType, its name, a NumPy dtype or Python's bool, int and float (the latter as PyTorch reads them)."""
    if isinstance(x, DType):
        return x
    if x is bool:
        return bool_
    if x is int:
        return int64
    if x is float:
        return float64
    if isinstance(x, str) and x in BY_NAME:
        return BY_NAME[x]
    try:
        return dtype_of(np.dtype(x))
    except TypeError:
        raise ArgumentTypeError(f"dtype expected, got {x!r}") from None


class TensorType(NamedTuple):
    """Shape and dtype of a tensor; sizes may be unknown (`Dim`)."""

    shape: Shape
    dtype: DType

    @property
    def ndim(self) -> int:
        """How many dimensions."""
        return len(self.shape)

    @property
    def size(self) -> Size:
        """How many elements."""
        return product(self.shape)

    @property
    def nbytes(self) -> Size:
        """How many bytes the elements take."""
        return product(self.shape) * self.dtype.itemsize

    def with_shape(self, shape: Any) -> TensorType:
        """The same dtype with another shape."""
        return TensorType(tuple(shape), self.dtype)

    def with_dtype(self, dtype: DType) -> TensorType:
        """The same shape with another dtype."""
        return TensorType(self.shape, dtype)

    def __str__(self) -> str:
        return f"{self.dtype.short}[{', '.join(map(str, self.shape))}]"


def type_of_array(array: np.ndarray[Any, Any]) -> TensorType:
    """The TensorType of a NumPy array."""
    return TensorType(array.shape, DTYPE_OF.get(array.dtype) or dtype_of(array.dtype))


_INTS = (int8, int16, int32, int64)


def promote_dtypes(a: DType, b: DType) -> DType:
    """PyTorch's common dtype of two tensors of one rank of importance."""
    if a is b:
        return a
    if a.category != b.category:
        return a if a.category > b.category else b
    if a.category == FLOAT:
        if {a, b} == {float16, bfloat16}:
            return float32
        return a if a.itemsize > b.itemsize or a.itemsize == b.itemsize else b
    if uint8 in (a, b):
        other = b if a is uint8 else a
        return int16 if other is int8 else other
    return a if a.itemsize > b.itemsize else b


def lowest(dtype: DType) -> float | int | bool:
    """What no element of `dtype` is below."""
    if dtype.category == FLOAT:
        return float("-inf")
    return False if dtype.category == BOOL else int(np.iinfo(dtype.np).min)


def highest(dtype: DType) -> float | int | bool:
    """What no element of `dtype` is above."""
    if dtype.category == FLOAT:
        return float("inf")
    return True if dtype.category == BOOL else int(np.iinfo(dtype.np).max)


class Defaults:
    """What holds where nothing is said."""

    float_dtype: DType = float32


defaults = Defaults()


def scalar_dtype(x: Any) -> DType:
    """The dtype a Python scalar stands for by itself: bool, int64, or the default float dtype."""
    if isinstance(x, bool | np.bool_):
        return bool_
    if isinstance(x, int | np.integer | Dim):
        return int64
    return defaults.float_dtype


def result_dtype(strong: list[DType], zero_d: list[DType], scalars: list[DType]) -> DType:
    """PyTorch's result type: tensors with dimensions decide; 0-d tensors, then scalars, only raise the category.

    `torch.result_type`, https://pytorch.org/docs/stable/tensor_attributes.html#type-promotion-doc
    """
    found: DType | None = None
    for group in (strong, zero_d, scalars):
        level: DType | None = None
        for d in group:
            level = d if level is None else promote_dtypes(level, d)
        if level is not None and (found is None or level.category > found.category):
            found = level
    assert found is not None
    return found
