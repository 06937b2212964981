"""Matrix products, einsum and what is made of them: values, dtypes, gradients and refusals as in PyTorch."""

from __future__ import annotations

import warnings
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from side_by_side import agree, pair, refuse

import graphc as gc

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

RNG = np.random.default_rng(0)


def a(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


ONE = np.array(1.5)
PRODUCTS = {
    "matmul": (lambda m, x, y: m.matmul(x, y), a(2, 3), a(3, 4)),
    "matmul-operator": (lambda m, x, y: x @ y, a(2, 3), a(3, 4)),
    "matmul-transposed": (lambda m, x, y: x.t() @ y.t(), a(3, 2), a(4, 3)),
    "matmul-1d": (lambda m, x, y: x.matmul(y), a(3), a(3)),
    "matmul-2d-1d": (lambda m, x, y: x @ y, a(2, 3), a(3)),
    "matmul-1d-2d": (lambda m, x, y: x @ y, a(3), a(3, 2)),
    "matmul-3d-1d": (lambda m, x, y: x @ y, a(2, 4, 3), a(3)),
    "matmul-1d-3d": (lambda m, x, y: x @ y, a(3), a(2, 3, 4)),
    "matmul-3d-2d": (lambda m, x, y: x @ y, a(2, 4, 3), a(3, 2)),
    "matmul-2d-3d": (lambda m, x, y: x @ y, a(4, 3), a(2, 3, 2)),
    "matmul-batch": (lambda m, x, y: x @ y, a(2, 1, 2, 3), a(3, 3, 2)),
    "matmul-empty": (lambda m, x, y: x @ y, a(2, 0), a(0, 3)),
    "matmul-no-rows": (lambda m, x, y: x @ y, a(0, 3), a(3, 2)),
    "mm": (lambda m, x, y: (m.mm(x, y), x.mm(y)), a(2, 3), a(3, 4)),
    "bmm": (lambda m, x, y: (m.bmm(x, y), x.bmm(y)), a(2, 3, 4), a(2, 4, 2)),
    "mv": (lambda m, x, y: m.mv(x, y), a(2, 3), a(3)),
    "dot": (lambda m, x, y: (m.dot(x, y), x.vdot(y)), a(4), a(4)),
    "inner": (lambda m, x, y: m.inner(x, y), a(2, 3), a(4, 3)),
    "inner-nd": (lambda m, x, y: m.inner(x, y), a(2, 2, 3), a(3)),
    "inner-0d": (lambda m, x, y: m.inner(x, y), a(2, 3), ONE),
    "outer": (lambda m, x, y: (m.outer(x, y), x.ger(y)), a(2), a(3)),
    "addmm": (lambda m, z, x, y: m.addmm(z, x, y), a(2), a(2, 3), a(3, 2)),
    "addmm-scaled": (lambda m, z, x, y: z.addmm(x, y, beta=2, alpha=3), a(2, 2), a(2, 3), a(3, 2)),
    "addmv": (lambda m, z, x, y: m.addmv(z, x, y, alpha=2), a(2), a(2, 3), a(3)),
    "addbmm": (lambda m, z, x, y: m.addbmm(z, x, y, beta=2), a(2, 2), a(3, 2, 3), a(3, 3, 2)),
    "baddbmm": (lambda m, z, x, y: m.baddbmm(z, x, y, alpha=2), a(2), a(3, 2, 3), a(3, 3, 2)),
    "addr": (lambda m, z, x, y: m.addr(z, x, y, beta=2, alpha=3), a(2, 3), a(2), a(3)),
    "tensordot": (lambda m, x, y: m.tensordot(x, y), a(2, 3, 4), a(3, 4, 2)),
    "tensordot-one": (lambda m, x, y: m.tensordot(x, y, dims=1), a(2, 3), a(3, 2)),
    "tensordot-none": (lambda m, x, y: m.tensordot(x, y, dims=0), a(2, 3), a(2)),
    "tensordot-lists": (lambda m, x, y: m.tensordot(x, y, dims=([2, 0], [0, 1])), a(2, 3, 4), a(4, 2, 5)),
    "tensordot-stretched": (lambda m, x, y: m.tensordot(x, y, dims=([1], [0])), a(2, 3), a(1, 2)),
    "kron": (lambda m, x, y: m.kron(x, y), a(2, 3), a(2, 2)),
    "kron-mixed": (lambda m, x, y: m.kron(x, y), a(2, 3), a(2)),
    "trace": (lambda m, x: (m.trace(x), x.t().trace()), a(2, 3)),
    "cross": (lambda m, x, y: m.cross(x, y, dim=-1), a(2, 3), a(2, 3)),
    "cross-first": (lambda m, x, y: m.cross(x, y, dim=0), a(3, 4), a(3, 1)),
    "matrix_power": (lambda m, x: [m.matrix_power(x, n) for n in range(1, 4)], a(3, 3)),
    "matrix_power-batch": (lambda m, x: x.matrix_power(3), a(2, 2, 2)),
}


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.int8])
def test_same_as_pytorch(name: str, dtype: Any) -> None:
    code, *arrays = PRODUCTS[name]
    agree(torch, code, *((x * 3).astype(dtype) for x in arrays), n=64, scale=100.0)


