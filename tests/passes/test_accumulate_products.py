"""Sums with products become one node where the product is read by nothing else and the other term is in memory."""

from __future__ import annotations

import numpy as np
import pytest
from pass_checks import check_pass
from program_samples import Builder

from graphc.core.tensor_types import float16, float32, float64, int64
from graphc.passes.accumulate_products import accumulate_products
from graphc.primitives import arithmetic as e
from graphc.primitives.contraction import matmul, matmul_add
from graphc.primitives.creation import full
from graphc.primitives.transcendental import tanh
from graphc.primitives.views import permute

PLAIN = {"transpose_a": False, "transpose_b": False}
A, B, C = ((2, 3), float64), ((3, 4), float64), ((2, 4), float64)


def check(before, after, *types):
    check_pass(accumulate_products, before, after, *types, exact=False)


@pytest.mark.parametrize("shape", [(2, 4), (4,), (1, 4)])
def test_what_is_added_may_be_any_leaf_that_broadcasts(shape):
    def after(b, x, y, c):
        return b(matmul_add, x, y, c, **PLAIN, alpha=1.0)

    check(lambda b, x, y, c: b(e.add, b(matmul, x, y, **PLAIN), c), after, A, B, (shape, float64))
    check(lambda b, x, y, c: b(e.add, c, b(matmul, x, y, **PLAIN)), after, A, B, (shape, float64))


def test_a_step_of_gradient_descent():
    def before(b, x, g, w, lr):
        return b(e.subtract, w, b(e.multiply, lr, b(matmul, x, g, transpose_a=True, transpose_b=False)))

    def after(b, x, g, w, lr):
        return b(matmul_add, x, g, w, lr, transpose_a=True, transpose_b=False, alpha=-1.0)

    check(before, after, ((3, 2), float64), ((3, 4), float64), C, ((), float64))


def test_a_learning_rate_is_read_as_it_is():
    b = Builder()
    x, g, w = (b.input(name, shape, float32) for name, shape in (("x", (2, 3)), ("g", (3, 4)), ("w", (2, 4))))
    lr = b.input("lr", (), float64)
    step = b(e.subtract, w, b(e.multiply, b(e.cast, lr, dtype=float32), b(matmul, x, g, **PLAIN)))
    (node,) = (v.node for v in accumulate_products(b.program(step)).outputs)
    assert node.op is matmul_add and node.inputs == (x, g, w, lr) and node.attrs["alpha"] == -1.0


def test_constant_factors_become_alpha():
    def before(b, x, y, c):
        return b(e.subtract, c, b(e.multiply, b(matmul, x, y, **PLAIN), b(full, shape=(), value=0.5, dtype=float64)))

    check(before, lambda b, x, y, c: b(matmul_add, x, y, c, **PLAIN, alpha=-0.5), A, B, C)


def test_a_sum_of_two_products():
    def before(b, x, y, z):
        return b(e.add, b(matmul, x, y, **PLAIN), b(matmul, x, z, **PLAIN))

    def after(b, x, y, z):
        return b(matmul_add, x, z, b(matmul, x, y, **PLAIN), **PLAIN, alpha=1.0)

    check(before, after, A, B, B)


def test_a_view_of_a_leaf_is_in_memory():
    def turned(b, c):
        return b(permute, c, axes=(1, 0))

    def before(b, x, y, c):
        return b(e.add, b(matmul, x, y, **PLAIN), turned(b, c))

    check(before, lambda b, x, y, c: b(matmul_add, x, y, turned(b, c), **PLAIN, alpha=1.0), A, B, ((4, 2), float64))


def test_what_stays_as_it_is():
    def product(b, x, y):
        return b(matmul, x, y, **PLAIN)

    check(lambda b, x, y, c: b(e.add, product(b, x, y), b(tanh, c)), None, A, B, C)  # fuses with what reads the sum
    check(lambda b, x, y, c: (b(e.add, product(b, x, y), c), product(b, x, y)), None, A, B, C)  # read twice
    check(lambda b, x, y, c: b(e.subtract, product(b, x, y), c), None, A, B, C)  # the other sign
    check(lambda b, x, y, c: b(e.add, product(b, x, y), c), None, A, B, ((5, 2, 4), float64))  # broadcasts the product
    for shape in ((), (2, 1)):
        check(lambda b, x, y, c: b(e.add, product(b, x, y), c), None, A, B, (shape, float64))  # no rows
    for dtype in (float16, int64):
        check(lambda b, x, y, c: b(e.add, product(b, x, y), c), None, *((s, dtype) for s, _ in (A, B, C)))


def test_numbers():
    rng = np.random.default_rng(0)
    x, y, c = (rng.normal(size=s) for s in ((2, 3), (3, 4), (4,)))
    assert np.allclose(matmul_add.eval(x, y, c, np.float64(2.0), **PLAIN, alpha=-0.5), c - x @ y)
