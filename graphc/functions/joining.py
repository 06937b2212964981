"""PyTorch's functions that put tensors side by side, and padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations as choices
from itertools import combinations_with_replacement
from typing import Any

import numpy as np

from graphc.core.autocast import AUTOCAST, CPU_FULL, brought
from graphc.core.dims import Shape, Size
from graphc.core.errors import ArgumentError, ArgumentTypeError, ShapeError
from graphc.core.tape import TensorBase
from graphc.functions.axes import normalize_dim
from graphc.functions.creation import from_array
from graphc.functions.promotion import cast_to, common_dtype, plain
from graphc.functions.shaping import atleast_1d, atleast_2d, atleast_3d, stretched, unsqueeze
from graphc.functions.sizes import as_sizes
from graphc.functions.splitting import slice_axis
from graphc.primitives import joining, views
from graphc.primitives.copying import copy
from graphc.primitives.indexing import index as index_op
from graphc.primitives.views import show


def tensors_argument(tensors: Any, name: str, argument: str = "tensors") -> tuple[Any, ...]:
    """A sequence of tensors as a tuple; ArgumentTypeError for anything else."""
    if isinstance(tensors, TensorBase) or not isinstance(tensors, Sequence):
        kind = type(tensors).__name__
        raise ArgumentTypeError(f"{name}(): argument '{argument}' (position 1) must be tuple of Tensors, not {kind}")
    for i, x in enumerate(tensors):
        if not isinstance(x, TensorBase):
            raise ArgumentTypeError(f"expected Tensor as element {i} in argument 0, but got {type(x).__name__}")
    return tuple(tensors)


# --- side by side ----------------------------------------------------------------------------------------------------


def cat(tensors: Any, dim: int = 0, *, axis: Any = None) -> Any:
    """The tensors one after the other along an existing dimension, in their common dtype.

    Raises ArgumentError for no tensors, ShapeError for sizes that differ elsewhere.
    """
    given = tensors_argument(tensors, "cat")
    if not given:
        raise ArgumentError("torch.cat(): expected a non-empty list of Tensors")
    for i, x in enumerate(given):
        if not len(x.shape):
            raise ShapeError(f"zero-dimensional tensor (at position {i}) cannot be concatenated")
    dtype = common_dtype(*given)
    # PyTorch's old way of an empty tensor, shape (0,), fits beside any shape
    kept = [x for x in given if tuple(x.shape) != (0,)] or [given[0]]
    at = normalize_dim(dim if axis is None else axis, len(kept[0].shape))
    for i, x in enumerate(kept):
        if len(x.shape) != len(kept[0].shape):
            ndims = f"got {len(kept[0].shape)} and {len(x.shape)}"
            raise ShapeError(f"Tensors must have same number of dimensions: {ndims}", f"as many as tensor 0, at {i}")
    return joining.concat(*(cast_to(x, dtype) for x in kept), axis=at)


def concat(tensors: Any, dim: int = 0, *, axis: Any = None) -> Any:
    """The tensors one after the other along an existing dimension."""
    return cat(tensors, dim, axis=axis)


def concatenate(tensors: Any, dim: int = 0, *, axis: Any = None) -> Any:
    """The tensors one after the other along an existing dimension."""
    return cat(tensors, dim, axis=axis)


def stack(tensors: Any, dim: int = 0, *, axis: Any = None) -> Any:
    """Tensors of one shape, one after the other along a new dimension."""
    given = tensors_argument(tensors, "stack")
    if not given:
        raise ShapeError("stack expects a non-empty TensorList")
    first = tuple(given[0].shape)
    for i, x in enumerate(given):
        shape = tuple(x.shape)
        gaps = [a - b for a, b in zip(shape, first, strict=False)]
        if len(shape) != len(first) or any(isinstance(gap, int) and gap for gap in gaps):
            raise ShapeError(
                f"stack expects each tensor to be equal size, but got {show(first)} at entry 0 and {show(shape)} at "
                f"entry {i}"
            )
    at = normalize_dim(dim if axis is None else axis, len(first) + 1)
    return cat([unsqueeze(x, at) for x in given], at)


def _all_at_least(grow: Callable[..., Any], tensors: Any, name: str) -> list[Any]:
    given = tensors_argument(tensors, name)
    if not given:
        raise ShapeError(f"{name} expects a non-empty TensorList")
    return [grow(x) for x in given]


def hstack(tensors: Any) -> Any:
    """The tensors side by side: along the first dimension of vectors, else along the second."""
    given = _all_at_least(atleast_1d, tensors, "hstack")
    return cat(given, 0 if len(given[0].shape) == 1 else 1)


def vstack(tensors: Any) -> Any:
    """The tensors one below the other; vectors are rows."""
    return cat(_all_at_least(atleast_2d, tensors, "vstack"), 0)


def row_stack(tensors: Any) -> Any:
    """The tensors one below the other; vectors are rows."""
    return vstack(tensors)


def dstack(tensors: Any) -> Any:
    """The tensors one behind the other along the third dimension."""
    return cat(_all_at_least(atleast_3d, tensors, "dstack"), 2)


def _as_column(x: Any) -> Any:
    return views.reshape(x, shape=(*(x.shape or (1,)), 1)) if len(x.shape) < 2 else x


def column_stack(tensors: Any) -> Any:
    """The tensors side by side; vectors are columns."""
    return cat(_all_at_least(_as_column, tensors, "column_stack"), 1)


def block_diag(*tensors: Any) -> Any:
    """A matrix with the given matrices along its diagonal and zeros elsewhere; vectors are rows."""
    for i, x in enumerate(tensors_argument(tensors, "block_diag")):
        if len(x.shape) > 2:
            raise ShapeError(
                f"torch.block_diag: Input tensors must have 2 or fewer dimensions. Input {i} has {len(x.shape)} "
                "dimensions"
            )
    if not tensors:
        return views.zeros_of((1, 0), common_dtype(0.0))
    dtype = common_dtype(*tensors)
    blocks = [atleast_2d(cast_to(x, dtype)) for x in tensors]
    total: Size = 0
    for block in blocks:
        total = total + block.shape[1]
    before: Size = 0
    rows = []
    for block in blocks:
        after = total - before - block.shape[1]
        rows.append(joining.pad(block, low=(0, before), high=(0, after), value=plain(0, dtype)))
        before = before + block.shape[1]
    return joining.concat(*rows, axis=0)


# --- grids and choices -----------------------------------------------------------------------------------------------


def meshgrid(*tensors: Any, indexing: Any = None) -> tuple[Any, ...]:
    """Vectors expanded over the grid they span, one dimension each; `indexing="xy"` swaps the first two."""
    given = tensors[0] if len(tensors) == 1 and not isinstance(tensors[0], TensorBase) else tensors
    vectors = tensors_argument(given, "meshgrid")
    if indexing not in (None, "ij", "xy"):
        raise ShapeError(f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    if not vectors:
        raise ShapeError("meshgrid expects a non-empty TensorList")
    for x in vectors:
        if len(x.shape) > 1:
            raise ShapeError(f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {x.type}")
        if x.dtype is not vectors[0].dtype:
            raise ShapeError("torch.meshgrid expects all tensors to have the same dtype")
    n = len(vectors)
    places = list(range(n))
    if indexing == "xy" and n > 1:
        places[:2] = [1, 0]
    sizes: list[Size] = [1] * n
    for place, x in zip(places, vectors, strict=True):
        sizes[place] = x.shape[0] if len(x.shape) else 1
    shape = tuple(sizes)
    spread = (
        views.reshape(x, shape=tuple([s if i == place else 1 for i, s in enumerate(shape)]))
        for place, x in zip(places, vectors, strict=True)
    )
    return tuple(stretched(x, shape) for x in spread)


def _vector(x: Any) -> Any:
    if len(x.shape) != 1:
        raise ShapeError(f"Expect a 1D vector, but got shape {show(tuple(x.shape))}")
    return x


def cartesian_prod(*tensors: Any) -> Any:
    """Every choice of one element of each vector: [n1 * n2 * ..., count of vectors]."""
    vectors = [_vector(x) for x in tensors_argument(tensors, "cartesian_prod")]
    if not vectors:
        raise ShapeError("meshgrid expects a non-empty TensorList")
    if len(vectors) == 1:
        return vectors[0]
    grid = [views.reshape(x, shape=(_count(x),)) for x in meshgrid(*vectors, indexing="ij")]
    return stack(grid, 1)


def _count(x: Any) -> Size:
    total: Size = 1
    for size in x.shape:
        total = total * size
    return total


def combinations(input: Any, r: int = 2, with_replacement: bool = False) -> Any:
    """Every choice of r elements of a vector of known size, in order: [count, r]."""
    n = _vector(input).shape[0]
    if r < 0:
        raise ShapeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return views.zeros_of((0,), input.dtype)
    chosen = (combinations_with_replacement if with_replacement else choices)(range(n), r)
    return index_op(input, from_array(np.array(list(chosen), np.int64).reshape(-1, r)), axes=(0,))


# --- padding ---------------------------------------------------------------------------------------------------------


def pad(input: Any, pad: Any, mode: str = "constant", value: Any = None) -> Any:
    """`input` with `pad = (left, right, top, bottom, ...)` elements added to its last dimensions; negative ones cut.

    `mode`: "constant" (with `value`), "reflect", "replicate" or "circular". Raises ShapeError where the
    amounts do not fit.
    """
    amounts = as_sizes((pad,), "pad")
    shape = tuple(input.shape)
    if len(amounts) % 2:
        raise ShapeError("Padding length must be divisible by 2")
    if len(amounts) > 2 * len(shape):
        raise ShapeError(
            "Padding length should be less than or equal to two times the input dimension but got padding length "
            f"{len(amounts)} and input of dimension {len(shape)}"
        )
    axes = [len(shape) - 1 - i for i in range(len(amounts) // 2)]
    pairs = [(axis, amounts[2 * i], amounts[2 * i + 1]) for i, axis in enumerate(axes)]
    if mode == "constant":
        return _pad_constant(input, pairs, 0.0 if value is None else value)
    if mode not in _EDGES:
        raise ShapeError(f"Unrecognised padding mode {mode}", '"constant", "reflect", "replicate" or "circular"')
    if value is not None and value != 0:
        raise ArgumentError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if AUTOCAST.used and mode != "circular" and len(pairs) < (3 if mode == "reflect" else 4):
        (input,) = brought(CPU_FULL, input)
    out = input
    for axis, low, high in pairs:
        out = _pad_edges(out, axis, low, high, mode)
    return copy(out) if out is input else out


def _negative(amount: Size) -> bool:
    return isinstance(amount, int) and amount < 0


def _cut(x: Any, axis: int, low: Size, high: Size) -> Any:
    """x without the elements that negative amounts take away."""
    start = -low if _negative(low) else 0
    limit = x.shape[axis] + high if _negative(high) else x.shape[axis]
    left = limit - start
    if _negative(left):
        raise ShapeError(
            f"The input size {x.shape[axis]}, plus negative padding {low} and {high}, resulted in a negative output "
            f"size, which is invalid. Check dimension {axis} of your input."
        )
    return x if start == 0 and limit == x.shape[axis] else slice_axis(x, axis, start, limit)


def _pad_constant(x: Any, pairs: Sequence[tuple[int, Size, Size]], value: Any) -> Any:
    low: list[Size] = [0] * len(x.shape)
    high: list[Size] = [0] * len(x.shape)
    for axis, before, after in pairs:
        x = _cut(x, axis, before, after)
        low[axis], high[axis] = (0 if _negative(amount) else amount for amount in (before, after))
    return joining.pad(x, low=tuple(low), high=tuple(high), value=plain(value, x.dtype))


def _reflected(x: Any, axis: int, low: Size, high: Size) -> tuple[Any, Any]:
    size = x.shape[axis]
    for amount in (low, high):
        gap = size - amount
        if isinstance(gap, int) and gap <= 0:
            raise ShapeError(
                "Padding size should be less than the corresponding input dimension, but got: padding "
                f"({low}, {high}) at dimension {axis} of input {show(tuple(x.shape))}"
            )
    before = slice_axis(x, axis, 1, low + 1)
    after = slice_axis(x, axis, size - 1 - high, size - 1)
    return views.flip(before, axes=(axis,)), views.flip(after, axes=(axis,))


def _replicated(x: Any, axis: int, low: Size, high: Size) -> tuple[Any, Any]:
    size = x.shape[axis]
    if size == 0:
        raise ShapeError(f"replication padding needs a non-empty dimension {axis}, got {show(tuple(x.shape))}")

    def repeated(edge: Any, count: Size) -> Any:
        shape: Shape = tuple([count if a == axis else s for a, s in enumerate(x.shape)])
        return views.expand(edge, shape=shape)

    return repeated(slice_axis(x, axis, 0, 1), low), repeated(slice_axis(x, axis, size - 1, size), high)


def _wrapped(x: Any, axis: int, low: Size, high: Size) -> tuple[Any, Any]:
    size = x.shape[axis]
    for amount in (low, high):
        gap = size - amount
        if isinstance(gap, int) and gap < 0:
            raise ShapeError("Padding value causes wrapping around more than once.", f"at most {size}, got {amount}")
    return slice_axis(x, axis, size - low, size), slice_axis(x, axis, 0, high)


_EDGES = {"reflect": _reflected, "replicate": _replicated, "circular": _wrapped}


def _pad_edges(x: Any, axis: int, low: Size, high: Size, mode: str) -> Any:
    """x with its own elements added on both sides of an axis."""
    if _negative(low) or _negative(high):
        more = (0 if _negative(low) else low, 0 if _negative(high) else high)
        if mode == "circular":
            return _pad_edges(_cut(x, axis, low, high), axis, *more, mode)
        return _cut(_pad_edges(x, axis, *more, mode), axis, low, high)
    if low == 0 and high == 0:
        return x
    before, after = _EDGES[mode](x, axis, low, high)
    parts = [before] if low != 0 else []
    parts.append(x)
    return joining.concat(*parts, *([after] if high != 0 else []), axis=axis)


METHODS: tuple[str, ...] = ()
INPLACE: tuple[str, ...] = ()
__all__ = [
    "cat", "concat", "concatenate", "stack", "hstack", "vstack", "row_stack", "dstack", "column_stack", "block_diag",
    "meshgrid", "cartesian_prod", "combinations",
]  # fmt: skip
