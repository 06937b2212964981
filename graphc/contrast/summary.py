"""The answers a newcomer asks for, and the summary as text, made from the data and nothing else."""

from __future__ import annotations

import math
import statistics
import textwrap
from collections.abc import Sequence
from itertools import accumulate

from graphc.contrast.running import Run
from graphc.planning.costs import duration, quantity
from graphc.planning.descriptions import Data
from graphc.profiler.profiles import cut

#: Machine epsilons that losses may differ by, relative to the largest, times the square root of the number of calls: each call
#: rounds once more what the next one begins with.
EPSILONS = 128
_EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def losses(eager: Run, graph: Run) -> list[Data]:
    """The losses of both, call by call."""
    return [
        {"call": n, "eager": a, "graph": b, "difference": None if a is None or b is None else _apart(a, b)}
        for n, (a, b) in enumerate(zip(eager.losses, graph.losses, strict=True), 1)
    ]


def _apart(a: float, b: float) -> float:
    """How far apart two losses are; equal ones, two NaNs among them, not at all, a number and NaN infinitely."""
    if math.isnan(a) or math.isnan(b):
        return 0.0 if math.isnan(a) and math.isnan(b) else math.inf
    return 0.0 if a == b else abs(a - b)


def steady(run: Run) -> int:
    """Nanoseconds of a call when all is warm: the median of the second half."""
    totals = run.totals
    return int(statistics.median(totals[len(totals) // 2 :]))


def break_even(eager: Sequence[int], graph: Sequence[int], eager_ns: int, graph_ns: int) -> int | None:
    """The number of calls after which those that build take less time together, None if they never do.

    What was measured counts as it was; beyond it, each call takes what a warm one takes.
    """
    if eager_ns <= graph_ns:
        return None
    ahead = [*accumulate(a - b for a, b in zip(eager, graph, strict=True))]
    if ahead[-1] < 0:
        return len(ahead) + math.ceil(-ahead[-1] / (eager_ns - graph_ns))
    return 1 + max((n for n, lead in enumerate(ahead, 1) if lead < 0), default=0)  # a later build may lose a lead


def numbers(data: Data, eager: Run, graph: Run, peak: int) -> Data:
    """The summary's numbers."""
    known = [x for x in data["losses"] if x["difference"] is not None]
    largest = max((x["difference"] for x in known), default=None)
    scale = max((abs(x["eager"]) for x in known if math.isfinite(x["eager"])), default=0.0)
    relative = None if largest is None else largest / scale if scale else largest
    tolerance = EPSILONS * _EPS.get(getattr(eager.dtype, "name", ""), 2.0**-23) * math.sqrt(len(eager.losses))
    eager_ns, graph_ns = steady(eager), steady(graph)
    built = sum(ns for phases in graph.phases for name, ns in phases.items() if name != "run")
    recorded = next(stage for stage in data["stages"] if stage["name"] == "recorded")
    boxes = data["kernels"]
    return {
        "slowest_line": _slowest(data["lines"], "graph_ns"), "slowest_line_eager": _slowest(data["lines"], "eager_ns"),
        "ops": sum(node["role"] not in ("input", "constant") for node in recorded["nodes"]), "kernels": len(boxes),
        "library_calls": sum(x["kind"] in ("gemm", "convolution", "library", "python") for x in boxes),
        "largest_kernel": max(boxes, key=lambda x: len(x["nodes"]))["id"] if boxes else None,
        "eager_ns": eager_ns, "graph_ns": graph_ns, "build_ns": built,
        "break_even_calls": break_even(eager.totals, graph.totals, eager_ns, graph_ns),
        "eager_peak_bytes": max((x["bytes"] for x in data["memory"]["eager"]), default=0), "plan_peak_bytes": peak,
        "calls": len(eager.losses), "largest_difference": largest, "largest_relative_difference": relative,
        "agree": None if relative is None else relative <= tolerance, "tolerance": tolerance,
    }  # fmt: skip


def _slowest(lines: Sequence[Data], key: str) -> str | None:
    timed = [x for x in lines if x[key]]
    return max(timed, key=lambda x: x[key])["id"] if timed else None


# --- text --------------------------------------------------------------------------------------------------------------

#: Lines of the user's, passes and kernels that the text names; the data has all.
MOST_LINES, MOST_KERNELS = 5, 3
#: Values of Python that a compiled step does not change.
MOST_LEFT = 4
_WIDTH = 118


def text(data: Data) -> str:
    """The summary for a terminal: the questions, each with its answer."""
    found = [f"{data['title']}, {data['summary']['calls']} calls each way on {data['made']['backend']}"]
    for question, answer in (
        ("which of my lines is slowest?", _lines(data)),
        ("what was fused?", _fused(data)),
        ("what did each pass do?", _passes(data)),
        ("how much memory?", _memory(data["summary"])),
        ("when does compiling pay?", _pays(data)),
        ("do both ways agree?", _agreement(data["summary"])),
    ):
        found += ["", question, *(part for line in answer for part in _fitted(line))]
    return "\n".join(found)


def _fitted(line: str) -> list[str]:
    """A line, or several where it is too long."""
    whole = f"  {line}".rstrip()
    if len(whole) <= _WIDTH:
        return [whole]
    return textwrap.wrap(line, _WIDTH, initial_indent="  ", subsequent_indent="      ", drop_whitespace=True)


def _lines(data: Data) -> list[str]:
    lines = sorted(data["lines"], key=lambda x: -max(x["eager_share"] or 0.0, x["graph_share"] or 0.0))
    files = {x["id"]: x["file"] for x in data["sources"]}
    rows = [("eager", "", "graph", "", "line", "")]
    for x in lines[:MOST_LINES]:
        shares = [f"{100 * x[key]:.0f} %" if x[key] is not None else "?" for key in ("eager_share", "graph_share")]
        times = [duration(x[key]) if x[key] is not None else "?" for key in ("eager_ns", "graph_ns")]
        rows.append((times[0], shares[0], times[1], shares[1], f"{files[x['source']]}:{x['line']}", cut(x["text"])))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True)) for row in rows]
    more = len(lines) - MOST_LINES
    return [*table, *([f"and {more} more"] if more > 0 else [])]


