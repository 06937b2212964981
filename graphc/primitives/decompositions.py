"""Decompositions of matrices by NumPy's LAPACK: no kernel of our own computes them, a compiled program does them in Python.

The rules are those of Giles 2008 (Cholesky, eigenvalues), Walter and Lehmann 2010 (QR), Townsend 2016 (SVD), de Hoog et al.
2011 (LU), Golub and Pereyra 1973 (pseudo-inverse).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphc.core.dims import same, size_min
from graphc.core.errors import DimensionError, DtypeError, ShapeError
from graphc.core.op import OUT, ErrorSample, Op, Sample, declare
from graphc.core.tensor_types import TensorType, int32, int64
from graphc.primitives.creation import full
from graphc.primitives.elementwise import equal, where
from graphc.primitives.equations import (
    LIBRARY,
    apart,
    as_column,
    as_row,
    by_matrix,
    diagonal_matrix,
    grid,
    lower,
    need_matrix,
    product,
    solve,
    solve_triangular,
    square_errors,
    square_samples,
    swapped,
    upper,
    with_attrs,
)  # fmt: skip
from graphc.primitives.indexing import scatter
from graphc.primitives.reductions import reduce_prod
from graphc.primitives.views import expand, slice_, zeros_of

# --- determinants -----------------------------------------------------------------------------------------------------


def _scalar_infer(x: TensorType) -> TensorType:
    need_matrix(x, square=True)
    return x.with_shape(x.shape[:-2])


def _determinant_vjp(g: Any, out: Any, x: Any) -> Any:
    """g times the cofactors, det(U V^T) U diag(products of the other singular values) V^T: also where x is singular."""
    u, s, vt = svd(x, complete=False)
    n = s.shape[-1]
    square = (*s.shape[:-1], n, n)
    row, column = grid(zeros_of(square, s.dtype))
    one = full(shape=(), value=1.0, dtype=s.dtype)
    others = reduce_prod(where(equal(row, column), one, expand(as_row(s), shape=square)), axes=(len(square) - 1,))
    turn = determinant(product(u, vt))
    return product(u * as_row(others), vt) * as_column(as_column(g * turn))


#: The determinant.
determinant: Op = declare(
    "determinant", infer=_scalar_infer, eval=lambda x: np.asarray(np.linalg.det(x), x.dtype), kind=LIBRARY,
    vjp=(_determinant_vjp,), saves=((0,),), samples=square_samples, errors=square_errors,
)  # fmt: skip


def _log_determinant_infer(x: TensorType) -> tuple[TensorType, TensorType]:
    return _scalar_infer(x), _scalar_infer(x)


def _log_determinant_eval(x: Any) -> tuple[Any, Any]:
    sign, size = np.linalg.slogdet(x)
    return np.asarray(sign, x.dtype), np.asarray(size, x.dtype)


def _log_determinant_vjp(g: Any, out: Any, x: Any) -> Any:
    eye = diagonal_matrix(full(shape=tuple(x.shape[:-1]), value=1.0, dtype=x.dtype))
    return solve(swapped(x), eye) * as_column(as_column(g[1]))


#: (sign, log of the absolute value) of the determinant.
log_determinant: Op = declare(
    "log_determinant", infer=_log_determinant_infer, eval=_log_determinant_eval, kind=LIBRARY,
    vjp=(_log_determinant_vjp,), saves=((0,),), n_outputs=2, samples=square_samples, errors=square_errors,
)  # fmt: skip


# --- triangular factors -----------------------------------------------------------------------------------------------


def _cholesky_infer(x: TensorType) -> tuple[TensorType, TensorType]:
    need_matrix(x, square=True)
    return x, TensorType(x.shape[:-2], int32)


def _cholesky_eval(x: Any) -> tuple[Any, Any]:
    info = np.zeros(x.shape[:-2], np.int32)
    out = np.full(x.shape, np.nan, x.dtype)
    even = (x + x.swapaxes(-1, -2)) / 2
    for at in np.ndindex(*x.shape[:-2]):
        if not np.isfinite(even[at]).all():
            info[at] = 1
            continue
        out[at], info[at] = _factor(even[at])
    return out, info


def _factor(x: Any) -> tuple[Any, int]:
    try:
        return np.linalg.cholesky(x), 0
    except np.linalg.LinAlgError:
        for k in range(1, len(x) + 1):  # the first leading block that is not positive definite
            try:
                np.linalg.cholesky(x[:k, :k])
            except np.linalg.LinAlgError:
                return np.nan, k
        raise


def _cholesky_vjp(g: Any, out: Any, x: Any) -> Any:
    factor = out[0]
    middle = lower(product(swapped(factor), g[0]))
    row, column = grid(middle)
    middle = where(equal(row, column), middle * 0.5, middle)
    back = swapped(factor)
    found = solve(back, swapped(solve(back, swapped(middle))))
    return (found + swapped(found)) * 0.5


def _definite_samples() -> Iterator[Sample]:
    for sample in square_samples():
        (x,) = sample.inputs
        yield Sample((x @ x.swapaxes(-1, -2) + np.eye(x.shape[-1], dtype=x.dtype),), {}, sample.smooth)
    yield Sample((np.asfortranarray(np.array([[4.0, 1.0], [1.0, 3.0]]))[::-1, ::-1],))
    yield Sample((np.array([[1.0, 0.0], [0.0, -1.0]]),), smooth=False)


#: (L, info) with L @ L.T the symmetric part of x; info > 0, and NaN, where that is not positive definite.
cholesky: Op = declare(
    "cholesky", infer=_cholesky_infer, eval=_cholesky_eval, kind=LIBRARY, vjp=(_cholesky_vjp,), saves=((OUT,),),
    n_outputs=2, samples=_definite_samples, errors=square_errors,
)  # fmt: skip


def _lu_infer(x: TensorType) -> tuple[TensorType, TensorType, TensorType]:
    need_matrix(x)
    count = size_min(x.shape[-2], x.shape[-1])
    return x, TensorType((*x.shape[:-2], count), int32), TensorType(x.shape[:-2], int32)


def _lu_eval(x: Any) -> tuple[Any, Any, Any]:
    m, n = x.shape[-2:]
    flat = np.array(x.reshape(-1, m, n)) if x.size else np.zeros((int(np.prod(x.shape[:-2])), m, n), x.dtype)
    batch, k = np.arange(len(flat)), min(m, n)
    pivots, info = np.zeros((len(flat), k), np.int32), np.zeros(len(flat), np.int32)
    with np.errstate(all="ignore"):
        for j in range(k):
            p = j + np.argmax(np.abs(flat[:, j:, j]), 1)
            pivots[:, j] = p + 1
            flat[batch, j], flat[batch, p] = flat[batch, p], flat[batch, j].copy()
            pivot = flat[:, j, j]
            info[(info == 0) & (pivot == 0)] = j + 1
            flat[:, j + 1 :, j] /= np.where(pivot == 0, 1, pivot)[:, None]
            flat[:, j + 1 :, j + 1 :] -= flat[:, j + 1 :, j, None] * flat[:, j, None, j + 1 :]
    lead = x.shape[:-2]
    return flat.reshape(x.shape), pivots.reshape(*lead, k), info.reshape(lead)


def _lu_vjp(g: Any, out: Any, x: Any) -> Any:
    packed, pivots, _ = out
    m, n = packed.shape[-2:]
    if isinstance(m - n, int) and m != n:
        raise ShapeError("the gradient of an LU decomposition is there for square matrices alone", f"got {m} by {n}")
    u = upper(packed)
    unit_lower = lower(packed, strict=True) + diagonal_matrix(
        full(shape=tuple(packed.shape[:-1]), value=1.0, dtype=x.dtype)
    )
    of_lower, of_upper = lower(g[0], strict=True), upper(g[0])
    middle = lower(product(swapped(unit_lower), of_lower), strict=True) + upper(product(of_upper, swapped(u)))
    left = solve_triangular(swapped(packed), middle, is_upper=True, unit=True)
    found = swapped(solve_triangular(u, swapped(left), is_upper=True, unit=False))
    order = expand(as_column(row_order(pivots, size=m)), shape=tuple(found.shape))
    return scatter(zeros_of(tuple(found.shape), x.dtype), order, found, axis=len(found.shape) - 2)


def _lu_samples() -> Iterator[Sample]:
    yield from square_samples()
    yield Sample((np.array([[0.0, 1.0], [0.0, 2.0]]),), smooth=False)


#: (L and U in one matrix, pivots from 1, info) with x[order] = L @ U; info > 0 where a pivot is 0.
lu_factor: Op = declare(
    "lu_factor", infer=_lu_infer, eval=_lu_eval, kind=LIBRARY, vjp=(_lu_vjp,), saves=((OUT,),), n_outputs=3,
    samples=_lu_samples, errors=lambda: (e for e in square_errors() if e.error is not ShapeError),
)  # fmt: skip


def _order_infer(pivots: TensorType, *, size: Any) -> TensorType:
    if pivots.ndim < 1 or pivots.dtype is not int32:
        raise DtypeError("Expected LU_pivots to be of type int32", f"i32[*, k], got {pivots}")
    return TensorType((*pivots.shape[:-1], size), int64)


def _order_errors() -> Iterator[ErrorSample]:
    yield ErrorSample((np.array([1, 2]),), {"size": 2}, DtypeError, "of type int32")


def _order_eval(pivots: Any, *, size: int) -> Any:
    flat = pivots.reshape(int(np.prod(pivots.shape[:-1])), pivots.shape[-1])
    order = np.tile(np.arange(size), (len(flat), 1))
    batch = np.arange(len(flat))
    for j in range(flat.shape[1]):
        p = flat[:, j] - 1
        order[batch, j], order[batch, p] = order[batch, p], order[batch, j].copy()
    return order.reshape(*pivots.shape[:-1], size).astype(np.int64)


def _order_samples() -> Iterator[Sample]:
    yield Sample((np.array([2, 3, 3], np.int32),), {"size": 3})
    yield Sample((np.array([[3, 2], [1, 4]], np.int32),), {"size": 4})
    yield Sample((np.array([[2, 1], [2, 2]], np.int32).T,), {"size": 2})
    yield Sample((np.zeros((0, 2), np.int32),), {"size": 2})


#: Row i of the factors is row order[i] of the matrix, from the pivots of `lu_factor`.
row_order: Op = declare(
    "row_order", infer=_order_infer, eval=_order_eval,
    kind=LIBRARY, samples=_order_samples, errors=_order_errors,
)  # fmt: skip


# --- orthogonal factors -----------------------------------------------------------------------------------------------


def _qr_infer(x: TensorType, *, complete: bool) -> tuple[TensorType, TensorType]:
    need_matrix(x)
    m, n = x.shape[-2:]
    inner = m if complete else size_min(m, n)
    return x.with_shape((*x.shape[:-1], inner)), x.with_shape((*x.shape[:-2], inner, n))


def _qr_eval(x: Any, *, complete: bool) -> tuple[Any, Any]:
    m, n = x.shape[-2:]
    inner = m if complete else min(m, n)
    if not n:
        q = np.broadcast_to(np.eye(m, inner, dtype=x.dtype), (*x.shape[:-1], inner)).copy()
        return q, np.zeros((*x.shape[:-2], inner, n), x.dtype)
    found = by_matrix(lambda a: np.linalg.qr(a, "complete" if complete else "reduced"), x, ((m, inner), (inner, n)))
    return found[0], found[1]


def _qr_vjp(g: Any, out: Any, x: Any, *, complete: bool) -> Any:
    q, r = out
    if complete and not _equal_sizes(*x.shape[-2:]):
        raise ShapeError("the derivative of qr depends on the part of Q that mode='complete' adds", "mode='reduced'")
    of_q, of_r = g[0], g[1]
    middle = product(of_r, swapped(r)) - product(swapped(q), of_q)
    part = upper(middle)
    even = part + swapped(upper(middle, strict=True))
    found = of_q + product(q, even)
    return swapped(solve_triangular(r, swapped(found), is_upper=True, unit=False))


def _equal_sizes(a: Any, b: Any) -> bool:
    gap = a - b
    return isinstance(gap, int) and gap == 0


def _tall_samples() -> Iterator[Sample]:
    rng = np.random.default_rng(8)
    yield from square_samples()
    yield Sample((rng.normal(size=(4, 3)) + np.eye(4, 3) * 2,))
    yield Sample((rng.normal(size=(2, 3, 2)) + np.eye(3, 2) * 2,))
    yield Sample((np.zeros((3, 0)),))


#: (Q, R) with Q @ R = x; a wide matrix is taken apart by functions/decompositions.py, so that its gradient is known.
qr: Op = declare(
    "qr", infer=_qr_infer, eval=_qr_eval, kind=LIBRARY, vjp=(_qr_vjp,), saves=((OUT,),), n_outputs=2,
    samples=with_attrs(_tall_samples, complete=False),
    errors=with_attrs(lambda: (e for e in square_errors() if e.error is not ShapeError), complete=False),
)  # fmt: skip


def _eigh_infer(x: TensorType) -> tuple[TensorType, TensorType]:
    need_matrix(x, square=True)
    return x.with_shape(x.shape[:-1]), x


def _eigh_eval(x: Any) -> tuple[Any, Any]:
    n = x.shape[-1]
    even = (x + x.swapaxes(-1, -2)) / 2
    found = (
        by_matrix(np.linalg.eigh, even, ((n,), (n, n))) if n else (np.zeros(x.shape[:-1], x.dtype), np.zeros_like(x))
    )
    return found[0], found[1]


def _eigh_vjp(g: Any, out: Any, x: Any) -> Any:
    values, vectors = out
    turn = product(swapped(vectors), g[1]) / apart(as_row(values) - as_column(values))
    middle = diagonal_matrix(g[0]) + upper(turn, strict=True) + lower(turn, strict=True)
    found = product(vectors, middle, swapped(vectors))
    return (found + swapped(found)) * 0.5


#: (eigenvalues, rising, and eigenvectors as columns) of the symmetric part of x.
eigh: Op = declare(
    "eigh", infer=_eigh_infer, eval=_eigh_eval, kind=LIBRARY, vjp=(_eigh_vjp,), saves=((OUT,),), n_outputs=2,
    samples=square_samples, errors=square_errors,
)  # fmt: skip


def _svd_infer(x: TensorType, *, complete: bool) -> tuple[TensorType, ...]:
    need_matrix(x)
    m, n = x.shape[-2:]
    k = size_min(m, n)
    lead = x.shape[:-2]
    return (
        x.with_shape((*lead, m, m if complete else k)),
        x.with_shape((*lead, k)),
        x.with_shape((*lead, n if complete else k, n)),
    )


def _svd_eval(x: Any, *, complete: bool) -> tuple[Any, Any, Any]:
    m, n = x.shape[-2:]
    k = min(m, n)
    shapes = (m, m if complete else k), (k,), (n if complete else k, n)
    if not k:
        eyes = (np.eye(*shape, dtype=x.dtype) for shape in (shapes[0], shapes[2]))
        u, vt = (np.broadcast_to(e, (*x.shape[:-2], *e.shape)).copy() for e in eyes)
        return u, np.zeros((*x.shape[:-2], 0), x.dtype), vt
    found = by_matrix(lambda a: np.linalg.svd(a, full_matrices=complete), x, shapes)
    return found[0], found[1], found[2]


def _svd_vjp(g: Any, out: Any, x: Any, *, complete: bool) -> Any:
    u, s, vt = out
    m, n = x.shape[-2:]
    k = s.shape[-1]
    if complete:  # no gradient goes to what completes the bases
        u, vt = _cut(u, -1, k), _cut(vt, -2, k)
    of_u, of_vt = _cut(g[0], -1, k), _cut(g[2], -2, k)
    squares = s * s
    gaps = apart(as_row(squares) - as_column(squares))
    left, right = product(swapped(u), of_u), product(vt, swapped(of_vt))
    middle = diagonal_matrix(g[1]) + (left - swapped(left)) / gaps * as_row(s)
    middle = middle + as_column(s) * ((right - swapped(right)) / gaps)
    found = product(u, middle, vt)
    if not _equal_sizes(m, k):
        rest = of_u / as_row(apart(s))
        found = found + product(rest - product(u, product(swapped(u), rest)), vt)
    if not _equal_sizes(n, k):
        rest = of_vt / as_column(apart(s))
        found = found + product(u, rest - product(product(rest, swapped(vt)), vt))
    return found


def _cut(x: Any, axis: int, size: Any) -> Any:
    at = axis % len(x.shape)
    limits = tuple(size if i == at else n for i, n in enumerate(x.shape))
    ones = (1,) * len(x.shape)
    return slice_(x, starts=(0,) * len(x.shape), limits=limits, strides=ones)


def _svd_samples() -> Iterator[Sample]:
    for sample in _tall_samples():
        yield Sample(sample.inputs, {"complete": False}, sample.smooth)
    yield Sample((np.random.default_rng(9).normal(size=(2, 3)) + np.eye(2, 3) * 2,), {"complete": False})


#: (U, singular values, falling, V transposed) with U @ diag(S) @ Vt = x.
svd: Op = declare(
    "svd", infer=_svd_infer, eval=_svd_eval, kind=LIBRARY, vjp=(_svd_vjp,), saves=((OUT,),), n_outputs=3,
    samples=_svd_samples,
    errors=with_attrs(lambda: (e for e in square_errors() if e.error is not ShapeError), complete=False),
)  # fmt: skip


# --- inverses and exponentials ----------------------------------------------------------------------------------------


def _pseudo_infer(x: TensorType, cut: TensorType) -> TensorType:
    need_matrix(x)
    need = f"{x.with_shape(x.shape[:-2])}, got {cut}"
    if cut.ndim != x.ndim - 2 or cut.dtype is not x.dtype:
        raise ShapeError("one number for each matrix", need)
    for a, b in zip(cut.shape, x.shape, strict=False):
        same(a, b, "one number for each matrix", need)
    return x.with_shape((*x.shape[:-2], x.shape[-1], x.shape[-2]))


def _pseudo_eval(x: Any, cut: Any) -> Any:
    u, s, vt = _svd_eval(x, complete=False)
    with np.errstate(all="ignore"):
        inverse = np.where(s > cut[..., None], 1 / s, np.where(np.isnan(s), s, 0)).astype(x.dtype)
    return vt.swapaxes(-1, -2) @ (inverse[..., None] * u.swapaxes(-1, -2))


def _pseudo_vjp(g: Any, out: Any, x: Any, cut: Any) -> Any:
    inverse, turned, back = out, swapped(out), swapped(g)
    square = product(turned, inverse), product(inverse, turned)
    found = -product(turned, g, turned)
    found = found + product(back - product(x, product(inverse, back)), square[1])
    return found + product(square[0], back - product(product(back, inverse), x))


def _pseudo_samples() -> Iterator[Sample]:
    for sample in _svd_samples():
        (x,) = sample.inputs
        yield Sample((x, np.full(x.shape[:-2], 1e-6, x.dtype)), {}, sample.smooth)
    yield Sample((np.array([[1.0, 2.0], [2.0, 4.0]]), np.array(1e-6)), smooth=False)


def _pseudo_errors() -> Iterator[ErrorSample]:
    yield ErrorSample((np.zeros(3), np.array(0.0)), {}, DimensionError, "matrices expected")
    yield ErrorSample((np.zeros((2, 2)), np.zeros(2)), {}, ShapeError, "one number for each matrix")


#: The pseudo-inverse of Moore and Penrose; singular values up to `cut`, one number a matrix, count as 0.
pseudo_inverse: Op = declare(
    "pseudo_inverse", infer=_pseudo_infer, eval=_pseudo_eval, kind=LIBRARY, vjp=(_pseudo_vjp, None),
    saves=((0, OUT), ()), samples=_pseudo_samples, errors=_pseudo_errors,
)  # fmt: skip


__all__ = [
    "cholesky", "determinant", "eigh", "log_determinant", "lu_factor", "pseudo_inverse", "qr", "row_order", "svd",
]  # fmt: skip
