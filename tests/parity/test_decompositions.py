"""Solvers and decompositions of matrices against PyTorch: values, dtypes, gradients, refusals; eager and compiled.

The signs of singular vectors and eigenvectors are LAPACK's to choose: what is compared does not depend on them.
"""

from __future__ import annotations

import logging

import numpy as np
import pytest
from side_by_side import agree, compare, flat, pair, refuse

import graphc as gc

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

RNG = np.random.default_rng(3)


def a(*shape):
    return RNG.normal(size=shape)


def well(n, *lead):
    return a(*lead, n, n) + np.eye(n) * 3


def definite(n, *lead):
    x = a(*lead, n, n)
    return x @ x.swapaxes(-1, -2) + np.eye(n) * 2


def spread(u, s, vt):
    """What is left of a decomposition whatever signs its vectors have."""
    return s, u.abs(), vt.abs(), u @ vt


L = lambda m: m.linalg  # noqa: E731
SINGULAR = np.outer([1.0, 2, 3], [1, 0, 2]) + np.outer([1.0, 0, 1], [0, 1, 1])
CASES = {
    "det": (lambda m, x: (m.det(x), L(m).det(x), x.det()), well(3, 2)),
    "det of a singular matrix": (lambda m, x: m.det(x), SINGULAR),
    "slogdet": (lambda m, x: (*L(m).slogdet(x), *m.slogdet(x), x.slogdet().logabsdet), well(3, 2)),
    "logdet": (lambda m, x: (m.logdet(x), x.logdet()), definite(3, 2)),
    "logdet of a negative determinant": (lambda m, x: m.logdet(x.detach()), np.diag([1.0, -2.0])),
    "inv": (lambda m, x: (L(m).inv(x), m.inverse(x), x.inverse(), *L(m).inv_ex(x)), well(3, 2)),
    "solve": (lambda m, x, y: (L(m).solve(x, y), *L(m).solve_ex(x, y)), well(3, 2), a(2, 3, 2)),
    "solve a vector": (lambda m, x, y: L(m).solve(x, y), well(3, 2), a(2, 3)),
    "solve from the right": (lambda m, x, y: L(m).solve(x, y, left=False), well(3), a(2, 3)),
    "solve broadcast": (lambda m, x, y: L(m).solve(x, y), well(3), a(4, 3, 2)),
    "solve_triangular": (
        lambda m, x, y: (
            L(m).solve_triangular(x, y, upper=True),
            L(m).solve_triangular(x, y, upper=False, unitriangular=True),
            L(m).solve_triangular(x, y.mT, upper=True, left=False),
        ),
        well(3, 2),
        a(2, 3, 2),
    ),
    "triangular_solve": (
        lambda m, x, y: (m.triangular_solve(y, x, upper=False, transpose=True)[0], y.triangular_solve(x).solution),
        well(3, 2),
        a(2, 3, 2),
    ),
    "cholesky": (lambda m, x: (L(m).cholesky(x), m.cholesky(x, upper=True), x.cholesky(), *L(m).cholesky_ex(x)), definite(3)),
    "cholesky_solve": (
        lambda m, x, y: (
            m.cholesky_solve(y, L(m).cholesky(x)),
            y.cholesky_solve(L(m).cholesky(x, upper=True), True),
            m.cholesky_inverse(L(m).cholesky(x)),
            L(m).cholesky(x).cholesky_inverse(),
        ),
        definite(3, 2),
        a(2, 3, 2),
    ),
    "qr": (lambda m, x: (*L(m).qr(x), *m.qr(x), *x.qr()), a(2, 4, 3)),
    "qr of a wide matrix": (lambda m, x: (*L(m).qr(x),), a(2, 3, 5)),
    "qr of a square matrix": (lambda m, x: (*L(m).qr(x, "complete"), L(m).qr(x, mode="r")[1].detach()), well(3)),
    "eigh": (lambda m, x: (L(m).eigh(x)[0], L(m).eigh(x)[1].abs(), L(m).eigvalsh(x, UPLO="U")), definite(3, 2)),
    "svd": (lambda m, x: spread(*L(m).svd(x, full_matrices=False)), a(4, 3)),
    "svd of a wide matrix": (lambda m, x: (spread(*L(m).svd(x, full_matrices=False)), x.svd()[1]), a(2, 3, 4)),
    "svd with all vectors": (lambda m, x: (L(m).svd(x)[1], [v.detach().abs() for v in L(m).svd(x[:, :3])]), a(2, 3, 4)),
    "older svd": (lambda m, x: (m.svd(x)[1], m.svd(x)[0].abs(), m.svd(x, compute_uv=False)[1]), a(2, 4, 3)),
    "svdvals": (lambda m, x: L(m).svdvals(x), a(2, 3, 4)),
    "pinv": (lambda m, x: (L(m).pinv(x), m.pinverse(x), x.pinverse()), a(2, 3, 4)),
    "pinv cut": (lambda m, x: (L(m).pinv(x, rtol=0.3), L(m).pinv(x, atol=0.1)), a(4, 3)),
    "lstsq": (lambda m, x, y: L(m).lstsq(x, y).solution, a(2, 5, 3), a(2, 5, 2)),
    "matrix_rank": (lambda m, x: (L(m).matrix_rank(x), L(m).matrix_rank(x @ x.mT)), a(2, 5, 3)),
    "matrix_exp": (lambda m, x: (L(m).matrix_exp(x), m.matrix_exp(x * 2), x.matrix_exp()), a(2, 3, 3)),
    "matrix_power": (lambda m, x: (L(m).matrix_power(x, -1), m.matrix_power(x, -3)), well(3)),
    "matrix norms": (
        lambda m, x: (
            L(m).matrix_norm(x, "nuc"), L(m).matrix_norm(x, 2, keepdim=True), L(m).matrix_norm(x, -2, dim=(0, 1)),
            L(m).norm(x[0], "nuc"), m.norm(x[0], "nuc"),
        ),
        a(2, 5, 3),
    ),
    "cond": (lambda m, x: (L(m).cond(x), L(m).cond(x, -2), L(m).cond(x.detach(), 1), L(m).cond(x.detach(), "fro")), well(3, 2)),
    "lu": (lambda m, x: (L(m).lu(x), L(m).lu_factor(x)), a(2, 3, 3)),
    "lu of other shapes": (lambda m, x: (L(m).lu(x.detach()), L(m).lu(x.mT.detach()), L(m).lu_factor_ex(x.detach())), a(4, 3)),
    "lu_unpack": (lambda m, x: m.lu_unpack(*L(m).lu_factor(x)), a(3, 3)),
    "lu_solve": (
        lambda m, x, y: (
            L(m).lu_solve(*L(m).lu_factor(x), y), m.lu_solve(y, *L(m).lu_factor(x)), y.lu_solve(*L(m).lu_factor(x)),
            L(m).lu_solve(*L(m).lu_factor(x), y, adjoint=True), L(m).lu_solve(*L(m).lu_factor(x), y.mT, left=False),
        ),
        well(3, 2),
        a(2, 3, 2),
    ),
    "householder_product": (lambda m, x, t: L(m).householder_product(x, t), a(2, 4, 3), a(2, 2)),
    "tensorinv": (lambda m, x: L(m).tensorinv(x, 1), a(6, 2, 3)),
}  # fmt: skip
CASES["tensorsolve"] = (lambda m, x, y: L(m).tensorsolve(x, y), a(2, 3, 6), a(2, 3))
CASES["tensorsolve moved"] = (lambda m, x, y: L(m).tensorsolve(x, y, dims=(0,)), a(6, 2, 3), a(2, 3))


