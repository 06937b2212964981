"""Windows over the trailing dimensions: their maxima with the places of these, their sums, and the adjoints of both.

The attributes hold one entry per spatial dimension. Window o of a dimension meets the positions

    o * stride - low + j * dilation,   0 <= j < kernel,

that lie inside the input; what lies outside takes no part. There are (size + low + high - dilation * (kernel - 1) - 1) //
stride + 1 windows: `high` decides their number and nothing else, and may be negative. Where sizes are unknown, `high`,
`kernel` and `stride` may be `Dim`s (a window over a whole dimension); when the op runs all are numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

import numpy as np

from graphc.core.dims import Shape, Size, floordiv, product, same
from graphc.core.errors import DtypeError, ShapeError
from graphc.core.op import OUT, ErrorSample, Kind, Op, Sample, declare
from graphc.core.tensor_types import TensorType, int64
from graphc.primitives.axis_samples import check_not_bool, computed
from graphc.primitives.indexing import gather
from graphc.primitives.samples import FLOATS, INTEGERS
from graphc.primitives.views import reshape, show

Array = np.ndarray[Any, Any]
Pairs = tuple[tuple[int, Size], ...]

_WINDOW = Kind("window")


class Windows(NamedTuple):
    """The windows along one dimension."""

    kernel: int
    stride: int
    low: int
    high: Size
    dilation: int

    def fitting(self, size: Size) -> Size:
        """How many there are in a dimension of `size`."""
        return floordiv(size + self.low + self.high - self.dilation * (self.kernel - 1) - 1, self.stride) + 1

    def taps(self, size: int, count: int) -> Iterator[tuple[int, slice, slice]]:
        """For each j, where it meets an element: j, the windows that have one, and the positions of these elements."""
        for j in range(self.kernel):
            ahead = j * self.dilation - self.low
            first = max(0, -(ahead // self.stride))
            last = min(count, (size - 1 - ahead) // self.stride + 1)
            if first < last:
                start = first * self.stride + ahead
                yield j, slice(first, last), slice(start, start + (last - first - 1) * self.stride + 1, self.stride)


# --- shapes ----------------------------------------------------------------------------------------------------------


def windows_of(*, kernel: Shape, stride: Shape, padding: Pairs, dilation: Shape) -> tuple[Windows, ...]:
    """The attributes of a window op, one `Windows` per spatial dimension; ShapeError for attributes that are none."""
    if not len(kernel) == len(stride) == len(padding) == len(dilation):
        raise ShapeError("kernel, stride, padding and dilation differ in length", "one entry per spatial dimension")
    for name, given in (("kernel", kernel), ("stride", stride), ("dilation", dilation)):
        if any(isinstance(n, int) and n < 1 for n in given):
            raise ShapeError(f"{name} {show(given)} should be greater than zero", "numbers >= 1")
    if any(low < 0 for low, _ in padding):
        raise ShapeError(f"padding {list(padding)} is negative", "numbers >= 0")
    return tuple(Windows(k, s, *p, d) for k, s, p, d in zip(kernel, stride, padding, dilation, strict=True))  # type: ignore[arg-type]


def counts_of(sizes: Shape, axes: tuple[Windows, ...]) -> Shape:
    """How many windows there are in each dimension; ShapeError where there is none."""
    counts = tuple(axis.fitting(size) for axis, size in zip(axes, sizes, strict=True))
    if any(isinstance(count, int) and count < 1 for count in counts):
        raise ShapeError(
            f"{show(counts)} windows in {show(sizes)}: the output size is too small", "at least one window"
        )
    return counts


def _check_filled(size: Size, axis: Windows) -> None:
    """Raises unless every window meets an element: an empty one has no maximum."""
    count = axis.fitting(size)
    if not isinstance(size, int) or not isinstance(count, int):
        return
    early = range(-axis.low, 0, axis.stride)[:count]
    reached = all(-start <= axis.dilation * (axis.kernel - 1) and start % axis.dilation < size for start in early)
    if not reached or (count - 1) * axis.stride - axis.low >= size:
        raise ShapeError(f"a window lies outside of the {size} elements", "every window to meet an element")


def split_shape(x: TensorType, spatial: int) -> tuple[Shape, Shape]:
    """The leading and the spatial sizes."""
    if x.ndim < spatial:
        raise ShapeError(f"windows over {spatial} dimensions of {x}", f"at least {spatial} dimensions")
    at = x.ndim - spatial
    return x.shape[:at], x.shape[at:]


def _max_infer(x: TensorType, **window: Any) -> tuple[TensorType, TensorType]:
    check_not_bool(x)
    axes = windows_of(**window)
    lead, sizes = split_shape(x, len(axes))
    out = x.with_shape(lead + counts_of(sizes, axes))
    for size, axis in zip(sizes, axes, strict=True):
        _check_filled(size, axis)
    return out, out.with_dtype(int64)


def _sum_infer(x: TensorType, **window: Any) -> TensorType:
    check_not_bool(x)
    axes = windows_of(**window)
    lead, sizes = split_shape(x, len(axes))
    return x.with_shape(lead + counts_of(sizes, axes))


def _adjoint_infer(g: TensorType, *, input_size: Shape, **window: Any) -> TensorType:
    check_not_bool(g)
    lead = check_adjoint(g, input_size, windows_of(**window))
    return g.with_shape(lead + tuple(input_size))


def check_adjoint(g: TensorType, input_size: Shape, axes: tuple[Windows, ...]) -> Shape:
    """The leading sizes of g: [*lead, *windows in `input_size`]; ShapeError where g has other sizes."""
    if len(input_size) != len(axes):
        raise ShapeError(f"input_size {show(input_size)} for {len(axes)} dimensions", "one size per spatial dimension")
    lead, have = split_shape(g, len(axes))
    for size, want in zip(have, counts_of(input_size, axes), strict=True):
        same(
            size, want, f"sizes {show(have)} are not the numbers of windows in {show(input_size)}", f"{size} == {want}"
        )
    return lead


def _max_gradient_infer(g: TensorType, indices: TensorType, *, input_size: Shape, **window: Any) -> TensorType:
    out = _adjoint_infer(g, input_size=input_size, **window)
    if indices.dtype is not int64:
        raise DtypeError(f"indices are {indices.dtype.name}", "int64")
    if g.ndim != indices.ndim:
        raise ShapeError("g and indices differ in shape", f"{g.ndim}-d indices, got {indices}")
    for size, want in zip(indices.shape, g.shape, strict=True):
        same(size, want, "g and indices differ in shape", f"{size} == {want}")
    return out


# --- on arrays: dimension by dimension, a step for each element of a window --------------------------------------------


def _empty_along(x: Array, axis: int, size: int, dtype: Any) -> Array:
    return np.empty((*x.shape[:axis], size, *x.shape[axis + 1 :]), dtype)


def _computed(x: Array, may_share: bool) -> Array:
    """x in the dtype of the arithmetic, in memory of its own unless it may share."""
    return x.astype(computed(x), copy=not may_share)


def _max_along(x: Array, carried: list[Array], axis: int, windows: Windows, has_nan: bool) -> tuple[Array, list[Array]]:
    """The maxima along one axis; which element of its window each one is, and `carried` at these places."""
    size, count = x.shape[axis], int(windows.fitting(x.shape[axis]))
    starts = np.arange(count) * windows.stride - windows.low
    outside = np.maximum(-(starts // windows.dilation), 0)
    nearest = starts + outside * windows.dilation
    whole = (slice(None),) * axis
    if windows.low:
        best, *kept = (a.take(nearest, axis) for a in (x, *carried))
    else:
        best, *kept = (a[(*whole, slice(0, starts[-1] + 1, windows.stride))].copy() for a in (x, *carried))
    tap = _empty_along(x, axis, count, np.min_scalar_type(windows.kernel - 1))
    tap[...] = outside.reshape(-1, *(1 for _ in x.shape[axis + 1 :]))
    for j, outs, ins in windows.taps(size, count):
        if j == 0:
            continue
        found, target = x[(*whole, ins)], best[(*whole, outs)]
        better = found > target
        if has_nan:
            better |= found != found
        np.maximum(found, target, out=target)  # of equals NumPy keeps the second operand: the sign of a zero
        # arithmetic on small integers is much faster than copying under a mask
        places = tap[(*whole, outs)]
        np.maximum(places, better * tap.dtype.type(j), out=places)
        for c, k in zip(carried, kept, strict=True):
            there = k[(*whole, outs)]
            there ^= (there ^ c[(*whole, ins)]) * better
    return best, [tap, *kept]


def _max_eval(x: Array, **window: Any) -> tuple[Array, Array]:
    axes = windows_of(**window)
    lead = x.ndim - len(axes)
    best = _computed(x, bool(axes))
    has_nan = best.size > 0 and best.dtype.kind == "f" and bool(np.isnan(best.max()))
    taps: list[Array] = []
    for i in reversed(range(len(axes))):
        best, taps = _max_along(best, taps, lead + i, axes[i], has_nan)
    flat = np.zeros(best.shape, np.int64)
    for i, (axis, tap) in enumerate(zip(axes, taps, strict=True)):
        flat *= x.shape[lead + i]
        flat += np.multiply(tap, axis.dilation, dtype=np.int64)
        starts = np.arange(best.shape[lead + i]) * axis.stride - axis.low
        flat += starts.reshape(-1, *(1 for _ in axes[i + 1 :]))
    return best.astype(x.dtype, copy=False), flat


def _max_gradient_eval(g: Array, indices: Array, *, input_size: tuple[int, ...], **window: Any) -> Array:
    lead = g.shape[: g.ndim - len(input_size)]
    rows, plane, count = prod(lead), prod(input_size), prod(g.shape[len(lead) :])
    out = np.zeros(rows * plane, computed(g))
    places = indices.reshape(rows, count) + np.arange(rows)[:, None] * plane
    np.add.at(out, places.reshape(-1), g.astype(out.dtype, copy=False).reshape(-1))
    return out.reshape((*lead, *input_size)).astype(g.dtype, copy=False)


def _sum_eval(x: Array, **window: Any) -> Array:
    axes = windows_of(**window)
    out = _computed(x, bool(axes))
    for axis, windows in zip(reversed(range(x.ndim)), reversed(axes), strict=False):
        size, count = out.shape[axis], int(windows.fitting(out.shape[axis]))
        found, whole = out, (slice(None),) * axis
        out = _empty_along(found, axis, count, found.dtype)
        out[...] = 0
        for _, outs, ins in windows.taps(size, count):
            out[(*whole, outs)] += found[(*whole, ins)]
    return out.astype(x.dtype, copy=False)


def _sum_gradient_eval(g: Array, *, input_size: tuple[int, ...], **window: Any) -> Array:
    axes = windows_of(**window)
    out = _computed(g, bool(axes))
    for axis, size, windows in zip(reversed(range(g.ndim)), reversed(input_size), reversed(axes), strict=False):
        found, whole = out, (slice(None),) * axis
        out = _empty_along(found, axis, size, found.dtype)
        out[...] = 0
        for _, outs, ins in windows.taps(size, found.shape[axis]):
            out[(*whole, ins)] += found[(*whole, outs)]
    return out.astype(g.dtype, copy=False)


# --- rules -----------------------------------------------------------------------------------------------------------


def _input_size(x: Any, kernel: Shape) -> Shape:
    return tuple(x.shape[len(x.shape) - len(kernel) :])


def _max_rule(g: Any, out: Any, x: Any, *, kernel: Shape, **rest: Any) -> Any:
    return window_max_gradient(g[0], out[1], input_size=_input_size(x, kernel), kernel=kernel, **rest)


def _max_gradient_rule(h: Any, out: Any, g: Any, indices: Any, *, input_size: Shape, **window: Any) -> Any:
    lead = tuple(indices.shape[: len(indices.shape) - len(input_size)])
    counts = tuple(indices.shape[len(lead) :])
    planes = reshape(h, shape=(*lead, product(input_size)))
    places = reshape(indices, shape=(*lead, product(counts)))
    return reshape(gather(planes, places, axis=len(lead)), shape=(*lead, *counts))


# --- samples ---------------------------------------------------------------------------------------------------------


def _window(*axes: tuple[int, int, tuple[int, int], int]) -> dict[str, Any]:
    """Attributes from (kernel, stride, padding, dilation) of each dimension."""
    kernel, stride, padding, dilation = zip(*axes, strict=True) if axes else ((), (), (), ())
    return {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}


_HALVED = (2, 2, (0, 0), 1)
_PADDED = (3, 2, (1, 1), 1)
_SQUARE = _window(_HALVED, _PADDED)

#: Shapes and windows: none, one, two and three dimensions; overlapping, dilated, spread out, padded on one side, cut short.
_GEOMETRIES: tuple[tuple[tuple[int, ...], dict[str, Any]], ...] = (
    ((), _window()),
    ((2, 3), _window()),
    ((0, 4), _window(_HALVED)),
    ((7,), _window((3, 1, (1, 1), 2))),
    ((2, 6), _window((4, 1, (2, 1), 1))),
    ((2, 5), _window((2, 3, (0, 1), 1))),
    ((7,), _window((1, 3, (0, -1), 1))),
    ((2, 3, 4), _window(_PADDED, (2, 1, (0, 0), 1))),
    ((2, 3, 4), _window((2, 1, (0, 0), 2), (2, 2, (1, 0), 3))),
    ((2, 2, 3, 2), _window((2, 1, (0, 0), 1), (2, 2, (0, 1), 1), (2, 1, (1, 0), 1))),
)


def _distinct(shape: tuple[int, ...]) -> Array:
    """Numbers that are far apart, so that a small step changes no maximum; exact in every float dtype."""
    return np.asarray(np.random.default_rng(0).permutation(prod(shape)).reshape(shape) / 8.0 - 1.25)


def _operands() -> Iterator[tuple[Array, dict[str, Any], bool]]:
    """Arrays with windows over them, and whether finite differences suit them."""
    for shape, window in _GEOMETRIES:
        yield _distinct(shape), window, True
    yield _distinct((4, 4)).T[::-1], _SQUARE, True
    yield _distinct((4, 8))[:, ::2], _SQUARE, True
    for dtype in FLOATS:
        yield _distinct((4, 4)).astype(dtype), _SQUARE, True
        odd = np.array(
            [[1, np.nan, 2, np.nan], [3, 3, 1, 3], [-np.inf, -np.inf, 0, -0.0], [-np.inf, -np.inf, np.inf, 1]]
        )
        yield odd.astype(dtype), _SQUARE, False
        yield odd.astype(dtype), _window((2, 1, (1, 1), 1), (2, 1, (0, 0), 2)), False
    for dtype in INTEGERS:
        yield np.array([[3, 1, 3, 3], [0, 3, 2, 5], [7, 7, 7, 7], [0, 1, 0, 2]]).astype(dtype), _SQUARE, False


def _samples() -> Iterator[Sample]:
    for x, window, smooth in _operands():
        yield Sample((x,), window, smooth)


def _cotangent(x: Array, window: dict[str, Any]) -> tuple[Array, Array, dict[str, Any]]:
    """Numbers of the windows' shape (infinite ones where x is odd), x's places, and the adjoints' attributes."""
    with np.errstate(invalid="ignore"):
        best, indices = _max_eval(x, **window)
    g = np.asarray(np.arange(best.size).reshape(best.shape) % 5 + 1).astype(x.dtype)
    if not np.isfinite(x.astype(np.float64)).all():
        g = np.where(np.isfinite(best.astype(np.float64)), g, best)
    return g, indices, {"input_size": _input_size(x, window["kernel"]), **window}


