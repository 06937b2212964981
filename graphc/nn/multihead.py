"""Multi-head attention as a function (Vaswani et al. 2017, section 3.2.2)."""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

from graphc.core.errors import ShapeError
from graphc.core.tensor_types import BOOL, FLOAT
from graphc.functions.creation import zeros
from graphc.functions.dropout import dropout
from graphc.functions.joining import cat, pad
from graphc.functions.linalg import matmul
from graphc.functions.promotion import cast_to
from graphc.functions.reductions import mean
from graphc.functions.shaping import permute, squeeze, transpose, unsqueeze
from graphc.functions.softmaxes import softmax
from graphc.functions.splitting import chunk, slice_axis
from graphc.nn.attention import scaled_dot_product_attention
from graphc.nn.linear import linear
from graphc.nn.losses import differ, number, shape_of, shapes_differ
from graphc.primitives.elementwise import where
from graphc.primitives.views import expand, reshape


class Projections(NamedTuple):
    """What multi-head attention learns: `packed` [3 E, E] or `separate` weights [E, *] of q, k and v, with `bias` [3 E];
    one more key and value [1, 1, E]; the way out, [E, E] and [E]."""

    packed: Any
    separate: tuple[Any, Any, Any]
    bias: Any
    bias_k: Any
    bias_v: Any
    out_weight: Any
    out_bias: Any


def float_mask(mask: Any, name: str, dtype: Any, other: Any = None, other_name: str = "") -> Any:
    """A mask as what is added to the scores: -inf where a bool one is true. AssertionError for an integer mask."""
    if mask is None:
        return None
    if mask.dtype.category not in (BOOL, FLOAT):
        raise AssertionError(f"only bool and floating types of {name} are supported")
    if other is not None and mask.dtype is not other.dtype:
        warnings.warn(
            f"Support for mismatched {name} and {other_name} is deprecated. Use same type for both instead.",
            stacklevel=3,
        )
    if mask.dtype.category == FLOAT:
        return mask
    zero = zeros((), dtype=dtype)
    return where(mask, number(-math.inf, zero), zero)


def _check_ranks(query: Any, key: Any, value: Any, key_padding_mask: Any, attn_mask: Any) -> bool:
    """Whether there is a batch dimension; AssertionError for operands with other numbers of dimensions than PyTorch's."""
    ndim = len(query.shape)
    if ndim not in (2, 3):
        raise AssertionError(f"query should be unbatched 2D or batched 3D tensor but received {ndim}-D query tensor")
    batched = ndim == 3
    kind = "batched (3-D)" if batched else "unbatched (2-D)"
    if len(key.shape) != ndim or len(value.shape) != ndim:
        raise AssertionError(
            f"For {kind} `query`, expected `key` and `value` to be {ndim}-D but found {key.ndim}-D and {value.ndim}-D "
            "tensors respectively"
        )
    if key_padding_mask is not None and len(key_padding_mask.shape) != ndim - 1:
        raise AssertionError(
            f"For {kind} `query`, expected `key_padding_mask` to be `None` or {ndim - 1}-D but found "
            f"{key_padding_mask.ndim}-D tensor instead"
        )
    if attn_mask is not None and len(attn_mask.shape) not in (2, 3):
        raise AssertionError(
            f"For {kind} `query`, expected `attn_mask` to be `None`, 2-D or 3-D but found {attn_mask.ndim}-D tensor instead"
        )
    return batched


def _check_sizes(query: Any, key: Any, value: Any, embed_dim: int, num_heads: int, separate: bool) -> None:
    if differ(query.shape[-1], embed_dim):
        raise AssertionError(f"was expecting embedding dimension of {embed_dim}, but got {query.shape[-1]}")
    if embed_dim % num_heads:
        raise AssertionError(f"embed_dim {embed_dim} not divisible by num_heads {num_heads}")
    if separate and shapes_differ(key.shape[:2], value.shape[:2]):
        raise AssertionError(
            f"key's sequence and batch dims {list(key.shape[:2])} do not match value's {list(value.shape[:2])}"
        )
    if not separate and shapes_differ(key.shape, value.shape):
        raise AssertionError(f"key shape {list(key.shape)} does not match value shape {list(value.shape)}")


def _projected(query: Any, key: Any, value: Any, p: Projections) -> list[Any]:
    """q, k and v, each [.., E]; one contraction for those that are the same tensor."""
    biases = [None] * 3 if p.bias is None else list(chunk(p.bias, 3))
    if p.packed is None:
        return [linear(x, w, b) for x, w, b in zip((query, key, value), p.separate, biases, strict=True)]
    if query is key and key is value:
        return list(chunk(linear(query, p.packed, p.bias), 3, -1))
    size = p.packed.shape[1]
    weights = chunk(p.packed, 3)
    if key is not value:
        return [linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)]
    both = slice_axis(p.packed, 0, size, 3 * size)
    bias = None if p.bias is None else slice_axis(p.bias, 0, size, 3 * size)
    return [linear(query, weights[0], biases[0]), *chunk(linear(key, both, bias), 2, -1)]


