"""How a pass is tested: what it makes of a program is the program one expects, and means the same to the last bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from program_samples import Builder, edge_data, same_bits

from graphc.ir.interpret import interpret
from graphc.ir.program import Program, Value
from graphc.ir.specialise import specialise, unknowns
from graphc.ir.text import program_text
from graphc.ir.verify import verify

Make = Callable[..., Value | Sequence[Value]]


def outputs_of(make: Make, b: Builder, inputs: Sequence[Value]) -> tuple[Value, ...]:
    made = make(b, *inputs)
    return (made,) if isinstance(made, Value) else tuple(made)


def known(program: Program) -> Program:
    """The program with every unknown size 3."""
    return specialise(program, dict.fromkeys(unknowns(program), 3))


def check_pass(
    transform: Callable[[Program], Program],
    before: Make,
    after: Make | None,
    *types: tuple[tuple[Any, ...], Any],
    exact: bool = True,
) -> None:
    """`transform` turns `before(b, *inputs)` into `after(b, *inputs)`, None: leaves it alone; a second time it does nothing.

    `types`: shape and dtype of each input. `exact`: the results agree to the last bit on operands with NaN, infinities and
    signed zeros; else within 1e-12.
    """
    b = Builder()
    inputs = [b.input(f"x{i}", shape, dtype) for i, (shape, dtype) in enumerate(types)]
    program = b.program(*outputs_of(before, b, inputs))
    verify(program)
    result = transform(program)
    verify(result, transform.__name__)
    if after is None:
        assert result is program, program_text(result)
    else:
        expected = b.program(*outputs_of(after, b, inputs))
        assert result.outputs == expected.outputs, program_text(result) + program_text(expected)
        assert result.inputs == program.inputs
    assert transform(result) is result
    for seed in range(3):
        arrays = [edge_data(value.type, seed) for value in inputs]
        pairs = zip(interpret(known(result), arrays), interpret(known(program), arrays), strict=True)
        for got, want in pairs:
            if exact:
                same_bits(got, want)
            else:
                np.testing.assert_allclose(got, want, rtol=1e-12)
