"""Sums of many half-precision numbers are made in float32."""

from __future__ import annotations

from typing import Any

import pytest
from pass_checks import check_pass
from program_samples import Builder, n

from graphc.core.tensor_types import bfloat16, float16, float32
from graphc.passes.widen_halves import widen_halves
from graphc.primitives import contraction, cumulative, elementwise, indexing

PLACES = [[0, 1, 1], [-1, -1, 2], [0, 0, 0]]


def wide(b: Builder, x: Any) -> Any:
    return b(elementwise.cast, x, dtype=float32)


@pytest.mark.parametrize("half", [float16, bfloat16])
def test_products_scatters_and_running_folds(half: Any) -> None:
    def before(b: Builder, x: Any, y: Any) -> Any:
        product = b(contraction.matmul, x, y, transpose_a=False, transpose_b=False)
        total = b(cumulative.cumulative_sum, x, axis=0)
        return product, total, b(indexing.scatter_add, x, b.constant(PLACES), y, axis=1)

    def after(b: Builder, x: Any, y: Any) -> Any:
        a, c = wide(b, x), wide(b, y)
        product = b(contraction.matmul, a, c, transpose_a=False, transpose_b=False)
        made = (
            product,
            b(cumulative.cumulative_sum, a, axis=0),
            b(indexing.scatter_add, a, b.constant(PLACES), c, axis=1),
        )
        return tuple(b(elementwise.cast, v, dtype=half) for v in made)

    square = ((3, 3), half)
    check_pass(widen_halves, before, after, square, square, exact=False)


def test_what_adds_nothing_up_stays() -> None:
    def put(b: Builder, x: Any, y: Any) -> Any:
        return b(indexing.index_put, x, y, b.constant([2, 0, 2]), axes=(0,), accumulate=False), b(elementwise.add, x, x)

    check_pass(widen_halves, put, None, ((3, 2), float16), ((3, 2), float16))


def test_other_floats_stay() -> None:
    check_pass(widen_halves, lambda b, x: b(cumulative.cumulative_prod, x, axis=0), None, ((n, 3), float32))