def _max_gradient_samples() -> Iterator[Sample]:
    for x, window, smooth in _operands():
        g, indices, attrs = _cotangent(x, window)
        yield Sample((g, indices), attrs, smooth)
    g, indices, attrs = _cotangent(_distinct((4, 4)), _SQUARE)
    yield Sample((g.T.copy().T, indices.T.copy().T), attrs)


def _sum_gradient_samples() -> Iterator[Sample]:
    for x, window, smooth in _operands():
        g, _, attrs = _cotangent(x, window)
        yield Sample((g,), attrs, smooth)
    g, _, attrs = _cotangent(_distinct((4, 4)), _SQUARE)
    yield Sample((g.T.copy().T,), attrs)


def _attribute_errors(*operands: Array, **more: Any) -> Iterator[ErrorSample]:
    """Attributes that fit no operands of two dimensions."""
    for change, match in (
        ({"stride": (1,)}, "differ in length"),
        ({"kernel": (0, 1)}, r"kernel \[0, 1\] should be greater than zero"),
        ({"stride": (1, 0)}, "stride .* should be greater than zero"),
        ({"dilation": (0, 1)}, "dilation .* should be greater than zero"),
        ({"padding": ((0, 0), (-1, 0))}, "is negative"),
        ({"kernel": (9, 1)}, "output size is too small"),
    ):
        yield ErrorSample(operands, {**_SQUARE, **more, **change}, ShapeError, match)
    bools = tuple(np.zeros(x.shape, bool) if x.dtype.kind == "f" else x for x in operands)
    yield ErrorSample(bools, {**_SQUARE, **more}, DtypeError, "integer or floating")


