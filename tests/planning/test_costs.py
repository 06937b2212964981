"""The cost model against counts by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.core import scalar as s
from graphc.core.tensor_types import float32, int64
from graphc.ir.kernel import Access, Kernel, Statement
from graphc.ir.specialise import specialise
from graphc.passes.pipelines import NATIVE, optimise
from graphc.planning.costs import (
    Cost,
    duration,
    kernel_cost,
    node_cost,
    plan_cost,
    program_cost,
    quantity,
    step_cost,
    tree_flops,
)
from graphc.planning.regions import plan_regions
from graphc.planning.steps import SortStep


def program_of(fn: Any, *args: Any) -> Any:
    compiled = gc.compile(fn, backend="numpy", dynamic=False)
    compiled(*args)
    return specialise(compiled.last_built().program, {})


def steps_of(fn: Any, *args: Any) -> list[tuple[str, Cost]]:
    plan = plan_regions(optimise(program_of(fn, *args), NATIVE))
    return [(type(step).__name__, step_cost(step, plan)) for region in plan.regions for step in region]


def test_trees() -> None:
    x, n = s.leaf(0, float32), s.leaf(1, int64)
    assert tree_flops(x) == 0
    assert tree_flops(s.exp(x * 2 + 1)) == 3
    assert tree_flops(s.fma(x, x, x)) == 2
    assert tree_flops(s.select(x < 0, -x, abs(x))) == 0
    assert tree_flops(n * 3 + 1) == 0
    square = x * x
    assert tree_flops(square + square) == 2, "what is shared is done once"


def test_kernels_count_distinct_bytes() -> None:
    rows = Access(0, (10, 1), 0)
    row = Access(1, (0, 1), 0)
    tree = s.leaf(0, float32) * s.leaf(1, float32)
    kernel = Kernel(
        (32, 10), 1, (rows, row), (Statement(tree, 0, True, "add", 0.0, store=Access(2, (1, 0), 0)),), (float32,) * 3
    )
    assert kernel_cost(kernel, (320, 10, 32)) == Cost(2 * 320, 4 * (320 + 10), 4 * 32)


def test_overlapping_windows_are_read_once() -> None:
    window = Access(0, (1, 1), 0)
    kernel = Kernel(
        (96, 5),
        1,
        (window,),
        (Statement(s.leaf(0, float32), 0, True, "maximum", 0, store=Access(1, (1, 0), 0)),),
        (float32,) * 2,
    )
    assert kernel_cost(kernel, (100, 96)) == Cost(0, 400, 4 * 96)


def test_rows_read_through_an_index_are_at_most_the_table() -> None:
    index, table = Access(0, (1, 0), 0), Access(1, (0, 1), 0, ((s.leaf(0, int64), 8),))
    statement = Statement(s.leaf(1, float32), store=Access(2, (8, 1), 0))
    kernel = Kernel((6, 8), 2, (index, table), (statement,), (int64, float32, float32))
    assert kernel_cost(kernel, (6, 8000, 48)) == Cost(0, 8 * 6 + 4 * 48, 4 * 48)
    assert kernel_cost(kernel, (6, 16, 48)).read == 8 * 6 + 4 * 16


def test_products() -> None:
    a, b = gc.ones(4, 6, 5), gc.ones(5, 3)
    found = steps_of(lambda a, b: a @ b, a, b)
    assert found == [("ContractionStep", Cost(2 * 4 * 6 * 3 * 5, 4 * (120 + 15), 4 * 72))]
    wide = gc.ones(2, 1, 5, 3).expand(2, 4, 5, 3)
    (step,) = steps_of(lambda a, b: a.unsqueeze(0) @ b.expand(2, 4, 5, 3), gc.ones(4, 6, 5), wide[:, :1].contiguous())
    assert step[1].read == 4 * (120 + 30), "expanded elements are read once"


def test_a_sum_with_a_product_reads_what_is_added() -> None:
    layer = gc.nn.Linear(5, 3)
    with gc.no_grad():
        ((kind, cost),) = steps_of(lambda x: layer(x), gc.ones(4, 5))
    assert kind == "ContractionStep"
    assert cost == Cost(2 * 4 * 3 * 5 + 12, 4 * (20 + 15 + 3), 4 * 12)


def test_scatters() -> None:
    rows, table, index = gc.ones(3, 40), gc.zeros(7, 40), gc.tensor([1, 1, 6])
    found = steps_of(lambda t, i, x: t.index_add(0, i, x), table, index, rows)
    (scatter,) = [cost for kind, cost in found if kind == "ScatterStep"]
    assert scatter.flops == 120 and scatter.written == 4 * 120
    assert scatter.read == 8 * 3 + 4 * 120 + 4 * 120, "what is added to is read"
    assert program_cost(program_of(lambda t, i, x: t.index_add(0, i, x), table, index, rows)).flops == 120


def test_integer_products_are_no_flops() -> None:
    ((_, cost),) = steps_of(lambda a: a @ a, gc.ones(3, 3, dtype=gc.int64))
    assert cost.flops == 0


def test_convolutions_and_their_gradients_do_the_same_work() -> None:
    x, w = gc.randn(2, 4, 9, 9), gc.randn(6, 2, 3, 3)
    x.requires_grad_(), w.requires_grad_()

    def f(x: Any, w: Any) -> Any:
        out = gc.nn.functional.conv2d(x, w, groups=2, padding=1)
        return gc.autograd.grad(out.square().sum(), [x, w])

    program = program_of(f, x, w)
    flops = [node_cost(n).flops for n in program.nodes if n.op.name.startswith("convolution")]
    each = 2 * (2 * 6 * 9 * 9) * (2 * 3 * 3)
    assert len(flops) == 3 and set(flops) == {each}


def test_a_scan_does_its_body_so_many_times() -> None:
    def f(h: Any, xs: Any) -> Any:
        return gc.scan(lambda h, x: (gc.tanh(h * x), h), h, xs)[0]

    h, costs = gc.ones(8), []
    for length in (5, 10):
        ((_, cost),) = [x for x in steps_of(f, h, gc.ones(length, 8)) if x[0] == "ControlStep"]
        costs.append(cost)
        assert cost.flops == length * 8 * 2
    assert costs[1] == costs[0] * 2


def test_a_cond_does_its_dearer_branch_and_a_loop_one_turn() -> None:
    def branch(x: Any) -> Any:
        return gc.cond(x.sum() > 0, lambda x: x * 2, lambda x: gc.tanh(x * 3) + 1, [x])

    costs = dict(steps_of(branch, gc.ones(100)))
    assert costs["ControlStep"].flops == 300

    def loop(x: Any) -> Any:
        return gc.while_loop(lambda x: x.sum() < 100, lambda x: (x + 1.0,), (x,))

    assert dict(steps_of(loop, gc.ones(50)))["ControlStep"].flops == 50 + 50  # the sum of the test, one addition


@pytest.mark.parametrize(
    ("fn", "flops"),
    [
        (lambda x: gc.tanh(x) + x, 2 * 60),
        (lambda x: x.sum(), 60),
        (lambda x: x.amax(), 0),
        (lambda x: x.t().reshape(-1), 0),
        (lambda x: gc.sort(x)[0], 0),
        (lambda x: x.cumsum(0), 60),
        (lambda x: gc.nn.functional.avg_pool2d(x.reshape(1, 1, 6, 10), 2, divisor_override=1), 60),
    ],
)
def test_nodes_by_kind(fn: Any, flops: int) -> None:
    assert program_cost(program_of(fn, gc.from_numpy(np.ones((6, 10), "f4")))).flops == flops


def test_a_plan_costs_what_its_steps_cost() -> None:
    def f(x: Any, w: Any) -> Any:
        return gc.softmax(x @ w, 1)

    program = optimise(program_of(f, gc.ones(32, 8), gc.ones(8, 10)), NATIVE)
    plan = plan_regions(program)
    costs = [step_cost(step, plan) for region in plan.regions for step in region]
    assert plan_cost(plan).flops == sum(c.flops for c in costs) > 2 * 32 * 8 * 10
    assert plan_cost(plan).bytes == sum(c.read + c.written for c in costs)


def test_of_a_sort_only_what_is_read_is_written() -> None:
    program = optimise(program_of(lambda x: gc.topk(x, 3, 0)[0], gc.ones(40, 8)), NATIVE)
    plan = plan_regions(program)
    (cost,) = [step_cost(step, plan) for region in plan.regions for step in region if isinstance(step, SortStep)]
    assert cost == Cost(0, 40 * 8 * 4, 3 * 8 * (4 + 8))


def test_times_have_a_unit():
    found = [duration(ns) for ns in (0, 999.4, 1000, 999_499, 999_999, 999_999_999, 1.05e6, 2e9, 1.2345e12, -2000)]
    assert found == [
        "0 ns", "999 ns", "1 us", "999 us", "1,000 us", "1,000 ms", "1.05 ms", "2 s", "1,234 s", "-2 us",
    ]  # fmt: skip


def test_printed() -> None:
    assert str(Cost(1_050_000, 16_384, 12)) == "1.05 MFLOP, reads 16.4 kB, writes 12 B"
    assert [quantity(n, "B") for n in (0, 999, 1000, 999_499, 2e9, 5e12)] == [
        "0 B",
        "999 B",
        "1 kB",
        "999 kB",
        "2 GB",
        "5,000 GB",
    ]
