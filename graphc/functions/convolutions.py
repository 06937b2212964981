"""PyTorch's convolutions, transposed convolutions, and the windows they look through (`unfold`, `fold`)."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from graphc.core.autocast import LOWER
from graphc.core.dims import Shape, Size, floordiv, same
from graphc.core.errors import ArgumentTypeError, DtypeError, IndexRangeError, ShapeError
from graphc.core.one_call import one_call
from graphc.functions.arguments import need_tensor
from graphc.functions.axes import as_int
from graphc.functions.promotion import plain
from graphc.functions.sizes import as_size
from graphc.functions.splitting import shape_of, slice_axis
from graphc.primitives import joining
from graphc.primitives.convolution import Pairs, convolution, convolution_input_gradient, output_sizes
from graphc.primitives.copying import copy
from graphc.primitives.elementwise import add
from graphc.primitives.views import permute, reshape, show, slice_put, zeros_of

# --- arguments -------------------------------------------------------------------------------------------------------


def each_dimension(value: Any, spatial: int, name: str, read: Callable[[Any, str], Any] = as_int) -> tuple[Any, ...]:
    """An int, or one for each of the spatial dimensions, as a tuple; ShapeError for another count."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return (read(value, name),) * spatial
    given = tuple(read(item, name) for item in value)
    if len(given) not in (1, spatial):
        raise ShapeError(
            f"expected {name} to be a single integer value or a list of {spatial} values to match the convolution "
            f"dimensions, but got {name}={list(given)}"
        )
    return given * spatial if len(given) == 1 else given


def _negative(amounts: Sequence[Size]) -> bool:
    return any(isinstance(amount, int) and amount < 0 for amount in amounts)


def _symmetric(padding: Any, spatial: int) -> Pairs:
    amounts = each_dimension(padding, spatial, "padding", as_size)
    if _negative(amounts):
        raise ShapeError("negative padding is not supported", f"padding >= 0, got {list(amounts)}")
    return tuple((amount, amount) for amount in amounts)


def _read_padding(padding: Any, kernel: Shape, stride: tuple[int, ...], dilation: tuple[int, ...]) -> Pairs:
    """The padding before and after each dimension; "same" puts the odd one of an even window after."""
    if not isinstance(padding, str):
        return _symmetric(padding, len(kernel))
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding != "same":
        raise ShapeError(f"Invalid padding string: '{padding}'", "'valid' or 'same'")
    if any(step != 1 for step in stride):
        raise ShapeError("padding='same' is not supported for strided convolutions", f"stride 1, got {list(stride)}")
    totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    return tuple((floordiv(total, 2), total - floordiv(total, 2)) for total in totals)


def _batched(input: Any, spatial: int, name: str) -> tuple[Any, bool]:
    """The input with a batch dimension, and whether it had one."""
    shape = shape_of(need_tensor(input))
    if len(shape) not in (spatial + 1, spatial + 2):
        raise ShapeError(
            f"Expected {spatial + 1}D (unbatched) or {spatial + 2}D (batched) input to {name}, but got input of size: "
            f"{show(shape)}"
        )
    alone = len(shape) == spatial + 1
    return (reshape(input, shape=(1, *shape)) if alone else input), not alone


def _check_weight(input: Any, weight: Any, bias: Any, spatial: int, channels: Size) -> None:
    """Raises unless weight and bias are of the input's dtype and have the dimensions they must have."""
    ndim = len(need_tensor(weight, "weight").shape)
    if ndim != spatial + 2:
        raise ShapeError(
            f"Expected {spatial + 2}-dimensional weight, but got weight of size {show(shape_of(weight))}",
            f"{spatial + 2} dimensions, got {ndim}",
        )
    if isinstance(weight.shape[0], int) and weight.shape[0] < 1:
        raise ShapeError(
            f"expected weight to be at least 1 at dimension 0, but got weight of size {show(shape_of(weight))} instead"
        )
    if input.dtype is not weight.dtype:
        raise DtypeError(f"expected scalar type {input.dtype!r} but found {weight.dtype!r}", "equal dtypes")
    if bias is None:
        return
    if need_tensor(bias, "bias").dtype is not input.dtype:
        raise DtypeError(f"Input type ({input.dtype!r}) and bias type ({bias.dtype!r}) should be the same")
    problem = (
        f"Given weight of size {show(shape_of(weight))}, expected bias to be 1-dimensional with {channels} elements, "
        f"but got bias of size {show(shape_of(bias))} instead"
    )
    if len(bias.shape) != 1:
        raise ShapeError(problem)
    gap = bias.shape[0] - channels
    if isinstance(gap, int) and gap:
        raise ShapeError(problem)


