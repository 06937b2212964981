"""PyTorch's matrix products and what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.core.autocast import (
    AUTOCAST,
    CPU_FULL,
    DEVICE_FULL,
    DEVICE_LOWER,
    DEVICE_WIDEST,
    FULL,
    LOWER,
    Mark,
    brought,
    casts,
)
from graphc.core.dims import Dim, Shape, Size, product
from graphc.core.errors import DtypeError, ShapeError
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import BOOL, FLOAT, INT, int64
from graphc.functions.axes import as_int, normalize_dim
from graphc.functions.creation import eye, triu_indices
from graphc.functions.decompositions import inv
from graphc.functions.einsum import einsum
from graphc.functions.promotion import cast_to, common_dtype, plain, promote, scalar_operand
from graphc.functions.shaping import broadcast_tensors, diagonal
from graphc.functions.splitting import shape_of, slice_axis
from graphc.primitives import contraction, views
from graphc.primitives.copying import copy
from graphc.primitives.elementwise import absolute, add, equal, multiply, not_equal, power, sqrt, subtract, where
from graphc.primitives.indexing import index
from graphc.primitives.joining import concat
from graphc.primitives.reductions import reduce_max, reduce_sum
from graphc.primitives.views import show, zeros_of


def _product(a: Any, b: Any) -> Any:
    if AUTOCAST.used:
        a, b = brought(LOWER, a, b)
    return contraction.matmul(a, b, transpose_a=False, transpose_b=False)


def _need(ndim: int, x: Any, problem: str) -> None:
    """Raises ShapeError unless x has `ndim` dimensions."""
    if len(shape_of(x)) != ndim:
        raise ShapeError(problem, f"{ndim} dimensions, got {len(x.shape)}")


# --- products --------------------------------------------------------------------------------------------------------


def matmul(input: Any, other: Any) -> Any:
    """The matrix product of the last two dimensions, broadcast over the others; a vector is a row or a column.

    Raises ShapeError where the inner sizes differ, DtypeError where the dtypes do.
    """
    a, b = shape_of(input), shape_of(other)
    if len(a) >= 2 and len(b) >= 2:
        if AUTOCAST.used:
            input, other = brought(LOWER, input, other)
        return contraction.matmul(input, other, transpose_a=False, transpose_b=False)
    if not a or not b:
        raise ShapeError(f"both arguments to matmul need to be at least 1D, but they are {len(a)}D and {len(b)}D")
    left = views.reshape(input, shape=(1, a[0])) if len(a) == 1 else input
    right = views.reshape(other, shape=(b[0], 1)) if len(b) == 1 else other
    out = _product(left, right)
    shape = tuple(out.shape)
    if len(b) == 1:
        shape = shape[:-1]
    if len(a) == 1:
        shape = shape[:-1] if len(b) == 1 else (*shape[:-2], shape[-1])
    return views.reshape(out, shape=shape)


def mm(input: Any, mat2: Any) -> Any:
    """[n, m] times [m, p]."""
    _need(2, input, "self must be a matrix")
    _need(2, mat2, "mat2 must be a matrix")
    return _product(input, mat2)


def bmm(input: Any, mat2: Any) -> Any:
    """[b, n, m] times [b, m, p]."""
    _need(3, input, "batch1 must be a 3D tensor")
    _need(3, mat2, "batch2 must be a 3D tensor")
    gap = input.shape[0] - mat2.shape[0]
    if isinstance(gap, int) and gap:
        raise ShapeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{input.shape[0]}, {input.shape[2]}] but "
            f"got: [{mat2.shape[0]}, {mat2.shape[1]}]."
        )
    return _product(input, mat2)


@casts(DEVICE_LOWER)
def mv(input: Any, vec: Any) -> Any:
    """[n, m] times [m]."""
    if len(shape_of(input)) != 2 or len(shape_of(vec)) != 1:
        raise ShapeError(f"vector + matrix @ vector expected, got 1, {len(input.shape)}, {len(vec.shape)}")
    return matmul(input, vec)


@casts(DEVICE_WIDEST)
def dot(input: Any, tensor: Any) -> Any:
    """The sum of products of two vectors of one dtype: [n] and [n] to a number."""
    if len(shape_of(input)) != 1 or len(shape_of(tensor)) != 1:
        raise ShapeError(f"1D tensors expected, but got {len(input.shape)}D and {len(tensor.shape)}D tensors")
    if input.dtype is not tensor.dtype:
        raise DtypeError(
            f"dot : expected both vectors to have same dtype, but found {input.dtype!r} and {tensor.dtype!r}"
        )
    return matmul(input, tensor)


@casts(DEVICE_WIDEST)
def vdot(input: Any, other: Any) -> Any:
    """The sum of products of two vectors."""
    return dot(input, other)


def inner(input: Any, other: Any) -> Any:
    """Sums of products over the last dimension of both; the product where one is a number."""
    a, b = shape_of(input), shape_of(other)
    if not a or not b:
        return multiply(*promote(input, other))
    gap = a[-1] - b[-1]
    if isinstance(gap, int) and gap:
        raise ShapeError(
            f"inner() the last dimension must match on both input tensors but got shapes {show(a)} and {show(b)}"
        )
    if AUTOCAST.used and (len(a) > 1 or len(b) > 1):
        input, other = brought(LOWER, input, other)
    left = views.reshape(input, shape=(product(a[:-1]), a[-1]))
    right = views.reshape(other, shape=(product(b[:-1]), b[-1]))
    out = contraction.matmul(left, right, transpose_a=False, transpose_b=True)
    return views.reshape(out, shape=a[:-1] + b[:-1])


def outer(input: Any, vec2: Any) -> Any:
    """All products of two vectors: [n] and [m] to [n, m]."""
    _need(1, input, f"outer: Expected 1-D argument self, but got {len(shape_of(input))}-D")
    _need(1, vec2, f"outer: Expected 1-D argument vec2, but got {len(shape_of(vec2))}-D")
    a, b = promote(input, vec2)
    return multiply(views.reshape(a, shape=(a.shape[0], 1)), views.reshape(b, shape=(1, b.shape[0])))


def ger(input: Any, vec2: Any) -> Any:
    """All products of two vectors."""
    return outer(input, vec2)


# --- a product added to something ------------------------------------------------------------------------------------


def _scaled(x: Any, factor: Any, name: str) -> Any:
    """x times a Python number, which must be whole where x is."""
    if isinstance(factor, float) and x.dtype.category != FLOAT:
        raise DtypeError(f"For integral input tensors, argument {name} must not be a floating point number.")
    if not isinstance(factor, TensorBase | Dim) and factor == 1:
        return x
    return multiply(
        x, scalar_operand(factor, x.dtype) if not isinstance(factor, TensorBase) else cast_to(factor, x.dtype)
    )


def _added(input: Any, found: Any, beta: Any, alpha: Any) -> Any:
    """beta * input + alpha * found; what is multiplied by beta = 0 is not looked at."""
    if input.dtype is not found.dtype:
        raise DtypeError(f"self and mat2 must have the same dtype, but got {input.dtype!r} and {found.dtype!r}")
    found = _scaled(found, alpha, "alpha")
    stretched = views.expand(input, shape=tuple(found.shape))
    if not isinstance(beta, TensorBase | Dim) and beta == 0:
        return found
    return add(_scaled(stretched, beta, "beta"), found)


@casts(LOWER)
def addmm(input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta * input + alpha * (mat1 @ mat2)."""
    return _added(input, mm(mat1, mat2), beta, alpha)


