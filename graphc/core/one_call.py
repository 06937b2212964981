"""`@one_call`: the mark of a composition that eager code on the CPU may run as one compiled call with one tape entry.

NumPy runs the body op by op, which costs little to begin with and much in the long run; compiling costs tens of milliseconds
once, and what compiles takes longer still to load. Calls are told apart by their *signature*: shapes, dtypes, wanted gradients
and all other arguments. A signature is compiled as soon as NumPy has been given as much of it as compiling costs (the rule for
renting or buying skis), so that no program takes more than about twice the better choice; nothing is, before all marked calls
together were worth loading the compiler. What NumPy was given is estimated from sizes, never measured, so that the same calls
take the same ways in every run.

On a device each signature is compiled at once, as each op of the body would be.

A recording context (a trace, a graph) records the body. `GRAPHC_EAGER` (`config.eager`) forces one way.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from graphc.core.arrays import DeviceArray
from graphc.core.autocast import AUTOCAST, Mark, run_marked
from graphc.core.config import config
from graphc.core.context import SLOTS, STATE
from graphc.core.tape import TensorBase
from graphc.core.tensor_types import defaults

F = TypeVar("F", bound=Callable[..., Any])

#: What compiling costs, and a call of any size in NumPy, in the time NumPy needs for one element of an operand (about 4 ns).
WORTH, A_CALL = 5_000_000, 5_000
#: What loading the compiler costs.
LOADING = 50_000_000
#: Signatures and compiled calls kept per function; the oldest are dropped first.
MOST_SIGNATURES, MOST_COMPILED = 256, 32

_ndarray = np.ndarray


class _Ledger:
    """What NumPy was given by all marked calls of this process."""

    __slots__ = ("total",)

    def __init__(self) -> None:
        self.total = 0.0

    def pay(self, before: float, work: float) -> float:
        """Notes more work for a signature that had so much; returns what it has now."""
        self.total += work
        return before + work

    def is_due(self, paid: float, price: float = WORTH) -> bool:
        """Whether what compiling costs has been given to NumPy."""
        return paid >= price and self.total >= LOADING


LEDGER = _Ledger()


class _UnknownError(Exception):
    """An argument whose value nothing tells: the call runs op by op."""


def one_call(
    weight: float = 1.0, elements: Callable[..., int] | None = None, rereads: bool = True, cast: Mark | None = None
) -> Callable[[F], F]:
    """Marks a composition of ops whose result follows from its arguments (and the default generator) alone.

    `weight`: what NumPy does with an element of an operand, measured by a composition of a few elementwise ops.
    `elements`: how many elements a call is about, from its arguments, where their tensors do not tell.
    `rereads`: the gradient reads arguments again rather than to keep more; then they must not change before backward, as in
    PyTorch for most functions. False where PyTorch's gradient reads the result, or next to nothing.
    `cast`: what autocast does with the operands.
    The body must not look at the numbers in a tensor, nor warn: a signature may be recorded once and never be run again.
    Tensors may stand in lists, tuples and dicts; a tensor may be written only where it is no view.
    """

    def mark(fn: F) -> F:
        known: dict[Any, Any] = {}

        @functools.wraps(fn)
        def call(*args: Any, **kwargs: Any) -> Any:
            if AUTOCAST.used and STATE.autocast is not None:
                return run_marked(cast, call, args, kwargs)
            way = config.eager
            if STATE.recorder is not None or way == "numpy":
                return fn(*args, **kwargs)
            leaves: list[Any] = []
            key: list[Any] = [STATE.grad, defaults.float_dtype]
            try:
                size = _describe(args, leaves, key)
                if kwargs:
                    size += _describe(kwargs, leaves, key)
                signature = tuple(key)
                found = known.get(signature, 0.0)
            except (_UnknownError, TypeError):
                return fn(*args, **kwargs)
            if type(found) is float:
                found = LEDGER.pay(found, A_CALL + weight * (size if elements is None else elements(*args, **kwargs)))
                if way != "compiled" and not LEDGER.is_due(found) and not _is_on_device(leaves):
                    _remember(known, signature, found)
                    return fn(*args, **kwargs)
                found = SLOTS.executor(fn, args, kwargs, rereads)
                _remember(known, signature, found)
            return fn(*args, **kwargs) if found is None else found(leaves, args, kwargs)

        call.known_calls = known  # type: ignore[attr-defined]
        return call  # type: ignore[return-value]

    return mark


def _is_on_device(leaves: list[Any]) -> bool:
    """Whether an argument is on a device, where each op by itself is compiled too."""
    return any(type(x._data) is DeviceArray for x in leaves)


def _remember(known: dict[Any, Any], signature: Any, what: Any) -> None:
    """Other threads may do the same: the dict is only walked in copies."""
    known.pop(signature, None)
    known[signature] = what
    if len(known) > MOST_SIGNATURES:
        for key in list(known)[:-MOST_SIGNATURES]:
            known.pop(key, None)
    if callable(what):
        compiled = [key for key, call in list(known.items()) if callable(call)]
        for key in compiled[:-MOST_COMPILED]:
            known.pop(key, None)


def _describe(nest: Any, leaves: list[Any], key: list[Any]) -> int:
    """Adds the tensors of a nest to `leaves`, and what tells its signature to `key`; returns the number of elements."""
    size = 0
    for x in nest.values() if type(nest) is dict else nest:
        kind = type(x)
        if isinstance(x, TensorBase):
            data = x._data
            if type(data) is not _ndarray:
                if type(data) is not DeviceArray:
                    raise _UnknownError
                key.append(data.memory)
            wants = x._edge is not None if x._base is None else x.requires_grad  # type: ignore[attr-defined]
            key += (data.shape, data.dtype.num, wants, data.flags.c_contiguous or data.strides)
            leaves.append(x)
            size += data.size
        elif kind is float:
            key.append(x if x else str(x))  # 0.0 is not -0.0
        elif kind is tuple or kind is list or kind is dict or isinstance(x, tuple):
            key += (kind, len(x))
            size += _describe(x, leaves, key)
        else:
            key += (kind, x)
    if type(nest) is dict:
        key.append(tuple(nest))
    return size
