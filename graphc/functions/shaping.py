"""PyTorch's functions that change shapes and move elements: views, splits, repetitions, diagonals, triangles."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from graphc.core.context import STATE
from graphc.core.dims import Shape, assumptions, product
from graphc.core.dims import broadcast_shapes as common_shape
from graphc.core.errors import ArgumentTypeError, DtypeError, ShapeError
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import BOOL, FLOAT, int64
from graphc.functions.axes import as_int, normalize_dim, numpy_names
from graphc.functions.creation import index_grid
from graphc.functions.promotion import cast_to
from graphc.functions.sizes import as_size, as_sizes, inferred
from graphc.functions.splitting import (
    chunk,
    dsplit,
    hsplit,
    narrow,
    select,
    shape_of,
    slice_axis,
    split,
    split_with_sizes,
    tensor_split,
    unbind,
    vsplit,
)  # fmt: skip
from graphc.primitives import views
from graphc.primitives.copying import copy
from graphc.primitives.creation import iota
from graphc.primitives.cumulative import cumulative_sum
from graphc.primitives.elementwise import greater_equal, less_equal, where
from graphc.primitives.indexing import index as index_op
from graphc.primitives.indexing import scatter_add
from graphc.primitives.joining import concat
from graphc.primitives.reductions import reduce_sum
from graphc.primitives.views import show, zeros_of


def dims_argument(dims: Sequence[Any]) -> tuple[Any, ...]:
    """The dims in `f(0, 1)` or `f((0, 1))`, as given to `f(*dims)`."""
    if len(dims) == 1 and isinstance(dims[0], Sequence):
        return tuple(dims[0])
    return tuple(dims)


# --- the same elements in another shape ------------------------------------------------------------------------------


def reshape(input: Any, *sizes: Any, shape: Any = None) -> Any:
    """The elements in row order under another shape, one size of which may be -1: a view where the strides allow it."""
    given = (shape,) if shape is not None else sizes
    if not given:
        raise ArgumentTypeError('reshape() missing 1 required positional arguments: "shape"')
    old = shape_of(input)
    return views.reshape(input, shape=inferred(as_sizes(given, "shape"), product(old)))


def view(input: Any, *sizes: Any, size: Any = None) -> Any:
    """The same memory under another shape, one size of which may be -1 (the caller insists that nothing is copied)."""
    given = (size,) if size is not None else sizes
    if not given:
        raise ArgumentTypeError('view() missing 1 required positional arguments: "size"')
    return views.reshape(input, shape=inferred(as_sizes(given), product(shape_of(input))))


def view_as(input: Any, other: Any) -> Any:
    """The input's memory under the shape of `other`."""
    return input.view(shape_of(other))


def reshape_as(input: Any, other: Any) -> Any:
    """The input under the shape of `other`."""
    return views.reshape(input, shape=shape_of(other))


def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """The dimensions from start_dim to end_dim (included) as one."""
    shape = shape_of(input)
    start, end = normalize_dim(start_dim, len(shape)), normalize_dim(end_dim, len(shape))
    if start > end:
        raise ShapeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if not shape:
        return views.reshape(input, shape=(1,))
    if start == end:
        return input
    return views.reshape(input, shape=(*shape[:start], product(shape[start : end + 1]), *shape[end + 1 :]))


def ravel(input: Any) -> Any:
    """All elements in row order: [n]."""
    return flatten(input)


def unflatten(input: Any, dim: int, sizes: Any) -> Any:
    """Dimension `dim` as several, one of which may be -1."""
    shape = shape_of(input)
    at = normalize_dim(dim, len(shape))
    given = as_sizes((sizes,), "sizes")
    if not given:
        raise ShapeError("unflatten: sizes must be non-empty")
    try:
        inner = inferred(given, shape[at])
    except ShapeError:
        inner = ()
    gap = product(inner) - shape[at]
    if not inner or (isinstance(gap, int) and gap):
        raise ShapeError(
            f"unflatten: Provided sizes {show(given)} don't multiply up to the size of dim {at} ({shape[at]}) in the "
            "input tensor"
        )
    return views.reshape(input, shape=(*shape[:at], *inner, *shape[at + 1 :]))


