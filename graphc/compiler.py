"""`torch.compiler`: what programs tell and ask PyTorch's compiler, said to `gc.compile`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from graphc.backends import backend_names
from graphc.build import compile  # noqa: A004
from graphc.core.context import STATE

F = TypeVar("F", bound=Callable[..., Any])


def is_compiling() -> bool:
    """Whether a trace is being recorded."""
    return STATE.recorder is not None


is_dynamo_compiling = is_compiling


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """The function itself: called by itself it runs eagerly, called in a trace it is traced, as there is no other way."""
    return fn if fn is not None else lambda f: f


def allow_in_graph(fn: F) -> F:
    """The function itself, which a trace follows."""
    return fn


def assume_constant_result(fn: F) -> F:
    """The function itself: what it gives while a trace is recorded is part of the trace."""
    return fn


def reset() -> None:
    """Nothing: builds belong to the functions that `compile` gave, and go with them."""


def cudagraph_mark_step_begin() -> None:
    """Nothing: results never share memory with other runs' results."""


def list_backends(exclude_tags: Any = ()) -> list[str]:
    """The backends that `compile` takes."""
    return backend_names()


__all__ = [
    "allow_in_graph", "assume_constant_result", "compile", "cudagraph_mark_step_begin", "disable", "is_compiling",
    "is_dynamo_compiling", "list_backends", "reset",
]  # fmt: skip