def _finished(out: Any, bias: Any, batched: bool) -> Any:
    """`out` with the bias of its channels added, without the batch dimension if there was none."""
    if bias is not None:
        out = add(out, reshape(bias, shape=(bias.shape[0], *(1,) * (len(out.shape) - 2))))
    return out if batched else reshape(out, shape=tuple(out.shape[1:]))


# --- convolutions ----------------------------------------------------------------------------------------------------


def _convolve(
    spatial: int, input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: Any
) -> Any:
    x, batched = _batched(input, spatial, f"conv{spatial}d")
    _check_weight(x, weight, bias, spatial, need_tensor(weight, "weight").shape[0])
    steps, spread = each_dimension(stride, spatial, "stride"), each_dimension(dilation, spatial, "dilation")
    kernel = tuple(weight.shape[2:])
    pairs = _read_padding(padding, kernel, steps, spread)
    out = convolution(x, weight, stride=steps, padding=pairs, dilation=spread, groups=as_int(groups, "groups"))
    return _finished(out, bias, batched)


@one_call(weight=10, cast=LOWER)
def conv1d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """Sums of products of a kernel and the windows of a signal.

    input: f32[N, C, L] or f32[C, L], weight: f32[O, C / groups, K], bias: f32[O] gives f32[N, O, L']. `padding` may be
    "same" or "valid". Raises ShapeError for sizes that do not fit, DtypeError for dtypes that differ.
    """
    return _convolve(1, input, weight, bias, stride, padding, dilation, groups)


@one_call(weight=10, cast=LOWER)
def conv2d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """Sums of products of a kernel and the windows of an image.

    input: f32[N, C, H, W] or f32[C, H, W], weight: f32[O, C / groups, KH, KW], bias: f32[O] gives f32[N, O, H', W'].
    `padding` may be "same" or "valid". Raises ShapeError for sizes that do not fit, DtypeError for dtypes that differ.
    """
    return _convolve(2, input, weight, bias, stride, padding, dilation, groups)


@one_call(weight=10, cast=LOWER)
def conv3d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """Sums of products of a kernel and the windows of a volume.

    input: f32[N, C, D, H, W] or f32[C, D, H, W], weight: f32[O, C / groups, KD, KH, KW], bias: f32[O] gives
    f32[N, O, D', H', W']. `padding` may be "same" or "valid". Raises ShapeError for sizes that do not fit, DtypeError
    for dtypes that differ.
    """
    return _convolve(3, input, weight, bias, stride, padding, dilation, groups)


# --- transposed convolutions -----------------------------------------------------------------------------------------


def _check_transposed(
    weight: Any, stride: Sequence[int], dilation: Sequence[int], extra: Sequence[Size], groups: int
) -> None:
    if groups <= 0:
        raise ShapeError("non-positive groups is not supported", f"groups >= 1, got {groups}")
    if isinstance(weight.shape[0], int) and weight.shape[0] % groups:
        raise ShapeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, but got weight of size "
            f"{show(shape_of(weight))} instead"
        )
    if min(stride) <= 0:
        raise ShapeError("non-positive stride is not supported", f"stride >= 1, got {list(stride)}")
    if min(dilation) <= 0:
        raise ShapeError("dilation should be greater than zero", f"dilation >= 1, got {list(dilation)}")
    if _negative(extra):
        raise ShapeError("negative output_padding is not supported", f"output_padding >= 0, got {list(extra)}")
    if any(isinstance(more, int) and more >= max(s, d) for more, s, d in zip(extra, stride, dilation, strict=True)):
        raise ShapeError(
            f"output padding must be smaller than either stride or dilation, but got output_padding: {list(extra)}, "
            f"stride: {list(stride)}, dilation: {list(dilation)}"
        )


