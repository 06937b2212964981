"""Linear equations and the exponential of matrices, by NumPy's LAPACK, and what their rules share with decompositions.py.

Operands are [*, n, n] or [*, m, n], float32 or float64. A matrix with a NaN or an infinity gives NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from graphc.core.dims import broadcast_shapes, same
from graphc.core.errors import DimensionError, DtypeError, LinAlgError, ShapeError
from graphc.core.op import OUT, ErrorSample, Joint, Kind, Op, Sample, declare
from graphc.core.tensor_types import TensorType, float32, float64, int64
from graphc.primitives.contraction import matmul
from graphc.primitives.creation import full, iota
from graphc.primitives.elementwise import equal, greater, greater_equal, where
from graphc.primitives.joining import concat
from graphc.primitives.views import expand, permute, reshape, slice_, sum_to, zeros_of

LIBRARY = Kind("opaque")


# --- what the ops share -----------------------------------------------------------------------------------------------


def need_matrix(x: TensorType, square: bool = False) -> None:
    if x.ndim < 2:
        raise DimensionError("matrices expected", f"at least 2 dimensions, got {x.ndim}")
    if x.dtype not in (float32, float64):
        raise DtypeError(f"not implemented for {x.dtype.name}", "float32 or float64", "cast it first")
    if square:
        same(
            x.shape[-2],
            x.shape[-1],
            "must be batches of square matrices",
            f"got {x.shape[-2]} by {x.shape[-1]} matrices",
        )


def by_matrix(fn: Callable[..., Any], x: Any, shapes: tuple[tuple[int, ...], ...]) -> tuple[Any, ...]:
    """`fn` of each finite matrix of a batch; NaN for the others. `shapes`: of the results for one matrix."""
    lead = x.shape[:-2]
    results = tuple(np.full((*lead, *shape), np.nan, x.dtype) for shape in shapes)
    for at in np.ndindex(*lead):
        if np.isfinite(x[at]).all():
            for result, found in zip(results, fn(x[at]), strict=True):
                result[at] = found
    return results


def swapped(x: Any) -> Any:
    """The matrices transposed."""
    n = len(x.shape)
    return permute(x, axes=(*range(n - 2), n - 1, n - 2))


def product(*factors: Any) -> Any:
    """The matrix product of all."""
    out = factors[0]
    for x in factors[1:]:
        out = matmul(out, x, transpose_a=False, transpose_b=False)
    return out


def grid(x: Any) -> tuple[Any, Any]:
    """Row and column numbers of the matrices x, broadcast against each other."""
    m, n = x.shape[-2:]
    row, column = (iota(size=size, start=0, step=1, dtype=int64) for size in (m, n))
    return reshape(row, shape=(m, 1)), reshape(column, shape=(1, n))


def lower(x: Any, strict: bool = False) -> Any:
    """The elements on (or, `strict`, only those below) the diagonal and below, zeros elsewhere."""
    row, column = grid(x)
    return where((greater if strict else greater_equal)(row, column), x, zeros_of((), x.dtype))


def upper(x: Any, strict: bool = False) -> Any:
    """The elements on (or, `strict`, only those above) the diagonal and above, zeros elsewhere."""
    row, column = grid(x)
    return where((greater if strict else greater_equal)(column, row), x, zeros_of((), x.dtype))


def diagonal_matrix(x: Any) -> Any:
    """Vectors [*, n] as the diagonals of matrices [*, n, n]."""
    shape = tuple(x.shape)
    wide = expand(reshape(x, shape=(*shape, 1)), shape=(*shape, shape[-1]))
    row, column = grid(wide)
    return where(equal(row, column), wide, zeros_of((), x.dtype))


def as_column(x: Any) -> Any:
    return reshape(x, shape=(*x.shape, 1))


def as_row(x: Any) -> Any:
    return reshape(x, shape=(*x.shape[:-1], 1, x.shape[-1]))


def apart(gaps: Any) -> Any:
    """Differences to divide by, 1 where they are 0: vectors of equal values get no gradient from each other."""
    return where(equal(gaps, zeros_of((), gaps.dtype)), full(shape=(), value=1.0, dtype=gaps.dtype), gaps)


def well(n: int, *lead: int, seed: int = 0) -> Any:
    """Matrices with singular values apart from each other and from 0, and so with a determinant that is not."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(*lead, n, n)) * 0.3
    return x + np.diag(np.arange(1.0, n + 1.0))


