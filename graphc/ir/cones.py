"""Parts of programs: what lies between known values and one made of them, and the search for the first value that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial

from graphc.ir.program import CONSTANT, INPUT, Node, Program, Table, Value


def cone(outputs: Sequence[Value], known: Collection[Value]) -> tuple[Program, tuple[Value, ...]]:
    """The program that makes `outputs` of known values, in a table of its own, and those values in the order of its inputs.

    Every way from an output back must end at a known value or a constant.
    """
    nodes: dict[int, Node] = {}
    reads: dict[Value, None] = {}
    stack = list(outputs)
    while stack:
        value = stack.pop()
        if value in known:
            reads[value] = None
        elif value.node.number not in nodes:
            assert value.node.op is not INPUT, f"{value!r} is not known"
            nodes[value.node.number] = value.node
            stack.extend(value.node.inputs)
    table = Table()
    new = {value: table.input(f"known{i}", value.type, value.node.origins) for i, value in enumerate(reads)}
    leaves = tuple(new.values())
    for _, node in sorted(nodes.items()):
        operands = tuple([new[v] for v in node.inputs])
        types = [v.type for v in node.outputs]
        made = table.node(node.op, operands, node.attrs, partial(list, types), node.origins)
        for before, after in zip(node.outputs, made.outputs, strict=True):
            new.setdefault(before, after)
    return Program(table, leaves, tuple([new[v] for v in outputs])), tuple(reads)


def first_wrong(root: Value, wrong: Callable[[Value], bool]) -> Value | None:
    """A wrong value none of whose operands is wrong, found from a value that is; None where `root` is not wrong itself.

    Halves what may be the first: takes a number of tests that grows with the logarithm of what the root is made of, unless a
    fault does not show in what is made of it.
    """
    if not wrong(root):
        return None
    right: set[Value] = set()
    while True:
        suspects = _made_of(root, right)
        while suspects:
            middle = suspects[len(suspects) // 2]
            if wrong(middle):
                root = middle
                suspects = _made_of(root, right)
            else:
                right.add(middle)
                cleared = {middle, *_made_of(middle, right)}
                suspects = [value for value in suspects if value not in cleared]
        unsure = [v for v in _operands(root) if v not in right]
        hidden = next((v for v in unsure if wrong(v)), None)
        if hidden is None:
            return root
        root = hidden


def _operands(value: Value) -> list[Value]:
    return [v for v in dict.fromkeys(value.node.inputs) if v.node.op is not INPUT and v.node.op is not CONSTANT]


def _made_of(root: Value, right: Collection[Value]) -> list[Value]:
    """The values a value is made of, leaves and those known to be right left out, in the order of their nodes."""
    found: dict[Value, None] = {}
    stack = _operands(root)
    while stack:
        value = stack.pop()
        if value not in found and value not in right:
            found[value] = None
            stack.extend(_operands(value))
    return sorted(found, key=lambda v: (v.node.number, v.index))
