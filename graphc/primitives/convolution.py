"""Convolution over any number of spatial dimensions, and its two adjoints.

    out[n, o, p] = sum over c, k of x[n, c, p * stride + k * dilation - low] * w[o, c, k]

with c over the channels of o's group and zeros around x. The sum is linear in x and in w, so the three ops are one another's
derivatives: each rule is the other two. A transposed convolution is `convolution_input_gradient`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from itertools import product as places
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from graphc.core.dims import Shape, Size, floordiv, same
from graphc.core.errors import DtypeError, ShapeError
from graphc.core.op import ErrorSample, Kind, Op, Sample, declare
from graphc.core.tensor_types import BOOL, DTYPES, TensorType, type_of_array
from graphc.primitives.views import reshape, show

Array = np.ndarray[Any, Any]
Pairs = tuple[tuple[Size, Size], ...]


def _scratch_bytes(weights: Array) -> int:
    """How much of the unrolled input is made at a time: what a cache holds, and no less than the weights take."""
    return max(1 << 20, weights.nbytes)


# --- shapes ----------------------------------------------------------------------------------------------------------


def _check_settings(spatial: int, stride: Shape, padding: Pairs, dilation: Shape, groups: int) -> None:
    for name, given in (("stride", stride), ("padding", padding), ("dilation", dilation)):
        if len(given) != spatial:
            raise ShapeError(
                f"expected {name} to be a list of {spatial} values to match the convolution dimensions, but got "
                f"{name}={list(given)}"
            )
    if min(stride) <= 0:
        raise ShapeError("non-positive stride is not supported", f"stride >= 1, got {list(stride)}")
    if min(dilation) <= 0:
        raise ShapeError("dilation should be greater than zero", f"dilation >= 1, got {list(dilation)}")
    if any(isinstance(amount, int) and amount < 0 for pair in padding for amount in pair):
        raise ShapeError("negative padding is not supported", f"padding >= 0, got {list(padding)}")
    if groups <= 0:
        raise ShapeError("non-positive groups is not supported", f"groups >= 1, got {groups}")


def _check_operands(a: TensorType, b: TensorType) -> None:
    if a.ndim != b.ndim or a.ndim < 3:
        raise ShapeError(
            "a convolution's operands need a batch, a channel and the same spatial dimensions",
            f"equal numbers of dimensions, at least 3, got {a.ndim} and {b.ndim}",
        )
    if a.dtype is not b.dtype:
        raise DtypeError(f"expected scalar type {a.dtype!r} but found {b.dtype!r}", "equal dtypes")
    if a.dtype.category == BOOL:
        raise DtypeError("not implemented for 'Bool'", "an integer or floating dtype")


def _check_divisible(size: Size, groups: int, what: str, shape: Shape) -> None:
    if isinstance(size, int) and size % groups:
        raise ShapeError(
            f"Given groups={groups}, expected {what} to be divisible by {groups}, but got shape {show(shape)}",
            f"a multiple of {groups}, got {size}",
        )


def output_sizes(sizes: Shape, kernel: Shape, stride: Shape, padding: Pairs, dilation: Shape) -> Shape:
    """How often a kernel fits in each dimension; ShapeError where it does not fit at all."""
    padded = tuple(size + low + high for size, (low, high) in zip(sizes, padding, strict=True))
    reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    for size, extent, k in zip(padded, reach, kernel, strict=True):
        if isinstance(k, int) and k < 1:
            raise ShapeError("kernel size should be greater than zero", f"sizes >= 1, got {show(kernel)}")
        gap = size - extent
        if isinstance(gap, int) and gap < 0:
            raise ShapeError(
                f"Calculated padded input size per channel: ({' x '.join(map(str, padded))}). Kernel size: "
                f"({' x '.join(map(str, reach))}). Kernel size can't be greater than actual input size"
            )
    return tuple(floordiv(size - extent, s) + 1 for size, extent, s in zip(padded, reach, stride, strict=True))


def _convolution_infer(
    x: TensorType, w: TensorType, *, stride: Shape, padding: Pairs, dilation: Shape, groups: int
) -> TensorType:
    _check_operands(x, w)
    _check_settings(x.ndim - 2, stride, padding, dilation, groups)
    _check_divisible(w.shape[0], groups, "the weight's dimension 0", w.shape)
    channels = w.shape[1] * groups
    same(
        x.shape[1],
        channels,
        f"Given groups={groups}, weight of size {show(w.shape)}, expected input{show(x.shape)} to have {channels} "
        f"channels, but got {x.shape[1]} channels instead",
        f"x.shape[1] == w.shape[1] * groups, got {x.shape[1]} and {channels}",
    )
    return x.with_shape((x.shape[0], w.shape[0], *output_sizes(x.shape[2:], w.shape[2:], stride, padding, dilation)))


def _check_windows(g: TensorType, sizes: Shape) -> None:
    """Raises unless `g` has one element for each place of the kernel."""
    for have, want in zip(g.shape[2:], sizes, strict=True):
        same(have, want, f"the gradient's spatial sizes {show(g.shape[2:])} do not fit", f"{show(sizes)}")


def _input_gradient_infer(
    g: TensorType,
    w: TensorType,
    *,
    input_size: Shape,
    stride: Shape,
    padding: Pairs,
    dilation: Shape,
    groups: int,
) -> TensorType:
    _check_operands(g, w)
    _check_settings(g.ndim - 2, stride, padding, dilation, groups)
    _check_divisible(w.shape[0], groups, "the weight's dimension 0", w.shape)
    if len(input_size) != g.ndim - 2:
        raise ShapeError("one size per spatial dimension expected", f"{g.ndim - 2} sizes, got {list(input_size)}")
    same(
        g.shape[1],
        w.shape[0],
        f"weight of size {show(w.shape)}, expected input{show(g.shape)} to have {w.shape[0]} channels, but got "
        f"{g.shape[1]} channels instead",
        f"g.shape[1] == w.shape[0], got {g.shape[1]} and {w.shape[0]}",
    )
    _check_windows(g, output_sizes(input_size, w.shape[2:], stride, padding, dilation))
    return g.with_shape((g.shape[0], w.shape[1] * groups, *input_size))


def _weight_gradient_infer(
    x: TensorType,
    g: TensorType,
    *,
    kernel_size: Shape,
    stride: Shape,
    padding: Pairs,
    dilation: Shape,
    groups: int,
) -> TensorType:
    _check_operands(x, g)
    _check_settings(x.ndim - 2, stride, padding, dilation, groups)
    if len(kernel_size) != x.ndim - 2:
        raise ShapeError("one size per spatial dimension expected", f"{x.ndim - 2} sizes, got {list(kernel_size)}")
    _check_divisible(x.shape[1], groups, "the input's channels", x.shape)
    _check_divisible(g.shape[1], groups, "the gradient's channels", g.shape)
    same(x.shape[0], g.shape[0], "the batches differ", f"equal sizes, got {x.shape[0]} and {g.shape[0]}")
    _check_windows(g, output_sizes(x.shape[2:], kernel_size, stride, padding, dilation))
    return x.with_shape((g.shape[1], floordiv(x.shape[1], groups), *kernel_size))


# --- on arrays -------------------------------------------------------------------------------------------------------


def _is_half(x: Array) -> bool:
    return x.dtype.itemsize == 2 and x.dtype.kind not in "iu"


def _computed(x: Array) -> Array:
    """x in the dtype of the arithmetic: float32 for the halves."""
    return x.astype(np.float32) if _is_half(x) else x


def _padded_size(sizes: tuple[int, ...], padding: Any) -> tuple[int, ...]:
    return tuple(low + size + high for size, (low, high) in zip(sizes, padding, strict=True))


def _inner(sizes: tuple[int, ...], padding: Any) -> Any:
    """Where the elements lie between their padding."""
    return (..., *(slice(low, low + size) for size, (low, _) in zip(sizes, padding, strict=True)))


def _padded(x: Array, padding: Any) -> Array:
    """x with zeros around its spatial dimensions."""
    if not any(map(any, padding)):
        return x
    out = np.zeros((*x.shape[:2], *_padded_size(x.shape[2:], padding)), x.dtype)
    out[_inner(x.shape[2:], padding)] = x
    return out


def _windows(
    x: Array, kernel: tuple[int, ...], sizes: tuple[int, ...], stride: Any, dilation: Any, groups: int
) -> Array:
    """What each weight meets: a view [groups, channels of a group, *kernel, batch, *sizes] of padded x."""
    batch, channels, *steps = x.strides
    width = x.shape[1] // groups
    return as_strided(
        x,
        (groups, width, *kernel, x.shape[0], *sizes),
        (
            width * channels,
            channels,
            *(step * d for step, d in zip(steps, dilation, strict=True)),
            batch,
            *(step * s for step, s in zip(steps, stride, strict=True)),
        ),
    )


def _grouped(g: Array, groups: int) -> Array:
    """A view [groups, channels of a group, batch, *sizes] of g: [batch, channels, *sizes]."""
    return g.reshape(g.shape[0], groups, g.shape[1] // groups, *g.shape[2:]).swapaxes(0, 1).swapaxes(1, 2)


def _parts(batch: int, sizes: tuple[int, ...], weights: Array) -> Iterator[tuple[slice, slice]]:
    """Samples, and rows of the first spatial dimension, whose unrolled windows fill the scratch memory at most.

    `weights`: [groups, output channels, elements of a window].
    """
    groups, _, window = weights.shape
    rows, per_row = sizes[0], groups * window * prod(sizes[1:]) * weights.itemsize
    few = max(1, _scratch_bytes(weights) // max(per_row, 1))
    samples = max(1, few // rows)
    for first in range(0, batch, samples):
        for row in range(0, rows, min(few, rows)):
            yield slice(first, first + samples), slice(row, row + few)


def _part(x: Array, samples: slice, rows: slice, lead: int) -> Array:
    """That part of a view whose batch and first spatial dimension follow `lead` others."""
    at: Any = (slice(None),) * lead + (samples, rows)
    return x[at]


def _matrices(x: Array, rows: int) -> Array:
    """x with its first dimension kept, the next `rows` ones as one and the rest as one."""
    cut = 1 + rows
    return x.reshape(x.shape[0], prod(x.shape[1:cut]), prod(x.shape[cut:]))


def _convolution_inplace(
    out: Array, x: Array, w: Array, *, stride: Any, padding: Any, dilation: Any, groups: int
) -> None:
    x, w = _computed(x), _computed(w)
    sizes, window = out.shape[2:], x.ndim - 1  # how many dimensions a window has, channels included
    windows = _windows(_padded(x, padding), w.shape[2:], sizes, stride, dilation, groups)
    weights = w.reshape(groups, w.shape[0] // groups, prod(w.shape[1:]))
    target = _grouped(out, groups)
    for samples, rows in _parts(x.shape[0], sizes, weights):
        columns = _matrices(_part(windows, samples, rows, 1 + window), window)
        part = _part(target, samples, rows, 2)
        part[...] = np.matmul(weights, columns).reshape(part.shape)


def _input_gradient_inplace(
    out: Array,
    g: Array,
    w: Array,
    *,
    input_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> None:
    direct = not any(map(any, padding)) and not _is_half(out)
    g, w = _computed(g), _computed(w)
    sizes, kernel, window = g.shape[2:], w.shape[2:], g.ndim - 1
    total = out if direct else np.empty((*out.shape[:2], *_padded_size(input_size, padding)), w.dtype)
    total[...] = 0
    windows = _windows(total, kernel, sizes, stride, dilation, groups)
    weights = w.reshape(groups, w.shape[0] // groups, prod(w.shape[1:]))
    source = _grouped(g, groups)
    spread: Any = np.multiply if weights.shape[1] == 1 else np.matmul  # a product of a column and a row
    for samples, rows in _parts(g.shape[0], sizes, weights):
        part = _part(windows, samples, rows, 1 + window)
        columns = spread(weights.swapaxes(1, 2), _matrices(_part(source, samples, rows, 2), 1)).reshape(part.shape)
        for place in places(*map(range, kernel)):
            at: Any = (slice(None), slice(None), *place)
            part[at] += columns[at]  # what one place in the kernel meets does not overlap
    if not direct:
        out[...] = total[_inner(input_size, padding)]


def _weight_gradient_inplace(
    out: Array,
    x: Array,
    g: Array,
    *,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> None:
    x, g = _computed(x), _computed(g)
    sizes, window = g.shape[2:], x.ndim - 1
    windows = _windows(_padded(x, padding), kernel_size, sizes, stride, dilation, groups)
    source = _grouped(g, groups)
    total = np.zeros((groups, out.shape[0] // groups, prod(out.shape[1:])), x.dtype)
    for samples, rows in _parts(x.shape[0], sizes, total):
        columns = _matrices(_part(windows, samples, rows, 1 + window), window)
        total += np.matmul(_matrices(_part(source, samples, rows, 2), 1), columns.swapaxes(1, 2))
    out[...] = total.reshape(out.shape)


def _evaluated(inplace: Callable[..., None], infer: Callable[..., TensorType]) -> Callable[..., Array]:
    """The form of an in-place computation that makes its result."""

    def evaluate(a: Array, b: Array, **attrs: Any) -> Array:
        out = np.empty(infer(type_of_array(a), type_of_array(b), **attrs).shape, a.dtype)
        inplace(out, a, b, **attrs)
        return out

    return evaluate


def _weight_parts_infer(x: TensorType, g: TensorType, *, parts: int, **attrs: Any) -> TensorType:
    out = _weight_gradient_infer(x, g, **attrs)
    if isinstance(x.shape[0], int) and not 1 <= parts <= x.shape[0]:
        raise ShapeError(f"{x.shape[0]} samples in {parts} parts", "at least one sample in each part")
    return out.with_shape((parts, *out.shape))


def _weight_parts_eval(x: Array, g: Array, *, parts: int, **attrs: Any) -> Array:
    ends = [len(x) * i // parts for i in range(parts + 1)]
    return np.stack([_weight_gradient(x[a:b], g[a:b], **attrs) for a, b in pairwise(ends)])


_weight_gradient = _evaluated(_weight_gradient_inplace, _weight_gradient_infer)


# --- rules -----------------------------------------------------------------------------------------------------------


def _fit(x: Any, shape: Shape) -> Any:
    """x in a shape that is the same, but may be known in another form."""
    return x if x.shape == tuple(shape) else reshape(x, shape=tuple(shape))


def _convolution_rule_x(g: Any, out: Any, x: Any, w: Any, **attrs: Any) -> Any:
    return _fit(convolution_input_gradient(g, w, input_size=tuple(x.shape[2:]), **attrs), x.shape)


def _convolution_rule_w(g: Any, out: Any, x: Any, w: Any, **attrs: Any) -> Any:
    return _fit(convolution_weight_gradient(x, g, kernel_size=tuple(w.shape[2:]), **attrs), w.shape)


def _input_gradient_rule_g(h: Any, out: Any, g: Any, w: Any, *, input_size: Shape, **attrs: Any) -> Any:
    return _fit(convolution(h, w, **attrs), g.shape)


def _input_gradient_rule_w(h: Any, out: Any, g: Any, w: Any, *, input_size: Shape, **attrs: Any) -> Any:
    return _fit(convolution_weight_gradient(h, g, kernel_size=tuple(w.shape[2:]), **attrs), w.shape)


def _weight_gradient_rule_x(h: Any, out: Any, x: Any, g: Any, *, kernel_size: Shape, **attrs: Any) -> Any:
    return _fit(convolution_input_gradient(g, h, input_size=tuple(x.shape[2:]), **attrs), x.shape)


def _weight_gradient_rule_g(h: Any, out: Any, x: Any, g: Any, *, kernel_size: Shape, **attrs: Any) -> Any:
    return _fit(convolution(x, h, **attrs), g.shape)


# --- samples ---------------------------------------------------------------------------------------------------------


def _settings(spatial: int, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1) -> dict[str, Any]:
    """Attributes, numbers standing for every dimension."""

    def each(value: Any) -> tuple[Any, ...]:
        return value if isinstance(value, tuple) else (value,) * spatial

    pairs = tuple(pair if isinstance(pair, tuple) else (pair, pair) for pair in each(padding))
    return {"stride": each(stride), "padding": pairs, "dilation": each(dilation), "groups": groups}


def _cases() -> Iterator[tuple[Array, Array, dict[str, Any], bool]]:
    """Inputs and weights that fit, the settings, and whether the numbers are ordinary."""
    rng = np.random.default_rng(0)
    for dtype in DTYPES[1:]:
        x = np.arange(12).reshape(1, 2, 6).astype(dtype.np)
        yield x, np.array([[[1, 2], [0, 3]]]).astype(dtype.np), _settings(1, padding=1), True
    shapes: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
        ((2, 1, 4, 3), (2, 1, 2, 2), _settings(2)),
        ((1, 2, 4, 5), (3, 2, 3, 2), _settings(2, (2, 1), (1, 0))),
        ((2, 1, 5), (2, 1, 2), _settings(1, 2, 0, 2)),  # the last element of x meets no weight
        ((1, 4, 6), (4, 2, 3), _settings(1, 1, ((2, 0),), 1, 2)),
        ((2, 3, 3, 3), (3, 1, 2, 2), _settings(2, 1, ((0, 1), (0, 1)), 1, 3)),
        ((1, 1, 3, 2, 3), (2, 1, 2, 1, 2), _settings(3, (1, 1, 2), (0, 1, 1))),
        ((1, 1, 2, 1, 2, 2), (1, 1, 2, 1, 1, 2), _settings(4)),
        ((2, 3, 2), (2, 3, 1), _settings(1)),
        ((1, 1, 1), (1, 1, 3), _settings(1, 3, 2, 2)),
        ((0, 2, 3), (2, 2, 2), _settings(1)),
        ((2, 0, 3), (2, 0, 2), _settings(1)),
        ((1, 2, 3), (0, 2, 2), _settings(1)),
    ]
    for x_shape, w_shape, attrs in shapes:
        yield rng.normal(size=x_shape), rng.normal(size=w_shape), attrs, True
    turned = rng.normal(size=(3, 4, 2, 1)).T, rng.normal(size=(2, 2, 4, 6))[:, :, ::-2, ::3]
    yield *turned, _settings(2), True
    yield np.array([[[np.nan, 1.0, np.inf, 2.0]]]), np.array([[[1.0, -1.0]]]), _settings(1), False


def _gradient_of(x: Array, w: Array, attrs: dict[str, Any]) -> Array:
    """Small whole numbers in the shape of the convolution of x and w, one of them NaN where x is not finite."""
    shape = _convolution_infer(type_of_array(x), type_of_array(w), **attrs).shape
    g = (np.arange(prod(map(int, shape))) % 7).reshape(shape).astype(x.dtype)
    if x.size and not np.isfinite(x.astype(np.float64)).all():
        g[(0,) * g.ndim] = np.nan
    return g


def _convolution_samples() -> Iterator[Sample]:
    for x, w, attrs, smooth in _cases():
        yield Sample((x, w), attrs, smooth)


def _input_gradient_samples() -> Iterator[Sample]:
    for x, w, attrs, smooth in _cases():
        yield Sample((_gradient_of(x, w, attrs), w), {"input_size": x.shape[2:], **attrs}, smooth)


def _weight_gradient_samples() -> Iterator[Sample]:
    for x, w, attrs, smooth in _cases():
        yield Sample((x, _gradient_of(x, w, attrs)), {"kernel_size": w.shape[2:], **attrs}, smooth)


def _weight_parts_samples() -> Iterator[Sample]:
    for sample in _weight_gradient_samples():
        for parts in range(1, min(len(sample.inputs[0]), 3) + 1):
            yield Sample(sample.inputs, {"parts": parts, **sample.attrs}, False)


def _weight_parts_errors() -> Iterator[ErrorSample]:
    x, g, more = np.zeros((1, 3, 4, 4)), np.zeros((1, 3, 3, 3)), {"kernel_size": (2, 2)}
    yield ErrorSample((x, g), {**_settings(2), **more, "parts": 2}, ShapeError, "1 samples in 2 parts")
    yield ErrorSample((x, g), {**_settings(2), **more, "parts": 1, "groups": 2}, ShapeError, "divisible by 2")


def _settings_errors(a: Array, b: Array, **more: Any) -> Iterator[ErrorSample]:
    """What all three refuse, for operands that fit when nothing is set."""
    plain = {**_settings(2), **more}
    bad: list[tuple[dict[str, Any], str]] = [
        ({"stride": (1,)}, "expected stride to be a list of 2 values"),
        ({"stride": (1, 0)}, "non-positive stride"),
        ({"dilation": (0, 1)}, "dilation should be greater than zero"),
        ({"padding": ((0, 0), (0, -1))}, "negative padding"),
        ({"groups": 0}, "non-positive groups"),
        ({"groups": 2}, "divisible by 2"),
    ]
    for wrong, match in bad:
        yield ErrorSample((a, b), {**plain, **wrong}, ShapeError, match)
    yield ErrorSample((a, b[0]), plain, ShapeError, "the same spatial dimensions")
    yield ErrorSample((a[0, 0], b[0, 0]), plain, ShapeError, "at least 3")
    yield ErrorSample((a, b.astype(np.float32)), plain, DtypeError, "expected scalar type")
    yield ErrorSample((a > 0, b > 0), plain, DtypeError, "not implemented for 'Bool'")


def _convolution_errors() -> Iterator[ErrorSample]:
    x, w = np.zeros((1, 3, 4, 4)), np.zeros((3, 3, 2, 2))
    yield from _settings_errors(x, w)
    yield ErrorSample((x, w[:, :2]), _settings(2), ShapeError, "to have 2 channels, but got 3 channels instead")
    yield ErrorSample((x[:, :, :1], w), _settings(2), ShapeError, r"\(1 x 4\).*can't be greater than actual input size")
    yield ErrorSample((x, w[:, :, :0]), _settings(2), ShapeError, "kernel size should be greater than zero")


def _input_gradient_errors() -> Iterator[ErrorSample]:
    g, w, more = np.zeros((1, 3, 3, 3)), np.zeros((3, 3, 2, 2)), {"input_size": (4, 4)}
    yield from _settings_errors(g, w, **more)
    yield ErrorSample((g[:, :2], w), {**_settings(2), **more}, ShapeError, "to have 3 channels, but got 2")
    yield ErrorSample((g, w), {**_settings(2), "input_size": (4, 5)}, ShapeError, "spatial sizes")
    yield ErrorSample((g, w), {**_settings(2), "input_size": (4,)}, ShapeError, "one size per spatial dimension")


def _weight_gradient_errors() -> Iterator[ErrorSample]:
    x, g, more = np.zeros((1, 3, 4, 4)), np.zeros((1, 3, 3, 3)), {"kernel_size": (2, 2)}
    yield from _settings_errors(x, g, **more)
    yield ErrorSample((x, np.repeat(g, 2, 0)), {**_settings(2), **more}, ShapeError, "the batches differ")
    yield ErrorSample((x, g), {**_settings(2), "kernel_size": (2, 3)}, ShapeError, "spatial sizes")
    yield ErrorSample((x, g), {**_settings(2), "kernel_size": (2,)}, ShapeError, "one size per spatial dimension")
    even = np.zeros((1, 2, 4, 4))
    yield ErrorSample((even, g), {**_settings(2, groups=2), **more}, ShapeError, "gradient's channels to be divisible")


convolution: Op = declare(
    "convolution",
    weight=10,
    infer=_convolution_infer,
    eval=_evaluated(_convolution_inplace, _convolution_infer),
    inplace=_convolution_inplace,
    kind=Kind("convolution"),
    vjp=(_convolution_rule_x, _convolution_rule_w),
    saves=((1,), (0,)),
    samples=_convolution_samples,
    errors=_convolution_errors,
)

#: The adjoint of `convolution` in x: every element of g spreads over the window it was made from.
convolution_input_gradient: Op = declare(
    "convolution_input_gradient",
    weight=10,
    infer=_input_gradient_infer,
    eval=_evaluated(_input_gradient_inplace, _input_gradient_infer),
    inplace=_input_gradient_inplace,
    kind=Kind("convolution"),
    vjp=(_input_gradient_rule_g, _input_gradient_rule_w),
    saves=((1,), (0,)),
    samples=_input_gradient_samples,
    errors=_input_gradient_errors,
)

#: The adjoint of `convolution` in w: every weight gathers the pairs it connects.
convolution_weight_gradient: Op = declare(
    "convolution_weight_gradient",
    weight=10,
    infer=_weight_gradient_infer,
    eval=_weight_gradient,
    inplace=_weight_gradient_inplace,
    kind=Kind("convolution"),
    vjp=(_weight_gradient_rule_x, _weight_gradient_rule_g),
    saves=((1,), (0,)),
    samples=_weight_gradient_samples,
    errors=_weight_gradient_errors,
)

#: (x, g; parts, and convolution_weight_gradient's attributes) -> [parts, *weight]: the gradients of equal parts of the batch,
#: whose sum is the whole. Compilers make them side by side.
convolution_weight_parts: Op = declare(
    "convolution_weight_parts",
    infer=_weight_parts_infer,
    eval=_weight_parts_eval,
    kind=Kind("convolution"),
    samples=_weight_parts_samples,
    errors=_weight_parts_errors,
)
