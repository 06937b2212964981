"""The interpreter: the reference meaning."""

from __future__ import annotations

import weakref

import ml_dtypes
import numpy as np
import pytest
from program_samples import Builder

from graphc.core.op import Kind, Op
from graphc.core.tensor_types import bfloat16, float32
from graphc.ir.interpret import interpret, last_uses
from graphc.primitives import elementwise, reductions, sorting


def test_a_small_program() -> None:
    b = Builder()
    x, c = b.input("x", (2, 3), float32), b.constant(np.float32([1, 2, 3]))
    y = b(elementwise.add, x, c)
    data = np.arange(6, dtype=np.float32).reshape(2, 3)
    total, passed, same = interpret(b.program(b(reductions.reduce_sum, y, axes=(0, 1)), x, y), [data])
    assert total.shape == () and total.dtype == np.float32 and type(total) is np.ndarray and total == 27
    assert passed is data
    np.testing.assert_array_equal(same, data + np.float32([1, 2, 3]))


def test_numpy_scalars_become_arrays() -> None:
    b = Builder()
    x = b.input("x", (), bfloat16)
    (y,) = interpret(b.program(b(elementwise.tanh, x)), [np.array(0.5, ml_dtypes.bfloat16)])
    assert type(y) is np.ndarray and y.dtype == ml_dtypes.bfloat16


def test_several_outputs_of_a_node() -> None:
    b = Builder()
    values, order = b.node(sorting.sort, b.input("x", (3,)), axis=0, descending=True, stable=True).outputs
    got = interpret(b.program(order, values), [np.array([1.0, 3.0, 2.0])])
    assert got[0].tolist() == [1, 2, 0] and got[1].tolist() == [3.0, 2.0, 1.0]


def test_values_are_freed_at_their_last_use() -> None:
    alive: list[int] = []
    refs: list[weakref.ref] = []

    def observe(x: np.ndarray) -> np.ndarray:
        y = x + 1
        refs.append(weakref.ref(y))
        alive.append(sum(ref() is not None for ref in refs))
        return y

    op = Op("observe", infer=lambda x: x, eval=observe, kind=Kind("opaque"))
    b = Builder()
    y = b.input("x", (4,))
    for _ in range(6):
        y = b(op, y)
    interpret(b.program(y), [np.zeros(4)])
    assert max(alive) <= 2


def test_last_uses() -> None:
    b = Builder()
    x = b.input("x", (2,))
    y = b(elementwise.negate, x)
    pair = b.node(sorting.sort, y, axis=0, descending=False, stable=True)
    z = b(elementwise.add, pair.outputs[0], x)
    dying = last_uses(b.program(z))
    assert dying == {pair: [y, pair.outputs[1]], z.node: [x, pair.outputs[0]]} or {
        node: set(values) for node, values in dying.items()
    } == {pair: {y, pair.outputs[1]}, z.node: {x, pair.outputs[0]}}


def test_no_warnings() -> None:
    b = Builder()
    x = b.input("x", (2,))
    (y,) = interpret(b.program(b(elementwise.log, b(elementwise.negate, x))), [np.array([0.0, 1.0])])
    assert y[0] == -np.inf and np.isnan(y[1])


def test_the_number_of_arrays() -> None:
    b = Builder()
    with pytest.raises(AssertionError, match="1 inputs, 0 arrays"):
        interpret(b.program(b.input("x", (2,))), [])
