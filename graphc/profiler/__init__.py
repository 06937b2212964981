"""`torch.profiler`: times of eager functions, gradient rules, compiled functions, sessions and optimizer steps."""

from __future__ import annotations

import functools
import os
import socket
import time
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

from graphc.core.errors import BackendError
from graphc.profiler.events import EventList, FunctionEvent, write_trace
from graphc.profiler.watching import Watch


class ProfilerActivity(Enum):
    """What is to be seen. With CUDA (or XPU), each call waits for what it has started on a device."""

    CPU, XPU, CUDA = 0, 1, 2


class ProfilerAction(Enum):
    """What a step is for."""

    NONE, WARMUP, RECORD, RECORD_AND_SAVE = 0, 1, 2, 3


def schedule(
    *, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0, skip_first_wait: int = 0
) -> Callable[[int], ProfilerAction]:
    """What each step is for: so many to skip, then rounds of some to wait for, some to warm up and some to record."""
    assert wait >= 0 and warmup >= 0 and active > 0 and repeat >= 0 and skip_first >= 0, (
        "Invalid profiler schedule arguments"
    )

    def action(step: int) -> ProfilerAction:
        assert step >= 0
        if step < skip_first:
            return ProfilerAction.NONE
        step -= skip_first
        if skip_first_wait:
            step += wait
        size = wait + warmup + active
        if repeat and step // size >= repeat:
            return ProfilerAction.NONE
        at = step % size
        if at < wait:
            return ProfilerAction.NONE
        if at < wait + warmup:
            return ProfilerAction.WARMUP
        return ProfilerAction.RECORD if at < size - 1 else ProfilerAction.RECORD_AND_SAVE

    return action


def tensorboard_trace_handler(
    dir_name: str, worker_name: str | None = None, use_gzip: bool = False
) -> Callable[[Any], None]:
    """For `on_trace_ready`: writes each trace into a folder, under a name that TensorBoard's profiler plugin finds."""

    def write(prof: Any) -> None:
        os.makedirs(dir_name, exist_ok=True)
        worker = worker_name or f"{socket.gethostname()}_{os.getpid()}"
        name = f"{worker}.{time.time_ns()}.pt.trace.json" + (".gz" if use_gzip else "")
        prof.export_chrome_trace(os.path.join(dir_name, name))

    return write


def supported_activities() -> set[ProfilerActivity]:
    """What can be asked for."""
    return {ProfilerActivity.CPU, ProfilerActivity.CUDA}


class profile:  # noqa: N801
    """Sees every call within, or those of the steps that `schedule` names, each ended by `step()`.

    `on_trace_ready(self)` is called when a round of steps, or all of it, was recorded. `record_shapes` notes the shapes of
    arguments. `profile_memory`, `with_stack`, `with_flops`, `with_modules` and the rest are PyTorch's and change nothing.
    """

    def __init__(
        self,
        *,
        activities: Iterable[ProfilerActivity] | None = None,
        schedule: Callable[[int], ProfilerAction] | None = None,
        on_trace_ready: Callable[[Any], Any] | None = None,
        record_shapes: bool = False,
        profile_memory: bool = False,
        with_stack: bool = False,
        with_flops: bool = False,
        with_modules: bool = False,
        experimental_config: Any = None,
        execution_trace_observer: Any = None,
        acc_events: bool = False,
        use_cuda: bool | None = None,
        **_: Any,
    ):
        self.activities = set(activities) if activities is not None else supported_activities()
        self.schedule = schedule or (lambda _: ProfilerAction.RECORD)
        self.with_steps = schedule is not None
        self.on_trace_ready = on_trace_ready
        self.record_shapes, self.acc_events = record_shapes, acc_events
        self.step_num = 0
        self.current_action = self.schedule(0)
        self._metadata: dict[str, str] = {}
        self._watch: Watch | None = None
        self._events: list[FunctionEvent] = []
        self._step: FunctionEvent | None = None

    def __enter__(self) -> Any:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begins with the first step."""
        self._move(ProfilerAction.NONE, self.current_action)

    def stop(self) -> None:
        """Ends; what was being recorded is ready."""
        self._move(self.current_action, ProfilerAction.NONE)

    def step(self) -> None:
        """Ends a step and begins the next."""
        before, self.step_num = self.current_action, self.step_num + 1
        self.current_action = self.schedule(self.step_num)
        self._move(before, self.current_action)

    def _move(self, before: ProfilerAction, now: ProfilerAction) -> None:
        recorded, records = (a in (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE) for a in (before, now))
        if self._step is not None and self._watch is not None:
            self._watch.end(self._step)
            self._step = None
        if recorded and (not records or before is ProfilerAction.RECORD_AND_SAVE):
            self._finish()
        if records:
            if self._watch is None:
                self._watch = Watch(self.record_shapes, ProfilerActivity.CUDA in self.activities)
                self._watch.start()
            if self.with_steps or self.step_num:
                self._step = self._watch.begin(f"ProfilerStep#{self.step_num}")

    def _finish(self) -> None:
        if self._watch is None:
            return
        self._watch.stop()
        self._events = [*self._events, *self._watch.events] if self.acc_events else self._watch.events
        self._watch = None
        if self.on_trace_ready is not None:
            self.on_trace_ready(self)

    def events(self) -> EventList:
        """The calls that were recorded last, in the order in which they began; none before any were."""
        seen = self._events if self._watch is None else self._watch.events
        return EventList(sorted(seen, key=lambda event: event.start))

    def key_averages(self, group_by_input_shape: bool = False, group_by_stack_n: int = 0, **_: Any) -> EventList:
        """One entry for each name (and shapes)."""
        return self.events().key_averages(group_by_input_shape)

    def export_chrome_trace(self, path: str) -> None:
        """Writes the calls for chrome://tracing or Perfetto; compressed if the name ends in .gz."""
        write_trace(path, self.events(), self._metadata)

    def export_stacks(self, path: str, metric: str = "self_cpu_time_total") -> None:
        """Raises BackendError: stacks are not noted."""
        raise BackendError("profiler.export_stacks: no stacks are noted; export_chrome_trace shows what called what")

    def add_metadata(self, key: str, value: str) -> None:
        """A word for the trace file."""
        self._metadata[key] = value

    add_metadata_json = add_metadata


class record_function:  # noqa: N801
    """Within, what a running profiler sees belongs to `name`. A context manager and a decorator."""

    def __init__(self, name: str, args: str | None = None):
        self.name = name
        self._open: list[tuple[Watch, FunctionEvent] | None] = []

    def __enter__(self) -> Any:
        watch = Watch.running
        self._open.append(None if watch is None else (watch, watch.begin(self.name)))
        return self

    def __exit__(self, *_: object) -> None:
        opened = self._open.pop()
        if opened is not None:
            opened[0].end(opened[1])

    def __call__(self, func: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(func)
        def call(*args: Any, **kwargs: Any) -> Any:
            with record_function(self.name):
                return func(*args, **kwargs)

        return call


__all__ = [
    "ProfilerAction", "ProfilerActivity", "profile", "record_function", "schedule", "supported_activities",
    "tensorboard_trace_handler",
]  # fmt: skip
