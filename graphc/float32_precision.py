"""`torch.set_float32_matmul_precision`: asked and set, it changes nothing: float32 products are computed in float32."""

from __future__ import annotations

import warnings

_CHOICES = ("highest", "high", "medium")


class _Choice:
    precision = "highest"


def set_float32_matmul_precision(precision: str) -> None:
    """Accepts "highest", "high" or "medium", and computes float32 products in float32 in any case; warns of other words."""
    if precision not in _CHOICES:
        warnings.warn(f"{precision} is not one of 'highest', 'high', or 'medium'; nothing is changed", stacklevel=2)
        return
    _Choice.precision = precision


def get_float32_matmul_precision() -> str:
    """What was set last."""
    return _Choice.precision


__all__ = ["get_float32_matmul_precision", "set_float32_matmul_precision"]
