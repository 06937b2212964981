"""Sorting along one axis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphc.core.errors import DimensionError
from graphc.core.op import OUT, ErrorSample, Kind, Sample, declare
from graphc.core.tensor_types import TensorType, int64
from graphc.primitives.axis_samples import bool_arrays, check_axis, computed, int_arrays, odd_arrays, smooth_arrays
from graphc.primitives.creation import full
from graphc.primitives.indexing import scatter


def _infer(x: TensorType, *, axis: int, descending: bool, stable: bool) -> tuple[TensorType, TensorType]:
    check_axis(x, axis)
    return x, x.with_dtype(int64)


def _eval(x: Any, *, axis: int, descending: bool, stable: bool) -> tuple[Any, Any]:
    # Always stable, so that every backend finds the same indices. A descending sort is an ascending one of the
    # reversed axis, read backwards: equal elements keep their order and NaN, the greatest, comes first.
    keys = x.astype(computed(x), copy=False)
    if not descending:
        order = np.argsort(keys, axis=axis, kind="stable")
    else:
        order = np.flip(np.argsort(np.flip(keys, axis), axis=axis, kind="stable"), axis)
        order = x.shape[axis] - 1 - order
    order = np.ascontiguousarray(order, dtype=np.int64)
    return np.take_along_axis(x, order, axis), order


def _vjp(g: Any, out: Any, x: Any, *, axis: int, descending: bool, stable: bool) -> Any:
    zeros = full(shape=tuple(x.shape), value=0.0, dtype=x.dtype)
    return scatter(zeros, out[1], g[0], axis=axis)


def _samples() -> Iterator[Sample]:
    for x in smooth_arrays():
        for axis in range(x.ndim):
            yield Sample((x,), {"axis": axis, "descending": axis % 2 == 0, "stable": False})
    for x in (*odd_arrays(), *int_arrays(), *bool_arrays()):
        if x.ndim:
            yield Sample((x,), {"axis": 0, "descending": False, "stable": True}, smooth=False)
            yield Sample((x,), {"axis": x.ndim - 1, "descending": True, "stable": True}, smooth=False)
    yield Sample((np.zeros((0, 3)),), {"axis": 0, "descending": True, "stable": True})
    yield Sample((np.zeros((0, 3)),), {"axis": 1, "descending": False, "stable": False})


def _errors() -> Iterator[ErrorSample]:
    attrs = {"descending": False, "stable": False}
    yield ErrorSample((np.zeros((2, 3)),), {"axis": 2, **attrs}, DimensionError, "do not fit 2 dimensions")
    yield ErrorSample((np.zeros(()),), {"axis": 0, **attrs}, DimensionError, "do not fit 0 dimensions")


#: (values, indices) with `values = gather(x, indices)`.
sort = declare(
    "sort",
    infer=_infer,
    eval=_eval,
    kind=Kind("sort"),
    vjp=(_vjp,),
    saves=((OUT,),),
    samples=_samples,
    errors=_errors,
    n_outputs=2,
)
