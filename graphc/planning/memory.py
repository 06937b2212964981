"""The memory plan: which values share a buffer, which steps write over an operand, and where buffers lie in the arena.

Views are told from copies as NumPy tells them: each value has a stand-in array with its exact strides, and view ops are
evaluated on stand-ins. Nothing is read or written, except where a reshape must copy.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Any

import numpy as np

from graphc.core.config import config
from graphc.core.dims import is_static
from graphc.core.errors import SymbolicError
from graphc.core.op import Elementwise, Kind, View
from graphc.ir.blame import blame
from graphc.ir.interpret import evaluate
from graphc.ir.program import CONSTANT, Node, Program, Value
from graphc.planning.plan import (
    ARENA,
    EVAL,
    FRESH,
    INPLACE,
    INTO,
    OUTPUT,
    VIEW,
    Buffer,
    Location,
    Output,
    Plan,
    Step,
    nbytes_of,
)
from graphc.planning.room import no_room
from graphc.planning.schedule import schedule

ALIGNMENT = 64


def make_plan(program: Program) -> Plan:
    """The plan of a program whose sizes are all numbers; SymbolicError names one that is not."""
    check_static(program)
    draft = _Draft(program)
    steps = draft.steps()
    outputs = draft.place_outputs()
    arena_bytes = allocate(draft.buffers, len(steps))
    return Plan(
        program,
        steps,
        tuple(draft.buffers),
        draft.locations,
        draft.constants,
        outputs,
        arena_bytes,
        transient_peak(draft.buffers, len(steps)),
    )


def check_static(program: Program) -> None:
    """Raises SymbolicError for a value with an unknown size."""
    for value in values_of(program):
        if not is_static(value.type.shape):
            raise SymbolicError(
                f"{value!r} has an unknown size: a plan needs numbers\n  hint: specialise the program first"
            )


def values_of(program: Program) -> Iterator[Value]:
    """Every input and every value the outputs need."""
    yield from program.inputs
    for node in program.nodes:
        yield from node.outputs


def known_values(program: Program) -> dict[Value, Any]:
    """The arrays of constants, and of small tensors that come from nothing: those are made once, here."""
    known: dict[Value, Any] = {}
    for node in program.nodes:
        value = node.outputs[0]
        if node.op is CONSTANT:
            known[value] = node.attrs["data"].array
        elif node.op.kind == _CREATE and not node.inputs and nbytes_of(value.type) <= config.largest_fold:
            try:
                (known[value],) = evaluate(node, ())
            except Exception as error:
                raise blame(error, node) from error.__cause__
            known[value].flags.writeable = False
    return known


_CREATE = Kind("create")


class _Draft:
    """Walks the program once: how each step works and which buffer each value is in."""

    def __init__(self, program: Program):
        self.program = program
        self.constants = known_values(program)
        self.nodes = schedule(program, {*program.inputs, *self.constants})
        self.end = len(self.nodes)
        self.last = self.last_uses()
        self.locations: dict[Value, Location] = {}
        self.buffers: list[Buffer] = []
        self.standins: dict[Value, Any] = {}
        most = max((nbytes_of(value.type) for value in values_of(program)), default=0)
        try:
            self.pool = np.empty(most, np.uint8)
        except MemoryError as error:
            made = [value for node in program.nodes for value in node.outputs]
            raise no_room("no room for a run", program, made, most, least=True) from error
        self.standins.update(self.constants)
        self.standins.update((value, self.standin(value)) for value in program.inputs)
        for value in self.standins:
            self.locations[value] = Location(None, value, False)

    def last_uses(self) -> dict[Value, int]:
        last: dict[Value, int] = {}
        for i, node in enumerate(self.nodes):
            for value in node.inputs:
                last[value] = i
            for value in node.outputs:
                last[value] = i
        last.update(dict.fromkeys(self.program.outputs, self.end))
        return last

    def standin(self, value: Value) -> Any:
        return np.ndarray(value.type.shape, value.dtype.np, buffer=self.pool)

    def steps(self) -> tuple[Step, ...]:
        dying: list[list[Value]] = [[] for _ in range(self.end + 1)]
        for value, i in self.last.items():
            if value not in self.locations:
                dying[i].append(value)
        return tuple([self.step(node, i, dying[i]) for i, node in enumerate(self.nodes)])

    def step(self, node: Node, i: int, dying: list[Value]) -> Step:
        how, over = EVAL, None
        op = node.op
        if isinstance(op.kind, View):
            how = self.view(node, i)
        elif op.inplace is not None and op.n_outputs == 1:
            over = self.overwritable(node, i) if isinstance(op.kind, Elementwise) else None
            how = INTO if over is None else INPLACE
        if over is not None:
            self.write_over(node.outputs[0], over, i)
        elif how != VIEW:
            for value in node.outputs:
                self.new_buffer(value, i, ARENA if how == INTO else FRESH)
        return Step(node, how, over, tuple(dying))

    def new_buffer(self, value: Value, i: int, place: str) -> None:
        buffer = Buffer(len(self.buffers), nbytes_of(value.type), place, i, self.last[value])
        self.buffers.append(buffer)
        self.locations[value] = Location(buffer, value, False)
        self.standins[value] = self.standin(value)

    def view(self, node: Node, i: int) -> str:
        """Places the result as a view of the operand where NumPy makes one."""
        operand, value = node.inputs[0], node.outputs[0]
        array = self.standins[operand]
        result = node.op.eval(array, **node.attrs)
        if not (value.type.size == 0 or np.may_share_memory(result, array)):
            return EVAL
        buffer, root, _ = self.locations[operand]
        if buffer is not None:
            buffer.last = max(buffer.last, self.last[value])
        self.locations[value] = Location(buffer, root, True)
        self.standins[value] = result
        return VIEW

    def covers(self, value: Value) -> bool:
        """Whether the value is its whole buffer, in C order."""
        buffer = self.locations[value].buffer
        flags = self.standins[value].flags
        return buffer is not None and nbytes_of(value.type) == buffer.nbytes and flags.c_contiguous and flags.writeable

    def overwritable(self, node: Node, i: int) -> Value | None:
        """An operand whose buffer nobody reads after step i, of the result's type, so that the result may replace it."""
        out = node.outputs[0]
        for operand in node.inputs:
            buffer = self.locations[operand].buffer
            if buffer is None or buffer.last > i or operand.type != out.type or not self.covers(operand):
                continue
            others = [v for v in node.inputs if v is not operand and self.locations[v].buffer is buffer]
            if all(v.type == out.type and self.covers(v) for v in others):
                return operand
        return None

    def write_over(self, value: Value, operand: Value, i: int) -> None:
        buffer = self.locations[operand].buffer
        assert buffer is not None
        buffer.last = max(i, self.last[value])
        self.locations[value] = Location(buffer, value, False)
        self.standins[value] = self.standin(value)

    def place_outputs(self) -> tuple[Output, ...]:
        """Gives each output memory of its own: its whole buffer where that is its alone, else a copy at the end."""
        outputs = []
        taken: set[int] = set()
        for value in self.program.outputs:
            buffer = self.locations[value].buffer
            copied = buffer is None or buffer.index in taken or not self.covers(value)
            if buffer is not None and not copied:
                taken.add(buffer.index)
                buffer.place = OUTPUT if buffer.place == ARENA else buffer.place
            outputs.append(Output(value, copied))
        for buffer in self.buffers:
            if buffer.index in taken and buffer.place == FRESH:
                buffer.place = OUTPUT
        return tuple(outputs)


