"""LayerNorm, GroupNorm, RMSNorm, LocalResponseNorm."""

from __future__ import annotations

from typing import Any

from graphc.core.errors import ArgumentError
from graphc.nn import functional, init
from graphc.nn.modules.linear import new_parameter
from graphc.nn.modules.module import Module


class _Normalization(Module):
    """A weight (ones) and a bias (zeros), or None for them."""

    weight: Any
    bias: Any

    def _make(self, name: str, wanted: bool, sizes: tuple[int, ...], dtype: Any, device: Any) -> None:
        self.register_parameter(name, new_parameter(*sizes, dtype=dtype, device=device) if wanted else None)

    def reset_parameters(self) -> None:
        """Fills the weight with ones and the bias with zeros."""
        if self._parameters.get("weight") is not None:
            init.ones_(self.weight)
        if self._parameters.get("bias") is not None:
            init.zeros_(self.bias)


class LayerNorm(_Normalization):
    """(x - mean) / sqrt(var + eps) * weight + bias over the last dimensions, `normalized_shape`."""

    def __init__(
        self, normalized_shape: Any, eps: float = 1e-5, elementwise_affine: bool = True, bias: bool = True,
        device: Any = None, dtype: Any = None,
    ):  # fmt: skip
        super().__init__()
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape = shape
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self._make("weight", elementwise_affine, shape, dtype, device)
        self._make("bias", elementwise_affine and bias, shape, dtype, device)
        self.reset_parameters()

    def forward(self, input: Any) -> Any:
        """input: f32[*, *normalized_shape]."""
        return functional.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Shape and options."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )


class GroupNorm(_Normalization):
    """Layer norm over `num_groups` groups of channels. ValueError if the channels do not divide."""

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, device: Any = None,
        dtype: Any = None, *, bias: bool = True,
    ):  # fmt: skip
        super().__init__()
        if num_channels % num_groups != 0:
            raise ArgumentError(f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})")
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        self._make("weight", affine, (num_channels,), dtype, device)
        self._make("bias", affine and bias, (num_channels,), dtype, device)
        self.reset_parameters()

    def forward(self, input: Any) -> Any:
        """input: f32[N, num_channels, *]."""
        return functional.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Sizes and options."""
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, bias={self.bias is not None}"


class RMSNorm(_Normalization):
    """x / sqrt(mean(x^2) + eps) * weight over the last dimensions; `eps` None is the dtype's machine epsilon."""

    def __init__(
        self, normalized_shape: Any, eps: float | None = None, elementwise_affine: bool = True, device: Any = None,
        dtype: Any = None,
    ):  # fmt: skip
        super().__init__()
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape = shape
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self._make("weight", elementwise_affine, shape, dtype, device)
        self.reset_parameters()

    def forward(self, x: Any) -> Any:
        """x: f32[*, *normalized_shape]."""
        return functional.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """Shape and options."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class LocalResponseNorm(Module):
    """x / (k + alpha * mean of the squares of `size` neighbouring channels)^beta (Krizhevsky et al. 2012)."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0):
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: Any) -> Any:
        """input: f32[N, C, *]."""
        return functional.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        """The options."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


__all__ = ["GroupNorm", "LayerNorm", "LocalResponseNorm", "RMSNorm"]
