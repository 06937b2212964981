"""What is said where there is no room for a run: what it holds at its peak, and its largest tensors with their lines."""

from __future__ import annotations

from collections.abc import Iterable

from graphc.core.errors import OutOfMemoryError, user_line
from graphc.ir.program import Program, Value
from graphc.planning.plan import nbytes_of

#: Tensors that are named.
MOST_NAMED = 5


def no_room(
    problem: str, program: Program, values: Iterable[Value], peak: int, least: bool = False
) -> OutOfMemoryError:
    """The error of a run that found no room. `values`: those that get memory of their own; `peak`: bytes beside the inputs.

    `least`: it holds so many or more.
    """
    held = dict.fromkeys([*values, *program.inputs, *program.outputs])
    largest = sorted(held, key=lambda v: (-nbytes_of(v.type), v.node.number))[:MOST_NAMED]
    inputs = sum(nbytes_of(v.type) for v in program.inputs)
    holds = f"{'at least ' if least else ''}{peak:,} bytes at its peak beside inputs of {inputs:,}"
    lines = [problem, f"  the run at {user_line() or 'no line'} holds {holds}; its largest tensors:"]
    for value in largest:
        origins = value.node.origins
        made = f" {value.node.op.name} made at {origins[0].place}" if origins else ""
        lines.append(f"    {nbytes_of(value.type):,}: {value.type}{made}")
    error = OutOfMemoryError("\n".join(lines))
    if largest and largest[0].node.origins:
        error.line = largest[0].node.origins[0].place
    return error
