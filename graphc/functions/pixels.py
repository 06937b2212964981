"""Channels moved into the plane and back, and channels dealt to groups: reshapes and permutations."""

from __future__ import annotations

from typing import Any

from graphc.core.dims import floordiv
from graphc.core.errors import ShapeError
from graphc.functions.arguments import need_tensor
from graphc.primitives.views import permute, reshape


def _image(name: str, x: Any, factor: int, what: str) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    shape = tuple(need_tensor(x).shape)
    if len(shape) < 3:
        raise ShapeError(
            f"{name} expects input to have at least 3 dimensions, but got input with {len(shape)} dimension(s)"
        )
    if factor <= 0:
        raise ShapeError(f"{name} expects a positive {what}, but got {factor}")
    return shape[:-3], shape[-3:]


def _does_not_divide(size: Any, count: int) -> bool:
    return isinstance(size, int) and size % count != 0


def pixel_shuffle(input: Any, upscale_factor: int) -> Any:
    """T[*, C r^2, H, W] to T[*, C, H r, W r], r the `upscale_factor` (Shi et al. 2016). ShapeError for other C."""
    r = int(upscale_factor)
    lead, (c, h, w) = _image("pixel_shuffle", input, r, "upscale_factor")
    if _does_not_divide(c, r * r):
        raise ShapeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, but "
            f"input.size(-3)={c} is not divisible by {r * r}"
        )
    kept, n = floordiv(c, r * r), len(lead)
    parts = reshape(input, shape=(*lead, kept, r, r, h, w))
    moved = permute(parts, axes=(*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return reshape(moved, shape=(*lead, kept, h * r, w * r))


def pixel_unshuffle(input: Any, downscale_factor: int) -> Any:
    """T[*, C, H r, W r] to T[*, C r^2, H, W], the inverse of `pixel_shuffle`. ShapeError where r does not divide a side."""
    r = int(downscale_factor)
    lead, (c, h, w) = _image("pixel_unshuffle", input, r, "downscale_factor")
    for axis, name, size in ((-2, "height", h), (-1, "width", w)):
        if _does_not_divide(size, r):
            raise ShapeError(
                f"pixel_unshuffle expects {name} to be divisible by downscale_factor, but input.size({axis})={size} is not "
                f"divisible by {r}"
            )
    rows, columns, n = floordiv(h, r), floordiv(w, r), len(lead)
    parts = reshape(input, shape=(*lead, c, rows, r, columns, r))
    moved = permute(parts, axes=(*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return reshape(moved, shape=(*lead, c * r * r, rows, columns))


def channel_shuffle(input: Any, groups: int) -> Any:
    """T[N, C, *] whose channels, dealt to `groups`, take turns (Zhang et al. 2018). ShapeError where they do not divide."""
    shape, g = tuple(need_tensor(input).shape), int(groups)
    if len(shape) <= 2:
        raise ShapeError(f"channel_shuffle expects input with > 2 dims, but got input with sizes {list(shape)}")
    if g <= 0:
        raise ShapeError(f"Number of groups to divide channels in must be positive. Value of groups:{g}")
    if _does_not_divide(shape[1], g):
        raise ShapeError(
            f"Number of channels must be divisible by groups. Got {shape[1]} channels and {g} groups.",
        )
    parts = reshape(input, shape=(shape[0], g, floordiv(shape[1], g), *shape[2:]))
    return reshape(permute(parts, axes=(0, 2, 1, *range(3, len(shape) + 1))), shape=shape)


def native_channel_shuffle(input: Any, groups: int) -> Any:
    """`channel_shuffle`, by the name of PyTorch's kernel."""
    return channel_shuffle(input, groups)


__all__ = ["channel_shuffle", "native_channel_shuffle", "pixel_shuffle", "pixel_unshuffle"]
