"""Makers of small deterministic operands for `samples()` and `errors()` of the ops."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import ml_dtypes
import numpy as np

from graphc.core.op import Sample

Array = np.ndarray[Any, Any]

HALVES = (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))
FLOATS = (*HALVES, np.dtype(np.float32), np.dtype(np.float64))
SIGNED = tuple(np.dtype(t) for t in (np.int8, np.int16, np.int32, np.int64))
INTEGERS = (np.dtype(np.uint8), *SIGNED)
BOOL = np.dtype(np.bool_)
ALL = (BOOL, *INTEGERS, *FLOATS)


def reals(shape: Any = (3, 4), low: float = -2.0, high: float = 2.0, dtype: Any = np.float64, seed: int = 0) -> Array:
    """Floating numbers spread over [low, high], far enough from whole and half numbers for finite differences."""
    raw = np.random.default_rng(seed).uniform(low, high, shape)
    near = np.round(raw * 2) / 2
    nudge = np.where(raw >= near, 0.03, -0.03) * min(1.0, high - low)
    clear = np.where(np.abs(raw - near) < 0.02, near + nudge, raw)
    return np.asarray(np.clip(clear, low, high), dtype)


def integers(shape: Any = (3, 4), low: int = -5, high: int = 5, dtype: Any = np.int64, seed: int = 0) -> Array:
    """Whole numbers of [low, high]; unsigned dtypes start at 0."""
    low = max(low, 0) if np.dtype(dtype).kind == "u" else low
    return np.asarray(np.random.default_rng(seed).integers(low, high + 1, shape)).astype(dtype)


def booleans(shape: Any = (3, 4), seed: int = 0) -> Array:
    """Truth values."""
    return np.asarray(np.random.default_rng(seed).integers(0, 2, shape)).astype(np.bool_)


def nonzero(array: Array) -> Array:
    """The array with 1 in place of 0: a divisor."""
    return np.where(array == 0, np.ones((), array.dtype), array)


def specials(dtype: Any = np.float64) -> Array:
    """NaN, infinities, signed zeros, halves and ordinary numbers."""
    numbers = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -3.0]
    return np.array(numbers).astype(dtype)


def special_pairs(dtype: Any = np.float64) -> tuple[Array, Array]:
    """Every pair of some special numbers, as two arrays that broadcast to a square."""
    numbers = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5, -2.0]).astype(dtype)
    return numbers[:, None], numbers[None, :]


def values(dtype: Any, shape: Any = (3, 4), low: float = -2.0, high: float = 2.0, seed: int = 0) -> Array:
    """Ordinary numbers of any dtype; integers come from the whole numbers of the interval or a little more."""
    dtype = np.dtype(dtype)
    if dtype == BOOL:
        return booleans(shape, seed)
    if dtype.kind in "iu":
        return integers(shape, int(low) - 2 if low < 0 else int(low), int(high) + 3, dtype, seed)
    return reals(shape, low, high, dtype, seed)


def layouts(make: Any) -> Iterator[Array]:
    """float64 operands from `make(shape, seed=)`: 0-d, empty, transposed, strided, reversed."""
    yield make((), seed=1)
    yield make((0, 3), seed=2)
    yield make((3, 2), seed=3).T
    yield make((7,), seed=4)[::3]
    yield make((4,), seed=5)[::-1]


def unary_samples(
    dtypes: Iterable[Any], low: float = -2.0, high: float = 2.0, *, smooth: bool = True, **attrs: Any
) -> Iterator[Sample]:
    """Operands of one-operand ops: layouts in float64, special numbers, and every dtype."""
    dtypes = tuple(np.dtype(t) for t in dtypes)
    main = np.dtype(np.float64) if np.dtype(np.float64) in dtypes else dtypes[-1]
    for x in layouts(lambda shape, seed: values(main, shape, low, high, seed)):
        yield Sample((x,), attrs, smooth)
    for t in dtypes:
        yield Sample((values(t, (2, 3), low, high),), attrs, smooth)
        if t in FLOATS and t not in HALVES:
            yield Sample((specials(t),), attrs, False)


def pair_shapes() -> Iterator[tuple[Any, Any]]:
    """Shapes of two operands that broadcast in every way."""
    yield (), ()
    yield (2, 3), (3,)
    yield (), (4,)
    yield (3, 1), (1, 2)
    yield (0, 3), (1, 3)


def binary_samples(
    dtypes: Iterable[Any],
    low: float = -2.0,
    high: float = 2.0,
    *,
    second: tuple[float, float] | None = None,
    divisor: bool = False,
    smooth: bool = True,
) -> Iterator[Sample]:
    """Operands of two-operand ops: broadcasts and layouts in float64, special pairs, and every dtype.

    `second`: the interval of the second operand where it differs; `divisor`: keep it away from zero.
    """
    dtypes = tuple(np.dtype(t) for t in dtypes)
    main = np.dtype(np.float64) if np.dtype(np.float64) in dtypes else dtypes[-1]
    low2, high2 = second or (low, high)

    def right(t: Any, shape: Any, seed: int) -> Array:
        y = values(t, shape, low2, high2, seed)
        return nonzero(y) if divisor and np.dtype(t) != BOOL else y

    for i, (a, b) in enumerate(pair_shapes()):
        yield Sample((values(main, a, low, high, i), right(main, b, i + 50)), {}, smooth)
    yield Sample((values(main, (3, 2), low, high, 7).T, right(main, (2, 6), 8)[:, ::-2]), {}, smooth)
    for t in dtypes:
        yield Sample((values(t, (2, 3), low, high, 9), right(t, (2, 3), 10)), {}, smooth)
        if t in FLOATS and t not in HALVES:
            yield Sample(special_pairs(t), {}, False)
