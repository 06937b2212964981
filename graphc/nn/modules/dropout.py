"""Dropout of elements and of channels, and its variants for SELU networks."""

from __future__ import annotations

from typing import Any

from graphc.core.errors import ArgumentError
from graphc.nn import functional
from graphc.nn.modules.module import Module


class _DropoutNd(Module):
    """Holds the probability. ValueError outside of 0..1."""

    def __init__(self, p: float = 0.5, inplace: bool = False):
        super().__init__()
        if p < 0 or p > 1:
            raise ArgumentError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p = p
        self.inplace = inplace

    def extra_repr(self) -> str:
        """The options."""
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_DropoutNd):
    """In training, elements become 0 with probability p, the others are divided by 1 - p."""

    def forward(self, input: Any) -> Any:
        """Any shape."""
        return functional.dropout(input, self.p, self.training, self.inplace)


class Dropout1d(_DropoutNd):
    """Dropout of whole channels of f32[N, C, L] or f32[C, L]."""

    def forward(self, input: Any) -> Any:
        """The input's shape is kept."""
        return functional.dropout1d(input, self.p, self.training, self.inplace)


class Dropout2d(_DropoutNd):
    """Dropout of whole channels of f32[N, C, H, W]."""

    def forward(self, input: Any) -> Any:
        """The input's shape is kept."""
        return functional.dropout2d(input, self.p, self.training, self.inplace)


class Dropout3d(_DropoutNd):
    """Dropout of whole channels of f32[N, C, D, H, W]."""

    def forward(self, input: Any) -> Any:
        """The input's shape is kept."""
        return functional.dropout3d(input, self.p, self.training, self.inplace)


class AlphaDropout(_DropoutNd):
    """Dropout that keeps the mean and variance of SELU networks."""

    def forward(self, input: Any) -> Any:
        """Any shape."""
        return functional.alpha_dropout(input, self.p, self.training)


class FeatureAlphaDropout(_DropoutNd):
    """`AlphaDropout` of whole channels of f32[N, C, *]."""

    def forward(self, input: Any) -> Any:
        """The input's shape is kept."""
        return functional.feature_alpha_dropout(input, self.p, self.training)


__all__ = ["AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "FeatureAlphaDropout"]
