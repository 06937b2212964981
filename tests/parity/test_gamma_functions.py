"""The gamma function and the inverse error function, and samples of counts, against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from side_by_side import agree, pair, refuse
from tolerances import as_array

import graphc as gc

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

POSITIVE = np.concatenate([np.linspace(0.02, 9, 200), np.geomspace(9, 1e5, 40)])
NEGATIVE = np.linspace(-5.37, -0.11, 60)


@pytest.mark.parametrize("name", ["lgamma", "digamma"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_gamma_functions(name, dtype):
    for x in (POSITIVE[:200].astype(dtype), NEGATIVE.astype(dtype)):
        agree(torch, lambda m, x: (getattr(m, name)(x), getattr(x, name)()), x, grad=False, n=64)
        a, b = pair(torch, x, True)
        getattr(gc, name)(a).sum().backward()
        getattr(torch, name)(b).sum().backward()
        # PyTorch's derivative of digamma is good for 9 digits; near a pole it is large, and x is rounded
        np.testing.assert_allclose(as_array(a.grad), as_array(b.grad), rtol=1e-8 if dtype is np.float64 else 2e-4)
    agree(torch, lambda m, x: getattr(m, name)(x), POSITIVE[200:].astype(dtype), grad=False, n=16)
    ends = np.array([np.inf, 0.0, -0.0, -1.0, -2.0, np.nan], dtype)
    agree(torch, lambda m, x: getattr(m, name)(x), ends, grad=False)
    agree(torch, lambda m, x: getattr(m, name)(x), np.arange(1, 5), grad=False, n=16)
    agree(torch, lambda m, x: getattr(x.clone(), name + "_")(), POSITIVE[:9].astype(dtype), grad=False, n=64)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_erfinv(dtype):
    x = np.linspace(-0.999, 0.999, 301).astype(dtype)
    agree(torch, lambda m, x: (m.erfinv(x), x.erfinv()), x, n=64, scale=200.0)
    agree(torch, lambda m, x: m.erfinv(x), np.array([-1.0, 1.0, 1.5, np.nan, 1e-8], dtype), grad=False)
    agree(torch, lambda m, x: x.clone().erfinv_(), x[::50], n=64, scale=200.0)


def test_compiled_as_eager():
    x = gc.tensor(POSITIVE[:50])

    def code(x):
        return gc.lgamma(x), gc.digamma(x), gc.erfinv(x / 10)

    for a, b in zip(gc.compile(code)(x), code(x), strict=True):
        np.testing.assert_allclose(as_array(a), as_array(b), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rate", [0.0, 0.4, 6.0, 9.99, 10.0, 80.0, 5000.0])
def test_poisson(rate):
    n, found = 40000, []
    for m in (gc, torch):
        m.manual_seed(1)
        x = m.poisson(m.full((n,), rate))
        assert str(x.dtype).endswith("float32")
        found.append(as_array(x).astype(np.float64))
    mine, its = found
    slack = 6 * np.sqrt(max(rate, 1e-9) / n)
    assert abs(mine.mean() - rate) < slack + 1e-12
    assert abs(mine.var() - rate) < 6 * np.sqrt(2 / n) * rate + slack + 1e-9
    levels = np.linspace(0.05, 0.95, 10)
    assert np.abs(np.quantile(mine, levels) - np.quantile(its, levels)).max() <= max(1, 0.05 * np.sqrt(rate))
    refuse(torch, lambda m, x: m.poisson(x), np.arange(3))


@pytest.mark.parametrize(("count", "p"), [(7.0, 0.3), (90.0, 0.97), (5.0, 0.0), (5.0, 1.0), (0.0, 0.5)])
def test_binomial(count, p):
    n, found = 40000, []
    for m in (gc, torch):
        m.manual_seed(1)
        found.append(as_array(m.binomial(m.full((n,), count), m.full((n,), p))).astype(np.float64))
    mine, its = found
    assert mine.min() >= 0 and mine.max() <= count
    assert abs(mine.mean() - count * p) <= 6 * np.sqrt(count * p * (1 - p) / n)
    values = np.arange(count + 1)
    shares = [np.array([(x == k).mean() for k in values]) for x in (mine, its)]
    assert np.abs(shares[0] - shares[1]).max() <= 6 * np.sqrt(0.5 / n)


@pytest.mark.parametrize("p", [1, 2, 5])
def test_in_several_dimensions(p):
    x = np.linspace(2.6, 40, 9)
    agree(torch, lambda m, a: (m.mvlgamma(a, p), a.mvlgamma(p=p), (a + 1).mvlgamma_(p)), x, n=64)
    agree(torch, lambda m, a: m.mvlgamma(a, p), np.arange(4, 9), n=64)
    refuse(torch, lambda m, a: m.mvlgamma(a, 0), x)
    refuse(torch, lambda m, a: m.mvlgamma(a, 1), x > 0)
