"""A profile: its data, its text, and its trace for browsers."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby, pairwise
from pathlib import Path
from typing import Any

from graphc.planning.costs import duration, quantity
from graphc.planning.descriptions import Data
from graphc.profiler.lines import CONTAINERS, LineEvent
from graphc.profiler.tallies import Call, Step, Tally, roles_of

#: Rows of each table that `str()` shows; `.data` has all.
MOST_LINES, MOST_STEPS = 20, 24
_LONGEST = 60


class Profile:
    """Measured times of a step by source line and by kernel. `data`: plain dicts; `result`: what the last call returned.

    `data` has mode (eager, compiled or session), what, backend, calls; ns_per_call and all below are means over the calls in
    the middle quarter by time. steps: kernels of plans and what eager code did, each with ops, lines, modules, roles (forward,
    backward, update), ns, and where they are known flops, bytes and floor_ns, what it takes at least at this machine's
    measured rates. lines: file, line, text, modules, ops, steps (ids), ns, backward_ns (what its gradient took of that),
    share, flops, bytes. outside_ns: what calling costs, Python between the lines' calls, and what belongs to no line; it and
    the lines' ns add up to ns_per_call. overhead: a call's nanoseconds with and without all of this.
    """

    def __init__(self, data: Data, tally: Tally, result: Any = None):
        self.data, self.result = data, result
        self._tally = tally

    def __str__(self) -> str:
        return "\n".join(_text(self.data))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def export_chrome_trace(self, path: str | os.PathLike[str]) -> None:
        """Writes every measured call for chrome://tracing or ui.perfetto.dev: calls, phases, steps and lines, one in the other.

        Of kernels only durations are measured: they are drawn one after the other, those of a loop as one.
        """
        Path(path).write_text(json.dumps(_trace(self.data, self._tally)))


# --- text --------------------------------------------------------------------------------------------------------------


def _text(data: Data) -> Iterator[str]:
    over, whole = data["overhead"], data["ns_per_call"]
    yield f"profile of {data['what']}: {data['mode']}, backend {data['backend']}, {data['calls']} calls"
    yield (
        f"{duration(whole)} a call; without the profiler {duration(over['unprofiled_ns'])}, "
        f"so measuring costs {max(0.0, 100 * (over['profiled_ns'] / max(over['unprofiled_ns'], 1) - 1)):.0f} %"
    )
    yield ""
    rows = [
        (f"{100 * x['share']:.1f} %", duration(x["ns"]), duration(x["backward_ns"]) if x["backward_ns"] else "",
         f"{x['file']}:{x['line']}", cut(x["text"]))
        for x in data["lines"][:MOST_LINES]
    ]  # fmt: skip
    outside = data["outside_ns"]
    rows.append((f"{100 * outside / whole:.1f} %" if whole else "", duration(outside), "", "outside of all lines", ""))
    yield from table(("share", "time", "backward", "line", ""), rows)
    if len(data["lines"]) > MOST_LINES:
        yield f"and {len(data['lines']) - MOST_LINES} lines more"
    yield ""
    steps = sorted((x for x in data["steps"] if x["ns"]), key=lambda x: -x["ns"])
    yield from table(
        ("step", "time", "at least", "work", "kind", "what", "lines"), [_step_row(x) for x in steps[:MOST_STEPS]]
    )
    if len(steps) > MOST_STEPS:
        yield f"and {len(steps) - MOST_STEPS} steps more, {duration(sum(x['ns'] for x in steps[MOST_STEPS:]))}"


def _step_row(x: Data) -> tuple[str, ...]:
    floor = "" if x["floor_ns"] is None else duration(x["floor_ns"])
    work = "" if x["flops"] is None else f"{quantity(x['flops'], 'FLOP')}, {quantity(x['bytes'], 'B')}"
    return x["id"], duration(x["ns"]), floor, work, x["kind"], cut(x["title"]), cut(", ".join(x["lines"]))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows with their columns under each other."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    right = {i for i, name in enumerate(head) if name in ("share", "time", "backward", "at least", "bytes")}
    for row in (head, *rows):
        cells = (
            cell.rjust(n) if i in right else cell.ljust(n) for i, (cell, n) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def cut(text: str) -> str:
    """A text that is not too long for a table."""
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


# --- trace -------------------------------------------------------------------------------------------------------------


def _trace(data: Data, tally: Tally) -> Data:
    """Complete events in the trace event format: microseconds from the first call on."""
    pid, zero = os.getpid(), min(call.start for call in tally.calls)
    head = {"pid": pid, "tid": 1}
    events: list[Data] = [
        {"ph": "M", "name": "process_name", **head, "args": {"name": f"graphc {data['mode']}, {data['backend']}"}},
        {"ph": "M", "name": "thread_name", **head, "args": {"name": data["what"]}},
    ]
    roles = roles_of(tally.steps)
    for n, call in enumerate(tally.calls, 1):
        found = [("call", f"call {n}", call.start, call.end, {}), *_call(call, tally, roles)]
        events += [
            {"ph": "X", "cat": kind, "name": name, **head, "ts": (start - zero) / 1e3, "dur": (end - start) / 1e3, "args": args}
            for kind, name, start, end, args in found
        ]  # fmt: skip
    return {"traceEvents": events, "displayTimeUnit": "ns", "otherData": {"made by": "graphc"}}


_Event = tuple[str, str, int, int, Data]


def _call(call: Call, tally: Tally, roles: dict[Step, str]) -> Iterator[_Event]:
    """What is in a call: phases, the steps in them, the lines in these."""
    noted = sorted(call.events, key=lambda e: (e.start, e.depth))
    outer = [e for e in noted if not e.depth]
    for phase, group in groupby(outer, lambda e: _phase(e)):
        members = list(group)
        if phase:
            yield "phase", phase, members[0].start, members[-1].end, {}
    for event in noted:
        kernels = [(step, ns) for step, ns in tally.kernels(event) if ns]
        step = None if event.is_calling else tally.step_of(event)
        args = {"kind": event.kind} | ({} if not event.origin.line else {"line": str(event.origin)})
        yield "step", event.name, event.start, event.end, args | ({} if step is None else {"step": step.id})
        if kernels:
            yield from _kernels(event, kernels, roles)
        elif event.origin.line and event.kind not in CONTAINERS:
            yield "line", str(event.origin), event.start, event.end, {"module": event.origin.module}


def _phase(event: LineEvent) -> str:
    """The phase of an outermost call, "" for calls of compiled code, in which there are several."""
    if event.is_calling:
        return ""
    return "backward" if event.kind == "backward" else event.origin.role


def _kernels(event: LineEvent, kernels: Sequence[tuple[Step, int]], roles: dict[Step, str]) -> Iterator[_Event]:
    """Kernels one after the other, in their phases; drawn shorter where they took longer together than the call."""
    scale = min(1.0, (event.end - event.start) / max(sum(ns for _, ns in kernels), 1))
    ends = [event.start, *(event.start + int(scale * n) for n in accumulate(ns for _, ns in kernels))]
    places = zip(kernels, pairwise(ends), strict=True)
    for role, group in groupby(places, lambda x: roles[x[0][0]]):
        members = list(group)
        yield "phase", role, members[0][1][0], members[-1][1][1], {}
        for (step, ns), (start, end) in members:
            yield "step", step.title, start, end, {"step": step.id, "kind": step.kind, "ns": ns}
            yield from _shares(step, start, end)


def _shares(step: Step, start: int, end: int) -> Iterator[_Event]:
    """The lines of a kernel, one after the other."""
    whole = accumulate((share.part for share in step.shares), initial=0.0)
    borders = pairwise(start + int(min(part, 1.0) * (end - start)) for part in whole)
    for share, (begin, until) in zip(step.shares, borders, strict=True):
        if share.origin is not None:
            args = {"op": share.op, "module": share.origin.module, "role": share.origin.role}
            yield "line", str(share.origin), begin, until, args


__all__ = ["Profile", "cut", "table"]
