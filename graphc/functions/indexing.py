"""Functions that read and write at given places: gather, scatter, index_*, masked_*, take, put, embedding, search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphc.core.autocast import DEVICE_WIDEST, WIDEST, casts
from graphc.core.context import STATE, set_grad
from graphc.core.dims import Size, product
from graphc.core.errors import ArgumentError, ArgumentTypeError, DimensionError, DtypeError, ShapeError
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import FLOAT, INT, DType, bool_, highest, int32, int64, lowest, uint8
from graphc.functions.arguments import need_tensor
from graphc.functions.axes import normalize_dim, numpy_names
from graphc.functions.promotion import cast_to, is_number, promote, scalar_operand
from graphc.functions.subscripts import fitted, places_of, read_key, with_value, write_into
from graphc.functions.subscripts import getitem as getitem
from graphc.functions.subscripts import setitem as setitem
from graphc.primitives import elementwise as e
from graphc.primitives import indexing as op
from graphc.primitives.creation import full, iota
from graphc.primitives.cumulative import cumulative_sum
from graphc.primitives.joining import concat
from graphc.primitives.reductions import reduce_any, reduce_max, reduce_min, reduce_prod, reduce_sum
from graphc.primitives.views import expand, permute, reshape, show, slice_, slice_put

# --- checks ----------------------------------------------------------------------------------------------------------


def _indices(fn: str, index: Any, what: str = "index") -> Any:
    """An index argument as int64; DtypeError for other dtypes than int32 and int64, but where there is no index."""
    if need_tensor(index, what).dtype not in (int64, int32) and 0 not in index.shape:
        raise DtypeError(f"{fn}(): Expected dtype int32/int64 for {what}", f"not {index.dtype.name}")
    return cast_to(index, int64)


def _same_dtype(fn: str, x: Any, src: Any, what: str) -> None:
    if x.dtype is not src.dtype:
        raise DtypeError(
            f"{fn}(): Expected self.dtype to be equal to {what}.dtype", f"{x.dtype.name}, got {src.dtype.name}"
        )


def _mask(fn: str, mask: Any) -> Any:
    """A mask argument; DtypeError unless it is bool (or uint8, its old form)."""
    if need_tensor(mask, "mask").dtype is uint8:
        return cast_to(mask, bool_)
    if mask.dtype is not bool_:
        raise DtypeError(f"{fn} only supports boolean masks, but got mask with dtype {mask.dtype.name}")
    return mask


def _single(fn: str, value: Any, x: Any) -> Any:
    """A number or 0-d tensor in x's dtype; ShapeError for larger tensors."""
    if is_number(value):
        return scalar_operand(value, x.dtype)
    if len(need_tensor(value, "value").shape):
        raise ShapeError(
            f"{fn} only supports a 0-dimensional value tensor, but got tensor with {len(value.shape)} dimension(s)."
        )
    return cast_to(value, x.dtype)


def _vector(x: Any) -> Any:
    """A 0-d tensor as one of one element; others as they are."""
    return x if x.shape else reshape(x, shape=(1,))


def _shaped(x: Any, shape: Any) -> Any:
    return x if tuple(x.shape) == tuple(shape) else reshape(x, shape=tuple(shape))


def _flat(x: Any) -> Any:
    return _shaped(x, (product(tuple(x.shape)),))


def _cut(x: Any, shape: Any) -> Any:
    """The corner of x that has `shape`."""
    if tuple(x.shape) == tuple(shape):
        return x
    for i, (have, want) in enumerate(zip(x.shape, shape, strict=True)):
        if isinstance(have, int) and isinstance(want, int) and want > have:
            raise ShapeError(
                f"Expected index {show(tuple(shape))} to be no larger size than src {show(tuple(x.shape))}",
                f"at most {have} at dimension {i}",
            )
    zeros, ones = (0,) * len(x.shape), (1,) * len(x.shape)
    return slice_(x, starts=zeros, limits=tuple(shape), strides=ones)


