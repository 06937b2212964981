"""Every op gives the same in every mode: eager, compiled with and without passes, compiled and differentiated from outside,
in a session, in a session that runs node by node. One program per op holds all its samples, forward and gradient."""

from __future__ import annotations

from collections.abc import Sequence
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
    parts,
    tensors_of,
    terms,
    wanted_inputs,
)  # fmt: skip
from tolerances import assert_close

import graphc as gc
from graphc.core.op import Op, Sample, find_op
from graphc.core.tensor_types import type_of_array

BACKENDS = ("numpy", "llvm")
EVERY = [*BACKENDS, pytest.param("opencl", marks=pytest.mark.opencl)]
STATIC = [pytest.param(op, id=op.name) for op in OPS if op.name not in VALUE_DEPENDENT]


def operands_of(op: Op, samples: Sequence[Sample]) -> list[list[Any]]:
    """Fresh tensors for the inputs of every sample."""
    return [tensors_of(s.inputs, wanted_inputs(op, s)) for s in samples]


def seeds_of(op: Op, samples: Sequence[Sample]) -> list[list[Any]]:
    return [tensors_of(cotangents(op, s), ()) for s in samples]


def check_equal(op: Op, samples: Sequence[Sample], found: Any, wanted: Any, mode: str) -> None:
    for i, (sample, got, want) in enumerate(zip(samples, found, wanted, strict=True)):
        assert len(got) == len(want), f"{op.name}-{i}, {mode}: {len(got)} results, expected {len(want)}"
        for k, (a, b) in enumerate(zip(got, want, strict=True)):
            assert_close(a, b, n=terms(sample.inputs), what=f"{op.name}-{i}, {mode}, result {k}")


def eager(op: Op, samples: Sequence[Sample]) -> list[list[Any]]:
    """Outputs and gradients of every sample as arrays, one sample at a time."""
    columns = zip(samples, operands_of(op, samples), seeds_of(op, samples), strict=True)
    found = [forward_and_gradients(op, s, xs, seeds, gc.autograd.grad) for s, xs, seeds in columns]
    return [[y.detach().numpy() for y in row] for row in found]


@pytest.mark.parametrize("op", STATIC)
def test_eager_equals_eval(op: Op) -> None:
    samples = list(op.samples())
    for sample, got in zip(samples, eager(op, samples), strict=True):
        want = evaluated(op, sample.inputs, sample.attrs)
        for a, b in zip(got, want, strict=False):
            assert_close(a, b, n=terms(sample.inputs))


@pytest.mark.slow  # a kernel for each sample and each op of its gradient
@pytest.mark.opencl
@pytest.mark.parametrize("op", STATIC)
def test_eager_on_a_device_equals_eager(op: Op) -> None:
    """Operands on the device give results and gradients there, equal to those on the host."""
    samples = list(op.samples())
    wanted = eager(op, samples)
    columns = zip(samples, operands_of(op, samples), seeds_of(op, samples), strict=True)
    rows = []
    for sample, xs, seeds in columns:
        there = [x.detach().to("opencl").requires_grad_(x.requires_grad) for x in xs]
        results = forward_and_gradients(op, sample, there, [g.to("opencl") for g in seeds], gc.autograd.grad)
        assert not xs or all(y.device == gc.device("opencl:0") for y in results)
        rows.append([y.detach().cpu().numpy() for y in results])
    check_equal(op, samples, rows, wanted, "eager on opencl")


