"""What windows are folded from: their elements laid out side by side. Compilers turn windows and small convolutions into these.

The attributes are those of primitives/windows.py. Each op adds one dimension per spatial dimension behind the others: the
places within a window, or the windows that meet an element. Where there is none, the result holds `value`. Backends that
fuse write an element of these ops out where it is read; nothing is laid out in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np

from graphc.core import scalar as s
from graphc.core.dims import Shape, same
from graphc.core.errors import DimensionError, DtypeError, ShapeError
from graphc.core.op import ArgReduction, ErrorSample, Kind, Op, Sample, declare
from graphc.core.tensor_types import TensorType, int64
from graphc.primitives.axis_samples import check_axes
from graphc.primitives.windows import Windows, check_adjoint, counts_of, split_shape, windows_of

Array = np.ndarray[Any, Any]
_WINDOW_PART = Kind("window part")

#: For one dimension: where each element of the result comes from, [own, beside], and whether there is such a place.
Places = tuple[Array, Array]


def _laid_out(x: Array, dims: list[Places], value: Any) -> Array:
    """x: [*lead, *sizes] read at the places of each dimension -> [*lead, *own, *beside]; `value` where there is none."""
    n = len(dims)
    lead = x.shape[: x.ndim - n]
    shape = (*(at.shape[0] for at, _ in dims), *(at.shape[1] for at, _ in dims))
    if not x.size or not prod(shape):
        return np.full((*lead, *shape), value, x.dtype)
    inside: Any = np.True_
    index: list[Any] = []
    for i, (at, there) in enumerate(dims):
        line = [1] * (2 * n)
        line[i], line[n + i] = at.shape
        index.append(np.where(there, at, 0).reshape(line))
        inside = inside & there.reshape(line)
    found = x[(..., *index)] if n else x
    return np.asarray(np.where(inside, found, np.asarray(value).astype(x.dtype)))


# --- the elements of each window -----------------------------------------------------------------------------------------


def _windows_infer(x: TensorType, *, value: Any, **window: Any) -> TensorType:
    axes = windows_of(**window)
    lead, sizes = split_shape(x, len(axes))
    return x.with_shape((*lead, *counts_of(sizes, axes), *(axis.kernel for axis in axes)))


def _tap_places(size: int, axis: Windows) -> Places:
    """The element at place j of window o."""
    count = int(axis.fitting(size))
    at = np.arange(count)[:, None] * axis.stride - axis.low + np.arange(axis.kernel) * axis.dilation
    return at, (at >= 0) & (at < size)


def _windows_eval(x: Array, *, value: Any, **window: Any) -> Array:
    axes = windows_of(**window)
    return _laid_out(x, [_tap_places(n, a) for n, a in zip(x.shape[x.ndim - len(axes) :], axes, strict=True)], value)


def _both(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else a & b


def _filled(inside: Any, own: Any, value: Any, x: TensorType) -> Any:
    """`own` where `inside` holds, else the number."""
    return (
        own if inside is None else s.select(inside, own, s.const(np.asarray(value).astype(x.dtype.np).item(), x.dtype))
    )


def _tap_place(at: Any, out: Any, tap: Any, size: Any, axis: Windows) -> tuple[Any, Any]:
    """Where place `tap` of window `out` is, and the condition that it lies inside; None if it always does."""
    place = out * axis.stride + tap * axis.dilation - axis.low
    inside, last = None, (int(axis.fitting(size)) - 1) * axis.stride + (axis.kernel - 1) * axis.dilation - axis.low
    if axis.low:
        inside = at.tree(place) >= 0
    if last >= size:
        inside = _both(inside, at.tree(place) < size)
    return place, inside


def _windows_element(at: Any, index: Any, x: TensorType, *, value: Any, **window: Any) -> Any:
    axes = windows_of(**window)
    n = len(axes)
    lead, sizes = split_shape(x, n)
    where, inside = list(index[: len(lead)]), None
    for i, (size, axis) in enumerate(zip(sizes, axes, strict=True)):
        place, here = _tap_place(at, index[len(lead) + i], index[len(lead) + n + i], size, axis)
        where.append(place)
        inside = _both(inside, here)
    return _filled(inside, at(0, where, inside), value, x)


def _places_infer(*, sizes: Shape, **window: Any) -> TensorType:
    return _windows_infer(TensorType(tuple(sizes), int64), value=-1, **window)


def _places_eval(*, sizes: Any, **window: Any) -> Array:
    return _windows_eval(np.arange(prod(sizes), dtype=np.int64).reshape(sizes), value=-1, **window)


def _places_element(at: Any, index: Any, *, sizes: Any, **window: Any) -> Any:
    axes = windows_of(**window)
    flat: Any = 0
    inside = None
    for i, (size, axis) in enumerate(zip(sizes, axes, strict=True)):
        place, here = _tap_place(at, index[i], index[len(axes) + i], size, axis)
        flat = place + flat * size
        inside = _both(inside, here)
    return _filled(inside, at.tree(flat), -1, TensorType((), int64))


# --- the windows that meet an element ------------------------------------------------------------------------------------


def most_meeting(axis: Windows) -> int:
    """How many windows meet one element at most."""
    return (axis.dilation * (axis.kernel - 1)) // axis.stride + 1


def _meeting_infer(g: TensorType, *, input_size: Shape, value: Any, **window: Any) -> TensorType:
    axes = windows_of(**window)
    lead = check_adjoint(g, input_size, axes)
    return g.with_shape((*lead, *input_size, *map(most_meeting, axes)))


def _meeting_places(size: int, axis: Windows) -> Places:
    """For element i the window that started last before it, and those before that one."""
    ahead = (np.arange(size) + axis.low)[:, None]
    window = ahead // axis.stride - np.arange(most_meeting(axis))
    into = ahead - window * axis.stride
    meets = (into % axis.dilation == 0) & (into <= axis.dilation * (axis.kernel - 1))
    return window, meets & (window >= 0) & (window < int(axis.fitting(size)))


def _meeting_eval(g: Array, *, input_size: Any, value: Any, **window: Any) -> Array:
    axes = windows_of(**window)
    return _laid_out(g, [_meeting_places(n, a) for n, a in zip(input_size, axes, strict=True)], value)


def _meeting_place(at: Any, i: Any, t: Any, size: int, axis: Windows) -> tuple[Any, Any]:
    ahead, count, reach = i + axis.low, int(axis.fitting(size)), axis.dilation * (axis.kernel - 1)
    inside = None
    if axis.stride == 1:
        window = ahead - t
        tree = at.tree(window)
    else:
        tree = s.quot(at.tree(ahead), s.const(axis.stride, int64))
        tree = tree if most_meeting(axis) == 1 else tree - at.tree(t)
        window = at.computed(tree)
        into = at.tree(ahead) - tree * axis.stride
        if reach % axis.stride != axis.stride - 1:
            inside = into <= reach
    if axis.dilation > 1:
        into = at.tree(ahead) - tree * axis.stride
        inside = _both(inside, s.eq(s.rem(into, s.const(axis.dilation, int64)), 0))
    if most_meeting(axis) > 1:
        inside = _both(inside, tree >= 0)
    if (size - 1 + axis.low) // axis.stride >= count:
        inside = _both(inside, tree < count)
    return window, inside


def _adjoint_element(find: Callable[..., tuple[Any, Any]]) -> Callable[..., Any]:
    """An element of g laid out by element of the input, `find` telling where it is."""

    def element(at: Any, index: Any, g: TensorType, *, input_size: Any, value: Any, **window: Any) -> Any:
        axes = windows_of(**window)
        n = len(axes)
        lead = g.ndim - n
        where, inside = list(index[:lead]), None
        for i, (size, axis) in enumerate(zip(input_size, axes, strict=True)):
            place, here = find(at, index[lead + i], index[lead + n + i], size, axis)
            where.append(place)
            inside = _both(inside, here)
        return _filled(inside, at(0, where, inside), value, g)

    return element


def _by_place_infer(g: TensorType, *, input_size: Shape, value: Any, **window: Any) -> TensorType:
    axes = windows_of(**window)
    lead = check_adjoint(g, input_size, axes)
    return g.with_shape((*lead, *input_size, *(axis.kernel for axis in axes)))


def _by_place_places(size: int, axis: Windows) -> Places:
    """For element i and place j the window whose place j is at i."""
    ahead = np.arange(size)[:, None] + axis.low - np.arange(axis.kernel) * axis.dilation
    window = ahead // axis.stride
    return window, (ahead % axis.stride == 0) & (window >= 0) & (window < int(axis.fitting(size)))


def _by_place_eval(g: Array, *, input_size: Any, value: Any, **window: Any) -> Array:
    axes = windows_of(**window)
    return _laid_out(g, [_by_place_places(n, a) for n, a in zip(input_size, axes, strict=True)], value)


def _by_place_place(at: Any, i: Any, j: Any, size: int, axis: Windows) -> tuple[Any, Any]:
    ahead, count, reach = i - j * axis.dilation + axis.low, int(axis.fitting(size)), axis.dilation * (axis.kernel - 1)
    tree = at.tree(ahead)
    inside = None if axis.low >= reach else tree >= 0
    window = ahead
    if axis.stride != 1:
        step = s.const(axis.stride, int64)
        inside = _both(inside, s.eq(s.rem(tree, step), 0))
        tree = s.quot(tree, step)
        window = at.computed(tree)
    if (size - 1 + axis.low) // axis.stride >= count:
        inside = _both(inside, tree < count)
    return window, inside


# --- the place of a maximum ----------------------------------------------------------------------------------------------


def _argmax_infer(x: TensorType, places: TensorType, *, axes: tuple[int, ...]) -> TensorType:
    check_axes(x, axes)
    if places.dtype is not int64:
        raise DtypeError(f"places are {places.dtype.name}", "int64")
    if places.ndim != x.ndim:
        raise ShapeError("places and x differ in shape", f"{x.ndim}-d places, got {places}")
    for have, want in zip(places.shape, x.shape, strict=True):
        same(have, want, "places and x differ in shape", f"{have} == {want}")
    return TensorType(tuple(n for a, n in enumerate(x.shape) if a not in axes), int64)


def _argmax_eval(x: Array, places: Array, *, axes: tuple[int, ...]) -> Array:
    kept = [a for a in range(x.ndim) if a not in axes]
    lead = tuple(x.shape[a] for a in kept)
    n = prod(x.shape[a] for a in axes)
    keys, at = (a.transpose([*kept, *axes]).reshape((*lead, n)) for a in (x, places))
    found = np.full(lead, -1, np.int64)
    best = np.zeros(lead, x.dtype)
    for j in range(n):
        key, place = keys[..., j], at[..., j]
        take = (place >= 0) & ((found < 0) | (key > best) | (key != key))
        best, found = np.where(take, key, best), np.where(take, place, found)
    return np.asarray(found)


# --- samples -------------------------------------------------------------------------------------------------------------


def _window(*axes: tuple[int, int, tuple[int, int], int]) -> dict[str, Any]:
    kernel, stride, padding, dilation = zip(*axes, strict=True) if axes else ((), (), (), ())
    return {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}


#: Shapes and windows: none, side by side, overlapping, dilated, spread out, padded, cut short.
_CASES: tuple[tuple[tuple[int, ...], dict[str, Any]], ...] = (
    ((), _window()),
    ((2, 3), _window()),
    ((0, 4), _window((2, 2, (0, 0), 1))),
    ((7,), _window((3, 1, (1, 1), 2))),
    ((2, 6), _window((4, 1, (2, 1), 1))),
    ((5,), _window((2, 3, (0, 1), 1))),
    ((7,), _window((1, 3, (0, -1), 1))),
    ((6,), _window((2, 2, (1, 1), 3))),
    ((2, 3, 4), _window((3, 2, (1, 1), 1), (2, 1, (0, 0), 1))),
    ((2, 2, 3, 2), _window((2, 1, (0, 0), 1), (2, 2, (0, 1), 1), (2, 1, (1, 0), 1))),
)
_DTYPES = (np.float16, np.float32, np.int64, np.uint8, bool)


def _filling(x: Array) -> Any:
    return True if x.dtype == bool else 3


def _operands(shape_of: Callable[[tuple[int, ...], dict[str, Any]], tuple[int, ...]]) -> Iterator[Any]:
    """Arrays of the shape that `shape_of` gives for an input's, with the input's shape and the attributes."""
    rng = np.random.default_rng(0)
    for shape, window in _CASES:
        yield np.asarray(rng.normal(size=shape_of(shape, window))), shape, window
    shape, window = _CASES[8]
    own = shape_of(shape, window)
    yield rng.normal(size=own[::-1]).T[::-1], shape, window
    odd = np.full(own, np.nan)
    odd[..., 0] = np.inf
    yield odd, shape, window
    for dtype in _DTYPES:
        yield np.arange(prod(own)).reshape(own).astype(dtype), shape, window


def _windows_samples() -> Iterator[Sample]:
    for x, _, window in _operands(lambda shape, window: shape):
        yield Sample((x,), {"value": _filling(x), **window}, False)


def _adjoint_samples() -> Iterator[Sample]:
    def counted(shape: tuple[int, ...], window: dict[str, Any]) -> tuple[int, ...]:
        axes = windows_of(**window)
        lead = shape[: len(shape) - len(axes)]
        return tuple(map(int, (*lead, *counts_of(shape[len(lead) :], axes))))

    for g, shape, window in _operands(counted):
        sizes = shape[len(shape) - len(window["kernel"]) :]
        yield Sample((g,), {"input_size": sizes, "value": _filling(g), **window}, False)


def _places_samples() -> Iterator[Sample]:
    for shape, window in _CASES:
        yield Sample((), {"sizes": shape[len(shape) - len(window["kernel"]) :], **window})


def _argmax_samples() -> Iterator[Sample]:
    nan, inf = np.nan, np.inf
    rows = np.array([[1.0, 3, 3], [-inf, -inf, -inf], [nan, 1, nan], [1, nan, inf]])
    at = np.array([[0, 1, 2], [-1, 4, 5], [6, 7, 8], [0, -1, -1]], np.int64)
    for dtype in (np.float16, np.float32, np.float64):
        yield Sample((rows.astype(dtype), at), {"axes": (1,)}, False)
    yield Sample((rows.T[::-1], at.T[::-1]), {"axes": (0,)}, False)
    yield Sample((rows, at), {"axes": (0, 1)}, False)
    yield Sample((rows, at), {"axes": ()}, False)
    yield Sample((np.array(2.0), np.array(7, np.int64)), {"axes": ()}, False)
    yield Sample((rows[:0], at[:0]), {"axes": (1,)}, False)
    yield Sample((rows[:, :0], at[:, :0]), {"axes": (1,)}, False)
    for kind in (np.int64, np.uint8, bool):
        yield Sample((np.array([[1, 0, 1], [0, 0, 0]]).astype(kind), at[:2]), {"axes": (1,)}, False)
    wide = np.random.default_rng(0).integers(0, 5, (2, 40)).astype(np.float32)
    yield Sample((wide, np.arange(80).reshape(2, 40)), {"axes": (1,)}, False)


def _attribute_errors(x: Array, **more: Any) -> Iterator[ErrorSample]:
    window = {**_window((2, 1, (0, 0), 1)), "value": 0, **more}
    operands = () if "sizes" in more else (x,)
    if "sizes" in more:
        del window["value"]
    yield ErrorSample(operands, {**window, "stride": (0,)}, ShapeError, "stride .* should be greater than zero")
    yield ErrorSample(operands, {**window, "kernel": (2, 2)}, ShapeError, "differ in length")


def _argmax_errors() -> Iterator[ErrorSample]:
    x, at = np.zeros((2, 3)), np.zeros((2, 3), np.int64)
    yield ErrorSample((x, at), {"axes": (2,)}, DimensionError, "do not fit 2 dimensions")
    yield ErrorSample((x, at.astype(np.int32)), {"axes": (1,)}, DtypeError, "places are int32")
    yield ErrorSample((x, at[0]), {"axes": (1,)}, ShapeError, "differ in shape")
    yield ErrorSample((x, at[:, :2]), {"axes": (1,)}, ShapeError, "differ in shape")


# --- the ops -------------------------------------------------------------------------------------------------------------

#: (x; kernel, stride, padding, dilation, value) -> [*, *windows, *kernel]: the elements of each window.
windows: Op = declare(
    "windows",
    infer=_windows_infer,
    eval=_windows_eval,
    element=_windows_element,
    kind=_WINDOW_PART,
    samples=_windows_samples,
    errors=lambda: _attribute_errors(np.zeros(3)),
)

#: (; sizes, kernel, stride, padding, dilation) -> int64[*windows, *kernel]: where each element lies in the flattened
#: dimensions of these sizes; -1 outside.
window_places: Op = declare(
    "window_places",
    infer=_places_infer,
    eval=_places_eval,
    element=_places_element,
    kind=_WINDOW_PART,
    samples=_places_samples,
    errors=lambda: _attribute_errors(np.zeros(3), sizes=(3,)),
)

#: (g; input_size, value, and the windows' attributes) -> [*, *input_size, *most windows that meet an element]: g of each
#: window that meets an element of the input.
meeting_windows: Op = declare(
    "meeting_windows",
    infer=_meeting_infer,
    eval=_meeting_eval,
    element=_adjoint_element(_meeting_place),
    kind=_WINDOW_PART,
    samples=_adjoint_samples,
    errors=lambda: _attribute_errors(np.zeros(2), input_size=(3,)),
)

#: (g; input_size, value, and the windows' attributes) -> [*, *input_size, *kernel]: for each element of the input and each
#: place in the kernel, g of the window that has this element there.
windows_by_place: Op = declare(
    "windows_by_place",
    infer=_by_place_infer,
    eval=_by_place_eval,
    element=_adjoint_element(_by_place_place),
    kind=_WINDOW_PART,
    samples=_adjoint_samples,
    errors=lambda: _attribute_errors(np.zeros(2), input_size=(3,)),
)

#: (x, places; axes) -> int64: of the elements along `axes` with a place that is not negative, the place of the greatest one:
#: the first of equals, but the last NaN if there is one (what max pooling gives); -1 if there is no such element.
place_of_maximum: Op = declare(
    "place_of_maximum",
    infer=_argmax_infer,
    eval=_argmax_eval,
    kind=ArgReduction("maximum_last_nan"),
    samples=_argmax_samples,
    errors=_argmax_errors,
)

__all__ = ["meeting_windows", "most_meeting", "place_of_maximum", "window_places", "windows", "windows_by_place"]
