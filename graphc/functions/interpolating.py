"""Resizing of the last dimensions: each output element from its neighbours, one dimension after another.

Output place i stands at (i + 0.5) * L / O - 0.5 of an input of length L, or at i * (L - 1) / (O - 1) where the corner elements
are to stay in their corners. Places are computed in float32 (float64 for that dtype), the nearest ones always in float32.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from graphc.core.autocast import AUTOCAST, DEVICE_FULL, brought
from graphc.core.dims import Dim, Shape, Size
from graphc.core.errors import ArgumentError, ArgumentTypeError, DtypeError, ShapeError, SymbolicError
from graphc.core.tensor_types import DType, float32, float64, int64
from graphc.functions.adaptive_pooling import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from graphc.functions.arguments import need_float, need_tensor
from graphc.functions.promotion import cast_to, scalar_operand
from graphc.functions.reductions import computed_in
from graphc.primitives.creation import iota
from graphc.primitives.elementwise import (
    add,
    cast,
    divide,
    floor,
    maximum,
    minimum,
    multiply,
    subtract,
)  # fmt: skip
from graphc.primitives.indexing import index
from graphc.primitives.views import reshape

_AREA = {1: adaptive_avg_pool1d, 2: adaptive_avg_pool2d, 3: adaptive_avg_pool3d}
#: spatial dimensions of the modes that can keep corners
_LINEAR = {"linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2}
_NEAREST = ("nearest", "nearest-exact")
#: the free coefficient of cubic convolution (Keys 1981), as PyTorch chooses it
_CUBIC = -0.75

# --- sizes -----------------------------------------------------------------------------------------------------------


def _each(what: str, given: Any, spatial: int) -> tuple[Any, ...]:
    if not isinstance(given, Sequence):
        return (given,) * spatial
    if len(given) != spatial:
        raise ArgumentError(
            f"interpolate: {what} {tuple(given)} must be one number or have one for each of {spatial} spatial dimensions"
        )
    return tuple(given)


def _scaled(size: Size, factor: float) -> Size:
    """floor(size * factor)."""
    if isinstance(size, int):
        return int(size * factor)
    if factor == int(factor):
        return size * int(factor)
    if factor > 0 and 1 / factor == int(1 / factor):
        return size // int(1 / factor)
    raise SymbolicError(f"interpolate: {factor} times the unknown size {size} is no size\n  hint: give `size`")


def _sizes(
    have: Shape, size: Any, scale_factor: Any, recompute: bool | None, area: bool
) -> tuple[Shape, tuple[float | None, ...]]:
    """The sizes asked for, and the scale factors where they, not the sizes, say where elements come from."""
    spatial = len(have)
    if (size is None) == (scale_factor is None):
        raise ArgumentError("interpolate: either size or scale_factor should be defined, and not both")
    none: tuple[float | None, ...] = (None,) * spatial
    if size is not None:
        if recompute:
            raise ArgumentError("interpolate: recompute_scale_factor is not meaningful with an explicit size")
        sizes = _each("size", size, spatial)
        if not all(isinstance(n, int | Dim) and not isinstance(n, bool) for n in sizes):
            raise ArgumentTypeError(f"interpolate: expected size to be one of int or tuple of ints, got {size}")
        return sizes, none
    factors = tuple(float(f) for f in _each("scale_factor", scale_factor, spatial))
    sizes = tuple(_scaled(n, f) for n, f in zip(have, factors, strict=True))
    return sizes, none if recompute or area else factors


# --- places ----------------------------------------------------------------------------------------------------------


def _number(value: Any, dtype: DType) -> Any:
    return scalar_operand(value, dtype)


def _counting(count: Size, dtype: DType) -> Any:
    return cast(iota(size=count, start=0, step=1, dtype=int64), dtype=dtype)


def _step(size: Size, count: Size, factor: float | None, dtype: DType) -> Any:
    """How far apart in the input two neighbours of the output stand."""
    return divide(_number(size, dtype), _number(count, dtype)) if factor is None else _number(1.0 / factor, dtype)


def _inside(places: Any, size: Size) -> Any:
    return minimum(maximum(places, _number(0, int64)), _number(size - 1, int64))


def _nearest(size: Size, count: Size, factor: float | None, exact: bool) -> Any:
    """The input element nearest to (or right before) each of `count` places: i64[count]."""
    at = _counting(count, float32)
    if exact:
        at = add(at, _number(0.5, float32))
    return _inside(cast(floor(multiply(at, _step(size, count, factor, float32))), dtype=int64), size)


def _places(size: Size, count: Size, factor: float | None, corners: bool, dtype: DType) -> Any:
    """Where in the input each of `count` places stands."""
    at = _counting(count, dtype)
    if corners:
        gaps = maximum(_number(count - 1, dtype), _number(1, dtype))
        return multiply(at, divide(_number(size - 1, dtype), gaps))
    half = _number(0.5, dtype)
    return subtract(multiply(add(at, half), _step(size, count, factor, dtype)), half)


Taps = list[tuple[Any, Any]]


def _linear_taps(size: Size, at: Any) -> Taps:
    """Two elements and their weights for each place."""
    zero, one = _number(0, at.dtype), _number(1, at.dtype)
    at = maximum(at, zero)
    before = _inside(cast(floor(at), dtype=int64), size)
    share = minimum(maximum(subtract(at, cast(before, dtype=at.dtype)), zero), one)
    return [(before, subtract(one, share)), (_inside(add(before, _number(1, int64)), size), share)]


def _cubic_weight(distance: Any, near: bool) -> Any:
    """The kernel of cubic convolution (Keys 1981) at a distance up to 1, or between 1 and 2."""
    a = _CUBIC
    if near:
        return ((a + 2) * distance - (a + 3)) * distance * distance + 1
    return ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a


def _cubic_taps(size: Size, at: Any) -> Taps:
    """Four elements and their weights for each place."""
    before = floor(at)
    share, start = subtract(at, before), cast(before, dtype=int64)
    distances = (share + 1, share, 1 - share, 2 - share)
    return [
        (_inside(add(start, _number(j - 1, int64)), size), _cubic_weight(distance, near=j in (1, 2)))
        for j, distance in enumerate(distances)
    ]


def _mixed(x: Any, axis: int, taps: Taps) -> Any:
    """The weighted sum of elements along one axis."""
    total = None
    for places, weights in taps:
        part = multiply(
            index(x, places, axes=(axis,)),
            reshape(weights, shape=(weights.shape[0], *(1,) * (len(x.shape) - axis - 1))),
        )
        total = part if total is None else add(total, part)
    return total


# --- functions -------------------------------------------------------------------------------------------------------


def _check(x: Any, mode: str, align_corners: bool | None, antialias: bool) -> int:
    """The number of spatial dimensions."""
    if mode not in _LINEAR and align_corners is not None:
        raise ArgumentError(
            "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | trilinear"
        )
    if antialias:
        raise ArgumentError("interpolate: antialias=True is not supported", "antialias=False")
    spatial = len(x.shape) - 2
    known = mode in (*_NEAREST, "area", *_LINEAR)
    if spatial not in (1, 2, 3) or not known or _LINEAR.get(mode, spatial) != spatial:
        raise DtypeError(f"interpolate: got {len(x.shape)}D input, which mode {mode!r} does not take")
    return spatial


def interpolate(
    input: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> Any:  # fmt: skip
    """input: f32[N, C, *s] resized to `size`, or by `scale_factor`: f32[N, C, *size].

    `mode`: "nearest" (the element before), "nearest-exact", "linear", "bilinear", "trilinear", "bicubic" or "area" (the mean).
    Raises ArgumentError for arguments that contradict each other, ShapeError for an empty size, DtypeError (a
    NotImplementedError) for a mode that does not take the input.
    """
    x = need_tensor(input)
    spatial = _check(x, mode, align_corners, antialias)
    have = tuple(x.shape[2:])
    sizes, factors = _sizes(have, size, scale_factor, recompute_scale_factor, mode == "area")
    if any(isinstance(n, int) and n < 1 for n in (*have, *sizes)):
        raise ShapeError(f"Input and output sizes should be greater than 0, but got input {have} and output {sizes}")
    if mode == "area":
        return _AREA[spatial](x, sizes)
    if AUTOCAST.used:
        (x,) = brought(DEVICE_FULL, x)
    columns = list(zip(range(2, spatial + 2), have, sizes, factors, strict=True))
    if mode in _NEAREST:
        for axis, n, count, factor in columns:
            if factor is not None and spatial == 2 and mode == "nearest" and count in (n, 2 * n):
                factor = None  # PyTorch's planes then follow the sizes, its rows and volumes the factor
            x = index(x, _nearest(n, count, factor, mode == "nearest-exact"), axes=(axis,))
        return x
    out = computed_in(need_float(x))
    dtype = float64 if out.dtype is float64 else float32
    taps = _cubic_taps if mode == "bicubic" else _linear_taps
    for axis, n, count, factor in reversed(columns):
        out = _mixed(out, axis, taps(n, _places(n, count, factor, bool(align_corners), dtype)))
    return cast_to(out, x.dtype)


def _deprecated(name: str) -> None:
    warnings.warn(f"`nn.functional.{name}` is deprecated. Use `nn.functional.interpolate` instead.", stacklevel=3)


def upsample(
    input: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Any:
    """The old name of `interpolate`."""
    _deprecated("upsample")
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Any, size: Any = None, scale_factor: Any = None) -> Any:
    """The old name of `interpolate` with mode "nearest"."""
    _deprecated("upsample_nearest")
    return interpolate(input, size, scale_factor)


def upsample_bilinear(input: Any, size: Any = None, scale_factor: Any = None) -> Any:
    """The old name of `interpolate` with mode "bilinear" that keeps corners."""
    _deprecated("upsample_bilinear")
    return interpolate(input, size, scale_factor, "bilinear", True)


METHODS: tuple[str, ...] = ()
INPLACE: tuple[str, ...] = ()
__all__: list[str] = []
