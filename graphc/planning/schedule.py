"""The order of a run: that of the program, but nothing is computed long before it is read.

Passes leave nodes they did not touch in front of those they rebuilt, so `0.9 * momentum` may stand before the whole forward
pass and hold its memory until the end. A node that reads only leaves, or values nobody else reads that are themselves of
this kind, holds nothing back by waiting: it runs right before its first reader.
"""

from __future__ import annotations

from collections.abc import Container

from graphc.ir.program import Node, Program, Value


def schedule(program: Program, given: Container[Value]) -> tuple[Node, ...]:
    """The nodes to run, in order; `given`: the values that are there before any step (inputs and constants)."""
    nodes = [node for node in program.nodes if node.outputs[0] not in given]
    waiting = _can_wait(nodes, given, set(program.outputs))
    order: list[Node] = []
    done: set[Node] = set()
    for node in nodes:
        if node not in waiting:
            _run(node, waiting, done, order)
    return tuple(order)


def _can_wait(nodes: list[Node], given: Container[Value], outputs: set[Value]) -> set[Node]:
    readers: dict[Node, set[Node]] = {}
    for node in nodes:
        for value in node.inputs:
            readers.setdefault(value.node, set()).add(node)
    waiting: set[Node] = set()
    for node in nodes:
        if outputs.isdisjoint(node.outputs) and all(
            value in given or (value.node in waiting and len(readers[value.node]) == 1) for value in node.inputs
        ):
            waiting.add(node)
    return waiting


def _run(node: Node, waiting: set[Node], done: set[Node], order: list[Node]) -> None:
    """Puts the node in order, after those of its operands that waited for it."""
    stack = [(node, False)]
    while stack:
        at, ready = stack.pop()
        if ready:
            order.append(at)
        elif at not in done:
            done.add(at)
            stack.append((at, True))
            stack += [(value.node, False) for value in reversed(at.inputs) if value.node in waiting]
