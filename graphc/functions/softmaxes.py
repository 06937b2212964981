"""Softmax and its kin. 16-bit floats are computed in float32."""

from __future__ import annotations

from typing import Any

from graphc.core.autocast import DEVICE_FULL
from graphc.core.context import set_grad
from graphc.core.one_call import one_call
from graphc.core.tensor_types import as_dtype
from graphc.functions.axes import normalize_dim, normalize_dims, numpy_names, tensor_argument
from graphc.functions.promotion import cast_to
from graphc.functions.reductions import check_floating, computed_in
from graphc.primitives.elementwise import divide, exp, log, negate, subtract
from graphc.primitives.reductions import kept, reduce_max, reduce_sum


def _shifted(input: Any, fn: str, dim: Any, dtype: Any) -> tuple[Any, Any, tuple[int, ...]]:
    """x minus its peak along `dim`, as it is computed; the result's dtype; the axes."""
    x = tensor_argument(input, fn)
    x = x if dtype is None else cast_to(x, as_dtype(dtype))
    check_floating(x, f'"{fn}" not implemented for {x.dtype.name}')
    axis = normalize_dim(dim, len(x.shape))
    axes = normalize_dims(axis, len(x.shape))
    wide = computed_in(x)
    if axes and isinstance(x.shape[axis], int) and x.shape[axis] == 0:
        return wide, x.dtype, axes
    with set_grad(False):
        peak = kept(reduce_max(wide, axes=axes), wide, axes)
    return subtract(wide, peak), x.dtype, axes


@numpy_names
@one_call(rereads=False, cast=DEVICE_FULL)
def softmax(input: Any, dim: Any, dtype: Any = None) -> Any:
    """exp(x) / sum(exp(x)) along `dim`, without overflow."""
    shifted, wanted, axes = _shifted(input, "softmax", dim, dtype)
    powers = exp(shifted)
    return cast_to(divide(powers, kept(reduce_sum(powers, axes=axes), powers, axes)), wanted)


@numpy_names
@one_call(rereads=False, cast=DEVICE_FULL)
def log_softmax(input: Any, dim: Any, dtype: Any = None) -> Any:
    """log(softmax(x)) along `dim`, accurate also where the softmax is nearly 0."""
    shifted, wanted, axes = _shifted(input, "log_softmax", dim, dtype)
    total = reduce_sum(exp(shifted), axes=axes)
    return cast_to(subtract(shifted, kept(log(total), shifted, axes)), wanted)


@numpy_names
def softmin(input: Any, dim: Any, dtype: Any = None) -> Any:
    """softmax(-x) along `dim`."""
    return softmax(negate(tensor_argument(input, "softmin")), dim, dtype)


METHODS = ("softmax", "log_softmax")
INPLACE = ()
__all__ = ["log_softmax", "softmax"]
