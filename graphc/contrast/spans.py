"""Where the time of a call goes, by phases: functions of the package are replaced by ones that note the time, wherever it
refers to them, and put back afterwards. A phase within another one counts for itself, not for the outer one."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

#: A function, or a method as (class, name).
Target = Callable[..., Any] | tuple[type, str]


class Spans:
    """`targets`: phase -> the functions that belong to it. `take()` gives the nanoseconds of each since the last `take()`."""

    def __init__(self, targets: Mapping[str, Iterable[Target]], rest: str):
        self.targets, self.rest = targets, rest
        self.ns: dict[str, int] = {}
        self._open = [rest]
        self._mark = 0
        self._made: dict[int, tuple[Any, Any]] = {}
        self._methods: list[tuple[type, str, Any]] = []

    def __enter__(self) -> Spans:
        functions: dict[int, tuple[Any, Any]] = {}
        for phase, targets in self.targets.items():
            for target in targets:
                if isinstance(target, tuple):
                    kind, name = target
                    self._methods.append((kind, name, vars(kind)[name]))
                    setattr(kind, name, self._timed(vars(kind)[name], phase))
                else:
                    functions[id(target)] = (target, self._timed(target, phase))
        self._made = {id(timed): (timed, fn) for fn, timed in functions.values()}
        _replace(functions)
        self._mark = time.perf_counter_ns()
        return self

    def __exit__(self, *_: object) -> None:
        for kind, name, fn in reversed(self._methods):
            setattr(kind, name, fn)
        _replace(self._made)  # also where a file loaded meanwhile has found one

    def _timed(self, fn: Callable[..., Any], phase: str) -> Callable[..., Any]:
        @functools.wraps(fn)
        def call(*args: Any, **kwargs: Any) -> Any:
            self._charge()
            self._open.append(phase)
            try:
                return fn(*args, **kwargs)
            finally:
                self._charge()
                self._open.pop()

        return call

    def _charge(self) -> None:
        now = time.perf_counter_ns()
        phase = self._open[-1]
        self.ns[phase] = self.ns.get(phase, 0) + now - self._mark
        self._mark = now

    def start(self) -> None:
        """What comes now is counted."""
        self.ns.clear()
        self._mark = time.perf_counter_ns()

    def take(self) -> dict[str, int]:
        """The nanoseconds of each phase since `start()`."""
        self._charge()
        return dict(self.ns)


def _replace(functions: Mapping[int, tuple[Any, Any]]) -> None:
    """Puts others in the place of functions wherever a module of the package refers to them; `functions`: by id, both."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] != "graphc" or module is None:
            continue
        for key, value in list(vars(module).items()):
            found = functions.get(id(value))
            if found is not None and found[0] is value:
                setattr(module, key, found[1])
