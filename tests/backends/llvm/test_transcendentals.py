"""The llvm backend's own exponentials, logarithms, trigonometry and error function: within 4 ulp, exact at the edges.

Every float32 pattern: `pytest -m slow`, or `benchmarks/ulps.py`, which prints a table.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from backends.llvm.test_scalars import TARGETS
from backends.llvm.tree_runner import run

from graphc.backends.formulas import transcendentals
from graphc.core import scalar as s
from graphc.core.tensor_types import float32, float64

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "ulps.py"
LIMIT = 4.0


@cache
def ulps():
    """The script of benchmarks/ as a module."""
    spec = importlib.util.spec_from_file_location("ulps", BENCHMARK)
    module = sys.modules["ulps"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


NAMES = list(ulps().FUNCTIONS)


def patterns():
    """float32: every exponent with several fractions, both signs, and what is near to the ends of each range."""
    rng = np.random.default_rng(0)
    exponents = np.arange(256, dtype=np.uint32)[:, None] << 23
    fractions = np.array([0, 1, 2, 0x3504F3, 0x3504F4, 0x400000, 0x490FDB, 0x7FFFFE, 0x7FFFFF], np.uint32)
    fractions = np.concatenate([fractions, rng.integers(0, 1 << 23, 55, dtype=np.uint32)])
    positive = (exponents | fractions).reshape(-1)
    ordinary = np.concatenate([rng.uniform(-2, 2, 30_000), rng.uniform(-110, 110, 30_000)]).astype(np.float32)
    return np.concatenate([positive.view(np.float32), (positive | 0x80000000).view(np.float32), ordinary])


def errors32(name, x, target):
    """The errors of a function at float32 numbers, in ulp."""
    script, leaf = ulps(), s.leaf(0, float32)
    tree = script.FUNCTIONS[name](leaf)
    (got,) = run([tree], [x], [float32], 16, target)
    if name in script.NUMPY:
        with np.errstate(all="ignore"):
            want = script.NUMPY[name](x.astype(np.float64))
    else:
        with np.errstate(all="ignore"):  # NumPy says so where a signalling NaN is widened
            (want,) = run([script.FUNCTIONS[name](s.leaf(0, float64))], [x.astype(np.float64)], [float64])
    (error,) = run([script.error_tree(leaf, s.leaf(1, float64))], [got, want], [float32, float64])
    return error


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", NAMES)
def test_float32(name, target):
    x = patterns()
    error = errors32(name, x, TARGETS[target])
    worst = int(np.argmax(error))
    assert error[worst] <= LIMIT, f"{name}({x[worst]!r}) is {error[worst]} ulp off"
    assert name == "sqrt" or error[worst] > 0.4, "nothing was measured"


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_float32(name):
    worst = ulps().every_float32(name)
    assert worst.error <= LIMIT, worst


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("sqrt", "rsqrt")])
def test_float64_beside_longer_arithmetic(name):
    pytest.importorskip("mpmath")
    worst = ulps().random_errors(name, 120)
    assert worst.error <= LIMIT, worst


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ulps().UNARY)
def test_float64_on_older_cpus(name, target):
    x = ulps().random_float64(name, 400)
    tree = s.node(name, s.leaf(0, float64))
    (got,), (want,) = (
        run([tree], [x], [float64], lanes, t) for lanes, t in ((8, TARGETS[target]), (1, TARGETS["host"]))
    )
    np.testing.assert_array_equal(got, want)


SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, np.inf, -np.inf, np.nan, 1e-310, -1e-310, 5e-324, 1.7e308,
                    -1.7e308, 1e-40, -1e-40, 1e22, 3.0])  # fmt: skip


@pytest.mark.parametrize("dtype", [float32, float64], ids=lambda d: d.short)
@pytest.mark.parametrize("name", ulps().UNARY)
def test_special_values(name, dtype):
    """Infinities, NaN, and zeros with their sign are NumPy's."""
    with np.errstate(all="ignore"):
        x = SPECIAL.astype(dtype.np)
        want = s.PRIMITIVES[name].numpy(x)
    for lanes in (1, 16):
        (got,) = run([s.node(name, s.leaf(0, dtype))], [x], [dtype], lanes)
        np.testing.assert_allclose(got, want, rtol=1e-6 if dtype is float32 else 1e-15, atol=0)
        exact = (want == 0) | ~np.isfinite(want)
        np.testing.assert_array_equal(np.signbit(got[exact & (got == got)]), np.signbit(want[exact & (got == got)]))


