"""Half precision: every op's samples in float16 and bfloat16 give what float32 gives, rounded; eager and on every backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conformance.cases import (
    OPS,
    VALUE_DEPENDENT,
    cotangents,
    evaluated,
    forward_and_gradients,
    is_float,
    tensors_of,
    terms,
    types_of,
    wanted_inputs,
)
from tolerances import assert_close

import graphc as gc
from graphc.core.op import Op, Sample
from graphc.core.tensor_types import FLOAT, DType, bfloat16, float16, float32

HALVES = (float16, bfloat16)
BACKENDS = ("numpy", "llvm", pytest.param("opencl", marks=pytest.mark.opencl))

#: Ops that refuse halves: what LAPACK does, and a product that a pass makes of wider numbers only.
REFUSING = {
    "solve", "solve_triangular", "matrix_exponential", "determinant", "log_determinant", "cholesky", "lu_factor", "qr",
    "eigh", "svd", "pseudo_inverse", "matmul_add",
}  # fmt: skip


def takes_floats(sample: Sample) -> bool:
    """Whether floats go in, or an op without operands makes them."""
    dtype = sample.attrs.get("dtype")
    return any(map(is_float, sample.inputs)) or (
        not sample.inputs and isinstance(dtype, DType) and dtype.category == FLOAT
    )


def of_dtype(sample: Sample, dtype: DType) -> Sample:
    """A sample with its floats in a dtype; what an op without operands makes is of that dtype."""
    with np.errstate(over="ignore"):
        inputs = tuple(x.astype(dtype.np) if is_float(x) else x for x in sample.inputs)
    return Sample(inputs, sample.attrs if inputs else {**sample.attrs, "dtype": dtype}, sample.smooth)


def halved(op: Op) -> list[Sample]:
    """The samples that have floats, in both half precisions."""
    return [of_dtype(s, dtype) for s in op.samples() if takes_floats(s) for dtype in HALVES]


#: The bodies of control ops are typed, so that their samples stay as they are.
CASES = [
    op
    for op in OPS
    if op.name not in VALUE_DEPENDENT
    and getattr(op.kind, "name", "") != "control"
    and any(map(takes_floats, op.samples()))
]
TAKING = [op for op in CASES if op.name not in REFUSING]


def computed_in_float32(op: Op, sample: Sample) -> list[Any]:
    """Outputs and gradients of a sample of halves, computed in float32 and rounded in the end."""
    wide = of_dtype(sample, float32)
    wide_types = op.output_types(*types_of(wide.inputs), **wide.attrs)
    floats = [t.dtype.np for t in wide_types if t.dtype.category == FLOAT]
    seeds = [x.astype(t) for x, t in zip(cotangents(op, sample), floats, strict=True)]
    found = forward_and_gradients(
        op, wide, tensors_of(wide.inputs, wanted_inputs(op, wide)), tensors_of(seeds, ()), gc.autograd.grad
    )
    outputs = evaluated(op, wide.inputs, wide.attrs)
    dtypes = [t.dtype.np for t in op.output_types(*types_of(sample.inputs), **sample.attrs)]
    dtypes += [x.dtype for x in sample.inputs if is_float(x)][:1] * (len(found) - len(outputs))
    with np.errstate(over="ignore"):
        pairs = zip([*outputs, *(g.numpy() for g in found[len(outputs) :])], dtypes, strict=True)
        return [y.astype(dtype) for y, dtype in pairs]


def compare(op: Op, samples: list[Sample], found: list[list[Any]]) -> None:
    for i, (sample, got) in enumerate(zip(samples, found, strict=True)):
        want = computed_in_float32(op, sample)
        assert len(got) == len(want)
        for k, (a, b) in enumerate(zip(got, want, strict=True)):
            assert_close(a.detach().numpy(), b, n=terms(sample.inputs), what=f"{op.name}-{i}, result {k}")


def operands_and_seeds(op: Op, samples: list[Sample]) -> tuple[list[Any], list[Any]]:
    """Fresh tensors for the operands and the cotangents of every sample."""
    operands = [tensors_of(s.inputs, wanted_inputs(op, s)) for s in samples]
    return operands, [tensors_of(cotangents(op, s), ()) for s in samples]


@pytest.mark.parametrize("op", TAKING, ids=str)
def test_eager(op: Op) -> None:
    samples = halved(op)
    columns = zip(samples, *operands_and_seeds(op, samples), strict=True)
    compare(op, samples, [forward_and_gradients(op, s, xs, g, gc.autograd.grad) for s, xs, g in columns])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("op", TAKING, ids=str)
def test_compiled(op: Op, backend: str) -> None:
    samples = halved(op)

    def program(operands: Any, seeds: Any) -> Any:
        columns = zip(samples, operands, seeds, strict=True)
        return [forward_and_gradients(op, s, xs, g, gc.autograd.grad) for s, xs, g in columns]

    compare(op, samples, gc.compile(program, backend=backend)(*operands_and_seeds(op, samples)))


@pytest.mark.parametrize("op", [op for op in CASES if op.name in REFUSING], ids=str)
def test_refusals_say_what_is_accepted(op: Op) -> None:
    for sample in halved(op):
        with pytest.raises(gc.errors.DtypeError, match=rf"(?s)^{op.name}: .*float16.*need float32 or float64"):
            op(*tensors_of(sample.inputs, ()), **sample.attrs)
