"""Sampling at places given by a grid: `affine_grid` and `grid_sample` (Jaderberg et al. 2015)."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

from graphc.core.autocast import Mark, casts
from graphc.core.dims import product
from graphc.core.errors import ArgumentError, ShapeError
from graphc.core.tensor_types import int64
from graphc.functions.arguments import need_float
from graphc.functions.creation import arange, ones
from graphc.functions.joining import stack
from graphc.functions.promotion import cast_to, scalar_operand
from graphc.functions.shaping import broadcast_to
from graphc.primitives.contraction import matmul
from graphc.primitives.elementwise import (
    absolute,
    floor,
    greater_equal,
    less,
    less_equal,
    logical_and,
    maximum,
    minimum,
    round_,
    where,
)  # fmt: skip
from graphc.primitives.indexing import gather
from graphc.primitives.views import reshape

_DEFAULT = (
    "Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0. Please specify "
    "align_corners=True if the old behavior is desired. See the documentation of grid_sample for details."
)


def _n(value: float, x: Any) -> Any:
    return scalar_operand(value, x.dtype)


def _axis(count: Any, dtype: Any, align_corners: bool) -> Any:
    """The coordinates of `count` elements, in -1 to 1."""
    steps = arange(count, dtype=dtype)
    if align_corners:
        return steps * (2.0 / (count - 1)) - 1.0 if count != 1 else steps
    return (steps * 2.0 + 1.0) / count - 1.0


def affine_grid(theta: Any, size: Any, align_corners: bool | None = None) -> Any:
    """The places that affine maps give the elements of an image: theta f32[N, 2, 3] (or [N, 3, 4]), size (N, C, H, W)
    (or (N, C, D, H, W)); f32[N, H, W, 2], x first. ShapeError for other shapes.
    """
    if align_corners is None:
        warnings.warn(_DEFAULT, stacklevel=2)
        align_corners = False
    theta, sizes = need_float(theta, "theta"), tuple(size)
    spatial = len(sizes) - 2
    if spatial not in (2, 3):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, respectively. Got size "
            f"{list(sizes)}."
        )
    if theta.dim() != 3 or theta.shape[-2] != spatial or theta.shape[-1] != spatial + 1:
        raise ArgumentError(
            f"Expected a batch of {spatial}D affine matrices of shape Nx{spatial}x{spatial + 1} for size {list(sizes)}. Got "
            f"{list(theta.shape)}."
        )
    if min(sizes) <= 0:
        raise ArgumentError(f"Expected non-zero, positive output size. Got {list(sizes)}")
    planes = []
    for i in reversed(range(spatial)):
        shape = [1] * spatial
        shape[i] = sizes[2 + i]
        planes.append(
            broadcast_to(reshape(_axis(sizes[2 + i], theta.dtype, align_corners), shape=tuple(shape)), sizes[2:])
        )
    base = reshape(stack((*planes, ones(sizes[2:], dtype=theta.dtype)), -1), shape=(1, product(sizes[2:]), spatial + 1))
    found = matmul(broadcast_to(base, (sizes[0], *base.shape[1:])), theta, transpose_a=False, transpose_b=True)
    return reshape(found, shape=(sizes[0], *sizes[2:], spatial))


# --- from coordinates to places ---------------------------------------------------------------------------------------


def _unnormalized(x: Any, size: Any, align_corners: bool) -> Any:
    return (x + 1.0) / 2.0 * (size - 1) if align_corners else ((x + 1.0) * size - 1.0) / 2.0


def _clipped(x: Any, size: Any) -> Any:
    return minimum(maximum(x, _n(0.0, x)), _n(size - 1, x))


def _reflected(x: Any, size: Any, align_corners: bool) -> Any:
    """x thrown back at the edges (of the elements' middles, or of the elements) as often as it takes."""
    low, span = (0.0, size - 1) if align_corners else (-0.5, size)
    if span == 0:
        return x * 0.0
    away = absolute(x - low)
    flips = floor(away / span)
    extra = away - flips * span
    even = flips - floor(flips / 2.0) * 2.0
    return where(less(even, _n(0.5, even)), extra, span - extra) + low


def _computed(x: Any, size: Any, padding_mode: str, align_corners: bool) -> Any:
    if padding_mode == "border":
        return _clipped(x, size)
    if padding_mode == "reflection":
        return _clipped(_reflected(x, size, align_corners), size)
    return x


def _picked(planes: Any, places: list[Any], sizes: tuple[Any, ...]) -> Any:
    """planes f[N, C, S] at whole coordinates f[N, P], one list entry a dimension, first to last; 0 outside: f[N, C, P]."""
    inside: Any = None
    flat: Any = None
    for at, size in zip(places, sizes, strict=True):
        ok = logical_and(greater_equal(at, _n(0.0, at)), less_equal(at, _n(size - 1, at)))
        inside = ok if inside is None else logical_and(inside, ok)
        whole = cast_to(_clipped(where(at == at, at, _n(0.0, at)), size), int64)
        flat = whole if flat is None else flat * size + whole
    n, c, _ = planes.shape
    wide = broadcast_to(reshape(flat, shape=(n, 1, flat.shape[1])), (n, c, flat.shape[1]))
    found = gather(planes, wide, axis=2)
    return where(reshape(inside, shape=(n, 1, flat.shape[1])), found, _n(0.0, found))


def _linear(planes: Any, at: list[Any], sizes: tuple[Any, ...]) -> Any:
    low = [floor(x.detach()) for x in at]
    total: Any = None
    for corner in itertools.product((0, 1), repeat=len(at)):
        weight: Any = None
        for side, x, base in zip(corner, at, low, strict=True):
            part = x - base if side else base + 1.0 - x
            weight = part if weight is None else weight * part
        found = _picked(planes, [base + float(side) for side, base in zip(corner, low, strict=True)], sizes)
        share = found * reshape(weight, shape=(weight.shape[0], 1, weight.shape[1]))
        total = share if total is None else total + share
    return total


_CUBIC = -0.75


def _cubic_weights(t: Any) -> list[Any]:
    """The shares of the four neighbours, t in 0 to 1 behind the second (Keys 1981)."""
    a = _CUBIC

    def outer(x: Any) -> Any:
        return ((x * a - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a

    def inner(x: Any) -> Any:
        return ((x * (a + 2.0)) - (a + 3.0)) * x * x + 1.0

    return [outer(t + 1.0), inner(t), inner(1.0 - t), outer(2.0 - t)]


def _cubic(planes: Any, at: list[Any], sizes: tuple[Any, ...], padding_mode: str, align_corners: bool) -> Any:
    low = [floor(x.detach()) for x in at]
    shares = [_cubic_weights(x - base) for x, base in zip(at, low, strict=True)]
    total: Any = None
    for i, j in itertools.product(range(4), repeat=2):
        places = [
            _computed(base + float(k - 1), size, padding_mode, align_corners)
            for k, base, size in zip((i, j), low, sizes, strict=True)
        ]
        weight = shares[0][i] * shares[1][j]
        share = _picked(planes, places, sizes) * reshape(weight, shape=(weight.shape[0], 1, weight.shape[1]))
        total = share if total is None else total + share
    return total


def _check(x: Any, grid: Any, mode: str, padding_mode: str) -> None:
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ArgumentError(
            "nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: '"
            + mode
            + "'"
        )
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ArgumentError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection', but got: '"
            + padding_mode
            + "'"
        )
    if x.dim() != grid.dim() or x.dim() not in (4, 5):
        raise ShapeError(
            f"grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but got input with sizes "
            f"{list(x.shape)} and grid with sizes {list(grid.shape)}"
        )
    if isinstance(x.shape[0], int) and isinstance(grid.shape[0], int) and x.shape[0] != grid.shape[0]:
        raise ShapeError(
            f"grid_sampler(): expected grid and input to have same batch size, but got input with sizes {list(x.shape)} and "
            f"grid with sizes {list(grid.shape)}"
        )
    if grid.shape[-1] != x.dim() - 2:
        raise ShapeError(
            f"grid_sampler(): expected grid to have size {x.dim() - 2} in last dimension, but got grid with sizes "
            f"{list(grid.shape)}"
        )
    if mode == "bicubic" and x.dim() != 4:
        raise ShapeError("grid_sampler(): bicubic interpolation only supports 4D input")


@casts(Mark("full", "widest"))
def grid_sample(
    input: Any, grid: Any, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> Any:
    """input f32[N, C, H, W] at the places grid f32[N, *, *, 2] (x first, -1 to 1): f32[N, C, *, *]; volumes alike.

    mode: "bilinear", "nearest" or "bicubic"; padding_mode: "zeros", "border" or "reflection". ShapeError for sizes that
    do not fit.
    """
    x, grid = need_float(input), need_float(grid, "grid")
    _check(x, grid, mode, padding_mode)
    if align_corners is None:
        warnings.warn(_DEFAULT, stacklevel=2)
        align_corners = False
    n, c, *sizes = x.shape
    outer = tuple(grid.shape[1:-1])
    planes, places = reshape(x, shape=(n, c, product(tuple(sizes)))), product(outer)
    at = []
    for i, size in enumerate(sizes):
        row = reshape(grid[..., len(sizes) - 1 - i], shape=(n, places))
        at.append(_unnormalized(row, size, align_corners))
    if mode == "bicubic":
        found = _cubic(planes, at, tuple(sizes), padding_mode, align_corners)
    else:
        at = [_computed(row, size, padding_mode, align_corners) for row, size in zip(at, sizes, strict=True)]
        if mode == "nearest":
            found = _picked(planes, [round_(row) for row in at], tuple(sizes))
            for row in at:  # never chosen: the grid's gradient is zero, and not none
                away = reshape(less(row, _n(float("-inf"), row)), shape=(n, 1, places))
                found = where(away, reshape(row, shape=(n, 1, places)), found)
        else:
            found = _linear(planes, at, tuple(sizes))
    return reshape(found, shape=(n, c, *outer))


__all__ = ["affine_grid", "grid_sample"]
