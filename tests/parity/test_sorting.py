"""Sorting, running folds and distinct elements against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from reduction_cases import INF, NAN, arrays, compare, dims_of, refused_alike  # noqa: E402

import graphc as gc  # noqa: E402

pytestmark = pytest.mark.parity

TIED = np.array([[2, 1, 2, 3, 2, 1], [0, 0, 0, 0, 0, 0], [5, 4, 3, 2, 1, 0]])


@pytest.mark.parametrize("kind", ["float", "odd", "int", "bool"])
@pytest.mark.parametrize("descending", [False, True])
def test_sort(kind: str, descending: bool) -> None:
    for x in arrays(kind):
        for dim in dims_of(x):
            compare(lambda m, t: tuple(m.sort(t, dim=dim, descending=descending, stable=True)), x)  # noqa: B023
            compare(lambda m, t: m.argsort(t, dim=dim, descending=descending, stable=True), x, grad=False)  # noqa: B023
    compare(lambda m, t: m.sort(t, descending=descending).values, arrays()[0])
    compare(lambda m, t: m.msort(t), arrays()[0])
    compare(lambda m, t: tuple(t.sort(stable=True, dim=0)), TIED)


@pytest.mark.parametrize("largest", [True, False])
def test_topk_and_kthvalue(largest: bool) -> None:
    for x in [a for a in arrays() if a.ndim]:
        for dim in dims_of(x):
            size = x.shape[dim]
            compare(lambda m, t: tuple(m.topk(t, size - 1, dim, largest)), x)  # noqa: B023
            compare(lambda m, t: tuple(m.kthvalue(t, size - 1, dim)), x)  # noqa: B023
            compare(lambda m, t: tuple(m.kthvalue(t, 1, dim, keepdim=True)), x)  # noqa: B023
    compare(lambda m, t: tuple(m.topk(t, 1)), np.array(2.0))
    compare(lambda m, t: tuple(m.kthvalue(t, 1)), np.array(2.0))
    compare(lambda m, t: m.topk(t, 3).values, TIED, grad=False)
    refused_alike(lambda m, t: m.topk(t, 4), np.arange(3), match="selected index k out of range")
    refused_alike(lambda m, t: m.kthvalue(t, 4), np.arange(3), match="selected number k out of range for dimension 0")
    refused_alike(lambda m, t: m.kthvalue(t, 0), np.arange(3), match="selected number k out of range")
    refused_alike(lambda m, t: m.sort(t, 2), np.zeros((2, 3)), match="Dimension out of range")


@pytest.mark.parametrize("name", ["cumsum", "cumprod"])
def test_running_sums(name: str) -> None:
    for x in [*arrays(), *arrays("int"), *arrays("bool"), np.zeros((0, 3)), np.array([[0.0, 2.0, 0.0, 3.0]])]:
        grad = name == "cumsum" or x.itemsize > 2
        for dim in dims_of(x):
            compare(lambda m, t: getattr(m, name)(t, dim), x, n=8, grad=grad)  # noqa: B023
            compare(lambda m, t: getattr(m, name)(t, dim, dtype=m.float64), x, n=8, grad=grad)  # noqa: B023
    for x in arrays("odd"):
        compare(lambda m, t: getattr(m, name)(t, 1), x, grad=False)
    refused_alike(lambda m, t: getattr(m, name)(t, 2), np.zeros((2, 3)), match="Dimension out of range")


def test_cumprod_of_zeros_twice() -> None:
    def second(m: Any, t: Any) -> Any:
        t = t.detach().requires_grad_(True)
        (g,) = m.autograd.grad((m.cumprod(t, 0) ** 2).sum(), t, create_graph=True)
        return m.autograd.grad((g * g).sum(), t)

    for x in ([0.5, 0.0, 2.0, 3.0], [0.0, 1.0, 0.0, 2.0], [1.0, 2.0, 3.0]):
        compare(second, np.array(x), grad=False)


@pytest.mark.parametrize("name", ["cummax", "cummin"])
def test_running_extremes(name: str) -> None:
    for x in [*arrays(), *arrays("int"), *arrays("bool"), *arrays("odd"), TIED, TIED.astype(float)]:
        if not x.size:
            continue
        for dim in dims_of(x):
            compare(lambda m, t: tuple(getattr(m, name)(t, dim)), x)  # noqa: B023
    compare(lambda m, t: tuple(getattr(m, name)(t, 0)), np.array([1.0, NAN, 3.0, NAN, 2.0]))


def test_logcumsumexp() -> None:
    for x in [*arrays(), np.zeros((0, 3))]:
        for dim in dims_of(x):
            compare(lambda m, t: m.logcumsumexp(t, dim), x, n=4)  # noqa: B023
    compare(lambda m, t: m.logcumsumexp(t, 0), np.array([1000.0, 1001.0, -INF, 5.0]), grad=False)
    compare(lambda m, t: m.logcumsumexp(t, 0), np.array([1.0, -INF, 2.0, 3.0]))
    compare(lambda m, t: m.logcumsumexp(t, 0), np.array([-INF, -INF, 2.0, NAN]), grad=False)
    refused_alike(lambda m, t: m.logcumsumexp(t, 0), np.arange(3), match="not implemented")


def test_diff() -> None:
    for x in [a for a in (*arrays(), *arrays("int"), *arrays("bool")) if a.ndim]:
        for dim in dims_of(x):
            for n in (0, 1, 2, 9):
                compare(lambda m, t: m.diff(t, n, dim), x, n=8)  # noqa: B023
    x, y = np.arange(6.0).reshape(2, 3), np.ones((2, 1))
    compare(lambda m, a, b: m.diff(a, prepend=b), x, y)
    compare(lambda m, a, b: m.diff(a, append=b, prepend=b), x, y)
    refused_alike(lambda m, t: m.diff(t), np.array(1.0), match="at least one-dimensional")
    refused_alike(lambda m, t: m.diff(t, -1), np.ones(2), match="order must be non-negative")


def test_gradient() -> None:
    x, at = np.array([[0.5, 2.0, 1.0, 4.0], [1.0, 3.0, -2.0, 0.0], [7.0, 1.0, 1.5, 2.5]]), np.array([0.0, 0.5, 2.0])
    for order in (1, 2):
        for dim in (None, 0, -1, (1, 0)):
            compare(lambda m, t: m.gradient(t, dim=dim, edge_order=order), x, n=8)  # noqa: B023
        compare(lambda m, t: m.gradient(t, spacing=0.25, edge_order=order), x, n=8)  # noqa: B023
        compare(lambda m, t: m.gradient(t, spacing=(2.0, 0.5), edge_order=order), x, n=8)  # noqa: B023
        compare(lambda m, t, u: m.gradient(t, spacing=(u,), dim=0, edge_order=order)[0], x, at, n=8)  # noqa: B023
    compare(lambda m, t: m.gradient(t[:2, :2]), x)
    refused_alike(lambda m, t: m.gradient(t, edge_order=3), x, match="only supports edge_order=1 and edge_order=2")
    refused_alike(lambda m, t: m.gradient(t[:1]), x, match="dimension size to be at least")
    refused_alike(lambda m, t: m.gradient(t, spacing=(1.0, 2.0, 3.0)), x, match="spacing to be unspecified, a scalar")
    with pytest.raises(gc.errors.ShapeError, match=r"coordinates of dim 1 to be \[4\], got \[3\]"):
        gc.gradient(gc.tensor(x), spacing=(gc.tensor(at),), dim=1)  # PyTorch reads beyond its end


def test_integrals() -> None:
    for x in [a for a in (*arrays(), *arrays("int")) if a.ndim and a.itemsize > 2]:
        for dim in dims_of(x):
            compare(lambda m, t: m.trapezoid(t, dim=dim), x, n=4)  # noqa: B023
            compare(lambda m, t: m.trapz(t, dx=0.5, dim=dim), x, n=4)  # noqa: B023
            compare(lambda m, t: m.cumulative_trapezoid(t, dim=dim), x, n=4)  # noqa: B023
    y, x = np.arange(6.0).reshape(2, 3), np.array([0.0, 1.0, 4.0])
    compare(lambda m, a, b: m.trapezoid(a, b), y, x)
    compare(lambda m, a, b: m.trapezoid(a, b, dim=0), y, y * y)
    compare(lambda m, a, b: m.cumulative_trapezoid(a, b), y, x)


def test_unique() -> None:
    for x in (*arrays("int"), *arrays("bool"), TIED, np.array([1.5, NAN, 0.5, NAN, 1.5]), np.array(3.0)):
        compare(lambda m, t: m.unique(t), x, grad=False)
        compare(lambda m, t: m.unique(t, return_inverse=True, return_counts=True), x, grad=False)
        compare(lambda m, t: m.unique(t, return_counts=True), x, grad=False)
        compare(lambda m, t: m.unique_consecutive(t, return_inverse=True, return_counts=True), x, grad=False)
    for x in (TIED, np.array([[1, 2], [0, 1], [1, 2], [0, 0]]), TIED.reshape(3, 2, 3)):
        for dim in dims_of(x):
            compare(lambda m, t: m.unique(t, return_inverse=True, return_counts=True, dim=dim), x, grad=False)  # noqa: B023
            compare(lambda m, t: m.unique_consecutive(t, True, True, dim), x, grad=False)  # noqa: B023
    compare(lambda m, t: m.unique(t, return_inverse=True), np.zeros(0), grad=False)
    compare(lambda m, t: t.unique(), TIED, grad=False)


def test_namedtuples() -> None:
    found = gc.topk(gc.tensor([1.0, 3.0, 2.0]), 2)
    assert found.values.tolist() == [3.0, 2.0]
    assert found.indices.tolist() == [1, 2]
