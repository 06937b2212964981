"""Specialising: numbers for unknown sizes, in types, attributes, tuples and bodies."""

from __future__ import annotations

import time

import numpy as np
import pytest
from program_samples import Builder, m, n

from graphc.core.errors import ArgumentError, ShapeError
from graphc.core.op import Kind, Op
from graphc.core.tensor_types import TensorType, float32, float64
from graphc.ir.interpret import interpret
from graphc.ir.program import Program
from graphc.ir.specialise import specialise, unknowns
from graphc.ir.text import program_text
from graphc.ir.verify import verify
from graphc.primitives import contraction, creation, elementwise, views

#: An op that holds a body, as control ops do.
CALL = Op("call", infer=lambda x, *, body, types: types[0], eval=lambda x, **_: x, kind=Kind("control"))


def mlp() -> Builder:
    b = Builder()
    x, w = b.input("x", (n, 4), float32), b.input("w", (4, m), float32)
    y = b(contraction.matmul, x, w, transpose_a=False, transpose_b=False)
    flat = b(views.reshape, y, shape=(n * m,))
    half = b(views.slice_, flat, starts=(0,), limits=((n * m) // 2,), strides=(1,))
    b(creation.size, dim=n * 2)
    b.last = b(elementwise.multiply, half, b.full(2.0, ((n * m) // 2,), float32))  # type: ignore[attr-defined]
    return b


def test_numbers_replace_names_everywhere() -> None:
    b = mlp()
    program = b.program(b.last, b(creation.size, dim=n * 2))  # type: ignore[attr-defined]
    assert unknowns(program) == ["n", "m"]
    known = specialise(program, {"n": 3, "m": 5})
    verify(known, "specialise")
    assert unknowns(known) == []
    assert [value.type for value in known.inputs] == [TensorType((3, 4), float32), TensorType((4, 5), float32)]
    assert known.outputs[0].type.shape == (7,)
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(3, 4)).astype("f4"), rng.normal(size=(4, 5)).astype("f4")
    out, size = interpret(known, [x, w])
    np.testing.assert_allclose(out, 2 * (x @ w).ravel()[:7], rtol=1e-5)
    assert size == 6 and size.dtype == np.int64
    assert program.outputs[0].type.shape == ((n * m) // 2,)  # the program itself is as it was


def test_some_sizes_may_stay_unknown() -> None:
    b = mlp()
    part = specialise(b.program(b.last), {"n": 2})  # type: ignore[attr-defined]
    verify(part)
    assert unknowns(part) == ["m"] and part.outputs[0].type.shape == (m,)


def test_nothing_to_do_gives_the_same_program() -> None:
    b = Builder()
    program = b.program(b(elementwise.negate, b.input("x", (3,))))
    assert specialise(program, {}) is program and specialise(program, {"n": 3}) is program
    b = mlp()
    program = b.program(b.last)  # type: ignore[attr-defined]
    assert specialise(program, {}) is program and specialise(program, {"k": 3}) is program


def test_unused_inputs_stay() -> None:
    b = Builder()
    x, y = b.input("x", (n,)), b.input("unused", (m, n))
    program = specialise(b.program(b(elementwise.negate, x)), {"n": 2, "m": 0})
    assert [value.type.shape for value in program.inputs] == [(2,), (0, 2)]
    assert y.type.shape == (m, n)


def test_origins_and_checks_are_carried_over() -> None:
    b = Builder()
    y = b(elementwise.negate, b.input("x", (n,)))
    program = Program(b.table, tuple(b.inputs), (y,), ((n, m, "a.py:1"), (n + 1, m * 1, "a.py:2"), (n, n * 1, "")))
    known = specialise(program, {"n": 4})
    assert known.outputs[0].node.origins == y.node.origins != ()
    assert known.checks == ((4, m, "a.py:1"), (5, m, "a.py:2"))


def test_bodies_are_specialised_once() -> None:
    inner = Builder()
    body = inner.program(inner(elementwise.negate, inner.input("a", (n,))))
    b = Builder()
    x, z = b.input("x", (n,)), b.input("z", (n,))
    attrs = {"body": body, "types": (TensorType((n,), float64), ("deep", (n * 2,)))}
    program = b.program(b(CALL, x, **attrs), b(CALL, z, **attrs))
    known = specialise(program, {"n": 4})
    first, second = (value.node.attrs for value in known.outputs)
    assert first["body"] is second["body"] and first["body"].outputs[0].type.shape == (4,)
    assert first["types"] == (TensorType((4,), float64), ("deep", (8,)))
    assert isinstance(first["types"][0], TensorType)
    assert unknowns(known) == [] and unknowns(program) == ["n"]


def test_sizes_that_do_not_fit_raise_with_the_user_line() -> None:
    b = Builder()
    x = b.input("x", (n, m))
    y = b.table.node(views.reshape, (x,), {"shape": (12,)}, lambda: (TensorType((12,), float64),), ()).outputs[0]
    with pytest.raises(ShapeError, match=r"reshape: shape '\[12\]' is invalid for input of size 10(.|\n)*f64\[2, 5\]"):
        specialise(b.program(y), {"n": 2, "m": 5})
    with pytest.raises(ArgumentError, match="size n = -1 is negative"):
        specialise(b.program(y), {"n": -1})


def test_the_same_sizes_give_the_same_text() -> None:
    b = mlp()
    program = b.program(b.last)  # type: ignore[attr-defined]
    assert program_text(specialise(program, {"n": 3, "m": 2})) == program_text(specialise(program, {"n": 3, "m": 2}))


@pytest.mark.slow
def test_a_large_program_takes_microseconds_a_node() -> None:
    b = Builder()
    x = y = b.input("x", (n, 4))
    for _ in range(5000):
        y = b(views.reshape, b(elementwise.add, y, x), shape=(4, n))
        y = b(views.reshape, y, shape=(n, 4))
    program = b.program(y)
    start = time.perf_counter()
    specialise(program, {"n": 3})
    assert (time.perf_counter() - start) / 15000 < 100e-6
