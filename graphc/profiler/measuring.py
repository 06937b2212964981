"""`gc.profile`: measures a function, module or session by source line and by kernel."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from graphc import build
from graphc.build import CompiledFunction
from graphc.core.config import config
from graphc.core.context import eagerly
from graphc.core.errors import ArgumentError, ArgumentTypeError, BackendError
from graphc.graphs import Graph
from graphc.profiler.lines import LineWatch, executables_of, memories_of
from graphc.profiler.profiles import Profile
from graphc.profiler.rates import rates_of
from graphc.profiler.tallies import Call, Tally, lines_data, steps_data
from graphc.session import Session

#: Calls in a row with the profiler on, or off.
_IN_A_ROW = 8

_TAKEN = "a function or module, compiled or not, or a Session"


@dataclass
class Subject:
    """What is measured. `run()` is one call."""

    what: str
    mode: str
    backend: str
    run: Callable[[], Any]


def profile(
    fn: Any, /, *args: Any, calls: int = 20, warmup: int = 3, backend: str | None = None, **kwargs: Any
) -> Profile:
    """Measures what `fn(*args, **kwargs)` takes, by source line, op and kernel, and what the measuring costs.

    fn: a function or module, which runs define-by-run, or compiled for `backend` if one is named; a compiled function or
    module; a Session, then the arguments are those of `run`: `profile(session, fetches, feed_dict)`. It is really called,
    `warmup` times, then `calls` times with and `calls` times without the profiler, up to eight of each in turn, each time
    with one call more when the profiler begins: parameters and random state move on as with so many calls.
    Eager functions, gradient rules and optimizers are timed from call to return and belong to the line of the user's that
    called them, gradient rules to the forward line that caused them; a module's or `backward()`'s own time belongs to the line
    of its call. Kernels are timed within real runs, wall time, those that run side by side by what each took; on devices by
    their own events. A kernel of several lines is shared among them by what its ops cost each by itself, FLOPs and bytes read
    and written added up. Other threads are not seen. Raises ArgumentTypeError for anything else, ArgumentError for less than
    one call, BackendError for a backend that cannot tell the time of its steps and while another profiler runs.
    """
    if not isinstance(calls, int) or not isinstance(warmup, int) or calls < 1 or warmup < 0:
        raise ArgumentError(f"profile: {calls} calls after {warmup} cannot be measured", "calls >= 1 and warmup >= 0")
    subject = _subject(fn, args, kwargs, backend)
    with eagerly():
        for _ in range(warmup):
            subject.run()
        watch, result = LineWatch(fn), None
        measured: list[Call] = []
        plain: list[int] = []
        for n in _rows(calls):
            for _ in range(n):
                plain.append(_plain_call(subject.run))
            with _watching(watch):
                subject.run()  # Python forgets its short cuts when functions are replaced
                _check_measurable(watch, subject)
                watch.follow_kernels()
                for _ in range(n):
                    result = _measured_call(subject.run, watch, measured)
    return _profile(subject, measured, plain, result)


def _subject(fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], backend: str | None) -> Subject:
    if isinstance(fn, Session):
        if fn.backend == "eager":
            raise BackendError("profile: the backend 'eager' of a session has no plan, whose steps could be timed")
        name = f"session of graph {fn.graph.name}"
        return Subject(name, "session", _agreed(name, backend, fn.backend), lambda: fn.run(*args, **kwargs))
    if not callable(fn) or isinstance(fn, Graph):
        raise ArgumentTypeError(f"cannot profile {type(fn).__name__}", f"{_TAKEN}; a graph runs in a Session")
    name, compiled = _name(fn), _compiled(fn)
    if compiled is not None:
        return Subject(name, "compiled", _agreed(name, backend, compiled), functools.partial(fn, *args, **kwargs))
    if backend is not None:
        run = build.compile(fn, backend=backend)
        return Subject(name, "compiled", _compiled(run) or backend, functools.partial(run, *args, **kwargs))
    return Subject(name, "eager", "eager", functools.partial(fn, *args, **kwargs))


def _agreed(name: str, asked: str | None, found: str) -> str:
    """The backend that something was compiled for; ArgumentError where another one is asked for."""
    if asked not in (None, found):
        raise ArgumentError(f"profile: {name} runs on the backend {found!r}, not on {asked!r}", "`backend` left out")
    return found


def _compiled(fn: Any) -> str | None:
    """The backend of a compiled function or module, or of a compiled method bound to its object; None for all others."""
    run = _inner(fn)
    return (run.backend or config.backend) if isinstance(run, CompiledFunction) else None


def _inner(fn: Any) -> Any:
    """What runs: the compiled function within a compiled module, or under a bound method."""
    if isinstance(fn, functools.partial):
        return _inner(fn.func)
    run = getattr(fn, "_run", None)
    return run if isinstance(run, CompiledFunction) else fn


def _name(fn: Any) -> str:
    run = _inner(fn)
    fn = run.fn if isinstance(run, CompiledFunction) else run
    return str(getattr(fn, "__qualname__", type(fn).__name__))


# --- calls -------------------------------------------------------------------------------------------------------------


class _watching:  # noqa: N801
    """Within, the watch sees what is called."""

    def __init__(self, watch: LineWatch):
        self.watch = watch

    def __enter__(self) -> None:
        self.watch.start()

    def __exit__(self, *_: object) -> None:
        self.watch.stop()


def _rows(calls: int) -> Iterator[int]:
    """How many calls are measured in a row, at least twice if there are more than two."""
    most = max(1, min(_IN_A_ROW, calls // 2))
    while calls > 0:
        yield min(most, calls)
        calls -= most


def _plain_call(run: Callable[[], Any]) -> int:
    start = time.perf_counter_ns()
    _wait_for(run())
    return time.perf_counter_ns() - start


def _wait_for(result: Any) -> None:
    """Waits until what makes a result on a device is done."""
    for memory in memories_of(result):
        memory.synchronize()


def _measured_call(run: Callable[[], Any], watch: LineWatch, measured: list[Call]) -> Any:
    watch.events, start = [], time.perf_counter_ns()
    result = run()
    _wait_for(result)
    watch.clock.wait()
    measured.append(Call(start, time.perf_counter_ns(), watch.events))
    for event in watch.events:
        event.settle()
    watch.events = []
    watch.follow_kernels()  # of what was built meanwhile
    return result


def _check_measurable(watch: LineWatch, subject: Subject) -> None:
    """BackendError where what is measured is all in a backend that cannot be."""
    executables = [x for run in (*watch.compiled.values(), *watch.sessions.values()) for x in executables_of(run)]
    if subject.mode != "eager" and not any(hasattr(x, "measured") for x in executables):
        raise BackendError(f"profile: the backend {subject.backend!r} cannot tell the time of its steps")


def _profile(subject: Subject, measured: list[Call], plain: list[int], result: Any) -> Profile:
    tally = Tally(measured, lambda executable: rates_of(_device_of(executable) or "llvm").floor_ns)
    times = [call.end - call.start for call in measured]
    kept = middle(times)
    whole = round(sum(times[n] for n in kept) / len(kept))
    steps = [*tally.steps.values()]
    lines = lines_data(steps, kept, whole)
    unprofiled = round(sum(plain[n] for n in middle(plain)) / len(kept))
    ran = {_device_of(x) for call in measured for event in call.events for x, _ in event.kernels}
    backend = subject.backend if subject.mode == "eager" else ", ".join(sorted(ran - {""})) or subject.backend
    data = {
        "mode": subject.mode, "what": subject.what, "backend": backend, "calls": len(measured), "ns_per_call": whole,
        "steps": steps_data(steps, kept), "lines": lines, "outside_ns": whole - sum(line["ns"] for line in lines),
        "overhead": {"unprofiled_ns": unprofiled, "profiled_ns": whole},
    }  # fmt: skip
    return Profile(data, tally, result)


def _device_of(executable: Any) -> str:
    """The kind of device that an executable runs on, "" for the processor."""
    return str(executable.device.kind) if hasattr(executable, "device") else ""


def middle(times: list[int]) -> list[int]:
    """The numbers of the calls in the middle quarter by time."""
    order = sorted(range(len(times)), key=lambda n: times[n])
    spare = 3 * len(order) // 8
    return order[spare : len(order) - spare]


__all__ = ["profile"]