@pytest.mark.parametrize("backend", EVERY)
@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("op", STATIC)
def test_compiled_equals_eager(op: Op, optimize: bool, backend: str) -> None:
    samples = list(op.samples())

    def program(operands: Any, seeds: Any) -> Any:
        columns = zip(samples, operands, seeds, strict=True)
        return [forward_and_gradients(op, s, xs, g, gc.autograd.grad) for s, xs, g in columns]

    compiled = gc.compile(program, backend=backend, optimize=optimize)
    bits = []
    operands, seeds = operands_of(op, samples), seeds_of(op, samples)
    wanted = eager(op, samples)
    for run in ("first", "second"):
        found = compiled(operands, seeds)
        arrays = [[y.detach().numpy() for y in row] for row in found]
        check_equal(op, samples, arrays, wanted, f"compiled, {run} call")
        bits.append([y.tobytes() for row in arrays for y in row])
        own = [x for xs in (*operands, *seeds) for x in xs]
        new = [y for row in found for y in row if not any(y is x for x in own)]  # eager too returns an argument itself
        assert not any(np.may_share_memory(y.detach().numpy(), x.detach().numpy()) for y in new for x in own)
    assert len(compiled.recompiles) == 1
    assert bits[0] == bits[1], "two runs differ"
    for sample, xs in zip(samples, operands, strict=True):
        for before, x in zip(sample.inputs, xs, strict=True):
            assert x.detach().numpy().tobytes() == before.tobytes(), "an input was changed"


@pytest.mark.parametrize("backend", EVERY)
@pytest.mark.parametrize("op", [p for p in STATIC if p.values[0].vjp])
def test_compiled_function_is_differentiable_from_outside(op: Op, backend: str) -> None:
    samples = list(op.samples())
    compiled = gc.compile(
        lambda operands: [parts(op, op(*xs, **s.attrs)) for s, xs in zip(samples, operands, strict=True)],
        backend=backend,
    )
    operands, seeds = operands_of(op, samples), seeds_of(op, samples)
    outputs = [list(row) for row in compiled(operands)]
    found = []
    for sample, ys, xs, gs in zip(samples, outputs, operands, seeds, strict=True):
        wanted = [xs[i] for i in wanted_inputs(op, sample)]
        pulled = (
            gc.autograd.grad([y for y in ys if is_float(y)], wanted, gs, retain_graph=True, allow_unused=True)
            if wanted
            else ()
        )
        found.append([y.detach().numpy() for y in (*ys, *(g for g in pulled if g is not None))])
    check_equal(op, samples, found, eager(op, samples), "compiled, differentiated outside")


@pytest.mark.parametrize(
    "backends",
    [
        pytest.param((*BACKENDS, "eager"), id="processor"),
        pytest.param(("opencl",), id="opencl", marks=pytest.mark.opencl),
    ],
)
@pytest.mark.parametrize("unknown", [False, True], ids=["known sizes", "unknown sizes"])
@pytest.mark.parametrize("op", STATIC)
def test_session_equals_eager(op: Op, unknown: bool, backends: Sequence[str]) -> None:
    if unknown and getattr(op.kind, "name", "") == "control":
        return  # their bodies are typed: tests of the functions that make them have unknown sizes
    samples = list(op.samples())
    graph, feeds, fetches = gc.Graph(), {}, []

    def fed(array: Any, broadcasts: bool = True) -> Any:
        # a size of 1 broadcasts: unknown, it would be another program
        shape = tuple(None if unknown and not (n == 1 and broadcasts) else n for n in array.shape)
        x = gc.placeholder(shape, dtype=type_of_array(array).dtype)
        feeds[x] = array
        return x

    with graph.as_default():
        for sample in samples:
            xs, seeds = [fed(x) for x in sample.inputs], [fed(g, False) for g in cotangents(op, sample)]
            fetches.append(forward_and_gradients(op, sample, xs, seeds, gc.gradients))
    wanted = eager(op, samples)
    for backend in backends:
        with gc.Session(graph, backend=backend, verify=backend != "eager") as session:
            found = session.run(fetches, feed_dict=feeds)
        check_equal(op, samples, found, wanted, f"session, backend {backend}")
        results = [y for row in found for y in row]
        assert not any(np.may_share_memory(y, x) for y in results for x in feeds.values())


@pytest.mark.parametrize("op", sorted(VALUE_DEPENDENT))
def test_value_dependent_ops_refuse_graphs(op: str) -> None:
    for sample in find_op(op).samples():
        with pytest.raises(gc.errors.SymbolicError, match=rf"{op} at .*test_modes\.py:\d+"):
            gc.compile(lambda *xs: find_op(op)(*xs))(*tensors_of(sample.inputs, ()))
