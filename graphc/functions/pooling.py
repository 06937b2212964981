"""Pooling: the maximum, the mean or the norm of each window of the last dimensions.

A batch dimension may be missing; `x: f32[N, C, *s]` or `f32[C, *s]` with 1, 2 or 3 spatial sizes *s. Sizes given for the
spatial dimensions are one number for all or one for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.core.autocast import CPU_FULL, casts
from graphc.core.dims import Shape, Size, floordiv, product, size_min
from graphc.core.errors import ArgumentError, DtypeError, IndexRangeError, ShapeError
from graphc.core.one_call import one_call
from graphc.core.tensor_types import FLOAT, int64
from graphc.functions.arguments import need_float, need_tensor
from graphc.functions.arithmetic import div, pow
from graphc.functions.norms import masked_power
from graphc.functions.promotion import cast_to, scalar_operand
from graphc.functions.reductions import computed_in
from graphc.functions.sizes import as_size
from graphc.primitives.creation import full
from graphc.primitives.elementwise import less, multiply, where
from graphc.primitives.indexing import scatter
from graphc.primitives.views import reshape, show
from graphc.primitives.windows import window_max, window_sum

# --- arguments -------------------------------------------------------------------------------------------------------


def entries(name: str, what: str, value: Any, count: int) -> tuple[Any, ...]:
    """`value` as one number per spatial dimension; ShapeError for another count, ArgumentTypeError for no numbers."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return (as_size(value, what),) * count
    given = tuple(as_size(v, what) for v in value)
    if len(given) not in (1, count):
        raise ShapeError(f"{name}: {what} must be a single int or a tuple of {count}, got {len(given)} values")
    return given * count if len(given) == 1 else given


def need_planes(name: str, x: Any, spatial: int, channels: bool = True) -> Any:
    """x, checked to be [N, C, *s] or [C, *s] without empty dimensions, but for the batch (and C unless `channels`).

    Raises IndexRangeError for another number of dimensions, ShapeError for an empty one.
    """
    need_tensor(x)
    ndim = len(x.shape)
    if ndim not in (spatial + 1, spatial + 2):
        raise IndexRangeError(
            f"{name}: Expected {spatial + 1}D or {spatial + 2}D (batch mode) tensor for input, but got: {show(x.shape)}"
        )
    checked = x.shape[ndim - spatial - 1 if channels else ndim - spatial :]
    if any(isinstance(size, int) and size == 0 for size in checked):
        raise ShapeError(
            f"{name}: Expected input to have non-zero size for non-batch dimensions, but input has sizes {show(x.shape)}"
        )
    return x


def _check(name: str, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape) -> None:
    for what, given in (("kernel_size", kernel), ("stride", stride), ("dilation", dilation)):
        if any(isinstance(n, int) and n < 1 for n in given):
            raise ShapeError(f"{name}: {what} must be greater than zero, but got {show(given)}")
    for pad, size in zip(padding, kernel, strict=True):
        if pad < 0 or pad > size // 2:
            raise ShapeError(
                f"{name}: padding must be non-negative and at most half of kernel size, but got padding={pad} and "
                f"kernel_size={size}"
            )


def _around(size: Size, kernel: int, stride: int, pad: int, dilation: int, ceil_mode: bool) -> tuple[int, Size]:
    """The padding in front and behind.

    Rounding up adds a window that is cut off at the end, but none that would start in the padding behind.
    """
    if not ceil_mode:
        return pad, pad
    reach = dilation * (kernel - 1) + 1
    rounded_up = floordiv(size + 2 * pad - reach + stride - 1, stride) + 1
    inside = floordiv(size + pad - 1, stride) + 1
    windows = size_min(rounded_up, inside)
    return pad, (windows - 1) * stride + reach - size - pad