def _sum_errors() -> Iterator[ErrorSample]:
    yield from _attribute_errors(np.zeros((4, 4)))
    yield ErrorSample((np.zeros(4),), _SQUARE, ShapeError, "windows over 2 dimensions")


def _max_errors() -> Iterator[ErrorSample]:
    yield from _sum_errors()
    beyond, before = (1, 1, (0, 2), 1), (1, 1, (1, 0), 1)
    yield ErrorSample((np.zeros(3),), _window(beyond), ShapeError, "a window lies outside")
    yield ErrorSample((np.zeros(3),), _window(before), ShapeError, "a window lies outside")
    yield ErrorSample((np.zeros(2),), _window((2, 1, (1, 1), 3)), ShapeError, "a window lies outside")


def _sum_gradient_errors(*indices: Array) -> Iterator[ErrorSample]:
    sizes = {"input_size": (4, 4)}
    yield from _attribute_errors(np.zeros((2, 2)), *indices, **sizes)
    yield ErrorSample((np.zeros((2, 2)), *indices), {**_SQUARE, "input_size": (4,)}, ShapeError, "input_size")
    yield ErrorSample((np.zeros((2, 3)), *indices), {**_SQUARE, **sizes}, ShapeError, "numbers of windows")
    yield ErrorSample((np.zeros(2), *indices), {**_SQUARE, **sizes}, ShapeError, "windows over 2 dimensions")


