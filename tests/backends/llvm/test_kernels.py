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
