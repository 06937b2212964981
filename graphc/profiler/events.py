"""What a profiler has seen: events, their averages by name, and both as text and as a trace that browsers show."""

from __future__ import annotations

import gzip
import json
import operator
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from graphc.core.errors import ArgumentError


@dataclass
class FunctionEvent:
    """One call: its name, thread, start and end in nanoseconds, and how long it was in calls that were seen too.

    `since`: from when on it is in the call around it; later than `start` where the one it began in has ended.
    """

    name: str
    thread: int
    start: int
    end: int = 0
    inner: int = 0
    since: int = 0
    depth: int = 0
    input_shapes: list[Any] = field(default_factory=list)

    key = property(lambda self: self.name)
    count = 1

    @property
    def cpu_time_total(self) -> float:
        """Microseconds from its start to its end."""
        return (self.end - self.start) / 1e3

    @property
    def self_cpu_time_total(self) -> float:
        """Microseconds outside of the calls in it that were seen too."""
        return (self.end - self.start - self.inner) / 1e3

    cpu_time = cpu_time_total


@dataclass
class FunctionEventAvg:
    """All calls of one name (and, if asked, one set of shapes). Times are in microseconds."""

    key: str
    count: int = 0
    cpu_time_total: float = 0.0
    self_cpu_time_total: float = 0.0
    input_shapes: list[Any] = field(default_factory=list)
    depth: int = 0

    #: work on a device is part of the calls that wait for it
    device_time_total = self_device_time_total = cuda_time_total = self_cuda_time_total = 0.0

    @property
    def cpu_time(self) -> float:
        """Microseconds of a call, on average."""
        return self.cpu_time_total / self.count if self.count else 0.0

    def add(self, event: FunctionEvent) -> None:
        """Counts one more call."""
        self.count += 1
        self.cpu_time_total += event.cpu_time_total
        self.self_cpu_time_total += event.self_cpu_time_total


def _time(us: float) -> str:
    return f"{us / 1e6:.3f}s" if us >= 1e6 else f"{us / 1e3:.3f}ms" if us >= 1e3 else f"{us:.3f}us"


class EventList(list[Any]):
    """Events, or averages of them."""

    @property
    def self_cpu_time_total(self) -> float:
        """Microseconds in all."""
        return float(sum(event.self_cpu_time_total for event in self))

    def key_averages(self, group_by_input_shape: bool = False, group_by_stack_n: int = 0) -> EventList:
        """One entry for each name (and shapes)."""
        found: dict[Any, FunctionEventAvg] = {}
        for event in self:
            shapes = event.input_shapes if group_by_input_shape else []
            key = (event.name, repr(shapes))
            found.setdefault(key, FunctionEventAvg(event.name, input_shapes=shapes)).add(event)
        return EventList(found.values())

    def total_average(self) -> FunctionEventAvg:
        """All calls as one entry."""
        total = FunctionEventAvg("Total")
        for event in self:
            total.count += event.count
            total.self_cpu_time_total += event.self_cpu_time_total
        total.cpu_time_total = total.self_cpu_time_total
        return total

    def table(
        self,
        sort_by: str | None = None,
        row_limit: int = 100,
        max_src_column_width: int = 75,
        max_name_column_width: int = 55,
        max_shapes_column_width: int = 80,
        header: str | None = None,
        top_level_events_only: bool = False,
    ) -> str:
        """The entries as a table, the largest of `sort_by` first; ArgumentError for what they have not."""
        rows = [e for e in self if not top_level_events_only or not e.depth]
        if sort_by is not None:
            if rows and not hasattr(rows[0], sort_by):
                raise ArgumentError(
                    f"a profile cannot be sorted by {sort_by!r}", "cpu_time_total, self_cpu_time_total or count"
                )
            rows.sort(key=operator.attrgetter(sort_by), reverse=True)
        whole = self.self_cpu_time_total or 1.0
        names = ("Name", "Self CPU %", "Self CPU", "CPU total %", "CPU total", "CPU time avg", "# of Calls")
        lines = [
            (e.key[:max_name_column_width], f"{100 * e.self_cpu_time_total / whole:.2f}%", _time(e.self_cpu_time_total),
             f"{100 * e.cpu_time_total / whole:.2f}%", _time(e.cpu_time_total), _time(e.cpu_time), str(e.count),
             *([str(e.input_shapes)[:max_shapes_column_width]] if e.input_shapes else []))
            for e in (rows if row_limit < 0 else rows[:row_limit])
        ]  # fmt: skip
        if any(len(line) > len(names) for line in lines):
            names = (*names, "Input Shapes")  # type: ignore[assignment]
        lines = [(*line, *[""] * (len(names) - len(line))) for line in lines]
        widths = [max(len(row[i]) for row in (names, *lines)) for i in range(len(names))]
        rule = "  ".join("-" * w for w in widths)
        text = ["  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in (names, *lines)]
        head, total = [header] if header else [], f"Self CPU time total: {_time(self.self_cpu_time_total)}"
        return "\n".join([*head, rule, text[0], rule, *text[1:], rule, total, ""])

    def __str__(self) -> str:
        return self.table()

    def export_chrome_trace(self, path: str | os.PathLike[str]) -> None:
        """Writes the events for chrome://tracing or Perfetto; compressed if the name ends in .gz."""
        write_trace(path, self)


def write_trace(
    path: str | os.PathLike[str], events: Iterable[FunctionEvent], metadata: dict[str, str] | None = None
) -> None:
    """Writes events in the trace event format."""
    pid = os.getpid()
    listed = [
        {"ph": "X", "cat": "cpu_op", "name": e.name, "pid": pid, "tid": e.thread, "ts": e.start / 1e3, "dur": e.cpu_time_total,
         "args": {"Input Dims": e.input_shapes} if e.input_shapes else {}}
        for e in events
    ]  # fmt: skip
    text = json.dumps({"schemaVersion": 1, "traceEvents": listed, **(metadata or {})})
    if str(path).endswith(".gz"):
        with gzip.open(path, "wt") as out:
            out.write(text)
    else:
        Path(path).write_text(text)


__all__ = ["EventList", "FunctionEvent", "FunctionEventAvg", "write_trace"]
