"""Calls with the source lines that asked for them: a watch for one thread that knows lines, modules, and kernels in calls.

Every call of a public function or operator from the user's code is one event, and so is each gradient rule, with the line of
the forward op it belongs to. Modules, `backward()` and compiled calls contain others: their own time is what is left.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from graphc import autodiff
from graphc.build import CompiledFunction
from graphc.compiled_backward import Backward
from graphc.core.arrays import DeviceArray
from graphc.core.context import STATE
from graphc.core.errors import user_frame
from graphc.ir.program import Origin
from graphc.nests import tensors_in
from graphc.primitives.elementwise import add
from graphc.profiler.events import FunctionEvent
from graphc.profiler.watching import Namer, Watch
from graphc.session import Session
from graphc.tracing import ModuleScopes

#: Kinds of calls in which other calls are seen too.
CONTAINERS = ("module", "backward", "compiled", "session", "compiled gradient")
#: Kinds of calls that run plans.
RUNS = ("compiled", "session", "compiled gradient")

#: What stands for no line.
NOWHERE = Origin("", 0)


@dataclass
class LineEvent(FunctionEvent):
    """A call: its kind, the line it belongs to, and the kernels in it: executables with the nanoseconds of their steps.

    `runs`: the compiled function, session or gradient that was called; `marks`: what tells the kernels' times; `is_calling`:
    whether all but the kernels is what calling costs, since what was called is measured.
    """

    kind: str = ""
    origin: Origin = NOWHERE
    kernels: list[tuple[Any, list[int]]] = field(default_factory=list)
    runs: Any = None
    marks: list[tuple[Any, Callable[[], list[int]]]] = field(default_factory=list)
    is_calling: bool = False

    def settle(self) -> None:
        """Finds the kernels, which would take time within a measured call."""
        found = [(x, tell()) for x, tell in self.marks]
        own = {id(x) for x in executables_of(self.runs)}
        self.is_calling = any(id(x) in own for x, _ in found)
        self.kernels, self.marks, self.runs = [(x, times) for x, times in found if any(times)], [], None

    @property
    def own(self) -> int:
        """Nanoseconds outside of the calls and the kernels in it."""
        return self.end - self.start - self.inner - sum(sum(times) for _, times in self.kernels)


class KernelClock:
    """Measures the steps of executables from when they are given to `follow` until `close`."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._known: dict[int, tuple[Any, Callable[[], Callable[[], list[int]]]]] = {}

    def follow(self, executables: Iterable[Any]) -> None:
        """Measures these too, as far as they can be."""
        for x in executables:
            if id(x) not in self._known and hasattr(x, "measured"):
                self._known[id(x)] = x, self._stack.enter_context(x.measured())

    def wait(self) -> None:
        """Waits for the devices of what is measured."""
        for device in {id(x.device): x.device for x, _ in self._known.values() if hasattr(x, "device")}.values():
            with device.held():
                device.finish()

    def mark(self) -> list[tuple[Any, Callable[[], list[int]]]]:
        """Ends a stretch of runs: executables, and what tells the nanoseconds of each step since the mark before."""
        return [(x, mark()) for x, mark in self._known.values()]

    def close(self) -> None:
        """Measures no more."""
        self._known.clear()
        self._stack.close()