# --- along one dimension, an index for each element ------------------------------------------------------------------


def gather(input: Any, dim: int, index: Any, *, sparse_grad: bool = False) -> Any:
    """`out[i][j][k] = input[index[i][j][k]][j][k]` for dim 0: input: T[*s], index: i64[*t] -> T[*t].

    Raises ShapeError, DtypeError, and IndexRangeError for indices that do not exist.
    """
    index = _indices("gather", index)
    axis = normalize_dim(dim, len(need_tensor(input).shape))
    if 0 in index.shape:
        return _shaped(op.gather(_flat(input), _flat(index), axis=0), index.shape)
    if input.shape and index.shape:
        return op.gather(input, index, axis=axis)
    return _shaped(op.gather(_vector(input), _vector(index), axis=axis), index.shape)


@numpy_names
def take_along_dim(input: Any, indices: Any, dim: int | None = None) -> Any:
    """`gather` with broadcasting of the other dimensions; without `dim`, both are flattened."""
    indices = _indices("take_along_dim", indices, "indices")
    if dim is None:
        return op.gather(_flat(need_tensor(input)), _flat(indices), axis=0)
    rank = len(need_tensor(input).shape)
    if rank != len(indices.shape):
        raise ShapeError(
            "take_along_dim(): input and indices should have the same number of dimensions, "
            f"but got {rank} dimensions for input, and {len(indices.shape)} dimensions for indices"
        )
    axis = normalize_dim(dim, rank)
    x_shape, i_shape = list(input.shape), list(indices.shape)
    for i in range(rank):
        if i != axis and x_shape[i] != i_shape[i]:
            x_shape[i], i_shape[i] = (i_shape[i], i_shape[i]) if x_shape[i] == 1 else (x_shape[i], x_shape[i])
    return op.gather(fitted(input, tuple(x_shape)), fitted(indices, tuple(i_shape)), axis=axis)


def _written(fn: str, input: Any, dim: int, index: Any, src: Any) -> tuple[Any, Any, Any, int]:
    """Operands of a scatter: at least 1-d, src cut to the index's shape, and the axis."""
    index = _indices(fn, index)
    axis = normalize_dim(dim, len(need_tensor(input).shape))
    _same_dtype(fn, input, need_tensor(src, "src"), "src")
    if len(src.shape) != len(index.shape) and (src.shape or index.shape not in ((), (1,))):
        raise ShapeError("Index tensor must have the same number of dimensions as src tensor")
    x, index = _vector(input), _vector(index)
    return x, index, _cut(_vector(src), index.shape), axis


def scatter(input: Any, dim: int, index: Any, src: Any = None, *, value: Any = None, reduce: str | None = None) -> Any:
    """`input` with `out[index[i][j]][j] = src[i][j]` for dim 0; src: T[*t] or a number, index: i64[*t].

    `reduce` "add" or "multiply" folds into what is there. Where indices repeat without it, any one of them stays.
    Raises ShapeError, DtypeError, IndexRangeError.
    """
    if reduce not in (None, "add", "multiply"):
        raise ShapeError("reduce argument must be either add or multiply.")
    src = value if src is None else src
    if is_number(src):
        src = expand(scalar_operand(src, need_tensor(input).dtype), shape=tuple(need_tensor(index, "index").shape))
    if reduce == "multiply":
        return scatter_reduce(input, dim, index, src, "prod")
    x, at, src, axis = _written("scatter", input, dim, index, src)
    out = op.scatter(x, at, src, axis=axis) if reduce is None else op.scatter_add(x, at, src, axis=axis)
    return _shaped(out, input.shape)


@casts(DEVICE_WIDEST)
def scatter_add(input: Any, dim: int, index: Any, src: Any) -> Any:
    """`input` with `out[index[i][j]][j] += src[i][j]` for dim 0; src, index as in `scatter`."""
    x, at, src, axis = _written("scatter_add", input, dim, index, src)
    return _shaped(op.scatter_add(x, at, src, axis=axis), input.shape)


