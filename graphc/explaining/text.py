"""The text of an explanation, made from its data and nothing else. No line is longer than 118 columns.

Of large programs it has the steps that cost most, and the loops of the costliest; `everything` shows all of them.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from graphc.planning.costs import Cost, duration
from graphc.planning.descriptions import Data

WIDTH = 118
#: Lines of a kernel, and members of a list (lines of the user's, modules, outputs) that are shown; `.data` has them all.
MOST_LINES, MOST_SHOWN = 32, 4
#: Steps of a plan that are shown, those of them whose loops are, places of its arena, and captured variables.
MOST_STEPS, MOST_LOOPS, MOST_PLACES, MOST_VARIABLES = 40, 8, 24, 16
#: Texts shorter than this are shown whatever they cost.
FEW_LINES = 3
#: What was left out of a step, or of a plan.
_LOOPS_LEFT, _LEFT = "loops left out", "left out"


def render(data: Data, everything: bool = False) -> str:
    """The text."""
    shown = data if everything else _shortened(data)
    return "\n".join(fitted for line in _lines(shown) for fitted in _fitted(line))


# --- what is left out --------------------------------------------------------------------------------------------------


def _shortened(data: Data) -> Data:
    """The data with marks on what the text leaves out."""
    return data | {"builds": [_shortened_build(build) for build in data["builds"]]}


def _shortened_build(build: Data) -> Data:
    found = build | {"plans": [_shortened_plan(plan) for plan in build["plans"]]}
    if (left := len(build["captures"]) - MOST_VARIABLES) > 0:
        found |= {"captures": build["captures"][:MOST_VARIABLES], _LEFT: left}
    return found | {"gradient": _shortened_build(build["gradient"])} if "gradient" in build else found


def _shortened_plan(plan: Data) -> Data:
    """A plan without the loops of cheap steps, and of long plans without cheap steps."""
    if "steps" not in plan:
        return plan
    ranked = sorted(_ranked(plan["steps"], 1), key=lambda x: -x[0])
    kept = {id(step) for _, step in ranked[:MOST_STEPS]}
    loops: dict[str, int] = {}
    for _, step in ranked:
        if step["text"].count("\n") >= FEW_LINES and len(loops) < MOST_LOOPS:
            loops.setdefault(step["text"], id(step))
    short = {id(step) for _, step in ranked if step["text"].count("\n") < FEW_LINES}
    found = plan | {"steps": _kept(plan["steps"], kept, short | set(loops.values()))}
    if len(arena := plan["memory"].get("arena") or ()) > MOST_PLACES:
        largest = sorted(arena, key=lambda slot: -slot["bytes"])[:MOST_PLACES]
        within = {slot["offset"] for slot in largest}
        memory = {"arena": [x for x in arena if x["offset"] in within], _LEFT: len(arena) - len(within)}
        found |= {"memory": plan["memory"] | memory}
    return found


def _ranked(steps: Sequence[Data], turns: int) -> Iterator[tuple[float, Data]]:
    """All steps, those of loops too, with what each costs in all turns."""
    for step in steps:
        cost = step["cost"]
        ns = step.get("measured_ns") or step.get("estimated_ns") or 0
        yield turns * (ns + 1e-9 * (cost["flops"] + cost["bytes_read"] + cost["bytes_written"])), step
        for body in step.get("bodies", {}).values():
            yield from _ranked(body, turns * (step.get("turns") or 1))


def _kept(steps: Sequence[Data], kept: set[int], loops: set[int]) -> list[Data]:
    found = []
    for step in steps:
        bodies = {name: _kept(body, kept, loops) for name, body in step.get("bodies", {}).items()}
        is_kept = id(step) in kept or any(_LEFT not in x for body in bodies.values() for x in body)
        marks = ({"bodies": bodies} if bodies else {}) | ({} if is_kept else {_LEFT: True})
        found.append(step | marks | ({} if id(step) in loops else {_LOOPS_LEFT: True}))
    return found


def _fitted(line: str) -> list[str]:
    """A line, or several where it is too long; what continues is indented further."""
    if len(line) <= WIDTH:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    return textwrap.wrap(line, WIDTH, subsequent_indent=indent, drop_whitespace=True, break_on_hyphens=False) or [line]


def _indented(lines: Iterable[str], by: int = 2) -> Iterator[str]:
    return (" " * by + line for line in lines)


def _lines(data: Data) -> Iterator[str]:
    options = ", ".join(f"{name}={value}" for name, value in data["options"].items())
    yield f"{data['what']}, backend {data['backend']}, {options}"
    if data["backend"] == "eager":
        yield "runs node by node through the eager door: there is no plan"
    if not data["builds"]:
        yield "nothing is built yet: call it once, or give explain the arguments of a call"
    if data["recompiles"]:
        yield "why it was built:"
        yield from _indented(_table([_reason(n, x) for n, x in enumerate(data["recompiles"], 1)]))
    yield from _advice(data["advice"])
    for build in data["builds"]:
        yield ""
        yield from _build(build)
    if any(_leaves_out(build) for build in data["builds"]):
        yield ""
        yield "this is the costliest part: .text(everything=True) has all steps, their loops, and all variables"


def _leaves_out(build: Data) -> bool:
    """Whether the text leaves out loops, steps or variables."""
    if "gradient" in build and _leaves_out(build["gradient"]):
        return True
    steps = (step for plan in build["plans"] for step in plan.get("steps", ()))
    return _LEFT in build or any(_LEFT in step or (_LOOPS_LEFT in step and step["text"]) for step in steps)


def _advice(advice: Sequence[Data]) -> Iterator[str]:
    if advice:
        yield "what to change:"
        yield from _indented(f"{x['line']}: {x['says']}" for x in advice)


def _reason(n: int, found: Data) -> tuple[str, ...]:
    if not found["argument"]:
        why = "the first call of its kind"
    elif found["dim"] is not None:
        why = f"dimension {found['dim']} of {found['argument']}: {found['old']} -> {found['new']}"
    elif found["old"] is None:
        why = f"{found['argument']}" + ("" if found["new"] is None else f": {found['new']}")
    else:
        why = f"{found['argument']}: {found['old']} -> {found['new']}"
    return f"{n}.", why, f"at {found['line']}", f"{found['ms']:.1f} ms"


def _table(rows: Sequence[Sequence[str]], widest: int = 48) -> Iterator[str]:
    """Rows with their columns under each other, as far as cells are not too wide."""
    widths = [min(widest, max(map(len, column))) for column in zip(*rows, strict=True)]
    return ("  ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True)).rstrip() for row in rows)


# --- a build -----------------------------------------------------------------------------------------------------------


def _build(build: Data) -> Iterator[str]:
    inputs = ", ".join(f"{x['name']}: {x['type']}" for x in build["inputs"])
    yield f"{build['name']}: ({inputs}) -> {_some(build['outputs']) or 'nothing'}"
    written = [x for x in build["inputs"] if x["written_at"] is not None]
    if written:
        yield "  arguments written:"
        yield from _indented(_table([_variable(x, "argument") for x in written]), 4)
    if build["captures"]:
        yield "  captured variables:"
        yield from _indented(_table([_variable(x, x["is"]) for x in build["captures"]]), 4)
        if _LEFT in build:
            yield f"    ... and {build[_LEFT]} more"
    if build["assumed_sizes"]:
        yield "  sizes taken for equal:"
        yield from _indented([f"{x['a']} and {x['b']}, at {x['line']}" for x in build["assumed_sizes"]], 4)
    yield f"  passes on {build['recorded_nodes']} recorded nodes, {build['ms']:.1f} ms with all around them:"
    yield from _indented(_passes(build["passes"]), 4)
    if not build["plans"] and build["backend"] != "eager":
        sizes = ", ".join(build["unknown_sizes"])
        yield "  no plan yet" + (f": the sizes {sizes} are not known" if sizes else "")
    for plan in build["plans"]:
        yield from _indented(_plan(plan))
    yield from _indented(_advice(build["advice"]))
    if "gradient" in build:
        yield ""
        yield from _build(build["gradient"])


def _variable(x: Data, kind: str) -> tuple[str, ...]:
    used = f"read at {_some(x['read_at'])}" if x["read_at"] else ""
    if x["written_at"] is not None:
        used += (", " if used else "") + f"written at {_some(x['written_at']) or 'unknown lines'}"
    inside = f" in {_some(x['modules'])}" if x["modules"] else ""
    return x["name"], x["type"], kind, (used or "only its size is used") + inside


def _some(words: Sequence[str]) -> str:
    """The first few."""
    more = len(words) - MOST_SHOWN
    return ", ".join(words[:MOST_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _passes(passes: Sequence[Data]) -> Iterator[str]:
    """Those that made more or fewer nodes each for itself, the others in one line."""
    others = [x for x in passes if x["nodes_before"] == x["nodes_after"]]
    rows = [
        (x["name"], f"{x['nodes_before']} -> {x['nodes_after']} nodes", f"{x['ms']:.2f} ms")
        for x in passes
        if x["nodes_before"] != x["nodes_after"]
    ]
    if rows:
        yield from _table(rows)
    if others:
        names = ", ".join(dict.fromkeys(x["name"] for x in others))
        yield f"as many nodes as before: {names} ({sum(x['ms'] for x in others):.2f} ms)"
    if not passes:
        yield "none"


# --- a plan ------------------------------------------------------------------------------------------------------------


def _plan(plan: Data) -> Iterator[str]:
    sizes = ", ".join(f"{name} = {n}" for name, n in plan["sizes"].items())
    where = f" on {plan['device']}" if plan["device"] else ""
    yield f"plan{where}{f' for {sizes}' if sizes else ''}, made in {plan['ms']:.1f} ms" + (
        f": {_cost(plan['cost'])}" if "cost" in plan else ""
    )
    if plan["passes"]:
        yield "  passes:"
        yield from _indented(_passes(plan["passes"]), 4)
    if "text" in plan:
        yield from _indented(plan["text"].splitlines())
    if "threads" in plan:
        yield f"  threads: {plan['threads']}"
    regions = plan.get("regions") is not None
    yield from _indented(_steps(plan.get("steps", ()), regions))
    yield from _indented(_memory(plan["memory"], "region" if regions else "step"))


def _cost(cost: Data) -> str:
    return str(Cost(cost["flops"], cost["bytes_read"], cost["bytes_written"]))


def _steps(steps: Sequence[Data], regions: bool) -> Iterator[str]:
    region = None
    for is_left_out, run in groupby(steps, lambda step: _LEFT in step):
        if is_left_out:
            counts = Counter(" ".join(dict.fromkeys([step["kind"], *step["ops"][:1]])) for step in run)
            yield f"... and {sum(counts.values())} cheaper: {_some([f'{n} {name}' for name, n in counts.most_common()])}"
            continue
        for step in run:
            if regions and step["region"] != region:
                region = step["region"]
                yield f"region {region}"
            yield from _indented(_step(step), 2 if regions else 0)


def _step(step: Data) -> Iterator[str]:
    kind = "Python step" if step["kind"] == "python" else step["kind"]
    yield " ".join(dict.fromkeys([kind, *step["ops"]])) + f": {_cost(step['cost'])}{_time(step)}"
    if "reason" in step:
        yield f"    runs in Python, out of native code: {step['reason']}"
    if "check" in step:
        yield f"    every element of {step['check']['index']} must be an index into a size of {step['check']['size']}"
    for made in step["makes"]:
        yield f"    makes {made['name']}: {made['type']}, {made['place']}"
    where = _some(step["lines"]) or "no line of yours"
    modules = f" in {_some(step['modules'])}" if step["modules"] else ""
    roles = " and ".join(role for role in step["roles"] if role != "forward")
    yield f"    from {where}{modules}{f' ({roles})' if roles else ''}"
    if "how" in step:
        yield f"    {step['how']}" + (f", {step['parts']} parts" if step["parts"] > 1 else "")
    yield from (f"    alone since {reason}" for reason in step.get("alone_because", ()) if step["kind"] == "kernel")
    text = step["text"].splitlines() if step["kind"] != "copy" and _LOOPS_LEFT not in step else []
    yield from (f"    | {line}" for line in text[:MOST_LINES])
    if len(text) > MOST_LINES:
        yield f"    | ... and {len(text) - MOST_LINES} more lines"
    for name, body in step.get("bodies", {}).items():
        turns = step.get("turns", "unknown")
        note = f", {turns} turns: costs and estimates of one, measured times of all" if name == "body" else ""
        yield f"    {name}{note}"
        yield from _indented(_steps(body, True), 6)


def _time(step: Data) -> str:
    times = [("measured", step.get("measured_ns")), ("estimated", step.get("estimated_ns"))]
    shown = [f"{word} {duration(ns)}" for word, ns in times if ns is not None]
    return f"; {', '.join(shown)}" if shown else ""


def _memory(memory: Data, unit: str) -> Iterator[str]:
    names = {"arena_bytes": "arena", "working_bytes": "working memory of steps", "output_bytes": "outputs"}
    names |= {"transient_bytes": "arrays NumPy makes", "constant_bytes": "constants"}
    parts = [f"{words} {memory[key]:,} bytes" for key, words in names.items() if memory.get(key)]
    yield f"memory: peak {memory['peak_bytes']:,} bytes" + (f" ({', '.join(parts)})" if parts else "")
    if memory.get("in_place"):
        yield f"  outputs written over inputs: {', '.join(place['input'] for place in memory['in_place'])}"
    if memory.get("arena"):
        yield f"  in the arena by offset, with the first and last {unit} that needs it:"
    for slot in memory.get("arena", ()):
        values = ", then ".join(f"{x['name']} ({x['first']}-{x['last']})" for x in slot["values"])
        yield f"    [{slot['offset']}:{slot['offset'] + slot['bytes']}] {values}"
    if _LEFT in memory:
        yield f"    ... and {memory[_LEFT]} smaller places"


__all__ = ["render"]
