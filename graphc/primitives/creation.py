"""Tensors from nothing: constants, counting, and the number of a size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from graphc.core import scalar as s
from graphc.core.dims import Shape, Size
from graphc.core.errors import ShapeError
from graphc.core.op import ErrorSample, Kind, Op, Sample, declare
from graphc.core.tensor_types import DTYPES, FLOAT, DType, TensorType, bool_, float32, float64, int64


def _full_infer(*, shape: Shape, value: Any, dtype: DType) -> TensorType:
    for size in shape:
        if isinstance(size, int) and size < 0:
            sizes = ", ".join(map(str, shape))
            raise ShapeError(f"Trying to create tensor with negative dimension {size}: [{sizes}]", "sizes >= 0")
    return TensorType(tuple(shape), dtype)


def _full_eval(*, shape: Any, value: Any, dtype: DType) -> Any:
    if value == 0 and math.copysign(1.0, value) > 0:
        return np.zeros(shape, dtype.np)  # pages arrive when they are first touched
    return np.full(shape, np.asarray(value).astype(dtype.np))  # an integer out of range wraps around, as in eager code


def _full_samples() -> Iterator[Sample]:
    for dtype in DTYPES:
        yield Sample((), {"shape": (2, 3), "value": dtype.category == 0 or 3, "dtype": dtype})
    for shape, value in [((), 1.5), ((0, 2), 0.0), ((3,), float("nan")), ((2,), float("-inf")), ((1, 2), -0.0)]:
        yield Sample((), {"shape": shape, "value": value, "dtype": float64})
    yield Sample((), {"shape": (2,), "value": False, "dtype": bool_})


def _full_errors() -> Iterator[ErrorSample]:
    attrs = {"shape": (2, -1), "value": 0.0, "dtype": float32}
    yield ErrorSample((), attrs, ShapeError, "negative dimension -1")


full: Op = declare(
    "full",
    infer=_full_infer,
    eval=_full_eval,
    element=lambda at, index, *, shape, value, dtype: s.const(
        _full_eval(shape=(), value=value, dtype=dtype).item(), dtype
    ),
    kind=Kind("create"),
    vjp=(),
    samples=_full_samples,
    errors=_full_errors,
)


def _iota_infer(*, size: Size, start: Any, step: Any, dtype: DType) -> TensorType:
    if isinstance(size, int) and size < 0:
        raise ShapeError(f"Trying to create tensor with negative dimension {size}: [{size}]", "a size >= 0")
    return TensorType((size,), dtype)


def _iota_eval(*, size: int, start: Any, step: Any, dtype: DType) -> Any:
    wide: Any = np.float64 if dtype.category == FLOAT else np.int64
    return (np.arange(size, dtype=wide) * wide(step) + wide(start)).astype(dtype.np)


def _iota_element(at: Any, index: Any, *, size: int, start: Any, step: Any, dtype: DType) -> Any:
    if counts_whole(size, start, step, dtype):
        start, step, wide = int(start), int(step), int64
    else:
        wide = float64
    if (start, step) == (0, 1) and wide is int64:
        return s.cast(at.tree(index[0]), dtype)
    return s.cast(s.cast(at.tree(index[0]), wide) * s.const(step, wide) + s.const(start, wide), dtype)


def counts_whole(size: int, start: Any, step: Any, dtype: DType) -> bool:
    """Whether an iota is computed in whole numbers, which is exact; it is in float64 else."""
    if dtype.category != FLOAT:
        return True
    return (
        all(x == int(x) for x in (start, step)) and abs(start) + abs(step) * size < 2**53 and (start != 0 or step > 0)
    )


def _iota_samples() -> Iterator[Sample]:
    for dtype in DTYPES[1:]:
        yield Sample((), {"size": 5, "start": 2, "step": 3, "dtype": dtype})
    for size, start, step in [(0, 0, 1), (1, 7, 1), (4, 3, -1), (3, 2**40, 0)]:
        yield Sample((), {"size": size, "start": start, "step": step, "dtype": int64})
    yield Sample((), {"size": 4, "start": -1.5, "step": 0.25, "dtype": float64})


def _iota_errors() -> Iterator[ErrorSample]:
    yield ErrorSample((), {"size": -1, "start": 0, "step": 1, "dtype": int64}, ShapeError, "negative dimension")


iota: Op = declare(
    "iota",
    infer=_iota_infer,
    eval=_iota_eval,
    element=_iota_element,
    kind=Kind("create"),
    vjp=(),
    samples=_iota_samples,
    errors=_iota_errors,
)


def _size_samples() -> Iterator[Sample]:
    for dim in (0, 1, 2**40):
        yield Sample((), {"dim": dim})


size: Op = declare(
    "size",
    infer=lambda *, dim: TensorType((), int64),
    eval=lambda *, dim: np.asarray(dim, np.int64),
    element=lambda at, index, *, dim: s.const(dim, int64),
    kind=Kind("create"),
    vjp=(),
    samples=_size_samples,
)
