"""Look-ups in tables of vectors: `embedding` and `embedding_bag`."""

from __future__ import annotations

import warnings
from typing import Any

from graphc.core.dims import product
from graphc.core.errors import ArgumentError, DtypeError
from graphc.core.tensor_types import INT, int64
from graphc.functions import indexing
from graphc.functions.arguments import need_tensor
from graphc.functions.creation import arange, ones, zeros
from graphc.functions.indexing import searchsorted
from graphc.functions.promotion import cast_to
from graphc.functions.shaping import broadcast_to
from graphc.nn.losses import number, shape_of
from graphc.primitives.elementwise import add, less, logical_and, not_equal
from graphc.primitives.elementwise import where as choose
from graphc.primitives.indexing import REFUSED, index, scatter_add
from graphc.primitives.views import reshape


def embedding(
    input: Any, weight: Any, padding_idx: int | None = None, max_norm: float | None = None, norm_type: float = 2.0,
    scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Any:  # fmt: skip
    """The rows of `weight` at the indices `input`; input: i64[*], weight: f32[V, D] gives f32[*, D].

    `padding_idx`: a row that gets no gradient. `max_norm`: rows looked up are first scaled down to it, in place.
    Raises ArgumentError for a padding_idx outside the rows, DimensionError for an index outside them.
    """
    at = need_tensor(input)
    if at.dtype.category != INT:
        raise DtypeError(
            f"Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but got "
            f"{at.dtype.name} instead (while checking arguments for embedding)"
        )
    at, rows = cast_to(at, int64), weight.shape[0]
    if padding_idx is not None and isinstance(rows, int) and not -rows <= padding_idx < rows:
        raise AssertionError("Padding_idx must be within num_embeddings")
    # primitives wrap negative indices, PyTorch refuses them here
    at = choose(less(at, number(0, at)), add(at, number(REFUSED, at)), at)
    out = indexing.embedding(at, weight, padding_idx, max_norm, norm_type)
    if scale_grad_by_freq:
        flat = reshape(at, shape=(product(shape_of(at)),))
        counts = scatter_add(zeros(rows, dtype=out.dtype), flat, ones(flat.shape[0], dtype=out.dtype), axis=0)
        part = out / reshape(index(counts, at, axes=(0,)), shape=(*shape_of(at), 1))
        out = part + (out - part).detach()
    return out


def _bags(at: Any, offsets: Any, include_last_offset: bool) -> tuple[Any, Any, Any]:
    """The indices in a row, the number of the bag each is in, and how many bags there are."""
    if at.dim() == 2:
        if offsets is not None:
            raise ArgumentError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed length "
                f"sequences. However, found offsets of type {type(offsets)}"
            )
        bags, length = shape_of(at)
        numbers = broadcast_to(reshape(arange(bags), shape=(bags, 1)), (bags, length))
        return reshape(at, shape=(bags * length,)), reshape(numbers, shape=(bags * length,)), bags
    if at.dim() != 1:
        raise ArgumentError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {at.dim()}")
    if offsets is None:
        raise ArgumentError("offsets has to be a 1D Tensor but got None")
    if offsets.dim() != 1:
        raise ArgumentError("offsets has to be a 1D Tensor")
    starts = cast_to(offsets, int64)
    bags = offsets.shape[0] - 1 if include_last_offset else offsets.shape[0]
    numbers = searchsorted(starts, arange(at.shape[0]), right=True) - 1
    return at, numbers, bags


def embedding_bag(
    input: Any, weight: Any, offsets: Any = None, max_norm: float | None = None, norm_type: float = 2,
    scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False, per_sample_weights: Any = None,
    include_last_offset: bool = False, padding_idx: int | None = None,
) -> Any:  # fmt: skip
    """Sums, means or maxima of bags of rows: input i64[B, N], or i64[n] with bags that begin at `offsets` i64[B]; f32[B, D].

    `padding_idx`: an index that takes no part. Empty bags give zeros. ArgumentError for arguments that do not fit.
    """
    at = need_tensor(input)
    if weight.dtype is int64 and at.is_floating_point():
        warnings.warn(
            "Argument order of nn.functional.embedding_bag was changed. Usage `embedding_bag(weight, input, ...)` is "
            "deprecated, and should now be `embedding_bag(input, weight, ...)`.",
            stacklevel=2,
        )
        at, weight = weight, at
    weights = per_sample_weights
    if weights is not None and shape_of(at) != shape_of(weights):
        raise ArgumentError(
            f"embedding_bag: If per_sample_weights ({weights.shape}) is not None, then it must have the same shape as the "
            f"input ({at.shape})"
        )
    if weight.dim() != 2:
        raise ArgumentError(f"weight has to be a 2D Tensor, but got Tensor of dimension {weight.dim()}")
    flat, numbers, bags = _bags(at, offsets, include_last_offset)
    if mode not in ("sum", "mean", "max"):
        raise ArgumentError("mode has to be one of sum, mean or max")
    if mode == "max" and scale_grad_by_freq:
        raise ArgumentError("max mode does not support scaling the gradient by the frequency")
    if mode == "max" and sparse:
        raise ArgumentError("max mode does not support sparse weights")
    if weights is not None and mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for mode='sum' (got "
            f"mode='{mode}')."
        )
    # its gradient needs no mask: what takes no part is masked below
    rows = embedding(flat, weight, None, max_norm, norm_type, scale_grad_by_freq)
    if weights is not None:
        rows = rows * reshape(weights, shape=(*shape_of(flat), 1))
    taken = ones(shape_of(flat)[0], dtype=rows.dtype)
    if padding_idx is not None:
        padding = padding_idx % weight.shape[0] if padding_idx < 0 else padding_idx
        taken = cast_to(not_equal(cast_to(flat, int64), number(padding, cast_to(flat, int64))), rows.dtype)
    return _folded(mode, rows, taken, numbers, bags)


def _folded(mode: str, rows: Any, taken: Any, numbers: Any, bags: Any) -> Any:
    """rows f[n, D] with taken f[n], 0 or 1, folded by the number of their bag."""
    n, width = shape_of(rows)
    counts = scatter_add(zeros(bags, dtype=rows.dtype), numbers, taken, axis=0)
    if mode == "max":
        return _maxima(rows, taken, numbers, bags, counts)
    places = broadcast_to(reshape(numbers, shape=(n, 1)), (n, width))
    shares = rows * reshape(taken, shape=(n, 1))
    out = scatter_add(zeros(bags, width, dtype=rows.dtype), places, shares, axis=0)
    if mode == "sum":
        return out
    return out / reshape(choose(less(counts, number(1, counts)), number(1, counts), counts), shape=(bags, 1))


def _maxima(rows: Any, taken: Any, numbers: Any, bags: Any, counts: Any) -> Any:
    """The largest row of each bag, element by element; every bag is compared with every row."""
    n, width = shape_of(rows)
    mine = logical_and(
        reshape(numbers, shape=(1, n)) == reshape(arange(bags), shape=(bags, 1)),
        not_equal(reshape(taken, shape=(1, n)), number(0, taken)),
    )
    lowest = number(float("-inf"), rows)
    candidates = choose(reshape(mine, shape=(bags, n, 1)), reshape(rows, shape=(1, n, width)), lowest)
    found = candidates.max(1).values if not isinstance(n, int) or n else zeros(bags, width, dtype=rows.dtype)
    return choose(reshape(counts, shape=(bags, 1)) == number(0, counts), number(0, rows), found)


__all__ = ["embedding", "embedding_bag"]
