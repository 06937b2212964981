"""From noted calls to the times of steps and of source lines.

A step is a kernel (library call, copy, ...) of a plan, or what eager code does at one line: a function, a gradient rule, an
optimizer's step, and what a module or `backward()` does besides. A step that computes nodes of several lines is shared among
them by what each node by itself costs, FLOPs and bytes added up; if none costs anything, alike. A node that several lines
asked for is done for the first of them.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphc.core.errors import show_file
from graphc.ir.program import Origin
from graphc.planning.descriptions import Data
from graphc.profiler.lines import LineEvent

#: What a step of so many FLOPs and bytes, and of a dtype, takes at least.
Floor = Callable[[int, int, str], int]


@dataclass(frozen=True)
class Share:
    """The part of a step's time that is due to one op of one line; `origin` is None where no line is known."""

    origin: Origin | None
    op: str
    part: float


@dataclass(eq=False)
class Step:
    """A step, and its nanoseconds in each call. `flops`, `bytes` and `floor_ns` are those of all turns, if that is known."""

    id: str
    kind: str
    title: str
    ops: list[str]
    shares: list[Share]
    flops: int | None = None
    bytes: int | None = None
    floor_ns: int | None = None
    turns: int | None = 1
    #: whether the branch that it is in is taken, as far as is known; None outside of branches
    taken: bool | None = None
    ns: dict[int, int] = field(default_factory=dict)

    @property
    def origins(self) -> list[Origin]:
        """Where its ops come from."""
        return list(dict.fromkeys(share.origin for share in self.shares if share.origin is not None))

    def leave_out(self) -> None:
        """It is in a branch that is not taken."""
        self.flops, self.bytes, self.floor_ns = (n if n is None else 0 for n in (self.flops, self.bytes, self.floor_ns))


@dataclass
class Call:
    """One measured call: when it began and ended, and what was noted in it."""

    start: int
    end: int
    events: list[LineEvent]


class Tally:
    """The steps of some calls. `floor_of(executable)`: what steps that it runs take at least."""

    def __init__(self, calls: Sequence[Call], floor_of: Callable[[Any], Floor]):
        self.calls, self.floor_of = calls, floor_of
        self.steps: dict[Any, Step] = {}
        self._plans: dict[int, list[Step]] = {}
        for n, call in enumerate(calls):
            for event in sorted(call.events, key=lambda e: e.start):
                self._add(n, event)
        for step in self.steps.values():
            if step.taken is not None and not any(step.ns.values()):
                step.leave_out()

    def _add(self, n: int, event: LineEvent) -> None:
        for step, ns in self.kernels(event):
            step.ns[n] = step.ns.get(n, 0) + ns
        if not event.is_calling:
            step = self.step_of(event)
            step.ns[n] = step.ns.get(n, 0) + event.own

    def step_of(self, event: LineEvent) -> Step:
        """The step that a call in eager code is."""
        key = event.kind, event.name, event.origin
        found = self.steps.get(key)
        if found is None:
            kind = "gradient" if event.kind == "compiled gradient" else event.kind
            ops = [event.name] if kind in ("function", "gradient") else []
            share = Share(event.origin if event.origin.line else None, event.name, 1.0)
            number = sum(step.id[0] == "E" for step in self.steps.values()) + 1
            found = self.steps[key] = Step(f"E{number}", kind, event.name, ops, [share])
        return found

    def kernels(self, event: LineEvent) -> Iterator[tuple[Step, int]]:
        """The kernels that ran in a call, with their times."""
        for executable, times in event.kernels:
            yield from (
                (step, ns) for step, ns in zip(self._plan(executable, len(times)), times, strict=True) if ns or step.ns
            )

    def _plan(self, executable: Any, n: int) -> list[Step]:
        found = self._plans.get(id(executable))
        if found is None:
            kernels = sum(step.id[0] == "K" for step in self.steps.values())
            described, floor = executable.describe()["steps"], self.floor_of(executable)
            found = self._plans[id(executable)] = planned_steps(described, floor, kernels)
            assert len(found) == n, "an executable tells the times of other steps than it describes"
            self.steps.update((step, step) for step in found)
        return found


def planned_steps(described: Sequence[Data], floor: Floor, before: int = 0, unknown: int | None = None) -> list[Step]:
    """The steps of a described plan, in the order in which executables tell their times; `before`: how many there are;
    `unknown`: the turns that are counted where only a run knows them."""
    planned = enumerate(_planned(described, unknown), before + 1)
    return [_planned_step(f"K{n}", *x, floor) for n, x in planned]


def _planned_step(name: str, data: Data, turns: int | None, taken: bool | None, floor: Floor) -> Step:
    title = " ".join(data["ops"]) if data["ops"] else data["kind"]
    step = Step(name, data["kind"], title, data["ops"], shares_of(data), turns=turns, taken=taken)
    if turns is not None and "bodies" not in data:
        step.flops, step.bytes = turns * data["cost"]["flops"], turns * _bytes(data)
        step.floor_ns = turns * floor(data["cost"]["flops"], _bytes(data), dtype_made(data))
    return step


def _bytes(data: Data) -> int:
    return int(data["cost"]["bytes_read"] + data["cost"]["bytes_written"])


