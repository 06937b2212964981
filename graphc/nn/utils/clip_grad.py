"""Limiting gradients before an optimizer step. Everything stays in tensors, so it also works in a trace."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from graphc.core.context import STATE
from graphc.core.errors import ShapeError
from graphc.core.one_call import one_call
from graphc.core.tape import TensorBase
from graphc.functions.comparisons import clamp
from graphc.functions.creation import tensor
from graphc.functions.joining import stack
from graphc.functions.norms import vector_norm
from graphc.grad_mode import no_grad


def _listed(parameters: Any) -> list[Any]:
    return [parameters] if isinstance(parameters, TensorBase) else list(parameters)


def _gradients(parameters: Any) -> list[Any]:
    return [g for g in (p.grad for p in _listed(parameters)) if g is not None]


def get_total_norm(
    tensors: Any, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Any:
    """The norm of all tensors together, as if joined into one vector; RuntimeError if asked and it is not finite."""
    listed = _listed(tensors)
    with no_grad():
        if not listed:
            return tensor(0.0)
        total = vector_norm(stack([vector_norm(t.detach(), norm_type) for t in listed]), norm_type)
        if error_if_nonfinite and STATE.recorder is None and not bool(total.isfinite()):
            raise ShapeError(
                f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be clipped. "
                "To disable this error and scale the gradients by the non-finite norm anyway, set `error_if_nonfinite=False`"
            )
        return total


def clip_grads_with_norm_(parameters: Any, max_norm: float, total_norm: Any, foreach: bool | None = None) -> None:
    """Scales the gradients in place by max_norm / total_norm where that is below 1."""
    with no_grad():
        _scale(_gradients(parameters), max_norm, total_norm)


def clip_grad_norm_(
    parameters: Any, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Any:  # fmt: skip
    """Scales the gradients in place so that their norm together is at most `max_norm`; returns the norm they had."""
    listed = _listed(parameters)
    if not listed:
        warnings.warn("`parameters` is an empty generator, no gradient clipping will occur.", stacklevel=2)
    grads = _gradients(listed)
    if error_if_nonfinite:
        get_total_norm(grads, norm_type, error_if_nonfinite, foreach)
    with no_grad():
        return _clip_grad_norm_(grads, max_norm, norm_type)


@one_call()
def _clip_grad_norm_(grads: list[Any], max_norm: float, norm_type: float) -> Any:
    total = get_total_norm(grads, norm_type)
    _scale(grads, max_norm, total)
    return total


def _scale(grads: list[Any], max_norm: float, total: Any) -> None:
    factor = clamp(float(max_norm) / (total + 1e-6), max=1.0)
    for grad in grads:
        grad.mul_(factor)


def clip_grad_norm(
    parameters: Any, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Any:  # fmt: skip
    """Deprecated name of `clip_grad_norm_`."""
    warnings.warn(
        "`torch.nn.utils.clip_grad_norm` is now deprecated in favor of `torch.nn.utils.clip_grad_norm_`.",
        FutureWarning,
        stacklevel=2,
    )
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)


def clip_grad_value_(parameters: Iterable[Any] | Any, clip_value: float, foreach: bool | None = None) -> None:
    """Limits every gradient element to [-clip_value, clip_value], in place."""
    limit = float(clip_value)
    with no_grad():
        for grad in _gradients(parameters):
            grad.clamp_(min=-limit, max=limit)


__all__ = ["clip_grad_norm", "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm"]
