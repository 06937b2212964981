"""How far rounding may take a result: wide where digits cancel, nowhere where results are exact, and a fault is beyond it."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from graphc.core.tensor_types import TensorType, bfloat16, float32, float64, int64
from graphc.ir.interpret import interpret
from graphc.ir.program import Program, Table
from graphc.ir.rounding import Judge, rounded_otherwise
from graphc.ir.verify import verify
from graphc.primitives.arithmetic import cast
from graphc.primitives.comparison import equal
from graphc.primitives.contraction import matmul
from graphc.primitives.elementwise import absolute, add, divide, exp, multiply, subtract
from graphc.primitives.reductions import reduce_max, reduce_sum

RNG = np.random.default_rng(0)


def program(build, *types):
    table = Table()
    inputs = tuple(table.input(f"x{i}", t) for i, t in enumerate(types))
    outputs = build(lambda op, *xs, **attrs: table.apply(op, xs, attrs).outputs[0], *inputs)
    return Program(table, inputs, outputs if isinstance(outputs, tuple) else (outputs,))


def vector(n, dtype=float32):
    return TensorType((n,), dtype)


def test_equal_results_and_nan_beside_nan_are_right():
    x = np.array([np.nan, np.inf, -np.inf, 1.0], np.float32)
    judge = Judge(program(lambda b, x: b(add, x, x), vector(4)), [x])
    assert judge.wrong([x + x]) == []
    assert judge.wrong([np.array([0, np.inf, -np.inf, 2], np.float32)]) == [0]
    assert judge.wrong([np.array([np.nan, np.inf, np.inf, 2], np.float32)]) == [0]


def test_a_last_bit_is_rounding_and_a_thousandth_is_not():
    x = RNG.normal(size=100).astype(np.float32)
    judge = Judge(program(lambda b, x: b(exp, x), vector(100)), [x])
    right = np.exp(x)
    assert judge.wrong([np.nextafter(right, np.float32(9))]) == []
    assert judge.wrong([right * np.float32(1.001)]) == [0]
    assert judge.wrong([right.astype(np.float64)]) == [0]
    assert "float64[100], expected float32[100]" in judge.report(0, right.astype(np.float64))


def test_where_digits_cancel_more_is_rounding():
    """x - x / 7 * 7 is zero but for last bits of numbers near 1000; so is what is made of it."""
    x = RNG.normal(1000, 1, size=64).astype(np.float32)
    seven = np.float32(7)

    def build(b, x, seven):
        near_zero = b(subtract, x, b(multiply, b(divide, x, seven), seven))
        return near_zero, b(reduce_sum, near_zero, axes=(0,))

    judge = Judge(program(build, vector(64), TensorType((), float32)), [x, np.array(seven)])
    each, total = judge.expected
    assert judge.wrong([each + np.float32(1e-4), total + np.float32(1e-3)]) == []
    assert judge.wrong([each + np.float32(0.1), total + np.float32(10)]) == [0, 1]


def test_large_numbers_are_whole_and_rounded_all_the_same():
    x = RNG.uniform(1e8, 2e8, 64).astype(np.float32)
    p = program(lambda b, x: (b(subtract, b(reduce_sum, x, axes=(0,)), b(reduce_max, x, axes=(0,))),), vector(64))
    judge = Judge(p, [x])
    (right,) = judge.expected
    assert interpret(rounded_otherwise(p, 0), [x])[0] != right
    assert judge.wrong([np.nextafter(right, np.float32(np.inf))]) == []
    assert judge.wrong([right * np.float32(1.001)]) == [0]


def test_results_that_are_exact_stay_so():
    """The extremes that a gradient compares with, counts, selections, and everything of integers."""
    x = RNG.normal(size=12).astype(np.float32)

    def extremes(b, x, n):
        largest = b(reduce_max, x, axes=(0,))
        ties = b(cast, b(equal, x, b(absolute, x)), dtype=float32)
        return largest, b(equal, x, x), b(reduce_sum, ties, axes=(0,)), b(multiply, n, n), b(cast, x, dtype=float64)

    p = program(extremes, vector(12), vector(3, int64))
    arrays = [x, np.array([3, -4, 5])]
    for a, b in zip(interpret(rounded_otherwise(p, 0), arrays), interpret(p, arrays), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("dtype", "eps"), [(float64, 2.0**-52), (float32, 2.0**-23), (bfloat16, 2.0**-7)])
def test_what_is_moved_is_moved_by_epsilons(dtype, eps):
    a = RNG.normal(size=(8, 50)).astype(dtype.np)
    b = RNG.normal(size=(50, 3)).astype(dtype.np)
    p = program(
        lambda build, a, b: build(matmul, a, b, transpose_a=False, transpose_b=False),
        TensorType((8, 50), dtype),
        TensorType((50, 3), dtype),
    )
    moved, right = interpret(rounded_otherwise(p, 1), [a, b])[0], interpret(p, [a, b])[0]
    assert moved.dtype == right.dtype
    off = np.abs(moved.astype(np.float64) - right.astype(np.float64))
    terms = np.abs(a.astype(np.float64)) @ np.abs(b.astype(np.float64))
    assert 0 < off.max() <= (2 * eps * np.sqrt(50) * terms).max()
    verify(rounded_otherwise(p, 1))
    assert ml_dtypes.finfo(dtype.np).eps == eps


def test_integers_are_compared_exactly():
    x = np.array([1.0, 2.0, 3.0, 4.0])
    judge = Judge(program(lambda b, x: b(cast, x, dtype=int64), vector(4, float64)), [x])
    assert judge.wrong([np.array([1, 2, 3, 4])]) == []
    assert judge.wrong([np.array([1, 2, 3, 5])]) == [0]
    assert judge.report(0, np.array([1, 2, 3, 5])) == "1 of 4 elements, the worst at (3,): 5, expected 4"
