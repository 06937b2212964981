"""Elementwise ops beyond what the conformance suite asks of every op: halves, erf, scalar trees and their decompositions."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

import graphc.primitives.elementwise as family
from graphc.core import erf as error_function
from graphc.core import scalar as s
from graphc.core.dims import Dim
from graphc.core.errors import DivisionError, DtypeError
from graphc.core.op import Elementwise, find_op
from graphc.core.tensor_types import BY_NAME, FLOAT, TensorType, bool_, float32, float64, int32, int64, type_of_array

OPS = [find_op(name) for name in family.__all__]


def tree_of(op, inputs, attrs):
    assert isinstance(op.kind, Elementwise)
    return op.kind.scalar(*(s.leaf(i, type_of_array(x).dtype) for i, x in enumerate(inputs)), **attrs)


@pytest.mark.parametrize("op", OPS, ids=str)
def test_halves_are_computed_in_float32(op):
    """float16 and bfloat16 are only loaded, compared, chosen, cast and stored."""
    for sample in op.samples():
        if any(x.dtype.itemsize == 2 and x.dtype.kind not in "iu" for x in sample.inputs):
            for node in s.postorder(tree_of(op, sample.inputs, sample.attrs)):
                if node.op not in ("leaf", "cast", "select", "lt", "le", "eq", "ne", "const"):
                    assert all(not s.is_half(a.dtype) for a in node.args)


def test_infer_with_unknown_sizes():
    n = Dim.named("n")
    x, y = TensorType((n, 3), float32), TensorType((3,), float32)
    assert find_op("add").infer(x, y) == x
    assert find_op("less").infer(x, y) == x.with_dtype(bool_)
    assert find_op("where").infer(TensorType((n, 1), bool_), y, y) == x
    assert find_op("cast").infer(x, dtype=int64) == x.with_dtype(int64)


@pytest.mark.parametrize("name", ["floor_divide", "remainder", "fmod"])
def test_integer_division_by_zero(name):
    with pytest.raises(DivisionError, match="ZeroDivisionError"):
        find_op(name).eval(np.array([1, 2]), np.array([1, 0]))
    assert issubclass(DivisionError, RuntimeError)


# -- erf ------------------------------------------------------------------------------------------------------------

POINTS = np.concatenate([np.linspace(-6, 6, 1201), np.logspace(-300, 1.4, 400), -np.logspace(-20, 0, 50)])


def test_erf_is_accurate():
    exact = np.array([math.erf(x) for x in POINTS])
    assert np.max(np.abs(error_function.erf(POINTS) - exact) / np.maximum(np.abs(exact), 1e-307)) < 1e-15
    exact = np.array([math.erfc(x) for x in POINTS])
    assert np.max(np.abs(error_function.erfc(POINTS) - exact) / np.maximum(exact, 1e-307)) < 1.5e-15


def test_erf_at_the_ends():
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(error_function.erf(np.array([np.nan, np.inf, -np.inf])), [np.nan, 1, -1])
        np.testing.assert_array_equal(error_function.erfc(np.array([np.nan, np.inf, -np.inf, 40])), [np.nan, 0, 2, 0])
    assert np.signbit(error_function.erf(np.array(-0.0)))
    assert error_function.erf(np.float32(0.5).reshape(())).dtype == np.float32


# -- trees ----------------------------------------------------------------------------------------------------------


def test_trees_compare_by_structure():
    def build():
        x = s.leaf(0, float64)
        for _ in range(200):  # diamonds: comparing must not walk every path
            x = x * x + x
        return x

    assert build() == build()
    assert hash(build()) == hash(build())
    assert build() != build() + 1
    x = s.leaf(0, float64)
    assert x + 0.0 != x + -0.0
    assert x + 1 != s.leaf(0, float32) + 1
    assert pickle.loads(pickle.dumps(1 / (1 + s.exp(-x)))) == 1 / (1 + s.exp(-x))


def test_trees_print_and_join():
    x, y = s.leaf(0, float64), s.leaf(1, float64)
    tree = s.select(x > 0, x * 2, s.cast(s.cast(y, int32), float64))
    assert repr(tree) == "select(lt(0.0, x0), mul(x0, 2.0), f64(i32(x1)))"
    joined = s.substitute(tree, [y, x])
    assert s.evaluate(joined, [np.array(1.7), np.array(-1.0)]) == 1.0
    assert s.evaluate(s.index(1) + s.index(0) * 10, (), np.indices((2, 3)))[1, 2] == 12


def test_wrong_trees_are_refused():
    x = s.leaf(0, float64)
    with pytest.raises(AssertionError):
        x + s.leaf(1, float32)
    with pytest.raises(AssertionError):
        x & x
    with pytest.raises(AssertionError):
        bool(x < 1)


BASE = {"add", "sub", "mul", "div", "quot", "lt", "le", "eq", "and", "or", "xor", "not", "shl", "shr", "select", "cast",
        "trunc", "sqrt", "exp", "log", "sin", "cos", "atan", "rint"}  # fmt: skip
DOMAINS = {"log1p": (-0.9, 9), "log2": (0.01, 9), "log10": (0.01, 9), "asin": (-1, 1), "acos": (-1, 1), "acosh": (1, 9),
           "atanh": (-0.99, 0.99)}  # fmt: skip


@pytest.mark.parametrize("op", sorted(s.DECOMPOSITIONS))
def test_decompositions(op):
    primitive = s.PRIMITIVES[op]
    dtype = float64 if FLOAT in primitive.accepts and op != "pow" else int64
    low, high = DOMAINS.get(op, (-4, 4))
    rng = np.random.default_rng(0)
    if dtype is float64:
        arrays = [np.concatenate([rng.uniform(low, high, 200), [1.0, 0.5]]) for _ in range(primitive.arity)]
    else:
        arrays = [rng.integers(-9, 9, 400), rng.integers(-3, 30, 400)]
    tree = s.node(op, *(s.leaf(i, dtype) for i in range(primitive.arity)))
    written_out = s.decompose(tree, lambda name, _: name in BASE)
    assert not {x.op for x in s.postorder(written_out)} - BASE - {"leaf", "const"}
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(s.evaluate(written_out, arrays), primitive.numpy(*arrays), rtol=1e-13, atol=1e-15)


def test_what_cannot_be_decomposed_is_refused():
    x = s.leaf(0, BY_NAME["float32"])
    with pytest.raises(DtypeError, match="cannot compute sin"):
        s.decompose(s.sin(x), lambda name, _: name != "sin")
