"""Conv1d to Conv3d, ConvTranspose1d to ConvTranspose3d, Unfold, Fold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from graphc.core.dims import Size
from graphc.core.errors import ArgumentError
from graphc.nn import functional, init
from graphc.nn.modules.linear import new_parameter
from graphc.nn.modules.module import Module

_MODES = ("zeros", "reflect", "replicate", "circular")


def _each(value: Any, spatial: int) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, Iterable) else (value,) * spatial


class _Convolution(Module):
    """Weight, bias and settings of a convolution over `spatial` dimensions.

    Raises ArgumentError where the groups do not divide the channels or a setting has no such value.
    """

    spatial: int
    transposed = False
    weight: Any
    bias: Any
    padding: Any

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
        output_padding: Any, groups: int, bias: bool, padding_mode: str, device: Any, dtype: Any,
    ):  # fmt: skip
        super().__init__()
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = _each(kernel_size, self.spatial), _each(stride, self.spatial)
        self.padding = padding if isinstance(padding, str) else _each(padding, self.spatial)
        self.dilation, self.output_padding = _each(dilation, self.spatial), _each(output_padding, self.spatial)
        self.padding_mode = padding_mode
        self._check_settings()
        rows, columns = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        self.weight = new_parameter(rows, columns // groups, *self.kernel_size, dtype=dtype, device=device)
        self.register_parameter("bias", new_parameter(out_channels, dtype=dtype, device=device) if bias else None)
        self.reset_parameters()

    def _check_settings(self) -> None:
        if self.groups <= 0:
            raise ArgumentError("groups must be a positive integer", f"groups >= 1, got {self.groups}")
        if self.in_channels % self.groups:
            raise ArgumentError("in_channels must be divisible by groups", f"got {self.in_channels} and {self.groups}")
        if self.out_channels % self.groups:
            raise ArgumentError(
                "out_channels must be divisible by groups", f"got {self.out_channels} and {self.groups}"
            )
        if isinstance(self.padding, str):
            if self.padding not in ("same", "valid"):
                raise ArgumentError(f"Invalid padding string {self.padding!r}, should be one of 'same', 'valid'")
            if self.padding == "same" and any(step != 1 for step in self.stride):
                raise ArgumentError("padding='same' is not supported for strided convolutions", f"got {self.stride}")
        if self.padding_mode not in _MODES:
            raise ArgumentError(f"padding_mode must be one of {_MODES}, but got padding_mode={self.padding_mode!r}")

    def reset_parameters(self) -> None:
        """Fills weight and bias uniformly in +-1 / sqrt(elements of a window)."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in, _ = init._calculate_fan_in_and_fan_out(self.weight)
            if fan_in:
                init.uniform_(self.bias, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))

    def extra_repr(self) -> str:
        """The sizes, and the settings that are not the usual ones."""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        for name, usual in (("padding", 0), ("dilation", 1), ("output_padding", 0)):
            value = getattr(self, name)
            if value != (usual,) * len(value):
                text += f", {name}={value}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        return text if self.padding_mode == "zeros" else text + f", padding_mode={self.padding_mode}"


