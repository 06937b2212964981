"""InstanceNorm1d, 2d, 3d: one class but for the number of dimensions they take."""

from __future__ import annotations

import warnings
from typing import Any

from graphc.core.errors import ArgumentError
from graphc.functions.shaping import squeeze, unsqueeze
from graphc.nn import functional
from graphc.nn.losses import differ
from graphc.nn.modules.batchnorm import _NormBase


class _InstanceNorm(_NormBase):
    """Normalisation of each channel of each sample; running statistics are kept only if asked for."""

    #: dimensions of an input without a batch
    _unbatched = 0

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
        track_running_stats: bool = False, device: Any = None, dtype: Any = None, *, bias: bool = True,
    ):  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def _check_input_dim(self, input: Any) -> None:
        ndim = len(input.shape)
        if ndim not in (self._unbatched, self._unbatched + 1):
            wanted = f"{self._unbatched}D or {self._unbatched + 1}D"
            raise ArgumentError(f"expected {wanted} input (got {ndim}D input)")
        axis = ndim - self._unbatched
        if not differ(input.shape[axis], self.num_features):
            return
        fault = f"input's size at dim={axis} does not match num_features ({self.num_features}): {input.shape[axis]}"
        if self.affine:
            raise ArgumentError(f"expected {fault}")
        warnings.warn(f"{fault}; num_features is not used because affine=False", stacklevel=4)

    def forward(self, input: Any) -> Any:
        """input: f32[N, num_features, *] or f32[num_features, *]. ArgumentError for other dimensions or channels."""
        self._check_input_dim(input)
        if len(input.shape) == self._unbatched:
            return squeeze(self._normalized(unsqueeze(input, 0)), 0)
        return self._normalized(input)

    def _normalized(self, x: Any) -> Any:
        own = self.training or not self.track_running_stats
        average = 0.0 if self.momentum is None else self.momentum
        return functional.instance_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, own, average, self.eps
        )

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: Any, strict: bool,
        missing_keys: list[str], unexpected_keys: list[str], error_msgs: list[str],
    ) -> None:  # fmt: skip
        if local_metadata.get("version") is None and not self.track_running_stats:
            for key in (prefix + name for name in ("running_mean", "running_var")):
                if state_dict.pop(key, None) is not None:
                    error_msgs.append(f'Unexpected running stats buffer "{key}" with track_running_stats=False.')
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


class InstanceNorm1d(_InstanceNorm):
    """Instance norm for f32[N, C, L] or f32[C, L]."""

    _unbatched = 2


class InstanceNorm2d(_InstanceNorm):
    """Instance norm for f32[N, C, H, W] or f32[C, H, W]."""

    _unbatched = 3


class InstanceNorm3d(_InstanceNorm):
    """Instance norm for f32[N, C, D, H, W] or f32[C, D, H, W]."""

    _unbatched = 4


__all__ = ["InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"]
