"""`torch.autograd.profiler`: the older names of `torch.profiler`."""

from __future__ import annotations

from typing import Any

from graphc.core.errors import BackendError
from graphc.profiler import ProfilerActivity, record_function
from graphc.profiler import profile as _profile
from graphc.profiler.events import EventList, FunctionEvent, FunctionEventAvg


class profile:  # noqa: N801
    """Sees every call within; see `torch.profiler.profile`. With `use_cuda` each call waits for what it has started."""

    def __init__(
        self,
        enabled: bool = True,
        *,
        use_cuda: bool = False,
        use_device: str | None = None,
        record_shapes: bool = False,
        **_: Any,
    ):
        self.enabled, self.record_shapes = enabled, record_shapes
        waits = use_cuda or use_device is not None
        activities = {ProfilerActivity.CPU} | ({ProfilerActivity.CUDA} if waits else set())
        self._profile = _profile(activities=activities, record_shapes=record_shapes)
        self._ended = False

    def __enter__(self) -> Any:
        if self.enabled:
            self._profile.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.enabled:
            self._profile.stop()
            self._ended = True

    @property
    def function_events(self) -> EventList:
        """The calls; BackendError before the block has ended."""
        if not self._ended:
            raise BackendError("Profiler didn't finish running")
        return self._profile.events()

    def key_averages(self, group_by_input_shape: bool = False, group_by_stack_n: int = 0, **_: Any) -> EventList:
        """One entry for each name (and shapes)."""
        return self.function_events.key_averages(group_by_input_shape)

    def total_average(self) -> FunctionEventAvg:
        """All calls as one entry."""
        return self.function_events.total_average()

    def table(self, sort_by: str | None = None, row_limit: int = 100, **options: Any) -> str:
        """The calls as a table."""
        return self.function_events.table(sort_by, row_limit, **options)

    @property
    def self_cpu_time_total(self) -> float:
        """Microseconds in all."""
        return self.function_events.self_cpu_time_total

    def export_chrome_trace(self, path: str) -> None:
        """Writes the calls for chrome://tracing or Perfetto."""
        self.function_events.export_chrome_trace(path)

    def __str__(self) -> str:
        return self.table()


__all__ = ["EventList", "FunctionEvent", "FunctionEventAvg", "profile", "record_function"]