def square_samples() -> Iterator[Sample]:
    yield Sample((well(3),))
    yield Sample((well(3, 2, seed=1),))
    yield Sample((np.asarray(well(4, seed=2)).T,))
    yield Sample((well(3, seed=3).astype(np.float32),))
    yield Sample((np.array([[np.nan, 1.0], [1.0, 2.0]]),), smooth=False)
    for shape in ((0, 2, 2), (2, 0, 0)):
        yield Sample((np.zeros(shape),))


def square_errors() -> Iterator[ErrorSample]:
    yield ErrorSample((np.zeros(3),), {}, DimensionError, "matrices expected")
    yield ErrorSample((np.zeros((2, 3)),), {}, ShapeError, "square matrices")
    yield ErrorSample((np.eye(2, dtype=np.int64),), {}, DtypeError, "not implemented for int64")


def with_attrs(make: Callable[[], Iterator[Any]], **attrs: Any) -> Callable[[], Iterator[Any]]:
    """Samples or error samples with attributes."""

    def made() -> Iterator[Any]:
        for x in make():
            if isinstance(x, Sample):
                yield Sample(x.inputs, attrs, x.smooth)
            else:
                yield ErrorSample(x.inputs, attrs, x.error, x.match)

    return made


# --- linear equations -------------------------------------------------------------------------------------------------


def _solve_infer(a: TensorType, b: TensorType) -> TensorType:
    need_matrix(a, square=True)
    need_matrix(b)
    if a.dtype is not b.dtype:
        raise DtypeError(f"got {a.dtype!r} and {b.dtype!r}", "equal dtypes")
    same(a.shape[-1], b.shape[-2], "the rows of both must be as many", f"got {a.shape[-1]} and {b.shape[-2]}")
    return b.with_shape((*broadcast_shapes(a.shape[:-2], b.shape[:-2]), *b.shape[-2:]))


def _solved(a: Any, b: Any) -> Any:
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    if 0 in (*lead, *b.shape[-2:]):
        return np.zeros((*lead, *b.shape[-2:]), b.dtype)
    finite = np.isfinite(a).all((-2, -1), keepdims=True)
    found = np.linalg.solve(np.where(finite, a, np.eye(a.shape[-1], dtype=a.dtype)), b)
    return np.where(finite, found, np.nan).astype(b.dtype)


def _solve_eval(a: Any, b: Any) -> Any:
    try:
        return _solved(a, b)
    except np.linalg.LinAlgError:
        raise LinAlgError("the solver failed because the input matrix is singular", "an invertible matrix") from None


def _solve_vjp(g: Any, out: Any, a: Any, b: Any, *, needs: Any) -> tuple[Any, ...]:
    back = solve(swapped(a), g)
    of_a = sum_to(-product(back, swapped(out)), a.shape) if needs[0] else None
    return of_a, sum_to(back, b.shape) if needs[1] else None


def _solve_samples() -> Iterator[Sample]:
    rng = np.random.default_rng(4)
    yield Sample((well(3), rng.normal(size=(3, 2))))
    yield Sample((well(3, 2, seed=1), rng.normal(size=(3, 1))))
    yield Sample((np.asarray(well(3, seed=5)).T, rng.normal(size=(2, 2, 3)).swapaxes(1, 2)))
    yield Sample((well(2).astype(np.float32), rng.normal(size=(2, 2)).astype(np.float32)))
    yield Sample((np.array([[np.nan, 1.0], [1.0, np.inf]]), np.ones((2, 1))), smooth=False)
    yield Sample((np.zeros((0, 2, 2)), np.zeros((0, 2, 1))))


def _solve_errors() -> Iterator[ErrorSample]:
    yield ErrorSample((np.eye(2), np.zeros((3, 1))), {}, ShapeError, "rows of both")
    yield ErrorSample((np.eye(2), np.zeros(2)), {}, DimensionError, "matrices expected")
    yield ErrorSample((np.eye(2), np.zeros((2, 1), np.float32)), {}, DtypeError, "equal dtypes")


#: X with a @ X = b. LinAlgError for a singular matrix.
solve: Op = declare(
    "solve", infer=_solve_infer, eval=_solve_eval, kind=LIBRARY, vjp=Joint(_solve_vjp), saves=(0, OUT),
    samples=_solve_samples, errors=_solve_errors,
)  # fmt: skip