class LineWatch(Watch):
    """Notes the calls that this thread makes, with their lines. `fn`: what will be called; its global variables are looked
    through too. `compiled`, `sessions`: those that were called."""

    events: list[LineEvent]  # type: ignore[assignment]

    def __init__(self, fn: Any = None) -> None:
        super().__init__()
        self.namespaces = [*map(_Variables, _globals_of(fn))]
        self.clock = KernelClock()
        self.compiled: dict[int, CompiledFunction] = {}
        self.sessions: dict[int, Session] = {}
        self._thread, self._scopes = threading.get_ident(), ModuleScopes()
        self._open: list[LineEvent] = []
        self._memories: set[Any] = set()

    def stop(self) -> None:
        """Puts everything back."""
        super().stop()
        self.clock.close()

    def _note(self, event: FunctionEvent) -> None:
        """Nothing: what `record_function` names is no call, and has no line."""

    def follow_kernels(self) -> None:
        """Measures what compiled functions and sessions that were called run, from now on."""
        for run in (*self.compiled.values(), *self.sessions.values()):
            self.clock.follow(executables_of(run))

    def origin(self, kind: str) -> Origin:
        """The line that what runs now belongs to."""
        forward, role = STATE.forward, "update" if kind == "update" else STATE.role
        if forward:
            return Origin(forward.file, forward.line, forward.module, role)
        frame = user_frame(2)
        if frame is None:
            return NOWHERE
        if kind in ("backward", "gradient", "compiled gradient"):
            role = "backward"
        return Origin(frame.f_code.co_filename, frame.f_lineno, self._scopes.shown, role)

    # --- replacing ------------------------------------------------------------------------------------------------------

    def _functions(self) -> list[tuple[Any, Callable[..., Any]]]:
        sweeps = (autodiff.pull_to_leaves, autodiff.pull_to)
        return [*super()._functions(), *((fn, self._timed(fn, "backward", "backward")) for fn in sweeps)]

    def _replace(self) -> None:
        super()._replace()
        # what the sweep does with gradients that meet
        self._put(autodiff, "add", self._timed(add, "add", "function"))
        module = getattr(sys.modules.get("graphc.nn.modules.module"), "Module", None)
        if module is not None:
            self._put(module, "__call__", self._scoped(module.__call__))

    def _scoped(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """The stand-in of a module's call, which is noted with the module's name, and in whose lines it is named."""
        timed = self._timed(fn, lambda args: type(args[0]).__name__, "module")

        def inside(module: Any, /, *args: Any, **kwargs: Any) -> Any:
            if STATE.recorder is not None or self._thread != threading.get_ident():
                return fn(module, *args, **kwargs)
            self._scopes.enter(module)
            try:
                return timed(module, *args, **kwargs)
            finally:
                self._scopes.leave()

        return inside

    def _timed(self, fn: Callable[..., Any], name: str | Namer, kind: str) -> Callable[..., Any]:
        stack, now = self._open, time.perf_counter_ns

        @functools.wraps(fn)
        def call(*args: Any, **kwargs: Any) -> Any:
            if (
                STATE.recorder is not None
                or (stack and stack[-1].kind not in CONTAINERS)
                or self._thread != threading.get_ident()
            ):
                return fn(*args, **kwargs)
            own = self._kind(kind, args)
            known = _entries_of(args, kwargs) if own == "function" else set()
            event = LineEvent(_plain(name, args), self._thread, 0, kind=own, origin=self.origin(own), depth=len(stack))
            if own in RUNS:
                event.runs = args[0].op if own == "compiled gradient" else args[0]
            stack.append(event)
            event.start, result = now(), None
            try:
                result = fn(*args, **kwargs)
                return result
            finally:
                self._ended(event, result)
                _mark(result, known, event.origin)

        return call

    def _kind(self, kind: str, args: tuple[Any, ...]) -> str:
        """What a call is, and of compiled ones who runs."""
        if kind == "compiled":
            self.compiled[id(args[0])] = args[0]
        elif kind == "session":
            self.sessions[id(args[0])] = args[0]
        elif kind == "gradient" and isinstance(args[0].op, Backward):
            return "compiled gradient"
        return kind

    def _ended(self, event: LineEvent, result: Any) -> None:
        if event.runs is not None:
            self.clock.wait()
        self._memories |= memories_of(result)
        for memory in self._memories:
            memory.synchronize()
        event.end = time.perf_counter_ns()
        self._open.pop()
        if self._open:
            self._open[-1].inner += event.end - event.start
        self.events.append(event)
        if event.runs is not None:
            event.marks = self.clock.mark()


class _Variables:
    """The global variables of a function as attributes."""

    def __init__(self, variables: dict[str, Any]):
        self.__dict__ = variables


def _globals_of(fn: Any) -> list[dict[str, Any]]:
    """The global variables that a function or a module's forward reads, if they are those of no module that Python knows."""
    while isinstance(fn, functools.partial | CompiledFunction):
        fn = fn.func if isinstance(fn, functools.partial) else fn.fn
    found = getattr(getattr(fn, "__func__", None) or getattr(type(fn), "forward", fn), "__globals__", None)
    module = sys.modules.get((found or {}).get("__name__", ""))
    return [] if found is None or (module is not None and vars(module) is found) else [found]


def memories_of(result: Any) -> set[Any]:
    """The memories of devices that tensors of a result are in."""
    return {x._data.memory for x in tensors_in(result) if type(x._data) is DeviceArray}


def executables_of(runs: Any) -> Iterator[Any]:
    """What a compiled function, a session or a compiled gradient runs by; of what is in two parts, the part on the device."""
    if isinstance(runs, Backward):
        programs = [runs.built]
    else:
        builds = [] if runs is None else runs.builds()
        backward = [getattr(build, "backward", None) for build in builds]
        programs = [*(build.built for build in builds), *(x.built for x in backward if x is not None)]
    for built in programs:
        yield from (getattr(x, "executable", x) for x in list(built.executables.values()))


def _plain(name: str | Namer, args: tuple[Any, ...]) -> str:
    found = name if isinstance(name, str) else name(args)
    return found.removeprefix("aten::")


def _entries_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> set[int]:
    """The tape entries that made a call's arguments."""
    return {id(x._edge[0]) for x in tensors_in((args, kwargs)) if type(x._edge) is tuple}


def _mark(result: Any, known: set[int], origin: Origin) -> None:
    """Gives the tape entries that a call has made, up to those `known`, its line."""
    pending = [x._edge[0] for x in tensors_in(result) if type(x._edge) is tuple]
    while pending:
        entry = pending.pop()
        if entry.line or id(entry) in known:
            continue
        entry.line = origin
        pending += [edge[0] for edge in entry.edges if type(edge) is tuple]


__all__ = ["CONTAINERS", "NOWHERE", "RUNS", "KernelClock", "LineEvent", "LineWatch", "executables_of", "memories_of"]