@numpy_names
def squeeze(input: Any, dim: Any = None) -> Any:
    """Without the dimensions of size 1, or those of them named in `dim`; unknown sizes stay."""
    shape = shape_of(input)
    if dim is None:
        axes = set(range(len(shape)))
    else:
        axes = {normalize_dim(d, len(shape)) for d in (dim if isinstance(dim, Sequence) else (dim,))}
    return views.reshape(input, shape=tuple([s for i, s in enumerate(shape) if i not in axes or s != 1]))


@numpy_names
def unsqueeze(input: Any, dim: int) -> Any:
    """With a dimension of size 1 inserted at `dim`."""
    shape = shape_of(input)
    at = normalize_dim(dim, len(shape) + 1)
    return views.reshape(input, shape=(*shape[:at], 1, *shape[at:]))


def _at_least(count: int, grow: Callable[[Shape], Shape]) -> Callable[..., Any]:
    def one(x: Any) -> Any:
        shape = shape_of(x)
        return x if len(shape) >= count else views.reshape(x, shape=grow(shape))

    def function(*tensors: Any) -> Any:
        if len(tensors) == 1 and not isinstance(tensors[0], Sequence):
            return one(tensors[0])
        return tuple(one(x) for x in (tensors[0] if len(tensors) == 1 else tensors))

    function.__name__ = function.__qualname__ = f"atleast_{count}d"
    function.__doc__ = f"Each tensor with at least {count} dimension(s); one tensor for one, else a tuple."
    return function


atleast_1d = _at_least(1, lambda shape: (1,))
atleast_2d = _at_least(2, lambda shape: (1, *shape) if shape else (1, 1))
atleast_3d = _at_least(3, lambda shape: (1, *shape, 1) if len(shape) == 1 else (*shape, 1) if shape else (1, 1, 1))


# --- dimensions in another order -------------------------------------------------------------------------------------


def transpose(input: Any, dim0: int, dim1: int) -> Any:
    """Two dimensions swapped: a view."""
    ndim = len(shape_of(input))
    a, b = normalize_dim(dim0, ndim), normalize_dim(dim1, ndim)
    if not ndim:
        return views.permute(input, axes=())
    axes = list(range(ndim))
    axes[a], axes[b] = b, a
    return views.permute(input, axes=tuple(axes))


def swapaxes(input: Any, axis0: int, axis1: int) -> Any:
    """Two dimensions swapped: a view."""
    return transpose(input, axis0, axis1)


def swapdims(input: Any, dim0: int, dim1: int) -> Any:
    """Two dimensions swapped: a view."""
    return transpose(input, dim0, dim1)


def t(input: Any) -> Any:
    """A matrix transposed; vectors and numbers as they are."""
    ndim = len(shape_of(input))
    if ndim > 2:
        raise ShapeError(f"t() expects a tensor with <= 2 dimensions, but self is {ndim}D", "transpose or permute")
    return views.permute(input, axes=tuple(range(ndim))[::-1])


def permute(input: Any, *args: Any, dims: Any = None) -> Any:
    """The dimensions in the order given: `permute(x, (1, 0))` or `x.permute(1, 0)`; a view."""
    ndim = len(shape_of(input))
    given = dims_argument(args if dims is None else (dims,))
    if len(given) != ndim:
        raise ShapeError(
            "permute(): number of dimensions in the tensor input does not match the length of the desired ordering of "
            f"dimensions i.e. input.dim() = {ndim} is not equal to len(dims) = {len(given)}"
        )
    axes = tuple([normalize_dim(d, ndim) for d in given])
    if len(set(axes)) != ndim:
        raise ShapeError("permute(): duplicate dims are not allowed.")
    return views.permute(input, axes=axes)


