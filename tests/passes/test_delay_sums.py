"""Sums with a product at the end of a step are left to the next step."""

from __future__ import annotations

from typing import Any

from program_samples import Builder
from scan_checks import T, check_scans, parts, scan, scans, unchanged

from graphc.passes.delay_sums import delay_sums
from graphc.primitives.contraction import matmul
from graphc.primitives.elementwise import add, multiply, sin
from graphc.primitives.reductions import reduce_sum

H, W, X = (2, 3), (3, 3), (T, 2, 3)


def product(b: Builder, x: Any, w: Any) -> Any:
    return b(matmul, x, w, transpose_a=False, transpose_b=False)


def make(body: Any) -> Any:
    return lambda b, h, w, x: scan(b, body, [h], [w], [x])


def test_both_terms_are_carried() -> None:
    def body(b: Builder, h: Any, w: Any, x: Any) -> Any:
        h = b(multiply, b(sin, h), x)
        return [b(add, product(b, h, w), b(sin, x))], [h]

    result = check_scans(delay_sums, make(body), H, W, X)
    (node,) = scans(result)
    assert parts(node) == (2, 1, 1, 1)
    assert [v.node.op for v in node.attrs["body"].outputs[:2]] == [matmul, sin]


def test_two_products() -> None:
    def body(b: Builder, h: Any, w: Any, x: Any) -> Any:
        h = b(multiply, b(sin, h), x)
        return [b(add, product(b, h, w), product(b, x, w))], []

    assert parts(scans(check_scans(delay_sums, make(body), H, W, X))[0]) == (2, 1, 1, 0)


def test_no_steps() -> None:
    def body(b: Builder, h: Any, w: Any, x: Any) -> Any:
        return [b(add, product(b, x, w), b(sin, h))], []

    check_scans(delay_sums, lambda b, h, w, x: scan(b, body, [h], [w], [x], length=0), H, W, (0, 2, 3))


def test_sums_that_the_step_needs_stay() -> None:
    def stacked(b: Builder, h: Any, w: Any, x: Any) -> Any:
        total = b(add, product(b, x, w), b(sin, h))
        return [total], [total]

    def multiplied(b: Builder, h: Any, w: Any, x: Any) -> Any:
        return [b(add, product(b, h, w), b(sin, x))], []

    def summed(b: Builder, h: Any, w: Any, x: Any) -> Any:
        return [b(add, product(b, x, w), b(sin, x))], [b(reduce_sum, h, axes=(0,))]

    def given(b: Builder, h: Any, w: Any, x: Any) -> Any:
        return [b(add, product(b, b(sin, x), w), x)], [b(sin, h)]

    for body in (stacked, multiplied, summed, given):
        unchanged(delay_sums, make(body), H, W, X)
