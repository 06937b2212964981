"""Tensors moved between the host and devices."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from graphc.core.arrays import memory_of, moved
from graphc.core.context import SLOTS, STATE, making_in
from graphc.core.op import Kind
from graphc.core.tape import Entry, edge_of

F = TypeVar("F", bound=Callable[..., Any])


class Move:
    """The op of a tape entry whose output is its input on another device; gradients go back."""

    name = "to"
    kind = Kind("opaque")
    n_outputs = 1

    def __init__(self, home: Any):
        self.home = home

    def pull_back(self, entry: Entry, gs: list[Any], needs: list[bool]) -> list[Any]:
        """What the sweep calls in place of rules."""
        (g,) = gs
        return [g if STATE.recorder is not None else on(g, self.home)]


def beside(fn: F) -> F:
    """Marks a function that makes tensors of nothing and has to make them where its first argument is."""

    @functools.wraps(fn)
    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        memory = memory_of(getattr(x, "_data", None))
        if memory is STATE.memory:
            return fn(x, *args, **kwargs)
        with making_in(memory):
            return fn(x, *args, **kwargs)

    return call  # type: ignore[return-value]


def on(x: Any, memory: Any) -> Any:
    """A concrete tensor in a device's memory (None: the host's): itself where it is there."""
    home = memory_of(x._data)
    if home is memory:
        return x
    out = SLOTS.new_tensor(moved(x._data, memory))
    if x.requires_grad and STATE.grad:
        metas = ((x._data.shape, x._data.dtype),)
        out._edge = (Entry(Move(home), {}, (edge_of(x),), metas, metas, {}), 0)
    return out


def at_home(g: Any, x: Any) -> Any:
    """The gradient of x where x is: numbers are computed where that is quickest."""
    return g if STATE.recorder is not None else on(g, memory_of(x._data))