def scatter_reduce(input: Any, dim: int, index: Any, src: Any, reduce: str, *, include_self: bool = True) -> Any:
    """`scatter_add` with `reduce`: "sum", "prod", "mean", "amax" or "amin"; without `include_self` old values drop out.

    "prod", "amax" and "amin" compare every place with every index, so they need len(input) * len(index) elements.
    """
    if reduce not in ("sum", "prod", "mean", "amax", "amin"):
        raise ShapeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}")
    x, at, src, axis = _written("scatter_reduce", input, dim, index, src)
    if reduce in ("sum", "mean"):
        out = _scatter_sum(x, at, src, axis, include_self, reduce == "mean")
    else:
        part = _folded(_cut_but(x, at.shape, axis), at, src, axis, include_self, reduce)
        zeros, ones = (0,) * len(x.shape), (1,) * len(x.shape)
        whole = tuple(part.shape) == tuple(x.shape)
        out = part if whole else slice_put(x, part, starts=zeros, limits=tuple(part.shape), strides=ones)
    return _shaped(out, input.shape)


def _cut_but(x: Any, shape: Any, axis: int) -> Any:
    return _cut(x, tuple(x.shape[i] if i == axis else size for i, size in enumerate(shape)))


def _filled(x: Any, value: Any) -> Any:
    return expand(scalar_operand(value, x.dtype), shape=tuple(x.shape))


def _scatter_sum(x: Any, at: Any, src: Any, axis: int, include_self: bool, mean: bool) -> Any:
    start = x if include_self else op.scatter(x, at, _filled(src, 0), axis=axis)
    total = op.scatter_add(start, at, src, axis=axis)
    if not mean:
        return total
    ones, more = _filled(x, 1), _filled(src, 1)
    counts = ones if include_self else op.scatter(ones, at, _filled(src, 0), axis=axis)
    counts = e.maximum(op.scatter_add(counts, at, more, axis=axis), scalar_operand(1, x.dtype))
    return e.divide(total, counts) if x.dtype.category == FLOAT else e.floor_divide(total, counts)


def _folded(x: Any, at: Any, src: Any, axis: int, include_self: bool, reduce: str) -> Any:
    """Every place of x compared with every index: candidates [*others, places, 1 + indices], folded at the end."""
    rank = len(x.shape)
    last = (*(i for i in range(rank) if i != axis), axis)
    back = tuple(last.index(i) for i in range(rank))
    places = iota(size=x.shape[axis], start=0, step=1, dtype=int64)
    x, at, src = (permute(t, axes=last) for t in (x, at, src))
    # the gather wraps negative indices and refuses those out of range
    at = op.gather(expand(places, shape=tuple(x.shape)), at, axis=rank - 1)
    row = (*at.shape[:-1], 1, at.shape[-1])
    hit = e.equal(reshape(at, shape=row), reshape(places, shape=(places.shape[0], 1)))
    fold, least = _FOLDS[reduce]
    none = scalar_operand(least(x.dtype), x.dtype)
    old = x if include_self else e.where(reduce_any(hit, axes=(rank,)), none, x)
    candidates = (reshape(old, shape=(*old.shape, 1)), e.where(hit, reshape(src, shape=row), none))
    return permute(fold(concat(*candidates, axis=rank), axes=(rank,)), axes=back)


_FOLDS: dict[str, tuple[Any, Callable[[DType], Any]]] = {
    "prod": (reduce_prod, lambda dtype: 1),
    "amax": (reduce_max, lowest),
    "amin": (reduce_min, highest),
}


# --- along one dimension, an index for each slice --------------------------------------------------------------------


def _slices(fn: str, input: Any, dim: int, index: Any) -> tuple[Any, Any, int]:
    index = _indices(fn, index)
    if len(index.shape) > 1:
        raise DimensionError(
            f"{fn}(): Index is supposed to be a vector", f"at most 1 dimension, got {len(index.shape)}"
        )
    return _vector(need_tensor(input)), _vector(index), normalize_dim(dim, len(input.shape))


