"""What a program does in float64 before it meets arrays (hyperparameters, step counts, grids of numbers): done on the host for
devices without float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from graphc.core.arrays import host
from graphc.core.op import Elementwise, Kind, View
from graphc.core.tensor_types import TensorType, float32, float64
from graphc.ir.interpret import interpreter
from graphc.ir.program import CONSTANT, INPUT, Node, Program, Value
from graphc.primitives.creation import counts_whole, iota


def _given_type(number: Value) -> TensorType:
    return TensorType(number.shape, float32 if number.dtype is float64 else number.dtype)


class Numbers:
    """What Python computes before each run: `needed` are the inputs that it reads, all of them numbers."""

    def __init__(self, program: Program, made: Sequence[Value]):
        self.types = [_given_type(v) for v in made]
        leaves = {node.outputs[0] for node in program.with_outputs(made).nodes if node.op is INPUT}
        self.needed = [i for i, value in enumerate(program.inputs) if value in leaves]
        self._run = interpreter(Program(program.table, tuple([program.inputs[i] for i in self.needed]), tuple(made)))

    def __call__(self, arrays: Sequence[Any]) -> list[Any]:
        """The numbers for a run on these inputs."""
        found = self._run([host(arrays[i]) for i in self.needed])
        return [x.astype(t.dtype.np, copy=False) for x, t in zip(found, self.types, strict=True)]


class Apart(NamedTuple):
    """A program in two parts: the second has the first one's numbers as further inputs behind its own."""

    numbers: Numbers | None
    program: Program


def apart(program: Program) -> Apart:
    """The program without ops in float64, as far as constants and numbers that are inputs are all that they need."""
    numbers = {v for v in program.inputs if not v.shape}
    wide: set[Node] = set()
    for node in program.nodes:
        if node.op is INPUT or not all(v in numbers for v in node.inputs):
            continue
        if node.op is CONSTANT or node.op.kind == Kind("create") or isinstance(node.op.kind, Elementwise | View):
            numbers.update(node.outputs)
            if node.op is not CONSTANT and (
                any(v.dtype is float64 for v in (*node.inputs, *node.outputs))
                or (node.op is iota and not counts_whole(**node.attrs))
            ):
                wide.add(node)
    made = dict.fromkeys(v for v in program.outputs if v.node in wide and v.dtype is not float64)
    for node in program.nodes:
        if node not in wide:
            scales = node.op.kind == Kind("contraction") and node.outputs[0].dtype is not float64
            made.update(
                (v, None) for v in node.inputs if v in numbers and (scales if v.dtype is float64 else v.node in wide)
            )
    return Apart(Numbers(program, [*made]), _given(program, [*made])) if made else Apart(None, program)


def _given(program: Program, made: Sequence[Value]) -> Program:
    """The program with further inputs in place of these values; a product's scale is a float32 then."""
    table = program.table
    new = {v: table.input(f"number {i}", _given_type(v), v.node.origins) for i, v in enumerate(made)}
    inputs = (*program.inputs, *new.values())
    for node in program.nodes:
        scales = node.op.kind == Kind("contraction")
        operands = tuple([new[v] if v in new and (scales or v.dtype is not float64) else v for v in node.inputs])
        if operands != node.inputs:
            again = table.node(node.op, operands, node.attrs, lambda n=node: [v.type for v in n.outputs], node.origins)  # type: ignore[misc]
            new.update((v, w) for v, w in zip(node.outputs, again.outputs, strict=True) if v not in new)
    outputs = tuple([v if v.dtype is float64 and v in made else new.get(v, v) for v in program.outputs])
    return Program(table, inputs, outputs, program.checks)
