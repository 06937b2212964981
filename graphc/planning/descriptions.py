"""Plans as plain data (dicts, lists, strings, numbers), for explanations: every step with what it makes, where it comes from
and what it costs, and who shares memory with whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from graphc.core.op import Kind, Scatter, View
from graphc.ir.kernel_text import kernel_text
from graphc.ir.program import Node, Program, Value
from graphc.ir.text import node_text, value_names
from graphc.planning.costs import Cost, node_cost, step_cost, total
from graphc.planning.native_plan import (
    BYTES,
    INPUTS,
    CondPlan,
    ControlPlan,
    NativePlan,
    Place,
    ScanPlan,
    WhilePlan,
)
from graphc.planning.plan import ARENA, INPLACE, VIEW, Buffer, Plan, nbytes_of
from graphc.planning.plan import Step as NodeRun
from graphc.planning.regions import last_reads
from graphc.planning.steps import (
    Buffered,
    CheckStep,
    ContractionStep,
    ControlStep,
    ConvolutionStep,
    CopyStep,
    HostStep,
    KernelStep,
    OutputCopy,
    ScatterStep,
    Step,
)
from graphc.planning.updates import reads

Data = dict[str, Any]
_KINDS: dict[type, str] = {
    KernelStep: "kernel", CopyStep: "copy", ScatterStep: "scatter", CheckStep: "index check", ContractionStep: "product",
    ConvolutionStep: "convolution", HostStep: "python",
}  # fmt: skip


def covered(step: Step) -> tuple[Node, ...]:
    """The nodes a step computes, those written out where they are read among them, numbers that come from nothing left out.

    A copy and a check compute none.
    """
    if isinstance(step, CopyStep | CheckStep):
        return ()
    if not isinstance(step, KernelStep):
        return step.nodes
    loaded = {x for x in step.buffers if x not in step.made}
    found: dict[Node, None] = dict.fromkeys(step.nodes)
    pending = list(step.nodes)
    while pending:
        node = pending.pop()
        for value in node.inputs[isinstance(node.op.kind, Scatter) :]:  # what a scatter begins with, others have made
            if value not in loaded and value.node not in found and value.node.inputs:
                found[value.node] = None
                pending.append(value.node)
    return tuple(sorted(found, key=lambda node: node.number))


def origins(nodes: Iterable[Node]) -> Data:
    """Where nodes come from: the user's lines, the paths of modules, their roles (forward, backward, update)."""
    found = [origin for node in nodes for origin in node.origins]
    return {
        "lines": list(dict.fromkeys(map(str, found))),
        "modules": list(dict.fromkeys(o.module for o in found if o.module)),
        "roles": list(dict.fromkeys(o.role for o in found)),
    }


def node_data(nodes: Iterable[Node]) -> list[Data]:
    """Each node by itself: its op, what it costs alone, and where it comes from (`at`: several places if it was merged)."""
    found = []
    for node in nodes:
        at = [{"file": o.file, "line": o.line, "module": o.module, "role": o.role} for o in node.origins]
        cost = Cost() if isinstance(node.op.kind, View) else node_cost(node)
        found.append({"op": node.op.name, "at": at, "flops": cost.flops, "bytes": cost.bytes})
    return found


def cost_data(cost: Cost) -> Data:
    """A cost as data."""
    return {"flops": cost.flops, "bytes_read": cost.read, "bytes_written": cost.written}


def python_reason(node: Node) -> str:
    """Why a node of a native plan is evaluated by Python."""
    kind = node.op.kind.name if isinstance(node.op.kind, Kind) else type(node.op.kind).__name__.lower()
    return f"{node.op.name} of {node.outputs[0].dtype.name}, an op of kind {kind}, has no native form"


# --- native plans ------------------------------------------------------------------------------------------------------


def describe_native(plan: NativePlan, notes: Mapping[Step, Data]) -> Data:
    """A native plan; `notes`: what else there is to say of a step."""
    steps = _native_steps(plan, notes)
    cost = total(step_cost(step, plan) for region in plan.regions for step in region)
    memory = {
        "arena_bytes": plan.arena_bytes, "output_bytes": plan.output_bytes, "peak_bytes": plan.peak,
        "constant_bytes": sum(int(array.nbytes) for array in plan.constants),
        "in_place": [
            {"output": k, "input": plan.program.inputs[i].node.attrs["name"]} for k, i in plan.in_place.items()
        ],
        "arena": _shared(_native_lifetimes(plan)),
    }  # fmt: skip
    return {"regions": len(plan.regions), "steps": steps, "cost": cost_data(cost), "memory": memory}


def _native_steps(plan: NativePlan, notes: Mapping[Step, Data]) -> list[Data]:
    names = value_names(plan.program)
    found = []
    for n, region in enumerate(plan.regions):
        for step in region:
            data = _native_step(step, plan, names) | {"region": n} | notes.get(step, {})
            if isinstance(step, ControlStep):
                _add_bodies(data, plan.controls[step], notes)
            found.append(data)
    return found


def _add_bodies(data: Data, control: ControlPlan, notes: Mapping[Step, Data]) -> None:
    """The bodies of a loop or branch by their names; its own time is that of its bodies and of copies around them."""
    names = {ScanPlan: ("body",), WhilePlan: ("condition", "body"), CondPlan: ("true", "false")}[type(control)]
    bodies = dict(zip(names, [_native_steps(body, notes) for body in control.bodies], strict=True))
    inside = [step["measured_ns"] for body in bodies.values() for step in body if "measured_ns" in step]
    if inside:
        data["measured_ns"] += sum(inside)
    data["bodies"] = bodies
    if isinstance(control, ScanPlan):
        data["turns"] = int(control.step.node.attrs["length"])


