"""Views that follow each other become one, and those that move nothing vanish."""

from __future__ import annotations

from typing import Any

import pytest
from pass_checks import check_pass
from program_samples import Builder, m, n

from graphc.core.tensor_types import float64
from graphc.passes.canonical_views import canonical_views
from graphc.primitives import elementwise, joining, views

e, v = elementwise, views
F = ((n, 3), float64)
K = ((2, 4, 6), float64)


def cut(b: Any, x: Any, starts: Any, limits: Any, strides: Any = None) -> Any:
    return b(v.slice_, x, starts=starts, limits=limits, strides=strides or (1,) * len(starts))


REWRITES: dict[str, tuple[Any, ...]] = {
    "reshape to the same shape": (lambda b, x: b(v.reshape, x, shape=(n, 3)), lambda b, x: x, F),
    "reshape of reshape": (
        lambda b, x: b(v.reshape, b(v.reshape, x, shape=(n * 3,)), shape=(3, n)), lambda b, x: b(v.reshape, x, shape=(3, n)), F,
    ),
    "reshape and back": (lambda b, x: b(v.reshape, b(v.reshape, x, shape=(n * 3,)), shape=(n, 3)), lambda b, x: x, F),
    "permute in place": (lambda b, x: b(v.permute, x, axes=(0, 1)), lambda b, x: x, F),
    "permute and back": (lambda b, x: b(v.permute, b(v.permute, x, axes=(1, 0)), axes=(1, 0)), lambda b, x: x, F),
    "permute of permute": (
        lambda b, x: b(v.permute, b(v.permute, x, axes=(2, 0, 1)), axes=(0, 2, 1)),
        lambda b, x: b(v.permute, x, axes=(2, 1, 0)), K,
    ),
    "permute of ones": (
        lambda b, x: b(v.permute, x, axes=(1, 0, 2)), lambda b, x: b(v.reshape, x, shape=(n, 1, 3)), ((1, n, 3), float64),
    ),
    "expand to the same shape": (lambda b, x: b(v.expand, x, shape=(n, 3)), lambda b, x: x, F),
    "expand of expand": (
        lambda b, x: b(v.expand, b(v.expand, x, shape=(2, n, 3)), shape=(4, 2, n, 3)),
        lambda b, x: b(v.expand, x, shape=(4, 2, n, 3)), F,
    ),
    "expand by ones": (lambda b, x: b(v.expand, x, shape=(1, n, 3)), lambda b, x: b(v.reshape, x, shape=(1, n, 3)), F),
    "expand of added ones": (
        lambda b, x: b(v.expand, b(v.reshape, x, shape=(1, 1, n, 3)), shape=(2, 5, n, 3)),
        lambda b, x: b(v.expand, x, shape=(2, 5, n, 3)), F,
    ),
    "reshape of expand by ones": (
        lambda b, x: b(v.reshape, b(v.expand, x, shape=(1, n, 3)), shape=(n * 3,)),
        lambda b, x: b(v.reshape, x, shape=(n * 3,)), F,
    ),
    "slice of all": (lambda b, x: cut(b, x, (0, 0), (n, 3)), lambda b, x: x, F),
    "slice of slice": (
        lambda b, x: cut(b, cut(b, x, (1, 0), (n, 3)), (1, 1), (n - 1, 2)), lambda b, x: cut(b, x, (2, 1), (n, 2)), F,
    ),
    "strided slice of slice": (
        lambda b, x: cut(b, cut(b, x, (0, 1, 1), (2, 4, 6), (1, 1, 2)), (0, 0, 1), (2, 3, 3), (1, 2, 1)),
        lambda b, x: cut(b, x, (0, 1, 3), (2, 4, 6), (1, 2, 2)), K,
    ),
    "nothing of a stride": (
        lambda b, x: cut(b, cut(b, x, (0,), (12,), (12,)), (1,), (1,)), lambda b, x: cut(b, x, (0,), (0,), (12,)),
        ((12,), float64),
    ),
    "stride of stride": (
        lambda b, x: cut(b, cut(b, x, (0,), (12,), (2,)), (1,), (6,), (2,)), lambda b, x: cut(b, x, (2,), (11,), (4,)),
        ((12,), float64),
    ),
    "flip of nothing": (lambda b, x: b(v.flip, x, axes=()), lambda b, x: x, F),
    "flip of an axis of one": (
        lambda b, x: b(v.flip, x, axes=(0, 1)), lambda b, x: b(v.flip, x, axes=(1,)), ((1, 3), float64),
    ),
    "flip and back": (lambda b, x: b(v.flip, b(v.flip, x, axes=(1,)), axes=(1,)), lambda b, x: x, F),
    "flip of flip": (
        lambda b, x: b(v.flip, b(v.flip, x, axes=(0, 1)), axes=(1, 2)), lambda b, x: b(v.flip, x, axes=(0, 2)), K,
    ),
    "pad by nothing": (lambda b, x: b(joining.pad, x, low=(0, 0), high=(0, 0), value=1.0), lambda b, x: x, F),
    "put all": (
        lambda b, x, y: b(v.slice_put, x, y, starts=(0, 0), limits=(n, 3), strides=(1, 1)), lambda b, x, y: y, F, F,
    ),
    "expand into an elementwise op": (
        lambda b, x, y: b(e.add, b(v.expand, x, shape=(n, 3)), y), lambda b, x, y: b(e.add, x, y), ((3,), float64), F,
    ),
    "two expands into an elementwise op": (
        lambda b, x, y: b(e.add, b(v.expand, x, shape=(n, 3)), b(v.expand, y, shape=(n, 3))),
        lambda b, x, y: b(e.add, x, y), ((3,), float64), ((n, 1), float64),
    ),
}  # fmt: skip

STAYS: dict[str, tuple[Any, ...]] = {
    "a view that moves something": (lambda b, x: b(v.permute, x, axes=(1, 0)), F),
    "reshape of permute": (lambda b, x: b(v.reshape, b(v.permute, x, axes=(1, 0)), shape=(n * 3,)), F),
    "expand that gives an elementwise op its shape": (
        lambda b, x, y: b(e.add, b(v.expand, x, shape=(2, 3)), y), ((3,), float64), ((), float64),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REWRITES)
def test_rewrites(name: str) -> None:
    before, after, *types = REWRITES[name]
    check_pass(canonical_views, before, after, *types)


@pytest.mark.parametrize("name", STAYS)
def test_stays(name: str) -> None:
    before, *types = STAYS[name]
    check_pass(canonical_views, before, None, *types)


def test_sizes_that_are_unknown_and_different_are_not_merged() -> None:
    b = Builder()
    x, y = b.input("x", (1, m)), b.input("y", (n, 1))
    program = b.program(b(e.add, b(v.expand, x, shape=(n, m)), y), b(v.expand, y, shape=(n, m)))
    after = canonical_views(program)
    assert after.outputs[0].node.inputs == (x, y) and after.outputs[1] is program.outputs[1]
