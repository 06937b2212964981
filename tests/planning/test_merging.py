"""Loops that become one: where accesses and numbers made of counters walk them as one; the same results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from planning.reference_run import KernelRun

from graphc.core import scalar as s
from graphc.core.scalar import const, index
from graphc.core.tensor_types import float64, int64
from graphc.ir.kernel import Access, Kernel, Statement
from graphc.planning.merging import ADDED, coefficients, merge_loops

P, Q, R = index(0), index(1), index(2)


def counted(tree: Any, extents: tuple[int, ...] = (3, 4, 5)) -> Kernel:
    """Stores a number made of the counters of a block of that shape."""
    steps = tuple(int(np.prod(extents[n + 1 :])) for n in range(len(extents)))
    return Kernel(extents, len(extents), (), (Statement(tree, store=Access(0, steps, 0)),), (int64,))


def run(kernel: Kernel, *buffers: Any) -> Any:
    target = np.full(60, -7)
    KernelRun(kernel, [target, *buffers]).run()
    return target


@pytest.mark.parametrize(
    ("tree", "extents"),
    [
        ((P * 4 + Q) * 5 + R, (60,)), ((((const(0, int64) * 3 + P) * 4 + Q) * 5 + R) >> 2, (60,)), (P * 20 + Q * 5, (12, 5)),
        (P + (Q * 5 + R) * 7, (3, 20)), (P * 40 + Q * 10 + R * 2 + 3, (60,)), (Q * 5 + R + (P * 4 + Q), (3, 4, 5)),
        (s.quot(P * 4 + Q, const(2, int64)) + R, (12, 5)), (P * Q + R, (3, 4, 5)), (const(5, int64), (60,)), (R * -1, (12, 5)),
        ((P * 4 + Q) * 5 + R * 2, (12, 5)), (s.select(R < 2, P, Q), (3, 4, 5)),
    ],
)  # fmt: skip
def test_numbers_made_of_counters(tree: Any, extents: tuple[int, ...]) -> None:
    kernel = counted(tree)
    merged = merge_loops(kernel)
    assert merged.extents == extents
    np.testing.assert_array_equal(run(merged), run(kernel))


def test_accesses_decide_too() -> None:
    flat = P * 20 + Q * 5 + R
    for coefs, extents in (((20, 5, 1), (60,)), ((0, 5, 1), (3, 20)), ((20, 5, 2), (12, 5)), ((1, 3, 12), (3, 4, 5))):
        statement = Statement(s.leaf(0, int64) + flat, store=Access(0, (20, 5, 1), 0))
        kernel = Kernel((3, 4, 5), 3, (Access(1, coefs, 0),), (statement,), (int64, int64))
        merged = merge_loops(kernel)
        assert merged.extents == extents
        np.testing.assert_array_equal(run(merged, np.arange(99)), run(kernel, np.arange(99)))


def test_loops_of_one_step_go_and_outer_stays_apart_from_inner() -> None:
    kernel = counted((P * 1 + Q) * 5 + R, (4, 1, 5))
    assert merge_loops(kernel).extents == (20,)
    fold = Statement(s.cast(R, float64), 0, True, "add", 0.0, Access(0, (1, 0, 0), 0))
    assert merge_loops(Kernel((3, 1, 5), 1, (), (fold,), (float64,))).extents == (3, 5)
    assert merge_loops(Kernel((3, 1, 1), 1, (), (fold,), (float64,))).extents == (3, 1)


def test_coefficients() -> None:
    assert coefficients((P * 3 + const(2, int64)) * 4 + Q) == {0: 12, 1: 1, ADDED: 8}
    assert coefficients(P) == {0: 1} and coefficients(const(3, int64)) == {ADDED: 3}
    for tree in (P * Q, P >> 1, s.leaf(0, int64), P - Q, s.cast(P, float64)):
        assert coefficients(tree) is None