@pytest.mark.parametrize("name", CASES)
def test_same_as_pytorch(name):
    code, *arrays = CASES[name]
    agree(torch, code, *arrays, n=1024, scale=20.0)
    narrow = [x.astype(np.float32) for x in arrays]
    if "singular" not in name and "rank" not in name:
        agree(torch, code, *narrow, n=1024, scale=20.0)


@pytest.mark.parametrize("name", CASES)
def test_compiled_as_eager(name):
    code, *arrays = CASES[name]
    xs = [pair(torch, x)[0] for x in arrays]
    want = code(gc, *xs)
    for backend in ("llvm", "numpy"):
        found = gc.compile(lambda *xs: code(gc, *xs), backend=backend)(*xs)
        for p, q in zip(flat(found), flat(want), strict=True):
            compare(p, torch.tensor(q.numpy()), n=64, scale=10.0)


def test_a_step_of_python_in_a_compiled_gradient():
    x = gc.tensor(definite(4))

    def code(x):
        x = x.detach().requires_grad_()
        y = gc.linalg.solve(x, gc.ones(4, 1, dtype=gc.float64)).sum() + gc.slogdet(x)[1]
        return gc.autograd.grad(y, [x])[0]

    compare(gc.compile(code)(x), torch.tensor(code(x).numpy()), n=64)