def test_powers() -> None:
    # PyTorch's own backward of these fails: it writes into what it has saved
    agree(torch, lambda m, x: [m.matrix_power(x, n) for n in (0, 4, 5, 6)], a(3, 3), grad=False, n=64)
    for x in (a(3), np.arange(3), np.arange(3, dtype=np.int8)):
        agree(torch, lambda m, x: (m.vander(x), m.vander(x, 2), m.vander(x, N=4, increasing=True)), x, grad=False)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("name", ["matmul", "matmul-3d-1d", "bmm", "addmm", "inner", "tensordot"])
def test_half_precision_is_like_pytorch(name: str, dtype: Any) -> None:
    code, *arrays = PRODUCTS[name]
    agree(torch, code, *(x.astype(dtype) for x in arrays), n=4)


def test_beta_zero_hides_nan() -> None:
    code = lambda m, z, x, y: (m.addmm(z, x, y, beta=0), z.addmv(x, y[:, 0], beta=0))  # noqa: E731
    agree(torch, code, np.full(2, np.nan), a(2, 3), a(3, 2), grad=False)


EINSUMS: dict[str, tuple[str, ...]] = {
    "ij,jk->ik": ("23", "34"),
    "ij,jk": ("23", "34"),
    "ij,kj->ki": ("23", "43"),
    "ij->ji": ("23",),
    "ba": ("23",),
    "bA": ("23",),
    "ii": ("33",),
    "ii->i": ("33",),
    "iij->j": ("332",),
    "ijij->j": ("2323",),
    "ij->": ("23",),
    "ij->i": ("23",),
    "i,j->ij": ("2", "3"),
    "i,i->": ("3", "3"),
    "i,i->i": ("3", "3"),
    "bij,bjk->bik": ("223", "234"),
    "bij,bjk->ik": ("223", "234"),
    "bhqd,bhkd->bhqk": ("2234", "2224"),
    "ij,jk,kl->il": ("23", "34", "42"),
    "ij,jk,kl,lm->im": ("22", "23", "32", "24"),
    "bn,anm,bm->ba": ("23", "434", "24"),
    "ij,ij->ij": ("23", "13"),
    "ij,jk->ik ": ("23", "12"),
    "i...,i...->...": ("234", "234"),
    "...ij,...jk->...ik": ("2223", "234"),
    "...i->...": ("234",),
    "i...": ("23",),
    "...": ("23",),
    "...ii->...i": ("233",),
    "i...->i": ("23",),
    "ij->...": ("23",),
    "b...,...->b...": ("234", "34"),
    "i j , jk -> i k": ("23", "34"),
    ",->": ("", ""),
    ",i->i": ("", "3"),
    "->": ("",),
    "i,j,k->kji": ("2", "3", "4"),
    "abc,cd->abd": ("234", "42"),
    "ab,bc->abc": ("23", "34"),
    "i,ij->j": ("0", "03"),
}