def _triangular_eval(a: Any, b: Any, *, is_upper: bool, unit: bool) -> Any:
    part = np.triu(a) if is_upper else np.tril(a)
    if unit:
        n = a.shape[-1]
        part[..., np.arange(n), np.arange(n)] = 1
    try:
        return _solved(part, b)
    except np.linalg.LinAlgError:  # a zero on the diagonal divides, as in LAPACK's triangular solver
        with np.errstate(all="ignore"):
            return _substituted(part, b, is_upper)


def _substituted(a: Any, b: Any, is_upper: bool) -> Any:
    lead, n = np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-1]
    a = np.broadcast_to(a, (*lead, n, n))
    x = np.array(np.broadcast_to(b, (*lead, *b.shape[-2:])))
    for i in range(n - 1, -1, -1) if is_upper else range(n):
        x[..., i, :] /= a[..., i, i, None]
        rest = slice(0, i) if is_upper else slice(i + 1, n)
        x[..., rest, :] -= a[..., rest, i, None] * x[..., i, None, :]
    return x


def _triangular_vjp(g: Any, out: Any, a: Any, b: Any, *, needs: Any, is_upper: bool, unit: bool) -> tuple[Any, ...]:
    back = solve_triangular(swapped(a), g, is_upper=not is_upper, unit=unit)
    of_a = (upper if is_upper else lower)(-product(back, swapped(out)), unit) if needs[0] else None
    return None if of_a is None else sum_to(of_a, a.shape), sum_to(back, b.shape) if needs[1] else None


def _triangular_samples() -> Iterator[Sample]:
    for i, sample in enumerate(_solve_samples()):
        yield Sample(sample.inputs, {"is_upper": i % 2 == 0, "unit": i % 3 == 2}, sample.smooth)


#: X with tri(a) @ X = b, the other triangle of a (and, `unit`, its diagonal) not looked at.
solve_triangular: Op = declare(
    "solve_triangular", infer=lambda a, b, *, is_upper, unit: _solve_infer(a, b), eval=_triangular_eval, kind=LIBRARY,
    vjp=Joint(_triangular_vjp), saves=(0, OUT), samples=_triangular_samples,
    errors=with_attrs(_solve_errors, is_upper=True, unit=False),
)  # fmt: skip


def _exponential_infer(x: TensorType) -> TensorType:
    need_matrix(x, square=True)
    return x


def _exponential_eval(x: Any) -> Any:
    """By scaling, a Taylor polynomial of degree 18 and squaring, in float64."""
    if not x.size:
        return np.zeros_like(x)
    wide = x.astype(np.float64)
    finite = np.isfinite(wide).all((-2, -1), keepdims=True)
    wide = np.where(finite, wide, 0.0)
    size = np.abs(wide).sum(-2).max()
    halvings = max(0, int(np.ceil(np.log2(size))) + 1) if size > 0.5 else 0
    small = wide / 2.0**halvings
    total = term = np.broadcast_to(np.eye(x.shape[-1]), x.shape)
    for k in range(1, 19):
        term = term @ small / k
        total = total + term
    with np.errstate(all="ignore"):
        for _ in range(halvings):
            total = total @ total
    return np.where(finite, total, np.nan).astype(x.dtype)


def _exponential_vjp(g: Any, out: Any, x: Any) -> Any:
    """The upper right block of exp([[x^T, g], [0, x^T]]) (Al-Mohy and Higham 2009)."""
    n, turned = x.shape[-1], swapped(x)
    rows = len(x.shape) - 2
    top = concat(turned, g, axis=rows + 1)
    bottom = concat(zeros_of(tuple(x.shape), x.dtype), turned, axis=rows + 1)
    found = matrix_exponential(concat(top, bottom, axis=rows))
    starts = (0,) * rows + (0, n)
    limits = (*x.shape[:-2], n, 2 * n)
    return slice_(found, starts=starts, limits=limits, strides=(1,) * (rows + 2))


#: The exponential of square matrices.
matrix_exponential: Op = declare(
    "matrix_exponential", infer=_exponential_infer, eval=_exponential_eval, kind=LIBRARY, vjp=(_exponential_vjp,),
    saves=((0,),), samples=square_samples, errors=square_errors,
)  # fmt: skip

__all__ = [
    "LIBRARY", "apart", "as_column", "as_row", "by_matrix", "diagonal_matrix", "grid", "lower", "matrix_exponential",
    "need_matrix", "product", "solve", "solve_triangular", "square_errors", "square_samples", "swapped", "upper", "well",
    "with_attrs",
]  # fmt: skip
