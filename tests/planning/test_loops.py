"""Plans of control ops: where carries are, and that a recurrence's step is one product and one kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from program_samples import Builder, plain_data
from scan_checks import T, scan

import graphc as gc
from graphc import nn
from graphc.core.tensor_types import float64
from graphc.ir.interpret import interpret
from graphc.ir.program import Program, Value
from graphc.planning.native_plan import Carry, NativePlan, ScanPlan
from graphc.planning.regions import plan_regions
from graphc.planning.steps import ContractionStep, ControlStep, KernelStep
from graphc.primitives.contraction import matmul
from graphc.primitives.elementwise import add, multiply, sin, tanh
from graphc.primitives.joining import concat
from graphc.primitives.reductions import reduce_sum
from graphc.primitives.views import permute, reshape, slice_
from tests.planning.reference_run import run_plan


def program(make: Any, *shapes: tuple[int, ...]) -> Program:
    b = Builder()
    made = make(b, *[b.input(f"x{i}", shape, float64) for i, shape in enumerate(shapes)])
    return b.program(*([made] if isinstance(made, Value) else made))


def steps(plan: NativePlan) -> list[Any]:
    return [step for region in plan.regions for step in region]


def planned(make: Any, *shapes: tuple[int, ...]) -> list[Any]:
    """The steps of a plan, which computes what the program does."""
    made = program(make, *shapes)
    arrays = [plain_data(v.type, i) for i, v in enumerate(made.inputs)]
    plan = plan_regions(made)
    for got, want in zip(run_plan(plan, arrays), interpret(made, arrays), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)
    return steps(plan)


def scan_plan(body: Any, length: int = T, **attrs: Any) -> ScanPlan:
    def make(b: Builder, h: Any, x: Any) -> Any:
        return scan(b, body, [h, h], [], [x], length=length, **attrs)

    plan = plan_regions(program(make, (3,), (length, 3)))
    (control,) = plan.controls.values()
    assert isinstance(control, ScanPlan)
    return control


# --- carries -------------------------------------------------------------------------------------------------------------


def test_carries_take_turns_in_two_buffers() -> None:
    plan = scan_plan(lambda b, h, c, x: ([b(sin, c), b(add, h, x)], []))
    assert [len(c.spare) for c in plan.carries] == [1, 1] and plan.nbytes >= 2 * 24
    assert all(c == Carry() for c in scan_plan(lambda b, h, c, x: ([b(sin, c), b(add, h, x)], []), 1).carries)


def test_carries_that_are_stacked_are_there() -> None:
    plan = scan_plan(lambda b, h, c, x: ([b(sin, c), b(add, h, x)], [c, b(sin, c), b(multiply, h, x)]))
    assert plan.carries == (Carry(made=3), Carry(kept=2)) and plan.stacked == (4,)
    assert len(plan.body.program.outputs) == 3


def test_history_is_where_carries_are() -> None:
    plan = scan_plan(lambda b, h, c, x: ([b(sin, c), b(add, h, x)], [b(multiply, h, x)]), history=True)
    assert plan.carries == (Carry(kept=3), Carry(kept=4)) and plan.stacked == (2,)


def test_bodies_are_in_the_text_and_the_peak() -> None:
    def body(b: Builder, h: Any, c: Any, x: Any) -> Any:
        total = b(reduce_sum, b(tanh, h), axes=(0,))
        return [b(sin, b(multiply, c, total)), b(add, h, x)], []

    made = program(lambda b, h, x: scan(b, body, [h, h], [], [x]), (3,), (T, 3))
    plan = plan_regions(made)
    (control,) = [step for step in steps(plan) if isinstance(step, ControlStep)]
    assert plan.arena_bytes >= plan.controls[control].nbytes > 0
    assert "control scan" in plan.text and "    region 0" in plan.text


# --- recurrences ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_step_is_one_product_and_one_kernel(kind: str) -> None:
    layer = getattr(nn, kind)(8, 32)

    @gc.compile(backend="llvm", dynamic=False)
    def step(x: Any) -> Any:
        y = layer(x)[0]
        return gc.autograd.grad((y * y).sum(), list(layer.parameters()))

    step(gc.randn(5, 16, 8))
    built = step.last_built()
    assert built is not None
    (executable,) = built.executables.values()
    bodies = [body for control in executable.plan.controls.values() for body in control.bodies]
    assert len(bodies) == 2
    for body in bodies:
        assert sorted(type(x).__name__ for x in steps(body)) == ["ContractionStep", "KernelStep"], body.text


# --- what recurrences need of plans --------------------------------------------------------------------------------------


def test_reshapes_of_memory_are_views() -> None:
    def make(b: Builder, x: Any, w: Any) -> Any:
        return b(matmul, b(reshape, x, shape=(6, 4)), w, transpose_a=False, transpose_b=False)

    (step,) = planned(make, (2, 3, 4), (4, 5))
    assert isinstance(step, ContractionStep)
    (step,) = planned(make, (6, 2, 2), (4, 5))
    assert isinstance(step, ContractionStep)


def test_reshapes_that_no_stride_can_say_are_copies() -> None:
    def make(b: Builder, x: Any, w: Any) -> Any:
        flat = b(reshape, b(permute, x, axes=(1, 0, 2)), shape=(6, 4))
        return b(matmul, flat, w, transpose_a=False, transpose_b=False)

    assert [type(step) for step in planned(make, (2, 3, 4), (4, 5))] == [KernelStep, ContractionStep]


def test_parts_are_stored_where_they_belong() -> None:
    def make(b: Builder, x: Any, y: Any) -> Any:
        a, c = b(multiply, b(sin, x), y), b(add, b(tanh, x), y)
        whole = b(concat, a, c, a, axis=1)
        return whole, b(multiply, c, c)

    (step,) = planned(make, (16, 32), (16, 32))
    assert isinstance(step, KernelStep)


def test_folds_are_parts_too() -> None:
    def make(b: Builder, x: Any, y: Any) -> Any:
        total = b(reshape, b(reduce_sum, b(multiply, x, y), axes=(1,)), shape=(512, 1))
        return b(
            concat, b(reduce_sum, b(sin, x), axes=(1,)), b(reduce_sum, b(multiply, x, y), axes=(1,)), axis=0
        ), total

    assert all(isinstance(step, KernelStep) for step in planned(make, (512, 3), (512, 3)))


def test_small_parts_are_joined_by_one_kernel() -> None:
    def make(b: Builder, x: Any, y: Any) -> Any:
        return b(concat, b(sin, x), b(slice_, y, starts=(0, 1), limits=(2, 3), strides=(1, 1)), axis=1)

    assert len(planned(make, (2, 3), (2, 4))) == 1


def test_outputs_given_twice_are_stored_twice_by_one_kernel() -> None:
    def make(b: Builder, x: Any) -> Any:
        y = b(sin, x)
        z = b(reduce_sum, b(multiply, y, x), axes=(1,))
        return y, y, z, y, z

    assert all(isinstance(step, KernelStep) for step in planned(make, (4, 5)))
    assert len(planned(lambda b, x: (b(sin, x),) * 3, (4, 5))) == 1
