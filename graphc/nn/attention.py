"""Attention: `scaled_dot_product_attention` (Vaswani et al. 2017) as a composition."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from graphc.core.autocast import LOWER
from graphc.core.context import set_grad
from graphc.core.errors import DtypeError, ShapeError
from graphc.core.one_call import one_call
from graphc.core.tensor_types import BOOL, FLOAT
from graphc.functions.arguments import need_float
from graphc.functions.creation import index_grid
from graphc.functions.dropout import dropout
from graphc.functions.linalg import matmul
from graphc.functions.promotion import cast_to
from graphc.functions.reductions import computed_in
from graphc.functions.shaping import transpose
from graphc.functions.softmaxes import softmax
from graphc.nn.losses import differ, number, shape_of
from graphc.primitives.elementwise import add, divide, equal, exp, greater_equal, subtract, where
from graphc.primitives.reductions import kept, reduce_max, reduce_sum
from graphc.primitives.views import expand, reshape


class SDPBackend(enum.Enum):
    """PyTorch's names of ways to compute attention."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4


@contextmanager
def sdpa_kernel(backends: Any, set_priority: bool = False) -> Iterator[None]:
    """Within, PyTorch takes one of these ways; there is one here, and nothing changes. AssertionError for other things."""
    chosen = [backends] if isinstance(backends, SDPBackend) else backends
    if not isinstance(chosen, list) or not all(isinstance(x, SDPBackend) for x in chosen):
        raise AssertionError("Backend must be an instance of SDPBackend or a list of SDPBackend instances")
    yield


@one_call(weight=6, cast=LOWER)
def scaled_dot_product_attention(
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
    scale: float | None = None, enable_gqa: bool = False,
) -> Any:  # fmt: skip
    """softmax(q k^T scale + mask) v; q: f32[*, L, E], k: f32[*, S, E], v: f32[*, S, Ev] give f32[*, L, Ev].

    A bool mask tells which positions take part, a floating one is added; a query that may look nowhere gets zeros.
    `scale` None is 1 / sqrt(E). `is_causal`: query i sees the keys 0..i. `enable_gqa`: each head of k and v serves
    several of q. `dropout_p` counts in evaluation too. Raises ShapeError or DtypeError for operands that do not fit,
    and if a mask is given together with `is_causal`.
    """
    q, k, v = _checked(query, key, value)
    if enable_gqa:
        k, v = (_repeated_heads(t, q) for t in (k, v))
    factor = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    scores = matmul(q * factor, transpose(k, -2, -1))
    mask = attn_mask
    if is_causal:
        if mask is not None:
            raise ShapeError("scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True")
        row, column = index_grid(q.shape[-2], k.shape[-2])
        mask = greater_equal(row, column)
    weights = softmax(scores, -1) if mask is None else masked_softmax(scores, mask)
    return matmul(dropout(weights, dropout_p), v)


def _checked(query: Any, key: Any, value: Any) -> tuple[Any, Any, Any]:
    q, k, v = need_float(query, "query"), need_float(key, "key"), need_float(value, "value")
    if not q.dtype is k.dtype is v.dtype:
        raise DtypeError(
            f"Expected query, key, and value to have the same dtype, but got query.dtype: {q.dtype} key.dtype: {k.dtype} "
            f"and value.dtype: {v.dtype} instead."
        )
    if min(len(t.shape) for t in (q, k, v)) < 2:
        raise ShapeError(
            f"Expected query, key, and value to all be at least 2 dimensional, but got query.dim: {q.ndim} key.dim: {k.ndim} "
            f"and value.dim: {v.ndim} instead."
        )
    if differ(q.shape[-1], k.shape[-1]) or differ(k.shape[-2], v.shape[-2]):
        raise ShapeError(
            f"scaled_dot_product_attention: query {list(q.shape)}, key {list(k.shape)} and value {list(v.shape)} do not fit",
            "query [*, L, E], key [*, S, E], value [*, S, Ev]",
        )
    return q, k, v


def _repeated_heads(t: Any, q: Any) -> Any:
    """k or v with each head as often as the queries need it; t: f32[*, H, S, E], H divides the heads of q."""
    *lead, heads, length, width = shape_of(t)
    wanted = q.shape[-3]
    if isinstance(heads, int) and isinstance(wanted, int) and (not heads or wanted % heads):
        raise ShapeError(
            f"Number of heads in key and value must divide the number of heads in query, got {heads} and {wanted}"
        )
    times = wanted // heads
    wide = expand(reshape(t, shape=(*lead, heads, 1, length, width)), shape=(*lead, heads, times, length, width))
    return reshape(wide, shape=(*lead, heads * times, length, width))


@one_call(rereads=False)
def masked_softmax(scores: Any, mask: Any) -> Any:
    """softmax over the last dimension of the scores that `mask` leaves; zeros, with zero gradients, where it leaves none.

    scores: f32[*, L, S], mask: bool or floating, broadcast against them. DtypeError for another mask.
    """
    wide = computed_in(scores)
    low = number(-math.inf, wide)
    if mask.dtype.category == BOOL:
        wide = where(mask, wide, low)
    elif mask.dtype.category == FLOAT and mask.dtype.itemsize <= wide.dtype.itemsize:
        wide = add(wide, cast_to(mask, wide.dtype))
    else:
        raise DtypeError(
            "Expected attn_mask dtype to be bool or float or to match query dtype, but got attn_mask.dtype: "
            f"{mask.dtype} and  query.dtype: {scores.dtype} instead."
        )
    if len(wide.shape) != len(scores.shape):
        raise ShapeError(f"attn_mask {list(mask.shape)} has more dimensions than the scores, {list(scores.shape)}")
    axes = (len(wide.shape) - 1,)
    if isinstance(wide.shape[-1], int) and wide.shape[-1] == 0:
        return scores
    # -inf - -inf would be NaN, so a row without a key subtracts 0, sums to 0, and divides by 1 instead
    with set_grad(False):
        peak = kept(reduce_max(wide, axes=axes), wide, axes)
        nothing = equal(peak, low)
        peak = where(nothing, number(0, wide), peak)
    powers = exp(subtract(wide, peak))
    total = kept(reduce_sum(powers, axes=axes), powers, axes)
    return cast_to(divide(powers, add(total, cast_to(nothing, wide.dtype))), scores.dtype)


__all__ = ["SDPBackend", "masked_softmax", "scaled_dot_product_attention", "sdpa_kernel"]
