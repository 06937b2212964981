"""`torch.autograd.function`'s names."""

from __future__ import annotations

from graphc.custom_function import Function, FunctionCtx, once_differentiable

__all__ = ["Function", "FunctionCtx", "once_differentiable"]
