"""Variance, order statistics, histograms and covariance against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from reduction_cases import INF, NAN, arrays, compare, dims_of, refused_alike  # noqa: E402

import graphc as gc  # noqa: E402

pytestmark = pytest.mark.parity

TIED = np.array([[2, 1, 2, 3, 2, 1], [0, 0, 0, 0, 0, 0], [5, 4, 3, 2, 1, 0]])


@pytest.mark.parametrize("name", ["var", "std", "var_mean", "std_mean"])
def test_variance(name: str) -> None:
    for x in arrays():
        grad = x.size > 1
        compare(lambda m, t: getattr(m, name)(t), x, n=x.size, grad=grad)
        compare(lambda m, t: getattr(m, name)(t, False), x, n=x.size)
        for dim in dims_of(x):
            compare(lambda m, t: getattr(m, name)(t, dim), x, n=8, grad=grad)  # noqa: B023
            compare(lambda m, t: getattr(m, name)(t, dim, keepdim=True, correction=0), x, n=8)  # noqa: B023
            compare(lambda m, t: getattr(m, name)(t, dim, False, True), x, n=8)  # noqa: B023
            compare(lambda m, t: getattr(m, name)(t, dim, unbiased=True), x, n=8, grad=grad)  # noqa: B023
    compare(lambda m, t: getattr(m, name)(t, (0, 2), correction=1.5), arrays()[0], n=8)
    compare(lambda m, t: getattr(m, name)(t, 1), np.ones((2, 3)))
    compare(lambda m, t: getattr(m, name)(t), np.zeros(0), grad=False)
    compare(lambda m, t: getattr(m, name)(t), np.ones(1), grad=False)
    refused_alike(lambda m, t: getattr(m, name)(t), np.arange(3), match="floating point")
    refused_alike(lambda m, t: getattr(m, name)(t, unbiased=True, correction=1), np.ones(3))
    refused_alike(lambda m, t: getattr(m, name)(t, 3), np.ones(3), match="Dimension out of range")


def test_too_few_degrees_of_freedom_warn() -> None:
    with pytest.warns(UserWarning, match="degrees of freedom is <= 0"):
        gc.var(gc.ones(1))


@pytest.mark.parametrize("name", ["median", "nanmedian"])
@pytest.mark.parametrize("kind", ["float", "odd", "int"])
def test_median(name: str, kind: str) -> None:
    for x in arrays(kind):
        compare(lambda m, t: getattr(m, name)(t), x, grad=kind == "float")
        for dim in dims_of(x):
            compare(lambda m, t: getattr(m, name)(t, dim).values, x, grad=kind == "float")  # noqa: B023
            compare(lambda m, t: getattr(m, name)(t, dim, keepdim=True).values, x, grad=False)  # noqa: B023
            if kind == "float":
                compare(lambda m, t: getattr(m, name)(t, dim).indices, x, grad=False)  # noqa: B023
    compare(lambda m, t: getattr(m, name)(t), TIED.astype(float))
    compare(lambda m, t: tuple(getattr(m, name)(t, 0)), np.array([1.0, NAN, 2.0, NAN, 5.0, 3.0]), grad=False)
    compare(lambda m, t: getattr(m, name)(t), np.zeros(0), grad=False)
    refused_alike(lambda m, t: getattr(m, name)(t, 0), np.zeros((0, 3)), match="non-zero size")


def test_mode() -> None:
    for x in (*arrays("int"), TIED, TIED.T, np.array([3.0, 1.0, 3.0, 1.0, 2.0]), np.array(2.0)):
        for dim in dims_of(x):
            compare(lambda m, t: tuple(m.mode(t, dim)), x)  # noqa: B023
            compare(lambda m, t: tuple(m.mode(t, dim, keepdim=True)), x)  # noqa: B023


@pytest.mark.parametrize("name", ["quantile", "nanquantile"])
@pytest.mark.parametrize("how", ["linear", "lower", "higher", "midpoint", "nearest"])
def test_quantiles(name: str, how: str) -> None:
    holes = np.array([[1, 2, NAN, 2, 0.5], [3, 3, 0, -3, 7], [1, 5, 4, 3, 2]])
    for x in (*(a for a in arrays() if a.itemsize > 2), holes, holes.astype(np.float32).T):
        q = np.array([0.0, 0.3, 0.77, 1.0], x.dtype)
        grad = not np.isnan(x).any()
        for at in (0.25, 0.6):
            compare(lambda m, t: getattr(m, name)(t, at, interpolation=how), x, grad=grad)  # noqa: B023
        compare(lambda m, t, p: getattr(m, name)(t, p.detach(), interpolation=how), x, q, grad=grad)
        compare(lambda m, t, p: getattr(m, name)(t, p.detach(), keepdim=True), x, q, grad=grad)
        for dim in dims_of(x):
            compare(lambda m, t, p: getattr(m, name)(t, p.detach(), dim, interpolation=how), x, q, grad=grad)  # noqa: B023
            compare(lambda m, t: getattr(m, name)(t, 0.4, dim, True, interpolation=how), x, grad=grad)  # noqa: B023


def test_quantile_refusals() -> None:
    x = np.ones((2, 3), np.float32)
    refused_alike(lambda m, t: m.quantile(t, 2.0), x, match=r"in the range \[0, 1\]")
    refused_alike(lambda m, t: m.quantile(t, 0.5), np.arange(3), match="either float or double")
    refused_alike(lambda m, t: m.quantile(t, 0.5, interpolation="x"), x, match="interpolation must be one of")
    refused_alike(lambda m, t, q: m.quantile(t, q), x, np.zeros((1, 2), np.float32), match="scalar or 1D")
    refused_alike(lambda m, t, q: m.quantile(t, q), x, np.zeros(2), match="same dtype")
    refused_alike(lambda m, t: m.quantile(t, 0.5), np.zeros(0), match="non-empty")


def test_bincount() -> None:
    x = np.array([1, 2, 2, 5])
    compare(lambda m, t: m.bincount(t), x, grad=False)
    compare(lambda m, t: m.bincount(t, minlength=9), x.astype(np.uint8), grad=False)
    compare(lambda m, t: m.bincount(t, minlength=3), np.zeros(0, int), grad=False)
    for dtype in (np.float16, np.float32, np.float64, np.int32):
        compare(lambda m, t, w: m.bincount(t, w), x, np.array([1, 2, 3, 4]).astype(dtype), grad=False)
    refused_alike(lambda m, t: m.bincount(t), np.array([-1]), match="1-d non-negative")
    refused_alike(lambda m, t: m.bincount(t), np.array([[1]]), match="1-d non-negative")
    refused_alike(lambda m, t: m.bincount(t), np.array([1.0]), match="not implemented")


def test_histc() -> None:
    x = np.array([1.0, 2.0, 2.0, 5.0, 3.3, 4.99])
    compare(lambda m, t: m.histc(t, 4), x, grad=False)
    compare(lambda m, t: m.histc(t, 10, 0, 3), x.astype(np.float32), grad=False)
    compare(lambda m, t: m.histc(t, 4, min=2, max=4), np.append(x, [NAN, INF]), grad=False)
    compare(lambda m, t: m.histc(t, 4), np.array([2.0, 2.0]), grad=False)
    compare(lambda m, t: m.histc(t), np.zeros(0), grad=False)
    refused_alike(lambda m, t: m.histc(t, 4, 3, 1), x, match="max must be larger than min")
    refused_alike(lambda m, t: m.histc(t, 0), x, match="bins must be > 0")


def test_covariance() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 6))
    for name in ("cov", "corrcoef"):
        compare(lambda m, t: getattr(m, name)(t), x, n=8, scale=1.0)  # noqa: B023
        compare(lambda m, t: getattr(m, name)(t), x[0], n=8, grad=name == "cov")  # noqa: B023
        compare(lambda m, t: getattr(m, name)(t), np.arange(6).reshape(2, 3), grad=False, scale=1.0)  # noqa: B023
        refused_alike(lambda m, t: getattr(m, name)(t), x[None], match="two or fewer")  # noqa: B023
    compare(lambda m, t: m.cov(t, correction=0), x, n=8)
    counts, weights = np.array([1, 2, 1, 3, 1, 1]), rng.uniform(0.1, 1, 6)
    compare(lambda m, t, f: m.cov(t, fweights=f), x, counts, n=8)
    compare(lambda m, t, a: m.cov(t, aweights=a), x, weights, n=8, grad=False)
    compare(lambda m, t, f, a: m.cov(t, fweights=f, aweights=a, correction=2), x, counts, weights, n=8, grad=False)