def movedim(input: Any, source: Any, destination: Any) -> Any:
    """Dimensions `source` moved to the places `destination`, the others in order around them."""
    ndim = len(shape_of(input))
    froms = tuple(source) if isinstance(source, Sequence) else (source,)
    tos = tuple(destination) if isinstance(destination, Sequence) else (destination,)
    if len(froms) != len(tos):
        raise ShapeError(
            f"movedim: Invalid source or destination dims: source ({list(froms)} dims) should contain the same "
            f"number of dims as destination ({list(tos)} dims)"
        )
    taken, places = [normalize_dim(d, ndim) for d in froms], [normalize_dim(d, ndim) for d in tos]
    for name, given, axes in (("source", froms, taken), ("destination", tos, places)):
        if len(set(axes)) != len(axes):
            raise ShapeError(f"movedim: repeated dim in `{name}` ({list(given)})")
    moved = dict(zip(places, taken, strict=True))
    rest = iter([d for d in range(ndim) if d not in taken])
    return views.permute(input, axes=tuple([moved[i] if i in moved else next(rest) for i in range(ndim)]))


def moveaxis(input: Any, source: Any, destination: Any) -> Any:
    """Dimensions `source` moved to the places `destination`."""
    return movedim(input, source, destination)


def adjoint(input: Any) -> Any:
    """The last two dimensions swapped."""
    return matrix_transpose(input)


def matrix_transpose(input: Any) -> Any:
    """The last two dimensions swapped (`x.mT`)."""
    ndim = len(shape_of(input))
    if ndim < 2:
        raise ShapeError(f"tensor.mT is only supported on matrices or batches of matrices. Got {ndim}-D tensor.")
    return transpose(input, -2, -1)


# --- the same elements several times ---------------------------------------------------------------------------------


def stretched(x: Any, shape: Shape) -> Any:
    """x expanded to `shape`; where nothing is stretched, a view that can be written to."""
    own = tuple(x.shape)
    lead = len(shape) - len(own)
    if lead >= 0 and shape[lead:] == own and all(size == 1 for size in shape[:lead]):
        return views.reshape(x, shape=shape)
    return views.expand(x, shape=shape)


def expand(input: Any, *sizes: Any, size: Any = None) -> Any:
    """Dimensions of size 1 stretched to the sizes given (-1 keeps one), new ones put in front: a view."""
    given = list(as_sizes((size,) if size is not None else sizes))
    shape = shape_of(input)
    lead = len(given) - len(shape)
    for i, want in enumerate(given):
        if want == -1:
            if i < lead:
                raise ShapeError(
                    f"The expanded size of the tensor (-1) isn't allowed in a leading, non-existing dimension {i}"
                )
            if lead >= 0:
                given[i] = shape[i - lead]
    return stretched(input, tuple(given))


def expand_as(input: Any, other: Any) -> Any:
    """The input expanded to the shape of `other`."""
    return stretched(input, shape_of(other))


def broadcast_to(input: Any, size: Any) -> Any:
    """The input expanded to `size`."""
    return expand(input, size)


def broadcast_shapes(*shapes: Any) -> Shape:
    """The common shape that tensors of these shapes broadcast to."""
    return common_shape((), *(as_sizes((s,), "shapes") for s in shapes))


def _differ(a: Any, b: Any) -> None:
    raise ShapeError("shapes do not broadcast", f"equal sizes or 1, got {a} and {b}")


def broadcast_tensors(*tensors: Any) -> tuple[Any, ...]:
    """The tensors expanded to their common shape."""
    if len(tensors) == 1 and isinstance(tensors[0], Sequence):
        tensors = tuple(tensors[0])
    recorder: Any = STATE.recorder
    with assumptions(getattr(recorder, "unify", _differ)):
        shape = common_shape((), *map(shape_of, tensors))
    return tuple(stretched(x, shape) for x in tensors)


def repeat(input: Any, *sizes: Any, repeats: Any = None) -> Any:
    """Copies of the tensor side by side, `sizes[i]` along dimension i; more sizes than dimensions add some in front."""
    times = as_sizes((repeats,) if repeats is not None else sizes, "repeats")
    shape = shape_of(input)
    lead = len(times) - len(shape)
    if lead < 0:
        raise ShapeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor",
            f"at least {len(shape)} repeats",
        )
    shape = (1,) * lead + shape
    final = tuple([r * s for r, s in zip(times, shape, strict=True)])
    for r in times:
        if isinstance(r, int) and r < 0:
            raise ShapeError(f"Trying to create tensor with negative dimension {r}: {show(final)}", "repeats >= 0")
    spread = views.reshape(input, shape=tuple([s for size in shape for s in (1, size)]))
    wide = views.expand(spread, shape=tuple([s for r, size in zip(times, shape, strict=True) for s in (r, size)]))
    return views.reshape(copy(wide), shape=final)


