"""PyTorch's solvers and decompositions of matrices (`torch.linalg`) over the ops of primitives/decompositions.py."""

from __future__ import annotations

from typing import Any

from graphc.core.arrays import is_array
from graphc.core.autocast import CPU_FULL, casts
from graphc.core.dims import product as count_of
from graphc.core.dims import size_min
from graphc.core.errors import DtypeError, LinAlgError, ShapeError
from graphc.core.tensor_types import FLOAT, int32, int64
from graphc.functions import return_types
from graphc.functions.arguments import need_tensor
from graphc.functions.axes import as_int, normalize_dim
from graphc.functions.promotion import cast_to, scalar_operand
from graphc.functions.splitting import shape_of
from graphc.primitives import decompositions as op
from graphc.primitives import equations
from graphc.primitives.creation import full
from graphc.primitives.elementwise import equal, greater, maximum, multiply, where
from graphc.primitives.equations import diagonal_matrix, lower, product, swapped, upper
from graphc.primitives.indexing import scatter
from graphc.primitives.joining import concat
from graphc.primitives.reductions import reduce_max, reduce_min, reduce_sum
from graphc.primitives.views import expand, permute, reshape, slice_, zeros_of

_EPS = {"float32": 2.0**-23, "float64": 2.0**-52}


# --- arguments -------------------------------------------------------------------------------------------------------


def _matrices(name: str, x: Any, square: bool = False) -> Any:
    """x, which must be a batch of (square) matrices of floats."""
    shape = shape_of(need_tensor(x, "A"))
    if len(shape) < 2:
        raise ShapeError(f"{name}: The input tensor A must have at least 2 dimensions.")
    if x.dtype.category != FLOAT:
        raise DtypeError(f"{name}: Expected a floating point or complex tensor as input. Got {x.dtype.name}")
    gap = shape[-1] - shape[-2]
    if square and isinstance(gap, int) and gap:
        raise ShapeError(
            f"{name}: A must be batches of square matrices, but they are {shape[-2]} by {shape[-1]} matrices"
        )
    return x


def _symmetric(x: Any, use_upper: bool) -> Any:
    """What one triangle of x says, its gradient spread over both, as PyTorch's are."""
    half = upper(x) if use_upper else lower(x)
    rest = swapped((upper if use_upper else lower)(x, strict=True))
    even = (x + swapped(x)) * 0.5
    return even + (half + rest - even).detach()


def _eye_like(x: Any) -> Any:
    return diagonal_matrix(full(shape=tuple(x.shape[:-1]), value=1.0, dtype=x.dtype))


def _fails(info: Any) -> bool:
    """Whether a known info tells of a failure; in a graph nobody can tell yet, and NaN shows it."""
    return is_array(info._data) and bool((info != 0).any())


# --- equations -------------------------------------------------------------------------------------------------------


def _is_vector(a: Any, b: Any) -> bool:
    """Whether the right side is one vector a matrix: PyTorch's rule."""
    if len(b.shape) == 1:
        return True
    return len(a.shape) - 1 == len(b.shape) and tuple(a.shape[:-1]) == tuple(b.shape)


@casts(CPU_FULL)
def solve(A: Any, B: Any, *, left: bool = True) -> Any:  # noqa: N803
    """X with A @ X = B (or X @ A = B, not `left`); A: f[*, n, n], B: f[*, n, k] or f[*, n]. LinAlgError for a singular A."""
    a, b = _matrices("linalg.solve", A, square=True), need_tensor(B, "B")
    if a.dtype is not b.dtype:
        raise ShapeError(
            f"linalg.solve: Expected A and B to have the same dtype, but found {a.dtype!r} and {b.dtype!r}"
        )
    vector = left and _is_vector(a, b)
    if vector:
        return reshape(equations.solve(a, reshape(b, shape=(*b.shape, 1))), shape=_vector_shape(a, b))
    return equations.solve(a, b) if left else swapped(equations.solve(swapped(a), swapped(b)))


def _vector_shape(a: Any, b: Any) -> tuple[Any, ...]:
    return tuple(a.shape[:-1]) if len(b.shape) < len(a.shape) else tuple(b.shape)


