"""The reference meaning of a program: each node in order, evaluated with NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.core.quiet import quiet, quiet_reset, quiet_set
from graphc.ir.blame import blame
from graphc.ir.program import CONSTANT, INPUT, Node, Program, Value


def last_uses(program: Program) -> dict[Node, list[Value]]:
    """The values each node is the last to read or, if nobody reads them, makes; outputs are in no list."""
    last: dict[Value, Node] = {}
    for node in program.nodes:
        for value in node.inputs:
            last[value] = node
        for value in node.outputs:
            last[value] = node
    for value in program.outputs:
        last.pop(value, None)
    dying: dict[Node, list[Value]] = {}
    for value, node in last.items():
        dying.setdefault(node, []).append(value)
    return dying


def evaluate(node: Node, arrays: Sequence[Any]) -> tuple[Any, ...]:
    """The node's results as ndarrays of the types it declares."""
    result = node.op.eval(*arrays, **node.attrs)
    results = (result,) if node.op.n_outputs == 1 else result
    return tuple([r if type(r) is np.ndarray else np.asarray(r) for r in results])


Arrays = Sequence[np.ndarray[Any, Any]]


def interpret(program: Program, arrays: Arrays) -> list[np.ndarray[Any, Any]]:
    """The outputs for these inputs, one array per input in the program's order; unknown sizes must be specialised first.

    An output may share memory with an input, a constant or another output. Errors of kernels name the user's line.
    """
    return interpreter(program)(arrays)


def interpreter(program: Program) -> Callable[[Arrays], list[np.ndarray[Any, Any]]]:
    """`interpret` of one program, for many runs: who reads what, and what dies when, is found out once."""
    slots: dict[Value, int] = {}
    for value in (*program.inputs, *(v for node in program.nodes for v in node.outputs)):
        slots.setdefault(value, len(slots))
    dying = last_uses(program)
    constants = [(slots[n.outputs[0]], n.attrs["data"].array) for n in program.nodes if n.op is CONSTANT]
    steps = [
        (
            node,
            [slots[v] for v in node.inputs],
            [slots[v] for v in node.outputs],
            [slots[v] for v in dying.get(node, ())],
        )
        for node in program.nodes
        if node.op is not CONSTANT and node.op is not INPUT
    ]
    taken, given = [slots[v] for v in program.inputs], [slots[v] for v in program.outputs]

    def run(arrays: Arrays) -> list[np.ndarray[Any, Any]]:
        assert len(arrays) == len(taken), f"{len(taken)} inputs, {len(arrays)} arrays"
        env: list[Any] = [None] * len(slots)
        for at, array in (*zip(taken, arrays, strict=True), *constants):
            env[at] = array
        token = quiet_set(quiet)
        try:
            for node, reads, makes, dead in steps:
                try:
                    results = evaluate(node, [env[at] for at in reads])
                except Exception as error:
                    raise blame(error, node) from error.__cause__
                for at, result in zip(makes, results, strict=True):
                    env[at] = result
                for at in dead:
                    env[at] = None
        finally:
            quiet_reset(token)
        return [env[at] for at in given]

    return run