@pytest.mark.parametrize("equation", EINSUMS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_einsum(equation: str, dtype: Any) -> None:
    arrays = [a(*map(int, sizes)).astype(dtype) for sizes in EINSUMS[equation]]
    agree(torch, lambda m, *xs: m.einsum(equation, *xs), *arrays, n=16, scale=10.0)


def test_einsum_of_integers_and_forms() -> None:
    x, y = np.arange(6).reshape(2, 3), np.arange(12).reshape(3, 4)
    agree(torch, lambda m, x, y: (m.einsum("ij,jk->ik", x, y), m.einsum("ij->i", x)), x, y)
    agree(torch, lambda m, x, y: m.einsum("ij,jk->ik", [x, y]), x, y)
    agree(torch, lambda m, x, y: (m.einsum(x, [0, 1], y, [1, 2], [0, 2]), m.einsum(x, [0, 1], y, [1, 2])), x, y)
    agree(torch, lambda m, x: (m.einsum(x, [0, ...], [..., 0]), m.einsum(x, [30, 2])), x)


EINSUMS_REFUSED = {
    "sizes": ("ij,jk->ik", "23", "23"),
    "output-unknown": ("ij,jk->iq", "23", "32"),
    "output-twice": ("ij,jk->ii", "23", "32"),
    "letters-many": ("ijk", "23"),
    "letters-few": ("i", "23"),
    "operands-few": ("ij,jk", "23"),
    "operands-many": ("ij", "23", "23"),
    "digit": ("i1", "23"),
    "dots": ("..i..", "23"),
    "diagonal": ("ii", "23"),
}


@pytest.mark.parametrize("name", EINSUMS_REFUSED)
def test_einsum_refuses(name: str) -> None:
    equation, *shapes = EINSUMS_REFUSED[name]
    refuse(torch, lambda m, *xs: m.einsum(equation, *xs), *(a(*map(int, s)) for s in shapes), match="einsum")


REFUSED = {
    "matmul-inner": (lambda m, x: m.matmul(x, x), a(2, 3)),
    "matmul-0d": (lambda m, x: m.matmul(x, m.tensor(1.0)), a(2, 3)),
    "matmul-dtype": (lambda m, x: x @ x.t().float(), a(2, 3)),
    "matmul-1d": (lambda m, x: x[0] @ m.zeros(4, dtype=m.float64), a(2, 3)),
    "matmul-2d-1d": (lambda m, x: x @ m.zeros(4, dtype=m.float64), a(2, 3)),
    "matmul-batch": (lambda m, x, y: x @ y, a(2, 2, 3), a(3, 3, 2)),
    "matmul-bool": (lambda m, x: (x > 0) @ (x > 0).t(), a(2, 3)),
    "mm-1d": (lambda m, x: m.mm(x, x[0]), a(2, 3)),
    "mm-inner": (lambda m, x: m.mm(x, x), a(2, 3)),
    "bmm-2d": (lambda m, x: m.bmm(x, x), a(2, 3)),
    "bmm-batch": (lambda m, x, y: m.bmm(x, y), a(1, 2, 3), a(3, 3, 2)),
    "mv-2d": (lambda m, x: m.mv(x, x), a(2, 3)),
    "mv-size": (lambda m, x: m.mv(x, x[:, 0]), a(2, 3)),
    "dot-2d": (lambda m, x: m.dot(x, x), a(2, 3)),
    "dot-size": (lambda m, x: m.dot(x[0], x[:, 0]), a(2, 3)),
    "dot-dtype": (lambda m, x: m.dot(x[0], x[0].float()), a(2, 3)),
    "dot-number": (lambda m, x: m.dot(x[0], 3), a(2, 3)),
    "inner": (lambda m, x: m.inner(x, x[:, 0]), a(2, 3)),
    "outer": (lambda m, x: m.outer(x, x[0]), a(2, 3)),
    "outer-vec2": (lambda m, x: m.outer(x[0], x), a(2, 3)),
    "addmm-size": (lambda m, x: m.addmm(x[0], x, x.t()), a(2, 3)),
    "addmm-dtype": (lambda m, x: m.addmm(x[:, 0].long(), x, x.t()), a(2, 3)),
    "einsum-nothing": (lambda m: m.einsum(""),),
    "tensordot-dims": (lambda m, x: m.tensordot(x, x, dims=3), a(2, 3)),
    "tensordot-negative": (lambda m, x: m.tensordot(x, x, dims=-1), a(2, 3)),
    "tensordot-sizes": (lambda m, x: m.tensordot(x, x, dims=([1], [0])), a(2, 3)),
    "tensordot-lists": (lambda m, x: m.tensordot(x, x, dims=([1], [1, 0])), a(2, 3)),
    "trace": (lambda m, x: m.trace(x[0]), a(2, 3)),
    "cross-size": (lambda m, x: m.cross(x, x, dim=0), a(2, 3)),
    "cross-ndim": (lambda m, x: m.cross(x, x[0], dim=-1), a(2, 3)),
    "cross-dtype": (lambda m, x: m.cross(x, x.long(), dim=-1), a(2, 3)),
    "vander": (lambda m, x: m.vander(x), a(2, 3)),
    "matrix_power": (lambda m, x: m.matrix_power(x, 2), a(2, 3)),
    "cdist-columns": (lambda m, x: m.cdist(x, x[:, :2]), a(2, 3)),
    "cdist-1d": (lambda m, x: m.cdist(x[0], x), a(2, 3)),
    "cdist-int": (lambda m, x: m.cdist(x.long(), x.long()), a(2, 3)),
    "cdist-p": (lambda m, x: m.cdist(x, x, p=-1), a(2, 3)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_what_pytorch_refuses(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refuse(torch, *REFUSED[name])


@pytest.mark.parametrize("p", [2.0, 1.0, 0.0, float("inf"), 3.0, 0.5])
def test_cdist(p: float) -> None:
    agree(torch, lambda m, x, y: m.cdist(x, y, p=p), a(4, 3), a(5, 3), grad=p > 0, n=16)
    agree(torch, lambda m, x, y: m.cdist(x, y, p), a(2, 4, 3), a(2, 5, 3), grad=p > 0, n=16)


def test_cdist_has_no_gradient_at_zero() -> None:
    x = a(3, 2)
    agree(torch, lambda m, x, y: m.cdist(x, y), x, x.copy(), n=16)


def test_chains() -> None:
    arrays = [a(10, 3), a(3, 8), a(8, 2), a(2, 5)]
    agree(torch, lambda m, *xs: chained(m)(xs), *arrays, n=64)
    agree(torch, lambda m, *xs: chained(m)(xs), a(10), a(10, 3), a(3), n=64)
    agree(torch, lambda m, *xs: chained(m)(xs), a(2, 3), a(3), n=16)


def chained(m: Any) -> Any:
    return m.linalg.multi_dot if m is torch else gc.functions.linalg.multi_dot


def test_trace_of_integers_is_int64() -> None:
    agree(torch, lambda m, x: m.trace(x), np.arange(6, dtype=np.int32).reshape(2, 3))


def test_errors_name_both_operands() -> None:
    x, _ = pair(torch, a(2, 3))
    with pytest.raises(gc.core.errors.ShapeError) as caught:
        x @ x
    text = str(caught.value)
    for part in (
        "matmul: inner sizes differ",
        "a: f64[2, 3]",
        "b: f64[2, 3]",
        "need a.shape[-1] == b.shape[-2], got 3 and 2",
    ):
        assert part in text