def _max_gradient_errors() -> Iterator[ErrorSample]:
    g, attrs = np.zeros((2, 2)), {**_SQUARE, "input_size": (4, 4)}
    yield from _sum_gradient_errors(np.zeros((2, 2), np.int64))
    yield ErrorSample((g, np.zeros((2, 2), np.int32)), attrs, DtypeError, "indices are int32")
    yield ErrorSample((g, np.zeros((2, 3), np.int64)), attrs, ShapeError, "differ in shape")
    yield ErrorSample((g, np.zeros(2, np.int64)), attrs, ShapeError, "differ in shape")


# --- the ops ---------------------------------------------------------------------------------------------------------

#: (x; kernel, stride, padding, dilation) -> the maximum of each window, and its place in the flattened spatial dimensions
#: as int64: the first of equals in row-major order, but the last NaN if there is one (PyTorch's choices).
window_max: Op = declare(
    "window_max",
    weight=2,
    infer=_max_infer,
    eval=_max_eval,
    kind=_WINDOW,
    vjp=(_max_rule,),
    saves=((OUT,),),
    samples=_samples,
    errors=_max_errors,
    n_outputs=2,
)

#: (g, indices; input_size, and window_max's attributes) -> zeros [*, *input_size] with each g added at its index. The
#: indices are those of window_max: element i of the result sums the g of the windows that meet i and whose index is i.
window_max_gradient: Op = declare(
    "window_max_gradient",
    weight=2,
    infer=_max_gradient_infer,
    eval=_max_gradient_eval,
    kind=_WINDOW,
    vjp=(_max_gradient_rule, None),
    saves=((1,), ()),
    samples=_max_gradient_samples,
    errors=_max_gradient_errors,
)

#: (x; kernel, stride, padding, dilation) -> the sum of each window. 16-bit floats are added up in float32.
window_sum: Op = declare(
    "window_sum",
    weight=2,
    infer=_sum_infer,
    eval=_sum_eval,
    kind=_WINDOW,
    vjp=(
        lambda g, out, x, *, kernel, **rest: window_sum_gradient(
            g, input_size=_input_size(x, kernel), kernel=kernel, **rest
        ),
    ),
    saves=((),),
    samples=_samples,
    errors=_sum_errors,
)

#: (g; input_size, and window_sum's attributes) -> for each element the sum of the g of the windows that meet it.
window_sum_gradient: Op = declare(
    "window_sum_gradient",
    weight=2,
    infer=_adjoint_infer,
    eval=_sum_gradient_eval,
    kind=_WINDOW,
    vjp=(lambda h, out, g, *, input_size, **window: window_sum(h, **window),),
    saves=((),),
    samples=_sum_gradient_samples,
    errors=_sum_gradient_errors,
)

__all__ = ["window_max", "window_max_gradient", "window_sum", "window_sum_gradient"]
