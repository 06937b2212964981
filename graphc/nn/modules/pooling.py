"""Pooling layers. They hold no parameters; the functions of the same names say what they compute."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from graphc.core.errors import ArgumentError
from graphc.nn import functional
from graphc.nn.modules.module import Module


def _each(value: Any, count: int) -> tuple[Any, ...]:
    """`value` for each of `count` dimensions, or its own entries."""
    return tuple(value) if isinstance(value, Iterable) else (value,) * count


class _MaxPool(Module):
    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, return_indices: bool = False,
        ceil_mode: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def _settings(self) -> tuple[Any, ...]:
        return self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices

    def extra_repr(self) -> str:
        """The options."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """The maximum of each window of f32[N, C, L] or f32[C, L]; with `return_indices` also its position."""

    def forward(self, input: Any) -> Any:
        """input: f32[N, C, L] or f32[C, L]."""
        return functional.max_pool1d(input, *self._settings())


class MaxPool2d(_MaxPool):
    """The maximum of each window of f32[N, C, H, W] or f32[C, H, W]; with `return_indices` also its position."""

    def forward(self, input: Any) -> Any:
        """input: f32[N, C, H, W] or f32[C, H, W]."""
        return functional.max_pool2d(input, *self._settings())


class MaxPool3d(_MaxPool):
    """The maximum of each window of f32[N, C, D, H, W] or f32[C, D, H, W]; with `return_indices` also its position."""

    def forward(self, input: Any) -> Any:
        """input: f32[N, C, D, H, W] or f32[C, D, H, W]."""
        return functional.max_pool3d(input, *self._settings())


class _MaxUnpool(Module):
    _spatial = 0

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0):
        super().__init__()
        self.kernel_size = _each(kernel_size, self._spatial)
        self.stride = _each(kernel_size if stride is None else stride, self._spatial)
        self.padding = _each(padding, self._spatial)

    def extra_repr(self) -> str:
        """The options."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """Zeros with what `MaxPool1d` found put back where it was."""

    _spatial = 1

    def forward(self, input: Any, indices: Any, output_size: Any = None) -> Any:
        """input: f32[N, C, L] or f32[C, L], indices: i64 of its shape; output_size: the length that was pooled."""
        return functional.max_unpool1d(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool2d(_MaxUnpool):
    """Zeros with what `MaxPool2d` found put back where it was."""

    _spatial = 2

    def forward(self, input: Any, indices: Any, output_size: Any = None) -> Any:
        """input: f32[N, C, H, W] or f32[C, H, W], indices: i64 of its shape; output_size: the sizes that were pooled."""
        return functional.max_unpool2d(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool3d(_MaxUnpool):
    """Zeros with what `MaxPool3d` found put back where it was."""

    _spatial = 3

    def forward(self, input: Any, indices: Any, output_size: Any = None) -> Any:
        """input: f32[N, C, D, H, W] or f32[C, D, H, W], indices: i64 of its shape; output_size: the sizes that were pooled."""
        return functional.max_unpool3d(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class _AvgPool(Module):
    kernel_size: Any
    stride: Any
    padding: Any

    def extra_repr(self) -> str:
        """The options."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(_AvgPool):
    """The mean of each window of f32[N, C, L] or f32[C, L]."""

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True,
    ):  # fmt: skip
        super().__init__()
        self.kernel_size = _each(kernel_size, 1)
        self.stride = _each(kernel_size if stride is None else stride, 1)
        self.padding = _each(padding, 1)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, input: Any) -> Any:
        """input: f32[N, C, L] or f32[C, L]."""
        return functional.avg_pool1d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        )


class _PlaneAvgPool(_AvgPool):
    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ):  # fmt: skip
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def _settings(self) -> tuple[Any, ...]:
        window = self.kernel_size, self.stride, self.padding
        return *window, self.ceil_mode, self.count_include_pad, self.divisor_override


class AvgPool2d(_PlaneAvgPool):
    """The mean of each window of f32[N, C, H, W] or f32[C, H, W], or its sum over `divisor_override`."""

    def forward(self, input: Any) -> Any:
        """input: f32[N, C, H, W] or f32[C, H, W]."""
        return functional.avg_pool2d(input, *self._settings())


class AvgPool3d(_PlaneAvgPool):
    """The mean of each window of f32[N, C, D, H, W] or f32[C, D, H, W], or its sum over `divisor_override`."""

    def forward(self, input: Any) -> Any:
        """input: f32[N, C, D, H, W] or f32[C, D, H, W]."""
        return functional.avg_pool3d(input, *self._settings())


