"""Dropout. The kept elements are told by a bool mask, so that backward keeps one byte an element."""

from __future__ import annotations

import math
from typing import Any

from graphc.core.dims import Shape
from graphc.core.errors import ArgumentError, ShapeError
from graphc.core.one_call import one_call
from graphc.functions.arguments import need_float, need_tensor
from graphc.functions.placing import beside
from graphc.functions.promotion import scalar_operand
from graphc.functions.random import mask_sample
from graphc.functions.subscripts import write_into
from graphc.primitives import elementwise as e

# SELU's negative limit, -scale * alpha: the value dropped elements take there (Klambauer et al. 2017)
_SELU_LIMIT = -1.7580993408473766


def _check_p(p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ArgumentError(f"dropout probability has to be between 0 and 1, but got {p}")


@beside
def _dropped(x: Any, mask_shape: Shape, p: float, training: bool, inplace: bool) -> Any:
    _check_p(p)
    if not training or p == 0:
        return x
    out = x * 0 if p == 1 else _masked(x, mask_shape, p)
    return write_into(x, out) if inplace else out


@one_call(weight=10, rereads=False)
def _masked(x: Any, mask_shape: Shape, p: float) -> Any:
    return e.where(mask_sample(mask_shape, 1 - p), x * (1 / (1 - p)), scalar_operand(0, x.dtype))


def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """In training each element is zero with probability p, the others are divided by 1 - p; otherwise the input.

    Raises ArgumentError (ValueError) for p outside 0 and 1.
    """
    return _dropped(need_tensor(input), tuple(input.shape), p, training, inplace)


def channels_of(input: Any, unbatched: int | None) -> Shape:
    """A mask's shape with one element per channel: [N, C, 1, ..], or [C, 1, ..] for an input of `unbatched` dims."""
    lead = 1 if len(input.shape) == unbatched else 2
    return (*input.shape[:lead], *(1 for _ in input.shape[lead:]))


def feature_dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """`dropout` of whole channels; input: f32[N, C, *]."""
    if len(need_tensor(input).shape) < 2:
        raise ShapeError("Feature dropout requires at least 2 dimensions in the input")
    return _dropped(input, channels_of(input, None), p, training, inplace)


@beside
def _alpha_dropped(x: Any, mask_shape: Shape, p: float, training: bool, inplace: bool) -> Any:
    _check_p(p)
    if not training or p == 0:
        return x
    if p == 1:
        out = x * 0.0
    else:
        scale = 1 / math.sqrt((_SELU_LIMIT**2 * p + 1) * (1 - p))
        limit = scalar_operand(_SELU_LIMIT, x.dtype)
        out = e.where(mask_sample(mask_shape, 1 - p), x, limit) * scale - scale * _SELU_LIMIT * p
    return write_into(x, out) if inplace else out


def alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Any:
    """Dropout that keeps mean 0 and variance 1 behind SELU (Klambauer et al. 2017)."""
    return _alpha_dropped(need_float(input), tuple(input.shape), p, training, inplace)


def feature_alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Any:
    """`alpha_dropout` of whole channels; input: f32[N, C, *]."""
    return _alpha_dropped(need_float(input), channels_of(input, None), p, training, inplace)


METHODS: tuple[str, ...] = ()
INPLACE: tuple[str, ...] = ()
__all__ = ["dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"]
