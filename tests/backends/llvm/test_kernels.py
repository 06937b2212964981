"""Kernels of programs small enough that LLVM knows every size."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc
from tests.tolerances import assert_close


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("n", range(1, 18))
def test_sums_of_quotients_of_every_short_row(n, dtype):
    """Lanes beyond a row divide 0 by 0; LLVM takes that for 0 where it knows which lanes they are."""
    a, b = (np.random.default_rng(n + k).uniform(0.5, 2, (3, n)).astype(dtype) for k in range(2))
    got = gc.compile(
        lambda a, b: ((a / b).sum(1), (a / b).sum(), (a[0] / b[0]).sum(), (a / b).amax(1)), backend="llvm"
    )(gc.tensor(a), gc.tensor(b))
    quotients = (a / b).astype(np.float64)
    for x, y in zip(got, (quotients.sum(1), quotients.sum(), quotients[0].sum(), quotients.max(1)), strict=True):
        assert_close(x, y.astype(dtype), n=3 * n)


@pytest.mark.parametrize("seed", range(4))
def test_a_maximum_is_found_again(seed):
    """Its gradient compares it with the formula it is the maximum of, written out once more in another kernel."""
    x = gc.tensor(np.random.default_rng(seed).normal(size=(7, 33)).astype(np.float32), requires_grad=True)

    def gradient(x):
        square = x * x
        most = (square + x).amax(1, keepdim=True)
        return gc.autograd.grad((square / (most * most + 1)).sum(), x)[0]

    found = gc.compile(gradient, backend="llvm")(x).numpy()
    np.testing.assert_allclose(found, gradient(x).numpy(), rtol=1e-4, atol=1e-5)