@pytest.mark.opencl
def test_on_a_device(caplog):
    x = gc.tensor(definite(3).astype(np.float32))
    with caplog.at_level(logging.WARNING):
        found = gc.compile(lambda x: gc.linalg.inv(x) * 2)(x.to("opencl"))
    compare(found.cpu(), torch.tensor((gc.linalg.inv(x) * 2).numpy()), n=16)
    assert "done by Python" in caplog.text


def test_repeated_singular_values_have_finite_gradients():
    for code in (lambda m, x: m.linalg.matrix_norm(x, "nuc"), lambda m, x: m.linalg.eigvalsh(x).square().sum()):
        agree(torch, code, np.eye(3), n=16)


def test_least_squares_parts():
    x, y = a(5, 3), a(5, 2)
    for driver in (None, "gelsy", "gels", "gelsd", "gelss"):
        mine, its = (m.linalg.lstsq(m.tensor(x.tolist()), m.tensor(y.tolist()), driver=driver) for m in (gc, torch))
        assert [tuple(p.shape) for p in mine] == [tuple(q.shape) for q in its], driver
        for p, q in zip(mine, its, strict=True):
            compare(p, q, n=1024)


def test_results_have_names():
    x = gc.tensor(definite(3))
    for name in ("slogdet", "qr", "svd", "eigh", "lu", "lu_factor", "cholesky_ex", "inv_ex", "lu_factor_ex"):
        mine, its = getattr(gc.linalg, name)(x), getattr(torch.linalg, name)(torch.tensor(x.numpy()))
        names = [n for n in dir(type(its)) if not n.startswith("_") and n not in dir(tuple)]
        assert {n for n in names if n.startswith("n_") is False} <= set(mine._fields) | {"n_fields"}
        assert type(mine).__name__ == type(its).__name__


REFUSED = {
    "not square": lambda m: m.linalg.inv(m.zeros(2, 3)),
    "a vector": lambda m: m.linalg.det(m.zeros(3)),
    "whole numbers": lambda m: m.linalg.inv(m.ones(2, 2, dtype=m.int64)),
    "rows": lambda m: m.linalg.solve(m.eye(2), m.ones(3, 1)),
    "dtypes": lambda m: m.linalg.solve(m.eye(2), m.ones(2, 1, dtype=m.float64)),
    "qr mode": lambda m: m.linalg.qr(m.eye(2), "full"),
    "uplo": lambda m: m.linalg.eigh(m.eye(2), "X"),
    "driver": lambda m: m.linalg.lstsq(m.eye(2), m.ones(2, 1), driver="best"),
    "svd driver": lambda m: m.linalg.svd(m.eye(2), driver="gesvd"),
    "ind": lambda m: m.linalg.tensorinv(m.eye(2), 0),
    "order": lambda m: m.linalg.matrix_norm(m.eye(2), 3),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_are_of_pytorchs_kind(name):
    refuse(torch, REFUSED[name])


def test_the_error_class_is_pytorchs():
    for m in (gc, torch):
        with pytest.raises(m.linalg.LinAlgError, match="positive-definite"):
            m.linalg.cholesky(m.tensor([[1.0, 0.0], [0.0, -1.0]]))
        for code in (lambda m: m.linalg.inv(m.zeros(2, 2)), lambda m: m.linalg.solve(m.zeros(2, 2), m.ones(2, 1))):
            with pytest.raises(m.linalg.LinAlgError, match="singular"):
                code(m)
        assert m.linalg.cholesky_ex(m.tensor([[1.0, 0.0], [0.0, -1.0]])).info.item() == 2
