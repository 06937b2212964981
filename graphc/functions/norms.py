"""Vector norms and distances. Their gradients are 0, not NaN, where the norm has a kink at 0, as in PyTorch."""

from __future__ import annotations

import math
from typing import Any

from graphc.core.autocast import DEVICE_FULL, casts
from graphc.core.errors import ArgumentError, ShapeError
from graphc.core.tensor_types import as_dtype
from graphc.functions.axes import kept_shape, normalize_dim, normalize_dims, numpy_names, tensor_argument, with_kept
from graphc.functions.decompositions import spectral_matrix_norm
from graphc.functions.promotion import cast_to, promote, scalar_operand
from graphc.functions.reductions import check_floating, computed_in
from graphc.primitives.elementwise import (
    absolute,
    add,
    cast,
    divide,
    equal,
    greater,
    multiply,
    not_equal,
    power,
    sqrt,
    subtract,
    where,
)  # fmt: skip
from graphc.primitives.reductions import reduce_max, reduce_min, reduce_sum
from graphc.primitives.views import expand, reshape


def masked_sqrt(x: Any) -> Any:
    """sqrt(x), its gradient taken as 0 where x is 0."""
    zero, one = scalar_operand(0, x.dtype), scalar_operand(1, x.dtype)
    at_zero = equal(x, zero)
    return where(at_zero, zero, sqrt(where(at_zero, one, x)))


def masked_power(x: Any, exponent: float) -> Any:
    """x ** exponent for x >= 0 and exponent > 0, its gradient taken as 0 where x is 0."""
    zero, one = scalar_operand(0, x.dtype), scalar_operand(1, x.dtype)
    at_zero = equal(x, zero)
    return where(at_zero, zero, power(where(at_zero, one, x), scalar_operand(exponent, x.dtype)))


def norm_over(x: Any, order: float, axes: tuple[int, ...]) -> Any:
    """The vector norm of any order of a floating tensor over `axes`."""
    if order == 2:
        return masked_sqrt(reduce_sum(multiply(x, x), axes=axes))
    if order == 0:
        return reduce_sum(cast(not_equal(x, scalar_operand(0, x.dtype)), dtype=x.dtype), axes=axes)
    sizes = absolute(x)
    if order == 1:
        return reduce_sum(sizes, axes=axes)
    if math.isinf(order):
        return (reduce_max if order > 0 else reduce_min)(sizes, axes=axes)
    if order < 0:
        exponent = scalar_operand(order, x.dtype)
        total = reduce_sum(power(sizes, exponent), axes=axes)
        return power(total, scalar_operand(1 / order, x.dtype))
    return masked_power(reduce_sum(masked_power(sizes, order), axes=axes), 1 / order)


@casts(DEVICE_FULL)
@numpy_names
def vector_norm(input: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The norm of order `ord` over `dim` (None: all elements), in `dtype` if given: `torch.linalg.vector_norm`."""
    x = tensor_argument(input, "linalg.vector_norm")
    x = x if dtype is None else cast_to(x, as_dtype(dtype))
    check_floating(
        x, f"linalg.vector_norm: Expected a floating point or complex tensor as input. Got {x.dtype.name}"
    )  # fmt: skip
    axes = normalize_dims(dim, len(x.shape))
    order = float(ord)
    if (order < 0 or order == math.inf) and 0 in [x.shape[i] for i in axes]:
        raise ShapeError(
            f"linalg.vector_norm cannot compute the {ord} norm on an empty tensor because the operation does not have "
            "an identity"
        )
    return with_kept(cast_to(norm_over(computed_in(x), order, axes), x.dtype), x.shape, axes, keepdim)


@casts(DEVICE_FULL)
@numpy_names
def norm(input: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    """The p-norm of the elements over `dim`; "fro" is 2, "nuc" the sum of a matrix's singular values."""
    if p == "nuc":
        axes = normalize_dims(dim, len(input.shape))
        if len(axes) != 2:
            raise ShapeError(f"norm(): the nuclear norm needs two dimensions, got {len(axes)}")
        x = input if dtype is None else cast_to(input, as_dtype(dtype))
        return spectral_matrix_norm(x, "nuc", *axes, keepdim)
    if isinstance(p, str) and p != "fro":
        raise ArgumentError(f"norm(): p={p!r} is not a vector norm", "a number or 'fro'")
    return vector_norm(input, 2 if p is None or p == "fro" else p, dim, keepdim, dtype=dtype)


@casts(DEVICE_FULL)
def dist(input: Any, other: Any, p: float = 2) -> Any:
    """The p-norm of `input - other`, broadcast."""
    x, y = promote(tensor_argument(input, "dist"), tensor_argument(other, "dist", "other"), floating=True)
    return vector_norm(subtract(x, y), p)


@casts(DEVICE_FULL)
def renorm(input: Any, p: float, dim: int, maxnorm: float) -> Any:
    """x with each sub-tensor along `dim` whose p-norm exceeds `maxnorm` scaled down to it."""
    x = tensor_argument(input, "renorm")
    if len(x.shape) < 2:
        raise ShapeError("renorm: input needs at least 2 dimensions, got " + str(len(x.shape)))
    axis = normalize_dim(dim, len(x.shape))
    axes = tuple(i for i in range(len(x.shape)) if i != axis)
    size = reshape(vector_norm(x, p, axes), shape=kept_shape(x.shape, axes))
    limit = scalar_operand(maxnorm, x.dtype)
    scale = divide(limit, add(size, scalar_operand(1e-7, x.dtype)))
    factor = where(greater(size, limit), scale, scalar_operand(1, x.dtype))
    return multiply(x, expand(factor, shape=tuple(x.shape)))


METHODS = ("norm", "dist", "renorm")
INPLACE = ("renorm",)
__all__ = list(METHODS)
