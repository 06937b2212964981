"""The memory plan: replayed independently of the planner, and run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from program_samples import Builder, RandomProgram, n
from tolerances import assert_close

from graphc.backends.numpy_backend import NumpyBackend
from graphc.core.errors import SymbolicError
from graphc.core.op import REGISTRY, Elementwise, Op, View
from graphc.core.tensor_types import float32, type_of_array
from graphc.ir.interpret import interpret
from graphc.ir.program import INPUT
from graphc.planning.memory import make_plan
from graphc.planning.plan import ARENA, FRESH, INPLACE, INTO, OUTPUT, Plan, nbytes_of
from graphc.primitives import contraction, elementwise, joining, views

SEEDS = range(120)


def simulate(plan: Plan) -> int:
    """Replays the plan byte by byte; returns the peak.

    Every byte of the arena knows which value wrote it; a step must find every operand's bytes untouched.
    """
    writer: dict[int, int] = {}
    highest = 0
    content: dict[int, int] = {}  # buffer -> number of the value written there last
    of_view: dict[Any, int] = {}
    held: dict[Any, int] = {}
    most_held = 0
    uses = [set(step.node.inputs) for step in plan.steps]
    ends = set(plan.program.outputs)

    def span(value: Any) -> range:
        buffer = plan.locations[value].buffer
        return range(buffer.offset, buffer.offset + buffer.nbytes) if buffer and buffer.place == ARENA else range(0)

    def check(value: Any) -> None:
        buffer = plan.locations[value].buffer
        if buffer is not None:
            assert content[buffer.index] == of_view[value], f"{value!r} was written over before it was read"
            assert all(writer[at] == of_view[value] for at in span(value))

    for i, step in enumerate(plan.steps):
        for value in step.node.inputs:
            check(value)
        for value in step.node.outputs:
            buffer = plan.locations[value].buffer
            if step.how == "view":
                source = step.node.inputs[0]
                assert plan.locations[source].buffer is buffer
                of_view[value] = of_view.get(source, -1)
                continue
            assert buffer is not None
            of_view[value] = content[buffer.index] = len(of_view)
            for at in span(value):
                writer[at] = of_view[value]
            highest = max(highest, span(value).stop)
            if buffer.place == FRESH:
                held[buffer.index] = buffer.nbytes
        most_held = max(most_held, sum(held.values()))
        needed = set().union(*uses[i + 1 :], ends)
        alive = {b.index for v in needed if v in plan.locations and (b := plan.locations[v].buffer) is not None}
        held = {index: size for index, size in held.items() if index in alive}
    for value in plan.program.outputs:
        check(value)
    arena = -(-highest // 64) * 64
    return arena + most_held + sum(nbytes_of(value.type) for value in plan.program.outputs)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_programs_replay_with_the_reported_peak(seed: int) -> None:
    plan = make_plan(RandomProgram(seed).program())
    assert simulate(plan) == plan.peak
    for buffer in plan.buffers:
        assert buffer.place != ARENA or buffer.offset % 64 == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_random_programs_run_as_interpreted_and_share_nothing(seed: int) -> None:
    random = RandomProgram(seed)
    program, arrays = random.program(), random.arrays()
    before = [array.copy() for array in arrays]
    expected = [x.copy() for x in interpret(program, arrays)]
    run = NumpyBackend().compile(program)
    first = run(arrays)
    kept = [x.copy() for x in first]
    second = run(arrays)
    constants = list(run.plan.constants.values())
    for result, again, want, copy in zip(first, second, expected, kept, strict=True):
        assert type_of_array(result) == type_of_array(want)
        assert_close(result, want, n=64, scale=max(1.0, float(np.nanmax(np.abs(want.astype(float)), initial=0.0))))
        np.testing.assert_array_equal(result, copy, err_msg="a later run changed an earlier result")
        np.testing.assert_array_equal(again, result)
        assert result.flags.c_contiguous and result.flags.writeable
    everything = [*first, *second, *arrays, *constants]
    for i, result in enumerate([*first, *second]):
        for j, other in enumerate(everything):
            assert i == j or not np.shares_memory(result, other)
        result[...] = 0
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)
    for again, copy in zip(run(arrays), kept, strict=True):
        np.testing.assert_array_equal(again, copy)


def chain(length: int, size: int) -> Plan:
    b = Builder()
    x = b.input("x", (size,), float32)
    y = x
    for _ in range(length):
        y = b(elementwise.add, b(elementwise.negate, y), x)
    return make_plan(b.program(y))


def test_a_chain_is_written_in_place() -> None:
    plan = chain(10, 1000)
    assert [step.how for step in plan.steps] == [INTO] + [INPLACE] * 19
    assert plan.arena_bytes == 0 and plan.peak == 4000 == simulate(plan)
    assert {buffer.place for buffer in plan.buffers} == {OUTPUT}


def test_memory_does_not_grow_with_depth() -> None:
    def deep(layers: int) -> int:
        b = Builder()
        x, w = b.input("x", (16, 16)), b.input("w", (16, 16))
        for _ in range(layers):
            x = b(elementwise.tanh, b(contraction.matmul, x, w, transpose_a=False, transpose_b=False))
        return make_plan(b.program(b(elementwise.negate, x))).peak

    assert deep(50) == deep(5)


def test_an_operand_read_later_is_not_written_over() -> None:
    b = Builder()
    x = b.input("x", (4,))
    y = b(elementwise.negate, x)
    plan = make_plan(b.program(b(elementwise.add, b(elementwise.tanh, y), y)))
    assert plan.steps[1].how == INTO and plan.steps[2].how == INPLACE


def test_a_buffer_seen_through_a_view_is_not_written_over() -> None:
    b = Builder()
    x = b.input("x", (4, 4))
    y = b(elementwise.negate, x)
    turned = b(views.permute, y, axes=(1, 0))
    plan = make_plan(b.program(b(elementwise.add, y, turned)))
    assert plan.steps[-1].how == INTO
    later = b(elementwise.multiply, b(elementwise.tanh, y), turned)
    plan = make_plan(b.program(later))
    assert plan.steps[-2].how == INTO and simulate(plan) == plan.peak


def test_inputs_and_constants_are_never_written_over() -> None:
    b = Builder()
    x, c = b.input("x", (4,)), b.constant(np.ones(4))
    plan = make_plan(b.program(b(elementwise.add, x, c)))
    assert [step.how for step in plan.steps] == [INTO]


def test_reshape_is_a_view_exactly_where_numpy_makes_one() -> None:
    b = Builder()
    x = b.input("x", (4, 6))
    y = b(elementwise.negate, x)
    kept = b(views.reshape, y, shape=(3, 8))
    moved = b(views.reshape, b(views.permute, y, axes=(1, 0)), shape=(24,))
    split = b(views.reshape, b(views.permute, y, axes=(1, 0)), shape=(2, 3, 4))
    plan = make_plan(b.program(*[b(elementwise.tanh, v) for v in (kept, moved, split)]))
    how = {step.node.outputs[0]: step.how for step in plan.steps}
    assert (how[kept], how[moved], how[split]) == ("view", "eval", "view")
    assert plan.transient_bytes == 0 or simulate(plan) == plan.peak


def test_outputs_that_are_leaves_views_or_equal_are_copied() -> None:
    b = Builder()
    x, c = b.input("x", (4, 2)), b.constant(np.ones(3))
    y = b(elementwise.tanh, x)
    flat, turned = b(views.reshape, y, shape=(8,)), b(views.permute, y, axes=(1, 0))
    plan = make_plan(b.program(x, c, y, y, flat, turned))
    assert [output.copied for output in plan.outputs] == [True, True, False, True, True, True]
    alone = make_plan(b.program(flat))
    assert [output.copied for output in alone.outputs] == [False]


def test_freed_blocks_are_reused_best_fit_first() -> None:
    b = Builder()
    x = b.input("x", (64,))
    big = b(joining.concat, x, x, x, x, axis=0)
    small = b(joining.concat, x, x, axis=0)
    s = [b(elementwise.equal, v, v) for v in (big, small)]
    again = b(joining.concat, x, x, axis=0)
    del again
    plan = make_plan(b.program(*s))
    assert simulate(plan) == plan.peak
    assert plan.arena_bytes <= 64 * 8 * 4 + 64 * 8 * 2


def test_unknown_sizes_are_refused() -> None:
    b = Builder()
    x = b.input("x", (n,))
    with pytest.raises(SymbolicError, match=r"unknown size.*\n.*specialise"):
        make_plan(b.program(b(elementwise.tanh, x)))


def test_the_text_tells_where_results_go() -> None:
    plan = chain(1, 8)
    assert plan.text == (
        "plan: 2 steps, arena 0 bytes, outputs 32 bytes, other arrays 0 bytes, peak 32 bytes\n"
        "  %0: f32[8] = negate(x)  -> output memory of 32 bytes\n"
        "  %1: f32[8] = add(%0, x)  -> over %0, output memory of 32 bytes\n"
        "  output 0: %1\n"
    )


def inplace_samples() -> list[Any]:
    ops = [op for op in REGISTRY.values() if op.inplace is not None]
    return [pytest.param(op, s, id=f"{op.name}-{i}") for op in ops for i, s in enumerate(op.samples())]


@pytest.mark.parametrize(("op", "sample"), inplace_samples())
def test_inplace_equals_eval_also_over_an_operand(op: Op, sample: Any) -> None:
    with np.errstate(all="ignore"):
        want = np.asarray(op.eval(*sample.inputs, **sample.attrs))
        out = np.empty(want.shape, want.dtype)
        op.inplace(out, *sample.inputs, **sample.attrs)  # type: ignore[misc]
        assert_close(out, want)
        if not isinstance(op.kind, Elementwise):
            return
        for i, x in enumerate(sample.inputs):
            if x.shape == want.shape and x.dtype == want.dtype:
                operands = [np.array(y, order="C") for y in sample.inputs]
                op.inplace(operands[i], *operands, **sample.attrs)  # type: ignore[misc]
                assert_close(operands[i], want)


def view_samples() -> list[Any]:
    ops = [op for op in REGISTRY.values() if isinstance(op.kind, View)]
    return [pytest.param(op, s, id=f"{op.name}-{i}") for op in ops for i, s in enumerate(op.samples())]


@pytest.mark.parametrize(("op", "sample"), view_samples())
def test_views_of_arena_memory_and_inputs(op: Op, sample: Any) -> None:
    b = Builder()
    (x,) = sample.inputs
    leaf = b.input("x", x.shape, type_of_array(x).dtype)
    inner = b(views.flip, leaf, axes=tuple(range(x.ndim)))
    own = b(joining.pad, inner, low=(0,) * x.ndim, high=(0,) * x.ndim, value=0)
    program = b.program(b(op, leaf, **sample.attrs), b(op, own, **sample.attrs), b(op, inner, **sample.attrs))
    assert all(node.op is not INPUT or node.outputs[0] in program.inputs for node in program.nodes)
    for got, want in zip(NumpyBackend().compile(program)([x]), interpret(program, [x]), strict=True):
        assert_close(got, want)
