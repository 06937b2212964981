"""Sums over the processes of a group that gradients flow through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.core.errors import ArgumentError
from graphc.custom_function import Function
from graphc.distributed.collectives import called
from graphc.distributed.groups import ProcessGroup, group_of, is_initialized
from graphc.primitives import collective as ops


class _Total(Function):
    """What a process adds reaches the losses of all: the gradients of these add up."""

    @staticmethod
    def forward(ctx: Any, x: Any, group: ProcessGroup) -> Any:
        ctx.group = group
        return called(ops.all_reduce, group, x, how="sum")

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return _Total.apply(g, ctx.group), None


def total_over(group: Any) -> Callable[[Any], Any] | None:
    """A tensor's sum over the group (None: all processes), as a function; None where this process is alone.

    ArgumentError where this process is not in the group.
    """
    if not is_initialized():
        return None
    found = group_of(group)
    if found is None:
        raise ArgumentError("SyncBatchNorm: this process is not in the group")
    return None if found.size() == 1 else lambda x: _Total.apply(x, found)


__all__ = ["total_over"]