def dtype_made(data: Data) -> str:
    """The dtype of what a described step makes, by its short name: `f32`."""
    made = data["makes"][0]["type"] if data["makes"] else ""
    return str(made.partition("[")[0])


def _planned(
    steps: Sequence[Data], unknown: int | None, turns: int | None = 1, taken: bool | None = None
) -> Iterator[tuple[Data, int | None, bool | None]]:
    """Described steps in the order in which executables tell their times, with how often each is done, None: nobody knows;
    and of those in branches whether these are the dearer ones."""
    for data in steps:
        yield data, turns, taken
        bodies = data.get("bodies", {})
        dearer = max(bodies, key=lambda name: _cost(bodies[name])) if "true" in bodies else None
        for name, body in bodies.items():
            often = data.get("turns", unknown) if dearer is None else 1
            product = None if turns is None or often is None else turns * often
            yield from _planned(
                body, unknown, product, taken if dearer is None else name == dearer and taken is not False
            )


def _cost(steps: Sequence[Data]) -> tuple[int, int]:
    """FLOPs and bytes of a body, by which the dearer of two is found."""
    return sum(data["cost"]["flops"] for data in steps), sum(map(_bytes, steps))


def shares_of(data: Data) -> list[Share]:
    """How the time of a described step is shared among its nodes and their lines."""
    nodes = data["nodes"]
    weights = [float(node["flops"] + node["bytes"]) for node in nodes]
    if not sum(weights):
        weights = [1.0] * len(nodes)
    found: dict[tuple[Origin | None, str], float] = {}
    for node, weight in zip(nodes, weights, strict=True):
        origin = next((Origin(**at) for at in node["at"] if at["line"]), None)
        key = origin, node["op"]
        found[key] = found.get(key, 0.0) + weight / sum(weights)
    return [Share(origin, op, part) for (origin, op), part in found.items()] or [Share(None, data["kind"], 1.0)]


# --- data --------------------------------------------------------------------------------------------------------------


def steps_data(steps: Sequence[Step], kept: Sequence[int]) -> list[Data]:
    """Each step with its mean time over the calls `kept`."""
    return [
        {
            "id": step.id, "kind": step.kind, "title": step.title, "ops": step.ops,
            "lines": list(dict.fromkeys(map(str, step.origins))),
            "modules": list(dict.fromkeys(o.module for o in step.origins if o.module)),
            "roles": list(dict.fromkeys(o.role for o in step.origins)),
            "ns": round(mean(step, kept)), "flops": step.flops, "bytes": step.bytes, "floor_ns": step.floor_ns,
        }
        for step in steps
    ]  # fmt: skip


def mean(step: Step, kept: Sequence[int]) -> float:
    """Nanoseconds of a step in a call."""
    return sum(step.ns.get(n, 0) for n in kept) / len(kept)


def lines_data(steps: Sequence[Step], kept: Sequence[int], whole: int) -> list[Data]:
    """The lines, that of the most time first. `whole`: nanoseconds of a call."""
    found: dict[tuple[str, int], Data] = {}
    for step in steps:
        ns = mean(step, kept)
        for share in step.shares:
            if share.origin is not None:
                _add_share(found, step, share, ns)
    for data in found.values():
        data["ns"], data["backward_ns"] = round(data["ns"]), round(data["backward_ns"])
        data["share"] = data["ns"] / whole if whole else 0.0
        for key in ("flops", "bytes"):
            data[key] = None if data[key] is None else round(data[key])
    return sorted(found.values(), key=lambda data: -data["ns"])


def _add_share(found: dict[tuple[str, int], Data], step: Step, share: Share, ns: float) -> None:
    """Adds one op's part of a step to its line."""
    origin = share.origin
    assert origin is not None
    data = found.setdefault((origin.file, origin.line), _new_line(origin))
    for key, word in (("modules", origin.module), ("ops", share.op if step.ops else ""), ("steps", step.id)):
        if word and word not in data[key]:
            data[key].append(word)
    data["ns"] += ns * share.part
    data["backward_ns"] += ns * share.part * (origin.role == "backward")
    for key, amount in (("flops", step.flops), ("bytes", step.bytes)):
        if amount is not None:
            data[key] = (data[key] or 0) + amount * share.part


def _new_line(origin: Origin) -> Data:
    return {
        "file": show_file(origin.file), "line": origin.line, "text": linecache.getline(*origin[:2]).strip(),
        "modules": [], "ops": [], "steps": [], "ns": 0.0, "backward_ns": 0.0, "share": 0.0, "flops": None, "bytes": None,
    }  # fmt: skip


def roles_of(steps: Mapping[Any, Step]) -> dict[Step, str]:
    """What each step is for: the role with the largest share."""
    found = {}
    for step in steps.values():
        parts: dict[str, float] = {}
        for share in step.shares:
            role = "other" if share.origin is None else share.origin.role
            parts[role] = parts.get(role, 0.0) + share.part
        found[step] = max(parts, key=lambda role: parts[role])
    return found


__all__ = [
    "Call",
    "Share",
    "Step",
    "Tally",
    "lines_data",
    "mean",
    "planned_steps",
    "roles_of",
    "shares_of",
    "steps_data",
]
