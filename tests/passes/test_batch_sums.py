"""Sums carried over the steps of a scan are taken after it."""

from __future__ import annotations

from typing import Any

import pytest
from program_samples import Builder
from scan_checks import T, check_scans, count, count_inside, parts, scan, scans, unchanged

from graphc.passes.batch_sums import batch_sums
from graphc.primitives.contraction import matmul
from graphc.primitives.elementwise import add, multiply, sin
from graphc.primitives.reductions import reduce_sum
from graphc.primitives.views import permute, reshape

G, X, S = (2, 3), (T, 2, 4), (3, 4)


def make(term: Any, *more: Any, other: bool = False) -> Any:
    """A scan that carries g and the sum of `term(b, g, x)`, begun as s."""

    def body(b: Builder, g: Any, s: Any, w: Any, x: Any) -> Any:
        new = b(sin, b(add, b(matmul, x, w, transpose_a=False, transpose_b=False), g))
        total = b(add, *((term(b, new, x), s) if other else (s, term(b, new, x))))
        return [new, total], [y(b, new, total) for y in more]

    return lambda b, g, s, w, x: scan(b, body, [g, s], [w], [x])


@pytest.mark.parametrize("other", [False, True])
@pytest.mark.parametrize("a_first", [False, True])
def test_products(a_first: bool, other: bool) -> None:
    def term(b: Builder, g: Any, x: Any) -> Any:
        if a_first:
            return b(matmul, g, x, transpose_a=True, transpose_b=False)
        turned = b(permute, x, axes=(1, 0))
        return b(matmul, b(permute, b(sin, g), axes=(1, 0)), turned, transpose_a=False, transpose_b=True)

    result = check_scans(batch_sums, make(term, other=other), G, S, (4, 3), X)
    (node,) = scans(result)
    assert node.attrs["n_carry"] == 1 and count_inside(node, matmul) == 1 and count(result, matmul) == 1


def test_sums() -> None:
    def term(b: Builder, g: Any, x: Any) -> Any:
        return b(reshape, b(reduce_sum, g, axes=(0,)), shape=(1, 3))

    result = check_scans(batch_sums, make(term), G, (1, 3), (4, 3), X)
    (node,) = scans(result)
    assert parts(node) == (1, 1, 1, 1) and count_inside(node, reduce_sum) == 0


def test_sums_that_begin_with_zeros_need_no_addition() -> None:
    def term(b: Builder, g: Any, x: Any) -> Any:
        return b(reduce_sum, g, axes=(0,))

    def zeros(b: Builder, g: Any, w: Any, x: Any) -> Any:
        return make(term)(b, g, b.full(0.0, (3,)), w, x)

    assert count(check_scans(batch_sums, zeros, G, (4, 3), X), add) == 0


def test_sums_that_the_body_reads_stay() -> None:
    def term(b: Builder, g: Any, x: Any) -> Any:
        return b(reduce_sum, g, axes=(0,))

    unchanged(batch_sums, make(term, lambda b, g, s: b(multiply, g, s)), G, (3,), (4, 3), X)
    unchanged(batch_sums, make(term, lambda b, g, s: s), G, (3,), (4, 3), X)


def test_sums_of_elements_stay() -> None:
    unchanged(batch_sums, make(lambda b, g, x: b(multiply, g, g)), G, G, (4, 3), X)
