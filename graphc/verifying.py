"""`verify=True`: each run compared with the recorded program; where they differ, the first pass or step, and op, that does.

The recorded program, node by node in NumPy, says what is right. Where a run differs by more than rounding, its passes are asked
first: the first after which the program means something else, and in it the first op, since a pass applied to a part of a
program must not change that part either. If all passes agree, what the backend makes is asked step by step: every value that
it puts in memory becomes an output, and is compared with what its nodes make of the values before it. A step that differs is
taken apart in the same way, into programs of fewer and fewer ops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.core.context import silently
from graphc.core.errors import VerifyError
from graphc.core.op import Kind, Op
from graphc.ir.cones import cone, first_wrong
from graphc.ir.interpret import interpret
from graphc.ir.kernel_text import kernel_text
from graphc.ir.program import CONSTANT, INPUT, Node, Program, Value
from graphc.ir.rounding import Judge
from graphc.ir.specialise import Rebuilder, specialise
from graphc.planning.native_plan import step_text
from graphc.planning.regions import plan_regions
from graphc.planning.steps import KernelStep, Step

Arrays = Sequence[np.ndarray[Any, Any]]
Pass = Callable[[Program], Program]


@dataclass(frozen=True)
class Ways:
    """Two ways from a recorded program to numbers.

    pipeline: passes on the program with unknown sizes; native: those that follow when `sizes` are put in.
    """

    name: str
    recorded: Program
    sizes: Mapping[str, int]
    pipeline: Sequence[Pass]
    native: Sequence[Pass]
    backend: Any

    def static(self, program: Program) -> Program:
        """A program of the pipeline with the sizes put in."""
        return specialise(program, self.sizes) if self.sizes else program


def check_run(ways: Ways, arrays: Arrays, results: Arrays) -> None:
    """Raises VerifyError, naming op and line, if a run's results on these inputs are not what the recorded program gives."""
    with silently():
        _check_run(ways, arrays, results)


def _check_run(ways: Ways, arrays: Arrays, results: Arrays) -> None:
    judge = Judge(ways.static(ways.recorded), arrays)
    wrong = judge.wrong(results)
    if not wrong:
        return
    k = wrong[0]
    head = f"{ways.name} on {ways.backend.name}: output {k} differs from the recorded program: "
    lines = [head + judge.report(k, results[k]), f"  output {k}: {shown(ways.recorded.outputs[k])}"]
    try:
        lines += search(ways, judge, k)
    except Exception as error:
        raise VerifyError("\n".join([*lines, f"  the search for its cause failed: {error}"])) from error
    raise VerifyError("\n".join(lines))


def search(ways: Ways, judge: Judge, k: int) -> Iterator[str]:
    """What is to blame for output `k`, in lines."""
    programs = [ways.recorded]
    for transform in ways.pipeline:
        programs.append(transform(programs[-1]))
    static = [ways.static(program) for program in programs]
    for transform in ways.native:
        static.append(transform(static[-1]))
    if k in judge.wrong(interpret(static[-1], judge.arrays)):
        yield from search_passes(ways, programs, static, judge, k)
    else:
        yield from search_backend(ways.backend, static[-1], judge.arrays)


# --- passes -----------------------------------------------------------------------------------------------------------


def search_passes(
    ways: Ways, programs: Sequence[Program], static: Sequence[Program], judge: Judge, k: int
) -> Iterator[str]:
    """The first pass after which output `k` is another one, and the first op it does not keep."""
    good, bad = 0, len(static) - 1
    while bad - good > 1:
        middle = (good + bad) // 2
        if k in judge.wrong(interpret(static[middle], judge.arrays)):
            bad = middle
        else:
            good = middle
    transform = (*ways.pipeline, *ways.native)[good]
    symbolic = good < len(ways.pipeline)
    before = programs[good] if symbolic else static[good]
    name = getattr(transform, "__name__", type(transform).__name__)

    def wrong(value: Value) -> bool:
        part = before.with_outputs([value])
        after = transform(part)
        if symbolic:
            part, after = ways.static(part), ways.static(after)
        return bool(Judge(part, judge.arrays).wrong(interpret(after, judge.arrays)))

    found = first_wrong(before.outputs[k], wrong)
    yield f"  first wrong pass: {name}, number {good + 1} of {len(static) - 1}"
    yield from named(found, "a part of the program alone is not changed by it")


# --- steps of a backend -----------------------------------------------------------------------------------------------