def tile(input: Any, *args: Any, dims: Any = None) -> Any:
    """Like `repeat`, with ones put in front of too few repeats."""
    times = as_sizes((dims,) if dims is not None else args, "dims")
    return repeat(input, (1,) * (len(shape_of(input)) - len(times)) + times)


@numpy_names
def repeat_interleave(input: Any, repeats: Any = None, dim: Any = None, *, output_size: Any = None) -> Any:
    """Each element repeated in place: `repeats` times, or `repeats[i]` times for the i-th along `dim`.

    Without `dim` the flattened input is taken. Called with a tensor of counts alone, gives each position count times.
    """
    if repeats is None:
        return _repeated_positions(input, output_size)
    if dim is None:
        input, dim = flatten(input), 0
    shape = shape_of(input)
    at = normalize_dim(dim, len(shape))
    if isinstance(repeats, TensorBase) and len(repeats.shape) == 1 and repeats.shape[0] != 1:
        if repeats.shape[0] != shape[at]:
            raise ShapeError(
                "repeats must have the same size as input along dim, but got repeats.size(0) = "
                f"{repeats.shape[0]} and input.size({at}) = {shape[at]}"
            )
        return index_op(input, _repeated_positions(repeats, output_size), axes=(at,))
    count = as_size(repeats.item() if isinstance(repeats, TensorBase) else repeats, "repeats")  # type: ignore[attr-defined]
    if isinstance(count, int) and count < 0:
        raise ShapeError("Repeats must be non-negative")
    spread = views.reshape(input, shape=(*shape[: at + 1], 1, *shape[at + 1 :]))
    wide = views.expand(spread, shape=(*shape[: at + 1], count, *shape[at + 1 :]))
    return views.reshape(copy(wide), shape=(*shape[:at], shape[at] * count, *shape[at + 1 :]))


def _repeated_positions(counts: Any, output_size: Any) -> Any:
    """i64[sum(counts)]: position i, counts[i] times."""
    shape = shape_of(counts)
    if counts.dtype.category in (FLOAT, BOOL):
        raise DtypeError(f"repeat_interleave is not implemented for {counts.dtype!r} repeats", "int32 or int64")
    if len(shape) != 1:
        raise ShapeError("repeat_interleave only accept 1D vector as repeat")
    counts = cast_to(counts, int64)
    total = output_size if output_size is not None else operator.index(reduce_sum(counts, axes=(0,)))
    ends = cumulative_sum(counts, axis=0)
    # a 1 where each position begins, summed up; what begins at the very end falls into one spare place
    marks = scatter_add(zeros_of((total + 1,), int64), ends, ends * 0 + 1, axis=0)
    return slice_axis(cumulative_sum(marks, axis=0), 0, 0, total)


# --- windows and turns ------------------------------------------------------------------------------------------------


def unfold(input: Any, dimension: int, size: int, step: int) -> Any:
    """Windows of `size` elements every `step` along a dimension, put in a new last dimension (`Tensor.unfold`)."""
    shape = shape_of(input) or (1,)
    at = normalize_dim(dimension, len(shape_of(input)))
    length, width, stride = shape[at], as_int(size, "size"), as_int(step, "step")
    if width < 0:
        raise ShapeError(f"size is {width} but must be >= 0")
    if stride <= 0:
        raise ShapeError(f"step is {stride} but must be > 0")
    if isinstance(length, int) and width > length:
        raise ShapeError(f"maximum size for tensor at dimension {at} is {length} but size is {width}")
    if not input.shape:
        return slice_axis(views.reshape(input, shape=(1,)), 0, 0, width)
    count = (length - width) // stride + 1
    starts = views.reshape(iota(size=count, start=0, step=stride, dtype=int64), shape=(count, 1))
    places = starts + views.reshape(iota(size=width, start=0, step=1, dtype=int64), shape=(1, width))
    windows = index_op(input, places, axes=(at,))
    return movedim(windows, at + 1, -1)


