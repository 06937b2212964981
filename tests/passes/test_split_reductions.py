"""Folds of much into little, in two steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from program_samples import Builder, n

from graphc.core.tensor_types import bfloat16, float32
from graphc.ir.interpret import interpret
from graphc.ir.program import Program
from graphc.ir.verify import verify
from graphc.passes.split_reductions import LEAST, MOST, split_reductions
from graphc.primitives.reductions import reduce_max, reduce_sum


def fold(op: Any, shape: tuple[Any, ...], axes: tuple[int, ...], dtype: Any = float32) -> Program:
    b = Builder()
    return b.program(b(op, b.input("x", shape, dtype), axes=axes))


@pytest.mark.parametrize("op", [reduce_sum, reduce_max], ids=lambda op: op.name)
@pytest.mark.parametrize(
    ("shape", "axes"), [((65536,), (0,)), ((256, 256), (0, 1)), ((8192, 16), (0,)), ((4, 16384), (1,)), ((1, 65536), (0, 1))]
)  # fmt: skip
def test_few_results_of_many_elements(op: Any, shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    program = fold(op, shape, axes)
    after = split_reductions(program)
    verify(after, "split_reductions")
    folds = [node for node in after.nodes if node.op is op]
    assert len(folds) == 2 and split_reductions(after) is after
    partial = folds[0].outputs[0].type.size
    assert LEAST <= partial // max(program.outputs[0].type.size, 1) <= MOST
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    np.testing.assert_allclose(interpret(after, [x])[0], interpret(program, [x])[0], rtol=1e-4, atol=1e-3)


def test_what_is_small_has_many_results_or_no_divisor_stays() -> None:
    for program in (
        fold(reduce_sum, (1000,), (0,)),
        fold(reduce_sum, (8192, 512), (0,)),
        fold(reduce_sum, (64, 16384), (1,)),
        fold(reduce_sum, (65537,), (0,)),
        fold(reduce_sum, (n,), (0,)),
        fold(reduce_sum, (65536,), (0,), bfloat16),
        fold(reduce_sum, (65536,), ()),
    ):
        assert split_reductions(program) is program


def test_nan_and_infinity_reach_the_result() -> None:
    for odd in (np.nan, np.inf):
        x = np.zeros(65536, np.float32)
        x[40000] = odd
        program = fold(reduce_max, (65536,), (0,))
        np.testing.assert_array_equal(interpret(split_reductions(program), [x])[0], np.float32(odd))
