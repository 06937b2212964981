"""Which bytes are alive when: eager's over one call, and the plan's while each step runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.contrast.kernels import Box
from graphc.contrast.sources import Sources
from graphc.contrast.watching import MemoryEvent
from graphc.ir.program import Value
from graphc.ir.text import value_names
from graphc.planning import descriptions
from graphc.planning.descriptions import Data
from graphc.planning.native_plan import NativePlan
from graphc.planning.plan import nbytes_of
from graphc.profiler.estimates import node_timeline


def eager_data(events: Sequence[MemoryEvent], sources: Sources) -> list[Data]:
    """The live bytes after each event, beside what was there before the call."""
    found: list[Data] = []
    live = 0
    for n, event in enumerate(events):
        live += event.change
        found.append(
            {"event": n, "bytes": live, "change": event.change, "line": sources.line(event.origin), "op": event.op}
        )
    return found


def plan_data(executable: Any, boxes: Sequence[Box], sources: Sources, ids: Any) -> tuple[list[Data], list[Data]]:
    """The live bytes while each step runs, outputs included, and the buffers of the arena."""
    plan = executable.plan
    said = executable.describe()["memory"] if hasattr(executable, "describe") else _native_memory(plan)
    lives = [(slot["offset"], life) for slot in said["arena"] for life in slot["values"]]
    if isinstance(plan, NativePlan):
        made = _outputs_made(plan)
        live = [_native_bytes(box, lives, made) + said.get("working_bytes", 0) for box in boxes]
    else:
        timeline = node_timeline(plan)
        live = [timeline[box.region]["live_bytes"] for box in boxes]
    steps = [
        {"step": n, "kernel": box.id, "bytes": nbytes} for n, (box, nbytes) in enumerate(zip(boxes, live, strict=True))
    ]
    return steps, _buffers(plan, boxes, lives, sources, ids)


def _native_memory(plan: NativePlan) -> Data:
    found: Data = descriptions.describe_native(plan, {})["memory"]
    return found


def _native_bytes(box: Box, lives: Sequence[tuple[int, Data]], made: Sequence[tuple[int, int]]) -> int:
    live = sum(life["bytes"] for _, life in lives if life["first"] <= box.region <= life["last"])
    return int(live + sum(nbytes for first, nbytes in made if first <= box.region))


def _outputs_made(plan: NativePlan) -> list[tuple[int, int]]:
    """From which region on each output that has memory of its own is there, and its bytes."""
    found: dict[Any, int] = {}
    for n, region in enumerate(plan.regions):
        for step in region:
            for x in step.made:
                found.setdefault(getattr(x, "output", x), n)
    return [
        (found.get(k, found.get(v, 0)), nbytes_of(v.type))
        for k, v in enumerate(plan.program.outputs)
        if k not in plan.in_place
    ]


def _buffers(
    plan: Any, boxes: Sequence[Box], lives: Sequence[tuple[int, Data]], sources: Sources, ids: Any
) -> list[Data]:
    """What lies in the arena, by name: the id of the node that makes it (".1" for its second result), or what it is."""
    values = {name: value for value, name in value_names(plan.program).items()}
    found: list[Data] = []
    for at, life in lives:
        own = [values[name] for name in life["name"].split(" then ") if name in values]
        name = "; ".join(_named(x, ids) for x in own) or life["name"]
        origins = [origin for x in own for origin in x.node.origins]
        first = next((n for n, box in enumerate(boxes) if box.region >= life["first"]), 0)
        last = next((n for n, box in reversed(list(enumerate(boxes))) if box.region <= life["last"]), 0)
        found.append(
            {
                "name": name,
                "bytes": life["bytes"],
                "first": first,
                "last": last,
                "lines": sources.lines(origins),
                "at": at,
            }
        )
    for x in found:
        end = x["at"] + x["bytes"]
        x["shares_with"] = [y["name"] for y in found if y is not x and y["at"] < end and x["at"] < y["at"] + y["bytes"]]
    return found


def _named(value: Value, ids: Any) -> str:
    return ids[value.node] + (f".{value.index}" if value.index else "")
