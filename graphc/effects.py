"""Which effects a run of a graph has: it prints what it computes, and computes nothing in order to print it.

Effects follow each other by a turn (primitives/effects.py) that goes from one to the next and through control ops whose bodies
have some. An effect is left out of a run by giving those behind it the turn that it was given itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from graphc.ir.program import CONSTANT, Node, Program, Value, toposort
from graphc.primitives.effects import EFFECT


def turn_of(node: Node) -> tuple[int, int] | None:
    """Which operand of a node is the turn of effects and which output the next; None for a node without effects."""
    if node.op.kind == EFFECT:
        return len(node.inputs) - 1, 0
    for body in node.attrs.values():
        if isinstance(body, Program) and node.op.n_outputs < 0:
            through = _through(body)
            if through is not None:
                return len(node.inputs) - len(body.inputs) + through[0], through[1]
    return None


def _through(body: Program) -> tuple[int, int] | None:
    """The input of a body that is the turn of its effects, and the output that is the next."""
    found = [(node, turn) for node in body.nodes for turn in [turn_of(node)] if turn is not None]
    if not found:
        return None
    (first, (operand, _)), (last, (_, output)) = found[0], found[-1]
    return body.inputs.index(first.inputs[operand]), body.outputs.index(last.outputs[output])


def is_turn(value: Value) -> bool:
    """Whether a value is the turn after some effect."""
    turn = turn_of(value.node)
    return turn is not None and value.index == turn[1]


def only_needed(wanted: Sequence[Value], last: Value, computed: Sequence[Value] = ()) -> tuple[list[Value], Value]:
    """The wanted values and the last turn, without effects that show what neither these nor the `computed` values need.

    The turn is the one before all effects where none is left.
    """
    needed = _needed([*wanted, *computed])
    new: dict[Value, Value] = {}
    for node in toposort([*wanted, last]):
        turn = turn_of(node)
        if turn is not None and not _is_kept(node, turn, needed):
            operand, output = node.inputs[turn[0]], node.outputs[turn[1]]
            new[output] = new.get(operand, operand)
        else:
            _rebuild(node, new)
    return [new.get(v, v) for v in wanted], new.get(last, last)


def apart(values: Sequence[Value], start: Value, fresh: Value) -> list[Value]:
    """The values with the effects that follow the turn `start` following another."""
    new = {start: fresh}
    for node in toposort(values):
        _rebuild(node, new)
    return [new.get(v, v) for v in values]


def _rebuild(node: Node, new: dict[Value, Value]) -> None:
    """Notes what takes the place of a node's outputs where something has taken the place of its operands."""
    inputs = tuple([new.get(v, v) for v in node.inputs])
    if inputs != node.inputs:
        made = node.table.node(node.op, inputs, node.attrs, lambda: [v.type for v in node.outputs], node.origins)
        new.update(zip(node.outputs, made.outputs, strict=True))


def _needed(wanted: Sequence[Value]) -> set[Node]:
    """The nodes that the wanted values need, whatever is to be shown."""
    found: set[Node] = set()
    stack = [v.node for v in wanted]
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            stack += [v.node for v in _operands(node)]
    return found


def _operands(node: Node) -> Iterator[Value]:
    turn = turn_of(node)
    return (v for i, v in enumerate(node.inputs) if turn is None or i != turn[0])


def _is_kept(node: Node, turn: tuple[int, int], needed: Collection[Node]) -> bool:
    if node.op.kind != EFFECT:
        return node in needed
    shown = [v.node for i, v in enumerate(node.inputs) if i != turn[0]]
    return all(x in needed or x.op is CONSTANT for x in shown)


__all__ = ["apart", "is_turn", "only_needed", "turn_of"]
