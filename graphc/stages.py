"""The stages of a build: the program as it was recorded, after each pass that changed it, and as the steps that run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from graphc.executable import Built, Prepared
from graphc.ir.program import Node, Program
from graphc.planning.descriptions import covered
from graphc.planning.native_plan import NativePlan
from graphc.planning.plan import VIEW, Plan


class Snapshot(NamedTuple):
    """A program as a pass left it; no pass: as it was recorded."""

    name: str
    transform: Callable[..., Any] | None
    program: Program
    ms: float | None


def programs_of(built: Built, prepared: Prepared) -> tuple[list[Snapshot], list[str]]:
    """The recorded program and what each pass made of it, sizes put in; and the passes that changed nothing."""
    ways = built.ways(prepared.sizes)
    program = ways.recorded
    found = [Snapshot("recorded", None, ways.static(program), None)]
    unchanged: dict[str, None] = {}
    passes = [(transform, report, True) for transform, report in zip(ways.pipeline, built.passes, strict=True)]
    passes += [(transform, report, False) for transform, report in zip(ways.native, prepared.passes, strict=True)]
    for transform, report, symbolic in passes:
        if not symbolic:
            program = ways.static(program)
        before, program = program, transform(program)
        if program is before:
            unchanged[report.name] = None
        else:
            found.append(Snapshot(report.name, transform, ways.static(program), report.milliseconds))
    return found, list(unchanged)


def executable_of(found: Any) -> Any:
    """What runs: of a program that is divided between host and device, the device's part."""
    return getattr(found, "executable", found)


def steps_of(executable: Any) -> tuple[Program, list[tuple[Node, ...]]]:
    """The program that an executable's plan is of, and the nodes that each of its steps computes, in order."""
    plan: NativePlan | Plan = executable_of(executable).plan
    if isinstance(plan, NativePlan):
        return plan.program, [covered(step) or tuple(step.nodes) for region in plan.regions for step in region]
    return plan.program, [(run.node,) for run in plan.steps if run.how != VIEW]


def stages_of(built: Built) -> dict[str, tuple[Program, dict[Node, str] | None]]:
    """The stages by name, for the sizes of the last run: "recorded", each pass that changed something (one that did so again
    has a number: "tidy.2"), and "kernels", with the title of the step that computes each node."""
    if not built.prepared:
        return {}
    key = list(built.executables)[-1]
    found: dict[str, tuple[Program, dict[Node, str] | None]] = {}
    for snapshot in programs_of(built, built.prepared[key])[0]:
        times = sum(name.partition(".")[0] == snapshot.name for name in found) + 1
        found[snapshot.name if times == 1 else f"{snapshot.name}.{times}"] = (snapshot.program, None)
    program, steps = steps_of(built.executables[key])
    titles = {
        node: f"K{k} " + " ".join(dict.fromkeys(n.op.name for n in nodes))[:60]
        for k, nodes in enumerate(steps, 1)
        for node in nodes
    }
    return {**found, "kernels": (program, titles)}
