"""How calls are seen while a profiler runs: the public functions, operators, gradient rules, compiled functions, sessions and
optimizers are replaced by ones that note the time, wherever modules refer to them, and put back afterwards.

So nothing is asked, and nothing costs, while none runs.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

from graphc import autodiff
from graphc.build import CompiledFunction
from graphc.core.arrays import DeviceArray
from graphc.core.context import STATE
from graphc.core.errors import BackendError
from graphc.core.tape import TensorBase
from graphc.methods.attached import OPERATOR_NAMES
from graphc.profiler.events import FunctionEvent
from graphc.session import Session
from graphc.tensors import FUNCTION_FILES, Tensor

Namer = Callable[[tuple[Any, ...]], str]


class _Stack(threading.local):
    """The calls of this thread that have not ended."""

    def __init__(self) -> None:
        self.open: list[FunctionEvent] = []


_STACK = _Stack()


def _leave(event: FunctionEvent) -> None:
    """Takes a call that has ended from those that have not. One that began within it and goes on is from now on in what is
    around both, as when `with record_function(...)` ends after the step it began in."""
    calls = _STACK.open
    at = next((n for n in reversed(range(len(calls))) if calls[n] is event), None)
    if at is None:  # begun by another thread
        return
    if at + 1 < len(calls):
        event.inner += event.end - calls[at + 1].since
        calls[at + 1].since = event.end
    if at:
        calls[at - 1].inner += event.end - event.since
    del calls[at]


class Watch:
    """Notes calls from `start` to `stop`. One runs at a time."""

    running: Watch | None = None

    def __init__(self, shapes: bool = False, waits: bool = False):
        #: `shapes`: notes those of arguments; `waits`: for what a call has started on a device
        self.shapes, self.waits = shapes, waits
        #: where functions are replaced besides all modules: objects with the variables of a script that is none
        self.namespaces: list[Any] = []
        self.events: list[FunctionEvent] = []
        self._replaced: list[tuple[Any, str, Any]] = []

    def start(self) -> None:
        """From now on. BackendError while another one runs."""
        if Watch.running is not None:
            raise BackendError("a profiler is running: it sees what another one would")
        Watch.running = self
        self._replace()

    def stop(self) -> None:
        """Puts everything back."""
        for owner, name, value in reversed(self._replaced):
            setattr(owner, name, value)
        self._replaced.clear()
        if Watch.running is self:
            Watch.running = None

    def begin(self, name: str, args: tuple[Any, ...] = ()) -> FunctionEvent:
        """A call begins."""
        shapes = [list(a.shape) if isinstance(a, TensorBase) else [] for a in args] if self.shapes else []
        event = FunctionEvent(name, threading.get_ident(), 0, depth=len(_STACK.open), input_shapes=shapes)
        _STACK.open.append(event)
        event.start = event.since = time.perf_counter_ns()
        return event

    def end(self, event: FunctionEvent, result: Any = None) -> None:
        """It has ended."""
        if self.waits and isinstance(result, TensorBase) and type(result._data) is DeviceArray:
            result._data.memory.synchronize()
        event.end = time.perf_counter_ns()
        _leave(event)
        self._note(event)

    def _note(self, event: FunctionEvent) -> None:
        """Keeps a call that has ended."""
        self.events.append(event)

    # --- replacing ------------------------------------------------------------------------------------------------------

    def _timed(self, fn: Callable[..., Any], name: str | Namer, kind: str) -> Callable[..., Any]:
        """The stand-in of a function; `kind`: "function", "gradient", "compiled", "session" or "update"."""

        @functools.wraps(fn)
        def call(*args: Any, **kwargs: Any) -> Any:
            if STATE.recorder is not None:
                return fn(*args, **kwargs)
            event, result = self.begin(name if isinstance(name, str) else name(args), args), None
            try:
                result = fn(*args, **kwargs)
                return result
            finally:
                self.end(event, result)

        return call

    def _put(self, owner: Any, name: str, value: Any) -> None:
        value.__dict__["_stands_for"] = vars(owner)[name]  # compiled functions do not take it for another one
        self._replaced.append((owner, name, vars(owner)[name]))
        setattr(owner, name, value)

    def _functions(self) -> list[tuple[Any, Callable[..., Any]]]:
        """What is replaced wherever the package refers to it, and by what."""
        found = [(fn, self._timed(fn, f"aten::{name}", "function")) for name, fn in public_functions().items()]
        return [*found, (autodiff.pull_back, self._timed(autodiff.pull_back, rule_name, "gradient"))]

    def _replace(self) -> None:
        functions = {id(pair[0]): pair for pair in self._functions()}
        modules = [m for m in list(sys.modules.values()) if isinstance(m, ModuleType)]
        for owner in (*modules, *self.namespaces, Tensor):
            for name, value in list(vars(owner).items()):
                found = functions.get(id(value)) if type(value) is FunctionType else None
                if found is not None and found[0] is value:
                    self._put(owner, name, found[1])
        known = {name for owner, name, _ in self._replaced if owner is Tensor}  # operators that are public functions
        for name, shown in OPERATOR_NAMES.items():
            if name not in known:
                kind: Any = next(kind for kind in Tensor.__mro__ if name in vars(kind))
                self._put(kind, name, self._timed(vars(kind)[name], f"aten::{shown}", "function"))
        self._put(CompiledFunction, "__call__", self._timed(CompiledFunction.__call__, _compiled_name, "compiled"))
        self._put(Session, "run", self._timed(Session.run, "Session.run", "session"))
        for kind in _optimizers():
            if "step" in vars(kind):
                self._put(kind, "step", self._timed(vars(kind)["step"], _step_name, "update"))


def public_functions() -> dict[str, Any]:
    """The public functions by name: those of tensors and, if it is loaded, of `nn.functional`."""
    found: dict[str, Any] = {}
    for file in (*FUNCTION_FILES, sys.modules.get("graphc.nn.functional")):
        for name in (*getattr(file, "__all__", ()), *getattr(file, "METHODS", ())):
            fn = getattr(file, name, None)
            if type(fn) is FunctionType and not any(fn is other for other in found.values()):
                found[name] = fn
    return found


def _optimizers() -> list[Any]:
    """The kinds of optimizers there are; none before `optim` is loaded."""
    base = getattr(sys.modules.get("graphc.optim.optimizer"), "Optimizer", None)
    return [] if base is None else [base, *_below(base)]


def _below(cls: Any) -> list[Any]:
    found: list[Any] = []
    for child in cls.__subclasses__():
        found += [child, *_below(child)]
    return found


def _title(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def rule_name(args: tuple[Any, ...]) -> str:
    """The name of a call of a gradient rule."""
    return f"{_title(args[0].op.name)}Backward"


def _compiled_name(args: tuple[Any, ...]) -> str:
    fn = args[0].fn
    return f"compiled {getattr(fn, '__name__', type(fn).__name__)}"


def _step_name(args: tuple[Any, ...]) -> str:
    return f"Optimizer.step#{type(args[0]).__name__}.step"


__all__ = ["Watch", "public_functions", "rule_name"]
