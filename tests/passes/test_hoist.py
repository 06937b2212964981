"""What depends on no carry leaves the body."""

from __future__ import annotations

from typing import Any

import numpy as np
from program_samples import Builder
from scan_checks import T, check_scans, count, count_inside, parts, scan, scans, unchanged

from graphc.passes.hoist import hoist
from graphc.primitives.contraction import matmul
from graphc.primitives.elementwise import add, exp, multiply, sin
from graphc.primitives.indexing import index
from graphc.primitives.reductions import reduce_sum
from graphc.primitives.views import expand, permute, reshape, slice_

H, W, X = (2, 3), (4, 3), (T, 2, 4)


def product(b: Builder, x: Any, w: Any, ta: bool = False, tb: bool = False) -> Any:
    return b(matmul, x, w, transpose_a=ta, transpose_b=tb)


def carried(inside: Any) -> Any:
    def body(b: Builder, h: Any, w: Any, x: Any) -> Any:
        h = b(sin, b(add, h, inside(b, w, x)))
        return [h], [h]

    return lambda b, h, w, x: scan(b, body, [h], [w], [x])


def test_products_of_sequences() -> None:
    result = check_scans(hoist, carried(lambda b, w, x: product(b, x, w)), H, W, X)
    (node,) = scans(result)
    assert count(result, matmul) == 1 and count_inside(node, matmul) == 0


def test_what_leads_to_a_product() -> None:
    def inside(b: Builder, w: Any, x: Any) -> Any:
        x = b(add, b(sin, x), b(reduce_sum, w, axes=(1,)))
        x = b(
            permute, b(reshape, b(slice_, x, starts=(0, 1), limits=(2, 4), strides=(1, 2)), shape=(4, 1)), axes=(1, 0)
        )
        x = b(expand, b(reshape, b(reduce_sum, x, axes=(0,)), shape=(2, 2)), shape=(2, 2))
        return product(b, x, product(b, x, b(slice_, w, starts=(0, 0), limits=(2, 3), strides=(1, 1))))

    result = check_scans(hoist, carried(inside), H, W, X)
    (node,) = scans(result)
    assert count(result, matmul) == 2 and count_inside(node, matmul) == 0 and parts(node) == (1, 1, 2, 1)


def test_products_of_two_sequences() -> None:
    def make(b: Builder, h: Any, x: Any) -> Any:
        return scan(b, lambda b, h, x: ([b(add, h, product(b, x, x, tb=True))], []), [h], [], [x])

    assert count(check_scans(hoist, make, (2, 2), X), matmul) == 1


def test_products_of_rows_that_are_looked_up() -> None:
    def make(b: Builder, h: Any, w: Any) -> Any:
        rows = b.constant(np.array([[0, 3], [1, -1], [2, 2], [0, 1]]))
        table = b.constant(np.arange(20.0).reshape(4, 5))
        v = b.constant(np.arange(15.0).reshape(5, 3))

        def body(b: Builder, h: Any, table: Any, v: Any, row: Any) -> Any:
            return [b(add, h, product(b, b(index, table, row, axes=(0,)), v))], []

        return scan(b, body, [h], [table, v], [rows])

    result = check_scans(hoist, make, H, W)
    (node,) = scans(result)
    assert count(result, matmul) == 1 and count_inside(node, index) == 0


def test_what_never_changes() -> None:
    def inside(b: Builder, w: Any, x: Any) -> Any:
        return b(multiply, b(reduce_sum, x, axes=(1,)), b(exp, b(reduce_sum, w, axes=(0, 1))))

    def make(b: Builder, h: Any, w: Any, x: Any) -> Any:
        return scan(b, lambda b, h, w, x: ([b(add, h, inside(b, w, x))], []), [h], [w], [x])

    result = check_scans(hoist, make, (2,), W, X)
    (node,) = scans(result)
    assert count(result, exp) == 1 and count_inside(node, exp) == 0 and count_inside(node, reduce_sum) == 1


def test_products_with_carries_and_cheap_things_stay() -> None:
    def body(b: Builder, h: Any, w: Any, x: Any) -> Any:
        return [b(add, product(b, h, w), b(multiply, x, x))], []

    unchanged(hoist, lambda b, h, w, x: scan(b, body, [h], [w], [x]), (2, 3), (3, 3), (T, 2, 3))


def test_no_steps() -> None:
    def make(b: Builder, h: Any, w: Any, x: Any) -> Any:
        return scan(b, lambda b, h, w, x: ([b(add, h, product(b, x, w))], []), [h], [w], [x], length=0)

    unchanged(hoist, make, H, W, (0, 2, 4))


def test_scans_in_scans() -> None:
    def outer(b: Builder, h: Any, w: Any, xs: Any) -> Any:
        return carried(lambda b, w, x: product(b, x, w))(b, h, w, xs)[:1], []

    result = check_scans(hoist, lambda b, h, w, x: scan(b, outer, [h], [w], [x]), H, W, (T, *X))
    (node,) = scans(result)
    (inside,) = scans(node.attrs["body"])
    assert count_inside(inside, matmul) == 0