class _Conv(_Convolution):
    """A convolution, its input padded in one of four ways."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
        groups: int = 1, bias: bool = True, padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ):  # fmt: skip
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, 0, groups, bias, padding_mode, device, dtype
        )  # fmt: skip

    def _edges(self) -> list[int]:
        """The padding as `functional.pad` wants it: last dimension first."""
        if self.padding == "valid":
            return [0, 0] * self.spatial
        found: list[int] = []
        for axis in reversed(range(self.spatial)):
            if self.padding == "same":
                total = self.dilation[axis] * (self.kernel_size[axis] - 1)
                found += [total // 2, total - total // 2]
            else:
                found += [self.padding[axis]] * 2
        return found

    def _conv_forward(self, input: Any, weight: Any, bias: Any) -> Any:
        convolve = getattr(functional, f"conv{self.spatial}d")
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = functional.pad(input, self._edges(), mode=self.padding_mode), 0
        return convolve(input, weight, bias, self.stride, padding, self.dilation, self.groups)

    def forward(self, input: Any) -> Any:
        """input: f32[N, in_channels, *S] or f32[in_channels, *S] gives f32[N, out_channels, *S']."""
        return self._conv_forward(input, self.weight, self.bias)


class Conv1d(_Conv):
    """Sums of products of kernels and windows; weight: f32[out_channels, in_channels / groups, K]."""

    spatial = 1


class Conv2d(_Conv):
    """Sums of products of kernels and windows; weight: f32[out_channels, in_channels / groups, KH, KW]."""

    spatial = 2


class Conv3d(_Conv):
    """Sums of products of kernels and windows; weight: f32[out_channels, in_channels / groups, KD, KH, KW]."""

    spatial = 3


class _ConvTranspose(_Convolution):
    """The adjoint of a convolution."""

    transposed = True

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        output_padding: Any = 0, groups: int = 1, bias: bool = True, dilation: Any = 1, padding_mode: str = "zeros",
        device: Any = None, dtype: Any = None,
    ):  # fmt: skip
        if padding_mode != "zeros":
            raise ArgumentError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, output_padding, groups, bias,
            padding_mode, device, dtype,
        )  # fmt: skip

    def _output_padding(self, input: Any, output_size: Sequence[Size]) -> tuple[Size, ...]:
        """What must be added to the smallest output to get `output_size`; ArgumentError where nothing does."""
        lead = input.dim() - self.spatial
        wanted = tuple(output_size[lead:] if len(output_size) == input.dim() else output_size)
        if len(wanted) != self.spatial:
            raise ArgumentError(
                f"ConvTranspose{self.spatial}D: for {input.dim()}D input, output_size must have {self.spatial} or "
                f"{input.dim()} elements (got {len(output_size)})"
            )
        settings = zip(input.shape[lead:], self.stride, self.padding, self.dilation, self.kernel_size, strict=True)
        least = [(n - 1) * s - 2 * p + d * (k - 1) + 1 for n, s, p, d, k in settings]
        extra = tuple(size - low for size, low in zip(wanted, least, strict=True))
        if any(isinstance(more, int) and not 0 <= more < s for more, s in zip(extra, self.stride, strict=True)):
            most = [low + s - 1 for low, s in zip(least, self.stride, strict=True)]
            raise ArgumentError(
                f"requested an output size of {wanted}, but valid sizes range from {least} to {most} (for an input of "
                f"{tuple(input.shape[lead:])})"
            )
        return extra

    def forward(self, input: Any, output_size: Sequence[Size] | None = None) -> Any:
        """input: f32[N, in_channels, *S] or f32[in_channels, *S] gives f32[N, out_channels, *S'].

        `output_size` chooses among the sizes of which the convolution makes the input's.
        """
        extra = self.output_padding if output_size is None else self._output_padding(input, output_size)
        convolve = getattr(functional, f"conv_transpose{self.spatial}d")
        return convolve(input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation)


class ConvTranspose1d(_ConvTranspose):
    """The adjoint of `Conv1d`; weight: f32[in_channels, out_channels / groups, K]."""

    spatial = 1


class ConvTranspose2d(_ConvTranspose):
    """The adjoint of `Conv2d`; weight: f32[in_channels, out_channels / groups, KH, KW]."""

    spatial = 2


class ConvTranspose3d(_ConvTranspose):
    """The adjoint of `Conv3d`; weight: f32[in_channels, out_channels / groups, KD, KH, KW]."""

    spatial = 3


class Unfold(Module):
    """The windows of images as columns."""

    def __init__(self, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1):
        super().__init__()
        self.kernel_size, self.dilation, self.padding, self.stride = kernel_size, dilation, padding, stride

    def forward(self, input: Any) -> Any:
        """input: f32[N, C, H, W] gives f32[N, C * KH * KW, count of windows]."""
        return functional.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        """The settings."""
        return _window_settings(self)


class Fold(Module):
    """Columns put back to images, the adjoint of `Unfold`."""

    def __init__(self, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1):
        super().__init__()
        self.output_size, self.kernel_size = output_size, kernel_size
        self.dilation, self.padding, self.stride = dilation, padding, stride

    def forward(self, input: Any) -> Any:
        """input: f32[N, C * KH * KW, count of windows] gives f32[N, C, *output_size]."""
        return functional.fold(input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        """The settings."""
        return f"output_size={self.output_size}, {_window_settings(self)}"


def _window_settings(module: Unfold | Fold) -> str:
    return f"kernel_size={module.kernel_size}, dilation={module.dilation}, padding={module.padding}, stride={module.stride}"


__all__ = [
    "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "Fold", "Unfold",
]  # fmt: skip
