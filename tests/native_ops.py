"""One op as native code: its program, its executable, and its samples beside NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from conformance.cases import evaluated, terms
from planning.reference_run import run_plan
from program_samples import Builder
from tolerances import assert_close

from graphc.backends.llvm.backend import LlvmBackend, LlvmExecutable
from graphc.core.op import Op
from graphc.core.tensor_types import type_of_array
from graphc.ir.program import Program
from graphc.passes.pipelines import NATIVE, optimise
from graphc.planning.steps import HostStep


def native(op: Op, arrays: Any, attrs: Any) -> Program:
    """The op alone, as the llvm backend gets it."""
    b = Builder()
    inputs = [b.input(f"x{i}", x.shape, type_of_array(x).dtype) for i, x in enumerate(arrays)]
    return optimise(b.program(*b.table.apply(op, inputs, attrs, ()).outputs), NATIVE, verify_each=True)


def compiled(op: Op, arrays: Any, attrs: Any) -> LlvmExecutable:
    """The op alone, compiled."""
    found = LlvmBackend().compile(native(op, arrays, attrs))
    assert isinstance(found, LlvmExecutable)
    return found


def kinds(executable: LlvmExecutable) -> set[type]:
    """The kinds of steps of a plan."""
    return {type(step) for region in executable.plan.regions for step in region}


def check_samples(op: Op) -> None:
    """Every sample of the op is native, and gives what NumPy gives, on the oracle and in native code."""
    for sample in op.samples():
        arrays = [np.array(x, order="C") for x in sample.inputs]
        executable = compiled(op, arrays, sample.attrs)
        assert HostStep not in kinds(executable)
        wanted = evaluated(op, arrays, sample.attrs)
        for found in (run_plan(executable.plan, arrays), executable(arrays)):
            for y, want in zip(found, wanted, strict=True):
                assert_close(y, want, n=terms(arrays))
