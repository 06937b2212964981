"""`gc.print` and `gc.breakpoint`: what a program shows while it runs, in eager code, compiled functions and graphs alike.

In a recording both are an op that only Python can do (primitives/effects.py), so they are carried out at each run, in their
order, on every backend and in the bodies of loops; a session's run carries out those whose values it computes.
"""

from __future__ import annotations

import builtins
import os
import pdb
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.core.arrays import host
from graphc.core.context import SLOTS, STATE, set_grad
from graphc.core.errors import ArgumentTypeError, user_frame, user_line
from graphc.core.tape import TensorBase
from graphc.primitives import effects
from graphc.printing import format_tensor

#: What gives the effects of a thread's recordings their order.
_TURN = SLOTS.new_tensor(np.zeros((), np.int64))
_TURN.name = "shown"


@dataclass(frozen=True)
class Call:
    """A function of the user's that gets the values at a breakpoint."""

    fn: Callable[..., Any]

    def __repr__(self) -> str:
        return getattr(self.fn, "__qualname__", type(self.fn).__name__)


def print_value(x: Any, label: str = "") -> Any:
    """Prints a tensor's elements each time this line is run, also in a compiled function, a graph or the body of a loop.

    x: any shape and dtype. Gives back x itself: gradients and results are what they would be without. Without a `label` the
    line stands before the elements. A session's run prints what it computes. Raises ArgumentTypeError for what is no tensor and
    for a label that is no text.
    """
    _check("print", (x,))
    if not isinstance(label, str):
        raise ArgumentTypeError(
            f"print: the label is a str, got {type(label).__name__}", "one call for each tensor: gc.print(x, 'x')"
        )
    if STATE.recorder is None:
        _print(host(x._here()._data), label or user_line())
    else:
        _record((x,), "print", label)
    return x


def breakpoint_here(*values: Any, call: Callable[..., Any] | None = None) -> None:
    """Stops in the debugger each time this line is run, or calls `call(*values)`; in a graph at each of its runs.

    values: the tensors that `call` gets; in a graph those that can be looked at, as `values`. As Python's own `breakpoint` it
    asks `sys.breakpointhook` and heeds PYTHONBREAKPOINT. Raises ArgumentTypeError for anything but tensors and for a `call`
    that cannot be called.
    """
    _check("breakpoint", values)
    if call is not None and not callable(call):
        raise ArgumentTypeError(f"breakpoint: `call` cannot be called, it is a {type(call).__name__}", "a function")
    action = "break" if call is None else Call(call)
    if STATE.recorder is not None:
        _record(values, action, "")
    elif call is not None:
        call(*values)
    else:
        stop(user_frame(2))


def _check(name: str, values: Sequence[Any]) -> None:
    for x in values:
        if not isinstance(x, TensorBase):
            raise ArgumentTypeError(
                f"{name}: expected a Tensor, got {type(x).__name__}", "Python's own print for the rest"
            )


def _record(values: Sequence[Any], action: Any, label: str) -> None:
    with set_grad(False):
        _TURN.copy_(effects.show(*values, _TURN, action=action, label=label, place=user_line()))


# --- while a program runs -------------------------------------------------------------------------------------------------


def show(arrays: Sequence[Any], action: Any, label: str, place: str) -> None:
    """Carries out an effect of a run."""
    if action == "print":
        for array in arrays:
            _print(array, label or place)
    elif action == "break":
        stop_with(tuple(map(_tensor, arrays)), place)
    elif isinstance(action, Call):
        action.fn(*map(_tensor, arrays))


def _tensor(array: Any) -> Any:
    return SLOTS.new_tensor(np.array(array))


def _print(array: Any, label: str) -> None:
    builtins.print(f"{label}: {format_tensor(SLOTS.new_tensor(np.asarray(array)))}", flush=True)


def stop_with(values: Any, place: str) -> None:
    """Stops in the debugger where `values` and `place`, the line that made them, can be looked at."""
    builtins.print(f"breakpoint at {place}: look at `values`; `up` leads to the call", flush=True)
    stop(sys._getframe())
    del place  # the debugger stops before the next line of this frame, where `values` can be seen


def stop(frame: Any) -> None:
    """Stops in the debugger at a frame, as Python's `breakpoint` would."""
    if sys.breakpointhook is not sys.__breakpointhook__:
        sys.breakpointhook()
    elif os.environ.get("PYTHONBREAKPOINT", "") in ("", "pdb.set_trace"):
        pdb.Pdb().set_trace(frame)
    elif os.environ["PYTHONBREAKPOINT"] != "0":
        sys.breakpointhook()
