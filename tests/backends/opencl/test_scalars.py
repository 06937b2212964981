"""Every scalar primitive on an OpenCL device, on every dtype it takes and on edge values, equal to what NumPy computes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from backends.opencl.tree_runner import run
from scalar_cases import FUNCTIONS, case, cases, edges, pairs, same
from tolerances import assert_close

from graphc.core import scalar as s
from graphc.core.scalar import PRIMITIVES
from graphc.core.tensor_types import DTYPES, float32, float64

pytestmark = pytest.mark.opencl


@pytest.mark.parametrize(("op", "dtype"), [*cases()])
def test_primitives(op, dtype):
    tree, arrays, dtypes = case(op, dtype)
    with np.errstate(all="ignore"):
        want = s.evaluate(tree, arrays)
    same(run([tree], arrays, dtypes)[0], np.asarray(want, tree.dtype.np), ignore_zero_sign=op in ("max", "min"))


@pytest.mark.parametrize("dtype", [float32, float64], ids=lambda d: d.short)
@pytest.mark.parametrize("op", sorted(FUNCTIONS | {"pow"}))
def test_functions(op, dtype):
    arity = PRIMITIVES[op].arity
    arrays = pairs(dtype, arity)
    rng = np.random.default_rng(0)
    arrays = [np.concatenate([a, rng.normal(0, 3, 1000).astype(dtype.np)]) for a in arrays]
    tree = s.node(op, *(s.leaf(i, dtype) for i in range(arity)))
    with np.errstate(all="ignore"):
        want = s.evaluate(tree, arrays)
    (got,) = run([tree], arrays, [dtype] * arity)
    # NumPy's side of erfc is up to 6 off itself, by its exponential on some processors
    limit = 8 if op == "erfc" else 4
    with np.errstate(all="ignore"):
        near = np.abs(got.astype(np.longdouble) - want) <= limit * np.spacing(np.abs(want)).astype(np.longdouble)
    wrong = np.flatnonzero(~(near | (got == want) | (np.isnan(got) & np.isnan(want))))
    assert not len(wrong), (
        f"{len(wrong)} wrong, first at {[a[wrong[0]] for a in arrays]}: {got[wrong[0]]}, {want[wrong[0]]}"
    )


@pytest.mark.parametrize(("source", "to"), list(itertools.permutations(DTYPES, 2)), ids=lambda d: d.short)
def test_casts(source, to):
    x, tree = edges(source), s.cast(s.leaf(0, source), to)
    with np.errstate(all="ignore"):
        want = s.evaluate(tree, [x])
    same(run([tree], [x], [source])[0], want)


def test_what_is_rare_is_a_branch():
    x = s.leaf(0, float32)
    tree = s.rarely(x > 2, s.exp(x), x * 2)
    values = np.linspace(-3, 3, 1000).astype(np.float32)
    assert_close(run([tree], [values], [float32])[0], s.evaluate(tree, [values]), np.float32)
