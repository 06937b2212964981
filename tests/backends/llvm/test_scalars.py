"""Every scalar primitive as machine code, on every dtype it takes and on edge values, equal to what NumPy computes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from backends.llvm import tree_runner
from backends.llvm.tree_runner import run
from conformance.cases import sampled
from scalar_cases import case, cases, edges, moderate, same
from tolerances import assert_close

from graphc.backends.formulas import portable
from graphc.backends.llvm import host
from graphc.core import scalar as s
from graphc.core.op import Elementwise
from graphc.core.scalar import PRIMITIVES
from graphc.core.tensor_types import (
    DTYPES,
    FLOAT,
    INT,
    bfloat16,
    float16,
    float32,
    float64,
    int32,
    type_of_array,
)

HOST = host.machine()
#: This machine, and older ones: without AVX-512; without FMA, SSE4.1 and F16C.
TARGETS = {"host": HOST, "v3": host.level("x86-64-v3"), "v1": host.level("x86-64")}
if HOST.vector_bytes < 32 or not HOST.fma:
    TARGETS.pop("v3")
if not HOST.triple.startswith("x86_64"):
    TARGETS = {"host": HOST}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("op", "dtype"), [*cases()])
def test_primitives(op, dtype, target):
    tree, arrays, dtypes = case(op, dtype)
    with np.errstate(all="ignore"):
        want = s.evaluate(tree, arrays)
    for lanes in (1, 64 // dtype.itemsize):
        (got,) = run([tree], arrays, dtypes, lanes, TARGETS[target])
        same(got, np.asarray(want, tree.dtype.np), ignore_zero_sign=op in ("max", "min"))


@pytest.mark.parametrize("lanes", [2, 3, 5, 7, 24, 48, 128])
def test_any_number_of_lanes(lanes):
    x, y = s.leaf(0, float32), s.leaf(1, int32)
    tree = s.select(x > 1, s.cast(y, float32) * x, s.exp(x)) + s.cast(s.pow(y, 3) > y, float32)
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=500).astype(np.float32), rng.integers(-9, 9, 500).astype(np.int32)]
    assert_close(run([tree], arrays, [float32, int32], lanes)[0], s.evaluate(tree, arrays), np.float32)


def test_coordinates():
    tree = s.index(0) * s.index(0)
    for lanes in (1, 8):
        np.testing.assert_array_equal(run([tree], [np.zeros(8)], [float64], lanes)[0], np.arange(8) ** 2)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("source", "to"), list(itertools.permutations(DTYPES, 2)), ids=lambda d: d.short)
def test_casts(source, to, target):
    x = edges(source)
    if source.category == INT:
        x = np.concatenate([x, np.random.default_rng(0).integers(*_range(source), 200, dtype=source.np, endpoint=True)])
    if source is float64 and to.category == FLOAT:
        x = np.concatenate([x, around_halves(to)])
    tree = s.cast(s.leaf(0, source), to)
    with np.errstate(all="ignore"):
        want = s.evaluate(tree, [x])
    for lanes in (1, 16):
        same(run([tree], [x], [source], lanes, TARGETS[target])[0], want)


def _range(dtype):
    return np.iinfo(dtype.np).min, np.iinfo(dtype.np).max


def around_halves(dtype):
    """float64 numbers at, just below and just above the middle between two numbers of a half type."""
    every = np.arange(0, 0x7C00, 3, dtype=np.uint16)
    with np.errstate(all="ignore"):
        low = every.view(dtype.np).astype(np.float64)
        high = (every + 1).view(dtype.np).astype(np.float64)
    middle = (low + high) / 2
    return np.concatenate([middle, np.nextafter(middle, 0), np.nextafter(middle, np.inf), -middle])


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("half", [float16, bfloat16], ids=lambda d: d.short)
def test_halves_over_all_patterns(half, target):
    every = np.arange(65536, dtype=np.uint16).view(half.np)
    wide = s.cast(s.leaf(0, half), float32)
    with np.errstate(all="ignore"):
        same(run([wide], [every], [half], 16, TARGETS[target])[0], every.astype(np.float32))
    same(run([s.cast(wide, half)], [every], [half], 16, TARGETS[target])[0], every)
    # float32 around every half number, and random ones
    bits = every.astype(np.float32).view(np.int32)[:, None] + np.array(
        [0, 1, -1, 0x8000, 0x7FFF, 0x1000, 0xFFF, 0x1001]
    )
    rng = np.random.default_rng(0)
    x = np.concatenate([bits.astype(np.int32).reshape(-1), rng.integers(-(2**31), 2**31, 200_000)]).astype(np.int32)
    x = x.view(np.float32)
    narrow = s.cast(s.leaf(0, float32), half)
    with np.errstate(all="ignore"):
        same(run([narrow], [x], [float32], 16, TARGETS[target])[0], x.astype(half.np))


@pytest.mark.parametrize("dtype", [float32, float64], ids=lambda d: d.short)
@pytest.mark.parametrize("target", TARGETS)
def test_remainders_are_exact(dtype, target):
    """The quotient may have thousands of bits."""
    rng = np.random.default_rng(0)
    width = 8 * dtype.itemsize
    x, y = (
        rng.integers(0, 2 ** (width - 1), 4000, dtype=np.int64).astype(f"i{width // 8}").view(dtype.np) for _ in "xy"
    )
    arrays = [np.concatenate([x, x, edges(dtype)]), np.concatenate([y, np.full_like(y, 1e-30), edges(dtype)[::-1]])]
    tree = s.rem(s.leaf(0, dtype), s.leaf(1, dtype))
    with np.errstate(all="ignore"):
        want = np.fmod(*arrays)
    same(run([tree], arrays, [dtype] * 2, 8, TARGETS[target])[0], want)


def test_portable_formulas():
    """What stands in for instructions that older CPUs lack, computed by NumPy."""
    with np.errstate(all="ignore"):
        for dtype in (float32, float64):
            x = edges(dtype)
            for name in ("floor", "ceil", "rint", "trunc"):
                tree = getattr(portable, name)(s.leaf(0, dtype))
                same(s.evaluate(tree, [x]), getattr(np, name)(x))
            triple = moderate(dtype)
            tree = portable.fma(*(s.leaf(i, dtype) for i in range(3)))
            same(s.evaluate(tree, triple), PRIMITIVES["fma"].numpy(*triple))


def test_equal_nodes_are_printed_once():
    def build():
        x = s.leaf(0, float32)
        return s.exp(x) * s.exp(x) + (x + 1)

    text = tree_runner.module_text([build(), build()], [float32], 16, HOST)
    assert text.count("load <16 x float>") == 1
    once = tree_runner.module_text([s.exp(s.leaf(0, float32))], [float32], 16, HOST)
    assert text.count("fadd <16 x float>") == once.count("fadd <16 x float>") + 2
    assert text.count("@llvm.fma") == once.count("@llvm.fma")
    assert "contract" not in text


def test_deep_trees_need_no_stack():
    x = tree = s.leaf(0, float32)
    for _ in range(5000):
        tree = tree * 0.5 + x
    text = tree_runner.module_text([tree], [float32], 16, HOST)
    assert text.count("fmul <16 x float>") == 5000


@pytest.mark.parametrize(
    ("op", "sample"), sampled(keep=lambda op, sample: isinstance(op.kind, Elementwise) and sample.inputs[0].size < 99)
)
def test_elementwise_ops(op, sample):
    """The formula of every elementwise op, beside its NumPy meaning."""
    dtypes = [type_of_array(x).dtype for x in sample.inputs]
    tree = op.kind.scalar(*(s.leaf(i, d) for i, d in enumerate(dtypes)), **sample.attrs)
    with np.errstate(all="ignore"):
        want = np.asarray(op.eval(*sample.inputs, **sample.attrs))
    (got,) = run([tree], sample.inputs, dtypes, 16)
    assert_close(got, want)
