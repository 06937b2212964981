"""Scalar primitives with operands where something may go wrong, for every backend that prints them."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.core import scalar as s
from graphc.core.scalar import PRIMITIVES
from graphc.core.tensor_types import BOOL, DTYPES, FLOAT, INT, bool_, float32

#: Primitives that are no plain instruction anywhere; test_transcendentals measures them.
FUNCTIONS = {
    *("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "atan2"),
    *("sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "erfc"),
}


def edges(dtype):
    """Values of a dtype where something may go wrong."""
    if dtype.category == BOOL:
        return np.array([False, True])
    if dtype.category == INT:
        info = np.iinfo(dtype.np)
        near = [info.min, info.min + 1, info.max, info.max - 1, info.max // 2, *range(-9, 18), 31, 32, 63, 64, 100]
        return np.array([v for v in near if info.min <= v <= info.max], dtype.np)
    wide = [0, 0.5, 1, 1.5, 2.5, 3, 7, 0.1, 1e-3, 127.5, 128, 255.5, 256, 300, 32768, 65504, 65536, 8388607.5, 2.0**24]
    wide += [2.0**31 - 1, 2.0**31, 2.0**32 + 7, 2.0**52 + 0.5, 2.0**53 + 1, 2.0**62, 2.0**63, 1e30, 3e38, 1e-38, 1e-42]
    wide += [1e-45, 1e300, 1e-300, 5e-324, 1.7e308, np.inf, np.nan]
    both = np.array([*wide, *(-v for v in wide)])
    with np.errstate(all="ignore"):
        return both.astype(dtype.np)


def pairs(dtype, arity):
    """All pairs of edge values, and random numbers."""
    x = edges(dtype)
    columns = [np.concatenate([c.reshape(-1)]) for c in np.meshgrid(*[x] * arity)]
    return [c.astype(dtype.np) for c in columns]


def same(got, want, ignore_zero_sign=False):
    """Asserts equal bits, but for the payload of NaNs."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.dtype == want.dtype
    if got.dtype.kind not in "biu":
        width = f"i{got.dtype.itemsize}"
        with np.errstate(all="ignore"):
            equal = (got.view(width) == want.view(width)) | ((got != got) & (want != want))
            equal |= (got == want) & ignore_zero_sign
    else:
        equal = got == want
    places = np.flatnonzero(~equal)
    assert not len(places), f"{len(places)} differ, first at {places[0]}: {got[places[0]]!r}, NumPy {want[places[0]]!r}"


def cases():
    """(op, dtype) of every primitive whose result is exact."""
    for op, primitive in PRIMITIVES.items():
        if op in FUNCTIONS:
            continue
        for dtype in DTYPES:
            if dtype.category not in primitive.accepts or (op == "pow" and dtype.category == FLOAT):
                continue
            if (op == "from_bits" and dtype.itemsize == 1) or (op in ("fma", "scale") and s.is_half(dtype)):
                continue
            yield pytest.param(op, dtype, id=f"{op}-{dtype.short}")


def case(op, dtype):
    """Tree, operands and their dtypes for a primitive."""
    arity = PRIMITIVES[op].arity
    if op in ("select", "rarely"):
        x, y = pairs(dtype, 2)
        condition = np.arange(len(x)) % 7 == 3
        return (
            s.node(op, s.leaf(0, bool_), s.leaf(1, dtype), s.leaf(2, dtype)),
            [condition, x, y],
            [bool_, dtype, dtype],
        )
    if op == "scale":
        x = np.array([0.75, 1.0, -1.3, np.inf, np.nan, 0.0]).astype(dtype.np)[:, None]
        n = np.arange(*((-160, 135) if dtype is float32 else (-1090, 1035))).astype(dtype.np)
        arrays = list(map(np.ravel, np.broadcast_arrays(x, n)))
        return s.scale(s.leaf(0, dtype), s.leaf(1, dtype)), arrays, [dtype] * 2
    arrays = moderate(dtype) if op == "fma" else pairs(dtype, min(arity, 2))
    return s.node(op, *(s.leaf(i, dtype) for i in range(arity))), arrays, [dtype] * arity


def moderate(dtype):
    """Triples that cancel, of numbers whose products stay in range."""
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=2000).astype(dtype.np) for _ in range(2))
    z = np.where(rng.random(2000) < 0.5, -(x * y), rng.normal(size=2000)).astype(dtype.np)
    return [x, y, z]
