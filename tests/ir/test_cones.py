"""Cones of values, and the search for the first wrong one."""

from __future__ import annotations

import numpy as np

from graphc.core.tensor_types import TensorType, float64
from graphc.ir.cones import cone, first_wrong
from graphc.ir.interpret import interpret
from graphc.ir.program import Table
from graphc.ir.verify import verify
from graphc.primitives.elementwise import add, exp, multiply, negate, tanh

TYPE = TensorType((3,), float64)


def chain(length):
    """x, and `length` values, each made of the one before."""
    table = Table()
    values = [table.input("x", TYPE)]
    for n in range(length):
        before = values[-1]
        operands = (before, values[n // 2]) if n % 3 == 2 else (before,)
        values.append(table.apply(multiply if n % 3 == 2 else negate if n % 3 else tanh, operands, {}).outputs[0])
    return values


def test_a_cone_reads_known_values_and_nothing_behind_them():
    table = Table()
    x, y = table.input("x", TYPE), table.input("y", TYPE)
    a = table.apply(exp, (x,), {}).outputs[0]
    b = table.apply(add, (a, y), {}).outputs[0]
    c = table.apply(multiply, (b, table.constant(np.full(3, 2.0))), {}).outputs[0]
    part, reads = cone([c, b], {x, y, a})
    assert reads == (y, a) or reads == (a, y)
    assert [node.op for node in part.nodes if node.inputs] == [add, multiply]
    verify(part)
    arrays = {a: np.arange(3.0), y: np.ones(3)}
    np.testing.assert_array_equal(interpret(part, [arrays[v] for v in reads]), [[2, 4, 6], [1, 2, 3]])


def test_a_cone_of_something_known_is_that():
    x = Table().input("x", TYPE)
    part, reads = cone([x], {x})
    assert reads == (x,) and part.outputs == part.inputs


def test_the_first_wrong_value_is_found_in_few_tests():
    values = chain(500)
    for first in (1, 2, 250, 499, 500):
        asked = []

        def wrong(value, first=first, asked=asked):
            asked.append(value)
            return values.index(value) >= first

        assert first_wrong(values[-1], wrong) is values[first]
        assert len(asked) < 20


def test_nothing_is_found_where_the_root_is_right():
    assert first_wrong(chain(5)[-1], lambda value: False) is None


def test_a_fault_that_does_not_show_in_between_is_found():
    """The wrong value is read by two; in the one that is asked first it does not show."""
    table = Table()
    x = table.input("x", TYPE)
    faulty = table.apply(tanh, (x,), {}).outputs[0]
    hides = table.apply(exp, (faulty,), {}).outputs[0]
    more = table.apply(negate, (hides,), {}).outputs[0]
    root = table.apply(add, (more, faulty), {}).outputs[0]
    assert first_wrong(root, lambda value: value in (faulty, root)) is faulty