@pytest.mark.parametrize("dtype", [float32, float64], ids=lambda d: d.short)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["pow", "atan2"])
def test_two_operands(name, dtype, target):
    """Every pair of special numbers as C's math has it, and random ones; results near the end of the range too."""
    first, second = (v.reshape(-1) for v in np.meshgrid(SPECIAL, np.append(SPECIAL, [0.25, -3.0])))
    rng = np.random.default_rng(0)
    size = 127 if dtype is float32 else 1023
    x = np.exp2(rng.uniform(-size, size, 4000)) * np.where(rng.random(4000) < 0.2, -1, 1)
    y = np.where(rng.random(4000) < 0.5, rng.uniform(-3, 3, 4000), rng.integers(-9, 9, 4000))
    near = rng.uniform(0.9, 1.1, 2000), rng.uniform(-900, 900, 2000)
    with np.errstate(all="ignore"):
        arrays = [np.concatenate(v).astype(dtype.np) for v in zip((first, second), (x, y), near, strict=True)]
    function = getattr(math, name)
    (got,) = run([s.node(name, s.leaf(0, dtype), s.leaf(1, dtype))], arrays, [dtype] * 2, 8, TARGETS[target])
    want = np.array([_in_python(function, a, b) for a, b in zip(*(v.tolist() for v in arrays), strict=True)])
    if dtype is float32:
        assert np.max(_ulps_apart(got, want)) <= LIMIT
        return
    np.testing.assert_allclose(got, want, rtol=1e-15, atol=1e-323)
    zero = want == 0
    np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(want[zero]))


def _in_python(function, a, b):
    """A function of C's, whose errors Python raises."""
    try:
        return function(a, b)
    except OverflowError:
        return -math.inf if a < 0 and b % 2 == 1 else math.inf
    except ValueError:
        if a == 0:
            return math.copysign(math.inf, a) if b % 2 == 1 else math.inf
        return math.nan


def _ulps_apart(got, want):
    (error,) = run([ulps().error_tree(s.leaf(0, float32), s.leaf(1, float64))], [got, want], [float32, float64])
    return error


@pytest.mark.parametrize("exponent", sorted(transcendentals.POWERS))
@pytest.mark.parametrize("dtype", [float32, float64], ids=lambda d: d.short)
def test_short_powers(dtype, exponent):
    with np.errstate(all="ignore"):
        x = np.concatenate([SPECIAL, np.random.default_rng(0).uniform(-4, 4, 500)]).astype(dtype.np)
    (got,) = run([s.pow(s.leaf(0, dtype), exponent)], [x], [dtype], 16)
    want = np.array([_in_python(math.pow, v, exponent) for v in x.tolist()])
    with np.errstate(all="ignore"):
        want = want.astype(dtype.np)
    np.testing.assert_allclose(got, want, rtol=4 * np.finfo(dtype.np).eps, atol=0)
    np.testing.assert_array_equal(np.signbit(got[want == 0]), np.signbit(want[want == 0]))


#: The float of each width nearest to a multiple of π/2, and other angles whose reduction needs many bits of π.
ANGLES = {
    float64: [6381956970095103.0 * 2.0**797, 1e22, 1.7976931348623157e308, 2.0**30 + 1, 1e15, 5e300, 1.5e9, 2.0**1023],
    float32: [16367173.0 * 2.0**72, 3.4028234663852886e38, 2.0**15 + 2.0**-8, 2.0**24 + 2, 2.0**127, 1e10, 123456.0],
}


@pytest.mark.parametrize("dtype", [float32, float64], ids=lambda d: d.short)
@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_huge_angles(name, dtype):
    mp = pytest.importorskip("mpmath")
    rng = np.random.default_rng(0)
    low, high = (14, 127.9) if dtype is float32 else (28, 1023.9)
    x = np.concatenate([ANGLES[dtype], np.exp2(rng.uniform(low, high, 300))]).astype(dtype.np)
    x = np.concatenate([x, -x])
    (got,) = run([s.node(name, s.leaf(0, dtype))], [x], [dtype], 8)
    with mp.workprec(1400):
        true = [getattr(mp, name)(mp.mpf(v)) for v in x.tolist()]
        if dtype is float64:
            worst = max(ulps().float64_error(g, t) for g, t in zip(got.tolist(), true, strict=True))
        else:
            near = np.spacing(np.abs(np.array([float(t) for t in true], np.float32))).tolist()
            worst = max(float(abs(mp.mpf(g) - t)) / u for g, t, u in zip(got.tolist(), true, near, strict=True))
    assert worst <= LIMIT


def test_tables_of_two_over_pi():
    """The parts add up to 2/π, to the digits that Python knows and by a check that does not use π."""
    first = [sum(map(float, column)) for column in zip(*transcendentals.trigonometry._two_over_pi(), strict=True)]
    assert first[0] == 2 / math.pi
    top, middle, low = (row[8] for row in transcendentals.trigonometry._words_of_two_over_pi())
    assert math.isclose((top * 2.0**64 + middle * 2.0**32 + low) / 2.0**94, 2 / math.pi)
    assert math.isclose(first[1], math.fmod(2 / math.pi * 2**16, 4), rel_tol=1e-10)