def _transposed_sizes(
    sizes: Shape, kernel: Shape, stride: Shape, padding: Pairs, dilation: Shape, extra: Sequence[Size]
) -> Shape:
    """The sizes of which a convolution makes `sizes`, the smallest ones and `extra`."""
    columns = zip(sizes, kernel, stride, padding, dilation, extra, strict=True)
    found = tuple((n - 1) * s - low - high + d * (k - 1) + 1 + more for n, k, s, (low, high), d, more in columns)
    if any(isinstance(size, int) and size < 1 for size in found):
        raise ShapeError(
            f"Given input size per channel: ({' x '.join(map(str, sizes))}). Calculated output size per channel: "
            f"({' x '.join(map(str, found))}). Output size is too small"
        )
    return found


def _convolve_transposed(
    spatial: int,
    input: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: Any,
    dilation: Any,
) -> Any:
    if isinstance(padding, str):
        raise ArgumentTypeError(f"conv_transpose{spatial}d(): argument 'padding' must be tuple of ints, not str")
    x, batched = _batched(input, spatial, f"conv_transpose{spatial}d")
    parts = as_int(groups, "groups")
    _check_weight(x, weight, bias, spatial, need_tensor(weight, "weight").shape[1] * parts)
    steps, spread = each_dimension(stride, spatial, "stride"), each_dimension(dilation, spatial, "dilation")
    pairs, extra = _symmetric(padding, spatial), each_dimension(output_padding, spatial, "output_padding", as_size)
    _check_transposed(weight, steps, spread, extra, parts)
    sizes = _transposed_sizes(tuple(x.shape[2:]), tuple(weight.shape[2:]), steps, pairs, spread, extra)
    # more of it than a stride is room for further elements, of which there are none: zeros
    missing = tuple(more // s if isinstance(more, int) else 0 for more, s in zip(extra, steps, strict=True))
    if any(missing):
        x = joining.pad(x, low=(0,) * (spatial + 2), high=(0, 0, *missing), value=plain(0, x.dtype))
    out = convolution_input_gradient(
        x, weight, input_size=sizes, stride=steps, padding=pairs, dilation=spread, groups=parts
    )
    return _finished(out, bias, batched)


@one_call(weight=10, cast=LOWER)
def conv_transpose1d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Any:  # fmt: skip
    """The adjoint of `conv1d`: every element of a signal spread over the window it stands for.

    input: f32[N, C, L] or f32[C, L], weight: f32[C, O / groups, K], bias: f32[O] gives f32[N, O, L'].
    Raises ShapeError for sizes that do not fit, DtypeError for dtypes that differ.
    """
    return _convolve_transposed(1, input, weight, bias, stride, padding, output_padding, groups, dilation)


@one_call(weight=10, cast=LOWER)
def conv_transpose2d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Any:  # fmt: skip
    """The adjoint of `conv2d`: every element of an image spread over the window it stands for.

    input: f32[N, C, H, W] or f32[C, H, W], weight: f32[C, O / groups, KH, KW], bias: f32[O] gives f32[N, O, H', W'].
    Raises ShapeError for sizes that do not fit, DtypeError for dtypes that differ.
    """
    return _convolve_transposed(2, input, weight, bias, stride, padding, output_padding, groups, dilation)


@one_call(weight=10, cast=LOWER)
def conv_transpose3d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Any:  # fmt: skip
    """The adjoint of `conv3d`: every element of a volume spread over the window it stands for.

    input: f32[N, C, D, H, W] or f32[C, D, H, W], weight: f32[C, O / groups, KD, KH, KW], bias: f32[O] gives
    f32[N, O, D', H', W']. Raises ShapeError for sizes that do not fit, DtypeError for dtypes that differ.
    """
    return _convolve_transposed(3, input, weight, bias, stride, padding, output_padding, groups, dilation)


# --- windows ---------------------------------------------------------------------------------------------------------


def _two(value: Any, name: str, read: Callable[[Any, str], Any] = as_int) -> tuple[Any, Any]:
    if not isinstance(value, Sequence):
        return (read(value, name),) * 2
    if len(value) != 2:
        raise ShapeError(f"It is expected {name} equals to 2, but got size {len(value)}")
    return read(value[0], name), read(value[1], name)


def _pairs(around: Sequence[int]) -> Pairs:
    return tuple((amount, amount) for amount in around)


Settings = tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]


