"""What distributions share: broadcasting parameters, probabilities and logits, attributes computed at first use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.core.context import STATE
from graphc.core.tape import TensorBase
from graphc.functions.creation import tensor
from graphc.functions.dtypes import finfo
from graphc.functions.promotion import is_number
from graphc.functions.shaping import broadcast_tensors
from graphc.functions.softmaxes import softmax

euler_constant = 0.57721566490153286060


def broadcast_all(*values: Any) -> tuple[Any, ...]:
    """Numbers and tensors as tensors of one shape; numbers take the dtype and device of the first tensor.

    ValueError for anything else.
    """
    if not all(isinstance(v, TensorBase) or is_number(v) for v in values):
        raise ValueError(
            "Input arguments must all be instances of Number, torch.Tensor or objects implementing __torch_function__."
        )
    like = next((v for v in values if isinstance(v, TensorBase)), None)
    options = {} if like is None else {"dtype": like.dtype, "device": like.device}  # type: ignore[attr-defined]
    if like is None:
        values = tuple(float(v) for v in values)
    return broadcast_tensors(*(v if isinstance(v, TensorBase) else tensor(v, **options) for v in values))


class lazy_property:
    """An attribute computed at its first use; while a graph is recorded it is computed anew, and nothing of the graph stays."""

    def __init__(self, wrapped: Callable[[Any], Any]) -> None:
        self.wrapped = wrapped
        self.__doc__ = wrapped.__doc__

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        value = self.wrapped(instance)
        if STATE.recorder is None:
            instance.__dict__[self.wrapped.__name__] = value
        return value


def logits_to_probs(logits: Any, is_binary: bool = False) -> Any:
    """Probabilities of log-odds (`is_binary`), or of logits over the last dimension."""
    return logits.sigmoid() if is_binary else softmax(logits, -1)


def clamp_probs(probs: Any) -> Any:
    """Probabilities kept away from 0 and 1 by the dtype's epsilon."""
    eps = finfo(probs.dtype).eps
    return probs.clamp(min=eps, max=1 - eps)


def probs_to_logits(probs: Any, is_binary: bool = False) -> Any:
    """Log-odds (`is_binary`) or logarithms of probabilities."""
    clamped = clamp_probs(probs)
    return clamped.log() - (-clamped).log1p() if is_binary else clamped.log()


def sum_rightmost(value: Any, dims: int) -> Any:
    """The sum over the last `dims` dimensions."""
    return value if dims == 0 else value.reshape((*value.shape[:-dims], -1)).sum(-1)


__all__ = [
    "broadcast_all", "clamp_probs", "euler_constant", "lazy_property", "logits_to_probs", "probs_to_logits",
    "sum_rightmost",
]  # fmt: skip
