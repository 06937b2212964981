"""Sample arrays for ops that work along axes, and the axis checks these ops share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np

from graphc.core.errors import DimensionError, DtypeError
from graphc.core.tensor_types import BOOL, FLOAT, TensorType

INTS = (np.uint8, np.int8, np.int16, np.int32, np.int64)
HALVES = (np.float16, ml_dtypes.bfloat16)


def check_axes(x: TensorType, axes: tuple[int, ...]) -> None:
    """Raises DimensionError unless `axes` are rising positions of x's dimensions."""
    for before, axis in zip((-1, *axes), axes, strict=False):
        if not before < axis < x.ndim:
            raise DimensionError(
                f"axes {axes} do not fit {x.ndim} dimensions", f"axes rising from 0 to at most {x.ndim - 1}"
            )


def check_axis(x: TensorType, axis: int) -> None:
    """Raises DimensionError unless x has dimension `axis`."""
    check_axes(x, (axis,))


def check_not_bool(x: TensorType) -> None:
    """Raises DtypeError for bool operands."""
    if x.dtype.category == BOOL:
        raise DtypeError("there is no such arithmetic on bool", "an integer or floating operand", "cast it first")


def check_float(x: TensorType) -> None:
    """Raises DtypeError for operands that are not floating."""
    if x.dtype.category != FLOAT:
        raise DtypeError(f"got {x.dtype.name}", "a floating operand", "cast it first")


def computed(x: np.ndarray[Any, Any]) -> Any:
    """The dtype sums and products of x are kept in while they grow: float32 for the 16-bit floats."""
    return np.dtype(np.float32) if x.dtype.itemsize == 2 and x.dtype.kind not in "iub" else x.dtype


def smooth_arrays() -> Iterator[np.ndarray[Any, Any]]:
    """float64 arrays of 1 to 3 dimensions without ties: contiguous, transposed, strided, turned around."""
    rng = np.random.default_rng(0)
    base = rng.permutation(24).reshape(2, 3, 4) / 8 - 1.3 + rng.uniform(0, 0.01, (2, 3, 4))
    yield base
    yield base[0].T
    yield base[1, ::2, ::-1]
    yield base[0, 0]
    yield base[:1, :1, 0]


def odd_arrays() -> Iterator[np.ndarray[Any, Any]]:
    """Floats of each width with ties, zeros, infinities and NaN."""
    values = np.array([[1, 0, 2, 2], [-0.0, np.nan, 1, -3], [np.inf, 1, -np.inf, np.inf]])
    yield values
    yield values[::-1, 1:].astype(np.float32)
    for half in HALVES:
        yield values.T.astype(half)
        yield np.array([[0.5, 2, 0.5], [1.25, 0, -3]]).astype(half)


def int_arrays() -> Iterator[np.ndarray[Any, Any]]:
    """Small integers with ties, one array a dtype."""
    for dtype in INTS:
        yield np.array([[3, 1, 3, 2], [0, 2, 2, 5]]).astype(dtype)[:, ::-1]


def bool_arrays() -> Iterator[np.ndarray[Any, Any]]:
    """Bools of 0, 1 and 2 dimensions."""
    yield np.array([[True, False, True], [False, False, False]])
    yield np.array([[True, True], [False, True], [True, True]]).T
    yield np.array([True, True])
    yield np.array(False)