def index_select(input: Any, dim: int, index: Any) -> Any:
    """The slices of `input` along `dim` that `index` names: T[.., n, ..], i64[m] -> T[.., m, ..]."""
    x, at, axis = _slices("index_select", input, dim, index)
    out = op.index(x, at, axes=(axis,))
    return out if input.shape else reshape(out, shape=())


def _put_slices(fn: str, input: Any, dim: int, index: Any, source: Any, accumulate: bool) -> Any:
    x, at, axis = _slices(fn, input, dim, index)
    if need_tensor(source, "source").dtype is not x.dtype:
        raise DtypeError(
            f"{fn}(): self and source must have the same scalar type", f"{x.dtype.name}, not {source.dtype.name}"
        )
    source = _vector(source) if len(x.shape) == 1 else source
    want = (*x.shape[:axis], at.shape[0], *x.shape[axis + 1 :])
    given, count = source.shape[axis] if len(source.shape) == len(want) else at.shape[0], at.shape[0]
    if isinstance(given, int) and isinstance(count, int) and given != count:
        kind = ShapeError if accumulate else DimensionError
        raise kind(f"{fn}(): Number of indices ({count}) should be equal to source.size(dim) ({given})")
    return _shaped(op.index_put(x, source, at, axes=(axis,), accumulate=accumulate), input.shape)


def index_add(input: Any, dim: int, index: Any, source: Any, *, alpha: Any = 1) -> Any:
    """`input` with `alpha * source[.., i, ..]` added at `index[i]` along `dim`; repeated indices add up."""
    if not (is_number(alpha) and alpha == 1):
        source = e.multiply(need_tensor(source, "source"), scalar_operand(alpha, source.dtype))
    return _put_slices("index_add", input, dim, index, source, True)


@casts(WIDEST)
def index_copy(input: Any, dim: int, index: Any, source: Any) -> Any:
    """`input` with its slices named by `index` along `dim` replaced by those of `source`."""
    return _put_slices("index_copy", input, dim, index, source, False)


