"""Operands put side by side: constant padding and concatenation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphc.core import scalar as s
from graphc.core.dims import Shape, same
from graphc.core.errors import ArgumentError, DimensionError, DtypeError, ShapeError
from graphc.core.op import ErrorSample, Joint, Kind, Op, Sample, declare
from graphc.core.tensor_types import DTYPES, TensorType
from graphc.primitives.views import samples_2x3, show, slice_


def _pad_infer(x: TensorType, *, low: Shape, high: Shape, value: Any) -> TensorType:
    if not len(low) == len(high) == x.ndim:
        raise ShapeError("padding needs one low and one high amount per dimension", f"{x.ndim} of each")
    if any(isinstance(amount, int) and amount < 0 for amount in (*low, *high)):
        raise ArgumentError(f"negative padding: low {show(low)}, high {show(high)}", "amounts >= 0")
    return x.with_shape(a + size + b for a, size, b in zip(low, x.shape, high, strict=True))


def _pad_eval(x: Any, *, low: Shape, high: Shape, value: Any) -> Any:
    out = np.full([a + s + b for a, s, b in zip(low, x.shape, high, strict=True)], value, x.dtype)
    inner: tuple[Any, ...] = tuple(slice(a, a + s) for a, s in zip(low, x.shape, strict=True))
    out[(*inner, ...)] = x
    return out


def _pad_element(at: Any, index: Any, x: TensorType, *, low: Any, high: Any, value: Any) -> Any:
    inside = None
    for i, before, after, size in zip(index, low, high, x.shape, strict=True):
        if before or after:
            place = at.tree(i)
            here = (place >= before) & (place < size + before)
            inside = here if inside is None else inside & here
    if inside is None:
        return at(0, index)
    own = at(0, [i - before for i, before in zip(index, low, strict=True)], inside)
    return s.select(inside, own, s.const(np.asarray(value).astype(x.dtype.np).item(), x.dtype))


def _pad_rule(g: Any, out: Any, x: Any, *, low: Shape, high: Shape, value: Any) -> Any:
    limits = tuple(a + size for a, size in zip(low, x.shape, strict=True))
    return slice_(g, starts=tuple(low), limits=limits, strides=(1,) * len(low))


def _pad_samples() -> Iterator[Sample]:
    yield from samples_2x3(low=(1, 0), high=(0, 2), value=1)
    rng = np.random.default_rng(1)
    cases = [((), (), (), 0.0), ((0,), (1,), (2,), 1.5), ((2, 0), (0, 0), (1, 0), 0.0), ((2, 3), (0, 0), (0, 0), 0.0)]
    for shape, low, high, value in [*cases, ((3,), (1,), (1,), float("-inf")), ((3,), (0,), (1,), float("nan"))]:
        yield Sample((rng.normal(size=shape),), {"low": low, "high": high, "value": value}, abs(value) < 9)


def _pad_errors() -> Iterator[ErrorSample]:
    yield ErrorSample((np.zeros(3),), {"low": (-1,), "high": (0,), "value": 0.0}, ArgumentError, "negative padding")
    yield ErrorSample((np.zeros(3),), {"low": (1, 1), "high": (0,), "value": 0.0}, ShapeError, "one low and one high")


pad: Op = declare(
    "pad",
    infer=_pad_infer,
    eval=_pad_eval,
    element=_pad_element,
    kind=Kind("pad"),
    vjp=(_pad_rule,),
    saves=((),),
    samples=_pad_samples,
    errors=_pad_errors,
)


def _concat_infer(*xs: TensorType, axis: int) -> TensorType:
    if not xs:
        raise ShapeError("expected a non-empty list of Tensors", "at least one operand")
    first = xs[0]
    if not 0 <= axis < first.ndim:
        raise DimensionError(f"no dimension {axis} to concatenate along", f"0 to {first.ndim - 1}")
    shape = list(first.shape)
    for n, x in enumerate(xs[1:], 1):
        if x.dtype is not first.dtype:
            raise DtypeError("operands have different dtypes", f"{first.dtype!r}, got {x.dtype!r} for operand {n}")
        if x.ndim != first.ndim:
            raise ShapeError("Tensors must have same number of dimensions", f"got {first.ndim} and {x.ndim}")
        for a, size in enumerate(x.shape):
            if a == axis:
                shape[a] = shape[a] + size
            else:
                problem = f"Sizes of tensors must match except in dimension {axis}"
                need = f"size {shape[a]} but got size {size} for tensor number {n} in the list"
                shape[a] = same(shape[a], size, problem, need)
    return first.with_shape(shape)


def _concat_element(at: Any, index: Any, *xs: TensorType, axis: int) -> Any:
    place, end = at.tree(index[axis]), sum(x.shape[axis] for x in xs)
    found = None
    for operand in reversed(range(len(xs))):
        size = xs[operand].shape[axis]
        start = end - size
        here = (place >= start) & (place < end)
        where = [i - start if n == axis else i for n, i in enumerate(index)]
        element = at(operand, where, here)
        found = element if found is None else s.select(here, element, found)
        end = start
    return found


def _concat_rule(g: Any, out: Any, *xs: Any, needs: tuple[bool, ...], axis: int) -> tuple[Any, ...]:
    found: list[Any] = []
    at: Any = 0
    for x, needed in zip(xs, needs, strict=True):
        end = at + x.shape[axis]
        starts = tuple(at if a == axis else 0 for a in range(len(x.shape)))
        limits = tuple(end if a == axis else size for a, size in enumerate(x.shape))
        found.append(slice_(g, starts=starts, limits=limits, strides=(1,) * len(x.shape)) if needed else None)
        at = end
    return tuple(found)


def _concat_samples() -> Iterator[Sample]:
    for dtype in DTYPES:
        x = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype.np)
        yield Sample((x, x[:1], x), {"axis": 0})
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 3)), rng.normal(size=(3, 2)).T
    yield Sample((x,), {"axis": 1})
    yield Sample((x, y, x[::-1, ::2]), {"axis": 1})
    yield Sample((x[:, :0], x), {"axis": 1})
    yield Sample((x[:0], y[:0]), {"axis": 0})
    yield Sample((x[None], y[None], x[None]), {"axis": 0})
    yield Sample((np.array([np.nan, 1.0]), np.array([np.inf])), {"axis": 0}, smooth=False)


def _concat_errors() -> Iterator[ErrorSample]:
    x = np.zeros((2, 3))
    yield ErrorSample((x, x.T), {"axis": 0}, ShapeError, "Sizes of tensors must match except in dimension 0")
    yield ErrorSample((x, np.zeros(3)), {"axis": 0}, ShapeError, "same number of dimensions")
    yield ErrorSample((x, x.astype(np.float32)), {"axis": 0}, DtypeError, "different dtypes")
    yield ErrorSample((x, x), {"axis": 2}, DimensionError, "no dimension 2")
    yield ErrorSample((), {"axis": 0}, ShapeError, "non-empty list")


concat: Op = declare(
    "concat",
    infer=_concat_infer,
    eval=lambda *xs, axis: np.concatenate(xs, axis),
    element=_concat_element,
    inplace=lambda out, *xs, axis: np.concatenate(xs, axis, out=out),
    kind=Kind("concat"),
    vjp=Joint(_concat_rule),
    saves=(),
    samples=_concat_samples,
    errors=_concat_errors,
)