def flip(input: Any, *args: Any, dims: Any = None) -> Any:
    """A copy with the elements along each of `dims` in reverse order."""
    ndim = len(shape_of(input))
    axes = [normalize_dim(d, ndim) for d in dims_argument(args if dims is None else (dims,))]
    for axis in axes:
        if axes.count(axis) > 1:
            raise ShapeError(f"dim {axis} appears multiple times in the list of dims")
    return copy(views.flip(input, axes=tuple(sorted(axes)) if ndim else ()))


def fliplr(input: Any) -> Any:
    """A copy with the columns in reverse order."""
    if len(shape_of(input)) < 2:
        raise ShapeError("Input must be >= 2-d.")
    return flip(input, 1)


def flipud(input: Any) -> Any:
    """A copy with the rows in reverse order."""
    if len(shape_of(input)) < 1:
        raise ShapeError("Input must be >= 1-d.")
    return flip(input, 0)


def rot90(input: Any, k: int = 1, dims: Any = (0, 1)) -> Any:
    """A copy turned by k quarters from the first of `dims` towards the second."""
    ndim = len(shape_of(input))
    if len(dims) != 2:
        raise ShapeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if ndim < 2:
        raise ShapeError(f"expected total dims >= 2, but got total dims = {ndim}")
    a, b = (normalize_dim(d, ndim) for d in dims)
    if a == b:
        raise ShapeError(f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}")
    turns = k % 4
    if turns == 2:
        return flip(input, (a, b))
    if turns == 0:
        return copy(input)
    return transpose(flip(input, b), a, b) if turns == 1 else flip(transpose(input, a, b), b)


def roll(input: Any, shifts: Any, dims: Any = None) -> Any:
    """A copy with the elements moved by `shifts` along `dims`, those that fall off coming in at the other side."""
    shape = shape_of(input)
    amounts = as_sizes((shifts,), "shifts")
    places = () if dims is None else tuple(dims) if isinstance(dims, Sequence) else (dims,)
    if not places and len(amounts) == 1:
        return views.reshape(roll(flatten(input), amounts[0], 0), shape=shape)
    if len(places) != len(amounts) or not amounts:
        raise ShapeError(f"shifts and dimensions must align. shifts: {len(amounts)}, dims:{len(places)}")
    out = input
    for amount, dim in zip(amounts, places, strict=True):
        at = normalize_dim(dim, len(shape))
        size = shape[at] if shape else 1
        if size == 0 or size == 1 or not shape:
            continue
        cut = (-amount) % size
        if cut != 0:
            out = concat(slice_axis(out, at, cut, size), slice_axis(out, at, 0, cut), axis=at)
    return copy(out) if out is input else out


# --- diagonals and triangles -----------------------------------------------------------------------------------------