@casts(DEVICE_LOWER)
def addmv(input: Any, mat: Any, vec: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta * input + alpha * (mat @ vec)."""
    return _added(input, mv(mat, vec), beta, alpha)


@casts(LOWER)
def addbmm(input: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta * input + alpha * (the sum of the products of the batch)."""
    return _added(input, reduce_sum(bmm(batch1, batch2), axes=(0,)), beta, alpha)


@casts(LOWER)
def baddbmm(input: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta * input + alpha * (batch1 @ batch2), a matrix for each of the batch."""
    return _added(input, bmm(batch1, batch2), beta, alpha)


@casts(DEVICE_LOWER)
def addr(input: Any, vec1: Any, vec2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta * input + alpha * outer(vec1, vec2)."""
    found = outer(vec1, vec2)
    dtype = common_dtype(input, found)
    return _added(cast_to(input, dtype), cast_to(found, dtype), beta, alpha)


# --- general contractions --------------------------------------------------------------------------------------------


def _contracted(dims: Any, a: Shape, b: Shape) -> tuple[list[int], list[int]]:
    if isinstance(dims, TensorBase):
        dims = dims.tolist()  # type: ignore[attr-defined]
    if isinstance(dims, Sequence):
        first, second = dims
        left = [first] if isinstance(first, int) else list(first)
        right = [second] if isinstance(second, int) else list(second)
        if len(left) != len(right):
            raise ShapeError("both dimension lists should have same length")
        return [normalize_dim(d, len(a)) for d in left], [normalize_dim(d, len(b)) for d in right]
    count = as_int(dims, "dims")
    if count < 0:
        raise ShapeError(f"tensordot expects dims >= 0, but got dims={count}")
    if count > min(len(a), len(b)):
        raise ShapeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={count}")
    return list(range(len(a) - count, len(a))), list(range(count))


def tensordot(a: Any, b: Any, dims: Any = 2) -> Any:
    """Sums of products over `dims` pairs of dimensions: the last of a with the first of b, or the two lists given."""
    s, t = shape_of(a), shape_of(b)
    left, right = _contracted(dims, s, t)
    for i, j in zip(left, right, strict=True):
        gap = s[i] - t[j]
        if isinstance(gap, int) and gap and s[i] != 1 and t[j] != 1:
            raise ShapeError(
                f"contracted dimensions need to match, but first has size {s[i]} in dim {i} and second has size {t[j]} "
                f"in dim {j}"
            )
    for i, j in zip(left, right, strict=True):
        if s[i] == 1 and t[j] != 1:
            b = _kept_sum(b, j)
        elif t[j] == 1 and s[i] != 1:
            a = _kept_sum(a, i)
    s, t = shape_of(a), shape_of(b)
    rows = [i for i in range(len(s)) if i not in left]
    columns = [j for j in range(len(t)) if j not in right]
    inside = product(tuple([s[i] for i in left]))
    outer_a, outer_b = tuple([s[i] for i in rows]), tuple([t[j] for j in columns])
    x = views.reshape(views.permute(a, axes=(*rows, *left)), shape=(product(outer_a), inside))
    y = views.reshape(views.permute(b, axes=(*right, *columns)), shape=(inside, product(outer_b)))
    if AUTOCAST.used:  # PyTorch makes no product of what becomes one number
        one = product(outer_a) == 1 and product(outer_b) == 1
        x, y = brought(Mark(None if one else "lower", "widest"), x, y)
    return views.reshape(contraction.matmul(x, y, transpose_a=False, transpose_b=False), shape=outer_a + outer_b)


def _kept_sum(x: Any, axis: int) -> Any:
    shape = tuple(x.shape)
    return views.reshape(reduce_sum(x, axes=(axis,)), shape=(*shape[:axis], 1, *shape[axis + 1 :]))


def kron(input: Any, other: Any) -> Any:
    """The Kronecker product: a block input[i] * other for each element of input."""
    a, b = promote(input, other)
    ndim = max(len(a.shape), len(b.shape))
    s, t = ((1,) * (ndim - len(x.shape)) + tuple(x.shape) for x in (a, b))
    left = views.reshape(a, shape=tuple([size for n in s for size in (n, 1)]))
    right = views.reshape(b, shape=tuple([size for n in t for size in (1, n)]))
    return views.reshape(multiply(left, right), shape=tuple([n * m for n, m in zip(s, t, strict=True)]))


def multi_dot(tensors: Any) -> Any:
    """The product of a chain of matrices (vectors at its ends), in the cheapest order where the sizes are known."""
    chain = list(tensors)
    if len(chain) < 2:
        raise ShapeError(f"multi_dot(): expected at least 2 tensors but got {len(chain)}")
    first, last = len(shape_of(chain[0])) == 1, len(shape_of(chain[-1])) == 1
    if first:
        chain[0] = views.reshape(chain[0], shape=(1, chain[0].shape[0]))
    if last:
        chain[-1] = views.reshape(chain[-1], shape=(chain[-1].shape[0], 1))
    for i, x in enumerate(chain):
        if len(shape_of(x)) != 2:
            raise ShapeError(f"multi_dot(): tensor {i} must be 2D but got {len(x.shape)}D")
    out = _in_order(chain, _cheapest([x.shape[0] for x in chain] + [chain[-1].shape[1]]), 0, len(chain) - 1)
    shape = tuple(out.shape)[1 if first else 0 : 1 if last else 2]
    return out if shape == tuple(out.shape) else views.reshape(out, shape=shape)


def _cheapest(sizes: list[Size]) -> dict[tuple[int, int], int]:
    """Where to cut each part of the chain for the fewest multiplications (Cormen et al., matrix-chain order)."""
    n = len(sizes) - 1
    known = [size if isinstance(size, int) else 64 for size in sizes]
    cost = {(i, i): 0 for i in range(n)}
    cut: dict[tuple[int, int], int] = {}
    for span in range(1, n):
        for i in range(n - span):
            j = i + span
            prices = {k: cost[i, k] + cost[k + 1, j] + known[i] * known[k + 1] * known[j + 1] for k in range(i, j)}
            cut[i, j] = min(prices, key=lambda k: prices[k])
            cost[i, j] = prices[cut[i, j]]
    return cut


def _in_order(chain: list[Any], cut: dict[tuple[int, int], int], i: int, j: int) -> Any:
    if i == j:
        return chain[i]
    k = cut[i, j]
    return _product(_in_order(chain, cut, i, k), _in_order(chain, cut, k + 1, j))


def chain_matmul(*matrices: Any) -> Any:
    """The product of a chain of matrices, in the cheapest order."""
    given = matrices[0] if len(matrices) == 1 and isinstance(matrices[0], Sequence) else matrices
    return given[0] if len(given) == 1 else multi_dot(given)


# --- of matrices -----------------------------------------------------------------------------------------------------


@casts(CPU_FULL)
def trace(input: Any) -> Any:
    """The sum of a matrix's diagonal; int64 for whole numbers."""
    if len(shape_of(input)) != 2:
        raise ShapeError(f"trace: expected a matrix, but got tensor with dim {len(input.shape)}")
    x = diagonal(input)
    return reduce_sum(x if x.dtype.category == FLOAT else cast_to(x, int64), axes=(0,))


def _cross(a: Any, b: Any, axis: int) -> Any:
    def turned(x: Any) -> Any:
        return concat(slice_axis(x, axis, 1, 3), slice_axis(x, axis, 0, 1), axis=axis)

    # (a x b)_i = a_j b_k - a_k b_j, here as turned(a * turned(b) - turned(a) * b)
    return turned(subtract(multiply(a, turned(b)), multiply(turned(a), b)))


@casts(DEVICE_WIDEST)
def cross(input: Any, other: Any, dim: Any = None) -> Any:
    """The cross product of 3-vectors along `dim`, by default the first dimension of size 3 (`torch.cross`)."""
    if len(shape_of(input)) != len(shape_of(other)):
        raise ShapeError("linalg.cross: inputs must have the same number of dimensions.")
    if input.dtype is not other.dtype:
        raise DtypeError(f"expected scalar type {input.dtype!r} but found {other.dtype!r}")
    a, b = broadcast_tensors(input, other)
    if dim is None:
        threes = [i for i, size in enumerate(a.shape) if size == 3]
        if not threes:
            raise ShapeError("no dimension of size 3 in input")
        dim = threes[0]
    axis = normalize_dim(dim, len(a.shape))
    if a.shape[axis] != 3:
        raise ShapeError(f"linalg.cross: inputs dimension {axis} must have length 3. Got {a.shape[axis]}")
    return _cross(a, b, axis)


def linalg_cross(input: Any, other: Any, *, dim: int = -1) -> Any:
    """The cross product of 3-vectors along `dim` (`torch.linalg.cross`)."""
    return cross(input, other, dim)


def vander(x: Any, N: Any = None, increasing: bool = False) -> Any:  # noqa: N803
    """The powers of a vector's elements as columns: [n, N], highest first unless `increasing`."""
    if len(shape_of(x)) != 1:
        raise ShapeError("x must be a one-dimensional tensor.")
    if x.dtype.category in (BOOL, INT):
        x = cast_to(x, int64)
    size = x.shape[0]
    count = as_int(size if N is None else N, "N")
    column = views.reshape(x, shape=(size, 1))
    powers = [zeros_of((size, 1), x.dtype) + 1] if count else []
    for _ in range(count - 1):
        powers.append(multiply(powers[-1], column))
    if not powers:
        return zeros_of((size, 0), x.dtype)
    return concat(*(powers if increasing else powers[::-1]), axis=1)


def matrix_power(input: Any, n: int) -> Any:
    """The product of n copies of square matrices (of their inverses where n is negative), by repeated squaring."""
    shape = shape_of(input)
    if len(shape) < 2:
        raise ShapeError("linalg.matrix_power: The input tensor A must have at least 2 dimensions.")
    gap = shape[-1] - shape[-2]
    if isinstance(gap, int) and gap:
        raise ShapeError(
            f"linalg.matrix_power: A must be batches of square matrices, but they are {shape[-2]} by {shape[-1]} "
            "matrices"
        )
    count = as_int(n, "n")
    if count < 0:
        return matrix_power(inv(input), -count)
    if count == 0:
        return copy(views.expand(eye(shape[-1], dtype=input.dtype), shape=shape))
    out, square = None, input
    while count:
        if count & 1:
            out = square if out is None else _product(out, square)
        count >>= 1
        square = _product(square, square) if count else square
    return copy(out) if out is input else out


@casts(FULL)
def cdist(x1: Any, x2: Any, p: float = 2.0, compute_mode: Any = None) -> Any:
    """The p-norm distance of each row of x1 to each of x2: [*, n, d] and [*, m, d] to [*, n, m].

    The gradient at distance 0 is 0.
    """
    for name, x in (("X1", x1), ("X2", x2)):
        if len(shape_of(x)) < 2:
            raise ShapeError(f"cdist only supports at least 2D tensors, {name} got: {len(x.shape)}D")
        if x.dtype.category != FLOAT:
            raise DtypeError(f"cdist only supports floating-point dtypes, {name} got: {x.dtype!r}")
    gap = x1.shape[-1] - x2.shape[-1]
    if isinstance(gap, int) and gap:
        raise ShapeError(f"X1 and X2 must have the same number of columns. X1: {x1.shape[-1]} X2: {x2.shape[-1]}")
    if p < 0:
        raise ShapeError("cdist only supports non-negative p values")
    a, b = promote(x1, x2)
    rows = views.reshape(a, shape=(*a.shape[:-1], 1, a.shape[-1]))
    others = views.reshape(b, shape=(*b.shape[:-2], 1, *b.shape[-2:]))
    return _norm(absolute(subtract(rows, others)), p)


@casts(DEVICE_FULL)
def pdist(input: Any, p: float = 2) -> Any:
    """The p-norm distances of all pairs of rows i < j: [n, d] to [n (n - 1) / 2]. The gradient at distance 0 is 0."""
    if len(shape_of(input)) != 2:
        raise ShapeError(f"pdist only supports 2D tensors, got: {len(input.shape)}D")
    if input.dtype.category != FLOAT:
        raise DtypeError("pdist only supports floating-point dtypes")
    if p < 0:
        raise ShapeError("pdist only supports non-negative p values")
    rows, others = triu_indices(input.shape[0], input.shape[0], 1)
    return _norm(absolute(subtract(index(input, rows, axes=(0,)), index(input, others, axes=(0,)))), p)


def _norm(gaps: Any, p: float) -> Any:
    """The p-norm over the last dimension of non-negative numbers."""
    last = len(gaps.shape) - 1
    if gaps.shape[-1] == 0:
        return reduce_sum(gaps, axes=(last,))
    if p == 0:
        return reduce_sum(cast_to(not_equal(gaps, zeros_of((), gaps.dtype)), gaps.dtype), axes=(last,))
    if p == 1:
        return reduce_sum(gaps, axes=(last,))
    if p == float("inf"):
        return reduce_max(gaps, axes=(last,))
    exponent = scalar_operand(plain(p, gaps.dtype), gaps.dtype)
    total = reduce_sum(multiply(gaps, gaps) if p == 2 else power(gaps, exponent), axes=(last,))
    zero, one = zeros_of((), gaps.dtype), scalar_operand(1.0, gaps.dtype)
    nothing = equal(total, zero)
    # the root has no finite slope at 0: take it of 1 there, and the result from elsewhere
    safe = where(nothing, one, total)
    root = sqrt(safe) if p == 2 else power(safe, scalar_operand(1.0 / p, gaps.dtype))
    return where(nothing, zero, root)


METHODS = (
    "matmul", "mm", "bmm", "mv", "dot", "vdot", "inner", "outer", "ger", "addmm", "addmv", "addbmm", "baddbmm", "addr",
    "kron", "trace", "cross", "matrix_power",
)  # fmt: skip
INPLACE = ("addmm", "addmv", "addbmm", "baddbmm", "addr")
__all__ = [
    "matmul", "mm", "bmm", "mv", "dot", "vdot", "inner", "outer", "ger", "addmm", "addmv", "addbmm", "baddbmm", "addr",
    "einsum", "tensordot", "kron", "chain_matmul", "trace", "cross", "vander", "matrix_power", "cdist",
    "pdist",
]  # fmt: skip