def _native_step(step: Step, plan: NativePlan, names: Mapping[Value, str]) -> Data:
    nodes = covered(step)
    made = [
        {"name": _name(x, names), "type": str(x.type), "place": _place(plan.places[x], nbytes_of(x.type), plan.program)}
        for x in step.made
    ]
    data: Data = {
        "kind": _KINDS.get(type(step), step.nodes[0].op.name),
        "ops": list(dict.fromkeys(node.op.name for node in nodes)),
        "makes": made,
        "reads": [names[x] for x in dict.fromkeys(reads(step)) if x not in step.made],
        **origins(nodes or step.nodes),
        "nodes": node_data(nodes or step.nodes),
        "cost": cost_data(step_cost(step, plan)),
    }
    if isinstance(step, KernelStep | CheckStep):
        data["text"] = kernel_text(step.kernel, [_name(x, names) for x in step.buffers])
    else:
        data["text"] = node_text(step.node, dict(names))
    if isinstance(step, CheckStep):
        data["check"] = {"index": names[step.buffers[0]], "size": step.size}
    if isinstance(step, HostStep):
        data["reason"] = python_reason(step.node)
    return data


def _name(x: Buffered, names: Mapping[Value, str]) -> str:
    return f"output {x.output}" if isinstance(x, OutputCopy) else names[x]


def _place(place: Place, nbytes: int, program: Program) -> str:
    if place.area == BYTES:
        return f"arena[{place.at}:{place.at + nbytes}]"
    if place.area == INPUTS:
        return f"over input {program.inputs[place.at].node.attrs['name']}"
    return f"{place.area} {place.at}"


def _native_lifetimes(plan: NativePlan) -> Iterable[tuple[int, Data]]:
    """(offset, what lies there from which region to which) of everything in the arena."""
    names, last = value_names(plan.program), last_reads(list(map(list, plan.regions)))
    for n, region in enumerate(plan.regions):
        for step in region:
            if isinstance(step, ControlStep):
                work = {"name": f"working memory of {step.node.op.name}", "bytes": plan.controls[step].nbytes}
                yield plan.places[step].at, work | {"first": n, "last": n}
            for x in step.made:
                if plan.places[x].area == BYTES:
                    until = n if isinstance(x, OutputCopy) else max(n, last.get(x, n))
                    yield plan.places[x].at, _life(_name(x, names), nbytes_of(x.type), n, until)


def _life(name: str, nbytes: int, first: int, last: int) -> Data:
    return {"name": name, "bytes": nbytes, "first": first, "last": last}


def _shared(lives: Iterable[tuple[int, Data]]) -> list[Data]:
    """By offset, what begins there in turn."""
    found: dict[int, dict[str, Data]] = {}
    for offset, life in lives:
        found.setdefault(offset, {}).setdefault(life["name"], life)
    return [
        {"offset": at, "bytes": max(life["bytes"] for life in here.values()), "values": list(here.values())}
        for at, here in sorted(found.items())
    ]


# --- plans of nodes ----------------------------------------------------------------------------------------------------


def describe_plan(plan: Plan, times: Mapping[Node, int]) -> Data:
    """A plan of nodes, one step each; `times`: measured nanoseconds."""
    names = value_names(plan.program)
    steps = [_node_step(n, step, plan, names) for n, step in enumerate(plan.steps)]
    for data, step in zip(steps, plan.steps, strict=True):
        if step.node in times:
            data["measured_ns"] = times[step.node]
    cost = total(node_cost(step.node) for step in plan.steps if step.how != VIEW)
    memory = {
        "arena_bytes": plan.arena_bytes, "output_bytes": plan.output_bytes, "peak_bytes": plan.peak,
        "transient_bytes": plan.transient_bytes,
        "constant_bytes": sum(int(array.nbytes) for array in plan.constants.values()),
        "in_place": [], "arena": _shared(_node_lifetimes(plan, names)),
    }  # fmt: skip
    return {"regions": None, "steps": steps, "cost": cost_data(cost), "memory": memory}


def _node_step(n: int, step: NodeRun, plan: Plan, names: dict[Value, str]) -> Data:
    node = step.node
    made = [{"name": names[x], "type": str(x.type), "place": _buffer_text(step, x, plan, names)} for x in node.outputs]
    return {
        "kind": "view" if step.how == VIEW else "numpy", "ops": [node.op.name], "makes": made,
        "reads": [names[x] for x in dict.fromkeys(node.inputs)], **origins([node]),
        "nodes": node_data([node]), "cost": cost_data(Cost() if step.how == VIEW else node_cost(node)),
        "text": node_text(node, names), "region": n,
    }  # fmt: skip


def _buffer_text(step: NodeRun, value: Value, plan: Plan, names: Mapping[Value, str]) -> str:
    if step.how == VIEW:
        return f"view of {names[step.node.inputs[0]]}"
    where = str(plan.locations[value].buffer)
    return f"over {names[step.over]}, {where}" if step.how == INPLACE and step.over is not None else where


def _node_lifetimes(plan: Plan, names: Mapping[Value, str]) -> Iterable[tuple[int, Data]]:
    held: dict[int, tuple[Buffer, list[str]]] = {}
    for step in plan.steps:
        for value in step.node.outputs:
            buffer = plan.locations[value].buffer
            if step.how != VIEW and buffer is not None and buffer.place == ARENA:
                held.setdefault(buffer.index, (buffer, []))[1].append(names[value])
    for buffer, values in held.values():
        yield buffer.offset, _life(" then ".join(values), buffer.nbytes, buffer.first, buffer.last)
