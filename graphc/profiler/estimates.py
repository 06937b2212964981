"""An estimate: what a plan will do, hold and take, as data and as text."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from graphc.core.errors import ArgumentError, ArgumentTypeError
from graphc.ir.program import Program, Value
from graphc.ir.text import value_names
from graphc.planning.costs import CYCLES_A_NANOSECOND, SMALLEST_SHARED, duration, kernel_cycles, quantity
from graphc.planning.descriptions import Data, describe_native, describe_plan, origins
from graphc.planning.memory import aligned
from graphc.planning.native_plan import INPUTS, NativePlan, every_step
from graphc.planning.plan import ARENA, FRESH, Plan, nbytes_of
from graphc.planning.steps import CheckStep, KernelStep
from graphc.profiler.profiles import cut, table
from graphc.profiler.rates import Rates
from graphc.profiler.tallies import Step, lines_data, planned_steps, steps_data

#: Rows of each table that `str()` shows, and tensors that `.data` names as the largest.
MOST_SHOWN, MOST_LARGEST = 12, 20
#: Lanes of a vector that the time of kernels is predicted with.
_LANES = 8
_UNITS = {
    "": 1,
    "K": 1000,
    "M": 1000**2,
    "G": 1000**3,
    "T": 1000**4,
    "KI": 1 << 10,
    "MI": 1 << 20,
    "GI": 1 << 30,
    "TI": 1 << 40,
}


class Estimate:
    """What a call will do, hold and take. `data`: plain dicts.

    `data` has what, backend, flops, bytes (read and written), predicted_ns, peak_bytes (what a run allocates: arena, outputs),
    needed_bytes (arguments, variables and constants too) and unknown_turns (lines of loops that run until something holds, of
    which one turn is counted); and for each of its programs (forward, and gradient of what is differentiated outside) the same,
    with steps and lines as a profile has them (ns is predicted), `timeline` (bytes in use up to the last place that is needed
    while each region of steps runs, and those really needed), `reuse` (what lies where in the arena, one after the other) and
    `largest` (tensors with the lines that made them). Of two branches the dearer one is counted.
    """

    def __init__(self, data: Data):
        self.data = data

    flops = property(lambda self: self.data["flops"])
    bytes = property(lambda self: self.data["bytes"])
    peak_bytes = property(lambda self: self.data["peak_bytes"])
    needed_bytes = property(lambda self: self.data["needed_bytes"])
    predicted_ns = property(lambda self: self.data["predicted_ns"])

    def fits(self, room: int | str) -> bool:
        """Whether all that it needs at once fits into so many bytes, `fits(2**33)` or `fits("8 GiB")`."""
        return bool(self.data["needed_bytes"] <= bytes_of(room))

    def __str__(self) -> str:
        return "\n".join(_text(self.data))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def bytes_of(room: int | str) -> int:
    """A number of bytes, from a number or a text: `8 GiB`, `500 MB`. Raises ArgumentError for other texts."""
    if isinstance(room, int):
        return room
    if not isinstance(room, str):
        raise ArgumentTypeError(f"bytes are a number or a text, got {room!r}", "such as 2**33, '8 GiB' or '500 MB'")
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]I?)?B?\s*", room.upper())
    if found is None:
        raise ArgumentError(f"{room!r} is no number of bytes", "such as '8 GiB' or '500 MB'")
    return int(float(found[1]) * _UNITS[found[2] or ""])


# --- data --------------------------------------------------------------------------------------------------------------


def estimate_data(what: str, backend: str, programs: Sequence[Data]) -> Data:
    """The data of an estimate from those of its programs, which run one after the other."""
    sums = {key: sum(x[key] for x in programs) for key in ("flops", "bytes", "predicted_ns")}
    most = {key: max(x["memory"][key] for x in programs) for key in ("peak_bytes", "needed_bytes")}
    loops = list(dict.fromkeys(line for x in programs for line in x["unknown_turns"]))
    return {"what": what, "backend": backend, **sums, **most, "unknown_turns": loops, "programs": list(programs)}


def program_data(
    name: str, plan: Plan | NativePlan, kinds: Mapping[Value, str], rates: Rates, threads: int, device: bool
) -> Data:
    """What one planned program will do. `kinds`: what each input is, "argument" or "variable"."""
    if isinstance(plan, NativePlan):
        described = describe_native(plan, {})
        timeline = _native_timeline(described["memory"], plan)
    else:
        described = describe_plan(plan, {})
        timeline = node_timeline(plan)
    steps = planned_steps(described["steps"], rates.floor_ns, unknown=1)
    cycles = _kernel_ns(plan, threads) if isinstance(plan, NativePlan) and not device else [0.0] * len(steps)
    for step, ns in zip(steps, cycles, strict=True):
        step.ns[0] = 0 if step.taken is False else round(max(step.floor_ns or 0, ns * (step.turns or 1)))
        if step.taken is False:
            step.leave_out()
    memory = _memory(plan, kinds)
    return {
        "name": name, "flops": _sum(step.flops for step in steps), "bytes": _sum(step.bytes for step in steps),
        "predicted_ns": sum(step.ns[0] for step in steps), "memory": memory, "timeline": timeline,
        "reuse": described["memory"]["arena"], "largest": _largest(plan, kinds),
        "unknown_turns": list(dict.fromkeys(_open_loops(plan.program))), **_shown_steps(steps),
    }  # fmt: skip


def _open_loops(program: Program) -> Iterator[str]:
    """The lines of loops whose turns only a run knows."""
    for node in program.nodes:
        if node.op.name == "while_loop":
            yield str(node.origins[0]) if node.origins else "no line"
        for body in node.attrs.values():
            if isinstance(body, Program):
                yield from _open_loops(body)


def _sum(numbers: Iterable[int | None]) -> int:
    return sum(n for n in numbers if n is not None)


def _shown_steps(steps: Sequence[Step]) -> Data:
    whole = sum(step.ns[0] for step in steps)
    return {"steps": steps_data(steps, [0]), "lines": lines_data(steps, [0], whole)}


def _kernel_ns(plan: NativePlan, threads: int) -> Iterator[float]:
    """Nanoseconds that the arithmetic of each step takes if it is a kernel of the processor, once."""
    for step in every_step(plan):
        cycles = kernel_cycles(step.kernel, _LANES) if isinstance(step, KernelStep | CheckStep) else 0.0
        yield cycles / CYCLES_A_NANOSECOND / min(threads, max(1.0, cycles // SMALLEST_SHARED))


def _memory(plan: Plan | NativePlan, kinds: Mapping[Value, str]) -> Data:
    by_kind = {"argument": 0, "variable": 0}
    for value, kind in kinds.items():
        by_kind[kind] += nbytes_of(value.type)
    arrays = plan.constants if isinstance(plan, NativePlan) else plan.constants.values()
    constants = sum(int(array.nbytes) for array in arrays)
    return {
        "argument_bytes": by_kind["argument"], "variable_bytes": by_kind["variable"], "constant_bytes": constants,
        "arena_bytes": plan.arena_bytes, "output_bytes": plan.output_bytes,
        "transient_bytes": 0 if isinstance(plan, NativePlan) else plan.transient_bytes, "peak_bytes": plan.peak,
        "needed_bytes": sum(by_kind.values()) + constants + plan.peak,
    }  # fmt: skip


def _native_timeline(memory: Data, plan: NativePlan) -> list[Data]:
    """For each region the bytes of the arena up to the last that is needed then, and all outputs; and those really needed."""
    lives = [(slot["offset"], life) for slot in memory["arena"] for life in slot["values"]]
    found = []
    for n in range(len(plan.regions)):
        here = [(at, life["bytes"]) for at, life in lives if life["first"] <= n <= life["last"]]
        used = min(max((aligned(at + size) for at, size in here), default=0), plan.arena_bytes)
        live = sum(size for _, size in here)
        found.append({"at": n, "bytes": used + plan.output_bytes, "live_bytes": live + plan.output_bytes})
    return found


def node_timeline(plan: Plan) -> list[Data]:
    """The same for each step of a plan of nodes, whose arena is there from the first on, while NumPy makes other arrays."""
    found = []
    for n in range(len(plan.steps)):
        here = [b for b in plan.buffers if b.first <= n <= b.last]
        fresh = sum(b.nbytes for b in here if b.place == FRESH)
        live = sum(b.nbytes for b in here if b.place == ARENA) + fresh
        found.append(
            {"at": n, "bytes": plan.arena_bytes + fresh + plan.output_bytes, "live_bytes": live + plan.output_bytes}
        )
    return found


def _largest(plan: Plan | NativePlan, kinds: Mapping[Value, str]) -> list[Data]:
    """The largest tensors that are in memory: what is given, and what steps make."""
    names, outputs = value_names(plan.program), set(plan.program.outputs)
    if isinstance(plan, NativePlan):
        made = [
            v for v, at in plan.places.items() if isinstance(v, Value) and at.area != INPUTS
        ]  # others are over inputs
    else:
        made = [v for v, at in plan.locations.items() if at.buffer is not None and at.root is v]
    values = dict.fromkeys([*plan.program.inputs, *made])
    largest = sorted(values, key=lambda v: (-nbytes_of(v.type), v.node.number, v.index))[:MOST_LARGEST]
    return [
        {"name": v.node.attrs["name"] if v in kinds else names[v], "type": str(v.type), "bytes": nbytes_of(v.type),
         "is": kinds.get(v, "output" if v in outputs else v.node.op.name), "lines": origins([v.node])["lines"]}
        for v in largest
    ]  # fmt: skip


# --- text --------------------------------------------------------------------------------------------------------------


def _text(data: Data) -> Iterator[str]:
    yield f"estimate of {data['what']}: backend {data['backend']}, nothing was run"
    yield f"{quantity(data['flops'], 'FLOP')}, moves {quantity(data['bytes'], 'B')}, about {duration(data['predicted_ns'])}"
    if data["unknown_turns"]:
        yield f"of loops whose turns only a run knows one turn is counted: {cut(', '.join(data['unknown_turns']))}"
    yield f"needs {size(data['needed_bytes'])} at once, of which a run allocates {size(data['peak_bytes'])}"
    for program in data["programs"]:
        yield ""
        yield from _program(program, len(data["programs"]) > 1)


def _program(x: Data, named: bool) -> Iterator[str]:
    memory = x["memory"]
    if named:
        yield f"{x['name']}: {quantity(x['flops'], 'FLOP')}, about {duration(x['predicted_ns'])}"
    words = {
        "argument": "arguments",
        "variable": "variables",
        "constant": "constants",
        "arena": "arena",
        "output": "outputs",
    }
    words["transient"] = "arrays that NumPy makes"
    parts = [f"{name} {size(memory[f'{key}_bytes'])}" for key, name in words.items() if memory[f"{key}_bytes"]]
    yield f"memory: {', '.join(parts)}"
    top = max(x["timeline"], key=lambda t: t["bytes"], default=None)
    if top is not None:
        yield f"allocated while it runs, {len(x['timeline'])} regions, most in region {top['at']}: {_curve(x['timeline'])}"
    shared = sum(len(slot["values"]) > 1 for slot in x["reuse"])
    yield f"{shared} of {len(x['reuse'])} places in the arena are used more than once"
    yield from _indented(table(("bytes", "largest", "is", "made at"), [
        (size(v["bytes"]), v["type"], f"{v['is']} {v['name']}", cut(", ".join(v["lines"]))) for v in x["largest"][:MOST_SHOWN]
    ]))  # fmt: skip
    yield ""
    yield from table(("share", "time", "work", "line", ""), [_line(line) for line in islice(x["lines"], MOST_SHOWN)])


def _line(x: Data) -> tuple[str, ...]:
    where = f"{x['file']}:{x['line']}"
    return f"{100 * x['share']:.1f} %", duration(x["ns"]), quantity(x["flops"] or 0, "FLOP"), where, cut(x["text"])


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return ("  " + line for line in lines)


def _curve(timeline: Sequence[Data], width: int = 60) -> str:
    """The bytes allocated over time, each column the most of some regions."""
    most, bars = max(t["bytes"] for t in timeline) or 1, " ▁▂▃▄▅▆▇█"
    step = -(-len(timeline) // width)
    columns = (max(t["bytes"] for t in timeline[i : i + step]) for i in range(0, len(timeline), step))
    return "".join(bars[-(-8 * n // most)] for n in columns)


def size(n: int) -> str:
    """A number of bytes as memory is measured: `1.05 MiB`."""
    for unit, bytes_ in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if n >= bytes_:
            return f"{n / bytes_:.3g} {unit}" if n < 1000 * bytes_ else f"{n / bytes_:,.0f} {unit}"
    return f"{n} B"


__all__ = ["Estimate", "bytes_of", "estimate_data", "node_timeline", "program_data", "size"]
