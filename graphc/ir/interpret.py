"""The reference meaning of a program: each node in order, evaluated with NumPy."""

from __future__ import annotations

from collections.abc import Sequence
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


def interpret(program: Program, arrays: Sequence[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
    """The outputs for these inputs, one array per input in the program's order; unknown sizes must be specialised first.

    An output may share memory with an input, a constant or another output. Errors of kernels name the user's line.
    """
    assert len(arrays) == len(program.inputs), f"{len(program.inputs)} inputs, {len(arrays)} arrays"
    env: dict[Value, Any] = dict(zip(program.inputs, arrays, strict=True))
    dying = last_uses(program)
    token = quiet_set(quiet)
    try:
        for node in program.nodes:
            if node.op is CONSTANT:
                env[node.outputs[0]] = node.attrs["data"].array
            elif node.op is not INPUT:
                try:
                    results = evaluate(node, [env[v] for v in node.inputs])
                except Exception as error:
                    raise blame(error, node) from error.__cause__
                env.update(zip(node.outputs, results, strict=True))
            for value in dying.get(node, ()):
                env.pop(value, None)
    finally:
        quiet_reset(token)
    return [env[value] for value in program.outputs]
