"""Fractional max pooling (Graham 2014): windows of one size whose distances differ, drawn at random."""

from __future__ import annotations

from typing import Any

from graphc.core.autocast import CPU_FULL, casts
from graphc.core.dims import product
from graphc.core.errors import ArgumentError, ShapeError
from graphc.core.tensor_types import int64
from graphc.functions.arguments import need_float
from graphc.functions.convolutions import each_dimension
from graphc.functions.creation import arange
from graphc.functions.joining import cat
from graphc.functions.promotion import cast_to, scalar_operand
from graphc.functions.random import rand
from graphc.functions.reductions import argmax
from graphc.functions.shaping import broadcast_to
from graphc.primitives.elementwise import add, multiply, trunc
from graphc.primitives.indexing import gather
from graphc.primitives.views import reshape


def _sizes(name: str, x: Any, spatial: int, output_size: Any, output_ratio: Any) -> tuple[int, ...]:
    if output_size is not None:
        return each_dimension(output_size, spatial, "output_size")
    if output_ratio is None:
        raise ArgumentError(f"{name} requires specifying either an output_size or an output_ratio")
    ratios = output_ratio if isinstance(output_ratio, list | tuple) else (output_ratio,) * spatial
    if len(ratios) > spatial:
        raise ArgumentError(f"{name} requires output_ratio to either be a single Int or tuple of Ints.")
    return tuple(int(n * ratio) for n, ratio in zip(x.shape[-spatial:], ratios, strict=True))


def _starts(sample: Any, size: int, count: int, window: int) -> Any:
    """Where the windows of one dimension begin, the last at the end: f[*] -> i64[*, count]."""
    shape = tuple(sample.shape)
    last = broadcast_to(reshape(arange(size - window, size - window + 1), shape=(1,) * len(shape) + (1,)), (*shape, 1))
    if count == 1:
        return last
    alpha = scalar_operand((size - window) / (count - 1), sample.dtype)
    u = reshape(sample, shape=(*shape, 1))
    steps = add(arange(count - 1, dtype=sample.dtype), u)
    starts = cast_to(trunc(multiply(steps, alpha)), int64) - cast_to(trunc(multiply(u, alpha)), int64)
    return cat((starts, last), -1)


def _fractional(
    spatial: int, input: Any, kernel_size: Any, output_size: Any, output_ratio: Any, samples: Any
) -> tuple[Any, Any]:
    name = f"fractional_max_pool{spatial}d"
    x = need_float(input)
    if x.dim() not in (spatial + 1, spatial + 2):
        raise ShapeError(f"{name}: Expected {spatial + 1}D or {spatial + 2}D tensor, but got: {list(x.shape)}")
    counts, kernel = (
        _sizes(name, x, spatial, output_size, output_ratio),
        each_dimension(kernel_size, spatial, "kernel_size"),
    )
    single = x.dim() == spatial + 1
    x = reshape(x, shape=(1, *x.shape)) if single else x
    lead, sizes = tuple(x.shape[:2]), tuple(x.shape[2:])
    for size, count, window in zip(sizes, counts, kernel, strict=True):
        if isinstance(size, int) and (count + window - 1 > size or count < 1):
            raise ShapeError(
                f"{name}: pool {window} with output size {count} is too large relative to input size {size}"
            )
    if samples is None:
        samples = rand(*lead, spatial, dtype=x.dtype)
    # the samples stand from the last dimension to the first for planes, the other way for volumes
    order = range(spatial - 1, -1, -1) if spatial == 2 else range(spatial)
    places: Any = None
    for i, k in enumerate(order):
        starts = _starts(samples[..., k], sizes[i], counts[i], kernel[i])
        here = reshape(starts, shape=(*lead, counts[i], 1)) + arange(kernel[i])
        ones = [1] * spatial
        shape = (*lead, *ones[:i], counts[i], *ones[i + 1 :], *ones[:i], kernel[i], *ones[i + 1 :])
        here = reshape(here, shape=shape)
        places = here if places is None else places * sizes[i] + here
    windows, taps = product(counts), product(kernel)
    planes = reshape(x, shape=(*lead, product(sizes)))
    met = reshape(gather(planes, reshape(places, shape=(*lead, windows * taps)), axis=2), shape=(*lead, windows, taps))
    best = argmax(met.detach(), -1, keepdim=True)
    indices = reshape(gather(reshape(places, shape=tuple(met.shape)), best, axis=3), shape=(*lead, windows))
    values = reshape(gather(planes, indices, axis=2), shape=(*lead, *counts))
    indices = reshape(indices, shape=(*lead, *counts))
    return (values[0], indices[0]) if single else (values, indices)


@casts(CPU_FULL)
def fractional_max_pool2d_with_indices(
    input: Any, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
    _random_samples: Any = None,
) -> tuple[Any, Any]:  # fmt: skip
    """The maxima of `output_size` windows of f32[N, C, H, W] or f32[C, H, W] at random distances, and their flat places.

    ArgumentError where neither a size nor a ratio is given, ShapeError where the windows do not fit.
    """
    return _fractional(2, input, kernel_size, output_size, output_ratio, _random_samples)


def fractional_max_pool2d(
    input: Any, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
    _random_samples: Any = None,
) -> Any:  # fmt: skip
    """The maxima of `output_size` windows of f32[N, C, H, W] or f32[C, H, W] at random distances."""
    found = fractional_max_pool2d_with_indices(input, kernel_size, output_size, output_ratio, True, _random_samples)
    return found if return_indices else found[0]


@casts(CPU_FULL)
def fractional_max_pool3d_with_indices(
    input: Any, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
    _random_samples: Any = None,
) -> tuple[Any, Any]:  # fmt: skip
    """The maxima of `output_size` windows of f32[N, C, D, H, W] or f32[C, D, H, W] at random distances, and their places."""
    return _fractional(3, input, kernel_size, output_size, output_ratio, _random_samples)


def fractional_max_pool3d(
    input: Any, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
    _random_samples: Any = None,
) -> Any:  # fmt: skip
    """The maxima of `output_size` windows of f32[N, C, D, H, W] or f32[C, D, H, W] at random distances."""
    found = fractional_max_pool3d_with_indices(input, kernel_size, output_size, output_ratio, True, _random_samples)
    return found if return_indices else found[0]


__all__ = [
    "fractional_max_pool2d", "fractional_max_pool2d_with_indices", "fractional_max_pool3d",
    "fractional_max_pool3d_with_indices",
]  # fmt: skip