def _fused(data: Data) -> list[str]:
    found = data["summary"]
    kernels = sorted(data["kernels"], key=lambda x: -len(x["nodes"]))[:MOST_KERNELS]
    lines = [
        f"{found['ops']} ops became {found['kernels']} steps, {found['library_calls']} of them products and library calls"
    ]
    lines += [f"{x['id']} holds {len(x['nodes'])} ops: {' '.join(x['ops'])}" for x in kernels]
    return lines


def _passes(data: Data) -> list[str]:
    lines = [
        f"{x['name']}: {len(x['added'])} ops added, {len(x['removed'])} removed, {x['ms']:.1f} ms: {x['about']}"
        for x in data["stages"]
        if "added" in x
    ]
    unchanged = [x for x in data["unchanged_passes"] if x not in {stage["name"] for stage in data["stages"]}]
    return [*lines, *([f"nothing to do for {', '.join(unchanged)}"] if unchanged else [])]


def _memory(found: Data) -> list[str]:
    eager, plan = found["eager_peak_bytes"], found["plan_peak_bytes"]
    return [
        f"eager {quantity(eager, 'B')} at the peak of a call, the plan {quantity(plan, 'B')}, beside what was there before"
    ]


def _pays(data: Data) -> list[str]:
    found = data["summary"]
    times = f"a call takes {duration(found['eager_ns'])} eagerly, {duration(found['graph_ns'])} compiled"
    calls = found["break_even_calls"]
    when = "never: compiled calls are no faster" if calls is None else f"after {calls:,} call{'s' * (calls > 1)}"
    return [f"{when} ({times}; building took {duration(found['build_ns'])})"]


def _agreement(found: Data) -> list[str]:
    largest, relative = found["largest_difference"], found["largest_relative_difference"]
    told = "not known: the step returns no loss"
    if largest is not None and relative is not None:
        told = f"{'yes' if found['agree'] else 'NO'}: losses differ by at most {largest:.2g}, relative {relative:.2g}"
        told += f" (accepted: {found['tolerance']:.2g})"
    left = [
        f"Python runs when a step is traced, not when it is replayed: {x}" for x in found["left_behind"][:MOST_LEFT]
    ]
    return [told, *left]
