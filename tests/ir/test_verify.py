"""The verifier finds what a broken pass could do, and names the pass, the node and the user's line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from program_samples import Builder, RandomProgram, n

from graphc.core.errors import VerifyError
from graphc.core.op import Kind, Op
from graphc.core.tensor_types import TensorType, bool_, float64
from graphc.ir.program import Program, Value
from graphc.ir.verify import verify
from graphc.primitives import elementwise, sorting

CALL = Op("call", infer=lambda x, *, body: x, eval=lambda x, **_: x, kind=Kind("control"))


def made(b: Builder, op: Op, inputs: tuple[Value, ...], *types: TensorType, **attrs: Any) -> Value:
    """A node with the types one says, right or wrong."""
    return b.table.node(
        op, inputs, attrs, lambda: types, b(elementwise.negate, b.input("line", (1,))).node.origins
    ).outputs[0]


@pytest.mark.parametrize("seed", range(20))
def test_good_programs_pass(seed: int) -> None:
    verify(RandomProgram(seed).program(), "building")


def test_unknown_sizes_that_met_pass() -> None:
    from program_samples import m

    from graphc.core.dims import assumptions

    b = Builder()
    with assumptions(lambda p, q: None):
        y = b(elementwise.add, b.input("x", (n,)), b.input("y", (m,)))
    verify(b.program(y))


def test_wrong_types() -> None:
    b = Builder()
    x = b.input("x", (2, 3))
    y = made(b, elementwise.negate, (x,), TensorType((3, 2), float64))
    with pytest.raises(
        VerifyError, match=r"after pass simplify: negate#\d+: .*f64\[3, 2\], inferred as f64\[2, 3\]\n  at model.py:1"
    ):
        verify(b.program(y), "simplify")
    z = made(b, elementwise.negate, (b.input("b", (2, 3), bool_),), TensorType((2, 3), bool_))
    with pytest.raises(VerifyError, match=r"types cannot be inferred"):
        verify(b.program(z))


def test_operands_that_do_not_fit() -> None:
    b = Builder()
    y = made(b, elementwise.add, (b.input("x", (2,)), b.input("y", (3,))), TensorType((2,), float64))
    with pytest.raises(VerifyError, match=r"add.*types cannot be inferred: shapes do not broadcast"):
        verify(b.program(y))


def test_wrong_counts() -> None:
    b = Builder()
    x = b.input("x", (2,))
    with pytest.raises(VerifyError, match="1 operands for an op of 2"):
        verify(b.program(made(b, elementwise.add, (x,), x.type)))
    attrs = {"axis": 0, "descending": False, "stable": True}
    with pytest.raises(VerifyError, match="1 outputs for an op of 2"):
        verify(b.program(made(b, sorting.sort, (x,), x.type, **attrs)))


def test_operands_of_other_tables() -> None:
    b, other = Builder(), Builder()
    x = b.input("x", (2,))
    with pytest.raises(VerifyError, match="another table"):
        verify(b.program(made(b, elementwise.negate, (other.input("z", (2,)),), x.type)))
    with pytest.raises(VerifyError, match="another table than its program"):
        verify(Program(other.table, (), (b(elementwise.negate, x),)))
    with pytest.raises(VerifyError, match="input leaf belongs to another table"):
        verify(Program(other.table, (x,), ()))


def test_operands_younger_than_their_user() -> None:
    b = Builder()
    x = b.input("x", (2,))
    y = b(elementwise.negate, x)
    z = b(elementwise.tanh, x)
    y.node.inputs = (z,)
    with pytest.raises(VerifyError, match="younger than its user"):
        verify(b.program(y))


def test_leaves() -> None:
    b = Builder()
    x, y = b.input("x", (2,)), b.input("y", (2,))
    double = b.table.input("x", TensorType((3,), float64))
    with pytest.raises(VerifyError, match="two inputs are called 'x'"):
        verify(Program(b.table, (x, double), (x,)))
    with pytest.raises(VerifyError, match="leaf 'y' is not among the program's inputs"):
        verify(Program(b.table, (x,), (b(elementwise.add, x, y),)))
    with pytest.raises(VerifyError, match="not an input leaf"):
        verify(Program(b.table, (x, b(elementwise.negate, x)), (x,)))


def test_values_that_are_no_outputs() -> None:
    b = Builder()
    x = b.input("x", (2,))
    with pytest.raises(VerifyError, match="not an output of its node"):
        verify(b.program(Value(x.node, 1, x.type)))


def test_bodies_are_checked() -> None:
    inner = Builder()
    body = inner.program(made(inner, elementwise.negate, (inner.input("a", (2,)),), TensorType((9,), float64)))
    b = Builder()
    with pytest.raises(VerifyError, match="negate"):
        verify(b.program(b(CALL, b.input("x", (2,)), body=body)))
    assert np.prod(body.outputs[0].shape) == 9
