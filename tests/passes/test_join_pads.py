"""Parts among zeros, added up, are parts joined."""

from __future__ import annotations

from typing import Any

import numpy as np
from program_samples import Builder
from scan_checks import check_scans, count, unchanged

from graphc.ir.interpret import interpret
from graphc.passes.join_pads import join_pads
from graphc.primitives.elementwise import add
from graphc.primitives.joining import concat, pad


def padded(b: Builder, x: Any, low: int, high: int, axis: int = 1, value: float = 0.0) -> Any:
    ends = {name: tuple(n if a == axis else 0 for a in range(2)) for name, n in (("low", low), ("high", high))}
    return b(pad, x, **ends, value=value)


def test_parts_in_any_order() -> None:
    def make(b: Builder, x: Any, y: Any, z: Any) -> Any:
        return b(add, b(add, padded(b, y, 2, 1), padded(b, z, 5, 0)), padded(b, x, 0, 4))

    result = check_scans(join_pads, make, (3, 2), (3, 3), (3, 1))
    (value,) = result.outputs
    assert value.node.op is concat and value.node.inputs == result.inputs


def test_gaps_are_zeros() -> None:
    result = check_scans(join_pads, lambda b, x, y: b(add, padded(b, x, 1, 5), padded(b, y, 5, 1)), (3, 2), (3, 2))
    assert count(result, pad) == 0 and len(result.outputs[0].node.inputs) == 5


def test_parts_that_overlap_stay() -> None:
    unchanged(join_pads, lambda b, x, y: b(add, padded(b, x, 0, 2), padded(b, y, 1, 1)), (3, 2), (3, 2))
    unchanged(join_pads, lambda b, x, y: b(add, padded(b, x, 0, 2), padded(b, y, 0, 3, axis=0)), (6, 2), (3, 4))
    unchanged(join_pads, lambda b, x, y: b(add, padded(b, x, 0, 2, value=1.0), padded(b, y, 2, 0)), (3, 2), (3, 2))
    unchanged(join_pads, lambda b, x, y: b(add, padded(b, x, 0, 2), y), (3, 2), (3, 4))


def test_joins_of_everything_stay() -> None:
    def make(b: Builder, x: Any, y: Any) -> Any:
        return b(add, b(concat, x, y, axis=1), b(concat, y, x, axis=1))

    unchanged(join_pads, make, (3, 2), (3, 2))


def test_nan_and_infinity_stay_where_they_are() -> None:
    b = Builder()
    x, y = b.input("x", (1, 1)), b.input("y", (1, 1))
    program = join_pads(b.program(b(add, padded(b, x, 0, 1), padded(b, y, 1, 0))))
    (found,) = interpret(program, [np.array([[np.nan]]), np.array([[np.inf]])])
    np.testing.assert_array_equal(found, [[np.nan, np.inf]])
