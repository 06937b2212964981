"""Operators and promotion against PyTorch: every pair of dtypes, numbers on either side, in-place forms."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pytest
from side_by_side import agree, compare, refuse

import graphc as gc

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")
SCALARS = (True, 3, 2.5)
ARITHMETIC = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "truediv": operator.truediv,
    "pow": operator.pow,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
}
BITS = {
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
    "lshift": operator.lshift,
    "rshift": operator.rshift,
}
COMPARISONS = {n: getattr(operator, n) for n in ("eq", "ne", "lt", "le", "gt", "ge")}
IN_PLACE = {n: getattr(operator, f"i{n}") for n in ARITHMETIC} | {
    n: getattr(operator, f"i{n}") for n in BITS if n not in ("and", "or")
}
IN_PLACE |= {"and": operator.iand, "or": operator.ior}
EVERY = {**ARITHMETIC, **BITS, **COMPARISONS}


def outcome(code: Any, m: Any) -> Any:
    try:
        return code(m)
    except Exception as error:
        return error


def same(code: Any, what: str) -> None:
    """Both libraries give the same result and dtype, or errors of one family."""
    mine, its = outcome(code, gc), outcome(code, torch)
    if isinstance(its, Exception):
        expected = RuntimeError if isinstance(its, NotImplementedError) else type(its)
        assert isinstance(mine, expected), f"{what}: {mine!r}, PyTorch {its!r}"
        return
    assert not isinstance(mine, Exception), f"{what}: {mine!r}, PyTorch gives {its}"
    assert str(mine.dtype).split(".")[1] == str(its.dtype).split(".")[1], what
    compare(mine, its)


def values(m: Any, dtype: str, shape: str = "vector") -> Any:
    numbers: Any = {"vector": [1, 0, 2], "0-d": 2, "other": [1, 2, 1], "0-d other": 1}[shape]
    return m.tensor(numbers).to(getattr(m, dtype))


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("a", DTYPES)
def test_promotion_of_every_pair(name: str, a: str) -> None:
    op = EVERY[name]
    for b in DTYPES:
        same(lambda m: op(values(m, a), values(m, b, "other")), f"{a} {name} {b}")  # noqa: B023
        same(lambda m: op(values(m, a), values(m, b, "0-d other")), f"{a} {name} 0-d {b}")  # noqa: B023
        same(lambda m: op(values(m, a, "0-d"), values(m, b, "other")), f"0-d {a} {name} {b}")  # noqa: B023
        same(lambda m: op(values(m, a, "0-d"), values(m, b, "0-d other")), f"0-d {a} {name} 0-d {b}")  # noqa: B023


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("a", DTYPES)
def test_promotion_of_numbers(name: str, a: str) -> None:
    op = EVERY[name]
    for scalar in SCALARS:
        for shape in ("other", "0-d"):
            same(lambda m: op(values(m, a, shape), scalar), f"{a} {name} {scalar}")  # noqa: B023
            same(lambda m: op(scalar, values(m, a, shape)), f"{scalar} {name} {a}")  # noqa: B023


@pytest.mark.parametrize("name", IN_PLACE)
@pytest.mark.parametrize("a", DTYPES)
def test_in_place_operators_keep_the_dtype_or_refuse(name: str, a: str) -> None:
    op = IN_PLACE[name]
    for b in DTYPES:
        same(lambda m: op(values(m, a), values(m, b, "other")), f"{a} i{name} {b}")  # noqa: B023
    for scalar in SCALARS:
        same(lambda m: op(values(m, a, "other"), scalar), f"{a} i{name} {scalar}")  # noqa: B023
    same(lambda m: op(values(m, a, "0-d"), values(m, a, "other")), f"0-d {a} i{name} {a}")


@pytest.mark.parametrize("dtype", DTYPES)
def test_unary_operators(dtype: str) -> None:
    for name in ("neg", "pos", "abs", "invert"):
        same(lambda m: getattr(operator, name)(values(m, dtype)), f"{name} {dtype}")  # noqa: B023


def test_gradients_of_operators() -> None:
    x, y = np.array([1.5, 2.0, 0.5]), np.array([2.0, 3.0, 1.5])
    for op in (operator.add, operator.sub, operator.mul, operator.truediv, operator.pow):
        agree(torch, lambda m, a, b: op(a, b), x, y)  # noqa: B023
        agree(torch, lambda m, a: (op(a, 3), op(2.5, a), op(a, a)), x)  # noqa: B023
    agree(torch, lambda m, a: a % 2, x)
    agree(torch, lambda m, a, b: (a @ b, b.__rmatmul__(a), +a, -a, abs(-b)), x, y)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "truediv", "pow"])
def test_gradients_of_in_place_operators(name: str) -> None:
    def code(m: Any, a: Any, b: Any) -> Any:
        z = a * 1
        z = IN_PLACE[name](z, b)
        return z if name == "pow" else IN_PLACE[name](z, 2)

    agree(torch, code, np.array([1.5, 2.0, 0.5]), np.array([2.0, 3.0, 1.5]))


REFUSED = {
    "shape": lambda m, x: x + m.ones(4),
    "in-place shape": lambda m, x: x[:1].__iadd__(x),
    "leaf": lambda m, x: x.requires_grad_().__iadd__(1),
    "text": lambda m, x: x + "a",
    "none": lambda m, x: None - x,
    "list": lambda m, x: x * [1],
    "order": lambda m, x: x < "a",
    "invert": lambda m, x: ~x,
    "and": lambda m, x: x & x,
    "matmul": lambda m, x: x @ 3,
    "matmul sizes": lambda m, x: x @ m.ones(4),
    "in-place matmul": lambda m, x: operator.imatmul(x, m.ones(4, 4)),
    "negative bool": lambda m, x: -(x > 0),
    "minus bool": lambda m, x: (x > 0) - (x > 0),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str) -> None:
    refuse(torch, REFUSED[name], np.ones(3))


def test_equality_with_foreign_objects() -> None:
    for m in (gc, torch):
        x = m.ones(2)
        assert (x == "a") is False
        assert (x != None) is True  # noqa: E711


# --- what is said about dtypes ------------------------------------------------------------------------------------------


def test_result_types() -> None:
    for a in DTYPES:
        for b in DTYPES:
            mine = [f(getattr(gc, a), getattr(gc, b)) for f in (gc.promote_types, gc.can_cast)]
            its = [f(getattr(torch, a), getattr(torch, b)) for f in (torch.promote_types, torch.can_cast)]
            assert str(mine[0])[7:] == str(its[0])[6:] and mine[1] == its[1], (a, b)
            found = [str(m.result_type(values(m, a), values(m, b, "0-d"))).partition(".")[2] for m in (gc, torch)]
            assert found[0] == found[1], (a, b)
        for scalar in SCALARS:
            found = [str(m.result_type(values(m, a), scalar)).partition(".")[2] for m in (gc, torch)]
            assert found[0] == found[1], (a, scalar)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_finfo(name: str) -> None:
    mine, its = gc.finfo(getattr(gc, name)), torch.finfo(getattr(torch, name))
    for part in ("bits", "eps", "max", "min", "tiny", "smallest_normal", "dtype"):
        assert getattr(mine, part) == getattr(its, part), part
    assert mine.resolution == pytest.approx(its.resolution, rel=0.01)
    assert mine == gc.finfo(getattr(gc, name))


@pytest.mark.parametrize("name", ["uint8", "int8", "int16", "int32", "int64"])
def test_iinfo(name: str) -> None:
    mine, its = gc.iinfo(getattr(gc, name)), torch.iinfo(getattr(torch, name))
    for part in ("bits", "max", "min", "dtype"):
        assert getattr(mine, part) == getattr(its, part), part
    assert repr(mine) == repr(its)


def test_refused_dtypes() -> None:
    refuse(torch, lambda m: m.finfo(m.int32))
    refuse(torch, lambda m: m.iinfo(m.float32))
    refuse(torch, lambda m: m.promote_types(m.int32, 3))
    refuse(torch, lambda m: m.set_default_dtype(m.int32))
    refuse(torch, lambda m: m.is_nonzero(m.ones(2)))
    refuse(torch, lambda m: m.is_nonzero(m.ones(0)))


def test_default_dtype() -> None:
    for m in (gc, torch):
        before = m.get_default_dtype()
        assert before is m.float32
        try:
            m.set_default_dtype(m.float64)
            assert m.get_default_dtype() is m.float64
            assert m.tensor(1.5).dtype is m.float64 and m.zeros(2).dtype is m.float64
            assert (m.tensor([1]) / 2).dtype is m.float64 and (m.tensor([1]) * 1.5).dtype is m.float64
            assert m.tensor([1]).sin().dtype is m.float64 and m.arange(0, 1, 0.5).dtype is m.float64
            assert m.rand(2).dtype is m.float64 and m.finfo().dtype == "float64"
            assert m.tensor(1.5, dtype=m.float32).mul(2.5).dtype is m.float32
        finally:
            m.set_default_dtype(before)


def test_questions_about_tensors() -> None:
    for m in (gc, torch):
        x = m.tensor([1.0])
        assert m.is_tensor(x) and not m.is_tensor(1) and m.is_floating_point(x) and not m.is_floating_point(x > 0)
        assert m.is_nonzero(x) and x.is_nonzero() and not m.is_complex(x) and m.is_signed(x) and not m.is_signed(x > 0)
        assert m.numel(m.zeros(2, 3)) == 6


@pytest.mark.parametrize("name", [*ARITHMETIC, "and", "or", "xor", "matmul", "eq", "lt", "iadd"])
@pytest.mark.parametrize("dtype", ["bool", "int8", "int64", "float32", "float64"])
def test_an_array_on_the_right_is_promoted_as_numpy_does(name: str, dtype: str) -> None:
    op = {**EVERY, "matmul": operator.matmul, "iadd": operator.iadd}[name]
    arrays = [np.array([1, 2, 1]), np.array([1.0, 2, 1], np.float32)]
    arrays += [np.array(2.0)] if name != "matmul" else []
    arrays += [np.array([True] * 3)] if dtype != "bool" else []  # PyTorch makes uint8 of NumPy's bool result
    for array in arrays:
        same(lambda m: op(values(m, dtype, "other"), array), f"{dtype} {name} {array!r}")  # noqa: B023


def test_arrays_beside_tensors_that_want_gradients() -> None:
    for op in (operator.add, operator.iadd, operator.truediv):
        refuse(torch, lambda m, a: op(a.requires_grad_(), np.ones(3)), np.ones(3), match="requires grad")  # noqa: B023
    same(lambda m: np.arange(3) / m.ones(3), "array / tensor")


def test_arrays_beside_symbolic_tensors() -> None:
    step = gc.compile(lambda x: x * np.arange(3) + np.ones((2, 1)))
    compare(step(gc.ones(3)), torch.ones(3) * np.arange(3) + np.ones((2, 1)))
    assert step(gc.ones(3)).dtype is gc.float64
