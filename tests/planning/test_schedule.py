"""The order of a run."""

from __future__ import annotations

import pytest
from program_samples import Builder, RandomProgram

from graphc.ir.program import Program
from graphc.planning.memory import known_values, make_plan
from graphc.planning.schedule import schedule
from graphc.primitives import contraction, elementwise

e = elementwise


def order_of(program: Program) -> list[str]:
    return [node.op.name for node in schedule(program, set(program.inputs))]


@pytest.mark.parametrize("seed", range(60))
def test_every_node_once_and_operands_first(seed: int) -> None:
    program = RandomProgram(seed, 40).program()
    given = {*program.inputs, *known_values(program)}
    order = schedule(program, given)
    done = set(given)
    for node in order:
        assert all(value in done for value in node.inputs)
        done.update(node.outputs)
    assert len(set(order)) == len(order)
    assert set(order) == {node for node in program.nodes if node.outputs[0] not in given}


def test_what_reads_only_leaves_waits_for_its_reader() -> None:
    b = Builder()
    x, w, m = b.input("x", (2, 2)), b.input("w", (2, 2)), b.input("m", (2, 2))
    slow = b(e.negate, b(e.absolute, m))
    y = b(e.sin, b(e.tanh, x))
    z = b(e.multiply, y, b(e.add, y, w))
    assert order_of(b.program(b(e.subtract, z, slow))) == [
        "tanh", "sin", "add", "multiply", "absolute", "negate", "subtract",
    ]  # fmt: skip


def test_shared_values_and_outputs_keep_their_place() -> None:
    b = Builder()
    x = b.input("x", (2,))
    first = b(e.exp, x)
    shared = b(e.tanh, x)
    assert order_of(b.program(b(e.add, b(e.sin, shared), b(e.cos, shared)), first)) == [
        "exp",
        "tanh",
        "sin",
        "cos",
        "add",
    ]


def test_deep_chains_need_no_deep_stack() -> None:
    b = Builder()
    y = b.input("x", (2,))
    for _ in range(20000):
        y = b(e.negate, y)
    z = b(e.tanh, b(e.add, y, y))
    assert len(schedule(b.program(z), set(b.inputs))) == 20002


def test_updates_do_not_hold_memory_through_the_step() -> None:
    def peak(decay_first: bool) -> int:
        b = Builder()
        x = b.input("x", (8, 64))
        weights = [b.input(f"w{i}", (64, 64)) for i in range(6)]
        decayed = [b(e.multiply, w, b.full(0.9)) for w in weights] if decay_first else []
        y = x
        for w in weights:
            y = b(e.tanh, b(contraction.matmul, y, w, transpose_a=False, transpose_b=False))
        grads = [b(contraction.matmul, y, y, transpose_a=True, transpose_b=False) for _ in weights]
        decayed = decayed or [b(e.multiply, w, b.full(0.9)) for w in weights]
        return make_plan(b.program(*[b(e.subtract, d, g) for d, g in zip(decayed, grads, strict=True)])).peak

    assert peak(True) == peak(False)
