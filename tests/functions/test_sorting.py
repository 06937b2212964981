"""Sorted results as tensors of their own."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc


def doubled(x):
    values, _ = gc.topk(x, 2, 1)
    values.flatten(0, 1)[1:].mul_(2)
    return values


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
@pytest.mark.parametrize("m", [2, 4])
def test_rows_of_topk_follow_each_other(m, backend):
    """A flattened view of the results is one, however many elements were sorted: what is written through it is seen."""
    x = np.random.default_rng(0).normal(size=(3, m))
    want = -np.sort(-x, 1)[:, :2]
    want.reshape(-1)[1:] *= 2
    np.testing.assert_array_equal(doubled(gc.tensor(x)).numpy(), want)
    np.testing.assert_array_equal(gc.compile(doubled, backend=backend)(gc.tensor(x)).numpy(), want)
    graph = gc.Graph()
    with graph.as_default():
        out = doubled(gc.placeholder((3, None), dtype=gc.float64, name="x"))
    with gc.Session(graph, backend=backend) as session:
        np.testing.assert_array_equal(session.run(out, {"x": x}), want)
