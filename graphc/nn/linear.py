"""Affine maps: `linear` and `bilinear`."""

from __future__ import annotations

from typing import Any

from graphc.core.autocast import DEVICE_WIDEST, LOWER, casts
from graphc.core.dims import product
from graphc.core.one_call import one_call
from graphc.functions.arguments import need_tensor
from graphc.functions.linalg import matmul
from graphc.nn.losses import shape_of
from graphc.primitives import contraction
from graphc.primitives.views import reshape


@one_call(weight=2, cast=LOWER)
def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """input @ weight.T + bias; input: f32[*, in], weight: f32[out, in] (or f32[in]), bias: f32[out]."""
    x = need_tensor(input)
    if len(weight.shape) == 1:
        out = matmul(x, weight)
    elif len(x.shape) >= 2:
        out = contraction.matmul(x, weight, transpose_a=False, transpose_b=True)
    else:
        out = matmul(weight, x)
    return out if bias is None else out + bias


@casts(DEVICE_WIDEST)
def bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> Any:
    """x1 @ weight[k] @ x2 + bias[k] for each output k; weight: f32[out, in1, in2]."""
    x, y = need_tensor(input1), need_tensor(input2)
    rows = product(shape_of(x)[:-1])
    count, left, right = shape_of(weight)
    a = reshape(x, shape=(rows, 1, x.shape[-1], 1))
    b = reshape(y, shape=(rows, 1, y.shape[-1], 1))
    half = contraction.matmul(reshape(weight, shape=(1, count, left, right)), b, transpose_a=False, transpose_b=False)
    out = contraction.matmul(a, half, transpose_a=True, transpose_b=False)
    out = reshape(out, shape=(*shape_of(x)[:-1], count))
    return out if bias is None else out + bias


__all__ = ["bilinear", "linear"]