def diagonal(input: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """The diagonal of two dimensions as a new last one: a view."""
    ndim = len(shape_of(input))
    a, b = normalize_dim(dim1, ndim), normalize_dim(dim2, ndim)
    if a == b:
        raise ShapeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return views.diagonal(input, offset=as_int(offset, "offset"), axis1=a, axis2=b)


def diag(input: Any, diagonal: int = 0) -> Any:
    """A matrix with the vector on its diagonal, or a copy of a matrix's diagonal."""
    ndim = len(shape_of(input))
    if ndim == 1:
        return diag_embed(input, diagonal)
    if ndim == 2:
        return copy(views.diagonal(input, offset=as_int(diagonal, "diagonal"), axis1=0, axis2=1))
    raise ShapeError(f"diag(): Supports 1D or 2D tensors. Got {ndim}D")


def diag_embed(input: Any, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """Zeros with the last dimension on the diagonal of two new ones."""
    shape = shape_of(input)
    ndim = len(shape) + 1
    a, b = normalize_dim(dim1, ndim), normalize_dim(dim2, ndim)
    if a == b:
        raise ShapeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    side = shape[-1] + abs(offset)
    base = zeros_of((*shape[:-1], side, side), input.dtype)
    out = views.diagonal_put(base, input, offset=as_int(offset, "offset"), axis1=ndim - 2, axis2=ndim - 1)
    return movedim(out, (ndim - 2, ndim - 1), (a, b)) if (a, b) != (ndim - 2, ndim - 1) else out


def diagflat(input: Any, offset: int = 0) -> Any:
    """A matrix with all elements on its diagonal."""
    return diag_embed(flatten(input), offset)


def _triangle(name: str, input: Any, diagonal: int, keep: Callable[[Any, Any], Any]) -> Any:
    shape = shape_of(input)
    if len(shape) < 2:
        raise ShapeError(f"{name}: input tensor must have at least 2 dimensions")
    row, column = index_grid(shape[-2], shape[-1])
    return where(keep(row + as_int(diagonal, "diagonal"), column), input, zeros_of((), input.dtype))


def tril(input: Any, diagonal: int = 0) -> Any:
    """The elements on and below a diagonal of the last two dimensions, zeros above."""
    return _triangle("tril", input, diagonal, greater_equal)


def triu(input: Any, diagonal: int = 0) -> Any:
    """The elements on and above a diagonal of the last two dimensions, zeros below."""
    return _triangle("triu", input, diagonal, less_equal)


# --- written into a copy ---------------------------------------------------------------------------------------------


def diagonal_scatter(input: Any, src: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """A copy of the input with a diagonal replaced by `src`."""
    ndim = len(shape_of(input))
    a, b = normalize_dim(dim1, ndim), normalize_dim(dim2, ndim)
    return views.diagonal_put(input, cast_to(src, input.dtype), offset=as_int(offset, "offset"), axis1=a, axis2=b)


@numpy_names
def slice_scatter(input: Any, src: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    """A copy of the input with `input[start:end:step]` along `dim` replaced by `src`."""
    shape = shape_of(input)
    at = normalize_dim(dim, len(shape))
    first, limit, stride = slice(start, end, step).indices(operator.index(shape[at]))
    starts, limits, strides = [0] * len(shape), list(shape), [1] * len(shape)
    starts[at], limits[at], strides[at] = first, max(first, limit), stride
    value = cast_to(src, input.dtype)
    return views.slice_put(input, value, starts=tuple(starts), limits=tuple(limits), strides=tuple(strides))


def select_scatter(input: Any, src: Any, dim: int, index: int) -> Any:
    """A copy of the input with the part at one index of `dim` replaced by `src`."""
    shape = shape_of(input)
    at = normalize_dim(dim, len(shape))
    place = as_int(index, "index")
    if place < 0:
        place += operator.index(shape[at])
    return slice_scatter(input, unsqueeze(src, at), at, place, place + 1)


METHODS = (
    "reshape", "view_as", "reshape_as", "flatten", "ravel", "unflatten", "squeeze", "unsqueeze", "transpose",
    "swapaxes",
    "swapdims", "t", "permute", "movedim", "moveaxis", "adjoint", "expand", "expand_as", "broadcast_to", "repeat",
    "tile", "repeat_interleave", "narrow", "select", "unbind", "split", "split_with_sizes", "chunk", "tensor_split",
    "hsplit", "vsplit", "dsplit", "unfold", "flip", "fliplr", "flipud", "rot90", "roll", "diagonal", "diag",
    "diag_embed", "diagflat", "tril", "triu", "diagonal_scatter", "slice_scatter", "select_scatter",
)  # fmt: skip
INPLACE = ("tril", "triu")
__all__ = [
    "reshape", "flatten", "ravel", "unflatten", "squeeze", "unsqueeze", "atleast_1d", "atleast_2d", "atleast_3d",
    "transpose", "swapaxes", "swapdims", "t", "permute", "movedim", "moveaxis", "adjoint", "broadcast_to",
    "broadcast_shapes", "broadcast_tensors", "tile", "repeat_interleave", "narrow", "select", "unbind", "split",
    "split_with_sizes", "chunk", "tensor_split", "hsplit", "vsplit", "dsplit", "flip", "fliplr", "flipud", "rot90",
    "roll", "diagonal", "diag", "diag_embed", "diagflat", "tril", "triu", "diagonal_scatter", "slice_scatter", "select_scatter",
]  # fmt: skip
