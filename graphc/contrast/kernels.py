"""The steps of a plan as boxes: what is computed in which, as text and as generated code, what it costs and what it took."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from graphc.contrast.sources import Sources
from graphc.ir.program import Node, Origin
from graphc.planning import descriptions
from graphc.planning.descriptions import Data, covered
from graphc.planning.native_plan import NativePlan
from graphc.planning.plan import VIEW, Plan
from graphc.planning.reasons import add_reasons
from graphc.planning.steps import Step

#: What kinds of steps are called in a contrast.
_KINDS = {
    "kernel": "kernel", "scatter": "kernel", "index check": "kernel", "product": "gemm", "convolution": "convolution",
    "copy": "copy", "python": "python", "scan": "control", "while_loop": "control", "cond": "control", "sort": "library",
    "numpy": "library",
}  # fmt: skip


@dataclass
class Box:
    """A step of a plan. `region`: its number in a plan of regions, whose steps may run side by side, else that of the step;
    `code`: what was generated for it."""

    id: str
    step: Any
    data: Data
    nodes: tuple[Node, ...]
    region: int
    code: str | None
    language: str | None


def boxes_of(executable: Any, measured: Sequence[Data]) -> list[Box]:
    """The steps of an executable's plan; `measured`: these and those within them, as `gc.profile` has them, if it can."""
    plan: NativePlan | Plan = executable.plan
    if hasattr(executable, "describe"):
        data = executable.describe()["steps"]
    else:
        assert isinstance(plan, NativePlan)
        data = descriptions.describe_native(plan, {})["steps"]
    _add_times(data, measured)
    found: list[Box] = []
    if isinstance(plan, NativePlan):
        add_reasons(plan, data)
        steps = [step for region in plan.regions for step in region]
        for step, said in zip(steps, data, strict=True):
            code, language = _code(executable, step, said)
            found.append(
                Box(f"K{len(found) + 1}", step, said, covered(step) or step.nodes, said["region"], code, language)
            )
        return found
    for n, (run, said) in enumerate(zip(plan.steps, data, strict=True)):
        if run.how != VIEW:
            code = _numpy_code(run.node)
            found.append(Box(f"K{len(found) + 1}", run, said, (run.node,), n, code, "NumPy" if code else None))
    return found


def _add_times(data: Sequence[Data], measured: Sequence[Data]) -> None:
    """Adds what steps took a call, and take at least, with all that is within them."""
    at = 0
    for said in data:
        n = len(list(_within(said)))
        steps = measured[at : at + n]
        at += n
        said["ns"] = sum(x["ns"] for x in steps) if steps else None
        floors = [x["floor_ns"] for x in steps[1:] or steps]
        said["floor_ns"] = sum(floors) if floors and None not in floors else None


def _within(said: Data) -> Iterator[Data]:
    """A step and those of its bodies."""
    yield said
    for body in said.get("bodies", {}).values():
        for step in body:
            yield from _within(step)


def _code(executable: Any, step: Step, said: Data) -> tuple[str | None, str | None]:
    """The generated code of a native step, and its language."""
    text = "\n\n".join(dict.fromkeys(_sources(said)))
    if text:
        return text, executable.device.dialect.name if hasattr(executable, "device") else "LLVM IR"
    code = _numpy_code(step.nodes[0]) if said["kind"] == "python" else None
    return (code, "NumPy") if code else (None, None)


def _sources(said: Data) -> Iterator[str]:
    """The texts that were generated for a step and those within it."""
    for step in _within(said):
        yield from step.get("sources", ())


def _numpy_code(node: Node) -> str | None:
    """The function that computes an op in NumPy."""
    try:
        return inspect.cleandoc(inspect.getsource(node.op.eval))
    except (OSError, TypeError):
        return None


def _text(said: Data) -> str:
    """A step in graphc's own notation, with the steps of its bodies."""
    lines = [said["text"]]
    for name, body in said.get("bodies", {}).items():
        lines.append(f"{name}:")
        lines += [f"  {line}" for step in body for line in _text(step).splitlines()]
    return "\n".join(lines)


def _ops(said: Data) -> list[str]:
    """The ops of a step and of what is within it."""
    return list(dict.fromkeys(op for step in _within(said) for op in step["ops"]))


def origins_of(box: Box) -> list[Origin]:
    """Where a box comes from."""
    return [origin for node in box.nodes for origin in node.origins]


def kernel_data(box: Box, sources: Sources, ids: Any) -> Data:
    """A box as data."""
    said, origins = box.data, origins_of(box)
    cost = said["cost"]
    ops = _ops(said) or (["copy"] if said["kind"] == "copy" else [said["kind"]])
    title = ops[:4] if len(ops) <= 4 else [*ops[:3], f"and {len(ops) - 3} more"]
    return {
        "id": box.id, "kind": _KINDS.get(said["kind"], "library"), "title": " ".join(title), "ops": ops,
        "lines": sources.lines(origins),
        "modules": list(dict.fromkeys(x.module for x in origins if x.module)),
        "roles": list(dict.fromkeys(x.role for x in origins)),
        "nodes": [ids[node] for node in box.nodes], "text": _text(said), "code": box.code, "language": box.language,
        "flops": cost["flops"], "bytes": cost["bytes_read"] + cost["bytes_written"], "ns": said["ns"],
        "floor_ns": said["floor_ns"], "how": said.get("how", ""), "alone_because": said.get("alone_because", []),
    }  # fmt: skip