def search_backend(backend: Any, program: Program, arrays: Arrays, inside: str = "") -> Iterator[str]:
    """The first step of a run that makes something else of what it reads than its nodes do, and the first op of it."""
    steps = steps_of(backend, program)
    values = sorted({v for v in (*steps, *program.outputs) if not is_leaf(v)}, key=lambda v: (v.node.number, v.index))
    memory = dict(zip(program.inputs, arrays, strict=True))
    for value, array in zip(values, backend.compile(program.with_outputs(values))(arrays), strict=True):
        part, reads = cone([value], memory)
        operands = [memory[v] for v in reads]
        if Judge(part, operands).wrong([array]):
            break
        memory[value] = array
    else:
        yield "  all passes and, one by one, all steps agree: only the whole run does not (memory shared by values?)"
        return
    node = part.outputs[0].node
    compiled: dict[int, Any] = {}
    given = interpret(part.with_outputs(node.inputs), operands)
    for name, body, inputs in calls_of(node, given):
        if id(body) not in compiled:
            compiled[id(body)] = backend.compile(body)
        if Judge(body, inputs).wrong(compiled[id(body)](inputs)):
            yield from search_backend(backend, body, inputs, f", in {name} of {shown(node.outputs[0])}")
            return
    ops = [made for made in part.nodes if not is_leaf(made.outputs[0])]

    def wrong(root: Value) -> bool:
        smaller = part.with_outputs([root])
        return bool(Judge(smaller, operands).wrong(backend.compile(smaller)(operands)))

    yield f"  all passes agree; {backend.name} computes something else{inside}"
    found = part.outputs[0] if len(ops) == 1 else first_wrong(part.outputs[0], wrong)
    yield from named(found, "fewer ops of its step alone do not differ")
    yield from step_lines(steps.get(value), ops)


def steps_of(backend: Any, program: Program) -> dict[Value, Step | None]:
    """The values that a run puts in memory, each with the step that makes it; every value where each node is a step."""
    if not backend.fuses:
        return {v: None for node in program.nodes if not is_leaf(node.outputs[0]) for v in node.outputs}
    found: dict[Value, Step | None] = {}
    for region in plan_regions(program).regions:
        for step in region:
            found.update((v, step) for v in step.made if isinstance(v, Value))
    return found


def calls_of(node: Node, given: Arrays) -> Iterator[tuple[str, Program, list[Any]]]:
    """The bodies that a control op runs on these operands, one after the other, each with its name and what it is given."""
    if node.op.kind != Kind("control"):
        return
    calls: list[tuple[str, Program, list[Any]]] = []

    def watched(name: str, body: Program) -> Program:
        def note(first: Any, *inputs: Any) -> Any:
            calls.append((name, body, list(map(np.array, inputs))))
            return first

        op = Op("note", infer=lambda first, *_: first, eval=note, kind=Kind("opaque"))
        copy = Rebuilder({}).program(body)
        first = copy.table.apply(op, (copy.outputs[0], *copy.inputs), {}).outputs[0]
        return copy.with_outputs([first, *copy.outputs[1:]])

    attrs = {k: watched(k, x) if isinstance(x, Program) and x.outputs else x for k, x in node.attrs.items()}
    node.op.eval(*given, **attrs)
    yield from calls


# --- words ------------------------------------------------------------------------------------------------------------


def is_leaf(value: Value) -> bool:
    """Whether no op makes it."""
    return value.node.op is INPUT or value.node.op is CONSTANT


def shown(value: Value) -> str:
    """Op, type, line and module of a value."""
    places = [f"{origin} {origin.module}".rstrip() for origin in value.node.origins[:3]]
    lines = ", ".join(dict.fromkeys(places))
    return f"{value.node.op.name}: {value.type}" + (f"  made at {lines}" if lines else "")


def named(found: Value | None, otherwise: str) -> Iterator[str]:
    """The line that names the first wrong op."""
    yield f"  first wrong op: {shown(found)}" if found is not None else f"  first wrong op: not told apart, {otherwise}"


def step_lines(step: Step | None, ops: Sequence[Node]) -> Iterator[str]:
    """A step, the ops that a wrong value of it is made by, and its kernel."""
    if step is None:  # a node by itself
        return
    yield f"  first wrong step: {step_text(step)}"
    yield from (f"    {shown(node.outputs[0])}" for node in ops)
    if isinstance(step, KernelStep):
        yield "  its kernel:"
        yield from (f"    {line}" for line in kernel_text(step.kernel).splitlines())
