"""Scatters of one place a row are selections."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from program_samples import Builder, same_bits

from graphc.core.tensor_types import int64
from graphc.ir.interpret import interpret
from graphc.ir.program import Program
from graphc.ir.verify import verify
from graphc.passes.scatter_selects import scatter_selects
from graphc.primitives.comparison import where
from graphc.primitives.indexing import scatter, scatter_add


def program_with(op: Any, index_shape: tuple[int, ...], axis: int) -> Program:
    b = Builder()
    x, index = b.input("x", (4, 3)), b.input("index", index_shape, int64)
    return b.program(b(op, x, index, b.input("src", index_shape), axis=axis))


@pytest.mark.parametrize("op", [scatter, scatter_add], ids=lambda op: op.name)
@pytest.mark.parametrize(("shape", "axis"), [((4, 1), 1), ((1, 3), 0)])
def test_one_place_a_row(op: Any, shape: tuple[int, ...], axis: int) -> None:
    program = program_with(op, shape, axis)
    after = scatter_selects(program)
    verify(after, "scatter_selects")
    assert after.outputs[0].node.op is where and scatter_selects(after) is after
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(4, 3)), rng.integers(0, 3, shape), np.where(rng.random(shape) < 0.5, np.nan, 2.5)]
    for got, want in zip(interpret(after, arrays), interpret(program, arrays), strict=True):
        same_bits(got, want)


@pytest.mark.parametrize("op", [scatter, scatter_add], ids=lambda op: op.name)
def test_several_places_a_row_and_parts_of_rows_stay(op: Any) -> None:
    for shape in ((4, 2), (2, 1), (0, 1)):
        program = program_with(op, shape, 1)
        assert scatter_selects(program) is program


@pytest.mark.parametrize("op", [scatter, scatter_add], ids=lambda op: op.name)
def test_a_bad_place_is_still_refused(op: Any) -> None:
    after = scatter_selects(program_with(op, (4, 1), 1))
    with pytest.raises(IndexError, match="3"):
        interpret(after, [np.zeros((4, 3)), np.full((4, 1), 3), np.zeros((4, 1))])