def _window_settings(kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Settings:
    """Kernel, dilation, padding and stride of `unfold` and `fold`, checked."""
    kernel, spread = _two(kernel_size, "kernel_size"), _two(dilation, "dilation")
    around, steps = _two(padding, "padding"), _two(stride, "stride")
    for name, given in (("kernel size", kernel), ("dilation", spread), ("stride", steps)):
        if min(given) < 1:
            raise ShapeError(f"{name} should be greater than zero, but got {list(given)}")
    if min(around) < 0:
        raise ShapeError(f"padding should be non-negative, but got {list(around)}")
    return kernel, spread, around, steps


def _spaced(x: Any, axis: int, kernel: int, dilation: int, stride: int, count: Size) -> Any:
    """The windows along an axis: [.., size, ..] to [.., kernel, count, ..]."""
    shape = tuple(x.shape)
    part = (*shape[:axis], 1, count, *shape[axis + 1 :])
    starts = [k * dilation for k in range(kernel)]
    parts = [slice_axis(x, axis, start, start + (count - 1) * stride + 1, stride) for start in starts]
    return joining.concat(*(reshape(p, shape=part) for p in parts), axis=axis)


def _overlapped(x: Any, axis: int, dilation: int, stride: int, size: Size) -> Any:
    """The adjoint of `_spaced`: [.., kernel, count, ..] to [.., size, ..], elements of one place added."""
    shape = tuple(x.shape)
    whole = (*shape[:axis], size, *shape[axis + 2 :])
    total = None
    for k in range(operator.index(shape[axis])):
        part = reshape(slice_axis(x, axis, k, k + 1), shape=(*shape[:axis], *shape[axis + 1 :]))
        placed = _placed(part, axis, k * dilation, stride, whole)
        total = placed if total is None else add(total, placed)
    return total


def _placed(x: Any, axis: int, start: int, stride: int, shape: Shape) -> Any:
    """x at every `stride` from `start` on along an axis of zeros."""
    starts = tuple(start if a == axis else 0 for a in range(len(shape)))
    limits = tuple(start + (x.shape[a] - 1) * stride + 1 if a == axis else n for a, n in enumerate(shape))
    strides = tuple(stride if a == axis else 1 for a in range(len(shape)))
    if stride == 1:
        high = tuple(n - limit for n, limit in zip(shape, limits, strict=True))
        return joining.pad(x, low=starts, high=high, value=plain(0, x.dtype))
    return slice_put(zeros_of(shape, x.dtype), x, starts=starts, limits=limits, strides=strides)


def unfold(input: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """The windows a 2-d kernel looks through, as columns (`torch.nn.functional.unfold`).

    input: f32[N, C, H, W] or f32[C, H, W] gives f32[N, C * KH * KW, count of windows]. Raises ShapeError where no window
    fits.
    """
    shape = shape_of(need_tensor(input))
    if len(shape) < 3:
        raise IndexRangeError(f"unfold: the dimensions of an image are missing in {show(shape)}", "3 or 4 dimensions")
    if len(shape) > 4 or any(isinstance(n, int) and n == 0 for n in shape[-3:]):
        raise ShapeError(
            "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero dimensions for input, "
            f"but got: {show(shape)}"
        )
    kernel, spread, around, steps = _window_settings(kernel_size, dilation, padding, stride)
    x, batched = _batched(input, 2, "unfold")
    rows, columns = output_sizes(shape[-2:], kernel, steps, _pairs(around), spread)
    if any(around):
        x = joining.pad(x, low=(0, 0, *around), high=(0, 0, *around), value=plain(0, x.dtype))
    x = _spaced(x, 3, kernel[1], spread[1], steps[1], columns)
    x = _spaced(x, 2, kernel[0], spread[0], steps[0], rows)
    batch, channels, *_ = x.shape
    out = permute(x, axes=(0, 1, 2, 4, 3, 5))
    out = reshape(out, shape=(batch, channels * kernel[0] * kernel[1], rows * columns))
    return out if batched else reshape(out, shape=tuple(out.shape[1:]))


def _check_columns(shape: Shape, kernel: tuple[int, int], rows: Size, columns: Size) -> None:
    """Raises unless columns of `shape` are those of an image that a kernel meets rows * columns times."""
    rest = shape[-2] % (kernel[0] * kernel[1])
    if isinstance(rest, int) and rest:
        raise ShapeError(
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got "
            f"input.size(1)={shape[-2]} and kernel_size={kernel}."
        )
    same(
        shape[-1],
        rows * columns,
        f"expected size of input's dimension 2 to match the calculated number of sliding blocks {rows} * {columns} = "
        f"{rows * columns}, but got input.size(2)={shape[-1]}.",
        "one column for each place of the kernel",
    )


def fold(input: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """The adjoint of `unfold`: columns put back where they came from, elements of one place added.

    input: f32[N, C * KH * KW, L] or f32[C * KH * KW, L] gives f32[N, C, *output_size]. Raises ShapeError unless there are
    as many columns as windows in an image of that size.
    """
    shape = shape_of(need_tensor(input))
    if len(shape) not in (2, 3) or any(isinstance(n, int) and n == 0 for n in shape[-2:]):
        raise ShapeError(
            "Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and non-zero dimensions for "
            f"input, but got: {show(shape)}"
        )
    kernel, spread, around, steps = _window_settings(kernel_size, dilation, padding, stride)
    size = _two(output_size, "output_size", as_size)
    rows, columns = output_sizes(size, kernel, steps, _pairs(around), spread)
    _check_columns(shape, kernel, rows, columns)
    lead = (1,) if len(shape) == 2 else shape[:1]
    channels = floordiv(shape[-2], kernel[0] * kernel[1])
    x = permute(reshape(input, shape=(*lead, channels, *kernel, rows, columns)), axes=(0, 1, 2, 4, 3, 5))
    x = _overlapped(x, 4, spread[1], steps[1], size[1] + 2 * around[1])
    x = _overlapped(x, 2, spread[0], steps[0], size[0] + 2 * around[0])
    for axis in (2, 3) if any(around) else ():
        x = slice_axis(x, axis, around[axis - 2], around[axis - 2] + size[axis - 2])
    return copy(x) if len(shape) == 3 else copy(reshape(x, shape=tuple(x.shape[1:])))


def conv_tbc(input: Any, weight: Any, bias: Any, pad: int = 0) -> Any:
    """`conv1d` of a time-first signal: f32[L, N, C], weight f32[K, C, O], bias f32[O] give f32[L', N, O]."""
    if len(shape_of(input)) != 3 or len(shape_of(weight)) != 3 or len(shape_of(bias)) != 1:
        raise ShapeError("conv_tbc: Input must have 3 dims: time, batch, in_channel", "weight of 3 dims, bias of 1")
    x, kernels = permute(input, axes=(1, 2, 0)), permute(weight, axes=(2, 1, 0))
    return permute(conv1d(x, kernels, bias, padding=pad), axes=(2, 0, 1))


METHODS: tuple[str, ...] = ()
INPLACE: tuple[str, ...] = ()
__all__ = ["conv1d", "conv2d", "conv3d", "conv_tbc", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]
