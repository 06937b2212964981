"""The plan of a native run: regions of steps that are independent of each other, and a place for every value.

A region ends before the next begins. A buffer of the arena is free again after the last region that reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from graphc.ir.program import CONSTANT, INPUT, Program, Value
from graphc.planning.fusion import fuse
from graphc.planning.loops import plan_control
from graphc.planning.memory import allocate, check_static
from graphc.planning.native_plan import BYTES, CONSTANTS, INPUTS, OUTPUTS, ControlPlan, NativePlan, Place
from graphc.planning.plan import ARENA, Buffer, nbytes_of
from graphc.planning.steps import Buffered, ControlStep, OutputCopy, Step
from graphc.planning.updates import reads, settle


def plan_regions(
    program: Program, updates: Mapping[int, int] | None = None, fuse: Callable[[Program], list[Step]] = fuse
) -> NativePlan:
    """The native plan of a program whose sizes are all numbers; SymbolicError names one that is not.

    `updates`: output number -> number of the input it replaces; done in place where that can be.
    `fuse`: what makes steps of a program, and of the bodies of its loops.
    """
    check_static(program)
    steps, in_place, homes = settle(fuse(program), program, updates or {})
    regions: list[list[Step]] = []
    level = None
    for step in steps:
        if step.level != level:
            regions.append([])
            level = step.level
        regions[-1].append(step)
    places: dict[Buffered | ControlStep, Place] = {value: Place(INPUTS, i) for i, value in enumerate(program.inputs)}
    constants: list[Any] = []
    last = last_reads(regions)
    for value in last:
        if value.node.op is CONSTANT:
            places[value] = Place(CONSTANTS, len(constants))
            constants.append(value.node.attrs["data"].array)
        elif value.node.op is INPUT:
            assert value in places, f"{value!r} is no input of the program"
    outputs = {value: k for k, value in reversed(list(enumerate(program.outputs)))}
    buffers: list[tuple[Buffered | ControlStep, Buffer]] = []
    controls: dict[ControlStep, ControlPlan] = {}
    begun: set[Buffered] = set()
    for n, region in enumerate(regions):
        for step in region:
            if isinstance(step, ControlStep):
                control = controls[step] = plan_control(step, partial(plan_regions, fuse=fuse))
                buffers.append((step, Buffer(len(buffers), control.nbytes, ARENA, n, n)))
            for made in step.made:
                if made in begun:  # a part of what another step has begun
                    continue
                begun.add(made)
                if made in homes:
                    places[made] = Place(INPUTS, homes[made])
                elif isinstance(made, OutputCopy):
                    places[made] = Place(OUTPUTS, made.output)
                elif made in outputs and outputs[made] not in in_place:
                    places[made] = Place(OUTPUTS, outputs[made])
                else:
                    place = Buffer(len(buffers), nbytes_of(made.type), ARENA, n, last.get(made, n))
                    buffers.append((made, place))
    arena = allocate([buffer for _, buffer in buffers], len(regions))
    places.update((value, Place(BYTES, buffer.offset)) for value, buffer in buffers)
    return NativePlan(program, tuple(map(tuple, regions)), places, tuple(constants), arena, controls, in_place)


def last_reads(regions: list[list[Step]]) -> dict[Value, int]:
    """The last region that reads each value in memory."""
    last: dict[Value, int] = {}
    for n, region in enumerate(regions):
        for step in region:
            for value in reads(step):
                last[value] = n
    return last
