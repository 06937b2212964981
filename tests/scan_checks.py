"""How a pass over scans is tested: what it makes means the same, is stable, and has the form one expects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from program_samples import Builder, plain_data

from graphc.bodies import body_table
from graphc.control import scan_op
from graphc.core.op import Op
from graphc.core.tensor_types import float64
from graphc.ir.interpret import interpret
from graphc.ir.program import Node, Program, Value
from graphc.ir.verify import verify

T = 4


def scan(
    b: Builder, fn: Callable[..., tuple[Sequence[Value], Sequence[Value]]], init: Sequence[Value] = (),
    consts: Sequence[Value] = (), xs: Sequence[Value] = (), reverse: bool = False, history: bool = False,
    length: int = T,
) -> tuple[Value, ...]:  # fmt: skip
    """The outputs of a scan whose body is `fn(builder, *inputs) -> (carries, ys)`."""
    inner = Builder()
    inner.table = body_table(b.table)
    types = [v.type for v in (*init, *consts)] + [v.type.with_shape(v.shape[1:]) for v in xs]
    inputs = tuple([inner.table.input(f"in{i}", t) for i, t in enumerate(types)])
    carries, ys = fn(inner, *inputs)
    body = Program(inner.table, inputs, (*carries, *ys))
    node = b.node(
        scan_op, *init, *consts, *xs, body=body, n_carry=len(init), n_const=len(consts), length=length,
        reverse=reverse, history=history,
    )  # fmt: skip
    return tuple(node.outputs)


def check_scans(transform: Callable[[Program], Program], make: Callable[..., Any], *shapes: tuple[int, ...]) -> Program:
    """What `transform` makes of the program over float64 inputs of these shapes; it computes the same."""
    b = Builder()
    inputs = [b.input(f"x{i}", shape, float64) for i, shape in enumerate(shapes)]
    made = make(b, *inputs)
    program = b.program(*([made] if isinstance(made, Value) else made))
    verify(program)
    result = transform(program)
    verify(result, transform.__name__)
    assert transform(result) is result
    for seed in range(2):
        arrays = [plain_data(v.type, seed + i) for i, v in enumerate(inputs)]
        for got, want in zip(interpret(result, arrays), interpret(program, arrays), strict=True):
            assert got.shape == want.shape
            np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)
    return result


def unchanged(transform: Callable[[Program], Program], make: Callable[..., Any], *shapes: tuple[int, ...]) -> None:
    """`transform` leaves the program alone."""
    b = Builder()
    made = make(b, *[b.input(f"x{i}", shape, float64) for i, shape in enumerate(shapes)])
    program = b.program(*([made] if isinstance(made, Value) else made))
    assert transform(program) is program


def scans(program: Program) -> list[Node]:
    """The scans of a program, in order."""
    return [node for node in program.nodes if node.op is scan_op]


def parts(node: Node) -> tuple[int, int, int, int]:
    """How many carries, constants, sequences and stacked outputs a scan has."""
    n, m = node.attrs["n_carry"], node.attrs["n_const"]
    return n, m, len(node.inputs) - n - m, len(node.outputs) - n


def count(program: Program, op: Op) -> int:
    """How often an op stands in a program, bodies not counted."""
    return sum(node.op is op for node in program.nodes)


def count_inside(node: Node, op: Op) -> int:
    """How often an op stands in a scan's body."""
    return count(node.attrs["body"], op)
