"""Reductions against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from reduction_cases import INF, NAN, arrays, compare, dims_of, refused_alike  # noqa: E402

pytestmark = pytest.mark.parity

EMPTY = [np.zeros((0, 3), np.float32), np.zeros((3, 0)), np.zeros(0, np.float32)]
SUMS = ("sum", "nansum", "mean", "nanmean", "prod")
FOLDS = ("amax", "amin")


@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize("kind", ["float", "odd"])
def test_sums_of_floats(name: str, kind: str) -> None:
    for x in arrays(kind):
        # Products of 16-bit floats are mostly below what these can hold; 0 * inf comes in another order.
        grad = name != "prod" or (x.itemsize > 2 and kind != "odd")
        compare(lambda m, t: getattr(m, name)(t), x, n=x.size, what=name, grad=grad)
        for dim in dims_of(x):
            for keep in (False, True):
                compare(lambda m, t: getattr(m, name)(t, dim, keep), x, n=x.size, what=f"{name} {dim}", grad=grad)  # noqa: B023


@pytest.mark.parametrize("name", ["sum", "nansum", "mean", "amax", "amin", "nanmean", "any", "all", "count_nonzero"])
def test_tuples_of_dims(name: str) -> None:
    x = arrays()[0]
    for dim in ((0, 2), (-1, 0), (1,), [0, 1], (0, 1, 2)):
        compare(lambda m, t: getattr(m, name)(t, dim=dim), x, n=60)  # noqa: B023
        if name != "count_nonzero":
            compare(lambda m, t: getattr(m, name)(t, dim=dim, keepdim=True), x, n=60)  # noqa: B023
    if name not in ("amax", "amin"):
        compare(lambda m, t: getattr(m, name)(t, dim=None), x, n=60)
    compare(lambda m, t: getattr(m, name)(t, dim=()), x, n=60)
    compare(lambda m, t: getattr(m, name)(t, axis=0), x, n=60)


@pytest.mark.parametrize("name", ["sum", "prod", "nansum"])
@pytest.mark.parametrize("kind", ["int", "bool"])
def test_sums_of_integers_are_int64(name: str, kind: str) -> None:
    for x in arrays(kind):
        compare(lambda m, t: getattr(m, name)(t), x, grad=False)
        for dim in dims_of(x):
            compare(lambda m, t: getattr(m, name)(t, dim), x, grad=False)  # noqa: B023
        for dtype in ("float32", "int32", "float64"):
            compare(lambda m, t: getattr(m, name)(t, dtype=getattr(m, dtype)), x, grad=False)  # noqa: B023


def test_sum_into_bool_and_int() -> None:
    x = np.array([0.0, 1.5, 2.0], np.float32)
    compare(lambda m, t: m.sum(t, dtype=m.bool), x, grad=False)
    compare(lambda m, t: m.sum(t, dtype=m.int32), x, grad=False)
    compare(lambda m, t: m.mean(t, dtype=m.float64), x)


@pytest.mark.parametrize("name", SUMS)
def test_sums_of_nothing(name: str) -> None:
    for x in EMPTY:
        compare(lambda m, t: getattr(m, name)(t), x)
        for dim in dims_of(x):
            compare(lambda m, t: getattr(m, name)(t, dim), x)  # noqa: B023


def test_float16_sums_do_not_overflow_on_the_way() -> None:
    x = np.full(4096, 60.0, np.float16)
    compare(lambda m, t: m.mean(t), x, n=1)
    compare(lambda m, t: m.sum(t * 0.01), x, n=8)
    ones = np.ones(4096, np.float16)
    compare(lambda m, t: m.sum(t), ones)


def test_long_columns_keep_their_precision() -> None:
    x = np.full((1 << 17, 2), 0.1, np.float32)
    compare(lambda m, t: m.sum(t, 0), x, grad=False)


def test_prod_with_zeros() -> None:
    for x in ([0.0, 2.0, 3.0], [0.0, 0.0, 3.0], [[1.0, 0.0], [2.0, 3.0]]):
        compare(lambda m, t: m.prod(t), np.array(x))
        compare(lambda m, t: m.prod(t, -1, keepdim=True), np.array(x))

    def second(m: Any, t: Any) -> Any:
        t = t.detach().requires_grad_(True)
        (g,) = m.autograd.grad(m.prod(t), t, create_graph=True)
        return m.autograd.grad((g * g).sum(), t)

    for x in ([0.0, 2.0, 3.0], [0.0, 0.0, 3.0], [1.0, 2.0, 4.0]):
        compare(second, np.array(x), grad=False)


@pytest.mark.parametrize("name", ["any", "all", "count_nonzero"])
def test_truth(name: str) -> None:
    for x in (*arrays("bool"), *arrays("int"), *arrays("odd"), *EMPTY):
        compare(lambda m, t: getattr(m, name)(t), x, grad=False)
        for dim in dims_of(x):
            compare(lambda m, t: getattr(m, name)(t, dim), x, grad=False)  # noqa: B023
            if name != "count_nonzero":
                compare(lambda m, t: getattr(m, name)(t, dim, keepdim=True), x, grad=False)  # noqa: B023


@pytest.mark.parametrize("name", FOLDS)
@pytest.mark.parametrize("kind", ["float", "odd", "int", "bool"])
def test_extremes(name: str, kind: str) -> None:
    for x in arrays(kind):
        if x.size:
            compare(lambda m, t: getattr(m, name)(t), x, grad=kind == "float")
        for dim in dims_of(x):
            if x.size:
                compare(lambda m, t: getattr(m, name)(t, dim, keepdim=True), x)  # noqa: B023
                compare(lambda m, t: getattr(m, name)(t, dim), x)  # noqa: B023


def test_ties_share_the_gradient_of_amax_and_whole_max() -> None:
    x = np.array([[1.0, 3.0, 3.0], [3.0, 0.0, 3.0]])
    for name in ("amax", "amin", "max", "min"):
        compare(lambda m, t: getattr(m, name)(t), x)  # noqa: B023
    compare(lambda m, t: m.amax(t, 1), x)
    compare(lambda m, t: m.aminmax(t), x)
    compare(lambda m, t: m.aminmax(t, dim=1, keepdim=True), x)


@pytest.mark.parametrize("name", ["max", "min"])
@pytest.mark.parametrize("kind", ["float", "odd", "int", "bool"])
def test_max_with_places(name: str, kind: str) -> None:
    for x in arrays(kind):
        if not x.size:
            continue
        for dim in dims_of(x):
            compare(lambda m, t: tuple(getattr(m, name)(t, dim)), x)  # noqa: B023
            compare(lambda m, t: tuple(getattr(m, name)(t, dim=dim, keepdim=True)), x)  # noqa: B023
            compare(lambda m, t: getattr(m, name)(t, dim).values, x)  # noqa: B023


def test_max_of_two() -> None:
    x, y = np.array([[1.0, 5.0, 2.0]], np.float32), np.array([[3.0], [2.0]])
    for name in ("max", "min"):
        compare(lambda m, a, b: getattr(m, name)(a, b), x, y)  # noqa: B023
        compare(lambda m, a, b: getattr(m, name)(a, other=b), x, y)  # noqa: B023
        compare(lambda m, a, b: getattr(a, name)(b), x, y)  # noqa: B023


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@pytest.mark.parametrize("kind", ["float", "odd", "int"])
def test_places(name: str, kind: str) -> None:
    for x in arrays(kind):
        compare(lambda m, t: getattr(m, name)(t), x, grad=False)
        compare(lambda m, t: getattr(m, name)(t, keepdim=True), x, grad=False)
        for dim in dims_of(x):
            compare(lambda m, t: getattr(m, name)(t, dim), x, grad=False)  # noqa: B023
            compare(lambda m, t: getattr(m, name)(t, dim, keepdim=True), x, grad=False)  # noqa: B023


def test_logsumexp() -> None:
    for x in (*arrays(), *arrays("int"), *EMPTY):
        for dim in dims_of(x):
            compare(lambda m, t: m.logsumexp(t, dim), x)  # noqa: B023
            compare(lambda m, t: m.logsumexp(t, dim, keepdim=True), x)  # noqa: B023
    compare(lambda m, t: m.logsumexp(t, (0, 2)), arrays()[0])
    for x in arrays("odd"):
        compare(lambda m, t: m.logsumexp(t, 1), x, grad=False)
    compare(lambda m, t: m.logsumexp(t, 0), np.array([1000.0, 1000.5, -INF]))


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax(name: str) -> None:
    for x in (*arrays(), *EMPTY):
        for dim in dims_of(x):
            compare(lambda m, t: getattr(m, name)(t, dim), x, n=4)  # noqa: B023
    for x in (*arrays("int"), *arrays("bool")):
        compare(lambda m, t: getattr(m, name)(t, 0, dtype=m.float32), x)
    for x in arrays("odd"):
        compare(lambda m, t: getattr(m, name)(t, 1), x, grad=False)
    compare(lambda m, t: getattr(m, name)(t, 0), np.array([1000.0, 999.0, 0.0]), scale=1.0)
    compare(lambda m, t: getattr(t, name)(-1), arrays()[0], n=4)
    refused_alike(lambda m, t: getattr(m, name)(t, 2), np.zeros((2, 3)), match="Dimension out of range")
    refused_alike(lambda m, t: getattr(m, name)(t, 0), np.zeros(3, int), match="not implemented")


@pytest.mark.parametrize("p", ["fro", 0, 1, 2, 3, 0.5, 1.5, INF, -INF, -1])
def test_norms(p: Any) -> None:
    for x in arrays():
        compare(lambda m, t: m.norm(t, p), x, n=x.size, grad=p != 0)
        for dim in dims_of(x):
            compare(lambda m, t: m.norm(t, p, dim), x, n=8, grad=p != 0)  # noqa: B023
            compare(lambda m, t: m.norm(t, p, dim=dim, keepdim=True), x, n=8, grad=p != 0)  # noqa: B023
    if p not in (-1, -INF):
        compare(lambda m, t: m.norm(t, p), np.zeros((2, 2)), grad=p != 0)
        compare(lambda m, t: m.norm(t, p, 1), np.array([[0.0, 2.0], [3.0, 0.0]]), grad=p != 0)
    compare(lambda m, t: m.norm(t, p, (0, 2)), arrays()[0], n=8, grad=p != 0)


def test_norms_of_nothing_and_of_integers() -> None:
    compare(lambda m, t: m.norm(t, 2), EMPTY[0])
    refused_alike(lambda m, t: m.norm(t, INF), EMPTY[0], match="does not have an identity")
    refused_alike(lambda m, t: m.norm(t), np.arange(3), match="Expected a floating point")


def test_dist_and_renorm() -> None:
    x, y = arrays()[0], arrays()[0][::-1].copy()
    for p in (0, 1, 2, 3, INF):
        compare(lambda m, a, b: m.dist(a, b, p), x, y, n=60, grad=p != 0)  # noqa: B023
    for p in (1, 2, 3):
        compare(lambda m, a: m.renorm(a, p, 1, 2.0), x, n=60)  # noqa: B023
    refused_alike(lambda m, t: m.renorm(t, 2, 0, 1.0), np.ones(3), match="at least 2 dim")


def test_refusals() -> None:
    x, ints, empty = np.ones((2, 3), np.float32), np.arange(6).reshape(2, 3), np.zeros((0, 3), np.float32)
    for name in ("sum", "mean", "amax", "any", "prod", "argmax", "max", "logsumexp", "norm", "nansum", "count_nonzero"):
        refused_alike(
            lambda m, t: getattr(m, name)(t, dim=5),  # noqa: B023
            x,
            match=r"Dimension out of range \(expected to be in range of \[-2, 1\], but got 5\)",
        )
        refused_alike(lambda m, t: getattr(m, name)(t, dim=1), np.array(1.0), match=r"range of \[-1, 0\], but got 1")  # noqa: B023
        refused_alike(lambda m, t: getattr(m, name)(t, dim=1.5), x)  # noqa: B023
        if name != "norm":
            refused_alike(lambda m, t: getattr(m, name)([1, 2], dim=0), x, match="must be Tensor, not list")  # noqa: B023
    for name in ("sum", "mean", "amax", "any", "logsumexp"):
        refused_alike(lambda m, t: getattr(m, name)(t, dim=(0, 0)), x, match="dim 0 appears multiple times")  # noqa: B023
        refused_alike(lambda m, t: getattr(m, name)(t, dim=(0, -2)), x, match="dim 0 appears multiple times")  # noqa: B023
    for name in ("amax", "amin", "max", "min", "argmax", "argmin", "aminmax"):
        refused_alike(lambda m, t: getattr(m, name)(t), empty)  # noqa: B023
        refused_alike(lambda m, t: getattr(m, name)(t, dim=0), empty, match="dim 0 to have non-zero size")  # noqa: B023
        compare(lambda m, t: getattr(m, name)(t, dim=1), empty, grad=False)  # noqa: B023
    for name in ("mean", "nanmean"):
        refused_alike(lambda m, t: getattr(m, name)(t), ints, match="dtype")  # noqa: B023
    refused_alike(lambda m, t: m.argmax(t), np.array([True]), match="does not support bool")
    refused_alike(lambda m, t: m.max(t, 1.5), x)
    refused_alike(lambda m, t: m.logsumexp(t, None), x)


def test_methods() -> None:
    x = arrays()[0]
    for name in ("sum", "mean", "prod", "amax", "argmax", "any", "all", "max", "min", "norm", "var", "std", "median"):
        compare(lambda m, t: getattr(t, name)(), x, n=60)  # noqa: B023
        if name not in ("any", "all"):
            compare(lambda m, t: getattr(t, name)(dim=1), x, n=60)  # noqa: B023
    compare(lambda m, t: t.sum(axis=0, keepdims=True), x, n=60)


def test_results_have_names() -> None:
    import graphc as gc

    values, places = gc.max(gc.tensor([[1.0, 3.0]]), 1)
    assert (values.item(), places.item()) == (3.0, 1)
    assert repr(gc.max(gc.tensor([1.0, 3.0]), 0)).startswith("graphc.return_types.max(\nvalues=")
    assert gc.aminmax(gc.tensor([1.0, 3.0])).max.item() == 3.0


def test_equal_and_allclose() -> None:
    x, y = np.array([1.0, NAN]), np.array([1.0, NAN])
    compare(lambda m, a, b: m.equal(a, b), x, y, grad=False)
    compare(lambda m, a: m.equal(a, a), x[:1], grad=False)
    compare(lambda m, a, b: m.allclose(a, b), x, y, grad=False)
    compare(lambda m, a, b: m.allclose(a, b, equal_nan=True), x, y, grad=False)
    compare(lambda m, a, b: m.allclose(a, b), np.array([1.0, 1.0 + 1e-6]), np.ones(2), grad=False)
    compare(lambda m, a, b: m.equal(a, b), np.zeros(3), np.zeros((1, 3)), grad=False)
    refused_alike(lambda m, a, b: m.allclose(a, b), np.zeros(2), np.zeros(2, np.float32), match="did not match")
    compare(lambda m, a, b: m.isin(a, b), np.arange(6).reshape(2, 3), np.array([[1, 5]]), grad=False)
    compare(lambda m, a, b: m.isin(a, b, invert=True), np.arange(6), np.array([1, 5]), grad=False)
    compare(lambda m, a: (m.isin(a, 2), m.isin(2, a)), np.arange(6), grad=False)