def _heads(x: Any, num_heads: int, batch_first: bool) -> Any:
    """[L, N, E] (or [N, L, E]) as [N, heads, L, E / heads]."""
    a, b, size = shape_of(x)
    split = reshape(x, shape=(a, b, num_heads, size // num_heads))
    return permute(split, (0, 2, 1, 3) if batch_first else (1, 2, 0, 3))


def _joined(x: Any, batch_first: bool) -> Any:
    """The inverse of `_heads`."""
    n, heads, length, width = shape_of(x)
    back = permute(x, (0, 2, 1, 3) if batch_first else (2, 0, 1, 3))
    return reshape(back, shape=(n, length, heads * width) if batch_first else (length, n, heads * width))


def _merged_mask(attn_mask: Any, padding: Any, n: Any, num_heads: int, lengths: tuple[Any, Any], extra: int) -> Any:
    """Both float masks as one that broadcasts against scores [N, heads, L, S + extra]; RuntimeError for other sizes."""
    if attn_mask is not None:
        ndim = len(attn_mask.shape)
        wanted = lengths if ndim == 2 else (n * num_heads, *lengths)
        if shapes_differ(attn_mask.shape, wanted):
            raise ShapeError(f"The shape of the {ndim}D attn_mask is {list(attn_mask.shape)}, but should be {wanted}.")
        if ndim == 3:
            attn_mask = reshape(attn_mask, shape=(n, num_heads, *lengths))
        attn_mask = pad(attn_mask, (0, extra)) if extra else attn_mask
    if padding is None:
        return attn_mask
    if shapes_differ(padding.shape, (n, lengths[1])):
        raise AssertionError(f"Expected key_padding_mask to be {[n, lengths[1]]}, but got {list(padding.shape)}")
    padding = pad(padding, (0, extra)) if extra else padding
    padding = reshape(padding, shape=(n, 1, 1, lengths[1] + extra))
    return padding if attn_mask is None else attn_mask + padding


def _extended(k: Any, v: Any, p: Projections, batch_first: bool) -> tuple[Any, Any]:
    """k and v with the learned key and value appended."""
    if p.bias_k is None:
        return k, v
    time = 1 if batch_first else 0
    found = []
    for x, bias in ((k, p.bias_k), (v, p.bias_v)):
        size = [*shape_of(x)]
        size[time] = 1
        found.append(cat((x, expand(bias, shape=tuple(size))), time))
    return found[0], found[1]


def _static(given: Any, n: Any, num_heads: int, width: int, name: str) -> Any:
    """A key or value that is given per head, [N * heads, S, E / heads], as [N, heads, S, E / heads]."""
    for at, want in ((0, n * num_heads), (2, width)):
        if differ(given.shape[at], want):
            raise AssertionError(f"expecting {name}.size({at}) of {want}, but got {given.shape[at]}")
    return reshape(given, shape=(n, num_heads, given.shape[1], width))


def _with_zeros(x: Any) -> Any:
    n, heads, _, width = shape_of(x)
    return cat((x, zeros(n, heads, 1, width, dtype=x.dtype)), 2)


def _attend_with_weights(q: Any, k: Any, v: Any, mask: Any, dropout_p: float) -> tuple[Any, Any]:
    """Attention that also gives its weights [N, heads, L, S]; a fully masked row is NaN, as in PyTorch."""
    scores = matmul(q * (1 / math.sqrt(q.shape[-1])), transpose(k, -2, -1))
    if mask is not None:
        scores = scores + cast_to(mask, scores.dtype)
    weights = dropout(softmax(scores, -1), dropout_p)
    return matmul(weights, v), weights


def attend(
    query: Any, key: Any, value: Any, p: Projections, num_heads: int, *, batch_first: bool, dropout_p: float,
    key_padding_mask: Any = None, attn_mask: Any = None, add_zero_attn: bool = False, need_weights: bool = True,
    average: bool = True, is_causal: bool = False, static_k: Any = None, static_v: Any = None,
) -> tuple[Any, Any]:  # fmt: skip
    """Multi-head attention over [L, N, E] (`batch_first`: [N, L, E]); the result and its weights [N, (heads,) L, S] or None.

    Masks are bool (True: not allowed) or floating (added). `is_causal` says that attn_mask is the causal one.
    """
    time = 1 if batch_first else 0
    n, length, source = query.shape[1 - time], query.shape[time], key.shape[time]
    padding = float_mask(key_padding_mask, "key_padding_mask", query.dtype, attn_mask, "attn_mask")
    if is_causal and attn_mask is None:
        raise ShapeError(
            "Need attn_mask if specifying the is_causal hint. You may use the Transformer module method "
            "`generate_square_subsequent_mask` to create this mask."
        )
    causal = is_causal and padding is None and not need_weights
    q, k, v = _projected(query, key, value, p)
    k, v = _extended(k, v, p, batch_first)
    q, k, v = (_heads(x, num_heads, batch_first) for x in (q, k, v))
    if static_k is not None:
        k = _static(static_k, n, num_heads, q.shape[-1], "static_k")
        source = static_k.shape[1]
    if static_v is not None:
        v = _static(static_v, n, num_heads, q.shape[-1], "static_v")
    if add_zero_attn:
        k, v = _with_zeros(k), _with_zeros(v)
    extra = (p.bias_k is not None) + add_zero_attn
    given = None if causal else float_mask(attn_mask, "attn_mask", query.dtype)
    mask = _merged_mask(given, padding, n, num_heads, (length, source), extra)
    weights = None
    if need_weights:
        out, weights = _attend_with_weights(q, k, v, mask, dropout_p)
        weights = mean(weights, 1) if average else weights
    else:
        out = scaled_dot_product_attention(q, k, v, mask, dropout_p, causal)
    return linear(_joined(out, batch_first), p.out_weight, p.out_bias), weights


def attend_unbatched_too(
    query: Any,
    key: Any,
    value: Any,
    p: Projections,
    embed_dim: int,
    num_heads: int,
    *,
    batch_first: bool,
    **options: Any,
) -> tuple[Any, Any]:
    """`attend` after the checks of the operands, which may lack the batch dimension."""
    padding, attn_mask = options.get("key_padding_mask"), options.get("attn_mask")
    batched = _check_ranks(query, key, value, padding, attn_mask)
    _check_sizes(query, key, value, embed_dim, num_heads, p.packed is None)
    if batched:
        return attend(query, key, value, p, num_heads, batch_first=batch_first, **options)
    same_kv, same_qk = key is value, query is key
    query = unsqueeze(query, 1)
    key = query if same_qk else unsqueeze(key, 1)
    value = key if same_kv else unsqueeze(value, 1)
    if padding is not None:
        options["key_padding_mask"] = unsqueeze(padding, 0)
    out, weights = attend(query, key, value, p, num_heads, batch_first=False, **options)
    return squeeze(out, 1), None if weights is None else squeeze(weights, 0)


def multi_head_attention_forward(
    query: Any, key: Any, value: Any, embed_dim_to_check: int, num_heads: int, in_proj_weight: Any, in_proj_bias: Any,
    bias_k: Any, bias_v: Any, add_zero_attn: bool, dropout_p: float, out_proj_weight: Any, out_proj_bias: Any,
    training: bool = True, key_padding_mask: Any = None, need_weights: bool = True, attn_mask: Any = None,
    use_separate_proj_weight: bool = False, q_proj_weight: Any = None, k_proj_weight: Any = None, v_proj_weight: Any = None,
    static_k: Any = None, static_v: Any = None, average_attn_weights: bool = True, is_causal: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """Multi-head attention with all it learns given; query: f32[L, N, E] or f32[L, E], key and value: f32[S, N, *].

    Gives f32[L, N, E] and, with `need_weights`, the weights f32[N, L, S] (f32[N, heads, L, S] without
    `average_attn_weights`). AssertionError or RuntimeError, as in PyTorch, for operands that do not fit.
    """
    separate = (q_proj_weight, k_proj_weight, v_proj_weight)
    if use_separate_proj_weight and any(w is None for w in separate):
        raise AssertionError(
            "use_separate_proj_weight is True but q_proj_weight, k_proj_weight or v_proj_weight is None"
        )
    if not use_separate_proj_weight and in_proj_weight is None:
        raise AssertionError("use_separate_proj_weight is False but in_proj_weight is None")
    if (bias_k is None) != (bias_v is None):
        raise AssertionError("bias_k and bias_v are given together")
    if bias_k is not None and (static_k is not None or static_v is not None):
        raise AssertionError("bias cannot be added to static key or value.")
    packed = None if use_separate_proj_weight else in_proj_weight
    p = Projections(packed, separate, in_proj_bias, bias_k, bias_v, out_proj_weight, out_proj_bias)
    return attend_unbatched_too(
        query, key, value, p, embed_dim_to_check, num_heads, batch_first=False, dropout_p=dropout_p if training else 0.0,
        key_padding_mask=key_padding_mask, attn_mask=attn_mask, add_zero_attn=add_zero_attn, need_weights=need_weights,
        average=average_attn_weights, is_causal=is_causal, static_k=static_k, static_v=static_v,
    )  # fmt: skip


__all__ = ["Projections", "attend_unbatched_too", "float_mask", "multi_head_attention_forward"]