# --- the arena ---------------------------------------------------------------------------------------------------------


class _Arena:
    """Blocks that are free, found by size; neighbours merge when they are freed."""

    def __init__(self) -> None:
        self.size = 0
        self.by_size: list[tuple[int, int]] = []
        self.starts: dict[int, int] = {}
        self.ends: dict[int, int] = {}

    def take(self, size: int) -> int:
        """The offset of a block: the smallest free one that is large enough, else new space at the end."""
        at = bisect_left(self.by_size, (size, 0))
        if at < len(self.by_size):
            found, offset = self.by_size[at]
            self.remove(offset, found)
            if found > size:
                self.add(offset + size, found - size)
            return offset
        start = self.ends.get(self.size)
        offset = self.size if start is None else start
        if start is not None:
            self.remove(start, self.size - start)
        self.size = offset + size
        return offset

    def give(self, offset: int, size: int) -> None:
        """Frees a block."""
        before = self.ends.get(offset)
        if before is not None:
            self.remove(before, offset - before)
            offset, size = before, size + offset - before
        after = self.starts.get(offset + size)
        if after is not None:
            self.remove(offset + size, after)
            size += after
        self.add(offset, size)

    def add(self, offset: int, size: int) -> None:
        self.starts[offset], self.ends[offset + size] = size, offset
        insort(self.by_size, (size, offset))

    def remove(self, offset: int, size: int) -> None:
        del self.starts[offset], self.ends[offset + size]
        del self.by_size[bisect_left(self.by_size, (size, offset))]


def aligned(nbytes: int) -> int:
    """Rounded up to the alignment of buffers."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def allocate(buffers: list[Buffer], n_steps: int) -> int:
    """Gives the arena's buffers their offsets; returns the arena's size. A buffer read by a step outlives that step."""
    arena = _Arena()
    dying: list[list[Buffer]] = [[] for _ in range(n_steps + 1)]
    step = 0
    for buffer in buffers:
        if buffer.place != ARENA or buffer.nbytes == 0:
            continue
        while step < buffer.first:
            for dead in dying[step]:
                arena.give(dead.offset, aligned(dead.nbytes))
            step += 1
        buffer.offset = arena.take(aligned(buffer.nbytes))
        dying[min(buffer.last, n_steps)].append(buffer)
    return arena.size


def transient_peak(buffers: list[Buffer], n_steps: int) -> int:
    """The most bytes that FRESH buffers hold at one step."""
    change = [0] * (n_steps + 2)
    for buffer in buffers:
        if buffer.place == FRESH:
            change[buffer.first] += buffer.nbytes
            change[min(buffer.last, n_steps) + 1] -= buffer.nbytes
    most = now = 0
    for delta in change:
        now += delta
        most = max(most, now)
    return most
