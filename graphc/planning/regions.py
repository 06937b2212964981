"""The plan of a native run: regions of steps that are independent of each other, and a place for every value.

A region ends before the next begins. A buffer of the arena is free again after the last region that reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from graphc.ir.program import CONSTANT, INPUT, Program, Value
from graphc.planning.fusion import Buffered, ContractionStep, HostStep, OutputCopy, Step, fuse
from graphc.planning.memory import allocate, check_static
from graphc.planning.plan import ARENA, Buffer, nbytes_of

#: What a place counts in: the inputs, the outputs, the constants (arrays), or the bytes of the arena.
INPUTS, OUTPUTS, CONSTANTS, BYTES = "input", "output", "constant", "arena"


class Place(NamedTuple):
    """Where a value is: input, output or constant number `at`, or at byte `at` of the arena."""

    area: str
    at: int


@dataclass(frozen=True, eq=False)
class NativePlan:
    """How a program with known sizes runs as native code."""

    program: Program
    regions: tuple[tuple[Step, ...], ...]
    places: dict[Buffered, Place]
    constants: tuple[Any, ...]
    arena_bytes: int

    @property
    def output_bytes(self) -> int:
        """The bytes of all outputs."""
        return sum(nbytes_of(value.type) for value in self.program.outputs)

    @property
    def peak(self) -> int:
        """The most bytes a run holds at once: arena and outputs."""
        return self.arena_bytes + self.output_bytes

    @property
    def text(self) -> str:
        """The regions, their steps, and where each result goes."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        yield f"plan: {len(self.regions)} regions, arena {self.arena_bytes} bytes, outputs {self.output_bytes} bytes"
        for n, region in enumerate(self.regions):
            yield f"region {n}"
            for step in region:
                yield f"  {step_text(step)}"
                for value in step.made:
                    area, at = self.places[value]
                    yield f"    {value.type} -> {area} {at}"


def step_text(step: Step) -> str:
    """What a step is, in one line."""
    names = " ".join(dict.fromkeys(node.op.name for node in step.nodes))
    if isinstance(step, ContractionStep):
        return f"contraction {step.a.shape} x {step.b.shape}"
    return f"{type(step).__name__.removesuffix('Step').lower()} {names}"


def reads(step: Step) -> Iterator[Value]:
    """The values in memory that a step reads or writes."""
    if isinstance(step, ContractionStep):
        yield from (step.a.value, step.b.value)
    elif isinstance(step, HostStep):
        yield from (x.value for x in step.operands)
    else:
        yield from (x for x in step.buffers if isinstance(x, Value))


def plan_regions(program: Program) -> NativePlan:
    """The native plan of a program whose sizes are all numbers; SymbolicError names one that is not."""
    check_static(program)
    regions: list[list[Step]] = []
    level = None
    for step in fuse(program):
        if step.level != level:
            regions.append([])
            level = step.level
        regions[-1].append(step)
    places: dict[Buffered, Place] = {value: Place(INPUTS, i) for i, value in enumerate(program.inputs)}
    constants: list[Any] = []
    last = last_reads(regions)
    for value in last:
        if value.node.op is CONSTANT:
            places[value] = Place(CONSTANTS, len(constants))
            constants.append(value.node.attrs["data"].array)
        elif value.node.op is INPUT:
            assert value in places, f"{value!r} is no input of the program"
    outputs = {value: k for k, value in reversed(list(enumerate(program.outputs)))}
    buffers: list[tuple[Buffered, Buffer]] = []
    for n, region in enumerate(regions):
        for step in region:
            for made in step.made:
                if isinstance(made, OutputCopy):
                    places[made] = Place(OUTPUTS, made.output)
                elif made in outputs:
                    places[made] = Place(OUTPUTS, outputs[made])
                else:
                    place = Buffer(len(buffers), nbytes_of(made.type), ARENA, n, last.get(made, n))
                    buffers.append((made, place))
    arena = allocate([buffer for _, buffer in buffers], len(regions))
    places.update((value, Place(BYTES, buffer.offset)) for value, buffer in buffers)
    return NativePlan(program, tuple(map(tuple, regions)), places, tuple(constants), arena)


def last_reads(regions: list[list[Step]]) -> dict[Value, int]:
    """The last region that reads each value in memory."""
    last: dict[Value, int] = {}
    for n, region in enumerate(regions):
        for step in region:
            for value in reads(step):
                last[value] = n
    return last
