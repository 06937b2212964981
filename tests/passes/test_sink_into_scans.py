"""A bias added to a sequence is added in the body."""

from __future__ import annotations

from typing import Any

from program_samples import Builder
from scan_checks import T, check_scans, count, count_inside, parts, scan, scans, unchanged

from graphc.passes.sink_into_scans import sink_into_scans
from graphc.primitives.contraction import matmul
from graphc.primitives.elementwise import add, multiply, sin

H, W, X = (2, 3), (4, 3), (T, 2, 4)


def step(b: Builder, h: Any, x: Any) -> Any:
    return [b(multiply, h, x)], [b(sin, x)]


def share(b: Builder, w: Any, x: Any) -> Any:
    return b(matmul, x, w, transpose_a=False, transpose_b=False)


def test_a_bias() -> None:
    def make(b: Builder, h: Any, w: Any, bias: Any, x: Any) -> Any:
        return scan(b, step, [h], [], [b(add, share(b, w, x), bias)])

    for bias in ((3,), (2, 3), (1, 2, 3), (1, 1, 3)):
        result = check_scans(sink_into_scans, make, H, W, bias, X)
        (node,) = scans(result)
        assert count(result, add) == 0 and count_inside(node, add) == 1 and parts(node) == (1, 1, 1, 1)


def test_sums_that_others_read_stay() -> None:
    def make(b: Builder, h: Any, w: Any, bias: Any, x: Any) -> Any:
        total = b(add, share(b, w, x), bias)
        return *scan(b, step, [h], [], [total]), total

    unchanged(sink_into_scans, make, H, W, (3,), X)


def test_sums_of_two_sequences_and_dear_things_stay() -> None:
    unchanged(sink_into_scans, lambda b, h, x, y: scan(b, step, [h], [], [b(add, x, y)]), H, (T, *H), (T, *H))
    unchanged(sink_into_scans, lambda b, h, x, y: scan(b, step, [h], [], [b(sin, x)]), H, (T, *H), (T, *H))
    unchanged(sink_into_scans, lambda b, h, x, y: scan(b, step, [h], [], [b(add, x, y)]), H, (T, *H), (T, 1, 1))