def _windows(
    name: str, x: Any, spatial: int, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> dict[str, Any]:
    """The attributes of the window ops."""
    kernel = entries(name, "kernel_size", kernel, spatial)
    stride = kernel if stride is None or stride in ((), []) else entries(name, "stride", stride, spatial)
    padding = entries(name, "padding", padding, spatial)
    dilation = entries(name, "dilation", dilation, spatial)
    _check(name, kernel, stride, padding, dilation)
    columns = zip(x.shape[len(x.shape) - spatial :], kernel, stride, padding, dilation, strict=True)
    around = tuple(_around(*column, ceil_mode) for column in columns)
    return {"kernel": kernel, "stride": stride, "padding": around, "dilation": dilation}


# --- maximum ---------------------------------------------------------------------------------------------------------


def _max_pool(
    spatial: int, x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool, both: bool
) -> Any:
    name = f"max_pool{spatial}d"
    need_planes(name, x, spatial)
    values, indices = window_max(x, **_windows(name, x, spatial, kernel, stride, padding, dilation, ceil_mode))
    return (values, indices) if both else values


@one_call(weight=2)
def max_pool1d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """The maximum of each window; input: f32[N, C, L] or f32[C, L]. `stride` None is the kernel's size.

    With `return_indices` also i64: the position of each maximum in its [L]. ShapeError for sizes that do not fit.
    """
    return _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@one_call(weight=2)
def max_pool2d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """The maximum of each window; input: f32[N, C, H, W] or f32[C, H, W]. `stride` None is the kernel's size.

    With `return_indices` also i64: the position of each maximum in its flattened [H, W]. ShapeError for sizes that do not
    fit.
    """
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """The maximum of each window; input: f32[N, C, D, H, W] or f32[C, D, H, W]. `stride` None is the kernel's size.

    With `return_indices` also i64: the position of each maximum in its flattened [D, H, W]. ShapeError for sizes that do
    not fit.
    """
    # autocast's lists have the one without positions alone
    pool = max_pool3d_with_indices if return_indices else _max_pool3d
    return pool(input, kernel_size, stride, padding, dilation, ceil_mode)


@one_call(weight=2, cast=CPU_FULL)
def _max_pool3d(input: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> Any:
    return _max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode, False)


@one_call(weight=2)
def max_pool1d_with_indices(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    """`max_pool1d` with the positions of the maxima."""
    return _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode, True)


@one_call(weight=2)
def max_pool2d_with_indices(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    """`max_pool2d` with the positions of the maxima."""
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode, True)


@one_call(weight=2)
def max_pool3d_with_indices(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    """`max_pool3d` with the positions of the maxima."""
    return _max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode, True)


# --- the way back ----------------------------------------------------------------------------------------------------


def _unpooled_size(name: str, have: Shape, stride: Shape, default: Shape, wanted: Any) -> Shape:
    """The spatial sizes asked for, or the smallest that pool to `have`; ArgumentError for sizes that never would."""
    if wanted is None:
        return default
    spatial = len(have)
    if len(wanted) == spatial + 2:
        wanted = wanted[2:]
    if len(wanted) != spatial:
        raise ArgumentError(
            f"{name}: output_size should be a sequence containing {spatial} or {spatial + 2} elements, but it has a "
            f"length of '{len(wanted)}'"
        )
    sizes = tuple(as_size(size, "output_size") for size in wanted)
    for i, (size, middle, step) in enumerate(zip(sizes, default, stride, strict=True)):
        gap = size - middle
        if isinstance(gap, int) and not -step < gap < step:
            raise ArgumentError(
                f'{name}: invalid output_size "{sizes}" (dim {i} must be between {middle - step} and {middle + step})'
            )
    return sizes


def _max_unpool(spatial: int, x: Any, indices: Any, kernel: Any, stride: Any, padding: Any, output_size: Any) -> Any:
    name = f"max_unpool{spatial}d"
    need_planes(name, need_float(x), spatial, channels=False)
    if need_tensor(indices, "indices").dtype is not int64:
        raise DtypeError(f"{name}: elements in indices should be type int64 but got: {indices.dtype.name}")
    if len(indices.shape) != len(x.shape):
        raise ShapeError(f"{name}: Expected shape of indices to be {show(x.shape)}, but got {show(indices.shape)}")
    kernel = entries(name, "kernel_size", kernel, spatial)
    stride = kernel if stride is None or stride in ((), []) else entries(name, "stride", stride, spatial)
    padding = entries(name, "padding", padding, spatial)
    lead, have = tuple(x.shape[: len(x.shape) - spatial]), tuple(x.shape[len(x.shape) - spatial :])
    columns = zip(have, kernel, stride, padding, strict=True)
    default = tuple((size - 1) * s + k - 2 * p for size, k, s, p in columns)
    sizes = _unpooled_size(name, have, stride, default, output_size)
    plane, count = product(sizes), product(have)
    # primitives wrap negative indices, PyTorch refuses them here
    indices = where(less(indices, scalar_operand(0, int64)), scalar_operand(plane, int64), indices)
    places, values = (reshape(t, shape=(*lead, count)) for t in (indices, x))
    out = full(shape=(*lead, plane), value=0.0, dtype=x.dtype)
    return reshape(scatter(out, places, values, axis=len(lead)), shape=(*lead, *sizes))


@casts(CPU_FULL)
def max_unpool1d(
    input: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Any:
    """Zeros with each element of input: f32[N, C, L] or f32[C, L] put at its index, as `max_pool1d` gave them.

    `output_size`: the length pooled, where several give L. ArgumentError for none of these, IndexRangeError for an index
    beyond it.
    """
    return _max_unpool(1, input, indices, kernel_size, stride, padding, output_size)


@casts(CPU_FULL)
def max_unpool2d(
    input: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Any:
    """Zeros with each element of input: f32[N, C, H, W] or f32[C, H, W] put at its index, as `max_pool2d` gave them.

    `output_size`: the sizes pooled, where several give [H, W]. ArgumentError for none of these, IndexRangeError for an
    index beyond them.
    """
    return _max_unpool(2, input, indices, kernel_size, stride, padding, output_size)


@casts(CPU_FULL)
def max_unpool3d(
    input: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Any:
    """Zeros with each element of input: f32[N, C, D, H, W] or f32[C, D, H, W] put at its index, as `max_pool3d` gave them.

    `output_size`: the sizes pooled, where several give [D, H, W]. ArgumentError for none of these, IndexRangeError for an
    index beyond them.
    """
    return _max_unpool(3, input, indices, kernel_size, stride, padding, output_size)


# --- mean ------------------------------------------------------------------------------------------------------------


def _counted(size: Size, kernel: int, stride: int, around: tuple[int, Size], padded: bool, dtype: Any) -> Any:
    """How many elements each window of one dimension holds, those of the padding (but not beyond it) if `padded`."""
    low, high = around
    if padded:
        size, low, high = size + 2 * low, 0, high - low
    ones = full(shape=(size,), value=1.0 if dtype.category == FLOAT else 1, dtype=dtype)
    return window_sum(ones, kernel=(kernel,), stride=(stride,), padding=((low, high),), dilation=(1,))


def _divisor(sizes: Shape, window: dict[str, Any], padded: bool, dtype: Any) -> Any:
    """What the sums of the windows are divided by: a number if all are whole, else a tensor of the windows' sizes."""
    kernel, stride, padding = window["kernel"], window["stride"], window["padding"]
    if all(isinstance(high, int) and high <= low and (padded or not low) for low, high in padding):
        return product(kernel)
    spatial, count = len(sizes), None
    for i, column in enumerate(zip(sizes, kernel, stride, padding, strict=True)):
        along = _counted(*column, padded, dtype)
        along = reshape(along, shape=(along.shape[0], *(1 for _ in range(i + 1, spatial))))
        count = along if count is None else multiply(count, along)
    return count


def _avg_pool(
    spatial: int, x: Any, kernel: Any, stride: Any, padding: Any, ceil_mode: bool, padded: bool, divisor: Any
) -> Any:
    name = f"avg_pool{spatial}d"
    need_planes(name, x, spatial)
    if x.dtype.category != FLOAT and x.dtype is not int64:
        raise DtypeError(f"{name} is not implemented for {x.dtype.name}", "a floating dtype or int64")
    if divisor == 0:
        raise ShapeError(f"{name}: divisor must be not zero")
    wide = computed_in(x)
    window = _windows(name, x, spatial, kernel, stride, padding, 1, ceil_mode)
    total = window_sum(wide, **window)
    if divisor is None:
        divisor = _divisor(tuple(x.shape[len(x.shape) - spatial :]), window, padded, wide.dtype)
    rounding = None if x.dtype.category == FLOAT else "trunc"
    return cast_to(div(total, divisor, rounding_mode=rounding), x.dtype)


@one_call(weight=2)
def avg_pool1d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Any:  # fmt: skip
    """The mean of each window; input: f32[N, C, L] or f32[C, L]. `stride` None is the kernel's size.

    The zeros of the padding count unless `count_include_pad` is False. ShapeError for sizes that do not fit.
    """
    return _avg_pool(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


@one_call(weight=2)
def avg_pool2d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Any:  # fmt: skip
    """The mean of each window, or its sum over `divisor_override`; input: f32[N, C, H, W] or f32[C, H, W].

    The zeros of the padding count unless `count_include_pad` is False. ShapeError for sizes that do not fit.
    """
    return _avg_pool(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


@one_call(weight=2, cast=CPU_FULL)
def avg_pool3d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Any:  # fmt: skip
    """The mean of each window, or its sum over `divisor_override`; input: f32[N, C, D, H, W] or f32[C, D, H, W].

    The zeros of the padding count unless `count_include_pad` is False. ShapeError for sizes that do not fit.
    """
    return _avg_pool(3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


# --- norm ------------------------------------------------------------------------------------------------------------


def _lp_pool(spatial: int, x: Any, norm_type: float, kernel_size: Any, stride: Any, ceil_mode: bool) -> Any:
    kernel = entries(f"lp_pool{spatial}d", "kernel_size", kernel_size, spatial)
    powers = pow(need_tensor(x), float(norm_type))
    # a window that is cut off counts as if its mean went on
    total = _avg_pool(spatial, powers, kernel, stride, 0, ceil_mode, True, None) * product(kernel)
    return masked_power(total, 1.0 / norm_type)


@one_call(weight=2)
def lp_pool1d(input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Any:
    """(sum of x^p over each window)^(1/p), p the `norm_type`; input: f32[N, C, L] or f32[C, L].

    Its gradient is 0, not NaN, where the sum is 0. ShapeError for sizes that do not fit.
    """
    return _lp_pool(1, input, norm_type, kernel_size, stride, ceil_mode)


@one_call(weight=2)
def lp_pool2d(input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Any:
    """(sum of x^p over each window)^(1/p), p the `norm_type`; input: f32[N, C, H, W] or f32[C, H, W].

    Its gradient is 0, not NaN, where the sum is 0. ShapeError for sizes that do not fit.
    """
    return _lp_pool(2, input, norm_type, kernel_size, stride, ceil_mode)


@one_call(weight=2)
def lp_pool3d(input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Any:
    """(sum of x^p over each window)^(1/p), p the `norm_type`; input: f32[N, C, D, H, W] or f32[C, D, H, W].

    Its gradient is 0, not NaN, where the sum is 0. ShapeError for sizes that do not fit.
    """
    return _lp_pool(3, input, norm_type, kernel_size, stride, ceil_mode)


METHODS: tuple[str, ...] = ()
INPLACE: tuple[str, ...] = ()
__all__ = ["avg_pool1d", "max_pool1d", "max_pool1d_with_indices", "max_pool2d", "max_pool3d"]
