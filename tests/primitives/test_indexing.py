"""Indexing primitives beyond what the conformance suite asks of every op: values against plain loops, bad indices."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from graphc.core.context import recording
from graphc.core.dims import Dim, assumptions
from graphc.core.errors import DimensionError, SymbolicError
from graphc.core.op import Op
from graphc.core.tensor_types import TensorType, float32, int64
from graphc.primitives import indexing
from graphc.primitives.indexing import gather, index, index_put, nonzero, scatter, scatter_add

OPS = [gather, scatter, scatter_add, index, index_put]


@pytest.mark.parametrize("op", OPS, ids=str)
def test_indices_out_of_range_are_refused(op: Op) -> None:
    x, at = np.zeros((3, 4)), np.full((2, 4), 5)
    value = () if op in (gather, index) else (np.zeros((2, 4, 4) if op is index_put else (2, 4)),)
    operands = (x, *value, at) if op in (index, index_put) else (x, at, *value)
    attrs: dict[str, Any] = {"axes": (0,)} if op in (index, index_put) else {"axis": 0}
    if op is index_put:
        attrs["accumulate"] = False
    with pytest.raises(DimensionError, match="index 5 is out of bounds for dimension 0 with size 3"):
        op.eval(*operands, **attrs)
    at[:] = -4
    with pytest.raises(IndexError, match="index -4 is out of bounds for dimension 0 with size 3"):
        op.eval(*operands, **attrs)


def test_gather_and_scatter_walk_along_one_axis() -> None:
    for sample in scatter_add.samples():
        x, at, src = sample.inputs
        axis = sample.attrs["axis"]
        wide = np.float32 if x.dtype in (np.float16, ml_dtypes.bfloat16) else x.dtype
        put, added, read = np.array(x), np.array(x, wide), np.empty(at.shape, x.dtype)
        for place in np.ndindex(*at.shape):
            target = (*place[:axis], at[place], *place[axis + 1 :])
            read[place] = x[target]
            put[target] = src[place]
            added[target] += src[place].astype(wide)
        np.testing.assert_array_equal(gather.eval(x, at, axis=axis), read)
        np.testing.assert_array_equal(scatter.eval(x, at, src, axis=axis), put)
        np.testing.assert_array_equal(scatter_add.eval(x, at, src, axis=axis), added.astype(x.dtype))


def test_index_and_index_put_follow_numpy() -> None:
    for sample in index_put.samples():
        x, value, *indices = sample.inputs
        axes = sample.attrs["axes"]
        key = tuple(indices[axes.index(a)] if a in axes else slice(None) for a in range(x.ndim))
        np.testing.assert_array_equal(index.eval(x, *indices, axes=axes), x[key])
        wide = np.array(x, np.float32) if x.dtype in (np.float16, ml_dtypes.bfloat16) else np.array(x)
        if sample.attrs["accumulate"]:
            np.add.at(wide, key, value)
        else:
            wide[key] = value
        np.testing.assert_array_equal(index_put.eval(*sample.inputs, **sample.attrs), wide.astype(x.dtype))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_halves_are_summed_in_single_precision(dtype: Any) -> None:
    zeros, ones, at = np.zeros(1, dtype), np.ones(4096, dtype), np.zeros(4096, np.int64)
    assert float(scatter_add.eval(zeros, at, ones, axis=0)[0]) == 4096
    assert float(index_put.eval(zeros, ones, at, axes=(0,), accumulate=True)[0]) == 4096


def test_unknown_sizes() -> None:
    n, m = Dim.named("n"), Dim.named("m")
    x = TensorType((n, 4), float32)
    at = TensorType((m,), int64)
    assert index.infer(x, at, axes=(0,)).shape == (m, 4)
    assert index.infer(x, at, at, axes=(0, 1)).shape == (m,)
    assert gather.infer(x, TensorType((n, m), int64), axis=1).shape == (n, m)
    put = {"axes": (0,), "accumulate": True}
    assert index_put.infer(x, TensorType((m, 4), float32), at, **put) == x
    met: list[Any] = []
    with assumptions(lambda a, b: met.append((a, b))):
        index_put.infer(x, TensorType((3, 4), float32), at, **put)
    assert met == [(3, m)]


def test_nonzero_has_no_shape_before_it_runs() -> None:
    with recording(object()), pytest.raises(SymbolicError, match=r"torch\.where"):  # type: ignore[arg-type]
        nonzero.infer(TensorType((3,), float32))
    x = np.array([[0.0, 2.0], [np.nan, 0.0]])
    np.testing.assert_array_equal(nonzero.eval(x), [[0, 1], [1, 0]])
    assert nonzero.eval(np.array(3.0)).shape == (1, 0)
    assert nonzero.eval(np.array(0.0)).shape == (0, 0)


def test_every_public_name_is_an_op() -> None:
    assert all(isinstance(getattr(indexing, name), Op) for name in indexing.__all__)
