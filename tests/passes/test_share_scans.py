"""A scan reads from an earlier one what both would compute."""

from __future__ import annotations

from typing import Any

from program_samples import Builder
from scan_checks import T, check_scans, count_inside, parts, scan, scans, unchanged

from graphc.passes.share_scans import share_scans
from graphc.primitives.contraction import matmul
from graphc.primitives.elementwise import add, multiply, sigmoid, tanh

H, W, X = (2, 3), (3, 3), (T, 2, 3)


def product(b: Builder, h: Any, w: Any) -> Any:
    return b(matmul, h, w, transpose_a=False, transpose_b=False)


def forward(b: Builder, h: Any, w: Any, x: Any) -> Any:
    gate = b(sigmoid, b(add, product(b, h, w), x))
    return [b(multiply, gate, b(tanh, x))], [h]


def backward(b: Builder, g: Any, w: Any, x: Any, h: Any) -> Any:
    gate = b(sigmoid, b(add, product(b, h, w), x))
    return [product(b, b(multiply, g, gate), w)], [b(add, g, b(multiply, gate, b(tanh, x)))]


def both(b: Builder, h: Any, w: Any, x: Any) -> Any:
    last, kept = scan(b, forward, [h], [w], [x])
    return last, *scan(b, backward, [h], [w], [x, kept], reverse=True)


def test_what_the_forward_step_computed_is_read() -> None:
    first, second = scans(check_scans(share_scans, both, H, W, X))
    assert parts(first) == (1, 1, 1, 3) and count_inside(first, matmul) == 1
    assert count_inside(second, matmul) == 1 and count_inside(second, sigmoid) == 0 and count_inside(second, tanh) == 0


def test_operands_may_change_places() -> None:
    def turned(b: Builder, g: Any, w: Any, x: Any, h: Any) -> Any:
        gate = b(sigmoid, b(add, x, product(b, h, w)))
        return [b(multiply, g, gate)], []

    def make(b: Builder, h: Any, w: Any, x: Any) -> Any:
        last, kept = scan(b, forward, [h], [w], [x])
        return last, *scan(b, turned, [h], [w], [x, kept], reverse=True)

    second = scans(check_scans(share_scans, make, H, W, X))[1]
    assert count_inside(second, matmul) == 0


def test_what_is_cheap_is_computed_again() -> None:
    def cheap(b: Builder, h: Any, x: Any) -> Any:
        return [b(multiply, h, b(add, x, x))], [h]

    def make(b: Builder, h: Any, w: Any, x: Any) -> Any:
        last, kept = scan(b, cheap, [h], [], [x])
        return last, *scan(
            b, lambda b, g, x, h: ([b(multiply, g, b(multiply, h, b(add, x, x)))], []), [h], [], [x, kept]
        )

    unchanged(share_scans, make, H, W, X)


def test_other_weights_share_nothing() -> None:
    def make(b: Builder, h: Any, w: Any, v: Any, x: Any) -> Any:
        last, kept = scan(b, forward, [h], [w], [x])
        return last, *scan(b, lambda b, g, v, k: ([b(tanh, product(b, b(add, g, k), v))], []), [h], [v], [kept])

    unchanged(share_scans, make, H, W, W, X)


def test_scans_in_scans() -> None:
    def outer(b: Builder, h: Any, w: Any, x: Any) -> Any:
        last, first, second = both(b, h, w, x)
        return [b(add, last, first)], [second]

    (node,) = scans(check_scans(share_scans, lambda b, h, w, x: scan(b, outer, [h], [w], [x]), H, W, (T, *X)))
    second = scans(node.attrs["body"])[1]
    assert count_inside(second, sigmoid) == 0
