"""Builds as plain data: inputs, captured variables, passes, and the plan for each set of sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from graphc.builds import Build, Recompile
from graphc.device_runs import Where
from graphc.executable import Built
from graphc.explaining.advice import of_build
from graphc.ir.program import Node, Value, consumers
from graphc.ir.text import program_text
from graphc.passes.pipelines import PassReport
from graphc.planning.descriptions import Data, origins
from graphc.planning.native_plan import NativePlan
from graphc.planning.reasons import add_reasons
from graphc.stages import executable_of
from graphc.tracing import Capture

#: Measured nanoseconds of each step, by the executable's id.
Times = Mapping[int, Sequence[int]]

_PLAIN = (bool, int, float, str, type(None))


def recompile_data(found: Recompile) -> Data:
    """Why and where a build was made."""
    old, new = (x if isinstance(x, _PLAIN) else repr(x) for x in (found.old, found.new))
    return {
        "argument": found.argument, "dim": found.dim, "old": old, "new": new, "line": found.line, "ms": round(found.ms, 3),
    }  # fmt: skip


def build_data(
    built: Built, sources: Sequence[Any], written: Iterable[tuple[Any, int]], times: Times, name: str
) -> Data:
    """A build. `sources`: what each input stands for, a Capture or something else; `written`: (source, output number)."""
    program = built.recorded
    readers = consumers(program)
    new = {source: program.outputs[k] for source, k in written}
    pairs = dict(zip(sources, program.inputs, strict=True))
    pairs |= {source: source.value for source in new if isinstance(source, Capture) and source not in pairs}
    inputs = {source: _input(x, readers.get(x, []), new.get(source)) for source, x in pairs.items()}
    plans = [_plan(built, key, times) for key in list(built.executables)]
    return {
        "name": name,
        "backend": built.backend.name,
        "inputs": [data for source, data in inputs.items() if not isinstance(source, Capture)],
        "captures": [data | {"is": _kind(x)} for x, data in inputs.items() if isinstance(x, Capture)],
        "outputs": [str(x.type) for x in program.outputs],
        "unknown_sizes": list(built.unknown),
        "assumed_sizes": [{"a": str(a), "b": str(b), "line": line} for a, b, line in program.checks],
        "recorded_nodes": len(program.nodes),
        "passes": [pass_data(x) for x in built.passes],
        "ms": round(built.ms, 3),
        "program": program_text(built.program),
        "plans": plans,
        "advice": of_build(program, built.program, new, sources, plans),
    }


def traced_data(build: Build, times: Times, name: str) -> Data:
    """A build of a compiled function, with its gradient."""
    found = build_data(build.built, build.sources, build.updates, times, name)
    if build.backward is not None:
        gradient = build.backward.built
        residuals = range(len(gradient.recorded.inputs))
        found["gradient"] = build_data(gradient, residuals, (), times, f"gradient of {name}")
    return found


def _input(value: Value, readers: Iterable[Node], new: Value | None) -> Data:
    found = origins(readers)
    written = None if new is None else origins([new.node])["lines"]
    return {
        "name": value.node.attrs["name"], "type": str(value.type), "read_at": found["lines"], "written_at": written,
        "modules": found["modules"],
    }  # fmt: skip


def _kind(capture: Capture) -> str:
    if capture.owner is not None:
        return "number"
    return "gradient" if capture.grad_of is not None or capture.argument is not None else "tensor"


def pass_data(report: PassReport) -> Data:
    """What a pass did."""
    return {
        "name": report.name, "nodes_before": report.nodes_before, "nodes_after": report.nodes_after,
        "ms": round(report.milliseconds, 3),
    }  # fmt: skip


def _plan(built: Built, key: Any, times: Times) -> Data:
    """A planned and compiled program; a backend that tells nothing of itself gives its text only."""
    executable, prepared = executable_of(built.executables[key]), built.prepared[key]
    device = next((str(x.memory.device) for x in key if isinstance(x, Where)), "")
    found: Data = {
        "device": device,
        "sizes": {name: int(n) for name, n in prepared.sizes.items()},
        "passes": [pass_data(x) for x in prepared.passes],
        "ms": round(prepared.ms, 3),
    }
    if hasattr(executable, "describe"):
        said = executable.describe(times.get(id(executable)))
        if isinstance(executable.plan, NativePlan):
            add_reasons(executable.plan, said["steps"])
        return found | said
    return found | {"text": str(executable.steps), "memory": {"peak_bytes": int(executable.peak)}}


__all__ = ["Times", "build_data", "recompile_data", "traced_data"]