def solve_ex(A: Any, B: Any, *, left: bool = True, check_errors: bool = False) -> Any:  # noqa: N803
    """`solve` with a count of failures, which is 0: a singular A raises LinAlgError."""
    result = solve(A, B, left=left)
    return return_types.linalg_solve_ex(result, zeros_of(tuple(A.shape[:-2]), int32))


def solve_triangular(A: Any, B: Any, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:  # noqa: N803
    """X with A @ X = B (or X @ A = B), A triangular: the other triangle is not looked at."""
    a = _matrices("linalg.solve_triangular", A, square=True)
    b = _matrices("linalg.solve_triangular", B)
    if a.dtype is not b.dtype:
        raise ShapeError(f"linalg.solve_triangular: Expected equal dtypes, but found {a.dtype!r} and {b.dtype!r}")
    if left:
        return equations.solve_triangular(a, b, is_upper=bool(upper), unit=bool(unitriangular))
    return swapped(equations.solve_triangular(swapped(a), swapped(b), is_upper=not upper, unit=bool(unitriangular)))


@casts(CPU_FULL)
def triangular_solve(
    input: Any,
    A: Any,  # noqa: N803
    upper: bool = True,
    transpose: bool = False,
    unitriangular: bool = False,
) -> Any:
    """(X with A @ X = input, A), A triangular; `transpose`: A.T @ X = input."""
    a = _matrices("triangular_solve", A, square=True)
    turned = swapped(a) if transpose else a
    found = equations.solve_triangular(turned, input, is_upper=bool(upper) != bool(transpose), unit=bool(unitriangular))
    return return_types.triangular_solve(found, a)


@casts(CPU_FULL)
def inv(A: Any) -> Any:  # noqa: N803
    """The inverse of square matrices. LinAlgError for a singular one."""
    a = _matrices("linalg.inv", A, square=True)
    return equations.solve(a, _eye_like(a))


@casts(CPU_FULL)
def inv_ex(A: Any, *, check_errors: bool = False) -> Any:  # noqa: N803
    """`inv` with a count of failures, which is 0: a singular matrix raises LinAlgError."""
    return return_types.linalg_inv_ex(inv(A), zeros_of(tuple(A.shape[:-2]), int32))


@casts(CPU_FULL)
def inverse(input: Any) -> Any:
    """The inverse of square matrices."""
    return inv(input)


def _cuts(s: Any, rows: Any, columns: Any, atol: Any, rtol: Any) -> Any:
    """The singular values up to which all count as 0, one number a matrix."""
    most = reduce_max(s, axes=(len(s.shape) - 1,)) if s.shape[-1] != 0 else zeros_of(tuple(s.shape[:-1]), s.dtype)
    share = rtol
    if share is None:
        share = 0.0 if atol is not None else max(rows, columns) * _EPS[s.dtype.name]
    relative = most * share
    return relative if atol is None else maximum(relative, relative * 0.0 + atol)


def pinv(A: Any, *, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Any:  # noqa: N803
    """The pseudo-inverse of matrices f[*, m, n]; singular values up to max(atol, rtol * the largest) count as 0."""
    a = _matrices("linalg.pinv", A, square=hermitian)
    a = _symmetric(a, use_upper=False) if hermitian else a
    _, s, _ = op.svd(a.detach(), complete=False)
    return op.pseudo_inverse(a, _cuts(s, a.shape[-2], a.shape[-1], atol, rtol))


@casts(CPU_FULL)
def pinverse(input: Any, rcond: float = 1e-15) -> Any:
    """The pseudo-inverse; singular values up to rcond * the largest count as 0."""
    return pinv(input, rtol=rcond)


@casts(CPU_FULL)
def lstsq(A: Any, B: Any, rcond: Any = None, *, driver: str | None = None) -> Any:  # noqa: N803
    """(solution, residuals, rank, singular_values) of the least squares problem A @ X = B, by the pseudo-inverse.

    `driver`: LAPACK's name for a way ("gelsy", "gels", "gelsd", "gelss"); as with it, the last part is there for the last two.
    """
    a, b = _matrices("linalg.lstsq", A), need_tensor(B, "B")
    if driver not in (None, "gels", "gelsy", "gelsd", "gelss"):
        raise ShapeError(
            f"torch.linalg.lstsq: parameter `driver` should be one of (gels, gelsy, gelsd, gelss), got {driver}"
        )
    vector = len(b.shape) == len(a.shape) - 1
    right = reshape(b, shape=(*b.shape, 1)) if vector else b
    _, s, _ = op.svd(a.detach(), complete=False)
    m, n = a.shape[-2:]
    cut = _cuts(s, m, n, None, rcond)
    solution = product(op.pseudo_inverse(a, cut), right)
    rank = reduce_sum(cast_to(greater(s, reshape(cut, shape=(*cut.shape, 1))), int64), axes=(len(s.shape) - 1,))
    gap = right - product(a, solution)
    residuals = reduce_sum(multiply(gap, gap), axes=(len(gap.shape) - 2,))
    full_rank = not is_array(rank._data) or bool((rank == n).all())
    if driver in (None, "gelsy") or not (isinstance(m - n, int) and m > n) or not full_rank:
        residuals = zeros_of((0,), a.dtype)
    if driver == "gels":
        rank = zeros_of((0,), int64)
    values = s if driver in ("gelsd", "gelss") else zeros_of((0,), a.dtype)
    solution = reshape(solution, shape=tuple(solution.shape[:-1])) if vector else solution
    return return_types.linalg_lstsq(solution, residuals, rank, values)


# --- determinants -----------------------------------------------------------------------------------------------------


def det(A: Any) -> Any:  # noqa: N803
    """The determinants of square matrices f[*, n, n]."""
    return op.determinant(_matrices("linalg.det", A, square=True))


def slogdet(A: Any) -> Any:  # noqa: N803
    """(sign, logabsdet): the signs and the logarithms of the absolute values of the determinants."""
    return return_types.linalg_slogdet(*op.log_determinant(_matrices("linalg.slogdet", A, square=True)))


def logdet(input: Any) -> Any:
    """The logarithms of the determinants; NaN for negative ones."""
    sign, size = op.log_determinant(_matrices("logdet", input, square=True))
    one, nan = scalar_operand(1.0, size.dtype), scalar_operand(float("nan"), size.dtype)
    return where(equal(sign, -one), nan, size)


# --- decompositions ---------------------------------------------------------------------------------------------------


@casts(CPU_FULL)
def cholesky_ex(A: Any, *, upper: bool = False, check_errors: bool = False) -> Any:  # noqa: N803
    """(L, info): the Cholesky factor of what the lower triangle says; info > 0 where it is not positive definite."""
    a = _matrices("linalg.cholesky", A, square=True)
    factor, info = op.cholesky(_symmetric(a, bool(upper)))
    if check_errors and _fails(info):
        worst = int(info.max())
        raise LinAlgError(
            "linalg.cholesky: The factorization could not be completed because the input is not positive-definite (the "
            f"leading minor of order {worst} is not positive-definite)."
        )
    return return_types.linalg_cholesky_ex(swapped(factor) if upper else factor, info)


@casts(CPU_FULL)
def linalg_cholesky(A: Any, *, upper: bool = False) -> Any:  # noqa: N803
    """L with L @ L.T = A (`upper`: U.T @ U), A symmetric and positive definite. LinAlgError where a known A is not."""
    return cholesky_ex(A, upper=upper, check_errors=True)[0]


@casts(CPU_FULL)
def cholesky(input: Any, upper: bool = False) -> Any:
    """L with L @ L.T = input (`upper`: U.T @ U)."""
    return linalg_cholesky(input, upper=upper)


@casts(CPU_FULL)
def cholesky_solve(B: Any, L: Any, upper: bool = False) -> Any:  # noqa: N803
    """X with L @ L.T @ X = B (`upper`: L.T @ L @ X = B)."""
    first = swapped(L) if upper else L
    half = equations.solve_triangular(first, B, is_upper=False, unit=False)
    return equations.solve_triangular(swapped(first), half, is_upper=True, unit=False)


@casts(CPU_FULL)
def cholesky_inverse(L: Any, upper: bool = False) -> Any:  # noqa: N803
    """The inverse of L @ L.T (`upper`: L.T @ L)."""
    return cholesky_solve(_eye_like(L), L, upper)


@casts(CPU_FULL)
def linalg_qr(A: Any, mode: str = "reduced") -> Any:  # noqa: N803
    """(Q, R) with Q @ R = A; mode "reduced", "complete", or "r" (Q is empty)."""
    a = _matrices("linalg.qr", A)
    if mode not in ("reduced", "complete", "r"):
        raise ShapeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'"
        )
    m, n = a.shape[-2:]
    if isinstance(m - n, int) and m < n:
        # Q is that of the first columns, so that the rule for tall matrices gives the gradient
        lead = tuple(a.shape[:-2])
        ones, zeros = (1,) * len(a.shape), (0,) * len(lead)
        left = slice_(a, starts=(*zeros, 0, 0), limits=(*lead, m, m), strides=ones)
        rest = slice_(a, starts=(*zeros, 0, m), limits=(*lead, m, n), strides=ones)
        q, r = op.qr(left, complete=False)
        r = concat(r, product(swapped(q), rest), axis=len(lead) + 1)
    else:
        q, r = op.qr(a, complete=mode == "complete")
    if mode == "r":
        q = zeros_of((0,), a.dtype)
    return return_types.linalg_qr(q, r)


@casts(CPU_FULL)
def qr(input: Any, some: bool = True) -> Any:
    """(Q, R) with Q @ R = input; all columns of Q unless `some`."""
    return return_types.qr(*linalg_qr(input, "reduced" if some else "complete"))


@casts(CPU_FULL)
def eigh(A: Any, UPLO: str = "L") -> Any:  # noqa: N803
    """(eigenvalues, rising, eigenvectors as columns) of symmetric matrices; `UPLO`: the triangle that is looked at."""
    a = _matrices("linalg.eigh", A, square=True)
    if UPLO.upper() not in ("L", "U"):
        raise ShapeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    return return_types.linalg_eigh(*op.eigh(_symmetric(a, UPLO.upper() == "U")))


@casts(CPU_FULL)
def eigvalsh(A: Any, UPLO: str = "L") -> Any:  # noqa: N803
    """The eigenvalues, rising, of symmetric matrices."""
    return eigh(A, UPLO)[0]


@casts(CPU_FULL)
def linalg_svd(A: Any, full_matrices: bool = True, *, driver: str | None = None) -> Any:  # noqa: N803
    """(U, S, Vh) with U @ diag(S) @ Vh = A; square U and Vh with `full_matrices`. `driver` is for CUDA alone."""
    a = _matrices("linalg.svd", A)
    if driver is not None:
        raise ShapeError("torch.linalg.svd: keyword argument `driver=` is only supported on CUDA inputs")
    return return_types.linalg_svd(*op.svd(a, complete=bool(full_matrices)))


@casts(CPU_FULL)
def svdvals(A: Any, *, driver: str | None = None) -> Any:  # noqa: N803
    """The singular values, falling: f[*, m, n] gives f[*, min(m, n)]."""
    return linalg_svd(A, full_matrices=False, driver=driver)[1]


@casts(CPU_FULL)
def svd(input: Any, some: bool = True, compute_uv: bool = True) -> Any:
    """(U, S, V) with U @ diag(S) @ V.T = input; all columns of U and V unless `some`."""
    u, s, vh = linalg_svd(input, full_matrices=not some)
    if not compute_uv:
        m, n = input.shape[-2:]
        lead = tuple(input.shape[:-2])
        return return_types.svd(zeros_of((*lead, m, m), s.dtype), s, zeros_of((*lead, n, n), s.dtype))
    return return_types.svd(u, s, swapped(vh))


def lu_factor_ex(A: Any, *, pivot: bool = True, check_errors: bool = False) -> Any:  # noqa: N803
    """(LU, pivots from 1, info): both triangular factors in one matrix; info > 0 where a pivot is 0."""
    a = _matrices("linalg.lu_factor", A)
    if not pivot:
        raise ShapeError("linalg.lu_factor: LU without pivoting is not implemented on the CPU")
    packed, pivots, info = op.lu_factor(a)
    if check_errors and _fails(info):
        at = int(info.max())
        raise LinAlgError(
            f"linalg.lu_factor: U[{at},{at}] is zero and using it on lu_solve would result in a division by zero."
        )
    return return_types.linalg_lu_factor_ex(packed, pivots, info)


def lu_factor(A: Any, *, pivot: bool = True) -> Any:  # noqa: N803
    """(LU, pivots from 1): both triangular factors in one matrix. LinAlgError where a known pivot is 0."""
    return return_types.linalg_lu_factor(*lu_factor_ex(A, pivot=pivot, check_errors=True)[:2])


def lu(A: Any, *, pivot: bool = True) -> Any:  # noqa: N803
    """(P, L, U) with P @ L @ U = A, P a permutation."""
    packed, pivots, _ = lu_factor_ex(A, pivot=pivot)
    return return_types.linalg_lu(*lu_unpack(packed, pivots))


def lu_unpack(LU_data: Any, LU_pivots: Any, unpack_data: bool = True, unpack_pivots: bool = True) -> Any:  # noqa: N803
    """(P, L, U) from what `lu_factor` gives."""
    m, n = LU_data.shape[-2:]
    lead, rank, dtype = tuple(LU_data.shape[:-2]), len(LU_data.shape), LU_data.dtype
    k, ones = size_min(m, n), (1,) * len(LU_data.shape)
    left, right, permutation = (zeros_of((0,), dtype) for _ in range(3))
    if unpack_data:
        tall = slice_(LU_data, starts=(0,) * rank, limits=(*lead, m, k), strides=ones)
        wide = slice_(LU_data, starts=(0,) * rank, limits=(*lead, k, n), strides=ones)
        square = full(shape=(*lead, k), value=1.0, dtype=dtype)
        eye = diagonal_matrix(square)
        if isinstance(m - k, int) and m > k:
            eye = concat(eye, zeros_of((*lead, m - k, k), dtype), axis=rank - 2)
        left, right = lower(tall, strict=True) + eye, upper(wide)
    if unpack_pivots:
        order = op.row_order(LU_pivots, size=m)
        eye = diagonal_matrix(full(shape=(*lead, m), value=1.0, dtype=dtype))
        places = expand(reshape(order, shape=(*lead, m, 1)), shape=(*lead, m, m))
        permutation = scatter(zeros_of((*lead, m, m), dtype), places, eye, axis=rank - 2)
    return return_types.lu_unpack(permutation, left, right)


def linalg_lu_solve(LU: Any, pivots: Any, B: Any, *, left: bool = True, adjoint: bool = False) -> Any:  # noqa: N803
    """X with A @ X = B (or X @ A = B; `adjoint`: A.T), A given as what `lu_factor` gives."""
    permutation, low, high = lu_unpack(LU, pivots)
    a_turned = bool(adjoint) != (not left)
    right = B if left else swapped(B)
    if a_turned:
        half = equations.solve_triangular(swapped(high), right, is_upper=False, unit=False)
        found = product(permutation, equations.solve_triangular(swapped(low), half, is_upper=True, unit=True))
    else:
        half = equations.solve_triangular(low, product(swapped(permutation), right), is_upper=False, unit=True)
        found = equations.solve_triangular(high, half, is_upper=True, unit=False)
    return found if left else swapped(found)


@casts(CPU_FULL)
def lu_solve(b: Any, LU_data: Any, LU_pivots: Any) -> Any:  # noqa: N803
    """X with A @ X = b, A given as what `lu_factor` gives."""
    return linalg_lu_solve(LU_data, LU_pivots, b)


# --- numbers of matrices ----------------------------------------------------------------------------------------------


@casts(CPU_FULL)
def matrix_rank(A: Any, tol: Any = None, *, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Any:  # noqa: N803
    """How many singular values exceed max(atol, rtol * the largest): i64[*]."""
    a = _matrices("linalg.matrix_rank", A, square=hermitian)
    s = svdvals(a.detach())
    cut = _cuts(s, a.shape[-2], a.shape[-1], atol if tol is None else tol, rtol)
    return reduce_sum(cast_to(greater(s, reshape(cut, shape=(*cut.shape, 1))), int64), axes=(len(s.shape) - 1,))


def spectral_matrix_norm(x: Any, order: Any, row: int, column: int, keepdim: bool) -> Any:
    """The norms that singular values give: order 2 the largest, -2 the smallest, "nuc" their sum."""
    rest = tuple(i for i in range(len(x.shape)) if i not in (row, column))
    s = svdvals(permute(x, axes=(*rest, row, column)))
    fold = {"nuc": reduce_sum, 2: reduce_max, -2: reduce_min}[order]
    found = fold(s, axes=(len(s.shape) - 1,))
    if not keepdim:
        return found
    return reshape(found, shape=tuple(1 if i in (row, column) else n for i, n in enumerate(x.shape)))


def matrix_exp(A: Any) -> Any:  # noqa: N803
    """The exponentials of square matrices."""
    return equations.matrix_exponential(_matrices("linalg.matrix_exp", A, square=True))


@casts(CPU_FULL)
def householder_product(A: Any, tau: Any) -> Any:  # noqa: N803
    """The first columns of H_1 H_2 ... H_k, H_i = 1 - tau_i v_i v_i^T, v_i below the diagonal of column i of A: f[*, m, n]."""
    a, taus = _matrices("linalg.householder_product", A), need_tensor(tau, "tau")
    (m, n), k = (as_int(size, "A") for size in a.shape[-2:]), as_int(taus.shape[-1], "tau")
    if m < n:
        raise ShapeError(
            "torch.linalg.householder_product: input.shape[-2] must be greater than or equal to input.shape[-1]"
        )
    if n < k:
        raise ShapeError(
            "torch.linalg.householder_product: input.shape[-1] must be greater than or equal to tau.shape[-1]"
        )
    lead, rank = tuple(a.shape[:-2]), len(a.shape)
    vectors = lower(a, strict=True) + lower(upper(a * 0.0 + 1.0))
    out = lower(upper(a * 0.0 + 1.0))
    for i in reversed(range(k)):
        starts, limits = (0,) * (rank - 1), (*lead, m)
        v = slice_(vectors, starts=(*starts, i), limits=(*limits, i + 1), strides=(1,) * rank)
        t = slice_(taus, starts=(*starts[1:], i), limits=(*lead, i + 1), strides=(1,) * (rank - 1))
        out = out - reshape(t, shape=(*lead, 1, 1)) * product(v, product(swapped(v), out))
    return out


@casts(CPU_FULL)
def tensorinv(A: Any, ind: int = 2) -> Any:  # noqa: N803
    """The inverse of A as a map from its last dimensions to its first `ind`."""
    if ind <= 0:
        raise ShapeError("Expected a strictly positive integer for 'ind'")
    shape = shape_of(need_tensor(A, "A"))
    first, last = shape[:ind], shape[ind:]
    rows, columns = count_of(first), count_of(last)
    if isinstance(rows - columns, int) and rows != columns:
        raise ShapeError(
            f"Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), but got {columns} != "
            f"{rows}"
        )
    return reshape(inv(reshape(A, shape=(rows, columns))), shape=last + first)


@casts(CPU_FULL)
def tensorsolve(A: Any, B: Any, dims: Any = None) -> Any:  # noqa: N803
    """X with tensordot(A, X) = B, the dimensions `dims` of A moved to its end first."""
    a, b = need_tensor(A, "A"), need_tensor(B, "B")
    if dims is not None:
        moved = [normalize_dim(as_int(d, "dims"), len(a.shape)) for d in dims]
        a = permute(a, axes=(*(i for i in range(len(a.shape)) if i not in moved), *moved))
    outer = shape_of(a)[len(b.shape) :]
    rows, columns = count_of(shape_of(a)[: len(b.shape)]), count_of(outer)
    if isinstance(rows - columns, int) and rows != columns:
        raise ShapeError(
            f"Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == prod(self.shape[:other.ndim]), but "
            f"got {columns} != {rows}"
        )
    return reshape(solve(reshape(a, shape=(rows, columns)), reshape(b, shape=(rows,))), shape=outer)


METHODS = (
    "det", "logdet", "slogdet", "inverse", "pinverse", "cholesky", "cholesky_solve", "cholesky_inverse", "qr", "svd",
    "triangular_solve", "matrix_exp", "lu_solve",
)  # fmt: skip
INPLACE: tuple[str, ...] = ()
__all__ = [*METHODS, "lu_unpack"]