class _FractionalMaxPool(Module):
    _spatial = 0

    def __init__(
        self, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
        _random_samples: Any = None,
    ):  # fmt: skip
        super().__init__()
        name, n = type(self).__name__, self._spatial
        if n == 3 and not all(k > 0 for k in _each(kernel_size, n)):
            raise ArgumentError(f"kernel_size must be greater than 0, but got {kernel_size}")
        self.kernel_size = _each(kernel_size, n)
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)
        self.output_size = None if output_size is None else _each(output_size, n)
        self.output_ratio = None if output_ratio is None else _each(output_ratio, n)
        if output_size is None and output_ratio is None:
            raise ArgumentError(f"{name} requires specifying either an output size, or a pooling ratio")
        if output_size is not None and output_ratio is not None:
            raise ArgumentError("only one of output_size and output_ratio may be specified")
        if self.output_ratio is not None and not all(0 < ratio < 1 for ratio in self.output_ratio):
            raise ArgumentError(f"output_ratio must be between 0 and 1 (got {output_ratio})")

    def forward(self, input: Any) -> Any:
        """input: f32[N, C, *s] or f32[C, *s]."""
        pool = getattr(functional, f"fractional_max_pool{self._spatial}d")
        return pool(
            input, self.kernel_size, self.output_size, self.output_ratio, self.return_indices, self._random_samples
        )


class FractionalMaxPool2d(_FractionalMaxPool):
    """The maxima of windows of f32[N, C, H, W] or f32[C, H, W] at random distances (Graham 2014)."""

    _spatial = 2


class FractionalMaxPool3d(_FractionalMaxPool):
    """The maxima of windows of f32[N, C, D, H, W] or f32[C, D, H, W] at random distances (Graham 2014)."""

    _spatial = 3


class _LPPool(Module):
    def __init__(self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False):
        super().__init__()
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode

    def _settings(self) -> tuple[Any, ...]:
        return float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode

    def extra_repr(self) -> str:
        """The options."""
        return f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, ceil_mode={self.ceil_mode}"


class LPPool1d(_LPPool):
    """(sum of x^p over each window)^(1/p) for f32[N, C, L] or f32[C, L], p the `norm_type`."""

    def forward(self, input: Any) -> Any:
        """input: f32[N, C, L] or f32[C, L]."""
        return functional.lp_pool1d(input, *self._settings())


class LPPool2d(_LPPool):
    """(sum of x^p over each window)^(1/p) for f32[N, C, H, W] or f32[C, H, W], p the `norm_type`."""

    def forward(self, input: Any) -> Any:
        """input: f32[N, C, H, W] or f32[C, H, W]."""
        return functional.lp_pool2d(input, *self._settings())


class LPPool3d(_LPPool):
    """(sum of x^p over each window)^(1/p) for f32[N, C, D, H, W] or f32[C, D, H, W], p the `norm_type`."""

    def forward(self, input: Any) -> Any:
        """input: f32[N, C, D, H, W] or f32[C, D, H, W]."""
        return functional.lp_pool3d(input, *self._settings())


class _AdaptiveAvgPool(Module):
    def __init__(self, output_size: Any):
        super().__init__()
        self.output_size = output_size

    def extra_repr(self) -> str:
        """The sizes."""
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """The means of `output_size` windows that cover f32[N, C, L] or f32[C, L]."""

    def forward(self, input: Any) -> Any:
        """input: f32[N, C, L] or f32[C, L]."""
        return functional.adaptive_avg_pool1d(input, self.output_size)


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """The means of `output_size` windows in each dimension that cover f32[N, C, H, W] or f32[C, H, W]."""

    def forward(self, input: Any) -> Any:
        """input: f32[N, C, H, W] or f32[C, H, W]."""
        return functional.adaptive_avg_pool2d(input, self.output_size)


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """The means of `output_size` windows in each dimension that cover f32[N, C, D, H, W] or f32[C, D, H, W]."""

    def forward(self, input: Any) -> Any:
        """input: f32[N, C, D, H, W] or f32[C, D, H, W]."""
        return functional.adaptive_avg_pool3d(input, self.output_size)


class _AdaptiveMaxPool(_AdaptiveAvgPool):
    def __init__(self, output_size: Any, return_indices: bool = False):
        super().__init__(output_size)
        self.return_indices = return_indices


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The maxima of `output_size` windows that cover f32[N, C, L] or f32[C, L]."""

    def forward(self, input: Any) -> Any:
        """input: f32[N, C, L] or f32[C, L]."""
        return functional.adaptive_max_pool1d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The maxima of `output_size` windows in each dimension that cover f32[N, C, H, W] or f32[C, H, W]."""

    def forward(self, input: Any) -> Any:
        """input: f32[N, C, H, W] or f32[C, H, W]."""
        return functional.adaptive_max_pool2d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The maxima of `output_size` windows in each dimension that cover f32[N, C, D, H, W] or f32[C, D, H, W]."""

    def forward(self, input: Any) -> Any:
        """input: f32[N, C, D, H, W] or f32[C, D, H, W]."""
        return functional.adaptive_max_pool3d(input, self.output_size, self.return_indices)


__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "FractionalMaxPool2d", "FractionalMaxPool3d", "LPPool1d",
    "LPPool2d", "LPPool3d", "MaxPool1d", "MaxPool2d", "MaxPool3d", "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d",
]  # fmt: skip
