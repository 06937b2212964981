"""Windows and convolutions become folds or forms that are native, and mean the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conformance.cases import evaluated, terms
from program_samples import Builder
from tolerances import assert_close

from graphc.core.op import Op, Sample
from graphc.core.tensor_types import float16, float32, float64, int64, type_of_array
from graphc.ir.interpret import interpret
from graphc.ir.program import Program
from graphc.ir.verify import verify
from graphc.passes.convolution_folds import convolution_folds
from graphc.passes.window_folds import window_folds
from graphc.primitives import convolution as c
from graphc.primitives import windows as w

WINDOWS = (w.window_max, w.window_max_gradient, w.window_sum, w.window_sum_gradient)
CONVOLUTIONS = (c.convolution, c.convolution_input_gradient, c.convolution_weight_gradient)


def program_of(op: Op, sample: Sample) -> Program:
    b = Builder()
    inputs = [b.input(f"x{i}", x.shape, type_of_array(x).dtype) for i, x in enumerate(sample.inputs)]
    return b.program(*b.table.apply(op, inputs, sample.attrs, ()).outputs)


def sampled(ops: tuple[Op, ...]) -> Any:
    return [pytest.param(op, s, id=f"{op.name}-{i}") for op in ops for i, s in enumerate(op.samples())]


def names(program: Program) -> set[str]:
    return {node.op.name for node in program.nodes}


def check(op: Op, sample: Sample, result: Program) -> None:
    verify(result)
    with np.errstate(all="ignore"):
        found = interpret(result, list(sample.inputs))
    for y, want in zip(found, evaluated(op, sample.inputs, sample.attrs), strict=True):
        assert_close(y, want, n=terms(sample.inputs))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("op", "sample"), sampled(WINDOWS))
def test_windows_become_folds(op: Op, sample: Sample) -> None:
    program = program_of(op, sample)
    result = window_folds(program)
    assert not names(result) & {x.name for x in WINDOWS}
    assert window_folds(result) is result
    check(op, sample, result)


@pytest.mark.parametrize(("op", "sample"), sampled(CONVOLUTIONS))
def test_convolutions_of_few_channels_become_folds(op: Op, sample: Sample) -> None:
    result = convolution_folds(program_of(op, sample))
    assert not names(result) & {x.name for x in CONVOLUTIONS}, "all samples are small"
    assert convolution_folds(result) is result
    check(op, sample, result)


def test_windows_that_do_not_overlap_need_no_fold_for_their_gradient() -> None:
    b = Builder()
    attrs = {"kernel": (2, 2), "stride": (2, 2), "padding": ((0, 0), (0, 0)), "dilation": (1, 1)}
    g, at = b.input("g", (3, 2, 2), float32), b.input("at", (3, 2, 2), int64)
    node = b.table.apply(w.window_max_gradient, (g, at), {"input_size": (4, 4), **attrs}, ())
    assert "reduce_sum" not in names(window_folds(b.program(*node.outputs)))
    overlapping = {**attrs, "stride": (1, 1), "input_size": (3, 3)}
    node = b.table.apply(w.window_max_gradient, (g, at), overlapping, ())
    assert "reduce_sum" in names(window_folds(b.program(*node.outputs)))


def test_convolutions_of_many_channels_stay_products() -> None:
    b = Builder()
    settings = {"stride": (1,), "padding": ((1, 1),), "dilation": (1,)}
    x = b.input("x", (5, 8, 6), float64)
    node = b.table.apply(c.convolution, (x, b.input("w", (16, 4, 3), float64)), {"groups": 2, **settings}, ())
    program = b.program(*node.outputs)
    assert convolution_folds(program) is program
    b = Builder()
    x, g = b.input("x", (5, 8, 6), float64), b.input("g", (5, 16, 6), float64)
    attrs = {"groups": 2, "kernel_size": (3,), **settings}
    program = b.program(*b.table.apply(c.convolution_weight_gradient, (x, g), attrs, ()).outputs)
    result = convolution_folds(program)
    (parts,) = [node for node in result.nodes if node.op is c.convolution_weight_parts]
    assert parts.attrs["parts"] == 5 and "reduce_sum" in names(result)
    rng = np.random.default_rng(0)
    check(
        c.convolution_weight_gradient, Sample((rng.normal(size=(5, 8, 6)), rng.normal(size=(5, 16, 6))), attrs), result
    )


def test_halves_are_computed_in_float32() -> None:
    b = Builder()
    settings = {"stride": (1,), "padding": ((0, 0),), "dilation": (1,), "groups": 1}
    node = b.table.apply(
        c.convolution, (b.input("x", (2, 8, 6), float16), b.input("w", (9, 8, 3), float16)), settings, ()
    )
    result = convolution_folds(b.program(*node.outputs))
    (inner,) = [node for node in result.nodes if node.op is c.convolution]
    assert inner.outputs[0].dtype is float32 and result.outputs[0].dtype is float16
