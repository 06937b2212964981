"""`torch.linalg`: norms, products and powers here; solvers and decompositions from functions/decompositions.py."""

from __future__ import annotations

from typing import Any

from graphc.core.autocast import CPU_FULL, LOWER, casts
from graphc.core.errors import DimensionError, DtypeError, LinAlgError, ShapeError
from graphc.core.lazy import lazy_attributes
from graphc.core.tensor_types import FLOAT, as_dtype
from graphc.functions.arithmetic import div, mul
from graphc.functions.axes import normalize_dim
from graphc.functions.decompositions import (
    cholesky_ex,
    det,
    eigh,
    eigvalsh,
    householder_product,
    inv,
    inv_ex,
    lstsq,
    lu,
    lu_factor,
    lu_factor_ex,
    matrix_exp,
    matrix_rank,
    pinv,
    slogdet,
    solve,
    solve_ex,
    solve_triangular,
    spectral_matrix_norm,
    svdvals,
    tensorinv,
    tensorsolve,
)
from graphc.functions.decompositions import linalg_cholesky as cholesky
from graphc.functions.decompositions import linalg_lu_solve as lu_solve
from graphc.functions.decompositions import linalg_qr as qr
from graphc.functions.decompositions import linalg_svd as svd
from graphc.functions.elementary import abs as absolute
from graphc.functions.linalg import linalg_cross as cross
from graphc.functions.linalg import matmul, matrix_power, multi_dot
from graphc.functions.linalg import vander as _vander
from graphc.functions.norms import vector_norm
from graphc.functions.promotion import cast_to
from graphc.functions.reductions import amax, amin
from graphc.functions.reductions import sum as total
from graphc.functions.shaping import diagonal as _diagonal


def diagonal(A: Any, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:  # noqa: N803
    """The diagonal of the last two dimensions, as a view with it as the last dimension."""
    return _diagonal(A, offset, dim1, dim2)


def vander(x: Any, *, N: int | None = None) -> Any:  # noqa: N803
    """The powers 0..N-1 of the last dimension's elements as columns: [*, n] -> [*, n, N]; [] -> [1, N]."""
    x = x.reshape(1) if x.ndim == 0 else x
    count = x.shape[-1] if N is None else N
    if isinstance(count, int) and count <= 1:
        raise ShapeError("N must be greater than 1.")
    rows = _vander(x.reshape(-1), count, increasing=True)
    return rows.reshape(*x.shape, rows.shape[-1])


@casts(LOWER)
def vecdot(x: Any, y: Any, *, dim: int = -1) -> Any:
    """The dot products of vectors along `dim`, broadcast."""
    return total(mul(x, y), dim)


def matrix_norm(
    A: Any,  # noqa: N803
    ord: Any = "fro",  # noqa: A002
    dim: Any = (-2, -1),
    keepdim: bool = False,
    *,
    dtype: Any = None,
) -> Any:
    """The norm of matrices: "fro", or the largest (smallest) absolute column sum 1 (-1) or row sum inf (-inf).

    2, -2 and "nuc": the largest singular value, the smallest, their sum. LinAlgError for other orders.
    """
    if len(dim) != 2:
        raise ShapeError(f"linalg.matrix_norm: dim must be a 2-tuple. Got {dim}")
    x = A if dtype is None else cast_to(A, as_dtype(dtype))
    if x.ndim < 2:
        raise ShapeError("linalg.matrix_norm: The input tensor A must have at least 2 dimensions.")
    if x.dtype.category != FLOAT:
        raise DtypeError(
            f"linalg.matrix_norm: Expected a floating point or complex tensor as input. Got {x.dtype.name}"
        )
    row, column = (normalize_dim(d, x.ndim) for d in dim)
    if row == column:
        raise ShapeError("linalg.matrix_norm: dims must be different.")
    if ord == "fro":
        return vector_norm(x, 2, (row, column), keepdim)
    if ord in (2, -2, "nuc"):
        return spectral_matrix_norm(x, ord, row, column, keepdim)
    inner, outer = {1: (row, column), float("inf"): (column, row)}.get(_size(ord), (None, None))
    if inner is None:
        raise LinAlgError(f"linalg.matrix_norm: Order {ord} not supported.", "'fro', 'nuc', 1, -1, 2, -2, inf or -inf")
    found = (amax if ord > 0 else amin)(total(absolute(x), inner, keepdim=True), outer, keepdim=True)
    return found if keepdim else found.squeeze((row, column))


def _size(order: Any) -> Any:
    return -order if isinstance(order, int | float) and order < 0 else order


def norm(A: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:  # noqa: A002, N803
    """`vector_norm`, or `matrix_norm` where two dims, or a matrix and an order, are given."""
    if ord is None:
        return vector_norm(A, 2, dim, keepdim, dtype=dtype)
    dims = dim if dim is not None or A.ndim != 2 else (0, 1)
    if isinstance(dims, tuple | list) and len(dims) == 2:
        return matrix_norm(A, ord, dims, keepdim, dtype=dtype)
    if isinstance(ord, str) or (dims is None and A.ndim > 2):
        raise DimensionError(f"linalg.norm: order {ord!r} needs a matrix, or two dims, got {A.ndim} dimensions")
    return vector_norm(A, ord, dims, keepdim, dtype=dtype)


@casts(CPU_FULL)
def cond(A: Any, p: Any = None) -> Any:  # noqa: N803
    """The condition numbers of matrices: the norm `p` (None: 2) times that of the inverse."""
    if p in (None, 2, -2):
        s = svdvals(A)
        return div(s[..., 0], s[..., -1]) if p != -2 else div(s[..., -1], s[..., 0])
    return mul(matrix_norm(A, p), matrix_norm(inv(A), p))


__getattr__ = lazy_attributes("graphc.linalg", {})

__all__ = [
    "LinAlgError", "cholesky", "cholesky_ex", "cond", "cross", "det", "diagonal", "eigh", "eigvalsh",
    "householder_product", "inv", "inv_ex", "lstsq", "lu", "lu_factor", "lu_factor_ex", "lu_solve", "matmul",
    "matrix_exp", "matrix_norm", "matrix_power", "matrix_rank", "multi_dot", "norm", "pinv", "qr", "slogdet", "solve",
    "solve_ex", "solve_triangular", "svd", "svdvals", "tensorinv", "tensorsolve", "vander", "vecdot", "vector_norm",
]  # fmt: skip
