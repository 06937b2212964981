"""Reductions and running folds beyond what the conformance suite asks of every op: unknown sizes, identities, ties."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc
from graphc.core.dims import Dim
from graphc.core.tensor_types import TensorType, float32, int64, type_of_array
from graphc.primitives import cumulative, reductions, sorting

FOLDS = [
    reductions.reduce_sum, reductions.reduce_prod, reductions.reduce_max, reductions.reduce_min, reductions.reduce_any,
    reductions.reduce_all, reductions.argmax, reductions.argmin,
]  # fmt: skip


def test_unknown_sizes_pass_through() -> None:
    n, m = Dim.named("n"), Dim.named("m")
    x = TensorType((n, 3, m), float32)
    assert reductions.reduce_sum.infer(x, axes=(0, 2)) == TensorType((3,), float32)
    assert reductions.reduce_max.infer(x, axes=(1,)) == TensorType((n, m), float32)
    assert reductions.argmax.infer(x, axis=2) == TensorType((n, 3), int64)
    assert cumulative.cumulative_sum.infer(x, axis=0) == x
    assert sorting.sort.infer(x, axis=2, descending=True, stable=True) == (x, x.with_dtype(int64))


def test_extremes_of_a_size_that_turns_out_to_be_zero() -> None:
    for op, attrs in ((reductions.reduce_max, {"axes": (0,)}), (reductions.argmin, {"axis": 0})):
        with pytest.raises(IndexError, match="non-zero size"):
            op.eval(np.zeros((0, 2)), **attrs)


def test_identities_change_nothing() -> None:
    for op in FOLDS[:6]:
        for sample in op.samples():
            x = np.asarray(sample.inputs[0])
            identity = np.asarray(op.kind.identity(type_of_array(x).dtype)).astype(x.dtype)
            wider = np.concatenate([np.full((1, *x.shape), identity, x.dtype), x[None]])
            with np.errstate(all="ignore"):
                np.testing.assert_array_equal(op.eval(wider, axes=(0,)).astype(float), x.astype(float))


def test_long_float32_columns_are_added_in_blocks() -> None:
    x = np.full((1 << 18, 2), 0.1, np.float32)
    np.testing.assert_allclose(reductions.reduce_sum.eval(x, axes=(0,)), 0.1 * (1 << 18), rtol=1e-5)
    x = np.arange(3 * 517 * 5, dtype=np.float64).reshape(3, 517, 5)
    for axes in ((1,), (0, 1), (1, 2), (0, 2)):
        np.testing.assert_allclose(reductions.reduce_sum.eval(x, axes=axes), x.sum(axis=axes), rtol=1e-14)


def test_ties_of_a_running_maximum_go_to_the_last_place() -> None:
    x = gc.tensor([1.0, 3.0, 3.0, 2.0], requires_grad=True)
    cumulative.cumulative_max(x, axis=0).sum().backward()
    assert x.grad.tolist() == [1.0, 1.0, 2.0, 0.0]
