"""Padding layers. They hold no parameters; `functional.pad` says what they compute."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from graphc.core.errors import ArgumentError
from graphc.nn import functional
from graphc.nn.modules.module import Module


class _Pad(Module):
    """`padding` elements at both ends of each of the last `_spatial` dimensions, or (left, right, top, bottom, ...)."""

    _spatial: ClassVar[int]
    _mode: ClassVar[str]

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = tuple(padding) if isinstance(padding, Iterable) else (padding,) * (2 * self._spatial)

    def forward(self, input: Any) -> Any:
        """input: f32[N, C, *s] or f32[C, *s]."""
        return functional.pad(input, self.padding, self._mode)

    def extra_repr(self) -> str:
        """The amounts."""
        return f"{self.padding}"


class _ConstantPad(_Pad):
    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Any) -> Any:
        """input: f32[N, C, *s] or f32[C, *s]."""
        return functional.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        """The amounts and the value."""
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """f32[N, C, L] or f32[C, L] with `value` around it."""

    _spatial = 1


class ConstantPad2d(_ConstantPad):
    """f32[N, C, H, W] or f32[C, H, W] with `value` around it."""

    _spatial = 2


class ConstantPad3d(_ConstantPad):
    """f32[N, C, D, H, W] or f32[C, D, H, W] with `value` around it."""

    _spatial = 3


class _ZeroPad(_ConstantPad):
    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        """The amounts."""
        return f"{self.padding}"


class ZeroPad1d(_ZeroPad):
    """f32[N, C, L] or f32[C, L] with zeros around it."""

    _spatial = 1


class ZeroPad2d(_ZeroPad):
    """f32[N, C, H, W] or f32[C, H, W] with zeros around it."""

    _spatial = 2


class ZeroPad3d(_ZeroPad):
    """f32[N, C, D, H, W] or f32[C, D, H, W] with zeros around it."""

    _spatial = 3


class _ReflectionPad(_Pad):
    _mode = "reflect"


class ReflectionPad1d(_ReflectionPad):
    """f32[N, C, L] or f32[C, L] continued by its mirror image."""

    _spatial = 1


class ReflectionPad2d(_ReflectionPad):
    """f32[N, C, H, W] or f32[C, H, W] continued by its mirror image."""

    _spatial = 2


class ReflectionPad3d(_ReflectionPad):
    """f32[N, C, D, H, W] or f32[C, D, H, W] continued by its mirror image."""

    _spatial = 3


class _ReplicationPad(_Pad):
    _mode = "replicate"


class ReplicationPad1d(_ReplicationPad):
    """f32[N, C, L] or f32[C, L] with its first and last elements repeated."""

    _spatial = 1


class ReplicationPad2d(_ReplicationPad):
    """f32[N, C, H, W] or f32[C, H, W] with its outermost elements repeated."""

    _spatial = 2


class ReplicationPad3d(_ReplicationPad):
    """f32[N, C, D, H, W] or f32[C, D, H, W] with its outermost elements repeated."""

    _spatial = 3


class _CircularPad(_Pad):
    """ArgumentError for an input of another number of dimensions."""

    _mode = "circular"

    def forward(self, input: Any) -> Any:
        """input: f32[N, C, *s] or f32[C, *s]."""
        least = self._spatial + 1
        if input.dim() not in (least, least + 1):
            raise ArgumentError(f"expected {least}D or {least + 1}D input (got {input.dim()}D input)")
        return super().forward(input)


class CircularPad1d(_CircularPad):
    """f32[N, C, L] or f32[C, L] continued by its other end."""

    _spatial = 1


class CircularPad2d(_CircularPad):
    """f32[N, C, H, W] or f32[C, H, W] continued by its other ends."""

    _spatial = 2


class CircularPad3d(_CircularPad):
    """f32[N, C, D, H, W] or f32[C, D, H, W] continued by its other ends."""

    _spatial = 3


__all__ = [
    "CircularPad1d", "CircularPad2d", "CircularPad3d", "ConstantPad1d", "ConstantPad2d", "ConstantPad3d",
    "ReflectionPad1d", "ReflectionPad2d", "ReflectionPad3d", "ReplicationPad1d", "ReplicationPad2d", "ReplicationPad3d",
    "ZeroPad1d", "ZeroPad2d", "ZeroPad3d",
]  # fmt: skip
