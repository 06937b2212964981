"""What a native plan says: regions of steps, places of values, and how loops and branches keep what they carry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from graphc.ir.program import Program
from graphc.planning.plan import nbytes_of
from graphc.planning.steps import Buffered, ContractionStep, ControlStep, Step

#: What a place counts in: the inputs, the outputs, the constants (arrays), or the bytes of the arena.
INPUTS, OUTPUTS, CONSTANTS, BYTES = "input", "output", "constant", "arena"


class Place(NamedTuple):
    """Where a value is: input, output or constant number `at`, or at byte `at` of the arena."""

    area: str
    at: int


@dataclass(frozen=True, eq=False)
class NativePlan:
    """How a program with known sizes runs as native code.

    `controls`: the plans of control ops, whose working memory `places` holds under their steps. `in_place`: outputs that are
    written over an input: output number -> input number.
    """

    program: Program
    regions: tuple[tuple[Step, ...], ...]
    places: dict[Buffered | ControlStep, Place]
    constants: tuple[Any, ...]
    arena_bytes: int
    controls: dict[ControlStep, ControlPlan]
    in_place: Mapping[int, int]

    @property
    def output_bytes(self) -> int:
        """The bytes of all outputs."""
        return sum(nbytes_of(v.type) for k, v in enumerate(self.program.outputs) if k not in self.in_place)

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
                if isinstance(step, ControlStep):
                    for body in self.controls[step].bodies:
                        yield from (f"    {line}" for line in body._lines())


def every_step(plan: NativePlan) -> Iterator[Step]:
    """The steps of a plan in their order, those of bodies behind their loop or branch."""
    for region in plan.regions:
        for step in region:
            yield step
            if isinstance(step, ControlStep):
                for body in plan.controls[step].bodies:
                    yield from every_step(body)


def step_text(step: Step) -> str:
    """What a step is, in one line."""
    names = " ".join(dict.fromkeys(node.op.name for node in step.nodes))
    if isinstance(step, ContractionStep):
        return f"contraction {step.a.shape} x {step.b.shape}"
    return f"{type(step).__name__.removesuffix('Step').lower()} {names}"


# --- control ops -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Carry:
    """Where a loop keeps a carry. All numbers are those of the node's outputs, or bytes of the loop's working memory.

    `kept`: the stacked output that holds it before each step; `made`: the stacked output that holds it after each. Without
    either it is in two buffers in turn; `spare` are those in the working memory.
    """

    kept: int | None = None
    made: int | None = None
    spare: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class ScanPlan:
    """A scan: `body` gives the carries, then the stacked outputs whose numbers are `stacked`."""

    step: ControlStep
    body: NativePlan
    carries: tuple[Carry, ...]
    stacked: tuple[int, ...]
    arena: int
    nbytes: int

    @property
    def bodies(self) -> tuple[NativePlan, ...]:
        """The plans of the bodies."""
        return (self.body,)


@dataclass(frozen=True, eq=False)
class WhilePlan:
    """A while_loop: its test is at byte `test` of the working memory."""

    step: ControlStep
    condition: NativePlan
    body: NativePlan
    carries: tuple[Carry, ...]
    test: int
    arena: int
    nbytes: int

    @property
    def bodies(self) -> tuple[NativePlan, ...]:
        """The plans of the bodies."""
        return (self.condition, self.body)


@dataclass(frozen=True, eq=False)
class CondPlan:
    """A cond: both branches write the node's outputs."""

    step: ControlStep
    true: NativePlan
    false: NativePlan
    nbytes: int
    arena: int = 0

    @property
    def bodies(self) -> tuple[NativePlan, ...]:
        """The plans of the bodies."""
        return (self.true, self.false)


ControlPlan: TypeAlias = ScanPlan | WhilePlan | CondPlan