def index_reduce(
    input: Any, dim: int, index: Any, source: Any, reduce: str, *, include_self: bool = True
) -> Any:  # fmt: skip
    """`index_add` with `reduce`: "prod", "mean", "amax" or "amin"; without `include_self` old values drop out."""
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise ShapeError(f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got {reduce}.")
    x, at, axis = _slices("index_reduce", input, dim, index)
    source = _vector(need_tensor(source, "source"))
    _same_dtype("index_reduce", x, source, "source")
    if tuple(source.shape) != (want := (*x.shape[:axis], at.shape[0], *x.shape[axis + 1 :])):
        raise ShapeError(
            f"index_reduce(): Expected a source of one slice for each index, {show(want)}, got {show(tuple(source.shape))}"
        )
    places = reshape(at, shape=tuple(n if i == axis else 1 for i, n in enumerate(want)))
    out = scatter_reduce(x, axis, expand(places, shape=want), source, reduce, include_self=include_self)
    return _shaped(out, input.shape)


def unravel_index(indices: Any, shape: Any) -> tuple[Any, ...]:
    """Flat indices of a tensor of that shape as one tensor of indices a dimension."""
    if need_tensor(indices, "indices").dtype.category != INT:
        raise ArgumentTypeError(f"unravel_index: expected 'indices' to be integer dtype, but got {indices.dtype!r}")
    sizes = tuple(shape) if isinstance(shape, Sequence) else (shape,)
    if not all(isinstance(size, int) for size in sizes):
        raise ArgumentTypeError(f"unravel_index: expected 'shape' to be int or sequence of ints, but got {shape!r}")
    if any(size < 0 for size in sizes):
        raise ArgumentError(f"unravel_index: 'shape' cannot have negative values, but got {sizes}")
    found, rest = [], indices
    for size in reversed(sizes):
        divisor = scalar_operand(size, rest.dtype)
        found.append(e.remainder(rest, divisor))
        rest = e.floor_divide(rest, divisor)
    return tuple(reversed(found))


def index_fill(input: Any, dim: int, index: Any, value: Any) -> Any:
    """`input` with its slices named by `index` along `dim` filled with one number."""
    if need_tensor(index, "index").dtype.category != INT:
        raise DimensionError("index_fill_(): Expected dtype int64 for index", f"int64, got {index.dtype.name}")
    x, at, axis = _slices("index_fill", input, dim, index)
    # a mask, not a write of the value for each index: a slice that is named twice is filled once, which its gradient shows
    named = op.index_put(
        full(shape=(x.shape[axis],), value=False, dtype=bool_),
        full(shape=tuple(at.shape), value=True, dtype=bool_),
        at,
        axes=(0,),
        accumulate=False,
    )
    mask = reshape(named, shape=tuple(n if i == axis else 1 for i, n in enumerate(x.shape)))
    return _shaped(e.where(mask, _single("index_fill_", value, x), x), input.shape)


# --- places named by several indices or by a number in the flattened tensor ------------------------------------------


@casts(DEVICE_WIDEST)
def index_put(input: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    """`input` with `values` written (or added) at `input[indices]`; indices: a tuple of integer or bool tensors."""
    if isinstance(indices, TensorBase) or not isinstance(indices, Sequence):
        raise ArgumentTypeError(
            f"index_put(): argument 'indices' must be tuple of Tensors, not {type(indices).__name__}"
        )
    for i, index in enumerate(indices):
        if not isinstance(index, TensorBase):
            raise ArgumentTypeError(f"expected Tensor as element {i} in argument 0, but got {type(index).__name__}")
    _same_dtype("index_put", need_tensor(input), need_tensor(values, "values"), "values")
    key = tuple(i if i.dtype is bool_ or i.dtype is uint8 else _vector(i) for i in indices)
    read = read_key(tuple(input.shape), key)
    return _shaped(with_value(read.target(input), read, values, accumulate), input.shape)


def take(input: Any, index: Any) -> Any:
    """The elements at `index` in the flattened input: T[*s], i64[*t] -> T[*t]."""
    return op.index(_flat(need_tensor(input)), _indices("take", index), axes=(0,))


def put(input: Any, index: Any, source: Any, accumulate: bool = False) -> Any:
    """`input` with the elements of `source` written (or added) at `index` in the flattened input."""
    index = _flat(_indices("put", index))
    _same_dtype("put", need_tensor(input), need_tensor(source, "source"), "source")
    source, count = _flat(source), index.shape[0]
    if isinstance(count, int) and isinstance(source.shape[0], int) and count != source.shape[0]:
        raise DimensionError(
            "put_(): Expected source and index to have the same number of elements, "
            f"but got source.numel() = {source.shape[0]}, index.numel() = {count}"
        )
    out = op.index_put(_flat(input), source, index, axes=(0,), accumulate=accumulate)
    return _shaped(out, input.shape)


# --- masks -----------------------------------------------------------------------------------------------------------


def masked_fill(input: Any, mask: Any, value: Any) -> Any:
    """`input` with one number where `mask` (bool, broadcast with input) is true."""
    value = _single("masked_fill_", value, need_tensor(input))
    return e.where(_mask("masked_fill_", mask), value, input)


def _stretched(mask: Any, x: Any) -> Any:
    """A mask broadcast with x. An op does it, so that unknown sizes that meet are noted."""
    if tuple(mask.shape) == tuple(x.shape):
        return mask
    return e.logical_or(mask, full(shape=tuple(x.shape), value=False, dtype=bool_))


def masked_select(input: Any, mask: Any) -> Any:
    """The elements of `input` where `mask` is true, as T[n]. How many is known only at run time: SymbolicError in graphs."""
    mask = _mask("masked_select", mask)
    mask = _stretched(mask, need_tensor(input))
    return op.index(_flat(fitted(input, tuple(mask.shape))), *places_of(_flat(mask)), axes=(0,))


def masked_scatter(input: Any, mask: Any, source: Any) -> Any:
    """`input` with the elements of `source`, in order, where `mask` is true; IndexRangeError if there are too few."""
    mask = _mask("masked_scatter", mask)
    _same_dtype("masked_scatter", need_tensor(input), need_tensor(source, "source"), "source")
    mask = _stretched(mask, input)
    zero, one = (scalar_operand(n, int64) for n in (0, 1))
    order = e.subtract(cumulative_sum(cast_to(_flat(mask), int64), axis=0), one)
    picked = op.index(_flat(source), e.maximum(order, zero), axes=(0,))
    return e.where(mask, _shaped(picked, mask.shape), input)


def nonzero(input: Any, *, as_tuple: bool = False) -> Any:
    """The places of elements that are not zero: i64[n, ndim], or one i64[n] per dimension. SymbolicError in graphs."""
    x = need_tensor(input)
    return places_of(_vector(x)) if as_tuple else op.nonzero(x)


def argwhere(input: Any) -> Any:
    """The places of elements that are not zero, as i64[n, ndim]. SymbolicError in graphs."""
    return op.nonzero(need_tensor(input))


# --- embedding -------------------------------------------------------------------------------------------------------


def embedding(
    input: Any,
    weight: Any,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:
    """Rows of `weight` (T[n, d]) at `input` (i64[*s]) -> T[*s, d]; `F.embedding`.

    The row `padding_idx` gets no gradient. With `max_norm`, rows used are first scaled down in place to that norm.
    Raises ShapeError, DtypeError, IndexRangeError; ArgumentError for `scale_grad_by_freq`.
    """
    input = _indices("embedding", input, "input")
    if len(need_tensor(weight, "weight").shape) != 2:
        raise ShapeError("'weight' must be 2-D", f"2 dimensions, got {len(weight.shape)}")
    if scale_grad_by_freq:
        raise ArgumentError(
            "scale_grad_by_freq=True is not supported", "False, or scaled gradients in the training loop"
        )
    if max_norm is not None:
        _limit_norms(weight, _flat(input), max_norm, norm_type)
    rows = op.index(weight, input, axes=(0,))
    if padding_idx is None:
        return rows
    at = _padding_row(padding_idx, weight.shape[0])
    is_padding = e.equal(input, scalar_operand(at, int64))
    return e.where(reshape(is_padding, shape=(*input.shape, 1)), rows.detach(), rows)


def _padding_row(padding_idx: int, count: Size) -> Size:
    if isinstance(count, int) and not -count <= padding_idx < count:
        raise ArgumentError("Padding_idx must be within num_embeddings", f"{-count} <= padding_idx < {count}")
    return padding_idx + count if padding_idx < 0 else padding_idx


def _limit_norms(weight: Any, at: Any, max_norm: float, norm_type: float) -> None:
    with set_grad(False):
        rows = op.index(weight, at, axes=(0,))
        norms = reduce_sum(abs(rows) ** norm_type, axes=(1,)) ** (1.0 / norm_type)
        limit = scalar_operand(max_norm, rows.dtype)
        factor = e.where(e.greater(norms, limit), limit / (norms + 1e-7), scalar_operand(1, rows.dtype))
        scaled = rows * reshape(factor, shape=(*factor.shape, 1))
        write_into(weight, op.index_put(weight, scaled, at, axes=(0,), accumulate=False))


def one_hot(tensor: Any, num_classes: int = -1) -> Any:
    """i64[*s] -> i64[*s, num_classes] with 1 at each class; `F.one_hot`.

    Without `num_classes` it is the largest class + 1, known only in eager code. Raises DtypeError and ShapeError.
    """
    if need_tensor(tensor, "tensor").dtype is not int64:
        raise DtypeError("one_hot is only applicable to index tensor of type LongTensor.", f"not {tensor.dtype.name}")
    flat = _flat(tensor)
    if num_classes == -1:
        if flat.shape[0] == 0:
            raise ShapeError("Can not infer total number of classes from empty tensor.")
        num_classes = reduce_max(flat, axes=(0,)).item() + 1
    if STATE.recorder is None and flat.shape[0]:
        if reduce_min(flat, axes=(0,)).item() < 0:
            raise ShapeError("Class values must be non-negative.")
        if reduce_max(flat, axes=(0,)).item() >= num_classes:
            raise ShapeError("Class values must be smaller than num_classes.")
    classes = iota(size=num_classes, start=0, step=1, dtype=int64)
    return cast_to(e.equal(reshape(tensor, shape=(*tensor.shape, 1)), classes), int64)


# --- search ----------------------------------------------------------------------------------------------------------


def searchsorted(
    sorted_sequence: Any,
    input: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Any = None,
) -> Any:
    """Where each element of `input` (T[*b, m] or a number) would be put into `sorted_sequence` (T[*b, n] or T[n]).

    Before equal elements, or behind them if `right` or side="right". Raises ShapeError.
    """
    if side not in (None, "left", "right"):
        raise ShapeError(f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}")
    if side == "left" and right:
        raise ShapeError(
            "torch.searchsorted(): side and right can't be set to opposites, got side of left while right was True"
        )
    rows = need_tensor(sorted_sequence, "sorted_sequence")
    if sorter is not None:
        rows = gather(rows, -1, sorter)
    rows, x = promote(rows, input)
    one_row = len(rows.shape) == 1
    if not one_row and tuple(rows.shape[:-1]) != tuple(x.shape[:-1] if x.shape else (None,)):
        raise ShapeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries "
            f"tensor and input value tensor must match, but we got boundaries tensor {show(tuple(rows.shape))} and input "
            f"value tensor {show(tuple(x.shape))}"
        )
    flat = _flat(x) if one_row else x
    behind = e.greater if right or side == "right" else e.greater_equal
    return _shaped(cast_to(_positions(rows, flat, behind), int32 if out_int32 else int64), x.shape)


def _positions(rows: Any, x: Any, behind: Any) -> Any:
    """For each x the first place in its row whose element is `behind` it: all compared, or by halving long rows."""
    count, axis = rows.shape[-1], len(rows.shape) - 1
    if not isinstance(count, int) or count <= 16:
        row = reshape(rows, shape=(*rows.shape[:-1], 1, count))
        before = e.logical_not(behind(row, reshape(x, shape=(*x.shape, 1))))
        return reduce_sum(cast_to(before, int64), axes=(axis + 1,))
    low = full(shape=tuple(x.shape), value=0, dtype=int64)
    high = full(shape=tuple(x.shape), value=count, dtype=int64)
    one, last = scalar_operand(1, int64), scalar_operand(count - 1, int64)
    for _ in range(count.bit_length()):
        middle = e.shift_right(e.add(low, high), one)
        found = behind(op.gather(rows, e.minimum(middle, last), axis=axis), x)
        undecided = e.less(low, high)
        low = e.where(e.logical_and(undecided, e.logical_not(found)), e.add(middle, one), low)
        high = e.where(e.logical_and(undecided, found), middle, high)
    return low


def bucketize(input: Any, boundaries: Any, *, out_int32: bool = False, right: bool = False) -> Any:
    """Which bucket between the sorted `boundaries` (T[n]) each element of `input` falls into (`searchsorted`)."""
    if len(need_tensor(boundaries, "boundaries").shape) != 1:
        raise ShapeError(f"boundaries tensor must be 1 dimension, but got dim({len(boundaries.shape)})")
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


INPLACE = (
    "scatter", "scatter_add", "scatter_reduce", "index_add", "index_copy", "index_fill", "index_put", "index_reduce",
    "masked_fill",
    "masked_scatter", "put",
)  # fmt: skip
METHODS = (
    *INPLACE, "gather", "take_along_dim", "index_select", "take", "masked_select", "nonzero", "argwhere",
)  # fmt: skip
__all__ = [*METHODS, "searchsorted", "bucketize", "unravel_index"]
