"""Autocast: which precision the operands of public functions are brought to, while a thread asks for it.

A public function is marked with what PyTorch does with it: `LOWER` (products, convolutions), `FULL` (losses and what else needs
float32) or `WIDEST` (operands that must have one dtype). The operands are cast as ops, before the function's body, so that
gradients flow back through the casts; the body itself runs without autocast. Functions are marked and not primitives, since a
body gives its primitives operands of one dtype, and what a primitive made of them would no longer fit the rest of the body.

A mark stands at `one_call(cast=...)`, at `@casts(...)`, or, in functions for which one more Python call would be felt, in their
first line: `if AUTOCAST.used: x, y = brought(LOWER, x, y)`. Until autocast is first switched on in a process, a mark costs one
read of an attribute.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from graphc.core.context import SLOTS, STATE
from graphc.core.tensor_types import DType, bfloat16, float16

F = TypeVar("F", bound=Callable[..., Any])


class Mark(NamedTuple):
    """What is done with operands on the CPU, and with those on a CUDA or OpenCL device: None is nothing."""

    cpu: str | None
    device: str | None


LOWER, FULL, WIDEST = Mark("lower", "lower"), Mark("full", "full"), Mark("widest", "widest")
#: what PyTorch's lists have for the CPU alone, or for devices alone
CPU_FULL = Mark("full", None)
DEVICE_LOWER, DEVICE_FULL, DEVICE_WIDEST = Mark(None, "lower"), Mark(None, "full"), Mark(None, "widest")


class Autocast(NamedTuple):
    """The lower precision by kind of device, the kind that was switched on last at the end."""

    dtypes: tuple[tuple[str, DType], ...]

    def dtype(self, kind: str | None) -> DType | None:
        """The lower precision on a kind of device, None where autocast is off there.

        A recorded tensor, of which only a run will tell where it is (None), is where autocast was switched on last.
        """
        return self.dtypes[-1][1] if kind is None else dict(self.dtypes).get(kind)


class _Used:
    """Whether autocast was ever switched on in this process."""

    __slots__ = ("used",)

    def __init__(self) -> None:
        self.used = False


AUTOCAST = _Used()
#: The lower precision of each kind where none is named.
DEFAULTS = {"cpu": bfloat16, "cuda": float16, "opencl": float16}


def switch(kind: str, dtype: DType | None) -> Autocast | None:
    """Switches autocast of this thread on (with that precision) or off (None) for a kind of device; returns what was."""
    before: Autocast | None = STATE.autocast
    others = () if before is None else tuple(pair for pair in before.dtypes if pair[0] != kind)
    if dtype is not None:
        others = (*others, (kind, dtype))
        AUTOCAST.used = True
    STATE.autocast = Autocast(others) if others else None
    return before


def brought(mark: Mark, *operands: Any) -> Any:
    """The operands in the precision that this thread's autocast wants for a function with that mark."""
    return operands if STATE.autocast is None else SLOTS.cast_operands(mark, operands)


def run_marked(mark: Mark | None, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """`fn` on operands brought to the precision it is marked with, its body without autocast."""
    before = STATE.autocast
    if before is None:
        return fn(*args, **kwargs)
    if mark is not None:
        args = SLOTS.cast_operands(mark, args)
        kwargs = dict(zip(kwargs, SLOTS.cast_operands(mark, tuple(kwargs.values())), strict=True))
    STATE.autocast = None
    try:
        return fn(*args, **kwargs)
    finally:
        STATE.autocast = before


def casts(mark: Mark) -> Callable[[F], F]:
    """Marks a function."""

    def decorate(fn: F) -> F:
        @functools.wraps(fn)
        def call(*args: Any, **kwargs: Any) -> Any:
            if AUTOCAST.used:
                return run_marked(mark, fn, args, kwargs)
            return fn(*args, **kwargs)

        return call  # type: ignore[return-value]

    return decorate


__all__ = [
    "AUTOCAST", "CPU_FULL", "DEFAULTS", "DEVICE_FULL", "DEVICE_LOWER", "DEVICE_WIDEST", "FULL", "LOWER", "WIDEST",
    "Autocast", "Mark", "brought", "casts", "run_marked", "switch",
]  # fmt: skip
