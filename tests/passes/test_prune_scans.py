"""Scans carry, read and stack only what somebody needs."""

from __future__ import annotations

from typing import Any

from program_samples import Builder
from scan_checks import T, check_scans, count_inside, parts, scan, scans, unchanged

from graphc.core.tensor_types import float64
from graphc.passes.prune_scans import prune_scans
from graphc.passes.tidy import tidy
from graphc.primitives.creation import full
from graphc.primitives.elementwise import add, multiply, sin

H, X = (3,), (T, 3)


def step(b: Builder, h: Any, w: Any, x: Any) -> Any:
    h = b(sin, b(add, b(multiply, h, w), x))
    return [h], [h, b(multiply, h, x)]


def test_nothing_to_do() -> None:
    unchanged(prune_scans, lambda b, h, w, x: scan(b, step, [h], [w], [x]), H, H, X)


def test_unread_history_and_results_go() -> None:
    result = check_scans(prune_scans, lambda b, h, w, x: scan(b, step, [h], [w], [x], history=True)[2], H, H, X)
    (node,) = scans(result)
    assert parts(node) == (1, 1, 1, 1) and not node.attrs["history"]


def test_history_that_is_read_is_stacked() -> None:
    result = check_scans(prune_scans, lambda b, h, w, x: scan(b, step, [h], [w], [x], history=True)[3], H, H, X)
    (node,) = scans(result)
    body = node.attrs["body"]
    assert parts(node) == (1, 1, 1, 1) and body.outputs[1] is body.inputs[0]


def test_a_result_given_twice_is_stacked_once() -> None:
    def make(b: Builder, h: Any, w: Any, x: Any) -> Any:
        return scan(b, lambda b, h, w, x: ([b(sin, h)], [b(add, h, x), b(add, h, x)]), [h], [w], [x])

    (node,) = scans(check_scans(prune_scans, make, H, H, X))
    assert parts(node) == (1, 0, 1, 1)


def test_carries_that_only_make_themselves_go() -> None:
    def body(b: Builder, a: Any, c: Any, d: Any, w: Any, x: Any) -> Any:
        return [b(add, a, x), b(multiply, c, d), b(add, d, w)], [b(multiply, a, x)]

    (node,) = scans(check_scans(prune_scans, lambda b, h, w, x: scan(b, body, [h, h, w], [w], [x])[3], H, H, X))
    assert parts(node) == (1, 0, 1, 1)
    (node,) = scans(check_scans(prune_scans, lambda b, h, w, x: scan(b, body, [h, h, w], [w], [x])[1:], H, H, X))
    assert parts(node) == (3, 1, 1, 1)


def test_carries_that_stay_are_constants() -> None:
    def body(b: Builder, a: Any, c: Any, x: Any) -> Any:
        return [b(add, a, b(multiply, c, x)), c], [c]

    result = check_scans(prune_scans, lambda b, h, w, x: scan(b, body, [h, w], [], [x]), H, H, X)
    (node,) = scans(result)
    assert parts(node) == (1, 1, 1, 1) and result.outputs[1] is result.inputs[1]


def test_sequences_handed_on_are_themselves() -> None:
    def make(b: Builder, h: Any, x: Any) -> Any:
        return scan(b, lambda b, h, x: ([b(add, h, x)], [x]), [h], [], [x])

    result = check_scans(prune_scans, make, H, X)
    assert result.outputs[1] is result.inputs[1] and parts(scans(result)[0]) == (1, 0, 1, 0)


def test_numbers_are_numbers_in_the_body() -> None:
    def body(b: Builder, h: Any, w: Any, x: Any, y: Any) -> Any:
        return [b(multiply, b(add, h, x), b(multiply, w, y))], []

    def make(b: Builder, h: Any, x: Any) -> Any:
        return scan(b, body, [h], [b.full(2.0, H)], [x, b.full(0.5, X)])

    (node,) = scans(check_scans(prune_scans, make, H, X))
    assert parts(node) == (1, 0, 1, 0) and count_inside(node, full) == 2


def test_zeros_that_are_added_vanish() -> None:
    def make(b: Builder, h: Any, x: Any) -> Any:
        return scan(b, lambda b, h, x, y: ([b(add, b(multiply, h, x), y)], []), [h], [], [x, b.full(0.0, X)])

    result = tidy(check_scans(prune_scans, make, H, X))
    (node,) = scans(result)
    assert count_inside(node, add) == 0 and count_inside(node, full) == 0


def test_one_operand_read_twice() -> None:
    def body(b: Builder, h: Any, w: Any, v: Any, x: Any, y: Any) -> Any:
        return [b(add, b(multiply, h, w), b(multiply, v, b(multiply, x, y)))], []

    (node,) = scans(check_scans(prune_scans, lambda b, h, w, x: scan(b, body, [h], [w, w], [x, x]), H, H, X))
    assert parts(node) == (1, 1, 1, 0)


def test_scans_in_scans() -> None:
    def outer(b: Builder, h: Any, w: Any, xs: Any) -> Any:
        inner = scan(b, step, [h], [w], [xs], history=True)
        return [inner[0]], [inner[1]]

    result = check_scans(prune_scans, lambda b, h, w, x: scan(b, outer, [h], [w], [x])[0], H, H, (T, T, 3))
    (node,) = scans(result)
    (inside,) = scans(node.attrs["body"])
    assert parts(node) == (1, 1, 1, 0) and parts(inside) == (1, 1, 1, 0)
    assert node.outputs[0].dtype is float64
