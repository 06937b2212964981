"""Parameters as one vector and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from graphc.core.errors import ArgumentTypeError
from graphc.core.tape import TensorBase
from graphc.functions.joining import cat


def parameters_to_vector(parameters: Iterable[Any]) -> Any:
    """All elements of the parameters, one after the other: f32[total]."""
    return cat([p.view(-1) for p in parameters])


def vector_to_parameters(vec: Any, parameters: Iterable[Any]) -> None:
    """Makes the parameters views of consecutive parts of `vec`; TypeError if it is no tensor."""
    if not isinstance(vec, TensorBase):
        raise ArgumentTypeError(f"expected torch.Tensor, but got: {type(vec).__name__}")
    at: Any = 0
    for param in parameters:
        count = param.numel()
        param.data = vec[at : at + count].view_as(param).data  # type: ignore[index]
        at += count


__all__ = ["parameters_to_vector", "vector_to_parameters"]
