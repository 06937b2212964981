"""Keys on tensors of unknown size, writes in graphs, and what only eager code can do."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.core.dims import Dim, substitute
from graphc.functions.subscripts import read_key

X = np.arange(12.0, dtype=np.float32).reshape(3, 4)
BOUNDS = (None, 0, 1, 2, 5, -1, -2, -5)


@pytest.mark.parametrize("step", [None, 1, 2, 3])
def test_slices_of_unknown_sizes_mean_what_python_means(step: int | None) -> None:
    n = Dim.named("n")
    for start, stop in itertools.product(BOUNDS, BOUNDS):
        key = slice(start, stop, step)
        symbolic = read_key((n,), key)
        for count in range(8):
            known = read_key((count,), key)
            for read in (known, symbolic):
                low, high, size = (substitute(x, {"n": count}) for x in (read.starts[0], read.limits[0], read.shape[0]))
                expected = list(range(count))[key]
                assert 0 <= low <= high <= count  # type: ignore[operator]
                assert list(range(count))[low:high:step] == expected  # type: ignore[misc]
                assert size == len(expected)


def test_neighbours_have_one_size() -> None:
    n = Dim.named("n")
    assert read_key((n,), slice(1, None)).shape == read_key((n,), slice(None, -1)).shape
    assert read_key((n,), slice(None, n)).shape == [n]
    assert read_key((n,), n - 1).shape == []


def in_graph(call: Any) -> Any:
    """`call(x, i, mask)` recorded with x: f32[n, 4], i: i64[], mask: bool[n, 4], and run on X, 1, X > 6."""
    graph = gc.Graph()
    with graph.as_default():
        x = gc.placeholder((None, 4), name="x")
        i = gc.placeholder((), dtype=gc.int64, name="i")
        mask = gc.placeholder((None, 4), dtype=gc.bool, name="mask")
        out = call(x, i, mask)
    with gc.Session(graph, backend="numpy") as session:
        return session.run(out, feed_dict={x: X, i: np.array(1), mask: X > 6})


READS = {
    "last": (lambda x, i, m: x[-1], X[-1]),
    "size - 1": (lambda x, i, m: x[x.shape[0] - 1], X[-1]),
    "all but one": (lambda x, i, m: x[1:] - x[:-1], X[1:] - X[:-1]),
    "every second": (lambda x, i, m: x[::2, -1], X[::2, -1]),
    "symbolic number": (lambda x, i, m: x[i], X[1]),
    "symbolic number and slice": (lambda x, i, m: x[i, 1:], X[1, 1:]),
    "symbolic number and tensor": (lambda x, i, m: x[i, gc.tensor([0, 3])], X[1, [0, 3]]),
    "list": (lambda x, i, m: x[:, [0, 2]], X[:, [0, 2]]),
    "mask that is known": (lambda x, i, m: x[:, np.array([True, False, True, False])], X[:, ::2]),
}


@pytest.mark.parametrize(("call", "expected"), READS.values(), ids=READS)
def test_reads_in_graphs(call: Any, expected: Any) -> None:
    np.testing.assert_array_equal(in_graph(call), expected)


def written(key: Any, value: Any) -> Any:
    out = X.copy()
    out[key] = value
    return out


WRITES = {
    "number": (lambda i, m: 0, 7.0, written(0, 7)),
    "column": (lambda i, m: (slice(None), -1), 7.0, written((slice(None), -1), 7)),
    "symbolic number": (lambda i, m: i, 7.0, written(1, 7)),
    "symbolic number and list": (lambda i, m: (i, [2, 0]), 7.0, written((1, [2, 0]), 7)),
    "mask": (lambda i, m: m, 7.0, np.where(X > 6, 7, X)),
    "mask of columns": (lambda i, m: (slice(None), m[1]), 7.0, written((slice(None), [3]), 7)),
}


@pytest.mark.parametrize(("key", "value", "expected"), WRITES.values(), ids=WRITES)
def test_writes_in_graphs(key: Any, value: Any, expected: Any) -> None:
    def call(x: Any, i: Any, m: Any) -> Any:
        y = x * 1
        y[key(i, m)] = value
        return y

    np.testing.assert_array_equal(in_graph(call), expected)


def test_reading_by_a_mask_is_refused_in_graphs() -> None:
    with pytest.raises(gc.errors.SymbolicError, match=r"known only when the graph runs\n.*torch\.where"):
        in_graph(lambda x, i, m: x[m])
    with pytest.raises(gc.errors.SymbolicError, match=r"torch\.where"):
        in_graph(lambda x, i, m: x.masked_select(m))


def test_compiled_writes_reach_the_argument() -> None:
    def write(x: Any, at: Any) -> Any:
        x[at, 1:] = -1
        x[0, 0] += 10
        return x.sum()

    ours, compiled = gc.tensor(X), gc.tensor(X)
    at = gc.tensor([2, 0])
    assert write(ours, at).item() == gc.compile(write)(compiled, at).item()
    np.testing.assert_array_equal(compiled.numpy(), ours.numpy())


def test_index_errors_say_what_is_there() -> None:
    x = gc.tensor(X)
    with pytest.raises(IndexError, match="index 5 is out of bounds for dimension 0 with size 3"):
        x[5]
    with pytest.raises(IndexError, match="index -4 is out of bounds for dimension 0 with size 3"):
        x[gc.tensor([0, -4])]
    with pytest.raises(RuntimeError, match="index 9 is out of bounds for dimension 1 with size 4"):
        gc.gather(x, 1, gc.tensor([[9]]))
    with pytest.raises(ValueError, match="step must be greater than zero"):
        x[::-1]
    with pytest.raises(TypeError, match="can't assign a list to a float32 tensor"):
        x[0] = [1, 2, 3, 4]
